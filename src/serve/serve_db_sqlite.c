/* vitae.db: one SQLite file, mode 0600; its -wal and -shm take the same mode. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "serve/serve_db.h"

enum { STATEMENTS = 48 };
struct lite {
  sqlite3 *db;
  struct {
    const char *sql;
    sqlite3_stmt *s;
  } kept[STATEMENTS];
  int n;
};

static const char schema[] =
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=FULL;"
    "CREATE TABLE IF NOT EXISTS keys(id TEXT PRIMARY KEY, role TEXT NOT NULL, label TEXT NOT NULL, hash TEXT NOT NULL,"
    " created INTEGER NOT NULL, revoked INTEGER) STRICT;"
    "CREATE TABLE IF NOT EXISTS audit(seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, key TEXT NOT NULL, method TEXT NOT NULL,"
    " route TEXT NOT NULL, version TEXT NOT NULL, input TEXT NOT NULL, output TEXT NOT NULL, status INTEGER NOT NULL,"
    " latency INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS deployments(name TEXT PRIMARY KEY, arms TEXT NOT NULL, shadow TEXT NOT NULL, changed INTEGER NOT NULL) "
    "STRICT;"
    "CREATE TABLE IF NOT EXISTS quotas(key TEXT NOT NULL, minute INTEGER NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL,"
    " PRIMARY KEY(key, minute)) STRICT;"
    "CREATE TABLE IF NOT EXISTS hl7_seen(sender TEXT NOT NULL, control TEXT NOT NULL, content TEXT NOT NULL, time INTEGER NOT NULL,"
    " PRIMARY KEY(sender, control)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS hl7_out(control TEXT PRIMARY KEY, made INTEGER NOT NULL, owner TEXT NOT NULL, lease INTEGER NOT NULL,"
    " sealed BLOB) STRICT;"
    "CREATE TABLE IF NOT EXISTS billed(id TEXT PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS billed_until ON billed(until);"
    "CREATE TABLE IF NOT EXISTS tokens_seen(id TEXT PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS tokens_until ON tokens_seen(until);"
    "CREATE TABLE IF NOT EXISTS logins(id TEXT PRIMARY KEY, kind INTEGER NOT NULL, began INTEGER NOT NULL, until INTEGER NOT NULL,"
    " sealed BLOB NOT NULL) STRICT;"
    "CREATE INDEX IF NOT EXISTS logins_kind ON logins(kind, began, id);";
/* What came later: columns that an older vitae.db lacks. Rows written before keep NULL there, and their hash does not cover them. */
static const char *const later[] = {"ALTER TABLE keys ADD COLUMN tenant TEXT",         "ALTER TABLE keys ADD COLUMN models TEXT",
                                    "ALTER TABLE keys ADD COLUMN rpm INTEGER",         "ALTER TABLE keys ADD COLUMN tpm INTEGER",
                                    "ALTER TABLE keys ADD COLUMN expires INTEGER",     "ALTER TABLE audit ADD COLUMN tenant TEXT",
                                    "ALTER TABLE audit ADD COLUMN request TEXT",       "ALTER TABLE audit ADD COLUMN tokens_in INTEGER",
                                    "ALTER TABLE audit ADD COLUMN tokens_out INTEGER", "ALTER TABLE audit ADD COLUMN billed INTEGER"};
static const char verdict[] = "ALTER TABLE audit ADD COLUMN verdict TEXT";

static int lite_error(sqlite3 *db, struct error *e, const char *doing) {
  int code = sqlite3_errcode(db), primary = code & 0xff;
  int rc = primary == SQLITE_BUSY || primary == SQLITE_LOCKED      ? E_BUSY
           : primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB ? E_CORRUPT
           : primary == SQLITE_NOMEM                               ? E_NOMEM
                                                                   : E_IO;
  return error_set(e, rc, "vitae.db: %s failed (SQLite %d: %s)", doing, code, sqlite3_errstr(code));
}

static int exec(sqlite3 *db, const char *sql, struct error *e) {
  return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : lite_error(db, e, "a statement");
}

static bool selects(sqlite3 *db, const char *sql) {
  sqlite3_stmt *s;
  if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) return false;
  sqlite3_finalize(s);
  return true;
}

static int upgrade(sqlite3 *db, struct error *e) {
  sqlite3_stmt *s;
  int have = 0;
  TRY(exec(db, schema, e));
  if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL) != SQLITE_OK) return lite_error(db, e, "reading the version");
  if (sqlite3_step(s) == SQLITE_ROW) have = sqlite3_column_int(s, 0);
  sqlite3_finalize(s);
  if (have >= 3) return OK;
  TRY(exec(db, "BEGIN IMMEDIATE", e));
  int rc = OK; /* two programs may come at once: the second finds the columns there */
  bool second = selects(db, "SELECT billed FROM audit LIMIT 0"), third = selects(db, "SELECT verdict FROM audit LIMIT 0");
  for (size_t i = 0; rc == OK && !second && i < sizeof later / sizeof *later; i++) rc = exec(db, later[i], e);
  if (rc == OK && !third) rc = exec(db, verdict, e);
  if (rc == OK) rc = exec(db, "CREATE INDEX IF NOT EXISTS audit_key ON audit(key, time); PRAGMA user_version = 3; COMMIT", e);
  if (rc < 0) (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
  return rc;
}

