/* The model against PyTorch: hidden states, log rates, losses and every gradient of the fixtures that tests/oracle/model_oracle.py wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/safetensors.h"
#include "model_fixture.h"

static const char tasks[][MODEL_TASK_NAME] = {"death", "stay"};

static const char *text_of(const struct safetensors *s, const char *key) {
  static char text[64];
  struct str v = safetensors_metadata(s, key);
  if (!v.p || v.n >= sizeof text) fail_msg("fixture without %s", key);
  memcpy(text, v.p, v.n);
  text[v.n] = 0;
  return text;
}

static double number(const struct safetensors *s, const char *key) { return atof(text_of(s, key)); }

static int choice(const struct safetensors *s, const char *key, const char *const *names, int n) {
  const char *v = text_of(s, key);
  for (int i = 0; i < n; i++)
    if (strcmp(v, names[i]) == 0) return i;
  fail_msg("fixture: unknown %s", key);
  return 0;
}

static struct model_config read_config(const struct safetensors *s) {
  static const char *const position[] = {"none", "rope_index", "rope_time", "learned"}, *const mlp[] = {"swiglu", "gelu"},
                           *const norm[] = {"rms", "layer"}, *const mask[] = {"causal", "causal_no_ties", "full"};
  struct model_config c = fixture_config();
  c.layers = (int)number(s, "layers"), c.d = (int)number(s, "d"), c.heads = (int)number(s, "heads"),
  c.kv_heads = (int)number(s, "kv_heads");
  c.ff = (int)number(s, "ff"), c.context = (int)number(s, "context"), c.window = (int)number(s, "window");
  c.position = (enum model_position)choice(s, "position", position, 4);
  c.mlp = (enum model_mlp)choice(s, "mlp", mlp, 2);
  c.norm = (enum model_norm)choice(s, "norm", norm, 2);
  c.mask = (enum model_mask)choice(s, "mask", mask, 3);
  c.bias = number(s, "bias") != 0, c.qk_norm = number(s, "qk_norm") != 0, c.tied = number(s, "tied") != 0,
  c.embed_root = number(s, "embed_root") != 0;
  c.norm_eps = (float)number(s, "norm_eps"), c.rope_base = (float)number(s, "rope_base"), c.min_gap_days = (float)number(s, "min_gap_days");
  c.hazard_rank = (int)number(s, "hazard_rank"), c.hazard_rates = number(s, "hazard_rates") != 0;
  return c;
}

static float *floats(const struct safetensors *s, const char *name, struct token_batch *b, size_t *n) {
  struct error e = {0};
  const struct safetensors_tensor *t = safetensors_find(s, name);
  if (!t) fail_msg("fixture without %s", name);
  float *v = fixture_array(b, t->count, sizeof *v);
  assert_int_equal(safetensors_floats(t, v, t->count, &e), OK);
  if (n) *n = t->count;
  return v;
}

static int32_t *ints(const struct safetensors *s, const char *name, struct token_batch *b, size_t *n) {
  size_t count;
  float *v = floats(s, name, b, &count);
  int32_t *out = fixture_array(b, count, sizeof *out);
  for (size_t i = 0; i < count; i++) out[i] = (int32_t)v[i];
  if (n) *n = count;
  return out;
}

static int64_t *hours(const struct safetensors *s, const char *name, struct token_batch *b) {
  size_t count;
  float *v = floats(s, name, b, &count);
  int64_t *out = fixture_array(b, count, sizeof *out);
  for (size_t i = 0; i < count; i++) out[i] = v[i] >= 8388608 ? INT64_MAX : (int64_t)v[i] * TIME_HOUR;
  return out;
}

static void read_batch(const struct safetensors *s, struct token_batch *b, struct loss_options *o) {
  size_t n, labels;
  memset(b, 0, sizeof *b);
  arena_init(&b->arena, 0, 0);
  b->outcomes = FIX_OUTCOMES;
  b->seq_start = ints(s, "batch.seq_start", b, &n);
  b->sequences = (int)n - 1;
  b->positions = b->seq_start[b->sequences];
  b->time = hours(s, "batch.time_hours", b);
  b->end_time = hours(s, "batch.end_hours", b);
  b->outcome_first = hours(s, "batch.first_hours", b);
  b->time_feature = floats(s, "batch.time_feature", b, NULL);
  b->rope_index = floats(s, "batch.rope_index", b, NULL);
  b->rope_time = floats(s, "batch.rope_time", b, NULL);
  b->gap_days = floats(s, "batch.gap_days", b, NULL);
  b->tail_days = floats(s, "batch.tail_days", b, NULL);
  b->entry_id = ints(s, "batch.entry_id", b, &n);
  b->entries = (int)n;
  b->entry_start = ints(s, "batch.entry_start", b, NULL);
  b->entry_weight = floats(s, "batch.entry_weight", b, NULL);
  b->target_id = ints(s, "batch.target_id", b, &n);
  b->targets = (int)n;
  b->target_start = ints(s, "batch.target_start", b, NULL);
  b->target_knot = floats(s, "batch.target_knot", b, NULL);
  int32_t *label = ints(s, "batch.labels", b, &labels);
  struct sequence_label *l = fixture_array(b, labels / 3, sizeof *l);
  for (size_t i = 0; i < labels / 3; i++) {
    int of = label[3 * i];
    l[i] = (struct sequence_label){of, label[3 * i + 1], b->seq_start[of + 1] - b->seq_start[of], 1, label[3 * i + 2] != 0};
  }
  *o = (struct loss_options){.w_rates = number(s, "w_rates"),
                             .w_time = number(s, "w_time"),
                             .w_value = number(s, "w_value"),
                             .w_hazard = number(s, "w_hazard"),
                             .w_task = number(s, "w_task"),
                             .scale = number(s, "w_scale"),
                             .task_scale = number(s, "w_task_scale"),
                             .label = l,
                             .labels = (int)(labels / 3)};
}

/* Within 1e-4 of the largest value of the tensor, and of each value itself where that is larger. */
static void close_to(const char *what, const float *have, const float *want, size_t n) {
  double most = 0;
  for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)want[i]));
  for (size_t i = 0; i < n; i++)
    if (!(fabs((double)have[i] - (double)want[i]) <= 1e-4 * fmax(most, 1e-2)))
      fail_msg("%s[%zu]: %.7g instead of %.7g", what, i, (double)have[i], (double)want[i]);
}

