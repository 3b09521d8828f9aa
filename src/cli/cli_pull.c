/* vitae pull SITE URL: a FHIR server's bulk export through the wall. vitae smartkey SITE: the key by which the server knows this program. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_commands.h"
#include "cli/cli_identity.h"
#include "deid/deid.h"
#include "govern/site.h"
#include "serve/serve_bulk.h"
#include "serve/serve_fetch.h"
#include "serve/serve_backend.h"

static const struct cli_option pull_options[] = {
    {"group", CLI_TEXT, "ID", "the patients of this Group (default: all patients)"},
    {"system", CLI_FLAG, NULL, "everything that the server has, not only patients' resources"},
    {"types", CLI_TEXT, "LIST", "resource types, separated by commas (default: all)"},
    {"since", CLI_TEXT, "INSTANT", "what changed since then (default: since the last pull of the same kind)"},
    {"full", CLI_FLAG, NULL, "everything, also what an earlier pull brought"},
    {"client", CLI_TEXT, "FILE", "JSON: client_id, token_url, scope, key, ca, allow (docs/hospital-plane.md)"},
    {"keep", CLI_FLAG, NULL, "keep the files, which are identified, in SITE/inbox/bulk"},
    {"no-ingest", CLI_FLAG, NULL, "only download (with --keep)"},
    {"forget-deleted", CLI_FLAG, NULL, "patients whom the server has deleted are forgotten here too (vitae forget)"},
    {"patience", CLI_INTEGER, "MINUTES:1..1000000", "how long the server may work on it (default 1440)"},
    {"policy", CLI_TEXT, "POLICY", "of the ingest: policy other than the site's own"},
    {"split", CLI_TEXT, "RULE", "of the ingest"},
    {"passphrase-file", CLI_TEXT, "FILE", "opens a vault that is protected by a passphrase"},
    {0}};
static const struct cli_option smartkey_options[] = {{"algorithm", CLI_TEXT, "NAME", "ES384 (default) or RS384"}, {0}};

struct pull {
  struct site site;
  struct arena a;
  char base[1024], dir[4096], since[64], types[1024];
  const char *client, *token_url, *scope, *key, *ca, *allow[FETCH_BASES];
  int allowed;
  struct fetcher *fetcher;
  struct backend *backend;
  struct bulk_options o;
  struct progress bar;
  uint64_t bytes;
};

/* ---- settings ---- */

static int take_base(struct pull *p, const char *url, struct error *e) {
  size_t n = strlen(url);
  while (n && url[n - 1] == '/') n--;
  if (n == 0 || n >= sizeof p->base) return error_set(e, E_USAGE, "the server's address is its FHIR base: https://ehr.example/fhir");
  memcpy(p->base, url, n);
  p->base[n] = 0;
  return OK;
}

/* "https://host:port": files and tokens often lie beside the base, on the same machine */
static const char *origin_of(struct pull *p) {
  const char *host = strstr(p->base, "://"), *end = host ? strchr(host + 3, '/') : NULL;
  return end ? arena_strndup(&p->a, p->base, (size_t)(end - p->base)) : p->base;
}

static int client_text(struct pull *p, struct json root, const char *name, const char **out, struct error *e) {
  struct json v = json_get(root, name);
  struct str s = json_str(v);
  if (json_kind(v) == JSON_NONE) return OK;
  if (!s.n || memchr(s.p, 0, s.n)) {
    (void)error_set(e, E_INPUT, "expected a text");
    return error_where(e, NULL, 0, name);
  }
  *out = arena_strndup(&p->a, s.p, s.n);
  return *out ? OK : error_set(e, E_NOMEM, "out of memory");
}

