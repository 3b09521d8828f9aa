/* CDS Hooks 2.0.1 (cds-hooks.hl7.org): services that an EHR calls while a clinician works, answered with cards.
 *
 *     GET  /cds-services                 what there is
 *     POST /cds-services/{id}            a hook fired: cards, or an empty list
 *     POST /cds-services/{id}/feedback   what became of cards: a file in SITE/inbox
 *
 * Services, thresholds and texts are a data file, policy/cds-services.json or the site's own; whom to trust and what to ask is SITE/ehr.json
 * (serve_ehr.h). A call's way: desk (token, body) → errand thread (the request's parts, missing prefetch asked from the EHR) → model worker
 * (the patient through the wall in memory, probabilities, cards). Whoever would be late answers with an empty list and is counted.
 */
#ifndef SERVE_CDS_H
#define SERVE_CDS_H
#include "base/json.h"
#include "serve/serve_private.h"

enum { CDS_SERVICES = 16, CDS_QUERIES = 16, CDS_RULES = 16, CDS_REASONS = 16, CDS_CODES = 64, CDS_LEVELS = 3, CDS_CARDS = 10 };

struct cds_query { /* a prefetch template */
  const char *key, *query;
  bool required; /* without it nothing can be said: 412 */
};
struct cds_rule {
  const char *task;    /* name, or "*"; NULL: an outcome */
  const char *outcome; /* code of the hazard head; with `within`, an index of predict_horizon_days */
  int within;
  const char *title, *summary; /* NULL title: the task's own, up to its first comma */
  double level[CDS_LEVELS];    /* from which probability on info, warning, critical; NaN = never */
  int reasons;
  bool thorough; /* reasons by the whole search: many times the cost */
};
struct cds_service {
  const char *id, *hook, *title, *description, *usage;
  struct cds_query query[CDS_QUERIES];
  struct cds_rule rule[CDS_RULES];
  const char *order[CDS_CODES]; /* "system|code": only where one of them is ordered; none: whatever is ordered */
  int queries, rules, orders;
};
struct cds { /* immutable once loaded */
  struct arena arena;
  struct cds_service service[CDS_SERVICES];
  int services;
  double budget; /* seconds */
  const char *source_label, *source_url, *source_icon, *link, *footer, *override_system;
  struct cds_reason {
    const char *code, *display;
  } reason[CDS_REASONS];
  int reasons;
  struct buf discovery;
};
int cds_open(const char *site, struct cds **out, struct error *e) MUST_CHECK;
void cds_close(struct cds *d);
const struct cds_service *cds_service(const struct cds *d, const char *id, const char *hook); /* hook NULL: any; NULL if there is none */

/* ---- one call: made in the errand thread, used by the worker, then freed with the call. Identified: wiped ---- */
struct fhir_parsed;
struct cds_job {
  const struct cds_service *service;
  struct fhir_parsed *resource; /* (resources) all that was given or fetched, in the documents of the parsers */
  size_t resources, resource_room;
  struct json_parser **parser; /* (parsers) */
  int parsers;
  char absent[256]; /* keys that were not to be had, with commas */
  bool cut;         /* a list had more pages than were read */
  bool wanted;      /* false: no order that this service speaks of */
};
void cds_job_free(void *job);
/* ---- patients by prefetch (serve_cds_fetch.c) ---- */
struct cds_gather {
  struct server *server;
  const struct cds_service *service;
  struct json context, prefetch; /* JSON_NONE: all is asked for */
  struct str fhir, token;        /* the EHR's server, and our access to it; STR_NONE */
  struct str patient, encounter;
  double until; /* monotonic: all must be here by then */
};
/* Fills job's resources, absent and cut. E_INPUT names the field; E_NOTFOUND: a required part is neither given nor to be had (412);
 * E_UNAVAILABLE: not in time. */
/* A parser whose document lives as long as the job. */
int cds_parser(struct cds_job *job, struct json_parser **out, struct error *e) MUST_CHECK;
int cds_gather(const struct cds_gather *g, struct cds_job *job, struct error *e) MUST_CHECK;

/* ---- cards (serve_cds_card.c) ---- */
/* Writes the list "cards" of the session; returns how many. E_CANCELLED: not in time. */
struct vitae_session;
int cds_cards(struct call *c, const struct cds_job *job, struct vitae_session *s, struct json_out *o, struct error *e) MUST_CHECK;
void cds_miss(struct call *c); /* an empty list, counted */
bool cds_late(const struct call *c);
bool cds_stop(void *call); /* its client has left, or its time is over */
#endif
