/* Shared by predict_uncertainty.c and predict_uncertainty_fit.c. */
#ifndef PREDICT_UNCERTAINTY_PRIVATE_H
#define PREDICT_UNCERTAINTY_PRIVATE_H
#include <math.h>

#include "predict/uncertainty.h"

struct uncertainty {
  struct uncertainty_rules rules;
  struct uncertainty_task *task;
  int tasks;
  bool has_distance;
  int width, dims;
  double mean[UNCERTAINTY_DIMS], root[UNCERTAINTY_DIMS * (UNCERTAINTY_DIMS + 1) / 2]; /* root: rows of the lower Cholesky factor */
  double level[UNCERTAINTY_LEVELS];
};
int uncertainty_dims(int width);
void uncertainty_project(const float *hidden, int width, double *out);
double uncertainty_distance(const struct uncertainty *u, double *x);
static inline double uncertainty_logit(double p) {
  if (isnan(p)) return NAN;
  p = p < 1e-12 ? 1e-12 : p > 1 - 1e-12 ? 1 - 1e-12 : p;
  return log(p) - log1p(-p);
}
#endif
