/* f32 matrix product, AVX-512: 12 x 32 register block */
#include "kernel/columns_avx512.h"

#define GEMM_NAME(rest) avx512_gemm##rest
#include "kernel/gemm_vec.h"

_Static_assert((int)GEMM_SCRATCH <= (int)AVX512_GEMM_SCRATCH, "callers are told too little scratch");
