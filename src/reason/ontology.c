#include "reason/ontology.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/map.h"

#define TERMS_MOST 1000000
#define ANCESTORS_MOST 20000000 /* of all terms together */

struct edge {
  int child, parent;
};
struct ontology {
  struct arena arena;
  struct map at; /* id, also an old one -> term number + 1 */
  struct str *id, *name;
  bool *obsolete;
  int terms, cap;
  struct edge *edge; /* until sealed */
  int edges, edge_cap;
  int *parent, *parent_start; /* (terms + 1) starts */
  int *ancestor, *ancestor_start;
};

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for an ontology"); }

int ontology_new(struct ontology **out, struct error *e) {
  struct ontology *o = mem_alloc(sizeof *o);
  if (!o) return no_memory(e);
  *o = (struct ontology){0};
  arena_init(&o->arena, 512 << 20, 0);
  map_init(&o->at, 0);
  *out = o;
  return OK;
}
void ontology_free(struct ontology *o) {
  if (!o) return;
  map_release(&o->at);
  arena_free(&o->arena);
  mem_free(o->id);
  mem_free(o->name);
  mem_free(o->obsolete);
  mem_free(o->edge);
  mem_free(o->parent);
  mem_free(o->parent_start);
  mem_free(o->ancestor);
  mem_free(o->ancestor_start);
  mem_free(o);
}
int ontology_terms(const struct ontology *o) { return o->terms; }
struct str ontology_id(const struct ontology *o, int t) {
  return o->id[t];
}
struct str ontology_name(const struct ontology *o, int t) {
  return o->name[t];
}
bool ontology_obsolete(const struct ontology *o, int t) { return o->obsolete[t]; }
int ontology_find(const struct ontology *o, struct str id) {
  uint64_t v;
  return map_get(&o->at, id, &v) && v ? (int)v - 1 : -1;
}

int ontology_add(struct ontology *o, struct str id, struct error *e) {
  bool is_new;
  if (id.n == 0 || id.n > 64) return error_set(e, E_INPUT, "a term's id has 1 to 64 bytes");
  uint64_t *v = map_put(&o->at, id, &is_new);
  if (!v) return no_memory(e);
  if (*v) return (int)*v - 1;
  if (o->terms == TERMS_MOST) return error_set(e, E_LIMIT, "too many terms");
  if (o->terms == o->cap) {
    int cap = o->cap ? 2 * o->cap : 1024;
    struct str *a = mem_realloc(o->id, (size_t)cap * sizeof *a);
    if (a) o->id = a;
    struct str *b = a ? mem_realloc(o->name, (size_t)cap * sizeof *b) : NULL;
    if (b) o->name = b;
    bool *c = b ? mem_realloc(o->obsolete, (size_t)cap * sizeof *c) : NULL;
    if (!c) return no_memory(e);
    o->obsolete = c;
    o->cap = cap;
  }
  o->id[o->terms] = str_copy(&o->arena, id);
  if (!o->id[o->terms].p) return no_memory(e);
  o->name[o->terms] = STR_NONE;
  o->obsolete[o->terms] = false;
  *v = (uint64_t)++o->terms;
  return o->terms - 1;
}

static int add_edge(struct ontology *o, int child, int parent, struct error *e) {
  if (o->edges == o->edge_cap) {
    int cap = o->edge_cap ? 2 * o->edge_cap : 4096;
    struct edge *more = mem_realloc(o->edge, (size_t)cap * sizeof *more);
    if (!more) return no_memory(e);
    o->edge = more;
    o->edge_cap = cap;
  }
  o->edge[o->edges++] = (struct edge){child, parent};
  return OK;
}
/* An old id of `term`: only if the id is no term of its own */
static int add_alias(struct ontology *o, struct str id, int term, struct error *e) {
  bool is_new;
  if (id.n == 0 || id.n > 64) return OK;
  uint64_t *v = map_put(&o->at, id, &is_new);
  if (!v) return no_memory(e);
  if (*v == 0) *v = (uint64_t)term + 1;
  return OK;
}
static bool tag(struct str line, const char *name, struct str *value) {
  size_t n = strlen(name);
  if (line.n <= n || memcmp(line.p, name, n) != 0) return false;
  *value = str_trim((struct str){line.p + n, line.n - n});
  return true;
}
/* "HP:0000001 ! All" or "HP:0000001 {source=…}" */
static struct str first_word(struct str s) {
  size_t n = 0;
  while (n < s.n && s.p[n] != ' ' && s.p[n] != '\t' && s.p[n] != '{') n++;
  return (struct str){s.p, n};
}

