/* JSON Schema 2020-12, the part that structured output uses: type, properties, required, additionalProperties, items, enum, const, bounds,
 * lengths, anyOf, oneOf, allOf, $ref into the same document. A keyword that constrains and is not understood is refused, never passed over. */
#include <math.h>
#include <string.h>

#include "serve/serve_chat.h"

enum { DEPTH_MOST = 48 };

struct check {
  struct json root;
  struct error *e;
};

static int misfit(struct check *k, const char *keyword) { return error_set(k->e, E_INPUT, "\"%s\" does not hold", keyword); }

static const char *const understood[] = {"type",
                                         "properties",
                                         "required",
                                         "additionalProperties",
                                         "items",
                                         "enum",
                                         "const",
                                         "minimum",
                                         "maximum",
                                         "minItems",
                                         "maxItems",
                                         "minLength",
                                         "maxLength",
                                         "anyOf",
                                         "oneOf",
                                         "allOf",
                                         "$ref",
                                         "$defs",
                                         "definitions",
                                         "exclusiveMinimum",
                                         "exclusiveMaximum"};
static const char *const describing[] = {"title",    "description", "default",    "examples", "$schema",   "$id",
                                         "$comment", "format",      "deprecated", "readOnly", "writeOnly", "strict"};

static bool among(struct str key, const char *const *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (str_eqc(key, list[i])) return true;
  return false;
}

static bool type_is(struct json v, struct str name) {
  double d;
  switch (json_kind(v)) {
    case JSON_NULL: return str_eqc(name, "null");
    case JSON_BOOL: return str_eqc(name, "boolean");
    case JSON_INT: return str_eqc(name, "integer") || str_eqc(name, "number");
    case JSON_REAL: return str_eqc(name, "number") || (str_eqc(name, "integer") && json_f64(v, &d) && d == floor(d));
    case JSON_STRING: return str_eqc(name, "string");
    case JSON_ARRAY: return str_eqc(name, "array");
    case JSON_OBJECT: return str_eqc(name, "object");
    default: return false;
  }
}

static bool equal(struct json a, struct json b, int depth) {
  double x, y;
  bool p, q;
  struct json item;
  struct str key;
  size_t i = 0;
  if (depth > DEPTH_MOST) return false;
  if (json_f64(a, &x)) return json_f64(b, &y) && x == y;
  if (json_kind(a) != json_kind(b)) return false;
  switch (json_kind(a)) {
    case JSON_BOOL: return json_bool(a, &p) && json_bool(b, &q) && p == q;
    case JSON_STRING: return str_eq(json_str(a), json_str(b));
    case JSON_ARRAY:
      if (json_count(a) != json_count(b)) return false;
      for (struct json_iter it = json_items(a); json_next(&it, &item); i++)
        if (!equal(item, json_at(b, i), depth + 1)) return false;
      return true;
    case JSON_OBJECT:
      if (json_count(a) != json_count(b)) return false;
      for (struct json_iter it = json_members(a); json_next_member(&it, &key, &item);) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", STR_ARG(key));
        if (!equal(item, json_get(b, name), depth + 1)) return false;
      }
      return true;
    default: return true;
  }
}

static struct json member(struct json object, struct str key) {
  struct str k;
  struct json v;
  for (struct json_iter it = json_members(object); json_next_member(&it, &k, &v);)
    if (str_eq(k, key)) return v;
  return (struct json){0};
}

/* "#", "#/$defs/name/…" */
static int resolve_ref(struct check *k, struct str ref, struct json *out) {
  *out = k->root;
  if (str_eqc(ref, "#")) return OK;
  if (!str_starts(ref, STR("#/"))) return error_set(k->e, E_USAGE, "\"$ref\" outside the schema itself is not supported");
  ref = (struct str){ref.p + 2, ref.n - 2};
  while (ref.n) *out = member(*out, str_cut(&ref, '/'));
  return json_kind(*out) == JSON_OBJECT ? OK : error_set(k->e, E_USAGE, "\"$ref\" leads nowhere");
}

static int check(struct check *k, struct json s, struct json v, int depth);

static int check_keywords(struct check *k, struct json s) {
  struct str key;
  struct json v;
  for (struct json_iter it = json_members(s); json_next_member(&it, &key, &v);)
    if (!among(key, understood, sizeof understood / sizeof *understood) && !among(key, describing, sizeof describing / sizeof *describing))
      return error_set(k->e, E_USAGE, "the schema has a keyword that is not supported");
  return OK;
}

static int check_type(struct check *k, struct json s, struct json v) {
  struct json type = json_get(s, "type"), item, one = json_get(s, "const"), list = json_get(s, "enum");
  bool fits = json_kind(type) == JSON_NONE || type_is(v, json_str(type));
  for (struct json_iter it = json_items(type); !fits && json_next(&it, &item);) fits = type_is(v, json_str(item));
  if (!fits) return misfit(k, "type");
  if (json_kind(one) != JSON_NONE && !equal(one, v, 0)) return misfit(k, "const");
  if (json_kind(list) == JSON_NONE) return OK;
  for (struct json_iter it = json_items(list); json_next(&it, &item);)
    if (equal(item, v, 0)) return OK;
  return misfit(k, "enum");
}

