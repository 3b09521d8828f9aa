#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "timeline/task.h"
#include "token/fake_timeline.h"
#include "token/token.h"

#define LIFE 21 /* columns of the whole life */
#define HOUR(n) ((int64_t)(n)*TIME_HOUR)

static struct timeline *store(int people) {
  struct timeline *t = fake_new(NULL);
  struct rng r;
  rng_init(&r, 11, 0);
  for (int s = 1; s <= people; s++) {
    if (s % 2) fake_add(t, s, -HOUR(24 * 365), "MEDS_BIRTH", NAN);
    fake_add(t, s, TIME_STATIC, s % 3 ? "SEX//F" : "SEX//M", NAN);
    fake_add(t, s, TIME_STATIC, "HEIGHT", 100.0f + (float)s);
    for (int k = 0; k < 40; k++) fake_add(t, s, HOUR(rng_below(&r, 60)), k % 2 ? "HR" : "LACTATE", (float)rng_normal(&r));
    fake_add(t, s, HOUR(rng_below(&r, 60)), "DX//A", NAN);
    if (s == 1) fake_add(t, s, HOUR(1), "RARE", NAN);
  }
  fake_seal(t);
  return t;
}

static struct task_example *examples(const struct timeline *t, int64_t now) {
  struct task_example *x = calloc(timeline_subjects(t), sizeof *x);
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    x[i] = (struct task_example){.subject_index = i, .time = now};
    while (x[i].events < v.n && v.time[x[i].events] <= now) x[i].events++;
  }
  return x;
}

static float column(const struct feature_set *f, const float *row, const char *name) {
  for (uint32_t c = 0; c < feature_count(f); c++) {
    struct buf b = {0};
    feature_name(f, c, &b);
    bool same = strcmp(buf_cstr(&b), name) == 0;
    buf_release(&b);
    if (same) return row[c];
  }
  fail_msg("no column %s", name);
  return 0;
}

#define NEAR(a, b)                                         \
  do {                                                     \
    double a_ = (a), b_ = (b);                             \
    if (isnan(b_))                                         \
      assert_true(isnan(a_));                              \
    else                                                   \
      assert_true(fabs(a_ - b_) <= 1e-4 * (1 + fabs(b_))); \
  } while (0)

/* Every number column of one code, by the definitions. */
static void check_code(const struct feature_set *f, const float *row, const struct timeline *t, const struct timeline_view *v,
                       uint32_t events, int64_t now, const char *code) {
  double n = 0, first = NAN, last = NAN, low = NAN, high = NAN, sum = 0, hours = NAN, late = 0, late_n = 0, late_low = NAN, late_high = NAN,
         squares = 0;
  int64_t start = INT64_MAX;
  for (uint32_t k = v->statics; k < events; k++)
    if (strcmp(t->name[v->code[k]], "MEDS_BIRTH") && v->time[k] < start) start = v->time[k];
  for (uint32_t k = 0; k < events; k++) {
    if (strcmp(t->name[v->code[k]], code)) continue;
    double x = v->value[k];
    if (n++ == 0) first = low = high = x;
    last = x;
    low = fmin(low, x);
    high = fmax(high, x);
    sum += x;
    squares += x * x;
    if (k < v->statics) continue;
    hours = (double)(now - v->time[k]) / (double)TIME_HOUR;
    if ((double)v->time[k] >= (double)start + 0.75 * (double)(now - start))
      late += x, late_n++, late_low = fmin(late_low, x), late_high = fmax(late_high, x);
  }
  static const char *const part[] = {"count",
                                     "first",
                                     "last",
                                     "min",
                                     "max",
                                     "mean",
                                     "last - first",
                                     "hours since",
                                     "mean of last quarter",
                                     "count in last quarter",
                                     "min of last quarter",
                                     "max of last quarter",
                                     "sum",
                                     "sd"};
  double mean = sum / n, sd = n > 1 ? sqrt(fmax(squares / n - mean * mean, 0)) : NAN;
  double want[] = {n,      first,    last,      low,           high, n ? mean : NAN, last - first, hours, late_n ? late / late_n : NAN,
                   late_n, late_low, late_high, n ? sum : NAN, sd};
  for (int i = 0; i < 14; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s %s", code, part[i]);
    NEAR(column(f, row, name), want[i]);
  }
}

