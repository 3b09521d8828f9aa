/* vitae train SITE: one model over all training timelines, with a head for each task; the result becomes a draft version. */
#include <math.h>
#include <stdalign.h>
#include <stddef.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_commands.h"
#include "cli/cli_forgotten.h"
#include "cli/cli_site.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "model/train_mesh.h"
#include "predict/uncertainty.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "validate/scores.h"

static const struct cli_option options[] = {
    {"size", CLI_TEXT, "SIZE", "tiny, small (default), base, large, delphi; for GPUs 1b, 7b"},
    {"shape", CLI_TEXT, "L,D,H,F", "layers, width, heads and MLP width of its trunk, instead of the size's own"},
    {"position", CLI_TEXT, "P", "what rotates queries and keys: index (default) or time, the hours since the first event on a log scale"},
    {"task", CLI_MANY, "TASK", "task to train a head for; default: every task with at least 20 cases to learn from"},
    {"no-task", CLI_FLAG, NULL, "the trunk and its own heads only"},
    {"epochs", CLI_NUMBER, "N:>0..", "passes over the training timelines"},
    {"seconds", CLI_NUMBER, "S:>0..", "choose the length so that training ends in about this time"},
    {"seed", CLI_INTEGER, "N", "same seed, machine and lanes: the same bits (default 1)"},
    {"threads", CLI_INTEGER, "N:0..1024", "default: all cores"},
    {"lanes", CLI_INTEGER, "N:1..256",
     "sum each step's gradient in N fixed parts: the same bits on 1 to N threads (default: as many as threads)"},
    {"batch", CLI_INTEGER, "N:1..16777216",
     "positions of an optimiser step (default 4096, half of it where that would make fewer than 1,000 steps)"},
    {"micro", CLI_INTEGER, "N:1..1048576",
     "positions at once; their gradients are accumulated (default 512, for large models 1024, at least the model's context)"},
    {"recompute", CLI_FLAG, NULL, "activations are computed again in the backward pass, not kept: less memory, the same bits"},
    {"lr", CLI_NUMBER, "X:>0..", "peak learning rate for a width up to 96, scaled by 96/width beyond (default 0.002)"},
    {"decay", CLI_NUMBER, "X:0..", "weight decay of the trunk (default 0.05; 0 where cases are rare and data plenty: docs/simulator.md)"},
    {"hazard-weight", CLI_NUMBER, "X:0..", "of the hazard head in the loss, beside the next codes (default 1)"},
    {"dropout", CLI_NUMBER, "X:0..1", "share of activations dropped in training (default: the size's)"},
    {"name", CLI_TEXT, "NAME", "run under models/runs, a plain name, new unless --resume or --force (default: run-1, run-2, ...)"},
    {"force", CLI_FLAG, NULL, "train anew where a run of this name stands; its checkpoint is lost"},
    {"init", CLI_TEXT, "MODEL", "start from this checkpoint directory"},
    {"resume", CLI_FLAG, NULL,
     "go on where the interrupted run of this name stopped (without --name: the last run), with the options it was begun with"},
    {"save-every", CLI_NUMBER, "S:0..", "seconds between checkpoints (default 30)"},
    {"column", CLI_TEXT, "COLUMN",
     "kernel column: ref, avx2, avx2words, avx512, avx512vnni, avx512bf16, amx (default: the best f32 one), cuda, cudabf16"},
    {"canaries", CLI_INTEGER, "N:0..240", "made-up lives trained on, to measure how well single lives are remembered (default 0)"},
    {"mpi", CLI_FLAG, NULL, "one of several processes that an MPI launcher started (noticed by itself under mpirun)"},
    {"transport", CLI_TEXT, "T", "how gradients travel between ranks on GPUs: nccl, mpi (default: nccl where every rank can)"},
    {"bf16", CLI_FLAG, NULL,
     "matrix products of reduced operands: bfloat16 where the processor has it, else whole numbers of 13 bits (AVX-512 VNNI, AVX2)"},
    {0}};

