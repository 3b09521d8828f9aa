#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"

#ifndef VITAE_COMMIT
#define VITAE_COMMIT "unknown"
#endif
#define MAX_OPTIONS 32

static const struct cli_option common[] = {{"json", CLI_FLAG, NULL, "one JSON object on standard output, nothing else there"},
                                           {"quiet", CLI_FLAG, NULL, "no progress"},
                                           {"help", CLI_FLAG, NULL, "this page"}};
#define COMMON (int)(sizeof common / sizeof *common)

const char *cli_commit(void) { return VITAE_COMMIT; }

static int option_count(const struct command *c) {
  int n = 0;
  while (c->options && c->options[n].name) n++;
  return n;
}

const struct cli_value *cli_value(const struct cli *c, const char *name) {
  for (int i = 0, n = option_count(c->command); i < n; i++)
    if (strcmp(c->command->options[i].name, name) == 0) return &c->values[i];
  BUG("option %s is not in the table of %s", name, c->command->name);
}
bool cli_flag(const struct cli *c, const char *name) { return cli_value(c, name)->given; }
const char *cli_text(const struct cli *c, const char *name, const char *otherwise) {
  const struct cli_value *v = cli_value(c, name);
  return v->given ? v->text[0] : otherwise;
}
int64_t cli_integer(const struct cli *c, const char *name, int64_t otherwise) {
  const struct cli_value *v = cli_value(c, name);
  return v->given ? v->integer : otherwise;
}
double cli_number(const struct cli *c, const char *name, double otherwise) {
  const struct cli_value *v = cli_value(c, name);
  return v->given ? v->number : otherwise;
}

/* ---- limits ---- */

struct limits {
  double least, most;
  bool above; /* the least itself is not allowed */
};
static bool numeric(const struct cli_option *o) { return o->type == CLI_INTEGER || o->type == CLI_NUMBER; }

/* What the value is called, without its limits. */
static struct str word_of(const struct cli_option *o) {
  struct str meta = str_c(o->meta ? o->meta : "");
  return numeric(o) ? str_cut(&meta, ':') : meta;
}

static struct limits limits_of(const struct cli_option *o) {
  struct limits l = {-INFINITY, INFINITY, false};
  const char *least = strchr(o->meta, ':'), *most = least ? strstr(least, "..") : NULL;
  if (!most) return l;
  least++, most += 2;
  l.above = *least == '>';
  l.least = strtod(least + l.above, NULL);
  if (*most) l.most = strtod(most, NULL);
  return l;
}

/* "0 to 240", "above 0", "above 0 and at most 1", "at least 1" */
static void limits_text(struct limits l, char *out, size_t n) {
  int used = snprintf(out, n, l.above ? "above %.10g" : l.most < INFINITY ? "%.10g" : "at least %.10g", l.least);
  if (l.most < INFINITY) snprintf(out + used, n - (size_t)used, l.above ? " and at most %.10g" : " to %.10g", l.most);
}

static int check_limits(const struct cli_option *o, double x, struct error *e) {
  struct limits l = limits_of(o);
  char text[64];
  if (x <= l.most && (l.above ? x > l.least : x >= l.least)) return OK;
  limits_text(l, text, sizeof text);
  return error_set(e, E_USAGE, "--%s is %s", o->name, text);
}

/* ---- help ---- */

static void print_option(FILE *to, const struct cli_option *o) {
  char left[64], range[64] = "";
  struct str word = word_of(o);
  snprintf(left, sizeof left, "--%s%s%.*s", o->name, word.n ? " " : "", STR_ARG(word));
  if (numeric(o) && limits_of(o).most < INFINITY) limits_text(limits_of(o), range, sizeof range);
  fprintf(to, "  %-26s %s%s%s%s\n", left, o->help, range[0] ? "; " : "", range, o->type == CLI_MANY ? " (may be repeated)" : "");
}

