/* Task heads: the wide part (logistic regression on tabular features), the blend with the deep part, and the head as a file. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "base/thread.h"
#include "model/lbfgs.h"
#include "model/model_internal.h"
#include "model/task_cox.h"
#include "model/task_trees.h"
#include "model/task_wide.h"
#include "token/token.h"

#define WIDE_CLIP 4.0f
#define HEAD_TREES_OF_OTHERS 4 /* a task head whose auxiliary targets had trees of their own; no longer read */

int model_tasks(const struct model *m) { return m->tasks; }
const char *model_task_name(const struct model *m, int i) { return i >= 0 && i < m->tasks ? m->task[i].name : NULL; }
const char *model_task_json(const struct model_task *t) { return t->text ? t->text : ""; }
uint32_t model_task_tuning(const struct model_task *t) { return t->tuning_n; }
struct feature_set *model_task_features(const struct model_task *t) {
  return t->wide ? t->features : NULL;
}

const struct model_task *model_task_find(const struct model *m, const char *task_name) {
  for (int i = 0; i < m->tasks; i++)
    if (strcmp(m->task[i].name, task_name) == 0) return &m->task[i];
  return NULL;
}

bool task_name_ok(const char *name) {
  size_t n = strlen(name);
  if (n == 0 || n >= MODEL_TASK_NAME || name[0] == '.') return false;
  return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static float wide_standard(const struct wide_column *c, float x) {
  float v = ((c->log ? (x > 0 ? log1pf(x) : 0) : x) - c->mean) / c->sd;
  return v > WIDE_CLIP ? WIDE_CLIP : v < -WIDE_CLIP ? -WIDE_CLIP : v;
}

static float tail_low(const struct wide_column *c, float z) { return z < c->low ? c->low - z : 0; }
static float tail_high(const struct wide_column *c, float z) { return z > c->high ? z - c->high : 0; }

double wide_logit(const struct model_task *t, const float *row) {
  double sum = t->wide_bias;
  for (uint32_t j = 0; j < t->columns; j++) {
    const struct wide_column *c = &t->wide[j];
    float z = isnan(row[j]) ? 0 : wide_standard(c, row[j]);
    sum +=
        (double)(isnan(row[j]) ? c->missing : c->base + c->weight * z + c->low_weight * tail_low(c, z) + c->high_weight * tail_high(c, z));
  }
  return sum;
}

double table_logit(const struct model_task *t, const float *row) {
  double linear = wide_logit(t, row);
  return t->trees ? t->table_linear * linear + t->table_trees * trees_logit(t->trees, row) + t->table_bias : linear;
}

int model_task_score(const struct model *m, const struct model_task *t, const float *hidden, int n, const float *features,
                     struct model_task_score *out, struct error *e) {
  if (n < 1) return error_set(e, E_USAGE, "no hidden rows to score");
  float *pooled = mem_alloc(2 * (size_t)m->config.d * sizeof *pooled);
  if (!pooled) return error_set(e, E_NOMEM, "no memory to score a task");
  out->deep = task_logit(m, t, hidden, n, pooled);
  mem_free(pooled);
  out->wide = t->wide && features ? table_logit(t, features) : NAN;
  double z = t->blend_deep * out->deep + t->blend_bias;
  if (t->wide) z = isnan(out->wide) ? out->deep : z + t->blend_wide * out->wide;
  out->probability = 1 / (1 + exp(-z));
  return OK;
}

/* ---- logistic regression on standardised columns ---- */

struct logistic { /* minimise sum of log losses of rows with fold[i] != left_out, plus l2/2 |w|^2 (the last weight, the bias, is free) */
  const struct kernel *k;
  const float *z; /* (n, p) */
  const uint8_t *y, *fold;
  const float *time; /* Cox's partial likelihood; NULL: log loss */
  uint32_t n, p;
  int left_out;
  double l2;
  float *w32;
  uint32_t *order, ordered; /* Cox: rows by falling time */
  double *x, *dx;           /* (n) Cox: answers and their gradient */
};

static double log_loss(double x, bool y) { return fmax(x, 0) - (y ? x : 0) + log1p(exp(-fabs(x))); }

static double cox_value(const struct logistic *f) {
  for (uint32_t i = 0; i < f->ordered; i++) f->x[f->order[i]] = (double)f->k->dot(f->p, f->z + (size_t)f->order[i] * f->p, f->w32);
  return cox_loss(f->x, f->time, f->y, f->order, f->ordered, f->dx, NULL);
}

static double logistic_value(const struct logistic *f, const double *w, double *g) {
  uint32_t p = f->p;
  float *g32 = f->w32 + p;
  for (uint32_t j = 0; j < p; j++) f->w32[j] = (float)w[j];
  memset(g, 0, (p + 1) * sizeof *g);
  memset(g32, 0, p * sizeof *g32);
  double loss = f->time ? cox_value(f) : 0;
  for (uint32_t i = 0; i < f->n; i++) {
    if (f->fold[i] == f->left_out) continue;
    const float *row = f->z + (size_t)i * p;
    double r;
    if (f->time) {
      r = f->dx[i];
    } else {
      double x = f->k->dot(p, row, f->w32) + w[p];
      r = 1 / (1 + exp(-x)) - f->y[i];
      loss += log_loss(x, f->y[i]);
    }
    f->k->axpy(p, (float)r, row, g32);
    if (!f->time) g[p] += r; /* a hazard's scale is free: Cox has no bias */
    if (i % 256 == 255) {    /* long sums in double */
      for (uint32_t j = 0; j < p; j++) g[j] += g32[j];
      memset(g32, 0, p * sizeof *g32);
    }
  }
  for (uint32_t j = 0; j < p; j++) {
    g[j] += g32[j] + f->l2 * w[j];
    loss += 0.5 * f->l2 * w[j] * w[j];
  }
  return loss;
}

static double logistic_at(void *ctx, const double *w, double *g) { return logistic_value(ctx, w, g); }

/* Improves w (p+1). `room`: LBFGS_ROOM(p + 1) doubles. */
static void logistic_fit(struct logistic *f, double *w, double *room, int iterations) {
  lbfgs(&(struct lbfgs_problem){.value = logistic_at, .ctx = f}, f->p + 1, w, room, iterations);
}

/* ---- the wide part ---- */

enum part { PART_VALUE, PART_LOW, PART_HIGH, PART_MISSING };
struct design { /* standardised columns, each one part of a feature */
  float *z;
  uint32_t p, *from;
  enum part *part;
  float *shift, *scale; /* of tails and indicators */
};

static int by_value(const void *x, const void *y) {
  float a = *(const float *)x, b = *(const float *)y;
  return a < b ? -1 : a > b;
}

/* Mean and spread of a feature and the quartiles where its tails begin; false if it says nothing. `room`: n floats. */
static bool describe_column(const struct wide_data *d, uint32_t j, struct wide_column *c, uint32_t *missing, float *room) {
  double sum = 0, square = 0;
  uint32_t n = 0;
  *c = (struct wide_column){.log = d->is_count[j], .sd = 1};
  for (uint32_t i = 0; i < d->n; i++) {
    float x = d->x[(size_t)i * d->columns + j];
    if (isnan(x)) continue;
    double v = c->log ? (x > 0 ? log1p((double)x) : 0) : (double)x;
    sum += v, square += v * v, room[n++] = (float)v;
  }
  *missing = d->n - n;
  if (n < 10) return false;
  double mean = sum / n, var = square / n - mean * mean;
  if (!(var > 1e-12 * (1 + mean * mean))) return false;
  c->mean = (float)mean;
  c->sd = (float)sqrt(var);
  qsort(room, n, sizeof *room, by_value);
  c->low = (room[n / 4] - c->mean) / c->sd;
  c->high = (room[n - 1 - n / 4] - c->mean) / c->sd;
  return true;
}

static uint64_t missing_pattern(const struct wide_data *d, uint32_t j, uint8_t *row) {
  for (uint32_t i = 0; i < d->n; i++) row[i] = isnan(d->x[(size_t)i * d->columns + j]);
  return hash64(row, d->n, 1);
}

/* Adds a tail if it varies enough to be learned from. */
static void add_tail(const struct model_task *t, const struct wide_data *d, uint32_t j, enum part part, struct design *g) {
  const struct wide_column *c = &t->wide[j];
  double sum = 0, square = 0, n = 0, touched = 0;
  for (uint32_t i = 0; i < d->n; i++) {
    float x = d->x[(size_t)i * d->columns + j];
    if (isnan(x)) continue;
    float z = wide_standard(c, x), v = part == PART_LOW ? tail_low(c, z) : tail_high(c, z);
    sum += v, square += v * v, n++, touched += v > 0;
  }
  double mean = sum / n, var = square / n - mean * mean;
  if (!(var > 1e-4) || touched < 10 || touched > n - 10) return;
  g->from[g->p] = j, g->part[g->p] = part;
  g->shift[g->p] = (float)mean, g->scale[g->p++] = (float)sqrt(var);
}

static float design_cell(const struct model_task *t, const struct design *g, uint32_t q, float x) {
  const struct wide_column *c = &t->wide[g->from[q]];
  if (g->part[q] == PART_MISSING) return ((isnan(x) ? 1.0f : 0.0f) - g->shift[q]) / g->scale[q];
  if (isnan(x)) return 0;
  float z = wide_standard(c, x);
  return g->part[q] == PART_VALUE ? z : ((g->part[q] == PART_LOW ? tail_low(c, z) : tail_high(c, z)) - g->shift[q]) / g->scale[q];
}

static int design_room(const struct wide_data *d, struct arena *a, struct design *g, struct error *e) {
  size_t most = 4 * (size_t)d->columns + 1;
  g->from = arena_array(a, uint32_t, most);
  g->part = arena_array(a, enum part, most);
  g->shift = arena_array(a, float, most);
  g->scale = arena_array(a, float, most);
  return g->from && g->part && g->shift && g->scale ? OK : error_set(e, E_NOMEM, "no memory for the wide part");
}

/* Chooses the columns: every feature that varies with its two tails, and one indicator for each different pattern of being missing. */
static int design_columns(struct model_task *t, const struct wide_data *d, struct arena *a, struct design *g, struct error *e) {
  TRY(design_room(d, a, g, e));
  uint64_t *seen = arena_array(a, uint64_t, (size_t)d->columns + 1);
  uint8_t *row = arena_alloc(a, d->n + 1, 1);
  float *room = arena_array(a, float, (size_t)d->n + 1);
  if (!seen || !row || !room) return error_set(e, E_NOMEM, "no memory for the wide part");
  uint32_t patterns = 0;
  for (uint32_t j = 0; j < d->columns; j++) {
    uint32_t missing;
    if (describe_column(d, j, &t->wide[j], &missing, room)) {
      g->part[g->p] = PART_VALUE, g->from[g->p++] = j;
      add_tail(t, d, j, PART_LOW, g);
      add_tail(t, d, j, PART_HIGH, g);
    }
    double share = (double)missing / d->n;
    if (share < 0.005 || share > 0.995) continue;
    uint64_t hash = missing_pattern(d, j, row);
    bool old = false;
    for (uint32_t k = 0; k < patterns; k++) old |= seen[k] == hash;
    if (old) continue;
    seen[patterns++] = hash;
    g->from[g->p] = j, g->part[g->p] = PART_MISSING;
    g->shift[g->p] = (float)share, g->scale[g->p++] = (float)sqrt(share * (1 - share));
  }
  g->z = arena_array(a, float, (size_t)d->n * g->p + 16);
  if (!g->z) return error_set(e, E_NOMEM, "no memory for the wide part");
  for (uint32_t i = 0; i < d->n; i++)
    for (uint32_t q = 0; q < g->p; q++) g->z[(size_t)i * g->p + q] = design_cell(t, g, q, d->x[(size_t)i * d->columns + g->from[q]]);
  return OK;
}

static const double l2_grid[] = {10000, 3000, 1000, 300, 100, 30, 10};
#define GRID (sizeof l2_grid / sizeof *l2_grid)

/* What folds are chosen for (strengths, rounds, weights) has seen fewer rows than the last fit will. Where these are few, that is made nearly all of them. */
#define FEW_ROWS 2000

int table_folds(uint32_t n) { return n < FEW_ROWS ? TABLE_FOLDS_MAX : 5; }

struct folds {
  struct logistic base;
  double loss[TABLE_FOLDS_MAX][GRID];
  bool failed[TABLE_FOLDS_MAX];
  int n;
  float *oof; /* (GRID, n) */
};

static double held_out_loss(const struct logistic *f, const double *w, float *oof) {
  double loss = 0;
  for (uint32_t j = 0; j < f->p; j++) f->w32[j] = (float)w[j];
  for (uint32_t i = 0; i < f->n; i++) {
    if (f->fold[i] != f->left_out) continue;
    double x = (double)f->k->dot(f->p, f->z + (size_t)i * f->p, f->w32) + w[f->p];
    oof[i] = (float)x;
    if (f->time)
      f->x[i] = x;
    else
      loss += log_loss(x, f->y[i]);
  }
  if (!f->time) return loss;
  uint32_t n = cox_order(f->time, f->fold, f->left_out, true, f->n, f->order); /* put right again by the caller */
  return cox_loss(f->x, f->time, f->y, f->order, n, NULL, NULL);
}

static bool cox_room(struct logistic *f) {
  if (!f->time) return true;
  f->order = mem_alloc(((size_t)f->n + 1) * sizeof *f->order);
  f->x = mem_alloc(2 * ((size_t)f->n + 1) * sizeof *f->x);
  f->dx = f->x + f->n;
  return f->order && f->x;
}

static void fold_worker(void *ctx, int worker, int workers) {
  struct folds *s = ctx;
  size_t n = s->base.p + 1;
  for (int k = worker; k < s->n; k += workers) {
    struct logistic f = s->base;
    double *w = mem_alloc((n + LBFGS_ROOM(n)) * sizeof *w);
    f.w32 = mem_alloc(2 * n * sizeof *f.w32);
    f.left_out = k;
    s->failed[k] = !cox_room(&f) || !w || !f.w32;
    if (!s->failed[k]) {
      memset(w, 0, n * sizeof *w);
      double least = INFINITY;
      int worse = 0; /* after two worse ones the weaker ones, which take longest, are not tried: they repeat the last */
      for (size_t i = 0; i < GRID; i++) { /* from strong to weak: each start is nearly the answer */
        f.l2 = l2_grid[i] * (s->n - 1) / s->n;
        if (worse < 2) {
          if (f.time) f.ordered = cox_order(f.time, f.fold, k, false, f.n, f.order);
          logistic_fit(&f, w, w + n, 60);
        }
        s->loss[k][i] = held_out_loss(&f, w, s->oof + i * f.n);
        worse = s->loss[k][i] < least ? 0 : worse + 1;
        least = fmin(least, s->loss[k][i]);
      }
    }
    mem_free(w);
    mem_free(f.w32);
    mem_free(f.order);
    mem_free(f.x);
  }
}

static void keep_weights(struct model_task *t, const struct design *g, const double *w) {
  t->wide_bias = w[g->p];
  for (uint32_t q = 0; q < g->p; q++) {
    struct wide_column *c = &t->wide[g->from[q]];
    double weight = g->part[q] == PART_VALUE ? w[q] : w[q] / (double)g->scale[q];
    switch (g->part[q]) {
      case PART_VALUE: c->weight = (float)weight; break;
      case PART_LOW: c->low_weight = (float)weight, c->base -= (float)(weight * (double)g->shift[q]); break;
      case PART_HIGH: c->high_weight = (float)weight, c->base -= (float)(weight * (double)g->shift[q]); break;
      case PART_MISSING: c->missing = (float)weight, t->wide_bias -= weight * (double)g->shift[q]; break;
    }
  }
}

static int best_l2(struct folds *s, size_t *best, struct error *e) {
  double least = INFINITY;
  *best = 0;
  for (size_t i = 0; i < GRID; i++) {
    double loss = 0;
    for (int f = 0; f < s->n; f++) loss += s->loss[f][i];
    for (int f = 0; f < s->n; f++)
      if (s->failed[f]) return error_set(e, E_NOMEM, "no memory for the wide part");
    if (loss < least) least = loss, *best = i;
  }
  return OK;
}

/* A pattern's indicator stands for all columns with that pattern; it is counted once, at the first of them. */
static int fit_design(struct model_task *t, const struct kernel *k, const struct wide_data *d, const struct design *g, struct pool *pool,
                      struct arena *a, struct error *e) {
  double *w = arena_array(a, double, (size_t)g->p + 1 + LBFGS_ROOM((size_t)g->p + 1));
  float *w32 = arena_array(a, float, 2 * ((size_t)g->p + 1));
  struct folds *s = arena_new(a, struct folds);
  size_t best = GRID - 1;
  if (!w || !w32 || !s) return error_set(e, E_NOMEM, "no memory for the wide part");
  s->base =
      (struct logistic){.k = k, .z = g->z, .y = d->y, .fold = d->fold, .time = d->time, .n = d->n, .p = g->p, .left_out = -1, .w32 = w32};
  if (d->l2 > 0) {
    while (best > 0 && l2_grid[best] < d->l2) best--;
  } else {
    s->oof = arena_array(a, float, GRID *(size_t)d->n + 1);
    if (!s->oof) return error_set(e, E_NOMEM, "no memory for the wide part");
    BUG_IF(d->folds < 2 || d->folds > TABLE_FOLDS_MAX);
    s->n = d->folds;
    pool_run(pool, fold_worker, s);
    TRY(best_l2(s, &best, e));
    for (uint32_t i = 0; d->oof && i < d->n; i++) d->oof[i] = (double)s->oof[best * d->n + i];
  }
  t->l2 = l2_grid[best];
  if (!cox_room(&s->base)) return error_set(e, E_NOMEM, "no memory for the wide part");
  if (d->time) s->base.ordered = cox_order(d->time, NULL, 0, true, d->n, s->base.order);
  for (size_t i = 0; i <= best; i++) {
    s->base.l2 = l2_grid[i];
    logistic_fit(&s->base, w, w + g->p + 1, i == best ? 200 : 60);
  }
  mem_free(s->base.order);
  mem_free(s->base.x);
  keep_weights(t, g, w);
  return OK;
}

int wide_fit(struct model_task *t, const struct kernel *k, const struct wide_data *d, struct pool *pool, struct error *e) {
  struct arena a;
  struct design g = {0};
  mem_free(t->wide);
  t->columns = d->columns;
  t->wide = mem_alloc((size_t)d->columns * sizeof *t->wide + 1);
  if (!t->wide) return error_set(e, E_NOMEM, "no memory for the wide part");
  arena_init(&a, 0, 0);
  int rc = design_columns(t, d, &a, &g, e);
  if (rc >= 0) rc = fit_design(t, k, d, &g, pool, &a, e);
  arena_free(&a);
  if (rc < 0) mem_free(t->wide), t->wide = NULL;
  return rc;
}

/* ---- blending and calibration ---- */

static bool solve3(double h[3][3], const double g[3], const bool *on, double out[3]) { /* Gauss on the free variables */
  double m[3][4] = {{0}};
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 3; j++) m[i][j] = on[i] && on[j] ? h[i][j] : (i == j);
    m[i][3] = on[i] ? g[i] : 0;
  }
  for (int i = 0; i < 3; i++) {
    if (!(fabs(m[i][i]) > 1e-12)) return false;
    for (int r = 0; r < 3; r++) {
      if (r == i) continue;
      double q = m[r][i] / m[i][i];
      for (int c = i; c < 4; c++) m[r][c] -= q * m[i][c];
    }
  }
  for (int i = 0; i < 3; i++) out[i] = m[i][3] / m[i][i];
  return true;
}

