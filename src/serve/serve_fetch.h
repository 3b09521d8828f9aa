/* Asking other machines over HTTPS (libcurl): key sets, an EHR's FHIR server and its authorisation, a bulk export's files.
 *
 *     struct fetcher *f;
 *     TRY(fetcher_open(&(struct fetch_policy){.allow = bases, .allowed = n, .ca = "hospital-ca.pem"}, &f, e));
 *     struct fetch_answer a = {0};
 *     rc = fetch(f, &(struct fetch_request){.url = url, .bearer = token, .accept = "application/fhir+json", .timeout_ms = 300}, &a, e);
 *     … a.status, a.body …
 *     fetch_release(&a);                                          // wipes
 *
 * Closed by default: an address is asked only if it lies under one of the allowed bases ("https://fhir.example.org/r4": same scheme, host and
 * port, and a path below the base's). https only; http for loopback. No redirect is followed, no user name or ".." is taken from an address,
 * no proxy of the environment is used, no cookie kept. Connections stay open for the next request. Thread-safe.
 * The answer's status is the caller's to judge: only what gave no whole answer is an error. Messages never hold an address.
 * Errors: E_DENIED (not allowed), E_UNAVAILABLE (no answer, bad certificate, out of time), E_LIMIT (too long), E_CANCELLED (`take` said so).
 */
#ifndef SERVE_FETCH_H
#define SERVE_FETCH_H
#include "base/str.h"

enum { FETCH_BASES = 32 };
struct fetcher;
struct fetch_policy {
  const char *const *allow; /* bases; copied */
  int allowed;
  const char *ca;         /* PEM file of authorities beside which none is trusted; NULL: the system's */
  const char *cert, *key; /* PEM files of our own certificate, where the other side asks for one; or NULL */
};
int fetcher_open(const struct fetch_policy *p, struct fetcher **out, struct error *e) MUST_CHECK; /* E_USAGE: a base is no address */
void fetcher_close(struct fetcher *f);                                                            /* NULL too; no request is under way */
bool fetch_allowed(const struct fetcher *f, struct str url);

struct fetch_request {
  struct str url;
  const char *method;        /* NULL: GET, or POST where there is a body */
  struct str bearer;         /* Authorization: Bearer …; STR_NONE = none */
  struct str user, password; /* HTTP Basic of a client with a secret; STR_NONE = none */
  const char *accept;        /* NULL: anything */
  const char *type;          /* of the body */
  struct str body;
  const char *header[4];                           /* further lines: "Prefer: respond-async" */
  int timeout_ms;                                  /* of the whole; 0 = 10 s */
  size_t most;                                     /* bytes of the answer; 0 = 8 MiB */
  int (*take)(void *ctx, const char *p, size_t n); /* the body of a 2xx as it comes, instead of into `body`: negative ends it; or NULL. The
                                                      answer's status is set by then; a minute without a byte ends it (E_UNAVAILABLE) */
  void *ctx;
};
struct fetch_answer {
  int status, retry_after; /* Retry-After in seconds, dates too; -1 = none */
  char type[128];          /* Content-Type, "" if none */
  char place[2048];        /* Content-Location, or else Location */
  char progress[128];      /* X-Progress */
  struct buf body;         /* STREAM_PAD readable bytes after it */
};
int fetch(struct fetcher *f, const struct fetch_request *r, struct fetch_answer *a, struct error *e) MUST_CHECK;
void fetch_release(struct fetch_answer *a);
void fetch_escape(struct buf *b, struct str value); /* for a part of an address */
/* What `file` names lies beside it, unless it is a whole path or an address */
void fetch_beside(const char *file, const char *name, char path[2048]);
/* name=value, the value escaped, with '&' where something is there already: for forms and queries. */
void fetch_form(struct buf *b, const char *name, struct str value);
#endif
