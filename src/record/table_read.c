#include <ctype.h>
#include <stdlib.h>
#include <math.h>

#include "base/hash.h"
#include "base/file.h"
#include "base/thread.h"
#include "record/table_run.h"

enum { ROWS_BETWEEN_PROGRESS = 4096 };

void table_reject(struct table_reader *r, uint64_t row, const char *field, const char *reason) {
  r->stats->rejected++;
  if (!r->sink->reject) return;
  struct record_reject reject = {.file = r->file, .row = row, .field = field, .reason = reason};
  r->sink->reject(r->sink->ctx, &reject);
}

static int hand_over(struct table_reader *r, const struct record *rec, struct error *e) {
  if (rec->kind == RECORD_DROPPED)
    r->stats->dropped++;
  else
    r->stats->records++;
  return r->sink->record(r->sink->ctx, rec, e);
}

static int dropped(struct table_reader *r, struct str person, const char *path, struct error *e) {
  struct record rec = {
      .kind = RECORD_DROPPED, .person = person, .time.us = TIME_STATIC, .value = NAN, .path = path, .file = r->file_index, .row = r->row};
  return hand_over(r, &rec, e);
}

/* Text that is not UTF-8 is taken as Latin-1: every byte has a meaning there, and what hospitals write is one of the two. */
static struct str utf8(struct table_reader *r, struct str s) {
  size_t plain = 0;
  while (plain < s.n && (unsigned char)s.p[plain] < 0x80) plain++;
  if (plain == s.n || str_utf8_valid(s)) return s;
  char *out = arena_alloc(&r->file_a, 2 * s.n + 1, 1);
  if (!out) return STR_NONE;
  size_t n = 0;
  for (size_t i = 0; i < s.n; i++) {
    unsigned char b = (unsigned char)s.p[i];
    if (b < 0x80) {
      out[n++] = (char)b;
    } else {
      out[n++] = (char)(0xC0 | b >> 6);
      out[n++] = (char)(0x80 | (b & 0x3F));
    }
  }
  return (struct str){out, n};
}

/* ---- one event ---- */
static int value_of(struct table_reader *r, const struct table_event *ev, double *out) {
  *out = NAN;
  struct str s = table_template_get(r, &ev->value);
  if (!s.p) return 0;
  uint64_t at;
  if (ev->numbers_n && map_get(&ev->values, s, &at)) {
    *out = ev->numbers[at] * ev->scale;
    return record_number(*out) ? 1 : E_INPUT;
  }
  if (table_number(s, out) < 0) return E_INPUT;
  *out *= ev->scale;
  if (ev->floor) *out = floor(*out);
  return record_number(*out) ? 1 : E_INPUT;
}

/* What cannot be (a line that was flushed or off, a slipped decimal point) tells nothing of the patient. */
static bool plausible(const struct table_reader *r, struct str code, double value) {
  uint64_t at;
  if (!r->m->range_n || !map_get(&r->m->plausible, code, &at)) return true;
  return value >= r->m->range[at].least && value <= r->m->range[at].most;
}

struct pieces { /* memory that a record points into during its callback */
  char code[TABLE_CODE], unit[TABLE_CODE];
};

static int refuse(struct table_reader *r, const char *field, const char *reason) {
  table_reject(r, r->row, field, reason);
  return OK;
}

static int absent(struct table_reader *r, const struct table_event *ev, unsigned part, struct str person, const char *path,
                  struct error *e) {
  return ev->require & part ? OK : dropped(r, person, path, e);
}

static int take_texts(struct table_reader *r, const struct table_event *ev, struct record *rec) {
  rec->text = table_template_get(r, &ev->text);
  rec->postcode = table_template_get(r, &ev->postcode);
  rec->country = table_template_get(r, &ev->country);
  rec->display = table_choice_get(r, &ev->display);
  rec->ns = table_template_get(r, &ev->ns);
  struct str *const all[] = {&rec->text, &rec->postcode, &rec->country, &rec->display, &rec->ns};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    if (!all[i]->p) continue;
    if (memchr(all[i]->p, 0, all[i]->n)) return E_INPUT;
    *all[i] = utf8(r, *all[i]);
    if (!all[i]->p) return E_NOMEM;
  }
  return OK;
}

