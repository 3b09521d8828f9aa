/* One validation: label the held-out, ask the model and the baseline, measure, look for leaks. */
#include "validate/validate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/thread.h"
#include "base/time.h"
#include "predict/predict.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "validate/compare.h"
#include "validate/lead_time.h"
#include "validate/leaks.h"
#include "validate/memorisation.h"
#include "validate/metrics.h"
#include "validate/sureness.h"
#include "validate/scores.h"

struct run {
  const struct validate_options *o;
  struct validation *v;
  struct arena *a;
  struct pool *pool;
  struct task_binding *binding;
  struct baseline *baseline;
  struct task_example *at; /* (n) uncensored */
  double *unusual;         /* (n) */
  uint32_t *cluster;       /* (n) subjects numbered from 0 */
  uint32_t clusters;
  struct progress bar;
};

static int take_examples(struct run *r, int gap, struct task_examples *out, struct error *e) {
  TRY(task_label_all(r->binding, r->o->store, SPLIT_HELD_OUT, gap, r->a, out, e));
  uint32_t n = 0;
  for (uint32_t i = 0; i < out->n; i++)
    if (out->at[i].label != LABEL_CENSORED) out->at[n++] = out->at[i];
  out->n = n;
  return OK;
}

static int count_split(struct run *r, enum split split, uint32_t *n, uint32_t *events, struct error *e) {
  struct task_examples x;
  struct arena a;
  arena_init(&a, 0, 0);
  int rc = task_label_all(r->binding, r->o->store, split, 0, &a, &x, e);
  if (rc == OK) *n = x.n - x.censored, *events = x.yes;
  arena_free(&a);
  return rc;
}

/* Examples come in subject order: a new subject index begins a new cluster. */
static int label_held_out(struct run *r, struct error *e) {
  struct task_examples x;
  struct validation *v = r->v;
  TRY(take_examples(r, 0, &x, e));
  v->n = x.n, v->events = x.yes, v->censored = x.censored;
  r->at = x.at;
  if (x.yes < 2 || x.n - x.yes < 2)
    return error_set(e, E_INPUT, "the held-out patients have %u cases among %u: too few to validate this task", x.yes, x.n);
  v->label = arena_array(r->a, uint8_t, x.n);
  v->subject_index = arena_array(r->a, uint32_t, x.n);
  r->cluster = arena_array(r->a, uint32_t, x.n);
  if (!v->label || !v->subject_index || !r->cluster) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < x.n; i++) {
    v->label[i] = x.at[i].label == LABEL_YES;
    v->subject_index[i] = x.at[i].subject_index;
    if (i == 0 || x.at[i].subject_index != x.at[i - 1].subject_index) r->clusters++;
    r->cluster[i] = r->clusters - 1;
  }
  return OK;
}

static int measure(struct run *r, struct scored *s, const char *name, struct ranked *ranked, struct error *e) {
  s->name = name;
  TRY(ranked_init(ranked, s->probability, r->v->label, r->v->n, r->a, e));
  TRY(metrics_bootstrap(ranked, r->cluster, r->clusters, r->v->bootstrap, r->v->seed, r->pool, r->a, &s->all, e));
  curves_fill(ranked, s);
  return OK;
}

static int score(struct run *r, struct error *e) {
  struct validation *v = r->v;
  struct ranked model, baseline, hazard;
  double *h = arena_array(r->a, double, v->n);
  v->model.probability = arena_array(r->a, double, v->n);
  v->baseline.probability = arena_array(r->a, double, v->n);
  r->unusual = arena_array(r->a, double, v->n);
  if (!h || !r->unusual || !v->model.probability || !v->baseline.probability) return error_set(e, E_NOMEM, "out of memory");
  TRY(predict_examples_unusual(r->o->model, r->o->store, r->o->task, r->at, v->n, r->o->threads, v->model.probability, h, r->unusual, e));
  progress_update(&r->bar, 2, "the model has answered");
  TRY(baseline_train(r->o->store, r->o->task, pool_size(r->pool), r->o->seed, &r->baseline, e));
  TRY(baseline_predict(r->baseline, r->o->store, r->at, v->n, v->baseline.probability, e));
  progress_update(&r->bar, 3, "the baseline has answered");
  TRY(measure(r, &v->model, "model", &model, e));
  TRY(measure(r, &v->baseline, "xgboost", &baseline, e));
  bool all = true;
  for (uint32_t i = 0; i < v->n; i++) all &= !isnan(h[i]);
  if (all) {
    v->hazard.probability = h;
    TRY(measure(r, &v->hazard, "hazard", &hazard, e));
  }
  double d[3];
  TRY(metrics_difference(&model, &baseline, r->cluster, r->clusters, v->bootstrap, v->seed, r->a, d, e));
  v->difference = d[0], v->difference_lo = d[1], v->difference_hi = d[2];
  for (int i = 1; i <= DECISION_POINTS; i++) {
    double t = 0.5 * i / DECISION_POINTS;
    v->treat_all.x[v->treat_all.n] = t;
    v->treat_all.y[v->treat_all.n++] = v->model.all.prevalence - (1 - v->model.all.prevalence) * t / (1 - t);
  }
  return OK;
}

