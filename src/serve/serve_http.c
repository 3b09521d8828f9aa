/* The HTTP face: libmicrohttpd with epoll and a small pool of threads that never block, TLS by its GnuTLS. */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "serve/serve_ehr.h"
#include "serve/serve_private.h"
#include "serve/serve_stream.h"
#include "serve/serve_voice.h"
#include "vitae.h"

enum { HTTP_THREADS = 2, PER_ADDRESS = 512 };
#define HEADERS_MOST (16u << 10)
enum { VALUES_MOST = 128 }; /* lines of a head, arguments and cookies together: libmicrohttpd keeps some 80 bytes for each */
/* Of a connection: a head with its values, its cookies once more, and the head of an answer (some 2 KiB). Cleared for every request; half of it
 * is what one read of a body takes. */
#define MEMORY (64u << 10)

#if MHD_VERSION >= 0x00097002
typedef enum MHD_Result mhd_result;
#else
typedef int mhd_result;
#endif

struct face { /* one listener: what MHD hands to every callback */
  struct server *server;
  enum plane plane;
};

/* ---- connections: MHD ends silent ones; who sends or takes a byte now and then is ours to end ---- */

struct line {
  int fd;
  _Atomic double since; /* when the client began to send, or to take what it is given; 0: it waits for us */
  struct line *next, *before;
};

static void line_notify(void *cls, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode what) {
  struct server *s = ((const struct face *)cls)->server;
  struct line *l = *context;
  if (what == MHD_CONNECTION_NOTIFY_STARTED) {
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (!i || !(l = mem_alloc(sizeof *l))) return; /* served without this guard */
    l->fd = i->connect_fd;
    atomic_init(&l->since, time_monotonic());
    l->before = NULL;
    pthread_mutex_lock(&s->lines.mutex);
    l->next = s->lines.first;
    if (l->next) l->next->before = l;
    s->lines.first = l;
    pthread_mutex_unlock(&s->lines.mutex);
    *context = l;
  } else if (l) {
    pthread_mutex_lock(&s->lines.mutex);
    if (l->next) l->next->before = l->before;
    *(l->before ? &l->before->next : &s->lines.first) = l->next;
    pthread_mutex_unlock(&s->lines.mutex);
    mem_free(l);
    *context = NULL;
  }
}

static void line_clock(struct MHD_Connection *connection, bool client) {
  const union MHD_ConnectionInfo *i = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  struct line *l = i ? i->socket_context : NULL;
  if (l) atomic_store(&l->since, client ? time_monotonic() : 0);
}

/* A connection on the list has its socket: MHD closes it after it has told us. */
void lines_cut(struct server *s) {
  double over = time_monotonic() - 4.0 * s->o.timeout_s;
  pthread_mutex_lock(&s->lines.mutex);
  for (struct line *l = s->lines.first; l; l = l->next) {
    double since = atomic_load(&l->since);
    if (since == 0 || since > over) continue;
    (void)shutdown(l->fd, SHUT_RDWR);
    atomic_store(&l->since, 0);
    atomic_fetch_add(&s->n.cut, 1);
  }
  pthread_mutex_unlock(&s->lines.mutex);
}

/* ---- answers ---- */

static void add(struct MHD_Response *r, const char *name, const char *value) { (void)MHD_add_response_header(r, name, value); }

static void add_number(struct MHD_Response *r, const char *name, int64_t v) {
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)v);
  add(r, name, text);
}

