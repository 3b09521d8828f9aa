/* Curves, discrimination and calibration of the closed form against what is true; sampled futures against the closed form. */
#include "validate/truth.h"

#include <math.h>
#include <stdlib.h>

#include "predict/predict.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "validate/metrics.h"

int truth_add(struct truth_set *set, const struct timeline *store, int64_t subject, const struct simulated_truth *t, struct error *e) {
  uint32_t index, code;
  TRY(timeline_find(store, subject, &index, e));
  struct timeline_view v = timeline_view(store, index);
  if (v.split != SPLIT_HELD_OUT) return OK;
  if (!timeline_code_find(store, STR("SIM//INDEX"), &code)) return error_set(e, E_NOTFOUND, "these timelines hold no simulated index");
  uint32_t k = v.statics;
  while (k < v.n && v.code[k] != code) k++;
  if (k == v.n) return error_set(e, E_MISMATCH, "a simulated person has no index in these timelines");
  while (k + 1 < v.n && v.time[k + 1] == v.time[k]) k++;
  if (set->n == set->cap) {
    uint32_t cap = set->cap ? 2 * set->cap : 256;
    struct task_example *at = mem_realloc(set->at, cap * sizeof *at);
    if (at) set->at = at;
    struct simulated_truth *truth = mem_realloc(set->truth, cap * sizeof *truth);
    if (truth) set->truth = truth;
    if (!at || !truth) return error_set(e, E_NOMEM, "out of memory");
    set->cap = cap;
  }
  set->at[set->n] = (struct task_example){.subject_index = index, .time = v.time[k], .events = k + 1};
  set->truth[set->n++] = *t;
  return OK;
}

void truth_release(struct truth_set *set) {
  mem_free(set->at);
  mem_free(set->truth);
  *set = (struct truth_set){0};
}

struct soft { /* everybody twice: a case with the weight of the risk, a control with that of its complement */
  double *score, *weight;
  uint8_t *label;
};

static int soft_new(uint32_t n, struct arena *a, struct soft *x, struct error *e) {
  x->score = arena_array(a, double, 2 * (size_t)n);
  x->weight = arena_array(a, double, 2 * (size_t)n);
  x->label = arena_array(a, uint8_t, 2 * (size_t)n);
  if (!x->score || !x->weight || !x->label) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < n; i++) x->label[2 * i] = 1;
  return OK;
}

static int soft_measure(struct soft *x, uint32_t n, double *auroc, double *intercept, double *slope, struct error *e) {
  struct arena a;
  struct ranked r;
  arena_init(&a, 0, 0);
  int rc = ranked_init(&r, x->score, x->label, 2 * n, &a, e);
  if (rc == OK) {
    *auroc = ranked_auroc(&r, x->weight);
    if (slope && ranked_recalibration(&r, x->weight, intercept, slope) < 0) *intercept = *slope = NAN;
  }
  arena_free(&a);
  return rc;
}

static int one_horizon(const struct truth_options *o, const double *curve, int k, int h, struct soft *x, struct truth_horizon *out,
                       struct error *e) {
  const struct truth_set *set = o->set;
  size_t outcomes = (size_t)scenario_outcomes(o->scenario), horizons = (size_t)scenario_horizons(o->scenario);
  *out = (struct truth_horizon){.days = scenario_horizon(o->scenario, h)};
  for (uint32_t i = 0; i < set->n; i++) {
    double risk = set->truth[i].risk[k][h];
    x->weight[2 * i] = risk, x->weight[2 * i + 1] = 1 - risk;
    x->score[2 * i] = x->score[2 * i + 1] = risk;
    out->mean_true += risk / set->n;
    out->happened += set->truth[i].happened[k] <= out->days;
  }
  TRY(soft_measure(x, set->n, &out->auroc_ceiling, NULL, NULL, e));
  for (uint32_t i = 0; i < set->n; i++) {
    double p = curve[((size_t)i * outcomes + (size_t)k) * horizons + (size_t)h];
    x->score[2 * i] = x->score[2 * i + 1] = p;
    out->mean_model += p / set->n;
  }
  TRY(soft_measure(x, set->n, &out->auroc_model, &out->intercept, &out->slope, e));
  for (uint32_t i = 0; i < set->n; i++) { /* what somebody who sees the unmeasured could reach */
    double full = set->truth[i].full[k][h];
    x->weight[2 * i] = full, x->weight[2 * i + 1] = 1 - full;
    x->score[2 * i] = x->score[2 * i + 1] = full;
  }
  return soft_measure(x, set->n, &out->auroc_full, NULL, NULL, e);
}

static double integral(const struct scenario *s, const double *y) { /* trapezoids from (0, 0) */
  double sum = 0, day = 0, before = 0;
  for (int h = 0; h < scenario_horizons(s); h++) {
    sum += (scenario_horizon(s, h) - day) * (before + y[h]) / 2;
    day = scenario_horizon(s, h), before = y[h];
  }
  return sum;
}

