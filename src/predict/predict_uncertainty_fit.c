/* Fitting on tuning patients: intervals, sets, distances. */
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"
#include "predict/uncertainty_private.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/thread.h"

#define LEAST 10           /* cases, and controls */
#define DISTANCE_MOST 4000 /* tuning patients that the distances are learned from */

struct scored {
  double logit, weight;
  uint8_t label;
};

int uncertainty_of(const struct model *m, struct uncertainty **out, struct error *e) {
  return uncertainty_parse(model_uncertainty(m), out, e);
}

/* ---- isotonic calibration with one more example ---- */

struct block {
  double sum, weight; /* of labels */
};

static int push(struct block *stack, int n, double label, double weight) {
  stack[n++] = (struct block){label * weight, weight};
  while (n > 1 && stack[n - 2].sum * stack[n - 1].weight >= stack[n - 1].sum * stack[n - 2].weight) {
    stack[n - 2].sum += stack[n - 1].sum;
    stack[n - 2].weight += stack[n - 1].weight;
    n--;
  }
  return n;
}

/* Pool adjacent violators; the extra example joins those of its own score. Returns the value of its block. */
static double isotonic_at(const double *score, const uint8_t *label, const double *weight, uint32_t n, double at, double extra,
                          struct block *stack) {
  int blocks = 0;
  bool in = false;
  uint32_t i = 0;
  double total = 0, upto = 0; /* weight before the end of the extra example's own group */
  while (i < n || !in) {
    double x = i < n ? score[i] : at, sum = 0, w = 0;
    if (!in && at <= x) x = at;
    if (!in && x == at) sum += extra, w += 1, in = true;
    bool own = x == at;
    while (i < n && score[i] == x) sum += label[i] * weight[i], w += weight[i], i++;
    total += w;
    if (own) upto = total;
    blocks = push(stack, blocks, sum / w, w);
  }
  double before = 0;
  for (int b = 0; b < blocks; b++) {
    before += stack[b].weight;
    if (before >= upto * (1 - 1e-12)) return stack[b].sum / stack[b].weight;
  }
  return NAN;
}

int venn_abers(const double *score, const uint8_t *label, const double *weight, uint32_t n, double at, double *p0, double *p1,
               struct error *e) {
  struct block *stack = mem_alloc(((size_t)n + 2) * sizeof *stack);
  if (!stack) return error_set(e, E_NOMEM, "out of memory");
  *p0 = isotonic_at(score, label, weight, n, at, 0, stack);
  *p1 = isotonic_at(score, label, weight, n, at, 1, stack);
  mem_free(stack);
  return OK;
}

/* ---- one task ---- */

static int by_logit(const void *x, const void *y) {
  const struct scored *a = x, *b = y;
  if (a->logit != b->logit) return a->logit < b->logit ? -1 : 1;
  return a->label - b->label;
}

/* One example of each label and patient, chosen by hash, with the weight of all that it stands for: patients are exchangeable, their moments
 * are not. */
static uint32_t choose(const struct task_examples *x, const double *p, struct scored *out) {
  uint32_t n = 0;
  double total = 0;
  for (uint32_t from = 0, to; from < x->n; from = to) {
    to = from;
    while (to < x->n && x->at[to].subject_index == x->at[from].subject_index) to++;
    for (int label = 0; label < 2; label++) {
      uint32_t best = UINT32_MAX, count = 0;
      uint64_t least = UINT64_MAX;
      for (uint32_t i = from; i < to; i++) {
        if ((x->at[i].label == LABEL_YES) != (label == 1) || isnan(p[i])) continue;
        uint64_t h = hash64_u64(((uint64_t)x->at[i].subject_index << 20) + i - from);
        count++;
        if (h <= least) least = h, best = i;
      }
      if (!count) continue;
      out[n++] = (struct scored){uncertainty_logit(p[best]), count, (uint8_t)label};
      total += count;
    }
  }
  for (uint32_t i = 0; i < n; i++) out[i].weight *= n / total;
  return n;
}

