#include "deid/fhir_rules.h"

#include <stdio.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

enum { CONFIG_LIMIT = 8 << 20, RULES_LIMIT = 4096, CASES_LIMIT = 256, ZIPS_LIMIT = 1000 };

static int bad(struct error *e, const char *field, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  error_where(e, NULL, 0, field);
  return E_INPUT;
}

/* Their files begin with a byte order mark. */
static int load(struct arena *a, const char *path, struct json_parser **jp, struct json *root, char hash[65], struct error *e) {
  struct str text;
  uint8_t digest[32];
  TRY(json_parser_new(jp, e));
  TRY(file_read(a, path, CONFIG_LIMIT, &text, e));
  sha256_of(text.p, text.n, digest);
  hash_hex(digest, 32, hash);
  hash[64] = 0;
  if (str_starts(text, STR("\xEF\xBB\xBF"))) text = (struct str){text.p + 3, text.n - 3};
  TRY(json_parse(*jp, text.p, text.n, text.n, root, e));
  if (json_kind(json_get(*root, "fhirPathRules")) != JSON_ARRAY) return bad(e, "fhirPathRules", "expected a list of rules");
  return OK;
}

static const struct {
  const char *name;
  enum fhir_method method;
} methods[] = {{"keep", METHOD_KEEP},
               {"redact", METHOD_REDACT},
               {"remove", METHOD_REMOVE},
               {"dateShift", METHOD_DATE_SHIFT},
               {"cryptoHash", METHOD_HASH},
               {"encrypt", METHOD_ENCRYPT},
               {"perturb", METHOD_PERTURB},
               {"generalize", METHOD_GENERALIZE},
               {"substitute", METHOD_SUBSTITUTE},
               {"date", METHOD_DATE},
               {"birthDate", METHOD_BIRTH},
               {"id", METHOD_ID},
               {"reference", METHOD_REFERENCE},
               {"fullUrl", METHOD_FULL_URL},
               {"url", METHOD_URL},
               {"code", METHOD_CODE},
               {"coding", METHOD_CODING},
               {"quantity", METHOD_QUANTITY},
               {"age", METHOD_AGE},
               {"number", METHOD_NUMBER},
               {"zip3", METHOD_ZIP3},
               {"state", METHOD_STATE},
               {"country", METHOD_COUNTRY},
               {"extension", METHOD_EXTENSION},
               {"text", METHOD_TEXT},
               {"annotation", METHOD_ANNOTATION},
               {"attachment", METHOD_ATTACHMENT},
               {"narrative", METHOD_NARRATIVE},
               {"uid", METHOD_UID}};

static int method_of(struct str name, enum fhir_method *out, struct error *e) {
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
    if (str_eq_nocase(name, str_c(methods[i].name))) return *out = methods[i].method, OK;
  return bad(e, "method", "a method that is not known");
}

static void write_value(struct json_out *o, struct json v, int depth) {
  struct str key;
  struct json item;
  int64_t n;
  double x;
  bool yes;
  switch (json_kind(v)) {
    case JSON_OBJECT:
      json_out_object(o);
      if (depth < 40)
        for (struct json_iter it = json_members(v); json_next_member(&it, &key, &item);)
          json_out_key_str(o, key), write_value(o, item, depth + 1);
      json_out_end(o);
      break;
    case JSON_ARRAY:
      json_out_array(o);
      if (depth < 40)
        for (struct json_iter it = json_items(v); json_next(&it, &item);) write_value(o, item, depth + 1);
      json_out_end(o);
      break;
    case JSON_STRING: json_out_str(o, json_str(v)); break;
    case JSON_BOOL: json_bool(v, &yes), json_out_bool(o, yes); break;
    case JSON_INT:
    case JSON_REAL:
      if (json_i64(v, &n))
        json_out_i64(o, n);
      else if (json_f64(v, &x))
        json_out_f64(o, x);
      break;
    default: json_out_null(o);
  }
}

