/* Training. One optimiser step, on one page (`one_step`): take the next items and share them out over the lanes; a thread takes a lane,
 * packs its items into micro-batches and runs loss and gradient of each; the lanes' gradients are added as a tree, clipped by their
 * norm, and AdamW moves the weights. The lanes decide every bit, the threads none. Nothing depends on time but the length of the
 * schedule, and that is decided once and kept with the run; so a run that stops anywhere goes on to the same bits. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "kernel/kernel_plugin.h"
#include "model/train_internal.h"

void (*train_step_hook)(struct train_run *r);

void train_defaults(struct train_options *o) {
  *o = (struct train_options){.seed = 1,
                              .epochs = 8,
                              .lr = 2e-3f,
                              .lr_min = 1e-5f,
                              .decay = 0.05f,
                              .beta1 = 0.9f,
                              .beta2 = 0.98f,
                              .clip = 1,
                              .warmup = 0.05f,
                              .task_weight = 1,
                              .task_decay = 0.05f,
                              .task_epochs = 3,
                              .save_every = 30,
                              .weight_time = 0.2f,
                              .weight_value = 0.5f,
                              .weight_hazard = 1,
                              .dropout = -1};
  struct error e;
  if (model_preset("small", &o->config, &e) < 0) BUG("the default size has no preset");
}

/* ---- the step ---- */

static int rows_of(const struct train_options *o, const struct model_config *c) {
  return o->micro_positions > c->context ? o->micro_positions : c->context;
}

static int next_items(struct train_run *r, struct train_items *batch, struct error *e) {
  int64_t positions = 0;
  batch->n = 0;
  while (positions < r->o.batch_positions) {
    TRY(train_data_epoch(&r->data, r->epoch, e));
    if (r->index >= (int64_t)r->data.epoch.n) {
      r->epoch++;
      r->index = 0;
      continue;
    }
    const struct train_item *item = &r->data.epoch.at[r->index++];
    TRY(train_items_add(batch, item, e));
    positions += item->positions;
  }
  train_data_ahead(&r->data, r->index, batch->n);
  return OK;
}

static int longer_first(const void *x, const void *y) {
  const struct train_item *a = x, *b = y;
  return a->positions != b->positions ? (a->positions > b->positions ? -1 : 1) : a->subject < b->subject ? -1 : a->subject > b->subject;
}

/* Longest first, each to the lane that has least: fixed for a given number of lanes. */
static int share_out(struct train_run *r, struct train_items *batch, struct error *e) {
  int64_t load[TRAIN_LANES] = {0};
  qsort(batch->at, batch->n, sizeof *batch->at, longer_first);
  for (int k = 0; k < r->o.lanes; k++) r->lane[k].items.n = 0;
  for (size_t i = 0; i < batch->n; i++) {
    int least = 0;
    for (int k = 1; k < r->o.lanes; k++)
      if (load[k] < load[least]) least = k;
    load[least] += batch->at[i].positions;
    TRY(train_items_add(&r->lane[least].items, &batch->at[i], e));
  }
  return OK;
}

static double steps_an_epoch(const struct train_run *r) { return r->data.positions_per_epoch / r->o.batch_positions; }

#define TASK_STEPS 100 /* at least */

/* Single labels join when the trunk has read the lives; before the length is decided it is the beginning in any case. Where a pass asks
 * at every moment of a life there is too much to learn by heart: those are there from the first step (docs/accuracy.md). */
static bool tasks_joined(const struct train_run *r) {
  return r->total_steps > 0 && (double)(r->total_steps - r->step) <= fmax(TASK_STEPS, r->o.task_epochs * steps_an_epoch(r));
}

