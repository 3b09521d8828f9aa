/* Private: packing for bf16 products. A panel element is a 32-bit pair of bf16 values of consecutive k (the lower k in the
 * lower half), an odd k is completed by 0. Conversion is to nearest even; denormals become 0, as the instructions define.
 */
#ifndef KERNEL_PAIRS_VEC_H
#define KERNEL_PAIRS_VEC_H
#include "kernel/panel_vec.h"

enum { PAIR = 2 };

/* 32 floats to bf16: `low` to the lower 16 words */
#ifdef KERNEL_EMULATE_BF16
VINLINE __m512i bf16_of(__m512 x) {
  __m512i u = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  r = _mm512_mask_srli_epi32(r, _mm512_fpclass_ps_mask(x, 0x20), u, 31); /* denormal */
  r = _mm512_mask_slli_epi32(r, _mm512_fpclass_ps_mask(x, 0x20), r, 15);
  __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  return _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
}
VINLINE __m512i bf16_words(vf high, vf low) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(bf16_of(low))), _mm512_cvtepi32_epi16(bf16_of(high)), 1);
}
#else
VINLINE __m512i bf16_words(vf high, vf low) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
#endif

/* 32 floats in a row to 16 pairs */
VINLINE vf pairs_of_row(vf low, vf high) { return (vf)bf16_words(high, low); }
/* 16 columns of two rows to 16 pairs */
VINLINE vf pairs_of_rows(vf even, vf odd) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                         18, 2, 17, 1, 16, 0);
  return (vf)_mm512_permutexvar_epi16(order, bf16_words(odd, even));
}
VINLINE vf pairs_of_row_n(const float *src, int n) { /* n in [1, 32] floats */
  return pairs_of_row(v_load_n(src, n < VW ? n : VW), n > VW ? v_load_n(src + VW, n - VW) : v_zero());
}

static void pack_row(int n, const float *src, float *dst) {
  int i = 0;
  for (; i + 2 * VW <= n; i += 2 * VW) v_store(dst + i / 2, pairs_of_row(v_load(src + i), v_load(src + i + VW)));
  if (i < n) v_store_n(dst + i / 2, pairs_of_row_n(src + i, n - i), (n - i + 1) / 2);
}

static void pack_columns(int k, int n, const float *src, ptrdiff_t ld, float *dst) {
  for (int q = 0; q < k; q += 2, src += 2 * ld, dst += VW) {
    __builtin_prefetch(src + 16 * ld), __builtin_prefetch(src + 17 * ld);
    v_store(dst, pairs_of_rows(v_load_n(src, n), q + 1 < k ? v_load_n(src + ld, n) : v_zero()));
  }
}

static void pack_panel_rows(int k, int n, const float *src, ptrdiff_t ld, float *dst) {
  int n0 = n < VW ? n : VW, n1 = n - n0;
  for (int q = 0; q < k; q += 2, src += 2 * ld, dst += NR) {
    const float *odd = src + ld;
    __builtin_prefetch(src + 16 * ld), __builtin_prefetch(src + 16 * ld + VW);
    __builtin_prefetch(src + 17 * ld), __builtin_prefetch(src + 17 * ld + VW);
    bool both = q + 1 < k;
    v_store(dst, pairs_of_rows(v_load_n(src, n0), both ? v_load_n(odd, n0) : v_zero()));
    v_store(dst + VW, n1 > 0 ? pairs_of_rows(v_load_n(src + VW, n1), both ? v_load_n(odd + VW, n1) : v_zero()) : v_zero());
  }
}

static void pack_panel_columns(int k, int n, const float *src, ptrdiff_t ld, float *dst) {
  for (int half = 0; half < 2; half++) {
    for (int p = 0; p < k; p += 2 * VW) {
      int kk = k - p < 2 * VW ? k - p : 2 * VW, words = (kk + 1) / 2;
      vf t[VW];
      UNROLL for (int j = 0; j < VW; j++) {
        int col = half * VW + j;
        t[j] = col < n ? pairs_of_row_n(src + (ptrdiff_t)col * ld + p, kk) : v_zero();
      }
      v_transpose(t);
      float block[VW * VW];
      UNROLL for (int i = 0; i < VW; i++) { v_store(block + i * VW, t[i]); }
      for (int i = 0; i < words; i++) v_store(dst + (ptrdiff_t)(p / 2 + i) * NR + half * VW, v_load(block + i * VW));
    }
  }
}

static void pack_panel(int k, int n, bool transposed, const float *src, ptrdiff_t ld, float *dst) {
  if (transposed) {
    pack_panel_columns(k, n, src, ld, dst);
  } else {
    pack_panel_rows(k, n, src, ld, dst);
  }
}
#endif
