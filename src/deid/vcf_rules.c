/* What may stay in a VCF: reading the table, checking values. */
#include "deid/vcf_rules.h"

#include "deid/vcf_clean.h"

enum { VALUE_MOST = 64 << 10, TABLE_LIMIT = 16 << 20 };

static int bad(struct error *e, const char *field) {
  error_set(e, E_INPUT, "not understood");
  error_where(e, NULL, 0, field);
  return E_INPUT;
}

static int load_shapes(struct vcf_rules *r, const char *key, struct vcf_shapes *out, struct error *e) {
  struct json list = json_get(r->fields, key), item;
  if (json_kind(list) != JSON_ARRAY) return bad(e, key);
  out->shape = arena_array(&r->memory, const struct code_shape *, json_count(list) + 1);
  if (!out->shape) return error_set(e, E_NOMEM, "no memory for the table of VCF fields");
  for (struct json_iter it = json_items(list); json_next(&it, &item);)
    TRY(code_shape_parse(&r->memory, json_str(item), &out->shape[out->n++], e));
  return OK;
}

static int load_values(struct vcf_rules *r, struct json list, struct vcf_rule *rule, struct error *e) {
  struct json item;
  rule->kind = VCF_VALUES;
  rule->values = arena_new(&r->memory, struct map);
  if (!rule->values) return error_set(e, E_NOMEM, "no memory for the table of VCF fields");
  map_init(rule->values, TABLE_LIMIT);
  for (struct json_iter it = json_items(list); json_next(&it, &item);)
    if (!map_put(rule->values, json_str(item), NULL)) return error_set(e, E_NOMEM, "no memory for the table of VCF fields");
  return OK;
}

static int load_rule(struct vcf_rules *r, struct json v, struct vcf_rule *rule, struct error *e) {
  static const char *const kinds[] = {"flag", "integer", "float", "bases", "genotype", "note"};
  if (json_kind(v) == JSON_ARRAY) return load_values(r, v, rule, e);
  for (int i = 0; i <= VCF_NOTE; i++)
    if (str_eqc(json_str(v), kinds[i])) return rule->kind = (enum vcf_kind)i, OK;
  return bad(e, "info");
}

static int load_keys(struct vcf_rules *r, const char *member, struct vcf_keys *k, struct error *e) {
  struct json object = json_get(r->fields, member), v;
  struct str key;
  size_t n = json_count(object) + 1;
  if (json_kind(object) != JSON_OBJECT) return bad(e, member);
  k->rule = arena_array(&r->memory, struct vcf_rule, n);
  k->prefix = arena_array(&r->memory, uint32_t, n);
  if (!k->rule || !k->prefix) return error_set(e, E_NOMEM, "no memory for the table of VCF fields");
  for (struct json_iter it = json_members(object); json_next_member(&it, &key, &v);) {
    struct vcf_rule *rule = &k->rule[k->rules++]; /* counted first: what it owns is freed even if it stays half read */
    TRY(load_rule(r, v, rule, e));
    if (key.n > 3 && key.p[key.n - 1] == '*') {
      rule->begins = (struct str){key.p, key.n - 1};
      k->prefix[k->prefixes++] = (uint32_t)(k->rules - 1);
      continue;
    }
    uint64_t *at = map_put(&k->exact, key, NULL);
    if (!at) return error_set(e, E_NOMEM, "no memory for the table of VCF fields");
    *at = k->rules - 1;
  }
  return OK;
}

static int load_cohort(struct vcf_rules *r, struct error *e) {
  struct json cohort = json_get(r->fields, "cohort"), key;
  int64_t below;
  TRY(json_want_i64(cohort, "below", &below, e));
  if (below < 0 || below > UINT32_MAX) return bad(e, "cohort");
  r->cohort_below = (uint32_t)below;
  for (struct json_iter it = json_items(json_get(cohort, "keys")); json_next(&it, &key);)
    if (!json_str(key).n || !map_put(&r->cohort, json_str(key), NULL)) return bad(e, "cohort");
  return OK;
}

static int load(struct vcf_rules *r, const char *path, struct error *e) {
  TRY(json_load(&r->memory, path, &r->fields, e));
  TRY(load_shapes(r, "contigs", &r->contigs, e));
  TRY(load_shapes(r, "ids", &r->ids, e));
  TRY(load_shapes(r, "filters", &r->filters, e));
  TRY(load_shapes(r, "alts", &r->alts, e));
  TRY(load_keys(r, "info", &r->info, e));
  TRY(load_cohort(r, e));
  return load_keys(r, "format", &r->format, e);
}

