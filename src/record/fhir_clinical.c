/* The resources of a person's course: each becomes one or a few events at its own time. */
#include <math.h>

#include "record/fhir.h"

/* 1 = *t is the resource's time; 0 = rejected; < 0 stop */
static int resource_time(struct fhir *f, const struct taken *t, struct record_time *out) {
  const char *bad;
  int rc = fhir_when(f, t, SLOT_T0, SLOT_T4, out, &bad);
  if (rc == 0) fhir_reject(f, bad ? bad : f->shape->time, bad ? "not a date" : "no date or time");
  return rc;
}

static int resource_code(struct fhir *f, const struct taken *t, struct coded *out) {
  if (!has(t, SLOT_CODE)) return fhir_reject(f, f->shape->code, "no code");
  int rc = fhir_code_of(f, t->v[SLOT_CODE], out);
  if (rc == 0) fhir_reject(f, t->el[SLOT_CODE]->path, "no coding with a usable code");
  return rc;
}

static void with_state(struct coded *c, const char *suffix) {
  bool ok = coded_append(c, str_c(suffix));
  BUG_IF(!ok);
}

/* "question: answer", so that the description says what the joined code says. */
static struct str join_display(struct fhir *f, struct str question, struct str answer) {
  if (!question.p || !answer.p) return question.p ? question : answer;
  char *p = arena_alloc(&f->scratch, question.n + answer.n + 2, 1);
  if (!p) return question;
  memcpy(p, question.p, question.n);
  memcpy(p + question.n, ": ", 2);
  memcpy(p + question.n + 2, answer.p, answer.n);
  return (struct str){p, question.n + answer.n + 2};
}

static void with_answer(struct fhir *f, struct coded *c, const struct coded *answer) {
  bool ok = coded_append(c, STR("//")) && coded_append(c, coded_str(answer));
  BUG_IF(!ok);
  c->display = join_display(f, c->display, answer->display);
}

/* Procedure, Immunization, AllergyIntolerance: a code at a time. */
int fhir_take_plain(struct fhir *f, const struct taken *t) {
  struct coded code;
  struct record_time time;
  int rc = resource_code(f, t, &code);
  if (rc != 1) return rc;
  rc = resource_time(f, t, &time);
  if (rc != 1) return rc;
  with_state(&code, f->shape->suffix);
  struct record r = fhir_event(f, &code, time);
  return fhir_emit(f, &r);
}

int fhir_take_condition(struct fhir *f, const struct taken *t) {
  struct coded code;
  struct record_time time, end;
  const char *bad;
  int rc = resource_code(f, t, &code);
  if (rc != 1) return rc;
  rc = resource_time(f, t, &time);
  if (rc != 1) return rc;
  struct record r = fhir_event(f, &code, time);
  TRY(fhir_emit(f, &r));
  rc = fhir_when(f, t, SLOT_END0, SLOT_END1, &end, &bad);
  if (rc == 0 && bad) return fhir_reject(f, bad, "not a date");
  if (rc != 1) return rc;
  with_state(&code, "//RESOLVED");
  r = fhir_event(f, &code, end);
  r.path = "Condition.abatement";
  return fhir_emit(f, &r);
}

/* ---- Observation ---- */

static const char *wrong_value(double v) { return isnan(v) ? "a value of the wrong type" : "bad number"; }

/* Fills the value of r (code is extended by a coded answer). 1 = something was there, 0 = no value, FHIR_WRONG = rejected. */
static int take_value(struct fhir *f, const struct taken *t, struct coded *code, struct record *r) {
  struct quantity q;
  struct coded answer;
  int64_t whole;
  bool yes;
  int rc = 1;
  if (has(t, SLOT_QUANTITY)) {
    r->path = t->el[SLOT_QUANTITY]->path;
    rc = fhir_read_quantity(f, t->v[SLOT_QUANTITY], &q);
    r->value = q.value;
    r->unit = q.unit;
    if (rc == 0) return 1;
  } else if (has(t, SLOT_CONCEPT)) {
    r->path = t->el[SLOT_CONCEPT]->path;
    rc = fhir_code_of(f, t->v[SLOT_CONCEPT], &answer);
    if (rc == 1) with_answer(f, code, &answer);
    if (rc == 0) r->text = json_str(json_get(t->v[SLOT_CONCEPT], "text"));
    if (rc == 0) rc = r->text.p ? 1 : FHIR_WRONG;
  } else if (has(t, SLOT_STRING)) {
    r->path = t->el[SLOT_STRING]->path;
    r->text = json_str(t->v[SLOT_STRING]);
    if (!r->text.p) rc = FHIR_WRONG;
  } else if (has(t, SLOT_BOOLEAN)) {
    r->path = t->el[SLOT_BOOLEAN]->path;
    if (!json_bool(t->v[SLOT_BOOLEAN], &yes))
      rc = FHIR_WRONG;
    else
      r->value = yes;
  } else if (has(t, SLOT_INTEGER)) {
    r->path = t->el[SLOT_INTEGER]->path;
    if (!json_i64(t->v[SLOT_INTEGER], &whole))
      rc = FHIR_WRONG;
    else
      r->value = (double)whole;
  } else {
    return 0;
  }
  if (rc == FHIR_WRONG) fhir_reject(f, r->path, wrong_value(r->value));
  return rc;
}

