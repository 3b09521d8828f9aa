/* Evaluation: every expression gives a list of items. Logic has three values; an empty list is the third. */
#include "deid/fhirpath.h"

#include <math.h>

typedef struct fhirpath_run run_t;
typedef struct fhirpath_items items_t;
typedef struct fhirpath_item item_t;

static int eval(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, items_t *out, struct error *e);

static int push(run_t *r, items_t *to, item_t item, struct error *e) {
  if (!r->budget) return error_set(e, E_LIMIT, "FHIRPath: a rule that takes too long");
  r->budget--;
  if (to->n == to->cap) {
    uint32_t cap = to->cap ? to->cap * 2 : 8;
    item_t *at = arena_array(r->arena, item_t, cap);
    if (!at) return error_set(e, E_NOMEM, "no memory for a rule's results");
    if (to->n) memcpy(at, to->at, to->n * sizeof *at);
    to->at = at;
    to->cap = cap;
  }
  to->at[to->n++] = item;
  return OK;
}

static item_t node_item(uint32_t i) { return (item_t){.kind = FP_NODE, .node = i}; }
static int push_node(run_t *r, items_t *to, uint32_t i, struct error *e) { return push(r, to, node_item(i), e); }
static int push_bool(run_t *r, items_t *to, bool yes, struct error *e) { return push(r, to, (item_t){.kind = FP_BOOL, .yes = yes}, e); }

/* A primitive element as its value; other items as they are. False: a node without a value. */
static bool value_of(run_t *r, const item_t *from, item_t *to) {
  *to = *from;
  if (from->kind != FP_NODE) return true;
  struct json_tree *t = &r->doc->json;
  const struct json_node *n = &t->at[from->node];
  switch (n->kind) {
    case JSON_BOOL: *to = (item_t){.kind = FP_BOOL, .yes = *n->raw == 't'}; return true;
    case JSON_INT:
    case JSON_REAL: *to = (item_t){.kind = FP_NUMBER, .text = {n->raw, n->raw_n}}; return str_to_f64(to->text, &to->number) == OK;
    case JSON_STRING: *to = (item_t){.kind = FP_STRING, .text = json_tree_str(t, from->node)}; return to->text.p != NULL;
    default: return false;
  }
}

static bool to_date(item_t *v) {
  struct time_parts parts;
  if (v->kind == FP_DATE) return true;
  if (v->kind != FP_STRING || time_parse(v->text, &parts, &v->date.us, NULL) < 0) return false;
  v->date.precision = parts.precision;
  v->date.has_offset = parts.has_offset;
  if (parts.has_offset) v->date.us -= parts.offset_minutes * TIME_MINUTE;
  v->kind = FP_DATE;
  return true;
}

static int64_t cut(int64_t us, enum time_precision p) {
  if (p >= TIME_PRECISION_SECOND) return us;
  int64_t days = time_day(us);
  int y, m, d;
  if (p == TIME_PRECISION_DAY) return days;
  time_to_civil(days, &y, &m, &d);
  return p == TIME_PRECISION_YEAR ? y : y * 12 + m - 1;
}

/* -1 0 1; 2 = cannot be told at this precision. Years are compared first, then months … (FHIRPath, section 6.2). */
static int compare_dates(const struct fhirpath_date *a, const struct fhirpath_date *b) {
  enum time_precision least = a->precision < b->precision ? a->precision : b->precision;
  for (enum time_precision p = TIME_PRECISION_YEAR; p <= least; p++) {
    int64_t x = cut(a->us, p), y = cut(b->us, p);
    if (x != y) return x < y ? -1 : 1;
  }
  bool same = a->precision == b->precision || least >= TIME_PRECISION_SECOND;
  return same ? 0 : 2;
}

/* -1 0 1, 2 empty, < -1 an error. A text and a number cannot be compared. */
static int compare(run_t *r, const item_t *left, const item_t *right, struct error *e) {
  item_t a, b;
  if (!value_of(r, left, &a) || !value_of(r, right, &b)) return 2;
  if (a.kind == FP_DATE || b.kind == FP_DATE) {
    if (!to_date(&a) || !to_date(&b)) return error_set(e, E_INPUT, "FHIRPath: a value that is no date compared with a date");
    return compare_dates(&a.date, &b.date);
  }
  if (a.kind != b.kind) return error_set(e, E_INPUT, "FHIRPath: values of different types compared");
  if (a.kind == FP_NUMBER) return a.number < b.number ? -1 : a.number > b.number;
  if (a.kind == FP_BOOL) return (int)a.yes - (int)b.yes;
  int c = str_cmp(a.text, b.text);
  return c < 0 ? -1 : c > 0;
}

