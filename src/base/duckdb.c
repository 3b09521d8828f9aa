#include "base/duckdb.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "base/file.h"
#include "base/progress.h"

/* The library's C interface, as far as we use it: handles are opaque pointers, a state of 0 is success. */
typedef void *handle;
struct result { /* passed by value to duckdb_fetch_chunk: five deprecated fields, then the library's own pointer */
  void *unused[5];
  void *internal;
};
_Static_assert(sizeof(struct result) == sizeof((struct duck_rows *)0)->result, "result handle");

static struct {
  int (*create_config)(handle *);
  int (*set_config)(handle, const char *, const char *);
  void (*destroy_config)(handle *);
  int (*open_ext)(const char *, handle *, handle, char **);
  void (*close)(handle *);
  int (*connect)(handle, handle *);
  void (*disconnect)(handle *);
  void (*free)(void *);
  int (*query)(handle, const char *, struct result *);
  void (*destroy_result)(struct result *);
  int (*prepare)(handle, const char *, handle *);
  void (*destroy_prepare)(handle *);
  int (*bind_varchar_length)(handle, uint64_t, const char *, uint64_t);
  int (*pending_prepared_streaming)(handle, handle *);
  int (*execute_pending)(handle, struct result *);
  void (*destroy_pending)(handle *);
  handle (*fetch_chunk)(struct result);
  const char *(*result_error)(struct result *);
  uint64_t (*column_count)(struct result *);
  const char *(*column_name)(struct result *, uint64_t);
  int (*column_type)(struct result *, uint64_t);
  void (*destroy_data_chunk)(handle *);
  uint64_t (*data_chunk_get_size)(handle);
  void (*data_chunk_set_size)(handle, uint64_t);
  handle (*data_chunk_get_vector)(handle, uint64_t);
  void *(*vector_get_data)(handle);
  uint64_t *(*vector_get_validity)(handle);
  void (*vector_ensure_validity_writable)(handle);
  void (*vector_assign_string_element_len)(handle, uint64_t, const char *, uint64_t);
  uint64_t (*vector_size)(void);
  handle (*create_table_function)(void);
  void (*destroy_table_function)(handle *);
  void (*table_function_set_name)(handle, const char *);
  void (*table_function_set_extra_info)(handle, void *, void (*)(void *));
  void (*table_function_set_bind)(handle, void (*)(handle));
  void (*table_function_set_init)(handle, void (*)(handle));
  void (*table_function_set_function)(handle, void (*)(handle, handle));
  int (*register_table_function)(handle, handle);
  void *(*bind_get_extra_info)(handle);
  void (*bind_add_result_column)(handle, const char *, handle);
  void (*init_set_max_threads)(handle, uint64_t);
  void *(*function_get_extra_info)(handle);
  void (*function_set_error)(handle, const char *);
  handle (*create_logical_type)(int);
  void (*destroy_logical_type)(handle *);
} api;

