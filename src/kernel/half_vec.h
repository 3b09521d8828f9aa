/* Private: half-precision numbers in memory, floats in registers; over vec.h, for columns whose flags hold F16C (all do). */
#ifndef KERNEL_HALF_VEC_H
#define KERNEL_HALF_VEC_H
#include "kernel/vec.h"

#ifdef __AVX512F__
VINLINE vf v_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
VINLINE void v_half_store(uint16_t *p, vf v) { _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
#else
VINLINE vf v_half(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }
VINLINE void v_half_store(uint16_t *p, vf v) { _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
#endif
#endif
