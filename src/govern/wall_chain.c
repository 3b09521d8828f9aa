#include "govern/wall_chain.h"

#include <dirent.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "govern/registry_private.h"

enum { STATEMENT_BYTES = 64 << 20, STATEMENTS_MAX = 1000000 };

struct statement {
  uint64_t number;
  char name[40]; /* "gen-000002" */
};

static int by_number(const void *a, const void *b) {
  const struct statement *x = a, *y = b;
  return x->number < y->number ? -1 : x->number > y->number;
}

/* "wall-gen-000002.json" -> gen-000002 */
static bool statement_of(const char *file, struct statement *out) {
  struct str s = str_c(file);
  int64_t n;
  if (!str_starts(s, STR("wall-gen-")) || !str_ends(s, STR(".json")) || s.n > 36) return false;
  struct str digits = {s.p + 9, s.n - 14};
  if (str_to_i64(digits, &n) < 0 || n < 0) return false;
  out->number = (uint64_t)n;
  snprintf(out->name, sizeof out->name, "gen-%.*s", STR_ARG(digits));
  return true;
}

/* Sorted by generation. */
static int list(const struct site *s, struct arena *a, struct statement **out, size_t *n, struct error *e) {
  char dir[4096];
  size_t cap = 64;
  *n = 0;
  *out = arena_array(a, struct statement, cap);
  TRY(site_path(s, dir, "reports", NULL));
  DIR *d = opendir(dir);
  if (!d) return errno == ENOENT ? OK : error_set(e, E_IO, "reports/ cannot be read");
  bool memory = *out != NULL;
  for (struct dirent *at; memory && *n < STATEMENTS_MAX && (at = readdir(d));) {
    struct statement one;
    if (!statement_of(at->d_name, &one)) continue;
    if (*n == cap) {
      struct statement *more = arena_array(a, struct statement, cap * 2);
      if (more) memcpy(more, *out, cap * sizeof *more);
      memory = more != NULL;
      cap *= 2;
      *out = more;
    }
    if (memory) (*out)[(*n)++] = one;
  }
  closedir(d);
  if (!memory) return error_set(e, E_NOMEM, "no memory for the list of statements");
  qsort(*out, *n, sizeof **out, by_number);
  return OK;
}

static int statement_path(const struct site *s, const char *generation, const char *suffix, char out[4096], struct error *e) {
  char name[64];
  snprintf(name, sizeof name, "wall-%.40s.%s", generation, suffix);
  return site_path(s, out, "reports", name, NULL) < 0 ? error_set(e, E_LIMIT, "a path in the site is too long") : OK;
}

static int head(struct registry *r, struct wall_link *out, struct error *e) {
  struct arena a;
  struct statement *at;
  size_t n;
  char path[4096];
  uint8_t digest[32];
  memset(out, 0, sizeof *out);
  hash_hex(r->public_key, sizeof r->public_key, out->signer);
  arena_init(&a, 256 << 20, 0);
  int rc = list(&r->site, &a, &at, &n, e);
  if (rc == OK && n) {
    rc = statement_path(&r->site, at[n - 1].name, "json", path, e);
    if (rc == OK) rc = sha256_file(path, digest, e);
    if (rc == OK) hash_hex(digest, 32, out->previous);
  }
  arena_free(&a);
  return rc;
}

int wall_chain_head(const char *site, struct wall_link *out, struct error *e) {
  struct registry *r;
  TRY(registry_read(site, &r, e));
  int rc = head(r, out, e);
  registry_close(r);
  return rc;
}

static int sign(struct registry *r, const char *generation, struct str json, struct error *e) {
  uint8_t signature[crypto_sign_BYTES];
  char path[4096], text[2 * crypto_sign_BYTES + 16] = "ed25519 ";
  crypto_sign_detached(signature, NULL, (const uint8_t *)json.p, json.n, r->secret_key);
  hash_hex(signature, sizeof signature, text + 8);
  strcat(text, "\n");
  /* the signature first: a crash between the two leaves a signature of nothing, which nobody reads */
  TRY(statement_path(&r->site, generation, "sig", path, e));
  TRY(file_write_atomic(path, text, strlen(text), 0644, e));
  TRY(statement_path(&r->site, generation, "json", path, e));
  return file_write_atomic(path, json.p, json.n, 0644, e);
}

int wall_chain_add(const char *site, const char *generation, struct str json, struct error *e) {
  struct registry *r;
  TRY(registry_open(site, &r, e));
  int rc = sign(r, generation, json, e);
  registry_close(r);
  return rc;
}

/* ---- verifying ---- */

struct verifier {
  struct registry *r;
  void (*finding)(void *, const char *);
  void *ctx;
  struct wall_chain_counts *counts;
  char previous[65];
  bool is_signed; /* a signed one has been seen */
};

static void PRINTF(3, 4) say(struct verifier *v, const struct statement *s, const char *fmt, ...) {
  char line[400];
  int n = snprintf(line, sizeof line, "reports/wall-%s.json: ", s->name);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
  va_end(ap);
  v->finding(v->ctx, line);
}

