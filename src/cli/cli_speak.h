/* A language model on the command line, for `ask`: a model of the site by its name, or a path. */
#ifndef CLI_SPEAK_H
#define CLI_SPEAK_H
#include "reason/ask_model.h"

struct site;
struct timeline;
struct cli_voice {
  struct lm *m, *encoder_lm;
  struct speaker speaker;
  struct encoder encoder; /* width 0: none */
};
/* Of --model and --encoder (NULL: none of it). Close it after a failure too. */
int cli_voice_open(const struct site *s, const char *model, const char *encoder, struct cli_voice *out, struct error *e) MUST_CHECK;
void cli_voice_close(struct cli_voice *v);

/* What `ask --model` may use of a site beside the store: its newest timeline model and its documents, where there are any. */
struct cli_scope {
  struct ask_scope scope;
  struct model *model;
  struct predictor *predictor;
  struct task *task;
};
int cli_scope_open(const struct site *s, const struct timeline *t, const struct asker *k, uint32_t index, const struct encoder *enc,
                   struct cli_scope *out, struct error *e) MUST_CHECK;
void cli_scope_close(struct cli_scope *x);
#endif
