/* A disk that is full in the middle of the work: every dialect says 5xx, /readyz says so, no answer is without its row, and when there is space
 * again the server goes on by itself. Twice: files of the server may not grow any more (RLIMIT_FSIZE, which binds root as well), and, where a
 * file system of our own may be mounted, a real one that is full. */
#include "serve_helper.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "serve/serve_private.h"

static struct site_fixture site;
static char key[ROLES][64];
static int *mllp_port;

/* ---- a place of our own ---- */

static char own_place[64]; /* "" = may not be mounted here */

static bool write_line(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  if (fd >= 0) close(fd);
  return ok;
}

/* A mount that nobody else sees and that goes with this process: as root, or by a name space of users. */
static void mount_own(void) {
  char map[64];
  unsigned uid = getuid(), gid = getgid();
  if (unshare(CLONE_NEWNS) < 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return;
    snprintf(map, sizeof map, "%u %u 1\n", uid, uid);
    if (!write_line("/proc/self/setgroups", "deny") || !write_line("/proc/self/uid_map", map)) return;
    snprintf(map, sizeof map, "%u %u 1\n", gid, gid);
    if (!write_line("/proc/self/gid_map", map)) return;
  }
  snprintf(own_place, sizeof own_place, "/tmp/vitae-disk-XXXXXX");
  if (!mkdtemp(own_place) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
      mount("tmpfs", own_place, "tmpfs", 0, "size=48m,mode=0700") < 0) {
    (void)rmdir(own_place);
    own_place[0] = 0;
  }
}

static int setup(void **state) {
  (void)state;
  mount_own();
  site_fixture_open(&site, 12);
  make_keys(&site, key);
  mllp_port = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(mllp_port != MAP_FAILED);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  site_fixture_close(&site);
  if (own_place[0]) {
    (void)umount2(own_place, MNT_DETACH);
    (void)rmdir(own_place);
  }
  return 0;
}

/* ---- full, and not any more ---- */

struct disk {
  void (*fill)(struct disk *d);
  void (*free)(struct disk *d);
  pid_t pid;
};
static void forbid_growth(struct disk *d) {
  struct rlimit l;
  assert_int_equal(prlimit(d->pid, RLIMIT_FSIZE, NULL, &l), 0);
  l.rlim_cur = 0;
  assert_int_equal(prlimit(d->pid, RLIMIT_FSIZE, &l, NULL), 0);
}
static void allow_growth(struct disk *d) {
  struct rlimit l;
  assert_int_equal(prlimit(d->pid, RLIMIT_FSIZE, NULL, &l), 0);
  l.rlim_cur = l.rlim_max;
  assert_int_equal(prlimit(d->pid, RLIMIT_FSIZE, &l, NULL), 0);
}
static void fill_path(char out[96]) { snprintf(out, 96, "%s/fill", own_place); }
static void fill_disk(struct disk *d) {
  static const char zeros[4096];
  char path[96];
  (void)d;
  fill_path(path);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  while (write(fd, zeros, sizeof zeros) > 0) continue;
  assert_int_equal(errno, ENOSPC);
  close(fd);
}
static void empty_disk(struct disk *d) {
  char path[96];
  (void)d;
  fill_path(path);
  assert_int_equal(unlink(path), 0);
}

/* ---- who asks meanwhile ---- */

enum { CLIENTS = 3, ROWS = 20000 };
struct client {
  pthread_t thread;
  const struct running *r;
  int no, other;
  atomic_int n, failed;
  long long row[ROWS];
};
static atomic_bool stop;

static void *client_main(void *ctx) {
  struct client *c = ctx;
  while (!atomic_load(&stop) && c->n < ROWS) {
    struct reply a = ask(c->r, "GET", c->no ? "/v1/model" : "/v1/tasks", key[ROLE_CLINICIAN], NULL);
    const char *at = a.status == 200 ? strstr(a.all.p, "\r\nVitae-Audit: ") : NULL;
    if (a.status == 200) c->row[atomic_fetch_add(&c->n, 1)] = at ? atoll(at + 15) : -1;
    if (a.status == 503) atomic_fetch_add(&c->failed, 1);
    c->other += a.status != 200 && a.status != 503;
    reply_free(&a);
  }
  return NULL;
}

static void message(const char *id, char code[3]) {
  char text[512], got[1024];
  int fd = dial_port(*mllp_port);
  int n = snprintf(
      text, sizeof text,
      "\vMSH|^~\\&|ADT1|GOOD|VITAE|SITE|2019||ADT^A08|%s|P|2.5.1\rEVN|A08|2019\rPID|1||70001^^^HOSP^MR||X^Y||1950|F\rPV1|1|I\r\x1c\r", id);
  send_all(fd, text, (size_t)n);
  ssize_t k = recv(fd, got, sizeof got - 1, 0);
  got[k > 0 ? k : 0] = 0;
  const char *at = strstr(got, "\rMSA|");
  snprintf(code, 3, "%.2s", at ? at + 5 : "??");
  close(fd);
}

static void expect(int port, const char *method, const char *target, const char *with, const char *body, int status, const char *text) {
  struct reply a = ask_port(port, method, target, with, body, "");
  if (a.status != status || (text && !strstr(a.body, text))) fail_msg("%s: %d %s", target, a.status, a.body);
  reply_free(&a);
}

