/* The FHIR R4 routes of the hospital's plane: /fhir/metadata, $predict, RiskAssessment, Device, AuditEvent. */
#include "serve/serve_fhir.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/time.h"
#include "predict/predict.h"
#include "serve/engine.h"
#include "serve/serve_mllp.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "vitae.h"

enum { EVENTS_MOST = 500 };

static void begin(struct call *c, struct json_out *o) {
  c->status = 200;
  c->type = FHIR_TYPE;
  json_out_init(o, &c->out, false);
}

static void begin_bundle(struct json_out *o, const char *type) {
  json_out_object(o);
  json_kv_c(o, "resourceType", "Bundle");
  json_kv_c(o, "type", type);
}

/* A list may not be empty in FHIR: it is written beside, and put in if there is something in it. */
static void put_entries(struct buf *list, bool any, struct json_out *o) {
  if (any) {
    json_out_key(o, "entry");
    json_out_raw(o, (struct str){list->p, list->n});
  }
  if (list->p) mem_wipe(list->p, list->cap);
  buf_release(list);
}

static void self_link(struct call *c, const char *what, struct json_out *o) {
  char base[300], url[460];
  fhirout_base(c, base);
  if (!base[0]) return;
  snprintf(url, sizeof url, "%s/%s", base, what);
  json_out_key(o, "link");
  json_out_array(o);
  fhirout_link(o, "self", url);
  json_out_end(o);
}

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

void answer_fhir_metadata(struct call *c) {
  struct json_out o;
  begin(c, &o);
  fhirout_capability(c, &o);
}

void answer_fhir_operation(struct call *c) {
  struct json_out o;
  begin(c, &o);
  fhirout_operation(&o);
}

/* ---- Device ---- */

void answer_fhir_device(struct call *c) {
  struct json_out o;
  if (!call_versioned(c)) return;
  if (strcmp(c->arg, vitae_engine_id(call_engine(c))) != 0) {
    call_fail(c, 404, "notfound", "id", "no version in use has this id");
    return;
  }
  begin(c, &o);
  fhirout_device(call_engine(c), &o);
}

void answer_fhir_devices(struct call *c) {
  struct json_out o;
  char base[300], url[400];
  if (!call_versioned(c)) return;
  begin(c, &o);
  begin_bundle(&o, "searchset");
  json_kv_i64(&o, "total", 1);
  self_link(c, "Device", &o);
  json_out_key(&o, "entry");
  json_out_array(&o);
  json_out_object(&o);
  fhirout_base(c, base);
  snprintf(url, sizeof url, "%s/Device/%s", base, vitae_engine_id(call_engine(c)));
  if (base[0]) json_kv_c(&o, "fullUrl", url);
  json_out_key(&o, "resource");
  fhirout_device(call_engine(c), &o);
  json_out_key(&o, "search");
  json_out_raw(&o, STR("{\"mode\":\"match\"}"));
  json_out_end(&o);
  json_out_end(&o);
  json_out_end(&o);
}

/* ---- AuditEvent ---- */

static int whole(const struct call *c, const char *name, int64_t least, int64_t most, int64_t *out, struct error *e) {
  struct str s = call_query(c, name);
  if (!s.p || (str_to_i64(s, out) == OK && *out >= least && *out <= most)) return OK;
  return bad(e, name, "expected a whole number in its range");
}

static int events(struct call *c, struct json_out *o, struct error *e) {
  struct server *s = c->server;
  int64_t count = 50, before = 0;
  char base[300], url[400];
  struct audit_events list = {.base = base};
  struct buf entries = {0};
  struct json_out inner;
  TRY(whole(c, "_count", 1, EVENTS_MOST, &count, e));
  TRY(whole(c, "before", 0, INT64_MAX, &before, e));
  fhirout_base(c, base);
  begin_bundle(o, "searchset");
  json_out_init(&inner, &entries, false);
  json_out_array(&inner);
  pthread_mutex_lock(&s->desk_mutex);
  int rc = audit_event_entries(s->desk_audit, before, count, &list, &inner, e);
  pthread_mutex_unlock(&s->desk_mutex);
  json_out_end(&inner);
  put_entries(&entries, list.n > 0, o);
  if (rc == OK && base[0]) {
    json_out_key(o, "link");
    json_out_array(o);
    snprintf(url, sizeof url, "%s/AuditEvent?_count=%lld&before=%lld", base, (long long)count, (long long)before);
    fhirout_link(o, "self", url);
    snprintf(url, sizeof url, "%s/AuditEvent?_count=%lld&before=%lld", base, (long long)count, (long long)list.last);
    if (list.n == count && list.last > 1) fhirout_link(o, "next", url);
    json_out_end(o);
  }
  json_out_end(o);
  return rc;
}

