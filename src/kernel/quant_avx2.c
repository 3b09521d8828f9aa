/* Quantised products with AVX2: as the AVX-512 column, in two halves of eight rows, by pairs of 16-bit sums. */
#include "kernel/quant_vec.h"

enum { TILE_MOST = 4 };

VINLINE __m256 scales(const uint8_t *p, bool wide, int which, int half) {
  if (wide) return _mm256_loadu_ps((const float *)(const void *)(p + 64 * which) + 8 * half);
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 32 * which + 16 * half)));
}

/* u8 x s8 in pairs stays below 2^15 for quants up to 63; bytes that fill all 8 bits go by size and sign */
VINLINE __m256i dot(__m256i sum, __m256i q, int32_t quad, const bool full_bytes) {
  __m256i x = _mm256_set1_epi32(quad), pairs;
  if (full_bytes) {
    __m256i s = _mm256_xor_si256(q, _mm256_set1_epi8((char)0x80));
    pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(s), _mm256_sign_epi8(x, s));
  } else {
    pairs = _mm256_maddubs_epi16(q, x);
  }
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

VINLINE void load_half(const uint8_t *p, const bool nibbles, int half, __m256i q[8]) {
  const __m256i low = _mm256_set1_epi8(15);
  for (int j = 0; j < (nibbles ? 4 : 8); j++) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(p + 64 * j + 32 * half));
    q[j] = nibbles ? _mm256_and_si256(v, low) : v;
    if (nibbles) q[j + 4] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
  }
}

VINLINE void product_tile(const struct quant_matrix *w, const uint8_t *group, const struct quant_activations *a, int t, const int M,
                          const bool nibbles, const bool minima, const bool halves, const bool wide, float *y, size_t ldy, int valid) {
  const size_t head = (size_t)(wide ? 64 : 32) * (size_t)(1 + halves + minima), block_bytes = head + (nibbles ? 256 : 512);
  const size_t columns = a->columns, blocks = columns / 32;
  const bool full = !nibbles && !minima && !halves && w->zero_shift == 7;
  const int zero = w->zero_shift < 0 || full ? 0 : 1 << w->zero_shift;
  for (int half = 0; half < 2; half++) {
    const uint8_t *p = group;
    __m256 y_[4];
    UNROLL for (int i = 0; i < M; i++) y_[i] = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++, p += block_bytes) {
      __m256i q[8];
      load_half(p + head, nibbles, half, q);
      __m256 d = scales(p, wide, 0, half), second = halves || minima ? scales(p, wide, 1, half) : d;
      UNROLL for (int i = 0; i < M; i++) {
        size_t row = (size_t)(t + i), at = row * blocks + b;
        int32_t x[8];
        memcpy(x, a->q + row * columns + 32 * b, 32);
        __m256i s0 = _mm256_set1_epi32((halves ? a->minus[2 * at] : a->minus_whole[at]) * zero);
        __m256i s1 = halves ? _mm256_set1_epi32(a->minus[2 * at + 1] * zero) : _mm256_setzero_si256();
        UNROLL for (int j = 0; j < 4; j++) {
          s0 = full ? dot(s0, q[j], x[j], true) : dot(s0, q[j], x[j], false);
          s1 = full ? dot(s1, q[j + 4], x[j + 4], true) : dot(s1, q[j + 4], x[j + 4], false);
        }
        __m256 v = halves ? _mm256_fmadd_ps(_mm256_cvtepi32_ps(s1), second, _mm256_mul_ps(_mm256_cvtepi32_ps(s0), d))
                          : _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(s0, s1)), d);
        y_[i] = _mm256_fmadd_ps(v, _mm256_set1_ps(a->scale[at]), y_[i]);
        if (minima) y_[i] = _mm256_fnmadd_ps(second, _mm256_set1_ps(a->sum[at]), y_[i]);
      }
    }
    int n = valid - 8 * half;
    if (n <= 0) continue;
    UNROLL for (int i = 0; i < M; i++) v_store_n(y + (size_t)(t + i) * ldy + 8 * half, y_[i], n < 8 ? n : 8);
  }
}

#include "kernel/quant_product_vec.h"

#include "kernel/quant_words_vec.h"

const struct quant_kernel quant_column_avx2 = {"avx2", activations, product,  attention,    to_half, NULL,
                                               NULL,   NULL,        to_words, word_product, gelu_erf};
