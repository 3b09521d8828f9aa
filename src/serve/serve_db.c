/* vitae.db: one SQLite file with keys and the audit chain. Mode 0600; its -wal and -shm take the same mode. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "serve/serve_private.h"

static const char schema[] =
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=FULL;"
    "CREATE TABLE IF NOT EXISTS keys(id TEXT PRIMARY KEY, role TEXT NOT NULL, label TEXT NOT NULL, hash TEXT NOT NULL,"
    " created INTEGER NOT NULL, revoked INTEGER) STRICT;"
    "CREATE TABLE IF NOT EXISTS audit(seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, key TEXT NOT NULL, method TEXT NOT NULL,"
    " route TEXT NOT NULL, version TEXT NOT NULL, input TEXT NOT NULL, output TEXT NOT NULL, status INTEGER NOT NULL,"
    " latency INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;";

int db_error(struct sqlite3 *db, struct error *e, const char *doing) {
  int code = sqlite3_errcode(db), primary = code & 0xff;
  int rc = primary == SQLITE_BUSY || primary == SQLITE_LOCKED      ? E_BUSY
           : primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB ? E_CORRUPT
           : primary == SQLITE_NOMEM                               ? E_NOMEM
                                                                   : E_IO;
  return error_set(e, rc, "vitae.db: %s failed (SQLite %d: %s)", doing, code, sqlite3_errstr(code));
}

int db_prepare(struct sqlite3 *db, const char *sql, struct sqlite3_stmt **out, struct error *e) {
  return sqlite3_prepare_v2(db, sql, -1, out, NULL) == SQLITE_OK ? OK : db_error(db, e, "preparing a statement");
}

int db_exec(struct sqlite3 *db, const char *sql, struct error *e) {
  return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : db_error(db, e, "a statement");
}

int db_open(const char *site, struct sqlite3 **out, struct error *e) {
  char path[4096];
  *out = NULL;
  TRY(file_join(path, sizeof path, site, "vitae.db", e));
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite would take the umask's mode */
  if (fd < 0) return error_set(e, E_IO, "vitae.db cannot be opened: %s", strerror(errno));
  close(fd);
  sqlite3 *db = NULL;
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
    int rc = db ? db_error(db, e, "opening") : error_set(e, E_NOMEM, "out of memory");
    sqlite3_close(db);
    return rc;
  }
  sqlite3_busy_timeout(db, 5000);
  int rc = db_exec(db, schema, e);
  if (rc < 0)
    sqlite3_close(db);
  else
    *out = db;
  return rc;
}
