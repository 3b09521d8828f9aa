/* Private: what attention_decode_vec.h does with one register's worth of heads: scores of a list of cached rows, their weights, the values' sum. */
#ifndef KERNEL_DECODE_PART_VEC_H
#define KERNEL_DECODE_PART_VEC_H
#include "kernel/half_vec.h"
#include "kernel/kernel_columns.h"

enum { DECODE_COLUMNS = VW == 16 ? 5 : 2 }; /* registers of values summed together */

struct decode_list { /* rows [begin[0], end[0]) and [begin[1], end[1]) */
  const int8_t *const *block;
  int begin[2], end[2];
};
struct decode_part {            /* the heads that the lanes of a register hold; of N queries */
  size_t at, row, half, scales; /* bytes: of this part in the layer; of a row; to its values; from either's numbers to their scales */
  int out_step, out_lanes;      /* floats from register to register, and of one that are wanted */
  int step, registers, lanes;   /* bytes from register to register; lanes from a number of a head to its next */
  bool together;                /* the queries are of one stream: they share their own rows too */
  struct decode_list shared, own[DECODE_GROUP];
  const struct decode_rows *next; /* own rows of the `nexts` streams that follow */
  int nexts;
  float *q[DECODE_GROUP], *score[DECODE_GROUP], *out[DECODE_GROUP];
};

VINLINE const int8_t *decode_row_at(const struct decode_part *c, const struct decode_list *g, int j) {
  return g->block[j / DECODE_ROWS] + c->at + (size_t)(j % DECODE_ROWS) * c->row;
}

VINLINE vf decode_scale(const struct decode_part *c, const int8_t *half) {
  return v_half((const uint16_t *)(const void *)(half + c->scales));
}

/* Every lane becomes the sum of the lanes that lie a multiple of n away from it; n = 1, 2, 4, ... */
VINLINE vf v_fold(vf v, int n) {
#ifdef __AVX512F__
  if (n <= 8) v = v_add(v, _mm512_shuffle_f32x4(v, v, 0x4e));
  if (n <= 4) v = v_add(v, _mm512_shuffle_f32x4(v, v, 0xb1));
  if (n <= 2) v = v_add(v, _mm512_permute_ps(v, 0x4e));
  return n == 1 ? v_add(v, _mm512_permute_ps(v, 0xb1)) : v;
#else
  if (n <= 4) v = v_add(v, _mm256_permute2f128_ps(v, v, 1));
  if (n <= 2) v = v_add(v, _mm256_permute_ps(v, 0x4e));
  return n == 1 ? v_add(v, _mm256_permute_ps(v, 0xb1)) : v;
#endif
}

/* Scores of N queries with B rows from j on */
VINLINE void decode_tile(const int N, const int B, const struct decode_part *c, const struct decode_list *g, int j, int first, int at) {
  vf acc[DECODE_GROUP][4];
  const int8_t *k[4];
  UNROLL for (int b = 0; b < B; b++) k[b] = decode_row_at(c, g, j + b);
  UNROLL for (int n = 0; n < N; n++) UNROLL for (int b = 0; b < B; b++) acc[n][b] = v_zero();
  for (int r = 0; r < c->registers; r++) {
    vf key[4];
    UNROLL for (int b = 0; b < B; b++) key[b] = v_bytes(k[b] + (ptrdiff_t)r * c->step);
    UNROLL for (int n = 0; n < N; n++) {
      vf x = v_load(c->q[first + n] + r * VW);
      UNROLL for (int b = 0; b < B; b++) acc[n][b] = v_fma(x, key[b], acc[n][b]);
    }
  }
  UNROLL for (int b = 0; b < B; b++) {
    vf scale = decode_scale(c, k[b]);
    UNROLL for (int n = 0; n < N; n++) v_store(c->score[first + n] + (ptrdiff_t)(at + b) * VW, v_mul(v_fold(acc[n][b], c->lanes), scale));
  }
}

/* A stream's own rows come from the last cache: those of the streams that are next are called for while these are summed, the first half of a row's
 * lines with the scores, the second with the values. */
