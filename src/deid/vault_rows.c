#include "deid/vault_rows.h"

#include <sodium.h>

#include "base/random.h"
#include "base/time.h"
#include "deid/deid_date.h"

_Static_assert(sizeof(struct identity) == 40 && sizeof(struct vault_entry) == 12, "the bill in docs/deid.md");
enum { TEXT_HEAD = 6, TEXT_UNIT = 4 };

uint64_t vault_hash(const struct vault *v, const void *p, size_t n, uint64_t more) {
  uint64_t h;
  _Static_assert(crypto_shorthash_BYTES == sizeof h && crypto_shorthash_KEYBYTES == 16, "SipHash-2-4");
  crypto_shorthash((unsigned char *)&h, p, n, v->hash_key);
  return h ^ more * 0x9E3779B97F4A7C15u;
}
uint64_t vault_value_hash(const struct vault *v, uint32_t row, struct str value) {
  return vault_hash(v, value.p, value.n, (uint64_t)row + 1);
}
uint64_t vault_link_hash(const struct vault *v, uint16_t space, struct str value) { return vault_hash(v, value.p, value.n, space); }

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

/* ---- tables ---- */

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for the identity map"); }

static void *table_at(const struct vault_table *t, uint32_t i) {
  BUG_IF(i >= t->n);
  return t->chunk[i / VAULT_ROWS_CHUNK] + (size_t)(i % VAULT_ROWS_CHUNK) * t->each;
}

struct identity *vault_identity(const struct vault *v, uint32_t row) {
  return table_at(&v->rows, row);
}
struct vault_entry *vault_entry(const struct vault_table *t, uint32_t i) {
  return table_at(t, i);
}

static int chunk_list(void ***list, size_t *cap, size_t n, struct error *e) {
  if (n < *cap) return OK;
  size_t more = *cap ? *cap * 2 : 16;
  void **t = mem_realloc(*list, more * sizeof *t); /* addresses only: nothing in it identifies */
  if (!t) return no_memory(e);
  *list = t;
  *cap = more;
  return OK;
}

/* Room for one more. */
static int table_room(struct vault_table *t, struct error *e) {
  if (t->n < (uint64_t)t->chunks * VAULT_ROWS_CHUNK) return OK;
  if (t->n >= VAULT_LINK_KEY - VAULT_ROWS_CHUNK) return error_set(e, E_LIMIT, "more entries than a vault can hold");
  TRY(chunk_list((void ***)&t->chunk, &t->cap, t->chunks, e));
  uint8_t *chunk = mem_alloc(VAULT_ROWS_CHUNK * t->each);
  if (!chunk) return no_memory(e);
  t->chunk[t->chunks++] = chunk;
  return OK;
}

static void table_free(struct vault_table *t) {
  for (uint32_t i = 0; i < t->chunks; i++) {
    uint32_t rows = i + 1 < t->chunks ? VAULT_ROWS_CHUNK : t->n - i * VAULT_ROWS_CHUNK;
    mem_wipe(t->chunk[i], rows * t->each);
    mem_free(t->chunk[i]);
  }
  mem_free(t->chunk);
}

/* ---- texts ---- */

static size_t text_bytes(size_t n) { return (TEXT_HEAD + n + TEXT_UNIT - 1) / TEXT_UNIT * TEXT_UNIT; }

static int text_room(struct vault *v, size_t n, struct error *e) {
  if (v->text_chunks && VAULT_TEXT_CHUNK - v->text_at >= text_bytes(n)) return OK;
  if (v->text_chunks >= UINT32_MAX / (VAULT_TEXT_CHUNK / TEXT_UNIT)) return error_set(e, E_LIMIT, "more texts than a vault can hold");
  TRY(chunk_list((void ***)&v->text, &v->text_cap, v->text_chunks, e));
  char *chunk = mem_alloc(VAULT_TEXT_CHUNK);
  if (!chunk) return no_memory(e);
  v->text[v->text_chunks++] = chunk;
  v->text_at = 0;
  return OK;
}

static char *text_at(const struct vault *v, uint32_t place) {
  enum { UNITS = VAULT_TEXT_CHUNK / TEXT_UNIT };
  return v->text[place / UNITS] + (size_t)(place % UNITS) * TEXT_UNIT;
}

