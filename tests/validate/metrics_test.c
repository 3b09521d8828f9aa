/* The metrics against slow forms written from their definitions, and against values worked out by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/thread.h"
#include "validate/metrics.h"

static void close_to(double a, double b, double tolerance) {
  if (!(fabs(a - b) <= tolerance)) fail_msg("%.12g is not %.12g within %g", a, b, tolerance);
}

static double slow_auroc(const double *s, const uint8_t *y, uint32_t n) {
  double good = 0, pairs = 0;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < n; j++)
      if (y[i] && !y[j]) pairs++, good += s[i] > s[j] ? 1 : s[i] == s[j] ? 0.5 : 0;
  return good / pairs;
}

static double slow_auprc(const double *s, const uint8_t *y, uint32_t n) {
  /* each case contributes the precision at its own threshold (all scores >= its score) */
  double sum = 0, cases = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (!y[i]) continue;
    double yes = 0, all = 0;
    for (uint32_t j = 0; j < n; j++)
      if (s[j] >= s[i]) all++, yes += y[j];
    sum += yes / all, cases++;
  }
  return sum / cases;
}

static void random_set(struct rng *r, uint32_t n, int levels, double *s, uint8_t *y) {
  for (uint32_t i = 0; i < n; i++) {
    s[i] = levels ? (double)rng_below(r, (uint32_t)levels) / levels : rng_uniform(r);
    y[i] = rng_uniform(r) < 0.15 + 0.5 * s[i];
  }
  y[0] = 0, y[1] = 1;
}

static void discrimination_equals_definition(void **state) {
  (void)state;
  struct rng r;
  double s[200];
  uint8_t y[200];
  rng_init(&r, 7, 0);
  for (int round = 0; round < 40; round++) {
    uint32_t n = 2 + rng_below(&r, 198);
    random_set(&r, n, round % 3 ? 0 : 7, s, y);
    close_to(metric_auroc(s, y, n), slow_auroc(s, y, n), 1e-12);
    close_to(metric_auprc(s, y, n), slow_auprc(s, y, n), 1e-12);
  }
}

static void by_hand(void **state) {
  (void)state;
  const double s[] = {0.9, 0.8, 0.7, 0.6, 0.55, 0.54, 0.53, 0.52, 0.51, 0.505};
  const uint8_t y[] = {1, 1, 0, 1, 1, 1, 0, 0, 1, 0};
  close_to(metric_auroc(s, y, 10), 18.0 / 24, 1e-12); /* controls at ranks 3, 7, 8, 10: cases above them 2 + 5 + 5 + 6 of 24 pairs */
  close_to(metric_auprc(s, y, 10), (1.0 + 1.0 + 3.0 / 4 + 4.0 / 5 + 5.0 / 6 + 6.0 / 9) / 6, 1e-12);
  const double p[] = {0.1, 0.4, 0.8};
  const uint8_t z[] = {0, 1, 1};
  close_to(metric_brier(p, z, 3), (0.01 + 0.36 + 0.04) / 3, 1e-12);
  close_to(metric_ece(p, z, 3, 3), (0.1 + 0.6 + 0.2) / 3, 1e-12);
  /* at 0.5: one true positive, none false -> 1/3; at 0.3: two true */
  close_to(metric_net_benefit(p, z, 3, 0.5), 1.0 / 3, 1e-12);
  close_to(metric_net_benefit(p, z, 3, 0.05), (2 - 1 * 0.05 / 0.95) / 3, 1e-12);
}

static void one_class_has_no_discrimination(void **state) {
  (void)state;
  const double s[] = {0.1, 0.2, 0.3};
  const uint8_t none[] = {0, 0, 0}, all[] = {1, 1, 1};
  double se;
  assert_true(isnan(metric_auroc(s, none, 3)));
  assert_true(isnan(metric_auroc(s, all, 3)));
  assert_true(isnan(metric_auprc(s, none, 3)));
  assert_true(isnan(metric_auprc(s, all, 3)));
  assert_true(isnan(metric_delong(s, none, 3, &se)));
  assert_true(isnan(metric_auroc(s, none, 0)));
}

static void delong_equals_placement_values(void **state) {
  (void)state;
  struct rng r;
  double s[120], se;
  uint8_t y[120];
  rng_init(&r, 3, 1);
  random_set(&r, 120, 9, s, y);
  double auc = metric_delong(s, y, 120, &se), m = 0, k = 0, v10 = 0, v01 = 0;
  close_to(auc, slow_auroc(s, y, 120), 1e-12);
  for (int i = 0; i < 120; i++) y[i] ? m++ : k++;
  for (int i = 0; i < 120; i++) {
    double place = 0;
    for (int j = 0; j < 120; j++)
      if (y[i] != y[j]) {
        double d = y[i] ? s[i] - s[j] : s[j] - s[i];
        place += d > 0 ? 1 : d == 0 ? 0.5 : 0;
      }
    double d = place / (y[i] ? k : m) - auc;
    if (y[i])
      v10 += d * d;
    else
      v01 += d * d;
  }
  close_to(se, sqrt(v10 / (m - 1) / m + v01 / (k - 1) / k), 1e-12);
}

