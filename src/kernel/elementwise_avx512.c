/* Norms, activations, embeddings, sums, dropout and AdamW, AVX-512 */
#include "kernel/columns_avx512.h"

#define V(name) avx512_##name
#include "kernel/elementwise_vec.h"
