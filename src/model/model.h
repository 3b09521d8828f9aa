/* One trunk, several embedders, several heads (DESIGN section 4).
 *
 *     struct model_config c = model_preset("small");           // then vocabulary sizes are filled by model_new
 *     struct model *m;  TRY(model_new(&c, vocabulary, seed, &m, e));
 *     struct model_workspace *w;  TRY(model_workspace_new(m, 1024, true, &w, e));   // one per thread; bill in model_plan
 *     TRY(model_forward(m, w, batch, NULL, e));   const float *h = model_hidden(w);  // (positions, d) after the final norm
 *     model_rates(m, w, h + r * d, log_rate);                                       // (V) log events per day
 *     model_hazard(m, w, h + r * d, log_hazard);                                    // (outcomes, bins) log hazard per day
 *     TRY(model_save(m, "models/x", e));
 *
 * Trunk: pre-norm blocks. x += Wo attention(norm(x)); x += Wd mlp(norm(x)). Embedder: rows of the table summed per position
 * (token.h) + linear of the time features (+ learned "moment" vector). Heads: rates (competing exponentials: cross-entropy + waiting
 * time, after Delphi, Shmatko et al. 2025), value (softmax over the code's knots, conditional on the code), hazard
 * (piecewise-exponential for all outcomes at once, low rank, after MOTOR, Steinberg et al. 2024; where outcomes are many a correction of
 * their codes' rates; fitted again when the trunk is trained), task (deep: linear on [last hidden | mean hidden]; wide: a table's; blended).
 * A model is immutable while served and may be shared by threads; a workspace belongs to one thread.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct vocabulary;
struct timeline;
struct timeline_view;
struct token_map;
struct token_batch;
struct token_options;
struct kernel;
struct task;
struct task_example;
struct feature_set;
struct model;
struct train_mesh;
struct model_workspace;

enum model_position { POSITION_NONE, POSITION_ROPE_INDEX, POSITION_ROPE_TIME, POSITION_LEARNED };
enum model_mlp { MLP_SWIGLU, MLP_GELU };
enum model_norm { MODEL_NORM_RMS, MODEL_NORM_LAYER };
enum model_mask { MASK_CAUSAL, MASK_CAUSAL_NO_TIES, MASK_FULL };

#define HAZARD_BINS 8 /* edges in days: 0 1 7 30 90 365 730 1826 3652.5 */
extern const double hazard_edge_days[HAZARD_BINS + 1];

struct model_config {
  char preset[16];
  int layers, d, heads, kv_heads, ff, context;
  int window; /* 0 = whole context */
  enum model_position position;
  enum model_mlp mlp;
  enum model_norm norm;
  enum model_mask mask;
  int pack; /* enum token_pack_mode */
  bool bias, qk_norm, tied;
  bool embed_root; /* the table's rows enter the trunk times sqrt(d), as a tied table wants (FORMAT.md); never in formats 1, 2 */
  float dropout, norm_eps, rope_base, min_gap_days;
  int hazard_rank;
  bool hazard_rates;              /* hazards start from the rates: what training chooses where outcomes are many; never in format 1 */
  uint32_t codes, rows, outcomes; /* from the vocabulary */
  char vocabulary_hash[65];
};
/* tiny 0.3 M, small 2 M, base 30 M, large 100 M, 1b, 7b (for GPUs) trunk parameters; delphi; E_NOTFOUND otherwise */
int model_preset(const char *name, struct model_config *out, struct error *e) MUST_CHECK;

int model_new(const struct model_config *c, const struct vocabulary *v, uint64_t seed, struct model **out, struct error *e) MUST_CHECK;
void model_free(struct model *m);
const struct model_config *model_config(const struct model *m);
const struct vocabulary *model_vocabulary(const struct model *m); /* borrowed; a loaded model owns its vocabulary */
uint64_t model_parameters(const struct model *m);
void model_set_kernel(struct model *m, const struct kernel *k);
/* Lays the matrices out once as the kernel's products want them, for a model that answers many questions and learns no more: the same bits
 * for as much memory again as its matrices have (nothing is done beyond 256 MiB). Freed with the model. */
int model_lay_out(struct model *m, struct error *e) MUST_CHECK;