static int run_micro(struct train_run *r, struct train_worker *w, int lane, int chunk, int labels, struct error *e) {
  struct loss_sums sums;
  struct loss_options o = {.w_rates = 1,
                           .w_time = (double)r->o.weight_time,
                           .w_value = (double)r->o.weight_value,
                           .w_hazard = (double)r->o.weight_hazard,
                           .w_task = r->o.task_weight,
                           .scale = 1.0 / r->o.batch_positions,
                           .dropout = r->o.dropout,
                           .seed = r->o.seed,
                           .label = w->label,
                           .labels = labels};
  o.task_scale = r->data.examples_per_position > 0 ? o.scale / r->data.examples_per_position : 0;
  o.stream = (((uint64_t)r->step * TRAIN_LANES + (uint64_t)lane) * 4096 + (uint64_t)chunk) * 1024;
  TRY(model_loss(r->m, w->w, &w->batch, &o, r->lane[lane].gradient, &sums, e));
  loss_sums_add(&r->lane[lane].sums, &sums);
  return OK;
}

static int lane_gradient(struct train_run *r, struct train_worker *w, int lane, struct error *e) {
  const struct train_items *mine = &r->lane[lane].items;
  int labels = 0, chunk = 0;
  memset(r->lane[lane].gradient, 0, r->m->floats * sizeof(float));
  r->lane[lane].sums = (struct loss_sums){0};
  token_batch_clear(&w->batch);
  for (size_t i = 0; i < mine->n; i++) {
    const struct train_item *item = &mine->at[i];
    if (w->batch.positions + item->positions > w->w->positions) {
      TRY(run_micro(r, w, lane, chunk++, labels, e));
      token_batch_clear(&w->batch);
      labels = 0;
    }
    double began = time_monotonic();
    TRY(train_pack(&r->data, item, &w->batch, e));
    w->packing += time_monotonic() - began;
    if (item->task >= 0 && (item->labels || tasks_joined(r))) labels += train_labels(&r->data, item, &w->batch, w->label + labels);
  }
  return w->batch.sequences ? run_micro(r, w, lane, chunk, labels, e) : OK;
}

/* Which thread takes which lane does not matter: a lane's sum depends on its items alone. */
static void gradient_job(void *ctx, int worker, int workers) {
  struct train_run *r = ctx;
  struct train_worker *w = &r->worker[worker];
  (void)workers;
  w->rc = OK;
  for (int lane; w->rc >= 0 && (lane = atomic_fetch_add(&r->next_lane, 1)) < r->first_lane + r->own_lanes;)
    w->rc = lane_gradient(r, w, lane, &w->e);
}

static size_t blocks(const struct train_run *r) { return (r->m->floats + TRAIN_BLOCK - 1) / TRAIN_BLOCK; }

/* The lanes' gradients into the first one's, pairwise as a tree (0+1, 2+3, then 0+2 ...): an order that halves of the lanes can work
 * on apart, in other processes too (train_mesh.h), and that knows nothing of threads. */
static void reduce_job(void *ctx, int worker, int workers) {
  struct train_run *r = ctx;
  size_t n = blocks(r);
  for (size_t b = n * (size_t)worker / (size_t)workers; b < n * (size_t)(worker + 1) / (size_t)workers; b++) {
    size_t from = b * TRAIN_BLOCK, size = r->m->floats - from < TRAIN_BLOCK ? r->m->floats - from : TRAIN_BLOCK;
    struct train_lane *mine = r->lane + r->first_lane;
    for (int step = 1; step < r->own_lanes; step *= 2)
      for (int k = 0; k + step < r->own_lanes; k += 2 * step)
        r->m->kernel->add(size, mine[k + step].gradient + from, mine[k].gradient + from);
    if (!r->o.mesh) r->square[b] = r->m->kernel->sumsq(size, mine->gradient + from);
  }
}