/* What Azure's and OpenAI's clients read: ids, quotas, the reason of a failure. */
static void add_developer_headers(const struct call *c, struct MHD_Response *r) {
  const struct quota_state *q = &c->quota;
  add(r, "x-ms-region", "on-premises");
  if (c->client_request[0]) add(r, "x-ms-client-request-id", c->client_request);
  if (c->deployment[0]) add(r, "azureml-model-deployment", c->deployment);
  if (c->voice)
    add(r, "vitae-version", voice_id(c->voice));
  else if (c->served)
    add(r, "vitae-version", served_id(c->served));
  if (c->status >= 400 && c->code[0]) add(r, "x-ms-error-code", c->code);
  if (c->retry_after) add_number(r, "retry-after-ms", 1000 * (int64_t)c->retry_after);
  if (q->limit_requests > 0) {
    add_number(r, "x-ratelimit-limit-requests", q->limit_requests);
    add_number(r, "x-ratelimit-remaining-requests", q->left_requests);
    add_number(r, "x-ratelimit-reset-requests", q->reset_s);
  }
  if (q->limit_tokens > 0) {
    add_number(r, "x-ratelimit-limit-tokens", q->limit_tokens);
    add_number(r, "x-ratelimit-remaining-tokens", q->left_tokens);
    add_number(r, "x-ratelimit-reset-tokens", q->reset_s);
  }
}

/* The origin, if it is on the list; closed by default. The hospital's plane lets browsers of other origins call the CDS services alone. */
static bool origin_allowed(const struct call *c, enum dialect d, struct str origin) {
  struct str rest = str_c(c->server->o.cors);
  if (c->plane == PLANE_HOSPITAL) return d == DIALECT_CDS && ehr_origin(c->server->ehr, origin);
  while (origin.n && rest.n)
    if (str_eq(str_trim(str_cut(&rest, ',')), origin)) return true;
  return false;
}

static void add_cors(const struct call *c, struct MHD_Response *r) {
  struct str origin = call_header(c, "Origin");
  if (!origin.n || !origin_allowed(c, call_dialect(c), origin)) return;
  add(r, "Access-Control-Allow-Origin", origin.p);
  add(r, "Vary", "Origin");
  add(r, "Access-Control-Expose-Headers",
      "x-request-id, apim-request-id, x-ms-client-request-id, x-ms-error-code, vitae-version, x-ratelimit-limit-requests, "
      "x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
      "x-ratelimit-reset-tokens, retry-after, retry-after-ms");
  if (c->status != 204) return;
  add(r, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  add(r, "Access-Control-Allow-Headers",
      "authorization, api-key, content-type, accept, extra-parameters, azureml-model-deployment, x-ms-client-request-id, x-ms-useragent, "
      "x-stainless-retry-count, x-stainless-timeout, x-stainless-lang, x-stainless-package-version, x-stainless-os, x-stainless-arch, "
      "x-stainless-runtime, x-stainless-runtime-version, x-stainless-helper-method, openai-organization, openai-project");
  add(r, "Access-Control-Max-Age", "600");
}

static void add_headers(const struct call *c, struct MHD_Response *r) {
  add(r, "Content-Type", c->type ? c->type : "application/json");
  add(r, "Content-Security-Policy", c->csp ? c->csp : "default-src 'none'; frame-ancestors 'none'");
  add(r, "X-Content-Type-Options", "nosniff");
  add(r, "X-Frame-Options", "DENY");
  add(r, "Referrer-Policy", "no-referrer");
  add(r, "Cross-Origin-Resource-Policy", "same-origin");
  add(r, "Cross-Origin-Opener-Policy", "same-origin");
  add(r, "Permissions-Policy", "camera=(), microphone=(), geolocation=()");
  add(r, "Cache-Control", "no-store");
  add(r, "x-request-id", c->request);
  add(r, "apim-request-id", c->request);
  if (c->server->o.tls_cert) add(r, "Strict-Transport-Security", "max-age=31536000");
  if (c->status == 401) add(r, "WWW-Authenticate", "Bearer realm=\"vitae\"");
  if (c->allow[0]) add(r, "Allow", c->allow);
  if (c->close) add(r, "Connection", "close");
  if (c->retry_after) add_number(r, "Retry-After", c->retry_after);
  if (c->place.n) add(r, "Location", buf_cstr((struct buf *)&c->place));
  if (c->cookie.n) add(r, "Set-Cookie", buf_cstr((struct buf *)&c->cookie));
  if (c->audit_row) add_number(r, "Vitae-Audit", c->audit_row);
  if (c->type && strncmp(c->type, "text/event-stream", 17) == 0) add(r, "X-Accel-Buffering", "no");
  if (c->plane == PLANE_DEVELOPER) add_developer_headers(c, r);
  add_cors(c, r);
}

static mhd_result send_answer(struct call *c) {
  if (!c->counted) {
    c->counted = true;
    histogram_add(&c->server->n.request, time_monotonic() - c->began);
    atomic_fetch_add(&c->server->n.answers[c->route >= 0 ? c->route : ROUTES_MAX][c->status / 100 % 6], 1);
  }
  bool streams = c->stage == CALL_STREAM;
  line_clock(c->connection, !streams);
  struct MHD_Response *r = streams ? stream_response(c) : MHD_create_response_from_buffer(c->out.n, c->out.p, MHD_RESPMEM_MUST_COPY);
  if (!r) return MHD_NO;
  add_headers(c, r);
  mhd_result ok = MHD_queue_response(c->connection, (unsigned)c->status, r);
  MHD_destroy_response(r);
  if (streams && ok == MHD_YES) stream_started(c);
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
  bool chunked, coded, odd;
  const char *next; /* where the next line begins, if the one before ended with CR and LF */
};

/* RFC 9110 5.6.2. libmicrohttpd keeps "Transfer-Encoding " with its space as a name of its own; what stands in front of us may not. */
static bool is_token(struct str s) {
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i], l = c | 32;
    if (!(c >= '0' && c <= '9') && !(l >= 'a' && l <= 'z') && (!c || !strchr("!#$%&'*+-.^_`|~", c))) return false;
  }
  return s.n > 0;
}

