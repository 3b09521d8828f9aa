/* A load generator for bench/run-serve: keep-alive connections over plain sockets, closed loop or at a given rate (latency from the planned
 * moment, so that a late server is not flattered: Tene's coordinated omission).
 *
 *     serve_bench PORT CONNECTIONS SECONDS RATE METHOD TARGET KEY [BODY_FILE]      RATE 0 = as fast as answers come
 *
 * Prints: answered, refused (429), failed, seconds, p50, p99, longest (ms), one line. One thread polls all connections: half a core at most. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "base/time.h"

enum { MOST = 512, ANSWER = 1 << 20 };
struct connection {
  int fd;
  bool busy;
  size_t sent, got, want; /* want: whole answer's bytes, 0 = head not complete */
  double planned;
  char answer[8192];
};
static struct buf request;
static double *latency;
static size_t latencies, refused, failed;

static int dial(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static int compare(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

static bool push(struct connection *c) {
  while (c->sent < request.n) {
    ssize_t k = send(c->fd, request.p + c->sent, request.n - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (k < 0) return errno == EAGAIN;
    c->sent += (size_t)k;
  }
  return true;
}

/* -1 broken, 0 more to come, 1 whole */
static int pull(struct connection *c, int *status) {
  static char skip[1 << 16];
  for (;;) {
    bool head = c->want == 0;
    ssize_t k = recv(c->fd, head ? c->answer + c->got : skip, head ? sizeof c->answer - 1 - c->got : sizeof skip, MSG_DONTWAIT);
    if (k <= 0) return k < 0 && errno == EAGAIN ? 0 : -1;
    c->got += (size_t)k;
    if (head) {
      c->answer[c->got] = 0;
      const char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\nContent-Length:");
      if (!end && c->got == sizeof c->answer - 1) return -1;
      if (end) c->want = (size_t)(end + 4 - c->answer) + (length ? strtoul(length + 17, NULL, 10) : 0);
      if (sscanf(c->answer, "HTTP/1.1 %d", status) != 1) return -1;
    }
    if (c->want && c->got >= c->want) return 1;
  }
}

int main(int argc, char **argv) {
  static struct connection c[MOST];
  static struct pollfd p[MOST];
  struct arena a;
  struct str body = STR_NONE;
  if (argc < 8) return fprintf(stderr, "usage: serve_bench PORT CONNECTIONS SECONDS RATE METHOD TARGET KEY [BODY_FILE]\n"), 64;
  int port = atoi(argv[1]), n = atoi(argv[2]);
  double seconds = atof(argv[3]), rate = atof(argv[4]);
  arena_init(&a, 64 << 20, 0);
  if (argc > 8 && file_read(&a, argv[8], 32 << 20, &body, NULL) < 0) return 66;
  buf_printf(&request, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n", argv[5], argv[6], argv[7]);
  if (body.p) buf_printf(&request, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.n);
  buf_puts(&request, "\r\n");
  if (body.p) buf_str(&request, body);
  latency = malloc(sizeof *latency * 20000000);
  if (!latency || n > MOST) return 71;
  for (int i = 0; i < n; i++) {
    c[i].fd = dial(port);
    if (c[i].fd < 0) return fprintf(stderr, "cannot connect\n"), 69;
    p[i] = (struct pollfd){.fd = c[i].fd};
  }
  double began = time_monotonic(), next = began, now;
  while ((now = time_monotonic()) < began + seconds) {
    for (int i = 0; i < n; i++) {
      if (c[i].busy || (rate > 0 && next > now)) continue;
      c[i].busy = true;
      c[i].sent = c[i].got = c[i].want = 0;
      c[i].planned = rate > 0 ? next : now;
      if (rate > 0) next += 1 / rate;
    }
    for (int i = 0; i < n; i++) p[i].events = c[i].busy ? POLLIN | (c[i].sent < request.n ? POLLOUT : 0) : 0;
    (void)poll(p, (nfds_t)n, rate > 0 ? 1 : 100);
    for (int i = 0; i < n; i++) {
      int status = 0, whole = 0;
      if (!c[i].busy || !(p[i].revents || c[i].sent == 0)) continue;
      if (!push(&c[i]) || (whole = pull(&c[i], &status)) < 0) {
        failed++;
        close(c[i].fd);
        c[i] = (struct connection){.fd = dial(port)};
        p[i].fd = c[i].fd;
      } else if (whole) {
        c[i].busy = false;
        if (status == 200)
          latency[latencies++] = time_monotonic() - c[i].planned;
        else if (status == 429)
          refused++;
        else
          failed++;
      }
    }
  }
  seconds = time_monotonic() - began;
  if (latencies) qsort(latency, latencies, sizeof *latency, compare);
  printf("%zu %zu %zu %.3f %.3f %.3f %.3f\n", latencies, refused, failed, seconds, latencies ? latency[latencies / 2] * 1e3 : 0,
         latencies ? latency[(size_t)((double)latencies * .99)] * 1e3 : 0, latencies ? latency[latencies - 1] * 1e3 : 0);
  arena_free(&a);
  return failed > latencies;
}
