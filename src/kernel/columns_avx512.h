/* Private: what the AVX-512 f32 files offer to the tables of this and the bf16 columns */
#ifndef KERNEL_COLUMNS_AVX512_H
#define KERNEL_COLUMNS_AVX512_H
#include "kernel/kernel_columns.h"

enum { AVX512_GEMM_SCRATCH = 168 * 1024 };
void avx512_gemm(const struct gemm *g);
size_t avx512_gemm_pack_size(int k, int n);
void avx512_gemm_pack(const struct gemm *g, float *to);
void avx512vnni_gemm(const struct gemm *g);
size_t avx512vnni_gemm_pack_size(int k, int n);
void avx512vnni_gemm_pack(const struct gemm *g, float *to);
void avx512bf16_gemm(const struct gemm *g);
size_t avx512bf16_gemm_pack_size(int k, int n);
void avx512bf16_gemm_pack(const struct gemm *g, float *to);
void amx_gemm(const struct gemm *g);
size_t amx_gemm_pack_size(int k, int n);
void amx_gemm_pack(const struct gemm *g, float *to);
void amx_emulated_gemm(const struct gemm *g); /* for tests, as the next five */
size_t amx_emulated_gemm_pack_size(int k, int n);
void amx_emulated_gemm_pack(const struct gemm *g, float *to);
void bf16_emulated_gemm(const struct gemm *g);
size_t bf16_emulated_gemm_pack_size(int k, int n);
void bf16_emulated_gemm_pack(const struct gemm *g, float *to);
void avx512_norm_forward(const struct norm *n);
void avx512_norm_backward(const struct norm_back *n);
void avx512_attention_forward(const struct attention *a);
void avx512_attention_backward(const struct attention_back *b);
void avx512_attention_decode(const struct attention_decode *a);
void avx512_decode_keep(const struct decode_keep *k);
void avx512_rope(const struct rope *r);
void avx512_embed_forward(const struct embed_bag *e);
void avx512_embed_backward(const struct embed_bag_back *e);
void avx512_swiglu_forward(int rows, int f, const float *gu, float *y);
void avx512_swiglu_backward(int rows, int f, const float *gu, const float *dy, float *dgu);
void avx512_gelu_forward(size_t n, const float *x, float *y);
void avx512_gelu_backward(size_t n, const float *x, const float *dy, float *dx);
void avx512_add(size_t n, const float *x, float *y);
void avx512_axpy(size_t n, float a, const float *x, float *y);
void avx512_scale(size_t n, float a, float *x);
void avx512_mul(size_t n, const float *x, float *y);
double avx512_dot(size_t n, const float *x, const float *y);
double avx512_sumsq(size_t n, const float *x);
void avx512_col_sum(int rows, int c, const float *x, int stride, float *out);
float avx512_logsumexp(size_t n, const float *x);
double avx512_exp_scaled(size_t n, float a, float b, const float *x, float *y);
void avx512_sigmoid(size_t n, const float *x, float *y);
void avx512_dropout(size_t n, float p, uint64_t seed, uint64_t stream, float *x);
void avx512_adamw(const struct adamw *a);
#endif
