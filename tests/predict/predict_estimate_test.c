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
  q->plain = estimate_share(s.met, plain, 1);
  q->integrated = estimate_integrated(s.value, s.met, plain, 1);
  q->anticipated = estimate_anticipated(t.value, t.inside, few);
  q->most = 0, q->least = 1;
  for (int i = 0; i < few; i++) {
    q->most = fmax(q->most, t.value[i] / (1 - t.inside[i]));
    q->least = fmin(q->least, t.value[i] / (1 - t.inside[i]));
    assert_true(t.value[i] >= 0 && t.inside[i] >= 0 && t.value[i] + t.inside[i] <= 1);
  }
  assert_int_equal(s.cut + t.cut, 0);
  predictor_free(p);
}

static double rate_of(uint32_t code) { return 0.01 * (1 + code % 3); }

static bool can_come(const struct fixture *f, uint32_t k) { return k && !vocabulary_at(f->v, k)->is_static; }

/* One instant, slowly: the chance that its set holds a code of `a`, and that it holds none of those but one of `b`. The set begins with a code by its
 * rate; a Poisson number of further draws by rate * (m - 1), m - 1 of the first code on average; sums over that number. */
static void instant(const struct fixture *f, const uint8_t *a, const uint8_t *b, double *hit, double *end) {
  uint32_t n = vocabulary_codes(f->v);
  double all = 0, joins = 0, ja = 0, jab = 0;
  *hit = *end = 0;
  for (uint32_t k = 1; k < n; k++) {
    if (!can_come(f, k)) continue;
    double more = rate_of(k) * ((double)vocabulary_at(f->v, k)->together - 1);
    all += rate_of(k), joins += more, ja += a[k] ? more : 0, jab += a[k] || b[k] ? more : 0;
  }
  for (uint32_t k = 1; k < n; k++) {
    if (!can_come(f, k)) continue;
    double mean = (double)vocabulary_at(f->v, k)->together - 1, without_a = 0, without_ab = 0, chance = exp(-mean), p = 1, q = 1;
    for (int more = 0; more < 200; more++, chance *= mean / more, p *= 1 - ja / joins, q *= 1 - jab / joins)
      without_a += chance * p, without_ab += chance * q;
    double first = rate_of(k) / all;
    *hit += first * (a[k] ? 1 : 1 - without_a);
    *end += first * (a[k] ? 0 : b[k] ? without_a : without_a - without_ab);
  }
}

/* P(a target first, from the gap on, before what ends it | none inside the gap): instants come at rate L and are alike. */
static double closed_form(const struct fixture *f, const struct asked *q, double gap, double horizon) {
  uint8_t end[64] = {0};
  double all = 0, hit, ends;
  for (uint32_t k = 1; k < vocabulary_codes(f->v); k++) {
    end[k] = !q->target[k] && (q->rival[k] || k == vocabulary_death(f->v));
    all += can_come(f, k) ? rate_of(k) : 0;
  }
  instant(f, q->target, end, &hit, &ends);
  double first = hit / (hit + ends), leaves = all * (hit + ends);
  return exp(-leaves * gap) * first * -expm1(-leaves * (horizon - gap)) / (1 - first * -expm1(-leaves * gap));
}

