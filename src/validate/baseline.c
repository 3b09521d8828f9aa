/* The tabular baseline: gradient boosting (XGBoost, Chen & Guestrin 2016) on counts and first/last/min/max/mean features of the same
 * examples. Settings are fixed here for every task and data set; only the number of rounds is chosen, on tuning patients. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xgboost/c_api.h>

#include "base/arena.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "validate/validate.h"

#define MODELS 4
#define FEW_ROWS 20000
#define MOST_ROUNDS 700
#define PATIENCE 60

struct baseline {
  struct feature_set *features;
  BoosterHandle model[MODELS];
  int rounds[MODELS];
};

static int check(int rc, struct error *e) {
  return rc == 0 ? OK : error_set(e, E_INPUT, "XGBoost refused a step (its message is held back: it may quote data)");
}

static int matrix(const struct feature_set *f, const struct timeline *store, const struct task_example *at, uint32_t n, DMatrixHandle *out,
                  struct error *e) {
  uint32_t columns = feature_count(f);
  struct arena a;
  arena_init(&a, 0, 0);
  float *x = arena_array(&a, float, (size_t)n *columns + 1), *y = arena_array(&a, float, n + 1u);
  int rc = x && y ? OK : error_set(e, E_NOMEM, "out of memory for the baseline's features");
  for (uint32_t i = 0; rc == OK && i < n; i++) {
    struct timeline_view v = timeline_view(store, at[i].subject_index);
    feature_row(f, store, &v, at[i].events, at[i].time, x + (size_t)i * columns);
    y[i] = at[i].label == LABEL_YES;
  }
  if (rc == OK) rc = check(XGDMatrixCreateFromMat(x, n, columns, NAN, out), e);
  if (rc == OK) rc = check(XGDMatrixSetFloatInfo(*out, "label", y, n), e);
  arena_free(&a);
  return rc;
}

static int set(BoosterHandle b, const char *name, double value, struct error *e) {
  char text[32];
  snprintf(text, sizeof text, "%.9g", value);
  return check(XGBoosterSetParam(b, name, text), e);
}

static int boost(struct baseline *b, int k, DMatrixHandle train, DMatrixHandle tuning, bool tune, int threads, uint64_t seed,
                 struct error *e) {
  DMatrixHandle both[2] = {train, tuning};
  TRY(check(XGBoosterCreate(both, tune ? 2 : 1, &b->model[k]), e));
  BoosterHandle m = b->model[k];
  TRY(check(XGBoosterSetParam(m, "objective", "binary:logistic"), e));
  TRY(check(XGBoosterSetParam(m, "tree_method", "hist"), e));
  TRY(check(XGBoosterSetParam(m, "eval_metric", "logloss"), e));
  TRY(set(m, "eta", 0.04, e));
  TRY(set(m, "max_depth", 4, e));
  TRY(set(m, "min_child_weight", 4, e));
  TRY(set(m, "subsample", 0.7, e));
  TRY(set(m, "colsample_bytree", 0.3, e));
  TRY(set(m, "lambda", 2, e));
  TRY(set(m, "verbosity", 0, e));
  TRY(set(m, "nthread", threads, e));
  TRY(set(m, "seed", (double)(seed % 1000000 + (uint64_t)k), e));
  double best = INFINITY;
  b->rounds[k] = tune ? 0 : 250;
  for (int i = 0; i < MOST_ROUNDS; i++) {
    TRY(check(XGBoosterUpdateOneIter(m, i, train), e));
    if (!tune && i + 1 == b->rounds[k]) break;
    if (!tune) continue;
    const char *name = "tuning", *said;
    TRY(check(XGBoosterEvalOneIter(m, i, &tuning, &name, 1, &said), e));
    const char *colon = strrchr(said, ':');
    double loss = colon ? strtod(colon + 1, NULL) : INFINITY;
    if (loss < best) best = loss, b->rounds[k] = i + 1;
    if (i + 1 - b->rounds[k] >= PATIENCE) break;
  }
  return OK;
}

/* Censored examples have no label to learn from. */
static void uncensored(struct task_examples *x) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < x->n; i++)
    if (x->at[i].label != LABEL_CENSORED) x->at[n++] = x->at[i];
  x->n = n;
}

