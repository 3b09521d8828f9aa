/* Private to src/model (and its tests): how a model lies in memory.
 *
 * All parameters lie in one array of floats; a tensor is an offset into it (-1 = this configuration has none). Gradients,
 * and AdamW's two moments, are arrays of the same shape, so the same offsets address them. Matrices are (out, in), as
 * PyTorch's nn.Linear keeps them: y = x W^T + b.
 */
#ifndef MODEL_MODEL_INTERNAL_H
#define MODEL_MODEL_INTERNAL_H
#include <stddef.h>

#include "base/str.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "model/model_kept.h"

#define MODEL_FORMAT 3
#define MODEL_TASK_NAME 64
#define ABSENT ((ptrdiff_t)-1)

enum tensor_init { INIT_ZERO, INIT_ONE, INIT_NORMAL, INIT_TABLE, INIT_RATE_BIAS, INIT_HAZARD_BIAS, INIT_TOGETHER };
struct tensor {
  char name[96];
  size_t at, n; /* floats */
  int rows, cols;
  bool decay; /* weight decay applies: matrices, but not norms, biases or the moment vector */
  enum tensor_init init;
  float sd; /* of INIT_NORMAL and INIT_TABLE */
};
struct model_block {
  ptrdiff_t norm1_gain, norm1_shift, qkv, qkv_bias, q_norm, k_norm, out, out_bias;
  ptrdiff_t norm2_gain, norm2_shift, up, up_bias, down, down_bias;
};
struct wide_column { /* z = clip(((log ? log1p(x) : x) - mean) / sd); if x is NaN the contribution is `missing`, else
                      * base + weight z + low_weight max(0, low - z) + high_weight max(0, z - high): both tails bend on their own */
  bool log;
  float mean, sd, weight, missing, base, low, low_weight, high, high_weight;
};
struct trees;
struct model_quant;
struct model_task {
  char name[MODEL_TASK_NAME];
  ptrdiff_t weight, bias; /* (2 d), (1) */
  char *text;             /* the task file */
  struct feature_set *features;
  struct wide_column *wide;
  uint32_t columns;
  double wide_bias, l2;
  struct trees *trees;                          /* NULL: too few cases for trees */
  double table_linear, table_trees, table_bias; /* weights of the two, fitted on logits of rows that neither had seen */
  double blend_deep, blend_wide, blend_bias;
  bool blend_fitted; /* on tuning patients; otherwise hardly moved from usual weights, for want of examples of one kind */
  uint32_t n, yes, tuning_n, tuning_yes;
  double tuning_auroc, tuning_auroc_deep, tuning_auroc_wide; /* NaN if there were too few */
  struct model_threshold threshold[MODEL_THRESHOLDS];
  int thresholds;
};
struct model_pack { /* a matrix (out, in) at `at`, laid out for x W^T and (training) for dy W; places in model.packed */
  ptrdiff_t at;
  int in, out;
  size_t forward, back;
};
struct model {
  struct model_config config;
  const struct kernel *kernel;
  struct vocabulary *vocabulary;
  bool owns_vocabulary;
  struct tensor *tensor;
  int tensors, tensor_cap;
  size_t floats;
  float *weight;
  ptrdiff_t table, time, moment, position; /* embedder */
  struct model_block *block;
  ptrdiff_t norm_gain, norm_shift;
  ptrdiff_t rates, rates_bias, rates_shift, value, hazard, hazard_outcome, hazard_bias;
  uint32_t *knot_row;     /* (codes) first row of the code's knots */
  uint8_t *knots;         /* (codes) 0 = the code has no values */
  uint32_t *outcome_code; /* (outcomes); without a vocabulary (tests) outcome o is code o */
  struct model_task *task;
  int tasks, packs;
  char *uncertainty;       /* text of uncertainty.json, NULL = none */
  struct model_pack *pack; /* (packs) sorted by place; NULL: nothing is laid out */
  float *packed;
  size_t packed_floats;
  bool packed_back;
  const struct kernel *packed_for; /* another column would read it wrongly */
  struct model_quant *quant;       /* the trunk in eight (AVX2: 13) bits, for whole passes (model_lay_out); NULL: f32 */
};

