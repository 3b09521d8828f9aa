/* Private: attention of one new row per stream against its cache, over vec.h. A block's keys lie with 16 positions in a row, so scores need
 * no sums across a register; neighbouring streams with one prefix share each load of it. Every stream's sums run in the same order
 * whoever its neighbours are. The including file defines V(name).
 */
#ifndef KERNEL_ATTENTION_DECODE_VEC_H
#define KERNEL_ATTENTION_DECODE_VEC_H
#include "kernel/kernel_columns.h"
#include "kernel/vec.h"

struct decode_job { /* up to DECODE_GROUP streams, one head, one list of rows */
  const float *const *block;
  size_t at; /* floats to the head's keys */
  int from, n, d;
  float scale;
  const float *q[DECODE_GROUP];
  float *score[DECODE_GROUP]; /* by row number: score[s][0] is row 0's */
  float *out[DECODE_GROUP];
};

/* scores of two registers of positions, whose keys are at k0 and k1 */
VINLINE void decode_pair(const int S, const struct decode_job *g, const float *k0, const float *k1, int row0, int row1) {
  vf acc[DECODE_GROUP][2], scale = v_set1(g->scale);
  UNROLL for (int s = 0; s < S; s++) { acc[s][0] = acc[s][1] = v_zero(); }
  for (int i = 0; i < g->d; i++, k0 += DECODE_ROWS, k1 += DECODE_ROWS) {
    vf a = v_load(k0), b = v_load(k1);
    UNROLL for (int s = 0; s < S; s++) {
      vf x = v_set1(g->q[s][i]);
      acc[s][0] = v_fma(x, a, acc[s][0]);
      acc[s][1] = v_fma(x, b, acc[s][1]);
    }
  }
  UNROLL for (int s = 0; s < S; s++) {
    v_store(g->score[s] + row0, v_mul(acc[s][0], scale));
    v_store(g->score[s] + row1, v_mul(acc[s][1], scale));
  }
}

VINLINE void decode_scores(const int S, const struct decode_job *g) {
  int last = (g->n + DECODE_ROWS - 1) / DECODE_ROWS;
  for (int b = g->from / DECODE_ROWS; b < last; b++) {
    const float *k = g->block[b] + g->at;
    if (VW < DECODE_ROWS) {
      decode_pair(S, g, k, k + VW % DECODE_ROWS, b * DECODE_ROWS, b * DECODE_ROWS + VW);
    } else if (b + 1 < last) {
      decode_pair(S, g, k, g->block[b + 1] + g->at, b * DECODE_ROWS, (b + 1) * DECODE_ROWS);
      b++;
    } else {
      decode_pair(S, g, k, k, b * DECODE_ROWS, b * DECODE_ROWS);
    }
  }
}

/* out[s][i0 .. i0 + w) += sum over rows of score * value: even and odd rows are two chains */
VINLINE void decode_columns(const int S, const int nv, const struct decode_job *g, int i0, int w) {
  vf acc[DECODE_GROUP][2][2];
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int v = 0; v < nv; v++) {
    acc[s][v][0] = v_load_n(g->out[s] + i0 + v * VW, v == nv - 1 ? w - v * VW : VW);
    acc[s][v][1] = v_zero();
  }
  for (int j = g->from & ~1; j < g->n; j += 2) {
    const float *x = g->block[j / DECODE_ROWS] + g->at + (size_t)(DECODE_ROWS + j % DECODE_ROWS) * (size_t)g->d + i0;
    const int rows = j + 1 < g->n ? 2 : 1;
    for (int r = 0; r < rows; r++, x += g->d) {
      vf value[2];
      UNROLL for (int v = 0; v < nv; v++) { value[v] = v_load_n(x + v * VW, v == nv - 1 ? w - v * VW : VW); }
      UNROLL for (int s = 0; s < S; s++) {
        vf p = v_set1(g->score[s][j + r]);
        UNROLL for (int v = 0; v < nv; v++) { acc[s][v][r] = v_fma(p, value[v], acc[s][v][r]); }
      }
    }
  }
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int v = 0; v < nv; v++) {
    v_store_n(g->out[s] + i0 + v * VW, v_add(acc[s][v][0], acc[s][v][1]), v == nv - 1 ? w - v * VW : VW);
  }
}

VINLINE void decode_values(const int S, const struct decode_job *g) {
  int i = 0;
  for (; i + VW < g->d; i += 2 * VW) decode_columns(S, 2, g, i, g->d - i < 2 * VW ? g->d - i : 2 * VW);
  if (i < g->d) decode_columns(S, 1, g, i, g->d - i);
}

