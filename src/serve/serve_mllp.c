/* The MLLP listener: settings, connections, frames. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "govern/site.h"
#include "serve/engine.h"
#include "serve/serve_mllp.h"

enum { MLLP_CONNECTIONS = 256, PIPELINE = 32, READ_PIECE = 64 << 10, NOISE_MOST = 64 << 10, STACK = 1 << 20 };
#define IDLE_MS (3600 * 1000) /* interface engines keep their connections open between messages */

/* ---- settings ---- */

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

static int take_text(struct json v, const char *field, char *out, size_t size, struct error *e) {
  struct str s = json_str(v);
  if (json_kind(v) == JSON_NONE) return OK;
  if (!s.p || s.n >= size || (s.n && memchr(s.p, 0, s.n))) return bad(e, field, "expected a short text");
  memcpy(out, s.p, s.n);
  out[s.n] = 0;
  return OK;
}

static int take_list(struct json v, const char *field, char *out, size_t size, int *n, struct error *e) {
  struct json item;
  if (json_kind(v) == JSON_NONE) return OK;
  if (json_kind(v) != JSON_ARRAY || json_count(v) > MLLP_LIST) return bad(e, field, "expected a list of at most 32 texts");
  for (struct json_iter it = json_items(v); json_next(&it, &item); ++*n) {
    if (json_kind(item) != JSON_STRING) return bad(e, field, "expected a list of at most 32 texts");
    TRY(take_text(item, field, out + size * (size_t)*n, size, e));
  }
  return OK;
}

static int take_number(struct json root, const char *field, int64_t least, int64_t most, int64_t *out, struct error *e) {
  struct json v = json_get(root, field);
  if (json_kind(v) == JSON_NONE) return OK;
  if (!json_i64(v, out) || *out < least || *out > most) return bad(e, field, "a whole number out of its range; see docs/hospital-plane.md");
  return OK;
}

static int only_known(struct json root, const char *const *names, struct error *e) {
  struct json v;
  struct str key;
  for (struct json_iter it = json_members(root); json_next_member(&it, &key, &v);) {
    int i = 0;
    while (names[i] && !str_eqc(key, names[i])) i++;
    if (!names[i]) return bad(e, "", "a setting that does not exist; see docs/hospital-plane.md");
  }
  return OK;
}

static int take_results(struct json r, struct mllp_settings *s, struct error *e) {
  static const char *const known[] = {"to", "tls", "ca", "application", "facility", "tasks", "after", "tries", "key", NULL};
  if (json_kind(r) == JSON_NONE) return OK;
  if (json_kind(r) != JSON_OBJECT) return bad(e, "results", "expected an object");
  TRY(only_known(r, known, e));
  TRY(take_text(json_get(r, "to"), "results.to", s->to, sizeof s->to, e));
  TRY(take_text(json_get(r, "ca"), "results.ca", s->ca, sizeof s->ca, e));
  TRY(take_text(json_get(r, "key"), "results.key", s->key, sizeof s->key, e));
  TRY(take_text(json_get(r, "application"), "results.application", s->application, sizeof s->application, e));
  TRY(take_text(json_get(r, "facility"), "results.facility", s->facility, sizeof s->facility, e));
  TRY(take_list(json_get(r, "tasks"), "results.tasks", s->task[0], sizeof s->task[0], &s->tasks, e));
  TRY(take_list(json_get(r, "after"), "results.after", s->after[0], sizeof s->after[0], &s->afters, e));
  TRY(take_number(r, "tries", 1, 1000, &s->tries, e));
  struct json tls = json_get(r, "tls");
  if (json_kind(tls) != JSON_NONE && !json_bool(tls, &s->tls)) return bad(e, "results.tls", "expected true or false");
  if (s->ca[0] && !s->tls) return bad(e, "results.ca", "without \"tls\": true nothing is encrypted, so no authority is asked");
  if (!strrchr(s->to, ':')) return bad(e, "results.to", "expected HOST:PORT");
  if (!s->afters) {
    static const char *const usual[] = {"A01", "A04", "R01"};
    for (; s->afters < 3; s->afters++) snprintf(s->after[s->afters], sizeof s->after[0], "%s", usual[s->afters]);
  }
  return OK;
}