/* Enough cases among the training and tuning persons to learn from? */
static int worth_training(const struct task *task, const struct timeline *t, bool *out, struct error *e) {
  struct task_binding *b;
  struct arena a;
  struct task_examples found;
  TRY(task_bind(task, t, &b, e));
  arena_init(&a, 0, 0);
  int rc = task_label_all(b, t, SPLIT_TRAIN, 0, &a, &found, e);
  *out = rc == OK && found.yes >= 20 && found.n - found.yes - found.censored >= 20;
  arena_free(&a);
  task_binding_free(b);
  return rc;
}

static int choose_tasks(struct cli *c, const struct site *s, const struct timeline *t, struct arena *a, struct task ***out, int *n,
                        struct error *e) {
  const struct cli_value *named = cli_value(c, "task");
  *n = 0;
  if (cli_flag(c, "no-task")) return named->given ? error_set(e, E_USAGE, "--task and --no-task exclude each other") : OK;
  if (!named->given) {
    struct task **all;
    int count;
    TRY(cli_task_all(s, a, &all, &count, e));
    *n = 0;
    for (int i = 0; i < count; i++) {
      bool worth;
      TRY(worth_training(all[i], t, &worth, e));
      if (worth && *n < 32)
        all[(*n)++] = all[i];
      else
        task_free(all[i]);
    }
    *out = all;
    return OK;
  }
  *n = 0;
  *out = arena_array(a, struct task *, (size_t)named->n);
  if (!*out) return error_set(e, E_NOMEM, "out of memory");
  for (int i = 0; i < named->n; i++, (*n)++) TRY(cli_task(s, named->text[i], &(*out)[i], e));
  return OK;
}

/* What is known of a version when it begins: later the generation that it learns from may be gone. Who that is, is written down now, too: of a
 * run that is interrupted it must be known as well. */
static int begin_version(const struct site *s, const struct timeline *t, struct version_info *info, struct error *e) {
  struct arena a;
  struct str manifest;
  struct json root;
  *info = (struct version_info){0};
  snprintf(info->store_hash, sizeof info->store_hash, "%s", timeline_hash(t));
  snprintf(info->commit, sizeof info->commit, "%s", cli_commit());
  snprintf(info->code_version, sizeof info->code_version, "%s", VITAE_VERSION);
  char store[4096];
  TRY(site_path(s, store, "timelines", timeline_generation(t), NULL));
  struct json_parser *jp = NULL;
  arena_init(&a, 256u << 20, 0);
  int rc = timeline_manifest(store, &a, &manifest, e);
  if (rc == OK) rc = json_parser_new(&jp, e);
  if (rc == OK) rc = json_parse(jp, manifest.p, manifest.n, manifest.n, &root, e);
  if (rc == OK) {
    struct str policy = json_str(json_get(json_get(root, "policy"), "hash"));
    snprintf(info->policy_hash, sizeof info->policy_hash, "%.*s", STR_ARG(policy));
  }
  json_parser_free(jp);
  arena_free(&a);
  return rc == OK ? seen_write(s, t, e) : rc;
}

/* Whoever forgets a person lists the versions and writes forgotten.json under the registry's lock: it finds this one, or this one the entry. */
static int make_version(const struct site *s, const struct timeline *t, struct version_info *info, const char *dir, char id[65],
                        struct error *e) {
  struct registry *r;
  time_format(time_now(), info->created);
  TRY(registry_open(s->path, &r, e));
  int rc = forgotten_since(s, t, dir, e);
  if (rc == OK) rc = registry_add(r, dir, info, id, e);
  registry_close(r);
  return rc;
}

struct unseen { /* what the tables answered about training persons that they had not seen, where thresholds are chosen by it */
  struct arena *a;
  struct task **tasks;
  struct known_answers *of; /* by task */
};

static void keep_unseen(void *ctx, int task, const struct task_example *at, const double *p, uint32_t n, double other) {
  struct unseen *u = ctx;
  if (!(task_scores(u->tasks[task]) & TASK_SCORE_UTILITY2019)) return;
  struct task_example *x = arena_array(u->a, struct task_example, (size_t)n + 1);
  double *q = arena_array(u->a, double, (size_t)n + 1);
  if (!x || !q) return; /* then tuning persons choose alone */
  memcpy(x, at, n * sizeof *x);
  memcpy(q, p, n * sizeof *q);
  u->of[task] = (struct known_answers){x, q, n, other};
}

