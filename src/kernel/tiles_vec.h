/* Private: bf16 matrix product over tiles (AMX, or its emulation in the tests' copy). The including file defines
 *   TILES_BEGIN() TILES_END()            configure 8 tiles of 16 rows x 64 bytes, release them
 *   TILE_ZERO(t) TILE_LOAD(t, p, bytes) TILE_STORE(t, p, bytes) TILE_DOT(c, a, b)
 * with t a literal, and GEMM_NAME(rest) as gemm_vec.h has it. Blocking as in gemm_vec.h with a 32 x 32 block of C in four tiles; k is padded with zeros
 * to whole tiles of 32.
 */
#ifndef KERNEL_TILES_VEC_H
#define KERNEL_TILES_VEC_H
#include <string.h>

#include "kernel/kernel_columns.h"
#include "kernel/pairs_vec.h"

/* all lengths in pairs of k; KS as in gemm_vec.h keeps the rows of A out of each other's cache sets */
enum { TILE = 16, BLOCK = 2 * TILE, KC = 256, NC = 512, KS = KC + 16, TILES_SCRATCH = KC * NC + BLOCK * KS + BLOCK * BLOCK };

struct tiles {
  const struct gemm *g;
  const float *panels;
  float *strip, *block;
  int p, k, depth; /* first k of the block, its length, its length in pairs padded to whole tiles */
};

/* 16 columns of A' become 16 rows of the strip: pairs of 32 k at a time, turned */
static void turn_columns(const struct tiles *t, int n, const float *src, float *dst) {
  ptrdiff_t ld = t->g->lda;
  for (int q = 0; q < t->k; q += 2 * TILE, src += 2 * TILE * ld, dst += TILE) {
    float square[TILE * TILE];
    vf r[TILE];
    int k = t->k - q < 2 * TILE ? t->k - q : 2 * TILE;
    memset(square, 0, sizeof square);
    pack_columns(k, n, src, ld, square);
    for (int i = 0; i < TILE; i++) r[i] = v_load(square + i * TILE);
    v_transpose(r);
    for (int i = 0; i < TILE; i++) v_store(dst + i * KS, r[i]);
  }
}

/* m <= 32 rows of op(A), zeros beyond m and k */
static void tiles_pack_a(const struct tiles *t, int i, int m) {
  const struct gemm *g = t->g;
  if (g->ta) {
    const float *a = g->a + (size_t)t->p * g->lda + i;
    turn_columns(t, m < TILE ? m : TILE, a, t->strip);
    if (m > TILE) turn_columns(t, m - TILE, a + TILE, t->strip + TILE * KS);
    if (m <= TILE) memset(t->strip + TILE * KS, 0, sizeof(float) * TILE * KS);
    return;
  }
  int pairs = (t->k + 1) / 2;
  for (int r = 0; r < BLOCK; r++) {
    float *row = t->strip + r * KS;
    int filled = r < m ? pairs : 0;
    if (r < m) pack_row(t->k, g->a + (size_t)(i + r) * g->lda + t->p, row);
    memset(row + filled, 0, sizeof(float) * (size_t)(t->depth - filled));
  }
}

static void tiles_pack_b(const struct tiles *t, int j, int n, float *to) {
  const struct gemm *g = t->g;
  size_t step = g->tb ? (size_t)g->ldb : 1;
  const float *b = g->tb ? g->b + (size_t)j * g->ldb + t->p : g->b + (size_t)t->p * g->ldb + j;
  int pairs = (t->k + 1) / 2;
  for (int jj = 0; jj < n; jj += NR) {
    float *panel = to + (size_t)jj * (size_t)t->depth;
    pack_panel(t->k, n - jj < NR ? n - jj : NR, g->tb, b + (size_t)jj * step, g->ldb, panel);
    memset(panel + pairs * NR, 0, sizeof(float) * (size_t)(t->depth - pairs) * NR);
  }
}

