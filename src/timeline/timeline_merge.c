/* Finishing: the union of the dictionaries, then partition by partition (which is the store's own order) the events of this
 * run and the lives of the previous generation, merged subject by subject into shards. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

#include "base/thread.h"
#include "timeline/timeline_writer.h"

/* ---- dictionaries ---- */

struct named {
  struct str name;
  uint32_t id;
};
static int by_name(const void *a, const void *b) { return str_cmp(((const struct named *)a)->name, ((const struct named *)b)->name); }

/* Merges the sorted names of the previous generation with the run's. Ranks start at 0. */
static uint32_t merge_names(const struct intern *run, struct named *sorted, uint32_t old_n,
                            struct str (*old_name)(const struct dictionary *, uint32_t), const struct dictionary *d, uint32_t *rank_new,
                            uint32_t *rank_old, struct str *name) {
  uint32_t n = 0, i = 0, j = 0;
  for (uint32_t k = 0; k < run->count; k++) sorted[k] = (struct named){intern_str(run, k), k};
  if (run->count) qsort(sorted, run->count, sizeof *sorted, by_name);
  while (i < run->count || j < old_n) {
    struct str old = j < old_n ? old_name(d, j) : STR_NONE;
    int c = i == run->count ? 1 : j == old_n ? -1 : str_cmp(sorted[i].name, old);
    name[n] = c <= 0 ? sorted[i].name : old;
    if (c <= 0) rank_new[sorted[i++].id] = n;
    if (c >= 0) rank_old[j++] = n;
    n++;
  }
  return n;
}

static struct str unit_after_none(const struct dictionary *d, uint32_t i) { return dictionary_unit(d, i + 1); }

static int merge_codes(struct timeline_writer *w, struct merged *m, struct named *sorted, struct error *e) {
  const struct dictionary *d = w->previous ? &w->previous->dictionary : NULL;
  uint32_t old_n = d ? d->codes : 0, most = w->codes.count + old_n;
  m->code_new = arena_array(&m->arena, uint32_t, w->codes.count);
  m->code_old = arena_array(&m->arena, uint32_t, old_n);
  m->name = arena_array(&m->arena, struct str, most);
  m->display = arena_array(&m->arena, struct str, most);
  m->count = arena_array(&m->arena, uint64_t, most);
  if (!m->code_new || !m->code_old || !m->name || !m->display || !m->count) return error_set(e, E_NOMEM, "no memory for the dictionary");
  m->codes = merge_names(&w->codes, sorted, old_n, dictionary_name, d, m->code_new, m->code_old, m->name);
  for (uint32_t i = 0; i < old_n; i++) m->display[m->code_old[i]] = dictionary_display(d, i);
  for (uint32_t i = 0; i < w->codes.count && i < w->display_cap; i++) {
    struct str *have = &m->display[m->code_new[i]];
    if (w->display[i].n && (have->n == 0 || str_cmp(w->display[i], *have) < 0)) *have = w->display[i];
  }
  return OK;
}

static int merge_units(struct timeline_writer *w, struct merged *m, struct named *sorted, struct error *e) {
  const struct dictionary *d = w->previous ? &w->previous->dictionary : NULL;
  uint32_t old_n = d ? d->units - 1 : 0, most = w->units.count + old_n;
  m->unit_new = arena_array(&m->arena, uint32_t, w->units.count + 1);
  m->unit_old = arena_array(&m->arena, uint32_t, old_n + 1);
  m->unit = arena_array(&m->arena, struct str, most + 1);
  if (!m->unit_new || !m->unit_old || !m->unit) return error_set(e, E_NOMEM, "no memory for the dictionary");
  m->units = 1 + merge_names(&w->units, sorted, old_n, unit_after_none, d, m->unit_new + 1, m->unit_old + 1, m->unit + 1);
  for (uint32_t i = 1; i <= w->units.count; i++) m->unit_new[i]++;
  for (uint32_t i = 1; i <= old_n; i++) m->unit_old[i]++;
  return m->units <= UINT16_MAX ? OK : error_set(e, E_LIMIT, "more than %d units", UINT16_MAX - 1);
}

