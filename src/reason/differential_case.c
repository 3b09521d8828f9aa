/* A case's JSON: a phenopacket (version 2, and what 1 has alike), or the flat form of docs/differential.md. What is told in a way that would not be
 * understood is refused: a finding passed over in silence, above all an absent one, changes the answer. */
#include <math.h>

#include "reason/differential_private.h"

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for a case"); }
static int wrong(struct error *e, const char *field, const char *expected) {
  (void)error_set(e, E_INPUT, "expected %s", expected);
  return error_where(e, NULL, 0, field);
}
static bool told(struct json v) { return json_kind(v) != JSON_NONE && json_kind(v) != JSON_NULL; }

void finding_add(int *term, int *n, int add) {
  for (int i = 0; i < *n; i++)
    if (term[i] == add) return;
  term[(*n)++] = add;
}

static int terms_of(const struct differential *d, struct json list, const char *field, struct arena *a, const int **out, int *n,
                    int *unknown, struct error *e) {
  size_t most = json_count(list);
  int *t = arena_array(a, int, most ? most : 1);
  if (!t) return no_memory(e);
  *n = 0;
  struct json_iter it = json_items(list);
  for (struct json v; json_next(&it, &v);) {
    if (!json_str(v).p) return wrong(e, field, "a term's id");
    int term = ontology_find(d->o, json_str(v));
    if (term < 0)
      ++*unknown;
    else
      finding_add(t, n, term);
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
static int person(struct json sex, struct json age, struct finding_case *c, struct error *e) {
  static const struct {
    const char *name;
    int sex;
  } sexes[] = {{"male", 1}, {"female", 2}, {"unknown", 0}, {"other", 0}, {"unknown_sex", 0}, {"other_sex", 0}};
  enum { SEXES = sizeof sexes / sizeof *sexes };
  int i = 0;
  while (i < SEXES && !str_eq_nocase(json_str(sex), str_c(sexes[i].name))) i++;
  if (told(sex) && i == SEXES) return wrong(e, "sex", "male, female, other or unknown");
  c->sex = i < SEXES ? sexes[i].sex : 0;
  c->age = years(json_str(age));
  return told(age) && isnan(c->age) ? wrong(e, "age", "a duration of ISO 8601, such as P3Y6M") : OK;
}

/* ---- phenopackets ---- */

static bool is_packet(struct json j) {
  return told(json_get(j, "phenotypicFeatures")) || told(json_get(j, "subject")) || told(json_get(j, "metaData"));
}
/* Version 1 says "negated" where 2 says "excluded" */
static int packet_terms(const struct differential *d, struct json features, struct arena *a, struct finding_case *c, struct error *e) {
  size_t most = json_count(features);
  int *yes = arena_array(a, int, most ? most : 1), *no = arena_array(a, int, most ? most : 1);
  if (!yes || !no) return no_memory(e);
  if (told(features) && json_kind(features) != JSON_ARRAY) return wrong(e, "phenotypicFeatures", "a list");
  struct json_iter it = json_items(features);
  for (struct json v; json_next(&it, &v);) {
    struct str id = json_str(json_get(json_get(v, "type"), "id"));
    struct json not = json_get(v, told(json_get(v, "excluded")) ? "excluded" : "negated");
    bool excluded = false;
    if (!id.p) return wrong(e, "phenotypicFeatures", "a type with an id");
    if (told(not ) && !json_bool(not, &excluded)) return wrong(e, "excluded", "true or false");
    int term = ontology_find(d->o, id);
    if (term < 0)
      c->unknown++;
    else if (excluded)
      finding_add(no, &c->n_excluded, term);
    else
      finding_add(yes, &c->n_observed, term);
  }
  c->observed = yes;
  c->excluded = no;
  return OK;
}
static struct str packet_publication(struct json j) {
  struct json_iter it = json_items(json_get(json_get(j, "metaData"), "externalReferences"));
  for (struct json v; json_next(&it, &v);)
    if (str_starts(json_str(json_get(v, "id")), STR("PMID:"))) return json_str(json_get(v, "id"));
  return STR_NONE;
}
/* The flat form's; else what an interpretation has solved; else the first disease that is not excluded */
struct json finding_case_disease(struct json j) {
  struct json flat = json_get(j, "disease"), v;
  if (told(flat)) return flat;
  struct json_iter it = json_items(json_get(j, "interpretations"));
  while (json_next(&it, &v)) {
    struct json disease = json_get(json_get(v, "diagnosis"), "disease");
    if (json_str(json_get(disease, "id")).n && !str_eqc(json_str(json_get(v, "progressStatus")), "UNSOLVED")) return disease;
  }
  it = json_items(json_get(j, "diseases"));
  while (json_next(&it, &v)) {
    bool excluded = false;
    (void)json_bool(json_get(v, "excluded"), &excluded);
    if (!excluded && json_str(json_get(json_get(v, "term"), "id")).n) return json_get(v, "term");
  }
  return flat;
}

/* ---- genes ---- */

static int interpreted_genes(struct json interpretations, struct intern *seen, struct error *e) {
  uint32_t at;
  struct json_iter it = json_items(interpretations);
  for (struct json v; json_next(&it, &v);) {
    struct json_iter each = json_items(json_get(json_get(v, "diagnosis"), "genomicInterpretations"));
    for (struct json g; json_next(&each, &g);) {
      struct json variant = json_get(json_get(g, "variantInterpretation"), "variationDescriptor");
      struct str s = json_str(json_get(json_get(variant, "geneContext"), "symbol"));
      if (!s.n) s = json_str(json_get(json_get(g, "gene"), "symbol"));
      if (s.n && !str_eqc(json_str(json_get(g, "interpretationStatus")), "REJECTED")) TRY(intern_put(seen, s, &at, e));
    }
  }
  return OK;
}
static int listed_genes(struct json j, struct intern *seen, struct error *e) {
  uint32_t at;
  struct json_iter it = json_items(json_get(j, "genes"));
  for (struct json v; json_next(&it, &v);) { /* symbols; in version 1 of phenopackets objects */
    struct str s = json_str(is_packet(j) && json_kind(v) == JSON_OBJECT ? json_get(v, "symbol") : v);
    if (!s.n) return wrong(e, "genes", "symbols");
    TRY(intern_put(seen, s, &at, e));
  }
  it = json_items(json_get(j, "variants"));
  for (struct json v; json_next(&it, &v);) {
    struct json gene = json_get(v, "gene");
    if (json_kind(v) != JSON_OBJECT || (told(gene) && !json_str(gene).p)) return wrong(e, "variants", "objects with a gene");
    if (json_str(gene).n) TRY(intern_put(seen, json_str(gene), &at, e));
  }
  return interpreted_genes(json_get(j, "interpretations"), seen, e);
}
/* Each once: two variants of a gene are one gene */
static int genes_of(struct json j, struct arena *a, struct finding_case *c, struct error *e) {
  struct intern seen;
  intern_init(&seen, 0);
  int rc = listed_genes(j, &seen, e);
  struct str *g = arena_array(a, struct str, (size_t)seen.count + 1);
  if (rc == OK && !g) rc = no_memory(e);
  for (uint32_t i = 0; rc == OK && i < seen.count; i++) {
    g[c->genes] = str_copy(a, intern_str(&seen, i));
    if (!g[c->genes++].p) rc = no_memory(e);
  }
  intern_release(&seen);
  c->gene = g;
  return rc;
}

/* ---- the flat form ---- */

static int flat_members(struct json j, struct error *e) {
  static const struct {
    const char *name;
    enum json_kind kind; /* JSON_NONE: not looked at */
  } members[] = {{"id", JSON_STRING},     {"pmid", JSON_STRING},    {"hpo", JSON_ARRAY},           {"hpo_excluded", JSON_ARRAY},
                 {"genes", JSON_ARRAY},   {"variants", JSON_ARRAY}, {"disease", JSON_OBJECT},      {"sex", JSON_STRING},
                 {"age", JSON_STRING},    {"top", JSON_NONE},       {"cohort", JSON_NONE},         {"onset", JSON_NONE},
                 {"deceased", JSON_NONE}, {"age_class", JSON_NONE}, {"gestational_age", JSON_NONE}};
  enum { MEMBERS = sizeof members / sizeof *members };
  struct str key;
  struct json v;
  for (struct json_iter it = json_members(j); json_next_member(&it, &key, &v);) {
    int i = 0;
    while (i < MEMBERS && !str_eqc(key, members[i].name)) i++;
    if (i == MEMBERS)
      return error_set(e, E_INPUT, "an unknown member; findings are hpo and hpo_excluded, beside them genes, variants, sex, age");
    enum json_kind want = members[i].kind;
    if (want != JSON_NONE && told(v) && json_kind(v) != want)
      return wrong(e, members[i].name, want == JSON_ARRAY ? "a list" : want == JSON_OBJECT ? "an object with an id" : "a text");
  }
  return OK;
}

int finding_case_parse(const struct differential *d, struct json j, struct arena *a, struct finding_case *out, struct error *e) {
  struct str publication = json_str(json_get(j, "pmid"));
  *out = (struct finding_case){.age = NAN};
  if (json_kind(j) != JSON_OBJECT) return error_set(e, E_INPUT, "expected an object with findings");
  if (is_packet(j)) {
    struct json subject = json_get(j, "subject"), age = json_get(json_get(subject, "timeAtLastEncounter"), "age");
    TRY(packet_terms(d, json_get(j, "phenotypicFeatures"), a, out, e));
    TRY(person(json_get(subject, "sex"), json_get(age, "iso8601duration"), out, e));
    if (!publication.n) publication = packet_publication(j);
  } else {
    TRY(flat_members(j, e));
    TRY(terms_of(d, json_get(j, "hpo"), "hpo", a, &out->observed, &out->n_observed, &out->unknown, e));
    TRY(terms_of(d, json_get(j, "hpo_excluded"), "hpo_excluded", a, &out->excluded, &out->n_excluded, &out->unknown, e));
    TRY(person(json_get(j, "sex"), json_get(j, "age"), out, e));
  }
  TRY(genes_of(j, a, out, e));
  out->disease = str_copy(a, json_str(json_get(finding_case_disease(j), "id")));
  out->publication = str_copy(a, publication);
  out->id = str_copy(a, json_str(json_get(j, "id")));
  return OK;
}
