/* Matrix product of whole numbers of 13 bits, AVX-512 VNNI: two products of 16 bits an instruction and lane, twice the f32 unit's rate.
 * A block of BLOCK_K of the inner dimension has a scale for each row of op(A) and one for each column of op(B), its largest size by 4095; its sums are
 * whole numbers (4095^2 * 128 < 2^31) and are added to C in f32. op(A) is laid out for some five hundred rows at a time, and stays in L2, while panels of
 * op(B) go by.
 */
#include <string.h>

#include "kernel/columns_avx512.h"
#include "kernel/panel_vec.h"

enum {
  LARGEST = 4095,
  BLOCK_K = 128,
  GROUP = 32, /* of k: pair i is k = i in its lower half, k = i + 16 in its upper half (half of what is left where fewer are left) */
  BLOCKS = 4, /* of k at a time */
  KC = BLOCKS * BLOCK_K,
  STRIPS = 172,                  /* laid out at a time: 516 rows of KC, or more of less; half of L2 */
  STRIP = MR * BLOCK_K / 2 + VW, /* 32-bit words of a block of MR rows: pairs, then scales */
  PANEL = NR * BLOCK_K / 2 + NR, /* and of NR columns */
  PANELS = 16,                   /* the same of B, where it is not laid out before */
  WORDS_SCRATCH = STRIPS * STRIP + PANELS * PANEL + (STRIPS * MR + VW)
};
_Static_assert((long long)LARGEST *LARGEST *BLOCK_K < 1ll << 31, "a sum overflows");
_Static_assert((int)WORDS_SCRATCH <= (int)AVX512_GEMM_SCRATCH, "callers are told too little scratch");

/* Where rounding, and its rows' scales, cost more than is gained; must not look at the number of rows */
static bool small(int n, int k) { return n < VW || k < GROUP; }

static int at_most(int n, int most) { return n < most ? n : most; }
static int blocks_of(int k) { return (k + BLOCK_K - 1) / BLOCK_K; }
static int pairs_of(int k) { return k / GROUP * (GROUP / 2) + (k % GROUP + 1) / 2; }

VINLINE vi larger(vi most, vf x) { return _mm512_max_epu32(most, _mm512_and_si512((vi)x, vi_set1(0x7fffffff))); }

/* Scales of 16 rows whose largest sizes have these bits, and their inverses. Rows that hold no number have none; of those whose scale could not be told
 * from zero all is zero. */
VINLINE vf scales_of(vi most, vf *inverse) {
  vm there = _mm512_cmp_ps_mask((vf)most, v_set1(5e-35f), _CMP_GE_OQ), not = _mm512_cmpge_epu32_mask(most, vi_set1(0x7f800000));
  *inverse = _mm512_maskz_div_ps(there & (vm) ~not, v_set1(LARGEST), (vf)most);
  return v_select(not, v_set1(NAN), _mm512_maskz_mul_ps(there, (vf)most, v_set1(1.0f / LARGEST)));
}

/* Rounded to nearest even: the low bits of a float of 1.5 * 2^23 and more are whole numbers. */
VINLINE vi rounded(vf x, vf inverse) { return (vi)v_fma(x, inverse, v_set1(0x1.8p23f)); }
VINLINE vi pair_up(vf low, vf high, vf inverse) {
  return _mm512_mask_blend_epi16(0xaaaaaaaa, rounded(low, inverse), _mm512_slli_epi32(rounded(high, inverse), 16));
}

/* k <= BLOCK_K floats of a row: the bits of the largest size */
static uint32_t row_most(int k, const float *src) {
  vi most = _mm512_setzero_si512();
  int q = 0;
  for (; q + VW <= k; q += VW) most = larger(most, v_load(src + q));
  if (q < k) most = larger(most, v_load_n(src + q, k - q));
  return _mm512_reduce_max_epu32(most);
}

/* The pairs of a group: k <= GROUP floats of a row */
VINLINE vi row_group(int k, const float *src, vf inverse) {
  if (k == GROUP) return pair_up(v_load(src), v_load(src + VW), inverse);
  int h = (k + 1) / 2;
  return pair_up(v_load_n(src, h), v_load_n(src + h, k - h), inverse);
}

