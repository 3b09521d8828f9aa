/* vitae serve SITE, vitae key SITE */
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "govern/site.h"
#include "serve/serve.h"

static const struct cli_option serve_options_table[] = {{"listen", CLI_TEXT, "HOST:PORT", "default 127.0.0.1:8080; port 0: any free one"},
                                                        {"model", CLI_TEXT, "VERSION", "default: the live version"},
                                                        {"tls-cert", CLI_TEXT, "FILE", "PEM certificate chain: serve HTTPS"},
                                                        {"tls-key", CLI_TEXT, "FILE", "PEM private key"},
                                                        {"insecure", CLI_FLAG, NULL, "plain HTTP on an address other than loopback"},
                                                        {"queue", CLI_INTEGER, "N", "requests that may wait (default 64); beyond: 429"},
                                                        {0}};
static const struct cli_option key_options[] = {
    {"role", CLI_TEXT, "ROLE", "viewer, clinician (default) or admin"},
    {"label", CLI_TEXT, "WORDS", "what the key is for"},
    {"list", CLI_FLAG, NULL, "list the keys instead: ids, roles, labels, never a key"},
    {"revoke", CLI_TEXT, "ID", "make a key invalid instead (a running server refuses it within a minute)"},
    {0}};

static void ready(void *ctx, int port) {
  const struct serve_options *o = ctx;
  const char *colon = strrchr(o->listen, ':');
  int host = colon ? (int)(colon - o->listen) : (int)strlen(o->listen);
  printf("Vitae serves %s://%.*s:%d/ (Ctrl-C stops it)\n", o->tls_cert ? "https" : "http", host, o->listen, port);
  fflush(stdout);
}

static int run_serve(struct cli *c, struct error *e) {
  struct site s;
  TRY(site_open(c->arg[0], &s, e));
  struct serve_options o = {.site = s.path,
                            .listen = cli_text(c, "listen", "127.0.0.1:8080"),
                            .version = cli_text(c, "model", NULL),
                            .tls_cert = cli_text(c, "tls-cert", NULL),
                            .tls_key = cli_text(c, "tls-key", NULL),
                            .insecure = cli_flag(c, "insecure"),
                            .queue = (int)cli_integer(c, "queue", 64),
                            .ready = ready};
  o.ctx = &o;
  return serve_run(&o, e);
}

static int list_keys(struct cli *c, const char *site, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  struct json root, item;
  struct json_parser *jp = NULL;
  json_out_init(&o, &b, false);
  int rc = key_list(site, &o, e);
  if (rc == OK && c->json) rc = cli_print_json(&b, e);
  if (rc == OK && !c->json) {
    buf_reserve(&b, 64);
    rc = json_parser_new(&jp, e);
    if (rc == OK) rc = json_parse(jp, b.p, b.n, b.cap, &root, e);
    struct table t;
    table_init(&t, 5, "id", "role", "label", "made", "revoked");
    if (rc == OK)
      for (struct json_iter it = json_items(root); json_next(&it, &item);) {
        static const char *const name[5] = {"id", "role", "label", "created", "revoked"};
        char cell[5][256];
        for (int i = 0; i < 5; i++) snprintf(cell[i], sizeof cell[i], "%.*s", STR_ARG(json_str(json_get(item, name[i]))));
        table_row(&t, cell[0], cell[1], cell[2], cell[3], cell[4]);
      }
    if (rc == OK) table_print(&t, stdout);
    table_release(&t);
  }
  json_parser_free(jp);
  buf_release(&b);
  return rc;
}

static int run_key(struct cli *c, struct error *e) {
  struct site s;
  char key[64];
  const char *name = cli_text(c, "role", "clinician");
  enum role role = ROLE_VIEWER;
  TRY(site_open(c->arg[0], &s, e));
  const char *revoke = cli_text(c, "revoke", NULL);
  if (revoke || cli_flag(c, "list")) {
    if (cli_text(c, "role", NULL) || cli_text(c, "label", NULL) || (revoke && cli_flag(c, "list")))
      return error_set(e, E_USAGE, "a key is made, listed or revoked: one of them");
    if (!revoke) return list_keys(c, s.path, e);
    TRY(key_revoke(s.path, revoke, e));
    printf(c->json ? "{\"revoked\":\"%s\"}\n" : "Key %s is revoked.\n", revoke);
    return OK;
  }
  while (role < ROLES && strcmp(role_name[role], name) != 0) role++;
  if (role == ROLES) return error_set(e, E_USAGE, "--role is viewer, clinician or admin");
  TRY(key_create(s.path, role, cli_text(c, "label", ""), key, e));
  if (c->json)
    printf("{\"key\":\"%s\",\"role\":\"%s\"}\n", key, name);
  else
    printf("%s\n", key);
  return OK;
}

const struct command command_serve = {"serve", "SITE", "answer over HTTP: the workbench and the API", serve_options_table, 1, 1, run_serve};
const struct command command_key = {
    "key", "SITE", "make an API key (printed once, stored only as a hash), list keys, revoke one", key_options, 1, 1, run_key};
