/* Norms, activations, embeddings, sums, dropout, AdamW and RoPE of every column against the reference. */
#include "kernel/kernel_testing.h"

static const struct kernel *ref(void) { return kernel_pick(KERNEL_REF, KERNEL_F32); }
/* sizes around the register widths, and some in between */
static const int sizes[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 128, 250};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* One rounding in each of a handful of steps: 1e-6 of values of size 1, a few units more where sums run over c. */
static void norms(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int i = 0; i < 4 * SIZES; i++) {
      int c = sizes[i % SIZES] + (sizes[i % SIZES] == 0), rows = i % 5 == 0 ? 0 : between(1, 20);
      enum norm_kind kind = i & 1 ? NORM_LAYER : NORM_RMS;
      size_t n = (size_t)(rows * c), w = (size_t)c;
      float *x = normals(n, 2), *gain = normals(w, 1), *shift = i & 2 ? normals(w, 1) : NULL, *dy = normals(n, 1);
      for (size_t j = 0; j < n; j++) x[j] += 3;
      float *out[2][6], *scratch_mean[2];
      for (int s = 0; s < 2; s++) {
        const struct kernel *which = s ? ref() : k;
        float **o = out[s];
        o[0] = zeros(n), o[1] = zeros((size_t)rows), o[2] = copy(dy, n), o[3] = copy(gain, w), o[4] = shift ? copy(shift, w) : NULL,
        o[5] = NULL;
        scratch_mean[s] = zeros((size_t)rows);
        struct norm f = {kind, rows, c, 1e-5f, x, gain, shift, o[0], scratch_mean[s], o[1]};
        which->norm_forward(&f);
        /* backward of both from the same saved statistics: otherwise c = 1 or 2 compares cancellations */
        f.mean = scratch_mean[0], f.rstd = out[0][1];
        which->norm_backward(&(struct norm_back){f, dy, o[2], o[3], o[4]});
      }
      double scale = kind == NORM_LAYER && c < 4 ? 1e3 : 1; /* x - mean cancels, and 1/sqrt(eps) is large */
      close_to("norm y", k->name, n, out[0][0], out[1][0], 4e-6 * scale, 4e-6);
      close_to("norm rstd", k->name, (size_t)rows, out[0][1], out[1][1], 0, 4e-6 * scale);
      close_to("norm mean", k->name, (size_t)rows, scratch_mean[0], scratch_mean[1], 2e-6, 2e-6);
      close_to("norm dx", k->name, n, out[0][2], out[1][2], 1e-5 * scale, 1e-5);
      close_to("norm dgain", k->name, w, out[0][3], out[1][3], 1e-5 * scale, 1e-5);
      if (shift) close_to("norm dshift", k->name, w, out[0][4], out[1][4], 1e-5, 1e-5);
      for (int s = 0; s < 2; s++) {
        for (int j = 0; j < 5; j++) drop(out[s][j]);
        drop(scratch_mean[s]);
      }
      drop(x), drop(gain), drop(shift), drop(dy);
    }
  }
}

/* exp to 1-2 ulp, then a division: 1e-6 relative; absolute where the result underflows */
static void activations(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int i = 0; i < SIZES; i++) {
      int f = sizes[i], rows = between(0, 4);
      size_t n = (size_t)(rows * f);
      float *gu = normals(2 * n, 4), *dy = normals(n, 1), *y = zeros(n), *want = zeros(n), *dgu = normals(2 * n, 1), *dwant = zeros(2 * n);
      k->swiglu_forward(rows, f, gu, y), ref()->swiglu_forward(rows, f, gu, want);
      close_to("swiglu", k->name, n, y, want, 1e-6, 2e-6);
      k->swiglu_backward(rows, f, gu, dy, dgu), ref()->swiglu_backward(rows, f, gu, dy, dwant);
      close_to("swiglu back", k->name, 2 * n, dgu, dwant, 4e-6, 4e-6);
      k->gelu_forward(n, gu, y), ref()->gelu_forward(n, gu, want);
      close_to("gelu", k->name, n, y, want, 1e-6, 2e-6);
      k->gelu_backward(n, gu, dy, dgu), ref()->gelu_backward(n, gu, dy, dwant);
      close_to("gelu back", k->name, n, dgu, dwant, 4e-6, 4e-6);
      k->sigmoid(n, gu, y), ref()->sigmoid(n, gu, want);
      close_to("sigmoid", k->name, n, y, want, 1e-30, 1e-6);
      drop(gu), drop(dy), drop(y), drop(want), drop(dgu), drop(dwant);
    }
  }
}