/* m <= MR rows: row r's pairs at r * BLOCK_K / 2 */
static void strip_rows(int k, int m, const float *src, ptrdiff_t ld, int32_t *dst) {
  uint32_t most[VW] = {0};
  float inverse[VW];
  vf inverses;
  for (int r = 0; r < m; r++) most[r] = row_most(k, src + r * ld);
  v_store((float *)(void *)(dst + MR * BLOCK_K / 2), scales_of(_mm512_loadu_si512(most), &inverses));
  v_store(inverse, inverses);
  for (int r = 0; r < m; r++, src += ld, dst += BLOCK_K / 2) {
    vf by = v_set1(inverse[r]);
    for (int q = 0; q < k; q += GROUP) {
      int left = at_most(k - q, GROUP);
      _mm512_mask_storeu_epi32(dst + q / 2, v_first((left + 1) / 2), row_group(left, src + q, by));
    }
  }
  memset(dst, 0, sizeof *dst * (size_t)(MR - m) * BLOCK_K / 2);
}

/* Largest sizes of nv whole registers of columns over k rows, to `most` */
VINLINE void registers_most(const int nv, int k, const float *src, ptrdiff_t ld, int32_t *most) {
  vi m[16];
  UNROLL for (int v = 0; v < nv; v++) m[v] = _mm512_setzero_si512();
  for (int q = 0; q < k; q++, src += ld) UNROLL
  for (int v = 0; v < nv; v++) m[v] = larger(m[v], v_load(src + v * VW));
  UNROLL for (int v = 0; v < nv; v++) _mm512_storeu_si512(most + v * VW, m[v]);
}

/* Largest sizes of n columns over k rows, to places that are filled up to a whole register; much of a row at a time, as it lies in memory */
static void columns_most(int k, int n, const float *src, ptrdiff_t ld, int32_t *most) {
  for (int j = 0, w; j < n; j += w) {
    int left = (n - j) / VW;
    w = (left >= 16 ? 16 : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1) * VW;
    if (w == 16 * VW)
      registers_most(16, k, src + j, ld, most + j);
    else if (w == 8 * VW)
      registers_most(8, k, src + j, ld, most + j);
    else if (w == 4 * VW)
      registers_most(4, k, src + j, ld, most + j);
    else if (w == 2 * VW)
      registers_most(2, k, src + j, ld, most + j);
    else {
      vi one = _mm512_setzero_si512();
      vm some = v_first(at_most(n - j, VW));
      for (int q = 0; q < k; q++) one = larger(one, _mm512_maskz_loadu_ps(some, src + q * ld + j));
      _mm512_storeu_si512(most + j, one);
    }
  }
}

/* m columns of A', as strips `apart` words from each other: pair q of row r at q * MR + r. Rows of memory are read whole. */
static void strips_columns(int k, int m, const float *src, ptrdiff_t ld, int32_t *dst, int apart, float *inverse) {
  columns_most(k, m, src, ld, (int32_t *)(void *)inverse);
  vf by;
  for (int i = 0, s = 0; i < m; i += MR, s += apart) {
    vf scale = scales_of(_mm512_maskz_loadu_epi32(v_first(at_most(m - i, MR)), inverse + i), &by);
    v_store((float *)(void *)(dst + s + MR * BLOCK_K / 2), scale);
    v_store_n(inverse + i, by, MR);
  }
  for (int q = 0; q < k; q += GROUP) {
    int left = at_most(k - q, GROUP), h = (left + 1) / 2;
    for (int p = 0; p < h; p++) {
      const float *low = src + (q + p) * ld, *high = low + h * ld;
      int32_t *to = dst + (q / 2 + p) * MR;
      for (int i = 0; i < m; i += MR, to += apart) {
        int w = at_most(m - i, MR);
        vi pairs = pair_up(v_load_n(low + i, w), p + h < left ? v_load_n(high + i, w) : v_zero(), v_load_n(inverse + i, MR));
        _mm512_mask_storeu_epi32(to, v_first(MR), pairs);
      }
    }
  }
}

