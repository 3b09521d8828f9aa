/* Private: the pieces of a blocked matrix product that gemm and attention share. A panel of B is NR columns wide:
 * element (p, j) of the product's (k, n) operand lies at [j / NR][p][j % NR], columns beyond n are 0.
 */
#ifndef KERNEL_PANEL_VEC_H
#define KERNEL_PANEL_VEC_H
#include "kernel/vec.h"

/* A register block: MR rows by two vectors of accumulators, two of B, one broadcast of A. */
#ifdef __AVX512F__
enum { MR = 12 };
#else
enum { MR = 6 };
#endif
enum { NR = 2 * VW };

/* What one step of a product does: with bf16 an element of a panel is a pair of consecutive k in 32 bits. */
#if defined KERNEL_EMULATE_BF16
VINLINE vf v_step(vf x, vf b, vf acc) {
  const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
  vf xh = (vf)_mm512_and_si512((__m512i)x, high), bh = (vf)_mm512_and_si512((__m512i)b, high);
  vf xl = (vf)_mm512_slli_epi32((__m512i)x, 16), bl = (vf)_mm512_slli_epi32((__m512i)b, 16);
  return v_fma(xl, bl, v_fma(xh, bh, acc));
}
#elif defined KERNEL_BF16_PAIRS
VINLINE vf v_step(vf x, vf b, vf acc) { return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)b); }
#else
VINLINE vf v_step(vf x, vf b, vf acc) { return v_fma(x, b, acc); }
#endif

/* acc[r][:] += sum over p < k of a[r*rs + p*ks] * b[p*bs ...]; everything but k and the pointers is known at compile time */
VINLINE void panel_multiply(vf acc[MR][2], const int mr, const int nv, const int rs, const int ks, const float *a, const float *b,
                            const ptrdiff_t bs, int k) {
  for (int p = 0; p < k; p++, a += ks, b += bs) {
    vf b0 = v_load(b), b1 = nv > 1 ? v_load(b + VW) : b0;
    UNROLL for (int r = 0; r < mr; r++) {
      vf x = v_set1(a[r * rs]);
      acc[r][0] = v_step(x, b0, acc[r][0]);
      if (nv > 1) acc[r][1] = v_step(x, b1, acc[r][1]);
    }
  }
}
VINLINE void panel_zero(vf acc[MR][2]) {
  UNROLL for (int r = 0; r < MR; r++) { acc[r][0] = acc[r][1] = v_zero(); }
}

/* One panel of n <= NR columns from rows: src is (k, n) with stride ld */
VINLINE void panel_from_rows(int k, int n, const float *src, ptrdiff_t ld, float *dst) {
  if (n == NR) {
    for (int p = 0; p < k; p++, src += ld, dst += NR) {
      v_store(dst, v_load(src));
      v_store(dst + VW, v_load(src + VW));
    }
    return;
  }
  int n0 = n < VW ? n : VW, n1 = n - n0;
  for (int p = 0; p < k; p++, src += ld, dst += NR) {
    v_store(dst, v_load_n(src, n0));
    v_store(dst + VW, n1 > 0 ? v_load_n(src + VW, n1) : v_zero());
  }
}

/* One panel of n <= NR columns from a transposed operand: src is (n, k) with stride ld */
VINLINE void panel_from_columns(int k, int n, const float *src, ptrdiff_t ld, float *dst) {
  for (int half = 0; half < 2; half++) {
    for (int p = 0; p < k; p += VW) {
      int kk = k - p < VW ? k - p : VW;
      vf t[VW];
      UNROLL for (int j = 0; j < VW; j++) {
        int col = half * VW + j;
        const float *s = src + (ptrdiff_t)col * ld + p;
        t[j] = col >= n ? v_zero() : kk == VW ? v_load(s) : v_load_n(s, kk);
      }
      v_transpose(t);
      if (kk == VW) {
        UNROLL for (int i = 0; i < VW; i++) { v_store(dst + (ptrdiff_t)(p + i) * NR + half * VW, t[i]); }
      } else {
        UNROLL for (int i = 0; i < VW; i++) {
          if (i < kk) v_store(dst + (ptrdiff_t)(p + i) * NR + half * VW, t[i]);
        }
      }
    }
  }
}
#endif
