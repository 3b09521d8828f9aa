/* The methods of policy/fhir-rules.json: what our three policies let through, and in what form. A code passes if its system and shape pass
 * the wall's own rules (code_rules.h), a coded element if the standard lists the code, a number if it is no long one and not the person's. */
#include <math.h>
#include <sodium.h>
#include <stdio.h>

#include "base/hash.h"
#include "deid/deid_date.h"
#include "deid/dicom_clean.h"
#include "deid/fhir_private.h"
#include "deid/zip3.h"
#include "record/fhir.h"

static struct str value_of(struct fhir_deid *f, uint32_t i) { return i ? json_tree_str(&f->doc.json, i) : STR_NONE; }
static const struct json_node *at(const struct fhir_deid *f, uint32_t i) { return &f->doc.json.at[i]; }
static struct str type_name(const struct fhir_deid *f, uint32_t i) { return fhir_type_of(f->types, at(f, i)->type)->name; }
static uint32_t member(const struct fhir_deid *f, uint32_t i, const char *name) { return json_tree_get(&f->doc.json, i, str_c(name)); }
static void drop(struct fhir_deid *f, uint32_t i) {
  f->n.redacted++;
  fhir_label(f, LABEL_REDACTED);
  fhir_null(f, i);
}
static void keep(struct fhir_deid *f, uint32_t i) {
  if (i) f->doc.json.at[i].flags |= JSON_TREE_DONE;
}

static bool own(const struct fhir_deid *f, struct str s) {
  uint32_t row = f->roots[f->current].person;
  return row != FHIR_NOBODY && s.n >= OWN_SHORTEST && vault_has_value(f->vault, row, s);
}

/* ---- ids and references ---- */

static void uuid(const struct fhir_deid *f, const char *purpose, const void *p, size_t n, char out[48]) {
  uint8_t h[16];
  crypto_generichash_state st;
  crypto_generichash_init(&st, f->secret, 32, 16);
  crypto_generichash_update(&st, (const uint8_t *)purpose, strlen(purpose) + 1);
  crypto_generichash_update(&st, p, n);
  crypto_generichash_final(&st, h, 16);
  h[6] = (uint8_t)((h[6] & 15) | 0x40); /* a UUID of random form */
  h[8] = (uint8_t)((h[8] & 0x3f) | 0x80);
  char hex[33];
  hash_hex(h, 16, hex);
  static const uint8_t at_hex[5] = {0, 8, 12, 16, 20}, length[5] = {8, 4, 4, 4, 12};
  for (int k = 0; k < 5; k++) {
    memcpy(out, hex + at_hex[k], length[k]);
    out += length[k];
    *out++ = k < 4 ? '-' : 0;
  }
}

static void safe_id(struct fhir_deid *f, struct str id, char out[48]) {
  size_t at = hash64(id.p, id.n, 0) % FHIR_SAFE_IDS;
  if (!id.n || id.n > sizeof f->safe[at].id) {
    uuid(f, "id", id.p, id.n, out);
    return;
  }
  if (f->safe[at].n != id.n || memcmp(f->safe[at].id, id.p, id.n) != 0) {
    uuid(f, "id", id.p, id.n, f->safe[at].safe);
    f->safe[at].n = (uint8_t)id.n;
    memcpy(f->safe[at].id, id.p, id.n);
  }
  memcpy(out, f->safe[at].safe, sizeof f->safe[at].safe);
}

/* What "%lld" writes; a reference to a person stands in nearly every resource. */
static void decimal(int64_t v, char to[24]) {
  char digits[24];
  int n = 0, k = 0;
  uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  do digits[n++] = (char)('0' + u % 10);
  while (u /= 10);
  if (v < 0) to[k++] = '-';
  while (n) to[k++] = digits[--n];
  to[k] = 0;
}

static int set_id(struct fhir_deid *f, uint32_t i, struct error *e) {
  char text[48];
  const struct fhir_root *root = &f->roots[f->current];
  if (str_eqc(type_name(f, root->node), "Patient") && !root->contained) {
    if (root->person == FHIR_NOBODY) return drop(f, i), OK;
    decimal(vault_identity(f->vault, root->person)->pseudonym, text);
  } else {
    safe_id(f, value_of(f, i), text);
  }
  return json_tree_set_str(&f->doc.json, i, str_c(text), e);
}

