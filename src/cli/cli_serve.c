/* vitae serve SITE, vitae key SITE, vitae deploy SITE, vitae auditlog SITE */
#include <string.h>

#include "base/progress.h"
#include "cli/cli_commands.h"
#include "govern/site.h"
#include "serve/serve.h"

static const char database_help[] =
    "postgres://HOST/NAME, or @FILE with such a line (passwords belong there); default: SITE/database, else SQLite";
static const struct cli_option serve_options_table[] = {
    {"listen", CLI_TEXT, "HOST:PORT", "the hospital's plane; default 127.0.0.1:8080; port 0: any free one"},
    {"developer-listen", CLI_TEXT, "HOST:PORT", "the developers' plane (OpenAI and Azure dialects); without it there is none"},
    {"mllp", CLI_TEXT, "HOST:PORT", "take HL7 v2 messages over MLLP (with the TLS options, over TLS)"},
    {"mllp-settings", CLI_TEXT, "FILE", "what becomes of them (docs/hospital-plane.md); default SITE/mllp.json, if there is one"},
    {"model", CLI_TEXT, "VERSION", "default: the live version"},
    {"database", CLI_TEXT, "URL", database_help},
    {"oidc", CLI_TEXT, "FILE", "trusted issuers of bearer tokens (docs/foundry.md)"},
    {"tls-cert", CLI_TEXT, "FILE", "PEM certificate chain: serve HTTPS"},
    {"tls-key", CLI_TEXT, "FILE", "PEM private key"},
    {"tls-client-ca", CLI_TEXT, "FILE", "PEM authority: clients must show a certificate of it"},
    {"insecure", CLI_FLAG, NULL, "plain HTTP, HL7 messages and results on addresses other than loopback"},
    {"cors", CLI_TEXT, "ORIGINS", "web origins that may call the developers' plane, separated by commas; default none"},
    {"user", CLI_TEXT, "NAME", "become this user once the sockets are bound"},
    {"queue", CLI_INTEGER, "N:1..1024", "requests that may wait (default 64); beyond: 429"},
    {"workers", CLI_INTEGER, "N:1..8", "model workers (default: cores, at most 8)"},
    {"streams", CLI_INTEGER, "N:1..64", "answers of one language model at a time (default 8)"},
    {"language-threads", CLI_INTEGER, "N:1..1024", "threads of a language model (default: cores)"},
    {"body-limit", CLI_INTEGER, "MIB:1..128", "largest body (default 8)"},
    {"drain", CLI_INTEGER, "SECONDS:0..3600", "at SIGTERM: time for the answers under way (default 30); the rest are told 503"},
    {0}};
static const struct cli_option key_options[] = {
    {"role", CLI_TEXT, "ROLE", "viewer, ehr (CDS services only), clinician (default), admin or developer"},
    {"label", CLI_TEXT, "WORDS", "what the key is for"},
    {"tenant", CLI_TEXT, "NAME", "whose it is: usage and queues are by tenant (default: the key's own)"},
    {"models", CLI_TEXT, "NAMES", "deployments that it may use, separated by commas (default: all)"},
    {"requests-per-minute", CLI_INTEGER, "N:1..1000000000", "quota; default none"},
    {"tokens-per-minute", CLI_INTEGER, "N:1..1000000000", "quota; default none"},
    {"days", CLI_INTEGER, "N:1..36500", "valid for so long; default for ever"},
    {"database", CLI_TEXT, "URL", database_help},
    {"list", CLI_FLAG, NULL, "list the keys instead: ids, roles, labels, never a key"},
    {"revoke", CLI_TEXT, "ID", "make a key invalid instead (a running server refuses it within a minute)"},
    {0}};
static const struct cli_option deploy_options[] = {
    {"to", CLI_TEXT, "VERSIONS", "VERSION[:WEIGHT],… that answer: live, or a version in shadow as candidate"},
    {"shadow", CLI_TEXT, "VERSION", "also answers the developers' requests, unseen; only the audit knows"},
    {"remove", CLI_FLAG, NULL, "take the name away"},
    {"database", CLI_TEXT, "URL", database_help},
    {0}};
