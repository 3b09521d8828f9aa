/* PID, MRG, NK1, GT1, IN1, IN2: who a person is. Everything here is a static fact, a birth or death, or an identifier. */
#include <limits.h>
#include <math.h>

#include "record/fhir.h"
#include "record/hl7v2_message.h"

static int identify(struct hl7v2 *h, enum identifier_kind kind, struct str raw, struct str ns, int field) {
  struct str s = hl7v2_text(h, raw);
  struct record r = {.kind = RECORD_IDENTIFIER, .identifier = kind, .text = s, .ns = ns, .value = NAN, .time.us = TIME_STATIC};
  return s.n ? hl7v2_emit(h, &r, field) : OK;
}

/* ---- CX: an identifier and who gave it ---- */

struct number {
  struct str value, type, local, ns; /* local: the authority's own name, for keys; ns: what a vault trusts */
};

static struct str joined(struct hl7v2 *h, struct str a, struct str b) {
  char *p = arena_alloc(h->arena, a.n + b.n + 1, 1);
  if (!p) return STR_NONE;
  if (a.n) memcpy(p, a.p, a.n);
  if (b.n) memcpy(p + a.n, b.p, b.n);
  return (struct str){p, a.n + b.n};
}

/* HD: "HOSP", "HOSP&1.2.3&ISO", "&1.2.3&ISO". A universal id is written as FHIR's Identifier.system writes it. */
static void authority(struct hl7v2 *h, struct str hd_of, int component, struct number *out) {
  struct str local = hl7v2_text(h, hl7v2_part(&h->m, hd_of, component, 1)), id = hl7v2_text(h, hl7v2_part(&h->m, hd_of, component, 2)),
             type = hl7v2_text(h, hl7v2_part(&h->m, hd_of, component, 3));
  out->local = local.n ? local : id;
  out->ns = out->local;
  if (id.n && str_eq_nocase(type, STR("ISO"))) out->ns = joined(h, STR("urn:oid:"), id);
  if (id.n && (str_eq_nocase(type, STR("UUID")) || str_eq_nocase(type, STR("GUID")))) out->ns = joined(h, STR("urn:uuid:"), id);
  if (id.n && (str_eq_nocase(type, STR("URI")) || str_eq_nocase(type, STR("URL")))) out->ns = id;
}

static bool number_of(struct hl7v2 *h, struct str cx, struct number *out) {
  out->value = hl7v2_text(h, hl7v2_part(&h->m, cx, 1, 1));
  out->type = hl7v2_text(h, hl7v2_part(&h->m, cx, 5, 1));
  authority(h, cx, 4, out);
  return out->value.n > 0;
}

static struct str key_of(struct hl7v2 *h, const struct number *n) {
  return n->local.n ? joined(h, joined(h, n->local, STR("/")), n->value) : n->value;
}

static int numbers(struct hl7v2 *h, int field, enum identifier_kind otherwise, bool with_ns) {
  struct str rest = h->at->field[field];
  while (rest.p) {
    struct number n;
    if (!number_of(h, hl7v2_repetition(&h->m, &rest), &n)) continue;
    enum identifier_kind kind = fhir_identifier_kind(n.type, STR_NONE);
    struct record r = {.kind = RECORD_IDENTIFIER,
                       .identifier = kind == IDENTIFIER_OTHER ? otherwise : kind,
                       .text = n.value,
                       .ns = with_ns ? n.ns : STR_NONE,
                       .value = NAN,
                       .time.us = TIME_STATIC};
    TRY(hl7v2_emit(h, &r, field));
  }
  return OK;
}

/* The identifier by which the source knows the person: PID-3, else the older PID-2 and PID-4 (in MRG: 1, 4, 2); mapping/hl7v2.json says
 * which of several. */
static struct str person_key(struct hl7v2 *h, const int fields[3]) {
  for (int i = 0; i < 3; i++) {
    struct str rest = h->at->field[fields[i]], key = STR_NONE;
    int best = INT_MAX;
    while (rest.p) {
      struct number n;
      if (!number_of(h, hl7v2_repetition(&h->m, &rest), &n)) continue;
      int rank = hl7v2_person_rank(h->tables, n.type, n.local);
      if (rank >= best) continue;
      best = rank;
      key = key_of(h, &n);
    }
    if (key.n) return key;
  }
  return STR_NONE;
}

/* ---- names, addresses, telephones ---- */

static int names(struct hl7v2 *h, int field) {
  struct str rest = h->at->field[field];
  while (rest.p) {
    struct str name = hl7v2_repetition(&h->m, &rest);
    for (int c = 1; c <= 3; c++) TRY(identify(h, IDENTIFIER_NAME, hl7v2_part(&h->m, name, c, 1), STR_NONE, field));
    TRY(identify(h, IDENTIFIER_NAME, hl7v2_part(&h->m, name, 1, 3), STR_NONE, field)); /* own surname beside the married one */
  }
  return OK;
}

