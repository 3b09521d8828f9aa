/* Erasure of subjects from the store: a generation without them, then no generation with them. */
#include <dirent.h>
#include <stdlib.h>

#include "base/json.h"
#include "timeline/blob.h"
#include "timeline/timeline_writer.h"

static int by_number(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

bool writer_excludes(const struct timeline_writer *w, int64_t subject) {
  return bsearch(&subject, w->exclude, w->exclude_n, sizeof subject, by_number) != NULL;
}

/* ---- the dictionary without what only the forgotten had ---- */

struct used {
  bool *code, *unit, *file, *was_file; /* by the others; was_file: by those who go */
};

static void mark(const struct timeline_writer *w, struct used *u) {
  const struct timeline *t = w->previous;
  for (uint32_t i = 0; i < t->subjects; i++) {
    struct timeline_view v = timeline_view(t, i);
    bool goes = writer_excludes(w, v.subject);
    for (uint32_t k = 0; k < v.n; k++) {
      if (v.origin_file[k] < w->manifest.sources) *(goes ? &u->was_file[v.origin_file[k]] : &u->file[v.origin_file[k]]) = true;
      if (goes) continue;
      u->code[v.code[k]] = true;
      if (v.unit[k] < t->dictionary.units) u->unit[v.unit[k]] = true;
    }
  }
}

int forget_dictionaries(struct timeline_writer *w, struct merged *m, struct error *e) {
  BUG_IF(!w->previous || w->codes.count || w->units.count || w->sources);
  const struct dictionary *d = &w->previous->dictionary;
  struct used u = {.code = arena_array(&m->arena, bool, d->codes + 1),
                   .unit = arena_array(&m->arena, bool, d->units + 1),
                   .file = arena_array(&m->arena, bool, w->manifest.sources + 1),
                   .was_file = arena_array(&m->arena, bool, w->manifest.sources + 1)};
  TRY(merged_reserve(m, d, d->codes, e));
  if (!u.code || !u.unit || !u.file || !u.was_file) return error_set(e, E_NOMEM, "no memory for the dictionary");
  mark(w, &u);
  for (uint32_t i = 0; i < d->codes; i++) {
    if (!u.code[i]) continue;
    m->name[m->codes] = dictionary_name(d, i);
    m->display[m->codes] = dictionary_display(d, i);
    m->code_old[i] = m->codes++;
  }
  merged_units(m, d, u.unit);
  for (uint32_t i = 0; i < w->manifest.sources; i++) /* the hashes of a file that held nobody else */
    if (u.was_file[i] && !u.file[i]) w->manifest.source_sha[i] = w->manifest.source_name[i] = STR("");
  return timeline_damaged(w->previous) ? error_set(e, E_CORRUPT, "the previous generation is damaged: run vitae verify") : OK;
}

/* ---- generations ---- */

struct generations {
  const char *dir;
  const int64_t *subjects;
  uint32_t n;
  void (*found)(void *ctx, const char *generation, int64_t subject);
  void *ctx;
  uint32_t removed;
};

static int each_generation(struct generations *g, int (*f)(struct generations *g, const char *path, const char *name, struct error *e),
                           struct error *e) {
  struct dirent **names;
  int rc = OK, n = scandir(g->dir, &names, NULL, alphasort);
  if (n < 0) return error_set(e, E_IO, "cannot list the directory of timelines");
  for (int i = 0; i < n; i++) {
    char path[4096];
    uint64_t number;
    if (rc == OK && generation_parse(names[i]->d_name, &number) == OK) {
      rc = file_join(path, sizeof path, g->dir, names[i]->d_name, e);
      if (rc == OK) rc = f(g, path, names[i]->d_name, e);
    }
    free(names[i]);
  }
  free(names);
  return rc;
}

static int look(struct generations *g, const char *path, const char *name, struct error *e) {
  struct timeline *t;
  uint32_t at;
  struct error none = {0};
  TRY(timeline_open(path, &t, e));
  for (uint32_t i = 0; i < g->n; i++)
    if (timeline_find(t, g->subjects[i], &at, &none) == OK) g->found(g->ctx, name, g->subjects[i]);
  timeline_close(t);
  return OK;
}

int timeline_search(const char *dir, const int64_t *subjects, uint32_t n, void (*found)(void *ctx, const char *generation, int64_t subject),
                    void *ctx, struct error *e) {
  struct generations g = {.dir = dir, .subjects = subjects, .n = n, .found = found, .ctx = ctx};
  return file_is_dir(dir) && n ? each_generation(&g, look, e) : OK;
}

static void note(void *ctx, const char *generation UNUSED, int64_t subject UNUSED) { *(bool *)ctx = true; }

/* What cannot be opened may hold anybody. */
static int remove_holder(struct generations *g, const char *path, const char *name, struct error *e) {
  struct error damaged = {0};
  bool holds = false;
  struct generations one = {.subjects = g->subjects, .n = g->n, .found = note, .ctx = &holds};
  if (strcmp(name, g->ctx) == 0) return OK; /* the current one */
  if (look(&one, path, name, &damaged) < 0) holds = true;
  if (!holds) return OK;
  g->removed++;
  return file_remove_tree(path, e);
}

static int sweep(const char *dir, const int64_t *subjects, uint32_t n, struct timeline_forgotten *out, struct error *e) {
  char path[4096];
  int lock;
  TRY(file_join(path, sizeof path, dir, "LOCK", e));
  TRY(file_lock(path, &lock, e));
  struct generations g = {.dir = dir, .subjects = subjects, .n = n, .ctx = out->generation};
  int rc = each_generation(&g, remove_holder, e);
  if (rc == OK && g.removed) rc = file_sync_dir(dir, e);
  if (rc == OK) rc = blob_prune(dir, &out->blobs, e);
  file_unlock(lock);
  out->generations = g.removed;
  return rc;
}

int writer_keep_policy(struct timeline_writer *w, struct error *e) {
  struct json_parser *jp;
  struct json root;
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, w->manifest.json.p, w->manifest.json.n, w->manifest.json.n, &root, e);
  if (rc == OK) {
    struct json policy = json_get(root, "policy");
    struct str name = json_str(json_get(policy, "name")), hash = json_str(json_get(policy, "hash"));
    struct str settings = json_str(json_get(policy, "settings"));
    if (name.n < sizeof w->policy_name && hash.n < sizeof w->policy_hash && settings.n < sizeof w->policy_settings) {
      snprintf(w->policy_name, sizeof w->policy_name, "%.*s", STR_ARG(name));
      snprintf(w->policy_hash, sizeof w->policy_hash, "%.*s", STR_ARG(hash));
      snprintf(w->policy_settings, sizeof w->policy_settings, "%.*s", STR_ARG(settings));
    }
  }
  json_parser_free(jp);
  return rc;
}

