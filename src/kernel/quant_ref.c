/* Products with quantised weights and attention over the half-precision cache, in plain C: the truth for the other columns. */
#include <math.h>
#include <string.h>

#include "kernel/kernel_columns.h"
#include "kernel/quant_columns.h"

static float scale_at(const struct quant_matrix *w, const uint8_t *p, int i) {
  float f;
  uint16_t h;
  if (w->wide) return memcpy(&f, p + 4 * i, 4), f;
  return memcpy(&h, p + 2 * i, 2), quant_half(h);
}

static unsigned quant_at(const struct quant_matrix *w, const uint8_t *p, int row, int column) {
  int quad = column / 4, i = column % 4;
  if (!w->nibbles) return p[64 * quad + 4 * row + i];
  return quad < 4 ? p[64 * quad + 4 * row + i] & 15u : p[64 * (quad - 4) + 4 * row + i] >> 4;
}

static void product(const struct quant_matrix *w, int first, int end, const struct quant_activations *a, int m, float *y, size_t ldy) {
  int blocks = w->columns / 32, zero = w->zero_shift < 0 ? 0 : 1 << w->zero_shift;
  size_t head = (size_t)(w->wide ? 64 : 32) * (size_t)(1 + w->halves + w->minima);
  for (int t = 0; t < m; t++)
    for (int row = 16 * first; row < 16 * end && row < w->rows; row++) {
      double sum = 0;
      for (int b = 0; b < blocks; b++) {
        const uint8_t *p = w->packed + ((size_t)(row / 16) * (size_t)blocks + (size_t)b) * w->block_bytes;
        const int8_t *q = a->q + (size_t)t * a->columns + 32 * (size_t)b;
        size_t at = (size_t)t * (a->columns / 32) + (size_t)b;
        int dot[2] = {0, 0};
        for (int i = 0; i < 32; i++) dot[i / 16] += ((int)quant_at(w, p + head, row % 16, i) - zero) * q[i];
        double d = (double)a->scale[at] * scale_at(w, p, row % 16);
        double second = w->halves ? (double)a->scale[at] * scale_at(w, p, 16 + row % 16) : d;
        sum += d * dot[0] + second * dot[1];
        if (w->minima) sum -= (double)scale_at(w, p, 16 + row % 16) * a->sum[at];
      }
      y[(size_t)t * ldy + (size_t)row] = (float)sum;
    }
}

static void block_sums(struct quant_activations *a, size_t first, int blocks) {
  for (int b = 0; b < blocks; b++) {
    const int8_t *q = a->q + 32 * (first + (size_t)b);
    int half[2] = {0, 0};
    for (int i = 0; i < 32; i++) half[i / 16] += q[i];
    a->minus[2 * (first + (size_t)b)] = -half[0];
    a->minus[2 * (first + (size_t)b) + 1] = -half[1];
    a->minus_whole[first + (size_t)b] = -half[0] - half[1];
  }
}

static void row_32(enum quant_activation kind, int columns, const float *x, struct quant_activations *a, size_t first) {
  for (int b = 0; b < columns / 32; b++) {
    float most = 0;
    int sum = 0;
    for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(x[32 * b + i]));
    float d = most / 127.0f, inverse = d != 0 ? 1.0f / d : 0;
    for (int i = 0; i < 32; i++) {
      int q = (int)lrintf(x[32 * b + i] * inverse);
      a->q[32 * (first + (size_t)b) + (size_t)i] = (int8_t)q;
      sum += q;
    }
    a->scale[first + (size_t)b] = quant_half(quant_to_half(d));
    a->sum[first + (size_t)b] = kind == QUANT_A8_SUM ? quant_half(quant_to_half(d * (float)sum)) : 0;
  }
  block_sums(a, first, columns / 32);
}

/* 256 values share a scale; the value of the largest size becomes -127 exactly. */
static void row_256(int columns, const float *x, struct quant_activations *a, size_t first) {
  for (int s = 0; s < columns / 256; s++) {
    float most = 0, signed_most = 0;
    for (int i = 0; i < 256; i++)
      if (fabsf(x[256 * s + i]) > most) most = fabsf(x[256 * s + i]), signed_most = x[256 * s + i];
    float inverse = most > 0 ? -127.0f / signed_most : 0, d = most > 0 ? 1.0f / inverse : 0;
    for (int i = 0; i < 256; i++) {
      int q = (int)lrintf(x[256 * s + i] * inverse);
      a->q[32 * first + (size_t)(256 * s + i)] = (int8_t)(q > 127 ? 127 : q);
    }
    for (int b = 0; b < 8; b++) a->scale[first + (size_t)(8 * s + b)] = d;
  }
  block_sums(a, first, columns / 32);
  for (int b = 0; b < columns / 32; b++)
    a->sum[first + (size_t)b] = a->scale[first + (size_t)b] * (float)-a->minus_whole[first + (size_t)b];
}

static void activations(enum quant_activation kind, int m, int columns, const float *x, size_t ldx, struct quant_activations *a) {
  a->columns = (size_t)columns;
  for (int t = 0; t < m; t++) {
    size_t first = (size_t)t * (size_t)(columns / 32);
    if (kind == QUANT_A8_K)
      row_256(columns, x + (size_t)t * ldx, a, first);
    else
      row_32(kind, columns, x + (size_t)t * ldx, a, first);
  }
}

static double cached(const struct quant_attention *a, const void *p, size_t i) {
  return a->wide ? (double)((const float *)p)[i] : (double)quant_half(((const uint16_t *)p)[i]);
}