static bool signature_holds(const struct registry *r, struct arena *a, const char *path, struct str json) {
  struct str text;
  uint8_t signature[crypto_sign_BYTES];
  if (file_read(a, path, 4096, &text, NULL) < 0 || !str_starts(text, STR("ed25519 "))) return false;
  text.p += 8, text.n -= 8;
  text = str_trim(text);
  if (hash_unhex(text, signature, sizeof signature, NULL) < 0) return false;
  return crypto_sign_verify_detached(signature, (const uint8_t *)json.p, json.n, r->public_key) == 0;
}

/* The store's generation, while it is there, is the one that the statement speaks of. */
static int check_store(struct verifier *v, const struct statement *s, struct json root, struct error *e) {
  char path[4096], hex[65];
  uint8_t digest[32];
  struct str store = json_str(json_get(root, "store"));
  if (site_path(&v->r->site, path, "timelines", s->name, "manifest.json", NULL) < 0)
    return error_set(e, E_LIMIT, "a path in the site is too long");
  if (!file_exists(path)) return OK;
  TRY(sha256_file(path, digest, e));
  hash_hex(digest, 32, hex);
  if (!str_eqc(store, hex)) say(v, s, "speaks of another generation than the one in the store");
  return OK;
}

/* The page beside it is the one that was written with it. */
static int check_page(struct verifier *v, const struct statement *s, struct json root, struct error *e) {
  char path[4096], hex[65];
  uint8_t digest[32];
  struct str page = json_str(json_get(root, "page"));
  TRY(statement_path(&v->r->site, s->name, "html", path, e));
  if (!page.n || !file_exists(path)) return OK;
  TRY(sha256_file(path, digest, e));
  hash_hex(digest, 32, hex);
  if (!str_eqc(page, hex)) say(v, s, "the page beside it has been changed");
  return OK;
}

static int check_signed(struct verifier *v, const struct statement *s, struct arena *a, struct str json, struct json root,
                        struct error *e) {
  char path[4096];
  v->is_signed = true;
  TRY(statement_path(&v->r->site, s->name, "sig", path, e));
  if (!signature_holds(v->r, a, path, json)) say(v, s, "the signature does not hold");
  if (!str_eqc(json_str(json_get(root, "generation")), s->name)) say(v, s, "names another generation than its file does");
  if (!str_eqc(json_str(json_get(root, "previous")), v->previous)) say(v, s, "does not follow the statement before it");
  TRY(check_page(v, s, root, e));
  return check_store(v, s, root, e);
}

static int check_one(struct verifier *v, const struct statement *s, struct error *e) {
  char path[4096];
  struct arena a;
  struct str json;
  struct json_parser *jp = NULL;
  struct json root;
  int64_t format = 0;
  uint8_t digest[32];
  arena_init(&a, 2 * STATEMENT_BYTES, 0);
  int rc = statement_path(&v->r->site, s->name, "json", path, e);
  if (rc == OK) rc = file_read(&a, path, STATEMENT_BYTES, &json, e);
  if (rc == OK) rc = json_parser_new(&jp, e);
  if (rc == OK && json_parse(jp, json.p, json.n, json.n, &root, NULL) < 0) {
    say(v, s, "is no JSON document");
  } else if (rc == OK) {
    bool has = json_i64(json_get(root, "format"), &format);
    if (format > WALL_CHAIN_FORMAT)
      rc = error_set(e, E_VERSION, "a statement of format %lld; this program reads up to %d", (long long)format, WALL_CHAIN_FORMAT);
    if (rc == OK && has) rc = check_signed(v, s, &a, json, root, e);
    if (rc == OK && !has && v->is_signed) say(v, s, "is not signed, though one before it is");
    v->counts->unsigned_n += !has;
  }
  v->counts->statements++;
  if (rc == OK) sha256_of(json.p, json.n, digest), hash_hex(digest, 32, v->previous);
  json_parser_free(jp);
  arena_free(&a);
  return rc;
}

/* The store's current generation has its statement. */
static int check_newest(struct verifier *v, const struct statement *last, struct error *e) {
  char path[4096], line[128];
  struct arena a;
  struct str current;
  TRY(site_path(&v->r->site, path, "timelines", "CURRENT", NULL));
  if (!file_exists(path)) return OK;
  arena_init(&a, 1 << 16, 0);
  int rc = file_read(&a, path, 256, &current, e);
  if (rc == OK) {
    current = str_trim(current);
    bool has = last && str_eqc(current, last->name);
    if (!has && !str_eqc(current, "none")) {
      snprintf(line, sizeof line, "note: %.*s of the store has no statement in reports/: its ingest was stopped, or it was removed",
               STR_ARG(current));
      v->finding(v->ctx, line);
    }
  }
  arena_free(&a);
  return rc;
}

int wall_chain_verify(const char *site, void (*finding)(void *, const char *), void *ctx, struct wall_chain_counts *counts,
                      struct error *e) {
  struct verifier v = {.finding = finding, .ctx = ctx, .counts = counts};
  struct arena a;
  struct statement *at = NULL;
  size_t n = 0;
  *counts = (struct wall_chain_counts){0};
  TRY(registry_read(site, &v.r, e));
  arena_init(&a, 256 << 20, 0);
  int rc = list(&v.r->site, &a, &at, &n, e);
  for (size_t i = 0; rc == OK && i < n; i++) rc = check_one(&v, &at[i], e);
  if (rc == OK) rc = check_newest(&v, n ? &at[n - 1] : NULL, e);
  arena_free(&a);
  registry_close(v.r);
  return rc;
}
