/* A task that asks where lives are seldom looked at in their course: its ordinary persons are not called unusual. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "predict/predict.h"
#include "predict/uncertainty.h"
#include "../model/train_fixture.h"

/* Asked at the discharge, three days after anything else of a stay of one to four days. */
static void test_ordinary_persons(void **state) {
  (void)state;
  struct trained x;
  struct train_options o;
  struct train_result r;
  struct model *m;
  struct buf json = {0};
  struct arena a;
  struct task_binding *b;
  struct task_examples at;
  uint32_t unusual = 0;
  trained_open(&x, 1500);
  const struct task *tasks[1] = {x.task};
  small_options(&o, &x, tasks);
  OKAY(model_train(&o, x.store, &r, e));
  OKAY(model_load(x.run, &m, e));
  struct uncertainty_options sure = {.model = m, .store = x.store, .tasks = tasks, .n_tasks = 1, .threads = 1};
  OKAY(uncertainty_fit(&sure, &json, e));
  model_free(m);
  OKAY(checkpoint_attach(x.run, "uncertainty.json", (struct str){json.p, json.n}, e));
  buf_release(&json);
  OKAY(model_load(x.run, &m, e));
  arena_init(&a, 0, 0);
  OKAY(task_bind(x.task, x.store, &b, e));
  OKAY(task_label_all(b, x.store, SPLIT_HELD_OUT, 0, &a, &at, e));
  double *p = arena_array(&a, double, at.n), *hazard = arena_array(&a, double, at.n), *percentile = arena_array(&a, double, at.n);
  OKAY(predict_examples_unusual(m, x.store, x.task, at.at, at.n, 1, p, hazard, percentile, e));
  for (uint32_t i = 0; i < at.n; i++) unusual += percentile[i] > 99;
  assert_true(at.n > 100);
  if (unusual > at.n / 12) fail_msg("%u of %u ordinary persons are called unusual", unusual, at.n);
  task_binding_free(b);
  arena_free(&a);
  model_free(m);
  trained_close(&x);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ordinary_persons)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
