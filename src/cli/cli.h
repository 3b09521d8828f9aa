/* The command line: one table of commands, one table of options a command; help, completion and "did you mean" come from them.
 *
 *     static int run(struct cli *c, struct error *e);
 *     const struct command command_show = {"show", "SITE [SUBJECT]", "print a patient's life", options, 1, 2, run};
 *
 * Exit status by the error table (base/error.h). --json prints one JSON object on stdout and keeps everything else off it.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#define CLI_LIST 16
#define CLI_ARGS 64
enum cli_type { CLI_FLAG, CLI_TEXT, CLI_INTEGER, CLI_NUMBER, CLI_MANY };
struct cli_option {
  const char *name; /* without "--" */
  enum cli_type type;
  const char *meta; /* "FILE"; of a number with its limits: "N:0..240", "X:>0..1", "N:1.."; a seed alone has none */
  const char *help;
};
struct cli_value {
  bool given;
  const char *text[CLI_LIST];
  int n;
  int64_t integer;
  double number;
};
struct command;
struct cli {
  const struct command *command;
  const char *arg[CLI_ARGS];
  int args;
  struct cli_value *values; /* as the command's options */
  bool json, quiet;
};
struct command {
  const char *name, *usage, *summary;
  const struct cli_option *options; /* ends with a NULL name */
  int min_args, max_args;
  int (*run)(struct cli *c, struct error *e);
};
extern const struct command *const cli_commands[]; /* ends with NULL */

bool cli_flag(const struct cli *c, const char *name);
const char *cli_text(const struct cli *c, const char *name, const char *otherwise);
int64_t cli_integer(const struct cli *c, const char *name, int64_t otherwise);
double cli_number(const struct cli *c, const char *name, double otherwise);
const struct cli_value *cli_value(const struct cli *c, const char *name);
/* Parses argv[1..] of a command; E_USAGE with the nearest option named. E_END when --help was asked and printed. */
int cli_parse(const struct command *command, int argc, char **argv, struct cli *out, struct cli_value *values, struct error *e) MUST_CHECK;
void cli_help(FILE *to, const struct command *command); /* NULL: the whole program */
/* The nearest command name, NULL if none is near */
const char *cli_nearest(const char *name);
/* Prints what --json asked for: the finished object and a newline */
int cli_print_json(struct buf *b, struct error *e) MUST_CHECK;
/* `task`s named on the command line, or every task of the site and the program that has enough examples: see cli_train.c */
const char *cli_commit(void); /* the program's own commit */
#endif