static int reduce_ranks(struct train_run *r, struct error *e) {
  struct loss_sums all[TRAIN_LANES];
  float *sum = r->lane[r->first_lane].gradient;
  TRY(train_mesh_sum(r->o.mesh, r->m->kernel->add, sum, r->m->floats, e));
  for (size_t b = 0; b < blocks(r); b++) {
    size_t from = b * TRAIN_BLOCK, size = r->m->floats - from < TRAIN_BLOCK ? r->m->floats - from : TRAIN_BLOCK;
    r->square[b] = r->m->kernel->sumsq(size, sum + from);
  }
  for (int k = 0; k < r->o.lanes; k++) all[k] = r->lane[k].sums;
  TRY(train_mesh_gather(r->o.mesh, all, (size_t)r->own_lanes * sizeof *all, e));
  for (int k = 0; k < r->o.lanes; k++) r->lane[k].sums = all[k];
  return OK;
}

static void share_of(const struct train_run *r, int worker, size_t *from, size_t *to) { /* of all parameters, in whole cache lines */
  size_t lines = r->m->floats / 16;
  *from = lines * (size_t)worker / (size_t)r->workers * 16;
  *to = lines * (size_t)(worker + 1) / (size_t)r->workers * 16;
}

static void adamw_job(void *ctx, int worker, int workers) {
  struct train_run *r = ctx;
  size_t from, to;
  (void)workers;
  share_of(r, worker, &from, &to);
  for (int i = 0; i < r->m->tensors; i++) {
    const struct tensor *t = &r->m->tensor[i];
    size_t a = t->at > from ? t->at : from, b = t->at + t->n < to ? t->at + t->n : to;
    if (a >= b) continue;
    bool head = strncmp(t->name, "task.", 5) == 0;
    r->m->kernel->adamw(&(struct adamw){.n = b - a,
                                        .w = r->m->weight + a,
                                        .m = r->adam_m + a,
                                        .v = r->adam_v + a,
                                        .g = r->lane[r->first_lane].gradient + a,
                                        .lr = r->lr_now,
                                        .beta1 = r->o.beta1,
                                        .beta2 = r->o.beta2,
                                        .eps = 1e-8f,
                                        .decay = !t->decay ? 0
                                                 : head    ? r->o.task_decay
                                                           : r->o.decay,
                                        .grad_scale = r->clip_scale,
                                        .bias1 = (float)(1 - pow((double)r->o.beta1, (double)(r->step + 1))),
                                        .bias2 = (float)(1 - pow((double)r->o.beta2, (double)(r->step + 1)))});
  }
}

/* Linear warm-up, then cosine; until the length is decided, a slow start. Wider models take smaller steps (after Yang et al. 2022). */
static float learning_rate(const struct train_run *r) {
  double narrow = fmin(1, 96.0 / r->m->config.d), peak = (double)r->o.lr * narrow, low = (double)r->o.lr_min * narrow;
  if (r->total_steps == 0) return (float)(peak * (double)(r->step + 1) / 100);
  double total = (double)r->total_steps, warm = fmax(1, (double)r->o.warmup * total), s = (double)r->step;
  if (s < warm) return (float)(peak * (s + 1) / warm);
  double wave = 0.5 * (1 + cos(3.14159265358979323846 * fmin(1, (s - warm) / fmax(1, total - warm))));
  return (float)(low + (peak - low) * wave);
}

static void pack_job(void *ctx, int worker, int workers) {
  struct train_run *r = ctx;
  (void)worker, (void)workers;
  for (int i; (i = atomic_fetch_add(&r->next_lane, 1)) < r->m->packs;) model_pack_one(r->m, i);
}

static int device_check(const struct train_run *r, struct error *e) {
  const char *why = r->m->kernel->failed ? r->m->kernel->failed() : NULL;
  return why ? error_set(e, E_UNAVAILABLE, "step %lld: %s; the last checkpoint is kept", (long long)r->step, why) : OK;
}

