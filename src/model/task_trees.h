/* Boosted regression trees of a task head (task_boost.h grows them), kept and answered as one flat table that threads share.
 *
 *     struct trees *t;  TRY(trees_fit(&data, seed, pool, &t, oof, e));              // NULL in *t: too few cases to learn from
 *     double z = trees_logit(t, row);                                               // row: a feature row, NaN = missing
 *     trees_free(t);
 *
 * Rounds are chosen by cross-validation over persons (folds by group) and so is whether other targets of the same rows, where there are any, choose
 * the splits with the own one (task_boost.h), and, up to a million rows x columns, the settings: shallow trees, or deep ones that know again whom
 * they have seen. These win where persons to come are copies, or nearly, of persons learned from, as a set with copies makes it look; what that is
 * worth for others it does not say (docs/accuracy.md, WHAS). The shipped trees are some boosters of different seeds on all rows, averaged; the last
 * fit uses the settings of the first (`rounds`, `deep`, `taught`). Method: gradient boosting, Chen & Guestrin 2016.
 * Ownership: the caller frees. Fails with E_NOMEM, E_CORRUPT.
 */
#ifndef MODEL_TASK_TREES_H
#define MODEL_TASK_TREES_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define TABLE_FOLDS_MAX 16
#define TREES_OTHERS 8   /* further targets, at most */
#define TREES_ENOUGH 100 /* examples of the rarer kind: with fewer, trees have not been seen to add to the linear part */

struct pool;
struct json;
struct json_out;
struct tree_node { /* leaf: feature UINT32_MAX and value in `split`; else left if x < split, or x missing and missing_left */
  uint32_t feature, left;
  float split;
  bool missing_left; /* the right child is left + 1 */
};
struct trees {
  struct tree_node *node;
  uint32_t *root;
  uint32_t nodes, trees, rounds;
  bool deep;    /* deep settings; a file that does not say: shallow */
  bool taught;  /* other targets chose the splits, too; a file that does not say: they did not */
  double bias;  /* logit of the training share */
  double scale; /* of the sum of leaves: 1 / boosters */
};
struct trees_data {
  const float *x; /* (n, columns) */
  const uint8_t *y;
  const uint8_t *fold;  /* (n) < folds */
  const float *time;    /* time to event or end of follow-up: Cox's partial likelihood; NULL: yes or no */
  const uint8_t *other; /* (others, n) labels of further targets; those with fewer than TREES_ENOUGH of either kind are left out */
  int others;           /* 0 where there are times */
  uint32_t n, columns;
  int folds;
  uint32_t persons; /* whom the rows come from, 0 = as many; rows of one are much alike */
  double weight;    /* of a row, 0 = 1: below it where persons come again and again, so that a leaf stands for as many of them */
  int rounds;       /* above 0: so many, of the settings `deep` and `taught`: no cross-validation, no oof */
  bool deep, taught;
};
/* oof (n) receives each row's logit from a booster that has not seen its person. */
int trees_fit(const struct trees_data *d, uint64_t seed, struct pool *pool, struct trees **out, double *oof, struct error *e) MUST_CHECK;
double trees_logit(const struct trees *t, const float *row);
void trees_free(struct trees *t);
void trees_write(const struct trees *t, struct json_out *o);
int trees_read(struct json j, uint32_t columns, struct trees **out, struct error *e) MUST_CHECK;
#endif
