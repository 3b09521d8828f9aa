#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"
#include "predict/predict_fixture.h"

static void run(struct fixture *f, const struct timeline *store, uint32_t subject, struct predict_options o, struct arena *a,
                struct prediction *r) {
  struct predictor *p;
  MUST(predictor_new(f->m, store, &p, &f->e));
  MUST(predict(p, subject, &o, a, r, &f->e));
  predictor_free(p);
}

static bool same(double x, double y) { return x == y || (isnan(x) && isnan(y)); }

static void assert_same(const struct prediction *x, const struct prediction *y) {
  assert_true(same(x->probability, y->probability) && same(x->deep, y->deep) && same(x->wide, y->wide) && same(x->hazard, y->hazard));
  assert_true(same(x->sampled, y->sampled) && x->events == y->events && x->time == y->time);
  assert_int_equal(x->outcomes, y->outcomes);
  for (int i = 0; i < x->outcomes; i++) {
    assert_true(str_eq(x->outcome[i].code, y->outcome[i].code) && x->outcome[i].before == y->outcome[i].before);
    assert_true(same(x->outcome[i].sampled, y->outcome[i].sampled));
    assert_memory_equal(x->outcome[i].probability, y->outcome[i].probability, sizeof x->outcome[i].probability);
  }
  assert_int_equal(x->contributions, y->contributions);
  for (int i = 0; i < x->contributions; i++) {
    assert_true(x->contribution[i].time == y->contribution[i].time && str_eq(x->contribution[i].code, y->contribution[i].code));
    assert_true(x->contribution[i].delta == y->contribution[i].delta);
  }
}

/* What comes after the moment changes no bit of the answer; neither does asking a request's memory store instead of the site's. */
static void test_nothing_after_the_moment(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 60);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  struct timeline_view v = timeline_view(f.store, 7);
  int64_t now = v.time[v.n / 2] + TIME_MINUTE;
  struct timeline *cut;
  MUST(timeline_memory_new(&cut, &f.e));
  for (uint32_t k = 0; k < v.n; k++) {
    if (v.time[k] > now) continue;
    struct str name = timeline_code_name(f.store, v.code[k]), unit = timeline_unit_name(f.store, v.unit[k]);
    struct event ev = {.subject = v.subject, .time = v.time[k], .code = name, .display = name, .unit = unit, .value = v.value[k]};
    MUST(timeline_memory_append(cut, &ev, &f.e));
  }
  MUST(timeline_memory_seal(cut, &f.e));
  struct predict_options o = {.task = f.task, .time = now, .futures = 40, .explain = 8, .seed = 3};
  struct prediction whole, part;
  run(&f, f.store, 7, o, &a, &whole);
  run(&f, cut, 0, o, &a, &part);
  assert_true(whole.contributions > 0 && whole.outcomes > 3 && whole.events < v.n && whole.time == now);
  assert_same(&whole, &part);
  o.time = v.time[v.n - 1] + DAY(30);
  run(&f, f.store, 7, o, &a, &part);
  assert_true(part.probability != whole.probability); /* and what comes before it does */
  timeline_close(cut);
  arena_free(&a);
  fixture_close(&f);
}

static int fixture_index(const struct fixture *f, int64_t subject) {
  uint32_t i = 0;
  struct error e = {0};
  MUST(timeline_find(f->store, subject, &i, &e));
  return (int)i;
}

