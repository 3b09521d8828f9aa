/* Training end to end: it learns, the same seed gives the same bits, a stopped run goes on to the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "model/train_internal.h"
#include "model/task_trees.h"
#include "model/task_wide.h"
#include "model/train_examples.h"
#include "train_fixture.h"

static struct trained x;
static const struct task *tasks[1];

static int setup(void **state) {
  (void)state;
  trained_open(&x, 240);
  tasks[0] = x.task;
  return 0;
}

static int teardown(void **state) {
  (void)state;
  trained_close(&x);
  return 0;
}

static void weights_hash(const char *dir, char hex[65]) {
  char path[256];
  uint8_t sum[32];
  snprintf(path, sizeof path, "%s/model.safetensors", dir);
  OKAY(sha256_file(path, sum, e));
  hash_hex(sum, 32, hex);
}

static void train_to(const struct train_options *o, char hex[65], struct train_result *r) {
  OKAY(model_train(o, x.store, r, e));
  weights_hash(o->dir, hex);
}

static void test_same_seed_same_bits(void **state) {
  (void)state;
  struct train_result r;
  for (int threads = 1; threads <= 2; threads++) {
    struct train_options o;
    char a[65], b[65], c[65], other[128];
    small_options(&o, &x, tasks);
    o.threads = threads;
    train_to(&o, a, &r);
    snprintf(other, sizeof other, "%s/again-%d", x.root, threads);
    o.dir = other;
    train_to(&o, b, &r);
    assert_string_equal(a, b);
    o.seed = 2;
    train_to(&o, c, &r);
    assert_string_not_equal(a, c);
  }
}

/* The lanes decide the bits: threads, recomputed activations and where a run was interrupted do not. */
static void test_lanes_same_bits(void **state) {
  (void)state;
  struct train_result r;
  struct train_options o;
  char one[65], other[65], fewer[65], dir[128];
  small_options(&o, &x, tasks);
  o.lanes = 4;
  train_to(&o, one, &r);
  double loss = r.loss, tuning = r.tuning_loss;
  for (int threads = 2; threads <= 6; threads += 1 + (threads == 4)) {
    snprintf(dir, sizeof dir, "%s/lanes-%d", x.root, threads);
    o.dir = dir;
    o.threads = threads;
    o.recompute = threads == 3;
    train_to(&o, other, &r);
    assert_string_equal(one, other);
    assert_true(r.loss == loss && r.tuning_loss == tuning);
  }
  o.lanes = 3;
  train_to(&o, fewer, &r);
  assert_string_not_equal(one, fewer);
}

/* Smaller micro-batches: the same sums in another order, so nearly the same gradient; and the step really is cut up. */
static double first_norm;
static void note_norm(struct train_run *r) {
  double square = 0;
  for (size_t i = 0; i < (r->m->floats + TRAIN_BLOCK - 1) / TRAIN_BLOCK; i++) square += r->square[i];
  if (r->step == 1) first_norm = sqrt(square);
}
static void test_accumulation(void **state) {
  (void)state;
  struct train_result r;
  struct train_options o;
  small_options(&o, &x, NULL);
  o.config.context = 64;
  o.config.dropout = 0;
  o.weight_hazard = 0; /* which positions it looks at depends on the micro-batch */
  o.batch_positions = 1000;
  o.epochs = 0.1;
  double norm[2];
  train_step_hook = note_norm;
  for (int i = 0; i < 2; i++) {
    o.micro_positions = i ? 64 : 1024;
    OKAY(model_train(&o, x.store, &r, e));
    norm[i] = first_norm;
  }
  train_step_hook = NULL;
  assert_true(norm[0] > 0 && norm[0] != norm[1] && fabs(norm[0] - norm[1]) < 1e-4 * norm[0]);
}

static void test_learns(void **state) {
  (void)state;
  struct train_options o;
  struct train_result first, r;
  struct model *m;
  small_options(&o, &x, tasks);
  o.epochs = 0.05;
  OKAY(model_train(&o, x.store, &first, e));
  o.epochs = 12;
  o.lr = 3e-3f;
  OKAY(model_train(&o, x.store, &r, e));
  assert_true(r.loss < first.loss - 0.3);
  assert_true(r.tuning_loss < first.tuning_loss);
  assert_true(r.loss_task < 0.55);
  OKAY(model_load(o.dir, &m, e));
  const struct model_task *t = model_task_find(m, "death");
  assert_non_null(t);
  assert_non_null(model_task_features(t));
  assert_string_equal(model_task_json(t), task_text(x.task));
  assert_true(t->tuning_auroc > 0.8);
  assert_true(t->blend_deep >= 0 && t->blend_wide >= 0);
  assert_int_equal(t->blend_fitted, t->tuning_yes >= 20);
  model_free(m);
}

