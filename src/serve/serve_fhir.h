/* FHIR R4 out: what a prediction is in resources, and the parts that routes share. docs/hospital-plane.md, "FHIR R4".
 *
 *     struct fhirout_telling t = {.call = c, .engine = en, .subject = &who};
 *     json_out_init(&o, &c->out, false);  fhirout_begin_bundle(&o, "collection");
 *     TRY(fhirout_risk(&t, &prediction, task, &o, e));           // one RiskAssessment: an entry
 *     fhirout_device(&t, &o);  fhirout_provenance(&t, &o);  …
 *
 * Everything that a model has said bears the security label AIAST, and Device and Provenance follow "AI Transparency on FHIR" (ballot of
 * 2026: it may change). References inside a collection are by urn:uuid, made of the call's request id.
 */
#ifndef SERVE_FHIR_H
#define SERVE_FHIR_H
#include "serve/serve_private.h"

struct prediction;
struct task;
enum { FHIR_ID = 64, FHIR_RISKS = 65 };
#define FHIR_TYPE "application/fhir+json; charset=utf-8"

struct fhirout_subject { /* whom a resource is about: one of these, or nothing */
  char reference[80];    /* "Patient/…" or "urn:uuid:…" */
  char pseudonym[24];    /* of the store */
};
struct fhirout_telling {
  struct call *call;
  const struct vitae_engine *engine;
  const struct fhirout_subject *subject;
  int64_t now;
  bool collection;    /* resources stand beside each other: refer by urn:uuid */
  int risks;          /* RiskAssessments told so far */
  struct buf remarks; /* why tasks had no answer, as issues of an OperationOutcome */
};
/* What asks the model, once a task (NULL: outcomes only): a session or a subject of the store. */
typedef int fhirout_ask(void *ctx, const struct task *task, struct arena *a, struct prediction *out, struct error *e);
/* All RiskAssessments that answer: of the task, or of every task of the version, and one of the outcomes. */
int fhirout_risks(struct fhirout_telling *t, const struct task *task, fhirout_ask *f, void *ctx, struct json_out *o,
                  struct error *e) MUST_CHECK;
void fhirout_guidance(struct fhirout_telling *t, struct json_out *o); /* entries; after the risks */
void fhirout_provenance(struct fhirout_telling *t, struct json_out *o);
void fhirout_device_entry(struct fhirout_telling *t, struct json_out *o);
void fhirout_device(const struct vitae_engine *en, struct json_out *o); /* the resource alone */
void fhirout_capability(struct call *c, struct json_out *o);
void fhirout_operation(struct json_out *o);
void fhirout_base(const struct call *c, char out[300]); /* "https://HOST/fhir", from the request's Host if it is plain; else "" */
void fhirout_time(int64_t us, char out[40]);            /* an instant, UTC */
void fhirout_link(struct json_out *o, const char *relation, const char *url);
#endif
