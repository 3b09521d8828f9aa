/* Proof on patients never seen: discrimination, calibration, decision curves, subgroups, gaps, the tabular baseline beside it.
 *
 *     struct validation v;
 *     TRY(validate_run(&(struct validate_options){.model = m, .store = t, .task = task, .bootstrap = 500}, &arena, &v, e));
 *     TRY(validate_report_write(&v, "site/reports/NAME", e));      // report.json (every number) and report.html (self-contained, with pictures)
 *
 * Uses held-out subjects only (baseline trained on the training split, early-stopped on tuning). Intervals: percentile bootstrap
 * over subjects (Efron 1979), seeded; AUROC also with DeLong's variance (DeLong et al. 1988). Numbers that cannot be formed (one class
 * only, n too small) are null with a reason, never 0. E_MISMATCH if the model's head of the task's name was trained on another question.
 */
#ifndef VALIDATE_VALIDATE_H
#define VALIDATE_VALIDATE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

struct model;
struct timeline;
struct task;
struct memorisation;

struct interval {
  double at, lo, hi;
}; /* NaN = not available */
#define CALIBRATION_BINS 10
#define DECISION_POINTS 50
#define CURVE_POINTS 201
struct metrics { /* of one predictor on one set */
  uint32_t n, events;
  struct interval auroc, auprc, brier, slope, intercept, ece; /* calibration slope and intercept: logistic recalibration (Cox 1958) */
  double prevalence, auroc_delong_se;
};
struct curve {
  int n;
  double x[CURVE_POINTS], y[CURVE_POINTS];
};
struct scored {     /* a predictor's answers, in example order */
  const char *name; /* "model", "xgboost", "hazard" */
  double *probability;
  struct metrics all;
  struct curve roc, pr, calibration,
      decision; /* calibration: x mean predicted, y observed; decision: x threshold, y net benefit (Vickers & Elkin 2006) */
  double calibration_lo[CALIBRATION_BINS], calibration_hi[CALIBRATION_BINS];
  uint32_t calibration_n[CALIBRATION_BINS];
};
struct subgroup {
  char name[48];
  struct metrics model, baseline;
};
/* Is what the answers say about their own sureness true on these patients (predict/uncertainty.h)? Exact 95 % bounds (binomial.h). */
struct proportion {
  uint32_t k, n;
  double lo, hi; /* NaN where n = 0 */
};
struct coverage_row { /* of the conformal sets, in one group */
  char name[48];
  struct proportion cases, controls, abstains; /* true answer in the set; neither one answer nor the other */
};
struct sureness {
  bool measured;            /* the model has a record for this task */
  double promised;          /* coverage of the sets */
  struct coverage_row *row; /* the first is everybody, then the subgroups */
  int rows;
  double width; /* mean of the intervals */
  int bins;     /* of equal numbers, by the answer */
  struct {
    double answer, lower, upper; /* means */
    struct proportion observed;
  } bin[CALIBRATION_BINS];
  uint32_t unusual, too_short;                                   /* examples that would have carried the warning */
  double brier_unusual, brier_usual, auroc_unusual, auroc_usual; /* NaN where too few */
};
/* How early, at a fixed number of alerts: for tasks that ask the same patient again and again (lead_time.h). */
struct lead_result {
  double threshold, alerts_per_100;     /* per 100 patient-days, as reached */
  struct proportion flagged;            /* cases with an alert within the horizon before the outcome */
  double lead_q1, lead_median, lead_q3; /* days from the first of these alerts to the outcome; NaN without any */
  double alerts_per_detection;          /* all alerts, for each case flagged */
};
#define LEAD_BUDGETS 5
struct lead_time {
  bool measured;
  uint32_t patients, cases;
  double patient_days, horizon_days;
  struct {
    double budget; /* most alerts per 100 patient-days */
    struct lead_result model, baseline;
  } row[LEAD_BUDGETS];
};
/* This version minus another one, on the same patients (compare.h); against = "": there was none. */
struct version_comparison {
  char against[65];
  struct interval auroc, auprc, brier, nri_cases, nri_controls, at_cases, at_controls, idi;
  double delong, delong_se, delong_p, threshold;
};
#define TRIPOD_ITEMS 27
struct tripod {
  const char *statement[TRIPOD_ITEMS]; /* the hospital's own words (tripod.h); NULL = none */
};
struct gap_row {
  int64_t gap;
  uint32_t n, events;
  struct interval model_auroc, baseline_auroc;
};
#define VALIDATION_SCORES 4
struct validation_score { /* that the task file asks for (docs/task.md); difference: model less baseline; threshold: model's, baseline's */
  const char *name;
  struct interval model, baseline, difference;
  double threshold[2];
  const char *no_interval; /* why the model has none; NULL: it has one */
};
struct validation {
  char task[64], task_title[160], task_hash[65], model_dir_hash[65], store_hash[65], commit[48];
  uint32_t n, events, censored, train_n, train_events, tuning_n, tuning_events;
  uint32_t *subject_index;               /* (n) */
  uint8_t *label;                        /* (n) 0 or 1 */
  struct scored model, baseline, hazard; /* hazard.name NULL if the target is no outcome of the hazard head */
  struct subgroup *subgroups;
  int n_subgroups;
  struct gap_row *gaps;
  int n_gaps;
  struct sureness sureness;
  struct validation_score score[VALIDATION_SCORES];
  int n_scores;
  struct curve treat_all;                          /* decision curve of treating everybody */
  double difference, difference_lo, difference_hi; /* AUROC model - baseline, paired bootstrap */
  const char *leak[8]; /* findings of the leak checks (leaks.h), our own sentences and codes: the gate refuses */
  int n_leaks;
  const char *caution[8]; /* findings that may be right: a person decides */
  int n_cautions;
  struct lead_time lead;
  bool external;              /* the model learned at another site */
  struct scored recalibrated; /* external: the model after logistic recalibration on this site's tuning patients; name NULL: not done */
  struct version_comparison compared;
  struct tripod tripod;
  int bootstrap;
  uint64_t seed;
  const struct memorisation
      *memorisation; /* of the model, borrowed (memorisation.h); NULL = not measured, and the gate says nothing of it */
  double seconds;
};
struct validate_options {
  const struct model *model;
  const struct timeline *store;
  const struct task *task;
  int bootstrap; /* resamples; default 500 */
  uint64_t seed;
  int threads;
  int min_subgroup; /* least n and least 5 events for a subgroup's figures; default 50 */
  const char *model_hash, *commit;
  const struct memorisation *memorisation;
  bool external;
  const struct model *against; /* another version, or NULL */
  const char *against_hash;
  struct tripod tripod;
};
int validate_run(const struct validate_options *o, struct arena *a, struct validation *out, struct error *e) MUST_CHECK;
int validate_report_write(const struct validation *v, const char *dir, struct error *e) MUST_CHECK;
/* Gate for promotion: passes when AUROC's lower bound > 0.5, n and events suffice, calibration slope within [0.5, 2], no leak findings,
 * memorisation within its limits; reasons as text. */