/* No CR, LF or NUL, which what stands in front of us may take for an end; nor other control characters. */
static bool is_text(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (((uint8_t)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f) return false;
  return true;
}

/* libmicrohttpd splits the head where it lies. It also ends a line at LF alone, joins folded ones elsewhere and passes over nameless ones: then
 * the lines do not follow on each other by CR and LF. */
static mhd_result count_header(void *ctx, enum MHD_ValueKind kind, const char *name, size_t name_n, const char *value, size_t value_n) {
  struct framing *f = ctx;
  struct str n = {name, name_n}, v = {value ? value : "", value_n};
  (void)kind;
  f->odd = f->odd || !is_token(n) || !is_text(v) || n.p != f->next;
  f->next = v.p + v.n + 2;
  v = str_trim(v);
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
  if (f->odd)
    return *message =
               "a line of the head is a name of letters, digits and marks, a colon without space before it, a value without control "
               "characters, CR and LF",
           400;
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

/* At once as large as Content-Length says, once something of it has come: no copies on the way. */
static bool body_room(struct call *c, size_t more) {
  size_t want = c->body_n + more + STREAM_PAD, cap = c->body_cap ? c->body_cap : 4096;
  int64_t length = 0;
  if (want <= c->body_cap) return true;
  struct str said = call_header(c, "Content-Length");
  if (!c->body_n && said.n && str_to_i64(said, &length) == OK && length > 0 && (uint64_t)length <= c->server->o.body_limit)
    cap = (size_t)length + STREAM_PAD;
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
  memset(c->body + c->body_n, 0, STREAM_PAD);
  return MHD_YES;
}

/* ---- the way of a request ---- */

static mhd_result to_desk(struct call *c) {
  line_clock(c->connection, false);
  MHD_suspend_connection(c->connection);
  if (!queue_put(&c->server->desk, c)) {
    call_fail(c, 429, "busy", NULL, "too many requests at once; try again later");
    call_finish(c);
  }
  return MHD_YES;
}

/* A key that memory knows needs no desk: its body is read at once, its small answer made here. */
static mhd_result go_on(struct call *c, bool post) {
  enum admission a = admit_at_once(c);
  const struct route_entry *r = route_at(c->route);
  if (a == ADMIT_YES && post) {
    c->stage = CALL_BODY;
    return MHD_YES;
  }
  c->stage = CALL_DESK;
  c->repeat = !post; /* suspended at its first call, a request is shown once more as if for the first time */
  if (a == ADMIT_ASK || (a == ADMIT_YES && r->how != BY_MODEL && r->how != LIGHT)) return to_desk(c);
  line_clock(c->connection, false);
  MHD_suspend_connection(c->connection);
  if (a == ADMIT_YES && r->how == BY_MODEL) {
    call_to_worker(c);
    return MHD_YES;
  }
  if (a == ADMIT_YES) r->answer(c);
  call_finish(c);
  return MHD_YES;
}

static mhd_result preflight(struct call *c, bool found) {
  if (!origin_allowed(c, call_dialect(c), call_header(c, "Origin")))
    return found ? refuse(c, 405, "method", "this path does not take that method") : refuse(c, 404, "notfound", "there is no such path");
  c->status = 204;
  c->stage = CALL_DONE;
  return MHD_YES;
}

/* The client's own id of a request, if it is one: letters, digits and dashes. */
static void take_client_id(struct call *c) {
  struct str id = call_header(c, "x-ms-client-request-id");
  if (id.n <= REQUEST_ID && name_plain(id, REQUEST_ID)) snprintf(c->client_request, sizeof c->client_request, "%.*s", STR_ARG(id));
}

static uint64_t address_of(struct MHD_Connection *connection) {
  const union MHD_ConnectionInfo *i = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  const struct sockaddr *a = i ? i->client_addr : NULL;
  if (!a) return 1;
  if (a->sa_family == AF_INET) return hash64(&((const struct sockaddr_in *)a)->sin_addr, 4, 5) | 1;
  return hash64(&((const struct sockaddr_in6 *)a)->sin6_addr, 8, 5) | 1; /* a /64 is one subscriber */
}

/* With mTLS: whether the client showed a certificate of the authority. MHD asks for it; judging it is left to us. */
static bool certificate_right(const struct call *c) {
  if (!c->server->o.tls_client_ca) return true;
  const union MHD_ConnectionInfo *i = MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
  unsigned status = 1;
  return i && i->tls_session && gnutls_certificate_verify_peers2(i->tls_session, &status) == 0 && status == 0;
}

/* How much of a target in absolute form stands before its path. Which host it names is not looked at; signs that a host does not have ('%' above
 * all) may mean another path to whatever stands in front. */
static size_t before_path(const char *target) {
  size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
  const char *host = target + scheme;
  size_t n = scheme ? strcspn(host, "/?") : 0;
  for (size_t i = 0; i < n; i++)
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]", host[i])) return 0;
  return n ? scheme + n : 0;
}

static mhd_result first_call(struct call *c, const char *path, const char *method, const char *version) {
  struct framing f = {.next = version + strlen(version) + 2};
  const char *code = "input", *message = "";
  bool post = strcmp(method, "POST") == 0;
  path += c->authority;
  if (c->authority && !*path) path = "/";
  int found = route_find(c->plane, method, path, c->arg, c->allow);
  c->dialect = found >= 0 ? route_at(found)->route.dialect : route_dialect(c->plane, path);
  (void)MHD_get_connection_values_n(c->connection, MHD_HEADER_KIND, count_header, &f);
  const union MHD_ConnectionInfo *head = MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
  int values = MHD_get_connection_values(c->connection, MHD_HEADER_KIND | MHD_GET_ARGUMENT_KIND | MHD_COOKIE_KIND, NULL, NULL);
  if ((head && head->header_size > HEADERS_MOST) || values > VALUES_MOST) return refuse(c, 431, "limit", "the head is too large");
  f.odd = f.odd || !head || method + head->header_size != f.next + 2;
  if (c->nul) return refuse(c, 400, "input", "the request's target holds a NUL"); /* where path and query would end early for us alone */
  int status = door(c, &f, post && found >= 0, &code, &message);
  c->route = found >= 0 ? found : -1;
  c->address = address_of(c->connection);
  take_client_id(c);
  if (!certificate_right(c)) return refuse(c, 403, "denied", "a client certificate of this server's authority is needed");
  if (status == 400 && (f.odd || f.lengths + f.encodings > 1 || found >= 0)) return refuse(c, status, code, message);
  if ((c->plane == PLANE_DEVELOPER ? c->server->o.cors != NULL : c->server->ehr != NULL) && strcmp(method, "OPTIONS") == 0)
    return preflight(c, found != -1);
  if (found == -2) return refuse(c, 405, "method", "this path does not take that method");
  if (found < 0) return refuse(c, 404, "notfound", "there is no such path");
  c->allow[0] = 0;
  if (status) return refuse(c, status, code, message);
  if (atomic_load(&c->server->draining) && route_at(found)->how != AT_ONCE) {
    c->retry_after = 5;
    return refuse(c, 503, "unavailable", "the server is about to stop");
  }
  if (route_at(found)->how == AT_ONCE) {
    route_at(found)->answer(c);
    c->stage = CALL_DONE; /* sent at the next call: an answer at the first one would close the connection */
    return MHD_YES;
  }
  return go_on(c, post);
}

static mhd_result handle(void *cls, struct MHD_Connection *connection, const char *path, const char *method, const char *http_version,
                         const char *data, size_t *n, void **state) {
  struct call *c = *state;
  (void)cls;
  if (!c) return MHD_NO;
  c->connection = connection;
  switch (c->stage) {
    case CALL_NEW: return first_call(c, path, method, http_version);
    case CALL_BODY_FIRST:
    case CALL_BODY: {
      if (c->stage == CALL_BODY_FIRST) line_clock(connection, true);
      bool again = c->stage == CALL_BODY_FIRST && *n == 0; /* after the resume, before the body: MHD may ask once more */
      size_t got = *n;
      c->stage = CALL_BODY;
      *n = 0;
      if (got) return take_body(c, data, got);
      if (again && c->body_n == 0) return MHD_YES;
      if (c->status) {
        line_clock(connection, false);
        MHD_suspend_connection(connection);
        call_finish(c);
        return MHD_YES;
      }
      input_body(c);
      c->stage = CALL_WORK;
      return to_desk(c);
    }
    case CALL_DONE:
      if (*n == 0 && c->repeat) return c->repeat = false, MHD_YES; /* an answer now would close the connection */
      if (*n == 0) return send_answer(c);
      c->body_n += *n; /* the body of a refused request goes by unread */
      *n = 0;
      return c->body_n > c->server->o.body_limit ? MHD_NO : MHD_YES;
    case CALL_STREAM: return send_answer(c);
    default: return MHD_YES; /* suspended: not reached */
  }
}

/* 8-4-4-4-12 hexadecimal digits: a number of this process, enciphered by mixing, never the same twice. */
static void request_id(struct server *s, char out[REQUEST_ID + 1]) {
  uint64_t n = atomic_fetch_add(&s->requests, 1), a = hash64_u64(s->request_seed ^ n), b = hash64_u64(a ^ s->request_seed);
  snprintf(out, REQUEST_ID + 1, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff),
           (unsigned)(b >> 52), (unsigned long long)(b & 0xffffffffffff));
}

