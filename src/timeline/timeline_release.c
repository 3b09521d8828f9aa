/* A store made from another one by leaving things out: codes that become another code or nothing, attributes and lives that stay behind. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "timeline/blob.h"
#include "timeline/timeline_writer.h"

static bool held_back(const struct timeline_suppression *s, uint32_t subject, uint32_t name) {
  if (!s->held_from) return false;
  uint32_t low = s->held_from[subject], end = s->held_from[subject + 1], high = end;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (s->held[middle] < name)
      low = middle + 1;
    else
      high = middle;
  }
  return low < end && s->held[low] == name;
}

bool release_keeps(const struct timeline_suppression *s, uint32_t subject, uint32_t code) {
  uint8_t group = s->group[code];
  if (s->to[code] == TIMELINE_SUPPRESSED || (group && s->without[subject] >> (group - 1) & 1)) return false;
  return !held_back(s, subject, s->to[code]);
}

/* ---- the dictionary of what stays ---- */

struct renamed {
  struct str name;
  uint32_t at; /* index into the plan's names */
};
static int by_name(const void *a, const void *b) { return str_cmp(((const struct renamed *)a)->name, ((const struct renamed *)b)->name); }

/* What a code is called stays with it; a parent that the base knows brings its own description. */
static struct str display_of(const struct dictionary *d, struct str name) {
  uint32_t code;
  return dictionary_find(d, name, &code) ? dictionary_display(d, code) : STR("");
}

static void mark(const struct timeline_writer *w, bool *name, bool *unit) {
  const struct timeline *t = w->previous;
  const struct timeline_suppression *s = w->release;
  for (uint32_t i = 0; i < t->subjects; i++) {
    struct timeline_view v = timeline_view(t, i);
    for (uint32_t k = 0; s->without[i] != TIMELINE_LEFT_OUT && k < v.n; k++) {
      if (!release_keeps(s, i, v.code[k])) continue;
      name[s->to[v.code[k]]] = true;
      if (v.unit[k] < t->dictionary.units) unit[v.unit[k]] = true;
    }
  }
}

int release_dictionaries(struct timeline_writer *w, struct merged *m, struct error *e) {
  const struct dictionary *d = &w->previous->dictionary;
  const struct timeline_suppression *s = w->release;
  bool *name = arena_array(&m->arena, bool, s->names + 1), *unit = arena_array(&m->arena, bool, d->units + 1);
  uint32_t *rank = arena_array(&m->arena, uint32_t, s->names + 1);
  struct renamed *sorted = arena_array(&m->arena, struct renamed, s->names + 1);
  TRY(merged_reserve(m, d, s->names, e));
  if (!name || !unit || !rank || !sorted) return error_set(e, E_NOMEM, "no memory for the dictionary");
  mark(w, name, unit);
  for (uint32_t i = 0; i < s->names; i++) sorted[i] = (struct renamed){s->name[i], i};
  if (s->names) qsort(sorted, s->names, sizeof *sorted, by_name);
  for (uint32_t i = 0; i < s->names; i++) {
    if (!name[sorted[i].at]) continue;
    m->name[m->codes] = sorted[i].name;
    m->display[m->codes] = display_of(d, sorted[i].name);
    rank[sorted[i].at] = m->codes++;
  }
  for (uint32_t c = 0; c < d->codes; c++)
    if (s->to[c] != TIMELINE_SUPPRESSED) m->code_old[c] = rank[s->to[c]];
  merged_units(m, d, unit);
  return timeline_damaged(w->previous) ? error_set(e, E_CORRUPT, "the base store is damaged: run vitae verify") : OK;
}

/* ---- blobs: the same bytes under the same name, as a second link ---- */

int release_blob(const struct timeline_writer *w, const uint8_t *digest, struct error *e) {
  char hex[65], from[4096], to[4096], temporary[4096], again[65];
  hash_hex(digest, BLOB_BYTES, hex);
  TRY(blob_path(w->release_from, (struct str){hex, 64}, from, e));
  TRY(blob_path(w->dir, (struct str){hex, 64}, to, e));
  if (file_exists(to)) return OK;
  partition_path(w, "shared-blob", temporary);
  unlink(temporary);
  if (link(from, temporary) < 0)
    return error_set(e, E_IO, "a blob cannot be shared between the base and the released store: %s", strerror(errno));
  return blob_put(w->dir, temporary, again, e);
}

/* ---- all of it ---- */

int timeline_release(const char *base, const char *dir, const struct timeline_suppression *s, struct str extra, struct error *e) {
  struct timeline_writer *w;
  TRY(timeline_writer_open(dir, NULL, &w, e));
  uint64_t generation = w->previous ? w->manifest.generation : 0;
  timeline_close(w->previous);
  w->previous = NULL;
  int rc = strlen(base) < sizeof w->release_from ? OK : error_set(e, E_LIMIT, "path too long");
  if (rc == OK) rc = timeline_open(base, &w->previous, e);
  if (rc == OK) rc = manifest_read(&w->arena, w->previous->dir, &w->manifest, e);
  if (rc == OK) rc = writer_keep_policy(w, e);
  if (rc == OK) {
    strcpy(w->release_from, base);
    w->release = s;
    w->options.split_seed = w->manifest.split_seed;
    w->options.source = STR("release");
    w->manifest.generation = generation;
    rc = timeline_writer_finish(w, extra, NULL, NULL, e);
    if (rc == OK) return OK; /* the writer is gone */
  }
  timeline_writer_abort(w);
  return rc;
}
