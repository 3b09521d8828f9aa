/* Decoding with a cache gives what the full forward pass gives, for every mask and position that can decode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_fixture.h"

#include "model/model_cache.h"

/* One position of `b` as a batch of its own (stream after stream). */
static void take_position(const struct token_batch *b, const int *position, int n, struct token_batch *out) {
  memset(out, 0, sizeof *out);
  arena_init(&out->arena, 0, 0);
  out->sequences = out->positions = n;
  out->seq_start = fixture_array(out, (size_t)n + 1, 4);
  out->time = fixture_array(out, (size_t)n, 8);
  out->entry_start = fixture_array(out, (size_t)n + 1, 4);
  out->entry_id = fixture_array(out, (size_t)n * 8, 4);
  out->entry_weight = fixture_array(out, (size_t)n * 8, 4);
  out->time_feature = fixture_array(out, (size_t)n * TOKEN_TIME_FEATURES, 4);
  out->rope_index = fixture_array(out, (size_t)n, 4);
  out->rope_time = fixture_array(out, (size_t)n, 4);
  for (int i = 0; i < n; i++) {
    int p = position[i];
    out->seq_start[i + 1] = i + 1;
    out->time[i] = b->time[p];
    for (int k = b->entry_start[p]; k < b->entry_start[p + 1]; k++) {
      out->entry_id[out->entries] = b->entry_id[k];
      out->entry_weight[out->entries++] = b->entry_weight[k];
    }
    out->entry_start[i + 1] = out->entries;
    memcpy(out->time_feature + i * TOKEN_TIME_FEATURES, b->time_feature + p * TOKEN_TIME_FEATURES, TOKEN_TIME_FEATURES * sizeof(float));
    out->rope_index[i] = b->rope_index[p];
    out->rope_time[i] = b->rope_time[p];
  }
}

static void prefix_of(const struct token_batch *b, int n,
                      struct token_batch *out) { /* the first n positions of sequence 0, arrays shared */
  static int32_t start[2];
  *out = *b;
  start[1] = n;
  out->seq_start = start;
  out->sequences = 1;
  out->positions = n;
  out->entries = b->entry_start[n];
}

/* Keys and values are kept in eight bits: a few thousandths of the hidden rows, in every column alike. Weights twice as large, far from linear, make
 * ten times as much of it; operands of bf16 add as much again to the worst number. */
static void check(struct model_config c, const struct kernel *k, const char *what, float larger) {
  struct error e = {0};
  struct model *m;
  struct model_workspace *w, *full;
  struct model_cache *cache;
  struct model_prefix *past;
  struct model_decoder *decoder;
  struct token_batch b, prefix, step;
  static const int length[] = {14};
  int streams[3] = {2, 0, 1}, prefix_n = 8;
  double off = 0, all = 0;
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  model_set_kernel(m, k);
  for (size_t i = 0; i < m->floats; i++) m->weight[i] *= larger;
  assert_int_equal(model_workspace_new(m, 16, false, &w, &e), OK);
  assert_int_equal(model_workspace_new(m, 16, false, &full, &e), OK);
  assert_int_equal(model_cache_new(m, 3, 6, &cache, &e), OK);
  assert_int_equal(model_prefix_new(m, 10, &past, &e), OK);
  assert_int_equal(model_decoder_new(m, false, &decoder, &e), OK);
  fixture_batch(&b, length, 1, 6);
  assert_int_equal(model_forward(m, full, &b, NULL, &e), OK);
  prefix_of(&b, prefix_n, &prefix);
  assert_int_equal(model_forward(m, w, &prefix, &past, &e), OK);
  assert_int_equal(model_prefix_positions(past), prefix_n);
  for (int round = 0; round < 2; round++) { /* the second time bound anew, and with a decoder's weights: the same again */
    for (int s = 0; s < 3; s++) assert_int_equal(model_cache_bind(cache, s, past, &e), OK);
    model_workspace_decode(w, round ? decoder : NULL);
    for (int p = prefix_n; p < length[0]; p++) {
      int position[3] = {p, p, p};
      take_position(&b, position, 3, &step);
      assert_int_equal(model_decode(m, w, cache, &step, streams, &e), OK);
      for (int s = 0; s < 3; s++)
        for (int i = 0; i < c.d; i++) {
          float want = model_hidden(full)[p * c.d + i], have = model_hidden(w)[s * c.d + i];
          if (!(fabsf(want - have) < (larger > 1 ? 0.2f : k->reduced ? 0.02f : 0.012f)))
            fail_msg("%s: position %d stream %d: %g instead of %g", what, p, s, (double)have, (double)want);
          off += (double)(want - have) * (double)(want - have), all += (double)want * (double)want;
        }
      fixture_release(&step);
    }
    int position[1] = {13}, stream[1] = {1};
    take_position(&b, position, 1, &step);
    assert_int_equal(model_decode(m, w, cache, &step, stream, &e), E_LIMIT); /* full */
    fixture_release(&step);
  }
  if (!(sqrt(off / all) < (larger > 1 ? 0.03 : 0.004))) fail_msg("%s: %g of the hidden rows", what, sqrt(off / all));
  fixture_release(&b);
  model_cache_free(cache);
  model_prefix_free(past);
  model_decoder_free(decoder);
  model_workspace_free(w);
  model_workspace_free(full);
  model_free(m);
}