struct
    blend { /* minimise the log loss of logit p = a deep + b wide + c, a and b drawn towards `prior` (normal priors of precision `pull`) */
  const double *deep, *wide;
  const uint8_t *y;
  uint32_t n;
  double weight; /* of one example's loss */
  struct blend_prior {
    double at[2], pull[2];
  } prior;
  struct anchor {
    double rho, alpha;               /* deep = alpha + rho wide + noise, on tuning patients */
    double slope, of_slope, of_bias; /* the slope of wide that is aimed at; precisions, 0 = none */
  } anchor;
};

static double off_slope(const struct blend *f, const double v[3]) { return f->anchor.rho * v[0] + v[1] - f->anchor.slope; }
static double off_bias(const struct blend *f, const double v[3]) { return f->anchor.alpha * v[0] + v[2]; }

static double blend_value(const struct blend *f, const double v[3]) {
  double loss = 0.5e-3 * v[2] * v[2], off[2] = {off_slope(f, v), off_bias(f, v)};
  loss += 0.5 * (f->anchor.of_slope * off[0] * off[0] + f->anchor.of_bias * off[1] * off[1]);
  for (int r = 0; r < 2; r++) loss += 0.5 * f->prior.pull[r] * (v[r] - f->prior.at[r]) * (v[r] - f->prior.at[r]);
  for (uint32_t i = 0; i < f->n; i++) loss += f->weight * log_loss(v[0] * f->deep[i] + v[1] * (f->wide ? f->wide[i] : 0) + v[2], f->y[i]);
  return loss;
}

