/* Messages, files, batches. */
#include "record/hl7v2_message.h"

#include "base/file.h"
#include "base/map.h"
#include "base/thread.h"

#define MESSAGE_MEMORY(limit) ((limit)*4 + (1 << 20))

/* ---- one message ---- */

static int refuse(struct hl7v2 *h, const char *code, int field, const char *reason, int condition) {
  h->answer->code = code;
  return hl7v2_reject(h, field, reason, condition);
}

/* ISO 8859-1 -> UTF-8 */
static struct str latin1(struct arena *a, struct str s) {
  char *out = arena_alloc(a, 2 * s.n + 1, 1);
  size_t n = 0;
  if (!out) return STR_NONE;
  for (size_t i = 0; i < s.n; i++) {
    unsigned char c = (unsigned char)s.p[i];
    if (c >= 0x80) out[n++] = (char)(0xC0 | c >> 6), c = (unsigned char)(0x80 | (c & 0x3F));
    out[n++] = (char)c;
  }
  return (struct str){out, n};
}

static void head(struct hl7v2 *h, const struct hl7v2_row *msh) {
  struct hl7v2_answer *a = h->answer;
  char marks[] = {h->m.component, h->m.repetition, h->m.escape, h->m.sub, 0};
  a->field = h->m.field;
  memcpy(a->marks, marks, sizeof marks);
  a->application = msh->field[3], a->facility = msh->field[4];
  a->to_application = msh->field[5], a->to_facility = msh->field[6];
  a->trigger = hl7v2_part(&h->m, msh->field[9], 2, 1);
  a->type = hl7v2_part(&h->m, msh->field[9], 1, 1);
  a->control = msh->field[10], a->charset = msh->field[18];
  a->processing = hl7v2_part(&h->m, msh->field[11], 1, 1), a->version = hl7v2_part(&h->m, msh->field[12], 1, 1);
  h->trigger = a->trigger;
}

/* Splits, in UTF-8. False: refused. */
static bool ready(struct hl7v2 *h, struct str bytes) {
  struct hl7v2_row *msh = &h->head;
  const char *why = bytes.n && memchr(bytes.p, 0, bytes.n) ? "holds a byte of zero" : hl7v2_split(h->arena, bytes, &h->m);
  if (!why && !h->m.n) why = "an empty message";
  if (why) return refuse(h, "AE", 0, why, 100), false;
  hl7v2_cut(&h->m, &h->m.segment[0], msh);
  h->at = msh;
  head(h, msh);
  if (str_utf8_valid(bytes)) return true;
  struct str set = h->answer->charset;
  bool western = !set.n || str_eq_nocase(set, STR("8859/1")) || str_eq_nocase(set, STR("8859/15")) || str_eq_nocase(set, STR("ASCII"));
  if (!western) return refuse(h, "AE", 18, "not in the character set that it names, or one that is not read", 102), false;
  bytes = latin1(h->arena, bytes);
  why = bytes.p ? hl7v2_split(h->arena, bytes, &h->m) : "larger than the memory for one message";
  if (why) return refuse(h, "AE", 0, why, 100), false;
  hl7v2_cut(&h->m, &h->m.segment[0], msh);
  head(h, msh);
  return true;
}

static bool wanted(struct hl7v2 *h) {
  const struct hl7v2_row *msh = &h->head;
  bool type;
  struct str code = hl7v2_part(&h->m, msh->field[9], 1, 1);
  if (!str_starts(h->answer->version, STR("2."))) return refuse(h, "AR", 12, "not a version 2 message", 203), false;
  if (!hl7v2_message_known(h->tables, code, h->trigger, &type))
    return refuse(h, "AR", 9, type ? "an event that is not taken" : "a message type that is not taken", type ? 201 : 200), false;
  if (!hl7v2_processing_ok(h->tables, h->answer->processing))
    return refuse(h, "AR", 11, "not of production: its processing id is not taken (mapping/hl7v2.json)", 202), false;
  return true;
}

static int leftovers(struct hl7v2 *h, const struct hl7v2_segment_kind *kind, const struct hl7v2_row *row) {
  uint64_t known = kind->taken | kind->ignored | 1;
  if (!kind->take && !kind->ignored) return hl7v2_drop(h, 0);
  for (int f = 1; f < row->n; f++)
    if (row->field[f].n && !(known >> f & 1)) TRY(hl7v2_drop(h, f));
  return row->more ? hl7v2_drop(h, HL7V2_FIELDS) : OK;
}

struct seen {
  uint64_t pids, persons;
};

