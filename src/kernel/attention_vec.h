/* Private: attention over vec.h. Like FlashAttention (Dao et al. 2022) no T x T matrix is kept: a block of query rows
 * meets all its visible keys in one strip of scores that stays in L2, so the softmax is exact in one go and needs no
 * rescaling. Products run on the same register blocks as gemm. The including file defines V(name).
 *
 * A tile is the scores of one block of rows with NR keys: [rows][NR]; a strip of scores is tiles side by side. Masks are an
 * interval [low, high) of keys per row, and the row itself; only tiles on the border of the interval look at it.
 * Sequences whose times are not in order (ties then have no interval) and heads wider than WIDTH go to the reference.
 * A key that a row may not see has weight 0, but 0 * NaN of its value is NaN: NaN may spread inside one sequence.
 */
#ifndef KERNEL_ATTENTION_VEC_H
#define KERNEL_ATTENTION_VEC_H
#include "kernel/attention_strip_vec.h"
#ifdef __AVX512F__
#include "kernel/attention_lanes_vec.h"
#else
static bool lanes_forward(const struct attention *a, int index) { return (void)a, (void)index, false; }
#endif

static void reference_sequence(const struct attention *a, int index) {
  struct attention one = *a;
  one.sequences = 1;
  one.start = a->start + index;
  ref_attention_forward(&one);
}

VINLINE void tile_multiply(const int nv, const float *rows, const float *transposed, int d, float *dst) {
  vf acc[MR][2];
  panel_zero(acc);
  panel_multiply(acc, MR, nv, QS, 1, rows, transposed, NR, d);
  UNROLL for (int r = 0; r < MR; r++) {
    v_store(dst + r * NR, acc[r][0]);
    v_store(dst + r * NR + VW, acc[r][1]);
  }
}
/* MR rows (stride QS) with every key of the span: tile c goes to dst + (c - first)*step. Keys from the span's end on are
 * left at 0 or whatever they are: the mask replaces them. */
static void tiles_multiply(const float *rows, const float *transposed, int d, struct span at, float *dst, int step) {
  for (int c = at.first; c < at.last; c++, dst += step) {
    const float *tile = transposed + (ptrdiff_t)c * d * NR;
    if (at.end - c * NR > VW) {
      tile_multiply(2, rows, tile, d, dst);
    } else {
      tile_multiply(1, rows, tile, d, dst);
    }
  }
}

VINLINE vf visible(vf v, int j, int low, int high, int self, vf other) {
  vi at = vi_add(vi_iota(), vi_set1(j));
  vm in = vm_andnot(vi_ge(at, vi_set1(high)), vi_ge(at, vi_set1(low)));
  return v_select(vm_or(in, vi_eq(at, vi_set1(self))), v, other);
}
VINLINE bool inside(const struct strip *s, int r, int j) { return j >= s->low[r] && j + NR <= s->high[r]; }

/* Scores of row r to exp(score - max), what it cannot see to 0; returns the sum */
static float softmax_row(const struct strip *s, int r, float *score, struct span at, float *max) {
  vf top = v_set1(-INFINITY), never = top, sum = v_zero();
  float *p = score;
  for (int c = at.first; c < at.last; c++, p += MR * NR) {
    vf x = v_load(p), y = v_load(p + VW);
    if (!inside(s, r, c * NR)) {
      x = visible(x, c * NR, s->low[r], s->high[r], r, never);
      y = visible(y, c * NR + VW, s->low[r], s->high[r], r, never);
      v_store(p, x);
      v_store(p + VW, y);
    }
    top = v_max(y, v_max(x, top));
  }
  *max = v_max_all(top);
  vf shift = v_set1(*max);
  p = score;
  for (int c = at.first; c < at.last; c++, p += MR * NR) {
    vf x = v_exp(v_sub(v_load(p), shift)), y = v_exp(v_sub(v_load(p + VW), shift));
    v_store(p, x);
    v_store(p + VW, y);
    sum = v_add(sum, v_add(x, y));
  }
  return v_sum(sum);
}

