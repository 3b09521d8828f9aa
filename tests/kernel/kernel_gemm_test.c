/* Matrix products of every column against the reference on random shapes. */
#include "kernel/kernel_testing.h"

#include "kernel/columns_avx512.h"

struct shape {
  int m, n, k;
  bool ta, tb, bias, beta;
};

/* Does this column take whole numbers for such a product? Small ones stay f32. */
static bool has_words(const struct kernel *k) { return strcmp(k->name, "avx512vnni") == 0 || strcmp(k->name, "avx2words") == 0; }
static bool in_words(const struct kernel *k, int n, int depth) { return has_words(k) && n >= 16 && depth >= 32; }

/* `lines` rows of op(A), or columns of op(B): 13 bits, a scale for every 128 along k; rounded once, so that ties fall alike */
static void to_words(float *x, int lines, ptrdiff_t line, int k, ptrdiff_t step) {
  for (int i = 0; i < lines; i++, x += line) {
    for (int p = 0; p < k; p += 128) {
      float most = 0;
      int end = p + 128 < k ? p + 128 : k;
      for (int q = p; q < end; q++) most = fmaxf(most, fabsf(x[q * step]));
      for (int q = p; q < end; q++)
        x[q * step] = most > 0 ? (fmaf(x[q * step], 4095 / most, 0x1.8p23f) - 0x1.8p23f) * (most * (1 / 4095.0f)) : 0;
    }
  }
}

/* An operand as the column sees it */
static float *rounded(const struct kernel *k, const float *x, size_t n, const struct shape *s, bool is_b, int ld) {
  float *p = copy(x, n);
  bool turned = is_b ? !s->tb : s->ta; /* k goes down the rows of memory */
  if (in_words(k, s->n, s->k))
    to_words(p, is_b ? s->n : s->m, turned ? 1 : ld, s->k, turned ? ld : 1);
  else if (k->reduced && !has_words(k))
    for (size_t i = 0; i < n; i++) p[i] = bf16_round(p[i]);
  return p;
}

/* Sums of k products of normal numbers have size sqrt(k). f32 chains of k fused steps err by at most k * 2^-24 of the
 * absolute sum, in practice by sqrt(k) * 2^-24 per unit: 4e-7 * k leaves room. bf16 products are exact in f32 and the
 * reference sees rounded operands, so the same bound holds with a factor for the unit's own order of rounding (it rounds
 * each pair's sum separately). Sums of whole numbers are exact. */
static double tolerance(const struct kernel *k, int depth) { return (k->reduced ? 8e-7 : 4e-7) * (depth + 8); }

static void one(const struct kernel *k, const struct shape *s) {
  int ac = s->ta ? s->m : s->k, ar = s->ta ? s->k : s->m, bc = s->tb ? s->k : s->n, br = s->tb ? s->n : s->k;
  int lda = ac + between(0, 5), ldb = bc + between(0, 5), ldc = s->n + between(0, 5);
  size_t an = (size_t)ar * (size_t)lda, bn = (size_t)br * (size_t)ldb, cn = (size_t)s->m * (size_t)ldc;
  float *a = normals(an, 1), *b = normals(bn, 1), *c = normals(cn, 1), *want = copy(c, cn);
  float *bias = normals((size_t)s->n, 1), *scratch = scratch_floats(k->gemm_scratch);
  float *ra = rounded(k, a, an, s, false, lda), *rb = rounded(k, b, bn, s, true, ldb);
  struct gemm g = {.m = s->m,
                   .n = s->n,
                   .k = s->k,
                   .ta = s->ta,
                   .tb = s->tb,
                   .a = a,
                   .lda = lda,
                   .b = b,
                   .ldb = ldb,
                   .c = c,
                   .ldc = ldc,
                   .beta = s->beta ? 1.0f : 0.0f,
                   .bias = s->bias && !s->beta ? bias : NULL,
                   .scratch = scratch};
  float *before = copy(c, cn), *packed = scratch_floats(k->gemm_pack_size(s->k, s->n));
  k->gemm(&g);
  if (k->gemm_pack_size(s->k, s->n)) { /* laid out before: the same bits, and B is not looked at */
    k->gemm_pack(&g, packed);
    g.packed = packed, g.b = NULL, g.c = before;
    k->gemm(&g);
    assert_memory_equal(before, c, cn * sizeof(float));
    g.packed = NULL;
  }
  g.a = ra, g.b = rb, g.c = want;
  kernel_pick(KERNEL_REF, KERNEL_F32)->gemm(&g);
  close_to("gemm", k->name, cn, c, want, tolerance(k, s->k), 1e-6); /* also what lies between n and ldc */
  drop(a), drop(b), drop(c), drop(want), drop(bias), drop(ra), drop(rb), drop(before), free(scratch), free(packed);
}

