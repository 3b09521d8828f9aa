/* The HTTP face: libmicrohttpd with epoll and a small pool of threads that never block, TLS by its GnuTLS, and the server's life. */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "govern/site.h"
#include "serve/engine.h"
#include "serve/serve_private.h"
#include "timeline/timeline.h"
#include "vitae.h"

enum { HTTP_THREADS = 2, DESK_THREADS = 4, CONNECTIONS = 512, PER_ADDRESS = 256, DESK_QUEUE = 256, DRAIN_SECONDS = 30 };
#define BODIES_MOST (512u << 20) /* bytes of bodies in memory, of all requests together */
#define HEADERS_MOST (32u << 10)

#if MHD_VERSION >= 0x00097002
typedef enum MHD_Result mhd_result;
#else
typedef int mhd_result;
#endif

/* ---- answers ---- */

static void add(struct MHD_Response *r, const char *name, const char *value) { (void)MHD_add_response_header(r, name, value); }

static void add_headers(const struct call *c, struct MHD_Response *r) {
  char text[32];
  add(r, "Content-Type", c->type ? c->type : "application/json");
  add(r, "Content-Security-Policy", c->csp ? c->csp : "default-src 'none'; frame-ancestors 'none'");
  add(r, "X-Content-Type-Options", "nosniff");
  add(r, "X-Frame-Options", "DENY");
  add(r, "Referrer-Policy", "no-referrer");
  add(r, "Cross-Origin-Resource-Policy", "same-origin");
  add(r, "Cross-Origin-Opener-Policy", "same-origin");
  add(r, "Permissions-Policy", "camera=(), microphone=(), geolocation=()");
  add(r, "Cache-Control", "no-store");
  if (c->server->o.tls_cert) add(r, "Strict-Transport-Security", "max-age=31536000");
  if (c->status == 401) add(r, "WWW-Authenticate", "Bearer realm=\"vitae\"");
  if (c->allow[0]) add(r, "Allow", c->allow);
  if (c->close) add(r, "Connection", "close");
  if (c->retry_after) snprintf(text, sizeof text, "%d", c->retry_after), add(r, "Retry-After", text);
  if (c->audit_row) snprintf(text, sizeof text, "%lld", (long long)c->audit_row), add(r, "Vitae-Audit", text);
}

static mhd_result send_answer(struct call *c) {
  int routes;
  (void)serve_routes(&routes);
  if (!c->counted) {
    c->counted = true;
    histogram_add(&c->server->n.request, time_monotonic() - c->began);
    atomic_fetch_add(&c->server->n.answers[c->route >= 0 ? c->route : ROUTES_MAX][c->status / 100 % 6], 1);
  }
  struct MHD_Response *r = MHD_create_response_from_buffer(c->out.n, c->out.p, MHD_RESPMEM_MUST_COPY);
  if (!r) return MHD_NO;
  add_headers(c, r);
  mhd_result ok = MHD_queue_response(c->connection, (unsigned)c->status, r);
  MHD_destroy_response(r);
  return ok;
}

static mhd_result refuse(struct call *c, int status, const char *code, const char *message) {
  call_fail(c, status, code, NULL, message);
  c->stage = CALL_DONE;
  c->close = true;
  return send_answer(c);
}

/* ---- the door: what is wrong with a request before anything of it is believed ---- */

struct framing {
  int lengths, encodings, hosts, types;
  bool chunked, coded;
};
static mhd_result count_header(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value) {
  struct framing *f = ctx;
  struct str n = str_c(name), v = str_trim(str_c(value ? value : ""));
  (void)kind;
  f->lengths += str_eq_nocase(n, STR("Content-Length"));
  f->hosts += str_eq_nocase(n, STR("Host"));
  f->types += str_eq_nocase(n, STR("Content-Type"));
  f->coded = f->coded || (str_eq_nocase(n, STR("Content-Encoding")) && !str_eq_nocase(v, STR("identity")));
  if (!str_eq_nocase(n, STR("Transfer-Encoding"))) return MHD_YES;
  f->encodings++;
  f->chunked = str_eq_nocase(v, STR("chunked"));
  return MHD_YES;
}

