/* A client that shows who it is by signing. */
#include "serve/serve_backend.h"

#include <cjose/cjose.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "base/time.h"
#include "serve/serve_fetch.h"

enum { KEY_MOST = 64 << 10, RSA_BITS = 3072, ASSERTION_S = 240, MARGIN_S = 30, TOKEN_MOST = 16 << 10 };

struct backend {
  struct fetcher *fetcher;
  cjose_jwk_t *key;
  char fhir[1024], token_url[1024], client[256], scope[1024];
  struct buf token;
  double until;
};

/* ---- keys ---- */

static const char *algorithm_of(const cjose_jwk_t *key) {
  cjose_err err;
  cjose_jwk_kty_t kty = cjose_jwk_get_kty(key, &err);
  if (kty == CJOSE_JWK_KTY_RSA) return cjose_jwk_get_keysize(key, &err) >= 2048 ? "RS384" : NULL;
  return kty == CJOSE_JWK_KTY_EC && cjose_jwk_EC_get_curve(key, &err) == CJOSE_JWK_EC_P_384 ? "ES384" : NULL;
}

static int key_load(const char *path, cjose_jwk_t **out, struct error *e) {
  struct arena a;
  struct str text;
  cjose_err err;
  arena_init(&a, 4 * KEY_MOST, ARENA_WIPE);
  int rc = file_read(&a, path, KEY_MOST, &text, e);
  if (rc == OK && !(*out = cjose_jwk_import(text.p, text.n, &err))) rc = error_set(e, E_INPUT, "no JSON Web Key");
  if (rc == OK && !algorithm_of(*out)) {
    cjose_jwk_release(*out);
    rc = error_set(e, E_INPUT, "the key is neither of RSA with 2048 bits or more nor of the curve P-384");
  }
  if (rc < 0) (void)error_where(e, path, 0, NULL);
  arena_free(&a);
  return rc;
}

static int name_key(cjose_jwk_t *key, struct error *e) {
  cjose_err err;
  uint8_t digest[32];
  char kid[33];
  char *text = cjose_jwk_to_json(key, false, &err);
  if (!text) return error_set(e, E_NOMEM, "out of memory");
  sha256_of(text, strlen(text), digest);
  hash_hex(digest, 16, kid);
  cjose_get_dealloc()(text);
  return cjose_jwk_set_kid(key, kid, 32, &err) ? OK : error_set(e, E_NOMEM, "out of memory");
}

int backend_key_new(const char *path, const char *algorithm, struct error *e) {
  static const uint8_t f4[] = {1, 0, 1};
  cjose_err err;
  cjose_jwk_t *key = NULL;
  if (file_exists(path)) return error_set(e, E_USAGE, "there is a key already: the servers know this one");
  if (strcmp(algorithm, "ES384") == 0)
    key = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_384, &err);
  else if (strcmp(algorithm, "RS384") == 0)
    key = cjose_jwk_create_RSA_random(RSA_BITS, f4, sizeof f4, &err);
  else
    return error_set(e, E_USAGE, "the algorithm is ES384 or RS384");
  if (!key) return error_set(e, E_IO, "a key cannot be made");
  int rc = name_key(key, e);
  char *text = rc == OK ? cjose_jwk_to_json(key, true, &err) : NULL;
  if (rc == OK && !text) rc = error_set(e, E_NOMEM, "out of memory");
  if (rc == OK) rc = file_write_atomic(path, text, strlen(text), 0600, e);
  if (text) mem_wipe(text, strlen(text)), cjose_get_dealloc()(text);
  cjose_jwk_release(key);
  return rc;
}

int backend_key_set(const char *path, struct buf *jwks, struct error *e) {
  cjose_jwk_t *key;
  cjose_err err;
  TRY(key_load(path, &key, e));
  char *text = cjose_jwk_to_json(key, false, &err);
  size_t n = text ? strlen(text) : 0;
  if (n > 1) {
    buf_puts(jwks, "{\"keys\":[");
    buf_put(jwks, text, n - 1); /* without its last brace */
    buf_printf(jwks, ",\"use\":\"sig\",\"alg\":\"%s\",\"key_ops\":[\"verify\"]}]}", algorithm_of(key));
  }
  if (text) cjose_get_dealloc()(text);
  cjose_jwk_release(key);
  return n > 1 ? buf_check(jwks, e) : error_set(e, E_NOMEM, "out of memory");
}

/* ---- the assertion ---- */

static int claims(const struct backend *s, struct buf *out, struct error *e) {
  uint8_t random[16];
  char jti[33];
  struct json_out o;
  int64_t now = time_now() / 1000000;
  TRY(random_secret(random, sizeof random, e));
  hash_hex(random, sizeof random, jti);
  json_out_init(&o, out, false);
  json_out_object(&o);
  json_kv_c(&o, "iss", s->client);
  json_kv_c(&o, "sub", s->client);
  json_kv_c(&o, "aud", s->token_url);
  json_kv_i64(&o, "iat", now);
  json_kv_i64(&o, "exp", now + ASSERTION_S);
  json_kv_c(&o, "jti", jti);
  json_out_end(&o);
  return buf_check(out, e);
}