static int addresses(struct hl7v2 *h, int field, bool own) {
  static const int parts[] = {1, 2, 3, 8, 9};
  struct str rest = h->at->field[field];
  while (rest.p) {
    struct str a = hl7v2_repetition(&h->m, &rest);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
      TRY(identify(h, IDENTIFIER_GEOGRAPHY, hl7v2_part(&h->m, a, parts[i], 1), STR_NONE, field));
    struct str postcode = hl7v2_text(h, hl7v2_part(&h->m, a, 5, 1)), country = hl7v2_text(h, hl7v2_part(&h->m, a, 6, 1));
    struct str type = hl7v2_text(h, hl7v2_part(&h->m, a, 7, 1));
    struct record r = {
        .kind = RECORD_IDENTIFIER, .identifier = IDENTIFIER_GEOGRAPHY, .text = postcode, .value = NAN, .time.us = TIME_STATIC};
    bool born_there = str_eq_nocase(type, STR("N")) || str_eq_nocase(type, STR("BDL")) || str_eq_nocase(type, STR("BR"));
    if (own && !born_there) r.postcode = postcode, r.country = country.n ? country : hl7v2_country(h->tables);
    if (postcode.n) TRY(hl7v2_emit(h, &r, field));
  }
  return OK;
}

static int telephones(struct hl7v2 *h, int field) {
  struct str rest = h->at->field[field];
  while (rest.p) {
    struct str x = hl7v2_repetition(&h->m, &rest), kind = hl7v2_part(&h->m, x, 3, 1);
    enum identifier_kind number = str_eqc(kind, "FX") ? IDENTIFIER_FAX : IDENTIFIER_PHONE;
    struct str area = hl7v2_text(h, hl7v2_part(&h->m, x, 6, 1)), local = hl7v2_text(h, hl7v2_part(&h->m, x, 7, 1));
    TRY(identify(h, number, hl7v2_part(&h->m, x, 1, 1), STR_NONE, field));
    TRY(identify(h, IDENTIFIER_EMAIL, hl7v2_part(&h->m, x, 4, 1), STR_NONE, field));
    TRY(identify(h, number, hl7v2_part(&h->m, x, 12, 1), STR_NONE, field));
    if (local.n) TRY(identify(h, number, area.n ? joined(h, joined(h, area, STR("-")), local) : local, STR_NONE, field));
  }
  return OK;
}

static int plain(struct hl7v2 *h, int field, enum identifier_kind kind) {
  return identify(h, kind, hl7v2_part(&h->m, h->at->field[field], 1, 1), STR_NONE, field);
}

/* ---- facts ---- */

static int fact(struct hl7v2 *h, const char *system, struct str code, int field) {
  struct hl7v2_coded c = {.n = 0};
  if (!code.n) return OK;
  if (code.n > 16 || !hl7v2_token(code)) return hl7v2_reject(h, field, "not a code", 103);
  bool fits = hl7v2_append(&c, str_c(system)) && hl7v2_append(&c, STR("//")) && hl7v2_append(&c, code);
  BUG_IF(!fits);
  struct record r = {.kind = RECORD_EVENT, .code = {c.text, c.n}, .value = NAN, .time.us = TIME_STATIC};
  return hl7v2_emit(h, &r, field);
}

static int facts(struct hl7v2 *h, const char *system, int field) {
  struct str rest = h->at->field[field];
  while (rest.p) TRY(fact(h, system, hl7v2_text(h, hl7v2_part(&h->m, hl7v2_repetition(&h->m, &rest), 1, 1)), field));
  return OK;
}

static int ethnicities(struct hl7v2 *h) {
  struct str rest = h->at->field[22];
  while (rest.p) {
    struct str code = hl7v2_text(h, hl7v2_part(&h->m, hl7v2_repetition(&h->m, &rest), 1, 1));
    TRY(fact(h, "ETHNICITY", hl7v2_ethnicity(h->tables, code), 22));
  }
  return OK;
}

static int life(struct hl7v2 *h) {
  struct record birth = {.kind = RECORD_BIRTH, .value = NAN}, death = {.kind = RECORD_DEATH, .value = NAN, .time.us = TIME_STATIC};
  if (hl7v2_when(h, 7, &birth.time)) TRY(hl7v2_emit(h, &birth, 7));
  bool said = str_eqc(h->at->field[30], "Y"), dated = hl7v2_when(h, 29, &death.time);
  if (dated || said) TRY(hl7v2_emit(h, &death, dated ? 29 : 30));
  return OK;
}

