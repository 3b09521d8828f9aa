/* f32 matrix product, AVX2: 6 x 16 register block */
#include "kernel/columns_avx2.h"

#define GEMM_NAME(rest) avx2_gemm##rest
#include "kernel/gemm_vec.h"

_Static_assert((int)GEMM_SCRATCH <= (int)AVX2_GEMM_SCRATCH, "callers are told too little scratch");
