/* Boosted trees of a task head: how many rounds, out-of-fold answers, their table, their file. */
#include "model/task_trees.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/thread.h"
#include "model/task_boost.h"
#include "model/task_cox.h"

/* Persons from which on steps are larger, and rows from which on boosters are fewer: what more gain shrinks, what they cost grows. */
#define MANY 20000
/* Boosters that are averaged: one differs from the next by a third of a logit where rows are few, which costs a mean of four a thousandth
 * of log loss, of sixteen a quarter of that. Those of a fold only say how many rounds and what weight. Half of both where rows are many. */
#define SEEDS 16
#define FOLD_SEEDS 4
_Static_assert(SEEDS <= TABLE_FOLDS_MAX, "rc holds folds or boosters");
#define STEP 25 /* rounds between two looks at the held-out folds */
#define LOOKS 64
#define PATIENCE 5
/* Deep trees are asked up to so many rows x columns, where that takes a core some five seconds; their steps are large, so that they need fewer rounds,
 * and their trees have a hundred times the nodes, all of which the head's file keeps. */
#define DEEP_CELLS 1e6
#define DEEP_LOOKS 16
#define DEEP_PATIENCE 4
/* Bins of a column where persons are few and trees shallow. Many persons, and deep trees, have use for values that lie close together (docs/accuracy.md). */
#define COARSE_BINS 64
#define LEAF UINT32_MAX
#define NODES_MAX (1u << 26)

void trees_free(struct trees *t) {
  if (!t) return;
  mem_free(t->node);
  mem_free(t->root);
  mem_free(t);
}

double trees_logit(const struct trees *t, const float *row) {
  double sum = 0;
  for (uint32_t i = 0; i < t->trees; i++) {
    const struct tree_node *n = &t->node[t->root[i]];
    while (n->feature != LEAF) {
      float x = row[n->feature]; /* no branch: which way is a guess that is often wrong */
      n = &t->node[n->left + !((x < n->split) | (isnan(x) & n->missing_left))];
    }
    sum += (double)n->split;
  }
  return t->bias + t->scale * sum;
}

/* ---- training ---- */

static bool are_many(const struct trees_data *d) { return (d->persons ? d->persons : d->n) > MANY; }

/* Shallow (a level more where splits rest on more: many persons, or other targets), or as deep as trees go, with leaves of a few rows: these win
 * where a case much like the one asked is among those learned from. */
static struct boost_settings settings(const struct trees_data *d, bool deep, bool taught) {
  bool many = are_many(d);
  double weight = d->weight > 0 ? d->weight : 1;
  if (deep) return (struct boost_settings){.depth = 8, .eta = 0.1, .subsample = 0.8, .lambda = 0.1 / weight, .least_weight = 0.01 / weight};
  return (struct boost_settings){.depth = many || taught ? 4 : 3,
                                 .eta = many ? 0.08 : 0.04,
                                 .subsample = many ? 0.7 : 0.5,
                                 .lambda = 2 / weight,
                                 .least_weight = 1 / weight,
                                 .drawn = (uint32_t)fmax(8, fmin(0.3 * d->columns, fmax(80, 0.1 * d->columns)))};
}

struct job {
  const struct trees_data *d;
  struct boost_settings s;
  struct binned *bins[2]; /* shallow, deep */
  struct boost_labels labels;
  uint8_t *other; /* (others, n) of which there are enough */
  int others;
  uint64_t seed;
  double bias;
  bool deep;         /* the settings s; whether others teach: labels.others */
  int rounds, seeds; /* of the final boosters */
  int fold_seeds;    /* boosters that have not seen a fold */
  uint32_t *all;     /* (n) every row */
  float *seen;       /* (LOOKS, n) margins of the held-out rows */
  double loss[TABLE_FOLDS_MAX][LOOKS];
  struct boosting *model[SEEDS];
  int rc[TABLE_FOLDS_MAX];
  struct error e[TABLE_FOLDS_MAX];
};

static int looks(const struct job *j) { return j->deep ? DEEP_LOOKS : LOOKS; }

static double log_loss(double x, bool y) { return fmax(x, 0) - (y ? x : 0) + log1p(exp(-fabs(x))); }

/* Log loss after the best slope and bias (Newton): the table sets these itself later (table_fit), and the rounds that rank best come after those
 * whose raw margins are calibrated best. z: (n) margins of the rows at `row`. */
