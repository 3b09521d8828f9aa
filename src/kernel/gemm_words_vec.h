/* Private: matrix product of whole numbers of 13 bits over vec.h: two products of 16 bits a lane and instruction (AVX-512 VNNI; AVX2 takes a second one
 * for the sum): up to twice the f32 unit's rate, 1.6 times on Zen 3 (docs/performance.md).
 * A block of BLOCK_K of the inner dimension has a scale for each row of op(A) and one for each column of op(B), its largest size by 4095; its sums are
 * whole numbers (4095^2 * 128 < 2^31) and are added to C in f32. op(A) is laid out for some hundreds of rows at a time, and stays in L2, while panels of
 * op(B) go by. The including file defines WORDS_NAME(rest) and FLOATS_NAME(rest): the functions' names, and those of the f32 product that takes what is small.
 */
#ifndef KERNEL_GEMM_WORDS_VEC_H
#define KERNEL_GEMM_WORDS_VEC_H
#include "kernel/gemm_words_pack_vec.h"
#include "kernel/kernel_columns.h"

struct place { /* where a register block of C goes */
  float *c;
  ptrdiff_t ldc;
  int m, n;
  bool keep; /* add to what is there */
  const float *bias;
};

VINLINE void pair_step(vi sum[MR][2], const int mr, const int nv, const int rs, const int32_t *x, const int32_t *w) {
  vi w0 = vi_load(w), w1 = nv > 1 ? vi_load(w + VW) : w0;
  UNROLL for (int r = 0; r < mr; r++) {
    vi two = vi_set1(x[r * rs]);
    sum[r][0] = vi_dot(sum[r][0], two, w0);
    if (nv > 1) sum[r][1] = vi_dot(sum[r][1], two, w1);
  }
}

/* C = what it begins with + sums by both scales; begin: 0 nothing, 1 C itself, 2 the bias; whole: all columns are there */
VINLINE void tile_store_of(vi sum[MR][2], const int mr, const int nv, const int begin, const bool whole, const float *rows,
                           const float *columns, const struct place *o) {
  UNROLL for (int v = 0; v < nv; v++) {
    const int n = whole ? VW : at_most(o->n - v * VW, VW);
    if (n <= 0) break;
    vf scale = v_load(columns + v * VW), bias = begin == 2 ? v_load_some(o->bias + v * VW, n) : v_zero();
    UNROLL for (int r = 0; r < mr; r++) {
      if (r >= o->m) break;
      float *c = o->c + r * o->ldc + v * VW;
      vf y = v_fma(v_mul(vi_float(sum[r][v]), v_set1(rows[r])), scale, begin == 1 ? v_load_some(c, n) : bias);
      v_store_some(c, y, n);
    }
  }
}
VINLINE void tile_store(vi sum[MR][2], const int mr, const int nv, const int begin, const float *rows, const float *columns,
                        const struct place *o) {
  if (VW == 8 && o->n == nv * VW) /* masks cost AVX-512 nothing */
    tile_store_of(sum, mr, nv, begin, true, rows, columns, o);
  else
    tile_store_of(sum, mr, nv, begin, false, rows, columns, o);
}

/* mr rows by nv vectors, k of BLOCKS blocks; A by rows or by pairs (turned) */
VINLINE void tile(const int mr, const int nv, const bool turned, const int32_t *a, const int32_t *b, int k, const struct place *o) {
  const int rs = turned ? 1 : BLOCK_K / 2, ks = turned ? TURNED : 1;
  bool keep = o->keep;
  for (int r = 0; r < o->m; r++) UNROLL
  for (int v = 0; v < nv; v++) _mm_prefetch((const char *)(o->c + r * o->ldc + v * VW), _MM_HINT_T0);
  for (; k > 0; k -= BLOCK_K, keep = true) {
    vi sum[MR][2];
    UNROLL for (int r = 0; r < mr; r++) UNROLL for (int v = 0; v < 2; v++) sum[r][v] = vi_fresh_zero();
    int pairs = pairs_of(at_most(k, BLOCK_K)), p = 0;
    const int32_t *x = a, *w = b + NR;
    for (; VW == 16 && p + 1 < pairs; p += 2, x += 2 * ks, w += 2 * NR) {
      pair_step(sum, mr, nv, rs, x, w);
      pair_step(sum, mr, nv, rs, x + ks, w + NR);
    }
    for (; p < pairs; p++, x += ks, w += NR) pair_step(sum, mr, nv, rs, x, w);
    const float *rows = (const float *)(const void *)(a + STRIP_PAIRS), *columns = (const float *)(const void *)b;
    if (keep)
      tile_store(sum, mr, nv, 1, rows, columns, o);
    else if (o->bias)
      tile_store(sum, mr, nv, 2, rows, columns, o);
    else
      tile_store(sum, mr, nv, 0, rows, columns, o);
    a += STRIP, b += NR + (ptrdiff_t)pairs * NR;
  }
}
#define TILE(mr, nv)                                                                                                                  \
  static void tile_##mr##_##nv(const int32_t *a, const int32_t *b, int k, const struct place *o) { tile(mr, nv, false, a, b, k, o); } \
  static void turned_##mr##_##nv(const int32_t *a, const int32_t *b, int k, const struct place *o) { tile(mr, nv, true, a, b, k, o); }
