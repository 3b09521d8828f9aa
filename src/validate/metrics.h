/* Weighted metrics over a fixed order: sorted once, then each bootstrap resample is one pass over its weights. Private to validate/. */
#ifndef VALIDATE_METRICS_H
#define VALIDATE_METRICS_H
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "validate/validate.h"

double clipped_logit(double p); /* of p held within 1e-7 of 0 and 1 */
struct ranked {                 /* one predictor's scores in descending order, ties marked */
  uint32_t n;
  uint32_t *order; /* example of rank i */
  uint8_t *last;   /* 1 where a group of equal scores ends */
  const double *score;
  const uint8_t *label;
  double *logit; /* of score, clipped; by example */
};
int ranked_init(struct ranked *r, const double *score, const uint8_t *label, uint32_t n, struct arena *a, struct error *e) MUST_CHECK;
/* w = weight per example (NULL = 1). NaN where a class is missing. */
double ranked_auroc(const struct ranked *r, const double *w);
double ranked_auprc(const struct ranked *r, const double *w);
double ranked_brier(const struct ranked *r, const double *w);
double ranked_ece(const struct ranked *r, const double *w, int bins);
int ranked_recalibration(const struct ranked *r, const double *w, double *intercept, double *slope);
/* Fills metrics with intervals: `cluster[i]` = subject of example i (0..clusters-1); resample b draws clusters with Philox(seed, b). */
struct pool;
int metrics_bootstrap(const struct ranked *r, const uint32_t *cluster, uint32_t clusters, int resamples, uint64_t seed, struct pool *pool,
                      struct arena *a, struct metrics *out, struct error *e) MUST_CHECK;
/* AUROC difference first - second with a paired percentile interval. */
int metrics_difference(const struct ranked *first, const struct ranked *second, const uint32_t *cluster, uint32_t clusters, int resamples,
                       uint64_t seed, struct arena *a, double out[3], struct error *e) MUST_CHECK;
/* For three digits: what rounds to nothing has no sign. */
static inline double shown(double x) { return x > -0.0005 && x < 0.0005 ? 0 : x; }
void curves_fill(const struct ranked *r, struct scored *s);
#endif
