/* Do explanations tell the truth about the predictor that they explain? Deletion: the events that are said to have raised the answer are taken out, most
 * important first, and the predictor is asked again; the area under answer / first answer is small for a faithful order (Petsiuk et al. 2018).
 * Insertion: they are put back into the life without them, in the same order; there the area is large. Orders: the model's reasons (greedy exact removal),
 * single exact removals, integrated gradients, chance, and the baseline's SHAP values (each column's shared out over the events of its code), each on the
 * predictor that it explains; and reasons and SHAP on the other one's predictor, where the orders differ and the predictor does not. Patients: the fifth at
 * highest risk by the mean of both predictors, so that neither starts from its own overestimates.
 * Usage: explain_bench SITE MODEL_DIR TASK.json PATIENTS   prints a row for each: name deletion:insertion of every patient */
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "kernel/kernel.h"
#include "validate/validate.h"

#define STEPS 20 /* events taken out at most */
enum { REASONS, REMOVAL, GRADIENT, RANDOM, SHAP, SHAP_ON_MODEL, REASONS_ON_BASELINE, WAYS };
static const struct {
  const char *name;
  int order;
  bool baseline; /* is asked */
} ways[WAYS] = {[REASONS] = {"reasons", REASONS, false},
                [REMOVAL] = {"exact-removal", REMOVAL, false},
                [GRADIENT] = {"integrated-gradients", GRADIENT, false},
                [RANDOM] = {"random", RANDOM, false},
                [SHAP] = {"baseline-SHAP", SHAP, true},
                [SHAP_ON_MODEL] = {"SHAP-on-the-model", SHAP, false},
                [REASONS_ON_BASELINE] = {"reasons-on-baseline", REASONS, true}};

struct ranked {
  uint32_t event;
  double weight;
};
static int by_weight(const void *x, const void *y) {
  const struct ranked *a = x, *b = y;
  if (a->weight != b->weight) return a->weight < b->weight ? 1 : -1;
  return a->event < b->event ? -1 : 1;
}

struct bench {
  const struct timeline *store;
  struct predictor *p;
  struct question q;
  struct baseline *baseline;
  const struct feature_set *features;
  float *row;
  double *contribution;
  double deletion[WAYS][2000], insertion[WAYS][2000];
  int n;
};

/* The life without the listed events. */
static void without(const struct life *life, const struct timeline_view *v, const uint8_t *gone, struct timeline_view *out, int64_t *time,
                    uint32_t *code, float *value) {
  *out = *v;
  out->n = out->statics = 0;
  for (uint32_t k = 0; k < life->events; k++) {
    if (gone[k]) continue;
    time[out->n] = v->time[k], code[out->n] = v->code[k], value[out->n++] = v->value[k];
    out->statics += k < v->statics;
  }
  out->time = time, out->code = code, out->value = value;
}

static int ask(struct bench *b, bool baseline, const struct life *life, const struct timeline_view *v, const uint8_t *gone, int64_t now,
               double *p, struct error *e) {
  int64_t *time = mem_alloc((life->events + 1) * sizeof *time);
  uint32_t *code = mem_alloc((life->events + 1) * sizeof *code);
  float *value = mem_alloc((life->events + 1) * sizeof *value);
  struct timeline_view edited;
  if (!time || !code || !value) return error_set(e, E_NOMEM, "out of memory");
  without(life, v, gone, &edited, time, code, value);
  int rc = OK;
  if (baseline) {
    feature_row(b->features, b->store, &edited, edited.n, now, b->row);
    rc = baseline_rows(b->baseline, b->row, 1, p, NULL, e);
  } else {
    struct life l = {.view = &edited, .index = life->index, .events = edited.n, .now = now};
    struct answer a;
    rc = predict_lives(b->p, &b->q, &l, 1, &a, e);
    *p = a.shipped;
  }
  mem_free(time), mem_free(code), mem_free(value);
  return rc;
}

