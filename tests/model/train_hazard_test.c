/* The last fit of the hazard head: a minimum is found, a head that the steps left wrong is put right by tuning patients' measure, in heads of
 * their own and in those that start from the rates, and nothing else of the model moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/lbfgs.h"
#include "model/train_internal.h"
#include "train_fixture.h"

static struct trained x;
static float *as_trained; /* the weights when the steps were done */

static int setup(void **state) {
  (void)state;
  trained_open(&x, 400);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  free(as_trained);
  trained_close(&x);
  return 0;
}

#define N 40
struct bowl {
  int values, stop_after;
};
static double bowl(void *ctx, const double *w, double *g) { /* least at 1, 2, 3 ...; curvatures from 1 to 1000 */
  struct bowl *b = ctx;
  double sum = 0;
  b->values++;
  for (int i = 0; i < N; i++) {
    double c = pow(10, 3.0 * i / (N - 1)), off = w[i] - (i + 1);
    sum += 0.5 * c * off * off;
    g[i] = c * off;
  }
  return sum;
}
static void bowl_inverse(void *ctx, double *g) {
  (void)ctx;
  for (int i = 0; i < N; i++) g[i] /= pow(10, 3.0 * i / (N - 1));
}
static bool bowl_stop(void *ctx, const double *w) {
  struct bowl *b = ctx;
  (void)w;
  return b->stop_after-- > 0;
}
static void test_minimum(void **state) {
  (void)state;
  double *room = calloc(LBFGS_ROOM(N), sizeof *room);
  struct bowl blind = {0}, told = {0}, stopped = {.stop_after = 2};
  double w[N] = {0}, exact[N] = {0}, early[N] = {0};
  assert_non_null(room);
  lbfgs(&(struct lbfgs_problem){.value = bowl, .ctx = &blind}, N, w, room, 500);
  lbfgs(&(struct lbfgs_problem){.value = bowl, .precondition = bowl_inverse, .ctx = &told}, N, exact, room, 500);
  for (int i = 0; i < N; i++) {
    assert_true(fabs(w[i] - (i + 1)) < 0.05);
    assert_true(fabs(exact[i] - (i + 1)) < 1e-6);
  }
  assert_true(told.values <= 4 && blind.values > 10);
  lbfgs(&(struct lbfgs_problem){.value = bowl, .go_on = bowl_stop, .ctx = &stopped}, N, early, room, 500);
  assert_true(stopped.stop_after == -1 && stopped.values < blind.values);
  free(room);
}

static float spoil_by;
static void spoil(struct train_run *r) {
  struct model *m = r->m;
  if (r->step < r->total_steps) return;
  for (size_t i = 0; i < HAZARD_BINS * m->config.outcomes; i++) m->weight[(size_t)m->hazard_bias + i] += i % 2 ? spoil_by : -spoil_by;
  as_trained = realloc(as_trained, m->floats * sizeof *as_trained);
  assert_non_null(as_trained);
  memcpy(as_trained, m->weight, m->floats * sizeof *as_trained);
}

static void test_wrong_head_is_mended(void **state) {
  (void)state;
  for (int from_rates = 0; from_rates < 2; from_rates++) {
    struct train_options o;
    struct train_result good, mended;
    struct model *m;
    small_options(&o, &x, NULL);
    if (from_rates) o.config.hazard_rank = 1; /* more outcomes than it can tell apart */
    o.epochs = 3;
    train_step_hook = spoil;
    spoil_by = 0;
    OKAY(model_train(&o, x.store, &good, e));
    spoil_by = 1.5f;
    OKAY(model_train(&o, x.store, &mended, e));
    train_step_hook = NULL;
    assert_true(good.hazard_after <= good.hazard_before);
    assert_true(mended.hazard_before > good.hazard_before + 0.3);
    assert_true(fabs(mended.hazard_after - good.hazard_after) < 0.02 * good.hazard_after);
    OKAY(model_load(o.dir, &m, e));
    assert_int_equal(m->config.hazard_rates, from_rates);
    size_t moved = 0;
    for (int i = 0; i < m->tensors; i++) {
      const struct tensor *t = &m->tensor[i];
      bool same = memcmp(m->weight + t->at, as_trained + t->at, t->n * sizeof(float)) == 0;
      bool may = strcmp(t->name, "hazard.weight") == 0 || strcmp(t->name, "hazard.bias") == 0;
      assert_true(same || may);
      moved += !same;
    }
    assert_int_equal(moved, 2);
    model_free(m);
  }
}

