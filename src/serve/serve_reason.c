/* Differential, its terms, and calculators: answers that need neither a record nor the model. Shapes: docs/api.md. */
#include <string.h>

#include "base/time.h"
#include "reason/calculator.h"
#include "reason/differential.h"
#include "reason/ontology.h"
#include "serve/serve_private.h"

#define MEMORY (512u << 20)
enum { TERMS_MOST = 50, FINDINGS_MOST = 200, DISEASES_MOST = 100 };

static int bad(struct error *e, int code, const char *field, const char *what) {
  (void)error_set(e, code, "%s", what);
  return error_where(e, NULL, 0, field);
}
static int only_members(struct json root, const char *const *known, size_t n, struct error *e) {
  struct str key;
  struct json v;
  for (struct json_iter it = json_members(root); json_next_member(&it, &key, &v);) {
    size_t i = 0;
    while (i < n && !str_eqc(key, known[i])) i++;
    if (i == n) return bad(e, E_INPUT, "body", "an unknown member; /openapi.json lists those that there are");
  }
  return OK;
}
void answer_json_body(struct call *c, body_function *f) {
  struct error e = {0};
  struct json_parser *jp = NULL;
  struct json root;
  struct arena a;
  c->status = 200;
  arena_init(&a, MEMORY, ARENA_WIPE);
  int rc = json_parser_new(&jp, &e);
  if (rc == OK) rc = json_parse(jp, (const char *)c->body, c->body_n, c->body_cap, &root, &e);
  if (rc == OK && json_kind(root) != JSON_OBJECT) rc = bad(&e, E_INPUT, "body", "expected a JSON object");
  if (rc == OK) rc = f(c, root, &a, &e);
  if (rc < 0) call_error(c, &e);
  if (jp) json_parser_free(jp);
  arena_free(&a);
}

/* ---- differential ---- */

static int known(struct call *c, const struct differential **d, struct error *e) {
  TRY(knowledge_differential(c->server->knowledge, d, e));
  return *d ? OK : error_set(e, E_UNAVAILABLE, "this site has no knowledge of diseases: SITE/knowledge/phenotype.hpoa or cases.jsonl");
}

void answer_knowledge(struct call *c) {
  struct error e = {0};
  const struct differential *d = NULL;
  struct json_out o;
  c->status = 200;
  if (knowledge_differential(c->server->knowledge, &d, &e) < 0) {
    call_error(c, &e);
    return;
  }
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_bool(&o, "available", d != NULL);
  static const char *const files[][2] = {
      {"ontology", "hp.obo"}, {"annotations", "phenotype.hpoa"}, {"cases", "cases.jsonl"}, {"genes", "genes.tsv"}};
  for (int i = 0; i < 4; i++) json_kv_bool(&o, files[i][0], knowledge_has(c->server->knowledge, files[i][1]));
  json_kv_i64(&o, "diseases", d ? differential_diseases(d) : 0);
  json_kv_i64(&o, "known_cases", d ? differential_cases(d) : 0);
  json_kv_i64(&o, "terms", d ? ontology_terms(differential_ontology(d)) : 0);
  json_out_end(&o);
}

static int rank(struct call *c, struct json root, struct arena *a, struct error *e) {
  const struct differential *d;
  struct finding_case f;
  struct differential_answer r;
  struct json_out o;
  int64_t top = 10;
  if (json_count(json_get(root, "hpo")) + json_count(json_get(root, "hpo_excluded")) + json_count(json_get(root, "phenotypicFeatures")) >
      FINDINGS_MOST)
    return bad(e, E_INPUT, "hpo", "at most 200 findings");
  struct json want = json_get(root, "top");
  if (json_kind(want) != JSON_NONE && (!json_i64(want, &top) || top < 1 || top > DISEASES_MOST))
    return bad(e, E_INPUT, "top", "expected 1 to 100");
  TRY(known(c, &d, e));
  TRY(finding_case_parse(d, root, a, &f, e));
  TRY(differential_rank(d, &f, (int)top, NULL, a, &r, e));
  json_out_init(&o, &c->out, false);
  differential_json(d, &f, &r, &o);
  return OK;
}
void answer_differential(struct call *c) { answer_json_body(c, rank); }

