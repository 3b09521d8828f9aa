/* Trees and Cox's likelihood against direct computations. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/random.h"
#include "base/thread.h"
#include "model/task_boost.h"
#include "model/task_cox.h"
#include "model/task_trees.h"
#include "model/task_wide.h"
#include "model/model_internal.h"

enum { ROWS = 1400, COLUMNS = 12, COPIES = 600 };
static float x[ROWS * COLUMNS], lived[ROWS];
static uint8_t y[ROWS], fold[ROWS];

/* An interaction of the first two columns, and a column whose absence says yes: nothing that is linear. */
static void make(bool times) {
  struct rng r;
  rng_init(&r, 7, 0);
  for (uint32_t i = 0; i < ROWS; i++) {
    float *row = x + i * COLUMNS;
    for (int j = 0; j < COLUMNS; j++) row[j] = (float)rng_normal(&r);
    if (rng_uniform(&r) < 0.3) row[2] = NAN;
    double z = 1.8 * (row[0] * row[1] > 0 ? 1 : -1) + (isnan(row[2]) ? 1.2 : 0) - 0.6;
    double event = -log(rng_uniform(&r)) / exp(z), end = -log(rng_uniform(&r)) * 2;
    y[i] = times ? event < end : rng_uniform(&r) < 1 / (1 + exp(-z));
    lived[i] = (float)fmin(event, end);
    fold[i] = (uint8_t)(i % 5);
  }
}

static void check_same(const struct trees *a, const struct trees *b) {
  for (uint32_t i = 0; i < ROWS; i++) assert_true(trees_logit(a, x + i * COLUMNS) == trees_logit(b, x + i * COLUMNS));
}

static double discrimination(const double *score, uint32_t rows, bool times) {
  double pairs = 0, right = 0;
  for (uint32_t i = 0; i < rows; i++)
    for (uint32_t k = 0; k < rows; k++) {
      if (!y[i] || (times ? lived[k] <= lived[i] : y[k])) continue;
      pairs++, right += score[i] > score[k] ? 1 : score[i] == score[k] ? 0.5 : 0;
    }
  return right / pairs;
}

/* The last fit: more boosters of the same rounds on the same rows, averaged, so the same answers but for the draws. */
static void check_last_fit(const struct trees *first, struct trees_data d, struct pool *pool, const double *answer) {
  struct error e = {0};
  struct trees *last = NULL;
  double apart = 0, width = 0;
  d.rounds = (int)first->rounds, d.deep = first->deep;
  assert_int_equal(trees_fit(&d, 3, pool, &last, NULL, &e), OK);
  assert_true(last->rounds == first->rounds && last->deep == first->deep && last->trees == 16 * last->rounds &&
              first->trees == 4 * first->rounds);
  for (uint32_t i = 0; i < ROWS; i++) {
    double off = trees_logit(last, x + i * COLUMNS) - answer[i];
    apart += off * off, width += answer[i] * answer[i];
  }
  assert_true(apart > 0 && apart < 0.02 * width);
  trees_free(last);
}

/* Written and read again, with a part of the text replaced by another of the same length. */
static int reread(const struct trees *t, uint32_t columns, const char *part, const char *other, struct trees **out) {
  struct error e = {0};
  struct buf b = {0};
  struct json_out o;
  struct json_parser *jp;
  struct json root;
  json_out_init(&o, &b, false);
  trees_write(t, &o);
  if (part) {
    char *at = strstr(buf_cstr(&b), part);
    assert_non_null(at);
    assert_int_equal(strlen(part), strlen(other));
    memcpy(at, other, strlen(other));
  }
  assert_int_equal(json_parser_new(&jp, &e), OK);
  assert_int_equal(json_parse(jp, b.p, b.n, b.n, &root, &e), OK);
  *out = NULL;
  int rc = trees_read(root, columns, out, &e);
  json_parser_free(jp);
  buf_release(&b);
  return rc;
}

