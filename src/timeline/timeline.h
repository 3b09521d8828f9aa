/* The timeline store: a directory of columnar, memory-mapped patient timelines, immutable once written (FORMAT.md).
 *
 *     struct timeline *t;  TRY(timeline_open("site/timelines", &t, e));           // the current generation; ~µs per open shard
 *     for (uint32_t i = 0; i < timeline_subjects(t); i++) {
 *       struct timeline_view v = timeline_view(t, i);                              // borrowed until timeline_close
 *       for (uint32_t k = 0; k < v.n; k++) use(v.time[k], v.code[k], v.value[k]);
 *     }
 *     timeline_close(t);
 *
 * A new ingest writes a new generation that holds the earlier one's events too, then moves the CURRENT pointer (rename):
 * a crash at any moment leaves the earlier generation. Events of a subject: static first, then by time; ties by code name,
 * then value, then origin, so the same events give the same bytes. Exact duplicates are kept once.
 *
 * Events whose code begins with LABEL// are for tasks alone (docs/task.md): what became of some people, while of the others nobody knows how long
 * they were followed. They come after a life's other events and are not among its n, so that nothing learns from them, counts them or shows
 * them as a part of the record, unless it asks for `labels`.
 */
#ifndef TIMELINE_TIMELINE_H
#define TIMELINE_TIMELINE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "base/time.h"

struct timeline;
struct event;
struct json_out;

enum split { SPLIT_TRAIN, SPLIT_TUNING, SPLIT_HELD_OUT, SPLITS };
#define UNIT_NONE 0 /* unit[k] == 0: no unit */
#define TIMELINE_LABEL "LABEL//"

struct timeline_view { /* one person's life; all arrays have n + labels elements */
  int64_t subject;
  uint32_t n;
  uint32_t statics; /* the first `statics` events have no time */
  uint32_t labels;  /* so many events more lie behind the n, ordered among themselves: LABEL// codes, known to tasks alone */
  enum split split;
  const int64_t *time;
  const uint32_t *code; /* ids of this store's dictionary */
  const float *value;   /* NaN = none */
  const uint16_t *unit;
  const uint32_t *origin_file, *origin_row;
};

int timeline_open(const char *dir, struct timeline **out, struct error *e) MUST_CHECK; /* dir = timelines/ or one generation */
void timeline_close(struct timeline *t);
uint32_t timeline_subjects(const struct timeline *t);
uint64_t timeline_events(const struct timeline *t);
struct timeline_view timeline_view(const struct timeline *t, uint32_t index);
int timeline_find(const struct timeline *t, int64_t subject, uint32_t *index, struct error *e) MUST_CHECK; /* E_NOTFOUND */
uint32_t timeline_codes(const struct timeline *t);
struct str timeline_code_name(const struct timeline *t, uint32_t code);
struct str timeline_code_display(const struct timeline *t, uint32_t code);
bool timeline_code_find(const struct timeline *t, struct str name, uint32_t *code);
struct str timeline_unit_name(const struct timeline *t, uint16_t unit);
const char *timeline_hash(const struct timeline *t);       /* hex SHA-256 of manifest.json: names this generation everywhere */
const char *timeline_generation(const struct timeline *t); /* "gen-000002" */
struct str timeline_text(const struct timeline *t, uint32_t index,
                         uint32_t k); /* text of event k of subject index, STR_NONE; valid until close */
/* The blob (image, genome) of event k of subject index: its SHA-256 in hexadecimal; false = none. And where its file lies: blob.h. */
bool timeline_blob(const struct timeline *t, uint32_t index, uint32_t k, char hex[65]);
uint64_t timeline_blobs(const struct timeline *t); /* events that have one */
int timeline_blob_path(const struct timeline *t, const char *hex, char out[4096], struct error *e) MUST_CHECK;
uint64_t timeline_code_count(const struct timeline *t, uint32_t code); /* how many events have it */
/* Opening checks structure, not every byte. A life whose columns turn out to be damaged is viewed as empty (n = 0) and this
 * becomes true: ask it at the end of a job that must not miss anybody. timeline_verify reads everything. */