static int set_reference(struct fhir_deid *f, uint32_t i, const char *base, struct error *e) {
  struct fhir_ref r = fhir_ref_of(f, value_of(f, i));
  char id[48], text[256];
  uint32_t row;
  f->n.references++;
  if (r.form == REF_NONE) {
    f->n.references_dropped++;
    return drop(f, i), OK;
  }
  bool person = fhir_ref_person(f, &r, &row);
  if (person) {
    int64_t pseudonym = vault_identity(f->vault, row)->pseudonym;
    if (r.form == REF_URN)
      uuid(f, "person", &pseudonym, sizeof pseudonym, id);
    else
      decimal(pseudonym, id);
  } else if (r.form == REF_TYPED && str_eqc(r.type, "Patient")) {
    return drop(f, i), OK; /* somebody who was forgotten */
  } else {
    safe_id(f, r.id, id);
  }
  const struct str parts[] = {str_c(r.form == REF_TYPED ? base
                                    : r.form == REF_URN ? "urn:uuid:"
                                                        : "#"),
                              r.form == REF_TYPED ? r.type : STR(""), r.form == REF_TYPED ? STR("/") : STR(""), str_c(id)};
  size_t n = 0;
  for (int k = 0; k < 4; k++) { /* a type's name is a short one of the standard's */
    BUG_IF(n + parts[k].n > sizeof text);
    memcpy(text + n, parts[k].p, parts[k].n);
    n += parts[k].n;
  }
  return json_tree_set_str(&f->doc.json, i, (struct str){text, n}, e);
}

/* Bundle.entry.request.url: a type, or a type and an id; searches and conditions carry values. */
static int set_url(struct fhir_deid *f, uint32_t i, struct error *e) {
  struct str s = value_of(f, i);
  if (fhir_type_of(f->types, fhir_type_id(f->types, s))->kind == FHIR_RESOURCE) return OK;
  if (fhir_ref_of(f, s).form != REF_TYPED) return drop(f, i), OK;
  return set_reference(f, i, "", e);
}

/* A DICOM UID as the same vault's images carry it; classes of the standard stay. */
static int set_uid(struct fhir_deid *f, uint32_t i, struct error *e) {
  struct str s = value_of(f, i), uid = s;
  char mapped[48], text[64];
  bool urn = str_starts(s, STR("urn:oid:"));
  if (urn) uid = (struct str){s.p + 8, s.n - 8};
  bool shaped = uid.n >= 3 && uid.n <= 64 && uid.p[0] >= '0' && uid.p[0] <= '2';
  for (size_t k = 0; k < uid.n; k++) shaped = shaped && ((uid.p[k] >= '0' && uid.p[k] <= '9') || uid.p[k] == '.');
  if (!shaped) return drop(f, i), OK;
  if (str_starts(uid, STR("1.2.840.10008."))) return OK;
  dicom_uid_map(f->uid_key, uid, mapped);
  snprintf(text, sizeof text, "%s%s", urn ? "urn:oid:" : "", mapped);
  fhir_label(f, LABEL_HASH);
  return json_tree_set_str(&f->doc.json, i, str_c(text), e);
}

/* ---- dates ---- */

/* A date that would show an age over the cap. A capped person's earliest day is the one from which the age at the last event is cap + 1. */
static bool shows_age(struct fhir_deid *f, int64_t day) {
  const struct identity *id = fhir_identity(f);
  if (!f->policy.age_cap || !id) return false;
  if ((id->last == DEID_DAY_NONE || day > id->last) && fhir_over_cap(f, day)) return true; /* later than what the birth was capped for */
  if (id->last == DEID_DAY_NONE || !fhir_over_cap(f, id->last)) return false;
  int32_t least = deid_years_before(id->last, f->policy.age_cap + 1);
  int y, m, d, y0;
  if (f->policy.dates != DEID_DATES_YEAR) return day < least;
  time_to_civil(day, &y, &m, &d);
  time_to_civil(least, &y0, &m, &d);
  return y < y0;
}