static int event_at(struct table_reader *r, const struct table_event *ev, struct str person, struct error *e) {
  struct pieces pieces;
  struct record rec = {.kind = ev->kind,
                       .identifier = ev->identifier,
                       .person = person,
                       .path = r->t->path_row,
                       .file = r->file_index,
                       .row = r->row,
                       .value = NAN};
  const char *field;
  if (ev->code.n) {
    rec.code = (struct str){pieces.code, table_code_get(r, &ev->code, pieces.code)};
    if (rec.code.n == 0) return absent(r, ev, REQUIRE_CODE, person, table_template_path(r, &ev->code.t[0], r->t->path_code), e);
  }
  int rc = table_time_get(r, &ev->time, &rec.time, &field);
  if (rc < 0) return refuse(r, field, "bad time");
  if (rc == 0) return absent(r, ev, REQUIRE_TIME, person, field, e);
  rc = value_of(r, ev, &rec.value);
  if (rc < 0) return refuse(r, table_template_path(r, &ev->value, r->t->path_value), "bad number");
  if (rc == 0 && ev->require & REQUIRE_VALUE) return OK;
  if (rc == 1 && !plausible(r, rec.code, rec.value))
    return refuse(r, table_template_path(r, &ev->value, r->t->path_value), "value outside the plausible range of its code");
  rc = take_texts(r, ev, &rec);
  if (rc == E_NOMEM) return error_set(e, E_NOMEM, "out of memory for a text");
  if (rc < 0) return refuse(r, table_template_path(r, &ev->text, r->t->path_row), "NUL byte in a text");
  if (!rec.text.p && (ev->require & REQUIRE_TEXT || (ev->kind == RECORD_IDENTIFIER && !rec.postcode.p && !rec.country.p))) return OK;
  size_t n = ev->unit.n ? table_code_get(r, &ev->unit, pieces.unit) : 0;
  if (n) rec.unit = (struct str){pieces.unit, n};
  return hand_over(r, &rec, e);
}

/* In a file's header under "*": a name of the shape of a column name; anything else is not let into a code. */
static bool column_like(struct str s) {
  bool fit = s.n >= 1 && s.n <= 48 && isalpha((unsigned char)s.p[0]);
  for (size_t i = 1; i < s.n && fit; i++) fit = isalnum((unsigned char)s.p[i]) || s.p[i] == '_' || s.p[i] == '.' || s.p[i] == '-';
  return fit;
}

static int wide_all(struct table_reader *r, const struct table_event *ev, struct str person, struct error *e) {
  for (size_t i = 0; i < r->header_n; i++) {
    bool out = !column_like(r->header_name[i]);
    for (int k = 0; k < ev->wide_n && !out; k++) out = r->position[ev->wide_column[k]] == (int)i;
    struct str s = str_trim(r->cells.field[i]);
    if (out || table_is_missing(s, r->t->missing, r->t->missing_n)) continue;
    size_t mark = r->scratch_n;
    r->wide_name = r->header_name[i];
    r->wide_cell = s;
    r->wide_rule = NULL;
    TRY(event_at(r, ev, person, e));
    r->scratch_n = mark;
  }
  return OK;
}

static const struct table_rule *rule_of(const struct table_spec *t, int column) {
  for (int i = 0; i < t->rule_n; i++)
    if (t->rule[i]->column == column) return t->rule[i];
  return NULL;
}

static int wide_listed(struct table_reader *r, const struct table_event *ev, struct str person, struct error *e) {
  for (int i = 0; i < ev->wide_n; i++) {
    r->wide_cell = table_cell(r, ev->wide_column[i]);
    if (!r->wide_cell.p) continue;
    size_t mark = r->scratch_n;
    r->wide_name = ev->wide_name[i];
    r->wide_rule = rule_of(r->t, ev->wide_column[i]);
    if (table_when_holds(r, ev->when, ev->when_n)) TRY(event_at(r, ev, person, e));
    r->scratch_n = mark;
  }
  return OK;
}