static const struct {
  const char *name;
  void *at;
} symbols[] = {
#define SYMBOL(f) \
  { "duckdb_" #f, &api.f }
    SYMBOL(create_config),
    SYMBOL(set_config),
    SYMBOL(destroy_config),
    SYMBOL(open_ext),
    SYMBOL(close),
    SYMBOL(connect),
    SYMBOL(disconnect),
    SYMBOL(free),
    SYMBOL(query),
    SYMBOL(destroy_result),
    SYMBOL(prepare),
    SYMBOL(destroy_prepare),
    SYMBOL(bind_varchar_length),
    SYMBOL(pending_prepared_streaming),
    SYMBOL(execute_pending),
    SYMBOL(destroy_pending),
    SYMBOL(fetch_chunk),
    SYMBOL(result_error),
    SYMBOL(column_count),
    SYMBOL(column_name),
    SYMBOL(column_type),
    SYMBOL(destroy_data_chunk),
    SYMBOL(data_chunk_get_size),
    SYMBOL(data_chunk_set_size),
    SYMBOL(data_chunk_get_vector),
    SYMBOL(vector_get_data),
    SYMBOL(vector_get_validity),
    SYMBOL(vector_ensure_validity_writable),
    SYMBOL(vector_assign_string_element_len),
    SYMBOL(vector_size),
    SYMBOL(create_table_function),
    SYMBOL(destroy_table_function),
    SYMBOL(table_function_set_name),
    SYMBOL(table_function_set_extra_info),
    SYMBOL(table_function_set_bind),
    SYMBOL(table_function_set_init),
    SYMBOL(table_function_set_function),
    SYMBOL(register_table_function),
    SYMBOL(bind_get_extra_info),
    SYMBOL(bind_add_result_column),
    SYMBOL(init_set_max_threads),
    SYMBOL(function_get_extra_info),
    SYMBOL(function_set_error),
    SYMBOL(create_logical_type),
    SYMBOL(destroy_logical_type)};
enum { SYMBOLS = sizeof symbols / sizeof *symbols };

static bool loaded;
static const char *not_loaded = "the DuckDB library was not found";

static bool load_from(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return false;
  for (int i = 0; i < SYMBOLS; i++) {
    void *f = dlsym(library, symbols[i].name);
    if (!f) {
      not_loaded = "the DuckDB library found here lacks functions that are needed (1.5.6 is known to work)";
      dlclose(library);
      return false;
    }
    memcpy(symbols[i].at, &f, sizeof f);
  }
  return true;
}

static bool try_at(const char *dir, const char *place) {
  char path[4096];
  return file_join(path, sizeof path, dir, place, NULL) == OK && file_exists(path) && load_from(path);
}

static bool load_beside_program(void) {
  static const char *const places[] = {"duckdb/libduckdb.so", "../duckdb/libduckdb.so", "../../duckdb/libduckdb.so",
                                       "../../../duckdb/libduckdb.so", "../lib/vitae/libduckdb.so"};
  char self[4096];
  if (!file_program_dir(self, sizeof self)) return false;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    if (try_at(self, places[i])) return true;
  return false;
}

static void load_once(void) {
  const char *named = env_get("VITAE_DUCKDB"), *dir = file_data_dir();
  if (named) {
    loaded = load_from(named);
    return;
  }
  loaded = load_beside_program() || try_at(dir, "web/node_modules/@duckdb/node-bindings-linux-x64/libduckdb.so") ||
           try_at(dir, "node_modules/@duckdb/node-bindings-linux-x64/libduckdb.so") || load_from("libduckdb.so");
}

int duck_available(struct error *e) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load_once);
  if (loaded) return OK;
  return error_set(e, E_UNAVAILABLE, "Parquet is off: %s; `make duckdb` fetches it, or VITAE_DUCKDB names libduckdb.so", not_loaded);
}

/* ---- databases ---- */
struct duck_source {
  struct duck_source *next;
  struct duck *owner;
  struct duck_column column[DUCK_COLUMNS];
  int columns;
  duck_fill *fill;
  void *ctx;
};
struct duck {
  handle database, connection;
  struct duck_source *sources;
  struct error failure; /* of a fill */
  bool failed;
};

void duck_quote(struct buf *sql, struct str path) {
  buf_putc(sql, '\'');
  for (size_t i = 0; i < path.n; i++) {
    if (path.p[i] == '\'') buf_putc(sql, '\'');
    buf_putc(sql, path.p[i]);
  }
  buf_putc(sql, '\'');
}

int duck_run(struct duck *d, const char *sql, struct error *e) {
  struct result result = {0};
  d->failed = false;
  int state = api.query(d->connection, sql, &result);
  api.destroy_result(&result);
  if (d->failed) {
    if (e) *e = d->failure;
    return d->failure.code;
  }
  return state ? error_set(e, E_INPUT, "DuckDB refused the statement or the file") : OK;
}

