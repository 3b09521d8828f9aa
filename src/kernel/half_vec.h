/* Private: half-precision numbers, or bytes, in memory, floats and whole numbers in registers, and 2^x for what is rounded to them; over vec.h, for columns whose flags hold F16C (all do). */
#ifndef KERNEL_HALF_VEC_H
#define KERNEL_HALF_VEC_H
#include "kernel/vec.h"

#ifdef __AVX512F__
VINLINE vf v_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
VINLINE void v_half_store(uint16_t *p, vf v) { _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
VINLINE void v_half_store_n(uint16_t *p, vf v, int n) {
  _mm256_mask_storeu_epi16(p, v_first(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
VINLINE vi vi_bytes(const int8_t *p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p));
} /* in 16 bits each */
/* Bytes a, b, a, b, ... of n lanes; and only the a (half = 0) or the b */
VINLINE void vi_bytes_store(int8_t *p, vi a, vi b, int n) {
  __m256i pairs = _mm512_cvtepi32_epi16(_mm512_or_si512(_mm512_and_si512(a, _mm512_set1_epi32(255)), _mm512_slli_epi32(b, 8)));
  _mm256_mask_storeu_epi16(p, v_first(n), pairs);
}
VINLINE void vi_bytes_store_half(int8_t *p, vi a, int half, int n) {
  __m256i pairs = _mm512_cvtepi32_epi16(_mm512_sllv_epi32(a, _mm512_set1_epi32(8 * half)));
  _mm256_mask_storeu_epi8(p, (0x55555555u << half) & (uint32_t)((1ull << (2 * n)) - 1), pairs);
}
VINLINE vi vi_round(vf v) { return _mm512_cvtps_epi32(v); }
VINLINE vf vi_float(vi v) { return _mm512_cvtepi32_ps(v); }
VINLINE void vi_store(int32_t *p, vi v) { _mm512_storeu_si512(p, v); }
VINLINE vi vi_pair(vi a, vi b) { return _mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16)); } /* 16 bits of each a lane */
VINLINE vi vi_dot(vi sum, vi a, vi b) { /* sum + a0 b0 + a1 b1 of 16 bits each; gcc 12 copies around the intrinsic */
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}
VINLINE void vi_words_store(int16_t *p, vi v) { _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtsepi32_epi16(v)); }
VINLINE void vi_store_n(int32_t *p, vi v, int n) { _mm512_mask_storeu_epi32(p, v_first(n), v); }
VINLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
VINLINE vi vi_max_bits(vi a, vi b) { return _mm512_max_epu32(a, b); } /* as numbers without sign */
VINLINE uint32_t vi_most_bits(vi v) { return _mm512_reduce_max_epu32(v); }
VINLINE vi vi_fresh_zero(void) { /* not a copy of one zero: that one would stay in a register */
  vi zero;
  __asm__("vpxord %0, %0, %0" : "=v"(zero));
  return zero;
}
VINLINE vi vi_repeat(const int32_t *p, int n) { /* n lanes, over and over; n = 2, 4, 8, 16 */
  if (n == 16) return vi_load(p);
  if (n == 8) return _mm512_broadcast_i32x8(_mm256_loadu_si256((const __m256i *)(const void *)p));
  if (n == 4) return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)p));
  return _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