/* Areas of both curves for one order, relative to the whole answer. */
static int curves(struct bench *b, bool baseline, const struct life *life, const struct timeline_view *v, int64_t now,
                  const struct ranked *order, int n, double *deletion, double *insertion, struct error *e) {
  uint8_t *gone = mem_alloc(life->events + 1);
  double p0, p;
  if (!gone) return error_set(e, E_NOMEM, "out of memory");
  memset(gone, 0, life->events + 1);
  int rc = ask(b, baseline, life, v, gone, now, &p0, e);
  *deletion = *insertion = 0;
  for (int k = 0; k < STEPS && rc == OK; k++) {
    if (k < n) gone[order[k].event] = 1;
    rc = ask(b, baseline, life, v, gone, now, &p, e);
    *deletion += p / p0 / STEPS;
  }
  for (int k = 0; k < STEPS && rc == OK; k++) { /* the same events come back, most important first */
    if (k < n) gone[order[k].event] = 0;
    rc = ask(b, baseline, life, v, gone, now, &p, e);
    *insertion += p / p0 / STEPS;
  }
  mem_free(gone);
  return rc;
}

/* SHAP of a column goes to the events of its code in equal parts. */
static void share_shap(struct bench *b, const struct life *life, const struct timeline_view *v, struct ranked *out) {
  for (uint32_t k = 0; k < life->events; k++) out[k] = (struct ranked){k, 0};
  for (uint32_t j = 0; j < feature_count(b->features); j++) {
    struct buf name = {0};
    feature_name(b->features, j, &name);
    uint32_t same = 0;
    for (int pass = 0; pass < 2; pass++)
      for (uint32_t k = 0; k < life->events; k++) {
        struct str code = timeline_code_name(b->store, v->code[k]);
        if (name.n <= code.n || name.p[code.n] != ' ' || memcmp(name.p, code.p, code.n) != 0) continue;
        if (pass == 0) same++;
        if (pass == 1) out[k].weight += b->contribution[j] / same;
      }
    buf_release(&name);
  }
}

/* Events by what an order says raised the answer, most important first; n of them. */
static int order_of(struct bench *b, int order, const struct life *life, const struct prediction *r, struct ranked *out, uint32_t *n,
                    struct error *e) {
  const struct timeline_view *v = life->view;
  struct rng rng;
  double unused;
  int rc = OK;
  *n = 0;
  rng_init(&rng, 7, life->index);
  if (order == REASONS)
    for (int i = 0; i < r->reasons; i++)
      for (uint32_t k = r->reason[i].events; k-- > 0;) out[*n] = (struct ranked){r->reason[i].event[k], 1.0 / (1 + *n)}, ++*n;
  if (order == REMOVAL || order == GRADIENT)
    for (int i = 0; i < r->contributions; i++) {
      const struct predict_contribution *c = &r->contribution[i];
      double w = order == REMOVAL ? c->delta : c->gradient;
      if (w > 0) out[(*n)++] = (struct ranked){c->event, w};
    }
  if (order == RANDOM)
    for (uint32_t k = 0; k < life->events; k++) out[(*n)++] = (struct ranked){k, rng_uniform(&rng)};
  if (order == SHAP) {
    feature_row(b->features, b->store, v, life->events, life->now, b->row);
    rc = baseline_rows(b->baseline, b->row, 1, &unused, b->contribution, e);
    share_shap(b, life, v, out);
    *n = life->events;
  }
  qsort(out, *n, sizeof *out, by_weight);
  while (*n && out[*n - 1].weight <= 0) --*n;
  return rc;
}

