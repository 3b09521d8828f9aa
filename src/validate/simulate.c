/* One made-up life and the truth about it, and a directory full of them. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "validate/simulate_private.h"

#define NODES 25  /* of the posterior of a marker that was not measured: standard deviations -4 to 4 */
#define MISSING 3 /* markers integrated over at once; more are kept measured */
#define INDEX_CODE "SIM//INDEX"
#define VISIT_CODE "SIM//VISIT"

static double evaluate(const struct sim_sum *sum, const double *x) {
  double y = 0;
  for (int i = 0; i < sum->n; i++) {
    const struct sim_term *t = &sum->term[i];
    y += t->weight * x[t->a] * (t->b < 0 ? 1 : x[t->b]);
  }
  return y;
}

static double logistic(double share, double log_odds) {
  if (share <= 0 || share >= 1) return share;
  return 1 / (1 + exp(-(log(share / (1 - share)) + log_odds)));
}

/* Cumulative incidence at every horizon, outcomes that end a life competing (Kalbfleisch & Prentice 1980). */
static void risks(const struct scenario *s, const double *x, double weight, double out[][SIMULATE_HORIZONS]) {
  double ratio[SIMULATE_OUTCOMES];
  for (int k = 0; k < s->outcomes; k++) ratio[k] = exp(evaluate(&s->outcome[k].sum, x));
  for (int k = 0; k < s->outcomes; k++) {
    double sum = 0, at_risk = 1;
    int h = 0;
    for (int i = 0; i + 1 < s->grids && h < s->horizons; i++) {
      double length = s->grid[i + 1] - s->grid[i], own = s->outcome[k].grid_rate[i] * ratio[k], all = own;
      for (int c = 0; c < s->outcomes; c++)
        if (c != k && s->outcome[c].ends) all += s->outcome[c].grid_rate[i] * ratio[c];
      if (all > 0) sum += at_risk * own / all * -expm1(-all * length);
      at_risk *= exp(-all * length);
      if (s->grid[i + 1] >= s->horizon[h]) out[k][h++] += weight * sum;
    }
  }
}

/* ---- making a life ---- */

struct making {
  const struct scenario *s;
  struct simulated_life *life;
  struct rng r;
  double x[SIM_COVARIATES];
  bool measured[SIM_MARKERS];
  double sum_earlier[SIM_MARKERS]; /* of earlier readings, in standard deviations */
  int earlier[SIM_MARKERS];
};

static int put(struct making *m, int64_t time, const char *code, double value, const char *unit, struct error *e) {
  struct simulated_life *l = m->life;
  if (l->n == l->cap) {
    int cap = l->cap ? 2 * l->cap : 64;
    struct simulated_event *p = mem_realloc(l->event, (size_t)cap * sizeof *p);
    if (!p) return error_set(e, E_NOMEM, "out of memory");
    l->event = p;
    l->cap = cap;
  }
  l->event[l->n++] = (struct simulated_event){time, code, value, unit};
  return OK;
}

static bool chance(struct making *m, double p) { return rng_uniform(&m->r) < p; }
static double exponential(struct making *m, double mean) { return -log(rng_uniform(&m->r)) * mean; }
static int64_t whole(const struct scenario *s, double days) { /* rounded up to the resolution, at least one step */
  int64_t step = (int64_t)(s->resolution_days * (double)TIME_DAY);
  double steps = ceil(days / s->resolution_days);
  return (steps < 1 ? 1 : (int64_t)steps) * step;
}

static void be_somebody(struct making *m) {
  const struct scenario *s = m->s;
  double age;
  m->x[SIM_FEMALE] = chance(m, s->female);
  do age = s->age_mean + s->age_sd * rng_normal(&m->r);
  while (s->age_sd > 0 && (age < s->age_least || age > s->age_most) && (s->age_mean > s->age_least && s->age_mean < s->age_most));
  age = fmin(fmax(age, s->age_least), s->age_most);
  m->x[SIM_AGE] = (age - s->age_mean) / 10;
  for (int i = 0; i < s->factors; i++) m->x[SIM_FIRST_FACTOR + i] = chance(m, s->factor[i].share);
  int missing = 0;
  for (int i = 0; i < s->markers; i++) {
    double v = m->x[sim_marker_at(s, i)] = rng_normal(&m->r);
    m->measured[i] = chance(m, logistic(s->marker[i].measured, s->marker[i].measured_slope * v)) || missing == MISSING;
    missing += !m->measured[i];
  }
  for (int t = 0; t < s->treatments; t++)
    m->x[sim_treatment_at(s, t)] = chance(m, logistic(s->treatment[t].share, evaluate(&s->treatment[t].sum, m->x)));
}

