/* Results to their destination, in their order: delivered, acknowledged, tried again. A result leaves the database (serve_hl7_keep.c) in one
 * transaction with the audit row that says what became of it; what is not delivered when the process ends waits there, if it is stored. */
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/time.h"
#include "serve/engine.h"
#include "serve/serve_mllp.h"
#include "vitae.h"

enum { DIAL_MS = 10000, ANSWER_MS = 30000, LOOK_MS = 200, ANSWER_MOST = 64 << 10, PAUSE_MOST = 60 };

void hl7_result_free(struct hl7_result *r) {
  if (r->message.p) mem_wipe(r->message.p, r->message.cap);
  buf_release(&r->message);
  mem_free(r);
}

int hl7_waiting(struct mllp *m) {
  pthread_mutex_lock(&m->send.mutex);
  int n = m->send.n;
  pthread_mutex_unlock(&m->send.mutex);
  return n;
}

bool hl7_send(struct mllp *m, struct hl7_result *r) {
  pthread_mutex_lock(&m->send.mutex);
  bool room = m->send.n < HL7_RESULTS && !m->send.closed;
  if (room) {
    r->next = NULL;
    if (m->send.last)
      m->send.last->next = r;
    else
      m->send.first = r;
    m->send.last = r;
    m->send.n++;
    pthread_cond_signal(&m->send.work);
  }
  pthread_mutex_unlock(&m->send.mutex);
  return room;
}

/* ---- one delivery ---- */

enum outcome { DELIVERED, REFUSED, AGAIN };

/* The acknowledgement of this message; another one's (of a try that was given up) is passed over. */
static enum outcome judge(struct str message, const char *control, bool *ours) {
  struct str code = hl7v2_raw(message, "MSA", 1), id = hl7v2_raw(message, "MSA", 2);
  *ours = str_eqc(id, control);
  if (str_eqc(code, "AA") || str_eqc(code, "CA")) return DELIVERED;
  return str_eqc(code, "AE") || str_eqc(code, "AR") || str_eqc(code, "CE") || str_eqc(code, "CR") ? REFUSED : AGAIN;
}

/* The end has come, and its time is over. */
static bool late(struct mllp *m) {
  pthread_mutex_lock(&m->send.mutex);
  bool over = m->send.closed && time_monotonic() > m->send.stop_by;
  pthread_mutex_unlock(&m->send.mutex);
  return over;
}

static enum outcome await_answer(struct mllp *m, struct wire *w, const char *control, struct buf *in) {
  double until = time_monotonic() + ANSWER_MS / 1000.0;
  for (;;) {
    struct str message;
    size_t used;
    bool ours = false;
    enum hl7v2_frame f = in->n ? hl7v2_frame_next((struct str){in->p, in->n}, &message, &used) : HL7V2_FRAME_MORE;
    if (f == HL7V2_FRAME_WHOLE) {
      enum outcome o = judge(message, control, &ours);
      if (ours) return o;
    }
    if (f != HL7V2_FRAME_MORE) {
      memmove(in->p, in->p + used, in->n - used);
      in->n -= used;
      continue;
    }
    int left = (int)((until - time_monotonic()) * 1000);
    if (left <= 0 || late(m) || in->n > ANSWER_MOST || !buf_reserve(in, 4096)) return AGAIN;
    ptrdiff_t got = wire_read(w, in->p + in->n, 4096, left < LOOK_MS ? left : LOOK_MS);
    if (got == WIRE_LATE) continue;
    if (got <= 0) return AGAIN;
    in->n += (size_t)got;
  }
}

static enum outcome deliver(struct mllp *m, struct wire *w, const struct hl7_result *r, struct buf *answer) {
  struct error e = {0};
  struct buf frame = {0};
  enum outcome o = AGAIN;
  buf_clear(answer);
  if (late(m)) return AGAIN;
  if (w->fd < 0 && wire_dial(w, m->set.to, m->tls_out, DIAL_MS, &e) < 0) return AGAIN;
  hl7v2_frame_put(&frame, (struct str){r->message.p, r->message.n});
  if (!frame.failed && wire_write(w, frame.p, frame.n, ANSWER_MS)) o = await_answer(m, w, r->control, answer);
  if (o == AGAIN) wire_close(w);
  if (frame.p) mem_wipe(frame.p, frame.cap);
  buf_release(&frame);
  return o;
}

