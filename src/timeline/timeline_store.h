/* Private to src/timeline: what the writer, the reader, the verifier and the in-memory timeline share. FORMAT.md is the
 * normative description of the bytes; the constants here repeat it.
 *
 *     container  one file: header, section table, sections (timeline_container.c)
 *     dictionary the file `codes`: names, displays, counts, units (timeline_dictionary.c)
 *     shard      one `shard-NNN`, mapped; the in-memory timeline fills the same struct from arrays of its own
 *     item       one event while it is being sorted (timeline_sort.c)
 */
#ifndef TIMELINE_TIMELINE_STORE_H
#define TIMELINE_TIMELINE_STORE_H
#include "base/file.h"
#include "base/hash.h"
#include "base/map.h"
#include "timeline/timeline.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the store is little-endian and mapped as it lies");

#define TIMELINE_FORMAT_VERSION 3u /* 1: shards have no blobs; 2: no labels at the end of a life; both still read */
#define TIMELINE_BIRTH "MEDS_BIRTH"
enum {
  SECTION_ALIGN = 64,
  SECTION_CHUNK = 1 << 20, /* section checksums are chained over pieces of this size */
  SECTIONS_MAX = 16,
  PARTITIONS = 256,
  SHARDS_MAX = PARTITIONS,
  TEXT_BLOCK = 64 << 10, /* texts are packed into zstd frames of about this many bytes */
  TEXT_MAX = 16 << 20,   /* longest text of one event */
  NAME_MAX_BYTES = 4096, /* longest code or unit */
  DISPLAY_MAX_BYTES = 512,
  BLOB_BYTES = 32 /* SHA-256 of a blob */
};
#define SHARD_EVENTS (8u << 20) /* a shard is closed at the first partition edge after this many events */

/* Sections in file order. The widths are bytes per element. */
enum {
  S_SUBJECT,
  S_START,
  S_STATICS,
  S_SPLIT,
  S_TIME,
  S_CODE,
  S_VALUE,
  S_UNIT,
  S_FILE,
  S_ROW,
  S_TEXT_EVENT,
  S_TEXT_PLACE,
  S_TEXT_BLOCK,
  S_TEXT_DATA,
  S_BLOB_EVENT,
  S_BLOB_DIGEST,
  SHARD_SECTIONS
};
enum { D_NAME_START, D_NAMES, D_DISPLAY_START, D_DISPLAYS, D_COUNT, D_UNIT_START, D_UNITS, DICTIONARY_SECTIONS };
struct container_kind {
  char magic[9];
  uint32_t sections, sections_1; /* sections_1: how many of them a file of version 1 has */
  uint8_t width[SECTIONS_MAX];
};
extern const struct container_kind container_shard, container_codes;

struct section { /* as on disk */
  uint32_t kind, width;
  uint64_t offset, bytes, hash;
};
struct container {
  struct file_map map;
  uint32_t sections; /* in the file; those that an older version lacks are empty */
  uint64_t rows[3];  /* shard: subjects, events, texts; codes: codes, units, 0 */
  struct section section[SECTIONS_MAX];
};
int container_open(const char *path, const struct container_kind *kind, struct container *c, struct error *e) MUST_CHECK;
void container_close(struct container *c);
static inline const void *container_at(const struct container *c, int section) { return c->map.p + c->section[section].offset; }
/* Reads every byte: padding and section checksums. E_CORRUPT with the section's number in the message. */
int container_check(const struct container *c, struct error *e) MUST_CHECK;
uint64_t section_hash(const void *p, uint64_t n);

/* A column while it grows: a fixed buffer that overflows into a file beside the target. Errors are sticky in `code` (-errno). */
struct spool {
  uint8_t *p;
  size_t n, cap;
  uint64_t spilled; /* bytes in the file */
  int fd, code;
};
struct container_writer {
  const struct container_kind *kind;
  struct spool spool[SECTIONS_MAX];
  uint8_t *memory;
  char path[4096]; /* of the file to be; spill files are path + ".sNN" and are unlinked when made */
};
int container_writer_open(struct container_writer *w, const char *path, const struct container_kind *kind, size_t memory,
                          struct error *e) MUST_CHECK;
void container_put(struct container_writer *w, int section, const void *p, size_t n);
/* Writes the file (header, table, sections), fsyncs it, and closes the writer in either case. */
int container_writer_finish(struct container_writer *w, const uint64_t rows[3], uint64_t *bytes, struct error *e) MUST_CHECK;
void container_writer_close(struct container_writer *w);
int container_digest(const char *path, uint8_t sha256[32], struct error *e) MUST_CHECK;

struct dictionary {
  struct container c;
  uint32_t codes, units; /* units counts unit 0, the empty one */
  const uint64_t *name_start, *display_start, *unit_start, *count;
  const char *names, *displays, *unit_names;
};
int dictionary_open(const char *path, struct dictionary *d, struct error *e) MUST_CHECK; /* checks every byte: it is small */
void dictionary_close(struct dictionary *d);
struct str dictionary_name(const struct dictionary *d, uint32_t code);
struct str dictionary_display(const struct dictionary *d, uint32_t code);
struct str dictionary_unit(const struct dictionary *d, uint32_t unit);
bool dictionary_find(const struct dictionary *d, struct str name, uint32_t *code);