static int segment(struct hl7v2 *h, const struct hl7v2_segment *s, struct seen *seen) {
  struct hl7v2_row *row = &h->cut;
  const struct hl7v2_segment_kind *kind = hl7v2_segment_kind(s->name);
  bool pid = memcmp(s->name, "PID", 4) == 0;
  hl7v2_cut(&h->m, s, row);
  h->at = row;
  if (!s->name[0]) return hl7v2_reject(h, 0, "a line that is no segment", 100);
  if (memcmp(s->name, "OBX", 4) != 0) TRY(hl7v2_text_end(h));
  if (!kind) return h->person.n ? hl7v2_drop(h, 0) : OK;
  if (memcmp(s->name, "MSH", 4) == 0) return hl7v2_reject(h, 0, "a message inside a message", 100);
  if (!pid && kind->take && !h->person.n && memcmp(s->name, "EVN", 4) != 0) return OK; /* its PID was refused, or there is none */
  if (kind->take) TRY(kind->take(h, row));
  if (pid && h->person.n && ++seen->persons == 1) h->answer->person = h->person;
  /* one of them may be nameless: who takes the message for the first PID's would take what is the other's for theirs */
  if (pid && ++seen->pids > 1) h->answer->several |= seen->persons < seen->pids || !str_eq(h->person, h->answer->person);
  return leftovers(h, kind, row);
}

static int take(struct hl7v2 *h, struct str bytes) {
  struct seen seen = {0};
  struct record_time t;
  if (!ready(h, bytes) || !wanted(h)) return OK;
  h->stats->resources++;
  h->when = h->observed = (struct record_time){.us = TIME_STATIC};
  if (hl7v2_when(h, 7, &t)) h->when = t;
  for (uint32_t i = 1; i < h->m.n; i++) TRY(segment(h, &h->m.segment[i], &seen));
  h->at = &h->head;
  TRY(hl7v2_text_end(h));
  if (seen.persons) return h->answer->code = "AA", OK;
  h->answer->code = "AE";
  return h->answer->problems ? OK : hl7v2_reject(h, 0, "no PID segment", 100);
}

/* Its sender is told by its control id, so the head is read all the same. */
static int too_long(struct hl7v2 *h, struct str bytes, size_t limit) {
  size_t n = 0;
  while (n < limit && bytes.p[n] != '\r' && bytes.p[n] != '\n') n++;
  return ready(h, (struct str){bytes.p, n}) ? refuse(h, "AE", 0, "longer than the limit of a message", 102) : OK;
}

int hl7v2_take(const struct hl7v2_options *o, struct arena *a, struct str message, uint32_t file, uint64_t row, const char *name,
               const struct record_sink *sink, struct record_stats *stats, struct hl7v2_answer *answer, struct error *e) {
  *answer = (struct hl7v2_answer){.code = "AE", .field = '|', .marks = "^~\\&"};
  struct hl7v2 h = {.o = o,
                    .tables = o->tables,
                    .sink = sink,
                    .stats = stats,
                    .e = e,
                    .arena = a,
                    .name = name,
                    .file = file,
                    .row = row,
                    .sequence = o->sequence,
                    .answer = answer};
  size_t limit = o->message_limit ? o->message_limit : HL7V2_MESSAGE_LIMIT;
  int rc = message.n > limit ? too_long(&h, message, limit) : take(&h, message);
  if (h.text.n) mem_wipe(h.text.p, h.text.n);
  buf_release(&h.text);
  return rc;
}

/* ---- what later messages take back ---- */

struct hl7v2_cancelled {
  struct map64 last[HL7V2_UNDOS]; /* visit or order -> number of the last message that takes it back */
  struct map64 met[HL7V2_UNDOS];  /* those of which the run held what was taken back */
};

static void cancelled_init(struct hl7v2_cancelled *c) {
  for (int i = 0; i < HL7V2_UNDOS; i++) map64_init(&c->last[i]), map64_init(&c->met[i]);
}
static void cancelled_release(struct hl7v2_cancelled *c) {
  for (int i = 0; i < HL7V2_UNDOS; i++) map64_release(&c->last[i]), map64_release(&c->met[i]);
}

void hl7v2_found(struct hl7v2_cancelled *c, enum hl7v2_undo what, uint64_t which) {
  uint64_t *met = c && which ? map64_put(&c->met[what], (int64_t)which, NULL) : NULL;
  if (met) *met = 1;
}