static int by_size(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

/* Quantiles 5, 25, 50, 75, 95 % of a code's values in all examples (fewer than are sampled). */
static void quantiles(const struct timeline *t, const struct task_example *x, const char *code, double q[5]) {
  static const double share[5] = {0.05, 0.25, 0.5, 0.75, 0.95};
  double v[4096];
  int n = 0;
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view view = timeline_view(t, i);
    for (uint32_t k = 0; k < x[i].events; k++)
      if (!strcmp(t->name[view.code[k]], code)) v[n++] = view.value[k];
  }
  qsort(v, n, sizeof *v, by_size);
  for (int k = 0; k < 5; k++) q[k] = v[(int)(share[k] * (n - 1) + 0.5)];
}

/* What all codes say together, by the definitions. */
static void check_life(const struct feature_set *f, const float *row, const struct timeline *t, const struct timeline_view *v,
                       const struct task_example *x, uint32_t events, int64_t now) {
  static const char *const number[] = {"HR", "LACTATE", "HEIGHT"};
  static const char *const code[] = {"HR", "LACTATE", "HEIGHT", "SEX//F", "SEX//M", "DX//A"};
  static const char *const window[] = {"half", "quarter", "eighth"};
  double values = 0, late = 0, out = 0, late_out = 0, last_out = 0, low2 = 0, high2 = 0, last1 = 0, last2 = 0, most = 0, coded = 0,
         codes = 0;
  int64_t start = INT64_MAX;
  for (uint32_t k = v->statics; k < events; k++)
    if (strcmp(t->name[v->code[k]], "MEDS_BIRTH") && v->time[k] < start) start = v->time[k];
  for (int i = 0; i < 3; i++) {
    double q[5], low = 0, high = 0, last = 0, z = 0, n = 0;
    quantiles(t, x, number[i], q);
    for (uint32_t k = 0; k < events; k++) {
      if (strcmp(t->name[v->code[k]], number[i])) continue;
      double value = v->value[k];
      bool is_late = k >= v->statics && (double)v->time[k] >= (double)start + 0.75 * (double)(now - start),
           is_out = value < q[0] || value > q[4];
      z = fmax(-5, fmin(5, (value - q[2]) / (q[3] - q[1])));
      low = fmin(low, z), high = fmax(high, z), last = value;
      n++, values++, out += is_out, late += is_late, late_out += is_late && is_out;
    }
    if (!n) continue;
    coded++, low2 += low * low, high2 += high * high, last1 += fabs(z), last2 += z * z, most = fmax(most, fabs(z));
    last_out += last < q[0] || last > q[4];
  }
  for (int w = 0; w < 3; w++) {
    char name[64];
    double recent = 0, timed = 0, from = (double)now - (double)(now - start) / (2 << w);
    for (int i = 0; i < 6; i++) {
      bool seen = false, seen_late = false;
      for (uint32_t k = 0; k < events; k++) {
        if (strcmp(t->name[v->code[k]], code[i])) continue;
        seen = true;
        seen_late |= k >= v->statics && (double)v->time[k] >= from;
        timed += k >= v->statics && (double)v->time[k] >= from;
      }
      codes += w == 0 && seen, recent += seen_late;
    }
    for (uint32_t k = 0; k < events; k++) timed += !strcmp(t->name[v->code[k]], "RARE") && (double)v->time[k] >= from;
    snprintf(name, sizeof name, "codes in last %s", window[w]);
    NEAR(column(f, row, name), recent);
    snprintf(name, sizeof name, "events in last %s", window[w]);
    NEAR(column(f, row, name), timed);
  }
  NEAR(column(f, row, "codes"), codes);
  NEAR(column(f, row, "share of values outside"), values ? out / values : NAN);
  NEAR(column(f, row, "share of values outside in last quarter"), late ? late_out / late : NAN);
  NEAR(column(f, row, "values outside in last quarter"), late_out);
  NEAR(column(f, row, "last values outside"), last_out);
  NEAR(column(f, row, "squares of lowest deviations"), low2);
  NEAR(column(f, row, "squares of highest deviations"), high2);
  NEAR(column(f, row, "sizes of last deviations"), last1);
  NEAR(column(f, row, "squares of last deviations"), last2);
  NEAR(column(f, row, "mean size of last deviations"), coded ? last1 / coded : NAN);
  NEAR(column(f, row, "largest last deviation"), most);
}

