/* How the HL7 v2 reader speaks to its sink; codes and times out of fields. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "record/hl7v2_message.h"

/* ---- segments and their paths ---- */

#define B(n) (UINT64_C(1) << (n))
static const struct hl7v2_segment_kind kinds[] = {
    {"MSH", NULL, 0, ~UINT64_C(0)},
    {"SFT", NULL, 0, ~UINT64_C(0)},
    {"EVN", hl7v2_take_evn, B(2) | B(6), B(1) | B(3) | B(4)},
    {"PID", hl7v2_take_pid,
     B(2) | B(3) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(10) | B(11) | B(13) | B(14) | B(16) | B(18) | B(19) | B(20) | B(21) | B(22) |
         B(23) | B(29) | B(30),
     B(1) | B(12) | B(24) | B(25) | B(31) | B(32) | B(33) | B(34)},
    {"PD1", NULL, 0, B(1)},
    {"MRG", hl7v2_take_mrg, B(1) | B(2) | B(3) | B(4) | B(5) | B(7), 0},
    {"NK1", hl7v2_take_nk1, B(2) | B(4) | B(5) | B(6) | B(12) | B(33) | B(37), B(1) | B(3) | B(7)},
    {"GT1", hl7v2_take_gt1, B(2) | B(3) | B(4) | B(5) | B(6) | B(7) | B(12), B(1) | B(10) | B(11)},
    {"IN1", hl7v2_take_in1, B(8) | B(16) | B(19) | B(36) | B(49), B(1) | B(2) | B(3) | B(4) | B(17)},
    {"IN2", hl7v2_take_in2, B(1) | B(2) | B(6) | B(8) | B(61), 0},
    {"PV1", hl7v2_take_pv1, B(2) | B(5) | B(14) | B(19) | B(36) | B(44) | B(45) | B(50), B(1) | B(4) | B(10) | B(18)},
    {"PV2", NULL, 0, B(1)},
    {"DG1", hl7v2_take_dg1, B(3) | B(5) | B(21), B(1) | B(2) | B(4) | B(6) | B(15) | B(17) | B(18) | B(20)},
    {"PR1", hl7v2_take_pr1, B(3) | B(5), B(1) | B(2) | B(4) | B(6)},
    {"AL1", hl7v2_take_al1, B(3) | B(6), B(1) | B(2) | B(4)},
    {"ORC", hl7v2_take_orc, B(1) | B(9) | B(15), B(2) | B(3) | B(4) | B(5)},
    {"OBR", hl7v2_take_obr, B(7) | B(22) | B(25), B(1) | B(2) | B(3) | B(4) | B(24) | B(27)},
    {"OBX", hl7v2_take_obx, B(2) | B(3) | B(5) | B(6) | B(11) | B(14), B(1) | B(4) | B(7) | B(8) | B(9) | B(10) | B(12)},
    {"TXA", hl7v2_take_txa, B(4) | B(6), B(1) | B(2) | B(3) | B(17)},
    {"RXE", hl7v2_take_rxe, B(1) | B(2) | B(3) | B(5), B(6)},
    {"RXA", hl7v2_take_rxa, B(3) | B(5) | B(6) | B(7) | B(20) | B(21), B(1) | B(2) | B(4)},
    {"RXD", hl7v2_take_rxd, B(2) | B(3) | B(4) | B(5), B(1)},
    {"RXR", NULL, 0, B(1) | B(2)},
    {"RXO", NULL, 0, 0},
    {"RXC", NULL, 0, 0},
    {"TQ1", NULL, 0, B(1)},
    {"NTE", NULL, 0, B(1) | B(2)},
    {"SPM", NULL, 0, B(1) | B(4)},
    {"FT1", NULL, 0, B(1)},
    {"ROL", NULL, 0, B(1)},
    {"DSC", NULL, 0, 0},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static char paths[KINDS][HL7V2_FIELDS][8];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void build(void) {
  for (int k = 0; k < KINDS; k++)
    for (int f = 0; f < HL7V2_FIELDS; f++)
      if (f)
        snprintf(paths[k][f], sizeof paths[k][f], "%s.%d", kinds[k].name, f);
      else
        memcpy(paths[k][f], kinds[k].name, 4);
}

const struct hl7v2_segment_kind *hl7v2_segment_kind(const char *name) {
  for (int k = 0; k < KINDS; k++)
    if (memcmp(kinds[k].name, name, 4) == 0) return &kinds[k];
  return NULL;
}

const char *hl7v2_path(const char *segment, int field) {
  BUG_IF(pthread_once(&once, build) != 0);
  const struct hl7v2_segment_kind *k = segment ? hl7v2_segment_kind(segment) : NULL;
  return k && field >= 0 && field < HL7V2_FIELDS ? paths[k - kinds][field] : "HL7v2.?";
}

/* ---- emission ---- */

int hl7v2_emit(struct hl7v2 *h, struct record *r, int field) {
  bool who = r->kind == RECORD_IDENTIFIER || r->kind == RECORD_BIRTH || r->kind == RECORD_SAME;
  if (h->o->identities && !who) return OK;
  if (h->takes_back && r->kind == RECORD_EVENT) r->kind = RECORD_TAKEN_BACK, r->value = NAN, r->text = r->unit = r->display = STR_NONE;
  r->path = hl7v2_path(h->at->name, field);
  r->person = h->person;
  r->file = h->file;
  r->row = h->row;
  h->stats->records++;
  return h->sink->record(h->sink->ctx, r, h->e);
}

int hl7v2_drop(struct hl7v2 *h, int field) {
  if (h->o->identities) return OK;
  struct record r = {.kind = RECORD_DROPPED,
                     .value = NAN,
                     .time.us = TIME_STATIC,
                     .path = hl7v2_path(h->at ? h->at->name : NULL, field),
                     .file = h->file,
                     .row = h->row,
                     .person = h->person};
  h->stats->dropped++;
  return h->sink->record(h->sink->ctx, &r, h->e);
}

int hl7v2_reject(struct hl7v2 *h, int field, const char *reason, int condition) {
  const char *path = h->at ? hl7v2_path(h->at->name, field) : "";
  h->stats->rejected++;
  if (h->sink->reject) h->sink->reject(h->sink->ctx, &(struct record_reject){h->name, h->row, path, reason});
  struct hl7v2_answer *a = h->answer;
  const struct hl7v2_segment_kind *kind = h->at ? hl7v2_segment_kind(h->at->name) : NULL;
  if (a->problems < HL7V2_PROBLEMS) a->problem[a->problems++] = (struct hl7v2_problem){kind ? kind->name : "", field, reason, condition};
  return OK;
}

struct str hl7v2_text(struct hl7v2 *h, struct str raw) {
  return str_trim(hl7v2_decode(&h->m, h->arena, raw));
}

/* ---- codes ---- */

bool hl7v2_append(struct hl7v2_coded *c, struct str s) {
  if (s.n > sizeof c->text - c->n) return false;
  if (s.n) memcpy(c->text + c->n, s.p, s.n);
  c->n += s.n;
  return true;
}

/* The same rule as for codes of FHIR: a token, nothing that could be a text. */
bool hl7v2_token(struct str s) {
  if (!s.n || s.n > 64) return false;
  for (size_t i = 0; i < s.n; i++) {
    unsigned char c = (unsigned char)s.p[i];
    if (c <= ' ' || c >= 0x7f || c == '@' || c == '"' || c == '\\' || (c == '/' && i && s.p[i - 1] == '/')) return false;
  }
  return true;
}

int hl7v2_code(struct hl7v2 *h, struct str repetition, struct hl7v2_coded *out) {
  static const int first[] = {1, 4, 10}; /* identifier, text, system; the alternates */
  bool found = false;
  out->n = 0;
  for (int i = 0; i < 3; i++) {
    struct str code = hl7v2_text(h, hl7v2_part(&h->m, repetition, first[i], 1));
    struct str system = hl7v2_text(h, hl7v2_part(&h->m, repetition, first[i] + 2, 1));
    struct hl7v2_system s;
    if (!hl7v2_token(code)) continue;
    if (!hl7v2_system(h->tables, system, &s)) s = (struct hl7v2_system){STR("LOCAL"), 1000};
    if (found && s.rank >= out->rank) continue;
    found = true;
    out->n = 0;
    out->rank = s.rank;
    out->display = hl7v2_text(h, hl7v2_part(&h->m, repetition, first[i] + 1, 1));
    bool fits = hl7v2_append(out, s.name) && hl7v2_append(out, STR("//")) && hl7v2_append(out, code);
    if (!fits) return 0;
  }
  return found;
}

bool hl7v2_when(struct hl7v2 *h, int field, struct record_time *out) {
  struct str s = hl7v2_part(&h->m, h->at->field[field], 1, 1);
  *out = (struct record_time){.us = TIME_STATIC};
  if (hl7v2_is_null(s)) return false;
  if (hl7v2_time(s, out)) return true;
  out->us = TIME_STATIC;
  hl7v2_reject(h, field, "no date or time that exists", 207);
  return false;
}
