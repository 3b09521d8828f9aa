/* Patient and Device: who a person is. Everything here is either a static fact, a birth or death, or an identifier. */
#include <math.h>

#include "record/fhir.h"

struct paths { /* of names, telecoms and addresses in the element that holds them */
  const char *name, *telecom, *line, *city, *district, *postal_code, *text, *address, *state;
  bool lives_there; /* the patient does: only then is the postcode also where the patient is */
};
static const struct paths own = {"Patient.name",
                                 "Patient.telecom",
                                 "Patient.address.line",
                                 "Patient.address.city",
                                 "Patient.address.district",
                                 "Patient.address.postalCode",
                                 "Patient.address.text",
                                 "Patient.address",
                                 "Patient.address.state",
                                 true};
static const struct paths relative = {"Patient.contact.name",
                                      "Patient.contact.telecom",
                                      "Patient.contact.address.line",
                                      "Patient.contact.address.city",
                                      "Patient.contact.address.district",
                                      "Patient.contact.address.postalCode",
                                      "Patient.contact.address.text",
                                      "Patient.contact.address",
                                      "Patient.contact.address.state",
                                      false};

/* A string, or each string of a list. */
static int identify_all(struct fhir *f, enum identifier_kind kind, struct json v, const char *path) {
  struct json_iter it = json_items(v);
  struct json item;
  if (json_kind(v) != JSON_ARRAY) return fhir_identify(f, kind, v, path);
  while (json_next(&it, &item))
    if (json_kind(item) != JSON_NULL) TRY(fhir_identify(f, kind, item, path));
  return OK;
}

static int take_name(struct fhir *f, struct json v, const struct paths *p) {
  struct taken t;
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, p->name, "not a HumanName");
  TRY(fhir_gather(f, v, &fhir_name, &t));
  if (has(&t, SLOT_A)) TRY(fhir_identify(f, IDENTIFIER_NAME, t.v[SLOT_A], p->name));
  if (has(&t, SLOT_B)) TRY(identify_all(f, IDENTIFIER_NAME, t.v[SLOT_B], p->name));
  if (has(&t, SLOT_C)) TRY(fhir_identify(f, IDENTIFIER_NAME, t.v[SLOT_C], p->name));
  return OK;
}

static enum identifier_kind telecom_kind(struct str system) {
  static const struct {
    const char *name;
    enum identifier_kind kind;
  } kinds[] = {{"phone", IDENTIFIER_PHONE}, {"sms", IDENTIFIER_PHONE},   {"pager", IDENTIFIER_PHONE},
               {"fax", IDENTIFIER_FAX},     {"email", IDENTIFIER_EMAIL}, {"url", IDENTIFIER_URL}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (str_eqc(system, kinds[i].name)) return kinds[i].kind;
  return IDENTIFIER_OTHER;
}

static int take_telecom(struct fhir *f, struct json v, const struct paths *p) {
  struct taken t;
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, p->telecom, "not a ContactPoint");
  TRY(fhir_gather(f, v, &fhir_telecom, &t));
  if (!has(&t, SLOT_B)) return OK;
  return fhir_identify(f, telecom_kind(has(&t, SLOT_A) ? json_str(t.v[SLOT_A]) : STR_NONE), t.v[SLOT_B], p->telecom);
}

static int take_address(struct fhir *f, struct json v, const struct paths *p) {
  struct taken t;
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, p->address, "not an Address");
  TRY(fhir_gather(f, v, &fhir_address, &t));
  if (has(&t, SLOT_A)) TRY(identify_all(f, IDENTIFIER_GEOGRAPHY, t.v[SLOT_A], p->line));
  if (has(&t, SLOT_B)) TRY(fhir_identify(f, IDENTIFIER_GEOGRAPHY, t.v[SLOT_B], p->city));
  if (has(&t, SLOT_C)) TRY(fhir_identify(f, IDENTIFIER_GEOGRAPHY, t.v[SLOT_C], p->district));
  if (has(&t, SLOT_E)) TRY(fhir_identify(f, IDENTIFIER_GEOGRAPHY, t.v[SLOT_E], p->text));
  if (has(&t, SLOT_F)) TRY(fhir_drop(f, p->state));
  struct record r = {.kind = RECORD_IDENTIFIER, .identifier = IDENTIFIER_GEOGRAPHY, .value = NAN, .time.us = TIME_STATIC};
  if (has(&t, SLOT_G)) { /* geolocation: numbers, so that there is no text to keep */
    r.path = p->address;
    TRY(fhir_emit(f, &r));
  }
  if (!has(&t, SLOT_CODE)) return OK;
  r.text = json_str(t.v[SLOT_CODE]);
  if (!r.text.p) return fhir_reject(f, p->postal_code, "not a string");
  if (p->lives_there) {
    r.postcode = r.text;
    r.country = has(&t, SLOT_D) ? json_str(t.v[SLOT_D]) : STR_NONE;
  }
  r.path = p->postal_code;
  return fhir_emit(f, &r);
}

