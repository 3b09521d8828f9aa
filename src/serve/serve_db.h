/* The server's database behind one small face: SQLite (SITE/vitae.db) for one machine, PostgreSQL for replicas.
 *
 *     struct db *db;  TRY(db_open(site, NULL, &db, e));                                    // or "postgres://host/name", or "@FILE"
 *     TRY(db_run(db, "UPDATE keys SET revoked = ? WHERE id = ?", (struct db_value[]){DB_I(now), DB_T(id)}, 2, &changed, e));
 *     TRY(db_each(db, "SELECT id, hash FROM keys", NULL, 0, take_row, ctx, e));            // values are valid during the call
 *     TRY(db_begin(db, e)); … TRY(db_commit(db, e));                                        // writers one after another
 *
 * A statement is prepared once and found again by its address: give string literals. One connection belongs to one thread. A lost
 * PostgreSQL connection is made again at the next statement outside a transaction. A database that keeps silent, or a lock
 * that is kept by others, is E_UNAVAILABLE after some seconds. Without a URL, the file SITE/database (0600) may hold
 * one; a password belongs there or into ~/.pgpass, never on a command line (E_USAGE).
 */
#ifndef SERVE_DB_H
#define SERVE_DB_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

enum db_kind { DB_NULL, DB_INT, DB_TEXT, DB_BLOB };
struct db_value {
  enum db_kind kind;
  int64_t i;
  const char *p;
  size_t n;
};
#define DB_I(x) ((struct db_value){.kind = DB_INT, .i = (x)})
static inline struct db_value db_text(const char *s) {
  return s ? (struct db_value){.kind = DB_TEXT, .p = s, .n = strlen(s)} : (struct db_value){.kind = DB_NULL};
}
#define DB_T(s) db_text(s)
#define DB_B(bytes, size) ((struct db_value){.kind = DB_BLOB, .p = (const char *)(bytes), .n = (size)})
#define DB_NONE ((struct db_value){.kind = DB_NULL})

enum { DB_COLUMNS = 20 };
struct db;
typedef int db_row(void *ctx, const struct db_value *v, int n, struct error *e); /* < 0 ends the reading */
int db_open(const char *site, const char *database, struct db **out, struct error *e) MUST_CHECK;
void db_close(struct db *db);
bool db_shared(const struct db *db); /* other machines may write to it too */
int db_run(struct db *db, const char *sql, const struct db_value *v, int n, int64_t *changed, struct error *e) MUST_CHECK;
int db_each(struct db *db, const char *sql, const struct db_value *v, int n, db_row *row, void *ctx, struct error *e) MUST_CHECK;
int db_begin(struct db *db, struct error *e) MUST_CHECK;
int db_commit(struct db *db, struct error *e) MUST_CHECK;
void db_rollback(struct db *db);
/* SQLite: what this connection commits is on the disk no later than the next commit of a connection that is not relaxed (one log has both).
 * A crash of the process loses nothing. PostgreSQL: nothing changes. */
int db_relax(struct db *db, struct error *e) MUST_CHECK;

/* serve_db.c and the two engines below it */
struct db_engine {
  int (*run)(void *self, const char *sql, const struct db_value *v, int n, db_row *row, void *ctx, int64_t *changed, struct error *e);
  int (*begin)(void *self, struct error *e), (*commit)(void *self, struct error *e);
  void (*rollback)(void *self), (*close)(void *self);
  bool shared;
};
int db_sqlite_open(const char *site, void **self, struct error *e) MUST_CHECK; /* serve_db_sqlite.c */
extern const struct db_engine db_sqlite;
int db_postgres_open(const char *url, void **self, struct error *e) MUST_CHECK; /* serve_db_postgres.c */
extern const struct db_engine db_postgres;
#endif