static void fit_and_reread(bool times) {
  struct error e = {0};
  struct pool *one, *two;
  struct trees *t = NULL, *again = NULL, *read = NULL;
  static double oof[ROWS], oof2[ROWS];
  make(times);
  struct trees_data d = {.x = x, .y = y, .fold = fold, .time = times ? lived : NULL, .n = ROWS, .columns = COLUMNS, .folds = 5};
  assert_int_equal(pool_new(&one, 1, &e), OK);
  assert_int_equal(pool_new(&two, 2, &e), OK);
  assert_int_equal(trees_fit(&d, 3, one, &t, oof, &e), OK);
  assert_int_equal(trees_fit(&d, 3, two, &again, oof2, &e), OK);
  assert_non_null(t);
  check_same(t, again); /* whatever the number of threads */
  assert_true(!t->deep && !again->deep);
  assert_memory_equal(oof, oof2, sizeof oof);
  double seen = discrimination(oof, ROWS, times), whole[ROWS];
  for (uint32_t i = 0; i < ROWS; i++) whole[i] = trees_logit(t, x + i * COLUMNS);
  assert_true(seen > 0.72); /* of persons left out; a linear score has 0.5 on the interaction */
  assert_true(discrimination(whole, ROWS, times) > seen);
  if (!times) check_last_fit(t, d, two, whole);
  assert_int_equal(reread(t, COLUMNS, NULL, NULL, &read), OK);
  check_same(t, read);
  trees_free(read);
  assert_int_equal(reread(t, 2, NULL, NULL, &read), E_CORRUPT); /* asks for columns that are not there */
  assert_null(read);
  trees_free(t), trees_free(again);
  pool_free(one), pool_free(two);
}

static void test_yes_no(void **state) {
  (void)state;
  fit_and_reread(false);
}
static void test_times(void **state) {
  (void)state;
  fit_and_reread(true);
}

/* Outcomes that no rule foretells; but most persons stand three times in the table, in any fold. */
static void make_copies(bool times) {
  struct rng r;
  rng_init(&r, 8, 0);
  for (uint32_t i = 0; i < COPIES; i++) {
    uint32_t of = i < COPIES / 3 ? i : i % (COPIES / 3);
    if (of != i) {
      memcpy(x + i * COLUMNS, x + of * COLUMNS, COLUMNS * sizeof *x);
      y[i] = y[of], lived[i] = lived[of];
    } else {
      for (int j = 0; j < COLUMNS; j++) x[i * COLUMNS + (uint32_t)j] = (float)rng_normal(&r);
      double event = -log(rng_uniform(&r)), end = -log(rng_uniform(&r)) * 2;
      y[i] = times ? event < end : rng_uniform(&r) < 0.5;
      lived[i] = (float)fmin(event, end);
    }
    fold[i] = (uint8_t)rng_below(&r, 5);
  }
}

static void deep_for_copies(bool times) {
  struct error e = {0};
  struct pool *one, *two;
  struct trees *t = NULL, *again = NULL, *last = NULL, *shallow = NULL, *read = NULL;
  double oof[COPIES], oof2[COPIES], own[COPIES];
  make_copies(times);
  struct trees_data d = {.x = x, .y = y, .fold = fold, .time = times ? lived : NULL, .n = COPIES, .columns = COLUMNS, .folds = 5};
  assert_int_equal(pool_new(&one, 1, &e), OK);
  assert_int_equal(pool_new(&two, 2, &e), OK);
  assert_int_equal(trees_fit(&d, 3, one, &t, oof, &e), OK);
  assert_int_equal(trees_fit(&d, 3, two, &again, oof2, &e), OK);
  assert_true(t->deep && again->deep);
  check_same(t, again);
  assert_memory_equal(oof, oof2, sizeof oof);
  assert_true(discrimination(oof, COPIES, times) > 0.9); /* copies of rows left out, known again */
  d.rounds = (int)t->rounds, d.deep = t->deep;           /* the last fit: as deep */
  assert_int_equal(trees_fit(&d, 3, two, &last, NULL, &e), OK);
  d.deep = false;
  assert_int_equal(trees_fit(&d, 3, two, &shallow, NULL, &e), OK);
  assert_true(last->deep && last->rounds == t->rounds && !shallow->deep && last->nodes > 2 * shallow->nodes);
  for (uint32_t i = 0; i < COPIES; i++) own[i] = trees_logit(last, x + i * COLUMNS);
  assert_true(discrimination(own, COPIES, times) > 0.95);
  assert_int_equal(reread(last, COLUMNS, NULL, NULL, &read), OK);
  assert_true(read->deep && read->rounds == last->rounds && read->nodes == last->nodes);
  check_same(last, read);
  trees_free(read);
  assert_int_equal(reread(last, COLUMNS, "\"deep\":true", "\"else\":true", &read), OK); /* a file of before: shallow */
  assert_true(!read->deep && read->rounds == last->rounds);
  check_same(last, read);
  trees_free(read);
  assert_int_equal(reread(last, COLUMNS, "\"deep\":true", "\"deep\":1234", &read), E_CORRUPT);
  assert_null(read);
  trees_free(t), trees_free(again), trees_free(last), trees_free(shallow);
  pool_free(one), pool_free(two);
}

