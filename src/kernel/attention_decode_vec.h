/* Private: attention of one new row per stream against its cache, over vec.h. A block's keys and values lie with 16 positions in a row, so that
 * every lane works whatever the head's size, and only the values' sums go across a register, once a head. Neighbouring streams with one prefix
 * share each load of it. Every stream's sums run in the same order whoever its neighbours are. The including file defines V(name).
 */
#ifndef KERNEL_ATTENTION_DECODE_VEC_H
#define KERNEL_ATTENTION_DECODE_VEC_H
#include "kernel/half_vec.h"
#include "kernel/kernel_columns.h"

enum { DECODE_PARTS = DECODE_ROWS / VW }; /* registers of a block's row */

struct decode_list { /* blocks of rows of one head */
  const uint16_t *const *block;
  size_t at;        /* to the head's keys */
  int from, end, d; /* blocks [from, end) */
};
struct decode_job { /* one head of up to DECODE_GROUP streams that share a prefix */
  struct decode_list shared, own[DECODE_GROUP];
  float scale;
  const float *q[DECODE_GROUP];
  float *score[DECODE_GROUP]; /* of the first shared block; the stream's own follow those of the last */
  float inverse[DECODE_GROUP];
  float *out[DECODE_GROUP];
};

/* Scores of S streams with `blocks` blocks from b on */
VINLINE void decode_scores(const int S, const int blocks, const struct decode_list *g, int b, float scale, const float *const *q,
                           float *const *score, int at) {
  vf acc[DECODE_GROUP][2 * DECODE_PARTS];
  const uint16_t *k[2];
  UNROLL for (int n = 0; n < blocks; n++) k[n] = g->block[b + n] + g->at;
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int n = 0; n < blocks * DECODE_PARTS; n++) acc[s][n] = v_zero();
  for (int i = 0; i < g->d; i++) {
    vf key[2 * DECODE_PARTS];
    UNROLL for (int n = 0; n < blocks * DECODE_PARTS; n++) key[n] = v_half(k[n / DECODE_PARTS] + i * DECODE_ROWS + n % DECODE_PARTS * VW);
    UNROLL for (int s = 0; s < S; s++) {
      vf x = v_set1(q[s][i]);
      UNROLL for (int n = 0; n < blocks * DECODE_PARTS; n++) acc[s][n] = v_fma(x, key[n], acc[s][n]);
    }
  }
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int n = 0; n < blocks * DECODE_PARTS; n++)
      v_store(score[s] + at + n * VW, v_mul(acc[s][n], v_set1(scale)));
}

VINLINE void decode_list_scores(const int S, const struct decode_list *g, float scale, const float *const *q, float *const *score, int at) {
  int b = g->from;
  for (; b + 2 <= g->end; b += 2, at += 2 * DECODE_ROWS) decode_scores(S, 2, g, b, scale, q, score, at);
  if (b < g->end) decode_scores(S, 1, g, b, scale, q, score, at);
}

/* The part of n <= 4 columns' sums that one list adds: lanes of acc[s][c] are positions */
VINLINE void decode_list_values(const int S, const int n, const struct decode_list *g, int column, float *const *score, int at,
                                vf acc[DECODE_GROUP][4]) {
  for (int b = g->from; b < g->end; b++, at += DECODE_ROWS) {
    const uint16_t *v = g->block[b] + g->at + (size_t)(g->d + column) * DECODE_ROWS;
    UNROLL for (int part = 0; part < DECODE_PARTS; part++) {
      vf value[4];
      UNROLL for (int c = 0; c < n; c++) value[c] = v_half(v + c * DECODE_ROWS + part * VW);
      UNROLL for (int s = 0; s < S; s++) {
        vf p = v_load(score[s] + at + part * VW);
        UNROLL for (int c = 0; c < n; c++) acc[s][c] = v_fma(p, value[c], acc[s][c]);
      }
    }
  }
}

VINLINE void decode_columns(const int S, const int n, const struct decode_job *j, int column) {
  vf acc[DECODE_GROUP][4];
  const int mine = (j->shared.end - j->shared.from) * DECODE_ROWS;
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int c = 0; c < 4; c++) acc[s][c] = v_zero();
  decode_list_values(S, n, &j->shared, column, j->score, 0, acc);
  UNROLL for (int s = 0; s < S; s++) {
    decode_list_values(1, n, &j->own[s], column, j->score + s, mine, acc + s);
    __m128 sum = _mm_mul_ps(v_sum4(acc[s]), _mm_set1_ps(j->inverse[s]));
    float *out = j->out[s] + column;
    if (n == 4) {
      _mm_storeu_ps(out, sum);
    } else {
      float four[4];
      _mm_storeu_ps(four, sum);
      UNROLL for (int c = 0; c < n; c++) out[c] = four[c];
    }
  }
}

