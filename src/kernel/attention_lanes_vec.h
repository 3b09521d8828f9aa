/* Private: attention of many small heads over vec.h: a register holds one number of VW heads, so that heads of 10 fill their lanes, no sum crosses
 * them and short sequences need no padding. Rows of a sequence are turned so once; then all is products of small matrices of registers, a few rows
 * with all keys that they can see at a time. With registers of 8 numbers it is slower than strips (0.6 to 0.8 times): AVX-512 only. Included by
 * attention_vec.h.
 */
#ifndef KERNEL_ATTENTION_LANES_VEC_H
#define KERNEL_ATTENTION_LANES_VEC_H
#include "kernel/attention_strip_vec.h"

/* Beyond LANES_LONGEST rows strips, which fill all lanes with keys, go back faster; forward a row's bits may not depend on how many follow */
enum { LANES_ROWS = 4, LANES_COLUMNS = 4, LANES_LONGEST = 192 };
_Static_assert(VW == ATTENTION_LANES_WIDTH, "a head is turned in one square of registers");

struct lanes { /* one sequence and up to VW heads; lengths in registers */
  struct strip s;
  int head, n, d, dw;                    /* first head; heads; head size, and padded to pairs */
  float *q, *dout, *sum, *score, *weigh; /* of LANES_ROWS rows */
  float *k, *v, *dk, *dv;                /* (rows, dw) */
};

static bool lanes_fit(const struct attention *a) {
  return a->d <= ATTENTION_LANES_WIDTH && a->heads == a->kv_heads && a->heads > VW / 2; /* more than half of the lanes work */
}

static void lanes_plan(struct lanes *l, const struct attention *a, int index, bool back) {
  float *at = a->scratch;
  memset(l, 0, sizeof *l);
  l->s = (struct strip){.a = a, .begin = a->start[index], .t = a->start[index + 1] - a->start[index]};
  l->d = a->d, l->dw = (a->d + 1) / 2 * 2;
  size_t t = (size_t)(l->s.t + LANES_COLUMNS - 1) / LANES_COLUMNS * LANES_COLUMNS, rows = t * (size_t)l->dw * VW;
  size_t few = (size_t)(LANES_ROWS * l->dw * VW);
  l->s.low = (int32_t *)(void *)take(&at, t);
  l->s.high = (int32_t *)(void *)take(&at, t);
  l->q = take(&at, few), l->sum = take(&at, few), l->score = take(&at, LANES_ROWS * t * VW);
  l->k = take(&at, rows), l->v = take(&at, rows);
  if (back) l->dout = take(&at, few), l->weigh = take(&at, LANES_ROWS * t * VW), l->dk = take(&at, rows), l->dv = take(&at, rows);
}

/* Rows of the heads times `scale` to registers, and back: rows (+)= registers times factor[row * step]. Rows lie far apart: the next ones are
 * called for. */
static void lanes_take(const struct lanes *l, int rows, float scale, const float *src, ptrdiff_t stride, float *to) {
  vf k = v_set1(scale), t[VW];
  for (src += l->head * l->d; rows > 0; rows--, src += stride, to += l->dw * VW) {
    for (int i = 0; i < l->n * l->d; i += VW) __builtin_prefetch(src + 4 * stride + i);
    UNROLL for (int h = 0; h < VW; h++) { t[h] = h < l->n ? v_load_n(src + h * l->d, l->d) : v_zero(); }
    v_transpose(t);
    UNROLL for (int i = 0; i < VW; i++) {
      if (i < l->d) v_store(to + i * VW, v_mul(t[i], k));
    }
  }
}
static void lanes_give(const struct lanes *l, int rows, const float *from, const float *factor, int step, float *to, ptrdiff_t stride,
                       bool add) {
  vf t[VW];
  for (to += l->head * l->d; rows > 0; rows--, from += l->dw * VW, factor += step, to += stride) {
    vf k = v_load(factor);
    UNROLL for (int i = 0; i < VW; i++) { t[i] = i < l->d ? v_mul(v_load(from + i * VW), k) : v_zero(); }
    v_transpose(t);
    UNROLL for (int h = 0; h < VW; h++) { /* all loads before the first store: to the processor they overlap */
      if (add && h < l->n) t[h] = v_add(v_load_n(to + h * l->d, l->d), t[h]);
    }
    UNROLL for (int h = 0; h < VW; h++) {
      if (h < l->n) v_store_n(to + h * l->d, t[h], l->d);
    }
  }
}

