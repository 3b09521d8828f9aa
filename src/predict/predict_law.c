#include "predict/predict_law.h"

#include <math.h>
#include <stdbool.h>

#include "base/random.h"
#include "model/model.h"

void law_sum(const struct model *m, const struct law_shape *s, const float *mask, struct law *law) {
  law->mask = mask;
  law->total = 0;
  for (uint32_t b = 0; b < s->blocks; b++) {
    law->block[b] = model_dot(m, LAW_BLOCK, law->rate + (size_t)b * LAW_BLOCK, mask + (size_t)b * LAW_BLOCK);
    law->total += law->block[b];
  }
}

int law_make(const struct model *m, const struct law_shape *s, const float *log_rate, float shift, float *rate, struct law *law,
             struct error *e) {
  double top = 0, sum = model_exp(m, s->codes, shift, log_rate, rate);
  if (!(sum < 1e30)) { /* rates that overflow as they are */
    top = model_logsumexp(m, s->codes, log_rate) + (double)shift;
    if (!isfinite(top)) return error_set(e, E_CORRUPT, "the model's rates are no numbers");
    model_exp(m, s->codes, shift - (float)top, log_rate, rate);
  }
  for (uint32_t c = s->codes; c < s->blocks * LAW_BLOCK; c++) rate[c] = 0;
  law->rate = rate;
  law->scale = exp(fmin(top, 600));
  law_sum(m, s, s->open, law);
  return OK;
}

/* The uniform number falls into a block, then onto a code. Rounding may carry it past the last: then it is the last that can come. */
uint32_t law_draw(const struct law *law, const struct law_shape *s, struct rng *r) {
  double at = rng_uniform(r) * law->total;
  uint32_t b = 0, last = 0;
  bool any = false;
  for (; b + 1 < s->blocks && at >= law->block[b]; b++) at -= law->block[b];
  while (b > 0 && law->block[b] <= 0) b--, at = INFINITY;
  for (uint32_t c = b * LAW_BLOCK, end = c + LAW_BLOCK; c < end; c++) {
    double x = (double)law->rate[c] * (double)law->mask[c];
    if (!(x > 0)) continue;
    last = c;
    any = true;
    if (at < x) break;
    at -= x;
  }
  return any ? last : 0;
}
