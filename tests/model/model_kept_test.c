/* What is computed after a kept life, to a life's end only, or with weights laid out beforehand has the bits of the plain forward pass: for every column,
 * position, mask and block; also where the trunk is in eight bits, of which the plain pass in f32 is not far. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_fixture.h"

enum { LONG = 61 };

/* The batch's life as another one from position `from` on: another entry, and at the end fewer positions. */
static void other_life(const struct token_batch *b, int from, int n, struct token_batch *out) {
  static int32_t start[2], id[4 * LONG + 8];
  *out = *b;
  start[1] = n;
  memcpy(id, b->entry_id, (size_t)b->entries * sizeof *id);
  for (int i = b->entry_start[from]; i < b->entries; i++) id[i] = (id[i] + 1) % FIX_CODES;
  out->seq_start = start, out->entry_id = id;
  out->positions = n, out->entries = b->entry_start[n];
}

static void assert_bits(const float *want, const float *have, size_t n, const char *what) {
  for (size_t i = 0; i < n; i++)
    if (memcmp(&want[i], &have[i], sizeof *want) != 0)
      fail_msg("%s: float %zu: %g instead of %g", what, i, (double)have[i], (double)want[i]);
}

/* How far hidden rows are from others, against their size */
static double distance(const float *want, const float *have, size_t n) {
  double off = 0, size = 0;
  for (size_t i = 0; i < n; i++) off += pow((double)have[i] - (double)want[i], 2), size += pow((double)want[i], 2);
  return sqrt(off / size);
}

static void check(struct model_config c, const struct kernel *k, const char *what) {
  static const int length[] = {LONG}, from[] = {60, 0, 33, 12, 59, 13, 1, 47}, shorter[] = {0, 0, 3, 1, 0, 40, 0, 14};
  struct error e = {0};
  struct model *m;
  struct model_workspace *w, *full;
  struct model_kept *kept;
  struct token_batch b;
  const float *h;
  size_t d = (size_t)c.d;
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  model_set_kernel(m, k);
  for (size_t i = 0; i < m->floats; i++) m->weight[i] *= 3; /* far from linear */
  assert_int_equal(model_workspace_new(m, LONG, false, &w, &e), OK);
  assert_int_equal(model_workspace_new(m, LONG, false, &full, &e), OK);
  assert_int_equal(model_kept_new(m, LONG, &kept, &e), OK);
  assert_non_null(kept);
  fixture_batch(&b, length, 1, 6);
  assert_int_equal(model_forward(m, full, &b, NULL, &e), OK);
  for (int round = 0; round < 3;
       round++) { /* then with the weights laid out, then as they are served: in eight bits where the column has them */
    assert_int_equal(model_forward_last(m, w, &b, &e), OK);
    assert_bits(model_hidden(full) + (LONG - 1) * d, model_hidden(w) + (LONG - 1) * d, d, what);
    assert_int_equal(model_forward_keep(m, w, &b, kept, &e), OK);
    assert_bits(model_hidden(full), model_hidden(w), LONG * d, what);
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
      struct token_batch x;
      int n = LONG - shorter[i], same;
      other_life(&b, from[i] < n ? from[i] : n, n, &x);
      same = model_kept_same(&b, &x, 0);
      assert_true(same >= (from[i] < n ? from[i] : n)); /* positions may have no entries to differ in */
      assert_int_equal(model_forward_after(m, w, &x, 0, same, kept, &h, &e), OK);
      struct model_workspace *plain = round ? full : w; /* w has other rows in it by now */
      float *mine = malloc((size_t)n * d * sizeof *mine);
      memcpy(mine, h, (size_t)n * d * sizeof *mine);
      assert_int_equal(model_forward(m, plain, &x, NULL, &e), OK);
      assert_bits(model_hidden(plain), mine, (size_t)n * d, what);
      free(mine);
    }
    assert_int_equal(model_forward_after(m, w, &b, 0, LONG, kept, &h, &e), OK); /* itself */
    assert_int_equal(model_forward(m, full, &b, NULL, &e), OK);
    assert_bits(model_hidden(full), h, LONG * d, what);
    if (round == 0) assert_int_equal(model_pack_new(m, false, &e), OK);
    if (round != 1) continue;
    float *before = malloc(LONG * d * sizeof *before);
    memcpy(before, model_hidden(full), LONG * d * sizeof *before);
    assert_int_equal(model_lay_out(m, &e), OK);
    assert_int_equal(model_forward(m, full, &b, NULL, &e), OK);
    double far = distance(before, model_hidden(full), LONG * d);
    assert_true(m->quant ? far > 0 && far < 0.3 : far == 0);
    free(before);
  }
  fixture_release(&b);
  model_kept_free(kept);
  model_workspace_free(w);
  model_workspace_free(full);
  model_free(m);
}

