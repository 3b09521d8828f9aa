/* Private to deid/: the identity map in memory. A person is a row of 40 bytes; keys ("fhir", "p1") and identifiers (name, record
 * number …) are entries of 12 bytes that point to the person and to a text; each of these is found through a hash index of 4 bytes a
 * slot. Rows, entries and texts lie in chunks that never move, so no copy of identified data is left behind by growth; everything is
 * overwritten before it is given back.
 *
 *     uint16_t source;  TRY(vault_source(v, STR("fhir"), &source, e));
 *     uint32_t i;  TRY(vault_person(v, source, key, &i, e));   // finds or makes
 *     struct identity *id = vault_identity(v, i);
 *
 * Texts are compared as bytes; the hash is SipHash with a random key, so nobody can choose keys that collide. Not thread-safe.
 *
 *     vault_rows.c         tables, texts, indices; persons and keys      vault_link.c   one person of several keys; what is forgotten
 *     vault_identifiers.c  identifiers: learning and listing             vault_file.c   the bytes on disk        vault.c   directory, keys
 */
#ifndef DEID_VAULT_ROWS_H
#define DEID_VAULT_ROWS_H
#include "base/map.h"
#include "deid/deid.h"

enum { VAULT_ROWS_CHUNK = 512, VAULT_TEXT_CHUNK = 32 << 10, VAULT_KEY_LIMIT = 1024, VAULT_SOURCES = 1024, VAULT_SOURCE_LIMIT = 128 };
enum { VAULT_NAMESPACES = 4096, VAULT_NAMESPACE_LIMIT = 256, VAULT_IDENTIFIERS = 8192 /* most of one person */, VAULT_NEVER = 64 };
enum {
  IDENTITY_CAPPED = 1,  /* the birth was moved: the age at the last event is over the cap */
  IDENTITY_TOUCHED = 2, /* in this run */
  IDENTITY_ERASED = 4,  /* gone: erased, or merged into another row */
  IDENTITY_EMITTED = 8, /* events of this pseudonym have passed: it cannot become another one's */
  IDENTITY_STORED = IDENTITY_CAPPED | IDENTITY_EMITTED
};

struct identity {
  int64_t pseudonym;            /* 1 .. INT64_MAX, unique in the vault */
  int32_t shift_days;           /* 0 = not drawn yet */
  int32_t birth, first, last;   /* unshifted days since 1970; DEID_DAY_NONE = unknown */
  uint32_t keys, identifiers;   /* heads of the lists of entries: index + 1, 0 = none */
  uint16_t key_n, identifier_n; /* lengths of the lists */
  uint8_t flags, birth_precision;
};

#define VAULT_NOBODY UINT32_MAX
struct vault_entry { /* a key or an identifier */
  uint32_t place;    /* of its text, in units of 4 bytes */
  uint32_t person;   /* row; VAULT_NOBODY: dead */
  uint32_t next;     /* of the same person: index + 1 */
};
struct vault_text { /* what an entry's text says */
  uint16_t space;   /* source of a key; name space of an identifier, 0 = none */
  int kind;         /* enum identifier_kind, of an identifier */
  struct str value;
};

/* 4-byte slots, value + 1, 0 = free. */
struct vault_index {
  uint32_t *slot;
  uint32_t cap, used;
};
enum vault_index_name { BY_KEY, BY_PSEUDONYM, BY_VALUE, BY_LINK, VAULT_INDICES };

struct vault_table { /* elements in chunks of VAULT_ROWS_CHUNK */
  uint8_t **chunk;
  size_t each, cap;
  uint32_t n, chunks;
};

/* Why two persons that share an identifier stay two. */
enum vault_conflict { CONFLICT_EVENTS, CONFLICT_SOURCE, CONFLICT_SEVERAL, VAULT_CONFLICTS };
struct vault_conflict_row {
  uint16_t source, other; /* sources of the two persons' newest keys */
  enum vault_conflict why;
  uint64_t n;
};
enum { VAULT_CONFLICT_ROWS = 64 };

struct vault {
  char dir[4000];
  int lock;     /* -1: lives in memory only */
  uint8_t *key; /* 32 bytes in guarded, locked memory; NULL: memory only */
  uint8_t
      *secret; /* 32 bytes, the same as long as the vault lives, whatever its key; memory only: `own_secret`, which outlives no request */
  uint8_t own_secret[32];
  uint8_t header[96]; /* how the key is found: written back as read */
  size_t header_n;
  bool keyed; /* new pseudonyms are a keyed function of the key instead of random */

  struct vault_table rows, keys, identifiers;
  char **text;
  size_t text_chunks, text_cap, text_at; /* text_at: bytes used of the last chunk */
  struct vault_index index[VAULT_INDICES];
  struct str source[VAULT_SOURCES], space[VAULT_NAMESPACES]; /* space[0] is "no name space" */
  uint16_t source_n, space_n, last_space;
  uint32_t row_n; /* = rows.n */
  uint64_t erased;

  /* linking: not stored, the site says it anew */
  uint16_t space_link[VAULT_NAMESPACES], source_link[VAULT_SOURCES]; /* trusted name space that this one means; 0 = not trusted */
  struct str never[VAULT_NEVER];                                     /* values that stand for "unknown" */
  int never_n;
  bool within_source;
  uint64_t changes; /* rises whenever a row goes: whoever holds one looks again */
  uint64_t linked, unkept, births_differ;
  struct vault_conflict_row conflict[VAULT_CONFLICT_ROWS];
  int conflict_n;