static void say_finding(void *ctx, const char *text) {
  (void)ctx;
  fail_msg("%s", text);
}

static double tuning_loss_of(const struct model_task *t) {
  struct task_binding *b;
  struct task_examples found;
  struct arena a;
  struct feature_set *f;
  double loss = 0;
  arena_init(&a, 0, 0);
  OKAY(task_bind(x.task, x.store, &b, e));
  OKAY(task_label_all(b, x.store, SPLIT_TUNING, 0, &a, &found, e));
  OKAY(feature_set_copy(model_task_features(t), x.store, &f, e));
  float *row = calloc(feature_count(f), sizeof *row);
  for (uint32_t i = 0; i < found.n; i++) {
    struct timeline_view v = timeline_view(x.store, found.at[i].subject_index);
    feature_row(f, x.store, &v, found.at[i].events, found.at[i].time, row);
    double z = table_logit(t, row);
    loss += log1p(exp(found.at[i].label == LABEL_YES ? -z : z));
  }
  free(row);
  feature_set_free(f);
  task_binding_free(b);
  arena_free(&a);
  return loss;
}

/* The table learns from tuning patients too; blend, strength and thresholds stay; a threshold that was not there is NaN. */
static void test_refit(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct model *before, *after;
  char dir[128];
  struct model_threshold threshold[1][MODEL_THRESHOLDS] = {{{"event1", 0.25}}};
  small_options(&o, &x, tasks);
  snprintf(dir, sizeof dir, "%s/refit", x.root);
  o.dir = dir, o.epochs = 1;
  OKAY(model_train(&o, x.store, &r, e));
  OKAY(model_load(dir, &before, e));
  struct refit_options again = {
      .dir = dir, .store = x.store, .tasks = tasks, .n_tasks = 1, .threads = 2, .seed = 1, .threshold = threshold};
  OKAY(model_refit(&again, e));
  OKAY(model_verify(dir, say_finding, NULL, e));
  OKAY(model_load(dir, &after, e));
  const struct model_task *a = model_task_find(before, "death"), *b = model_task_find(after, "death");
  assert_true(a->columns == b->columns && a->l2 == b->l2 && a->blend_deep == b->blend_deep && a->blend_wide == b->blend_wide);
  assert_true(a->tuning_auroc == b->tuning_auroc);
  assert_true(model_task_threshold(b, "event1") == 0.25);
  assert_true(isnan(model_task_threshold(a, "event1")) && isnan(model_task_threshold(b, "utility2019")));
  assert_true(tuning_loss_of(b) < tuning_loss_of(a));
  model_free(before);
  model_free(after);
}

/* How likely the table finds the training and tuning examples, on the mean, against how many of them it was. */
static double table_excess(const struct trained *of, const struct model_task *t) {
  struct arena a;
  double excess = 0;
  uint32_t n = 0;
  arena_init(&a, 0, 0);
  OKAY(feature_set_bind(t->features, of->store, e));
  float *row = arena_array(&a, float, t->columns + 1u);
  for (int split = 0; split < 2; split++) {
    struct labelled l;
    OKAY(label_split(of->store, of->task, split ? SPLIT_TUNING : SPLIT_TRAIN, &a, &l, e));
    for (uint32_t i = 0; i < l.n; i++, n++) {
      struct timeline_view v = timeline_view(of->store, l.at[i].subject_index);
      feature_row(t->features, of->store, &v, l.at[i].events, l.at[i].time, row);
      excess += 1 / (1 + exp(-table_logit(t, row))) - l.y[i];
    }
  }
  arena_free(&a);
  return excess / n;
}

