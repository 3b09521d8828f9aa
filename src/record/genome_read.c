/* VCF -> records: who is in the file, what else the header says of them, and one genome for each. */
#include <stdio.h>

#include "base/file.h"
#include "base/map.h"
#include "record/record.h"
#include "record/vcf.h"

struct reading {
  const struct record_sink *sink;
  struct record_stats *stats;
  struct json fields;
  const char *path;
  uint32_t file;
  uint64_t bytes_before, bytes_total;
  struct map samples; /* name -> 1 + index */
};

static bool ends(struct str s, const char *with) { return str_ends(s, str_c(with)); }
static bool is_vcf(struct str name) { return ends(name, ".vcf") || ends(name, ".vcf.gz") || ends(name, ".vcf.bgz") || ends(name, ".bcf"); }

/* ---- the first pass: every line has the header's columns, to the end ---- */

static int check_lines(struct reading *r, struct vcf_source *s, const struct vcf_header *h, uint64_t *lines, struct error *e) {
  struct str line;
  int rc;
  while ((rc = vcf_source_line(s, &line, e)) == OK) {
    uint32_t columns = 1;
    for (size_t i = 0; i < line.n; i++) columns += line.p[i] == '\t';
    if (columns != h->columns || line.p[0] == '#') {
      error_set(e, E_INPUT, "a line has not the columns of the header");
      error_where(e, r->path, (int64_t)vcf_source_row(s), NULL);
      return E_INPUT;
    }
    if ((++*lines & 4095) == 0 && r->sink->progress)
      r->sink->progress(r->sink->ctx, r->bytes_before + vcf_source_bytes(s) / 2, r->bytes_total);
  }
  return rc == E_END ? OK : rc;
}

/* ---- records ---- */

static int hand(struct reading *r, struct record *rec, struct error *e) {
  rec->file = r->file;
  r->stats->records++;
  if (rec->kind == RECORD_DROPPED) r->stats->dropped++;
  return r->sink->record(r->sink->ctx, rec, e);
}

static int identifier(struct reading *r, struct str person, enum identifier_kind kind, struct str ns, struct str text, const char *path,
                      uint64_t row, struct error *e) {
  struct record rec = {.kind = RECORD_IDENTIFIER, .person = person, .identifier = kind, .ns = ns, .text = text, .path = path, .row = row};
  rec.time.us = TIME_STATIC;
  return hand(r, &rec, e);
}

static int dropped(struct reading *r, const char *path, uint64_t row, struct error *e) {
  struct record rec = {.kind = RECORD_DROPPED, .path = path, .row = row};
  rec.time.us = TIME_STATIC;
  return hand(r, &rec, e);
}

static bool key_is(struct str key, const char *const *list) {
  for (; *list; list++)
    if (str_eq_nocase(key, str_c(*list))) return true;
  return false;
}

/* Members of ##SAMPLE, ##PEDIGREE and ##META. Relatives and other names are the sample's own identifiers for this purpose: they must not
 * come out with it. What is neither a name nor a number of somebody counts as free text. */
static int person_line(struct reading *r, const struct vcf_meta *m, const char *path, struct error *e) {
  static const char *const names[] = {"Name",   "Patient", "PatientName", "Subject",  "Individual", "Donor",
                                      "Mother", "Father",  "Child",       "Original", "Derived",    NULL};
  static const char *const numbers[] = {"ID",        "MRN",      "PatientID", "SubjectID", "Barcode",
                                        "Accession", "Specimen", "Family",    "FamilyID",  NULL};
  static const char *const days[] = {"Date", "BirthDate", "DOB", "Birth", "Collected", "CollectionDate", NULL};
  struct str inside, key, value, person = vcf_get(m->value, "ID");
  if (!vcf_structured(m->value, &inside)) return identifier(r, STR_NONE, IDENTIFIER_FREE_TEXT, STR_NONE, m->value, path, m->row, e);
  if (!map_get(&r->samples, person, NULL)) person = vcf_get(m->value, "Child");
  if (!map_get(&r->samples, person, NULL)) person = STR_NONE;
  while (vcf_member(&inside, &key, &value)) {
    if (value.n == 0 || (str_eqc(key, "ID") && str_eq(value, person))) continue;
    enum identifier_kind kind = key_is(key, names)     ? IDENTIFIER_NAME
                                : key_is(key, numbers) ? IDENTIFIER_OTHER
                                : key_is(key, days)    ? IDENTIFIER_DATE
                                                       : IDENTIFIER_FREE_TEXT;
    TRY(identifier(r, person, kind, STR_NONE, value, path, m->row, e));
  }
  return OK;
}

static int header_line(struct reading *r, const struct vcf_meta *m, struct error *e) {
  static const char *const kept[] = {"INFO", "FORMAT", "FILTER", "ALT", "contig", "reference", "assembly", NULL};
  static const struct {
    const char *key, *path;
  } other[] = {{"source", "VCF.source"}, {"phasing", "VCF.phasing"}, {"pedigreeDB", "VCF.pedigreeDB"}, {"PG", "VCF.PG"}};
  struct str key = m->key;
  if (key_is(key, kept)) return OK; /* the wall keeps the bare bones of these */
  if (str_eqc(key, "SAMPLE")) return person_line(r, m, "VCF.SAMPLE", e);
  if (str_eqc(key, "PEDIGREE")) return person_line(r, m, "VCF.PEDIGREE", e);
  if (str_eqc(key, "META")) return person_line(r, m, "VCF.META", e);
  if (str_eqc(key, "fileDate")) return identifier(r, STR_NONE, IDENTIFIER_DATE, STR_NONE, m->value, "VCF.fileDate", m->row, e);
  for (size_t i = 0; i < sizeof other / sizeof *other; i++)
    if (str_eqc(key, other[i].key)) return dropped(r, other[i].path, m->row, e);
  bool command = false;
  for (size_t i = 0; i + 7 <= key.n; i++) command = command || str_eq_nocase((struct str){key.p + i, 7}, STR("command"));
  return dropped(r, command ? "VCF.commandline" : "VCF.header", m->row, e);
}

