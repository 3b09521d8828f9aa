#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "predict/predict_fixture.h"
#include "predict/predict_internal.h"

/* Only the biases of the rates: log rates are the same at every position, so that the law of the futures is known. */
static void bias_only(struct fixture *f) {
  struct model_config c = fixture_small();
  MUST(model_build(&c, f->v, NULL, 0, 5, &f->m, &f->e));
  for (int i = 0; i < f->m->tensors; i++) {
    const struct tensor *t = &f->m->tensor[i];
    if (strcmp(t->name, "rates.bias") && !strstr(t->name, "norm")) memset(f->m->weight + t->at, 0, t->n * sizeof(float));
  }
  for (uint32_t k = 0; k < f->m->config.codes; k++) f->m->weight[f->m->rates_bias + (ptrdiff_t)k] = logf(0.02f * (float)(1 + k % 3));
}

/* The law of a wait, slowly: rate[b][k] of code k in stretch b of the time after the position. A rate moves with the hazard of an outcome that was not had;
 * its mean over the time that a wait takes, no longer than people were followed, is the rate that stands still. */
struct slow_law {
  double rate[HAZARD_BINS][24], total[HAZARD_BINS];
};

static double stretch_end(int b) { return b + 1 < HAZARD_BINS ? hazard_edge_days[b + 1] : INFINITY; }

static void slow_law(const struct fixture *f, const float *log_rate, const float *log_hazard, const bool *had, double followed,
                     struct slow_law *x) {
  double factor[24], left = 1, time = 0, spent[HAZARD_BINS];
  uint32_t n = vocabulary_codes(f->v);
  int seen = 0;
  assert_true(n <= 24 && followed < 1000);
  while (seen < HAZARD_BINS && hazard_edge_days[seen] < followed) seen++;
  for (uint32_t k = 0; k < n; k++) factor[k] = -1; /* at first no rate moves */
  for (int round = 0; round < 200; round++) {
    for (int b = 0; b < HAZARD_BINS; b++) {
      x->total[b] = 0;
      for (uint32_t k = 0; k < n; k++) {
        const struct vocabulary_entry *at = vocabulary_at(f->v, k);
        x->rate[b][k] = k && !at->is_static ? exp((double)log_rate[k]) : 0;
        if (factor[k] >= 0) x->rate[b][k] *= exp((double)log_hazard[at->outcome * HAZARD_BINS + (b < seen ? b : seen - 1)]) / factor[k];
        x->total[b] += x->rate[b][k];
      }
    }
    left = 1, time = 0;
    for (int b = 0; b < seen; b++) { /* sums over small steps */
      double step = (fmin(followed, stretch_end(b)) - hazard_edge_days[b]) / 500;
      spent[b] = 0;
      for (int i = 0; i < 500; i++) {
        spent[b] += left * exp(-x->total[b] * step / 2) * step;
        left *= exp(-x->total[b] * step);
      }
      time += spent[b];
    }
    for (uint32_t k = 0; k < n; k++) {
      const struct vocabulary_entry *at = vocabulary_at(f->v, k);
      if (at->outcome < 0 || had[k]) continue;
      factor[k] = 0;
      for (int b = 0; b < seen; b++) factor[k] += spent[b] / time * exp((double)log_hazard[at->outcome * HAZARD_BINS + b]);
    }
  }
}

/* Chance that the first instant comes between two times and is of code k; 0 = of any. */
static double slow_chance(const struct slow_law *x, uint32_t k, double from, double to) {
  double left = 1, sum = 0;
  for (int b = 0; b < HAZARD_BINS; b++) {
    double begin = hazard_edge_days[b], end = stretch_end(b), a = fmin(fmax(from, begin), end), z = fmin(to, end);
    if (z > a) sum += left * exp(-x->total[b] * (a - begin)) * -expm1(-x->total[b] * (z - a)) * (k ? x->rate[b][k] / x->total[b] : 1);
    left *= exp(-x->total[b] * (end - begin));
  }
  return sum;
}

static double total_rate(const struct fixture *f) {
  double sum = 0;
  for (uint32_t k = 1; k < vocabulary_codes(f->v); k++)
    if (!vocabulary_at(f->v, k)->is_static) sum += 0.02 * (1 + k % 3);
  return sum;
}

