/* Private to the HL7 v2 reader: a message in its parts, and what its files share.
 *
 *     struct hl7v2_message m;
 *     if ((why = hl7v2_split(arena, bytes, &m))) reject(why);
 *     struct str family = hl7v2_text(f, hl7v2_part(&m, field, 1, 1), …);
 *
 * Parts are pieces of the message's own bytes, not decoded; hl7v2_text decodes escapes into the arena. Counting is the standard's: fields,
 * components and subcomponents begin at 1.
 */
#ifndef RECORD_HL7V2_MESSAGE_H
#define RECORD_HL7V2_MESSAGE_H
#include "record/hl7v2.h"

struct hl7v2_segment {
  char name[4];
  struct str text; /* the whole segment, its name included */
};
struct hl7v2_message {
  char field, component, repetition, escape, sub; /* escape, sub: 0 = none */
  struct hl7v2_segment *segment;
  uint32_t n;
};
struct hl7v2_row { /* one segment cut into fields */
  const char *name;
  struct str field[HL7V2_FIELDS]; /* [0] is the name; MSH-1 is its separator. STR_NONE: absent, empty, or the null value "" */
  int n;
  bool more; /* fields beyond */
};
/* NULL, or why it is no message. `head` is filled as far as it can be read. */
const char *hl7v2_split(struct arena *a, struct str bytes, struct hl7v2_message *m);
void hl7v2_cut(const struct hl7v2_message *m, const struct hl7v2_segment *s, struct hl7v2_row *row);
struct str hl7v2_repetition(const struct hl7v2_message *m, struct str *rest); /* the next one; *rest ends as STR_NONE */
struct str hl7v2_part(const struct hl7v2_message *m, struct str repetition, int component, int sub);
/* The n-th component whole. */
struct str hl7v2_component(const struct hl7v2_message *m, struct str repetition, int component);
/* Escapes decoded, line breaks as \n; STR_NONE when out of memory. */
struct str hl7v2_decode(const struct hl7v2_message *m, struct arena *a, struct str s);
bool hl7v2_time(struct str s, struct record_time *out); /* YYYY[MM[DD[HH[MM[SS[.S…]]]]]][+-ZZZZ] */
bool hl7v2_is_null(struct str s);                       /* absent, empty or "" */

struct hl7v2_system {
  struct str name;
  int rank;
};
bool hl7v2_system(const struct hl7v2_tables *t, struct str id, struct hl7v2_system *out);
bool hl7v2_message_known(const struct hl7v2_tables *t, struct str type, struct str trigger, bool *type_known);
bool hl7v2_processing_ok(const struct hl7v2_tables *t, struct str id);
struct str hl7v2_class(const struct hl7v2_tables *t, struct str code);     /* PV1-2; STR_NONE = not an encounter */
struct str hl7v2_ethnicity(const struct hl7v2_tables *t, struct str code); /* PID-22; the code itself if it is not listed */
struct str hl7v2_country(const struct hl7v2_tables *t);                    /* of addresses that do not say */
int hl7v2_person_rank(const struct hl7v2_tables *t, struct str type, struct str authority); /* smaller names the person; INT_MAX = never */
bool hl7v2_merges(const struct hl7v2_tables *t, struct str trigger);                        /* MRG names the same person as PID */
bool hl7v2_not_done(const struct hl7v2_tables *t, struct str status);                       /* OBX-11 */
bool hl7v2_takes_back(const struct hl7v2_tables *t, struct str status);                     /* OBX-11, OBR-25: what came before was wrong */

bool hl7v2_cancels_order(const struct hl7v2_tables *t, struct str control); /* ORC-1 */

/* Visits and orders that a later message of the run takes back (A11, A13, ORC-1 = CA …): hash of person and number -> number of the last
 * such message. */