  struct map gone; /* keyed hashes of what must not come back */

  uint8_t hash_key[16];
  uint8_t random[512]; /* secret bytes not used yet, drawn in bulk */
  size_t random_left;
};

/* vault_rows.c */
int vault_source(struct vault *v, struct str name, uint16_t *id, struct error *e) MUST_CHECK;
int vault_space(struct vault *v, struct str name, uint16_t *id, struct error *e) MUST_CHECK; /* 0 when the vault knows too many */
int vault_person(struct vault *v, uint16_t source, struct str key, uint32_t *row, struct error *e) MUST_CHECK;
bool vault_known(const struct vault *v, uint16_t source, struct str key, uint32_t *row);
bool vault_row_of(const struct vault *v, int64_t pseudonym, uint32_t *row);
struct identity *vault_identity(const struct vault *v, uint32_t row);
struct vault_entry *vault_entry(const struct vault_table *t, uint32_t i);
struct vault_text vault_text(const struct vault *v, const struct vault_entry *x);
int vault_random(struct vault *v, void *p, size_t n, struct error *e) MUST_CHECK;
/* The person's shift, drawn on first use; later policies keep it. */
int vault_shift(struct vault *v, struct identity *id, int max, struct error *e) MUST_CHECK;
/* A row, a key, an identifier read from a file. E_CORRUPT if it is there already, or out of range. */
int vault_row_add(struct vault *v, const struct identity *row, struct error *e) MUST_CHECK;
int vault_key_add(struct vault *v, uint32_t row, uint16_t source, struct str key, struct error *e) MUST_CHECK;
/* Adds to the person's list; `kind` is kept for identifiers. The caller has seen that it is new. */
int vault_entry_add(struct vault *v, bool key, uint32_t row, uint16_t space, int kind, struct str value, struct error *e) MUST_CHECK;
void vault_entry_kill(struct vault *v, struct vault_entry *x); /* overwrites the text */
uint64_t vault_hash(const struct vault *v, const void *p, size_t n, uint64_t more);
size_t vault_memory(const struct vault *v);                                       /* bytes held for rows, entries, texts and indices */
int vault_rows_new(bool guarded, struct vault **out, struct error *e) MUST_CHECK; /* guarded: the secret in locked pages of its own */
void vault_rows_free(struct vault *v);                                            /* wipes */

/* Indices: the caller walks the slots of a hash:   for (uint32_t i = index_first(x, h); x->slot[i]; i = index_next(x, i)) … x->slot[i] - 1 */
int vault_index_reserve(struct vault *v, enum vault_index_name name, uint32_t more, struct error *e) MUST_CHECK;
void vault_index_put(struct vault *v, enum vault_index_name name, uint64_t hash, uint32_t value);
int vault_index_rebuild(struct vault *v, enum vault_index_name name, struct error *e) MUST_CHECK;
static inline uint32_t index_first(const struct vault_index *x, uint64_t hash) { return (uint32_t)((hash >> 32) * x->cap >> 32); }
static inline uint32_t index_next(const struct vault_index *x, uint32_t i) { return i + 1 == x->cap ? 0 : i + 1; }
uint64_t vault_value_hash(const struct vault *v, uint32_t row, struct str value);  /* BY_VALUE */
uint64_t vault_link_hash(const struct vault *v, uint16_t space, struct str value); /* BY_LINK; entries of keys have the top bit */
#define VAULT_LINK_KEY UINT32_C(0x80000000)

/* vault_identifiers.c. Learning may link: *row is then the row that stayed; VAULT_NOBODY: it is somebody who was forgotten. */
int vault_learn_identifier(struct vault *v, uint32_t *row, const struct record *r, struct error *e) MUST_CHECK;
void vault_learn_birth(struct identity *id, int32_t day, uint8_t precision);
bool vault_identifier_known(const struct vault *v, uint32_t row, int kind, uint16_t space, struct str value);
bool vault_has_value(const struct vault *v, uint32_t row, struct str value); /* any kind but geography */

/* vault_link.c */
/* The trusted name space and the value that an entry stands for; 0 = it links nobody. */
uint16_t vault_link_space(const struct vault *v, bool key, const struct vault_text *t);
/* *row and whoever else carries this value in this trusted name space become one, if they may. */
int vault_join(struct vault *v, uint32_t *row, uint16_t space, struct str value, struct error *e) MUST_CHECK;
/* The one person who carries the value and has no key of `source`; false if there is none or more than one. */
bool vault_link_find(const struct vault *v, uint16_t space, struct str value, uint16_t source, uint32_t *row);
void vault_row_erase(struct vault *v, uint32_t row); /* overwrites row, keys and identifiers */
/* Has this key been forgotten, or the trusted value that it is, never to come back? */
bool vault_gone(const struct vault *v, uint16_t source, struct str key);
/* The person of *row, unless events have passed, is forgotten (VAULT_NOBODY) if this trusted value was a forgotten person's. */
int vault_return(struct vault *v, uint32_t *row, uint16_t space, struct str value, struct error *e) MUST_CHECK;
int vault_gone_add(struct vault *v, const uint8_t hash[16], struct error *e) MUST_CHECK;
#endif
