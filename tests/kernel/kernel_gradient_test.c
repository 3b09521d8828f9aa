/* Every backward operation of the reference against central differences of its forward one.
 *
 * The loss is dot(weights, output). f32 outputs carry an error of about 1e-7 each; with a step of 1e-2 and losses of size
 * 1-10 the difference quotient errs by ~1e-4 from rounding and by step^2/6 times the third derivative, ~1e-4, from the
 * step: 2e-3 of 1 + |gradient| holds with room and is far below what a missing term would show.
 */
#include "kernel/kernel_testing.h"

static const float step = 1e-2f;
static const double allowed = 2e-3;
static const struct kernel *k;

static int pick(void **state) {
  k = kernel_pick(KERNEL_REF, KERNEL_F32);
  return setup(state);
}

/* `gradient` of loss(ctx) by x[0..n): each entry, or `most` random ones */
static void check(const char *what, double (*loss)(void *), void *ctx, float *x, const float *gradient, int n, int most) {
  for (int c = 0; c < (n < most ? n : most); c++) {
    int i = n <= most ? c : between(0, n - 1);
    float keep = x[i];
    x[i] = keep + step;
    double up = loss(ctx), high = x[i];
    x[i] = keep - step;
    double down = loss(ctx), low = x[i];
    x[i] = keep;
    double want = (up - down) / (high - low);
    if (!(fabs(want - gradient[i]) <= allowed * (1 + fabs(want)))) {
      print_error("%s: gradient %d is %g, differences say %g\n", what, i, gradient[i], want);
      fail();
    }
  }
}

struct norm_case {
  struct norm n;
  float *w;
};
static double norm_loss(void *p) {
  struct norm_case *c = p;
  k->norm_forward(&c->n);
  return k->dot((size_t)(c->n.rows * c->n.c), c->n.y, c->w);
}
static void norm_gradients(void **state) {
  (void)state;
  for (int kind = 0; kind < 2; kind++) {
    enum { R = 3, C = 24 };
    struct norm_case c = {{kind ? NORM_LAYER : NORM_RMS, R, C, 1e-3f, NULL, NULL, NULL, zeros(R * C), zeros(R), zeros(R)},
                          normals(R * C, 1)};
    float *x = normals(R * C, 1), *gain = normals(C, 1), *shift = normals(C, 1), *dx = zeros(R * C), *dg = zeros(C), *ds = zeros(C);
    c.n.x = x, c.n.gain = gain, c.n.shift = shift;
    norm_loss(&c);
    k->norm_backward(&(struct norm_back){c.n, c.w, dx, dg, ds});
    check("norm x", norm_loss, &c, x, dx, R * C, 99);
    check("norm gain", norm_loss, &c, gain, dg, C, 99);
    check("norm shift", norm_loss, &c, shift, ds, C, 99);
    drop(c.n.y), drop(c.n.mean), drop(c.n.rstd), drop(c.w), drop(x), drop(gain), drop(shift), drop(dx), drop(dg), drop(ds);
  }
}

struct attention_case {
  struct attention a;
  float *w;
  size_t n;
};
static double attention_loss(void *p) {
  struct attention_case *c = p;
  k->attention_forward(&c->a);
  return k->dot(c->n, c->a.out, c->w);
}
static void attention_gradients(void **state) {
  (void)state;
  enum { ROWS = 17, H = 4, KV = 2, D = 6, SEQ = 4 };
  static const int32_t start[SEQ + 1] = {0, 9, 9, 10, ROWS};
  int64_t time[ROWS] = {INT64_MIN, INT64_MIN, 1, 1, 1, 4, 5, 5, 9, 0, 3, 3, 3, 4, 4, 8, 8};
  for (int mask = 0; mask < 5; mask++) {
    float *q = normals(ROWS * H * D, 1), *key = normals(ROWS * KV * D, 1), *v = normals(ROWS * KV * D, 1),
          *scratch = scratch_floats(kernel_attention_scratch(9, D));
    float *dq = zeros(ROWS * H * D), *dk = zeros(ROWS * KV * D), *dv = zeros(ROWS * KV * D);
    struct attention_case c = {{.sequences = SEQ,
                                .start = start,
                                .heads = H,
                                .kv_heads = KV,
                                .d = D,
                                .scale = 0.4f,
                                .full = mask == 1,
                                .ties = mask == 2 || mask == 4,
                                .window = mask >= 3 ? 3 : 0,
                                .time = time,
                                .q = q,
                                .k = key,
                                .v = v,
                                .q_stride = H * D,
                                .k_stride = KV * D,
                                .v_stride = KV * D,
                                .out = zeros(ROWS * H * D),
                                .out_stride = H * D,
                                .lse = zeros(ROWS * H),
                                .scratch = scratch},
                               normals(ROWS * H * D, 1),
                               ROWS * H * D};
    attention_loss(&c);
    k->attention_backward(&(struct attention_back){c.a, c.w, dq, dk, dv});
    check("attention q", attention_loss, &c, q, dq, ROWS * H * D, 120);
    check("attention k", attention_loss, &c, key, dk, ROWS * KV * D, 120);
    check("attention v", attention_loss, &c, v, dv, ROWS * KV * D, 120);
    drop(q), drop(key), drop(v), drop(dq), drop(dk), drop(dv), drop(c.a.out), drop(c.a.lse), drop(c.w), free(scratch);
  }
}