VINLINE void decode_call(const struct decode_part *c, int n, int j, bool values) {
  if (n >= c->nexts || j >= c->next[n].n) return;
  const int8_t *p = c->next[n].block[j / DECODE_ROWS] + c->at + (size_t)(j % DECODE_ROWS) * c->row;
  size_t middle = (c->row / 2 + 63) / 64 * 64;
  for (size_t i = values ? middle : 0; i < (values ? c->row : middle); i += 64) _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

VINLINE int decode_scores(const int N, const struct decode_part *c, const struct decode_list *g, int first, int at) {
  const int B = N > 2 ? 2 : 4;
  for (int part = 0; part < 2; part++) {
    int j = g->begin[part];
    for (; j + B <= g->end[part]; j += B, at += B) {
      UNROLL for (int b = 0; b < B && N == 1; b++) decode_call(c, first, j + b, false);
      decode_tile(N, B, c, g, j, first, at);
    }
    for (; j < g->end[part]; j++, at++) decode_tile(N, 1, c, g, j, first, at);
  }
  return at;
}

/* Rows of the shared list that a stream does not see */
static void decode_hide(const struct decode_list *all, const struct decode_list *mine, float *score) {
  const int gap[2][2] = {{all->begin[0], mine->begin[0]}, {mine->end[0], mine->begin[1]}};
  for (int i = 0; i < 2; i++)
    for (int j = gap[i][0]; j < gap[i][1]; j++) {
      if (j >= all->end[0] && j < all->begin[1]) j = all->begin[1];
      if (j >= gap[i][1]) break;
      v_store(score + (ptrdiff_t)(j < all->end[0] ? j - all->begin[0] : j - all->begin[1] + all->end[0] - all->begin[0]) * VW,
              v_set1(-INFINITY));
    }
}

/* Scores become weights; returns 1 / their sum */
VINLINE vf decode_softmax(float *score, int n) {
  vf top = v_set1(-INFINITY), sum = v_zero();
  for (int j = 0; j < n; j++) top = v_max(v_load(score + (ptrdiff_t)j * VW), top);
  for (int j = 0; j < n; j++) {
    vf e = v_exp(v_sub(v_load(score + (ptrdiff_t)j * VW), top));
    v_store(score + (ptrdiff_t)j * VW, e);
    sum = v_add(sum, e);
  }
  return v_div(v_set1(1.0f), sum);
}

VINLINE int decode_weigh(const int N, const int C, const struct decode_part *c, const struct decode_list *g, int column, int first, int at,
                         vf acc[DECODE_GROUP][DECODE_COLUMNS]) {
  for (int part = 0; part < 2; part++)
    for (int j = g->begin[part]; j < g->end[part]; j++, at++) {
      const int8_t *v = decode_row_at(c, g, j) + c->half;
      if (N == 1 && column == 0) decode_call(c, first, j, true);
      vf value[DECODE_COLUMNS], scale = decode_scale(c, v);
      UNROLL for (int i = 0; i < C; i++) value[i] = v_bytes(v + (ptrdiff_t)(column + i) * c->step);
      UNROLL for (int n = 0; n < N; n++) {
        vf p = v_mul(v_load(c->score[first + n] + (ptrdiff_t)at * VW), scale);
        UNROLL for (int i = 0; i < C; i++) acc[n][i] = v_fma(p, value[i], acc[n][i]);
      }
    }
  return at;
}

VINLINE void decode_columns(const int N, const int C, const struct decode_part *c, int column, const vf *inverse) {
  vf acc[DECODE_GROUP][DECODE_COLUMNS];
  UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < C; i++) acc[n][i] = v_zero();
  int at = decode_weigh(N, C, c, &c->shared, column, 0, 0, acc);
  if (c->together) {
    decode_weigh(N, C, c, &c->own[0], column, 0, at, acc);
  } else {
    UNROLL for (int n = 0; n < N; n++) decode_weigh(1, C, c, &c->own[n], column, n, at, acc + n);
  }
  UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < C; i++)
      v_store_n(c->out[n] + (ptrdiff_t)(column + i) * c->out_step, v_mul(acc[n][i], inverse[n]), c->out_lanes);
}

VINLINE void decode_values(const int N, const struct decode_part *c, const vf *inverse) {
  int column = 0;
  for (; column + DECODE_COLUMNS <= c->registers; column += DECODE_COLUMNS) decode_columns(N, DECODE_COLUMNS, c, column, inverse);
  switch (c->registers - column) {
#ifdef __AVX512F__
    case 4: decode_columns(N, 4, c, column, inverse); break;
    case 3: decode_columns(N, 3, c, column, inverse); break;
    case 2: decode_columns(N, 2, c, column, inverse); break;
#endif
    case 1: decode_columns(N, 1, c, column, inverse); break;
  }
}

VINLINE void decode_part(const int N, const struct decode_part *c, const struct decode_list *mine) {
  vf inverse[DECODE_GROUP];
  int shared = decode_scores(N, c, &c->shared, 0, 0), all = shared;
  if (c->together) all = decode_scores(N, c, &c->own[0], 0, shared);
  UNROLL for (int n = 0; n < N; n++) {
    if (!c->together) {
      decode_hide(&c->shared, &mine[n], c->score[n]);
      all = decode_scores(1, c, &c->own[n], n, shared);
    }
    inverse[n] = decode_softmax(c->score[n], all);
  }
  decode_values(N, c, inverse);
}

#define DECODE_OF(N) \
  static void decode_part_##N(const struct decode_part *c, const struct decode_list *mine) { decode_part(N, c, mine); }
DECODE_OF(1)
DECODE_OF(2)
DECODE_OF(3)
DECODE_OF(4)
static void (*const decode_part_of[])(const struct decode_part *, const struct decode_list *) = {decode_part_1, decode_part_2,
                                                                                                 decode_part_3, decode_part_4};
#endif