bool timeline_damaged(const struct timeline *t);

/* Writing. Memory stays under `memory_limit` for any number of events: events spill to partitions by subject hash, sorted one at a time.
 * One writer at a time (E_BUSY otherwise). Two equal events (time, code, value, unit, text, blob) are one, whatever their origins: the
 * lowest origin stays, so ingesting an export twice changes nothing. Of MEDS_BIRTH the one appended last stays, and of the sexes without a time
 * likewise (timeline_sex_of; "U" gives way to a known one). A run over a memory_limit below 2 MiB takes 2 MiB. E_LIMIT: one
 * subject alone, or the dictionary, does not fit its share of it. */
struct timeline_writer;
enum split_rule { SPLIT_AUTO, SPLIT_ALL_TRAIN, SPLIT_ALL_TUNING, SPLIT_ALL_HELD_OUT, SPLIT_TRAIN_TUNING };
struct timeline_options {
  size_t memory_limit;   /* bytes; default 192 MiB */
  enum split_rule split; /* for subjects first seen in this run: AUTO = hash 70/15/15; TRAIN_TUNING = hash 85/15/0 */
  uint64_t split_seed;   /* kept in the manifest of the first generation; later ones inherit it */
  struct str policy_name, policy_hash, policy_settings;
  struct str source; /* what this run's records come from: "fhir", a mapping's name; no path, no file name */
};
int timeline_writer_open(const char *dir, const struct timeline_options *o, struct timeline_writer **out, struct error *e) MUST_CHECK;
int timeline_append(void *writer, const struct event *ev, struct error *e);    /* fits event_sink.event */
int timeline_take_back(void *writer, const struct event *ev, struct error *e); /* fits event_sink.take_back: see deid/event.h */
/* The pair for event_sink.blob and event_sink.blob_dir. What is left in that directory goes when the writer does. */
int timeline_writer_blob(void *writer, const char *temporary, char hex[65], struct error *e);
const char *timeline_writer_blob_dir(const struct timeline_writer *w);
int timeline_writer_source(struct timeline_writer *w, uint32_t index, const char *name, const char *sha256, bool pieces, struct error *e)
    MUST_CHECK; /* lineage: file number, base name hash only (names can identify); by sha256_source */
/* Sorts, merges with the current generation, writes gen-N+1, fsyncs, moves CURRENT. `extra` = JSON object text for the manifest (wall manifest).
 * OK: the writer is gone. On failure the earlier generation stays and the writer must still be aborted. */
int timeline_writer_finish(struct timeline_writer *w, struct str extra, void (*progress)(void *, uint64_t, uint64_t), void *ctx,
                           struct error *e) MUST_CHECK;
void timeline_writer_abort(struct timeline_writer *w); /* removes what was spilled; NULL is fine */

/* A timeline in memory, for one request: same view, same order, no files. Codes are interned in `t`'s own dictionary. */
int timeline_memory_new(struct timeline **out, struct error *e) MUST_CHECK;
int timeline_memory_append(void *timeline, const struct event *ev, struct error *e);    /* fits event_sink.event */
int timeline_memory_take_back(void *timeline, const struct event *ev, struct error *e); /* fits event_sink.take_back */
int timeline_memory_seal(struct timeline *t,
                         struct error *e) MUST_CHECK; /* sorts; then timeline_view works. Append and seal again: earlier views end */

/* vitae verify: re-reads every byte: checksums, order, bounds, dictionary, splits, counts, blobs. Prints nothing; findings go to the
 * callback. Blobs that no generation names are told there too, as a note that is no failure. */
int timeline_verify(const char *dir, void (*finding)(void *, const char *what), void *ctx, struct error *e) MUST_CHECK;
/* Erasure: writes a generation without these subjects (and without codes, units and sources that only they had), moves CURRENT, removes the
 * earlier generations that hold any of them, and the blobs that nobody names any more. Done already is OK. A crash leaves the store before, or
 * after with some of the removing still to do: call it again. Whoever has an earlier generation open keeps seeing it until it closes. */
