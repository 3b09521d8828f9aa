/* Language models beside the timeline model: those that `vitae import` put into SITE/models/language, by the names of their directories.
 *
 *     struct voice *v = voice_find(s->voices, STR("smollm2-135m"));            // NULL: none of that name
 *     TRY(voice_wake(v, e));                                                    // loads it at the first use
 *     TRY(voice_say(v, &(struct voice_request){.message = m, .messages = 2, .most = 200, .text = hear, .ctx = x}, &r, e));
 *
 * One thread owns a model and batches whatever is asked at a time (model/lm.h); voice_say is called by the threads that hold the
 * conversations and blocks until the answer has ended. A prompt's beginning is used again for the same tenant only. `left` is asked
 * while waiting, reading and writing: true ends the answer with E_CANCELLED. An upstream (serve_upstream.h) is a voice without a
 * thread: another server speaks.
 * Errors: E_INPUT (prompt too long, no chat template), E_USAGE (an encoder does not speak, a schema that cannot be held), E_CANCELLED,
 * E_UNAVAILABLE (the server stops, the upstream does not answer).
 */
#ifndef SERVE_VOICE_H
#define SERVE_VOICE_H
#include "base/str.h"
#include "model/lm.h"

struct voices;
struct voice;
struct voice_options {
  int streams; /* answers at a time of one model; 0: 8 */
  int threads; /* of one model's passes; 0: the cores of this process */
};
int voices_open(const char *site, const struct voice_options *o, struct voices **out, struct error *e) MUST_CHECK;
void voices_stop(struct voices *v);  /* what is being said ends with E_UNAVAILABLE */
void voices_close(struct voices *v); /* NULL too; nobody speaks any more */
int voices_count(const struct voices *v);
struct voice *voice_at(const struct voices *v, int i);
struct voice *voice_find(const struct voices *v, struct str name);
const char *voice_name(const struct voice *v);
const char *voice_id(const struct voice *v); /* name and the beginning of its files' SHA-256: what the audit says */
bool voice_encoder(const struct voice *v);
bool voice_upstream(const struct voice *v);   /* another server speaks (serve_upstream.h) */
int64_t voice_created(const struct voice *v); /* us since 1970 */
int voice_wake(struct voice *v, struct error *e) MUST_CHECK;
int voice_context(const struct voice *v); /* tokens of prompt and answer together; awake */
int voice_width(const struct voice *v);   /* of its vectors; awake, and no upstream */

struct voice_token { /* only if logprobs >= 0 */
  struct str text;
  float logprob;
  const struct lm_alternative *top;
  int tops;
};
struct voice_request {
  const struct lm_message *message;
  int messages;
  struct str schema;        /* JSON schema that the answer must have (model/lm_schema.h); STR_NONE */
  int most;                 /* tokens; 0: what the context leaves */
  float temperature, top_p; /* 0: greedy; 0: off */
  uint64_t seed, tenant;
  const struct str *stop;
  int stops;
  int logprobs; /* alternatives, -1: none */
  /* of an upstream only: the conversation as its dialect writes it (instead of `message`), functions that it may call, which it must */
  struct str raw_messages, tools, tool_choice;
  int (*tool)(void *ctx, const char *name, struct str arguments, struct error *e);
  int (*text)(void *ctx, struct str piece, struct error *e);
  int (*token)(void *ctx, const struct voice_token *t, struct error *e); /* before the text that it belongs to; or NULL */
  bool (*left)(void *ctx);                                               /* NULL: nobody can leave */
  void *ctx;
};
struct voice_result {
  int prompt, cached, generated;
  bool cut; /* by `most` or the context */
};
int voice_say(struct voice *v, const struct voice_request *r, struct voice_result *out, struct error *e) MUST_CHECK;
struct str voice_token_text(const struct voice *v, uint32_t token);
/* out (n, width), of length 1; tokens: how many were read. last: a decoder's last token instead of the mean (an encoder's is always the mean).
 * E_USAGE: another server speaks. */
int voice_embed(struct voice *v, const struct str *texts, size_t n, bool last, float *out, int64_t *tokens, struct error *e) MUST_CHECK;
#endif