static uint32_t text_put(struct vault *v, uint16_t space, int kind, struct str value) {
  char *at = v->text[v->text_chunks - 1] + v->text_at;
  uint32_t place = (uint32_t)((v->text_chunks - 1) * (VAULT_TEXT_CHUNK / TEXT_UNIT) + v->text_at / TEXT_UNIT);
  uint16_t n = (uint16_t)value.n;
  memcpy(at, &space, 2);
  memcpy(at + 2, &n, 2);
  at[4] = (char)kind;
  at[5] = 0;
  memcpy(at + TEXT_HEAD, value.p, value.n);
  v->text_at += text_bytes(value.n);
  return place;
}

struct vault_text vault_text(const struct vault *v, const struct vault_entry *x) {
  const char *at = text_at(v, x->place);
  struct vault_text t;
  uint16_t n;
  memcpy(&t.space, at, 2);
  memcpy(&n, at + 2, 2);
  t.kind = (unsigned char)at[4];
  t.value = (struct str){at + TEXT_HEAD, n};
  return t;
}

/* ---- indices ---- */

/* The hash under which an element stands; false if it is dead or does not belong there. */
static bool hash_of(const struct vault *v, enum vault_index_name name, uint32_t i, uint64_t *hash) {
  if (name == BY_PSEUDONYM) {
    *hash = vault_hash(v, &vault_identity(v, i)->pseudonym, 8, 0);
    return true;
  }
  bool key = name == BY_KEY || (name == BY_LINK && i & VAULT_LINK_KEY);
  const struct vault_entry *x = vault_entry(key ? &v->keys : &v->identifiers, i & ~VAULT_LINK_KEY);
  if (x->person == VAULT_NOBODY) return false;
  struct vault_text t = vault_text(v, x);
  if (name == BY_LINK) {
    uint16_t space = vault_link_space(v, key, &t);
    *hash = vault_link_hash(v, space, t.value);
    return space != 0;
  }
  *hash = key ? vault_hash(v, t.value.p, t.value.n, t.space) : vault_value_hash(v, x->person, t.value);
  return true;
}

static void slot_put(struct vault_index *x, uint64_t hash, uint32_t value) {
  uint32_t i = index_first(x, hash);
  while (x->slot[i]) i = index_next(x, i);
  x->slot[i] = value + 1;
  x->used++;
}
void vault_index_put(struct vault *v, enum vault_index_name name, uint64_t hash, uint32_t value) { slot_put(&v->index[name], hash, value); }

static void refill(struct vault *v, enum vault_index_name name, uint32_t n, uint32_t bit) {
  uint64_t hash;
  for (uint32_t i = 0; i < n; i++)
    if (hash_of(v, name, i | bit, &hash)) slot_put(&v->index[name], hash, i | bit);
}

static int resize(struct vault *v, enum vault_index_name name, uint64_t cap, struct error *e) {
  struct vault_index *x = &v->index[name];
  if (cap > UINT32_MAX) return error_set(e, E_LIMIT, "more persons than a vault can hold");
  uint32_t *slot = mem_alloc(cap * sizeof *slot);
  if (!slot) return no_memory(e);
  memset(slot, 0, cap * sizeof *slot);
  mem_free(x->slot);
  *x = (struct vault_index){slot, (uint32_t)cap, 0};
  if (name == BY_PSEUDONYM) refill(v, name, v->rows.n, 0);
  if (name == BY_KEY) refill(v, name, v->keys.n, 0);
  if (name == BY_VALUE || name == BY_LINK) refill(v, name, v->identifiers.n, 0);
  if (name == BY_LINK) refill(v, name, v->keys.n, VAULT_LINK_KEY);
  return OK;
}

/* Grows by half at 7/8 full: 4.6 to 6.9 bytes an element. */
int vault_index_reserve(struct vault *v, enum vault_index_name name, uint32_t more, struct error *e) {
  struct vault_index *x = &v->index[name];
  uint64_t want = (uint64_t)x->used + more, cap = x->cap;
  if (cap && want <= cap - cap / 8) return OK;
  if (!cap) cap = 64;
  while (want > cap - cap / 8) cap += cap / 2;
  return resize(v, name, cap, e);
}

int vault_index_rebuild(struct vault *v, enum vault_index_name name, struct error *e) {
  uint64_t n = name == BY_LINK ? (uint64_t)v->identifiers.n + v->keys.n : v->rows.n, cap = 64;
  while (n > cap - cap / 8) cap += cap / 2;
  return resize(v, name, cap, e);
}

