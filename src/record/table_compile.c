#include "record/table_compile.h"

#include <math.h>
#include <stdlib.h>

int table_bad(struct table_compile *c, const char *field, const char *what) {
  struct str t = c->t ? c->t->name : STR_NONE;
  error_set(c->e, E_INPUT, "table mapping: %.*s%s%s", STR_ARG(t), t.n ? ": " : "", what);
  return error_where(c->e, NULL, 0, field);
}

int table_known_keys(struct table_compile *c, struct json j, const char *const *keys) {
  struct json_iter it = json_members(j);
  struct str key;
  struct json value;
  if (json_kind(j) != JSON_OBJECT) return table_bad(c, keys[0], "expected an object");
  while (json_next_member(&it, &key, &value)) {
    int i = 0;
    while (keys[i] && !str_eqc(key, keys[i])) i++;
    if (keys[i]) continue;
    char name[64];
    snprintf(name, sizeof name, "%.*s", STR_ARG(key));
    return table_bad(c, name, "unknown setting");
  }
  return OK;
}

static int out_of_memory(struct table_compile *c) { return error_set(c->e, E_NOMEM, "table mapping: out of memory"); }

int table_compile_text(struct table_compile *c, struct json j, const char *field, struct str *out) {
  struct str s = json_str(j);
  if (!s.p) return table_bad(c, field, "expected a string");
  char *copy = arena_strndup(&c->m->a, s.p, s.n);
  if (!copy) return out_of_memory(c);
  *out = (struct str){copy, s.n};
  return OK;
}

int table_compile_list(struct table_compile *c, struct json j, const char *field, struct str **out, int *n) {
  bool one = json_kind(j) == JSON_STRING;
  if (!one && json_kind(j) != JSON_ARRAY) return table_bad(c, field, "expected a string or a list of strings");
  size_t count = one ? 1 : json_count(j);
  if (count > 100000) return table_bad(c, field, "list too long");
  struct str *list = arena_array(&c->m->a, struct str, count + 1);
  if (!list) return out_of_memory(c);
  *out = list;
  *n = (int)count;
  if (one) return table_compile_text(c, j, field, list);
  struct json_iter it = json_items(j);
  struct json item;
  for (size_t i = 0; i < count && json_next(&it, &item); i++) TRY(table_compile_text(c, item, field, &list[i]));
  return OK;
}

int table_compile_column(struct table_compile *c, struct str name, int *index) {
  struct table_spec *t = c->t;
  for (int i = 0; i < t->column_n; i++)
    if (str_eq_nocase(t->column[i].name, name)) {
      *index = i;
      return OK;
    }
  if (name.n == 0 || name.n > 128) return table_bad(c, "column", "a column name is empty or too long");
  if (t->column_n == TABLE_COLUMNS) return table_bad(c, "column", "too many columns");
  if (t->column_n == t->column_cap) {
    int cap = t->column_cap ? 2 * t->column_cap : 16;
    struct table_column *grown = arena_array(&c->m->a, struct table_column, (size_t)cap);
    if (!grown) return out_of_memory(c);
    if (t->column_n) memcpy(grown, t->column, (size_t)t->column_n * sizeof *grown);
    t->column = grown;
    t->column_cap = cap;
  }
  struct table_column *col = &t->column[t->column_n];
  char path[320];
  int n = snprintf(path, sizeof path, "%.*s.%.*s", STR_ARG(t->name), STR_ARG(name));
  *col = (struct table_column){.name = str_copy(&c->m->a, name), .path = arena_strndup(&c->m->a, path, (size_t)n)};
  if (!col->name.p || !col->path) return out_of_memory(c);
  *index = t->column_n++;
  return OK;
}

/* ---- templates: "LAB//{itemid}//{valueuom}" ---- */
static int transform_of(struct table_compile *c, struct str s, enum table_transform *out) {
  static const char *const names[] = {"", "upper", "lower", "pad2", "dot2", "dot3", "dot4", "first"};
  for (int i = 0; i < 8; i++)
    if (str_eqc(s, names[i])) {
      *out = (enum table_transform)i;
      return OK;
    }
  return table_bad(c, "template", "unknown transformation after ':'");
}