static bool json_type(struct str t) {
  t = str_trim(str_cut(&t, ';'));
  return str_eq_nocase(t, STR("application/json")) || str_eq_nocase(t, STR("application/fhir+json"));
}

/* 0, or the status of a refusal with its words. libmicrohttpd takes two lengths, or a length beside chunks: the stuff of smuggling. */
static int door(struct call *c, const struct framing *f, bool post, const char **code, const char **message) {
  struct str length = call_header(c, "Content-Length");
  int64_t n = 0;
  *code = "input";
  if (f->lengths + f->encodings > 1) return *message = "a request has one Content-Length or one Transfer-Encoding", 400;
  if (f->encodings && !f->chunked) return *message = "the only Transfer-Encoding taken is chunked", 400;
  if (f->hosts > 1) return *message = "a request has one Host", 400;
  if (f->lengths) {
    for (size_t i = 0; i < length.n; i++)
      if (length.p[i] < '0' || length.p[i] > '9') return *message = "Content-Length is not a number", 400;
    if (str_to_i64(length, &n) < 0) return *code = "limit", *message = "the body is too large", 413;
  }
  if (!post) return n || f->encodings ? (*message = "this request takes no body", 400) : 0;
  if (!n && !f->encodings) return *message = "a body is missing", 400;
  if ((uint64_t)n > c->server->o.body_limit) return *code = "limit", *message = "the body is too large", 413;
  if (f->coded || f->types > 1 || !json_type(call_header(c, "Content-Type")))
    return *code = "mediatype",
           *message = "the body is JSON: Content-Type: application/json or application/fhir+json, without Content-Encoding", 415;
  return 0;
}

/* ---- bodies: identified data, so every copy is wiped ---- */

static void body_release(struct call *c) {
  if (!c->body) return;
  mem_wipe(c->body, c->body_cap);
  mem_free(c->body);
  atomic_fetch_sub(&c->server->n.body_bytes, c->body_cap);
  c->body = NULL;
  c->body_n = c->body_cap = 0;
}

static bool body_room(struct call *c, size_t more) {
  size_t want = c->body_n + more + STREAM_PAD, cap = c->body_cap ? c->body_cap : 4096;
  if (want <= c->body_cap) return true;
  while (cap < want) cap *= 2;
  if (atomic_fetch_add(&c->server->n.body_bytes, cap) + cap > BODIES_MOST) {
    atomic_fetch_sub(&c->server->n.body_bytes, cap);
    return false;
  }
  uint8_t *p = mem_alloc(cap);
  if (!p) {
    atomic_fetch_sub(&c->server->n.body_bytes, cap);
    return false;
  }
  memset(p, 0, cap);
  if (c->body_n) memcpy(p, c->body, c->body_n);
  size_t n = c->body_n;
  body_release(c);
  c->body = p, c->body_n = n, c->body_cap = cap;
  return true;
}

/* A chunked body shows its size only now. The rest of a refused one is read and forgotten, up to once more the limit. */
static mhd_result take_body(struct call *c, const char *p, size_t n) {
  if (c->status) return (c->body_n += n) > 2 * c->server->o.body_limit ? MHD_NO : MHD_YES;
  if (c->body_n + n > c->server->o.body_limit)
    call_fail(c, 413, "limit", NULL, "the body is too large");
  else if (!body_room(c, n))
    call_fail(c, 503, "busy", NULL, "too many large requests at once; try again later");
  if (c->status) {
    size_t seen = c->body_n + n;
    body_release(c);
    c->body_n = seen;
    return MHD_YES;
  }
  memcpy(c->body + c->body_n, p, n);
  c->body_n += n;
  if (c->input_open) sha256_add(&c->input_hash, p, n);
  return MHD_YES;
}

/* ---- the way of a request ---- */

static mhd_result to_desk(struct call *c) {
  MHD_suspend_connection(c->connection);
  if (!queue_put(&c->server->desk, c)) {
    call_fail(c, 429, "busy", NULL, "too many requests at once; try again later");
    call_finish(c);
  }
  return MHD_YES;
}

