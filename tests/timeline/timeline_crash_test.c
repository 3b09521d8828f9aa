/* Whatever happens to a writer, the earlier generation stays: killed at any moment, out of memory at any allocation, disk refusing. */
#include "store_help.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/log.h"

/* The child ingests batch after batch for ever; batch b holds the same events each time it is tried. */
static void child_ingests(const char *dir) {
  for (uint64_t b = 0;; b++) {
    static struct event v[3000];
    struct rng r;
    rng_init(&r, b, 9);
    for (int i = 0; i < 3000; i++) {
      v[i] = random_event(&r, 200);
      v[i].subject += (int64_t)b;
    }
    struct timeline_options o = {.memory_limit = 1};
    struct error err = {0};
    if (write_events(dir, &o, v, 3000, &err) < 0) _exit(1);
  }
}

static void killed_at_any_moment(void **state) {
  (void)state;
  char dir[64], generation[32] = "";
  uint64_t events = 0;
  int progressed = 0;
  uint32_t longest = 30000; /* microseconds; grows while the disk is too slow for a commit in that time */
  struct rng r;
  temp_dir(dir);
  rng_init(&r, (uint64_t)getpid(), 1);
  for (int round = 0; round < 30 || progressed < 4; round++) {
    assert_true(round < 300);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child_ingests(dir);
    uint32_t us = 500 + rng_below(&r, longest);
    struct timespec wait = {us / 1000000, (long)(us % 1000000) * 1000};
    nanosleep(&wait, NULL);
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it must not have stopped by an error of its own */
    struct timeline *t;
    struct error err = {0};
    int rc = timeline_open(dir, &t, &err);
    if (longest < 3000000) longest += longest / 8;
    if (rc == E_NOTFOUND && events == 0) continue; /* killed before the first commit */
    if (rc < 0) {
      error_print(stderr, &err);
      fail_msg("round %d", round);
    }
    assert_true(timeline_events(t) >= events); /* what was committed stays */
    if (strcmp(timeline_generation(t), generation) != 0) {
      strcpy(generation, timeline_generation(t));
      progressed++;
      longest = longest / 2 > 20000 ? longest / 2 : 20000;
    }
    events = timeline_events(t);
    timeline_close(t);
    OKAY(timeline_verify(dir, print_finding, NULL, e));
  }
  struct event one = event_of(1, 1, "LAST", 1);
  OKAY(write_events(dir, NULL, &one, 1, e)); /* cleans up */
  char path[128];
  snprintf(path, sizeof path, "%s/.writing", dir);
  assert_false(file_exists(path));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  temp_remove(dir);
}

static void every_allocation_fails_once(void **state) {
  (void)state;
  char dir[64];
  static struct event v[400];
  struct rng r;
  struct buf before = {0};
  rng_init(&r, 4, 4);
  for (int i = 0; i < 400; i++) v[i] = random_event(&r, 30);
  temp_dir(dir);
  OKAY(write_events(dir, NULL, v, 200, e));
  dump_store(dir, &before);
  bool done = false;
  for (long n = 1; !done; n++) {
    struct error err = {0};
    struct timeline_options o = {.memory_limit = 4 << 20};
    arena_fail_at(n);
    int rc = write_events(dir, &o, v + 200, 200, &err);
    done = arena_fail_pending();
    arena_fail_at(0);
    assert_true(n < 20000);
    if (done) {
      assert_int_equal(rc, OK);
      break;
    }
    assert_true(rc < 0); /* nothing here may shrug off a failed allocation */
    assert_int_equal(err.code, rc);
    if (n % 5) continue;
    struct buf after = {0};
    dump_store(dir, &after);
    assert_int_equal(after.n, before.n); /* a failure after CURRENT moved would be a lie to the caller */
    assert_memory_equal(after.p, before.p, before.n);
    buf_release(&after);
  }
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  buf_release(&before);
  temp_remove(dir);
}

static void reader_allocations_fail(void **state) {
  (void)state;
  char dir[64];
  static struct event v[300];
  struct rng r;
  rng_init(&r, 5, 4);
  for (int i = 0; i < 300; i++) v[i] = random_event(&r, 20);
  temp_dir(dir);
  OKAY(write_events(dir, NULL, v, 300, e));
  for (long n = 1; n < 20000; n++) {
    struct error err = {0};
    struct timeline *t = NULL;
    struct buf b = {0};
    arena_fail_at(n);
    if (timeline_open(dir, &t, &err) == OK)
      for (uint32_t i = 0; i < timeline_subjects(t); i++) timeline_print(t, i, 80, false, 0, &b);
    timeline_close(t);
    int verified = timeline_verify(dir, ignore_finding, NULL, &err);
    bool done = arena_fail_pending();
    arena_fail_at(0);
    buf_release(&b);
    if (done) {
      assert_int_equal(verified, OK);
      break;
    }
  }
  temp_remove(dir);
}

static void memory_allocations_fail(void **state) {
  (void)state;
  for (long n = 1; n < 20000; n++) {
    struct timeline *t = NULL;
    struct rng r;
    rng_init(&r, 6, 4);
    arena_fail_at(n);
    int rc = timeline_memory_new(&t, NULL);
    for (int i = 0; rc == OK && i < 400; i++) {
      struct event ev = random_event(&r, 3);
      rc = timeline_memory_append(t, &ev, NULL);
    }
    if (rc == OK) rc = timeline_memory_seal(t, NULL);
    bool done = arena_fail_pending();
    arena_fail_at(0);
    timeline_close(t);
    assert_true(done == (rc == OK));
    if (done) break;
  }
}

static void disk_full(void **state) { /* a file size limit stands in: write fails with EFBIG at a different place each time */
  (void)state;
  char dir[64];
  static struct event v[5000];
  struct rng r;
  struct buf before = {0}, after = {0};
  rng_init(&r, 7, 7);
  for (int i = 0; i < 5000; i++) v[i] = random_event(&r, 500);
  temp_dir(dir);
  OKAY(write_events(dir, NULL, v, 50, e));
  dump_store(dir, &before);
  signal(SIGXFSZ, SIG_IGN);
  for (rlim_t limit = 64; limit < 100000; limit *= 3) {
    struct rlimit old, small;
    struct error err = {0};
    struct timeline_options o = {.memory_limit = 1};
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){limit, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    int rc = write_events(dir, &o, v, 5000, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, E_IO);
    buf_clear(&after);
    dump_store(dir, &after);
    assert_int_equal(before.n, after.n);
    assert_memory_equal(before.p, after.p, before.n);
  }
  OKAY(write_events(dir, NULL, v, 5000, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  buf_release(&before);
  buf_release(&after);
  temp_remove(dir);
}

int main(void) {
  log_level(LOG_ERROR - 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(killed_at_any_moment),
      cmocka_unit_test(every_allocation_fails_once),
      cmocka_unit_test(reader_allocations_fail),
      cmocka_unit_test(memory_allocations_fail),
      cmocka_unit_test(disk_full),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
