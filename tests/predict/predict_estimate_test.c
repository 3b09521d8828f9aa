#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "predict/predict_fixture.h"
#include "predict/predict_internal.h"

/* Only the biases of the rates: the rates stand still whatever happens, so that every question has a closed form. */
static void constant_rates(struct fixture *f) {
  struct model_config c = fixture_small();
  MUST(model_build(&c, f->v, NULL, 0, 5, &f->m, &f->e));
  for (int i = 0; i < f->m->tensors; i++) {
    const struct tensor *t = &f->m->tensor[i];
    if (strcmp(t->name, "rates.bias") && !strstr(t->name, "norm")) memset(f->m->weight + t->at, 0, t->n * sizeof(float));
  }
  for (uint32_t k = 0; k < f->m->config.codes; k++) f->m->weight[f->m->rates_bias + (ptrdiff_t)k] = logf(0.01f * (float)(1 + k % 3));
}

struct asked { /* a question by code numbers, with what plain futures and both estimators say */
  uint8_t target[64], rival[64];
  struct watch w;
  struct estimate plain, integrated, anticipated;
  double most, least; /* of the single anticipated values */
};

static void ask(struct fixture *f, struct arena *a, struct asked *q, uint32_t who, double gap, double horizon, int plain, int few) {
  struct predictor *p;
  struct sample s, t;
  struct timeline_view v = timeline_view(f->store, who);
  struct life life = {.view = &v, .index = who, .events = v.n, .now = INT64_MIN};
  uint64_t seed = 7;
  MUST(predictor_new(f->m, f->store, &p, &f->e));
  MUST(watch_make(&p->shape, q->target, q->rival, gap, horizon, a, &q->w, &f->e));
  struct sample_options o = {.count = plain, .steps = PREDICT_STEPS, .threads = 2, .horizon_days = horizon, .watch = &q->w, .watches = 1};
  MUST(predict_sample(p, &life, &seed, 1, &o, a, &s, &f->e));
  MUST(predict_anticipated(p, &q->w, &life, &seed, 1, few, 2, a, &t, &f->e));
  double *met = arena_array(a, double, (size_t)plain);
  for (int i = 0; i < plain; i++) met[i] = s.met[i];
  q->plain = estimate_of(met, plain, 1);
  q->integrated = estimate_of(s.value, plain, 1);
  q->anticipated = estimate_of(t.value, few, 1);
  q->most = q->least = t.value[0];
  for (int i = 0; i < few; i++) {
    q->most = fmax(q->most, t.value[i]);
    q->least = fmin(q->least, t.value[i]);
    assert_true(t.value[i] >= 0 && t.value[i] <= 1);
  }
  assert_int_equal(s.cut + t.cut, 0);
  predictor_free(p);
}

static double rate_of(uint32_t code) { return 0.01 * (1 + code % 3); }

/* P(a target first, from the gap on, before what ends it): instants come at rate L, one draw hits the target with chance a, an end with b; draws go on with
 * chance x. Before the gap only ends count. */
static double closed_form(const struct fixture *f, const struct asked *q, double gap, double horizon) {
  double all = 0, a = 0, b = 0, x = 1 - 1 / vocabulary_instant_events(f->v);
  for (uint32_t k = 1; k < vocabulary_codes(f->v); k++) {
    if (vocabulary_at(f->v, k)->is_static) continue;
    all += rate_of(k);
    if (q->target[k])
      a += rate_of(k);
    else if (q->rival[k] || k == vocabulary_death(f->v))
      b += rate_of(k);
  }
  double early = b / (1 - x * (1 - b / all)), both = (a + b) / (1 - x * (1 - (a + b) / all));
  return exp(-early * gap) * a / (a + b) * -expm1(-both * (horizon - gap));
}

static void check_constant(struct fixture *f, bool single) {
  struct arena a;
  arena_init(&a, 0, 0);
  uint32_t death = vocabulary_death(f->v), first = 1;
  while (vocabulary_at(f->v, first)->is_static || first == death) first++;
  for (int kind = 0; kind < 5; kind++) {
    struct asked q = {0};
    double gap = kind == 3 || kind == 4 ? 6 : 0, horizon = kind == 4 ? 80 : 20;
    q.target[kind == 1 ? death : first] = 1;
    if (kind == 2 || kind == 4) q.rival[first + 1] = q.rival[first + 2] = 1, q.target[first + 3] = 1;
    ask(f, &a, &q, 1, gap, horizon, 4000, 50);
    double want = closed_form(f, &q, gap, horizon);
    assert_true(want > 0.05 && want < 0.97);
    assert_true(fabs(q.plain.mean - want) < 3.5 * sqrt(want * (1 - want) / 4000));
    assert_true(fabs(q.integrated.mean - want) < 3.5 * q.integrated.se && q.integrated.se < q.plain.se);
    /* exact, every single future (before the gap as well: an end's rate does not change) */
    assert_true(fabs(q.most - want) < 1e-5 && fabs(q.least - want) < 1e-5);
    if (single && kind == 0)
      print_message("constant rates: plain %.4f, integrated %.4f, anticipated %.1e\n", q.plain.se, q.integrated.se, q.anticipated.se);
  }
  arena_free(&a);
}

