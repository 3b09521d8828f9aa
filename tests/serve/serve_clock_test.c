/* Clocks that jump, and what the replicas of one database know together: a server whose wall clock is a day ahead or behind in the middle of its
 * work, quotas, keys that expire, ids of tokens, logins and sessions. The clock is pretended (base/time.h), in memory shared with the server. */
#include "serve_helper.h"

#include <sqlite3.h>
#include <sys/mman.h>

#include "serve/serve_private.h"
#include "serve/serve_shared.h"

static struct site_fixture site;
static char key[ROLES][64];
static struct time_pretence *clocks;

static int setup(void **state) {
  (void)state;
  site_fixture_open(&site, 12);
  make_keys(&site, key);
  clocks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(clocks != MAP_FAILED);
  time_pretend(clocks);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  time_pretend(NULL);
  site_fixture_close(&site);
  return 0;
}
static void set(int64_t *clock, int64_t to) { __atomic_store_n(clock, to, __ATOMIC_SEQ_CST); }

/* The number in a header, -1: there is none. */
static long long header(const struct reply *r, const char *name) {
  char line[64];
  snprintf(line, sizeof line, "\r\n%s: ", name);
  const char *at = r->all.n ? strstr(r->all.p, line) : NULL;
  return at && at < r->body ? atoll(at + strlen(line)) : -1;
}

static void a_day_ahead_and_behind_in_the_middle(void **state) {
  (void)state;
  static const int64_t jump[] = {0, TIME_DAY, -TIME_DAY, 40 * TIME_DAY, -TIME_HOUR, 0};
  enum { JUMPS = sizeof jump / sizeof *jump, EACH = 6 };
  struct site_fixture *fx = &site;
  struct running r;
  uint64_t rows;
  long long last = 0;
  server_start(&r, fx, (struct serve_options){0});
  for (int j = 0; j < JUMPS; j++) {
    set(&clocks->wall, jump[j]);
    for (int i = 0; i < EACH; i++) {
      struct reply a = ask(&r, "GET", i % 2 ? "/v1/model" : "/healthz/generate", key[ROLE_VIEWER], NULL);
      assert_int_equal(a.status, 200);
      if (i % 2)
        assert_true(header(&a, "Vitae-Audit") == last + 1 || (last == 0 && header(&a, "Vitae-Audit") > 0)); /* by number, never by time */
      if (i % 2) last = header(&a, "Vitae-Audit");
      reply_free(&a);
    }
  }
  struct reply a = ask(&r, "GET", "/v1/audit?limit=100", key[ROLE_ADMIN], NULL);
  long long before = last + 1;
  for (const char *p = a.body; (p = strstr(p, "\"seq\":")); p++) {
    assert_int_equal(atoll(p + 6), before - 1);
    before--;
  }
  assert_true(before <= last - JUMPS * EACH / 2 + 1);
  reply_free(&a);
  a = ask(&r, "GET", "/metrics", key[ROLE_VIEWER], NULL);
  const char *sum = strstr(a.body, "\nvitae_request_seconds_sum ");
  assert_non_null(sum);
  assert_true(atof(sum + 27) > 0 && atof(sum + 27) < 3600);
  reply_free(&a);
  assert_int_equal(server_stop(&r), 0);
  SITE_MUST(audit_verify(fx->path, NULL, &rows, &fx->e));
  assert_true((long long)rows > last);
}