/* Checkpoint directory: config.json, model.safetensors, vocabulary.json, tasks/NAME.json (heads), training.jsonl, optimizer.safetensors.
 * Written to a temporary name, fsynced, renamed. A vocabulary whose hash differs from the config's is refused (E_MISMATCH). */
int model_save(const struct model *m, const char *dir, struct error *e) MUST_CHECK;
int model_load(const char *dir, struct model **out, struct error *e) MUST_CHECK;
/* Adds a finished file (uncertainty.json, written by predict/) to a checkpoint on disk, or replaces it, and has SHA256SUMS vouch for it. */
int checkpoint_attach(const char *dir, const char *file, struct str text, struct error *e) MUST_CHECK;
const char *model_uncertainty(const struct model *m); /* that file's text, kept on load and save; NULL = none */
int model_verify(const char *dir, void (*finding)(void *, const char *), void *ctx, struct error *e) MUST_CHECK;

/* The bill, before anything is allocated. */
struct plan_shape {
  int threads, lanes, positions; /* lanes: gradients, when training */
  bool training, recompute;
  uint64_t lives, events;      /* of the store trained on: the last fit of the hazard head keeps rows of them */
  const struct kernel *kernel; /* whose layout small models' weights get a second copy in; NULL: none */
};
struct model_plan {
  uint64_t parameters, packed, gradients, optimizer, activations, last_fit, total; /* bytes */
};
void model_plan(const struct model_config *c, const struct plan_shape *s, struct model_plan *out);
void model_plan_text(const struct model_plan *p, char out[256]);

int model_workspace_new(const struct model *m, int positions, bool training, struct model_workspace **out, struct error *e) MUST_CHECK;
/* For training with recomputed activations: only every block's input is kept. */
int model_workspace_recompute(const struct model *m, int positions, struct model_workspace **out, struct error *e) MUST_CHECK;
void model_workspace_free(struct model_workspace *w);
/* Forward over a packed batch; fills hidden. `prefix` (NULL, or one per sequence, NULLs among them) receives keys and values for decoding. */
struct model_prefix;
int model_forward(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct model_prefix *const *prefix,
                  struct error *e) MUST_CHECK;
/* The same where only each life's end is asked for: of a batch of one sequence, the other rows of hidden are not filled. */
int model_forward_last(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct error *e) MUST_CHECK;
const float *model_hidden(const struct model_workspace *w);
void model_rates(const struct model *m, struct model_workspace *w, const float *hidden, float *log_rate);
void model_rates_rows(const struct model *m, struct model_workspace *w, int rows, const float *hidden,
                      float *log_rate); /* (rows, V): many streams at once */
void model_hazard(const struct model *m, struct model_workspace *w, const float *hidden, float *log_hazard);
/* The hazards of the first `bins` bins as (bins, outcomes), and each over its mean with weights `share`, 1 where that is no number. */
void model_hazard_course(const struct model *m, struct model_workspace *w, const float *hidden, int bins, float *course);
void model_course_weigh(const struct model *m, struct model_workspace *w, int bins, const double *share, float *course);
void model_value(const struct model *m, struct model_workspace *w, const float *hidden, uint32_t code,
                 float *probability); /* over the code's knots */
/* Log-likelihood of each sequence of a batch that was packed with its targets; runs the forward pass. out[b->sequences]. */
struct model_likelihood {
  double code;  /* sum over events: log softmax of the rates at the event's code */
  double wait;  /* sum over instants: log density of the wait, per day */
  double value; /* sum over events with a value: log probability of its knots */
  uint32_t events, instants, values;
};
int model_likelihood(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct model_likelihood *out,
                     struct error *e) MUST_CHECK;
/* P(outcome within days | hidden) from log_hazard (outcomes, bins) of one outcome: 1 - exp(-integral) */
double hazard_probability(const float *log_hazard /* bins */, double days);