/* A source that the store has seen before (same bytes) keeps its number. */
static int merge_sources(struct timeline_writer *w, struct merged *m, struct error *e) {
  struct map seen;
  uint32_t base = w->previous ? w->manifest.sources : 0;
  int rc = OK;
  m->file_new = arena_array(&m->arena, uint32_t, w->sources);
  m->added = arena_array(&m->arena, struct source, w->sources);
  if (!m->file_new || !m->added) return error_set(e, E_NOMEM, "no memory for the list of sources");
  map_init(&seen, 0);
  for (uint32_t i = 0; rc == OK && i < base + w->sources; i++) {
    const struct source *s = i < base ? NULL : &w->source[i - base];
    struct str sha = s ? str_c(s->sha256) : w->manifest.source_sha[i];
    bool is_new = true;
    uint64_t *number = sha.n ? map_put(&seen, sha, &is_new) : NULL;
    if (sha.n && !number) rc = error_set(e, E_NOMEM, "no memory for the list of sources");
    if (number && is_new) *number = s ? base + m->sources_added : i;
    if (!s || rc < 0) continue;
    m->file_new[i - base] = number ? (uint32_t)*number : base + m->sources_added;
    if (is_new) m->added[m->sources_added++] = *s;
  }
  map_release(&seen);
  return rc;
}

int merged_reserve(struct merged *m, const struct dictionary *d, uint32_t names, struct error *e) {
  m->code_new = arena_array(&m->arena, uint32_t, 1);
  m->code_old = arena_array(&m->arena, uint32_t, d->codes + 1);
  m->unit_new = arena_array(&m->arena, uint32_t, 1);
  m->unit_old = arena_array(&m->arena, uint32_t, d->units + 1);
  m->file_new = arena_array(&m->arena, uint32_t, 1);
  m->added = arena_array(&m->arena, struct source, 1);
  m->name = arena_array(&m->arena, struct str, names + 1);
  m->display = arena_array(&m->arena, struct str, names + 1);
  m->unit = arena_array(&m->arena, struct str, d->units + 1);
  m->count = arena_array(&m->arena, uint64_t, names + 1);
  bool room = m->code_new && m->code_old && m->unit_new && m->unit_old && m->file_new && m->added && m->name && m->display && m->unit;
  return room && m->count ? OK : error_set(e, E_NOMEM, "no memory for the dictionary");
}

/* The units of `d` that are marked, in their order behind "none". */
void merged_units(struct merged *m, const struct dictionary *d, const bool *kept) {
  m->units = 1;
  for (uint32_t i = 1; i < d->units; i++) {
    if (!kept[i]) continue;
    m->unit[m->units] = dictionary_unit(d, i);
    m->unit_old[i] = m->units++;
  }
}

int merge_dictionaries(struct timeline_writer *w, struct merged *m, struct error *e) {
  uint32_t most = w->codes.count > w->units.count ? w->codes.count : w->units.count;
  struct named *sorted = mem_alloc((size_t)most * sizeof *sorted);
  if (!sorted) return error_set(e, E_NOMEM, "no memory for the dictionary");
  int rc = merge_codes(w, m, sorted, e);
  if (rc == OK) rc = merge_units(w, m, sorted, e);
  if (rc == OK) rc = merge_sources(w, m, e);
  mem_free(sorted);
  return rc;
}

/* ---- shards ---- */

struct merger {
  struct timeline_writer *w;
  struct merged *m;
  const char *dir;
  struct container_writer out;
  bool open;
  uint64_t rows[3]; /* of the open shard */
  uint64_t blocks, text_bytes, blobs;
  struct buf raw, packed; /* text block being filled */
  uint32_t next_old;      /* next subject of the previous generation */
  struct file_map text;   /* the run's texts */
  struct item *items;     /* 2 * item_cap: items and scratch */
  uint32_t item_cap, item_most, load_most;
  struct special special;
  struct arena life;             /* texts of the old life being merged */
  const struct shard *old_shard; /* cached text block of the previous generation */
  uint64_t old_block;
  char *old_raw;
};

static int open_shard(struct merger *g, struct error *e) {
  char path[4096];
  if (g->open) return OK;
  BUG_IF(g->m->shards >= SHARDS_MAX);
  snprintf(path, sizeof path, "%s/shard-%03u", g->dir, g->m->shards);
  TRY(container_writer_open(&g->out, path, &container_shard, g->w->options.memory_limit / 32, e));
  g->open = true;
  memset(g->rows, 0, sizeof g->rows);
  g->blocks = g->text_bytes = g->blobs = 0;
  return OK;
}