static int each(struct fhir *f, struct json list, const struct paths *p, const char *path,
                int (*take)(struct fhir *, struct json, const struct paths *)) {
  struct json_iter it = json_items(list);
  struct json v;
  if (json_kind(list) == JSON_OBJECT) return take(f, list, p);
  if (json_kind(list) != JSON_ARRAY) return fhir_reject(f, path, "not a list");
  while (json_next(&it, &v)) TRY(take(f, v, p));
  return OK;
}

static int take_contact(struct fhir *f, struct json v, const struct paths *p) {
  struct taken t;
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, "Patient.contact", "not an object");
  TRY(fhir_gather(f, v, &fhir_contact, &t));
  if (has(&t, SLOT_A)) TRY(take_name(f, t.v[SLOT_A], p));
  if (has(&t, SLOT_B)) TRY(each(f, t.v[SLOT_B], p, p->telecom, take_telecom));
  if (has(&t, SLOT_D)) TRY(take_address(f, t.v[SLOT_D], p));
  return OK;
}

static int static_fact(struct fhir *f, struct str system, struct str code, struct str display, const char *path) {
  struct coded c = {.n = 0, .display = display};
  struct record_time never = {.us = TIME_STATIC};
  if (!fhir_code_ok(code)) return fhir_reject(f, path, "not a code");
  bool ok = coded_append(&c, system) && coded_append(&c, STR("//")) && coded_append(&c, code);
  BUG_IF(!ok);
  struct record r = fhir_event(f, &c, never);
  r.path = path;
  return fhir_emit(f, &r);
}

/* us-core-race and us-core-ethnicity: one fact for each ombCategory; the more detailed codes and the text are counted. */
static int take_category(struct fhir *f, struct json extension, struct str system) {
  struct json_iter it = json_items(json_get(extension, "extension"));
  struct json v;
  while (json_next(&it, &v)) {
    struct json coding = json_get(v, "valueCoding");
    if (!str_eq(json_str(json_get(v, "url")), STR("ombCategory")))
      TRY(fhir_drop(f, "Patient.extension"));
    else
      TRY(static_fact(f, system, json_str(json_get(coding, "code")), json_str(json_get(coding, "display")),
                      "Patient.extension.ombCategory"));
  }
  return OK;
}

static int take_extension(struct fhir *f, struct json v) {
  static const char base[] = "http://hl7.org/fhir/us/core/StructureDefinition/", core[] = "http://hl7.org/fhir/StructureDefinition/";
  struct str url = json_str(json_get(v, "url"));
  struct json value;
  if (str_starts(url, STR(base))) {
    struct str name = {url.p + sizeof base - 1, url.n - (sizeof base - 1)};
    if (str_eq(name, STR("us-core-race"))) return take_category(f, v, STR("RACE"));
    if (str_eq(name, STR("us-core-ethnicity"))) return take_category(f, v, STR("ETHNICITY"));
  } else if (str_starts(url, STR(core))) {
    struct str name = {url.p + sizeof core - 1, url.n - (sizeof core - 1)};
    value = json_get(v, "valueString");
    if (str_eq(name, STR("patient-mothersMaidenName")) && json_kind(value) == JSON_STRING)
      return fhir_identify(f, IDENTIFIER_NAME, value, "Patient.extension.mothersMaidenName");
    value = json_get(json_get(v, "valueAddress"), "city");
    if ((str_eq(name, STR("patient-birthPlace")) || str_eq(name, STR("birthPlace"))) && json_kind(value) == JSON_STRING)
      return fhir_identify(f, IDENTIFIER_GEOGRAPHY, value, "Patient.extension.birthPlace");
  }
  return fhir_drop(f, "Patient.extension.?");
}

static int take_dates(struct fhir *f, const struct taken *t) {
  struct record r = {.value = NAN};
  if (has(t, SLOT_T0)) {
    r.kind = RECORD_BIRTH;
    r.path = "Patient.birthDate";
    if (fhir_time(json_str(t->v[SLOT_T0]), &r.time))
      TRY(fhir_emit(f, &r));
    else
      fhir_reject(f, r.path, "not a date");
  }
  r.kind = RECORD_DEATH;
  bool dead = false;
  if (has(t, SLOT_T1)) {
    r.path = "Patient.deceasedDateTime";
    if (fhir_time(json_str(t->v[SLOT_T1]), &r.time)) return fhir_emit(f, &r);
    return fhir_reject(f, r.path, "not a date");
  }
  if (!has(t, SLOT_BOOLEAN)) return OK;
  r.path = "Patient.deceasedBoolean";
  if (!json_bool(t->v[SLOT_BOOLEAN], &dead)) return fhir_reject(f, r.path, "not a boolean");
  r.time = (struct record_time){.us = TIME_STATIC};
  return dead ? fhir_emit(f, &r) : OK;
}