/* 0 1, 2 empty. Equality of different types is false, not an error. */
static int equal(run_t *r, const item_t *left, const item_t *right) {
  item_t a, b;
  if (left->kind == FP_NODE && right->kind == FP_NODE && left->node == right->node) return 1;
  if (!value_of(r, left, &a) || !value_of(r, right, &b)) return 0;
  if (a.kind == FP_DATE || b.kind == FP_DATE) {
    if (!to_date(&a) || !to_date(&b)) return 0;
    int c = compare_dates(&a.date, &b.date);
    return c == 2 ? 2 : c == 0;
  }
  if (a.kind != b.kind) return 0;
  return compare(r, &a, &b, NULL) == 0;
}

/* 1 true, 0 false, 2 empty; one item that is no boolean counts as true (singleton evaluation). */
static int truth(run_t *r, const items_t *v, struct error *e) {
  if (v->n == 0) return 2;
  if (v->n > 1) return error_set(e, E_INPUT, "FHIRPath: a list where a truth value is wanted");
  item_t x;
  if (value_of(r, &v->at[0], &x) && x.kind == FP_BOOL) return x.yes;
  return 1;
}

static int bool_of(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, struct error *e) {
  items_t v = {0};
  TRY(eval(r, p, focus, self, &v, e));
  return truth(r, &v, e);
}

static bool uppercase(struct str s) { return s.n && *s.p >= 'A' && *s.p <= 'Z'; }

static bool is_type(const struct fhir_doc *d, uint32_t i, const struct fhirpath *p) {
  uint16_t type = d->json.at[i].type;
  if (type && type == p->type) return true;
  const struct fhir_type *t = fhir_type_of(d->types, type);
  if (t->kind == FHIR_RESOURCE) return str_eqc(p->text, "Resource") || (str_eqc(p->text, "DomainResource") && type);
  if (t->kind == FHIR_BACKBONE) return str_eqc(p->text, "BackboneElement");
  return false;
}

static bool named(const struct fhir_doc *d, uint32_t i, const struct fhirpath *p) {
  const struct json_node *n = &d->json.at[i];
  if (n->el) return p->name && fhir_types_el(d->types, n->el)->base == p->name;
  const struct json_node *k = n->key ? n : &d->json.at[n->parent];
  return k->key_n == p->text.n && k->key && memcmp(k->key, p->text.p, p->text.n) == 0;
}

static int step(run_t *r, const struct fhirpath *p, const items_t *focus, items_t *out, struct error *e) {
  for (uint32_t k = 0; k < focus->n; k++) {
    if (focus->at[k].kind != FP_NODE) continue;
    uint32_t i = focus->at[k].node, c;
    if (uppercase(p->text)) {
      if (fhir_is_resource(r->doc, i) && is_type(r->doc, i, p)) TRY(push_node(r, out, i, e));
      continue;
    }
    struct fhir_iter it = fhir_children(r->doc, i);
    while ((c = fhir_next(&it)))
      if (named(r->doc, c, p)) TRY(push_node(r, out, c, e));
  }
  return OK;
}

enum walk { WALK_ALL, WALK_TYPE, WALK_NAME };
static int walk(run_t *r, uint32_t i, enum walk how, const struct fhirpath *p, bool across, items_t *out, struct error *e) {
  uint32_t c;
  struct fhir_iter it = fhir_children(r->doc, i);
  while ((c = fhir_next(&it))) {
    if (!across && fhir_is_resource(r->doc, c)) continue;
    bool take = how == WALK_ALL || (how == WALK_TYPE ? is_type(r->doc, c, p) : named(r->doc, c, p));
    if (take) TRY(push_node(r, out, c, e));
    if (!r->budget) return error_set(e, E_LIMIT, "FHIRPath: a rule that takes too long");
    r->budget--;
    TRY(walk(r, c, how, p, across, out, e));
  }
  return OK;
}