static int take_client(struct pull *p, const char *file, struct error *e) {
  struct json root, item;
  if (!file) return OK;
  int rc = json_load(&p->a, file, &root, e);
  if (rc == OK) rc = client_text(p, root, "client_id", &p->client, e);
  if (rc == OK) rc = client_text(p, root, "token_url", &p->token_url, e);
  if (rc == OK) rc = client_text(p, root, "scope", &p->scope, e);
  if (rc == OK) rc = client_text(p, root, "key", &p->key, e);
  if (rc == OK) rc = client_text(p, root, "ca", &p->ca, e);
  for (struct json_iter it = json_items(json_get(root, "allow")); rc == OK && json_next(&it, &item);) {
    struct str s = json_str(item);
    if (!s.n || p->allowed == FETCH_BASES) rc = error_set(e, E_INPUT, "allow is a list of at most %d addresses", FETCH_BASES - 1);
    if (rc == OK && !(p->allow[p->allowed++] = arena_strndup(&p->a, s.p, s.n))) rc = error_set(e, E_NOMEM, "out of memory");
  }
  if (rc == OK && !p->client) rc = error_set(e, E_INPUT, "client_id is missing");
  return rc < 0 ? error_where(e, file, 0, NULL) : OK;
}

static int open_backend(struct pull *p, struct error *e) {
  char path[4096];
  if (!p->client) return OK;
  TRY(site_path(&p->site, path, "vault", "smart.jwk", NULL));
  struct backend_options so = {
      .fhir = p->base, .token_url = p->token_url, .client = p->client, .scope = p->scope, .key = p->key ? p->key : path};
  if (!file_exists(so.key)) return error_set(e, E_NOTFOUND, "there is no key for this client; make one: vitae smartkey %s", p->site.path);
  return backend_open(&so, p->fetcher, &p->backend, e);
}

/* ---- what was pulled before ---- */

static int place(struct pull *p, struct error *e) {
  struct buf b = {0};
  uint8_t digest[32];
  char name[17];
  buf_printf(&b, "%s\n%d\n%s\n%s", p->base, (int)p->o.level, p->o.group ? p->o.group : "", p->types);
  TRY(buf_check(&b, e));
  sha256_of(b.p, b.n, digest);
  buf_release(&b);
  hash_hex(digest, 8, name);
  TRY(site_path(&p->site, p->dir, "inbox", "bulk", name, NULL));
  return file_mkdirs(p->dir, 0700, e);
}

static int since_path(const struct pull *p, char out[4096], struct error *e) { return file_join(out, 4096, p->dir, "since.json", e); }

static int recall_since(struct pull *p, struct error *e) {
  char path[4096];
  struct json root;
  TRY(since_path(p, path, e));
  if (!file_exists(path)) return OK;
  TRY(json_load(&p->a, path, &root, e));
  struct str s = json_str(json_get(root, "since"));
  if (s.n && s.n < sizeof p->since) snprintf(p->since, sizeof p->since, "%.*s", STR_ARG(s));
  return OK;
}

static int note_since(const struct pull *p, const char *time, struct error *e) {
  char path[4096];
  struct buf b = {0};
  TRY(since_path(p, path, e));
  buf_printf(&b, "{\"since\":\"%s\"}\n", time); /* plain: the manifest's instant was checked */
  int rc = buf_check(&b, e);
  if (rc == OK) rc = file_write_atomic(path, b.p, b.n, 0600, e);
  buf_release(&b);
  return rc;
}

/* ---- what came ---- */

static void tell(void *ctx, const char *what, uint64_t bytes) {
  struct pull *p = ctx;
  p->bytes += bytes;
  progress_update(&p->bar, p->bytes, what);
}

struct types { /* how many of which */
  char name[64][65];
  uint64_t n[64];
  int count;
  char **patient;
  int patients, room;
};

static void count_type(struct types *t, struct str type) {
  int i = 0;
  bool plain = type.n > 0 && type.n <= 64;
  for (size_t k = 0; plain && k < type.n; k++) plain = (type.p[k] | 32) >= 'a' && (type.p[k] | 32) <= 'z';
  if (!plain) type = STR("other");
  while (i < t->count && !str_eqc(type, t->name[i])) i++;
  if (i == 64) return;
  if (i == t->count) snprintf(t->name[t->count++], sizeof t->name[0], "%.*s", STR_ARG(type));
  t->n[i]++;
}

