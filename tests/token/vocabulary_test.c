#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "token/fake_timeline.h"
#include "token/token.h"

static enum split two_splits(int64_t subject) { return subject >= 1000 ? SPLIT_HELD_OUT : SPLIT_TRAIN; }
#define DAY(n) ((int64_t)(n)*TIME_DAY)

/* 40 people in training: A in all, LAB//1//u in all with values, rare codes under shared prefixes. */
static struct timeline *small_store(void) {
  struct timeline *t = fake_new(two_splits);
  for (int s = 1; s <= 40; s++) {
    fake_add(t, s, TIME_STATIC, s % 2 ? "GENDER//F" : "GENDER//M", NAN);
    fake_add(t, s, DAY(-10000), "MEDS_BIRTH", NAN);
    fake_add(t, s, DAY(s), "DX//A", NAN);
    fake_add(t, s, DAY(s) + 1, "DX//A", NAN);
    fake_add(t, s, DAY(s + 10), "LAB//1//u", (float)s);
    fake_add(t, s, DAY(s + 10), "CONST", 1.0f);
    char rare[32];
    snprintf(rare, sizeof rare, "ICD//X%d//sub", s); /* each once: ICD//Xs is rare too, ICD has 40 people */
    fake_add(t, s, DAY(s + 2), rare, NAN);
    if (s <= 6) fake_add(t, s, DAY(s + 3), s <= 3 ? "RX//B//1" : "RX//B//2", 5.0f); /* 3 each; RX//B has 6 */
    if (s <= 4) fake_add(t, s, DAY(s + 4), "LONE", NAN);                            /* 4 people, no ancestor */
    if (s == 7) fake_add(t, s, DAY(s + 30), "MEDS_DEATH", NAN);
  }
  for (int s = 1000; s < 1100; s++) fake_add(t, s, DAY(1), "HELD//OUT", NAN);
  fake_seal(t);
  return t;
}

static uint32_t id_of(const struct vocabulary *v, const char *name) {
  uint32_t id = 0;
  return vocabulary_find(v, str_c(name), &id) ? id : 0;
}

static void test_build(void **state) {
  (void)state;
  struct error e = {0};
  struct timeline *t = small_store();
  struct vocabulary *v = NULL;
  assert_int_equal(vocabulary_build(t, NULL, &v, &e), OK);
  assert_int_equal(id_of(v, "HELD//OUT"), 0);
  assert_int_equal(id_of(v, "HELD"), 0);
  assert_int_equal(id_of(v, "MEDS_BIRTH"), 0);
  assert_int_equal(id_of(v, "LONE"), 0);
  assert_int_equal(id_of(v, "ICD//X3//sub"), 0);
  assert_int_equal(id_of(v, "ICD//X3"), 0);
  assert_int_equal(id_of(v, "RX//B//1"), 0);
  assert_int_equal(id_of(v, "RX"), 0); /* RX//B took the counts */
  const struct vocabulary_entry *icd = vocabulary_at(v, id_of(v, "ICD")), *rx = vocabulary_at(v, id_of(v, "RX//B"));
  assert_int_equal(icd->subjects, 40);
  assert_int_equal(icd->count, 40);
  assert_int_equal(icd->outcome, -1); /* an ancestor is no question one asks */
  assert_int_equal(rx->subjects, 6);
  assert_int_equal(rx->knots, 0);
  assert_int_equal(vocabulary_at(v, 1)->count, 80);
  assert_true(str_eqc(vocabulary_at(v, 1)->code, "DX//A"));
  for (uint32_t i = 2; i < vocabulary_codes(v); i++) {
    const struct vocabulary_entry *a = vocabulary_at(v, i - 1), *b = vocabulary_at(v, i);
    assert_true(a->count > b->count || (a->count == b->count && str_cmp(a->code, b->code) < 0));
  }
  assert_true(vocabulary_at(v, id_of(v, "GENDER//F"))->is_static);
  assert_int_equal(vocabulary_at(v, id_of(v, "GENDER//F"))->outcome, -1);
  assert_int_equal(vocabulary_at(v, id_of(v, "LAB//1//u"))->outcome, -1);
  assert_int_equal(vocabulary_at(v, id_of(v, "CONST"))->knots, 0);
  assert_int_equal(vocabulary_death(v), id_of(v, "MEDS_DEATH"));
  assert_int_equal(vocabulary_outcome_code(v, 0), vocabulary_death(v));
  assert_int_equal(vocabulary_at(v, vocabulary_death(v))->subjects, 1);
  assert_int_equal(vocabulary_outcomes(v), 3); /* death, DX//A, CONST */
  /* lives end ten days after they begin, one after thirty: the twentieth longest follow-up, where twenty had the code at all */
  assert_float_equal(vocabulary_at(v, 1)->followed_days, 10, 1e-6);
  assert_float_equal(icd->followed_days, 8, 1e-6);
  assert_float_equal(vocabulary_at(v, id_of(v, "LAB//1//u"))->followed_days, 0, 1e-6);
  assert_true(rx->followed_days < 0 && vocabulary_at(v, 0)->followed_days < 0);
  assert_true(vocabulary_at(v, id_of(v, "GENDER//F"))->followed_days < 0);
  uint32_t rows = vocabulary_codes(v);
  for (uint32_t i = 0; i < vocabulary_codes(v); i++) {
    assert_int_equal(vocabulary_at(v, i)->knot_row, rows);
    rows += (uint32_t)vocabulary_at(v, i)->knots;
  }
  assert_int_equal(vocabulary_rows(v), rows);
  assert_float_equal(vocabulary_instant_events(v), (40 * 5 + 6 + 1) / (40 * 4 + 6 + 1.0),
                     1e-12); /* LAB and CONST share an instant; LONE counts nowhere */
  vocabulary_free(v);
  fake_free(t);
}