void answer_fhir_events(struct call *c) {
  struct error e = {0};
  struct json_out o;
  begin(c, &o);
  if (events(c, &o, &e) < 0) call_error(c, &e);
}

void answer_fhir_event(struct call *c) {
  struct error e = {0};
  struct json_out o;
  int64_t row = 0;
  struct audit_events list = {.alone = true};
  begin(c, &o);
  if (strncmp(c->arg, "row-", 4) != 0 || str_to_i64(str_c(c->arg + 4), &row) < 0 || row < 1 || row == INT64_MAX) {
    call_fail(c, 404, "notfound", "id", "there is no such event");
    return;
  }
  pthread_mutex_lock(&c->server->desk_mutex);
  int rc = audit_event_entries(c->server->desk_audit, row + 1, 1, &list, &o, &e);
  pthread_mutex_unlock(&c->server->desk_mutex);
  if (rc < 0)
    call_error(c, &e);
  else if (list.last != row)
    call_fail(c, 404, "notfound", "id", "there is no such event");
}

/* ---- what is asked ---- */

static int task_of(struct call *c, const struct ask *a, const struct task **out, struct error *e) {
  *out = a->task[0] ? engine_task(call_engine(c), a->task) : NULL;
  if (!a->task[0] || *out) return OK;
  (void)error_set(e, E_NOTFOUND, "this version offers no task of that name");
  return error_where(e, NULL, 0, "task");
}

static void finish(struct fhirout_telling *t, struct json_out *o) {
  fhirout_guidance(t, o);
  fhirout_device_entry(t, o);
  fhirout_provenance(t, o);
  json_out_end(o);
  json_out_end(o);
  buf_release(&t->remarks);
}

/* ---- POST /fhir/$predict ---- */

static bool plain_id(struct str s) {
  if (!s.n || s.n > FHIR_ID) return false;
  for (size_t i = 0; i < s.n; i++) {
    char ch = s.p[i];
    bool ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '.';
    if (!ok) return false;
  }
  return true;
}

/* How the client names the patient: by id, else by the entry's urn:uuid. */
static bool name_patient(struct json resource, struct json full_url, struct fhirout_subject *out) {
  struct str id = json_str(json_get(resource, "id")), url = json_str(full_url);
  if (!str_eqc(json_str(json_get(resource, "resourceType")), "Patient")) return false;
  if (str_starts(url, STR("urn:uuid:")) && url.n == 45 && plain_id((struct str){url.p + 9, 36}))
    snprintf(out->reference, sizeof out->reference, "%.*s", STR_ARG(url));
  else if (plain_id(id))
    snprintf(out->reference, sizeof out->reference, "Patient/%.*s", STR_ARG(id));
  return true;
}

static void find_patient(struct json record, struct fhirout_subject *out) {
  struct json entry;
  if (name_patient(record, (struct json){0}, out)) return;
  for (struct json_iter it = json_items(json_get(record, "entry")); json_next(&it, &entry);)
    if (name_patient(json_get(entry, "resource"), json_get(entry, "fullUrl"), out)) return;
}

static int one_parameter(struct json p, struct ask *a, struct json *record, struct error *e) {
  static const struct {
    const char *name;
    int64_t most;
    size_t at;
  } numbers[] = {{"explain", 100, offsetof(struct ask, explain)}, {"outcomes", 500, offsetof(struct ask, outcomes)}};
  struct str name = json_str(json_get(p, "name")), task = json_str(json_get(p, "valueString"));
  if (str_eqc(name, "patient")) {
    *record = json_get(p, "resource");
    return json_kind(*record) == JSON_OBJECT ? OK
                                             : bad(e, "Parameters.parameter.resource", "expected a Bundle or a resource of one patient");
  }
  if (str_eqc(name, "task")) {
    if (!task.n || task.n >= sizeof a->task || memchr(task.p, 0, task.n))
      return bad(e, "task", "expected the name of a task as valueString");
    snprintf(a->task, sizeof a->task, "%.*s", STR_ARG(task));
    return OK;
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    int64_t *out = (int64_t *)((char *)a + numbers[i].at);
    if (!str_eqc(name, numbers[i].name)) continue;
    if (!json_i64(json_get(p, "valueInteger"), out) || *out < 0 || *out > numbers[i].most)
      return bad(e, numbers[i].name, "expected a whole number in its range as valueInteger");
    if (out == &a->outcomes) ask_outcomes(a, true);
    return OK;
  }
  return bad(e, "Parameters.parameter.name", "an unknown parameter; known are patient, task, explain, outcomes");
}

