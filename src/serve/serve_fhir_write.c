/* Predictions as FHIR R4 resources: RiskAssessment, GuidanceResponse, Device, Provenance; what the server can: CapabilityStatement,
 * OperationDefinition. */
#include <math.h>
#include <string.h>

#include "base/time.h"
#include "model/model.h"
#include "predict/predict.h"
#include "predict/uncertainty.h"
#include "serve/engine.h"
#include "serve/serve_fhir.h"
#include "timeline/task.h"
#include "vitae.h"

#define TRANSPARENCY "http://hl7.org/fhir/uv/aitransparency/"
#define OPERATION_URL "urn:vitae:operation:predict"

void fhirout_time(int64_t us, char out[40]) {
  char text[32];
  time_format(us - us % TIME_SECOND, text);
  snprintf(out, 40, "%sZ", text);
}

void fhirout_base(const struct call *c, char out[300]) {
  struct str host = call_header(c, "Host");
  bool plain = host.n > 0 && host.n < 256;
  for (size_t i = 0; plain && i < host.n; i++)
    plain = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]", host.p[i]) != NULL;
  if (plain)
    snprintf(out, 300, "%s://%.*s/fhir", c->server->o.tls_cert ? "https" : "http", STR_ARG(host));
  else
    out[0] = 0;
}

/* ---- small parts ---- */

static void open_key(struct json_out *o, const char *key) {
  json_out_key(o, key);
  json_out_object(o);
}
static void open_list(struct json_out *o, const char *key) {
  json_out_key(o, key);
  json_out_array(o);
}

static void coding(struct json_out *o, const char *system, const char *code, const char *display) {
  json_out_object(o);
  json_kv_c(o, "system", system);
  json_kv_c(o, "code", code);
  if (display) json_kv_c(o, "display", display);
  json_out_end(o);
}

static void concept(struct json_out *o, const char *key, const char *system, const char *code, const char *display) {
  open_key(o, key);
  open_list(o, "coding");
  coding(o, system, code, display);
  json_out_end(o);
  json_out_end(o);
}

static void identifier(struct json_out *o, const char *system, const char *value) {
  json_out_object(o);
  json_kv_c(o, "system", system);
  json_kv_c(o, "value", value);
  json_out_end(o);
}

static void asserted_by_ai(struct json_out *o) {
  coding(o, "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "AIAST", "Artificial Intelligence asserted");
}

static void meta(struct json_out *o, const char *profile, bool ai) {
  open_key(o, "meta");
  if (profile) {
    open_list(o, "profile");
    json_out_c(o, profile);
    json_out_end(o);
  }
  if (ai) {
    open_list(o, "security");
    asserted_by_ai(o);
    json_out_end(o);
  }
  json_out_end(o);
}

void fhirout_link(struct json_out *o, const char *relation, const char *url) {
  json_out_object(o);
  json_kv_c(o, "relation", relation);
  json_kv_c(o, "url", url);
  json_out_end(o);
}

/* ---- who and where ---- */

enum { NAME_DEVICE = 1, NAME_GUIDANCE = 2, NAME_PROVENANCE = 3, NAME_RISK = 16 };

/* Of the request and a number: nobody else's, and the same for every mention. */
static void uuid(const struct fhirout_telling *t, int n, char out[40]) {
  uint64_t a = hash64(t->call->request, strlen(t->call->request), 0x9e37 + (uint64_t)n), b = hash64_u64(a);
  snprintf(out, 40, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff),
           (unsigned)(b >> 52), (unsigned long long)(b & 0xffffffffffff));
}

static void refer(const struct fhirout_telling *t, int n, struct json_out *o) {
  char id[40], text[100];
  uuid(t, n, id);
  if (t->collection)
    snprintf(text, sizeof text, "urn:uuid:%s", id);
  else
    snprintf(text, sizeof text, "%s/%s", n == NAME_DEVICE ? "Device" : "RiskAssessment",
             n == NAME_DEVICE ? vitae_engine_id(t->engine) : id);
  json_out_object(o);
  json_kv_c(o, "reference", text);
  json_out_end(o);
}