static int genome(struct reading *r, const struct vcf_header *h, uint32_t sample, struct error *e) {
  char assembly[16], code[40] = "GENOME//VCF";
  struct record_object object = {.kind = OBJECT_GENOME, .path = r->path, .member = h->sample[sample].p};
  if (vcf_assembly(r->fields, h, assembly)) snprintf(code, sizeof code, "GENOME//VCF//%s", assembly);
  struct record rec = {.kind = RECORD_EVENT,
                       .person = h->sample[sample],
                       .code = str_c(code),
                       .value = __builtin_nan(""),
                       .object = &object,
                       .path = "VCF.sample"};
  rec.time.us = TIME_STATIC;
  rec.row = sample + 1;
  return hand(r, &rec, e);
}

static int emit(struct reading *r, const struct vcf_header *h, struct error *e) {
  for (uint32_t i = 0; i < h->samples; i++)
    TRY(identifier(r, h->sample[i], IDENTIFIER_OTHER, STR("vcf-sample"), h->sample[i], "VCF.sample", i + 1, e));
  for (size_t i = 0; i < h->metas; i++) TRY(header_line(r, &h->meta[i], e));
  for (uint32_t i = 0; i < h->samples; i++) TRY(genome(r, h, i, e));
  return OK;
}

static int index_samples(struct reading *r, const struct vcf_header *h, struct error *e) {
  for (uint32_t i = 0; i < h->samples; i++) {
    uint64_t *at = map_put(&r->samples, h->sample[i], NULL);
    if (!at) return error_set(e, E_NOMEM, "no memory for sample names");
    *at = i + 1;
  }
  return OK;
}

/* E_INPUT, E_CORRUPT and E_LIMIT are of this file alone. */
static int check_file(struct reading *r, struct arena *a, struct vcf_header *h, struct error *e) {
  struct vcf_source *s;
  uint64_t lines = 0;
  TRY(vcf_source_open(r->path, &s, e));
  int rc = vcf_header_read(s, a, h, e);
  if (rc == OK) rc = check_lines(r, s, h, &lines, e);
  if (rc == OK && h->samples == 0) rc = error_set(e, E_INPUT, "sites without samples: nobody's genome");
  vcf_source_close(s);
  if (rc == OK) r->stats->resources += lines;
  return rc;
}

static int one_file(struct reading *r, struct error *e) {
  struct arena a;
  struct vcf_header h;
  struct error inner = {0};
  arena_init(&a, 4 * (size_t)VCF_HEADER_LIMIT, ARENA_WIPE);
  map_init(&r->samples, 0);
  int rc = check_file(r, &a, &h, &inner);
  if (rc == OK) {
    rc = index_samples(r, &h, e);
    if (rc == OK) rc = emit(r, &h, e);
  } else if (rc == E_INPUT || rc == E_CORRUPT || rc == E_LIMIT) {
    r->stats->rejected++;
    if (r->sink->reject)
      r->sink->reject(r->sink->ctx,
                      &(struct record_reject){.file = r->path, .row = (uint64_t)inner.row, .field = inner.field, .reason = inner.message});
    rc = OK;
  } else if (e) {
    *e = inner;
  }
  map_release(&r->samples);
  arena_free(&a);
  return rc;
}

static int all_files(struct reading *r, const struct str *file, size_t n, bool every, struct error *e) {
  char name[4096];
  for (size_t i = 0; i < n; i++)
    if (every || is_vcf(file[i])) r->bytes_total += (uint64_t)(file_size(file[i].p) > 0 ? file_size(file[i].p) : 0);
  for (size_t i = 0; i < n; i++) {
    if (!every && !is_vcf(file[i])) continue; /* an index, a readme */
    if (file[i].n >= sizeof name) return error_set(e, E_LIMIT, "path too long");
    memcpy(name, file[i].p, file[i].n);
    name[file[i].n] = 0;
    r->path = name;
    if (r->sink->file) r->sink->file(r->sink->ctx, r->file, name);
    TRY(one_file(r, e));
    r->file++;
    r->stats->files++;
    int64_t size = file_size(name);
    r->bytes_before += size > 0 ? (uint64_t)size : 0;
    r->stats->bytes = r->bytes_before;
    if (r->sink->progress) r->sink->progress(r->sink->ctx, r->bytes_before, r->bytes_total);
  }
  return OK;
}

int genome_read(const char *path, const char *fields, const struct record_sink *sink, struct record_stats *stats, struct error *e) {
  struct reading r = {.sink = sink, .stats = stats};
  struct arena a;
  struct str *file;
  size_t n;
  arena_init(&a, 0, 0);
  int rc = json_load(&a, fields, &r.fields, e);
  struct str one = str_c(path); /* as it is typed, a link too */
  bool single = !file_is_dir(path);
  file = &one;
  n = 1;
  if (rc == OK && !single) rc = file_list(&a, path, &file, &n, e);
  if (rc == OK) rc = all_files(&r, file, n, single, e);
  arena_free(&a);
  return rc;
}