static int flush_text(struct merger *g, struct error *e) {
  if (g->raw.n == 0) return OK;
  buf_clear(&g->packed);
  if (!buf_reserve(&g->packed, ZSTD_compressBound(g->raw.n))) return error_set(e, E_NOMEM, "no memory for a text block");
  size_t n = ZSTD_compress(g->packed.p, ZSTD_compressBound(g->raw.n), g->raw.p, g->raw.n, 3);
  if (ZSTD_isError(n)) return error_set(e, E_NOMEM, "cannot compress a text block");
  struct text_block b = {g->text_bytes, (uint32_t)n, (uint32_t)g->raw.n};
  container_put(&g->out, S_TEXT_BLOCK, &b, sizeof b);
  container_put(&g->out, S_TEXT_DATA, g->packed.p, n);
  g->text_bytes += n;
  g->blocks++;
  buf_clear(&g->raw);
  return OK;
}

static int put_text(struct merger *g, uint64_t event, const char *p, uint32_t n, struct error *e) {
  if (g->raw.n && g->raw.n + n > TEXT_BLOCK) TRY(flush_text(g, e));
  struct text_place at = {(uint32_t)g->blocks, (uint32_t)g->raw.n, n, 0};
  buf_put(&g->raw, p, n);
  TRY(buf_check(&g->raw, e));
  container_put(&g->out, S_TEXT_EVENT, &event, sizeof event);
  container_put(&g->out, S_TEXT_PLACE, &at, sizeof at);
  g->rows[2]++;
  return OK;
}

static void put_blob(struct merger *g, uint64_t event, const uint8_t *digest) {
  container_put(&g->out, S_BLOB_EVENT, &event, sizeof event);
  container_put(&g->out, S_BLOB_DIGEST, digest, BLOB_BYTES);
  g->blobs++;
}

static int close_shard(struct merger *g, struct error *e) {
  uint64_t bytes;
  TRY(flush_text(g, e));
  container_put(&g->out, S_START, &g->rows[1], sizeof g->rows[1]);
  g->open = false;
  char path[4096];
  strcpy(path, g->out.path);
  TRY(container_writer_finish(&g->out, g->rows, &bytes, e));
  struct manifest_file *f = &g->m->file[g->m->files++];
  char *name = arena_alloc(&g->m->arena, 16, 1);
  if (!name) return error_set(e, E_NOMEM, "no memory for a manifest");
  snprintf(name, 16, "shard-%03u", g->m->shards++);
  f->name = str_c(name);
  f->bytes = bytes;
  g->m->subjects += g->rows[0];
  g->m->events += g->rows[1];
  g->m->texts += g->rows[2];
  g->m->blobs += g->blobs;
  return container_digest(path, f->sha256, e);
}

/* The row of the subject table; the caller puts the n events of the columns right after. */
static int put_subject(struct merger *g, int64_t subject, enum split split, uint32_t n, uint32_t statics, struct error *e) {
  TRY(open_shard(g, e));
  uint8_t s = (uint8_t)split;
  if (g->m->subjects + g->rows[0] >= UINT32_MAX - 1) return error_set(e, E_LIMIT, "more subjects than the format holds");
  container_put(&g->out, S_SUBJECT, &subject, sizeof subject);
  container_put(&g->out, S_START, &g->rows[1], sizeof g->rows[1]);
  container_put(&g->out, S_STATICS, &statics, sizeof statics);
  container_put(&g->out, S_SPLIT, &s, 1);
  g->m->splits[split]++;
  g->rows[0]++;
  g->rows[1] += n;
  return OK;
}

enum { BATCH = 512 };

static int put_items(struct merger *g, int64_t subject, enum split split, const struct item *v, uint32_t n, struct error *e) {
  uint32_t statics = 0;
  while (statics < n && v[statics].time == TIME_STATIC && !v[statics].label) statics++;
  TRY(put_subject(g, subject, split, n, statics, e));
  uint64_t first = g->rows[1] - n;
  struct {
    int64_t time[BATCH];
    uint32_t code[BATCH], file[BATCH], row[BATCH];
    float value[BATCH];
    uint16_t unit[BATCH];
  } c;
  for (uint32_t at = 0; at < n; at += BATCH) {
    uint32_t k = n - at < BATCH ? n - at : BATCH;
    for (uint32_t i = 0; i < k; i++) {
      const struct item *x = &v[at + i];
      c.time[i] = x->time;
      c.code[i] = x->code;
      c.value[i] = value_of(x->value_key);
      c.unit[i] = (uint16_t)x->unit;
      c.file[i] = x->file;
      c.row[i] = x->row;
      g->m->count[x->code]++;
      if (x->text_n) TRY(put_text(g, first + at + i, x->text, x->text_n, e));
      if (x->blob) put_blob(g, first + at + i, item_blob(x));
    }
    container_put(&g->out, S_TIME, c.time, k * sizeof *c.time);
    container_put(&g->out, S_CODE, c.code, k * sizeof *c.code);
    container_put(&g->out, S_VALUE, c.value, k * sizeof *c.value);
    container_put(&g->out, S_UNIT, c.unit, k * sizeof *c.unit);
    container_put(&g->out, S_FILE, c.file, k * sizeof *c.file);
    container_put(&g->out, S_ROW, c.row, k * sizeof *c.row);
  }
  return OK;
}