/* The contributions of a life of fewer than 64 events against removing each event by hand from a memory store. */
static void test_explanation_is_removal(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 25);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  uint32_t s = (uint32_t)fixture_index(&f, 4);
  struct timeline_view v = timeline_view(f.store, s);
  struct prediction r, without;
  run(&f, f.store, s, (struct predict_options){.task = f.task, .time = v.time[v.n - 1] + DAY(1), .explain = 100}, &a, &r);
  assert_true(r.contributions > 15);
  double largest = 0;
  for (uint32_t out = 0; out < v.n; out++) {
    struct timeline *t;
    MUST(timeline_memory_new(&t, &f.e));
    struct str removed = timeline_code_name(f.store, v.code[out]);
    if (str_eqc(removed, "MEDS_BIRTH")) {
      timeline_close(t);
      continue;
    }
    for (uint32_t k = 0; k < v.n; k++) {
      struct str name = timeline_code_name(f.store, v.code[k]);
      struct event ev = {.subject = v.subject, .time = v.time[k], .code = name, .value = v.value[k]};
      if (k != out) MUST(timeline_memory_append(t, &ev, &f.e));
    }
    MUST(timeline_memory_seal(t, &f.e));
    run(&f, t, 0, (struct predict_options){.task = f.task, .time = r.time}, &a, &without);
    double delta = log(r.probability / (1 - r.probability)) - log(without.probability / (1 - without.probability));
    bool listed = fabs(delta) < 1e-6;
    for (int i = 0; i < r.contributions && !listed; i++)
      listed =
          r.contribution[i].time == v.time[out] && str_eq(r.contribution[i].code, removed) && fabs(r.contribution[i].delta - delta) < 1e-4;
    assert_true(listed);
    largest = fmax(largest, fabs(delta));
    timeline_close(t);
  }
  assert_float_equal(fabs(r.contribution[0].delta), largest, 1e-4);
  for (int i = 1; i < r.contributions; i++) assert_true(fabs(r.contribution[i].delta) <= fabs(r.contribution[i - 1].delta));
  arena_free(&a);
  fixture_close(&f);
}

/* What is said to be left is the answer of a life without all that was taken out so far; nothing goes that does not lower it; and the first step takes at
 * least what the best single event would. */
static void test_reasons_are_removals(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 60);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  uint32_t s = (uint32_t)fixture_index(&f, 4);
  struct timeline_view v = timeline_view(f.store, s);
  struct prediction r, without;
  run(&f, f.store, s, (struct predict_options){.task = f.task, .time = v.time[v.n - 1] + DAY(1), .explain = 100, .reasons = 6}, &a, &r);
  assert_true(r.reasons >= 3);
  uint8_t *gone = arena_array(&a, uint8_t, v.n + 1u);
  double before = r.probability, single = 0;
  bool several = false;
  for (int i = 0; i < r.contributions; i++) single = fmax(single, r.contribution[i].delta);
  assert_true(r.reason[0].gain / r.reason[0].events > single - 1e-6);
  for (int i = 0; i < r.reasons; i++) {
    const struct predict_reason *x = &r.reason[i];
    struct timeline *t;
    MUST(timeline_memory_new(&t, &f.e));
    assert_true(x->events > 0);
    several |= x->events > 1;
    for (uint32_t j = 0; j < x->events; j++) {
      assert_true(x->event[j] < v.n && !gone[x->event[j]]);
      assert_true(str_eq(timeline_code_name(f.store, v.code[x->event[j]]), x->code));
      gone[x->event[j]] = 1;
    }
    for (uint32_t k = 0; k < v.n; k++) {
      struct event ev = {.subject = v.subject, .time = v.time[k], .code = timeline_code_name(f.store, v.code[k]), .value = v.value[k]};
      if (!gone[k]) MUST(timeline_memory_append(t, &ev, &f.e));
    }
    MUST(timeline_memory_seal(t, &f.e));
    run(&f, t, 0, (struct predict_options){.task = f.task, .time = r.time}, &a, &without);
    assert_true(fabs(x->left - without.probability) < 1e-5);
    assert_true(x->left < before);
    assert_float_equal(log(before / (1 - before)) - log(x->left / (1 - x->left)), x->gain, 1e-4);
    before = x->left;
    timeline_close(t);
  }
  assert_true(several); /* a code went with its readings */
  arena_free(&a);
  fixture_close(&f);
}

static bool at_once(void *ctx) {
  ++*(int *)ctx;
  return true;
}

/* No explanation is looked for below a bar; one that is late leaves the answer as it is; to be cancelled is something else. */
static void test_explanation_may_be_left_out(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  int asked = 0;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 25);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  uint32_t s = (uint32_t)fixture_index(&f, 4);
  struct predict_options o = {.task = f.task, .time = INT64_MAX, .explain = 5, .quick = true, .cancel_ctx = &asked};
  struct prediction with, r;
  run(&f, f.store, s, o, &a, &with);
  assert_true(with.contributions > 0);
  o.explain_least = with.probability;
  run(&f, f.store, s, o, &a, &r);
  assert_same(&with, &r);
  o.explain_least = with.probability + 1e-9;
  run(&f, f.store, s, o, &a, &r);
  assert_true(r.contributions == 0 && r.probability == with.probability);
  o.explain_least = 0, o.explain_late = at_once;
  run(&f, f.store, s, o, &a, &r);
  assert_true(asked > 0 && r.contributions == 0 && r.probability == with.probability);
  struct predictor *p;
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  o.cancelled = at_once;
  assert_int_equal(predict(p, s, &o, &a, &r, &f.e), E_CANCELLED);
  o.cancelled = o.explain_late = NULL;
  MUST(predict(p, s, &o, &a, &r, &f.e)); /* and the predictor answers as before */
  assert_same(&with, &r);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

