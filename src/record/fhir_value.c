/* FHIR data types, and how the reader speaks to its sink. */
#include <math.h>

#include "record/fhir.h"

int fhir_emit(struct fhir *f, struct record *r) {
  if (f->in_error) {
    if (r->kind != RECORD_EVENT || r->time.us == TIME_STATIC) return OK;
    *r = (struct record){.kind = RECORD_IN_ERROR, .code = r->code, .time = r->time, .value = NAN, .path = r->path};
  }
  r->person = f->person;
  r->file = f->file;
  r->row = f->row;
  f->stats->records++;
  return f->sink->record(f->sink->ctx, r, f->e);
}

int fhir_drop(struct fhir *f, const char *path) {
  if (f->in_error) return OK;
  struct record r = {.kind = RECORD_DROPPED, .value = NAN, .path = path, .file = f->file, .row = f->row, .person = f->person};
  f->stats->dropped++;
  return f->sink->record(f->sink->ctx, &r, f->e);
}

int fhir_reject(struct fhir *f, const char *field, const char *reason) {
  if (f->in_error) return OK;
  f->stats->rejected++;
  if (f->sink->reject) f->sink->reject(f->sink->ctx, &(struct record_reject){f->name, f->row, field, reason});
  return OK;
}

struct record fhir_event(const struct fhir *f, const struct coded *code, struct record_time time) {
  return (struct record){.kind = RECORD_EVENT,
                         .code = coded_str(code),
                         .display = code->display,
                         .time = time,
                         .value = NAN,
                         .path = f->shape ? f->shape->code : ""};
}

/* Duplicate names: the first wins, as it does for the library's own lookup; the rest are counted. */
int fhir_gather(struct fhir *f, struct json object, const struct shape *shape, struct taken *t) {
  t->mask = 0;
  const char *unknown = shape->unknown ? shape->unknown : f->shape ? f->shape->unknown : "Resource.?";
  struct json_iter it = json_members(object);
  struct str key;
  struct json v;
  while (json_next_member(&it, &key, &v)) {
    const struct element *el = fhir_element(shape, key);
    if (!el) {
      TRY(fhir_drop(f, unknown));
    } else if (el->slot < SLOTS) {
      if (has(t, el->slot)) {
        TRY(fhir_drop(f, unknown));
      } else if (json_kind(v) != JSON_NULL) {
        t->v[el->slot] = v;
        t->el[el->slot] = el;
        t->mask |= UINT64_C(1) << el->slot;
      }
    } else if (el->slot == SLOT_DROP) {
      TRY(fhir_drop(f, el->path));
    }
  }
  return OK;
}

struct json_iter fhir_list(struct fhir *f, const struct taken *t, enum slot s) {
  if (has(t, s) && json_kind(t->v[s]) == JSON_ARRAY) return json_items(t->v[s]);
  if (has(t, s)) fhir_reject(f, t->el[s]->path, "not a list");
  return (struct json_iter){0};
}

/* ---- codes ---- */

/* A code is a token: anything longer, with white space, control or non-ASCII characters, or with an address sign could be
 * free text or an identifier in the wrong element. "//" would forge the parts of a code. */
bool fhir_code_ok(struct str code) {
  if (!code.p || code.n == 0 || code.n > FHIR_CODE_LIMIT) return false;
  for (size_t i = 0; i < code.n; i++) {
    unsigned char c = (unsigned char)code.p[i];
    if (c <= ' ' || c >= 0x7f || c == '@' || c == '"' || c == '\\') return false;
    if (c == '/' && i && code.p[i - 1] == '/') return false;
  }
  return true;
}

bool coded_append(struct coded *c, struct str s) {
  if (s.n > sizeof c->text - c->n) return false;
  memcpy(c->text + c->n, s.p, s.n);
  c->n += s.n;
  return true;
}

static void coded_set(struct coded *out, struct str system, struct str code, struct str display) {
  out->n = 0;
  out->display = display;
  bool ok = coded_append(out, system) && coded_append(out, STR("//")) && coded_append(out, code);
  BUG_IF(!ok);
}