/* ---- another version; another site ---- */

static int against(struct run *r, struct error *e) {
  struct validation *v = r->v;
  if (!r->o->against) return OK;
  double *p = arena_array(r->a, double, v->n), *h = arena_array(r->a, double, v->n);
  if (!p || !h) return error_set(e, E_NOMEM, "out of memory");
  TRY(predict_examples(r->o->against, r->o->store, r->o->task, r->at, v->n, r->o->threads, p, h, e));
  snprintf(v->compared.against, sizeof v->compared.against, "%s",
           r->o->against_hash && r->o->against_hash[0] ? r->o->against_hash : "checkpoint");
  return compare_scores(v->model.probability, p, v->label, v->n, r->cluster, r->clusters, v->bootstrap, v->seed, v->model.all.prevalence,
                        r->a, &v->compared, e);
}

/* Intercept and slope from this site's tuning patients, shown on its held-out ones beside the untouched answers. */
static int recalibrate(struct run *r, struct error *e) {
  struct validation *v = r->v;
  struct task_examples x;
  struct ranked ranked;
  double intercept, slope;
  v->external = r->o->external;
  if (!v->external) return OK;
  TRY(task_label_all(r->binding, r->o->store, SPLIT_TUNING, 0, r->a, &x, e));
  uint32_t n = 0, yes = 0;
  for (uint32_t i = 0; i < x.n; i++)
    if (x.at[i].label != LABEL_CENSORED) x.at[n++] = x.at[i];
  double *p = arena_array(r->a, double, n + 1u), *h = arena_array(r->a, double, n + 1u);
  uint8_t *y = arena_array(r->a, uint8_t, n + 1u);
  v->recalibrated.probability = arena_array(r->a, double, v->n);
  if (!p || !h || !y || !v->recalibrated.probability) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < n; i++) yes += y[i] = x.at[i].label == LABEL_YES;
  if (yes < 10 || n - yes < 10) return OK;
  TRY(predict_examples(r->o->model, r->o->store, r->o->task, x.at, n, r->o->threads, p, h, e));
  if (metric_recalibration(p, y, n, &intercept, &slope) < 0) return OK;
  for (uint32_t i = 0; i < v->n; i++) {
    double q = fmin(fmax(v->model.probability[i], 1e-12), 1 - 1e-12);
    v->recalibrated.probability[i] = 1 / (1 + exp(-(intercept + slope * log(q / (1 - q)))));
  }
  return measure(r, &v->recalibrated, "recalibrated", &ranked, e);
}

/* ---- subgroups: static facts (sex, race, ethnicity), source of the first record, and age bands at the moment ---- */

static const char *const static_prefixes[] = {"GENDER//", "RACE//", "ETHNICITY//"};
static const struct {
  const char *name;
  double from, to;
} bands[] = {{"age 0-17", 0, 18}, {"age 18-39", 18, 40}, {"age 40-64", 40, 65}, {"age 65-79", 65, 80}, {"age 80 and over", 80, 200}};
#define BANDS (int)(sizeof bands / sizeof *bands)

static int age_band(const struct timeline *t, const struct timeline_view *v, int64_t at, uint32_t birth) {
  for (uint32_t k = v->statics; k < v->n; k++)
    if (v->code[k] == birth) {
      double years = (double)(at - v->time[k]) / (double)TIME_YEAR;
      for (int i = 0; i < BANDS; i++)
        if (years >= bands[i].from && years < bands[i].to) return i;
    }
  (void)t;
  return -1;
}

