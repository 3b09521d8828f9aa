/* Attention of every column against the reference: packed ragged sequences, every mask, grouped queries, odd head sizes. */
#include "kernel/kernel_testing.h"
#include "kernel/kernel_columns.h"
#include "kernel/quant.h"

struct batch {
  int sequences, rows, longest, heads, kv_heads, d, qs, ks, vs, os;
  int32_t start[16];
  int64_t *time;
  float *q, *k, *v, *dout;
};

static void batch_make(struct batch *b, int sequences, int longest, int heads, int kv_heads, int d, bool ordered) {
  memset(b, 0, sizeof *b);
  b->sequences = sequences, b->heads = heads, b->kv_heads = kv_heads, b->d = d;
  for (int s = 0; s < sequences; s++) {
    int t = s == 1 ? 0 : s == 2 ? 1 : between(1, longest); /* an empty one and a lonely row among them */
    if (s == 0) t = longest;
    b->start[s + 1] = b->start[s] + t;
    if (t > b->longest) b->longest = t;
  }
  b->rows = b->start[sequences];
  b->qs = heads * d + between(0, 3), b->ks = kv_heads * d + between(0, 3), b->vs = kv_heads * d + between(0, 3),
  b->os = heads * d + between(0, 3);
  b->time = calloc((size_t)b->rows + 1, sizeof *b->time);
  int64_t now = 0;
  for (int r = 0; r < b->rows; r++) {
    now += between(0, 2);
    b->time[r] = ordered ? now : between(0, 9);
  }
  b->time[0] = INT64_MIN; /* a static fact */
  b->q = normals((size_t)(b->rows * b->qs), 1.5f), b->k = normals((size_t)(b->rows * b->ks), 1.5f);
  b->v = normals((size_t)(b->rows * b->vs), 1), b->dout = normals((size_t)(b->rows * b->os), 1);
}
static void batch_drop(struct batch *b) { free(b->time), drop(b->q), drop(b->k), drop(b->v), drop(b->dout); }

struct result {
  float *out, *lse, *dq, *dk, *dv;
};
static struct result result_make(const struct batch *b) {
  struct result r = {zeros((size_t)(b->rows * b->os)), zeros((size_t)(b->rows * b->heads)), zeros((size_t)(b->rows * b->qs)),
                     zeros((size_t)(b->rows * b->ks)), zeros((size_t)(b->rows * b->vs))};
  r.dq[0] = 1, r.dk[0] = 2, r.dv[0] = 3; /* gradients are added to what is there */
  return r;
}
static void result_drop(struct result *r) { drop(r->out), drop(r->lse), drop(r->dq), drop(r->dk), drop(r->dv); }

static struct attention call(const struct batch *b, struct result *r, bool full, bool ties, int window, float *scratch) {
  return (struct attention){.sequences = b->sequences,
                            .start = b->start,
                            .heads = b->heads,
                            .kv_heads = b->kv_heads,
                            .d = b->d,
                            .scale = 1.0f / sqrtf((float)b->d),
                            .full = full,
                            .ties = ties,
                            .window = window,
                            .time = b->time,
                            .q = b->q,
                            .k = b->k,
                            .v = b->v,
                            .q_stride = b->qs,
                            .k_stride = b->ks,
                            .v_stride = b->vs,
                            .out = r->out,
                            .out_stride = b->os,
                            .lse = r->lse,
                            .scratch = scratch};
}

/* Weights are exp of scores of size ~5, each with a relative error of a few 2^-24 times the score's size: 2e-6; outputs are
 * averages of normal numbers, gradients sums over up to 300 rows of products of them: 1e-4 for the largest. */