/* One code with its value. An absent value that is said to be absent is no event: nothing was measured. */
static int take_observed(struct fhir *f, const struct taken *t, struct coded *code, struct record_time time, bool emit_bare) {
  struct record r = fhir_event(f, code, time);
  int rc = take_value(f, t, code, &r);
  if (rc == FHIR_WRONG) return OK;
  TRY(rc);
  if (rc == 0 && has(t, SLOT_ABSENT) && !f->in_error) return fhir_drop(f, t->el[SLOT_ABSENT]->path);
  if (rc == 0 && !emit_bare) return OK;
  r.code = coded_str(code);
  r.display = code->display;
  return fhir_emit(f, &r);
}

static int take_component(struct fhir *f, struct json v, struct record_time time) {
  struct taken t;
  struct coded code;
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, "Observation.component", "not an object");
  TRY(fhir_gather(f, v, &fhir_component, &t));
  if (has(&t, SLOT_MODIFIER)) return fhir_drop(f, t.el[SLOT_MODIFIER]->path);
  int rc = has(&t, SLOT_CODE) ? fhir_code_of(f, t.v[SLOT_CODE], &code) : 0;
  if (rc == 0) return fhir_reject(f, "Observation.component.code", "no coding with a usable code");
  TRY(rc);
  return take_observed(f, &t, &code, time, true);
}

int fhir_take_observation(struct fhir *f, const struct taken *t) {
  struct coded code;
  struct record_time time;
  struct json v;
  int rc = resource_code(f, t, &code);
  if (rc != 1) return rc;
  rc = resource_time(f, t, &time);
  if (rc != 1) return rc;
  bool panel = has(t, SLOT_A) && json_kind(t->v[SLOT_A]) == JSON_ARRAY && json_count(t->v[SLOT_A]) > 0;
  TRY(take_observed(f, t, &code, time, !panel));
  struct json_iter it = fhir_list(f, t, SLOT_A);
  while (json_next(&it, &v)) TRY(take_component(f, v, time));
  return OK;
}

/* ---- Encounter ---- */

static int encounter_event(struct fhir *f, const char *prefix, struct str rest, struct str display, struct record_time time,
                           const char *path) {
  struct coded c = {.n = 0, .display = display};
  bool ok = coded_append(&c, str_c(prefix)) && coded_append(&c, rest);
  BUG_IF(!ok);
  struct record r = fhir_event(f, &c, time);
  r.path = path;
  return fhir_emit(f, &r);
}

/* Each type of the visit as a code of its own at its start. */
static int take_types(struct fhir *f, struct json list, struct record_time start) {
  struct json_iter it = json_items(list);
  struct json v;
  struct coded code;
  if (json_kind(list) != JSON_ARRAY) return fhir_reject(f, "Encounter.type", "not a list");
  while (json_next(&it, &v)) {
    int rc = fhir_code_of(f, v, &code);
    TRY(rc);
    if (rc == 0) {
      fhir_reject(f, "Encounter.type", "no coding with a usable code");
      continue;
    }
    TRY(encounter_event(f, "", coded_str(&code), code.display, start, "Encounter.type"));
  }
  return OK;
}

static int take_coded_as(struct fhir *f, const struct taken *t, enum slot s, const char *prefix, struct record_time time) {
  struct coded code;
  if (!has(t, s)) return OK;
  int rc = fhir_code_of(f, t->v[s], &code);
  if (rc == 0) return fhir_reject(f, t->el[s]->path, "no coding with a usable code");
  TRY(rc);
  return encounter_event(f, prefix, coded_str(&code), code.display, time, t->el[s]->path);
}