/* ---- the previous generation ---- */

static int old_view(struct merger *g, uint32_t index, struct timeline_view *v, struct error *e) {
  const struct timeline *t = g->w->previous;
  *v = timeline_view(t, index);
  for (uint32_t k = 0; k < v->n + v->labels; k++)
    if (v->unit[k] >= t->dictionary.units) return error_set(e, E_CORRUPT, "the previous generation is damaged: run vitae verify");
  return timeline_damaged(t) ? error_set(e, E_CORRUPT, "the previous generation is damaged: run vitae verify") : OK;
}

static const struct shard *old_shard(const struct merger *g, uint32_t index) {
  const struct timeline *t = g->w->previous;
  uint32_t i = t->shards - 1;
  while (i && t->shard[i].first > index) i--;
  return &t->shard[i];
}

/* Calls f for each text of an old life. Blocks are unpacked one at a time: lives come in the order of the blocks. */
static int old_texts(struct merger *g, uint32_t index, const struct timeline_view *v,
                     int (*f)(struct merger *, void *, uint32_t k, const char *p, uint32_t n, struct error *e), void *ctx,
                     struct error *e) {
  const struct shard *s = old_shard(g, index);
  uint64_t start = s->start[index - s->first], low = 0, high = s->texts;
  while (low < high) {
    uint64_t mid = low + (high - low) / 2;
    if (s->text_event[mid] < start)
      low = mid + 1;
    else
      high = mid;
  }
  for (; low < s->texts && s->text_event[low] < start + v->n + v->labels; low++) {
    struct text_place at = s->place[low];
    if (at.block >= s->blocks || s->block[at.block].raw > TEXT_MAX || at.offset > s->block[at.block].raw ||
        at.length > s->block[at.block].raw - at.offset)
      return error_set(e, E_CORRUPT, "text out of bounds in the previous generation");
    if (g->old_shard != s || g->old_block != at.block || !g->old_raw) {
      g->old_shard = NULL;
      char *raw = mem_realloc(g->old_raw, s->block[at.block].raw);
      if (!raw) return error_set(e, E_NOMEM, "no memory for a text block");
      g->old_raw = raw;
      TRY(shard_unpack(s, at.block, raw, e));
      g->old_shard = s;
      g->old_block = at.block;
    }
    TRY(f(g, ctx, (uint32_t)(s->text_event[low] - start), g->old_raw + at.offset, at.length, e));
  }
  return OK;
}

static int copy_text(struct merger *g, void *ctx, uint32_t k, const char *p, uint32_t n, struct error *e) {
  return put_text(g, *(uint64_t *)ctx + k, p, n, e);
}

/* A life that this run says nothing about: its columns go over as they are, ids renumbered. */
static int copy_old(struct merger *g, uint32_t index, struct error *e) {
  struct timeline_view v;
  TRY(old_view(g, index, &v, e));
  uint32_t n = v.n + v.labels;
  TRY(put_subject(g, v.subject, v.split, n, v.statics, e));
  uint64_t first = g->rows[1] - n;
  container_put(&g->out, S_TIME, v.time, n * sizeof *v.time);
  container_put(&g->out, S_VALUE, v.value, n * sizeof *v.value);
  container_put(&g->out, S_FILE, v.origin_file, n * sizeof *v.origin_file);
  container_put(&g->out, S_ROW, v.origin_row, n * sizeof *v.origin_row);
  uint32_t code[BATCH];
  uint16_t unit[BATCH];
  for (uint32_t at = 0; at < n; at += BATCH) {
    uint32_t k = n - at < BATCH ? n - at : BATCH;
    for (uint32_t i = 0; i < k; i++) {
      code[i] = g->m->code_old[v.code[at + i]];
      unit[i] = (uint16_t)g->m->unit_old[v.unit[at + i]];
      g->m->count[code[i]]++;
    }
    container_put(&g->out, S_CODE, code, k * sizeof *code);
    container_put(&g->out, S_UNIT, unit, k * sizeof *unit);
  }
  const struct shard *s = old_shard(g, index);
  uint64_t start = s->start[index - s->first];
  for (uint64_t b = shard_blob_from(s, start); b < s->blobs && s->blob_event[b] < start + n; b++)
    put_blob(g, first + s->blob_event[b] - start, s->blob_digest[b]);
  return old_texts(g, index, &v, copy_text, &first, e);
}

