/* The table of hashed identifiers: built once, sorted, then read only. */
#include "deid/audit_private.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "deid/deid_date.h"

enum { WORDS_BYTES = 8 << 20, BUCKET_BITS_MAX = 22 };

int audit_search_new(struct audit_search **out, struct error *e) {
  *out = NULL;
  struct audit_search *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "no memory for the audit");
  memset(s, 0, sizeof *s);
  s->naming = UINT32_MAX;
  map64_init(&s->index);
  map64_init(&s->words);
  s->prefix = mem_alloc((size_t)1 << PREFIX_BITS >> 3);
  if (s->prefix) memset(s->prefix, 0, (size_t)1 << PREFIX_BITS >> 3);
  int rc = !s->prefix ? error_set(e, E_NOMEM, "no memory for the audit") : random_secret(&s->seed, sizeof s->seed, e);
  if (rc < 0) {
    audit_search_free(s);
    return rc;
  }
  *out = s;
  return OK;
}

void audit_search_free(struct audit_search *s) {
  if (!s) return;
  if (s->needle) mem_wipe(s->needle, s->cap * sizeof *s->needle);
  if (s->days) mem_wipe(s->days, s->persons_cap * sizeof *s->days);
  mem_free(s->needle);
  mem_free(s->bucket);
  mem_free(s->bloom);
  mem_free(s->prefix);
  mem_free(s->person);
  mem_free(s->days);
  map64_release(&s->index);
  map64_release(&s->words);
  mem_wipe(s, sizeof *s);
  mem_free(s);
}

uint64_t audit_search_variants(const struct audit_search *s) { return s->n; }
uint64_t audit_search_persons(const struct audit_search *s) { return s->persons; }
size_t audit_search_memory(const struct audit_search *s) {
  size_t n = s->cap * sizeof *s->needle + s->persons_cap * (sizeof *s->person + sizeof *s->days) + s->index.cap * 16 + s->words.cap * 16;
  if (s->bucket) n += (((size_t)1 << s->bucket_bits) + 1) * sizeof *s->bucket;
  n += (size_t)1 << PREFIX_BITS >> 3;
  if (s->bloom) n += (size_t)1 << s->bloom_bits >> 3;
  return n;
}

/* ---- words that prove nothing alone ---- */

static int words_line(struct audit_search *s, struct str line, bool always, struct error *e) {
  uint8_t row[AUDIT_LENGTH];
  while (line.n) {
    struct str word = str_trim(str_cut(&line, ','));
    size_t n = audit_fold_value(word, row);
    uint64_t h = 0;
    for (size_t i = 0; i < n; i++) h = audit_hash_next(h, row[i]);
    if (!n) continue;
    uint64_t *slot = map64_put(&s->words, (int64_t)h, NULL);
    if (!slot) return error_set(e, E_NOMEM, "no memory for the audit's words");
    *slot |= always ? NEEDLE_ORDINARY | NEEDLE_WORD : NEEDLE_WORD;
  }
  return OK;
}

static int words_of(struct audit_search *s, struct str text, bool always, struct error *e) {
  while (text.n) {
    struct str line = str_trim(str_cut(&text, '\n'));
    if (line.n && line.p[0] != '#') TRY(words_line(s, line, always, e));
  }
  return OK;
}

/* Lists are shipped packed (zstd). */
static int words_unpack(struct arena *a, struct str packed, struct str *text, struct error *e) {
  unsigned long long n = ZSTD_getFrameContentSize(packed.p, packed.n);
  if (n == 0 || n > WORDS_BYTES) return error_set(e, E_INPUT, "is no list of words in one zstd frame of at most %d MiB", WORDS_BYTES >> 20);
  char *p = arena_alloc(a, n, 1);
  if (!p) return error_set(e, E_NOMEM, "no memory for the audit's words");
  size_t got = ZSTD_decompress(p, n, packed.p, packed.n);
  if (ZSTD_isError(got) || got != n) return error_set(e, E_CORRUPT, "the packed list of words is damaged");
  *text = (struct str){p, n};
  return OK;
}

int audit_search_words(struct audit_search *s, const char *path, bool always, struct error *e) {
  struct arena a;
  struct str text;
  BUG_IF(s->n || s->sealed);
  arena_init(&a, 2 * WORDS_BYTES, 0);
  int rc = file_read(&a, path, WORDS_BYTES, &text, e);
  if (rc == OK && str_ends(str_c(path), STR(".zst"))) rc = words_unpack(&a, text, &text, e);
  if (rc == OK) rc = words_of(s, text, always, e);
  if (rc < 0) error_where(e, path, 0, NULL);
  arena_free(&a);
  return rc;
}

/* ---- sealing ---- */

static int by_hash(const void *a, const void *b) {
  const struct audit_needle *x = a, *y = b;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  if (x->person != y->person) return x->person < y->person ? -1 : 1;
  return x->form != y->form ? (x->form < y->form ? -1 : 1) : (int)x->kind - (int)y->kind;
}