/* Where controls are too many to keep, those that stay are fewer than they are among people; no probability may show it. */
static void test_thinned_controls_keep_the_rate(void **state) {
  (void)state;
  struct trained many;
  struct train_options o;
  struct train_result r;
  struct model *m;
  char dir[128];
  double linear = train_linear_cells, trees = train_trees_cells;
  trained_open(&many, 600);
  const struct task *of_many[1] = {many.task};
  small_options(&o, &many, of_many);
  snprintf(dir, sizeof dir, "%s/thinned", many.root);
  o.dir = dir, o.epochs = 0.2;
  for (int step = 0; step < 3; step++) { /* all of them; a share; the share of the refit */
    struct refit_options again = {.dir = dir, .store = many.store, .tasks = of_many, .n_tasks = 1, .threads = 2, .seed = 1};
    if (step < 2)
      OKAY(model_train(&o, many.store, &r, e));
    else
      OKAY(model_refit(&again, e));
    OKAY(model_load(dir, &m, e));
    const struct model_task *t = model_task_find(m, "death");
    assert_non_null(t->trees);
    double excess = table_excess(&many, t), cells = (double)t->columns * (double)t->yes;
    if (!(fabs(excess) < 0.015)) fail_msg("step %d: the table is %+.3f off", step, excess);
    train_trees_cells = 2.1 * cells, train_linear_cells = 1.6 * cells;
    model_free(m);
  }
  train_linear_cells = linear, train_trees_cells = trees;
  trained_close(&many);
}

/* A head whose task names other targets: the last fit is taught as the first was, and probabilities stay calibrated. */
static void test_auxiliary_targets(void **state) {
  (void)state;
  static const char text[] =
      "{\"name\": \"death\", \"trigger\": {\"code\": [\"DISCHARGE\"]}, \"target\": {\"any\": [\"MEDS_DEATH\"]}, \"horizon\": \"record\","
      " \"auxiliary\": [{\"horizon\": \"15d\"}, {\"target\": {\"any\": [\"NEVER\"]}, \"horizon\": \"1d\"}, {\"horizon\": \"10d\"}]}";
  struct trained many;
  struct train_options o;
  struct train_result r;
  struct model *m;
  char dir[128], bad[160];
  trained_open(&many, 1200);
  task_free(many.task);
  OKAY(task_parse(text, sizeof text - 1, &many.task, e));
  const struct task *of_many[1] = {many.task};
  small_options(&o, &many, of_many);
  snprintf(dir, sizeof dir, "%s/auxiliary", many.root);
  o.dir = dir, o.epochs = 0.2;
  OKAY(model_train(&o, many.store, &r, e));
  bool taught = false;
  uint32_t rounds = 0;
  for (int step = 0; step < 2; step++) {
    struct refit_options again = {.dir = dir, .store = many.store, .tasks = of_many, .n_tasks = 1, .threads = 2, .seed = 1};
    if (step) OKAY(model_refit(&again, e));
    OKAY(model_load(dir, &m, e));
    const struct model_task *t = model_task_find(m, "death");
    if (step) assert_true(t->trees->taught == taught && t->trees->rounds == rounds && t->trees->trees == 16 * rounds);
    taught = t->trees->taught, rounds = t->trees->rounds;
    double excess = table_excess(&many, t);
    if (!(fabs(excess) < 0.015)) fail_msg("step %d: the table is %+.3f off", step, excess);
    model_free(m);
  }
  struct arena a;
  struct str json;
  arena_init(&a, 0, 0);
  snprintf(bad, sizeof bad, "%s/tasks/death.json", dir);
  OKAY(file_read(&a, bad, 64 << 20, &json, e));
  char *copy = arena_strndup(&a, json.p, json.n), *at = strstr(copy, "{\"format\":3,");
  assert_non_null(at);
  at[strlen("{\"format\":")] = '4'; /* a program that had trees of each target wrote this */
  struct model_task head = {.name = "death"};
  struct error refused = {0};
  OKAY(file_write_atomic(bad, copy, json.n, 0644, e));
  assert_int_equal(model_task_read(&head, bad, &refused), E_VERSION);
  model_task_release(&head);
  arena_free(&a);
  trained_close(&many);
}

static int64_t stop_at = -1;
static void stop_run(struct train_run *r) {
  if (r->step == stop_at) cancel_set(1);
}

