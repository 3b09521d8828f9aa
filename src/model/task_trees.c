/* Boosted trees of a task head: their training (XGBoost's C API), their table, their file. */
#include "model/task_trees.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xgboost/c_api.h>

#include "base/json.h"
#include "base/thread.h"
#include "model/task_cox.h"

#define SEEDS 4
#define MANY 20000 /* rows from which on steps are larger and seeds fewer: the gain of small ones shrinks, their cost grows */
#define DEPTH 4
#define STEP 20 /* rounds between two looks at the held-out folds */
#define LOOKS 40
#define FOLDS_MAX 16
#define PATIENCE 4
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
      float x = row[n->feature];
      n = &t->node[n->left + !(isnan(x) ? n->missing_left : x < n->split)];
    }
    sum += (double)n->split;
  }
  return t->bias + t->scale * sum;
}

/* ---- training ---- */

static int check(int rc, struct error *e) {
  return rc == 0 ? OK : error_set(e, E_INPUT, "XGBoost refused a step (its message is held back: it may quote data)");
}

static int set(BoosterHandle b, const char *name, double value, struct error *e) {
  char text[32];
  snprintf(text, sizeof text, "%.9g", value);
  return check(XGBoosterSetParam(b, name, text), e);
}

static int matrix(const struct trees_data *d, DMatrixHandle *out, struct error *e) {
  float *label = mem_alloc(((size_t)d->n + 1) * sizeof *label);
  if (!label) return error_set(e, E_NOMEM, "no memory for the trees");
  for (uint32_t i = 0; i < d->n; i++) label[i] = (float)d->y[i];
  int rc = check(XGDMatrixCreateFromMat(d->x, d->n, d->columns, NAN, out), e);
  if (rc == OK) rc = check(XGDMatrixSetFloatInfo(*out, "label", label, d->n), e);
  mem_free(label);
  return rc;
}

/* The same settings for every task and data set (docs/accuracy.md says how they were chosen). */
static int booster(const struct trees_data *d, DMatrixHandle train, DMatrixHandle asked, uint64_t seed, double bias, BoosterHandle *out,
                   struct error *e) {
  DMatrixHandle both[2] = {train, asked};
  TRY(check(XGBoosterCreate(both, asked ? 2 : 1, out), e));
  BoosterHandle m = *out;
  TRY(check(XGBoosterSetParam(m, "objective", d->time ? "reg:squarederror" : "binary:logistic"), e));
  TRY(check(XGBoosterSetParam(m, "tree_method", "hist"), e));
  TRY(set(m, "base_score", d->time ? 0 : 1 / (1 + exp(-bias)), e));
  TRY(set(m, "disable_default_eval_metric", 1, e));
  TRY(set(m, "eta", d->n > MANY ? 0.1 : 0.05, e));
  TRY(set(m, "max_depth", DEPTH, e));
  TRY(set(m, "min_child_weight", 4, e));
  TRY(set(m, "subsample", 0.7, e));
  TRY(set(m, "colsample_bytree", fmax(0.2, fmin(1, 60.0 / d->columns)), e)); /* few columns: an interaction wants both in one tree */
  TRY(set(m, "lambda", 2, e));
  TRY(set(m, "max_bin", 64, e));
  TRY(set(m, "verbosity", 0, e));
  TRY(set(m, "nthread", 1, e)); /* the folds and the seeds share the threads out; and one thread gives the same bits everywhere */
  return set(m, "seed", (double)(seed % 1000000), e);
}

static int margin(BoosterHandle m, DMatrixHandle x, const float **out, struct error *e) {
  static const char config[] = "{\"type\":1,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,\"strict_shape\":false}";
  bst_ulong const *shape;
  bst_ulong dims;
  return check(XGBoosterPredictFromDMatrix(m, x, config, &shape, &dims, out), e);
}

/* Boosts on given rows (`at`, n of them; the matrix holds just those): one more tree a call. For times the gradient is our own: the library's
 * Cox objective of 1.7 loses the order of its labels where there are more than a thousand. */
struct boosting {
  const struct trees_data *d;
  BoosterHandle m;
  DMatrixHandle x;
  const int *at;
  uint32_t n;
  uint32_t *order; /* times only: places in `at` by falling time, and room for the rest */
  float *time, *gradient, *hessian;
  double *z, *slope, *curve;
  uint8_t *y;
};