struct coding {
  struct str system, code, display;
  int rank;
  char room[16];
};

static int read_coding(struct fhir *f, struct json v, struct coding *c) {
  struct taken t;
  if (json_kind(v) != JSON_OBJECT) return 0;
  TRY(fhir_gather(f, v, &fhir_coding, &t));
  if (!has(&t, SLOT_CODE)) return 0;
  c->code = json_str(t.v[SLOT_CODE]);
  if (!fhir_code_ok(c->code)) return 0;
  if (has(&t, SLOT_A) && json_kind(t.v[SLOT_A]) != JSON_STRING) return 0;
  c->system = fhir_system(has(&t, SLOT_A) ? json_str(t.v[SLOT_A]) : STR_NONE, c->room, &c->rank);
  c->display = has(&t, SLOT_B) ? json_str(t.v[SLOT_B]) : STR_NONE;
  return 1;
}

int fhir_code_of_coding(struct fhir *f, struct json coding, struct coded *out) {
  struct coding c;
  int rc = read_coding(f, coding, &c);
  if (rc == 1) coded_set(out, c.system, c.code, c.display);
  return rc;
}

int fhir_code_of(struct fhir *f, struct json concept, struct coded *out) {
  struct taken t;
  if (json_kind(concept) != JSON_OBJECT) return 0;
  TRY(fhir_gather(f, concept, &fhir_concept, &t));
  if (!has(&t, SLOT_A)) return 0;
  struct json_iter it = json_items(t.v[SLOT_A]);
  struct json v;
  int best = INT32_MAX;
  while (json_next(&it, &v)) {
    struct coding c;
    int rc = read_coding(f, v, &c);
    TRY(rc);
    if (rc == 1 && c.rank < best) {
      best = c.rank;
      coded_set(out, c.system, c.code, c.display);
    }
  }
  return best < INT32_MAX;
}

/* ---- time ---- */

bool fhir_time(struct str s, struct record_time *out) {
  struct time_parts p;
  if (!s.p || time_parse(s, &p, &out->us, NULL) < 0) return false;
  out->precision = p.precision;
  out->has_offset = p.has_offset;
  out->offset_minutes = p.has_offset ? p.offset_minutes : 0;
  return true;
}

/* The instant that stands for a Period (its start) or a Timing (its first event): STR_NONE if it names none. */
static int time_text(struct fhir *f, struct json v, struct str *out) {
  struct json_iter it;
  struct json first;
  struct taken t;
  *out = STR_NONE;
  switch (json_kind(v)) {
    case JSON_STRING: *out = json_str(v); return 1;
    case JSON_OBJECT:
      it = json_items(json_get(v, "event"));
      if (json_next(&it, &first)) {
        *out = json_str(first);
        return out->p ? 1 : FHIR_WRONG;
      }
      TRY(fhir_gather(f, v, &fhir_period, &t));
      if (!has(&t, SLOT_A)) return 0;
      *out = json_str(t.v[SLOT_A]);
      return out->p ? 1 : FHIR_WRONG;
    default: return FHIR_WRONG;
  }
}

int fhir_when(struct fhir *f, const struct taken *t, enum slot from, enum slot to, struct record_time *out, const char **bad) {
  *bad = NULL;
  for (unsigned s = from; s <= to; s++) {
    struct str text;
    if (!has(t, s)) continue;
    int rc = time_text(f, t->v[s], &text);
    if (rc == 0) continue;
    if (rc == FHIR_WRONG || (rc == 1 && !fhir_time(text, out))) {
      *bad = t->el[s]->path;
      return 0;
    }
    return rc;
  }
  return 0;
}

/* ---- references and persons ---- */

static struct str last_segment(struct str *s) {
  size_t i = s->n;
  while (i && s->p[i - 1] != '/') i--;
  struct str last = {s->p + i, s->n - i};
  s->n = i ? i - 1 : 0;
  return last;
}

