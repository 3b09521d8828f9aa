/* The numerical operations: a closed set behind one table. kernel_ref.c is the truth (plain C, f32, double where sums are
 * long); every other column (avx2, avx2words, avx512, avx512vnni, avx512bf16, amx, a GPU plug-in) fills the same table and is tested against it.
 *
 *     const struct kernel *k = kernel_pick(KERNEL_AUTO, KERNEL_REDUCED);   // once, at start
 *     k->gemm(&(struct gemm){.m = T, .n = 3 * C, .k = C, .a = x, .lda = C, .b = w, .ldb = 3 * C, .c = qkv, .ldc = 3 * C});
 *
 * All operations are single-threaded (parallelism is by micro-batch above), work on row-major f32, never allocate except
 * from the caller's scratch, do not alias inputs with outputs unless said, and are deterministic: same inputs, same
 * column -> same bits. Shapes: T = positions (rows), C = width, H = heads, D = head size (C = H*D), F = MLP width.
 * bf16 columns round the operands of matrix products to bfloat16 (nearest even) and accumulate in f32; all else stays f32. avx512vnni and avx2words take operands of
 * products as whole numbers of 13 bits, one scale for 128 of the inner dimension of a row of op(A) or a column of op(B): what is below 1/8190 of the
 * largest of these is lost, and a row with an infinity counts as one with a NaN. NaN in -> NaN out (never hidden). Threads must have called
 * thread_fast_float().
 */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* C = beta*C + op(A) op(B) (+ bias per column); op = transpose if ta / tb. A is (m,k) [or (k,m) if ta], B is (k,n) [or (n,k) if tb]. beta is 0 or 1. */
struct gemm {
  int m, n, k;
  bool ta, tb;
  const float *a;
  int lda;
  const float *b;
  int ldb;
  const float *packed; /* NULL, or op(B) as this column's gemm_pack left it: then b is not read; the same bits either way */
  float beta;
  const float *bias; /* (n) or NULL; only with beta 0 */
  float *c;
  int ldc;
  float *scratch; /* >= kernel->gemm_scratch floats, 64-byte aligned */
};

enum norm_kind { NORM_RMS, NORM_LAYER };
struct norm { /* y = gain * (x - mean) * rstd (+ shift); RMSNorm (Zhang & Sennrich 2019): mean = 0, no shift */
  enum norm_kind kind;
  int rows, c;
  float eps;
  const float *x, *gain, *shift; /* shift may be NULL */
  float *y, *mean, *rstd;        /* (rows) each; saved for backward; mean unused for RMS */
};
struct norm_back {
  struct norm f; /* x, gain, mean, rstd from forward */
  const float *dy;
  float *dx;             /* accumulated (+=) */
  float *dgain, *dshift; /* accumulated; dshift may be NULL */
};

/* Attention over packed ragged sequences. Row r of sequence s sees rows j of the same sequence with j <= r (causal), and
 * with `ties` only j == r or time[j] < time[r] (events at the same instant do not see each other); `window` > 0 keeps
 * j > r - window; `full` sees every row. Grouped queries: head h uses key head h * kv_heads / heads. */
struct attention {
  int sequences;
  const int32_t *start; /* (sequences+1) row offsets */
  int heads, kv_heads, d;
  float scale;
  bool full, ties;
  int window;
  const int64_t *time;    /* (rows), needed for ties */
  const float *q, *k, *v; /* rows of q: heads*d, of k and v: kv_heads*d, with these strides (floats) */
  int q_stride, k_stride, v_stride;
  float *out; /* (rows, heads*d), stride out_stride */
  int out_stride;
  float *lse;     /* (rows, heads): log of the softmax denominator, saved for backward */
  int skip;       /* forward: so many rows at the beginning of each sequence are seen and need no answer; a column may leave their out and
                   * lse as they are. The other rows have the same bits as without it */
  float *scratch; /* kernel_attention_scratch(longest sequence, d) floats */
};
struct attention_back {
  struct attention f; /* q, k, v, out, lse from forward */
  const float *dout;
  float *dq, *dk, *dv; /* accumulated; strides as q, k, v */
};
/* One new row per stream against its cache. Cached rows lie in blocks of DECODE_ROWS, so that streams share the blocks of a common
 * prefix and memory follows use (after PagedAttention, Kwon et al. 2023). A layer of a block, at byte `at`, holds numbers in eight bits and every
 * head's scales in IEEE half precision: keys, in pairs of neighbouring numbers of a head; values, in pairs of neighbouring rows; scales of the keys,
 * then of the values (kernel_columns.h says where). So sums are whole numbers, two products at a time. Queries and weights of rows take 16 bits of
 * them. Neighbouring streams that name the same prefix blocks are worked on together, and each gets the bits that it would get alone. */
