/* Truth tests: patients with known hazards. The simulator keeps its own promises (what happens agrees with the risks it states, with ties,
 * censoring and informative missingness); a model trained on its records finds hazard curves, calibration and discrimination again,
 * within tolerances that hold for this small size. The full size is bench/run-simulator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/time.h"
#include "deid/event_make.h"
#include "model/model.h"
#include "predict/predict.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "validate/simulate.h"
#include "validate/truth.h"

#define OKAY(call)                                      \
  do {                                                  \
    struct error okay_e_ = {0};                         \
    struct error *e = &okay_e_;                         \
    if ((call) < 0) {                                   \
      error_print(stderr, e);                           \
      fail_msg("%s:%d: %s", __FILE__, __LINE__, #call); \
    }                                                   \
  } while (0)

#define BASE                                                                                                            \
  "\"name\": \"test\", \"age\": {\"mean\": 60, \"sd\": 10, \"least\": 30, \"most\": 80}, \"history\": {\"visits\": 2, " \
  "\"every\": \"90d\"}, \"follow_up\": {\"every\": \"120d\", \"most\": \"3y\", \"end_code\": \"SIM//END\"},"            \
  "\"horizons_days\": [90, 180, 365, 730]"

/* Everything that the simulator knows: ties (whole days), censoring by what one is, missing because high, treatment because high, death. */
static const char hard[] =
    "{" BASE
    ", \"factors\": [{\"code\": \"SIM//DIABETES\", \"share\": 0.3}],"
    "\"markers\": [{\"code\": \"SIM//CRP\", \"mean\": 20, \"sd\": 5, \"memory\": 0.6, \"measured\": 0.5, \"measured_log_odds\": 1.5},"
    "{\"code\": \"SIM//LDL\", \"mean\": 120, \"sd\": 30, \"measured\": 0.7}],"
    "\"treatments\": [{\"code\": \"SIM//STATIN\", \"share\": 0.4, \"log_odds\": {\"SIM//CRP\": 1.0}}],"
    "\"censoring\": {\"rate_per_year\": 0.3, \"log_ratio\": {\"SIM//CRP\": 0.7}},"
    "\"outcomes\": [{\"code\": \"SIM//STROKE\", \"edges_days\": [0, 200], \"rate_per_year\": [0.5, 0.2], \"log_ratio\": {\"SIM//CRP\": "
    "0.8, "
    "\"SIM//CRP * SIM//DIABETES\": 0.4, \"SIM//STATIN\": -0.7, \"age\": 0.3}},"
    "{\"code\": \"MEDS_DEATH\", \"rate_per_year\": [0.4], \"log_ratio\": {\"SIM//LDL\": 0.6, \"female\": -0.5}}]}";

/* Easy to learn, so that a small model finds it in seconds. */
static const char easy[] = "{" BASE
                           ", \"factors\": [{\"code\": \"SIM//DIABETES\", \"share\": 0.4}],"
                           "\"markers\": [{\"code\": \"SIM//LDL\", \"mean\": 120, \"sd\": 30, \"memory\": 0.9}],"
                           "\"outcomes\": [{\"code\": \"SIM//STROKE\", \"rate_per_year\": [0.4], \"log_ratio\": {\"SIM//LDL\": 0.9, "
                           "\"SIM//DIABETES\": 0.8}},"
                           "{\"code\": \"MEDS_DEATH\", \"rate_per_year\": [0.25], \"log_ratio\": {\"age\": 0.6, \"SIM//LDL\": -0.3}}]}";

static struct scenario *parse(const char *text) {
  struct scenario *s;
  OKAY(scenario_parse(text, strlen(text), &s, e));
  return s;
}

static void scenario_files_are_strict(void **state) {
  (void)state;
  static const char *const bad[] = {
      "{",
      "[]",
      "{\"name\": \"x\"}",
      "{" BASE ", \"outcomes\": [{\"code\": \"A\", \"rate_per_year\": [-1]}]}",
      "{" BASE ", \"outcomes\": [{\"code\": \"A\", \"rate_per_year\": [1], \"log_ratio\": {\"NOBODY\": 1}}]}",
      "{" BASE ", \"outcomes\": [{\"code\": \"A\", \"edges_days\": [0, 9, 5], \"rate_per_year\": [1, 1, 1]}]}",
      "{" BASE ", \"outcome\": []}",
      "{" BASE ", \"outcomes\": [{\"code\": \"A,B\", \"rate_per_year\": [1]}]}",
      "{" BASE ", \"markers\": [{\"code\": \"M\", \"mean\": 0, \"sd\": 0}], \"outcomes\": [{\"code\": \"A\", \"rate_per_year\": [1]}]}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct scenario *s;
    struct error e = {0};
    assert_int_equal(scenario_parse(bad[i], strlen(bad[i]), &s, &e), E_INPUT);
    assert_true(e.message[0] != 0);
  }
  struct scenario *s;
  char path[4096];
  static const char *const shipped[] = {"scenarios/competing.json", "scenarios/constant.json"};
  for (int i = 0; i < 2; i++) {
    OKAY(file_join(path, sizeof path, file_data_dir(), shipped[i], e));
    OKAY(scenario_load(path, &s, e));
    scenario_free(s);
  }
}