static void compare(const struct kernel *k, const struct batch *b, bool full, bool ties, int window) {
  struct result x = result_make(b), want = result_make(b);
  float *scratch = scratch_floats(kernel_attention_scratch(b->longest, b->d));
  const struct kernel *ref = kernel_pick(KERNEL_REF, KERNEL_F32);
  struct attention_back back = {
      .f = call(b, &want, full, ties, window, scratch), .dout = b->dout, .dq = want.dq, .dk = want.dk, .dv = want.dv};
  ref->attention_forward(&back.f);
  ref->attention_backward(&back);
  back = (struct attention_back){.f = call(b, &x, full, ties, window, scratch), .dout = b->dout, .dq = x.dq, .dk = x.dk, .dv = x.dv};
  k->attention_forward(&back.f);
  k->attention_backward(&back);
  size_t rows = (size_t)b->rows;
  close_to("attention out", k->name, rows * (size_t)b->os, x.out, want.out, 1e-5, 1e-5);
  close_to("attention lse", k->name, rows * (size_t)b->heads, x.lse, want.lse, 1e-5, 1e-6);
  close_to("attention dq", k->name, rows * (size_t)b->qs, x.dq, want.dq, 5e-5, 2e-5);
  close_to("attention dk", k->name, rows * (size_t)b->ks, x.dk, want.dk, 1e-4, 2e-5);
  close_to("attention dv", k->name, rows * (size_t)b->vs, x.dv, want.dv, 1e-4, 2e-5);
  result_drop(&x), result_drop(&want), free(scratch);
}

static void every_mask(void **state) {
  (void)state;
  static const int shape[][4] = {/* longest, heads, key heads, d */
                                 {70, 2, 2, 32},   {37, 4, 2, 10},   {100, 3, 1, 17}, {33, 1, 1, 64},  {25, 2, 1, 128},
                                 {12, 3, 3, 16},   {64, 2, 2, 33},   {1, 2, 2, 20},   {90, 2, 1, 100}, {40, 1, 1, 7},
                                 {37, 12, 12, 10}, {66, 16, 16, 16}, {21, 20, 20, 7}, {210, 9, 9, 3}};
  EACH_COLUMN(k) {
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
      for (int mask = 0; mask < 6; mask++) {
        struct batch b;
        batch_make(&b, 4, shape[i][0], shape[i][1], shape[i][2], shape[i][3], true);
        compare(k, &b, mask == 1, mask == 2 || mask == 4, mask >= 3 ? (mask == 5 ? 1 : between(2, 50)) : 0);
        batch_drop(&b);
      }
    }
  }
}

static void long_sequence(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    struct batch b;
    batch_make(&b, 1, 300, 1, 1, 24, true);
    compare(k, &b, false, true, 0);
    compare(k, &b, false, false, 100);
    batch_drop(&b);
  }
}

static void times_out_of_order(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    struct batch b;
    batch_make(&b, 3, 30, 2, 1, 12, false);
    compare(k, &b, false, true, 0);
    batch_drop(&b);
  }
}

static void no_sequences(void **state) {
  (void)state;
  int32_t start[2] = {0, 0};
  EACH_COLUMN(k) {
    struct attention a = {.sequences = 0, .start = start, .heads = 1, .kv_heads = 1, .d = 8};
    k->attention_forward(&a);
    k->attention_backward(&(struct attention_back){.f = a});
    k->attention_decode(&(struct attention_decode){.streams = 0, .heads = 1, .kv_heads = 1, .d = 8});
    float *scratch = scratch_floats(kernel_attention_scratch(0, 8));
    a.sequences = 1, a.scratch = scratch;
    k->attention_forward(&a);
    k->attention_backward(&(struct attention_back){.f = a});
    free(scratch);
  }
}

/* Large scores must not overflow, a hidden row's scores must have no influence, and NaN in a visible key must show. A row has the same bits
 * whoever is skipped before it and whoever follows. */
