/* A whole server in this process, on a site of its own, and its clients' side of the wire: what a fuzz target sends goes through real sockets.
 *
 *     const struct live *s = live();                                       // started at the first call, one a process
 *     int n = live_ask(s->port, bytes, size, false, reply, REPLIES_MOST);   // everything the server says until it closes, taken apart
 *
 * A reply that is not HTTP, says 500, or whose JSON is none ends the program: that is a finding.
 */
#ifndef FUZZ_LIVE_H
#define FUZZ_LIVE_H
#include <errno.h>

#define SITE_UNDER "/dev/shm" /* every answer waits for its audit row: not for a disk as well */
#include "serve/serve_helper.h"

#include "serve/serve_private.h"

struct live {
  struct site_fixture site;
  struct serve_options options;
  int port, developer;
  char key[ROLES][64];
};
struct live_reply {
  int status;
  struct str head, body;
};
enum { REPLIES_MOST = 64 };

static struct live live_one;
static pthread_mutex_t live_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t live_wake = PTHREAD_COND_INITIALIZER;

static inline void live_ready(void *ctx, int port, int developer) {
  struct live *l = ctx;
  pthread_mutex_lock(&live_mutex);
  l->port = port, l->developer = developer;
  pthread_cond_signal(&live_wake);
  pthread_mutex_unlock(&live_mutex);
}
static inline void *live_main(void *ctx) {
  struct live *l = ctx;
  struct error e = {0};
  if (serve_run(&l->options, &e) < 0) error_print(stderr, &e), abort();
  return NULL;
}
static inline void live_end(void) { (void)!file_remove_tree(live_one.site.dir, NULL); }

static inline const struct live *live(void) {
  struct live *l = &live_one;
  pthread_t thread;
  if (l->port) return l;
  site_fixture_open(&l->site, 12);
  make_keys(&l->site, l->key);
  l->options = (struct serve_options){.site = l->site.path,
                                      .listen = "127.0.0.1:0",
                                      .developer_listen = "127.0.0.1:0",
                                      .cors = "https://allowed.example",
                                      .guesses = 1 << 30,
                                      .workers = 1,
                                      .timeout_s = 60,
                                      .body_limit = 64 << 10,
                                      .ready = live_ready,
                                      .ctx = l};
  atexit(live_end);
  if (pthread_create(&thread, NULL, live_main, l) != 0) abort();
  pthread_mutex_lock(&live_mutex);
  while (!l->port) pthread_cond_wait(&live_wake, &live_mutex);
  pthread_mutex_unlock(&live_mutex);
  return l;
}

static inline int live_dial(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct linger now = {1, 0}; /* thousands of connections a minute: none may linger */
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) perror("the fuzzer's connection"), abort();
  (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  return fd;
}

/* Value of a header in a reply's head; STR_NONE. */
static inline struct str live_header(struct str head, const char *name) {
  while (head.n) {
    struct str line = str_cut(&head, '\n'), key = str_cut(&line, ':');
    if (str_eq_nocase(key, str_c(name))) return str_trim(line);
  }
  return STR_NONE;
}

/* Whether the bytes so far end where a reply does. */
static inline bool live_whole(struct str all) {
  while (all.n) {
    const char *end = memmem(all.p, all.n, "\r\n\r\n", 4);
    int64_t k = 0;
    if (!end) return false;
    struct str head = {all.p, (size_t)(end - all.p)}, length = live_header(head, "Content-Length");
    all.n -= head.n + 4, all.p = end + 4;
    if (length.p && (str_to_i64(length, &k) < 0 || k < 0 || (uint64_t)k > all.n)) return false;
    if (!length.p && live_header(head, "Transfer-Encoding").p) {
      const char *last = memmem(all.p, all.n, "\r\n0\r\n\r\n", 7);
      if (!last) return false;
      k = last + 7 - all.p;
    }
    all.p += k, all.n -= (size_t)k;
  }
  return true;
}

