/* The tables of the AVX2 columns: f32 or whole numbers. */
#include "kernel/column_table.h"
#include "kernel/columns_avx2.h"

KERNEL_COLUMN(avx2, false, avx2, AVX2_GEMM_SCRATCH);
KERNEL_COLUMN(avx2words, true, avx2, AVX2_GEMM_SCRATCH);
