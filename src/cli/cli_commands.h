/* The commands, one file each (cli_NAME.c). */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
#include "cli/cli.h"
extern const struct command command_init, command_ingest, command_show, command_train, command_validate, command_predict, command_versions,
    command_promote, command_serve, command_key, command_tasks, command_export, command_verify, command_audit, command_about,
    command_completion, command_deid, command_tagger, command_vault, command_forget, command_simulate, command_calculate, command_ask,
    command_draft, command_differential, command_diagnose;
extern const struct command command_deploy, command_auditlog, command_pull, command_smartkey;
extern const struct command command_import, command_generate, command_knowledge;
#endif