/* C's block into `to` (ldc in floats) */
static void tiles_multiply(const float *a, const float *b, int depth, float *to, ptrdiff_t ldc) {
  long a_step = KS * (long)sizeof(float), b_step = NR * (long)sizeof(float), c_step = (long)ldc * (long)sizeof(float);
  TILE_ZERO(0);
  TILE_ZERO(1);
  TILE_ZERO(2);
  TILE_ZERO(3);
  for (int q = 0; q < depth; q += TILE, a += TILE, b += TILE * NR) {
    TILE_LOAD(6, b, b_step);
    TILE_LOAD(4, a, a_step);
    TILE_LOAD(7, b + TILE, b_step);
    TILE_DOT(0, 4, 6);
    TILE_LOAD(5, a + TILE * KS, a_step);
    TILE_DOT(1, 4, 7);
    TILE_DOT(2, 5, 6);
    TILE_DOT(3, 5, 7);
  }
  TILE_STORE(0, to, c_step);
  TILE_STORE(1, to + TILE, c_step);
  TILE_STORE(2, to + TILE * ldc, c_step);
  TILE_STORE(3, to + TILE * ldc + TILE, c_step);
}

/* m x n of the block buffer to C, with what is there (or the bias) added */
static void block_to_c(const float *block, float *c, ptrdiff_t ldc, int m, int n, bool keep, const float *bias) {
  for (int r = 0; r < m; r++, c += ldc, block += BLOCK) {
    for (int j = 0; j < n; j += VW) {
      int w = n - j < VW ? n - j : VW;
      vf base = keep ? v_load_n(c + j, w) : bias ? v_load_n(bias + j, w) : v_zero();
      v_store_n(c + j, v_add(base, v_load(block + j)), w);
    }
  }
}

static void tiles_row(const struct tiles *t, int i, int m, int j, int nb) {
  const struct gemm *g = t->g;
  bool keep = t->p > 0 || g->beta != 0;
  tiles_pack_a(t, i, m);
  for (int jj = 0; jj < nb; jj += NR) {
    int n = nb - jj < NR ? nb - jj : NR;
    float *c = g->c + (size_t)i * g->ldc + j + jj;
    const float *b = t->panels + (size_t)jj * (size_t)t->depth;
    if (m == BLOCK && n == BLOCK && !keep && !g->bias) {
      tiles_multiply(t->strip, b, t->depth, c, g->ldc);
    } else {
      tiles_multiply(t->strip, b, t->depth, t->block, BLOCK);
      block_to_c(t->block, c, g->ldc, m, n, keep, g->bias ? g->bias + j + jj : NULL);
    }
  }
}

static void tiles_at(struct tiles *t, int p) {
  t->p = p;
  t->k = t->g->k - p < KC * PAIR ? t->g->k - p : KC * PAIR;
  t->depth = ((t->k + 1) / 2 + TILE - 1) / TILE * TILE;
}
static size_t block_floats(const struct tiles *t, int nb) { return (size_t)((nb + NR - 1) / NR * NR) * (size_t)t->depth; }

size_t GEMM_NAME(_pack_size)(int k, int n) {
  struct tiles t = {.g = &(struct gemm){.k = k, .n = n}};
  size_t floats = 0;
  for (int p = 0; p < k; p += KC * PAIR) {
    tiles_at(&t, p);
    floats += block_floats(&t, n);
  }
  return floats;
}

void GEMM_NAME(_pack)(const struct gemm *g, float *to) {
  struct tiles t = {.g = g};
  for (int j = 0; j < g->n; j += NC) {
    int nb = g->n - j < NC ? g->n - j : NC;
    for (int p = 0; p < g->k; p += KC * PAIR) {
      tiles_at(&t, p);
      tiles_pack_b(&t, j, nb, to);
      to += block_floats(&t, nb);
    }
  }
}

void GEMM_NAME()(const struct gemm *g) {
  if (g->m <= 0 || g->n <= 0) return;
  if (g->k <= 0) {
    ref_gemm(g); /* no product: beta and bias only */
    return;
  }
  struct tiles t = {
      .g = g, .panels = g->packed ? g->packed : g->scratch, .strip = g->scratch + KC * NC, .block = g->scratch + KC * NC + BLOCK * KS};
  TILES_BEGIN();
  for (int j = 0; j < g->n; j += NC) {
    int nb = g->n - j < NC ? g->n - j : NC;
    for (int p = 0; p < g->k; p += KC * PAIR) {
      tiles_at(&t, p);
      if (!g->packed) tiles_pack_b(&t, j, nb, g->scratch);
      for (int i = 0; i < g->m; i += BLOCK) tiles_row(&t, i, g->m - i < BLOCK ? g->m - i : BLOCK, j, nb);
      if (g->packed) t.panels += block_floats(&t, nb);
    }
  }
  TILES_END();
}
#endif