static void random_shapes(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int i = 0; i < 160; i++) {
      int wide = i % 8 == 0; /* beyond one block of k and n now and then */
      struct shape s = {between(0, 60), between(0, wide ? 700 : 90), between(0, wide ? 600 : 90), i & 1, i & 2, i & 4, i & 8};
      one(k, &s);
    }
  }
}

static void shapes_of_models(void **state) {
  (void)state;
  static const int mnk[][3] = {{64, 384, 128}, {64, 128, 512}, {128, 128, 64}, {1, 512, 128},
                               {3, 1000, 128}, {13, 32, 257},  {12, 64, 1},    {65, 33, 513}};
  EACH_COLUMN(k) {
    for (size_t i = 0; i < sizeof mnk / sizeof *mnk; i++) {
      for (int t = 0; t < 4; t++) {
        struct shape s = {mnk[i][0], mnk[i][1], mnk[i][2], t & 1, t & 2, t & 1, !(t & 1)};
        one(k, &s);
      }
    }
  }
}

/* C = op(A) op(B), no gaps between rows */
static void dense(const struct kernel *kernel, int m, int n, int k, bool ta, bool tb, const float *a, const float *b, float *c,
                  float *scratch) {
  kernel->gemm(&(struct gemm){.m = m,
                              .n = n,
                              .k = k,
                              .ta = ta,
                              .tb = tb,
                              .a = a,
                              .lda = ta ? m : k,
                              .b = b,
                              .ldb = tb ? k : n,
                              .c = c,
                              .ldc = n,
                              .scratch = scratch});
}

/* More rows, columns and depth than are laid out at a time */
static void large_words(void **state) {
  (void)state;
  const struct kernel *all[8];
  int n = kernel_all(all);
  for (int t = 0; t < 4 * n; t++)
    if (has_words(all[t / 4])) one(all[t / 4], &(struct shape){1101, 300, 400, t & 1, t & 2, t & 1, !(t & 1)});
}

/* Rows and columns of sizes from nothing to 10^12, blocks of zeros in them, one large number among small ones: a product is off by no more than half a
 * step of both operands times the largest of each, a block at a time. Rows too small for a scale count as zeros. */
static void sizes_of_words(const struct kernel *k) {
  enum { M = 29, N = 45, K = 300 };
  for (int t = 0; t < 4; t++) {
    float *a = normals(M * K, 1), *b = normals(N * K, 1), *c = floats(M * N), *scratch = scratch_floats(k->gemm_scratch);
    bool ta = t & 1, tb = t & 2;
    ptrdiff_t ai = ta ? 1 : K, ap = ta ? M : 1, bj = tb ? K : 1, bp = tb ? 1 : N;
    for (int p = 0; p < K; p++) {
      for (int i = 0; i < M; i++)
        a[i * ai + p * ap] *= i == 3 || (i == 4 && p < 128) ? 0
                              : i == 5                      ? 1e-37f
                              : i == 6 && p == 200          ? 1e6f
                                                            : powf(10, (float)(i % 25 - 12));
      for (int j = 0; j < N; j++) b[j * bj + p * bp] *= j == 7 ? 0 : j == 8 && p > 140 ? 1e-30f : powf(10, (float)(j % 21 - 12));
    }
    dense(k, M, N, K, ta, tb, a, b, c, scratch);
    for (int i = 0; i < M; i++) {
      for (int j = 0; j < N; j++) {
        double want = 0, bound = 0;
        for (int from = 0; from < K; from += 128) {
          double most_a = 0, most_b = 0;
          int end = from + 128 < K ? from + 128 : K;
          for (int p = from; p < end; p++) {
            double x = a[i * ai + p * ap], y = b[j * bj + p * bp];
            want += x * y, most_a = fmax(most_a, fabs(x)), most_b = fmax(most_b, fabs(y));
          }
          bound += (end - from) * most_a * most_b * (i == 5 ? 1 : 1.001 / 4095 + 1e-6);
        }
        assert_true(fabs(c[i * N + j] - want) <= bound + 1e-37);
      }
    }
    drop(a), drop(b), drop(c), free(scratch);
  }
}

