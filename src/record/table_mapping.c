#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "record/table_compile.h"

static int out_of_memory(struct table_compile *c) { return error_set(c->e, E_NOMEM, "table mapping: out of memory"); }

static bool flag(struct json j, const char *key) {
  bool v = false;
  return json_bool(json_get(j, key), &v) && v;
}

static int separator(struct table_compile *c, struct json j, char *out) {
  struct json v = json_get(j, "separator");
  struct str s = json_str(v);
  *out = ',';
  if (json_kind(v) == JSON_NONE) return OK;
  if (s.n != 1 || strchr("\"\r\n", s.p[0])) return table_bad(c, "separator", "expected one character other than a quote or newline");
  *out = s.p[0];
  return OK;
}

static int optional_list(struct table_compile *c, struct json j, const char *key, struct str **out, int *n) {
  struct json v = json_get(j, key);
  *n = 0;
  return json_kind(v) == JSON_NONE ? OK : table_compile_list(c, v, key, out, n);
}

/* ---- dictionaries ---- */
static int dictionary_inline(struct table_compile *c, struct json j, struct table_dictionary *d) {
  size_t n = json_count(j);
  if (json_kind(j) != JSON_OBJECT || n > 100000) return table_bad(c, "inline", "expected an object: key -> text");
  d->is_inline = true;
  d->inline_key = arena_array(&c->m->a, struct str, n + 1);
  d->inline_value = arena_array(&c->m->a, struct str, n + 1);
  d->column = arena_new(&c->m->a, struct str);
  if (!d->inline_key || !d->inline_value || !d->column) return out_of_memory(c);
  *d->column = STR("label");
  d->column_n = 1;
  struct json_iter it = json_members(j);
  struct str key;
  struct json value;
  for (; json_next_member(&it, &key, &value); d->inline_n++) {
    d->inline_key[d->inline_n] = str_copy(&c->m->a, key);
    if (key.n && !d->inline_key[d->inline_n].p) return out_of_memory(c);
    TRY(table_compile_text(c, value, "inline", &d->inline_value[d->inline_n]));
  }
  return OK;
}

static int dictionary_one(struct table_compile *c, struct str name, struct json j, struct table_dictionary *d) {
  static const char *const keys[] = {"path",     "separator",  "key",    "columns", "require", "rank_within",
                                     "optional", "vocabulary", "inline", "note",    NULL};
  TRY(table_known_keys(c, j, keys));
  d->name = str_copy(&c->m->a, name);
  if (name.n == 0) return table_bad(c, "dictionaries", "a dictionary needs a name");
  if (!d->name.p) return out_of_memory(c);
  d->optional = flag(j, "optional");
  d->vocabulary = flag(j, "vocabulary");
  if (json_kind(json_get(j, "inline")) != JSON_NONE) return dictionary_inline(c, json_get(j, "inline"), d);
  TRY(table_compile_list(c, json_get(j, "path"), "path", &d->path, &d->path_n));
  TRY(table_compile_list(c, json_get(j, "key"), "key", &d->key, &d->key_n));
  TRY(optional_list(c, j, "columns", &d->column, &d->column_n));
  TRY(optional_list(c, j, "require", &d->require, &d->require_n));
  TRY(separator(c, j, &d->separator));
  if (d->key_n < 1 || d->key_n > 8 || d->column_n > 32 || d->require_n > 8 || d->path_n < 1)
    return table_bad(c, "dictionaries", "a dictionary has 1 to 8 key columns, up to 32 columns and a path");
  if (json_kind(json_get(j, "rank_within")) == JSON_NONE) return OK;
  TRY(table_compile_text(c, json_get(j, "rank_within"), "rank_within", &d->rank_within));
  struct str *more = arena_array(&c->m->a, struct str, (size_t)d->column_n + 1);
  if (!more) return out_of_memory(c);
  for (int i = 0; i < d->column_n; i++) more[i] = d->column[i];
  more[d->column_n++] = STR("rank");
  d->column = more;
  return OK;
}