static mhd_result first_call(struct call *c, const char *path, const char *method) {
  struct framing f = {0};
  const char *code, *message;
  bool post = strcmp(method, "POST") == 0;
  (void)MHD_get_connection_values(c->connection, MHD_HEADER_KIND, count_header, &f);
  int found = route_find(method, path, c->arg, c->allow), status = door(c, &f, post && found >= 0, &code, &message);
  if (status == 400 && (f.lengths + f.encodings > 1 || found >= 0)) return refuse(c, status, code, message);
  if (found == -2) return refuse(c, 405, "method", "this path does not take that method");
  if (found < 0) return refuse(c, 404, "notfound", "there is no such path");
  c->allow[0] = 0;
  c->route = found;
  if (status) return refuse(c, status, code, message);
  if (atomic_load(&c->server->draining) && !route_at(found)->at_once) {
    c->retry_after = 5;
    return refuse(c, 503, "unavailable", "the server is about to stop");
  }
  if (route_at(found)->at_once) {
    route_at(found)->answer(c);
    c->stage = CALL_DONE; /* sent at the next call: an answer at the first one would close the connection */
    return MHD_YES;
  }
  c->stage = CALL_DESK;
  c->repeat = !post; /* suspended at its first call, a request is shown once more as if for the first time */
  return to_desk(c);
}

static mhd_result handle(void *cls, struct MHD_Connection *connection, const char *path, const char *method, const char *http_version,
                         const char *data, size_t *n, void **state) {
  struct call *c = *state;
  (void)cls, (void)http_version;
  if (!c) return MHD_NO;
  c->connection = connection;
  switch (c->stage) {
    case CALL_NEW: return first_call(c, path, method);
    case CALL_BODY_FIRST:
    case CALL_BODY: {
      bool again = c->stage == CALL_BODY_FIRST && *n == 0; /* after the resume, before the body: MHD may ask once more */
      size_t got = *n;
      c->stage = CALL_BODY;
      *n = 0;
      if (got) return take_body(c, data, got);
      if (again && c->body_n == 0) return MHD_YES;
      if (c->status) {
        MHD_suspend_connection(connection);
        call_finish(c);
        return MHD_YES;
      }
      c->stage = CALL_WORK;
      return to_desk(c);
    }
    case CALL_DONE:
      if (*n == 0 && c->repeat) return c->repeat = false, MHD_YES; /* an answer now would close the connection */
      if (*n == 0) return send_answer(c);
      c->body_n += *n; /* the body of a refused request goes by unread */
      *n = 0;
      return c->body_n > c->server->o.body_limit ? MHD_NO : MHD_YES;
    default: return MHD_YES; /* suspended: not reached */
  }
}

/* The request line is here: a call begins, and its input's hash with the target as it was written. */
static void *begin_call(void *cls, const char *uri, struct MHD_Connection *connection) {
  struct server *s = cls;
  struct call *c = mem_alloc(sizeof *c);
  if (!c) return NULL;
  memset(c, 0, sizeof *c);
  c->server = s;
  c->connection = connection;
  c->route = -1;
  c->began = time_monotonic();
  c->input_open = sha256_init(&c->input_hash, NULL) == OK;
  if (c->input_open) {
    sha256_add(&c->input_hash, uri, strlen(uri));
    sha256_add(&c->input_hash, "\n", 1);
  }
  atomic_fetch_add(&s->n.in_flight, 1);
  return c;
}

static void completed(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why) {
  struct server *s = cls;
  struct call *c = *state;
  uint8_t digest[32];
  (void)connection, (void)why;
  if (!c) return;
  *state = NULL;
  if (c->input_open) sha256_end(&c->input_hash, digest);
  body_release(c);
  if (c->out.p) mem_wipe(c->out.p, c->out.cap);
  buf_release(&c->out);
  mem_wipe(c, sizeof *c);
  mem_free(c);
  atomic_fetch_sub(&s->n.in_flight, 1);
}

/* libmicrohttpd's own messages may quote what a client sent. */
static void quiet(void *cls, const char *format, va_list ap) { (void)cls, (void)format, (void)ap; }

/* ---- listening ---- */

