/* What may be asked of other machines, and what comes of answers that are long, late, cut or point elsewhere. The peer here speaks HTTP by hand. */
#include "serve_helper.h"

#include <pthread.h>
#include <stdatomic.h>

#include "serve/serve_fetch.h"

#define PATIENT .timeout_ms = 600000 /* on a slow machine too */

struct peer {
  int fd, port;
  pthread_t thread;
  char asked[4096];           /* the last request */
  const char *_Atomic answer; /* sent whole; NULL: none, the connection stays silent */
  atomic_bool stop;
};

static void *peer_main(void *ctx) {
  struct peer *p = ctx;
  for (;;) {
    int c = accept(p->fd, NULL, NULL);
    if (p->stop || c < 0) return close(c), NULL;
    size_t n = 0;
    ssize_t k;
    while (n + 1 < sizeof p->asked && (k = recv(c, p->asked + n, sizeof p->asked - 1 - n, 0)) > 0) {
      p->asked[n += (size_t)k] = 0;
      const char *end = strstr(p->asked, "\r\n\r\n"), *length = strcasestr(p->asked, "Content-Length: ");
      if (end && (size_t)(p->asked + n - end - 4) >= (length ? (size_t)atoi(length + 16) : 0)) break;
    }
    const char *answer = p->answer;
    if (answer)
      send_all(c, answer, strlen(answer));
    else
      while (recv(c, (char[16]){0}, 16, 0) > 0) {}
    close(c);
  }
}

static void peer_start(struct peer *p) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  memset(p, 0, sizeof *p);
  p->fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(p->fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(p->fd, 16), 0);
  assert_int_equal(getsockname(p->fd, (struct sockaddr *)&a, &n), 0);
  p->port = ntohs(a.sin_port);
  assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

static void peer_stop(struct peer *p) {
  p->stop = true;
  close(dial_port(p->port));
  pthread_join(p->thread, NULL);
  close(p->fd);
}

static struct fetcher *open_for(const char *base) {
  struct fetcher *f = NULL;
  assert_int_equal(fetcher_open(&(struct fetch_policy){.allow = &base, .allowed = 1}, &f, NULL), OK);
  return f;
}

static void only_what_is_allowed(void **state) {
  (void)state;
  struct fetcher *f = open_for("https://fhir.example.org/r4/");
  static const char *const yes[] = {"https://fhir.example.org/r4/Patient/1", "https://fhir.example.org/r4",
                                    "https://FHIR.example.org:443/r4/x?y=../z#a", "https://fhir.example.org/r4/x?subject=Patient%2F1"};
  static const char *const no[] = {"http://fhir.example.org/r4/Patient/1",
                                   "https://fhir.example.org/r4evil",
                                   "https://fhir.example.org/r4/../admin",
                                   "https://fhir.example.org/r4/%2e%2e/admin",
                                   "https://fhir.example.org/r4/%2E./admin",
                                   "https://fhir.example.org:8443/r4/x",
                                   "https://fhir.example.org@evil.example/r4/x",
                                   "https://a:b@fhir.example.org/r4/x",
                                   "https://fhir.example.org.evil.example/r4/x",
                                   "https://evil.example/https://fhir.example.org/r4/x",
                                   "file:///etc/passwd",
                                   "//fhir.example.org/r4/x",
                                   "https:/fhir.example.org/r4/x",
                                   "https:///fhir.example.org/r4/x",
                                   "https://fhir.example.org/r4/x y",
                                   "https://fhir.example.org\\@evil.example/r4/x",
                                   ""};
  assert_true(fetch_allowed(f, str_c(yes[0])) && fetch_allowed(f, str_c(yes[1])));
  for (size_t i = 0; i < sizeof no / sizeof *no; i++)
    if (fetch_allowed(f, str_c(no[i]))) fail_msg("allowed: %s", no[i]);
  struct fetch_answer a;
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(no[0])}, &a, NULL), E_DENIED);
  fetcher_close(f);
  static const char *const bad[] = {"http://fhir.example.org", "nothing", "ftp://127.0.0.1/", "https://"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(fetcher_open(&(struct fetch_policy){.allow = &bad[i], .allowed = 1}, &f, NULL), E_USAGE);
}