static void a_quota_ends_with_its_minute_whatever_the_wall_says(void **state) {
  (void)state;
  static const int64_t jump[] = {0, TIME_DAY, -TIME_DAY, -59 * TIME_SECOND};
  struct site_fixture *fx = &site;
  struct running r;
  char mine[64];
  SITE_MUST(key_create(fx->path, &(struct key_options){.role = ROLE_DEVELOPER, .requests_per_minute = 3}, mine, &fx->e));
  set(&clocks->wall, 0);
  server_start(&r, fx, (struct serve_options){.developer_listen = "127.0.0.1:0"});
  for (int rounds = 0; rounds < 2;) {
    set(&clocks->steady, TIME_MINUTE - (int64_t)(time_monotonic() * 1e6) % TIME_MINUTE + clocks->steady); /* a minute begins now */
    double began = time_monotonic();
    int good = 0, full = 0;
    for (int i = 0; i < 3; i++) {
      struct reply a = ask_port(r.developer, "GET", "/v1/models", mine, NULL, "");
      good += a.status == 200;
      reply_free(&a);
    }
    for (size_t j = 0; j < sizeof jump / sizeof *jump; j++) {
      set(&clocks->wall, jump[j]);
      struct reply a = ask_port(r.developer, "GET", "/v1/models", mine, NULL, "");
      full += a.status == 429 && header(&a, "Retry-After") >= 1 && header(&a, "Retry-After") <= 60;
      reply_free(&a);
    }
    if (time_monotonic() - began > 59) continue; /* too slow a machine: the minute was over */
    assert_int_equal(good, 3);
    assert_int_equal(full, sizeof jump / sizeof *jump);
    rounds++;
  }
  assert_int_equal(server_stop(&r), 0);
  set(&clocks->wall, 0);
}

/* What was reserved too much is given back to the minute that reserved it, never to the one in which the answer ends. */
static void an_answer_settles_in_the_minute_that_reserved_it(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct quotas *q;
  for (int crosses = 0; crosses < 2; crosses++) {
    struct call first = {.who = {.key = "abcdefgh", .tokens_per_minute = 100}}, next = first;
    int64_t minute;
    SITE_MUST(quotas_open(fx->path, NULL, &q, &fx->e));
    do { /* a minute begins now */
      set(&clocks->steady, TIME_MINUTE - (int64_t)(time_monotonic() * 1e6) % TIME_MINUTE + clocks->steady);
      minute = (int64_t)time_monotonic() / 60;
      SITE_MUST(quota_take(q, &first, &fx->e));
      SITE_MUST(quota_reserve(q, &first, 80, &fx->e));
      assert_int_equal(first.quota.left_tokens, 20);
    } while ((int64_t)time_monotonic() / 60 != minute); /* too slow a machine */
    if (crosses) set(&clocks->steady, clocks->steady + TIME_MINUTE);
    first.tokens_in = 10, first.tokens_out = 20;
    quota_settle(q, &first);
    SITE_MUST(quota_take(q, &next, &fx->e));
    assert_int_equal(next.quota.left_tokens, crosses ? 100 : 70);
    assert_in_range(first.quota.left_tokens, 0, 100);
    quotas_close(q);
  }
}