static void attention(const struct quant_attention *a) {
  for (int r = 0; r < a->rows; r++) {
    int own = a->position + (a->phase + r) / a->group, end = a->full ? a->keys : own + 1;
    int begin = a->window > 0 && !a->full && own + 1 > a->window ? own + 1 - a->window : 0;
    double most = -INFINITY, total = 0;
    for (int j = begin; j < end; j++) {
      double s = 0;
      for (int i = 0; i < a->head; i++)
        s += (double)a->q[r][i] * cached(a, a->k, (size_t)(j / 16) * 16 * (size_t)a->head + (size_t)(16 * i + j % 16));
      s *= a->scale;
      if (a->cap > 0) s = a->cap * tanh(s / a->cap);
      a->scratch[j] = (float)s;
      most = fmax(most, a->scratch[j]);
    }
    for (int i = 0; i < a->head; i++) a->out[r][i] = 0;
    for (int j = begin; j < end; j++) {
      double p = exp(a->scratch[j] - most);
      total += p;
      for (int i = 0; i < a->head; i++) a->out[r][i] += (float)(p * cached(a, a->v, (size_t)j * (size_t)a->head + (size_t)i));
    }
    for (int i = 0; i < a->head; i++) a->out[r][i] = (float)(a->out[r][i] / total);
  }
}

static void to_half(size_t n, const float *x, uint16_t *y) {
  for (size_t i = 0; i < n; i++) y[i] = quant_to_half(x[i]);
}

static void to_bytes(int m, int columns, const float *x, uint8_t *q, float *scale) {
  for (int t = 0; t < m; t++, x += columns, q += byte_columns(columns)) {
    float most = 0, bad = 0;
    for (int i = 0; i < columns; i++) most = fmaxf(most, fabsf(x[i])), bad += 0 * x[i];
    float inverse = most > 0 ? 127 / most : 0;
    for (int i = 0; i < (int)byte_columns(columns); i++)
      q[i] = (uint8_t)(128 + fmaxf(-128, fminf(127, i < columns ? rintf(x[i] * inverse) : 0)));
    scale[t] = most * (1 / 127.0f) + bad;
  }
}

static void gelu_to_bytes(int m, int columns, float *x, uint8_t *q, float *scale) {
  ref_gelu_forward((size_t)m * (size_t)columns, x, x);
  to_bytes(m, columns, x, q, scale);
}

static void byte_product(const struct byte_matrix *w, int m, const uint8_t *q, const float *scale, const float *bias, float *y) {
  size_t padded = byte_columns(w->columns);
  for (int t = 0; t < m; t++)
    for (int row = 0; row < w->rows; row++) {
      const int8_t *p = w->packed + (size_t)(row / 16) * 16 * padded + 4 * (row % 16);
      int32_t sum = w->begin[row];
      for (size_t i = 0; i < padded; i++) sum += p[16 * (i / 4 * 4) + i % 4] * q[(size_t)t * padded + i];
      y[(size_t)t * (size_t)w->rows + (size_t)row] = (float)sum * (scale[t] * w->scale[row]) + (bias ? bias[row] : 0);
    }
}

static void gelu_erf(size_t n, float *x) {
  for (size_t i = 0; i < n; i++) x[i] = (float)(0.5 * (double)x[i] * (1.0 + erf((double)x[i] * 0.70710678118654752)));
}

static void to_words(int m, int columns, const float *x, int16_t *q, float *scale) {
  size_t blocks = word_blocks(columns);
  for (int t = 0; t < m; t++)
    for (int b = 0; b < (int)blocks; b++, q += WORD_BLOCK) {
      const float *from = x + (size_t)t * (size_t)columns + WORD_BLOCK * b;
      int n = columns - WORD_BLOCK * b < WORD_BLOCK ? columns - WORD_BLOCK * b : WORD_BLOCK;
      float most = 0, bad = 0;
      for (int i = 0; i < n; i++) most = fmaxf(most, fabsf(from[i])), bad += from[i] * 0;
      for (int i = 0; i < WORD_BLOCK; i++) q[i] = i < n && most > 0 && bad == 0 ? (int16_t)lrintf(from[i] * (4095 / most)) : 0;
      *scale++ = most * (1 / 4095.0f) + bad;
    }
}

static void word_product(const struct word_matrix *w, int first_group, int end_group, int m, const int16_t *q, const float *scale,
                         const float *bias, float *y, size_t ldy) {
  size_t blocks = word_blocks(w->columns);
  for (int t = 0; t < m; t++)
    for (int j = 16 * first_group; j < 16 * end_group && j < w->rows; j++) {
      float sum = bias ? bias[j] : 0;
      for (size_t b = 0; b < blocks; b++) {
        const uint8_t *p = w->packed + ((size_t)(j / 16) * blocks + b) * (64 + 64 * WORD_BLOCK / 2);
        int32_t whole = 0;
        float of;
        memcpy(&of, p + 4 * (j % 16), 4);
        for (int i = 0; i < WORD_BLOCK; i++) {
          int16_t v;
          memcpy(&v, p + 64 + 64 * (i / 2) + 4 * (j % 16) + 2 * (i % 2), 2);
          whole += v * q[((size_t)t * blocks + b) * WORD_BLOCK + (size_t)i];
        }
        sum += (float)whole * (of * scale[(size_t)t * blocks + b]);
      }
      y[(size_t)t * ldy + (size_t)j] = sum;
    }
}

const struct quant_kernel quant_column_ref = {"ref",         activations,  product,  attention,    to_half, to_bytes,
                                              gelu_to_bytes, byte_product, to_words, word_product, gelu_erf};
