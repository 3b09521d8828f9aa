/* HTTP: parse, authenticate, queue; workers own the model. TLS optional. Routes are one table (serve_routes.c): it yields the
 * router, /openapi.json, the permission tests and the workbench's menu. Two planes, each with a listener of its own: the hospital's
 * (patients' records, roles) and the developers' (promoted versions only, keys with quotas, Azure AI Foundry's dialects).
 *
 *     struct serve_options o = {.site = "site", .listen = "127.0.0.1:8080", .developer_listen = "127.0.0.1:8081"};
 *     TRY(serve_run(&o, e));                      // until SIGTERM / Ctrl-C; drains, then returns
 *
 * Keys: `vitae key SITE --role clinician` prints a key once; the database holds its Argon2id hash. Audit: one row a call,
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
  const char *listen;             /* host:port; port 0 = any free one */
  const char *developer_listen;   /* NULL: no developer plane */
  const char *version;            /* "live" if NULL */
  const char *database;           /* postgres://… or @FILE; NULL: SITE/database, else SQLite */
  const char *oidc;               /* JSON file of trusted token issuers (serve_token.h), or NULL */
  const char *tls_cert, *tls_key; /* PEM files; NULL = plain HTTP (loopback only unless `insecure`) */
  const char *tls_client_ca;      /* PEM: clients must show a certificate of it (mTLS) */
  const char *cors;               /* origins that browsers may call the developer plane from, separated by commas; NULL = none */
  const char *user;               /* after listening become this user; NULL = stay */
  const char *mllp_listen;        /* HL7 v2 over MLLP on host:port; NULL: none (serve_mllp.h) */
  const char *mllp_settings;      /* its JSON file; NULL: SITE/mllp.json, if there is one */
  int *mllp_port;                 /* out, before `ready`: the port taken; or NULL */
  bool insecure;                  /* allow plain HTTP, HL7 messages and results on other addresses than loopback */
  int queue;                      /* most requests waiting, of each plane; default 64; beyond: 429 with Retry-After */
  int workers;                    /* model workers; default: cores, at most 8; with developers, one more */
  int guesses;                    /* wrong keys of one address a minute before it has to wait; default 20 */
  int streams, language_threads;  /* answers at a time of one language model (8); threads of its passes (cores) */
  size_t body_limit;              /* bytes; default 8 MiB */
  int timeout_s;                  /* of a connection without a byte (30); four times as long for a whole request, or a whole answer */
  int drain_s;                    /* at the end: seconds for what was begun (default 30; negative: none); then it is given up */
  void (*ready)(void *ctx, int port, int developer_port); /* called once listening; may be NULL */
  void *ctx;
};
int serve_run(const struct serve_options *o, struct error *e) MUST_CHECK;
void serve_reload(void); /* look at versions and deployments now (from a signal handler too) */

/* ---- who may do what ---- */
enum role { ROLE_NONE, ROLE_VIEWER, ROLE_EHR, ROLE_CLINICIAN, ROLE_ADMIN, ROLE_DEVELOPER, ROLES };
enum plane { PLANE_HOSPITAL = 1, PLANE_DEVELOPER = 2, PLANE_BOTH = 3 };
enum scope { SCOPE_OPEN = 0, SCOPE_READ = 1, SCOPE_PATIENT = 2, SCOPE_ADMIN = 4, SCOPE_INFER = 8, SCOPE_CDS = 16, SCOPE_LAUNCH = 32 };
enum dialect { DIALECT_OWN, DIALECT_OPENAI, DIALECT_AZURE, DIALECT_INFERENCE, DIALECT_SCORE, DIALECT_FHIR, DIALECT_CDS, DIALECTS };
enum quota { QUOTA_NONE, QUOTA_READ, QUOTA_MODEL }; /* what a call costs its key: nothing, a request, a request and tokens */
extern const char *const role_name[ROLES];
extern const unsigned role_scopes[ROLES]; /* enum scope bits */
extern const enum plane role_plane[ROLES];
extern const char *const dialect_name[DIALECTS];
struct route {               /* one row of the table */
  const char *method, *path; /* path pattern: {name} matches one segment */
  enum plane plane;          /* listeners that have it */
  unsigned scope;            /* what the caller needs; SCOPE_OPEN = nothing */
  enum dialect dialect;      /* of errors and headers */
  enum quota quota;
  const char *summary;
  const char *body_schema; /* JSON schema text for OpenAPI, or NULL */
};
const struct route *serve_routes(int *n);

/* ---- keys (serve_keys.c) ---- */
struct key_options {
  const char *database; /* as in serve_options */
  enum role role;
  const char *label;
  const char *tenant;                             /* whose it is; NULL: a developer's key is its own tenant */
  const char *models;                             /* deployments that it may use, separated by commas; NULL = all */
  int64_t requests_per_minute, tokens_per_minute; /* 0 = no limit */
  int64_t days;                                   /* until it expires; 0 = never */
};
/* Prints nothing; the key is only ever in `out`. */
int key_create(const char *site, const struct key_options *o, char out[64], struct error *e) MUST_CHECK;
/* Every key ever made, oldest first: an array of {id, role, label, tenant, models, created, revoked (null = valid), expires, quotas}; times
 * as text. Hashes stay in the database. */
struct json_out;
int key_list(const char *site, const char *database, struct json_out *o, struct error *e) MUST_CHECK;
/* id: the part between the underscores; E_NOTFOUND */
int key_revoke(const char *site, const char *database, const char *id, struct error *e) MUST_CHECK;

/* ---- deployments (serve_fleet.c): names that clients call, and which versions answer ---- */
struct deployment_options {
  const char *database;
  const char *to;     /* "VERSION[:WEIGHT],…"; "live" is a version too; NULL with shadow NULL: remove the name */
  const char *shadow; /* a version that answers as well, unseen; or NULL */
};
int deployment_set(const char *site, const char *name, const struct deployment_options *o, struct error *e) MUST_CHECK;
int deployment_list(const char *site, const char *database, struct json_out *o, struct error *e) MUST_CHECK;

/* ---- audit (serve_audit.c) ---- */
/* One row of the chain for something done at the command line: what ("vault lookup"), 64 hexadecimal digits for what was asked and for
 * what came of it ("" = none), and a status as HTTP has them. Durable on return. */
int audit_note(const char *site, const char *what, const char *input, const char *output, int status, struct error *e) MUST_CHECK;
int audit_verify(const char *site, const char *database, uint64_t *rows,
                 struct error *e) MUST_CHECK; /* E_CORRUPT names the first bad row */
/* The chain as FHIR R4 AuditEvent resources, one a line (NDJSON), from row `from` on. */
int audit_export(const char *site, const char *database, int64_t from, struct buf *out, struct error *e) MUST_CHECK;
#endif
