/* Files -> documents -> resources. Recognition is by content: a file's first line says whether each line is a resource
 * (NDJSON) or the whole file is one document (a Bundle or a single resource, pretty-printed or not). */
#include <stdlib.h>

#include "base/file.h"
#include "record/fhir.h"

enum { LINE_LIMIT = 64 << 20, SNIFF = 64 << 10, PROGRESS_STEP = 1 << 20 };

/* ---- one resource ---- */

static bool listed(const char *const *list, struct str s) {
  for (; s.p && *list; list++)
    if (str_eqc(s, *list)) return true;
  return false;
}

/* The status is a code, or a CodeableConcept one of whose codings is. 1 = one of the list, 0 = none, FHIR_WRONG = no status at all */
static int says(const char *const *list, struct json status) {
  struct json v;
  if (json_kind(status) == JSON_STRING) return listed(list, json_str(status));
  if (json_kind(status) != JSON_OBJECT) return FHIR_WRONG;
  struct json_iter it = json_items(json_get(status, "coding"));
  while (json_next(&it, &v))
    if (listed(list, json_str(json_get(v, "code")))) return 1;
  return 0;
}

static int patient_key(struct fhir *f, const struct taken *t, struct str full_url) {
  struct str type, id = has(t, SLOT_ID) ? json_str(t->v[SLOT_ID]) : STR_NONE;
  if (!id.n && !fhir_reference_id(full_url, &type, &id)) return fhir_reject(f, "Patient.id", "no id");
  f->person = id;
  return 1;
}

/* What an earlier export said of it is taken back, by code and time, as far as it still tells them. */
static int take_in_error(struct fhir *f, const struct taken *t) {
  f->in_error = true;
  int rc = fhir_subject(f, t);
  if (rc == 1) rc = f->shape->handler(f, t);
  f->in_error = false;
  return rc < 0 ? rc : OK;
}

static int take_shaped(struct fhir *f, struct json resource, const struct shape *shape, struct str full_url) {
  struct taken t;
  int rc;
  f->shape = shape;
  TRY(fhir_gather(f, resource, shape, &t));
  /* Both may change the meaning of everything else; what we do not understand we must not use (FHIR R4, 2.4.2, 2.27). */
  if (has(&t, SLOT_MODIFIER)) return fhir_drop(f, t.el[SLOT_MODIFIER]->path);
  if (has(&t, SLOT_RULES)) return fhir_drop(f, t.el[SLOT_RULES]->path);
  if (has(&t, SLOT_STATUS) && shape->skip) {
    static const char *const in_error[] = {"entered-in-error", NULL};
    rc = says(shape->skip, t.v[SLOT_STATUS]);
    if (rc == FHIR_WRONG) return fhir_reject(f, t.el[SLOT_STATUS]->path, "not a status");
    if (rc) TRY(fhir_drop(f, t.el[SLOT_STATUS]->path));
    if (rc) return says(in_error, t.v[SLOT_STATUS]) == 1 ? take_in_error(f, &t) : OK;
  }
  bool patient = shape->handler == fhir_take_patient;
  if (shape->handler == fhir_take_device && !has(&t, SLOT_SUBJECT)) return fhir_drop(f, shape->name);
  rc = patient ? patient_key(f, &t, full_url) : fhir_subject(f, &t);
  if (rc != 1) return rc;
  if (has(&t, SLOT_IDENTIFIER)) {
    enum identifier_kind otherwise = shape->handler == fhir_take_device ? IDENTIFIER_DEVICE : IDENTIFIER_OTHER;
    TRY(fhir_identifiers(f, t.v[SLOT_IDENTIFIER], otherwise, t.el[SLOT_IDENTIFIER]->path));
  }
  return shape->handler(f, &t);
}

static int take_bundle(struct fhir *f, struct json bundle);

/* The log of an export's steps, which exporters leave beside the resources. */
static bool is_export_log(struct json v) {
  return json_kind(json_get(v, "exportId")) == JSON_STRING && json_kind(json_get(v, "eventId")) == JSON_STRING;
}