static int add_subgroup(struct run *r, const char *name, const uint8_t *in, struct error *e) {
  struct validation *v = r->v;
  uint32_t n = 0, events = 0, clusters = 0, before = UINT32_MAX;
  for (uint32_t i = 0; i < v->n; i++) n += in[i], events += in[i] && v->label[i];
  if (v->n_subgroups == 64 || n < (uint32_t)r->o->min_subgroup || events < 5 || n - events < 5 || n == v->n) return OK;
  double *p = arena_array(r->a, double, n), *b = arena_array(r->a, double, n);
  uint8_t *y = arena_array(r->a, uint8_t, n);
  uint32_t *c = arena_array(r->a, uint32_t, n);
  if (!p || !b || !y || !c) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0, k = 0; i < v->n; i++) {
    if (!in[i]) continue;
    if (r->cluster[i] != before) clusters++, before = r->cluster[i];
    p[k] = v->model.probability[i], b[k] = v->baseline.probability[i], y[k] = v->label[i], c[k++] = clusters - 1;
  }
  struct subgroup *s = &v->subgroups[v->n_subgroups++];
  struct ranked model, baseline;
  snprintf(s->name, sizeof s->name, "%s", name);
  TRY(ranked_init(&model, p, y, n, r->a, e));
  TRY(metrics_bootstrap(&model, c, clusters, v->bootstrap, v->seed, r->pool, r->a, &s->model, e));
  TRY(ranked_init(&baseline, b, y, n, r->a, e));
  TRY(sureness_group(r->o, name, in, v, e));
  return metrics_bootstrap(&baseline, c, clusters, v->bootstrap, v->seed, r->pool, r->a, &s->baseline, e);
}

static int static_subgroups(struct run *r, const char *prefix, uint8_t *in, struct error *e) {
  const struct timeline *t = r->o->store;
  for (uint32_t code = 0; code < timeline_codes(t); code++) {
    struct str name = timeline_code_name(t, code);
    if (!str_starts(name, str_c(prefix))) continue;
    for (uint32_t i = 0; i < r->v->n; i++) {
      struct timeline_view v = timeline_view(t, r->at[i].subject_index);
      in[i] = 0;
      for (uint32_t k = 0; k < v.statics; k++) in[i] |= v.code[k] == code;
    }
    char label[48];
    snprintf(label, sizeof label, "%.*s", STR_ARG(name));
    TRY(add_subgroup(r, label, in, e));
  }
  return OK;
}

/* By name: a source that was ingested in several runs is one subgroup. Births are made by the wall, from no file. */
static int source_subgroups(struct run *r, uint8_t *in, struct error *e) {
  struct timeline_source *sources;
  int n;
  TRY(timeline_sources(r->o->store, r->a, &sources, &n, e));
  for (int s = 0; s < n; s++) {
    bool told = false;
    for (int k = 0; k < s; k++) told |= str_eq(sources[k].name, sources[s].name);
    if (told) continue;
    for (uint32_t i = 0; i < r->v->n; i++) {
      struct timeline_view v = timeline_view(r->o->store, r->at[i].subject_index);
      uint32_t file = v.n ? v.origin_file[v.n - 1] : 0;
      in[i] = 0;
      for (int k = s; k < n; k++)
        in[i] |= str_eq(sources[k].name, sources[s].name) && file >= sources[k].first && file - sources[k].first < sources[k].files;
    }
    char label[48];
    snprintf(label, sizeof label, "source %.*s", STR_ARG(sources[s].name));
    TRY(add_subgroup(r, label, in, e));
  }
  return OK;
}

static int subgroups(struct run *r, struct error *e) {
  const struct timeline *t = r->o->store;
  uint32_t birth;
  uint8_t *in = arena_array(r->a, uint8_t, r->v->n);
  r->v->subgroups = arena_array(r->a, struct subgroup, 64);
  if (!in || !r->v->subgroups) return error_set(e, E_NOMEM, "out of memory");
  for (size_t p = 0; p < sizeof static_prefixes / sizeof *static_prefixes; p++) TRY(static_subgroups(r, static_prefixes[p], in, e));
  TRY(source_subgroups(r, in, e));
  if (!timeline_code_find(t, STR("MEDS_BIRTH"), &birth)) return OK;
  int *band = arena_array(r->a, int, r->v->n);
  if (!band) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < r->v->n; i++) {
    struct timeline_view v = timeline_view(t, r->at[i].subject_index);
    band[i] = age_band(t, &v, r->at[i].time, birth);
  }
  for (int b = 0; b < BANDS; b++) {
    for (uint32_t i = 0; i < r->v->n; i++) in[i] = band[i] == b;
    TRY(add_subgroup(r, bands[b].name, in, e));
  }
  return OK;
}

