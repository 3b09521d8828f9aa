/* Private: what attention_decode_vec.h does with one register's worth of heads: scores of cached rows, their weights, the values' sum. Products are of
 * 16 bits by 8, in pairs, summed in 32: a query is scaled so that no sum passes 2^31 whatever the keys are, and so are the weights of all rows
 * together (15 bits at most). Rows come in groups (kernel_columns.h), whose scores fill two registers (AVX2, few heads: four), even rows first. */
#ifndef KERNEL_DECODE_PART_VEC_H
#define KERNEL_DECODE_PART_VEC_H
#include "kernel/half_vec.h"
#include "kernel/kernel_columns.h"

enum { DECODE_COLUMNS = VW == 16 ? 5 : 2 }; /* registers of values summed together */
#define DECODE_MOST 32767.0f
#define DECODE_SUM 1.68e7f /* 127 times so much stays below 2^31 */

struct decode_list { /* groups that somebody sees, in order */
  const int8_t **at;
  int n, begin[2], end[2]; /* they are [begin[0], end[0]) and [begin[1], end[1]) of the cache's */
};
struct decode_part {             /* the heads that the lanes of a register hold; of N queries */
  size_t at, side;               /* bytes from a group to this part; of a row's keys */
  int lanes, few, step;          /* heads from a number to its next in the cache; of this part; bytes from register to register */
  int rows, shift, keys, values; /* rows of a group; log2 of them; registers */
  int out_step, out_lanes;       /* floats from register to register, and of one that are wanted */
  bool together;                 /* the queries are of one stream: they share their own rows too */
  struct decode_list shared, own[DECODE_GROUP];
  size_t layer, bytes;      /* from a block to this layer; of a group */
  int32_t *q[DECODE_GROUP]; /* pairs of numbers */
  float *score[DECODE_GROUP], *out[DECODE_GROUP];
  float scale[DECODE_GROUP][VW]; /* of the queries, so that scores are exponents of 2 */
};

/* `wide`: more heads than 8, a register holds one number of each; known when compiled, as these loops are short */
VINLINE int decode_few(const struct decode_part *c, const bool wide) { return wide ? VW : c->few; }
VINLINE int decode_even(const bool wide) { return wide ? VW : 16; } /* scores of a group's even rows */
VINLINE const uint16_t *decode_scales(const struct decode_part *c, const bool wide, const int8_t *group, bool values) {
  const int rows = wide ? 2 : c->rows;
  return (const uint16_t *)(const void *)(group + 2 * (size_t)rows * c->side) + (values ? rows * c->lanes : 0);
}

/* Scores of N queries with a list's rows, from `at` on */
VINLINE void decode_scores(const int N, const bool wide, const struct decode_part *c, const struct decode_list *g, int first, int at) {
  const int keys = c->keys, rows = wide ? 2 : c->rows, few = decode_few(c, wide), even = decode_even(wide), lanes = c->lanes;
  const size_t side = c->side, part = c->at;
  const ptrdiff_t step = c->step;
  const int32_t *q[DECODE_GROUP];
  float *score[DECODE_GROUP];
  vf scale[DECODE_GROUP];
  UNROLL for (int n = 0; n < N; n++) q[n] = c->q[first + n], score[n] = c->score[first + n] + at, scale[n] = v_load(c->scale[first + n]);
  for (int i = 0; i < g->n; i++) {
    const int8_t *group = g->at[i] + part, *k = group;
    for (int j = 0; j < rows; j += 2, k += 2 * side) {
      vi acc[DECODE_GROUP][2];
      UNROLL for (int n = 0; n < N; n++) acc[n][0] = acc[n][1] = vi_set1(0);
      for (int r = 0; r < keys; r++) {
        vi key[2] = {vi_bytes(k + r * step), vi_bytes(k + r * step + side)};
        UNROLL for (int n = 0; n < N; n++) {
          vi x = vi_load(q[n] + r * VW);
          acc[n][0] = vi_dot(acc[n][0], x, key[0]), acc[n][1] = vi_dot(acc[n][1], x, key[1]);
        }
      }
      UNROLL for (int odd = 0; odd < 2; odd++) {
        vf of = wide ? v_half(decode_scales(c, wide, group, false) + odd * lanes) : v_set1(1.0f);
        UNROLL for (int n = 0; n < N; n++) {
          vf x = v_mul(v_mul(vi_float(acc[n][odd]), scale[n]), of);
          if (wide)
            v_store(score[n] + odd * even, x);
          else
            v_store_n(score[n] + odd * even + j / 2 * few, v_fold(x, few, false), few);
        }
      }
    }
    for (int x = 0; x < 2 * even && !wide; x += VW) {
      vf of = v_half(decode_scales(c, wide, group, false) + x);
      UNROLL for (int n = 0; n < N; n++) v_store(score[n] + x, v_mul(v_load(score[n] + x), of));
    }
    UNROLL for (int n = 0; n < N; n++) score[n] += 2 * even;
  }
}