/* The rules of the mask, spelled out by hand: with keys all alike the weights are 1/n, so out = mean of the visible values */
static void masks_by_hand(void **state) {
  (void)state;
  enum { N = 6 };
  static const int32_t start[2] = {0, N};
  int64_t time[N] = {1, 2, 2, 2, 3, 3};
  float zero[N] = {0}, v[N] = {1, 2, 4, 8, 16, 32}, out[N], lse[N];
  struct attention a = {.sequences = 1,
                        .start = start,
                        .heads = 1,
                        .kv_heads = 1,
                        .d = 1,
                        .scale = 1,
                        .time = time,
                        .q = zero,
                        .k = zero,
                        .v = v,
                        .q_stride = 1,
                        .k_stride = 1,
                        .v_stride = 1,
                        .out = out,
                        .out_stride = 1,
                        .lse = lse};
  static const float causal[N] = {1, 3, 7, 15, 31, 63}, ties[N] = {1, 3, 5, 9, 31, 47}, window[N] = {1, 3, 6, 12, 24, 48};
  static const int causal_n[N] = {1, 2, 3, 4, 5, 6}, ties_n[N] = {1, 2, 2, 2, 5, 5}, window_n[N] = {1, 2, 2, 2, 2, 2};
  float *big = scratch_floats(kernel_attention_scratch(N, 1));
  a.scratch = big;
  EACH_COLUMN(column) {
    for (int mask = 0; mask < 4; mask++) {
      a.full = mask == 3, a.ties = mask == 1, a.window = mask == 2 ? 2 : 0;
      column->attention_forward(&a);
      for (int r = 0; r < N; r++) {
        float sum = mask == 3 ? 63 : mask == 2 ? window[r] : mask == 1 ? ties[r] : causal[r];
        int n = mask == 3 ? N : mask == 2 ? window_n[r] : mask == 1 ? ties_n[r] : causal_n[r];
        assert_true(fabsf(out[r] - sum / (float)n) < 1e-5f && fabsf(lse[r] - logf((float)n)) < 1e-6f);
      }
    }
  }
  free(big);
}

struct point_case { /* y = f(x), element by element or by row */
  int rows, c;
  float *x, *y, *w;
};
static double swiglu_loss(void *p) {
  struct point_case *c = p;
  k->swiglu_forward(c->rows, c->c, c->x, c->y);
  return k->dot((size_t)(c->rows * c->c), c->y, c->w);
}
static double gelu_loss(void *p) {
  struct point_case *c = p;
  k->gelu_forward((size_t)c->c, c->x, c->y);
  return k->dot((size_t)c->c, c->y, c->w);
}
static void activation_gradients(void **state) {
  (void)state;
  struct point_case c = {3, 20, normals(120, 2), zeros(60), normals(60, 1)};
  float *d = zeros(120);
  k->swiglu_backward(3, 20, c.x, c.w, d);
  check("swiglu", swiglu_loss, &c, c.x, d, 120, 200);
  c.c = 60;
  k->gelu_backward(60, c.x, c.w, d);
  check("gelu", gelu_loss, &c, c.x, d, 60, 200);
  drop(c.x), drop(c.y), drop(c.w), drop(d);
}

struct rope_case {
  struct rope r;
  const float *x;
  float *w;
};
static double rope_loss(void *p) {
  struct rope_case *c = p;
  memcpy(c->r.x, c->x, sizeof(float) * (size_t)(c->r.rows * c->r.stride));
  k->rope(&c->r);
  return k->dot((size_t)(c->r.rows * c->r.stride), c->r.x, c->w);
}
static void rope_gradients(void **state) {
  (void)state;
  float position[4] = {0, 1, 7.5f, 300}, *x = normals(4 * 16, 1), *work = zeros(4 * 16), *w = normals(4 * 16, 1), *d = copy(w, 4 * 16);
  struct rope_case c = {{.rows = 4, .heads = 2, .d = 8, .stride = 16, .position = position, .base = 100.0f, .x = work}, x, w};
  struct rope back = c.r;
  back.x = d, back.back = true; /* a rotation's transpose is its inverse */
  k->rope(&back);
  check("rope", rope_loss, &c, x, d, 4 * 16, 99);
  drop(x), drop(work), drop(w), drop(d);
}

struct embed_case {
  struct embed_bag e;
  float *w;
};
static double embed_loss(void *p) {
  struct embed_case *c = p;
  memset(c->e.out, 0, sizeof(float) * (size_t)(c->e.rows * c->e.c));
  k->embed_forward(&c->e);
  return k->dot((size_t)(c->e.rows * c->e.c), c->e.out, c->w);
}
static void embed_gradients(void **state) {
  (void)state;
  static const int32_t start[5] = {0, 2, 2, 5, 6}, id[6] = {1, 3, 0, 0, 2, 1};
  float *table = normals(4 * 5, 1), *weight = normals(6, 1), *d = zeros(4 * 5);
  struct embed_case c = {{4, 5, start, id, weight, table, zeros(4 * 5)}, normals(4 * 5, 1)};
  k->embed_backward(&(struct embed_bag_back){c.e, c.w, d});
  check("embed", embed_loss, &c, table, d, 4 * 5, 99);
  drop(table), drop(weight), drop(d), drop(c.e.out), drop(c.w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(norm_gradients, pick),       cmocka_unit_test_setup(attention_gradients, pick),
      cmocka_unit_test_setup(masks_by_hand, pick),        cmocka_unit_test_setup(rope_gradients, pick),
      cmocka_unit_test_setup(activation_gradients, pick), cmocka_unit_test_setup(embed_gradients, pick),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