/* n columns of B, as panels `apart` words from each other: scales, then pairs */
static void panels_rows(int k, int n, const float *src, ptrdiff_t ld, int32_t *dst, int apart) {
  int32_t most[PANELS * NR + 4 * VW];
  float *inverse = (float *)(void *)most;
  columns_most(k, n, src, ld, most);
  vf by;
  for (int j = 0; j < n; j += NR) {
    UNROLL for (int v = 0; v < NR; v += VW) {
      int w = n - j - v;
      vi of = _mm512_maskz_loadu_epi32(v_first(w < 0 ? 0 : at_most(w, VW)), most + j + v);
      v_store((float *)(void *)(dst + j / NR * apart + v), scales_of(of, &by));
      v_store(inverse + j + v, by);
    }
  }
  for (int q = 0; q < k; q += GROUP) {
    int left = at_most(k - q, GROUP), h = (left + 1) / 2;
    for (int p = 0; p < h; p++) {
      const float *low = src + (q + p) * ld, *high = low + h * ld;
      int32_t *to = dst + NR + (q / 2 + p) * NR;
      for (int j = 0; j < n; j += NR, to += apart) {
        bool both = p + h < left;
        UNROLL for (int v = 0; v < NR; v += VW) {
          int w = n - j - v;
          vm some = v_first(w < 0 ? 0 : at_most(w, VW));
          vf high_ones = both ? _mm512_maskz_loadu_ps(some, high + j + v) : v_zero();
          _mm512_storeu_si512(to + v, pair_up(_mm512_maskz_loadu_ps(some, low + j + v), high_ones, v_load(inverse + j + v)));
        }
      }
    }
  }
}

/* n <= NR rows of B' to a panel */
static void panel_columns(int k, int n, const float *src, ptrdiff_t ld, int32_t *dst) {
  for (int half = 0; half < NR; half += VW, src += VW * ld, n -= VW) {
    uint32_t most[VW] = {0};
    float inverse[VW];
    vf by;
    for (int r = 0; r < VW && r < n; r++) most[r] = row_most(k, src + r * ld);
    v_store((float *)(void *)(dst + half), scales_of(_mm512_loadu_si512(most), &by));
    v_store(inverse, by);
    for (int q = 0; q < k; q += GROUP) {
      int left = at_most(k - q, GROUP);
      vf t[VW];
      UNROLL for (int r = 0; r < VW; r++) t[r] = r < n ? (vf)row_group(left, src + r * ld + q, v_set1(inverse[r])) : v_zero();
      v_transpose(t);
      float square[VW * VW];
      UNROLL for (int i = 0; i < VW; i++) v_store(square + i * VW, t[i]);
      for (int i = 0; i < (left + 1) / 2; i++) v_store((float *)(void *)(dst + NR + (q / 2 + i) * NR + half), v_load(square + i * VW));
    }
  }
}

struct place { /* where a register block of C goes */
  float *c;
  ptrdiff_t ldc;
  int m, n;
  bool keep; /* add to what is there */
  const float *bias;
};

/* sum += products of pairs; gcc 12 copies around the intrinsic */
#define DOT_PAIRS(sum, two, w) __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(two), "v"(w))

VINLINE void pair_step(vi sum[MR][2], const int mr, const int nv, const int rs, const int32_t *x, const int32_t *w) {
  vi w0 = _mm512_loadu_si512(w), w1 = nv > 1 ? _mm512_loadu_si512(w + VW) : w0;
  UNROLL for (int r = 0; r < mr; r++) {
    vi two = vi_set1(x[r * rs]);
    DOT_PAIRS(sum[r][0], two, w0);
    if (nv > 1) DOT_PAIRS(sum[r][1], two, w1);
  }
}

