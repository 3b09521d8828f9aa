/* The reader. Opening checks structure (headers, tables, bounds of sections) and the dictionary; the columns of a life are
 * bounds-checked when it is viewed, so that opening costs microseconds a shard however large the store is. */
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "timeline/blob.h"
#include "timeline/timeline_store.h"

int generation_parse(const char *name, uint64_t *n) {
  *n = 0;
  if (strncmp(name, "gen-", 4) != 0) return E_INPUT;
  size_t digits = strspn(name + 4, "0123456789");
  if (digits < 6 || digits > 12 || name[4 + digits]) return E_INPUT;
  *n = strtoull(name + 4, NULL, 10);
  return OK;
}

int timeline_resolve(const char *dir, char *out, size_t size, struct error *e) {
  char path[4096];
  struct arena a;
  struct str text;
  TRY(file_join(path, sizeof path, dir, "CURRENT", e));
  if (!file_exists(path)) {
    TRY(file_join(path, sizeof path, dir, "manifest.json", e));
    if (file_exists(path)) return file_join(out, size, dir, "", e);
    error_set(e, E_NOTFOUND, "no timelines here: neither CURRENT nor manifest.json");
    return error_where(e, dir, 0, NULL);
  }
  arena_init(&a, 4096, 0);
  int rc = file_read(&a, path, 64, &text, e);
  char name[65] = "";
  uint64_t n;
  if (rc == OK) {
    struct str line = str_trim(text);
    memcpy(name, line.p, line.n);
    name[line.n] = 0;
    if (str_eqc(line, "none")) {
      error_set(e, E_NOTFOUND, "no timelines here yet: nothing was ingested");
      rc = error_where(e, dir, 0, NULL);
    } else if (strlen(name) != line.n || generation_parse(name, &n) < 0) {
      error_set(e, E_CORRUPT, "names no generation");
      rc = error_where(e, path, 0, NULL);
    } else {
      rc = file_join(out, size, dir, name, e);
    }
  }
  arena_free(&a);
  return rc;
}

static int open_shards(struct timeline *t, const struct manifest *m, struct error *e) {
  char path[4096], name[32];
  t->shard = mem_alloc((m->shards + 1) * sizeof *t->shard);
  if (!t->shard) return error_set(e, E_NOMEM, "no memory for a table of shards");
  uint64_t subjects = 0;
  for (uint32_t i = 0; i < m->shards; i++) {
    snprintf(name, sizeof name, "shard-%03u", i);
    TRY(file_join(path, sizeof path, t->dir, name, e));
    TRY(shard_open(path, &t->shard[i], e));
    t->shards++;
    t->shard[i].first = (uint32_t)subjects;
    subjects += t->shard[i].subjects;
    t->events += t->shard[i].events;
    t->blobs += t->shard[i].blobs;
    if (subjects > UINT32_MAX - 1) return error_set(e, E_LIMIT, "more subjects than this program takes");
  }
  t->subjects = (uint32_t)subjects;
  if (subjects != m->subjects || t->events != m->events || t->blobs != m->blobs || t->dictionary.codes != m->codes ||
      t->dictionary.units != m->units) {
    error_set(e, E_CORRUPT, "counts of the manifest and of the files differ");
    return error_where(e, t->dir, 0, NULL);
  }
  return OK;
}

static int open_generation(struct timeline *t, struct error *e) {
  struct arena a;
  struct manifest m;
  char path[4096];
  uint8_t sha[32];
  arena_init(&a, 0, 0);
  int rc = manifest_read(&a, t->dir, &m, e);
  if (rc == OK) {
    sha256_of(m.json.p, m.json.n, sha);
    hash_hex(sha, sizeof sha, t->hash);
    generation_name(m.generation, t->generation);
    rc = file_join(path, sizeof path, t->dir, "codes", e);
  }
  if (rc == OK) rc = dictionary_open(path, &t->dictionary, e);
  if (rc == OK) rc = open_shards(t, &m, e);
  arena_free(&a);
  return rc;
}

int timeline_open(const char *dir, struct timeline **out, struct error *e) {
  *out = NULL;
  struct timeline *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "no memory for a timeline store");
  *t = (struct timeline){0};
  pthread_mutex_t *lock = mem_alloc(sizeof *lock);
  int rc = lock ? OK : error_set(e, E_NOMEM, "no memory for a timeline store");
  if (lock) pthread_mutex_init(lock, NULL);
  t->lock = lock;
  if (rc == OK) rc = timeline_resolve(dir, t->dir, sizeof t->dir, e);
  if (rc == OK) rc = open_generation(t, e);
  if (rc < 0) {
    timeline_close(t);
    return rc;
  }
  *out = t;
  return OK;
}

