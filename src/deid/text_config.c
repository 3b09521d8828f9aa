/* Opening: policy/text.json, the rules and the lists that it names (plain or zstd), one hash over all of them. */
#include <stdio.h>
#include <zstd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "deid/tagger.h"
#include "deid/text_check.h"
#include "deid/text_internal.h"

enum { CONFIG_LIMIT = 1 << 20, FILE_LIMIT = 8 << 20, LIST_LIMIT = 64 << 20, TEXT_LIMIT = 64 << 20 };

struct opening {
  struct text_scrubber *s;
  const char *config;
  struct sha256 hash;
  bool only_hash;
  struct arena arena; /* the configuration and one file at a time */
};

/* Names are relative to the configuration, and stay below its directory unless they begin at the root. */
static int place_of(const struct opening *o, struct str name, char out[4096], struct error *e) {
  const char *slash = strrchr(o->config, '/');
  int dir = slash && name.n && name.p[0] != '/' ? (int)(slash - o->config) + 1 : 0;
  for (size_t i = 0; i + 1 < name.n; i++)
    if (name.p[i] == '.' && name.p[i + 1] == '.') return error_set(e, E_INPUT, "a file of the text configuration is named with \"..\"");
  int n = snprintf(out, 4096, "%.*s%.*s", dir, o->config, STR_ARG(name));
  return n <= 0 || n >= 4096 ? error_set(e, E_LIMIT, "path too long") : OK;
}

static int read_hashed(struct opening *o, struct str name, struct str *out, char path[4096], struct error *e) {
  TRY(place_of(o, name, path, e));
  TRY(file_read(&o->arena, path, FILE_LIMIT, out, e));
  uint64_t n = out->n;
  sha256_add(&o->hash, &n, sizeof n);
  sha256_add(&o->hash, out->p, out->n);
  return OK;
}

static int unpack(struct opening *o, struct str *file, struct error *e) {
  unsigned long long n = ZSTD_getFrameContentSize(file->p, file->n);
  if (n == ZSTD_CONTENTSIZE_ERROR) return OK; /* not packed */
  if (n == ZSTD_CONTENTSIZE_UNKNOWN || n > LIST_LIMIT)
    return error_set(e, E_LIMIT, "a packed word list does not say its size, or too much");
  char *p = arena_alloc(&o->arena, n + 1, 1);
  if (!p) return error_set(e, E_NOMEM, "no memory for word lists");
  size_t got = ZSTD_decompress(p, n, file->p, file->n);
  if (ZSTD_isError(got)) return error_set(e, E_CORRUPT, "a packed word list is damaged");
  *file = (struct str){p, got};
  return OK;
}

static int load_list(struct opening *o, struct json j, struct error *e) {
  struct str name, word, file;
  char path[4096];
  struct json as = json_get(j, "as"), v;
  uint32_t in = 0;
  TRY(json_want_str(j, "file", &name, e));
  if (json_kind(as) == JSON_STRING) in = text_class_named(json_str(as));
  for (struct json_iter it = json_items(as); json_kind(as) == JSON_ARRAY && json_next(&it, &v);) {
    word = json_str(v);
    if (!text_class_named(word)) return error_set(e, E_INPUT, "a list is of an unknown class");
    in |= text_class_named(word);
  }
  if (!in) return error_set(e, E_INPUT, "a list is of an unknown class");
  struct arena_mark mark = arena_mark(&o->arena);
  int rc = read_hashed(o, name, &file, path, e);
  if (rc == OK && !o->only_hash) rc = unpack(o, &file, e);
  if (rc == OK && !o->only_hash) rc = text_lists_add(&o->s->lists, file, in, e);
  if (rc < 0) error_where(e, path, 0, NULL);
  arena_rewind(&o->arena, mark);
  return rc;
}

static int load_words(struct opening *o, struct json root, struct error *e) {
  struct str key;
  struct json words = json_get(root, "words"), list, v;
  if (o->only_hash) return OK;
  for (struct json_iter it = json_members(words); json_next_member(&it, &key, &list);) {
    uint32_t in = text_class_named(key);
    if (!in || json_kind(list) != JSON_ARRAY) return error_set(e, E_INPUT, "\"words\" names an unknown class");
    for (struct json_iter each = json_items(list); json_next(&each, &v);) TRY(text_lists_add(&o->s->lists, json_str(v), in, e));
  }
  return OK;
}

static int load_rules(struct opening *o, struct json root, struct error *e) {
  struct str name, file;
  char path[4096];
  TRY(json_want_str(root, "rules", &name, e));
  TRY(read_hashed(o, name, &file, path, e));
  if (o->only_hash) return OK;
  int rc = text_rules_load(file, &o->s->rules, e);
  return rc < 0 ? (error_where(e, path, 0, NULL), rc) : OK;
}

static int labels(struct json root, const char *key, uint32_t otherwise, uint32_t *out, struct error *e) {
  struct json list = json_get(root, key), v;
  *out = otherwise;
  if (json_kind(list) == JSON_NONE) return OK;
  if (json_kind(list) != JSON_ARRAY) return error_set(e, E_INPUT, "expected a list of labels"), error_where(e, NULL, 0, key);
  *out = 0;
  for (struct json_iter it = json_items(list); json_next(&it, &v);) {
    int label = text_label_named(json_str(v));
    if (label < 0) return error_set(e, E_INPUT, "an unknown label"), error_where(e, NULL, 0, key);
    *out |= 1u << label;
  }
  return OK;
}