static int parse_lines(struct ontology *o, struct str text, struct error *e) {
  int term = -1;
  bool in_term = false;
  struct str v, replaced_id = STR_NONE;
  for (int64_t row = 1; text.n; row++) {
    struct str line = str_cut(&text, '\n');
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    if (line.n && line.p[0] == '[') {
      in_term = str_eqc(line, "[Term]");
      term = -1;
      replaced_id = STR_NONE;
      continue;
    }
    if (!in_term) continue;
    int rc = OK;
    if (tag(line, "id:", &v)) {
      replaced_id = first_word(v);
      term = rc = ontology_add(o, replaced_id, e);
      if (rc >= 0 && !str_eq(o->id[term], replaced_id)) term = -1; /* an old id of a term: that one keeps its own name */
    } else if (term < 0) {
      continue;
    } else if (tag(line, "name:", &v)) {
      o->name[term] = str_copy(&o->arena, v);
      if (!o->name[term].p && v.n) rc = no_memory(e);
    } else if (tag(line, "is_a:", &v)) {
      int parent = rc = ontology_add(o, first_word(v), e);
      if (rc >= 0) rc = add_edge(o, term, parent, e);
    } else if (tag(line, "is_obsolete:", &v)) {
      o->obsolete[term] = str_eqc(first_word(v), "true");
    } else if (tag(line, "alt_id:", &v)) {
      rc = add_alias(o, first_word(v), term, e);
    } else if (tag(line, "replaced_by:", &v)) { /* the obsolete id then means the new term */
      int now = rc = ontology_add(o, first_word(v), e);
      bool is_new;
      uint64_t *at = rc >= 0 ? map_put(&o->at, replaced_id, &is_new) : NULL;
      if (rc >= 0 && !at) rc = no_memory(e);
      if (at) *at = (uint64_t)now + 1;
    }
    if (rc < 0) return error_where(e, NULL, row, NULL), rc;
  }
  return OK;
}

static int sort_ints(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return (x > y) - (x < y);
}

static int seal_parents(struct ontology *o, struct error *e) {
  o->parent_start = mem_alloc(((size_t)o->terms + 2) * sizeof(int));
  o->parent = mem_alloc(((size_t)o->edges + 1) * sizeof(int));
  if (!o->parent_start || !o->parent) return no_memory(e);
  memset(o->parent_start, 0, ((size_t)o->terms + 2) * sizeof(int));
  for (int i = 0; i < o->edges; i++) o->parent_start[o->edge[i].child + 1]++;
  for (int t = 0; t < o->terms; t++) o->parent_start[t + 1] += o->parent_start[t];
  int *fill = mem_alloc(((size_t)o->terms + 1) * sizeof(int));
  if (!fill) return no_memory(e);
  memcpy(fill, o->parent_start, ((size_t)o->terms + 1) * sizeof(int));
  for (int i = 0; i < o->edges; i++) o->parent[fill[o->edge[i].child]++] = o->edge[i].parent;
  mem_free(fill);
  return OK;
}

/* Everything broader, by a walk from each term; `mark` holds the last term that saw another. */
static int seal_ancestors(struct ontology *o, struct error *e) {
  size_t cap = 1 << 16, n = 0;
  int *mark = mem_alloc(((size_t)o->terms + 1) * sizeof(int)), rc = OK;
  o->ancestor_start = mem_alloc(((size_t)o->terms + 1) * sizeof(int));
  o->ancestor = mem_alloc(cap * sizeof(int));
  if (!mark || !o->ancestor_start || !o->ancestor) rc = no_memory(e);
  for (int t = 0; rc == OK && t < o->terms; t++) mark[t] = -1;
  for (int t = 0; rc == OK && t < o->terms; t++) {
    size_t first = n;
    o->ancestor_start[t] = (int)n;
    if (n + (size_t)o->terms + 1 > cap) {
      while (n + (size_t)o->terms + 1 > cap) cap *= 2;
      int *more = mem_realloc(o->ancestor, cap * sizeof(int));
      if (!more) {
        rc = no_memory(e);
        break;
      }
      o->ancestor = more;
    }
    o->ancestor[n++] = t;
    mark[t] = t;
    for (size_t i = first; i < n && rc == OK; i++)
      for (int k = o->parent_start[o->ancestor[i]]; k < o->parent_start[o->ancestor[i] + 1]; k++) {
        int p = o->parent[k];
        if (p == t) rc = error_set(e, E_INPUT, "a term is broader than itself");
        if (rc < 0 || mark[p] == t) continue;
        mark[p] = t;
        o->ancestor[n++] = p;
      }
    if (rc == OK && n > ANCESTORS_MOST) rc = error_set(e, E_LIMIT, "the ontology is too deep");
    qsort(o->ancestor + first, n - first, sizeof(int), sort_ints);
  }
  if (rc == OK) o->ancestor_start[o->terms] = (int)n;
  mem_free(mark);
  return rc;
}

int ontology_seal(struct ontology *o, struct error *e) {
  BUG_IF(o->parent_start != NULL);
  TRY(seal_parents(o, e));
  return seal_ancestors(o, e);
}

int ontology_parse(const char *bytes, size_t n, struct ontology **out, struct error *e) {
  struct ontology *o;
  TRY(ontology_new(&o, e));
  int rc = parse_lines(o, (struct str){bytes, n}, e);
  if (rc == OK && o->terms == 0) rc = error_set(e, E_INPUT, "no [Term] in this file");
  if (rc < 0) {
    ontology_free(o);
    return rc;
  }
  *out = o;
  return OK;
}
int ontology_load(const char *path, struct ontology **out, struct error *e) {
  struct file_map m;
  TRY(file_map_open(path, &m, e));
  int rc = ontology_parse((const char *)m.p, m.n, out, e);
  if (rc < 0) error_where(e, path, 0, NULL);
  file_map_close(&m);
  return rc;
}
int ontology_parents(const struct ontology *o, int t, const int **out) {
  *out = o->parent + o->parent_start[t];
  return o->parent_start[t + 1] - o->parent_start[t];
}
int ontology_ancestors(const struct ontology *o, int t, const int **out) {
  *out = o->ancestor + o->ancestor_start[t];
  return o->ancestor_start[t + 1] - o->ancestor_start[t];
}
