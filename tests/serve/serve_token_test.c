/* An issuer that takes its time: whose key is known goes on, one asks for the set, the others are told to come again. The clock is pretended. */
#include "serve_helper.h"

#include <cjose/cjose.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/file.h"
#include "base/time.h"
#include "serve/serve_ehr.h"
#include "serve/serve_token.h"

#define MINUTES(n) ((int64_t)(n)*60 * 1000000)

static struct issuer_peer {
  int fd, port;
  pthread_t thread;
  const char *_Atomic set;
  atomic_int asked;
  atomic_bool hold, left, stop; /* left: whoever asked has gone before the answer */
} peer;
static struct time_pretence clocks;
static cjose_jwk_t *key[2], *stranger; /* key ids "0", "1"; and another key that says it is "0" */
static char *token[2], *forged;
static struct buf set[2]; /* the first key; both */

static void *peer_main(void *ctx) {
  (void)ctx;
  for (;;) {
    int c = accept(peer.fd, NULL, NULL);
    char text[2048];
    size_t n = 0;
    ssize_t k;
    if (peer.stop || c < 0) return close(c), NULL;
    while (n + 1 < sizeof text && (k = recv(c, text + n, sizeof text - 1 - n, 0)) > 0) {
      text[n += (size_t)k] = 0;
      if (strstr(text, "\r\n\r\n")) break;
    }
    peer.asked++;
    while (peer.hold) {
      if (recv(c, text, 1, MSG_DONTWAIT | MSG_PEEK) == 0) peer.left = true;
      usleep(1000);
    }
    const char *json = peer.set;
    struct buf b = {0};
    buf_printf(&b, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", strlen(json), json);
    (void)!send(c, b.p, b.n, MSG_NOSIGNAL);
    buf_release(&b);
    close(c);
  }
}

static cjose_jwk_t *make_key(const char *id, char **signed_by) {
  cjose_err err;
  cjose_jwk_t *k = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &err);
  cjose_header_t *h = cjose_header_new(&err);
  const char *text;
  assert_true(k && h && cjose_jwk_set_kid(k, id, strlen(id), &err));
  assert_true(cjose_header_set(h, CJOSE_HDR_ALG, CJOSE_HDR_ALG_ES256, &err) && cjose_header_set(h, CJOSE_HDR_KID, id, &err));
  cjose_jws_t *s = cjose_jws_sign(k, h, (const uint8_t *)"{}", 2, &err);
  assert_true(s && cjose_jws_export(s, &text, &err));
  *signed_by = strdup(text);
  cjose_jws_release(s);
  cjose_header_release(h);
  return k;
}

static int setup(void **state) {
  (void)state;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  cjose_err err;
  key[0] = make_key("0", &token[0]), key[1] = make_key("1", &token[1]), stranger = make_key("0", &forged);
  for (int i = 0; i < 2; i++) {
    buf_puts(&set[i], "{\"keys\":[");
    for (int k = 0; k <= i; k++) {
      char *json = cjose_jwk_to_json(key[k], false, &err);
      buf_printf(&set[i], "%s%s", k ? "," : "", json);
      cjose_get_dealloc()(json);
    }
    buf_puts(&set[i], "]}");
    (void)buf_cstr(&set[i]);
  }
  peer.set = set[0].p;
  peer.fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(peer.fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(peer.fd, 16), 0);
  assert_int_equal(getsockname(peer.fd, (struct sockaddr *)&a, &n), 0);
  peer.port = ntohs(a.sin_port);
  time_pretend(&clocks);
  return pthread_create(&peer.thread, NULL, peer_main, NULL);
}
static int teardown(void **state) {
  (void)state;
  peer.stop = true;
  close(dial_port(peer.port));
  pthread_join(peer.thread, NULL);
  close(peer.fd);
  time_pretend(NULL);
  for (int i = 0; i < 2; i++) cjose_jwk_release(key[i]), free(token[i]), buf_release(&set[i]);
  cjose_jwk_release(stranger), free(forged);
  return 0;
}

static int verify(struct jwks *j, const char *t) { return jwks_verify(j, str_c(t), "ES256", NULL); }
static void later(int64_t by) { __atomic_fetch_add(&clocks.steady, by, __ATOMIC_SEQ_CST); }

struct asker_thread {
  struct jwks *j;
  const char *token;
  int rc;
};
static void *asker_main(void *ctx) {
  struct asker_thread *a = ctx;
  a->rc = verify(a->j, a->token);
  return NULL;
}
/* Somebody whose token makes the server ask; returns once the issuer has been asked, and keeps silent. */
static void begin(struct asker_thread *a, pthread_t *t) {
  int before = peer.asked;
  peer.left = false;
  peer.hold = true;
  assert_int_equal(pthread_create(t, NULL, asker_main, a), 0);
  while (peer.asked == before) usleep(1000);
}
static void end(pthread_t t) {
  peer.hold = false;
  pthread_join(t, NULL);
}

