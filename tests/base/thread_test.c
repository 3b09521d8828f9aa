#include "helpers.h"

#include <float.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/random.h"
#include "base/thread.h"

enum { N = 100000 };
struct sum {
  float part[64];
  atomic_int calls;
  int seen[64];
};

static void add(void *ctx, int worker, int workers) {
  struct sum *s = ctx;
  atomic_fetch_add(&s->calls, 1);
  s->seen[worker]++;
  int from = (int)((int64_t)N * worker / workers), to = (int)((int64_t)N * (worker + 1) / workers);
  struct rng r;
  float total = 0;
  for (int i = from; i < to; i++) {
    rng_init(&r, 1, (uint64_t)i);
    total += rng_uniformf(&r);
  }
  s->part[worker] = total;
}

TEST(every_worker_runs_once_and_the_bits_repeat) {
  for (int threads = 1; threads <= 8; threads++) {
    struct pool *p;
    assert_int_equal(pool_new(&p, threads, NULL), OK);
    assert_int_equal(pool_size(p), threads);
    float first = 0;
    for (int round = 0; round < 3; round++) {
      struct sum s = {0};
      pool_run(p, add, &s);
      assert_int_equal(atomic_load(&s.calls), threads);
      float total = 0;
      for (int i = 0; i < threads; i++) {
        assert_int_equal(s.seen[i], 1);
        total += s.part[i];
      }
      if (round) assert_memory_equal(&total, &first, sizeof total);
      first = total;
    }
    pool_free(p);
  }
}

static void count(void *ctx, int worker UNUSED, int workers UNUSED) { atomic_fetch_add((atomic_int *)ctx, 1); }

TEST(many_short_runs) {
  struct pool *p;
  assert_int_equal(pool_new(&p, 4, NULL), OK);
  atomic_int n = 0;
  for (int i = 0; i < 3000; i++) pool_run(p, count, &n);
  assert_int_equal(atomic_load(&n), 12000);
  pool_free(p);
  pool_free(NULL);
}

static volatile float tiny = FLT_MIN;
static void denormal(void *ctx, int worker, int workers UNUSED) { ((float *)ctx)[worker] = tiny / 4; }

TEST(workers_flush_denormals_and_the_caller_gets_its_mode_back) {
#if defined(__x86_64__) || defined(__aarch64__)
  struct pool *p;
  float v[3] = {1, 1, 1};
  assert_int_equal(pool_new(&p, 3, NULL), OK);
  pool_run(p, denormal, v);
  for (int i = 0; i < 3; i++) assert_true(v[i] == 0);
  assert_true(tiny / 4 > 0);
  pool_free(p);
#endif
}

TEST(odd_sizes) {
  struct pool *p;
  assert_int_equal(pool_new(&p, -1, NULL), E_USAGE);
  assert_int_equal(pool_new(&p, 100000, NULL), E_USAGE);
  assert_int_equal(pool_new(&p, 0, NULL), OK);
  assert_int_equal(pool_size(p), thread_cores());
  assert_true(thread_cores() >= 1);
  pool_free(p);
  arena_fail_at(1);
  assert_int_equal(pool_new(&p, 2, NULL), E_NOMEM);
  assert_null(p);
  arena_fail_at(0);
}

static struct pool *outer;
static void inner(void *ctx, int worker, int workers UNUSED) {
  if (worker == 0) pool_run(outer, count, ctx);
}
static void nested(void) {
  atomic_int n = 0;
  if (pool_new(&outer, 1, NULL) < 0) _exit(1);
  pool_run(outer, inner, &n);
}
TEST(a_run_inside_a_run_is_a_bug) { assert_true(WIFSIGNALED(child(nested))); }

static void cancel_once(void) {
  cancel_install();
  if (cancel_requested()) _exit(1);
  raise(SIGINT);
  if (!cancel_requested()) _exit(2);
  cancel_set(0);
  if (cancel_requested()) _exit(3);
  raise(SIGTERM);
  _exit(cancel_requested() ? 42 : 4);
}
static void cancel_twice(void) {
  cancel_install();
  raise(SIGINT);
  raise(SIGINT);
  _exit(5);
}
TEST(cancelling) {
  assert_int_equal(WEXITSTATUS(child(cancel_once)), 42);
  int status = child(cancel_twice);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
  cancel_set(1);
  assert_true(cancel_requested());
  cancel_set(0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_worker_runs_once_and_the_bits_repeat),
      cmocka_unit_test(many_short_runs),
      cmocka_unit_test(workers_flush_denormals_and_the_caller_gets_its_mode_back),
      cmocka_unit_test(odd_sizes),
      cmocka_unit_test(a_run_inside_a_run_is_a_bug),
      cmocka_unit_test(cancelling),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