static int sandbox(struct duck *d, const char *dir, struct error *e) {
  struct buf sql = {0};
  buf_puts(&sql, "SET TimeZone='UTC'; SET allowed_directories=[");
  duck_quote(&sql, str_c(dir));
  buf_puts(&sql, "]; SET enable_external_access=false; SET lock_configuration=true");
  int rc = buf_check(&sql, e);
  if (rc == OK) rc = duck_run(d, buf_cstr(&sql), e);
  buf_release(&sql);
  return rc;
}

static int configure(handle *config, struct error *e) {
  static const char *const settings[][2] = {{"threads", "1"},
                                            {"memory_limit", "1GB"},
                                            {"temp_directory", ""},
                                            {"autoinstall_known_extensions", "false"},
                                            {"autoload_known_extensions", "false"},
                                            {"allow_community_extensions", "false"}};
  if (api.create_config(config)) return error_set(e, E_NOMEM, "DuckDB: no configuration");
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
    if (api.set_config(*config, settings[i][0], settings[i][1]))
      return error_set(e, E_UNAVAILABLE, "DuckDB does not know the setting %s", settings[i][0]);
  return OK;
}

int duck_open(const char *dir, struct duck **out, struct error *e) {
  *out = NULL;
  TRY(duck_available(e));
  struct duck *d = mem_alloc(sizeof *d);
  if (!d) return error_set(e, E_NOMEM, "DuckDB: out of memory");
  *d = (struct duck){0};
  handle config = NULL;
  int rc = configure(&config, e);
  if (rc == OK && api.open_ext(":memory:", &d->database, config, NULL)) rc = error_set(e, E_UNAVAILABLE, "DuckDB did not start");
  if (rc == OK && api.connect(d->database, &d->connection)) rc = error_set(e, E_UNAVAILABLE, "DuckDB did not start");
  if (config) api.destroy_config(&config);
  if (rc == OK) rc = sandbox(d, dir, e);
  if (rc == OK) {
    *out = d;
    return OK;
  }
  duck_close(d);
  return rc;
}

void duck_close(struct duck *d) {
  if (!d) return;
  if (d->connection) api.disconnect(&d->connection);
  if (d->database) api.close(&d->database);
  for (struct duck_source *s = d->sources, *next; s; s = next) {
    next = s->next;
    mem_free(s);
  }
  mem_free(d);
}

/* ---- reading ---- */
static struct result *result_of(const struct duck_rows *r) { return (struct result *)(uintptr_t)r->result; }

int duck_select(struct duck *d, const char *sql, const struct str *bind, int binds, struct duck_rows *out, struct error *e) {
  handle pending = NULL;
  *out = (struct duck_rows){0};
  int bad = api.prepare(d->connection, sql, &out->statement);
  for (int i = 0; i < binds && !bad; i++) bad = api.bind_varchar_length(out->statement, (uint64_t)i + 1, bind[i].p, bind[i].n);
  if (!bad) bad = api.pending_prepared_streaming(out->statement, &pending);
  if (!bad) bad = api.execute_pending(pending, result_of(out));
  if (pending) api.destroy_pending(&pending);
  if (bad) {
    duck_rows_close(out);
    return error_set(e, E_INPUT, "DuckDB cannot read the file (damaged, or not Parquet with the expected columns)");
  }
  out->columns = duck_column_count(out);
  return OK;
}

int duck_column_count(const struct duck_rows *r) { return (int)api.column_count(result_of(r)); }
const char *duck_column_name(const struct duck_rows *r, int column) { return api.column_name(result_of(r), (uint64_t)column); }
bool duck_column_is_text(const struct duck_rows *r, int column) { return api.column_type(result_of(r), (uint64_t)column) == DUCK_TEXT; }

