/* Private: attention backward over vec.h, after the formulas of FlashAttention (Dao et al. 2022): the weights come back from
 * the scores and lse, a block of rows at a time; gradients of keys and values gather in panels over all heads of a group
 * and are added to the caller's at the end. Included after attention_vec.h, which makes the strips.
 */
#ifndef KERNEL_ATTENTION_BACK_VEC_H
#define KERNEL_ATTENTION_BACK_VEC_H
#include "kernel/attention_vec.h"
#ifndef __AVX512F__
static bool lanes_backward(const struct attention_back *b, int index) { return (void)b, (void)index, false; }
#endif

/* Scores and their products to weights P = exp(score - lse) and dS = P (dP - dot(dout, out)) */
static void backward_row(const struct strip *s, int r, float lse, float delta, float *score, float *dscore, struct span at) {
  vf shift = v_set1(lse), minus = v_set1(delta);
  for (int c = at.first; c < at.last; c++, score += QB * NR, dscore += QB * NR) {
    bool whole = inside(s, r, c * NR);
    for (int i = 0; i < NR; i += VW) {
      vf p = v_exp(v_sub(v_load(score + i), shift)), ds = v_mul(p, v_sub(v_load(dscore + i), minus));
      if (!whole) {
        p = visible(p, c * NR + i, s->low[r], s->high[r], r, v_zero());
        ds = visible(ds, c * NR + i, s->low[r], s->high[r], r, v_zero());
      }
      v_store(score + i, p);
      v_store(dscore + i, ds);
    }
  }
}

/* mr rows of `to` (stride NR) += transposed weights (n, mr) times the n rows of the block */
VINLINE void gather_rows(const int mr, const int nv, const float *weight, const float *rows, int n, float *to) {
  vf acc[MR][2];
  UNROLL for (int r = 0; r < mr; r++) {
    acc[r][0] = v_load(to + r * NR);
    acc[r][1] = nv > 1 ? v_load(to + r * NR + VW) : v_zero();
  }
  panel_multiply(acc, mr, nv, 1, NR, weight, rows, NR, n);
  UNROLL for (int r = 0; r < mr; r++) {
    v_store(to + r * NR, acc[r][0]);
    if (nv > 1) v_store(to + r * NR + VW, acc[r][1]);
  }
}
/* One tile, of which `keys` may be seen: NR = MR + MR + (NR - 2 MR) rows */
VINLINE void gather_tile(const int nv, const float *weight, const float *rows, int n, int keys, float *to) {
  gather_rows(MR, nv, weight, rows, n, to);
  if (keys > MR) gather_rows(MR, nv, weight + MR, rows, n, to + MR * NR);
  if (keys > 2 * MR) gather_rows(NR - 2 * MR, nv, weight + 2 * MR, rows, n, to + 2 * MR * NR);
}
static void gather(const struct strip *s, const float *weight, const float *rows, int n, struct span at, float *to) {
  for (int i = 0; i < s->d; i += NR, rows += QB * NR, to += (ptrdiff_t)s->tp * NR) {
    const float *w = weight;
    for (int c = at.first; c < at.last; c++, w += QB * NR) {
      if (s->d - i > VW) {
        gather_tile(2, w, rows, n, at.end - c * NR, to + (ptrdiff_t)c * NR * NR);
      } else {
        gather_tile(1, w, rows, n, at.end - c * NR, to + (ptrdiff_t)c * NR * NR);
      }
    }
  }
}

static float row_dot(int n, const float *x, const float *y) {
  vf s = v_zero();
  for (int i = 0; i < n; i += VW) {
    int w = n - i < VW ? n - i : VW;
    s = v_fma(v_load_n(x + i, w), v_load_n(y + i, w), s);
  }
  return v_sum(s);
}

