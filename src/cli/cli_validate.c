/* vitae validate SITE --task T: figures on held-out patients, the baseline beside them, a report, and the version's gate. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_site.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "validate/compare.h"
#include "validate/memorisation.h"
#include "validate/tripod.h"
#include "validate/validate.h"

static const struct cli_option options[] = {
    {"task", CLI_MANY, "TASK", "what to validate; default: every task that the model has a head for"},
    {"model", CLI_TEXT, "VERSION", "version, its first letters, its state, or a checkpoint directory (default: the newest)"},
    {"reference", CLI_TEXT, "VERSION",
     "earlier checkpoint of the same run: calibrates membership inference (default: the codes' frequencies)"},
    {"against", CLI_TEXT, "VERSION", "compare with this version on the same patients: paired bootstrap, DeLong, NRI, IDI"},
    {"external", CLI_FLAG, NULL,
     "the model learned elsewhere (implied when --model is a directory outside SITE): recalibration shown apart"},
    {"bootstrap", CLI_INTEGER, "N:1..1000000", "resamples for the intervals (default 500)"},
    {"seed", CLI_INTEGER, "N", "of the resamples (default 1)"},
    {"threads", CLI_INTEGER, "N:0..1024", "default: all cores"},
    {0}};

struct job {
  const struct site *site;
  const struct timeline *store;
  const struct model *model;
  const char *id, *dir;
  struct memorisation *memorisation;
  struct table *table;
  struct json_out *json;
  const struct model *against;
  const char *against_id;
  struct tripod tripod;
  bool external;
};

static const char *cell(struct arena *a, const struct interval *v) {
  char *out = arena_alloc(a, 48, 1);
  if (!out || isnan(v->at)) return "n/a";
  if (isnan(v->lo)) /* too few cases for an interval */
    snprintf(out, 48, "%.3f", v->at);
  else
    snprintf(out, 48, "%.3f [%.3f, %.3f]", v->at, v->lo, v->hi);
  return out;
}

static void rows(struct table *t, struct arena *a, const struct validation *v) {
  const struct scored *all[4] = {&v->model, &v->recalibrated, &v->baseline, &v->hazard};
  for (int i = 0; i < 4; i++) {
    if (!all[i]->name) continue;
    char n[48];
    snprintf(n, sizeof n, "%u / %u", v->n, v->events);
    const struct metrics *m = &all[i]->all;
    table_row(t, v->task, all[i]->name, n, cell(a, &m->auroc), cell(a, &m->auprc), cell(a, &m->brier), cell(a, &m->slope));
  }
}

static void object(struct json_out *o, const struct validation *v, const char *dir) {
  json_out_object(o);
  json_kv_c(o, "task", v->task);
  json_kv_i64(o, "n", v->n);
  json_kv_i64(o, "events", v->events);
  json_kv_f64(o, "auroc", v->model.all.auroc.at);
  json_kv_f64(o, "auroc_lo", v->model.all.auroc.lo);
  json_kv_f64(o, "auroc_hi", v->model.all.auroc.hi);
  json_kv_f64(o, "auprc", v->model.all.auprc.at);
  json_kv_f64(o, "brier", v->model.all.brier.at);
  json_kv_f64(o, "calibration_slope", v->model.all.slope.at);
  json_kv_f64(o, "baseline_brier", v->baseline.all.brier.at);
  json_kv_f64(o, "baseline_auroc", v->baseline.all.auroc.at);
  json_kv_f64(o, "baseline_auprc", v->baseline.all.auprc.at);
  json_kv_f64(o, "difference", v->difference);
  json_kv_f64(o, "difference_lo", v->difference_lo);
  json_kv_f64(o, "difference_hi", v->difference_hi);
  json_out_key(o, "scores");
  json_out_object(o);
  for (int i = 0; i < v->n_scores; i++) {
    const struct validation_score *s = &v->score[i];
    json_out_key(o, s->name);
    json_out_object(o);
    json_kv_f64(o, "model", s->model.at);
    json_kv_f64(o, "model_lo", s->model.lo);
    json_kv_f64(o, "model_hi", s->model.hi);
    json_kv_f64(o, "baseline", s->baseline.at);
    json_kv_f64(o, "difference", s->difference.at);
    json_kv_f64(o, "difference_lo", s->difference.lo);
    json_kv_f64(o, "difference_hi", s->difference.hi);
    json_kv_f64(o, "threshold", s->threshold[0]);
    if (s->no_interval) json_kv_c(o, "no_interval", s->no_interval);
    json_out_end(o);
  }
  json_out_end(o);
  json_kv_bool(o, "external", v->external);
  if (v->recalibrated.name) json_kv_f64(o, "recalibrated_slope", v->recalibrated.all.slope.at);
  comparison_json(&v->compared, "comparison", o);
  json_kv_f64(o, "seconds", v->seconds);
  json_kv_c(o, "report", dir);
  json_out_key(o, "memorisation");
  memorisation_json(v->memorisation, o);
  struct buf reasons = {0};
  json_kv_bool(o, "gate", validate_gate(v, &reasons));
  json_kv_c(o, "gate_reasons", buf_cstr(&reasons));
  buf_release(&reasons);
  json_out_end(o);
}