static int add_patient(struct types *t, struct str id, struct error *e) {
  if (t->patients == t->room) {
    int room = t->room ? 2 * t->room : 64;
    char **more = mem_realloc(t->patient, (size_t)room * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "out of memory");
    t->patient = more, t->room = room;
  }
  char *copy = mem_alloc(id.n + 1);
  if (!copy) return error_set(e, E_NOMEM, "out of memory");
  memcpy(copy, id.p, id.n);
  copy[id.n] = 0;
  t->patient[t->patients++] = copy;
  return OK;
}

/* Deleted: Bundles whose entries say DELETE Type/id. Errors: OperationOutcomes, of which only the code is told. */
static int take_line(struct types *t, struct json root, bool deleted, struct error *e) {
  struct json item;
  if (!deleted) {
    for (struct json_iter it = json_items(json_get(root, "issue")); json_next(&it, &item);)
      count_type(t, json_str(json_get(item, "severity")));
    return OK;
  }
  for (struct json_iter it = json_items(json_get(root, "entry")); json_next(&it, &item);) {
    struct str rest = json_str(json_get(json_get(item, "request"), "url")), type = str_cut(&rest, '/');
    if (!str_eqc(json_str(json_get(json_get(item, "request"), "method")), "DELETE")) continue;
    count_type(t, type);
    if (str_eqc(type, "Patient") && rest.n && rest.n <= 64) TRY(add_patient(t, rest, e));
  }
  return OK;
}

static int read_side(struct pull *p, const char *name, bool deleted, struct types *t, struct error *e) {
  char dir[4096];
  struct str *files;
  size_t n;
  struct json_parser *jp;
  TRY(file_join(dir, sizeof dir, p->dir, name, e));
  if (!file_is_dir(dir)) return OK;
  TRY(file_list(&p->a, dir, &files, &n, e));
  TRY(json_parser_new(&jp, e));
  int rc = OK;
  for (size_t i = 0; rc == OK && i < n; i++) {
    struct stream s;
    struct str line;
    struct json root;
    rc = stream_open(&s, files[i].p, e);
    if (rc < 0) break;
    while ((rc = stream_line(&s, &line, e)) == OK)
      if (str_trim(line).n && json_parse(jp, line.p, line.n, line.n + STREAM_PAD, &root, NULL) == OK &&
          (rc = take_line(t, root, deleted, e)) < 0)
        break;
    stream_close(&s);
    if (rc == E_END) rc = OK;
  }
  json_parser_free(jp);
  return rc;
}

static void types_free(struct types *t) {
  for (int i = 0; i < t->patients; i++) mem_wipe(t->patient[i], strlen(t->patient[i])), mem_free(t->patient[i]);
  mem_free(t->patient);
}

/* ---- other commands, as if they had been typed ---- */

static int run_command(const struct command *command, char **words, int n, struct cli *like, struct error *e) {
  struct cli_value values[64] = {0};
  struct cli own = {0};
  TRY(cli_parse(command, n, words, &own, values, e));
  own.quiet = like->quiet;
  return command->run(&own, e);
}

static void pass_on(struct cli *c, const char *name, char *flag, char **words, int *n) {
  const char *value = cli_text(c, name, NULL);
  if (!value) return;
  words[(*n)++] = flag;
  words[(*n)++] = (char *)(uintptr_t)value;
}

static int ingest(struct cli *c, struct pull *p, struct error *e) {
  char dir[4096], *words[16];
  int n = 0;
  char from[] = "--from", fhir[] = "fhir", policy[] = "--policy", split[] = "--split", phrase[] = "--passphrase-file", json[] = "--json";
  TRY(file_join(dir, sizeof dir, p->dir, "files", e));
  words[n++] = p->site.path, words[n++] = dir, words[n++] = from, words[n++] = fhir;
  pass_on(c, "policy", policy, words, &n);
  pass_on(c, "split", split, words, &n);
  pass_on(c, "passphrase-file", phrase, words, &n);
  if (c->json) words[n++] = json;
  return run_command(&command_ingest, words, n, c, e);
}

