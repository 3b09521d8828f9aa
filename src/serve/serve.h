/* HTTP: parse, authenticate, queue; one worker owns the model. TLS optional. Routes are one table (serve_routes.c): it yields the
 * router, /openapi.json, the permission tests and the workbench's menu.
 *
 *     struct serve_options o = {.site = "site", .listen = "127.0.0.1:8080"};
 *     TRY(serve_run(&o, e));                      // until SIGTERM / Ctrl-C; drains, then returns
 *
 * Keys: `vitae key SITE --role clinician` prints a key once; SQLite (vitae.db) holds its Argon2id hash. Audit: one row a call,
 * hash-chained, committed before the answer leaves; `vitae verify SITE` re-computes the chain. Bodies are limited, never logged.
 */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct serve_options {
  const char *site;
  const char *listen;                 /* host:port; port 0 = any free one */
  const char *version;                /* "live" if NULL */
  const char *tls_cert, *tls_key;     /* PEM files; NULL = plain HTTP (loopback only unless `insecure`) */
  bool insecure;                      /* allow plain HTTP on other addresses than loopback */
  int queue;                          /* most requests waiting; default 64; beyond: 429 with Retry-After */
  size_t body_limit;                  /* bytes; default 8 MiB */
  int timeout_s;                      /* connection timeout; default 30 */
  void (*ready)(void *ctx, int port); /* called once listening; may be NULL */
  void *ctx;
};
int serve_run(const struct serve_options *o, struct error *e) MUST_CHECK;

enum role { ROLE_NONE, ROLE_VIEWER, ROLE_CLINICIAN, ROLE_ADMIN, ROLES }; /* each may do what the ones before it may */
extern const char *const role_name[ROLES];
struct route {               /* one row of the table */
  const char *method, *path; /* path pattern: {name} matches one segment */
  enum role role;            /* least role; ROLE_NONE = open */
  const char *summary;
  const char *body_schema; /* JSON schema text for OpenAPI, or NULL */
};
const struct route *serve_routes(int *n);

/* serve_keys.c */
int key_create(const char *site, enum role role, const char *label, char out[64],
               struct error *e) MUST_CHECK; /* prints nothing; the key is only ever in `out` */
/* Every key ever made, oldest first: an array of {id, role, label, created, revoked (null = valid)}; times as text. Hashes stay in vitae.db. */
struct json_out;
int key_list(const char *site, struct json_out *o, struct error *e) MUST_CHECK;
int key_revoke(const char *site, const char *id, struct error *e) MUST_CHECK; /* id: the part between the underscores; E_NOTFOUND */
/* serve_audit.c */
/* One row of the chain for something done at the command line: what ("vault lookup"), 64 hexadecimal digits for what was asked and for
 * what came of it ("" = none), and a status as HTTP has them. Durable on return. */
int audit_note(const char *site, const char *what, const char *input, const char *output, int status, struct error *e) MUST_CHECK;
int audit_verify(const char *site, uint64_t *rows, struct error *e) MUST_CHECK; /* E_CORRUPT names the first bad row */
#endif