/* What one block keeps for its backward pass. Without training all blocks share one; with recompute all share it but for x. */
struct layer_state {
  float *x, *n1, *mean1, *rstd1, *qkv, *qk_raw, *qk_rstd, *att, *lse;
  float *mid, *n2, *mean2, *rstd2, *up, *act;
};
struct model_workspace {
  const struct model *model;
  int positions; /* most rows of a batch */
  bool training, recompute;
  void *memory;
  size_t bytes;
  struct layer_state *layer;
  float *last, *mean, *rstd, *hidden; /* input, statistics and output of the final norm */
  float *branch, *qk_tmp;
  float *turns;  /* (positions, head size) the rotations of a pass; NULL when training */
  float *turned; /* (positions) whose rotations `turns` holds: the first turned_n, by this kernel */
  int turned_n;
  const struct kernel *turned_by;
  float *gemm_scratch, *attention_scratch;
  float *logits, *dlogits; /* (rates_rows, codes) */
  float *sample, *dsample; /* (HAZARD_ROWS, d) */
  float *z, *dz;           /* (HAZARD_ROWS, bins * rank) */
  float *hz, *dhz;         /* (HAZARD_ROWS * bins, outcomes) */
  double *outcome_loss;    /* (outcomes) of one position */
  float *pool, *dpool;     /* (2 d) */
  float *u, *du;           /* (positions, d) */
  float *dhidden, *dx, *dn, *dqkv, *datt, *dup, *dact;
  size_t attention_floats;
  int rates_rows;
  float dropout; /* 0 outside training */
  uint64_t seed, stream;
  int rows;                        /* of the last forward pass */
  const struct model *laid_out;    /* whose packed matrices products take (model_workspace_decode), or NULL: the model's own */
  const struct model_quant *quant; /* of the decoder; only while decoding are products taken by it */
  void *quant_scratch;             /* NULL: not decoding */
  bool eight;                      /* in a pass whose products are taken by the model's own quant */
  float *eight_scratch;            /* NULL when training */
};
#define HAZARD_ROWS 64
#define HAZARD_CELLS 2048 /* outcomes times positions of a sequence */
#define HAZARD_LEAST 4
#define HAZARD_MOST 16

struct model_kept {  /* keys, values and hidden rows of one life, and of the life that was last continued from it */
  int cap, n, clean; /* positions: room, of the life; up to `clean` the two are the same */
  size_t row;        /* floats of keys and values of a position */
  float *memory;     /* all of what follows */
  size_t bytes;
  float *kv, *now_kv;         /* (layers, cap, row) */
  float *hidden, *now_hidden; /* (cap, d) */
};

static inline const float *weight_at(const struct model *m, ptrdiff_t at) { return at < 0 ? NULL : m->weight + at; }
static inline float *grad_at(float *g, ptrdiff_t at) { return at < 0 ? NULL : g + at; }
static inline int head_size(const struct model_config *c) { return c->d / c->heads; }
static inline int qkv_width(const struct model_config *c) { return (c->heads + 2 * c->kv_heads) * head_size(c); }
static inline int kv_width(const struct model_config *c) { return c->kv_heads * head_size(c); }
static inline int up_width(const struct model_config *c) { return c->mlp == MLP_SWIGLU ? 2 * c->ff : c->ff; }

/* model_config.c */
int model_config_check(const struct model_config *c, struct error *e) MUST_CHECK;
struct json;
struct json_out;
void model_config_write(const struct model_config *c, struct json_out *o);
int model_config_read(struct json j, struct model_config *c, struct error *e) MUST_CHECK;

/* model_weights.c */
int model_table(struct model *m, const char (*task_name)[MODEL_TASK_NAME], int tasks, struct error *e) MUST_CHECK; /* no weights */
/* Model with task heads; v may be NULL (tests without a vocabulary: config.codes, rows, outcomes as given). */
int model_build(const struct model_config *c, const struct vocabulary *v, const char (*task_name)[MODEL_TASK_NAME], int tasks,
                uint64_t seed, struct model **out, struct error *e) MUST_CHECK;
const struct tensor *model_tensor(const struct model *m, const char *name); /* NULL if absent */
void model_task_release(struct model_task *t);

/* model_pack.c: a second copy of the matrices in the kernel's own layout. Who changes weights lays them out again. */
int model_pack_new(struct model *m, bool backward, struct error *e) MUST_CHECK; /* for m->kernel; does nothing for large models */
void model_pack_one(struct model *m, int i);                                    /* i < m->packs: from the weights as they are now */
void model_pack_free(struct model *m);
size_t model_pack_floats(const struct model *m, const struct kernel *k, bool backward);
const float *model_packed(const struct model *m, ptrdiff_t weight, int in, int out);                 /* NULL: not laid out */
static inline const struct model *laid_out(const struct model *m, const struct model_workspace *w) { /* whose layout a product takes */
  return w->laid_out && w->laid_out->kernel == m->kernel ? w->laid_out : m;
}
const float *model_packed_back(const struct model *m, ptrdiff_t weight, int in, int out);

