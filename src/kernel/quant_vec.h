/* Private: what the vector columns of kernel/quant.h share; included by quant_avx2.c and quant_avx512.c, which define
 *   product_tile(w, packed group, a, first row of a, M, y, ldy)  for constant M. */
#ifndef KERNEL_QUANT_VEC_H
#define KERNEL_QUANT_VEC_H
#include <string.h>

#include "kernel/exp_vec.h"
#include "kernel/half_vec.h"
#include "kernel/kernel_columns.h"
#include "kernel/quant_columns.h"

enum { PER16 = 16 / VW }; /* registers for 16 floats */
static void to_half(size_t n, const float *x, uint16_t *y) {
  size_t i = 0;
  for (; i + VW <= n; i += VW) v_half_store(y + i, v_load(x + i));
  if (i == n) return;
  uint16_t rest[VW];
  v_half_store(rest, v_load_n(x + i, (int)(n - i)));
  memcpy(y + i, rest, (n - i) * sizeof *rest);
}

/* erf by Abramowitz & Stegun 7.1.26: 1 - (a1 t + … + a5 t^5) exp(-x^2), t = 1 / (1 + p x), for x >= 0; absolute error 1.5e-7 */
VINLINE vf gelu_of(vf x) {
  vf z = v_mul(x, v_set1(0.70710678f)), a = v_max(z, v_sub(v_zero(), z));
  vf t = v_div(v_set1(1.0f), v_fma(v_set1(0.3275911f), a, v_set1(1.0f)));
  vf y = v_fma(v_set1(1.061405429f), t, v_set1(-1.453152027f));
  y = v_fma(y, t, v_set1(1.421413741f));
  y = v_fma(y, t, v_set1(-0.284496736f));
  y = v_mul(v_fma(y, t, v_set1(0.254829592f)), t);
  vf tail = v_mul(v_set1(0.5f), v_mul(y, v_exp(v_mul(v_sub(v_zero(), a), a)))); /* (1 - erf(a)) / 2 */
  return v_fnma(a, v_mul(tail, v_set1(1.41421356f)), v_max(x, v_zero()));       /* x Phi(x) = max(x, 0) - |x| (1 - Phi(|x|)) */
}

static void gelu_erf(size_t n, float *x) {
  size_t i = 0;
  for (; i + VW <= n; i += VW) v_store(x + i, gelu_of(v_load(x + i)));
  if (i < n) v_store_n(x + i, gelu_of(v_load_n(x + i, (int)(n - i))), (int)(n - i));
}

/* ---- attention ---- */

VINLINE vf v_cached(const void *p, size_t i, const bool wide) {
  return wide ? v_load((const float *)p + i) : v_half((const uint16_t *)p + i);
}

/* Scores of R rows against KB blocks of 16 keys; a row's scores lie `stride` floats apart. */
VINLINE void scores_tile(const struct quant_attention *a, int row, const int R, const int KB, int block, float *scores, size_t stride,
                         const bool wide) {
  vf s[8][4 * PER16];
  size_t d = (size_t)a->head, k = (size_t)block * 16 * d;
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int b = 0; b < KB * PER16; b++) s[r][b] = v_zero();
  for (size_t i = 0; i < d; i++) {
    vf key[4 * PER16];
    UNROLL for (int b = 0; b < KB; b++) UNROLL for (int h = 0; h < PER16; h++) key[b * PER16 + h] =
        v_cached(a->k, k + (size_t)b * 16 * d + 16 * i + (size_t)(h * VW), wide);
    UNROLL for (int r = 0; r < R; r++) {
      vf q = v_set1(a->q[row + r][i]);
      UNROLL for (int b = 0; b < KB * PER16; b++) s[r][b] = v_fma(q, key[b], s[r][b]);
    }
  }
  vf scale = v_set1(a->scale);
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int b = 0; b < KB * PER16; b++)
      v_store(scores + (size_t)r * stride + 16 * (size_t)block + (size_t)(b * VW), v_mul(s[r][b], scale));
}

VINLINE void scores_rows(const struct quant_attention *a, int row, const int R, int first, int end, size_t stride, const bool wide) {
  float *scores = a->scratch + (size_t)row * stride;
  const int most = R > 4 ? 1 : R > 2 ? 2 : 4; /* as many sums as registers allow */
  int b = first / 16, blocks = (end + 15) / 16;
  for (; b + most <= blocks; b += most) scores_tile(a, row, R, most, b, scores, stride, wide);
  for (; b < blocks; b++) scores_tile(a, row, R, 1, b, scores, stride, wide);
}

