/* Cumulative incidence with death competing, of many outcomes at many horizons from one forward pass. */
#include "base/thread.h"
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#include <math.h>

/* In a bin of constant rates t (target) and c (competing) a person still at risk meets the target first with probability
 * t/(t+c) (1 - exp(-(t+c) length)); before `from` nobody is counted, some leave. */
double predict_incidence(const double *target, const double *rival, double from, double to) {
  double sum = 0, at_risk = 1;
  for (int b = 0; b < HAZARD_BINS; b++) {
    double begin = hazard_edge_days[b], end = b + 1 < HAZARD_BINS ? hazard_edge_days[b + 1] : INFINITY; /* the last rate goes on */
    double t = target[b], all = t + rival[b], cut[3] = {begin, fmin(fmax(from, begin), end), fmin(end, to)};
    if (begin >= to) break;
    if (cut[1] > cut[2]) cut[1] = cut[2];
    for (int part = 0; part < 2; part++) {
      double length = cut[part + 1] - cut[part];
      if (length <= 0) continue;
      double leave = isinf(length) ? (all > 0 ? 1 : 0) : -expm1(-all * length);
      if (part == 1 && all > 0) sum += at_risk * leave * t / all;
      at_risk *= 1 - leave;
    }
  }
  return sum;
}

/* Rates of death in each bin, from p->log_hazard. */
void predict_death_rates(const struct predictor *p, double *rate) {
  for (int b = 0; b < HAZARD_BINS; b++) rate[b] = 0;
  for (uint32_t i = 0; i < p->deaths; i++)
    for (int b = 0; b < HAZARD_BINS; b++) rate[b] += exp((double)p->log_hazard[(size_t)p->death[i] * HAZARD_BINS + (size_t)b]);
}

/* Within each of `days`, ascending or not; death's own rate has no rival. */
void predict_outcome_curve(const struct predictor *p, uint32_t outcome, const double *death, const double *days, int n, double *out) {
  static const double nothing[HAZARD_BINS];
  double own[HAZARD_BINS];
  bool dies = false;
  for (int b = 0; b < HAZARD_BINS; b++) own[b] = exp((double)p->log_hazard[(size_t)outcome * HAZARD_BINS + (size_t)b]);
  for (uint32_t i = 0; i < p->deaths; i++) dies |= p->death[i] == outcome;
  for (int k = 0; k < n; k++) out[k] = predict_incidence(own, dies ? nothing : death, 0, days[k]);
}

/* ---- many lives ---- */

struct job {
  const struct model *m;
  const struct timeline *store;
  const struct task_example *at;
  uint32_t n;
  const struct predict_curves_request *want;
  double *out;
  int *rc; /* (workers) */
  struct error *error;
};

static int curves_of(struct predictor *p, const struct job *j, uint32_t i, struct error *e) {
  const struct task_example *x = &j->at[i];
  const struct predict_curves_request *w = j->want;
  struct timeline_view view = timeline_view(j->store, x->subject_index);
  double *out = j->out + (size_t)i * (size_t)w->codes * (size_t)w->n_days, death[HAZARD_BINS];
  token_batch_clear(&p->batch);
  TRY(token_pack(p->v, p->map, &view, x->subject_index, x->events, x->time, &p->pack, &p->batch, e));
  TRY(model_forward(p->m, p->w, &p->batch, NULL, e));
  size_t d = (size_t)model_config(p->m)->d;
  const float *last = model_hidden(p->w) + (size_t)(p->batch.positions - 1) * d;
  model_hazard(p->m, p->w, last, p->log_hazard);
  predict_death_rates(p, death);
  for (int k = 0; k < w->codes; k++, out += w->n_days) {
    uint32_t id;
    int32_t outcome = vocabulary_find(p->v, str_c(w->code[k]), &id) ? vocabulary_at(p->v, id)->outcome : -1;
    for (int h = 0; h < w->n_days && outcome < 0; h++) out[h] = NAN;
    if (outcome >= 0) predict_outcome_curve(p, (uint32_t)outcome, death, w->days, w->n_days, out);
  }
  return OK;
}

static void run_worker(void *ctx, int worker, int workers) {
  const struct job *j = ctx;
  struct predictor *p = NULL;
  struct error *e = &j->error[worker];
  int rc = predictor_new(j->m, j->store, &p, e);
  for (uint64_t i = (uint64_t)worker; rc == OK && i < j->n; i += (uint64_t)workers)
    rc = cancel_requested() ? error_set(e, E_CANCELLED, "interrupted") : curves_of(p, j, (uint32_t)i, e);
  predictor_free(p);
  j->rc[worker] = rc;
}

int predict_curves(const struct model *m, const struct timeline *store, const struct task_example *at, uint32_t n,
                   const struct predict_curves_request *want, int threads, double *out, struct error *e) {
  struct job j = {m, store, at, n, want, out, NULL, NULL};
  return predict_workers(threads, run_worker, &j, &j.rc, &j.error, e);
}