/* The least score at which `yes` may stand, so that among `cases` exchangeable ones a new one is at or above it with the coverage. */
static double conformal_cut(const struct scored *s, uint32_t n, uint8_t label, uint32_t count, double coverage) {
  uint32_t allowed = (uint32_t)floor((1 - coverage) * (count + 1)); /* this many of them may lie outside */
  uint32_t seen = 0;
  for (uint32_t k = 0; k < n; k++) {
    const struct scored *x = label ? &s[k] : &s[n - 1 - k];
    if (x->label != label) continue;
    if (++seen >= allowed && allowed > 0) return x->logit;
  }
  return label ? -INFINITY : INFINITY;
}

static void array_json(struct json_out *o, const char *key, const double *x, int n) {
  json_out_key(o, key);
  json_out_array(o);
  for (int i = 0; i < n; i++) json_out_f64(o, x[i]);
  json_out_end(o);
}

static int task_json(struct json_out *o, const char *name, struct scored *s, uint32_t n, uint32_t cases, double coverage, struct arena *a,
                     struct error *e) {
  double *score = arena_array(a, double, n), *weight = arena_array(a, double, n);
  uint8_t *label = arena_array(a, uint8_t, n);
  struct uncertainty_task *t = arena_new(a, struct uncertainty_task);
  if (!score || !weight || !label || !t) return error_set(e, E_NOMEM, "out of memory");
  qsort(s, n, sizeof *s, by_logit);
  for (uint32_t i = 0; i < n; i++) score[i] = s[i].logit, weight[i] = s[i].weight, label[i] = s[i].label;
  for (int g = 0; g < UNCERTAINTY_GRID; g++) {
    double at = score[(uint64_t)g * (n - 1) / (UNCERTAINTY_GRID - 1)];
    if (t->grid && !(at > t->logit[t->grid - 1])) continue;
    TRY(venn_abers(score, label, weight, n, at, &t->lower[t->grid], &t->upper[t->grid], e));
    t->logit[t->grid++] = at;
  }
  json_out_object(o);
  json_kv_c(o, "name", name);
  json_kv_i64(o, "n", n);
  json_kv_i64(o, "cases", cases);
  array_json(o, "logit", t->logit, t->grid);
  array_json(o, "lower", t->lower, t->grid);
  array_json(o, "upper", t->upper, t->grid);
  json_kv_f64(o, "yes_from", fmax(conformal_cut(s, n, 1, cases, coverage), -1e9));
  json_kv_f64(o, "no_to", fmin(conformal_cut(s, n, 0, n - cases, coverage), 1e9));
  json_out_end(o);
  return OK;
}

static int fit_task(const struct uncertainty_options *o, const struct task *task, double coverage, struct json_out *json, struct error *e) {
  struct task_binding *b;
  struct task_examples x;
  struct arena a;
  if (!model_task_find(o->model, task_name(task))) return OK;
  TRY(task_bind(task, o->store, &b, e));
  arena_init(&a, 0, 0);
  int rc = task_label_all(b, o->store, SPLIT_TUNING, 0, &a, &x, e);
  if (rc == OK) {
    uint32_t n = 0, cases = 0;
    for (uint32_t i = 0; i < x.n; i++)
      if (x.at[i].label != LABEL_CENSORED) x.at[n++] = x.at[i];
    x.n = n;
    double *p = arena_array(&a, double, (size_t)n + 1);
    struct scored *s = arena_array(&a, struct scored, 2 * (size_t)n + 1);
    rc = p && s ? predict_examples(o->model, o->store, task, x.at, n, o->threads, p, NULL, e) : error_set(e, E_NOMEM, "out of memory");
    n = rc == OK ? choose(&x, p, s) : 0;
    for (uint32_t i = 0; i < n; i++) cases += s[i].label;
    if (rc == OK && cases >= LEAST && n - cases >= LEAST) rc = task_json(json, task_name(task), s, n, cases, coverage, &a, e);
  }
  arena_free(&a);
  task_binding_free(b);
  return rc;
}

