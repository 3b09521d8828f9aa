#include "serve/serve_ehr.h"

#include <string.h>

#include "base/file.h"
#include "base/time.h"
#include "serve/serve_shared.h"
#include "serve/serve_token.h"

enum { CLIENTS = 8, AUDIENCES = 8, SERVERS = FETCH_BASES / 2, LIFE_S = 600, LEEWAY_S = 60, MINUTES = 60 };

struct client {
  char issuer[512], algorithms[16], audience[AUDIENCES][512], tenant[TENANT_MOST + 1];
  int audiences;
  struct jwks *keys;
};
struct ehr {
  char base[512], origins[2048];
  struct str server[SERVERS]; /* in the arena */
  int servers;
  struct fetcher *fetcher;
  bool open, has_smart;
  struct client client[CLIENTS];
  int clients;
  struct ehr_smart smart;
  struct arena arena;
};

const char *ehr_base(const struct ehr *r) { return r ? r->base : ""; }
bool ehr_cds_open(const struct ehr *r) { return r && r->open; }
struct fetcher *ehr_fetcher(const struct ehr *r) {
  return r ? r->fetcher : NULL;
}
const struct ehr_smart *ehr_smart(const struct ehr *r) { return r && r->has_smart ? &r->smart : NULL; }

static bool listed(const char *list, struct str word) {
  struct str rest = str_c(list);
  while (word.n && rest.n)
    if (str_eq(str_cut(&rest, ' '), word)) return true;
  return false;
}
bool ehr_origin(const struct ehr *r, struct str origin) { return r && listed(r->origins, origin); }

static struct str no_slash(struct str s) {
  while (s.n && s.p[s.n - 1] == '/') s.n--;
  return s;
}
bool ehr_fhir(const struct ehr *r, struct str base) {
  if (!r || !r->fetcher || !fetch_allowed(r->fetcher, base)) return false;
  for (int i = 0; i < r->servers; i++)
    if (str_starts(base, r->server[i]) && (base.n == r->server[i].n || base.p[r->server[i].n] == '/')) return true;
  return false;
}

/* ---- the file ---- */

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

static int text(struct json j, const char *key, char *out, size_t size, bool needed, struct error *e) {
  struct str s = json_str(json_get(j, key));
  if ((json_kind(json_get(j, key)) != JSON_NONE && !s.p) || (needed && !s.n) || s.n >= size || (s.n && memchr(s.p, 0, s.n)))
    return bad(e, key, "expected a text, and not so long a one");
  if (s.n) snprintf(out, size, "%.*s", STR_ARG(s));
  return OK;
}

/* A file named in this one lies beside it. */
static int beside(struct ehr *r, const char *file, struct json j, const char *key, const char **out, struct error *e) {
  char name[1024] = "", path[2048];
  TRY(text(j, key, name, sizeof name, false, e));
  *out = NULL;
  if (!name[0]) return OK;
  fetch_beside(file, name, path);
  *out = str_copy(&r->arena, (struct str){path, strlen(path) + 1}).p;
  return *out ? OK : error_set(e, E_NOMEM, "out of memory");
}

static int take_algorithms(struct json list, struct client *k, struct error *e) {
  struct json item;
  size_t n = 0;
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    struct str s = json_str(item);
    if ((!str_eqc(s, "ES384") && !str_eqc(s, "RS384")) || n > 6) return bad(e, "cds.clients.algorithms", "expected ES384, RS384 or both");
    n += (size_t)snprintf(k->algorithms + n, sizeof k->algorithms - n, "%s%.*s", n ? "," : "", STR_ARG(s));
  }
  if (!n) snprintf(k->algorithms, sizeof k->algorithms, "ES384,RS384");
  return OK;
}

static int take_client(struct ehr *r, const char *file, struct json j, const struct fetch_policy *as, struct error *e) {
  struct client *k = &r->client[r->clients];
  const char *source;
  struct json item;
  if (r->clients == CLIENTS) return error_set(e, E_LIMIT, "at most %d CDS clients", CLIENTS);
  r->clients++;
  TRY(text(j, "issuer", k->issuer, sizeof k->issuer, true, e));
  snprintf(k->tenant, sizeof k->tenant, "hospital");
  TRY(text(j, "tenant", k->tenant, sizeof k->tenant, false, e));
  if (!name_plain(str_c(k->tenant), TENANT_MOST)) return bad(e, "cds.clients.tenant", "expected letters, digits, '-', '_' and '.'");
  TRY(take_algorithms(json_get(j, "algorithms"), k, e));
  for (struct json_iter it = json_items(json_get(j, "audiences")); json_next(&it, &item);) {
    struct str s = json_str(item);
    if (!s.n || s.n >= sizeof *k->audience || k->audiences == AUDIENCES) return bad(e, "cds.clients.audiences", "expected a few addresses");
    snprintf(k->audience[k->audiences++], sizeof *k->audience, "%.*s", STR_ARG(s));
  }
  TRY(beside(r, file, j, "jwks", &source, e));
  if (!source) return bad(e, "cds.clients.jwks", "expected the address or file of the client's keys");
  if (!r->base[0] && !k->audiences) return bad(e, "base", "clients' tokens are for an address: say which, in \"base\" or \"audiences\"");
  return jwks_open(source, as, &k->keys, e);
}

