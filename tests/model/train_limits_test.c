/* Training at its limits: the memory bill is met, what does not fit is refused, lives without events and a vocabulary of one code are
 * understood, and a failure anywhere leaves the last good checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/train_internal.h"
#include "train_fixture.h"

static struct trained x;

static int setup(void **state) {
  (void)state;
  trained_open(&x, 60);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  trained_close(&x);
  return 0;
}

/* First, because the peak of a process never falls again. The bill is of tensors; the store and the program are here already. */
static void test_bill_is_met(void **state) {
  (void)state;
  uint64_t before UNUSED = mem_peak();
  for (int i = 0; i < 3; i++) { /* the smaller ones first */
    bool reduced = i == 0, recompute = i < 2;
    struct train_options o;
    struct train_result r;
    struct model_plan plan;
    char dir[128];
    small_options(&o, &x, NULL);
    snprintf(dir, sizeof dir, "%s/bill-%d", x.root, i);
    o.dir = dir;
    o.config.layers = 6, o.config.d = 320, o.config.heads = 5, o.config.kv_heads = 5, o.config.ff = 896, o.config.context = 64;
    o.batch_positions = 512, o.micro_positions = 512, o.epochs = 0.05, o.recompute = recompute, o.bf16 = reduced;
    OKAY(model_train(&o, x.store, &r, e));
    struct model *m;
    OKAY(model_load(dir, &m, e));
    const struct kernel *k = kernel_pick(KERNEL_AUTO, reduced ? KERNEL_REDUCED : KERNEL_F32);
    model_plan(model_config(m),
               &(struct plan_shape){.threads = 1,
                                    .lanes = 1,
                                    .positions = 512,
                                    .training = true,
                                    .recompute = recompute,
                                    .lives = timeline_subjects(x.store),
                                    .events = timeline_events(x.store),
                                    .kernel = k},
               &plan);
    model_free(m);
    if (recompute) {
#ifndef __SANITIZE_ADDRESS__
      double used = (double)(mem_peak() - before), bill = (double)plan.total;
      print_message("bill %.1f MB, peak %.1f MB\n", bill * 1e-6, used * 1e-6);
      assert_true(before > 0 && fabs(used - bill) < 0.05 * bill);
#endif
      continue;
    }
    struct model_plan less;
    model_plan(&o.config, &(struct plan_shape){.threads = 1, .lanes = 1, .positions = 512, .training = true, .recompute = true}, &less);
    assert_true(less.activations < plan.activations / 2);
  }
}

/* Left to itself, a small set is learned from in smaller steps; a batch that is asked for stays. */
static void test_batch_by_size(void **state) {
  (void)state;
  double positions[2];
  for (int asked = 0; asked < 2; asked++) {
    struct train_options o;
    struct train_result r;
    char dir[128];
    small_options(&o, &x, NULL);
    snprintf(dir, sizeof dir, "%s/batch-%d", x.root, asked);
    o.dir = dir, o.batch_positions = asked ? 4096 : 0, o.epochs = 12;
    OKAY(model_train(&o, x.store, &r, e));
    positions[asked] = (double)r.positions;
    int batch = asked ? 4096 : 2048;
    assert_true(fabs((double)r.steps - positions[asked] / batch) <= 1 + 0.2 * positions[asked] / batch);
  }
  assert_true(positions[0] > 2 * 4096 && positions[0] < 4096 * 1000.0);
}

static void test_too_large_is_refused(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct error why = {0};
  small_options(&o, &x, NULL);
  OKAY(model_preset("7b", &o.config, &why));
  o.lanes = TRAIN_LANES; /* terabytes of gradients on any machine */
  assert_int_equal(model_train(&o, x.store, &r, &why), E_NOMEM);
  assert_non_null(strstr(why.message, "memory: parameters"));
  assert_non_null(strstr(why.message, "recomputed"));
  assert_false(file_is_dir(o.dir));
}

/* The n-th allocation fails, for n spread over the whole run: an error, no crash, and the run's earlier checkpoint is as it was. */
static void test_out_of_memory(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct model *m;
  int failures = 0;
  small_options(&o, &x, NULL);
  o.epochs = 0.2;
  OKAY(model_train(&o, x.store, &r, e));
  for (long n = 1; n < 1000000; n += 1 + n / 6) {
    struct error why = {0};
    arena_fail_at(n);
    int rc = model_train(&o, x.store, &r, &why);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    failures += rc < 0;
    assert_true(rc < 0 ? why.message[0] != 0 : true);
    OKAY(model_load(o.dir, &m, e));
    model_free(m);
    if (pending) break;
  }
  assert_true(failures > 10);
}

static void lives_of(struct timeline_writer *w, bool timed, int64_t from, int n) {
  for (int64_t i = from; i < from + n; i++) {
    put_event(w, i, TIME_STATIC, "GENDER//F", NAN);
    for (int k = 0; timed && k < 3; k++) put_event(w, i, (1000 + i + 7 * k) * TIME_DAY, "ONLY", NAN);
  }
}

static int train_on(const char *name, bool timed, struct train_result *r, struct error *why) {
  struct timeline_writer *w;
  struct timeline *t;
  struct train_options o;
  char dir[128], run[160];
  snprintf(dir, sizeof dir, "%s/%s", x.root, name);
  snprintf(run, sizeof run, "%s-run", dir);
  OKAY(timeline_writer_open(dir, &(struct timeline_options){.split_seed = 3}, &w, e));
  lives_of(w, timed, 1, 60);
  OKAY(timeline_writer_finish(w, STR("{}"), NULL, NULL, e));
  OKAY(timeline_open(dir, &t, e));
  small_options(&o, &x, NULL);
  o.dir = run;
  int rc = model_train(&o, t, r, why);
  timeline_close(t);
  return rc;
}

static void test_no_events(void **state) {
  (void)state;
  struct train_result r;
  struct error why = {0};
  assert_int_equal(train_on("static", false, &r, &why), E_INPUT);
  assert_non_null(strstr(why.message, "timed event"));
}

static void test_vocabulary_of_one(void **state) {
  (void)state;
  struct train_result r;
  struct error why = {0};
  assert_int_equal(train_on("one-code", true, &r, &why), OK);
  assert_true(isfinite(r.loss) && r.steps >= 1 && r.loss_rates >= 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bill_is_met),   cmocka_unit_test(test_batch_by_size), cmocka_unit_test(test_too_large_is_refused),
      cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_no_events),     cmocka_unit_test(test_vocabulary_of_one)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
