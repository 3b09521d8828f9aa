#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "validate/challenge.h"

#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-9)

/* Ten stays, four deaths; at 0.5 five are called, three of them rightly: Se 3/4, PPV 3/5. */
static void test_event1(void **state) {
  (void)state;
  const double p[10] = {.9, .8, .7, .6, .5, .4, .3, .2, .1, .05};
  const uint8_t y[10] = {1, 1, 0, 1, 0, 0, 1, 0, 0, 0};
  NEAR(challenge_event1(p, y, 10, 0.5), 0.6);
  NEAR(challenge_event1(p, y, 10, 0.85), 0.25); /* one called: Se 1/4, PPV 1 */
  NEAR(challenge_event1(p, y, 10, 0.95), 0);    /* nobody called */
  NEAR(challenge_threshold(p, y, 10), 0.55);    /* four deaths: between the fourth and the fifth */
  NEAR(challenge_event1(p, y, 10, 0.55), 0.75);
  const uint8_t none[10] = {0};
  assert_true(isnan(challenge_event1(p, none, 10, 0.5)) && isnan(challenge_threshold(p, none, 10)));
}

/* Twenty stays in ten groups of two. Group g has risks r and r; by hand: only groups with O != E add. */
static void test_h(void **state) {
  (void)state;
  double p[20];
  uint8_t y[20] = {0};
  for (int i = 0; i < 20; i++) p[19 - i] = 0.05 + 0.1 * (i / 2); /* given backwards: sorting is the scorer's work */
  y[0] = 1;                                                      /* one of the two of risk 0.95 */
  double h = 0;
  for (int g = 0; g < 10; g++) {
    double r = 0.05 + 0.1 * g, off = (g == 9 ? 1 : 0) - 2 * r;
    h += off * off / (2 * r * (1 - r) + 0.001);
  }
  NEAR(challenge_h(p, y, 20), h / 0.9);
  for (int i = 0; i < 20; i++) p[i] = 0.3;
  assert_true(isnan(challenge_h(p, y, 20))); /* no range */
  assert_true(isnan(challenge_h(p, y, 9)));
}

/* By hand from the challenge's definition: onset at row 12 of 20. */
static void test_utility(void **state) {
  (void)state;
  uint8_t alarm[20] = {0};
  struct utility u = {0};
  challenge_utility(alarm, 20, 12, &u);
  /* never: hours -5..3 after onset cost 2/9, 4/9 ... 18/9 */
  NEAR(u.observed, -2.0 / 9 * 45);
  NEAR(u.inaction, u.observed);
  /* best: rows 0..15: 0, 1/6 ... 1 at -6, then 8/9 ... 0 at +3 */
  NEAR(u.best, 21.0 / 6 + 36.0 / 9);
  NEAR(challenge_utility_normalised(&u), 0);
  u = (struct utility){0};
  for (int i = 0; i < 20; i++) alarm[i] = 1;
  challenge_utility(alarm, 20, 12, &u);
  NEAR(u.observed, u.best); /* alarms after +3 h neither earn nor cost */
  NEAR(challenge_utility_normalised(&u), 1);
  uint8_t one[20] = {0};
  one[6] = 1; /* a single alarm, six hours before */
  struct utility w = {0};
  challenge_utility(one, 20, 12, &w);
  NEAR(w.observed, 1 - 10);
  challenge_utility(alarm, 20, INT32_MAX, &w); /* a stay without sepsis: 20 false alarms */
  NEAR(w.observed, 1 - 10 - 1);
  NEAR(challenge_utility_normalised(&w), (-10 + 10.0) / (7.5 + 10));
  uint8_t far[20] = {1}; /* 17 hours before onset: as dear as a false alarm */
  struct utility f = {0};
  challenge_utility(far, 12, 17, &f);
  NEAR(f.observed, -0.05);
  struct utility empty = {0};
  assert_true(isnan(challenge_utility_normalised(&empty)));
}

static void test_concordance(void **state) {
  (void)state;
  const double time[4] = {1, 2, 2, 3};
  const uint8_t event[4] = {1, 1, 0, 0};
  const double risk[4] = {4, 3, 3, 5};
  /* pairs: 0 before 1, 2, 3; 1 before 2 (censored at the same time) and 3. Right: 0-1, 0-2; half: 1-2; wrong: 0-3, 1-3 */
  NEAR(challenge_concordance(risk, time, event, 4), 2.5 / 5);
  assert_true(isnan(challenge_concordance(risk, time, (const uint8_t[4]){0}, 4)));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_event1), cmocka_unit_test(test_h), cmocka_unit_test(test_utility),
                                     cmocka_unit_test(test_concordance)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
