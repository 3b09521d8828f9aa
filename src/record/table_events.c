#include <math.h>

#include "record/table_compile.h"

static int out_of_memory(struct table_compile *c) { return error_set(c->e, E_NOMEM, "table mapping: out of memory"); }

static int word_of(struct table_compile *c, struct str s, const char *const *words, const char *field, int *out) {
  for (*out = 0; words[*out]; (*out)++)
    if (str_eqc(s, words[*out])) return OK;
  return table_bad(c, field, "unknown word");
}

/* ---- times ---- */
static int offset_one(struct table_compile *c, struct json j, const char *key, struct table_offset *o) {
  static const char *const units[] = {"HH:MM", "seconds", "minutes", "hours", "days", "weeks", "years", NULL};
  struct json scale = json_get(j, "scale");
  struct str name;
  int u;
  o->scale = 1;
  TRY(table_compile_template(c, json_get(j, key), key, PURPOSE_DATA, &o->of));
  TRY(table_compile_text(c, json_get(j, "unit"), "unit", &name));
  TRY(word_of(c, name, units, "unit", &u));
  o->unit = (enum table_unit)u;
  if (json_kind(scale) != JSON_NONE && (!json_f64(scale, &o->scale) || !isfinite(o->scale)))
    return table_bad(c, "scale", "expected a number");
  return OK;
}

/* "offset": "{column}" with unit and scale beside it, or a list of {"of", "unit", "scale"} that are added up. */
static int time_offset(struct table_compile *c, struct json j, struct table_time *t) {
  static const char *const keys[] = {"of", "unit", "scale", NULL};
  struct json offset = json_get(j, "offset");
  if (json_kind(offset) == JSON_NONE) return OK;
  if (json_kind(offset) != JSON_ARRAY) {
    t->offset_n = 1;
    return offset_one(c, j, "offset", &t->offset[0]);
  }
  struct json_iter it = json_items(offset);
  struct json item;
  while (json_next(&it, &item)) {
    if (t->offset_n == TABLE_OFFSETS) return table_bad(c, "offset", "up to 4 offsets can be added up");
    TRY(table_known_keys(c, item, keys));
    TRY(offset_one(c, item, "of", &t->offset[t->offset_n++]));
  }
  return OK;
}

static int time_one(struct table_compile *c, struct json j, struct table_time *t) {
  static const char *const keys[] = {"at", "format", "offset", "unit", "scale", "add", "not_before", "precision", NULL};
  static const char *const precisions[] = {"none", "year", "month", "day", "second", "fraction", NULL};
  *t = (struct table_time){.not_before = INT64_MIN, .precision = -1};
  if (json_kind(j) == JSON_STRING) return table_compile_template(c, j, "time", PURPOSE_DATA, &t->at);
  TRY(table_known_keys(c, j, keys));
  struct json at = json_get(j, "at"), format = json_get(j, "format"), add = json_get(j, "add"), least = json_get(j, "not_before"),
              precision = json_get(j, "precision");
  if (json_kind(at) != JSON_NONE) TRY(table_compile_template(c, at, "at", PURPOSE_DATA, &t->at));
  if (json_kind(format) != JSON_NONE) TRY(table_compile_text(c, format, "format", &t->format));
  TRY(time_offset(c, j, t));
  struct str s;
  if (json_kind(add) != JSON_NONE) {
    TRY(table_compile_text(c, add, "add", &s));
    TRY(time_parse_duration(s, &t->add, c->e));
  }
  if (json_kind(least) != JSON_NONE) {
    TRY(table_compile_text(c, least, "not_before", &s));
    TRY(time_parse_duration(s, &t->not_before, c->e));
  }
  if (json_kind(precision) != JSON_NONE) {
    TRY(table_compile_text(c, precision, "precision", &s));
    TRY(word_of(c, s, precisions, "precision", &t->precision));
  }
  if (t->at.n == 0 && c->m->epoch == TIME_STATIC) return table_bad(c, "time", "a time without \"at\" needs the mapping's \"epoch\"");
  return OK;
}

