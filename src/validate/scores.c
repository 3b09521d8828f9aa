/* The scores that a task file asks for beside the usual figures. Thresholds are chosen on tuning patients, never on those that are scored. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "predict/predict.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "validate/challenge.h"
#include "validate/metrics.h"
#include "validate/scores.h"

#define WHO 2 /* model, baseline */
#define THRESHOLDS 200
#define MOST_PAIRS 4e8

struct asked { /* examples of one split with both predictors' answers */
  struct task_example *at;
  uint32_t n;
  double *p[WHO];
  uint8_t *y;
};

static int ask(const struct scores_input *in, enum split split, bool censored, struct arena *a, struct asked *out, struct error *e) {
  struct task_examples x;
  TRY(task_label_all(in->binding, in->o->store, split, 0, a, &x, e));
  *out = (struct asked){.at = x.at};
  for (uint32_t i = 0; i < x.n; i++)
    if (censored || x.at[i].label != LABEL_CENSORED) out->at[out->n++] = x.at[i];
  for (int w = 0; w < WHO; w++) out->p[w] = arena_array(a, double, (size_t)out->n + 1);
  double *hazard = arena_array(a, double, (size_t)out->n + 1);
  out->y = arena_alloc(a, out->n + 1u, 1);
  if (!out->p[0] || !out->p[1] || !hazard || !out->y) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < out->n; i++) out->y[i] = out->at[i].label == LABEL_YES;
  TRY(predict_examples(in->o->model, in->o->store, in->o->task, out->at, out->n, in->o->threads, out->p[0], hazard, e));
  if (in->baseline) return baseline_predict(in->baseline, in->o->store, out->at, out->n, out->p[1], e);
  memcpy(out->p[1], out->p[0], out->n * sizeof *out->p[1]);
  return OK;
}

/* The model's, kept with its head since tuning patients were unseen; else what tuning patients say now. */
static double kept_threshold(const struct scores_input *in, int who, const char *score) {
  return who ? NAN : predict_threshold(in->o->model, in->o->task, score);
}

static struct validation_score *add(struct validation *v, const char *name) {
  BUG_IF(v->n_scores == VALIDATION_SCORES);
  struct validation_score *s = &v->score[v->n_scores++];
  *s = (struct validation_score){.name = name,
                                 .model = {NAN, NAN, NAN},
                                 .baseline = {NAN, NAN, NAN},
                                 .difference = {NAN, NAN, NAN},
                                 .threshold = {NAN, NAN},
                                 .no_interval = "too few resamples give a number"};
  return s;
}

static int rising(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

static void percentiles(double *v, int n, struct interval *out) {
  int m = 0;
  for (int i = 0; i < n; i++)
    if (isfinite(v[i])) v[m++] = v[i];
  if (m < 20 || m < n - n / 10) return;
  qsort(v, (size_t)m, sizeof *v, rising);
  out->lo = v[(int)(0.025 * (m - 1))], out->hi = v[(int)(0.975 * (m - 1) + 0.999)];
}

/* ---- of answers one by one: Event 1, H ---- */

static double row_score(enum task_score which, const double *p, const uint8_t *y, uint32_t n, double threshold) {
  return which == TASK_SCORE_H ? challenge_h(p, y, n) : challenge_event1(p, y, n, threshold);
}

struct persons { /* rows come in subject order: person c's are start[c] to start[c + 1] */
  uint32_t *start, n;
};

static int make_persons(const struct asked *x, struct arena *a, struct persons *out, struct error *e) {
  *out = (struct persons){arena_array(a, uint32_t, (size_t)x->n + 1), 0};
  if (!out->start) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < x->n; i++)
    if (i == 0 || x->at[i].subject_index != x->at[i - 1].subject_index) out->start[out->n++] = i;
  out->start[out->n] = x->n;
  return OK;
}

/* One resample of persons, all their rows with them; row NULL: only how many. */
static uint32_t draw_rows(const struct persons *s, uint64_t seed, int b, uint32_t *row) {
  struct rng rng;
  uint32_t n = 0;
  rng_init(&rng, seed ^ 0x73636f72u, (uint64_t)b);
  for (uint32_t c = 0; c < s->n; c++) {
    uint32_t who = rng_below(&rng, s->n);
    for (uint32_t i = s->start[who]; i < s->start[who + 1]; i++, n++)
      if (row) row[n] = i;
  }
  return n;
}

