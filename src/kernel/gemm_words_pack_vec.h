/* Private: how gemm_words_vec.h lays out its operands: strips of rows of op(A), panels of columns of op(B), as whole numbers of 13 bits in pairs, with their
 * scales. */
#ifndef KERNEL_GEMM_WORDS_PACK_VEC_H
#define KERNEL_GEMM_WORDS_PACK_VEC_H
#include <string.h>

#include "kernel/half_vec.h"
#include "kernel/panel_vec.h"

enum {
  LARGEST = 4095,
  BLOCK_K = 128,
  GROUP = 2 * VW, /* of k: pair i is k = i in its lower half, k = i + VW in its upper half (half of what is left where fewer are left) */
  BLOCKS = 4,     /* of k at a time */
  KC = BLOCKS * BLOCK_K,
  TURNED = VW == 16 ? MR : VW, /* words from pair to pair of a turned strip: AVX2 writes whole registers only */
  STRIPS = 172,                /* laid out at a time: 43 MR rows of KC, or more of less; half of L2 */
  STRIP_PAIRS = TURNED * BLOCK_K / 2,
  STRIP = STRIP_PAIRS + VW,      /* 32-bit words of a block of MR rows: pairs, then scales */
  PANEL = NR * BLOCK_K / 2 + NR, /* and of NR columns */
  PANELS = 16,                   /* the same of B, where it is not laid out before */
  WORDS_SCRATCH = STRIPS * STRIP + PANELS * PANEL + (STRIPS * MR + VW)
};
_Static_assert((long long)LARGEST *LARGEST *BLOCK_K < 1ll << 31, "a sum overflows");

/* Where rounding, and its rows' scales, cost more than is gained; must not look at the number of rows */
static bool small(int n, int k) { return n < 16 || k < 32; }

static int at_most(int n, int most) { return n < most ? n : most; }
static int blocks_of(int k) { return (k + BLOCK_K - 1) / BLOCK_K; }
static int pairs_of(int k) { return k / GROUP * (GROUP / 2) + (k % GROUP + 1) / 2; }

VINLINE vi larger(vi most, vf x) { return vi_max_bits(most, vi_and((vi)x, vi_set1(0x7fffffff))); }

/* Scales of VW rows whose largest sizes have these bits, and their inverses. Rows that hold no number have none; of those whose scale could not be told
 * from zero all is zero. */
VINLINE vf scales_of(vi most, vf *inverse) {
  vm there = vi_ge(most, (vi)v_set1(5e-35f)), not = vi_ge(most, vi_set1(0x7f800000));
  *inverse = v_select(vm_andnot(not, there), v_div(v_set1(LARGEST), (vf)most), v_zero());
  return v_select(not, v_set1(NAN), v_select(there, v_mul((vf)most, v_set1(1.0f / LARGEST)), v_zero()));
}

/* Rounded to nearest even: the low bits of a float of 1.5 * 2^23 and more are whole numbers. */
VINLINE vi rounded(vf x, vf inverse) { return (vi)v_fma(x, inverse, v_set1(0x1.8p23f)); }
VINLINE vi pair_up(vf low, vf high, vf inverse) { return vi_pair(rounded(low, inverse), rounded(high, inverse)); }

/* k <= BLOCK_K floats of a row: the bits of the largest size */
static uint32_t row_most(int k, const float *src) {
  vi most = vi_set1(0);
  int q = 0;
  for (; q + VW <= k; q += VW) most = larger(most, v_load(src + q));
  if (q < k) most = larger(most, v_load_n(src + q, k - q));
  return vi_most_bits(most);
}

/* The pairs of a group: k <= GROUP floats of a row */
VINLINE vi row_group(int k, const float *src, vf inverse) {
  if (k == GROUP) return pair_up(v_load(src), v_load(src + VW), inverse);
  int h = (k + 1) / 2;
  return pair_up(v_load_n(src, h), v_load_n(src + h, k - h), inverse);
}

/* m <= MR rows: row r's pairs at r * BLOCK_K / 2; what stands behind them in a whole register is not looked at */
static void strip_rows(int k, int m, const float *src, ptrdiff_t ld, int32_t *dst) {
  uint32_t most[VW] = {0};
  float inverse[VW];
  vf inverses;
  for (int r = 0; r < m; r++) most[r] = row_most(k, src + r * ld);
  v_store((float *)(void *)(dst + STRIP_PAIRS), scales_of(vi_load((const int32_t *)(const void *)most), &inverses));
  v_store(inverse, inverses);
  for (int r = 0; r < m; r++, src += ld, dst += BLOCK_K / 2) {
    vf by = v_set1(inverse[r]);
    for (int q = 0; q < k; q += GROUP) vi_store(dst + q / 2, row_group(at_most(k - q, GROUP), src + q, by));
  }
  memset(dst, 0, sizeof *dst * (size_t)(MR - m) * BLOCK_K / 2);
}