/* Only the vault says who never came here: a command that finds no passphrase file, say, has looked for nobody. Several keys may be one's. */
static int known_subjects(struct cli *c, struct pull *p, const struct types *gone, int64_t *subject, int *n, struct error *e) {
  struct vault *v;
  int rc = OK;
  TRY(cli_vault(c, &p->site, &v, e));
  for (int i = 0; i < gone->patients && rc == OK; i++) {
    int k = 0;
    rc = vault_find(v, "fhir", str_c(gone->patient[i]), &subject[*n], e);
    if (rc == E_NOTFOUND) {
      rc = OK;
      continue;
    }
    while (k < *n && subject[k] != subject[*n]) k++;
    if (rc == OK && k == *n) ++*n;
  }
  vault_close(v);
  return rc;
}

static int forget_deleted(struct cli *c, struct pull *p, const struct types *gone, int *done, struct error *e) {
  char option[] = "--subject", phrase[] = "--passphrase-file", number[32];
  int known = 0;
  if (!gone->patients) return OK;
  int64_t *subject = arena_array(&p->a, int64_t, gone->patients);
  if (!subject) return error_set(e, E_NOMEM, "out of memory");
  TRY(known_subjects(c, p, gone, subject, &known, e));
  for (; *done < known; ++*done) {
    char *words[10];
    int n = 0;
    snprintf(number, sizeof number, "%lld", (long long)subject[*done]);
    words[n++] = p->site.path, words[n++] = option, words[n++] = number;
    pass_on(c, "passphrase-file", phrase, words, &n);
    TRY(run_command(&command_forget, words, n, c, e));
  }
  return OK;
}

static void say_types(const char *what, const struct types *t) {
  if (!t->count) return;
  fprintf(stderr, "%s:", what);
  for (int i = 0; i < t->count; i++) fprintf(stderr, "%s %s %llu", i ? "," : "", t->name[i], (unsigned long long)t->n[i]);
  fprintf(stderr, "\n");
}

/* ---- the command ---- */

static int settle(struct cli *c, struct pull *p, const struct bulk_result *r, struct error *e) {
  struct types gone = {0}, wrong = {0};
  int forgotten = 0;
  bool take = !cli_flag(c, "no-ingest");
  int rc = read_side(p, "deleted", true, &gone, e);
  if (rc == OK) rc = read_side(p, "errors", false, &wrong, e);
  if (rc == OK && take && r->lines[BULK_OUTPUT]) rc = ingest(c, p, e);
  if (rc == OK && take && !r->lines[BULK_OUTPUT] && !c->json) printf("Nothing new at the server.\n");
  if (rc == OK && cli_flag(c, "forget-deleted")) rc = forget_deleted(c, p, &gone, &forgotten, e);
  if (rc == OK) {
    say_types("Left out by the server, which says", &wrong);
    say_types("Deleted at the server", &gone);
    if (gone.count && (gone.count > 1 || strcmp(gone.name[0], "Patient") != 0 || !cli_flag(c, "forget-deleted")))
      fprintf(stderr,
              "What an earlier pull brought of these stays in the store until it is made anew (vitae pull --full into a new site)%s.\n",
              cli_flag(c, "forget-deleted") ? "" : "; for patients: --forget-deleted");
    if (forgotten) fprintf(stderr, "%d deleted patients are forgotten here too.\n", forgotten);
    rc = take ? note_since(p, r->time, e) : OK;
  }
  types_free(&gone), types_free(&wrong);
  return rc;
}

static int pull_all(struct cli *c, struct pull *p, struct error *e) {
  struct bulk_result r;
  progress_start(&p->bar, "pull", 0, PROGRESS_BYTES);
  int rc = bulk_export(&p->o, &r, e);
  progress_end(&p->bar, rc < 0 ? "stopped" : "downloaded");
  if (rc < 0) return rc;
  fprintf(stderr, "%llu resources in %llu files, as of the server's %s\n", (unsigned long long)r.lines[BULK_OUTPUT],
          (unsigned long long)r.files[BULK_OUTPUT], r.time);
  TRY(settle(c, p, &r, e));
  return bulk_done(&p->o, cli_flag(c, "keep"), e);
}

