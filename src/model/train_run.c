/* A run's record: its fixed choices and cursor in config.json, its course in training.jsonl and loss.svg, and its checkpoints. */
#include <math.h>

#include "base/file.h"
#include "base/json.h"
#include "base/plot.h"
#include "model/train_internal.h"

void loss_sums_add(struct loss_sums *to, const struct loss_sums *from) {
  to->rates += from->rates, to->n_rates += from->n_rates;
  to->time += from->time, to->n_time += from->n_time;
  to->value += from->value, to->n_value += from->n_value;
  to->hazard += from->hazard, to->n_hazard += from->n_hazard;
  to->task += from->task, to->n_task += from->n_task;
  to->objective += from->objective;
}

static double mean(double sum, double n) { return n > 0 ? sum / n : 0; }

/* One number for people and for the tuning split: the weighted means of the parts (the task's apart). */
double train_objective(const struct train_options *o, const struct loss_sums *s) {
  return mean(s->rates, s->n_rates) + (double)o->weight_time * mean(s->time, s->n_time) +
         (double)o->weight_value * mean(s->value, s->n_value) + (double)o->weight_hazard * mean(s->hazard, s->n_hazard);
}

/* The options that make a run what it is: name, place, whether it is a float. Written, and read back on resume. */
struct kept {
  const char *name;
  size_t at;
  enum { KEPT_FLOAT, KEPT_DOUBLE, KEPT_INT } kind;
};
#define KEEP(field, kind) \
  { #field, offsetof(struct train_options, field), kind }
static const struct kept kept[] = {
    KEEP(epochs, KEPT_DOUBLE),     KEEP(batch_positions, KEPT_INT), KEEP(micro_positions, KEPT_INT), KEEP(lanes, KEPT_INT),
    KEEP(lr, KEPT_FLOAT),          KEEP(lr_min, KEPT_FLOAT),        KEEP(decay, KEPT_FLOAT),         KEEP(beta1, KEPT_FLOAT),
    KEEP(beta2, KEPT_FLOAT),       KEEP(clip, KEPT_FLOAT),          KEEP(warmup, KEPT_FLOAT),        KEEP(task_weight, KEPT_DOUBLE),
    KEEP(weight_time, KEPT_FLOAT), KEEP(weight_value, KEPT_FLOAT),  KEEP(weight_hazard, KEPT_FLOAT), KEEP(dropout, KEPT_FLOAT),
    KEEP(task_decay, KEPT_FLOAT),  KEEP(task_epochs, KEPT_DOUBLE)};
#define KEPT (sizeof kept / sizeof *kept)

int train_run_json(const struct train_run *r, struct buf *out, struct error *e) {
  struct json_out o;
  char seed[32];
  json_out_init(&o, out, false);
  json_out_object(&o);
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->o.seed);
  json_kv_c(&o, "seed", seed);
  json_kv_c(&o, "timelines", r->store);
  json_kv_c(&o, "kernel", r->m->kernel->name);
  for (size_t i = 0; i < KEPT; i++) {
    const char *p = (const char *)&r->o + kept[i].at;
    json_out_key(&o, kept[i].name);
    if (kept[i].kind == KEPT_FLOAT) json_out_f32(&o, *(const float *)(const void *)p);
    if (kept[i].kind == KEPT_DOUBLE) json_out_f64(&o, *(const double *)(const void *)p);
    if (kept[i].kind == KEPT_INT) json_out_i64(&o, *(const int *)(const void *)p);
  }
  if (r->o.canaries) json_kv_i64(&o, "canaries", r->o.canaries);
  json_kv_i64(&o, "total_steps", r->total_steps);
  json_kv_i64(&o, "step", r->step);
  json_kv_i64(&o, "epoch", r->epoch);
  json_kv_i64(&o, "index", r->index);
  json_kv_i64(&o, "positions", r->positions);
  json_kv_f64(&o, "seconds", r->seconds);
  json_kv_bool(&o, "done", r->done);
  json_out_end(&o);
  return buf_check(out, e);
}

static int read_count(struct json j, const char *key, int64_t *out, struct error *e) {
  TRY(json_want_i64(j, key, out, e));
  return *out < 0 ? error_set(e, E_CORRUPT, "run record: a negative count") : OK;
}

static int read_record(struct train_run *r, struct json j, struct error *e) {
  struct str seed, store;
  if (json_kind(j) != JSON_OBJECT) return error_set(e, E_MISMATCH, "this checkpoint is no training run: start a new one from it instead");
  TRY(json_want_str(j, "seed", &seed, e));
  r->o.seed = 0;
  for (size_t i = 0; i < seed.n && i < 20; i++) r->o.seed = r->o.seed * 10 + (uint64_t)(seed.p[i] - '0');
  TRY(json_want_str(j, "timelines", &store, e));
  if (!str_eqc(store, r->store))
    return error_set(e, E_MISMATCH, "the timelines have changed since this run began: start a new one from its model instead");
  for (size_t i = 0; i < KEPT; i++) {
    double v;
    char *p = (char *)&r->o + kept[i].at;
    TRY(json_want_f64(j, kept[i].name, &v, e));
    if (!isfinite(v) || fabs(v) > 1e15 || (kept[i].kind == KEPT_INT && fabs(v) > 1e8))
      return error_set(e, E_CORRUPT, "run record: an option is out of range");
    if (kept[i].kind == KEPT_FLOAT) *(float *)(void *)p = (float)v;
    if (kept[i].kind == KEPT_DOUBLE) *(double *)(void *)p = v;
    if (kept[i].kind == KEPT_INT) *(int *)(void *)p = (int)v;
  }
  int64_t canaries = 0;
  if (json_kind(json_get(j, "canaries")) != JSON_NONE) TRY(read_count(j, "canaries", &canaries, e));
  r->o.canaries = canaries > 240 ? 240 : (int)canaries;
  TRY(read_count(j, "total_steps", &r->total_steps, e));
  TRY(read_count(j, "step", &r->step, e));
  TRY(read_count(j, "epoch", &r->epoch, e));
  TRY(read_count(j, "index", &r->index, e));
  TRY(read_count(j, "positions", &r->positions, e));
  TRY(json_want_f64(j, "seconds", &r->seconds, e));
  return json_bool(json_get(j, "done"), &r->done) ? OK : error_set(e, E_CORRUPT, "run record: a flag is missing");
}