bool vault_known(const struct vault *v, uint16_t source, struct str key, uint32_t *row) {
  const struct vault_index *x = &v->index[BY_KEY];
  if (!x->cap || key.n == 0) return false;
  for (uint32_t i = index_first(x, vault_hash(v, key.p, key.n, source)); x->slot[i]; i = index_next(x, i)) {
    const struct vault_entry *k = vault_entry(&v->keys, x->slot[i] - 1);
    if (k->person == VAULT_NOBODY) continue;
    struct vault_text t = vault_text(v, k);
    if (t.space != source || !str_eq(t.value, key)) continue;
    *row = k->person;
    return true;
  }
  return false;
}

/* Erased rows too: a pseudonym is never given twice. */
static bool pseudonym_at(const struct vault *v, int64_t pseudonym, uint32_t *row) {
  const struct vault_index *x = &v->index[BY_PSEUDONYM];
  if (!x->cap) return false;
  for (uint32_t i = index_first(x, vault_hash(v, &pseudonym, 8, 0)); x->slot[i]; i = index_next(x, i))
    if (vault_identity(v, x->slot[i] - 1)->pseudonym == pseudonym) {
      *row = x->slot[i] - 1;
      return true;
    }
  return false;
}
bool vault_row_of(const struct vault *v, int64_t pseudonym, uint32_t *row) {
  return pseudonym_at(v, pseudonym, row) && !(vault_identity(v, *row)->flags & IDENTITY_ERASED);
}

/* ---- rows and entries ---- */

/* Everything that can fail comes first, so a failure leaves the map as it was. */
int vault_entry_add(struct vault *v, bool key, uint32_t row, uint16_t space, int kind, struct str value, struct error *e) {
  struct vault_table *t = key ? &v->keys : &v->identifiers;
  enum vault_index_name name = key ? BY_KEY : BY_VALUE;
  if (key && vault_identity(v, row)->key_n == UINT16_MAX) return error_set(e, E_LIMIT, "one person with more than %d keys", UINT16_MAX);
  TRY(vault_index_reserve(v, name, 1, e));
  TRY(vault_index_reserve(v, BY_LINK, 1, e));
  TRY(table_room(t, e));
  TRY(text_room(v, value.n, e));
  struct identity *id = vault_identity(v, row);
  uint32_t i = t->n++, *head = key ? &id->keys : &id->identifiers, bit = key ? VAULT_LINK_KEY : 0;
  uint64_t hash;
  *vault_entry(t, i) = (struct vault_entry){text_put(v, space, kind, value), row, *head};
  *head = i + 1;
  if (key)
    id->key_n++;
  else
    id->identifier_n++;
  if (hash_of(v, name, i, &hash)) slot_put(&v->index[name], hash, i);
  if (hash_of(v, BY_LINK, i | bit, &hash)) slot_put(&v->index[BY_LINK], hash, i | bit);
  return OK;
}

void vault_entry_kill(struct vault *v, struct vault_entry *x) {
  if (x->person == VAULT_NOBODY) return;
  struct vault_text t = vault_text(v, x);
  mem_wipe((char *)t.value.p, t.value.n);
  x->person = VAULT_NOBODY;
}

static int row_append(struct vault *v, const struct identity *row, struct error *e) {
  TRY(vault_index_reserve(v, BY_PSEUDONYM, 1, e));
  TRY(table_room(&v->rows, e));
  uint32_t i = v->rows.n++;
  v->row_n = v->rows.n;
  *vault_identity(v, i) = *row;
  vault_index_put(v, BY_PSEUDONYM, vault_hash(v, &row->pseudonym, 8, 0), i);
  return OK;
}

/* Random, or under a policy that wants them keyed: BLAKE2b of the source and the key under the vault's secret. */
static int draw(struct vault *v, uint16_t source, struct str key, uint64_t turn, int64_t *out, struct error *e) {
  if (!v->keyed) {
    TRY(vault_random(v, out, sizeof *out, e));
  } else {
    crypto_generichash_state st;
    static const char what[] = "vitae pseudonym";
    uint8_t hash[16];
    uint64_t head[2] = {turn, v->source[source].n};
    crypto_generichash_init(&st, v->secret, 32, sizeof hash);
    crypto_generichash_update(&st, (const uint8_t *)what, sizeof what);
    crypto_generichash_update(&st, (const uint8_t *)head, sizeof head);
    crypto_generichash_update(&st, (const uint8_t *)v->source[source].p, v->source[source].n);
    crypto_generichash_update(&st, (const uint8_t *)key.p, key.n);
    crypto_generichash_final(&st, hash, sizeof hash);
    memcpy(out, hash, sizeof *out);
    mem_wipe(&st, sizeof st);
  }
  *out &= INT64_MAX;
  return OK;
}

