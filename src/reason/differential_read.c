/* Reads annotations, cases and genes, and counts what is typical of whom. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json_lines.h"
#include "reason/differential_private.h"

#define UNSTATED_SHARE 0.6F /* an annotation without a frequency */
#define UNSTATED_WEIGHT 3.0F
#define STATED_WEIGHT 10.0F

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for a differential"); }
static void *grow(void *p, int n, int *cap, size_t size) {
  if (n < *cap) return p;
  int more = *cap ? 2 * *cap : 64;
  void *q = mem_realloc(p, (size_t)more * size);
  if (q) *cap = more;
  return q;
}

static int disease_of(struct differential *d, struct str id, struct str name, int *out, struct error *e) {
  uint32_t at;
  TRY(intern_put(&d->ids, id, &at, e));
  if ((int)at == d->diseases) {
    struct disease *more = grow(d->disease, d->diseases, &d->disease_cap, sizeof *more);
    if (!more) return no_memory(e);
    d->disease = more;
    d->disease[d->diseases++] = (struct disease){.id = str_copy(&d->arena, id)};
  }
  struct disease *x = &d->disease[at];
  if (!x->name.n && name.n) x->name = str_copy(&d->arena, name);
  if (!x->id.p) return no_memory(e);
  *out = (int)at;
  return OK;
}

/* "3/5", "45%", HP:0040281: counts as far as they are known */
static void frequency(struct str s, struct annotation *a) {
  static const struct {
    const char *id;
    float share;
  } classes[] = {{"HP:0040280", 1.0F},  {"HP:0040281", 0.9F},   {"HP:0040282", 0.55F},
                 {"HP:0040283", 0.17F}, {"HP:0040284", 0.025F}, {"HP:0040285", 0.0F}};
  double x, y;
  a->share = UNSTATED_SHARE;
  a->weight = UNSTATED_WEIGHT;
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
    if (str_eqc(s, classes[i].id)) a->share = classes[i].share, a->weight = STATED_WEIGHT;
  if (s.n && s.p[s.n - 1] == '%' && str_to_f64((struct str){s.p, s.n - 1}, &x) == OK && x >= 0 && x <= 100) {
    a->share = (float)x / 100;
    a->weight = STATED_WEIGHT;
  }
  struct str den = s, num = str_cut(&den, '/');
  if (den.p && str_to_f64(num, &x) == OK && str_to_f64(den, &y) == OK && y > 0 && x >= 0 && x <= y) {
    a->share = (float)(x / y);
    a->patients = (float)y;
    a->weight = (float)y;
  }
}

/* "PMID:1;PMID:2": a row that several publications stand behind */
static int references_of(struct differential *d, struct str list, struct annotation *a, struct error *e) {
  a->reference = d->cites;
  do {
    uint32_t id;
    struct str one = str_cut(&list, ';');
    int *more = grow(d->cited, d->cites, &d->cited_cap, sizeof *more);
    if (!more) return no_memory(e);
    d->cited = more;
    TRY(intern_put(&d->references, one, &id, e));
    d->cited[d->cites++] = (int)id;
    a->cited++;
  } while (list.p);
  return OK;
}