void cli_help(FILE *to, const struct command *command) {
  if (command) {
    fprintf(to, "vitae %s %s\n\n%s.\n\nOptions:\n", command->name, command->usage, command->summary);
    for (int i = 0, n = option_count(command); i < n; i++) print_option(to, &command->options[i]);
    for (int i = 0; i < COMMON; i++) print_option(to, &common[i]);
    return;
  }
  fprintf(to,
          "Vitae %s: the clinical foundation model that a health system owns.\n\nusage: vitae COMMAND [OPTIONS]\n\nCommands, in the data's "
          "order:\n",
          VITAE_VERSION);
  for (int i = 0; cli_commands[i]; i++) fprintf(to, "  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
  fprintf(to, "\n`vitae COMMAND --help` tells a command's options. Exit status: 0 done, else by kind of failure (docs/operations.md).\n");
}

const char *cli_nearest(const char *name) {
  const char *best = NULL;
  unsigned least = 4;
  for (int i = 0; cli_commands[i]; i++) {
    unsigned d = str_distance(str_c(cli_commands[i]->name), str_c(name), 4);
    if (d < least) least = d, best = cli_commands[i]->name;
  }
  return best;
}

static int unknown_option(const struct command *command, const char *given, struct error *e) {
  const char *best = NULL;
  unsigned least = 4;
  struct str name = str_c(given);
  name = str_cut(&name, '=');
  for (int i = 0, n = option_count(command); i < n + COMMON; i++) {
    const char *known = i < n ? command->options[i].name : common[i - n].name;
    unsigned d = str_distance(str_c(known), name, 4);
    if (d < least) least = d, best = known;
  }
  if (best) return error_set(e, E_USAGE, "vitae %s has no option --%.*s; did you mean --%s?", command->name, STR_ARG(name), best);
  return error_set(e, E_USAGE, "vitae %s has no option --%.*s; see: vitae %s --help", command->name, STR_ARG(name), command->name);
}

static int take_value(const struct cli_option *o, struct cli_value *v, const char *text, struct error *e) {
  if (v->given && o->type != CLI_MANY) return error_set(e, E_USAGE, "--%s is given twice", o->name);
  if (v->n >= CLI_LIST) return error_set(e, E_USAGE, "--%s is given more than %d times", o->name, CLI_LIST);
  v->given = true;
  v->text[v->n++] = text;
  if (o->type == CLI_INTEGER && str_to_i64(str_c(text), &v->integer) < 0)
    return error_set(e, E_USAGE, "--%s wants a whole number", o->name);
  if (o->type == CLI_NUMBER && str_to_f64(str_c(text), &v->number) < 0) return error_set(e, E_USAGE, "--%s wants a number", o->name);
  return numeric(o) ? check_limits(o, o->type == CLI_INTEGER ? (double)v->integer : v->number, e) : OK;
}

static int parse_option(const struct command *command, char **argv, int argc, int *at, struct cli *out, struct error *e) {
  const char *given = argv[*at] + 2, *equals = strchr(given, '=');
  size_t n = equals ? (size_t)(equals - given) : strlen(given);
  for (int i = 0; i < COMMON; i++)
    if (strlen(common[i].name) == n && memcmp(common[i].name, given, n) == 0 && !equals) {
      if (i == 0) out->json = true;
      if (i == 1) out->quiet = true;
      if (i == 2) return cli_help(stdout, command), E_END;
      return OK;
    }
  for (int i = 0, count = option_count(command); i < count; i++) {
    const struct cli_option *o = &command->options[i];
    if (strlen(o->name) != n || memcmp(o->name, given, n) != 0) continue;
    if (o->type == CLI_FLAG) {
      if (equals) return error_set(e, E_USAGE, "--%s takes no value", o->name);
      out->values[i].given = true;
      return OK;
    }
    if (equals) return take_value(o, &out->values[i], equals + 1, e);
    if (*at + 1 >= argc) return error_set(e, E_USAGE, "--%s wants a value: %.*s", o->name, STR_ARG(word_of(o)));
    return take_value(o, &out->values[i], argv[++*at], e);
  }
  return unknown_option(command, given, e);
}

int cli_parse(const struct command *command, int argc, char **argv, struct cli *out, struct cli_value *values, struct error *e) {
  BUG_IF(option_count(command) > MAX_OPTIONS);
  memset(out, 0, sizeof *out);
  memset(values, 0, MAX_OPTIONS * sizeof *values);
  out->command = command;
  out->values = values;
  bool only_args = false;
  for (int i = 0; i < argc; i++) {
    if (!only_args && strcmp(argv[i], "--") == 0) {
      only_args = true;
    } else if (!only_args && (strcmp(argv[i], "-h") == 0)) {
      return cli_help(stdout, command), E_END;
    } else if (!only_args && argv[i][0] == '-' && argv[i][1] == '-') {
      TRY(parse_option(command, argv, argc, &i, out, e));
    } else if (!only_args && argv[i][0] == '-' && argv[i][1]) {
      return error_set(e, E_USAGE, "options are spelled --NAME; see: vitae %s --help", command->name);
    } else {
      if (out->args >= command->max_args)
        return error_set(e, E_USAGE, "too many arguments; usage: vitae %s %s", command->name, command->usage);
      out->arg[out->args++] = argv[i];
    }
  }
  if (out->args < command->min_args) return error_set(e, E_USAGE, "usage: vitae %s %s", command->name, command->usage);
  progress_mode(out->json || out->quiet ? PROGRESS_QUIET : PROGRESS_AUTO);
  return OK;
}

int cli_print_json(struct buf *b, struct error *e) {
  buf_putc(b, '\n');
  TRY(buf_check(b, e));
  if (fwrite(b->p, 1, b->n, stdout) != b->n || fflush(stdout) != 0) return error_set(e, E_IO, "standard output cannot be written");
  return OK;
}