static int dictionaries(struct table_compile *c, struct json j) {
  size_t n = json_count(j);
  if (json_kind(j) == JSON_NONE) return OK;
  if (json_kind(j) != JSON_OBJECT || n > 64) return table_bad(c, "dictionaries", "expected an object: name -> dictionary");
  c->m->dictionary = arena_array(&c->m->a, struct table_dictionary, n + 1);
  if (!c->m->dictionary) return out_of_memory(c);
  struct json_iter it = json_members(j);
  struct str key;
  struct json value;
  while (json_next_member(&it, &key, &value)) TRY(dictionary_one(c, key, value, &c->m->dictionary[c->m->dictionary_n++]));
  return OK;
}

/* ---- tables ---- */
static int table_header(struct table_compile *c, struct json j) {
  struct json header = json_get(j, "header");
  c->t->header = true;
  if (json_kind(header) != JSON_ARRAY) {
    bool given = true;
    if (json_kind(header) != JSON_NONE && (!json_bool(header, &given) || !given))
      return table_bad(c, "header", "expected true, or the list of column names of a file without a header");
    return OK;
  }
  struct str *names;
  int n, index;
  c->t->header = false;
  TRY(table_compile_list(c, header, "header", &names, &n));
  for (int i = 0; i < n; i++) {
    TRY(table_compile_column(c, names[i], &index));
    if (index != i) return table_bad(c, "header", "the same column name twice");
  }
  c->t->fixed_n = n;
  return OK;
}

static int table_missing(struct table_compile *c, struct json j) {
  struct json missing = json_get(j, "missing");
  c->t->missing = c->m->missing;
  c->t->missing_n = c->m->missing_n;
  if (json_kind(missing) == JSON_ARRAY) return table_compile_list(c, missing, "missing", &c->t->missing, &c->t->missing_n);
  if (json_kind(missing) == JSON_NONE) return OK;
  if (json_kind(missing) != JSON_OBJECT) return table_bad(c, "missing", "expected a list, or an object: column -> list");
  struct json_iter it = json_members(missing);
  struct str key;
  struct json value;
  while (json_next_member(&it, &key, &value)) {
    int index;
    TRY(table_compile_column(c, key, &index));
    TRY(table_compile_list(c, value, "missing", &c->t->column[index].missing, &c->t->column[index].missing_n));
  }
  return OK;
}

static int table_joins(struct table_compile *c, struct json j) {
  static const char *const keys[] = {"dictionary", "key", NULL};
  if (json_kind(j) == JSON_NONE) return OK;
  if (json_kind(j) != JSON_OBJECT || json_count(j) > TABLE_JOINS) return table_bad(c, "join", "expected an object of up to 16 joins");
  struct json_iter it = json_members(j);
  struct str name, dictionary;
  struct json value;
  while (json_next_member(&it, &name, &value)) {
    struct table_join *join = &c->t->join[c->t->join_n];
    TRY(table_known_keys(c, value, keys));
    TRY(table_compile_text(c, json_get(value, "dictionary"), "dictionary", &dictionary));
    for (join->dictionary = 0; join->dictionary < c->m->dictionary_n; join->dictionary++)
      if (str_eq(c->m->dictionary[join->dictionary].name, dictionary)) break;
    if (join->dictionary == c->m->dictionary_n) return table_bad(c, "join", "no such dictionary");
    TRY(table_compile_template(c, json_get(value, "key"), "key", PURPOSE_DATA, &join->key));
    join->name = str_copy(&c->m->a, name);
    if (name.n == 0) return table_bad(c, "join", "a join needs a name");
    if (!join->name.p) return out_of_memory(c);
    c->t->join_n++;
  }
  return OK;
}

static int table_subject(struct table_compile *c, struct json j) {
  static const char *const keys[] = {"when", "value", NULL};
  struct json row = json_get(j, "subject_row"), subject = json_get(j, "subject");
  TRY(table_compile_choice(c, subject, "subject", PURPOSE_DATA, &c->t->subject));
  if (c->t->subject.n == 0) return table_bad(c, "subject", "a table needs a subject");
  if (json_kind(row) == JSON_NONE) return OK;
  TRY(table_known_keys(c, row, keys));
  TRY(table_compile_when(c, json_get(row, "when"), &c->t->subject_when, &c->t->subject_when_n));
  return table_compile_template(c, json_get(row, "value"), "subject_row", PURPOSE_DATA, &c->t->subject_value);
}

