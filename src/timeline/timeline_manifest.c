/* manifest.json: what a generation consists of and where it came from. Read here; written by timeline_commit.c. */
#include "base/hash_pieces.h"
#include "base/json.h"
#include "timeline/timeline_store.h"

static int corrupt(struct error *e, const char *field, const char *what) {
  error_set(e, E_CORRUPT, "%s", what);
  return error_where(e, NULL, 0, field);
}

static int count(struct json j, const char *key, uint64_t most, uint64_t *out, struct error *e) {
  int64_t v;
  if (!json_i64(json_get(j, key), &v) || v < 0 || (uint64_t)v > most) return corrupt(e, key, "expected a count");
  *out = (uint64_t)v;
  return OK;
}

static int read_files(struct arena *a, struct json list, struct manifest *m, struct error *e) {
  size_t n = json_count(list);
  if (json_kind(list) != JSON_ARRAY || n < 1 || n > SHARDS_MAX + 1) return corrupt(e, "files", "expected a list of files");
  m->file = arena_array(a, struct manifest_file, n);
  if (!m->file) return error_set(e, E_NOMEM, "no memory for a manifest");
  struct json_iter it = json_items(list);
  for (struct json f; json_next(&it, &f);) {
    struct manifest_file *to = &m->file[m->files];
    char want[32];
    if (m->files == 0)
      strcpy(want, "codes");
    else
      snprintf(want, sizeof want, "shard-%03u", m->files - 1);
    struct str name = json_str(json_get(f, "name"));
    to->name = str_copy(a, name);
    if (name.p && !to->name.p) return error_set(e, E_NOMEM, "no memory for a manifest");
    if (!str_eqc(name, want)) return corrupt(e, "files.name", "files are codes, shard-000, shard-001 in order");
    TRY(count(f, "bytes", INT64_MAX, &to->bytes, e));
    if (hash_unhex(json_str(json_get(f, "sha256")), to->sha256, 32, NULL) < 0)
      return corrupt(e, "files.sha256", "expected 64 hexadecimal digits");
    m->files++;
  }
  m->shards = m->files - 1;
  return OK;
}

static int read_sources(struct arena *a, struct json list, struct manifest *m, struct error *e) {
  size_t n = json_count(list);
  if (json_kind(list) != JSON_ARRAY || n > UINT32_MAX / 2) return corrupt(e, "sources", "expected a list");
  m->source_sha = arena_array(a, struct str, n + 1);
  m->source_name = arena_array(a, struct str, n + 1);
  m->source_pieces = arena_array(a, bool, n + 1);
  if (!m->source_sha || !m->source_name || !m->source_pieces) return error_set(e, E_NOMEM, "no memory for a manifest");
  struct json_iter it = json_items(list);
  for (struct json f; json_next(&it, &f); m->sources++) {
    struct str sha = json_str(json_get(f, "sha256")), name = json_str(json_get(f, "name_sha256"));
    struct json pieces = json_get(f, "sha256_pieces");
    m->source_pieces[m->sources] = json_kind(pieces) != JSON_NONE;
    if (m->source_pieces[m->sources]) {
      int64_t piece;
      if (!json_i64(json_get(f, "piece_bytes"), &piece) || piece != SHA256_PIECE)
        return corrupt(e, "sources.piece_bytes", "expected pieces of 1048576 bytes");
      sha = json_str(pieces);
    }
    if (!sha.p || !name.p || sha.n > 64 || name.n > 64) return corrupt(e, "sources", "expected name_sha256 and sha256 or sha256_pieces");
    m->source_sha[m->sources] = sha.n ? str_copy(a, sha) : STR("");
    m->source_name[m->sources] = name.n ? str_copy(a, name) : STR("");
    if (!m->source_sha[m->sources].p || !m->source_name[m->sources].p) return error_set(e, E_NOMEM, "no memory for a manifest");
  }
  return OK;
}

