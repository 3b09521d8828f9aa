/* What several commands do with a site. */
#ifndef CLI_SITE_H
#define CLI_SITE_H
#include "base/arena.h"
#include "cli/cli.h"

struct site;
struct timeline;
struct task;
struct model;

/* The text of --passphrase-file (first line), NULL if the option is absent; memory from an arena that wipes. */
int cli_passphrase(const struct cli *c, struct arena *a, char **out, struct error *e) MUST_CHECK;
/* --name of what becomes a directory of the site: letters, digits, dots, - and _, no dot first, at most 127; E_USAGE */
int cli_name(const char *name, struct error *e) MUST_CHECK;
bool cli_name_letter(const char *name, size_t at);
/* Opens the store of a site; E_NOTFOUND says to ingest first. */
int cli_store(const struct site *s, struct timeline **out, struct error *e) MUST_CHECK;
/* A task by name (site's tasks/, then the program's). */
int cli_task(const struct site *s, const char *name, struct task **out, struct error *e) MUST_CHECK;
/* All task files of the site and the program, site first, each name once. */
int cli_task_all(const struct site *s, struct arena *a, struct task ***out, int *n, struct error *e) MUST_CHECK;
/* A model: --model (version id, prefix, state name, or checkpoint directory), else the newest version. */
int cli_model(const struct site *s, const char *name, struct model **out, char dir[4096], char id[65], struct error *e) MUST_CHECK;
#endif
