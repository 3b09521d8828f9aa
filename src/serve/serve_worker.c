/* The model's one worker, and its measures. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"
#include "base/time.h"
#include "model/model.h"
#include "predict/predict.h"
#include "serve/engine.h"
#include "serve/serve_mllp.h"
#include "serve/serve_stream.h"
#include "vitae.h"

const double histogram_edge[HISTOGRAM_EDGES] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10};

static _Thread_local struct predictor *own; /* on the site's store; made at its first use */
static _Thread_local struct served *own_of; /* the version that it is of: counted */

static void forget_own(void) {
  if (own) predictor_free(own);
  served_release(own_of);
  own = NULL, own_of = NULL;
}

struct predictor *worker_predictor(struct call *c, struct error *e) {
  const struct vitae_engine *en = call_engine(c);
  if (own_of != c->served) {
    forget_own();
    if (predictor_new(engine_model(en), c->server->store, &own, e) < 0) return own = NULL;
    own_of = served_keep(c->served);
  }
  return own;
}

/* The same question to the version that nobody sees yet: its answer goes into the audit as SHADOW (hash, status, time), no further. The
 * client has its own answer by then; and while others wait, a mirror does not. */
static struct call *mirror_of(struct call *c) {
  if (!c->mirror || c->status != 200) return NULL;
  struct call *m = mem_alloc(sizeof *m);
  uint8_t *body = m ? mem_alloc(c->body_cap + 1) : NULL;
  if (!body) {
    mem_free(m);
    return NULL;
  }
  input_end(c);
  stream_copy(c, m); /* a copy of its own: the call may be gone at any moment once it is finished */
  memcpy(body, c->body, c->body_cap);
  m->body = body;
  m->out = (struct buf){0};
  m->connection = NULL;
  m->job = NULL, m->place = m->cookie = (struct buf){0};
  m->served = served_keep(c->mirror), m->mirror = NULL;
  m->shadow = true, m->input_open = false;
  m->verdict[0] = 0;
  m->status = 200, m->tokens_in = m->tokens_out = 0;
  return m;
}

static void run_mirror(struct server *s, struct call *m) {
  struct audit_entry row;
  struct error e = {0};
  bool skip = atomic_load(&s->n.waiting) > 0;
  if (!skip) {
    m->began = time_monotonic();
    route_at(m->route)->answer(m);
    call_describe(m, &row);
    pthread_mutex_lock(&s->mirror_mutex);
    if (audit_write(s->mirror_audit, &row, 1, &e) < 0) log_failure(LOG_ERROR, &e);
    pthread_mutex_unlock(&s->mirror_mutex);
  }
  atomic_fetch_add(skip ? &s->n.mirror_skipped : &s->n.mirrored, 1);
  served_release(m->served);
  if (m->out.p) mem_wipe(m->out.p, m->out.cap);
  buf_release(&m->out);
  mem_wipe(m->body, m->body_cap);
  mem_free(m->body);
  mem_free(m);
}

/* A conversation takes long and little of this thread: the language model's own does the work. */
void *talker_main(void *server) {
  struct server *s = server;
  struct call *c;
  while ((c = queue_take(&s->talk))) {
    atomic_fetch_sub(&s->n.waiting, 1);
    if (call_client_left(c)) {
      atomic_fetch_add(&s->n.dropped, 1);
      call_fail(c, 499, "cancelled", NULL, "the client left before its turn came");
      c->close = true;
    } else {
      c->talking = true;
      route_at(c->route)->answer(c);
      if (c->status == 499) atomic_fetch_add(&s->n.dropped, 1), c->close = true;
    }
    call_finish(c);
  }
  forget_own();
  return NULL;
}

static void to_talkers(struct call *c) {
  struct server *s = c->server;
  c->to_talkers = false;
  atomic_fetch_add(&s->n.waiting, 1);
  if (queue_put(&s->talk, c)) return;
  atomic_fetch_sub(&s->n.waiting, 1);
  atomic_fetch_add(&s->n.rejected, 1);
  c->retry_after = 2;
  call_fail(c, 429, "busy", NULL, "too many requests are waiting for the language model; try again later");
  call_finish(c);
}

void *worker_main(void *server) {
  struct server *s = server;
  struct call *c;
  thread_fast_float();
  while ((c = queue_take(&s->work))) {
    struct call *shadow = NULL;
    enum plane plane = c->plane; /* the call may be gone once it is finished */
    atomic_fetch_sub(&s->n.waiting, 1);
    if (call_client_left(c)) { /* nobody would read it: the model has better things to do */
      atomic_fetch_add(&s->n.dropped, 1);
      call_fail(c, 499, "cancelled", NULL, "the client left before its turn came");
      c->close = true;
    } else {
      double began = time_monotonic();
      route_at(c->route)->answer(c);
      histogram_add(&s->n.worker, time_monotonic() - began);
      if (c->to_talkers) {
        to_talkers(c);
        queue_done(&s->work, plane);
        continue;
      }
      if (c->status == 499) atomic_fetch_add(&s->n.dropped, 1), c->close = true;
      shadow = mirror_of(c);
    }
    call_finish(c);
    if (shadow) run_mirror(s, shadow);
    queue_done(&s->work, plane);
  }
  forget_own();
  return NULL;
}