static int take_list(struct ehr *r, struct json list, const char *field, const char *out[FETCH_BASES], int *n, struct error *e) {
  struct json item;
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    struct str s = no_slash(json_str(item));
    if (!s.n || *n == FETCH_BASES || memchr(s.p, 0, s.n)) return bad(e, field, "expected a list of addresses");
    char *p = arena_alloc(&r->arena, s.n + 1, 1);
    if (!p) return error_set(e, E_NOMEM, "out of memory");
    memcpy(p, s.p, s.n);
    p[s.n] = 0;
    out[(*n)++] = p;
  }
  return OK;
}

static int take_smart(struct ehr *r, const char *file, struct json j, struct error *e) {
  const char *secret;
  struct str bytes;
  int64_t minutes = MINUTES;
  if (json_kind(j) == JSON_NONE) return OK;
  if (!r->base[0] || !r->servers) return bad(e, "smart", "a SMART app needs \"base\" and \"fhir\"");
  snprintf(r->smart.scope, sizeof r->smart.scope, "openid fhirUser launch patient/*.rs");
  TRY(text(j, "client_id", r->smart.client, sizeof r->smart.client, true, e));
  TRY(text(j, "scope", r->smart.scope, sizeof r->smart.scope, false, e));
  TRY(beside(r, file, j, "secret_file", &secret, e));
  if (secret) {
    TRY(file_read(&r->arena, secret, sizeof r->smart.secret - 1, &bytes, e));
    bytes = str_trim(bytes);
    snprintf(r->smart.secret, sizeof r->smart.secret, "%.*s", STR_ARG(bytes));
  }
  if (json_kind(json_get(j, "minutes")) != JSON_NONE && (!json_i64(json_get(j, "minutes"), &minutes) || minutes < 1 || minutes > 720))
    return bad(e, "smart.minutes", "expected 1 to 720");
  r->smart.seconds = (int)minutes * 60;
  r->has_smart = true;
  return OK;
}

static int take_servers(struct ehr *r, struct json root, struct fetch_policy p, struct error *e) {
  const char *allow[FETCH_BASES];
  p.allow = allow;
  TRY(take_list(r, json_get(root, "fhir"), "fhir", allow, &p.allowed, e));
  if (p.allowed > SERVERS) return error_set(e, E_LIMIT, "at most %d FHIR servers", SERVERS);
  for (; r->servers < p.allowed; r->servers++) r->server[r->servers] = str_c(allow[r->servers]);
  TRY(take_list(r, json_get(json_get(root, "smart"), "authorization"), "smart.authorization", allow, &p.allowed, e));
  if (!p.allowed) return OK;
  int rc = fetcher_open(&p, &r->fetcher, e);
  return rc < 0 ? error_where(e, NULL, 0, "fhir") : OK;
}

static int take(struct ehr *r, const char *file, struct json root, struct error *e) {
  struct json cds = json_get(root, "cds"), item;
  const char *origin[FETCH_BASES];
  struct fetch_policy as = {0};
  int origins = 0;
  TRY(beside(r, file, root, "ca", &as.ca, e));
  TRY(beside(r, file, root, "cert", &as.cert, e));
  TRY(beside(r, file, root, "key", &as.key, e));
  TRY(text(root, "base", r->base, sizeof r->base, false, e));
  r->base[no_slash(str_c(r->base)).n] = 0;
  if (r->base[0] && !str_starts(str_c(r->base), STR("https://")) && !str_starts(str_c(r->base), STR("http://")))
    return bad(e, "base", "expected https://HOST[:PORT]");
  TRY(take_list(r, json_get(root, "origins"), "origins", origin, &origins, e));
  for (int i = 0; i < origins; i++) {
    size_t n = strlen(r->origins);
    if (strchr(origin[i], '*') || strchr(origin[i], ' ') || n + strlen(origin[i]) + 2 > sizeof r->origins)
      return bad(e, "origins", "expected origins, each by its whole name");
    snprintf(r->origins + n, sizeof r->origins - n, "%s%s", n ? " " : "", origin[i]);
  }
  (void)json_bool(json_get(cds, "open"), &r->open);
  for (struct json_iter it = json_items(json_get(cds, "clients")); json_next(&it, &item);) TRY(take_client(r, file, item, &as, e));
  TRY(take_servers(r, root, as, e));
  return take_smart(r, file, json_get(root, "smart"), e);
}

