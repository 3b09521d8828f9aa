#include "helpers.h"

#include <fcntl.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"

static const char *count_text(uint64_t n) {
  static char out[32];
  human_count(n, out);
  return out;
}
static const char *bytes_text(uint64_t n) {
  static char out[32];
  human_bytes(n, out);
  return out;
}
static const char *thousands_text(int64_t n) {
  static char out[32];
  human_thousands(n, out);
  return out;
}

TEST(human_numbers) {
  assert_string_equal(count_text(0), "0");
  assert_string_equal(count_text(999), "999");
  assert_string_equal(count_text(1000), "1.00 k");
  assert_string_equal(count_text(1900000), "1.90 M");
  assert_string_equal(count_text(999999), "1.00 M");
  assert_string_equal(count_text(UINT64_MAX), "18.4 E");
  assert_string_equal(bytes_text(17), "17 B");
  assert_string_equal(bytes_text(12300000), "12.3 MB");
  assert_string_equal(bytes_text(123456), "123 kB");
  assert_string_equal(thousands_text(0), "0");
  assert_string_equal(thousands_text(1234567), "1,234,567");
  assert_string_equal(thousands_text(-123), "-123");
  assert_string_equal(thousands_text(-1234), "-1,234");
  assert_string_equal(thousands_text(INT64_MIN), "-9,223,372,036,854,775,808");
}

TEST(environment_and_terminal) {
  setenv("BASE_TEST", "x", 1);
  assert_string_equal(env_get("BASE_TEST"), "x");
  setenv("BASE_TEST", "", 1);
  assert_null(env_get("BASE_TEST"));
  unsetenv("BASE_TEST");
  assert_null(env_get("BASE_TEST"));
  int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  assert_false(term_is_tty(fd));
  assert_false(term_colour(fd));
  setenv("COLUMNS", "133", 1);
  assert_int_equal(term_width(fd), 133);
  setenv("COLUMNS", "-4", 1);
  assert_int_equal(term_width(fd), 80);
  unsetenv("COLUMNS");
  close(fd);
}

TEST(tables) {
  struct table t;
  char name[8] = "abc";
  table_init(&t, 3, "model", "AUROC", "n");
  table_row(&t, name, "0.81", "1,200");
  strcpy(name, "xxx"); /* cells are copied */
  table_row(&t, "\xCF\x80-net", "0.7", NULL);
  FILE *f = tmpfile();
  table_print(&t, f);
  rewind(f);
  char got[600] = {0};
  size_t n = fread(got, 1, sizeof got - 1, f);
  fclose(f);
  assert_true(n > 0);
  assert_string_equal(got,
                      "model  AUROC      n\n"
                      "─────  ─────  ─────\n"
                      "abc     0.81  1,200\n"
                      "π-net    0.7       \n");
  table_release(&t);
  for (long k = 1;; k++) { /* a table that finds no memory loses rows, nothing else */
    arena_fail_at(k);
    table_init(&t, 2, "a", "b");
    for (int i = 0; i < 20; i++) table_row(&t, "x", "1");
    bool hit = !arena_fail_pending();
    arena_fail_at(0);
    f = tmpfile();
    table_print(&t, f);
    fclose(f);
    assert_int_equal(t.n < 21, hit);
    table_release(&t);
    if (!hit) break;
  }
}

/* What f writes to stderr. */
static struct str captured(struct arena *a, void (*f)(void)) {
  const char *path = temp("stderr");
  fflush(stderr);
  int old = dup(STDERR_FILENO), to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  dup2(to, STDERR_FILENO);
  f();
  fflush(stderr);
  dup2(old, STDERR_FILENO);
  close(old);
  close(to);
  struct str s = STR_NONE;
  if (file_read(a, path, 1 << 20, &s, NULL) < 0) fail();
  return s;
}

static void log_things(void) {
  log_line(LOG_INFO, "read %d \"rows\"", 5);
  log_line(LOG_DEBUG, "not shown");
  struct error e = {0};
  error_set(&e, E_INPUT, "no date");
  error_where(&e, "a.csv", 3, "birth_date");
  log_failure(LOG_WARN, &e);
}

TEST(log_as_json_and_as_words) {
  struct arena a;
  arena_init(&a, 0, 0);
  log_level(LOG_INFO);
  log_json(true);
  struct str s = captured(&a, log_things), line = str_cut(&s, '\n');
  struct json_parser *jp;
  struct json root;
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  assert_int_equal(json_parse(jp, line.p, line.n, line.n, &root, NULL), OK);
  assert_text(json_str(json_get(root, "message")), "read 5 \"rows\"");
  assert_text(json_str(json_get(root, "level")), "info");
  struct str when = json_str(json_get(root, "time"));
  assert_int_equal(when.p[when.n - 1], 'Z');
  line = str_cut(&s, '\n');
  assert_int_equal(json_parse(jp, line.p, line.n, line.n, &root, NULL), OK);
  assert_text(json_str(json_get(root, "code")), "input");
  assert_text(json_str(json_get(root, "file")), "a.csv");
  assert_text(json_str(json_get(root, "field")), "birth_date");
  assert_int_equal(s.n, 0);
  log_json(false);
  s = captured(&a, log_things);
  assert_text(s, "read 5 \"rows\"\nwarn: a.csv:3: birth_date: no date (input)\n");
  log_level(LOG_ERROR);
  assert_int_equal(captured(&a, log_things).n, 0);
  log_level(LOG_INFO);
  json_parser_free(jp);
  arena_free(&a);
}

static void progress_things(void) {
  struct progress p;
  progress_start(&p, "ingest", 1000, PROGRESS_BYTES);
  for (uint64_t i = 0; i < 1000; i++) progress_update(&p, i, "note");
  p.shown -= 60; /* a minute ago */
  progress_update(&p, 500, "note");
  progress_end(&p, "ok");
  progress_end(&p, "twice");
}
TEST(progress_lines) {
  struct arena a;
  arena_init(&a, 0, 0);
  struct str s = captured(&a, progress_things), line = str_cut(&s, '\n');
  while (!str_starts(line, STR("ingest: 50 %")) && s.n) line = str_cut(&s, '\n'); /* on a very slow machine there are others before it */
  assert_true(str_starts(line, STR("ingest: 50 %")));
  assert_true(str_ends(line, STR("/s, note")));
  line = str_cut(&s, '\n');
  assert_true(str_starts(line, STR("ingest: ok (")));
  assert_int_equal(s.n, 0);
  progress_mode(PROGRESS_QUIET);
  assert_int_equal(captured(&a, progress_things).n, 0);
  progress_mode(PROGRESS_AUTO);
  arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(human_numbers),  cmocka_unit_test(environment_and_terminal),
      cmocka_unit_test(tables),         cmocka_unit_test(log_as_json_and_as_words),
      cmocka_unit_test(progress_lines),
  };
  return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
