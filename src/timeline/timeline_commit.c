/* Finishing, last part: the dictionary file, the manifest, and the move of CURRENT. */
#include "base/hash_pieces.h"
#include "base/json.h"
#include "base/log.h"
#include "timeline/blob.h"
#include "timeline/timeline_writer.h"

static int write_codes(struct timeline_writer *w, struct merged *m, const char *dir, struct error *e) {
  struct container_writer out;
  char path[4096];
  uint64_t name_at = 0, display_at = 0, unit_at = 0, rows[3] = {m->codes, m->units, 0}, bytes;
  TRY(file_join(path, sizeof path, dir, "codes", e));
  TRY(container_writer_open(&out, path, &container_codes, w->options.memory_limit / 32, e));
  for (uint32_t i = 0; i <= m->codes; i++) {
    container_put(&out, D_NAME_START, &name_at, sizeof name_at);
    container_put(&out, D_DISPLAY_START, &display_at, sizeof display_at);
    if (i == m->codes) break;
    container_put(&out, D_NAMES, m->name[i].p, m->name[i].n);
    container_put(&out, D_DISPLAYS, m->display[i].p, m->display[i].n);
    container_put(&out, D_COUNT, &m->count[i], sizeof m->count[i]);
    name_at += m->name[i].n;
    display_at += m->display[i].n;
  }
  for (uint32_t i = 0; i <= m->units; i++) {
    container_put(&out, D_UNIT_START, &unit_at, sizeof unit_at);
    if (i == m->units) break;
    container_put(&out, D_UNITS, m->unit[i].p, m->unit[i].n);
    unit_at += m->unit[i].n;
  }
  TRY(container_writer_finish(&out, rows, &bytes, e));
  m->file[0] = (struct manifest_file){.name = STR("codes"), .bytes = bytes};
  return container_digest(path, m->file[0].sha256, e);
}

static void hex_kv(struct json_out *o, const char *key, const uint8_t *p, size_t n) {
  char hex[65];
  hash_hex(p, n, hex);
  json_kv_c(o, key, hex);
}

static void seed_kv(struct json_out *o, uint64_t seed) { /* a string: JSON readers lose integers above 2^53 */
  char hex[17];
  snprintf(hex, sizeof hex, "%016llx", (unsigned long long)seed);
  json_kv_c(o, "seed", hex);
}

static void write_policy(const struct timeline_writer *w, struct json_out *o) {
  json_out_key(o, "policy");
  json_out_object(o);
  json_kv_c(o, "name", w->policy_name);
  json_kv_c(o, "hash", w->policy_hash);
  if (w->policy_settings[0]) json_kv_c(o, "settings", w->policy_settings);
  json_out_end(o);
}

static int write_run(const struct timeline_writer *w, const struct merged *m, struct json_out *o, uint64_t generation, struct json wall,
                     struct error *e) {
  static const char *const rules[] = {"auto", "all_train", "all_tuning", "all_held_out", "train_tuning"};
  json_out_object(o);
  json_kv_i64(o, "generation", (int64_t)generation);
  write_policy(w, o);
  json_kv_c(o, "split_rule", rules[w->options.split]);
  json_kv_i64(o, "events_in", (int64_t)w->events);
  json_kv_str(o, "source", w->options.source.p ? w->options.source : STR(""));
  json_kv_i64(o, "sources_in", (int64_t)w->sources);
  json_kv_i64(o, "sources_first", (int64_t)(w->previous ? w->manifest.sources : 0));
  json_kv_i64(o, "sources_added", (int64_t)m->sources_added);
  json_out_key(o, "wall");
  TRY(json_out_copy(o, wall, e));
  json_out_end(o);
  return OK;
}

/* Programs from before sha256_pieces take "" for a hash that is not told. */
static void write_source(struct str name, struct str sha, bool pieces, struct json_out *o) {
  json_out_object(o);
  json_kv_str(o, "name_sha256", name);
  json_kv_str(o, "sha256", pieces ? STR("") : sha);
  if (pieces) json_kv_str(o, "sha256_pieces", sha), json_kv_i64(o, "piece_bytes", SHA256_PIECE);
  json_out_end(o);
}

static void write_sources(const struct timeline_writer *w, const struct merged *m, struct json_out *o) {
  const struct manifest *old = &w->manifest;
  json_out_key(o, "sources");
  json_out_array(o);
  for (uint32_t i = 0; i < old->sources; i++)
    write_source(old->source_name[i], old->source_sha[i], old->source_pieces[i] && old->source_sha[i].n, o);
  for (uint32_t i = 0; i < m->sources_added; i++)
    write_source(str_c(m->added[i].name_sha256), str_c(m->added[i].sha256), m->added[i].pieces, o);
  json_out_end(o);
}