static int take_resource(struct fhir *f, struct json v, struct str full_url, bool in_bundle) {
  const char *path = NULL;
  if (json_kind(v) != JSON_OBJECT) return fhir_reject(f, "", "not a JSON object");
  struct str type = json_str(json_get(v, "resourceType"));
  f->person = STR_NONE;
  if (!type.p) return is_export_log(v) ? fhir_drop(f, "ExportLog") : fhir_reject(f, "resourceType", "no resourceType");
  if (!in_bundle && str_eq(type, STR("Bundle"))) return take_bundle(f, v);
  if (f->identities && !str_eq(type, STR("Patient")) && !str_eq(type, STR("RelatedPerson"))) return OK;
  f->stats->resources++;
  const struct shape *shape = fhir_shape(type, &path);
  struct arena_mark mark = arena_mark(&f->scratch);
  int rc;
  if (shape)
    rc = take_shaped(f, v, shape, full_url);
  else if (!str_eq(type, STR("Medication")))
    rc = fhir_drop(f, path);
  else
    rc = in_bundle ? OK : fhir_keep_medication(f, v, full_url, false);
  arena_rewind(&f->scratch, mark);
  return rc;
}

/* ---- bundles ---- */

/* A Patient may be referred to by its entry's fullUrl while its id is another: both must be one person. */
static int keep_alias(struct fhir *f, struct str full_url, struct str id) {
  struct str type, key;
  bool is_new;
  if (!id.n || !fhir_reference_id(full_url, &type, &key) || str_eq(key, id)) return OK;
  struct str *kept = arena_new(&f->bundle, struct str);
  uint64_t *slot = kept ? map_put(&f->aliases, key, &is_new) : NULL;
  if (!slot) return error_set(f->e, E_NOMEM, "no memory for a Bundle's persons");
  *kept = id; /* valid as long as the document, as the map is */
  *slot = (uint64_t)(uintptr_t)kept;
  return OK;
}

static int prepare_resource(struct fhir *f, struct json resource, struct str full_url) {
  struct str type = json_str(json_get(resource, "resourceType"));
  if (str_eq(type, STR("Patient"))) return keep_alias(f, full_url, json_str(json_get(resource, "id")));
  return str_eq(type, STR("Medication")) ? fhir_keep_medication(f, resource, full_url, true) : OK;
}

static int prepare_bundle(struct fhir *f, struct json entries) {
  struct json_iter it = json_items(entries);
  struct json v;
  for (f->row = 1; json_next(&it, &v); f->row++) TRY(prepare_resource(f, json_get(v, "resource"), json_str(json_get(v, "fullUrl"))));
  return OK;
}

static int take_entries(struct fhir *f, struct json entries) {
  struct json_iter it = json_items(entries);
  struct json v;
  struct taken t;
  for (f->row = 1; json_next(&it, &v); f->row++) {
    if (json_kind(v) != JSON_OBJECT) {
      fhir_reject(f, "Bundle.entry", "not a JSON object");
      continue;
    }
    f->shape = NULL;
    TRY(fhir_gather(f, v, &fhir_entry, &t));
    if (!has(&t, SLOT_B)) {
      TRY(fhir_drop(f, "Bundle.entry"));
      continue;
    }
    TRY(take_resource(f, t.v[SLOT_B], has(&t, SLOT_A) ? json_str(t.v[SLOT_A]) : STR_NONE, true));
  }
  return OK;
}

static void clear_map(struct map *m) {
  if (!m->count) return;
  map_release(m);
  map_init(m, 0);
}

static int take_bundle(struct fhir *f, struct json bundle) {
  struct json entries = json_get(bundle, "entry");
  uint64_t row = f->row;
  if (json_kind(entries) == JSON_NONE) return OK; /* an empty search result */
  if (json_kind(entries) != JSON_ARRAY) return fhir_reject(f, "Bundle.entry", "not a list");
  int rc = prepare_bundle(f, entries);
  if (rc >= 0) rc = take_entries(f, entries);
  f->row = row;
  clear_map(&f->aliases);
  clear_map(&f->bundle_medications);
  arena_reset(&f->bundle);
  return rc;
}

static int take_parsed(struct fhir *f, const struct fhir_parsed *list, size_t n) {
  for (size_t i = 0; i < n; i++) {
    f->row = i + 1;
    TRY(prepare_resource(f, list[i].resource, list[i].full_url));
  }
  for (size_t i = 0; i < n; i++) {
    f->row = i + 1, f->shape = NULL;
    TRY(take_resource(f, list[i].resource, list[i].full_url, true));
  }
  return OK;
}

