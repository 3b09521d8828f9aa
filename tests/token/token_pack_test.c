#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "token/fake_timeline.h"
#include "token/token.h"

#define DAY(n) ((int64_t)(n)*TIME_DAY)

/* Random lives with ties, statics, births (some), unknown codes, values; times in whole hours. */
static struct timeline *random_store(uint64_t seed, int people, int length) {
  struct timeline *t = fake_new(NULL);
  struct rng r;
  rng_init(&r, seed, 0);
  for (int s = 1; s <= people; s++) {
    if (s % 5) fake_add(t, s, DAY(-15000), "MEDS_BIRTH", NAN);
    fake_add(t, s, TIME_STATIC, s % 2 ? "GENDER//F" : "GENDER//M", NAN);
    fake_add(t, s, TIME_STATIC, "HEIGHT", 150.0f + (float)rng_below(&r, 50));
    int64_t at = DAY(100);
    for (int k = 0; k < length; k++) {
      if (rng_below(&r, 3)) at += (int64_t)rng_below(&r, 200) * TIME_HOUR;
      char name[32];
      uint32_t c = rng_below(&r, 12);
      snprintf(name, sizeof name, c < 4 ? "LAB//%u" : "DX//%u", c);
      fake_add(t, s, at, c == 11 && s > 2 ? "DX//2" : c == 11 ? "RARE" : name, c < 4 ? (float)rng_normal(&r) * 10 : NAN);
    }
    if (s % 3 == 0) fake_add(t, s, at + DAY(3), "MEDS_DEATH", NAN);
  }
  fake_seal(t);
  return t;
}

struct fixture {
  struct timeline *t;
  struct vocabulary *v;
  struct token_map *m;
  struct token_batch b;
};
static void open_fixture(struct fixture *f, struct timeline *t) {
  struct error e = {0};
  f->t = t;
  assert_int_equal(vocabulary_build(t, NULL, &f->v, &e), OK);
  assert_int_equal(token_map_new(f->v, t, &f->m, &e), OK);
  assert_int_equal(token_batch_init(&f->b, 256 << 20, &e), OK);
}
static void close_fixture(struct fixture *f) {
  token_batch_release(&f->b);
  token_map_free(f->m);
  vocabulary_free(f->v);
  fake_free(f->t);
}

static bool birth(const struct fixture *f, uint32_t code) { return strcmp(f->t->name[code], "MEDS_BIRTH") == 0; }

/* The inputs of one position, rebuilt from the view in the slowest way. */
static void check_entries(const struct fixture *f, const struct timeline_view *v, uint32_t from, uint32_t to, int row) {
  const struct token_batch *b = &f->b;
  int at = b->entry_start[row];
  for (uint32_t k = from; k < to; k++) {
    if (birth(f, v->code[k])) continue;
    uint32_t id = 0;
    struct str name = timeline_code_name(f->t, v->code[k]);
    if (!vocabulary_find(f->v, name, &id)) id = 0;
    const struct vocabulary_entry *n = vocabulary_at(f->v, id);
    assert_int_equal(b->entry_id[at], id);
    assert_true(b->entry_weight[at++] == 1.0f);
    if (n->knots < 2 || isnan(v->value[k])) continue;
    int low = b->entry_id[at] - (int)n->knot_row;
    float w0 = b->entry_weight[at], w1 = b->entry_weight[at + 1];
    assert_true(low >= 0 && low + 1 < n->knots && b->entry_id[at + 1] == b->entry_id[at] + 1);
    assert_float_equal(w0 + w1, 1.0f, 1e-6);
    float want = fminf(fmaxf(v->value[k], n->knot[0]), n->knot[n->knots - 1]);
    assert_float_equal(w0 * n->knot[low] + w1 * n->knot[low + 1], want, 1e-4);
    at += 2;
  }
  assert_int_equal(at, b->entry_start[row + 1]);
}