static void test_copies(void **state) {
  (void)state;
  deep_for_copies(false);
}
static void test_copies_of_times(void **state) {
  (void)state;
  deep_for_copies(true);
}

static void test_bad_files(void **state) {
  (void)state;
  static const char *const bad[] = {"{}",
                                    "{\"bias\":0,\"scale\":1,\"rounds\":1,\"root\":[0],\"feature\":[0],\"split\":[1],\"left\":[0],"
                                    "\"missing_left\":[0]}", /* itself */
                                    "{\"bias\":0,\"scale\":1,\"rounds\":1,\"root\":[3],\"feature\":[-1],\"split\":[1],\"left\":[0],"
                                    "\"missing_left\":[0]}", /* root */
                                    "{\"bias\":0,\"scale\":1,\"rounds\":1,\"root\":[0],\"feature\":[0,-1],\"split\":[1,2],\"left\":[1,0],"
                                    "\"missing_left\":[0,0]}", /* no right child */
                                    "{\"bias\":0,\"scale\":1,\"rounds\":1,\"root\":[0],\"feature\":[-1],\"split\":[1,2],\"left\":[0],"
                                    "\"missing_left\":[0]}", /* lengths */
                                    "{\"bias\":0,\"scale\":1,\"rounds\":1,\"root\":[0],\"feature\":[-1],\"split\":[\"x\"],\"left\":[0],"
                                    "\"missing_left\":[0]}"};
  struct error e = {0};
  struct json_parser *jp;
  assert_int_equal(json_parser_new(&jp, &e), OK);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct json root;
    struct trees *t = NULL;
    assert_int_equal(json_parse(jp, bad[i], strlen(bad[i]), strlen(bad[i]), &root, &e), OK);
    assert_int_equal(trees_read(root, 4, &t, &e), E_CORRUPT);
    assert_null(t);
  }
  json_parser_free(jp);
}

/* Three events and a censored one, by hand; and the gradient against differences. */
static void test_cox(void **state) {
  (void)state;
  const float time[4] = {1, 2, 2, 3};
  const uint8_t event[4] = {1, 1, 0, 1};
  double z[4] = {0.3, -0.2, 0.5, 0.1}, g[4], h2[4], up_g[4], down_g[4];
  uint32_t order[4];
  assert_int_equal(cox_order(time, NULL, 0, true, 4, order), 4);
  double all = exp(0.3) + exp(-0.2) + exp(0.5) + exp(0.1), later = exp(-0.2) + exp(0.5) + exp(0.1);
  double want = log(all) - 0.3 + log(later) + 0.2 + log(exp(0.1)) - 0.1;
  assert_true(fabs(cox_loss(z, time, event, order, 4, g, h2) - want) < 1e-12);
  for (int i = 0; i < 4; i++) {
    double keep = z[i], h = 1e-5;
    z[i] = keep + h;
    double up = cox_loss(z, time, event, order, 4, up_g, NULL);
    z[i] = keep - h;
    double down = cox_loss(z, time, event, order, 4, down_g, NULL);
    z[i] = keep;
    assert_true(fabs((up - down) / (2 * h) - g[i]) < 1e-8);
    assert_true(fabs((up_g[i] - down_g[i]) / (2 * h) - h2[i]) < 1e-8);
  }
  const uint8_t group[4] = {0, 1, 0, 1};
  assert_int_equal(cox_order(time, group, 1, true, 4, order), 2);
  assert_true(order[0] == 3 && order[1] == 1);
}