int vcf_rules_load(const char *path, struct vcf_rules **out, struct error *e) {
  *out = NULL;
  struct vcf_rules *r = mem_alloc(sizeof *r);
  if (!r) return error_set(e, E_NOMEM, "no memory for the table of VCF fields");
  memset(r, 0, sizeof *r);
  arena_init(&r->memory, TABLE_LIMIT, 0);
  map_init(&r->info.exact, TABLE_LIMIT);
  map_init(&r->format.exact, TABLE_LIMIT);
  map_init(&r->cohort, TABLE_LIMIT);
  int rc = load(r, path, e);
  if (rc < 0) {
    if (e && !e->file[0]) error_where(e, path, 0, NULL);
    vcf_rules_free(r);
    return rc;
  }
  *out = r;
  return OK;
}

static void free_keys(struct vcf_keys *k) {
  for (size_t i = 0; i < k->rules; i++)
    if (k->rule[i].values) map_release(k->rule[i].values);
  map_release(&k->exact);
}

void vcf_rules_free(struct vcf_rules *r) {
  if (!r) return;
  free_keys(&r->info);
  free_keys(&r->format);
  map_release(&r->cohort);
  arena_free(&r->memory);
  mem_free(r);
}

/* ---- checking ---- */

bool vcf_shaped(const struct vcf_shapes *s, struct str text) {
  for (size_t i = 0; i < s->n; i++)
    if (code_shape_match(s->shape[i], text)) return true;
  return false;
}

/* What a * stands for is somebody's own word: short, and of few letters. */
static bool plain_rest(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_'))
      return false;
  return s.n <= 24;
}

const struct vcf_rule *vcf_rule_of(const struct vcf_keys *k, struct str key) {
  uint64_t at;
  if (map_get(&k->exact, key, &at)) return &k->rule[at];
  for (size_t i = 0; i < k->prefixes; i++) {
    const struct vcf_rule *r = &k->rule[k->prefix[i]];
    if (str_starts(key, r->begins) && plain_rest((struct str){key.p + r->begins.n, key.n - r->begins.n})) return r;
  }
  return NULL;
}

static bool digit(char c) { return c >= '0' && c <= '9'; }
static size_t digits(struct str s, size_t at) {
  size_t n = 0;
  while (at + n < s.n && digit(s.p[at + n])) n++;
  return n;
}

bool vcf_number(struct str s, bool real) {
  size_t i = 0, whole, part = 0;
  if (str_eqc(s, ".")) return true;
  if (i < s.n && (s.p[i] == '-' || s.p[i] == '+')) i++;
  struct str word = {s.p + i, s.n - i};
  if (real && (str_eq_nocase(word, STR("nan")) || str_eq_nocase(word, STR("inf")) || str_eq_nocase(word, STR("infinity")))) return true;
  i += whole = digits(s, i);
  if (whole > 18) return false;
  if (real && i < s.n && s.p[i] == '.') i += 1 + (part = digits(s, i + 1));
  if (whole + part == 0) return false;
  if (real && i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
    i++;
    if (i < s.n && (s.p[i] == '-' || s.p[i] == '+')) i++;
    size_t power = digits(s, i);
    if (power == 0 || power > 4) return false;
    i += power;
  }
  return i == s.n;
}

bool vcf_bases(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (!strchr("ACGTNacgtnURYSWKMBDHVurywskmbdhv", s.p[i]) || !s.p[i]) return false;
  return s.n > 0;
}

/* Every part between commas (and bars, which some callers use within a value). */
static bool each_part(const struct vcf_rule *r, struct str value) {
  while (value.p) {
    struct str part = str_cut(&value, ',');
    bool fits = r->kind == VCF_BASES    ? vcf_bases(part) || str_eqc(part, ".") || str_eqc(part, "null")
                : r->kind == VCF_VALUES ? str_eqc(part, ".") || map_get(r->values, part, NULL)
                                        : vcf_number(part, r->kind == VCF_FLOAT);
    if (!fits) return false;
  }
  return true;
}