static int note(struct mllp *m, const struct hl7_result *r, const struct buf *answer, int status, double began, struct error *e) {
  uint8_t digest[32];
  struct served *live = fleet_live(m->server->fleet);
  struct audit_entry row = {.time = time_now(),
                            .method = "ORU",
                            .route = "ORU^R01",
                            .version = served_id(live),
                            .status = status,
                            .latency_us = (int64_t)((time_monotonic() - began) * 1e6)};
  snprintf(row.key, sizeof row.key, "mllp");
  snprintf(row.request, sizeof row.request, "%s", r->control);
  sha256_of(r->message.p, r->message.n, digest);
  hash_hex(digest, 32, row.output);
  sha256_of(answer->n ? answer->p : "", answer->n, digest);
  hash_hex(digest, 32, row.input);
  struct db *db = audit_db(m->send.audit);
  int rc = db_begin(db, e);
  bool begun = rc == OK;
  if (rc == OK) rc = hl7_unkeep(db, r->control, e);
  if (rc == OK) rc = audit_append(m->send.audit, &row, 1, e);
  if (rc == OK) rc = db_commit(db, e);
  if (rc < 0 && begun) db_rollback(db);
  atomic_fetch_add(rc < 0 ? &m->server->n.audit_failures : &m->server->n.audit_rows, 1);
  served_release(live);
  return rc;
}

/* Waits `seconds`, or until the end is near. */
static void pause_for(struct mllp *m, int seconds) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += seconds;
  pthread_mutex_lock(&m->send.mutex);
  while (!m->send.closed && pthread_cond_timedwait(&m->send.work, &m->send.mutex, &until) == 0) continue;
  pthread_mutex_unlock(&m->send.mutex);
}

static bool ending(struct mllp *m) {
  pthread_mutex_lock(&m->send.mutex);
  bool closed = m->send.closed;
  pthread_mutex_unlock(&m->send.mutex);
  return closed;
}

/* Until the row is written: nothing else can be told meanwhile either. At the end what is stored stays, and is delivered again. */
static void note_surely(struct mllp *m, const struct hl7_result *r, const struct buf *answer, int status, double began) {
  for (int pause = 1;; pause = pause < PAUSE_MOST ? 2 * pause : pause) {
    struct error e = {0};
    if (note(m, r, answer, status, began, &e) == OK) return;
    log_failure(LOG_ERROR, &e);
    if (ending(m)) return;
    pause_for(m, pause);
  }
}

/* True: it waits in the database for whoever starts next. */
static bool send_one(struct mllp *m, struct wire *w, const struct hl7_result *r) {
  struct buf answer = {0};
  double began = time_monotonic();
  enum outcome o = AGAIN;
  int64_t try = 0;
  for (int64_t pause = 1; try < m->set.tries; try++) {
    o = deliver(m, w, r, &answer);
    if (o != AGAIN || try + 1 == m->set.tries || ending(m)) break;
    atomic_fetch_add(&m->n.retries, 1);
    pause_for(m, (int)pause);
    if (pause < PAUSE_MOST) pause *= 2;
  }
  bool waits = o == AGAIN && try + 1 < m->set.tries && m->set.key[0]; /* the end came first */
  if (!waits) {
    if (o != DELIVERED) log_line(LOG_WARN, "hl7: a result was %s", o == REFUSED ? "refused by its destination" : "not delivered");
    note_surely(m, r, &answer, o == DELIVERED ? 200 : o == REFUSED ? 422 : 504, began);
    /* counted once the row is there: whoever reads the one finds the other */
    atomic_fetch_add(o == DELIVERED ? &m->n.delivered : o == REFUSED ? &m->n.refused_results : &m->n.undelivered, 1);
  }
  buf_release(&answer);
  return waits;
}

static void *send_main(void *ctx) {
  struct mllp *m = ctx;
  struct wire w = {.fd = -1};
  bool waits = false; /* at the end one that cannot be delivered speaks for those behind it */
  pthread_mutex_lock(&m->send.mutex);
  for (;;) {
    while (!m->send.first && !m->send.closed) pthread_cond_wait(&m->send.work, &m->send.mutex);
    struct hl7_result *r = m->send.first;
    if (!r) break;
    m->send.first = r->next;
    if (!r->next) m->send.last = NULL;
    m->send.n--;
    pthread_mutex_unlock(&m->send.mutex);
    if (!waits) waits = send_one(m, &w, r);
    hl7_result_free(r);
    pthread_mutex_lock(&m->send.mutex);
  }
  pthread_mutex_unlock(&m->send.mutex);
  if (w.fd >= 0) wire_close(&w);
  return NULL;
}

int hl7_send_start(struct mllp *m, struct error *e) {
  TRY(audit_open(m->server->o.site, m->server->o.database, &m->send.audit, e));
  if (pthread_create(&m->send.thread, NULL, send_main, m) != 0) return error_set(e, E_NOMEM, "a thread cannot be started");
  m->send.started = true;
  return OK;
}

/* Whatever still waits is tried once, as long as there is time. */
void hl7_send_stop(struct mllp *m) {
  pthread_mutex_lock(&m->send.mutex);
  m->send.closed = true;
  m->send.stop_by = m->server->stop_by;
  pthread_cond_broadcast(&m->send.work);
  pthread_mutex_unlock(&m->send.mutex);
  if (m->send.started) pthread_join(m->send.thread, NULL);
  for (struct hl7_result *r = m->send.first, *next; r; r = next) next = r->next, hl7_result_free(r); /* none, if the thread ran */
  audit_close(m->send.audit);
}
