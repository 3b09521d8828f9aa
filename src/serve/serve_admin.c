/* What an administrator sees: audit, keys, usage, requests under way, versions in use; and the deep probe. */
#include <string.h>

#include "base/thread.h"
#include "base/time.h"
#include "serve/engine.h"
#include "serve/serve_private.h"
#include "vitae.h"

#define PROBE_SECONDS 5.0
enum { LIVE_MOST = 200 };

static int whole(struct call *c, const char *name, int64_t least, int64_t most, int64_t *out) {
  struct str s = call_query(c, name);
  char text[96];
  if (!s.p || (str_to_i64(s, out) == OK && *out >= least && *out <= most)) return OK;
  snprintf(text, sizeof text, "expected a whole number from %lld to %lld", (long long)least, (long long)most);
  call_fail(c, 400, "input", name, text);
  return E_INPUT;
}

static int plain(struct call *c, const char *name, size_t most, char *out) {
  struct str s = call_query(c, name);
  out[0] = 0;
  if (!s.n) return OK;
  if (!name_plain(s, most)) {
    call_fail(c, 400, "input", name, "expected letters, digits, '-', '_' and '.'");
    return E_INPUT;
  }
  snprintf(out, most + 1, "%.*s", STR_ARG(s));
  return OK;
}

void answer_audit(struct call *c) {
  struct error e = {0};
  struct json_out o;
  char key[CALLER_ID + 1], tenant[TENANT_MOST + 1], request[REQUEST_ID + 1];
  struct audit_search q = {.key = key, .tenant = tenant, .request = request, .limit = 100, .status_to = 999};
  int64_t status = 0;
  if (whole(c, "limit", 1, 1000, &q.limit) < 0 || whole(c, "before", 1, INT64_MAX, &q.before) < 0 ||
      whole(c, "status", 1, 599, &status) < 0)
    return;
  if (plain(c, "key", CALLER_ID, key) < 0 || plain(c, "tenant", TENANT_MOST, tenant) < 0 || plain(c, "request", REQUEST_ID, request) < 0)
    return;
  if (status)
    q.status_from = status < 10 ? status * 100 : status, q.status_to = status < 10 ? status * 100 + 99 : status; /* 4 = all of 4xx */
  c->status = 200;
  json_out_init(&o, &c->out, false);
  pthread_mutex_lock(&c->server->desk_mutex);
  int rc = audit_latest(c->server->desk_audit, &q, &o, &e);
  pthread_mutex_unlock(&c->server->desk_mutex);
  if (rc < 0) call_error(c, &e);
}

void answer_keys(struct call *c) {
  struct error e = {0};
  struct json_out o;
  c->status = 200;
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_out_key(&o, "keys");
  pthread_mutex_lock(&c->server->desk_mutex);
  int rc = key_rows(audit_db(c->server->desk_audit), &o, &e);
  pthread_mutex_unlock(&c->server->desk_mutex);
  json_out_end(&o);
  if (rc < 0) call_error(c, &e);
}

/* An administrator sees all tenants; a developer's key its own. */
void answer_usage(struct call *c) {
  struct error e = {0};
  struct json_out o;
  int64_t days = 30;
  if (whole(c, "days", 1, 3660, &days) < 0) return;
  c->status = 200;
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_i64(&o, "days", days);
  json_out_key(&o, "usage");
  pthread_mutex_lock(&c->server->desk_mutex);
  int rc =
      audit_usage(audit_db(c->server->desk_audit), c->plane == PLANE_DEVELOPER ? c->who.tenant : "", time_now() - days * TIME_DAY, &o, &e);
  pthread_mutex_unlock(&c->server->desk_mutex);
  json_out_end(&o);
  if (rc < 0) call_error(c, &e);
}