static int by_type(run_t *r, const struct fhirpath *p, const items_t *focus, items_t *out, struct error *e) {
  for (uint32_t k = 0; k < focus->n; k++) {
    if (focus->at[k].kind != FP_NODE) continue;
    uint32_t i = focus->at[k].node;
    if (i == r->root && p->type && !str_eqc(p->text, "BackboneElement") && fhir_type_of(r->doc->types, p->type)->kind != FHIR_RESOURCE) {
      for (uint32_t n = r->doc->head[p->type]; n; n = r->doc->json.at[n].same) {
        const struct json_node *x = &r->doc->json.at[n];
        if (x->flags & JSON_TREE_GONE || (x->flags & JSON_TREE_TWIN && x->twin)) continue;
        if (x->kind == JSON_NULL && !x->twin) continue;
        TRY(push_node(r, out, n, e));
      }
      continue;
    }
    if (is_type(r->doc, i, p)) TRY(push_node(r, out, i, e));
    TRY(walk(r, i, WALK_TYPE, p, false, out, e));
  }
  return OK;
}

static int by_walk(run_t *r, const struct fhirpath *p, const items_t *focus, items_t *out, struct error *e) {
  for (uint32_t k = 0; k < focus->n; k++) {
    if (focus->at[k].kind != FP_NODE) continue;
    uint32_t i = focus->at[k].node, c;
    if (p->fn == F_BY_NAME) {
      TRY(walk(r, i, WALK_NAME, p, false, out, e));
    } else if (p->fn == F_DESCENDANTS) {
      TRY(walk(r, i, WALK_ALL, p, true, out, e));
    } else {
      struct fhir_iter it = fhir_children(r->doc, i);
      while ((c = fhir_next(&it))) TRY(push_node(r, out, c, e));
    }
  }
  return OK;
}

static int extension(run_t *r, const struct fhirpath *p, const items_t *focus, items_t *out, struct error *e) {
  for (uint32_t k = 0; k < focus->n; k++) {
    if (focus->at[k].kind != FP_NODE) continue;
    uint32_t c;
    struct fhir_iter it = fhir_children(r->doc, focus->at[k].node);
    while ((c = fhir_next(&it))) {
      if (r->doc->json.at[c].type != r->doc->extension_type || r->doc->json.at[c].kind != JSON_OBJECT) continue;
      uint32_t url = json_tree_get(&r->doc->json, c, STR("url"));
      if (url && r->doc->json.at[url].kind == JSON_STRING && str_eq(json_tree_str(&r->doc->json, url), p->text))
        TRY(push_node(r, out, c, e));
    }
  }
  return OK;
}

/* where, exists(…), all, select: the argument is evaluated for each item. */
static int each(run_t *r, const struct fhirpath *p, const items_t *focus, items_t *out, struct error *e) {
  bool any = false, every = true;
  for (uint32_t k = 0; k < focus->n; k++) {
    items_t one = {&focus->at[k], 1, 1};
    if (p->fn == F_SELECT) {
      TRY(eval(r, p->left, &one, &focus->at[k], out, e));
      continue;
    }
    int yes = bool_of(r, p->left, &one, &focus->at[k], e);
    if (yes < 0) return yes;
    any |= yes == 1;
    every &= yes == 1;
    if (p->fn == F_WHERE && yes == 1) TRY(push(r, out, focus->at[k], e));
  }
  if (p->fn == F_EXISTS) return push_bool(r, out, any, e);
  if (p->fn == F_ALL) return push_bool(r, out, every, e);
  return OK;
}

static int text_of(run_t *r, const items_t *v, struct str *out, struct error *e) {
  item_t x;
  *out = STR_NONE;
  if (v->n == 0) return OK;
  if (v->n > 1) return error_set(e, E_INPUT, "FHIRPath: a list where one text is wanted");
  if (!value_of(r, &v->at[0], &x)) return OK;
  if (x.kind == FP_BOOL) x.text = x.yes ? STR("true") : STR("false");
  *out = x.text;
  return OK;
}

static int number_of(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, double *out, struct error *e) {
  items_t v = {0};
  item_t x;
  TRY(eval(r, p, focus, self, &v, e));
  if (v.n != 1 || !value_of(r, &v.at[0], &x) || x.kind != FP_NUMBER) return error_set(e, E_INPUT, "FHIRPath: expected a number");
  *out = x.number;
  return OK;
}

