/* Private to training: what a run is made of (train.c has the step on one page). */
#ifndef MODEL_TRAIN_INTERNAL_H
#define MODEL_TRAIN_INTERNAL_H
#include <stdatomic.h>

#include "model/model_internal.h"
#include "model/train_mesh.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"

#define TRAIN_ROWS \
  1024 /* positions of a micro-batch (or the context, if that is longer); half for models whose weights are laid out once */
#define TRAIN_LANES 256   /* most parts in which a step's gradient is summed */
#define TRAIN_BLOCK 16384 /* parameters of a block of the reduction: the same ones whatever the threads */

struct train_item { /* one sequence of a batch: a prefix of a life, with a label if it is an example of a task */
  uint32_t subject, events;
  int64_t now;       /* the example's moment; INT64_MIN = the last event's time */
  int32_t positions; /* at most this many */
  int16_t task;      /* -1: none */
  bool yes;
  bool whole; /* an example whose moment is that of its last event, of an instant known whole, in one sequence from the life's beginning */
  uint32_t first, labels; /* stands for examples[task].at[first, first + labels) as well; labels 0: for itself alone */
};
struct train_items {
  struct train_item *at;
  size_t n, cap;
};
/* Canaries (Carlini et al. 2019): lives of random codes, values and waits that exist nowhere else, trained on like anybody's. They are
 * views made here and never part of a store; canary i stands in for the subject of index timeline_subjects(store) + i. */
struct train_canaries {
  struct timeline_view *view;
  int *repeats; /* how often an epoch holds it */
  int n;
  struct arena arena;
};
#define TRAIN_PER_PERSON 2
/* What an epoch is made of: every training life once in windows of the context's length, and a share of the labelled examples of each task, in an
 * order that seed and epoch decide. Examples of one person are much alike: they count as two of each label at most. Who has more is asked at all of
 * them in one pass over the last one's prefix, each weighed so that they sum to two (a causal trunk has a row for every moment); where that is
 * not one sequence, two of each are drawn, others in other epochs. */
struct train_data {
  const struct timeline *store;
  const struct vocabulary *vocabulary;
  struct token_map *map;
  struct token_options pack;
  uint64_t seed;
  int tasks;
  struct train_canaries canaries;
  struct train_items lives, *examples; /* examples: (tasks), by person and moment */
  struct train_items epoch;
  int64_t epoch_number; /* of what `epoch` holds; -1 = nothing yet */
  double positions_per_epoch, examples_per_position;
};
int train_data_open(const struct train_options *o, const struct model *m, const struct timeline *store, uint64_t seed, struct train_data *d,
                    struct error *e) MUST_CHECK;
void train_data_close(struct train_data *d);
int train_data_epoch(struct train_data *d, int64_t epoch, struct error *e) MUST_CHECK;
/* The lives of the next n items of the epoch will be read soon: the system fetches them from disk while this step computes. */
void train_data_ahead(const struct train_data *d, int64_t index, size_t n);
int train_lives(const struct train_data *d, enum split split, struct train_items *out, struct error *e) MUST_CHECK;
int train_pack(const struct train_data *d, const struct train_item *item, struct token_batch *b, struct error *e) MUST_CHECK;
/* Labels of the batch's last sequence, which `item` was packed into; returns how many (at most the sequence's positions). */
int train_labels(const struct train_data *d, const struct train_item *item, const struct token_batch *b, struct sequence_label *out);
struct timeline_view train_view(const struct train_data *d, uint32_t subject); /* a life of the store, or a canary */
int train_items_add(struct train_items *l, const struct train_item *item, struct error *e) MUST_CHECK;

struct train_worker { /* one thread's own things */
  struct model_workspace *w;
  struct token_batch batch;
  struct sequence_label *label; /* (capacity of the workspace) */
  double packing;               /* seconds spent laying out batches, all steps together */
  int rc;
  struct error e;
};
struct train_lane { /* a fixed part of every step: which items, and the sum of their gradients. Any thread may work on it. */
  struct train_items items;
  float *gradient;
  struct loss_sums sums;
};
struct train_run {        /* fixed choices, cursor and state of a run: what a checkpoint keeps, and the rest */
  struct train_options o; /* as in force: a resumed run takes its own earlier ones */
  int64_t total_steps;    /* 0 = not decided yet */
  int64_t step, epoch, index, positions;
  double seconds; /* of earlier sessions of this run too */
  bool done;
  char store[65];

  struct model *m;
  struct train_data data;
  struct pool *pool;
  int workers;
  struct train_worker *worker;
  struct train_lane *lane;   /* (o.lanes) */
  int first_lane, own_lanes; /* those of this process */
  atomic_int next_lane;      /* of this step: the first that no thread has taken */
  double *square;            /* (blocks) sum of squares of the reduced gradient */
  float *adam_m, *adam_v;
  struct buf jsonl, canaries_json;
  struct loss_sums recent[50];
  float clip_scale, lr_now;
};
/* Tests look in after every step (and may ask the run to stop); NULL in the program. */
extern void (*train_step_hook)(struct train_run *r);
/* train_run.c: a run's record */
int train_run_json(const struct train_run *r, struct buf *out, struct error *e) MUST_CHECK;
int train_run_read(struct train_run *r, const char *dir,
                   struct error *e) MUST_CHECK; /* options and cursor from config.json; training.jsonl */
void train_log_step(struct train_run *r, const struct loss_sums *s, double norm, double rate);
int train_checkpoint(struct train_run *r, struct error *e) MUST_CHECK;
double train_objective(const struct train_options *o, const struct loss_sums *s);
void loss_sums_add(struct loss_sums *to, const struct loss_sums *from);

/* train_canary.c */
int train_canaries_make(struct train_data *d, int count, struct error *e) MUST_CHECK; /* the same ones for the same seed and vocabulary */
void train_canaries_free(struct train_canaries *c);
int train_canaries_measure(struct train_run *r, struct error *e) MUST_CHECK; /* into r->canaries_json */

/* train_heads.c: wide parts and blends, when the trunk is trained */
int train_heads(struct train_run *r, struct error *e) MUST_CHECK;
/* train_hazard.c: the hazard head fitted again on all rows at once, the trunk held */
int train_hazard_refit(struct train_run *r, struct train_result *out, struct error *e) MUST_CHECK;
int train_tuning_loss(struct train_run *r, double *out, struct error *e) MUST_CHECK;
#endif