static struct jwks *open_set(void) {
  struct jwks *j;
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%d/keys", peer.port);
  assert_int_equal(jwks_open(url, NULL, &j, NULL), OK);
  return j;
}

static void known_keys_go_on_while_the_issuer_is_asked(void **state) {
  (void)state;
  pthread_t t;
  struct jwks *j = open_set();
  struct asker_thread a = {j, token[1], OK};
  peer.set = set[0].p;
  assert_int_equal(verify(j, token[0]), OK);
  bool whole = false;
  while (!whole) { /* on a very slow machine the asking may be over before we have looked: again */
    peer.set = set[0].p;
    later(MINUTES(2));
    begin(&a, &t); /* a key id that nobody knows */
    int asked = peer.asked, known = verify(j, token[0]), unknown = verify(j, token[1]), false_one = verify(j, forged);
    whole = !peer.left;
    peer.set = set[1].p;
    end(t);
    if (!whole) continue;
    assert_int_equal(known, OK);
    assert_int_equal(unknown, E_BUSY);
    assert_int_equal(false_one, E_DENIED);
    assert_int_equal(peer.asked, asked); /* one at a time */
  }
  assert_int_equal(a.rc, OK); /* the new set has its key */
  int asked = peer.asked;
  assert_int_equal(verify(j, token[1]), OK);
  assert_int_equal(verify(j, token[0]), OK);
  assert_int_equal(verify(j, forged), E_DENIED); /* and within the minute nobody is asked again */
  assert_int_equal(peer.asked, asked);
  jwks_close(j);
}

static void an_old_set_serves_while_it_is_renewed(void **state) {
  (void)state;
  pthread_t t;
  struct jwks *j = open_set();
  struct asker_thread a = {j, token[0], OK};
  peer.set = set[1].p;
  assert_int_equal(verify(j, token[0]), OK);
  for (bool whole = false; !whole;) {
    later(MINUTES(61));
    peer.set = set[1].p;
    begin(&a, &t);
    int known = verify(j, token[0]), other = verify(j, token[1]);
    whole = !peer.left;
    peer.set = set[0].p;
    end(t);
    assert_int_equal(a.rc, OK);
    if (whole) assert_int_equal(known, OK), assert_int_equal(other, OK);
  }
  assert_int_equal(verify(j, token[1]), E_DENIED); /* it was taken out */
  jwks_close(j);
}

static void before_the_first_set_there_is_nothing_to_judge_by(void **state) {
  (void)state;
  pthread_t t;
  peer.set = set[0].p;
  for (bool whole = false; !whole;) {
    struct jwks *j = open_set();
    struct asker_thread a = {j, token[0], OK};
    begin(&a, &t);
    int other = verify(j, token[0]);
    whole = !peer.left;
    end(t);
    if (whole) assert_int_equal(other, E_BUSY), assert_int_equal(a.rc, OK), assert_int_equal(verify(j, token[0]), OK);
    jwks_close(j);
  }
  peer.set = "no JSON";
  struct jwks *j = open_set();
  for (int i = 0; i < 2; i++) assert_int_equal(verify(j, token[0]), E_UNAVAILABLE); /* not "the token is not valid", which nobody knows */
  peer.set = set[0].p;
  later(MINUTES(1));
  assert_int_equal(verify(j, token[0]), OK);
  peer.set = "no JSON";
  later(MINUTES(61));
  assert_int_equal(verify(j, token[0]), OK); /* an old set is better than none */
  jwks_close(j);
}

/* cjose's reader takes the last of two members, and asserts where "=" stands inside one: what is handed on is what was looked at. */
static void a_set_with_members_twice_is_judged_by_the_first(void **state) {
  (void)state;
  cjose_err err;
  struct jwks *j;
  struct buf b = {0};
  char *json = cjose_jwk_to_json(key[0], false, &err);
  assert_non_null(strstr(json, "\"x\":"));
  buf_printf(&b, "{\"keys\":[%s,\"x\":\"A=AB\",\"kty\":\"RSA\",\"e\":7}]}", (json[strlen(json) - 1] = 0, json));
  assert_int_equal(jwks_bytes((struct str){buf_cstr(&b), b.n}, &j, NULL), OK);
  assert_int_equal(verify(j, token[0]), OK);
  jwks_close(j);
  buf_clear(&b);
  buf_printf(&b, "{\"keys\":[{\"x\":\"A=AB\",%s}]}", json + 1); /* the first is no number: no key */
  assert_int_equal(jwks_bytes((struct str){buf_cstr(&b), b.n}, &j, NULL), OK);
  assert_int_equal(verify(j, token[0]), E_DENIED);
  jwks_close(j);
  cjose_get_dealloc()(json);
  buf_release(&b);
}

