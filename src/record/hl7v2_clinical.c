/* EVN, PV1, DG1, PR1, AL1, OBR, OBX, TXA, RXE, RXA, RXD: what happened. */
#include <math.h>

#include "base/hash.h"
#include "record/fhir.h"
#include "record/hl7v2_message.h"

enum { TEXT_LIMIT = 8 << 20 };

static struct str field1(struct hl7v2 *h, int field) { return hl7v2_text(h, hl7v2_part(&h->m, h->at->field[field], 1, 1)); }

static int happened(struct hl7v2 *h, const struct hl7v2_coded *c, struct record_time when, int field) {
  struct record r = {.kind = RECORD_EVENT, .code = {c->text, c->n}, .display = c->display, .time = when, .value = NAN};
  return hl7v2_emit(h, &r, field);
}

static bool with(struct hl7v2_coded *c, const char *system, struct str code) {
  *c = (struct hl7v2_coded){.n = 0};
  return code.n <= 32 && hl7v2_token(code) && hl7v2_append(c, str_c(system)) && hl7v2_append(c, code);
}

int hl7v2_take_evn(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) {
  struct record_time t;
  if (hl7v2_when(h, 6, &t) || hl7v2_when(h, 2, &t)) h->when = t;
  return OK;
}

/* What `take` makes events of was wrong: they are taken back. */
static int take_back(struct hl7v2 *h, int (*take)(struct hl7v2 *)) {
  h->takes_back = true;
  int rc = take(h);
  h->takes_back = false;
  return rc;
}

/* ---- visits ---- */

uint64_t hl7v2_visit_of(struct hl7v2 *h) {
  struct str number = hl7v2_part(&h->m, h->at->field[19], 1, 1), began = hl7v2_part(&h->m, h->at->field[44], 1, 1);
  struct str is = number.n ? number : began;
  return is.n ? hash64(is.p, is.n, hash64(h->person.p, h->person.n, 7)) | 1 : 0;
}

static int begin(struct hl7v2 *h, struct str class, struct record_time start, bool timed) {
  struct hl7v2_coded c;
  if (!timed || (!h->takes_back && hl7v2_taken_back(h->o->cancelled, HL7V2_UNDO_START, h->visit, h->sequence))) return OK;
  if (with(&c, "ENCOUNTER//", class)) TRY(happened(h, &c, start, 44));
  if (with(&c, "ADMIT_SOURCE//V20023//", field1(h, 14))) TRY(happened(h, &c, start, 14));
  return OK;
}

static int end(struct hl7v2 *h, struct str class, struct record_time stop, bool timed) {
  struct hl7v2_coded c;
  bool back = hl7v2_taken_back(h->o->cancelled, HL7V2_UNDO_START, h->visit, h->sequence) ||
              hl7v2_taken_back(h->o->cancelled, HL7V2_UNDO_END, h->visit, h->sequence);
  if (!timed || (back && !h->takes_back)) return OK;
  if (with(&c, "ENCOUNTER_END//", class)) TRY(happened(h, &c, stop, 45));
  if (with(&c, "DISCHARGE//V20112//", field1(h, 36))) TRY(happened(h, &c, stop, 36));
  return OK;
}

/* Events know nothing of visit numbers: without the time that they had, an earlier run's cannot be found. */
static int undo_visit(struct hl7v2 *h, struct str class, enum hl7v2_undo undo, const struct record_time *start,
                      const struct record_time *stop) {
  const struct record_time *when = undo == HL7V2_UNDO_START ? start : stop;
  if (!when || !class.n) return hl7v2_drop(h, undo == HL7V2_UNDO_START ? 44 : 45);
  hl7v2_found(h->o->cancelled, undo, h->visit);
  h->takes_back = true;
  int rc = undo == HL7V2_UNDO_START ? begin(h, class, *start, true) : OK;
  if (rc == OK && stop) rc = end(h, class, *stop, true);
  h->takes_back = false;
  return rc;
}