static int take_settings(struct json root, struct mllp_settings *s, struct error *e) {
  static const char *const known[] = {"store", "senders", "memory", "remember_days", "results", NULL};
  static const char *const memory[] = {"hours", "mib", NULL};
  if (json_kind(root) != JSON_OBJECT) return bad(e, "", "expected an object");
  TRY(only_known(root, known, e));
  struct json store = json_get(root, "store"), kept = json_get(root, "memory");
  if (json_kind(store) != JSON_NONE && !json_bool(store, &s->store)) return bad(e, "store", "expected true or false");
  TRY(take_list(json_get(root, "senders"), "senders", s->sender[0], sizeof s->sender[0], &s->senders, e));
  TRY(take_number(root, "remember_days", 1, 3650, &s->remember_days, e));
  if (json_kind(kept) != JSON_NONE) {
    if (json_kind(kept) != JSON_OBJECT) return bad(e, "memory", "expected an object");
    TRY(only_known(kept, memory, e));
    TRY(take_number(kept, "hours", 1, 24 * 366, &s->hours, e));
    TRY(take_number(kept, "mib", 1, 4096, &s->mib, e));
  }
  return take_results(json_get(root, "results"), s, e);
}

int mllp_settings_load(const char *path, struct mllp_settings *out, struct error *e) {
  struct arena a;
  struct json root;
  *out = (struct mllp_settings){.hours = 72, .mib = 64, .remember_days = 30, .tries = 10};
  if (!path) return OK;
  arena_init(&a, 4 << 20, 0);
  int rc = json_load(&a, path, &root, e);
  if (rc == OK) rc = take_settings(root, out, e);
  if (rc < 0) (void)error_where(e, path, 0, NULL);
  arena_free(&a);
  return rc;
}

/* ---- one connection ---- */

struct connection {
  struct mllp *m;
  struct wire wire;
  int fd;
  pthread_t thread;
  atomic_int state; /* SLOT_… */
};
enum { SLOT_FREE, SLOT_RUNS, SLOT_ENDED };
struct mllp_listener {
  pthread_t thread;
  bool started;
  pthread_mutex_t mutex; /* of the slots' descriptors */
  struct connection slot[MLLP_CONNECTIONS];
};

static int nothing(void *ctx UNUSED, const struct record *r UNUSED, struct error *e UNUSED) { return OK; }

static bool sender_known(const struct mllp_settings *s, const struct hl7v2_answer *a) {
  for (int i = 0; i < s->senders; i++) {
    struct str facility = str_c(s->sender[i]), application = str_cut(&facility, '|');
    if (str_eq(application, a->application) && str_eq(facility, a->facility)) return true;
  }
  return s->senders == 0;
}

/* What can be said of a message by itself. */
static void look(struct mllp *m, struct arena *a, struct hl7_item *it) {
  struct record_stats none = {0};
  struct error e = {0};
  const struct record_sink sink = {.record = nothing};
  it->began = time_monotonic();
  if (hl7v2_take(&m->options, a, it->message, 0, 1, "mllp", &sink, &none, &it->answer, &e) < 0)
    hl7v2_problem_add(&it->answer, "AE", "", 0, "cannot be taken at the moment; send it again", 207);
  if (strcmp(it->answer.code, "AA") == 0 && !it->answer.control.n)
    hl7v2_problem_add(&it->answer, "AE", "MSH", 10, "no control id: a message that is sent again could not be known again", 101);
  if (strcmp(it->answer.code, "AA") == 0 && !sender_known(&m->set, &it->answer))
    hl7v2_problem_add(&it->answer, "AR", "MSH", 4, "not one of the senders that are taken", 103);
  /* a message is kept, asked for and told of as one patient's: one of several would be told another's risk */
  if (strcmp(it->answer.code, "AA") == 0 && it->answer.several)
    hl7v2_problem_add(&it->answer, "AE", "PID", 0, "more than one patient in a message: send one message for each", 100);
  it->person = hl7_person(m, it->answer.person), it->replaced = hl7_person(m, it->answer.replaced);
}

static bool answer_all(struct connection *c, struct arena *a, struct hl7_item *it, int n) {
  struct mllp *m = c->m;
  struct buf out = {0};
  for (int i = 0; i < n; i++) look(m, a, &it[i]);
  hl7_record(m, it, n);
  for (int i = 0; i < n; i++) {
    hl7_remember(m, &it[i]);
    hl7v2_frame_put(&out, (struct str){it[i].reply.p, it[i].reply.n});
    buf_release(&it[i].reply);
  }
  bool ok = !out.failed && wire_write(&c->wire, out.p, out.n, m->server->o.timeout_s * 1000);
  buf_release(&out);
  arena_reset(a);
  return ok;
}