/* ---- gaps: the same predictors where the outcome is at least so far away ---- */

static bool same_moment(const struct task_example *a, const struct task_example *b) {
  return a->subject_index == b->subject_index && a->time == b->time && a->events == b->events;
}

/* An answer hangs on the moment, not on the gap: most of these moments have been asked about. Both lists are in the store's order. */
static int answers_again(struct run *r, const struct task_examples *x, double *p, struct error *e) {
  struct task_example *new_ones = arena_array(r->a, struct task_example, (size_t)x->n + 1);
  double *q = arena_array(r->a, double, (size_t)x->n + 1);
  uint32_t n = 0, k = 0;
  if (!new_ones || !q) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < x->n; i++) {
    const struct task_example *want = &x->at[i];
    while (k < r->v->n &&
           (r->at[k].subject_index < want->subject_index || (r->at[k].subject_index == want->subject_index && r->at[k].time < want->time)))
      k++;
    bool known = k < r->v->n && same_moment(&r->at[k], want);
    p[i] = known ? r->v->model.probability[k] : NAN;
    if (!known) new_ones[n++] = *want;
  }
  TRY(predict_examples(r->o->model, r->o->store, r->o->task, new_ones, n, r->o->threads, q, NULL, e));
  for (uint32_t i = 0, taken = 0; i < x->n && taken < n; i++)
    if (same_moment(&x->at[i], &new_ones[taken])) p[i] = q[taken++];
  return OK;
}

static int one_gap(struct run *r, int gap, struct gap_row *row, struct error *e) {
  struct task_examples x;
  struct ranked ranked;
  struct metrics m;
  TRY(take_examples(r, gap, &x, e));
  row->gap = task_gap(r->o->task, gap);
  row->n = x.n, row->events = x.yes;
  row->model_auroc = row->baseline_auroc = (struct interval){NAN, NAN, NAN};
  if (x.yes < 5 || x.n - x.yes < 5) return OK;
  double *p = arena_array(r->a, double, x.n);
  uint8_t *y = arena_array(r->a, uint8_t, x.n);
  uint32_t *c = arena_array(r->a, uint32_t, x.n), clusters = 0;
  if (!p || !y || !c) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < x.n; i++) {
    y[i] = x.at[i].label == LABEL_YES;
    if (i == 0 || x.at[i].subject_index != x.at[i - 1].subject_index) clusters++;
    c[i] = clusters - 1;
  }
  TRY(answers_again(r, &x, p, e));
  TRY(ranked_init(&ranked, p, y, x.n, r->a, e));
  TRY(metrics_bootstrap(&ranked, c, clusters, r->v->bootstrap, r->v->seed, r->pool, r->a, &m, e));
  row->model_auroc = m.auroc;
  TRY(baseline_predict(r->baseline, r->o->store, x.at, x.n, p, e));
  TRY(ranked_init(&ranked, p, y, x.n, r->a, e));
  TRY(metrics_bootstrap(&ranked, c, clusters, r->v->bootstrap, r->v->seed, r->pool, r->a, &m, e));
  row->baseline_auroc = m.auroc;
  return OK;
}

static int gaps(struct run *r, struct error *e) {
  int n = task_gaps(r->o->task);
  r->v->gaps = arena_array(r->a, struct gap_row, (size_t)n);
  if (!r->v->gaps) return error_set(e, E_NOMEM, "out of memory");
  r->v->gaps[0] = (struct gap_row){task_gap(r->o->task, 0), r->v->n, r->v->events, r->v->model.all.auroc, r->v->baseline.all.auroc};
  r->v->n_gaps = n;
  for (int g = 1; g < n; g++) TRY(one_gap(r, g, &r->v->gaps[g], e));
  return OK;
}

