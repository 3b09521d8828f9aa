/* Quantised products: blocks against another reader's values (tests/kernel/quant_blocks.txt, made with gguf-py), every column against the
 * reference, the packing against plain arithmetic on the file's blocks, attention against the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/random.h"
#include "kernel/quant.h"

static const uint32_t types[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0, QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K};
enum { TYPES = sizeof types / sizeof *types };

static void test_blocks_of_another_reader(void **state) {
  (void)state;
  FILE *f = fopen("tests/kernel/quant_blocks.txt", "r");
  static char line[16384];
  int seen = 0;
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    if (*line == '#') continue;
    uint8_t block[512];
    float got[256];
    char *at;
    uint32_t type = (uint32_t)strtoul(line, &at, 10);
    size_t n = 0;
    unsigned byte;
    for (at++; sscanf(at, "%2x", &byte) == 1; at += 2) block[n++] = (uint8_t)byte;
    size_t values = n * 256 / quant_bytes(type, 256);
    assert_true(values <= 256);
    quant_dequantise(type, block, values, got);
    assert_non_null(fgets(line, sizeof line, f));
    at = line;
    for (size_t i = 0; i < values; i++) {
      float want = strtof(at, &at);
      if (fabsf(got[i] - want) > 1e-6f * (1 + fabsf(want)))
        fail_msg("type %u value %zu: %g, not %g", type, i, (double)got[i], (double)want);
    }
    seen++;
  }
  fclose(f);
  assert_int_equal(seen, TYPES);
}

static void test_halves(void **state) {
  (void)state;
  for (unsigned h = 0; h < 65536; h++) {
    float f = quant_half((uint16_t)h);
    if (f != f) continue;
    assert_int_equal(quant_to_half(f), h);
  }
  assert_int_equal(quant_to_half(65520.0f), 0x7c00);
  assert_int_equal(quant_to_half(65519.0f), 0x7bff);
  assert_int_equal(quant_to_half(1.0f + 0x1p-11f), 0x3c00); /* ties to even */
  assert_int_equal(quant_to_half(1.0f + 0x3p-11f), 0x3c02);
}

static void set_half(uint8_t *p, float f) {
  uint16_t h = quant_to_half(f);
  memcpy(p, &h, 2);
}

/* Random blocks with scales that are numbers. */
static uint8_t *random_blocks(struct rng *r, uint32_t type, size_t n) {
  size_t bytes = quant_bytes(type, n), each = quant_bytes(type, 256) < 200 && (type < 12) ? quant_bytes(type, 32) : quant_bytes(type, 256);
  uint8_t *p = malloc(bytes);
  if (type < 12) each = quant_bytes(type, 32);
  for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)rng_u32(r);
  for (size_t i = 0; i < bytes; i += each) {
    float d = 0.002f + 0.01f * rng_uniformf(r);
    set_half(p + i + (type == QUANT_Q6_K ? 208 : 0), d);
    if (type == QUANT_Q4_1 || type == QUANT_Q5_1 || type == QUANT_Q4_K || type == QUANT_Q5_K)
      set_half(p + i + 2, d * (rng_uniformf(r) - 0.5f));
  }
  return p;
}

struct run {
  struct quant_matrix w;
  struct quant_activations a;
  uint8_t *file;
  void *packed, *memory;
  float *x;
  int m;
};

static void run_new(struct run *t, struct rng *r, uint32_t type, int rows, int columns, int m, const struct quant_kernel *k) {
  size_t bytes = quant_plan(type, rows, columns, &t->w);
  t->m = m;
  t->file = random_blocks(r, type, (size_t)rows * (size_t)columns);
  t->packed = mem_alloc_aligned(bytes + 4096);
  quant_pack(&t->w, t->file, t->packed, 0, quant_groups(&t->w));
  t->x = malloc((size_t)m * (size_t)columns * 4);
  for (int i = 0; i < m * columns; i++) t->x[i] = (float)rng_normal(r) * (i % 37 == 0 ? 5.0f : 1.0f);
  size_t size = quant_activations_bytes(m, (size_t)columns);
  t->memory = mem_alloc_aligned(size);
  quant_activations_place(&t->a, m, (size_t)columns, t->memory);
  k->activations(t->w.activation, m, columns, t->x, (size_t)columns, &t->a);
}