static int substitute(struct fhir_rules *r, struct json j, struct fhir_rule *to, struct error *e) {
  struct json with = json_get(j, "replaceWith");
  if (json_kind(with) == JSON_NONE || json_kind(with) == JSON_NULL || json_kind(with) == JSON_ARRAY)
    return bad(e, "replaceWith", "expected a value or an object");
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  write_value(&o, with, 0);
  int rc = buf_check(&b, e);
  if (rc == OK) to->replace = str_copy(&r->a, (struct str){b.p, b.n});
  if (rc == OK && !to->replace.p) rc = error_set(e, E_NOMEM, "no memory for a rule");
  buf_release(&b);
  return rc;
}

static int generalize(struct fhir_rules *r, const struct fhir_types *types, struct json j, struct fhir_rule *to, struct error *e) {
  struct json cases = json_get(j, "cases"), v;
  struct str key, other = json_str(json_get(j, "otherValues"));
  size_t n = json_count(cases);
  if (json_kind(cases) != JSON_OBJECT || n > CASES_LIMIT) return bad(e, "cases", "expected an object of conditions and expressions");
  struct fhir_case *list = arena_array(&r->a, struct fhir_case, n + 1);
  if (!list) return error_set(e, E_NOMEM, "no memory for a rule");
  for (struct json_iter it = json_members(cases); json_next_member(&it, &key, &v);) {
    struct str give = json_str(v);
    if (!give.p) return bad(e, "cases", "expected expressions as texts");
    struct fhir_case *c = &list[to->case_n++];
    TRY(fhirpath_parse(&r->a, types, key, &c->when, e));
    TRY(fhirpath_parse(&r->a, types, give, &c->give, e));
  }
  to->cases = list;
  if (other.p && !str_eq_nocase(other, STR("keep")) && !str_eq_nocase(other, STR("redact")))
    return bad(e, "otherValues", "expected redact or keep");
  to->other_keep = str_eq_nocase(other, STR("keep"));
  return OK;
}

static int perturb(struct json j, struct fhir_rule *to, struct error *e) {
  int64_t round = 2;
  struct str range = json_str(json_get(j, "rangeType"));
  if (!json_f64(json_get(j, "span"), &to->span) || !(to->span >= 0)) return bad(e, "span", "expected a number of at least 0");
  if (json_kind(json_get(j, "roundTo")) != JSON_NONE && !json_i64(json_get(j, "roundTo"), &round))
    return bad(e, "roundTo", "expected a whole number");
  if (round < 0 || round > 28) return bad(e, "roundTo", "expected 0 to 28");
  if (range.p && !str_eq_nocase(range, STR("fixed")) && !str_eq_nocase(range, STR("proportional")))
    return bad(e, "rangeType", "expected fixed or proportional");
  to->proportional = str_eq_nocase(range, STR("proportional"));
  to->round_to = (int)round;
  return OK;
}

static int rule(struct fhir_rules *r, const struct fhir_types *types, struct json j, struct error *e) {
  struct fhir_rule *to = &r->rule[r->n];
  struct str path, method;
  TRY(json_want_str(j, "path", &path, e));
  TRY(json_want_str(j, "method", &method, e));
  TRY(method_of(method, &to->method, e));
  TRY(fhirpath_parse(&r->a, types, path, &to->path, e));
  if (to->method == METHOD_SUBSTITUTE) TRY(substitute(r, j, to, e));
  if (to->method == METHOD_GENERALIZE) TRY(generalize(r, types, j, to, e));
  if (to->method == METHOD_PERTURB) TRY(perturb(j, to, e));
  r->n++;
  return OK;
}

static int text(struct fhir_rules *r, struct json p, const char *key, struct str *out, struct error *e) {
  struct json v = json_get(p, key);
  if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) return OK;
  if (!json_str(v).p) return bad(e, key, "expected a text");
  *out = str_copy(&r->a, json_str(v));
  return out->n && !out->p ? error_set(e, E_NOMEM, "no memory for a key") : OK;
}

