#include "deid/fhir_tree.h"

int fhir_doc_init(struct fhir_doc *d, const struct fhir_types *types, struct error *e) {
  size_t n = fhir_types_count(types);
  *d = (struct fhir_doc){.types = types};
  json_tree_init(&d->json);
  d->head = mem_alloc(n * sizeof *d->head);
  d->tail = mem_alloc(n * sizeof *d->tail);
  d->touched = mem_alloc(n * sizeof *d->touched);
  if (!d->head || !d->tail || !d->touched) {
    fhir_doc_release(d);
    return error_set(e, E_NOMEM, "no memory for a document");
  }
  memset(d->head, 0, n * sizeof *d->head);
  d->element_type = fhir_type_id(types, STR("Element"));
  d->resource_type = fhir_type_id(types, STR("Resource"));
  d->extension_type = fhir_type_id(types, STR("Extension"));
  d->string_type = fhir_type_id(types, STR("string"));
  return OK;
}

void fhir_doc_release(struct fhir_doc *d) {
  json_tree_release(&d->json);
  mem_free(d->root);
  mem_free(d->head);
  mem_free(d->tail);
  mem_free(d->touched);
  *d = (struct fhir_doc){0};
}

static void add_root(struct fhir_doc *d, uint32_t i) {
  if (d->root_n == d->root_cap) {
    uint32_t cap = d->root_cap ? d->root_cap * 2 : 64;
    uint32_t *root = mem_realloc(d->root, cap * sizeof *root);
    if (!root) {
      d->failed = true;
      return;
    }
    d->root = root;
    d->root_cap = cap;
  }
  d->root[d->root_n++] = i;
}

/* The type that the object says it is; 0 if it is no resource. */
static uint16_t resource_type(struct fhir_doc *d, uint32_t i) {
  uint32_t name = json_tree_get(&d->json, i, STR("resourceType"));
  if (!name || d->json.at[name].kind != JSON_STRING || d->json.at[name].flags & JSON_TREE_ESCAPES) return 0;
  uint16_t type = fhir_type_id(d->types, (struct str){d->json.at[name].raw, d->json.at[name].raw_n});
  if (fhir_type_of(d->types, type)->kind != FHIR_RESOURCE || type == d->resource_type) return 0;
  d->json.at[name].flags |= JSON_TREE_KEEP | JSON_TREE_DONE;
  return type;
}

static void chain(struct fhir_doc *d, uint32_t i, uint16_t type) {
  if (!type) return;
  d->json.at[i].same = 0;
  if (d->head[type]) {
    d->json.at[d->tail[type]].same = i;
  } else {
    d->head[type] = i;
    d->touched[d->touched_n++] = type;
  }
  d->tail[type] = i;
}

static void type_members(struct fhir_doc *d, uint32_t self, uint16_t type, bool fresh);

static void type_value(struct fhir_doc *d, uint32_t i, uint16_t el, uint16_t type, bool fresh) {
  struct json_node *n = &d->json.at[i];
  n->el = el;
  if (type == d->resource_type) {
    if (n->kind != JSON_OBJECT) return;
    n->type = resource_type(d, i);
    if (n->type) {
      add_root(d, i);
    } else {
      d->unknown++;
      n->flags |= JSON_TREE_GONE;
    }
    return;
  }
  n->type = type;
  if (!fresh) chain(d, i, type);
  if (n->kind == JSON_OBJECT)
    type_members(d, i,
                 n->flags & JSON_TREE_TWIN                              ? d->element_type
                 : fhir_type_of(d->types, type)->kind == FHIR_PRIMITIVE ? 0
                                                                        : type,
                 fresh);
}

static void type_member(struct fhir_doc *d, uint32_t i, uint16_t el, bool fresh) {
  const struct fhir_el *is = fhir_types_el(d->types, el);
  struct json_node *n = &d->json.at[i];
  n->el = el;
  if (n->kind == JSON_ARRAY) {
    n->type = 0;
    uint8_t twin = n->flags & JSON_TREE_TWIN;
    for (uint32_t k = n->child; k; k = d->json.at[k].next) {
      if (d->json.at[k].kind == JSON_OBJECT) d->json.at[k].flags |= twin;
      if (d->json.at[k].kind == JSON_ARRAY) d->json.at[k].flags |= JSON_TREE_GONE; /* FHIR has no lists of lists */
      type_value(d, k, el, is->type, fresh);
    }
    return;
  }
  if (is->list && n->kind == JSON_OBJECT && !(n->flags & JSON_TREE_TWIN)) n->flags |= JSON_TREE_WRAP;
  type_value(d, i, el, is->type, fresh);
}