int db_sqlite_open(const char *site, void **self, struct error *e) {
  char path[4096];
  TRY(file_join(path, sizeof path, site, "vitae.db", e));
  /* SQLite would take the umask's mode. Never opened when it is there: closing any descriptor of a file drops all of this process's POSIX
   * locks on it, those of other connections too; another process would then take itself for the last one and remove the log in use. */
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno != EEXIST) return error_set(e, E_IO, "vitae.db cannot be opened: %s", strerror(errno));
  if (fd >= 0) close(fd);
  struct lite *l = mem_alloc(sizeof *l);
  if (!l) return error_set(e, E_NOMEM, "out of memory");
  memset(l, 0, sizeof *l);
  int rc = OK;
  if (sqlite3_open_v2(path, &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
    rc = l->db ? lite_error(l->db, e, "opening") : error_set(e, E_NOMEM, "out of memory");
  if (rc == OK) sqlite3_busy_timeout(l->db, 5000);
  if (rc == OK) rc = upgrade(l->db, e);
  if (rc < 0) {
    sqlite3_close(l->db);
    mem_free(l);
    return rc;
  }
  *self = l;
  return OK;
}

static void lite_close(void *self) {
  struct lite *l = self;
  for (int i = 0; i < l->n; i++) sqlite3_finalize(l->kept[i].s);
  sqlite3_close(l->db);
  mem_free(l);
}

static int statement(struct lite *l, const char *sql, sqlite3_stmt **out, struct error *e) {
  for (int i = 0; i < l->n; i++)
    if (l->kept[i].sql == sql) return *out = l->kept[i].s, OK;
  if (l->n == STATEMENTS) BUG("more statements than the database keeps");
  if (sqlite3_prepare_v2(l->db, sql, -1, out, NULL) != SQLITE_OK) return lite_error(l->db, e, "preparing a statement");
  l->kept[l->n].sql = sql;
  l->kept[l->n++].s = *out;
  return OK;
}

static void bind(sqlite3_stmt *s, int i, const struct db_value *v) {
  switch (v->kind) {
    case DB_INT: sqlite3_bind_int64(s, i, v->i); break;
    case DB_TEXT: sqlite3_bind_text(s, i, v->p, (int)v->n, SQLITE_STATIC); break;
    case DB_BLOB: sqlite3_bind_blob(s, i, v->p, (int)v->n, SQLITE_STATIC); break;
    default: sqlite3_bind_null(s, i);
  }
}

static struct db_value column(sqlite3_stmt *s, int i) {
  switch (sqlite3_column_type(s, i)) {
    case SQLITE_INTEGER: return DB_I(sqlite3_column_int64(s, i));
    case SQLITE_TEXT: {
      const char *p = (const char *)sqlite3_column_text(s, i);
      return (struct db_value){.kind = DB_TEXT, .p = p, .n = (size_t)sqlite3_column_bytes(s, i)};
    }
    case SQLITE_BLOB: {
      const char *p = sqlite3_column_blob(s, i);
      return (struct db_value){.kind = DB_BLOB, .p = p, .n = (size_t)sqlite3_column_bytes(s, i)};
    }
    default: return DB_NONE;
  }
}

static int lite_run(void *self, const char *sql, const struct db_value *v, int n, db_row *row, void *ctx, int64_t *changed,
                    struct error *e) {
  struct lite *l = self;
  sqlite3_stmt *s;
  struct db_value out[DB_COLUMNS];
  int step, rc = OK;
  TRY(statement(l, sql, &s, e));
  for (int i = 0; i < n; i++) bind(s, i + 1, &v[i]);
  while ((step = sqlite3_step(s)) == SQLITE_ROW && rc >= 0) {
    int columns = sqlite3_column_count(s);
    if (columns > DB_COLUMNS) BUG("more columns than a row has");
    for (int i = 0; i < columns; i++) out[i] = column(s, i);
    if (row) rc = row(ctx, out, columns, e);
  }
  if (rc >= 0 && step != SQLITE_DONE) rc = lite_error(l->db, e, "a statement");
  *changed = sqlite3_changes(l->db);
  sqlite3_reset(s);
  sqlite3_clear_bindings(s);
  return rc < 0 ? rc : OK;
}

static int lite_begin(void *self, struct error *e) { return exec(((struct lite *)self)->db, "BEGIN IMMEDIATE", e); }
static int lite_commit(void *self, struct error *e) { return exec(((struct lite *)self)->db, "COMMIT", e); }
static void lite_rollback(void *self) { (void)sqlite3_exec(((struct lite *)self)->db, "ROLLBACK", NULL, NULL, NULL); }

const struct db_engine db_sqlite = {lite_run, lite_begin, lite_commit, lite_rollback, lite_close, false};