static double calibrated_loss(const double *z, const uint8_t *y, const uint32_t *row, uint32_t n) {
  double slope = 1, bias = 0, loss = 0;
  for (int it = 0; it < 12; it++) {
    double g[2] = {0}, h[3] = {1e-6, 0, 1e-6};
    for (uint32_t i = 0; i < n; i++) {
      double p = 1 / (1 + exp(-(slope * z[i] + bias))), r = p - y[row[i]], w = p * (1 - p);
      g[0] += r * z[i], g[1] += r;
      h[0] += w * z[i] * z[i], h[1] += w * z[i], h[2] += w;
    }
    double det = h[0] * h[2] - h[1] * h[1];
    if (!(det > 1e-9 * h[0] * h[2])) break;
    double by[2] = {(h[2] * g[0] - h[1] * g[1]) / det, (h[0] * g[1] - h[1] * g[0]) / det};
    slope -= fmax(-0.5, fmin(0.5, by[0])), bias -= fmax(-0.5, fmin(0.5, by[1]));
    if (fabs(by[0]) + fabs(by[1]) < 1e-7) break;
  }
  for (uint32_t i = 0; i < n; i++) loss += log_loss(slope * z[i] + bias, y[row[i]]);
  return loss;
}

/* Of held-out rows (fold < 0: all of them, each from a booster that has not seen it), from margins by row. */
static double look_loss(const struct job *j, int fold, const float *margins, double *z, uint32_t *order) {
  const struct trees_data *d = j->d;
  uint32_t n = 0;
  for (uint32_t i = 0; i < d->n; i++) {
    if (fold >= 0 && d->fold[i] != fold) continue;
    if (!d->time) order[n] = i;
    z[d->time ? i : n] = (double)margins[i];
    n++;
  }
  if (!d->time) return calibrated_loss(z, d->y, order, n);
  return cox_calibrated(z, d->time, d->y, order, cox_order(d->time, d->fold, fold, true, d->n, order));
}

struct fold { /* boosters that have not seen it */
  struct boosting *m[FOLD_SEEDS];
  uint32_t *rest, *order, n;
  double *z;
};

static int fold_open(const struct job *j, int fold, struct fold *f, struct error *e) {
  size_t n = (size_t)j->d->n + 1;
  f->rest = mem_alloc(n * sizeof *f->rest);
  f->order = mem_alloc(n * sizeof *f->order);
  f->z = mem_alloc(n * sizeof *f->z);
  if (!f->rest || !f->order || !f->z) return error_set(e, E_NOMEM, "no memory for the trees");
  for (uint32_t i = 0; i < j->d->n; i++)
    if (j->d->fold[i] != fold) f->rest[f->n++] = i;
  for (int k = 0; k < j->fold_seeds && f->n && f->n < j->d->n; k++)
    TRY(boosting_new(j->bins[j->deep], &j->labels, f->rest, f->n, &j->s, j->seed + 100 + (uint64_t)(fold * j->fold_seeds + k), j->bias,
                     &f->m[k], e));
  return OK;
}

/* Boosts until the fold's own loss has not fallen for some looks; later looks repeat the last one. */
static int fold_boost(struct job *j, int fold, struct fold *f, struct error *e) {
  uint32_t rows = j->d->n;
  int patience = j->deep ? DEEP_PATIENCE : PATIENCE;
  double least = INFINITY;
  int best = 0;
  if (!f->m[0]) return OK;
  for (int look = 0; look < looks(j); look++) {
    float *seen = j->seen + (size_t)look * rows;
    bool rest = look - best >= patience;
    for (int k = 0; k < j->fold_seeds && !rest; k++)
      for (int i = 0; i < STEP; i++) TRY(boost_once(f->m[k], e));
    for (uint32_t i = 0; i < rows; i++) {
      if (j->d->fold[i] != fold) continue;
      float sum = 0;
      for (int k = 0; k < j->fold_seeds; k++) sum += boosting_margin(f->m[k])[i];
      seen[i] = sum / (float)j->fold_seeds;
    }
    double loss = j->loss[fold][look] = rest ? j->loss[fold][look - 1] : look_loss(j, fold, seen, f->z, f->order);
    if (loss < least) least = loss, best = look;
  }
  return OK;
}

static int one_fold(struct job *j, int fold, struct error *e) {
  struct fold f = {0};
  int rc = fold_open(j, fold, &f, e);
  if (rc == OK) rc = fold_boost(j, fold, &f, e);
  for (int k = 0; k < FOLD_SEEDS; k++) boosting_free(f.m[k]);
  mem_free(f.rest);
  mem_free(f.order);
  mem_free(f.z);
  return rc;
}

