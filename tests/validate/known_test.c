/* Combinations of codes and attributes: counted as a slow count does, and held back until nobody has one that too few have. */
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

enum { PEOPLE = 300, CODES = 24 };
struct life {
  int sex, age, zip;
  bool has[CODES];
};
static struct risk_options options;

static int load(void **state) {
  char path[4096];
  (void)state;
  snprintf(path, sizeof path, "%s/policy/risk.json", file_data_dir());
  MUST(risk_options_load(path, &options, &e));
  options.total = 0; /* the k-map has tests of its own; here no ZIP3 goes for it */
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

static void put_life(struct timeline *t, int64_t subject, const struct life *p) {
  char code[32];
  put(t, subject, INT64_MIN, p->sex ? "GENDER//male" : "GENDER//female");
  snprintf(code, sizeof code, "ZIP3//02%d", p->zip);
  put(t, subject, INT64_MIN, code);
  put(t, subject, 15000 - (int64_t)(p->age * 5 + 2) * 36525 / 100, "MEDS_BIRTH");
  put(t, subject, 15050, "LOINC//2160-0"); /* everybody has it, and nobody's age hangs on another code */
  for (int c = 0; c < CODES; c++) {
    snprintf(code, sizeof code, "SNOMED//%d", 1000 + c);
    if (p->has[c]) put(t, subject, 15001 + c, code), put(t, subject, 15002 + c, code);
  }
}

static struct timeline *store_of(const struct life *p, int n) {
  struct timeline *t;
  MUST(timeline_memory_new(&t, &e));
  for (int i = 0; i < n; i++) put_life(t, i + 1, &p[i]);
  MUST(timeline_memory_seal(t, &e));
  return t;
}

static struct life *drawn(uint64_t seed) {
  static struct life p[PEOPLE];
  struct rng r;
  rng_init(&r, seed, 0);
  for (int i = 0; i < PEOPLE; i++) {
    p[i] = (struct life){.sex = (int)rng_below(&r, 2), .age = (int)(4 + rng_below(&r, 2)), .zip = (int)rng_below(&r, 2)};
    for (int c = 0; c < CODES; c++) p[i].has[c] = rng_below(&r, 100) < (uint32_t)(3 + 2 * c);
  }
  return p;
}

/* ---- a slow count: every person against every other, for every code and every two */
static bool alike(const struct life *a, const struct life *b) { return a->sex == b->sex && a->age == b->age && a->zip == b->zip; }
static int sharing(const struct life *p, int n, int who, int c, int d, bool attributes) {
  int k = 0;
  for (int j = 0; j < n; j++) k += p[j].has[c] && p[j].has[d] && (!attributes || alike(&p[j], &p[who]));
  return k;
}
static uint64_t slow_persons(const struct life *p, int n, int codes, bool attributes) {
  uint64_t persons = 0;
  int all[CODES];
  for (int c = 0; c < CODES; c++) all[c] = sharing(p, n, 0, c, c, false);
  for (int i = 0; i < n; i++) {
    bool few = false;
    for (int c = 0; c < CODES; c++)
      for (int d = c; d < (codes == 2 ? CODES : c + 1); d++)
        if (p[i].has[c] && p[i].has[d] && all[c] < (int)options.common && all[d] < (int)options.common)
          few = few || sharing(p, n, i, c, d, attributes) < (int)options.k;
    persons += few;
  }
  return persons;
}

static void counts_are_those_of_a_slow_count(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed < 4; seed++) {
    const struct life *p = drawn(seed);
    struct timeline *t = store_of(p, PEOPLE);
    struct risk *x;
    MUST(risk_compute(t, &options, &x, &e));
    for (int i = 0; i < RISK_ATTACKS; i++) {
      uint64_t persons = slow_persons(p, PEOPLE, 1 + i % 2, i >= 2);
      assert_int_equal(x->known_codes[i].persons, persons);
      assert_true((x->known_codes[i].combinations > 0) == (persons > 0));
    }
    assert_true(x->known_codes[1].persons > x->known_codes[0].persons);
    risk_free(x);
    timeline_close(t);
  }
}

