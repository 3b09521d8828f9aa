/* vitae init SITE */
#include <string.h>

#include "base/file.h"
#include "base/time.h"
#include "cli/cli_commands.h"
#include "cli/cli_identity.h"
#include "cli/cli_site.h"
#include "deid/deid.h"
#include "govern/site.h"

static const struct cli_option options[] = {
    {"name", CLI_TEXT, "NAME", "what the site is called (default: its directory's name)"},
    {"policy", CLI_TEXT, "POLICY", "de-identification policy: safe-harbor, expert (default), limited, or a file"},
    {"passphrase-file", CLI_TEXT, "FILE", "protect the vault by this passphrase instead of a key file"},
    {0}};

/* One that is there, of an init that was broken off or brought along, stays as it is: it must open. */
static int take_vault(const struct site *s, const char *phrase, char dir[4096], bool *kept, struct error *e) {
  char path[4096];
  struct vault *v;
  TRY(site_path(s, dir, "vault", NULL));
  TRY(site_path(s, path, "vault", "identities", NULL));
  *kept = file_exists(path);
  if (!*kept) return vault_create(dir, phrase, e);
  TRY(vault_open(dir, phrase, &v, e));
  vault_close(v);
  return OK;
}

static int run(struct cli *c, struct error *e) {
  const char *path = c->arg[0], *policy = cli_text(c, "policy", "expert");
  const char *slash = strrchr(path, '/'), *name = cli_text(c, "name", slash && slash[1] ? slash + 1 : path);
  char file[4096];
  struct deid_policy pol;
  TRY(site_find(NULL, "policy", policy, file, e));
  TRY(deid_policy_load(file, &pol, e));
  struct site s;
  char vault[4096], *phrase = NULL;
  bool kept = false;
  struct arena a;
  arena_init(&a, 1 << 20, ARENA_WIPE);
  int rc = cli_passphrase(c, &a, &phrase, e); /* before anything is made: a refused passphrase leaves no site behind */
  if (rc == OK) rc = site_prepare(path, &s, e);
  if (rc == OK) rc = take_vault(&s, phrase, vault, &kept, e);
  if (rc == OK) rc = cli_identity_init(&s, e);
  if (rc == OK) rc = site_init(path, name, policy, e); /* last: before it there is no site, and a second init goes on */
  arena_free(&a);
  TRY(rc);
  if (!c->json) {
    printf("Made the site %s with policy %s: %s\n", path, pol.name, pol.statement);
    if (kept) printf("The vault that was there already is kept.\n");
    printf("Its vault's key is in %s: keep a copy of it elsewhere, and nobody else's eyes on it.\n", vault);
    return OK;
  }
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "site", path);
  json_kv_c(&o, "policy", pol.name);
  json_kv_c(&o, "policy_hash", pol.hash);
  json_out_end(&o);
  rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

const struct command command_init = {"init", "SITE", "make a site: the directory that holds everything of one hospital", options, 1,
                                     1,      run};