static int thresholds(const struct model *m, const struct timeline *t, const struct task *task, const struct known_answers *known,
                      int threads, struct arena *a, struct model_threshold out[MODEL_THRESHOLDS], struct error *e) {
  struct score_threshold x[SCORE_THRESHOLDS];
  memset(out, 0, MODEL_THRESHOLDS * sizeof *out);
  TRY(scores_thresholds(&(struct validate_options){.model = m, .store = t, .task = task, .threads = threads}, known, a, x, e));
  for (int i = 0; i < SCORE_THRESHOLDS && i < MODEL_THRESHOLDS && x[i].score[0]; i++) {
    memcpy(out[i].score, x[i].score, sizeof out[i].score);
    out[i].at = x[i].at;
  }
  return OK;
}

static void warn_uncalibrated(const struct model *m) {
  for (int i = 0; i < model_tasks(m); i++)
    if (!model_task_tuning(model_task_find(m, model_task_name(m, i))))
      fprintf(stderr, "%s: not calibrated: no tuning patient has an example of the task\n", model_task_name(m, i));
}

/* How sure the heads are, and at which answers to say yes, learned on tuning patients; then these patients are learned from as well. */
static int learn_from_tuning(const char *dir, const struct timeline *t, const struct unseen *unseen, int n, int threads, uint64_t seed,
                             struct arena *a, struct error *e) {
  struct task **tasks = unseen->tasks;
  struct model *m;
  struct buf json = {0};
  TRY(model_load(dir, &m, e));
  model_set_kernel(m, kernel_pick(KERNEL_AUTO, KERNEL_F32));
  struct uncertainty_options o = {.model = m, .store = t, .tasks = (const struct task *const *)tasks, .n_tasks = n, .threads = threads};
  int rc = model_lay_out(m, e); /* as it will answer */
  if (rc == OK) rc = uncertainty_fit(&o, &json, e);
  if (rc == OK) rc = checkpoint_attach(dir, "uncertainty.json", (struct str){json.p, json.n}, e);
  buf_release(&json);
  struct model_threshold(*threshold)[MODEL_THRESHOLDS] = arena_alloc(a, ((size_t)n + 1) * sizeof *threshold, alignof(max_align_t));
  if (rc == OK && !threshold) rc = error_set(e, E_NOMEM, "out of memory");
  for (int i = 0; i < n && rc == OK; i++) rc = thresholds(m, t, tasks[i], &unseen->of[i], threads, a, threshold[i], e);
  if (rc == OK) warn_uncalibrated(m);
  model_free(m);
  if (rc < 0) return rc;
  struct refit_options again = {
      .dir = dir, .store = t, .tasks = (const struct task *const *)tasks, .n_tasks = n, .threads = threads, .seed = seed};
  again.threshold = (const struct model_threshold(*)[MODEL_THRESHOLDS])threshold;
  return model_refit(&again, e);
}

static int say(struct cli *c, const struct train_result *r, const char *dir, const char *id, struct task **tasks, int n, struct error *e) {
  if (!c->json) {
    char positions[32];
    human_thousands(r->positions, positions);
    printf("\nTrained %lld steps over %s positions in %.1f s (%.0f positions/s); tuning loss %.4f\n", (long long)r->steps, positions,
           r->seconds, r->positions_per_second, r->tuning_loss);
    if (isfinite(r->hazard_after)) printf("Hazards, fitted again: tuning loss %.4f, was %.4f\n", r->hazard_after, r->hazard_before);
    for (int i = 0; i < n; i++) printf("  head: %s\n", task_title(tasks[i]));
    printf("Run: %s (loss.svg shows its curve)\nVersion: %.12s (draft)\n", dir, id);
    return OK;
  }
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "version", id);
  json_kv_c(&o, "run", dir);
  json_kv_i64(&o, "steps", r->steps);
  json_kv_i64(&o, "positions", r->positions);
  json_kv_f64(&o, "seconds", r->seconds);
  json_kv_f64(&o, "positions_per_second", r->positions_per_second);
  json_kv_f64(&o, "cpu_seconds", r->cpu_seconds);
  json_kv_f64(&o, "packing_seconds", r->packing_seconds);
  json_kv_f64(&o, "loss", r->loss);
  json_kv_f64(&o, "tuning_loss", r->tuning_loss);
  json_kv_f64(&o, "hazard_loss_before", r->hazard_before); /* null: not fitted again */
  json_kv_f64(&o, "hazard_loss_after", r->hazard_after);
  json_out_key(&o, "tasks");
  json_out_array(&o);
  for (int i = 0; i < n; i++) json_out_c(&o, task_name(tasks[i]));
  json_out_end(&o);
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