static size_t character(struct str s, size_t at) {
  size_t n = at < s.n ? str_utf8_next((struct str){s.p + at, s.n - at}) : 0;
  return n ? n : 1;
}

static int substring(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, struct str s, items_t *out,
                     struct error *e) {
  double from, most = INFINITY;
  TRY(number_of(r, p->left, focus, self, &from, e));
  if (p->right) TRY(number_of(r, p->right, focus, self, &most, e));
  size_t at = 0, to;
  if (from < 0) return OK;
  for (double k = 0; k < from && at < s.n; k++) at += character(s, at);
  if (at >= s.n) return OK;
  to = at;
  for (double k = 0; k < most && to < s.n; k++) to += character(s, to);
  return push(r, out, (item_t){.kind = FP_STRING, .text = {s.p + at, to - at}}, e);
}

static bool holds(struct str s, struct str part) { return part.n == 0 || (s.n >= part.n && memmem(s.p, s.n, part.p, part.n) != NULL); }

static int change_case(run_t *r, bool upper, struct str s, items_t *out, struct error *e) {
  char *to = arena_alloc(r->arena, s.n + 1, 1);
  if (!to) return error_set(e, E_NOMEM, "no memory for a text");
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i];
    bool change = upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z';
    to[i] = change ? (char)(c ^ 32) : c;
  }
  return push(r, out, (item_t){.kind = FP_STRING, .text = {to, s.n}}, e);
}

static int text_function(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, items_t *out, struct error *e) {
  struct str s, arg = STR_NONE;
  TRY(text_of(r, focus, &s, e));
  if (!s.p) return OK;
  if (p->fn == F_SUBSTRING) return substring(r, p, focus, self, s, out, e);
  if (p->fn == F_UPPER || p->fn == F_LOWER) return change_case(r, p->fn == F_UPPER, s, out, e);
  if (p->fn == F_TO_STRING) return push(r, out, (item_t){.kind = FP_STRING, .text = s}, e);
  if (p->fn == F_LENGTH) {
    double n = 0;
    for (size_t at = 0; at < s.n; n++) at += character(s, at);
    return push(r, out, (item_t){.kind = FP_NUMBER, .number = n}, e);
  }
  items_t v = {0};
  TRY(eval(r, p->left, focus, self, &v, e));
  TRY(text_of(r, &v, &arg, e));
  if (!arg.p) return OK;
  bool yes = p->fn == F_STARTS ? str_starts(s, arg) : p->fn == F_ENDS ? str_ends(s, arg) : holds(s, arg);
  return push_bool(r, out, yes, e);
}

static bool item_is(run_t *r, const item_t *x, const struct fhirpath *p) {
  if (x->kind == FP_NODE) return is_type(r->doc, x->node, p);
  static const char *const names[] = {"", "string", "decimal", "boolean", "dateTime"};
  return str_eqc(p->text, names[x->kind]);
}

static int call(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, items_t *out, struct error *e) {
  int yes;
  switch (p->fn) {
    case F_BY_TYPE: return by_type(r, p, focus, out, e);
    case F_BY_NAME:
    case F_CHILDREN:
    case F_DESCENDANTS: return by_walk(r, p, focus, out, e);
    case F_EXISTS:
      if (!p->left) return push_bool(r, out, focus->n > 0, e);
      return each(r, p, focus, out, e);
    case F_WHERE:
    case F_ALL:
    case F_SELECT: return each(r, p, focus, out, e);
    case F_EMPTY: return push_bool(r, out, focus->n == 0, e);
    case F_NOT: yes = truth(r, focus, e); return yes < 0 ? yes : yes == 2 ? OK : push_bool(r, out, !yes, e);
    case F_HAS_VALUE:
      yes = focus->n == 1 && (focus->at[0].kind != FP_NODE || fhir_is_primitive(r->doc, focus->at[0].node));
      return push_bool(r, out, yes, e);
    case F_COUNT: return push(r, out, (item_t){.kind = FP_NUMBER, .number = focus->n}, e);
    case F_FIRST: return focus->n ? push(r, out, focus->at[0], e) : OK;
    case F_LAST: return focus->n ? push(r, out, focus->at[focus->n - 1], e) : OK;
    case F_TAIL:
      for (uint32_t k = 1; k < focus->n; k++) TRY(push(r, out, focus->at[k], e));
      return OK;
    case F_OF_TYPE:
    case F_AS:
      for (uint32_t k = 0; k < focus->n; k++)
        if (item_is(r, &focus->at[k], p)) TRY(push(r, out, focus->at[k], e));
      return OK;
    case F_IS: return focus->n == 1 ? push_bool(r, out, item_is(r, &focus->at[0], p), e) : OK;
    case F_EXTENSION: return extension(r, p, focus, out, e);
    default: return text_function(r, p, focus, self, out, e);
  }
}