int fhir_take_document(struct fhir *f, struct json root) { return take_resource(f, root, STR_NONE, false); }

/* ---- the reader's state ---- */

static int reader_open(struct fhir *f, struct json_parser *jp, const struct record_sink *sink, struct record_stats *stats, size_t limit,
                       struct error *e) {
  BUG_IF(!sink || !sink->record || !stats);
  fhir_schema_ready();
  *f = (struct fhir){.sink = sink, .stats = stats, .jp = jp, .e = e, .name = "", .limit = limit ? limit : LINE_LIMIT};
  arena_init(&f->scratch, 0, ARENA_WIPE);
  arena_init(&f->document, 0, ARENA_WIPE);
  arena_init(&f->run, 0, ARENA_WIPE);
  arena_init(&f->bundle, 0, ARENA_WIPE);
  map_init(&f->run_medications, 0);
  map_init(&f->bundle_medications, 0);
  map_init(&f->aliases, 0);
  return OK;
}

static void reader_close(struct fhir *f) {
  map_release(&f->run_medications);
  map_release(&f->bundle_medications);
  map_release(&f->aliases);
  arena_free(&f->scratch);
  arena_free(&f->document);
  arena_free(&f->run);
  arena_free(&f->bundle);
}

/* 1 = *root is there, 0 = rejected, < 0 stop. The parser's own message is not used: it is no sentence of ours. */
static int parse(struct fhir *f, struct str text, size_t cap, struct json *root) {
  struct error ignored = {0};
  int rc = json_parse(f->jp, text.p, text.n, cap, root, &ignored);
  if (rc == E_NOMEM) return error_set(f->e, E_NOMEM, "no memory to parse a document of %zu bytes", text.n);
  if (rc == E_LIMIT) return fhir_reject(f, "", "JSON too large or nested too deeply");
  if (rc < 0) return fhir_reject(f, "", "not valid JSON in UTF-8");
  return 1;
}

int fhir_parse(struct json_parser *jp, const char *bytes, size_t n, size_t cap, uint32_t file, uint64_t row, const char *name,
               const struct record_sink *sink, struct record_stats *stats, struct error *e) {
  struct fhir f;
  struct json root;
  TRY(reader_open(&f, jp, sink, stats, 0, e));
  f.name = name ? name : "";
  f.file = file;
  f.row = row;
  int rc = parse(&f, (struct str){bytes, n}, cap, &root);
  if (rc == 1)
    rc = fhir_take_document(&f, root);
  else if (rc == 0)
    rc = error_set(e, E_INPUT, "not valid JSON in UTF-8, too large or nested too deeply");
  stats->bytes += n;
  reader_close(&f);
  return rc;
}

int fhir_take_parsed(const struct fhir_parsed *list, size_t n, uint32_t file, const char *name, const struct record_sink *sink,
                     struct record_stats *stats, struct error *e) {
  struct fhir f;
  TRY(reader_open(&f, NULL, sink, stats, 0, e));
  f.name = name ? name : "";
  f.file = file;
  int rc = take_parsed(&f, list, n);
  reader_close(&f);
  return rc;
}

/* ---- files ---- */

enum form { FORM_EMPTY, FORM_LINES, FORM_DOCUMENT, FORM_OTHER };

static bool space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* Lines if the first line is a complete object, or is broken but followed by a line that begins one at its first column. */
static enum form form_of(struct str s) {
  if (str_starts(s, STR("\xEF\xBB\xBF"))) s = (struct str){s.p + 3, s.n - 3};
  while (s.n && space(*s.p)) s = (struct str){s.p + 1, s.n - 1};
  if (!s.n) return FORM_EMPTY;
  if (*s.p != '{') return FORM_OTHER;
  const char *end = memchr(s.p, '\n', s.n);
  if (!end) return FORM_LINES;
  int depth = 0;
  bool quoted = false;
  for (const char *p = s.p; p < end; p++) {
    if (quoted) {
      if (*p == '\\')
        p++;
      else if (*p == '"')
        quoted = false;
    } else if (*p == '"') {
      quoted = true;
    } else if (*p == '{') {
      depth++;
    } else if (*p == '}') {
      depth--;
    }
  }
  if (depth == 0 && !quoted) return FORM_LINES;
  while (end < s.p + s.n && (*end == '\n' || *end == '\r')) end++;
  return end >= s.p + s.n || *end == '{' ? FORM_LINES : FORM_DOCUMENT;
}