static int boosting_open(struct boosting *b, struct error *e) {
  size_t n = (size_t)b->n + 1;
  if (!b->d->time) return OK;
  b->order = mem_alloc(n * sizeof *b->order);
  b->time = mem_alloc(3 * n * sizeof *b->time);
  b->z = mem_alloc(3 * n * sizeof *b->z);
  b->y = mem_alloc(n);
  if (!b->order || !b->time || !b->z || !b->y) return error_set(e, E_NOMEM, "no memory for the trees");
  b->gradient = b->time + n, b->hessian = b->gradient + n;
  b->slope = b->z + n, b->curve = b->slope + n;
  for (uint32_t i = 0; i < b->n; i++) {
    uint32_t row = b->at ? (uint32_t)b->at[i] : i;
    b->time[i] = b->d->time[row], b->y[i] = b->d->y[row];
  }
  return cox_order(b->time, NULL, 0, true, b->n, b->order) == b->n ? OK : error_set(e, E_NOMEM, "no memory for the trees");
}

static void boosting_close(struct boosting *b) {
  mem_free(b->order);
  mem_free(b->time);
  mem_free(b->z);
  mem_free(b->y);
}

static int boost_once(struct boosting *b, int round, struct error *e) {
  const float *p;
  if (!b->d->time) return check(XGBoosterUpdateOneIter(b->m, round, b->x), e);
  TRY(margin(b->m, b->x, &p, e));
  for (uint32_t i = 0; i < b->n; i++) b->z[i] = (double)p[i];
  (void)cox_loss(b->z, b->time, b->y, b->order, b->n, b->slope, b->curve);
  for (uint32_t i = 0; i < b->n; i++) b->gradient[i] = (float)b->slope[i], b->hessian[i] = fmaxf((float)b->curve[i], 1e-6f);
  return check(XGBoosterBoostOneIter(b->m, b->x, b->gradient, b->hessian, b->n), e);
}

struct job {
  const struct trees_data *d;
  DMatrixHandle all;
  uint64_t seed;
  double bias;
  int rounds, seeds; /* of the final boosters */
  float *seen;       /* (LOOKS, n) margins of the held-out rows */
  double loss[FOLDS_MAX][LOOKS];
  BoosterHandle model[SEEDS];
  int rc[FOLDS_MAX];
  struct error e[FOLDS_MAX];
};

static int slice(const struct job *j, int fold, bool inside, DMatrixHandle *out, int **index, uint32_t *count, struct error *e) {
  int *at = mem_alloc(((size_t)j->d->n + 1) * sizeof *at);
  uint32_t n = 0;
  if (!at) return error_set(e, E_NOMEM, "no memory for the trees");
  for (uint32_t i = 0; i < j->d->n; i++)
    if ((j->d->fold[i] == fold) == inside) at[n++] = (int)i;
  int rc = check(XGDMatrixSliceDMatrixEx(j->all, at, n, out, 0), e);
  *index = at, *count = n;
  return rc;
}

static double log_loss(double x, bool y) { return fmax(x, 0) - (y ? x : 0) + log1p(exp(-fabs(x))); }

/* Of the held-out rows of a fold, from margins by row. */
static double fold_loss(const struct job *j, int fold, const float *margins, double *z, uint32_t *order) {
  const struct trees_data *d = j->d;
  double loss = 0;
  for (uint32_t i = 0; i < d->n; i++)
    if (d->fold[i] == fold) {
      z[i] = (double)margins[i];
      if (!d->time) loss += log_loss(z[i], d->y[i]);
    }
  if (!d->time) return loss;
  return cox_loss(z, d->time, d->y, order, cox_order(d->time, d->fold, fold, true, d->n, order), NULL, NULL);
}