/* Decoding: streams continue prefixes; streams of one prefix share its keys and values, and streams of many prefixes are one batch. A row's
 * bits do not depend on the other rows. A new position sees the latest `window` (else `context`) positions.
 *
 *     TRY(model_decoder_new(m, true, &d, e));  model_workspace_decode(w, d);          // once; d may be shared by threads
 *     TRY(model_prefix_new(m, positions, &p, e));  TRY(model_forward(m, w, lives, &p, e));      // a filled prefix may be shared too
 *     TRY(model_cache_new(m, 64, 750, &c, e));  TRY(model_cache_bind(c, stream, p, e));         // c belongs to one thread
 *     TRY(model_decode(m, w, c, next, stream, e));  model_decode_rates(m, w, n, model_hidden(w), rate, shift);
 */
/* The weights laid out for products of few rows: as much memory as the model (beyond 256 MiB it does without). With `int8` model_decode takes the
 * trunk's products in eight bits (AVX2: 13), a scale for each row of weights and of activations, where that is faster: docs/performance.md has what it
 * does to the rates. model_forward and the heads take the weights as they are, either way. */
struct model_decoder;
int model_decoder_new(const struct model *m, bool int8, struct model_decoder **out, struct error *e) MUST_CHECK;
void model_decoder_free(struct model_decoder *d);
void model_workspace_decode(struct model_workspace *w, const struct model_decoder *d); /* NULL: back to the model's own */
int model_prefix_new(const struct model *m, int positions, struct model_prefix **out, struct error *e) MUST_CHECK;
void model_prefix_free(struct model_prefix *p);
int model_prefix_positions(const struct model_prefix *p);
struct model_cache;
int model_cache_new(const struct model *m, int streams, int own_positions, struct model_cache **out, struct error *e) MUST_CHECK;
void model_cache_free(struct model_cache *c);
/* The stream begins again after `p` (borrowed; NULL: after nothing); its own positions are dropped. */
int model_cache_bind(struct model_cache *c, int stream, const struct model_prefix *p, struct error *e) MUST_CHECK;
/* One new position for each of n streams: batch has n sequences of one position each (entries, time features, rope fields filled);
 * stream[i] says which stream sequence i continues (streams of one prefix side by side are faster). Fills model_hidden (n, d). */
int model_decode(const struct model *m, struct model_workspace *w, struct model_cache *c, const struct token_batch *b, const int *stream,
                 struct error *e) MUST_CHECK;
/* Log rates of row r: log_rate (rows, V) + shift[r]. Values: u (rows, d) once, then the knots of any code from its row. */
void model_decode_rates(const struct model *m, struct model_workspace *w, int rows, const float *hidden, float *log_rate, float *shift);
void model_decode_values(const struct model *m, struct model_workspace *w, int rows, const float *hidden, float *u);
void model_decode_knots(const struct model *m, const float *u, uint32_t code, float *probability);
/* Vector arithmetic in the model's kernel column: y = exp(x + shift), returning the sum; log of the sum of exp(x); sum of x y. */
double model_exp(const struct model *m, uint32_t n, float shift, const float *x, float *y);
double model_logsumexp(const struct model *m, uint32_t n, const float *x);
double model_dot(const struct model *m, uint32_t n, const float *x, const float *y);

struct model_task; /* a task head */
const struct model_task *model_task_find(const struct model *m, const char *task_name);
int model_tasks(const struct model *m);
const char *model_task_name(const struct model *m, int i);
const char *model_task_json(const struct model_task *t); /* the task file's text, kept with the model */
uint32_t model_task_tuning(const struct model_task *t);  /* tuning examples that its blend was calibrated on; 0: it is not calibrated */
struct model_task_score {
  double probability; /* blended and calibrated: the shipped answer */
  double deep, wide;  /* logits of the parts; NaN if a part is absent */
};
/* hidden rows of one sequence [0, n): deep part; features row: wide part (NULL = deep only) */
int model_task_score(const struct model *m, const struct model_task *t, const float *hidden, int n, const float *features,
                     struct model_task_score *out, struct error *e) MUST_CHECK;
struct feature_set *model_task_features(const struct model_task *t); /* borrowed; NULL if the task has no wide part */
#define MODEL_THRESHOLDS 4
struct model_threshold { /* of a score that the task asks for, learned while tuning patients were unseen */
  char score[24];
  double at;
};
double model_task_threshold(const struct model_task *t, const char *score); /* NaN: none was kept */

