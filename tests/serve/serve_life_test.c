/* Starting, stopping, a full queue, clients that leave, a killed server; keys and the audit chain by themselves. */
#include "serve_helper.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "serve/serve_private.h"

static struct site_fixture site;
static char key[ROLES][64];
static char subject[32];

static int setup(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  site_fixture_open(fx, 12);
  make_keys(fx, key);
  living_subject(fx, subject);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  site_fixture_close(&site);
  return 0;
}

/* A request that keeps the model busy for a while, sent and not waited for. */
static int send_slow(const struct running *r, int futures) {
  char text[512];
  int fd = dial(r), n = snprintf(text, sizeof text,
                                 "GET /v1/subjects/%s/risk?task=death-1y&futures=%d&horizon_days=3650 HTTP/1.1\r\nHost: a\r\nConnection: "
                                 "close\r\napi-key: %s\r\n\r\n",
                                 subject, futures, key[ROLE_CLINICIAN]);
  send_all(fd, text, (size_t)n);
  return fd;
}

static int64_t metric(const struct running *r, const char *name) { return metric_of(r, key[ROLE_VIEWER], name); }

/* When to leave so that an answer is being made, on whatever machine: tried from none to 100 ms, and again. */
static void leave_after(int try) { usleep(100 * (unsigned)(try % 12) * (unsigned)(try % 12) * (unsigned)(try % 12 + 1)); }

static void a_full_queue_says_come_back(void **state) {
  (void)state;
  struct running r;
  server_start(&r, &site, (struct serve_options){.queue = 1, .workers = 1});
  assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_CLINICIAN], NULL), 200); /* the key is known from now on */
  int fd[12], busy = 0, good = 0, asked = 0;
  while (!busy) { /* a model may be faster than we ask: then all were answered, and we try again */
    for (int i = 0; i < 12; i++) fd[i] = send_slow(&r, 2000);
    for (int i = 0; i < 12; i++, asked++) {
      struct reply a = receive(fd[i]);
      good += a.status == 200;
      if (a.status == 429) busy++, assert_non_null(strstr(a.all.p, "Retry-After: "));
      reply_free(&a);
    }
    assert_int_equal(good + busy, asked);
  }
  assert_true(good >= 1);
  assert_int_equal(metric(&r, "vitae_model_rejected_total"), busy);
  assert_int_equal(server_stop(&r), 0);
}

static void who_leaves_is_not_worked_for(void **state) {
  (void)state;
  struct running r;
  server_start(&r, &site, (struct serve_options){.queue = 32});
  assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_CLINICIAN], NULL), 200);
  long long dropped = 0;
  for (int try = 0; !dropped; try++) { /* a fast model may have answered all nine before we left: try again */
    long long before = metric(&r, "vitae_model_seconds_count");
    int first = send_slow(&r, 2000), fd[8];
    for (int i = 0; i < 8; i++) fd[i] = send_slow(&r, 2000);
    while (metric(&r, "vitae_model_waiting") + metric(&r, "vitae_model_seconds_count") - before < 1) usleep(500);
    leave_after(try);
    for (int i = 0; i < 8; i++) close(fd[i]);
    struct reply a = receive(first);
    assert_int_equal(a.status, 200);
    reply_free(&a);
    while (metric(&r, "vitae_model_waiting") > 0) usleep(10000);
    dropped = metric(&r, "vitae_model_dropped_total");
  }
  assert_int_equal(status_of(&r, "GET", "/livez", NULL, NULL), 200);
  assert_int_equal(server_stop(&r), 0);
}

/* A prediction that is being made stops when nobody waits for it any more. */
static void who_leaves_stops_the_work(void **state) {
  (void)state;
  struct running r;
  server_start(&r, &site, (struct serve_options){.queue = 32});
  assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_CLINICIAN], NULL), 200);
  long long dropped = 0;
  for (int i = 0; !dropped; i++) { /* a fast machine may have answered before we left: try again */
    long long before = metric(&r, "vitae_model_seconds_count");
    int fd = send_slow(&r, 2000);
    leave_after(i);
    close(fd);
    while (metric(&r, "vitae_model_seconds_count") + metric(&r, "vitae_model_dropped_total") <= before + dropped) usleep(2000);
    dropped = metric(&r, "vitae_model_dropped_total");
  }
  assert_int_equal(status_of(&r, "GET", "/livez", NULL, NULL), 200);
  assert_int_equal(server_stop(&r), 0);
}

