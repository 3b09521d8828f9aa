/* The build's own checks must be able to fail: small wrong trees for scripts/check-includes and scripts/size-table. */
#include "helpers.h"

static int run(const char *script) {
  char command[400];
  snprintf(command, sizeof command, "scripts/%s '%s' >'%s/.out' 2>&1", script, temp_dir, temp_dir);
  fflush(NULL);
  int status = system(command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void put(const char *name, const char *text) {
  char dir[200];
  snprintf(dir, sizeof dir, "%s", temp(name));
  *strrchr(dir, '/') = 0;
  assert_int_equal(file_mkdirs(dir, 0755, NULL), OK);
  temp_file(name, text, strlen(text));
}

static const char *const GOOD[][2] = {
    {"src/base/a.c", "#include \"base/a.h\"\n#include <stdio.h>\n"},
    {"src/base/a.h", "#include <stdint.h>\n"},
    {"src/deid/d.c", "#include \"record/record.h\"\n#include \"deid/event.h\"\n"},
    {"src/deid/event.h", "#include \"base/a.h\"\n"},
    {"src/record/record.h", "#include \"base/a.h\"\n"},
    {"src/timeline/t.c", "#include \"deid/event.h\"\n  # include \"timeline/t.h\"\n#include \"near.h\"\n"},
    {"src/model/m.c", "#include \"kernel/k.h\"\n#include \"token/k.h\"\n"},
    {"src/serve/s.c", "#include \"record/record.h\"\n#include \"govern/g.h\"\n#include \"vitae.h\"\n"},
    {"src/cli/c.c", "#include \"serve/s.h\"\n#include \"record/record.h\"\n"},
    {"include/vitae.h", "#include <stdint.h>\n"},
};
static void good_tree(void) {
  assert_int_equal(file_remove_tree(temp("src"), NULL), OK);
  for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) put(GOOD[i][0], GOOD[i][1]);
}

TEST(allowed_arrows_pass) {
  good_tree();
  assert_int_equal(run("check-includes"), 0);
}

TEST(wrong_arrows_fail) {
  static const char *const BAD[][2] = {
      {"src/base/b.c", "#include \"kernel/k.h\"\n"},
      {"src/kernel/k.c", "#include \"token/k.h\"\n"},
      {"src/model/m2.c", "#include \"predict/p.h\"\n"},
      {"src/model/m3.c", "#include \"deid/event.h\"\n"},
      {"src/timeline/t2.c", "#include \"deid/deid.h\"\n"},
      {"src/timeline/t3.c", "#include \"record/record.h\"\n"},
      {"src/validate/v.c", "#include <record/record.h>\n"},
      {"src/predict/p.c", "#\tinclude\"record/record.h\"\n"},
      {"src/govern/g.c", "#include \"model/m.h\"\n"},
      {"src/serve/s2.c", "#include \"cli/c.h\"\n"},
      {"src/token/t.c", "#include \"../record/record.h\"\n"},
      {"src/token/t4.c", "#define WHERE \"record/record.h\"\n#include WHERE\n"},
      {"src/deid/event.h", "#include \"record/record.h\"\n"},
      {"src/base/c.cc", "#include \"record/record.h\"\n"},
      {"src/kernel/cuda/k.cu", "#include \"model/m.h\"\n"},
      {"src/model/m4.c", "#include \"vitae.h\"\n"},
      {"src/other/o.c", "#include <stdio.h>\n"},
      {"include/more.h", "#include \"base/a.h\"\n"},
  };
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
    good_tree();
    assert_int_equal(file_remove_tree(temp("include/more.h"), NULL), OK);
    put(BAD[i][0], BAD[i][1]);
    if (run("check-includes") != 1) fail_msg("passed with %s", BAD[i][0]);
  }
}

TEST(an_empty_tree_is_no_success) {
  assert_int_equal(file_remove_tree(temp("src"), NULL), OK);
  assert_int_equal(file_remove_tree(temp("include"), NULL), OK);
  assert_int_equal(run("check-includes"), 2);
  assert_int_equal(run("size-table"), 2);
}

static void put_lines(const char *name, int n) {
  struct buf b = {0};
  for (int i = 0; i < n; i++) buf_puts(&b, "int x;\n");
  put(name, buf_cstr(&b));
  buf_release(&b);
}

TEST(sizes) {
  good_tree();
  put_lines("src/model/long.c", 1200);
  put_lines("src/kernel/long.c", 3000); /* the numerical operations may be long */
  put_lines("src/model/long.h", 250);
  assert_int_equal(run("size-table"), 0);
  put_lines("src/model/long.c", 1201);
  assert_int_equal(run("size-table"), 1);
  put_lines("src/model/long.c", 10);
  put_lines("src/model/long.h", 251);
  assert_int_equal(run("size-table"), 1);
}

TEST(function_lengths_by_both_ways) {
  good_tree();
  put("src/base/f.c",
      "static int one(void) { return 1; }\n\nint three(int a,\n          int b) {\n  if (a) {\n    b++;\n  }\n  return a + b;\n}\n");
  for (int i = 0; i < 2; i++) {
    if (i) setenv("FUNCTIONS", "layout", 1);
    assert_int_equal(run("size-table"), 0);
    unsetenv("FUNCTIONS");
    struct arena a;
    struct str s;
    arena_init(&a, 0, 0);
    assert_int_equal(file_read(&a, temp(".out"), 1 << 20, &s, NULL), OK);
    assert_non_null(strstr(s.p, "longest function: base: three, 7 lines"));
    arena_free(&a);
  }
}

int main(void) {
  if (access("scripts/check-includes", X_OK) != 0) {
    fprintf(stderr, "run from the root of the repository\n");
    return 1;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(allowed_arrows_pass),           cmocka_unit_test(wrong_arrows_fail),
      cmocka_unit_test(an_empty_tree_is_no_success),   cmocka_unit_test(sizes),
      cmocka_unit_test(function_lengths_by_both_ways),
  };
  return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
