#include "deid/vault_rows.h"

#include <sodium.h>

#include "base/random.h"
#include "base/time.h"
#include "deid/deid_date.h"

_Static_assert(sizeof(struct identity) == 40, "an identity is 40 bytes: the bill in docs/deid.md");

uint64_t vault_hash(const struct vault *v, const void *p, size_t n, uint64_t more) {
  uint64_t h;
  _Static_assert(crypto_shorthash_BYTES == sizeof h && crypto_shorthash_KEYBYTES == 16, "SipHash-2-4");
  crypto_shorthash((unsigned char *)&h, p, n, v->hash_key);
  return h ^ more * 0x9E3779B97F4A7C15u;
}

int vault_random(struct vault *v, void *p, size_t n, struct error *e) {
  BUG_IF(n > sizeof v->random);
  if (v->random_left < n) {
    TRY(random_secret(v->random, sizeof v->random, e));
    v->random_left = sizeof v->random;
  }
  v->random_left -= n;
  memcpy(p, v->random + v->random_left, n);
  mem_wipe(v->random + v->random_left, n);
  return OK;
}

struct identity *vault_identity(const struct vault *v, uint32_t row) {
  BUG_IF(row >= v->row_n);
  return &v->rows[row / VAULT_ROWS_CHUNK][row % VAULT_ROWS_CHUNK];
}

/* ---- indices ---- */

static uint64_t hash_of(const struct vault *v, const struct identity *id, bool by_key) {
  return by_key ? vault_hash(v, id->key, id->key_n, id->source) : vault_hash(v, &id->pseudonym, 8, 0);
}
static uint32_t place(uint64_t hash, uint32_t cap) { return (uint32_t)((hash >> 32) * cap >> 32); }

static void index_put(struct vault_index *x, uint64_t hash, uint32_t row) {
  uint32_t i = place(hash, x->cap);
  while (x->slot[i])
    if (++i == x->cap) i = 0;
  x->slot[i] = row + 1;
  x->used++;
}

/* Grows by half at 7/8 full: 4.6 to 6.9 bytes a person. */
static int index_reserve(struct vault *v, struct vault_index *x, bool by_key, struct error *e) {
  if (x->used < x->cap - x->cap / 8 && x->cap) return OK;
  uint64_t cap = x->cap ? x->cap + (uint64_t)x->cap / 2 : 64;
  if (cap > UINT32_MAX) return error_set(e, E_LIMIT, "more persons than a vault can hold");
  uint32_t *slot = mem_alloc(cap * sizeof *slot);
  if (!slot) return error_set(e, E_NOMEM, "no memory for the identity map");
  memset(slot, 0, cap * sizeof *slot);
  mem_free(x->slot);
  *x = (struct vault_index){slot, (uint32_t)cap, 0};
  for (uint32_t i = 0; i < v->row_n; i++) {
    struct identity *id = vault_identity(v, i);
    if (!by_key || !(id->flags & IDENTITY_ERASED)) index_put(x, hash_of(v, id, by_key), i);
  }
  return OK;
}

bool vault_known(const struct vault *v, uint16_t source, struct str key, uint32_t *row) {
  const struct vault_index *x = &v->by_key;
  if (!x->cap || key.n == 0) return false;
  for (uint32_t i = place(vault_hash(v, key.p, key.n, source), x->cap); x->slot[i];) {
    const struct identity *id = vault_identity(v, x->slot[i] - 1);
    if (id->key_n == key.n && id->source == source && !(id->flags & IDENTITY_ERASED) && memcmp(id->key, key.p, key.n) == 0) {
      *row = x->slot[i] - 1;
      return true;
    }
    if (++i == x->cap) i = 0;
  }
  return false;
}

static bool pseudonym_taken(const struct vault *v, int64_t pseudonym) {
  const struct vault_index *x = &v->by_pseudonym;
  if (!x->cap) return false;
  for (uint32_t i = place(vault_hash(v, &pseudonym, 8, 0), x->cap); x->slot[i];) {
    if (vault_identity(v, x->slot[i] - 1)->pseudonym == pseudonym) return true;
    if (++i == x->cap) i = 0;
  }
  return false;
}

/* ---- rows and keys ---- */