static int row_intervals(const struct scores_input *in, enum task_score which, const struct asked *test, struct arena *a,
                         struct validation_score *s, struct error *e) {
  struct persons persons;
  uint32_t most = 0;
  int n = in->o->bootstrap;
  TRY(make_persons(test, a, &persons, e));
  for (int b = 0; b < n; b++) {
    uint32_t rows = draw_rows(&persons, in->o->seed, b, NULL);
    most = rows > most ? rows : most;
  }
  double *draw[3], *p = arena_array(a, double, (size_t)most + 1);
  uint8_t *y = arena_alloc(a, most + 1u, 1);
  uint32_t *row = arena_array(a, uint32_t, (size_t)most + 1);
  for (int w = 0; w < 3; w++) draw[w] = arena_array(a, double, (size_t)n + 1);
  if (!p || !y || !row || !draw[0] || !draw[1] || !draw[2]) return error_set(e, E_NOMEM, "out of memory");
  for (int b = 0; b < n; b++) {
    uint32_t rows = draw_rows(&persons, in->o->seed, b, row); /* the same for both */
    for (int w = 0; w < WHO; w++) {
      for (uint32_t i = 0; i < rows; i++) p[i] = test->p[w][row[i]], y[i] = test->y[row[i]];
      draw[w][b] = row_score(which, p, y, rows, s->threshold[w]);
    }
    draw[2][b] = draw[0][b] - draw[1][b];
  }
  struct interval *to[3] = {&s->model, &s->baseline, &s->difference};
  for (int w = 0; w < 3; w++) percentiles(draw[w], n, to[w]);
  return OK;
}

static int by_rows(const struct scores_input *in, enum task_score which, const char *name, const struct asked *test,
                   const struct asked *tuning, struct arena *a, struct validation *v, struct error *e) {
  struct validation_score *s = add(v, name);
  struct interval *to[WHO] = {&s->model, &s->baseline};
  for (int w = 0; w < WHO; w++) {
    if (which == TASK_SCORE_EVENT1) s->threshold[w] = kept_threshold(in, w, name);
    if (which == TASK_SCORE_EVENT1 && isnan(s->threshold[w])) s->threshold[w] = challenge_threshold(tuning->p[w], tuning->y, tuning->n);
    to[w]->at = row_score(which, test->p[w], test->y, test->n, s->threshold[w]);
  }
  s->difference.at = s->model.at - s->baseline.at;
  return row_intervals(in, which, test, a, s, e);
}

/* ---- of stays: the utility of 2019 ---- */

struct stay {           /* one person's rows: every trigger in the record, also after the question has ended */
  uint32_t first, rows; /* in `answer` */
  int onset;
};
struct stays {
  struct stay *at;
  uint32_t n;
  double *answer[WHO]; /* (rows) the probability then; where nobody is asked any more the last one stands; -1 = none yet */
};

/* The times of a record's triggers (room for all its events), and the row at which the target comes. `of`: 1 trigger, 2 target, by code of the store. */
static uint32_t trigger_rows(const struct timeline_view *v, const uint8_t *of, int64_t *time, int64_t *target, int *onset) {
  uint32_t rows = 0;
  *target = INT64_MAX, *onset = INT32_MAX;
  for (uint32_t k = v->statics; k < v->n + v->labels; k++) {
    if ((of[v->code[k]] & 2) && v->time[k] != TIME_STATIC && v->time[k] < *target) *target = v->time[k];
    if (k < v->n && (of[v->code[k]] & 1) && (!rows || v->time[k] != time[rows - 1])) time[rows++] = v->time[k];
  }
  if (*target != INT64_MAX && rows) *onset = (int)((*target - time[0] + TIME_HOUR / 2) / TIME_HOUR);
  return rows;
}

static int one_stay(const struct asked *x, uint32_t from, uint32_t to, const struct timeline_view *v, const uint8_t *of, int64_t *time,
                    struct stays *s, uint32_t rows) {
  struct stay *stay = &s->at[s->n++];
  double stands[WHO] = {-1, -1};
  int64_t target;
  *stay = (struct stay){.first = rows};
  stay->rows = trigger_rows(v, of, time, &target, &stay->onset);
  for (uint32_t k = 0; k < stay->rows; k++) {
    while (from < to && x->at[from].time < time[k]) from++;
    for (int w = 0; w < WHO; w++) {
      if (from < to && x->at[from].time == time[k]) stands[w] = x->p[w][from];
      s->answer[w][rows + k] = stands[w];
    }
  }
  return (int)stay->rows;
}