static void test_decode_equals_forward(void **state) {
  (void)state;
  const struct kernel *all[8];
  int n = kernel_all(all);
  for (int k = 0; k < n; k++)
    for (int position = 0; position < 4; position++)
      for (int mask = 0; mask < 3; mask++) {
        struct model_config c = fixture_config();
        char what[96];
        c.position = (enum model_position)position;
        c.kv_heads = 2;
        c.mask = mask == 1 ? MASK_CAUSAL_NO_TIES : MASK_CAUSAL;
        c.window = mask == 2 ? 4 : 0;
        c.qk_norm = position == 1;
        c.bias = position == 2;
        snprintf(what, sizeof what, "%s position %d mask %d", all[k]->name, position, mask);
        check(c, all[k], what, 1);
        check(c, all[k], what, 2);
      }
}

/* Decoding in eight bits: the law of the next instant is nearly that of the full forward pass (Kullback-Leibler divergence of the code, summed rate),
 * it is not the same to the last bit where the column has such units, and weights that are no numbers are left to f32, which shows them. */
static void quantised(struct model_config c, const struct kernel *k, bool broken) {
  struct error e = {0};
  struct model *m;
  struct model_workspace *w, *full;
  struct model_cache *cache;
  struct model_prefix *past;
  struct model_decoder *decoder;
  struct token_batch b, prefix, step;
  static const int length[] = {14};
  int prefix_n = 8;
  double divergence = 0, other = 0;
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  model_set_kernel(m, k);
  for (size_t i = 0; i < m->floats; i++) m->weight[i] *= 2;
  if (broken) m->weight[m->block[1].up + 5] = NAN;
  assert_int_equal(model_workspace_new(m, 16, false, &w, &e), OK);
  assert_int_equal(model_workspace_new(m, 16, false, &full, &e), OK);
  assert_int_equal(model_cache_new(m, 1, 6, &cache, &e), OK);
  assert_int_equal(model_prefix_new(m, 10, &past, &e), OK);
  assert_int_equal(model_decoder_new(m, true, &decoder, &e), OK);
  model_workspace_decode(w, decoder);
  fixture_batch(&b, length, 1, 6);
  assert_int_equal(model_forward(m, full, &b, NULL, &e), OK);
  prefix_of(&b, prefix_n, &prefix);
  assert_int_equal(model_forward(m, w, &prefix, &past, &e), OK);
  assert_int_equal(model_cache_bind(cache, 0, past, &e), OK);
  for (int p = prefix_n; p < length[0]; p++) {
    float want[FIX_CODES], have[FIX_CODES], shift[2];
    take_position(&b, &p, 1, &step);
    assert_int_equal(model_decode(m, w, cache, &step, &(int){0}, &e), OK);
    model_decode_rates(m, w, 1, model_hidden(full) + p * c.d, want, shift);
    model_decode_rates(m, w, 1, model_hidden(w), have, shift + 1);
    double all = model_logsumexp(m, FIX_CODES, want), mine = model_logsumexp(m, FIX_CODES, have);
    for (int i = 0; i < FIX_CODES; i++)
      divergence += exp((double)want[i] - all) * ((double)want[i] - all - (double)have[i] + mine) / (length[0] - prefix_n);
    if (!broken) assert_true(fabs(all + (double)shift[0] - mine - (double)shift[1]) < 0.05);
    for (int i = 0; i < c.d; i++) other += model_hidden(full)[p * c.d + i] != model_hidden(w)[i];
    fixture_release(&step);
  }
  if (broken)
    assert_true(isnan(divergence));
  else
    assert_true(divergence > -1e-6 && divergence < 2e-3);
  assert_true(other > 0);
  fixture_release(&b);
  model_cache_free(cache);
  model_prefix_free(past);
  model_decoder_free(decoder);
  model_workspace_free(w);
  model_workspace_free(full);
  model_free(m);
}