/* A long life is searched; what is listed is still exact, and one planted event that matters is found. */
static void test_long_explanation(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 12, 400);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  struct model_task *t = &f.m->task[0];
  for (uint32_t i = 0; i < t->columns; i++) t->wide[i].weight = t->wide[i].missing = 0;
  uint32_t lowest = 0; /* the wide part looks at one thing only: the lowest LAB//1 */
  for (uint32_t i = 0; i < t->columns; i++) {
    struct buf name = {0};
    feature_name(t->features, i, &name);
    if (strcmp(buf_cstr(&name), "LAB//1 min") == 0) lowest = i;
    buf_release(&name);
  }
  assert_int_not_equal(lowest, 0);
  t->wide[lowest].weight = 3;
  t->blend_deep = 0, t->blend_wide = 1;
  struct timeline_view v = timeline_view(f.store, 3);
  uint32_t code, at = 0;
  assert_true(timeline_code_find(f.store, STR("LAB//1"), &code));
  for (uint32_t k = v.statics; k < v.n; k++)
    if (v.code[k] == code && (!at || v.value[k] < v.value[at])) at = k;
  struct prediction r;
  run(&f, f.store, 3, (struct predict_options){.task = f.task, .time = INT64_MAX, .explain = 5}, &a, &r);
  assert_int_equal(r.contributions, 1); /* nothing else changes the answer */
  assert_true(r.contribution[0].time == v.time[at] && r.contribution[0].value == v.value[at]);
  assert_true(r.contribution[0].delta < 0 && str_eqc(r.contribution[0].unit, "mmol/L"));
  arena_free(&a);
  fixture_close(&f);
}