static void words_of_all_sizes(void **state) {
  (void)state;
  const struct kernel *all[8];
  int n = kernel_all(all);
  for (int i = 0; i < n; i++)
    if (has_words(all[i])) sizes_of_words(all[i]);
}

/* Scales, whole-number sums and the order of blocks are the same in both columns with words, and so are the bits */
static void words_in_each_column(void **state) {
  (void)state;
  const struct kernel *all[8], *first = NULL;
  int n = kernel_all(all);
  enum { M = 61, N = 333, K = 700 };
  for (int t = 0; t < 4; t++, first = NULL) {
    float *a = normals(M * K, 1), *b = normals(N * K, 1), *c = floats(M * N), *other = floats(M * N);
    for (int i = 0; i < n; i++) {
      if (!has_words(all[i])) continue;
      float *scratch = scratch_floats(all[i]->gemm_scratch);
      dense(all[i], M, N, K, t & 1, t & 2, a, b, first ? other : c, scratch);
      if (first) assert_memory_equal(c, other, M * N * sizeof *c);
      first = all[i];
      free(scratch);
    }
    drop(a), drop(b), drop(c), drop(other);
  }
}

/* The bf16 columns' packing and blocking with their instructions done in plain arithmetic, so that they are tried on every AVX-512
 * machine: tiles of the AMX column, pairs of the other. */
static void bf16_emulated(void **state) {
  (void)state;
  const struct kernel *plain = kernel_pick(KERNEL_AVX512, KERNEL_F32);
  if (!plain) {
    print_message("no AVX-512 here\n");
    return;
  }
  struct kernel k[2] = {*plain, *plain};
  k[0].name = "amx emulated", k[0].gemm = amx_emulated_gemm, k[0].gemm_pack_size = amx_emulated_gemm_pack_size;
  k[1].name = "avx512bf16 emulated", k[1].gemm = bf16_emulated_gemm, k[1].gemm_pack_size = bf16_emulated_gemm_pack_size;
  k[0].gemm_pack = amx_emulated_gemm_pack, k[1].gemm_pack = bf16_emulated_gemm_pack;
  for (int i = 0; i < 200; i++) {
    bool wide = i % 16 < 2;
    struct shape s = {between(0, 80), between(0, wide ? 600 : 90), between(0, wide ? 1100 : 90), i & 2, i & 4, i & 8, i & 16};
    if (i == 18) s = (struct shape){64, 64, 64, true, false, false, false};
    if (i == 20) s = (struct shape){32, 64, 1024, false, true, false, false};
    k[i & 1].reduced = true;
    one(&k[i & 1], &s);
  }
}

/* beta 0 must not read C, a NaN in one row of A or column of B must reach exactly its row or column. Whole numbers make a NaN of an infinity. */
static void nan_goes_where_it_must(void **state) {
  (void)state;
  enum { M = 30, N = 40, K = 50 };
  EACH_COLUMN(k) {
    for (int t = 0; t < 4; t++) {
      bool ta = t & 1, tb = t & 2;
      float *a = normals(M * K, 1), *b = normals(N * K, 1), *c = floats(M * N), *scratch = scratch_floats(k->gemm_scratch);
      for (int i = 0; i < M * N; i++) c[i] = NAN;
      a[ta ? 7 * M + 5 : 5 * K + 7] = NAN;
      b[tb ? 9 * K + 3 : 3 * N + 9] = INFINITY;
      dense(k, M, N, K, ta, tb, a, b, c, scratch);
      for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
          bool words = in_words(k, N, K);
          assert_int_equal(isnan(c[i * N + j]) != 0, i == 5 || (words && j == 9));
          assert_int_equal(isinf(c[i * N + j]) != 0, !words && i != 5 && j == 9);
        }
      }
      drop(a), drop(b), drop(c), free(scratch);
    }
  }
}