static int encounter_class(struct fhir *f, const struct taken *t, struct coded *room, struct str *class) {
  int rc = has(t, SLOT_A) ? fhir_code_of_coding(f, t->v[SLOT_A], room) : 0;
  if (rc == 0) return fhir_reject(f, "Encounter.class", "no usable class code");
  TRY(rc);
  const char *p = memmem(room->text, room->n, "//", 2);
  BUG_IF(!p);
  *class = (struct str){p + 2, (size_t)(room->text + room->n - p) - 2};
  return 1;
}

int fhir_take_encounter(struct fhir *f, const struct taken *t) {
  struct coded room;
  struct str class;
  struct taken period, stay;
  struct record_time start, end;
  stay.mask = 0;
  int rc = encounter_class(f, t, &room, &class);
  if (rc != 1) return rc;
  if (!has(t, SLOT_B) || json_kind(t->v[SLOT_B]) != JSON_OBJECT) return fhir_reject(f, "Encounter.period", "no period");
  TRY(fhir_gather(f, t->v[SLOT_B], &fhir_period, &period));
  if (!has(&period, SLOT_A) || !fhir_time(json_str(period.v[SLOT_A]), &start))
    return fhir_reject(f, "Encounter.period.start", has(&period, SLOT_A) ? "not a date" : "no date or time");
  if (has(t, SLOT_C) && json_kind(t->v[SLOT_C]) != JSON_OBJECT)
    fhir_reject(f, "Encounter.hospitalization", "not an object");
  else if (has(t, SLOT_C))
    TRY(fhir_gather(f, t->v[SLOT_C], &fhir_hospitalization, &stay));
  if (has(&stay, SLOT_IDENTIFIER))
    TRY(fhir_identifiers(f, stay.v[SLOT_IDENTIFIER], IDENTIFIER_ACCOUNT, "Encounter.hospitalization.preAdmissionIdentifier"));
  TRY(encounter_event(f, "ENCOUNTER//", class, room.display, start, "Encounter.period.start"));
  if (has(t, SLOT_CODE)) TRY(take_types(f, t->v[SLOT_CODE], start));
  TRY(take_coded_as(f, &stay, SLOT_B, "ADMIT_SOURCE//", start));
  if (!has(&period, SLOT_B)) return OK;
  if (!fhir_time(json_str(period.v[SLOT_B]), &end)) return fhir_reject(f, "Encounter.period.end", "not a date");
  TRY(take_coded_as(f, &stay, SLOT_A, "DISCHARGE//", end));
  return encounter_event(f, "ENCOUNTER_END//", class, room.display, end, "Encounter.period.end");
}

/* ---- medication ---- */

int fhir_keep_medication(struct fhir *f, struct json resource, struct str full_url, bool bundle) {
  struct taken t;
  struct coded code;
  struct str type, id;
  f->shape = &fhir_medication;
  TRY(fhir_gather(f, resource, &fhir_medication, &t));
  int rc = has(&t, SLOT_CODE) ? fhir_code_of(f, t.v[SLOT_CODE], &code) : 0;
  if (rc == 0) return fhir_reject(f, "Medication.code", "no coding with a usable code");
  TRY(rc);
  struct arena *a = bundle ? &f->bundle : &f->run;
  struct medication *m = arena_new(a, struct medication);
  if (!m) return error_set(f->e, E_NOMEM, "no memory for Medications");
  *m = (struct medication){str_copy(a, coded_str(&code)), str_copy(a, code.display)};
  if (!m->code.p) return error_set(f->e, E_NOMEM, "no memory for Medications");
  struct str keys[2] = {has(&t, SLOT_ID) ? json_str(t.v[SLOT_ID]) : STR_NONE, STR_NONE};
  if (fhir_reference_id(full_url, &type, &id)) keys[1] = id;
  for (int i = 0; i < 2; i++) {
    bool is_new;
    if (!keys[i].n) continue;
    uint64_t *slot = map_put(bundle ? &f->bundle_medications : &f->run_medications, keys[i], &is_new);
    if (!slot) return error_set(f->e, E_NOMEM, "no memory for Medications");
    *slot = (uint64_t)(uintptr_t)m;
  }
  return OK;
}

static int contained_medication(struct fhir *f, const struct taken *t, struct str id, struct coded *out) {
  struct json_iter it = fhir_list(f, t, SLOT_CONTAINED);
  struct json v;
  while (json_next(&it, &v))
    if (str_eq(json_str(json_get(v, "id")), id) && str_eq(json_str(json_get(v, "resourceType")), STR("Medication")))
      return fhir_code_of(f, json_get(v, "code"), out);
  return 0;
}

