/* Private: f32 matrix product over vec.h, blocked after Goto & van de Geijn (2008): a (KC, NC) block of B is packed into
 * panels that stay in L2, MR rows of A at a time into a strip that stays in L1, and one register block runs over both.
 * The including file defines GEMM_NAME(rest), the function's name with `rest` after it, and gets gemm, gemm_pack_size and gemm_pack.
 */
#ifndef KERNEL_GEMM_VEC_H
#define KERNEL_GEMM_VEC_H
#include <string.h>

#include "kernel/kernel_columns.h"
#include "kernel/panel_vec.h"

/* KS: stride of a packed row of A; not a power of two, so that the MR rows fall into different cache sets */
enum { KC = 256, NC = 512, KS = KC + 16, TW = VW, GEMM_SCRATCH = KC * NC + MR * KS + KC * TW };

struct block { /* where one register block of C goes */
  float *c;
  ptrdiff_t ldc;
  int m, n;  /* valid rows and columns */
  bool keep; /* add to what is there */
  const float *bias;
};

VINLINE vf block_base(const struct block *o, const float *c, int j, int n) {
  if (o->keep) return n == VW ? v_load(c + j) : v_load_n(c + j, n);
  if (o->bias) return n == VW ? v_load(o->bias + j) : v_load_n(o->bias + j, n);
  return v_zero();
}

VINLINE void block_store(const struct block *o, vf acc[MR][2], const int mr, const int nv) {
  if (o->n == nv * VW) {
    UNROLL for (int r = 0; r < mr; r++) {
      if (r >= o->m) break;
      float *c = o->c + r * o->ldc;
      v_store(c, v_add(block_base(o, c, 0, VW), acc[r][0]));
      if (nv > 1) v_store(c + VW, v_add(block_base(o, c, VW, VW), acc[r][1]));
    }
    return;
  }
  int n0 = o->n < VW ? o->n : VW, n1 = o->n - n0;
  UNROLL for (int r = 0; r < mr; r++) {
    if (r >= o->m) break;
    float *c = o->c + r * o->ldc;
    v_store_n(c, v_add(block_base(o, c, 0, n0), acc[r][0]), n0);
    if (nv > 1 && n1 > 0) v_store_n(c + VW, v_add(block_base(o, c, VW, n1), acc[r][1]), n1);
  }
}

/* C is long out of the caches when a gradient is added to it: called for while the sum is made */
VINLINE void block_ahead(const struct block *o) {
  if (!o->keep) return;
  for (int r = 0; r < o->m; r++) {
    const float *c = o->c + r * o->ldc;
    __builtin_prefetch(c, 1), __builtin_prefetch(c + VW, 1), __builtin_prefetch(c + o->n - 1, 1);
  }
}

/* One function for every number of rows (rounded up) and vectors, for A packed by rows and by columns */
#define BLOCK(name, mr, nv, rs, ks)                                                              \
  static void name(const float *a, const float *b, ptrdiff_t bs, int k, const struct block *o) { \
    vf acc[MR][2];                                                                               \
    block_ahead(o);                                                                              \
    panel_zero(acc);                                                                             \
    panel_multiply(acc, mr, nv, rs, ks, a, b, bs, k);                                            \
    block_store(o, acc, mr, nv);                                                                 \
  }