int vault_person(struct vault *v, uint16_t source, struct str key, uint32_t *row, struct error *e) {
  uint32_t other;
  if (key.n == 0 || key.n > VAULT_KEY_LIMIT)
    return error_set(e, E_LIMIT, "a person's key is empty or longer than %d bytes", VAULT_KEY_LIMIT);
  if (vault_known(v, source, key, row)) return OK;
  struct vault_text t = {.space = source, .value = key};
  uint16_t space = vault_link_space(v, true, &t);
  if (space && vault_link_find(v, space, key, source, row)) {
    TRY(vault_entry_add(v, true, *row, source, 0, key, e));
    v->linked++;
    return OK;
  }
  struct identity id = {.birth = DEID_DAY_NONE, .first = DEID_DAY_NONE, .last = DEID_DAY_NONE};
  uint64_t turn = 0;
  do TRY(draw(v, source, key, turn++, &id.pseudonym, e));
  while (id.pseudonym == 0 || pseudonym_at(v, id.pseudonym, &other));
  /* the key's room first: a row without a key must not stay behind */
  TRY(vault_index_reserve(v, BY_KEY, 1, e));
  TRY(vault_index_reserve(v, BY_LINK, 1, e));
  TRY(table_room(&v->keys, e));
  TRY(text_room(v, key.n, e));
  TRY(row_append(v, &id, e));
  *row = v->rows.n - 1;
  TRY(vault_entry_add(v, true, *row, source, 0, key, e));
  return space ? vault_join(v, row, space, key, e) : OK; /* several carry it, or another key of this source: counted */
}

static bool day_ok(int32_t d) { return d == DEID_DAY_NONE || deid_day_valid(d); }

int vault_row_add(struct vault *v, const struct identity *row, struct error *e) {
  uint32_t other;
  bool sound = row->pseudonym > 0 && day_ok(row->birth) && day_ok(row->first) && day_ok(row->last) && row->shift_days >= -36500 &&
               row->shift_days <= 36500 && !(row->flags & ~IDENTITY_STORED) && row->birth_precision <= TIME_PRECISION_FRACTION &&
               !row->keys && !row->identifiers;
  if (!sound) return error_set(e, E_CORRUPT, "row %u of the identity map is out of range", v->row_n + 1);
  if (pseudonym_at(v, row->pseudonym, &other)) return error_set(e, E_CORRUPT, "row %u of the identity map is there twice", v->row_n + 1);
  return row_append(v, row, e);
}

int vault_key_add(struct vault *v, uint32_t row, uint16_t source, struct str key, struct error *e) {
  uint32_t other;
  if (source >= v->source_n || key.n == 0 || key.n > VAULT_KEY_LIMIT || vault_identity(v, row)->key_n == UINT16_MAX)
    return error_set(e, E_CORRUPT, "a key of row %u of the identity map is out of range", row + 1);
  if (vault_known(v, source, key, &other)) return error_set(e, E_CORRUPT, "a key of row %u of the identity map is there twice", row + 1);
  return vault_entry_add(v, true, row, source, 0, key, e);
}

/* ---- names ---- */

static int name_add(struct str *list, uint16_t *n, struct str name, struct error *e) {
  char *copy = mem_alloc(name.n);
  if (!copy) return no_memory(e);
  memcpy(copy, name.p, name.n);
  list[(*n)++] = (struct str){copy, name.n};
  return OK;
}

int vault_source(struct vault *v, struct str name, uint16_t *id, struct error *e) {
  for (*id = 0; *id < v->source_n; ++*id)
    if (str_eq(v->source[*id], name)) return OK;
  if (name.n == 0 || name.n > VAULT_SOURCE_LIMIT || v->source_n == VAULT_SOURCES)
    return error_set(e, E_LIMIT, "a source's name must have 1..%d bytes, and a vault holds %d sources", VAULT_SOURCE_LIMIT, VAULT_SOURCES);
  return name_add(v->source, &v->source_n, name, e);
}

