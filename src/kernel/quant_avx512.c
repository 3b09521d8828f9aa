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

/* ---- whole rows ---- */

/* GELU's tanh form, to 7e-5 of it: it is about to be rounded to a byte */
VINLINE vf gelu_roughly(vf x) {
  vf y = v_mul(x, v_fma(v_mul(x, x), v_set1(-1.44269504f * GELU_2U * GELU_CUBIC), v_set1(-1.44269504f * GELU_2U)));
  return v_mul(x, _mm512_rcp14_ps(v_add(v_set1(1.0f), v_exp2(y))));
}

/* R rows: their largest numbers are found and divided by at the same time. Of sizes as whole numbers, no number is the largest. */
VINLINE void bytes_of(const int R, const bool gelu, int columns, const float *x, float *y, uint8_t *q, float *scale) {
  const size_t across = byte_columns(columns);
  __m512i most[4];
  vf by[4];
  UNROLL for (int r = 0; r < R; r++) most[r] = _mm512_setzero_si512();
  for (int i = 0; i < columns; i += 16) {
    const int n = columns - i < 16 ? columns - i : 16;
    UNROLL for (int r = 0; r < R; r++) {
      vf v = v_load_n(x + r * columns + i, n);
      if (gelu) v_store_n(y + r * columns + i, v = gelu_roughly(v), n);
      most[r] = _mm512_max_epu32(most[r], _mm512_castps_si512(_mm512_abs_ps(v)));
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    float largest = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128((int)_mm512_reduce_max_epu32(most[r]))));
    by[r] = v_set1(largest > 0 ? 127 / largest : 0);
    scale[r] = largest * (1 / 127.0f);
  }
  const float *from = gelu ? y : x;
  const vf whole = v_set1(0x1.8p23f + 128); /* added, the number's lowest byte is the sum rounded */
  for (int i = 0; i < columns; i += 16) {
    const int n = columns - i < 16 ? columns - i : 16;
    UNROLL for (int r = 0; r < R; r++) {
      vf v = v_fma(v_load_n(from + r * columns + i, n), by[r], whole);
      _mm512_mask_cvtepi32_storeu_epi8(q + (size_t)r * across + i, v_first((n + 3) / 4 * 4), _mm512_castps_si512(v));
    }
  }
}

VINLINE void bytes_of_rows(const bool gelu, int m, int columns, const float *x, float *y, uint8_t *q, float *scale) {
  for (int t = 0, n; t < m; t += n, x += n * columns, y = y ? y + n * columns : y, q += (size_t)n * byte_columns(columns)) {
    n = m - t >= 4 ? 4 : 1;
    if (n == 4)
      bytes_of(4, gelu, columns, x, y, q, scale + t);
    else
      bytes_of(1, gelu, columns, x, y, q, scale + t);
  }
}
static void to_bytes(int m, int columns, const float *x, uint8_t *q, float *scale) { bytes_of_rows(false, m, columns, x, NULL, q, scale); }
static void gelu_to_bytes(int m, int columns, float *x, uint8_t *q, float *scale) { bytes_of_rows(true, m, columns, x, x, q, scale); }

#define DOT_ROWS(sum, bytes, weights) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(bytes), "v"(weights))
/* G groups of W times M rows: as many sums as registers hold, so that each unit always has one to go on with */
VINLINE void byte_tile(const int M, const int G, const struct byte_matrix *w, int group, const uint8_t *q, const float *scale,
                       const float *bias, float *y, const int8_t *ahead) {
  const size_t across = byte_columns(w->columns);
  const int8_t *p = w->packed + (size_t)group * 16 * across;
  __m512i sum[8][3];
  UNROLL for (int i = 0; i < M; i++) UNROLL for (int g = 0; g < G; g++) sum[i][g] = _mm512_loadu_si512(w->begin + 16 * (group + g));
  for (size_t k = 0; k < across; k += 4) {
    __m512i weights[3];
    _mm_prefetch((const char *)ahead + 16 * k, _MM_HINT_T0);
    UNROLL for (int g = 0; g < G; g++) weights[g] = _mm512_loadu_si512(p + ((size_t)g * across + k) * 16);
    UNROLL for (int i = 0; i < M; i++) {
      int32_t four;
      memcpy(&four, q + (size_t)i * across + k, sizeof four);
      __m512i bytes = _mm512_set1_epi32(four);
      UNROLL for (int g = 0; g < G; g++) DOT_ROWS(sum[i][g], bytes, weights[g]);
    }
  }
  UNROLL for (int g = 0; g < G; g++) {
    int row = 16 * (group + g), n = w->rows - row < 16 ? w->rows - row : 16;
    vf of = v_load(w->scale + row), b = bias ? v_load_n(bias + row, n) : v_zero();
    UNROLL for (int i = 0; i < M; i++)
        v_store_n(y + (size_t)i * (size_t)w->rows + row, v_add(v_mul(_mm512_cvtepi32_ps(sum[i][g]), v_mul(v_set1(scale[i]), of)), b), n);
  }
}

VINLINE void byte_groups(const int G, const struct byte_matrix *w, int group, int m, const uint8_t *q, const float *scale,
                         const float *bias, float *y) {
  const size_t across = byte_columns(w->columns), rows = (size_t)w->rows;
  const int8_t *own = w->packed + (size_t)group * 16 * across;
  int t = 0;
  for (int part = 0; t + 8 <= m; t += 8, part += part < G) /* each of the first tiles calls for a part of the next groups */
    byte_tile(8, G, w, group, q + (size_t)t * across, scale + t, bias, y + (size_t)t * rows,
              own + (size_t)((G + part) % (2 * G)) * 16 * across);
  for (; t + 4 <= m; t += 4) byte_tile(4, G, w, group, q + (size_t)t * across, scale + t, bias, y + (size_t)t * rows, own);
  for (; t < m; t++) byte_tile(1, G, w, group, q + (size_t)t * across, scale + t, bias, y + (size_t)t * rows, own);
}

static void byte_product(const struct byte_matrix *w, int m, const uint8_t *q, const float *scale, const float *bias, float *y) {
  int group = 0, groups = (w->rows + 15) / 16;
  for (; group + 3 <= groups; group += 3) byte_groups(3, w, group, m, q, scale, bias, y);
  if (groups - group == 2) byte_groups(2, w, group, m, q, scale, bias, y);
  if (groups - group == 1) byte_groups(1, w, group, m, q, scale, bias, y);
}

#include "kernel/quant_words_vec.h"

const struct quant_kernel quant_column_avx512 = {"avx512",      activations,  product,  attention,    to_half, to_bytes,
                                                 gelu_to_bytes, byte_product, to_words, word_product, gelu_erf};