/* The same product twice gives the same bits, whatever the scratch held before; and a row's bits do not depend on the rows
 * computed with it, so that a prediction does not depend on who else is in the batch */
static void deterministic(void **state) {
  (void)state;
  enum { M = 37, N = 70, K = 300 };
  EACH_COLUMN(k) {
    float *a = normals(M * K, 1), *b = normals(N * K, 1), *c = zeros(M * N), *d = zeros(M * N), *scratch = scratch_floats(k->gemm_scratch);
    struct gemm g = {.m = M, .n = N, .k = K, .a = a, .lda = K, .b = b, .ldb = N, .c = c, .ldc = N, .scratch = scratch};
    k->gemm(&g);
    for (size_t i = 0; i < k->gemm_scratch; i++) scratch[i] = (float)i;
    g.c = d;
    k->gemm(&g);
    assert_memory_equal(c, d, M * N * sizeof(float));
    for (int tb = 0; tb < 2; tb++) {
      g.m = M, g.a = a, g.c = c, g.tb = tb, g.ldb = tb ? K : N;
      k->gemm(&g);
      for (int i = 0; i < M; i += 7) {
        g.m = 1, g.a = a + i * K, g.c = d;
        k->gemm(&g);
        assert_memory_equal(c + i * N, d, N * sizeof(float));
      }
    }
    drop(a), drop(b), drop(c), drop(d), free(scratch);
  }
}

static void bf16_rounding(void **state) {
  (void)state;
  assert_true(bf16_round(1.0f) == 1.0f);
  assert_true(bf16_round(1.0f + 0x1p-8f) == 1.0f);             /* tie to even */
  assert_true(bf16_round(1.0f + 0x1.8p-7f) == 1.0f + 0x1p-6f); /* tie to even, upwards */
  assert_true(bf16_round(1.0f + 0x1.2p-8f) == 1.0f + 0x1p-7f);
  assert_true(isnan(bf16_round(NAN)) && isinf(bf16_round(INFINITY)));
  assert_true(isinf(bf16_round(3.4e38f)));
}

static void picking(void **state) {
  (void)state;
  const struct kernel *all[8];
  int n = kernel_all(all);
  assert_true(n >= 1 && n <= 8);
  assert_string_equal(all[0]->name, "ref");
  assert_ptr_equal(kernel_pick(KERNEL_REF, KERNEL_REDUCED), all[0]);
  assert_false(kernel_pick(KERNEL_AUTO, KERNEL_F32)->reduced);
  assert_ptr_equal(kernel_pick(KERNEL_AUTO, KERNEL_REDUCED), all[n - 1]);
  assert_non_null(kernel_describe());
  for (int i = 0; i < n; i++) {
    void *const *f = (void *const *)(const void *)((const char *)all[i] + offsetof(struct kernel, gemm));
    for (size_t j = 0; j < (sizeof(struct kernel) - offsetof(struct kernel, gemm)) / sizeof(void *); j++) assert_non_null(f[j]);
  }
}

int main(void) {
  thread_fast_float();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(random_shapes, setup),
      cmocka_unit_test_setup(shapes_of_models, setup),
      cmocka_unit_test_setup(large_words, setup),
      cmocka_unit_test_setup(words_of_all_sizes, setup),
      cmocka_unit_test_setup(words_in_each_column, setup),
      cmocka_unit_test_setup(bf16_emulated, setup),
      cmocka_unit_test_setup(nan_goes_where_it_must, setup),
      cmocka_unit_test_setup(deterministic, setup),
      cmocka_unit_test(bf16_rounding),
      cmocka_unit_test(picking),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
