/* vitae versions SITE, vitae promote SITE VERSION --to STATE */
#include <pwd.h>
#include <unistd.h>

#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_site.h"
#include "govern/govern.h"
#include "govern/site.h"

static const struct cli_option no_options[] = {{0}};
static const struct cli_option promote_options[] = {{"to", CLI_TEXT, "STATE", "validated, shadow, live or retired: one step at a time"},
                                                    {"card", CLI_TEXT, "FILE", "also write the model card (HTML) there"},
                                                    {0}};

static int list(struct cli *c, struct registry *r, struct arena *a, struct error *e) {
  struct version *v;
  int n;
  TRY(registry_list(r, a, &v, &n, e));
  if (c->json) {
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b, false);
    json_out_array(&o);
    for (int i = 0; i < n; i++) {
      json_out_object(&o);
      json_kv_c(&o, "version", v[i].id);
      json_kv_c(&o, "state", version_state_name[v[i].state]);
      json_kv_c(&o, "created", v[i].created);
      json_kv_i64(&o, "reports", v[i].tasks);
      json_kv_i64(&o, "passing", v[i].passing);
      json_out_end(&o);
    }
    json_out_end(&o);
    int rc = cli_print_json(&b, e);
    buf_release(&b);
    return rc;
  }
  struct table t;
  table_init(&t, 5, "version", "state", "created", "reports", "passing");
  for (int i = 0; i < n; i++) {
    char id[16], reports[16], pass[16];
    snprintf(id, sizeof id, "%.12s", v[i].id);
    snprintf(reports, sizeof reports, "%d", v[i].tasks);
    snprintf(pass, sizeof pass, "%d", v[i].passing);
    table_row(&t, id, version_state_name[v[i].state], v[i].created, reports, pass);
  }
  table_print(&t, stdout);
  table_release(&t);
  return OK;
}

static int run_versions(struct cli *c, struct error *e) {
  struct site s;
  struct registry *r;
  struct arena a;
  TRY(site_open(c->arg[0], &s, e));
  TRY(registry_read(s.path, &r, e));
  arena_init(&a, 16 << 20, 0);
  int rc = list(c, r, &a, e);
  arena_free(&a);
  registry_close(r);
  return rc;
}

static int run_promote(struct cli *c, struct error *e) {
  struct site s;
  struct registry *r;
  enum version_state to;
  char dir[4096], id[65];
  TRY(site_open(c->arg[0], &s, e));
  const char *state = cli_text(c, "to", NULL), *card = cli_text(c, "card", NULL);
  if (!state && !card) return error_set(e, E_USAGE, "--to names the state: validated, shadow, live or retired");
  if (state) TRY(version_state_parse(str_c(state), &to, e));
  struct passwd *who = getpwuid(geteuid());
  TRY(registry_open(s.path, &r, e));
  int rc = registry_resolve(r, c->arg[1], dir, sizeof dir, id, e);
  if (rc == OK && state) rc = registry_promote(r, id, to, who ? who->pw_name : "unknown", e);
  if (rc == OK && card) rc = model_card_write(r, id, card, e);
  registry_close(r);
  if (rc == OK && !c->json && state) printf("Version %.12s is %s.\n", id, state);
  if (rc == OK && c->json) printf("{\"version\":\"%s\",\"state\":\"%s\"}\n", id, state ? state : "");
  return rc;
}

const struct command command_versions = {"versions", "SITE", "list the trained versions and their states", no_options, 1, 1, run_versions};
const struct command command_promote = {"promote",
                                        "SITE VERSION --to STATE",
                                        "move a version draft, validated, shadow, live; refused without a passing report",
                                        promote_options,
                                        2,
                                        2,
                                        run_promote};
