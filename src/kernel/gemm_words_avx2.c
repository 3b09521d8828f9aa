/* Matrix product of whole numbers of 13 bits, AVX2: 6 x 16 register block */
#include "kernel/columns_avx2.h"

#define WORDS_NAME(rest) avx2words_gemm##rest
#define FLOATS_NAME(rest) avx2_gemm##rest
#include "kernel/gemm_words_vec.h"

_Static_assert((int)WORDS_SCRATCH <= (int)AVX2_GEMM_SCRATCH, "callers are told too little scratch");
