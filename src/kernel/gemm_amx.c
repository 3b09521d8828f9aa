/* bf16 matrix product on AMX tiles. Compiled everywhere, run only where AMX exists; where it does not, the tests run the
 * same code over the emulated tiles of gemm_emulatedtiles_avx512.c, so what stays untried there is the instructions below.
 *
 * The compiler's own intrinsics are avoided: in gcc 12 _tile_loadconfig declares fewer bytes than it reads and _tile_loadd
 * declares no memory at all, so the optimiser may drop or move the stores that fill them.
 */
#include "kernel/columns_avx512.h"

struct tile_config {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "the instruction reads 64 bytes");

static void tiles_configure(void) {
  struct tile_config c = {.palette = 1};
  for (int i = 0; i < 8; i++) c.bytes[i] = 64, c.rows[i] = 16;
  __asm__ volatile("ldtilecfg %0" : : "m"(c));
}

#define TILES_BEGIN() tiles_configure()
#define TILES_END() __asm__ volatile("tilerelease")
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t:)
#define TILE_LOAD(t, p, bytes) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(p), "r"(bytes) : "memory")
#define TILE_STORE(t, p, bytes) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(p), "r"(bytes) : "memory")
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c:)
#define GEMM_NAME(rest) amx_gemm##rest
#include "kernel/tiles_vec.h"

_Static_assert((int)TILES_SCRATCH <= (int)AVX512_GEMM_SCRATCH, "callers are told too little scratch");