/* ---- what is left when a plan has been followed */
static bool held(const struct timeline_suppression *s, uint32_t i, uint32_t name) {
  for (uint32_t k = s->held_from ? s->held_from[i] : 0; s->held_from && k < s->held_from[i + 1]; k++)
    if (s->held[k] == name) return true;
  return false;
}
static struct timeline *released(const struct timeline *t, const struct timeline_suppression *s, uint64_t *events) {
  struct timeline *out;
  *events = 0;
  MUST(timeline_memory_new(&out, &e));
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    for (uint32_t k = 0; s->without[i] != TIMELINE_LEFT_OUT && k < v.n; k++) {
      uint32_t c = v.code[k], name = s->to[c];
      if (name == TIMELINE_SUPPRESSED || (s->group[c] && s->without[i] >> (s->group[c] - 1) & 1) || held(s, i, name)) continue;
      struct event ev = {.subject = v.subject, .time = v.time[k], .code = s->name[name], .value = NAN};
      MUST(timeline_memory_append(out, &ev, &e));
      ++*events;
    }
  }
  MUST(timeline_memory_seal(out, &e));
  return out;
}

static struct risk *after(const struct timeline *t, int codes, bool attributes, struct risk_suppressed *did, uint64_t *events) {
  struct timeline_suppression plan;
  struct arena a;
  struct risk *x;
  arena_init(&a, 0, 0);
  struct risk_suppress_options want = {.k = options.k, .codes = codes, .with_attributes = attributes};
  MUST(risk_suppress(t, &options, &want, &a, &plan, did, &e));
  struct timeline *out = released(t, &plan, events);
  MUST(risk_compute(out, &options, &x, &e));
  timeline_close(out);
  arena_free(&a);
  return x;
}

/* Two codes of twenty persons each, five of whom have both: each code holds, the two together do not. */
static void codes_hold_but_two_together_do_not(void **state) {
  (void)state;
  static struct life p[60];
  struct risk_suppressed did;
  uint64_t all, kept;
  memset(p, 0, sizeof p);
  for (int i = 0; i < 60; i++) p[i] = (struct life){.sex = 0, .age = 5, .zip = 1};
  for (int i = 0; i < 20; i++) p[i].has[0] = p[i + 15].has[1] = true;
  p[40].has[0] = true; /* the commoner of the two */
  struct timeline *t = store_of(p, 60);
  struct risk *x = after(t, 1, false, &did, &all);
  assert_int_equal(x->known_codes[0].persons, 0);
  assert_int_equal(x->known_codes[1].persons, 5);
  assert_int_equal(x->known_codes[1].combinations, 1);
  assert_int_equal(did.held, 0);
  risk_free(x);
  x = after(t, 2, false, &did, &kept);
  for (int i = 0; i < 2; i++) assert_int_equal(x->known_codes[i].persons, 0);
  assert_int_equal(did.held, 5); /* of five lives the rarer of the two, and nothing else */
  assert_int_equal(did.held_persons, 5);
  assert_int_equal(did.held_events, 10);
  assert_int_equal(all - kept, 10);
  assert_int_equal(x->codes, 3);
  risk_free(x);
  timeline_close(t);
}

/* A code of fifteen persons, nine women and six men: without attributes it holds. */
static void a_code_holds_but_not_with_the_attributes(void **state) {
  (void)state;
  static struct life p[60];
  struct risk_suppressed did;
  uint64_t all, kept;
  memset(p, 0, sizeof p);
  for (int i = 0; i < 60; i++) p[i] = (struct life){.sex = i % 5 < 2, .age = 5, .zip = 1, .has = {[0] = i < 15, [1] = i % 5 >= 2}};
  struct timeline *t = store_of(p, 60);
  struct risk *x = after(t, 1, false, &did, &all);
  assert_int_equal(x->known_codes[0].persons, 0);
  assert_int_equal(x->known_codes[2].persons, 15);
  risk_free(x);
  x = after(t, 1, true, &did, &kept);
  assert_int_equal(x->known_codes[2].persons, 0);
  assert_int_equal(did.held, 15);
  assert_int_equal(all - kept, 30);
  risk_free(x);
  timeline_close(t);
}