static double diagnosis_late(const struct timeline *t, const struct timeline_view *v, uint32_t events, int64_t now) {
  int64_t start = INT64_MAX;
  double n = 0;
  for (uint32_t k = v->statics; k < events; k++)
    if (strcmp(t->name[v->code[k]], "MEDS_BIRTH") && v->time[k] < start) start = v->time[k];
  for (uint32_t k = v->statics; k < events; k++)
    n += !strcmp(t->name[v->code[k]], "DX//A") && (double)v->time[k] >= (double)start + 0.75 * (double)(now - start);
  return n;
}

static void test_rows(void **state) {
  (void)state;
  struct error e = {0};
  struct timeline *t = store(30);
  int64_t now = HOUR(48);
  struct task_example *x = examples(t, now);
  struct feature_set *f = NULL;
  assert_int_equal(feature_set_build(t, x, timeline_subjects(t), 0.05, 0, &f, &e), OK);
  uint32_t n = feature_count(f);
  assert_int_equal(n, LIFE + 3 * 14 + 3 * 3); /* HR, LACTATE, HEIGHT; SEX//F, SEX//M, DX//A */
  float *row = calloc(n, sizeof *row);
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    feature_row(f, t, &v, x[i].events, now, row);
    check_code(f, row, t, &v, x[i].events, now, "HR");
    check_code(f, row, t, &v, x[i].events, now, "LACTATE");
    check_code(f, row, t, &v, x[i].events, now, "HEIGHT");
    check_life(f, row, t, &v, x, x[i].events, now);
    NEAR(column(f, row, "age"), (i + 1) % 2 ? (365.0 + 2) / 365.25 : NAN);
    NEAR(column(f, row, "SEX//F count"), (i + 1) % 3 ? 1 : 0);
    NEAR(column(f, row, "SEX//F hours since"), NAN); /* a fact without a time */
    NEAR(column(f, row, "DX//A count in last quarter"), diagnosis_late(t, &v, x[i].events, now));
    NEAR(column(f, row, "events"), x[i].events - (i + 1) % 2);
  }
  free(row);
  free(x);
  feature_set_free(f);
  fake_free(t);
}

/* More values than are sampled: a tenth of them lies outside the 5 % and 95 % quantiles all the same. */
static void test_sampled_quantiles(void **state) {
  (void)state;
  struct error e = {0};
  struct timeline *t = store(500);
  int64_t now = HOUR(60);
  struct task_example *x = examples(t, now);
  struct feature_set *f = NULL;
  double sum = 0;
  assert_int_equal(feature_set_build(t, x, timeline_subjects(t), 0.05, 0, &f, &e), OK);
  float *row = calloc(feature_count(f), sizeof *row);
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    feature_row(f, t, &v, x[i].events, now, row);
    sum += (double)column(f, row, "share of values outside");
  }
  assert_true(fabs(sum / 500 - 0.1) < 0.01);
  free(row);
  free(x);
  feature_set_free(f);
  fake_free(t);
}

