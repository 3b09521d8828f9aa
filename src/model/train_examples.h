/* Private to training: the labelled examples of a task, and how many of them its table learns from (train_heads.c, train_refit.c). */
#ifndef MODEL_TRAIN_EXAMPLES_H
#define MODEL_TRAIN_EXAMPLES_H
#include "base/arena.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"

#define LINEAR_CELLS 16e6 /* features of the examples that the linear part learns from: more examples where they have few features */
#define TREES_CELLS 64e6

struct labelled {
  struct task_example *at;
  uint8_t *y;
  float *time; /* to event or end of follow-up, in days; NULL unless the task is one of times */
  double *deep, *wide;
  uint32_t n, yes;
};

/* In the order of the store; without the censored unless the task is one of times. */
int label_split(const struct timeline *store, const struct task *task, enum split split, struct arena *a, struct labelled *out,
                struct error *e) MUST_CHECK;
uint32_t thin_out(const struct labelled *l, uint32_t most, uint64_t seed, uint8_t *stays);
void keep_those(struct labelled *l, const uint8_t *stays);
int is_a_count(const struct feature_set *f, uint32_t column, uint8_t *out, struct error *e) MUST_CHECK; /* by the column's name */
#endif
