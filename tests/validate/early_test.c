/* How early, by hand-computed cases; and leaks that are planted one by one: each must be found, and none where none was planted. */
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
#include "base/random.h"
#include "base/time.h"
#include "deid/event_make.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "validate/lead_time.h"
#include "validate/leaks.h"

#define OKAY(call)                                      \
  do {                                                  \
    struct error okay_e_ = {0};                         \
    struct error *e = &okay_e_;                         \
    if ((call) < 0) {                                   \
      error_print(stderr, e);                           \
      fail_msg("%s:%d: %s", __FILE__, __LINE__, #call); \
    }                                                   \
  } while (0)

static const char text[] =
    "{\"name\": \"t\", \"trigger\": {\"code\": [\"ASK\"], \"which\": \"each\"}, \"new_onset\": true, \"target\": {\"any\": [\"SICK\"]}, "
    "\"horizon\": \"6h\", \"censor\": \"negative\"}";

static struct task *task_of(void) {
  struct task *t;
  OKAY(task_parse(text, strlen(text), &t, e));
  return t;
}

/* Ten patients asked each hour for 10 hours; patients 0 to 4 fall ill at hour 10. Patient 0 scores .9 from hour 5 on, 1 from hour 8; 2 scores .9 at
 * hour 1 only (too early: horizon 6 h); control 5 scores .8 at hours 0 and 1 (one alert, then quiet), control 6 .7 at hour 3. All else .1. */
static void early_by_hand(void **state) {
  (void)state;
  enum { P = 10, H = 10, N = P * H };
  static struct task_example at[N];
  static double p[N], flat[N];
  static uint8_t label[N];
  for (int i = 0; i < P; i++)
    for (int h = 0; h < H; h++) {
      int k = i * H + h;
      bool ill = i < 5, yes = ill && 10 - h <= 6;
      at[k] = (struct task_example){
          .subject_index = (uint32_t)i, .time = h * TIME_HOUR, .label = yes ? LABEL_YES : LABEL_NO, .outcome = 10 * TIME_HOUR};
      label[k] = yes, p[k] = flat[k] = 0.1;
      if (i == 0 && h >= 5) p[k] = 0.9;
      if (i == 1 && h >= 8) p[k] = 0.9;
      if (i == 2 && h == 1) p[k] = 0.9;
      if (i == 5 && h <= 1) p[k] = 0.8;
      if (i == 6 && h == 3) p[k] = 0.7;
    }
  struct task *task = task_of();
  struct validation v = {.n = N, .label = label};
  v.model.probability = p, v.baseline.probability = flat;
  OKAY(lead_time_measure(&(struct validate_options){.task = task}, at, &v, e));
  const struct lead_time *l = &v.lead;
  assert_true(l->measured);
  assert_int_equal(l->patients, P);
  assert_int_equal(l->cases, 5);
  assert_true(fabs(l->patient_days - 100.0 / 24) < 1e-9);
  /* budget 20 per 100 patient-days: 0.83 alerts: not even one of the .9 group (3 alerts) fits */
  assert_true(isinf(l->row[4].model.threshold) && l->row[4].model.flagged.k == 0 && isnan(l->row[4].model.lead_median));
  task_free(task);
  /* asked once a day instead, budgets are met: 100 patient-days, 5 alerts allowed: thresholds .9 (3), .8 (4) and .7 (5) */
  task = task_of();
  for (int k = 0; k < N; k++) at[k].time *= 24, at[k].outcome *= 24; /* and a horizon of 6 days */
  static const char days[] =
      "{\"name\": \"t\", \"trigger\": {\"code\": [\"ASK\"], \"which\": \"each\"}, \"target\": {\"any\": [\"SICK\"]}, \"horizon\": \"6d\"}";
  task_free(task);
  OKAY(task_parse(days, strlen(days), &task, e));
  OKAY(lead_time_measure(&(struct validate_options){.task = task}, at, &v, e));
  assert_true(fabs(l->patient_days - 100) < 1e-9);
  const struct lead_result *five = &l->row[2].model, *two = &l->row[1].model;
  assert_true(five->threshold == 0.7);
  assert_true(fabs(five->alerts_per_100 - 5) < 1e-9);
  assert_int_equal(five->flagged.k, 2);                      /* patient 2's alert came 9 days before: too early to count */
  assert_true(five->lead_q1 == 2 && five->lead_median == 2); /* leads 5 and 2 days; the lower median of two */
  assert_true(fabs(five->alerts_per_detection - 2.5) < 1e-9);
  assert_int_equal(two->flagged.k, 0); /* the three at .9 are one too many */
  task_free(task);
}

static void one_question_has_no_lead_time(void **state) {
  (void)state;
  struct task_example at[4] = {{.subject_index = 0, .label = LABEL_YES}, {.subject_index = 1}, {.subject_index = 2}, {.subject_index = 3}};
  double p[4] = {0.5, 0.4, 0.3, 0.2};
  struct task *task = task_of();
  struct validation v = {.n = 4};
  v.model.probability = v.baseline.probability = p;
  OKAY(lead_time_measure(&(struct validate_options){.task = task}, at, &v, e));
  assert_false(v.lead.measured);
  task_free(task);
}

/* ---- leaks ---- */

enum plant { NOTHING, GIVEAWAY, BACK_DATED, SYNONYM, COPIES, PLANTS };

static void put(struct timeline_writer *w, int64_t subject, int64_t time, const char *code, uint32_t row) {
  struct event ev = {.subject = subject, .time = time, .code = str_c(code), .value = NAN, .origin_row = row};
  OKAY(timeline_append(w, &ev, e));
}

/* Written in the order of recording: rows ascend with time. Case: SICK at hour 20 + something. */
static void write_life(struct timeline_writer *w, int64_t subject, enum plant what, bool ill, uint64_t like) {
  struct rng r;
  uint32_t row = 0;
  rng_init(&r, 1, like);
  int64_t t = (int64_t)(like % 50) * TIME_DAY, sick = t + (int64_t)(40 + rng_below(&r, 3)) * TIME_HOUR;
  for (int i = 0; i < 12; i++) {
    char code[16];
    snprintf(code, sizeof code, "N//%u", rng_below(&r, 8));
    t += (int64_t)(1 + rng_below(&r, 3)) * TIME_HOUR;
    put(w, subject, t, code, ++row);
    if (i == 5 && what == GIVEAWAY && (ill ? rng_below(&r, 3) == 0 : like % 397 == 0)) put(w, subject, t, "CODED//LATER", ++row);
  }
  put(w, subject, t + TIME_HOUR, "ASK", ++row);
  if (t + TIME_HOUR >= sick) sick = t + 3 * TIME_HOUR;
  if (ill) put(w, subject, sick, "SICK", ++row);
  if (ill && what == SYNONYM) put(w, subject, sick, "SICK//OTHER", ++row);
  put(w, subject, sick + 20 * TIME_HOUR, "END", ++row);
  if (ill && what == BACK_DATED && rng_below(&r, 2)) put(w, subject, t - 5 * TIME_HOUR, "ADMISSION//CAUSE", ++row);
}

static void look(enum plant what, struct arena *a, struct validation *v) {
  char root[] = "/tmp/vitae-leaks-XXXXXX", dir[64];
  struct timeline_writer *w;
  struct timeline *t;
  struct task_binding *b;
  struct task_examples x;
  static const char day[] =
      "{\"name\": \"t\", \"trigger\": {\"code\": [\"ASK\"], \"which\": \"first\"}, \"target\": {\"any\": [\"SICK\"]}, \"horizon\": \"3d\", "
      "\"censor\": \"negative\"}";
  struct task *task;
  assert_non_null(mkdtemp(root));
  snprintf(dir, sizeof dir, "%s/t", root);
  for (int part = 0; part < 2; part++) {
    OKAY(timeline_writer_open(dir, &(struct timeline_options){.split = part ? SPLIT_ALL_HELD_OUT : SPLIT_ALL_TRAIN}, &w, e));
    for (int i = 1; i <= 400; i++)
      write_life(w, part * 1000 + i, what, i % 4 == 0, what == COPIES && i < 5 ? (uint64_t)i : (uint64_t)(part * 1000 + i));
    OKAY(timeline_writer_finish(w, STR("{}"), NULL, NULL, e));
  }
  OKAY(timeline_open(dir, &t, e));
  OKAY(task_parse(day, strlen(day), &task, e));
  OKAY(task_bind(task, t, &b, e));
  OKAY(task_label_all(b, t, SPLIT_HELD_OUT, 0, a, &x, e));
  assert_int_equal(x.n, 400);
  *v = (struct validation){.n = x.n, .events = x.yes, .label = arena_array(a, uint8_t, x.n)};
  for (uint32_t i = 0; i < x.n; i++) v->label[i] = x.at[i].label == LABEL_YES;
  v->model.all.auroc.at = 0.8;
  OKAY(leaks_look(&(struct validate_options){.store = t, .task = task}, b, x.at, a, v, e));
  task_binding_free(b);
  task_free(task);
  timeline_close(t);
  OKAY(file_remove_tree(root, e));
}

static void planted_leaks_are_found(void **state) {
  (void)state;
  static const struct {
    const char *leak, *caution;
  } expect[PLANTS] = {[NOTHING] = {NULL, NULL},
                      [GIVEAWAY] = {"CODED//LATER", NULL},
                      [BACK_DATED] = {"ADMISSION//CAUSE", NULL},
                      [SYNONYM] = {NULL, "SICK//OTHER"},
                      [COPIES] = {"copies", NULL}};
  for (int what = 0; what < PLANTS; what++) {
    struct validation v;
    struct arena a;
    bool leak = false, caution = false;
    arena_init(&a, 0, 0);
    look((enum plant)what, &a, &v);
    for (int i = 0; i < v.n_leaks; i++)
      print_message("plant %d: leak: %s\n", what, v.leak[i]), leak |= expect[what].leak && strstr(v.leak[i], expect[what].leak);
    for (int i = 0; i < v.n_cautions; i++) caution |= expect[what].caution && strstr(v.caution[i], expect[what].caution);
    assert_true(leak == (expect[what].leak != NULL));
    assert_true(caution == (expect[what].caution != NULL));
    if (what != BACK_DATED) assert_int_equal(v.n_leaks, expect[what].leak != NULL); /* what is back-dated may well be a giveaway too */
    assert_int_equal(v.n_cautions, expect[what].caution != NULL);
    arena_free(&a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(early_by_hand), cmocka_unit_test(one_question_has_no_lead_time),
                                     cmocka_unit_test(planted_leaks_are_found)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