/* Alleles with a bar or slash between (VCF 4.4: also before the first), each a dot or a number that ALT has; no other digits pass. */
static bool genotype(struct str s, uint32_t alts) {
  if (s.n > 256) return false;
  size_t i = s.n && (s.p[0] == '/' || s.p[0] == '|');
  for (;; i++) {
    size_t n = digits(s, i);
    uint32_t allele = 0;
    if (n > 6 || (n > 1 && s.p[i] == '0')) return false;
    for (size_t k = 0; k < n; k++) allele = allele * 10 + (uint32_t)(s.p[i + k] - '0');
    if (n == 0 && (i >= s.n || s.p[i] != '.')) return false;
    if (allele > alts) return false;
    i += n ? n : 1;
    if (i == s.n) return true;
    if (s.p[i] != '/' && s.p[i] != '|') return false;
  }
}

/* dddd-dd-dd, dd/dd/dddd and the like. */
static bool holds_date(struct str s) {
  for (size_t i = 0; i < s.n; i++) {
    if ((i && digit(s.p[i - 1])) || !digit(s.p[i])) continue;
    size_t a = digits(s, i), b, c;
    if (i + a >= s.n || (s.p[i + a] != '-' && s.p[i + a] != '/')) continue;
    b = digits(s, i + a + 1);
    if (i + a + 1 + b >= s.n || s.p[i + a + 1 + b] != s.p[i + a]) continue;
    c = digits(s, i + a + 2 + b);
    if (b >= 1 && b <= 2 && ((a == 4 && c >= 1 && c <= 2) || (a <= 2 && (c == 2 || c == 4)))) return true;
  }
  return false;
}

static bool note(struct str s, const struct map *forbidden) {
  int slashes = 0;
  if (s.n == 0 || s.n > VALUE_MOST) return false;
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i];
    if (c <= 32 || c > 126 || c == '@' || c == '"' || c == '\\' || c == '~') return false;
    if (c == '/') {
      if (++slashes > 1 || (i + 1 < s.n && s.p[i + 1] == '/')) return false; /* a path or an address */
    } else if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", c)) {
      slashes = 0;
    }
  }
  return !holds_date(s) && !vcf_forbidden(forbidden, s);
}

bool vcf_value(const struct vcf_rule *r, struct str value, uint32_t alts, const struct map *forbidden) {
  switch (r->kind) {
    case VCF_FLAG: return !value.p;
    case VCF_GENOTYPE: return genotype(value, alts);
    case VCF_NOTE: return note(value, forbidden);
    default: return value.p && value.n <= VALUE_MOST && each_part(r, value);
  }
}

/* ---- words that must not come out ---- */

static bool word_byte(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || digit(c) || (unsigned char)c >= 128; }

static struct str lower(struct str s, char out[VCF_WORD_MOST]) {
  for (size_t i = 0; i < s.n; i++) out[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + 32) : s.p[i];
  return (struct str){out, s.n};
}

static struct str next_word(struct str *rest) {
  size_t i = 0, n = 0;
  if (!rest->n) return STR_NONE; /* which may be no text at all */
  while (i < rest->n && !word_byte(rest->p[i])) i++;
  while (i + n < rest->n && word_byte(rest->p[i + n])) n++;
  struct str word = {rest->p + i, n};
  *rest = (struct str){rest->p + i + n, rest->n - i - n};
  return word;
}

int vcf_forbid(struct map *forbidden, struct str text, struct error *e) {
  char low[VCF_WORD_MOST];
  if (text.n >= VCF_WORD_LEAST && text.n <= VCF_WORD_MOST && !map_put(forbidden, lower(text, low), NULL))
    return error_set(e, E_NOMEM, "no memory for names");
  for (struct str word; (word = next_word(&text)).n;)
    if (word.n >= VCF_WORD_LEAST && word.n <= VCF_WORD_MOST && !map_put(forbidden, lower(word, low), NULL))
      return error_set(e, E_NOMEM, "no memory for names");
  return OK;
}

bool vcf_forbidden(const struct map *forbidden, struct str text) {
  char low[VCF_WORD_MOST];
  if (!forbidden || forbidden->count == 0) return false;
  if (text.n <= VCF_WORD_MOST && map_get(forbidden, lower(text, low), NULL)) return true;
  for (struct str word; (word = next_word(&text)).n;)
    if (word.n <= VCF_WORD_MOST && map_get(forbidden, lower(word, low), NULL)) return true;
  return false;
}
