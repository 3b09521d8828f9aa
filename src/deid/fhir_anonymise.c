/* Rules over one document: each resource by itself, outer before inner; then what became empty goes, what the standard requires is marked as
 * masked (ours), and labels say what was done. */
#include <stdio.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "deid/deid_known.h"
#include "deid/fhir_private.h"
#include "record/fhir.h"

enum { RULE_BUDGET = 1 << 22 };

/* ---- marking ---- */

void fhir_null(struct fhir_deid *f, uint32_t i) {
  struct json_node *n = &f->doc.json.at[i];
  if (n->kind == JSON_OBJECT || n->kind == JSON_ARRAY) return;
  n->kind = JSON_NULL;
  n->raw = "null";
  n->raw_n = 4;
}

void fhir_redact_all(struct fhir_deid *f, uint32_t i) {
  struct json_node *n = &f->doc.json.at[i];
  uint32_t c;
  if (!(n->flags & JSON_TREE_DONE) && fhir_is_primitive(&f->doc, i)) {
    f->n.redacted++;
    fhir_label(f, LABEL_REDACTED);
    fhir_null(f, i);
  }
  n->flags |= JSON_TREE_DONE;
  struct fhir_iter it = fhir_children(&f->doc, i);
  while ((c = fhir_next(&it)))
    if (!fhir_is_resource(&f->doc, c)) fhir_redact_all(f, c);
}

void fhir_done_all(struct fhir_deid *f, uint32_t i) {
  uint32_t c;
  f->doc.json.at[i].flags |= JSON_TREE_DONE;
  struct fhir_iter it = fhir_children(&f->doc, i);
  while ((c = fhir_next(&it)))
    if (!fhir_is_resource(&f->doc, c)) fhir_done_all(f, c);
}

/* ---- rules ---- */

/* "keep" of ours keeps what the schema says, not a text in place of a truth value. */
static bool kind_fits(const struct fhir_deid *f, uint32_t i) {
  const struct json_node *n = &f->doc.json.at[i];
  const struct fhir_type *t = fhir_type_of(f->types, n->type);
  if (t->boolean) return n->kind == JSON_BOOL;
  if (t->number) return n->kind == JSON_INT || n->kind == JSON_REAL;
  return n->kind == JSON_STRING;
}

static int apply(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) {
  uint32_t c;
  if (f->doc.json.at[i].flags & JSON_TREE_DONE) return OK;
  if (fhir_our_method(rule->method)) {
    TRY(fhir_our_value(f, rule, i, e));
    f->doc.json.at[i].flags |= JSON_TREE_DONE;
    fhir_redact_all(f, i); /* extensions of a value that passes do not pass */
    return OK;
  }
  if (f->ours && rule->method == METHOD_KEEP && (!fhir_is_primitive(&f->doc, i) || !kind_fits(f, i))) return fhir_redact_all(f, i), OK;
  if (rule->method == METHOD_SUBSTITUTE) return fhir_substitute(f, rule, i, e);
  if (fhir_is_primitive(&f->doc, i)) TRY(fhir_their_value(f, rule, i, e));
  f->doc.json.at[i].flags |= JSON_TREE_DONE;
  struct fhir_iter it = fhir_children(&f->doc, i);
  while ((c = fhir_next(&it)))
    if (!fhir_is_resource(&f->doc, c)) TRY(apply(f, rule, c, e));
  return OK;
}

static int run_rule(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t node, struct error *e) {
  struct fhirpath_items found;
  if (!fhirpath_may_match(rule->path, &f->doc, node)) return OK;
  struct fhirpath_run run = {.doc = &f->doc, .root = node, .arena = &f->scratch, .budget = RULE_BUDGET};
  struct arena_mark mark = arena_mark(&f->scratch);
  int rc = fhirpath_eval(&run, rule->path, node, &found, e);
  for (uint32_t k = 0; rc == OK && k < found.n; k++)
    if (found.at[k].kind == FP_NODE) rc = apply(f, rule, found.at[k].node, e);
  arena_rewind(&f->scratch, mark);
  return rc;
}