struct timeline_forgotten {
  uint32_t found;       /* subjects that the current generation held */
  uint32_t generations; /* removed */
  uint64_t blobs;       /* removed, by the writer's end or here */
  char generation[32];  /* the current one, afterwards; "" = there is no store */
};
int timeline_forget(const char *dir, const int64_t *subjects, uint32_t n, struct timeline_forgotten *out, struct error *e) MUST_CHECK;
/* Calls `found` for each of the subjects that a generation on disk holds, whichever generation. */
int timeline_search(const char *dir, const int64_t *subjects, uint32_t n, void (*found)(void *ctx, const char *generation, int64_t subject),
                    void *ctx, struct error *e) MUST_CHECK;
/* Release: a new generation in `dir` that is the current generation of the store `base`, without what the plan leaves out (and without codes and
 * units that only that had); blobs are shared by hard links. The same base and plan give the same bytes. `extra` = JSON object for the
 * manifest's run. A crash leaves the earlier generation. The plan is for that very generation of the base. Labels are not released. */
#define TIMELINE_SUPPRESSED UINT32_MAX
enum { TIMELINE_LEFT_OUT = 255 };
struct timeline_suppression {
  const uint32_t *to; /* by code: index into `name` of what it becomes (its own name, or a broader code's), or TIMELINE_SUPPRESSED */
  const struct str *name;
  uint32_t names;
  const uint8_t *group;             /* by code: n > 0 = left out for subjects with bit n - 1 of `without`; n < 8 */
  const uint8_t *without;           /* by subject; TIMELINE_LEFT_OUT = the whole life */
  const uint32_t *held, *held_from; /* names held back from one subject alone: held[held_from[i]] to held[held_from[i + 1] - 1], ascending;
                                       NULL = none */
};
int timeline_release(const char *base, const char *dir, const struct timeline_suppression *s, struct str extra, struct error *e) MUST_CHECK;
/* Which source the files of a store came from: event k's origin_file lies in [first, first + files) of its source. */
struct timeline_source {
  struct str name;
  uint32_t first, files;
};
int timeline_sources(const struct timeline *t, struct arena *a, struct timeline_source **out, int *n, struct error *e) MUST_CHECK;
int timeline_manifest(const char *dir, struct arena *a, struct str *json, struct error *e) MUST_CHECK;
/* What sort of thing a code says, by its system's name; an allergy by its end, whatever the system of what it is against. */
enum timeline_kind { KIND_ENCOUNTER, KIND_CONDITION, KIND_MEDICINE, KIND_PROCEDURE, KIND_MEASUREMENT, KIND_ALLERGY, KIND_OTHER };
#define TIMELINE_ALLERGY "//ALLERGY"
enum timeline_kind timeline_kind_of(struct str code, struct str display);
/* The sex that a code tells: what stands behind GENDER//, SEX//, Gender// or MEDS_GENDER//; STR_NONE for any other code. */
struct str timeline_sex_of(struct str code);
/* A person's life for people: a legible list by day, and a picture for the terminal (left out under 40 columns). `limit`: the
 * latest so many timed events (0 = all); facts without a time always. JSON: {"subject": "123" (a string: 64 bits do not fit a
 * JavaScript number), "birth": us or null, "sex", "split", "n", "earlier": events left out, "events": [{"t": us or null,
 * "code", "display", "value", "unit"}], "labels": as events}; absent members are left out. */
void timeline_print(const struct timeline *t, uint32_t index, int width, bool colour, uint32_t limit, struct buf *out);
void timeline_json(const struct timeline *t, uint32_t index, uint32_t limit, struct json_out *o);

/* MEDS export: data/<split>/0.parquet, metadata/codes.parquet, metadata/subject_splits.parquet, metadata/dataset.json (E_UNAVAILABLE without DuckDB) */
int timeline_export_meds(const struct timeline *t, const char *dir, struct error *e) MUST_CHECK;
#endif
