/* The risk report against a store whose classes and patterns are known by construction, and against a slow count. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/time.h"
#include "deid/event_make.h"
#include "timeline/timeline.h"
#include "validate/risk.h"

#define MUST(x)                \
  do {                         \
    struct error e = {0};      \
    if ((x) < 0) {             \
      error_print(stderr, &e); \
      fail_msg("%s", #x);      \
    }                          \
  } while (0)

static struct risk_options options;
static int load(void **state) {
  char path[4096];
  (void)state;
  snprintf(path, sizeof path, "%s/policy/risk.json", file_data_dir());
  MUST(risk_options_load(path, &options, &e));
  return 0;
}
static int unload(void **state) {
  (void)state;
  risk_options_free(&options);
  return 0;
}

static void put(struct timeline *t, int64_t subject, int64_t day, const char *code) {
  struct event ev = {.subject = subject, .time = day == INT64_MIN ? TIME_STATIC : day * TIME_DAY, .code = str_c(code), .value = NAN};
  MUST(timeline_memory_append(t, &ev, &e));
}
static struct risk *measured(struct timeline *t) {
  struct risk *r;
  MUST(timeline_memory_seal(t, &e));
  MUST(risk_compute(t, &options, &r, &e));
  return r;
}

enum { PEOPLE = 400 };
struct person {
  int sex, zip, race, age, events, first;
};

static bool alike(const struct person *a, const struct person *b, int set) {
  bool same = a->sex == b->sex && a->zip == b->zip && a->age == b->age;
  if (set >= 1) same = same && a->race == b->race;
  if (set >= 2) same = same && a->first == b->first;
  int x = 0, y = 0; /* statics, birth and events together, by powers of two */
  for (int n = a->events + 4; n > 1; n >>= 1) x++;
  for (int n = b->events + 4; n > 1; n >>= 1) y++;
  return set >= 3 ? same && x == y : same;
}

static void classes_are_those_of_a_slow_count(void **state) {
  (void)state;
  static struct person p[PEOPLE];
  struct timeline *t;
  struct rng r;
  MUST(timeline_memory_new(&t, &e));
  rng_init(&r, 3, 0);
  for (int i = 0; i < PEOPLE; i++) {
    char code[32];
    p[i] = (struct person){(int)rng_below(&r, 2), (int)rng_below(&r, 5),        (int)rng_below(&r, 3),
                           (int)rng_below(&r, 4), (int)(1 + rng_below(&r, 30)), (int)rng_below(&r, 3)};
    put(t, i + 1, INT64_MIN, p[i].sex ? "GENDER//male" : "GENDER//female");
    snprintf(code, sizeof code, "ZIP3//02%d", p[i].zip);
    put(t, i + 1, INT64_MIN, code);
    snprintf(code, sizeof code, "RACE//210%d-0", p[i].race);
    put(t, i + 1, INT64_MIN, code);
    int64_t start = time_from_civil(2010 + p[i].first, 2, 1);
    put(t, i + 1, start - (int64_t)(p[i].age * 5 + 2) * 36525 / 100, "MEDS_BIRTH");
    for (int k = 0; k < p[i].events; k++) put(t, i + 1, start + k, "LOINC//2160-0");
  }
  struct risk *x = measured(t);
  assert_int_equal(x->persons, PEOPLE);
  for (int s = 0; s < RISK_SETS; s++) {
    uint64_t unique = 0, under5 = 0, under11 = 0, bands = 0;
    double classes = 0;
    for (int i = 0; i < PEOPLE; i++) {
      int k = 0;
      for (int j = 0; j < PEOPLE; j++) k += alike(&p[i], &p[j], s);
      unique += k == 1, under5 += k < 5, under11 += k < 11;
      classes += 1.0 / k;
    }
    for (int b = 0; b < RISK_BANDS; b++) bands += x->set[s].persons[b];
    assert_int_equal(bands, PEOPLE);
    assert_int_equal(x->set[s].unique, unique);
    assert_int_equal(x->set[s].under5, under5);
    assert_int_equal(x->set[s].under11, under11);
    assert_int_equal(x->set[s].persons[0], unique);
    assert_true(fabs((double)x->set[s].classes - classes) < 1e-6);
  }
  assert_int_equal(x->known[RISK_SEX], PEOPLE);
  assert_int_equal(x->values[RISK_ZIP3], 5);
  assert_int_equal(x->codes, 1);
  assert_int_equal(x->rare_codes, 0);
  risk_free(x);
  timeline_close(t);
}

/* Fifty persons with the same codes on the same days, fifty with the same codes at days of their own. */
static void patterns_single_out_by_the_days_between(void **state) {
  (void)state;
  struct timeline *t;
  static const char *const codes[] = {"LOINC//1-8", "LOINC//2-6", "LOINC//3-4", "LOINC//4-2", "LOINC//5-9"};
  struct rng r;
  rng_init(&r, 9, 0);
  MUST(timeline_memory_new(&t, &e));
  for (int i = 0; i < 100; i++) {
    int64_t day = 15000;
    for (int k = 0; k < 5; k++) {
      put(t, i + 1, day, codes[k]);
      day += i < 50 ? 10 : 20 + (int)rng_below(&r, 3000);
    }
  }
  struct risk *x = measured(t);
  for (int i = 0; i < RISK_PATTERNS; i++) {
    assert_int_equal(x->pattern[i].tried, 100);
    assert_int_equal(x->pattern[i].by_codes, 0); /* everybody has all five */
    assert_in_range(x->pattern[i].by_gaps, i ? 50 : 46, 50);
  }
  risk_free(x);
  timeline_close(t);
}

