/* vitae calculate: clinical calculators from calculators/, by hand */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_commands.h"
#include "reason/calculator.h"

static const struct cli_option options[] = {
    {"file", CLI_TEXT, "FILE", "a calculator of your own instead of a named one; then every argument is an input"}, {0}};

static int list(struct cli *c, struct error *e) {
  struct arena a;
  struct str *path;
  char dir[4096];
  size_t n;
  struct table table;
  struct buf text = {0};
  struct json_out o;
  arena_init(&a, 16 << 20, 0);
  table_init(&table, 3, "calculator", "gives", "source");
  json_out_init(&o, &text, false);
  json_out_array(&o);
  int rc = file_join(dir, sizeof dir, file_data_dir(), "calculators", e);
  if (rc == OK) rc = file_list(&a, dir, &path, &n, e);
  for (size_t i = 0; rc == OK && i < n; i++) {
    struct calculator *k;
    rc = calculator_load(path[i].p, &k, e);
    if (rc < 0) break;
    table_row(&table, calculator_name(k), calculator_title(k), calculator_source(k));
    json_out_object(&o);
    json_kv_c(&o, "name", calculator_name(k));
    json_kv_c(&o, "title", calculator_title(k));
    json_kv_c(&o, "source", calculator_source(k));
    json_out_end(&o);
    calculator_free(k);
  }
  json_out_end(&o);
  if (rc == OK && c->json)
    rc = cli_print_json(&text, e);
  else if (rc == OK)
    table_print(&table, stdout);
  table_release(&table);
  buf_release(&text);
  arena_free(&a);
  return rc;
}

static void describe_choices(const struct calculator_input *in, struct buf *b) {
  for (int k = 0; k < in->choices; k++) buf_printf(b, "%s%s", k ? " | " : "", in->choice[k]);
}

/* Without inputs: what the calculator wants */
static void describe(const struct calculator *k) {
  struct table table;
  printf("%s: %s\n%s\n", calculator_name(k), calculator_title(k), calculator_source(k));
  if (calculator_note(k)) printf("%s\n", calculator_note(k));
  table_init(&table, 3, "input", "", "meaning");
  for (int i = 0; i < calculator_inputs(k); i++) {
    const struct calculator_input *in = calculator_input(k, i);
    struct buf b = {0};
    if (in->kind == CALCULATOR_NUMBER) buf_printf(&b, "%s, %g to %g", in->unit, in->least, in->most);
    if (in->kind == CALCULATOR_FACT) buf_puts(&b, "yes | no (unstated: no)");
    if (in->kind == CALCULATOR_DAY) buf_puts(&b, "YYYY-MM-DD");
    if (in->kind == CALCULATOR_CHOICE) describe_choices(in, &b);
    if (in->optional) buf_puts(&b, " (may be left out)");
    table_row(&table, in->name, buf_cstr(&b), in->title);
    buf_release(&b);
  }
  table_print(&table, stdout);
  table_release(&table);
}

static void value_text(const struct calculator_answer *r, char out[64]) {
  if (strcmp(r->unit, "date") == 0)
    time_format_date((int64_t)r->value * TIME_DAY, out);
  else
    snprintf(out, 64, "%.10g%s%s", r->value, r->unit[0] == '1' || r->unit[0] == '{' ? "" : " ",
             r->unit[0] == '1' || r->unit[0] == '{' ? "" : r->unit);
}

static int answer(struct cli *c, const struct calculator *k, const struct calculator_answer *r, struct error *e) {
  char text[64];
  value_text(r, text);
  if (!c->json) {
    printf("%s: %s%s%s%s\n", calculator_title(k), text, r->band ? " (" : "", r->band ? r->band : "", r->band ? ")" : "");
    for (int i = 0; i < r->n_assumed; i++) printf("%s%s", i ? "; " : "taken as absent: ", r->assumed[i]->title);
    if (r->n_assumed) printf("\n");
    if (calculator_note(k)) printf("%s\n", calculator_note(k));
    printf("%s\n", calculator_source(k));
    return OK;
  }
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "calculator", calculator_name(k));
  if (strcmp(r->unit, "date") == 0) {
    json_kv_c(&o, "value", text);
  } else {
    json_kv_f64(&o, "value", r->value);
    json_kv_c(&o, "unit", r->unit);
  }
  if (r->band) json_kv_c(&o, "band", r->band);
  json_out_key(&o, "taken_as_absent");
  json_out_array(&o);
  for (int i = 0; i < r->n_assumed; i++) json_out_c(&o, r->assumed[i]->name);
  json_out_end(&o);
  json_kv_c(&o, "source", calculator_source(k));
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

static int compute(struct cli *c, const struct calculator *k, int first, struct error *e) {
  struct calculator_value in[CALCULATOR_INPUTS];
  struct calculator_answer r;
  calculator_none(k, in);
  for (int i = first; i < c->args; i++) {
    struct str rest = str_c(c->arg[i]), name = str_cut(&rest, '=');
    if (!rest.p) return error_set(e, E_USAGE, "expected INPUT=VALUE, such as age=70");
    TRY(calculator_set(k, in, name, rest, e));
  }
  TRY(calculator_run(k, in, &r, e));
  return answer(c, k, &r, e);
}

static int run(struct cli *c, struct error *e) {
  const char *file = cli_text(c, "file", NULL);
  char dir[4096], name[256], path[4096];
  struct calculator *k;
  int first = file ? 0 : 1;
  if (!file && c->args == 0) return list(c, e);
  if (!file) {
    if (strchr(c->arg[0], '/') || strchr(c->arg[0], '=')) return error_set(e, E_USAGE, "expected a calculator's name first");
    snprintf(name, sizeof name, "%.200s.json", c->arg[0]);
    TRY(file_join(dir, sizeof dir, file_data_dir(), "calculators", e));
    TRY(file_join(path, sizeof path, dir, name, e));
    if (!file_exists(path)) return error_set(e, E_NOTFOUND, "no calculator of this name; vitae calculate lists them");
    file = path;
  }
  TRY(calculator_load(file, &k, e));
  int rc = OK;
  if (c->args == first && !c->json)
    describe(k);
  else
    rc = compute(c, k, first, e);
  calculator_free(k);
  return rc;
}

const struct command command_calculate = {
    "calculate", "[NAME [INPUT=VALUE ...]]", "a clinical calculator: list them, ask what one wants, or compute", options, 0, CLI_ARGS, run};