static void backward_block(const struct strip *s, const struct attention_back *b, int h, int i) {
  const struct attention *a = s->a;
  int n = s->t - i < QB ? s->t - i : QB;
  size_t row = (size_t)(s->begin + i), head = (size_t)h * (size_t)s->d;
  const float *out = a->out + row * (size_t)a->out_stride + head, *dout = b->dout + row * (size_t)a->out_stride + head;
  float factor[MR];
  for (int r = 0; r < MR; r++) factor[r] = a->scale;
  struct span at = block_span(s, i, n);
  pack_block(n, QB, s->d, a->scale, a->q + row * (size_t)a->q_stride + head, a->q_stride, s->q);
  pack_block(n, QB, s->d, 1.0f, dout, a->out_stride, s->dout);
  pack_rows(QB, QB, s->d, s->q, QS, s->qp);
  pack_rows(QB, QB, s->d, s->dout, QS, s->dop);
  for (int m = 0; m < QB && m < n; m += MR) {
    tiles_multiply(s->q + m * QS, s->kt, s->d, at, s->score + m * NR, QB * NR);
    tiles_multiply(s->dout + m * QS, s->vt, s->d, at, s->dscore + m * NR, QB * NR);
  }
  for (int r = 0; r < n; r++) {
    float delta = row_dot(s->d, dout + (size_t)r * (size_t)a->out_stride, out + (size_t)r * (size_t)a->out_stride);
    float lse = a->lse[(row + (size_t)r) * (size_t)a->heads + (size_t)h];
    backward_row(s, i + r, lse, delta, s->score + r * NR, s->dscore + r * NR, at);
  }
  for (int m = 0; m < n; m += MR) {
    rows_weigh(s, s->dscore + m * NR, QB * NR, s->kp, at, n - m < MR ? n - m : MR, factor,
               b->dq + (row + (size_t)m) * (size_t)a->q_stride + head, a->q_stride, true);
  }
  gather(s, s->dscore, s->qp, n, at, s->dk);
  gather(s, s->score, s->dop, n, at, s->dv);
}

/* rows of `to` += panels */
static void panels_add(const struct strip *s, const float *panel, float *to, ptrdiff_t stride) {
  for (int i = 0; i < s->d; i += NR, panel += (ptrdiff_t)s->tp * NR) {
    for (int r = 0; r < s->t; r++) {
      for (int l = 0; l < NR && i + l < s->d; l += VW) {
        float *x = to + r * stride + i + l;
        int w = s->d - i - l < VW ? s->d - i - l : VW;
        v_store_n(x, v_add(v_load_n(x, w), v_load(panel + (ptrdiff_t)r * NR + l)), w);
      }
    }
  }
}

static void backward_key_head(const struct strip *s, const struct attention_back *b, int hk) {
  const struct attention *a = s->a;
  size_t kat = (size_t)s->begin * (size_t)a->k_stride + (size_t)hk * (size_t)s->d;
  size_t vat = (size_t)s->begin * (size_t)a->v_stride + (size_t)hk * (size_t)s->d;
  int from, to;
  pack_transposed(s, a->k + kat, a->k_stride, s->kt);
  pack_transposed(s, a->v + vat, a->v_stride, s->vt);
  pack_rows(s->t, s->tp, s->d, a->k + kat, a->k_stride, s->kp);
  memset(s->dk, 0, sizeof(float) * (size_t)s->tp * (size_t)s->dw);
  memset(s->dv, 0, sizeof(float) * (size_t)s->tp * (size_t)s->dw);
  group_of(a, hk, &from, &to);
  for (int h = from; h < to; h++) {
    for (int i = 0; i < s->t; i += QB) backward_block(s, b, h, i);
  }
  panels_add(s, s->dk, b->dk + kat, a->k_stride);
  panels_add(s, s->dv, b->dv + vat, a->v_stride);
}

void V(attention_backward)(const struct attention_back *b) {
  if (b->f.d > WIDTH) {
    ref_attention_backward(b);
    return;
  }
  for (int index = 0; index < b->f.sequences; index++) {
    struct strip s;
    if (lanes_backward(b, index)) continue;
    strip_plan(&s, &b->f, index, true);
    if (s.t <= 0) continue;
    if (!strip_bounds(&s)) {
      struct attention_back one = *b;
      one.f.sequences = 1;
      one.f.start = b->f.start + index;
      ref_attention_backward(&one);
      continue;
    }
    for (int hk = 0; hk < b->f.kv_heads; hk++) backward_key_head(&s, b, hk);
  }
}
#endif
