/* The clerk of HL7 v2: knows messages again, stores them if configured, writes their audit rows; and the patients' messages in memory. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "govern/site.h"
#include "serve/engine.h"
#include "serve/serve_mllp.h"
#include "vitae.h"

enum { BATCH = 128 };
#define FORGET_EVERY 4096 /* messages between two looks for what may be forgotten */
#define HOLD_SECONDS 3600.0

/* ---- known again ---- */

static void hex_of(const void *p, size_t n, char out[33]) {
  uint8_t digest[32];
  sha256_of(n ? p : "", n, digest);
  hash_hex(digest, 16, out);
}

/* Sender and control id as hashes: what somebody wrote into them is nobody else's business. */
static void names_of(const struct hl7_item *it, char sender[33], char control[33], char content[33]) {
  const struct hl7v2_answer *a = &it->answer;
  struct buf b = {0};
  buf_str(&b, a->application), buf_putc(&b, a->field), buf_str(&b, a->facility);
  hex_of(b.p, b.n, sender);
  buf_release(&b);
  hex_of(a->control.p, a->control.n, control);
  /* without MSH: who sends again may stamp it with another time */
  size_t head = 0;
  while (head < it->message.n && it->message.p[head] != '\r' && it->message.p[head] != '\n') head++;
  hex_of(it->message.p + head, it->message.n - head, content);
}

static int take_content(void *ctx, const struct db_value *v, int n, struct error *e) {
  char *out = ctx;
  (void)n, (void)e;
  snprintf(out, 33, "%.*s", v[0].kind == DB_TEXT ? (int)v[0].n : 0, v[0].kind == DB_TEXT ? v[0].p : "");
  return OK;
}

static int know_again(struct mllp *m, struct hl7_item *it, int64_t now, struct error *e) {
  struct db *db = audit_db(m->clerk.audit);
  char sender[33], control[33], content[33], before[33] = "";
  it->again = false;
  if (strcmp(it->answer.code, "AA") != 0) return OK;
  names_of(it, sender, control, content);
  struct db_value key[] = {DB_T(sender), DB_T(control)};
  TRY(db_each(db, "SELECT content FROM hl7_seen WHERE sender = ? AND control = ?", key, 2, take_content, before, e));
  if (!before[0]) {
    struct db_value row[] = {DB_T(sender), DB_T(control), DB_T(content), DB_I(now)};
    return db_run(db, "INSERT INTO hl7_seen(sender, control, content, time) VALUES(?,?,?,?)", row, 4, NULL, e);
  }
  it->again = strcmp(before, content) == 0;
  if (!it->again) hl7v2_problem_add(&it->answer, "AE", "MSH", 10, "another message came with this control id", 205);
  return OK;
}

/* Not on the word of a clock that has just jumped. */
static int forget_old(struct mllp *m, struct error *e) {
  if (m->clerk.forget_next++ % FORGET_EVERY) return OK;
  int64_t over = settled_time(&m->clerk.settled, HOLD_SECONDS);
  if (over == INT64_MIN) return OK;
  struct db_value v[] = {DB_I(over - m->set.remember_days * TIME_DAY)};
  return db_run(audit_db(m->clerk.audit), "DELETE FROM hl7_seen WHERE time < ?", v, 1, NULL, e);
}

/* ---- SITE/inbox/hl7v2, a file a day: for `vitae ingest --from hl7v2` ---- */