static void run_free(struct run *t) {
  free(t->file);
  free(t->x);
  mem_free_aligned(t->packed, quant_plan(t->w.type, t->w.rows, t->w.columns, &t->w) + 4096);
  mem_free_aligned(t->memory, quant_activations_bytes(t->m, (size_t)t->w.columns));
}

/* The quantised activations of each column are the reference's, to the bit. */
static void test_activations(void **state) {
  (void)state;
  const struct quant_kernel *all[4];
  int n = quant_all(all);
  struct rng r;
  rng_init(&r, 3, 0);
  for (int c = 1; c < n; c++)
    for (int t = 0; t < TYPES; t++) {
      struct run a, b;
      struct rng s = r, u = r;
      run_new(&a, &s, types[t], 16, 512, 5, all[0]);
      run_new(&b, &u, types[t], 16, 512, 5, all[c]);
      assert_memory_equal(a.a.q, b.a.q, 5 * 512);
      assert_memory_equal(a.a.scale, b.a.scale, 5 * 16 * 4);
      assert_memory_equal(a.a.sum, b.a.sum, 5 * 16 * 4);
      assert_memory_equal(a.a.minus, b.a.minus, 5 * 32 * 4);
      assert_memory_equal(a.a.minus_whole, b.a.minus_whole, 5 * 16 * 4);
      run_free(&a), run_free(&b);
    }
}

static void check_product(struct rng *r, uint32_t type, int rows, int columns, int m) {
  const struct quant_kernel *all[4];
  int n = quant_all(all);
  struct run t;
  run_new(&t, r, type, rows, columns, m, all[0]);
  float *weights = malloc((size_t)rows * (size_t)columns * 4), *y = malloc((size_t)m * (size_t)rows * 4);
  quant_dequantise(type, t.file, (size_t)rows * (size_t)columns, weights);
  for (int c = 0; c < n; c++) {
    for (int i = 0; i < m * rows; i++) y[i] = NAN;
    all[c]->product(&t.w, 0, quant_groups(&t.w), &t.a, m, y, (size_t)rows);
    for (int i = 0; i < m; i++)
      for (int j = 0; j < rows; j++) {
        double want = 0, size = 0;
        for (int k = 0; k < columns; k++) {
          size_t at = (size_t)i * (size_t)columns + (size_t)k;
          double p = (double)weights[(size_t)j * (size_t)columns + (size_t)k] * t.a.q[at] * t.a.scale[at / 32];
          want += p, size += fabs(p);
        }
        /* the sum of a block is kept as f16 where the formats' reference keeps it so: one part in 2000 of the minima's share */
        double bound = (t.w.minima ? 6e-4 : 1e-5) * size + 1e-6;
        double got = y[(size_t)i * (size_t)rows + (size_t)j];
        if (!(fabs(got - want) <= bound))
          fail_msg("%s type %u %dx%d m %d: row %d column %d: %g, not %g", all[c]->name, type, rows, columns, m, i, j, got, want);
      }
    if (c == 0) continue;
    float *ref = malloc((size_t)m * (size_t)rows * 4);
    all[0]->product(&t.w, 0, quant_groups(&t.w), &t.a, m, ref, (size_t)rows);
    for (int i = 0; i < m * rows; i++)
      if (!(fabsf(y[i] - ref[i]) <= 2e-5f * (1 + fabsf(ref[i])) + 1e-4f))
        fail_msg("%s type %u: %g, reference %g", all[c]->name, type, (double)y[i], (double)ref[i]);
    free(ref);
  }
  free(weights), free(y);
  run_free(&t);
}

static void test_products(void **state) {
  (void)state;
  struct rng r;
  rng_init(&r, 11, 0);
  for (int t = 0; t < TYPES; t++) {
    int unit = types[t] >= 12 ? 256 : 32;
    for (int k = 0; k < 4; k++)
      check_product(&r, types[t], 1 + (int)rng_below(&r, 70), unit * (1 + (int)rng_below(&r, 4)), 1 + (int)rng_below(&r, 21));
    check_product(&r, types[t], 16, unit, 1);
    check_product(&r, types[t], 64, 2 * unit, 8);
  }
}