int duck_next(struct duck_rows *r, struct error *e) {
  BUG_IF(r->columns > DUCK_COLUMNS);
  if (r->chunk) api.destroy_data_chunk(&r->chunk);
  r->n = 0;
  r->chunk = api.fetch_chunk(*result_of(r));
  if (!r->chunk) {
    const char *problem = api.result_error(result_of(r));
    return problem && *problem
               ? error_set(e, E_CORRUPT, "DuckDB stopped in the middle of the file (damaged, or a value that does not fit its column)")
               : 0;
  }
  r->n = api.data_chunk_get_size(r->chunk);
  if (r->n == 0) return 0;
  for (int i = 0; i < r->columns; i++) {
    handle v = api.data_chunk_get_vector(r->chunk, (uint64_t)i);
    r->data[i] = api.vector_get_data(v);
    r->validity[i] = api.vector_get_validity(v);
  }
  return 1;
}

void duck_rows_close(struct duck_rows *r) {
  if (r->chunk) api.destroy_data_chunk(&r->chunk);
  api.destroy_result(result_of(r));
  if (r->statement) api.destroy_prepare(&r->statement);
  *r = (struct duck_rows){0};
}

/* The library's string: up to 12 bytes inside, longer ones behind a pointer. */
struct str duck_str(const struct duck_rows *r, int column, size_t row) {
  const char *cell = (const char *)r->data[column] + 16 * row;
  uint32_t n;
  const char *p;
  if (!duck_valid(r, column, row)) return STR_NONE;
  memcpy(&n, cell, sizeof n);
  if (n <= 12) return (struct str){cell + 4, n};
  memcpy(&p, cell + 8, sizeof p);
  return (struct str){p, n};
}

/* ---- writing ---- */
void duck_put_null(struct duck_out *o, int column, size_t row) {
  api.vector_ensure_validity_writable(o->vector[column]);
  uint64_t *valid = api.vector_get_validity(o->vector[column]);
  valid[row / 64] &= ~(UINT64_C(1) << (row % 64));
}

void duck_put_text(struct duck_out *o, int column, size_t row, struct str s) {
  if (!s.p)
    duck_put_null(o, column, row);
  else
    api.vector_assign_string_element_len(o->vector[column], row, s.p, s.n);
}

static void source_bind(handle info) {
  const struct duck_source *s = api.bind_get_extra_info(info);
  for (int i = 0; i < s->columns; i++) {
    handle type = api.create_logical_type((int)s->column[i].type);
    api.bind_add_result_column(info, s->column[i].name, type);
    api.destroy_logical_type(&type);
  }
}

static void source_init(handle info) { api.init_set_max_threads(info, 1); }

static void source_rows(handle info, handle chunk) {
  struct duck_source *s = api.function_get_extra_info(info);
  struct duck_out out = {.cap = api.vector_size()};
  size_t rows = 0;
  for (int i = 0; i < s->columns; i++) {
    out.vector[i] = api.data_chunk_get_vector(chunk, (uint64_t)i);
    out.data[i] = api.vector_get_data(out.vector[i]);
  }
  if (s->fill(s->ctx, &out, &rows, &s->owner->failure) < 0) {
    s->owner->failed = true;
    api.function_set_error(info, "stopped by the caller");
    rows = 0;
  }
  BUG_IF(rows > out.cap);
  api.data_chunk_set_size(chunk, rows);
}

int duck_register(struct duck *d, const char *name, const struct duck_column *column, int columns, duck_fill *fill, void *ctx,
                  struct error *e) {
  BUG_IF(columns > DUCK_COLUMNS);
  struct duck_source *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "DuckDB: out of memory");
  *s = (struct duck_source){.next = d->sources, .owner = d, .columns = columns, .fill = fill, .ctx = ctx};
  memcpy(s->column, column, (size_t)columns * sizeof *column);
  d->sources = s;
  handle f = api.create_table_function();
  api.table_function_set_name(f, name);
  api.table_function_set_extra_info(f, s, NULL);
  api.table_function_set_bind(f, source_bind);
  api.table_function_set_init(f, source_init);
  api.table_function_set_function(f, source_rows);
  int bad = api.register_table_function(d->connection, f);
  api.destroy_table_function(&f);
  return bad ? error_set(e, E_UNAVAILABLE, "DuckDB did not take a table function") : OK;
}
