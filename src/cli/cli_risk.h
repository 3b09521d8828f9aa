/* vitae audit SITE --risk: reports/risk-GENERATION.{json,html} and a few lines on the terminal. */
#ifndef CLI_RISK_H
#define CLI_RISK_H
#include "cli/cli.h"

struct site;
int cli_risk(struct cli *c, const struct site *s, struct error *e) MUST_CHECK;
#endif