int hl7v2_take_pv1(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) {
  static const int accounts[] = {19, 5, 50};
  struct record_time start, stop;
  struct str class = hl7v2_class(h->tables, field1(h, 2));
  enum hl7v2_undo undo = hl7v2_undoes(h->tables, h->trigger);
  h->visit = hl7v2_visit_of(h);
  for (int i = 0; i < 3; i++) {
    struct str number = field1(h, accounts[i]);
    struct record r = {.kind = RECORD_IDENTIFIER, .identifier = IDENTIFIER_ACCOUNT, .text = number, .value = NAN, .time.us = TIME_STATIC};
    if (number.n) TRY(hl7v2_emit(h, &r, accounts[i]));
  }
  bool began = hl7v2_when(h, 44, &start), ended = hl7v2_when(h, 45, &stop);
  if (undo != HL7V2_UNDO_NONE) TRY(undo_visit(h, class, undo, began ? &start : NULL, ended ? &stop : NULL));
  if (undo == HL7V2_UNDO_START) return OK;
  if (!class.n) return h->at->field[2].n ? hl7v2_drop(h, 2) : OK; /* planned, or of a class that is none */
  if (!began && (str_eqc(h->trigger, "A01") || str_eqc(h->trigger, "A04"))) start = h->when, began = start.us != TIME_STATIC;
  if (!ended && str_eqc(h->trigger, "A03")) stop = h->when, ended = stop.us != TIME_STATIC;
  if (undo == HL7V2_UNDO_END) ended = false;
  TRY(begin(h, class, start, began));
  return end(h, class, stop, ended);
}

/* ---- diagnoses, procedures, allergies ---- */

/* A code and its time, else the time of the message's event. */
static int coded(struct hl7v2 *h, int code, int time, const char *state) {
  struct hl7v2_coded c;
  struct record_time when;
  int rc = hl7v2_code(h, h->at->field[code], &c);
  TRY(rc);
  if (!rc) return hl7v2_reject(h, code, "no code", 101);
  if (!hl7v2_when(h, time, &when) && !h->takes_back) when = h->when;
  if (when.us == TIME_STATIC) return h->takes_back ? hl7v2_drop(h, code) : hl7v2_reject(h, time, "no time", 101);
  return hl7v2_append(&c, str_c(state)) ? happened(h, &c, when, code) : hl7v2_reject(h, code, "a code that is too long", 102);
}

static int diagnosis(struct hl7v2 *h) { return coded(h, 3, 5, ""); }
int hl7v2_take_dg1(struct hl7v2 *h, const struct hl7v2_row *row) {
  return str_eqc(row->field[21], "D") ? take_back(h, diagnosis) : diagnosis(h);
}
int hl7v2_take_pr1(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) { return coded(h, 3, 5, ""); }
int hl7v2_take_al1(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) { return coded(h, 3, 6, "//ALLERGY"); }

/* ---- observations ---- */

uint64_t hl7v2_order_of(struct hl7v2 *h) {
  struct str number = hl7v2_part(&h->m, h->at->field[h->at->field[2].n ? 2 : 3], 1, 1);
  return number.n ? hash64(number.p, number.n, hash64(h->person.p, h->person.n, 11)) | 1 : 0;
}

int hl7v2_take_orc(struct hl7v2 *h, const struct hl7v2_row *row) {
  struct record_time t;
  h->order = hl7v2_order_of(h);
  h->order_off = hl7v2_cancels_order(h->tables, row->field[1]);
  h->report_off = false;
  if (hl7v2_when(h, 15, &t) || hl7v2_when(h, 9, &t)) h->when = t;
  return OK;
}

int hl7v2_take_obr(struct hl7v2 *h, const struct hl7v2_row *row) {
  struct record_time t = {.us = TIME_STATIC};
  if (!hl7v2_when(h, 7, &t)) hl7v2_when(h, 22, &t);
  h->observed = t;
  h->report_off = hl7v2_takes_back(h->tables, row->field[25]);
  return OK;
}