static int sign(const struct backend *s, struct buf *out, struct error *e) {
  struct buf text = {0};
  cjose_err err;
  const char *compact = NULL, *kid = cjose_jwk_get_kid(s->key, &err);
  TRY(claims(s, &text, e));
  cjose_header_t *h = cjose_header_new(&err);
  bool ok = h && cjose_header_set(h, CJOSE_HDR_ALG, algorithm_of(s->key), &err) && cjose_header_set(h, "typ", "JWT", &err) &&
            (!kid || cjose_header_set(h, CJOSE_HDR_KID, kid, &err));
  cjose_jws_t *jws = ok ? cjose_jws_sign(s->key, h, (const uint8_t *)text.p, text.n, &err) : NULL;
  if (jws && cjose_jws_export(jws, &compact, &err)) buf_puts(out, compact);
  cjose_jws_release(jws);
  if (h) cjose_header_release(h);
  buf_release(&text);
  return compact ? buf_check(out, e) : error_set(e, E_INPUT, "the key cannot sign: is it a private one?");
}

/* ---- tokens ---- */

static int discover(struct backend *s, struct error *e) {
  struct buf url = {0};
  struct fetch_answer a = {0};
  struct json_parser *jp = NULL;
  struct json root;
  if (s->token_url[0]) return OK;
  buf_printf(&url, "%s/.well-known/smart-configuration", s->fhir);
  int rc = buf_check(&url, e);
  if (rc == OK) rc = fetch(s->fetcher, &(struct fetch_request){.url = {url.p, url.n}, .accept = "application/json"}, &a, e);
  if (rc == OK && a.status != 200) rc = error_set(e, E_UNAVAILABLE, "the server tells no SMART configuration (%d)", a.status);
  if (rc == OK) rc = json_parser_new(&jp, e);
  if (rc == OK) rc = json_parse(jp, a.body.p, a.body.n, a.body.cap, &root, e);
  if (rc == OK) {
    struct str token = json_str(json_get(root, "token_endpoint"));
    if (!token.n || token.n >= sizeof s->token_url)
      rc = error_set(e, E_INPUT, "the server's SMART configuration names no token endpoint");
    else
      snprintf(s->token_url, sizeof s->token_url, "%.*s", STR_ARG(token));
  }
  json_parser_free(jp);
  fetch_release(&a);
  buf_release(&url);
  return rc;
}

static int take_token(struct backend *s, const struct fetch_answer *a, struct error *e) {
  struct json_parser *jp;
  struct json root;
  int64_t seconds = 300;
  if (a->status != 200) return error_set(e, E_DENIED, "the server gives this client no token (%d)", a->status);
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, a->body.p, a->body.n, a->body.cap, &root, e);
  struct str token = rc == OK ? json_str(json_get(root, "access_token")) : STR_NONE;
  if (rc == OK && (!token.n || token.n > TOKEN_MOST)) rc = error_set(e, E_INPUT, "the server's answer holds no token");
  if (rc == OK) {
    (void)json_i64(json_get(root, "expires_in"), &seconds);
    backend_forget(s);
    buf_str(&s->token, token);
    s->until = time_monotonic() + (double)seconds;
    rc = buf_check(&s->token, e);
  }
  json_parser_free(jp);
  return rc;
}

int backend_token(struct backend *s, struct str *token, struct error *e) {
  struct buf assertion = {0}, form = {0};
  struct fetch_answer a = {0};
  *token = (struct str){s->token.p, s->token.n};
  if (s->token.n && time_monotonic() + MARGIN_S < s->until) return OK;
  TRY(discover(s, e));
  int rc = sign(s, &assertion, e);
  if (rc == OK) {
    fetch_form(&form, "grant_type", STR("client_credentials"));
    fetch_form(&form, "scope", str_c(s->scope));
    fetch_form(&form, "client_assertion_type", STR("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
    fetch_form(&form, "client_assertion", (struct str){assertion.p, assertion.n});
    rc = buf_check(&form, e);
  }
  if (rc == OK)
    rc = fetch(s->fetcher,
               &(struct fetch_request){.url = str_c(s->token_url),
                                       .accept = "application/json",
                                       .type = "application/x-www-form-urlencoded",
                                       .body = {form.p, form.n}},
               &a, e);
  if (rc == OK) rc = take_token(s, &a, e);
  fetch_release(&a);
  if (assertion.p) mem_wipe(assertion.p, assertion.cap);
  if (form.p) mem_wipe(form.p, form.cap);
  buf_release(&assertion), buf_release(&form);
  *token = (struct str){s->token.p, s->token.n};
  return rc;
}

void backend_forget(struct backend *s) {
  if (s->token.p) mem_wipe(s->token.p, s->token.cap);
  buf_clear(&s->token);
  s->until = 0;
}

int backend_open(const struct backend_options *o, struct fetcher *f, struct backend **out, struct error *e) {
  struct backend *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "out of memory");
  memset(s, 0, sizeof *s);
  s->fetcher = f;
  snprintf(s->fhir, sizeof s->fhir, "%s", o->fhir);
  snprintf(s->token_url, sizeof s->token_url, "%s", o->token_url ? o->token_url : "");
  snprintf(s->client, sizeof s->client, "%s", o->client);
  snprintf(s->scope, sizeof s->scope, "%s", o->scope ? o->scope : "system/*.rs");
  int rc = key_load(o->key, &s->key, e);
  if (rc < 0)
    mem_free(s);
  else
    *out = s;
  return rc;
}

void backend_close(struct backend *s) {
  if (!s) return;
  backend_forget(s);
  buf_release(&s->token);
  cjose_jwk_release(s->key);
  mem_free(s);
}