/* A directory that is no run (no checkpoint lies in it) is somebody's own: it is not replaced. */
static bool is_run(const char *dir) {
  char path[4200];
  snprintf(path, sizeof path, "%s/config.json", dir);
  return file_exists(path);
}

/* Without a name: the first run-N that is not there; with --resume: the last one that is. An earlier run is never overwritten unasked. */
static int run_dir(struct cli *c, const struct site *s, char dir[4096], struct error *e) {
  const char *name = cli_text(c, "name", NULL);
  bool resume = cli_flag(c, "resume"), force = cli_flag(c, "force");
  if (resume && force) return error_set(e, E_USAGE, "--resume goes on, --force begins anew: one of them");
  if (name) {
    TRY(cli_name(name, e));
    TRY(site_path(s, dir, "models", "runs", name, NULL));
    if (!resume && !force && file_is_dir(dir))
      return error_set(e, E_USAGE, "there is a run of this name; go on with --resume, or train anew with --force");
    if (resume && !file_is_dir(dir)) return error_set(e, E_NOTFOUND, "there is no run of this name to go on with");
    if (force && file_exists(dir) && !is_run(dir)) return error_set(e, E_USAGE, "what stands there is no run: --force does not replace it");
    return OK;
  }
  if (force) return error_set(e, E_USAGE, "--force wants --name: which run to replace");
  char before[4096] = "";
  for (int i = 1; i < 1000000; i++) {
    char number[32];
    snprintf(number, sizeof number, "run-%d", i);
    TRY(site_path(s, dir, "models", "runs", number, NULL));
    if (!file_is_dir(dir)) break;
    memcpy(before, dir, sizeof before);
  }
  if (resume && !before[0]) return error_set(e, E_NOTFOUND, "there is no run to go on with");
  if (resume) memcpy(dir, before, sizeof before);
  return OK;
}

static int shape(struct cli *c, struct model_config *config, struct error *e) {
  const char *text = cli_text(c, "shape", NULL);
  int end = 0;
  if (!text) return OK;
  if (sscanf(text, "%6d,%6d,%6d,%6d%n", &config->layers, &config->d, &config->heads, &config->ff, &end) != 4 || text[end])
    return error_set(e, E_USAGE, "--shape wants four numbers: layers, width, heads and MLP width, as 3,96,3,256");
  config->kv_heads = config->heads;
  snprintf(config->preset, sizeof config->preset, "own");
  return OK;
}

static int position(struct cli *c, struct model_config *config, struct error *e) {
  const char *text = cli_text(c, "position", NULL);
  if (!text) return OK;
  if (config->position != POSITION_ROPE_INDEX) return error_set(e, E_USAGE, "--position: this size has no rotated positions");
  if (strcmp(text, "index") != 0 && strcmp(text, "time") != 0) return error_set(e, E_USAGE, "--position wants index or time");
  if (text[0] == 't') config->position = POSITION_ROPE_TIME;
  return OK;
}

static bool same_model(struct cli *c, struct json model, const struct model_config *given) {
  static const char *const keys[] = {"layers", "d", "heads", "ff"};
  const int64_t shape_of[] = {given->layers, given->d, given->heads, given->ff};
  int64_t v;
  if (!str_eqc(json_str(json_get(model, "preset")), given->preset)) return false;
  for (size_t i = 0; i < 4 && cli_flag(c, "shape"); i++)
    if (!json_i64(json_get(model, keys[i]), &v) || v != shape_of[i]) return false;
  return true;
}