static int one_step(struct train_run *r, struct train_items *batch, struct loss_sums *sums, double *norm, struct error *e) {
  TRY(next_items(r, batch, e));
  TRY(share_out(r, batch, e));
  atomic_store(&r->next_lane, r->first_lane);
  pool_run(r->pool, gradient_job, r);
  for (int k = 0; k < r->workers; k++)
    if (r->worker[k].rc < 0) {
      if (e) *e = r->worker[k].e;
      return r->worker[k].rc;
    }
  *sums = (struct loss_sums){0};
  pool_run(r->pool, reduce_job, r);
  if (r->o.mesh) TRY(reduce_ranks(r, e));
  for (int k = 0; k < r->o.lanes; k++) loss_sums_add(sums, &r->lane[k].sums);
  TRY(device_check(r, e));
  double square = 0;
  for (size_t b = 0; b < blocks(r); b++) square += r->square[b];
  *norm = sqrt(square);
  if (!isfinite(*norm) || !isfinite(sums->objective))
    return error_set(e, E_CORRUPT, "the loss is no number at step %lld: lower the learning rate; the last checkpoint is kept",
                     (long long)r->step);
  r->clip_scale = *norm > (double)r->o.clip ? (float)((double)r->o.clip / *norm) : 1.0f;
  r->lr_now = learning_rate(r);
  pool_run(r->pool, adamw_job, r);
  atomic_store(&r->next_lane, 0);
  if (r->m->packs) pool_run(r->pool, pack_job, r);
  TRY(device_check(r, e)); /* else a checkpoint could keep weights of a failed step */
  for (size_t i = 0; i < batch->n; i++) r->positions += batch->at[i].positions;
  r->recent[r->step % 50] = *sums;
  r->step++;
  return OK;
}

/* ---- the schedule ---- */

#define MEASURE_FROM 3
#define MEASURE_TO 9

static int64_t steps_of_epochs(const struct train_run *r) {
  double steps = ceil(steps_an_epoch(r) * r->o.epochs);
  return steps < 1 ? 1 : (int64_t)steps;
}

/* Once: by epochs alone, or by the speed of the first steps if a time was given. */
static void decide_length(struct train_run *r, double began, double *measured) {
  if (r->total_steps || (r->o.seconds > 0 && train_mesh_rank(r->o.mesh))) return;
  if (r->o.seconds <= 0) r->total_steps = steps_of_epochs(r);
  if (r->step == MEASURE_FROM) *measured = time_monotonic();
  if (r->o.seconds <= 0 || r->step < MEASURE_TO || *measured == 0) return;
  double now = time_monotonic(), a_step = (now - *measured) / (MEASURE_TO - MEASURE_FROM), left = r->o.seconds * 0.95 - (now - began);
  int64_t by_time = r->step + (int64_t)fmax(1, left / fmax(a_step, 1e-6)), by_epochs = steps_of_epochs(r);
  r->total_steps = by_time < by_epochs ? by_time : by_epochs;
}

/* Clocks and signals differ between ranks: rank 0 decides how long the run is and when it stops. */
static int agree(struct train_run *r, bool *stop, struct error *e) {
  int64_t word[2] = {r->total_steps, *stop};
  TRY(train_mesh_broadcast(r->o.mesh, word, sizeof word, e));
  r->total_steps = word[0];
  *stop = word[1] != 0;
  return OK;
}