static void test_constant_rates(void **state) {
  (void)state;
  struct fixture f;
  fixture_open(&f, 40, 60);
  assert_true(vocabulary_instant_events(f.v) > 1.5); /* sets */
  constant_rates(&f);
  check_constant(&f, true);
  fixture_close(&f);
}

/* Rates that move with every event: a trained tiny model; 20,000 plain futures are the truth, within their own error. */
static void test_trained_model(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  char dir[96];
  struct train_options o;
  struct train_result trained;
  fixture_open(&f, 60, 60);
  train_defaults(&o);
  snprintf(dir, sizeof dir, "%s/run", f.dir);
  o.config = fixture_small(), o.dir = dir, o.threads = 2, o.epochs = 20, o.batch_positions = 512;
  MUST(model_train(&o, f.store, &trained, &f.e));
  MUST(model_load(dir, &f.m, &f.e));
  arena_init(&a, 0, 0);
  double ratio[2] = {0, 0};
  int n = 0;
  for (uint32_t who = 1; who < 10; who += 4)
    for (uint32_t code = 2; code < vocabulary_codes(f.v) && code < 12; code += 3) {
      if (vocabulary_at(f.v, code)->is_static) continue;
      struct asked q = {0};
      q.target[code] = 1;
      q.rival[code + 1 < vocabulary_codes(f.v) ? code + 1 : 1] = 1;
      ask(&f, &a, &q, who, who == 5 ? 3 : 0, 20, 5000, 500);
      double d = sqrt(q.plain.se * q.plain.se + q.anticipated.se * q.anticipated.se);
      assert_true(fabs(q.anticipated.mean - q.plain.mean) < 3.5 * d);
      assert_true(fabs(q.integrated.mean - q.plain.mean) < 3.5 * sqrt(q.plain.se * q.plain.se + q.integrated.se * q.integrated.se));
      if (q.plain.mean < 0.02 || q.plain.mean > 0.98) continue;
      ratio[0] += log(q.plain.se * q.plain.se / (q.integrated.se * q.integrated.se));
      ratio[1] += log(q.plain.se * q.plain.se * 5000 / (q.anticipated.se * q.anticipated.se * 500));
      n++;
      arena_reset(&a);
    }
  assert_true(n >= 6);
  print_message(
      "variance of a plain future to that of an estimator's, geometric mean over %d questions: integrated %.1f, anticipated %.1f\n", n,
      exp(ratio[0] / n), exp(ratio[1] / n));
  assert_true(exp(ratio[0] / n) > 2 && exp(ratio[1] / n) > 10);
  arena_free(&a);
  fixture_close(&f);
}

/* The estimators' values do not depend on threads or company either; a question without codes has the answer 0. */
static void test_values_are_a_futures_own(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 40);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, false);
  struct predictor *p;
  struct timeline_view v[3];
  struct life life[3];
  uint64_t seed[3] = {1, 2, 3};
  uint8_t target[64] = {0}, none[64] = {0};
  struct watch w[2];
  struct sample one[3], two[3], alone;
  target[4] = 1;
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(watch_make(&p->shape, target, NULL, 0, 30, &a, &w[0], &f.e));
  MUST(watch_make(&p->shape, none, NULL, 0, 30, &a, &w[1], &f.e));
  for (uint32_t i = 0; i < 3; i++) {
    v[i] = timeline_view(f.store, i);
    life[i] = (struct life){.view = &v[i], .index = i, .events = v[i].n, .now = INT64_MIN};
  }
  struct sample_options o = {.count = 30, .steps = 64, .threads = 1, .horizon_days = 30, .watch = w, .watches = 2, .paths = true};
  MUST(predict_sample(p, life, seed, 3, &o, &a, one, &f.e));
  o.threads = 3;
  MUST(predict_sample(p, life, seed, 3, &o, &a, two, &f.e));
  for (int i = 0; i < 3; i++) {
    assert_memory_equal(one[i].value, two[i].value, 60 * sizeof(double));
    assert_memory_equal(one[i].met, two[i].met, 60);
    for (int k = 0; k < 30; k++) assert_true(one[i].value[2 * k + 1] == 0 && one[i].met[2 * k + 1] == 0);
  }
  MUST(predict_anticipated(p, &w[0], life, seed, 3, 30, 2, &a, two, &f.e));
  MUST(predict_anticipated(p, &w[0], life + 1, seed + 1, 1, 30, 1, &a, &alone, &f.e));
  assert_memory_equal(alone.value, two[1].value, 30 * sizeof(double));
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_constant_rates), cmocka_unit_test(test_trained_model),
                                     cmocka_unit_test(test_values_are_a_futures_own)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
