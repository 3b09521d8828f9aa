/* Products with quantised weights: the block types of GGUF files, packed once at load for the vector units, times activations that are quantised
 * in blocks as the formats' reference does it; and attention over a cache in half precision or in floats.
 *
 *     const struct quant_kernel *k = quant_pick(NULL);                       // best column, or by name: "ref", "avx2", "avx512"
 *     struct quant_matrix w = {0};
 *     size_t bytes = quant_plan(QUANT_Q4_1, rows, columns, &w);              // 0: this type is not packed (F32, F16, BF16)
 *     quant_pack(&w, file_bytes, memory);                                    // memory: `bytes`, 64-byte aligned
 *     k->activations(w.activation, m, columns, x, ldx, &a);                  // x (m, columns) f32 -> int8 blocks
 *     k->product(&w, 0, quant_groups(&w), &a, m, y, ldy);                    // y (m, rows) = x W^T, for a range of 16-row groups
 *
 * Packed: groups of 16 rows; in a group, per block of 32 columns: 16 scales (16 more where a scale covers 16 columns), 16 minima where the type has
 * them, then the quants so that a 64-byte register holds four neighbouring columns of 16 rows. value = scale * (quant - zero) - minimum. The quants
 * and scales are the file's, bit for bit; sums inside a block are exact integers, sums over blocks are f32. kernel/quant_ref.c is the truth; it
 * shares the packing, and quant_dequantise, which reads the file's own blocks, checks both (tests/kernel/quant_test.c).
 */
#ifndef KERNEL_QUANT_H
#define KERNEL_QUANT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum quant_type {
  QUANT_F32 = 0,
  QUANT_F16 = 1,
  QUANT_Q4_0 = 2,
  QUANT_Q4_1 = 3,
  QUANT_Q5_0 = 6,
  QUANT_Q5_1 = 7,
  QUANT_Q8_0 = 8,
  QUANT_Q4_K = 12,
  QUANT_Q5_K = 13,
  QUANT_Q6_K = 14,
  QUANT_BF16 = 30
};
#define QUANT_BLOCK 32
#define QUANT_ROWS 16

/* n values (a whole number of the type's blocks) as f32; any of the types above */
void quant_dequantise(uint32_t type, const uint8_t *block, size_t n, float *out);
size_t quant_bytes(uint32_t type, size_t n); /* 0: unknown type, or n is no whole number of blocks */

/* How activations are quantised; the scale covers 32 values as f16 (and, with a minimum on the other side, scale * sum as f16 too), or 256 values
 * as f32. So do ggml's reference paths, and the integers inside the blocks come out the same. */
enum quant_activation { QUANT_A8, QUANT_A8_SUM, QUANT_A8_K };
struct quant_activations { /* (m, columns) and (m, columns / 32) */
  int8_t *q;
  float *scale, *sum; /* sum: scale * sum of the block's quants */
  int32_t *minus;     /* minus the sum of the quants, of halves of blocks: (m, columns / 16) */
  int32_t *minus_whole;
  size_t columns;
};
size_t quant_activations_bytes(int m, size_t columns);
void quant_activations_place(struct quant_activations *a, int m, size_t columns, void *memory); /* 64-byte aligned */

struct quant_matrix {
  uint32_t type;
  int rows, columns;
  enum quant_activation activation;
  bool nibbles;              /* two quants a byte */
  bool minima, halves, wide; /* halves: a scale covers 16 columns; wide: scales are f32, otherwise f16 */
  int zero_shift;            /* zero = 1 << zero_shift; -1: zero = 0 */
  size_t block_bytes;        /* of a group's block */
  const uint8_t *packed;
};
size_t quant_plan(uint32_t type, int rows, int columns, struct quant_matrix *w);
void quant_pack(struct quant_matrix *w, const uint8_t *file, void *memory, int first_group, int end_group);
static inline int quant_groups(const struct quant_matrix *w) { return (w->rows + QUANT_ROWS - 1) / QUANT_ROWS; }

/* Small models' own matrices: signed bytes with one scale for a whole row, times rows of unsigned bytes (128 is zero) with one scale each, so that a
 * product is whole-number sums and one multiplication at their end.
 * Packed: groups of 16 rows of W (rows, columns); of a group, for every four columns 64 bytes (four of each row); columns are padded with zeros. */
