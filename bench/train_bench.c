/* What the comparison with PyTorch needs of training, without the site around it.
 *
 *     train_bench peak                                      GFLOP/s of f32 fused multiply-adds, registers only, per second of processor time
 *     train_bench record STORE OUT [--KEY VALUE ...]        trains; OUT gets init/ (checkpoint before the first step), batches.bin (the
 *                                                           packed batch of every step), run/ (the result) and settings.json
 *     train_bench evaluate STORE OUT WEIGHTS.safetensors    loss of these weights on the tuning split, as `record` reports its own
 *     train_bench speed STORE DIR [--KEY VALUE ...]         trains without recording
 *
 * Keys: size, steps, batch, seed, lanes, threads, recompute, reduced (1: products of reduced operands), micro, context, dropout, layers, d, heads, ff. Heads trained: rates with
 * their waiting times alone (a value and a hazard head have no counterpart in the peer). One JSON line on standard output.
 * batches.bin: for each step int32 sequences, positions, entries, targets; seq_start, entry_start, entry_id, target_start, target_id
 * (int32); entry_weight, time_feature, rope_index, gap_days, tail_days (f32); time (int64).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/thread.h"
#include "base/time.h"
#include "model/safetensors.h"
#include "model/train_internal.h"

static FILE *record;
static struct token_batch step_batch;

static void die(const struct error *e) {
  error_print(stderr, e);
  exit(1);
}
#define MUST(call)              \
  do {                          \
    if ((call) < 0) die(&fail); \
  } while (0)
static struct error fail;

static void put(const void *p, size_t size, int n) {
  if (fwrite(p, size, (size_t)n, record) != (size_t)n) exit(1);
}

/* The first step does not count, as in the peer: it meets all memory for the first time. */
static struct {
  double cpu, cpu_end;
  int64_t positions, positions_end;
} counted;
static void record_step(struct train_run *r);
static void after_step(struct train_run *r) {
  counted.cpu_end = time_cpu(), counted.positions_end = r->positions;
  if (record) record_step(r);
  if (r->step == 1) counted.cpu = counted.cpu_end, counted.positions = r->positions;
  counted.cpu += time_cpu() - counted.cpu_end; /* nor does the recording */
}

/* Lane after lane, as the gradient was summed; the peer may cut it up as it likes. */
static void record_step(struct train_run *r) {
  struct token_batch *b = &step_batch;
  token_batch_clear(b);
  for (int k = 0; k < r->o.lanes; k++)
    for (size_t i = 0; i < r->lane[k].items.n; i++) MUST(train_pack(&r->data, &r->lane[k].items.at[i], b, &fail));
  int32_t head[4] = {b->sequences, b->positions, b->entries, b->targets};
  put(head, 4, 4);
  put(b->seq_start, 4, b->sequences + 1);
  put(b->entry_start, 4, b->positions + 1);
  put(b->entry_id, 4, b->entries);
  put(b->target_start, 4, b->positions + 1);
  put(b->target_id, 4, b->targets);
  put(b->entry_weight, 4, b->entries);
  put(b->time_feature, 4 * TOKEN_TIME_FEATURES, b->positions);
  put(b->rope_index, 4, b->positions);
  put(b->gap_days, 4, b->positions);
  put(b->tail_days, 4, b->positions);
  put(b->time, 8, b->positions);
}

static const char *key(int n, char **args, const char *name, const char *otherwise) {
  for (int i = 0; i + 1 < n; i += 2)
    if (strncmp(args[i], "--", 2) == 0 && strcmp(args[i] + 2, name) == 0) return args[i + 1];
  return otherwise;
}
static int whole(int n, char **args, const char *name, int otherwise) {
  const char *v = key(n, args, name, NULL);
  return v ? atoi(v) : otherwise;
}

static void options(struct train_options *o, int n, char **args) {
  train_defaults(o);
  MUST(model_preset(key(n, args, "size", "delphi"), &o->config, &fail));
  o->config.layers = whole(n, args, "layers", o->config.layers);
  o->config.d = whole(n, args, "d", o->config.d);
  o->config.heads = o->config.kv_heads = whole(n, args, "heads", o->config.heads);
  o->config.ff = whole(n, args, "ff", o->config.ff);
  o->config.context = whole(n, args, "context", o->config.context);
  o->seed = (uint64_t)whole(n, args, "seed", 1);
  o->threads = whole(n, args, "threads", 1);
  o->lanes = whole(n, args, "lanes", 0);
  o->micro_positions = whole(n, args, "micro", 0);
  o->recompute = whole(n, args, "recompute", 0) != 0;
  o->bf16 = whole(n, args, "reduced", 0) != 0;
  o->batch_positions = whole(n, args, "batch", 2048);
  o->dropout = (float)atof(key(n, args, "dropout", "0.1"));
  o->weight_value = o->weight_hazard = 0;
  o->weight_time = 1;
  o->save_every = 1e9;
}