static const struct cli_option auditlog_options[] = {
    {"from", CLI_INTEGER, "ROW:1..", "first row (default 1)"}, {"database", CLI_TEXT, "URL", database_help}, {0}};

static void ready(void *ctx, int port, int developer_port) {
  const struct serve_options *o = ctx;
  const char *const at[2] = {o->listen, o->developer_listen}, *scheme = o->tls_cert ? "https" : "http";
  int ports[2] = {port, developer_port};
  for (int i = 0; i < 2 && at[i]; i++) {
    const char *colon = strrchr(at[i], ':');
    int host = colon ? (int)(colon - at[i]) : (int)strlen(at[i]);
    printf(i ? "Developers: %s://%.*s:%d/openai/v1/\n" : "Vitae serves %s://%.*s:%d/ (Ctrl-C stops it)\n", scheme, host, at[i], ports[i]);
  }
  if (o->mllp_listen) {
    const char *colon = strrchr(o->mllp_listen, ':');
    printf("HL7 v2 (MLLP): %.*s:%d\n", colon ? (int)(colon - o->mllp_listen) : 0, o->mllp_listen, *o->mllp_port);
  }
  fflush(stdout);
}

static int run_serve(struct cli *c, struct error *e) {
  struct site s;
  TRY(site_open(c->arg[0], &s, e));
  int mllp_port = 0;
  int64_t drain = cli_integer(c, "drain", 30);
  struct serve_options o = {.site = s.path,
                            .listen = cli_text(c, "listen", "127.0.0.1:8080"),
                            .developer_listen = cli_text(c, "developer-listen", NULL),
                            .mllp_listen = cli_text(c, "mllp", NULL),
                            .mllp_settings = cli_text(c, "mllp-settings", NULL),
                            .mllp_port = &mllp_port,
                            .version = cli_text(c, "model", NULL),
                            .database = cli_text(c, "database", NULL),
                            .oidc = cli_text(c, "oidc", NULL),
                            .tls_cert = cli_text(c, "tls-cert", NULL),
                            .tls_key = cli_text(c, "tls-key", NULL),
                            .tls_client_ca = cli_text(c, "tls-client-ca", NULL),
                            .cors = cli_text(c, "cors", NULL),
                            .user = cli_text(c, "user", NULL),
                            .insecure = cli_flag(c, "insecure"),
                            .queue = (int)cli_integer(c, "queue", 64),
                            .workers = (int)cli_integer(c, "workers", 0),
                            .streams = (int)cli_integer(c, "streams", 0),
                            .language_threads = (int)cli_integer(c, "language-threads", 0),
                            .body_limit = (size_t)cli_integer(c, "body-limit", 8) << 20,
                            .drain_s = drain ? (int)drain : -1,
                            .ready = ready};
  o.ctx = &o;
  return serve_run(&o, e);
}

