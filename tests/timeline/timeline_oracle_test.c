/* The C reader and the Python reader that was written from FORMAT.md alone must say the same of the same store. */
#include "store_help.h"

static void oracle_path(char out[4096]) { /* tests run from the repository root or from a build directory below it */
  static const char *const tries[] = {"tests/oracle/timeline_oracle.py", "../tests/oracle/timeline_oracle.py",
                                      "../../../tests/oracle/timeline_oracle.py"};
  for (int i = 0; i < 3; i++)
    if (file_exists(tries[i])) {
      strcpy(out, tries[i]);
      return;
    }
  fail_msg("tests/oracle/timeline_oracle.py not found");
}

static int run_oracle(const char *dir, struct buf *out) {
  char path[4096], command[9000], chunk[4096];
  oracle_path(path);
  snprintf(command, sizeof command, "python3 '%s' '%s' 2>/dev/null", path, dir);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) buf_put(out, chunk, n);
  return pclose(f);
}

static void compare(const char *dir) {
  struct buf mine = {0}, theirs = {0};
  dump_store(dir, &mine);
  assert_int_equal(run_oracle(dir, &theirs), 0);
  assert_int_equal(mine.n, theirs.n);
  assert_memory_equal(mine.p, theirs.p, mine.n);
  buf_release(&mine);
  buf_release(&theirs);
}

static void oracle_agrees(void **state) {
  (void)state;
  char dir[64];
  struct rng r;
  enum { N = 1500 };
  static struct event v[N];
  rng_init(&r, 3, 3);
  char blob[BLOBS][65];
  temp_dir(dir);
  for (int generation = 0; generation < 4; generation++) {
    put_blobs(dir, blob);
    for (int i = 0; i < N; i++) {
      v[i] = random_event(&r, 60);
      if (generation && rng_below(&r, 6) == 0) v[i].blob = str_c(blob[rng_below(&r, BLOBS)]);
    }
    struct timeline_options o = {.split_seed = 0xFEDCBA9876543210u};
    OKAY(write_events(dir, &o, v, N, e));
    compare(dir);
  }
  temp_remove(dir);
}

static void oracle_agrees_on_little(void **state) {
  (void)state;
  char dir[64];
  struct event one = event_of(INT64_MAX, INT64_MAX, "X", INFINITY);
  temp_dir(dir);
  OKAY(write_events(dir, NULL, NULL, 0, e));
  compare(dir);
  OKAY(write_events(dir, NULL, &one, 1, e));
  compare(dir);
  temp_remove(dir);
}

static void oracle_sees_damage(void **state) { /* a comparison that cannot fail would prove nothing */
  (void)state;
  char dir[64], path[128];
  struct event one = event_of(1, 5, "X", 2);
  struct buf out = {0};
  temp_dir(dir);
  OKAY(write_events(dir, NULL, &one, 1, e));
  snprintf(path, sizeof path, "%s/gen-000001/shard-000", dir);
  FILE *f = fopen(path, "r+b");
  fseek(f, 600, SEEK_SET);
  int c = fgetc(f);
  fseek(f, 600, SEEK_SET);
  fputc(c ^ 1, f);
  fclose(f);
  assert_int_not_equal(run_oracle(dir, &out), 0);
  buf_release(&out);
  temp_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(oracle_agrees), cmocka_unit_test(oracle_agrees_on_little),
                                     cmocka_unit_test(oracle_sees_damage)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
