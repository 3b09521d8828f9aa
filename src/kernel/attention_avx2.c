/* Attention forward, backward and decoding, AVX2 */
#include "kernel/columns_avx2.h"

#define V(name) avx2_##name
#include "kernel/attention_vec.h"
#include "kernel/attention_back_vec.h"
#include "kernel/attention_decode_vec.h"
