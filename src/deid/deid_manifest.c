/* What the wall did, in counts: no value of any record is in reach of this file but element paths, which are the readers'. */
#include <stdlib.h>

#include "base/json.h"
#include "deid/deid_text.h"
#include "deid/wall.h"

static const char *const identifier_names[IDENTIFIER_KINDS] = {
    "names",   "geography", "dates",  "telephone", "fax",        "email",     "social-security", "medical-record", "health-plan", "account",
    "licence", "vehicle",   "device", "url",       "ip-address", "biometric", "photograph",      "other-unique",   "free-text"};
static const char *const drop_names[DROPS] = {"unknown-element",
                                              "free-text",
                                              "code-system-not-listed",
                                              "code-shape",
                                              "own-identifier",
                                              "unit",
                                              "date-sentinel",
                                              "date-outside-calendar",
                                              "age-span",
                                              "no-time",
                                              "correction-without-effect",
                                              "no-person",
                                              "forgotten-person",
                                              "object-without-a-place",
                                              "object-refused-by-policy",
                                              "object-not-cleanable"};
static const char *const dates_names[] = {"year", "shift", "keep"};

const char *deid_genome_statement(void) {
  return "A genome identifies its person by itself, whatever is removed around it: some 75 common variants single out one human being, and "
         "relatives are recognised too. These genomes are behind pseudonyms, not anonymous. Keep them under access control and release "
         "summaries only.";
}

const char *deid_identifier_name(int kind) { return kind >= 0 && kind < IDENTIFIER_KINDS ? identifier_names[kind] : "unknown"; }

void deid_counts(const struct deid *w, struct deid_counts *out) {
  struct vault_links l;
  vault_link_counts(w->vault, &l);
  *out = w->counts;
  out->linked = l.linked;
  out->link_conflicts = l.conflicts;
  out->objects = w->objects;
  out->genomes = w->genome.genomes;
  out->genome_records = w->genome.records_dropped, out->genome_fields = w->genome.fields_dropped;
  out->objects_refused = w->drops[DROP_OBJECT_POLICY];
}

static void count(struct json_out *o, const char *key, uint64_t n) {
  json_out_key(o, key);
  json_out_u64(o, n);
}

static void policy(const struct deid *w, struct json_out *o) {
  json_kv_c(o, "policy", w->policy.name);
  json_kv_c(o, "policy_hash", w->policy.hash);
  json_kv_c(o, "statement", w->policy.statement);
  json_kv_c(o, "dates", dates_names[w->policy.dates]);
  json_kv_i64(o, "age_cap", w->policy.age_cap);
  json_kv_c(o, "codes_from", w->open ? "open source: listed systems and shapes only" : "declared source: mapping or MEDS");
}

static void transformed(const struct deid *w, struct json_out *o) {
  const struct deid_counts *c = &w->counts;
  json_out_key(o, "transformed");
  json_out_object(o);
  count(o, "dates_shifted", w->policy.dates == DEID_DATES_SHIFT ? c->dates_changed : 0);
  count(o, "dates_truncated", w->policy.dates == DEID_DATES_YEAR ? c->dates_changed : 0);
  count(o, "ages_capped", c->ages_capped);
  count(o, "zips_generalised", c->zips_kept);
  count(o, "zips_cleared", c->zips_cleared);
  count(o, "descriptions_held_back", c->displays_held);
  json_out_end(o);
}

/* What is inside a genome stays one: the report says so wherever one passed. */
static void objects(const struct deid *w, struct json_out *o) {
  json_out_key(o, "objects");
  json_out_object(o);
  count(o, "seen", w->object_n);
  count(o, "passed", w->objects);
  count(o, "genomes_passed", w->genome.genomes);
  if (w->genome.genomes) {
    json_kv_c(o, "statement", deid_genome_statement());
    count(o, "genome_records", w->genome.records);
    count(o, "genome_records_dropped", w->genome.records_dropped);
    count(o, "genome_header_lines_dropped", w->genome.header_dropped);
    count(o, "genome_fields_dropped", w->genome.fields_dropped);
    count(o, "genome_names_of_variants_dropped", w->genome.ids_dropped);
  }
  dicom_object_manifest(w, o);
  json_out_end(o);
}

/* Who became one person, and who did not although they share an identifier: sources and counts, no values. */
static void linking(const struct deid *w, struct json_out *o) {
  struct vault_links l;
  vault_link_counts(w->vault, &l);
  json_out_key(o, "linking");
  json_out_object(o);
  count(o, "linked", l.linked);
  count(o, "conflicts", l.conflicts);
  count(o, "linked_with_other_birth_year", l.births_differ);
  count(o, "identifiers_not_kept", l.unkept);
  json_out_key(o, "conflict_list");
  json_out_array(o);
  for (int i = 0; i < l.conflict_n; i++) {
    json_out_object(o);
    json_kv_str(o, "source", l.conflict[i].source);
    json_kv_str(o, "other_source", l.conflict[i].other);
    json_kv_c(o, "why", l.conflict[i].why);
    count(o, "n", l.conflict[i].n);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}

static int by_path(const void *a, const void *b) {
  const struct path_count *const *x = a, *const *y = b;
  return str_cmp((*x)->path, (*y)->path);
}

static void one_path(const struct path_count *p, struct json_out *o) {
  json_out_key_str(o, p->path);
  json_out_object(o);
  for (int i = 0; i < DROPS; i++)
    if (p->n[i]) count(o, drop_names[i], p->n[i]);
  json_out_end(o);
}

static void paths(const struct deid *w, struct json_out *o) {
  json_out_key(o, "dropped_by_path");
  json_out_object(o);
  const struct path_count **order = w->path_n ? mem_alloc(w->path_n * sizeof *order) : NULL;
  for (uint32_t i = 0; i < w->path_n && order; i++) order[i] = &w->paths_at[i];
  if (order) qsort(order, w->path_n, sizeof *order, by_path);
  for (uint32_t i = 0; i < w->path_n; i++) one_path(order ? order[i] : &w->paths_at[i], o); /* without memory: in order of first sight */
  mem_free(order);
  json_out_end(o);
}

void deid_manifest(const struct deid *w, struct json_out *o) {
  json_out_object(o);
  policy(w, o);
  count(o, "records", w->counts.records);
  count(o, "events", w->counts.events);
  if (w->counts.taken_back) count(o, "taken_back", w->counts.taken_back);
  count(o, "persons", w->counts.persons);
  count(o, "births", w->births);
  json_out_key(o, "removed");
  json_out_object(o);
  for (int i = 0; i < IDENTIFIER_KINDS; i++) count(o, identifier_names[i], w->counts.removed[i]);
  json_out_end(o);
  transformed(w, o);
  linking(w, o);
  if (w->object_n) objects(w, o);
  json_out_key(o, "dropped");
  json_out_object(o);
  for (int i = 0; i < DROPS; i++) count(o, drop_names[i], w->drops[i]);
  json_out_end(o);
  paths(w, o);
  deid_text_manifest(w, o);
  json_out_key(o, "residual");
  json_out_object(o);
  count(o, "persons_with_events_over_the_age_cap_apart", w->spans_left);
  json_out_end(o);
  json_out_end(o);
}