/* The request line is here: a call begins, and its input's hash with the target as it was written. */
static void *begin_call(void *cls, const char *uri, struct MHD_Connection *connection) {
  const struct face *face = cls;
  struct server *s = face->server;
  struct call *c = mem_alloc(sizeof *c);
  if (!c) return NULL;
  memset(c, 0, sizeof *c);
  c->server = s;
  c->plane = face->plane;
  request_id(s, c->request);
  c->connection = connection;
  line_clock(connection, true);
  c->route = -1;
  c->nul = strstr(uri, "%00") != NULL;
  c->authority = before_path(uri);
  c->began = time_monotonic();
  input_begin(c, uri);
  atomic_fetch_add(&s->n.in_flight, 1);
  pthread_mutex_lock(&s->live.mutex);
  c->live_next = s->live.first;
  if (c->live_next) c->live_next->live_before = c;
  s->live.first = c;
  pthread_mutex_unlock(&s->live.mutex);
  return c;
}

static void completed(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why) {
  struct call *c = *state;
  (void)cls, (void)why;
  line_clock(connection, true);
  if (!c) return;
  *state = NULL;
  if (!stream_gone(c)) call_free(c);
}

void call_free(struct call *c) {
  struct server *s = c->server;
  pthread_mutex_lock(&s->live.mutex);
  if (c->live_next) c->live_next->live_before = c->live_before;
  *(c->live_before ? &c->live_before->live_next : &s->live.first) = c->live_next;
  pthread_mutex_unlock(&s->live.mutex);
  served_release(c->served);
  served_release(c->mirror);
  stream_free(c);
  input_end(c);
  body_release(c);
  if (c->job) c->free_job(c->job);
  struct buf *held[] = {&c->out, &c->place, &c->cookie};
  for (int i = 0; i < 3; i++) {
    if (held[i]->p) mem_wipe(held[i]->p, held[i]->cap);
    buf_release(held[i]);
  }
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

static int resolve(const struct serve_options *o, const char *listen, struct sockaddr_storage *out, struct error *e) {
  char host[256], *name = host;
  const char *colon = strrchr(listen, ':');
  struct addrinfo want = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
  int64_t port;
  if (!colon || (size_t)(colon - listen) >= sizeof host || str_to_i64(str_c(colon + 1), &port) < 0 || port < 0 || port > 65535)
    return error_set(e, E_USAGE, "the address to listen on is HOST:PORT, as in 127.0.0.1:8080");
  memcpy(host, listen, (size_t)(colon - listen));
  host[colon - listen] = 0;
  size_t n = strlen(host);
  if (n > 2 && host[0] == '[' && host[n - 1] == ']') host[n - 1] = 0, name++;
  if (getaddrinfo(*name ? name : NULL, colon + 1, &want, &found) != 0) return error_set(e, E_USAGE, "the host to listen on is not known");
  memcpy(out, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  if (!o->tls_cert && !o->insecure && !is_loopback((struct sockaddr *)out))
    return error_set(e, E_USAGE,
                     "plain connections are for loopback only: give --tls-cert and --tls-key, or --insecure where something else encrypts");
  return OK;
}

struct listener {
  struct MHD_Daemon *daemon;
  struct arena arena; /* the TLS key: wiped */
  struct face face;
  char *cert, *key, *ca; /* PEM, in the arena */
  int port, fd, bell;    /* the bell ends the thread that accepts */
  pthread_t thread;
  bool loopback, accepts;
};

/* A bound socket, made while the process may still have rights that it gives up afterwards. */
static int bind_socket(const struct sockaddr_storage *at, int *out, struct error *e) {
  int one = 1, fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  socklen_t size = at->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  if (fd < 0) return error_set(e, E_IO, "a socket cannot be made");
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (const struct sockaddr *)at, size) < 0 || listen(fd, 1024) < 0) {
    close(fd);
    return error_set(e, E_IO, "cannot listen there: the address is taken or not ours");
  }
  *out = fd;
  return OK;
}