static int take_event(struct table_reader *r, const struct table_event *ev, struct str person, struct error *e) {
  r->wide_name = r->wide_cell = STR_NONE;
  if (ev->wide && !ev->wide_all) return wide_listed(r, ev, person, e);
  if (!table_when_holds(r, ev->when, ev->when_n)) return OK;
  return ev->wide ? wide_all(r, ev, person, e) : event_at(r, ev, person, e);
}

/* ---- one row ---- */
static int known_person(struct table_reader *r, struct str person, bool *skip, struct error *e) {
  uint64_t at;
  bool is_new;
  *skip = false;
  if (!r->m->any_known) return OK;
  if (r->t->known_subjects) {
    *skip = !map_get(&r->known, person, &at);
    return OK;
  }
  return map_put(&r->known, person, &is_new) ? OK : error_set(e, E_LIMIT, "known subjects: more than memory_limit_mb of the mapping");
}

static int take_row(struct table_reader *r, struct error *e) {
  const struct table_spec *t = r->t;
  r->stamp++;
  r->scratch_n = 0;
  if (t->subject_value.n && table_when_holds(r, t->subject_when, t->subject_when_n)) {
    struct str s = table_template_get(r, &t->subject_value);
    if (!s.p || s.n > TABLE_PERSON) return refuse(r, t->path_subject, "the row that names the subject has none");
    memcpy(r->subject_row, s.p, s.n);
    r->subject_row_n = s.n;
    return OK;
  }
  struct str person = table_choice_get(r, &t->subject);
  if (!r->person_n || !str_eq(person, (struct str){r->person, r->person_n})) {
    r->person_n = 0;
    if (!person.p || person.n == 0) return refuse(r, t->path_subject, "no subject");
    if (person.n > TABLE_PERSON || memchr(person.p, 0, person.n)) return refuse(r, t->path_subject, "unusable subject");
    person = utf8(r, person);
    if (!person.p) return error_set(e, E_NOMEM, "out of memory for a subject");
    bool skip;
    TRY(known_person(r, person, &skip, e));
    if (skip) return OK;
    memcpy(r->person, person.p, person.n);
    r->person_n = person.n;
  }
  size_t mark = r->scratch_n;
  for (int i = 0; i < t->event_n; i++) {
    if (r->identities && t->event[i].kind != RECORD_IDENTIFIER && t->event[i].kind != RECORD_BIRTH) continue;
    TRY(take_event(r, &t->event[i], person, e));
    r->scratch_n = mark;
  }
  r->first = false;
  return OK;
}

/* ---- one file ---- */
static int columns_unused(struct table_reader *r, const struct csv_row *header, struct error *e) {
  if (r->columns_reported) return OK;
  r->columns_reported = true;
  bool all = false;
  for (int i = 0; i < r->t->event_n; i++) all |= r->t->event[i].wide_all;
  for (size_t i = 0; i < header->n && !all; i++) {
    struct str name = str_trim(header->field[i]);
    bool used = false;
    for (int k = 0; k < r->t->column_n && !used; k++) used = r->position[k] == (int)i;
    if (used) continue;
    char path[256];
    if (column_like(name))
      snprintf(path, sizeof path, "%s.%.*s", r->t->path_row, STR_ARG(name));
    else
      snprintf(path, sizeof path, "%s.(unnamed column)", r->t->path_row);
    const char *kept = arena_strndup(&r->a, path, strlen(path));
    if (!kept) return error_set(e, E_NOMEM, "out of memory for a column's name");
    TRY(dropped(r, STR_NONE, kept, e));
  }
  return OK;
}

