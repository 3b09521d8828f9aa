/* Parquet through DuckDB, an optional library that is opened at run time (dlopen, RTLD_LOCAL; tested with 1.5.6).
 *
 *     struct duck *d;  TRY(duck_open("export/", &d, e));        // in memory; may touch files under export/ only
 *     struct duck_rows rows;
 *     struct str file = STR("export/data/0.parquet");
 *     TRY(duck_select(d, "SELECT subject_id, code FROM read_parquet(?)", &file, 1, &rows, e));
 *     while ((rc = duck_next(&rows, e)) > 0)
 *       for (size_t i = 0; i < rows.n; i++) if (duck_valid(&rows, 0, i)) use(duck_i64(&rows, 0)[i], duck_str(&rows, 1, i));
 *     duck_rows_close(&rows);  duck_close(d);
 *
 * Looked for in: $VITAE_DUCKDB (then nowhere else); duckdb/ beside the program or above it (the build directory, `make duckdb`);
 * PREFIX/lib/vitae; web/node_modules and node_modules (@duckdb/node-bindings-linux-x64) under the data directory
 * (file_data_dir); the system's library path. Functions here are called duck_*, because the library may bind to symbols of
 * the program that have its own names. Without it every call is E_UNAVAILABLE, and says how to get it.
 * Sandbox: one thread, memory limit, no extensions, no files outside the directory given, configuration locked.
 * DuckDB's own error messages can quote data, so they are never passed on. One struct duck is for one thread.
 */
#ifndef BASE_DUCKDB_H
#define BASE_DUCKDB_H
#include "base/str.h"

struct duck;
int duck_available(struct error *e) MUST_CHECK; /* OK or E_UNAVAILABLE */
int duck_open(const char *dir, struct duck **out, struct error *e) MUST_CHECK;
void duck_close(struct duck *d);
int duck_run(struct duck *d, const char *sql, struct error *e) MUST_CHECK;
/* 'path' as an SQL string literal */
void duck_quote(struct buf *sql, struct str path);

/* Reading: streamed, a chunk (up to 2,048 rows) at a time. Pointers are valid until the next duck_next. */
enum { DUCK_COLUMNS = 16 };
struct duck_rows {
  void *result[6]; /* the library's result handle */
  void *statement, *chunk;
  size_t n; /* rows of the present chunk */
  int columns;
  void *data[DUCK_COLUMNS];
  uint64_t *validity[DUCK_COLUMNS];
};
int duck_select(struct duck *d, const char *sql, const struct str *bind, int binds, struct duck_rows *out, struct error *e) MUST_CHECK;
int duck_next(struct duck_rows *r, struct error *e) MUST_CHECK; /* 1 = a chunk, 0 = the end */
void duck_rows_close(struct duck_rows *r);
/* Column names of a query (LIMIT 0 will do), also before the first duck_next; any number of columns. */
int duck_column_count(const struct duck_rows *r);
const char *duck_column_name(const struct duck_rows *r, int column);
bool duck_column_is_text(const struct duck_rows *r, int column);
static inline bool duck_valid(const struct duck_rows *r, int column, size_t row) {
  return !r->validity[column] || (r->validity[column][row / 64] >> (row % 64) & 1);
}
static inline const int64_t *duck_i64(const struct duck_rows *r, int column) { return r->data[column]; } /* BIGINT, TIMESTAMP */
static inline const double *duck_f64(const struct duck_rows *r, int column) { return r->data[column]; }
struct str duck_str(const struct duck_rows *r, int column, size_t row);

/* Writing: a table function whose rows come from `fill`, for COPY (SELECT * FROM name()) TO '…' (FORMAT parquet). Called on the
 * thread of duck_run, until it returns 0 rows; a failure stops the statement, and duck_run returns it. */
enum duck_type { DUCK_I64 = 5, DUCK_F32 = 10, DUCK_TIMESTAMP = 12, DUCK_TEXT = 17 };
struct duck_column {
  const char *name;
  enum duck_type type;
};
struct duck_out {
  void *data[DUCK_COLUMNS]; /* int64_t or float arrays of `cap` rows */
  void *vector[DUCK_COLUMNS];
  size_t cap;
};
void duck_put_null(struct duck_out *o, int column, size_t row);
void duck_put_text(struct duck_out *o, int column, size_t row, struct str s); /* STR_NONE: null */
typedef int duck_fill(void *ctx, struct duck_out *out, size_t *rows, struct error *e);
int duck_register(struct duck *d, const char *name, const struct duck_column *column, int columns, duck_fill *fill, void *ctx,
                  struct error *e) MUST_CHECK;
#endif
