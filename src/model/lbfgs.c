#include "model/lbfgs.h"

#include <math.h>

static double dot64(const double *a, const double *b, size_t n) {
  double s = 0;
  for (size_t i = 0; i < n; i++) s += a[i] * b[i];
  return s;
}

struct history {
  double *s, *y, rho[LBFGS_HISTORY]; /* (LBFGS_HISTORY, n) */
  int count;
};

static void direction(const struct lbfgs_problem *f, const struct history *b, const double *g, size_t n, double *d) {
  double alpha[LBFGS_HISTORY];
  int kept = b->count < LBFGS_HISTORY ? b->count : LBFGS_HISTORY;
  for (size_t i = 0; i < n; i++) d[i] = -g[i];
  for (int k = 1; k <= kept; k++) {
    int h = (b->count - k) % LBFGS_HISTORY;
    alpha[h] = b->rho[h] * dot64(b->s + (size_t)h * n, d, n);
    for (size_t i = 0; i < n; i++) d[i] -= alpha[h] * b->y[(size_t)h * n + i];
  }
  if (f->precondition) {
    f->precondition(f->ctx, d);
  } else if (kept) {
    int h = (b->count - 1) % LBFGS_HISTORY;
    double scale = 1 / (b->rho[h] * dot64(b->y + (size_t)h * n, b->y + (size_t)h * n, n));
    for (size_t i = 0; i < n; i++) d[i] *= scale;
  }
  for (int k = kept; k >= 1; k--) {
    int h = (b->count - k) % LBFGS_HISTORY;
    double beta = b->rho[h] * dot64(b->y + (size_t)h * n, d, n);
    for (size_t i = 0; i < n; i++) d[i] += (alpha[h] - beta) * b->s[(size_t)h * n + i];
  }
}

void lbfgs(const struct lbfgs_problem *f, size_t n, double *w, double *room, int iterations) {
  struct history b = {.s = room, .y = room + LBFGS_HISTORY * n};
  double *g = room + 2 * LBFGS_HISTORY * n, *d = g + n, *next = d + n, *g2 = next + n;
  double value = f->value(f->ctx, w, g);
  for (int it = 0; it < iterations && dot64(g, g, n) > 1e-6 * (1 + value); it++) {
    direction(f, &b, g, n, d);
    double slope = dot64(g, d, n), step = it == 0 && !f->precondition ? 1 / (1 + sqrt(dot64(g, g, n))) : 1, v2 = value;
    if (slope >= 0) break;
    int tries = 0;
    for (; tries < 25; tries++, step *= 0.5) {
      for (size_t i = 0; i < n; i++) next[i] = w[i] + step * d[i];
      v2 = f->value(f->ctx, next, g2);
      if (v2 <= value + 1e-4 * step * slope) break;
    }
    if (tries == 25) break;
    int h = b.count % LBFGS_HISTORY;
    double sy = 0;
    for (size_t i = 0; i < n; i++) {
      b.s[(size_t)h * n + i] = next[i] - w[i];
      b.y[(size_t)h * n + i] = g2[i] - g[i];
      sy += b.s[(size_t)h * n + i] * b.y[(size_t)h * n + i];
      w[i] = next[i];
      g[i] = g2[i];
    }
    if (sy > 1e-12) b.rho[h] = 1 / sy, b.count++;
    if (value - v2 < 1e-7 * (1 + fabs(value))) break;
    value = v2;
    if (f->go_on && !f->go_on(f->ctx, w)) break;
  }
}