/* Labels drawn from p itself: slope 1, intercept 0; from a twice too bold p: slope 1/2. */
static void recalibration_finds_what_was_put_in(void **state) {
  (void)state;
  enum { N = 60000 };
  struct rng r;
  double *p = calloc(N, sizeof *p), a, b;
  uint8_t *y = calloc(N, 1);
  rng_init(&r, 11, 0);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < N; i++) {
      double x = 1.5 * rng_normal(&r) - 1, truth = 1 / (1 + exp(-(round ? 0.5 * x + 0.3 : x)));
      p[i] = 1 / (1 + exp(-x)), y[i] = rng_uniform(&r) < truth;
    }
    assert_int_equal(metric_recalibration(p, y, N, &a, &b), 0);
    close_to(b, round ? 0.5 : 1, 0.04); /* about 4 standard errors at this n */
    close_to(a, round ? 0.3 : 0, 0.06);
  }
  for (int i = 0; i < 50; i++) p[i] = i < 25 ? 0.1 : 0.9, y[i] = i >= 25; /* separable: the slope is not identified */
  assert_true(metric_recalibration(p, y, 50, &a, &b) < 0);
  free(p), free(y);
}

static struct metrics bootstrap(const double *s, const uint8_t *y, const uint32_t *c, uint32_t clusters, uint32_t n, int threads) {
  struct arena a;
  struct ranked r;
  struct pool *pool;
  struct metrics m;
  arena_init(&a, 0, 0);
  assert_int_equal(pool_new(&pool, threads, NULL), 0);
  assert_int_equal(ranked_init(&r, s, y, n, &a, NULL), 0);
  assert_int_equal(metrics_bootstrap(&r, c, clusters, 400, 5, pool, &a, &m, NULL), 0);
  pool_free(pool);
  arena_free(&a);
  return m;
}

static void intervals_hold_the_point_and_widen_by_cluster(void **state) {
  (void)state;
  enum { N = 1200 };
  struct rng r;
  double s[N];
  uint8_t y[N];
  uint32_t own[N], ten[N];
  rng_init(&r, 9, 0);
  /* ten examples a subject, alike: their information is that of one */
  for (int i = 0; i < N; i += 10) {
    double score = rng_uniform(&r);
    uint8_t label = rng_uniform(&r) < score;
    for (int k = i; k < i + 10; k++) s[k] = score, y[k] = label, own[k] = (uint32_t)k, ten[k] = (uint32_t)k / 10;
  }
  struct metrics naive = bootstrap(s, y, own, N, N, 2), right = bootstrap(s, y, ten, N / 10, N, 2),
                 again = bootstrap(s, y, ten, N / 10, N, 1);
  assert_true(right.auroc.lo < right.auroc.at && right.auroc.at < right.auroc.hi);
  double ratio = (right.auroc.hi - right.auroc.lo) / (naive.auroc.hi - naive.auroc.lo);
  if (ratio < 2.2 || ratio > 4.5) fail_msg("clusters of ten should widen the interval about sqrt(10)-fold, not %.2f-fold", ratio);
  assert_memory_equal(&right, &again, sizeof right); /* same seed: same bits for any thread count */
}

static void curves_end_where_they_must(void **state) {
  (void)state;
  struct rng r;
  struct arena a;
  struct ranked ranked;
  struct scored *s = calloc(1, sizeof *s);
  double p[1000];
  uint8_t y[1000];
  rng_init(&r, 2, 0);
  random_set(&r, 1000, 0, p, y);
  arena_init(&a, 0, 0);
  assert_int_equal(ranked_init(&ranked, p, y, 1000, &a, NULL), 0);
  curves_fill(&ranked, s);
  assert_true(s->roc.n > 100 && s->roc.n <= CURVE_POINTS);
  close_to(s->roc.x[s->roc.n - 1], 1, 0), close_to(s->roc.y[s->roc.n - 1], 1, 0);
  for (int i = 1; i < s->roc.n; i++) assert_true(s->roc.x[i] >= s->roc.x[i - 1] && s->roc.y[i] >= s->roc.y[i - 1]);
  assert_int_equal(s->calibration.n, CALIBRATION_BINS);
  for (int i = 1; i < CALIBRATION_BINS; i++) assert_true(s->calibration.x[i] > s->calibration.x[i - 1]);
  for (int i = 0; i < CALIBRATION_BINS; i++)
    assert_true(s->calibration_lo[i] <= s->calibration.y[i] && s->calibration.y[i] <= s->calibration_hi[i]);
  assert_int_equal(s->decision.n, DECISION_POINTS);
  arena_free(&a);
  free(s);
}

static void no_number_is_refused(void **state) {
  (void)state;
  struct arena a;
  struct ranked r;
  const double s[] = {0.1, NAN};
  const uint8_t y[] = {0, 1};
  arena_init(&a, 0, 0);
  assert_int_equal(ranked_init(&r, s, y, 2, &a, NULL), E_INPUT);
  arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(discrimination_equals_definition),    cmocka_unit_test(by_hand),
      cmocka_unit_test(one_class_has_no_discrimination),     cmocka_unit_test(delong_equals_placement_values),
      cmocka_unit_test(recalibration_finds_what_was_put_in), cmocka_unit_test(intervals_hold_the_point_and_widen_by_cluster),
      cmocka_unit_test(curves_end_where_they_must),          cmocka_unit_test(no_number_is_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