static int write_date(struct fhir_deid *f, uint32_t i, struct fhir_date *d, struct error *e) {
  char text[64];
  int y, m, day, rc;
  bool instant = str_eqc(type_name(f, i), "instant");
  if (instant && (d->precision != TIME_PRECISION_DAY || !d->rest.n)) return drop(f, i), OK;
  f->n.dates++;
  if (f->policy.dates == DEID_DATES_SHIFT) {
    struct identity *id = fhir_identity(f);
    if (!id) return drop(f, i), OK; /* nobody's shift */
    TRY(vault_shift(f->vault, id, f->policy.shift_days_max, e));
    fhir_label(f, LABEL_PERTURBED);
    rc = fhir_date_shift(f, i, d, id->shift_days, e);
    if (rc == 0) drop(f, i);
    return rc < 0 ? rc : OK;
  }
  time_to_civil(d->day, &y, &m, &day);
  int n = snprintf(text, sizeof text, "%04d-%02d-%02d", y, m, day);
  if (d->precision == TIME_PRECISION_YEAR || f->policy.dates == DEID_DATES_YEAR) n = 4;
  if (d->precision == TIME_PRECISION_MONTH && n > 7) n = 7;
  if (n == 10) memcpy(text + 10, d->rest.p, d->rest.n), n += (int)d->rest.n;
  if (f->policy.dates == DEID_DATES_YEAR) fhir_label(f, LABEL_ABSTRED);
  if (instant && f->policy.dates == DEID_DATES_YEAR) return drop(f, i), OK; /* an instant has no form for a year */
  return json_tree_set_str(&f->doc.json, i, (struct str){text, (size_t)n}, e);
}

static int set_date(struct fhir_deid *f, uint32_t i, bool birth, struct error *e) {
  struct fhir_date d;
  const struct identity *id = fhir_identity(f);
  if (!fhir_date_split(value_of(f, i), &d)) return drop(f, i), OK;
  if (deid_sentinel(&f->policy, (int32_t)d.day)) return f->n.sentinels++, drop(f, i), OK;
  if (birth && id && f->policy.age_cap && id->last != DEID_DAY_NONE && fhir_over_cap(f, id->last)) {
    d.day = deid_years_before(id->last, f->policy.age_cap + 1);
    f->n.ages++;
  } else if (!birth && shows_age(f, d.day)) {
    f->n.ages++;
    return drop(f, i), OK;
  }
  if (birth) d.rest.n = 0;
  return write_date(f, i, &d, e);
}

/* ---- codes ---- */

static bool code_text(struct fhir_deid *f, uint32_t coding, char *to, size_t size, struct str *out, struct str *code) {
  char room[16];
  int rank;
  struct str system = fhir_system(value_of(f, member(f, coding, "system")), room, &rank);
  *code = value_of(f, member(f, coding, "code"));
  if (!code->n || code->n > CODE_PART_LIMIT || system.n > 64) return false;
  if (system.n + 2 + code->n > size) return false;
  memcpy(to, system.p, system.n);
  memcpy(to + system.n, "//", 2);
  memcpy(to + system.n + 2, code->p, code->n);
  *out = (struct str){to, system.n + 2 + code->n};
  return true;
}

static void clean_coding(struct fhir_deid *f, uint32_t i) {
  char text[CODE_LIMIT + 16];
  struct str full, code;
  uint32_t display = member(f, i, "display");
  bool ok = code_text(f, i, text, sizeof text, &full, &code) && !own(f, code) &&
            (code_rules_check(f->codes, full, true) == CODE_PASSES || fhir_rules_code(f->rules, value_of(f, member(f, i, "system")), code));
  if (!ok) {
    f->n.codes_dropped++;
    fhir_redact_all(f, i);
    return;
  }
  keep(f, member(f, i, "system"));
  keep(f, member(f, i, "code"));
  if (display && at(f, display)->kind == JSON_STRING) {
    struct str d = value_of(f, display);
    bool shown = f->policy.display_persons <= 3 && fhir_shown(f, full, d) >= (uint32_t)f->policy.display_persons;
    if (shown && code_rules_display(d) && !own(f, d)) keep(f, display);
  }
  uint32_t selected = member(f, i, "userSelected");
  if (selected && at(f, selected)->kind == JSON_BOOL) keep(f, selected);
  fhir_redact_all(f, i);
}

