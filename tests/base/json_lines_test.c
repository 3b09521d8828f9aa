/* JSON lines: what is passed over, where failures are placed. */
#include "helpers.h"

#include "base/json_lines.h"

/* Sums "n" of each line; more than 100 is refused, as a caller would. */
static int sum(const char *text, size_t n, int64_t *out, struct error *e) {
  struct json_lines l;
  struct json root;
  int rc;
  *out = 0;
  TRY(json_lines_open(&l, temp_file("lines", text, n), e));
  while ((rc = json_lines_next(&l, &root, e)) == OK) {
    int64_t v;
    if ((rc = json_want_i64(root, "n", &v, e)) < 0) break;
    if (v > 100 && (rc = error_set(e, E_LIMIT, "too much")) < 0) break;
    *out += v;
  }
  return json_lines_close(&l, rc, e);
}
static void fails(const char *text, int code, int row) {
  struct error e = {0};
  int64_t n;
  assert_int_equal(sum(text, strlen(text), &n, &e), code);
  assert_int_equal(e.row, row);
  assert_true(strstr(e.file, "lines") != NULL);
}

TEST(lines_are_read_and_blank_ones_passed_over) {
  static const char text[] = "{\"n\":1}\n\n   \t\r\n{\"n\":20}\r\n{\"n\":3}";
  struct error e = {0};
  int64_t n;
  assert_int_equal(sum(text, sizeof text - 1, &n, &e), OK);
  assert_int_equal(n, 24);
  assert_int_equal(sum("", 0, &n, &e), OK);
  assert_int_equal(n, 0);
}

TEST(failures_say_which_line) {
  struct json_lines l;
  struct error e = {0};
  fails("{\"n\":1}\n\n{\"n\":\n", E_INPUT, 3);           /* no JSON */
  fails("{\"n\":1}\n{\"n\":2} {\"n\":2}\n", E_INPUT, 2); /* two on one line */
  fails("{\"n\":1}\n{\"m\":2}\n", E_INPUT, 2);           /* the caller's own */
  fails("{\"n\":1}\n{\"n\":2}\n{\"n\":101}", E_LIMIT, 3);
  assert_int_equal(json_lines_open(&l, "/nowhere/at/all", &e), E_NOTFOUND);
}

TEST(a_line_beyond_the_limit_is_refused) {
  struct json_lines l;
  struct json root;
  struct error e = {0};
  static const char text[] = "{\"n\":1}\n{\"n\":1,\"text\":\"long, longer, longest\"}\n{\"n\":1}\n";
  assert_int_equal(json_lines_open(&l, temp_file("lines", text, sizeof text - 1), &e), OK);
  l.s.line_limit = 20;
  assert_int_equal(json_lines_next(&l, &root, &e), OK);
  int rc = json_lines_next(&l, &root, &e);
  assert_int_equal(rc, E_LIMIT);
  assert_int_equal(json_lines_close(&l, rc, &e), E_LIMIT);
  assert_int_equal(e.row, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lines_are_read_and_blank_ones_passed_over), cmocka_unit_test(failures_say_which_line),
                                     cmocka_unit_test(a_line_beyond_the_limit_is_refused)};
  return cmocka_run_group_tests_name("json_lines", tests, temp_make, temp_remove);
}