struct lanes_operand { /* element (row, column) lies row * r + column * c registers on */
  const float *at;
  ptrdiff_t r, c;
};
VINLINE void lanes_block(const int n, int k, struct lanes_operand a, struct lanes_operand b, float *c, ptrdiff_t stride, bool add) {
  vf acc[LANES_ROWS][LANES_COLUMNS];
  UNROLL for (int r = 0; r < LANES_ROWS; r++) {
    UNROLL for (int j = 0; j < n; j++) { acc[r][j] = add ? v_load(c + (r * stride + j) * VW) : v_zero(); }
  }
  for (; k > 0; k--, a.at += a.c * VW, b.at += b.r * VW) {
    vf x[LANES_ROWS];
    UNROLL for (int r = 0; r < LANES_ROWS; r++) { x[r] = v_load(a.at + r * a.r * VW); }
    UNROLL for (int j = 0; j < n; j++) {
      vf y = v_load(b.at + j * b.c * VW);
      UNROLL for (int r = 0; r < LANES_ROWS; r++) { acc[r][j] = v_fma(x[r], y, acc[r][j]); }
    }
  }
  UNROLL for (int r = 0; r < LANES_ROWS; r++) {
    UNROLL for (int j = 0; j < n; j++) { v_store(c + (r * stride + j) * VW, acc[r][j]); }
  }
}
/* C (m, n) (+)= A (m, k) B (k, n); m is rounded up to LANES_ROWS, n to 2: what lies there is read and written too */
static void lanes_product(int m, int n, int k, struct lanes_operand a, struct lanes_operand b, float *c, ptrdiff_t stride, bool add) {
  for (int i = 0; i < m; i += LANES_ROWS, a.at += LANES_ROWS * a.r * VW, c += LANES_ROWS * stride * VW) {
    struct lanes_operand some = b;
    int j = 0;
    for (; j + LANES_COLUMNS <= n; j += LANES_COLUMNS, some.at += LANES_COLUMNS * b.c * VW)
      lanes_block(LANES_COLUMNS, k, a, some, c + j * VW, stride, add);
    for (; j < n; j += 2, some.at += 2 * b.c * VW) lanes_block(2, k, a, some, c + j * VW, stride, add);
  }
}

VINLINE vm lanes_seen(const struct strip *s, int r, int j) { return v_first((j >= s->low[r] && j < s->high[r]) || j == r ? VW : 0); }

/* What some rows see together: keys [first, end), and the same in whole columns of scores */
struct lanes_span {
  int first, end, n;
};
VINLINE struct lanes_span lanes_span(const struct lanes *l, int i, int rows) {
  struct span at = block_span(&l->s, i, rows);
  int first = at.first * NR;
  return (struct lanes_span){first, at.end, (at.end - first + LANES_COLUMNS - 1) / LANES_COLUMNS * LANES_COLUMNS};
}

static void lanes_forward_rows(const struct lanes *l, int i) {
  const struct attention *a = l->s.a;
  int rows = l->s.t - i < LANES_ROWS ? l->s.t - i : LANES_ROWS, dw = l->dw;
  size_t row = (size_t)(l->s.begin + i);
  struct lanes_span at = lanes_span(l, i, rows);
  float factor[LANES_ROWS * VW], max[VW], sums[VW];
  lanes_take(l, rows, a->scale, a->q + row * (size_t)a->q_stride, a->q_stride, l->q);
  lanes_product(LANES_ROWS, at.n, l->d, (struct lanes_operand){l->q, dw, 1}, (struct lanes_operand){l->k + at.first * dw * VW, 1, dw},
                l->score, at.n, false);
  for (int r = 0; r < rows; r++) {
    float *score = l->score + r * at.n * VW;
    vf top = v_set1(-INFINITY), sum = v_zero();
    for (int j = 0; j < at.n; j++) {
      vf x = v_select(lanes_seen(&l->s, i + r, at.first + j), v_load(score + j * VW), v_set1(-INFINITY));
      v_store(score + j * VW, x);
      top = v_max(x, top);
    }
    for (int j = 0; j < at.n; j++) {
      vf x = v_exp(v_sub(v_load(score + j * VW), top));
      v_store(score + j * VW, x);
      sum = v_add(sum, x);
    }
    v_store(max, top), v_store(sums, sum), v_store(factor + r * VW, v_div(v_set1(1.0f), sum));
    float *lse = a->lse + (row + (size_t)r) * (size_t)a->heads + l->head;
    for (int h = 0; h < l->n; h++) lse[h] = max[h] + logf(sums[h]);
  }
  lanes_product(LANES_ROWS, dw, at.end - at.first, (struct lanes_operand){l->score, at.n, 1},
                (struct lanes_operand){l->v + at.first * dw * VW, dw, 1}, l->sum, dw, false);
  lanes_give(l, rows, l->sum, factor, VW, a->out + row * (size_t)a->out_stride, a->out_stride, false);
}

