/* The server's life: open, bind, give up rights, serve, watch for new versions, drain. */
#include <grp.h>
#include <malloc.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "govern/site.h"
#include "reason/ask.h"
#include "serve/engine.h"
#include "serve/serve_cds.h"
#include "serve/serve_ehr.h"
#include "serve/serve_filter.h"
#include "serve/serve_mllp.h"
#include "serve/serve_private.h"
#include "serve/serve_shared.h"
#include "serve/serve_token.h"
#include "serve/serve_voice.h"
#include "timeline/timeline.h"
#include "vitae.h"

enum { DESK_THREADS = 4, ERRAND_THREADS = 8, ERRAND_QUEUE = 256, DESK_QUEUE = 512, WORKERS_MOST = 8, TALKERS_MOST = 64 };
#define LOOK_SECONDS 2.0
#define FLUSH_SECONDS 5.0 /* for what was given up to be told */

static volatile sig_atomic_t look_now;
void serve_reload(void) { look_now = 1; }
static void on_hangup(int sig) { (void)sig, serve_reload(); }

static int open_parts(struct server *s, struct error *e) {
  char dir[4096];
  TRY(random_secret(&s->request_seed, sizeof s->request_seed, e));
  for (int i = 0; i < 2; i++) {
    openapi_text(i ? PLANE_DEVELOPER : PLANE_HOSPITAL, &s->openapi[i]);
    TRY(buf_check(&s->openapi[i], e));
  }
  TRY(fleet_open(&s->o, &s->fleet, e));
  TRY(site_path(fleet_site(s->fleet), dir, "timelines", NULL));
  int rc = timeline_open(dir, &s->store, e);
  if (rc == E_NOTFOUND) s->store = NULL; /* answers for patients who come with the request all the same */
  if (rc < 0 && rc != E_NOTFOUND) return rc;
  for (uint32_t i = 0; s->store && i < timeline_subjects(s->store); i++) s->splits[timeline_view(s->store, i).split]++;
  if (s->o.oidc) TRY(tokens_open(s->o.oidc, &s->tokens, e));
  TRY(voices_open(s->o.site, &(struct voice_options){s->o.streams, s->o.language_threads}, &s->voices, e));
  TRY(filter_open(s->o.site, &s->filter, e));
  TRY(ehr_open(s->o.site, &s->ehr, e));
  TRY(cds_open(s->o.site, &s->cds, e));
  TRY(shared_open(s->o.site, s->o.database, &s->shared, e));
  TRY(keys_open(s->o.site, s->o.database, s->o.guesses, &s->keys, e));
  TRY(knowledge_open(s->o.site, &s->knowledge, e));
  TRY(quotas_open(s->o.site, s->o.database, &s->quotas, e));
  TRY(audit_open(s->o.site, s->o.database, &s->mirror_audit, e));
  TRY(audit_open(s->o.site, s->o.database, &s->desk_audit, e));
  return audit_open(s->o.site, s->o.database, &s->audit, e);
}

static void close_parts(struct server *s) {
  audit_close(s->audit), audit_close(s->mirror_audit), audit_close(s->desk_audit);
  quotas_close(s->quotas);
  keys_close(s->keys);
  voices_close(s->voices);
  filter_close(s->filter);
  tokens_close(s->tokens);
  knowledge_close(s->knowledge); /* before what it borrows */
  asker_free(s->asker);
  shared_close(s->shared);
  cds_close(s->cds);
  ehr_close(s->ehr);
  if (s->store) timeline_close(s->store);
  fleet_close(s->fleet);
  for (int i = 0; i < 2; i++) buf_release(&s->openapi[i]);
}

struct crew {
  pthread_t thread[1 + WORKERS_MOST + 1 + TALKERS_MOST + ERRAND_THREADS + DESK_THREADS];
  int n, workers, talkers, errands;
};

static int hire(struct crew *w, void *(*f)(void *), struct server *s, struct error *e) {
  if (pthread_create(&w->thread[w->n], NULL, f, s) != 0) return error_set(e, E_NOMEM, "a thread cannot be started");
  w->n++;
  return OK;
}

/* One more where developers are served: of all takers one is always free of their calls. */
static int takers(const struct server *s) { return s->o.workers + (s->o.developer_listen != NULL); }

static int hire_all(struct crew *w, struct server *s, struct error *e) {
  TRY(hire(w, audit_main, s, e));
  for (; w->workers < takers(s); w->workers++) TRY(hire(w, worker_main, s, e));
  for (; voices_count(s->voices) && w->talkers < s->o.streams; w->talkers++) TRY(hire(w, talker_main, s, e));
  for (; w->errands < ERRAND_THREADS; w->errands++) TRY(hire(w, errand_main, s, e));
  for (int i = 0; i < DESK_THREADS; i++) TRY(hire(w, desk_main, s, e));
  return OK;
}

