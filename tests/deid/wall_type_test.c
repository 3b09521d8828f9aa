/* The wall is a type: going round it must not compile. Small files are given to the compiler; the ones that cheat must fail, and
 * the one that does not must pass (or the others prove nothing). */
#include "deid_helper.h"

#include <unistd.h>

static const char *compiler(void) {
  static const char *const names[] = {"cc", "gcc", "clang-14", "clang"};
  static char command[64];
  for (int i = 0; i < 4; i++) {
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", names[i]);
    if (system(command) == 0) return names[i];
  }
  return NULL;
}

/* Does this text compile, in a file that could lie in timeline/? */
static bool compiles(const char *text) {
  char path[] = "/tmp/wall-type-XXXXXX.c", command[512];
  int fd = mkstemps(path, 2);
  assert_true(fd >= 0);
  FILE *f = fdopen(fd, "w");
  fputs(text, f);
  fclose(f);
  snprintf(command, sizeof command, "%s -std=c11 -D_GNU_SOURCE -Isrc -Werror -fsyntax-only %s >/dev/null 2>&1", compiler(), path);
  int rc = system(command);
  unlink(path);
  return rc == 0;
}

#define HEAD "#include \"deid/event.h\"\n"

static void reading_an_event_compiles(void **state UNUSED) {
  if (!compiler() || !file_exists("src/deid/event.h")) skip();
  assert_true(compiles(HEAD "int64_t f(const struct event *ev) { return event_time(ev) + (int64_t)event_code(ev).n; }\n"));
}

static void making_an_event_does_not(void **state UNUSED) {
  if (!compiler() || !file_exists("src/deid/event.h")) skip();
  static const char *const cheats[] = {
      HEAD "struct event made;\n",
      HEAD "int64_t f(void) { struct event ev = {0}; return event_time(&ev); }\n",
      HEAD "int64_t f(void) { return event_time(&(struct event){.time = 1}); }\n",
      HEAD "void f(struct event *ev) { ev->time = 1; }\n",
      HEAD "unsigned long f(void) { return sizeof(struct event); }\n",
      HEAD "void f(struct event *a, const struct event *b) { *a = *b; }\n",
      /* an identified record is another type: it cannot be handed on as an event */
      HEAD "#include \"record/record.h\"\nint64_t f(const struct record *r) { return event_time(r); }\n",
      HEAD
      "#include \"record/record.h\"\nint f(struct event_sink *s, const struct record *r, struct error *e) { return s->event(s->ctx, r, e); "
      "}\n",
  };
  for (size_t i = 0; i < sizeof cheats / sizeof *cheats; i++)
    if (compiles(cheats[i])) fail_msg("cheat %zu compiles", i);
}

/* The header that says what an event is made of is included by one file. */
static void only_the_wall_includes_event_make(void **state UNUSED) {
  if (!file_is_dir("src")) skip();
  FILE *p = popen("grep -rlE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[\"<]([^\">]*/)?event_make\\.h' src include 2>/dev/null", "r");
  char line[512];
  int files = 0;
  while (fgets(line, sizeof line, p)) {
    files++;
    assert_string_equal(line, "src/deid/deid.c\n");
  }
  pclose(p);
  assert_int_equal(files, 1);
}

/* Nothing behind the wall sees the identified zone, directly or by way of another header. */
static void nothing_downstream_includes_record(void **state UNUSED) {
  if (!file_is_dir("src/timeline") || !compiler()) skip();
  char command[1024], line[4096];
  static const char *const modules[] = {"timeline", "token", "model", "predict", "validate", "govern", "kernel", "base"};
  for (int i = 0; i < 8; i++) {
    snprintf(command, sizeof command,
             "for f in src/%s/*.c src/%s/*.h; do [ -f \"$f\" ] && %s -std=c11 -D_GNU_SOURCE -Isrc -Iinclude -MM -MG \"$f\" 2>/dev/null; "
             "done | tr ' ' '\\n' | "
             "grep -E '^(src/)?(record/|deid/(event_make|wall|vault_rows|vault_file|code_rules|zip3|deid_date)\\.h)'",
             modules[i], modules[i], compiler());
    FILE *p = popen(command, "r");
    if (fgets(line, sizeof line, p)) fail_msg("%s sees %s", modules[i], line);
    pclose(p);
  }
}

/* The build's own check, on a small tree with one file in timeline/ that includes `header`. */
static int include_check(const char *header) {
  char root[] = "/tmp/wall-tree-XXXXXX", path[256], command[512];
  assert_non_null(mkdtemp(root));
  snprintf(path, sizeof path, "%s/src/timeline", root);
  assert_int_equal(file_mkdirs(path, 0700, NULL), OK);
  snprintf(path, sizeof path, "%s/src/timeline/timeline_cheat.c", root);
  FILE *f = fopen(path, "w");
  fprintf(f, "#include \"%s\"\n", header);
  fclose(f);
  snprintf(command, sizeof command, "scripts/check-includes %s >/dev/null 2>&1", root);
  int rc = system(command);
  assert_int_equal(file_remove_tree(root, NULL), OK);
  return rc;
}

static void the_include_check_knows_the_wall(void **state UNUSED) {
  if (!file_exists("scripts/check-includes")) skip();
  assert_int_equal(include_check("deid/event.h"), 0);
  static const char *const cheats[] = {"record/record.h", "deid/event_make.h",  "deid/wall.h",
                                       "deid/deid.h",     "../record/record.h", "deid/vault_rows.h"};
  for (int i = 0; i < 6; i++)
    if (include_check(cheats[i]) == 0) fail_msg("%s may be included", cheats[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reading_an_event_compiles),         cmocka_unit_test(making_an_event_does_not),
      cmocka_unit_test(only_the_wall_includes_event_make), cmocka_unit_test(nothing_downstream_includes_record),
      cmocka_unit_test(the_include_check_knows_the_wall),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