/* The group of heads from `head` on: its keys and values in registers */
static void lanes_begin(struct lanes *l, int head) {
  const struct attention *a = l->s.a;
  size_t begin = (size_t)l->s.begin;
  l->head = head, l->n = a->heads - head < VW ? a->heads - head : VW;
  lanes_take(l, l->s.t, 1, a->k + begin * (size_t)a->k_stride, a->k_stride, l->k);
  lanes_take(l, l->s.t, 1, a->v + begin * (size_t)a->v_stride, a->v_stride, l->v);
}

/* false: this sequence is none for lanes */
static bool lanes_forward(const struct attention *a, int index) {
  struct lanes l;
  if (!lanes_fit(a)) return false;
  lanes_plan(&l, a, index, false);
  if (!strip_bounds(&l.s)) return false;
  for (int head = 0; head < a->heads; head += VW) {
    lanes_begin(&l, head);
    for (int i = a->skip; i < l.s.t; i += LANES_ROWS) lanes_forward_rows(&l, i);
  }
  return true;
}

static void lanes_backward_rows(const struct lanes *l, const struct attention_back *b, int i) {
  const struct attention *a = l->s.a;
  int rows = l->s.t - i < LANES_ROWS ? l->s.t - i : LANES_ROWS, dw = l->dw;
  size_t row = (size_t)(l->s.begin + i);
  struct lanes_span at = lanes_span(l, i, rows);
  ptrdiff_t from = at.first * dw * VW;
  struct lanes_operand q = {l->q, dw, 1}, dout = {l->dout, dw, 1}, k = {l->k + from, dw, 1}, score = {l->score, at.n, 1};
  float scale[VW];
  v_store(scale, v_set1(a->scale));
  lanes_take(l, rows, a->scale, a->q + row * (size_t)a->q_stride, a->q_stride, l->q);
  lanes_take(l, rows, 1, b->dout + row * (size_t)a->out_stride, a->out_stride, l->dout);
  lanes_product(LANES_ROWS, at.n, l->d, q, (struct lanes_operand){l->k + from, 1, dw}, l->score, at.n, false);
  lanes_product(LANES_ROWS, at.n, l->d, dout, (struct lanes_operand){l->v + from, 1, dw}, l->weigh, at.n, false);
  for (int r = 0; r < rows; r++) {
    float *p = l->score + r * at.n * VW, *dp = l->weigh + r * at.n * VW;
    vf lse = v_load_n(a->lse + (row + (size_t)r) * (size_t)a->heads + l->head, l->n), delta = v_zero();
    for (int j = 0; j < at.n; j++) {
      vm seen = lanes_seen(&l->s, i + r, at.first + j);
      vf x = v_select(seen, v_exp(v_sub(v_load(p + j * VW), lse)), v_zero()), y = v_select(seen, v_load(dp + j * VW), v_zero());
      v_store(p + j * VW, x), v_store(dp + j * VW, y);
      delta = v_fma(x, y, delta); /* the same number as dot(dout, out) */
    }
    for (int j = 0; j < at.n; j++) v_store(dp + j * VW, v_mul(v_load(p + j * VW), v_sub(v_load(dp + j * VW), delta)));
  }
  lanes_product(LANES_ROWS, dw, at.end - at.first, (struct lanes_operand){l->weigh, at.n, 1}, k, l->sum, dw, false);
  lanes_give(l, rows, l->sum, scale, 0, b->dq + row * (size_t)a->q_stride, a->q_stride, true);
  lanes_product(at.n, dw, rows, (struct lanes_operand){l->weigh, 1, at.n}, q, l->dk + from, dw, true);
  score.r = 1, score.c = at.n;
  lanes_product(at.n, dw, rows, score, dout, l->dv + from, dw, true);
}

static bool lanes_backward(const struct attention_back *b, int index) {
  const struct attention *a = &b->f;
  float one[VW];
  struct lanes l;
  if (!lanes_fit(a) || a->start[index + 1] - a->start[index] > LANES_LONGEST) return false;
  lanes_plan(&l, a, index, true);
  if (!strip_bounds(&l.s)) return false;
  v_store(one, v_set1(1));
  for (int head = 0; head < a->heads; head += VW) {
    lanes_begin(&l, head);
    memset(l.dk, 0, sizeof(float) * (size_t)(l.dv - l.dk) * 2);
    for (int i = 0; i < l.s.t; i += LANES_ROWS) lanes_backward_rows(&l, b, i);
    lanes_give(&l, l.s.t, l.dk, one, 0, b->dk + (size_t)l.s.begin * (size_t)a->k_stride, a->k_stride, true);
    lanes_give(&l, l.s.t, l.dv, one, 0, b->dv + (size_t)l.s.begin * (size_t)a->v_stride, a->v_stride, true);
  }
  return true;
}
#endif
