/* Who a resource is about, and what the pass before learns of each person: identifiers, birth, first and last event. */
#include "base/hash.h"
#include "deid/deid_date.h"
#include "deid/fhir_private.h"
#include "record/record.h"

/* ---- the pass before ---- */

struct learner {
  struct fhir_deid *f;
  uint64_t rejected;
};

/* How many persons had a description with a code: the count (up to 3) and the first two of them. */
#define PERSON_BITS UINT64_C(0xFFFFFFF)
static void shown_key(struct str code, struct str display, uint64_t h[2]) {
  size_t n = 0, parts = 0;
  while (n < code.n && !(n + 1 < code.n && code.p[n] == '/' && code.p[n + 1] == '/' && ++parts == 2))
    n += n + 1 < code.n && code.p[n] == '/' && code.p[n + 1] == '/' ? 2 : 1;
  h[0] = hash64(code.p, n, 1);
  h[1] = hash64(display.p, display.n, 2);
}

static int learn_event(struct fhir_deid *f, uint32_t row, const struct record *r, struct error *e) {
  int32_t day;
  struct identity *id = vault_identity(f->vault, row);
  if (r->time.us != TIME_STATIC && deid_day(r->time.us, &day) && !deid_sentinel(&f->policy, day)) {
    if (id->first == DEID_DAY_NONE || day < id->first) id->first = day;
    if (id->last == DEID_DAY_NONE || day > id->last) id->last = day;
  }
  if (!r->display.n || !f->ours) return OK;
  bool fresh;
  uint64_t h[2], who = ((uint64_t)row + 1) & PERSON_BITS;
  shown_key(r->code, r->display, h);
  uint64_t *n = map_put(&f->shown, (struct str){(const char *)h, sizeof h}, &fresh);
  if (!n) return error_set(e, E_NOMEM, "no memory for descriptions");
  uint64_t count = *n & 255, one = *n >> 8 & PERSON_BITS, two = *n >> 36;
  if (count == 0)
    *n = 1 | who << 8;
  else if (count == 1 && who != one)
    *n = 2 | one << 8 | who << 36;
  else if (count == 2 && who != one && who != two)
    (*n)++;
  return OK;
}

static int learn(void *ctx, const struct record *r, struct error *e) {
  struct fhir_deid *f = ((struct learner *)ctx)->f;
  uint32_t row;
  int32_t day;
  if (r->kind == RECORD_DROPPED || r->kind == RECORD_IN_ERROR || !r->person.n || r->person.n > VAULT_KEY_LIMIT ||
      vault_gone(f->vault, f->source, r->person))
    return OK;
  TRY(vault_person(f->vault, f->source, r->person, &row, e));
  if (f->policy.dates == DEID_DATES_SHIFT && f->ours)
    TRY(vault_shift(f->vault, vault_identity(f->vault, row), f->policy.shift_days_max, e));
  if (r->kind == RECORD_IDENTIFIER) return f->ours ? vault_learn_identifier(f->vault, &row, r, e) : OK;
  if (r->kind != RECORD_BIRTH) return learn_event(f, row, r, e);
  if (r->time.us != TIME_STATIC && deid_day(r->time.us, &day) && !deid_sentinel(&f->policy, day))
    vault_learn_birth(vault_identity(f->vault, row), day, (uint8_t)r->time.precision);
  return OK;
}

static void count_reject(void *ctx, const struct record_reject *r) {
  (void)r;
  ((struct learner *)ctx)->rejected++;
}

int fhir_deid_learn(struct fhir_deid *f, const char *path, struct error *e) {
  struct learner l = {.f = f};
  struct record_sink sink = {.ctx = &l, .record = learn, .reject = count_reject};
  struct record_stats stats = {0};
  return fhir_read(&(struct fhir_options){0}, path, &sink, &stats, e);
}

uint32_t fhir_shown(const struct fhir_deid *f, struct str code, struct str display) {
  uint64_t h[2], n = 0;
  shown_key(code, display, h);
  return map_get(&f->shown, (struct str){(const char *)h, sizeof h}, &n) ? (uint32_t)(n & 255) : 0;
}