void timeline_close(struct timeline *t) {
  if (!t) return;
  if (t->memory) {
    memory_free(t->memory);
  } else {
    for (uint32_t i = 0; i < t->shards; i++) shard_close(&t->shard[i]);
    dictionary_close(&t->dictionary);
  }
  mem_free(t->shard);
  if (t->lock) pthread_mutex_destroy(t->lock);
  mem_free(t->lock);
  mem_free(t);
}

uint32_t timeline_subjects(const struct timeline *t) { return t->subjects; }
uint64_t timeline_events(const struct timeline *t) { return t->events; }
const char *timeline_hash(const struct timeline *t) { return t->hash; }
const char *timeline_generation(const struct timeline *t) { return t->generation; }
bool timeline_damaged(const struct timeline *t) { return __atomic_load_n(&t->damaged, __ATOMIC_RELAXED); }

uint32_t timeline_codes(const struct timeline *t) { return t->memory ? memory_codes(t->memory) : t->dictionary.codes; }
struct str timeline_code_name(const struct timeline *t, uint32_t code) {
  return t->memory ? memory_code_name(t->memory, code) : dictionary_name(&t->dictionary, code);
}
struct str timeline_code_display(const struct timeline *t, uint32_t code) {
  return t->memory ? memory_code_display(t->memory, code) : dictionary_display(&t->dictionary, code);
}
struct str timeline_unit_name(const struct timeline *t, uint16_t unit) {
  return t->memory ? memory_unit_name(t->memory, unit) : dictionary_unit(&t->dictionary, unit);
}
bool timeline_code_find(const struct timeline *t, struct str name, uint32_t *code) {
  return t->memory ? memory_code_find(t->memory, name, code) : dictionary_find(&t->dictionary, name, code);
}
uint64_t timeline_code_count(const struct timeline *t, uint32_t code) {
  if (!t->memory) return code < t->dictionary.codes ? t->dictionary.count[code] : 0;
  uint64_t n = 0;
  for (uint64_t i = 0; i < t->events; i++) n += t->shard[0].code[i] == code;
  return n;
}

static struct shard *shard_of(const struct timeline *t, uint32_t index) {
  uint32_t low = 0, high = t->shards;
  while (high - low > 1) {
    uint32_t mid = low + (high - low) / 2;
    if (t->shard[mid].first <= index)
      low = mid;
    else
      high = mid;
  }
  return &t->shard[low];
}

typedef uint32_t four __attribute__((vector_size(16), aligned(4), may_alias));

/* True if every id is below `limit`. Users index tables by these ids: a flipped bit on disk must not become a wild read.
 * The top bit of (limit - 1 - id) | id is set exactly when id >= limit, for limits below 2^31. */
static bool below(const uint32_t *id, uint32_t n, uint32_t limit) {
  if (limit == 0) return n == 0;
  four most = {limit - 1, limit - 1, limit - 1, limit - 1}, seen = {0}, seen2 = {0};
  uint32_t i = 0, rest = 0;
  for (; i + 8 <= n; i += 8) {
    four a = *(const four *)(id + i), b = *(const four *)(id + i + 4);
    seen |= (most - a) | a;
    seen2 |= (most - b) | b;
  }
  seen |= seen2;
  for (; i < n; i++) rest |= (limit - 1 - id[i]) | id[i];
  return ((seen[0] | seen[1] | seen[2] | seen[3] | rest) >> 31) == 0;
}

