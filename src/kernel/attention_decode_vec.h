/* Private: attention of one new row per stream against its cache, over vec.h. Bound by reading the cache once; streams that
 * share a prefix find it in the processor's cache. The including file defines V(name).
 */
#ifndef KERNEL_ATTENTION_DECODE_VEC_H
#define KERNEL_ATTENTION_DECODE_VEC_H
#include "kernel/kernel_columns.h"
#include "kernel/vec.h"

/* score[j] = scale * dot(q, row j of k); four rows at a time share one reduction */
static void decode_scores(const float *q, const float *k, ptrdiff_t stride, int n, int d, float scale, float *score) {
  for (int j = 0; j < n; j += 4, k += 4 * stride) {
    vf acc[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    float four[4];
    ptrdiff_t at[4];
    for (int r = 0; r < 4; r++) at[r] = j + r < n ? r * stride : 0;
    for (int i = 0; i < d; i += VW) {
      int w = d - i < VW ? d - i : VW;
      vf x = v_load_n(q + i, w);
      UNROLL for (int r = 0; r < 4; r++) { acc[r] = v_fma(x, v_load_n(k + at[r] + i, w), acc[r]); }
    }
    _mm_storeu_ps(four, _mm_mul_ps(v_sum4(acc), _mm_set1_ps(scale)));
    for (int r = 0; r < 4 && j + r < n; r++) score[j + r] = four[r];
  }
}

/* out[0..w) += sum of p[j] * row j of v, in four chains */
static vf decode_sum(const float *p, const float *v, ptrdiff_t stride, int n, int w) {
  vf acc[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
  int j = 0;
  for (; j + 4 <= n; j += 4) {
    UNROLL for (int r = 0; r < 4; r++) { acc[r] = v_fma(v_set1(p[j + r]), v_load_n(v + (j + r) * stride, w), acc[r]); }
  }
  for (; j < n; j++) acc[0] = v_fma(v_set1(p[j]), v_load_n(v + j * stride, w), acc[0]);
  return v_add(v_add(acc[0], acc[1]), v_add(acc[2], acc[3]));
}

static float decode_softmax(float *score, int n) {
  vf top = v_set1(-INFINITY), sum = v_zero();
  for (int j = 0; j < n; j += VW) {
    int w = n - j < VW ? n - j : VW;
    top = v_max(v_select(v_first(w), v_load_n(score + j, w), top), top);
  }
  vf shift = v_set1(v_max_all(top));
  for (int j = 0; j < n; j += VW) {
    int w = n - j < VW ? n - j : VW;
    vf e = v_exp(v_sub(v_load_n(score + j, w), shift));
    v_store_n(score + j, e, w);
    sum = v_add(sum, v_select(v_first(w), e, v_zero()));
  }
  return v_sum(sum);
}

void V(attention_decode)(const struct attention_decode *a) {
  ptrdiff_t row = (ptrdiff_t)a->kv_heads * a->d;
  for (int s = 0; s < a->streams; s++) {
    int np = a->prefix_n ? a->prefix_n[s] : 0, no = a->own_n[s];
    for (int h = 0; h < a->heads; h++) {
      ptrdiff_t hk = (ptrdiff_t)(h * a->kv_heads / a->heads) * a->d;
      const float *q = a->q + (ptrdiff_t)s * a->q_stride + (ptrdiff_t)h * a->d;
      float *out = a->out + (ptrdiff_t)s * a->out_stride + (ptrdiff_t)h * a->d;
      if (np > 0) decode_scores(q, a->prefix_k[s] + hk, row, np, a->d, a->scale, a->scratch);
      decode_scores(q, a->own_k[s] + hk, row, no, a->d, a->scale, a->scratch + np);
      vf inverse = v_set1(1.0f / decode_softmax(a->scratch, np + no));
      for (int i = 0; i < a->d; i += VW) {
        int w = a->d - i < VW ? a->d - i : VW;
        vf sum = np > 0 ? decode_sum(a->scratch, a->prefix_v[s] + hk + i, row, np, w) : v_zero();
        sum = v_add(sum, decode_sum(a->scratch + np, a->own_v[s] + hk + i, row, no, w));
        v_store_n(out + i, v_mul(sum, inverse), w);
      }
    }
  }
}
#endif