/* People whose events never coincide: instants of one event, so that waiting times and codes are the plain exponential law. */
static void open_single(struct fixture *f, bool dates) {
  *f = (struct fixture){.dir = "/tmp/predict-test-XXXXXX"};
  assert_non_null(mkdtemp(f->dir));
  char store[96];
  snprintf(store, sizeof store, "%s/timelines", f->dir);
  struct timeline_writer *w;
  MUST(timeline_writer_open(store, &(struct timeline_options){.split = SPLIT_ALL_TRAIN}, &w, &f->e));
  for (int s = 1; s <= 20; s++)
    for (int k = 0; k < 30; k++) {
      char code[16];
      snprintf(code, sizeof code, "DX//%d", k % 6);
      fixture_put(w, make_event(s, DAY(k) + (dates ? 0 : TIME_HOUR), k == 29 && s % 2 ? "MEDS_DEATH" : code,
                                k % 6 == 2 && k != 29 ? (float)(k + s) : NAN));
      if (k == 0) fixture_put(w, make_event(s, TIME_STATIC, "GENDER//F", NAN));
    }
  MUST(timeline_writer_finish(w, STR("{}"), NULL, NULL, &f->e));
  MUST(timeline_open(store, &f->store, &f->e));
  MUST(vocabulary_build(f->store, NULL, &f->v, &f->e));
  assert_true(vocabulary_instant_events(f->v) == 1.0 && vocabulary_dates(f->v) == dates);
  fixture_task(f, DEATH_TASK);
}

static int by_double(const void *x, const void *y) {
  return (*(const double *)x > *(const double *)y) - (*(const double *)x < *(const double *)y);
}

/* First waiting times by Kolmogorov-Smirnov, codes by chi-square, deaths by 1 - exp(-rate t); seeds are fixed. */
static void test_exponential_law(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  open_single(&f, true);
  bias_only(&f);
  struct predictor *p;
  struct futures x;
  enum { N = 2000 };
  const double horizon = 40;
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(predict_futures(p, 1, INT64_MAX, N, horizon, 17, &a, &x, &f.e));
  assert_int_equal(x.count, N);
  double rate = total_rate(&f), *wait = calloc((size_t)N * 400, sizeof *wait), worst = 0;
  uint32_t seen[16] = {0}, all = 0, died = 0, death = vocabulary_death(f.v);
  int n = 0;
  for (int i = 0; i < N; i++) {
    double last = 0;
    bool dead = false;
    for (int k = 0; k < x.n[i]; k++) {
      const struct future_event *ev = &x.path[i][k];
      assert_true(ev->days > last && ev->days <= horizon && !dead);
      assert_true(ev->code > 0 && !vocabulary_at(f.v, ev->code)->is_static);
      assert_int_equal(isnan(ev->value), vocabulary_at(f.v, ev->code)->knots == 0);
      last = ev->days;
      seen[ev->code]++, all++;
      dead = ev->code == death;
    }
    died += dead;
    if (x.n[i]) wait[n++] = x.path[i][0].days;
  }
  assert_int_equal(x.cut, 0);
  qsort(wait, (size_t)n, sizeof *wait, by_double);
  for (int i = 0; i < n; i++) { /* exponential, truncated at the horizon */
    double cdf = -expm1(-rate * wait[i]) / -expm1(-rate * horizon);
    worst = fmax(worst, fmax(fabs(cdf - (double)i / n), fabs(cdf - (double)(i + 1) / n)));
  }
  assert_true(worst < 1.63 / sqrt(n)); /* 1 % point */
  double chi = 0;
  int kinds = 0;
  for (uint32_t k = 1; k < vocabulary_codes(f.v); k++) {
    if (vocabulary_at(f.v, k)->is_static) continue;
    double want = (double)all * 0.02 * (1 + k % 3) / rate;
    chi += (seen[k] - want) * (seen[k] - want) / want;
    kinds++;
  }
  assert_true(kinds == 7 && chi < 16.81); /* 6 degrees of freedom, 1 % point */
  double p_death = -expm1(-0.02 * (1 + death % 3) * horizon), se = sqrt(p_death * (1 - p_death) / N);
  assert_true(fabs((double)died / N - p_death) < 3 * se);
  free(wait);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

static void assert_same_path(const struct futures *x, int i, const struct futures *y, int j) {
  assert_int_equal(x->n[i], y->n[j]);
  for (int k = 0; k < x->n[i]; k++) {
    const struct future_event *u = &x->path[i][k], *v = &y->path[j][k];
    assert_true(u->days == v->days && u->code == v->code && (u->value == v->value || (isnan(u->value) && isnan(v->value))));
  }
}

/* One seed, one set of futures; a future does not depend on how many are drawn; another seed gives others. */
static void test_seeds(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 40);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, false);
  struct predictor *p, *q;
  struct futures x, y, z, few;
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(predictor_new(f.m, f.store, &q, &f.e));
  MUST(predict_futures(p, 3, INT64_MAX, 100, 60, 1, &a, &x, &f.e));
  MUST(predict_futures(q, 3, INT64_MAX, 100, 60, 1, &a, &y, &f.e));
  MUST(predict_futures(p, 3, INT64_MAX, 100, 60, 2, &a, &z, &f.e));
  MUST(predict_futures(p, 3, INT64_MAX, 70, 60, 1, &a, &few, &f.e));
  int events = 0, differ = 0;
  for (int i = 0; i < 100; i++) {
    assert_same_path(&x, i, &y, i);
    events += x.n[i];
    differ += x.n[i] != z.n[i] || (x.n[i] && x.path[i][0].days != z.path[i][0].days);
  }
  for (int i = 0; i < 70; i++) assert_same_path(&x, i, &few, i);
  assert_true(events > 200 && differ > 60);
  predictor_free(p);
  predictor_free(q);
  arena_free(&a);
  fixture_close(&f);
}