/* Sum over persons of (happened - risk), in its own standard errors. */
struct score {
  double off, variance;
};
static void add_score(struct score *x, double happened, double risk) { x->off += happened - risk, x->variance += risk * (1 - risk); }
static double z_of(const struct score *x) { return x->off / sqrt(x->variance); }

static void what_happens_agrees_with_the_risks(void **state) {
  (void)state;
  enum { N = 20000 };
  struct scenario *s = parse(hard);
  struct simulated_life life = {0};
  struct score all[2][4] = {{{0}}}, full[2][4] = {{{0}}}, unmeasured[2] = {{0}}, treated = {0}, high = {0};
  uint32_t ties = 0, missing = 0, cut = 0;
  for (int i = 1; i <= N; i++) {
    OKAY(simulate_life(s, 11, (uint64_t)i, &life, e));
    const struct simulated_truth *t = &life.truth;
    bool measured = false, stroke = false, end = false;
    for (int k = 0; k < life.n; k++) {
      const struct simulated_event *v = &life.event[k];
      assert_true(k == 0 || life.event[k - 1].time <= v->time);
      measured |= v->time == t->index && strcmp(v->code, "SIM//CRP") == 0;
      stroke |= strcmp(v->code, "SIM//STROKE") == 0;
      end |= strcmp(v->code, "SIM//END") == 0;
      ties += k > 0 && v->time > t->index && v->time == life.event[k - 1].time && strcmp(life.event[k - 1].code, "MEDS_DEATH") == 0;
    }
    missing += !measured;
    cut += end && isfinite(t->happened[0]) && !stroke; /* it came after the record's end: the truth still knows */
    for (int k = 0; k < 2; k++)
      for (int h = 0; h < 4; h++) {
        bool happened = t->happened[k] <= scenario_horizon(s, h);
        assert_true(t->risk[k][h] > 0 && t->risk[k][h] < 1 && (h == 0 || t->risk[k][h] >= t->risk[k][h - 1]));
        add_score(&all[k][h], happened, t->risk[k][h]);
        add_score(&full[k][h], happened, t->full[k][h]);
        if (h != 2) continue;
        if (!measured) add_score(&unmeasured[k], happened, t->risk[k][h]);
        if (k == 0 && t->treated) add_score(&treated, happened, t->with_treatment[k][h]);
        if (k == 0 && t->risk[k][h] > 0.4) add_score(&high, happened, t->risk[k][h]);
      }
    assert_true(t->without[0][2] > t->with_treatment[0][2]); /* the treatment helps */
  }
  for (int k = 0; k < 2; k++)
    for (int h = 0; h < 4; h++) assert_true(fabs(z_of(&all[k][h])) < 4), assert_true(fabs(z_of(&full[k][h])) < 4);
  for (int k = 0; k < 2; k++) assert_true(fabs(z_of(&unmeasured[k])) < 4);
  assert_true(fabs(z_of(&treated)) < 4);
  assert_true(fabs(z_of(&high)) < 4);
  assert_true(missing > N / 5 && missing < N * 4 / 5);
  assert_true(ties > 0);
  assert_true(cut > 100);
  simulated_life_release(&life);
  scenario_free(s);
}

static void the_same_seed_makes_the_same_life(void **state) {
  (void)state;
  struct scenario *s = parse(hard);
  struct simulated_life a = {0}, b = {0}, c = {0};
  OKAY(simulate_life(s, 5, 77, &a, e));
  OKAY(simulate_life(s, 5, 77, &b, e));
  OKAY(simulate_life(s, 6, 77, &c, e));
  assert_int_equal(a.n, b.n);
  for (int k = 0; k < a.n; k++) assert_true(a.event[k].time == b.event[k].time && strcmp(a.event[k].code, b.event[k].code) == 0);
  assert_true(memcmp(&a.truth, &b.truth, sizeof a.truth) == 0);
  assert_true(c.n != a.n || c.truth.index != a.truth.index);
  simulated_life_release(&a), simulated_life_release(&b), simulated_life_release(&c);
  scenario_free(s);
}