static bool is_loopback(const struct sockaddr *a) {
  if (a->sa_family == AF_INET) return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
  return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static int resolve(const struct serve_options *o, struct sockaddr_storage *out, struct error *e) {
  char host[256], *name = host;
  const char *colon = strrchr(o->listen, ':');
  struct addrinfo want = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
  int64_t port;
  if (!colon || (size_t)(colon - o->listen) >= sizeof host || str_to_i64(str_c(colon + 1), &port) < 0 || port < 0 || port > 65535)
    return error_set(e, E_USAGE, "the address to listen on is HOST:PORT, as in 127.0.0.1:8080");
  memcpy(host, o->listen, (size_t)(colon - o->listen));
  host[colon - o->listen] = 0;
  size_t n = strlen(host);
  if (n > 2 && host[0] == '[' && host[n - 1] == ']') host[n - 1] = 0, name++;
  if (getaddrinfo(*name ? name : NULL, colon + 1, &want, &found) != 0) return error_set(e, E_USAGE, "the host to listen on is not known");
  memcpy(out, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  if (!o->tls_cert && !o->insecure && !is_loopback((struct sockaddr *)out))
    return error_set(e, E_USAGE,
                     "plain HTTP is for loopback only: give --tls-cert and --tls-key, or --insecure where something else encrypts");
  return OK;
}

struct listener {
  struct MHD_Daemon *daemon;
  struct arena arena; /* the TLS key: wiped */
  int port;
};

static int listen_on(struct server *s, const struct sockaddr_storage *at, struct listener *l, struct error *e) {
  struct MHD_OptionItem items[16];
  int n = 0;
  struct str cert = {0}, key = {0};
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
  if (at->ss_family == AF_INET6) flags |= MHD_USE_IPv6;
  if (s->o.tls_cert) {
    if (!MHD_is_feature_supported(MHD_FEATURE_TLS)) return error_set(e, E_UNAVAILABLE, "this libmicrohttpd was built without TLS");
    flags |= MHD_USE_TLS;
    TRY(file_read(&l->arena, s->o.tls_cert, 1 << 20, &cert, e));
    TRY(file_read(&l->arena, s->o.tls_key, 1 << 20, &key, e));
    items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert.p};
    items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key.p};
    items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"};
  }
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_SOCK_ADDR, 0, (void *)(uintptr_t)at};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, HTTP_THREADS, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_PER_IP_CONNECTION_LIMIT, PER_ADDRESS, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_TIMEOUT, s->o.timeout_s, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADERS_MOST, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL};
  items[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
  l->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, s, MHD_OPTION_EXTERNAL_LOGGER, quiet, NULL, MHD_OPTION_URI_LOG_CALLBACK,
                               begin_call, s, MHD_OPTION_NOTIFY_COMPLETED, completed, s, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
  if (!l->daemon) return error_set(e, E_IO, "cannot listen there: the address is taken or not ours, or the certificate and key do not fit");
  const union MHD_DaemonInfo *i = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_BIND_PORT);
  l->port = i ? i->port : 0;
  return OK;
}

/* ---- the server's life ---- */

static int open_parts(struct server *s, struct error *e) {
  struct vitae_error ve = {0};
  char dir[4096];
  if (vitae_engine_open(s->o.site, s->o.version, &s->engine, &ve) < 0) {
    char *code = strrchr(ve.message, '('); /* the name of the code, which the caller's error says again */
    if (code && code > ve.message) code[-1] = 0;
    return error_set(e, ve.code, "%s", ve.message);
  }
  TRY(site_path(engine_site(s->engine), dir, "timelines", NULL));
  int rc = timeline_open(dir, &s->store, e);
  if (rc == E_NOTFOUND) s->store = NULL; /* answers for patients who come with the request all the same */
  if (rc < 0 && rc != E_NOTFOUND) return rc;
  for (uint32_t i = 0; s->store && i < timeline_subjects(s->store); i++) s->splits[timeline_view(s->store, i).split]++;
  TRY(keys_open(s->o.site, &s->keys, e));
  return audit_open(s->o.site, &s->audit, e);
}

static void close_parts(struct server *s) {
  audit_close(s->audit);
  keys_close(s->keys);
  if (s->store) timeline_close(s->store);
  vitae_engine_close(s->engine);
}

