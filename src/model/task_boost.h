/* Private to src/model: gradient boosting of small regression trees on binned columns, one tree a call.
 *
 *     struct binned *b;  TRY(binned_new(x, n, columns, 64, &b, e));                     // shared, read only afterwards
 *     struct boosting *m;  TRY(boosting_new(b, &labels, rows, n_rows, &s, seed, bias, &m, e)); // learns from these rows only
 *     TRY(boost_once(m, e));                                                             // every row of b gets its new margin
 *     boosting_margin(m)[i];  boosting_tree(m, k, &nodes);
 *
 * A column's values fall into bins between its quantiles (at most 63 here), missing ones into a bin of their own; a split sends the missing to the
 * side where they fit better. Histograms are made of the columns that a tree has drawn, so that a tree costs what these cost and not what
 * all columns would: with 40 of 500 columns drawn about twenty times less than a library that fills all of them. Counted are only rows that have a
 * value, of the smaller of two leaves; sums are whole numbers, so that the rest is an exact difference. One thread; the same bits
 * everywhere. Method: Friedman 2001 with second-order gains and L2 on leaves (Chen & Guestrin 2016). The caller frees. Fails with E_NOMEM.
 *
 * Other targets of the same rows may choose the splits with the own one: a tree then has a value of each in its leaves, each target its margins,
 * and a split's gain is the sum of theirs. Splits rest on more cases that way; kept are the own values alone. (Multi-task trees: Faddoul et al. 2012.)
 */
#ifndef MODEL_TASK_BOOST_H
#define MODEL_TASK_BOOST_H
#include "model/task_trees.h"

struct boost_settings {
  int depth;
  double eta, subsample, lambda, least_weight; /* least_weight: of second derivatives on each side of a split */
  uint32_t drawn; /* columns of a tree; 0 = a quarter (at least three) of those that differ among the rows and from each other */
};
struct binned;
/* bins: 3 to BOOST_BINS of a column, with that of missing values. */
#define BOOST_BINS 256
int binned_new(const float *x, uint32_t n, uint32_t columns, uint32_t bins, struct binned **out, struct error *e) MUST_CHECK;
void binned_free(struct binned *b);

struct boosting;
#define BOOST_TARGETS (1 + TREES_OTHERS)
struct boost_labels { /* of all rows, borrowed */
  const uint8_t *y;
  const float *time;    /* NULL: yes or no, else Cox's partial likelihood (no others then) */
  const uint8_t *other; /* (others, rows) */
  int others;           /* below BOOST_TARGETS */
};
/* rows (n_rows), borrowed: those that are learned from. bias: of the own target's margins. */
int boosting_new(const struct binned *b, const struct boost_labels *l, const uint32_t *rows, uint32_t n_rows,
                 const struct boost_settings *s, uint64_t seed, double bias, struct boosting **out, struct error *e) MUST_CHECK;
int boost_once(struct boosting *m, struct error *e) MUST_CHECK;
const float *boosting_margin(const struct boosting *m); /* (all rows) logit or log hazard of the own target */
/* Appends all trees (children behind their parents, `left` counted from `at`); node has room for boosting_nodes(m). */
uint32_t boosting_nodes(const struct boosting *m);
uint32_t boosting_trees(const struct boosting *m);
void boosting_write(const struct boosting *m, struct tree_node *node, uint32_t at, uint32_t *root);
void boosting_free(struct boosting *m);
#endif