#define BLOCKS(mr)                     \
  BLOCK(block_##mr##_1, mr, 1, KS, 1)  \
  BLOCK(block_##mr##_2, mr, 2, KS, 1)  \
  BLOCK(block_##mr##_1t, mr, 1, 1, TW) \
  BLOCK(block_##mr##_2t, mr, 2, 1, TW)
BLOCKS(1)
BLOCKS(2)
BLOCKS(4)
#ifdef __AVX512F__
BLOCKS(8)
BLOCKS(12)
#else
BLOCKS(6)
#endif
typedef void (*block_fn)(const float *a, const float *b, ptrdiff_t bs, int k, const struct block *o);
#define BLOCK_ROW(mr) \
  { block_##mr##_1, block_##mr##_2, block_##mr##_1t, block_##mr##_2t }
static const struct {
  int rows;
  block_fn f[4];
} block_table[] = {
    {1, BLOCK_ROW(1)}, {2, BLOCK_ROW(2)},   {4, BLOCK_ROW(4)},
#ifdef __AVX512F__
    {8, BLOCK_ROW(8)}, {12, BLOCK_ROW(12)},
#else
                   {6, BLOCK_ROW(6)},
#endif
};

static block_fn block_of(int m, int n, bool t) {
  int i = 0;
  while (block_table[i].rows < m) i++;
  return block_table[i].f[(t ? 2 : 0) + (n > VW ? 1 : 0)];
}

#ifdef KERNEL_BF16_PAIRS
#include "kernel/pairs_vec.h"
#else
enum { PAIR = 1 };
static void pack_row(int n, const float *src, float *dst) {
  int i = 0;
  for (; i + VW <= n; i += VW) v_store(dst + i, v_load(src + i));
  if (i < n) v_store_n(dst + i, v_load_n(src + i, n - i), n - i);
}
static void pack_columns(int k, int n, const float *src, ptrdiff_t ld, float *dst) {
  for (int q = 0; q < k; q++) v_store(dst + q * TW, v_load_n(src + q * ld, n));
}
static void pack_panel(int k, int n, bool transposed, const float *src, ptrdiff_t ld, float *dst) {
  if (transposed) {
    panel_from_columns(k, n, src, ld, dst);
  } else {
    panel_from_rows(k, n, src, ld, dst);
  }
}
#endif

/* m <= MR rows of op(A), k columns from p on. Rows up to the next register block are filled with 0: garbage there would
 * be dropped, but denormals in it would be slow. */
static void strip_pack(const struct gemm *g, int i, int m, int p, int k, float *strip) {
  if (g->ta) {
    pack_columns(k, m, g->a + (size_t)p * g->lda + i, g->lda, strip);
    return;
  }
  for (int r = 0; r < m; r++) pack_row(k, g->a + (size_t)(i + r) * g->lda + p, strip + r * KS);
  for (int r = m; r < MR; r++) memset(strip + r * KS, 0, sizeof(float) * (size_t)((k + PAIR - 1) / PAIR));
}

/* k counts panel elements here: pairs with bf16 */
static void strip_multiply(const struct gemm *g, int i, int m, int j, int nb, int p, int k, const float *strip, const float *b,
                           ptrdiff_t bs) {
  for (int jj = 0; jj < nb; jj += NR) {
    struct block o = {.c = g->c + (size_t)i * g->ldc + j + jj, .ldc = g->ldc, .m = m, .n = nb - jj < NR ? nb - jj : NR};
    o.keep = p > 0 || g->beta != 0;
    o.bias = g->bias ? g->bias + j + jj : NULL;
    /* packed panels lie k*NR apart, unpacked columns NR apart */
    block_of(m, o.n, g->ta)(strip, bs == NR ? b + (size_t)jj * k : b + jj, bs, k, &o);
  }
}

static void panels_pack(const struct gemm *g, int j, int nb, int p, int k, float *panels) {
  size_t step = g->tb ? (size_t)g->ldb : 1;
  const float *b = g->tb ? g->b + (size_t)j * g->ldb + p : g->b + (size_t)p * g->ldb + j;
  for (int jj = 0; jj < nb; jj += NR) {
    pack_panel(k, nb - jj < NR ? nb - jj : NR, g->tb, b + (size_t)jj * step, g->ldb, panels + (size_t)jj * (size_t)((k + PAIR - 1) / PAIR));
  }
}

/* k = 0, or nothing to do with A and B: C = beta C + bias */
static void gemm_empty(const struct gemm *g) {
  if (g->beta != 0) return;
  for (int i = 0; i < g->m; i++) {
    for (int j = 0; j < g->n; j++) g->c[(size_t)i * g->ldc + j] = g->bias ? g->bias[j] : 0.0f;
  }
}

#ifndef KERNEL_BF16_PAIRS
/* A few rows only (decoding): packing B would cost as much as using it. Columns are taken where they lie as long as whole
 * registers fit; the ragged rest goes through a panel. */
static void gemm_few_rows(const struct gemm *g, float *panels, float *strip) {
  int whole = g->n / NR * NR, rest = g->n - whole;
  for (int p = 0; p < g->k; p += KC) {
    int k = g->k - p < KC ? g->k - p : KC;
    strip_pack(g, 0, g->m, p, k, strip);
    if (whole) strip_multiply(g, 0, g->m, 0, whole, p, k, strip, g->b + (size_t)p * g->ldb, g->ldb);
    if (rest) {
      panels_pack(g, whole, rest, p, k, panels);
      strip_multiply(g, 0, g->m, whole, rest, p, k, strip, panels, NR);
    }
  }
}
#endif

/* floats of a block of op(B): nb columns in whole panels, k rows */
static size_t block_floats(int nb, int k) { return (size_t)((nb + NR - 1) / NR * NR) * (size_t)((k + PAIR - 1) / PAIR); }

size_t GEMM_NAME(_pack_size)(int k, int n) {
  size_t floats = 0;
  for (int p = 0; p < k; p += KC * PAIR) floats += block_floats(n, k - p < KC * PAIR ? k - p : KC * PAIR);
  return floats;
}

void GEMM_NAME(_pack)(const struct gemm *g, float *to) {
  for (int j = 0; j < g->n; j += NC) {
    int nb = g->n - j < NC ? g->n - j : NC;
    for (int p = 0; p < g->k; p += KC * PAIR) {
      int k = g->k - p < KC * PAIR ? g->k - p : KC * PAIR;
      panels_pack(g, j, nb, p, k, to);
      to += block_floats(nb, k);
    }
  }
}

void GEMM_NAME()(const struct gemm *g) {
  if (g->m <= 0 || g->n <= 0) return;
  if (g->k <= 0) {
    gemm_empty(g);
    return;
  }
  float *scratch = g->scratch, *strip = scratch + KC * NC;
  const float *panels = g->packed ? g->packed : scratch;
#ifndef KERNEL_BF16_PAIRS
  if (!g->packed && !g->tb && g->m <= MR && g->ldb != NR) {
    gemm_few_rows(g, scratch, strip);
    return;
  }
#endif
  for (int j = 0; j < g->n; j += NC) {
    int nb = g->n - j < NC ? g->n - j : NC;
    for (int p = 0; p < g->k; p += KC * PAIR) {
      int k = g->k - p < KC * PAIR ? g->k - p : KC * PAIR;
      if (!g->packed) panels_pack(g, j, nb, p, k, scratch);
      for (int i = 0; i < g->m; i += MR) {
        int m = g->m - i < MR ? g->m - i : MR;
        strip_pack(g, i, m, p, k, strip);
        strip_multiply(g, i, m, j, nb, p, (k + PAIR - 1) / PAIR, strip, panels, NR);
      }
      if (g->packed) panels += block_floats(nb, k);
    }
  }
}
#endif