static int by_float(const void *x, const void *y) {
  return (*(const float *)x > *(const float *)y) - (*(const float *)x < *(const float *)y);
}

static void test_knots_and_rate(void **state) {
  (void)state;
  struct error e = {0};
  struct timeline *t = fake_new(NULL);
  struct rng r;
  rng_init(&r, 7, 0);
  enum { N = 3000 };
  float *x = malloc(N * sizeof *x);
  for (int i = 0; i < N; i++) {
    x[i] = (float)exp(rng_normal(&r));
    fake_add(t, 1 + i % 30, DAY(i / 30), "LAB//GLUCOSE", x[i]);
    fake_add(t, 1 + i % 30, DAY(i / 30), "FLAG", i % 100 == 0 ? 1.0f : 0.0f);
  }
  fake_seal(t);
  struct vocabulary *v = NULL;
  assert_int_equal(vocabulary_build(t, NULL, &v, &e), OK);
  const struct vocabulary_entry *n = vocabulary_at(v, id_of(v, "LAB//GLUCOSE")), *flag = vocabulary_at(v, id_of(v, "FLAG"));
  qsort(x, N, sizeof *x, by_float);
  assert_int_equal(n->knots, TOKEN_KNOTS);
  assert_true(n->knot[0] == x[30]); /* 1 % of 2999 steps */
  assert_true(n->knot[TOKEN_KNOTS - 1] == x[2969]);
  for (int k = 1; k < n->knots; k++) assert_true(n->knot[k] > n->knot[k - 1]);
  assert_float_equal(n->mean, exp(0.5), 0.15);
  assert_float_equal(n->log_rate, log(3000.0 / (30 * 99.0)), 1e-5);
  assert_int_equal(flag->knots, 2);
  assert_true(flag->knot[0] == 0.0f && flag->knot[1] == 1.0f);
  float f;
  int low;
  for (int i = 0; i < N; i++) { /* coordinates and values are inverse inside the knots, clamped outside */
    token_knot(n, x[i], &low, &f);
    assert_true(low >= 0 && low < n->knots - 1 && f >= 0 && f <= 1);
    float back = token_knot_value(n, (float)low + f), want = fminf(fmaxf(x[i], n->knot[0]), n->knot[n->knots - 1]);
    assert_true(fabsf(back - want) <= 2e-5f * want);
  }
  assert_true(isnan(token_knot_value(n, NAN)));
  token_knot(n, INFINITY, &low, &f);
  assert_true(low == n->knots - 2 && f == 1.0f);
  free(x);
  vocabulary_free(v);
  fake_free(t);
}

