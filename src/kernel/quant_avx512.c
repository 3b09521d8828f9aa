/* Quantised products with VNNI: 16 rows in a register's lanes, four columns a lane, an activation quad broadcast from memory. */
#include "kernel/quant_vec.h"

enum { TILE_MOST = 8 };

/* gcc 12 spills around the intrinsic in long loops; the broadcast form is one micro-fused instruction. */
#define DOT(sum, weights, quad) \
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(weights), "m"(*(const int32_t *)(const void *)(quad)))

VINLINE __m512 scales(const uint8_t *p, bool wide, int which) {
  if (wide) return _mm512_loadu_ps((const float *)(const void *)(p + 64 * which));
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p + 32 * which)));
}

VINLINE void product_tile(const struct quant_matrix *w, const uint8_t *p, const struct quant_activations *a, int t, const int M,
                          const bool nibbles, const bool minima, const bool halves, const bool wide, float *y, size_t ldy, int valid) {
  const size_t head = (size_t)(wide ? 64 : 32) * (size_t)(1 + halves + minima), block_bytes = head + (nibbles ? 256 : 512);
  const size_t columns = a->columns, blocks = columns / 32;
  const __m128i shift = _mm_cvtsi32_si128(w->zero_shift < 0 ? 32 : w->zero_shift); /* by 32: zero */
  const int8_t *x = a->q + (size_t)t * columns;
  const float *scale = a->scale + (size_t)t * blocks, *sum = a->sum + (size_t)t * blocks;
  const int32_t *minus = (halves ? a->minus : a->minus_whole) + (size_t)t * blocks * (halves ? 2 : 1);
  __m512 y_[8];
  UNROLL for (int i = 0; i < M; i++) y_[i] = _mm512_setzero_ps();
  for (size_t b = 0; b < blocks; b++, p += block_bytes) {
    __m512i q[8];
    if (nibbles) {
      const __m512i low = _mm512_set1_epi8(15);
      UNROLL for (int j = 0; j < 4; j++) {
        __m512i v = _mm512_loadu_si512(p + head + 64 * j);
        q[j] = _mm512_and_si512(v, low);
        q[j + 4] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
      }
    } else {
      UNROLL for (int j = 0; j < 8; j++) q[j] = _mm512_loadu_si512(p + head + 64 * j);
    }
    __m512 d = scales(p, wide, 0), second = halves || minima ? scales(p, wide, 1) : d;
    UNROLL for (int i = 0; i < M; i++) {
      const int8_t *xi = x + (size_t)i * columns + 32 * b;
      __m512 dx = _mm512_set1_ps(scale[(size_t)i * blocks + b]);
      if (halves) {
        const int32_t *m = minus + 2 * ((size_t)i * blocks + b);
        __m512i s0 = _mm512_sll_epi32(_mm512_set1_epi32(m[0]), shift), s1 = _mm512_sll_epi32(_mm512_set1_epi32(m[1]), shift);
        UNROLL for (int j = 0; j < 4; j++) DOT(s0, q[j], xi + 4 * j);
        UNROLL for (int j = 4; j < 8; j++) DOT(s1, q[j], xi + 4 * j);
        __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s1), second, _mm512_mul_ps(_mm512_cvtepi32_ps(s0), d));
        y_[i] = _mm512_fmadd_ps(v, dx, y_[i]);
      } else {
        __m512i s = minima ? _mm512_setzero_si512() : _mm512_sll_epi32(_mm512_set1_epi32(minus[(size_t)i * blocks + b]), shift);
        UNROLL for (int j = 0; j < 8; j++) DOT(s, q[j], xi + 4 * j);
        y_[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s), _mm512_mul_ps(d, dx), y_[i]);
        if (minima) y_[i] = _mm512_fnmadd_ps(second, _mm512_set1_ps(sum[(size_t)i * blocks + b]), y_[i]);
      }
    }
    if (M == 1)
      _mm_prefetch((const char *)(p + 2048), _MM_HINT_T0), _mm_prefetch((const char *)(p + 2112), _MM_HINT_T0),
          _mm_prefetch((const char *)(p + 2176), _MM_HINT_T0), _mm_prefetch((const char *)(p + 2240), _MM_HINT_T0),
          _mm_prefetch((const char *)(p + 2304), _MM_HINT_T0);
  }
  UNROLL for (int i = 0; i < M; i++) v_store_n(y + (size_t)(t + i) * ldy, y_[i], valid);
}

#include "kernel/quant_product_vec.h"

const struct quant_kernel quant_column_avx512 = {"avx512", activations, product, attention, to_half, gelu_erf};