/* A run keeps the options it was begun with: one that is given with --resume says the same. NULL: all do. */
static const char *other_option(struct cli *c, struct json root, const struct train_options *o) {
  static const struct {
    const char *option, *key;
  } numbers[] = {{"epochs", "epochs"},    {"lr", "lr"},       {"decay", "decay"},           {"hazard-weight", "weight_hazard"},
                 {"dropout", "dropout"},  {"lanes", "lanes"}, {"batch", "batch_positions"}, {"micro", "micro_positions"},
                 {"canaries", "canaries"}};
  const double given[] = {o->epochs,          (double)o->lr,    (double)o->decay,           (double)o->weight_hazard,
                          (double)o->dropout, (double)o->lanes, (double)o->batch_positions, (double)o->micro_positions,
                          (double)o->canaries};
  struct json run = json_get(root, "run"), model = json_get(root, "model");
  char seed[32];
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    double v = 0; /* canaries are written where there are any */
    if (!cli_flag(c, numbers[i].option)) continue;
    bool written = json_f64(json_get(run, numbers[i].key), &v);
    if ((written || o->canaries) && (float)v != (float)given[i]) return numbers[i].option;
  }
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
  if (cli_flag(c, "seed") && !str_eqc(json_str(json_get(run, "seed")), seed)) return "seed";
  if (cli_flag(c, "init")) return NULL; /* whose model it took */
  if ((cli_flag(c, "size") || cli_flag(c, "shape")) && !same_model(c, model, &o->config)) return cli_flag(c, "shape") ? "shape" : "size";
  const char *position = o->config.position == POSITION_ROPE_TIME ? "rope_time" : "rope_index";
  return cli_flag(c, "position") && !str_eqc(json_str(json_get(model, "position")), position) ? "position" : NULL;
}

static int same_options(struct cli *c, const struct train_options *o, struct error *e) {
  char path[4200];
  struct arena a;
  struct json root;
  snprintf(path, sizeof path, "%s/config.json", o->dir);
  if (!file_exists(path)) return OK; /* stopped before its first checkpoint: it begins */
  arena_init(&a, 64 << 20, 0);
  int rc = json_load(&a, path, &root, e);
  const char *other = rc == OK ? other_option(c, root, o) : NULL;
  if (other) rc = error_set(e, E_MISMATCH, "the run was begun with another --%s: leave it away with --resume", other);
  arena_free(&a);
  return rc;
}