struct crew {
  pthread_t thread[DESK_THREADS + 2];
  int n;
};

static int hire(struct crew *w, void *(*f)(void *), struct server *s, struct error *e) {
  if (pthread_create(&w->thread[w->n], NULL, f, s) != 0) return error_set(e, E_NOMEM, "a thread cannot be started");
  w->n++;
  return OK;
}

static int hire_all(struct crew *w, struct server *s, struct error *e) {
  TRY(hire(w, audit_main, s, e));
  TRY(hire(w, worker_main, s, e));
  for (int i = 0; i < DESK_THREADS; i++) TRY(hire(w, desk_main, s, e));
  return OK;
}

static void nap(int milliseconds) { (void)poll(NULL, 0, milliseconds); }

/* The desk first, then the model, then the audit: whoever hands calls on stops before whoever takes them. The thread list has the
 * audit at 0 and the worker at 1. */
static void dismiss(struct crew *w, struct server *s) {
  queue_close(&s->desk);
  for (int i = 2; i < w->n; i++) pthread_join(w->thread[i], NULL);
  queue_close(&s->work);
  if (w->n > 1) pthread_join(w->thread[1], NULL);
  queue_close(&s->audited);
  if (w->n > 0) pthread_join(w->thread[0], NULL);
}

static void drain(struct server *s, struct listener *l) {
  atomic_store(&s->draining, true);
  MHD_socket fd = MHD_quiesce_daemon(l->daemon);
  if (fd != MHD_INVALID_SOCKET) close(fd);
  log_line(LOG_INFO, "stopping: %d requests in flight", atomic_load(&s->n.in_flight));
  double until = time_monotonic() + DRAIN_SECONDS;
  while (atomic_load(&s->n.in_flight) > 0 && time_monotonic() < until) nap(20);
}

static int run(struct server *s, struct listener *l, struct crew *w, struct error *e) {
  struct sockaddr_storage at = {0};
  TRY(resolve(&s->o, &at, e));
  TRY(open_parts(s, e));
  TRY(hire_all(w, s, e));
  TRY(listen_on(s, &at, l, e));
  atomic_store(&s->ready, true);
  if (s->o.ready) s->o.ready(s->o.ctx, l->port);
  while (!cancel_requested()) nap(100);
  drain(s, l);
  return OK;
}

static int check_options(struct serve_options *o, struct error *e) {
  if (!o->tls_cert != !o->tls_key) return error_set(e, E_USAGE, "a certificate and its key come together");
  if (!o->listen) o->listen = "127.0.0.1:8080";
  if (o->queue <= 0) o->queue = 64;
  if (o->body_limit == 0) o->body_limit = 8u << 20;
  if (o->timeout_s <= 0) o->timeout_s = 30;
  if (o->queue > CONNECTIONS || o->body_limit > BODIES_MOST / 4)
    return error_set(e, E_USAGE, "at most %d requests may wait, and a body has at most %u MiB", CONNECTIONS, BODIES_MOST / 4 >> 20);
  return OK;
}

int serve_run(const struct serve_options *o, struct error *e) {
  struct server *s = mem_alloc(sizeof *s);
  struct listener l = {0};
  struct crew w = {0};
  if (!s) return error_set(e, E_NOMEM, "out of memory");
  memset(s, 0, sizeof *s);
  s->o = *o;
  s->started = time_monotonic();
  int rc = check_options(&s->o, e);
  queue_init(&s->desk, DESK_QUEUE);
  queue_init(&s->work, s->o.queue);
  queue_init(&s->audited, 2 * CONNECTIONS);
  arena_init(&l.arena, 4 << 20, ARENA_WIPE);
  if (rc == OK) rc = run(s, &l, &w, e);
  dismiss(&w, s); /* whoever is still waiting is answered or let go, so that no connection is suspended when the daemon stops */
  if (l.daemon) MHD_stop_daemon(l.daemon);
  arena_free(&l.arena);
  queue_destroy(&s->desk), queue_destroy(&s->work), queue_destroy(&s->audited);
  close_parts(s);
  mem_free(s);
  return rc;
}