struct byte_matrix {
  int rows, columns;
  const int8_t *packed;
  const float *scale;   /* (rows, in whole groups) */
  const int32_t *begin; /* the same: -128 times the sum of the row's bytes */
};
size_t byte_matrix_bytes(int rows, int columns);
/* memory: so many bytes, 64-byte aligned. false: the weights are not all finite numbers */
bool byte_matrix_pack(const float *weight, int rows, int columns, void *memory, struct byte_matrix *w);
static inline size_t byte_columns(int columns) { return (size_t)(columns + 3) / 4 * 4; }

/* Encoders' float matrices: whole numbers of 13 bits on both sides (1.2e-4 of a block's largest at most), a scale for every 128 columns, so that
 * 128 products of 2^24 stay below 2^31. Pairs of 16 bits are multiplied up to twice as fast as floats.
 * Packed: groups of 16 rows; in a group, per block of 128 columns: 16 scales, then for every two columns 64 bytes (two of each row). Columns are
 * padded with zeros. A block that is not all finite numbers has no number as its scale. */
#define WORD_BLOCK 128
struct word_matrix {
  int rows, columns;
  const uint8_t *packed; /* NULL: none */
};
static inline size_t word_blocks(int columns) { return (size_t)(columns + WORD_BLOCK - 1) / WORD_BLOCK; }
size_t word_matrix_bytes(int rows, int columns);
/* Groups [first, end) from rows of F32, F16 or BF16 values; memory: so many bytes, 64-byte aligned. */
void word_matrix_pack(const struct word_matrix *w, uint32_t type, const uint8_t *file, void *memory, int first_group, int end_group);

/* Attention of some rows of one sequence against one key head's cache. Keys lie in blocks of 16 positions: k[pos / 16][i][pos % 16]; values
 * v[pos][i]; both f16, or both f32 where `wide`. Query row r (position `position + (phase + r) / group`, `group` rows a position) sees positions (own - window, own], or all
 * `keys` of them where `full`. */
struct quant_attention {
  int rows, group, phase, head, position, keys, window;
  bool full, wide;
  float scale, cap;      /* cap > 0: scores become cap * tanh(score / cap) */
  const float *const *q; /* per row, `head` floats */
  float *const *out;
  const void *k, *v;
  float *scratch; /* quant_attention_scratch(keys) floats, 64-byte aligned */
};
static inline size_t quant_attention_scratch(int keys) { return 8 * (size_t)((keys + 63) / 64 * 64) + 64; }

struct quant_kernel {
  const char *name;
  void (*activations)(enum quant_activation kind, int m, int columns, const float *x, size_t ldx, struct quant_activations *a);
  void (*product)(const struct quant_matrix *w, int first_group, int end_group, const struct quant_activations *a, int m, float *y,
                  size_t ldy);
  void (*attention)(const struct quant_attention *a); /* rows <= 8 */
  void (*to_half)(size_t n, const float *x, uint16_t *y);
  /* NULL where it is not faster: x (m, columns) -> q (m, byte_columns), scale (m), no numbers stay no numbers; y (m, rows) = x W^T + bias (or NULL).
   * A row's bits do not depend on the others. */
  void (*to_bytes)(int m, int columns, const float *x, uint8_t *q, float *scale);
  /* The same of GELU(x), tanh form, to 1e-4 of it; x is overwritten */
  void (*gelu_to_bytes)(int m, int columns, float *x, uint8_t *q, float *scale);
  void (*byte_product)(const struct byte_matrix *w, int m, const uint8_t *q, const float *scale, const float *bias, float *y);
  /* NULL where it is not faster: x (m, columns) -> q (m, blocks of 128), scale (m, blocks); y (m, rows) = x W^T + bias (or NULL) for a range of groups.
   * A row's bits do not depend on the others. */
  void (*to_words)(int m, int columns, const float *x, int16_t *q, float *scale);
  void (*word_product)(const struct word_matrix *w, int first_group, int end_group, int m, const int16_t *q, const float *scale,
                       const float *bias, float *y, size_t ldy);
  void (*gelu_erf)(size_t n, float *x); /* in place: x Phi(x), by the error function; the vector columns to 2e-7 of x */
};
const struct quant_kernel *quant_pick(const char *name); /* NULL if the named one cannot run here */
int quant_all(const struct quant_kernel *out[4]);
float quant_half(uint16_t h);
uint16_t quant_to_half(float x); /* nearest even */
#endif