/* The roles of the store's codes, and room for the triggers of the longest record. */
static int roles(const struct scores_input *in, struct arena *a, uint8_t **of, int64_t **time, struct error *e) {
  const struct timeline *t = in->o->store;
  uint32_t codes = timeline_codes(t), longest = 0;
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    uint32_t n = timeline_view(t, i).n;
    longest = n > longest ? n : longest;
  }
  *of = arena_alloc(a, codes + 1u, 1);
  *time = arena_array(a, int64_t, (size_t)longest + 1);
  if (!*of || !*time) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t c = 0; c < codes; c++) {
    struct str name = timeline_code_name(t, c);
    (*of)[c] = (uint8_t)(task_names_trigger(in->o->task, name) + 2 * task_names_target(in->o->task, name));
  }
  return OK;
}

static int make_stays(const struct scores_input *in, const struct asked *x, struct arena *a, struct stays *s, struct error *e) {
  const struct timeline *t = in->o->store;
  uint32_t rows = 0, most = 0;
  uint8_t *of;
  int64_t *time;
  TRY(roles(in, a, &of, &time, e));
  for (uint32_t i = 0; i < x->n; i++)
    if (i == 0 || x->at[i].subject_index != x->at[i - 1].subject_index) most += timeline_view(t, x->at[i].subject_index).n;
  s->at = arena_array(a, struct stay, (size_t)x->n + 1);
  for (int w = 0; w < WHO; w++) s->answer[w] = arena_array(a, double, (size_t)most + 1);
  if (!s->at || !s->answer[0] || !s->answer[1]) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0, k; i < x->n; i = k) {
    for (k = i; k < x->n && x->at[k].subject_index == x->at[i].subject_index;) k++;
    struct timeline_view v = timeline_view(t, x->at[i].subject_index);
    rows += (uint32_t)one_stay(x, i, k, &v, of, time, s, rows);
  }
  return OK;
}

/* of (stays): each one's part, or NULL; returns the sum. */
static struct utility sum_stays(const struct stays *s, int who, double threshold, uint8_t *alarm, struct utility *of) {
  struct utility all = {0};
  for (uint32_t i = 0; i < s->n; i++) {
    const struct stay *stay = &s->at[i];
    struct utility u = {0};
    for (uint32_t k = 0; k < stay->rows; k++) alarm[k] = s->answer[who][stay->first + k] >= threshold;
    challenge_utility(alarm, (int)stay->rows, stay->onset, &u);
    all.observed += u.observed, all.best += u.best, all.inaction += u.inaction;
    if (of) of[i] = u;
  }
  return all;
}

/* What an alarm at each known moment changes: at its own row, and at the rows behind the last question, where it stands. gain: (known->n). */
static int known_gains(const struct scores_input *in, const struct known_answers *known, struct arena *a, double *gain, struct error *e) {
  uint8_t *of;
  int64_t *time, target;
  TRY(roles(in, a, &of, &time, e));
  for (uint32_t i = 0, k; i < known->n; i = k) {
    struct timeline_view v = timeline_view(in->o->store, known->at[i].subject_index);
    int onset;
    uint32_t rows = trigger_rows(&v, of, time, &target, &onset), row = 0;
    uint8_t *alarm = arena_alloc(a, rows + 1u, 1);
    if (!alarm) return error_set(e, E_NOMEM, "out of memory");
    struct utility none = {0};
    challenge_utility(alarm, (int)rows, onset, &none);
    for (k = i; k < known->n && known->at[k].subject_index == known->at[i].subject_index; k++) {
      struct utility some = {0};
      while (row < rows && time[row] < known->at[k].time) row++;
      uint32_t until = row + 1 < rows && time[row + 1] < target ? row + 1 : rows;
      memset(alarm, 0, rows);
      if (row < rows) memset(alarm + row, 1, until - row);
      challenge_utility(alarm, (int)rows, onset, &some);
      gain[k] = (some.observed - none.observed) * (known->at[k].label == LABEL_YES ? 1 : known->other);
    }
  }
  return OK;
}

/* Some sixty tuning patients have sepsis: of thresholds side by side the best is chance. So each is judged with its neighbours, weighed by a normal
 * curve of NEARBY log odds, half of that where training patients are known too (gain: of known, NULL: nothing); between the median answer and the
 * highest. */