/* The list of an older model: the same columns without those of all codes together. */
static void test_format_2(void **state) {
  (void)state;
  static const char list[] = "{\"features\":2,\"codes\":[{\"code\":\"HEIGHT\",\"numeric\":true},{\"code\":\"HR\",\"numeric\":true}]}";
  struct error e = {0};
  struct timeline *t = store(40);
  int64_t now = HOUR(48);
  struct task_example *x = examples(t, now);
  struct feature_set *f = NULL, *old = NULL, *copy = NULL;
  struct buf name = {0}, json = {0};
  float row[LIFE + 2 * 14], old_row[4 + 2 * 14];
  assert_int_equal(feature_set_build(t, x, 40, 0.9, 2, &f, &e), OK);
  assert_int_equal(feature_set_read(str_c(list), &old, &e), OK);
  assert_int_equal(feature_set_copy(old, t, &copy, &e), OK);
  assert_int_equal(feature_count(f), LIFE + 2 * 14);
  assert_int_equal(feature_count(copy), 4 + 2 * 14);
  feature_name(copy, 4, &name);
  assert_string_equal(buf_cstr(&name), "HEIGHT count");
  for (uint32_t i = 0; i < 40; i++) {
    struct timeline_view v = timeline_view(t, i);
    feature_row(f, t, &v, x[i].events, now, row);
    feature_row(copy, t, &v, x[i].events, now, old_row);
    assert_memory_equal(row, old_row, 4 * sizeof *row);
    assert_memory_equal(row + LIFE, old_row + 4, 2 * 14 * sizeof *row);
  }
  assert_int_equal(feature_set_write(copy, &json, &e), OK);
  assert_string_equal(buf_cstr(&json), list);
  buf_release(&json);
  buf_release(&name);
  free(x);
  feature_set_free(f), feature_set_free(old), feature_set_free(copy);
  fake_free(t);
}

/* Codes with one stem before the dot are also counted together, where there are several. */
static void test_groups(void **state) {
  (void)state;
  struct error e = {0};
  struct timeline *t = fake_new(NULL);
  for (int s = 1; s <= 12; s++) {
    fake_add(t, s, HOUR(1), s % 2 ? "ICD//E11.9" : "ICD//E11", NAN);
    if (s == 1) fake_add(t, s, HOUR(7), "ICD//E11", NAN);
    fake_add(t, s, HOUR(2), "ICD//I10.1", NAN);
    fake_add(t, s, HOUR(3), "LAB//1.5", (float)s); /* a stem of its own, too */
  }
  fake_seal(t);
  struct task_example *x = examples(t, HOUR(9));
  struct feature_set *f = NULL;
  assert_int_equal(feature_set_build(t, x, 12, 0.05, 0, &f, &e), OK);
  uint32_t n = feature_count(f);
  assert_int_equal(n, LIFE + 3 * 3 + 3 + 14); /* E11.9, E11, I10.1; the group E11.*; LAB//1.5; no group of I10 or of LAB//1 */
  float *row = calloc(n, sizeof *row);
  struct timeline_view v = timeline_view(t, 0);
  feature_row(f, t, &v, x[0].events, HOUR(9), row);
  NEAR(column(f, row, "ICD//E11.* count"), 2);
  NEAR(column(f, row, "ICD//E11.* hours since"), 2);
  NEAR(column(f, row, "ICD//E11.* count in last quarter"), 1);
  NEAR(column(f, row, "ICD//E11.9 count"), 1);
  free(row);
  free(x);
  feature_set_free(f);
  fake_free(t);
}