static void check_attention(struct rng *r, const struct quant_kernel *k, int rows, int group, int head, int position, int window, bool full,
                            bool wide, float cap) {
  const struct quant_kernel *all[4];
  quant_all(all);
  int keys = position + (rows + group - 1) / group + 3, padded = (keys + 15) / 16 * 16;
  float *kc = calloc((size_t)padded * (size_t)head, 4), *vc = calloc((size_t)padded * (size_t)head, 4); /* half of it where they are f16 */
  float q[8][256], out[2][8][256];
  const float *qp[8];
  float *op[2][8], *scratch = mem_alloc_aligned(quant_attention_scratch(keys) * 4);
  for (int i = 0; i < padded * head; i++) {
    float kf = (float)rng_normal(r), vf = (float)rng_normal(r);
    if (wide)
      kc[i] = kf, vc[i] = vf;
    else
      ((uint16_t *)(void *)kc)[i] = quant_to_half(kf), ((uint16_t *)(void *)vc)[i] = quant_to_half(vf);
  }
  for (int i = 0; i < 8; i++) {
    qp[i] = q[i], op[0][i] = out[0][i], op[1][i] = out[1][i];
    for (int j = 0; j < head; j++) q[i][j] = (float)rng_normal(r);
  }
  for (int c = 0; c < 2; c++) {
    struct quant_attention a = {.rows = rows,
                                .group = group,
                                .phase = 0,
                                .head = head,
                                .position = position,
                                .keys = keys,
                                .window = window,
                                .full = full,
                                .wide = wide,
                                .scale = 0.2f,
                                .cap = cap,
                                .q = qp,
                                .out = op[c],
                                .k = kc,
                                .v = vc,
                                .scratch = scratch};
    if (group > 1 && rows < 8) a.phase = 1;
    (c ? k : all[0])->attention(&a);
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < head; j++)
      if (!(fabsf(out[0][i][j] - out[1][i][j]) <= 3e-5f))
        fail_msg("%s rows %d group %d head %d at %d window %d wide %d: %g, not %g", k->name, rows, group, head, position, window, wide,
                 (double)out[1][i][j], (double)out[0][i][j]);
  free(kc), free(vc);
  mem_free_aligned(scratch, quant_attention_scratch(keys) * 4);
}

static void test_attention(void **state) {
  (void)state;
  const struct quant_kernel *all[4];
  int n = quant_all(all);
  struct rng r;
  rng_init(&r, 5, 0);
  for (int c = 1; c < n; c++)
    for (int i = 0; i < 120; i++) {
      int group = 1 + (int)rng_below(&r, 4), head = (int[]){32, 64, 80, 128, 256, 24}[rng_below(&r, 6)];
      int window = rng_below(&r, 3) ? 0 : 1 + (int)rng_below(&r, 50);
      check_attention(&r, all[c], 1 + (int)rng_below(&r, 8), group, head, (int)rng_below(&r, 200), window, rng_below(&r, 4) == 0, i % 2,
                      rng_below(&r, 4) ? 0 : 20.0f);
    }
}

/* y (m, rows) near x W^T + bias, and nearer to the reference's; row 1 of more than two holds what is no number. Errors in the size of a sum of terms
 * without order. */
static void near_product(const char *name, const float *w, const float *x, const float *bias, int rows, int columns, int m, const float *y,
                         const float *ref, double rough) {
  for (int i = 0; i < m; i++)
    for (int j = 0; j < rows; j++) {
      double want = (double)bias[j], terms = 0;
      float got = y[i * rows + j], other = ref[i * rows + j];
      for (int p = 0; p < columns; p++) {
        double term = (double)w[j * columns + p] * (double)x[i * columns + p];
        want += term, terms += term * term;
      }
      if (m > 2 && i == 1 ? !isnan(got) || !isnan(other)
                          : !(fabs((double)got - want) <= rough * sqrt(terms) + 1e-6) ||
                                !(fabs((double)(got - other)) <= 1e-6 * (1 + fabs((double)got) + sqrt(terms))))
        fail_msg("%s %dx%d m %d row %d column %d: %g, not %g (%g)", name, rows, columns, m, i, j, (double)got, want, (double)other);
    }
}

/* Whole rows in eight bits: near the product of the numbers, in each column the reference's to rounding, a row alone with the same bits; rows of
 * zeros stay zeros, and what is no number in a row shows in all its products and nowhere else. */