static void extremes(void **state) {
  (void)state;
  EACH_COLUMN(k) {
    for (int heads = 1; heads <= 12; heads += 11) {
      struct batch b;
      batch_make(&b, 1, 40, heads, heads, heads > 1 ? 10 : 16, true);
      struct result r = result_make(&b), s = result_make(&b);
      float *scratch = scratch_floats(kernel_attention_scratch(b.longest, b.d));
      for (int i = 0; i < b.rows * b.qs; i++) b.q[i] *= 1000;
      struct attention a = call(&b, &r, false, false, 0, scratch);
      k->attention_forward(&a);
      for (int i = 0; i < b.rows; i++) assert_true(isfinite(r.out[i * b.os]) && isfinite(r.lse[i]));
      for (int i = 0; i < b.d; i++) b.k[39 * b.ks + i] = 1e6f, b.v[39 * b.vs + i] = 1e6f; /* the last row: nobody before sees it */
      a = call(&b, &s, false, false, 0, scratch);
      k->attention_forward(&a);
      assert_memory_equal(r.out, s.out, (size_t)(39 * b.os) * sizeof(float));
      memset(s.out, 0, (size_t)(b.rows * b.os) * sizeof(float));
      a.skip = 7, b.start[1] = 31;
      k->attention_forward(&a);
      for (int i = 7; i < 31; i++) assert_memory_equal(r.out + i * b.os, s.out + i * b.os, (size_t)(heads * b.d) * sizeof(float));
      a.skip = 0, b.start[1] = 40;
      b.k[5 * b.ks] = NAN;
      k->attention_forward(&a);
      for (int i = 5; i < b.rows; i++) assert_true(isnan(s.out[i * b.os]));
      result_drop(&r), result_drop(&s), free(scratch), batch_drop(&b);
    }
  }
}

/* Rows [begin, end) of the batch as blocks of a cache that holds two layers; the first layer's part is rubbish. */
static int8_t **blocks_make(const struct kernel *k, const struct batch *b, int begin, int end, int kv, int d, size_t at) {
  int n = (end - begin + DECODE_ROWS - 1) / DECODE_ROWS;
  size_t side = (size_t)(kv * d), layer = decode_layer(kv, d), bytes = at + layer + DECODE_BEYOND;
  int8_t **block = calloc((size_t)n + 1, sizeof *block), *other = malloc(layer + DECODE_BEYOND);
  float *both = zeros(2 * side), *turned = zeros(2 * side), *scratch = scratch_floats(kernel_keep_scratch(d));
  for (int i = 0; i < n; i++) block[i] = memset(malloc(bytes), 0x7b, bytes); /* large, but numbers */
  for (int j = begin; j < end; j++) {
    memcpy(both, b->k + (ptrdiff_t)j * b->ks, side * sizeof *both), memcpy(both + side, b->v + (ptrdiff_t)j * b->vs, side * sizeof *both);
    struct decode_place to = {block[(j - begin) / DECODE_ROWS] + at, (j - begin) % DECODE_ROWS};
    memcpy(other, to.layer, layer);
    k->decode_keep(&(struct decode_keep){1, kv, d, both, 0, false, &to, scratch});
    if (kv <= 8) continue;
    for (int x = 0; x < 2 * kv * d; x++) turned[x / (kv * d) * kv * d + x % d * kv + x / d % kv] = both[x];
    k->decode_keep(&(struct decode_keep){1, kv, d, turned, 0, true, &(struct decode_place){other, to.row}, scratch});
    assert_memory_equal(other, to.layer, layer);
  }
  drop(both), drop(turned), free(scratch), free(other);
  return block;
}

/* What a cache keeps of keys and values, which any column reads alike */
static void as_kept(const struct batch *b, int8_t *const *block, int kv, int d, size_t at) {
  for (int j = 0; j < b->rows; j++)
    for (int h = 0; h < 2 * kv; h++) {
      const int8_t *p = block[j / DECODE_ROWS] + at;
      int row = j % DECODE_ROWS, head = h % kv;
      float *x = h < kv ? b->k + (ptrdiff_t)j * b->ks + h * d : b->v + (ptrdiff_t)j * b->vs + (h - kv) * d, most = 0;
      uint16_t scale;
      memcpy(&scale, p + decode_scale_at(kv, d, h >= kv, row, head), sizeof scale);
      for (int i = 0; i < d; i++) most = fmaxf(most, fabsf(x[i]));
      for (int i = 0; i < d; i++) {
        float kept = quant_half(scale) * (float)p[h < kv ? decode_key_at(kv, d, row, head, i) : decode_value_at(kv, d, row, head, i)];
        assert_true(fabsf(kept - x[i]) <= most / 250);
        x[i] = kept;
      }
    }
}