/* The best slope, but none above 1: against a search. */
static void test_cox_calibrated(void **state) {
  (void)state;
  enum { N = 200 };
  double z[N], scaled[N];
  uint32_t order[N];
  make(true);
  cox_order(lived, NULL, 0, true, N, order);
  for (int bold = 0; bold < 3; bold++) {
    double least = INFINITY;
    for (uint32_t i = 0; i < N; i++) z[i] = (bold == 2 ? -1 : 1) * (bold ? 6 : 0.2) * (x[i * COLUMNS] * x[i * COLUMNS + 1] > 0);
    for (int k = 0; k <= 1000; k++) {
      for (uint32_t i = 0; i < N; i++) scaled[i] = k * 0.001 * z[i];
      least = fmin(least, cox_loss(scaled, lived, y, order, N, NULL, NULL));
    }
    assert_true(fabs(cox_calibrated(z, lived, y, order, N) - least) < 1e-3);
  }
}

/* Weights of two answers to times: the one that is noise gets next to nothing. */
static void test_blend_of_times(void **state) {
  (void)state;
  make(true);
  static double right[ROWS], noise[ROWS];
  struct rng r;
  rng_init(&r, 9, 0);
  for (uint32_t i = 0; i < ROWS; i++) {
    const float *row = x + i * COLUMNS;
    right[i] = 1.8 * (row[0] * row[1] > 0 ? 1 : -1), noise[i] = rng_normal(&r);
  }
  struct model_task t = {.columns = 0};
  table_fit(&t, right, noise, y, lived, ROWS);
  assert_true(t.table_linear > 0.6 && t.table_trees < 0.1 * t.table_linear);
  table_fit(&t, noise, right, y, lived, ROWS);
  assert_true(t.table_trees > 0.6 && t.table_linear < 0.1 * t.table_trees);
}

/* A whole tree against sums in double precision: in each node no other split gains more, and leaves hold what their rows ask for. Columns that are
 * mostly missing, complete, or have two values; one target and several; shallow, and deep with leaves of single rows. */
enum { TREE_ROWS = 700, TREE_COLUMNS = 6, TREE_OTHERS = 3 };
struct whole_tree {
  const float *v;
  const uint8_t *own, *other;
  int others;
  double p[1 + TREE_OTHERS]; /* where each target begins */
  const struct boost_settings *s;
  const struct tree_node *node;
};

static bool to_the_left(const struct whole_tree *t, uint32_t row, uint32_t column, double cut, bool missing_left) {
  double value = (double)t->v[row * TREE_COLUMNS + column];
  return isnan(value) ? missing_left : value < cut;
}

/* Gain of a split, -1 where a side is too light; *value: of the own target in each side. */
static double gain_in_doubles(const struct whole_tree *t, const uint32_t *rows, uint32_t n, uint32_t column, double cut, bool missing_left,
                              double value[2]) {
  double gain = 0, lambda = t->s->lambda;
  for (int k = 0; k <= t->others; k++) {
    const uint8_t *label = k ? t->other + (k - 1) * TREE_ROWS : t->own;
    double g[2] = {0}, h[2] = {0};
    for (uint32_t i = 0; i < n; i++) {
      int side = !to_the_left(t, rows[i], column, cut, missing_left);
      g[side] += t->p[k] - label[rows[i]], h[side] += t->p[k] * (1 - t->p[k]);
    }
    if (k == 0 && (h[0] < t->s->least_weight - 1e-6 || h[1] < t->s->least_weight - 1e-6)) return -1;
    for (int side = 0; side < 2 && k == 0; side++) value[side] = -t->s->eta * g[side] / (h[side] + lambda);
    gain += g[0] * g[0] / (h[0] + lambda) + g[1] * g[1] / (h[1] + lambda) - (g[0] + g[1]) * (g[0] + g[1]) / (h[0] + h[1] + lambda);
  }
  return gain;
}