int vault_space(struct vault *v, struct str name, uint16_t *id, struct error *e) {
  *id = 0;
  if (name.n == 0 || name.n > VAULT_NAMESPACE_LIMIT) return OK;
  if (v->last_space && str_eq(v->space[v->last_space], name)) return *id = v->last_space, OK;
  for (uint16_t i = 1; i < v->space_n; i++)
    if (str_eq(v->space[i], name)) return *id = v->last_space = i, OK;
  if (v->space_n == VAULT_NAMESPACES) return OK;
  TRY(name_add(v->space, &v->space_n, name, e));
  *id = v->last_space = (uint16_t)(v->space_n - 1);
  return OK;
}

int vault_shift(struct vault *v, struct identity *id, int max, struct error *e) {
  uint32_t r;
  if (id->shift_days) return OK;
  do TRY(vault_random(v, &r, sizeof r, e));
  while (!deid_shift_from(r, max, &id->shift_days));
  return OK;
}

static size_t table_memory(const struct vault_table *t) { return (size_t)t->chunks * VAULT_ROWS_CHUNK * t->each + t->cap * sizeof(void *); }
size_t vault_memory(const struct vault *v) {
  size_t n = table_memory(&v->rows) + table_memory(&v->keys) + table_memory(&v->identifiers) + v->text_chunks * VAULT_TEXT_CHUNK +
             v->text_cap * sizeof(void *);
  for (int i = 0; i < VAULT_INDICES; i++) n += (size_t)v->index[i].cap * 4;
  return n;
}

int vault_rows_new(bool guarded, struct vault **out, struct error *e) {
  struct vault *v = mem_alloc(sizeof *v);
  *out = NULL;
  if (!v) return no_memory(e);
  memset(v, 0, sizeof *v);
  v->lock = -1;
  v->rows.each = sizeof(struct identity);
  v->keys.each = v->identifiers.each = sizeof(struct vault_entry);
  v->space_n = 1;
  bool ready = sodium_init() >= 0 && random_secret(v->hash_key, sizeof v->hash_key, NULL) == OK;
  v->secret = !guarded ? v->own_secret : ready ? sodium_malloc(32) : NULL;
  if (!ready || !v->secret || random_secret(v->secret, 32, NULL) < 0) {
    if (guarded) sodium_free(v->secret);
    mem_free(v);
    return ready ? no_memory(e) : error_set(e, E_UNAVAILABLE, "no source of random numbers");
  }
  map_init(&v->gone, 0);
  *out = v;
  return OK;
}

static void names_free(struct str *list, int n) {
  for (int i = 0; i < n; i++) {
    if (list[i].p) mem_wipe((char *)list[i].p, list[i].n);
    mem_free((char *)list[i].p);
  }
}

void vault_rows_free(struct vault *v) {
  table_free(&v->rows);
  table_free(&v->keys);
  table_free(&v->identifiers);
  for (size_t i = 0; i < v->text_chunks; i++) {
    mem_wipe(v->text[i], i + 1 < v->text_chunks ? VAULT_TEXT_CHUNK : v->text_at);
    mem_free(v->text[i]);
  }
  mem_free(v->text);
  names_free(v->source, v->source_n);
  names_free(v->space, v->space_n);
  names_free(v->never, v->never_n);
  for (int i = 0; i < VAULT_INDICES; i++) mem_free(v->index[i].slot);
  map_release(&v->gone);
  sodium_free(v->key);
  if (v->secret != v->own_secret) sodium_free(v->secret);
  mem_wipe(v, sizeof *v);
  mem_free(v);
}

/* ---- public ---- */

uint64_t vault_persons(const struct vault *v) { return v->row_n - v->erased; }

int vault_find(const struct vault *v, const char *source, struct str person, int64_t *pseudonym, struct error *e) {
  uint32_t row;
  for (uint16_t i = 0; i < v->source_n; i++)
    if (str_eqc(v->source[i], source) && vault_known(v, i, person, &row)) {
      *pseudonym = vault_identity(v, row)->pseudonym;
      return OK;
    }
  return error_set(e, E_NOTFOUND, "the vault knows no such person");
}

int vault_erase(struct vault *v, const char *source, struct str person, int64_t *pseudonym, struct error *e) {
  uint32_t row = 0;
  TRY(vault_find(v, source, person, pseudonym, e));
  BUG_IF(!vault_row_of(v, *pseudonym, &row));
  vault_row_erase(v, row);
  return OK;
}