static double reading(struct making *m, int i) { /* of another day, in standard deviations */
  double memory = m->s->marker[i].memory;
  return memory * m->x[sim_marker_at(m->s, i)] + sqrt(1 - memory * memory) * rng_normal(&m->r);
}

static int visit(struct making *m, int64_t time, bool before, struct error *e) {
  const struct scenario *s = m->s;
  TRY(put(m, time, VISIT_CODE, NAN, NULL, e));
  for (int i = 0; i < s->noises; i++)
    if (chance(m, s->noise[i].share)) TRY(put(m, time, s->noise[i].code, NAN, NULL, e));
  for (int i = 0; i < s->markers; i++) {
    const struct sim_marker *k = &s->marker[i];
    if (!chance(m, k->at_visits)) continue;
    double u = reading(m, i);
    if (before) m->sum_earlier[i] += u, m->earlier[i]++;
    TRY(put(m, time, k->code, k->mean + k->sd * u, k->unit, e));
  }
  return OK;
}

static int history(struct making *m, int64_t index, struct error *e) {
  const struct scenario *s = m->s;
  double age = s->age_mean + 10 * m->x[SIM_AGE], back = 0, when[256];
  int n = 0;
  for (double left = s->visits - exponential(m, 1); left > 0 && n < 250; left -= exponential(m, 1))
    back += (double)whole(s, exponential(m, s->visit_days)) / (double)TIME_DAY, when[n++] = back;
  TRY(put(m, TIME_STATIC, m->x[SIM_FEMALE] > 0 ? "GENDER//F" : "GENDER//M", NAN, NULL, e));
  double birth = fmax(age * TIME_YEAR_DAYS, back + 1);
  TRY(put(m, index - whole(s, birth), "MEDS_BIRTH", NAN, NULL, e));
  int at[SIM_FACTORS]; /* the visit that records a factor; n = the index */
  for (int i = 0; i < s->factors; i++) at[i] = n ? (int)rng_below(&m->r, (uint32_t)n + 1) : 0;
  for (int k = n - 1; k >= 0; k--) {
    int64_t time = index - (int64_t)(when[k] * (double)TIME_DAY);
    TRY(visit(m, time, true, e));
    for (int i = 0; i < s->factors; i++)
      if (m->x[SIM_FIRST_FACTOR + i] > 0 && at[i] == k) TRY(put(m, time, s->factor[i].code, NAN, NULL, e));
  }
  TRY(put(m, index, INDEX_CODE, NAN, NULL, e));
  for (int i = 0; i < s->factors; i++)
    if (m->x[SIM_FIRST_FACTOR + i] > 0 && at[i] == n) TRY(put(m, index, s->factor[i].code, NAN, NULL, e));
  for (int i = 0; i < s->markers; i++)
    if (m->measured[i])
      TRY(put(m, index, s->marker[i].code, s->marker[i].mean + s->marker[i].sd * m->x[sim_marker_at(s, i)], s->marker[i].unit, e));
  for (int t = 0; t < s->treatments; t++)
    if (m->x[sim_treatment_at(s, t)] > 0) TRY(put(m, index, s->treatment[t].code, NAN, NULL, e));
  return OK;
}

/* Days until the piecewise hazard times ratio has used up one exponential draw; INFINITY if it never does. */
static double event_time(struct making *m, const struct sim_outcome *o) {
  double left = exponential(m, 1), ratio = exp(evaluate(&o->sum, m->x));
  for (int i = 0; i < o->edges; i++) {
    double rate = o->rate[i] * ratio, length = i + 1 < o->edges ? o->edge[i + 1] - o->edge[i] : INFINITY;
    if (rate > 0 && left <= rate * length) return o->edge[i] + left / rate;
    left -= rate > 0 ? rate * length : 0;
  }
  return INFINITY;
}

static int by_time(const void *x, const void *y) {
  const struct simulated_event *a = x, *b = y;
  if (a->time != b->time) return a->time < b->time ? -1 : 1;
  int c = strcmp(a->code, b->code);
  return c ? c : a->value < b->value ? -1 : a->value > b->value;
}

/* Outcomes, death, follow-up visits, the end of the record. */
static int future(struct making *m, int64_t index, struct error *e) {
  const struct scenario *s = m->s;
  struct simulated_truth *t = &m->life->truth;
  double ended = INFINITY, censored = s->follow_most;
  if (s->censor_rate > 0) censored = fmin(censored, exponential(m, 1 / (s->censor_rate * exp(evaluate(&s->censor, m->x)))));
  for (int k = 0; k < s->outcomes; k++) {
    t->happened[k] = event_time(m, &s->outcome[k]);
    if (s->outcome[k].ends) ended = fmin(ended, t->happened[k]);
  }
  for (int k = 0; k < s->outcomes; k++) {
    if (t->happened[k] > ended) t->happened[k] = INFINITY;
    if (t->happened[k] <= censored) TRY(put(m, index + whole(s, t->happened[k]), s->outcome[k].code, NAN, NULL, e));
  }
  double last = fmin(ended, censored);
  for (double day = exponential(m, s->follow_days); day < last; day += exponential(m, s->follow_days)) {
    int64_t time = index + whole(s, day);
    if (time < index + whole(s, last)) TRY(visit(m, time, false, e));
  }
  if (s->end_code && censored < ended) TRY(put(m, index + whole(s, censored), s->end_code, NAN, NULL, e));
  return OK;
}

