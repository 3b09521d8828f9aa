/* Shared by cli_draft*.c only. */
#ifndef CLI_DRAFT_H
#define CLI_DRAFT_H
#include "cli/cli.h"

struct site;
int cli_draft_reviews(struct cli *c, const struct site *s, struct error *e) MUST_CHECK;
#endif
