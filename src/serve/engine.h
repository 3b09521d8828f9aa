/* What the server reads of an engine beside the public API (include/vitae.h). Borrowed; immutable; shared by threads. */
#ifndef SERVE_ENGINE_H
#define SERVE_ENGINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct vitae_engine;
struct model;
struct site;
struct task;
struct json_out;
struct vitae_session;
struct vitae_error;

/* Asked between steps of a prediction; true ends it with E_CANCELLED. */
void session_cancel(struct vitae_session *s, bool (*cancelled)(void *ctx), void *ctx);
/* The public session's functions for the dialects: the same ways, our own errors, answers written where they belong. */
struct session_summary {
  bool has_task, applies, dead;
  const char *refusal; /* why the task does not apply */
  double probability, hazard;
  uint32_t events, unknown_codes;
};
int session_records(struct vitae_session *s, const char *bytes, size_t n, bool fhir, struct error *e) MUST_CHECK;
/* The same of a document behind whose n bytes others may be read, up to cap: it need not be copied. And of resources that are parsed already. */
int session_padded(struct vitae_session *s, const char *bytes, size_t n, size_t cap, bool fhir, struct vitae_error *err);
struct fhir_parsed;
int session_parsed(struct vitae_session *s, const struct fhir_parsed *list, size_t n, struct error *e) MUST_CHECK;
struct session_query {
  const struct task *task; /* NULL: hazards only */
  int futures, explain, outcomes;
  bool quick;                      /* explain by one batch of removals (predict.h) */
  double explain_least;            /* of answers below it nothing is explained */
  bool (*explain_late)(void *ctx); /* (the context of session_cancel) true: the answer goes without explanation */
  double horizon_days;
  uint64_t seed;
};
/* The answer as it is; what it points to lives in `a`. */
struct arena;
struct prediction;
struct timeline;
int session_predict(struct vitae_session *s, const struct session_query *q, struct arena *a, struct prediction *out,
                    struct error *e) MUST_CHECK;
/* Ends the taking of records: what came through the wall can be read. E_INPUT: nothing did, or of several patients. */
int session_finish(struct vitae_session *s, struct error *e) MUST_CHECK;
const struct timeline *session_timeline(const struct vitae_session *s); /* what came through the wall, after an answer */
bool session_empty(const struct vitae_session *s); /* after a failed answer: nothing of the records came through the wall */
/* Writes the members "prediction" and "wall" into the open object. */
int session_answer(struct vitae_session *s, const struct session_query *q, struct json_out *o, struct session_summary *sum,
                   struct error *e) MUST_CHECK;
/* Messages of one patient (and of who was merged into him), oldest first; bad ones are passed over. */
struct hl7v2_options;
int session_hl7v2(struct vitae_session *s, const struct hl7v2_options *o, const struct str *message, size_t n, struct error *e) MUST_CHECK;
int session_embed(struct vitae_session *s, bool mean, float *out, uint32_t *events, struct error *e) MUST_CHECK; /* out (width) */
int engine_width(const struct vitae_engine *e);
const struct model *engine_model(const struct vitae_engine *e);
const struct site *engine_site(const struct vitae_engine *e);
/* Tasks that this version offers (in a registry: only those whose report passes its gate). */
const struct task *engine_task(const struct vitae_engine *e, const char *name); /* NULL if not offered */
int engine_tasks(const struct vitae_engine *e);
const struct task *engine_task_at(const struct vitae_engine *e, int i);
void engine_describe(const struct vitae_engine *e, struct json_out *o);
#endif