static void pair(struct fhir_doc *d, uint32_t value, uint32_t twin) {
  struct json_node *at = d->json.at;
  at[twin].twin = value;
  if (at[twin].kind == JSON_ARRAY && at[value].kind == JSON_ARRAY) {
    at[value].twin = twin;
    for (uint32_t a = at[value].child, b = at[twin].child; a && b; a = at[a].next, b = at[b].next)
      if (at[b].kind == JSON_OBJECT && at[a].kind != JSON_OBJECT && at[a].kind != JSON_ARRAY) at[a].twin = b, at[b].twin = a;
  } else if (at[twin].kind == JSON_OBJECT && at[value].kind != JSON_OBJECT && at[value].kind != JSON_ARRAY) {
    at[value].twin = twin;
  } else {
    at[twin].flags |= JSON_TREE_GONE; /* a list beside a single value, or the other way round */
  }
}

static void type_members(struct fhir_doc *d, uint32_t self, uint16_t type, bool fresh) {
  for (uint32_t i = d->json.at[self].child; i; i = d->json.at[i].next) {
    struct json_node *n = &d->json.at[i];
    struct str key = {n->key, n->key_n};
    if (n->flags & JSON_TREE_KEEP) continue;
    uint16_t el = 0;
    if (key.n > 1 && *key.p == '_' && type) {
      struct str name = {key.p + 1, key.n - 1};
      el = fhir_types_find(d->types, type, name);
      if (el && fhir_type_of(d->types, fhir_types_el(d->types, el)->type)->kind == FHIR_PRIMITIVE) {
        n->flags |= JSON_TREE_TWIN;
        if (n->kind != JSON_OBJECT && n->kind != JSON_ARRAY) n->flags |= JSON_TREE_GONE;
        uint32_t value = json_tree_get(&d->json, self, name);
        if (value) pair(d, value, i);
      } else {
        el = 0;
      }
    } else if (type) {
      el = fhir_types_find(d->types, type, key);
    }
    type_member(d, i, el, fresh);
  }
}

void fhir_doc_type_new(struct fhir_doc *d, uint32_t i, uint16_t el, uint16_t type) { type_value(d, i, el, type, true); }

int fhir_doc_parse(struct fhir_doc *d, struct str text, struct error *e) {
  d->root_n = 0;
  d->unknown = 0;
  d->failed = false;
  TRY(json_tree_parse(&d->json, text, e));
  uint16_t type = d->json.at[1].kind == JSON_OBJECT ? resource_type(d, 1) : 0;
  if (!type) return error_set(e, E_INPUT, "no resource of a known type");
  d->json.at[1].type = type;
  add_root(d, 1);
  return d->failed ? error_set(e, E_NOMEM, "no memory for a document") : OK;
}

int fhir_doc_type(struct fhir_doc *d, uint32_t root, struct error *e) {
  for (uint16_t k = 0; k < d->touched_n; k++) d->head[d->touched[k]] = 0;
  d->touched_n = 0;
  uint32_t i = d->root[root];
  chain(d, i, d->json.at[i].type);
  type_members(d, i, d->json.at[i].type, false);
  return d->failed ? error_set(e, E_NOMEM, "no memory for a document") : OK;
}

struct fhir_iter fhir_children(const struct fhir_doc *d, uint32_t i) {
  const struct json_node *n = &d->json.at[i];
  if (n->kind == JSON_OBJECT) return (struct fhir_iter){&d->json, n->child, 0};
  if (n->twin && n->kind != JSON_ARRAY) return (struct fhir_iter){&d->json, d->json.at[n->twin].child, 0};
  return (struct fhir_iter){&d->json, 0, 0};
}

uint32_t fhir_next(struct fhir_iter *it) {
  const struct json_node *at = it->t->at;
  for (;;) {
    if (it->item) {
      uint32_t i = it->item;
      it->item = at[i].next;
      if (at[i].flags & JSON_TREE_GONE || (at[i].kind == JSON_NULL && !at[i].twin)) continue;
      if (at[i].flags & JSON_TREE_TWIN && at[i].twin) continue;
      return i;
    }
    uint32_t m = it->member;
    if (!m) return 0;
    it->member = at[m].next;
    if (at[m].flags & (JSON_TREE_GONE | JSON_TREE_KEEP)) continue;
    if (at[m].kind == JSON_ARRAY) {
      it->item = at[m].child; /* of a twin list: only what has no value of its own */
      continue;
    }
    if (at[m].flags & JSON_TREE_TWIN && at[m].twin) continue;
    if (at[m].kind == JSON_NULL && !at[m].twin) continue;
    return m;
  }
}

uint32_t fhir_parent(const struct fhir_doc *d, uint32_t i) {
  const struct json_node *at = d->json.at;
  uint32_t p = at[i].parent;
  if (p && at[p].kind == JSON_ARRAY) p = at[p].parent;
  if (p && at[p].flags & JSON_TREE_TWIN && at[p].twin && at[at[p].twin].kind != JSON_ARRAY) p = at[p].twin;
  return p;
}