static void rare_codes_and_their_persons_are_counted(void **state) {
  (void)state;
  struct timeline *t;
  MUST(timeline_memory_new(&t, &e));
  for (int i = 0; i < 40; i++) {
    put(t, i + 1, 15000, "SNOMED//44054006");
    if (i < 11) put(t, i + 1, 15001, "SNOMED//73761001");
    if (i < 10) put(t, i + 1, 15001, "ORPHANET//558");
    if (i == 20) put(t, i + 1, 15001, "ORPHANET//559"), put(t, i + 1, 15002, "ORPHANET//559");
  }
  struct risk *x = measured(t);
  assert_int_equal(x->codes, 4);
  assert_int_equal(x->rare_codes, 2);
  assert_int_equal(x->rare_persons, 11);
  assert_int_equal(x->rare_events, 12);
  assert_string_equal(x->system[0].name, "ORPHANET");
  assert_int_equal(x->system[0].rare, 2);
  risk_free(x);
  timeline_close(t);
}

static void the_k_map_is_the_censuss(void **state) {
  (void)state;
  struct timeline *t;
  double ages = 0;
  for (int i = 0; i < RISK_AGES; i++) ages += options.age[i];
  assert_true(ages == options.total && options.sex[0] + options.sex[1] == options.total);
  assert_true(options.zip3[10] == 469375); /* 010 */
  MUST(timeline_memory_new(&t, &e));
  put(t, 1, INT64_MIN, "GENDER//male");
  put(t, 1, INT64_MIN, "ZIP3//893"); /* the smallest prefixes are never kept: this one would be */
  put(t, 1, time_from_civil(1915, 1, 1), "MEDS_BIRTH");
  put(t, 1, time_from_civil(2010, 1, 2), "LOINC//2160-0");
  put(t, 2, 15000, "LOINC//2160-0");
  struct risk *x = measured(t);
  double people = options.zip3[893] * options.age[RISK_AGES - 1] / ages * options.sex[0] / options.total;
  assert_true(fabs(x->map_least - people) < 1e-6);
  assert_int_equal(x->map_under100, people < 100);
  assert_int_equal(x->map_persons, 2);
  assert_int_equal(x->map_zip, 1);
  risk_free(x);
  timeline_close(t);
}

static void small_counts_are_masked(void **state) {
  (void)state;
  uint8_t flag[4];
  risk_mask((uint64_t[]){0, 50, 30, 20}, flag, 4);
  assert_memory_equal(flag, ((uint8_t[]){0, 0, 0, 0}), 4);
  risk_mask((uint64_t[]){7, 50, 30, 0}, flag, 4); /* a second one, or the total would tell */
  assert_memory_equal(flag, ((uint8_t[]){1, 0, 2, 0}), 4);
  risk_mask((uint64_t[]){7, 50, 3, 0}, flag, 4);
  assert_memory_equal(flag, ((uint8_t[]){1, 0, 1, 0}), 4);
  risk_mask((uint64_t[]){10, 11, 0, 0}, flag, 4);
  assert_memory_equal(flag, ((uint8_t[]){1, 2, 0, 0}), 4);
}

static void an_empty_store_has_a_report(void **state) {
  (void)state;
  struct timeline *t;
  struct buf b = {0}, page = {0};
  struct json_out o;
  MUST(timeline_memory_new(&t, &e));
  struct risk *x = measured(t);
  json_out_init(&o, &b, false);
  risk_json(x, &o);
  risk_html(x, &page);
  struct json_parser *jp;
  struct json root;
  MUST(json_parser_new(&jp, &e));
  MUST(json_parse(jp, b.p, b.n, b.n, &root, &e));
  json_parser_free(jp);
  assert_null(strstr(buf_cstr(&page), "nan"));
  buf_release(&b);
  buf_release(&page);
  risk_free(x);
  timeline_close(t);
}

static void memory_may_fail(void **state) {
  (void)state;
  struct timeline *t;
  MUST(timeline_memory_new(&t, &e));
  for (int i = 0; i < 20; i++)
    put(t, i + 1, INT64_MIN, "GENDER//male"), put(t, i + 1, 15000 + i, i % 2 ? "LOINC//2160-0" : "SNOMED//1"), put(t, i + 1, 15100, "X//1");
  MUST(timeline_memory_seal(t, &e));
  for (long n = 1;; n++) {
    struct risk *x = NULL;
    struct error e = {0};
    arena_fail_at(n);
    int rc = risk_compute(t, &options, &x, &e);
    bool happened = !arena_fail_pending();
    arena_fail_at(0);
    assert_int_equal(rc, happened ? E_NOMEM : OK);
    risk_free(x);
    if (!happened) break;
  }
  timeline_close(t);
}

/* The population table against its own totals. */
static void population_sums(void **state UNUSED) {
  double ages = 0, places = 0;
  for (int i = 0; i < RISK_AGES; i++) ages += options.age[i];
  for (int i = 0; i < 1000; i++) places += options.zip3[i];
  assert_true(ages == options.total && options.sex[0] + options.sex[1] == options.total && options.total == 308745538);
  assert_true(places > 0.99 * options.total && places < 1.02 * options.total); /* areas of Puerto Rico are not in the total */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(population_sums),
      cmocka_unit_test(classes_are_those_of_a_slow_count),
      cmocka_unit_test(patterns_single_out_by_the_days_between),
      cmocka_unit_test(rare_codes_and_their_persons_are_counted),
      cmocka_unit_test(the_k_map_is_the_censuss),
      cmocka_unit_test(small_counts_are_masked),
      cmocka_unit_test(an_empty_store_has_a_report),
      cmocka_unit_test(memory_may_fail),
  };
  return cmocka_run_group_tests(tests, load, unload);
}