VINLINE vf v_gather(const float *p, vi at) { /* zero where `at` is negative */
  return _mm512_mask_i32gather_ps(v_zero(), vi_ge(at, vi_set1(0)), at, p, 4);
}
#else
VINLINE vf v_half(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }
VINLINE void v_half_store(uint16_t *p, vf v) { _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
VINLINE void v_half_store_n(uint16_t *p, vf v, int n) {
  uint16_t all[VW];
  v_half_store(all, v);
  __builtin_memcpy(p, all, (size_t)n * sizeof *p);
}
VINLINE vi vi_bytes(const int8_t *p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p)); }
VINLINE void vi_store(int32_t *p, vi v) { _mm256_storeu_si256((__m256i *)(void *)p, v); }
VINLINE __m128i vi_low_words(vi v) { /* the low 16 bits of each lane */
  v = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
  return _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
VINLINE void words_store_n(int8_t *p, __m128i words, int n) {
  if (n == VW)
    _mm_storeu_si128((__m128i *)(void *)p, words);
  else
    __builtin_memcpy(p, &words, 2 * (size_t)n);
}
VINLINE void vi_bytes_store(int8_t *p, vi a, vi b, int n) {
  words_store_n(p, vi_low_words(_mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi32(255)), _mm256_slli_epi32(b, 8))), n);
}
VINLINE void vi_bytes_store_half(int8_t *p, vi a, int half, int n) {
  __m128i there = _mm_setzero_si128(), own = vi_low_words(_mm256_sll_epi32(a, _mm_cvtsi32_si128(8 * half)));
  __builtin_memcpy(&there, p, 2 * (size_t)n);
  __m128i mask = _mm_sll_epi16(_mm_set1_epi16(255), _mm_cvtsi32_si128(8 * half));
  words_store_n(p, _mm_or_si128(_mm_and_si128(mask, own), _mm_andnot_si128(mask, there)), n);
}
VINLINE vi vi_round(vf v) { return _mm256_cvtps_epi32(v); }
VINLINE vf vi_float(vi v) { return _mm256_cvtepi32_ps(v); }
VINLINE vi vi_pair(vi a, vi b) { return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa); }
VINLINE vi vi_dot(vi sum, vi a, vi b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
VINLINE void vi_words_store(int16_t *p, vi v) {
  _mm_storeu_si128((__m128i *)(void *)p, _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}
VINLINE void vi_store_n(int32_t *p, vi v, int n) {
  if (n == VW)
    vi_store(p, v);
  else
    _mm256_maskstore_epi32(p, v_first(n), v);
}
VINLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
VINLINE vi vi_max_bits(vi a, vi b) { return _mm256_max_epu32(a, b); }
VINLINE uint32_t vi_most_bits(vi v) {
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epu32(m, _mm_unpackhi_epi64(m, m));
  return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(m, _mm_shuffle_epi32(m, 1)));
}
VINLINE vi vi_fresh_zero(void) {
  vi zero;
  __asm__("vpxor %0, %0, %0" : "=x"(zero));
  return zero;
}
VINLINE vi vi_repeat(const int32_t *p, int n) { /* n = 2, 4, 8 */
  if (n == 8) return vi_load(p);
  if (n == 4) return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
  return _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
VINLINE vf v_gather(const float *p, vi at) {
  return _mm256_mask_i32gather_ps(v_zero(), p, at, _mm256_castsi256_ps(vi_ge(at, vi_set1(0))), 4);
}
#endif

/* As many lanes as there are: n may be more than VW, or nothing */
#ifdef __AVX512F__
VINLINE int v_lanes(int n) { return n < 0 ? 0 : n < VW ? n : VW; }
VINLINE vf v_load_some(const float *p, int n) { return v_load_n(p, v_lanes(n)); }
VINLINE void v_store_some(float *p, vf v, int n) { v_store_n(p, v, v_lanes(n)); }
#else /* masks are slow: not for whole registers */
VINLINE vf v_load_some(const float *p, int n) { return n >= VW ? v_load(p) : n > 0 ? v_load_n(p, n) : v_zero(); }
VINLINE void v_store_some(float *p, vf v, int n) {
  if (n >= VW)
    v_store(p, v);
  else if (n > 0)
    v_store_n(p, v, n);
}
#endif

/* Every lane becomes the sum, or the most, of the lanes that lie a multiple of n away from it; n = 1, 2, 4, ... */
VINLINE vf v_fold_in(vf v, vf w, bool most) { return most ? v_max(v, w) : v_add(v, w); }
VINLINE vf v_fold(vf v, int n, const bool most) {
#ifdef __AVX512F__
  if (n <= 8) v = v_fold_in(v, _mm512_shuffle_f32x4(v, v, 0x4e), most);
  if (n <= 4) v = v_fold_in(v, _mm512_shuffle_f32x4(v, v, 0xb1), most);
  return n <= 2 ? v_fold_in(v, _mm512_permute_ps(v, 0x4e), most) : v;
#else
  if (n <= 4) v = v_fold_in(v, _mm256_permute2f128_ps(v, v, 1), most);
  return n <= 2 ? v_fold_in(v, _mm256_permute_ps(v, 0x4e), most) : v;
#endif
}

/* 2^x for x <= 0, to 4e-6 of it: a polynomial of degree 4 at Chebyshev nodes of the fraction, [0, 1) */
VINLINE vf v_exp2(vf x) {
#ifdef __AVX512F__
  vf r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC), n = x; /* scalef takes the floor itself; of -infinity r is 0 */
#else
  x = v_max(v_set1(-126.0f), x);
  vf n = _mm256_floor_ps(x), r = v_sub(x, n);
#endif
  vf q = v_fma(v_set1(0.013670309f), r, v_set1(0.051744998f));
  q = v_fma(q, r, v_set1(0.24160436f));
  q = v_fma(q, r, v_set1(0.69297292f));
  return v_ldexp(v_fma(q, r, v_set1(1.0000035f)), n);
}
#endif