bool hl7v2_taken_back(struct hl7v2_cancelled *c, enum hl7v2_undo what, uint64_t which, uint64_t sequence) {
  uint64_t at;
  if (!c || !which || !map64_get(&c->last[what], (int64_t)which, &at) || at <= sequence) return false;
  hl7v2_found(c, what, which); /* no memory: one more is reported, nothing is lost */
  return true;
}

static int nobody(void *ctx UNUSED, const struct record *r UNUSED, struct error *e UNUSED) { return OK; }

static int note(struct hl7v2 *h, struct hl7v2_cancelled *c, enum hl7v2_undo what, uint64_t which) {
  if (!which) return OK;
  uint64_t *at = map64_put(&c->last[what], (int64_t)which, NULL);
  if (!at) return error_set(h->e, E_NOMEM, "no memory for what is cancelled");
  *at = h->sequence;
  return OK;
}

/* Which visit and which orders does this message take back? */
static int cancels(struct hl7v2 *h, struct str bytes, struct hl7v2_cancelled *c) {
  struct hl7v2_row *row = &h->cut;
  if (!ready(h, bytes) || !wanted(h)) return OK;
  enum hl7v2_undo undo = hl7v2_undoes(h->tables, h->trigger);
  for (uint32_t i = 1; i < h->m.n; i++) {
    const char *name = h->m.segment[i].name;
    bool pid = memcmp(name, "PID", 4) == 0, pv1 = memcmp(name, "PV1", 4) == 0, orc = memcmp(name, "ORC", 4) == 0;
    if (!pid && !orc && (!pv1 || undo == HL7V2_UNDO_NONE)) continue;
    hl7v2_cut(&h->m, &h->m.segment[i], row);
    h->at = row;
    if (pid) TRY(hl7v2_take_pid(h, row));
    if (pv1 && h->person.n) TRY(note(h, c, undo, hl7v2_visit_of(h)));
    if (orc && h->person.n && hl7v2_cancels_order(h->tables, row->field[1])) TRY(note(h, c, HL7V2_UNDO_ORDER, hl7v2_order_of(h)));
  }
  return OK;
}

static int note_message(const struct hl7v2_options *o, struct arena *a, struct str bytes, struct hl7v2_cancelled *to, uint64_t sequence,
                        struct error *e) {
  struct record_stats none = {0};
  struct hl7v2_answer answer = {.code = "AE"};
  struct record_sink quiet = {.record = nobody};
  struct hl7v2 h = {
      .o = o, .tables = o->tables, .sink = &quiet, .stats = &none, .e = e, .arena = a, .name = "", .answer = &answer, .sequence = sequence};
  return cancels(&h, bytes, to);
}

/* ---- from memory ---- */

int hl7v2_take_all(const struct hl7v2_options *o, const struct str *message, size_t n, const char *name, const struct record_sink *sink,
                   struct record_stats *stats, struct error *e) {
  struct hl7v2_cancelled back;
  struct hl7v2_options own = *o;
  struct arena a;
  int rc = OK;
  cancelled_init(&back);
  arena_init(&a, MESSAGE_MEMORY(o->message_limit ? o->message_limit : HL7V2_MESSAGE_LIMIT), ARENA_WIPE);
  own.cancelled = &back;
  for (size_t i = 0; rc == OK && !o->identities && i < n; i++) rc = note_message(&own, &a, message[i], &back, i + 1, e), arena_reset(&a);
  for (size_t i = 0; rc == OK && i < n; i++) {
    struct hl7v2_answer answer;
    own.sequence = i + 1;
    rc = hl7v2_take(&own, &a, message[i], 0, i + 1, name, sink, stats, &answer, e);
    arena_reset(&a);
  }
  arena_free(&a);
  cancelled_release(&back);
  return rc;
}

struct str hl7v2_raw(struct str message, const char segment[4], int field) {
  struct str rest = message;
  char sep = message.n > 3 ? message.p[3] : '|';
  bool msh = memcmp(segment, "MSH", 4) == 0;
  while (rest.n) {
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '\r' && rest.p[n] != '\n') n++;
    struct str line = {rest.p, n}, f = STR_NONE;
    rest = n < rest.n ? (struct str){rest.p + n + 1, rest.n - n - 1} : STR_NONE;
    if (line.n < 4 || memcmp(line.p, segment, 3) != 0 || line.p[3] != sep) continue;
    for (int i = msh ? 1 : 0; i <= field; i++) f = line.p ? str_cut(&line, sep) : STR_NONE;
    return hl7v2_is_null(f) ? STR_NONE : f;
  }
  return STR_NONE;
}

