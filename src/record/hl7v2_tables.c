/* mapping/hl7v2.json */
#include <limits.h>

#include "base/json.h"
#include "base/map.h"
#include "record/hl7v2_message.h"

enum { LIST = 64, FILE_LIMIT = 4 << 20 };
struct list {
  struct str at[LIST];
  int n;
};
struct pairs {
  struct str *key, *value;
  int n;
};
struct hl7v2_tables {
  struct arena a;
  struct list processing, cancels_admission, cancels_discharge, cancels_order, person, authorities, not_done, takes_back, merges;
  struct pairs classes, ethnicity, systems;
  struct str type[LIST];
  struct list trigger[LIST];
  int types;
  struct str country;
};

/* Rank by the order in which the reader of FHIR prefers systems too. */
static const char *const preferred[] = {"LOINC", "RXNORM", "CVX",    "ICD10CM",  "ICD10", "ICD10GM", "SNOMED", "ICD10PCS",
                                        "CPT4",  "HCPCS",  "ICD9CM", "ICD9PROC", "ATC",   "NDC",     "DCM",    "RADLEX"};

static int bad(struct error *e, const char *field, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  error_where(e, NULL, 0, field);
  return E_INPUT;
}

static int text(struct hl7v2_tables *t, struct json v, const char *field, struct str *out, struct error *e) {
  struct str s = json_str(v);
  if (!s.p) return bad(e, field, "expected a text");
  *out = str_copy(&t->a, s);
  return s.n && !out->p ? error_set(e, E_NOMEM, "no memory for the tables of HL7 v2") : OK;
}

static int list(struct hl7v2_tables *t, struct json j, const char *field, struct list *out, struct error *e) {
  struct json item;
  if (json_kind(j) != JSON_ARRAY || json_count(j) > LIST) return bad(e, field, "expected a list of at most 64 texts");
  for (struct json_iter it = json_items(j); json_next(&it, &item);) TRY(text(t, item, field, &out->at[out->n++], e));
  return OK;
}

static int pairs(struct hl7v2_tables *t, struct json j, const char *field, struct pairs *out, struct error *e) {
  struct json item;
  struct str key;
  size_t n = json_count(j);
  if (json_kind(j) != JSON_OBJECT || n > 10000) return bad(e, field, "expected an object of texts");
  out->key = arena_array(&t->a, struct str, n + 1);
  out->value = arena_array(&t->a, struct str, n + 1);
  if (!out->key || !out->value) return error_set(e, E_NOMEM, "no memory for the tables of HL7 v2");
  for (struct json_iter it = json_members(j); json_next_member(&it, &key, &item); out->n++) {
    out->key[out->n] = str_copy(&t->a, key);
    TRY(text(t, item, field, &out->value[out->n], e));
  }
  return OK;
}

static int messages(struct hl7v2_tables *t, struct json j, struct error *e) {
  struct json item;
  struct str key;
  if (json_kind(j) != JSON_OBJECT || json_count(j) > LIST) return bad(e, "messages", "expected an object: message type -> list of events");
  for (struct json_iter it = json_members(j); json_next_member(&it, &key, &item); t->types++) {
    t->type[t->types] = str_copy(&t->a, key);
    TRY(list(t, item, "messages", &t->trigger[t->types], e));
  }
  return OK;
}

static int one(struct hl7v2_tables *t, struct str key, struct json v, struct error *e) {
  const struct {
    const char *name;
    struct list *to;
  } lists[] = {{"processing", &t->processing},
               {"cancels_admission", &t->cancels_admission},
               {"person", &t->person},
               {"cancels_discharge", &t->cancels_discharge},
               {"cancels_order", &t->cancels_order},
               {"authorities", &t->authorities},
               {"not_done", &t->not_done},
               {"takes_back", &t->takes_back},
               {"merges", &t->merges}};
  const struct {
    const char *name;
    struct pairs *to;
  } maps[] = {{"classes", &t->classes}, {"ethnicity", &t->ethnicity}, {"systems", &t->systems}};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
    if (str_eqc(key, lists[i].name)) return list(t, v, lists[i].name, lists[i].to, e);
  for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
    if (str_eqc(key, maps[i].name)) return pairs(t, v, maps[i].name, maps[i].to, e);
  if (str_eqc(key, "messages")) return messages(t, v, e);
  if (str_eqc(key, "country")) return text(t, v, "country", &t->country, e);
  bool words = str_eqc(key, "name") || str_eqc(key, "about") || str_eqc(key, "sources");
  return words ? OK : bad(e, "", "a setting that does not exist; see docs/hl7v2.md");
}