static size_t letters(struct str s) {
  size_t n = 0;
  for (size_t i = 0; i < s.n; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
  return n;
}

static int check_bounds(struct check *k, struct json s, struct json v) {
  double x, b;
  bool list = json_kind(v) == JSON_ARRAY, text = json_kind(v) == JSON_STRING;
  if (json_f64(v, &x)) {
    if (json_f64(json_get(s, "minimum"), &b) && x < b) return misfit(k, "minimum");
    if (json_f64(json_get(s, "maximum"), &b) && x > b) return misfit(k, "maximum");
    if (json_f64(json_get(s, "exclusiveMinimum"), &b) && x <= b) return misfit(k, "exclusiveMinimum");
    if (json_f64(json_get(s, "exclusiveMaximum"), &b) && x >= b) return misfit(k, "exclusiveMaximum");
  }
  if (!list && !text) return OK;
  double n = (double)(list ? json_count(v) : letters(json_str(v)));
  if (json_f64(json_get(s, list ? "minItems" : "minLength"), &b) && n < b) return misfit(k, list ? "minItems" : "minLength");
  if (json_f64(json_get(s, list ? "maxItems" : "maxLength"), &b) && n > b) return misfit(k, list ? "maxItems" : "maxLength");
  return OK;
}

static int check_object(struct check *k, struct json s, struct json v, int depth) {
  struct json properties = json_get(s, "properties"), more = json_get(s, "additionalProperties"), item;
  struct str key;
  bool open = true;
  for (struct json_iter it = json_items(json_get(s, "required")); json_next(&it, &item);)
    if (json_kind(member(v, json_str(item))) == JSON_NONE) return misfit(k, "required");
  if (json_kind(more) == JSON_BOOL) (void)json_bool(more, &open);
  for (struct json_iter it = json_members(v); json_next_member(&it, &key, &item);) {
    struct json own = member(properties, key);
    if (json_kind(own) != JSON_NONE)
      TRY(check(k, own, item, depth + 1));
    else if (!open)
      return misfit(k, "additionalProperties");
    else if (json_kind(more) == JSON_OBJECT)
      TRY(check(k, more, item, depth + 1));
  }
  return OK;
}

static int check_choices(struct check *k, struct json s, struct json v, int depth) {
  static const char *const names[3] = {"anyOf", "oneOf", "allOf"};
  for (int i = 0; i < 3; i++) {
    struct json list = json_get(s, names[i]), item;
    size_t good = 0, n = json_count(list);
    if (json_kind(list) == JSON_NONE) continue;
    for (struct json_iter it = json_items(list); json_next(&it, &item);) {
      int rc = check(k, item, v, depth + 1);
      if (rc == E_USAGE) return rc;
      good += rc == OK;
    }
    if ((i == 0 && good == 0) || (i == 1 && good != 1) || (i == 2 && good != n)) return misfit(k, names[i]);
    if (k->e) k->e->code = OK;
  }
  return OK;
}

static int check(struct check *k, struct json s, struct json v, int depth) {
  struct json ref = json_get(s, "$ref"), items = json_get(s, "items"), item;
  bool any;
  if (depth > DEPTH_MOST) return error_set(k->e, E_USAGE, "the schema is nested too deep");
  if (json_bool(s, &any)) return any ? OK : misfit(k, "false");
  if (json_kind(s) != JSON_OBJECT) return error_set(k->e, E_USAGE, "a schema is an object");
  TRY(check_keywords(k, s));
  if (json_kind(ref) != JSON_NONE) {
    struct json to;
    TRY(resolve_ref(k, json_str(ref), &to));
    TRY(check(k, to, v, depth + 1));
  }
  TRY(check_type(k, s, v));
  TRY(check_bounds(k, s, v));
  if (json_kind(v) == JSON_OBJECT) TRY(check_object(k, s, v, depth));
  if (json_kind(v) == JSON_ARRAY && json_kind(items) != JSON_NONE)
    for (struct json_iter it = json_items(v); json_next(&it, &item);) TRY(check(k, items, item, depth + 1));
  return check_choices(k, s, v, depth);
}

int schema_check(struct json schema, struct json value, struct error *e) {
  struct check k = {schema, e};
  return check(&k, schema, value, 0);
}

/* ---- projection ---- */

static int project(struct check *k, struct json s, struct json v, int depth, struct json_out *o) {
  struct json ref = json_get(s, "$ref"), properties = json_get(s, "properties"), items = json_get(s, "items"), item, own;
  struct str key;
  bool open = true;
  if (depth > DEPTH_MOST) return error_set(k->e, E_USAGE, "the schema is nested too deep");
  if (json_kind(ref) != JSON_NONE) {
    struct json to;
    TRY(resolve_ref(k, json_str(ref), &to));
    return project(k, to, v, depth + 1, o);
  }
  if (json_kind(v) == JSON_ARRAY && json_kind(items) == JSON_OBJECT) {
    json_out_array(o);
    for (struct json_iter it = json_items(v); json_next(&it, &item);) TRY(project(k, items, item, depth + 1, o));
    json_out_end(o);
    return OK;
  }
  if (json_kind(v) != JSON_OBJECT || json_kind(properties) != JSON_OBJECT) return json_out_copy(o, v, k->e);
  (void)json_bool(json_get(s, "additionalProperties"), &open);
  json_out_object(o);
  for (struct json_iter it = json_members(properties); json_next_member(&it, &key, &own);) {
    item = member(v, key);
    if (json_kind(item) == JSON_NONE) continue;
    json_out_key_str(o, key);
    TRY(project(k, own, item, depth + 1, o));
  }
  for (struct json_iter it = json_members(v); open && json_next_member(&it, &key, &item);) {
    if (json_kind(member(properties, key)) != JSON_NONE) continue;
    json_out_key_str(o, key);
    TRY(json_out_copy(o, item, k->e));
  }
  json_out_end(o);
  return OK;
}

int schema_project(struct json schema, struct json value, struct json_out *o, struct error *e) {
  struct check k = {schema, e};
  return project(&k, schema, value, 0, o);
}