static int port_of(const struct sockaddr_storage *at) {
  return ntohs(at->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)at)->sin6_port : ((const struct sockaddr_in *)at)->sin_port);
}

int listener_socket(const struct serve_options *o, const char *listen_at, int *fd, int *port, struct error *e) {
  struct sockaddr_storage at = {0};
  socklen_t size = sizeof at;
  TRY(resolve(o, listen_at, &at, e));
  TRY(bind_socket(&at, fd, e));
  if (getsockname(*fd, (struct sockaddr *)&at, &size) == 0) *port = port_of(&at);
  return OK;
}

static int read_text(struct listener *l, const char *path, char **out, struct error *e) {
  struct str text;
  *out = NULL;
  if (!path) return OK;
  TRY(file_read(&l->arena, path, 1 << 20, &text, e));
  *out = arena_alloc(&l->arena, text.n + 1, 1);
  if (!*out) return error_set(e, E_NOMEM, "out of memory");
  memcpy(*out, text.p, text.n);
  (*out)[text.n] = 0;
  return OK;
}

int listener_bind(struct server *s, enum plane plane, const char *listen_at, struct listener **out, struct error *e) {
  struct sockaddr_storage at = {0};
  struct listener *l = mem_alloc(sizeof *l);
  if (!l) return error_set(e, E_NOMEM, "out of memory");
  memset(l, 0, sizeof *l);
  *out = l;
  l->fd = l->bell = -1;
  l->face = (struct face){s, plane};
  arena_init(&l->arena, 8 << 20, ARENA_WIPE);
  TRY(resolve(&s->o, listen_at, &at, e));
  TRY(bind_socket(&at, &l->fd, e));
  socklen_t size = sizeof at;
  if (getsockname(l->fd, (struct sockaddr *)&at, &size) == 0) l->port = port_of(&at);
  l->loopback = is_loopback((struct sockaddr *)&at);
  TRY(read_text(l, s->o.tls_cert, &l->cert, e));
  TRY(read_text(l, s->o.tls_key, &l->key, e));
  return read_text(l, s->o.tls_client_ca, &l->ca, e);
}
int listener_port(const struct listener *l) { return l->port; }
bool listener_loopback(const struct listener *l) { return l->loopback; }