/* An extension that the signer says must be understood (RFC 7515, 4.1.11). */
static void a_critical_extension_is_refused(void **state) {
  (void)state;
  cjose_err err;
  struct jwks *j;
  const char *text;
  assert_int_equal(jwks_bytes((struct str){set[0].p, set[0].n}, &j, NULL), OK);
  for (int crit = 0; crit < 2; crit++) {
    cjose_header_t *h = cjose_header_new(&err);
    assert_true(h && cjose_header_set(h, CJOSE_HDR_ALG, CJOSE_HDR_ALG_ES256, &err));
    assert_true(!crit || cjose_header_set_raw(h, "crit", "[\"exp\"]", &err));
    cjose_jws_t *s = cjose_jws_sign(key[0], h, (const uint8_t *)"{}", 2, &err);
    assert_true(s && cjose_jws_export(s, &text, &err));
    assert_int_equal(verify(j, text), crit ? E_DENIED : OK);
    cjose_jws_release(s);
    cjose_header_release(h);
  }
  jwks_close(j);
}

/* An audience that is empty, or no text, would be that of a token that names nobody. */
static void audiences_are_texts_and_not_empty(void **state) {
  (void)state;
  static const char *const lists[] = {"[\"https://vitae.test\"]",
                                      "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\"]",
                                      "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]",
                                      "[\"\"]",
                                      "[\"https://vitae.test\",\"\"]",
                                      "[7]",
                                      "[null]",
                                      "[[\"https://vitae.test\"]]",
                                      "[]",
                                      "\"https://vitae.test\""};
  char path[] = "/tmp/oidc-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    struct tokens *t = NULL;
    struct buf b = {0};
    buf_printf(&b, "{\"issuers\":[{\"issuer\":\"https://issuer.test\",\"audiences\":%s,\"jwks\":\"none.json\"}]}", lists[i]);
    assert_int_equal(file_write_atomic(path, b.p, b.n, 0600, NULL), OK);
    assert_int_equal(tokens_open(path, &t, NULL), i < 2 ? OK : E_INPUT);
    tokens_close(t);
    buf_release(&b);
  }
  unlink(path);
}

static void put_file(const char *dir, const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), OK);
}

static char *signed_claims(cjose_jwk_t *k, const char *claims) {
  cjose_err err;
  const char *text;
  cjose_header_t *h = cjose_header_new(&err);
  assert_true(h && cjose_header_set(h, CJOSE_HDR_ALG, CJOSE_HDR_ALG_ES384, &err));
  cjose_jws_t *s = cjose_jws_sign(k, h, (const uint8_t *)claims, strlen(claims), &err);
  assert_true(s && cjose_jws_export(s, &text, &err));
  char *out = strdup(text);
  cjose_jws_release(s);
  cjose_header_release(h);
  return out;
}

/* Two whom 28 bits of a hash took for one: quota, usage and audit go by it. */
static void no_two_users_are_one(void **state) {
  (void)state;
  static const char *const subject[2] = {"u387", "u17199"};
  char dir[] = "/tmp/oidc-XXXXXX", text[1024], path[256];
  struct identity who[2];
  struct tokens *tokens;
  cjose_err err;
  assert_non_null(mkdtemp(dir));
  cjose_jwk_t *k = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_384, &err);
  char *json = cjose_jwk_to_json(k, false, &err);
  snprintf(text, sizeof text, "{\"keys\":[%s]}", json);
  put_file(dir, "set.json", text);
  cjose_get_dealloc()(json);
  put_file(dir, "oidc.json",
           "{\"issuers\":[{\"issuer\":\"https://issuer.test\",\"audiences\":[\"https://vitae.test\"],\"role\":\"developer\","
           "\"algorithms\":[\"ES384\"],\"jwks\":\"set.json\"}]}");
  snprintf(path, sizeof path, "%s/oidc.json", dir);
  assert_int_equal(tokens_open(path, &tokens, NULL), OK);
  for (int i = 0; i < 2; i++) {
    snprintf(text, sizeof text, "{\"iss\":\"https://issuer.test\",\"aud\":\"https://vitae.test\",\"sub\":\"%s\",\"exp\":%lld}", subject[i],
             (long long)(time_now() / 1000000 + 60));
    char *t = signed_claims(k, text);
    assert_int_equal(token_check(tokens, PLANE_DEVELOPER, str_c(t), 1, &who[i], NULL), OK);
    free(t);
  }
  assert_int_equal(strlen(who[0].key), CALLER_ID);
  assert_string_not_equal(who[0].key, who[1].key);
  assert_string_not_equal(who[0].tenant, who[1].tenant);
  tokens_close(tokens);
  cjose_jwk_release(k);
  assert_int_equal(file_remove_tree(dir, NULL), OK);
}

