/* What the files of serve share. A request's way:
 *
 *     MHD thread (serve_http.c)   framing, route, body       never blocks: it suspends the connection and hands the call on
 *     desk threads (serve_desk.c) key, permission, small answers from the store and the reports
 *     model worker (serve_worker.c) everything that needs the model, one at a time
 *     audit thread (serve_audit.c) writes the rows of all waiting calls in one transaction, then resumes their connections
 *
 * A call belongs to one thread at a time; handing it on (under a queue's mutex) is the only synchronisation it needs. While its
 * connection is suspended MHD does not touch it, so it outlives the client: nobody frees it but `completed`.
 */
#ifndef SERVE_PRIVATE_H
#define SERVE_PRIVATE_H
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/hash.h"
#include "base/json.h"
#include "serve/serve.h"

struct MHD_Connection;
struct sqlite3;
struct sqlite3_stmt;
struct timeline;
struct vitae_engine;
struct vitae_error;
struct server;
struct call;

enum { KEY_ID = 8, KEY_SECRET = 32, KEY_LENGTH = 6 + KEY_ID + 1 + KEY_SECRET };
enum { ROUTES_MAX = 32 };

/* ---- one call ---- */
enum stage { CALL_NEW, CALL_DESK, CALL_BODY_FIRST, CALL_BODY, CALL_WORK, CALL_DONE };
struct call {
  struct server *server;
  struct MHD_Connection *connection;
  enum stage stage;
  int route; /* index, -1 = none matched */
  char arg[128], key_id[KEY_ID + 1];
  enum role role;
  double began;
  struct sha256 input_hash; /* over the request target and the body */
  bool input_open, counted, close, repeat;
  uint8_t *body;
  size_t body_n, body_cap;
  int status, retry_after;
  struct buf out;
  const char *type; /* content type of `out` */
  const char *csp;  /* NULL: the strictest */
  char allow[64];
  int64_t audit_row; /* 0 = none */
  struct call *next;
};
void call_fail(struct call *c, int status, const char *code, const char *field, const char *message);
void call_error(struct call *c, const struct error *e);
void call_vitae_error(struct call *c, const struct vitae_error *e);
void call_finish(struct call *c); /* counts; by way of the audit where the route has a role; then the connection goes on */
void call_resume(struct call *c);
bool call_client_left(const struct call *c);
struct str call_header(const struct call *c, const char *name);
struct str call_query(const struct call *c, const char *name);

struct call_queue { /* first in, first out, bounded */
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  struct call *head, *tail;
  int n, most;
  bool closed;
};
void queue_init(struct call_queue *q, int most);
void queue_destroy(struct call_queue *q);
bool queue_put(struct call_queue *q, struct call *c); /* false: full or closed */
struct call *queue_take(struct call_queue *q);        /* NULL: closed and empty */
struct call *queue_take_all(struct call_queue *q);    /* a chain by `next` */
void queue_close(struct call_queue *q);

/* ---- metrics ---- */
#define HISTOGRAM_EDGES 12
extern const double histogram_edge[HISTOGRAM_EDGES]; /* seconds */
struct histogram {
  atomic_uint_fast64_t bucket[HISTOGRAM_EDGES + 1], count, nanoseconds;
};
void histogram_add(struct histogram *h, double seconds);
struct counters {
  atomic_uint_fast64_t answers[ROUTES_MAX + 1][6]; /* by status / 100; the last row: no route */
  struct histogram request, worker, hash;
  atomic_uint_fast64_t refused_keys, rejected, dropped, audit_rows, audit_failures, body_bytes;
  atomic_int in_flight, waiting;
};
void metrics_text(struct server *s, struct buf *out);

/* ---- vitae.db ---- */
int db_open(const char *site, struct sqlite3 **out, struct error *e) MUST_CHECK; /* 0600, WAL, synchronous=FULL, tables made */
int db_error(struct sqlite3 *db, struct error *e, const char *doing);
int db_prepare(struct sqlite3 *db, const char *sql, struct sqlite3_stmt **out, struct error *e) MUST_CHECK;
int db_exec(struct sqlite3 *db, const char *sql, struct error *e) MUST_CHECK;

/* ---- keys ---- */
struct keys;
int keys_open(const char *site, struct keys **out, struct error *e) MUST_CHECK;
void keys_close(struct keys *k);
/* OK with id and role; E_DENIED; E_BUSY when too many keys are being checked at once. Never says which part was wrong. */
int keys_check(struct keys *k, struct str key, char id[KEY_ID + 1], enum role *role, struct histogram *h, struct error *e) MUST_CHECK;

/* ---- audit ---- */
struct audit_entry {
  int64_t time; /* us since 1970, UTC */
  char key[KEY_ID + 1];
  const char *method, *route, *version;
  char input[65], output[65];
  int status;
  int64_t latency_us;
  int64_t row; /* out */
};
struct audit;
int audit_open(const char *site, struct audit **out, struct error *e) MUST_CHECK;
void audit_close(struct audit *a);
int audit_write(struct audit *a, struct audit_entry *rows, int n, struct error *e) MUST_CHECK; /* one transaction, durable on return */
int audit_latest(struct audit *a, int n, struct json_out *o, struct error *e) MUST_CHECK;

/* ---- the server ---- */
struct server {
  struct serve_options o;
  struct vitae_engine *engine;
  struct timeline *store; /* NULL: a site without timelines */
  struct keys *keys;
  struct audit *audit;
  struct call_queue desk, work, audited;
  struct counters n;
  atomic_bool ready, draining;
  double started;
  uint64_t splits[3], subjects;
};
typedef void answer_function(struct call *c);
struct route_entry {
  struct route route;
  answer_function *answer;
  bool model, at_once; /* by the model worker; in the HTTP thread (open, in memory) */
};
const struct route_entry *route_at(int i);
/* Index; -1 no such path; -2 wrong method (allow filled). */
int route_find(const char *method, const char *path, char arg[128], char allow[64]);
void openapi_text(struct buf *out);

answer_function answer_page, answer_live, answer_ready, answer_metrics, answer_openapi, answer_predict, answer_model, answer_cohort,
    answer_subject, answer_risk, answer_tasks, answer_reports, answer_report, answer_wall, answer_session, answer_audit;
void *desk_main(void *server);
void *worker_main(void *server);
void *audit_main(void *server);
/* The worker's predictor on the site's own store; only its thread calls these. */
struct predictor *worker_predictor(struct call *c, struct error *e);
/* Parameters task, futures, explain, outcomes, seed, horizon_days of the query. */
struct ask {
  char task[96];
  int64_t futures, explain, outcomes, seed;
  double horizon_days;
};
int ask_query(const struct call *c, struct ask *a, struct error *e) MUST_CHECK;
const char *page_csp(void);
struct str page_bytes(void);
#endif
