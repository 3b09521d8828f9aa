#include "helpers.h"

#include <locale.h>
#include <math.h>

#include "base/random.h"

TEST(comparison) {
  assert_true(str_eq(STR("abc"), STR("abc")));
  assert_false(str_eq(STR("abc"), STR("abd")));
  assert_false(str_eq(STR("abc"), STR("ab")));
  assert_true(str_eq(STR_NONE, STR("")));
  assert_true(str_eqc(str_c(NULL), ""));
  assert_true(str_cmp(STR("ab"), STR("abc")) < 0);
  assert_true(str_cmp(STR("b"), STR("abc")) > 0);
  assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
  assert_int_equal(str_cmp(STR(""), STR_NONE), 0);
  assert_true(str_starts(STR("LOINC//1"), STR("LOINC//")));
  assert_false(str_starts(STR("LO"), STR("LOINC//")));
  assert_true(str_starts(STR("x"), STR("")));
  assert_true(str_ends(STR("a.csv.gz"), STR(".gz")));
  assert_false(str_ends(STR("gz"), STR(".gz")));
  assert_true(str_eq_nocase(STR("SubJect_ID"), STR("subject_id")));
  assert_false(str_eq_nocase(STR("@"), STR("`")));
  assert_false(str_eq_nocase(STR("a"), STR("ab")));
}

TEST(trim_cut_copy) {
  assert_text(str_trim(STR(" \t a b\r\n")), "a b");
  assert_text(str_trim(STR(" \v\f ")), "");
  struct str rest = STR("a,,b");
  assert_text(str_cut(&rest, ','), "a");
  assert_text(str_cut(&rest, ','), "");
  assert_text(str_cut(&rest, ','), "b");
  assert_null(rest.p);
  assert_null(str_cut(&rest, ',').p);
  rest = STR("a,");
  str_cut(&rest, ',');
  assert_non_null(rest.p);
  struct str empty = str_cut(&rest, ',');
  assert_non_null(empty.p);
  assert_int_equal(empty.n, 0);
  struct arena a;
  arena_init(&a, 4, 0);
  assert_text(str_copy(&a, STR("abc")), "abc");
  assert_null(str_copy(&a, STR("abcd")).p);
  assert_non_null(str_copy(&a, STR("")).p);
  assert_null(str_copy(&a, STR_NONE).p);
  arena_free(&a);
}

TEST(integers) {
  static const struct {
    const char *s;
    int64_t v;
  } GOOD[] = {{"0", 0},
              {"-0", 0},
              {"+7", 7},
              {"00012", 12},
              {"9223372036854775807", INT64_MAX},
              {"-9223372036854775808", INT64_MIN},
              {"-1", -1},
              {"000000000000000000000000000005", 5}};
  static const char *const BAD[] = {
      "",        "-", "+", "+-1", " 1", "1 ", "1.0", "0x10", "9223372036854775808", "-9223372036854775809", "1e3", "99999999999999999999",
      "\xd9\xa3"};
  int64_t v;
  for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
    assert_int_equal(str_to_i64(str_c(GOOD[i].s), &v), OK);
    assert_true(v == GOOD[i].v);
  }
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) assert_int_equal(str_to_i64(str_c(BAD[i]), &v), E_INPUT);
  assert_int_equal(str_to_i64(STR("1\0002"), &v), E_INPUT);
  assert_int_equal(str_to_i64(STR_NONE, &v), E_INPUT);
}

TEST(reals) {
  static const char *const GOOD[] = {"0",
                                     "-0",
                                     "1",
                                     "1.5",
                                     ".5",
                                     "5.",
                                     "1e3",
                                     "1E-3",
                                     "+2.50",
                                     "-1e+2",
                                     "1e22",
                                     "1e23",
                                     "123456789012345678901234567890",
                                     "0.1",
                                     "0.30000000000000004",
                                     "2.2250738585072014e-308",
                                     "4.9e-324",
                                     "1e-400",
                                     "1.7976931348623157e308",
                                     "9007199254740993",
                                     "9007199254740992.5",
                                     "0.000000000000000000000000000000001",
                                     "0e999999999999",
                                     "179769313486231580793e288",
                                     "8.41e21",
                                     "5e-324",
                                     "1.00000000000000011102230246251565404236316680908203125",
                                     "7.2057594037927933e16"};
  static const char *const BAD[] = {
      "",     ".",     "-",  "+",  "e5",  "1e",    "1e+",    "1.2.3", "inf",   "nan", "NaN",
      "-inf", "0x1p3", " 1", "1 ", "1,5", "1e400", "-1e400", "1_000", "1e5.0", "--1", "1e99999999999999999999"};
  double v;
  for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
    double want = strtod(GOOD[i], NULL);
    assert_int_equal(str_to_f64(str_c(GOOD[i]), &v), OK);
    assert_memory_equal(&v, &want, sizeof v);
  }
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
    if (str_to_f64(str_c(BAD[i]), &v) != E_INPUT) fail_msg("accepted number %zu", i);
  char digits[3001];
  memset(digits, '7', 3000);
  digits[1] = '.';
  digits[3000] = 0;
  assert_int_equal(str_to_f64(STR_NONE, &v), E_INPUT);
  assert_int_equal(str_to_f64((struct str){digits, 3000}, &v), OK);
  assert_true(v == strtod(digits, NULL));
  arena_fail_at(1);
  assert_int_equal(str_to_f64((struct str){digits, 3000}, &v), E_NOMEM);
  arena_fail_at(0);
}

