/* L-BFGS (Liu & Nocedal 1989) with halved steps: for the small last fits that are done exactly, on all rows at once. */
#ifndef MODEL_LBFGS_H
#define MODEL_LBFGS_H
#include <stdbool.h>
#include <stddef.h>

struct lbfgs_problem {
  double (*value)(void *ctx, const double *w, double *g); /* at w (n); fills the gradient g (n) */
  bool (*go_on)(void *ctx, const double *w);              /* asked after each iteration; NULL: always */
  void (*precondition)(void *ctx, double *g); /* g (n) times about the inverse of the second derivatives; NULL: scaled by the last step */
  void *ctx;
};
#define LBFGS_HISTORY 10
#define LBFGS_ROOM(n) ((2 * LBFGS_HISTORY + 4) * (n)) /* doubles that lbfgs() works in */
/* Improves w (n) until nothing is gained, or so many iterations are done. */
void lbfgs(const struct lbfgs_problem *f, size_t n, double *w, double *room, int iterations);
#endif
