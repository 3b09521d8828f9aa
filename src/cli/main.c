/* vitae COMMAND … : finds the command in the table, parses its options, runs it, turns its error into words and an exit status. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/cli_commands.h"

/* one a line, in the order of help */
/* clang-format off */
const struct command *const cli_commands[] = {
    &command_init,
    &command_ingest,
    &command_pull,
    &command_smartkey,
    &command_deid,
    &command_tagger,
    &command_show,
    &command_train,
    &command_simulate,
    &command_validate,
    &command_predict,
    &command_ask,
    &command_draft,
    &command_calculate,
    &command_differential,
    &command_diagnose,
    &command_versions,
    &command_promote,
    &command_serve,
    &command_key,
    &command_deploy,
    &command_auditlog,
    &command_tasks,
    &command_import,
    &command_generate,
    &command_knowledge,
    &command_export,
    &command_verify,
    &command_audit,
    &command_vault,
    &command_forget,
    &command_about,
    &command_completion,
    NULL};
/* clang-format on */

static const struct command *find(const char *name) {
  for (int i = 0; cli_commands[i]; i++)
    if (strcmp(cli_commands[i]->name, name) == 0) return cli_commands[i];
  return NULL;
}

static int fail(const struct error *e, bool json) {
  if (json) {
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b, false);
    json_out_object(&o);
    json_out_key(&o, "error");
    json_out_object(&o);
    json_kv_c(&o, "code", error_name(e->code));
    json_kv_c(&o, "message", e->message);
    if (e->file[0]) json_kv_c(&o, "file", e->file);
    if (e->row) json_kv_i64(&o, "row", e->row);
    if (e->field[0]) json_kv_c(&o, "field", e->field);
    json_out_end(&o);
    json_out_end(&o);
    fprintf(stdout, "%s\n", buf_cstr(&b));
    buf_release(&b);
  } else {
    fprintf(stderr, "vitae: ");
    error_print(stderr, e);
  }
  return error_exit_status(e->code);
}

int main(int argc, char **argv) {
  struct error e = {0};
  if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (strcmp(argv[1], "help") == 0 && argc == 2)) {
    cli_help(argc < 2 ? stderr : stdout, NULL);
    return argc < 2 ? error_exit_status(E_USAGE) : 0;
  }
  if (strcmp(argv[1], "--version") == 0) return printf("vitae %s (%s)\n", VITAE_VERSION, cli_commit()), 0;
  const char *name = strcmp(argv[1], "help") == 0 ? argv[2] : argv[1];
  const struct command *command = find(name);
  if (!command) {
    const char *near = cli_nearest(name);
    if (near)
      (void)error_set(&e, E_USAGE, "there is no command \"%s\"; did you mean \"%s\"?", name, near);
    else
      (void)error_set(&e, E_USAGE, "there is no command \"%s\"; see: vitae --help", name);
    return fail(&e, false);
  }
  if (name == argv[2]) return cli_help(stdout, command), 0;
  cancel_install();
  struct cli cli;
  struct cli_value values[32];
  int rc = cli_parse(command, argc - 2, argv + 2, &cli, values, &e);
  if (rc == E_END) return 0;
  if (rc == OK) rc = command->run(&cli, &e);
  if (rc < 0) {
    if (!e.code) (void)error_set(&e, rc, "%s", error_name(rc));
    return fail(&e, cli.json);
  }
  return 0;
}