static int train(struct cli *c, const struct site *s, const struct timeline *t, struct train_mesh *mesh, struct arena *a, struct error *e) {
  struct train_options o;
  struct train_result result;
  struct version_info info;
  struct task **tasks = NULL;
  char dir[4096], init[4096], id[65];
  int n = 0, rc;
  train_defaults(&o);
  TRY(model_preset(cli_text(c, "size", "small"), &o.config, e));
  TRY(shape(c, &o.config, e));
  TRY(position(c, &o.config, e));
  memset(dir, 0, sizeof dir);
  if (train_mesh_rank(mesh) == 0) TRY(run_dir(c, s, dir, e));
  TRY(train_mesh_broadcast(mesh, dir, sizeof dir, e));
  o.dir = dir;
  o.mesh = mesh;
  o.resume = cli_flag(c, "resume");
  o.seed = (uint64_t)cli_integer(c, "seed", 1);
  o.threads = (int)cli_integer(c, "threads", 0);
  o.lanes = (int)cli_integer(c, "lanes", 0);
  o.batch_positions = (int)cli_integer(c, "batch", o.batch_positions);
  o.micro_positions = (int)cli_integer(c, "micro", 0);
  o.recompute = cli_flag(c, "recompute");
  o.epochs = cli_number(c, "epochs", o.epochs);
  o.seconds = cli_number(c, "seconds", 0);
  o.lr = (float)cli_number(c, "lr", (double)o.lr);
  o.decay = (float)cli_number(c, "decay", (double)o.decay);
  o.weight_hazard = (float)cli_number(c, "hazard-weight", (double)o.weight_hazard);
  o.dropout = (float)cli_number(c, "dropout", (double)o.dropout);
  o.save_every = cli_number(c, "save-every", o.save_every);
  o.column = cli_text(c, "column", NULL);
  o.transport = cli_text(c, "transport", NULL);
  o.bf16 = cli_flag(c, "bf16");
  o.canaries = (int)cli_integer(c, "canaries", 0);
  if (o.resume) TRY(same_options(c, &o, e));
  if (cli_text(c, "init", NULL)) snprintf(init, sizeof init, "%s", cli_text(c, "init", NULL)), o.init = init;
  TRY_OUT(choose_tasks(c, s, t, a, &tasks, &n, e));
  o.tasks = (const struct task *const *)tasks;
  o.n_tasks = n;
  struct unseen unseen = {a, tasks, arena_array(a, struct known_answers, (size_t)n + 1)};
  if (!unseen.of) TRY_OUT(error_set(e, E_NOMEM, "out of memory"));
  o.unseen = keep_unseen, o.unseen_ctx = &unseen;
  if (train_mesh_rank(mesh) == 0) TRY_OUT(begin_version(s, t, &info, e));
  TRY_OUT(model_train(&o, t, &result, e));
  if (train_mesh_rank(mesh)) goto out;
  TRY_OUT(learn_from_tuning(dir, t, &unseen, n, o.threads, o.seed, a, e));
  TRY_OUT(make_version(s, t, &info, dir, id, e));
  rc = say(c, &result, dir, id, tasks, n, e);
out:
  for (int i = 0; i < n; i++) task_free(tasks[i]);
  return rc;
}

static int train_site(struct cli *c, const struct site *s, struct train_mesh *mesh, struct error *e) {
  struct timeline *t;
  struct arena a;
  TRY(cli_store(s, &t, e));
  arena_init(&a, 64 << 20, 0);
  int rc = train(c, s, t, mesh, &a, e);
  arena_free(&a);
  timeline_close(t);
  return rc;
}

/* Rank 0 holds the site's lock, writes and speaks; a rank that fails says why and ends all, for the others wait for it. */
static int train_ranks(struct cli *c, const struct site *s, struct error *e) {
  struct train_mesh *mesh;
  char lock[4096];
  int fd = -1, rc = OK;
  TRY(train_mesh_open(&mesh, e));
  if (train_mesh_rank(mesh)) {
    progress_mode(PROGRESS_QUIET);
  } else {
    rc = site_path(s, lock, "models", "train.lock", NULL);
    if (rc >= 0) rc = file_lock(lock, &fd, e);
  }
  if (rc >= 0) rc = train_site(c, s, mesh, e);
  if (rc < 0 && rc != E_CANCELLED) {
    fprintf(stderr, "vitae: rank %d of %d: %s. The run ends on all ranks; --resume goes on from its last checkpoint.\n",
            train_mesh_rank(mesh), train_mesh_ranks(mesh), e->message);
    fflush(NULL);
    train_mesh_give_up(mesh, error_exit_status(rc));
  }
  if (fd >= 0) file_unlock(fd);
  train_mesh_close(mesh);
  return rc;
}

static bool launched(void) {
  static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *value = env_get(names[i]);
    if (value && strcmp(value, "1") != 0) return true;
  }
  return false;
}

static int run(struct cli *c, struct error *e) {
  struct site s;
  char lock[4096];
  int fd;
  TRY(site_open(c->arg[0], &s, e));
  if (cli_flag(c, "mpi") || launched()) return train_ranks(c, &s, e);
  TRY(site_path(&s, lock, "models", "train.lock", NULL));
  TRY(file_lock(lock, &fd, e));
  int rc = train_site(c, &s, NULL, e);
  file_unlock(fd);
  return rc;
}

const struct command command_train = {"train", "SITE", "train one model on the site's timelines; it becomes a draft version", options, 1,
                                      1,       run};