/* exp(score - largest) in [begin, end), zero elsewhere in [first, last); returns 1 / sum */
static float soften(const struct quant_attention *a, float *s, int first, int begin, int end, int last) {
  for (int j = first; j < begin; j++) s[j] = -INFINITY;
  for (int j = end; j < last; j++) s[j] = -INFINITY;
  if (a->cap > 0)
    for (int j = begin; j < end; j++) s[j] = a->cap * tanhf(s[j] / a->cap);
  vf most = v_set1(-INFINITY), sum = v_zero();
  for (int j = first; j < last; j += VW) most = v_max(v_load(s + j), most);
  vf top = v_set1(v_max_all(most));
  for (int j = first; j < last; j += VW) {
    vf p = v_exp(v_sub(v_load(s + j), top));
    v_store(s + j, p);
    sum = v_add(sum, p);
  }
  for (int j = first; j < begin; j++) s[j] = 0;
  for (int j = end; j < last; j++) s[j] = 0;
  return 1.0f / v_sum(sum);
}

/* R rows' weighted values, D registers of the head at a time */
VINLINE void values_tile(const struct quant_attention *a, int row, const int R, const int D, int at, int first, int end, size_t stride,
                         const float *inverse, const bool wide) {
  vf o[4][8];
  const float *p = a->scratch + (size_t)row * stride;
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int i = 0; i < D; i++) o[r][i] = v_zero();
  for (int j = first; j < end; j++) {
    vf value[8];
    UNROLL for (int i = 0; i < D; i++) value[i] = v_cached(a->v, (size_t)j * (size_t)a->head + (size_t)(at + i * VW), wide);
    UNROLL for (int r = 0; r < R; r++) {
      vf w = v_set1(p[(size_t)r * stride + (size_t)j]);
      UNROLL for (int i = 0; i < D; i++) o[r][i] = v_fma(w, value[i], o[r][i]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int i = 0; i < D; i++)
      v_store(a->out[row + r] + at + i * VW, v_mul(o[r][i], v_set1(inverse[row + r])));
}

static void values_rest(const struct quant_attention *a, int row, int at, int first, int end, size_t stride, const float *inverse) {
  for (int i = at; i < a->head; i++) {
    float o = 0;
    for (int j = first; j < end; j++) {
      size_t k = (size_t)j * (size_t)a->head + (size_t)i;
      o += a->scratch[(size_t)row * stride + (size_t)j] * (a->wide ? ((const float *)a->v)[k] : quant_half(((const uint16_t *)a->v)[k]));
    }
    a->out[row][i] = o * inverse[row];
  }
}

VINLINE void values_rows(const struct quant_attention *a, int row, const int R, int first, int end, size_t stride, const float *inverse,
                         const bool wide) {
  int at = 0;
  for (; at + 4 * VW <= a->head; at += 4 * VW) values_tile(a, row, R, 4, at, first, end, stride, inverse, wide);
  for (; at + VW <= a->head; at += VW) values_tile(a, row, R, 1, at, first, end, stride, inverse, wide);
  if (at < a->head)
    for (int r = 0; r < R; r++) values_rest(a, row + r, at, first, end, stride, inverse);
}

VINLINE void attention_of(const struct quant_attention *a, const bool wide) {
  int last_own = a->position + (a->phase + a->rows - 1) / a->group, end = a->full ? a->keys : last_own + 1;
  int first = a->window > 0 && !a->full && a->position + 1 > a->window ? a->position + 1 - a->window : 0;
  size_t stride = (size_t)((a->keys + 63) / 64 * 64);
  float inverse[8];
  int row = 0;
  for (; row + 8 <= a->rows; row += 8) scores_rows(a, row, 8, first, end, stride, wide);
  for (; row + 4 <= a->rows; row += 4) scores_rows(a, row, 4, first, end, stride, wide);
  if (a->rows - row == 3) scores_rows(a, row, 3, first, end, stride, wide);
  if (a->rows - row == 2) scores_rows(a, row, 2, first, end, stride, wide);
  if (a->rows - row == 1) scores_rows(a, row, 1, first, end, stride, wide);
  int from = first / 16 * 16, to = (end + 15) / 16 * 16;
  for (int r = 0; r < a->rows; r++) {
    int own = a->position + (a->phase + r) / a->group;
    int begin = a->window > 0 && !a->full && own + 1 > a->window ? own + 1 - a->window : 0;
    inverse[r] = soften(a, a->scratch + (size_t)r * stride, from, begin, a->full ? a->keys : own + 1, to);
  }
  for (row = 0; row + 4 <= a->rows; row += 4) values_rows(a, row, 4, first, end, stride, inverse, wide);
  if (a->rows - row == 3) values_rows(a, row, 3, first, end, stride, inverse, wide);
  if (a->rows - row == 2) values_rows(a, row, 2, first, end, stride, inverse, wide);
  if (a->rows - row == 1) values_rows(a, row, 1, first, end, stride, inverse, wide);
}

static void attention(const struct quant_attention *a) {
  if (a->wide)
    attention_of(a, true);
  else
    attention_of(a, false);
}

/* ---- activations ---- */

VINLINE int sum_bytes16(__m128i q) { /* of 16 signed bytes */
  __m128i s = _mm_sad_epu8(_mm_xor_si128(q, _mm_set1_epi8((char)0x80)), _mm_setzero_si128());
  return _mm_cvtsi128_si32(s) + _mm_extract_epi32(s, 2) - 16 * 128;
}

VINLINE void block_sums(struct quant_activations *a, size_t block) {
  const __m128i *q = (const __m128i *)(const void *)(a->q + 32 * block);
  int low = sum_bytes16(_mm_loadu_si128(q)), high = sum_bytes16(_mm_loadu_si128(q + 1));
  a->minus[2 * block] = -low;
  a->minus[2 * block + 1] = -high;
  a->minus_whole[block] = -low - high;
}

VINLINE void bytes32(const float *x, float inverse, int8_t *q) {
  __m256 k = _mm256_set1_ps(inverse);
  __m256i r[4];
  UNROLL for (int i = 0; i < 4; i++) r[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), k));
  __m256i s0 = _mm256_packs_epi32(r[0], r[1]), s1 = _mm256_packs_epi32(r[2], r[3]);
  __m256i b = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(s0, s1), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256((__m256i *)(void *)q, b);
}