/* Whole messages from the front of `in`; what is left moves there. False: the connection is to end. */
static bool take_frames(struct connection *c, struct arena *a, struct buf *in, size_t *noise) {
  struct hl7_item it[PIPELINE];
  size_t at = 0;
  bool ok = true, more = true;
  while (ok && more) {
    int n = 0;
    while (n < PIPELINE && more) {
      size_t used;
      struct str rest = {in->p + at, in->n - at};
      it[n] = (struct hl7_item){0};
      enum hl7v2_frame f = rest.n ? hl7v2_frame_next(rest, &it[n].message, &used) : HL7V2_FRAME_MORE;
      if (!rest.n) used = 0;
      if (f == HL7V2_FRAME_WHOLE) {
        n++;
        *noise = 0;
      } else {
        *noise += used; /* between blocks, or a block that another one cut off: its sender waits in vain and sends again */
      }
      at += used;
      more = f != HL7V2_FRAME_MORE;
    }
    if (n) ok = answer_all(c, a, it, n);
  }
  memmove(in->p, in->p + at, in->n - at);
  mem_wipe(in->p + in->n - at, at);
  in->n -= at;
  return ok && *noise <= NOISE_MOST;
}

/* A message beyond the limit is answered with AE, as far as its head can be read; then the connection ends. What has come of it is already
 * longer than hl7v2_take takes: a piece is never taken for the whole. */
static void refuse_long(struct connection *c, struct arena *a, struct buf *in) {
  struct hl7_item it = {.message = {in->p + 1, in->n - 1}};
  if (in->n) (void)answer_all(c, a, &it, 1);
}

static void converse(struct connection *c) {
  struct mllp *m = c->m;
  struct server *s = m->server;
  struct buf in = {0};
  struct arena a;
  size_t noise = 0, limit = s->o.body_limit, counted = 0;
  double began = 0;
  arena_init(&a, 0, ARENA_WIPE);
  while (!atomic_load(&m->stopping)) {
    int wait = IDLE_MS;
    if (in.n) wait = (int)((began + s->o.timeout_s - time_monotonic()) * 1000);
    if (wait <= 0 || !buf_reserve(&in, READ_PIECE)) break;
    if (in.cap > counted) { /* all connections together have a share of the memory for bodies */
      size_t grown = in.cap - counted;
      counted = in.cap;
      if (atomic_fetch_add(&s->n.body_bytes, grown) + grown > BODIES_MOST) break;
    }
    ptrdiff_t got = wire_read(&c->wire, in.p + in.n, READ_PIECE, wait);
    if (got <= 0) break;
    if (!in.n) began = time_monotonic();
    in.n += (size_t)got;
    size_t all = in.n;
    if (!take_frames(c, &a, &in, &noise)) break;
    if (in.n < all) began = time_monotonic(); /* what is left is of another message */
    if (in.n > limit + 2) {                   /* the block's start and, before its last byte, its end may be among them */
      refuse_long(c, &a, &in);
      break;
    }
  }
  atomic_fetch_sub(&s->n.body_bytes, counted);
  if (in.p) mem_wipe(in.p, in.cap);
  buf_release(&in);
  arena_free(&a);
}

static void *connection_main(void *ctx) {
  struct connection *c = ctx;
  struct mllp *m = c->m;
  atomic_fetch_add(&m->n.connections, 1);
  bool ok = wire_accept(&c->wire, c->fd, m->tls_in, 10000);
  if (ok) converse(c);
  pthread_mutex_lock(&m->listener->mutex);
  c->fd = -1;
  pthread_mutex_unlock(&m->listener->mutex);
  if (ok) wire_close(&c->wire);
  atomic_fetch_sub(&m->n.connections, 1);
  atomic_store(&c->state, SLOT_ENDED);
  return NULL;
}

static struct connection *free_slot(struct mllp_listener *l) {
  struct connection *found = NULL;
  for (int i = 0; i < MLLP_CONNECTIONS; i++) {
    struct connection *c = &l->slot[i];
    if (atomic_load(&c->state) == SLOT_ENDED) {
      pthread_join(c->thread, NULL);
      atomic_store(&c->state, SLOT_FREE);
    }
    if (!found && atomic_load(&c->state) == SLOT_FREE) found = c;
  }
  return found;
}

static void *listener_main(void *ctx) {
  struct mllp *m = ctx;
  struct mllp_listener *l = m->listener;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, STACK);
  while (!atomic_load(&m->stopping)) {
    struct pollfd p = {.fd = m->fd, .events = POLLIN};
    if (poll(&p, 1, 200) <= 0) continue;
    int fd = accept4(m->fd, NULL, NULL, SOCK_CLOEXEC);
    struct connection *c = fd >= 0 ? free_slot(l) : NULL;
    if (fd >= 0 && !c) close(fd); /* as many as there may be */
    if (!c) continue;
    c->m = m, c->fd = fd;
    atomic_store(&c->state, SLOT_RUNS);
    if (pthread_create(&c->thread, &small, connection_main, c) == 0) continue;
    atomic_store(&c->state, SLOT_FREE);
    close(fd);
  }
  pthread_attr_destroy(&small);
  return NULL;
}