static int gather_old(struct merger *g, uint32_t index, uint64_t more, uint32_t *n, enum split *split, struct error *e);

/* A life of the base store, without labels and what else is not released. Codes that became one may have made events equal. */
static int release_old(struct merger *g, uint32_t index, struct error *e) {
  const struct timeline_suppression *s = g->w->release;
  struct timeline_view v = timeline_view(g->w->previous, index);
  uint32_t n, kept = 0;
  enum split split;
  if (s->without[index] == TIMELINE_LEFT_OUT) return OK;
  TRY(gather_old(g, index, 0, &n, &split, e));
  for (uint32_t k = 0; k < v.n; k++) {
    if (!release_keeps(s, index, v.code[k])) continue;
    g->items[kept++] = g->items[k];
    if (g->items[k].blob) TRY(release_blob(g->w, item_blob(&g->items[k]), e));
  }
  if (!kept) return OK;
  kept = items_order(g->items, kept, g->items + g->item_cap, &g->special);
  return put_items(g, v.subject, split, g->items, kept, e);
}

/* Copies the old lives that stand before `hash` (or up to and with it). */
static int copy_old_until(struct merger *g, uint64_t hash, bool inclusive, struct error *e) {
  const struct timeline *t = g->w->previous;
  while (t && g->next_old < t->subjects) {
    int64_t subject = timeline_view(t, g->next_old).subject;
    uint64_t h = subject_hash(subject);
    if (inclusive ? h > hash : h >= hash) break;
    if (g->w->exclude_n && writer_excludes(g->w, subject)) {
      g->next_old++;
      continue;
    }
    TRY(g->w->release ? release_old(g, g->next_old, e) : copy_old(g, g->next_old, e));
    g->next_old++;
  }
  return OK;
}

static int keep_text(struct merger *g, void *ctx, uint32_t k, const char *p, uint32_t n, struct error *e) {
  struct item *items = ctx;
  items[k].text = arena_strndup(&g->life, p, n);
  items[k].text_n = n;
  return items[k].text ? OK : error_set(e, E_NOMEM, "no memory for texts");
}

/* The digest stands behind the text, wherever that came from. */
static int keep_blobs(struct merger *g, uint32_t index, const struct timeline_view *v, struct item *items, struct error *e) {
  const struct shard *s = old_shard(g, index);
  uint64_t start = s->start[index - s->first];
  for (uint64_t b = shard_blob_from(s, start); b < s->blobs && s->blob_event[b] < start + v->n + v->labels; b++) {
    struct item *x = &items[s->blob_event[b] - start];
    char *p = arena_alloc(&g->life, x->text_n + BLOB_BYTES, 1);
    if (!p) return error_set(e, E_NOMEM, "no memory for digests of blobs");
    if (x->text_n) memcpy(p, x->text, x->text_n);
    memcpy(p + x->text_n, s->blob_digest[b], BLOB_BYTES);
    x->text = p;
    x->blob = 1;
  }
  return OK;
}

static int want_items(struct merger *g, uint64_t n, struct error *e) {
  if (n > g->item_most) return error_set(e, E_LIMIT, "one subject has more than %u events: raise the memory limit", g->item_most);
  if (n <= g->item_cap) return OK;
  uint32_t cap = g->item_cap ? g->item_cap : 1024;
  while (cap < n) cap = cap * 2 < g->item_most ? cap * 2 : g->item_most;
  mem_free(g->items);
  g->item_cap = 0;
  g->items = mem_alloc((size_t)cap * 2 * sizeof *g->items);
  if (!g->items) return error_set(e, E_NOMEM, "no memory to sort one subject's events");
  g->item_cap = cap;
  return OK;
}

static int gather_old(struct merger *g, uint32_t index, uint64_t more, uint32_t *n, enum split *split, struct error *e) {
  struct timeline_view v;
  TRY(old_view(g, index, &v, e));
  TRY(want_items(g, (uint64_t)v.n + v.labels + more, e));
  for (uint32_t k = 0; k < v.n + v.labels; k++)
    g->items[k] = (struct item){.time = v.time[k],
                                .code = g->m->code_old[v.code[k]],
                                .value_key = value_key(v.value[k]),
                                .unit = g->m->unit_old[v.unit[k]],
                                .file = v.origin_file[k],
                                .row = v.origin_row[k],
                                .seq = k};
  arena_reset(&g->life);
  *n = v.n + v.labels;
  *split = v.split;
  TRY(old_texts(g, index, &v, keep_text, g->items, e));
  return keep_blobs(g, index, &v, g->items, e);
}