/* ---- references ---- */

static bool id_ok(struct str s) {
  if (!s.n || s.n > 64) return false;
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i];
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.')) return false;
  }
  return true;
}

struct fhir_ref fhir_ref_of(const struct fhir_deid *f, struct str s) {
  struct fhir_ref r = {.form = REF_NONE};
  if (str_starts(s, STR("#"))) {
    r.id = (struct str){s.p + 1, s.n - 1};
    r.form = REF_LOCAL;
  } else if (str_starts(s, STR("urn:uuid:"))) {
    r.id = (struct str){s.p + 9, s.n - 9};
    r.form = REF_URN;
  } else {
    /* [http://server/base/]Type/id[/_history/version] */
    const char *version = s.n > 10 ? memchr(s.p, '_', s.n) : NULL;
    while (version && !(version > s.p && s.p + s.n - version >= 9 && memcmp(version - 1, "/_history/", 10) == 0))
      version = memchr(version + 1, '_', (size_t)(s.p + s.n - version - 1));
    if (version) s.n = (size_t)(version - 1 - s.p);
    size_t slash = s.n;
    while (slash && s.p[slash - 1] != '/') slash--;
    if (!slash) return r;
    r.id = (struct str){s.p + slash, s.n - slash};
    size_t from = slash - 1;
    while (from && s.p[from - 1] != '/') from--;
    r.type = (struct str){s.p + from, slash - 1 - from};
    uint16_t type = fhir_type_id(f->types, r.type);
    if (fhir_type_of(f->types, type)->kind != FHIR_RESOURCE) return r;
    if (from && !str_starts(s, STR("http://")) && !str_starts(s, STR("https://"))) return r;
    r.form = REF_TYPED;
  }
  if (!id_ok(r.id)) r.form = REF_NONE;
  return r;
}

int fhir_row(struct fhir_deid *f, struct str id, uint32_t *row, struct error *e) {
  *row = FHIR_NOBODY;
  if (!id.n || id.n > VAULT_KEY_LIMIT) return OK;
  if (vault_gone(f->vault, f->source, id)) {
    f->roots[f->current].refused = true;
    return OK;
  }
  return vault_person(f->vault, f->source, id, row, e);
}

bool fhir_ref_person(struct fhir_deid *f, const struct fhir_ref *r, uint32_t *row) {
  uint64_t v;
  if (r->form == REF_TYPED && !str_eqc(r->type, "Patient")) return false;
  if (r->form != REF_TYPED && r->form != REF_URN) return false;
  if (f->has_alias && map_get(&f->alias, r->id, &v)) return *row = (uint32_t)v, true;
  if (r->form == REF_URN && !vault_known(f->vault, f->source, r->id, row)) return false;
  if (r->form == REF_URN) return true;
  return fhir_row(f, r->id, row, NULL) == OK && *row != FHIR_NOBODY;
}

static struct str member_text(struct fhir_deid *f, uint32_t object, struct str name) {
  uint32_t i = json_tree_get(&f->doc.json, object, name);
  return i && f->doc.json.at[i].kind == JSON_STRING ? json_tree_str(&f->doc.json, i) : STR_NONE;
}

static bool of_type(struct fhir_deid *f, uint32_t i, const char *name) {
  return str_eqc(fhir_type_of(f->types, f->doc.json.at[i].type)->name, name);
}

/* A Patient in a Bundle is called by its fullUrl too, or by that alone. */
static int alias(struct fhir_deid *f, uint32_t entry, struct error *e) {
  struct json_tree *t = &f->doc.json;
  uint32_t resource = json_tree_get(t, entry, STR("resource")), row = FHIR_NOBODY;
  if (!resource || !str_eqc(member_text(f, resource, STR("resourceType")), "Patient")) return OK;
  struct str id = member_text(f, resource, STR("id")), url = member_text(f, entry, STR("fullUrl"));
  struct fhir_ref r = fhir_ref_of(f, url);
  if (!r.id.n || r.form == REF_NONE || r.form == REF_LOCAL) return OK;
  if (!id.n) id = r.id;
  TRY(fhir_row(f, id, &row, e));
  if (row == FHIR_NOBODY || str_eq(id, r.id)) return OK;
  bool fresh;
  uint64_t *v = map_put(&f->alias, r.id, &fresh);
  if (!v) return error_set(e, E_NOMEM, "no memory for a bundle's persons");
  *v = row;
  f->has_alias = true;
  return OK;
}