int hl7v2_take_txa(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) {
  struct record_time t;
  if (hl7v2_when(h, 4, &t) || hl7v2_when(h, 6, &t)) h->observed = t;
  return OK;
}

int hl7v2_text_end(struct hl7v2 *h) {
  int rc = OK;
  if (h->text.n && h->text_code.n) {
    struct record r = {.kind = RECORD_EVENT, .code = h->text_code, .text = {h->text.p, h->text.n}, .time = h->text_time, .value = NAN};
    const struct hl7v2_row *was = h->at;
    static const struct hl7v2_row obx = {.name = "OBX"};
    h->at = &obx;
    rc = h->text.failed ? error_set(h->e, E_NOMEM, "no memory for a text") : hl7v2_emit(h, &r, 5);
    h->at = was;
  }
  if (h->text.n) mem_wipe(h->text.p, h->text.n);
  buf_clear(&h->text);
  h->text_code = STR_NONE;
  return rc;
}

/* Lines of a report come as one OBX each: a name that is cut by a line's end is found only in the whole. */
static int text(struct hl7v2 *h, const struct hl7v2_coded *c, struct record_time when) {
  struct str code = {c->text, c->n};
  if (!str_eq(code, h->text_code) || when.us != h->text_time.us) {
    TRY(hl7v2_text_end(h));
    h->text_code = str_copy(h->arena, code);
    h->text_time = when;
  }
  struct str rest = h->at->field[5];
  while (rest.p) {
    struct str line = hl7v2_decode(&h->m, h->arena, hl7v2_repetition(&h->m, &rest));
    if (!line.n) continue;
    if (h->text.n + line.n > TEXT_LIMIT) return hl7v2_reject(h, 5, "a text longer than 8 MiB", 102);
    if (h->text.n) buf_putc(&h->text, '\n');
    buf_str(&h->text, line);
  }
  return OK;
}

/* ED: source ^ type ^ subtype ^ encoding ^ data. Of documents only texts are read. */
static int document(struct hl7v2 *h, const struct hl7v2_coded *c, struct record_time when) {
  struct str first = h->at->field[5], ed = hl7v2_repetition(&h->m, &first);
  struct str type = hl7v2_part(&h->m, ed, 2, 1), sub = hl7v2_part(&h->m, ed, 3, 1), encoding = hl7v2_part(&h->m, ed, 4, 1);
  struct str data = hl7v2_component(&h->m, ed, 5);
  bool plain = str_eq_nocase(type, STR("TEXT")) || str_eq_nocase(type, STR("TX")) || str_eq_nocase(sub, STR("TEXT"));
  if (!plain || !data.n || str_eq_nocase(sub, STR("HTML")) || str_eq_nocase(sub, STR("RTF"))) return hl7v2_drop(h, 5);
  struct str out = hl7v2_decode(&h->m, h->arena, data);
  if (str_eq_nocase(encoding, STR("Base64"))) {
    char *room = arena_alloc(h->arena, data.n / 4 * 3 + 3, 1);
    if (!room) return error_set(h->e, E_NOMEM, "no memory for a document");
    out = (struct str){room, 0};
    if (!fhir_base64(data, room, &out.n)) return hl7v2_reject(h, 5, "not base64", 102);
  }
  if (!str_utf8_valid(out) || out.n > TEXT_LIMIT) return hl7v2_reject(h, 5, "a text that is not UTF-8, or longer than 8 MiB", 102);
  struct record r = {.kind = RECORD_EVENT, .code = {c->text, c->n}, .display = c->display, .text = out, .time = when, .value = NAN};
  return out.n ? hl7v2_emit(h, &r, 5) : OK;
}

