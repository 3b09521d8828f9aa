/* A call's own functions: failing, finishing, its headers, and the queues that hand it from thread to thread. */
#include <microhttpd.h>
#include <poll.h>
#include <string.h>

#include "base/time.h"
#include "serve/serve_private.h"
#include "vitae.h"

/* {"error": {"code", "message", "field"}}: our own words only. */
void call_fail(struct call *c, int status, const char *code, const char *field, const char *message) {
  struct json_out o;
  buf_clear(&c->out);
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_out_key(&o, "error");
  json_out_object(&o);
  json_kv_c(&o, "code", code);
  json_kv_c(&o, "message", message);
  json_out_key(&o, "field");
  if (field && field[0])
    json_out_c(&o, field);
  else
    json_out_null(&o);
  json_out_end(&o);
  json_out_end(&o);
  c->status = status;
  c->type = "application/json";
  c->csp = NULL;
  if ((status == 429 || status == 503) && c->retry_after == 0) c->retry_after = 1;
}

void call_error(struct call *c, const struct error *e) {
  int status = error_http_status(e->code);
  call_fail(c, status, error_name(e->code), e->field, status == 500 ? "the server failed; its log says more" : e->message);
}

void call_vitae_error(struct call *c, const struct vitae_error *e) {
  int status = error_http_status(e->code);
  call_fail(c, status, error_name(e->code), e->field, status == 500 ? "the server failed; its log says more" : e->message);
}

void call_finish(struct call *c) {
  const struct route_entry *r = c->route >= 0 ? route_at(c->route) : NULL;
  struct server *s = c->server;
  if (c->out.failed) {
    buf_release(&c->out);
    call_fail(c, 503, "nomem", NULL, "out of memory");
  }
  c->stage = CALL_DONE;
  if (r && r->route.role > ROLE_NONE && queue_put(&s->audited, c)) return;
  call_resume(c);
}

void call_resume(struct call *c) { MHD_resume_connection(c->connection); }

/* MHD does not watch a suspended connection; its socket knows whether the other side has closed. */
bool call_client_left(const struct call *c) {
  const union MHD_ConnectionInfo *i = MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  if (!i) return false;
  struct pollfd p = {.fd = i->connect_fd, .events = POLLRDHUP};
  return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

struct str call_header(const struct call *c, const char *name) {
  return str_c(MHD_lookup_connection_value(c->connection, MHD_HEADER_KIND, name));
}
struct str call_query(const struct call *c, const char *name) {
  return str_c(MHD_lookup_connection_value(c->connection, MHD_GET_ARGUMENT_KIND, name));
}

/* ---- queues ---- */

void queue_init(struct call_queue *q, int most) {
  *q = (struct call_queue){.most = most};
  pthread_mutex_init(&q->mutex, NULL);
  pthread_cond_init(&q->wake, NULL);
}

void queue_destroy(struct call_queue *q) {
  pthread_mutex_destroy(&q->mutex);
  pthread_cond_destroy(&q->wake);
}

bool queue_put(struct call_queue *q, struct call *c) {
  pthread_mutex_lock(&q->mutex);
  bool ok = !q->closed && q->n < q->most;
  if (ok) {
    c->next = NULL;
    if (q->tail)
      q->tail->next = c;
    else
      q->head = c;
    q->tail = c;
    q->n++;
    pthread_cond_signal(&q->wake);
  }
  pthread_mutex_unlock(&q->mutex);
  return ok;
}

static void wait_for_one(struct call_queue *q) {
  while (!q->head && !q->closed) pthread_cond_wait(&q->wake, &q->mutex);
}

struct call *queue_take(struct call_queue *q) {
  pthread_mutex_lock(&q->mutex);
  wait_for_one(q);
  struct call *c = q->head;
  if (c) {
    q->head = c->next;
    if (!q->head) q->tail = NULL;
    c->next = NULL;
    q->n--;
  }
  pthread_mutex_unlock(&q->mutex);
  return c;
}

struct call *queue_take_all(struct call_queue *q) {
  pthread_mutex_lock(&q->mutex);
  wait_for_one(q);
  struct call *c = q->head;
  q->head = q->tail = NULL;
  q->n = 0;
  pthread_mutex_unlock(&q->mutex);
  return c;
}

void queue_close(struct call_queue *q) {
  pthread_mutex_lock(&q->mutex);
  q->closed = true;
  pthread_cond_broadcast(&q->wake);
  pthread_mutex_unlock(&q->mutex);
}