enum hl7v2_undo { HL7V2_UNDO_NONE, HL7V2_UNDO_START, HL7V2_UNDO_END, HL7V2_UNDO_ORDER };
enum { HL7V2_UNDOS = HL7V2_UNDO_ORDER + 1 };
enum hl7v2_undo hl7v2_undoes(const struct hl7v2_tables *t, struct str trigger);
bool hl7v2_taken_back(struct hl7v2_cancelled *c, enum hl7v2_undo what, uint64_t which, uint64_t sequence);
void hl7v2_found(struct hl7v2_cancelled *c, enum hl7v2_undo what,
                 uint64_t which); /* it has its effect, in this run or an earlier one's events */

struct hl7v2 {
  const struct hl7v2_options *o;
  const struct hl7v2_tables *tables;
  const struct record_sink *sink;
  struct record_stats *stats;
  struct error *e;
  struct arena *arena;
  const char *name;
  uint32_t file;
  uint64_t row, sequence;
  struct hl7v2_answer *answer;
  struct hl7v2_message m;
  struct hl7v2_row head, cut; /* MSH; another one */
  const struct hl7v2_row *at; /* the segment being taken: one of them */
  struct str person, trigger;
  struct record_time when, ended, observed; /* EVN-6, EVN-2 or MSH-7; of an end; OBR-7, RXA … */
  struct buf text;                          /* lines of a report that go on over OBX segments */
  struct str text_code;
  struct record_time text_time;
  uint64_t visit, order;      /* hash of the visit's number, of the order's; 0 = none yet */
  bool takes_back;            /* what would be an event is taken back */
  bool order_off, report_off; /* so are the segments of an ORC that cancels, of an OBR without results */
};
/* hl7v2_emit.c; < 0 always stops the run */
int hl7v2_emit(struct hl7v2 *h, struct record *r, int field) MUST_CHECK;
int hl7v2_drop(struct hl7v2 *h, int field) MUST_CHECK;
int hl7v2_reject(struct hl7v2 *h, int field, const char *reason, int condition); /* always OK */
const char *hl7v2_path(const char *segment, int field);                          /* "PID.5", for known segments; else "HL7v2.?" */
struct str hl7v2_text(struct hl7v2 *h, struct str raw);                          /* decoded and trimmed */
struct hl7v2_coded {
  char text[224];
  size_t n;
  struct str display;
  int rank;
};
/* The best of the codings in a CWE or CE: 1; 0 = none that is a code; < 0 stop */
int hl7v2_code(struct hl7v2 *h, struct str repetition, struct hl7v2_coded *out) MUST_CHECK;
bool hl7v2_token(struct str s); /* may be a code: short, printable, no spaces, nothing that forges its parts */
bool hl7v2_append(struct hl7v2_coded *c, struct str s);
/* A time in a field: true; false = absent, or wrong and rejected. */
bool hl7v2_when(struct hl7v2 *h, int field, struct record_time *out);

/* hl7v2_patient.c, hl7v2_clinical.c: one segment */
typedef int hl7v2_handler(struct hl7v2 *h, const struct hl7v2_row *row);
hl7v2_handler hl7v2_take_pid, hl7v2_take_mrg, hl7v2_take_nk1, hl7v2_take_in1, hl7v2_take_in2, hl7v2_take_gt1, hl7v2_take_evn,
    hl7v2_take_pv1, hl7v2_take_dg1, hl7v2_take_pr1, hl7v2_take_al1, hl7v2_take_orc, hl7v2_take_obr, hl7v2_take_obx, hl7v2_take_txa,
    hl7v2_take_rxe, hl7v2_take_rxa, hl7v2_take_rxd;
int hl7v2_text_end(struct hl7v2 *h) MUST_CHECK; /* hands over the report that was being collected */
/* The visit of a message as a hash, without taking anything: for cancellations. */
uint64_t hl7v2_visit_of(struct hl7v2 *h);
uint64_t hl7v2_order_of(struct hl7v2 *h); /* of the ORC at hand */
struct hl7v2_segment_kind {
  char name[4];
  hl7v2_handler *take;
  uint64_t taken, ignored; /* bit n: field n is used; is structure */
};
const struct hl7v2_segment_kind *hl7v2_segment_kind(const char *name);
#endif
