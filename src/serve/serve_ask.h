/* A language model's help with a question about one life (reason/ask_model.h): of a subject of the store (serve_ask.c), or of a record that came with
 * a developer's request (serve_asked.c). Who asks fixes the life before the model says a word.
 *
 *     struct speaking x = {.c = c, .voice = voice, .predictor = p};
 *     TRY(call_speak(&x, &(struct ask_scope){.k = asker, .index = 0}, question, &(struct ask_speak_options){.rounds = 1}, &arena, &answer, e));
 *     // tokens are added to c->tokens_in and c->tokens_out
 */
#ifndef SERVE_ASK_H
#define SERVE_ASK_H
#include "reason/ask_model.h"
#include "serve/serve_private.h"

struct predictor;
struct speaking {
  struct call *c;
  struct voice *voice, *encoder;                                      /* encoder: or NULL */
  struct predictor *(*predictor)(struct speaking *, struct error *e); /* of the timeline model on the scope's store; NULL: there is none */
  void *ctx;                                                          /* of whoever gives the predictor */
  struct buf *out;
};
/* `s` needs k and index, may have knowledge and task; the rest is set here. */
int call_speak(struct speaking *x, struct ask_scope *s, struct str question, const struct ask_speak_options *o, struct arena *a,
               struct ask_answer *out, struct error *e) MUST_CHECK;
#endif