static void check_targets(const struct fixture *f, const struct timeline_view *v, int row, int64_t end, bool whole) {
  const struct token_batch *b = &f->b;
  int at = b->target_start[row];
  int64_t next = INT64_MAX, t = b->time[row];
  uint32_t id;
  for (uint32_t k = v->statics; k < v->n && next == INT64_MAX; k++)
    if (v->time[k] > t && !birth(f, v->code[k]) && vocabulary_find(f->v, timeline_code_name(f->t, v->code[k]), &id)) next = v->time[k];
  assert_float_equal(b->tail_days[row], (double)(end - t) / (double)TIME_DAY, 1e-3);
  if (next == INT64_MAX) {
    assert_int_equal(b->target_start[row + 1], at);
    assert_true(isnan(b->gap_days[row]));
    return;
  }
  assert_float_equal(b->gap_days[row], (double)(next - t) / (double)TIME_DAY, 1e-4);
  for (uint32_t k = v->statics; k < v->n && whole; k++) {
    if (v->time[k] != next || birth(f, v->code[k]) || !vocabulary_find(f->v, timeline_code_name(f->t, v->code[k]), &id)) continue;
    assert_int_equal(b->target_id[at], id);
    const struct vocabulary_entry *n = vocabulary_at(f->v, id);
    assert_int_equal(isnan(b->target_knot[at]), n->knots < 2 || isnan(v->value[k]));
    if (n->knots >= 2) assert_true(b->target_knot[at] >= 0 && b->target_knot[at] <= (float)(n->knots - 1));
    at++;
  }
  assert_int_equal(at, b->target_start[row + 1]);
}

static void test_instants(void **state) {
  (void)state;
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, random_store(1, 40, 60));
  struct token_options o = {.pack = PACK_INSTANT, .context = 10000, .want_targets = true};
  for (uint32_t s = 0; s < timeline_subjects(f.t); s++) {
    struct timeline_view v = timeline_view(f.t, s);
    int row = f.b.positions;
    assert_int_equal(token_pack(f.v, f.m, &v, s, v.n, INT64_MIN, &o, &f.b, &e), OK);
    assert_int_equal(f.b.seq_start[s], row);
    assert_int_equal(f.b.subject_index[s], s);
    int64_t end = v.time[v.n - 1], first = 0;
    assert_int_equal(f.b.end_time[s], end);
    check_entries(&f, &v, 0, v.statics, row);
    int r = row + 1;
    for (uint32_t k = v.statics; k < v.n;) {
      uint32_t to = k;
      while (to < v.n && v.time[to] == v.time[k]) to++;
      if (!birth(&f, v.code[k])) {
        if (!first) first = v.time[k];
        assert_int_equal(f.b.time[r], v.time[k]);
        check_entries(&f, &v, k, to, r);
        check_targets(&f, &v, r, end, true);
        assert_true(f.b.rope_index[r] == (float)(r - row));
        assert_float_equal(f.b.rope_time[r], log1p((double)(v.time[k] - first) / (double)TIME_HOUR), 1e-4);
        assert_float_equal(f.b.age_years[r], ((s + 1) % 5 ? (double)(v.time[k] - DAY(-15000)) / (double)TIME_YEAR : 0.0), 1e-4);
        r++;
      }
      k = to;
    }
    assert_int_equal(f.b.time[row], first);
    check_targets(&f, &v, row, end, true);
    assert_int_equal(r, f.b.positions);
    for (uint32_t q = 0; q < vocabulary_outcomes(f.v); q++) { /* first occurrence of every outcome in the whole life */
      int64_t when = INT64_MAX;
      for (uint32_t k = v.n; k-- > 0;) {
        uint32_t id;
        if (vocabulary_find(f.v, timeline_code_name(f.t, v.code[k]), &id) && id == vocabulary_outcome_code(f.v, q)) when = v.time[k];
      }
      assert_int_equal(f.b.outcome_first[s * vocabulary_outcomes(f.v) + q], when);
    }
  }
  close_fixture(&f);
}

static void test_events(void **state) {
  (void)state;
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, random_store(2, 30, 80));
  struct token_options o = {.pack = PACK_EVENT, .context = 10000, .want_targets = true};
  for (uint32_t s = 0; s < timeline_subjects(f.t); s++) {
    struct timeline_view v = timeline_view(f.t, s);
    token_batch_clear(&f.b);
    assert_int_equal(token_pack(f.v, f.m, &v, s, v.n, INT64_MIN, &o, &f.b, &e), OK);
    int r = 1;
    for (uint32_t k = v.statics; k < v.n; k++) {
      if (birth(&f, v.code[k])) continue;
      const float *x = f.b.time_feature + r * TOKEN_TIME_FEATURES;
      assert_int_equal(f.b.time[r], v.time[k]);
      assert_true(x[20] == (v.time[k] == f.b.time[1])); /* first instant; tied with the position before */
      assert_true(x[19] == (r > 1 && v.time[k] == v.time[k - 1] && v.time[k] != f.b.time[1]));
      check_entries(&f, &v, k, k + 1, r);
      check_targets(&f, &v, r, v.time[v.n - 1], true);
      r++;
    }
    assert_int_equal(r, f.b.positions);
  }
  close_fixture(&f);
}