static int take_facts(struct fhir *f, const struct taken *t) {
  if (has(t, SLOT_C)) {
    /* by the letters that HL7 v2, DICOM and OMOP have too: one person is one sex to the model, whichever source says so */
    static const struct { const char *theirs, *ours; } genders[] = {{"male", "M"}, {"female", "F"}, {"other", "O"}, {"unknown", "U"}};
    struct str gender = json_str(t->v[SLOT_C]);
    int i = 0;
    while (i < 4 && !str_eqc(gender, genders[i].theirs)) i++;
    if (i < 4)
      TRY(static_fact(f, STR("GENDER"), str_c(genders[i].ours), STR_NONE, "Patient.gender"));
    else
      fhir_reject(f, "Patient.gender", "not one of the four codes");
  }
  if (has(t, SLOT_E)) {
    struct coded c;
    int rc = fhir_code_of(f, t->v[SLOT_E], &c);
    TRY(rc);
    const char *code = rc ? memmem(c.text, c.n, "//", 2) : NULL;
    if (code)
      TRY(static_fact(f, STR("MARITAL"), (struct str){code + 2, (size_t)(c.text + c.n - code) - 2}, c.display, "Patient.maritalStatus"));
    else
      fhir_reject(f, "Patient.maritalStatus", "no coding with a usable code");
  }
  struct json_iter it = fhir_list(f, t, SLOT_H);
  struct json v;
  while (json_next(&it, &v)) TRY(take_extension(f, v));
  return OK;
}

int fhir_take_patient(struct fhir *f, const struct taken *t) {
  struct record photo = {
      .kind = RECORD_IDENTIFIER, .identifier = IDENTIFIER_PHOTO, .value = NAN, .time.us = TIME_STATIC, .path = "Patient.photo"};
  TRY(take_dates(f, t));
  TRY(take_facts(f, t));
  if (has(t, SLOT_A)) TRY(each(f, t->v[SLOT_A], &own, own.name, take_name));
  if (has(t, SLOT_B)) TRY(each(f, t->v[SLOT_B], &own, own.telecom, take_telecom));
  if (has(t, SLOT_D)) TRY(each(f, t->v[SLOT_D], &own, own.address, take_address));
  if (has(t, SLOT_G)) TRY(each(f, t->v[SLOT_G], &relative, "Patient.contact", take_contact));
  struct json_iter it = fhir_list(f, t, SLOT_F);
  struct json v;
  while (json_next(&it, &v)) TRY(fhir_emit(f, &photo));
  return OK;
}

/* A relative: what names them identifies the patient whose relative they are (45 CFR 164.514(b)(2)(i)). */
int fhir_take_related(struct fhir *f, const struct taken *t) {
  static const struct paths paths = {"RelatedPerson.name",
                                     "RelatedPerson.telecom",
                                     "RelatedPerson.address.line",
                                     "RelatedPerson.address.city",
                                     "RelatedPerson.address.district",
                                     "RelatedPerson.address.postalCode",
                                     "RelatedPerson.address.text",
                                     "RelatedPerson.address",
                                     "RelatedPerson.address.state",
                                     false};
  struct record photo = {
      .kind = RECORD_IDENTIFIER, .identifier = IDENTIFIER_PHOTO, .value = NAN, .time.us = TIME_STATIC, .path = "RelatedPerson.photo"};
  if (has(t, SLOT_A)) TRY(each(f, t->v[SLOT_A], &paths, paths.name, take_name));
  if (has(t, SLOT_B)) TRY(each(f, t->v[SLOT_B], &paths, paths.telecom, take_telecom));
  if (has(t, SLOT_D)) TRY(each(f, t->v[SLOT_D], &paths, paths.address, take_address));
  struct json_iter it = fhir_list(f, t, SLOT_F);
  struct json v;
  while (json_next(&it, &v)) TRY(fhir_emit(f, &photo));
  return OK;
}

static int take_udi(struct fhir *f, struct json v, const struct paths *p UNUSED) {
  static const char *const names[] = {"deviceIdentifier", "carrierHRF", "carrierAIDC"};
  static const char *const paths[] = {"Device.udiCarrier.deviceIdentifier", "Device.udiCarrier.carrierHRF",
                                      "Device.udiCarrier.carrierAIDC"};
  for (int i = 0; i < 3; i++) {
    struct json s = json_get(v, names[i]);
    if (json_kind(s) == JSON_STRING) TRY(fhir_identify(f, IDENTIFIER_DEVICE, s, paths[i]));
  }
  return OK;
}

int fhir_take_device(struct fhir *f, const struct taken *t) {
  if (has(t, SLOT_A)) TRY(each(f, t->v[SLOT_A], &own, "Device.udiCarrier", take_udi));
  for (unsigned s = SLOT_B; s <= SLOT_D; s++)
    if (has(t, s)) TRY(fhir_identify(f, IDENTIFIER_DEVICE, t->v[s], t->el[s]->path));
  return OK;
}