static int write_without(const char *dir, const int64_t *sorted, uint32_t n, struct timeline_forgotten *out, struct error *e) {
  struct timeline_writer *w;
  struct error none = {0};
  uint32_t at;
  char extra[64];
  TRY(timeline_writer_open(dir, NULL, &w, e));
  for (uint32_t i = 0; w->previous && i < n; i++) out->found += timeline_find(w->previous, sorted[i], &at, &none) == OK;
  if (w->previous) snprintf(out->generation, sizeof out->generation, "%s", timeline_generation(w->previous));
  int rc = OK;
  if (out->found) {
    w->exclude = sorted;
    w->exclude_n = n;
    w->options.source = STR("forget");
    snprintf(extra, sizeof extra, "{\"forgotten\":%u}", out->found);
    generation_name(w->manifest.generation + 1, out->generation);
    rc = writer_keep_policy(w, e);
    if (rc == OK) rc = timeline_writer_finish(w, str_c(extra), NULL, NULL, e);
    if (rc == OK) return OK; /* the writer is gone */
  }
  timeline_writer_abort(w);
  return rc;
}

int timeline_forget(const char *dir, const int64_t *subjects, uint32_t n, struct timeline_forgotten *out, struct error *e) {
  char path[4096];
  *out = (struct timeline_forgotten){0};
  TRY(file_join(path, sizeof path, dir, "CURRENT", e));
  if (n == 0 || !file_exists(path)) return OK;
  int64_t *sorted = mem_alloc(n * sizeof *sorted);
  if (!sorted) return error_set(e, E_NOMEM, "no memory for a list of subjects");
  memcpy(sorted, subjects, n * sizeof *sorted);
  qsort(sorted, n, sizeof *sorted, by_number);
  int rc = write_without(dir, sorted, n, out, e);
  if (rc == OK) rc = sweep(dir, sorted, n, out, e);
  mem_free(sorted);
  return rc;
}