static int chunk_table(void ***table, size_t *cap, size_t n, struct error *e) {
  if (n < *cap) return OK;
  size_t more = *cap ? *cap * 2 : 16;
  void **t = mem_realloc(*table, more * sizeof *t); /* addresses only: nothing in it identifies */
  if (!t) return error_set(e, E_NOMEM, "no memory for the identity map");
  *table = t;
  *cap = more;
  return OK;
}

static int row_room(struct vault *v, struct error *e) {
  if (v->row_n < (uint64_t)v->row_chunks * VAULT_ROWS_CHUNK) return OK;
  size_t cap = v->row_chunks_cap;
  int rc = chunk_table((void ***)&v->rows, &cap, v->row_chunks, e);
  v->row_chunks_cap = (uint32_t)cap;
  TRY(rc);
  struct identity *chunk = mem_alloc(VAULT_ROWS_CHUNK * sizeof *chunk);
  if (!chunk) return error_set(e, E_NOMEM, "no memory for the identity map");
  v->rows[v->row_chunks++] = chunk;
  return OK;
}

static int key_room(struct vault *v, size_t n, struct error *e) {
  if (v->key_chunks && VAULT_KEYS_CHUNK - v->key_at >= n) return OK;
  TRY(chunk_table((void ***)&v->keys, &v->key_chunks_cap, v->key_chunks, e));
  char *chunk = mem_alloc(VAULT_KEYS_CHUNK);
  if (!chunk) return error_set(e, E_NOMEM, "no memory for the identity map");
  v->keys[v->key_chunks++] = chunk;
  v->key_at = 0;
  return OK;
}

/* Everything that can fail comes first, so a failure leaves the map as it was. */
static int append(struct vault *v, const struct identity *row, struct str key, struct error *e) {
  TRY(index_reserve(v, &v->by_key, true, e));
  TRY(index_reserve(v, &v->by_pseudonym, false, e));
  TRY(row_room(v, e));
  TRY(key_room(v, key.n, e));
  uint32_t i = v->row_n++;
  struct identity *id = vault_identity(v, i);
  char *at = v->keys[v->key_chunks - 1] + v->key_at;
  memcpy(at, key.p, key.n);
  v->key_at += key.n;
  *id = *row;
  id->key = at;
  id->key_n = (uint16_t)key.n;
  index_put(&v->by_key, hash_of(v, id, true), i);
  index_put(&v->by_pseudonym, hash_of(v, id, false), i);
  return OK;
}

int vault_person(struct vault *v, uint16_t source, struct str key, uint32_t *row, struct error *e) {
  if (key.n == 0 || key.n > VAULT_KEY_LIMIT)
    return error_set(e, E_LIMIT, "a person's key is empty or longer than %d bytes", VAULT_KEY_LIMIT);
  if (vault_known(v, source, key, row)) return OK;
  struct identity id = {.birth = DEID_DAY_NONE, .first = DEID_DAY_NONE, .last = DEID_DAY_NONE, .source = source};
  do {
    TRY(vault_random(v, &id.pseudonym, sizeof id.pseudonym, e));
    id.pseudonym &= INT64_MAX;
  } while (id.pseudonym == 0 || pseudonym_taken(v, id.pseudonym));
  TRY(append(v, &id, key, e));
  *row = v->row_n - 1;
  return OK;
}

static bool day_ok(int32_t d) { return d == DEID_DAY_NONE || deid_day_valid(d); }

int vault_row_add(struct vault *v, const struct identity *row, struct str key, struct error *e) {
  uint32_t other;
  bool sound = row->pseudonym > 0 && row->source < v->source_n && key.n > 0 && key.n <= VAULT_KEY_LIMIT && day_ok(row->birth) &&
               day_ok(row->first) && day_ok(row->last) && row->shift_days >= -36500 && row->shift_days <= 36500 &&
               !(row->flags & ~IDENTITY_STORED) && row->birth_precision <= TIME_PRECISION_FRACTION;
  if (!sound) return error_set(e, E_CORRUPT, "row %u of the identity map is out of range", v->row_n + 1);
  if (vault_known(v, row->source, key, &other) || pseudonym_taken(v, row->pseudonym))
    return error_set(e, E_CORRUPT, "row %u of the identity map is there twice", v->row_n + 1);
  return append(v, row, key, e);
}