/* What is wrong with the file's own bytes (a broken gzip member) concerns that file only; all else ends the run. */
static bool only_this_file(int rc) { return rc == E_INPUT || rc == E_CORRUPT || rc == E_LIMIT; }

static int stopped(struct fhir *f, int rc, const struct error *why) {
  if (f->e) *f->e = *why;
  return rc;
}

static int sniff(struct fhir *f, const char *path, enum form *form) {
  struct stream s;
  struct error broken = {0};
  size_t n = 0, got = 1;
  struct arena_mark mark = arena_mark(&f->document);
  char *head = arena_alloc(&f->document, SNIFF, 1);
  *form = FORM_EMPTY;
  if (!head) return error_set(f->e, E_NOMEM, "no memory to look at a file");
  int rc = stream_open(&s, path, &broken);
  bool opened = rc == OK;
  while (rc == OK && got && n < SNIFF) {
    rc = stream_read(&s, head + n, SNIFF - n, &got, &broken);
    if (rc == OK) n += got;
  }
  if (opened) stream_close(&s);
  if (rc == OK || (n && only_this_file(rc))) {
    *form = form_of((struct str){head, n});
    rc = OK;
  } else if (only_this_file(rc)) {
    *form = FORM_OTHER;
    rc = OK;
  } else {
    rc = stopped(f, rc, &broken);
  }
  arena_rewind(&f->document, mark);
  return rc;
}

static void show_progress(struct fhir *f, uint64_t in_file) {
  uint64_t done = f->bytes_done + in_file;
  if (!f->sink->progress || done < f->progress_at) return;
  f->progress_at = done + PROGRESS_STEP;
  f->sink->progress(f->sink->ctx, done, f->bytes_total);
}

/* Can a line or document hold a Patient or a RelatedPerson? Most exporters write the type first; otherwise the word is looked for, closing
 * quotation mark and all, which references ("Patient/17") do not have. A type spelled with escapes is missed here and taken in the pass
 * that reads all. */
static bool may_identify(struct str s) {
  static const char word[] = "\"Patient\"", relative[] = "\"RelatedPerson\"", key[] = "\"resourceType\"";
  size_t at = 0;
  while (at < s.n && space(s.p[at])) at++;
  if (at < s.n && s.p[at] == '{') at++;
  while (at < s.n && space(s.p[at])) at++;
  if (s.n - at > sizeof key && memcmp(s.p + at, key, sizeof key - 1) == 0) {
    at += sizeof key - 1;
    while (at < s.n && (space(s.p[at]) || s.p[at] == ':')) at++;
    if (s.n - at > 8 && memcmp(s.p + at, "\"Bundle\"", 8) != 0) {
      struct str type = {s.p + at, s.n - at};
      return str_starts(type, STR(word)) || str_starts(type, STR(relative));
    }
  }
  return memmem(s.p, s.n, word, sizeof word - 1) || memmem(s.p, s.n, relative, sizeof relative - 1);
}

static int take_line(struct fhir *f, struct str line, bool overlong) {
  struct json root;
  size_t cap = line.n + STREAM_PAD;
  if (f->row == 1 && str_starts(line, STR("\xEF\xBB\xBF"))) {
    line = (struct str){line.p + 3, line.n - 3};
    cap -= 3;
  }
  if (overlong) return fhir_reject(f, "", "a line over the limit");
  if (f->identities && !may_identify(line)) return OK;
  size_t lead = 0;
  while (lead < line.n && space(line.p[lead])) lead++;
  if (lead == line.n) return OK;
  int rc = parse(f, line, cap, &root);
  return rc == 1 ? fhir_take_document(f, root) : rc;
}

static int read_lines(struct fhir *f, struct stream *s) {
  struct error broken = {0};
  struct str line;
  int rc;
  while ((rc = stream_line(s, &line, &broken)) == OK) {
    f->row = s->line;
    TRY(take_line(f, line, s->overlong));
    show_progress(f, s->bytes_in);
  }
  if (rc == E_END) return OK;
  f->row = s->line + 1;
  if (only_this_file(rc)) return fhir_reject(f, "", "the compressed file is damaged or cut short");
  return stopped(f, rc, &broken);
}