static int one_seed(struct job *j, int k, struct error *e) {
  TRY(boosting_new(j->bins[j->deep], &j->labels, j->all, j->d->n, &j->s, j->seed + (uint64_t)k, j->bias, &j->model[k], e));
  for (int i = 0; i < j->rounds; i++) TRY(boost_once(j->model[k], e));
  return OK;
}

static void folds_run(void *ctx, int worker, int workers) {
  struct job *j = ctx;
  for (int k = worker; k < j->d->folds; k += workers) j->rc[k] = one_fold(j, k, &j->e[k]);
}

static void seeds_run(void *ctx, int worker, int workers) {
  struct job *j = ctx;
  for (int k = worker; k < j->seeds; k += workers) j->rc[k] = one_seed(j, k, &j->e[k]);
}

static int together(struct job *j, struct pool *pool, void (*f)(void *, int, int), struct error *e) {
  memset(j->rc, 0, sizeof j->rc);
  pool_run(pool, f, j);
  for (int k = 0; k < TABLE_FOLDS_MAX; k++)
    if (j->rc[k] < 0) {
      if (e) *e = j->e[k];
      return j->rc[k];
    }
  return OK;
}

static int room(struct trees **out, uint32_t trees, uint32_t nodes, struct error *e) {
  struct trees *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "no memory for the trees");
  *t = (struct trees){.node = mem_alloc(((size_t)nodes + 1) * sizeof *t->node), .root = mem_alloc(((size_t)trees + 1) * sizeof *t->root)};
  *out = t;
  return t->node && t->root ? OK : error_set(e, E_NOMEM, "no memory for the trees");
}

static int keep(const struct job *j, struct trees **out, struct error *e) {
  uint32_t trees = 0, nodes = 0;
  for (int k = 0; k < j->seeds; k++) trees += boosting_trees(j->model[k]), nodes += boosting_nodes(j->model[k]);
  TRY(room(out, trees, nodes, e));
  struct trees *t = *out;
  t->rounds = (uint32_t)j->rounds, t->deep = j->deep, t->taught = j->labels.others > 0, t->bias = j->bias, t->scale = 1.0 / j->seeds;
  for (int k = 0; k < j->seeds; k++) {
    boosting_write(j->model[k], t->node, t->nodes, t->root + t->trees);
    t->trees += boosting_trees(j->model[k]), t->nodes += boosting_nodes(j->model[k]);
  }
  return OK;
}

/* Times are compared within a fold only: hazards of different boosters have no common scale. */
static double loss_at(const struct job *j, int look, double *z, uint32_t *order) {
  double loss = 0;
  if (!j->d->time) return look_loss(j, -1, j->seen + (size_t)look * j->d->n, z, order);
  for (int f = 0; f < j->d->folds; f++) loss += j->loss[f][look];
  return loss;
}

/* The look of the least loss. */
static int best_look(const struct job *j, int *look, double *least, struct error *e) {
  double *z = mem_alloc(((size_t)j->d->n + 1) * sizeof *z);
  uint32_t *order = mem_alloc(((size_t)j->d->n + 1) * sizeof *order);
  bool room = z && order;
  *look = 0, *least = INFINITY;
  for (int k = 0; k < looks(j) && room; k++) {
    double loss = loss_at(j, k, z, order);
    if (loss < *least) *least = loss, *look = k;
  }
  mem_free(z);
  mem_free(order);
  return room ? OK : error_set(e, E_NOMEM, "no memory for the trees");
}

static int use(struct job *j, bool deep, bool taught, struct error *e) {
  const struct trees_data *d = j->d;
  j->deep = deep, j->s = settings(d, deep, taught);
  j->labels = (struct boost_labels){.y = d->y, .time = d->time, .other = j->other, .others = taught ? j->others : 0};
  return j->bins[deep] ? OK : binned_new(d->x, d->n, d->columns, deep || are_many(d) ? BOOST_BINS : COARSE_BINS, &j->bins[deep], e);
}

/* Settings, teachers and rounds: those of the least loss on persons left out. */
static int choose(struct job *j, struct pool *pool, double *oof, struct error *e) {
  static const struct { bool deep, taught; } way[] = {{false, false}, {false, true}, {true, false}};
  double least = INFINITY, loss;
  int best = 0;
  for (int k = 0; k < 3; k++) {
    int look;
    if (way[k].deep && (double)j->d->n * j->d->columns > DEEP_CELLS) continue;
    if (way[k].taught && !j->others) continue;
    TRY(use(j, way[k].deep, way[k].taught, e));
    TRY(together(j, pool, folds_run, e));
    TRY(best_look(j, &look, &loss, e));
    if (!(loss < least)) continue;
    least = loss, best = k, j->rounds = (look + 1) * STEP;
    for (uint32_t i = 0; i < j->d->n; i++) oof[i] = (double)j->seen[(size_t)look * j->d->n + i];
  }
  return use(j, way[best].deep, way[best].taught, e);
}

