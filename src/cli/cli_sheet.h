/* Recall on the site's own notes, measured by people: vitae audit SITE --sheet N draws texts, vitae audit SITE --score SHEET.csv counts. */
#ifndef CLI_SHEET_H
#define CLI_SHEET_H
#include "cli/cli.h"

struct site;
int cli_sheet(struct cli *c, const struct site *s, struct error *e) MUST_CHECK;
int cli_score(struct cli *c, const char *path, struct error *e) MUST_CHECK;
#endif