/* The same bits alone, among the futures of other lives, and by one, two or three threads; with more futures than slots, so that slots change
 * hands between lives. */
static void test_company_does_not_matter(void **state) {
  (void)state;
  enum { LIVES = 9, COUNT = 40 };
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 40);
  for (int mask = 0; mask < 2; mask++) {
    struct model_config c = fixture_small();
    c.mask = mask ? MASK_CAUSAL_NO_TIES : MASK_CAUSAL;
    fixture_model(&f, &c, false);
    struct predictor *p;
    struct futures alone, x[LIVES], y[LIVES], z[LIVES];
    struct future_ask ask[LIVES];
    struct futures_options o = {.count = COUNT, .horizon_days = 60};
    MUST(predictor_new(f.m, f.store, &p, &f.e));
    for (int i = 0; i < LIVES; i++) ask[i] = (struct future_ask){(uint32_t)(3 * i), INT64_MAX, (uint64_t)i % 3};
    MUST(predict_futures_many(p, ask, LIVES, &o, &a, x, &f.e));
    o.threads = 2;
    MUST(predict_futures_many(p, ask, LIVES, &o, &a, y, &f.e));
    o.threads = 3;
    MUST(predict_futures_many(p, ask, LIVES, &o, &a, z, &f.e));
    int events = 0;
    for (int i = 0; i < LIVES; i++) {
      MUST(predict_futures(p, ask[i].subject_index, ask[i].time, COUNT, 60, ask[i].seed, &a, &alone, &f.e));
      for (int k = 0; k < COUNT; k++) {
        assert_same_path(&alone, k, &x[i], k);
        assert_same_path(&alone, k, &y[i], k);
        assert_same_path(&alone, k, &z[i], k);
        events += x[i].n[k];
      }
    }
    assert_true(events > 500);
    predictor_free(p);
    model_free(f.m);
    f.m = NULL;
  }
  arena_free(&a);
  fixture_close(&f);
}

static bool after_some(void *ctx) { return ++*(int *)ctx > 2; }

