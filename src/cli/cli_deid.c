/* vitae deid --from KIND IN OUT: texts, FHIR, images or genomes through the wall by themselves, without a store. */
#include "cli/cli_deid.h"

#include <string.h>

#include "base/file.h"
#include "cli/cli_commands.h"

static const struct cli_option options[] = {
    {"from", CLI_TEXT, "KIND", "what the input is: text, fhir, dicom or vcf"},
    {"policy", CLI_TEXT, "POLICY", "safe-harbor, expert, limited, or a file"},
    {"vault", CLI_TEXT, "DIR", "vault (a site's or one of its own) that holds the pseudonyms; without it they last for this run"},
    {"passphrase-file", CLI_TEXT, "FILE", "opens a vault that is protected by a passphrase"},
    {"mode", CLI_TEXT, "MODE", "texts: tag, surrogate, or spans (offsets only); without it the policy's, else tag"},
    {"offsets", CLI_TEXT, "UNIT", "texts: spans in codepoints (default) or bytes"},
    {"text-config", CLI_TEXT, "FILE", "texts: another configuration than the policy's or policy/text.json"},
    {"no-text", CLI_FLAG, NULL, "fhir: drop narrative, notes and other free text, whatever the policy says"},
    {"names", CLI_TEXT, "HOW",
     "images: the files' new names are their new UIDs (uid, the default) or the old names (keep), which may name patients"},
    {0}};

static const struct {
  const char *kind;
  int (*run)(struct cli *c, struct error *e);
} kinds[] = {{"text", cli_deid_text}, {"fhir", cli_deid_fhir}, {"vcf", cli_deid_vcf}, {"dicom", cli_deid_dicom}, {NULL, NULL}};

static int run(struct cli *c, struct error *e) {
  const char *kind = cli_text(c, "from", NULL);
  if (!kind) return error_set(e, E_USAGE, "--from says what the input is: text, fhir, dicom or vcf");
  if (strcmp(c->arg[0], "-") != 0 && !file_exists(c->arg[0])) return error_set(e, E_NOTFOUND, "there is nothing at %s", c->arg[0]);
  bool streamed = strcmp(kind, "text") == 0 || strcmp(c->arg[0], "-") == 0; /* a pipe will do */
  if (!streamed && !file_is_dir(c->arg[0]) && !file_is_regular(c->arg[0])) return error_set(e, E_INPUT, "%s is no regular file", c->arg[0]);
  for (size_t i = 0; kinds[i].kind; i++)
    if (strcmp(kind, kinds[i].kind) == 0) return kinds[i].run(c, e);
  return error_set(e, E_USAGE, "--from is text, fhir, dicom or vcf");
}

const struct command command_deid = {"deid", "IN OUT --from KIND", "take identifiers out of files, without a site", options, 2, 2, run};