static bool full(const struct listener *l) {
  const union MHD_DaemonInfo *i = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
  return i && i->num_connections >= CONNECTIONS;
}

/* Connections are accepted here, not by libmicrohttpd: its MHD_quiesce_daemon takes the socket out of the set of a thread that may just be taking it
 * out itself, and ends the process where it comes second (0.9.75). Who finds the server full waits in the backlog. */
static void *accept_main(void *arg) {
  struct listener *l = arg;
  for (;;) {
    bool wait = full(l);
    struct pollfd p[2] = {{.fd = l->bell, .events = POLLIN}, {.fd = wait ? -1 : l->fd, .events = POLLIN}};
    if (poll(p, 2, wait ? 20 : -1) > 0 && p[0].revents) return NULL;
    for (int i = 0; p[1].revents && i < 64; i++) {
      struct sockaddr_storage from;
      socklen_t size = sizeof from;
      int fd = accept4(l->fd, (struct sockaddr *)&from, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) (void)poll(NULL, 0, 20);
        break;
      }
      (void)MHD_add_connection(l->daemon, fd, (struct sockaddr *)&from, size); /* closes what it does not take */
    }
  }
}

int listener_start(struct listener *l, struct error *e) {
  struct server *s = l->face.server;
  struct MHD_OptionItem items[16];
  int n = 0;
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
  if (l->cert) {
    if (!MHD_is_feature_supported(MHD_FEATURE_TLS)) return error_set(e, E_UNAVAILABLE, "this libmicrohttpd was built without TLS");
    flags |= MHD_USE_TLS;
    items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, l->cert};
    items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, l->key};
    if (l->ca) items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, l->ca};
    items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"};
  }
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, HTTP_THREADS, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_PER_IP_CONNECTION_LIMIT, PER_ADDRESS, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_TIMEOUT, s->o.timeout_s, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY, NULL};
  items[n++] = (struct MHD_OptionItem){MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL};
  items[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
  l->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, &l->face, MHD_OPTION_EXTERNAL_LOGGER, quiet, NULL, MHD_OPTION_URI_LOG_CALLBACK,
                               begin_call, &l->face, MHD_OPTION_NOTIFY_COMPLETED, completed, &l->face, MHD_OPTION_NOTIFY_CONNECTION,
                               line_notify, &l->face, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
  if (!l->daemon) return error_set(e, E_IO, "the listener cannot be started; do the certificate and key fit?");
  l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (l->bell < 0 || pthread_create(&l->thread, NULL, accept_main, l) != 0) return error_set(e, E_NOMEM, "a thread cannot be started");
  l->accepts = true;
  return OK;
}

void listener_quiesce(struct listener *l) {
  if (l->accepts && eventfd_write(l->bell, 1) == 0) pthread_join(l->thread, NULL);
  l->accepts = false;
  if (l->fd >= 0) close(l->fd);
  if (l->bell >= 0) close(l->bell);
  l->fd = l->bell = -1;
}

void listener_stop(struct listener *l) {
  if (!l) return;
  listener_quiesce(l);
  if (l->daemon) MHD_stop_daemon(l->daemon);
  arena_free(&l->arena);
  mem_free(l);
}