static int write_manifest(const struct timeline_writer *w, const struct merged *m, uint64_t generation, struct json earlier,
                          struct json wall, struct buf *out, struct error *e) {
  struct json_out o;
  json_out_init(&o, out, true);
  json_out_object(&o);
  json_kv_c(&o, "format", "vitae-timelines");
  json_kv_i64(&o, "version", TIMELINE_FORMAT_VERSION);
  json_kv_i64(&o, "generation", (int64_t)generation);
  json_kv_c(&o, "parent", w->previous ? w->previous->hash : "");
  json_kv_i64(&o, "subjects", (int64_t)m->subjects);
  json_kv_i64(&o, "events", (int64_t)m->events);
  json_kv_i64(&o, "texts", (int64_t)m->texts);
  json_kv_i64(&o, "blobs", (int64_t)m->blobs);
  json_kv_i64(&o, "codes", m->codes);
  json_kv_i64(&o, "units", m->units);
  write_policy(w, &o);
  json_out_key(&o, "split");
  json_out_object(&o);
  seed_kv(&o, w->options.split_seed);
  json_kv_i64(&o, "train", (int64_t)m->splits[SPLIT_TRAIN]);
  json_kv_i64(&o, "tuning", (int64_t)m->splits[SPLIT_TUNING]);
  json_kv_i64(&o, "held_out", (int64_t)m->splits[SPLIT_HELD_OUT]);
  json_out_end(&o);
  write_sources(w, m, &o);
  json_out_key(&o, "files");
  json_out_array(&o);
  for (uint32_t i = 0; i < m->files; i++) {
    json_out_object(&o);
    json_kv_str(&o, "name", m->file[i].name);
    json_kv_i64(&o, "bytes", (int64_t)m->file[i].bytes);
    hex_kv(&o, "sha256", m->file[i].sha256, 32);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_key(&o, "runs");
  json_out_array(&o);
  struct json_iter it = json_items(earlier);
  for (struct json run; json_next(&it, &run);) TRY(json_out_copy(&o, run, e));
  TRY(write_run(w, m, &o, generation, wall, e));
  json_out_end(&o);
  json_out_end(&o);
  buf_putc(out, '\n');
  return buf_check(out, e);
}

static int make_manifest(struct timeline_writer *w, struct merged *m, uint64_t generation, struct str extra, struct buf *out,
                         struct error *e) {
  struct json_parser *before = NULL, *given = NULL;
  struct json root = {0}, wall = {0};
  int rc = json_parser_new(&given, e);
  if (rc == OK && w->previous) rc = json_parser_new(&before, e);
  if (rc == OK && w->previous) rc = json_parse(before, w->manifest.json.p, w->manifest.json.n, w->manifest.json.n, &root, e);
  if (rc == OK) rc = json_parse(given, extra.n ? extra.p : "{}", extra.n ? extra.n : 2, extra.n ? extra.n : 2, &wall, e);
  if (rc == OK && json_kind(wall) != JSON_OBJECT) rc = error_set(e, E_INPUT, "the wall's manifest is no JSON object");
  if (rc == OK) {
    struct json earlier = w->previous ? json_get(root, "runs") : (struct json){0};
    rc = write_manifest(w, m, generation, earlier, wall, out, e);
  }
  json_parser_free(given);
  json_parser_free(before);
  return rc;
}

int commit_generation(struct timeline_writer *w, struct merged *m, const char *generation_dir, struct str extra, struct error *e) {
  struct buf manifest = {0};
  char path[4096], name[32], pointer[40];
  uint64_t generation = (w->previous ? w->manifest.generation : 0) + 1;
  TRY(write_codes(w, m, generation_dir, e));
  int rc = make_manifest(w, m, generation, extra, &manifest, e);
  if (rc == OK) rc = file_join(path, sizeof path, generation_dir, "manifest.json", e);
  if (rc == OK) rc = file_write_atomic(path, manifest.p, manifest.n, 0644, e);
  buf_release(&manifest);
  TRY(rc);
  TRY(file_sync_dir(generation_dir, e));
  generation_name(generation, name);
  TRY(file_join(path, sizeof path, w->dir, name, e));
  TRY(file_rename(generation_dir, path, e));
  TRY(file_join(path, sizeof path, w->dir, "CURRENT", e));
  int n = snprintf(pointer, sizeof pointer, "%s\n", name);
  TRY(file_write_atomic(path, pointer, (size_t)n, 0644, e));
  writer_prune(w->dir, generation);
  uint64_t removed;
  struct error ignored = {0}; /* the new generation stands; orphans are listed by verify and tried again by the next writer */
  if (blob_prune(w->dir, &removed, &ignored) < 0) log_failure(LOG_WARN, &ignored);
  return OK;
}

int timeline_writer_finish(struct timeline_writer *w, struct str extra, void (*progress)(void *, uint64_t, uint64_t), void *ctx,
                           struct error *e) {
  char dir[4096];
  if (w->broken) return error_set(e, w->broken, "an earlier failure stopped this writer");
  struct merged *m = mem_alloc(sizeof *m);
  if (!m) return error_set(e, E_NOMEM, "no memory to merge");
  *m = (struct merged){.files = 1};
  arena_init(&m->arena, 0, 0);
  partition_path(w, "gen", dir);
  int rc = file_mkdirs(dir, 0755, e);
  if (rc == OK) rc = w->release ? release_dictionaries(w, m, e) : w->exclude_n ? forget_dictionaries(w, m, e) : merge_dictionaries(w, m, e);
  if (rc == OK) rc = merge_events(w, m, dir, progress, ctx, e);
  if (rc == OK) rc = commit_generation(w, m, dir, extra, e);
  arena_free(&m->arena);
  mem_free(m);
  if (rc < 0)
    w->broken = rc; /* the partitions are half consumed: only abort is left */
  else
    timeline_writer_abort(w);
  return rc;
}
