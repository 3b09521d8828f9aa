/* Likelihoods of whole lives, shared out over threads, and what a store's codes are to a model. */
#include "base/thread.h"
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#define MOST_LIVES 64 /* in one forward pass */

struct job {
  const struct model *m;
  const struct timeline *store;
  const uint32_t *subject;
  uint32_t n;
  struct predict_likelihood *out;
  int *rc; /* (workers) */
  struct error *error;
};

static int flush(struct predictor *p, const struct job *j, const uint32_t *who, int *lives, struct error *e) {
  struct model_likelihood found[MOST_LIVES];
  int n = *lives;
  *lives = 0;
  if (!n) return OK;
  TRY(model_likelihood(p->m, p->w, &p->batch, found, e));
  for (int i = 0; i < n; i++)
    j->out[who[i]] =
        (struct predict_likelihood){found[i].code, found[i].wait, found[i].value, found[i].events, found[i].instants, found[i].values};
  token_batch_clear(&p->batch);
  return OK;
}

/* Each life goes to the worker of its number: the same sums whatever the number of threads, but for the batches' shapes. */
static int run_lives(struct predictor *p, const struct job *j, uint32_t worker, uint32_t workers, struct error *e) {
  uint32_t who[MOST_LIVES];
  int lives = 0;
  p->pack.want_targets = true;
  token_batch_clear(&p->batch);
  for (uint32_t i = worker; i < j->n; i += workers) {
    if (cancel_requested()) return error_set(e, E_CANCELLED, "interrupted");
    if (lives == MOST_LIVES || p->batch.positions + p->pack.context > p->positions) TRY(flush(p, j, who, &lives, e));
    struct timeline_view v = timeline_view(j->store, j->subject[i]);
    TRY(token_pack(p->v, p->map, &v, j->subject[i], v.n, INT64_MIN, &p->pack, &p->batch, e));
    who[lives++] = i;
  }
  return flush(p, j, who, &lives, e);
}

static void run_worker(void *ctx, int worker, int workers) {
  const struct job *j = ctx;
  struct predictor *p = NULL;
  struct error *e = &j->error[worker];
  int rc = predictor_new(j->m, j->store, &p, e);
  if (rc == OK) rc = run_lives(p, j, (uint32_t)worker, (uint32_t)workers, e);
  predictor_free(p);
  j->rc[worker] = rc;
}

int predict_likelihoods(const struct model *m, const struct timeline *store, const uint32_t *subject, uint32_t n, int threads,
                        struct predict_likelihood *out, struct error *e) {
  if (!n) return OK;
  struct job j = {m, store, subject, n, out, NULL, NULL};
  return predict_workers(threads, run_worker, &j, &j.rc, &j.error, e);
}

int predict_codes(const struct model *m, const struct timeline *store, struct predict_code *out, struct error *e) {
  const struct vocabulary *v = model_vocabulary(m);
  struct token_map *map;
  TRY(token_map_new(v, store, &map, e));
  for (uint32_t c = 0; c < timeline_codes(store); c++) {
    uint32_t id = token_map_id(map, c);
    out[c] = (struct predict_code){id, vocabulary_at(v, id)->subjects, token_map_birth(map, c)};
  }
  token_map_free(map);
  return OK;
}

const char *predict_vocabulary_hash(const struct model *m) { return vocabulary_hash(model_vocabulary(m)); }

bool predict_code_find(const struct model *m, struct str code, uint32_t *id) { return vocabulary_find(model_vocabulary(m), code, id); }