/* Elements whose meaning only the sender knows: the standard says that who does not understand them must not use the resource. */
static bool modified(const struct fhir_deid *f, uint32_t node) {
  if (json_tree_get(&f->doc.json, node, STR("implicitRules"))) return true;
  for (uint32_t i = f->doc.head[f->doc.extension_type]; i; i = f->doc.json.at[i].same)
    if (str_eqc(fhir_types_el(f->types, f->doc.json.at[i].el)->name, "modifierExtension")) return true;
  return false;
}

static int run_rules(struct fhir_deid *f, uint32_t index, struct error *e) {
  struct fhir_root *root = &f->roots[index];
  f->current = index;
  TRY(fhir_doc_type(&f->doc, index, e));
  TRY(fhir_person_of(f, index, e));
  root = &f->roots[index];
  if (f->ours && modified(f, root->node)) {
    root->refused = true;
    f->why = "a modifierExtension or implicitRules";
  } else if (root->refused) {
    f->why = "about a person who was forgotten";
  }
  if (root->refused) return OK;
  for (uint32_t k = 0; k < f->rules->n; k++) TRY(run_rule(f, &f->rules->rule[k], root->node, e));
  if (!f->rules->drop_others) return OK;
  uint32_t c;
  struct fhir_iter it = fhir_children(&f->doc, root->node);
  while ((c = fhir_next(&it)))
    if (!fhir_is_resource(&f->doc, c)) fhir_redact_all(f, c);
  return OK;
}

/* Keeps f->roots beside doc.root, which grows while resources are typed. */
static int more_roots(struct fhir_deid *f, struct error *e) {
  if (f->doc.root_n > f->root_cap) {
    uint32_t cap = f->doc.root_cap;
    struct fhir_root *roots = mem_realloc(f->roots, cap * sizeof *roots);
    if (!roots) return error_set(e, E_NOMEM, "no memory for a bundle");
    f->roots = roots;
    f->root_cap = cap;
  }
  for (; f->root_n < f->doc.root_n; f->root_n++) {
    uint32_t node = f->doc.root[f->root_n], up = node;
    struct fhir_root *r = &f->roots[f->root_n];
    *r = (struct fhir_root){.node = node, .person = FHIR_NOBODY, .outer = UINT32_MAX};
    f->doc.json.at[node].raw_n = f->root_n; /* unused in objects: how inner resources find the outer one */
    r->contained = str_eqc(fhir_types_el(f->types, f->doc.json.at[node].el)->name, "contained");
    while ((up = fhir_parent(&f->doc, up)) && !fhir_is_resource(&f->doc, up)) {}
    if (up) r->outer = f->doc.json.at[up].raw_n;
  }
  return OK;
}

/* ---- what became empty ---- */

static bool prune(struct fhir_deid *f, uint32_t i);

static bool prune_array(struct fhir_deid *f, uint32_t i) {
  struct json_tree *t = &f->doc.json;
  uint32_t twin = t->at[i].twin, b = twin && t->at[twin].kind == JSON_ARRAY ? t->at[twin].child : 0;
  bool any = false, any_twin = false;
  for (uint32_t a = t->at[i].child; a; a = t->at[a].next) {
    bool keep = !(t->at[a].flags & JSON_TREE_GONE) && prune(f, a);
    bool keep_twin = b && t->at[b].kind == JSON_OBJECT && prune(f, b);
    if (!keep && keep_twin) fhir_null(f, a); /* keeps its place beside what belongs to it */
    if (keep || keep_twin) {
      any |= keep;
      any_twin |= keep_twin;
      if (b && !keep_twin) {
        t->at[b].kind = JSON_NULL;
        t->at[b].raw = "null";
        t->at[b].raw_n = 4;
      }
    } else {
      t->at[a].flags |= JSON_TREE_GONE;
      if (b) t->at[b].flags |= JSON_TREE_GONE;
    }
    if (b) b = t->at[b].next;
  }
  for (; b; b = t->at[b].next) {
    if (t->at[b].kind == JSON_OBJECT && prune(f, b))
      any_twin = true;
    else
      t->at[b].flags |= JSON_TREE_GONE;
  }
  if (twin && t->at[twin].kind == JSON_ARRAY && !any_twin) t->at[twin].flags |= JSON_TREE_GONE;
  return any || any_twin;
}

