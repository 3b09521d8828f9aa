/* The audit chain: hash(n) = SHA-256(hash(n-1) || fields of row n), hash(0) = 32 zero bytes. Fields in the order of the columns, each as
 * its text and a newline. Rows of the first format end with the latency (their tenant is NULL); those of the second go on with tenant,
 * request, tokens_in, tokens_out, billed (their verdict is NULL); today's with the verdict of the output filter. Contents are never kept, only their SHA-256. A chain shows changed, removed and inserted rows; that the
 * last rows were cut off shows only against a head that was noted elsewhere (GET /v1/audit gives it). */
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "serve/serve_private.h"

#define COLUMNS \
  "seq, time, key, method, route, version, input, output, status, latency, hash, tenant, request, tokens_in, tokens_out, billed, verdict"
#define SELECT_ROWS "SELECT " COLUMNS " FROM audit "
#define REPEATS_WITHIN_US INT64_C(600000000)
enum { HASH_COLUMN = 10, TENANT_COLUMN = 11, VERDICT_COLUMN = 16, AUDIT_COLUMNS = 17 };

struct audit {
  struct db *db;
};

static void chain(const uint8_t before[32], int64_t seq, const struct audit_entry *r, int format, uint8_t out[32]) {
  char text[160];
  const char *words[] = {r->key, r->method, r->route, r->version, r->input, r->output};
  struct buf b = {0};
  buf_put(&b, before, 32);
  snprintf(text, sizeof text, "%lld\n%lld\n", (long long)seq, (long long)r->time);
  buf_puts(&b, text);
  for (int i = 0; i < 6; i++) buf_puts(&b, words[i]), buf_putc(&b, '\n');
  snprintf(text, sizeof text, "%d\n%lld\n", r->status, (long long)r->latency_us);
  buf_puts(&b, text);
  if (format > 1) {
    buf_puts(&b, r->tenant), buf_putc(&b, '\n');
    buf_puts(&b, r->request), buf_putc(&b, '\n');
    snprintf(text, sizeof text, "%lld\n%lld\n%d\n", (long long)r->tokens_in, (long long)r->tokens_out, r->billed);
    buf_puts(&b, text);
  }
  if (format > 2) buf_puts(&b, r->verdict), buf_putc(&b, '\n');
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

int audit_open(const char *site, const char *database, struct audit **out, struct error *e) {
  struct audit *a = mem_alloc(sizeof *a);
  if (!a) return error_set(e, E_NOMEM, "out of memory");
  memset(a, 0, sizeof *a);
  int rc = db_open(site, database, &a->db, e);
  if (rc < 0) {
    mem_free(a);
    return rc;
  }
  *out = a;
  return OK;
}

void audit_close(struct audit *a) {
  if (!a) return;
  db_close(a->db);
  mem_free(a);
}
struct db *audit_db(struct audit *a) {
  return a->db;
}

struct head {
  int64_t seq;
  uint8_t hash[32];
};

static int take_head(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct head *h = ctx;
  (void)n;
  if (v[1].n != 32) return error_set(e, E_CORRUPT, "the audit: its last row is damaged");
  h->seq = v[0].i;
  memcpy(h->hash, v[1].p, 32);
  return OK;
}

static int put_row(struct audit *a, int64_t seq, const struct audit_entry *r, const uint8_t hash[32], struct error *e) {
  if (is_zero(hash)) return error_set(e, E_NOMEM, "out of memory");
  struct db_value v[AUDIT_COLUMNS] = {DB_I(seq),        DB_I(r->time),   DB_T(r->key),     DB_T(r->method),    DB_T(r->route),
                                      DB_T(r->version), DB_T(r->input),  DB_T(r->output),  DB_I(r->status),    DB_I(r->latency_us),
                                      DB_B(hash, 32),   DB_T(r->tenant), DB_T(r->request), DB_I(r->tokens_in), DB_I(r->tokens_out),
                                      DB_I(r->billed),  DB_T(r->verdict)};
  return db_run(a->db, "INSERT INTO audit(" COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", v, AUDIT_COLUMNS, NULL, e);
}

static int found_one(void *ctx, const struct db_value *v, int n, struct error *e) {
  (void)v, (void)n, (void)e;
  *(bool *)ctx = true;
  return OK;
}

/* The client's own id of a request, with its key and the input: remembered for ten minutes once it was billed. */
static int seen_before(struct audit *a, const struct audit_entry *r, bool *before, struct error *e) {
  char text[sizeof r->key + sizeof r->client + sizeof r->input], id[65];
  uint8_t digest[32];
  int n = snprintf(text, sizeof text, "%s\n%s\n%s", r->key, r->client, r->input);
  sha256_of(text, (size_t)n, digest);
  hash_hex(digest, 32, id);
  struct db_value now = DB_I(r->time), v[] = {DB_T(id), DB_I(r->time + REPEATS_WITHIN_US)};
  int64_t fresh = 0;
  TRY(db_run(a->db, "DELETE FROM billed WHERE id IN (SELECT id FROM billed WHERE until < ? LIMIT 8)", &now, 1, NULL, e));
  TRY(db_run(a->db, "DELETE FROM billed WHERE id = ? AND until < ?", (struct db_value[]){v[0], now}, 2, NULL, e));
  TRY(db_run(a->db, "INSERT INTO billed(id, until) VALUES(?,?) ON CONFLICT(id) DO NOTHING", v, 2, &fresh, e));
  *before = fresh == 0;
  return OK;
}

/* A repetition of what was answered within ten minutes is not billed again. The client's word alone would let it off for good. */
static int unbill(struct audit *a, struct audit_entry *r, struct error *e) {
  bool before = false;
  if (r->billed && r->client[0] && r->input[0]) TRY(seen_before(a, r, &before, e));
  if (before) r->billed = 0;
  if (!r->billed || !r->repeated || !r->input[0]) return OK;
  struct db_value v[] = {DB_T(r->key), DB_I(r->time - REPEATS_WITHIN_US), DB_T(r->input)};
  TRY(db_each(a->db, "SELECT 1 FROM audit WHERE key = ? AND time >= ? AND input = ? AND billed = 1 LIMIT 1", v, 3, found_one, &before, e));
  if (before) r->billed = 0;
  return OK;
}

int audit_append(struct audit *a, struct audit_entry *rows, int n, struct error *e) {
  struct head h = {0};
  int rc = db_each(a->db, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", NULL, 0, take_head, &h, e);
  for (int i = 0; rc == OK && i < n; i++) {
    uint8_t next[32];
    if ((rc = unbill(a, &rows[i], e)) < 0) break;
    chain(h.hash, ++h.seq, &rows[i], 3, next);
    rc = put_row(a, h.seq, &rows[i], next, e);
    memcpy(h.hash, next, 32);
    rows[i].row = h.seq;
  }
  return rc;
}

int audit_write(struct audit *a, struct audit_entry *rows, int n, struct error *e) {
  TRY(db_begin(a->db, e)); /* the head is read inside: another process may write as well */
  int rc = audit_append(a, rows, n, e);
  if (rc == OK) rc = db_commit(a->db, e);
  if (rc < 0) db_rollback(a->db);
  return rc;
}

int audit_note(const char *site, const char *what, const char *input, const char *output, int status, struct error *e) {
  struct audit *a;
  struct audit_entry row = {.time = time_now(), .method = "CLI", .route = what, .version = "", .status = status};
  TRY(audit_open(site, NULL, &a, e));
  snprintf(row.key, sizeof row.key, "u%u", (unsigned)getuid());
  snprintf(row.input, sizeof row.input, "%s", input);
  snprintf(row.output, sizeof row.output, "%s", output);
  int rc = audit_write(a, &row, 1, e);
  audit_close(a);
  return rc;
}

/* ---- reading ---- */

struct texts { /* what an entry's pointers point to */
  char method[64], route[160], version[80];
};

static bool take_text(char *out, size_t size, const struct db_value *v) {
  snprintf(out, size, "%.*s", v->kind == DB_TEXT ? (int)v->n : 0, v->kind == DB_TEXT ? v->p : "");
  return v->kind == DB_NULL || (v->kind == DB_TEXT && v->n < size && !memchr(v->p, '\n', v->n) && !memchr(v->p, 0, v->n));
}

/* False: not a row that `chain` speaks of without doubt: a text cut short, or one with the separator in it, or a number too large. */
static bool read_row(const struct db_value *v, struct audit_entry *r, struct texts *t) {
  bool plain = true;
  *r = (struct audit_entry){.row = v[0].i, .time = v[1].i, .method = t->method, .route = t->route, .version = t->version};
  plain &= take_text(r->key, sizeof r->key, &v[2]);
  plain &= take_text(t->method, sizeof t->method, &v[3]);
  plain &= take_text(t->route, sizeof t->route, &v[4]);
  plain &= take_text(t->version, sizeof t->version, &v[5]);
  plain &= take_text(r->input, sizeof r->input, &v[6]);
  plain &= take_text(r->output, sizeof r->output, &v[7]);
  r->status = (int)v[8].i;
  r->latency_us = v[9].i;
  plain &= take_text(r->tenant, sizeof r->tenant, &v[11]);
  plain &= take_text(r->request, sizeof r->request, &v[12]);
  plain &= take_text(r->verdict, sizeof r->verdict, &v[VERDICT_COLUMN]);
  r->tokens_in = v[13].i, r->tokens_out = v[14].i, r->billed = (int)v[15].i;
  return plain && v[8].i == r->status && v[15].i == r->billed;
}

struct reading {
  struct json_out *o;
  struct buf *lines;
  char head[65];
  uint8_t hash[32];
  uint64_t rows;
};

static int json_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct reading *g = ctx;
  struct json_out *o = g->o;
  struct audit_entry r;
  struct texts t;
  char time[32];
  (void)n, (void)e;
  (void)read_row(v, &r, &t);
  if (!g->head[0] && v[HASH_COLUMN].n == 32) hash_hex((const uint8_t *)v[HASH_COLUMN].p, 32, g->head);
  time_format(r.time, time);
  json_out_object(o);
  json_kv_i64(o, "seq", r.row);
  json_kv_c(o, "time", time);
  json_kv_c(o, "key", r.key);
  json_kv_c(o, "tenant", r.tenant);
  json_kv_c(o, "method", r.method);
  json_kv_c(o, "route", r.route);
  json_kv_c(o, "version", r.version);
  json_kv_c(o, "request", r.request);
  json_kv_c(o, "input", r.input);
  json_kv_c(o, "output", r.output);
  json_kv_i64(o, "status", r.status);
  json_kv_f64(o, "milliseconds", (double)r.latency_us / 1e3);
  json_kv_i64(o, "tokens_in", r.tokens_in);
  json_kv_i64(o, "tokens_out", r.tokens_out);
  json_kv_bool(o, "billed", r.billed != 0);
  json_kv_c(o, "verdict", r.verdict);
  json_out_end(o);
  return OK;
}

int audit_latest(struct audit *a, const struct audit_search *q, struct json_out *o, struct error *e) {
  struct reading g = {.o = o};
  int64_t before = q->before > 0 ? q->before : INT64_MAX;
  struct db_value v[] = {DB_I(before),     DB_T(q->key),     DB_T(q->key),         DB_T(q->tenant),    DB_T(q->tenant),
                         DB_T(q->request), DB_T(q->request), DB_I(q->status_from), DB_I(q->status_to), DB_I(q->limit)};
  json_out_object(o);
  json_out_key(o, "rows");
  json_out_array(o);
  int rc = db_each(a->db,
                   SELECT_ROWS
                   "WHERE seq < ? AND ('' = ? OR key = ?) AND ('' = ? OR tenant = ?) AND ('' = ? OR request = ?) AND status >= ? "
                   "AND status <= ? ORDER BY seq DESC LIMIT ?",
                   v, 10, json_row, &g, e);
  json_out_end(o);
  struct head h = {0};
  if (rc == OK) rc = db_each(a->db, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", NULL, 0, take_head, &h, e);
  g.head[0] = 0;
  if (h.seq) hash_hex(h.hash, 32, g.head);
  json_kv_c(o, "head", g.head);
  json_kv_i64(o, "last", h.seq);
  json_out_end(o);
  return rc;
}

static int usage_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct json_out *o = ctx;
  (void)n, (void)e;
  json_out_object(o);
  json_kv_str(o, "key", v[0].kind == DB_TEXT ? (struct str){v[0].p, v[0].n} : STR(""));
  json_kv_str(o, "tenant", v[1].kind == DB_TEXT ? (struct str){v[1].p, v[1].n} : STR(""));
  json_kv_i64(o, "requests", v[2].i);
  json_kv_i64(o, "failed", v[3].i);
  json_kv_i64(o, "repeated", v[4].i);
  json_kv_i64(o, "tokens_in", v[5].i);
  json_kv_i64(o, "tokens_out", v[6].i);
  json_out_end(o);
  return OK;
}

int audit_usage(struct db *db, const char *tenant, int64_t since, struct json_out *o, struct error *e) {
  struct db_value v[] = {DB_I(since), DB_T(tenant), DB_T(tenant)};
  json_out_array(o);
  int rc = db_each(db,
                   "SELECT key, tenant, SUM(billed), SUM(CASE WHEN status >= 400 THEN 1 ELSE 0 END),"
                   " SUM(CASE WHEN billed = 0 AND status >= 200 AND status < 400 AND method IN ('GET', 'POST') THEN 1 ELSE 0 END),"
                   " SUM(billed * tokens_in), SUM(billed * tokens_out) FROM audit"
                   " WHERE time >= ? AND method NOT IN ('CLI', 'SHADOW') AND tenant IS NOT NULL AND ('' = ? OR tenant = ?) GROUP BY key, "
                   "tenant ORDER BY 3 "
                   "DESC LIMIT 1000",
                   v, 3, usage_row, o, e);
  json_out_end(o);
  return rc;
}

static int check_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct reading *g = ctx;
  struct audit_entry r;
  struct texts t;
  uint8_t want[32];
  int64_t seq = (int64_t)g->rows + 1;
  (void)n;
  bool plain = read_row(v, &r, &t);
  chain(g->hash, seq, &r, v[TENANT_COLUMN].kind == DB_NULL ? 1 : v[VERDICT_COLUMN].kind == DB_NULL ? 2 : 3, want);
  if (!plain || r.row != seq || v[HASH_COLUMN].n != 32 || memcmp(v[HASH_COLUMN].p, want, 32) != 0 || is_zero(want)) {
    (void)error_set(e, E_CORRUPT, "the audit chain does not hold");
    return error_where(e, "vitae.db", seq, "audit.seq");
  }
  memcpy(g->hash, want, 32);
  g->rows++;
  return OK;
}

int audit_verify(const char *site, const char *database, uint64_t *rows, struct error *e) {
  struct db *db;
  struct reading g = {0};
  *rows = 0;
  TRY(db_open(site, database, &db, e));
  int rc = db_each(db, SELECT_ROWS "ORDER BY seq", NULL, 0, check_row, &g, e);
  *rows = g.rows;
  db_close(db);
  return rc;
}

/* ---- FHIR R4 AuditEvent ---- */

static void coding(struct json_out *o, const char *system, const char *code, const char *display) {
  json_out_object(o);
  json_kv_c(o, "system", system);
  json_kv_c(o, "code", code);
  json_kv_c(o, "display", display);
  json_out_end(o);
}

static void identifier(struct json_out *o, const char *system, const char *value) {
  json_out_object(o);
  json_out_key(o, "identifier");
  json_out_object(o);
  json_kv_c(o, "system", system);
  json_kv_c(o, "value", value);
  json_out_end(o);
  json_out_end(o);
}

static void detail(struct json_out *o, const char *type, const char *value) {
  if (!value[0]) return;
  json_out_object(o);
  json_kv_c(o, "type", type);
  json_kv_c(o, "valueString", value);
  json_out_end(o);
}

static void event_entity(const struct audit_entry *r, struct json_out *o) {
  char status[16], latency[32];
  snprintf(status, sizeof status, "%d", r->status);
  snprintf(latency, sizeof latency, "%lld", (long long)r->latency_us);
  json_out_key(o, "entity");
  json_out_array(o);
  json_out_object(o);
  json_out_key(o, "what");
  identifier(o, "urn:vitae:version", r->version[0] ? r->version : "none");
  json_kv_c(o, "name", r->route);
  json_out_key(o, "detail");
  json_out_array(o);
  detail(o, "method", r->method);
  detail(o, "status", status);
  detail(o, "latency-us", latency);
  bool tree = strncmp(r->input, INPUT_TREE, strlen(INPUT_TREE)) == 0;
  detail(o, tree ? "input-tree-sha256" : "input-sha256", tree ? r->input + strlen(INPUT_TREE) : r->input);
  detail(o, "output-sha256", r->output);
  detail(o, "request", r->request);
  detail(o, "verdict", r->verdict);
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
}

void audit_event_json(const struct audit_entry *r, struct json_out *o) {
  char id[32], time[48];
  time_format(r->time, time);
  snprintf(id, sizeof id, "row-%lld", (long long)r->row);
  if (!strchr(time, 'Z')) strcat(time, "Z");
  json_out_object(o);
  json_kv_c(o, "resourceType", "AuditEvent");
  json_kv_c(o, "id", id);
  json_out_key(o, "type");
  coding(o, "http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "RESTful Operation");
  json_kv_c(o, "action", strcmp(r->method, "GET") == 0 ? "R" : "E");
  json_kv_c(o, "recorded", time);
  json_kv_c(o, "outcome", r->status < 400 ? "0" : r->status < 500 ? "4" : "8");
  json_out_key(o, "agent");
  json_out_array(o);
  json_out_object(o);
  json_out_key(o, "who");
  identifier(o, "urn:vitae:key", r->key[0] ? r->key : "-");
  json_kv_bool(o, "requestor", true);
  json_out_end(o);
  json_out_end(o);
  json_out_key(o, "source");
  json_out_object(o);
  json_out_key(o, "observer");
  json_out_object(o);
  json_kv_c(o, "display", "Vitae");
  json_out_end(o);
  json_out_end(o);
  event_entity(r, o);
  json_out_end(o);
}

static int event_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct reading *g = ctx;
  struct audit_entry r;
  struct texts t;
  struct json_out o;
  (void)n;
  (void)read_row(v, &r, &t);
  json_out_init(&o, g->lines, false);
  audit_event_json(&r, &o);
  buf_putc(g->lines, '\n');
  return buf_check(g->lines, e);
}

struct entries {
  struct audit_events *list;
  struct json_out *o;
};
static int entry_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct entries *g = ctx;
  struct audit_entry r;
  struct texts t;
  char url[400];
  (void)n, (void)e;
  (void)read_row(v, &r, &t);
  g->list->n++, g->list->last = r.row;
  if (g->list->alone) return audit_event_json(&r, g->o), OK;
  json_out_object(g->o);
  snprintf(url, sizeof url, "%s/AuditEvent/row-%lld", g->list->base, (long long)r.row);
  if (g->list->base[0]) json_kv_c(g->o, "fullUrl", url);
  json_out_key(g->o, "resource");
  audit_event_json(&r, g->o);
  json_out_key(g->o, "search");
  json_out_raw(g->o, STR("{\"mode\":\"match\"}"));
  json_out_end(g->o);
  return OK;
}

int audit_event_entries(struct audit *a, int64_t before, int64_t limit, struct audit_events *list, struct json_out *o, struct error *e) {
  struct entries g = {list, o};
  struct db_value v[] = {DB_I(before > 0 ? before : INT64_MAX), DB_I(limit)};
  return db_each(a->db, SELECT_ROWS "WHERE seq < ? ORDER BY seq DESC LIMIT ?", v, 2, entry_row, &g, e);
}

int audit_export(const char *site, const char *database, int64_t from, struct buf *out, struct error *e) {
  struct db *db;
  struct reading g = {.lines = out};
  TRY(db_open(site, database, &db, e));
  int rc = db_each(db, SELECT_ROWS "WHERE seq >= ? ORDER BY seq", (struct db_value[]){DB_I(from)}, 1, event_row, &g, e);
  db_close(db);
  return rc;
}