/* Rows of Orphanet wait for differential_link */
static int read_orphanet(struct differential *d, struct str id, struct str name, int term, struct str often, struct str qualifier,
                         struct error *e) {
  uint32_t at;
  if (str_eqc(qualifier, "NOT")) return OK;
  TRY(intern_put(&d->entry_ids, id, &at, e));
  if ((int)at == d->entries) {
    struct orphanet *more = grow(d->orphanet, d->entries, &d->entry_cap, sizeof *more);
    if (!more) return no_memory(e);
    d->orphanet = more;
    d->orphanet[d->entries++] = (struct orphanet){.name = str_copy(&d->arena, name)};
  }
  struct orphanet *x = &d->orphanet[at];
  struct annotation *more = grow(x->row, x->rows, &x->cap, sizeof *more);
  if (!more) return no_memory(e);
  x->row = more;
  x->row[x->rows] = (struct annotation){.term = term, .aspect = 'P'};
  frequency(often, &x->row[x->rows++]);
  return OK;
}
static int read_annotation(struct differential *d, struct str line, struct error *e) {
  enum { DISEASE, NAME, QUALIFIER, TERM, REFERENCE, EVIDENCE, ONSET, FREQUENCY, SEX, MODIFIER, ASPECT, COLUMNS };
  struct str v[COLUMNS] = {{0}};
  for (int i = 0; i < COLUMNS; i++) v[i] = line.p ? str_cut(&line, '\t') : STR_NONE;
  if (!v[ASPECT].p) return error_set(e, E_INPUT, "expected at least %d columns", COLUMNS);
  bool orphanet = str_starts(v[DISEASE], STR("ORPHA:"));
  if (v[ASPECT].n != 1 || !strchr(orphanet ? "P" : "PIC", v[ASPECT].p[0]) || (!orphanet && !str_starts(v[DISEASE], STR("OMIM:"))))
    return OK;
  int term = ontology_find(d->o, v[TERM]), at;
  if (term < 0) return OK; /* a term that this release of the ontology has not */
  if (orphanet) return read_orphanet(d, v[DISEASE], v[NAME], term, v[FREQUENCY], v[QUALIFIER], e);
  TRY(disease_of(d, v[DISEASE], v[NAME], &at, e));
  struct disease *x = &d->disease[at];
  struct annotation *more = grow(x->annotation, x->annotations, &x->annotation_cap, sizeof *more);
  if (!more) return no_memory(e);
  x->annotation = more;
  struct annotation *a = &x->annotation[x->annotations++];
  *a = (struct annotation){.term = term, .negated = str_eqc(v[QUALIFIER], "NOT"), .aspect = v[ASPECT].p[0]};
  frequency(v[FREQUENCY], a);
  return references_of(d, v[REFERENCE], a, e);
}
static int read_annotations(struct differential *d, const char *path, bool only_terms, struct error *e) {
  struct stream s;
  struct str line;
  int rc;
  TRY(stream_open(&s, path, e));
  while ((rc = stream_line(&s, &line, e)) == OK) {
    if (line.n == 0 || line.p[0] == '#' || str_starts(line, STR("database_id")) || str_starts(line, STR("DatabaseID"))) continue;
    if (only_terms) { /* without an ontology the file's own terms are all there are */
      for (int i = 0; i < 3; i++) str_cut(&line, '\t');
      rc = ontology_add(d->o, str_cut(&line, '\t'), e);
    } else {
      rc = read_annotation(d, line, e);
    }
    if (rc < 0) {
      error_where(e, path, (int64_t)s.line, NULL);
      break;
    }
  }
  stream_close(&s);
  return rc == E_END || rc >= 0 ? OK : rc;
}

static int read_genes(struct differential *d, const char *path, struct error *e) {
  struct stream s;
  struct str line;
  int rc, symbol = -1, disease = -1;
  TRY(stream_open(&s, path, e));
  while ((rc = stream_line(&s, &line, e)) == OK) {
    struct str v[16] = {{0}};
    int n = 0;
    while (line.p && n < 16) v[n++] = str_cut(&line, '\t');
    if (symbol < 0) {
      for (int i = 0; i < n; i++) {
        if (str_eqc(v[i], "symbol") || str_eqc(v[i], "gene_symbol")) symbol = i;
        if (str_eqc(v[i], "disease_id")) disease = i;
      }
      if (symbol < 0 || disease < 0) rc = error_set(e, E_INPUT, "expected columns symbol and disease_id");
    } else if (symbol < n && disease < n) {
      uint32_t gene, at;
      bool orphanet = intern_find(&d->entry_ids, v[disease], &at);
      if (!orphanet && !intern_find(&d->ids, v[disease], &at)) continue;
      rc = intern_put(&d->gene_ids, v[symbol], &gene, e);
      struct edge_list **list = orphanet ? &d->entry_edge : &d->gene_edge;
      int *edges = orphanet ? &d->entry_edges : &d->gene_edges;
      struct edge_list *more = rc == OK ? grow(*list, *edges, orphanet ? &d->entry_edge_cap : &d->gene_edge_cap, sizeof *more) : NULL;
      if (rc == OK && !more) rc = no_memory(e);
      if (rc == OK) {
        *list = more;
        more[(*edges)++] = (struct edge_list){(int)gene, (int)at};
      }
    }
    if (rc < 0) break;
  }
  if (rc < 0 && rc != E_END) error_where(e, path, (int64_t)s.line, NULL);
  stream_close(&s);
  return rc == E_END ? OK : rc;
}

/* ---- a case's JSON ---- */