/* Boosts until the fold's own loss has not fallen for PATIENCE looks; later looks repeat the last one. */
static int one_fold(struct job *j, int fold, struct error *e) {
  DMatrixHandle rest = NULL, own = NULL;
  struct boosting b = {.d = j->d};
  int *at_rest = NULL, *at = NULL, rc = OK, best = 0;
  uint32_t n_rest, n, rows = j->d->n, *order = mem_alloc(((size_t)rows + 1) * sizeof *order);
  double *z = mem_alloc(((size_t)rows + 1) * sizeof *z), least = INFINITY;
  const float *p;
  if (!z || !order) TRY_OUT(error_set(e, E_NOMEM, "no memory for the trees"));
  TRY_OUT(slice(j, fold, false, &rest, &at_rest, &n_rest, e));
  TRY_OUT(slice(j, fold, true, &own, &at, &n, e));
  if (!n || !n_rest) goto out;
  TRY_OUT(booster(j->d, rest, own, j->seed + 100 + (uint64_t)fold, j->bias, &b.m, e));
  b.x = rest, b.at = at_rest, b.n = n_rest;
  TRY_OUT(boosting_open(&b, e));
  for (int look = 0; look < LOOKS; look++) {
    float *seen = j->seen + (size_t)look * rows;
    if (look - best >= PATIENCE) {
      for (uint32_t k = 0; k < n; k++) seen[at[k]] = seen[at[k] - (ptrdiff_t)rows];
      j->loss[fold][look] = j->loss[fold][look - 1];
      continue;
    }
    for (int i = 0; i < STEP; i++) TRY_OUT(boost_once(&b, look * STEP + i, e));
    TRY_OUT(margin(b.m, own, &p, e));
    for (uint32_t k = 0; k < n; k++) seen[at[k]] = p[k];
    double loss = j->loss[fold][look] = fold_loss(j, fold, seen, z, order);
    if (loss < least) least = loss, best = look;
  }
out:
  boosting_close(&b);
  if (b.m) XGBoosterFree(b.m);
  if (rest) XGDMatrixFree(rest);
  if (own) XGDMatrixFree(own);
  mem_free(at);
  mem_free(at_rest);
  mem_free(z);
  mem_free(order);
  return rc;
}

static int one_seed(struct job *j, int k, struct error *e) {
  TRY(booster(j->d, j->all, NULL, j->seed + (uint64_t)k, j->bias, &j->model[k], e));
  struct boosting b = {.d = j->d, .m = j->model[k], .x = j->all, .n = j->d->n};
  int rc = boosting_open(&b, e);
  for (int i = 0; rc == OK && i < j->rounds; i++) rc = boost_once(&b, i, e);
  boosting_close(&b);
  return rc;
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
  for (int k = 0; k < FOLDS_MAX; k++)
    if (j->rc[k] < 0) {
      if (e) *e = j->e[k];
      return j->rc[k];
    }
  return OK;
}

/* ---- from XGBoost's own JSON to our table ---- */

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

/* Appends one tree, breadth first, so that right children follow left ones. */
static int add_tree(struct trees *t, struct json tree, uint32_t cap, struct error *e) {
  uint32_t n = (uint32_t)json_count(json_get(tree, "left_children"));
  double *v = mem_alloc((5 * (size_t)n + 1) * sizeof *v);
  uint32_t *queue = mem_alloc((2 * (size_t)n + 1) * sizeof *queue);
  int rc = v && queue ? OK : error_set(e, E_NOMEM, "no memory for the trees");
  static const char *const name[] = {"left_children", "right_children", "split_indices", "split_conditions", "default_left"};
  for (int i = 0; i < 5 && rc == OK; i++) rc = copy_list(json_get(tree, name[i]), n, v + (size_t)i * n, e);
  if (rc == OK && (n == 0 || n > cap - t->nodes)) rc = error_set(e, E_CORRUPT, "a tree is too large");
  uint32_t head = 0, tail = 0, base = t->nodes;
  if (rc == OK) t->root[t->trees++] = base, queue[tail++] = 0;
  while (rc == OK && head < tail) {
    uint32_t at = queue[head];
    struct tree_node *node = &t->node[base + head++];
    double left = v[at], right = v[n + at];
    *node = (struct tree_node){.feature = LEAF, .split = (float)v[3 * (size_t)n + at]};
    if (left < 0) continue;
    if (!(left < n && right >= 0 && right < n) || tail + 2 > n) {
      rc = error_set(e, E_CORRUPT, "a tree points outside itself");
      break;
    }
    node->feature = (uint32_t)v[2 * (size_t)n + at];
    node->missing_left = v[4 * (size_t)n + at] != 0;
    node->left = base + tail;
    queue[tail++] = (uint32_t)left, queue[tail++] = (uint32_t)right;
  }
  if (rc == OK) t->nodes = base + tail;
  mem_free(v);
  mem_free(queue);
  return rc;
}

static int room(struct trees **out, uint32_t trees, uint32_t nodes, struct error *e) {
  struct trees *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "no memory for the trees");
  *t = (struct trees){.node = mem_alloc(((size_t)nodes + 1) * sizeof *t->node), .root = mem_alloc(((size_t)trees + 1) * sizeof *t->root)};
  *out = t;
  return t->node && t->root ? OK : error_set(e, E_NOMEM, "no memory for the trees");
}