/* ---- distances ---- */

struct moment {    /* of a tuning person */
  uint32_t events; /* 0: no task asks about this person */
  int64_t now;
  uint64_t draw;
};

/* One of the moments at which the tasks ask about each person, drawn from all of them: these may lie where lives seldom are looked at in their course,
 * all at the end of a stay. */
static int task_moments(const struct uncertainty_options *o, struct arena *a, struct moment *of, struct error *e) {
  int rc = OK;
  for (int k = 0; k < o->n_tasks && rc == OK; k++) {
    struct task_binding *b;
    struct task_examples x;
    TRY(task_bind(o->tasks[k], o->store, &b, e));
    rc = task_label_all(b, o->store, SPLIT_TUNING, 0, a, &x, e);
    for (uint32_t i = 0; rc == OK && i < x.n; i++) {
      struct moment *m = &of[x.at[i].subject_index];
      uint64_t draw = hash64_u64(hash64_u64((uint64_t)x.at[i].time) + (uint64_t)k);
      if (m->events && draw >= m->draw) continue;
      *m = (struct moment){x.at[i].events, x.at[i].time, draw};
    }
    task_binding_free(b);
  }
  return rc;
}

static int hidden_rows(const struct uncertainty_options *o, struct arena *a, double **rows, uint32_t *n, struct error *e) {
  const struct timeline *t = o->store;
  struct predictor *p;
  int width = model_config(o->model)->d, dims = uncertainty_dims(width);
  uint32_t all = 0, have = 0, every;
  for (uint32_t i = 0; i < timeline_subjects(t); i++) all += timeline_view(t, i).split == SPLIT_TUNING;
  every = 1 + all / DISTANCE_MOST;
  *rows = arena_array(a, double, (size_t)(all / every + 1) * (size_t)dims);
  *n = 0;
  struct moment *asked = arena_array(a, struct moment, (size_t)timeline_subjects(t) + 1);
  if (!*rows || !asked) return error_set(e, E_NOMEM, "out of memory");
  TRY(task_moments(o, a, asked, e));
  TRY(predictor_new(o->model, t, &p, e));
  int rc = OK;
  for (uint32_t i = 0; i < timeline_subjects(t) && rc == OK; i++) {
    struct timeline_view v = timeline_view(t, i);
    if (v.split != SPLIT_TUNING || have++ % every || v.n <= v.statics) continue;
    if (cancel_requested()) rc = error_set(e, E_CANCELLED, "interrupted");
    /* lives are asked about in their course, not only at their end; every second one where its task asks */
    uint64_t chance = hash64_u64(i);
    struct moment at = {v.statics + 1 + (uint32_t)(chance / 2 % (v.n - v.statics)), INT64_MIN, 0};
    if (chance % 2 && asked[i].events) at = asked[i];
    token_batch_clear(&p->batch);
    if (rc == OK) rc = token_pack(p->v, p->map, &v, i, at.events, at.now, &p->pack, &p->batch, e);
    if (rc == OK) rc = model_forward(p->m, p->w, &p->batch, NULL, e);
    if (rc == OK)
      uncertainty_project(model_hidden(p->w) + (size_t)(p->batch.positions - 1) * (size_t)width, width,
                          *rows + (size_t)(*n)++ * (size_t)dims);
  }
  predictor_free(p);
  return rc;
}