static void test_resume_same_bits(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  char whole[65], parts[65], other[128];
  small_options(&o, &x, tasks);
  o.threads = 2;
  o.epochs = 1.5; /* across an epoch's end */
  train_to(&o, whole, &r);
  int64_t steps = r.steps;
  assert_true(steps > 12);
  snprintf(other, sizeof other, "%s/parts", x.root);
  o.dir = other;
  train_step_hook = stop_run;
  for (stop_at = 3; stop_at < steps; stop_at += 5) {
    struct error e = {0};
    cancel_set(0);
    assert_int_equal(model_train(&o, x.store, &r, &e), E_CANCELLED);
    assert_int_equal(r.steps, stop_at);
    o.resume = true;
    o.threads = 1 + (int)(stop_at % 3); /* the lanes stay what they were */
    o.lr = 77;                          /* a resumed run keeps its own options */
  }
  stop_at = -1;
  cancel_set(0);
  train_to(&o, parts, &r);
  train_step_hook = NULL;
  assert_int_equal(r.steps, steps);
  assert_string_equal(whole, parts);
  train_to(&o, parts, &r); /* done: nothing more to do */
  assert_string_equal(whole, parts);
}

/* Reduced products keep the promise too: threads, recomputed activations and an interruption decide nothing. */
static void test_reduced_same_bits(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct error e = {0};
  char plain[65], one[65], other[65], dir[128];
  small_options(&o, &x, tasks);
  o.lanes = 4;
  train_to(&o, plain, &r);
  double loss = r.tuning_loss;
  o.bf16 = true;
  train_to(&o, one, &r);
  if (kernel_pick(KERNEL_AUTO, KERNEL_REDUCED)->reduced) assert_string_not_equal(plain, one);
  assert_true(fabs(r.tuning_loss - loss) < 0.01 * loss);
  for (int threads = 2; threads <= 3; threads++) {
    snprintf(dir, sizeof dir, "%s/reduced-%d", x.root, threads);
    o.dir = dir, o.threads = threads, o.recompute = threads == 3, o.resume = false;
    train_step_hook = stop_run, stop_at = 2;
    assert_int_equal(model_train(&o, x.store, &r, &e), E_CANCELLED);
    train_step_hook = NULL, stop_at = -1;
    cancel_set(0);
    o.resume = true;
    train_to(&o, other, &r);
    assert_string_equal(one, other);
  }
}

static void test_seconds_decide_length(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  small_options(&o, &x, NULL);
  o.epochs = 1000;
  o.seconds = 0.5;
  OKAY(model_train(&o, x.store, &r, e));
  assert_true(r.steps >= 9 && r.steps < 1000000);
}

/* Nine outcomes and a head of one dimension: its hazards start from the rates, and the choice is kept; of four dimensions: a head of its own. */
static void test_many_outcomes_start_from_rates(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct model *m;
  char dir[128];
  snprintf(dir, sizeof dir, "%s/many", x.root);
  for (int rank = 1; rank <= 4; rank += 3) {
    small_options(&o, &x, NULL);
    o.dir = dir;
    o.config.hazard_rank = rank, o.epochs = 0.1;
    OKAY(model_train(&o, x.store, &r, e));
    OKAY(model_load(dir, &m, e));
    assert_int_equal(model_config(m)->outcomes, 9);
    assert_int_equal(model_config(m)->hazard_rates, rank == 1);
    model_free(m);
  }
}

static void test_fine_tune(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct model *a, *b;
  char base[128], tuned[128];
  snprintf(base, sizeof base, "%s/base", x.root);
  snprintf(tuned, sizeof tuned, "%s/tuned", x.root);
  small_options(&o, &x, NULL);
  o.dir = base;
  OKAY(model_train(&o, x.store, &r, e));
  o.init = base;
  o.dir = tuned;
  o.tasks = tasks, o.n_tasks = 1;
  o.lr = 1e-9f, o.lr_min = 0, o.epochs = 0.01;
  OKAY(model_train(&o, x.store, &r, e));
  OKAY(model_load(base, &a, e));
  OKAY(model_load(tuned, &b, e));
  const struct tensor *ta = model_tensor(a, "block.0.qkv.weight"), *tb = model_tensor(b, "block.0.qkv.weight");
  for (size_t i = 0; i < ta->n; i++) assert_true(fabsf(a->weight[ta->at + i] - b->weight[tb->at + i]) < 1e-6f);
  assert_int_equal(model_tasks(a), 0);
  assert_int_equal(model_tasks(b), 1);
  model_free(a);
  model_free(b);
}

static void test_divergence_keeps_checkpoint(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct error why = {0};
  struct model *m;
  char dir[128];
  snprintf(dir, sizeof dir, "%s/diverge", x.root);
  small_options(&o, &x, NULL);
  o.dir = dir;
  OKAY(model_train(&o, x.store, &r, e));
  o.lr = 1e38f;
  o.epochs = 3;
  assert_int_equal(model_train(&o, x.store, &r, &why), E_CORRUPT);
  OKAY(model_load(dir, &m, e));
  model_free(m);
}

