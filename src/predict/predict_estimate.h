/* Private to src/predict: what sampled futures say about a question beyond "it happened in k of n".
 *
 * Between two instants of a future the model's rates are constant in a few stretches, so the rate h(t) at which the target comes next is known along
 * the whole path (predict_law.h). Two unbiased estimators of P(target within the horizon, before anything that ends the question) use it:
 *
 * - integrated hazard (a sum of conditional outcome probabilities, as in SCOPE): the mean over plain futures of the integral of h(t) dt while the
 *   question is open. The target's counting process minus that integral is a martingale, so the means agree; the integral varies far less than
 *   a 0 or 1 where the target is rare. Every outcome is answered from the same futures. One future's value may exceed 1.
 * - anticipated hazard (as in REACH): futures are drawn in which the target and what ends the question never come, which costs the rate of their
 *   coming, b(t) = h(t) + c(t): with S(t) = exp(- integral of b), the mean of the integral of S(t) h(t) dt. No draw decides about the target, so what
 *   varies is only how the rest of the life bends its rate: a model of constant rates is answered exactly by one future. One question at a time.
 *
 * The ideas are those of the SCOPE and REACH estimators (2026) for autoregressive models; here in continuous time, where each step is a
 * wait and a set of codes. A target beats what ends the question where both are in one set, as in a task's labels.
 *
 * With a gap the question is asked of those to whom the target does not come inside it, as in a task's labels (docs/task.md): plain futures in which it does
 * are left out; the anticipated hazard is divided by the chance that it does not, from the same paths.
 */
#ifndef PREDICT_ESTIMATE_H
#define PREDICT_ESTIMATE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct arena;
struct law;
struct law_shape;
struct watch { /* a question put to futures */
  const uint8_t *target,
      *rival; /* (codes) 1 = the target; 1 = ends the question (death always does, unless it is the target); NULL = code[0] alone; none */
  const uint32_t *code, *end; /* the same as lists; a target is not in `end` */
  uint32_t codes, ends;
  double gap, horizon; /* days */
};
enum watch_met { NOT_MET, MET, MET_INSIDE_GAP };
struct watch_state { /* of one future */
  double value;      /* of the estimator so far, from the gap on */
  double survive;    /* anticipated hazard: S(t) */
  double inside;     /* the same as value, inside the gap */
  bool open;
  enum watch_met met; /* plain futures */
};
int watch_one(const struct law_shape *s, uint32_t code, double horizon, struct arena *a, struct watch *out, struct error *e) MUST_CHECK;
int watch_make(const struct law_shape *s, const uint8_t *target, const uint8_t *rival, double gap, double horizon, struct arena *a,
               struct watch *out, struct error *e) MUST_CHECK;
/* Of one instant (law_meet). */
struct law_meeting watch_meet(const struct watch *w, const struct law *law, const struct law_shape *s, double *outside);
/* A stretch of a plain future without an instant, and an instant's codes. */
void watch_pass(const struct watch *w, struct watch_state *s, const struct law_shape *shape, const struct law *law, double from, double to);
void watch_set(const struct watch *w, struct watch_state *s, const struct law_shape *shape, const uint32_t *code, int n, double at);

struct estimate {
  double mean, se; /* of the mean, from the sample's spread; NaN of one future */
};
/* Over plain futures that do not meet the target inside the gap: of the estimator's values, and of how many meet it. NaN if none is left. */
struct estimate estimate_integrated(const double *value, const uint8_t *met, int n, int stride);
struct estimate estimate_share(const uint8_t *met, int n, int stride);
/* Of anticipated hazards: mean value over 1 - mean inside. */
struct estimate estimate_anticipated(const double *value, const double *inside, int n);
#endif
