/* Sets of public keys, by file or URL, and JWS checked against them (cjose). Whoever finds that a set must be asked for does so without its lock:
 * the keys that there are serve everybody else meanwhile. */
#include <cjose/cjose.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "serve/serve_fetch.h"
#include "serve/serve_token.h"

enum { KEYS_MOST = 32, SET_MOST = 1 << 20, TOKEN_MOST = 16 << 10 };
#define KEEP_SECONDS 3600.0
#define ASK_AGAIN_SECONDS 60.0
#define PATIENCE_NS 300000000L

struct key_set {
  cjose_jwk_t *key[KEYS_MOST];
  int n;
};
struct jwks {
  pthread_mutex_t mutex; /* over all that follows but source and fetcher, which stay as they are */
  pthread_cond_t asked_for;
  char source[1024];
  struct fetcher *fetcher; /* of a URL */
  struct key_set set;
  double read, asked; /* when the set was read; when it was last asked for */
  bool asking;
  struct timespec patience; /* until when those wait whom only the answer can help */
};

static bool is_url(const char *s) { return strncmp(s, "https://", 8) == 0 || strncmp(s, "http://", 7) == 0; }

static void drop_keys(struct key_set *s) {
  for (int i = 0; i < s->n; i++) cjose_jwk_release(s->key[i]);
  s->n = 0;
}

/* cjose's decoder asserts where "=" stands inside a text, or one digit is left over: nothing that others wrote goes there unseen. */
static bool base64url(struct str s) {
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i], l = c | 32;
    if (!(l >= 'a' && l <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_') return false;
  }
  return s.n % 4 != 1;
}

/* The public key alone, written anew: of a member that stands there twice cjose's reader (jansson) takes the last, ours the first. */
static bool put_key(struct json key, struct buf *b) {
  static const char *const names[] = {"kty", "crv", "kid", "n", "e", "x", "y"};
  struct json_out o;
  json_out_init(&o, b, false);
  json_out_object(&o);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct str s = json_str(json_get(key, names[i]));
    if (!s.p) continue;
    if (!names[i][1] && !base64url(s)) return false; /* names of one letter are numbers */
    json_kv_str(&o, names[i], s);
  }
  json_out_end(&o);
  return true;
}
static bool token_decodes(struct str t) {
  int parts = 0;
  for (; t.n; parts++)
    if (!base64url(str_cut(&t, '.'))) return false;
  return parts == 3;
}

/* Keys of other families (OKP, symmetric) are passed over: only RSA and EC ones are of use here. */
static int take_set(struct key_set *s, const char *text, size_t n, struct error *e) {
  struct json_parser *jp;
  struct json root, one;
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, text, n, n, &root, e);
  if (rc == OK && json_kind(json_get(root, "keys")) != JSON_ARRAY)
    rc = error_set(e, E_INPUT, "a key set is a JSON object with a list \"keys\"");
  for (struct json_iter it = json_items(json_get(root, "keys")); rc == OK && s->n < KEYS_MOST && json_next(&it, &one);) {
    struct str kty = json_str(json_get(one, "kty")), use = json_str(json_get(one, "use"));
    struct buf b = {0};
    cjose_err err;
    if ((!str_eqc(kty, "RSA") && !str_eqc(kty, "EC")) || (use.p && !str_eqc(use, "sig"))) continue;
    cjose_jwk_t *key = put_key(one, &b) && buf_check(&b, NULL) == OK ? cjose_jwk_import(b.p, b.n, &err) : NULL;
    if (key) s->key[s->n++] = key;
    buf_release(&b);
  }
  json_parser_free(jp);
  return rc;
}

