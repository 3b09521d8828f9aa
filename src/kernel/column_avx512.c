/* The tables of the columns for AVX-512 processors: f32, whole numbers, bf16 or the tiles of AMX. */
#include "kernel/column_table.h"
#include "kernel/columns_avx512.h"

KERNEL_COLUMN(avx512, false, avx512, AVX512_GEMM_SCRATCH);
KERNEL_COLUMN(avx512vnni, true, avx512, AVX512_GEMM_SCRATCH);
KERNEL_COLUMN(avx512bf16, true, avx512, AVX512_GEMM_SCRATCH);
KERNEL_COLUMN(amx, true, avx512, AVX512_GEMM_SCRATCH);
