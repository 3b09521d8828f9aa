#include "serve/serve_token.h"

#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/time.h"

enum { ISSUERS = 8, AUDIENCES = 8, ROLE_WORDS = 16, LEEWAY_S = 60 };

struct issuer {
  char issuer[512], audience[AUDIENCES][256], algorithms[64], tenant_claim[64], models[MODELS_MOST + 1];
  struct {
    char word[128];
    enum role role;
  } role[ROLE_WORDS];
  int audiences, roles;
  enum role otherwise; /* ROLE_NONE: refused */
  int64_t requests_per_minute, tokens_per_minute;
  struct jwks *keys;
};
struct tokens {
  struct issuer issuer[ISSUERS];
  int n;
};

/* ---- the file ---- */

static int word(struct json j, const char *key, char *out, size_t size, bool needed, struct error *e) {
  struct str s = json_str(json_get(j, key));
  if ((needed && !s.n) || s.n >= size || (s.n && memchr(s.p, 0, s.n))) {
    (void)error_set(e, E_INPUT, "expected a text of at most %zu bytes", size - 1);
    return error_where(e, NULL, 0, key);
  }
  snprintf(out, size, "%.*s", (int)s.n, s.p ? s.p : "");
  return OK;
}

static int role_of(struct str s, enum role *out, struct error *e) {
  for (*out = ROLE_VIEWER; *out < ROLES; (*out)++)
    if (str_eqc(s, role_name[*out])) return OK;
  return error_set(e, E_INPUT, "a role is viewer, ehr, clinician, admin or developer");
}

static int take_algorithms(struct json list, char *out, size_t size, struct error *e) {
  struct json item;
  size_t n = 0;
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    struct str s = json_str(item);
    bool fits = s.n == 5 && (str_starts(s, STR("RS")) || str_starts(s, STR("PS")) || str_starts(s, STR("ES")));
    if (!fits || n + 7 > size) return error_set(e, E_INPUT, "algorithms are RS256 … ES512: signatures by a public key");
    n += (size_t)snprintf(out + n, size - n, "%s%.*s", n ? "," : "", STR_ARG(s));
  }
  if (!n) snprintf(out, size, "RS256");
  return OK;
}

static int take_issuer(struct json j, const char *base, const struct fetch_policy *as, struct issuer *i, struct error *e) {
  char source[1024], otherwise[16], path[2048];
  struct json item;
  struct str key;
  TRY(word(j, "issuer", i->issuer, sizeof i->issuer, true, e));
  TRY(word(j, "jwks", source, sizeof source, true, e));
  TRY(word(j, "tenant_claim", i->tenant_claim, sizeof i->tenant_claim, false, e));
  TRY(word(j, "models", i->models, sizeof i->models, false, e));
  TRY(word(j, "role", otherwise, sizeof otherwise, false, e));
  if (otherwise[0]) TRY(role_of(str_c(otherwise), &i->otherwise, e));
  TRY(take_algorithms(json_get(j, "algorithms"), i->algorithms, sizeof i->algorithms, e));
  for (struct json_iter it = json_items(json_get(j, "audiences")); json_next(&it, &item);) {
    struct str s = json_str(item); /* none is passed over: an empty one would be that of a token that names nobody */
    if (!s.n || s.n >= sizeof *i->audience || memchr(s.p, 0, s.n) || i->audiences == AUDIENCES)
      return error_set(e, E_INPUT, "\"audiences\" are at most %d texts of 1 to %zu bytes", AUDIENCES, sizeof *i->audience - 1);
    snprintf(i->audience[i->audiences++], sizeof *i->audience, "%.*s", STR_ARG(s));
  }
  if (!i->audiences) return error_set(e, E_INPUT, "an issuer needs its \"audiences\": whom its tokens are for");
  for (struct json_iter it = json_members(json_get(j, "roles")); json_next_member(&it, &key, &item) && i->roles < ROLE_WORDS; i->roles++) {
    snprintf(i->role[i->roles].word, sizeof i->role->word, "%.*s", STR_ARG(key));
    TRY(role_of(json_str(item), &i->role[i->roles].role, e));
  }
  (void)json_i64(json_get(j, "requests_per_minute"), &i->requests_per_minute);
  (void)json_i64(json_get(j, "tokens_per_minute"), &i->tokens_per_minute);
  fetch_beside(base, source, path);
  return jwks_open(path, as, &i->keys, e);
}

int tokens_open(const char *file, struct tokens **out, struct error *e) {
  struct arena a;
  struct json root, item;
  char ca[1024] = "", path[2048];
  struct fetch_policy as = {0};
  struct tokens *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "out of memory");
  memset(t, 0, sizeof *t);
  arena_init(&a, 4 << 20, 0);
  int rc = json_load(&a, file, &root, e);
  if (rc == OK) rc = word(root, "ca", ca, sizeof ca, false, e);
  if (ca[0]) fetch_beside(file, ca, path), as.ca = path;
  for (struct json_iter it = json_items(json_get(root, "issuers")); rc == OK && json_next(&it, &item);) {
    if (t->n == ISSUERS) rc = error_set(e, E_LIMIT, "at most %d issuers", ISSUERS);
    if (rc == OK) rc = take_issuer(item, file, &as, &t->issuer[t->n++], e);
  }
  if (rc == OK && t->n == 0) rc = error_set(e, E_INPUT, "expected {\"issuers\": [ … ]}");
  if (rc < 0) (void)error_where(e, file, 0, NULL);
  arena_free(&a);
  if (rc < 0)
    tokens_close(t);
  else
    *out = t;
  return rc;
}