bool validate_gate(const struct validation *v, struct buf *reasons);

/* metrics.c, pure: labels 0/1, scores any real; ties handled. */
double metric_auroc(const double *score, const uint8_t *label, uint32_t n);
double metric_auprc(const double *score, const uint8_t *label, uint32_t n); /* average precision, ties as one step */
double metric_brier(const double *p, const uint8_t *label, uint32_t n);
double metric_ece(const double *p, const uint8_t *label, uint32_t n, int bins); /* equal-count bins */
int metric_recalibration(const double *p, const uint8_t *label, uint32_t n, double *intercept,
                         double *slope); /* of logit p; <0 if not identified */
double metric_delong(const double *score, const uint8_t *label, uint32_t n, double *se);
double metric_net_benefit(const double *p, const uint8_t *label, uint32_t n, double threshold);

/* baseline.c: XGBoost on token features, trained on the training split, rounds by early stopping on tuning. */
struct baseline;
int baseline_train(const struct timeline *store, const struct task *task, int threads, uint64_t seed, struct baseline **out,
                   struct error *e) MUST_CHECK;
struct task_example;
int baseline_predict(const struct baseline *b, const struct timeline *store, const struct task_example *at, uint32_t n, double *probability,
                     struct error *e) MUST_CHECK;
struct feature_set;
const struct feature_set *baseline_features(const struct baseline *b); /* borrowed */
/* From finished feature rows (n, feature_count); contribution (n, feature_count) or NULL: SHAP values, log odds */
int baseline_rows(const struct baseline *b, const float *rows, uint32_t n, double *probability, double *contribution,
                  struct error *e) MUST_CHECK;
void baseline_free(struct baseline *b);
#endif