static void blocks_drop(int8_t **block) {
  for (int i = 0; block[i]; i++) free(block[i]);
  free(block);
}

/* Decoding the last row of a sequence from a cache gives that row of the forward pass, with and without a window, whatever the cut between
 * shared and own rows; and a stream's bits are the same alone and among others. */
static void decode_is_the_last_row(void **state) {
  (void)state;
  enum { STREAMS = 7 };
  EACH_COLUMN(k) {
    for (int round = 0; round < 15; round++) {
      bool alike = round == 14; /* many rows of one weight and values of one sign: the largest sums */
      int kv = alike       ? 9
               : round < 9 ? 1 + round
                           : between(9, 40),
          heads = kv * (round % 3 ? 1 : between(1, 6)), t = alike ? 1100 : between(1, 90);
      int d = alike ? 4 : round == 0 ? 128 : round < 5 ? 9 + round : between(4, 70);
      int window = round % 2 || alike ? 0 : between(1, t + 3);
      size_t at = 24, row = (size_t)(heads * d);
      struct batch b;
      batch_make(&b, 1, t, heads, kv, d, true);
      for (int i = 0; i < b.rows * b.qs && alike; i++) b.q[i] = 0;
      for (int i = 0; i < b.rows * b.vs && alike; i++) b.v[i] = 1 + 0.01f * b.v[i];
      t = b.rows; /* the batch decides its length */
      int8_t **whole = blocks_make(k, &b, 0, t, kv, d, at);
      as_kept(&b, whole, kv, d, at);
      struct result r = result_make(&b);
      float *scratch = scratch_floats(kernel_attention_scratch(t, d)), *out = zeros(STREAMS * row), *q = zeros(STREAMS * row),
            *one = zeros(row);
      struct attention a = call(&b, &r, false, false, window, scratch);
      k->attention_forward(&a);
      int cut[2] = {between(0, t - 1), between(0, t - 1)}, first = window && window < t ? t - window : 0;
      int8_t **prefix[2], **own[2];
      struct decode_rows p[STREAMS], o[STREAMS];
      for (int c = 0; c < 2; c++) prefix[c] = blocks_make(k, &b, 0, cut[c], kv, d, at), own[c] = blocks_make(k, &b, cut[c], t, kv, d, at);
      for (int s = 0; s < STREAMS; s++) {
        int c = s >= 5;
        p[s] = (struct decode_rows){(const int8_t *const *)prefix[c], first < cut[c] ? first : cut[c], cut[c], 0, 0};
        o[s] = (struct decode_rows){(const int8_t *const *)own[c], first > cut[c] ? first - cut[c] : 0, t - cut[c], 0, 0};
        if (s % 2) p[s].show = p[s].from, p[s].from = 0, o[s].show = o[s].from, o[s].from = 0; /* the same rows, said in the other way */
        memcpy(q + (size_t)s * row, b.q + (size_t)(t - 1) * (size_t)b.qs, row * sizeof(float));
      }
      float *ds = scratch_floats(kernel_decode_scratch(t, t, d));
      struct attention_decode x = {.streams = STREAMS,
                                   .heads = heads,
                                   .kv_heads = kv,
                                   .d = d,
                                   .scale = a.scale,
                                   .q = q,
                                   .q_stride = (int)row,
                                   .at = at,
                                   .prefix = p,
                                   .own = o,
                                   .out = out,
                                   .out_stride = (int)row,
                                   .scratch = ds};
      k->attention_decode(&x);
      for (int s = 0; s < STREAMS; s++) { /* queries and weights of 16 bits */
        close_to("decode", k->name, row, out + (size_t)s * row, r.out + (size_t)(t - 1) * (size_t)b.os, 4e-4, 1e-4);
        x.streams = 1, x.q = q + (size_t)s * row, x.prefix = p + s, x.own = o + s, x.out = one;
        k->attention_decode(&x);
        assert_memory_equal(one, out + (size_t)s * row, row * sizeof(float));
      }
      if (kv > 8 && heads == kv) { /* the same with queries and answers lane by lane */
        float *turned = zeros(STREAMS * row), *back = zeros(STREAMS * row);
        for (int n = 0; n < STREAMS * heads * d; n++) turned[n / (heads * d) * heads * d + n % d * heads + n / d % heads] = q[n];
        x.streams = STREAMS, x.q = turned, x.prefix = p, x.own = o, x.out = back, x.lanes = true;
        k->attention_decode(&x);
        for (int n = 0; n < STREAMS * heads * d; n++)
          assert_true(back[n / (heads * d) * heads * d + n % d * heads + n / d % heads] == out[n]);
        drop(turned), drop(back);
      }
      blocks_drop(whole);
      for (int c = 0; c < 2; c++) blocks_drop(prefix[c]), blocks_drop(own[c]);
      result_drop(&r), batch_drop(&b), drop(out), drop(q), drop(one), free(scratch), free(ds);
    }
  }
}