static void test_save_load(void **state) {
  (void)state;
  struct error e = {0};
  struct timeline *t = small_store();
  struct vocabulary *v = NULL, *u = NULL, *w = NULL;
  assert_int_equal(vocabulary_build(t, NULL, &v, &e), OK);
  assert_int_equal(vocabulary_build(t, NULL, &w, &e), OK);
  assert_string_equal(vocabulary_hash(v), vocabulary_hash(w)); /* the same data give the same bytes */
  char path[] = "/tmp/vocabulary-test-XXXXXX";
  close(mkstemp(path));
  assert_int_equal(vocabulary_save(v, path, &e), OK);
  uint8_t digest[32];
  char hex[65];
  assert_int_equal(sha256_file(path, digest, &e), OK);
  hash_hex(digest, 32, hex);
  assert_string_equal(hex, vocabulary_hash(v));
  assert_int_equal(vocabulary_load(path, &u, &e), OK);
  assert_string_equal(hex, vocabulary_hash(u));
  assert_int_equal(vocabulary_codes(u), vocabulary_codes(v));
  assert_int_equal(vocabulary_rows(u), vocabulary_rows(v));
  assert_int_equal(vocabulary_outcomes(u), vocabulary_outcomes(v));
  assert_int_equal(vocabulary_death(u), vocabulary_death(v));
  assert_true(vocabulary_instant_events(u) == vocabulary_instant_events(v));
  assert_true(vocabulary_dates(u) == vocabulary_dates(v));
  for (uint32_t i = 0; i < vocabulary_codes(v); i++) {
    const struct vocabulary_entry *a = vocabulary_at(v, i), *b = vocabulary_at(u, i);
    assert_true(str_eq(a->code, b->code) && str_eq(a->display, b->display));
    assert_true(a->count == b->count && a->subjects == b->subjects && a->is_static == b->is_static && a->outcome == b->outcome);
    assert_true(a->knots == b->knots && memcmp(a->knot, b->knot, sizeof a->knot) == 0 && a->knot_row == b->knot_row);
    assert_true(a->mean == b->mean && a->sd == b->sd && a->log_rate == b->log_rate);
  }
  assert_int_equal(vocabulary_save(u, path, &e), OK);
  assert_int_equal(sha256_file(path, digest, &e), OK);
  hash_hex(digest, 32, hex);
  assert_string_equal(hex, vocabulary_hash(v));
  unlink(path);
  vocabulary_free(v);
  vocabulary_free(u);
  vocabulary_free(w);
  fake_free(t);
}

static int load_text(const char *text, size_t n) {
  char path[] = "/tmp/vocabulary-test-XXXXXX";
  int fd = mkstemp(path);
  assert_int_equal(write(fd, text, n), (ssize_t)n);
  close(fd);
  struct vocabulary *v = NULL;
  struct error e = {0};
  int rc = vocabulary_load(path, &v, &e);
  if (rc == OK)
    vocabulary_free(v);
  else
    assert_int_equal(rc, e.code);
  unlink(path);
  return rc;
}

#define HEAD "{\"format\":\"vitae-vocabulary\",\"version\":1,\"codes\":["
#define UNKNOWN "{\"code\":\"\",\"count\":0,\"subjects\":0,\"log_rate\":-20}"
#define ENTRY(extra) "{\"code\":\"A\",\"count\":5,\"subjects\":5,\"log_rate\":-1" extra "}"