VINLINE float largest32(const float *x) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 m = _mm256_max_ps(_mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x)), _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 8))),
                           _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + 16)), _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 24))));
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

VINLINE float round_half(float x) { return _cvtsh_ss(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)); }

static void activations_32(enum quant_activation kind, int blocks, const float *x, struct quant_activations *a, size_t first) {
  for (int b = 0; b < blocks; b++) {
    size_t at = first + (size_t)b;
    float d = largest32(x + 32 * b) / 127.0f;
    bytes32(x + 32 * b, d != 0 ? 1.0f / d : 0, a->q + 32 * at);
    block_sums(a, at);
    a->scale[at] = round_half(d);
    a->sum[at] = kind == QUANT_A8_SUM ? round_half(d * (float)-a->minus_whole[at]) : 0;
  }
}

static void activations_256(int super, const float *x, struct quant_activations *a, size_t first) {
  for (int s = 0; s < super; s++) {
    float most = 0, value = 0;
    for (int b = 0; b < 8; b++) most = fmaxf(most, largest32(x + 256 * s + 32 * b));
    for (int i = 0; i < 256 && most > 0; i++)
      if (fabsf(x[256 * s + i]) == most) {
        value = x[256 * s + i];
        break;
      }
    float inverse = most > 0 ? -127.0f / value : 0, d = most > 0 ? 1.0f / inverse : 0;
    for (int b = 0; b < 8; b++) {
      size_t at = first + (size_t)(8 * s + b);
      bytes32(x + 256 * s + 32 * b, inverse, a->q + 32 * at);
      block_sums(a, at);
      a->scale[at] = d;
      a->sum[at] = d * (float)-a->minus_whole[at];
    }
  }
}

static void activations(enum quant_activation kind, int m, int columns, const float *x, size_t ldx, struct quant_activations *a) {
  a->columns = (size_t)columns;
  for (int t = 0; t < m; t++) {
    size_t first = (size_t)t * (size_t)(columns / 32);
    if (kind == QUANT_A8_K)
      activations_256(columns / 256, x + (size_t)t * ldx, a, first);
    else
      activations_32(kind, columns / 32, x + (size_t)t * ldx, a, first);
  }
}

/* ---- products: each form of block compiled for each number of rows ---- */

#define TILES(name, nibbles, minima, halves, wide)                                                                                     \
  static void name(const struct quant_matrix *w, const uint8_t *group, const struct quant_activations *a, int m, float *y, size_t ldy, \
                   int valid) {                                                                                                        \
    int t = 0;                                                                                                                         \
    for (; t + TILE_MOST <= m; t += TILE_MOST) product_tile(w, group, a, t, TILE_MOST, nibbles, minima, halves, wide, y, ldy, valid);  \
    for (; t + 2 <= m; t += 2) product_tile(w, group, a, t, 2, nibbles, minima, halves, wide, y, ldy, valid);                          \
    if (t < m) product_tile(w, group, a, t, 1, nibbles, minima, halves, wide, y, ldy, valid);                                          \
  }
#endif