/* Is the open file still the one of that name? It may have been put away after an ingest: what is appended to it then, nobody reads. */
static bool is_open(int fd, const char *path) {
  struct stat open, named;
  return fd >= 0 && fstat(fd, &open) == 0 && stat(path, &named) == 0 && open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

static int open_day(struct mllp *m, int64_t now, struct error *e) {
  char dir[4096], name[32], path[4096];
  int y, mo, d;
  time_to_civil(now / TIME_DAY, &y, &mo, &d);
  snprintf(name, sizeof name, "%04d-%02d-%02d.hl7", y, mo, d);
  TRY(site_path(fleet_site(m->server->fleet), dir, "inbox", "hl7v2", NULL));
  TRY(file_join(path, sizeof path, dir, name, e));
  if (is_open(m->clerk.store, path)) return OK;
  if (m->clerk.store >= 0) close(m->clerk.store);
  m->clerk.store = -1;
  TRY(file_mkdirs(dir, 0700, e));
  m->clerk.store = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (m->clerk.store < 0) return error_set(e, E_IO, "the inbox cannot be written: %s", strerror(errno));
  return file_sync_dir(dir, e);
}

static int write_whole(int fd, const char *p, size_t n, size_t *written, struct error *e) {
  for (*written = 0; *written < n;) {
    ssize_t k = write(fd, p + *written, n - *written);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return error_set(e, E_IO, "the inbox cannot be written: %s", strerror(errno));
    *written += (size_t)k;
  }
  return OK;
}

/* What the file cannot be made to forget (replicas append to it too) is not appended again: a message whose transaction failed after it was
 * laid there is known by sender, control id and content when it comes once more. */
static void laid_name(const struct hl7_item *it, uint8_t name[32]) {
  char text[3][33];
  names_of(it, text[0], text[1], text[2]);
  sha256_of(text, sizeof text, name);
}
static bool lies_there(const struct mllp *m, const struct hl7_item *it) {
  uint8_t name[32];
  uint64_t n = m->clerk.laid_n < HL7_LAID ? m->clerk.laid_n : HL7_LAID;
  if (n) laid_name(it, name);
  for (uint64_t i = 0; i < n; i++)
    if (memcmp(m->clerk.laid[i], name, 16) == 0) return true;
  return false;
}
static void note_laid(struct mllp *m, struct hl7_item **it, int n) {
  for (int i = 0; i < n; i++) {
    uint8_t name[32];
    if (!it[i]->laid || lies_there(m, it[i])) continue;
    laid_name(it[i], name);
    memcpy(m->clerk.laid[m->clerk.laid_n++ % HL7_LAID], name, 16);
  }
}

/* Durable on return. The ingest rejects a piece that a crash cut off: its sender had no answer and sends it again. */
static int store(struct mllp *m, struct hl7_item **it, int n, int64_t now, struct error *e) {
  struct buf b = {0};
  size_t end[BATCH] = {0}, written = 0; /* where each message's frame ends; 0: not among them */
  int kept = 0;
  if (!m->set.store) return OK;
  for (int i = 0; i < n; i++) {
    if (strcmp(it[i]->answer.code, "AA") != 0 || it[i]->again) continue;
    kept++;
    it[i]->laid = lies_there(m, it[i]);
    if (it[i]->laid) continue;
    hl7v2_frame_put(&b, it[i]->message);
    end[i] = b.n;
  }
  int rc = b.n ? buf_check(&b, e) : OK;
  if (rc == OK && b.n) rc = open_day(m, now, e);
  if (rc == OK && b.n) rc = write_whole(m->clerk.store, b.p, b.n, &written, e);
  for (int i = 0; i < n; i++) it[i]->laid |= end[i] && end[i] <= written;
  if (rc == OK && b.n && fdatasync(m->clerk.store) < 0) {
    rc = error_set(e, E_IO, "the inbox cannot be written: %s", strerror(errno));
    for (int i = 0; i < n; i++) it[i]->laid = false; /* nobody knows: twice is better than never */
  }
  if (rc == OK) atomic_fetch_add(&m->n.stored, (uint64_t)kept);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

/* ---- rows and replies ---- */

static void reply(struct mllp *m, struct hl7_item *it, char id[REQUEST_ID + 1]) {
  struct server *s = m->server;
  uint64_t n = atomic_fetch_add(&m->clerk.ids, 1);
  snprintf(id, REQUEST_ID + 1, "V%016llx", (unsigned long long)hash64_u64(s->request_seed ^ ~n));
  buf_clear(&it->reply);
  hl7v2_acknowledge(&it->answer, str_c(id), time_now(), &it->reply);
}

/* "ORU^R01", of letters and digits; else what it was is not said. */
static void name_route(const struct hl7v2_answer *a, char out[16]) {
  bool plain = a->type.n == 3 && a->trigger.n == 3;
  for (size_t i = 0; plain && i < 3; i++)
    plain = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", a->type.p[i]) && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", a->trigger.p[i]);
  if (plain)
    snprintf(out, 16, "%.3s^%.3s", a->type.p, a->trigger.p);
  else
    snprintf(out, 16, "HL7v2");
}

static void describe(const struct hl7_item *it, const char *version, const char *route, const char *id, struct audit_entry *row) {
  uint8_t digest[32];
  const char *code = it->answer.code;
  int status = strcmp(code, "AA") == 0 ? (it->again ? 208 : 200) : strcmp(code, "AR") == 0 ? 406 : 422;
  *row = (struct audit_entry){.time = time_now(),
                              .method = "MLLP",
                              .route = route,
                              .version = version,
                              .status = status,
                              .latency_us = (int64_t)((time_monotonic() - it->began) * 1e6)};
  snprintf(row->key, sizeof row->key, "mllp");
  snprintf(row->request, sizeof row->request, "%s", id);
  if (name_plain(it->answer.facility, TENANT_MOST)) snprintf(row->tenant, sizeof row->tenant, "%.*s", STR_ARG(it->answer.facility));
  sha256_of(it->message.p, it->message.n, digest);
  hash_hex(digest, 32, row->input);
  sha256_of(it->reply.p ? it->reply.p : "", it->reply.n, digest);
  hash_hex(digest, 32, row->output);
}

static int record_all(struct mllp *m, struct hl7_item **it, int n, struct error *e) {
  struct audit_entry rows[BATCH];
  char id[BATCH][REQUEST_ID + 1], route[BATCH][16];
  int64_t now = time_now();
  struct db *db = audit_db(m->clerk.audit);
  TRY(db_begin(db, e));
  int rc = forget_old(m, e);
  for (int i = 0; rc == OK && i < n; i++) rc = know_again(m, it[i], now, e);
  if (rc == OK) rc = store(m, it, n, now, e);
  struct served *live = fleet_live(m->server->fleet);
  for (int i = 0; rc == OK && i < n; i++) {
    reply(m, it[i], id[i]);
    name_route(&it[i]->answer, route[i]);
    describe(it[i], served_id(live), route[i], id[i], &rows[i]);
  }
  if (rc == OK) rc = audit_append(m->clerk.audit, rows, n, e);
  served_release(live);
  if (rc == OK) rc = db_commit(db, e);
  if (rc < 0) {
    db_rollback(db);
    note_laid(m, it, n);
  }
  return rc;
}

/* Nothing is taken that cannot be recorded: the sender keeps it and sends it again. */
static void refuse_all(struct mllp *m, struct hl7_item **it, int n) {
  for (int i = 0; i < n; i++) {
    char id[REQUEST_ID + 1];
    it[i]->answer.problems = 0;
    hl7v2_problem_add(&it[i]->answer, "AE", "", 0, "cannot be recorded at the moment; send it again", 207);
    reply(m, it[i], id);
  }
  atomic_fetch_add(&m->server->n.audit_failures, (uint64_t)n);
  atomic_store(&m->server->mute, true);
}

static void serve_batch(struct mllp *m, struct hl7_item **it, int n) {
  struct error e = {0};
  if (record_all(m, it, n, &e) < 0) {
    log_failure(LOG_ERROR, &e);
    refuse_all(m, it, n);
  } else {
    atomic_fetch_add(&m->server->n.audit_rows, (uint64_t)n);
  }
  for (int i = 0; i < n; i++) {
    const char *code = it[i]->answer.code;
    atomic_fetch_add(&m->n.answers[code[1] == 'A' ? 0 : code[1] == 'E' ? 1 : 2], 1);
    if (it[i]->again) atomic_fetch_add(&m->n.again, 1);
  }
}

static void *clerk_main(void *ctx) {
  struct mllp *m = ctx;
  pthread_mutex_lock(&m->clerk.mutex);
  for (;;) {
    struct hl7_item *it[BATCH];
    int n = 0;
    while (!m->clerk.first && !m->clerk.closed) pthread_cond_wait(&m->clerk.work, &m->clerk.mutex);
    for (; m->clerk.first && n < BATCH; n++) {
      it[n] = m->clerk.first;
      m->clerk.first = it[n]->next;
    }
    if (!m->clerk.first) m->clerk.last = NULL;
    if (!n) break;
    pthread_mutex_unlock(&m->clerk.mutex);
    serve_batch(m, it, n);
    pthread_mutex_lock(&m->clerk.mutex);
    for (int i = 0; i < n; i++) it[i]->done = true;
    pthread_cond_broadcast(&m->clerk.done);
  }
  pthread_mutex_unlock(&m->clerk.mutex);
  return NULL;
}

void hl7_record(struct mllp *m, struct hl7_item *item, int n) {
  pthread_mutex_lock(&m->clerk.mutex);
  for (int i = 0; i < n; i++) {
    item[i].next = NULL, item[i].done = false;
    if (m->clerk.last)
      m->clerk.last->next = &item[i];
    else
      m->clerk.first = &item[i];
    m->clerk.last = &item[i];
  }
  pthread_cond_signal(&m->clerk.work);
  for (int i = 0; i < n; i++)
    while (!item[i].done) pthread_cond_wait(&m->clerk.done, &m->clerk.mutex);
  pthread_mutex_unlock(&m->clerk.mutex);
}

int hl7_clerk_start(struct mllp *m, struct error *e) {
  m->clerk.store = -1;
  TRY(audit_open(m->server->o.site, m->server->o.database, &m->clerk.audit, e));
  if (pthread_create(&m->clerk.thread, NULL, clerk_main, m) != 0) return error_set(e, E_NOMEM, "a thread cannot be started");
  m->clerk.started = true;
  return OK;
}

void hl7_clerk_stop(struct mllp *m) {
  pthread_mutex_lock(&m->clerk.mutex);
  m->clerk.closed = true;
  pthread_cond_broadcast(&m->clerk.work);
  pthread_mutex_unlock(&m->clerk.mutex);
  if (m->clerk.started) pthread_join(m->clerk.thread, NULL);
  audit_close(m->clerk.audit);
  if (m->clerk.started && m->clerk.store >= 0) close(m->clerk.store);
}

/* ---- memory ---- */

uint64_t hl7_person(const struct mllp *m, struct str key) { return key.n ? hash64(key.p, key.n, m->server->request_seed) | 1 : 0; }

static void drop_oldest(struct mllp *m) {
  struct hl7_kept *k = m->memory.oldest;
  m->memory.oldest = k->newer;
  *(k->newer ? &k->newer->older : &m->memory.newest) = NULL;
  m->memory.bytes -= sizeof *k + k->n;
  mem_wipe(k, sizeof *k + k->n);
  mem_free(k);
}

static void trim(struct mllp *m, double now) {
  while (m->memory.oldest && (m->memory.bytes > (size_t)m->set.mib << 20 || m->memory.oldest->when < now - (double)m->set.hours * 3600))
    drop_oldest(m);
}

void hl7_remember(struct mllp *m, const struct hl7_item *it) {
  if (strcmp(it->answer.code, "AA") != 0 || it->again || !it->person) return;
  struct hl7_kept *k = mem_alloc(sizeof *k + it->message.n);
  double now = time_monotonic();
  if (!k) return; /* acknowledged and, if so configured, stored; a risk told without it would be told of less */
  *k = (struct hl7_kept){.person = it->person, .when = now, .n = it->message.n};
  memcpy(k->text, it->message.p, it->message.n);
  pthread_mutex_lock(&m->memory.mutex);
  for (struct hl7_kept *o = it->replaced ? m->memory.oldest : NULL; o; o = o->newer)
    if (o->person == it->replaced) o->person = it->person; /* merged: his messages are theirs */
  k->older = m->memory.newest;
  *(k->older ? &k->older->newer : &m->memory.oldest) = k;
  m->memory.newest = k;
  m->memory.bytes += sizeof *k + k->n;
  trim(m, now);
  pthread_mutex_unlock(&m->memory.mutex);
  struct str trigger = it->answer.trigger;
  for (int i = 0; i < m->set.afters; i++)
    if (str_eqc(trigger, m->set.after[i])) {
      hl7_wish(m, it);
      break;
    }
}

void hl7_forget_all(struct mllp *m) {
  while (m->memory.oldest) drop_oldest(m);
}

int hl7_recall(struct mllp *m, uint64_t person, struct arena *a, struct str **out, size_t *n, struct error *e) {
  size_t most = 0;
  int rc = OK;
  *n = 0;
  pthread_mutex_lock(&m->memory.mutex);
  trim(m, time_monotonic());
  for (const struct hl7_kept *k = m->memory.oldest; k; k = k->newer) most += k->person == person;
  *out = arena_array(a, struct str, most + 1);
  if (!*out) rc = error_set(e, E_LIMIT, "a patient's messages are more than the memory for one answer");
  for (const struct hl7_kept *k = m->memory.oldest; rc == OK && k; k = k->newer) {
    if (k->person != person) continue;
    struct str copy = str_copy(a, (struct str){k->text, k->n});
    if (!copy.p) rc = error_set(e, E_LIMIT, "a patient's messages are more than the memory for one answer");
    (*out)[(*n)++] = copy;
  }
  pthread_mutex_unlock(&m->memory.mutex);
  return rc;
}