static const struct table_rule *rule_of(const struct table_spec *t, int column) {
  for (int i = 0; i < t->rule_n; i++)
    if (t->rule[i]->column == column) return t->rule[i];
  return NULL;
}

static int join_part(struct table_compile *c, struct str name, struct str column, enum table_purpose purpose, struct table_part *p) {
  p->kind = PART_JOIN;
  for (p->join = 0; p->join < c->t->join_n; p->join++)
    if (str_eq(c->t->join[p->join].name, name)) break;
  if (p->join == c->t->join_n) return table_bad(c, "template", "{join.column} names a join that the table does not have");
  const struct table_dictionary *d = &c->m->dictionary[c->t->join[p->join].dictionary];
  for (p->join_column = 0; p->join_column < d->column_n; p->join_column++)
    if (str_eq_nocase(d->column[p->join_column], column)) break;
  if (p->join_column == d->column_n) return table_bad(c, "template", "{join.column} names a column that the dictionary does not keep");
  if (purpose != PURPOSE_DATA && !d->vocabulary)
    return table_bad(c, "template", "only a dictionary marked \"vocabulary\": true may stand in a code, unit or display");
  return OK;
}

/* The inside of one pair of braces. */
static int placeholder(struct table_compile *c, struct str s, enum table_purpose purpose, struct table_part *p) {
  static const struct {
    const char *name;
    enum table_part_kind kind;
  } special[] = {{":name", PART_NAME}, {":cell", PART_CELL}, {":stem", PART_STEM}, {":row", PART_ROW}, {":first", PART_FIRST}};
  for (int i = 0; i < 5; i++)
    if (str_eqc(s, special[i].name)) {
      p->kind = special[i].kind;
      if (purpose != PURPOSE_DATA && p->kind != PART_NAME && p->kind != PART_CELL)
        return table_bad(c, "template", "the subject may not stand in a code, unit or display");
      if (purpose == PURPOSE_DISPLAY && p->kind == PART_CELL) return table_bad(c, "template", "a cell may not stand in a display");
      return OK;
    }
  struct str rest = s, body = str_cut(&rest, ':');
  if (rest.p) TRY(transform_of(c, rest, &p->transform));
  struct str after = body, head = str_cut(&after, '.');
  if (after.p) return join_part(c, head, after, purpose, p);
  if (purpose == PURPOSE_DISPLAY) return table_bad(c, "template", "a display may hold words of its own and dictionary columns only");
  p->kind = PART_COLUMN;
  TRY(table_compile_column(c, body, &p->column));
  if (purpose == PURPOSE_DATA) return OK;
  p->rule = rule_of(c->t, p->column);
  if (p->rule) return OK;
  char name[96];
  snprintf(name, sizeof name, "%.*s", STR_ARG(body));
  return table_bad(c, name, "a column in a code or unit needs a rule under \"allow\"");
}

static int template_parse(struct table_compile *c, struct str s, enum table_purpose purpose, struct table_template *out) {
  int most = 1;
  for (size_t i = 0; i < s.n; i++) most += s.p[i] == '{' ? 2 : 0;
  if (most > 64 || s.n > 4096) return table_bad(c, "template", "template too long");
  out->part = arena_array(&c->m->a, struct table_part, (size_t)most);
  if (!out->part) return out_of_memory(c);
  size_t bound = 0;
  for (size_t i = 0; i < s.n;) {
    struct table_part *p = &out->part[out->n++];
    size_t end = i;
    if (s.p[i] == '{') {
      while (end < s.n && s.p[end] != '}') end++;
      if (end == s.n) return table_bad(c, "template", "'{' without '}'");
      TRY(placeholder(c, (struct str){s.p + i + 1, end - i - 1}, purpose, p));
      bound += TABLE_WORD + 8;
      i = end + 1;
    } else {
      while (end < s.n && s.p[end] != '{') end++;
      p->kind = PART_LITERAL;
      p->literal = (struct str){s.p + i, end - i};
      bound += end - i;
      i = end;
    }
  }
  if ((purpose == PURPOSE_CODE || purpose == PURPOSE_UNIT) && bound >= TABLE_CODE)
    return table_bad(c, "template", "a code could become too long");
  return OK;
}

