#include "cli/cli_speak.h"

#include <string.h>

#include "base/file.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "model/lm.h"
#include "model/lm_schema.h"
#include "model/model.h"
#include "predict/predict.h"
#include "timeline/task.h"
#include "token/subword.h"

static int on_piece(void *ctx, const struct lm_piece *p) {
  buf_str(ctx, p->text);
  return 0;
}

/* A model without a chat template (a base model) gets the texts one after another. What is in them is plain text either way. */
static int prompt(const struct lm *m, const struct lm_message *message, int n, struct subword_ids *ids, struct error *e) {
  if (lm_chat(m)[0]) return lm_chat_tokens(m, message, n, ids, e);
  for (int i = 0; i < n; i++) {
    TRY(subword_encode(lm_vocabulary(m), message[i].content, i ? 0 : SUBWORD_EDGES, ids, e));
    TRY(subword_encode(lm_vocabulary(m), i + 1 < n ? STR("\n\n") : STR("\nAnswer: "), 0, ids, e));
  }
  return OK;
}

static int say(void *ctx, const struct lm_message *message, int n, struct str schema, int most, struct buf *out, struct error *e) {
  struct lm *m = ctx;
  struct subword_ids ids = {0};
  struct lm_schema *form = NULL;
  int id, rc = prompt(m, message, n, &ids, e);
  if (rc == OK && schema.n) rc = lm_schema_new(schema.p, schema.n, &form, e);
  struct lm_request r = {.token = ids.id, .n = ids.n, .most = most, .logprobs = -1, .schema = form, .piece = on_piece, .ctx = out};
  if (rc == OK) rc = lm_submit(m, &r, &id, e);
  while (rc >= 0 && (rc = lm_step(m, e)) > 0) {}
  subword_ids_release(&ids);
  lm_schema_free(form);
  return rc < 0 ? rc : buf_check(out, e);
}
static int embed(void *ctx, const struct str *texts, size_t n, float *out, struct error *e) { return lm_embed(ctx, texts, n, out, e); }

static int open_lm(const struct site *s, const char *name, struct lm **out, struct error *e) {
  char path[4096];
  TRY(site_path(s, path, "models", "language", name, NULL));
  if (!file_exists(path) && !file_exists(name))
    return error_set(e, E_NOTFOUND, "the site has no language model %s, and there is no such file; vitae import puts one there", name);
  return lm_open(file_exists(path) ? path : name, &(struct lm_options){.streams = 1}, out, e);
}
static const char *leaf(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

int cli_voice_open(const struct site *s, const char *model, const char *encoder, struct cli_voice *v, struct error *e) {
  *v = (struct cli_voice){0};
  if (model) {
    TRY(open_lm(s, model, &v->m, e));
    v->speaker = (struct speaker){leaf(model), lm_context(v->m), say, v->m};
  }
  if (encoder) {
    TRY(open_lm(s, encoder, &v->encoder_lm, e));
    v->encoder = (struct encoder){leaf(encoder), lm_width(v->encoder_lm), embed, v->encoder_lm};
  }
  return OK;
}
void cli_voice_close(struct cli_voice *v) {
  lm_close(v->m);
  lm_close(v->encoder_lm);
}

static struct predictor *give_predictor(void *ctx, struct error *e) {
  (void)e;
  return ((struct cli_scope *)ctx)->predictor;
}

/* The newest version, if there is one that fits; without it the tools that need it say so. */
static int timeline_model(const struct site *s, const struct timeline *t, struct cli_scope *x, struct error *e) {
  char dir[4096], id[65];
  int rc = cli_model(s, NULL, &x->model, dir, id, e);
  if (rc == E_NOTFOUND) return *e = (struct error){0}, OK;
  TRY(rc);
  TRY(predictor_new(x->model, t, &x->predictor, e));
  x->scope.predictor = give_predictor;
  if (model_tasks(x->model) == 0) return OK;
  const char *json = model_task_json(model_task_find(x->model, model_task_name(x->model, 0)));
  TRY(task_parse(json, strlen(json), &x->task, e));
  x->scope.task = x->task;
  return OK;
}

int cli_scope_open(const struct site *s, const struct timeline *t, const struct asker *k, uint32_t index, const struct encoder *enc,
                   struct cli_scope *x, struct error *e) {
  char path[4096];
  *x = (struct cli_scope){.scope = {.k = k, .index = index, .encoder = enc && enc->width ? enc : NULL, .ctx = x}};
  TRY(timeline_model(s, t, x, e));
  TRY(site_path(s, path, "knowledge.db", NULL));
  return file_exists(path) ? library_open(path, false, &x->scope.knowledge, e) : OK;
}
void cli_scope_close(struct cli_scope *x) {
  if (x->predictor) predictor_free(x->predictor);
  if (x->task) task_free(x->task);
  if (x->model) model_free(x->model);
  library_close(x->scope.knowledge);
}