static void nap(int milliseconds) { (void)poll(NULL, 0, milliseconds); }

static void join(const struct crew *w, int from, int to) {
  for (int i = from; i < to && i < w->n; i++) pthread_join(w->thread[i], NULL);
}

/* The desk first, then errands, the models, the audit: whoever hands calls on stops before whoever takes them. The thread list has the
 * audit at 0, then workers, talkers, errands, desk. */
static void dismiss(struct crew *w, struct server *s) {
  int talkers = 1 + w->workers, errands = talkers + w->talkers, desk = errands + w->errands;
  queue_close(&s->desk);
  join(w, desk, w->n);
  queue_close(&s->errand);
  join(w, errands, desk);
  queue_close(&s->work);
  join(w, 1, talkers);
  voices_stop(s->voices);
  queue_close(&s->talk);
  join(w, talkers, errands);
  queue_close(&s->audited);
  join(w, 0, 1);
}

/* Before the database's files are made, so that they are the user's; after the sockets are bound and the TLS key is read. */
static int give_up_rights(const char *user, struct error *e) {
  if (!user) return OK;
  const struct passwd *p = getpwnam(user);
  if (!p) return error_set(e, E_USAGE, "the user to become does not exist");
  if (setgroups(0, NULL) < 0 || setgid(p->pw_gid) < 0 || setuid(p->pw_uid) < 0 || (p->pw_uid != 0 && setuid(0) == 0))
    return error_set(e, E_DENIED, "the user cannot be changed: only root may");
  return OK;
}

static void look(struct server *s, int *last) {
  struct error e = {0};
  bool changed = false;
  int rc = fleet_refresh(s->fleet, &changed, &e);
  if (rc < 0 && rc != *last) log_failure(LOG_WARN, &e); /* nothing is known: what serves goes on serving */
  *last = rc;
  if (!changed) return;
  atomic_fetch_add(&s->n.swaps, 1);
  struct served *live = fleet_live(s->fleet);
  if (live)
    log_line(LOG_INFO, "versions in use have changed; live is %.12s", served_id(live));
  else
    log_line(LOG_WARN, NO_VERSION);
  served_release(live);
}

/* Whoever asks /readyz sends nobody here while the audit cannot be written, so that no request would show that it can be again: a row of our
 * own does. */
static void speak_again(struct server *s) {
  struct error e = {0};
  struct served *live = fleet_live(s->fleet);
  struct audit_entry row = {.time = time_now(), .key = "-", .method = "SERVE", .route = "audit", .version = served_id(live), .status = 200};
  pthread_mutex_lock(&s->mirror_mutex);
  int rc = audit_write(s->mirror_audit, &row, 1, &e);
  pthread_mutex_unlock(&s->mirror_mutex);
  served_release(live);
  if (rc < 0) return;
  atomic_store(&s->mute, false);
  log_line(LOG_INFO, "the audit can be written again");
}

/* CDS requests whose time is over while they wait for a thread or the model: a clinician's screen waits for them. */
static bool overdue(const struct call *c) { return call_dialect(c) == DIALECT_CDS && cds_late(c); }
static void let_go(struct server *s) {
  struct call_queue *at[2] = {&s->errand, &s->work};
  struct call *next;
  for (int i = 0; i < 2; i++)
    for (struct call *c = queue_take_if(at[i], overdue); c; c = next) {
      next = c->next;
      if (i) atomic_fetch_sub(&s->n.waiting, 1);
      cds_miss(c);
      call_finish(c);
    }
}

static void drain(struct server *s, struct listener *face[2]) {
  atomic_store(&s->draining, true);
  for (int i = 0; i < 2 && face[i]; i++) listener_quiesce(face[i]);
  log_line(LOG_INFO, "stopping: %d requests in flight", atomic_load(&s->n.in_flight));
  s->stop_by = time_monotonic() + s->o.drain_s;
  while (atomic_load(&s->n.in_flight) > 0 && time_monotonic() < s->stop_by) nap(20), let_go(s);
  atomic_store(&s->giving_up, true);
}

