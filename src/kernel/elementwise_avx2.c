/* Norms, activations, embeddings, sums, dropout and AdamW, AVX2 */
#include "kernel/columns_avx2.h"

#define V(name) avx2_##name
#include "kernel/elementwise_vec.h"