int ehr_open(const char *site, struct ehr **out, struct error *e) {
  char file[4096];
  struct arena a;
  struct json root;
  *out = NULL;
  TRY(file_join(file, sizeof file, site, "ehr.json", e));
  if (!file_exists(file)) return OK;
  struct ehr *r = mem_alloc(sizeof *r);
  if (!r) return error_set(e, E_NOMEM, "out of memory");
  memset(r, 0, sizeof *r);
  arena_init(&r->arena, 4 << 20, ARENA_WIPE); /* it reads a secret */
  arena_init(&a, 4 << 20, 0);
  int rc = json_load(&a, file, &root, e);
  if (rc == OK && json_kind(root) != JSON_OBJECT) rc = error_set(e, E_INPUT, "expected a JSON object");
  if (rc == OK) rc = take(r, file, root, e);
  arena_free(&a);
  if (rc < 0) {
    (void)error_where(e, file, 0, NULL);
    ehr_close(r);
  } else {
    *out = r;
  }
  return rc;
}

void ehr_close(struct ehr *r) {
  if (!r) return;
  for (int i = 0; i < r->clients; i++) jwks_close(r->client[i].keys);
  fetcher_close(r->fetcher);
  arena_free(&r->arena);
  mem_wipe(r, sizeof *r);
  mem_free(r);
}

/* ---- a client's token ---- */

static bool audience_is(const struct client *k, const char *called, struct str aud) {
  bool fits = called[0] && str_eqc(aud, called);
  for (int i = 0; i < k->audiences && !fits; i++) fits = str_eqc(aud, k->audience[i]);
  return fits;
}

static bool audience_fits(const struct client *k, const char *called, struct json aud) {
  struct json item;
  if (audience_is(k, called, json_str(aud))) return true;
  for (struct json_iter it = json_items(aud); json_next(&it, &item);)
    if (audience_is(k, called, json_str(item))) return true;
  return false;
}

/* Not for longer than ids are remembered, and not from the future. */
static bool life_fits(struct json claims, int64_t *over) {
  double exp, iat, now = (double)time_now() / 1e6;
  if (!token_in_time(claims) || !json_f64(json_get(claims, "exp"), &exp) || exp > now + LIFE_S) return false;
  *over = (int64_t)((exp + LEEWAY_S) * 1e6);
  return json_f64(json_get(claims, "iat"), &iat) && iat <= now + LEEWAY_S;
}

static int take_claims(struct ehr *r, struct shared *shared, const struct client *k, const char *path, struct json claims,
                       struct identity *who, struct error *e) {
  char called[sizeof r->base + 256] = "";
  int64_t over = 0;
  struct str jti = json_str(json_get(claims, "jti"));
  if (r->base[0]) snprintf(called, sizeof called, "%s%s", r->base, path);
  if (!audience_fits(k, called, json_get(claims, "aud")) || !life_fits(claims, &over) || !jti.n)
    return error_set(e, E_DENIED, "the token is not valid");
  TRY(shared_once(shared, str_c(k->issuer), jti, over, e));
  *who = (struct identity){.role = ROLE_EHR, .scopes = role_scopes[ROLE_EHR], .planes = role_plane[ROLE_EHR]};
  uint64_t h = hash64(k->issuer, strlen(k->issuer), 13);
  snprintf(who->key, sizeof who->key, "e%07llx", (unsigned long long)(h & 0xfffffff));
  snprintf(who->tenant, sizeof who->tenant, "%s", k->tenant);
  return OK;
}

int ehr_token(struct ehr *r, struct shared *shared, const char *path, struct str token, struct identity *who, struct error *e) {
  struct json_parser *jp = NULL;
  struct buf text = {0};
  struct json claims;
  TRY(json_parser_new(&jp, e));
  int rc = jwks_claims(token, jp, &text, &claims, e);
  struct str iss = rc == OK ? json_str(json_get(claims, "iss")) : STR_NONE;
  if (rc == OK) rc = error_set(e, E_DENIED, "the token is not valid");
  for (int i = 0; iss.n && i < r->clients && (rc == E_DENIED || rc == E_UNAVAILABLE); i++) {
    const struct client *k = &r->client[i];
    if (!str_eqc(iss, k->issuer)) continue;
    rc = jwks_verify(k->keys, token, k->algorithms, e);
    if (rc == OK) rc = take_claims(r, shared, k, path, claims, who, e);
  }
  if (text.p) mem_wipe(text.p, text.n);
  buf_release(&text);
  json_parser_free(jp);
  return rc;
}
