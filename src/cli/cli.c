#include "cli/cli.h"

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

static void print_option(FILE *to, const struct cli_option *o) {
  char left[64];
  snprintf(left, sizeof left, "--%s%s%s", o->name, o->meta ? " " : "", o->meta ? o->meta : "");
  fprintf(to, "  %-26s %s%s\n", left, o->help, o->type == CLI_MANY ? " (may be repeated)" : "");
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
  return OK;
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
    if (*at + 1 >= argc) return error_set(e, E_USAGE, "--%s wants a value: %s", o->name, o->meta);
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