int table_compile_template(struct table_compile *c, struct json j, const char *field, enum table_purpose purpose,
                           struct table_template *out) {
  struct str s;
  *out = (struct table_template){0};
  TRY(table_compile_text(c, j, field, &s));
  return template_parse(c, s, purpose, out);
}

int table_compile_choice(struct table_compile *c, struct json j, const char *field, enum table_purpose purpose, struct table_choice *out) {
  struct str *list;
  int n;
  TRY(table_compile_list(c, j, field, &list, &n));
  out->t = arena_array(&c->m->a, struct table_template, (size_t)n + 1);
  if (!out->t) return out_of_memory(c);
  for (out->n = 0; out->n < n; out->n++) TRY(template_parse(c, list[out->n], purpose, &out->t[out->n]));
  return OK;
}

/* ---- rules: which columns may stand in a code, and with which cells ---- */
static void release_map(void *p) { map_release(p); }

int table_compile_map(struct table_compile *c, struct map *m) {
  map_init(m, 64 << 20);
  int rc = arena_cleanup(&c->m->a, release_map, m, c->e);
  if (rc < 0) map_release(m);
  return rc;
}

static int category(struct table_compile *c, struct table_rule *r, struct str cell, struct str spelling, size_t i) {
  if (spelling.n == 0 || spelling.n > TABLE_WORD) return table_bad(c, "categories", "a category is empty or longer than 96 bytes");
  bool is_new;
  uint64_t *slot = map_put(&r->categories, cell, &is_new);
  char *copy = arena_strndup(&c->m->a, spelling.p, spelling.n);
  if (!slot || !copy) return out_of_memory(c);
  if (is_new) *slot = i;
  for (size_t k = 0; k < spelling.n; k++) {
    unsigned char b = (unsigned char)copy[k];
    bool plain = (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') || (b && strchr("._+/%-", b));
    if (!plain) copy[k] = '_';
  }
  r->spelling[i] = (struct str){copy, spelling.n};
  return OK;
}

static int categories(struct table_compile *c, struct json list, struct table_rule *r) {
  if (json_kind(list) == JSON_STRING) {
    char name[96];
    snprintf(name, sizeof name, "%.*s", STR_ARG(json_str(list)));
    list = json_get(c->vocabularies, name);
    if (json_kind(list) == JSON_NONE) return table_bad(c, name, "no such list under \"vocabularies\"");
  }
  size_t n = json_count(list), i = 0;
  if (json_kind(list) != JSON_ARRAY && json_kind(list) != JSON_OBJECT)
    return table_bad(c, "categories", "expected a list, or an object cell -> spelling");
  if (n > 100000) return table_bad(c, "categories", "list too long");
  r->kind = RULE_CATEGORIES;
  TRY(table_compile_map(c, &r->categories));
  r->spelling = arena_array(&c->m->a, struct str, n + 1);
  if (!r->spelling) return out_of_memory(c);
  struct json value;
  struct str key;
  if (json_kind(list) == JSON_ARRAY) {
    struct json_iter it = json_items(list);
    for (; json_next(&it, &value); i++) {
      if (!json_str(value).p) return table_bad(c, "categories", "expected strings");
      TRY(category(c, r, json_str(value), json_str(value), i));
    }
    return OK;
  }
  struct json_iter it = json_members(list);
  for (; json_next_member(&it, &key, &value); i++) {
    if (!json_str(value).p) return table_bad(c, "categories", "expected strings");
    TRY(category(c, r, key, json_str(value), i));
  }
  return OK;
}

static int rule_parse(struct table_compile *c, struct json value, struct table_rule *r) {
  static const char *const shapes[] = {"code", "integer", "icd", "ndc"};
  static const char *const keys[] = {"categories", "max_distinct", "min_persons", NULL};
  if (json_kind(value) == JSON_STRING) {
    for (int i = 0; i < 4; i++)
      if (str_eqc(json_str(value), shapes[i])) {
        r->kind = (enum table_rule_kind)i;
        return OK;
      }
    return table_bad(c, "allow", "a rule is \"code\", \"integer\", \"icd\", \"ndc\", or an object with categories or max_distinct");
  }
  TRY(table_known_keys(c, value, keys));
  if (json_kind(json_get(value, "categories")) != JSON_NONE) return categories(c, json_get(value, "categories"), r);
  int64_t most;
  TRY(json_want_i64(value, "max_distinct", &most, c->e));
  if (most < 1 || most > 1000000) return table_bad(c, "max_distinct", "expected 1 to 1,000,000");
  r->kind = RULE_DISTINCT;
  r->max_distinct = (uint64_t)most;
  int64_t least = TABLE_MIN_PERSONS;
  if (json_kind(json_get(value, "min_persons")) != JSON_NONE) TRY(json_want_i64(value, "min_persons", &least, c->e));
  if (least < 1 || least > 1000000) return table_bad(c, "min_persons", "expected 1 to 1,000,000");
  r->min_persons = (uint64_t)least;
  r->distinct = c->t->distinct_n++;
  return OK;
}

int table_compile_rules(struct table_compile *c, struct json j) {
  size_t n = json_count(j);
  if (json_kind(j) == JSON_NONE) return OK;
  if (json_kind(j) != JSON_OBJECT || n > TABLE_COLUMNS) return table_bad(c, "allow", "expected an object: column -> rule");
  c->t->rule = arena_array(&c->m->a, struct table_rule *, n + 1);
  if (!c->t->rule) return out_of_memory(c);
  struct json_iter it = json_members(j);
  struct str key;
  struct json value;
  while (json_next_member(&it, &key, &value)) {
    struct table_rule *r = arena_new(&c->m->a, struct table_rule);
    if (!r) return out_of_memory(c);
    TRY(table_compile_column(c, key, &r->column));
    TRY(rule_parse(c, value, r));
    c->t->rule[c->t->rule_n++] = r;
  }
  return OK;
}

/* ---- conditions ---- */
static int when_values(struct table_compile *c, struct json value, struct table_when *w) {
  static const char *const keys[] = {"not", "starts", "present", "min", "max", NULL};
  w->present = -1;
  w->min = -INFINITY;
  w->max = INFINITY;
  if (json_kind(value) != JSON_OBJECT) return table_compile_list(c, value, "when", &w->value, &w->n);
  TRY(table_known_keys(c, value, keys));
  bool present;
  if (json_bool(json_get(value, "present"), &present)) w->present = present;
  w->range = json_f64(json_get(value, "min"), &w->min);
  w->range |= json_f64(json_get(value, "max"), &w->max);
  struct json not_ = json_get(value, "not"), starts = json_get(value, "starts");
  if (json_kind(starts) != JSON_NONE) {
    w->starts = true;
    return table_compile_list(c, starts, "when", &w->value, &w->n);
  }
  if (json_kind(not_) == JSON_NONE) {
    if (w->present < 0 && !w->range) return table_bad(c, "when", "a condition asks nothing");
    return OK;
  }
  w->negate = true;
  return table_compile_list(c, not_, "when", &w->value, &w->n);
}

int table_compile_when(struct table_compile *c, struct json j, struct table_when **out, int *n) {
  size_t count = json_count(j);
  *n = 0;
  if (json_kind(j) == JSON_NONE) return OK;
  if (json_kind(j) != JSON_OBJECT || count > 64) return table_bad(c, "when", "expected an object: column -> condition");
  *out = arena_array(&c->m->a, struct table_when, count + 1);
  if (!*out) return out_of_memory(c);
  struct json_iter it = json_members(j);
  struct str key;
  struct json value;
  while (json_next_member(&it, &key, &value)) {
    struct table_when *w = &(*out)[(*n)++];
    TRY(placeholder(c, key, PURPOSE_DATA, &w->part));
    TRY(when_values(c, value, w));
  }
  return OK;
}