static int terms(struct call *c, struct error *e) {
  const struct differential *d;
  struct json_out o;
  struct str find = call_query(c, "find");
  int found[TERMS_MOST];
  int64_t limit = 12;
  struct str most = call_query(c, "limit");
  if (find.n > 200 || (find.p && !str_utf8_valid(find))) return bad(e, E_INPUT, "find", "expected a text of at most 200 bytes");
  if (most.p && (str_to_i64(most, &limit) < 0 || limit < 1 || limit > TERMS_MOST)) return bad(e, E_INPUT, "limit", "expected 1 to 50");
  TRY(known(c, &d, e));
  const struct ontology *on = differential_ontology(d);
  int n = ontology_search(on, find, found, (int)limit);
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_out_key(&o, "terms");
  json_out_array(&o);
  for (int i = 0; i < n; i++) {
    struct str name = ontology_name(on, found[i]);
    json_out_object(&o);
    json_kv_str(&o, "term", ontology_id(on, found[i]));
    json_kv_str(&o, "name", name.n ? name : ontology_id(on, found[i]));
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  return OK;
}
void answer_terms(struct call *c) {
  struct error e = {0};
  c->status = 200;
  if (terms(c, &e) < 0) call_error(c, &e);
}

/* ---- calculators ---- */

static void input_json(const struct calculator_input *in, struct json_out *o) {
  static const char *const kinds[] = {"number", "choice", "fact", "day"};
  json_out_object(o);
  json_kv_c(o, "name", in->name);
  json_kv_c(o, "title", in->title);
  json_kv_c(o, "kind", kinds[in->kind]);
  json_kv_bool(o, "optional", in->optional || in->kind == CALCULATOR_FACT);
  if (in->kind == CALCULATOR_NUMBER) {
    json_kv_c(o, "unit", in->unit);
    json_kv_f64(o, "least", in->least);
    json_kv_f64(o, "most", in->most);
  }
  if (in->kind == CALCULATOR_CHOICE) {
    json_out_key(o, "choices");
    json_out_array(o);
    for (int i = 0; i < in->choices; i++) json_out_c(o, in->choice[i]);
    json_out_end(o);
  }
  json_out_end(o);
}

static void calculator_json(const struct calculator *k, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "name", calculator_name(k));
  json_kv_c(o, "title", calculator_title(k));
  json_kv_c(o, "source", calculator_source(k));
  if (calculator_note(k)) json_kv_c(o, "note", calculator_note(k));
  json_out_key(o, "inputs");
  json_out_array(o);
  for (int i = 0; i < calculator_inputs(k); i++) input_json(calculator_input(k, i), o);
  json_out_end(o);
  json_out_end(o);
}

void answer_calculators(struct call *c) {
  struct error e = {0};
  struct calculator *const *list;
  struct json_out o;
  int n;
  c->status = 200;
  if (knowledge_calculators(c->server->knowledge, &list, &n, &e) < 0) {
    call_error(c, &e);
    return;
  }
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_out_key(&o, "calculators");
  json_out_array(&o);
  for (int i = 0; i < n; i++) calculator_json(list[i], &o);
  json_out_end(&o);
  json_out_end(&o);
}

static int inputs(const struct calculator *k, struct json list, struct calculator_value *in, struct error *e) {
  struct str key;
  struct json v;
  double x;
  bool yes;
  char text[32];
  if (json_kind(list) != JSON_OBJECT) return bad(e, E_INPUT, "inputs", "expected an object of inputs");
  for (struct json_iter it = json_members(list); json_next_member(&it, &key, &v);) {
    struct str s = json_str(v);
    if (json_f64(v, &x)) {
      snprintf(text, sizeof text, "%.15g", x);
      s = str_c(text);
    } else if (json_bool(v, &yes)) {
      s = yes ? STR("yes") : STR("no");
    }
    if (!s.p) return bad(e, E_INPUT, "inputs", "expected texts, numbers, or true and false");
    if (s.n) TRY(calculator_set(k, in, key, s, e));
  }
  return OK;
}

static int calculate(struct call *c, struct json root, struct arena *a, struct error *e) {
  static const char *const members[] = {"inputs"};
  struct calculator *const *list;
  struct calculator_value in[CALCULATOR_INPUTS];
  struct calculator_answer r;
  struct json_out o;
  int n, i = 0;
  char day[32];
  (void)a;
  TRY(only_members(root, members, 1, e));
  TRY(knowledge_calculators(c->server->knowledge, &list, &n, e));
  while (i < n && strcmp(calculator_name(list[i]), c->arg) != 0) i++;
  if (i == n) return error_set(e, E_NOTFOUND, "there is no such calculator; GET /v1/calculators lists them");
  calculator_none(list[i], in);
  TRY(inputs(list[i], json_get(root, "inputs"), in, e));
  TRY(calculator_run(list[i], in, &r, e));
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_c(&o, "calculator", calculator_name(list[i]));
  if (strcmp(r.unit, "date") == 0) {
    time_format_date((int64_t)r.value * TIME_DAY, day);
    json_kv_c(&o, "value", day);
  } else {
    json_kv_f64(&o, "value", r.value);
    json_kv_c(&o, "unit", r.unit);
  }
  if (r.band) json_kv_c(&o, "band", r.band);
  json_out_key(&o, "taken_as_absent");
  json_out_array(&o);
  for (int k = 0; k < r.n_assumed; k++) json_out_c(&o, r.assumed[k]->title);
  json_out_end(&o);
  json_out_end(&o);
  return OK;
}
void answer_calculate(struct call *c) { answer_json_body(c, calculate); }