/* What is proved must be what is served: the head's own question. A hazard head is silent after the target: it cannot be compared with. */
static int own_question(const struct validate_options *o, struct error *e) {
  const char *name = task_name(o->task), *other = o->against_hash && o->against_hash[0] ? o->against_hash : "the other checkpoint";
  if (predict_head_differs(o->model, o->task))
    return error_set(e, E_MISMATCH, "the task %.90s is not what the model's head was trained on: restore the task, or train again", name);
  if (!o->against || predict_has_head(o->against, o->task)) return OK;
  return error_set(e, E_MISMATCH, "%.20s has no head for the task %.90s%s", other, name,
                   predict_head_differs(o->against, o->task) ? " as it is now" : "");
}

int validate_run(const struct validate_options *o, struct arena *a, struct validation *out, struct error *e) {
  struct run r = {.o = o, .v = out, .a = a};
  double began = time_monotonic();
  memset(out, 0, sizeof *out);
  TRY(own_question(o, e));
  out->tripod = o->tripod;
  snprintf(out->task, sizeof out->task, "%s", task_name(o->task));
  snprintf(out->task_title, sizeof out->task_title, "%s", task_title(o->task));
  snprintf(out->task_hash, sizeof out->task_hash, "%s", task_hash(o->task));
  snprintf(out->store_hash, sizeof out->store_hash, "%s", timeline_hash(o->store));
  if (o->model_hash) snprintf(out->model_dir_hash, sizeof out->model_dir_hash, "%s", o->model_hash);
  if (o->commit) snprintf(out->commit, sizeof out->commit, "%s", o->commit);
  out->bootstrap = o->bootstrap, out->seed = o->seed;
  out->memorisation = o->memorisation;
  int rc = pool_new(&r.pool, o->threads, e);
  if (rc < 0) return rc;
  char label[48];
  snprintf(label, sizeof label, "validate %.38s", task_name(o->task));
  progress_start(&r.bar, label, 6, PROGRESS_COUNT);
  TRY_OUT(task_bind(o->task, o->store, &r.binding, e));
  TRY_OUT(label_held_out(&r, e));
  TRY_OUT(count_split(&r, SPLIT_TRAIN, &out->train_n, &out->train_events, e));
  TRY_OUT(count_split(&r, SPLIT_TUNING, &out->tuning_n, &out->tuning_events, e));
  progress_update(&r.bar, 1, NULL);
  TRY_OUT(score(&r, e));
  TRY_OUT(against(&r, e));
  TRY_OUT(recalibrate(&r, e));
  TRY_OUT(sureness_measure(o, r.at, r.unusual, a, out, e));
  TRY_OUT(scores_run(&(struct scores_input){o, r.binding, r.baseline, r.at}, a, out, e));
  progress_update(&r.bar, 4, "subgroups");
  TRY_OUT(subgroups(&r, e));
  progress_update(&r.bar, 5, "gaps");
  TRY_OUT(gaps(&r, e));
  TRY_OUT(leaks_look(o, r.binding, r.at, a, out, e));
  TRY_OUT(lead_time_measure(o, r.at, out, e));
out:
  progress_end(&r.bar, rc == OK ? "done" : "stopped");
  baseline_free(r.baseline);
  if (r.binding) task_binding_free(r.binding);
  pool_free(r.pool);
  out->seconds = time_monotonic() - began;
  return rc;
}

/* The least that a version must show. The board sets the real bar; this refuses what nobody could defend. */
bool validate_gate(const struct validation *v, struct buf *reasons) {
  bool ok = true;
#define REFUSE(...) (buf_printf(reasons, "%s", ok ? "" : "; "), buf_printf(reasons, __VA_ARGS__), ok = false)
  const struct metrics *m = &v->model.all;
  if (v->events < 10 || v->n - v->events < 10) REFUSE("only %u cases and %u controls among the held-out", v->events, v->n - v->events);
  if (!(m->auroc.lo > 0.5)) REFUSE("discrimination is not above chance (lower bound of AUROC)");
  if (!(m->slope.at >= 0.5 && m->slope.at <= 2)) REFUSE("calibration slope outside 0.5 to 2");
  for (int i = 0; i < v->n_leaks; i++) REFUSE("leak check: %s", v->leak[i]);
#undef REFUSE
  if (v->memorisation) ok &= memorisation_gate(v->memorisation, reasons);
  return ok;
}