static void test_hostile_files(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int code;
  } bad[] = {
      {"", E_INPUT},
      {"{}", E_INPUT},
      {"[]", E_INPUT},
      {HEAD "]}", E_INPUT},
      {"{\"format\":\"vitae-vocabulary\",\"version\":2,\"codes\":[" UNKNOWN "]}", E_VERSION},
      {HEAD UNKNOWN "," ENTRY("") "," ENTRY("") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"outcome\":1") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"outcome\":-1") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"outcome\":0.5") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"knots\":[1],\"mean\":0,\"sd\":1") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"knots\":[1,1],\"mean\":0,\"sd\":1") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"knots\":[2,1],\"mean\":0,\"sd\":1") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"knots\":[1,1e300],\"mean\":0,\"sd\":1") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"knots\":[1,1.00000000001],\"mean\":0,\"sd\":1") "]}", E_INPUT}, /* equal as float */
      {HEAD UNKNOWN "," ENTRY(",\"knots\":[1,2,3,4,5,6,7,8,9,10,11,12,13],\"mean\":0,\"sd\":1") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"knots\":[1,2],\"mean\":0,\"sd\":-1") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"knots\":[1,2]") "]}", E_INPUT},
      {HEAD UNKNOWN "," ENTRY(",\"knots\":{}") "]}", E_INPUT},
      {HEAD UNKNOWN ",{\"code\":\"\",\"count\":5,\"subjects\":5,\"log_rate\":-1}]}", E_INPUT},
      {HEAD UNKNOWN ",{\"code\":\"A\",\"count\":-5,\"subjects\":5,\"log_rate\":-1}]}", E_INPUT},
      {HEAD UNKNOWN ",{\"code\":\"A\",\"count\":5,\"subjects\":5000000000,\"log_rate\":-1}]}", E_INPUT},
      {HEAD UNKNOWN ",{\"code\":\"A\",\"count\":5,\"subjects\":5,\"log_rate\":1e9}]}", E_INPUT},
      {HEAD UNKNOWN ",7]}", E_INPUT},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(load_text(bad[i].text, strlen(bad[i].text)), bad[i].code);
  const char *good = HEAD UNKNOWN "," ENTRY(",\"outcome\":0,\"knots\":[1,2],\"mean\":0,\"sd\":1") "]}";
  assert_int_equal(load_text(good, strlen(good)), OK);
  for (size_t n = 0; n < strlen(good); n++) assert_true(load_text(good, n) < 0);
  struct rng r;
  rng_init(&r, 3, 0);
  char copy[512];
  for (int i = 0; i < 2000; i++) { /* flipped bytes: refused or loaded, never more */
    size_t n = strlen(good);
    memcpy(copy, good, n);
    for (int k = 0; k < 3; k++) copy[rng_below(&r, (uint32_t)n)] = (char)rng_below(&r, 256);
    load_text(copy, n);
  }
}

static void test_out_of_memory(void **state) {
  (void)state;
  struct timeline *t = small_store();
  struct error e = {0};
  int failures = 0;
  for (long n = 1;; n++) {
    struct vocabulary *v = NULL;
    arena_fail_at(n);
    int rc = vocabulary_build(t, NULL, &v, &e);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    if (rc == OK)
      vocabulary_free(v);
    else
      failures++;
    if (pending) break;
    assert_true(rc == E_NOMEM || rc == E_LIMIT);
  }
  assert_true(failures > 5);
  fake_free(t);
}

static void test_limits(void **state) {
  (void)state;
  struct timeline *t = small_store();
  struct error e = {0};
  struct vocabulary *v = NULL;
  assert_int_equal(vocabulary_build(t, &(struct vocabulary_options){.max_codes = 3, .max_outcomes = 1}, &v, &e), OK);
  assert_int_equal(vocabulary_codes(v), 4);
  assert_int_not_equal(vocabulary_death(v), 0); /* stays under any cap */
  assert_int_equal(vocabulary_outcomes(v), 1);
  vocabulary_free(v);
  struct timeline *empty = fake_new(two_splits);
  fake_add(empty, 1001, 5, "A", NAN);
  fake_seal(empty);
  assert_int_equal(vocabulary_build(empty, NULL, &v, &e), E_INPUT); /* nobody in training */
  fake_free(empty);
  fake_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_build),         cmocka_unit_test(test_knots_and_rate),
                                     cmocka_unit_test(test_save_load),     cmocka_unit_test(test_hostile_files),
                                     cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_limits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
