/* Private to this module: the columns' tables, the reference functions that other columns reuse where speed does not
 * matter, and small pieces of arithmetic that every column must do in the same way (who sees whom, which elements dropout
 * drops). Nobody outside src/kernel and its tests includes it. */
#ifndef KERNEL_COLUMNS_H
#define KERNEL_COLUMNS_H
#include <math.h>

#include "kernel/kernel.h"

extern const struct kernel kernel_column_ref, kernel_column_avx2, kernel_column_avx2words, kernel_column_avx512, kernel_column_avx512vnni,
    kernel_column_avx512bf16, kernel_column_amx;

void ref_gemm(const struct gemm *g);
size_t ref_gemm_pack_size(int k, int n);
void ref_gemm_pack(const struct gemm *g, float *to);
void ref_norm_forward(const struct norm *n);
void ref_norm_backward(const struct norm_back *n);
void ref_attention_forward(const struct attention *a);
void ref_attention_backward(const struct attention_back *b);
void ref_attention_decode(const struct attention_decode *a);
void ref_decode_keep(const struct decode_keep *k);
void ref_rope(const struct rope *r);
void ref_embed_forward(const struct embed_bag *e);
void ref_embed_backward(const struct embed_bag_back *e);
void ref_swiglu_forward(int rows, int f, const float *gu, float *y);
void ref_swiglu_backward(int rows, int f, const float *gu, const float *dy, float *dgu);
void ref_gelu_forward(size_t n, const float *x, float *y);
void ref_gelu_backward(size_t n, const float *x, const float *dy, float *dx);
void ref_add(size_t n, const float *x, float *y);
void ref_axpy(size_t n, float a, const float *x, float *y);
void ref_scale(size_t n, float a, float *x);
void ref_mul(size_t n, const float *x, float *y);
double ref_dot(size_t n, const float *x, const float *y);
double ref_sumsq(size_t n, const float *x);
void ref_col_sum(int rows, int c, const float *x, int stride, float *out);
float ref_logsumexp(size_t n, const float *x);
double ref_exp_scaled(size_t n, float a, float b, const float *x, float *y);
void ref_sigmoid(size_t n, const float *x, float *y);
void ref_dropout(size_t n, float p, uint64_t seed, uint64_t stream, float *x);
void ref_adamw(const struct adamw *a);

/* The mask in one place. `begin` is the first row of the sequence; j and r are rows of the packed batch. */
static inline bool attention_sees(const struct attention *a, int r, int j) {
  if (a->full) return true;
  if (j > r || (a->window > 0 && j <= r - a->window)) return false;
  return !a->ties || j == r || a->time[j] < a->time[r];
}

/* gelu(x) = x * sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3): the tanh form (Hendrycks & Gimpel 2016) without tanh */
#define GELU_2U 1.5957691216057308f /* 2 sqrt(2/pi) */
#define GELU_CUBIC 0.044715f

#define ATTENTION_LANES_WIDTH 16 /* heads up to this size may take the lanes of vectors (attention_lanes_vec.h) */

#define DECODE_LEAST 6e-8f /* about the smallest half: what a row is divided by when its scale is none */

/* Bytes from a layer of a block to number i of key head h of row j, and to its scale. Rows lie in groups, as many as make two registers of 16 heads:
 * a group's keys, its values, scales of its keys, of its values; of scales, those of the even rows before those of the odd ones. */
static inline int decode_together(int kv_heads) { return kv_heads > 8 ? 2 : 32 / decode_lanes(kv_heads); }
static inline size_t decode_group(int kv_heads, int d) {
  return decode_layer(kv_heads, d) / DECODE_ROWS * (size_t)decode_together(kv_heads);
}
static inline size_t decode_key_at(int kv_heads, int d, int j, int h, int i) {
  int rows = decode_together(kv_heads);
  return (size_t)(j / rows) * decode_group(kv_heads, d) + (size_t)(j % rows) * decode_side(kv_heads, d) +
         2 * (size_t)(i / 2 * decode_lanes(kv_heads) + h) + (size_t)(i % 2);
}
static inline size_t decode_value_at(int kv_heads, int d, int j, int h, int i) {
  int rows = decode_together(kv_heads);
  return (size_t)(j / rows) * decode_group(kv_heads, d) + (size_t)(rows + j % rows / 2 * 2) * decode_side(kv_heads, d) +
         2 * (size_t)(i * decode_lanes(kv_heads) + h) + (size_t)(j % 2);
}
static inline size_t decode_scale_at(int kv_heads, int d, bool values, int j, int h) {
  int rows = decode_together(kv_heads), n = (values ? rows : 0) + j % 2 * rows / 2 + j % rows / 2;
  return (size_t)(j / rows) * decode_group(kv_heads, d) + 2 * (size_t)rows * decode_side(kv_heads, d) +
         2 * (size_t)(n * decode_lanes(kv_heads) + h);
}

/* Dropout: 16 bits decide about an element, dropped when below the threshold. Of every 128 elements the first 64 take the low halves
 * of the words of 16 Philox blocks (four words each, in order), the other 64 the high halves. */
enum { DROPOUT_CHUNK = 128, DROPOUT_BLOCKS = 16 };
static inline uint32_t dropout_threshold(float p) {
  double t = (double)p * 65536.0 + 0.5;
  return t >= 65536.0 ? 65536u : (uint32_t)t;
}

/* log-sum-exp of values whose maximum m is infinite: exp(inf - inf) would make a NaN of a well-defined limit, and a real
 * NaN among them must still come through. */
static inline float logsumexp_infinite(size_t n, const float *x, float m) {
  for (size_t i = 0; i < n; i++) {
    if (isnan(x[i])) return x[i];
  }
  return m;
}
#endif
