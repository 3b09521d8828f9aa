/* Private: one vocabulary over AVX-512 and AVX2, so that a vector kernel is written once and compiled twice. The file that
 * includes it is compiled with the instruction set that its name says. VW = floats in a register. Everything is static
 * inline: nothing of this may leak into a column that a processor cannot run.
 */
#ifndef KERNEL_VEC_H
#define KERNEL_VEC_H
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VINLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#ifdef __AVX512F__
enum { VW = 16 };
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;
VINLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
VINLINE void v_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
VINLINE vm v_first(int n) { return (vm)((1u << n) - 1); } /* lanes 0..n-1, n in [0, 16] */
VINLINE vf v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
VINLINE void v_store_n(float *p, vf v, int n) { _mm512_mask_storeu_ps(p, v_first(n), v); }
VINLINE vf v_set1(float x) { return _mm512_set1_ps(x); }
VINLINE vf v_zero(void) { return _mm512_setzero_ps(); }
VINLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
VINLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
VINLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
VINLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
VINLINE vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
VINLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }   /* a*b + c */
VINLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a*b */
VINLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }              /* b if either is NaN */
VINLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
VINLINE vf v_select(vm m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }
VINLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* c * 2^n, n integral, x (= the argument of exp) clamped before; underflow to 0, overflow to infinity, NaN through */
VINLINE vf v_ldexp(vf c, vf n) { return _mm512_scalef_ps(c, n); }
VINLINE vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
VINLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
VINLINE vi vi_iota(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
VINLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
VINLINE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
VINLINE vm vi_ge(vi a, vi b) { return _mm512_cmpge_epi32_mask(a, b); }
VINLINE vm vi_eq(vi a, vi b) { return _mm512_cmpeq_epi32_mask(a, b); }
VINLINE vm vm_and(vm a, vm b) { return a & b; }
VINLINE vm vm_or(vm a, vm b) { return a | b; }
VINLINE vm vm_andnot(vm a, vm b) { return (vm)(~a & b); } /* b without a */
VINLINE vi vi_low16(vi a) { return _mm512_and_si512(a, _mm512_set1_epi32(0xffff)); }
VINLINE vi vi_high16(vi a) { return _mm512_srli_epi32(a, 16); }
/* Of pairs of lanes: the even one times m, as 64 bits; the odd one alone; and two such to lanes again, the first ones' low halves to even lanes */
VINLINE vi vi_mul_even(vi a, uint32_t m) { return _mm512_mul_epu32(a, _mm512_set1_epi64(m)); }
VINLINE vi vi_odd(vi a) { return _mm512_srli_epi64(a, 32); }
VINLINE vi vi_zip(vi even, vi odd) { return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32)); }
VINLINE double v_sum_double(vf v) {
  __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(v)), hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
  return _mm512_reduce_add_pd(_mm512_add_pd(lo, hi));
}
VINLINE float v_sum(vf v) { return _mm512_reduce_add_ps(v); }
VINLINE float v_max_all(vf v) { return _mm512_reduce_max_ps(v); }
typedef __m512d vd; /* VD doubles; a vf is two of them */
enum { VD = 8 };
VINLINE vd vd_zero(void) { return _mm512_setzero_pd(); }
VINLINE vd vd_low(vf v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
VINLINE vd vd_high(vf v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }
VINLINE vd vd_fma(vd a, vd b, vd c) { return _mm512_fmadd_pd(a, b, c); }
VINLINE vd vd_add(vd a, vd b) { return _mm512_add_pd(a, b); }
VINLINE double vd_sum(vd v) { return _mm512_reduce_add_pd(v); }
#else
enum { VW = 8 };
typedef __m256 vf;
typedef __m256i vi;
typedef __m256i vm;
VINLINE vi vi_set1(int32_t x) { return _mm256_set1_epi32(x); }
VINLINE vi vi_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
VINLINE vi vi_iota(void) { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
VINLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
VINLINE vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
VINLINE vm vi_ge(vi a, vi b) { return _mm256_or_si256(_mm256_cmpgt_epi32(a, b), _mm256_cmpeq_epi32(a, b)); }
VINLINE vm vi_eq(vi a, vi b) { return _mm256_cmpeq_epi32(a, b); }
VINLINE vm vm_and(vm a, vm b) { return _mm256_and_si256(a, b); }
VINLINE vm vm_or(vm a, vm b) { return _mm256_or_si256(a, b); }
VINLINE vm vm_andnot(vm a, vm b) { return _mm256_andnot_si256(a, b); }
VINLINE vi vi_low16(vi a) { return _mm256_and_si256(a, vi_set1(0xffff)); }
VINLINE vi vi_high16(vi a) { return _mm256_srli_epi32(a, 16); }
VINLINE vi vi_mul_even(vi a, uint32_t m) { return _mm256_mul_epu32(a, _mm256_set1_epi64x(m)); }
VINLINE vi vi_odd(vi a) { return _mm256_srli_epi64(a, 32); }
VINLINE vi vi_zip(vi even, vi odd) { return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa); }
VINLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
VINLINE void v_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
VINLINE vm v_first(int n) { return _mm256_cmpgt_epi32(vi_set1(n), vi_iota()); }
VINLINE vf v_load_n(const float *p, int n) { return _mm256_maskload_ps(p, v_first(n)); }
VINLINE void v_store_n(float *p, vf v, int n) { _mm256_maskstore_ps(p, v_first(n), v); }
VINLINE vf v_set1(float x) { return _mm256_set1_ps(x); }
VINLINE vf v_zero(void) { return _mm256_setzero_ps(); }
VINLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
VINLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
VINLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
VINLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
VINLINE vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
VINLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
VINLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
VINLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
VINLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
VINLINE vf v_select(vm m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(m)); }
VINLINE vf v_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* In two steps, 2^(n-1) and 2, so that n = 128 overflows to infinity; n <= -126 gives 0, as flush-to-zero would */
VINLINE vf v_ldexp(vf c, vf n) {
  vi e = _mm256_slli_epi32(_mm256_max_epi32(vi_add(_mm256_cvtps_epi32(n), vi_set1(126)), _mm256_setzero_si256()), 23);
  return v_mul(v_mul(c, _mm256_castsi256_ps(e)), v_set1(2.0f));
}
typedef __m256d vd;
enum { VD = 4 };
VINLINE vd vd_zero(void) { return _mm256_setzero_pd(); }
VINLINE vd vd_low(vf v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
VINLINE vd vd_high(vf v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
VINLINE vd vd_fma(vd a, vd b, vd c) { return _mm256_fmadd_pd(a, b, c); }
VINLINE vd vd_add(vd a, vd b) { return _mm256_add_pd(a, b); }
VINLINE double vd_sum(vd v) {
  __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
VINLINE double v_sum_double(vf v) { return vd_sum(vd_add(vd_low(v), vd_high(v))); }
VINLINE float v_sum(vf v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
VINLINE float v_max_all(vf v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
#endif

/* In each group of four lanes, four registers' columns to rows: to[c] holds lane c of from[0..3] */
VINLINE void v_transpose4(const vf from[4], vf to[4]) {
#ifdef __AVX512F__
  vf a = _mm512_unpacklo_ps(from[0], from[1]), b = _mm512_unpackhi_ps(from[0], from[1]);
  vf c = _mm512_unpacklo_ps(from[2], from[3]), d = _mm512_unpackhi_ps(from[2], from[3]);
  to[0] = _mm512_shuffle_ps(a, c, 0x44);
  to[1] = _mm512_shuffle_ps(a, c, 0xee);
  to[2] = _mm512_shuffle_ps(b, d, 0x44);
  to[3] = _mm512_shuffle_ps(b, d, 0xee);
#else
  vf a = _mm256_unpacklo_ps(from[0], from[1]), b = _mm256_unpackhi_ps(from[0], from[1]);
  vf c = _mm256_unpacklo_ps(from[2], from[3]), d = _mm256_unpackhi_ps(from[2], from[3]);
  to[0] = _mm256_shuffle_ps(a, c, 0x44);
  to[1] = _mm256_shuffle_ps(a, c, 0xee);
  to[2] = _mm256_shuffle_ps(b, d, 0x44);
  to[3] = _mm256_shuffle_ps(b, d, 0xee);
#endif
}

/* The sums of four registers */
VINLINE __m128 v_sum4(const vf v[4]) {
  vf t[4];
  v_transpose4(v, t);
  vf s = v_add(v_add(t[0], t[1]), v_add(t[2], t[3]));
#ifdef __AVX512F__
  __m256 h = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
#else
  __m256 h = s;
#endif
  return _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}

/* VW x VW floats, rows to columns */
VINLINE void v_transpose(vf r[VW]) {
#ifdef __AVX512F__
  vf t[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  UNROLL for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
  }
  UNROLL for (int c = 0; c < 4; c++) { /* r[4g + c] holds columns c, 4+c, 8+c, 12+c of rows 4g..4g+3 */
    vf x0 = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88), x1 = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xdd);
    vf y0 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88), y1 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xdd);
    r[c] = _mm512_shuffle_f32x4(x0, y0, 0x88);
    r[4 + c] = _mm512_shuffle_f32x4(x1, y1, 0x88);
    r[8 + c] = _mm512_shuffle_f32x4(x0, y0, 0xdd);
    r[12 + c] = _mm512_shuffle_f32x4(x1, y1, 0xdd);
  }
#else
  vf t[8];
  UNROLL for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  UNROLL for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  UNROLL for (int c = 0; c < 4; c++) {
    vf x = r[c], y = r[4 + c];
    r[c] = _mm256_permute2f128_ps(x, y, 0x20);
    r[4 + c] = _mm256_permute2f128_ps(x, y, 0x31);
  }
#endif
}
#endif