/* The record in the body: itself, or what Parameters hold, written again into `b`. */
static int record_of(struct call *c, struct json_parser *jp, struct ask *a, struct fhirout_subject *who, struct buf *b, struct str *doc,
                     struct error *e) {
  struct json root, p, record = {0};
  struct json_out o;
  *doc = (struct str){(const char *)c->body, c->body_n};
  TRY(json_parse(jp, doc->p, doc->n, c->body_cap, &root, e));
  if (json_kind(json_get(root, "resourceType")) != JSON_STRING) return bad(e, "resourceType", "expected a FHIR R4 resource");
  if (!str_eqc(json_str(json_get(root, "resourceType")), "Parameters")) return find_patient(root, who), OK;
  bool found = false;
  for (struct json_iter it = json_items(json_get(root, "parameter")); json_next(&it, &p);) {
    TRY(one_parameter(p, a, &record, e));
    found |= str_eqc(json_str(json_get(p, "name")), "patient");
  }
  if (!found) return bad(e, "Parameters.parameter", "the parameter \"patient\" is missing");
  find_patient(record, who);
  json_out_init(&o, b, false);
  TRY(json_out_copy(&o, record, e));
  buf_reserve(b, STREAM_PAD);
  *doc = (struct str){b->p, b->n};
  return buf_check(b, e);
}

struct session_asking {
  struct vitae_session *session;
  const struct ask *ask;
};
static int ask_session(void *ctx, const struct task *task, struct arena *a, struct prediction *out, struct error *e) {
  const struct session_asking *s = ctx;
  struct session_query q = {
      .task = task, .explain = (int)s->ask->explain, .outcomes = (int)s->ask->outcomes, .seed = s->ask->seed ? (uint64_t)s->ask->seed : 1};
  return session_predict(s->session, &q, a, out, e);
}

static int predict_record(struct call *c, struct vitae_session *s, const struct ask *a, const struct fhirout_subject *who, struct str doc,
                          struct error *e) {
  struct json_out o;
  const struct task *task;
  struct session_asking ctx = {s, a};
  struct fhirout_telling t = {.call = c, .engine = call_engine(c), .subject = who, .now = time_now(), .collection = true};
  TRY(task_of(c, a, &task, e));
  session_cancel(s, call_left, c);
  TRY(session_records(s, doc.p, doc.n, true, e));
  begin(c, &o);
  begin_bundle(&o, "collection");
  json_out_key(&o, "entry");
  json_out_array(&o);
  int rc = fhirout_risks(&t, task, ask_session, &ctx, &o, e);
  finish(&t, &o);
  return rc;
}

void answer_fhir_predict(struct call *c) {
  struct error e = {0};
  struct vitae_error ve = {0};
  struct ask a = {0};
  struct fhirout_subject who = {{0}, {0}};
  struct json_parser *jp = NULL;
  struct vitae_session *s = NULL;
  struct buf b = {0};
  struct str doc = STR_NONE;
  int rc = json_parser_new(&jp, &e);
  if (rc == OK) rc = ask_query(c, &a, &e);
  if (rc == OK) rc = record_of(c, jp, &a, &who, &b, &doc, &e);
  if (rc == OK && vitae_session_open(call_engine(c), &s, &ve) < 0)
    call_vitae_error(c, &ve);
  else if (rc == OK)
    rc = predict_record(c, s, &a, &who, doc, &e);
  if (rc < 0) call_error(c, &e);
  vitae_session_close(s);
  json_parser_free(jp);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
}

/* ---- GET /fhir/RiskAssessment?patient= ---- */

struct store_asking {
  struct call *call;
  struct predictor *predictor;
  const struct ask *ask;
  uint32_t index;
};
static int ask_store(void *ctx, const struct task *task, struct arena *a, struct prediction *out, struct error *e) {
  const struct store_asking *s = ctx;
  struct predict_options o = {.task = task,
                              .time = INT64_MAX,
                              .explain = (int)s->ask->explain,
                              .outcomes = (int)s->ask->outcomes,
                              .seed = s->ask->seed ? (uint64_t)s->ask->seed : 1,
                              .cancelled = call_left,
                              .cancel_ctx = s->call};
  return predict(s->predictor, s->index, &o, a, out, e);
}

