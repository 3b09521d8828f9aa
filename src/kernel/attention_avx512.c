/* Attention forward, backward and decoding, AVX-512 */
#include "kernel/columns_avx512.h"

#define V(name) avx512_##name
#include "kernel/attention_vec.h"
#include "kernel/attention_back_vec.h"
#include "kernel/attention_decode_vec.h"
