/* The audit chain: one row a request, written before its answer leaves (serve_audit.c). */
#ifndef SERVE_AUDIT_H
#define SERVE_AUDIT_H
#include "base/error.h"
#include "base/json.h"

enum { KEY_ID = 8, CALLER_ID = 17, TENANT_MOST = 63, REQUEST_ID = 36, INPUT_MOST = 69 }; /* a caller: a key's id, or a letter and 64 bits */
#define INPUT_TREE "tree-" /* before the digest of a long input (serve_input.c); without it, plain SHA-256 */
struct db;
struct audit_entry {
  int64_t time; /* us since 1970, UTC */
  char key[CALLER_ID + 1];
  const char *method, *route, *version;
  char input[INPUT_MOST + 1], output[65];
  int status;
  int64_t latency_us;
  char tenant[TENANT_MOST + 1], request[REQUEST_ID + 1];
  int64_t tokens_in, tokens_out;
  int billed;                  /* 0: a failure, or a repetition of a request that was answered before */
  bool repeated;               /* the client says so: looked for in the chain */
  char client[REQUEST_ID + 1]; /* its own id of the request: under the same one the same input is a repetition; not part of the chain */
  char verdict[12];            /* of the output filter */
  int64_t row;                 /* out */
};
struct audit_search {
  const char *key, *tenant, *request; /* "" = any */
  int64_t before, status_from, status_to, limit;
};
struct audit;
int audit_open(const char *site, const char *database, struct audit **out, struct error *e) MUST_CHECK;
void audit_close(struct audit *a);
struct db *audit_db(struct audit *a);
int audit_write(struct audit *a, struct audit_entry *rows, int n, struct error *e) MUST_CHECK;  /* one transaction, durable on return */
int audit_append(struct audit *a, struct audit_entry *rows, int n, struct error *e) MUST_CHECK; /* inside the caller's transaction */
int audit_latest(struct audit *a, const struct audit_search *q, struct json_out *o, struct error *e) MUST_CHECK;
/* Sums by key since a time; tenant "" = all. Mirrors are not in them: their clients do not know of them. */
int audit_usage(struct db *db, const char *tenant, int64_t since, struct json_out *o, struct error *e) MUST_CHECK;
/* FHIR searchset entries of the rows before `before` (0: all), newest first; or, `alone`, the resource by itself. */
struct audit_events {
  const char *base; /* "https://HOST/fhir", "" = not known */
  bool alone;
  int64_t n, last; /* out: how many; the smallest row told */
};
int audit_event_entries(struct audit *a, int64_t before, int64_t limit, struct audit_events *list, struct json_out *o,
                        struct error *e) MUST_CHECK;
void audit_event_json(const struct audit_entry *r, struct json_out *o);

#endif