#define NEARBY 0.3
static int best_threshold(const struct stays *s, const struct asked *x, int who, const struct known_answers *known, const double *gain,
                          uint8_t *alarm, struct arena *a, double *out, struct error *e) {
  double *p = arena_array(a, double, (size_t)x->n + 1), at[THRESHOLDS], score[THRESHOLDS], most = -INFINITY;
  if (!p) return error_set(e, E_NOMEM, "out of memory");
  memcpy(p, x->p[who], x->n * sizeof *p);
  qsort(p, x->n, sizeof *p, rising);
  *out = INFINITY;
  if (x->n == 0) return OK;
  double nearby = gain ? NEARBY / 2 : NEARBY;
  double low = clipped_logit(p[x->n / 2]), step = (clipped_logit(p[x->n - 1]) - low) / (THRESHOLDS - 1);
  for (int k = 0; k < THRESHOLDS; k++) {
    at[k] = 1 / (1 + exp(-(low + k * step)));
    score[k] = sum_stays(s, who, at[k], alarm, NULL).observed;
    for (uint32_t i = 0; gain && i < known->n; i++) score[k] += known->p[i] >= at[k] ? gain[i] : 0;
  }
  for (int k = 0; k < THRESHOLDS; k++) {
    double sum = 0, weight = 0;
    for (int j = 0; j < THRESHOLDS; j++) {
      double off = (j - k) * step / nearby, w = exp(-0.5 * off * off);
      sum += w * score[j], weight += w;
    }
    if (sum / weight > most) most = sum / weight, *out = at[k];
  }
  return OK;
}

static uint32_t longest_stay(const struct stays *s) {
  uint32_t longest = 1;
  for (uint32_t i = 0; i < s->n; i++) longest = s->at[i].rows > longest ? s->at[i].rows : longest;
  return longest;
}

static int by_stays(const struct scores_input *in, const struct asked *test, const struct asked *tuning, struct arena *a,
                    struct validation *v, struct error *e) {
  struct validation_score *s = add(v, "utility2019");
  struct stays held = {0}, tune = {0};
  struct utility *of[WHO];
  int n = in->o->bootstrap;
  double *draw[3];
  TRY(make_stays(in, test, a, &held, e));
  TRY(make_stays(in, tuning, a, &tune, e));
  uint32_t longest[2] = {longest_stay(&held), longest_stay(&tune)};
  uint8_t *alarm = arena_alloc(a, longest[0] > longest[1] ? longest[0] : longest[1], 1);
  for (int w = 0; w < 3; w++) draw[w] = arena_array(a, double, (size_t)n + 1);
  struct interval *to[3] = {&s->model, &s->baseline, &s->difference};
  for (int w = 0; w < WHO; w++) {
    of[w] = arena_array(a, struct utility, (size_t)held.n + 1);
    if (!alarm || !of[w] || !draw[w] || !draw[2]) return error_set(e, E_NOMEM, "out of memory");
    s->threshold[w] = kept_threshold(in, w, s->name);
    if (isnan(s->threshold[w])) TRY(best_threshold(&tune, tuning, w, NULL, NULL, alarm, a, &s->threshold[w], e));
    struct utility u = sum_stays(&held, w, s->threshold[w], alarm, of[w]);
    to[w]->at = challenge_utility_normalised(&u);
  }
  s->difference.at = s->model.at - s->baseline.at;
  for (int b = 0; b < n; b++) {
    struct utility u[WHO] = {{0}};
    struct rng rng;
    rng_init(&rng, in->o->seed ^ 0x73746179u, (uint64_t)b);
    for (uint32_t i = 0; i < held.n; i++) {
      uint32_t k = rng_below(&rng, held.n);
      for (int w = 0; w < WHO; w++) u[w].observed += of[w][k].observed, u[w].best += of[w][k].best, u[w].inaction += of[w][k].inaction;
    }
    for (int w = 0; w < WHO; w++) draw[w][b] = challenge_utility_normalised(&u[w]);
    draw[2][b] = draw[0][b] - draw[1][b];
  }
  for (int w = 0; w < 3; w++) percentiles(draw[w], n, to[w]);
  return OK;
}

/* ---- of times ---- */

static int by_pairs(const struct scores_input *in, struct arena *a, struct validation *v, struct error *e) {
  struct validation_score *s = add(v, "concordance");
  struct asked x;
  TRY(ask(in, SPLIT_HELD_OUT, true, a, &x, e));
  double *time = arena_array(a, double, (size_t)x.n + 1);
  if (!time) return error_set(e, E_NOMEM, "out of memory");
  s->no_interval = "not resampled: every pair of examples counts";
  if ((double)x.n * x.n > MOST_PAIRS) return s->no_interval = "not formed: too many pairs of examples", OK;
  for (uint32_t i = 0; i < x.n; i++) time[i] = (double)(x.at[i].outcome - x.at[i].time) / (double)TIME_DAY;
  s->model.at = challenge_concordance(x.p[0], time, x.y, x.n);
  s->baseline.at = challenge_concordance(x.p[1], time, x.y, x.n);
  s->difference.at = s->model.at - s->baseline.at;
  return OK;
}