/* ---- the whole ---- */

/* Results bear names. By its letters alone: what a name leads to may change. */
static bool stays_here(const char *to) {
  struct str rest = str_c(to);
  char host[256];
  struct in_addr v4;
  struct in6_addr v6;
  rest.n = (size_t)(strrchr(to, ':') - to);
  if (rest.n > 2 && rest.p[0] == '[' && rest.p[rest.n - 1] == ']') rest = (struct str){rest.p + 1, rest.n - 2};
  snprintf(host, sizeof host, "%.*s", STR_ARG(rest));
  if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  if (inet_pton(AF_INET6, host, &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return strcmp(host, "localhost") == 0;
}

static int load_settings(struct mllp *m, const char *path, struct error *e) {
  struct mllp_settings *s = &m->set;
  TRY(mllp_settings_load(path, s, e));
  if (!s->to[0] || s->tls || m->server->o.insecure || stays_here(s->to)) return OK;
  (void)error_set(e, E_INPUT, "plain results are for loopback only: set \"tls\": true, or give --insecure where something else encrypts");
  return error_where(e, path, 0, "results.to");
}

static int open_tls(struct mllp *m, struct error *e) {
  const struct serve_options *o = &m->server->o;
  struct arena a;
  struct str cert = STR_NONE, key = STR_NONE, ca = STR_NONE, theirs = STR_NONE;
  arena_init(&a, 8 << 20, ARENA_WIPE);
  int rc = OK;
  if (o->tls_cert) rc = file_read(&a, o->tls_cert, 1 << 20, &cert, e);
  if (rc == OK && o->tls_key) rc = file_read(&a, o->tls_key, 1 << 20, &key, e);
  if (rc == OK && o->tls_client_ca) rc = file_read(&a, o->tls_client_ca, 1 << 20, &ca, e);
  if (rc == OK && m->set.ca[0]) rc = file_read(&a, m->set.ca, 1 << 20, &theirs, e);
  if (rc == OK && o->tls_cert) rc = wire_tls_new(true, cert.p, key.p, ca.p, &m->tls_in, e);
  if (rc == OK && m->set.tls) rc = wire_tls_new(false, cert.p, key.p, theirs.p, &m->tls_out, e);
  arena_free(&a);
  return rc;
}

static int open_all(struct mllp *m, struct error *e) {
  const struct serve_options *o = &m->server->o;
  struct site site;
  char path[4096];
  TRY(site_open(o->site, &site, e));
  TRY(site_path(&site, path, "mllp.json", NULL));
  TRY(load_settings(m, o->mllp_settings ? o->mllp_settings : file_exists(path) ? path : NULL, e));
  TRY(site_find(&site, "mapping", "hl7v2", path, e));
  TRY(hl7v2_tables_load(path, &m->tables, e));
  m->options = (struct hl7v2_options){.tables = m->tables, .message_limit = o->body_limit};
  if (m->set.key[0]) TRY(hl7_key_load(m->set.key, m->keep.key, e));
  TRY(listener_socket(o, o->mllp_listen, &m->fd, &m->port, e));
  return open_tls(m, e);
}

/* Conditions that somebody waits for with a limit go by the clock that does not jump. */
static void init_timed(pthread_cond_t *c) {
  pthread_condattr_t steady;
  pthread_condattr_init(&steady);
  pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
  pthread_cond_init(c, &steady);
  pthread_condattr_destroy(&steady);
}

static void init(struct mllp *m, struct server *s) {
  memset(m, 0, sizeof *m);
  m->server = s;
  m->fd = -1;
  m->clerk.store = -1;
  pthread_mutex_init(&m->clerk.mutex, NULL), pthread_mutex_init(&m->memory.mutex, NULL);
  pthread_mutex_init(&m->risk.mutex, NULL), pthread_mutex_init(&m->send.mutex, NULL), pthread_mutex_init(&m->keep.mutex, NULL);
  pthread_cond_init(&m->clerk.work, NULL), pthread_cond_init(&m->clerk.done, NULL);
  pthread_cond_init(&m->risk.work, NULL);
  init_timed(&m->send.work), init_timed(&m->keep.work);
}

int mllp_open(struct server *s, struct mllp **out, struct error *e) {
  struct mllp *m = mem_alloc(sizeof *m);
  if (!m) return error_set(e, E_NOMEM, "out of memory");
  init(m, s);
  *out = m;
  m->listener = mem_alloc(sizeof *m->listener);
  if (!m->listener) return error_set(e, E_NOMEM, "out of memory");
  memset(m->listener, 0, sizeof *m->listener);
  pthread_mutex_init(&m->listener->mutex, NULL);
  return open_all(m, e);
}

int mllp_start(struct mllp *m, struct error *e) {
  TRY(hl7_clerk_start(m, e));
  if (m->set.to[0]) {
    TRY(hl7_keep_start(m, e));
    TRY(hl7_send_start(m, e));
    TRY(hl7_risk_start(m, e));
  }
  if (pthread_create(&m->listener->thread, NULL, listener_main, m) != 0) return error_set(e, E_NOMEM, "a thread cannot be started");
  m->listener->started = true;
  return OK;
}

static void stop_listening(struct mllp *m) {
  struct mllp_listener *l = m->listener;
  atomic_store(&m->stopping, true);
  if (l && l->started) pthread_join(l->thread, NULL);
  for (int i = 0; l && i < MLLP_CONNECTIONS; i++) {
    pthread_mutex_lock(&l->mutex);
    if (atomic_load(&l->slot[i].state) == SLOT_RUNS && l->slot[i].fd >= 0) shutdown(l->slot[i].fd, SHUT_RD);
    pthread_mutex_unlock(&l->mutex);
  }
  for (int i = 0; l && i < MLLP_CONNECTIONS; i++)
    if (atomic_load(&l->slot[i].state) != SLOT_FREE) pthread_join(l->slot[i].thread, NULL);
}

void mllp_stop(struct mllp *m) {
  if (!m) return;
  stop_listening(m);
  hl7_clerk_stop(m);
  hl7_risk_stop(m);
  hl7_send_stop(m);
  hl7_keep_stop(m);
  if (m->fd >= 0) close(m->fd);
  m->fd = -1;
}

void mllp_free(struct mllp *m) {
  if (!m) return;
  hl7_forget_all(m);
  wire_tls_free(m->tls_in), wire_tls_free(m->tls_out);
  hl7v2_tables_free(m->tables);
  if (m->listener) pthread_mutex_destroy(&m->listener->mutex);
  mem_free(m->listener);
  mem_free(m);
}

static void count(struct buf *b, const char *name, const char *help, uint64_t v) {
  buf_printf(b, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", name, help, name, name, (unsigned long long)v);
}

void mllp_metrics(struct mllp *m, struct buf *b) {
  static const char *const code[3] = {"AA", "AE", "AR"};
  buf_puts(b, "# HELP vitae_hl7_messages_total HL7 v2 messages by acknowledgement.\n# TYPE vitae_hl7_messages_total counter\n");
  for (int i = 0; i < 3; i++)
    buf_printf(b, "vitae_hl7_messages_total{code=\"%s\"} %llu\n", code[i], (unsigned long long)atomic_load(&m->n.answers[i]));
  count(b, "vitae_hl7_again_total", "Messages that had been taken before.", atomic_load(&m->n.again));
  count(b, "vitae_hl7_stored_total", "Messages laid into the inbox.", atomic_load(&m->n.stored));
  count(b, "vitae_hl7_results_total", "Results made for the destination.", atomic_load(&m->n.results));
  count(b, "vitae_hl7_results_delivered_total", "Results that the destination has acknowledged.", atomic_load(&m->n.delivered));
  count(b, "vitae_hl7_results_refused_total", "Results that the destination has refused.", atomic_load(&m->n.refused_results));
  count(b, "vitae_hl7_results_undelivered_total", "Results given up after all tries.", atomic_load(&m->n.undelivered));
  count(b, "vitae_hl7_results_resumed_total", "Results of an ended process that were taken up again.", atomic_load(&m->n.resumed));
  count(b, "vitae_hl7_results_lost_total", "Results of an ended process that were not stored, so are lost.", atomic_load(&m->n.lost));
  count(b, "vitae_hl7_result_retries_total", "Deliveries tried again.", atomic_load(&m->n.retries));
  count(b, "vitae_hl7_results_dropped_total", "Results not made because too many waited.", atomic_load(&m->n.wishes_dropped));
  buf_printf(b, "# HELP vitae_hl7_connections Open MLLP connections.\n# TYPE vitae_hl7_connections gauge\nvitae_hl7_connections %d\n",
             atomic_load(&m->n.connections));
}