static void check_fixture(const char *name) {
  char path[256], key[128];
  struct error e = {0};
  struct safetensors *s;
  struct model *m;
  struct model_workspace *w;
  struct token_batch b;
  struct loss_options o;
  struct loss_sums l;
  const struct kernel *all[8];
  snprintf(path, sizeof path, "tests/model/fixtures/%s.safetensors", name);
  if (safetensors_open(path, &s, &e) < 0) fail_msg("%s cannot be read (the tests run in the repository's root)", path);
  struct model_config c = read_config(s);
  assert_int_equal(model_build(&c, NULL, tasks, 2, 1, &m, &e), OK);
  fixture_knots(m);
  for (int i = 0; i < m->tensors; i++) {
    snprintf(key, sizeof key, "weight.%s", m->tensor[i].name);
    const struct safetensors_tensor *t = safetensors_find(s, key);
    if (!t) fail_msg("fixture without %s", key);
    assert_int_equal(safetensors_floats(t, m->weight + m->tensor[i].at, m->tensor[i].n, &e), OK);
  }
  read_batch(s, &b, &o);
  assert_int_equal(model_workspace_new(m, 32, true, &w, &e), OK);
  float *gradient = mem_alloc_aligned(m->floats * sizeof *gradient), *rate = malloc((size_t)b.positions * FIX_CODES * sizeof *rate);
  int columns = kernel_all(all);
  for (int k = 0; k < columns; k++) {
    if (all[k]->reduced) continue;
    model_set_kernel(m, all[k]);
    memset(gradient, 0, m->floats * sizeof *gradient);
    assert_int_equal(model_loss(m, w, &b, &o, gradient, &l, &e), OK);
    close_to("hidden", model_hidden(w), floats(s, "expect.hidden", &b, NULL), (size_t)b.positions * (size_t)c.d);
    model_rates_rows(m, w, b.positions, model_hidden(w), rate);
    close_to("log rate", rate, floats(s, "expect.log_rate", &b, NULL), (size_t)b.positions * FIX_CODES);
    float sums[] = {(float)l.rates, (float)l.time, (float)l.value, (float)l.hazard, (float)l.task, (float)l.objective};
    float *want = floats(s, "expect.losses", &b, NULL);
    for (int i = 0; i < 6; i++) close_to("loss", &sums[i], &want[i], 1);
    for (int i = 0; i < m->tensors; i++) {
      size_t n;
      snprintf(key, sizeof key, "gradient.%s", m->tensor[i].name);
      float *g = floats(s, key, &b, &n);
      assert_int_equal(n, m->tensor[i].n);
      close_to(key, gradient + m->tensor[i].at, g, n);
    }
  }
  free(rate);
  mem_free_aligned(gradient, m->floats * sizeof *gradient);
  fixture_release(&b);
  model_workspace_free(w);
  model_free(m);
  safetensors_close(s);
}

static void test_rope_swiglu(void **state) {
  (void)state;
  check_fixture("rope-swiglu");
}
static void test_layer_gelu(void **state) {
  (void)state;
  check_fixture("layer-gelu");
}
static void test_time_window(void **state) {
  (void)state;
  check_fixture("time-window");
}

int main(void) {
  thread_fast_float();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rope_swiglu), cmocka_unit_test(test_layer_gelu),
                                     cmocka_unit_test(test_time_window)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