/* "This is here, and it is masked", with what the standard requires inside it. */
static void masked(const struct fhir_deid *f, uint16_t type, int depth, struct buf *out) {
  const struct fhir_type *t = fhir_type_of(f->types, type);
  uint16_t base = 0;
  buf_puts(out, "{\"extension\":[{\"url\":\"http://hl7.org/fhir/StructureDefinition/data-absent-reason\",\"valueCode\":\"masked\"}]");
  for (uint16_t k = t->el_from; k < t->el_to && depth < 4; k++) {
    const struct fhir_el *el = fhir_types_el(f->types, k);
    if (!el->required || (el->choice && el->base == base)) continue; /* one form of a choice is enough */
    base = el->base;
    bool primitive = fhir_type_of(f->types, el->type)->kind == FHIR_PRIMITIVE;
    buf_printf(out, ",\"%s%.*s\":%s", primitive ? "_" : "", STR_ARG(el->name), el->list ? "[" : "");
    masked(f, el->type, depth + 1, out);
    if (el->list) buf_putc(out, ']');
  }
  buf_putc(out, '}');
}

/* In place of an element that the standard requires. */
static void absent(struct fhir_deid *f, uint32_t object, uint32_t m) {
  struct json_tree *t = &f->doc.json;
  const struct fhir_el *el = fhir_types_el(f->types, t->at[m].el);
  bool primitive = fhir_type_of(f->types, el->type)->kind == FHIR_PRIMITIVE;
  char key[80];
  struct buf b = {0};
  if (el->name.n > sizeof key - 2 || (t->at[m].flags & JSON_TREE_TWIN)) return;
  int n = snprintf(key, sizeof key, "%s%.*s", primitive ? "_" : "", STR_ARG(el->name));
  char *copy = arena_strndup(&t->text, key, (size_t)n);
  uint32_t node = copy ? json_tree_add(t, object, JSON_REAL, copy) : 0;
  masked(f, el->type, 0, &b);
  if (!node || b.failed || json_tree_set_raw(t, node, JSON_REAL, (struct str){b.p, b.n}, NULL) < 0)
    f->doc.failed = true; /* JSON_REAL: written as it is */
  if (node && el->list) t->at[node].flags |= JSON_TREE_WRAP;
  buf_release(&b);
  f->n.absent++;
}

static bool prune_object(struct fhir_deid *f, uint32_t i) {
  struct json_tree *t = &f->doc.json;
  bool any = fhir_is_resource(&f->doc, i), lost = false;
  for (uint32_t m = t->at[i].child; m; m = t->at[m].next) {
    struct json_node *n = &t->at[m];
    if (n->flags & JSON_TREE_KEEP) any = true;
    if (n->flags & (JSON_TREE_GONE | JSON_TREE_KEEP) || (n->flags & JSON_TREE_TWIN && n->twin)) continue;
    uint32_t twin = n->twin;
    bool keep = prune(f, m), keep_twin = twin && t->at[m].kind != JSON_ARRAY && prune(f, twin);
    if (twin && t->at[m].kind == JSON_ARRAY) keep_twin = !(t->at[twin].flags & JSON_TREE_GONE);
    if (!keep) t->at[m].flags |= JSON_TREE_GONE;
    if (twin && !keep_twin) t->at[twin].flags |= JSON_TREE_GONE;
    any |= keep || keep_twin;
    lost |= !keep && !keep_twin && fhir_types_el(f->types, t->at[m].el)->required;
  }
  if (!any || !lost || !f->ours) return any;
  for (uint32_t m = t->at[i].child, last = t->at[i].last; m; m = m == last ? 0 : t->at[m].next)
    if (t->at[m].flags & JSON_TREE_GONE && t->at[m].el && fhir_types_el(f->types, t->at[m].el)->required) absent(f, i, m);
  return true;
}

