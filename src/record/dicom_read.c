/* DICOM files -> records: who, when, what, and the file itself as an object for the wall to clean. */
#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/thread.h"
#include "record/dicom.h"
#include "record/record.h"

#define T(g, e) DICOM_TAG(g, e)
#define FILE_MOST ((size_t)2 << 30)
#define MEMORY ((size_t)3 << 30)
enum { CODE = 160, PERSON = 512 };

struct reading {
  const struct record_sink *sink;
  struct record_stats *stats;
  struct arena arena;
  struct dicom_file file;
  const char *path;
  uint32_t index;
  struct str charset, person;
  char last[PERSON]; /* the person of the file before: a constant fact is said once */
  uint64_t done, total;
};

static void reject(struct reading *r, const char *field, const char *reason) {
  r->stats->rejected++;
  if (!r->sink->reject) return;
  struct record_reject j = {.file = r->path, .row = 1, .field = field, .reason = reason};
  r->sink->reject(r->sink->ctx, &j);
}

static int hand(struct reading *r, struct record *rec, struct error *e) {
  rec->file = r->index;
  rec->row = 1;
  rec->person = r->person;
  r->stats->records++;
  return r->sink->record(r->sink->ctx, rec, e);
}

/* A text of the data set in UTF-8; what its character set does not explain, as it is. */
static struct str text_of(struct reading *r, struct str raw) {
  struct error quiet = {0};
  struct str out;
  return raw.n && dicom_text_decode(&r->arena, r->charset, raw, &out, &quiet) == OK ? out : raw;
}

/* "KAUFMAN^SCOTT^^DR" -> "KAUFMAN SCOTT DR"; of the groups (alphabetic, ideographic, phonetic) one at a time */
static struct str name_of(struct reading *r, struct str group) {
  char *p = arena_strndup(&r->arena, group.p, group.n);
  size_t n = 0;
  if (!p) return STR_NONE;
  for (size_t i = 0; i < group.n; i++) {
    char c = p[i] == '^' ? ' ' : p[i];
    if (c != ' ' || (n && p[n - 1] != ' ')) p[n++] = c;
  }
  return str_trim((struct str){p, n});
}

static int identifier(struct reading *r, enum identifier_kind kind, struct str value, struct str ns, const char *path, struct error *e) {
  struct record rec = {
      .kind = RECORD_IDENTIFIER, .identifier = kind, .text = value, .ns = ns, .path = path, .value = NAN, .time.us = TIME_STATIC};
  return value.n ? hand(r, &rec, e) : OK;
}

static int identifiers(struct reading *r, struct error *e) {
  static const struct {
    uint32_t tag;
    enum identifier_kind kind;
    const char *path;
  } rows[] = {{DICOM_PATIENT_NAME, IDENTIFIER_NAME, "DICOM.PatientName"},
              {T(0x10, 0x1001), IDENTIFIER_NAME, "DICOM.OtherPatientNames"},
              {T(0x10, 0x1005), IDENTIFIER_NAME, "DICOM.PatientBirthName"},
              {T(0x10, 0x1060), IDENTIFIER_NAME, "DICOM.PatientMotherBirthName"},
              {DICOM_PATIENT_ID, IDENTIFIER_MRN, "DICOM.PatientID"},
              {T(0x10, 0x1000), IDENTIFIER_MRN, "DICOM.OtherPatientIDs"},
              {T(0x10, 0x1050), IDENTIFIER_HEALTH_PLAN, "DICOM.InsurancePlanIdentification"},
              {T(0x10, 0x1040), IDENTIFIER_GEOGRAPHY, "DICOM.PatientAddress"},
              {T(0x10, 0x2154), IDENTIFIER_PHONE, "DICOM.PatientTelephoneNumbers"},
              {T(0x10, 0x1080), IDENTIFIER_OTHER, "DICOM.MilitaryRank"},
              {T(0x10, 0x1090), IDENTIFIER_MRN, "DICOM.MedicalRecordLocator"},
              {T(0x38, 0x10), IDENTIFIER_ACCOUNT, "DICOM.AdmissionID"},
              {T(8, 0x50), IDENTIFIER_ACCOUNT, "DICOM.AccessionNumber"},
              {DICOM_STUDY, IDENTIFIER_OTHER, "DICOM.StudyInstanceUID"}};
  struct str issuer = text_of(r, dicom_text(&r->file.data, DICOM_PATIENT_ISSUER));
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct str value = text_of(r, dicom_text(&r->file.data, rows[i].tag));
    while (value.n) {
      struct str one = dicom_part(&value), ns = rows[i].tag == DICOM_PATIENT_ID ? issuer : STR_NONE;
      if (rows[i].kind != IDENTIFIER_NAME) TRY(identifier(r, rows[i].kind, one, ns, rows[i].path, e));
      while (rows[i].kind == IDENTIFIER_NAME && one.n)
        TRY(identifier(r, IDENTIFIER_NAME, name_of(r, str_cut(&one, '=')), STR_NONE, rows[i].path, e));
    }
  }
  return OK;
}