static void clean_code(struct fhir_deid *f, uint32_t i) {
  const struct fhir_el *el = fhir_types_el(f->types, at(f, i)->el);
  struct str s = value_of(f, i);
  bool ok = fhir_types_code(f->types, el, s);
  if (!el->code_n && str_eqc(el->name, "language")) {
    ok = s.n == 2 || (s.n == 5 && s.p[2] == '-');
    for (size_t k = 0; k < s.n && ok; k++) ok = k == 2 || (k < 2 ? s.p[k] >= 'a' && s.p[k] <= 'z' : s.p[k] >= 'A' && s.p[k] <= 'Z');
  }
  if (!el->code_n && str_eqc(el->name, "currency")) {
    ok = s.n == 3;
    for (size_t k = 0; k < s.n && ok; k++) ok = s.p[k] >= 'A' && s.p[k] <= 'Z';
  }
  if (!ok) drop(f, i);
}

/* ---- numbers ---- */

enum { LONG_NUMBER = 9 }; /* so many digits before the point are a number of something: SSN, telephone, account */

static bool number_ok(const struct fhir_deid *f, uint32_t i) {
  const struct json_node *n = at(f, i);
  struct str s = {n->raw, n->raw_n};
  size_t digits = 0;
  double x;
  if (n->kind != JSON_INT && n->kind != JSON_REAL) return false;
  while (digits < s.n && s.p[digits] != '.') digits++;
  if (*s.p == '-') digits--;
  if (str_to_f64(s, &x) < 0 || fabs(x) >= 1e9) return false; /* exponents too */
  return digits < LONG_NUMBER && s.n <= 24 && !own(f, s);
}

/* Is the element the value of an observation whose code is the person's age? */
static bool is_age(struct fhir_deid *f, uint32_t i) {
  if (!f->policy.age_cap) return false;
  uint32_t outer = fhir_parent(&f->doc, i);
  struct str el = fhir_types_name_str(f->types, fhir_types_el(f->types, at(f, i)->el)->base);
  if (!str_eqc(el, "value")) return false;
  uint32_t concept = member(f, outer, "code"), list = concept ? member(f, concept, "coding") : 0;
  if (!list || at(f, list)->kind != JSON_ARRAY) return false;
  for (uint32_t c = at(f, list)->child; c; c = at(f, c)->next) {
    char text[CODE_LIMIT + 16];
    struct str full, code;
    if (at(f, c)->kind == JSON_OBJECT && code_text(f, c, text, sizeof text, &full, &code) && code_rules_age(f->codes, full)) return true;
  }
  return false;
}

static int cap_age(struct fhir_deid *f, uint32_t value, struct str unit, struct error *e) {
  double x, per_year = code_rules_per_year(unit);
  char text[40];
  if (!f->policy.age_cap || str_to_f64(value_of(f, value), &x) < 0 || x / per_year < f->policy.age_cap + 1) return OK;
  f->n.ages++;
  fhir_label(f, LABEL_ABSTRED);
  snprintf(text, sizeof text, "%.0f", (f->policy.age_cap + 1) * per_year);
  return json_tree_set_raw(&f->doc.json, value, JSON_INT, str_c(text), e);
}

static int clean_quantity(struct fhir_deid *f, uint32_t i, bool age, struct error *e) {
  uint32_t value = member(f, i, "value"), unit = member(f, i, "unit"), code = member(f, i, "code"), system = member(f, i, "system");
  uint32_t comparator = member(f, i, "comparator");
  char micro[UNIT_LIMIT];
  struct str u = value_of(f, unit), c = value_of(f, code), s = value_of(f, system), spelled = code_rules_unit_spelled(u, micro);
  bool ok =
      (!u.n || (code_rules_unit(f->codes, spelled, true) && !own(f, u))) && (!c.n || (code_rules_unit(f->codes, c, true) && !own(f, c)));
  if (value && !number_ok(f, value)) ok = false;
  if (!ok) {
    fhir_redact_all(f, i); /* a number of an unknown unit is no measurement */
    return OK;
  }
  keep(f, value);
  keep(f, unit);
  keep(f, code);
  if (str_eqc(s, "http://unitsofmeasure.org")) keep(f, system);
  if (comparator && fhir_types_code(f->types, fhir_types_el(f->types, at(f, comparator)->el), value_of(f, comparator))) keep(f, comparator);
  if (value && (age || is_age(f, i))) TRY(cap_age(f, value, c.n ? c : u, e));
  fhir_redact_all(f, i);
  return OK;
}

static int clean_number(struct fhir_deid *f, uint32_t i, struct error *e) {
  if (!number_ok(f, i)) return drop(f, i), OK;
  return is_age(f, i) ? cap_age(f, i, STR_NONE, e) : OK;
}

