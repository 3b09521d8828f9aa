#include "base/map.h"

#include <pthread.h>

#include "base/hash.h"
#include "base/random.h"

struct map_slot {
  const char *key; /* NULL = free */
  size_t n;
  uint64_t hash, value;
};
struct map64_slot {
  int64_t key;
  uint64_t value;
  bool used;
};

/* A secret start value keeps a sender of records from choosing keys that all fall into one place. */
static uint64_t process_seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;
static void seed_make(void) {
  if (process_seed) return;
  if (random_secret(&process_seed, sizeof process_seed, NULL) < 0) process_seed = hash64_u64((uint64_t)(uintptr_t)&process_seed);
}
static uint64_t seed(void) {
  pthread_once(&seed_once, seed_make);
  return process_seed;
}
void hash_seed_fixed(uint64_t value) {
  pthread_once(&seed_once, seed_make);
  process_seed = value;
}

void map_init(struct map *m, size_t memory_limit) {
  *m = (struct map){0};
  arena_init(&m->keys, memory_limit, 0);
}

void map_release(struct map *m) {
  mem_free(m->slots);
  size_t limit = m->keys.limit;
  arena_free(&m->keys);
  map_init(m, limit);
}

/* The slot that holds the key or the free one where it belongs. cap is a power of two and never full. */
static struct map_slot *find(struct map_slot *slots, size_t cap, struct str key, uint64_t hash) {
  for (size_t i = hash & (cap - 1);; i = (i + 1) & (cap - 1)) {
    struct map_slot *s = &slots[i];
    if (!s->key || (s->hash == hash && s->n == key.n && memcmp(s->key, key.p, key.n) == 0)) return s;
  }
}

static struct map_slot *lookup(const struct map *m, struct str key) {
  if (!m->cap) return NULL;
  if (!key.p) key = STR("");
  struct map_slot *s = find(m->slots, m->cap, key, hash64(key.p, key.n, seed()));
  return s->key ? s : NULL;
}

bool map_get(const struct map *m, struct str key, uint64_t *value) {
  struct map_slot *s = lookup(m, key);
  if (s && value) *value = s->value;
  return s != NULL;
}

static bool grow(struct map *m) {
  size_t cap = m->cap ? m->cap * 2 : 64, bytes;
  if (__builtin_mul_overflow(cap, sizeof(struct map_slot), &bytes)) return false;
  if (m->keys.limit && (bytes > m->keys.limit || m->keys.used > m->keys.limit - bytes)) return false;
  struct map_slot *slots = mem_alloc(bytes);
  if (!slots) return false;
  memset(slots, 0, bytes);
  for (size_t i = 0; i < m->cap; i++) {
    struct map_slot *s = &m->slots[i];
    if (s->key) *find(slots, cap, (struct str){s->key, s->n}, s->hash) = *s;
  }
  mem_free(m->slots);
  m->slots = slots;
  m->cap = cap;
  return true;
}

static struct map_slot *put(struct map *m, struct str key, bool *is_new) {
  if (!key.p) key = STR("");
  uint64_t hash = hash64(key.p, key.n, seed());
  if (m->cap) {
    struct map_slot *s = find(m->slots, m->cap, key, hash);
    if (s->key) {
      if (is_new) *is_new = false;
      return s;
    }
  }
  if (m->count + 1 > m->cap / 4 * 3 && !grow(m)) return NULL;
  const char *copy = arena_strndup(&m->keys, key.p, key.n);
  if (!copy) return NULL;
  struct map_slot *s = find(m->slots, m->cap, key, hash);
  *s = (struct map_slot){copy, key.n, hash, 0};
  m->count++;
  if (is_new) *is_new = true;
  return s;
}

uint64_t *map_put(struct map *m, struct str key, bool *is_new) {
  struct map_slot *s = put(m, key, is_new);
  return s ? &s->value : NULL;
}

