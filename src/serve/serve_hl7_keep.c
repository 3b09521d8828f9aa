/* Results that wait lie in the database too, so that they outlive the process. A result names its patient, so it is stored sealed under the key
 * that the site's settings give, or not at all: then its control id alone is, and whoever starts next says how many are lost.
 *
 * A row belongs to one process, which renews its lease. What another has left (it ended, or was killed and its lease is over) goes to whoever
 * looks first: under one transaction, so to one of the replicas. A result is delivered at least once, always under the same control id. */
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "serve/serve_mllp.h"
#include "vitae.h"

enum { BEAT_S = 3, LEASE_S = 10, LOST_BATCH = 64 };

int hl7_key_load(const char *path, uint8_t key[SEAL_KEY], struct error *e) {
  struct arena a;
  struct str text;
  struct stat st;
  if (stat(path, &st) == 0 && (st.st_mode & 077)) {
    (void)error_set(e, E_DENIED, "the key may be read by its owner alone: chmod 600");
    return error_where(e, path, 0, "results.key");
  }
  arena_init(&a, 64 << 10, ARENA_WIPE);
  int rc = file_read(&a, path, 4096, &text, e);
  if (rc == OK && hash_unhex(str_trim(text), key, SEAL_KEY, NULL) < 0) {
    (void)error_set(e, E_INPUT, "expected 64 hexadecimal digits");
    rc = error_where(e, path, 0, "results.key");
  }
  arena_free(&a);
  return rc;
}

/* ---- laying away ---- */

static struct db *db_of(struct mllp *m) { return audit_db(m->keep.audit); }

int hl7_keep(struct mllp *m, const struct hl7_result *r, struct error *e) {
  struct buf sealed = {0};
  int64_t now = time_now();
  int rc = OK;
  if (m->set.key[0]) rc = seal(m->keep.key, str_c(r->control), (struct str){r->message.p, r->message.n}, &sealed, e);
  struct db_value v[] = {DB_T(r->control), DB_I(now), DB_T(m->keep.owner), DB_I(now), sealed.n ? DB_B(sealed.p, sealed.n) : DB_NONE};
  pthread_mutex_lock(&m->keep.mutex);
  if (rc == OK)
    rc = db_run(db_of(m), "INSERT INTO hl7_out(control, made, owner, lease, sealed) VALUES(?,?,?,?,?) ON CONFLICT(control) DO NOTHING", v,
                5, NULL, e);
  pthread_mutex_unlock(&m->keep.mutex);
  buf_release(&sealed);
  return rc;
}

int hl7_unkeep(struct db *db, const char *control, struct error *e) {
  return db_run(db, "DELETE FROM hl7_out WHERE control = ?", (struct db_value[]){DB_T(control)}, 1, NULL, e);
}

/* Too many wait: it is anybody's, as soon as somebody has room; or gone. */
void hl7_drop(struct mllp *m, const struct hl7_result *r) {
  struct error e = {0};
  struct db_value v[] = {DB_T(r->control)};
  pthread_mutex_lock(&m->keep.mutex);
  int rc = m->set.key[0] ? db_run(db_of(m), "UPDATE hl7_out SET owner = '', lease = 0 WHERE control = ?", v, 1, NULL, &e)
                         : hl7_unkeep(db_of(m), r->control, &e);
  pthread_mutex_unlock(&m->keep.mutex);
  if (rc < 0) log_failure(LOG_WARN, &e);
  if (rc < 0 || !m->set.key[0]) atomic_fetch_add(&m->n.wishes_dropped, 1);
}

/* ---- what others have left ---- */

struct orphan {
  struct orphan *next;
  struct hl7_result *result; /* NULL: lost */
  char control[24];
};
struct orphans {
  struct mllp *m;
  struct orphan *first, **last;
  int foreign; /* sealed under another key, or none is given now */
};

static int take_orphan(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct orphans *all = ctx;
  struct mllp *m = all->m;
  struct hl7_result *r = NULL;
  (void)n;
  struct orphan *o = mem_alloc(sizeof *o);
  if (!o) return error_set(e, E_NOMEM, "out of memory");
  *o = (struct orphan){0};
  snprintf(o->control, sizeof o->control, "%.*s", v[0].kind == DB_TEXT ? (int)v[0].n : 0, v[0].kind == DB_TEXT ? v[0].p : "");
  if (v[1].kind == DB_BLOB) {
    r = m->set.key[0] ? mem_alloc(sizeof *r) : NULL;
    if (r) *r = (struct hl7_result){0};
    if (!r || unseal(m->keep.key, str_c(o->control), (struct str){v[1].p, v[1].n}, &r->message, NULL) < 0) {
      if (r) buf_release(&r->message);
      mem_free(r), mem_free(o);
      all->foreign++;
      return OK;
    }
    snprintf(r->control, sizeof r->control, "%s", o->control);
  }
  o->result = r;
  *all->last = o, all->last = &o->next;
  return OK;
}

static void lost_row(const struct orphan *o, const char *version, struct audit_entry *row) {
  *row = (struct audit_entry){.time = time_now(), .key = "mllp", .method = "ORU", .route = "ORU^R01", .version = version, .status = 410};
  snprintf(row->request, sizeof row->request, "%s", o->control);
}