static void test_hazards(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 40);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, false);
  uint32_t living = (uint32_t)fixture_index(&f, 4), dead = (uint32_t)fixture_index(&f, 3);
  struct prediction r;
  run(&f, f.store, living, (struct predict_options){.task = f.task, .time = INT64_MAX, .outcomes = 1000}, &a, &r);
  assert_int_equal(r.outcomes, vocabulary_outcomes(f.v));
  assert_true(r.followed_days > 30 && r.followed_days < 365);
  double by_year[64];
  const char *code[64];
  assert_true(r.outcomes <= 64);
  for (int i = 0; i < r.outcomes; i++) code[i] = str_copy(&a, r.outcome[i].code).p;
  MUST(predict_curves(f.m, f.store, &(struct task_example){.subject_index = living, .time = r.time, .events = r.events}, 1,
                      &(struct predict_curves_request){code, r.outcomes, &predict_horizon_days[4], 1}, 1, by_year, &f.e));
  bool seen_death = false;
  for (int i = 0; i < r.outcomes; i++) {
    const double *p = r.outcome[i].probability;
    for (int k = 0; k < 6; k++) {
      assert_true(isnan(p[k]) == (predict_horizon_days[k] > r.followed_days));
      if (!isnan(p[k])) assert_true(p[k] > 0 && p[k] <= 1 && (k == 0 || p[k] >= p[k - 1]));
    }
    if (i && r.outcome[i].before == r.outcome[i - 1].before) assert_true(by_year[i] <= by_year[i - 1]);
    if (!str_eqc(r.outcome[i].code, "MEDS_DEATH")) continue;
    seen_death = true;
    assert_true(!r.outcome[i].before);
    assert_float_equal(by_year[i], r.hazard, 1e-12); /* the task's horizon is a year: closed form and list are one number */
  }
  assert_true(seen_death);
  assert_true(r.probability == r.hazard && isnan(r.deep) && isnan(r.agreement)); /* no head: the hazard answers */
  /* a gap: of those who do not die in its 90 days, all three ways */
  double month3[1], year = r.hazard;
  const char *dies[] = {"MEDS_DEATH"};
  MUST(predict_curves(f.m, f.store, &(struct task_example){.subject_index = living, .time = r.time, .events = r.events}, 1,
                      &(struct predict_curves_request){dies, 1, (const double[]){90}, 1}, 1, month3, &f.e));
  assert_true(month3[0] > 0.01 && month3[0] < year);
  task_free(f.task);
  fixture_task(
      &f,
      "{\"name\":\"later\",\"title\":\"x\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"1y\",\"gap\":"
      "[\"90d\"],\"censor\":\"negative\"}");
  run(&f, f.store, living, (struct predict_options){.task = f.task, .time = INT64_MAX, .futures = 2000, .outcomes = 1}, &a, &r);
  assert_float_equal(r.hazard, (year - month3[0]) / (1 - month3[0]), 1e-12);
  assert_true(fabs(r.sampled - r.anticipated) < 3.5 * hypot(r.sampled_se, r.anticipated_se));
  assert_true(fabs(r.integrated - r.anticipated) < 3.5 * hypot(r.integrated_se, r.anticipated_se));
  run(&f, f.store, dead, (struct predict_options){.task = f.task, .time = INT64_MAX, .outcomes = 1000}, &a, &r);
  assert_true(isnan(r.hazard) && r.dead && r.outcomes == 0); /* a first death after death is no question */
  float flat[HAZARD_BINS], steep[HAZARD_BINS];
  for (int k = 0; k < HAZARD_BINS; k++) flat[k] = logf(0.01f), steep[k] = -6.0f + (float)k;
  double last = 0;
  for (double d = 0.1; d < 8000; d *= 1.1) {
    assert_float_equal(hazard_probability(flat, d), 1 - exp(-0.01 * d), 1e-5);
    double now = hazard_probability(steep, d);
    assert_true(now >= last && now <= 1);
    last = now;
  }
  arena_free(&a);
  fixture_close(&f);
}

/* Validation and a single prediction give one number; threads change nothing. */
static void test_examples(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 75, 40);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  enum { N = 150 };
  struct task_example x[N] = {0};
  double one[2][N], two[2][N];
  for (uint32_t i = 0; i < N; i++) {
    struct timeline_view v = timeline_view(f.store, i / 2);
    x[i] = (struct task_example){.subject_index = i / 2, .events = i % 2 ? v.n : v.n / 2};
    while (x[i].events < v.n && v.time[x[i].events] == v.time[x[i].events - 1]) x[i].events++;
    x[i].time = v.time[x[i].events - 1] + (i % 3 ? 0 : TIME_DAY);
    if (x[i].events < v.n && x[i].time >= v.time[x[i].events]) x[i].time = v.time[x[i].events - 1];
  }
  MUST(predict_examples(f.m, f.store, f.task, x, N, 1, one[0], one[1], &f.e));
  MUST(predict_examples(f.m, f.store, f.task, x, N, 3, two[0], two[1], &f.e));
  assert_memory_equal(one[0], two[0], sizeof one[0]);
  for (int i = 0; i < N; i++) assert_true(same(one[1][i], two[1][i]));
  for (int i = 0; i < N; i += 7) {
    struct prediction r;
    run(&f, f.store, x[i].subject_index, (struct predict_options){.task = f.task, .time = x[i].time}, &a, &r);
    assert_int_equal(r.events, x[i].events);
    assert_float_equal(r.probability, one[0][i], 1e-6);
    if (!isnan(r.hazard))
      assert_float_equal(r.hazard, one[1][i], 1e-6);
    else
      assert_true(isnan(one[1][i]));
  }
  arena_free(&a);
  fixture_close(&f);
}