/* Sent, not yet answered. `most` 0: the request does not say how long its answer may be. */
static int begin_chat(const struct running *r, const char *with, int most, bool chunked) {
  struct buf b = {0}, body = {0};
  buf_puts(&body, "{\"model\":\"vitae\",");
  if (most) buf_printf(&body, "\"max_tokens\":%d,", most);
  buf_puts(&body,
           "\"messages\":[{\"role\":\"user\",\"content\":\"{\\\"events\\\":[{\\\"time\\\":\\\"2020-01-01T08:00:00\\\","
           "\\\"code\\\":\\\"LOINC//2160-0\\\",\\\"value\\\":1.2}]}\"}]}");
  buf_printf(&b,
             "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: "
             "application/json\r\n",
             with);
  if (chunked)
    buf_printf(&b, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n", body.n, buf_cstr(&body));
  else
    buf_printf(&b, "Content-Length: %zu\r\n\r\n%s", body.n, buf_cstr(&body));
  int fd = dial_port(r->developer);
  send_all(fd, b.p, b.n);
  buf_release(&b), buf_release(&body);
  return fd;
}
static int end_chat(int fd, int limit) {
  struct reply a = receive(fd);
  int status = a.status;
  long long wait = header(&a, "Retry-After");
  assert_true(status == 200 || status == 429);
  assert_in_range(header(&a, "x-ratelimit-remaining-tokens"), 0, limit);
  assert_int_equal(header(&a, "retry-after-ms"), status == 429 ? 1000 * wait : -1);
  assert_true(status == 200 || (wait >= 1 && wait <= 60));
  reply_free(&a);
  return status;
}

/* What an answer may cost is reserved before it is made: by its most tokens, and as one of usual length where it does not say. */
static void a_quota_of_tokens_holds(void **state) {
  (void)state;
  enum { BURST = 8 };
  static const struct {
    int most, status;
    bool chunked;
  } turns[] = {{20000, 200, false}, {20000, 429, false}, {20000, 429, true}, {60, 200, false}, {0, 200, true}};
  struct site_fixture *fx = &site;
  struct running r;
  char wide[64], narrow[64];
  SITE_MUST(key_create(fx->path, &(struct key_options){.role = ROLE_DEVELOPER, .tokens_per_minute = 5000}, wide, &fx->e));
  SITE_MUST(key_create(fx->path, &(struct key_options){.role = ROLE_DEVELOPER, .tokens_per_minute = 400}, narrow, &fx->e));
  server_start(&r, fx, (struct serve_options){.developer_listen = "127.0.0.1:0"});
  for (bool slow = true; slow;) {
    int got[sizeof turns / sizeof *turns], fd[BURST], good = 0;
    set(&clocks->steady, TIME_MINUTE - (int64_t)(time_monotonic() * 1e6) % TIME_MINUTE + clocks->steady); /* a minute begins now */
    double began = time_monotonic();
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++)
      got[i] = end_chat(begin_chat(&r, wide, turns[i].most, turns[i].chunked), 5000);
    for (int i = 0; i < BURST; i++) fd[i] = begin_chat(&r, narrow, i % 2 ? 0 : 600, i % 3 == 0);
    for (int i = 0; i < BURST; i++) good += end_chat(fd[i], 400) == 200;
    slow = time_monotonic() - began > 59;
    for (size_t i = 0; !slow && i < sizeof turns / sizeof *turns; i++)
      if (got[i] != turns[i].status) fail_msg("turn %zu: %d", i, got[i]);
    if (!slow) assert_int_equal(good, 1);
  }
  assert_int_equal(server_stop(&r), 0);
}

static void a_key_expires_by_the_wall(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct running r;
  char mine[64];
  SITE_MUST(key_create(fx->path, &(struct key_options){.role = ROLE_VIEWER, .days = 1}, mine, &fx->e));
  server_start(&r, fx, (struct serve_options){0});
  assert_int_equal(status_of(&r, "GET", "/v1/model", mine, NULL), 200);
  set(&clocks->wall, 2 * TIME_DAY);
  set(&clocks->steady, clocks->steady + 2 * TIME_MINUTE); /* longer than a key is remembered */
  assert_int_equal(status_of(&r, "GET", "/v1/model", mine, NULL), 401);
  set(&clocks->wall, 0);
  set(&clocks->steady, clocks->steady + 2 * TIME_MINUTE);
  assert_int_equal(status_of(&r, "GET", "/v1/model", mine, NULL), 200);
  assert_int_equal(server_stop(&r), 0);
}

/* ---- what replicas know together ---- */

static int once(struct shared *s, const char *id, int64_t until) {
  struct error e = {0};
  return shared_once(s, STR("https://ehr.example"), str_c(id), until, &e);
}
static int64_t count(const char *what) {
  char path[128], sql[256];
  sqlite3 *db;
  sqlite3_stmt *st;
  snprintf(path, sizeof path, "%s/vitae.db", site.path);
  snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM %s", what);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  sqlite3_busy_timeout(db, 5000);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(st), SQLITE_ROW);
  int64_t n = sqlite3_column_int64(st, 0);
  sqlite3_finalize(st);
  sqlite3_close(db);
  return n;
}