static void test_the_same_bits(void **state) {
  (void)state;
  const struct kernel *all[8];
  int n = kernel_all(all);
  for (int k = 0; k < n; k++)
    for (int position = 0; position < 4; position++)
      for (int mask = 0; mask < 3; mask++) {
        struct model_config c = fixture_config();
        char what[96];
        c.context = LONG;
        c.position = (enum model_position)position;
        c.kv_heads = mask == 1 ? 4 : 2;
        c.mask = mask == 1 ? MASK_CAUSAL_NO_TIES : MASK_CAUSAL;
        c.window = mask == 2 ? 7 : 0;
        c.qk_norm = position == 1;
        c.bias = position == 2;
        c.norm = position == 2 ? MODEL_NORM_LAYER : MODEL_NORM_RMS;
        c.mlp = position == 3 ? MLP_GELU : MLP_SWIGLU;
        snprintf(what, sizeof what, "%s position %d mask %d", all[k]->name, position, mask);
        check(c, all[k], what);
      }
}

/* Equal inputs are found bit by bit: any of them that differs ends what is shared. */
static void test_what_is_shared(void **state) {
  (void)state;
  static const int length[] = {20};
  struct token_batch b, x;
  fixture_batch(&b, length, 1, 6);
  fixture_batch(&x, length, 1, 6);
  assert_int_equal(model_kept_same(&b, &x, 0), 20);
  x.time[11]++;
  assert_int_equal(model_kept_same(&b, &x, 0), 11);
  x.rope_time[10] += 1;
  assert_int_equal(model_kept_same(&b, &x, 0), 10);
  x.rope_index[9] += 1;
  assert_int_equal(model_kept_same(&b, &x, 0), 9);
  x.time_feature[9 * TOKEN_TIME_FEATURES - 1] += 1;
  assert_int_equal(model_kept_same(&b, &x, 0), 8);
  int at = 7;
  while (x.entry_start[at] == x.entry_start[at + 1]) at--;
  x.entry_weight[x.entry_start[at + 1] - 1] *= 0.5f;
  assert_int_equal(model_kept_same(&b, &x, 0), at);
  while (at-- > 0 && x.entry_start[at] == x.entry_start[at + 1]) continue;
  x.entry_id[x.entry_start[at]]++;
  assert_int_equal(model_kept_same(&b, &x, 0), at);
  fixture_release(&b), fixture_release(&x);
}

static void test_wrong_use(void **state) {
  (void)state;
  static const int length[] = {12, 9};
  struct error e = {0};
  struct model *m;
  struct model_workspace *w;
  struct model_kept *kept;
  struct token_batch b;
  const float *h;
  struct model_config c = fixture_config();
  c.mask = MASK_FULL;
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  assert_int_equal(model_kept_new(m, 16, &kept, &e), OK);
  assert_null(kept); /* what comes later would change what came before */
  model_free(m);
  c.mask = MASK_CAUSAL;
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  assert_int_equal(model_kept_new(m, 1 << 24, &kept, &e), OK);
  assert_null(kept);
  assert_int_equal(model_kept_new(m, 10, &kept, &e), OK);
  assert_int_equal(model_workspace_new(m, 32, false, &w, &e), OK);
  fixture_batch(&b, length, 2, 6);
  assert_int_equal(model_forward_keep(m, w, &b, kept, &e), E_USAGE);             /* two lives */
  assert_int_equal(model_forward_after(m, w, &b, 0, 0, kept, &h, &e), E_USAGE);  /* too long */
  assert_int_equal(model_forward_after(m, w, &b, 1, 1, kept, &h, &e), E_USAGE);  /* nothing is kept */
  assert_int_equal(model_forward_after(m, w, &b, 1, 10, kept, &h, &e), E_USAGE); /* more than it has */
  assert_int_equal(model_forward_after(m, w, &b, 1, 0, kept, &h, &e), OK);       /* a life that shares nothing */
  fixture_release(&b);
  model_kept_free(kept);
  model_workspace_free(w);
  model_free(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_same_bits), cmocka_unit_test(test_what_is_shared),
                                     cmocka_unit_test(test_wrong_use)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