/* ---- files ---- */

struct feed {
  struct hl7v2_options o;
  const struct record_sink *sink;
  struct record_stats *stats;
  struct hl7v2_cancelled *note; /* the first pass: nothing is handed on */
  struct arena arena;
  struct buf message;
  struct error *e;
  const char *path;
  uint32_t file;
  size_t limit;
  uint64_t messages, batch, sequence, done, total; /* messages: in this file; batch: since BHS */
  bool in, skip, stray;
  bool block, cut; /* inside an MLLP block: only its end makes the message whole; it was cut off */
};

static void refuse_file(struct feed *f, const char *field, const char *reason) {
  if (f->note) return;
  f->stats->rejected++;
  if (f->sink->reject) f->sink->reject(f->sink->ctx, &(struct record_reject){f->path, f->messages ? f->messages : 1, field, reason});
}

static int flush(struct feed *f) {
  struct hl7v2_answer answer;
  if (!f->in) return OK;
  f->in = false;
  f->messages++, f->batch++, f->sequence++;
  if (f->skip) return refuse_file(f, "", "longer than the limit of a message"), f->skip = false, OK;
  if (f->message.failed) return error_set(f->e, E_NOMEM, "no memory for a message");
  if (f->cut) {
    refuse_file(f, "", "an MLLP block that was cut off before its end");
    return mem_wipe(f->message.p, f->message.n), buf_clear(&f->message), OK;
  }
  struct str bytes = {f->message.p, f->message.n};
  f->o.sequence = f->sequence;
  int rc = f->note ? note_message(&f->o, &f->arena, bytes, f->note, f->sequence, f->e)
                   : hl7v2_take(&f->o, &f->arena, bytes, f->file, f->messages, f->path, f->sink, f->stats, &answer, f->e);
  arena_reset(&f->arena);
  mem_wipe(f->message.p, f->message.n);
  buf_clear(&f->message);
  return rc;
}

/* BTS-1 and FTS-1 say how many there were. */
static int trailer(struct feed *f, struct str line) {
  TRY(flush(f));
  int64_t n;
  struct str rest = line.n > 4 ? (struct str){line.p + 4, line.n - 4} : STR_NONE, said = str_cut(&rest, line.n > 3 ? line.p[3] : '|');
  if (line.p[0] == 'B' && said.n && (str_to_i64(said, &n) < 0 || n != (int64_t)f->batch))
    refuse_file(f, "BTS.1", "the batch holds another number of messages than its end says");
  f->batch = 0;
  return OK;
}

static bool names(struct str line, const char *name) {
  return line.n >= 4 && memcmp(line.p, name, 3) == 0 && line.p[3] > ' ' && !(line.p[3] >= '0' && line.p[3] <= '9') &&
         !((line.p[3] | 32) >= 'a' && (line.p[3] | 32) <= 'z');
}

static int line(struct feed *f, struct str s) {
  if (!f->messages && !f->in && str_starts(s, STR("\xEF\xBB\xBF"))) s = (struct str){s.p + 3, s.n - 3};
  if (!s.n) return OK;
  if (names(s, "MSH")) {
    TRY(flush(f));
    f->in = true, f->stray = false;
  } else if (names(s, "FHS") || names(s, "BHS")) {
    TRY(flush(f));
    return f->batch = 0, OK;
  } else if (names(s, "BTS") || names(s, "FTS")) {
    return trailer(f, s);
  } else if (!f->in) {
    if (!f->stray) refuse_file(f, "", "bytes that belong to no message");
    return f->stray = true, OK;
  }
  if (f->skip) return OK;
  f->skip = f->message.n + s.n + 1 > f->limit;
  if (f->skip) return mem_wipe(f->message.p, f->message.n), buf_clear(&f->message), OK;
  buf_str(&f->message, s);
  buf_putc(&f->message, '\r');
  return OK;
}

/* 0x0B or 0x1C. A cut message is not a shorter one: its last value may have lost digits. */
static int mark(struct feed *f, char c) {
  f->cut = f->block && c == 0x0B;
  TRY(flush(f));
  f->cut = false;
  f->block = c == 0x0B;
  return OK;
}

static bool ends_line(char c) { return c == '\r' || c == '\n' || c == 0x0B || c == 0x1C; }