static int referenced_medication(struct fhir *f, const struct taken *t, struct coded *out) {
  struct taken ref;
  struct str type, id, text;
  uint64_t at;
  if (json_kind(t->v[SLOT_A]) != JSON_OBJECT) return 0;
  TRY(fhir_gather(f, t->v[SLOT_A], &fhir_reference, &ref));
  text = has(&ref, SLOT_A) ? json_str(ref.v[SLOT_A]) : STR_NONE;
  if (text.n && text.p[0] == '#') return contained_medication(f, t, (struct str){text.p + 1, text.n - 1}, out);
  if (!fhir_reference_id(text, &type, &id)) return 0;
  if (!map_get(&f->bundle_medications, id, &at) && !map_get(&f->run_medications, id, &at)) return 0;
  const struct medication *m = (const struct medication *)(uintptr_t)at;
  out->n = 0;
  out->display = m->display;
  return coded_append(out, m->code);
}

/* Not an act: a proposal, an option, an order not to give. */
static bool only_considered(const struct taken *t) {
  bool never = false;
  struct str intent = has(t, SLOT_B) ? json_str(t->v[SLOT_B]) : STR_NONE;
  if (has(t, SLOT_C) && json_bool(t->v[SLOT_C], &never) && never) return true;
  return str_eq(intent, STR("proposal")) || str_eq(intent, STR("option"));
}

int fhir_take_medication_use(struct fhir *f, const struct taken *t) {
  struct coded code;
  struct record_time time;
  struct quantity dose;
  int rc = 0;
  if (only_considered(t)) return fhir_drop(f, has(t, SLOT_B) ? t->el[SLOT_B]->path : t->el[SLOT_C]->path);
  if (has(t, SLOT_CODE)) rc = fhir_code_of(f, t->v[SLOT_CODE], &code);
  if (rc == 0 && has(t, SLOT_A)) rc = referenced_medication(f, t, &code);
  if (rc == 0) {
    const char *path = has(t, SLOT_A) ? t->el[SLOT_A]->path : has(t, SLOT_CODE) ? t->el[SLOT_CODE]->path : f->shape->code;
    return fhir_reject(f, path,
                       has(t, SLOT_A) ? "the Medication is not in this export or has no usable code" : "no coding with a usable code");
  }
  TRY(rc);
  rc = resource_time(f, t, &time);
  if (rc != 1) return rc;
  with_state(&code, f->shape->suffix);
  struct record r = fhir_event(f, &code, time);
  if (has(t, SLOT_D) && json_kind(t->v[SLOT_D]) != JSON_OBJECT) return fhir_reject(f, t->el[SLOT_D]->path, "not an object");
  struct json given = has(t, SLOT_D) ? json_get(t->v[SLOT_D], "dose") : (struct json){0};
  if (json_kind(given) != JSON_NONE) {
    rc = fhir_read_quantity(f, given, &dose);
    TRY(rc);
    if (rc == FHIR_WRONG) return fhir_reject(f, "MedicationAdministration.dosage.dose", wrong_value(dose.value));
    r.value = dose.value;
    r.unit = dose.unit;
  }
  return fhir_emit(f, &r);
}

/* ---- documents ---- */

/* One event for each text; the bare code if there is none. */
struct texts {
  struct coded *code;
  struct record_time time;
  unsigned emitted;
};

static int emit_text(struct fhir *f, struct texts *s, struct str text, const char *path) {
  struct record r = fhir_event(f, s->code, s->time);
  r.text = text;
  if (path) r.path = path;
  s->emitted++;
  return fhir_emit(f, &r);
}

static int emit_attachment(struct fhir *f, struct texts *s, struct json attachment, const char *path) {
  struct str text;
  int rc = fhir_text_of(f, attachment, path, &text);
  return rc == 1 ? emit_text(f, s, text, path) : rc;
}