struct text_place {
  uint32_t block, offset, length, zero;
};
struct text_block {
  uint64_t offset;
  uint32_t stored, raw;
};
struct shard {
  struct container c;
  uint32_t subjects, first; /* first: index of its first subject in the store */
  uint64_t events, texts, blocks, blobs;
  const int64_t *subject, *time;
  const uint64_t *start;
  const uint32_t *statics, *code, *file, *row;
  const uint8_t *split, *text_data;
  const float *value;
  const uint16_t *unit;
  const uint64_t *text_event;
  const struct text_place *place;
  const struct text_block *block;
  const uint64_t *blob_event; /* ascending */
  const uint8_t (*blob_digest)[BLOB_BYTES];
  char **unpacked; /* blocks decompressed so far, made on first use under the timeline's lock */
};
struct memory; /* what an in-memory timeline owns */
struct timeline {
  struct dictionary dictionary;
  struct shard *shard;
  uint32_t shards, subjects;
  uint64_t events, blobs;
  struct memory *memory; /* NULL for a store */
  void *lock;            /* pthread_mutex_t for `unpacked` */
  bool damaged;
  char hash[65], generation[32], dir[4096];
};
/* Opens shard files into t->shard; the manifest says how many. */
int shard_open(const char *path, struct shard *s, struct error *e) MUST_CHECK;
void shard_close(struct shard *s);
/* Index into blob_event of the first blob at or after `event`; `blobs` if none. */
uint64_t shard_blob_from(const struct shard *s, uint64_t event);
int shard_text(const struct shard *s, uint64_t k, struct buf *out, struct error *e) MUST_CHECK; /* k-th text, unpacked afresh */
int shard_unpack(const struct shard *s, uint64_t block, char *to, struct error *e) MUST_CHECK;

struct str memory_code_name(const struct memory *m, uint32_t code);
struct str memory_code_display(const struct memory *m, uint32_t code);
struct str memory_unit_name(const struct memory *m, uint32_t unit);
struct str memory_text(const struct memory *m, uint64_t event);
const uint8_t *memory_blob(const struct memory *m, uint64_t event);
uint32_t memory_codes(const struct memory *m);
bool memory_code_find(const struct memory *m, struct str name, uint32_t *code);
void memory_free(struct memory *m);

/* One event on its way into the order of the store. code and unit are ranks (ids in name order) while sorting. */
struct item {
  int64_t time;
  uint32_t code, value_key; /* value_key: the float's bits mapped so that unsigned order is numeric order, NaN = 0 */
  uint32_t unit, file, row, text_n : 30, label : 1, blob : 1;
  const char *text;            /* text_n bytes and then, if `blob`, the BLOB_BYTES of its digest */
  uint32_t seq : 31, back : 1; /* order of arrival: decides which birth was emitted last, and what a `back` takes back */
};
static inline const uint8_t *item_blob(const struct item *x) { return x->blob ? (const uint8_t *)x->text + x->text_n : NULL; }
uint32_t value_key(float v);
float value_of(uint32_t key);
/* Subjects stand in the store in the order of this number: a bijection, so there are no ties; its top 8 bits are the partition. */
static inline uint64_t subject_hash(int64_t subject) { return hash64_u64((uint64_t)subject); }
enum { SEX_PREFIXES = 4 };
struct special { /* codes by rank: MEDS_BIRTH (or UINT32_MAX), the labels, which stand together, and by prefix the sexes, which do too */
  uint32_t birth, label, label_end;
  struct {
    uint32_t from, to, unknown; /* unknown: 1 + the rank of "U", or 0 */
  } sex[SEX_PREFIXES];
};
/* Called for every code, from an all-zero s but for birth = UINT32_MAX. */
void special_code(struct special *s, uint32_t rank, struct str name);
static inline bool is_label(const struct special *s, uint32_t rank) { return rank >= s->label && rank < s->label_end; }
/* Takes back what is taken back, sorts, drops exact duplicates (lowest origin stays) and all births but the one emitted last,
 * and all sexes without a time likewise (an unknown one gives way to a known one). Returns how many remain.
 * scratch has room for n items. */
uint32_t items_order(struct item *items, uint32_t n, struct item *scratch, const struct special *special);
int item_compare(const struct item *a, const struct item *b); /* without seq */
bool item_same(const struct item *a, const struct item *b);   /* equal but for the origin */
enum split split_of(int64_t subject, uint64_t seed, enum split_rule rule);

/* The part of a manifest that the code needs. Strings live in the arena. */
struct manifest_file {
  struct str name;
  uint64_t bytes;
  uint8_t sha256[32];
};
struct manifest {
  uint64_t generation, subjects, events, texts, blobs, codes, units, splits[SPLITS], split_seed;
  uint32_t shards, sources, files;
  struct manifest_file *file;
  struct str *source_sha, *source_name; /* hex, or "" */
  bool *source_pieces;                  /* source_sha is that of the list of pieces */
  struct str json;                      /* the bytes */
};
int manifest_read(struct arena *a, const char *generation_dir, struct manifest *m, struct error *e) MUST_CHECK;
/* "timelines/" -> the directory of its current generation; a generation stays itself. */
int timeline_resolve(const char *dir, char *out, size_t size, struct error *e) MUST_CHECK;
#define generation_name(n, out) snprintf(out, sizeof(out), "gen-%06llu", (unsigned long long)(n))
int blob_named(const char *dir, struct map *into, struct error *e) MUST_CHECK; /* digests that any generation in dir names */
int generation_parse(const char *name, uint64_t *n);                           /* "gen-000001" -> 1, else E_INPUT */
#endif
