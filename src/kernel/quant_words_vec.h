/* Private: kernel/quant.h's products of 13-bit whole numbers; included by the vector columns. */
#ifndef KERNEL_QUANT_WORDS_VEC_H
#define KERNEL_QUANT_WORDS_VEC_H
#include "kernel/quant_vec.h"

static void to_words(int m, int columns, const float *x, int16_t *q, float *scale) {
  for (int t = 0; t < m; t++, x += columns)
    for (int b = 0; b < columns; b += WORD_BLOCK, q += WORD_BLOCK) {
      int n = columns - b < WORD_BLOCK ? columns - b : WORD_BLOCK;
      vf v[WORD_BLOCK / VW], most = v_zero(), bad = v_zero();
      UNROLL for (int i = 0; i < WORD_BLOCK / VW; i++) {
        v[i] = v_load_some(x + b + VW * i, n - VW * i);
        most = v_max(v_max(v[i], v_sub(v_zero(), v[i])), most), bad = v_fma(v[i], v_zero(), bad);
      }
      float largest = v_max_all(most), none = v_sum(bad);
      vf inverse = v_set1(largest > 0 ? 4095 / largest : 0);
      *scale++ = largest * (1 / 4095.0f) + none;
      UNROLL for (int i = 0; i < WORD_BLOCK / VW; i++) vi_words_store(q + VW * i, vi_round(v_mul(v[i], inverse)));
    }
}

enum { WORD_ROWS = VW == 16 ? 8 : 6, WORD_GROUPS = VW == 16 ? 3 : 1 }; /* as many sums as registers hold */
/* Block b of G groups times M rows: the first begins y, the others add to it. */
VINLINE void word_tile(const int M, const int G, const struct word_matrix *w, int group, size_t b, const int16_t *q, const float *scale,
                       const float *bias, float *y, size_t ldy) {
  const size_t blocks = word_blocks(w->columns), across = blocks * WORD_BLOCK, each = 64 + 64 * WORD_BLOCK / 2;
  const uint8_t *p = w->packed + ((size_t)group * blocks + b) * each;
  const int registers = G * PER16, columns = w->columns - (int)b * WORD_BLOCK;
  vi sum[WORD_ROWS][3];
  UNROLL for (int i = 0; i < M; i++) UNROLL for (int v = 0; v < registers; v++) sum[i][v] = vi_fresh_zero();
  const size_t end = columns < WORD_BLOCK ? (size_t)(columns + 1) / 2 : WORD_BLOCK / 2;
  q += b * WORD_BLOCK;
  for (size_t k = 0; k < end; k++) {
    vi weights[3];
    UNROLL for (int v = 0; v < registers; v++) weights[v] =
        vi_load((const int32_t *)(const void *)(p + (size_t)(v / PER16) * blocks * each + 64 + 64 * k) + v % PER16 * VW);
    UNROLL for (int i = 0; i < M; i++) {
      int32_t two;
      memcpy(&two, q + (size_t)i * across + 2 * k, sizeof two);
      vi pairs = vi_set1(two);
      UNROLL for (int v = 0; v < registers; v++) sum[i][v] = vi_dot(sum[i][v], pairs, weights[v]);
    }
  }
  UNROLL for (int v = 0; v < registers; v++) {
    const int row = 16 * group + v * VW, n = w->rows - row;
    const float *scales = (const float *)(const void *)(p + (size_t)(v / PER16) * blocks * each) + v % PER16 * VW;
    vf of = v_load(scales), start = bias ? v_load_some(bias + row, n) : v_zero();
    UNROLL for (int i = 0; i < M; i++) {
      float *to = y + (size_t)i * ldy + row;
      vf before = b ? v_load_some(to, n) : start;
      v_store_some(to, v_fma(vi_float(sum[i][v]), v_mul(of, v_set1(scale[(size_t)i * blocks + b])), before), n);
    }
  }
}

/* Whole tiles, by rows and groups */
typedef void word_function(const struct word_matrix *, int, size_t, const int16_t *, const float *, const float *, float *, size_t);
#define WORD_TILE(M, G)                                                                                                   \
  static void word_tile_##M##_##G(const struct word_matrix *w, int group, size_t b, const int16_t *q, const float *scale, \
                                  const float *bias, float *y, size_t ldy) {                                              \
    word_tile(M, G, w, group, b, q, scale, bias, y, ldy);                                                                 \
  }
#ifdef __AVX512F__
WORD_TILE(8, 3)
WORD_TILE(4, 3)
WORD_TILE(1, 3)
WORD_TILE(8, 1)
WORD_TILE(4, 1)
WORD_TILE(1, 1)
static word_function *const word_tiles[2][3] = {{word_tile_8_1, word_tile_4_1, word_tile_1_1},
                                                {word_tile_8_3, word_tile_4_3, word_tile_1_3}};
static const int word_rows[3] = {8, 4, 1};
#else
WORD_TILE(6, 1)
WORD_TILE(4, 1)
WORD_TILE(2, 1)
WORD_TILE(1, 1)
static word_function *const word_tiles[1][4] = {{word_tile_6_1, word_tile_4_1, word_tile_2_1, word_tile_1_1}};
static const int word_rows[4] = {6, 4, 2, 1};
#endif

/* A block of the weights stays in the first cache while all rows go by. */
static void word_product(const struct word_matrix *w, int first_group, int end_group, int m, const int16_t *q, const float *scale,
                         const float *bias, float *y, size_t ldy) {
  const size_t blocks = word_blocks(w->columns), across = blocks * WORD_BLOCK;
  for (int g = first_group, several; g < end_group; g += several ? WORD_GROUPS : 1) {
    several = WORD_GROUPS > 1 && g + WORD_GROUPS <= end_group;
    for (size_t b = 0; b < blocks; b++)
      for (int t = 0, rows; t < m; t += rows) {
        int i = 0;
        while (m - t < word_rows[i]) i++;
        rows = word_rows[i];
        word_tiles[several][i](w, g, b, q + (size_t)t * across, scale + (size_t)t * blocks, bias, y + (size_t)t * ldy, ldy);
      }
  }
}
#endif
