/* Private to src/model: fitting a task head's linear part, and the weights of a head's parts (the file and the answers: model_internal.h).
 *
 *     TRY(wide_fit(t, kernel, &data, pool, e));                      // t->wide, and answers out of fold
 *     table_fit(t, linear_oof, trees_oof, y, NULL, n);               // linear part against trees (task_trees.h)
 *     blend_fit(t, deep, table, y, NULL, n, 1);                      // on tuning persons: transformer against table
 */
#ifndef MODEL_TASK_WIDE_H
#define MODEL_TASK_WIDE_H
#include "model/model_internal.h"
#include "model/task_trees.h"

/* Fits the linear part: logistic regression (or Cox's, where `time` is given), L2 strength by cross-validation (folds by person, so that
 * one person is never on both sides). x: (n, columns) features, NaN = missing; is_count: columns taken as log1p. oof (n, or NULL)
 * receives each row's logit from a fit that has not seen its person. */
struct wide_data {
  const float *x;
  const uint8_t *y, *is_count;
  const uint8_t *fold; /* (n) < folds */
  const float *time;   /* to event or end of follow-up; NULL: yes or no */
  uint32_t n, columns;
  int folds;
  double l2; /* above 0: this strength, no cross-validation, no oof */
  double *oof;
};
int table_folds(uint32_t n); /* of n rows: at most TABLE_FOLDS_MAX */
struct pool;
int wide_fit(struct model_task *t, const struct kernel *k, const struct wide_data *d, struct pool *pool, struct error *e) MUST_CHECK;
/* Weights of two parts from answers that neither was fitted on (two NULL = one part). With `time`, by Cox's partial likelihood. */
void table_fit(struct model_task *t, const double *linear, const double *trees, const uint8_t *y, const float *time, uint32_t n);
/* weight: of one example; below 1 where a person is asked again and again */
void blend_fit(struct model_task *t, const double *deep, const double *wide, const uint8_t *y, const float *time, uint32_t n,
               double weight);
double wide_logit(const struct model_task *t, const float *row);  /* of the linear part alone */
double table_logit(const struct model_task *t, const float *row); /* of all tabular parts */
double auroc(const double *score, const uint8_t *y, uint32_t n);
#endif