static void test_eight_bits(void **state) {
  (void)state;
  const struct kernel *all[8];
  int n = kernel_all(all);
  for (int k = 0; k < n; k++)
    for (int broken = 0; broken < 2; broken++) {
      struct model_config c = fixture_config();
      c.mlp = broken ? MLP_GELU : MLP_SWIGLU;
      c.bias = k % 2;
      quantised(c, all[k], broken);
      c.d = 64, c.ff = 96, c.bias = !c.bias; /* whole blocks */
      quantised(c, all[k], broken);
    }
}

/* A product in eight bits against the same sum in double precision: what is left is the rounding of weights and rows. */
static void test_eight_bit_product(void **state) {
  (void)state;
  const struct kernel *all[8];
  int n = kernel_all(all);
  for (int k = 0; k < n; k++) {
    struct error e = {0};
    struct model *m;
    struct model_quant *q;
    struct model_config c = fixture_config();
    c.bias = true;
    enum { ROWS = 11 };
    assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
    model_set_kernel(m, all[k]);
    for (int i = 0; i < up_width(&c); i++) m->weight[m->block[1].up_bias + i] = 0.1f * (float)i;
    assert_int_equal(model_quant_new(m, true, &q, &e), OK);
    assert_int_equal(q != NULL, strcmp(all[k]->name, "amx") != 0);
    if (q) {
      int in = c.d, out = up_width(&c);
      float *x = calloc((size_t)(ROWS * in), sizeof *x), *y = calloc((size_t)(ROWS * out), sizeof *y),
            *one = calloc((size_t)out, sizeof *one);
      void *scratch = mem_alloc_aligned(model_quant_scratch(q, ROWS));
      for (int i = 0; i < ROWS * in; i++) x[i] = sinf((float)(i * i)) * (float)(1 + i / in);         /* rows of different sizes */
      assert_false(model_quant_linear(m, q, scratch, ROWS, c.d, FIX_CODES, x, m->rates, ABSENT, y)); /* none of the trunk's */
      assert_true(model_quant_linear(m, q, scratch, ROWS, in, out, x, m->block[1].up, m->block[1].up_bias, y));
      for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < out; o++) {
          double want = (double)m->weight[m->block[1].up_bias + o], size = 0;
          for (int i = 0; i < in; i++) {
            double term = (double)x[r * in + i] * (double)m->weight[m->block[1].up + o * in + i];
            want += term, size += term * term;
          }
          assert_true(fabs(want - (double)y[r * out + o]) < 0.03 * sqrt(size) + 1e-5);
        }
        assert_true(model_quant_linear(m, q, scratch, 1, in, out, x + r * in, m->block[1].up, m->block[1].up_bias, one));
        assert_memory_equal(one, y + r * out, (size_t)out * sizeof *one); /* a row alone has the same bits */
      }
      float *words = mem_alloc_aligned((m->kernel->gemm_scratch + 16) * sizeof *words), rate[ROWS][FIX_CODES], alone[FIX_CODES];
      bool by_words = m->kernel->gemm_scratch > 0; /* the reference has none: it stays with floats */
      assert_int_equal(model_quant_rates(m, q, words, ROWS, x, rate[0]), by_words);
      for (int r = 0; r < ROWS && by_words; r++) {
        for (int o = 0; o < FIX_CODES; o++) {
          double want = (double)m->weight[m->rates_bias + o], size = 0;
          for (int i = 0; i < in; i++) {
            double term = (double)x[r * in + i] * (double)m->weight[m->rates + o * in + i];
            want += term, size += term * term;
          }
          assert_true(fabs(want - (double)rate[r][o]) < 1e-3 * sqrt(size) + 1e-5);
        }
        assert_true(model_quant_rates(m, q, words, 1, x + r * in, alone));
        assert_memory_equal(alone, rate[r], sizeof alone);
      }
      mem_free_aligned(words, (m->kernel->gemm_scratch + 16) * sizeof *words);
      mem_free_aligned(scratch, model_quant_scratch(q, ROWS));
      free(x), free(y), free(one);
      model_quant_free(q);
    }
    model_free(m);
  }
}