static void check_bytes(struct rng *r, const struct quant_kernel *k, int rows, int columns, int m) {
  size_t across = byte_columns(columns), size = byte_matrix_bytes(rows, columns), n = (size_t)m * (size_t)rows;
  float *w = malloc((size_t)(rows * columns) * 4), *x = malloc((size_t)(m * columns) * 4), *y = malloc(n * 4), *ref = malloc(n * 4),
        *bias = malloc((size_t)rows * 4);
  float scale[2][32];
  uint8_t *q[2] = {malloc((size_t)m * across), malloc((size_t)m * across)};
  void *memory = mem_alloc_aligned(size);
  struct byte_matrix b;
  for (int i = 0; i < rows * columns; i++) w[i] = (float)rng_normal(r) * (float)(1 + i / columns % 7);
  for (int i = 0; i < m * columns; i++) x[i] = (float)rng_normal(r) * (float)(1 + i / columns);
  for (int i = 0; i < rows; i++) bias[i] = (float)rng_normal(r);
  memset(x, 0, (size_t)columns * 4);
  if (m > 2) x[2 * columns - 1] = NAN;
  assert_true(byte_matrix_pack(w, rows, columns, memory, &b));
  const struct quant_kernel *both[2] = {quant_pick("ref"), k};
  for (int c = 0; c < 2; c++) {
    both[c]->to_bytes(m, columns, x, q[c], scale[c]);
    both[c]->byte_product(&b, m, q[c], scale[c], bias, c ? y : ref);
  }
  near_product(k->name, w, x, bias, rows, columns, m, y, ref, 0.05);
  for (int i = 0; i < m; i++) {
    k->byte_product(&b, 1, q[1] + (size_t)i * across, scale[1] + i, bias, ref);
    assert_memory_equal(ref, y + i * rows, (size_t)rows * 4);
  }
  float *gelu[2] = {memcpy(malloc((size_t)(m * columns) * 4), x, (size_t)(m * columns) * 4), x};
  for (int c = 0; c < 2; c++) both[c]->gelu_to_bytes(m, columns, gelu[c], q[c], scale[c]);
  for (int i = 0; i < m; i++) {
    if (m > 2 && i == 1) {
      assert_true(isnan(scale[0][i]) && isnan(scale[1][i]));
      continue;
    }
    assert_true(fabsf(scale[0][i] - scale[1][i]) <= 2e-4f * scale[0][i]);
    for (size_t p = 0; p < across; p++) assert_in_range(q[1][(size_t)i * across + p] + 1 - q[0][(size_t)i * across + p], 0, 2);
  }
  free(gelu[0]);
  w[rows * columns - 1] = INFINITY;
  assert_false(byte_matrix_pack(w, rows, columns, memory, &b));
  free(w), free(x), free(y), free(ref), free(bias), free(q[0]), free(q[1]);
  mem_free_aligned(memory, size);
}

static void test_bytes(void **state) {
  (void)state;
  const struct quant_kernel *all[4];
  int n = quant_all(all);
  struct rng r;
  rng_init(&r, 12, 0);
  for (int c = 0; c < n; c++)
    for (int t = 0; t < 40 && all[c]->to_bytes; t++)
      check_bytes(&r, all[c], 1 + (int)rng_below(&r, 130), 1 + (int)rng_below(&r, 200), 1 + (int)rng_below(&r, 32));
}