void tokens_close(struct tokens *t) {
  if (!t) return;
  for (int i = 0; i < t->n; i++) jwks_close(t->issuer[i].keys);
  mem_free(t);
}

/* ---- a token ---- */

bool token_shape(struct str t) {
  int dots = 0;
  if (!str_starts(t, STR("eyJ"))) return false;
  for (size_t i = 0; i < t.n; i++) dots += t.p[i] == '.';
  return dots == 2;
}

static bool audience_fits(const struct issuer *i, struct json aud) {
  struct json item;
  for (int k = 0; k < i->audiences; k++) { /* none of which is empty */
    if (str_eqc(json_str(aud), i->audience[k])) return true;
    for (struct json_iter it = json_items(aud); json_next(&it, &item);)
      if (str_eqc(json_str(item), i->audience[k])) return true;
  }
  return false;
}

bool token_in_time(struct json claims) {
  double exp, nbf, now = (double)time_now() / 1e6;
  struct json before = json_get(claims, "nbf");
  if (!json_f64(json_get(claims, "exp"), &exp) || now > exp + LEEWAY_S) return false;
  if (json_kind(before) == JSON_NONE) return true;
  return json_f64(before, &nbf) && now >= nbf - LEEWAY_S;
}

/* Words of "roles" (a list) and of "scp" or "scope" (a text with spaces); the strongest role of the plane counts. */
static enum role best_role(const struct issuer *i, struct json claims, enum plane plane) {
  enum role best = i->otherwise != ROLE_NONE && (role_plane[i->otherwise] & plane) ? i->otherwise : ROLE_NONE;
  struct json item;
  for (int k = 0; k < i->roles; k++) {
    bool has = false;
    for (struct json_iter it = json_items(json_get(claims, "roles")); json_next(&it, &item);)
      has |= str_eqc(json_str(item), i->role[k].word);
    for (int n = 0; n < 2; n++) {
      struct str rest = json_str(json_get(claims, n ? "scope" : "scp"));
      while (rest.n) has |= str_eqc(str_cut(&rest, ' '), i->role[k].word);
    }
    if (has && (role_plane[i->role[k].role] & plane) && i->role[k].role > best) best = i->role[k].role;
  }
  return best;
}

static void tenant_of(const struct issuer *i, struct json claims, struct identity *who) {
  struct str t = i->tenant_claim[0] ? json_str(json_get(claims, i->tenant_claim)) : STR_NONE;
  if (t.p && name_plain(t, TENANT_MOST))
    snprintf(who->tenant, sizeof who->tenant, "%.*s", STR_ARG(t));
  else
    snprintf(who->tenant, sizeof who->tenant, "%s", who->key);
}

/* Quota, audit and the tenant of those without one go by it: no two users may have the same. The subject may be a person's address: never
 * kept. */
static void caller_of(const char *issuer, struct str sub, char out[CALLER_ID + 1]) {
  uint8_t digest[2][32];
  sha256_of(issuer, strlen(issuer), digest[0]);
  sha256_of(sub.p, sub.n, digest[1]);
  sha256_of(digest, sizeof digest, digest[0]);
  out[0] = 't';
  hash_hex(digest[0], 8, out + 1);
}

/* Of a token that the issuer has signed. */
static int take_claims(const struct issuer *i, enum plane plane, struct json claims, struct identity *who, struct error *e) {
  struct str sub = json_str(json_get(claims, "sub"));
  enum role role = best_role(i, claims, plane);
  if (!audience_fits(i, json_get(claims, "aud")) || !token_in_time(claims) || !sub.n)
    return error_set(e, E_DENIED, "the token is not valid");
  if (role == ROLE_NONE) return error_set(e, E_DENIED, "the token has no role here");
  *who = (struct identity){.role = role,
                           .scopes = role_scopes[role],
                           .planes = role_plane[role],
                           .requests_per_minute = i->requests_per_minute,
                           .tokens_per_minute = i->tokens_per_minute};
  caller_of(i->issuer, sub, who->key);
  snprintf(who->models, sizeof who->models, "%s", i->models);
  tenant_of(i, claims, who);
  return OK;
}

int token_check(struct tokens *t, enum plane plane, struct str token, uint64_t address, struct identity *who, struct error *e) {
  struct json_parser *jp = NULL;
  struct buf text = {0};
  struct json claims;
  (void)address;
  TRY(json_parser_new(&jp, e));
  int rc = jwks_claims(token, jp, &text, &claims, e);
  struct str iss = rc == OK ? json_str(json_get(claims, "iss")) : STR_NONE;
  if (rc == OK) rc = error_set(e, E_DENIED, "the token is not valid");
  for (int i = 0; iss.n && i < t->n && rc == E_DENIED; i++) { /* an issuer may stand there twice, for two audiences */
    if (!str_eqc(iss, t->issuer[i].issuer)) continue;
    rc = jwks_verify(t->issuer[i].keys, token, t->issuer[i].algorithms, e);
    if (rc == OK) rc = take_claims(&t->issuer[i], plane, claims, who, e);
  }
  if (text.p) mem_wipe(text.p, text.n);
  buf_release(&text);
  json_parser_free(jp);
  return rc;
}