bool map_next(const struct map *m, size_t *at, struct str *key, uint64_t *value) {
  for (; *at < m->cap; (*at)++) {
    const struct map_slot *s = &m->slots[*at];
    if (!s->key) continue;
    if (key) *key = (struct str){s->key, s->n};
    if (value) *value = s->value;
    (*at)++;
    return true;
  }
  return false;
}

void intern_init(struct intern *t, size_t memory_limit) {
  *t = (struct intern){0};
  map_init(&t->map, memory_limit);
}

void intern_release(struct intern *t) {
  size_t limit = t->map.keys.limit;
  map_release(&t->map);
  mem_free(t->names);
  intern_init(t, limit);
}

int intern_put(struct intern *t, struct str s, uint32_t *id, struct error *e) {
  if (t->count == t->cap) { /* first, so that a failure leaves the map and the names in step */
    if (t->cap > UINT32_MAX / 4) return error_set(e, E_LIMIT, "more than %u distinct names", t->cap);
    uint32_t cap = t->cap ? t->cap * 2 : 64;
    struct str *names = mem_realloc(t->names, cap * sizeof *names);
    if (!names) return error_set(e, E_NOMEM, "no memory for a table of names");
    t->names = names;
    t->cap = cap;
  }
  bool is_new;
  struct map_slot *slot = put(&t->map, s, &is_new);
  if (!slot) return error_set(e, E_LIMIT, "table of names over its memory limit at %u names", t->count);
  if (is_new) {
    t->names[t->count] = (struct str){slot->key, slot->n};
    slot->value = t->count++;
  }
  *id = (uint32_t)slot->value;
  return OK;
}

bool intern_find(const struct intern *t, struct str s, uint32_t *id) {
  struct map_slot *slot = lookup(&t->map, s);
  if (slot && id) *id = (uint32_t)slot->value;
  return slot != NULL;
}

void map64_init(struct map64 *m) { *m = (struct map64){0}; }

void map64_release(struct map64 *m) {
  mem_free(m->slots);
  *m = (struct map64){0};
}

static struct map64_slot *find64(struct map64_slot *slots, size_t cap, int64_t key) {
  for (size_t i = hash64_u64((uint64_t)key ^ seed()) & (cap - 1);; i = (i + 1) & (cap - 1))
    if (!slots[i].used || slots[i].key == key) return &slots[i];
}

bool map64_get(const struct map64 *m, int64_t key, uint64_t *value) {
  if (!m->cap) return false;
  struct map64_slot *s = find64(m->slots, m->cap, key);
  if (s->used && value) *value = s->value;
  return s->used;
}

static bool grow64(struct map64 *m) {
  size_t cap = m->cap ? m->cap * 2 : 64, bytes;
  if (__builtin_mul_overflow(cap, sizeof(struct map64_slot), &bytes)) return false;
  struct map64_slot *slots = mem_alloc(bytes);
  if (!slots) return false;
  memset(slots, 0, bytes);
  for (size_t i = 0; i < m->cap; i++)
    if (m->slots[i].used) *find64(slots, cap, m->slots[i].key) = m->slots[i];
  mem_free(m->slots);
  m->slots = slots;
  m->cap = cap;
  return true;
}

uint64_t *map64_put(struct map64 *m, int64_t key, bool *is_new) {
  struct map64_slot *s = m->cap ? find64(m->slots, m->cap, key) : NULL;
  if (!s || !s->used) {
    if (m->count + 1 > m->cap / 4 * 3) {
      if (!grow64(m)) return NULL;
      s = find64(m->slots, m->cap, key);
    }
    *s = (struct map64_slot){key, 0, true};
    m->count++;
    if (is_new) *is_new = true;
  } else if (is_new) {
    *is_new = false;
  }
  return &s->value;
}

bool map64_next(const struct map64 *m, size_t *at, int64_t *key, uint64_t *value) {
  for (; *at < m->cap; (*at)++) {
    const struct map64_slot *s = &m->slots[*at];
    if (!s->used) continue;
    if (key) *key = s->key;
    if (value) *value = s->value;
    (*at)++;
    return true;
  }
  return false;
}