/* The schedule's length in epochs that gives so many steps: what an epoch has is known once the data are open */
static double epochs_of(const struct train_options *o, const struct timeline *t, int steps) {
  struct train_data d;
  struct vocabulary *v;
  struct model *m;
  struct model_config c = o->config;
  c.layers = 1; /* the data do not ask */
  MUST(vocabulary_build(t, &(struct vocabulary_options){0}, &v, &fail));
  MUST(model_new(&c, v, o->seed, &m, &fail));
  MUST(train_data_open(o, m, t, o->seed, &d, &fail));
  double epochs = ((double)steps - 0.5) * o->batch_positions / d.positions_per_epoch;
  train_data_close(&d);
  model_free(m);
  vocabulary_free(v);
  return epochs;
}

static void run(const char *what, const struct timeline *t, const char *out, int n, char **args) {
  struct train_options o;
  struct train_result r;
  struct vocabulary *v;
  struct model *m;
  char dir[4096], path[4096];
  bool recording = strcmp(what, "record") == 0;
  options(&o, n, args);
  int steps = whole(n, args, "steps", 20);
  if (steps < 2) fprintf(stderr, "train_bench: two steps at least\n"), exit(1);
  o.epochs = epochs_of(&o, t, steps);
  MUST(file_mkdirs(out, 0755, &fail));
  snprintf(dir, sizeof dir, "%s/run", out);
  o.dir = dir;
  MUST(vocabulary_build(t, &(struct vocabulary_options){0}, &v, &fail));
  MUST(model_new(&o.config, v, o.seed, &m, &fail));
  if (recording) {
    snprintf(path, sizeof path, "%s/init", out);
    MUST(model_save(m, path, &fail));
    snprintf(path, sizeof path, "%s/batches.bin", out);
    record = fopen(path, "wb");
    if (!record) exit(1);
    MUST(token_batch_init(&step_batch, 0, &fail));
  }
  train_step_hook = after_step;
  uint64_t parameters = model_parameters(m);
  int width = m->config.d, codes = (int)m->config.codes;
  size_t trunk = 0;
  for (int i = 0; i < m->tensors; i++)
    if (strncmp(m->tensor[i].name, "block.", 6) == 0) trunk += m->tensor[i].n;
  model_free(m);
  vocabulary_free(v);
  MUST(model_train(&o, t, &r, &fail));
  if (record) fclose(record);
  /* 6 operations a parameter that multiplies and position (Kaplan et al. 2020); attention's own products are left out */
  double cpu = counted.cpu_end - counted.cpu, positions = (double)(counted.positions_end - counted.positions);
  double flops = 6.0 * (double)(trunk + (size_t)width * (size_t)codes) * positions;
  char tuning[32] = "null";
  if (!isnan(r.tuning_loss)) snprintf(tuning, sizeof tuning, "%.6f", r.tuning_loss);
  printf(
      "{\"steps\": %lld, \"positions\": %lld, \"seconds\": %.3f, \"cpu_seconds\": %.3f, \"positions_per_cpu_second\": %.1f, "
      "\"gflops_per_cpu_second\": %.2f, \"packing_share\": %.4f, \"tuning_loss\": %s, \"parameters\": %llu, \"trunk\": %zu, "
      "\"peak_rss\": %llu}\n",
      (long long)r.steps, (long long)r.positions, r.seconds, r.cpu_seconds, positions / cpu, flops / cpu * 1e-9,
      r.packing_seconds / r.cpu_seconds, tuning, (unsigned long long)parameters, trunk, (unsigned long long)mem_peak());
  if (!recording) return;
  snprintf(path, sizeof path, "%s/settings.json", out);
  FILE *f = fopen(path, "w");
  if (!f) exit(1);
  fprintf(
      f,
      "{\"layers\": %d, \"d\": %d, \"heads\": %d, \"kv_heads\": %d, \"ff\": %d, \"codes\": %d, \"steps\": %lld, \"batch\": %d, \"seed\": "
      "%llu,\n"
      " \"lr\": %g, \"lr_min\": %g, \"warmup\": %g, \"decay\": %g, \"beta1\": %g, \"beta2\": %g, \"clip\": %g, \"dropout\": %g,\n"
      " \"mlp\": \"%s\", \"norm\": \"%s\", \"mask\": \"%s\", \"position\": \"%s\", \"tied\": %d, \"embed_root\": %d, \"min_gap_days\": "
      "%.9g, \"norm_eps\": %g, "
      "\"rope_base\": %g, \"time_features\": %d}\n",
      o.config.layers, o.config.d, o.config.heads, o.config.kv_heads, o.config.ff, codes, (long long)r.steps, o.batch_positions,
      (unsigned long long)o.seed, (double)o.lr, (double)o.lr_min, (double)o.warmup, (double)o.decay, (double)o.beta1, (double)o.beta2,
      (double)o.clip, (double)o.dropout, o.config.mlp == MLP_SWIGLU ? "swiglu" : "gelu", o.config.norm == MODEL_NORM_RMS ? "rms" : "layer",
      o.config.mask == MASK_CAUSAL_NO_TIES ? "no_ties" : "causal", o.config.position == POSITION_ROPE_INDEX ? "rope" : "none",
      o.config.tied, o.config.embed_root, (double)o.config.min_gap_days, (double)o.config.norm_eps, (double)o.config.rope_base,
      TOKEN_TIME_FEATURES);
  fclose(f);
}