#define DECODE_ROWS 16
#define DECODE_GROUP 4   /* streams worked on together */
#define DECODE_BEYOND 32 /* bytes after a block that may be read */
static inline int decode_lanes(int kv_heads) { return kv_heads > 8 ? kv_heads : kv_heads > 4 ? 8 : kv_heads > 2 ? 4 : 2; }
static inline size_t decode_side(int kv_heads, int d) { /* bytes of a row's keys, or values */
  size_t n = (size_t)(d + d % 2) * (size_t)decode_lanes(kv_heads);
  return kv_heads > 8 ? n : (n + 31) / 32 * 32;
}
static inline size_t decode_layer(int kv_heads, int d) {
  return DECODE_ROWS * (2 * decode_side(kv_heads, d) + 4 * (size_t)decode_lanes(kv_heads));
}
struct decode_place { /* row `row` of a block whose part of the layer begins at `layer` */
  int8_t *layer;
  int row;
};
struct decode_keep { /* rows of keys (kv_heads, d) and the values after them to where blocks keep them; no numbers stay no numbers */
  int rows, kv_heads, d;
  const float *kv;
  int kv_stride;
  bool lanes;                    /* keys and values are (d, kv_heads); only with more than 8 heads */
  const struct decode_place *to; /* (rows) */
  float *scratch;                /* kernel_keep_scratch(d) floats */
};
static inline size_t kernel_keep_scratch(int d) { return 40 * ((size_t)d + 2); }
struct decode_rows { /* rows [from, n): row j is row j % DECODE_ROWS of block[j / DECODE_ROWS]; unused rows must be finite */
  const int8_t *const *block;
  int from, n;
  int hide, show; /* rows [hide, show) of them are not seen: between static facts and a window, or ties before the last row */
};
struct attention_decode {
  int streams, heads, kv_heads, d;
  float scale;
  const float *q; /* (streams, heads*d) */
  int q_stride;
  size_t at;  /* bytes from a block's start to this layer */
  bool lanes; /* q and out are (d, heads), for models that never look at them; only with more than 8 heads, each its own key head */
  const struct decode_rows *prefix, *own; /* (streams); the new row is the last of `own` */
  float *out;                             /* (streams, heads*d), stride out_stride */
  int out_stride;
  float *scratch; /* kernel_decode_scratch(longest prefix, longest own, d) floats */
};
static inline size_t kernel_decode_scratch(int prefix, int own, int d) {
  const size_t rows = (size_t)prefix + (size_t)own + 2 * DECODE_ROWS;
  return DECODE_GROUP * 16 * (rows + 2 * (size_t)d + 4) + 32 * ((size_t)d + 2) + 4 * DECODE_GROUP * rows;
}

/* Rotary position (Su et al. 2021), half-split pairs (i, i+d/2): angle = position[r] * base^(-2i/d). In place; back = inverse rotation. */
struct rope {
  int rows, heads, d, stride;
  const float *position; /* (rows): index or time in the unit the model chose */
  float base;
  float *x;
  bool back;
  float *
      table; /* (rows, d) or NULL: cosines and sines, filled, or (told) taken, for calls that share their positions; a column may do without */
  bool told;
};

/* Sum of table rows: out[p] += sum over e in [start[p], start[p+1]) of weight[e] * table[id[e]]; weight NULL = 1. */
struct embed_bag {
  int rows, c;
  const int32_t *start, *id;
  const float *weight;
  const float *table; /* (vocabulary, c) */
  float *out;         /* (rows, c) accumulated */
};
struct embed_bag_back {
  struct embed_bag f;
  const float *dout;
  float *dtable; /* accumulated */
};

/* AdamW (Loshchilov & Hutter 2019), bias-corrected; `decay` is applied to w directly. */
struct adamw {
  size_t n;
  float *w, *m, *v;
  const float *g;
  float lr, beta1, beta2, eps, decay;
  float grad_scale;   /* multiplies g first (clipping, averaging) */
  float bias1, bias2; /* 1 - beta^step */
};

