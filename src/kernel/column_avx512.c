/* The tables of the columns for AVX-512 processors. They differ in the matrix product only: f32, whole numbers, bf16 or the tiles of AMX. */
#include "kernel/columns_avx512.h"

#define COLUMN(column, less)                           \
  const struct kernel kernel_column_##column = {       \
      .name = #column,                                 \
      .reduced = less,                                 \
      .gemm = column##_gemm,                           \
      .gemm_pack_size = column##_gemm_pack_size,       \
      .gemm_pack = column##_gemm_pack,                 \
      .gemm_scratch = AVX512_GEMM_SCRATCH,             \
      .norm_forward = avx512_norm_forward,             \
      .norm_backward = avx512_norm_backward,           \
      .attention_forward = avx512_attention_forward,   \
      .attention_backward = avx512_attention_backward, \
      .attention_decode = avx512_attention_decode,     \
      .decode_keep = avx512_decode_keep,               \
      .rope = avx512_rope,                             \
      .embed_forward = avx512_embed_forward,           \
      .embed_backward = avx512_embed_backward,         \
      .swiglu_forward = avx512_swiglu_forward,         \
      .swiglu_backward = avx512_swiglu_backward,       \
      .gelu_forward = avx512_gelu_forward,             \
      .gelu_backward = avx512_gelu_backward,           \
      .add = avx512_add,                               \
      .axpy = avx512_axpy,                             \
      .scale = avx512_scale,                           \
      .mul = avx512_mul,                               \
      .dot = avx512_dot,                               \
      .sumsq = avx512_sumsq,                           \
      .col_sum = avx512_col_sum,                       \
      .logsumexp = avx512_logsumexp,                   \
      .exp_scaled = avx512_exp_scaled,                 \
      .sigmoid = avx512_sigmoid,                       \
      .dropout = avx512_dropout,                       \
      .adamw = avx512_adamw,                           \
  }

COLUMN(avx512, false);
COLUMN(avx512vnni, true);
COLUMN(avx512bf16, true);
COLUMN(amx, true);