static void a_directory_is_written_once(void **state) {
  (void)state;
  char root[] = "/tmp/vitae-simulate-XXXXXX", dir[64], path[96];
  struct scenario *s = parse(easy);
  struct simulate_counts counts;
  struct error e2 = {0};
  assert_non_null(mkdtemp(root));
  snprintf(dir, sizeof dir, "%s/out", root);
  progress_mode(PROGRESS_QUIET);
  OKAY(simulate_write(s, dir, 50, 1, &counts, e));
  assert_true(counts.events > 50 * 4 && counts.outcomes[0] > 0);
  assert_int_equal(simulate_write(s, dir, 50, 1, &counts, &e2), E_USAGE);
  struct task *task;
  snprintf(path, sizeof path, "%s/tasks/sim-stroke-365d.json", dir);
  OKAY(task_load(path, &task, e));
  assert_string_equal(task_name(task), "sim-stroke-365d");
  task_free(task);
  OKAY(file_remove_tree(root, e));
  scenario_free(s);
}

/* ---- a model learns it ---- */

enum { LEARN = 3000, HELD = 1500 };

static void fill(struct timeline_writer *w, const struct scenario *s, int from, int to) {
  struct simulated_life life = {0};
  for (int i = from; i <= to; i++) {
    OKAY(simulate_life(s, 7, (uint64_t)i, &life, e));
    for (int k = 0; k < life.n; k++) {
      const struct simulated_event *v = &life.event[k];
      struct event ev = {.subject = i, .time = v->time, .code = str_c(v->code), .value = (float)v->value};
      OKAY(timeline_append(w, &ev, e));
    }
  }
  simulated_life_release(&life);
}

static void hazards_are_recovered(void **state) {
  (void)state;
  char root[] = "/tmp/vitae-truth-XXXXXX", store[64], run[64];
  struct scenario *s = parse(easy);
  struct timeline_writer *w;
  struct timeline *t;
  struct model *m;
  struct train_options o;
  struct train_result trained;
  struct truth_set set = {0};
  struct truth_result r;
  struct arena a;
  assert_non_null(mkdtemp(root));
  snprintf(store, sizeof store, "%s/timelines", root);
  snprintf(run, sizeof run, "%s/run", root);
  for (int part = 0; part < 2; part++) {
    struct timeline_options to = {.split = part ? SPLIT_ALL_HELD_OUT : SPLIT_TRAIN_TUNING, .split_seed = 3};
    OKAY(timeline_writer_open(store, &to, &w, e));
    fill(w, s, part ? LEARN + 1 : 1, part ? LEARN + HELD : LEARN);
    OKAY(timeline_writer_finish(w, STR("{}"), NULL, NULL, e));
  }
  OKAY(timeline_open(store, &t, e));
  train_defaults(&o);
  OKAY(model_preset("tiny", &o.config, e));
  o.config.layers = 2, o.config.d = 32, o.config.heads = o.config.kv_heads = 2, o.config.ff = 64, o.config.hazard_rank = 8;
  o.dir = run, o.threads = 1, o.batch_positions = 512, o.lr = 4e-3f, o.epochs = 10, o.dropout = 0;
  progress_mode(PROGRESS_QUIET);
  OKAY(model_train(&o, t, &trained, e));
  OKAY(model_load(run, &m, e));
  struct simulated_life life = {0};
  for (int i = LEARN + 1; i <= LEARN + HELD; i++) {
    OKAY(simulate_life(s, 7, (uint64_t)i, &life, e));
    OKAY(truth_add(&set, t, i, &life.truth, e));
  }
  assert_int_equal(set.n, HELD);
  arena_init(&a, 0, 0);
  struct truth_options ask = {.model = m, .store = t, .scenario = s, .set = &set, .threads = 1};
  OKAY(truth_compare(&ask, &a, &r, e));
  for (int k = 0; k < 2; k++) {
    const struct truth_outcome *x = &r.outcome[k];
    const struct truth_horizon *year = &x->at[2];
    assert_true(x->known);
    print_message("%s: curve off by %.1f %%, AUROC %.4f of %.4f, slope %.3f\n", x->code, 100 * x->curve_error, year->auroc_model,
                  year->auroc_ceiling, year->slope);
    assert_true(x->curve_error < 0.10);
    assert_true(year->auroc_model > year->auroc_ceiling - 0.03);
    assert_true(year->auroc_model < year->auroc_ceiling + 1e-9); /* nobody beats the truth */
    assert_true(year->slope > 0.75 && year->slope < 1.3);
  }
  simulated_life_release(&life);
  truth_release(&set);
  arena_free(&a);
  model_free(m);
  timeline_close(t);
  OKAY(file_remove_tree(root, e));
  scenario_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(scenario_files_are_strict), cmocka_unit_test(what_happens_agrees_with_the_risks),
                                     cmocka_unit_test(the_same_seed_makes_the_same_life), cmocka_unit_test(a_directory_is_written_once),
                                     cmocka_unit_test(hazards_are_recovered)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