/* ---- times ---- */

/* DA (and TM), or DT, as the reader of dates wants it: YYYYMMDD[HHMM[SS]]. */
static bool when(struct reading *r, uint32_t date, uint32_t time, struct record_time *t) {
  struct str d = dicom_text(&r->file.data, date), m = time ? dicom_text(&r->file.data, time) : STR_NONE;
  struct time_parts parts;
  char text[16];
  size_t digits = 0;
  if (d.n < 8) return false;
  memcpy(text, d.p, 8);
  if (!time) m = (struct str){d.p + 8, d.n - 8};
  while (digits < m.n && digits < 6 && m.p[digits] >= '0' && m.p[digits] <= '9') digits++;
  digits = digits == 6 ? 6 : digits >= 4 ? 4 : 0;
  if (digits) memcpy(text + 8, m.p, digits);
  if (time_parse((struct str){text, 8 + digits}, &parts, &t->us, NULL) < 0 && time_parse((struct str){text, 8}, &parts, &t->us, NULL) < 0)
    return false;
  t->precision = parts.precision;
  return true;
}

static struct record_time time_of(struct reading *r) {
  struct record_time t = {.us = TIME_STATIC};
  static const uint32_t places[][2] = {
      {T(8, 0x2A), 0}, {T(8, 0x22), T(8, 0x32)}, {T(8, 0x21), T(8, 0x31)}, {T(8, 0x23), T(8, 0x33)}, {T(8, 0x20), T(8, 0x30)}};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    if (when(r, places[i][0], places[i][1], &t)) return t;
  t.us = TIME_STATIC;
  return t;
}

static int birth(struct reading *r, struct error *e) {
  struct record rec = {.kind = RECORD_BIRTH, .path = "DICOM.PatientBirthDate", .value = NAN};
  return when(r, T(0x10, 0x30), 0, &rec.time) ? hand(r, &rec, e) : OK;
}

static int sex(struct reading *r, struct error *e) {
  static const char *const codes[] = {"GENDER//M", "GENDER//F", "GENDER//O"};
  struct str s = dicom_text(&r->file.data, T(0x10, 0x40));
  for (size_t i = 0; i < 3; i++) {
    if (s.n != 1 || *s.p != codes[i][8]) continue;
    struct record rec = {.kind = RECORD_EVENT, .code = str_c(codes[i]), .path = "DICOM.PatientSex", .value = NAN, .time.us = TIME_STATIC};
    return hand(r, &rec, e);
  }
  return OK;
}

/* ---- what ---- */

/* A defined term (CS), or nothing. */
static struct str term(struct reading *r, uint32_t tag) {
  struct str rest = dicom_text(&r->file.data, tag), s = rest.n ? dicom_part(&rest) : STR_NONE;
  if (s.n > 16) return STR_NONE;
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i];
    if ((c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_') return STR_NONE;
  }
  return s;
}