/* Targets of which there is too little of either kind would only add noise to the gains. */
static int keep_others(struct job *j, struct error *e) {
  const struct trees_data *d = j->d;
  BUG_IF(d->others >= BOOST_TARGETS || (d->time && d->others));
  j->other = mem_alloc((size_t)d->others * d->n + 1);
  if (!j->other) return error_set(e, E_NOMEM, "no memory for the trees");
  for (int k = 0; k < d->others; k++) {
    const uint8_t *y = d->other + (size_t)k * d->n;
    uint32_t yes = 0;
    for (uint32_t i = 0; i < d->n; i++) yes += y[i];
    if (yes >= TREES_ENOUGH && d->n - yes >= TREES_ENOUGH) memcpy(j->other + (size_t)j->others++ * d->n, y, d->n);
  }
  return OK;
}

int trees_fit(const struct trees_data *d, uint64_t seed, struct pool *pool, struct trees **out, double *oof, struct error *e) {
  uint32_t yes = 0;
  struct job *j;
  int rc = OK;
  BUG_IF(!d->rounds && (d->folds < 2 || d->folds > TABLE_FOLDS_MAX));
  *out = NULL;
  for (uint32_t i = 0; i < d->n; i++) yes += d->y[i];
  if (yes < TREES_ENOUGH || (!d->time && d->n - yes < TREES_ENOUGH) || !d->columns) return OK;
  j = mem_alloc(sizeof *j);
  if (!j) return error_set(e, E_NOMEM, "no memory for the trees");
  memset(j, 0, sizeof *j);
  j->d = d, j->seed = seed, j->rounds = d->rounds;
  j->bias = d->time ? 0 : log((double)yes / (d->n - yes));
  j->seen = mem_alloc(((size_t)(d->rounds ? 0 : LOOKS) * d->n + 1) * sizeof *j->seen);
  j->all = mem_alloc(((size_t)d->n + 1) * sizeof *j->all);
  if (!j->seen || !j->all) TRY_OUT(error_set(e, E_NOMEM, "no memory for the trees"));
  for (uint32_t i = 0; i < d->n; i++) j->all[i] = i;
  TRY_OUT(keep_others(j, e));
  j->fold_seeds = d->n > MANY ? FOLD_SEEDS / 2 : FOLD_SEEDS;
  j->seeds = !d->rounds ? j->fold_seeds : d->n > MANY ? SEEDS / 2 : SEEDS; /* the first fit only serves to weigh it */
  TRY_OUT(d->rounds ? use(j, d->deep, d->taught, e) : choose(j, pool, oof, e));
  TRY_OUT(together(j, pool, seeds_run, e));
  TRY_OUT(keep(j, out, e));
out:
  for (int k = 0; k < SEEDS; k++) boosting_free(j->model[k]);
  for (int k = 0; k < 2; k++) binned_free(j->bins[k]);
  mem_free(j->seen);
  mem_free(j->all);
  mem_free(j->other);
  mem_free(j);
  if (rc < 0) trees_free(*out), *out = NULL;
  return rc;
}

/* ---- the file ---- */

enum { COL_FEATURE, COL_SPLIT, COL_LEFT, COL_MISSING, COLS };
static const char *const column_name[COLS] = {"feature", "split", "left", "missing_left"};

static int copy_list(struct json list, uint32_t n, double *out, struct error *e) {
  struct json_iter it = json_items(list);
  struct json item;
  uint32_t i = 0;
  bool yes;
  while (i < n && json_next(&it, &item)) {
    if (json_bool(item, &yes))
      out[i++] = yes;
    else if (json_f64(item, &out[i]))
      i++;
    else
      break;
  }
  return i == n && json_count(list) == n ? OK : error_set(e, E_CORRUPT, "a list of a tree has the wrong length");
}