/* Written, read and bound to another store's dictionary: the same bits for the same life. */
static void test_json_and_binding(void **state) {
  (void)state;
  struct error e = {0};
  struct timeline *t = store(30), *request = fake_new(NULL);
  int64_t now = HOUR(48);
  struct task_example *x = examples(t, now);
  struct feature_set *f = NULL, *g = NULL, *h = NULL;
  struct buf json = {0};
  assert_int_equal(feature_set_build(t, x, timeline_subjects(t), 0.05, 0, &f, &e), OK);
  assert_int_equal(feature_set_write(f, &json, &e), OK);
  assert_int_equal(feature_set_read((struct str){json.p, json.n}, &g, &e), OK);
  struct timeline_view v = timeline_view(t, 6);
  fake_code(request, "another code first"); /* other ids than the training store's */
  for (uint32_t k = 0; k < x[6].events; k++) fake_add(request, 77, v.time[k], t->name[v.code[k]], v.value[k]);
  fake_seal(request);
  assert_int_equal(feature_set_bind(g, request, &e), OK);
  assert_int_equal(feature_set_copy(f, request, &h, &e), OK);
  uint32_t n = feature_count(f);
  assert_int_equal(feature_count(g), n);
  float *a = calloc(3 * n, sizeof *a), *b = a + n, *c = b + n;
  struct timeline_view w = timeline_view(request, 0);
  feature_row(f, t, &v, x[6].events, now, a);
  feature_row(g, request, &w, w.n, now, b);
  feature_row(h, request, &w, w.n, now, c);
  assert_memory_equal(a, b, n * sizeof *a);
  assert_memory_equal(a, c, n * sizeof *a);
  free(a);
  feature_set_free(f);
  feature_set_free(g);
  feature_set_free(h);
  static const char *const bad[] = {"",
                                    "{}",
                                    "{\"features\":1,\"codes\":[]}",
                                    "{\"features\":4,\"codes\":[]}",
                                    "{\"features\":3}",
                                    "{\"features\":3,\"codes\":[{}]}",
                                    "{\"features\":3,\"codes\":[{\"code\":\"A\"}]}",
                                    "{\"features\":3,\"codes\":[{\"code\":\"\",\"numeric\":false}]}",
                                    "{\"features\":3,\"codes\":[{\"code\":\"A\",\"numeric\":true}]}",
                                    "{\"features\":3,\"codes\":[{\"code\":\"A\",\"numeric\":true,\"quantiles\":[1,2,3,4]}]}",
                                    "{\"features\":3,\"codes\":[{\"code\":\"A\",\"numeric\":true,\"quantiles\":[1,2,3,4,1e300]}]}",
                                    "{\"features\":3,\"codes\":[{\"code\":\"A\",\"numeric\":true,\"quantiles\":[1,2,3,5,4]}]}",
                                    "{\"features\":3,\"codes\":[3]}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_true(feature_set_read(str_c(bad[i]), &g, &e) < 0);
  for (size_t i = 0; i < json.n; i++) assert_true(feature_set_read((struct str){json.p, i}, &g, &e) < 0);
  buf_release(&json);
  free(x);
  fake_free(t);
  fake_free(request);
}

static void test_choice(void **state) {
  (void)state;
  struct error e = {0};
  struct timeline *t = store(40);
  struct task_example *x = examples(t, HOUR(48));
  struct feature_set *f = NULL;
  struct buf name = {0};
  assert_int_equal(feature_set_build(t, x, 40, 0.0, 0, &f, &e), OK); /* RARE too */
  assert_int_equal(feature_count(f), LIFE + 3 * 14 + 4 * 3);
  feature_set_free(f);
  assert_int_equal(feature_set_build(t, x, 40, 0.9, 2, &f, &e), OK); /* the two most present, ties by name */
  assert_int_equal(feature_count(f), LIFE + 2 * 14);
  feature_name(f, LIFE, &name);
  assert_string_equal(buf_cstr(&name), "HEIGHT count");
  feature_set_free(f);
  buf_release(&name);
  for (long n = 1;; n++) {
    arena_fail_at(n);
    int rc = feature_set_build(t, x, 40, 0.05, 0, &f, &e);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    if (rc == OK)
      feature_set_free(f);
    else
      assert_true(rc == E_NOMEM || rc == E_LIMIT); /* a table of names cannot tell them apart */
    if (pending) break;
  }
  free(x);
  fake_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rows),   cmocka_unit_test(test_sampled_quantiles), cmocka_unit_test(test_format_2),
      cmocka_unit_test(test_groups), cmocka_unit_test(test_json_and_binding),  cmocka_unit_test(test_choice)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
