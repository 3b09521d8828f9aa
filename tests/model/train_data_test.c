/* What an epoch holds: persons with many examples are asked at all of their moments in one pass, and read there what each example alone would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/train_internal.h"
#include "train_fixture.h"

static const char at_each_laboratory[] =
    "{\"name\": \"soon\", \"title\": \"Death soon, asked at every laboratory value\", \"trigger\": {\"code\": [\"LAB//A\"], \"which\": "
    "\"each\"},\n"
    " \"target\": {\"any\": [\"MEDS_DEATH\"]}, \"horizon\": \"12d\", \"gap\": [\"0d\"], \"censor\": \"negative\"}\n";

static double logit_alone(const struct model *m, struct model_workspace *w, const struct train_data *d, const struct train_item *x,
                          struct token_batch *b) {
  struct train_item alone = *x;
  alone.labels = 0;
  token_batch_clear(b);
  OKAY(train_pack(d, &alone, b, e));
  OKAY(model_forward(m, w, b, NULL, e));
  return task_logit(m, &m->task[0], model_hidden(w), b->positions, w->pool);
}

struct soon { /* lives, their task, a model of so many positions and its first epoch */
  struct trained x;
  struct task *task;
  struct model *m;
  struct train_data d;
};

static void soon_open(struct soon *s, int context) {
  struct train_options o;
  struct train_result r;
  char path[128];
  trained_open(&s->x, 120);
  snprintf(path, sizeof path, "%s/soon.json", s->x.root);
  OKAY(file_write_atomic(path, at_each_laboratory, sizeof at_each_laboratory - 1, 0644, e));
  OKAY(task_load(path, &s->task, e));
  const struct task *tasks[] = {s->task};
  small_options(&o, &s->x, tasks);
  o.config.context = context;
  o.epochs = 0.1;
  OKAY(model_train(&o, s->x.store, &r, e));
  OKAY(model_load(o.dir, &s->m, e));
  OKAY(train_data_open(&o, s->m, s->x.store, 1, &s->d, e));
}

static void soon_close(struct soon *s) {
  train_data_close(&s->d);
  model_free(s->m);
  task_free(s->task);
  trained_close(&s->x);
}

static void test_all_moments_in_one_pass(void **state) {
  struct soon s;
  struct model_workspace *w;
  struct token_batch whole, single;
  struct sequence_label label[64];
  static float hidden[64 * 32];
  (void)state;
  soon_open(&s, 64);
  OKAY(model_workspace_new(s.m, 64, false, &w, e));
  OKAY(token_batch_init(&whole, 0, e));
  OKAY(token_batch_init(&single, 0, e));
  uint32_t persons = 0, moments = 0;
  for (size_t i = 0; i < s.d.epoch.n; i++) {
    const struct train_item *item = &s.d.epoch.at[i];
    double of[2] = {0};
    if (item->task < 0) continue;
    assert_true(item->labels >= 10); /* everybody has ten values or more, in one sequence */
    persons++, moments += item->labels;
    token_batch_clear(&whole);
    OKAY(train_pack(&s.d, item, &whole, e));
    assert_int_equal(train_labels(&s.d, item, &whole, label), item->labels);
    OKAY(model_forward(s.m, w, &whole, NULL, e));
    memcpy(hidden, model_hidden(w), (size_t)whole.positions * 32 * sizeof *hidden);
    for (uint32_t k = 0; k < item->labels; k++) {
      const struct train_item *example = &s.d.examples[0].at[item->first + k];
      assert_int_equal(example->subject, item->subject);
      assert_int_equal(example->yes, label[k].yes);
      of[label[k].yes] += (double)label[k].weight;
      double there = task_logit(s.m, &s.m->task[0], hidden, label[k].positions, w->pool);
      assert_true(fabs(there - logit_alone(s.m, w, &s.d, example, &single)) < 1e-5);
    }
    for (int y = 0; y < 2; y++) assert_true(of[y] < TRAIN_PER_PERSON + 1e-5);
    assert_true(of[0] + of[1] > TRAIN_PER_PERSON - 1e-5);
  }
  assert_true(persons > 60);
  assert_int_equal(moments, s.d.examples[0].n);
  model_workspace_free(w);
  token_batch_release(&whole);
  token_batch_release(&single);
  soon_close(&s);
}

/* A context too short for the lives: two of each label, drawn, as single examples. */
static void test_long_lives_are_drawn_from(void **state) {
  struct soon s;
  (void)state;
  soon_open(&s, 8);
  uint8_t count[121][2] = {{0}};
  uint32_t drawn = 0;
  for (size_t i = 0; i < s.d.epoch.n; i++) {
    const struct train_item *item = &s.d.epoch.at[i];
    if (item->task < 0) continue;
    assert_int_equal(item->labels, 0);
    assert_true(++count[item->subject][item->yes] <= TRAIN_PER_PERSON);
    drawn++;
  }
  assert_true(drawn > 100);
  soon_close(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_moments_in_one_pass), cmocka_unit_test(test_long_lives_are_drawn_from)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
