/* Private to training: the labelled examples of a task, and how many of them its table learns from (train_heads.c, train_refit.c). */
#ifndef MODEL_TRAIN_EXAMPLES_H
#define MODEL_TRAIN_EXAMPLES_H
#include "base/arena.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"

/* Features of the examples that the linear part, and the trees, learn from: more examples where they have few features. Only tests change them. */
extern double train_linear_cells, train_trees_cells;

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
/* Too many to keep: all cases stay, of the others a share that the seed decides. Returns how many stay; stays[i] says who. Where answers are yes
 * or no, *offset is what a logit learned from those who stay lacks to one of everybody: log(share of the others that stays), else 0. */
uint32_t thin_out(const struct labelled *l, uint32_t most, uint64_t seed, uint8_t *stays, double *offset);
void keep_those(struct labelled *l, const uint8_t *stays);
uint32_t examples_persons(const struct labelled *l);
double one_example_weighs(const struct labelled *l); /* persons of the rarer label over their examples */
int is_a_count(const struct feature_set *f, uint32_t column, uint8_t *out, struct error *e) MUST_CHECK; /* by the column's name */
/* Does each other target of the task (timeline/task.h) come, for each of l's moments? out: (task_auxiliaries(task), l->n), in the arena. */
int auxiliary_labels(const struct task *task, const struct timeline *store, const struct labelled *l, struct arena *a, const uint8_t **out,
                     struct error *e) MUST_CHECK;
#endif