static void score_part(const char *what, const char *form, const struct interval *i) {
  printf("%s ", what);
  if (isnan(i->at))
    printf("n/a");
  else
    printf(form, i->at);
  if (isnan(i->lo)) return;
  printf(" ["), printf(form, i->lo), printf(", "), printf(form, i->hi), printf("]");
}

static void score_line(const char *task, const struct validation_score *s) {
  struct interval baseline = {s->baseline.at, NAN, NAN};
  printf("%s: ", task);
  score_part(s->name, "%.4f", &s->model);
  if (s->no_interval) printf(" (no interval: %s)", s->no_interval);
  score_part("; xgboost", "%.4f", &baseline);
  score_part("; difference", "%+.4f", &s->difference);
  if (!isnan(s->threshold[0])) printf("; threshold %.4f, from tuning patients", s->threshold[0]);
  printf("\n");
}

static int attach(const struct job *j, const char *report_dir, struct error *e) {
  struct registry *r;
  TRY(registry_open(j->site->path, &r, e));
  int rc = registry_attach_report(r, j->id, report_dir, e);
  registry_close(r);
  return rc;
}

static int one(struct cli *c, struct job *j, const char *name, struct error *e) {
  struct task *task;
  struct arena a;
  struct validation v;
  char dir[4096], leaf[160];
  TRY(cli_task(j->site, name, &task, e));
  arena_init(&a, 0, 0);
  struct validate_options o = {.model = j->model,
                               .store = j->store,
                               .task = task,
                               .bootstrap = (int)cli_integer(c, "bootstrap", 500),
                               .seed = (uint64_t)cli_integer(c, "seed", 1),
                               .threads = (int)cli_integer(c, "threads", 0),
                               .min_subgroup = 50,
                               .model_hash = j->id,
                               .commit = cli_commit(),
                               .memorisation = j->memorisation,
                               .external = j->external,
                               .against = j->against,
                               .against_hash = j->against_id,
                               .tripod = j->tripod};
  int rc;
  TRY_OUT(validate_run(&o, &a, &v, e));
  snprintf(leaf, sizeof leaf, "%s-%.12s", task_name(task), j->id[0] ? j->id : "checkpoint");
  TRY_OUT(site_path(j->site, dir, "reports", leaf, NULL));
  TRY_OUT(validate_report_write(&v, dir, e));
  if (j->id[0] && !j->external) TRY_OUT(attach(j, dir, e));
  rows(j->table, &a, &v);
  object(j->json, &v, dir);
  if (!c->json) {
    struct buf reasons = {0};
    bool passes = validate_gate(&v, &reasons);
    for (int i = 0; i < v.n_scores; i++) score_line(v.task, &v.score[i]);
    if (v.compared.against[0])
      printf("%s: against %.12s: AUROC %+.4f [%+.4f, %+.4f], DeLong p %.3g; Brier %+.4f [%+.4f, %+.4f]\n", v.task, v.compared.against,
             v.compared.auroc.at, v.compared.auroc.lo, v.compared.auroc.hi, v.compared.delong_p, v.compared.brier.at, v.compared.brier.lo,
             v.compared.brier.hi);
    printf("%s: report in %s/report.html; gate: %s%s%s\n", v.task, dir, passes ? "passes" : "does not pass", reasons.n ? ": " : "",
           buf_cstr(&reasons));
    buf_release(&reasons);
  }
out:
  arena_free(&a);
  task_free(task);
  return rc;
}

static int all_tasks(struct cli *c, struct job *j, struct error *e) {
  const struct cli_value *named = cli_value(c, "task");
  if (!named->given && model_tasks(j->model) == 0) return error_set(e, E_USAGE, "the model has no task heads; name one with --task");
  int n = named->given ? named->n : model_tasks(j->model), done = 0;
  for (int i = 0; i < n; i++) {
    struct error one_error = {0};
    const char *name = named->given ? named->text[i] : model_task_name(j->model, i);
    int rc = one(c, j, name, &one_error);
    if (rc < 0 && (named->given || (rc != E_INPUT && rc != E_NOTFOUND && rc != E_MISMATCH))) {
      if (e) *e = one_error;
      return rc;
    }
    /* a task that nobody named may have too few held-out cases, or have changed: say so and go on */
    if (rc < 0) {
      fprintf(stderr, "%s: ", name);
      error_print(stderr, &one_error);
    } else {
      done++;
    }
  }
  return done ? OK : error_set(e, E_INPUT, "no task could be validated on the held-out patients");
}