static void blend_slope(const struct blend *f, const double v[3], double g[3], double h[3][3]) {
  for (uint32_t i = 0; i < f->n; i++) {
    double x[3] = {f->deep[i], f->wide ? f->wide[i] : 0, 1}, z = v[0] * x[0] + v[1] * x[1] + v[2], p = 1 / (1 + exp(-z));
    for (int r = 0; r < 3; r++) {
      g[r] += f->weight * (p - f->y[i]) * x[r];
      for (int c = 0; c < 3; c++) h[r][c] += f->weight * (p * (1 - p) + 1e-9) * x[r] * x[c];
    }
  }
  for (int r = 0; r < 3; r++) {
    double pull = r < 2 ? f->prior.pull[r] : 1e-3;
    g[r] += pull * (v[r] - (r < 2 ? f->prior.at[r] : 0));
    h[r][r] += pull;
  }
  const double by[2][3] = {{f->anchor.rho, 1, 0}, {f->anchor.alpha, 0, 1}};
  for (int k = 0; k < 2; k++) {
    double pull = k ? f->anchor.of_bias : f->anchor.of_slope, off = k ? off_bias(f, v) : off_slope(f, v);
    for (int r = 0; r < 3; r++) {
      g[r] += pull * off * by[k][r];
      for (int c = 0; c < 3; c++) h[r][c] += pull * by[k][r] * by[k][c];
    }
  }
}