static void check_node(const struct whole_tree *t, uint32_t at, uint32_t *rows, uint32_t n, int depth, int *splits) {
  const struct tree_node *node = &t->node[at];
  double best = -1, value[2], unused[2];
  for (uint32_t j = 0; j < TREE_COLUMNS && depth < t->s->depth; j++)
    for (double cut = 0.5; cut < 8; cut++)
      for (int missing_left = 0; missing_left < 2; missing_left++)
        best = fmax(best, gain_in_doubles(t, rows, n, j, cut, missing_left, unused));
  if (node->feature == UINT32_MAX) {
    assert_true(best < 1e-4);
    return;
  }
  double own = gain_in_doubles(t, rows, n, node->feature, (double)node->split, node->missing_left, value);
  assert_true(own > 0 && own > best - 1e-4);
  uint32_t left = 0;
  for (uint32_t i = 0; i < n; i++)
    if (to_the_left(t, rows[i], node->feature, (double)node->split, node->missing_left)) {
      uint32_t row = rows[i];
      rows[i] = rows[left], rows[left++] = row;
    }
  for (uint32_t side = 0; side < 2; side++) {
    const struct tree_node *child = &t->node[node->left + side];
    if (child->feature == UINT32_MAX) assert_true(fabs((double)child->split - value[side]) < 1e-4);
    check_node(t, node->left + side, side ? rows + left : rows, side ? n - left : left, depth + 1, splits);
  }
  ++*splits;
}

static void whole_tree(int others, int depth, double least, double lambda, int least_splits) {
  static float v[TREE_ROWS * TREE_COLUMNS];
  static uint8_t own[TREE_ROWS], other[TREE_OTHERS * TREE_ROWS];
  static const double missing[TREE_COLUMNS] = {0, 0.9, 0.4, 0, 0.97, 0.1};
  static struct tree_node node[1024];
  uint32_t rows[TREE_ROWS], root[1];
  const struct boost_settings s = {
      .depth = depth, .eta = 0.5, .subsample = 2, .lambda = lambda, .least_weight = least, .drawn = TREE_COLUMNS};
  struct whole_tree t = {.v = v, .own = own, .other = other, .others = others, .p = {0.3}, .s = &s, .node = node};
  struct error e = {0};
  struct binned *b;
  struct boosting *m;
  struct rng r;
  int splits = 0;
  rng_init(&r, 41, 0);
  for (uint32_t i = 0; i < TREE_ROWS; i++) {
    rows[i] = i;
    for (uint32_t j = 0; j < TREE_COLUMNS; j++)
      v[i * TREE_COLUMNS + j] = rng_uniform(&r) < missing[j] ? NAN : (float)rng_below(&r, j == 3 ? 2 : 9);
    own[i] = rng_uniform(&r) < 0.1 + 0.05 * (double)v[i * TREE_COLUMNS] + (isnan(v[i * TREE_COLUMNS + 2]) ? 0.2 : 0);
    for (uint32_t k = 0; k < TREE_OTHERS; k++) other[k * TREE_ROWS + i] = rng_uniform(&r) < (v[i * TREE_COLUMNS + 5] > 4 ? 0.7 : 0.3);
  }
  for (uint32_t k = 0; k < TREE_OTHERS; k++) {
    double yes = 0.5;
    for (uint32_t i = 0; i < TREE_ROWS; i++) yes += other[k * TREE_ROWS + i];
    t.p[1 + k] = yes / (TREE_ROWS + 1);
  }
  const struct boost_labels labels = {.y = own, .other = other, .others = others};
  assert_int_equal(binned_new(v, TREE_ROWS, TREE_COLUMNS, 64, &b, &e), OK);
  assert_int_equal(boosting_new(b, &labels, rows, TREE_ROWS, &s, 1, log(0.3 / 0.7), &m, &e), OK);
  assert_int_equal(boost_once(m, &e), OK);
  assert_in_range(boosting_nodes(m), 3, 1024);
  boosting_write(m, node, 0, root);
  assert_int_equal(node[0].feature, others ? 5 : 0); /* where the own target alone would part first, and where all together do */
  check_node(&t, 0, rows, TREE_ROWS, 0, &splits);
  assert_true(splits >= least_splits);
  for (uint32_t i = 0; i < TREE_ROWS; i++) {
    uint32_t at = 0;
    while (node[at].feature != UINT32_MAX)
      at = node[at].left + !to_the_left(&t, i, node[at].feature, (double)node[at].split, node[at].missing_left);
    assert_true(fabs((double)boosting_margin(m)[i] - log(0.3 / 0.7) - (double)node[at].split) < 1e-5);
  }
  boosting_free(m);
  binned_free(b);
}