/* ---- the truth ---- */

/* Adds the risks over the grid of the markers that were not measured, weighted by how likely each value is given what the record says. */
static double integrate(const struct making *m, double *x, int marker, double weight, struct simulated_truth *t,
                        double arm[2][SIMULATE_OUTCOMES][SIMULATE_HORIZONS]) {
  const struct scenario *s = m->s;
  while (marker < s->markers && m->measured[marker]) marker++;
  if (marker == s->markers) {
    for (int k = 0; k < s->treatments; k++) {
      double p = logistic(s->treatment[k].share, evaluate(&s->treatment[k].sum, x));
      weight *= x[sim_treatment_at(s, k)] > 0 ? p : 1 - p;
    }
    risks(s, x, weight, t->risk);
    for (int a = 0; a < 2 && s->treatments; a++) {
      double *given = &x[sim_treatment_at(s, 0)], keep = *given;
      *given = a;
      risks(s, x, weight, arm[a]);
      *given = keep;
    }
    return weight;
  }
  const struct sim_marker *k = &s->marker[marker];
  double rest = 1 - k->memory * k->memory, precision = 1 + m->earlier[marker] * k->memory * k->memory / rest;
  double mean = k->memory * m->sum_earlier[marker] / rest / precision, sd = 1 / sqrt(precision), total = 0;
  for (int i = 0; i < NODES; i++) {
    double z = -4 + 8.0 * i / (NODES - 1), v = mean + sd * z;
    x[sim_marker_at(s, marker)] = v;
    double w = exp(-z * z / 2) * (1 - logistic(k->measured, k->measured_slope * v));
    total += integrate(m, x, marker + 1, weight * w, t, arm);
  }
  return total;
}

static void find_truth(struct making *m) {
  const struct scenario *s = m->s;
  struct simulated_truth *t = &m->life->truth;
  double arm[2][SIMULATE_OUTCOMES][SIMULATE_HORIZONS] = {{{0}}}, x[SIM_COVARIATES];
  memcpy(x, m->x, sizeof x);
  t->treated = s->treatments && x[sim_treatment_at(s, 0)] > 0;
  risks(s, x, 1, t->full);
  double total = integrate(m, x, 0, 1, t, arm);
  for (int k = 0; k < s->outcomes; k++)
    for (int h = 0; h < s->horizons; h++) {
      t->risk[k][h] /= total;
      t->without[k][h] = s->treatments ? arm[0][k][h] / total : NAN;
      t->with_treatment[k][h] = s->treatments ? arm[1][k][h] / total : NAN;
    }
}

int simulate_life(const struct scenario *s, uint64_t seed, uint64_t subject, struct simulated_life *life, struct error *e) {
  struct making m = {.s = s, .life = life};
  rng_init(&m.r, seed, subject);
  life->n = 0;
  life->truth = (struct simulated_truth){.index = (time_from_civil(2010, 1, 1) + rng_below(&m.r, 1500)) * TIME_DAY};
  be_somebody(&m);
  TRY(history(&m, life->truth.index, e));
  TRY(future(&m, life->truth.index, e));
  qsort(life->event, (size_t)life->n, sizeof *life->event, by_time);
  find_truth(&m);
  return OK;
}

void simulated_life_release(struct simulated_life *life) {
  mem_free(life->event);
  *life = (struct simulated_life){0};
}

/* ---- a directory ---- */

struct writing {
  const struct scenario *s;
  struct file_writer events, truth;
  struct buf line;
  struct simulate_counts *counts;
};

static void write_events(struct writing *w, uint64_t subject, const struct simulated_life *l) {
  buf_clear(&w->line);
  for (int i = 0; i < l->n; i++) {
    const struct simulated_event *v = &l->event[i];
    char when[32] = "";
    if (v->time != TIME_STATIC) time_format(v->time, when);
    buf_printf(&w->line, "%llu,%s,%s,", (unsigned long long)subject, when, v->code);
    if (!isnan(v->value)) buf_printf(&w->line, "%.6g", v->value);
    buf_printf(&w->line, ",%s\n", v->unit && !isnan(v->value) ? v->unit : "");
    for (int k = 0; k < w->s->outcomes; k++) w->counts->outcomes[k] += v->code == w->s->outcome[k].code;
  }
  w->counts->events += (uint64_t)l->n;
  file_writer_put(&w->events, w->line.p, w->line.n);
}