/* By how much each entry of the batch's one sequence moved the task's deep logit, against the same life without entries. out[b->entries]; their
 * sum is ends[1] - ends[0] (logit with and without) up to the steps' error. The workspace is one for training. */
int model_attribute(const struct model *m, struct model_workspace *w, struct token_batch *b, const struct model_task *t, int steps,
                    double *out, double ends[2], struct error *e) MUST_CHECK;

/* ---- training (train.c: the whole step on one page) ---- */
struct train_options {
  struct model_config config;
  const char *dir; /* run directory = checkpoint directory; resumed from if it holds a checkpoint and `resume` */
  bool resume;
  uint64_t seed;
  int threads;         /* 0 = cores */
  double epochs;       /* passes over the training positions; fractions allowed */
  double seconds;      /* 0 = none; else the schedule ends in about this time, by the first steps' speed: the run depends on the machine */
  int batch_positions; /* per optimiser step; 0 = 4096, half of it where that would make fewer than 1,000 steps */
  int micro_positions; /* at most so many at once, their gradients are accumulated; 0 = 512, for large models 1024, never less than the context */
  int lanes; /* fixed parts of a step's gradient: they decide the bits, threads do not; more threads do not help; 0 = as many as threads */
  struct train_mesh *mesh; /* several processes (train_mesh.h); NULL = this one */
  const char *transport;   /* of gradients between ranks: nccl, mpi; NULL: train_mesh_link chooses */
  bool recompute;          /* activations of a block are computed again in the backward pass instead of kept: less memory, the same bits */
  float lr, lr_min, decay, beta1, beta2, clip, warmup; /* lr: peak, of widths up to 96; times 96 / d beyond. warmup: share of all steps */
  const struct task *const *tasks;                     /* supervised heads trained with the trunk */
  int n_tasks;
  double task_weight; /* loss weight of the deep task heads */
  float task_decay;   /* their weight decay */
  double task_epochs; /* single labels are trained in the last so many epochs only: they are few and soon learned by heart */
  double save_every;  /* seconds between checkpoints; default 30 */
  const char *init;   /* checkpoint to start from (fine-tuning) */
  const char *column; /* kernel column by name, NULL = auto, which never takes a GPU */
  bool bf16; /* products of reduced operands: bfloat16 where there is a unit for it, else whole numbers of 13 bits (kernel/kernel.h) */
  float weight_time, weight_value, weight_hazard; /* of the parts of the loss, beside the codes' cross-entropy */
  float dropout;                                  /* < 0: the configuration's */
  int canaries; /* made-up lives added to the training data; how well each is remembered is measured at the end (canaries.json) */
  /* Told what a table answers about training persons it had not seen (NULL: none); a moment without the outcome stands for `other` such. */
  void (*unseen)(void *ctx, int task, const struct task_example *at, const double *p, uint32_t n, double other);
  void *unseen_ctx;
};
void train_defaults(struct train_options *o);
struct train_result {
  int64_t steps, positions;
  double loss, loss_rates, loss_time, loss_value, loss_hazard, loss_task; /* last 50 steps' means */
  double tuning_loss;                                                     /* on the tuning split */
  double hazard_before, hazard_after; /* tuning loss of the hazard head before and after its last fit; NAN: was not fitted again */
  double seconds, positions_per_second;
  double cpu_seconds;     /* of all threads, over this session's steps */
  double packing_seconds; /* of them, spent laying out batches */
};
int model_train(const struct train_options *o, const struct timeline *store, struct train_result *out, struct error *e) MUST_CHECK;

/* The last step, once everything that needs tuning patients unseen has been learned from them (the blend, how sure answers are, thresholds of
 * scores): the table of each head (linear part and trees) is fitted again on training and tuning patients together, with the strength, the rounds
 * and the weights that were chosen before. Writes tasks/NAME.json in `dir`. From then on tuning patients have been learned from. */
struct refit_options {
  const char *dir; /* a checkpoint */
  const struct timeline *store;
  const struct task *const *tasks;
  int n_tasks, threads;
  uint64_t seed;
  const struct model_threshold (*threshold)[MODEL_THRESHOLDS]; /* (n_tasks), kept with the heads; an empty name ends a list. NULL: none */
};
int model_refit(const struct refit_options *o, struct error *e) MUST_CHECK;
#endif
