/* Private: the table of a vector column. Columns of one instruction set (`set`) differ in the matrix product only. */
#ifndef KERNEL_COLUMN_TABLE_H
#define KERNEL_COLUMN_TABLE_H
#include "kernel/kernel_columns.h"

#define KERNEL_COLUMN(column, less, set, scratch)     \
  const struct kernel kernel_column_##column = {      \
      .name = #column,                                \
      .reduced = less,                                \
      .gemm = column##_gemm,                          \
      .gemm_pack_size = column##_gemm_pack_size,      \
      .gemm_pack = column##_gemm_pack,                \
      .gemm_scratch = scratch,                        \
      .norm_forward = set##_norm_forward,             \
      .norm_backward = set##_norm_backward,           \
      .attention_forward = set##_attention_forward,   \
      .attention_backward = set##_attention_backward, \
      .attention_decode = set##_attention_decode,     \
      .decode_keep = set##_decode_keep,               \
      .rope = set##_rope,                             \
      .embed_forward = set##_embed_forward,           \
      .embed_backward = set##_embed_backward,         \
      .swiglu_forward = set##_swiglu_forward,         \
      .swiglu_backward = set##_swiglu_backward,       \
      .gelu_forward = set##_gelu_forward,             \
      .gelu_backward = set##_gelu_backward,           \
      .add = set##_add,                               \
      .axpy = set##_axpy,                             \
      .scale = set##_scale,                           \
      .mul = set##_mul,                               \
      .dot = set##_dot,                               \
      .sumsq = set##_sumsq,                           \
      .col_sum = set##_col_sum,                       \
      .logsumexp = set##_logsumexp,                   \
      .exp_scaled = set##_exp_scaled,                 \
      .sigmoid = set##_sigmoid,                       \
      .dropout = set##_dropout,                       \
      .adamw = set##_adamw,                           \
  }
#endif