static int header_names(struct table_reader *r, const struct csv_row *header, struct error *e) {
  r->header_name = arena_array(&r->file_a, struct str, header->n + 1);
  if (!r->header_name) return error_set(e, E_NOMEM, "out of memory for a header");
  for (size_t i = 0; i < header->n; i++) {
    struct str s = str_trim(header->field[i]);
    r->header_name[i] = str_copy(&r->file_a, s);
    if (s.n && !r->header_name[i].p) return error_set(e, E_NOMEM, "out of memory for a header");
  }
  return OK;
}

/* Where each named column stands. Returns 0 if the file cannot be used (rejected), 1 if it can. */
static int read_header(struct table_reader *r, struct csv *c, struct error *e) {
  const struct table_spec *t = r->t;
  struct csv_row header;
  if (!t->header) {
    for (int i = 0; i < t->column_n; i++) r->position[i] = i;
    r->header_n = (size_t)t->fixed_n;
    return 1;
  }
  struct error bad = {0};
  int rc = csv_row(c, &header, &bad);
  r->row = c->row;
  if (rc == E_END || rc == E_INPUT || rc == E_LIMIT) return refuse(r, "", rc == E_END ? "empty file: no header" : "malformed header");
  if (rc < 0) {
    if (e) *e = bad;
    return rc;
  }
  r->header_n = header.n;
  for (int i = 0; i < t->column_n; i++) {
    char name[160];
    snprintf(name, sizeof name, "%.*s", STR_ARG(t->column[i].name));
    r->position[i] = csv_column(&header, name);
    if (csv_column_twice(&header, name)) return refuse(r, t->column[i].path, "the column is twice in the header");
    if (r->position[i] < 0 && !t->column[i].optional) return refuse(r, t->column[i].path, "the column is missing from the header");
  }
  TRY(header_names(r, &header, e));
  TRY(columns_unused(r, &header, e));
  return 1;
}

static int pause_row(struct table_reader *r, const struct csv *c, struct error *e) {
  if (++r->rows_seen % ROWS_BETWEEN_PROGRESS) return OK;
  if (r->sink->progress) r->sink->progress(r->sink->ctx, r->bytes_done + c->stream.bytes_in, r->bytes_total);
  return cancel_requested() ? error_set(e, E_CANCELLED, "interrupted") : OK;
}

typedef int row_f(struct table_reader *r, struct error *e);

static int read_rows(struct table_reader *r, struct csv *c, row_f *take, bool quiet, struct error *e) {
  struct csv_row row;
  for (;;) {
    struct error bad;
    bad.code = 0;
    bad.file[0] = bad.field[0] = 0;
    bad.row = 0;
    int rc = csv_row(c, &row, &bad);
    r->row = c->row;
    if (rc == E_END) return OK;
    if (rc == E_INPUT || rc == E_LIMIT) {
      if (!quiet) table_reject(r, c->row, "", rc == E_INPUT ? "malformed row" : "row too long");
      continue;
    }
    if (rc < 0) {
      if (e) *e = bad;
      return rc;
    }
    r->cells = row;
    if (!quiet) r->stats->resources++;
    struct arena_mark mark = arena_mark(&r->file_a);
    if (row.n == r->header_n) {
      TRY(take(r, e));
    } else if (!quiet && (row.n > 1 || str_trim(row.field[0]).n)) {
      table_reject(r, c->row, "", "wrong number of columns");
    }
    arena_rewind(&r->file_a, mark);
    TRY(pause_row(r, c, e));
  }
}

static struct str stem_of(const char *path) {
  const char *slash = strrchr(path, '/');
  struct str s = str_c(slash ? slash + 1 : path);
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] == '.') return (struct str){s.p, i};
  return s;
}

/* 1 = read, 0 = rejected as a whole */
static int read_file(struct table_reader *r, const char *path, row_f *take, bool quiet, struct error *e) {
  struct csv c;
  arena_reset(&r->file_a);
  r->file = path;
  r->stem = stem_of(path);
  r->subject_row_n = 0;
  r->first = true;
  TRY(csv_open(&c, path, r->t->separator, e));
  int rc = read_header(r, &c, e);
  if (rc == 1) {
    int rows = read_rows(r, &c, take, quiet, e);
    if (rows < 0) rc = rows;
  }
  csv_close(&c);
  return rc < 0 ? error_where(e, path, 0, NULL) : rc;
}

