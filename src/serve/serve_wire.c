/* Sockets with time limits, plain or by GnuTLS: MLLP in and out. */
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"
#include "serve/serve_mllp.h"

static const char priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

struct wire_tls {
  gnutls_certificate_credentials_t credentials;
  bool server, ask; /* ask: the client must show a certificate */
};

static gnutls_datum_t datum(const char *text) { return (gnutls_datum_t){(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)}; }

int wire_tls_new(bool server, const char *cert, const char *key, const char *ca, struct wire_tls **out, struct error *e) {
  struct wire_tls *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "out of memory");
  *t = (struct wire_tls){.server = server, .ask = server && ca};
  int rc = gnutls_certificate_allocate_credentials(&t->credentials) == 0 ? OK : error_set(e, E_NOMEM, "out of memory");
  if (rc < 0) {
    mem_free(t);
    return rc;
  }
  if (cert && key) {
    gnutls_datum_t c = datum(cert), k = datum(key);
    if (gnutls_certificate_set_x509_key_mem(t->credentials, &c, &k, GNUTLS_X509_FMT_PEM) < 0)
      rc = error_set(e, E_USAGE, "the certificate and its key do not fit, or are no PEM");
  }
  if (rc == OK && ca) {
    gnutls_datum_t a = datum(ca);
    if (gnutls_certificate_set_x509_trust_mem(t->credentials, &a, GNUTLS_X509_FMT_PEM) < 1)
      rc = error_set(e, E_USAGE, "the authority's file holds no PEM certificate");
  } else if (rc == OK && !server && gnutls_certificate_set_x509_system_trust(t->credentials) < 1) {
    rc = error_set(e, E_UNAVAILABLE, "this machine has no list of authorities; name one");
  }
  if (rc < 0)
    wire_tls_free(t);
  else
    *out = t;
  return rc;
}

void wire_tls_free(struct wire_tls *t) {
  if (!t) return;
  gnutls_certificate_free_credentials(t->credentials);
  mem_free(t);
}

/* True when the socket is ready; `until` by the monotonic clock. */
static bool await(int fd, short what, double until) {
  for (;;) {
    double left = until - time_monotonic();
    struct pollfd p = {.fd = fd, .events = what};
    int n = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

static double limit(int timeout_ms) { return time_monotonic() + timeout_ms / 1000.0; }

static bool handshake(struct wire *w, const struct wire_tls *t, const char *host, double until) {
  gnutls_session_t s;
  if (gnutls_init(&s, (t->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) return false;
  w->tls = s;
  if (gnutls_priority_set_direct(s, priorities, NULL) < 0 || gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, t->credentials) < 0)
    return false;
  if (t->server) gnutls_certificate_server_set_request(s, t->ask ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
  if (t->ask) gnutls_session_set_verify_cert(s, NULL, 0);
  if (!t->server) {
    (void)gnutls_server_name_set(s, GNUTLS_NAME_DNS, host, strlen(host));
    gnutls_session_set_verify_cert(s, host, 0);
  }
  gnutls_transport_set_int(s, w->fd);
  for (int rc; (rc = gnutls_handshake(s)) < 0;) {
    if (gnutls_error_is_fatal(rc)) return false;
    if (rc == GNUTLS_E_AGAIN && !await(w->fd, gnutls_record_get_direction(s) ? POLLOUT : POLLIN, until)) return false;
  }
  return true;
}

static void prepare(int fd) {
  int one = 1;
  (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

bool wire_accept(struct wire *w, int fd, const struct wire_tls *t, int timeout_ms) {
  *w = (struct wire){.fd = fd};
  prepare(fd);
  if (!t || handshake(w, t, NULL, limit(timeout_ms))) return true;
  wire_close(w);
  return false;
}

static int connected(const char *host, const char *port, double until) {
  struct addrinfo want = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *all;
  int fd = -1;
  if (getaddrinfo(host, port, &want, &all) != 0) return -1;
  for (const struct addrinfo *a = all; a && fd < 0; a = a->ai_next) {
    int wrong = 0;
    socklen_t size = sizeof wrong;
    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) continue;
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) break;
    if (errno == EINPROGRESS && await(fd, POLLOUT, until) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &wrong, &size) == 0 && !wrong) break;
    close(fd);
    fd = -1;
  }
  freeaddrinfo(all);
  return fd;
}

int wire_dial(struct wire *w, const char *host_port, const struct wire_tls *t, int timeout_ms, struct error *e) {
  char host[256], *name = host;
  const char *colon = strrchr(host_port, ':');
  double until = limit(timeout_ms);
  if (!colon || (size_t)(colon - host_port) >= sizeof host) return error_set(e, E_USAGE, "an address is HOST:PORT");
  memcpy(host, host_port, (size_t)(colon - host_port));
  host[colon - host_port] = 0;
  size_t n = strlen(host);
  if (n > 2 && host[0] == '[' && host[n - 1] == ']') host[n - 1] = 0, name++;
  *w = (struct wire){.fd = connected(name, colon + 1, until)};
  if (w->fd < 0) return error_set(e, E_UNAVAILABLE, "the other side cannot be reached");
  prepare(w->fd);
  if (!t || handshake(w, t, name, until)) return OK;
  wire_close(w);
  return error_set(e, E_UNAVAILABLE, "no TLS connection: is its certificate of the authority, and does it bear the name?");
}

ptrdiff_t wire_read(struct wire *w, void *p, size_t n, int timeout_ms) {
  double until = limit(timeout_ms);
  for (;;) {
    ssize_t k = w->tls ? gnutls_record_recv(w->tls, p, n) : recv(w->fd, p, n, 0);
    if (k > 0) return k;
    if (k == 0) return WIRE_CLOSED;
    bool again = w->tls ? k == GNUTLS_E_AGAIN || k == GNUTLS_E_INTERRUPTED || k == GNUTLS_E_REHANDSHAKE
                        : errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    if (!again) return WIRE_FAILED;
    if (!await(w->fd, POLLIN, until)) return WIRE_LATE;
  }
}

bool wire_write(struct wire *w, const void *p, size_t n, int timeout_ms) {
  const char *from = p;
  double until = limit(timeout_ms);
  while (n) {
    ssize_t k = w->tls ? gnutls_record_send(w->tls, from, n) : send(w->fd, from, n, MSG_NOSIGNAL);
    if (k > 0) {
      from += k, n -= (size_t)k;
      continue;
    }
    bool again =
        w->tls ? k == GNUTLS_E_AGAIN || k == GNUTLS_E_INTERRUPTED : k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    if (!again || !await(w->fd, POLLOUT, until)) return false;
  }
  return true;
}

void wire_close(struct wire *w) {
  if (w->tls) {
    (void)gnutls_bye(w->tls, GNUTLS_SHUT_WR);
    gnutls_deinit(w->tls);
  }
  if (w->fd >= 0) close(w->fd);
  *w = (struct wire){.fd = -1};
}