static int read_set(const struct jwks *j, struct key_set *s, struct error *e) {
  int rc;
  if (j->fetcher) {
    struct fetch_answer a;
    rc = fetch(j->fetcher, &(struct fetch_request){.url = str_c(j->source), .timeout_ms = 5000, .most = SET_MOST}, &a, e);
    if (rc == OK && a.status != 200) rc = error_set(e, E_UNAVAILABLE, "the issuer's key set cannot be fetched");
    if (rc == OK) rc = take_set(s, a.body.p, a.body.n, e);
    fetch_release(&a);
  } else {
    struct arena a;
    struct str text;
    arena_init(&a, 2 * SET_MOST, 0);
    rc = file_read(&a, j->source, SET_MOST, &text, e);
    if (rc == OK) rc = take_set(s, text.p, text.n, e);
    arena_free(&a);
  }
  return rc;
}

/* With the lock before and after; nobody else asks by then. */
static bool ask(struct jwks *j) {
  struct key_set fresh = {0}, old;
  struct error e = {0};
  j->asking = true;
  j->asked = time_monotonic();
  clock_gettime(CLOCK_MONOTONIC, &j->patience);
  j->patience.tv_nsec += PATIENCE_NS;
  if (j->patience.tv_nsec >= 1000000000L) j->patience.tv_sec++, j->patience.tv_nsec -= 1000000000L;
  pthread_mutex_unlock(&j->mutex);
  int rc = read_set(j, &fresh, &e);
  if (rc < 0) log_failure(LOG_WARN, &e);
  pthread_mutex_lock(&j->mutex);
  if (rc == OK) old = j->set, j->set = fresh, fresh = old, j->read = j->asked;
  j->asking = false;
  pthread_cond_broadcast(&j->asked_for);
  drop_keys(&fresh);
  return rc == OK;
}

/* An issuer answers within a moment or hangs: who waits holds a thread that others need. */
static void wait_a_moment(struct jwks *j) {
  while (j->asking && pthread_cond_timedwait(&j->asked_for, &j->mutex, &j->patience) == 0) continue;
}

int jwks_open(const char *source, const struct fetch_policy *as, struct jwks **out, struct error *e) {
  struct jwks *j = mem_alloc(sizeof *j);
  if (!j) return error_set(e, E_NOMEM, "out of memory");
  memset(j, 0, sizeof *j);
  pthread_condattr_t steady;
  pthread_condattr_init(&steady);
  pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
  pthread_mutex_init(&j->mutex, NULL);
  pthread_cond_init(&j->asked_for, &steady);
  pthread_condattr_destroy(&steady);
  snprintf(j->source, sizeof j->source, "%s", source);
  j->read = j->asked = -1e9;
  const char *base = j->source;
  struct fetch_policy own = as ? *as : (struct fetch_policy){0};
  own.allow = &base, own.allowed = 1;
  int rc = is_url(source) ? fetcher_open(&own, &j->fetcher, e) : OK;
  if (rc < 0)
    jwks_close(j);
  else
    *out = j;
  return rc;
}

int jwks_bytes(struct str text, struct jwks **out, struct error *e) {
  TRY(jwks_open("", NULL, out, e));
  (*out)->read = (*out)->asked = 1e18; /* never asked for again */
  int rc = take_set(&(*out)->set, text.p ? text.p : "", text.n, e);
  if (rc < 0) jwks_close(*out), *out = NULL;
  return rc;
}

void jwks_close(struct jwks *j) {
  if (!j) return;
  drop_keys(&j->set);
  fetcher_close(j->fetcher);
  pthread_cond_destroy(&j->asked_for);
  pthread_mutex_destroy(&j->mutex);
  mem_free(j);
}

/* The algorithm must be on the list, asymmetric, and fit the key's family: none and HMAC with a public key as its secret are the classics. */
static bool alg_fits(const char *alg, const char *list, const cjose_jwk_t *key) {
  struct str rest = str_c(list);
  bool listed = false;
  cjose_err err;
  if (!alg || strlen(alg) != 5) return false;
  while (rest.n && !listed) listed = str_eqc(str_trim(str_cut(&rest, ',')), alg);
  bool rsa = strncmp(alg, "RS", 2) == 0 || strncmp(alg, "PS", 2) == 0, ec = strncmp(alg, "ES", 2) == 0;
  if (!listed || (!rsa && !ec)) return false;
  return !key || cjose_jwk_get_kty(key, &err) == (rsa ? CJOSE_JWK_KTY_RSA : CJOSE_JWK_KTY_EC);
}

