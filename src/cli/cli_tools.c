/* vitae tasks, export, about, completion */
#include <string.h>

#include "base/duckdb.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/thread.h"
#include "cli/cli_commands.h"
#include "cli/cli_site.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "kernel/kernel_plugin.h"
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"

static const struct cli_option no_options[] = {{0}};
static const struct cli_option export_options[] = {
    {"format", CLI_TEXT, "FORMAT", "meds (Parquet, wants the DuckDB library) or safetensors"},
    {"to", CLI_TEXT, "DIR", "new directory that receives it"},
    {"model", CLI_TEXT, "VERSION", "for safetensors: which version (default: the newest)"},
    {0}};

struct task_listing {
  struct table table;
  struct json_out json;
};

static int task_counts(const struct timeline *t, struct task *task, struct task_listing *to, struct error *e) {
  static const char *const splits[SPLITS] = {"train", "tuning", "held_out"};
  struct task_binding *b;
  char n[SPLITS][48];
  TRY(task_bind(task, t, &b, e));
  int rc = OK;
  json_out_object(&to->json);
  json_kv_c(&to->json, "task", task_name(task));
  json_kv_c(&to->json, "title", task_title(task));
  for (int s = 0; s < SPLITS && rc == OK; s++) {
    struct arena a;
    struct task_examples found = {0};
    arena_init(&a, 0, 0);
    rc = task_label_all(b, t, (enum split)s, 0, &a, &found, e);
    if (rc == OK) snprintf(n[s], sizeof n[s], "%u / %u", found.n - found.censored, found.yes);
    arena_free(&a);
    json_out_key(&to->json, splits[s]);
    json_out_object(&to->json);
    json_kv_i64(&to->json, "n", found.n - found.censored);
    json_kv_i64(&to->json, "cases", found.yes);
    json_out_end(&to->json);
  }
  json_out_end(&to->json);
  if (rc == OK) table_row(&to->table, task_name(task), task_title(task), n[0], n[1], n[2]);
  task_binding_free(b);
  return rc;
}

static int run_tasks(struct cli *c, struct error *e) {
  struct site s;
  struct timeline *t;
  struct arena a;
  struct task_listing to;
  struct buf text = {0};
  struct task **tasks;
  int n = 0;
  TRY(site_open(c->arg[0], &s, e));
  TRY(cli_store(&s, &t, e));
  arena_init(&a, 64 << 20, 0);
  table_init(&to.table, 5, "task", "asks", "train n / cases", "tuning", "held out");
  json_out_init(&to.json, &text, false);
  json_out_array(&to.json);
  int rc = cli_task_all(&s, &a, &tasks, &n, e);
  for (int i = 0; i < n && rc == OK; i++) rc = task_counts(t, tasks[i], &to, e);
  json_out_end(&to.json);
  if (rc == OK && c->json)
    rc = cli_print_json(&text, e);
  else if (rc == OK)
    table_print(&to.table, stdout);
  for (int i = 0; i < n; i++) task_free(tasks[i]);
  table_release(&to.table);
  buf_release(&text);
  arena_free(&a);
  timeline_close(t);
  return rc;
}

/* {"NAME":"TEXT"}, for commands whose whole answer is one path */
static int say_path(const char *name, const char *path, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, name, path);
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

static int export_model(struct cli *c, const struct site *s, const char *to, struct error *e) {
  struct model *m;
  char dir[4096], id[65];
  TRY(cli_model(s, cli_text(c, "model", NULL), &m, dir, id, e));
  int rc = model_save(m, to, e);
  model_free(m);
  return rc;
}

static int run_export(struct cli *c, struct error *e) {
  struct site s;
  struct timeline *t;
  const char *format = cli_text(c, "format", "meds"), *to = cli_text(c, "to", NULL);
  TRY(site_open(c->arg[0], &s, e));
  if (!to) return error_set(e, E_USAGE, "--to names the new directory");
  if (file_exists(to)) return error_set(e, E_USAGE, "%s is there already; export writes a new directory", to);
  if (strcmp(format, "safetensors") == 0) {
    TRY(export_model(c, &s, to, e));
    if (c->json) return say_path("wrote", to, e);
    printf("Wrote %s\n", to);
    return OK;
  }
  if (strcmp(format, "meds") != 0) return error_set(e, E_USAGE, "--format is meds or safetensors");
  TRY(cli_store(&s, &t, e));
  int rc = timeline_export_meds(t, to, e);
  timeline_close(t);
  if (rc == OK && c->json) return say_path("wrote", to, e);
  if (rc == OK) printf("Wrote %s\n", to);
  return rc;
}

static int run_about(struct cli *c, struct error *e) {
  struct error none = {0};
  const struct kernel *gpu;
  struct error no_gpu = {0};
  bool has_gpu = kernel_plugin_open(NULL, false, &gpu, &no_gpu) == OK;
  const char *duck = duck_available(&none) == OK ? "found" : "not found: Parquet is off (MEDS can be read as CSV); see docs/operations.md";
  if (!c->json) {
    printf("vitae %s (%s)\n", VITAE_VERSION, cli_commit());
    printf("kernels   %s\nthreads   %d\nGPU       %s%s\nParquet   DuckDB library %s\ndata      %s\n", kernel_describe(), thread_cores(),
           has_gpu ? "" : "none: ", has_gpu ? kernel_plugin_device() : no_gpu.message, duck, file_data_dir());
    return OK;
  }
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "version", VITAE_VERSION);
  json_kv_c(&o, "commit", cli_commit());
  json_kv_c(&o, "kernels", kernel_describe());
  json_kv_i64(&o, "threads", thread_cores());
  json_kv_bool(&o, "gpu", has_gpu);
  json_kv_bool(&o, "parquet", duck_available(&none) == OK);
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

static int run_completion(struct cli *c, struct error *e UNUSED) {
  printf("_vitae() {\n  local w=${COMP_WORDS[COMP_CWORD]}\n  if [ $COMP_CWORD -eq 1 ]; then COMPREPLY=($(compgen -W \"");
  for (int i = 0; cli_commands[i]; i++) printf("%s ", cli_commands[i]->name);
  printf("\" -- \"$w\")); return; fi\n  case ${COMP_WORDS[1]} in\n");
  for (int i = 0; cli_commands[i]; i++) {
    printf("    %s) COMPREPLY=($(compgen -f -W \"--json --quiet --help ", cli_commands[i]->name);
    for (const struct cli_option *o = cli_commands[i]->options; o->name; o++) printf("--%s ", o->name);
    printf("\" -- \"$w\"));;\n");
  }
  printf("  esac\n}\ncomplete -o default -F _vitae vitae\n");
  (void)c;
  return OK;
}

const struct command command_tasks = {"tasks", "SITE",   "list the tasks and how many cases the site has for each", no_options, 1,
                                      1,       run_tasks};
const struct command command_export = {
    "export", "SITE --format FORMAT --to DIR", "write timelines as MEDS, or a model as safetensors", export_options, 1, 1, run_export};
const struct command command_about = {"about", "",       "what this machine offers: kernels, threads, optional parts", no_options, 0,
                                      0,       run_about};
const struct command command_completion = {"completion", "", "print a bash completion script", no_options, 0, 0, run_completion};