static void write_truth(struct writing *w, uint64_t subject, const struct simulated_life *l) {
  const struct simulated_truth *t = &l->truth;
  char when[32];
  time_format(t->index, when);
  buf_clear(&w->line);
  for (int k = 0; k < w->s->outcomes; k++)
    for (int h = 0; h < w->s->horizons; h++) {
      double days = w->s->horizon[h];
      buf_printf(&w->line, "%llu,%s,%s,%.0f,%.7g,%.7g,%d,", (unsigned long long)subject, when, w->s->outcome[k].code, days, t->risk[k][h],
                 t->full[k][h], t->happened[k] <= days);
      if (isfinite(t->happened[k])) buf_printf(&w->line, "%.4f", t->happened[k]);
      if (w->s->treatments)
        buf_printf(&w->line, ",%d,%.7g,%.7g\n", t->treated, t->without[k][h], t->with_treatment[k][h]);
      else
        buf_puts(&w->line, ",,,\n");
    }
  file_writer_put(&w->truth, w->line.p, w->line.n);
}

static int write_tasks(const struct scenario *s, const char *dir, struct error *e) {
  char tasks[4096], path[4096], leaf[160];
  TRY(file_join(tasks, sizeof tasks, dir, "tasks", e));
  TRY(file_mkdirs(tasks, 0755, e));
  struct buf json = {0};
  int rc = OK;
  for (int k = 0; k < s->outcomes && rc == OK; k++)
    for (int h = 0; h < s->horizons && rc == OK; h++) {
      buf_clear(&json);
      scenario_task(s, k, h, &json);
      const char *name = strchr(buf_cstr(&json), ':') + 3; /* {"name": "NAME" */
      snprintf(leaf, sizeof leaf, "%.*s.json", (int)strcspn(name, "\""), name);
      rc = file_join(path, sizeof path, tasks, leaf, e);
      if (rc == OK) rc = file_write_atomic(path, json.p, json.n, 0644, e);
    }
  buf_release(&json);
  return rc;
}

static int write_all(struct writing *w, uint64_t n, uint64_t seed, struct error *e) {
  static const char events[] = "subject_id,time,code,numeric_value,unit\n";
  static const char truth[] = "subject_id,index,outcome,days,risk,risk_full,happened,happened_days,treated,risk_untreated,risk_treated\n";
  struct simulated_life life = {0};
  struct progress bar;
  int rc = OK;
  file_writer_put(&w->events, events, sizeof events - 1);
  file_writer_put(&w->truth, truth, sizeof truth - 1);
  progress_start(&bar, "simulate", n, PROGRESS_COUNT);
  for (uint64_t i = 1; i <= n && rc == OK; i++) {
    rc = cancel_requested() ? error_set(e, E_CANCELLED, "interrupted") : simulate_life(w->s, seed, i, &life, e);
    if (rc == OK) write_events(w, i, &life);
    if (rc == OK) write_truth(w, i, &life);
    if (i % 256 == 0) progress_update(&bar, i, NULL);
  }
  progress_end(&bar, rc == OK ? "written" : "stopped");
  simulated_life_release(&life);
  return rc;
}

int simulate_write(const struct scenario *s, const char *dir, uint64_t n, uint64_t seed, struct simulate_counts *out, struct error *e) {
  struct writing w = {.s = s, .counts = out};
  char path[4096];
  *out = (struct simulate_counts){0};
  if (file_exists(dir) || file_is_dir(dir)) return error_set(e, E_USAGE, "%s is there already; simulate writes a new directory", dir);
  TRY(file_join(path, sizeof path, dir, "meds", e));
  TRY(file_mkdirs(path, 0755, e));
  TRY(file_join(path, sizeof path, dir, "meds/events.csv", e));
  TRY(file_writer_open(&w.events, path, e));
  int rc = file_join(path, sizeof path, dir, "truth.csv", e);
  if (rc == OK) rc = file_writer_open(&w.truth, path, e);
  if (rc < 0) {
    file_writer_abort(&w.events);
    return rc;
  }
  rc = write_all(&w, n, seed, e);
  if (rc == OK) rc = buf_check(&w.line, e);
  buf_release(&w.line);
  if (rc == OK)
    rc = file_writer_commit(&w.events, e);
  else
    file_writer_abort(&w.events);
  if (rc == OK)
    rc = file_writer_commit(&w.truth, e);
  else
    file_writer_abort(&w.truth);
  TRY(rc);
  TRY(file_join(path, sizeof path, dir, "scenario.json", e));
  TRY(file_write_atomic(path, s->text, strlen(s->text), 0644, e));
  return write_tasks(s, dir, e);
}