static int read_split(struct json split, struct manifest *m, struct error *e) {
  static const char *const names[SPLITS] = {"train", "tuning", "held_out"};
  uint8_t seed[8];
  uint64_t total = 0;
  if (hash_unhex(json_str(json_get(split, "seed")), seed, 8, NULL) < 0) return corrupt(e, "split.seed", "expected 16 hexadecimal digits");
  for (int i = 0; i < 8; i++) m->split_seed = m->split_seed << 8 | seed[i];
  for (int i = 0; i < SPLITS; i++) {
    TRY(count(split, names[i], UINT32_MAX, &m->splits[i], e));
    total += m->splits[i];
  }
  return total == m->subjects ? OK : corrupt(e, "split", "splits do not add up to the subjects");
}

static int interpret(struct arena *a, struct json root, struct manifest *m, struct error *e) {
  uint64_t version;
  if (!str_eqc(json_str(json_get(root, "format")), "vitae-timelines")) return corrupt(e, "format", "is no manifest of a timeline store");
  TRY(count(root, "version", UINT32_MAX, &version, e));
  if (version > TIMELINE_FORMAT_VERSION)
    return error_set(e, E_VERSION, "written by format version %llu; this program reads up to %u", (unsigned long long)version,
                     TIMELINE_FORMAT_VERSION);
  TRY(count(root, "generation", 999999999999, &m->generation, e));
  TRY(count(root, "subjects", UINT32_MAX - 1, &m->subjects, e));
  TRY(count(root, "events", INT64_MAX, &m->events, e));
  TRY(count(root, "texts", INT64_MAX, &m->texts, e));
  if (version > 1) TRY(count(root, "blobs", INT64_MAX, &m->blobs, e));
  TRY(count(root, "codes", UINT32_MAX - 1, &m->codes, e));
  TRY(count(root, "units", 65536, &m->units, e));
  TRY(read_split(json_get(root, "split"), m, e));
  TRY(read_sources(a, json_get(root, "sources"), m, e));
  return read_files(a, json_get(root, "files"), m, e);
}

int manifest_read(struct arena *a, const char *generation_dir, struct manifest *m, struct error *e) {
  char path[4096];
  struct json_parser *jp;
  struct json root;
  *m = (struct manifest){0};
  TRY(file_join(path, sizeof path, generation_dir, "manifest.json", e));
  TRY(file_read(a, path, 256 << 20, &m->json, e));
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, m->json.p, m->json.n, m->json.n, &root, e);
  if (rc == E_INPUT) rc = error_set(e, E_CORRUPT, "is no JSON document");
  if (rc == OK) rc = interpret(a, root, m, e);
  json_parser_free(jp);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc;
}

static int read_runs(struct json runs, struct arena *a, struct timeline_source *out, int *n, struct error *e) {
  struct json run;
  for (struct json_iter it = json_items(runs); json_next(&it, &run);) {
    int64_t first, files;
    struct str name = json_str(json_get(run, "source"));
    /* runs of a store from before sources had names */
    if (!json_i64(json_get(run, "sources_first"), &first) || !json_i64(json_get(run, "sources_added"), &files) || !name.n) continue;
    if (first < 0 || files < 0 || first > UINT32_MAX || files > UINT32_MAX) return corrupt(e, "runs", "files out of bounds");
    out[*n] = (struct timeline_source){str_copy(a, name), (uint32_t)first, (uint32_t)files};
    if (!out[(*n)++].name.p) return error_set(e, E_NOMEM, "no memory for the list of sources");
  }
  return OK;
}

int timeline_sources(const struct timeline *t, struct arena *a, struct timeline_source **out, int *n, struct error *e) {
  struct json_parser *jp;
  struct json root;
  struct str text;
  *n = 0;
  *out = NULL;
  if (t->memory) return OK;
  TRY(timeline_manifest(t->dir, a, &text, e));
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, text.p, text.n, text.n, &root, e);
  if (rc == OK) {
    struct json runs = json_get(root, "runs");
    *out = arena_array(a, struct timeline_source, json_count(runs) + 1);
    rc = *out ? read_runs(runs, a, *out, n, e) : error_set(e, E_NOMEM, "no memory for the list of sources");
  }
  json_parser_free(jp);
  return rc;
}

int timeline_manifest(const char *dir, struct arena *a, struct str *json, struct error *e) {
  char generation[4096], path[4096];
  TRY(timeline_resolve(dir, generation, sizeof generation, e));
  TRY(file_join(path, sizeof path, generation, "manifest.json", e));
  return file_read(a, path, 256 << 20, json, e);
}