int hl7v2_take_pid(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) {
  h->person = person_key(h, (const int[]){3, 2, 4});
  h->visit = h->order = 0;
  h->order_off = h->report_off = false;
  h->observed = (struct record_time){.us = TIME_STATIC};
  if (!h->person.n) return hl7v2_reject(h, 3, "no identifier that names the person", 101);
  TRY(numbers(h, 3, IDENTIFIER_MRN, true));
  TRY(numbers(h, 2, IDENTIFIER_MRN, true));
  TRY(numbers(h, 4, IDENTIFIER_OTHER, true));
  TRY(numbers(h, 18, IDENTIFIER_ACCOUNT, true));
  TRY(names(h, 5));
  TRY(names(h, 6));
  TRY(names(h, 9));
  TRY(addresses(h, 11, true));
  TRY(telephones(h, 13));
  TRY(telephones(h, 14));
  TRY(plain(h, 19, IDENTIFIER_SSN));
  TRY(plain(h, 20, IDENTIFIER_LICENCE));
  TRY(numbers(h, 21, IDENTIFIER_OTHER, false)); /* the mother's: it links nobody to the child */
  TRY(plain(h, 23, IDENTIFIER_GEOGRAPHY));
  TRY(life(h));
  TRY(facts(h, "GENDER", 8));
  TRY(facts(h, "RACE", 10));
  TRY(facts(h, "MARITAL", 16));
  return ethnicities(h);
}

/* A merge says that the numbers in MRG and those in PID are one person's. */
int hl7v2_take_mrg(struct hl7v2 *h, const struct hl7v2_row *row) {
  if (!hl7v2_merges(h->tables, h->trigger)) return hl7v2_drop(h, 0);
  static const int fields[] = {1, 4, 2};
  struct str old = person_key(h, fields), *replaced = &h->answer->replaced;
  h->answer->several |= old.n && replaced->n && !str_eq(old, *replaced);
  if (old.n && !str_eq(old, h->person)) *replaced = old;
  for (int i = 0; i < 3; i++) { /* before the numbers: as identifiers of two persons of one source they would be a conflict */
    struct str rest = row->field[fields[i]];
    while (rest.p) {
      struct number n;
      if (!number_of(h, hl7v2_repetition(&h->m, &rest), &n) || hl7v2_person_rank(h->tables, n.type, n.local) == INT_MAX) continue;
      struct record r = {.kind = RECORD_SAME, .text = key_of(h, &n), .value = NAN, .time.us = TIME_STATIC};
      if (str_eq(r.text, h->person)) continue;
      TRY(hl7v2_emit(h, &r, fields[i]));
    }
  }
  TRY(numbers(h, 1, IDENTIFIER_MRN, true));
  TRY(numbers(h, 4, IDENTIFIER_MRN, true));
  TRY(numbers(h, 2, IDENTIFIER_OTHER, true));
  TRY(numbers(h, 3, IDENTIFIER_ACCOUNT, true));
  TRY(numbers(h, 5, IDENTIFIER_ACCOUNT, true));
  return names(h, 7);
}

/* ---- relatives, guarantors, insurance: for the vault, so that texts can be searched for them ---- */

int hl7v2_take_nk1(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) {
  TRY(names(h, 2));
  TRY(addresses(h, 4, false));
  TRY(telephones(h, 5));
  TRY(telephones(h, 6));
  TRY(plain(h, 12, IDENTIFIER_OTHER));
  TRY(numbers(h, 33, IDENTIFIER_OTHER, false));
  return plain(h, 37, IDENTIFIER_SSN);
}

int hl7v2_take_gt1(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) {
  TRY(numbers(h, 2, IDENTIFIER_ACCOUNT, false));
  TRY(names(h, 3));
  TRY(names(h, 4));
  TRY(addresses(h, 5, false));
  TRY(telephones(h, 6));
  TRY(telephones(h, 7));
  return plain(h, 12, IDENTIFIER_SSN);
}

int hl7v2_take_in1(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) {
  TRY(plain(h, 8, IDENTIFIER_HEALTH_PLAN));
  TRY(names(h, 16));
  TRY(addresses(h, 19, false));
  TRY(plain(h, 36, IDENTIFIER_HEALTH_PLAN));
  return numbers(h, 49, IDENTIFIER_HEALTH_PLAN, false);
}

int hl7v2_take_in2(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) {
  TRY(plain(h, 1, IDENTIFIER_OTHER));
  TRY(plain(h, 2, IDENTIFIER_SSN));
  TRY(plain(h, 6, IDENTIFIER_HEALTH_PLAN));
  TRY(plain(h, 8, IDENTIFIER_HEALTH_PLAN));
  return numbers(h, 61, IDENTIFIER_HEALTH_PLAN, false);
}
