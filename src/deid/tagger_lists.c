/* Word lists as features: blocked Bloom filters (Putze et al. 2007), ten bits a word, so that a quarter of a million names is 300 kB. */
#include <stdlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/hash.h"
#include "deid/tagger_private.h"

#define BLOCK 32
#define BITS_A_WORD 10
#define PROBES 6

static uint8_t *block_of(const struct tagger_list *l, uint64_t spread) {
  return l->bits + (size_t)((spread >> 32) * l->blocks >> 32) * BLOCK;
}

bool tagger_list_has(const struct tagger_list *l, uint64_t spread) {
  const uint8_t *b = block_of(l, spread);
  uint64_t y = spread * 0x9E3779B97F4A7C15u;
  uint32_t all = 1;
  for (int i = 0; i < PROBES; i++, y >>= 8) all &= (uint32_t)b[(y & 255) >> 3] >> (y & 7);
  return all & 1;
}

static void add(struct tagger_list *l, uint32_t word) {
  uint64_t spread = hash64_u64(word);
  uint8_t *b = block_of(l, spread);
  uint64_t y = spread * 0x9E3779B97F4A7C15u;
  for (int i = 0; i < PROBES; i++, y >>= 8) b[(y & 255) >> 3] |= (uint8_t)(1u << (y & 7));
}

struct words {
  uint32_t *hash;
  uint32_t n, cap;
  struct arena *a;
};

/* One word or a phrase of two; longer phrases count by their first two words. */
static int words_add(struct words *w, struct str entry, struct error *e) {
  entry = str_trim(entry);
  if (!entry.n || entry.p[0] == '#') return OK;
  if (w->n == w->cap) {
    uint32_t cap = w->cap ? 2 * w->cap : 4096;
    uint32_t *more = arena_array(w->a, uint32_t, cap);
    if (!more) return error_set(e, E_NOMEM, "no memory for a word list");
    if (w->n) memcpy(more, w->hash, w->n * sizeof *more);
    w->hash = more, w->cap = cap;
  }
  struct str rest = entry, first = str_cut(&rest, ' '), next = rest.n ? str_cut(&rest, ' ') : STR_NONE;
  uint32_t h = tagger_word_hash(first);
  w->hash[w->n++] = next.n ? tagger_phrase_hash(h, tagger_word_hash(next)) : h;
  return OK;
}

static int words_of_json(struct words *w, struct str text, struct error *e) {
  struct json_parser *jp;
  struct json root, value;
  struct str key;
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, text.p, text.n, text.n, &root, e);
  struct json_iter it = {0};
  if (rc == OK) it = json_members(root);
  while (rc == OK && json_next_member(&it, &key, &value)) rc = words_add(w, key, e);
  json_parser_free(jp);
  return rc;
}

#define TEXT_MOST (64u << 20)
int tagger_text_read(struct arena *a, const char *path, struct str *out, struct error *e) {
  struct str packed;
  TRY(file_read(a, path, TEXT_MOST, &packed, e));
  *out = packed;
  if (!str_ends(str_c(path), STR(".zst"))) return OK;
  unsigned long long n = ZSTD_getFrameContentSize(packed.p, packed.n);
  if (n == ZSTD_CONTENTSIZE_ERROR || n == ZSTD_CONTENTSIZE_UNKNOWN || n > TEXT_MOST) n = TEXT_MOST;
  char *text = arena_alloc(a, n + STREAM_PAD, 1);
  if (!text) return error_set(e, E_NOMEM, "no memory for a word list");
  size_t got = ZSTD_decompress(text, n, packed.p, packed.n);
  if (ZSTD_isError(got)) {
    error_set(e, E_CORRUPT, "a packed word list cannot be read");
    return error_where(e, path, 0, NULL);
  }
  *out = (struct str){text, got};
  return OK;
}

static int list_read(struct arena *a, const char *path, struct tagger_list *l, struct error *e) {
  struct arena own;
  struct str text;
  struct words w = {.a = &own};
  arena_init(&own, 512u << 20, 0);
  int rc = tagger_text_read(&own, path, &text, e);
  if (rc == OK && str_ends(str_c(path), STR(".json")))
    rc = words_of_json(&w, text, e);
  else
    for (struct str rest = text; rc == OK && rest.p && rest.n;) rc = words_add(&w, str_cut(&rest, '\n'), e);
  if (rc == OK && !w.n) rc = error_set(e, E_INPUT, "a word list without words"), error_where(e, path, 0, NULL);
  if (rc == OK) {
    l->blocks = (uint32_t)(((uint64_t)w.n * BITS_A_WORD + BLOCK * 8 - 1) / (BLOCK * 8));
    l->bits = arena_alloc(a, (size_t)l->blocks * BLOCK, 64);
    if (!l->bits) rc = error_set(e, E_NOMEM, "no memory for a word list");
  }
  for (uint32_t i = 0; rc == OK && i < w.n; i++) add(l, w.hash[i]);
  const char *base = strrchr(path, '/');
  snprintf(l->name, sizeof l->name, "%.*s", (int)strcspn(base ? base + 1 : path, "."), base ? base + 1 : path);
  arena_free(&own);
  return rc;
}

uint32_t tagger_lists_plain(const struct tagger_list *l, uint32_t n) {
  uint32_t k = 0;
  while (k < n && strncmp(l[k].name, "kind-", 5) != 0) k++;
  return k < TAGGER_LISTS_PLAIN ? k : TAGGER_LISTS_PLAIN;
}

int tagger_lists_read(struct arena *a, const char *path, struct tagger_list *out, uint32_t *n, struct error *e) {
  struct str *file;
  size_t files;
  TRY(file_list(a, path, &file, &files, e));
  for (size_t i = 0; i < files; i++) {
    if (!str_ends(file[i], STR(".txt")) && !str_ends(file[i], STR(".txt.zst")) && !str_ends(file[i], STR(".json"))) continue;
    if (*n == TAGGER_LISTS) return error_set(e, E_LIMIT, "more than %d word lists", TAGGER_LISTS);
    const char *name = arena_strndup(a, file[i].p, file[i].n);
    if (!name) return error_set(e, E_NOMEM, "no memory for word lists");
    TRY(list_read(a, name, &out[(*n)++], e));
  }
  return OK;
}