/* Largest sizes of nv whole registers of columns over k rows, to `most` */
VINLINE void registers_most(const int nv, int k, const float *src, ptrdiff_t ld, int32_t *most) {
  vi m[VW];
  UNROLL for (int v = 0; v < nv; v++) m[v] = vi_set1(0);
  for (int q = 0; q < k; q++, src += ld) UNROLL
  for (int v = 0; v < nv; v++) m[v] = larger(m[v], v_load(src + v * VW));
  UNROLL for (int v = 0; v < nv; v++) vi_store(most + v * VW, m[v]);
}

/* Largest sizes of n columns over k rows, to places that are filled up to a whole register; much of a row at a time, as it lies in memory */
static void columns_most(int k, int n, const float *src, ptrdiff_t ld, int32_t *most) {
  for (int j = 0, w; j < n; j += w) {
    int left = (n - j) / VW;
    w = (left >= VW ? VW : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1) * VW;
    if (w == VW * VW)
      registers_most(VW, k, src + j, ld, most + j);
    else if (w == 8 * VW)
      registers_most(VW == 8 ? 1 : 8, k, src + j, ld, most + j);
    else if (w == 4 * VW)
      registers_most(4, k, src + j, ld, most + j);
    else if (w == 2 * VW)
      registers_most(2, k, src + j, ld, most + j);
    else {
      vi one = vi_set1(0);
      for (int q = 0; q < k; q++) one = larger(one, v_load_some(src + q * ld + j, n - j));
      vi_store(most + j, one);
    }
  }
}

/* m columns of A', as strips `apart` words from each other: pair q of row r at q * TURNED + r. Rows of memory are read whole. */
static void strips_columns(int k, int m, const float *src, ptrdiff_t ld, int32_t *dst, int apart, float *inverse) {
  columns_most(k, m, src, ld, (int32_t *)(void *)inverse);
  vf by;
  for (int i = 0, s = 0; i < m; i += MR, s += apart) {
    vf scale = scales_of((vi)v_load_n(inverse + i, at_most(m - i, MR)), &by);
    v_store((float *)(void *)(dst + s + STRIP_PAIRS), scale);
    v_store_n(inverse + i, by, MR);
  }
  for (int q = 0; q < k; q += GROUP) {
    int left = at_most(k - q, GROUP), h = (left + 1) / 2;
    for (int p = 0; p < h; p++) {
      const float *low = src + (q + p) * ld, *high = low + h * ld;
      int32_t *to = dst + (q / 2 + p) * TURNED;
      for (int i = 0; i < m; i += MR, to += apart) {
        int w = at_most(m - i, MR);
        vi_store_n(to, pair_up(v_load_n(low + i, w), p + h < left ? v_load_n(high + i, w) : v_zero(), v_load_n(inverse + i, MR)), TURNED);
      }
    }
  }
}

/* n columns of B, as panels `apart` words from each other: scales, then pairs */
static void panels_rows(int k, int n, const float *src, ptrdiff_t ld, int32_t *dst, int apart) {
  int32_t most[PANELS * NR + 4 * VW];
  float *inverse = (float *)(void *)most;
  columns_most(k, n, src, ld, most);
  vf by;
  for (int j = 0; j < n; j += NR) {
    UNROLL for (int v = 0; v < NR; v += VW) {
      v_store((float *)(void *)(dst + j / NR * apart + v), scales_of((vi)v_load_some(inverse + j + v, n - j - v), &by));
      v_store(inverse + j + v, by);
    }
  }
  for (int q = 0; q < k; q += GROUP) {
    int left = at_most(k - q, GROUP), h = (left + 1) / 2;
    for (int p = 0; p < h; p++) {
      const float *low = src + (q + p) * ld, *high = low + h * ld;
      int32_t *to = dst + NR + (q / 2 + p) * NR;
      for (int j = 0; j < n; j += NR, to += apart) {
        bool both = p + h < left;
        UNROLL for (int v = 0; v < NR; v += VW) {
          int w = n - j - v;
          vi_store(to + v, pair_up(v_load_some(low + j + v, w), both ? v_load_some(high + j + v, w) : v_zero(), v_load(inverse + j + v)));
        }
      }
    }
  }
}

/* n <= NR rows of B' to a panel */
static void panel_columns(int k, int n, const float *src, ptrdiff_t ld, int32_t *dst) {
  for (int half = 0; half < NR; half += VW, src += VW * ld, n -= VW) {
    uint32_t most[VW] = {0};
    float inverse[VW];
    vf by;
    for (int r = 0; r < VW && r < n; r++) most[r] = row_most(k, src + r * ld);
    v_store((float *)(void *)(dst + half), scales_of(vi_load((const int32_t *)(const void *)most), &by));
    v_store(inverse, by);
    for (int q = 0; q < k; q += GROUP) {
      int left = at_most(k - q, GROUP);
      vf t[VW];
      UNROLL for (int r = 0; r < VW; r++) t[r] = r < n ? (vf)row_group(left, src + r * ld + q, v_set1(inverse[r])) : v_zero();
      v_transpose(t);
      float square[VW * VW];
      UNROLL for (int i = 0; i < VW; i++) v_store(square + i * VW, t[i]);
      for (int i = 0; i < (left + 1) / 2; i++) v_store((float *)(void *)(dst + NR + (q / 2 + i) * NR + half), v_load(square + i * VW));
    }
  }
}
#endif
