/* Reading policy/fhir-types-*.json. Every length and reference in it is checked: the file may be a site's own. */
#include "record/fhir_types.h"

#include "base/json.h"
#include "base/map.h"

enum { MEMBER_SLOTS = 1 << 15, TYPES_LIMIT = 2000, ELEMENTS_LIMIT = 14000, FILE_LIMIT = 16 << 20, INHERIT_LIMIT = 8 };

struct member {
  uint16_t type, el;
};
struct fhir_types {
  struct arena a;
  struct intern types, names;
  struct fhir_type *type;
  struct fhir_el *el;
  struct str *codes;
  uint16_t el_n, code_n;
  uint32_t member_n;
  struct member member[MEMBER_SLOTS];
};

static const char *const primitives[] = {"boolean",      "integer",  "string",      "decimal",     "uri",  "url",  "canonical",
                                         "base64Binary", "instant",  "date",        "dateTime",    "time", "code", "oid",
                                         "id",           "markdown", "unsignedInt", "positiveInt", "uuid", "xhtml"};

static inline uint32_t member_hash(uint16_t type, struct str s) {
  uint64_t head = 0, tail = 0;
  if (s.n >= 8) {
    memcpy(&head, s.p, 8);
    memcpy(&tail, s.p + s.n - 8, 8);
  } else if (s.n >= 4) {
    uint32_t a, b;
    memcpy(&a, s.p, 4);
    memcpy(&b, s.p + s.n - 4, 4);
    head = a;
    tail = b;
  } else {
    for (size_t i = 0; i < s.n; i++) head = head << 8 | (uint8_t)s.p[i];
  }
  uint64_t h = (head ^ tail * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)type << 40 ^ s.n) * UINT64_C(0xD6E8FEB86659FD93);
  return (uint32_t)(h >> 44) & (MEMBER_SLOTS - 1);
}

uint16_t fhir_types_find(const struct fhir_types *t, uint16_t type, struct str member) {
  for (uint32_t at = member_hash(type, member); t->member[at].el; at = (at + 1) & (MEMBER_SLOTS - 1)) {
    const struct member *m = &t->member[at];
    if (m->type == type && str_eq(t->el[m->el].name, member)) return m->el;
  }
  return 0;
}

static int put_member(struct fhir_types *t, uint16_t type, uint16_t el, struct error *e) {
  if (fhir_types_find(t, type, t->el[el].name)) return OK; /* a type's own member goes before an inherited one */
  if (++t->member_n > MEMBER_SLOTS / 2) return error_set(e, E_LIMIT, "too many members");
  uint32_t at = member_hash(type, t->el[el].name);
  while (t->member[at].el) at = (at + 1) & (MEMBER_SLOTS - 1);
  t->member[at] = (struct member){type, el};
  return OK;
}

static int type_put(struct fhir_types *t, struct str name, uint16_t *out, struct error *e) {
  uint32_t id;
  TRY(intern_put(&t->types, name, &id, e));
  if (id >= TYPES_LIMIT) return error_set(e, E_LIMIT, "too many types");
  t->type[id].name = intern_str(&t->types, id);
  *out = (uint16_t)id;
  return OK;
}

static int put_codes(struct fhir_types *t, struct fhir_el *el, struct str codes, struct error *e) {
  el->code_at = t->code_n;
  while (codes.p) {
    struct str c = str_cut(&codes, '|');
    if (t->code_n == UINT16_MAX || !c.n) return error_set(e, E_LIMIT, "too many codes, or an empty one");
    t->codes[t->code_n] = str_copy(&t->a, c);
    if (!t->codes[t->code_n++].p) return error_set(e, E_NOMEM, "no memory for codes");
  }
  el->code_n = (uint16_t)(t->code_n - el->code_at);
  return OK;
}

/* TYPE[*][!][^base][=a|b|c] */
static int parse_el(struct fhir_types *t, struct str name, struct str spec, uint16_t *out, struct error *e) {
  if (t->el_n == ELEMENTS_LIMIT) return error_set(e, E_LIMIT, "too many elements");
  struct fhir_el *el = &t->el[t->el_n];
  size_t n = 0;
  while (n < spec.n && spec.p[n] != '*' && spec.p[n] != '!' && spec.p[n] != '^' && spec.p[n] != '=') n++;
  if (!n || !name.n) return error_set(e, E_INPUT, "an element without a type or a name");
  TRY(type_put(t, (struct str){spec.p, n}, &el->type, e));
  el->name = str_copy(&t->a, name);
  if (!el->name.p) return error_set(e, E_NOMEM, "no memory for element names");
  struct str base = name;
  while (n < spec.n) {
    char c = spec.p[n++];
    if (c == '*') el->list = true;
    if (c == '!') el->required = true;
    if (c == '^') {
      size_t from = n;
      while (n < spec.n && spec.p[n] != '=') n++;
      base = (struct str){spec.p + from, n - from};
      el->choice = true;
    }
    if (c == '=') {
      TRY(put_codes(t, el, (struct str){spec.p + n, spec.n - n}, e));
      break;
    }
  }
  uint32_t id;
  TRY(intern_put(&t->names, base, &id, e));
  if (id > UINT16_MAX) return error_set(e, E_LIMIT, "too many names");
  el->base = (uint16_t)id;
  *out = t->el_n++;
  return OK;
}

