/* A request's own event list -> records:
 *
 *     {"subject": "p1", "birth": "1950-02-01", "events": [{"time": "2020-01-01T08:00:00", "code": "LOINC//2160-0", "value": 1.1, "unit": "mg/dL"}]}
 *
 * An event without a time is a static fact. MEDS_BIRTH and MEDS_DEATH are what they say. Names that are not known here are
 * counted as dropped. */
#include <math.h>
#include <stdio.h>

#include "record/fhir.h"

#define EVENT_CODE_LIMIT 256

struct request {
  struct fhir f;
  char subject[24];
};

/* As fhir_code_ok, but a code of several "//" parts. */
static bool event_code_ok(struct str code) {
  if (!code.p || code.n == 0 || code.n > EVENT_CODE_LIMIT) return false;
  for (size_t i = 0; i < code.n; i++) {
    unsigned char c = (unsigned char)code.p[i];
    if (c <= ' ' || c >= 0x7f || c == '@' || c == '"' || c == '\\') return false;
  }
  return true;
}

struct event_fields {
  struct json time, code, value, unit, text, display;
};

static int gather_event(struct fhir *f, struct json v, struct event_fields *out) {
  static const char *const names[] = {"time", "code", "value", "unit", "text", "display"};
  struct json *slots[] = {&out->time, &out->code, &out->value, &out->unit, &out->text, &out->display};
  struct json_iter it = json_members(v);
  struct str key;
  struct json member;
  *out = (struct event_fields){0};
  while (json_next_member(&it, &key, &member)) {
    size_t i = 0;
    while (i < 6 && !str_eqc(key, names[i])) i++;
    if (i == 6 || json_kind(*slots[i]) != JSON_NONE)
      TRY(fhir_drop(f, "events.?"));
    else if (json_kind(member) != JSON_NULL)
      *slots[i] = member;
  }
  return OK;
}

static bool absent(struct json v) { return json_kind(v) == JSON_NONE; }
/* Absent, or a string; anything else is of the wrong type. */
static bool text_or_none(struct json v, struct str *out) {
  *out = json_str(v);
  return out->p || absent(v);
}

static int take_event(struct fhir *f, struct json v) {
  struct event_fields x;
  struct record r = {.kind = RECORD_EVENT, .value = NAN, .time = {.us = TIME_STATIC}, .path = "events.code"};
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, "events", "not a JSON object");
  TRY(gather_event(f, v, &x));
  r.code = json_str(x.code);
  if (!event_code_ok(r.code)) return fhir_reject(f, "events.code", "no usable code");
  if (!absent(x.time) && !fhir_time(json_str(x.time), &r.time)) return fhir_reject(f, "events.time", "not a date");
  if (!absent(x.value) && (!json_f64(x.value, &r.value) || !record_number(r.value))) return fhir_reject(f, "events.value", "not a number");
  if (!text_or_none(x.unit, &r.unit) || (r.unit.p && !fhir_code_ok(r.unit))) return fhir_reject(f, "events.unit", "no usable unit");
  if (!text_or_none(x.text, &r.text)) return fhir_reject(f, "events.text", "not a string");
  if (!text_or_none(x.display, &r.display)) return fhir_reject(f, "events.display", "not a string");
  if (str_eq(r.code, STR("MEDS_BIRTH"))) r.kind = RECORD_BIRTH;
  if (str_eq(r.code, STR("MEDS_DEATH"))) r.kind = RECORD_DEATH;
  if (r.kind == RECORD_BIRTH && r.time.us == TIME_STATIC) return fhir_reject(f, "events.time", "a birth without a date");
  return fhir_emit(f, &r);
}

static int take_birth(struct fhir *f, struct json v) {
  struct record r = {.kind = RECORD_BIRTH, .value = NAN, .path = "birth"};
  if (json_kind(v) == JSON_NULL) return OK;
  if (!fhir_time(json_str(v), &r.time)) return fhir_reject(f, "birth", "not a date");
  return fhir_emit(f, &r);
}

static bool read_subject(struct request *q, struct json v) {
  int64_t number;
  q->f.person = json_str(v);
  if (q->f.person.n) return true;
  if (!json_i64(v, &number)) return false;
  int n = snprintf(q->subject, sizeof q->subject, "%lld", (long long)number);
  q->f.person = (struct str){q->subject, (size_t)n};
  return true;
}

static int take_request(struct request *q, struct json root) {
  struct fhir *f = &q->f;
  struct json birth = {0}, subject = {0}, events = {0}, v;
  struct str key;
  if (json_kind(root) != JSON_OBJECT) return error_set(f->e, E_INPUT, "expected a JSON object");
  struct json_iter it = json_members(root);
  while (json_next_member(&it, &key, &v)) {
    if (str_eq(key, STR("subject")) && absent(subject))
      subject = v;
    else if (str_eq(key, STR("birth")) && absent(birth))
      birth = v;
    else if (str_eq(key, STR("events")) && absent(events))
      events = v;
    else
      TRY(fhir_drop(f, "request.?"));
  }
  if (!read_subject(q, subject)) return error_set(f->e, E_INPUT, "field subject: expected a string or an integer");
  if (json_kind(events) != JSON_ARRAY) return error_set(f->e, E_INPUT, "field events: expected a list");
  if (!absent(birth)) TRY(take_birth(f, birth));
  it = json_items(events);
  for (f->row = 1; json_next(&it, &v); f->row++) TRY(take_event(f, v));
  return OK;
}

int events_parse(struct json_parser *jp, const char *bytes, size_t n, size_t cap, const struct record_sink *sink,
                 struct record_stats *stats, struct error *e) {
  struct request q = {.f = {.sink = sink, .stats = stats, .jp = jp, .e = e, .name = "request"}};
  struct json root;
  BUG_IF(!sink || !sink->record || !stats);
  TRY(json_parse(jp, bytes, n, cap, &root, e));
  stats->bytes += n;
  stats->resources++;
  return take_request(&q, root);
}