/* SIGTERM while answers are being made: they are finished, and the process ends well. */
static void stopping_finishes_what_was_begun(void **state) {
  (void)state;
  struct running r;
  server_start(&r, &site, (struct serve_options){.workers = 1, .drain_s = 3600});
  assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_CLINICIAN], NULL), 200);
  int fd[3];
  long long begun = 0, good = 0;
  for (int i = 0; i < 3; i++) fd[i] = send_slow(&r, 1000);
  while (begun < 2) begun = metric(&r, "vitae_model_waiting") + metric(&r, "vitae_model_seconds_count");
  kill(r.pid, SIGTERM);
  for (int i = 0; i < 3; i++) {
    struct reply a = receive(fd[i]);
    assert_true(a.status == 200 || a.status == 503); /* 503: its request was still unread when the stop came */
    good += a.status == 200;
    reply_free(&a);
  }
  assert_true(good >= begun);
  assert_int_equal(server_wait(&r), 0);
}

/* Connections that come while the server stops are answered or refused; the process ends well each time. (A race in libmicrohttpd's own way to stop
 * listening ended it by SIGABRT once in some two hundred stops.) */
static void *knock(void *arg) {
  const struct sockaddr_in *to = arg;
  for (int fd, on = 1; on; close(fd)) {
    static const char ask[] = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    char piece[512];
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    on = connect(fd, (const struct sockaddr *)to, sizeof *to) == 0;
    if (on) send_all(fd, ask, sizeof ask - 1);
    while (on && recv(fd, piece, sizeof piece, 0) > 0) continue;
  }
  return NULL;
}
static void stopping_while_others_knock(void **state) {
  (void)state;
  for (int round = 0; round < 40; round++) {
    struct running r;
    pthread_t thread[4];
    server_start(&r, &site, (struct serve_options){.workers = 1});
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)r.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, knock, &to), 0);
    usleep(1000u * (unsigned)(10 + round));
    assert_int_equal(server_stop(&r), 0);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
  }
}

/* What is not answered when the drain's time is over is told so, and the process ends well. */
static void what_takes_too_long_is_given_up(void **state) {
  (void)state;
  enum { MANY = 100 };
  int fd[MANY], given_up = 0;
  for (int try = 0; !given_up; try++) { /* a fast model may have answered all of them by then */
    struct running r;
    server_start(&r, &site, (struct serve_options){.queue = 2 * MANY, .workers = 1, .drain_s = -1});
    assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_CLINICIAN], NULL), 200);
    for (int i = 0; i < MANY; i++) fd[i] = send_slow(&r, 2000);
    while (metric(&r, "vitae_model_waiting") + metric(&r, "vitae_model_seconds_count") < MANY - 1) usleep(1000); /* one is being made */
    kill(r.pid, SIGTERM);
    for (int i = 0; i < MANY; i++) {
      struct reply a = receive(fd[i]);
      assert_true(a.status == 200 || a.status == 503 || a.status == 0); /* 0: the last of them may not have been told in time */
      given_up += strstr(a.body, "has stopped before the answer") != NULL;
      reply_free(&a);
    }
    assert_int_equal(server_wait(&r), 0);
  }
}