/* ---- one table ---- */
static int distinct_row(struct table_reader *r, struct error *e) {
  r->stamp++;
  r->scratch_n = 0;
  for (int i = 0; i < r->t->rule_n; i++) {
    const struct table_rule *rule = r->t->rule[i];
    if (rule->kind != RULE_DISTINCT) continue;
    struct table_distinct *d = &r->distinct[rule->distinct];
    struct str s = table_cell(r, rule->column);
    if (!s.p || d->over || s.n > TABLE_WORD) continue;
    bool is_new;
    uint64_t *seen = map_put(&d->seen, s, &is_new);
    if (!seen) return error_set(e, E_NOMEM, "distinct values of a column: out of memory");
    /* low half: persons so far (a person's rows mostly stand together; told apart from the one before), high half: the last person */
    struct str person = table_choice_get(r, &r->t->subject);
    uint64_t who = person.p ? hash64(person.p, person.n, 0) >> 32 : 0;
    if (is_new || *seen >> 32 != who) *seen = who << 32 | ((*seen & UINT32_MAX) + ((*seen & UINT32_MAX) < UINT32_MAX));
    d->over = d->seen.count > rule->max_distinct;
  }
  return OK;
}

static void distinct_release(struct table_reader *r) {
  for (int i = 0; r->distinct && i < r->t->distinct_n; i++) map_release(&r->distinct[i].seen);
  mem_free(r->distinct);
  r->distinct = NULL;
}

/* A column with "max_distinct" is read twice: its cells may stand in codes only if there are few different ones in all. */
static int distinct_scan(struct table_reader *r, const struct str *paths, size_t n, struct error *e) {
  if (r->t->distinct_n == 0 || r->identities) return OK;
  r->distinct = mem_alloc((size_t)r->t->distinct_n * sizeof *r->distinct);
  if (!r->distinct) return error_set(e, E_NOMEM, "out of memory");
  for (int i = 0; i < r->t->distinct_n; i++) {
    r->distinct[i] = (struct table_distinct){0};
    map_init(&r->distinct[i].seen, 256 << 20);
  }
  uint64_t rejected = r->stats->rejected;
  struct record_sink quiet = {.ctx = r->sink->ctx, .record = r->sink->record};
  const struct record_sink *sink = r->sink;
  r->sink = &quiet;
  r->columns_reported = true;
  int rc = OK;
  for (size_t i = 0; i < n && rc >= 0; i++) rc = read_file(r, paths[i].p, distinct_row, true, e);
  r->sink = sink;
  r->stats->rejected = rejected;
  return rc < 0 ? rc : OK;
}

static int table_begin(struct table_reader *r, const struct str *paths, size_t n, struct error *e) {
  const struct table_spec *t = r->t;
  size_t columns = (size_t)t->column_n + 1;
  r->position = arena_array(&r->a, int, columns);
  r->cell = arena_array(&r->a, struct table_cell, columns);
  if (!r->position || !r->cell) return error_set(e, E_NOMEM, "out of memory for a table's columns");
  for (int i = 0; i < t->join_n; i++) {
    r->joined[i] = (struct table_joined){0};
    TRY(table_dictionary_load(r, t->join[i].dictionary, e));
  }
  r->stamp = 0;
  r->person_n = 0;
  TRY(distinct_scan(r, paths, n, e));
  r->columns_reported = false;
  return OK;
}