void trees_write(const struct trees *t, struct json_out *o) {
  json_out_object(o);
  json_kv_f64(o, "bias", t->bias);
  json_kv_f64(o, "scale", t->scale);
  json_kv_i64(o, "rounds", t->rounds);
  json_kv_bool(o, "deep", t->deep);
  json_kv_bool(o, "taught", t->taught);
  json_out_key(o, "root");
  json_out_array(o);
  for (uint32_t i = 0; i < t->trees; i++) json_out_i64(o, t->root[i]);
  json_out_end(o);
  for (int c = 0; c < COLS; c++) {
    json_out_key(o, column_name[c]);
    json_out_array(o);
    for (uint32_t i = 0; i < t->nodes; i++) {
      const struct tree_node *n = &t->node[i];
      if (c == COL_SPLIT)
        json_out_f32(o, n->split);
      else
        json_out_i64(o, c == COL_FEATURE ? (n->feature == LEAF ? -1 : (int64_t)n->feature)
                        : c == COL_LEFT  ? (int64_t)n->left
                                         : (int64_t)n->missing_left);
    }
    json_out_end(o);
  }
  json_out_end(o);
}

/* Children lie behind their parent, so that no walk can go round for ever. */
static bool node_ok(const struct trees *t, uint32_t i, uint32_t columns) {
  const struct tree_node *n = &t->node[i];
  if (!isfinite(n->split)) return false;
  return n->feature == LEAF || (n->feature < columns && n->left > i && n->left < t->nodes - 1);
}

static int read_nodes(struct trees *t, struct json j, uint32_t nodes, uint32_t columns, struct error *e) {
  double *v = mem_alloc(((size_t)COLS * nodes + 1) * sizeof *v);
  int rc = v ? OK : error_set(e, E_NOMEM, "no memory for the trees");
  for (int c = 0; c < COLS && rc == OK; c++) rc = copy_list(json_get(j, column_name[c]), nodes, v + (size_t)c * nodes, e);
  for (uint32_t i = 0; i < nodes && rc == OK; i++) {
    double feature = v[i], left = v[(size_t)COL_LEFT * nodes + i];
    if (!(feature >= -1 && feature < columns) || !(left >= 0 && left < nodes)) {
      rc = error_set(e, E_CORRUPT, "task head: a tree points outside itself");
      break;
    }
    t->node[i] = (struct tree_node){.feature = feature < 0 ? LEAF : (uint32_t)feature,
                                    .left = (uint32_t)left,
                                    .split = (float)v[(size_t)COL_SPLIT * nodes + i],
                                    .missing_left = v[(size_t)COL_MISSING * nodes + i] != 0};
  }
  t->nodes = nodes;
  for (uint32_t i = 0; i < nodes && rc == OK; i++)
    if (!node_ok(t, i, columns)) rc = error_set(e, E_CORRUPT, "task head: a tree is no tree");
  mem_free(v);
  return rc;
}

int trees_read(struct json j, uint32_t columns, struct trees **out, struct error *e) {
  int64_t rounds;
  struct json deep = json_get(j, "deep"), taught = json_get(j, "taught"); /* not there before there was a choice */
  size_t nodes = json_count(json_get(j, "feature")), trees = json_count(json_get(j, "root"));
  if (nodes == 0 || nodes > NODES_MAX || trees == 0 || trees > nodes) return error_set(e, E_CORRUPT, "task head: trees without nodes");
  int rc = room(out, (uint32_t)trees, (uint32_t)nodes, e);
  struct trees *t = *out;
  if (rc == OK) rc = json_want_f64(j, "bias", &t->bias, e);
  if (rc == OK) rc = json_want_f64(j, "scale", &t->scale, e);
  if (rc == OK) rc = json_want_i64(j, "rounds", &rounds, e);
  if (rc == OK && json_kind(deep) != JSON_NONE && !json_bool(deep, &t->deep))
    rc = error_set(e, E_CORRUPT, "task head: deep is no truth value");
  if (rc == OK && json_kind(taught) != JSON_NONE && !json_bool(taught, &t->taught))
    rc = error_set(e, E_CORRUPT, "task head: taught is no truth value");
  if (rc == OK) rc = read_nodes(t, j, (uint32_t)nodes, columns, e);
  struct json_iter it = json_items(json_get(j, "root"));
  struct json item;
  int64_t root;
  while (rc == OK && t->trees < trees && json_next(&it, &item)) {
    if (!json_i64(item, &root) || root < 0 || (uint64_t)root >= nodes) rc = error_set(e, E_CORRUPT, "task head: a tree without its root");
    if (rc == OK) t->root[t->trees++] = (uint32_t)root;
  }
  if (rc == OK) t->rounds = rounds < 0 ? 0 : (uint32_t)rounds;
  if (rc < 0) trees_free(t), *out = NULL;
  return rc;
}