/* A byte now and then keeps no connection: not of a request line, a head, a body, nor of an answer that is taken as slowly. */
static void who_trickles_is_cut_off(void **state) {
  (void)state;
  static const char *const begun[] = {"GET /", "GET /livez HTTP/1.1\r\nX: ",
                                      "POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: "
                                      "application/json\r\nContent-Length: 8000\r\napi-key: "};
  struct running r;
  int fd[3], cut = 0;
  bool over[3] = {false};
  server_start(&r, &site, (struct serve_options){.timeout_s = 1});
  for (int i = 0; i < 3; i++) {
    fd[i] = dial(&r);
    send_all(fd[i], begun[i], strlen(begun[i]));
  }
  send_all(fd[2], key[ROLE_CLINICIAN], strlen(key[ROLE_CLINICIAN]));
  send_all(fd[2], "\r\n\r\n", 4);
  for (int byte = 0; byte < 4000 && cut < 3; byte++) { /* never silent for a second; for ever, if nobody ends it */
    for (int i = 0; i < 3; i++) {
      char piece[256];
      ssize_t k = over[i] ? 1 : recv(fd[i], piece, sizeof piece, MSG_DONTWAIT);
      if (k == 0 || (k < 0 && errno != EAGAIN)) over[i] = true, cut++;
      if (!over[i]) send_all(fd[i], i == 2 ? " " : "a", 1);
    }
    usleep(50000);
  }
  assert_int_equal(cut, 3);
  for (int i = 0; i < 3; i++) close(fd[i]);
  assert_true(metric(&r, "vitae_connections_cut_total") >= 1); /* one may have fallen silent on a slow machine, and be MHD's */
  assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_VIEWER], NULL), 200);
  assert_int_equal(server_stop(&r), 0);
}

/* One address has so many connections; whoever has more is closed at once, and others' requests go on. */
static void connections_have_a_limit(void **state) {
  (void)state;
  enum { MANY = 560 };
  struct running r;
  static int fd[MANY];
  int first = -1, closed = 0;
  server_start(&r, &site, (struct serve_options){0});
  first = dial(&r);
  for (int i = 0; i < MANY; i++) fd[i] = dial(&r);
  while (!closed)
    for (int i = 0; i < MANY; i++) {
      char c;
      ssize_t k = recv(fd[i], &c, 1, MSG_DONTWAIT);
      closed += k == 0 || (k < 0 && errno != EAGAIN);
    }
  assert_true(closed < MANY);
  struct buf b = {0};
  buf_printf(&b, "GET /v1/model HTTP/1.1\r\nHost: a\r\nConnection: close\r\napi-key: %s\r\n\r\n", key[ROLE_VIEWER]);
  send_all(first, b.p, b.n);
  struct reply a = receive(first);
  assert_int_equal(a.status, 200);
  reply_free(&a);
  buf_release(&b);
  for (int i = 0; i < MANY; i++) close(fd[i]);
  assert_int_equal(server_stop(&r), 0);
}

static void plain_http_stays_at_home(void **state) {
  (void)state;
  struct error e = {0};
  assert_int_equal(serve_run(&(struct serve_options){.site = site.path, .listen = "0.0.0.0:0"}, &e), E_USAGE);
  assert_int_equal(serve_run(&(struct serve_options){.site = site.path, .listen = "nonsense"}, &e), E_USAGE);
  assert_int_equal(serve_run(&(struct serve_options){.site = site.path, .listen = "127.0.0.1:0", .tls_cert = "x"}, &e), E_USAGE);
  assert_int_equal(serve_run(&(struct serve_options){.site = "/nonexistent", .listen = "127.0.0.1:0"}, &e), E_NOTFOUND);
}

/* kill -9 in the middle of work: whatever was answered is in the chain, and the chain holds and goes on. */
static void a_killed_server_leaves_a_whole_chain(void **state) {
  (void)state;
  uint64_t before, after, later;
  struct running r;
  assert_int_equal(audit_verify(site.path, NULL, &before, NULL), OK);
  server_start(&r, &site, (struct serve_options){0});
  for (int i = 0; i < 20; i++) assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_VIEWER], NULL), 200);
  int fd[4];
  for (int i = 0; i < 4; i++) fd[i] = send_slow(&r, 500);
  kill(r.pid, SIGKILL);
  assert_int_equal(server_wait(&r), 128 + SIGKILL);
  for (int i = 0; i < 4; i++) close(fd[i]);
  assert_int_equal(audit_verify(site.path, NULL, &after, NULL), OK);
  assert_true(after >= before + 20);
  server_start(&r, &site, (struct serve_options){0});
  assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_VIEWER], NULL), 200);
  assert_int_equal(server_stop(&r), 0);
  assert_int_equal(audit_verify(site.path, NULL, &later, NULL), OK);
  assert_int_equal(later, after + 1);
}

