/* Exact bounds against their definition: at the bound, the tail that speaks against it has exactly the remaining probability. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "validate/binomial.h"

static double tail(uint64_t k, uint64_t n, double p) { /* P(X <= k), term by term */
  double sum = 0;
  for (uint64_t i = 0; i <= k; i++)
    sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) + (double)i * log(p) +
               (double)(n - i) * log(1 - p));
  return sum;
}

static void bounds_leave_five_percent(void **state) {
  (void)state;
  static const uint64_t n[] = {1, 2, 7, 40, 400, 3000};
  for (int i = 0; i < 6; i++)
    for (uint64_t k = 0; k < n[i]; k += 1 + n[i] / 13) {
      double upper = binomial_upper(k, n[i], 0.95);
      assert_true(fabs(tail(k, n[i], upper) - 0.05) < 1e-6);
      assert_true(fabs(binomial_lower(n[i] - k, n[i], 0.95) - (1 - upper)) < 1e-12);
    }
}

static void known_values(void **state) {
  (void)state;
  assert_true(fabs(binomial_upper(0, 3000, 0.95) - (1 - pow(0.05, 1.0 / 3000))) < 1e-12);
  assert_true(binomial_upper(0, 3000, 0.95) < 0.001);
  assert_true(fabs(binomial_upper(1, 40, 0.95) - 0.1131884) < 1e-6);
  assert_true(binomial_upper(5, 5, 0.95) == 1 && binomial_lower(0, 5, 0.95) == 0);
  assert_true(binomial_upper(0, 0, 0.95) == 1 && binomial_lower(0, 0, 0.95) == 0);
  assert_true(binomial_upper(1000000, 2000000, 0.95) > 0.5 && binomial_upper(1000000, 2000000, 0.95) < 0.501);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bounds_leave_five_percent), cmocka_unit_test(known_values)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