static int train_loop(struct train_run *r, double began, struct error *e) {
  struct train_items batch = {0};
  struct progress bar;
  struct loss_sums sums, since = {0};
  double measured = 0, saved = time_monotonic(), earlier = r->seconds, norm = 0, logged = began;
  int64_t logged_positions = r->positions;
  int rc = OK;
  decide_length(r, began, &measured);
  progress_start(&bar, "train", (uint64_t)(r->total_steps ? r->total_steps : steps_of_epochs(r)), PROGRESS_COUNT);
  while (rc >= 0 && (r->total_steps == 0 || r->step < r->total_steps)) {
    rc = one_step(r, &batch, &sums, &norm, e);
    if (rc < 0) break;
    double now = time_monotonic();
    r->seconds = earlier + (now - began);
    loss_sums_add(&since, &sums);
    if (r->total_steps == 0)
      decide_length(r, began, &measured), bar.total = (uint64_t)(r->total_steps ? r->total_steps : steps_of_epochs(r));
    if (r->step % 10 == 0 || r->step == r->total_steps) {
      char note[128];
      double rate = (double)(r->positions - logged_positions) / fmax(now - logged, 1e-9);
      train_log_step(r, &since, norm, rate);
      snprintf(note, sizeof note, "loss %.4f, %.0f positions/s", train_objective(&r->o, &since), rate);
      progress_update(&bar, (uint64_t)r->step, note);
      logged = now, logged_positions = r->positions, since = (struct loss_sums){0};
    }
    if (train_step_hook) train_step_hook(r);
    bool stop = cancel_requested() != 0;
    rc = agree(r, &stop, e);
    if (rc >= 0 && train_mesh_rank(r->o.mesh) == 0 && (stop || now - saved > r->o.save_every)) {
      rc = train_checkpoint(r, e);
      saved = time_monotonic();
    }
    if (rc >= 0 && stop) rc = error_set(e, E_CANCELLED, "stopped at step %lld; the run can be resumed", (long long)r->step);
  }
  progress_end(&bar, rc == E_CANCELLED ? "stopped, saved" : rc < 0 ? "failed" : "trained");
  mem_free(batch.at);
  return rc;
}

/* ---- a run's things ---- */

static int choose_kernel(const struct train_options *o, const struct kernel **out, struct error *e) {
  static const struct {
    const char *name;
    enum kernel_column column;
  } names[] = {{"auto", KERNEL_AUTO},
               {"ref", KERNEL_REF},
               {"avx2", KERNEL_AVX2},
               {"avx2words", KERNEL_AVX2WORDS},
               {"avx512", KERNEL_AVX512},
               {"avx512vnni", KERNEL_AVX512VNNI},
               {"avx512bf16", KERNEL_AVX512BF16},
               {"amx", KERNEL_AMX}};
  const char *want = o->column ? o->column : "auto";
  *out = NULL;
  if (strcmp(want, "cuda") == 0) return kernel_plugin_open(NULL, o->bf16, out, e);
  if (strcmp(want, "cudabf16") == 0) return kernel_plugin_open(NULL, true, out, e);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (strcmp(want, names[i].name) != 0) continue;
    *out = kernel_pick(names[i].column, o->bf16 ? KERNEL_REDUCED : KERNEL_F32);
    return *out ? OK : error_set(e, E_UNAVAILABLE, "this kernel column cannot run on this machine");
  }
  return error_set(e, E_USAGE, "no such kernel column");
}

/* The lanes of this process: as many for every rank, a power of two, so that the tree of sums has the same shape for any number of ranks. */
static int share_lanes(struct train_run *r, int threads, struct error *e) {
  int ranks = train_mesh_ranks(r->o.mesh), own = 1;
  while (2 * own <= threads) own *= 2;
  if (r->o.lanes == 0) r->o.lanes = r->o.mesh ? own * ranks : threads;
  if (r->o.lanes > TRAIN_LANES) return error_set(e, E_LIMIT, "more than %d training threads or lanes", TRAIN_LANES);
  r->own_lanes = r->o.lanes / ranks;
  r->first_lane = r->own_lanes * train_mesh_rank(r->o.mesh);
  if (r->o.mesh && (r->o.lanes % ranks || (r->own_lanes & (r->own_lanes - 1))))
    return error_set(e, E_USAGE, "%d lanes do not go round %d ranks: each takes the same power of two of them", r->o.lanes, ranks);
  return OK;
}

/* What was left open is settled, and the bill presented before anything is allocated: what does not fit is refused with what would
 * make it smaller. */
