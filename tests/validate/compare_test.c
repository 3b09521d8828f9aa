/* Comparison of two predictors: DeLong against its definition by all pairs, NRI and IDI by hand, the bootstrap's sense of direction; the TRIPOD+AI
 * list and the hospital's statements. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "validate/compare.h"
#include "validate/tripod.h"

/* The definition: AUC differences of placements, one case and one control at a time. */
static double kernel(double case_score, double control_score) {
  return case_score > control_score ? 1 : case_score == control_score ? 0.5 : 0;
}
static void delong_slowly(const double *s[2], const uint8_t *y, int n, double *difference, double *se) {
  double v10[200] = {0}, v01[200] = {0}, m = 0, k = 0, mean10 = 0, mean01 = 0, s10 = 0, s01 = 0;
  for (int i = 0; i < n; i++) *(y[i] ? &m : &k) += 1;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      if (y[i] && !y[j]) {
        double d = kernel(s[0][i], s[0][j]) - kernel(s[1][i], s[1][j]);
        v10[i] += d / k, v01[j] += d / m;
      }
  for (int i = 0; i < n; i++) *(y[i] ? &mean10 : &mean01) += (y[i] ? v10[i] / m : v01[i] / k);
  for (int i = 0; i < n; i++) {
    if (y[i]) s10 += pow(v10[i] - mean10, 2) / (m - 1);
    if (!y[i]) s01 += pow(v01[i] - mean01, 2) / (k - 1);
  }
  *difference = mean10;
  *se = sqrt(s10 / m + s01 / k);
}

static void delong_is_what_it_says(void **state) {
  (void)state;
  struct rng r;
  struct arena a;
  arena_init(&a, 0, 0);
  rng_init(&r, 4, 0);
  for (int trial = 0; trial < 50; trial++) {
    double x[120], z[120], se, p, want, want_se;
    uint8_t y[120];
    int n = 20 + (int)rng_below(&r, 100);
    for (int i = 0; i < n; i++) {
      y[i] = i < 2 ? (uint8_t)i : rng_below(&r, 3) == 0;
      x[i] = rng_below(&r, 8) + y[i]; /* many ties */
      z[i] = trial % 2 ? rng_normal(&r) + y[i] : x[i] + rng_below(&r, 2);
    }
    y[2] = 1, y[3] = 0;
    double d = compare_delong(x, z, y, (uint32_t)n, &se, &p, &a);
    delong_slowly((const double *[]){x, z}, y, n, &want, &want_se);
    assert_true(fabs(d - want) < 1e-12);
    assert_true(fabs(se - want_se) < 1e-12);
    assert_true(isnan(p) == !(se > 0) && (isnan(p) || fabs(p - erfc(fabs(want / want_se) / sqrt(2))) < 1e-12));
    assert_true(fabs(d - (metric_auroc(x, y, (uint32_t)n) - metric_auroc(z, y, (uint32_t)n))) < 1e-12);
  }
  arena_free(&a);
}

