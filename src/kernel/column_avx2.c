/* The tables of the AVX2 columns. They differ in the matrix product only: f32 or whole numbers. */
#include "kernel/columns_avx2.h"

#define COLUMN(column, less)                         \
  const struct kernel kernel_column_##column = {     \
      .name = #column,                               \
      .reduced = less,                               \
      .gemm = column##_gemm,                         \
      .gemm_pack_size = column##_gemm_pack_size,     \
      .gemm_pack = column##_gemm_pack,               \
      .gemm_scratch = AVX2_GEMM_SCRATCH,             \
      .norm_forward = avx2_norm_forward,             \
      .norm_backward = avx2_norm_backward,           \
      .attention_forward = avx2_attention_forward,   \
      .attention_backward = avx2_attention_backward, \
      .attention_decode = avx2_attention_decode,     \
      .decode_keep = avx2_decode_keep,               \
      .rope = avx2_rope,                             \
      .embed_forward = avx2_embed_forward,           \
      .embed_backward = avx2_embed_backward,         \
      .swiglu_forward = avx2_swiglu_forward,         \
      .swiglu_backward = avx2_swiglu_backward,       \
      .gelu_forward = avx2_gelu_forward,             \
      .gelu_backward = avx2_gelu_backward,           \
      .add = avx2_add,                               \
      .axpy = avx2_axpy,                             \
      .scale = avx2_scale,                           \
      .mul = avx2_mul,                               \
      .dot = avx2_dot,                               \
      .sumsq = avx2_sumsq,                           \
      .col_sum = avx2_col_sum,                       \
      .logsumexp = avx2_logsumexp,                   \
      .exp_scaled = avx2_exp_scaled,                 \
      .sigmoid = avx2_sigmoid,                       \
      .dropout = avx2_dropout,                       \
      .adamw = avx2_adamw,                           \
  }

COLUMN(avx2, false);
COLUMN(avx2words, true);