static int event(struct reading *r, const uint8_t *bytes, size_t n, struct error *e) {
  char code[CODE];
  struct str modality = term(r, DICOM_MODALITY), part = term(r, T(0x18, 0x15));
  int k = snprintf(code, sizeof code, "DICOM//%.*s", modality.n ? (int)modality.n : 7, modality.n ? modality.p : "UNKNOWN");
  if (part.n) k += snprintf(code + k, sizeof code - (size_t)k, "//%.*s", STR_ARG(part));
  struct record_object object = {.kind = OBJECT_DICOM, .path = r->path, .bytes = bytes, .n = n};
  struct record rec = {
      .kind = RECORD_EVENT, .code = {code, (size_t)k}, .time = time_of(r), .value = NAN, .object = &object, .path = "DICOM"};
  return hand(r, &rec, e);
}

/* ---- who ---- */

static bool person_of(struct reading *r, char key[PERSON]) {
  struct str id = text_of(r, dicom_text(&r->file.data, DICOM_PATIENT_ID)),
             issuer = text_of(r, dicom_text(&r->file.data, DICOM_PATIENT_ISSUER));
  struct str study = dicom_text(&r->file.data, DICOM_STUDY), instance = dicom_text(&r->file.data, DICOM_SOP_INSTANCE);
  int n;
  if (id.n && issuer.n)
    n = snprintf(key, PERSON, "%.*s/%.*s", STR_ARG(issuer), STR_ARG(id));
  else if (id.n)
    n = snprintf(key, PERSON, "%.*s", STR_ARG(id));
  else
    n = snprintf(key, PERSON, "study:%.*s", STR_ARG(study.n ? study : instance.n ? instance : STR("none")));
  r->person = (struct str){key, (size_t)n};
  return n > 0 && n < PERSON;
}

static int one(struct reading *r, const struct file_map *m, struct error *e) {
  char key[PERSON];
  struct error why = {0};
  if (!dicom_looks(m->p, m->n)) return reject(r, "", "not a DICOM file"), OK;
  if (dicom_parse(&r->arena, m->p, m->n, NULL, &r->file, &why) < 0) return reject(r, "", "not a whole and well-formed DICOM file"), OK;
  for (const struct dicom_element *el = r->file.data.first; el; el = el->next)
    if (el->tag >> 16 == 4) return reject(r, "DICOM.DirectoryRecordSequence", "a DICOMDIR is an index of files"), OK;
  r->charset = dicom_text(&r->file.data, DICOM_CHARSET);
  if (!person_of(r, key)) return reject(r, "DICOM.PatientID", "no usable patient"), OK;
  r->stats->resources++;
  TRY(identifiers(r, e));
  TRY(birth(r, e));
  if (strcmp(key, r->last) != 0) TRY(sex(r, e));
  strcpy(r->last, key);
  return event(r, m->p, m->n, e);
}

static int file(struct reading *r, const char *path, struct error *e) {
  struct file_map m;
  int64_t size = file_size(path);
  r->path = path;
  r->index = (uint32_t)r->stats->files++;
  if (size > 0) r->stats->bytes += (uint64_t)size;
  if (r->sink->file) r->sink->file(r->sink->ctx, r->index, path);
  if (size <= 0 || (uint64_t)size > FILE_MOST) return reject(r, "", size > 0 ? "larger than 2 GB" : "an empty file"), OK;
  TRY(file_map_open(path, &m, e));
  arena_init(&r->arena, MEMORY, ARENA_WIPE);
  int rc = one(r, &m, e);
  arena_free(&r->arena);
  file_map_close(&m);
  r->done += (uint64_t)size;
  if (r->sink->progress) r->sink->progress(r->sink->ctx, r->done, r->total);
  if (rc == OK && cancel_requested()) rc = error_set(e, E_CANCELLED, "interrupted");
  return rc;
}

int dicom_read(const char *path, const struct record_sink *sink, struct record_stats *stats, struct error *e) {
  struct record_stats own = {0};
  struct reading r = {.sink = sink, .stats = stats ? stats : &own};
  struct arena a;
  struct str *list;
  size_t n;
  arena_init(&a, 0, 0);
  int rc = file_list(&a, path, &list, &n, e);
  for (size_t i = 0; rc == OK && i < n; i++) r.total += (uint64_t)(file_size(list[i].p) > 0 ? file_size(list[i].p) : 0);
  for (size_t i = 0; rc == OK && i < n; i++) rc = file(&r, list[i].p, e);
  arena_free(&a);
  return rc;
}