static void curve_errors(const struct truth_options *o, const double *curve, int k, struct truth_outcome *out) {
  const struct truth_set *set = o->set;
  size_t outcomes = (size_t)scenario_outcomes(o->scenario), horizons = (size_t)scenario_horizons(o->scenario);
  double off[SIMULATE_HORIZONS], truth[SIMULATE_HORIZONS], person = 0;
  for (size_t h = 0; h < horizons; h++) {
    off[h] = fabs(out->at[h].mean_model - out->at[h].mean_true);
    truth[h] = out->at[h].mean_true;
  }
  out->curve_error = integral(o->scenario, off) / integral(o->scenario, truth);
  for (uint32_t i = 0; i < set->n; i++) {
    for (size_t h = 0; h < horizons; h++)
      off[h] = fabs(curve[((size_t)i * outcomes + (size_t)k) * horizons + h] - set->truth[i].risk[k][h]);
    person += integral(o->scenario, off) / set->n;
  }
  out->person_error = person / integral(o->scenario, truth);
}

static void compare_share(double share, double p, int futures, struct truth_pairs *out) {
  double se = sqrt(fmax(p * (1 - p), 1e-12) / futures);
  out->n++;
  out->agree += fabs(share - p) <= 1.96 * se;
  out->bias += share - p; /* a sum until all are there */
}

/* Futures with the code within the horizon, and with the code in their first instant. */
static void count_futures(const struct futures *f, uint32_t id, double days, int *within, int *next) {
  *within = *next = 0;
  for (int j = 0; j < f->count; j++) {
    bool has = false, first = false;
    for (int q = 0; q < f->n[j] && f->path[j][q].days <= days; q++) {
      has |= f->path[j][q].code == id;
      first |= f->path[j][q].code == id && f->path[j][q].days == f->path[j][0].days;
    }
    *within += has, *next += first;
  }
}

static int sample_one(struct predictor *p, const struct truth_options *o, const double *curve, uint32_t i, int h, struct truth_result *out,
                      struct error *e) {
  struct arena a;
  struct futures f;
  const struct task_example *at = &o->set->at[i];
  size_t outcomes = (size_t)out->outcomes, horizons = (size_t)out->horizons;
  arena_init(&a, 0, 0);
  int rc = predict_futures(p, at->subject_index, at->time, o->futures, o->sampled_days, o->seed + i, &a, &f, e);
  for (int k = 0; rc == OK && k < out->outcomes; k++) {
    uint32_t id;
    double head = curve[((size_t)i * outcomes + (size_t)k) * horizons + (size_t)h], next;
    int with, with_next;
    if (!predict_code_find(o->model, str_c(out->outcome[k].code), &id) || isnan(head)) continue;
    rc = predict_next(p, at->subject_index, at->time, &id, 1, o->sampled_days, &next, e);
    if (rc < 0) break;
    count_futures(&f, id, o->sampled_days, &with, &with_next);
    compare_share((double)with / f.count, head, f.count, &out->against_head);
    compare_share((double)with / f.count, o->set->truth[i].risk[k][h], f.count, &out->against_truth);
    compare_share((double)with_next / f.count, next, f.count, &out->against_law);
  }
  arena_free(&a);
  return rc;
}

static int sample(const struct truth_options *o, const double *curve, struct truth_result *out, struct error *e) {
  struct predictor *p;
  int h = 0;
  while (h < out->horizons && scenario_horizon(o->scenario, h) != o->sampled_days) h++;
  if (h == out->horizons) return error_set(e, E_USAGE, "the futures' horizon is none of the scenario's");
  out->futures = o->futures;
  TRY(predictor_new(o->model, o->store, &p, e));
  int rc = OK;
  for (uint32_t i = 0; i < o->set->n && i < o->sampled && rc == OK; i++) rc = sample_one(p, o, curve, i, h, out, e);
  predictor_free(p);
  struct truth_pairs *each[] = {&out->against_head, &out->against_law, &out->against_truth};
  for (int k = 0; k < 3; k++)
    if (each[k]->n) each[k]->bias /= each[k]->n;
  return rc;
}

int truth_compare(const struct truth_options *o, struct arena *a, struct truth_result *out, struct error *e) {
  const struct scenario *s = o->scenario;
  const char *code[SIMULATE_OUTCOMES];
  double days[SIMULATE_HORIZONS];
  *out = (struct truth_result){.n = o->set->n, .outcomes = scenario_outcomes(s), .horizons = scenario_horizons(s)};
  if (o->set->n < 2) return error_set(e, E_INPUT, "no simulated person is held out");
  for (int k = 0; k < out->outcomes; k++) code[k] = scenario_outcome(s, k);
  for (int h = 0; h < out->horizons; h++) days[h] = scenario_horizon(s, h);
  struct predict_curves_request want = {.code = code, .codes = out->outcomes, .days = days, .n_days = out->horizons};
  double *curve = arena_array(a, double, (size_t)o->set->n *(size_t)(out->outcomes * out->horizons));
  struct soft x;
  if (!curve) return error_set(e, E_NOMEM, "out of memory");
  TRY(soft_new(o->set->n, a, &x, e));
  TRY(predict_curves(o->model, o->store, o->set->at, o->set->n, &want, o->threads, curve, e));
  for (int k = 0; k < out->outcomes; k++) {
    struct truth_outcome *t = &out->outcome[k];
    *t = (struct truth_outcome){.code = code[k], .known = !isnan(curve[(size_t)k * (size_t)out->horizons])};
    if (!t->known) continue;
    for (int h = 0; h < out->horizons; h++) TRY(one_horizon(o, curve, k, h, &x, &t->at[h], e));
    curve_errors(o, curve, k, t);
  }
  return o->futures > 0 ? sample(o, curve, out, e) : OK;
}