static int add_booster(struct trees *t, BoosterHandle m, uint32_t cap, struct error *e) {
  const char *text;
  bst_ulong n;
  struct json_parser *jp;
  struct json root;
  TRY(check(XGBoosterSaveModelToBuffer(m, "{\"format\":\"json\"}", &n, &text), e));
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, text, n, n, &root, e);
  static const char *const path[] = {"learner", "gradient_booster", "model", "trees"};
  for (size_t i = 0; rc >= 0 && i < sizeof path / sizeof *path; i++) root = json_get(root, path[i]);
  if (rc >= 0) {
    struct json_iter it = json_items(root);
    struct json tree;
    while (rc >= 0 && json_next(&it, &tree)) rc = add_tree(t, tree, cap, e);
  }
  json_parser_free(jp);
  return rc;
}

static int keep(const struct job *j, struct trees **out, struct error *e) {
  uint32_t trees = (uint32_t)(j->seeds * j->rounds), nodes = trees * (2u << DEPTH);
  TRY(room(out, trees, nodes, e));
  (*out)->rounds = (uint32_t)j->rounds;
  (*out)->bias = j->bias;
  (*out)->scale = 1.0 / j->seeds;
  for (int k = 0; k < j->seeds; k++) TRY(add_booster(*out, j->model[k], nodes, e));
  return OK;
}

static int choose_rounds(struct job *j, struct pool *pool, double *oof, struct error *e) {
  TRY(together(j, pool, folds_run, e));
  double least = INFINITY;
  int best = 0;
  for (int look = 0; look < LOOKS; look++) {
    double loss = 0;
    for (int f = 0; f < j->d->folds; f++) loss += j->loss[f][look];
    if (loss < least) least = loss, best = look;
  }
  j->rounds = (best + 1) * STEP;
  for (uint32_t i = 0; i < j->d->n; i++) oof[i] = (double)j->seen[(size_t)best * j->d->n + i];
  return OK;
}

int trees_fit(const struct trees_data *d, uint64_t seed, struct pool *pool, struct trees **out, double *oof, struct error *e) {
  uint32_t yes = 0;
  struct job *j;
  int rc = OK;
  BUG_IF(d->folds < 2 || d->folds > FOLDS_MAX);
  *out = NULL;
  for (uint32_t i = 0; i < d->n; i++) yes += d->y[i];
  if (yes < TREES_ENOUGH || (!d->time && d->n - yes < TREES_ENOUGH) || !d->columns) return OK;
  j = mem_alloc(sizeof *j);
  if (!j) return error_set(e, E_NOMEM, "no memory for the trees");
  memset(j, 0, sizeof *j);
  j->d = d, j->seed = seed;
  j->seeds = d->n > MANY ? SEEDS / 2 : SEEDS;
  j->bias = d->time ? 0 : log((double)yes / (d->n - yes));
  j->seen = mem_alloc((size_t)LOOKS * d->n * sizeof *j->seen);
  if (!j->seen) TRY_OUT(error_set(e, E_NOMEM, "no memory for the trees"));
  memset(j->seen, 0, (size_t)LOOKS * d->n * sizeof *j->seen);
  TRY_OUT(matrix(d, &j->all, e));
  TRY_OUT(choose_rounds(j, pool, oof, e));
  TRY_OUT(together(j, pool, seeds_run, e));
  TRY_OUT(keep(j, out, e));
out:
  for (int k = 0; k < SEEDS; k++)
    if (j->model[k]) XGBoosterFree(j->model[k]);
  if (j->all) XGDMatrixFree(j->all);
  mem_free(j->seen);
  mem_free(j);
  if (rc < 0) trees_free(*out), *out = NULL;
  return rc;
}

/* ---- the file ---- */

enum { COL_FEATURE, COL_SPLIT, COL_LEFT, COL_MISSING, COLS };
static const char *const column_name[COLS] = {"feature", "split", "left", "missing_left"};

void trees_write(const struct trees *t, struct json_out *o) {
  json_out_object(o);
  json_kv_f64(o, "bias", t->bias);
  json_kv_f64(o, "scale", t->scale);
  json_kv_i64(o, "rounds", t->rounds);
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
  size_t nodes = json_count(json_get(j, "feature")), trees = json_count(json_get(j, "root"));
  if (nodes == 0 || nodes > NODES_MAX || trees == 0 || trees > nodes) return error_set(e, E_CORRUPT, "task head: trees without nodes");
  int rc = room(out, (uint32_t)trees, (uint32_t)nodes, e);
  struct trees *t = *out;
  if (rc == OK) rc = json_want_f64(j, "bias", &t->bias, e);
  if (rc == OK) rc = json_want_f64(j, "scale", &t->scale, e);
  if (rc == OK) rc = json_want_i64(j, "rounds", &rounds, e);
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