static void subject(const struct fhirout_telling *t, struct json_out *o) {
  const struct fhirout_subject *s = t->subject;
  open_key(o, "subject");
  if (s->reference[0]) {
    json_kv_c(o, "reference", s->reference);
  } else if (s->pseudonym[0]) {
    json_kv_c(o, "type", "Patient");
    json_out_key(o, "identifier");
    identifier(o, "urn:vitae:subject", s->pseudonym);
  } else {
    json_kv_c(o, "display", "The patient of the request");
  }
  json_out_end(o);
}

static void begin_entry(const struct fhirout_telling *t, int n, const char *type, struct json_out *o) {
  char id[40], url[400], base[300];
  uuid(t, n, id);
  json_out_object(o);
  fhirout_base(t->call, base);
  if (t->collection)
    snprintf(url, sizeof url, "urn:uuid:%s", id);
  else
    snprintf(url, sizeof url, "%s/%s/%s", base, type, id);
  if (t->collection || base[0]) json_kv_c(o, "fullUrl", url);
  open_key(o, "resource");
  json_kv_c(o, "resourceType", type);
  json_kv_c(o, "id", n == NAME_DEVICE ? vitae_engine_id(t->engine) : id);
}

static void end_entry(const struct fhirout_telling *t, struct json_out *o) {
  json_out_end(o);
  if (!t->collection) {
    open_key(o, "search");
    json_kv_c(o, "mode", "match");
    json_out_end(o);
  }
  json_out_end(o);
}

/* ---- RiskAssessment ---- */

static void period(const struct fhirout_telling *t, double days, struct json_out *o) {
  char text[40];
  open_key(o, "whenPeriod");
  fhirout_time(t->now, text);
  json_kv_c(o, "start", text);
  fhirout_time(t->now + (int64_t)(days * (double)TIME_DAY), text);
  json_kv_c(o, "end", text);
  json_out_end(o);
}

static void probability(double p, struct json_out *o) { json_kv_f64(o, "probabilityDecimal", round(p * 1e6) / 1e6); }