/* A finding, or a gene, that is named twice (by an old id, two variants) counts once. */
static int with(int *t, int n, int term) {
  for (int i = 0; i < n; i++)
    if (t[i] == term) return n;
  t[n] = term;
  return n + 1;
}

static int terms_of(const struct differential *d, struct json list, struct arena *a, const int **out, int *n, int *unknown,
                    struct error *e) {
  size_t most = json_count(list);
  int *t = arena_array(a, int, most ? most : 1);
  if (!t) return no_memory(e);
  *n = 0;
  struct json_iter it = json_items(list);
  for (struct json v; json_next(&it, &v);) {
    if (!json_str(v).p) return error_set(e, E_INPUT, "expected a term's id");
    int term = ontology_find(d->o, json_str(v));
    if (term < 0)
      ++*unknown;
    else
      *n = with(t, *n, term);
  }
  *out = t;
  return OK;
}
/* ISO 8601, as far as ages need it: P58Y, P2Y6M, P3W, P10D */
static float years(struct str s) {
  static const struct {
    char unit;
    double years;
  } units[] = {{'Y', 1}, {'M', 1 / 12.0}, {'W', 7 / 365.25}, {'D', 1 / 365.25}};
  double sum = 0, x;
  size_t i = 1, from = 1;
  if (s.n < 3 || s.p[0] != 'P') return NAN;
  for (; i < s.n && s.p[i] != 'T'; i++) {
    if ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.') continue;
    double unit = 0;
    for (size_t k = 0; k < sizeof units / sizeof *units; k++)
      if (units[k].unit == s.p[i]) unit = units[k].years;
    if (unit == 0 || str_to_f64((struct str){s.p + from, i - from}, &x) < 0) return NAN;
    sum += x * unit;
    from = i + 1;
  }
  return from == i ? (float)sum : NAN; /* a number without a unit */
}
static void person(struct json sex, struct json age, struct finding_case *c) {
  struct str s = json_str(sex);
  c->sex = str_eq_nocase(s, STR("male")) ? 1 : str_eq_nocase(s, STR("female")) ? 2 : 0;
  c->age = years(json_str(age));
}
/* GA4GH phenopacket, version 2 */
static int packet_terms(const struct differential *d, struct json j, struct arena *a, struct finding_case *c, struct error *e) {
  struct json features = json_get(j, "phenotypicFeatures");
  size_t most = json_count(features);
  int *yes = arena_array(a, int, most ? most : 1), *no = arena_array(a, int, most ? most : 1);
  if (!yes || !no) return no_memory(e);
  struct json_iter it = json_items(features);
  for (struct json v; json_next(&it, &v);) {
    bool excluded = false;
    struct str id = json_str(json_get(json_get(v, "type"), "id"));
    if (!id.p) return error_set(e, E_INPUT, "phenotypicFeatures: expected a type with an id");
    json_bool(json_get(v, "excluded"), &excluded);
    int term = ontology_find(d->o, id);
    if (term < 0)
      c->unknown++;
    else if (excluded)
      c->n_excluded = with(no, c->n_excluded, term);
    else
      c->n_observed = with(yes, c->n_observed, term);
  }
  c->observed = yes;
  c->excluded = no;
  return OK;
}
static int genes_of(struct json list, const char *key, struct arena *a, struct finding_case *c, struct error *e) {
  size_t most = json_count(list);
  struct str *g = arena_array(a, struct str, most ? most : 1);
  if (!g) return no_memory(e);
  struct json_iter it = json_items(list);
  for (struct json v; json_next(&it, &v);) {
    struct str s = json_str(key ? json_get(v, key) : v);
    bool known = false;
    for (int i = 0; i < c->genes; i++) known |= str_eq(g[i], s);
    if (!s.p || known) continue;
    g[c->genes] = str_copy(a, s);
    if (!g[c->genes++].p) return no_memory(e);
  }
  c->gene = g;
  return OK;
}

