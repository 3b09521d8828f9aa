/* `vitae deid`: one kind of file through the wall by itself, without a store. Each kind is one file cli_deid_KIND.c. */
#ifndef CLI_CLI_DEID_H
#define CLI_CLI_DEID_H
#include "cli/cli.h"

/* c->arg[0] = in, c->arg[1] = out. Options common to all are in cli_deid.c; add there what a kind needs. */
int cli_deid_text(struct cli *c, struct error *e) MUST_CHECK;
int cli_deid_fhir(struct cli *c, struct error *e) MUST_CHECK;
int cli_deid_dicom(struct cli *c, struct error *e) MUST_CHECK;
int cli_deid_vcf(struct cli *c, struct error *e) MUST_CHECK;
#endif