struct kernel {
  const char *name;            /* "ref", "avx2", "avx2words", "avx512", "avx512vnni", "avx512bf16", "amx", "cuda", "cudabf16" */
  bool reduced;                /* operands of matrix products are rounded */
  bool device;                 /* of a plug-in (kernel_plugin.h): slow for small work, and every thread's operations meet on one device */
  const char *(*failed)(void); /* NULL: cannot fail; else NULL, or why the device failed: results since then are undefined */
  size_t gemm_scratch;         /* floats */

  void (*gemm)(const struct gemm *g);
  /* Weights that serve many products are laid out once: floats that op(B) of (k, n) takes (0: this column has no such layout, packed
   * stays NULL), and the layout itself from n, k, tb, b, ldb; `to` is 64-byte aligned. */
  size_t (*gemm_pack_size)(int k, int n);
  void (*gemm_pack)(const struct gemm *g, float *to);
  void (*norm_forward)(const struct norm *n);
  void (*norm_backward)(const struct norm_back *n);
  void (*attention_forward)(const struct attention *a);
  void (*attention_backward)(const struct attention_back *a);
  void (*attention_decode)(const struct attention_decode *a);
  void (*decode_keep)(const struct decode_keep *k);
  void (*rope)(const struct rope *r);
  void (*embed_forward)(const struct embed_bag *e);
  void (*embed_backward)(const struct embed_bag_back *e);
  /* SwiGLU (Shazeer 2020): y = silu(g) * u, gu row = [g (f) | u (f)] */
  void (*swiglu_forward)(int rows, int f, const float *gu, float *y);
  void (*swiglu_backward)(int rows, int f, const float *gu, const float *dy, float *dgu); /* dgu overwritten */
  void (*gelu_forward)(size_t n, const float *x, float *y);                               /* tanh form */
  void (*gelu_backward)(size_t n, const float *x, const float *dy, float *dx);            /* dx overwritten */
  void (*add)(size_t n, const float *x, float *y);                                        /* y += x */
  void (*axpy)(size_t n, float a, const float *x, float *y);                              /* y += a x */
  void (*scale)(size_t n, float a, float *x);                                             /* x *= a */
  void (*mul)(size_t n, const float *x, float *y);                                        /* y *= x */
  double (*dot)(size_t n, const float *x, const float *y);
  double (*sumsq)(size_t n, const float *x);
  void (*col_sum)(int rows, int c, const float *x, int stride, float *out); /* out[c] += sum over rows (bias gradients) */
  /* log(sum(exp(x))) over n; and y = a * exp(x - b), returning the sum of y */
  float (*logsumexp)(size_t n, const float *x);
  double (*exp_scaled)(size_t n, float a, float b, const float *x, float *y);
  void (*sigmoid)(size_t n, const float *x, float *y);
  /* x *= keep ? 1/(1-p) : 0, keep decided by 16 bits of Philox(seed, stream, element), so p is taken to 1/65536: the same mask in forward and backward */
  void (*dropout)(size_t n, float p, uint64_t seed, uint64_t stream, float *x);
  void (*adamw)(const struct adamw *a);
};

enum kernel_column {
  KERNEL_AUTO,
  KERNEL_REF,
  KERNEL_AVX2,
  KERNEL_AVX2WORDS,
  KERNEL_AVX512,
  KERNEL_AVX512VNNI,
  KERNEL_AVX512BF16,
  KERNEL_AMX
}; /* a plug-in's: kernel_plugin_open */
enum kernel_precision { KERNEL_F32, KERNEL_REDUCED };
/* The best column for this machine (CPUID feature bits, XCR0, and for AMX the kernel's permission), or the one named;
 * NULL if the named one cannot run here. KERNEL_REDUCED: the best column whose products take reduced operands
 * (amx, avx512bf16, avx512vnni, avx2words), else the best f32 one. */
const struct kernel *kernel_pick(enum kernel_column column, enum kernel_precision precision);
/* All columns that can run here, reference first; returns how many. For tests. */
int kernel_all(const struct kernel *out[8]);
/* One line for people: "avx512bf16 (no AMX on this machine)" */
const char *kernel_describe(void);
size_t kernel_attention_scratch(int longest, int d); /* floats, enough for every column */
static inline float bf16_round(float x) {            /* nearest even, NaN kept */
  union {
    float f;
    uint32_t u;
  } v = {x};
  if ((v.u & 0x7fffffffu) > 0x7f800000u) return x;
  v.u = (v.u + 0x7fffu + ((v.u >> 16) & 1u)) & 0xffff0000u;
  return v.f;
}
#endif