static int flag(struct json p, const char *key, bool *out, struct error *e) {
  struct json v = json_get(p, key);
  if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) return OK;
  return json_bool(v, out) ? OK : bad(e, key, "expected true or false");
}

static int zips(struct fhir_rules *r, struct json list, struct error *e) {
  struct json v;
  size_t n = json_count(list);
  if (n > ZIPS_LIMIT) return bad(e, "restrictedZipCodeTabulationAreas", "more than 1000 prefixes");
  r->zip3 = arena_alloc_array(&r->a, 4, n + 1, 1);
  if (!r->zip3) return error_set(e, E_NOMEM, "no memory for prefixes");
  for (struct json_iter it = json_items(list); json_next(&it, &v);) {
    struct str s = json_str(v);
    if (s.n != 3) return bad(e, "restrictedZipCodeTabulationAreas", "expected prefixes of 3 digits");
    memcpy(r->zip3[r->zip3_n++], s.p, 3);
  }
  return OK;
}

static int parameters(struct fhir_rules *r, struct json p, struct error *e) {
  int64_t days = 0;
  if (json_kind(p) == JSON_NONE) return OK;
  if (json_kind(p) != JSON_OBJECT) return bad(e, "parameters", "expected an object");
  TRY(text(r, p, "dateShiftKey", &r->shift_key, e));
  TRY(text(r, p, "cryptoHashKey", &r->hash_key, e));
  TRY(text(r, p, "encryptKey", &r->encrypt_key, e));
  TRY(flag(p, "enablePartialAgesForRedact", &r->partial_ages, e));
  TRY(flag(p, "enablePartialDatesForRedact", &r->partial_dates, e));
  TRY(flag(p, "enablePartialZipCodesForRedact", &r->partial_zips, e));
  struct str scope = json_str(json_get(p, "dateShiftScope"));
  if (scope.n && !str_eq_nocase(scope, STR("resource")) && !str_eq_nocase(scope, STR("file")) && !str_eq_nocase(scope, STR("folder")))
    return bad(e, "dateShiftScope", "expected resource, file or folder");
  struct json fixed = json_get(p, "dateShiftFixedOffsetInDays");
  if (json_kind(fixed) != JSON_NONE && json_kind(fixed) != JSON_NULL) {
    if (!json_i64(fixed, &days) || days < -36500 || days > 36500) return bad(e, "dateShiftFixedOffsetInDays", "expected a number of days");
    r->has_offset = true;
    r->fixed_offset = (int)days;
  }
  return zips(r, json_get(p, "restrictedZipCodeTabulationAreas"), e);
}

static int system_key(char *to, size_t size, struct str system, struct str code) {
  if (system.n + 1 + code.n >= size) return -1;
  memcpy(to, system.p, system.n);
  to[system.n] = '|';
  if (code.n) memcpy(to + system.n + 1, code.p, code.n);
  return (int)(system.n + 1 + code.n);
}

static int systems(struct fhir_rules *r, struct json list, struct error *e) {
  struct str url;
  struct json v;
  char key[320];
  bool fresh;
  for (struct json_iter it = json_members(list); json_next_member(&it, &url, &v);) {
    struct str codes = json_str(v);
    if (!codes.n || !url.n) return bad(e, "codeSystems", "expected codes as one text, with | between them");
    while (codes.p) {
      int n = system_key(key, sizeof key, url, str_cut(&codes, '|'));
      if (n < 0) return bad(e, "codeSystems", "a code that is too long");
      if (!map_put(&r->systems, (struct str){key, (size_t)n}, &fresh)) return error_set(e, E_NOMEM, "no memory for codes");
    }
  }
  return OK;
}