/* Inside the transaction: ours from now on; or gone, with a row that says so. */
static int take_over(struct mllp *m, const struct orphan *first, int *lost, struct error *e) {
  struct audit_entry rows[LOST_BATCH];
  struct served *live = fleet_live(m->server->fleet);
  int n = 0, rc = OK;
  for (const struct orphan *o = first; rc == OK && o; o = o->next) {
    struct db_value v[] = {DB_T(m->keep.owner), DB_I(time_now()), DB_T(o->control)};
    if (o->result) {
      rc = db_run(db_of(m), "UPDATE hl7_out SET owner = ?, lease = ? WHERE control = ?", v, 3, NULL, e);
      continue;
    }
    rc = hl7_unkeep(db_of(m), o->control, e);
    lost_row(o, served_id(live), &rows[n++]);
    ++*lost;
    if (rc == OK && (n == LOST_BATCH)) rc = audit_append(m->keep.audit, rows, n, e), n = 0;
  }
  if (rc == OK && n) rc = audit_append(m->keep.audit, rows, n, e);
  served_release(live);
  return rc;
}

static void tell(struct mllp *m, int resumed, int lost, int foreign) {
  atomic_fetch_add(&m->n.resumed, (uint64_t)resumed);
  atomic_fetch_add(&m->n.lost, (uint64_t)lost);
  if (resumed) log_line(LOG_INFO, "hl7: %d results that had not been delivered are taken up again", resumed);
  if (lost) log_line(LOG_WARN, "hl7: %d results that had not been delivered are lost: results.key says how they are kept", lost);
  if (foreign && foreign != m->keep.foreign)
    log_line(LOG_WARN, "hl7: %d results wait that are sealed under another key than this server's", foreign);
  m->keep.foreign = foreign;
}

static int any(void *ctx, const struct db_value *v, int n, struct error *e) {
  (void)v, (void)n, (void)e;
  *(bool *)ctx = true;
  return OK;
}

/* One look: our leases renewed, others' leavings taken. A lease far ahead is one of a clock that was set back since. */
static int look(struct mllp *m, struct orphans *all, int *lost, struct error *e) {
  struct db *db = db_of(m);
  int64_t now = time_now();
  bool some = false;
  TRY(db_each(db, "SELECT 1 FROM hl7_out LIMIT 1", NULL, 0, any, &some, e));
  if (!some) return OK;
  struct db_value mine[] = {DB_I(now), DB_T(m->keep.owner)};
  struct db_value over[] = {DB_T(m->keep.owner), DB_I(now - LEASE_S * TIME_SECOND), DB_I(now + LEASE_S * TIME_SECOND),
                            DB_I(HL7_RESULTS / 2 - hl7_waiting(m))};
  TRY(db_begin(db, e));
  int rc = db_run(db, "UPDATE hl7_out SET lease = ? WHERE owner = ?", mine, 2, NULL, e);
  if (rc == OK && over[3].i > 0)
    rc = db_each(db, "SELECT control, sealed FROM hl7_out WHERE owner <> ? AND (lease < ? OR lease > ?) ORDER BY made, control LIMIT ?",
                 over, 4, take_orphan, all, e);
  if (rc == OK) rc = take_over(m, all->first, lost, e);
  if (rc == OK) rc = db_commit(db, e);
  if (rc < 0) db_rollback(db);
  return rc;
}

static int look_once(struct mllp *m, struct error *e) {
  struct orphans all = {.m = m, .last = &all.first};
  int lost = 0, resumed = 0;
  pthread_mutex_lock(&m->keep.mutex);
  int rc = look(m, &all, &lost, e);
  pthread_mutex_unlock(&m->keep.mutex);
  for (struct orphan *o = all.first, *next; o; o = next) {
    next = o->next;
    if (o->result && rc == OK &&
        hl7_send(m, o->result)) /* as many as there was room for; else they stay ours, and wait for the next start */
      resumed++;
    else if (o->result)
      hl7_result_free(o->result);
    mem_free(o);
  }
  if (rc == OK) tell(m, resumed, lost, all.foreign);
  return rc;
}

static void *keep_main(void *ctx) {
  struct mllp *m = ctx;
  int last = OK;
  pthread_mutex_lock(&m->keep.mutex);
  while (!m->keep.closed) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += BEAT_S;
    (void)pthread_cond_timedwait(&m->keep.work, &m->keep.mutex, &until);
    if (m->keep.closed) break;
    pthread_mutex_unlock(&m->keep.mutex);
    struct error e = {0};
    int rc = look_once(m, &e);
    if (rc < 0 && rc != last) log_failure(LOG_WARN, &e);
    last = rc;
    pthread_mutex_lock(&m->keep.mutex);
  }
  pthread_mutex_unlock(&m->keep.mutex);
  return NULL;
}

int hl7_keep_start(struct mllp *m, struct error *e) {
  uint8_t name[8];
  TRY(random_secret(name, sizeof name, e));
  hash_hex(name, sizeof name, m->keep.owner);
  TRY(audit_open(m->server->o.site, m->server->o.database, &m->keep.audit, e));
  TRY(look_once(m, e));
  if (pthread_create(&m->keep.thread, NULL, keep_main, m) != 0) return error_set(e, E_NOMEM, "a thread cannot be started");
  m->keep.started = true;
  return OK;
}

/* What is still ours is free for whoever comes next. */
void hl7_keep_stop(struct mllp *m) {
  struct error e = {0};
  pthread_mutex_lock(&m->keep.mutex);
  m->keep.closed = true;
  pthread_cond_broadcast(&m->keep.work);
  pthread_mutex_unlock(&m->keep.mutex);
  if (m->keep.started) pthread_join(m->keep.thread, NULL);
  struct db_value v[] = {DB_T(m->keep.owner)};
  int64_t left = 0;
  if (m->keep.started && db_run(db_of(m), "UPDATE hl7_out SET owner = '', lease = 0 WHERE owner = ?", v, 1, &left, &e) < 0)
    log_failure(LOG_WARN, &e);
  if (left) log_line(LOG_INFO, "hl7: %lld results wait for the next start", (long long)left);
  audit_close(m->keep.audit);
  mem_wipe(m->keep.key, sizeof m->keep.key);
}