int vault_source(struct vault *v, struct str name, uint16_t *id, struct error *e) {
  for (uint16_t i = 0; i < v->source_n; i++) {
    if (!str_eq(v->source[i], name)) continue;
    *id = i;
    return OK;
  }
  if (name.n == 0 || name.n > VAULT_SOURCE_LIMIT || v->source_n == VAULT_SOURCES)
    return error_set(e, E_LIMIT, "a source's name must have 1..%d bytes, and a vault holds %d sources", VAULT_SOURCE_LIMIT, VAULT_SOURCES);
  char *copy = mem_alloc(name.n);
  if (!copy) return error_set(e, E_NOMEM, "no memory for the identity map");
  memcpy(copy, name.p, name.n);
  *id = v->source_n;
  v->source[v->source_n++] = (struct str){copy, name.n};
  return OK;
}

int vault_shift(struct vault *v, struct identity *id, int max, struct error *e) {
  uint32_t r;
  if (id->shift_days) return OK;
  do TRY(vault_random(v, &r, sizeof r, e));
  while (!deid_shift_from(r, max, &id->shift_days));
  return OK;
}

size_t vault_memory(const struct vault *v) {
  return v->row_chunks * (VAULT_ROWS_CHUNK * sizeof(struct identity)) + v->key_chunks * VAULT_KEYS_CHUNK +
         (v->row_chunks_cap + v->key_chunks_cap) * sizeof(void *) + ((size_t)v->by_key.cap + v->by_pseudonym.cap) * 4;
}

int vault_rows_new(struct vault **out, struct error *e) {
  struct vault *v = mem_alloc(sizeof *v);
  *out = NULL;
  if (!v) return error_set(e, E_NOMEM, "no memory for the identity map");
  memset(v, 0, sizeof *v);
  v->lock = -1;
  if (sodium_init() < 0 || random_secret(v->hash_key, sizeof v->hash_key, NULL) < 0) {
    mem_free(v);
    return error_set(e, E_UNAVAILABLE, "no source of random numbers");
  }
  *out = v;
  return OK;
}

void vault_rows_free(struct vault *v) {
  for (uint32_t i = 0; i < v->row_chunks; i++) {
    mem_wipe(v->rows[i], VAULT_ROWS_CHUNK * sizeof(struct identity));
    mem_free(v->rows[i]);
  }
  for (size_t i = 0; i < v->key_chunks; i++) {
    mem_wipe(v->keys[i], VAULT_KEYS_CHUNK);
    mem_free(v->keys[i]);
  }
  for (uint16_t i = 0; i < v->source_n; i++) mem_free((char *)v->source[i].p);
  mem_free(v->rows);
  mem_free(v->keys);
  mem_free(v->by_key.slot);
  mem_free(v->by_pseudonym.slot);
  sodium_free(v->key);
  mem_wipe(v, sizeof *v);
  mem_free(v);
}

/* ---- public ---- */

uint64_t vault_persons(const struct vault *v) { return v->row_n - v->erased; }

static int find(const struct vault *v, const char *source, struct str person, uint32_t *row, struct error *e) {
  for (uint16_t i = 0; i < v->source_n; i++)
    if (str_eqc(v->source[i], source) && vault_known(v, i, person, row)) return OK;
  return error_set(e, E_NOTFOUND, "the vault knows no such person");
}

int vault_find(const struct vault *v, const char *source, struct str person, int64_t *pseudonym, struct error *e) {
  uint32_t row;
  TRY(find(v, source, person, &row, e));
  *pseudonym = vault_identity(v, row)->pseudonym;
  return OK;
}

int vault_erase(struct vault *v, const char *source, struct str person, int64_t *pseudonym, struct error *e) {
  uint32_t row;
  TRY(find(v, source, person, &row, e));
  struct identity *id = vault_identity(v, row);
  *pseudonym = id->pseudonym;
  mem_wipe((char *)id->key, id->key_n);
  *id = (struct identity){.pseudonym = id->pseudonym,
                          .key = id->key,
                          .birth = DEID_DAY_NONE,
                          .first = DEID_DAY_NONE,
                          .last = DEID_DAY_NONE,
                          .source = id->source,
                          .flags = IDENTITY_ERASED};
  v->erased++;
  return OK;
}
