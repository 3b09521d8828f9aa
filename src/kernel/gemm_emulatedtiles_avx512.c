/* The AMX product over tiles emulated in plain C: for the tests, so that packing and blocking are exercised on machines
 * without AMX or bf16. No column uses it. */
#include <string.h>

#include "kernel/columns_avx512.h"

#define KERNEL_EMULATE_BF16 1

struct tile {
  uint32_t word[16][16];
};
static _Thread_local struct tile tile[8];

static void tile_load(struct tile *t, const float *p, long bytes) {
  for (int r = 0; r < 16; r++) memcpy(t->word[r], (const char *)p + r * bytes, 64);
}
static void tile_store(const struct tile *t, float *p, long bytes) {
  for (int r = 0; r < 16; r++) memcpy((char *)p + r * bytes, t->word[r], 64);
}
static float half(uint32_t word, bool high) {
  uint32_t bits = high ? word & 0xffff0000u : word << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
/* c[m][n] += sum over pairs k of a[m][k] b[k][n], low halves before high ones */
static void tile_dot(struct tile *c, const struct tile *a, const struct tile *b) {
  for (int m = 0; m < 16; m++) {
    for (int k = 0; k < 16; k++) {
      for (int n = 0; n < 16; n++) {
        float sum;
        memcpy(&sum, &c->word[m][n], 4);
        sum += half(a->word[m][k], false) * half(b->word[k][n], false) + half(a->word[m][k], true) * half(b->word[k][n], true);
        memcpy(&c->word[m][n], &sum, 4);
      }
    }
  }
}

#define TILES_BEGIN() memset(tile, 0x7f, sizeof tile)
#define TILES_END() ((void)0)
#define TILE_ZERO(t) memset(&tile[t], 0, sizeof tile[t])
#define TILE_LOAD(t, p, bytes) tile_load(&tile[t], p, bytes)
#define TILE_STORE(t, p, bytes) tile_store(&tile[t], p, bytes)
#define TILE_DOT(c, a, b) tile_dot(&tile[c], &tile[a], &tile[b])
#define GEMM_NAME(rest) amx_emulated_gemm##rest
#include "kernel/tiles_vec.h"