static int decode_rows_seen(const struct decode_rows *r) { return r->hide - r->from + r->n - r->show; }

/* Rows of a list's groups that a stream does not see */
VINLINE void decode_hide(const bool wide, const struct decode_part *c, const struct decode_list *g, const struct decode_rows *r,
                         float *score) {
  const int gap[3][2] = {{0, r->from}, {r->hide, r->show}, {r->n, INT32_MAX}}, rows = wide ? 2 : c->rows, few = decode_few(c, wide);
  if (decode_rows_seen(r) == g->n * rows) return;
  for (int part = 0; part < 2; part++) {
    const int begin = g->begin[part] * rows, end = g->end[part] * rows;
    for (int i = 0; i < 3; i++)
      for (int j = gap[i][0] > begin ? gap[i][0] : begin; j < gap[i][1] && j < end; j++) {
        int at = j - begin;
        v_store_n(score + (2 * (at / rows) + at % 2) * decode_even(wide) + at % rows / 2 * few, v_set1(-INFINITY), few);
      }
    score += 2 * (g->end[part] - g->begin[part]) * decode_even(wide);
  }
}

struct decode_sums {
  vf weight[2], most[2]; /* sum of weights; largest weight times its values' scale; of even and odd rows */
};
/* Scores of a list become weights times their values' scales */
VINLINE void decode_exponentials(const bool wide, const struct decode_part *c, const struct decode_list *g, float *score, vf top,
                                 struct decode_sums *s) {
  const int even = decode_even(wide), lanes = wide ? c->lanes : 16;
  const size_t part = c->at;
  for (int i = 0; i < g->n; i++, score += 2 * even) {
    const uint16_t *of = decode_scales(c, wide, g->at[i] + part, true);
    UNROLL for (int odd = 0; odd < 2; odd++) UNROLL for (int x = 0; x < even; x += VW) {
      vf e = v_exp2(v_sub(v_load(score + odd * even + x), top)), scaled = v_mul(e, v_half(of + odd * lanes + x));
      v_store(score + odd * even + x, scaled);
      s->weight[odd] = v_add(s->weight[odd], e), s->most[odd] = v_max(scaled, s->most[odd]);
    }
  }
}

/* Scores become weights of 16 bits, pairs of rows, at the same place; returns what to multiply their sums by. seen: rows that this stream sees; how
 * many its neighbours see beside them may change nothing. */
VINLINE vf decode_softmax(const bool wide, const struct decode_part *c, const struct decode_list *own, int seen, float *score) {
  const int few = decode_few(c, wide), even = decode_even(wide), groups = c->shared.n + own->n;
  vf top[2] = {v_set1(-INFINITY), v_set1(-INFINITY)};
  struct decode_sums s = {{v_zero(), v_zero()}, {v_zero(), v_zero()}};
  for (int i = 0; i < groups; i++)
    UNROLL for (int odd = 0; odd < 2; odd++) UNROLL for (int x = 0; x < even; x += VW) top[odd] =
        v_max(v_load(score + (2 * i + odd) * even + x), top[odd]);
  top[0] = v_fold(v_max(top[0], top[1]), few, true);
  decode_exponentials(wide, c, &c->shared, score, top[0], &s);
  decode_exponentials(wide, c, own, score + 2 * c->shared.n * even, top[0], &s);
  vf most = v_fold(v_max(s.most[0], s.most[1]), few, true), sum = v_fold(v_add(s.weight[0], s.weight[1]), few, false);
  const float each = DECODE_SUM / (float)seen;
  vf by = v_div(v_set1(each < DECODE_MOST ? each : DECODE_MOST), most);
  for (int i = 0; i < groups; i++) UNROLL for (int x = 0; x < even; x += VW) {
      const float *p = score + 2 * i * even + x;
      vi_store((int32_t *)(void *)score + i * even + x, vi_pair(vi_round(v_mul(v_load(p), by)), vi_round(v_mul(v_load(p + even), by))));
    }
  return v_div(v_set1(1.0f), v_mul(by, sum));
}