int table_compile_times(struct table_compile *c, struct json j, struct table_times *out) {
  *out = (struct table_times){0};
  if (json_kind(j) == JSON_NULL) {
    out->is_static = true;
    return OK;
  }
  bool list = json_kind(j) == JSON_ARRAY;
  size_t n = list ? json_count(j) : 1;
  if (n == 0 || n > 16) return table_bad(c, "time", "expected a time or a list of up to 16");
  out->t = arena_array(&c->m->a, struct table_time, n);
  if (!out->t) return out_of_memory(c);
  if (!list) {
    out->n = 1;
    return time_one(c, j, out->t);
  }
  struct json_iter it = json_items(j);
  struct json item;
  while (json_next(&it, &item)) TRY(time_one(c, item, &out->t[out->n++]));
  return OK;
}

/* ---- events ---- */
static int event_values(struct table_compile *c, struct json j, struct table_event *ev) {
  struct json scale = json_get(j, "scale"), values = json_get(j, "values");
  ev->scale = 1;
  if (json_kind(scale) != JSON_NONE && (!json_f64(scale, &ev->scale) || !isfinite(ev->scale)))
    return table_bad(c, "scale", "expected a number");
  struct json floor = json_get(j, "floor");
  if (json_kind(floor) != JSON_NONE && !json_bool(floor, &ev->floor)) return table_bad(c, "floor", "expected true or false");
  if (json_kind(values) == JSON_NONE) return OK;
  size_t n = json_count(values);
  if (json_kind(values) != JSON_OBJECT || n > 10000) return table_bad(c, "values", "expected an object: text -> number");
  TRY(table_compile_map(c, &ev->values));
  ev->numbers = arena_array(&c->m->a, double, n + 1);
  if (!ev->numbers) return out_of_memory(c);
  struct json_iter it = json_members(values);
  struct str key;
  struct json value;
  while (json_next_member(&it, &key, &value)) {
    bool is_new;
    uint64_t *slot = map_put(&ev->values, key, &is_new);
    if (!slot) return out_of_memory(c);
    if (!json_f64(value, &ev->numbers[ev->numbers_n])) return table_bad(c, "values", "expected numbers");
    *slot = (uint64_t)ev->numbers_n++;
  }
  return OK;
}

static int event_wide(struct table_compile *c, struct json j, struct table_event *ev) {
  struct json columns = json_get(j, "columns"), except = json_get(j, "except");
  if (json_kind(columns) == JSON_NONE) return OK;
  struct str *names;
  int n = 0;
  ev->wide = true;
  if (json_kind(columns) == JSON_STRING && str_eqc(json_str(columns), "*")) {
    ev->wide_all = true;
    if (json_kind(except) == JSON_NONE) return OK;
    columns = except;
  }
  TRY(table_compile_list(c, columns, "columns", &names, &n));
  ev->wide_column = arena_array(&c->m->a, int, (size_t)n + 1);
  ev->wide_name = arena_array(&c->m->a, struct str, (size_t)n + 1);
  if (!ev->wide_column || !ev->wide_name) return out_of_memory(c);
  for (; ev->wide_n < n; ev->wide_n++) {
    TRY(table_compile_column(c, names[ev->wide_n], &ev->wide_column[ev->wide_n]));
    ev->wide_name[ev->wide_n] = names[ev->wide_n];
  }
  return OK;
}

static int event_kind(struct table_compile *c, struct json j, struct table_event *ev) {
  static const char *const kinds[] = {"event", "birth", "death", "identifier", NULL};
  static const char *const identifiers[] = {"name", "geography",   "date",    "phone",   "fax",       "email",  "ssn",
                                            "mrn",  "health_plan", "account", "licence", "vehicle",   "device", "url",
                                            "ip",   "biometric",   "photo",   "other",   "free_text", NULL};
  struct str s;
  int k = 0;
  if (json_kind(json_get(j, "kind")) != JSON_NONE) {
    TRY(table_compile_text(c, json_get(j, "kind"), "kind", &s));
    TRY(word_of(c, s, kinds, "kind", &k));
  }
  ev->kind = (enum record_kind)k;
  if (ev->kind != RECORD_IDENTIFIER) return OK;
  TRY(table_compile_text(c, json_get(j, "identifier"), "identifier", &s));
  TRY(word_of(c, s, identifiers, "identifier", &k));
  ev->identifier = (enum identifier_kind)k;
  return OK;
}