/* A task of a head's name that has changed since is answered as without a head. */
static void test_a_head_answers_its_own_question(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  struct prediction own, same_words, r, plain;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 30);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  uint32_t s = (uint32_t)fixture_index(&f, 4);
  run(&f, f.store, s, (struct predict_options){.task = f.task, .time = INT64_MAX, .futures = 9}, &a, &own);
  assert_true(!isnan(own.deep) && own.warnings == 0 && predict_has_head(f.m, f.task) && !predict_head_differs(f.m, f.task));
  static const char *const text[] = {
      "{\"name\":\"death\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"1y\",\"censor\":\"negative\"}",
      "{\"name\":\"death\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"30d\",\"censor\":\"negative\"}",
      "{\"name\":\"other\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"30d\",\"censor\":\"negative\"}"};
  struct prediction *to[] = {&same_words, &r, &plain};
  for (int i = 0; i < 3; i++) {
    task_free(f.task);
    fixture_task(&f, text[i]);
    run(&f, f.store, s, (struct predict_options){.task = f.task, .time = INT64_MAX, .futures = 9}, &a, to[i]);
    assert_true(predict_head_differs(f.m, f.task) == (i == 1) && predict_has_head(f.m, f.task) == (i == 0));
  }
  assert_same(&own, &same_words);
  assert_same(&plain, &r);
  assert_true(isnan(r.deep) && r.probability == r.hazard && r.probability < own.probability);
  assert_true(r.warnings == 1 && strstr(r.warning[0], "has changed since its head was trained") && plain.warnings == 0);
  arena_free(&a);
  fixture_close(&f);
}

/* Nothing counts inside the gap: a horizon that ends there is no question; one that is not the task's is named. */
static void test_futures_of_another_horizon(void **state) {
  (void)state;
  static const char later[] =
      "{\"name\":\"later\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"1y\",\"gap\":[\"90d\"],"
      "\"censor\":\"negative\"}";
  struct fixture f;
  struct arena a;
  struct prediction r;
  struct predictor *p;
  struct buf b = {0};
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 30);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  uint32_t s = (uint32_t)fixture_index(&f, 4);
  task_free(f.task);
  fixture_task(&f, later);
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  struct predict_options o = {.task = f.task, .time = INT64_MAX, .futures = 50};
  for (double days = 1; days <= 90; days += 44.5) {
    o.horizon_days = days;
    assert_int_equal(predict(p, s, &o, &a, &r, &f.e), E_USAGE);
    assert_non_null(strstr(f.e.message, "gap of 90 days"));
  }
  static const double days[] = {91, 0, 365.25};
  for (int i = 0; i < 3; i++) {
    o.horizon_days = days[i];
    MUST(predict(p, s, &o, &a, &r, &f.e));
    buf_clear(&b);
    prediction_print(&r, 100, false, &b);
    assert_true(!isnan(r.sampled) && !strstr(buf_cstr(&b), "within 91 days instead of 365.25") == (i > 0));
  }
  o.horizon_days = 30, o.task = NULL;
  MUST(predict(p, s, &o, &a, &r, &f.e));
  buf_release(&b);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

/* One future says nothing about its error: neither 0 nor a word that is no number. */
static void test_one_future_has_no_error(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  struct prediction r;
  struct buf b = {0};
  struct json_out o;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 30);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  run(&f, f.store, (uint32_t)fixture_index(&f, 5), (struct predict_options){.task = f.task, .time = INT64_MAX, .futures = 1}, &a, &r);
  assert_true(r.sampled >= 0 && r.integrated >= 0 && r.anticipated >= 0);
  assert_true(isnan(r.sampled_se) && isnan(r.integrated_se) && isnan(r.anticipated_se));
  prediction_print(&r, 100, false, &b);
  assert_non_null(strstr(buf_cstr(&b), "sampled futures (± n/a, 1 drawn)"));
  assert_non_null(strstr(buf_cstr(&b), "hazard along these futures (± n/a)"));
  assert_null(strstr(buf_cstr(&b), "nan"));
  buf_clear(&b);
  json_out_init(&o, &b, false);
  prediction_json(&r, &o);
  assert_non_null(strstr(buf_cstr(&b), "\"sampled_standard_error\":null"));
  assert_non_null(strstr(buf_cstr(&b), "\"anticipated_hazard_standard_error\":null"));
  buf_release(&b);
  arena_free(&a);
  fixture_close(&f);
}