static void check_constant(struct fixture *f, bool single) {
  struct arena a;
  arena_init(&a, 0, 0);
  uint32_t death = vocabulary_death(f->v), first = 1;
  while (vocabulary_at(f->v, first)->is_static || first == death) first++;
  for (int kind = 0; kind < 6; kind++) {
    struct asked q = {0};
    double gap = kind >= 3 ? 6 : 0, horizon = kind == 4 ? 80 : 20;
    q.target[kind == 1 || kind == 5 ? death : first] = 1;
    if (kind == 2 || kind == 4) q.rival[first + 1] = q.rival[first + 2] = 1, q.target[first + 3] = 1;
    ask(f, &a, &q, 1, gap, horizon, 4000, 50);
    double want = closed_form(f, &q, gap, horizon);
    assert_true(want > 0.05 && want < 0.97);
    assert_true(fabs(q.plain.mean - want) < 3.5 * sqrt(want * (1 - want) / 4000));
    assert_true(fabs(q.integrated.mean - want) < 3.5 * q.integrated.se);
    if (kind == 0) assert_true(q.integrated.se < q.plain.se); /* it may exceed 1: no gain where the target is likely */
    /* exact, every single future */
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

/* A panel that comes as a whole, a diagnosis that comes alone, a note that sometimes joins: what a future's instant holds, against what the
 * vocabulary counted. */
static void test_sets_keep_their_company(void **state) {
  (void)state;
  enum { N = 20000 };
  static const char *const panel[] = {"LAB//1", "LAB//2", "LAB//3", "LAB//4", "LAB//5"};
  struct fixture f = {.dir = "/tmp/predict-test-XXXXXX"};
  struct timeline_writer *w;
  struct predictor *p;
  struct futures x;
  struct arena a;
  char store[96];
  uint32_t dx, note, lab, seen[64] = {0}, alone = 0;
  assert_non_null(mkdtemp(f.dir));
  snprintf(store, sizeof store, "%s/timelines", f.dir);
  MUST(timeline_writer_open(store, &(struct timeline_options){.split = SPLIT_ALL_TRAIN}, &w, &f.e));
  for (int s = 1; s <= 20; s++)
    for (int k = 0; k < 30; k++) {
      if (k % 3 == 0) {
        fixture_put(w, make_event(s, DAY(k), "DX//1", NAN));
        continue;
      }
      for (int i = 0; i < 5 && k % 3 == 1; i++) fixture_put(w, make_event(s, DAY(k), panel[i], NAN));
      if (k % 3 == 2 || k % 6 == 1) fixture_put(w, make_event(s, DAY(k), "NOTE//1", NAN));
    }
  MUST(timeline_writer_finish(w, STR("{}"), NULL, NULL, &f.e));
  MUST(timeline_open(store, &f.store, &f.e));
  MUST(vocabulary_build(f.store, NULL, &f.v, &f.e));
  fixture_task(&f, DEATH_TASK);
  assert_true(vocabulary_find(f.v, STR("DX//1"), &dx) && vocabulary_find(f.v, STR("NOTE//1"), &note));
  assert_true(vocabulary_find(f.v, STR("LAB//1"), &lab));
  assert_float_equal(vocabulary_at(f.v, dx)->together, 1, 1e-6);
  assert_float_equal(vocabulary_at(f.v, note)->together, 15 / (10 + 5 / 6.0), 1e-5); /* instants with it over its picks */
  assert_float_equal(vocabulary_at(f.v, lab)->together, 10 / (5 / 5.0 + 5 / 6.0), 1e-5);
  constant_rates(&f); /* of picks: 1 of the next instant's codes each */
  arena_init(&a, 0, 0);
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(predict_futures_many(p, &(struct future_ask){0, INT64_MAX, 3}, 1,
                            &(struct futures_options){.count = N, .horizon_days = 1000, .events = 1}, &a, &x, &f.e));
  double all = 0;
  for (uint32_t k = 1; k < vocabulary_codes(f.v); k++) all += can_come(&f, k) ? rate_of(k) : 0;
  for (int i = 0; i < N; i++) {
    bool with_dx = false;
    int n = 0;
    for (; n < x.n[i] && x.path[i][n].days == x.path[i][0].days; n++) seen[x.path[i][n].code]++, with_dx |= x.path[i][n].code == dx;
    if (!with_dx) continue;
    assert_int_equal(n, 1);
    alone++;
  }
  assert_int_equal(alone, seen[dx]);
  for (uint32_t k = 1; k < vocabulary_codes(f.v); k++) {
    uint8_t only[64] = {0}, nothing[64] = {0};
    double chance, end, se, wanted = rate_of(k) / all * (double)vocabulary_at(f.v, k)->together;
    only[k] = 1;
    instant(&f, only, nothing, &chance, &end);
    se = sqrt(chance * (1 - chance) / N);
    print_message("code %u: in %.4f of the instants, law %.4f, m * pick %.4f\n", k, (double)seen[k] / N, chance, wanted);
    assert_true(fabs((double)seen[k] / N - chance) < 4 * se);
    assert_true(chance < wanted + 1e-6 && chance > 0.75 * (1 - exp(-wanted))); /* less by the repeats */
  }
  assert_float_equal((double)seen[dx] / N, rate_of(dx) / all, 0.015);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_constant_rates), cmocka_unit_test(test_sets_keep_their_company),
                                     cmocka_unit_test(test_trained_model), cmocka_unit_test(test_values_are_a_futures_own)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