static int prepare(struct cli *c, struct pull *p, struct error *e) {
  const char *group = cli_text(c, "group", NULL), *since = cli_text(c, "since", NULL);
  TRY(site_open(c->arg[0], &p->site, e));
  TRY(take_base(p, c->arg[1], e));
  if (group && cli_flag(c, "system")) return error_set(e, E_USAGE, "--group or --system, not both");
  if (since && cli_flag(c, "full")) return error_set(e, E_USAGE, "--since or --full, not both");
  if (cli_flag(c, "no-ingest") && !cli_flag(c, "keep"))
    return error_set(e, E_USAGE, "--no-ingest wants --keep: else nothing would be left");
  for (const char *q = group; q && *q; q++)
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.", *q))
      return error_set(e, E_USAGE, "--group is the id of a Group");
  snprintf(p->types, sizeof p->types, "%s", cli_text(c, "types", ""));
  p->o = (struct bulk_options){.base = p->base,
                               .level = group                   ? BULK_GROUP
                                        : cli_flag(c, "system") ? BULK_SYSTEM
                                                                : BULK_PATIENT,
                               .group = group,
                               .types = p->types[0] ? p->types : NULL,
                               .patience_s = 60.0 * (double)cli_integer(c, "patience", 1440),
                               .tell = tell,
                               .ctx = p};
  TRY(take_client(p, cli_text(c, "client", NULL), e));
  TRY(place(p, e));
  if (since && !bulk_instant(str_c(since))) return error_set(e, E_USAGE, "--since is an instant: 2026-01-31T08:00:00Z");
  if (since)
    snprintf(p->since, sizeof p->since, "%s", since);
  else if (!cli_flag(c, "full"))
    TRY(recall_since(p, e));
  p->allow[p->allowed < FETCH_BASES ? p->allowed++ : FETCH_BASES - 1] = origin_of(p);
  TRY(fetcher_open(&(struct fetch_policy){.allow = p->allow, .allowed = p->allowed, .ca = p->ca}, &p->fetcher, e));
  p->o.since = p->since[0] ? p->since : NULL;
  p->o.dir = p->dir, p->o.fetcher = p->fetcher;
  TRY(open_backend(p, e));
  p->o.backend = p->backend;
  return OK;
}

static int run_pull(struct cli *c, struct error *e) {
  struct pull *p = mem_alloc(sizeof *p);
  char lock[4096];
  int fd = -1;
  if (!p) return error_set(e, E_NOMEM, "out of memory");
  memset(p, 0, sizeof *p);
  arena_init(&p->a, 64 << 20, ARENA_WIPE);
  int rc = prepare(c, p, e);
  if (rc == OK) rc = file_join(lock, sizeof lock, p->dir, ".lock", e);
  if (rc == OK) rc = file_lock(lock, &fd, e);
  if (rc == OK) rc = pull_all(c, p, e);
  if (fd >= 0) close(fd);
  backend_close(p->backend);
  fetcher_close(p->fetcher);
  arena_free(&p->a);
  mem_free(p);
  return rc;
}

static int run_smartkey(struct cli *c, struct error *e) {
  struct site s;
  char path[4096];
  struct buf b = {0};
  const char *algorithm = cli_text(c, "algorithm", NULL);
  TRY(site_open(c->arg[0], &s, e));
  TRY(site_path(&s, path, "vault", "smart.jwk", NULL));
  if (!file_exists(path) || algorithm) TRY(backend_key_new(path, algorithm ? algorithm : "ES384", e));
  int rc = backend_key_set(path, &b, e);
  if (rc == OK) rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

const struct command command_pull = {
    "pull", "SITE URL", "take records from a FHIR server by bulk export, what is new since the last time", pull_options, 2, 2, run_pull};
const struct command command_smartkey = {
    "smartkey", "SITE",      "the key by which FHIR servers know this program: make it once, print its public half", smartkey_options, 1,
    1,          run_smartkey};