/* An instant of many events in PACK_EVENT: every target is dealt out, none more than fair. */
static void test_large_ties(void **state) {
  (void)state;
  struct timeline *t = fake_new(NULL);
  for (int s = 1; s <= 6; s++)
    for (int k = 0; k < 100; k++) {
      char name[16];
      snprintf(name, sizeof name, "C//%02d", k);
      fake_add(t, s, DAY(1), name, NAN);
      fake_add(t, s, DAY(2), name, NAN);
    }
  fake_seal(t);
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, t);
  struct timeline_view v = timeline_view(t, 0);
  assert_int_equal(token_pack(f.v, f.m, &v, 0, v.n, INT64_MIN, &(struct token_options){PACK_EVENT, 1000, true}, &f.b, &e), OK);
  int seen[128] = {0}, total = 0;
  for (int r = 1; r <= 100; r++) {
    int n = f.b.target_start[r + 1] - f.b.target_start[r];
    assert_int_equal(n, TOKEN_EVENT_TARGETS);
    for (int j = f.b.target_start[r]; j < f.b.target_start[r + 1]; j++) seen[f.b.target_id[j]]++, total++;
  }
  for (int id = 1; id <= 100; id++) assert_in_range(seen[id], total / 100 - 1, total / 100 + 1);
  close_fixture(&f);
}

static void copy_inputs(const struct token_batch *b, struct buf *out) {
  buf_put(out, b->seq_start, (size_t)(b->sequences + 1) * sizeof *b->seq_start);
  buf_put(out, b->time, (size_t)b->positions * sizeof *b->time);
  buf_put(out, b->age_years, (size_t)b->positions * sizeof *b->age_years);
  buf_put(out, b->entry_start, (size_t)(b->positions + 1) * sizeof *b->entry_start);
  buf_put(out, b->entry_id, (size_t)b->entries * sizeof *b->entry_id);
  buf_put(out, b->entry_weight, (size_t)b->entries * sizeof *b->entry_weight);
  buf_put(out, b->time_feature, (size_t)b->positions * TOKEN_TIME_FEATURES * sizeof *b->time_feature);
  buf_put(out, b->rope_index, (size_t)b->positions * sizeof *b->rope_index);
  buf_put(out, b->rope_time, (size_t)b->positions * sizeof *b->rope_time);
}

/* A prefix of a life gives the same input bits as the life that ends there: nothing later can leak in. */
static void test_prefix(void **state) {
  (void)state;
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, random_store(3, 12, 50));
  struct timeline *cut = fake_new(NULL);
  struct timeline_view v = timeline_view(f.t, 4);
  uint32_t events = v.n - 20;
  while (v.time[events] == v.time[events - 1]) events--;
  int64_t now = v.time[events - 1] + 7 * TIME_MINUTE;
  for (uint32_t k = 0; k < events; k++) fake_add(cut, v.subject, v.time[k], f.t->name[v.code[k]], v.value[k]);
  fake_seal(cut);
  struct token_map *m;
  assert_int_equal(token_map_new(f.v, cut, &m, &e), OK);
  struct timeline_view c = timeline_view(cut, 0);
  for (int mode = 0; mode < 4; mode++) {
    struct token_options o = {.pack = mode & 1 ? PACK_EVENT : PACK_INSTANT, .context = mode & 2 ? 9 : 500};
    struct buf whole = {0}, part = {0};
    token_batch_clear(&f.b);
    assert_int_equal(token_pack(f.v, f.m, &v, 4, events, now, &o, &f.b, &e), OK);
    copy_inputs(&f.b, &whole);
    if (mode & 2) assert_int_equal(f.b.positions, 9);
    token_batch_clear(&f.b);
    assert_int_equal(token_pack(f.v, m, &c, 4, c.n, now, &o, &f.b, &e), OK);
    copy_inputs(&f.b, &part);
    assert_true(whole.n == part.n && memcmp(whole.p, part.p, part.n) == 0);
    int last = f.b.positions - 1; /* the moment: nothing but time */
    assert_int_equal(f.b.time[last], now);
    assert_int_equal(f.b.entry_start[last], f.b.entry_start[last + 1]);
    assert_true(f.b.time_feature[last * TOKEN_TIME_FEATURES + 1] == 1.0f);
    buf_release(&whole);
    buf_release(&part);
  }
  assert_int_equal(token_pack(f.v, f.m, &v, 4, events, v.time[events - 1] - 1, &(struct token_options){PACK_INSTANT, 50, false}, &f.b, &e),
                   E_USAGE);
  token_map_free(m);
  fake_free(cut);
  close_fixture(&f);
}

