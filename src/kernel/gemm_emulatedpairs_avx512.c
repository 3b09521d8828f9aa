/* The bf16 product with its two instructions done in plain AVX-512: for the tests, on machines without a bf16 unit. No column uses it. */
#include "kernel/columns_avx512.h"

#define KERNEL_EMULATE_BF16 1
#define KERNEL_BF16_PAIRS 1
#define GEMM_NAME(rest) bf16_emulated_gemm##rest
#include "kernel/gemm_vec.h"

_Static_assert((int)GEMM_SCRATCH <= (int)AVX512_GEMM_SCRATCH, "callers are told too little scratch");