/* Server-assigned ids go beyond the 64 characters of the standard now and then; white space and control never belong. */
static bool id_ok(struct str id) {
  if (id.n == 0 || id.n > 128) return false;
  for (size_t i = 0; i < id.n; i++)
    if ((unsigned char)id.p[i] <= ' ' || id.p[i] == '/' || id.p[i] == '?' || id.p[i] == '#' || id.p[i] == 0x7f) return false;
  return true;
}

bool fhir_reference_id(struct str reference, struct str *type, struct str *id) {
  *type = *id = STR_NONE;
  if (!reference.p || memchr(reference.p, '?', reference.n)) return false;
  if (str_starts(reference, STR("urn:uuid:"))) {
    *id = (struct str){reference.p + 9, reference.n - 9};
    return id_ok(*id);
  }
  if (str_starts(reference, STR("urn:oid:"))) {
    *id = (struct str){reference.p + 8, reference.n - 8};
    return id_ok(*id);
  }
  struct str rest = reference, last = last_segment(&rest), before = last_segment(&rest);
  if (str_eq(before, STR("_history"))) {
    last = last_segment(&rest);
    before = last_segment(&rest);
  }
  *id = last;
  *type = before;
  return before.n > 0 && id_ok(last);
}

static int person_of(struct fhir *f, struct str id) {
  uint64_t at;
  f->person = id;
  if (f->aliases.count && map_get(&f->aliases, id, &at)) f->person = *(const struct str *)(uintptr_t)at;
  return 1;
}

int fhir_subject(struct fhir *f, const struct taken *t) {
  struct taken ref;
  struct str type, id;
  const char *path = f->shape->subject;
  if (!has(t, SLOT_SUBJECT)) return fhir_reject(f, path, "no subject");
  struct json v = t->v[SLOT_SUBJECT];
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, path, "not a Reference");
  TRY(fhir_gather(f, v, &fhir_reference, &ref));
  if (!has(&ref, SLOT_A)) return fhir_reject(f, path, "a Reference without a literal reference");
  if (!fhir_reference_id(json_str(ref.v[SLOT_A]), &type, &id)) return fhir_reject(f, path, "not a literal reference to a resource");
  if (type.n && !str_eq(type, STR("Patient"))) {
    TRY(fhir_drop(f, path));
    return 0;
  }
  TRY(person_of(f, id));
  if (has(&ref, SLOT_B)) TRY(fhir_identify(f, IDENTIFIER_NAME, ref.v[SLOT_B], path));
  return 1;
}

/* ---- identifiers ---- */

int fhir_identify(struct fhir *f, enum identifier_kind kind, struct json text, const char *path) {
  return fhir_identify_in(f, kind, text, STR_NONE, path);
}

int fhir_identify_in(struct fhir *f, enum identifier_kind kind, struct json text, struct str ns, const char *path) {
  struct str s = json_str(text);
  if (!s.p) return fhir_reject(f, path, "not a string");
  if (!s.n) return OK;
  struct record r = {
      .kind = RECORD_IDENTIFIER, .identifier = kind, .text = s, .ns = ns, .value = NAN, .time.us = TIME_STATIC, .path = path};
  return fhir_emit(f, &r);
}

static int one_identifier(struct fhir *f, struct json v, enum identifier_kind otherwise, const char *path) {
  struct taken t;
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, path, "not an Identifier");
  TRY(fhir_gather(f, v, &fhir_identifier, &t));
  if (!has(&t, SLOT_B)) return OK;
  enum identifier_kind kind = IDENTIFIER_OTHER;
  struct str system = has(&t, SLOT_A) ? json_str(t.v[SLOT_A]) : STR_NONE;
  if (has(&t, SLOT_C)) {
    struct json_iter it = json_items(json_get(t.v[SLOT_C], "coding"));
    struct json coding;
    while (kind == IDENTIFIER_OTHER && json_next(&it, &coding)) kind = fhir_identifier_kind(json_str(json_get(coding, "code")), STR_NONE);
  }
  if (kind == IDENTIFIER_OTHER) kind = fhir_identifier_kind(STR_NONE, system);
  /* the mother's record number is no number of the child: without its name space it links nobody */
  if (f->shape && f->shape->handler == fhir_take_related) system = STR_NONE;
  return fhir_identify_in(f, kind == IDENTIFIER_OTHER ? otherwise : kind, t.v[SLOT_B], system, path);
}