int finding_case_parse(const struct differential *d, struct json j, struct arena *a, struct finding_case *out, struct error *e) {
  *out = (struct finding_case){.age = NAN};
  if (json_kind(j) != JSON_OBJECT) return error_set(e, E_INPUT, "expected an object with findings");
  if (json_kind(json_get(j, "phenotypicFeatures")) == JSON_ARRAY) {
    struct json subject = json_get(j, "subject");
    TRY(packet_terms(d, j, a, out, e));
    person(json_get(subject, "sex"), json_get(json_get(json_get(subject, "timeAtLastEncounter"), "age"), "iso8601duration"), out);
  } else {
    TRY(terms_of(d, json_get(j, "hpo"), a, &out->observed, &out->n_observed, &out->unknown, e));
    TRY(terms_of(d, json_get(j, "hpo_excluded"), a, &out->excluded, &out->n_excluded, &out->unknown, e));
    person(json_get(j, "sex"), json_get(j, "age"), out);
  }
  TRY(json_kind(json_get(j, "genes")) == JSON_ARRAY ? genes_of(json_get(j, "genes"), NULL, a, out, e)
                                                    : genes_of(json_get(j, "variants"), "gene", a, out, e));
  out->disease = str_copy(a, json_str(json_get(json_get(j, "disease"), "id")));
  out->publication = str_copy(a, json_str(json_get(j, "pmid")));
  out->id = str_copy(a, json_str(json_get(j, "id")));
  return OK;
}

static int read_case(struct differential *d, struct json root, struct error *e) {
  struct known_case *more = grow(d->known, d->cases, &d->case_cap, sizeof *more);
  if (!more) return no_memory(e);
  d->known = more;
  struct known_case *k = &d->known[d->cases];
  uint32_t publication;
  *k = (struct known_case){0};
  TRY(finding_case_parse(d, root, &d->arena, &k->c, e));
  if (!k->c.disease.n || k->c.n_observed == 0) return OK; /* teaches nothing */
  TRY(disease_of(d, k->c.disease, json_str(json_get(json_get(root, "disease"), "label")), &k->disease, e));
  TRY(intern_put(&d->references, k->c.publication.n ? k->c.publication : k->c.id, &publication, e));
  k->publication = (int)publication;
  TRY(differential_closure(d, k->c.observed, k->c.n_observed, &d->arena, &k->closure, e));
  while (k->closure[k->n_closure] >= 0) k->n_closure++;
  struct disease *x = &d->disease[k->disease];
  int *at = grow(x->at, x->n_at, &x->cap_at, sizeof *at);
  if (!at) return no_memory(e);
  x->at = at;
  x->at[x->n_at++] = d->cases++;
  return OK;
}
static int read_cases(struct differential *d, const char *path, struct error *e) {
  struct json_lines l;
  struct json root;
  int rc;
  TRY(json_lines_open(&l, path, e));
  while ((rc = json_lines_next(&l, &root, e)) == OK)
    if ((rc = read_case(d, root, e)) < 0) break;
  return json_lines_close(&l, rc, e);
}

static int compare_ints(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return (x > y) - (x < y);
}
/* ends with -1 */
int differential_closure(const struct differential *d, const int *term, int n, struct arena *a, int **out, struct error *e) {
  size_t most = 1, k = 0;
  for (int i = 0; i < n; i++) {
    const int *up;
    most += (size_t)ontology_ancestors(d->o, term[i], &up);
  }
  int *list = arena_array(a, int, most);
  if (!list) return no_memory(e);
  for (int i = 0; i < n; i++) {
    const int *up;
    int m = ontology_ancestors(d->o, term[i], &up);
    memcpy(list + k, up, (size_t)m * sizeof(int));
    k += (size_t)m;
  }
  qsort(list, k, sizeof(int), compare_ints);
  size_t unique = 0;
  for (size_t i = 0; i < k; i++)
    if (unique == 0 || list[unique - 1] != list[i]) list[unique++] = list[i];
  list[unique] = -1;
  *out = list;
  return OK;
}

int differential_read(struct differential *d, const struct differential_files *f, struct error *e) {
  d->rows_stay = f->rows_stay;
  if (f->ontology) {
    TRY(ontology_load(f->ontology, &d->o, e));
  } else {
    TRY(ontology_new(&d->o, e));
    if (f->annotations) TRY(read_annotations(d, f->annotations, true, e));
  }
  TRY(ontology_seal(d->o, e));
  if (f->annotations) TRY(read_annotations(d, f->annotations, false, e));
  if (f->cases) TRY(read_cases(d, f->cases, e));
  if (f->genes) TRY(read_genes(d, f->genes, e));
  if (d->diseases == 0) return error_set(e, E_INPUT, "no disease in these files");
  return OK;
}