/* True if something is left. */
static bool prune(struct fhir_deid *f, uint32_t i) {
  switch (f->doc.json.at[i].kind) {
    case JSON_NULL:
    case JSON_NONE: return false;
    case JSON_ARRAY: return prune_array(f, i);
    case JSON_OBJECT: return prune_object(f, i);
    default: return true;
  }
}

/* ---- labels ---- */

#define LABEL_SYSTEM "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
static const struct {
  uint8_t bit;
  const char *code, *json;
} labels[] = {
    {LABEL_REDACTED, "REDACTED", "{\"system\":\"" LABEL_SYSTEM "\",\"code\":\"REDACTED\",\"display\":\"redacted\"}"},
    {LABEL_ABSTRED, "ABSTRED", "{\"system\":\"" LABEL_SYSTEM "\",\"code\":\"ABSTRED\",\"display\":\"abstracted\"}"},
    {LABEL_HASH, "CRYTOHASH", "{\"system\":\"" LABEL_SYSTEM "\",\"code\":\"CRYTOHASH\",\"display\":\"cryptographic hash function\"}"},
    {LABEL_MASKED, "MASKED", "{\"system\":\"" LABEL_SYSTEM "\",\"code\":\"MASKED\",\"display\":\"masked\"}"},
    {LABEL_PERTURBED, "PERTURBED", "{\"code\":\"PERTURBED\",\"display\":\"exact value is replaced with another exact value\"}"},
    {LABEL_SUBSTITUTED, "SUBSTITUTED", "{\"code\":\"SUBSTITUTED\",\"display\":\"exact value is replaced with a predefined value\"}"},
    {LABEL_GENERALIZED, "GENERALIZED", "{\"code\":\"GENERALIZED\",\"display\":\"exact value is replaced with a general value\"}"}};

static uint32_t live(const struct json_tree *t, uint32_t object, const char *key, enum json_kind kind) {
  for (uint32_t m = t->at[object].child; m; m = t->at[m].next)
    if (!(t->at[m].flags & JSON_TREE_GONE) && t->at[m].kind == kind && str_eqc(json_tree_key(t, m), key)) return m;
  return 0;
}

static bool has_label(struct json_tree *t, uint32_t list, const char *code) {
  for (uint32_t c = t->at[list].child; c; c = t->at[c].next) {
    uint32_t m = t->at[c].kind == JSON_OBJECT ? live(t, c, "code", JSON_STRING) : 0;
    if (m && str_eqc(json_tree_str(t, m), code)) return true;
  }
  return false;
}

static bool raw_node(struct json_tree *t, uint32_t parent, const char *key, const char *text) {
  uint32_t i = json_tree_add(t, parent, JSON_REAL, key);
  if (!i) return false;
  t->at[i].raw = text;
  t->at[i].raw_n = (uint32_t)strlen(text);
  return true;
}

static bool their_labels(struct json_tree *t, uint32_t node, uint8_t bits) {
  uint32_t meta = live(t, node, "meta", JSON_OBJECT), list = meta ? live(t, meta, "security", JSON_ARRAY) : 0;
  if (!meta && !(meta = json_tree_add(t, node, JSON_OBJECT, "meta"))) return false;
  if (!list && !(list = json_tree_add(t, meta, JSON_ARRAY, "security"))) return false;
  for (size_t k = 0; k < sizeof labels / sizeof *labels; k++)
    if (bits & labels[k].bit && !has_label(t, list, labels[k].code) && !raw_node(t, list, NULL, labels[k].json)) return false;
  return true;
}