/* C = what it begins with + sums by both scales; begin: 0 nothing, 1 C itself, 2 the bias */
VINLINE void tile_store(vi sum[MR][2], const int mr, const int nv, const int begin, const float *rows, const float *columns,
                        const struct place *o) {
  vm some[2] = {v_first(at_most(o->n, VW)), v_first(o->n < VW ? 0 : at_most(o->n - VW, VW))};
  UNROLL for (int v = 0; v < nv; v++) {
    vf scale = v_load(columns + v * VW), bias = begin == 2 ? _mm512_maskz_loadu_ps(some[v], o->bias + v * VW) : v_zero();
    UNROLL for (int r = 0; r < mr; r++) {
      if (r >= o->m) break;
      float *c = o->c + r * o->ldc + v * VW;
      vf y = v_mul(_mm512_cvtepi32_ps(sum[r][v]), v_set1(rows[r]));
      _mm512_mask_storeu_ps(c, some[v], v_fma(y, scale, begin == 1 ? _mm512_maskz_loadu_ps(some[v], c) : bias));
    }
  }
}

/* mr rows by nv vectors, k of BLOCKS blocks; A by rows or by pairs (turned) */
VINLINE void tile(const int mr, const int nv, const bool turned, const int32_t *a, const int32_t *b, int k, const struct place *o) {
  const int rs = turned ? 1 : BLOCK_K / 2, ks = turned ? MR : 1;
  bool keep = o->keep;
  for (int r = 0; r < o->m; r++) UNROLL
  for (int v = 0; v < nv; v++) _mm_prefetch((const char *)(o->c + r * o->ldc + v * VW), _MM_HINT_T0);
  for (; k > 0; k -= BLOCK_K, keep = true) {
    vi sum[MR][2];
    UNROLL for (int r = 0; r < mr; r++) UNROLL /* not a copy of one zero: it would stay in a register */
        for (int v = 0; v < 2; v++) __asm__("vpxord %0, %0, %0" : "=v"(sum[r][v]));
    int pairs = pairs_of(at_most(k, BLOCK_K)), p = 0;
    const int32_t *x = a, *w = b + NR;
    for (; p + 1 < pairs; p += 2, x += 2 * ks, w += 2 * NR) {
      pair_step(sum, mr, nv, rs, x, w);
      pair_step(sum, mr, nv, rs, x + ks, w + NR);
    }
    if (p < pairs) pair_step(sum, mr, nv, rs, x, w);
    const float *rows = (const float *)(const void *)(a + MR * BLOCK_K / 2), *columns = (const float *)(const void *)b;
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
TILE(12, 1)
TILE(12, 2)
TILE(8, 1)
TILE(8, 2)
TILE(4, 1)
TILE(4, 2)

/* one panel with all strips of A */
static void panel_multiply_all(const struct gemm *g, int i, int m, int j, int p, int k, const int32_t *strips, const int32_t *panel) {
  static void (*const all[2][3][2])(const int32_t *, const int32_t *, int, const struct place *) = {
      {{tile_4_1, tile_4_2}, {tile_8_1, tile_8_2}, {tile_12_1, tile_12_2}},
      {{turned_4_1, turned_4_2}, {turned_8_1, turned_8_2}, {turned_12_1, turned_12_2}}};
  struct place o = {.ldc = g->ldc, .n = at_most(g->n - j, NR), .keep = p > 0 || g->beta != 0, .bias = g->bias ? g->bias + j : NULL};
  for (int r = 0; r < m; r += MR, strips += blocks_of(k) * STRIP) {
    o.c = g->c + (size_t)(i + r) * g->ldc + j, o.m = at_most(m - r, MR);
    all[g->ta][(o.m - 1) / 4][o.n > VW](strips, panel, k, &o);
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

size_t avx512vnni_gemm_pack_size(int k, int n) {
  if (small(n, k)) return avx512_gemm_pack_size(k, n);
  size_t words = (size_t)(k / KC) * (size_t)panel_words(KC) + (size_t)(k % KC ? panel_words(k % KC) : 0);
  return words * (size_t)panels_of(n);
}

void avx512vnni_gemm_pack(const struct gemm *g, float *to) {
  if (small(g->n, g->k)) {
    avx512_gemm_pack(g, to);
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

void avx512vnni_gemm(const struct gemm *g) {
  if (g->m <= 0 || g->n <= 0 || small(g->n, g->k)) {
    avx512_gemm(g);
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