void histogram_add(struct histogram *h, double seconds) {
  int i = 0;
  while (i < HISTOGRAM_EDGES && seconds > histogram_edge[i]) i++;
  atomic_fetch_add(&h->bucket[i], 1);
  atomic_fetch_add(&h->nanoseconds, (uint64_t)(seconds * 1e9));
  atomic_fetch_add(&h->count, 1);
}

static void histogram_text(const char *name, const char *help, const struct histogram *h, struct buf *b) {
  uint64_t sum = 0;
  buf_printf(b, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
  for (int i = 0; i < HISTOGRAM_EDGES; i++) {
    sum += atomic_load(&h->bucket[i]);
    buf_printf(b, "%s_bucket{le=\"%g\"} %llu\n", name, histogram_edge[i], (unsigned long long)sum);
  }
  sum += atomic_load(&h->bucket[HISTOGRAM_EDGES]);
  buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9f\n%s_count %llu\n", name, (unsigned long long)sum, name,
             (double)atomic_load(&h->nanoseconds) / 1e9, name, (unsigned long long)sum);
}

static void one(struct buf *b, const char *name, const char *kind, const char *help, uint64_t v) {
  buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, kind, name, (unsigned long long)v);
}

/* Prometheus text format 0.0.4. Labels are route patterns and key-free: no label comes from a request. */
void metrics_text(struct server *s, struct buf *b) {
  struct counters *n = &s->n;
  buf_puts(b, "# HELP vitae_requests_total Answers by route pattern and class of status.\n# TYPE vitae_requests_total counter\n");
  int routes = 0;
  (void)serve_routes(&routes);
  for (int r = 0; r <= routes; r++)
    for (int class = 1; class < 6; class ++) {
      uint64_t v = atomic_load(&n->answers[r < routes ? r : ROUTES_MAX][class]);
      const struct route *t = r < routes ? &route_at(r)->route : NULL;
      if (v)
        buf_printf(b, "vitae_requests_total{method=\"%s\",route=\"%s\",status=\"%dxx\"} %llu\n", t ? t->method : "", t ? t->path : "",
                   class, (unsigned long long)v);
    }
  histogram_text("vitae_request_seconds", "From the request's first byte to its answer.", &n->request, b);
  histogram_text("vitae_model_seconds", "Time of the model worker for one answer.", &n->worker, b);
  histogram_text("vitae_key_hash_seconds", "Time of one Argon2id check.", &n->hash, b);
  one(b, "vitae_requests_in_flight", "gauge", "Requests begun and not yet answered.", (uint64_t)atomic_load(&n->in_flight));
  one(b, "vitae_model_waiting", "gauge", "Requests waiting for the model.", (uint64_t)atomic_load(&n->waiting));
  one(b, "vitae_model_rejected_total", "counter", "Requests refused because too many were waiting.", atomic_load(&n->rejected));
  one(b, "vitae_model_dropped_total", "counter", "Requests dropped because their client left before the answer was made.",
      atomic_load(&n->dropped));
  one(b, "vitae_limited_total", "counter", "Requests refused because a key's quota was used up.", atomic_load(&n->limited));
  one(b, "vitae_mirrored_total", "counter", "Answers of versions in shadow, stored and not sent.", atomic_load(&n->mirrored));
  one(b, "vitae_mirror_skipped_total", "counter", "Answers that a version in shadow did not give because others waited.",
      atomic_load(&n->mirror_skipped));
  one(b, "vitae_swaps_total", "counter", "Times that the versions or deployments in use were changed while serving.",
      atomic_load(&n->swaps));
  one(b, "vitae_keys_refused_total", "counter", "Requests without a valid key.", atomic_load(&n->refused_keys));
  one(b, "vitae_audit_rows_total", "counter", "Audit rows committed by this process.", atomic_load(&n->audit_rows));
  one(b, "vitae_audit_failures_total", "counter", "Answers withheld because the audit could not be written.",
      atomic_load(&n->audit_failures));
  one(b, "vitae_filter_replaced_total", "counter", "Places in developers' answers that the output filter replaced.",
      atomic_load(&n->filter_replaced));
  one(b, "vitae_filter_refused_total", "counter", "Answers to developers that the output filter kept back.",
      atomic_load(&n->filter_refused));
  one(b, "vitae_cds_cards_total", "counter", "CDS Hooks cards given.", atomic_load(&n->cds_cards));
  one(b, "vitae_connections_cut_total", "counter", "Connections ended because a request or the taking of an answer took too long.",
      atomic_load(&n->cut));
  one(b, "vitae_cds_misses_total", "counter", "CDS Hooks requests answered with an empty list because the time was over.",
      atomic_load(&n->cds_misses));
  one(b, "vitae_cds_fetches_total", "counter", "Requests to FHIR servers for what prefetch did not hold.", atomic_load(&n->cds_fetches));
  one(b, "vitae_cds_feedback_total", "counter", "Cards of which feedback came.", atomic_load(&n->cds_feedback));
  one(b, "vitae_body_bytes", "gauge", "Bytes of request bodies in memory.", atomic_load(&n->body_bytes));
  if (s->mllp) mllp_metrics(s->mllp, b);
  one(b, "vitae_uptime_seconds", "gauge", "Seconds since the start.", (uint64_t)(time_monotonic() - s->started));
  struct served *live = fleet_live(s->fleet);
  buf_printf(b,
             "# HELP vitae_build_info The program and the version of the model.\n# TYPE vitae_build_info "
             "gauge\nvitae_build_info{program=\"%s\",version=\"%s\"} 1\n",
             vitae_version(), served_id(live));
  served_release(live);
}