/* Log hazards (8, outcomes) of a model, the mean over the positions of some lives. */
static void mean_hazards(const struct model *m, double *out) {
  struct model_workspace *w;
  struct token_map *map;
  struct token_batch b;
  size_t n = m->config.outcomes, d = (size_t)m->config.d;
  float *hazard = malloc(n * HAZARD_BINS * sizeof *hazard);
  int rows = 0;
  assert_non_null(hazard);
  memset(out, 0, n * HAZARD_BINS * sizeof *out);
  OKAY(token_map_new(m->vocabulary, x.store, &map, e));
  OKAY(token_batch_init(&b, 0, e));
  OKAY(model_workspace_new(m, m->config.context, false, &w, e));
  for (uint32_t i = 0; i < 40; i++) {
    struct timeline_view view = timeline_view(x.store, i);
    token_batch_clear(&b);
    OKAY(token_pack(m->vocabulary, map, &view, i, view.n, INT64_MIN, &(struct token_options){.context = m->config.context}, &b, e));
    OKAY(model_forward(m, w, &b, NULL, e));
    for (int q = 0; q < b.positions; q++, rows++) {
      model_hazard(m, w, model_hidden(w) + (size_t)q * d, hazard);
      for (size_t k = 0; k < n * HAZARD_BINS; k++) out[k % HAZARD_BINS * n + k / HAZARD_BINS] += (double)hazard[k];
    }
  }
  for (size_t k = 0; k < n * HAZARD_BINS; k++) out[k] /= rows;
  model_workspace_free(w);
  token_batch_release(&b);
  token_map_free(map);
  free(hazard);
}

/* Where hardly anything happened, an outcome's hazards stay near what the others of their stretch move by. */
static void test_rare_events_move_little(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  struct model *m;
  double most = 0;
  small_options(&o, &x, NULL);
  train_step_hook = spoil, spoil_by = 0;
  OKAY(model_train(&o, x.store, &r, e));
  train_step_hook = NULL;
  OKAY(model_load(o.dir, &m, e));
  size_t n = m->config.outcomes;
  double *after = malloc(2 * n * HAZARD_BINS * sizeof *after), *before = after + n * HAZARD_BINS;
  assert_non_null(after);
  mean_hazards(m, after);
  memcpy(m->weight, as_trained, m->floats * sizeof *as_trained);
  mean_hazards(m, before);
  for (size_t b = 0; b < HAZARD_BINS; b++) {
    double all = 0; /* the mean of the stretch */
    for (size_t k = b * n; k < (b + 1) * n; k++) all += (after[k] - before[k]) / (double)n;
    for (size_t k = b * n; k < (b + 1) * n; k++) most = fmax(most, fabs(after[k] - before[k] - all));
  }
  assert_true(most > 0.1 && most < 20); /* unheld, cells without an event go below -100 */
  free(after);
  model_free(m);
}

/* Without hazards in the loss there is nothing to fit. */
static void test_not_asked_for(void **state) {
  (void)state;
  struct train_options o;
  struct train_result r;
  small_options(&o, &x, NULL);
  o.epochs = 0.1, o.weight_hazard = 0;
  OKAY(model_train(&o, x.store, &r, e));
  assert_true(isnan(r.hazard_before) && isnan(r.hazard_after) && isfinite(r.tuning_loss));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_minimum), cmocka_unit_test(test_wrong_head_is_mended),
                                     cmocka_unit_test(test_rare_events_move_little), cmocka_unit_test(test_not_asked_for)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