#define DECODE_OF(S)                                                                 \
  static void decode_scores_##S(const struct decode_job *g) { decode_scores(S, g); } \
  static void decode_values_##S(const struct decode_job *g) { decode_values(S, g); }
DECODE_OF(1)
DECODE_OF(2)
DECODE_OF(3)
DECODE_OF(4)
static void (*const decode_scores_of[])(const struct decode_job *) = {decode_scores_1, decode_scores_2, decode_scores_3, decode_scores_4};
static void (*const decode_values_of[])(const struct decode_job *) = {decode_values_1, decode_values_2, decode_values_3, decode_values_4};

static void decode_hide(float *score, int from, int to) {
  for (int j = from; j < to; j++) score[j] = -INFINITY;
}

/* n is a multiple of DECODE_ROWS; scores become weights, their sum is returned */
static float decode_softmax(float *score, int n) {
  vf top = v_set1(-INFINITY), sum = v_zero();
  for (int j = 0; j < n; j += VW) top = v_max(v_load(score + j), top);
  vf shift = v_set1(v_max_all(top));
  for (int j = 0; j < n; j += VW) {
    vf e = v_exp(v_sub(v_load(score + j), shift));
    v_store(score + j, e);
    sum = v_add(sum, e);
  }
  return v_sum(sum);
}

static int decode_padded(int n) { return (n + DECODE_ROWS - 1) / DECODE_ROWS * DECODE_ROWS; }

/* One head of S streams with the same prefix blocks */
static void decode_head(const struct attention_decode *a, int first, int S, int h) {
  const struct decode_rows *p = a->prefix + first, *own = a->own + first;
  struct decode_job shared = {.block = p->block, .n = p->n, .from = p->n, .d = a->d, .scale = a->scale}, mine = shared;
  int np = decode_padded(p->n), longest = 0;
  shared.at = mine.at = a->at + (size_t)(h * a->kv_heads / a->heads) * 2 * DECODE_ROWS * (size_t)a->d;
  for (int s = 0; s < S; s++) {
    if (p[s].from < shared.from) shared.from = p[s].from;
    if (own[s].n > longest) longest = own[s].n;
  }
  size_t stride = (size_t)np + (size_t)decode_padded(longest);
  int start = shared.from / DECODE_ROWS * DECODE_ROWS;
  for (int s = 0; s < S; s++) {
    shared.q[s] = a->q + (ptrdiff_t)(first + s) * a->q_stride + (ptrdiff_t)h * a->d;
    shared.out[s] = a->out + (ptrdiff_t)(first + s) * a->out_stride + (ptrdiff_t)h * a->d;
    shared.score[s] = a->scratch + (size_t)s * stride;
    for (int i = 0; i < a->d; i += VW) v_store_n(shared.out[s] + i, v_zero(), a->d - i < VW ? a->d - i : VW);
  }
  if (shared.from < p->n) decode_scores_of[S - 1](&shared);
  float inverse[DECODE_GROUP];
  for (int s = 0; s < S; s++) {
    int n = decode_padded(own[s].n);
    mine.block = own[s].block, mine.from = own[s].from, mine.n = own[s].n;
    mine.q[0] = shared.q[s], mine.score[0] = shared.score[s] + np;
    decode_scores_1(&mine);
    decode_hide(shared.score[s], start, p[s].from);
    decode_hide(shared.score[s], p[s].hide, p[s].show);
    decode_hide(shared.score[s], p[s].n, np);
    decode_hide(mine.score[0], 0, own[s].from);
    decode_hide(mine.score[0], own[s].hide, own[s].show);
    decode_hide(mine.score[0], own[s].n, n);
    inverse[s] = 1.0f / decode_softmax(shared.score[s] + start, np - start + n);
  }
  if (shared.from < p->n) decode_values_of[S - 1](&shared);
  for (int s = 0; s < S; s++) {
    mine.block = own[s].block, mine.from = own[s].from, mine.n = own[s].n;
    mine.score[0] = shared.score[s] + np, mine.out[0] = shared.out[s];
    decode_values_1(&mine);
    for (int i = 0; i < a->d; i += VW) {
      int w = a->d - i < VW ? a->d - i : VW;
      v_store_n(shared.out[s] + i, v_mul(v_load_n(shared.out[s] + i, w), v_set1(inverse[s])), w);
    }
  }
}

void V(attention_decode)(const struct attention_decode *a) {
  for (int first = 0, S; first < a->streams; first += S) {
    for (S = 1; S < DECODE_GROUP && first + S < a->streams; S++) {
      const struct decode_rows *p = &a->prefix[first], *other = &a->prefix[first + S];
      if (other->block != p->block || other->n != p->n) break;
    }
    for (int h = 0; h < a->heads; h++) decode_head(a, first, S, h);
  }
}
#endif
