#include "helpers.h"

static const int ALL[] = {OK,         E_END,     E_MORE,    E_INPUT,    E_IO,   E_NOMEM,       E_LIMIT,     E_DENIED,
                          E_NOTFOUND, E_VERSION, E_CORRUPT, E_MISMATCH, E_BUSY, E_UNAVAILABLE, E_CANCELLED, E_USAGE};

TEST(every_code_has_its_own_name_and_status) {
  for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) {
    assert_string_not_equal(error_name(ALL[i]), "unknown");
    assert_in_range(error_http_status(ALL[i]), 200, 599);
    assert_in_range(error_exit_status(ALL[i]), 0, 255);
    assert_int_equal(error_exit_status(ALL[i]) == 0, ALL[i] == OK);
    assert_int_equal(error_http_status(ALL[i]) < 400, ALL[i] == OK);
    for (size_t j = 0; j < i; j++) {
      assert_string_not_equal(error_name(ALL[i]), error_name(ALL[j]));
      assert_int_not_equal(error_exit_status(ALL[i]), error_exit_status(ALL[j]));
    }
  }
  assert_string_equal(error_name(E_LIMIT), "limit");
  assert_int_equal(error_exit_status(E_USAGE), 64);
  assert_int_equal(error_exit_status(E_CANCELLED), 130);
  assert_int_equal(error_http_status(E_DENIED), 403);
  assert_int_equal(error_http_status(E_NOTFOUND), 404);
  assert_int_equal(error_http_status(E_BUSY), 429);
  assert_string_equal(error_name(-999), "unknown");
  assert_string_equal(error_name(INT32_MIN), "unknown");
  assert_string_equal(error_name(17), "ok");
}

TEST(set_and_where) {
  struct error e = {0};
  assert_int_equal(error_set(&e, E_INPUT, "row has %d fields", 3), E_INPUT);
  assert_int_equal(e.code, E_INPUT);
  assert_string_equal(e.message, "row has 3 fields");
  assert_non_null(strstr(e.source, "error_test.c"));
  assert_int_equal(e.line, __LINE__ - 4);
  assert_int_equal(error_where(&e, "a.csv", 7, "Observation.value"), E_INPUT);
  assert_int_equal(error_where(&e, NULL, 0, NULL), E_INPUT);
  char line[400];
  error_format(&e, line, sizeof line);
  assert_string_equal(line, "a.csv:7: Observation.value: row has 3 fields (input)");
  char small[12];
  error_format(&e, small, sizeof small);
  assert_string_equal(small, "a.csv:7: Ob");
  error_set(&e, E_LIMIT, "other"); /* another failure must not wear the first one's place */
  error_format(&e, line, sizeof line);
  assert_string_equal(line, "other (limit)");
}

TEST(a_place_given_beforehand_stays) {
  struct error e = {0};
  assert_int_equal(error_where(&e, NULL, 12, "PID-3"), 0);
  error_set(&e, E_INPUT, "empty");
  char line[200];
  error_format(&e, line, sizeof line);
  assert_string_equal(line, "row 12: PID-3: empty (input)");
}

TEST(null_and_long_and_control) {
  assert_int_equal(error_set(NULL, E_IO, "x"), E_IO);
  assert_true(error_where(NULL, "f", 1, NULL) < 0); /* `return error_where(...)` must not look like success */
  struct error e = {0};
  char path[500];
  memset(path, 'd', sizeof path);
  strcpy(path + sizeof path - 10, "/name.csv");
  error_set(&e, E_IO, "%0400d", 0);
  error_where(&e, path, 0, NULL);
  assert_int_equal(strlen(e.file), sizeof e.file - 1);
  assert_string_equal(e.file + sizeof e.file - 10, "/name.csv");
  assert_int_equal(strlen(e.message), ERROR_MESSAGE - 1);
  error_where(&e, "bad\nname\x1b[31m", 0, NULL);
  char line[900];
  error_format(&e, line, sizeof line);
  assert_null(strchr(line, '\n'));
  assert_null(strchr(line, '\x1b'));
  FILE *f = tmpfile();
  error_print(f, &e);
  assert_true(ftell(f) > 300);
  fclose(f);
}

static int fails(void) { return E_BUSY; }
static int passes(void) { return 5; }
static int with_try(int *reached) {
  TRY(passes());
  *reached = 1;
  TRY(fails());
  *reached = 2;
  return OK;
}
static int with_out(int *cleaned) {
  int rc;
  TRY_OUT(passes());
  TRY_OUT(fails());
out:
  *cleaned = 1;
  return rc;
}

TEST(try_macros) {
  int reached = 0, cleaned = 0;
  assert_int_equal(with_try(&reached), E_BUSY);
  assert_int_equal(reached, 1);
  assert_int_equal(with_out(&cleaned), E_BUSY);
  assert_int_equal(cleaned, 1);
}

static void bug(void) { BUG_IF(1 + 1 == 2); }
static void no_bug(void) { BUG_IF(1 + 1 == 3); }
static void set_without_failure(void) { error_set(NULL, OK, "fine"); }

TEST(bugs_abort) {
  int status = child(bug);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  status = child(no_bug);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  status = child(set_without_failure);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_code_has_its_own_name_and_status),
      cmocka_unit_test(set_and_where),
      cmocka_unit_test(a_place_given_beforehand_stays),
      cmocka_unit_test(null_and_long_and_control),
      cmocka_unit_test(try_macros),
      cmocka_unit_test(bugs_abort),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