static void test_wrong_use(void **state) {
  (void)state;
  struct error e = {0};
  struct model *m;
  struct model_cache *cache;
  struct model_workspace *w;
  struct token_batch b, step;
  static const int length[] = {5};
  struct model_config c = fixture_config();
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  assert_int_equal(model_workspace_new(m, 4, false, &w, &e), OK);
  assert_int_equal(model_cache_new(m, 2, 2, &cache, &e), OK);
  fixture_batch(&b, length, 1, 6);
  assert_int_equal(model_forward(m, w, &b, NULL, &e), E_LIMIT); /* longer than the workspace */
  int position[2] = {0, 1}, twice[2] = {1, 1}, none[2] = {0, 2};
  take_position(&b, position, 2, &step);
  assert_int_equal(model_decode(m, w, cache, &step, twice, &e), E_USAGE);
  assert_int_equal(model_decode(m, w, cache, &step, none, &e), E_USAGE);
  step.entry_id[0] = 10000;
  step.entries = 1;
  assert_int_equal(model_decode(m, w, cache, &step, position, &e), E_MISMATCH);
  fixture_release(&step);
  fixture_release(&b);
  model_cache_free(cache);
  model_workspace_free(w);
  model_free(m);
  c.mask = MASK_FULL;
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  assert_int_equal(model_cache_new(m, 2, 2, &cache, &e), E_USAGE);
  model_free(m);
}

