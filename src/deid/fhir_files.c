/* Files and directories of FHIR through the rules: one file open at a time, one resource line or one document in memory. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/thread.h"
#include "deid/fhir_private.h"

enum { OUT_CHUNK = 1 << 20 };

struct sink {
  struct file_writer file;
  struct buf pending;
  z_stream z;
  bool gz, open, z_open;
  uint8_t *packed;
};

static int sink_open(struct sink *s, const char *path, bool gz, struct error *e) {
  *s = (struct sink){.gz = gz};
  TRY(file_writer_open(&s->file, path, e));
  s->open = true;
  if (!gz) return OK;
  s->packed = mem_alloc(OUT_CHUNK);
  /* 16 + 15: a gzip header, which holds no name and no time */
  if (!s->packed || deflateInit2(&s->z, 6, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return error_set(e, E_NOMEM, "no memory to compress");
  s->z_open = true;
  return OK;
}

static int sink_flush(struct sink *s, bool end, struct error *e) {
  TRY(buf_check(&s->pending, e));
  if (!s->gz) {
    file_writer_put(&s->file, s->pending.p, s->pending.n);
  } else {
    s->z.next_in = (uint8_t *)s->pending.p;
    s->z.avail_in = (unsigned)s->pending.n;
    do {
      s->z.next_out = s->packed;
      s->z.avail_out = OUT_CHUNK;
      deflate(&s->z, end ? Z_FINISH : Z_NO_FLUSH);
      file_writer_put(&s->file, s->packed, OUT_CHUNK - s->z.avail_out);
    } while (s->z.avail_out == 0);
  }
  buf_clear(&s->pending);
  return OK;
}

static int sink_close(struct sink *s, bool keep, struct error *e) {
  int rc = OK;
  if (keep && s->open) rc = sink_flush(s, true, e);
  if (s->z_open) deflateEnd(&s->z);
  mem_free(s->packed);
  buf_release(&s->pending);
  if (s->open && keep && rc == OK)
    rc = file_writer_commit(&s->file, e);
  else if (s->open)
    file_writer_abort(&s->file);
  *s = (struct sink){0};
  return rc;
}

/* ---- names ---- */

static bool named_json(struct str path, bool *gz, bool *lines) {
  *gz = str_ends(path, STR(".gz"));
  if (*gz) path.n -= 3;
  *lines = str_ends(path, STR(".ndjson")) || str_ends(path, STR(".jsonl"));
  return *lines || str_ends(path, STR(".json"));
}

/* Observation.ndjson, Observation.000.ndjson.gz, Patient-1.json: names that a bulk export gives, without anything of a person in them */
static bool bulk_name(const struct fhir_deid *f, struct str name) {
  size_t n = 0;
  while (n < name.n && ((name.p[n] >= 'A' && name.p[n] <= 'Z') || (name.p[n] >= 'a' && name.p[n] <= 'z'))) n++;
  if (fhir_type_of(f->types, fhir_type_id(f->types, (struct str){name.p, n}))->kind != FHIR_RESOURCE) return false;
  if (n < name.n && memchr("._-", name.p[n], 3)) {
    size_t digits = n + 1;
    while (digits < name.n && name.p[digits] >= '0' && name.p[digits] <= '9') digits++;
    if (digits - n - 1 <= 6 && digits > n + 1) n = digits;
  }
  struct str rest = {name.p + n, name.n - n};
  static const char *const ends[] = {".json", ".ndjson", ".jsonl", ".json.gz", ".ndjson.gz", ".jsonl.gz"};
  for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
    if (str_eqc(rest, ends[k])) return true;
  return false;
}

/* Names of files carry names of patients: others than bulk names are replaced, the same way in every run of the vault. */
static void out_name(const struct fhir_deid *f, struct str relative, bool lines, bool gz, char out[96]) {
  size_t slash = relative.n;
  while (slash && relative.p[slash - 1] != '/') slash--;
  struct str name = {relative.p + slash, relative.n - slash};
  uint8_t h[8];
  if (!slash && name.n < 90 && bulk_name(f, name)) {
    snprintf(out, 96, "%.*s", STR_ARG(name));
    return;
  }
  crypto_generichash_state st;
  crypto_generichash_init(&st, f->secret, 32, 16);
  crypto_generichash_update(&st, (const uint8_t *)"file", 5);
  crypto_generichash_update(&st, (const uint8_t *)relative.p, relative.n);
  uint8_t whole[16];
  crypto_generichash_final(&st, whole, 16);
  memcpy(h, whole, 8);
  snprintf(out, 96, "file-%02x%02x%02x%02x%02x%02x%02x%02x%s%s", h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
           lines ? ".ndjson" : ".json", gz ? ".gz" : "");
}

static int add_file(struct fhir_deid *f, const char *name, struct error *e) {
  if (f->file_n == f->file_cap) {
    uint32_t cap = f->file_cap ? f->file_cap * 2 : 64;
    struct fhir_out_file *files = mem_realloc(f->files, cap * sizeof *files);
    if (!files) return error_set(e, E_NOMEM, "no memory for the list of files");
    f->files = files;
    f->file_cap = cap;
  }
  size_t n = strlen(name) + 1;
  char *copy = mem_alloc(n);
  if (!copy) return error_set(e, E_NOMEM, "no memory for the list of files");
  memcpy(copy, name, n);
  f->files[f->file_n++] = (struct fhir_out_file){.name = copy};
  return OK;
}

/* ---- one file ---- */

static void note_reject(struct fhir_deid *f, uint64_t row, const char *why) {
  f->files[f->file_n - 1].rejected++;
  if (f->reject_n < FHIR_REJECTS_KEPT) f->rejects[f->reject_n++] = (struct fhir_reject){f->file_n - 1, row, why};
}

static int one(struct fhir_deid *f, struct str text, uint64_t row, struct sink *to, struct error *e) {
  const char *why;
  uint64_t before = f->n.resources, refused = f->n.rejected;
  int rc = fhir_deid_document(f, text, &to->pending, &why, e);
  if (rc < 0) return error_where(e, NULL, (int64_t)row, NULL), rc;
  f->files[f->file_n - 1].resources += f->n.resources - before;
  if (rc == 1)
    note_reject(f, row, why);
  else if (f->n.rejected > refused)
    note_reject(f, row, "a resource inside was refused");
  if (rc == 0) buf_putc(&to->pending, '\n');
  if (to->pending.n >= OUT_CHUNK) {
    f->n.bytes_out += to->pending.n;
    return sink_flush(to, false, e);
  }
  return OK;
}

static bool blank(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (!memchr(" \t\r\n", s.p[i], 4)) return false;
  return true;
}

static int lines(struct fhir_deid *f, struct stream *in, struct str first, struct sink *to, struct error *e) {
  struct str line = first;
  int rc = OK;
  do {
    if (in->overlong) {
      note_reject(f, in->line, "a line over the limit");
      f->n.rejected++;
    } else if (!blank(line)) {
      TRY(one(f, line, in->line, to, e));
    }
    if ((in->line & 255) == 0 && cancel_requested()) return error_set(e, E_CANCELLED, "interrupted");
  } while ((rc = stream_line(in, &line, e)) == OK);
  return rc == E_END ? OK : rc;
}

static bool whole_object(struct fhir_deid *f, struct str line) {
  if (str_starts(line, STR("\xEF\xBB\xBF"))) line = (struct str){line.p + 3, line.n - 3};
  return json_tree_parse(&f->doc.json, line, NULL) == OK && f->doc.json.at[1].kind == JSON_OBJECT;
}

static int document(struct fhir_deid *f, const char *path, struct sink *to, struct error *e) {
  struct stream in;
  struct arena a;
  struct str text;
  arena_init(&a, 2u * FHIR_LINE_LIMIT, ARENA_WIPE);
  TRY(stream_open(&in, path, e));
  int rc = stream_all(&in, &a, FHIR_LINE_LIMIT, &text, e);
  stream_close(&in);
  if (rc == OK) rc = one(f, text, 1, to, e);
  arena_free(&a);
  return rc;
}

static int read_file(struct fhir_deid *f, const char *path, bool by_name, struct sink *to, struct error *e) {
  struct stream in;
  struct str line;
  TRY(stream_open(&in, path, e));
  in.line_limit = FHIR_LINE_LIMIT;
  int rc;
  while ((rc = stream_line(&in, &line, e)) == OK && blank(line)) {}
  if (rc == OK && !by_name && !in.overlong && !whole_object(f, line)) {
    stream_close(&in);
    return document(f, path, to, e);
  }
  if (rc == OK) rc = lines(f, &in, line, to, e);
  stream_close(&in);
  return rc == E_END ? OK : rc;
}

/* What is wrong with the bytes of one file (a broken gzip member) concerns that file only. */
static int take_file(struct fhir_deid *f, const char *path, const char *out, bool gz, bool by_name, struct error *e) {
  struct sink to;
  struct error broken = {0};
  uint64_t documents = f->n.documents;
  int64_t size = file_size(path);
  int rc = sink_open(&to, out, gz, e);
  if (rc == OK) {
    rc = read_file(f, path, by_name, &to, &broken);
    if (rc < 0 && (rc == E_CORRUPT || (rc == E_INPUT && f->ours) || rc == E_LIMIT)) {
      f->n.rejected++;
      note_reject(f, 0, "the file is damaged, cut short or over the limit");
      rc = OK;
    } else if (rc < 0 && e) {
      *e = broken;
    }
  }
  f->n.bytes_in += size > 0 ? (uint64_t)size : 0;
  if (rc == OK) f->n.bytes_out += to.pending.n;
  int closed = sink_close(&to, rc == OK && f->n.documents > documents, e);
  f->n.files++;
  return rc < 0 ? rc : closed;
}

/* ---- all files ---- */

void fhir_deid_manifest(const struct fhir_deid *f, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "policy", f->ours ? f->policy.name : "Microsoft FHIR anonymizer configuration");
  json_kv_c(o, "hash", f->hash);
  json_kv_c(o, "statement",
            f->ours ? f->policy.statement : "By a configuration of the site's own: what no rule of it names stays as it was.");
#define COUNT(name) json_kv_i64(o, #name, (int64_t)f->n.name)
  COUNT(files), COUNT(documents), COUNT(resources), COUNT(rejected), COUNT(redacted), COUNT(dates), COUNT(sentinels), COUNT(ages);
  COUNT(codes_dropped), COUNT(references), COUNT(references_dropped), COUNT(absent);
  COUNT(texts), COUNT(texts_dropped);
#undef COUNT
  json_out_key(o, "output");
  json_out_array(o);
  for (uint32_t i = 0; i < f->file_n; i++) {
    json_out_object(o);
    json_kv_c(o, "file", f->files[i].name);
    json_kv_i64(o, "resources", (int64_t)f->files[i].resources);
    json_kv_i64(o, "rejected", (int64_t)f->files[i].rejected);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_key(o, "quarantine");
  json_out_array(o);
  for (uint32_t i = 0; i < f->reject_n; i++) {
    json_out_object(o);
    json_kv_c(o, "file", f->files[f->rejects[i].file].name);
    json_kv_i64(o, "row", (int64_t)f->rejects[i].row);
    json_kv_c(o, "reason", f->rejects[i].why ? f->rejects[i].why : "");
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}

static int write_manifest(const struct fhir_deid *f, const char *path, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, true);
  fhir_deid_manifest(f, &o);
  buf_putc(&b, '\n');
  int rc = buf_check(&b, e);
  if (rc == OK) rc = file_write_atomic(path, b.p, b.n, 0644, e);
  buf_release(&b);
  return rc;
}

static bool same_place(const char *a, const char *b) {
  char *x = realpath(a, NULL), *y = realpath(b, NULL);
  bool same = x && y && strcmp(x, y) == 0;
  free(x);
  free(y);
  return same;
}

static int take_directory(struct fhir_deid *f, const char *in, const char *out, void (*progress)(uint64_t, uint64_t), struct error *e) {
  struct arena a;
  struct str *paths;
  size_t n, root = strlen(in);
  uint64_t total = 0;
  char name[96], path[4096];
  while (root && in[root - 1] == '/') root--;
  arena_init(&a, 0, ARENA_WIPE);
  int rc = file_mkdirs(out, 0755, e);
  if (rc == OK) rc = file_list(&a, in, &paths, &n, e);
  for (size_t i = 0; rc == OK && i < n; i++) total += file_size(paths[i].p) > 0 ? (uint64_t)file_size(paths[i].p) : 0;
  for (size_t i = 0; rc == OK && i < n; i++) {
    bool gz, by_name;
    struct str relative = {paths[i].p + root + 1, paths[i].n - root - 1};
    if (!named_json(relative, &gz, &by_name)) continue;
    out_name(f, relative, by_name, gz, name);
    rc = add_file(f, name, e);
    if (rc == OK) rc = file_join(path, sizeof path, out, name, e);
    if (rc == OK) rc = take_file(f, paths[i].p, path, gz, by_name, e);
    if (progress) progress(f->n.bytes_in, total);
  }
  arena_free(&a);
  if (rc == OK) rc = file_join(path, sizeof path, out, "manifest.json", e);
  return rc < 0 ? rc : write_manifest(f, path, e);
}

int fhir_deid_files(struct fhir_deid *f, const char *in, const char *out, void (*progress)(uint64_t, uint64_t), struct error *e) {
  if (same_place(in, out)) return error_set(e, E_USAGE, "the output would lie over the input");
  if (file_is_dir(in)) return take_directory(f, in, out, progress, e);
  bool gz, by_name, out_gz, out_lines;
  char path[4096];
  const char *slash = strrchr(out, '/');
  named_json(str_c(in), &gz, &by_name);
  named_json(str_c(out), &out_gz, &out_lines);
  TRY(add_file(f, slash ? slash + 1 : out, e));
  TRY(take_file(f, in, out, out_gz, by_name, e));
  if (progress) progress(f->n.bytes_in, f->n.bytes_in);
  int n = snprintf(path, sizeof path, "%s.manifest.json", out);
  if (n < 0 || (size_t)n >= sizeof path) return error_set(e, E_LIMIT, "the output's name is too long");
  return write_manifest(f, path, e);
}
