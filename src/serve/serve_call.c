/* A call's own functions: failing, finishing, its headers, and the queues that hand it from thread to thread. */
#include <microhttpd.h>
#include <poll.h>
#include <string.h>

#include "base/time.h"
#include "serve/serve_private.h"
#include "serve/serve_stream.h"
#include "vitae.h"

enum dialect call_dialect(const struct call *c) { return c->route >= 0 ? route_at(c->route)->route.dialect : c->dialect; }

void call_fail(struct call *c, int status, const char *code, const char *field, const char *message) {
  struct json_out o;
  buf_clear(&c->out);
  json_out_init(&o, &c->out, false);
  c->status = status;
  c->type = call_dialect(c) == DIALECT_FHIR ? "application/fhir+json; charset=utf-8" : "application/json";
  c->csp = NULL;
  if ((status == 429 || status == 503) && c->retry_after == 0) c->retry_after = 1;
  error_envelope(c, call_dialect(c), status, code, field && field[0] ? field : NULL, message, &o);
}

void call_error(struct call *c, const struct error *e) {
  int status = error_http_status(e->code);
  call_fail(c, status, error_name(e->code), e->field, status == 500 ? "the server failed; its log says more" : e->message);
}

void call_vitae_error(struct call *c, const struct vitae_error *e) {
  int status = error_http_status(e->code);
  call_fail(c, status, error_name(e->code), e->field, status == 500 ? "the server failed; its log says more" : e->message);
}

const struct vitae_engine *call_engine(struct call *c) {
  if (!c->served) c->served = fleet_live(c->server->fleet);
  return served_engine(c->served);
}

const char *call_version(struct call *c) {
  (void)call_engine(c);
  return served_id(c->served);
}

bool call_versioned(struct call *c) {
  if (call_engine(c)) return true;
  call_fail(c, 503, "unavailable", NULL, NO_VERSION);
  return false;
}

void call_finish(struct call *c) {
  const struct route_entry *r = c->route >= 0 ? route_at(c->route) : NULL;
  struct server *s = c->server;
  if (c->out.failed) {
    buf_release(&c->out);
    call_fail(c, 503, "nomem", NULL, "out of memory");
  }
  if (c->status == 499 && atomic_load(&s->giving_up))
    call_fail(c, 503, "unavailable", NULL, "the server has stopped before the answer was made");
  if (c->probes) probe_end(c);
  if (c->quota.reserved || c->tokens_in) quota_settle(s->quotas, c);
  if (c->stream) {
    stream_end(c);
    return;
  }
  c->stage = CALL_DONE;
  if (r && (r->route.scope != SCOPE_OPEN || r->admit) && queue_put(&s->audited, c)) return;
  call_resume(c);
}

void call_resume(struct call *c) { MHD_resume_connection(c->connection); }

/* MHD does not watch a suspended connection; its socket knows whether the other side has closed. Who has left, and whom the server leaves when
 * its time is over, are not worked for. */