/* Commands of the site open and close the database while the server writes to it; each may take itself for the last one. */
static void commands_beside_a_server_harm_nothing(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct running r;
  uint64_t before, after;
  char made[64];
  assert_int_equal(audit_verify(site.path, NULL, &before, NULL), OK);
  server_start(&r, &site, (struct serve_options){0});
  for (int i = 0; i < 12; i++) {
    SITE_MUST(key_create(site.path, &(struct key_options){.role = ROLE_VIEWER}, made, &fx->e));
    assert_int_equal(status_of(&r, "GET", "/v1/model", made, NULL), 200);
    SITE_MUST(audit_note(site.path, "a command", "", "", 200, &fx->e));
    assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_VIEWER], NULL), 200);
  }
  assert_int_equal(server_stop(&r), 0);
  assert_int_equal(audit_verify(site.path, NULL, &after, &fx->e), OK);
  assert_int_equal(after, before + 36);
}

/* ---- by themselves, in directories of their own ---- */

static void fresh_dir(char dir[64]) {
  strcpy(dir, "/tmp/vitae-db-XXXXXX");
  assert_non_null(mkdtemp(dir));
}
static void sql(const char *dir, const char *text) {
  char path[128];
  sqlite3 *db;
  snprintf(path, sizeof path, "%s/vitae.db", dir);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

static void write_rows(const char *dir, int n) {
  struct audit *a;
  struct audit_entry rows[16];
  assert_true(n <= 16);
  assert_int_equal(audit_open(dir, NULL, &a, NULL), OK);
  for (int i = 0; i < n; i++)
    rows[i] = (struct audit_entry){.time = 1000 + i,
                                   .key = "abcdefgh",
                                   .method = "GET",
                                   .route = "/v1/x",
                                   .version = "v",
                                   .input = "i",
                                   .output = "o",
                                   .status = 200,
                                   .latency_us = 5,
                                   .billed = 1};
  assert_int_equal(audit_write(a, rows, n, NULL), OK);
  assert_int_equal(rows[n - 1].row, rows[0].row + n - 1);
  audit_close(a);
}

/* A database of the second format, as it was before verdicts: its rows hold, and new ones go on from them. */
static void an_older_chain_goes_on(void **state) {
  (void)state;
  char dir[64], line[1024];
  uint8_t hash[32] = {0};
  uint64_t rows;
  fresh_dir(dir);
  sql(dir,
      "CREATE TABLE keys(id TEXT PRIMARY KEY, role TEXT NOT NULL, label TEXT NOT NULL, hash TEXT NOT NULL, created INTEGER NOT NULL,"
      " revoked INTEGER, tenant TEXT, models TEXT, rpm INTEGER, tpm INTEGER, expires INTEGER) STRICT;"
      "CREATE TABLE audit(seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, key TEXT NOT NULL, method TEXT NOT NULL, route TEXT NOT NULL,"
      " version TEXT NOT NULL, input TEXT NOT NULL, output TEXT NOT NULL, status INTEGER NOT NULL, latency INTEGER NOT NULL,"
      " hash BLOB NOT NULL, tenant TEXT, request TEXT, tokens_in INTEGER, tokens_out INTEGER, billed INTEGER) STRICT;"
      "PRAGMA user_version = 2");
  for (int i = 1; i <= 3; i++) {
    struct buf b = {0};
    char hex[65];
    buf_put(&b, hash, 32);
    buf_printf(&b, "%d\n%d\nk\nGET\n/v1/x\nv\ni\no\n200\n5\nt\nr\n1\n2\n1\n", i, 1000 + i);
    sha256_of(b.p, b.n, hash);
    hash_hex(hash, 32, hex);
    snprintf(line, sizeof line, "INSERT INTO audit VALUES(%d, %d, 'k', 'GET', '/v1/x', 'v', 'i', 'o', 200, 5, x'%s', 't', 'r', 1, 2, 1)", i,
             1000 + i, hex);
    sql(dir, line);
    buf_release(&b);
  }
  assert_int_equal(audit_verify(dir, NULL, &rows, NULL), OK);
  assert_int_equal(rows, 3);
  write_rows(dir, 2);
  assert_int_equal(audit_verify(dir, NULL, &rows, NULL), OK);
  assert_int_equal(rows, 5);
  assert_int_equal(file_remove_tree(dir, NULL), OK);
}

static void every_kind_of_tampering_is_found(void **state) {
  (void)state;
  static const struct {
    const char *sql;
    int64_t row;
  } cases[] = {{"UPDATE audit SET status = 403 WHERE seq = 4", 4},
               {"UPDATE audit SET time = time + 1 WHERE seq = 7", 7},
               {"UPDATE audit SET key = 'zzzzzzzz' WHERE seq = 1", 1},
               {"UPDATE audit SET key = key || 'x' WHERE seq = 2", 2},
               {"UPDATE audit SET status = status + 4294967296 WHERE seq = 3", 3},
               {"UPDATE audit SET route = '/v1/y' WHERE seq = 5", 5},
               {"UPDATE audit SET method = 'GET' || char(10) || '/v1/x', route = 'v' WHERE seq = 6", 6},
               {"UPDATE audit SET output = 'p' WHERE seq = 10", 10},
               {"UPDATE audit SET tenant = 'x' WHERE seq = 4", 4},
               {"UPDATE audit SET tenant = NULL WHERE seq = 4", 4},  /* would be a row of the first format */
               {"UPDATE audit SET verdict = NULL WHERE seq = 4", 4}, /* would be one of the second */
               {"UPDATE audit SET verdict = 'refused' WHERE seq = 4", 4},
               {"UPDATE audit SET billed = 0 WHERE seq = 8", 8},
               {"UPDATE audit SET tokens_out = 7 WHERE seq = 2", 2},
               {"UPDATE audit SET hash = zeroblob(32) WHERE seq = 9", 9},
               {"DELETE FROM audit WHERE seq = 5", 5},
               {"DELETE FROM audit WHERE seq = 1", 1},
               {"UPDATE audit SET seq = 99 WHERE seq = 10", 10},
               {"INSERT INTO audit SELECT 11, time, key, method, route, version, input, output, status, latency, hash, tenant, request, "
                "tokens_in, tokens_out, billed, verdict FROM audit WHERE seq = 10",
                11}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char dir[64];
    uint64_t rows;
    struct error e = {0};
    fresh_dir(dir);
    write_rows(dir, 6);
    write_rows(dir, 4);
    assert_int_equal(audit_verify(dir, NULL, &rows, NULL), OK);
    assert_int_equal(rows, 10);
    sql(dir, cases[i].sql);
    assert_int_equal(audit_verify(dir, NULL, &rows, &e), E_CORRUPT);
    if (e.row != cases[i].row) fail_msg("case %zu: row %lld", i, (long long)e.row);
    assert_int_equal(rows, cases[i].row - 1);
    assert_int_equal(file_remove_tree(dir, NULL), OK);
  }
}

static void keys_are_kept_as_hashes(void **state) {
  (void)state;
  char dir[64], k[64], path[128];
  struct keys *keys;
  struct identity who;
  struct error e = {0};
  struct stat st;
  fresh_dir(dir);
  assert_int_equal(key_create(dir, &(struct key_options){.role = ROLE_CLINICIAN, .label = "ward 3"}, k, &e), OK);
  assert_int_equal(strlen(k), KEY_LENGTH);
  assert_int_equal(key_create(dir, &(struct key_options){.role = ROLE_NONE}, path, &e), E_USAGE);
  snprintf(path, sizeof path, "%s/vitae.db", dir);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  struct file_map m;
  assert_int_equal(file_map_open(path, &m, NULL), OK);
  assert_null(memmem(m.p, m.n, k + 15, 32)); /* the secret part */
  assert_non_null(memmem(m.p, m.n, "$argon2id$", 10));
  file_map_close(&m);
  assert_int_equal(keys_open(dir, NULL, 1000, &keys, &e), OK);
  for (int i = 0; i < 3; i++) { /* by Argon2, then from memory */
    assert_int_equal(keys_check(keys, str_c(k), 1, &who, &(int){0}, NULL, &e), OK);
    assert_int_equal(who.role, ROLE_CLINICIAN);
    assert_int_equal(strncmp(who.key, k + 6, KEY_ID), 0);
  }
  for (size_t i = 0; i < KEY_LENGTH; i++) { /* any one letter changed */
    char bad[64];
    if (i > 14 && i < KEY_LENGTH - 2) continue; /* each costs an Argon2: the first and last letters of the secret will do */
    strcpy(bad, k);
    bad[i] = bad[i] == 'a' ? 'b' : 'a';
    assert_int_equal(keys_check(keys, str_c(bad), 1, &who, &(int){0}, NULL, &e), E_DENIED);
  }
  keys_close(keys);
  char name[KEY_ID + 1] = {0};
  memcpy(name, k + 6, KEY_ID);
  assert_int_equal(key_revoke(dir, NULL, name, &e), OK);
  assert_int_equal(key_revoke(dir, NULL, name, &e), E_NOTFOUND);
  assert_int_equal(keys_open(dir, NULL, 1000, &keys, &e), OK);
  assert_int_equal(keys_check(keys, str_c(k), 1, &who, &(int){0}, NULL, &e), E_DENIED);
  keys_close(keys);
  assert_int_equal(file_remove_tree(dir, NULL), OK);
}

/* Argon2 is for few at a time, but one key is checked once: however many come with it, none is told to come back. */
struct comer {
  struct keys *keys;
  const char *key;
  struct histogram *checks;
  pthread_t thread;
  int rc;
};
static void *come(void *ctx) {
  struct comer *c = ctx;
  struct identity who;
  struct error e = {0};
  c->rc = keys_check(c->keys, str_c(c->key), 1, &who, &(int){0}, c->checks, &e);
  return NULL;
}
static void one_key_is_checked_once(void **state) {
  (void)state;
  enum { MANY = 16 };
  char dir[64], k[64];
  struct keys *keys;
  struct error e = {0};
  struct histogram checks = {0};
  struct comer c[MANY];
  fresh_dir(dir);
  assert_int_equal(key_create(dir, &(struct key_options){.role = ROLE_VIEWER}, k, &e), OK);
  assert_int_equal(keys_open(dir, NULL, 1000, &keys, &e), OK);
  for (int i = 0; i < MANY; i++) {
    c[i] = (struct comer){.keys = keys, .key = k, .checks = &checks};
    assert_int_equal(pthread_create(&c[i].thread, NULL, come, &c[i]), 0);
  }
  for (int i = 0; i < MANY; i++) {
    pthread_join(c[i].thread, NULL);
    assert_int_equal(c[i].rc, OK);
  }
  assert_int_equal(atomic_load(&checks.count), 1);
  keys_close(keys);
  assert_int_equal(file_remove_tree(dir, NULL), OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_older_chain_goes_on),
                                     cmocka_unit_test(every_kind_of_tampering_is_found),
                                     cmocka_unit_test(keys_are_kept_as_hashes),
                                     cmocka_unit_test(one_key_is_checked_once),
                                     cmocka_unit_test(what_takes_too_long_is_given_up),
                                     cmocka_unit_test(who_trickles_is_cut_off),
                                     cmocka_unit_test(connections_have_a_limit),
                                     cmocka_unit_test(plain_http_stays_at_home),
                                     cmocka_unit_test(commands_beside_a_server_harm_nothing),
                                     cmocka_unit_test(a_full_queue_says_come_back),
                                     cmocka_unit_test(who_leaves_is_not_worked_for),
                                     cmocka_unit_test(who_leaves_stops_the_work),
                                     cmocka_unit_test(stopping_finishes_what_was_begun),
                                     cmocka_unit_test(stopping_while_others_knock),
                                     cmocka_unit_test(a_killed_server_leaves_a_whole_chain)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