#ifdef __AVX512F__
TILE(12, 1)
TILE(12, 2)
TILE(8, 1)
TILE(8, 2)
TILE(4, 1)
TILE(4, 2)
#define TILES(name)                                                                  \
  {                                                                                  \
    {name##_4_1, name##_4_2}, {name##_8_1, name##_8_2}, { name##_12_1, name##_12_2 } \
  }
#else
TILE(6, 1)
TILE(6, 2)
TILE(4, 1)
TILE(4, 2)
TILE(2, 1)
TILE(2, 2)
#define TILES(name)                                                                \
  {                                                                                \
    {name##_2_1, name##_2_2}, {name##_4_1, name##_4_2}, { name##_6_1, name##_6_2 } \
  }
#endif

/* one panel with all strips of A */
static void panel_multiply_all(const struct gemm *g, int i, int m, int j, int p, int k, const int32_t *strips, const int32_t *panel) {
  static void (*const all[2][3][2])(const int32_t *, const int32_t *, int, const struct place *) = {TILES(tile), TILES(turned)};
  struct place o = {.ldc = g->ldc, .n = at_most(g->n - j, NR), .keep = p > 0 || g->beta != 0, .bias = g->bias ? g->bias + j : NULL};
  for (int r = 0; r < m; r += MR, strips += blocks_of(k) * STRIP) {
    o.c = g->c + (size_t)(i + r) * g->ldc + j, o.m = at_most(m - r, MR);
    all[g->ta][(o.m - 1) / (MR / 3)][o.n > VW](strips, panel, k, &o);
  }
}

/* op(A): m rows from i, k from p. Rows of memory in their order, and the next ones called for: they come from far. */
static void strips_pack(const struct gemm *g, int i, int m, int p, int k, int32_t *strips, float *inverse) {
  int apart = blocks_of(k) * STRIP;
  for (int b = 0; b < k && g->ta; b += BLOCK_K, strips += STRIP)
    strips_columns(at_most(k - b, BLOCK_K), m, g->a + (size_t)(p + b) * g->lda + i, g->lda, strips, apart, inverse);
  for (int r = 0; r < m && !g->ta; r += MR, strips += apart) {
    const float *src = g->a + (size_t)(i + r) * g->lda + p;
    for (int n = MR; n < 2 * MR && r + n < m; n++)
      for (int q = 0; q < k; q += 16) _mm_prefetch((const char *)(src + (size_t)n * g->lda + q), _MM_HINT_T0);
    for (int b = 0; b < k; b += BLOCK_K)
      strip_rows(at_most(k - b, BLOCK_K), at_most(m - r, MR), src + b, g->lda, strips + b / BLOCK_K * STRIP);
  }
}

/* 32-bit words of a panel for k <= KC */
static int panel_words(int k) { return NR * blocks_of(k) + NR * (k / BLOCK_K * (BLOCK_K / 2) + pairs_of(k % BLOCK_K)); }

static void panels_pack(const struct gemm *g, int j, int n, int p, int k, int32_t *to) {
  int apart = panel_words(k);
  for (int b = 0; b < k; b += BLOCK_K, to += PANEL) {
    int kb = at_most(k - b, BLOCK_K);
    if (!g->tb) panels_rows(kb, n, g->b + (size_t)(p + b) * g->ldb + j, g->ldb, to, apart);
    for (int r = 0; g->tb && r < n; r += NR)
      panel_columns(kb, at_most(n - r, NR), g->b + (size_t)(j + r) * g->ldb + p + b, g->ldb, to + r / NR * apart);
  }
}

static int panels_of(int n) { return (n + NR - 1) / NR; }

size_t WORDS_NAME(_pack_size)(int k, int n) {
  if (small(n, k)) return FLOATS_NAME(_pack_size)(k, n);
  size_t words = (size_t)(k / KC) * (size_t)panel_words(KC) + (size_t)(k % KC ? panel_words(k % KC) : 0);
  return words * (size_t)panels_of(n);
}

void WORDS_NAME(_pack)(const struct gemm *g, float *to) {
  if (small(g->n, g->k)) {
    FLOATS_NAME(_pack)(g, to);
    return;
  }
  int32_t *words = (int32_t *)(void *)to;
  for (int p = 0; p < g->k; p += KC) {
    int k = at_most(g->k - p, KC);
    int columns = PANELS / blocks_of(k) * NR;
    for (int j = 0; j < g->n; j += columns) {
      int n = at_most(g->n - j, columns);
      panels_pack(g, j, n, p, k, words);
      words += (size_t)panels_of(n) * (size_t)panel_words(k);
    }
  }
}

void WORDS_NAME()(const struct gemm *g) {
  if (g->m <= 0 || g->n <= 0 || small(g->n, g->k)) {
    FLOATS_NAME()(g);
    return;
  }
  int32_t *strips = (int32_t *)(void *)g->scratch, *scratch = strips + STRIPS * STRIP;
  float *inverse = g->scratch + STRIPS * STRIP + PANELS * PANEL;
  const int32_t *packed = (const int32_t *)(const void *)g->packed;
  for (int p = 0; p < g->k; p += KC) {
    int k = at_most(g->k - p, KC), words = panel_words(k);
    int rows = STRIPS / blocks_of(k) * MR, panels = PANELS / blocks_of(k);
    for (int i = 0; i < g->m; i += rows) {
      int m = at_most(g->m - i, rows);
      strips_pack(g, i, m, p, k, strips, inverse);
      for (int j = 0; j < g->n; j += NR) {
        if (!packed && j % (panels * NR) == 0) panels_pack(g, j, at_most(g->n - j, panels * NR), p, k, scratch);
        const int32_t *panel = packed ? packed + (size_t)(j / NR) * (size_t)words : scratch + j / NR % panels * words;
        panel_multiply_all(g, i, m, j, p, k, strips, panel);
      }
    }
    if (packed) packed += (size_t)panels_of(g->n) * (size_t)words;
  }
}
#endif