static int read_files(struct table_reader *r, const struct str *paths, size_t n, struct error *e) {
  size_t used = 0;
  TRY(table_begin(r, paths, n, e));
  for (size_t i = 0; i < n; i++) {
    int64_t size = file_size(paths[i].p);
    r->file_index = (uint32_t)r->stats->files++;
    if (r->sink->file) r->sink->file(r->sink->ctx, r->file_index, paths[i].p);
    int rc = read_file(r, paths[i].p, take_row, false, e);
    if (rc < 0) return rc;
    used += (size_t)rc;
    r->bytes_done += size > 0 ? (uint64_t)size : 0;
    r->stats->bytes += size > 0 ? (uint64_t)size : 0;
    if (r->sink->progress) r->sink->progress(r->sink->ctx, r->bytes_done, r->bytes_total);
    if (cancel_requested()) return error_set(e, E_CANCELLED, "interrupted");
  }
  if (used || n == 0 || r->t->optional) return OK;
  return error_set(e, E_INPUT, "table %s: no file has the columns that the mapping names", r->t->path_row);
}

/* Tables without identifiers and births are read in a pass for these only to know who the known subjects are. */
static bool identifies(const struct table_spec *t) {
  for (int i = 0; i < t->event_n; i++)
    if (t->event[i].kind == RECORD_IDENTIFIER || t->event[i].kind == RECORD_BIRTH) return true;
  return false;
}

static int read_table(struct table_reader *r, const struct str *paths, size_t n, struct error *e) {
  if (n == 0) return OK;
  if (r->identities && !identifies(r->t) && (r->t->known_subjects || !r->m->any_known)) return OK;
  int rc = read_files(r, paths, n, e);
  distinct_release(r);
  return rc;
}

/* ---- the run ---- */
struct sources {
  struct str *path;
  size_t n;
};

/* When one file was asked for, only that file; it may also fit a pattern by its name alone. */
static int narrow(struct table_reader *r, const struct table_spec *t, struct sources *s, struct error *e) {
  if (!r->file_only[0]) return OK;
  size_t i = 0;
  while (i < s->n && strcmp(s->path[i].p, r->file_only) != 0) i++;
  if (i < s->n) {
    s->path += i;
    s->n = 1;
    return OK;
  }
  s->n = 0;
  for (int k = 0; k < t->path_n; k++) {
    struct str pattern = t->path[k];
    for (size_t b = pattern.n; b > 0; b--)
      if (pattern.p[b - 1] == '/') {
        pattern = (struct str){pattern.p + b, pattern.n - b};
        break;
      }
    struct sources by_name;
    TRY(table_glob(&r->a, r->root, pattern, &by_name.path, &by_name.n, e));
    for (size_t b = 0; b < by_name.n; b++)
      if (strcmp(by_name.path[b].p, r->file_only) == 0) {
        *s = (struct sources){by_name.path + b, 1};
        return OK;
      }
  }
  return OK;
}

static int find_sources(struct table_reader *r, struct sources *s, size_t *total, struct error *e) {
  *total = 0;
  for (int i = 0; i < r->m->table_n; i++) {
    TRY(table_glob_any(&r->a, r->root, r->m->table[i].path, r->m->table[i].path_n, &s[i].path, &s[i].n, e));
    TRY(narrow(r, &r->m->table[i], &s[i], e));
    *total += s[i].n;
  }
  return OK;
}

/* The first root under which any table has a file. */
static int find_root(struct table_reader *r, const char *path, struct sources *s, struct error *e) {
  static const struct str here = {".", 1};
  const struct str *roots = r->m->root_n ? r->m->root : &here;
  int n = r->m->root_n ? r->m->root_n : 1;
  size_t total = 0;
  for (int i = 0; i < n && total == 0; i++) {
    char *root = arena_alloc(&r->a, 4096, 1);
    if (!root) return error_set(e, E_NOMEM, "out of memory");
    if (r->file_only[0] || str_eqc(roots[i], "."))
      TRY(snprintf(root, 4096, "%s", path) < 4096 ? OK : error_set(e, E_LIMIT, "path too long"));
    else
      TRY(file_join(root, 4096, path, roots[i].p, e));
    r->root = root;
    TRY(find_sources(r, s, &total, e));
    if (r->file_only[0]) break;
  }
  if (total == 0) return error_set(e, E_NOTFOUND, "mapping %s: none of its tables has a file here", r->m->name_c);
  for (int i = 0; i < r->m->table_n; i++) {
    const struct table_spec *t = &r->m->table[i];
    if (s[i].n == 0 && !t->optional && !r->file_only[0])
      return error_set(e, E_NOTFOUND, "mapping %s: table %s has no file (%s)", r->m->name_c, t->path_row, t->path_n ? t->path[0].p : "");
  }
  return OK;
}