static int run(struct server *s, struct listener *face[2], struct crew *w, struct error *e) {
  int last = OK;
  TRY(listener_bind(s, PLANE_HOSPITAL, s->o.listen, &face[0], e));
  if (s->o.developer_listen) TRY(listener_bind(s, PLANE_DEVELOPER, s->o.developer_listen, &face[1], e));
  if (s->o.mllp_listen) TRY(mllp_open(s, &s->mllp, e));
  TRY(give_up_rights(s->o.user, e));
  TRY(open_parts(s, e));
  if (ehr_cds_open(s->ehr) && !listener_loopback(face[0]))
    return error_set(e, E_USAGE, "CDS services without tokens are for loopback only: ehr.json says cds.open");
  TRY(hire_all(w, s, e));
  for (int i = 0; i < 2 && face[i]; i++) TRY(listener_start(face[i], e));
  if (s->mllp) TRY(mllp_start(s->mllp, e));
  if (s->mllp && s->o.mllp_port) *s->o.mllp_port = s->mllp->port;
  struct sigaction hangup = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
  (void)sigaction(SIGHUP, &hangup, NULL);
  (void)signal(SIGXFSZ, SIG_IGN); /* a file as large as it may be is an error of the write, as a full disk is */
  atomic_store(&s->ready, true);
  if (s->o.ready) s->o.ready(s->o.ctx, listener_port(face[0]), face[1] ? listener_port(face[1]) : 0);
  double next = time_monotonic() + LOOK_SECONDS;
  while (!cancel_requested()) {
    nap(20);
    let_go(s);
    if (!look_now && time_monotonic() < next) continue;
    look_now = 0;
    lines_cut(s);
    if (atomic_load(&s->mute)) speak_again(s);
    look(s, &last);
    next = time_monotonic() + LOOK_SECONDS;
  }
  drain(s, face);
  return OK;
}

static int check_options(struct serve_options *o, struct error *e) {
  if (!o->tls_cert != !o->tls_key) return error_set(e, E_USAGE, "a certificate and its key come together");
  if (o->tls_client_ca && !o->tls_cert) return error_set(e, E_USAGE, "client certificates need TLS: give --tls-cert and --tls-key");
  if (!o->listen) o->listen = "127.0.0.1:8080";
  if (o->queue <= 0) o->queue = 64;
  if (o->workers <= 0) o->workers = thread_cores() < WORKERS_MOST ? thread_cores() : WORKERS_MOST;
  if (o->streams <= 0) o->streams = 8;
  if (o->streams > TALKERS_MOST) return error_set(e, E_USAGE, "at most %d answers of a language model at a time", TALKERS_MOST);
  if (o->body_limit == 0) o->body_limit = 8u << 20;
  if (o->timeout_s <= 0) o->timeout_s = 30;
  o->drain_s = o->drain_s < 0 ? 0 : o->drain_s ? o->drain_s : 30;
  if (o->queue > CONNECTIONS || o->body_limit > BODIES_MOST / 4 || o->workers > WORKERS_MOST)
    return error_set(e, E_USAGE, "at most %d requests may wait for at most %d workers, and a body has at most %u MiB", CONNECTIONS,
                     WORKERS_MOST, BODIES_MOST / 4 >> 20);
  return OK;
}

int serve_run(const struct serve_options *o, struct error *e) {
  struct server *s = mem_alloc(sizeof *s);
  struct listener *face[2] = {NULL, NULL};
  struct crew w = {0};
  if (!s) return error_set(e, E_NOMEM, "out of memory");
  /* bodies and answers come and go by the megabyte: freed memory is kept for the next instead of being given back page by page */
  (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
  (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
  memset(s, 0, sizeof *s);
  s->o = *o;
  s->started = time_monotonic();
  pthread_mutex_init(&s->mirror_mutex, NULL), pthread_mutex_init(&s->desk_mutex, NULL), pthread_mutex_init(&s->live.mutex, NULL);
  pthread_mutex_init(&s->lines.mutex, NULL);
  int rc = check_options(&s->o, e);
  queue_init(&s->desk, DESK_QUEUE, false);
  queue_init(&s->errand, ERRAND_QUEUE, false);
  queue_init(&s->work, s->o.queue, true);
  queue_limit(&s->work, takers(s));
  queue_init(&s->talk, s->o.queue, true);
  queue_init(&s->audited, 4 * CONNECTIONS, false);
  if (rc == OK) rc = run(s, face, &w, e);
  mllp_stop(s->mllp);
  dismiss(&w, s); /* whoever is still waiting is answered or let go, so that no connection is suspended when the daemon stops */
  for (double until = time_monotonic() + FLUSH_SECONDS; atomic_load(&s->n.in_flight) > 0 && time_monotonic() < until;) nap(5);
  for (int i = 0; i < 2; i++) listener_stop(face[i]);
  mllp_free(s->mllp); /* requests have asked it for messages, and metrics for its counters, until now */
  queue_destroy(&s->desk), queue_destroy(&s->errand), queue_destroy(&s->work), queue_destroy(&s->talk), queue_destroy(&s->audited);
  close_parts(s);
  pthread_mutex_destroy(&s->mirror_mutex), pthread_mutex_destroy(&s->desk_mutex), pthread_mutex_destroy(&s->live.mutex);
  pthread_mutex_destroy(&s->lines.mutex);
  mem_free(s);
  return rc;
}