static void nothing_of_too_few_is_left(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed < 4; seed++) {
    struct timeline *t = store_of(drawn(seed), PEOPLE);
    struct risk_suppressed did;
    uint64_t least = UINT64_MAX, kept;
    for (int i = 0; i < RISK_ATTACKS; i++) {
      struct risk *x = after(t, 1 + i % 2, i >= 2, &did, &kept);
      for (int j = 0; j <= i; j++) /* what an attack knows, a stronger one knows too */
        if (!(j % 2 > i % 2)) assert_int_equal(x->known_codes[j].persons, 0);
      assert_true(kept > 0 && (i != 3 || kept <= least));
      if (kept < least) least = kept;
      risk_free(x);
    }
    timeline_close(t);
  }
}

/* One of eleven old persons with a code is old only by a rare code, which stays behind: then ten are left, and they must lose theirs. */
static void the_age_is_that_of_the_last_event_that_stays(void **state) {
  (void)state;
  enum { YOUNG = 15000, OLD = 18000 };
  struct timeline *t;
  struct risk_suppressed did;
  uint64_t kept;
  MUST(timeline_memory_new(&t, &e));
  for (int i = 0; i < 40; i++) {
    put(t, i + 1, INT64_MIN, "GENDER//male");
    put(t, i + 1, 5000, "MEDS_BIRTH");
    put(t, i + 1, YOUNG, "LOINC//2160-0");
    if (i <= 10) put(t, i + 1, YOUNG + 1, "SNOMED//1");
    if (i == 10 || i >= 30) put(t, i + 1, i == 10 ? OLD : YOUNG + 2, "SNOMED//2");
    if (i >= 28) put(t, i + 1, YOUNG + 3, "SNOMED//3"); /* ten have 2 and 3: they lose 2, and who has it alone loses it too */
    if (i < 10 || i >= 28) put(t, i + 1, OLD, "MEDS_DEATH");
  }
  MUST(timeline_memory_seal(t, &e));
  options.common = 20; /* what everybody has tells nothing */
  struct risk *x = after(t, 2, true, &did, &kept);
  options.common = 100;
  for (int i = 0; i < RISK_ATTACKS; i++) assert_int_equal(x->known_codes[i].persons, 0);
  assert_int_equal(did.held, 22);
  risk_free(x);
  timeline_close(t);
}

static void memory_may_fail(void **state) {
  (void)state;
  struct timeline *t = store_of(drawn(1), 60);
  for (long n = 1;; n++) {
    struct timeline_suppression plan;
    struct risk_suppressed did;
    struct arena a;
    struct error e = {0};
    struct risk_suppress_options want = {.k = 3, .codes = 2, .with_attributes = true};
    arena_init(&a, 0, 0);
    arena_fail_at(n);
    int rc = risk_suppress(t, &options, &want, &a, &plan, &did, &e);
    bool happened = !arena_fail_pending();
    arena_fail_at(0);
    assert_int_equal(rc, happened ? E_NOMEM : OK);
    arena_free(&a);
    if (!happened) break;
  }
  timeline_close(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts_are_those_of_a_slow_count),
      cmocka_unit_test(codes_hold_but_two_together_do_not),
      cmocka_unit_test(a_code_holds_but_not_with_the_attributes),
      cmocka_unit_test(nothing_of_too_few_is_left),
      cmocka_unit_test(the_age_is_that_of_the_last_event_that_stays),
      cmocka_unit_test(memory_may_fail),
  };
  return cmocka_run_group_tests(tests, load, unload);
}
