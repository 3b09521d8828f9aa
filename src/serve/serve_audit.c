/* The audit chain: hash(n) = SHA-256(hash(n-1) || fields of row n), hash(0) = 32 zero bytes. Fields in the order of the columns, each as
 * its text and a newline. Contents are never kept, only their SHA-256. A chain shows changed, removed and inserted rows; that the
 * last rows were cut off shows only against a head that was noted elsewhere (GET /v1/audit gives it). */
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/time.h"
#include "serve/serve_private.h"

struct audit {
  sqlite3 *db;
  sqlite3_stmt *last, *put;
};

static void chain(const uint8_t before[32], int64_t seq, const struct audit_entry *r, uint8_t out[32]) {
  char head[64], tail[64];
  const char *text[] = {r->key, r->method, r->route, r->version, r->input, r->output};
  struct buf b = {0};
  buf_put(&b, before, 32);
  snprintf(head, sizeof head, "%lld\n%lld\n", (long long)seq, (long long)r->time);
  buf_puts(&b, head);
  for (int i = 0; i < 6; i++) buf_puts(&b, text[i]), buf_putc(&b, '\n');
  snprintf(tail, sizeof tail, "%d\n%lld\n", r->status, (long long)r->latency_us);
  buf_puts(&b, tail);
  if (b.failed)
    memset(out, 0, 32); /* no memory: a hash of zeros is never written and never right */
  else
    sha256_of(b.p, b.n, out);
  buf_release(&b);
}

static bool is_zero(const uint8_t h[32]) {
  static const uint8_t zero[32];
  return memcmp(h, zero, 32) == 0;
}