static int table_paths(struct table_compile *c) {
  struct {
    const char *suffix;
    const char **to;
  } path[] = {{"", &c->t->path_row},
              {".subject", &c->t->path_subject},
              {".code", &c->t->path_code},
              {".time", &c->t->path_time},
              {".value", &c->t->path_value}};
  for (int i = 0; i < 5; i++) {
    char text[200];
    int n = snprintf(text, sizeof text, "%.*s%s", STR_ARG(c->t->name), path[i].suffix);
    if (n >= (int)sizeof text) return table_bad(c, "table", "name too long");
    *path[i].to = arena_strndup(&c->m->a, text, (size_t)n);
    if (!*path[i].to) return out_of_memory(c);
  }
  return OK;
}

static int table_one(struct table_compile *c, struct json j) {
  static const char *const keys[] = {
      "table",       "path",           "separator", "header", "optional", "optional_columns", "missing", "subject",
      "subject_row", "known_subjects", "join",      "allow",  "time",     "events",           "note",    NULL};
  struct table_spec *t = c->t;
  TRY(table_known_keys(c, j, keys));
  TRY(table_compile_text(c, json_get(j, "table"), "table", &t->name));
  TRY(table_paths(c));
  TRY(table_compile_list(c, json_get(j, "path"), "path", &t->path, &t->path_n));
  TRY(separator(c, j, &t->separator));
  t->optional = flag(j, "optional");
  t->known_subjects = flag(j, "known_subjects");
  c->m->any_known |= t->known_subjects;
  TRY(table_header(c, j));
  TRY(table_missing(c, j));
  TRY(table_joins(c, json_get(j, "join")));
  TRY(table_compile_rules(c, json_get(j, "allow")));
  TRY(table_subject(c, j));
  struct json time = json_get(j, "time");
  t->time_given = json_kind(time) != JSON_NONE;
  if (t->time_given) TRY(table_compile_times(c, time, &t->time));
  TRY(table_compile_events(c, json_get(j, "events")));
  struct str *list;
  int n, index;
  TRY(optional_list(c, j, "optional_columns", &list, &n));
  for (int i = 0; i < n; i++) {
    TRY(table_compile_column(c, list[i], &index));
    t->column[index].optional = true;
  }
  if (!t->header && t->column_n > t->fixed_n) return table_bad(c, "header", "a column is used that the list of column names does not have");
  return OK;
}

static int tables(struct table_compile *c, struct json j) {
  size_t n = json_count(j);
  if (json_kind(j) != JSON_ARRAY || n == 0 || n > 256) return table_bad(c, "tables", "expected a list of 1 to 256 tables");
  c->m->table = arena_array(&c->m->a, struct table_spec, n);
  if (!c->m->table) return out_of_memory(c);
  struct json_iter it = json_items(j);
  struct json item;
  while (json_next(&it, &item)) {
    c->t = &c->m->table[c->m->table_n++];
    TRY(table_one(c, item));
    c->t = NULL;
  }
  return OK;
}