/* ---- addresses ---- */

static bool us_country(const struct fhir_deid *f, struct str s) {
  for (int k = 0; k < f->policy.zip3_country_n; k++)
    if (str_eq_nocase(s, str_c(f->policy.zip3_country[k]))) return true;
  return false;
}

static int clean_zip(struct fhir_deid *f, uint32_t i, struct error *e) {
  char zip[4] = {0};
  struct str country = value_of(f, member(f, fhir_parent(&f->doc, i), "country"));
  if (!f->policy.keep_zip3 || zip3_of(&f->policy, value_of(f, i), country, zip) == ZIP3_NONE) return drop(f, i), OK;
  fhir_label(f, LABEL_ABSTRED);
  return json_tree_set_str(&f->doc.json, i, (struct str){zip, 3}, e);
}

static void clean_state(struct fhir_deid *f, uint32_t i) {
  struct str s = value_of(f, i), list = f->rules->states, one;
  while (list.p) {
    one = str_cut(&list, '|');
    if (one.n && str_eq(one, s)) return;
  }
  drop(f, i);
}

/* ---- extensions that a rule lets through ---- */

static void clean_extension(struct fhir_deid *f, uint32_t i) {
  uint32_t c;
  keep(f, member(f, i, "url"));
  struct fhir_iter it = fhir_children(&f->doc, i);
  while ((c = fhir_next(&it))) {
    struct str el = fhir_types_el(f->types, at(f, c)->el)->name, s;
    if (str_eqc(el, "valueCoding") && at(f, c)->kind == JSON_OBJECT) clean_coding(f, c);
    if (!str_eqc(el, "valueCode")) continue;
    s = value_of(f, c);
    bool ok = s.n >= 1 && s.n <= 3;
    for (size_t k = 0; k < s.n && ok; k++) ok = s.p[k] >= 'A' && s.p[k] <= 'Z';
    if (ok) keep(f, c);
  }
  fhir_redact_all(f, i);
  for (uint32_t up = fhir_parent(&f->doc, i); up && at(f, up)->type == f->doc.extension_type; up = fhir_parent(&f->doc, up))
    keep(f, member(f, up, "url")); /* which the rule's path has compared */
}

bool fhir_our_method(enum fhir_method m) { return m >= METHOD_DATE; }

int fhir_our_value(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) {
  bool object = at(f, i)->kind == JSON_OBJECT;
  switch (rule->method) {
    case METHOD_CODING: return object ? clean_coding(f, i) : drop(f, i), OK;
    case METHOD_QUANTITY:
    case METHOD_AGE:
      if (object) return clean_quantity(f, i, rule->method == METHOD_AGE, e);
      return drop(f, i), OK;
    case METHOD_EXTENSION: return object ? clean_extension(f, i) : drop(f, i), OK;
    case METHOD_ANNOTATION:
      if (object) return fhir_text_annotation(f, i, e);
      break;
    case METHOD_ATTACHMENT:
      if (object) return fhir_text_attachment(f, i, e);
      break;
    case METHOD_NARRATIVE:
      if (object) return fhir_text_narrative(f, i, e);
      break;
    default: break;
  }
  if (object) return fhir_redact_all(f, i), OK;
  if (at(f, i)->kind != JSON_STRING && rule->method != METHOD_NUMBER) return drop(f, i), OK;
  switch (rule->method) {
    case METHOD_DATE: return set_date(f, i, false, e);
    case METHOD_BIRTH: return set_date(f, i, true, e);
    case METHOD_ID: return set_id(f, i, e);
    case METHOD_REFERENCE: return set_reference(f, i, "", e);
    case METHOD_FULL_URL: return set_reference(f, i, "https://vitae.invalid/fhir/", e);
    case METHOD_URL: return set_url(f, i, e);
    case METHOD_CODE: return clean_code(f, i), OK;
    case METHOD_NUMBER: return clean_number(f, i, e);
    case METHOD_ZIP3: return clean_zip(f, i, e);
    case METHOD_STATE: return clean_state(f, i), OK;
    case METHOD_TEXT: return fhir_text_string(f, i, e);
    case METHOD_UID: return set_uid(f, i, e);
    case METHOD_COUNTRY:
      if (!us_country(f, value_of(f, i))) drop(f, i);
      return OK;
    default: return drop(f, i), OK;
  }
}