/* Rates, hazards and values are what the heads' formulas say. */
static void test_heads(void **state) {
  (void)state;
  struct error e = {0};
  struct model *m;
  struct model_workspace *w;
  struct model_config c = fixture_config();
  float hidden[32], rate[2 * FIX_CODES], one[FIX_CODES], hazard[FIX_OUTCOMES * HAZARD_BINS], started[FIX_OUTCOMES * HAZARD_BINS],
      p[TOKEN_KNOTS];
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  fixture_knots(m);
  assert_int_equal(model_workspace_new(m, 4, false, &w, &e), OK);
  for (int i = 0; i < 32; i++) hidden[i] = sinf((float)i);
  for (int i = 0; i < c.d; i++) m->weight[m->rates_shift + i] = 0.1f;
  model_rates_rows(m, w, 2, hidden, rate);
  model_rates(m, w, hidden + 16, one);
  for (int v = 0; v < FIX_CODES; v++) {
    double want = (double)m->weight[m->rates_bias + v];
    for (int i = 0; i < c.d; i++) want += (double)hidden[16 + i] * ((double)m->weight[m->rates + v * c.d + i] + 0.1);
    assert_true(fabs(want - (double)rate[FIX_CODES + v]) < 1e-4 && fabs(want - (double)one[v]) < 1e-4);
  }
  model_hazard(m, w, hidden, hazard);
  m->config.hazard_rates = true;
  model_hazard(m, w, hidden, started);
  for (int o = 0; o < FIX_OUTCOMES; o++)
    for (int b = 0; b < HAZARD_BINS; b++) {
      double want = (double)m->weight[m->hazard_bias + b * FIX_OUTCOMES + o];
      for (int r = 0; r < c.hazard_rank; r++) {
        double z = 0;
        for (int i = 0; i < c.d; i++) z += (double)hidden[i] * (double)m->weight[m->hazard + (b * c.hazard_rank + r) * c.d + i];
        want += z * (double)m->weight[m->hazard_outcome + o * c.hazard_rank + r];
      }
      assert_true(fabs(want - (double)hazard[o * HAZARD_BINS + b]) < 1e-4);
      assert_true(fabs(want + (double)rate[o] - (double)started[o * HAZARD_BINS + b]) < 1e-4);
    }
  model_value(m, w, hidden, 2, p);
  assert_true(fabsf(p[0] + p[1] + p[2] + p[3] - 1) < 1e-5f);
  for (int b = 0; b < HAZARD_BINS; b++) hazard[b] = -5;
  assert_true(fabs(hazard_probability(hazard, 365) - (1 - exp(-365 * exp(-5)))) < 1e-9);
  assert_true(fabs(hazard_probability(hazard, 0.5) - (1 - exp(-0.5 * exp(-5)))) < 1e-9);
  hazard[0] = 0; /* the first day at rate 1 */
  assert_true(fabs(hazard_probability(hazard, 7) - (1 - exp(-1 - 6 * exp(-5)))) < 1e-9);
  model_workspace_free(w);
  model_free(m);
}

static void test_plan_is_the_bill(void **state) {
  (void)state;
  struct error e = {0};
  struct model *m;
  struct model_workspace *w;
  struct model_plan p;
  struct model_config c = fixture_config();
  assert_int_equal(model_build(&c, NULL, NULL, 0, 3, &m, &e), OK);
  assert_int_equal(model_workspace_new(m, 20, true, &w, &e), OK);
  model_plan(&c, &(struct plan_shape){.threads = 3, .lanes = 5, .positions = 20, .training = true}, &p);
  assert_true(p.parameters == m->floats * 4 && p.gradients == 5 * m->floats * 4 && p.optimizer == 2 * m->floats * 4);
  assert_true(p.activations == 3 * w->bytes && p.total == p.parameters + p.gradients + p.optimizer + p.activations + p.last_fit);
  uint64_t kept = p.activations;
  model_workspace_free(w);
  assert_int_equal(model_workspace_recompute(m, 20, &w, &e), OK);
  model_plan(&c, &(struct plan_shape){.threads = 3, .lanes = 5, .positions = 20, .training = true, .recompute = true}, &p);
  assert_true(p.activations == 3 * w->bytes && p.activations < kept);
  model_workspace_free(w);
  model_free(m);
  static const struct {
    const char *name;
    double trunk;
  } sizes[] = {{"tiny", 0.3e6}, {"small", 2e6}, {"base", 30e6}, {"large", 100e6}, {"1b", 1e9}, {"7b", 6.5e9}};
  for (int i = 0; i < 6; i++) {
    assert_int_equal(model_preset(sizes[i].name, &c, &e), OK);
    c.codes = c.rows = 10;
    c.outcomes = 1;
    model_plan(&c, &(struct plan_shape){.threads = 1, .positions = 16}, &p);
    assert_true((double)p.parameters / 4 > 0.8 * sizes[i].trunk && (double)p.parameters / 4 < 1.5 * sizes[i].trunk);
  }
  assert_int_equal(model_preset("enormous", &c, &e), E_NOTFOUND);
}

int main(void) {
  thread_fast_float();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_decode_equals_forward),
                                     cmocka_unit_test(test_eight_bits),
                                     cmocka_unit_test(test_eight_bit_product),
                                     cmocka_unit_test(test_wrong_use),
                                     cmocka_unit_test(test_heads),
                                     cmocka_unit_test(test_plan_is_the_bill)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