static int read_document(struct fhir *f, struct stream *s) {
  struct error broken = {0};
  struct str text;
  struct json root;
  int rc = stream_all(s, &f->document, f->limit, &text, &broken);
  f->row = 1;
  if (rc == E_LIMIT) return fhir_reject(f, "", "a document over the limit");
  if (rc < 0 && only_this_file(rc)) return fhir_reject(f, "", "the compressed file is damaged or cut short");
  if (rc < 0) return stopped(f, rc, &broken);
  size_t cap = text.n + STREAM_PAD;
  if (str_starts(text, STR("\xEF\xBB\xBF"))) {
    text = (struct str){text.p + 3, text.n - 3};
    cap -= 3;
  }
  if (f->identities && !may_identify(text)) return OK;
  rc = parse(f, text, cap, &root);
  return rc == 1 ? fhir_take_document(f, root) : rc;
}

static bool named_json(struct str path) {
  if (str_ends(path, STR(".gz"))) path.n -= 3;
  return str_ends(path, STR(".json")) || str_ends(path, STR(".ndjson")) || str_ends(path, STR(".jsonl"));
}

static int read_file(struct fhir *f, struct str path, bool alone) {
  struct stream s;
  enum form form;
  f->row = 0;
  f->shape = NULL;
  f->person = STR_NONE;
  TRY(sniff(f, path.p, &form));
  if (form == FORM_OTHER && !alone && !named_json(path)) return fhir_drop(f, "File.other");
  if (form == FORM_EMPTY) return fhir_reject(f, "", "the file is empty");
  if (form == FORM_OTHER) return fhir_reject(f, "", "no JSON object in UTF-8");
  TRY(stream_open(&s, path.p, f->e));
  s.line_limit = f->limit;
  int rc = form == FORM_LINES ? read_lines(f, &s) : read_document(f, &s);
  stream_close(&s);
  arena_reset(&f->document);
  return rc;
}

/* Medication files first: orders in other files refer to them. */
static bool holds_medications(struct str path) {
  size_t i = path.n;
  while (i && path.p[i - 1] != '/') i--;
  struct str name = {path.p + i, path.n - i};
  return str_starts(name, STR("Medication.")) || str_starts(name, STR("Medication_")) || str_starts(name, STR("Medication-"));
}

static int read_files(struct fhir *f, const struct str *paths, size_t n, bool alone) {
  for (size_t i = 0; i < n; i++) f->bytes_total += (uint64_t)(file_size(paths[i].p) > 0 ? file_size(paths[i].p) : 0);
  for (int pass = 0; pass < 2; pass++)
    for (size_t i = 0; i < n; i++) {
      if (holds_medications(paths[i]) != (pass == 0)) continue;
      f->name = paths[i].p;
      if (f->sink->file) f->sink->file(f->sink->ctx, f->file, f->name);
      f->stats->files++;
      int rc = read_file(f, paths[i], alone);
      if (rc < 0) return error_where(f->e, f->name, (int64_t)f->row, NULL), rc;
      int64_t size = file_size(paths[i].p);
      f->bytes_done += size > 0 ? (uint64_t)size : 0;
      f->stats->bytes += size > 0 ? (uint64_t)size : 0;
      show_progress(f, 0);
      f->file++;
    }
  return OK;
}

int fhir_read(const struct fhir_options *o, const char *path, const struct record_sink *sink, struct record_stats *stats, struct error *e) {
  struct fhir f;
  struct arena list;
  struct str *paths;
  struct json_parser *jp;
  size_t n;
  TRY(json_parser_new(&jp, e));
  arena_init(&list, 0, 0);
  int rc = reader_open(&f, jp, sink, stats, o ? o->line_limit : 0, e);
  f.identities = o && o->identities;
  if (rc >= 0) rc = file_list(&list, path, &paths, &n, e);
  if (rc >= 0) rc = read_files(&f, paths, n, !file_is_dir(path));
  reader_close(&f);
  arena_free(&list);
  json_parser_free(jp);
  return rc;
}
