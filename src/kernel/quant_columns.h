/* Inside the kernels: the columns of kernel/quant.h. */
#ifndef KERNEL_QUANT_COLUMNS_H
#define KERNEL_QUANT_COLUMNS_H
#include "kernel/quant.h"
extern const struct quant_kernel quant_column_ref, quant_column_avx2, quant_column_avx512;
#endif
