/* Hash maps with string or integer keys, and an interner (string <-> dense id).
 *
 *     struct intern codes;  intern_init(&codes, 0);
 *     uint32_t id;  TRY(intern_put(&codes, STR("LOINC//2160-0"), &id, e));   // 0, 1, 2, … in order of first sight
 *     struct str name = intern_str(&codes, id);                              // valid until intern_release
 *
 * Open addressing, 64-bit keyed hash (seeded per process unless hash_seed_fixed was called). Not thread-safe.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H
#include "base/str.h"

void hash_seed_fixed(uint64_t value); /* before the first map is made: the same iteration order in every process (tests) */

struct map_slot;
struct map { /* key: bytes (copied into the map) -> uint64 value */
  struct map_slot *slots;
  size_t cap, count;
  struct arena keys;
};
void map_init(struct map *m, size_t memory_limit);
void map_release(struct map *m);
bool map_get(const struct map *m, struct str key, uint64_t *value);
/* Returns a pointer to the value, made as 0 if the key is new (*is_new). NULL when out of memory or over the limit. */
uint64_t *map_put(struct map *m, struct str key, bool *is_new);
/* Iteration in slot order (not deterministic across processes; sort before output). Start with *at = 0. */
bool map_next(const struct map *m, size_t *at, struct str *key, uint64_t *value);

struct intern {
  struct map map;
  struct str *names;
  uint32_t count, cap;
};
void intern_init(struct intern *t, size_t memory_limit);
void intern_release(struct intern *t);
int intern_put(struct intern *t, struct str s, uint32_t *id, struct error *e) MUST_CHECK;
bool intern_find(const struct intern *t, struct str s, uint32_t *id);
static inline struct str intern_str(const struct intern *t, uint32_t id) { return t->names[id]; }

/* int64 key -> uint64 */
struct map64_slot;
struct map64 {
  struct map64_slot *slots;
  size_t cap, count;
};
void map64_init(struct map64 *m);
void map64_release(struct map64 *m);
bool map64_get(const struct map64 *m, int64_t key, uint64_t *value);
uint64_t *map64_put(struct map64 *m, int64_t key, bool *is_new);
bool map64_next(const struct map64 *m, size_t *at, int64_t *key, uint64_t *value);
#endif
