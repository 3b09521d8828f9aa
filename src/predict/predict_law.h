/* Private to src/predict: the law of what comes next after one position, and what it says about a question before anything is drawn.
 *
 * With log rates l of the codes the wait to the next instant is exponential with rate R = sum exp(l), and who comes is code c with
 * probability exp(l_c) / R: the law of competing exponentials (a time drawn for every code, the least taken), at the price of one
 * exponential and one categorical draw. An instant is a set: draws from the same law go on with chance `extra` after each (1 + geometric; repeats
 * count once) and end at death. Unknown and static codes have rate 0.
 *
 * `hit`: an instant's chance to meet a set of codes A before a set B, death included, ends it: a / (1 - extra (1 - a - b)), a and b being the
 * chances of one draw. From that follow the estimators (predict_estimate.h).
 */
#ifndef PREDICT_LAW_H
#define PREDICT_LAW_H
#include <stdint.h>

#include "base/error.h"

#define LAW_BLOCK 64

struct model;
struct rng;
struct law_shape { /* of a vocabulary; shared by threads */
  uint32_t codes, blocks, death;
  float *open;  /* (codes, rounded up to blocks) 1 = can come */
  double extra; /* chance that one more code joins the instant */
};
struct law {
  const float *rate; /* (codes) exp(l - top) */
  double *block;     /* (blocks) sums of rate * mask */
  double total;      /* sum of block */
  double scale;      /* exp(top): rates a day are rate * scale */
  const float *mask; /* which codes can come: shape->open, or that without some */
};
/* Fills rate (codes, rounded up to blocks) and law from log rates; E_CORRUPT if they are no numbers. */
int law_make(const struct model *m, const struct law_shape *s, const float *log_rate, float shift, float *rate, struct law *law,
             struct error *e) MUST_CHECK;
void law_sum(const struct model *m, const struct law_shape *s, const float *mask, struct law *law); /* anew under another mask */
uint32_t law_draw(const struct law *law, const struct law_shape *s, struct rng *r);
static inline double law_hit(double a, double b, double extra) { return a > 0 ? a / (1 - extra * (1 - a - b)) : 0; }
#endif