/* ---- the mapping ---- */
static int mapping_name(struct table_compile *c, struct json j) {
  TRY(table_compile_text(c, json_get(j, "name"), "name", &c->m->name));
  if (c->m->name.n == 0 || c->m->name.n > 64) return table_bad(c, "name", "a name has 1 to 64 characters");
  for (size_t i = 0; i < c->m->name.n; i++) {
    char b = c->m->name.p[i];
    if (!((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '-' || b == '_'))
      return table_bad(c, "name", "a name is lower-case letters, digits, - and _");
  }
  c->m->name_c = c->m->name.p;
  return OK;
}

static int plausible(struct table_compile *c, struct json j) {
  struct table_mapping *m = c->m;
  size_t n = json_count(j);
  if (json_kind(j) == JSON_NONE) return OK;
  if (json_kind(j) != JSON_OBJECT || n > 100000) return table_bad(c, "plausible", "expected an object: code -> [least, most]");
  TRY(table_compile_map(c, &m->plausible));
  m->range = arena_array(&m->a, struct table_range, n + 1);
  if (!m->range) return out_of_memory(c);
  struct json_iter it = json_members(j);
  struct str code;
  struct json limits, limit;
  while (json_next_member(&it, &code, &limits)) {
    double two[2] = {NAN, NAN};
    struct json_iter ends = json_items(limits);
    for (int i = 0; i < 2 && json_next(&ends, &limit); i++)
      if (!json_f64(limit, &two[i])) two[i] = NAN;
    if (json_count(limits) != 2 || !(two[0] <= two[1])) return table_bad(c, "plausible", "a range is [least, most]");
    bool is_new;
    uint64_t *slot = map_put(&m->plausible, code, &is_new);
    if (!slot) return out_of_memory(c);
    if (!is_new) return table_bad(c, "plausible", "a code stands there twice");
    *slot = (uint64_t)m->range_n;
    m->range[m->range_n++] = (struct table_range){two[0], two[1]};
  }
  return OK;
}

static int mapping_compile(struct table_compile *c, struct json j) {
  static const char *const keys[] = {"name",         "description",  "root",      "epoch",  "missing", "memory_limit_mb",
                                     "vocabularies", "dictionaries", "plausible", "tables", "note",    NULL};
  struct table_mapping *m = c->m;
  TRY(table_known_keys(c, j, keys));
  TRY(mapping_name(c, j));
  TRY(optional_list(c, j, "root", &m->root, &m->root_n));
  TRY(optional_list(c, j, "missing", &m->missing, &m->missing_n));
  struct str epoch;
  m->epoch = TIME_STATIC;
  if (json_kind(json_get(j, "epoch")) != JSON_NONE) {
    struct time_parts parts;
    TRY(table_compile_text(c, json_get(j, "epoch"), "epoch", &epoch));
    TRY(time_parse(epoch, &parts, &m->epoch, c->e));
  }
  int64_t mb = 1024;
  if (json_kind(json_get(j, "memory_limit_mb")) != JSON_NONE) TRY(json_want_i64(j, "memory_limit_mb", &mb, c->e));
  if (mb < 1 || mb > 1024 * 1024) return table_bad(c, "memory_limit_mb", "expected 1 to 1,048,576");
  m->memory_limit = (uint64_t)mb << 20;
  c->vocabularies = json_get(j, "vocabularies");
  TRY(dictionaries(c, json_get(j, "dictionaries")));
  TRY(plausible(c, json_get(j, "plausible")));
  return tables(c, json_get(j, "tables"));
}

int table_mapping_parse(const char *bytes, size_t n, const char *name, struct table_mapping **out, struct error *e) {
  struct json_parser *jp;
  struct json root;
  struct error local = {0};
  if (!e) e = &local;
  *out = NULL;
  TRY(json_parser_new(&jp, e));
  struct table_mapping *m = mem_alloc(sizeof *m);
  if (!m) {
    json_parser_free(jp);
    return error_set(e, E_NOMEM, "table mapping: out of memory");
  }
  *m = (struct table_mapping){0};
  arena_init(&m->a, 64 << 20, 0);
  struct table_compile c = {.m = m, .e = e};
  int rc = json_parse(jp, bytes, n, n, &root, e);
  if (rc >= 0) rc = mapping_compile(&c, root);
  json_parser_free(jp);
  if (rc < 0) {
    table_mapping_free(m);
    return error_where(e, name, 0, NULL);
  }
  *out = m;
  return OK;
}

int table_mapping_load(const char *path, struct table_mapping **out, struct error *e) {
  struct arena a;
  struct str text;
  *out = NULL;
  arena_init(&a, 0, 0);
  int rc = file_read(&a, path, 16 << 20, &text, e);
  if (rc >= 0) rc = table_mapping_parse(text.p, text.n, path, out, e);
  arena_free(&a);
  return rc;
}

void table_mapping_free(struct table_mapping *m) {
  if (!m) return;
  arena_free(&m->a);
  mem_free(m);
}

const char *table_mapping_name(const struct table_mapping *m) { return m->name_c; }