/* Newton with halved steps: whole ones swing to and fro where a part shouts. can_move[i]: the others stay as they are. */
static void newton3(const struct blend *f, const bool *can_move, double v[3]) {
  double value = blend_value(f, v);
  for (int it = 0; it < 50; it++) {
    double g[3] = {0}, h[3][3] = {{0}}, step[3], next[3], most = 0, size = 1, now = value;
    blend_slope(f, v, g, h);
    if (!solve3(h, g, can_move, step)) return;
    for (int tries = 0; tries < 40; tries++, size *= 0.5) {
      for (int r = 0; r < 3; r++) next[r] = v[r] - (can_move[r] ? size * fmax(-2, fmin(2, step[r])) : 0);
      now = blend_value(f, next);
      if (now <= value) break;
    }
    if (!(now <= value)) return;
    for (int r = 0; r < 3; r++) most = fmax(most, fabs(next[r] - v[r])), v[r] = next[r];
    value = now;
    if (most < 1e-9) return;
  }
}

static int by_score(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

double auroc(const double *score, const uint8_t *y, uint32_t n) {
  struct pair {
    double s;
    uint8_t y;
  } *p = mem_alloc((n + 1) * sizeof *p);
  double rank_sum = 0, pos = 0;
  if (!p) return NAN;
  for (uint32_t i = 0; i < n; i++) p[i] = (struct pair){score[i], y[i]}, pos += y[i];
  qsort(p, n, sizeof *p, by_score);
  for (uint32_t i = 0; i < n;) {
    uint32_t j = i;
    while (j < n && p[j].s == p[i].s) j++;
    for (uint32_t k = i; k < j; k++) rank_sum += p[k].y ? (i + j + 1) / 2.0 : 0;
    i = j;
  }
  mem_free(p);
  return pos > 0 && pos < n ? (rank_sum - pos * (pos + 1) / 2) / (pos * (n - pos)) : NAN;
}

/* Twenty tuning examples of the rarer kind say how much a part is worth; the fewer there are, the more it stays where it was. */
#define BLEND_ENOUGH 20
#define BLEND_PULL 2.0

/* v: weights of the two parts and the bias. f->prior and f->anchor as they are. */
static void blend_newton(const struct blend *f, double v[3]) {
  bool can_move[3] = {true, f->wide != NULL, true};
  v[0] = f->prior.at[0], v[1] = f->prior.at[1], v[2] = 0;
  newton3(f, can_move, v);
  for (int r = 0; r < 2; r++) /* a part that only harms is left out; then the other is fitted alone */
    if (v[r] < 0) v[r] = 0, can_move[r] = false, newton3(f, can_move, v);
  v[0] = fmax(v[0], 0), v[1] = fmax(v[1], 0);
}

/* Towards equal weights. weight: of one example (persons who are asked again and again are no more than one each). */
static void blend_two(const double *one, const double *two, const uint8_t *y, uint32_t n, double weight, double v[3], bool *enough) {
  uint32_t yes = 0;
  for (uint32_t i = 0; i < n; i++) yes += y[i];
  double rarer = weight * (yes < n - yes ? yes : n - yes), at = two ? 0.5 : 1;
  *enough = rarer >= BLEND_ENOUGH;
  double pull = *enough ? BLEND_PULL : BLEND_PULL * BLEND_ENOUGH / fmax(1, rarer);
  struct blend f = {.deep = one, .wide = two, .y = y, .n = n, .weight = weight, .prior = {{at, two ? 0.5 : 0}, {pull, pull}}};
  if (rarer > 0)
    blend_newton(&f, v);
  else
    v[0] = f.prior.at[0], v[1] = f.prior.at[1], v[2] = 0;
}

/* Tuning patients are few: they say which part is worth how much, but the slope of their fit may be a fifth off. What is known better is that
 * the table's own logit has slope 1 and bias 0: that was fitted on all training patients, out of fold. Seen from the table alone, the blend is
 * (v1 + v0 rho) wide + v0 alpha + v2 and a noise of variance v0^2 sigma^2 that flattens it (MacKay 1992: by sqrt(1 + pi/8 variance)); so that is
 * drawn to slope 1 and bias 0, as strongly as the training patients knew them, at most to ANCHOR_ERROR. And which part is worth how much is much the
 * same from task to task: the deep part, put right by its own slope, has a tenth to two fifths of the weight (docs/accuracy.md); its share and
 * the table's are drawn to USUAL_DEEP and USUAL_TABLE, give or take USUAL_SPREAD. */
#define ANCHOR_ERROR 0.05
#define USUAL_DEEP 0.2
#define USUAL_TABLE 0.85
#define USUAL_SPREAD 0.15
static void blend_usual(const double *deep, const double *wide, const uint8_t *y, uint32_t n, double weight, uint32_t known, double v[3],
                        bool *enough) {
  double sum[2] = {0}, square[2] = {0}, product = 0, mass = 0, weighted = 0, size = 0, own[3];
  uint32_t yes = 0;
  blend_two(deep, NULL, y, n, weight, own, enough);
  for (uint32_t i = 0; i < n; i++) yes += y[i];
  bool some = yes > 0 && yes < n; /* of both kinds: else nothing can be learned */
  for (uint32_t i = 0; i < n; i++) {
    double p = 1 / (1 + exp(-wide[i])), w = weight * p * (1 - p);
    sum[0] += deep[i], sum[1] += wide[i], square[0] += deep[i] * deep[i], square[1] += wide[i] * wide[i], product += deep[i] * wide[i];
    size += w, mass += w * wide[i], weighted += w * wide[i] * wide[i];
  }
  double spread = square[1] - sum[1] * sum[1] / n, least = ANCHOR_ERROR * ANCHOR_ERROR;
  v[0] = USUAL_DEEP * fmax(own[0], 0.1), v[1] = USUAL_TABLE, v[2] = 0;
  if (n < 2 || !(spread > 1e-9) || !(size > 1e-9) || !some) return;
  struct blend f = {.deep = deep, .wide = wide, .y = y, .n = n, .weight = weight};
  double slope = fmax(own[0], 0.1), pull = 1 / (USUAL_SPREAD * USUAL_SPREAD);
  f.prior = (struct blend_prior){{USUAL_DEEP * slope, USUAL_TABLE}, {pull / (slope * slope), pull}};
  struct anchor *a = &f.anchor;
  a->rho = (product - sum[0] * sum[1] / n) / spread;
  a->alpha = (sum[0] - a->rho * sum[1]) / n;
  double noise = fmax(0, (square[0] - sum[0] * sum[0] / n - a->rho * a->rho * spread) / n), share = (double)known / n;
  double of_slope = share * fmax(0, weighted - mass * mass / size), of_bias = share * size;
  a->of_slope = of_slope / (1 + of_slope * least), a->of_bias = of_bias / (1 + of_bias * least);
  for (int it = 0; it < 4; it++) {
    a->slope = sqrt(1 + acos(-1) / 8 * v[0] * v[0] * noise);
    blend_newton(&f, v);
  }
}

/* Loss at share `share` of the first part, at the best slope (golden section on its logarithm). */
static double cox_mixture(const double *one, const double *two, double share, const float *time, const uint8_t *y, const uint32_t *order,
                          uint32_t n, double *z, double *slope) {
  double low = -3, high = 3;
  while (high - low > 0.02) {
    double at[2] = {high - 0.618 * (high - low), low + 0.618 * (high - low)}, loss[2];
    for (int k = 0; k < 2; k++) {
      for (uint32_t i = 0; i < n; i++) z[i] = exp(at[k]) * (share * one[i] + (1 - share) * two[i]);
      loss[k] = cox_loss(z, time, y, order, n, NULL, NULL);
    }
    if (loss[0] < loss[1])
      high = at[1];
    else
      low = at[0];
  }
  *slope = exp(0.5 * (low + high));
  for (uint32_t i = 0; i < n; i++) z[i] = *slope * (share * one[i] + (1 - share) * two[i]);
  return cox_loss(z, time, y, order, n, NULL, NULL);
}

/* The same for times: shares in steps of a twentieth; the first's is drawn to `usual`, as strongly as `pull` says. */
static void blend_times(const double *one, const double *two, const uint8_t *y, const float *time, uint32_t n, double usual, double pull,
                        double v[3]) {
  uint32_t *order = mem_alloc(((size_t)n + 1) * sizeof *order);
  double *z = mem_alloc(((size_t)n + 1) * sizeof *z), least = INFINITY, slope;
  v[0] = usual, v[1] = 1 - usual, v[2] = 0;
  if (order && z) {
    cox_order(time, NULL, 0, true, n, order);
    for (int k = 0; k <= 20; k++) {
      double share = k / 20.0, loss = cox_mixture(one, two, share, time, y, order, n, z, &slope);
      loss += 0.5 * pull * (share - usual) * (share - usual);
      if (loss < least) least = loss, v[0] = slope * share, v[1] = slope * (1 - share);
    }
  }
  mem_free(order);
  mem_free(z);
}

void table_fit(struct model_task *t, const double *linear, const double *trees, const uint8_t *y, const float *time, uint32_t n) {
  double v[3];
  bool enough;
  if (time)
    blend_times(linear, trees, y, time, n, 0.5, 2 * BLEND_PULL, v);
  else
    blend_two(linear, trees, y, n, 1, v, &enough);
  t->table_linear = v[0], t->table_trees = v[1], t->table_bias = v[2];
}

/* Times give the ranks; the probability, that of the event within the follow-up, is then one logistic curve over them. */
void blend_fit(struct model_task *t, const double *deep, const double *wide, const uint8_t *y, const float *time, uint32_t n,
               double weight) {
  double v[3], curve[3];
  double *z = time && wide && n ? mem_alloc((size_t)n * sizeof *z) : NULL;
  if (z) {
    blend_times(deep, wide, y, time, n, USUAL_DEEP, 1 / (USUAL_SPREAD * USUAL_SPREAD), v);
    for (uint32_t i = 0; i < n; i++) z[i] = v[0] * deep[i] + v[1] * wide[i];
    blend_two(z, NULL, y, n, weight, curve, &t->blend_fitted);
    v[0] *= curve[0], v[1] *= curve[0], v[2] = curve[2];
    mem_free(z);
  } else if (wide && n) {
    blend_usual(deep, wide, y, n, weight, t->n, v, &t->blend_fitted);
  } else {
    blend_two(deep, wide, y, n, weight, v, &t->blend_fitted);
  }
  t->tuning_n = n, t->tuning_yes = 0;
  for (uint32_t i = 0; i < n; i++) t->tuning_yes += y[i];
  t->blend_deep = v[0], t->blend_wide = v[1], t->blend_bias = v[2];
}

/* ---- the head's file ---- */

static const struct {
  const char *name;
  size_t at;
} wide_field[] = {{"mean", offsetof(struct wide_column, mean)},
                  {"sd", offsetof(struct wide_column, sd)},
                  {"weight", offsetof(struct wide_column, weight)},
                  {"missing", offsetof(struct wide_column, missing)},
                  {"base", offsetof(struct wide_column, base)},
                  {"low", offsetof(struct wide_column, low)},
                  {"low_weight", offsetof(struct wide_column, low_weight)},
                  {"high", offsetof(struct wide_column, high)},
                  {"high_weight", offsetof(struct wide_column, high_weight)}};
#define WIDE_FIELDS (sizeof wide_field / sizeof *wide_field)

static void write_columns(struct json_out *o, const struct model_task *t) {
  json_out_key(o, "log");
  json_out_array(o);
  for (uint32_t j = 0; j < t->columns; j++) json_out_bool(o, t->wide[j].log);
  json_out_end(o);
  for (size_t f = 0; f < WIDE_FIELDS; f++) {
    json_out_key(o, wide_field[f].name);
    json_out_array(o);
    for (uint32_t j = 0; j < t->columns; j++) json_out_f32(o, *(const float *)(const void *)((const char *)&t->wide[j] + wide_field[f].at));
    json_out_end(o);
  }
}

static int write_wide(const struct model_task *t, struct json_out *o, struct error *e) {
  struct buf features = {0};
  int rc = feature_set_write(t->features, &features, e);
  if (rc >= 0) {
    json_out_key(o, "wide");
    json_out_object(o);
    json_kv_str(o, "features", (struct str){features.p, features.n});
    json_kv_f64(o, "bias", t->wide_bias);
    json_kv_f64(o, "l2", t->l2);
    write_columns(o, t);
    if (t->trees) {
      json_kv_f64(o, "table_linear", t->table_linear);
      json_kv_f64(o, "table_trees", t->table_trees);
      json_kv_f64(o, "table_bias", t->table_bias);
      json_out_key(o, "trees");
      trees_write(t->trees, o);
    }
    json_out_end(o);
  }
  buf_release(&features);
  return rc;
}

int model_task_write(const struct model_task *t, struct buf *json, struct error *e) {
  struct json_out o;
  json_out_init(&o, json, false);
  json_out_object(&o);
  json_kv_i64(&o, "format", MODEL_FORMAT);
  json_kv_c(&o, "name", t->name);
  json_kv_c(&o, "task", t->text ? t->text : "");
  json_out_key(&o, "blend");
  json_out_object(&o);
  json_kv_f64(&o, "deep", t->blend_deep);
  json_kv_f64(&o, "wide", t->blend_wide);
  json_kv_f64(&o, "bias", t->blend_bias);
  json_kv_bool(&o, "fitted", t->blend_fitted);
  json_kv_c(&o, "how",
            t->blend_fitted ? "fitted on the tuning split"
            : !t->tuning_n  ? "usual weights, not calibrated: no tuning examples"
                            : "fitted on the tuning split, drawn towards usual weights: fewer than 20 tuning examples of one kind");
  json_out_end(&o);
  json_out_key(&o, "examples");
  json_out_object(&o);
  json_kv_i64(&o, "train", t->n);
  json_kv_i64(&o, "train_yes", t->yes);
  json_kv_i64(&o, "tuning", t->tuning_n);
  json_kv_i64(&o, "tuning_yes", t->tuning_yes);
  json_out_end(&o);
  json_out_key(&o, "tuning_auroc");
  json_out_object(&o);
  json_kv_f64(&o, "blend", t->tuning_auroc);
  json_kv_f64(&o, "deep", t->tuning_auroc_deep);
  json_kv_f64(&o, "wide", t->tuning_auroc_wide);
  json_out_end(&o);
  json_out_key(&o, "thresholds");
  json_out_object(&o);
  for (int i = 0; i < t->thresholds; i++) json_kv_f64(&o, t->threshold[i].score, t->threshold[i].at);
  json_out_end(&o);
  if (t->wide) TRY(write_wide(t, &o, e));
  json_out_end(&o);
  buf_putc(json, '\n');
  return buf_check(json, e);
}

static int read_numbers(struct json j, const char *key, uint32_t n, char *out, size_t stride, struct error *e) {
  struct json list = json_get(j, key), item;
  uint32_t i = 0;
  if (json_kind(list) != JSON_ARRAY || json_count(list) != n)
    return error_set(e, E_CORRUPT, "task head: a list of the wide part has the wrong length");
  struct json_iter it = json_items(list);
  for (; i < n && json_next(&it, &item); i++) {
    double v;
    if (!json_f64(item, &v) || !isfinite((float)v))
      return error_set(e, E_CORRUPT, "task head: a weight of the wide part is no finite number");
    *(float *)(void *)(out + i * stride) = (float)v;
  }
  return OK;
}

static int read_wide(struct model_task *t, struct json j, struct error *e) {
  struct str features;
  struct json item;
  TRY(json_want_str(j, "features", &features, e));
  TRY(json_want_f64(j, "bias", &t->wide_bias, e));
  TRY(json_want_f64(j, "l2", &t->l2, e));
  TRY(feature_set_read(features, &t->features, e));
  uint32_t n = t->columns = feature_count(t->features), i = 0;
  t->wide = mem_alloc((size_t)n * sizeof *t->wide + 1);
  if (!t->wide) return error_set(e, E_NOMEM, "no memory for a task head");
  memset(t->wide, 0, (size_t)n * sizeof *t->wide);
  if (n == 0) return OK;
  for (size_t f = 0; f < WIDE_FIELDS; f++)
    TRY(read_numbers(j, wide_field[f].name, n, (char *)t->wide + wide_field[f].at, sizeof *t->wide, e));
  struct json log = json_get(j, "log");
  struct json_iter it = json_items(log);
  while (json_count(log) == n && i < n && json_next(&it, &item)) {
    if (!json_bool(item, &t->wide[i].log) || !(t->wide[i].sd > 0))
      return error_set(e, E_CORRUPT, "task head: a column of the wide part is unusable");
    i++;
  }
  if (i != n) return error_set(e, E_CORRUPT, "task head: a list of the wide part has the wrong length");
  if (json_kind(json_get(j, "trees")) == JSON_NONE) return OK;
  TRY(json_want_f64(j, "table_linear", &t->table_linear, e));
  TRY(json_want_f64(j, "table_trees", &t->table_trees, e));
  TRY(json_want_f64(j, "table_bias", &t->table_bias, e));
  return trees_read(json_get(j, "trees"), t->columns, &t->trees, e);
}

static uint32_t read_count(struct json j, const char *key) {
  int64_t v = 0;
  return json_i64(json_get(j, key), &v) && v >= 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

static double read_optional(struct json j, const char *key) {
  double v;
  return json_f64(json_get(j, key), &v) ? v : NAN;
}

static void read_thresholds(struct model_task *t, struct json j) {
  struct json_iter it = json_members(j);
  struct str key;
  struct json value;
  t->thresholds = 0;
  while (t->thresholds < MODEL_THRESHOLDS && json_next_member(&it, &key, &value)) {
    struct model_threshold *x = &t->threshold[t->thresholds];
    if (key.n >= sizeof x->score || !json_f64(value, &x->at)) continue;
    memcpy(x->score, key.p, key.n);
    x->score[key.n] = 0;
    t->thresholds++;
  }
}

double model_task_threshold(const struct model_task *t, const char *score) {
  for (int i = 0; i < t->thresholds; i++)
    if (strcmp(t->threshold[i].score, score) == 0) return t->threshold[i].at;
  return NAN;
}

static int read_head(struct model_task *t, struct json root, struct error *e) {
  struct str text, name;
  int64_t format;
  struct json blend = json_get(root, "blend"), n = json_get(root, "examples"), a = json_get(root, "tuning_auroc");
  TRY(json_want_i64(root, "format", &format, e));
  if (format == HEAD_TREES_OF_OTHERS)
    return error_set(e, E_VERSION,
                     "task head was written by an older version, whose auxiliary targets had trees of their own: train it again");
  if (format > MODEL_FORMAT) return error_set(e, E_VERSION, "task head was written by a newer version");
  TRY(json_want_str(root, "name", &name, e));
  if (!str_eqc(name, t->name)) return error_set(e, E_MISMATCH, "task head has another name than its file");
  TRY(json_want_str(root, "task", &text, e));
  t->text = mem_alloc(text.n + 1);
  if (!t->text) return error_set(e, E_NOMEM, "no memory for a task head");
  memcpy(t->text, text.p, text.n);
  t->text[text.n] = 0;
  TRY(json_want_f64(blend, "deep", &t->blend_deep, e));
  TRY(json_want_f64(blend, "wide", &t->blend_wide, e));
  TRY(json_want_f64(blend, "bias", &t->blend_bias, e));
  if (!json_bool(json_get(blend, "fitted"), &t->blend_fitted)) return error_set(e, E_CORRUPT, "task head: blend without its flag");
  t->n = read_count(n, "train"), t->yes = read_count(n, "train_yes");
  t->tuning_n = read_count(n, "tuning"), t->tuning_yes = read_count(n, "tuning_yes");
  t->tuning_auroc = read_optional(a, "blend");
  t->tuning_auroc_deep = read_optional(a, "deep");
  t->tuning_auroc_wide = read_optional(a, "wide");
  read_thresholds(t, json_get(root, "thresholds"));
  struct json wide = json_get(root, "wide");
  return json_kind(wide) == JSON_OBJECT ? read_wide(t, wide, e) : OK;
}

int model_task_read(struct model_task *t, const char *path, struct error *e) {
  struct arena a;
  struct json root;
  arena_init(&a, (size_t)256 << 20, 0);
  int rc = json_load(&a, path, &root, e);
  if (rc >= 0) rc = read_head(t, root, e);
  arena_free(&a);
  if (rc == E_INPUT) rc = error_set(e, E_CORRUPT, "task head cannot be read");
  return rc < 0 ? (error_where(e, path, 0, NULL), rc) : OK;
}