static void confidence(const struct prediction *r, struct json_out *o) {
  if (isnan(r->lo)) return;
  open_list(o, "extension");
  json_out_object(o);
  json_kv_c(o, "url", TRANSPARENCY "StructureDefinition/AIconfidence");
  open_key(o, "valueRange");
  for (int i = 0; i < 2; i++) {
    open_key(o, i ? "high" : "low");
    json_kv_f64(o, "value", round((i ? r->hi : r->lo) * 1e6) / 1e6);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
}

/* What raised and lowered it, in words: the wall has moved the events' times, so none are told. */
static void rationale(const struct prediction *r, struct json_out *o) {
  struct buf b = {0};
  if (!r->contributions) return;
  buf_puts(&b, "Change in log odds by exact removal:");
  for (int i = 0; i < r->contributions; i++) {
    const struct predict_contribution *c = &r->contribution[i];
    struct str name = c->display.n ? c->display : c->code;
    buf_printf(&b, "%s %.*s %+.2f", i ? ";" : "", STR_ARG(name), c->delta);
  }
  if (!b.failed) json_kv_str(o, "rationale", (struct str){b.p, b.n});
  buf_release(&b);
}

static void note(struct json_out *o, const char *text) {
  json_out_object(o);
  json_kv_c(o, "text", text);
  json_out_end(o);
}

/* What a reader of charts sees where nothing more is made of it. */
static void narrative(const struct prediction *r, const struct task *task, struct json_out *o) {
  struct buf b = {0};
  buf_puts(&b, "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>");
  buf_html(&b, str_c(task ? task_title(task) : "Most likely outcomes"));
  if (task) buf_printf(&b, ": %.1f %%", 100 * r->probability);
  if (task && !isnan(r->lo)) buf_printf(&b, " (%.1f to %.1f %%)", 100 * r->lo, 100 * r->hi);
  for (int i = 0; !task && i < r->outcomes; i++) {
    buf_puts(&b, i ? "; " : ": ");
    buf_html(&b, r->outcome[i].display.n ? r->outcome[i].display : r->outcome[i].code);
    if (isnan(r->outcome[i].probability[4]))
      buf_puts(&b, " (nobody like this was followed for a year)");
    else
      buf_printf(&b, " %.1f %% within a year", 100 * r->outcome[i].probability[4]);
  }
  buf_puts(&b, ". Made by a model, not reviewed.</p></div>");
  if (!b.failed) {
    open_key(o, "text");
    json_kv_c(o, "status", "generated");
    json_kv_str(o, "div", (struct str){b.p, b.n});
    json_out_end(o);
  }
  buf_release(&b);
}

static void begin_risk(struct fhirout_telling *t, const struct prediction *r, const struct task *task, struct json_out *o) {
  char text[40];
  begin_entry(t, NAME_RISK + t->risks++, "RiskAssessment", o);
  meta(o, NULL, true);
  narrative(r, task, o);
  json_kv_c(o, "status", "preliminary");
  subject(t, o);
  fhirout_time(t->now, text);
  json_kv_c(o, "occurrenceDateTime", text);
  json_out_key(o, "performer");
  refer(t, NAME_DEVICE, o);
}

static void end_risk(const struct fhirout_telling *t, const struct prediction *r, bool own, struct json_out *o) {
  static const char *const sets[] = {"This patient is unlike patients with and without the outcome: no statement.", NULL, NULL,
                                     "The model cannot tell either way for this patient."};
  open_list(o, "note");
  note(o, "Made by a model and not reviewed. Periods count from the record's last event, taken to be now.");
  if (own && !isnan(r->lo) && sets[r->set & 3]) note(o, sets[r->set & 3]);
  for (int i = 0; i < r->warnings; i++) note(o, r->warning[i]);
  json_out_end(o);
  end_entry(t, o);
}

static void task_risk(struct fhirout_telling *t, const struct prediction *r, const struct task *task, struct json_out *o) {
  int64_t horizon = task_horizon(task);
  begin_risk(t, r, task, o);
  open_key(o, "method");
  json_kv_c(o, "text", prediction_way(r));
  json_out_end(o);
  concept(o, "code", "urn:vitae:task", task_name(task), task_title(task));
  open_list(o, "prediction");
  json_out_object(o);
  confidence(r, o);
  open_key(o, "outcome");
  json_kv_c(o, "text", task_title(task));
  json_out_end(o);
  probability(r->probability, o);
  if (horizon != INT64_MAX) period(t, (double)horizon / (double)TIME_DAY, o);
  rationale(r, o);
  json_out_end(o);
  json_out_end(o);
  end_risk(t, r, true, o);
}

/* FHIR's own name of a code system of ours, or NULL. */
static const char *system_of(struct str code, struct str *own) {
  static const struct {
    const char *ours, *theirs;
  } table[] = {{"LOINC//", "http://loinc.org"},
               {"SNOMED//", "http://snomed.info/sct"},
               {"RXNORM//", "http://www.nlm.nih.gov/research/umls/rxnorm"},
               {"ICD10CM//", "http://hl7.org/fhir/sid/icd-10-cm"},
               {"ICD10//", "http://hl7.org/fhir/sid/icd-10"},
               {"ICD9CM//", "http://hl7.org/fhir/sid/icd-9-cm"},
               {"CVX//", "http://hl7.org/fhir/sid/cvx"},
               {"ATC//", "http://www.whocc.no/atc"},
               {"NDC//", "http://hl7.org/fhir/sid/ndc"}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct str prefix = str_c(table[i].ours);
    if (!str_starts(code, prefix)) continue;
    *own = (struct str){code.p + prefix.n, code.n - prefix.n};
    return memmem(own->p, own->n, "//", 2) ? NULL : table[i].theirs; /* with a suffix it is a code of ours alone */
  }
  return NULL;
}

static void outcome(const struct predict_outcome *x, struct json_out *o) {
  struct str own;
  const char *system = system_of(x->code, &own);
  open_key(o, "outcome");
  open_list(o, "coding");
  json_out_object(o);
  json_kv_c(o, "system", system ? system : "urn:vitae:code");
  json_kv_str(o, "code", system ? own : x->code);
  json_out_end(o);
  json_out_end(o);
  json_kv_str(o, "text", x->display.n ? x->display : x->code);
  json_out_end(o);
}

static void outcomes_risk(struct fhirout_telling *t, const struct prediction *r, struct json_out *o) {
  begin_risk(t, r, NULL, o);
  open_key(o, "method");
  json_kv_c(o, "text", "closed-form hazard: first occurrence, death competing");
  json_out_end(o);
  concept(o, "code", "urn:vitae:task", "outcomes", "Most likely outcomes");
  bool any = r->outcomes > 0 && !isnan(r->outcome[0].probability[0]); /* FHIR knows no empty list */
  if (any) open_list(o, "prediction");
  for (int i = 0; any && i < r->outcomes; i++)
    for (int k = 0; k < 6 && !isnan(r->outcome[i].probability[k]); k++) {
      json_out_object(o);
      outcome(&r->outcome[i], o);
      probability(r->outcome[i].probability[k], o);
      period(t, predict_horizon_days[k], o);
      if (r->outcome[i].before) json_kv_c(o, "rationale", "On record before: no new onset.");
      json_out_end(o);
    }
  if (any) json_out_end(o);
  end_risk(t, r, false, o);
}

static void remark(struct fhirout_telling *t, const char *code, const char *what, const char *task) {
  struct json_out o;
  char text[320];
  snprintf(text, sizeof text, "%s%s%s", task, task[0] ? ": " : "", what);
  if (t->remarks.n) buf_putc(&t->remarks, ',');
  json_out_init(&o, &t->remarks, false);
  json_out_object(&o);
  json_kv_c(&o, "severity", "information");
  json_kv_c(&o, "code", code);
  json_kv_c(&o, "diagnostics", text);
  json_out_end(&o);
}

int fhirout_risks(struct fhirout_telling *t, const struct task *task, fhirout_ask *f, void *ctx, struct json_out *o, struct error *e) {
  int n = task ? 1 : engine_tasks(t->engine), rc = OK;
  struct arena a;
  arena_init(&a, 512u << 20, ARENA_WIPE);
  for (int i = 0; rc == OK && i < (n ? n : 1); i++) {
    const struct task *k = task ? task : n ? engine_task_at(t->engine, i) : NULL;
    struct prediction r;
    rc = f(ctx, k, &a, &r, e);
    if (rc < 0) break;
    if (k && r.refusal)
      remark(t, "informational", r.refusal, task_name(k));
    else if (k && isnan(r.probability))
      remark(t, "not-found", "no head for this task", task_name(k));
    else if (k)
      task_risk(t, &r, k, o);
    if (i == 0 && r.outcomes) outcomes_risk(t, &r, o);
    if (i == 0 && r.dead) remark(t, "informational", "the record holds the death: there is nothing to foretell", "");
    arena_reset(&a);
  }
  arena_free(&a);
  return rc;
}

/* ---- GuidanceResponse, Provenance, Device ---- */

void fhirout_guidance(struct fhirout_telling *t, struct json_out *o) {
  char text[40];
  begin_entry(t, NAME_GUIDANCE, "GuidanceResponse", o);
  meta(o, NULL, true);
  open_list(o, "contained");
  json_out_object(o);
  json_kv_c(o, "resourceType", "Parameters");
  json_kv_c(o, "id", "out");
  open_list(o, "parameter");
  for (int i = 0; i < t->risks; i++) {
    json_out_object(o);
    json_kv_c(o, "name", "risk");
    json_out_key(o, "valueReference");
    refer(t, NAME_RISK + i, o);
    json_out_end(o);
  }
  json_out_object(o);
  json_kv_c(o, "name", "version");
  json_kv_c(o, "valueString", vitae_engine_id(t->engine));
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
  if (t->remarks.n && !t->remarks.failed) {
    json_out_object(o);
    json_kv_c(o, "resourceType", "OperationOutcome");
    json_kv_c(o, "id", "remarks");
    open_list(o, "issue");
    json_out_raw(o, (struct str){t->remarks.p, t->remarks.n});
    json_out_end(o);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_key(o, "requestIdentifier");
  identifier(o, "urn:vitae:request", t->call->request);
  json_kv_c(o, "moduleUri", OPERATION_URL);
  json_kv_c(o, "status", "success");
  subject(t, o);
  fhirout_time(t->now, text);
  json_kv_c(o, "occurrenceDateTime", text);
  json_out_key(o, "performer");
  refer(t, NAME_DEVICE, o);
  if (t->remarks.n && !t->remarks.failed) {
    open_list(o, "evaluationMessage");
    json_out_object(o);
    json_kv_c(o, "reference", "#remarks");
    json_out_end(o);
    json_out_end(o);
  }
  open_key(o, "outputParameters");
  json_kv_c(o, "reference", "#out");
  json_out_end(o);
  end_entry(t, o);
}

void fhirout_provenance(struct fhirout_telling *t, struct json_out *o) {
  char text[40];
  begin_entry(t, NAME_PROVENANCE, "Provenance", o);
  meta(o, TRANSPARENCY "StructureDefinition/AI-Provenance", false);
  open_list(o, "target");
  for (int i = 0; i < t->risks; i++) refer(t, NAME_RISK + i, o);
  refer(t, NAME_GUIDANCE, o);
  json_out_end(o);
  fhirout_time(t->now, text);
  json_kv_c(o, "recorded", text);
  open_list(o, "reason");
  json_out_object(o);
  open_list(o, "coding");
  asserted_by_ai(o);
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
  concept(o, "activity", "http://terminology.hl7.org/CodeSystem/v3-DataOperation", "CREATE", "create");
  open_list(o, "agent");
  json_out_object(o);
  concept(o, "type", "http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author", "Author");
  open_list(o, "role");
  json_out_object(o);
  open_list(o, "coding");
  coding(o, TRANSPARENCY "CodeSystem/AIdeviceTypeCS", "Artificial-Intelligence", NULL);
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
  json_out_key(o, "who");
  refer(t, NAME_DEVICE, o);
  json_out_end(o);
  json_out_end(o);
  open_list(o, "entity"); /* what it was made from: the request, whose hash stands in the audit under this number */
  json_out_object(o);
  json_kv_c(o, "role", "source");
  open_key(o, "what");
  json_out_key(o, "identifier");
  identifier(o, "urn:vitae:request", t->call->request);
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
  end_entry(t, o);
}

/* The members of a Device beside resourceType and id. */
static void device_members(const struct vitae_engine *en, struct json_out *o) {
  const struct model_config *c = model_config(engine_model(en));
  meta(o, TRANSPARENCY "StructureDefinition/AI-Device", false);
  open_list(o, "extension");
  json_out_object(o);
  json_kv_c(o, "url", TRANSPARENCY "StructureDefinition/aitransparency.AIKind");
  concept(o, "valueCodeableConcept", TRANSPARENCY "CodeSystem/AIdeviceTypeCS", "Machine-Learning-Models", "Machine Learning Models");
  json_out_end(o);
  json_out_end(o);
  open_list(o, "identifier");
  identifier(o, "urn:vitae:version", vitae_engine_id(en));
  json_out_end(o);
  json_kv_c(o, "status", "active");
  open_list(o, "deviceName");
  json_out_object(o);
  json_kv_c(o, "name", "Vitae");
  json_kv_c(o, "type", "model-name");
  json_out_end(o);
  json_out_end(o);
  json_kv_c(o, "modelNumber", c->preset);
  concept(o, "type", TRANSPARENCY "CodeSystem/AIdeviceTypeCS", "Artificial-Intelligence", NULL);
  open_list(o, "version");
  json_out_object(o);
  open_key(o, "type");
  json_kv_c(o, "text", "model");
  json_out_end(o);
  json_kv_c(o, "value", vitae_engine_id(en));
  json_out_end(o);
  json_out_object(o);
  open_key(o, "type");
  json_kv_c(o, "text", "program");
  json_out_end(o);
  json_kv_c(o, "value", vitae_version());
  json_out_end(o);
  json_out_end(o);
  open_list(o, "property");
  json_out_object(o);
  open_key(o, "type");
  json_kv_c(o, "text", "parameters");
  json_out_end(o);
  open_list(o, "valueQuantity");
  json_out_object(o);
  json_kv_i64(o, "value", (int64_t)model_parameters(engine_model(en)));
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
}

void fhirout_device_entry(struct fhirout_telling *t, struct json_out *o) {
  begin_entry(t, NAME_DEVICE, "Device", o);
  device_members(t->engine, o);
  end_entry(t, o);
}

void fhirout_device(const struct vitae_engine *en, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "resourceType", "Device");
  json_kv_c(o, "id", vitae_engine_id(en));
  device_members(en, o);
  json_out_end(o);
}

/* ---- what the server can ---- */

static void interactions(struct json_out *o, bool read, bool search) {
  open_list(o, "interaction");
  for (int i = 0; i < 2; i++) {
    if (!(i ? search : read)) continue;
    json_out_object(o);
    json_kv_c(o, "code", i ? "search-type" : "read");
    json_out_end(o);
  }
  json_out_end(o);
}

static void parameter_of(struct json_out *o, const char *name, const char *type, const char *what) {
  json_out_object(o);
  json_kv_c(o, "name", name);
  json_kv_c(o, "type", type);
  json_kv_c(o, "documentation", what);
  json_out_end(o);
}

static void resources(struct json_out *o) {
  open_list(o, "resource");
  json_out_object(o);
  json_kv_c(o, "type", "RiskAssessment");
  interactions(o, false, true);
  open_list(o, "searchParam");
  parameter_of(o, "patient", "reference", "A subject's pseudonym in the store. The assessment is made when it is asked for");
  parameter_of(o, "patient.identifier", "token", "AUTHORITY|NUMBER: a patient of whom the HL7 v2 feed has spoken lately");
  json_out_end(o);
  json_out_end(o);
  json_out_object(o);
  json_kv_c(o, "type", "Device");
  interactions(o, true, true);
  json_out_end(o);
  json_out_object(o);
  json_kv_c(o, "type", "AuditEvent");
  interactions(o, true, true);
  json_out_end(o);
  json_out_object(o);
  json_kv_c(o, "type", "OperationDefinition");
  interactions(o, true, false);
  json_out_end(o);
  json_out_end(o);
}

void fhirout_capability(struct call *c, struct json_out *o) {
  char base[300], text[40];
  fhirout_base(c, base);
  fhirout_time(time_now() - (int64_t)((time_monotonic() - c->server->started) * 1e6), text);
  json_out_object(o);
  json_kv_c(o, "resourceType", "CapabilityStatement");
  json_kv_c(o, "status", "active");
  json_kv_c(o, "date", text);
  json_kv_c(o, "kind", "instance");
  open_key(o, "software");
  json_kv_c(o, "name", "Vitae");
  json_kv_c(o, "version", vitae_version());
  json_out_end(o);
  open_key(o, "implementation");
  json_kv_c(o, "description", "Forecasts of one hospital's model");
  if (base[0]) json_kv_c(o, "url", base);
  json_out_end(o);
  json_kv_c(o, "fhirVersion", "4.0.1");
  open_list(o, "format");
  json_out_c(o, "json");
  json_out_end(o);
  open_list(o, "rest");
  json_out_object(o);
  json_kv_c(o, "mode", "server");
  open_key(o, "security");
  json_kv_c(o, "description",
            "A key or an issuer's token, as Authorization: Bearer; roles: clinician and above for patients, admin for AuditEvent");
  json_out_end(o);
  resources(o);
  open_list(o, "operation");
  json_out_object(o);
  json_kv_c(o, "name", "predict");
  json_kv_c(o, "definition", OPERATION_URL);
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
}

void fhirout_operation(struct json_out *o) {
  static const struct {
    const char *name, *use, *type, *what;
    int least;
  } parameter[] = {{"patient", "in", "Bundle", "The record of one patient", 1},
                   {"task", "in", "string", "A task of the version; default: all that it offers", 0},
                   {"explain", "in", "integer", "How many events that raised or lowered the risk are named, up to 100", 0},
                   {"outcomes", "in", "integer", "How many of the most likely outcomes are told, up to 500; default 10", 0},
                   {"return", "out", "Bundle", "A collection: RiskAssessment, GuidanceResponse, Device, Provenance", 1}};
  json_out_object(o);
  json_kv_c(o, "resourceType", "OperationDefinition");
  json_kv_c(o, "id", "predict");
  json_kv_c(o, "url", OPERATION_URL);
  json_kv_c(o, "name", "Predict");
  json_kv_c(o, "title", "Forecast of risks for one patient; nothing is stored");
  json_kv_c(o, "status", "active");
  json_kv_c(o, "kind", "operation");
  json_kv_bool(o, "affectsState", false);
  json_kv_c(o, "code", "predict");
  json_kv_bool(o, "system", true);
  json_kv_bool(o, "type", false);
  json_kv_bool(o, "instance", false);
  open_list(o, "parameter");
  for (size_t i = 0; i < sizeof parameter / sizeof *parameter; i++) {
    json_out_object(o);
    json_kv_c(o, "name", parameter[i].name);
    json_kv_c(o, "use", parameter[i].use);
    json_kv_i64(o, "min", parameter[i].least);
    json_kv_c(o, "max", "1");
    json_kv_c(o, "documentation", parameter[i].what);
    json_kv_c(o, "type", parameter[i].type);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}