static void a_token_is_taken_once_by_all_and_after_a_restart(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct shared *one, *two;
  int64_t until = time_now() + 5 * TIME_MINUTE;
  SITE_MUST(shared_open(fx->path, NULL, &one, &fx->e));
  SITE_MUST(shared_open(fx->path, NULL, &two, &fx->e));
  assert_int_equal(once(one, "jti-1", until), OK);
  assert_int_equal(once(one, "jti-1", until), E_DENIED);
  assert_int_equal(once(two, "jti-1", until), E_DENIED);
  assert_int_equal(once(two, "jti-2", until), OK);
  struct error e = {0};
  assert_int_equal(shared_once(two, STR("https://ehr.exampl"), STR("ejti-2"), until, &e), OK); /* another issuer's is another */
  shared_close(one), shared_close(two);
  SITE_MUST(shared_open(fx->path, NULL, &one, &fx->e));
  assert_int_equal(once(one, "jti-1", until), E_DENIED);
  shared_close(one);
}

/* The clock leaps ahead, old ids would be forgotten, and it comes back: the token, valid again, is still known. In the end all are forgotten. */
static void a_leap_ahead_forgets_no_token(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct shared *s;
  char id[32];
  int n = 0;
  SITE_MUST(shared_open(fx->path, NULL, &s, &fx->e));
  for (int i = 0; i < 100; i++) snprintf(id, sizeof id, "leap-%d", n++), assert_int_equal(once(s, id, time_now() + 5 * TIME_MINUTE), OK);
  for (int leap = 1; leap >= -1; leap--) {
    set(&clocks->wall, leap * TIME_DAY);
    set(&clocks->steady, clocks->steady + TIME_MINUTE);
    for (int i = 0; i < 200; i++) snprintf(id, sizeof id, "leap-%d", n++), assert_int_equal(once(s, id, time_now() + 5 * TIME_MINUTE), OK);
    set(&clocks->wall, 0);
    for (int i = 0; i < 100; i++)
      snprintf(id, sizeof id, "leap-%d", i), assert_int_equal(once(s, id, time_now() + 5 * TIME_MINUTE), E_DENIED);
  }
  int64_t most = count("tokens_seen");
  for (int i = 0; i < 4; i++) { /* an hour and four looks later */
    set(&clocks->wall, clocks->wall + 2 * TIME_DAY), set(&clocks->steady, clocks->steady + 13 * TIME_MINUTE);
    for (int k = 0; k < 130; k++) snprintf(id, sizeof id, "leap-%d", n++), assert_int_equal(once(s, id, time_now() + 5 * TIME_MINUTE), OK);
  }
  assert_true(most >= 700);
  assert_true(count("tokens_seen") < most);
  shared_close(s);
  set(&clocks->wall, 0);
}

static int get(struct shared *s, enum shared_kind kind, const char *name, const char *lock, bool take, const char *want) {
  struct error e = {0};
  struct buf b = {0};
  int64_t until = 0;
  int rc = shared_get(s, kind, str_c(name), str_c(lock), take, &b, &until, &e);
  if (rc == OK) assert_string_equal(buf_cstr(&b), want);
  buf_release(&b);
  return rc;
}
static bool site_holds(const char *text) {
  char command[256];
  snprintf(command, sizeof command, "grep -rqaF '%s' %s 2>/dev/null", text, site.path);
  return system(command) == 0;
}