/* model_plan.c */
size_t model_workspace_bytes(const struct model *m, struct model_workspace *w, void *base); /* w: positions, training, recompute */

/* model_kept.c: layer l's keys and values of the batch's one sequence */
void kept_layer(const struct model *m, struct model_kept *kept, int l, const float *qkv, int rows);
/* model_heads.c: softmax over a code's knots; u (d): the value head's linear map of a hidden row */
double softmax_knots(const struct model *m, const float *u, uint32_t code, float *p);

/* model_forward.c, model_backward.c */
void linear_forward(const struct model *m, struct model_workspace *w, int rows, int in, int out, const float *x, ptrdiff_t weight,
                    ptrdiff_t bias, float beta, float *y);
/* gradient of the weights accumulated; dx overwritten (beta 0) or accumulated (beta 1), NULL = not wanted */
void linear_backward(const struct model *m, struct model_workspace *w, float *gradient, int rows, int in, int out, const float *x,
                     ptrdiff_t weight, ptrdiff_t bias, const float *dy, float beta, float *dx);
void norm_describe(const struct model *m, int rows, const float *x, ptrdiff_t gain, ptrdiff_t shift, float *y, float *mean, float *rstd,
                   struct norm *n);
void attention_describe(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct layer_state *s,
                        struct attention *a);
void model_embed(const struct model *m, struct model_workspace *w, const struct token_batch *b, float *x);
void block_qkv(const struct model *m, struct model_workspace *w, const struct token_batch *b, int l, const float *x, struct layer_state *s);
void block_middle(const struct model *m, struct model_workspace *w, int rows, int l, const float *x, struct layer_state *s);
void block_rest(const struct model *m, struct model_workspace *w, int rows, int l, const float *x, struct layer_state *s, float *out);
/* x: s->x */
void block_rest_pieces(const struct model *m, struct model_workspace *w, int rows, int l, const struct layer_state *s, float *out);
void final_norm(const struct model *m, struct model_workspace *w, int from, int rows, const float *x); /* x: row `from` */
struct layer_state layer_rows(const struct model_config *c, const struct layer_state *s, int from);    /* the same arrays from a row on */
int batch_check(const struct model *m, const struct model_workspace *w, const struct token_batch *b, struct error *e) MUST_CHECK;
/* dhidden (in w) -> gradient of every trunk and embedder parameter, accumulated */
void model_backward(const struct model *m, struct model_workspace *w, const struct token_batch *b, float *gradient);

/* model_heads.c: the full loss of a batch and its gradient */
struct sequence_label {
  int sequence, task, positions; /* of the sequence that are known then */
  float weight;
  bool yes;
};
struct loss_options {
  double w_rates, w_time, w_value, w_hazard, w_task;
  double scale;      /* of one position: 1 / positions of an optimiser step */
  double task_scale; /* of one example: 1 / examples of an optimiser step */
  float dropout;
  uint64_t seed, stream; /* dropout masks and hazard samples */
  const struct sequence_label *label;
  int labels;
};
struct loss_sums { /* unweighted sums and how many each is over */
  double rates, time, value, hazard, task;
  double n_rates, n_time, n_value, n_hazard, n_task;
  double objective; /* what the gradient is the gradient of */
};
int model_loss(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct loss_options *o, float *gradient,
               struct loss_sums *out, struct error *e) MUST_CHECK;
double task_logit(const struct model *m, const struct model_task *t, const float *hidden, int n, float *pooled);

/* model_task.c */
int model_task_write(const struct model_task *t, struct buf *json, struct error *e) MUST_CHECK;
int model_task_read(struct model_task *t, const char *path, struct error *e) MUST_CHECK;
bool task_name_ok(const char *name);

/* model_checkpoint.c */
struct checkpoint_extra { /* what a run keeps beside the model; NULL / STR_NONE = not written */
  const float *adam_m, *adam_v;
  struct str run_json; /* an object: the run's fixed choices and its cursor */
  struct str training_jsonl, loss_svg, canaries_json;
};
int checkpoint_write(const struct model *m, const char *dir, const struct checkpoint_extra *x, struct error *e) MUST_CHECK;
int checkpoint_read_optimizer(const struct model *m, const char *dir, float *adam_m, float *adam_v, struct error *e) MUST_CHECK;
/* Copies the tensors that both have with the same shape (fine-tuning); returns how many. */
int model_copy_weights(struct model *to, const struct model *from);
#endif