/* Ours: one text for every resource of the run: label and policy. Meta itself never passes, so there is none yet. */
static int add_labels(struct fhir_deid *f, struct error *e) {
  bool ok = !f->doc.failed;
  for (uint32_t k = f->root_n; k-- > 1;)
    if (f->roots[k].outer != UINT32_MAX) f->roots[f->roots[k].outer].labels |= f->roots[k].labels;
  for (uint32_t k = 0; k < f->root_n && ok; k++) {
    struct fhir_root *r = &f->roots[k];
    if (r->contained || r->refused) continue;
    if (f->ours)
      ok = raw_node(&f->doc.json, r->node, "meta", f->meta);
    else if (r->labels)
      ok = their_labels(&f->doc.json, r->node, r->labels);
  }
  return ok ? OK : error_set(e, E_NOMEM, "no memory for a document");
}

/* ---- documents ---- */

static int document(struct fhir_deid *f, struct str text, struct error *e) {
  f->root_n = 0;
  f->why = NULL;
  TRY(fhir_doc_parse(&f->doc, text, e));
  TRY(more_roots(f, e));
  f->current = 0;
  TRY(fhir_find_persons(f, e));
  for (uint32_t k = 0; k < f->root_n; k++) {
    TRY(run_rules(f, k, e));
    TRY(more_roots(f, e));
  }
  return OK;
}

/* A refused resource goes with what holds it (an entry of a Bundle); true if the document itself is refused. */
static bool take_out_refused(struct fhir_deid *f) {
  for (uint32_t k = 0; k < f->root_n; k++) {
    const struct fhir_root *r = &f->roots[k];
    if (!r->refused) continue;
    if (r->outer == UINT32_MAX || r->contained) {
      if (r->contained && r->outer != UINT32_MAX) f->roots[r->outer].refused = true;
      if (!r->contained) return true;
    }
    uint32_t i = r->node, up = f->doc.json.at[i].parent;
    if (up && f->doc.json.at[up].kind == JSON_OBJECT && !fhir_is_resource(&f->doc, up)) i = up;
    f->doc.json.at[i].flags |= JSON_TREE_GONE;
    f->n.rejected++;
  }
  return false;
}

/* Their "skip": a shell that says what it was. */
static int shell(struct fhir_deid *f, struct buf *out) {
  struct str type = fhir_type_of(f->types, f->doc.json.at[1].type)->name;
  buf_printf(out, "{\"resourceType\":\"%.*s\",\"meta\":{\"security\":[%s]}}", STR_ARG(type), labels[0].json);
  return OK;
}

int fhir_deid_document(struct fhir_deid *f, struct str text, struct buf *out, const char **why, struct error *e) {
  struct error broken = {0};
  *why = NULL;
  if (str_starts(text, STR("\xEF\xBB\xBF"))) text = (struct str){text.p + 3, text.n - 3};
  int rc = document(f, text, &broken);
  arena_reset(&f->scratch);
  if (rc == E_NOMEM || rc == E_USAGE || rc == E_UNAVAILABLE) {
    if (e) *e = broken;
    return rc;
  }
  if (rc < 0 && f->root_n > 0 && !f->ours) {
    if (f->rules->skip_errors) return f->n.documents++, f->n.rejected++, shell(f, out);
    if (e) *e = broken;
    return rc;
  }
  if (rc < 0) {
    *why = rc == E_LIMIT ? "over a limit: size, depth, or a rule that takes too long"
           : f->root_n   ? "a rule failed"
                         : "no FHIR resource in valid JSON";
    f->n.rejected++;
    return 1;
  }
  if (take_out_refused(f)) {
    *why = f->why;
    f->n.rejected++;
    return 1;
  }
  (void)prune(f, 1);
  f->n.rejected += f->doc.unknown;
  TRY(add_labels(f, e));
  json_tree_write(&f->doc.json, 1, out);
  f->n.documents++;
  f->n.resources += f->root_n;
  return buf_check(out, e);
}

/* ---- the run ---- */