/* Once for all tasks: it is the trunk that would remember. Limits: the site's policy/gates.json, else the program's. */
static int remembers(struct cli *c, struct job *j, struct arena *a, struct memorisation *out, struct error *e) {
  struct memorisation_options o = {.model = j->model,
                                   .store = j->store,
                                   .model_dir = j->dir,
                                   .seed = (uint64_t)cli_integer(c, "seed", 1),
                                   .threads = (int)cli_integer(c, "threads", 0)};
  const char *name = cli_text(c, "reference", NULL);
  struct model *reference = NULL;
  struct progress bar;
  char path[4096], id[65];
  TRY(site_find(j->site, "policy", "gates", path, e));
  TRY(memorisation_limits_load(path, &o.limits, e));
  if (name) TRY(cli_model(j->site, name, &reference, path, id, e));
  o.reference = reference;
  progress_start(&bar, "memorisation", 1, PROGRESS_COUNT);
  int rc = memorisation_run(&o, a, out, e);
  progress_end(&bar, rc == OK ? "done" : "stopped");
  if (reference) model_free(reference);
  if (rc == OK && !c->json) {
    struct buf line = {0};
    memorisation_line(out, &line);
    printf("Memorisation: %s\n", buf_cstr(&line));
    buf_release(&line);
  }
  return rc;
}

/* A checkpoint that does not lie in this site learned at another one. */
static int elsewhere(struct cli *c, const struct site *s, const char *dir, struct job *j, struct error *e) {
  char *here = realpath(s->path, NULL), *there = realpath(dir, NULL);
  if (!here || !there) {
    free(here), free(there);
    return error_set(e, E_IO, "the model's directory cannot be found again");
  }
  size_t n = strlen(here);
  j->external = cli_flag(c, "external") || strncmp(there, here, n) != 0 || (there[n] != '/' && there[n] != 0);
  free(here), free(there);
  return OK;
}

static int statements(const struct site *s, struct arena *a, struct tripod *out, struct error *e) {
  char path[4096];
  TRY(site_path(s, path, "policy", "tripod.json", NULL));
  return file_exists(path) ? tripod_statements_load(path, a, out, e) : OK;
}

static int run(struct cli *c, struct error *e) {
  struct site s;
  struct job j = {.site = &s};
  struct timeline *store = NULL;
  struct model *model = NULL, *other = NULL;
  char other_dir[4096], other_id[65];
  struct table table;
  struct buf b = {0};
  struct json_out o;
  char dir[4096], id[65];
  struct arena a;
  struct memorisation memorisation;
  TRY(site_open(c->arg[0], &s, e));
  TRY(cli_store(&s, &store, e));
  int rc;
  arena_init(&a, 0, 0);
  table_init(&table, 7, "task", "predictor", "n / events", "AUROC", "AUPRC", "Brier", "slope");
  json_out_init(&o, &b, false);
  json_out_array(&o);
  TRY_OUT(cli_model(&s, cli_text(c, "model", NULL), &model, dir, id, e));
  j.store = store, j.model = model, j.id = id, j.dir = dir, j.table = &table, j.json = &o, j.memorisation = &memorisation;
  TRY_OUT(elsewhere(c, &s, dir, &j, e));
  TRY_OUT(statements(&s, &a, &j.tripod, e));
  if (cli_text(c, "against", NULL)) {
    TRY_OUT(cli_model(&s, cli_text(c, "against", NULL), &other, other_dir, other_id, e));
    j.against = other, j.against_id = other_id; /* "" = a bare checkpoint */
  }
  TRY_OUT(remembers(c, &j, &a, &memorisation, e));
  TRY_OUT(all_tasks(c, &j, e));
  json_out_end(&o);
  if (c->json)
    rc = cli_print_json(&b, e);
  else
    printf("\nHeld-out patients only; intervals: 95 %%, bootstrap over patients\n"), table_print(&table, stdout);
out:
  arena_free(&a);
  table_release(&table);
  buf_release(&b);
  if (model) model_free(model);
  if (other) model_free(other);
  timeline_close(store);
  return rc;
}

const struct command command_validate = {"validate", "SITE", "prove a model on patients it has never seen; write the report", options, 1,
                                         1,          run};