/* Segments end with CR; files were also written with LF, and captured with their MLLP frames. */
static int lines(struct feed *f, struct stream *in) {
  enum { CHUNK = 1 << 16 };
  struct buf rest = {0};
  bool over = false;
  int rc = OK;
  for (size_t got = 1; rc == OK && got;) {
    if (!buf_reserve(&rest, CHUNK)) rc = error_set(f->e, E_NOMEM, "no memory for a segment");
    if (rc == OK) rc = stream_read(in, rest.p + rest.n, CHUNK, &got, f->e);
    if (rc < 0) break;
    size_t from = 0, at = rest.n, n = rest.n + got;
    for (; rc == OK && at < n; at++) {
      if (!ends_line(rest.p[at])) continue;
      if (!over) rc = line(f, (struct str){rest.p + from, at - from});
      if (rc == OK && (rest.p[at] == 0x0B || rest.p[at] == 0x1C)) rc = mark(f, rest.p[at]);
      over = false;
      from = at + 1;
    }
    if (rc == OK && !got && from < n && !over) rc = line(f, (struct str){rest.p + from, n - from});
    memmove(rest.p, rest.p + from, n - from);
    rest.n = n - from;
    if (rest.n > f->limit) {
      over = true;
      f->skip = f->in;
      rest.n = 0;
    }
    if (f->sink->progress && !f->note) f->sink->progress(f->sink->ctx, f->done + in->bytes_in, f->total);
    if (rc == OK && cancel_requested()) rc = error_set(f->e, E_CANCELLED, "interrupted");
  }
  if (rest.p) mem_wipe(rest.p, rest.cap);
  buf_release(&rest);
  f->cut = f->block;
  return rc == OK ? flush(f) : rc;
}

static int file(struct feed *f, const char *path) {
  struct stream in;
  struct error why = {0};
  f->path = path;
  f->messages = f->batch = 0;
  f->in = f->skip = f->stray = f->block = f->cut = false;
  buf_clear(&f->message);
  if (!f->note && f->sink->file) f->sink->file(f->sink->ctx, f->file, path);
  if (stream_open(&in, path, &why) < 0) return refuse_file(f, "", "cannot be read"), OK;
  int rc = lines(f, &in);
  if (rc == E_CORRUPT || rc == E_INPUT) refuse_file(f, "", "a packed file that is cut or damaged"), rc = OK;
  if (!f->note) f->stats->bytes += in.size, f->stats->files++;
  if (rc == OK && !f->messages && !f->stray) refuse_file(f, "", "holds no HL7 v2 message");
  f->done += in.size;
  f->file++;
  stream_close(&in);
  return rc;
}

static int every_file(struct feed *f, const struct str *list, size_t n) {
  f->file = 0, f->sequence = 0, f->done = 0;
  for (size_t i = 0; i < n; i++) TRY(file(f, list[i].p));
  return OK;
}

/* Cancellations of what this run did not hold: it may lie in the store since an earlier ingest, so they may not pass unseen. */
static void unmet(struct feed *f, const struct hl7v2_cancelled *c) {
  static const char *const field[HL7V2_UNDOS] = {"", "PV1.19", "PV1.19", "ORC.1"};
  for (int i = HL7V2_UNDO_START; i < HL7V2_UNDOS; i++)
    for (size_t k = c->met[i].count; k < c->last[i].count; k++)
      refuse_file(f, field[i],
                  "takes back what is not in this run and names no time: what an earlier ingest stored stays until the store is made anew");
}

int hl7v2_read(const struct hl7v2_options *o, const char *path, const struct record_sink *sink, struct record_stats *stats,
               struct error *e) {
  struct record_stats own = {0};
  struct hl7v2_cancelled back;
  struct feed f = {
      .o = *o, .sink = sink, .stats = stats ? stats : &own, .e = e, .limit = o->message_limit ? o->message_limit : HL7V2_MESSAGE_LIMIT};
  struct arena a;
  struct str *list;
  size_t n;
  arena_init(&a, 0, 0);
  arena_init(&f.arena, MESSAGE_MEMORY(f.limit), ARENA_WIPE);
  cancelled_init(&back);
  int rc = file_list(&a, path, &list, &n, e);
  for (size_t i = 0; rc == OK && i < n; i++) f.total += (uint64_t)(file_size(list[i].p) > 0 ? file_size(list[i].p) : 0);
  if (rc == OK && !o->identities) {
    f.note = &back;
    rc = every_file(&f, list, n);
    f.note = NULL;
    f.o.cancelled = &back;
  }
  if (rc == OK) rc = every_file(&f, list, n);
  if (rc == OK && !o->identities) unmet(&f, &back);
  cancelled_release(&back);
  buf_release(&f.message);
  arena_free(&f.arena);
  arena_free(&a);
  return rc;
}