static int flag(struct json root, const char *key, bool *out, struct error *e) {
  struct json v = json_get(root, key);
  if (json_kind(v) == JSON_NONE || json_bool(v, out)) return OK;
  return error_set(e, E_INPUT, "expected true or false"), error_where(e, NULL, 0, key);
}

static int load_options(struct text_options *o, struct json root, struct error *e) {
  int64_t limit;
  *o = (struct text_options){.titles = true, .join_places = true, .grammar = true};
  TRY(flag(root, "titles", &o->titles, e));
  TRY(flag(root, "countries", &o->countries, e));
  TRY(flag(root, "grammar", &o->grammar, e));
  TRY(flag(root, "join_places", &o->join_places, e));
  TRY(flag(root, "tagger_words", &o->tagger_words, e));
  TRY(labels(root, "tagger_labels", ~0u, &o->tagger_labels, e));
  TRY(labels(root, "drop_labels", 0, &o->drop_labels, e));
  TRY(json_want_i64(root, "limit", &limit, e));
  if (limit < 1 || limit > TEXT_LIMIT) return error_set(e, E_INPUT, "out of range"), error_where(e, NULL, 0, "limit");
  o->limit = (size_t)limit;
  return OK;
}

static int load_replacements(struct opening *o, struct json root, struct error *e) {
  static const char *const kinds[] = {"first", "last", "town", "facility", "nicknames"};
  struct json names = json_get(root, "surrogates");
  for (int i = 0; i < 5; i++) {
    struct str name, file;
    char path[4096];
    TRY(json_want_str(names, kinds[i], &name, e));
    struct arena_mark mark = arena_mark(&o->arena);
    TRY(read_hashed(o, name, &file, path, e));
    if (o->only_hash) {
      arena_rewind(&o->arena, mark);
      continue;
    }
    TRY(unpack(o, &file, e));
    int rc = i == 4 ? text_lists_add_nicknames(&o->s->lists, file, e) : text_lists_add_surrogates(&o->s->lists, file, str_c(kinds[i]), e);
    if (rc < 0) return error_where(e, path, 0, NULL), rc;
    arena_rewind(&o->arena, mark);
  }
  return OK;
}

static int load_tagger(struct opening *o, struct json root, struct error *e) {
  struct str name = json_str(json_get(root, "tagger")), file;
  char path[4096];
  if (!name.n) return OK;
  TRY(read_hashed(o, name, &file, path, e));
  return o->only_hash ? OK : tagger_load(path, &o->s->tagger, e);
}

static int load_all(struct opening *o, struct error *e) {
  struct json root, list;
  struct str file;
  TRY(file_read(&o->arena, o->config, CONFIG_LIMIT, &file, e));
  TRY(json_load(&o->arena, o->config, &root, e));
  sha256_add(&o->hash, file.p, file.n);
  TRY(load_options(&o->s->options, root, e));
  TRY(load_words(o, root, e));
  for (struct json_iter it = json_items(json_get(root, "lists")); json_next(&it, &list);) TRY(load_list(o, list, e));
  TRY(load_replacements(o, root, e));
  TRY(load_rules(o, root, e));
  return load_tagger(o, root, e);
}

static int open_or_hash(struct opening *o, struct error *e) {
  uint8_t digest[32];
  o->s = mem_alloc(sizeof *o->s);
  if (!o->s) return error_set(e, E_NOMEM, "no memory for the text scrubber");
  memset(o->s, 0, sizeof *o->s);
  arena_init(&o->s->lists.arena, 1 << 20, 0);
  arena_init(&o->arena, (size_t)LIST_LIMIT + FILE_LIMIT * 2, 0);
  int rc = sha256_init(&o->hash, e);
  if (rc == OK) {
    rc = load_all(o, e);
    sha256_end(&o->hash, digest);
    hash_hex(digest, 32, o->s->hash);
    o->s->hash[64] = 0;
  }
  arena_free(&o->arena);
  if (rc < 0 && !(e && e->file[0])) error_where(e, o->config, 0, NULL);
  return rc;
}

int text_scrubber_open(const char *config, struct text_scrubber **out, struct error *e) {
  struct opening o = {.config = config};
  *out = NULL;
  int rc = open_or_hash(&o, e);
  if (rc < 0)
    text_scrubber_close(o.s);
  else
    *out = o.s;
  return rc;
}

int text_config_hash(const char *config, char hex[65], struct error *e) {
  struct opening o = {.config = config, .only_hash = true};
  int rc = open_or_hash(&o, e);
  if (rc == OK) memcpy(hex, o.s->hash, 65);
  text_scrubber_close(o.s);
  return rc;
}

void text_scrubber_close(struct text_scrubber *s) {
  if (!s) return;
  text_lists_free(&s->lists);
  text_rules_free(s->rules);
  tagger_free(s->tagger);
  mem_free(s);
}

const char *text_scrubber_hash(const struct text_scrubber *s) { return s->hash; }