bool call_client_left(const struct call *c) {
  if (atomic_load(&c->server->giving_up)) return true;
  if (c->stream) return stream_left(c);
  if (!c->connection) return false;
  const union MHD_ConnectionInfo *i = MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  if (!i) return false;
  struct pollfd p = {.fd = i->connect_fd, .events = POLLRDHUP};
  return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

struct str call_header(const struct call *c, const char *name) {
  return c->connection ? str_c(MHD_lookup_connection_value(c->connection, MHD_HEADER_KIND, name)) : STR_NONE;
}
struct str call_query(const struct call *c, const char *name) {
  return c->connection ? str_c(MHD_lookup_connection_value(c->connection, MHD_GET_ARGUMENT_KIND, name)) : STR_NONE;
}

/* ---- queues ---- */

void queue_init(struct call_queue *q, int most, bool fair) {
  *q = (struct call_queue){.most = most, .lanes = fair ? LANES : 1};
  pthread_mutex_init(&q->mutex, NULL);
  pthread_cond_init(&q->wake, NULL);
}

void queue_destroy(struct call_queue *q) {
  pthread_mutex_destroy(&q->mutex);
  pthread_cond_destroy(&q->wake);
}

void queue_limit(struct call_queue *q, int takers) { q->takers = takers; }

/* Odd lanes are the developers'. */
static bool is_outside(const struct call_queue *q, const struct lane *l) { return (l - q->lane) % 2 != 0; }
static struct lane *lane_of(struct call_queue *q, const struct call *c) {
  if (q->lanes == 1) return &q->lane[0];
  return &q->lane[hash64(c->who.tenant, strlen(c->who.tenant), 3) % ((unsigned)q->lanes / 2) * 2 + (c->plane == PLANE_DEVELOPER)];
}
static void count(struct call_queue *q, struct lane *l, int by) {
  l->n += by, q->n += by;
  if (is_outside(q, l)) q->outside += by;
}

bool queue_put(struct call_queue *q, struct call *c) {
  pthread_mutex_lock(&q->mutex);
  struct lane *l = lane_of(q, c);
  bool outside = is_outside(q, l);
  int n = outside ? q->outside : q->n - q->outside;
  bool greedy = q->lanes > 1 && 2 * l->n >= q->most && (outside || n > l->n);
  bool ok = !q->closed && n < q->most && !greedy;
  if (ok) {
    c->next = NULL;
    if (l->tail)
      l->tail->next = c;
    else
      l->head = c;
    l->tail = c;
    count(q, l, 1);
    pthread_cond_signal(&q->wake);
  }
  pthread_mutex_unlock(&q->mutex);
  return ok;
}

static bool reserved(const struct call_queue *q) { return q->takers > 1 && q->occupied >= q->takers - 1 && !q->closed; }
static void wait_for_one(struct call_queue *q) {
  while (!(reserved(q) ? q->n - q->outside : q->n) && !q->closed) pthread_cond_wait(&q->wake, &q->mutex);
}

static struct lane *next_lane(struct call_queue *q) {
  for (int i = 0; i < q->lanes; i++) {
    struct lane *l = &q->lane[(q->turn + i) % q->lanes];
    if (l->head && !(is_outside(q, l) && reserved(q))) return l;
  }
  return NULL;
}

struct call *queue_take(struct call_queue *q) {
  struct call *c = NULL;
  pthread_mutex_lock(&q->mutex);
  wait_for_one(q);
  struct lane *l = next_lane(q);
  if (l) {
    c = l->head;
    l->head = c->next;
    if (!l->head) l->tail = NULL;
    count(q, l, -1);
    if (is_outside(q, l) && q->takers) q->occupied++;
    c->next = NULL;
    q->turn = (int)(l - q->lane + 1) % q->lanes;
  }
  pthread_mutex_unlock(&q->mutex);
  return c;
}

void queue_done(struct call_queue *q, enum plane plane) {
  if (plane != PLANE_DEVELOPER) return;
  pthread_mutex_lock(&q->mutex);
  q->occupied--;
  pthread_cond_signal(&q->wake);
  pthread_mutex_unlock(&q->mutex);
}

struct call *queue_take_all(struct call_queue *q) {
  if (q->lanes != 1) BUG("a fair queue gives one at a time");
  pthread_mutex_lock(&q->mutex);
  wait_for_one(q);
  struct call *c = q->lane[0].head;
  q->lane[0] = (struct lane){0};
  q->n = 0;
  pthread_mutex_unlock(&q->mutex);
  return c;
}

struct call *queue_take_if(struct call_queue *q, bool (*over)(const struct call *c)) {
  struct call *chain = NULL;
  pthread_mutex_lock(&q->mutex);
  for (int i = 0; i < q->lanes; i++) {
    struct lane *l = &q->lane[i];
    struct call *kept = NULL, *next;
    for (struct call **at = &l->head; *at;) {
      struct call *c = *at;
      if (!over(c)) {
        kept = c, at = &c->next;
        continue;
      }
      next = c->next;
      c->next = chain, chain = c;
      *at = next;
      count(q, l, -1);
    }
    l->tail = kept;
  }
  pthread_mutex_unlock(&q->mutex);
  return chain;
}

void queue_close(struct call_queue *q) {
  pthread_mutex_lock(&q->mutex);
  q->closed = true;
  pthread_cond_broadcast(&q->wake);
  pthread_mutex_unlock(&q->mutex);
}
