/* Thresholds: what is known of training patients moves the utility's to where alarms pay for them, and Event 1's to how many cases they expect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "validate/scores.h"
#include "../model/train_fixture.h"

static const char text[] =
    "{\"name\": \"sick\", \"trigger\": {\"code\": [\"HOUR\"], \"which\": \"each\"}, \"new_onset\": true, \"target\": {\"any\": "
    "[\"SICK\"]}, "
    "\"horizon\": \"6h\", \"censor\": \"negative\", \"scores\": [\"event1\", \"utility2019\"]}";

/* A stay of 16 hours and more; in a third of them LAB rises for six hours before the illness, which is there for three hours. */
static void put_stay(struct timeline_writer *w, int64_t subject) {
  struct rng r;
  rng_init(&r, 31, (uint64_t)subject);
  int hours = 16 + (int)rng_below(&r, 8), onset = subject % 3 ? 1000 : hours - 3;
  int64_t begin = (int64_t)(subject % 200) * TIME_DAY;
  put_event(w, subject, TIME_STATIC, "GENDER//F", NAN);
  for (int h = 0; h < hours; h++) {
    put_event(w, subject, begin + h * TIME_HOUR, "HOUR", NAN);
    put_event(w, subject, begin + h * TIME_HOUR, "LAB", (float)(rng_normal(&r) + (h >= onset - 6 ? 1.5 : 0)));
    if (h == onset) put_event(w, subject, begin + h * TIME_HOUR, "SICK", NAN);
  }
}

static double threshold(const struct validate_options *o, const struct known_answers *known, double *event1) {
  struct arena a;
  struct score_threshold out[SCORE_THRESHOLDS];
  arena_init(&a, 0, 0);
  OKAY(scores_thresholds(o, known, &a, out, e));
  assert_string_equal(out[0].score, "event1");
  assert_string_equal(out[1].score, "utility2019");
  assert_int_equal(out[2].score[0], 0);
  *event1 = out[0].at;
  arena_free(&a);
  return out[1].at;
}

static bool ill(const struct timeline *t, uint32_t subject) {
  struct timeline_view v = timeline_view(t, subject);
  bool found = false;
  for (uint32_t k = v.statics; k < v.n; k++) found |= str_eqc(timeline_code_name(t, v.code[k]), "SICK");
  return found;
}

struct heard { /* of model_train */
  int calls;
  uint32_t n, cases, apart;
  double other, expected;
};
static void hear(void *ctx, int task, const struct task_example *at, const double *p, uint32_t n, double other) {
  struct heard *h = ctx;
  assert_int_equal(task, 0);
  h->calls++, h->n = n, h->other = other;
  for (uint32_t i = 0; i < n; i++) {
    bool yes = at[i].label == LABEL_YES;
    assert_true(p[i] > 0 && p[i] < 1);
    h->cases += yes, h->expected += p[i] * (yes ? 1 : other);
    h->apart += i && at[i].subject_index < at[i - 1].subject_index;
  }
}

