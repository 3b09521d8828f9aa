/* Private to deid/: the identity map in memory. One row of 40 bytes a person, the person's key beside it, two hash indices of
 * 4 bytes a slot: about 55 bytes and the length of the key for each person. Rows and keys lie in chunks that never move, so no
 * copy of identified data is left behind by growth; everything is overwritten before it is given back.
 *
 *     uint16_t source;  TRY(vault_source(v, STR("fhir"), &source, e));
 *     uint32_t i;  TRY(vault_person(v, source, key, &i, e));   // finds or makes
 *     struct identity *id = vault_identity(v, i);
 *
 * Keys are compared as bytes; the hash is SipHash with a random key, so nobody can choose keys that collide. Not thread-safe.
 */
#ifndef DEID_VAULT_ROWS_H
#define DEID_VAULT_ROWS_H
#include "deid/deid.h"

enum { VAULT_ROWS_CHUNK = 512, VAULT_KEYS_CHUNK = 32 << 10, VAULT_KEY_LIMIT = 1024, VAULT_SOURCES = 1024, VAULT_SOURCE_LIMIT = 128 };
enum { IDENTITY_CAPPED = 1, IDENTITY_TOUCHED = 2, IDENTITY_ERASED = 4, IDENTITY_STORED = IDENTITY_CAPPED };

struct identity {
  int64_t pseudonym; /* random, 1 .. INT64_MAX, unique in the vault */
  const char *key;
  int32_t shift_days;         /* 0 = not drawn yet */
  int32_t birth, first, last; /* unshifted days since 1970; DEID_DAY_NONE = unknown */
  uint16_t source, key_n;
  uint8_t flags, birth_precision;
};

/* 4-byte slots, value + 1, 0 = free. */
struct vault_index {
  uint32_t *slot;
  uint32_t cap, used;
};
struct vault {
  char dir[4000];
  int lock;           /* -1: lives in memory only */
  uint8_t *key;       /* 32 bytes in guarded, locked memory; NULL: memory only */
  uint8_t header[96]; /* how the key is found: written back as read */
  size_t header_n;
  struct identity **rows;
  uint32_t row_n, row_chunks, row_chunks_cap;
  char **keys;
  size_t key_chunks, key_chunks_cap, key_at; /* key_at: bytes used of the last chunk */
  struct vault_index by_key, by_pseudonym;
  struct str source[VAULT_SOURCES];
  uint16_t source_n;
  uint64_t erased;
  uint8_t hash_key[16];
  uint8_t random[512]; /* secret bytes not used yet, drawn in bulk */
  size_t random_left;
};

int vault_source(struct vault *v, struct str name, uint16_t *id, struct error *e) MUST_CHECK;
int vault_person(struct vault *v, uint16_t source, struct str key, uint32_t *row, struct error *e) MUST_CHECK;
bool vault_known(const struct vault *v, uint16_t source, struct str key, uint32_t *row);
struct identity *vault_identity(const struct vault *v, uint32_t row);
int vault_random(struct vault *v, void *p, size_t n, struct error *e) MUST_CHECK;
/* The person's shift, drawn on first use; later policies keep it. */
int vault_shift(struct vault *v, struct identity *id, int max, struct error *e) MUST_CHECK;
/* A row read from a file. E_CORRUPT if the key or the pseudonym is already there, or out of range. */
int vault_row_add(struct vault *v, const struct identity *row, struct str key, struct error *e) MUST_CHECK;
uint64_t vault_hash(const struct vault *v, const void *p, size_t n, uint64_t more);
size_t vault_memory(const struct vault *v); /* bytes held for rows, keys and indices */
int vault_rows_new(struct vault **out, struct error *e) MUST_CHECK;
void vault_rows_free(struct vault *v); /* wipes */
#endif