int hl7v2_tables_load(const char *path, struct hl7v2_tables **out, struct error *e) {
  struct arena file;
  struct json root, v;
  struct str key;
  *out = NULL;
  struct hl7v2_tables *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "no memory for the tables of HL7 v2");
  memset(t, 0, sizeof *t);
  arena_init(&t->a, FILE_LIMIT, 0);
  arena_init(&file, FILE_LIMIT, 0);
  int rc = json_load(&file, path, &root, e);
  if (rc == OK && json_kind(root) != JSON_OBJECT) rc = bad(e, "", "expected an object");
  if (rc == OK)
    for (struct json_iter it = json_members(root); rc == OK && json_next_member(&it, &key, &v);) rc = one(t, key, v, e);
  if (rc == OK && (!t->types || !t->person.n || !t->processing.n)) rc = bad(e, "", "messages, person and processing may not be empty");
  if (rc < 0 && !(e && e->file[0])) error_where(e, path, 0, NULL);
  arena_free(&file);
  if (rc < 0)
    hl7v2_tables_free(t);
  else
    *out = t;
  return rc;
}

void hl7v2_tables_free(struct hl7v2_tables *t) {
  if (!t) return;
  arena_free(&t->a);
  mem_free(t);
}

static bool in(const struct list *l, struct str s) {
  for (int i = 0; i < l->n; i++)
    if (str_eq_nocase(l->at[i], s)) return true;
  return false;
}

static struct str look(const struct pairs *p, struct str key) {
  for (int i = 0; key.n && i < p->n; i++)
    if (str_eq_nocase(p->key[i], key)) return p->value[i];
  return STR_NONE;
}

bool hl7v2_system(const struct hl7v2_tables *t, struct str id, struct hl7v2_system *out) {
  enum { NAMES = sizeof preferred / sizeof *preferred };
  out->name = look(&t->systems, id);
  out->rank = NAMES;
  for (int i = 0; i < NAMES; i++)
    if (str_eqc(out->name, preferred[i])) out->rank = i;
  return out->name.n > 0;
}

bool hl7v2_message_known(const struct hl7v2_tables *t, struct str type, struct str trigger, bool *type_known) {
  *type_known = false;
  for (int i = 0; i < t->types; i++) {
    if (!str_eq(t->type[i], type)) continue;
    *type_known = true;
    return in(&t->trigger[i], trigger);
  }
  return false;
}

bool hl7v2_processing_ok(const struct hl7v2_tables *t, struct str id) { return in(&t->processing, id); }
bool hl7v2_merges(const struct hl7v2_tables *t, struct str trigger) { return in(&t->merges, trigger); }
bool hl7v2_cancels_order(const struct hl7v2_tables *t, struct str control) { return in(&t->cancels_order, control); }
bool hl7v2_not_done(const struct hl7v2_tables *t, struct str status) { return in(&t->not_done, status); }
bool hl7v2_takes_back(const struct hl7v2_tables *t, struct str status) { return in(&t->takes_back, status); }
struct str hl7v2_class(const struct hl7v2_tables *t, struct str code) {
  return look(&t->classes, code);
}
struct str hl7v2_ethnicity(const struct hl7v2_tables *t, struct str code) {
  struct str to = look(&t->ethnicity, code);
  return to.n ? to : code;
}
struct str hl7v2_country(const struct hl7v2_tables *t) {
  return t->country;
}

int hl7v2_person_rank(const struct hl7v2_tables *t, struct str type, struct str authority) {
  int by_type = t->person.n, by_authority = t->authorities.n;
  for (int i = t->person.n - 1; i >= 0; i--)
    if (str_eq_nocase(t->person.at[i], type)) by_type = i;
  for (int i = t->authorities.n - 1; i >= 0; i--)
    if (str_eq_nocase(t->authorities.at[i], authority)) by_authority = i;
  if (by_type == t->person.n && type.n) return INT_MAX; /* a licence, an account: not what the person is known by */
  return by_authority * (LIST + 1) + by_type;
}

enum hl7v2_undo hl7v2_undoes(const struct hl7v2_tables *t, struct str trigger) {
  if (in(&t->cancels_admission, trigger)) return HL7V2_UNDO_START;
  return in(&t->cancels_discharge, trigger) ? HL7V2_UNDO_END : HL7V2_UNDO_NONE;
}
