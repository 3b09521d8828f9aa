/* PostgreSQL by libpq: what replicas share. Messages of the server may quote values, so only its SQLSTATE is passed on.
 * Nothing waits for ever: a database that says nothing for ANSWER_MS is one that is away, whoever waits for a lock gives up (LIMITS), and a
 * replica that stands still inside a transaction loses it, and with it the chain's lock. */
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "serve/serve_db.h"

enum { PREPARED = 48, ANSWER_MS = 10000, SCHEMA_MS = 600000 };
#define LIMITS "SET lock_timeout = 5000; SET idle_in_transaction_session_timeout = 10000"
struct pq {
  PGconn *c;
  char url[4096];
  const char *kept[PREPARED];
  int n;
  bool inside;     /* a transaction is open */
  int patience_ms; /* how long the server may say nothing */
};

/* One lock for everything that changes the audit chain: writers of all replicas go one after another. */
#define CHAIN_LOCK "SELECT pg_advisory_xact_lock(7302118390014)"
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS keys(id TEXT PRIMARY KEY, role TEXT NOT NULL, label TEXT NOT NULL, hash TEXT NOT NULL,"
    " created BIGINT NOT NULL, revoked BIGINT, tenant TEXT, models TEXT, rpm BIGINT, tpm BIGINT, expires BIGINT);"
    "CREATE TABLE IF NOT EXISTS audit(seq BIGINT PRIMARY KEY, time BIGINT NOT NULL, key TEXT NOT NULL, method TEXT NOT NULL,"
    " route TEXT NOT NULL, version TEXT NOT NULL, input TEXT NOT NULL, output TEXT NOT NULL, status BIGINT NOT NULL,"
    " latency BIGINT NOT NULL, hash BYTEA NOT NULL, tenant TEXT, request TEXT, tokens_in BIGINT, tokens_out BIGINT, billed BIGINT, verdict "
    "TEXT);"
    /* a database from before; asked first, because ALTER TABLE waits for everybody who writes, needed or not */
    "DO $$BEGIN IF NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = 'audit'::regclass AND attname = 'verdict')"
    " THEN ALTER TABLE audit ADD COLUMN verdict TEXT; END IF; END$$;"
    "CREATE INDEX IF NOT EXISTS audit_key ON audit(key, time);"
    "CREATE TABLE IF NOT EXISTS deployments(name TEXT PRIMARY KEY, arms TEXT NOT NULL, shadow TEXT NOT NULL, changed BIGINT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS quotas(key TEXT NOT NULL, minute BIGINT NOT NULL, requests BIGINT NOT NULL, tokens BIGINT NOT NULL,"
    " PRIMARY KEY(key, minute));"
    "CREATE TABLE IF NOT EXISTS hl7_seen(sender TEXT NOT NULL, control TEXT NOT NULL, content TEXT NOT NULL, time BIGINT NOT NULL,"
    " PRIMARY KEY(sender, control));"
    "CREATE TABLE IF NOT EXISTS hl7_out(control TEXT PRIMARY KEY, made BIGINT NOT NULL, owner TEXT NOT NULL, lease BIGINT NOT NULL,"
    " sealed BYTEA);"
    "CREATE TABLE IF NOT EXISTS billed(id TEXT PRIMARY KEY, until BIGINT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS billed_until ON billed(until);"
    "CREATE TABLE IF NOT EXISTS tokens_seen(id TEXT PRIMARY KEY, until BIGINT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS tokens_until ON tokens_seen(until);"
    "CREATE TABLE IF NOT EXISTS logins(id TEXT PRIMARY KEY, kind BIGINT NOT NULL, began BIGINT NOT NULL, until BIGINT NOT NULL,"
    " sealed BYTEA NOT NULL);"
    "CREATE INDEX IF NOT EXISTS logins_kind ON logins(kind, began, id);";

static int pq_error(struct pq *q, const PGresult *r, struct error *e, const char *doing) {
  const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
  char code[6] = "-";
  bool lost = PQstatus(q->c) != CONNECTION_OK, held = state && strcmp(state, "55P03") == 0; /* lock_timeout */
  for (int i = 0; state && i < 5 && state[i]; i++) code[i] = state[i], code[i + 1] = 0;
  return error_set(e, lost || held ? E_UNAVAILABLE : E_IO, "the database: %s failed (%s)", doing, lost ? "no connection" : code);
}

/* The last result of what was sent, as PQexec gives it; NULL, and no connection any more: the server keeps silent. */
static PGresult *answer(struct pq *q, int sent) {
  PGresult *last = NULL, *r;
  double until = time_monotonic() + q->patience_ms / 1e3;
  for (; sent; PQclear(last), last = r) {
    while (PQisBusy(q->c)) {
      struct pollfd p = {.fd = PQsocket(q->c), .events = POLLIN};
      double left = until - time_monotonic();
      int came = left > 0 ? poll(&p, 1, (int)(left * 1e3) + 1) : 0;
      if (came < 0) continue; /* a signal */
      if (came == 0) {
        PQclear(last);
        PQfinish(q->c);
        return q->c = NULL, NULL;
      }
      if (!PQconsumeInput(q->c)) break; /* lost: PQgetResult says so */
      until = time_monotonic() + q->patience_ms / 1e3;
    }
    if (!(r = PQgetResult(q->c))) break;
  }
  return last;
}

static int command(struct pq *q, const char *sql, struct error *e) {
  PGresult *r = answer(q, PQsendQuery(q->c, sql));
  ExecStatusType s = PQresultStatus(r);
  int rc = s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK ? OK : pq_error(q, r, e, "a statement");
  PQclear(r);
  return rc;
}

static void quiet(void *ctx, const PGresult *r) { (void)ctx, (void)r; }

static int connect_once(struct pq *q, struct error *e) {
  PQfinish(q->c);
  q->n = 0;
  q->inside = false;
  q->c = PQconnectdb(q->url);
  if (PQstatus(q->c) != CONNECTION_OK)
    return error_set(e, E_UNAVAILABLE,
                     "the database cannot be reached, or refuses this user; is it running, and is the password in the file?");
  PQsetNoticeReceiver(q->c, quiet, NULL);
  return command(q, LIMITS, e);
}

int db_postgres_open(const char *url, void **self, struct error *e) {
  struct pq *q = mem_alloc(sizeof *q);
  if (!q) return error_set(e, E_NOMEM, "out of memory");
  memset(q, 0, sizeof *q);
  snprintf(q->url, sizeof q->url, "%s%sconnect_timeout=5&application_name=vitae", url, strchr(url, '?') ? "&" : "?");
  q->patience_ms = SCHEMA_MS; /* an index of a large table may have to be made */
  int rc = connect_once(q, e);
  /* CREATE … IF NOT EXISTS of two replicas at once may collide in the catalogue: one after another */
  if (rc == OK) rc = command(q, "BEGIN; " CHAIN_LOCK, e);
  if (rc == OK) rc = command(q, schema, e);
  if (rc == OK) rc = command(q, "COMMIT", e);
  if (rc < 0) {
    PQfinish(q->c);
    mem_wipe(q, sizeof *q);
    mem_free(q);
    return rc;
  }
  q->patience_ms = ANSWER_MS;
  *self = q;
  return OK;
}

static void pq_close(void *self) {
  struct pq *q = self;
  PQfinish(q->c);
  mem_wipe(q, sizeof *q);
  mem_free(q);
}

/* "?" becomes $1, $2, … */
static int prepare(struct pq *q, const char *sql, int n, char name[16], struct error *e) {
  char text[2048];
  size_t k = 0;
  int at = 0, i = 0;
  while (i < q->n && q->kept[i] != sql) i++;
  snprintf(name, 16, "s%d", i);
  if (i < q->n) return OK;
  if (q->n == PREPARED) BUG("more statements than the database keeps");
  for (const char *p = sql; *p && k + 8 < sizeof text; p++)
    if (*p == '?')
      k += (size_t)snprintf(text + k, sizeof text - k, "$%d", ++at);
    else
      text[k++] = *p;
  text[k] = 0;
  if (at != n) BUG("a statement's parameters do not match");
  PGresult *r = answer(q, PQsendPrepare(q->c, name, text, n, NULL));
  int rc = PQresultStatus(r) == PGRES_COMMAND_OK ? OK : pq_error(q, r, e, "preparing a statement");
  PQclear(r);
  if (rc == OK) q->kept[q->n++] = sql;
  return rc;
}

static int give_rows(const PGresult *r, db_row *row, void *ctx, struct error *e) {
  struct db_value out[DB_COLUMNS];
  int rc = OK, columns = PQnfields(r);
  if (columns > DB_COLUMNS) BUG("more columns than a row has");
  for (int y = 0; rc >= 0 && y < PQntuples(r); y++) {
    unsigned char *bytes[DB_COLUMNS] = {0};
    for (int x = 0; x < columns; x++) {
      char *p = PQgetvalue(r, y, x);
      Oid type = PQftype(r, x);
      if (PQgetisnull(r, y, x))
        out[x] = DB_NONE;
      else if (type == 20 || type == 23 || type == 1700) /* int8, int4, numeric of a sum */
        out[x] = DB_I(strtoll(p, NULL, 10));
      else if (type == 17) { /* bytea */
        size_t n = 0;
        bytes[x] = PQunescapeBytea((unsigned char *)p, &n);
        out[x] = DB_B(bytes[x], n);
      } else
        out[x] = (struct db_value){.kind = DB_TEXT, .p = p, .n = (size_t)PQgetlength(r, y, x)};
    }
    rc = row(ctx, out, columns, e);
    for (int x = 0; x < columns; x++) PQfreemem(bytes[x]);
  }
  return rc < 0 ? rc : OK;
}

static int run_once(struct pq *q, const char *sql, const struct db_value *v, int n, db_row *row, void *ctx, int64_t *changed,
                    struct error *e) {
  char name[16], number[DB_COLUMNS][24];
  const char *value[DB_COLUMNS];
  int length[DB_COLUMNS], binary[DB_COLUMNS];
  TRY(prepare(q, sql, n, name, e));
  for (int i = 0; i < n; i++) {
    value[i] = v[i].kind == DB_NULL ? NULL : v[i].kind == DB_INT ? number[i] : v[i].p;
    length[i] = (int)v[i].n;
    binary[i] = v[i].kind == DB_BLOB || v[i].kind == DB_TEXT; /* text's binary form is its bytes: no terminator needed */
    if (v[i].kind == DB_INT) snprintf(number[i], sizeof number[i], "%" PRId64, v[i].i);
  }
  PGresult *r = answer(q, PQsendQueryPrepared(q->c, name, n, value, length, binary, 0));
  ExecStatusType s = PQresultStatus(r);
  int rc = s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK ? OK : pq_error(q, r, e, "a statement");
  if (rc == OK) *changed = strtoll(PQcmdTuples(r), NULL, 10);
  if (rc == OK && row) rc = give_rows(r, row, ctx, e);
  PQclear(r);
  return rc;
}

static int pq_run(void *self, const char *sql, const struct db_value *v, int n, db_row *row, void *ctx, int64_t *changed, struct error *e) {
  struct pq *q = self;
  if (n > DB_COLUMNS) BUG("more parameters than a statement has");
  if (!q->inside && PQstatus(q->c) != CONNECTION_OK) TRY(connect_once(q, e));
  int rc = run_once(q, sql, v, n, row, ctx, changed, e);
  if (rc >= 0 || q->inside || PQstatus(q->c) == CONNECTION_OK) return rc;
  TRY(connect_once(q, e)); /* the server was started anew: once more */
  return run_once(q, sql, v, n, row, ctx, changed, e);
}

static int pq_begin(void *self, struct error *e) {
  struct pq *q = self;
  int rc = PQstatus(q->c) == CONNECTION_OK ? command(q, "BEGIN; " CHAIN_LOCK, e) : E_UNAVAILABLE;
  if (rc < 0 && PQstatus(q->c) != CONNECTION_OK) {
    TRY(connect_once(q, e));
    rc = command(q, "BEGIN; " CHAIN_LOCK, e);
  }
  if (rc < 0) (void)command(q, "ROLLBACK", NULL); /* of what waited for the lock in vain */
  q->inside = rc == OK;
  return rc;
}
static int pq_commit(void *self, struct error *e) {
  struct pq *q = self;
  q->inside = false;
  return command(q, "COMMIT", e);
}
static void pq_rollback(void *self) {
  struct pq *q = self;
  q->inside = false;
  (void)command(q, "ROLLBACK", NULL);
}

const struct db_engine db_postgres = {pq_run, pq_begin, pq_commit, pq_rollback, pq_close, true};
