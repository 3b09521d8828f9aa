/* vitae audit SITE: the proof after the fact. Opens the vault, reads everything behind the wall again, and says where anybody's identifier
 * stands, or that none does. */
#include "cli/cli_audit.h"

#include <stdio.h>

#include "base/file.h"
#include "cli/cli_commands.h"
#include "cli/cli_risk.h"
#include "cli/cli_sheet.h"
#include "cli/cli_site.h"
#include "deid/deid.h"

static const struct cli_option options[] = {
    {"passphrase-file", CLI_TEXT, "FILE", "opens a vault that is protected by a passphrase"},
    {"risk", CLI_FLAG, NULL, "instead: how far what remains singles persons out (needs no vault); writes reports/risk-GENERATION"},
    {"sheet", CLI_INTEGER, "N:1..100000", "instead: draw N texts for two people to read (vault/review-GENERATION.csv)"},
    {"score", CLI_TEXT, "SHEET", "instead: recall from a sheet that was filled in, with its exact bound"},
    {0}};

/* Words that prove nothing alone: the program's own list, and the scrubber's list of ordinary words where it is there. */
static int load_words(struct audit_search *s, struct error *e) {
  static const char *const lists[] = {"policy/audit-words.txt", "policy/lists/words.txt.zst"};
  char path[4096];
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    TRY(file_join(path, sizeof path, file_data_dir(), lists[i], e));
    if (i == 0 || file_exists(path)) TRY(audit_search_words(s, path, i == 0, e));
  }
  return OK;
}

static int load_vault(struct cli *c, const struct site *s, struct audit_search *search, struct error *e) {
  struct arena a;
  struct vault *vault = NULL;
  char dir[4096], *phrase;
  arena_init(&a, 1 << 20, ARENA_WIPE);
  int rc;
  TRY_OUT(cli_passphrase(c, &a, &phrase, e));
  TRY_OUT(site_path(s, dir, "vault", NULL));
  TRY_OUT(vault_open(dir, phrase, &vault, e));
  rc = audit_search_vault(search, vault, e);
out:
  if (vault) vault_close(vault);
  arena_free(&a);
  return rc;
}

static void run_free(struct audit_run *a) {
  audit_search_free(a->search);
  map_release(&a->index);
  arena_free(&a->arena);
  mem_free(a->spot);
}

static int run(struct cli *c, struct error *e) {
  struct site s;
  struct audit_run a = {.site = &s, .file = "", .column = ""};
  TRY(site_open(c->arg[0], &s, e));
  if (cli_flag(c, "risk")) return cli_risk(c, &s, e);
  if (cli_value(c, "sheet")->given) return cli_sheet(c, &s, e);
  if (cli_text(c, "score", NULL)) return cli_score(c, cli_text(c, "score", NULL), e);
  map_init(&a.index, 256 << 20);
  arena_init(&a.arena, 256 << 20, 0);
  int rc = audit_search_new(&a.search, e);
  if (rc == OK) rc = load_words(a.search, e);
  if (rc == OK) rc = load_vault(c, &s, a.search, e);
  if (rc == OK) rc = audit_search_seal(a.search, e);
  if (rc == OK) {
    a.persons = audit_search_persons(a.search);
    a.variants = audit_search_variants(a.search);
    a.memory = audit_search_memory(a.search);
    rc = audit_site(&a, e);
  }
  if (rc == OK) rc = audit_report(c, &a, e);
  uint64_t strong = a.strong;
  run_free(&a);
  TRY(rc);
  if (!strong) return OK;
  c->json = false; /* the object is out already: the words go to standard error */
  return error_set(e, E_DENIED, "%llu identifiers were found behind the wall; the places are in reports/", (unsigned long long)strong);
}

const struct command command_audit = {"audit", "SITE", "look for every identifier of the vault in everything behind the wall", options, 1,
                                      1,       run};