/* Long futures: 750 events of one future, beyond the model's context; and the one who asked may leave in between. */
static void test_long_and_cancelled(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  open_single(&f, true);
  bias_only(&f);
  f.m->weight[f.m->rates_bias + (ptrdiff_t)vocabulary_death(f.v)] = -30;
  struct predictor *p;
  struct futures x;
  int asked = 0;
  struct future_ask ask = {1, INT64_MAX, 5};
  struct futures_options o = {.count = 3, .horizon_days = 36525, .steps = 750, .threads = 2};
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(predict_futures_many(p, &ask, 1, &o, &a, &x, &f.e));
  for (int i = 0; i < 3; i++) assert_int_equal(x.n[i], 750);
  assert_int_equal(x.cut, 3);
  assert_true(model_config(f.m)->context < 750);
  o.cancelled = after_some, o.cancel_ctx = &asked;
  assert_int_equal(predict_futures_many(p, &ask, 1, &o, &a, &x, &f.e), E_CANCELLED);
  assert_int_equal(asked, 3);
  o.cancelled = NULL;
  ask.subject_index = 1000;
  assert_int_equal(predict_futures_many(p, &ask, 1, &o, &a, &x, &f.e), E_NOTFOUND);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

/* What the cache decodes is what the full forward pass computes: one future, taken as events, through model_forward. */
static void test_decoding_matches_forward(void **state) {
  (void)state;
  struct fixture f;
  open_single(&f, true);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, false);
  struct timeline_view v = timeline_view(f.store, 2);
  struct token_map *map;
  struct token_batch b;
  struct model_workspace *w;
  struct model_cache *cache;
  struct token_options o = {.pack = PACK_INSTANT, .context = c.context};
  MUST(token_map_new(f.v, f.store, &map, &f.e));
  MUST(token_batch_init(&b, 0, &f.e));
  MUST(model_workspace_new(f.m, c.context, false, &w, &f.e));
  uint32_t cut = v.n - 4;
  MUST(token_pack(f.v, map, &v, 2, cut, INT64_MIN, &o, &b, &f.e));
  int prefix = b.positions;
  struct model_prefix *past;
  MUST(model_cache_new(f.m, 2, 8, &cache, &f.e));
  MUST(model_prefix_new(f.m, prefix, &past, &f.e));
  MUST(model_forward(f.m, w, &b, &past, &f.e));
  MUST(model_cache_bind(cache, 1, past, &f.e));
  float decoded[4][24];
  int64_t birth, first, last;
  token_life_times(map, &v, cut, &birth, &first, &last);
  for (int k = 0; k < 4; k++) {
    uint32_t at = cut + (uint32_t)k, code = token_map_id(map, v.code[at]);
    float knot = NAN;
    int low;
    if (vocabulary_at(f.v, code)->knots && !isnan(v.value[at]))
      token_knot(vocabulary_at(f.v, code), v.value[at], &low, &knot), knot += (float)low;
    token_batch_clear(&b);
    struct token_next next = {birth, first, v.time[at - 1], v.time[at], prefix + k, 1, &code, &knot};
    MUST(token_pack_next(f.v, &next, &b, &f.e));
    MUST(model_decode(f.m, w, cache, &b, &(int){1}, &f.e));
    memcpy(decoded[k], model_hidden(w), sizeof decoded[k]);
  }
  token_batch_clear(&b);
  MUST(token_pack(f.v, map, &v, 2, v.n, INT64_MIN, &o, &b, &f.e));
  assert_int_equal(b.positions, prefix + 4);
  MUST(model_forward(f.m, w, &b, NULL, &f.e));
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < 24; i++)
      assert_float_equal(decoded[k][i], model_hidden(w)[(prefix + k) * 24 + i], 8e-3); /* the cache is in eight bits */
  model_cache_free(cache);
  model_prefix_free(past);
  model_workspace_free(w);
  token_batch_release(&b);
  token_map_free(map);
  fixture_close(&f);
}

