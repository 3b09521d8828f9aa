/* vitae verify on a store: reads every byte and checks every promise of FORMAT.md. */
#include "timeline/blob.h"
#include "timeline/timeline_store.h"

enum { FINDINGS_MAX = 200 };
struct verifier {
  void (*finding)(void *, const char *);
  void *ctx;
  uint32_t found;
  const struct manifest *m;
  const char *dir; /* of the timelines, where the blobs are */
  struct dictionary d;
  uint64_t subjects, events, texts, blobs, splits[SPLITS], *count;
  uint64_t last_hash;
  bool any;
  struct special special;
};

static void PRINTF(2, 3) report(struct verifier *v, const char *fmt, ...) {
  char line[400];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  if (v->found++ < FINDINGS_MAX && v->finding) v->finding(v->ctx, line);
}

static void report_error(struct verifier *v, const char *file, const struct error *e) {
  report(v, "%s: %s (%s)", file, e->message[0] ? e->message : "cannot be read", error_name(e->code));
}

static void check_digest(struct verifier *v, const char *dir, const struct manifest_file *f) {
  char path[4096], name[32];
  uint8_t sha[32];
  struct error e = {0};
  snprintf(name, sizeof name, "%.*s", STR_ARG(f->name));
  if (file_join(path, sizeof path, dir, name, &e) < 0 || sha256_file(path, sha, &e) < 0) {
    report_error(v, name, &e);
    return;
  }
  if ((uint64_t)file_size(path) != f->bytes) report(v, "%s: size differs from the manifest", name);
  if (memcmp(sha, f->sha256, sizeof sha) != 0) report(v, "%s: SHA-256 differs from the manifest", name);
}

/* Texts and blobs of one life are compared only where everything else ties; without them the item compares equal there.
 * `text` has the digest behind it if `blob`. */
static struct item item_at(const struct verifier *v, const struct shard *s, uint64_t k, struct str text, bool blob) {
  return (struct item){.time = s->time[k],
                       .code = s->code[k],
                       .value_key = value_key(s->value[k]),
                       .unit = s->unit[k],
                       .file = s->file[k],
                       .row = s->row[k],
                       .text = text.p,
                       .text_n = (uint32_t)(text.n - (blob ? BLOB_BYTES : 0)),
                       .label = is_label(&v->special, s->code[k]),
                       .blob = blob};
}

/* Text and digest of an event, as item_at wants them. */
static struct item item_whole(const struct verifier *v, const struct shard *s, uint64_t event, struct buf *b) {
  uint64_t low = 0, high = s->texts;
  while (low < high) {
    uint64_t mid = low + (high - low) / 2;
    if (s->text_event[mid] < event)
      low = mid + 1;
    else
      high = mid;
  }
  buf_clear(b);
  if (low < s->texts && s->text_event[low] == event && shard_text(s, low, b, NULL) < 0) buf_clear(b);
  uint64_t at = shard_blob_from(s, event);
  bool blob = at < s->blobs && s->blob_event[at] == event;
  if (blob) buf_put(b, s->blob_digest[at], BLOB_BYTES);
  return item_at(v, s, event, b->n ? (struct str){b->p, b->n} : STR_NONE, blob && !b->failed);
}

static bool canonical(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return value == value || bits == 0x7FC00000u;
}

static void check_life(struct verifier *v, const char *file, const struct shard *s, uint32_t i, struct buf *a, struct buf *b) {
  uint64_t start = s->start[i], end = s->start[i + 1], statics = 0, births = 0;
  for (uint64_t k = start; k < end; k++) {
    if (s->code[k] >= v->d.codes || s->unit[k] >= v->d.units || s->file[k] >= v->m->sources || !canonical(s->value[k])) {
      report(v, "%s: event %llu: code, unit, source or value out of bounds", file, (unsigned long long)k);
      return;
    }
    v->count[s->code[k]]++;
    statics += s->time[k] == TIME_STATIC && !is_label(&v->special, s->code[k]);
    births += s->code[k] == v->special.birth;
    if (k == start) continue;
    struct item x = item_at(v, s, k - 1, STR_NONE, false), y = item_at(v, s, k, STR_NONE, false);
    bool tie = item_same(&x, &y);
    if (tie && (s->texts || s->blobs)) {
      x = item_whole(v, s, k - 1, a);
      y = item_whole(v, s, k, b);
    }
    if (item_compare(&x, &y) > 0) report(v, "%s: event %llu is out of order", file, (unsigned long long)k);
    if (tie && item_same(&x, &y)) report(v, "%s: event %llu is a duplicate", file, (unsigned long long)k);
  }
  if (statics != s->statics[i]) report(v, "%s: subject row %u: count of static events", file, i);
  if (births > 1) report(v, "%s: subject row %u: more than one birth", file, i);
}