static void test_wrong_use(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct error e = {0};
  small_options(&o, &x, NULL);
  o.column = "abacus";
  assert_int_equal(model_train(&o, x.store, &r, &e), E_USAGE);
  o.column = NULL;
  o.epochs = 0;
  assert_int_equal(model_train(&o, x.store, &r, &e), E_USAGE);
}

/* Few tuning cases: the blend is drawn towards usual weights but not nailed to them. A deep part that shouts nonsense must lose against a
 * wide part that is right, more so with every case, and the answer on fresh people must be better ordered than by fixed weights. */
static double blend_world(struct rng *r, uint32_t n, double *deep, double *wide, uint8_t *y) {
  uint32_t yes = 0;
  for (uint32_t i = 0; i < n; i++) {
    wide[i] = 1.2 * rng_normal(r) - 1.5;
    deep[i] = 4 * rng_normal(r);
    yes += y[i] = rng_uniform(r) < 1 / (1 + exp(-wide[i]));
  }
  return yes;
}

static double blend_auroc(double a, double b, uint32_t n, const double *deep, const double *wide, const uint8_t *y) {
  double *z = calloc(n, sizeof *z);
  for (uint32_t i = 0; i < n; i++) z[i] = a * deep[i] + b * wide[i];
  double out = auroc(z, y, n);
  free(z);
  return out;
}

static void test_few_cases_shrink_the_blend(void **state) {
  (void)state;
  enum { FRESH = 4000 };
  static double deep[FRESH], wide[FRESH], few_deep[400], few_wide[400];
  static uint8_t y[FRESH], few_y[400];
  struct rng r;
  double last = 0.3;
  rng_init(&r, 4, 4);
  blend_world(&r, FRESH, deep, wide, y);
  blend_world(&r, 400, few_deep, few_wide, few_y);
  for (uint32_t wanted = 1; wanted <= 16; wanted *= 4) {
    struct model_task t = {0};
    double d[400], w[400];
    uint8_t label[400];
    uint32_t n = 0, yes = 0;
    for (uint32_t i = 0; i < 400; i++) { /* all controls, so many cases */
      if (few_y[i] && yes == wanted) continue;
      yes += few_y[i];
      d[n] = few_deep[i], w[n] = few_wide[i], label[n++] = few_y[i];
    }
    blend_fit(&t, d, w, label, NULL, n, 1);
    assert_false(t.blend_fitted);
    assert_int_equal(t.tuning_yes, wanted);
    assert_true(t.blend_deep < last);
    last = t.blend_deep;
    assert_true(blend_auroc(t.blend_deep, t.blend_wide, FRESH, deep, wide, y) > blend_auroc(0.5, 0.5, FRESH, deep, wide, y));
  }
  struct model_task all = {0}, none = {0};
  blend_fit(&all, few_deep, few_wide, few_y, NULL, 400, 1);
  assert_true(all.blend_fitted && all.blend_deep < 0.1 && all.blend_wide > 4 * all.blend_deep);
  memset(few_y, 0, sizeof few_y); /* nobody: nothing can be learned */
  blend_fit(&none, few_deep, few_wide, few_y, NULL, 400, 1);
  assert_true(!none.blend_fitted && fabs(none.blend_deep - 0.2) < 1e-9 && none.blend_wide == 0.85 && none.blend_bias == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_few_cases_shrink_the_blend),
                                     cmocka_unit_test(test_same_seed_same_bits),
                                     cmocka_unit_test(test_lanes_same_bits),
                                     cmocka_unit_test(test_accumulation),
                                     cmocka_unit_test(test_learns),
                                     cmocka_unit_test(test_refit),
                                     cmocka_unit_test(test_auxiliary_targets),
                                     cmocka_unit_test(test_thinned_controls_keep_the_rate),
                                     cmocka_unit_test(test_resume_same_bits),
                                     cmocka_unit_test(test_reduced_same_bits),
                                     cmocka_unit_test(test_seconds_decide_length),
                                     cmocka_unit_test(test_many_outcomes_start_from_rates),
                                     cmocka_unit_test(test_fine_tune),
                                     cmocka_unit_test(test_divergence_keeps_checkpoint),
                                     cmocka_unit_test(test_wrong_use)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