static void exponentials(void **state) {
  (void)state;
  static const float edge[] = {0, 1, -1, 88, 88.7f, 89, 200, INFINITY, -87, -104, -200, -INFINITY, NAN, 1e-30f, 0.34657f, -0.34657f};
  enum { N = sizeof edge / sizeof *edge };
  EACH_COLUMN(k) {
    float y[N], want[N];
    double s = k->exp_scaled(N, 1, 0, edge, y);
    ref()->exp_scaled(N, 1, 0, edge, want);
    assert_true(isnan(s));
    close_to("exp", k->name, 7, y, want, 1e-37, 5e-7);
    assert_true(isinf(y[7]) && isinf(y[5]) && y[10] == 0 && y[11] == 0 && isnan(y[12]));
    close_to("exp", k->name, 3, y + 13, want + 13, 0, 5e-7);
    for (int i = 0; i < SIZES; i++) {
      size_t n = (size_t)sizes[i];
      float *x = normals(n, 10), *a = zeros(n), *b = zeros(n);
      double sa = k->exp_scaled(n, 0.5f, 20, x, a), sb = ref()->exp_scaled(n, 0.5f, 20, x, b);
      close_to("exp_scaled", k->name, n, a, b, 1e-37, 3e-6); /* x - b is rounded: half an ulp of 60 in the exponent */
      assert_true(fabs(sa - sb) <= 3e-6 * sb + 1e-30);
      float la = k->logsumexp(n, x), lb = ref()->logsumexp(n, x);
      close_to("logsumexp", k->name, 1, &la, &lb, 2e-6, 1e-6);
      drop(x), drop(a), drop(b);
    }
    float huge[3] = {1000, 1000, -INFINITY}, none[2] = {-INFINITY, -INFINITY}, top[3] = {INFINITY, 1, 2}, sick[20] = {0};
    assert_true(fabsf(k->logsumexp(3, huge) - 1000.6931f) < 1e-3f);
    assert_true(k->logsumexp(2, none) == -INFINITY && k->logsumexp(0, none) == -INFINITY && k->logsumexp(3, top) == INFINITY);
    sick[18] = NAN;
    assert_true(isnan(k->logsumexp(20, sick)));
    sick[2] = INFINITY;
    assert_true(isnan(k->logsumexp(20, sick)));
  }
}

static void vectors(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int i = 0; i < SIZES; i++) {
      size_t n = (size_t)sizes[i];
      float *x = normals(n, 1), *y = normals(n, 1), *want = copy(y, n);
      k->add(n, x, y), ref()->add(n, x, want);
      k->axpy(n, 0.7f, x, y), ref()->axpy(n, 0.7f, x, want);
      k->scale(n, -1.3f, y), ref()->scale(n, -1.3f, want);
      k->mul(n, x, y), ref()->mul(n, x, want);
      close_to("add axpy scale mul", k->name, n, y, want, 1e-6, 1e-6);
      double d = k->dot(n, x, y), dw = ref()->dot(n, x, y), s = k->sumsq(n, x), sw = ref()->sumsq(n, x);
      assert_true(fabs(d - dw) < 1e-10 && fabs(s - sw) < 1e-10); /* both in double */
      int c = sizes[i], rows = between(0, 150), stride = c + between(0, 3);
      float *m = normals((size_t)(rows * stride), 1), *o = copy(x, n), *ow = copy(x, n);
      k->col_sum(rows, c, m, stride, o), ref()->col_sum(rows, c, m, stride, ow);
      close_to("col_sum", k->name, n, o, ow, 1e-5, 1e-6); /* 150 additions in f32 */
      drop(x), drop(y), drop(want), drop(m), drop(o), drop(ow);
    }
  }
}