/* Streams of one prefix that see different shares of it, long ones: each has the bits that it has alone. */
static void neighbours_see_other_rows(void **state) {
  (void)state;
  enum { STREAMS = 4, D = 6 };
  EACH_COLUMN(k) {
    for (int kv = 3; kv <= 12; kv += 9) {
      size_t at = 24, row = (size_t)(kv * D);
      struct batch b;
      batch_make(&b, 1, 1100, kv, kv, D, true);
      int t = b.rows, cut = t - 3;
      int8_t **prefix = blocks_make(k, &b, 0, cut, kv, D, at), **own = blocks_make(k, &b, cut, t, kv, D, at);
      struct decode_rows p[STREAMS], o[STREAMS];
      float *q = zeros(STREAMS * row), *out = zeros(STREAMS * row), *one = zeros(row),
            *scratch = scratch_floats(kernel_decode_scratch(t, t, D));
      for (int s = 0; s < STREAMS; s++) {
        p[s] = (struct decode_rows){(const int8_t *const *)prefix, s * cut / STREAMS, cut, 0, 0};
        o[s] = (struct decode_rows){(const int8_t *const *)own, 0, t - cut, 0, 0};
        memcpy(q + (size_t)s * row, b.q + (size_t)(t - 1) * (size_t)b.qs, row * sizeof(float));
      }
      struct attention_decode x = {.streams = STREAMS,
                                   .heads = kv,
                                   .kv_heads = kv,
                                   .d = D,
                                   .scale = 0.1f,
                                   .q = q,
                                   .q_stride = (int)row,
                                   .at = at,
                                   .prefix = p,
                                   .own = o,
                                   .out = out,
                                   .out_stride = (int)row,
                                   .scratch = scratch};
      k->attention_decode(&x);
      for (int s = 0; s < STREAMS; s++) {
        x.streams = 1, x.q = q + (size_t)s * row, x.prefix = p + s, x.own = o + s, x.out = one;
        k->attention_decode(&x);
        assert_memory_equal(one, out + (size_t)s * row, row * sizeof(float));
      }
      blocks_drop(prefix), blocks_drop(own), batch_drop(&b), drop(q), drop(out), drop(one), free(scratch);
    }
  }
}

int main(void) {
  thread_fast_float();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(every_mask, setup),
      cmocka_unit_test_setup(long_sequence, setup),
      cmocka_unit_test_setup(times_out_of_order, setup),
      cmocka_unit_test_setup(no_sequences, setup),
      cmocka_unit_test_setup(extremes, setup),
      cmocka_unit_test_setup(decode_is_the_last_row, setup),
      cmocka_unit_test_setup(neighbours_see_other_rows, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