static void all_dialects_say_so(const struct running *r) {
  const char *chat =
      "{\"model\":\"vitae\",\"messages\":[{\"role\":\"user\",\"content\":\"{\\\"birth\\\":\\\"1950-02-01\\\",\\\"events\\\":[]}\"}]}";
  expect(r->port, "GET", "/v1/model", key[ROLE_CLINICIAN], NULL, 503, "\"code\":\"unavailable\"");
  expect(r->port, "GET", "/fhir/Device", key[ROLE_CLINICIAN], NULL, 503, "OperationOutcome");
  expect(r->port, "GET", "/cds-services", key[ROLE_EHR], NULL, 503, "OperationOutcome");
  expect(r->developer, "GET", "/openai/v1/models", key[ROLE_DEVELOPER], NULL, 503, "\"type\":\"server_error\"");
  expect(r->developer, "POST", "/openai/v1/chat/completions", key[ROLE_DEVELOPER], chat, 503, "\"code\":\"ServiceUnavailable\"");
  expect(r->port, "GET", "/readyz", NULL, NULL, 503, "not ready");
  expect(r->port, "GET", "/livez", NULL, NULL, 200, NULL);
}

static void rows_are_there(const char *path, struct client *c) {
  char file[128];
  sqlite3 *db;
  sqlite3_stmt *st;
  snprintf(file, sizeof file, "%s/vitae.db", path);
  assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, "SELECT status FROM audit WHERE seq = ?", -1, &st, NULL), SQLITE_OK);
  for (int i = 0; i < CLIENTS; i++)
    for (int k = 0; k < c[i].n; k++) {
      sqlite3_bind_int64(st, 1, c[i].row[k]);
      assert_int_equal(sqlite3_step(st), SQLITE_ROW);
      assert_int_equal(sqlite3_column_int(st, 0), 200);
      sqlite3_reset(st);
    }
  sqlite3_finalize(st);
  sqlite3_close(db);
}

/* Until there are `more` of it; ten minutes are given up. */
static void await(struct client *c, bool failed, int more) {
  for (int first = -1, k = 0; k < 60000; k++) {
    int n = 0;
    for (int i = 0; i < CLIENTS; i++) n += atomic_load(failed ? &c[i].failed : &c[i].n);
    if (first < 0) first = n;
    if (n >= first + more) return;
    usleep(10000);
  }
  atomic_store(&stop, true);
  fail_msg("no more requests %s", failed ? "failed" : "were answered");
}

/* Full while clients ask; the state is then looked at in peace, and left again while they ask. */
static void live_through(struct disk *d) {
  static struct client c[CLIENTS];
  struct site_fixture *fx = &site;
  struct running r;
  uint64_t rows;
  char code[3];
  server_start(&r, fx, (struct serve_options){.developer_listen = "127.0.0.1:0", .mllp_listen = "127.0.0.1:0", .mllp_port = mllp_port});
  d->pid = r.pid;
  message("before", code);
  assert_string_equal(code, "AA");
  for (int round = 0; round < 2; round++) {
    atomic_store(&stop, false);
    for (int i = 0; i < CLIENTS; i++) {
      c[i] = (struct client){.r = &r, .no = i};
      assert_int_equal(pthread_create(&c[i].thread, NULL, client_main, &c[i]), 0);
    }
    await(c, round == 1, 20);
    (round == 0 ? d->fill : d->free)(d);
    await(c, round == 0, 20);
    atomic_store(&stop, true);
    for (int i = 0; i < CLIENTS; i++) pthread_join(c[i].thread, NULL);
    for (int i = 0; i < CLIENTS; i++) assert_int_equal(c[i].other, 0); /* 200 or 503, nothing else */
    rows_are_there(fx->path, c);
    if (round == 1) break;
    all_dialects_say_so(&r);
    message("during", code);
    assert_string_equal(code, "AE");
  }
  message("during", code); /* its sender sends it again, and it is new */
  assert_string_equal(code, "AA");
  expect(r.port, "GET", "/readyz", NULL, NULL, 200, "ready");
  assert_int_equal(server_stop(&r), 0);
  SITE_MUST(audit_verify(fx->path, NULL, &rows, &fx->e));
}

/* Nobody asks: what is not ready has to find out by itself that it could be. */
static void readiness_comes_back_by_itself(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct running r;
  uint64_t rows;
  server_start(&r, fx, (struct serve_options){0});
  struct disk d = {.pid = r.pid};
  forbid_growth(&d);
  assert_int_equal(status_of(&r, "GET", "/v1/model", key[ROLE_VIEWER], NULL), 503);
  assert_int_equal(status_of(&r, "GET", "/readyz", NULL, NULL), 503);
  allow_growth(&d);
  int status = 0;
  for (int i = 0; i < 60000 && status != 200; i++) usleep(10000), status = status_of(&r, "GET", "/readyz", NULL, NULL);
  assert_int_equal(status, 200);
  struct reply a = ask(&r, "GET", "/v1/audit?limit=1", key[ROLE_ADMIN], NULL);
  assert_non_null(strstr(a.body, "\"method\":\"SERVE\""));
  reply_free(&a);
  assert_int_equal(server_stop(&r), 0);
  SITE_MUST(audit_verify(fx->path, NULL, &rows, &fx->e));
}

static void files_that_may_not_grow(void **state) {
  (void)state;
  live_through(&(struct disk){.fill = forbid_growth, .free = allow_growth});
}

static void a_disk_that_is_full(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  char command[256], before[sizeof fx->path];
  if (!own_place[0]) {
    print_message("no file system may be mounted here: the limit on files was all that could be tried\n");
    return;
  }
  snprintf(command, sizeof command, "cp -r %s %s/site", fx->path, own_place);
  assert_int_equal(system(command), 0);
  snprintf(before, sizeof before, "%s", fx->path);
  snprintf(fx->path, sizeof fx->path, "%s/site", own_place);
  live_through(&(struct disk){.fill = fill_disk, .free = empty_disk});
  snprintf(fx->path, sizeof fx->path, "%s", before);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(files_that_may_not_grow), cmocka_unit_test(a_disk_that_is_full),
                                     cmocka_unit_test(readiness_comes_back_by_itself)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