static void check_subjects(struct verifier *v, const char *file, const struct shard *s) {
  struct buf a = {0}, b = {0};
  bool ranges = s->start[0] == 0 && s->start[s->subjects] == s->events;
  for (uint32_t i = 0; i < s->subjects; i++) ranges = ranges && s->start[i] < s->start[i + 1];
  if (!ranges) {
    report(v, "%s: event ranges of the subjects are out of order", file);
    return;
  }
  for (uint32_t i = 0; i < s->subjects; i++) {
    uint64_t h = subject_hash(s->subject[i]);
    if (s->subject[i] <= 0 || (v->any && h <= v->last_hash)) report(v, "%s: subject row %u is out of order", file, i);
    v->last_hash = h;
    v->any = true;
    if (s->split[i] < SPLITS)
      v->splits[s->split[i]]++;
    else
      report(v, "%s: subject row %u: unknown split", file, i);
    check_life(v, file, s, i, &a, &b);
  }
  buf_release(&a);
  buf_release(&b);
}

static void check_texts(struct verifier *v, const char *file, const struct shard *s) {
  uint64_t at = 0, block = 0, used = 0;
  for (uint64_t i = 0; i < s->blocks; i++) {
    struct error e = {0};
    char *raw = s->block[i].raw <= TEXT_MAX ? mem_alloc(s->block[i].raw) : NULL;
    if (!raw || s->block[i].offset != at || shard_unpack(s, i, raw, &e) < 0)
      report(v, "%s: text block %llu is damaged", file, (unsigned long long)i);
    mem_free(raw);
    at = s->block[i].offset + s->block[i].stored;
  }
  if (at != s->c.section[S_TEXT_DATA].bytes) report(v, "%s: bytes after the last text block", file);
  for (uint64_t i = 0; i < s->texts; i++) {
    struct text_place p = s->place[i];
    if (p.block == block + 1 && block < s->blocks && used == s->block[block].raw) block++, used = 0;
    if (p.block != block || p.block >= s->blocks || p.offset != used || p.length == 0 || p.zero ||
        p.length > s->block[p.block].raw - p.offset || s->text_event[i] >= s->events || (i && s->text_event[i] <= s->text_event[i - 1])) {
      report(v, "%s: text %llu is out of order or out of bounds", file, (unsigned long long)i);
      return;
    }
    used += p.length;
  }
  if (s->blocks && (block + 1 != s->blocks || used != s->block[block].raw)) report(v, "%s: text that belongs to no event", file);
}

static void check_blobs(struct verifier *v, const char *file, const struct shard *s) {
  for (uint64_t i = 0; i < s->blobs; i++) {
    char hex[65], path[4096];
    if (s->blob_event[i] >= s->events || (i && s->blob_event[i] <= s->blob_event[i - 1])) {
      report(v, "%s: blob %llu is out of order or out of bounds", file, (unsigned long long)i);
      return;
    }
    hash_hex(s->blob_digest[i], BLOB_BYTES, hex);
    if (blob_path(v->dir, (struct str){hex, 64}, path, NULL) < 0 || !file_exists(path))
      report(v, "%s: event %llu: its blob %.12s... is not there", file, (unsigned long long)s->blob_event[i], hex);
  }
}

static void check_shard(struct verifier *v, const char *dir, uint32_t index) {
  char path[4096], name[32];
  struct shard s;
  struct error e = {0};
  snprintf(name, sizeof name, "shard-%03u", index);
  if (file_join(path, sizeof path, dir, name, &e) < 0 || shard_open(path, &s, &e) < 0) {
    report_error(v, name, &e);
    return;
  }
  if (container_check(&s.c, &e) < 0) report_error(v, name, &e);
  check_subjects(v, name, &s);
  check_texts(v, name, &s);
  check_blobs(v, name, &s);
  v->subjects += s.subjects;
  v->events += s.events;
  v->texts += s.texts;
  v->blobs += s.blobs;
  shard_close(&s);
}