VINLINE void decode_weigh(const int N, const int C, const bool wide, const struct decode_part *c, const struct decode_list *g, int column,
                          int first, int at, vi acc[DECODE_GROUP][DECODE_COLUMNS]) {
  const int rows = wide ? 2 : c->rows, few = decode_few(c, wide);
  const ptrdiff_t step = c->step;
  const size_t side = c->side, part = c->at + (size_t)rows * side + (size_t)(column * step);
  const int32_t *p[DECODE_GROUP];
  UNROLL for (int n = 0; n < N; n++) p[n] = (const int32_t *)(const void *)c->score[first + n] + at;
  for (int i = 0; i < g->n; i++) {
    const int8_t *v = g->at[i] + part;
    for (int j = 0; j < rows; j += 2, v += 2 * side) {
      vi value[DECODE_COLUMNS];
      UNROLL for (int x = 0; x < C; x++) value[x] = vi_bytes(v + x * step);
      UNROLL for (int n = 0; n < N; n++) {
        vi w = vi_repeat(p[n], few);
        p[n] += few;
        UNROLL for (int x = 0; x < C; x++) acc[n][x] = vi_dot(acc[n][x], w, value[x]);
      }
    }
  }
}

VINLINE void decode_columns(const int N, const int C, const bool wide, const struct decode_part *c, int column, const vf *by) {
  vi acc[DECODE_GROUP][DECODE_COLUMNS];
  const int at = c->shared.n * decode_even(wide);
  UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < C; i++) acc[n][i] = vi_set1(0);
  decode_weigh(N, C, wide, c, &c->shared, column, 0, 0, acc);
  if (c->together) {
    decode_weigh(N, C, wide, c, &c->own[0], column, 0, at, acc);
  } else {
    UNROLL for (int n = 0; n < N; n++) decode_weigh(1, C, wide, c, &c->own[n], column, n, at, acc + n);
  }
  UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < C; i++)
      v_store_n(c->out[n] + (ptrdiff_t)(column + i) * c->out_step, v_mul(vi_float(acc[n][i]), by[n]), c->out_lanes);
}

VINLINE void decode_values(const int N, const bool wide, const struct decode_part *c, const vf *by) {
  int column = 0;
  for (; column + DECODE_COLUMNS <= c->values; column += DECODE_COLUMNS) decode_columns(N, DECODE_COLUMNS, wide, c, column, by);
  switch (c->values - column) {
#ifdef __AVX512F__
    case 4: decode_columns(N, 4, wide, c, column, by); break;
    case 3: decode_columns(N, 3, wide, c, column, by); break;
    case 2: decode_columns(N, 2, wide, c, column, by); break;
#endif
    case 1: decode_columns(N, 1, wide, c, column, by); break;
  }
}

/* past, own: what each stream sees */
VINLINE void decode_part(const int N, const bool wide, const struct decode_part *c, const struct decode_rows *past,
                         const struct decode_rows *own) {
  const int shared = 2 * c->shared.n * decode_even(wide);
  vf by[DECODE_GROUP];
  decode_scores(N, wide, c, &c->shared, 0, 0);
  if (c->together) decode_scores(N, wide, c, &c->own[0], 0, shared);
  UNROLL for (int n = 0; n < N; n++) {
    const int s = c->together ? 0 : n;
    if (!c->together) decode_scores(1, wide, c, &c->own[n], n, shared);
    decode_hide(wide, c, &c->shared, &past[s], c->score[n]);
    decode_hide(wide, c, &c->own[s], &own[s], c->score[n] + shared);
    by[n] = decode_softmax(wide, c, &c->own[s], decode_rows_seen(&past[s]) + decode_rows_seen(&own[s]), c->score[n]);
  }
  decode_values(N, wide, c, by);
}

typedef void decode_function(const struct decode_part *, const struct decode_rows *, const struct decode_rows *);
#define DECODE_OF(name, N, wide)                                                                                    \
  static void name##N(const struct decode_part *c, const struct decode_rows *past, const struct decode_rows *own) { \
    decode_part(N, wide, c, past, own);                                                                             \
  }
DECODE_OF(decode_few_, 1, false)
DECODE_OF(decode_few_, 2, false)
DECODE_OF(decode_few_, 3, false)
DECODE_OF(decode_few_, 4, false)
DECODE_OF(decode_wide_, 1, true)
DECODE_OF(decode_wide_, 2, true)
DECODE_OF(decode_wide_, 3, true)
DECODE_OF(decode_wide_, 4, true)
static decode_function *const decode_of[2][DECODE_GROUP] = {{decode_few_1, decode_few_2, decode_few_3, decode_few_4},
                                                            {decode_wide_1, decode_wide_2, decode_wide_3, decode_wide_4}};
#endif