int baseline_train(const struct timeline *store, const struct task *task, int threads, uint64_t seed, struct baseline **out,
                   struct error *e) {
  struct task_binding *binding;
  struct task_examples train = {0}, tuning = {0};
  DMatrixHandle x = NULL, xt = NULL;
  struct arena a;
  struct baseline *b = mem_alloc(sizeof *b);
  if (!b) return error_set(e, E_NOMEM, "out of memory");
  memset(b, 0, sizeof *b);
  arena_init(&a, 0, 0);
  int rc = task_bind(task, store, &binding, e);
  if (rc < 0) return arena_free(&a), mem_free(b), rc;
  TRY_OUT(task_label_all(binding, store, SPLIT_TRAIN, 0, &a, &train, e));
  TRY_OUT(task_label_all(binding, store, SPLIT_TUNING, 0, &a, &tuning, e));
  uncensored(&train);
  uncensored(&tuning);
  if (train.yes < 5 || train.n - train.yes < 5) {
    rc = error_set(e, E_INPUT, "the training patients have %u cases among %u: too few for a baseline", train.yes, train.n);
    goto out;
  }
  TRY_OUT(feature_set_build(store, train.at, train.n, -1, 400, &b->features, e));
  TRY_OUT(matrix(b->features, store, train.at, train.n, &x, e));
  bool tune = tuning.yes >= 5 && tuning.n - tuning.yes >= 5;
  if (tune) TRY_OUT(matrix(b->features, store, tuning.at, tuning.n, &xt, e));
  /* few rows: the threads' barriers cost more than the work, and twenty times more where the cores are shared */
  if (train.n < FEW_ROWS) threads = 1;
  for (int k = 0; k < MODELS; k++) TRY_OUT(boost(b, k, x, xt, tune, threads, seed, e));
  *out = b;
out:
  if (x) XGDMatrixFree(x);
  if (xt) XGDMatrixFree(xt);
  task_binding_free(binding);
  arena_free(&a);
  if (rc < 0) baseline_free(b);
  return rc;
}

int baseline_predict(const struct baseline *b, const struct timeline *store, const struct task_example *at, uint32_t n, double *probability,
                     struct error *e) {
  DMatrixHandle x;
  TRY(matrix(b->features, store, at, n, &x, e));
  int rc = OK;
  memset(probability, 0, n * sizeof *probability);
  for (int k = 0; k < MODELS && rc == OK; k++) {
    char config[160];
    bst_ulong const *shape;
    bst_ulong dims;
    const float *p;
    snprintf(config, sizeof config, "{\"type\":0,\"training\":false,\"iteration_begin\":0,\"iteration_end\":%d,\"strict_shape\":false}",
             b->rounds[k]);
    rc = check(XGBoosterPredictFromDMatrix(b->model[k], x, config, &shape, &dims, &p), e);
    for (uint32_t i = 0; rc == OK && i < n; i++) probability[i] += (double)p[i] / MODELS;
  }
  XGDMatrixFree(x);
  return rc;
}

const struct feature_set *baseline_features(const struct baseline *b) { return b->features; }

int baseline_rows(const struct baseline *b, const float *rows, uint32_t n, double *probability, double *contribution, struct error *e) {
  DMatrixHandle x;
  uint32_t columns = feature_count(b->features);
  TRY(check(XGDMatrixCreateFromMat(rows, n, columns, NAN, &x), e));
  int rc = OK;
  memset(probability, 0, n * sizeof *probability);
  if (contribution) memset(contribution, 0, (size_t)n * columns * sizeof *contribution);
  for (int k = 0; k < MODELS; k++)
    for (int kind = 0; kind < (contribution ? 2 : 1) && rc == OK;
         kind++) { /* 0 value, 2 SHAP values of the margin (Lundberg et al. 2020) */
      char config[160];
      bst_ulong const *shape;
      bst_ulong dims;
      const float *p;
      snprintf(config, sizeof config, "{\"type\":%d,\"training\":false,\"iteration_begin\":0,\"iteration_end\":%d,\"strict_shape\":false}",
               2 * kind, b->rounds[k]);
      rc = check(XGBoosterPredictFromDMatrix(b->model[k], x, config, &shape, &dims, &p), e);
      for (uint32_t i = 0; rc == OK && i < n; i++) {
        if (kind == 0) probability[i] += (double)p[i] / MODELS;
        for (uint32_t j = 0; kind == 1 && j < columns; j++)
          contribution[(size_t)i * columns + j] += (double)p[(size_t)i * (columns + 1) + j] / MODELS;
      }
    }
  XGDMatrixFree(x);
  return rc;
}

void baseline_free(struct baseline *b) {
  if (!b) return;
  for (int k = 0; k < MODELS; k++)
    if (b->model[k]) XGBoosterFree(b->model[k]);
  feature_set_free(b->features);
  mem_free(b);
}