int fhir_take_report(struct fhir *f, const struct taken *t) {
  struct coded code, joined, answer;
  struct record_time time;
  struct json v;
  int rc = resource_code(f, t, &code);
  if (rc != 1) return rc;
  rc = resource_time(f, t, &time);
  if (rc != 1) return rc;
  struct texts s = {&code, time, 0};
  if (has(t, SLOT_A)) {
    struct str text = json_str(t->v[SLOT_A]);
    if (text.p)
      TRY(emit_text(f, &s, text, "DiagnosticReport.conclusion"));
    else
      fhir_reject(f, "DiagnosticReport.conclusion", "not a string");
  }
  struct json_iter it = fhir_list(f, t, SLOT_C);
  while (json_next(&it, &v)) TRY(emit_attachment(f, &s, v, "DiagnosticReport.presentedForm"));
  if (!s.emitted) TRY(emit_text(f, &s, STR_NONE, NULL));
  it = fhir_list(f, t, SLOT_B);
  while (json_next(&it, &v)) {
    rc = fhir_code_of(f, v, &answer);
    TRY(rc);
    if (rc == 0) {
      fhir_reject(f, "DiagnosticReport.conclusionCode", "no coding with a usable code");
      continue;
    }
    joined = code;
    with_answer(f, &joined, &answer);
    struct record r = fhir_event(f, &joined, time);
    r.path = "DiagnosticReport.conclusionCode";
    TRY(fhir_emit(f, &r));
  }
  return OK;
}

static int document_time(struct fhir *f, const struct taken *t, struct record_time *out) {
  struct json period = has(t, SLOT_C) ? json_get(t->v[SLOT_C], "period") : (struct json){0};
  if (has(t, SLOT_T0)) return resource_time(f, t, out);
  if (fhir_time(json_str(json_get(period, "start")), out)) return 1;
  return fhir_reject(f, "DocumentReference.date", "no date or time");
}

int fhir_take_document_reference(struct fhir *f, const struct taken *t) {
  struct coded code;
  struct record_time time;
  struct json v;
  int rc = resource_code(f, t, &code);
  if (rc != 1) return rc;
  rc = document_time(f, t, &time);
  if (rc != 1) return rc;
  if (has(t, SLOT_B)) TRY(fhir_identifiers(f, t->v[SLOT_B], IDENTIFIER_OTHER, "DocumentReference.masterIdentifier"));
  struct texts s = {&code, time, 0};
  struct json_iter it = fhir_list(f, t, SLOT_A);
  while (json_next(&it, &v)) TRY(emit_attachment(f, &s, json_get(v, "attachment"), "DocumentReference.content.attachment"));
  return s.emitted ? OK : emit_text(f, &s, STR_NONE, NULL);
}

/* ---- ImagingStudy ---- */

#define MODALITIES 16
static int emit_modality(struct fhir *f, struct json v, struct record_time time, struct coded seen[MODALITIES], size_t *n) {
  struct coded *c = &seen[*n];
  if (*n == MODALITIES) return fhir_drop(f, "ImagingStudy.modality");
  int rc = fhir_code_of_coding(f, v, c);
  if (rc == 0) return fhir_reject(f, "ImagingStudy.modality", "no usable code");
  TRY(rc);
  for (size_t i = 0; i < *n; i++)
    if (str_eq(coded_str(&seen[i]), coded_str(c))) return OK;
  ++*n;
  struct record r = fhir_event(f, c, time);
  return fhir_emit(f, &r);
}

/* A study: each modality once, and each procedure. UIDs name the study in the archive, hence the person. */
int fhir_take_imaging(struct fhir *f, const struct taken *t) {
  struct coded seen[MODALITIES], code;
  struct record_time time;
  struct json v;
  size_t n = 0;
  int rc = resource_time(f, t, &time);
  if (rc != 1) return rc;
  struct json_iter it = fhir_list(f, t, SLOT_A);
  while (json_next(&it, &v)) TRY(emit_modality(f, v, time, seen, &n));
  it = fhir_list(f, t, SLOT_B);
  while (json_next(&it, &v)) {
    struct json modality = json_get(v, "modality"), uid = json_get(v, "uid");
    if (json_kind(modality) != JSON_NONE) TRY(emit_modality(f, modality, time, seen, &n));
    if (json_kind(uid) == JSON_STRING) TRY(fhir_identify(f, IDENTIFIER_OTHER, uid, "ImagingStudy.series.uid"));
  }
  it = fhir_list(f, t, SLOT_CODE);
  while (json_next(&it, &v)) {
    rc = fhir_code_of(f, v, &code);
    TRY(rc);
    if (rc == 0) {
      fhir_reject(f, "ImagingStudy.procedureCode", "no coding with a usable code");
      continue;
    }
    struct record r = fhir_event(f, &code, time);
    r.path = "ImagingStudy.procedureCode";
    TRY(fhir_emit(f, &r));
    n++;
  }
  return n ? OK : fhir_reject(f, "ImagingStudy.modality", "no code");
}