bool fhir_rules_code(const struct fhir_rules *r, struct str system, struct str code) {
  char key[320];
  uint64_t v;
  int n = system.n && code.n && system.n + code.n < sizeof key ? system_key(key, sizeof key, system, code) : -1;
  return n > 0 && map_get(&r->systems, (struct str){key, (size_t)n}, &v);
}

static int head(struct fhir_rules *r, struct json root, struct error *e) {
  struct str errors = json_str(json_get(root, "processingErrors")), others = json_str(json_get(root, "others"));
  struct str release = json_str(json_get(root, "fhirVersion"));
  if (errors.n && !str_eq_nocase(errors, STR("raise")) && !str_eq_nocase(errors, STR("skip")))
    return bad(e, "processingErrors", "expected raise or skip");
  if (others.n && !str_eqc(others, "drop") && !str_eqc(others, "keep")) return bad(e, "others", "expected drop or keep");
  if (release.n && !str_eq_nocase(release, STR("R4")) && !str_eq_nocase(release, STR("STU3")))
    return bad(e, "fhirVersion", "expected R4 or STU3");
  r->skip_errors = str_eq_nocase(errors, STR("skip"));
  r->drop_others = str_eqc(others, "drop");
  r->stu3 = str_eq_nocase(release, STR("STU3"));
  TRY(systems(r, json_get(root, "codeSystems"), e));
  return text(r, root, "states", &r->states, e);
}

static int read_rules(struct fhir_rules *r, const struct fhir_types *types, struct json root, struct error *e) {
  struct json list = json_get(root, "fhirPathRules"), v;
  size_t n = json_count(list);
  if (n > RULES_LIMIT) return bad(e, "fhirPathRules", "too many rules");
  r->rule = arena_array(&r->a, struct fhir_rule, n + 1);
  if (!r->rule) return error_set(e, E_NOMEM, "no memory for the rules");
  TRY(head(r, root, e));
  for (struct json_iter it = json_items(list); json_next(&it, &v);) {
    int rc = rule(r, types, v, e);
    if (rc < 0) return error_where(e, NULL, (int64_t)r->n + 1, NULL), rc;
  }
  return parameters(r, json_get(root, "parameters"), e);
}

int fhir_rules_load(const char *path, const struct fhir_types *types, struct fhir_rules **out, struct error *e) {
  struct json_parser *jp = NULL;
  struct arena file;
  struct json root;
  *out = NULL;
  struct fhir_rules *r = mem_alloc(sizeof *r);
  if (!r) return error_set(e, E_NOMEM, "no memory for the rules");
  *r = (struct fhir_rules){0};
  arena_init(&r->a, CONFIG_LIMIT * 4, ARENA_WIPE); /* keys are in it */
  arena_init(&file, CONFIG_LIMIT * 2, ARENA_WIPE);
  map_init(&r->systems, 0);
  int rc = load(&file, path, &jp, &root, r->hash, e);
  if (rc == OK) rc = read_rules(r, types, root, e);
  json_parser_free(jp);
  arena_free(&file);
  if (rc == OK) return *out = r, OK;
  fhir_rules_free(r);
  if (!(e && e->file[0])) error_where(e, path, 0, NULL);
  return rc;
}

void fhir_rules_free(struct fhir_rules *r) {
  if (!r) return;
  arena_free(&r->a);
  map_release(&r->systems);
  mem_free(r);
}

int fhir_rules_release(const char *path, bool *stu3, struct error *e) {
  struct json_parser *jp = NULL;
  struct arena file;
  struct json root;
  char hash[65];
  arena_init(&file, CONFIG_LIMIT * 2, ARENA_WIPE);
  int rc = load(&file, path, &jp, &root, hash, e);
  *stu3 = rc == OK && str_eq_nocase(json_str(json_get(root, "fhirVersion")), STR("STU3"));
  json_parser_free(jp);
  arena_free(&file);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc;
}

bool fhir_rules_is_config(const char *path) {
  bool stu3;
  return fhir_rules_release(path, &stu3, NULL) == OK;
}