static void test_known_answers(void **state) {
  (void)state;
  struct trained x = {.root = "/tmp/vitae-scores-XXXXXX"};
  struct timeline_writer *w;
  struct train_options o;
  struct train_result r;
  struct heard heard = {0};
  struct model *m;
  struct arena a;
  assert_non_null(mkdtemp(x.root));
  snprintf(x.store_dir, sizeof x.store_dir, "%s/timelines", x.root);
  snprintf(x.run, sizeof x.run, "%s/run", x.root);
  OKAY(timeline_writer_open(x.store_dir, &(struct timeline_options){.split_seed = 3}, &w, e));
  for (int i = 1; i <= 240; i++) put_stay(w, i);
  OKAY(timeline_writer_finish(w, STR("{}"), NULL, NULL, e));
  OKAY(timeline_open(x.store_dir, &x.store, e));
  OKAY(task_parse(text, sizeof text - 1, &x.task, e));
  progress_mode(PROGRESS_QUIET);
  const struct task *tasks[1] = {x.task};
  small_options(&o, &x, tasks);
  o.epochs = 2, o.unseen = hear, o.unseen_ctx = &heard;
  OKAY(model_train(&o, x.store, &r, e));
  OKAY(model_load(x.run, &m, e));

  /* what was heard: everybody, in the store's order, and probabilities that expect about as many cases as there are */
  struct task_binding *b;
  struct task_examples train;
  arena_init(&a, 0, 0);
  OKAY(task_bind(x.task, x.store, &b, e));
  OKAY(task_label_all(b, x.store, SPLIT_TRAIN, 0, &a, &train, e));
  assert_true(heard.calls == 1 && heard.n == train.n && heard.cases == train.yes && heard.other == 1 && heard.apart == 0);
  assert_true(fabs(heard.expected - train.yes) < 0.1 * train.yes);

  /* known of stays with the illness alone, at .2: alarms pay from .2 down; of the others alone, at .21: only above */
  struct validate_options v = {.model = m, .store = x.store, .task = x.task, .threads = 1};
  struct task_example *some = arena_array(&a, struct task_example, train.n);
  double *p = arena_array(&a, double, train.n), at[2], event1;
  for (int well = 0; well < 2; well++) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < train.n; i++)
      if (ill(x.store, train.at[i].subject_index) != well) some[n] = train.at[i], p[n++] = well ? 0.21 : 0.2;
    at[well] = threshold(&v, &(struct known_answers){some, p, n, 100}, &event1);
  }
  double alone = threshold(&v, &(struct known_answers){0}, &event1);
  if (!(at[0] <= 0.2 && at[1] > 0.21)) fail_msg("thresholds %.3f, %.3f; of tuning patients alone %.3f", at[0], at[1], alone);
  assert_true(alone > 0 && alone < 1);

  /* answers that expect a third of these: above 4/9 lies a third of the squares of numbers spread evenly */
  double own = event1;
  for (uint32_t i = 0; i < train.n; i++) p[i] = pow((i + 0.5) / train.n, 2);
  threshold(&v, &(struct known_answers){train.at, p, train.n, 1}, &event1);
  if (!(own > 0 && own < 0.4 && fabs(event1 - 4.0 / 9) < 0.08))
    fail_msg("Event 1's threshold %.3f; of tuning patients alone %.3f", event1, own);
  task_binding_free(b);
  arena_free(&a);
  model_free(m);
  trained_close(&x);
}

/* Persons are drawn, not moments: a person who is asked ten times and answered alike is one person still, and the interval as wide (H grows with n). */
static void test_persons_are_drawn(void **state) {
  (void)state;
  enum { P = 100, TIMES = 10 };
  static const char h[] = "{\"name\":\"h\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1d\",\"scores\":[\"h\"]}";
  static struct task_example at[P * TIMES];
  static double p[P * TIMES], q[P * TIMES];
  static uint8_t y[P * TIMES];
  static struct validation v[2];
  struct task *task;
  struct arena a;
  struct rng r;
  rng_init(&r, 5, 0);
  arena_init(&a, 0, 0);
  OKAY(task_parse(h, sizeof h - 1, &task, e));
  struct validate_options o = {.task = task, .bootstrap = 300, .seed = 7};
  for (uint32_t times = 1; times <= TIMES; times += TIMES - 1) {
    struct validation *x = &v[times > 1];
    for (uint32_t i = 0; i < P * times; i++) {
      rng_init(&r, 5, i / times);
      at[i] = (struct task_example){.subject_index = i / times, .time = i % times};
      p[i] = 0.1 + 0.8 * rng_uniform(&r), y[i] = rng_uniform(&r) < p[i], q[i] = 0.5 * p[i];
    }
    x->n = P * times, x->model.probability = p, x->baseline.probability = q, x->label = y;
    OKAY(scores_run(&(struct scores_input){.o = &o, .at = at}, &a, x, e));
    assert_true(x->n_scores == 1 && !x->score[0].no_interval && x->score[0].model.lo < x->score[0].model.hi);
  }
  const struct interval *one[3] = {&v[0].score[0].model, &v[0].score[0].baseline, &v[0].score[0].difference},
                        *ten[3] = {&v[1].score[0].model, &v[1].score[0].baseline, &v[1].score[0].difference};
  for (int k = 0; k < 3; k++) {
    assert_true(fabs(ten[k]->at - TIMES * one[k]->at) < 0.01 * fabs(ten[k]->at));
    assert_true(fabs(ten[k]->lo - TIMES * one[k]->lo) < 0.01 * fabs(ten[k]->lo) + 0.1);
    assert_true(fabs(ten[k]->hi - TIMES * one[k]->hi) < 0.01 * fabs(ten[k]->hi) + 0.1);
  }
  task_free(task);
  arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_answers), cmocka_unit_test(test_persons_are_drawn)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