/* The law of the wait after a life in a store, by the full forward pass. */
static void forward_law(struct fixture *f, const struct timeline *t, const struct token_options *o, int64_t now, struct slow_law *x) {
  struct token_map *map;
  struct token_batch b;
  struct model_workspace *w;
  struct timeline_view v = timeline_view(t, 0);
  float *rate = calloc(vocabulary_codes(f->v), sizeof *rate), hazard[24 * HAZARD_BINS];
  bool had[24] = {false};
  double followed = INFINITY;
  MUST(token_map_new(f->v, t, &map, &f->e));
  MUST(token_batch_init(&b, 0, &f->e));
  MUST(model_workspace_new(f->m, o->context, false, &w, &f->e));
  MUST(token_pack(f->v, map, &v, 0, v.n, now, o, &b, &f->e));
  const float *last = model_hidden(w) + (b.positions - 1) * model_config(f->m)->d;
  MUST(model_forward(f->m, w, &b, NULL, &f->e));
  model_rates(f->m, w, last, rate);
  model_hazard(f->m, w, last, hazard);
  for (uint32_t k = 0; k < v.n; k++) {
    uint32_t id = token_map_id(map, v.code[k]);
    had[id] = true;
    if (v.time[k] == v.time[v.n - 1]) followed = fmin(followed, vocabulary_at(f->v, id)->followed_days);
  }
  if (now != INT64_MIN) followed -= (double)(now - v.time[v.n - 1]) / (double)TIME_DAY;
  slow_law(f, rate, hazard, had, followed, x);
  free(rate);
  model_workspace_free(w);
  token_batch_release(&b);
  token_map_free(map);
}

/* Every step of sampled futures again without a cache: the life with what was sampled so far goes through the whole model, and the
 * future's own random numbers must give the same waits and codes; nearly so where the trunk decodes in eight bits. The life is young: most outcomes are
 * still to come, and their rates move within a wait. dates: a model of records without times of day, whose futures have none either. */