static int number(struct hl7v2 *h, const struct hl7v2_coded *c, struct record_time when, struct str s) {
  struct record r = {.kind = RECORD_EVENT, .code = {c->text, c->n}, .display = c->display, .time = when};
  struct str unit = field1(h, 6), spelled = hl7v2_text(h, hl7v2_part(&h->m, h->at->field[6], 2, 1));
  if (str_to_f64(str_trim(s), &r.value) < 0 || !record_number(r.value)) return hl7v2_reject(h, 5, "not a number", 102);
  r.unit = unit.n ? unit : spelled;
  return hl7v2_emit(h, &r, 5);
}

/* SN: comparator ^ number ^ separator ^ number. A range or a ratio is no number. */
static int structured(struct hl7v2 *h, const struct hl7v2_coded *c, struct record_time when, struct str sn) {
  struct str comparator = hl7v2_part(&h->m, sn, 1, 1), first = hl7v2_text(h, hl7v2_part(&h->m, sn, 2, 1)),
             separator = hl7v2_part(&h->m, sn, 3, 1);
  if (separator.n || !first.n) return hl7v2_drop(h, 5);
  if (comparator.n && !str_eqc(comparator, "=")) TRY(hl7v2_drop(h, 5)); /* counted; the number stays, as with FHIR */
  return number(h, c, when, first);
}

static int answers(struct hl7v2 *h, const struct hl7v2_coded *c, struct record_time when) {
  struct str rest = h->at->field[5];
  while (rest.p) {
    struct hl7v2_coded value, both = *c;
    int rc = hl7v2_code(h, hl7v2_repetition(&h->m, &rest), &value);
    TRY(rc);
    if (!rc) {
      TRY(hl7v2_drop(h, 5));
      continue;
    }
    both.display = STR_NONE;
    if (!hl7v2_append(&both, STR("//")) || !hl7v2_append(&both, (struct str){value.text, value.n}))
      return hl7v2_reject(h, 5, "a code that is too long", 102);
    TRY(happened(h, &both, when, 5));
  }
  return OK;
}

static int value(struct hl7v2 *h, const struct hl7v2_coded *c, struct record_time when, struct str type) {
  static const char *const codes[] = {"CWE", "CE", "CF", "CNE", "CX"}, *const texts[] = {"TX", "FT", "ST"};
  struct str rest = h->at->field[5], s = hl7v2_text(h, rest);
  double v;
  if (!rest.n) return hl7v2_drop(h, 3);
  if (str_eqc(type, "NM")) return number(h, c, when, s);
  if (str_eqc(type, "SN")) return structured(h, c, when, hl7v2_repetition(&h->m, &rest));
  if (str_eqc(type, "ST") && str_to_f64(s, &v) == OK) return number(h, c, when, s); /* laboratories do send numbers as texts */
  for (size_t i = 0; i < 4; i++)
    if (str_eqc(type, codes[i])) return answers(h, c, when);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (str_eqc(type, texts[i])) return text(h, c, when);
  return str_eqc(type, "ED") ? document(h, c, when) : hl7v2_drop(h, 5); /* dates, names, addresses, pointers … */
}

/* Whatever its value was: a number, a text, and of coded answers those that are named. */
static int result_back(struct hl7v2 *h) {
  struct hl7v2_coded c;
  struct record_time when;
  int rc = hl7v2_code(h, h->at->field[3], &c);
  TRY(rc);
  if (!rc) return hl7v2_reject(h, 3, "no code", 101);
  if (!hl7v2_when(h, 14, &when)) when = h->observed;
  if (when.us == TIME_STATIC) return hl7v2_drop(h, 11);
  if (h->order_off) hl7v2_found(h->o->cancelled, HL7V2_UNDO_ORDER, h->order);
  TRY(hl7v2_text_end(h));
  TRY(happened(h, &c, when, 3));
  return str_starts(h->at->field[2], STR("C")) && h->at->field[5].n ? answers(h, &c, when) : OK;
}

