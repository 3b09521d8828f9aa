/* bf16 matrix product with f32 accumulation: the blocking of the f32 one over vdpbf16ps */
#include "kernel/columns_avx512.h"

#define KERNEL_BF16_PAIRS 1
#define GEMM_NAME(rest) avx512bf16_gemm##rest
#include "kernel/gemm_vec.h"

_Static_assert((int)GEMM_SCRATCH <= (int)AVX512_GEMM_SCRATCH, "callers are told too little scratch");