static int event_require(struct table_compile *c, struct json j, struct table_event *ev) {
  static const char *const parts[] = {"value", "time", "code", "text", NULL};
  struct str *list;
  int n, k;
  if (ev->kind != RECORD_EVENT) ev->require = REQUIRE_TIME;
  if (json_kind(j) == JSON_NONE) return OK;
  TRY(table_compile_list(c, j, "require", &list, &n));
  for (int i = 0; i < n; i++) {
    TRY(word_of(c, list[i], parts, "require", &k));
    ev->require |= 1u << k;
  }
  return OK;
}

static int event_templates(struct table_compile *c, struct json j, struct table_event *ev) {
  struct {
    const char *key;
    struct table_template *to;
  } plain[] = {{"value", &ev->value}, {"text", &ev->text}, {"postcode", &ev->postcode}, {"country", &ev->country}, {"ns", &ev->ns}};
  struct {
    const char *key;
    struct table_choice *to;
    enum table_purpose purpose;
  } choice[] = {{"code", &ev->code, PURPOSE_CODE}, {"unit", &ev->unit, PURPOSE_UNIT}, {"display", &ev->display, PURPOSE_DISPLAY}};
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
    struct json v = json_get(j, plain[i].key);
    if (json_kind(v) != JSON_NONE) TRY(table_compile_template(c, v, plain[i].key, PURPOSE_DATA, plain[i].to));
  }
  for (int i = 0; i < 3; i++) {
    struct json v = json_get(j, choice[i].key);
    if (json_kind(v) != JSON_NONE) TRY(table_compile_choice(c, v, choice[i].key, choice[i].purpose, choice[i].to));
  }
  if (ev->kind != RECORD_IDENTIFIER && ev->ns.n) return table_bad(c, "ns", "only an identifier has a name space");
  if (ev->kind == RECORD_EVENT && ev->code.n == 0) return table_bad(c, "code", "an event needs a code");
  return OK;
}

/* {:cell} in a code stands under the rule of the column that it comes from. */
static int wide_cells_have_rules(struct table_compile *c, const struct table_event *ev, const struct table_choice *choice) {
  bool used = false;
  for (int i = 0; i < choice->n; i++)
    for (int k = 0; k < choice->t[i].n; k++) used |= choice->t[i].part[k].kind == PART_CELL;
  if (!used) return OK;
  if (!ev->wide || ev->wide_all) return table_bad(c, "columns", "{:cell} in a code or unit needs a list of columns");
  for (int i = 0; i < ev->wide_n; i++) {
    bool found = false;
    for (int k = 0; k < c->t->rule_n; k++) found |= c->t->rule[k]->column == ev->wide_column[i];
    if (!found) return table_bad(c, "columns", "{:cell} in a code or unit: every column of the list needs a rule under \"allow\"");
  }
  return OK;
}

static int event_one(struct table_compile *c, struct json j, struct table_event *ev) {
  static const char *const keys[] = {"kind",   "identifier", "when",  "code", "display", "unit",    "value",  "text", "postcode", "country",
                                     "values", "scale",      "floor", "time", "require", "columns", "except", "note", "ns",       NULL};
  TRY(table_known_keys(c, j, keys));
  TRY(event_kind(c, j, ev));
  TRY(event_wide(c, j, ev));
  TRY(table_compile_when(c, json_get(j, "when"), &ev->when, &ev->when_n));
  TRY(event_templates(c, j, ev));
  TRY(event_values(c, j, ev));
  TRY(event_require(c, json_get(j, "require"), ev));
  TRY(wide_cells_have_rules(c, ev, &ev->code));
  TRY(wide_cells_have_rules(c, ev, &ev->unit));
  struct json time = json_get(j, "time");
  if (json_kind(time) != JSON_NONE) return table_compile_times(c, time, &ev->time);
  if (ev->kind == RECORD_IDENTIFIER) {
    ev->time.is_static = true;
    return OK;
  }
  if (!c->t->time_given) return table_bad(c, "time", "neither the event nor its table has a time (null = static)");
  ev->time = c->t->time;
  return OK;
}

int table_compile_events(struct table_compile *c, struct json j) {
  size_t n = json_count(j);
  if (json_kind(j) != JSON_ARRAY || n == 0 || n > 256) return table_bad(c, "events", "expected a list of 1 to 256 events");
  c->t->event = arena_array(&c->m->a, struct table_event, n);
  if (!c->t->event) return out_of_memory(c);
  struct json_iter it = json_items(j);
  struct json item;
  while (json_next(&it, &item)) TRY(event_one(c, item, &c->t->event[c->t->event_n++]));
  return OK;
}