static void test_output(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 30);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  struct prediction r;
  run(&f, f.store, (uint32_t)fixture_index(&f, 5), (struct predict_options){.task = f.task, .time = INT64_MAX, .futures = 20, .explain = 4},
      &a, &r);
  struct buf json = {0}, text = {0};
  struct json_out o;
  json_out_init(&o, &json, false);
  prediction_json(&r, &o);
  MUST(buf_check(&json, &f.e));
  struct json_parser *jp;
  struct json root;
  MUST(json_parser_new(&jp, &f.e));
  MUST(json_parse(jp, json.p, json.n, json.n, &root, &f.e));
  double p;
  struct json task = json_get(root, "task");
  assert_true(json_f64(json_get(task, "probability"), &p) && p == r.probability);
  assert_true(json_f64(json_get(task, "sampled"), &p) && p == r.sampled);
  assert_true(json_f64(json_get(task, "hazard"), &p) && p == r.hazard);
  assert_int_equal(json_count(json_get(root, "contributions")), r.contributions);
  assert_int_equal(json_count(json_get(root, "outcomes")), r.outcomes);
  json_parser_free(jp);
  prediction_print(&r, 100, false, &text);
  assert_non_null(strstr(buf_cstr(&text), "death"));
  assert_non_null(strstr(buf_cstr(&text), "exact removal"));
  assert_non_null(strstr(buf_cstr(&text), "task head, not calibrated: no tuning patients"));
  assert_null(strchr(buf_cstr(&text), '\033'));
  buf_clear(&text);
  prediction_print(&r, 20, true, &text);
  assert_non_null(strchr(buf_cstr(&text), '\033'));
  f.m->task[0].tuning_n = 1;
  run(&f, f.store, (uint32_t)fixture_index(&f, 5), (struct predict_options){.task = f.task, .time = INT64_MAX}, &a, &r);
  assert_string_equal(prediction_way(&r), "task head, calibrated on tuning patients");
  buf_release(&json);
  buf_release(&text);
  arena_free(&a);
  fixture_close(&f);
}

static void test_edges(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 30);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  struct predictor *p;
  struct prediction r;
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  assert_int_equal(predict(p, 4000, &(struct predict_options){.time = INT64_MAX}, &a, &r, &f.e), E_NOTFOUND);
  assert_int_equal(predict(p, 0, &(struct predict_options){.time = INT64_MAX, .futures = -1}, &a, &r, &f.e), E_USAGE);
  MUST(predict(p, 0, &(struct predict_options){.task = f.task, .time = DAY(-100000), .futures = 5, .explain = 5}, &a, &r,
               &f.e)); /* before birth: statics only */
  assert_int_equal(r.events, 1);
  assert_true(isnan(r.probability) && r.refusal && r.outcomes > 0); /* no record, no last event to ask at */
  uint32_t living = (uint32_t)fixture_index(&f, 4);
  MUST(predict(p, living, &(struct predict_options){.time = INT64_MAX}, &a, &r, &f.e));
  assert_true(!r.has_task && isnan(r.probability) && r.outcomes > 0);
  predictor_free(p);
  struct arena small;
  arena_init(&small, 64, 0);
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  assert_int_equal(predict(p, living, &(struct predict_options){.time = INT64_MAX}, &small, &r, &f.e), E_NOMEM);
  predictor_free(p);
  arena_free(&small);
  for (long n = 1;; n++) { /* every allocation may fail; the predictor stays usable */
    struct prediction x;
    MUST(predictor_new(f.m, f.store, &p, &f.e));
    arena_fail_at(n);
    int rc = predict(p, 2, &(struct predict_options){.task = f.task, .time = INT64_MAX, .futures = 3, .explain = 2}, &a, &x, &f.e);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    if (rc < 0) MUST(predict(p, 2, &(struct predict_options){.task = f.task, .time = INT64_MAX}, &a, &x, &f.e));
    predictor_free(p);
    if (pending) break;
    n += n / 8;
  }
  arena_free(&a);
  fixture_close(&f);
}

/* Where a task does not apply there is a reason and no number; to the dead nothing is foretold. */
static void ask(struct fixture *f, const char *task, uint32_t s, int64_t time, struct arena *a, struct prediction *r) {
  task_free(f->task);
  fixture_task(f, task);
  run(f, f->store, s, (struct predict_options){.task = f->task, .time = time, .futures = 5, .explain = 3}, a, r);
}

