/* Erasure: what stays is what was there without the subject, byte for byte of every other life; what only the subject had is gone from the
 * dictionary, the sources, the blobs and the earlier generations; cut off anywhere it can be called again. */
#include "store_help.h"

#include <fcntl.h>
#include <sys/wait.h>

/* The n-th rename or unlink from now on is the last thing this process does. */
static int die_in;
static void step(void) {
  if (die_in && --die_in == 0) _exit(42);
}
int rename(const char *from, const char *to) {
  step();
  return renameat(AT_FDCWD, from, AT_FDCWD, to);
}
int unlink(const char *path) {
  step();
  return unlinkat(AT_FDCWD, path, 0);
}

enum { LIVES = 40 };
static const int64_t gone = 1007;

/* Two generations; subject 1007 has a code, a unit, a text and a blob that nobody else has. `with`: the subject's events too. */
static void build(const char *dir, bool with, char hex[65]) {
  char temp[128];
  for (int g = 0; g < 2; g++) {
    struct timeline_writer *w;
    struct timeline_options o = {.policy_name = STR("expert"), .policy_hash = STR("ab"), .source = STR("fhir")};
    OKAY(timeline_writer_open(dir, &o, &w, e));
    for (int64_t s = 1000; s < 1000 + LIVES; s++) {
      if (s == gone && !with) continue;
      struct event ev = event_of(s, g * 1000 + s, "LOINC//2160-0", (float)s);
      ev.unit = STR("mg/dL");
      OKAY(timeline_append(w, &ev, e));
      ev = event_of(s, TIME_STATIC, "GENDER//female", NAN);
      ev.text = STR("a text of everybody");
      OKAY(timeline_append(w, &ev, e));
      if (s != gone) continue;
      ev = event_of(s, g * 1000 + s, "RARE//only-one", 1);
      ev.unit = STR("furlong");
      ev.text = STR("a text of one person alone");
      ev.origin_file = 1;
      if (g == 0) {
        snprintf(temp, sizeof temp, "%s/genome", timeline_writer_blob_dir(w));
        OKAY(file_write_atomic(temp, "ACGT", 4, 0600, e));
        OKAY(timeline_writer_blob(w, temp, hex, e));
        ev.blob = (struct str){hex, 64};
      }
      OKAY(timeline_append(w, &ev, e));
    }
    OKAY(timeline_writer_source(w, 0, "all.ndjson", "00000000000000000000000000000000000000000000000000000000000000aa", false, e));
    if (with)
      OKAY(timeline_writer_source(w, 1, "one person.ndjson", "00000000000000000000000000000000000000000000000000000000000000bb", false, e));
    OKAY(timeline_writer_finish(w, STR("{}"), NULL, NULL, e));
  }
}

static void count_found(void *ctx, const char *generation UNUSED, int64_t subject) {
  assert_true(subject == gone);
  ++*(int *)ctx;
}
static int holders(const char *dir) {
  int n = 0;
  OKAY(timeline_search(dir, &gone, 1, count_found, &n, e));
  return n;
}

static bool holds(const char *dir, const char *what) {
  char command[512];
  snprintf(command, sizeof command, "grep -rqaF '%s' %s", what, dir);
  return system(command) == 0;
}

