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
VINLINE void vi_bytes_store_half(int8_t *p, vi a, int half, int n) {
  int32_t x[VW];
  vi_store(x, a);
  for (int i = 0; i < n; i++) p[2 * i + half] = (int8_t)x[i];
}
VINLINE void vi_bytes_store(int8_t *p, vi a, vi b, int n) { vi_bytes_store_half(p, a, 0, n), vi_bytes_store_half(p, b, 1, n); }
VINLINE vi vi_round(vf v) { return _mm256_cvtps_epi32(v); }
VINLINE vf vi_float(vi v) { return _mm256_cvtepi32_ps(v); }
VINLINE vi vi_pair(vi a, vi b) { return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa); }
VINLINE vi vi_dot(vi sum, vi a, vi b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
VINLINE vi vi_repeat(const int32_t *p, int n) { /* n = 2, 4, 8 */
  if (n == 8) return vi_load(p);
  if (n == 4) return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
  return _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
VINLINE vf v_gather(const float *p, vi at) {
  return _mm256_mask_i32gather_ps(v_zero(), p, at, _mm256_castsi256_ps(vi_ge(at, vi_set1(0))), 4);
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
