/* Private: half-precision numbers, or bytes, in memory, floats in registers; over vec.h, for columns whose flags hold F16C (all do). */
#ifndef KERNEL_HALF_VEC_H
#define KERNEL_HALF_VEC_H
#include "kernel/vec.h"

#ifdef __AVX512F__
VINLINE vf v_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
VINLINE void v_half_store(uint16_t *p, vf v) { _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
VINLINE vf v_bytes(const int8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p))); }
VINLINE void v_bytes_store(int8_t *p, vf v, int n) { _mm_mask_storeu_epi8(p, v_first(n), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v))); }
#else
VINLINE vf v_half(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }
VINLINE void v_half_store(uint16_t *p, vf v) { _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
VINLINE vf v_bytes(const int8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p))); }
VINLINE void v_bytes_store(int8_t *p, vf v, int n) {
  __m256i i = _mm256_cvtps_epi32(v);
  __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
  int64_t bytes = _mm_cvtsi128_si64(_mm_packs_epi16(w, w));
  __builtin_memcpy(p, &bytes, (size_t)n);
}
#endif
#endif