/* acc = weights of MR rows times rows of `panel`, over the keys of the span */
VINLINE void weigh(vf acc[MR][2], const int nv, const float *weight, int step, const float *panel, struct span at) {
  panel_zero(acc);
  for (int c = at.first; c < at.last; c++, weight += step) {
    int k = at.end - c * NR < NR ? at.end - c * NR : NR;
    panel_multiply(acc, MR, nv, NR, 1, weight, panel + (ptrdiff_t)c * NR * NR, NR, k);
  }
}

/* rows of `to` (+)= acc * factor[row] for w <= 2 VW columns */
VINLINE void rows_store(vf acc[MR][2], int n, int w, const float *factor, float *to, ptrdiff_t stride, const bool add) {
  float spill[MR][2 * VW];
  UNROLL for (int r = 0; r < MR; r++) {
    v_store(spill[r], acc[r][0]);
    v_store(spill[r] + VW, acc[r][1]);
  }
  for (int r = 0; r < n; r++, to += stride) {
    for (int i = 0; i < w; i += VW) {
      int k = w - i < VW ? w - i : VW;
      vf v = v_mul(v_load(spill[r] + i), v_set1(factor[r]));
      v_store_n(to + i, add ? v_add(v_load_n(to + i, k), v) : v, k);
    }
  }
}

static void rows_weigh(const struct strip *s, const float *weight, int step, const float *panel, struct span at, int n, const float *factor,
                       float *to, ptrdiff_t stride, bool add) {
  for (int i = 0; i < s->d; i += NR, panel += (ptrdiff_t)s->tp * NR) {
    int w = s->d - i < NR ? s->d - i : NR;
    vf acc[MR][2];
    if (w > VW) {
      weigh(acc, 2, weight, step, panel, at);
    } else {
      weigh(acc, 1, weight, step, panel, at);
    }
    if (add) {
      rows_store(acc, n, w, factor, to + i, stride, true);
    } else {
      rows_store(acc, n, w, factor, to + i, stride, false);
    }
  }
}

static void forward_block(const struct strip *s, int h, int i) {
  const struct attention *a = s->a;
  int n = s->t - i < MR ? s->t - i : MR;
  size_t row = (size_t)(s->begin + i);
  float factor[MR];
  struct span at = block_span(s, i, n);
  pack_block(n, MR, s->d, a->scale, a->q + row * (size_t)a->q_stride + (size_t)h * (size_t)s->d, a->q_stride, s->q);
  tiles_multiply(s->q, s->kt, s->d, at, s->score, MR * NR);
  for (int r = 0; r < n; r++) {
    float max, sum = softmax_row(s, i + r, s->score + r * NR, at, &max);
    factor[r] = 1.0f / sum;
    a->lse[(row + (size_t)r) * (size_t)a->heads + (size_t)h] = max + logf(sum);
  }
  rows_weigh(s, s->score, MR * NR, s->vp, at, n, factor, a->out + row * (size_t)a->out_stride + (size_t)h * (size_t)s->d, a->out_stride,
             false);
}

/* heads of the group that shares key head hk: [*from, *to) */
static void group_of(const struct attention *a, int hk, int *from, int *to) {
  *from = (hk * a->heads + a->kv_heads - 1) / a->kv_heads;
  *to = ((hk + 1) * a->heads + a->kv_heads - 1) / a->kv_heads;
}

void V(attention_forward)(const struct attention *a) {
  if (a->d > WIDTH) {
    ref_attention_forward(a);
    return;
  }
  for (int index = 0; index < a->sequences; index++) {
    struct strip s;
    if (lanes_forward(a, index)) continue;
    strip_plan(&s, a, index, false);
    if (s.t <= 0) continue;
    if (!strip_bounds(&s)) {
      reference_sequence(a, index);
      continue;
    }
    for (int hk = 0; hk < a->kv_heads; hk++) {
      const float *k = a->k + (size_t)s.begin * (size_t)a->k_stride + (size_t)hk * (size_t)s.d;
      const float *v = a->v + (size_t)s.begin * (size_t)a->v_stride + (size_t)hk * (size_t)s.d;
      int from, to;
      pack_transposed(&s, k, a->k_stride, s.kt);
      pack_rows(s.t, s.tp, s.d, v, a->v_stride, s.vp);
      group_of(a, hk, &from, &to);
      for (int h = from; h < to; h++) {
        for (int i = a->skip; i < s.t; i += MR) forward_block(&s, h, i);
      }
    }
  }
}
#endif