static int settle(struct train_run *r, const struct model_config *c, const struct timeline *store, const struct kernel *k,
                  struct error *e) {
  struct train_options *o = &r->o;
  struct plan_shape shape = {
      .training = true, .recompute = o->recompute, .lives = timeline_subjects(store), .events = timeline_events(store), .kernel = k};
  struct model_plan plan;
  char bill[256], there[32];
  uint64_t available = mem_available();
  TRY(model_config_check(c, e));
  if (o->threads == 0) o->threads = k->device ? 1 : thread_cores();
  TRY(share_lanes(r, o->threads, e));
  model_plan(c, &shape, &plan);
  if (o->micro_positions == 0) o->micro_positions = plan.packed ? TRAIN_ROWS / 2 : TRAIN_ROWS;
  shape.threads = o->threads, shape.lanes = r->own_lanes, shape.positions = rows_of(o, c);
  model_plan(c, &shape, &plan);
  model_plan_text(&plan, bill);
  progress_note(bill);
  if (available == 0 || plan.total <= available) return OK;
  human_bytes(available, there);
  return error_set(e, E_NOMEM,
                   "%s, but only %s are free: fewer threads or lanes, smaller micro-batches or recomputed activations need less", bill,
                   there);
}

/* Outcomes for each dimension of the hazard head beyond which it cannot tell them apart by itself and starts from the rates, which have the whole
 * width for each code. With few outcomes a head of its own is as well ranked and better calibrated (docs/accuracy.md, docs/simulator.md). */
#define HAZARD_MANY 8

static int make_model(struct train_run *r, const struct timeline *store, const struct kernel *k, struct error *e) {
  struct vocabulary *v = NULL;
  struct model *from = NULL;
  struct model_config c = r->o.config;
  int n = r->o.n_tasks, rc;
  char(*names)[MODEL_TASK_NAME] = mem_alloc(((size_t)n + 1) * sizeof *names);
  if (!names) return error_set(e, E_NOMEM, "no memory for a model");
  for (int i = 0; i < n; i++) snprintf(names[i], sizeof names[i], "%s", task_name(r->o.tasks[i]));
  if (r->o.init) {
    TRY_OUT(model_load(r->o.init, &from, e));
    c = from->config;
    v = from->vocabulary;
    from->owns_vocabulary = false;
  } else {
    TRY_OUT(vocabulary_build(store, &(struct vocabulary_options){0}, &v, e));
    c.hazard_rates = vocabulary_outcomes(v) > HAZARD_MANY * (uint32_t)c.hazard_rank;
  }
  c.codes = vocabulary_codes(v), c.rows = vocabulary_rows(v), c.outcomes = vocabulary_outcomes(v);
  TRY_OUT(settle(r, &c, store, k, e));
  TRY_OUT(model_build(&c, v, (const char(*)[MODEL_TASK_NAME])names, n, r->o.seed, &r->m, e));
  r->m->owns_vocabulary = true;
  v = NULL;
  if (from) model_copy_weights(r->m, from);
out:
  vocabulary_free(v);
  model_free(from);
  mem_free(names);
  return rc;
}

static int resume_model(struct train_run *r, const struct timeline *store, const struct kernel *k, struct error *e) {
  TRY(model_load(r->o.dir, &r->m, e));
  TRY(train_run_read(r, r->o.dir, e));
  if (r->m->tasks != r->o.n_tasks) return error_set(e, E_MISMATCH, "the run was begun with other tasks");
  for (int i = 0; i < r->o.n_tasks; i++)
    if (strcmp(r->m->task[i].name, task_name(r->o.tasks[i])) != 0) return error_set(e, E_MISMATCH, "the run was begun with other tasks");
  return settle(r, &r->m->config, store, k, e);
}

static int make_worker(struct train_run *r, struct train_worker *w, int rows, struct error *e) {
  TRY(token_batch_init(&w->batch, 0, e));
  if (r->o.recompute)
    TRY(model_workspace_recompute(r->m, rows, &w->w, e));
  else
    TRY(model_workspace_new(r->m, rows, true, &w->w, e));
  w->label = mem_alloc((size_t)rows * sizeof *w->label);
  return w->label ? OK : error_set(e, E_NOMEM, "no memory for the training threads");
}