static int one(struct bench *b, const struct task *task, const struct task_example *x, struct error *e) {
  struct timeline_view v = timeline_view(b->store, x->subject_index);
  struct life life = {.view = &v, .index = x->subject_index, .events = x->events, .now = x->time};
  struct ranked *order = mem_alloc((life.events + 1) * sizeof *order);
  struct prediction r;
  struct arena a;
  if (!order) return error_set(e, E_NOMEM, "out of memory");
  arena_init(&a, 0, 0);
  struct predict_options o = {.task = task, .time = x->time, .explain = 1000000, .reasons = STEPS, .outcomes = 1};
  int rc = predict(b->p, x->subject_index, &o, &a, &r, e);
  for (int way = 0; way < WAYS && rc == OK; way++) {
    uint32_t n;
    rc = order_of(b, ways[way].order, &life, &r, order, &n, e);
    if (rc == OK)
      rc = curves(b, ways[way].baseline, &life, &v, x->time, order, (int)n, &b->deletion[way][b->n], &b->insertion[way][b->n], e);
  }
  if (rc == OK) b->n++;
  arena_free(&a);
  mem_free(order);
  return rc;
}

struct by_risk {
  double p;
  uint32_t i;
};
static int by_risk(const void *x, const void *y) {
  const struct by_risk *a = x, *b = y;
  if (a->p != b->p) return a->p < b->p ? 1 : -1;
  return a->i < b->i ? -1 : 1;
}

static int run(const char *store, const char *dir, const char *task_file, uint32_t most, struct error *e) {
  static struct bench b;
  struct timeline *t;
  struct model *m;
  struct task *task;
  struct task_binding *bound;
  struct task_examples x;
  struct arena a;
  TRY(timeline_open(store, &t, e));
  TRY(model_load(dir, &m, e));
  model_set_kernel(m, kernel_pick(KERNEL_AUTO, KERNEL_F32));
  TRY(task_load(task_file, &task, e));
  TRY(task_bind(task, t, &bound, e));
  arena_init(&a, 0, 0);
  TRY(task_label_all(bound, t, SPLIT_HELD_OUT, 0, &a, &x, e));
  b.store = t;
  TRY(predictor_new(m, t, &b.p, e));
  TRY(question_open(b.p, task, &b.q, e));
  TRY(baseline_train(t, task, 1, 1, &b.baseline, e));
  b.features = baseline_features(b.baseline);
  b.row = mem_alloc((feature_count(b.features) + 1) * sizeof *b.row);
  b.contribution = mem_alloc((feature_count(b.features) + 1) * sizeof *b.contribution);
  double *p = arena_array(&a, double, x.n + 1u);
  struct by_risk *order = arena_array(&a, struct by_risk, x.n + 1u);
  if (!b.row || !b.contribution || !p || !order) return error_set(e, E_NOMEM, "out of memory");
  TRY(predict_examples(m, t, task, x.at, x.n, 1, p, NULL, e));
  for (uint32_t i = 0; i < x.n; i++) {
    struct timeline_view v = timeline_view(t, x.at[i].subject_index);
    double theirs;
    feature_row(b.features, t, &v, x.at[i].events, x.at[i].time, b.row);
    TRY(baseline_rows(b.baseline, b.row, 1, &theirs, NULL, e));
    order[i] = (struct by_risk){(p[i] + theirs) / 2, i};
  }
  qsort(order, x.n, sizeof *order, by_risk);
  uint32_t tenth = x.n / 5; /* of the fifth at highest risk: explanations are read where the answer is high */
  if (most > 2000) most = 2000;
  for (uint32_t i = 0; i < most && i < tenth; i++)
    TRY(one(&b, task, &x.at[order[(uint64_t)i * tenth / (most < tenth ? most : tenth)].i], e));
  for (int way = 0; way < WAYS; way++) {
    printf("%s", ways[way].name);
    for (int i = 0; i < b.n; i++) printf(" %.6f:%.6f", b.deletion[way][i], b.insertion[way][i]);
    printf("\n");
  }
  return OK;
}

int main(int argc, char **argv) {
  struct error e = {0};
  if (argc != 5) return fprintf(stderr, "explain_bench TIMELINES MODEL TASK.json PATIENTS\n"), 64;
  if (run(argv[1], argv[2], argv[3], (uint32_t)strtoul(argv[4], NULL, 10), &e) < 0) return error_print(stderr, &e), 1;
  return 0;
}
