/* A server in a process of its own on a free port, and a small HTTP client over plain sockets that can also misbehave. */
#ifndef TESTS_SERVE_HELPER_H
#define TESTS_SERVE_HELPER_H
#include "site_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "base/thread.h"
#include "base/time.h"
#include "serve/serve.h"

struct running {
  pid_t pid;
  int port, developer; /* ports of the two planes */
  char log[128];       /* its stderr */
};

/* Somebody who lives: pseudonyms, and with them the order of the store, are random, and for the dead there is nothing to predict. */
static inline void living_subject(struct site_fixture *fx, char out[32]) {
  struct timeline *t;
  char dir[128];
  snprintf(dir, sizeof dir, "%s/timelines", fx->path);
  SITE_MUST(timeline_open(dir, &t, &fx->e));
  uint32_t death = UINT32_MAX, who = 0;
  (void)timeline_code_find(t, STR("MEDS_DEATH"), &death);
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    bool dead = false;
    for (uint32_t k = 0; k < v.n; k++) dead |= v.code[k] == death;
    if (!dead) who = i;
  }
  snprintf(out, 32, "%lld", (long long)timeline_view(t, who).subject);
  timeline_close(t);
}

static inline void tell_port(void *ctx, int port, int developer) {
  int fd = *(int *)ctx, both[2] = {port, developer};
  if (write(fd, both, sizeof both) != (ssize_t)sizeof both) _exit(9);
}

static inline void server_start(struct running *r, const struct site_fixture *fx, struct serve_options o) {
  int pipes[2], ports[2] = {0, 0};
  snprintf(r->log, sizeof r->log, "%s/stderr", fx->dir);
  assert_int_equal(pipe(pipes), 0);
  r->pid = fork();
  assert_true(r->pid >= 0);
  if (r->pid == 0) {
    struct error e = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves no server behind */
    int log = open(r->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, 2);
    close(pipes[0]);
    cancel_set(0);
    cancel_install();
    o.site = fx->path;
    if (!o.listen) o.listen = "127.0.0.1:0";
    o.ready = tell_port, o.ctx = &pipes[1];
    int rc = serve_run(&o, &e);
    if (rc < 0) error_print(stderr, &e);
    _exit(rc < 0 ? error_exit_status(rc) : 0);
  }
  close(pipes[1]);
  if (read(pipes[0], ports, sizeof ports) != (ssize_t)sizeof ports) fail_msg("the server did not start; see %s", r->log);
  r->port = ports[0], r->developer = ports[1];
  close(pipes[0]);
}

static inline int server_wait(struct running *r) {
  int status = 0;
  if (waitpid(r->pid, &status, 0) != r->pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
/* The end of what it said. */
static inline const char *server_log(const struct running *r) {
  static char said[1 << 14];
  int fd = open(r->log, O_RDONLY | O_CLOEXEC);
  off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END), most = sizeof said - 1;
  ssize_t n = fd < 0 ? 0 : pread(fd, said, (size_t)most, end > most ? end - most : 0);
  if (fd >= 0) close(fd);
  said[n > 0 ? n : 0] = 0;
  return said;
}
static inline int server_stop(struct running *r) {
  kill(r->pid, SIGTERM);
  int status = server_wait(r);
  if (status >= 128) fprintf(stderr, "%s\n", server_log(r)); /* it did not end by itself */
  return status;
}

static inline int dial_port(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval limit = {.tv_sec = 3600}; /* an answer takes as long as it takes on this machine, and with these sanitizers */
  assert_true(fd >= 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
  return fd;
}
static inline int dial(const struct running *r) { return dial_port(r->port); }

static inline void send_all(int fd, const char *p, size_t n) {
  while (n) {
    ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
    if (k <= 0) return; /* the server may have closed: the answer tells */
    p += k, n -= (size_t)k;
  }
}

struct reply {
  int status;
  struct buf all; /* head and body */
  const char *body;
};
static inline void reply_free(struct reply *r) { buf_release(&r->all); }

/* One answer, to the end of the connection (requests say "Connection: close"). */
static inline struct reply receive(int fd) {
  struct reply r = {0};
  char piece[4096];
  ssize_t k;
  while ((k = recv(fd, piece, sizeof piece, 0)) > 0) buf_put(&r.all, piece, (size_t)k);
  close(fd);
  const char *text = buf_cstr(&r.all), *end = strstr(text, "\r\n\r\n");
  if (sscanf(text, "HTTP/1.1 %d", &r.status) != 1) r.status = 0;
  r.body = end ? end + 4 : "";
  return r;
}

/* `more`: further header lines, each with its end, or "". */
static inline struct reply ask_port(int port, const char *method, const char *target, const char *key, const char *body, const char *more) {
  struct buf b = {0};
  buf_printf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, target);
  if (key) buf_printf(&b, "Authorization: Bearer %s\r\n", key);
  if (body) buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
  buf_printf(&b, "%s\r\n", more);
  if (body) buf_puts(&b, body);
  int fd = dial_port(port);
  send_all(fd, b.p, b.n);
  buf_release(&b);
  return receive(fd);
}
static inline struct reply ask(const struct running *s, const char *method, const char *target, const char *key, const char *body) {
  return ask_port(s->port, method, target, key, body, "");
}

static inline int status_of(const struct running *s, const char *method, const char *target, const char *key, const char *body) {
  struct reply r = ask(s, method, target, key, body);
  int status = r.status;
  reply_free(&r);
  return status;
}

static inline int64_t metric_of(const struct running *s, const char *key, const char *name) { /* -1: there is none */
  struct reply r = ask(s, "GET", "/metrics", key, NULL);
  char line[96];
  snprintf(line, sizeof line, "\n%s ", name);
  const char *at = strstr(r.body, line);
  int64_t v = at ? strtoll(at + strlen(line), NULL, 10) : -1;
  reply_free(&r);
  return v;
}

static inline int raw_status(const struct running *s, const char *bytes) {
  int fd = dial(s);
  send_all(fd, bytes, strlen(bytes));
  struct reply r = receive(fd);
  int status = r.status;
  reply_free(&r);
  return status;
}

static inline void make_keys(struct site_fixture *fx, char key[ROLES][64]) {
  for (int role = ROLE_VIEWER; role < ROLES; role++)
    SITE_MUST(key_create(fx->path, &(struct key_options){.role = (enum role)role, .label = role_name[role]}, key[role], &fx->e));
}
#endif