/* The window keeps the static position and the latest ones, whose features do not change by the cut. */
static void test_window(void **state) {
  (void)state;
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, random_store(4, 10, 100));
  struct timeline_view v = timeline_view(f.t, 1);
  for (int mode = 0; mode < 2; mode++) {
    struct token_options o = {.pack = mode ? PACK_EVENT : PACK_INSTANT, .context = 1000, .want_targets = true};
    token_batch_clear(&f.b);
    assert_int_equal(token_pack(f.v, f.m, &v, 1, v.n, INT64_MIN, &o, &f.b, &e), OK);
    int all = f.b.positions;
    o.context = 12;
    assert_int_equal(token_pack(f.v, f.m, &v, 1, v.n, INT64_MIN, &o, &f.b, &e), OK);
    assert_int_equal(f.b.positions - all, 12);
    for (int k = 0; k < 12; k++) {
      int a = k ? all - 12 + k : 0, b = all + k;
      assert_int_equal(f.b.time[a], f.b.time[b]);
      assert_memory_equal(f.b.time_feature + a * TOKEN_TIME_FEATURES, f.b.time_feature + b * TOKEN_TIME_FEATURES,
                          TOKEN_TIME_FEATURES * sizeof(float));
      assert_int_equal(f.b.entry_start[a + 1] - f.b.entry_start[a], f.b.entry_start[b + 1] - f.b.entry_start[b]);
      assert_int_equal(f.b.target_start[a + 1] - f.b.target_start[a], f.b.target_start[b + 1] - f.b.target_start[b]);
      assert_memory_equal(f.b.target_id + f.b.target_start[a], f.b.target_id + f.b.target_start[b],
                          (size_t)(f.b.target_start[a + 1] - f.b.target_start[a]) * sizeof(int32_t));
    }
  }
  close_fixture(&f);
}

static void test_edges(void **state) {
  (void)state;
  struct timeline *t = random_store(5, 10, 30);
  fake_add(t, 900, TIME_STATIC, "GENDER//F", NAN);  /* static facts only */
  fake_add(t, 901, DAY(-20000), "MEDS_BIRTH", NAN); /* birth only */
  fake_add(t, 902, DAY(3), "NEVER//SEEN", NAN);
  fake_seal(t);
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, t);
  struct token_options o = {.pack = PACK_INSTANT, .context = 16, .want_targets = true};
  for (int64_t id = 900; id <= 902; id++) {
    uint32_t s = 0;
    assert_int_equal(timeline_find(t, id, &s, &e), OK);
    struct timeline_view v = timeline_view(t, s);
    token_batch_clear(&f.b);
    assert_int_equal(token_pack(f.v, f.m, &v, s, v.n, INT64_MIN, &o, &f.b, &e), OK);
    assert_int_equal(f.b.positions, id == 902 ? 2 : 1);
    assert_int_equal(f.b.targets, 0);
    if (id == 902) assert_int_equal(f.b.entry_id[f.b.entry_start[1]], TOKEN_UNKNOWN);
    token_batch_clear(&f.b);
    assert_int_equal(token_pack(f.v, f.m, &v, s, v.n, DAY(40), &o, &f.b, &e), OK);
    assert_int_equal(f.b.positions, id == 902 ? 3 : 2);
    assert_int_equal(token_pack(f.v, f.m, &v, s, 0, DAY(40), &o, &f.b, &e), OK); /* nothing known at all */
    for (int i = 0; i < f.b.positions * TOKEN_TIME_FEATURES; i++)
      assert_true(isfinite(f.b.time_feature[i]) && fabsf(f.b.time_feature[i]) <= 2.0f);
  }
  o.context = 2;
  struct timeline_view v = timeline_view(t, 0);
  assert_int_equal(token_pack(f.v, f.m, &v, 0, v.n, INT64_MIN, &o, &f.b, &e), E_USAGE);
  o.context = 16;
  o.want_targets = false;
  assert_int_equal(token_pack(f.v, f.m, &v, 0, v.n, INT64_MIN, &o, &f.b, &e), E_USAGE); /* this batch holds targets */
  close_fixture(&f);
}

