/* Private: kernel/quant.h's products of 13-bit whole numbers with AVX-512 VNNI; included by quant_avx512.c. */
#ifndef KERNEL_QUANT_WORDS_VEC_H
#define KERNEL_QUANT_WORDS_VEC_H
#include "kernel/quant_vec.h"

static void to_words(int m, int columns, const float *x, int16_t *q, float *scale) {
  for (int t = 0; t < m; t++, x += columns)
    for (int b = 0; b < columns; b += WORD_BLOCK, q += WORD_BLOCK) {
      int n = columns - b < WORD_BLOCK ? columns - b : WORD_BLOCK;
      vf v[WORD_BLOCK / 16], most = v_zero(), bad = v_zero();
      UNROLL for (int i = 0; i < WORD_BLOCK / 16; i++) {
        int rest = n - 16 * i;
        v[i] = rest >= 16 ? v_load(x + b + 16 * i) : rest > 0 ? v_load_n(x + b + 16 * i, rest) : v_zero();
        most = v_max(_mm512_abs_ps(v[i]), most), bad = v_fma(v[i], v_zero(), bad);
      }
      float largest = v_max_all(most), none = v_sum(bad);
      vf inverse = v_set1(largest > 0 ? 4095 / largest : 0);
      *scale++ = largest * (1 / 4095.0f) + none;
      UNROLL for (int i = 0; i < WORD_BLOCK / 16; i++)
          _mm256_storeu_si256((__m256i *)(void *)(q + 16 * i), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v_mul(v[i], inverse))));
    }
}

#define DOT_PAIRS(sum, pairs, weights) __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(pairs), "v"(weights))
/* Block b of G groups times M rows: the first begins y, the others add to it. As many sums as registers hold. */
VINLINE void word_tile(const int M, const int G, const struct word_matrix *w, int group, size_t b, const int16_t *q, const float *scale,
                       const float *bias, float *y, size_t ldy) {
  const size_t blocks = word_blocks(w->columns), across = blocks * WORD_BLOCK, each = 64 + 64 * WORD_BLOCK / 2;
  const uint8_t *p = w->packed + ((size_t)group * blocks + b) * each;
  __m512i sum[8][3];
  UNROLL for (int i = 0; i < M; i++) UNROLL for (int g = 0; g < G; g++) sum[i][g] = _mm512_setzero_si512();
  size_t end = WORD_BLOCK / 2;
  __asm__("" : "+r"(end)); /* gcc 12 holds the sums in memory if it knows how often the loop runs */
  q += b * WORD_BLOCK;
  for (size_t k = 0; k < end; k++) {
    __m512i weights[3];
    UNROLL for (int g = 0; g < G; g++) weights[g] = _mm512_loadu_si512(p + (size_t)g * blocks * each + 64 + 64 * k);
    UNROLL for (int i = 0; i < M; i++) {
      int32_t two;
      memcpy(&two, q + (size_t)i * across + 2 * k, sizeof two);
      __m512i pairs = _mm512_set1_epi32(two);
      UNROLL for (int g = 0; g < G; g++) DOT_PAIRS(sum[i][g], pairs, weights[g]);
    }
  }
  UNROLL for (int g = 0; g < G; g++) {
    int row = 16 * (group + g), n = w->rows - row < 16 ? w->rows - row : 16;
    vf of = v_load((const float *)(const void *)(p + (size_t)g * blocks * each)), start = bias ? v_load_n(bias + row, n) : v_zero();
    UNROLL for (int i = 0; i < M; i++) {
      float *to = y + (size_t)i * ldy + row;
      vf before = b ? v_load_n(to, n) : start;
      v_store_n(to, v_fma(_mm512_cvtepi32_ps(sum[i][g]), v_mul(of, v_set1(scale[(size_t)i * blocks + b])), before), n);
    }
  }
}

/* Whole tiles, by rows and groups */
#define WORD_TILE(M, G)                                                                                                   \
  static void word_tile_##M##_##G(const struct word_matrix *w, int group, size_t b, const int16_t *q, const float *scale, \
                                  const float *bias, float *y, size_t ldy) {                                              \
    word_tile(M, G, w, group, b, q, scale, bias, y, ldy);                                                                 \
  }
WORD_TILE(8, 3)
WORD_TILE(4, 3)
WORD_TILE(1, 3)
WORD_TILE(8, 1)
WORD_TILE(4, 1)
WORD_TILE(1, 1)

/* A block of the weights stays in the first cache while all rows go by. */
static void word_product(const struct word_matrix *w, int first_group, int end_group, int m, const int16_t *q, const float *scale,
                         const float *bias, float *y, size_t ldy) {
  static void (*const tile[2][3])(const struct word_matrix *, int, size_t, const int16_t *, const float *, const float *, float *,
                                  size_t) = {{word_tile_8_1, word_tile_4_1, word_tile_1_1}, {word_tile_8_3, word_tile_4_3, word_tile_1_3}};
  const size_t blocks = word_blocks(w->columns), across = blocks * WORD_BLOCK;
  for (int g = first_group, three; g < end_group; g += three ? 3 : 1) {
    three = g + 3 <= end_group;
    for (size_t b = 0; b < blocks; b++)
      for (int t = 0, rows; t < m; t += rows) {
        int i = m - t >= 8 ? 0 : m - t >= 4 ? 1 : 2;
        rows = i == 0 ? 8 : i == 1 ? 4 : 1;
        tile[three][i](w, g, b, q + (size_t)t * across, scale + (size_t)t * blocks, bias, y + (size_t)t * ldy, ldy);
      }
  }
}
#endif