static void test_whole_trees(void **state) {
  (void)state;
  whole_tree(0, 4, 1, 2, 10);
  whole_tree(1, 4, 1, 2, 10);
  whole_tree(TREE_OTHERS, 4, 1, 2, 10);
  whole_tree(0, 8, 0.1, 0.1, 80);
  whole_tree(TREE_OTHERS, 8, 0.1, 0.1, 80);
}

/* Two interactions, and few cases; a target with the same causes and more to see of them helps, such with other causes are left out. */
static void test_taught_by_other_targets(void **state) {
  (void)state;
  enum { N = 700 };
  static uint8_t other[2 * N];
  static double alone[N], taught[N], oof[N];
  struct error e = {0};
  struct pool *two;
  struct trees *t, *last, *read;
  struct rng r;
  make(false);
  rng_init(&r, 11, 0);
  for (uint32_t i = 0; i < N; i++) {
    const float *row = x + i * COLUMNS;
    double z = (row[0] * row[1] > 0 ? 1 : -1) + (row[3] * row[4] > 0 ? 1 : -1);
    y[i] = rng_uniform(&r) < 1 / (1 + exp(-(z - 2)));
    other[i] = rng_uniform(&r) < 1 / (1 + exp(-3 * z));
    other[N + i] = rng_uniform(&r) < 0.03; /* too few to be asked */
  }
  assert_int_equal(pool_new(&two, 2, &e), OK);
  struct trees_data d = {.x = x, .y = y, .fold = fold, .n = N, .columns = COLUMNS, .folds = 5};
  assert_int_equal(trees_fit(&d, 3, two, &t, alone, &e), OK);
  assert_false(t->taught);
  trees_free(t);
  d.other = other, d.others = 2;
  assert_int_equal(trees_fit(&d, 3, two, &t, taught, &e), OK);
  assert_true(t->taught);
  assert_true(discrimination(taught, N, false) > discrimination(alone, N, false) + 0.02);
  d.rounds = (int)t->rounds, d.taught = true;
  assert_int_equal(trees_fit(&d, 3, two, &last, NULL, &e), OK);
  assert_true(last->taught && last->rounds == t->rounds);
  assert_int_equal(reread(last, COLUMNS, NULL, NULL, &read), OK);
  assert_true(read->taught);
  check_same(last, read);
  trees_free(read);
  assert_int_equal(reread(last, COLUMNS, "\"taught\":true", "\"taught\":1234", &read), E_CORRUPT);
  trees_free(t), trees_free(last);
  for (uint32_t i = 0; i < 2 * N; i++) other[i] = rng_uniform(&r) < 1 / (1 + exp(-6 * (double)x[i % N * COLUMNS + (i < N ? 6 : 7)]));
  d.rounds = 0;
  assert_int_equal(trees_fit(&d, 3, two, &t, oof, &e), OK);
  assert_false(t->taught);
  for (uint32_t i = 0; i < N; i++) assert_true(oof[i] == alone[i]); /* asked and put aside, they change nothing */
  trees_free(t);
  pool_free(two);
}

/* Rows that come ten to a person weigh a tenth: a leaf must hold ten times as many. */
static void test_rows_of_the_same_persons(void **state) {
  (void)state;
  struct error e = {0};
  struct pool *one;
  struct trees *t[2];
  make(false);
  assert_int_equal(pool_new(&one, 1, &e), OK);
  for (int k = 0; k < 2; k++) {
    struct trees_data d = {.x = x, .y = y, .fold = fold, .n = ROWS, .columns = COLUMNS, .folds = 5, .rounds = 25, .weight = k ? 0.1 : 0};
    assert_int_equal(trees_fit(&d, 3, one, &t[k], NULL, &e), OK);
  }
  double most[2] = {0};
  for (int k = 0; k < 2; k++)
    for (uint32_t i = 0; i < t[k]->nodes; i++)
      if (t[k]->node[i].feature == UINT32_MAX) most[k] = fmax(most[k], fabs((double)t[k]->node[i].split));
  assert_true(most[1] < most[0] && t[1]->nodes < t[0]->nodes);
  trees_free(t[0]), trees_free(t[1]);
  pool_free(one);
}

/* Columns that say the same, or nothing, are not drawn where those that differ are: the trees are those without them, to the bit, and cut finer
 * where there are more bins. */
