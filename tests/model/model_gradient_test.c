/* Hand-written gradients against finite differences of the full loss, for every parameter family and every option of the trunk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "columns_here.h"
#include "model_fixture.h"

static const char tasks[][MODEL_TASK_NAME] = {"death", "stay"};

struct setup {
  struct model *m;
  struct model_workspace *w;
  struct token_batch b;
  struct loss_options o;
  float *gradient;
};

static const struct sequence_label labels[] = {{0, 0, 7, 1, true}, {1, 1, 5, 1, false}, {2, 0, 4, 0.5f, true}, {2, 0, 9, 1, false}};

static void open_setup(struct setup *s, struct model_config c) {
  struct error e = {0};
  static const int length[] = {7, 5, 9};
  assert_int_equal(model_build(&c, NULL, tasks, 2, 5, &s->m, &e), OK);
  const struct kernel *all[8];
  kernel_all(all);
  model_set_kernel(s->m, all[0]);
  fixture_knots(s->m);
  struct rng r;
  rng_init(&r, 9, 9);
  for (int i = 0; i < s->m->tensors; i++) { /* zeros and ones would hide mistakes; so would a nearly linear model */
    const struct tensor *t = &s->m->tensor[i];
    for (size_t k = 0; k < t->n; k++) {
      float x = (float)rng_normal(&r);
      if (strstr(t->name, "gain"))
        x = 1 + 0.2f * x;
      else if (strcmp(t->name, "rates.bias") == 0 || strcmp(t->name, "hazard.bias") == 0)
        x = -2 + 0.3f * x;
      else
        x *= 0.35f;
      s->m->weight[t->at + k] = x;
    }
  }
  assert_int_equal(model_workspace_new(s->m, 32, true, &s->w, &e), OK);
  fixture_batch(&s->b, length, 3, 4);
  s->b.outcomes = (int)c.outcomes;
  s->o = (struct loss_options){.w_rates = 1,
                               .w_time = 0.7,
                               .w_value = 0.8,
                               .w_hazard = 1.3,
                               .w_task = 0.9,
                               .scale = 0.1,
                               .task_scale = 0.4,
                               .seed = 3,
                               .stream = 1000,
                               .label = labels,
                               .labels = sizeof labels / sizeof *labels};
  s->gradient = mem_alloc_aligned(s->m->floats * sizeof(float));
}

static void close_setup(struct setup *s) {
  mem_free_aligned(s->gradient, s->m->floats * sizeof(float));
  model_workspace_free(s->w);
  fixture_release(&s->b);
  model_free(s->m);
}

static double objective(struct setup *s) {
  struct loss_sums l;
  struct error e = {0};
  assert_int_equal(model_loss(s->m, s->w, &s->b, &s->o, NULL, &l, &e), OK);
  return l.objective;
}

/* For each tensor the directional derivative along a random direction within it, and along single coordinates. */
static void check(struct setup *s, const char *what) {
  struct loss_sums l;
  struct error e = {0};
  struct rng r;
  rng_init(&r, 21, 0);
  memset(s->gradient, 0, s->m->floats * sizeof(float));
  assert_int_equal(model_loss(s->m, s->w, &s->b, &s->o, s->gradient, &l, &e), OK);
  float *keep = malloc(s->m->floats * sizeof(float)), *dir = malloc(s->m->floats * sizeof(float));
  memcpy(keep, s->m->weight, s->m->floats * sizeof(float));
  for (int i = 0; i < s->m->tensors; i++) {
    const struct tensor *t = &s->m->tensor[i];
    for (int trial = 0; trial < 3; trial++) {
      double along = 0, norm = 0, size = 0;
      for (size_t k = 0; k < t->n; k++) {
        dir[k] = (float)rng_normal(&r);
        if (trial > 0) dir[k] = 0;
      }
      if (trial > 0) dir[rng_below(&r, (uint32_t)t->n)] = 1;
      for (size_t k = 0; k < t->n; k++) norm += (double)dir[k] * (double)dir[k];
      for (size_t k = 0; k < t->n; k++) {
        dir[k] /= (float)sqrt(norm);
        along += (double)dir[k] * (double)s->gradient[t->at + k];
        size += (double)s->gradient[t->at + k] * (double)s->gradient[t->at + k];
      }
      double h = 4e-3, f[4], at[4] = {-2, -1, 1, 2};
      for (int q = 0; q < 4; q++) {
        for (size_t k = 0; k < t->n; k++) s->m->weight[t->at + k] = keep[t->at + k] + (float)(at[q] * h) * dir[k];
        f[q] = objective(s);
      }
      memcpy(s->m->weight + t->at, keep + t->at, t->n * sizeof(float));
      double numeric = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
      if (!(fabs(numeric - along) < 2e-3 * (fabs(along) + 0.1 * sqrt(size)) + 2e-4))
        fail_msg("%s: %s: gradient %.6f, finite difference %.6f", what, t->name, along, numeric);
    }
  }
  free(keep);
  free(dir);
}