int train_run_read(struct train_run *r, const char *dir, struct error *e) {
  struct arena a;
  struct json root;
  struct str lines;
  char path[4096];
  arena_init(&a, (size_t)512 << 20, 0);
  int rc = file_join(path, sizeof path, dir, "config.json", e);
  if (rc >= 0) rc = json_load(&a, path, &root, e);
  if (rc >= 0) rc = read_record(r, json_get(root, "run"), e);
  if (rc >= 0) rc = file_join(path, sizeof path, dir, "training.jsonl", e);
  if (rc >= 0 && file_exists(path)) {
    rc = file_read(&a, path, (size_t)256 << 20, &lines, e);
    if (rc >= 0) buf_str(&r->jsonl, lines);
  }
  arena_free(&a);
  return rc == E_INPUT ? error_set(e, E_CORRUPT, "the run's record cannot be read") : rc;
}

void train_log_step(struct train_run *r, const struct loss_sums *s, double norm, double rate) {
  struct json_out o;
  json_out_init(&o, &r->jsonl, false);
  json_out_object(&o);
  json_kv_i64(&o, "step", r->step);
  json_kv_i64(&o, "epoch", r->epoch);
  json_kv_i64(&o, "positions", r->positions);
  json_kv_f64(&o, "loss", train_objective(&r->o, s));
  json_kv_f64(&o, "rates", mean(s->rates, s->n_rates));
  json_kv_f64(&o, "time", mean(s->time, s->n_time));
  json_kv_f64(&o, "value", mean(s->value, s->n_value));
  json_kv_f64(&o, "hazard", mean(s->hazard, s->n_hazard));
  json_kv_f64(&o, "task", mean(s->task, s->n_task));
  json_kv_f64(&o, "lr", (double)r->lr_now);
  json_kv_f64(&o, "gradient_norm", norm);
  json_kv_f64(&o, "positions_per_second", rate);
  json_kv_f64(&o, "seconds", r->seconds);
  json_out_end(&o);
  buf_putc(&r->jsonl, '\n');
}

/* ---- the curve ---- */

struct curve {
  double *x, *y;
  size_t n;
};

static int read_curve(const struct train_run *r, const char *key, struct arena *a, struct curve *c, struct error *e) {
  struct str rest = {r->jsonl.p, r->jsonl.n};
  size_t lines = 0;
  for (size_t i = 0; i < rest.n; i++) lines += rest.p[i] == '\n';
  c->x = arena_array(a, double, lines + 1);
  c->y = arena_array(a, double, lines + 1);
  struct json_parser *jp;
  if (!c->x || !c->y) return error_set(e, E_NOMEM, "no memory for the loss curve");
  TRY(json_parser_new(&jp, e));
  while (rest.n && c->n < lines) {
    struct str line = str_cut(&rest, '\n');
    struct json j;
    if (line.n == 0 || json_parse(jp, line.p, line.n, line.n, &j, NULL) < 0) continue;
    if (json_f64(json_get(j, "step"), &c->x[c->n]) && json_f64(json_get(j, key), &c->y[c->n])) c->n++;
  }
  json_parser_free(jp);
  return OK;
}

static int draw_loss(const struct train_run *r, struct buf *svg, struct error *e) {
  static const char *const part[] = {"loss", "rates", "time", "value", "task"};
  struct plot p;
  struct arena a;
  int rc = OK;
  arena_init(&a, 0, 0);
  plot_init(&p, "Training loss", "step", "loss");
  for (size_t i = 0; rc >= 0 && i < sizeof part / sizeof *part; i++) {
    struct curve c = {0};
    rc = read_curve(r, part[i], &a, &c, e);
    if (rc >= 0 && c.n > 1) plot_add(&p, PLOT_LINE, part[i], c.x, c.y, NULL, c.n);
  }
  if (rc >= 0) plot_svg(&p, 640, 400, svg);
  plot_release(&p);
  arena_free(&a);
  return rc;
}

int train_checkpoint(struct train_run *r, struct error *e) {
  struct buf run = {0}, svg = {0};
  TRY(buf_check(&r->jsonl, e));
  int rc = train_run_json(r, &run, e);
  if (rc >= 0 && r->jsonl.n) rc = draw_loss(r, &svg, e);
  if (rc >= 0) {
    struct checkpoint_extra x = {.adam_m = r->adam_m,
                                 .adam_v = r->adam_v,
                                 .run_json = {run.p, run.n},
                                 .training_jsonl = {r->jsonl.p, r->jsonl.n},
                                 .loss_svg = {svg.p, svg.n},
                                 .canaries_json = {r->canaries_json.p, r->canaries_json.n}};
    rc = checkpoint_write(r->m, r->o.dir, &x, e);
  }
  buf_release(&run);
  buf_release(&svg);
  return rc;
}
