/* How sure an answer is: learned on tuning patients after training, kept with the checkpoint (uncertainty.json), told with every answer,
 * shown on held-out patients by validate. docs/uncertainty.md has the reasons and the limits.
 *
 *     TRY(uncertainty_fit(&(struct uncertainty_options){.model = m, .store = t, .tasks = tasks, .n_tasks = n}, &json, e));
 *     TRY(checkpoint_attach(dir, "uncertainty.json", json, e));                  // model_load keeps the text: model_uncertainty
 *     struct uncertainty *u;  TRY(uncertainty_parse(model_uncertainty(m), &u, e));   // NULL if the model has none
 *     const struct uncertainty_task *k = uncertainty_find(u, "sepsis");
 *     struct interval_of x = uncertainty_interval(k, probability);  unsigned set = uncertainty_set(k, probability);
 *
 * Interval: inductive Venn-Abers (Vovk, Petej & Fedorova 2015): isotonic calibration twice, with the new patient once as a case and once as a
 * control; one of the two values is calibrated whatever the model is. Wide where few tuning patients scored alike.
 * Set: split conformal, class by class (Mondrian; Vovk et al. 2005): among patients with the outcome at least `coverage` have it in their set, and
 * among those without it likewise. {yes}, {no}, both (the model cannot tell: abstain), neither (unlike both).
 * Unusual: Mahalanobis distance (Lee et al. 2018) of the last hidden row, after a fixed random projection, as a percentile of tuning patients.
 */
#ifndef PREDICT_UNCERTAINTY_H
#define PREDICT_UNCERTAINTY_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct model;
struct timeline;
struct task;

#define UNCERTAINTY_GRID 257   /* most scores at which an interval is kept */
#define UNCERTAINTY_DIMS 64    /* most dimensions of the hidden row kept for distances */
#define UNCERTAINTY_LEVELS 101 /* percentiles of the distance: 0 to 100 */
enum { SET_NO = 1, SET_YES = 2 };

struct uncertainty_rules {   /* policy/answers.json */
  double coverage;           /* of the sets */
  double unusual_percentile; /* above it a life is called unusual */
  double unknown_share;      /* of events with codes that the model has never seen; above it likewise */
  int64_t least_events;      /* a history shorter than this is called too short */
};
struct uncertainty_task {
  char name[64];
  uint32_t n, cases; /* tuning examples used */
  int grid;
  double logit[UNCERTAINTY_GRID], lower[UNCERTAINTY_GRID], upper[UNCERTAINTY_GRID]; /* ascending; lower <= upper: probabilities */
  double yes_from, no_to; /* the set holds yes from this logit on, and no up to that one */
};
struct uncertainty;
int uncertainty_parse(const char *json, struct uncertainty **out, struct error *e) MUST_CHECK;   /* pure; E_CORRUPT */
int uncertainty_of(const struct model *m, struct uncertainty **out, struct error *e) MUST_CHECK; /* the model's own */
void uncertainty_free(struct uncertainty *u);
const struct uncertainty_rules *uncertainty_rules(const struct uncertainty *u);
const struct uncertainty_task *uncertainty_find(const struct uncertainty *u, const char *task); /* NULL: none was fitted */
struct interval_of {
  double lo, hi;
};
struct interval_of uncertainty_interval(const struct uncertainty_task *t, double probability);
unsigned uncertainty_set(const struct uncertainty_task *t, double probability);
/* hidden: (d) of the last position. Percentile 0 to 100 among tuning patients; NaN if none was fitted or d does not fit. */
double uncertainty_unusual(const struct uncertainty *u, const float *hidden, int d);

struct uncertainty_options {
  const struct model *model;
  const struct timeline *store;
  const struct task *const *tasks; /* with a head; others are left out */
  int n_tasks;
  int threads;
  const struct uncertainty_rules *rules; /* NULL: policy/answers.json of the program's data */
};
/* A task with fewer than 10 tuning cases or controls gets no interval and no set. */
int uncertainty_fit(const struct uncertainty_options *o, struct buf *json, struct error *e) MUST_CHECK;
int uncertainty_rules_load(const char *path, struct uncertainty_rules *out, struct error *e) MUST_CHECK;

/* Pure parts, for tests. Scores ascending, weight > 0: the calibrated value at `at` with one more example there, of label 0 and of label 1. */
int venn_abers(const double *score, const uint8_t *label, const double *weight, uint32_t n, double at, double *p0, double *p1,
               struct error *e) MUST_CHECK;
#endif