static void check_config(struct model_config c, const char *what) {
  struct setup s;
  open_setup(&s, c);
  check(&s, what);
  close_setup(&s);
}

static void test_norm_mlp_position(void **state) {
  (void)state;
  for (int norm = 0; norm < 2; norm++)
    for (int mlp = 0; mlp < 2; mlp++)
      for (int position = 0; position < 4; position++) {
        struct model_config c = fixture_config();
        char what[64];
        c.norm = (enum model_norm)norm, c.mlp = (enum model_mlp)mlp, c.position = (enum model_position)position;
        snprintf(what, sizeof what, "norm %d mlp %d position %d", norm, mlp, position);
        check_config(c, what);
      }
}

static void test_masks(void **state) {
  (void)state;
  struct model_config c = fixture_config();
  c.mask = MASK_CAUSAL_NO_TIES;
  check_config(c, "ties");
  c.mask = MASK_FULL;
  check_config(c, "full");
  c.mask = MASK_CAUSAL;
  c.window = 3;
  check_config(c, "window");
}

static void test_options(void **state) {
  (void)state;
  struct model_config c = fixture_config();
  c.kv_heads = 2;
  check_config(c, "grouped queries");
  c.qk_norm = true;
  c.position = POSITION_ROPE_INDEX;
  check_config(c, "grouped queries, qk norm");
  c.bias = true;
  c.norm = MODEL_NORM_LAYER;
  check_config(c, "bias, layer norm, qk norm");
  c.tied = true;
  c.mlp = MLP_GELU;
  check_config(c, "tied");
  c.embed_root = true;
  check_config(c, "tied, rows scaled");
  c.embed_root = false;
  c.hazard_rates = true;
  check_config(c, "hazards from tied rates");
  c.tied = false;
  check_config(c, "hazards from rates");
  c.tied = true;
  c.outcomes = 0;
  check_config(c, "no outcomes");
}

static void test_dropout_same_mask(void **state) {
  (void)state;
  struct setup s;
  open_setup(&s, fixture_config());
  s.o.dropout = 0.3f;
  double a = objective(&s);
  assert_true(a == objective(&s));
  s.o.stream += 64;
  assert_true(a != objective(&s));
  check(&s, "dropout");
  close_setup(&s);
}

/* Far too fast: u is in the linear part of the continued exponential. */
static void test_far_rates(void **state) {
  (void)state;
  struct setup s;
  open_setup(&s, fixture_config());
  for (int i = 0; i < FIX_CODES; i++) s.m->weight[s.m->rates_bias + i] += 9;
  for (int i = 0; i < HAZARD_BINS * FIX_OUTCOMES; i++) s.m->weight[s.m->hazard_bias + i] += 7;
  s.o.scale = 0.003;
  check(&s, "far");
  close_setup(&s);
}

/* The least that the cross-entropy of the target sets can be: their own entropy. */
static double least_rates(const struct token_batch *b) {
  double sum = 0;
  for (int p = 0; p < b->positions; p++) {
    int from = b->target_start[p], to = b->target_start[p + 1];
    for (int i = from; i < to; i++) {
      int same = 0;
      for (int k = from; k < to; k++) same += b->target_id[k] == b->target_id[i];
      sum -= log((double)same / (to - from)) / (to - from);
    }
  }
  return sum;
}

static void test_overfits_eight_sequences(void **state) {
  (void)state;
  static const int length[] = {4, 3, 5, 2, 4, 3, 5, 4};
  struct error e = {0};
  struct model *m;
  struct model_workspace *w;
  struct token_batch b;
  struct loss_sums first, l;
  struct model_config c = fixture_config();
  c.position = POSITION_ROPE_INDEX;
  assert_int_equal(model_build(&c, NULL, NULL, 0, 5, &m, &e), OK);
  fixture_knots(m);
  fixture_batch(&b, length, 8, 12);
  assert_int_equal(model_workspace_new(m, 32, true, &w, &e), OK);
  size_t n = m->floats;
  float *g = mem_alloc_aligned(n * sizeof *g), *am = mem_alloc_aligned(n * sizeof *g), *av = mem_alloc_aligned(n * sizeof *g);
  struct loss_options o = {.w_rates = 1, .w_time = 0.2, .w_value = 0.2, .w_hazard = 0.2, .scale = 1.0 / 30, .seed = 1};
  for (int step = 0; step < 400; step++) {
    memset(g, 0, n * sizeof *g);
    assert_int_equal(model_loss(m, w, &b, &o, g, &l, &e), OK);
    if (step == 0) first = l;
    m->kernel->adamw(&(struct adamw){.n = n,
                                     .w = m->weight,
                                     .m = am,
                                     .v = av,
                                     .g = g,
                                     .lr = 1e-2f,
                                     .beta1 = 0.9f,
                                     .beta2 = 0.98f,
                                     .eps = 1e-8f,
                                     .grad_scale = 1,
                                     .bias1 = (float)(1 - pow(0.9, step + 1)),
                                     .bias2 = (float)(1 - pow(0.98, step + 1))});
  }
  assert_true(first.rates - least_rates(&b) > 30);
  assert_true(l.rates - least_rates(&b) < 0.5); /* of 22 positions together */
  assert_true(l.time < first.time - 10 && l.value < first.value && l.hazard < first.hazard);
  mem_free_aligned(g, n * sizeof *g);
  mem_free_aligned(am, n * sizeof *g);
  mem_free_aligned(av, n * sizeof *g);
  fixture_release(&b);
  model_workspace_free(w);
  model_free(m);
}

