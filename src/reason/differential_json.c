#include "base/json.h"
#include "reason/differential.h"
#include "reason/ontology.h"

static void term_json(const struct ontology *on, int term, struct json_out *o) {
  struct str name = ontology_name(on, term);
  json_kv_str(o, "term", ontology_id(on, term));
  json_kv_str(o, "name", name.n ? name : ontology_id(on, term));
}

static void disease_json(const struct ontology *on, const struct differential_disease *x, struct json_out *o) {
  json_out_object(o);
  json_kv_str(o, "id", x->id);
  json_kv_str(o, "name", x->name.n ? x->name : x->id);
  json_kv_f64(o, "probability", x->probability);
  json_kv_f64(o, "log_odds", x->log_odds);
  json_kv_f64(o, "known_cases", (double)x->cases);
  json_kv_bool(o, "annotated", x->annotated);
  json_kv_f64(o, "orphanet", (double)x->orphanet);
  json_kv_bool(o, "gene", x->gene);
  json_out_key(o, "evidence");
  json_out_array(o);
  for (int k = 0; k < x->evidences; k++) {
    json_out_object(o);
    term_json(on, x->evidence[k].term, o);
    json_kv_bool(o, "absent", x->evidence[k].absent);
    json_kv_f64(o, "log_ratio", (double)x->evidence[k].log_ratio);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}

void differential_json(const struct differential *d, const struct finding_case *c, const struct differential_answer *r,
                       struct json_out *o) {
  const struct ontology *on = differential_ontology(d);
  json_out_object(o);
  json_kv_f64(o, "none_of_these", r->none);
  json_kv_i64(o, "candidates", differential_diseases(d));
  json_kv_i64(o, "findings_unknown", c->unknown);
  json_kv_i64(o, "genes_unknown", r->genes_unknown);
  json_out_key(o, "diseases");
  json_out_array(o);
  for (int i = 0; i < r->diseases; i++) disease_json(on, &r->disease[i], o);
  json_out_end(o);
  json_out_key(o, "ask_next");
  json_out_array(o);
  for (int i = 0; i < r->asks; i++) {
    json_out_object(o);
    term_json(on, r->ask[i].term, o);
    json_kv_f64(o, "bits", r->ask[i].bits);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}
