/* What the model worker answers. */
#include <math.h>
#include <string.h>

#include "base/time.h"
#include "predict/predict.h"
#include "serve/engine.h"
#include "serve/serve_private.h"
#include "timeline/timeline.h"
#include "vitae.h"

enum { FUTURES_MOST = 2000, EXPLAIN_MOST = 100, OUTCOMES_MOST = 500 };

static int whole_number(struct str s, const char *field, int64_t least, int64_t most, int64_t *out, struct error *e) {
  if (!s.p) return OK;
  if (str_to_i64(s, out) < 0 || *out < least || *out > most) {
    (void)error_set(e, E_INPUT, "expected a whole number from %lld to %lld", (long long)least, (long long)most);
    return error_where(e, NULL, 0, field);
  }
  return OK;
}

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

static int task_text(struct str s, struct ask *a, struct error *e) {
  if (!s.p) return OK;
  if (s.n == 0 || s.n >= sizeof a->task || memchr(s.p, 0, s.n)) return bad(e, "task", "expected the name of a task");
  memcpy(a->task, s.p, s.n);
  a->task[s.n] = 0;
  return OK;
}

void ask_outcomes(struct ask *a, bool said) {
  if (said && a->outcomes == 0) a->outcomes = -1;
}

int ask_query(const struct call *c, struct ask *a, struct error *e) {
  struct str days = call_query(c, "horizon_days");
  TRY(task_text(call_query(c, "task"), a, e));
  TRY(whole_number(call_query(c, "futures"), "futures", 0, FUTURES_MOST, &a->futures, e));
  TRY(whole_number(call_query(c, "explain"), "explain", 0, EXPLAIN_MOST, &a->explain, e));
  TRY(whole_number(call_query(c, "outcomes"), "outcomes", 0, OUTCOMES_MOST, &a->outcomes, e));
  ask_outcomes(a, call_query(c, "outcomes").p);
  TRY(whole_number(call_query(c, "seed"), "seed", 0, INT64_MAX, &a->seed, e));
  if (days.p && (str_to_f64(days, &a->horizon_days) < 0 || a->horizon_days < 0 || a->horizon_days > 36525))
    return bad(e, "horizon_days", "expected days from 0 to 36525");
  return OK;
}

/* ---- a subject of the store ---- */

bool call_left(void *call) { return call_client_left(call); }

static int risk(struct call *c, struct error *e) {
  struct ask a = {0};
  struct predictor *p;
  struct prediction r;
  struct arena arena;
  int64_t subject;
  uint32_t index;
  TRY(ask_query(c, &a, e));
  if (!c->server->store) return error_set(e, E_NOTFOUND, "this site has no timelines");
  if (str_to_i64(str_c(c->arg), &subject) < 0) return bad(e, "id", "a subject's pseudonym is a whole number");
  if (timeline_find(c->server->store, subject, &index, NULL) < 0) return error_set(e, E_NOTFOUND, "there is no such subject");
  struct predict_options o = {.time = INT64_MAX,
                              .futures = (int)a.futures,
                              .explain = (int)a.explain,
                              .reasons = (int)a.explain,
                              .outcomes = (int)a.outcomes,
                              .horizon_days = a.horizon_days,
                              .seed = a.seed ? (uint64_t)a.seed : 1,
                              .cancelled = call_left,
                              .cancel_ctx = c};
  if (a.task[0] && !(o.task = engine_task(call_engine(c), a.task))) {
    (void)error_set(e, E_NOTFOUND, "this version offers no task of that name; GET /v1/tasks lists those it offers");
    return error_where(e, NULL, 0, "task");
  }
  p = worker_predictor(c, e);
  if (!p) return e->code;
  arena_init(&arena, 512u << 20, 0);
  int rc = predict(p, index, &o, &arena, &r, e);
  if (rc == OK) {
    struct json_out out;
    json_out_init(&out, &c->out, false);
    json_out_object(&out);
    json_kv_c(&out, "version", vitae_engine_id(call_engine(c)));
    json_out_key(&out, "prediction");
    prediction_json(&r, &out);
    json_out_end(&out);
  }
  arena_free(&arena);
  return rc;
}

void answer_risk(struct call *c) {
  struct error e = {0};
  c->status = 200;
  if (risk(c, &e) < 0) call_error(c, &e);
}

/* ---- a patient who comes with the request ---- */

static int member_number(struct json root, const char *name, int64_t most, int64_t *out, struct error *e) {
  struct json v = json_get(root, name);
  if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) return OK;
  if (!json_i64(v, out) || *out < 0 || *out > most) {
    (void)error_set(e, E_INPUT, "expected a whole number from 0 to %lld", (long long)most);
    return error_where(e, NULL, 0, name);
  }
  return OK;
}

static int known_members(struct json root, struct error *e) {
  static const char *const names[] = {"bundle",  "events",  "birth",    "subject", "task",
                                      "futures", "explain", "outcomes", "seed",    "horizon_days"};
  struct str key;
  struct json v;
  for (struct json_iter it = json_members(root); json_next_member(&it, &key, &v);) {
    size_t i = 0;
    while (i < sizeof names / sizeof *names && !str_eqc(key, names[i])) i++;
    if (i == sizeof names / sizeof *names)
      return bad(e, "body",
                 "an unknown member; known are bundle, events, birth, subject, task, futures, explain, outcomes, seed, horizon_days");
  }
  return OK;
}