static void an_answer_comes_whole(void **state) {
  (void)state;
  struct peer p;
  char base[64], url[96];
  struct fetch_answer a;
  peer_start(&p);
  snprintf(base, sizeof base, "http://127.0.0.1:%d/fhir", p.port);
  snprintf(url, sizeof url, "%s/Patient/1", base);
  struct fetcher *f = open_for(base);
  p.answer =
      "HTTP/1.1 202 Accepted\r\nContent-Type: application/fhir+json\r\nContent-Location: https://x/y\r\nX-Progress: half\r\nRetry-After: "
      "7\r\n"
      "Content-Length: 2\r\n\r\n{}";
  assert_int_equal(fetch(f,
                         &(struct fetch_request){.url = str_c(url),
                                                 PATIENT,
                                                 .bearer = STR("secret-token"),
                                                 .accept = "application/fhir+json",
                                                 .header = {"Prefer: respond-async"}},
                         &a, NULL),
                   OK);
  assert_int_equal(a.status, 202);
  assert_int_equal(a.retry_after, 7);
  assert_string_equal(a.type, "application/fhir+json");
  assert_string_equal(a.place, "https://x/y");
  assert_string_equal(a.progress, "half");
  assert_true(a.body.n == 2 && memcmp(a.body.p, "{}", 2) == 0 && a.body.cap >= 2 + STREAM_PAD);
  assert_non_null(strstr(p.asked, "GET /fhir/Patient/1 HTTP/1.1\r\n"));
  assert_non_null(strstr(p.asked, "Authorization: Bearer secret-token\r\n"));
  assert_non_null(strstr(p.asked, "Prefer: respond-async\r\n"));
  fetch_release(&a);
  /* a form, with a client's secret; nothing of the request before it is left */
  struct buf form = {0};
  fetch_form(&form, "grant_type", STR("authorization_code"));
  fetch_form(&form, "code", STR("a b&c=d"));
  assert_int_equal(fetch(f,
                         &(struct fetch_request){.url = str_c(url),
                                                 PATIENT,
                                                 .user = STR("app"),
                                                 .password = STR("pass:word"),
                                                 .type = "application/x-www-form-urlencoded",
                                                 .body = {form.p, form.n}},
                         &a, NULL),
                   OK);
  assert_non_null(strstr(p.asked, "POST /fhir/Patient/1 HTTP/1.1\r\n"));
  assert_non_null(strstr(p.asked, "Authorization: Basic YXBwOnBhc3MlM0F3b3Jk\r\n"));
  assert_non_null(strstr(p.asked, "\r\n\r\ngrant_type=authorization_code&code=a%20b%26c%3Dd"));
  assert_null(strstr(p.asked, "secret-token"));
  assert_null(strstr(p.asked, "Prefer"));
  fetch_release(&a);
  buf_release(&form);
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(url), PATIENT, .bearer = STR("a\r\nX: y")}, &a, NULL), E_INPUT);
  fetcher_close(f);
  peer_stop(&p);
}

static int count_bytes(void *ctx, const char *p, size_t n) {
  size_t *all = ctx;
  (void)p;
  return (*all += n) > 20 ? -1 : 0;
}

static void bad_answers(void **state) {
  (void)state;
  struct peer p;
  char url[96];
  struct fetch_answer a;
  struct error e = {0};
  size_t all = 0;
  peer_start(&p);
  snprintf(url, sizeof url, "http://127.0.0.1:%d/", p.port);
  struct fetcher *f = open_for(url);
  /* a redirect is an answer, never followed */
  p.answer = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(url), PATIENT}, &a, &e), OK);
  assert_int_equal(a.status, 302);
  assert_string_equal(a.place, "http://127.0.0.1:1/");
  fetch_release(&a);
  /* too long, in pieces too */
  p.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(url), PATIENT, .most = 31}, &a, &e), E_LIMIT);
  assert_null(a.body.p);
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(url), PATIENT, .most = 32}, &a, &e), OK);
  assert_int_equal(a.body.n, 32);
  fetch_release(&a);
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(url), PATIENT, .take = count_bytes, .ctx = &all}, &a, &e), E_CANCELLED);
  /* cut */
  p.answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(url), PATIENT}, &a, &e), E_UNAVAILABLE);
  /* silent */
  p.answer = NULL;
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(url), .timeout_ms = 100}, &a, &e), E_UNAVAILABLE);
  assert_null(strstr(e.message, "127.0.0.1"));
  /* not HTTP */
  p.answer = "\x16\x03\x01";
  assert_int_equal(fetch(f, &(struct fetch_request){.url = str_c(url), PATIENT}, &a, &e), E_UNAVAILABLE);
  fetcher_close(f);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(only_what_is_allowed), cmocka_unit_test(an_answer_comes_whole),
                                     cmocka_unit_test(bad_answers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