static void nri_and_idi_by_hand(void **state) {
  (void)state;
  /* cases: up, up, down, same; controls: down, down, down, up, same */
  double first[9] = {.6, .7, .3, .5, .1, .2, .1, .4, .3}, second[9] = {.5, .4, .5, .5, .2, .3, .4, .2, .3};
  uint8_t y[9] = {1, 1, 1, 1, 0, 0, 0, 0, 0};
  uint32_t cluster[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  struct version_comparison c = {0};
  struct arena a;
  struct error e;
  arena_init(&a, 0, 0);
  assert_int_equal(compare_scores(first, second, y, 9, cluster, 9, 200, 1, 0.35, &a, &c, &e), OK);
  assert_true(fabs(c.nri_cases.at - 0.25) < 1e-12);
  assert_true(fabs(c.nri_controls.at - 0.4) < 1e-12);
  assert_true(fabs(c.at_cases.at + 0.25) < 1e-12); /* .3 fell under .35 */
  assert_true(fabs(c.at_controls.at - 0) < 1e-12); /* one fell, one rose */
  assert_true(fabs(c.idi.at - ((2.1 - 1.9) / 4 - (1.1 - 1.4) / 5)) < 1e-12);
  assert_true(fabs(c.brier.at - (metric_brier(first, y, 9) - metric_brier(second, y, 9))) < 1e-12);
  assert_true(c.nri_cases.lo <= c.nri_cases.at && c.nri_cases.at <= c.nri_cases.hi);
  arena_free(&a);
}

static void a_better_version_is_found_better(void **state) {
  (void)state;
  enum { N = 3000 };
  static double good[N], poor[N];
  static uint8_t y[N];
  static uint32_t cluster[N];
  struct version_comparison c = {0}, same = {0};
  struct arena a;
  struct error e;
  struct rng r;
  rng_init(&r, 8, 0);
  for (int i = 0; i < N; i++) {
    double risk = 1 / (1 + exp(2 - 1.5 * rng_normal(&r)));
    y[i] = rng_uniform(&r) < risk;
    good[i] = risk;
    poor[i] = 1 / (1 + exp(-(log(risk / (1 - risk)) * 0.5 - 0.6 + 0.8 * rng_normal(&r))));
    cluster[i] = (uint32_t)i / 2;
  }
  arena_init(&a, 0, 0);
  assert_int_equal(compare_scores(good, poor, y, N, cluster, N / 2, 200, 1, 0.2, &a, &c, &e), OK);
  assert_true(c.auroc.lo > 0 && c.auprc.lo > 0 && c.brier.hi < 0 && c.idi.lo > 0 && c.delong_p < 1e-6);
  assert_true(fabs((c.auroc.hi - c.auroc.lo) / 3.92 - c.delong_se) < 0.3 * c.delong_se); /* two ways to one spread */
  assert_int_equal(compare_scores(good, good, y, N, cluster, N / 2, 50, 1, 0.2, &a, &same, &e), OK);
  assert_true(same.auroc.at == 0 && same.auroc.lo == 0 && same.brier.hi == 0 && isnan(same.delong_p));
  arena_free(&a);
}

/* A predictor without a number for an example is no predictor to compare with: refused, whatever the place. */
static void no_number_is_refused(void **state) {
  (void)state;
  double first[6] = {.1, .2, .3, .4, .5, .6}, second[6] = {.1, .2, .3, .4, .5, .6}, se, p;
  uint8_t y[6] = {0, 1, 0, 1, 0, 1};
  uint32_t cluster[6] = {0, 1, 2, 3, 4, 5};
  struct version_comparison c = {0};
  struct arena a;
  struct error e;
  arena_init(&a, 0, 0);
  for (int i = 0; i < 12; i++) {
    double *at = i < 6 ? &first[i] : &second[i - 6], kept = *at;
    *at = NAN;
    assert_true(isnan(compare_delong(first, second, y, 6, &se, &p, &a)) && isnan(se) && isnan(p));
    assert_int_equal(compare_scores(first, second, y, 6, cluster, 6, 20, 1, 0.2, &a, &c, &e), E_INPUT);
    *at = kept;
  }
  assert_int_equal(compare_scores(first, second, y, 6, cluster, 6, 20, 1, 0.2, &a, &c, &e), OK);
  arena_free(&a);
}

static void the_checklist_says_what_nobody_stated(void **state) {
  (void)state;
  struct validation v = {.task = "t", .n = 10, .events = 2};
  struct arena a;
  struct error e = {0};
  char path[] = "/tmp/vitae-tripod-XXXXXX";
  int fd = mkstemp(path), before = tripod_answered(&v);
  static const char text[] = "{\"17\": \"Approved by nobody yet\", \"3\": \"For the ward <b>\"}", bad[] = "{\"28\": \"x\"}";
  assert_true(fd >= 0);
  close(fd);
  arena_init(&a, 0, 0);
  assert_true(before > 20 && before < TRIPOD_ITEMS);
  assert_int_equal(file_write_atomic(path, text, sizeof text - 1, 0600, &e), OK);
  assert_int_equal(tripod_statements_load(path, &a, &v.tripod, &e), OK);
  assert_int_equal(tripod_answered(&v), before + 2);
  struct buf b = {0};
  tripod_html(&v, &b);
  assert_non_null(strstr(buf_cstr(&b), "Approved by nobody yet"));
  assert_non_null(strstr(buf_cstr(&b), "&lt;b&gt;"));
  assert_non_null(strstr(buf_cstr(&b), "not stated"));
  buf_release(&b);
  assert_int_equal(file_write_atomic(path, bad, sizeof bad - 1, 0600, &e), OK);
  assert_int_equal(tripod_statements_load(path, &a, &v.tripod, &e), E_INPUT);
  unlink(path);
  arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(delong_is_what_it_says), cmocka_unit_test(nri_and_idi_by_hand),
                                     cmocka_unit_test(a_better_version_is_found_better), cmocka_unit_test(no_number_is_refused),
                                     cmocka_unit_test(the_checklist_says_what_nobody_stated)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
