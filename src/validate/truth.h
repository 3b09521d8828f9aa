/* A model against the truth of made-up patients (simulate.h): what real data cannot tell.
 *
 *     struct truth_set set = {0};
 *     TRY(truth_add(&set, store, pseudonym, &life.truth, e));            // once a person; only held-out persons are taken
 *     TRY(truth_compare(&(struct truth_options){.model = m, .store = store, .scenario = s, .set = &set}, &arena, &result, e));
 *     truth_release(&set);
 *
 * Measured against the risk itself, not against chance outcomes: AUROC and calibration slope count every person as a case with weight risk and
 * as a control with weight 1 - risk (their expected values), so that a difference of .005 shows with thousands of persons, not millions.
 */
#ifndef VALIDATE_TRUTH_H
#define VALIDATE_TRUTH_H
#include "base/arena.h"
#include "validate/simulate.h"

struct model;
struct timeline;
struct task_example;

struct truth_set {
  struct task_example *at; /* (n) */
  struct simulated_truth *truth;
  uint32_t n, cap;
};
int truth_add(struct truth_set *set, const struct timeline *store, int64_t subject, const struct simulated_truth *t,
              struct error *e) MUST_CHECK;
void truth_release(struct truth_set *set);

struct truth_horizon {
  double days, mean_true, mean_model, auroc_ceiling, auroc_full, auroc_model; /* NaN where nobody is at risk */
  double slope, intercept;                                                    /* of the model's log odds against the true risk: 1 and 0 */
  uint32_t happened;                                                          /* persons, censoring undone */
};
struct truth_outcome {
  const char *code;
  bool known; /* an outcome of the model's hazard head */
  struct truth_horizon at[SIMULATE_HORIZONS];
  double curve_error;  /* integral of |mean model curve - mean true curve| over that of the true curve */
  double person_error; /* the same person by person, averaged */
};
struct truth_pairs { /* (person, outcome) pairs */
  uint32_t n, agree; /* the share of the futures lies within 1.96 Monte-Carlo standard errors of the other number */
  double bias;       /* mean of share - other number */
};
struct truth_result {
  uint32_t n;
  int outcomes, horizons;
  struct truth_outcome outcome[SIMULATE_OUTCOMES];
  /* Share of sampled futures with the outcome within the horizon against the closed form (the hazard head, learned beside the rates that the futures
   * come from: model error of both shows) and against the true risk; share with the outcome in their first instant against the law that they are drawn
   * from (the same law: chance alone). */
  struct truth_pairs against_head, against_truth, against_law;
  int futures;
};
struct truth_options {
  const struct model *model;
  const struct timeline *store;
  const struct scenario *scenario;
  const struct truth_set *set;
  int threads;
  int futures; /* of each of `sampled` persons; 0 = none */
  uint32_t sampled;
  double sampled_days; /* horizon of the futures; one of the scenario's */
  uint64_t seed;
};
int truth_compare(const struct truth_options *o, struct arena *a, struct truth_result *out, struct error *e) MUST_CHECK;
#endif