static int ask_body(struct json root, struct ask *a, struct error *e) {
  struct json days = json_get(root, "horizon_days"), task = json_get(root, "task");
  TRY(known_members(root, e));
  if (json_kind(task) != JSON_NONE && json_kind(task) != JSON_NULL) {
    if (json_kind(task) != JSON_STRING) return bad(e, "task", "expected the name of a task");
    TRY(task_text(json_str(task), a, e));
  }
  TRY(member_number(root, "futures", FUTURES_MOST, &a->futures, e));
  TRY(member_number(root, "explain", EXPLAIN_MOST, &a->explain, e));
  TRY(member_number(root, "outcomes", OUTCOMES_MOST, &a->outcomes, e));
  ask_outcomes(a, json_kind(json_get(root, "outcomes")) > JSON_NULL);
  TRY(member_number(root, "seed", INT64_MAX, &a->seed, e));
  if (json_kind(days) != JSON_NONE && (!json_f64(days, &a->horizon_days) || a->horizon_days < 0 || a->horizon_days > 36525))
    return bad(e, "horizon_days", "expected days from 0 to 36525");
  return OK;
}

/* The wrapper's event list as the engine wants it. */
static int events_document(struct json root, struct buf *b, struct error *e) {
  struct json_out o;
  struct json subject = json_get(root, "subject"), birth = json_get(root, "birth");
  json_out_init(&o, b, false);
  json_out_object(&o);
  json_out_key(&o, "subject");
  if (json_kind(subject) == JSON_NONE)
    json_out_c(&o, "request");
  else
    TRY(json_out_copy(&o, subject, e));
  if (json_kind(birth) != JSON_NONE) {
    json_out_key(&o, "birth");
    TRY(json_out_copy(&o, birth, e));
  }
  json_out_key(&o, "events");
  TRY(json_out_copy(&o, json_get(root, "events"), e));
  json_out_end(&o);
  return buf_check(b, e);
}

/* A resource says what it is first, as every writer of FHIR has it: then the reader's own parse is enough. */
static bool begins_as_resource(struct str t) {
  t = str_trim(t);
  if (!t.n || t.p[0] != '{') return false;
  return str_starts(str_trim((struct str){t.p + 1, t.n - 1}), STR("\"resourceType\""));
}

/* Bytes for the session: the body itself (FHIR) or what the wrapper holds, in `b`. *fhir says which reader. */
int patient_document(struct str text, size_t cap, struct json_parser *jp, struct ask *a, struct buf *b, struct str *doc, bool *fhir,
                     struct error *e) {
  struct json root;
  if (begins_as_resource(text)) return *fhir = true, *doc = text, OK;
  TRY(json_parse(jp, text.p, text.n, cap, &root, e));
  if (json_kind(root) != JSON_OBJECT) return bad(e, "body", "expected a JSON object");
  *fhir = json_kind(json_get(root, "resourceType")) != JSON_NONE;
  *doc = text;
  if (*fhir) return OK;
  TRY(ask_body(root, a, e));
  struct json bundle = json_get(root, "bundle"), events = json_get(root, "events");
  bool has_bundle = json_kind(bundle) == JSON_OBJECT, has_events = json_kind(events) == JSON_ARRAY;
  if (has_bundle == has_events)
    return bad(e, "body", "expected a FHIR resource, or \"bundle\" (an object) or \"events\" (a list), one of them");
  *fhir = has_bundle;
  if (has_bundle) {
    struct json_out o;
    json_out_init(&o, b, false);
    TRY(json_out_copy(&o, bundle, e));
  } else {
    TRY(events_document(root, b, e));
  }
  buf_reserve(b, 64);
  TRY(buf_check(b, e));
  *doc = (struct str){b->p, b->n};
  return OK;
}

/* `cap`: bytes of the document that may be read, so that it need not be copied. */
static void answer_session_of(struct call *c, vitae_session *s, struct str doc, size_t cap, bool fhir, const struct ask *a) {
  struct vitae_error ve = {0};
  char *json = NULL;
  vitae_query q = {.task = a->task[0] ? a->task : NULL,
                   .futures = (int)a->futures,
                   .explain = (int)a->explain,
                   .outcomes = (int)a->outcomes,
                   .horizon_days = a->horizon_days,
                   .seed = (uint64_t)a->seed};
  int rc = session_padded(s, doc.p, doc.n, cap, fhir, &ve);
  if (rc == OK) rc = vitae_session_predict(s, &q, &json, &ve);
  if (rc == OK)
    buf_puts(&c->out, json);
  else
    call_vitae_error(c, &ve);
  vitae_free(json);
}

void answer_predict(struct call *c) {
  struct error e = {0};
  struct vitae_error ve = {0};
  struct ask a = {0};
  struct json_parser *jp = NULL;
  struct buf b = {0};
  struct str doc = {0};
  bool fhir = false;
  vitae_session *s = NULL;
  c->status = 200;
  int rc = json_parser_new(&jp, &e);
  struct str body = {(const char *)c->body, c->body_n};
  if (rc == OK) rc = patient_document(body, c->body_cap, jp, &a, &b, &doc, &fhir, &e);
  if (rc == OK) rc = ask_query(c, &a, &e);
  json_parser_free(jp);
  if (rc < 0)
    call_error(c, &e);
  else if (vitae_session_open(call_engine(c), &s, &ve) < 0)
    call_vitae_error(c, &ve);
  else
    session_cancel(s, call_left, c), answer_session_of(c, s, doc, doc.p == body.p ? c->body_cap : b.cap, fhir, &a);
  vitae_session_close(s);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
}