/* The assessments as a search's answer. `what`: the search, without what it would tell of a patient. */
static int searched(struct call *c, const struct task *task, const struct fhirout_subject *who, fhirout_ask *f, void *ctx, const char *what,
                    struct error *e) {
  struct json_out o, inner;
  struct buf entries = {0};
  struct fhirout_telling t = {.call = c, .engine = call_engine(c), .subject = who, .now = time_now()};
  begin(c, &o);
  begin_bundle(&o, "searchset");
  json_out_init(&inner, &entries, false);
  json_out_array(&inner);
  int rc = fhirout_risks(&t, task, f, ctx, &inner, e);
  json_out_end(&inner);
  json_kv_i64(&o, "total", t.risks);
  self_link(c, what, &o);
  put_entries(&entries, t.risks > 0, &o);
  json_out_end(&o);
  buf_release(&t.remarks);
  return rc;
}

/* Whom the HL7 v2 feed has spoken of since `memory` began: AUTHORITY|NUMBER of PID-3. */
static int assess_fed(struct call *c, const struct ask *a, const struct task *task, struct str identifier, struct error *e) {
  struct mllp *m = c->server->mllp;
  struct fhirout_subject who = {{0}, {0}};
  struct vitae_session *s = NULL;
  struct vitae_error ve = {0};
  struct buf key = {0};
  struct arena arena;
  struct str *message = NULL, number = identifier, authority = str_cut(&number, '|');
  size_t n = 0;
  if (!m) return bad(e, "patient.identifier", "this server takes no HL7 v2 messages");
  if (!authority.n || !number.n) return bad(e, "patient.identifier", "expected AUTHORITY|NUMBER, as in PID-3");
  buf_str(&key, authority), buf_putc(&key, '/'), buf_str(&key, number);
  arena_init(&arena, 64u << 20, ARENA_WIPE);
  int rc = hl7_recall(m, hl7_person(m, (struct str){key.p, key.n}), &arena, &message, &n, e);
  if (rc == OK && n == 0) rc = error_set(e, E_NOTFOUND, "no message in memory speaks of this patient");
  if (rc == OK && vitae_session_open(call_engine(c), &s, &ve) < 0) rc = error_set(e, ve.code, "a session cannot be opened");
  if (rc == OK) session_cancel(s, call_left, c);
  if (rc == OK) rc = session_hl7v2(s, &m->options, message, n, e);
  if (rc == OK) rc = searched(c, task, &who, ask_session, &(struct session_asking){s, a}, "RiskAssessment?patient.identifier=", e);
  vitae_session_close(s);
  arena_free(&arena);
  if (key.p) mem_wipe(key.p, key.cap);
  buf_release(&key);
  return rc;
}

static int assess(struct call *c, struct error *e) {
  struct ask a = {0};
  struct store_asking ctx = {.call = c, .ask = &a};
  struct fhirout_subject who = {{0}, {0}};
  char what[64];
  const struct task *task;
  struct str patient = call_query(c, "patient"), identifier = call_query(c, "patient.identifier");
  int64_t subject;
  TRY(ask_query(c, &a, e));
  TRY(task_of(c, &a, &task, e));
  if (identifier.p) return assess_fed(c, &a, task, identifier, e);
  if (str_starts(patient, STR("Patient/"))) patient = (struct str){patient.p + 8, patient.n - 8};
  if (!patient.n || str_to_i64(patient, &subject) < 0) return bad(e, "patient", "expected a subject's pseudonym: a whole number");
  if (!c->server->store || timeline_find(c->server->store, subject, &ctx.index, NULL) < 0)
    return error_set(e, E_NOTFOUND, "there is no such subject");
  ctx.predictor = worker_predictor(c, e);
  if (!ctx.predictor) return e->code;
  snprintf(who.pseudonym, sizeof who.pseudonym, "%lld", (long long)subject);
  snprintf(what, sizeof what, "RiskAssessment?patient=%lld", (long long)subject);
  return searched(c, task, &who, ask_store, &ctx, what, e);
}

void answer_fhir_assess(struct call *c) {
  struct error e = {0};
  if (assess(c, &e) < 0) call_error(c, &e);
}