static void test_features_of_time(void **state) {
  (void)state;
  struct timeline *t = random_store(6, 10, 30);
  fake_add(t, 50, DAY(-20000), "MEDS_BIRTH", NAN);
  fake_add(t, 50, DAY(10), "DX//5", NAN);
  fake_add(t, 50, DAY(10) + 6 * TIME_HOUR, "DX//5", NAN);
  fake_add(t, 50, DAY(4000000), "DX//5", NAN); /* absurd dates stay bounded */
  fake_seal(t);
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, t);
  uint32_t s = 0;
  assert_int_equal(timeline_find(t, 50, &s, &e), OK);
  struct timeline_view v = timeline_view(t, s);
  assert_int_equal(token_pack(f.v, f.m, &v, s, v.n, INT64_MIN, &(struct token_options){PACK_INSTANT, 16, false}, &f.b, &e), OK);
  const float *x = f.b.time_feature;
  enum { F = TOKEN_TIME_FEATURES };
  assert_true(x[0] == 1 && x[F] == 0);                          /* static position */
  assert_true(x[2] == 1 && x[F + 3] == 0 && x[2 * F + 3] == 1); /* birth known; midnight = no time of day; 06:00 has one */
  assert_float_equal(x[2 * F + 17], 1.0, 1e-6);                 /* sin of a quarter day */
  assert_float_equal(x[2 * F + 15], log1p(6.0) / 10, 1e-6);     /* six hours */
  assert_float_equal(x[F + 4], 20010 / 365.25 / 100, 1e-6);
  for (int k = 0; k < 5; k++) assert_float_equal(x[F + 5 + 2 * k], sin(2 * M_PI * (1 << k) / 120 * 20010 / 365.25), 1e-5);
  assert_true(x[F + 20] == 1 && x[2 * F + 20] == 0);
  for (int i = 0; i < f.b.positions * F; i++) assert_true(isfinite(x[i]) && fabsf(x[i]) <= 2.0f);
  close_fixture(&f);
}

/* A generated position has the bits that packing the same event would have given. */
static void test_next(void **state) {
  (void)state;
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, random_store(7, 10, 30));
  struct timeline_view v = timeline_view(f.t, 2);
  struct token_options o = {.pack = PACK_EVENT, .context = 500};
  assert_int_equal(token_pack(f.v, f.m, &v, 2, v.n, INT64_MIN, &o, &f.b, &e), OK);
  int64_t born, first, last;
  token_life_times(f.m, &v, v.n, &born, &first, &last);
  uint32_t id = token_map_id(f.m, v.code[v.n - 1]);
  const struct vocabulary_entry *n = vocabulary_at(f.v, id);
  float knot = NAN;
  if (n->knots >= 2 && !isnan(v.value[v.n - 1])) {
    int low;
    token_knot(n, v.value[v.n - 1], &low, &knot);
    knot += (float)low;
  }
  int old = f.b.positions - 1;
  struct token_next next = {born, first, f.b.time[old - 1], f.b.time[old], old, 1, &id, &knot};
  assert_int_equal(token_pack_next(f.v, &next, &f.b, &e), OK);
  assert_int_equal(f.b.sequences, 2);
  int made = f.b.positions - 1;
  assert_memory_equal(f.b.time_feature + old * TOKEN_TIME_FEATURES, f.b.time_feature + made * TOKEN_TIME_FEATURES,
                      TOKEN_TIME_FEATURES * sizeof(float));
  assert_true(f.b.rope_index[old] == f.b.rope_index[made] && f.b.rope_time[old] == f.b.rope_time[made] &&
              f.b.age_years[old] == f.b.age_years[made]);
  int k = f.b.entry_start[old + 1] - f.b.entry_start[old];
  assert_int_equal(k, f.b.entry_start[made + 1] - f.b.entry_start[made]);
  assert_memory_equal(f.b.entry_id + f.b.entry_start[old], f.b.entry_id + f.b.entry_start[made], (size_t)k * sizeof(int32_t));
  close_fixture(&f);
}

