#include "model/task_cox.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"

struct keyed {
  float time;
  uint32_t row;
};

static int by_falling_time(const void *x, const void *y) {
  const struct keyed *a = x, *b = y;
  if (a->time > b->time) return -1;
  if (a->time < b->time) return 1;
  return a->row < b->row ? -1 : a->row > b->row;
}

uint32_t cox_order(const float *time, const uint8_t *fold, int only, bool inside, uint32_t rows, uint32_t *order) {
  struct keyed *k = mem_alloc(((size_t)rows + 1) * sizeof *k);
  uint32_t n = 0;
  if (!k) return 0;
  for (uint32_t i = 0; i < rows; i++)
    if (!fold || (fold[i] == only) == inside) k[n++] = (struct keyed){time[i], i};
  qsort(k, n, sizeof *k, by_falling_time);
  for (uint32_t i = 0; i < n; i++) order[i] = k[i].row;
  mem_free(k);
  return n;
}

double cox_loss(const double *z, const float *time, const uint8_t *y, const uint32_t *order, uint32_t n, double *gradient,
                double *hessian) {
  double most = -INFINITY, risk = 0, loss = 0, share = 0, squares = 0;
  for (uint32_t i = 0; i < n; i++) most = fmax(most, z[order[i]]);
  for (uint32_t i = 0; i < n;) { /* a group of equal times joins the risk set together */
    uint32_t j = i, events = 0;
    for (; j < n && time[order[j]] == time[order[i]]; j++) risk += exp(z[order[j]] - most);
    for (uint32_t k = i; k < j; k++)
      if (y[order[k]]) loss -= z[order[k]] - most - log(risk), events++;
    for (uint32_t k = i; k < j; k++) { /* what this time's events put on everybody still at risk */
      if (gradient) gradient[order[k]] = events / risk;
      if (gradient && hessian) hessian[order[k]] = events / (risk * risk);
    }
    i = j;
  }
  if (!gradient) return loss;
  for (uint32_t i = n; i > 0;) { /* from the earliest time on, summed up: each row was at risk at every time up to its own */
    uint32_t j = i;
    double here = gradient[order[i - 1]], own_square = hessian ? hessian[order[i - 1]] : 0;
    for (; j > 0 && time[order[j - 1]] == time[order[i - 1]]; j--) {}
    share += here;
    squares += own_square;
    for (uint32_t k = j; k < i; k++) {
      double own = exp(z[order[k]] - most);
      gradient[order[k]] = share * own - (y[order[k]] != 0);
      if (hessian) hessian[order[k]] = share * own - squares * own * own;
    }
    i = j;
  }
  return loss;
}

double cox_calibrated(const double *z, const float *time, const uint8_t *y, const uint32_t *order, uint32_t n) {
  double slope = 1, most = -INFINITY, loss = 0;
  for (uint32_t i = 0; i < n; i++) most = fmax(most, z[order[i]]);
  for (int it = 0; it < 30; it++) {
    double risk = 0, first = 0, second = 0, g = 0, h = 1e-6;
    loss = 0;
    for (uint32_t i = 0; i < n;) {
      uint32_t j = i;
      for (; j < n && time[order[j]] == time[order[i]]; j++) {
        double d = z[order[j]] - most, own = exp(slope * d);
        risk += own, first += own * d, second += own * d * d;
      }
      for (double mean = first / risk; i < j; i++)
        if (y[order[i]]) {
          double d = z[order[i]] - most;
          loss += log(risk) - slope * d, g += mean - d, h += fmax(0, second / risk - mean * mean);
        }
    }
    double next = fmin(1, fmax(0, slope - fmax(-0.5, fmin(0.5, g / h))));
    if (fabs(next - slope) < 1e-6) break;
    slope = next;
  }
  return loss;
}