static int split_path(struct table_reader *r, const char *path, char dir[4096], struct error *e) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  if (n >= 4096) return error_set(e, E_LIMIT, "path too long");
  memcpy(dir, path, n);
  dir[n] = 0;
  if (file_is_dir(path)) return OK;
  if (!file_exists(path)) return error_where((error_set(e, E_NOTFOUND, "no such file or directory"), e), path, 0, NULL);
  char *slash = strrchr(dir, '/'), name[256];
  if (snprintf(name, sizeof name, "%s", slash ? slash + 1 : dir) >= (int)sizeof name) return error_set(e, E_LIMIT, "path too long");
  if (!slash)
    memcpy(dir, ".", 2);
  else
    slash[slash == dir] = 0;
  return file_join(r->file_only, sizeof r->file_only, dir, name, e);
}

static int run(struct table_reader *r, const char *path, struct error *e) {
  char dir[4096];
  TRY(split_path(r, path, dir, e));
  struct sources *s = arena_array(&r->a, struct sources, (size_t)r->m->table_n + 1);
  r->dictionary = arena_array(&r->a, struct table_dictionary_data, (size_t)r->m->dictionary_n + 1);
  if (!s || !r->dictionary) return error_set(e, E_NOMEM, "out of memory");
  for (int i = 0; i < r->m->dictionary_n; i++) map_init(&r->dictionary[i].index, r->m->memory_limit);
  TRY(find_root(r, dir, s, e));
  for (int i = 0; i < r->m->table_n; i++)
    for (size_t k = 0; k < s[i].n; k++) {
      int64_t size = file_size(s[i].path[k].p);
      r->bytes_total += size > 0 ? (uint64_t)size : 0;
    }
  for (int i = 0; i < r->m->table_n; i++) {
    r->t = &r->m->table[i];
    TRY(read_table(r, s[i].path, s[i].n, e));
  }
  return OK;
}

bool table_mapping_identifies(const struct table_mapping *m) {
  for (int i = 0; i < m->table_n; i++)
    for (int k = 0; k < m->table[i].event_n; k++)
      if (m->table[i].event[k].kind == RECORD_IDENTIFIER) return true;
  return false;
}

static int read_all(const struct table_mapping *m, const char *path, const struct record_sink *sink, struct record_stats *stats,
                    bool identities, struct error *e) {
  struct record_stats own = {0};
  struct table_reader *r = mem_alloc(sizeof *r);
  if (!r) return error_set(e, E_NOMEM, "table reader: out of memory");
  memset(r, 0, sizeof *r);
  r->m = m;
  r->sink = sink;
  r->identities = identities;
  r->stats = stats ? stats : &own;
  arena_init(&r->a, 0, ARENA_WIPE);
  arena_init(&r->file_a, 256 << 20, ARENA_WIPE);
  map_init(&r->known, m->memory_limit);
  int rc = run(r, path, e);
  for (int i = 0; r->dictionary && i < m->dictionary_n; i++) table_dictionary_release(&r->dictionary[i]);
  map_release(&r->known);
  arena_free(&r->file_a);
  arena_free(&r->a);
  mem_wipe(r, sizeof *r);
  mem_free(r);
  return rc;
}

int table_read(const struct table_mapping *m, const char *path, const struct record_sink *sink, struct record_stats *stats,
               struct error *e) {
  return read_all(m, path, sink, stats, false, e);
}

int table_read_identities(const struct table_mapping *m, const char *path, const struct record_sink *sink, struct record_stats *stats,
                          struct error *e) {
  return read_all(m, path, sink, stats, true, e);
}
