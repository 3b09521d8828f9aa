/* Private: what the AVX2 files offer to their table */
#ifndef KERNEL_COLUMNS_AVX2_H
#define KERNEL_COLUMNS_AVX2_H
#include "kernel/kernel_columns.h"

enum { AVX2_GEMM_SCRATCH = 160 * 1024 };
void avx2_gemm(const struct gemm *g);
size_t avx2_gemm_pack_size(int k, int n);
void avx2_gemm_pack(const struct gemm *g, float *to);
void avx2words_gemm(const struct gemm *g);
size_t avx2words_gemm_pack_size(int k, int n);
void avx2words_gemm_pack(const struct gemm *g, float *to);
void avx2_norm_forward(const struct norm *n);
void avx2_norm_backward(const struct norm_back *n);
void avx2_attention_forward(const struct attention *a);
void avx2_attention_backward(const struct attention_back *b);
void avx2_attention_decode(const struct attention_decode *a);
void avx2_decode_keep(const struct decode_keep *k);
void avx2_rope(const struct rope *r);
void avx2_embed_forward(const struct embed_bag *e);
void avx2_embed_backward(const struct embed_bag_back *e);
void avx2_swiglu_forward(int rows, int f, const float *gu, float *y);
void avx2_swiglu_backward(int rows, int f, const float *gu, const float *dy, float *dgu);
void avx2_gelu_forward(size_t n, const float *x, float *y);
void avx2_gelu_backward(size_t n, const float *x, const float *dy, float *dx);
void avx2_add(size_t n, const float *x, float *y);
void avx2_axpy(size_t n, float a, const float *x, float *y);
void avx2_scale(size_t n, float a, float *x);
void avx2_mul(size_t n, const float *x, float *y);
double avx2_dot(size_t n, const float *x, const float *y);
double avx2_sumsq(size_t n, const float *x);
void avx2_col_sum(int rows, int c, const float *x, int stride, float *out);
float avx2_logsumexp(size_t n, const float *x);
double avx2_exp_scaled(size_t n, float a, float b, const float *x, float *y);
void avx2_sigmoid(size_t n, const float *x, float *y);
void avx2_dropout(size_t n, float p, uint64_t seed, uint64_t stream, float *x);
void avx2_adamw(const struct adamw *a);
#endif