static void test_columns_agree(void **state) {
  (void)state;
  struct setup s;
  struct loss_sums l;
  struct error e = {0};
  const struct kernel *all[12];
  int n = columns_here(all);
  struct model_config c = fixture_config();
  c.position = POSITION_ROPE_INDEX;
  open_setup(&s, c);
  float *want = malloc(s.m->floats * sizeof(float));
  memset(want, 0, s.m->floats * sizeof(float));
  assert_int_equal(model_loss(s.m, s.w, &s.b, &s.o, want, &l, &e), OK);
  double size = 0, loss = l.objective;
  for (size_t i = 0; i < s.m->floats; i++) size += (double)want[i] * (double)want[i];
  for (int k = 1; k < n; k++) {
    double difference = 0, bound = all[k]->reduced ? 8e-2 : 1e-5;
    model_set_kernel(s.m, all[k]);
    memset(s.gradient, 0, s.m->floats * sizeof(float));
    assert_int_equal(model_loss(s.m, s.w, &s.b, &s.o, s.gradient, &l, &e), OK);
    for (size_t i = 0; i < s.m->floats; i++) difference += pow((double)s.gradient[i] - (double)want[i], 2);
    if (!(sqrt(difference) < bound * sqrt(size) && fabs(l.objective - loss) < bound * fabs(loss)))
      fail_msg("column %s: gradient differs by %.2e, loss %.6f instead of %.6f", all[k]->name, sqrt(difference / size), l.objective, loss);
    if (all[k]->device) continue; /* lays nothing out */
    float *packed = calloc(s.m->floats, sizeof *packed);
    assert_int_equal(model_pack_new(s.m, true, &e), OK); /* weights laid out for the column: the same bits */
    assert_true(s.m->packs > 0);
    assert_int_equal(model_loss(s.m, s.w, &s.b, &s.o, packed, &l, &e), OK);
    assert_memory_equal(packed, s.gradient, s.m->floats * sizeof(float));
    free(packed);
  }
  free(want);
  close_setup(&s);
}

/* Recomputed activations are the same numbers, so the gradients are the same bits: with dropout, with norms of queries and keys. */
static void test_recompute_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    struct setup s;
    struct loss_sums kept, again;
    struct error e = {0};
    struct model_config c = fixture_config();
    c.layers = 3;
    c.position = i ? POSITION_ROPE_TIME : POSITION_LEARNED;
    c.mlp = i == 1 ? MLP_GELU : MLP_SWIGLU;
    c.norm = i == 1 ? MODEL_NORM_LAYER : MODEL_NORM_RMS;
    c.bias = i == 1, c.qk_norm = i == 2, c.mask = i == 1 ? MASK_CAUSAL_NO_TIES : MASK_CAUSAL;
    open_setup(&s, c);
    s.o.dropout = 0.3f;
    float *want = calloc(s.m->floats, sizeof *want);
    assert_int_equal(model_loss(s.m, s.w, &s.b, &s.o, want, &kept, &e), OK);
    size_t bytes = s.w->bytes;
    model_workspace_free(s.w);
    assert_int_equal(model_workspace_recompute(s.m, 32, &s.w, &e), OK);
    assert_true(s.w->bytes < bytes);
    memset(s.gradient, 0, s.m->floats * sizeof(float));
    assert_int_equal(model_loss(s.m, s.w, &s.b, &s.o, s.gradient, &again, &e), OK);
    assert_memory_equal(want, s.gradient, s.m->floats * sizeof(float));
    assert_memory_equal(&kept, &again, sizeof kept);
    free(want);
    close_setup(&s);
  }
}

int main(void) {
  thread_fast_float();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_norm_mlp_position),
                                     cmocka_unit_test(test_masks),
                                     cmocka_unit_test(test_options),
                                     cmocka_unit_test(test_dropout_same_mask),
                                     cmocka_unit_test(test_far_rates),
                                     cmocka_unit_test(test_columns_agree),
                                     cmocka_unit_test(test_overfits_eight_sequences),
                                     cmocka_unit_test(test_recompute_same_bits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