/* Read without their owners' lock: only what does not change once the route is known, and the stage, for show. */
void answer_live_requests(struct call *c) {
  static const char *const stages[] = {"new", "desk", "body", "body", "model", "answered", "streaming", "streaming"};
  struct server *s = c->server;
  struct json_out o;
  int n = 0;
  double now = time_monotonic();
  c->status = 200;
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_out_key(&o, "requests");
  json_out_array(&o);
  pthread_mutex_lock(&s->live.mutex);
  for (const struct call *x = s->live.first; x && n < LIVE_MOST; x = x->live_next) {
    int route = x->route;
    if (route < 0) continue;
    n++;
    json_out_object(&o);
    json_kv_c(&o, "request", x->request);
    json_kv_c(&o, "method", route_at(route)->route.method);
    json_kv_c(&o, "route", route_at(route)->route.path);
    json_kv_c(&o, "plane", x->plane == PLANE_DEVELOPER ? "developer" : "hospital");
    json_kv_c(&o, "stage", stages[x->stage]);
    json_kv_f64(&o, "seconds", now - x->began);
    json_out_end(&o);
  }
  pthread_mutex_unlock(&s->live.mutex);
  json_out_end(&o);
  json_kv_i64(&o, "in_flight", atomic_load(&s->n.in_flight));
  json_kv_i64(&o, "waiting", atomic_load(&s->n.waiting));
  json_out_end(&o);
}

void answer_deployments(struct call *c) {
  struct json_out o;
  c->status = 200;
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_c(&o, "live", call_version(c));
  json_out_key(&o, "deployments");
  fleet_json(c->server->fleet, &o);
  json_out_end(&o);
}

/* A made-up life through the whole path: wall, tokens, forward pass. The last result stands for five seconds, so that nobody can make the
 * model busy with it. */
static struct {
  pthread_mutex_t mutex;
  double when;
  bool good, under_way;
  struct call *others; /* who came meanwhile: a chain by `next` */
} probe = {.mutex = PTHREAD_MUTEX_INITIALIZER, .when = -1e9};

static void say_probed(struct call *c, bool good) {
  buf_puts(&c->out, good ? "generates\n" : "does not generate\n");
  c->status = good ? 200 : 503;
  c->type = "text/plain; charset=utf-8";
}

bool probe_begin(struct call *c) {
  pthread_mutex_lock(&probe.mutex);
  bool known = time_monotonic() - probe.when <= PROBE_SECONDS, good = probe.good;
  c->probes = !known && !probe.under_way;
  if (c->probes)
    probe.under_way = true;
  else if (!known)
    c->next = probe.others, probe.others = c;
  bool first = c->probes; /* another thread may have finished the call once the lock is gone */
  pthread_mutex_unlock(&probe.mutex);
  if (known) say_probed(c, good), call_finish(c);
  return first;
}

/* Whatever the one was told goes for all who wait with it, unless its client left: then the next one asks. */
void probe_end(struct call *c) {
  pthread_mutex_lock(&probe.mutex);
  struct call *x = probe.others, *next;
  probe.others = NULL;
  probe.under_way = c->probes = false;
  if (c->status == 499 && x) probe.others = x->next;
  pthread_mutex_unlock(&probe.mutex);
  if (c->status == 499 && x) {
    call_to_worker(x);
    return;
  }
  for (; x; x = next) {
    next = x->next;
    x->status = c->status, x->retry_after = c->retry_after, x->type = c->type;
    snprintf(x->code, sizeof x->code, "%s", c->code);
    buf_put(&x->out, c->out.p, c->out.n);
    call_finish(x);
  }
}

void answer_generate(struct call *c) {
  static const char life[] =
      "{\"subject\":\"probe\",\"birth\":\"1950-01-01\",\"events\":[{\"time\":\"2020-01-01T08:00:00\",\"code\":\"LOINC//2160-0\","
      "\"value\":1.2,\"unit\":\"mg/dL\"}]}";
  struct vitae_error ve = {0};
  vitae_session *s = NULL;
  char *json = NULL;
  bool good = vitae_session_open(call_engine(c), &s, &ve) == 0 && vitae_session_add_events(s, life, sizeof life - 1, &ve) == 0 &&
              vitae_session_predict(s, &(vitae_query){.outcomes = 1}, &json, &ve) == 0;
  vitae_free(json);
  vitae_session_close(s);
  pthread_mutex_lock(&probe.mutex);
  probe.good = good, probe.when = time_monotonic();
  pthread_mutex_unlock(&probe.mutex);
  say_probed(c, good);
}