int fhir_find_persons(struct fhir_deid *f, struct error *e) {
  struct json_tree *t = &f->doc.json;
  if (f->has_alias) {
    map_release(&f->alias);
    map_init(&f->alias, 0);
    f->has_alias = false;
  }
  if (!of_type(f, 1, "Bundle")) return OK;
  uint32_t list = json_tree_get(t, 1, STR("entry"));
  if (!list || t->at[list].kind != JSON_ARRAY) return OK;
  for (uint32_t i = t->at[list].child; i; i = t->at[i].next)
    if (t->at[i].kind == JSON_OBJECT) TRY(alias(f, i, e));
  return OK;
}

static const char *const subjects[] = {"subject", "patient", "beneficiary", "individual", "for", NULL};

static bool names_subject(const struct fhir_deid *f, uint32_t ref, uint32_t root) {
  const struct json_node *at = f->doc.json.at;
  uint32_t m = ref;
  if (at[at[m].parent].kind == JSON_ARRAY) m = at[m].parent;
  if (at[m].parent != root) return false;
  for (int k = 0; subjects[k]; k++)
    if (str_eqc((struct str){at[m].key, at[m].key_n}, subjects[k])) return true;
  return false;
}

/* The person of f->roots[current]: the Patient itself; who the subject is; else the one person whom the resource refers to at all;
 * contained resources have the person of the one around them. */
int fhir_person_of(struct fhir_deid *f, uint32_t index, struct error *e) {
  struct fhir_root *root = &f->roots[index];
  struct json_tree *t = &f->doc.json;
  uint16_t reference = fhir_type_id(f->types, STR("Reference"));
  root->person = FHIR_NOBODY;
  if (root->contained && root->outer != UINT32_MAX) {
    root->person = f->roots[root->outer].person;
    root->refused = f->roots[root->outer].refused;
    return OK;
  }
  if (of_type(f, root->node, "Patient")) {
    struct str id = member_text(f, root->node, STR("id"));
    uint32_t entry = t->at[root->node].parent;
    if (!id.n && entry) id = fhir_ref_of(f, member_text(f, entry, STR("fullUrl"))).id;
    return fhir_row(f, id, &root->person, e);
  }
  uint32_t found = FHIR_NOBODY, several = 0, row;
  for (uint32_t i = reference ? f->doc.head[reference] : 0; i; i = t->at[i].same) {
    if (t->at[i].kind != JSON_OBJECT) continue;
    struct fhir_ref r = fhir_ref_of(f, member_text(f, i, STR("reference")));
    if (!fhir_ref_person(f, &r, &row)) continue;
    if (names_subject(f, i, root->node)) {
      root->person = row;
      return OK;
    }
    several += found != FHIR_NOBODY && found != row;
    found = row;
  }
  if (!several) root->person = found;
  return OK;
}

struct identity *fhir_identity(const struct fhir_deid *f) {
  uint32_t row = f->roots[f->current].person;
  return row == FHIR_NOBODY ? NULL : vault_identity(f->vault, row);
}

bool fhir_over_cap(const struct fhir_deid *f, int64_t day) {
  const struct identity *id = fhir_identity(f);
  int cap = f->policy.age_cap ? f->policy.age_cap : 89;
  if (!id || id->birth == DEID_DAY_NONE || !deid_day_valid(day)) return false;
  int age = f->ours && f->policy.dates == DEID_DATES_YEAR ? deid_age_years(id->birth, (int32_t)day) : deid_age(id->birth, (int32_t)day);
  return age > cap;
}