static int own_members(struct fhir_types *t, uint16_t type, struct json members, struct error *e) {
  struct str name, spec;
  struct json v;
  for (struct json_iter it = json_members(members); json_next_member(&it, &name, &v);) {
    spec = json_str(v);
    uint16_t el = 0;
    if (!name.n) continue; /* the parent */
    if (!spec.p) return error_set(e, E_INPUT, "expected texts");
    TRY(parse_el(t, name, spec, &el, e));
    TRY(put_member(t, type, el, e));
  }
  return OK;
}

/* The parents' members, and what kind of type it is. */
static int inherit(struct fhir_types *t, const struct json *of, uint16_t type, struct error *e) {
  struct str parent = json_str(json_get(of[type], ""));
  struct fhir_type *to = &t->type[type];
  if (str_eqc(to->name, "Resource")) to->kind = FHIR_RESOURCE;
  for (int depth = 0; parent.n; depth++) {
    if (depth == INHERIT_LIMIT) return error_set(e, E_INPUT, "a type that inherits from itself");
    if (str_eqc(parent, "Resource")) to->kind = FHIR_RESOURCE;
    if (str_eqc(parent, "BackboneElement") && depth == 0) to->kind = FHIR_BACKBONE;
    struct json v;
    struct str member;
    uint32_t id;
    if (!intern_find(&t->types, parent, &id) || !of[id].doc) return error_set(e, E_INPUT, "an unknown parent type");
    struct json members = of[id];
    for (struct json_iter it = json_members(members); json_next_member(&it, &member, &v);)
      if (member.n) TRY(put_member(t, type, fhir_types_find(t, (uint16_t)id, member), e));
    parent = json_str(json_get(members, ""));
  }
  return OK;
}

static int build(struct fhir_types *t, struct arena *a, struct json root, struct error *e) {
  struct json *of = arena_array(a, struct json, TYPES_LIMIT);
  struct json all = json_get(root, "types"), members;
  struct str name;
  uint16_t id;
  uint32_t none;
  if (!of) return error_set(e, E_NOMEM, "no memory for the types");
  if (json_kind(all) != JSON_OBJECT) return error_set(e, E_INPUT, "expected an object of types");
  TRY(intern_put(&t->types, STR("?"), &none, e));
  TRY(intern_put(&t->names, STR("?"), &none, e));
  t->el_n = 1;
  for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++) {
    struct str s = str_c(primitives[i]);
    TRY(type_put(t, s, &id, e));
    t->type[id].kind = FHIR_PRIMITIVE;
    t->type[id].boolean = i == 0;
    t->type[id].number = str_eqc(s, "integer") || str_eqc(s, "decimal") || str_eqc(s, "unsignedInt") || str_eqc(s, "positiveInt");
  }
  for (struct json_iter it = json_members(all); json_next_member(&it, &name, &members);) {
    TRY(type_put(t, name, &id, e));
    if (json_kind(members) != JSON_OBJECT || t->type[id].kind == FHIR_PRIMITIVE) return error_set(e, E_INPUT, "a type that is none");
    of[id] = members;
    t->type[id].el_from = t->el_n;
    TRY(own_members(t, id, members, e));
    t->type[id].el_to = t->el_n;
  }
  for (uint16_t i = 1; i < t->types.count; i++)
    if (of[i].doc) TRY(inherit(t, of, i, e));
  return OK;
}

int fhir_types_load(const char *path, struct fhir_types **out, struct error *e) {
  struct arena file;
  struct json root;
  *out = NULL;
  struct fhir_types *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "no memory for the types");
  memset(t, 0, sizeof *t);
  arena_init(&t->a, 0, 0);
  arena_init(&file, FILE_LIMIT, 0);
  intern_init(&t->types, 0);
  intern_init(&t->names, 0);
  t->type = arena_array(&t->a, struct fhir_type, TYPES_LIMIT);
  t->el = arena_array(&t->a, struct fhir_el, ELEMENTS_LIMIT);
  t->codes = arena_array(&t->a, struct str, UINT16_MAX);
  int rc = t->type && t->el && t->codes ? OK : error_set(e, E_NOMEM, "no memory for the types");
  if (rc == OK) rc = json_load(&file, path, &root, e);
  if (rc == OK) {
    rc = build(t, &file, root, e);
    if (rc < 0) error_where(e, path, 0, NULL);
  }
  arena_free(&file);
  if (rc < 0)
    fhir_types_free(t);
  else
    *out = t;
  return rc;
}

void fhir_types_free(struct fhir_types *t) {
  if (!t) return;
  intern_release(&t->types);
  intern_release(&t->names);
  arena_free(&t->a);
  mem_free(t);
}

uint16_t fhir_type_id(const struct fhir_types *t, struct str name) {
  uint32_t id;
  return intern_find(&t->types, name, &id) ? (uint16_t)id : 0;
}
const struct fhir_type *fhir_type_of(const struct fhir_types *t, uint16_t type) { return &t->type[type]; }
uint16_t fhir_types_count(const struct fhir_types *t) { return (uint16_t)t->types.count; }
const struct fhir_el *fhir_types_el(const struct fhir_types *t, uint16_t el) { return &t->el[el]; }
uint16_t fhir_types_name(const struct fhir_types *t, struct str name) {
  uint32_t id;
  return intern_find(&t->names, name, &id) ? (uint16_t)id : 0;
}
struct str fhir_types_name_str(const struct fhir_types *t, uint16_t name) {
  return intern_str(&t->names, name);
}

bool fhir_types_code(const struct fhir_types *t, const struct fhir_el *el, struct str code) {
  for (uint16_t i = 0; i < el->code_n; i++)
    if (str_eq(t->codes[el->code_at + i], code)) return true;
  return false;
}