static void logins_and_sessions_are_sealed_and_shared(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct shared *one, *two;
  int64_t until = time_now() + 5 * TIME_MINUTE;
  set(&clocks->wall, 0);
  SITE_MUST(shared_open(fx->path, NULL, &one, &fx->e));
  SITE_MUST(shared_open(fx->path, NULL, &two, &fx->e));
  SITE_MUST(shared_put(one, SHARED_LOGIN, STR("state-1"), STR("browser-1"), STR("verifier-of-one"), until, &fx->e));
  SITE_MUST(shared_put(one, SHARED_LOGIN, STR("state-2"), STR("browser-2"), STR("verifier-of-two"), until, &fx->e));
  SITE_MUST(shared_put(one, SHARED_SESSION, STR("cookie-1"), STR("cookie-1"), STR("access-of-" SITE_CANARY_NAME), until, &fx->e));
  assert_int_equal(get(two, SHARED_LOGIN, "state-1", "browser-1", true, "verifier-of-one"), OK); /* begun at one, ended at the other */
  assert_int_equal(get(one, SHARED_LOGIN, "state-1", "browser-1", true, ""), E_NOTFOUND);        /* once */
  assert_int_equal(get(two, SHARED_LOGIN, "state-2", "browser-1", true, ""), E_NOTFOUND);        /* another browser's */
  assert_int_equal(get(two, SHARED_LOGIN, "state-2", "browser-2", true, ""), E_NOTFOUND);        /* and then it is gone */
  assert_int_equal(get(two, SHARED_SESSION, "cookie-2", "cookie-2", false, ""), E_NOTFOUND);
  assert_int_equal(get(two, SHARED_LOGIN, "cookie-1", "cookie-1", false, ""), E_NOTFOUND);
  for (int i = 0; i < 2; i++) assert_int_equal(get(two, SHARED_SESSION, "cookie-1", "cookie-1", false, "access-of-" SITE_CANARY_NAME), OK);
  shared_close(one), shared_close(two);
  SITE_MUST(shared_open(fx->path, NULL, &one, &fx->e)); /* after a restart */
  assert_int_equal(get(one, SHARED_SESSION, "cookie-1", "cookie-1", false, "access-of-" SITE_CANARY_NAME), OK);
  assert_false(site_holds("access-of-"));
  assert_false(site_holds("cookie-1"));
  assert_false(site_holds("verifier-of"));
  /* its time is over; and a clock that was set back makes no session longer */
  set(&clocks->wall, 6 * TIME_MINUTE);
  assert_int_equal(get(one, SHARED_SESSION, "cookie-1", "cookie-1", false, ""), E_NOTFOUND);
  set(&clocks->wall, -TIME_DAY);
  assert_int_equal(get(one, SHARED_SESSION, "cookie-1", "cookie-1", false, ""), E_NOTFOUND);
  set(&clocks->wall, 0);
  /* somebody with the database makes it last */
  char path[128];
  sqlite3 *db;
  snprintf(path, sizeof path, "%s/vitae.db", fx->path);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, "UPDATE logins SET until = until + 1000000000", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
  assert_int_equal(get(one, SHARED_SESSION, "cookie-1", "cookie-1", false, ""), E_NOTFOUND);
  shared_close(one);
}

static void a_flood_of_logins_is_bounded(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct shared *s;
  char name[32];
  int64_t until = time_now() + TIME_DAY;
  SITE_MUST(shared_open(fx->path, NULL, &s, &fx->e));
  SITE_MUST(shared_put(s, SHARED_SESSION, STR("quiet"), STR("quiet"), STR("stays"), until, &fx->e));
  for (int i = 0; i < SHARED_KEPT + 20; i++) {
    snprintf(name, sizeof name, "flood-%d", i);
    SITE_MUST(shared_put(s, SHARED_LOGIN, str_c(name), str_c(name), STR("x"), until, &fx->e));
  }
  assert_int_equal(count("logins WHERE kind = 0"), SHARED_KEPT);
  assert_int_equal(get(s, SHARED_LOGIN, name, name, false, "x"), OK);
  assert_int_equal(get(s, SHARED_SESSION, "quiet", "quiet", false, "stays"), OK);
  shared_close(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_day_ahead_and_behind_in_the_middle),
                                     cmocka_unit_test(a_quota_ends_with_its_minute_whatever_the_wall_says),
                                     cmocka_unit_test(an_answer_settles_in_the_minute_that_reserved_it),
                                     cmocka_unit_test(a_quota_of_tokens_holds),
                                     cmocka_unit_test(a_key_expires_by_the_wall),
                                     cmocka_unit_test(a_token_is_taken_once_by_all_and_after_a_restart),
                                     cmocka_unit_test(a_leap_ahead_forgets_no_token),
                                     cmocka_unit_test(logins_and_sessions_are_sealed_and_shared),
                                     cmocka_unit_test(a_flood_of_logins_is_bounded)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