/* *named: a key of the set has the token's key id. */
static bool try_keys(const struct key_set *s, cjose_jws_t *jws, const char *alg, const char *kid, const char *algorithms, bool *named) {
  *named = false;
  for (int i = 0; i < s->n; i++) {
    cjose_err err;
    const char *own = cjose_jwk_get_kid(s->key[i], &err);
    if (kid && own && strcmp(kid, own) != 0) continue;
    *named = *named || (kid && own);
    if (alg_fits(alg, algorithms, s->key[i]) && cjose_jws_verify(jws, s->key[i], &err)) return true;
  }
  return false;
}

/* With the lock. */
static int judge(struct jwks *j, cjose_jws_t *jws, const char *alg, const char *kid, const char *algorithms, struct error *e) {
  bool named, right;
  double now = time_monotonic();
  if (!j->asking && now - j->read > KEEP_SECONDS && now - j->asked > (j->read < 0 ? 1.0 : ASK_AGAIN_SECONDS)) (void)ask(j);
  right = try_keys(&j->set, jws, alg, kid, algorithms, &named); /* an old set is better than none while the issuer is away */
  if (!right && !named && j->asking) {
    wait_a_moment(j);
    right = try_keys(&j->set, jws, alg, kid, algorithms, &named);
  }
  if (!right && kid && !j->asking && now - j->asked > ASK_AGAIN_SECONDS && ask(j)) /* keys may have been rotated */
    right = try_keys(&j->set, jws, alg, kid, algorithms, &named);
  if (right) return OK;
  if (!named && j->asking) return error_set(e, E_BUSY, "the issuer is being asked for its keys; try again");
  if (j->read < 0) return error_set(e, E_UNAVAILABLE, "the issuer's key set cannot be had");
  return error_set(e, E_DENIED, "the token is not valid");
}

int jwks_claims(struct str token, struct json_parser *jp, struct buf *text, struct json *claims, struct error *e) {
  struct str rest = token;
  size_t n = 0;
  buf_clear(text);
  if (token.n <= TOKEN_MOST && token_decodes(token)) {
    (void)str_cut(&rest, '.');
    struct str coded = str_cut(&rest, '.');
    buf_reserve(text, coded.n + 64);
    TRY(buf_check(text, e));
    if (sodium_base642bin((unsigned char *)text->p, coded.n, coded.p, coded.n, NULL, &n, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) ==
        0) {
      text->n = n;
      if (json_parse(jp, text->p, text->n, text->cap, claims, e) >= 0) return OK;
    }
  }
  return error_set(e, E_DENIED, "the token is not valid");
}

int jwks_verify(struct jwks *j, struct str token, const char *algorithms, struct error *e) {
  cjose_err err;
  if (token.n > TOKEN_MOST || !token_decodes(token)) return error_set(e, E_DENIED, "the token is not valid");
  cjose_jws_t *jws = cjose_jws_import(token.p, token.n, &err);
  if (!jws) return error_set(e, E_DENIED, "the token is not valid");
  cjose_header_t *h = cjose_jws_get_protected(jws);
  const char *alg = cjose_header_get(h, CJOSE_HDR_ALG, &err), *kid = cjose_header_get(h, CJOSE_HDR_KID, &err);
  int rc = E_DENIED;
  char *critical = cjose_header_get_raw(h, "crit", &err); /* we know no extension, so none that must be understood (RFC 7515, 4.1.11) */
  if (!critical && alg_fits(alg, algorithms, NULL)) {
    pthread_mutex_lock(&j->mutex);
    rc = judge(j, jws, alg, kid, algorithms, e);
    pthread_mutex_unlock(&j->mutex);
  } else {
    (void)error_set(e, E_DENIED, "the token is not valid");
  }
  if (critical) cjose_get_dealloc()(critical);
  cjose_jws_release(jws);
  return rc;
}