int hl7v2_take_obx(struct hl7v2 *h, const struct hl7v2_row *row) {
  struct hl7v2_coded c;
  struct record_time when;
  bool back = hl7v2_takes_back(h->tables, row->field[11]);
  if (back || h->order_off || h->report_off) return take_back(h, result_back);
  if (row->field[11].n && hl7v2_not_done(h->tables, row->field[11])) return hl7v2_drop(h, 11);
  int rc = hl7v2_code(h, row->field[3], &c);
  TRY(rc);
  if (!rc) return hl7v2_reject(h, 3, "no code", 101);
  if (!hl7v2_when(h, 14, &when)) when = h->observed;
  if (when.us == TIME_STATIC && str_starts(h->trigger, STR("A"))) when = h->when; /* an ADT message has an event of its own */
  if (when.us == TIME_STATIC) return hl7v2_reject(h, 14, "no time, here or in OBR", 101);
  return value(h, &c, when, row->field[2]);
}

/* ---- medication ---- */

static int ordered(struct hl7v2 *h) {
  struct hl7v2_coded c;
  struct record_time when = {.us = TIME_STATIC};
  if (!h->takes_back && hl7v2_taken_back(h->o->cancelled, HL7V2_UNDO_ORDER, h->order, h->sequence)) return hl7v2_drop(h, 2);
  int rc = hl7v2_code(h, h->at->field[2], &c);
  TRY(rc);
  if (!rc) return hl7v2_reject(h, 2, "no code", 101);
  struct str start = hl7v2_part(&h->m, h->at->field[1], 4, 1);
  if (!start.n || !hl7v2_time(start, &when)) {
    when = h->when;
    if (h->takes_back) when.us = TIME_STATIC;
  }
  if (when.us == TIME_STATIC) return h->takes_back ? hl7v2_drop(h, 2) : hl7v2_reject(h, 1, "no time", 101);
  if (h->takes_back) hl7v2_found(h->o->cancelled, HL7V2_UNDO_ORDER, h->order);
  return happened(h, &c, when, 2);
}

int hl7v2_take_rxe(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) { return h->order_off ? take_back(h, ordered) : ordered(h); }

static int given(struct hl7v2 *h, int code, int time, int amount, int unit, const char *state) {
  struct hl7v2_coded c;
  struct record r = {.kind = RECORD_EVENT, .value = NAN};
  int rc = hl7v2_code(h, h->at->field[code], &c);
  TRY(rc);
  if (!rc) return hl7v2_reject(h, code, "no code", 101);
  if (!hl7v2_when(h, time, &r.time)) return hl7v2_reject(h, time, "no time", 101);
  bool vaccine = str_starts((struct str){c.text, c.n}, STR("CVX//"));
  if (!vaccine && !hl7v2_append(&c, str_c(state))) return hl7v2_reject(h, code, "a code that is too long", 102);
  double dose;
  struct str s = field1(h, amount);
  if (s.n && str_to_f64(s, &dose) == OK && record_number(dose) && dose != 999) /* 999: not known */
    r.value = dose, r.unit = field1(h, unit);
  r.code = (struct str){c.text, c.n};
  r.display = c.display;
  return hl7v2_emit(h, &r, code);
}

static int administered(struct hl7v2 *h) { return given(h, 5, 3, 6, 7, "//ADMINISTERED"); }
int hl7v2_take_rxa(struct hl7v2 *h, const struct hl7v2_row *row) {
  if (str_eqc(row->field[21], "D")) return take_back(h, administered);
  bool not_given = str_eqc(row->field[20], "RE") || str_eqc(row->field[20], "NA");
  return not_given ? hl7v2_drop(h, 20) : administered(h);
}

static int dispensed(struct hl7v2 *h) { return given(h, 2, 3, 4, 5, "//DISPENSED"); }
int hl7v2_take_rxd(struct hl7v2 *h, const struct hl7v2_row *row UNUSED) { return h->order_off ? take_back(h, dispensed) : dispensed(h); }