/* One subject of the run: its `n` events by index, and whatever the previous generation knows of it. */
static int merge_subject(struct merger *g, const struct spilled *events, const uint32_t *order, uint32_t n, struct error *e) {
  const struct timeline_writer *w = g->w;
  int64_t subject = events[order[0]].subject;
  uint64_t hash = subject_hash(subject);
  enum split split = split_of(subject, w->options.split_seed, w->options.split);
  uint32_t have = 0;
  TRY(copy_old_until(g, hash, false, e));
  if (w->previous && g->next_old < w->previous->subjects && timeline_view(w->previous, g->next_old).subject == subject)
    TRY(gather_old(g, g->next_old++, n, &have, &split, e));
  else
    TRY(want_items(g, n, e));
  for (uint32_t i = 0; i < n; i++) {
    const struct spilled *s = &events[order[i]];
    g->items[have + i] = (struct item){.time = s->time,
                                       .code = g->m->code_new[s->code],
                                       .value_key = value_key(s->value),
                                       .unit = g->m->unit_new[s->unit],
                                       .file = g->m->file_new[s->file],
                                       .row = s->row,
                                       .text_n = s->text_n,
                                       .blob = s->blob,
                                       .back = s->back,
                                       .text = s->text_n || s->blob ? (const char *)g->text.p + s->text_at : NULL,
                                       .seq = s->earlier ? have : have + i};
  }
  uint32_t kept = items_order(g->items, have + n, g->items + g->item_cap, &g->special);
  if (!kept) return OK; /* all of it was taken back */
  return put_items(g, subject, split, g->items, kept, e);
}

/* ---- partitions ---- */

struct person {
  uint64_t hash;
  uint32_t id, n, at;
};
static int by_hash(const void *a, const void *b) {
  uint64_t x = ((const struct person *)a)->hash, y = ((const struct person *)b)->hash;
  return (x > y) - (x < y);
}

struct people {
  struct map64 ids;
  struct person *at;
  uint32_t n, cap;
};

static struct person *person_of(struct people *p, int64_t subject) {
  bool is_new;
  uint64_t *slot = map64_put(&p->ids, subject, &is_new);
  if (!slot) return NULL;
  if (!is_new) return &p->at[*slot];
  if (p->n == p->cap) {
    uint32_t cap = p->cap ? p->cap * 2 : 256;
    struct person *more = mem_realloc(p->at, cap * sizeof *more);
    if (!more) return NULL;
    p->at = more;
    p->cap = cap;
  }
  *slot = p->n;
  p->at[p->n] = (struct person){subject_hash(subject), p->n, 0, 0};
  return &p->at[p->n++];
}

/* Groups the events by subject without comparing them: dense ids, counts, prefix sums. */
static int group(const struct spilled *v, uint32_t n, struct people *p, uint32_t *id, uint32_t *order, struct error *e) {
  for (uint32_t i = 0; i < n; i++) {
    struct person *who = i && v[i].subject == v[i - 1].subject ? &p->at[id[i - 1]] : person_of(p, v[i].subject);
    if (!who) return error_set(e, E_NOMEM, "no memory to group events by subject");
    id[i] = who->id;
    who->n++;
  }
  uint32_t at = 0;
  for (uint32_t i = 0; i < p->n; i++) {
    p->at[i].at = at;
    at += p->at[i].n;
  }
  for (uint32_t i = 0; i < n; i++) order[p->at[id[i]].at++] = i; /* at now ends the subject's range */
  qsort(p->at, p->n, sizeof *p->at, by_hash);
  return OK;
}

static int merge_loaded(struct merger *g, const struct spilled *v, uint32_t n, struct error *e) {
  struct people p = {0};
  uint32_t *id = mem_alloc((size_t)n * 2 * sizeof *id);
  if (!id) return error_set(e, E_NOMEM, "no memory to group events by subject");
  uint32_t *order = id + n;
  map64_init(&p.ids);
  int rc = group(v, n, &p, id, order, e);
  map64_release(&p.ids);
  for (uint32_t i = 0; rc == OK && i < p.n; i++) rc = merge_subject(g, v, order + p.at[i].at - p.at[i].n, p.at[i].n, e);
  mem_free(p.at);
  mem_free(id);
  return rc;
}