static void embeddings(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int i = 1; i < SIZES; i++) {
      int c = sizes[i], rows = between(0, 12), vocabulary = between(1, 9), n = 0;
      int32_t start[16] = {0}, id[64];
      for (int p = 0; p < rows; p++) {
        for (int e = between(0, 4); e > 0; e--) id[n++] = between(0, vocabulary - 1); /* empty bags and repeated codes too */
        start[p + 1] = n;
      }
      float *weight = normals((size_t)n, 1), *table = normals((size_t)(vocabulary * c), 1), *out = normals((size_t)(rows * c), 1);
      float *want = copy(out, (size_t)(rows * c)), *d = copy(table, (size_t)(vocabulary * c)), *dw = copy(table, (size_t)(vocabulary * c));
      struct embed_bag_back b = {{rows, c, start, id, i & 1 ? weight : NULL, table, out}, want, d};
      k->embed_forward(&b.f);
      b.f.out = want;
      ref()->embed_forward(&b.f);
      close_to("embed", k->name, (size_t)(rows * c), out, want, 1e-6, 1e-6);
      b.dout = want;
      k->embed_backward(&b);
      b.dtable = dw;
      ref()->embed_backward(&b);
      close_to("embed back", k->name, (size_t)(vocabulary * c), d, dw, 5e-6, 2e-6);
      drop(weight), drop(table), drop(out), drop(want), drop(d), drop(dw);
    }
  }
}

/* cos and sin rounded to f32 and two products: 1e-6 of values of size 1 to 4. Positions up to 1e6 (minutes of two years). */
static void rotary(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int d = 2; d <= 132; d += 10) {
      int rows = between(0, 9), heads = between(1, 4), stride = heads * d + between(0, 3);
      size_t n = (size_t)(rows * stride);
      float *x = normals(n, 1), *want = copy(x, n), *first = copy(x, n), *position = normals((size_t)rows, 3e5f);
      struct rope r = {.rows = rows, .heads = heads, .d = d, .stride = stride, .position = position, .base = 10000.0f, .x = x};
      float *kept = normals((size_t)(rows * d), 1), *again = copy(x, n), *told = copy(x, n);
      k->rope(&r);
      r.x = want;
      ref()->rope(&r);
      close_to("rope", k->name, n, x, want, 2e-6, 1e-6);
      r.table = kept; /* angles kept by one call for another: the same bits */
      r.x = again;
      k->rope(&r);
      r.x = told, r.told = true;
      k->rope(&r);
      assert_memory_equal(again, x, n * sizeof *x);
      assert_memory_equal(told, x, n * sizeof *x);
      r.table = NULL, r.told = false;
      r.x = x, r.back = true;
      k->rope(&r);
      close_to("rope and back", k->name, n, x, first, 2e-6, 1e-6);
      drop(x), drop(want), drop(first), drop(position), drop(kept), drop(again), drop(told);
    }
    float far[3] = {1e12f, NAN, 0}, x[6] = {1, 2, 1, 2, 1, 2}, want[6] = {1, 2, 1, 2, 1, 2};
    struct rope r = {.rows = 3, .heads = 1, .d = 2, .stride = 2, .position = far, .base = 10000.0f, .x = x};
    k->rope(&r);
    r.x = want;
    ref()->rope(&r);
    close_to("rope far away", k->name, 6, x, want, 1e-6, 1e-6);
    assert_true(isnan(x[2]) && x[4] == 1 && x[5] == 2);
  }
}

/* The same mask in every column, forward and backward, bit for bit; another stream or seed gives another mask. */
static void dropout_masks(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int i = 0; i < SIZES; i++) {
      size_t n = (size_t)sizes[i];
      float *x = normals(n, 1), *want = copy(x, n), *ones = floats(n);
      for (size_t j = 0; j < n; j++) ones[j] = 1;
      k->dropout(n, 0.3f, 0x123456789abcdefu, 77, x), ref()->dropout(n, 0.3f, 0x123456789abcdefu, 77, want);
      assert_memory_equal(x, want, n * sizeof(float));
      k->dropout(n, 0.3f, 0x123456789abcdefu, 77, ones);
      for (size_t j = 0; j < n; j++) assert_int_equal(ones[j] == 0, x[j] == 0);
      drop(x), drop(want), drop(ones);
    }
    enum { N = 40000 };
    float *x = floats(N), *y = floats(N);
    int kept = 0, same = 0;
    for (int j = 0; j < N; j++) x[j] = y[j] = 1;
    k->dropout(N, 0.25f, 5, 1, x), k->dropout(N, 0.25f, 5, 2, y);
    for (int j = 0; j < N; j++) {
      assert_true(x[j] == 0 || x[j] == 1.0f / 0.75f);
      kept += x[j] != 0, same += x[j] == y[j];
    }
    /* 30,000 kept and 25,000 equal expected, standard deviations 87 and 97: five of them */
    assert_in_range(kept, 30000 - 435, 30000 + 435);
    assert_in_range(same, 25000 - 485, 25000 + 485);
    float two[2] = {1, NAN};
    k->dropout(2, 0, 5, 1, two);
    assert_true(two[0] == 1);
    k->dropout(2, 1, 5, 1, two);
    assert_true(two[0] == 0 && isnan(two[1]));
    drop(x), drop(y);
  }
}