struct timeline_view timeline_view(const struct timeline *t, uint32_t index) {
  BUG_IF(index >= t->subjects);
  const struct shard *s = shard_of(t, index);
  uint32_t i = index - s->first;
  uint64_t start = s->start[i], end = s->start[i + 1];
  struct timeline_view v = {.subject = s->subject[i], .split = (enum split)s->split[i]};
  if (start <= end && end <= s->events && end - start <= UINT32_MAX && s->split[i] < SPLITS && s->statics[i] <= end - start &&
      (t->memory || below(s->code + start, (uint32_t)(end - start), t->dictionary.codes))) {
    v.n = (uint32_t)(end - start);
    v.statics = s->statics[i];
    for (; v.n > v.statics && str_starts(timeline_code_name(t, s->code[end - 1 - v.labels]), STR(TIMELINE_LABEL)); v.n--) v.labels++;
  } else { /* never an index out of a damaged file: the life shows as empty, loudly, and timeline_damaged says so */
    if (!__atomic_exchange_n(&((struct timeline *)(uintptr_t)t)->damaged, true, __ATOMIC_RELAXED))
      log_line(LOG_ERROR, "the timeline store %s is damaged: run vitae verify", t->generation);
    v.split = SPLIT_TRAIN;
    start = 0;
  }
  v.time = s->time + start;
  v.code = s->code + start;
  v.value = s->value + start;
  v.unit = s->unit + start;
  v.origin_file = s->file + start;
  v.origin_row = s->row + start;
  return v;
}

int timeline_find(const struct timeline *t, int64_t subject, uint32_t *index, struct error *e) {
  uint64_t want = subject_hash(subject);
  uint32_t low = 0, high = t->subjects;
  while (low < high) {
    uint32_t mid = low + (high - low) / 2;
    const struct shard *s = shard_of(t, mid);
    uint64_t here = subject_hash(s->subject[mid - s->first]);
    if (here == want) {
      *index = mid;
      return OK;
    }
    if (here < want)
      low = mid + 1;
    else
      high = mid;
  }
  return error_set(e, E_NOTFOUND, "no such subject in the timelines");
}

static struct str unpacked_text(const struct timeline *t, struct shard *s, struct text_place at) {
  struct str text = STR_NONE;
  if (at.block >= s->blocks) return text;
  const struct text_block *b = &s->block[at.block];
  if (b->raw > TEXT_MAX || at.offset > b->raw || at.length > b->raw - at.offset) return text;
  pthread_mutex_lock(t->lock);
  char *raw = s->unpacked[at.block];
  if (!raw && (raw = mem_alloc(b->raw))) {
    if (shard_unpack(s, at.block, raw, NULL) < 0) {
      mem_free(raw);
      raw = NULL;
    }
    s->unpacked[at.block] = raw;
  }
  if (raw) text = (struct str){raw + at.offset, at.length};
  pthread_mutex_unlock(t->lock);
  return text;
}

struct str timeline_text(const struct timeline *t, uint32_t index, uint32_t k) {
  if (index >= t->subjects) return STR_NONE;
  struct shard *s = shard_of(t, index);
  uint64_t event = s->start[index - s->first] + k, low = 0, high = s->texts;
  struct timeline_view v = timeline_view(t, index);
  if (k >= v.n + v.labels) return STR_NONE;
  if (t->memory) return memory_text(t->memory, event);
  while (low < high) {
    uint64_t mid = low + (high - low) / 2;
    if (s->text_event[mid] < event)
      low = mid + 1;
    else
      high = mid;
  }
  return low < s->texts && s->text_event[low] == event ? unpacked_text(t, s, s->place[low]) : STR_NONE;
}

bool timeline_blob(const struct timeline *t, uint32_t index, uint32_t k, char hex[65]) {
  if (index >= t->subjects) return false;
  const struct shard *s = shard_of(t, index);
  struct timeline_view v = timeline_view(t, index);
  if (k >= v.n + v.labels) return false;
  uint64_t event = s->start[index - s->first] + k, at = 0;
  const uint8_t *digest = t->memory ? memory_blob(t->memory, event) : NULL;
  if (!t->memory && (at = shard_blob_from(s, event)) < s->blobs && s->blob_event[at] == event) digest = s->blob_digest[at];
  if (digest) hash_hex(digest, BLOB_BYTES, hex);
  return digest;
}

uint64_t timeline_blobs(const struct timeline *t) {
  if (!t->memory) return t->blobs;
  uint64_t n = 0;
  for (uint64_t i = 0; i < t->events; i++) n += memory_blob(t->memory, i) != NULL;
  return n;
}

/* Blobs lie beside the generations. */
int timeline_blob_path(const struct timeline *t, const char *hex, char out[4096], struct error *e) {
  char beside[4096];
  if (t->memory) return error_set(e, E_NOTFOUND, "a timeline in memory has no files");
  TRY(file_join(beside, sizeof beside, t->dir, "..", e));
  return blob_path(beside, str_c(hex), out, e);
}