/* and, or, xor, implies over true, false, empty */
static int logic(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, items_t *out, struct error *e) {
  int a = bool_of(r, p->left, focus, self, e);
  if (a < 0) return a;
  if (p->op == P_AND && a == 0) return push_bool(r, out, false, e);
  if (p->op == P_OR && a == 1) return push_bool(r, out, true, e);
  if (p->op == P_IMPLIES && a == 0) return push_bool(r, out, true, e);
  int b = bool_of(r, p->right, focus, self, e), v = 2;
  if (b < 0) return b;
  switch (p->op) {
    case P_AND: v = b == 0 ? 0 : a == 1 && b == 1 ? 1 : 2; break;
    case P_OR: v = b == 1 ? 1 : a == 0 && b == 0 ? 0 : 2; break;
    case P_XOR: v = a == 2 || b == 2 ? 2 : a != b; break;
    default: v = b == 1 ? 1 : a == 1 && b != 2 ? 0 : 2; break;
  }
  return v == 2 ? OK : push_bool(r, out, v, e);
}

static int arithmetic(run_t *r, const struct fhirpath *p, const items_t *a, const items_t *b, items_t *out, struct error *e) {
  item_t x, y;
  struct str s, t;
  bool numbers =
      a->n == 1 && b->n == 1 && value_of(r, &a->at[0], &x) && value_of(r, &b->at[0], &y) && x.kind == FP_NUMBER && y.kind == FP_NUMBER;
  if (numbers && p->op != P_CAT) {
    double v = p->op == P_ADD ? x.number + y.number : p->op == P_SUB ? x.number - y.number : p->op == P_MUL ? x.number * y.number : NAN;
    if (p->op == P_DIV && y.number != 0) v = x.number / y.number;
    return isfinite(v) ? push(r, out, (item_t){.kind = FP_NUMBER, .number = v}, e) : OK;
  }
  if (p->op != P_ADD && p->op != P_CAT) {
    if (!a->n || !b->n) return OK;
    return error_set(e, E_INPUT, "FHIRPath: arithmetic on what is no number");
  }
  TRY(text_of(r, a, &s, e));
  TRY(text_of(r, b, &t, e));
  if (p->op == P_ADD && (!s.p || !t.p)) return OK;
  char *to = arena_alloc(r->arena, s.n + t.n + 1, 1);
  if (!to) return error_set(e, E_NOMEM, "no memory for a text");
  if (s.n) memcpy(to, s.p, s.n);
  if (t.n) memcpy(to + s.n, t.p, t.n);
  return push(r, out, (item_t){.kind = FP_STRING, .text = {to, s.n + t.n}}, e);
}

static int membership(run_t *r, const items_t *one, const items_t *list, items_t *out, struct error *e) {
  if (one->n == 0) return OK;
  if (one->n > 1) return error_set(e, E_INPUT, "FHIRPath: a list where one value is wanted");
  bool found = false;
  for (uint32_t k = 0; k < list->n && !found; k++) found = equal(r, &one->at[0], &list->at[k]) == 1;
  return push_bool(r, out, found, e);
}