static void the_rest_is_as_if_the_subject_had_never_been(void **state UNUSED) {
  char with[64], without[64], hex[65], path[4096];
  struct timeline_forgotten out;
  struct buf a = {0}, b = {0};
  struct timeline *t;
  uint32_t code;
  temp_dir(with);
  temp_dir(without);
  build(with, true, hex);
  build(without, false, hex);
  OKAY(blob_path(with, (struct str){hex, 64}, path, e));
  assert_true(file_exists(path) && holders(with) == 2 && holds(with, "RARE//only-one"));
  OKAY(timeline_forget(with, &gone, 1, &out, e));
  assert_true(out.found == 1 && out.generations == 1 && !strcmp(out.generation, "gen-000003"));
  OKAY(timeline_verify(with, print_finding, NULL, e));
  assert_int_equal(holders(with), 0);
  assert_false(file_exists(path));
  dump_store(with, &a);
  dump_store(without, &b);
  assert_true(a.n == b.n && memcmp(a.p, b.p, a.n) == 0);
  OKAY(timeline_open(with, &t, e));
  assert_int_equal(timeline_subjects(t), LIVES - 1);
  assert_false(timeline_code_find(t, STR("RARE//only-one"), &code));
  assert_true(timeline_code_find(t, STR("GENDER//female"), &code));
  assert_int_equal(timeline_code_count(t, code), LIVES - 1);
  timeline_close(t);
  assert_false(holds(with, "RARE//only-one") || holds(with, "furlong") || holds(with, "00000000bb"));
  assert_true(holds(with, "00000000aa") && holds(with, "\"expert\""));
  OKAY(timeline_forget(with, &gone, 1, &out, e)); /* done already */
  assert_true(out.found == 0 && out.generations == 0 && !strcmp(out.generation, "gen-000003"));
  build(with, false, hex); /* and the store goes on */
  OKAY(timeline_verify(with, print_finding, NULL, e));
  buf_release(&a);
  buf_release(&b);
  temp_remove(with);
  temp_remove(without);
}

static void everybody_can_be_forgotten(void **state UNUSED) {
  char dir[64], hex[65];
  int64_t all[LIVES + 2];
  struct timeline_forgotten out;
  temp_dir(dir);
  OKAY(timeline_forget(dir, &gone, 1, &out, e)); /* no store */
  assert_true(out.found == 0 && !out.generation[0]);
  build(dir, true, hex);
  for (int i = 0; i < LIVES + 2; i++) all[i] = 1000 + LIVES + 1 - i; /* in any order; some are not there */
  OKAY(timeline_forget(dir, all, LIVES + 2, &out, e));
  assert_int_equal(out.found, LIVES);
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  struct timeline *t;
  OKAY(timeline_open(dir, &t, e));
  assert_true(timeline_subjects(t) == 0 && timeline_codes(t) == 0);
  timeline_close(t);
  temp_remove(dir);
}

static void cut_off_anywhere_it_is_before_or_finishes(void **state UNUSED) {
  for (int n = 1;; n++) {
    char dir[64], hex[65];
    int status;
    struct timeline *t;
    struct timeline_forgotten out;
    temp_dir(dir);
    build(dir, true, hex);
    pid_t child = fork();
    if (child == 0) {
      die_in = n;
      _exit(timeline_forget(dir, &gone, 1, &out, NULL) < 0 ? 2 : 0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0));
    OKAY(timeline_open(dir, &t, e));
    uint32_t at, subjects = timeline_subjects(t);
    bool there = timeline_find(t, gone, &at, NULL) == OK;
    assert_int_equal(subjects, there ? LIVES : LIVES - 1);
    timeline_close(t);
    OKAY(timeline_forget(dir, &gone, 1, &out, e));
    assert_int_equal(out.found, there);
    assert_int_equal(holders(dir), 0);
    OKAY(timeline_verify(dir, print_finding, NULL, e));
    assert_false(holds(dir, "RARE//only-one"));
    temp_remove(dir);
    if (WEXITSTATUS(status) == 0) {
      assert_true(n > 3);
      break;
    }
  }
}

static void every_allocation_may_fail(void **state UNUSED) {
  char dir[64], hex[65];
  struct timeline_forgotten out;
  temp_dir(dir);
  build(dir, true, hex);
  for (long n = 1;; n += 3) {
    arena_fail_at(n);
    int rc = timeline_forget(dir, &gone, 1, &out, NULL);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    if (pending) {
      assert_int_equal(rc, OK);
      break;
    }
    assert_true(n < 3000);
  }
  OKAY(timeline_forget(dir, &gone, 1, &out, e));
  assert_int_equal(holders(dir), 0);
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  temp_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_rest_is_as_if_the_subject_had_never_been),
      cmocka_unit_test(everybody_can_be_forgotten),
      cmocka_unit_test(cut_off_anywhere_it_is_before_or_finishes),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