static int make_workers(struct train_run *r, struct error *e) {
  TRY(pool_new(&r->pool, r->o.threads, e));
  int threads = pool_size(r->pool), rows = rows_of(&r->o, &r->m->config);
  r->worker = mem_alloc((size_t)threads * sizeof *r->worker);
  r->lane = mem_alloc((size_t)r->o.lanes * sizeof *r->lane);
  r->square = mem_alloc(blocks(r) * sizeof *r->square);
  if (r->worker) memset(r->worker, 0, (size_t)threads * sizeof *r->worker), r->workers = threads;
  if (r->lane) memset(r->lane, 0, (size_t)r->o.lanes * sizeof *r->lane);
  if (!r->worker || !r->lane || !r->square) return error_set(e, E_NOMEM, "no memory for the training threads");
  for (int k = 0; k < threads; k++) TRY(make_worker(r, &r->worker[k], rows, e));
  for (int k = r->first_lane; k < r->first_lane + r->own_lanes; k++) {
    r->lane[k].gradient = mem_alloc_aligned(r->m->floats * sizeof(float));
    if (!r->lane[k].gradient) return error_set(e, E_NOMEM, "no memory for the gradients");
  }
  r->adam_m = mem_alloc_aligned(r->m->floats * sizeof *r->adam_m);
  r->adam_v = mem_alloc_aligned(r->m->floats * sizeof *r->adam_v);
  if (!r->adam_m || !r->adam_v) return error_set(e, E_NOMEM, "no memory for the optimiser");
  return model_pack_new(r->m, true, e);
}

static void close_run(struct train_run *r) {
  size_t bytes = r->m ? r->m->floats * sizeof(float) : 0;
  for (int k = 0; k < r->workers; k++) {
    token_batch_release(&r->worker[k].batch);
    model_workspace_free(r->worker[k].w);
    mem_free(r->worker[k].label);
  }
  for (int k = 0; r->lane && k < r->o.lanes; k++) {
    if (r->lane[k].gradient) mem_free_aligned(r->lane[k].gradient, bytes);
    mem_free(r->lane[k].items.at);
  }
  if (r->adam_m) mem_free_aligned(r->adam_m, bytes);
  if (r->adam_v) mem_free_aligned(r->adam_v, bytes);
  if (r->pool) pool_free(r->pool);
  mem_free(r->worker);
  mem_free(r->lane);
  mem_free(r->square);
  train_data_close(&r->data);
  buf_release(&r->jsonl);
  buf_release(&r->canaries_json);
  model_free(r->m);
}

static int check_options(const struct train_options *o, struct error *e) {
  if (!o->dir) return error_set(e, E_USAGE, "training needs a run directory");
  if (o->n_tasks < 0 || o->n_tasks > 64) return error_set(e, E_USAGE, "a model has heads for at most 64 tasks");
  if (o->threads < 0) return error_set(e, E_USAGE, "threads are not negative");
  if (o->batch_positions < 0 || o->batch_positions > 1 << 24) return error_set(e, E_USAGE, "a batch has at most 16 million positions");
  if (o->lanes < 0 || o->lanes > TRAIN_LANES || o->micro_positions < 0 || o->micro_positions > 1 << 20)
    return error_set(e, E_USAGE, "lanes are 0 to %d, a micro-batch has at most a million positions", TRAIN_LANES);
  if (o->canaries < 0 || o->canaries > 240) return error_set(e, E_USAGE, "canaries are 0 to 240");
  if (!(o->epochs > 0) || !(o->lr > 0) || !(o->clip > 0) || !(o->dropout < 1) || !(o->warmup >= 0 && o->warmup <= 1) ||
      !(o->beta1 >= 0 && o->beta1 < 1) || !(o->beta2 >= 0 && o->beta2 < 1) || !(o->decay >= 0) || !(o->task_weight >= 0) ||
      !(o->task_epochs >= 0))
    return error_set(e, E_USAGE, "epochs, lr and clip must be above 0; dropout, warm-up and betas are shares; weights are not negative");
  return OK;
}