/* Weights from elsewhere, measured by the same code as our own: resumes nothing, trains nothing */
static struct model *weights_of(const char *init, const char *path) {
  struct model *m;
  struct safetensors *s;
  MUST(model_load(init, &m, &fail));
  MUST(safetensors_open(path, &s, &fail));
  for (int i = 0; i < m->tensors; i++) {
    const struct safetensors_tensor *t = safetensors_find(s, m->tensor[i].name);
    if (t) MUST(safetensors_floats(t, m->weight + m->tensor[i].at, m->tensor[i].n, &fail));
  }
  safetensors_close(s);
  return m;
}

static void evaluate(const struct timeline *t, const char *out, const char *path) {
  char init[4096], tuned[4096];
  struct train_options o;
  struct train_result r;
  snprintf(init, sizeof init, "%s/init", out);
  snprintf(tuned, sizeof tuned, "%s/evaluated", out);
  struct model *m = weights_of(init, path);
  MUST(model_save(m, tuned, &fail));
  model_free(m);
  options(&o, 0, NULL);
  o.init = tuned;
  char dir[4096];
  snprintf(dir, sizeof dir, "%s/evaluation", out);
  o.dir = dir;
  o.epochs = 1e-9; /* one step of no size */
  o.lr = 1e-30f, o.lr_min = 0, o.batch_positions = 1;
  MUST(model_train(&o, t, &r, &fail));
  printf("{\"tuning_loss\": %.6f}\n", r.tuning_loss);
}

static void peak(void) {
#if defined(__x86_64__)
  double best = 0, sum = 0;
  int n = 0;
  for (int i = 0; i < 60; i++, n++) {
    double began = time_cpu();
    const int rounds = 200000;
    int lanes = 16;
    if (__builtin_cpu_supports("avx512f")) {
      for (int k = 0; k < rounds; k++)
        __asm__ volatile(
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm0\n vfmadd231ps %%zmm30,%%zmm31,%%zmm1\n vfmadd231ps %%zmm30,%%zmm31,%%zmm2\n"
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm3\n vfmadd231ps %%zmm30,%%zmm31,%%zmm4\n vfmadd231ps %%zmm30,%%zmm31,%%zmm5\n"
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm6\n vfmadd231ps %%zmm30,%%zmm31,%%zmm7\n vfmadd231ps %%zmm30,%%zmm31,%%zmm8\n"
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm9\n vfmadd231ps %%zmm30,%%zmm31,%%zmm10\n vfmadd231ps %%zmm30,%%zmm31,%%zmm11\n" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
    } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      lanes = 8;
      for (int k = 0; k < rounds; k++)
        __asm__ volatile(
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm0\n vfmadd231ps %%ymm14,%%ymm15,%%ymm1\n vfmadd231ps %%ymm14,%%ymm15,%%ymm2\n"
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm3\n vfmadd231ps %%ymm14,%%ymm15,%%ymm4\n vfmadd231ps %%ymm14,%%ymm15,%%ymm5\n"
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm6\n vfmadd231ps %%ymm14,%%ymm15,%%ymm7\n vfmadd231ps %%ymm14,%%ymm15,%%ymm8\n"
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm9\n vfmadd231ps %%ymm14,%%ymm15,%%ymm10\n vfmadd231ps %%ymm14,%%ymm15,%%ymm11\n" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
    } else {
      lanes = 0;
    }
    double rate = 24.0 * lanes * rounds / (time_cpu() - began) * 1e-9;
    sum += rate, best = rate > best ? rate : best;
  }
  printf("{\"gflops\": %.1f, \"best\": %.1f}\n", sum / n, best);
#else
  printf("{\"gflops\": 0, \"best\": 0}\n");
#endif
}

int main(int n, char **args) {
  struct timeline *t;
  thread_fast_float();
  progress_mode(PROGRESS_QUIET);
  if (n == 2 && strcmp(args[1], "peak") == 0) {
    peak();
    return 0;
  }
  if (n < 4) {
    fprintf(stderr, "usage: train_bench peak | record STORE OUT ... | speed STORE OUT ... | evaluate STORE OUT WEIGHTS\n");
    return 2;
  }
  MUST(timeline_open(args[2], &t, &fail));
  if (strcmp(args[1], "evaluate") == 0 && n == 5)
    evaluate(t, args[3], args[4]);
  else
    run(args[1], t, args[3], n - 4, args + 4);
  timeline_close(t);
  return 0;
}