static void test_columns_that_differ(void **state) {
  (void)state;
  enum { WIDE = 2 * COLUMNS + 1 };
  static float wide[ROWS * WIDE];
  struct error e = {0};
  struct binned *b[3];
  struct boosting *m[3];
  uint32_t all[ROWS], splits = 0;
  make(false);
  for (uint32_t i = 0; i < ROWS; i++) {
    all[i] = i;
    for (int j = 0; j < COLUMNS; j++) wide[i * WIDE + 2 * j] = wide[i * WIDE + 2 * j + 1] = x[i * COLUMNS + j];
    wide[i * WIDE + WIDE - 1] = 7;
  }
  struct boost_settings s = {.depth = 3, .eta = 0.1, .subsample = 0.8, .lambda = 1, .least_weight = 1};
  assert_int_equal(binned_new(x, ROWS, COLUMNS, 64, &b[0], &e), OK);
  assert_int_equal(binned_new(wide, ROWS, WIDE, 64, &b[1], &e), OK);
  assert_int_equal(binned_new(x, ROWS, COLUMNS, BOOST_BINS, &b[2], &e), OK);
  for (int k = 0; k < 3; k++) {
    assert_int_equal(boosting_new(b[k], &(struct boost_labels){.y = y}, all, ROWS, &s, 3, 0, &m[k], &e), OK);
    for (int i = 0; i < 20; i++) assert_int_equal(boost_once(m[k], &e), OK);
  }
  bool finer = false;
  for (uint32_t i = 0; i < ROWS; i++) {
    assert_true(boosting_margin(m[0])[i] == boosting_margin(m[1])[i]);
    finer |= boosting_margin(m[0])[i] != boosting_margin(m[2])[i];
  }
  assert_true(finer);
  uint32_t nodes = boosting_nodes(m[1]), roots = boosting_trees(m[1]);
  struct tree_node *node = malloc(nodes * sizeof *node);
  uint32_t *root = malloc(roots * sizeof *root);
  boosting_write(m[1], node, 0, root);
  for (uint32_t i = 0; i < nodes; i++)
    if (node[i].feature != UINT32_MAX) assert_int_equal(node[i].feature % 2, 0), splits++;
  assert_true(splits > 20);
  free(node), free(root);
  for (int k = 0; k < 3; k++) boosting_free(m[k]), binned_free(b[k]);
}

/* Forty tuning persons whose scores part cases and controls without a fault would ask for an endless slope. What thousands of training
 * persons knew holds it: seen from the table, the blend has about the table's own slope, 1. */
static void test_blend_keeps_what_training_knew(void **state) {
  (void)state;
  enum { FEW = 40 };
  double deep[FEW], table[FEW], slope[2];
  uint8_t label[FEW];
  struct rng r;
  struct trees none = {0};
  rng_init(&r, 11, 0);
  for (int i = 0; i < FEW; i++) {
    label[i] = i % 2;
    table[i] = (label[i] ? 1 : -1) * (0.2 + 1.5 * rng_uniform(&r));
    deep[i] = table[i] + 0.2 * rng_normal(&r);
  }
  for (int known = 0; known < 2; known++) {
    struct model_task t = {.trees = &none, .n = known ? 5000 : 0};
    blend_fit(&t, deep, table, label, NULL, FEW, 1);
    assert_true(t.blend_deep >= 0 && t.blend_wide >= 0);
    slope[known] = t.blend_deep + t.blend_wide; /* deep is the table and a little noise */
  }
  assert_true(slope[0] > 1.8);
  assert_true(slope[1] > 0.9 && slope[1] < 1.4);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_yes_no),
                                     cmocka_unit_test(test_times),
                                     cmocka_unit_test(test_copies),
                                     cmocka_unit_test(test_copies_of_times),
                                     cmocka_unit_test(test_bad_files),
                                     cmocka_unit_test(test_cox),
                                     cmocka_unit_test(test_cox_calibrated),
                                     cmocka_unit_test(test_blend_of_times),
                                     cmocka_unit_test(test_whole_trees),
                                     cmocka_unit_test(test_taught_by_other_targets),
                                     cmocka_unit_test(test_rows_of_the_same_persons),
                                     cmocka_unit_test(test_columns_that_differ),
                                     cmocka_unit_test(test_blend_keeps_what_training_knew)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