#define BATCH 4096
#define ENOUGH_STEPS 1000

/* Few records make few large steps; half as large ones were seen to serve them better, still smaller ones not (docs/accuracy.md). */
static int batch_for(double positions) { return positions < (double)BATCH * ENOUGH_STEPS ? BATCH / 2 : BATCH; }

static int open_run(struct train_run *r, const struct timeline *store, struct error *e) {
  char config[4096];
  const struct kernel *k;
  TRY(check_options(&r->o, e));
  TRY(choose_kernel(&r->o, &k, e));
  TRY(train_mesh_link(r->o.mesh, k->device ? kernel_plugin_link() : NULL, r->o.transport, e));
  snprintf(r->store, sizeof r->store, "%s", timeline_hash(store));
  TRY(file_join(config, sizeof config, r->o.dir, "config.json", e));
  bool resume = r->o.resume && file_exists(config);
  if (resume)
    TRY(resume_model(r, store, k, e));
  else
    TRY(make_model(r, store, k, e));
  model_set_kernel(r->m, k);
  if (r->o.dropout < 0) r->o.dropout = r->m->config.dropout;
  TRY(make_workers(r, e));
  if (resume) TRY(checkpoint_read_optimizer(r->m, r->o.dir, r->adam_m, r->adam_v, e));
  TRY(train_data_open(&r->o, r->m, store, r->o.seed, &r->data, e));
  if (!r->o.batch_positions) r->o.batch_positions = batch_for(r->data.positions_per_epoch * r->o.epochs);
  return OK;
}

static void summarise(const struct train_run *r, double seconds, double cpu, int64_t positions, struct train_result *out) {
  struct loss_sums s = {0};
  for (int i = 0; i < 50; i++) loss_sums_add(&s, &r->recent[i]);
  out->steps = r->step;
  out->positions = r->positions;
  out->loss = train_objective(&r->o, &s);
  out->loss_rates = s.n_rates > 0 ? s.rates / s.n_rates : 0;
  out->loss_time = s.n_time > 0 ? s.time / s.n_time : 0;
  out->loss_value = s.n_value > 0 ? s.value / s.n_value : 0;
  out->loss_hazard = s.n_hazard > 0 ? s.hazard / s.n_hazard : 0;
  out->loss_task = s.n_task > 0 ? s.task / s.n_task : 0;
  out->seconds = r->seconds;
  out->cpu_seconds = cpu;
  for (int k = 0; k < r->workers; k++) out->packing_seconds += r->worker[k].packing;
  out->positions_per_second = (double)positions / fmax(seconds, 1e-9);
}

int model_train(const struct train_options *o, const struct timeline *store, struct train_result *out, struct error *e) {
  struct train_run r = {.o = *o};
  double began = time_monotonic();
  *out = (struct train_result){.tuning_loss = NAN, .hazard_before = NAN, .hazard_after = NAN};
  thread_fast_float();
  int rc = open_run(&r, store, e);
  int64_t before = r.positions;
  double loop = time_monotonic(), cpu = time_cpu();
  if (rc >= 0) {
    rc = train_loop(&r, began, e);
    if (rc >= 0 || rc == E_CANCELLED) train_mesh_unlink(r.o.mesh); /* all ranks come here together; after a failure they do not */
    summarise(&r, time_monotonic() - loop, time_cpu() - cpu, r.positions - before, out);
  }
  bool first = train_mesh_rank(r.o.mesh) == 0;
  if (rc >= 0 && first) rc = train_hazard_refit(&r, out, e);
  if (rc >= 0 && first) rc = train_tuning_loss(&r, &out->tuning_loss, e);
  if (rc >= 0 && first) rc = train_heads(&r, e);
  if (rc >= 0 && first && r.o.canaries) rc = train_canaries_measure(&r, e);
  if (rc >= 0 && first) {
    r.done = true;
    rc = train_checkpoint(&r, e);
  }
  close_run(&r);
  return rc;
}