int fhir_identifiers(struct fhir *f, struct json list, enum identifier_kind otherwise, const char *path) {
  struct json_iter it = json_items(list);
  struct json v;
  if (json_kind(list) == JSON_OBJECT) return one_identifier(f, list, otherwise, path);
  if (json_kind(list) != JSON_ARRAY) return fhir_reject(f, path, "not a list of Identifiers");
  while (json_next(&it, &v)) TRY(one_identifier(f, v, otherwise, path));
  return OK;
}

/* ---- quantities ---- */

static bool unit_ok(struct str s) { return s.n <= 32 && fhir_code_ok(s); }

int fhir_read_quantity(struct fhir *f, struct json v, struct quantity *out) {
  struct taken t;
  *out = (struct quantity){NAN, STR_NONE};
  if (json_kind(v) != JSON_OBJECT) return FHIR_WRONG;
  TRY(fhir_gather(f, v, &fhir_quantity, &t));
  struct str code = has(&t, SLOT_CODE) ? json_str(t.v[SLOT_CODE]) : STR_NONE;
  struct str unit = has(&t, SLOT_B) ? json_str(t.v[SLOT_B]) : STR_NONE;
  out->unit = unit_ok(code) || !unit.n ? code : unit;
  if (!has(&t, SLOT_A)) return 0;
  if (!json_f64(t.v[SLOT_A], &out->value) || !record_number(out->value)) return FHIR_WRONG;
  if (has(&t, SLOT_D)) TRY(fhir_drop(f, "Quantity.comparator"));
  return 1;
}

/* ---- attachments ---- */

static int digit(unsigned char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool fhir_base64(struct str s, char *out, size_t *n) {
  uint32_t bits = 0;
  unsigned have = 0, padding = 0;
  size_t at = 0;
  for (size_t i = 0; i < s.n; i++) {
    unsigned char c = (unsigned char)s.p[i];
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    if (c == '=') {
      padding++;
      continue;
    }
    int d = digit(c);
    if (d < 0 || padding) return false;
    bits = bits << 6 | (uint32_t)d;
    if (++have == 4) {
      out[at++] = (char)(bits >> 16);
      out[at++] = (char)(bits >> 8);
      out[at++] = (char)bits;
      have = 0;
    }
  }
  if (have == 1 || padding > 2 || (padding && have + padding != 4)) return false;
  if (have == 2) out[at++] = (char)(bits >> 4);
  if (have == 3) {
    out[at++] = (char)(bits >> 10);
    out[at++] = (char)(bits >> 2);
  }
  *n = at;
  return true;
}

int fhir_text_of(struct fhir *f, struct json attachment, const char *path, struct str *out) {
  struct taken t;
  if (json_kind(attachment) != JSON_OBJECT) return fhir_reject(f, path, "not an Attachment");
  TRY(fhir_gather(f, attachment, &fhir_attachment, &t));
  struct str type = has(&t, SLOT_A) ? json_str(t.v[SLOT_A]) : STR_NONE;
  if (!has(&t, SLOT_B) || !str_starts(type, STR("text/"))) {
    TRY(fhir_drop(f, path));
    return 0;
  }
  struct str data = json_str(t.v[SLOT_B]);
  if (!data.p) return fhir_reject(f, path, "attachment data is not a string");
  char *text = arena_alloc(&f->scratch, data.n / 4 * 3 + 3, 1);
  if (!text) return error_set(f->e, E_NOMEM, "no memory for an attachment of %zu bytes", data.n);
  *out = (struct str){text, 0};
  if (!fhir_base64(data, text, &out->n)) return fhir_reject(f, path, "attachment data is not base64");
  if (!str_utf8_valid(*out)) return fhir_reject(f, path, "attachment text is not UTF-8");
  return 1;
}