/* One needle a person and hash: the form that comes first is the one that says most. */
static void unite(struct audit_search *s) {
  size_t kept = 0;
  for (size_t i = 0; i < s->n; i++)
    if (kept == 0 || s->needle[kept - 1].hash != s->needle[i].hash || s->needle[kept - 1].person != s->needle[i].person)
      s->needle[kept++] = s->needle[i];
  s->n = kept;
}

static void bloom_places(const struct audit_search *s, uint64_t hash, uint64_t place[2]) {
  uint64_t mixed = hash64_u64(hash);
  place[0] = mixed >> (64 - s->bloom_bits);
  place[1] = (mixed << 29 | mixed >> 35) >> (64 - s->bloom_bits);
}

static int index_needles(struct audit_search *s, struct error *e) {
  while (s->bucket_bits < BUCKET_BITS_MAX && (size_t)4 << s->bucket_bits < s->n) s->bucket_bits++;
  if (!s->bucket_bits) s->bucket_bits = 1;
  s->bloom_bits = 10;
  while (s->bloom_bits < 34 && (uint64_t)1 << s->bloom_bits < 12 * (uint64_t)s->n) s->bloom_bits++;
  size_t buckets = (size_t)1 << s->bucket_bits, bytes = (size_t)1 << s->bloom_bits >> 3;
  s->bucket = mem_alloc((buckets + 1) * sizeof *s->bucket);
  s->bloom = mem_alloc(bytes);
  if (!s->bucket || !s->bloom) return error_set(e, E_NOMEM, "no memory for the audit's index");
  memset(s->bloom, 0, bytes);
  size_t at = 0;
  for (size_t b = 0; b <= buckets; b++) {
    while (b < buckets && at < s->n && s->needle[at].hash >> (64 - s->bucket_bits) < b) at++;
    s->bucket[b] = (uint32_t)(b == buckets ? s->n : at);
  }
  for (size_t i = 0; i < s->n; i++) {
    uint64_t p[2];
    bloom_places(s, s->needle[i].hash, p);
    for (int k = 0; k < 2; k++) s->bloom[p[k] >> 6] |= UINT64_C(1) << (p[k] & 63);
  }
  return OK;
}

int audit_search_seal(struct audit_search *s, struct error *e) {
  BUG_IF(s->sealed);
  TRY(audit_names_done(s, e));
  if (s->n > UINT32_MAX) return error_set(e, E_LIMIT, "more than %u identifiers and variants", UINT32_MAX);
  if (s->n) qsort(s->needle, s->n, sizeof *s->needle, by_hash);
  unite(s);
  TRY(index_needles(s, e));
  s->sealed = true;
  return OK;
}

struct audit_match audit_lookup(const struct audit_search *s, uint64_t hash) {
  uint64_t p[2];
  bloom_places(s, hash, p);
  for (int k = 0; k < 2; k++)
    if (!(s->bloom[p[k] >> 6] >> (p[k] & 63) & 1)) return (struct audit_match){0};
  size_t bucket = hash >> (64 - s->bucket_bits);
  uint32_t low = s->bucket[bucket], high = s->bucket[bucket + 1];
  uint32_t end = high;
  while (low < high) {
    uint32_t mid = low + (high - low) / 2;
    if (s->needle[mid].hash < hash)
      low = mid + 1;
    else
      high = mid;
  }
  uint32_t n = 0;
  while (low + n < end && s->needle[low + n].hash == hash) n++;
  return (struct audit_match){s->needle + low, n};
}

const struct audit_needle *audit_match_of(struct audit_match m, uint32_t person) {
  uint32_t low = 0, high = m.n;
  while (low < high) {
    uint32_t mid = low + (high - low) / 2;
    if (m.first[mid].person < person)
      low = mid + 1;
    else
      high = mid;
  }
  return low < m.n && m.first[low].person == person ? &m.first[low] : NULL;
}

uint32_t audit_person(const struct audit_search *s, int64_t pseudonym) {
  uint64_t at;
  return pseudonym && map64_get(&s->index, pseudonym, &at) ? (uint32_t)at : UINT32_MAX;
}

int32_t audit_search_birth(const struct audit_search *s, int64_t subject) {
  uint32_t p = audit_person(s, subject);
  return p == UINT32_MAX || s->days[p].remade ? DEID_DAY_NONE : s->days[p].birth;
}

void audit_search_birth_remade(struct audit_search *s, int64_t pseudonym) {
  uint32_t p = audit_person(s, pseudonym);
  if (p != UINT32_MAX) s->days[p].remade = true;
}

const char *audit_form_name(enum audit_form form) {
  static const char *const names[AUDIT_FORMS] = {"whole",      "digits",     "name-word", "name",      "initial-and-name", "place",
                                                 "address",    "postcode",   "phone-7",   "mail-user", "source-key",       "as-float32",
                                                 "birth-date", "event-date", "near-name", "shape"};
  return (unsigned)form < AUDIT_FORMS ? names[form] : "unknown";
}