static void test_a_task_may_not_apply(void **state) {
  (void)state;
  static const char *const never =
      "{\"name\":\"x\",\"title\":\"x\",\"trigger\":{\"code\":[\"NEVER\"],\"which\":\"first\"},\"target\":{\"any\":[\"DX//"
      "5\"]},\"horizon\":\"1y\"}";
  static const char *const onset =
      "{\"name\":\"x\",\"title\":\"x\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"DX//5\"]},\"horizon\":\"1y\",\"new_onset\":true}";
  static const char *const window =
      "{\"name\":\"x\",\"title\":\"x\",\"trigger\":{\"end\":true},\"require\":[{\"any\":[\"NEVER\"],\"from\":\"-1y\",\"to\":\"0d\",\"min\":"
      "1}],"
      "\"target\":{\"any\":[\"DX//5\"]},\"horizon\":\"1y\"}";
  static const char *const old =
      "{\"name\":\"x\",\"title\":\"x\",\"trigger\":{\"every\":\"1y\",\"from\":\"70y\"},\"target\":{\"any\":[\"DX//"
      "5\"]},\"horizon\":\"1y\"}";
  static const char *const plain =
      "{\"name\":\"x\",\"title\":\"x\",\"trigger\":{\"code\":[\"LAB//1\"],\"which\":\"first\",\"offset\":\"9y\"},\"target\":{\"any\":[\"DX/"
      "/5\"]},"
      "\"horizon\":\"1y\"}";
  struct fixture f;
  struct arena a;
  struct prediction r;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 60);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, true);
  uint32_t living = (uint32_t)fixture_index(&f, 4), dead = (uint32_t)fixture_index(&f, 6);
  ask(&f, DEATH_TASK, living, INT64_MAX, &a, &r);
  assert_true(!r.refusal && !r.dead && !isnan(r.probability) && r.outcomes > 0 && r.contributions > 0);
  ask(&f, plain, living, INT64_MAX, &a, &r);
  assert_null(r.refusal); /* the trigger has come, though its nine years have not passed */
  const struct {
    const char *task, *why;
  } cases[] = {{never, "trigger not met"},
               {old, "trigger not met"},
               {onset, "excluded: prior occurrence"},
               {window, "excluded: a window of the task does not hold"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    ask(&f, cases[i].task, living, INT64_MAX, &a, &r);
    assert_string_equal(r.refusal, cases[i].why);
    assert_true(isnan(r.probability) && isnan(r.hazard) && isnan(r.sampled) && isnan(r.deep) && isnan(r.wide));
    assert_true(!r.dead && r.outcomes > 0 && r.futures == 5 && r.contributions == 0);
  }
  struct timeline_view v = timeline_view(f.store, dead);
  ask(&f, DEATH_TASK, dead, INT64_MAX, &a, &r);
  assert_string_equal(r.refusal, "dead");
  assert_true(r.dead && r.outcomes == 0 && r.futures == 0 && r.contributions == 0 && isnan(r.probability));
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  prediction_json(&r, &o);
  assert_non_null(strstr(buf_cstr(&b), "\"applies\":false,\"reason\":\"dead\"}"));
  assert_null(strstr(buf_cstr(&b), "probability"));
  buf_clear(&b);
  prediction_print(&r, 80, false, &b);
  assert_non_null(strstr(buf_cstr(&b), "does not apply: dead"));
  buf_release(&b);
  run(&f, f.store, dead, (struct predict_options){.time = INT64_MAX}, &a, &r); /* without a task too */
  assert_true(r.dead && r.outcomes == 0);
  ask(&f, DEATH_TASK, dead, v.time[v.n - 1] - 1, &a, &r); /* a moment before */
  assert_true(!r.dead && !r.refusal && r.outcomes > 0);
  arena_free(&a);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_task_may_not_apply),
                                     cmocka_unit_test(test_nothing_after_the_moment),
                                     cmocka_unit_test(test_explanation_is_removal),
                                     cmocka_unit_test(test_reasons_are_removals),
                                     cmocka_unit_test(test_explanation_may_be_left_out),
                                     cmocka_unit_test(test_long_explanation),
                                     cmocka_unit_test(test_hazards),
                                     cmocka_unit_test(test_examples),
                                     cmocka_unit_test(test_a_head_answers_its_own_question),
                                     cmocka_unit_test(test_futures_of_another_horizon),
                                     cmocka_unit_test(test_one_future_has_no_error),
                                     cmocka_unit_test(test_output),
                                     cmocka_unit_test(test_edges)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