/* Ten steps beside the same formula in double: each step rounds w, m and v once or a few times (2^-24 each) */
static void adamw_against_double(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int i = 0; i < SIZES; i++) {
      size_t n = (size_t)sizes[i];
      float *w = normals(n, 1), *m = zeros(n), *v = zeros(n);
      double *tw = calloc(3 * n + 1, sizeof(double)), *tm = tw + n, *tv = tm + n, lr = 0.01f, b1 = 0.9f, b2 = 0.95f, eps = 1e-8f,
             decay = 0.1f;
      for (size_t j = 0; j < n; j++) tw[j] = w[j];
      for (int step = 1; step <= 10; step++) {
        float *g = normals(n, 0.1f), u1 = (float)(1 - pow(b1, step)), u2 = (float)(1 - pow(b2, step));
        k->adamw(&(struct adamw){n, w, m, v, g, 0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f, u1, u2});
        for (size_t j = 0; j < n; j++) {
          double x = g[j] * 0.5;
          tm[j] = b1 * tm[j] + (1 - b1) * x;
          tv[j] = b2 * tv[j] + (1 - b2) * x * x;
          tw[j] -= lr * (tm[j] / u1 / (sqrt(tv[j] / u2) + eps) + decay * tw[j]);
        }
        drop(g);
      }
      for (size_t j = 0; j < n; j++) assert_true(fabs(w[j] - tw[j]) < 2e-6 * (1 + fabs(tw[j])));
      drop(w), drop(m), drop(v), free(tw);
    }
  }
}

/* One NaN in must come out wherever the reference lets it out */
static void nan_is_never_hidden(void **state) {
  (void)state;
  enum { N = 37 };
  EACH_COLUMN(k) {
    float x[2 * N], y[2 * N], gain[N], mean[1], rstd[1], d[N];
    for (int i = 0; i < 2 * N; i++) x[i] = 0.1f * (float)(i - N);
    for (int i = 0; i < N; i++) gain[i] = d[i] = 1;
    x[20] = NAN;
    k->gelu_forward(N, x, y);
    assert_true(isnan(y[20]) && !isnan(y[19]));
    k->gelu_backward(N, x, d, y);
    assert_true(isnan(y[20]) && !isnan(y[19]));
    k->sigmoid(N, x, y);
    assert_true(isnan(y[20]));
    k->swiglu_forward(1, N, x, y);
    assert_true(isnan(y[20]) && !isnan(y[21]));
    k->swiglu_backward(1, N, x, d, y);
    assert_true(isnan(y[20]) && isnan(y[N + 20]));
    for (int kind = 0; kind < 2; kind++) {
      k->norm_forward(&(struct norm){kind ? NORM_LAYER : NORM_RMS, 1, N, 1e-5f, x, gain, NULL, y, mean, rstd});
      for (int i = 0; i < N; i++) assert_true(isnan(y[i]));
    }
    assert_true(isnan(k->dot(N, x, d)) && isnan(k->sumsq(N, x)) && isnan(k->exp_scaled(N, 1, 0, x, y)) && isnan(y[20]));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(norms, setup),
      cmocka_unit_test_setup(activations, setup),
      cmocka_unit_test_setup(exponentials, setup),
      cmocka_unit_test_setup(vectors, setup),
      cmocka_unit_test_setup(embeddings, setup),
      cmocka_unit_test_setup(rotary, setup),
      cmocka_unit_test_setup(dropout_masks, setup),
      cmocka_unit_test_setup(adamw_against_double, setup),
      cmocka_unit_test_setup(nan_is_never_hidden, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