static int read_events(struct merger *g, int fd, struct spilled *to, uint64_t n, struct error *e) {
  uint8_t *p = (uint8_t *)to;
  for (uint64_t left = n * sizeof *to; left;) {
    ssize_t k = read(fd, p, left);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return writer_io_failed(g->w, e, k < 0 ? -errno : -EIO);
    p += k;
    left -= (uint64_t)k;
  }
  return OK;
}

/* Events of one partition: `written` of them in the file `name`, the rest still in memory. `bits` of the hash are decided. */
struct share {
  char name[40];
  uint64_t written;
  const struct spilled *tail;
  uint32_t tail_n;
  int bits;
};
static int merge_share(struct merger *g, struct share *s, struct error *e);

enum { DIVIDE = 16, DIVIDE_BUFFER = 256 };
struct divider {
  struct spilled buffer[DIVIDE][DIVIDE_BUFFER];
  uint32_t fill[DIVIDE];
  struct share to[DIVIDE];
  int fd[DIVIDE];
  bool several; /* more than one subject seen */
  int64_t subject;
};

static int divide_flush(struct merger *g, struct divider *d, uint32_t k, struct error *e) {
  char path[4096];
  partition_path(g->w, d->to[k].name, path);
  if (d->fd[k] < 0) d->fd[k] = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  int code = d->fd[k] < 0 ? -errno : writer_write(d->fd[k], d->buffer[k], d->fill[k] * sizeof **d->buffer);
  if (code < 0) return writer_io_failed(g->w, e, code);
  d->to[k].written += d->fill[k];
  d->fill[k] = 0;
  return OK;
}

static int divide_events(struct merger *g, struct divider *d, const struct spilled *v, uint64_t n, int bits, struct error *e) {
  for (uint64_t i = 0; i < n; i++) {
    uint32_t k = (uint32_t)(subject_hash(v[i].subject) << bits >> 60);
    if (d->subject == 0) d->subject = v[i].subject;
    d->several |= v[i].subject != d->subject;
    if (d->fill[k] == DIVIDE_BUFFER) TRY(divide_flush(g, d, k, e));
    d->buffer[k][d->fill[k]++] = v[i];
  }
  return OK;
}

static int divide_all(struct merger *g, struct divider *d, struct share *s, struct error *e) {
  struct spilled chunk[256];
  char path[4096];
  partition_path(g->w, s->name, path);
  int fd = s->written ? open(path, O_RDONLY | O_CLOEXEC) : -1, rc = OK;
  if (s->written && fd < 0) return writer_io_failed(g->w, e, -errno);
  for (uint64_t left = s->written; rc == OK && left;) {
    uint64_t n = left < 256 ? left : 256;
    rc = read_events(g, fd, chunk, n, e);
    if (rc == OK) rc = divide_events(g, d, chunk, n, s->bits, e);
    left -= n;
  }
  if (fd >= 0) close(fd);
  unlink(path);
  if (rc == OK) rc = divide_events(g, d, s->tail, s->tail_n, s->bits, e);
  for (uint32_t k = 0; k < DIVIDE; k++) {
    if (rc == OK && d->fill[k]) rc = divide_flush(g, d, k, e);
    if (d->fd[k] >= 0 && close(d->fd[k]) < 0 && rc == OK) rc = writer_io_failed(g->w, e, -errno);
  }
  if (rc == OK && !d->several) rc = error_set(e, E_LIMIT, "one subject has more than %u events: raise the memory limit", g->load_most);
  return rc;
}

static int merge_divided(struct merger *g, struct share *s, struct error *e) {
  struct divider *d = mem_alloc(sizeof *d);
  if (!d) return error_set(e, E_NOMEM, "no memory to divide a partition");
  memset(d->fill, 0, sizeof d->fill);
  d->several = false;
  d->subject = 0;
  for (int k = 0; k < DIVIDE; k++) {
    d->fd[k] = -1;
    d->to[k] = (struct share){.bits = s->bits + 4};
    snprintf(d->to[k].name, sizeof d->to[k].name, "%.38s%x", s->name, k);
  }
  struct share parts[DIVIDE];
  int rc = divide_all(g, d, s, e);
  memcpy(parts, d->to, sizeof parts);
  mem_free(d);
  for (int k = 0; rc == OK && k < DIVIDE; k++)
    if (parts[k].written) rc = merge_share(g, &parts[k], e);
  return rc;
}