VINLINE void decode_values(const int S, const struct decode_job *j) {
  int column = 0, d = j->shared.d;
  for (; column + 4 <= d; column += 4) decode_columns(S, 4, j, column);
  if (d - column == 3) decode_columns(S, 3, j, column);
  if (d - column == 2) decode_columns(S, 2, j, column);
  if (d - column == 1) decode_columns(S, 1, j, column);
}

/* What a list adds to the largest score; rows that the stream does not see get -inf. Masks, not stores of single scores: a register loaded
 * over a smaller store waits for it. */
VINLINE vf decode_seen(const struct decode_rows *r, const struct decode_list *g, float *score, vf top) {
  const vi n = vi_set1(r->n), from = vi_set1(r->from), hide = vi_set1(r->hide), show = vi_set1(r->show);
  for (int j = g->from * DECODE_ROWS; j < g->end * DECODE_ROWS; j += VW, score += VW) {
    vi row = vi_add(vi_iota(), vi_set1(j));
    vm unseen = vm_or(vi_ge(row, n), vm_andnot(vi_ge(row, show), vi_ge(row, hide)));
    vf x = v_select(vm_andnot(unseen, vi_ge(row, from)), v_load(score), v_set1(-INFINITY));
    v_store(score, x);
    top = v_max(x, top);
  }
  return top;
}

/* n is a multiple of DECODE_ROWS; scores become weights, 1 / their sum is returned */
VINLINE float decode_softmax(float *score, int n, vf top) {
  vf shift = v_set1(v_max_all(top)), sum = v_zero();
  for (int j = 0; j < n; j += VW) {
    vf e = v_exp(v_sub(v_load(score + j), shift));
    v_store(score + j, e);
    sum = v_add(sum, e);
  }
  return 1.0f / v_sum(sum);
}

static struct decode_list decode_list_of(const struct decode_rows *r, size_t at, int from, int d) {
  int end = (r->n + DECODE_ROWS - 1) / DECODE_ROWS, first = from / DECODE_ROWS;
  return (struct decode_list){.block = r->block, .at = at, .from = first < end ? first : end, .end = end, .d = d};
}

VINLINE void decode_head(const int S, const struct attention_decode *a, int first, int h) {
  const struct decode_rows *p = a->prefix + first, *own = a->own + first;
  struct decode_job j = {.scale = a->scale};
  size_t at = a->at + (size_t)(h * a->kv_heads / a->heads) * 2 * DECODE_ROWS * (size_t)a->d;
  int from = p->n, longest = 0;
  UNROLL for (int s = 0; s < S; s++) {
    j.own[s] = decode_list_of(&own[s], at, own[s].from, a->d);
    int mine = j.own[s].end - j.own[s].from;
    if (p[s].from < from) from = p[s].from;
    if (mine > longest) longest = mine;
  }
  j.shared = decode_list_of(p, at, from, a->d);
  int shared = (j.shared.end - j.shared.from) * DECODE_ROWS, stride = shared + longest * DECODE_ROWS;
  UNROLL for (int s = 0; s < S; s++) {
    j.q[s] = a->q + (ptrdiff_t)(first + s) * a->q_stride + (ptrdiff_t)h * a->d;
    j.out[s] = a->out + (ptrdiff_t)(first + s) * a->out_stride + (ptrdiff_t)h * a->d;
    j.score[s] = a->scratch + (ptrdiff_t)s * stride;
  }
  decode_list_scores(S, &j.shared, j.scale, j.q, j.score, 0);
  UNROLL for (int s = 0; s < S; s++) {
    decode_list_scores(1, &j.own[s], j.scale, j.q + s, j.score + s, shared);
    vf top = decode_seen(&p[s], &j.shared, j.score[s], v_set1(-INFINITY));
    top = decode_seen(&own[s], &j.own[s], j.score[s] + shared, top);
    j.inverse[s] = decode_softmax(j.score[s], shared + (j.own[s].end - j.own[s].from) * DECODE_ROWS, top);
  }
  decode_values(S, &j);
}

#define DECODE_OF(S) \
  static void decode_head_##S(const struct attention_decode *a, int first, int h) { decode_head(S, a, first, h); }
DECODE_OF(1)
DECODE_OF(2)
DECODE_OF(3)
DECODE_OF(4)
static void (*const decode_head_of[])(const struct attention_decode *, int, int) = {decode_head_1, decode_head_2, decode_head_3,
                                                                                    decode_head_4};

void V(attention_decode)(const struct attention_decode *a) {
  for (int first = 0, S; first < a->streams; first += S) {
    for (S = 1; S < DECODE_GROUP && first + S < a->streams; S++) {
      const struct decode_rows *p = &a->prefix[first], *other = &a->prefix[first + S];
      if (other->block != p->block || other->n != p->n) break;
    }
    for (int h = 0; h < a->heads; h++) decode_head_of[S - 1](a, first, h);
  }
}
#endif