static int stamp(struct fhir_deid *f, const char *types, struct error *e) {
  uint8_t part[32 * 2 + 64], all[32];
  memcpy(part, f->rules->hash, 64);
  TRY(sha256_file(types, part + 64, e));
  memset(part + 96, 0, 32);
  struct sha256 s;
  TRY(sha256_init(&s, e));
  sha256_add(&s, f->policy.hash, 64);
  sha256_add(&s, part, sizeof part);
  sha256_end(&s, all);
  hash_hex(all, 32, f->hash);
  f->hash[64] = 0;
  const char *years = f->policy.dates == DEID_DATES_YEAR ? labels[1].json : "";
  int n = snprintf(f->meta, sizeof f->meta,
                   "{\"security\":[{\"system\":\"" LABEL_SYSTEM
                   "\",\"code\":\"PSEUDED\",\"display\":\"pseudonymized\"},%s%s%s],"
                   "\"tag\":[{\"system\":\"urn:vitae:policy\",\"code\":\"%s:%.16s\"}]}",
                   labels[0].json, *years ? "," : "", years, f->policy.name, f->hash);
  return n < 0 || (size_t)n >= sizeof f->meta ? error_set(e, E_LIMIT, "the policy's name is too long") : OK;
}

static int open_tables(struct fhir_deid *f, const struct fhir_deid_config *c, struct error *e) {
  char types[4096], rules[4096];
  bool stu3 = false;
  if (c->rules) TRY(fhir_rules_release(c->rules, &stu3, e));
  TRY(file_join(types, sizeof types, c->tables, stu3 ? "fhir-types-stu3.json" : "fhir-types-r4.json", e));
  TRY(file_join(rules, sizeof rules, c->tables, "fhir-rules.json", e));
  TRY(deid_policy_load(c->policy, &f->policy, e));
  TRY(fhir_types_load(types, &f->types, e));
  TRY(fhir_rules_load(c->rules ? c->rules : rules, f->types, &f->rules, e));
  TRY(code_rules_load(f->policy.codes_path, &f->codes, e));
  return stamp(f, types, e);
}

int fhir_deid_open(const struct fhir_deid_config *c, struct fhir_deid **out, struct error *e) {
  *out = NULL;
  struct fhir_deid *f = mem_alloc(sizeof *f);
  if (!f) return error_set(e, E_NOMEM, "no memory for a run");
  memset(f, 0, sizeof *f);
  f->vault = c->vault;
  f->ours = c->rules == NULL;
  f->keep_vault = c->keep_vault;
  f->no_text = c->no_text;
  arena_init(&f->scratch, 256 << 20, ARENA_WIPE);
  map_init(&f->alias, 0);
  map_init(&f->shown, 0);
  fhir_schema_ready();
  int rc;
  TRY_OUT(open_tables(f, c, e));
  TRY_OUT(vault_source(f->vault, str_c(c->source ? c->source : "fhir"), &f->source, e));
  TRY_OUT(vault_secret(f->vault, 0, "fhir-ids", f->secret, e));
  TRY_OUT(vault_secret(f->vault, 0, "dicom-uid", f->uid_key, e));
  TRY_OUT(fhir_doc_init(&f->doc, f->types, e));
out:
  if (rc < 0)
    fhir_deid_close(f);
  else
    *out = f;
  return rc;
}

void fhir_deid_close(struct fhir_deid *f) {
  if (!f) return;
  fhir_doc_release(&f->doc);
  arena_free(&f->scratch);
  map_release(&f->alias);
  map_release(&f->shown);
  deid_known_free(f->known);
  fhir_rules_free(f->rules);
  fhir_types_free(f->types);
  if (f->codes) code_rules_free(f->codes);
  for (uint32_t i = 0; i < f->file_n; i++) mem_free(f->files[i].name);
  mem_free(f->files);
  mem_free(f->roots);
  mem_wipe(f, sizeof *f);
  mem_free(f);
}

void fhir_deid_counts(const struct fhir_deid *f, struct fhir_deid_counts *out) {
  *out = f->n;
  out->persons = vault_persons(f->vault);
}
const char *fhir_deid_hash(const struct fhir_deid *f) { return f->hash; }