static int merge_share(struct merger *g, struct share *s, struct error *e) {
  uint64_t n = s->written + s->tail_n;
  if (n == 0) return OK;
  if (n > g->load_most) return merge_divided(g, s, e);
  if (s->written == 0) return merge_loaded(g, s->tail, s->tail_n, e);
  char path[4096];
  partition_path(g->w, s->name, path);
  struct spilled *v = mem_alloc(n * sizeof *v);
  if (!v) return error_set(e, E_NOMEM, "no memory for a partition");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int rc = fd < 0 ? writer_io_failed(g->w, e, -errno) : read_events(g, fd, v, s->written, e);
  if (fd >= 0) close(fd);
  unlink(path);
  if (s->tail_n) memcpy(v + s->written, s->tail, s->tail_n * sizeof *v);
  if (rc == OK) rc = merge_loaded(g, v, (uint32_t)n, e);
  mem_free(v);
  return rc;
}

static int merge_partitions(struct merger *g, void (*progress)(void *, uint64_t, uint64_t), void *ctx, struct error *e) {
  struct timeline_writer *w = g->w;
  uint64_t total = w->events + (w->previous ? w->previous->events : 0);
  for (uint32_t p = 0; p < PARTITIONS; p++) {
    struct partition *part = &w->partition[p];
    struct share s = {.written = part->written, .tail = part->buffer, .tail_n = part->fill, .bits = 8};
    snprintf(s.name, sizeof s.name, "%02x", p);
    TRY(merge_share(g, &s, e));
    TRY(copy_old_until(g, (uint64_t)p << 56 | 0xFFFFFFFFFFFFFFu, true, e));
    if (g->open && g->rows[1] >= SHARD_EVENTS) TRY(close_shard(g, e));
    if (progress) progress(ctx, g->m->events + (g->open ? g->rows[1] : 0), total);
    if (cancel_requested()) return error_set(e, E_CANCELLED, "interrupted; the earlier generation stays");
  }
  if (g->open || g->m->shards == 0) {
    TRY(open_shard(g, e));
    TRY(close_shard(g, e));
  }
  return OK;
}

static int map_texts(struct merger *g, struct error *e) {
  char path[4096];
  TRY(writer_flush_text(g->w, e));
  if (g->w->text_written == 0) return OK;
  partition_path(g->w, "text", path);
  return file_map_open(path, &g->text, e);
}

/* Damage in the previous generation must not be copied under fresh checksums. */
static int check_previous(const struct timeline *t, struct error *e) {
  for (uint32_t i = 0; t && i < t->shards; i++)
    if (container_check(&t->shard[i].c, e) < 0)
      return error_set(e, E_CORRUPT, "shard %u of the previous generation is damaged: run vitae verify", i);
  return OK;
}

int merge_events(struct timeline_writer *w, struct merged *m, const char *generation_dir, void (*progress)(void *, uint64_t, uint64_t),
                 void *ctx, struct error *e) {
  struct merger *g = mem_alloc(sizeof *g);
  if (!g) return error_set(e, E_NOMEM, "no memory to merge");
  *g = (struct merger){.w = w, .m = m, .dir = generation_dir, .special = {.birth = UINT32_MAX}};
  enum { LOADED_EVENT = sizeof(struct spilled) + 2 * sizeof(uint32_t) + 64 + sizeof(struct person) }; /* worst case: one event a subject */
  g->load_most =
      (uint32_t)(w->options.memory_limit / 4 / LOADED_EVENT < UINT32_MAX ? w->options.memory_limit / 4 / LOADED_EVENT : UINT32_MAX);
  g->item_most = (uint32_t)(w->options.memory_limit / 4 / (2 * sizeof(struct item)) < UINT32_MAX
                                ? w->options.memory_limit / 4 / (2 * sizeof(struct item))
                                : UINT32_MAX);
  for (uint32_t i = 0; i < m->codes; i++) special_code(&g->special, i, m->name[i]);
  arena_init(&g->life, 0, 0);
  int rc = check_previous(w->previous, e);
  if (rc == OK) rc = map_texts(g, e);
  if (rc == OK) rc = merge_partitions(g, progress, ctx, e);
  if (g->open) container_writer_close(&g->out);
  file_map_close(&g->text);
  buf_release(&g->raw);
  buf_release(&g->packed);
  arena_free(&g->life);
  mem_free(g->items);
  mem_free(g->old_raw);
  mem_free(g);
  return rc;
}
