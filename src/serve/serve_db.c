/* Which database, and handing on to it. */
#include "serve/serve_db.h"

#include "base/file.h"

struct db {
  const struct db_engine *engine;
  void *self;
};

static bool has_password(struct str url) {
  const char *at = memchr(url.p, '@', url.n), *slashes = memmem(url.p, url.n, "://", 3);
  if (memmem(url.p, url.n, "password=", 9)) return true;
  return at && slashes && slashes + 3 < at && memchr(slashes + 3, ':', (size_t)(at - slashes - 3));
}

/* The URL as given, from the file that "@FILE" names, or from SITE/database; empty = SQLite. */
static int find_url(const char *site, const char *given, struct arena *a, struct str *url, struct error *e) {
  char path[4096];
  *url = STR_NONE;
  if (given && given[0] != '@') {
    *url = str_c(given);
    if (has_password(*url))
      return error_set(e, E_USAGE, "a password is no part of a command line: write the URL into a file and give --database @FILE");
    return OK;
  }
  if (given)
    snprintf(path, sizeof path, "%s", given + 1);
  else
    TRY(file_join(path, sizeof path, site, "database", e));
  if (!given && !file_exists(path)) return OK;
  struct str text;
  TRY(file_read(a, path, 4096, &text, e));
  *url = str_copy(a, str_trim(text));
  return url->p ? OK : error_set(e, E_NOMEM, "out of memory");
}

int db_open(const char *site, const char *database, struct db **out, struct error *e) {
  struct arena a;
  struct str url = STR_NONE;
  char text[4096];
  *out = NULL;
  arena_init(&a, 64 << 10, ARENA_WIPE);
  int rc = find_url(site, database, &a, &url, e);
  snprintf(text, sizeof text, "%.*s", (int)url.n, url.p ? url.p : "");
  struct db *db = rc == OK ? mem_alloc(sizeof *db) : NULL;
  if (rc == OK && !db) rc = error_set(e, E_NOMEM, "out of memory");
  if (rc == OK && !text[0]) {
    db->engine = &db_sqlite;
    rc = db_sqlite_open(site, &db->self, e);
  } else if (rc == OK && (str_starts(url, STR("postgres://")) || str_starts(url, STR("postgresql://")))) {
    db->engine = &db_postgres;
    rc = db_postgres_open(text, &db->self, e);
  } else if (rc == OK) {
    rc = error_set(e, E_USAGE, "a database is named as postgres://HOST/NAME, or @FILE with such a line");
  }
  mem_wipe(text, sizeof text);
  arena_free(&a);
  if (rc < 0)
    mem_free(db);
  else
    *out = db;
  return rc;
}

void db_close(struct db *db) {
  if (!db) return;
  db->engine->close(db->self);
  mem_free(db);
}
bool db_shared(const struct db *db) { return db->engine->shared; }

int db_run(struct db *db, const char *sql, const struct db_value *v, int n, int64_t *changed, struct error *e) {
  int64_t ignored;
  return db->engine->run(db->self, sql, v, n, NULL, NULL, changed ? changed : &ignored, e);
}
int db_each(struct db *db, const char *sql, const struct db_value *v, int n, db_row *row, void *ctx, struct error *e) {
  int64_t ignored;
  return db->engine->run(db->self, sql, v, n, row, ctx, &ignored, e);
}
int db_begin(struct db *db, struct error *e) { return db->engine->begin(db->self, e); }
int db_commit(struct db *db, struct error *e) { return db->engine->commit(db->self, e); }
void db_rollback(struct db *db) { db->engine->rollback(db->self); }
int db_relax(struct db *db, struct error *e) { return db->engine->shared ? OK : db_run(db, "PRAGMA synchronous=NORMAL", NULL, 0, NULL, e); }