/* Lower Cholesky factor of the covariance, drawn a little towards its diagonal so that it always exists. */
static void factor(const double *rows, uint32_t n, struct uncertainty *u) {
  int d = u->dims;
  double cov[UNCERTAINTY_DIMS][UNCERTAINTY_DIMS] = {{0}};
  for (uint32_t r = 0; r < n; r++)
    for (int i = 0; i < d; i++) u->mean[i] += rows[(size_t)r * (size_t)d + (size_t)i] / n;
  for (uint32_t r = 0; r < n; r++)
    for (int i = 0; i < d; i++)
      for (int k = 0; k <= i; k++)
        cov[i][k] += (rows[(size_t)r * (size_t)d + (size_t)i] - u->mean[i]) * (rows[(size_t)r * (size_t)d + (size_t)k] - u->mean[k]) / n;
  double shrink = fmin(0.5, 0.02 + (double)d / (10.0 * n));
  for (int i = 0, at = 0; i < d; i++)
    for (int k = 0; k <= i; k++, at++) {
      double v = i == k ? cov[i][i] + 1e-6 : (1 - shrink) * cov[i][k];
      const double *li = u->root + i * (i + 1) / 2, *lk = u->root + k * (k + 1) / 2;
      for (int j = 0; j < k; j++) v -= li[j] * lk[j];
      u->root[at] = i == k ? sqrt(fmax(v, 1e-9)) : v / lk[k];
    }
}

static int by_number(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

/* Shape from one half of the patients, percentiles from the other: distances to a shape that one has helped to make are too small. */
static int fit_distance(const struct uncertainty_options *o, struct json_out *json, struct error *e) {
  struct arena a;
  double *rows, *distance;
  uint32_t n;
  struct uncertainty u = {.width = model_config(o->model)->d};
  u.dims = uncertainty_dims(u.width);
  arena_init(&a, 0, 0);
  int rc = hidden_rows(o, &a, &rows, &n, e);
  uint32_t half = n / 2;
  distance = arena_array(&a, double, (size_t)n + 1);
  if (rc == OK && !distance) rc = error_set(e, E_NOMEM, "out of memory");
  if (rc == OK && half >= 50) {
    factor(rows, half, &u);
    for (uint32_t i = half; i < n; i++) distance[i - half] = uncertainty_distance(&u, rows + (size_t)i * (size_t)u.dims);
    qsort(distance, n - half, sizeof *distance, by_number);
    for (int k = 0; k < UNCERTAINTY_LEVELS; k++) u.level[k] = distance[(uint64_t)k * (n - half - 1) / (UNCERTAINTY_LEVELS - 1)];
    json_out_key(json, "distance");
    json_out_object(json);
    json_kv_i64(json, "width", u.width);
    json_kv_i64(json, "patients", n);
    array_json(json, "mean", u.mean, u.dims);
    array_json(json, "root", u.root, u.dims * (u.dims + 1) / 2);
    array_json(json, "percentile", u.level, UNCERTAINTY_LEVELS);
    json_out_end(json);
  }
  arena_free(&a);
  return rc;
}

int uncertainty_fit(const struct uncertainty_options *o, struct buf *json, struct error *e) {
  struct uncertainty_rules rules;
  struct json_out out;
  char path[4096];
  if (o->rules) {
    rules = *o->rules;
  } else {
    TRY(file_join(path, sizeof path, file_data_dir(), "policy/answers.json", e));
    TRY(uncertainty_rules_load(path, &rules, e));
  }
  json_out_init(&out, json, false);
  json_out_object(&out);
  json_kv_i64(&out, "format", 1);
  json_out_key(&out, "rules");
  json_out_object(&out);
  json_kv_f64(&out, "coverage", rules.coverage);
  json_kv_f64(&out, "unusual_percentile", rules.unusual_percentile);
  json_kv_f64(&out, "unknown_share", rules.unknown_share);
  json_kv_i64(&out, "least_events", rules.least_events);
  json_out_end(&out);
  json_out_key(&out, "tasks");
  json_out_array(&out);
  int rc = OK;
  for (int i = 0; i < o->n_tasks && rc == OK; i++) rc = fit_task(o, o->tasks[i], rules.coverage, &out, e);
  json_out_end(&out);
  if (rc == OK) rc = fit_distance(o, &out, e);
  json_out_end(&out);
  buf_putc(json, '\n');
  return rc == OK ? buf_check(json, e) : rc;
}
