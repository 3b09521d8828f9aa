/* Matrix product of whole numbers of 13 bits, AVX-512 VNNI: 12 x 32 register block */
#include "kernel/columns_avx512.h"

#define WORDS_NAME(rest) avx512vnni_gemm##rest
#define FLOATS_NAME(rest) avx512_gemm##rest
#include "kernel/gemm_words_vec.h"

_Static_assert((int)WORDS_SCRATCH <= (int)AVX512_GEMM_SCRATCH, "callers are told too little scratch");