int audit_open(const char *site, struct audit **out, struct error *e) {
  struct audit *a = mem_alloc(sizeof *a);
  if (!a) return error_set(e, E_NOMEM, "out of memory");
  memset(a, 0, sizeof *a);
  int rc = db_open(site, &a->db, e);
  if (rc == OK) rc = db_prepare(a->db, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", &a->last, e);
  if (rc == OK) rc = db_prepare(a->db, "INSERT INTO audit VALUES(?,?,?,?,?,?,?,?,?,?,?)", &a->put, e);
  if (rc < 0) {
    audit_close(a);
    return rc;
  }
  *out = a;
  return OK;
}

void audit_close(struct audit *a) {
  if (!a) return;
  sqlite3_finalize(a->last);
  sqlite3_finalize(a->put);
  sqlite3_close(a->db);
  mem_free(a);
}

static int read_head(struct audit *a, int64_t *seq, uint8_t hash[32], struct error *e) {
  int step = sqlite3_step(a->last), rc = OK;
  *seq = 0;
  memset(hash, 0, 32);
  if (step == SQLITE_ROW) {
    *seq = sqlite3_column_int64(a->last, 0);
    if (sqlite3_column_bytes(a->last, 1) == 32)
      memcpy(hash, sqlite3_column_blob(a->last, 1), 32);
    else
      rc = error_set(e, E_CORRUPT, "vitae.db: the last audit row is damaged");
  } else if (step != SQLITE_DONE) {
    rc = db_error(a->db, e, "reading the audit");
  }
  sqlite3_reset(a->last);
  return rc;
}

static int put_row(struct audit *a, int64_t seq, const struct audit_entry *r, const uint8_t hash[32], struct error *e) {
  const char *text[] = {r->key, r->method, r->route, r->version, r->input, r->output};
  if (is_zero(hash)) return error_set(e, E_NOMEM, "out of memory");
  sqlite3_bind_int64(a->put, 1, seq);
  sqlite3_bind_int64(a->put, 2, r->time);
  for (int i = 0; i < 6; i++) sqlite3_bind_text(a->put, 3 + i, text[i], -1, SQLITE_STATIC);
  sqlite3_bind_int(a->put, 9, r->status);
  sqlite3_bind_int64(a->put, 10, r->latency_us);
  sqlite3_bind_blob(a->put, 11, hash, 32, SQLITE_STATIC);
  int rc = sqlite3_step(a->put) == SQLITE_DONE ? OK : db_error(a->db, e, "writing the audit");
  sqlite3_reset(a->put);
  return rc;
}

int audit_write(struct audit *a, struct audit_entry *rows, int n, struct error *e) {
  int64_t seq;
  uint8_t hash[32];
  TRY(db_exec(a->db, "BEGIN IMMEDIATE", e)); /* the head is read inside: another process may write as well */
  int rc = read_head(a, &seq, hash, e);
  for (int i = 0; rc == OK && i < n; i++) {
    uint8_t next[32];
    chain(hash, ++seq, &rows[i], next);
    rc = put_row(a, seq, &rows[i], next, e);
    memcpy(hash, next, 32);
    rows[i].row = seq;
  }
  if (rc == OK) rc = db_exec(a->db, "COMMIT", e);
  if (rc < 0) (void)sqlite3_exec(a->db, "ROLLBACK", NULL, NULL, NULL);
  return rc;
}

int audit_note(const char *site, const char *what, const char *input, const char *output, int status, struct error *e) {
  struct audit *a;
  struct audit_entry row = {.time = time_now(), .method = "CLI", .route = what, .version = "", .status = status};
  TRY(audit_open(site, &a, e));
  snprintf(row.key, sizeof row.key, "u%u", (unsigned)getuid());
  snprintf(row.input, sizeof row.input, "%s", input);
  snprintf(row.output, sizeof row.output, "%s", output);
  int rc = audit_write(a, &row, 1, e);
  audit_close(a);
  return rc;
}

/* ---- reading ---- */

static const char *column(sqlite3_stmt *s, int i) {
  const char *t = (const char *)sqlite3_column_text(s, i);
  return t ? t : "";
}

static void read_row(sqlite3_stmt *s, struct audit_entry *r) {
  *r = (struct audit_entry){.row = sqlite3_column_int64(s, 0), .time = sqlite3_column_int64(s, 1)};
  snprintf(r->key, sizeof r->key, "%s", column(s, 2));
  r->method = column(s, 3), r->route = column(s, 4), r->version = column(s, 5);
  snprintf(r->input, sizeof r->input, "%s", column(s, 6));
  snprintf(r->output, sizeof r->output, "%s", column(s, 7));
  r->status = sqlite3_column_int(s, 8);
  r->latency_us = sqlite3_column_int64(s, 9);
}

/* Whether the stored row is one that `chain` speaks of without doubt: no text cut short, none with the separator in it. */
static bool row_plain(sqlite3_stmt *s, const struct audit_entry *r) {
  const char *text[] = {r->key, r->method, r->route, r->version, r->input, r->output};
  for (int i = 0; i < 6; i++)
    if (sqlite3_column_bytes(s, 2 + i) != (int)strlen(text[i]) || strchr(text[i], '\n')) return false;
  return sqlite3_column_int64(s, 8) == r->status;
}

static void row_json(sqlite3_stmt *s, struct json_out *o) {
  struct audit_entry r;
  char time[32];
  read_row(s, &r);
  time_format(r.time, time);
  json_out_object(o);
  json_kv_i64(o, "seq", r.row);
  json_kv_c(o, "time", time);
  json_kv_c(o, "key", r.key);
  json_kv_c(o, "method", r.method);
  json_kv_c(o, "route", r.route);
  json_kv_c(o, "version", r.version);
  json_kv_c(o, "input", r.input);
  json_kv_c(o, "output", r.output);
  json_kv_i64(o, "status", r.status);
  json_kv_f64(o, "milliseconds", (double)r.latency_us / 1e3);
  json_out_end(o);
}

int audit_latest(struct audit *a, int n, struct json_out *o, struct error *e) {
  sqlite3_stmt *s;
  TRY(db_prepare(a->db, "SELECT * FROM audit ORDER BY seq DESC LIMIT ?", &s, e));
  sqlite3_bind_int(s, 1, n);
  char head[65] = "";
  int step;
  json_out_object(o);
  json_out_key(o, "rows");
  json_out_array(o);
  while ((step = sqlite3_step(s)) == SQLITE_ROW) {
    if (!head[0] && sqlite3_column_bytes(s, 10) == 32) hash_hex(sqlite3_column_blob(s, 10), 32, head);
    row_json(s, o);
  }
  json_out_end(o);
  json_kv_c(o, "head", head);
  json_out_end(o);
  int rc = step == SQLITE_DONE ? OK : db_error(a->db, e, "reading the audit");
  sqlite3_finalize(s);
  return rc;
}

int audit_verify(const char *site, uint64_t *rows, struct error *e) {
  sqlite3 *db;
  sqlite3_stmt *s = NULL;
  uint8_t hash[32] = {0}, want[32];
  int step = SQLITE_DONE;
  *rows = 0;
  TRY(db_open(site, &db, e));
  int rc = db_prepare(db, "SELECT * FROM audit ORDER BY seq", &s, e);
  while (rc == OK && (step = sqlite3_step(s)) == SQLITE_ROW) {
    struct audit_entry r;
    read_row(s, &r);
    int64_t seq = (int64_t)*rows + 1;
    chain(hash, seq, &r, want);
    bool whole = r.row == seq && row_plain(s, &r) && sqlite3_column_bytes(s, 10) == 32 &&
                 memcmp(sqlite3_column_blob(s, 10), want, 32) == 0 && !is_zero(want);
    if (!whole) {
      rc = error_set(e, E_CORRUPT, "the audit chain does not hold");
      (void)error_where(e, "vitae.db", seq, "audit.seq");
    }
    memcpy(hash, want, 32);
    if (whole) ++*rows;
  }
  if (rc == OK && step != SQLITE_DONE) rc = db_error(db, e, "reading the audit");
  sqlite3_finalize(s);
  sqlite3_close(db);
  return rc;
}