struct weighed {
  double p, weight;
};
static int falling(const void *x, const void *y) {
  double a = ((const struct weighed *)x)->p, b = ((const struct weighed *)y)->p;
  return a > b ? -1 : a < b;
}

/* Answers yes as often as the answers expect: about tuning patients, and about the training patients that the table had not seen. Some 600 tuning stays
 * alone put the number of yeses a tenth off by chance. NaN: never or always. */
static int expected_threshold(const struct asked *x, const struct known_answers *known, struct arena *a, double *at, struct error *e) {
  uint32_t n = x->n + known->n, k = 0;
  struct weighed *w = arena_array(a, struct weighed, (size_t)n + 1);
  double yes = 0, passed = 0;
  if (!w) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < x->n; i++) w[i] = (struct weighed){x->p[0][i], 1};
  for (uint32_t i = 0; i < known->n; i++) w[x->n + i] = (struct weighed){known->p[i], known->at[i].label == LABEL_YES ? 1 : known->other};
  for (uint32_t i = 0; i < n; i++) yes += w[i].p * w[i].weight;
  if (n) qsort(w, n, sizeof *w, falling);
  while (k < n && passed + 0.5 * w[k].weight < yes) passed += w[k++].weight;
  *at = k > 0 && k < n ? 0.5 * (w[k - 1].p + w[k].p) : NAN;
  return OK;
}

int scores_thresholds(const struct validate_options *o, const struct known_answers *known, struct arena *a,
                      struct score_threshold out[SCORE_THRESHOLDS], struct error *e) {
  struct scores_input in = {.o = o};
  struct asked x;
  unsigned which = task_scores(o->task);
  int n = 0;
  memset(out, 0, SCORE_THRESHOLDS * sizeof *out);
  if (!(which & (TASK_SCORE_EVENT1 | TASK_SCORE_UTILITY2019)) || !predict_has_head(o->model, o->task)) return OK;
  struct task_binding *binding;
  TRY(task_bind(o->task, o->store, &binding, e));
  in.binding = binding;
  int rc = ask(&in, SPLIT_TUNING, false, a, &x, e);
  if (rc == OK && which & TASK_SCORE_EVENT1) {
    double at;
    rc = expected_threshold(&x, known, a, &at, e);
    if (rc == OK && isfinite(at)) out[n++] = (struct score_threshold){"event1", at};
  }
  if (rc == OK && which & TASK_SCORE_UTILITY2019) {
    struct stays s = {0};
    double at = NAN;
    rc = make_stays(&in, &x, a, &s, e);
    uint8_t *alarm = rc == OK ? arena_alloc(a, longest_stay(&s), 1) : NULL;
    double *gain = known->n ? arena_array(a, double, (size_t)known->n) : NULL;
    if (rc == OK && (!alarm || (known->n && !gain))) rc = error_set(e, E_NOMEM, "out of memory");
    if (rc == OK && gain) rc = known_gains(&in, known, a, gain, e);
    if (rc == OK) rc = best_threshold(&s, &x, 0, known, gain, alarm, a, &at, e);
    if (rc == OK && isfinite(at)) out[n++] = (struct score_threshold){"utility2019", at};
  }
  task_binding_free(binding);
  return rc;
}

int scores_run(const struct scores_input *in, struct arena *a, struct validation *v, struct error *e) {
  unsigned which = task_scores(in->o->task);
  struct asked tuning = {0}, test = {.at = in->at, .n = v->n, .p = {v->model.probability, v->baseline.probability}, .y = v->label};
  if (which & (TASK_SCORE_EVENT1 | TASK_SCORE_UTILITY2019)) TRY(ask(in, SPLIT_TUNING, false, a, &tuning, e));
  if (which & TASK_SCORE_EVENT1) TRY(by_rows(in, TASK_SCORE_EVENT1, "event1", &test, &tuning, a, v, e));
  if (which & TASK_SCORE_H) TRY(by_rows(in, TASK_SCORE_H, "h", &test, &tuning, a, v, e));
  if (which & TASK_SCORE_UTILITY2019) TRY(by_stays(in, &test, &tuning, a, v, e));
  if (which & TASK_SCORE_CONCORDANCE) TRY(by_pairs(in, a, v, e));
  for (int i = 0; i < v->n_scores; i++)
    if (!isnan(v->score[i].model.lo)) v->score[i].no_interval = NULL;
  return OK;
}