static void check_counts(struct verifier *v) {
  const struct manifest *m = v->m;
  if (v->subjects != m->subjects || v->events != m->events || v->texts != m->texts || v->blobs != m->blobs || v->d.codes != m->codes ||
      v->d.units != m->units)
    report(v, "manifest.json: counts differ from the files");
  for (int i = 0; i < SPLITS; i++)
    if (v->splits[i] != m->splits[i]) report(v, "manifest.json: split counts differ from the shards");
  for (uint32_t i = 0; i < v->d.codes; i++)
    if (v->count[i] != v->d.count[i]) report(v, "codes: count of code %u differs from the shards", i);
}

struct orphans {
  struct verifier *v;
  struct map named;
  bool told; /* whether `named` is whole: it is not while some other generation is damaged */
};

static int check_blob(void *ctx, const char *hex, const char *path, struct error *e) {
  struct orphans *o = ctx;
  struct error inner = {0};
  uint8_t digest[BLOB_BYTES];
  uint64_t flags;
  char line[160];
  (void)path, (void)e;
  if (!hex) {
    report(o->v, "blobs: a file that is no blob");
    return OK;
  }
  if (blob_check(o->v->dir, (struct str){hex, 64}, &inner) < 0) {
    snprintf(line, sizeof line, "blob %.12s...", hex);
    report_error(o->v, line, &inner);
  }
  if (!o->told || hash_unhex(str_c(hex), digest, BLOB_BYTES, NULL) < 0 ||
      map_get(&o->named, (struct str){(const char *)digest, BLOB_BYTES}, &flags))
    return OK;
  snprintf(line, sizeof line, "note: blob %.12s... is named by no generation (the next ingest removes it)", hex);
  if (o->v->finding) o->v->finding(o->v->ctx, line);
  return OK;
}

/* Every blob there is has the bytes of its name; those that nobody names are told, and are no failure: a killed writer leaves them. */
static int check_blob_dir(struct verifier *v, struct error *e) {
  struct orphans o = {.v = v};
  struct error ignored = {0};
  char blobs[4096];
  TRY(file_join(blobs, sizeof blobs, v->dir, "blobs", e));
  if (!file_is_dir(blobs)) return OK;
  map_init(&o.named, 0);
  o.told = blob_named(v->dir, &o.named, &ignored) == OK;
  int rc = blob_each(v->dir, check_blob, &o, e);
  map_release(&o.named);
  return rc;
}

static int verify_generation(struct verifier *v, const char *dir, struct error *e) {
  char path[4096];
  struct error inner = {0};
  for (uint32_t i = 0; i < v->m->files; i++) check_digest(v, dir, &v->m->file[i]);
  TRY(file_join(path, sizeof path, dir, "codes", e));
  if (dictionary_open(path, &v->d, &inner) < 0) {
    report_error(v, "codes", &inner);
    return inner.code == E_VERSION ? error_set(e, E_VERSION, "codes: %s", inner.message) : OK;
  }
  v->count = mem_alloc((v->d.codes + 1) * sizeof *v->count);
  if (!v->count) return error_set(e, E_NOMEM, "no memory to verify");
  memset(v->count, 0, (v->d.codes + 1) * sizeof *v->count);
  v->special.birth = UINT32_MAX;
  for (uint32_t i = 0; i < v->d.codes; i++) special_code(&v->special, i, dictionary_name(&v->d, i));
  for (uint32_t i = 0; i < v->m->shards; i++) check_shard(v, dir, i);
  check_counts(v);
  return check_blob_dir(v, e);
}

int timeline_verify(const char *dir, void (*finding)(void *, const char *what), void *ctx, struct error *e) {
  char generation[4096];
  struct arena a;
  struct manifest m;
  struct verifier v = {.finding = finding, .ctx = ctx, .m = &m};
  char beside[4096];
  TRY(timeline_resolve(dir, generation, sizeof generation, e));
  TRY(file_join(beside, sizeof beside, generation, "..", e));
  v.dir = beside;
  arena_init(&a, 0, 0);
  int rc = manifest_read(&a, generation, &m, e);
  if (rc == OK) {
    rc = verify_generation(&v, generation, e);
    dictionary_close(&v.d);
    mem_free(v.count);
  } else if (finding) {
    finding(ctx, rc == E_VERSION ? "manifest.json: written by a newer version" : "manifest.json: cannot be used");
  }
  arena_free(&a);
  TRY(rc);
  return v.found ? error_set(e, E_CORRUPT, "%u finding(s)", v.found) : OK;
}