/* The same of words of 13 bits, some groups at a time; every type of floats. */
static void check_words(struct rng *r, const struct quant_kernel *k, int rows, int columns, int m) {
  static const uint32_t floats[] = {QUANT_F32, QUANT_F16, QUANT_BF16};
  uint32_t type = floats[rng_below(r, 3)];
  size_t blocks = word_blocks(columns), n = (size_t)m * (size_t)rows, values = (size_t)rows * (size_t)columns;
  int groups = (rows + 15) / 16, cut = (int)rng_below(r, (uint32_t)groups + 1);
  float *w = malloc(values * 4), *x = malloc((size_t)(m * columns) * 4), *y = malloc(n * 4), *ref = malloc(n * 4),
        *bias = malloc((size_t)rows * 4);
  float *scale[2] = {malloc((size_t)m * blocks * 4), malloc((size_t)m * blocks * 4)};
  int16_t *q[2] = {malloc((size_t)m * blocks * WORD_BLOCK * 2), malloc((size_t)m * blocks * WORD_BLOCK * 2)};
  uint8_t *file = malloc(values * 4), *memory = mem_alloc_aligned(word_matrix_bytes(rows, columns));
  struct word_matrix b = {rows, columns, memory};
  for (size_t i = 0; i < values; i++) {
    float v = (float)rng_normal(r) * (float)(1 + (int)i / columns % 7);
    uint32_t bits;
    memcpy(&bits, &v, 4);
    uint16_t half = type == QUANT_F16 ? quant_to_half(v) : (uint16_t)(bits >> 16);
    memcpy(file + i * quant_bytes(type, 1), type == QUANT_F32 ? (const void *)&v : (const void *)&half, quant_bytes(type, 1));
  }
  quant_dequantise(type, file, values, w);
  for (int i = 0; i < m * columns; i++) x[i] = (float)rng_normal(r) * (float)(1 + i / columns);
  for (int i = 0; i < rows; i++) bias[i] = (float)rng_normal(r);
  memset(x, 0, (size_t)columns * 4);
  if (m > 2) x[2 * columns - 1] = NAN;
  word_matrix_pack(&b, type, file, memory, 0, cut);
  word_matrix_pack(&b, type, file, memory, cut, groups);
  const struct quant_kernel *both[2] = {quant_pick("ref"), k};
  for (int c = 0; c < 2; c++) {
    both[c]->to_words(m, columns, x, q[c], scale[c]);
    both[c]->word_product(&b, 0, cut, m, q[c], scale[c], bias, c ? y : ref, (size_t)rows);
    both[c]->word_product(&b, cut, groups, m, q[c], scale[c], bias, c ? y : ref, (size_t)rows);
  }
  near_product(k->name, w, x, bias, rows, columns, m, y, ref, 2e-3);
  for (int i = 0; i < m; i++) {
    k->word_product(&b, 0, groups, 1, q[1] + (size_t)i * blocks * WORD_BLOCK, scale[1] + (size_t)i * blocks, bias, ref, (size_t)rows);
    assert_memory_equal(ref, y + i * rows, (size_t)rows * 4);
  }
  for (size_t i = 0; i < (size_t)WORD_BLOCK; i++) x[i % (size_t)columns] = i % 3 ? 1e30f : -1e30f; /* the largest sums there can be */
  k->to_words(1, columns, x, q[1], scale[1]);
  k->word_product(&b, 0, groups, 1, q[1], scale[1], NULL, y, (size_t)rows);
  for (int j = 0; j < rows; j++) {
    double want = 0, most = 0;
    for (int p = 0; p < columns; p++)
      want += (double)w[j * columns + p] * (double)x[p], most += fabs((double)w[j * columns + p] * (double)x[p]);
    if (!(fabs((double)y[j] - want) <= 1e-3 * most)) fail_msg("%s: %g, not %g", k->name, (double)y[j], want);
  }
  free(w), free(x), free(y), free(ref), free(bias), free(scale[0]), free(scale[1]), free(q[0]), free(q[1]), free(file);
  mem_free_aligned(memory, word_matrix_bytes(rows, columns));
}

static void test_words(void **state) {
  (void)state;
  const struct quant_kernel *all[4];
  int n = quant_all(all);
  struct rng r;
  rng_init(&r, 13, 0);
  for (int c = 0; c < n; c++)
    for (int t = 0; t < 40 && all[c]->to_words; t++)
      check_words(&r, all[c], 1 + (int)rng_below(&r, 130), 1 + (int)rng_below(&r, 400), 1 + (int)rng_below(&r, 32));
}

static void test_gelu(void **state) {
  (void)state;
  const struct quant_kernel *all[4];
  int n = quant_all(all);
  float x[2001], y[2001];
  for (int c = 0; c < n; c++) {
    for (int i = 0; i < 2001; i++) x[i] = y[i] = (float)(i - 1000) * 0.01f;
    all[c]->gelu_erf(2001, y);
    for (int i = 0; i < 2001; i++) {
      double want = 0.5 * (double)x[i] * erfc(-(double)x[i] * 0.70710678118654752);
      if (!(fabs((double)y[i] - want) <= 3e-7 * (1 + fabs((double)x[i]))))
        fail_msg("%s: gelu(%g) = %g, not %g", all[c]->name, (double)x[i], (double)y[i], want);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks_of_another_reader),
                                     cmocka_unit_test(test_halves),
                                     cmocka_unit_test(test_activations),
                                     cmocka_unit_test(test_products),
                                     cmocka_unit_test(test_attention),
                                     cmocka_unit_test(test_bytes),
                                     cmocka_unit_test(test_words),
                                     cmocka_unit_test(test_gelu)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
