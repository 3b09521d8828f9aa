/* HL7 v2.x messages in the bar notation (2.1 to 2.9) -> records. Files, batches, MLLP captures, or one message from memory.
 *
 *     struct hl7v2_tables *tables;  TRY(hl7v2_tables_load("mapping/hl7v2.json", &tables, e));
 *     TRY(hl7v2_read(&(struct hl7v2_options){.tables = tables}, "feed/", &sink, &stats, e));
 *
 * A network listener hands over one message after another and answers each:
 *
 *     while (hl7v2_frame_next((struct str){bytes, n}, &message, &used) == HL7V2_FRAME_WHOLE) {    // MLLP: 0x0B … 0x1C 0x0D
 *       struct hl7v2_answer answer;
 *       TRY(hl7v2_take(&options, &arena, message, file, row, "mllp", &sink, &stats, &answer, e)); // < 0: the sink stopped the run
 *       hl7v2_acknowledge(&answer, control_id, time_now(), &reply);                               // MSH MSA ERR…; answer points into message
 *       hl7v2_frame_put(&out, (struct str){reply.p, reply.n});
 *       arena_reset(&arena);  bytes += used;  n -= used;
 *     }
 *
 * What becomes of which segment, and of what is corrected or cancelled: docs/hl7v2.md. A message is taken or rejected by itself; inside a
 * message a bad segment or field is rejected by itself. Nothing that came in a message is used as a path or a reason, and an answer holds
 * nothing of it but what the sender's own MSH said (applications, facilities, control id). Facts: HL7 v2.5.1 chapters 2, 3, 4, 6, 7; the
 * MLLP release 2 block format.
 */
#ifndef RECORD_HL7V2_H
#define RECORD_HL7V2_H
#include "base/arena.h"
#include "record/record.h"

/* mapping/hl7v2.json: code systems (table 0396), message types, which identifier names the person … A site edits a copy. Immutable. */
struct hl7v2_tables;
int hl7v2_tables_load(const char *path, struct hl7v2_tables **out, struct error *e) MUST_CHECK;
void hl7v2_tables_free(struct hl7v2_tables *t);

enum { HL7V2_MESSAGE_LIMIT = 32 << 20, HL7V2_SEGMENTS = 100000, HL7V2_FIELDS = 64, HL7V2_PROBLEMS = 16 };
struct hl7v2_cancelled;
struct hl7v2_options {
  const struct hl7v2_tables *tables;
  bool identities;                   /* only what tells who persons are, for the pass before */
  size_t message_limit;              /* bytes; 0 = HL7V2_MESSAGE_LIMIT */
  struct hl7v2_cancelled *cancelled; /* of hl7v2_read and hl7v2_take_all: what a later message of the same run takes back, */
  uint64_t sequence;                 /* and the number of the message in the run */
};
/* A file, or a directory whose files are all looked at; plain or gzip. One that holds no message is a reject of its own. */
int hl7v2_read(const struct hl7v2_options *o, const char *path, const struct record_sink *sink, struct record_stats *stats,
               struct error *e) MUST_CHECK;

/* Acknowledgement code and error condition, tables 0008 and 0357. */
struct hl7v2_problem {
  const char *segment; /* "PID", one of our own words; "" = the message */
  int field;           /* 0 = the segment */
  const char *reason;  /* one of our own sentences */
  int condition;       /* table 0357 */
};
struct hl7v2_answer {
  const char *code;     /* "AA" taken, "AE" could not be taken, "AR" is not taken by this program: type, version, processing id */
  char field, marks[5]; /* the sender's separators */
  struct str application, facility, to_application, to_facility; /* MSH-3 to 6, as they came */
  struct str control, trigger, processing, version, charset;     /* MSH-10, 9.2, 11, 12, 18 */
  struct str type;                                               /* MSH-9.1 */
  struct str person, replaced;                  /* the key of PID, and that of MRG in a merge: in `arena`; of a message that was taken */
  bool several;                                 /* PIDs (or MRGs) of more than one person: `person` and `replaced` are of one of them */
  struct hl7v2_problem problem[HL7V2_PROBLEMS]; /* with AA: what was left out of a message that was taken */
  int problems;
};
/* One message, without its frame. Pure: no I/O. `arena` holds what is decoded, for one message; `name` stands in for the file in rejects. OK
 * also when the message was rejected: `answer` and the sink say so. < 0 only when the sink stops the run or memory ends. */
int hl7v2_take(const struct hl7v2_options *o, struct arena *a, struct str message, uint32_t file, uint64_t row, const char *name,
               const struct record_sink *sink, struct record_stats *stats, struct hl7v2_answer *answer, struct error *e) MUST_CHECK;
/* A run of messages from memory, in their order: as hl7v2_take, but what a later one takes back (a visit, an order) is known to the earlier
 * ones. What is wrong with a message goes to the sink alone. */
int hl7v2_take_all(const struct hl7v2_options *o, const struct str *message, size_t n, const char *name, const struct record_sink *sink,
                   struct record_stats *stats, struct error *e) MUST_CHECK;
/* A field of the first segment of that name, as it came (not decoded); STR_NONE: absent, empty, or no message. No memory is taken. */
struct str hl7v2_raw(struct str message, const char segment[4], int field);
/* Adds a problem of the caller's own (segment and reason: our words), as long as there is room. */
void hl7v2_problem_add(struct hl7v2_answer *answer, const char *code, const char *segment, int field, const char *reason, int condition);
/* Appends the answer's message: MSH, MSA and one ERR a problem. `id` = this program's own control id, `now` = us since 1970. */
void hl7v2_acknowledge(const struct hl7v2_answer *answer, struct str id, int64_t now, struct buf *out);

enum hl7v2_frame { HL7V2_FRAME_MORE, HL7V2_FRAME_WHOLE, HL7V2_FRAME_WRONG };
/* The first MLLP block in `bytes`. WHOLE: *message lies in it, *used bytes are done with. MORE: wait for more; *used bytes before the block
 * can go. WRONG: a block began inside a block; *used bytes are to be skipped. The caller limits how long it waits and how much it keeps. */
enum hl7v2_frame hl7v2_frame_next(struct str bytes, struct str *message, size_t *used);
void hl7v2_frame_put(struct buf *out, struct str message);
#endif