static int list_keys(struct cli *c, const char *site, const char *database, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  struct json root, item;
  struct json_parser *jp = NULL;
  json_out_init(&o, &b, false);
  int rc = key_list(site, database, &o, e);
  if (rc == OK && c->json) rc = cli_print_json(&b, e);
  if (rc == OK && !c->json) {
    buf_reserve(&b, 64);
    rc = json_parser_new(&jp, e);
    if (rc == OK) rc = json_parse(jp, b.p, b.n, b.cap, &root, e);
    struct table t;
    table_init(&t, 7, "id", "role", "tenant", "models", "label", "made", "revoked");
    if (rc == OK)
      for (struct json_iter it = json_items(root); json_next(&it, &item);) {
        static const char *const name[7] = {"id", "role", "tenant", "models", "label", "created", "revoked"};
        char cell[7][256];
        for (int i = 0; i < 7; i++) snprintf(cell[i], sizeof cell[i], "%.*s", STR_ARG(json_str(json_get(item, name[i]))));
        table_row(&t, cell[0], cell[1], cell[2], cell[3], cell[4], cell[5], cell[6]);
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
  const char *name = cli_text(c, "role", "clinician"), *database = cli_text(c, "database", NULL);
  enum role role = ROLE_VIEWER;
  TRY(site_open(c->arg[0], &s, e));
  const char *revoke = cli_text(c, "revoke", NULL);
  if (revoke || cli_flag(c, "list")) {
    if (cli_text(c, "role", NULL) || cli_text(c, "label", NULL) || (revoke && cli_flag(c, "list")))
      return error_set(e, E_USAGE, "a key is made, listed or revoked: one of them");
    if (!revoke) return list_keys(c, s.path, database, e);
    TRY(key_revoke(s.path, database, revoke, e));
    printf(c->json ? "{\"revoked\":\"%s\"}\n" : "Key %s is revoked.\n", revoke);
    return OK;
  }
  while (role < ROLES && strcmp(role_name[role], name) != 0) role++;
  if (role == ROLES) return error_set(e, E_USAGE, "--role is viewer, ehr, clinician, admin or developer");
  struct key_options o = {.database = database,
                          .role = role,
                          .label = cli_text(c, "label", ""),
                          .tenant = cli_text(c, "tenant", NULL),
                          .models = cli_text(c, "models", NULL),
                          .requests_per_minute = cli_integer(c, "requests-per-minute", 0),
                          .tokens_per_minute = cli_integer(c, "tokens-per-minute", 0),
                          .days = cli_integer(c, "days", 0)};
  TRY(key_create(s.path, &o, key, e));
  if (c->json)
    printf("{\"key\":\"%s\",\"role\":\"%s\"}\n", key, name);
  else
    printf("%s\n", key);
  return OK;
}

static int print_deployments(struct cli *c, const char *site, const char *database, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, !c->json);
  int rc = deployment_list(site, database, &o, e);
  if (rc == OK) rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

static int run_deploy(struct cli *c, struct error *e) {
  struct site s;
  struct deployment_options o = {
      .database = cli_text(c, "database", NULL), .to = cli_text(c, "to", NULL), .shadow = cli_text(c, "shadow", NULL)};
  TRY(site_open(c->arg[0], &s, e));
  if (c->args < 2) return print_deployments(c, s.path, o.database, e);
  if (cli_flag(c, "remove") == (o.to || o.shadow)) return error_set(e, E_USAGE, "give --to or --shadow, or --remove");
  if ((o.to && !o.to[0]) || (o.shadow && !o.shadow[0]))
    return error_set(e, E_USAGE, "--to and --shadow name versions; only --remove removes");
  TRY(deployment_set(s.path, c->arg[1], &o, e));
  if (!c->json) printf("Servers of this site follow within seconds (at once after SIGHUP).\n");
  return c->json ? print_deployments(c, s.path, o.database, e) : OK;
}

static int run_auditlog(struct cli *c, struct error *e) {
  struct site s;
  struct buf b = {0};
  TRY(site_open(c->arg[0], &s, e));
  int rc = audit_export(s.path, cli_text(c, "database", NULL), cli_integer(c, "from", 1), &b, e);
  if (rc == OK && b.n && fwrite(b.p, 1, b.n, stdout) != b.n) rc = error_set(e, E_IO, "the rows cannot be written");
  buf_release(&b);
  return rc;
}

const struct command command_serve = {
    "serve", "SITE",   "answer over HTTP: the workbench and the API; for developers, OpenAI's and Azure's dialects", serve_options_table, 1,
    1,       run_serve};
const struct command command_key = {
    "key", "SITE", "make an API key (printed once, stored only as a hash), list keys, revoke one", key_options, 1, 1, run_key};
const struct command command_deploy = {
    "deploy", "SITE [NAME]", "which versions answer to a name: weights, canary, shadow; without a name: list", deploy_options, 1,
    2,        run_deploy};
const struct command command_auditlog = {
    "auditlog", "SITE", "the audit chain as FHIR R4 AuditEvent resources, one a line", auditlog_options, 1, 1, run_auditlog};