/* ---- a hospital's own authority ---- */

/* The set in DIR/set.json is given out over https, by a certificate that DIR/ca.pem vouches for. */
static FILE *give_out(const char *dir, int *pid, int *port) {
  char line[512];
  snprintf(line, sizeof line,
           "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext "
           "subjectAltName=DNS:localhost -keyout key.pem -out ca.pem 2>/dev/null && echo pid $$ && "
           "exec openssl s_server -accept 127.0.0.1:0 -WWW -cert ca.pem -key key.pem 2>/dev/null",
           dir);
  FILE *f = popen(line, "r");
  assert_non_null(f);
  for (*pid = *port = 0; !*port && fgets(line, sizeof line, f);)
    if (sscanf(line, "pid %d", pid) != 1) (void)sscanf(line, "ACCEPT 127.0.0.1:%d", port);
  assert_true(*pid > 0 && *port > 0);
  return f;
}

static void an_authority_of_the_hospital_is_trusted_for_sets(void **state) {
  (void)state;
  char dir[] = "/tmp/jwks-XXXXXX", text[1024], path[256];
  int pid, port;
  cjose_err err;
  assert_non_null(mkdtemp(dir));
  cjose_jwk_t *k = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_384, &err);
  char *json = cjose_jwk_to_json(k, false, &err);
  snprintf(text, sizeof text, "{\"keys\":[%s]}", json);
  put_file(dir, "set.json", text);
  cjose_get_dealloc()(json);
  FILE *f = give_out(dir, &pid, &port);
  snprintf(text, sizeof text, "{\"iss\":\"https://issuer.test\",\"aud\":\"https://vitae.test\",\"sub\":\"s\",\"exp\":%lld}",
           (long long)(time_now() / 1000000 + 60));
  char *t = signed_claims(k, text);
  for (int ca = 0; ca < 2; ca++) {
    struct identity who;
    struct tokens *tokens;
    struct ehr *ehr;
    const char *with = ca ? "\"ca\":\"ca.pem\"," : "";
    snprintf(text, sizeof text,
             "{%s\"issuers\":[{\"issuer\":\"https://issuer.test\",\"audiences\":[\"https://vitae.test\"],\"role\":\"developer\","
             "\"algorithms\":[\"ES384\"],\"jwks\":\"https://localhost:%d/set.json\"}]}",
             with, port);
    put_file(dir, "oidc.json", text);
    snprintf(path, sizeof path, "%s/oidc.json", dir);
    assert_int_equal(tokens_open(path, &tokens, NULL), OK);
    assert_int_equal(token_check(tokens, PLANE_DEVELOPER, str_c(t), 1, &who, NULL), ca ? OK : E_UNAVAILABLE);
    tokens_close(tokens);
    snprintf(text, sizeof text,
             "{%s\"base\":\"https://vitae.test\",\"cds\":{\"clients\":[{\"issuer\":\"https://issuer.test\",\"jwks\":\"https://localhost:%d/"
             "set.json\"}]}}",
             with, port);
    put_file(dir, "ehr.json", text);
    assert_int_equal(ehr_open(dir, &ehr, NULL), OK);
    assert_int_equal(ehr_token(ehr, NULL, "/cds-services/x", str_c(t), &who, NULL), ca ? E_DENIED : E_UNAVAILABLE); /* its aud is another */
    ehr_close(ehr);
  }
  kill(pid, SIGTERM);
  (void)pclose(f);
  free(t);
  cjose_jwk_release(k);
  assert_int_equal(file_remove_tree(dir, NULL), OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(known_keys_go_on_while_the_issuer_is_asked),
                                     cmocka_unit_test(an_old_set_serves_while_it_is_renewed),
                                     cmocka_unit_test(before_the_first_set_there_is_nothing_to_judge_by),
                                     cmocka_unit_test(a_set_with_members_twice_is_judged_by_the_first),
                                     cmocka_unit_test(a_critical_extension_is_refused),
                                     cmocka_unit_test(audiences_are_texts_and_not_empty),
                                     cmocka_unit_test(no_two_users_are_one),
                                     cmocka_unit_test(an_authority_of_the_hospital_is_trusted_for_sets)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
