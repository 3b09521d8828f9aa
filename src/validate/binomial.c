#include "validate/binomial.h"

#include <math.h>

/* P(X <= k) of n trials at p: the smaller tail is summed from its largest term, so nothing is lost to cancellation. */
static double at_most(uint64_t k, uint64_t n, double p) {
  if (k >= n || p <= 0) return 1;
  if (p >= 1) return 0;
  double mean = (double)n * p, sum = 0;
  bool low = (double)k <= mean;
  uint64_t from = low ? k : k + 1;
  double term = exp(lgamma((double)n + 1) - lgamma((double)from + 1) - lgamma((double)(n - from) + 1) + (double)from * log(p) +
                    (double)(n - from) * log1p(-p));
  for (uint64_t i = from; term > 0; low ? i-- : i++) {
    sum += term;
    if (low ? i == 0 : i == n) break;
    double next = low ? term * (double)i / (double)(n - i + 1) * (1 - p) / p : term * (double)(n - i) / (double)(i + 1) * p / (1 - p);
    if (next < sum * 1e-17) break;
    term = next;
  }
  return low ? sum : 1 - sum;
}

double binomial_upper(uint64_t k, uint64_t n, double confidence) {
  double low = 0, high = 1;
  if (k >= n) return 1;
  for (int i = 0; i < 200 && high - low > 1e-15; i++) {
    double p = (low + high) / 2;
    if (at_most(k, n, p) > 1 - confidence)
      low = p;
    else
      high = p;
  }
  return high;
}

double binomial_lower(uint64_t k, uint64_t n, double confidence) { return k == 0 ? 0 : 1 - binomial_upper(n - k, n, confidence); }