static inline struct str live_chunks(struct str *rest, struct buf *whole) {
  size_t from = whole->n;
  for (;;) {
    struct str line = str_cut(rest, '\n');
    char digits[17];
    snprintf(digits, sizeof digits, "%.*s", (int)(line.n < 16 ? line.n : 16), line.p ? line.p : "");
    size_t n = strtoul(digits, NULL, 16);
    if (n > rest->n) BUG("a chunk ends early");
    buf_put(whole, rest->p, n);
    rest->p += n, rest->n -= n;
    (void)str_cut(rest, '\n');
    if (!n) return (struct str){whole->p + from, whole->n - from};
  }
}

static inline void live_judge(const struct live_reply *r) {
  static struct json_parser *jp;
  struct json v;
  struct buf b = {0};
  if (r->status == 500 || r->status < 100 || r->status > 599) fprintf(stderr, "%.*s\n", STR_ARG(r->body)), BUG("a reply of status 500");
  struct str type = live_header(r->head, "Content-Type");
  if (!r->body.n || memmem(type.p ? type.p : "", type.n, "json", 4) == NULL) return;
  if (!jp && json_parser_new(&jp, NULL) < 0) abort();
  buf_str(&b, r->body);
  buf_reserve(&b, 64);
  if (json_parse(jp, b.p, b.n, b.cap, &v, NULL) < 0) BUG("a reply that says it is JSON and is none");
  buf_release(&b);
}

/* Takes a stream of replies apart. A reply without the body that its length announces is one to HEAD. */
static inline int live_replies(struct str all, struct live_reply *out, int most) {
  static struct buf whole;
  int n = 0;
  buf_clear(&whole);
  buf_reserve(&whole, all.n + 1); /* never moves: bodies point into it */
  while (all.n) {
    struct live_reply *r = &out[n];
    const char *end = memmem(all.p, all.n, "\r\n\r\n", 4);
    if (n == most || !end || !str_starts(all, STR("HTTP/1."))) BUG("what the server says is no HTTP");
    r->head = (struct str){all.p, (size_t)(end - all.p)};
    r->status = atoi(all.p + 9);
    all.n -= r->head.n + 4, all.p = end + 4;
    struct str length = live_header(r->head, "Content-Length");
    r->body = STR("");
    if (length.p && !str_starts(all, STR("HTTP/1."))) {
      int64_t k = 0;
      if (str_to_i64(length, &k) < 0 || k < 0 || (all.n && (uint64_t)k > all.n)) BUG("a reply shorter than it says");
      if (all.n) r->body = (struct str){all.p, (size_t)k}, all.p += k, all.n -= (size_t)k;
    } else if (str_eqc(live_header(r->head, "Transfer-Encoding"), "chunked")) {
      r->body = live_chunks(&all, &whole);
    }
    live_judge(r);
    n += r->status != 100;
  }
  return n;
}

/* Sends and reads until the server closes. `open`: the bytes may want more than there is, and then libmicrohttpd would wait until the connection's
 * time is over, half closed or not: whoever hears nothing for a while leaves, and what is not whole by then is not looked at. */
static inline int live_ask(int port, const char *p, size_t n, bool open, struct live_reply *out, int most) {
  static struct buf got;
  static char piece[1 << 16];
  sigset_t alarm;
  ssize_t k;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM); /* libFuzzer's clock: it may interrupt others */
  pthread_sigmask(SIG_BLOCK, &alarm, NULL);
  int fd = live_dial(port);
  while (n && (k = send(fd, p, n, MSG_NOSIGNAL)) > 0) p += k, n -= (size_t)k;
  if (open) {
    struct timeval quiet = {.tv_usec = 50000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet);
  }
  buf_clear(&got);
  while ((k = recv(fd, piece, sizeof piece, 0)) > 0) buf_put(&got, piece, (size_t)k);
  bool gave_up = k < 0; /* or was reset: what had come may be lost then */
  close(fd);
  pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
  if (gave_up && !live_whole((struct str){got.p ? got.p : "", got.n})) return 0;
  return live_replies((struct str){got.p ? got.p : "", got.n}, out, most);
}
#endif