static void replay(bool int8, bool dates, double tolerance, int most_other) {
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  open_single(&f, dates);
  struct model_config c = fixture_small();
  fixture_model(&f, &c, false);
  struct timeline_view v = timeline_view(f.store, 1);
  struct token_options o = {.pack = PACK_INSTANT, .context = c.context};
  struct predictor *p;
  struct futures x;
  struct rng spread;
  uint32_t outcomes = f.m->config.outcomes, young = 0;
  int steps = 0, other = 0, moved = 0;
  rng_init(&spread, 4, 0);
  for (uint32_t k = 0; k < f.m->config.codes; k++) f.m->weight[f.m->rates_bias + (ptrdiff_t)k] -= 2;
  for (uint32_t k = 0; k < outcomes * HAZARD_BINS; k++) f.m->weight[f.m->hazard_bias + (ptrdiff_t)k] += (float)rng_normal(&spread);
  while (v.time[young] < DAY(2)) young++;
  int64_t now = v.time[young - 1] + DAY(1) / 2;
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(model_decoder_new(f.m, int8, &p->decoder, &f.e));
  MUST(predict_futures(p, 1, now, 8, 60, 8, &a, &x, &f.e));
  for (int i = 0; i < x.count; i++) {
    struct rng r;
    int64_t sampled[12];
    rng_init(&r, 8, (uint64_t)i);
    for (int k = 0; k < x.n[i] && k < 12; k++, steps++) {
      struct timeline *t;
      struct slow_law law;
      MUST(timeline_memory_new(&t, &f.e));
      for (uint32_t j = 0; j < young; j++) {
        struct event ev = {.subject = 1, .time = v.time[j], .code = timeline_code_name(f.store, v.code[j]), .value = v.value[j]};
        MUST(timeline_memory_append(t, &ev, &f.e));
      }
      for (int j = 0; j < k; j++) {
        const struct future_event *u = &x.path[i][j];
        struct event ev = {.subject = 1, .time = sampled[j], .code = vocabulary_at(f.v, u->code)->code, .value = u->value};
        MUST(timeline_memory_append(t, &ev, &f.e));
      }
      MUST(timeline_memory_seal(t, &f.e));
      forward_law(&f, t, &o, k ? INT64_MIN : now, &law);
      double left = -log(rng_uniform(&r)), wait = 0, pick = rng_uniform(&r);
      int b = 0;
      for (; left > law.total[b] * (stretch_end(b) - wait); b++) left -= law.total[b] * (stretch_end(b) - wait), wait = stretch_end(b);
      wait += left / law.total[b];
      moved += b > 0;
      uint32_t code = 0;
      for (double passed = 0; passed <= pick * law.total[b];) passed += law.rate[b][++code];
      double days = wait + (k ? x.path[i][k - 1].days : 0);
      assert_true(fabs(x.path[i][k].days - days) < tolerance * days);
      sampled[k] = now + (int64_t)(x.path[i][k].days * (double)TIME_DAY);
      if (dates) { /* the nearest one, each day once */
        int64_t before = k ? sampled[k - 1] : v.time[young - 1];
        sampled[k] = DAY(llround((double)sampled[k] / (double)DAY(1)));
        if (sampled[k] <= before) sampled[k] = before + DAY(1);
      }
      other += x.path[i][k].code != code;
      if (vocabulary_at(f.v, x.path[i][k].code)->knots) rng_uniform(&r), rng_uniform(&r), rng_uniform(&r);
      timeline_close(t);
    }
  }
  assert_true(steps > 15 && moved > 8 && other <= most_other);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

static void test_futures_without_a_cache(void **state) {
  (void)state;
  replay(false, false, 2e-3, 0);
  replay(false, true, 1e-2, 0); /* a wait is up to .7 % off either way, here the longest of the first days */
  replay(true, false, 2e-2, 1);
}

static void chi_square(const double *seen, const double *want, int n, int all, double most) {
  double chi = 0, sum = 0;
  for (int i = 0; i < n; i++) chi += (seen[i] - want[i] * all) * (seen[i] - want[i] * all) / (want[i] * all), sum += want[i];
  assert_true(fabs(sum - 1) < 1e-9);
  assert_true(chi < most);
}

/* Rates that move within a wait: the first instant by stretch and code, its time, and the second instant after a code that was new, against the
 * slow law. The life has had DX//0 and DX//1; death is no outcome here. Seeds are fixed. */
static void test_rates_move_within_a_wait(void **state) {
  (void)state;
  enum { N = 20000, CODES = 7, STRETCHES = 4 };
  struct fixture f;
  struct arena a;
  struct predictor *p;
  struct futures x;
  struct slow_law law, second;
  arena_init(&a, 0, 0);
  open_single(&f, true);
  bias_only(&f);
  uint32_t outcomes = f.m->config.outcomes, codes = vocabulary_codes(f.v), id[CODES], fresh;
  float log_rate[24], log_hazard[24 * HAZARD_BINS];
  bool had[24] = {false};
  int kinds = 0;
  assert_int_equal(outcomes, 6);
  for (uint32_t k = 0; k < codes; k++) log_rate[k] = f.m->weight[f.m->rates_bias + (ptrdiff_t)k];
  for (uint32_t k = 1; k < codes; k++)
    if (!vocabulary_at(f.v, k)->is_static) id[kinds++] = k;
  assert_int_equal(kinds, CODES);
  for (int k = 0; k < CODES; k++) {
    struct str name = vocabulary_at(f.v, id[k])->code;
    had[id[k]] = str_eqc(name, "DX//0") || str_eqc(name, "DX//1");
  }
  for (uint32_t o = 0; o < outcomes; o++)
    for (uint32_t b = 0; b < HAZARD_BINS; b++) {
      float h = -3 + 2 * sinf((float)(1 + o) * (float)(1 + 2 * b));
      log_hazard[o * HAZARD_BINS + b] = f.m->weight[f.m->hazard_bias + (ptrdiff_t)(b * outcomes + o)] = h;
    }
  assert_true(vocabulary_find(f.v, STR("DX//1"), &fresh) && vocabulary_at(f.v, fresh)->followed_days == 28);
  slow_law(&f, log_rate, log_hazard, had, 28, &law);
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  struct future_ask ask = {1, DAY(1), 11};
  struct futures_options o = {.count = N, .horizon_days = 4000, .events = 2};
  MUST(predict_futures_many(p, &ask, 1, &o, &a, &x, &f.e));
  assert_true(vocabulary_find(f.v, STR("DX//3"), &fresh));
  had[fresh] = true;
  slow_law(&f, log_rate, log_hazard, had, vocabulary_at(f.v, fresh)->followed_days, &second);
  double seen[2][STRETCHES * CODES] = {{0}}, want[2][STRETCHES * CODES], *wait = calloc(N, sizeof *wait), worst = 0;
  int after = 0;
  for (int i = 0; i < N; i++) {
    assert_true(x.n[i] > 0);
    wait[i] = x.path[i][0].days;
    for (int k = 0; k < x.n[i] && k < 2; k++) {
      double days = x.path[i][k].days - (k ? x.path[i][0].days : 0);
      if (k && x.path[i][0].code != fresh) break;
      after += k;
      int b = 0, c = 0;
      while (b + 1 < STRETCHES && days > hazard_edge_days[b + 1]) b++;
      while (id[c] != x.path[i][k].code) c++;
      seen[k][b * CODES + c]++;
    }
  }
  for (int k = 0; k < 2; k++)
    for (int b = 0; b < STRETCHES; b++)
      for (int c = 0; c < CODES; c++)
        want[k][b * CODES + c] =
            slow_chance(k ? &second : &law, id[c], hazard_edge_days[b], b + 1 < STRETCHES ? hazard_edge_days[b + 1] : INFINITY);
  assert_true(after > 1000);
  chi_square(seen[0], want[0], STRETCHES * CODES, N, 46.96); /* 27 degrees of freedom, 1 % point */
  chi_square(seen[1], want[1], STRETCHES * CODES, after, 46.96);
  qsort(wait, N, sizeof *wait, by_double);
  for (int i = 0; i < N; i++) {
    double cdf = slow_chance(&law, 0, 0, wait[i]);
    worst = fmax(worst, fmax(fabs(cdf - (double)i / N), fabs(cdf - (double)(i + 1) / N)));
  }
  assert_true(worst < 1.63 / sqrt(N)); /* 1 % point */
  double all = 0, spent = 0;           /* up to 28 days each code comes at its own rate on average */
  for (int i = 0; i < 28000; i++) spent += (1 - slow_chance(&law, 0, 0, (i + 0.5) * 1e-3)) * 1e-3;
  for (int c = 0; c < CODES; c++) {
    double comes = slow_chance(&law, id[c], 0, 28);
    assert_true(fabs(comes / spent - exp((double)log_rate[id[c]])) < 1e-4 * comes / spent);
    all += comes;
  }
  assert_true(fabs(all - slow_chance(&law, 0, 0, 28)) < 1e-9);
  for (int k = 0; k < 3; k++) {
    double chance[CODES], days = k == 0 ? 0.5 : k == 1 ? 12 : 300, exact = 0, moved = 0;
    MUST(predict_next(p, 1, DAY(1), id, CODES, days, chance, &f.e));
    for (int c = 0; c < CODES; c++) {
      exact = slow_chance(&law, id[c], 0, days);
      assert_true(fabs(chance[c] - exact) < 1e-5);
      moved = fmax(moved, fabs(exact - exp((double)log_rate[id[c]]) / total_rate(&f) * -expm1(-total_rate(&f) * days)));
    }
    if (k < 2) assert_true(moved > 0.005); /* the test would see rates that stand still */
  }
  free(wait);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

/* The target and death alone can come: the anticipated hazard of every single future is the closed form, piece by piece of the moving rate; the
 * integrated one and the share are it within their errors. */
static void test_estimators_know_that_rates_move(void **state) {
  (void)state;
  enum { N = 4000 };
  struct fixture f;
  struct arena a;
  struct predictor *p;
  struct sample plain, few;
  struct slow_law law;
  struct watch w;
  arena_init(&a, 0, 0);
  open_single(&f, true);
  bias_only(&f);
  uint32_t target, death = vocabulary_death(f.v), codes = vocabulary_codes(f.v);
  float log_rate[24], log_hazard[24 * HAZARD_BINS] = {0};
  bool had[24] = {false};
  uint64_t seed = 3;
  assert_true(vocabulary_find(f.v, STR("DX//4"), &target));
  for (uint32_t k = 0; k < codes; k++)
    log_rate[k] = f.m->weight[f.m->rates_bias + (ptrdiff_t)k] = k == target ? -3.0f : k == death ? -4.0f : -80.0f;
  for (uint32_t b = 0; b < HAZARD_BINS; b++) {
    uint32_t o = (uint32_t)vocabulary_at(f.v, target)->outcome;
    log_hazard[o * HAZARD_BINS + b] = f.m->weight[f.m->hazard_bias + (ptrdiff_t)(b * f.m->config.outcomes + o)] = -1 - 2 * (float)b;
  }
  slow_law(&f, log_rate, log_hazard, had, 28, &law);
  double want = slow_chance(&law, target, 0, 5), still = exp(-3.0) / (exp(-3.0) + exp(-4.0)) * -expm1(-5 * (exp(-3.0) + exp(-4.0)));
  assert_true(fabs(want - still) > 0.02);
  struct timeline_view v = timeline_view(f.store, 1);
  struct life life = {.view = &v, .index = 1, .events = predict_prefix(&v, DAY(1)), .now = DAY(1)};
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(watch_one(&p->shape, target, 5, &a, &w, &f.e));
  struct sample_options o = {.count = N, .steps = PREDICT_STEPS, .threads = 2, .horizon_days = 5, .watch = &w, .watches = 1};
  MUST(predict_sample(p, &life, &seed, 1, &o, &a, &plain, &f.e));
  MUST(predict_anticipated(p, &w, &life, &seed, 1, 20, 2, &a, &few, &f.e));
  double met = 0;
  for (int i = 0; i < N; i++) met += plain.met[i];
  for (int i = 0; i < 20; i++) assert_true(fabs(few.value[i] - want) < 1e-5);
  struct estimate integrated = estimate_integrated(plain.value, plain.met, N, 1);
  assert_true(fabs(met / N - want) < 3.5 * sqrt(want * (1 - want) / N));
  assert_true(fabs(integrated.mean - want) < 3.5 * integrated.se);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

/* Sets: with the training data's ties a sampled instant holds as many events on average as a real one. */
static void test_sets(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  fixture_open(&f, 40, 60);
  bias_only(&f);
  f.m->weight[f.m->rates_bias + (ptrdiff_t)vocabulary_death(f.v)] = -30;
  struct predictor *p;
  struct futures x;
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(predict_futures(p, 1, INT64_MAX, 300, 60, 5, &a, &x, &f.e));
  double events = 0, instants = 0;
  for (int i = 0; i < 300; i++)
    for (int k = 0; k < x.n[i]; k++) {
      events++;
      if (k == 0 || x.path[i][k].days != x.path[i][k - 1].days) instants++;
      for (int j = k - 1; j >= 0 && x.path[i][j].days == x.path[i][k].days; j--) assert_int_not_equal(x.path[i][j].code, x.path[i][k].code);
    }
  double want = vocabulary_instant_events(f.v);
  assert_true(want > 1.5 && events / instants > 1.2 && events / instants < want * 1.05); /* less: repeats within a set are dropped */
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

/* Paths that hit the most instants are counted, not hidden. */
static void test_cut(void **state) {
  (void)state;
  struct fixture f;
  struct arena a;
  arena_init(&a, 0, 0);
  open_single(&f, true);
  bias_only(&f);
  f.m->weight[f.m->rates_bias + (ptrdiff_t)vocabulary_death(f.v)] = -30;
  struct predictor *p;
  struct futures x;
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  MUST(predict_futures(p, 1, INT64_MAX, 5, 36525, 5, &a, &x, &f.e));
  assert_int_equal(x.cut, 5);
  assert_int_equal(predict_futures(p, 1, INT64_MAX, 0, 10, 5, &a, &x, &f.e), E_USAGE);
  assert_int_equal(predict_futures(p, 1, INT64_MAX, 5, NAN, 5, &a, &x, &f.e), E_USAGE);
  assert_int_equal(predict_futures(p, 1000, INT64_MAX, 5, 10, 5, &a, &x, &f.e), E_NOTFOUND);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_exponential_law),
                                     cmocka_unit_test(test_rates_move_within_a_wait),
                                     cmocka_unit_test(test_estimators_know_that_rates_move),
                                     cmocka_unit_test(test_seeds),
                                     cmocka_unit_test(test_decoding_matches_forward),
                                     cmocka_unit_test(test_futures_without_a_cache),
                                     cmocka_unit_test(test_sets),
                                     cmocka_unit_test(test_cut),
                                     cmocka_unit_test(test_company_does_not_matter),
                                     cmocka_unit_test(test_long_and_cancelled)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