static void test_memory(void **state) {
  (void)state;
  struct fixture f;
  struct error e = {0};
  open_fixture(&f, random_store(8, 20, 300));
  struct token_options o = {.pack = PACK_EVENT, .context = 5000, .want_targets = true};
  for (uint32_t s = 0; s < 20; s++) { /* a batch that is cleared and refilled stops growing */
    struct timeline_view v = timeline_view(f.t, s);
    assert_int_equal(token_pack(f.v, f.m, &v, s, v.n, INT64_MIN, &o, &f.b, &e), OK);
  }
  size_t used = f.b.arena.used;
  for (int i = 0; i < 50; i++) {
    token_batch_clear(&f.b);
    for (uint32_t s = 0; s < 20; s++) {
      struct timeline_view v = timeline_view(f.t, s);
      assert_int_equal(token_pack(f.v, f.m, &v, s, v.n, INT64_MIN, &o, &f.b, &e), OK);
    }
  }
  assert_int_equal(f.b.arena.used, used);
  struct timeline_view v = timeline_view(f.t, 0);
  for (long n = 1;; n++) { /* every allocation may fail; the batch stays usable */
    struct token_batch b;
    assert_int_equal(token_batch_init(&b, 64 << 20, &e), OK);
    arena_fail_at(n);
    int rc = token_pack(f.v, f.m, &v, 0, v.n, INT64_MIN, &o, &b, &e);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    if (rc < 0) {
      assert_int_equal(b.sequences, 0);
      assert_int_equal(b.positions, 0);
      assert_int_equal(token_pack(f.v, f.m, &v, 0, v.n, INT64_MIN, &o, &b, &e), OK);
    }
    token_batch_release(&b);
    if (pending) break;
  }
  struct token_batch small;
  assert_int_equal(token_batch_init(&small, 4096, &e), OK);
  assert_int_equal(token_pack(f.v, f.m, &v, 0, v.n, INT64_MIN, &o, &small, &e), E_LIMIT);
  token_batch_release(&small);
  close_fixture(&f);
}

static void test_map(void **state) {
  (void)state;
  struct timeline *t = fake_new(NULL), *other = fake_new(NULL);
  for (int s = 1; s <= 10; s++) fake_add(t, s, DAY(s), "ICD//I50", NAN), fake_add(t, s, DAY(s), "ICD//I51//1", NAN);
  fake_seal(t);
  fake_add(other, 1, 5, "ICD//I50//9//x", NAN);
  fake_add(other, 1, 5, "ICD//I51", NAN);
  fake_add(other, 1, 5, "ICD//I51//1", NAN);
  fake_add(other, 1, 5, "MEDS_BIRTH", NAN);
  fake_seal(other);
  struct error e = {0};
  struct vocabulary *v;
  struct token_map *m;
  assert_int_equal(vocabulary_build(t, NULL, &v, &e), OK);
  assert_int_equal(token_map_new(v, other, &m, &e), OK);
  uint32_t a = 0, b = 0;
  assert_true(vocabulary_find(v, STR("ICD//I50"), &a) && vocabulary_find(v, STR("ICD//I51//1"), &b));
  assert_int_equal(token_map_id(m, 0), a); /* to the longest known ancestor */
  assert_int_equal(token_map_id(m, 1), 0); /* a parent is not its child */
  assert_int_equal(token_map_id(m, 2), b);
  assert_int_equal(token_map_id(m, 3), 0);
  assert_true(token_map_birth(m, 3) && !token_map_birth(m, 2));
  assert_int_equal(token_map_id(m, 77), 0);
  token_map_free(m);
  vocabulary_free(v);
  fake_free(t);
  fake_free(other);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_instants),         cmocka_unit_test(test_events),
                                     cmocka_unit_test(test_large_ties),       cmocka_unit_test(test_prefix),
                                     cmocka_unit_test(test_window),           cmocka_unit_test(test_edges),
                                     cmocka_unit_test(test_features_of_time), cmocka_unit_test(test_next),
                                     cmocka_unit_test(test_memory),           cmocka_unit_test(test_map)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