TEST(random_reals_read_like_strtod) {
  struct rng r;
  rng_init(&r, 1, 1);
  char text[64];
  for (int i = 0; i < 30000; i++) {
    double want, got;
    uint64_t bits = rng_u64(&r);
    memcpy(&want, &bits, 8);
    if (!isfinite(want)) continue;
    if (i % 2) want = ldexp((double)(int64_t)bits, -(int)rng_below(&r, 60));
    snprintf(text, sizeof text, "%.*g", 1 + (int)rng_below(&r, 19), want);
    assert_int_equal(str_to_f64(str_c(text), &got), isfinite(strtod(text, NULL)) ? OK : E_INPUT);
    want = strtod(text, NULL);
    if (isfinite(want)) assert_memory_equal(&want, &got, 8);
  }
}

TEST(utf8) {
  static const char *const GOOD[] = {"",
                                     "ascii only, longer than eight",
                                     "37.2\xC2\xB0 C",
                                     "\xE2\x86\x91",
                                     "\xF0\x9F\xA7\xAC",
                                     "\xED\x9F\xBF",
                                     "\xEE\x80\x80",
                                     "\xF4\x8F\xBF\xBF",
                                     "\x7f",
                                     "12345678\xC3\xA9"};
  static const char *const BAD[] = {
      "\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
      "\xFF", "abc\xC3",  "\xE2\x86", "\xF0\x9F\xA7", "12345678\xE9", "\xC3\x28"};
  for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) assert_true(str_utf8_valid(str_c(GOOD[i])));
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) assert_false(str_utf8_valid(str_c(BAD[i])));
  assert_int_equal(str_utf8_next(STR("\xE2\x86\x91z")), 3);
  assert_int_equal(str_utf8_next(STR("")), 0);
  assert_int_equal(str_utf8_next(STR("\xE2\x86")), 0);
  int valid = 0; /* every two-byte text: 128 * 128 of ASCII and 30 leads * 64 */
  for (int a = 0; a < 256; a++)
    for (int b = 0; b < 256; b++) {
      char s[2] = {(char)a, (char)b};
      valid += str_utf8_valid((struct str){s, 2});
    }
  assert_int_equal(valid, 128 * 128 + 30 * 64);
}

TEST(distance) {
  assert_int_equal(str_distance(STR("kitten"), STR("sitting"), 10), 3);
  assert_int_equal(str_distance(STR("kitten"), STR("sitting"), 2), 3);
  assert_int_equal(str_distance(STR("ingest"), STR("ingest"), 0), 0);
  assert_int_equal(str_distance(STR("ingest"), STR("igest"), 1), 1);
  assert_int_equal(str_distance(STR(""), STR("abc"), 5), 3);
  assert_int_equal(str_distance(STR("abcdef"), STR(""), 2), 3);
  char big[600] = {0};
  assert_int_equal(str_distance((struct str){big, 600}, (struct str){big, 599}, 4), 5);
}

TEST(buffers) {
  struct buf b = {0};
  assert_string_equal(buf_cstr(&b), "");
  buf_printf(&b, "%d rows", 12);
  buf_putc(&b, ' ');
  buf_str(&b, STR("of"));
  buf_puts(&b, " x");
  buf_str(&b, STR_NONE);
  assert_string_equal(buf_cstr(&b), "12 rows of x");
  buf_clear(&b);
  for (int i = 0; i < 1000; i++) buf_printf(&b, "%0*d", i, i);
  assert_int_equal(b.n, 999 * 1000 / 2 + 1);
  assert_int_equal(buf_check(&b, NULL), OK);
  buf_clear(&b);
  buf_html(&b, STR("<a href=\"x\">'&'</a>"));
  assert_string_equal(buf_cstr(&b), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
  assert_false(buf_reserve(&b, SIZE_MAX - 3));
  assert_true(b.failed);
  buf_clear(&b);
  assert_true(buf_reserve(&b, 10));
  buf_release(&b);
  assert_null(b.p);
}

TEST(buffers_fail_once_and_stay_failed) {
  for (long n = 1;; n++) {
    struct buf b = {0};
    arena_fail_at(n);
    for (int i = 0; i < 50; i++) buf_printf(&b, "line %d of a text that must grow some times\n", i);
    bool hit = !arena_fail_pending();
    arena_fail_at(0);
    struct error e = {0};
    assert_int_equal(buf_check(&b, &e), hit ? E_NOMEM : OK);
    buf_puts(&b, "more");
    if (hit) assert_string_equal(buf_cstr(&b), "");
    buf_release(&b);
    if (!hit) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(comparison),
      cmocka_unit_test(trim_cut_copy),
      cmocka_unit_test(integers),
      cmocka_unit_test(reals),
      cmocka_unit_test(random_reals_read_like_strtod),
      cmocka_unit_test(utf8),
      cmocka_unit_test(distance),
      cmocka_unit_test(buffers),
      cmocka_unit_test(buffers_fail_once_and_stay_failed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