static int both_sides(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, items_t *out, struct error *e) {
  items_t a = {0}, b = {0};
  TRY(eval(r, p->left, focus, self, &a, e));
  TRY(eval(r, p->right, focus, self, &b, e));
  switch (p->op) {
    case P_IN: return membership(r, &a, &b, out, e);
    case P_CONTAINS: return membership(r, &b, &a, out, e);
    case P_UNION:
      for (uint32_t k = 0; k < a.n; k++) TRY(push(r, out, a.at[k], e));
      for (uint32_t k = 0; k < b.n; k++) TRY(push(r, out, b.at[k], e));
      return OK;
    case P_EQ:
    case P_NE: {
      if (!a.n || !b.n) return OK;
      int same = a.n == b.n;
      for (uint32_t k = 0; k < a.n && same == 1; k++) same = equal(r, &a.at[k], &b.at[k]);
      return same == 2 ? OK : push_bool(r, out, (p->op == P_EQ) == (same == 1), e);
    }
    case P_LT:
    case P_LE:
    case P_GT:
    case P_GE: {
      if (!a.n || !b.n) return OK;
      if (a.n > 1 || b.n > 1) return error_set(e, E_INPUT, "FHIRPath: a list where one value is wanted");
      int c = compare(r, &a.at[0], &b.at[0], e);
      if (c < -1) return c;
      if (c == 2) return OK;
      return push_bool(r, out, p->op == P_LT ? c < 0 : p->op == P_LE ? c <= 0 : p->op == P_GT ? c > 0 : c >= 0, e);
    }
    default: return arithmetic(r, p, &a, &b, out, e);
  }
}

static int typed(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, items_t *out, struct error *e) {
  items_t v = {0};
  TRY(eval(r, p->left, focus, self, &v, e));
  if (p->op == P_IS) return v.n == 1 ? push_bool(r, out, item_is(r, &v.at[0], p), e) : OK;
  for (uint32_t k = 0; k < v.n; k++)
    if (item_is(r, &v.at[k], p)) TRY(push(r, out, v.at[k], e));
  return OK;
}

static int eval(run_t *r, const struct fhirpath *p, const items_t *focus, const item_t *self, items_t *out, struct error *e) {
  items_t v = {0};
  double x;
  switch (p->op) {
    case P_THIS: return push(r, out, *self, e);
    case P_NAME: return step(r, p, focus, out, e);
    case P_CALL: return call(r, p, focus, self, out, e);
    case P_STRING: return push(r, out, (item_t){.kind = FP_STRING, .text = p->text}, e);
    case P_NUMBER: return push(r, out, (item_t){.kind = FP_NUMBER, .number = p->number, .text = p->text}, e);
    case P_BOOL: return push_bool(r, out, p->number != 0, e);
    case P_DATE: return push(r, out, (item_t){.kind = FP_DATE, .text = p->text, .date = p->date}, e);
    case P_EMPTY: return OK;
    case P_DOT: TRY(eval(r, p->left, focus, self, &v, e)); return eval(r, p->right, &v, self, out, e);
    case P_INDEX:
      TRY(eval(r, p->left, focus, self, &v, e));
      TRY(number_of(r, p->right, focus, self, &x, e));
      return x >= 0 && x < v.n ? push(r, out, v.at[(uint32_t)x], e) : OK;
    case P_OR:
    case P_XOR:
    case P_AND:
    case P_IMPLIES: return logic(r, p, focus, self, out, e);
    case P_IS:
    case P_AS: return typed(r, p, focus, self, out, e);
    case P_NEG: TRY(number_of(r, p->left, focus, self, &x, e)); return push(r, out, (item_t){.kind = FP_NUMBER, .number = -x}, e);
    default: return both_sides(r, p, focus, self, out, e);
  }
}

int fhirpath_eval(struct fhirpath_run *r, const struct fhirpath *p, uint32_t context, struct fhirpath_items *out, struct error *e) {
  item_t self = node_item(context);
  items_t focus = {&self, 1, 1};
  *out = (items_t){0};
  return eval(r, p, &focus, &self, out, e);
}

int fhirpath_bool(struct fhirpath_run *r, const struct fhirpath *p, uint32_t context, struct error *e) {
  item_t self = node_item(context);
  items_t focus = {&self, 1, 1};
  return bool_of(r, p, &focus, &self, e);
}

bool fhirpath_may_match(const struct fhirpath *p, const struct fhir_doc *d, uint32_t root) {
  const struct fhirpath *second = NULL;
  while (p->op == P_DOT || p->op == P_INDEX || p->op == P_AS) {
    if (p->op == P_DOT) second = p->right;
    p = p->left;
  }
  if (p->op == P_NAME && uppercase(p->text)) {
    if (!is_type(d, root, p)) return false;
    p = second;
  }
  if (!p || p->op != P_CALL || p->fn != F_BY_TYPE || !p->type || fhir_type_of(d->types, p->type)->kind == FHIR_RESOURCE) return true;
  return d->head[p->type] != 0 || str_eqc(p->text, "BackboneElement");
}
