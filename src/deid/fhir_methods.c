/* The methods of Microsoft's configurations, on one value. Where theirs has a defect ours does the safe thing: docs/deid-fhir.md. */
#include <math.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>

#include "base/hash.h"
#include "deid/deid_date.h"
#include "deid/fhir_private.h"

static struct str value_of(struct fhir_deid *f, uint32_t i) { return json_tree_str(&f->doc.json, i); }
static struct str type_name(const struct fhir_deid *f, uint32_t i) { return fhir_type_of(f->types, f->doc.json.at[i].type)->name; }
static bool is_date(const struct fhir_deid *f, uint32_t i) {
  struct str t = type_name(f, i);
  return str_eqc(t, "date") || str_eqc(t, "dateTime") || str_eqc(t, "instant");
}
static struct str element_name(const struct fhir_deid *f, uint32_t i) { return fhir_types_el(f->types, f->doc.json.at[i].el)->name; }
static struct str outer_type(const struct fhir_deid *f, uint32_t i) { return type_name(f, fhir_parent(&f->doc, i)); }

/* ---- dates ---- */

static bool time_text(struct str s) { /* T10:20:30.5+01:00, digits and signs only */
  if (s.n < 3 || s.n > 32 || *s.p != 'T') return false;
  for (size_t i = 1; i < s.n; i++)
    if (!((s.p[i] >= '0' && s.p[i] <= '9') || memchr(":.+-Z", s.p[i], 5))) return false;
  return true;
}

bool fhir_date_split(struct str s, struct fhir_date *out) {
  size_t n = s.n < 7 ? 4 : s.n < 10 ? 7 : 10;
  struct time_parts parts;
  int64_t us;
  if (s.n < 4 || (n == 4 && s.n != 4) || (n == 7 && s.n != 7) || (n >= 7 && s.p[4] != '-') || (n == 10 && s.p[7] != '-')) return false;
  if (time_parse((struct str){s.p, n}, &parts, &us, NULL) < 0 || parts.precision > TIME_PRECISION_DAY) return false;
  *out = (struct fhir_date){.day = time_day(us), .precision = parts.precision, .rest = {s.p + n, s.n - n}};
  if (!time_text(out->rest) || time_parse(s, &parts, &us, NULL) < 0) out->rest.n = 0;
  return true;
}

int fhir_date_shift(struct fhir_deid *f, uint32_t i, const struct fhir_date *d, int32_t days, struct error *e) {
  int64_t us = deid_date(DEID_DATES_SHIFT, d->day * TIME_DAY, d->precision, days);
  int64_t day = time_day(us);
  if (!deid_day_valid(day)) return 0;
  char text[64];
  time_format_date(day * TIME_DAY, text);
  size_t n = strlen(text);
  if (d->precision == TIME_PRECISION_YEAR) n = 4;
  if (d->precision == TIME_PRECISION_MONTH) n = 7;
  memcpy(text + n, d->rest.p, d->rest.n);
  TRY(json_tree_set_str(&f->doc.json, i, (struct str){text, n + d->rest.n}, e));
  return 1;
}

/* HMAC under the configuration's key: the offset of a person when there is no vault that remembers one; never 0. */
static void keyed(struct str key, const char *purpose, struct str what, uint8_t out[32]) {
  crypto_auth_hmacsha256_state st;
  crypto_auth_hmacsha256_init(&st, (const uint8_t *)key.p, key.n);
  crypto_auth_hmacsha256_update(&st, (const uint8_t *)purpose, strlen(purpose) + 1);
  crypto_auth_hmacsha256_update(&st, (const uint8_t *)what.p, what.n);
  crypto_auth_hmacsha256_final(&st, out);
  mem_wipe(&st, sizeof st);
}

static int32_t keyed_shift(struct str key, struct str what) {
  uint8_t h[32];
  int32_t days = 0;
  keyed(key, "shift", what, h);
  for (int k = 0; k < 8; k++) {
    uint32_t r;
    memcpy(&r, h + 4 * k, 4);
    if (deid_shift_from(r, THEIR_SHIFT_MAX, &days)) break;
  }
  return days ? days : 1;
}

/* A resource that is about nobody has a shift of its own, from its type and id. */
static struct str own_name(struct fhir_deid *f, char *to, size_t size) {
  uint32_t node = f->roots[f->current].node, id = json_tree_get(&f->doc.json, node, STR("id"));
  struct str t = type_name(f, node), s = id ? value_of(f, id) : STR_NONE;
  int n = snprintf(to, size, "%.*s/%.*s", STR_ARG(t), (int)(s.n < 64 ? s.n : 64), s.p ? s.p : "");
  return (struct str){to, n < 0 ? 0 : (size_t)n};
}

static int their_shift(struct fhir_deid *f, int32_t *days, struct error *e) {
  struct identity *id = fhir_identity(f);
  char name[160];
  if (f->rules->has_offset) {
    *days = f->rules->fixed_offset;
    return OK;
  }
  if (id && (f->keep_vault || !f->rules->shift_key.n)) {
    TRY(vault_shift(f->vault, id, THEIR_SHIFT_MAX, e));
    *days = id->shift_days;
    return OK;
  }
  struct str key = f->rules->shift_key.n && !f->keep_vault ? f->rules->shift_key : (struct str){(const char *)f->secret, 32}, what;
  if (id)
    what = vault_text(f->vault, vault_entry(&f->vault->keys, id->keys - 1)).value;
  else
    what = own_name(f, name, sizeof name);
  *days = keyed_shift(key, what);
  return OK;
}

/* What is left of a date that a configuration redacts: its year, if it may stay. */
static int partial_date(struct fhir_deid *f, uint32_t i, const struct fhir_date *d, struct error *e) {
  char year[16];
  int y, m, day;
  time_to_civil(d->day, &y, &m, &day);
  snprintf(year, sizeof year, "%04d", y);
  return json_tree_set_str(&f->doc.json, i, (struct str){year, 4}, e);
}

static bool date_may_stay(struct fhir_deid *f, uint32_t i, const struct fhir_date *d) {
  if (d->precision == TIME_PRECISION_DAY && deid_sentinel(&f->policy, (int32_t)d->day)) return f->n.sentinels++, false;
  const struct identity *id = fhir_identity(f);
  bool birth = str_eqc(element_name(f, i), "birthDate");
  if (birth && id && id->last != DEID_DAY_NONE) return !fhir_over_cap(f, id->last);
  return birth || !fhir_over_cap(f, d->day);
}

static int date_shift(struct fhir_deid *f, uint32_t i, struct error *e) {
  struct fhir_date d;
  int32_t days = 0;
  if (!is_date(f, i)) return OK;
  fhir_label(f, LABEL_PERTURBED);
  f->n.dates++;
  bool whole = fhir_date_split(value_of(f, i), &d) && date_may_stay(f, i, &d);
  if (!whole || (d.precision != TIME_PRECISION_DAY && !f->rules->partial_dates)) return fhir_null(f, i), OK;
  TRY(their_shift(f, &days, e));
  int rc = fhir_date_shift(f, i, &d, days, e);
  if (rc == 0) fhir_null(f, i);
  return rc < 0 ? rc : OK;
}

/* ---- redact, with what may be kept ---- */

static bool restricted(const struct fhir_deid *f, const char *zip) {
  for (uint32_t k = 0; k < f->rules->zip3_n; k++)
    if (memcmp(f->rules->zip3[k], zip, 3) == 0) return true;
  for (int k = 0; k < f->policy.zip3_n; k++)
    if (memcmp(f->policy.zip3[k], zip, 3) == 0) return true;
  return false;
}

static bool us_address(struct fhir_deid *f, uint32_t i) {
  uint32_t country = json_tree_get(&f->doc.json, fhir_parent(&f->doc, i), STR("country"));
  struct str s = country ? str_trim(value_of(f, country)) : STR_NONE;
  if (!s.n) return true;
  for (int k = 0; k < f->policy.zip3_country_n; k++)
    if (str_eq_nocase(s, str_c(f->policy.zip3_country[k]))) return true;
  return false;
}

/* 12345 -> 12300, of whole US codes only; other postcodes go. */
static int zip(struct fhir_deid *f, uint32_t i, struct error *e) {
  struct str s = value_of(f, i);
  char to[16];
  bool whole = s.n == 5 || s.n == 9 || (s.n == 10 && s.p[5] == '-');
  for (size_t k = 0; k < s.n && whole; k++) whole = (s.p[k] >= '0' && s.p[k] <= '9') || (s.n == 10 && k == 5);
  fhir_label(f, LABEL_ABSTRED);
  if (!whole || !us_address(f, i)) return fhir_null(f, i), OK;
  bool clear = restricted(f, s.p);
  for (size_t k = 0; k < s.n; k++) to[k] = s.p[k] == '-' ? '-' : k < 3 && !clear ? s.p[k] : '0';
  return json_tree_set_str(&f->doc.json, i, (struct str){to, s.n}, e);
}

static void age(struct fhir_deid *f, uint32_t i) {
  uint32_t outer = fhir_parent(&f->doc, i), unit = json_tree_get(&f->doc.json, outer, STR("code"));
  double years;
  if (!unit) unit = json_tree_get(&f->doc.json, outer, STR("unit"));
  struct str s = value_of(f, i), u = unit ? value_of(f, unit) : STR_NONE;
  fhir_label(f, LABEL_REDACTED);
  if (str_to_f64(s, &years) == OK && years >= 0 && years / code_rules_per_year(u) < 90) return;
  fhir_null(f, i);
}

static int redact(struct fhir_deid *f, uint32_t i, struct error *e) {
  struct fhir_date d;
  f->n.redacted++;
  if (is_date(f, i) && f->rules->partial_dates) {
    fhir_label(f, LABEL_REDACTED);
    if (fhir_date_split(value_of(f, i), &d) && date_may_stay(f, i, &d)) return partial_date(f, i, &d, e);
    return fhir_null(f, i), OK;
  }
  struct str name = element_name(f, i), outer = outer_type(f, i);
  if (f->rules->partial_zips && str_eqc(name, "postalCode") && str_eqc(outer, "Address")) return zip(f, i, e);
  if (f->rules->partial_ages && str_eqc(name, "value") && str_eqc(outer, "Age")) return age(f, i), OK;
  fhir_label(f, LABEL_REDACTED);
  fhir_null(f, i);
  return OK;
}

/* ---- hash, encrypt ---- */

static void hash_text(struct fhir_deid *f, struct str s, char out[65]) {
  uint8_t h[32];
  crypto_auth_hmacsha256_state st;
  struct str key = f->rules->hash_key.n ? f->rules->hash_key : (struct str){(const char *)f->secret, 32};
  crypto_auth_hmacsha256_init(&st, (const uint8_t *)key.p, key.n);
  crypto_auth_hmacsha256_update(&st, (const uint8_t *)s.p, s.n);
  crypto_auth_hmacsha256_final(&st, h);
  mem_wipe(&st, sizeof st);
  hash_hex(h, 32, out);
}

static bool oid_text(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (!((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.')) return false;
  return s.n > 2;
}

/* Where the id lies in a literal reference: [from, to). The whole text if it has no such form. */
static void id_part(const struct fhir_deid *f, struct str s, size_t *from, size_t *to) {
  *from = 0;
  *to = s.n;
  struct fhir_ref r = fhir_ref_of(f, s);
  if (r.form != REF_NONE) {
    *from = (size_t)(r.id.p - s.p);
    *to = *from + r.id.n;
  } else if (str_starts(s, STR("urn:oid:")) && oid_text((struct str){s.p + 8, s.n - 8})) {
    *from = 8;
  }
}

static int hash_value(struct fhir_deid *f, uint32_t i, struct error *e) {
  struct str s = value_of(f, i);
  if (!s.n) return OK;
  fhir_label(f, LABEL_HASH);
  char hex[65];
  size_t from = 0, to = s.n;
  if (str_eqc(element_name(f, i), "reference") && str_eqc(outer_type(f, i), "Reference")) id_part(f, s, &from, &to);
  hash_text(f, (struct str){s.p + from, to - from}, hex);
  struct buf b = {0};
  buf_put(&b, s.p, from);
  buf_put(&b, hex, 64);
  buf_put(&b, s.p + to, s.n - to);
  int rc = buf_check(&b, e);
  if (rc == OK) rc = json_tree_set_str(&f->doc.json, i, (struct str){b.p, b.n}, e);
  buf_release(&b);
  return rc;
}

/* 32 secret bytes for this place of this document: the same when the run is repeated. */
static void place(struct fhir_deid *f, uint32_t i, const char *purpose, struct str value, uint8_t out[32]) {
  char name[160], text[256];
  struct str own = own_name(f, name, sizeof name);
  int n = snprintf(text, sizeof text, "%.*s#%u", STR_ARG(own), i - f->roots[f->current].node);
  crypto_generichash_state st;
  crypto_generichash_init(&st, f->secret, 32, 32);
  crypto_generichash_update(&st, (const uint8_t *)purpose, strlen(purpose) + 1);
  crypto_generichash_update(&st, (const uint8_t *)text, (size_t)n + 1);
  crypto_generichash_update(&st, (const uint8_t *)value.p, value.n);
  crypto_generichash_final(&st, out, 32);
  mem_wipe(&st, sizeof st);
}

/* IV and AES-CBC of the value, base64: what their decryption tool reads. No integrity check: theirs has none. */
static int encrypt(struct fhir_deid *f, uint32_t i, struct error *e) {
  struct str s = value_of(f, i), key = f->rules->encrypt_key;
  const EVP_CIPHER *cipher = key.n == 16 ? EVP_aes_128_cbc() : key.n == 24 ? EVP_aes_192_cbc() : key.n == 32 ? EVP_aes_256_cbc() : NULL;
  if (!s.n) return OK;
  if (!cipher) return error_set(e, E_USAGE, "encryptKey must have 16, 24 or 32 bytes");
  uint8_t iv[32], *bytes = arena_alloc(&f->scratch, s.n + 64, 1);
  size_t room = sodium_base64_encoded_len(s.n + 64, sodium_base64_VARIANT_ORIGINAL);
  char *text = arena_alloc(&f->scratch, room, 1);
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  int n = 0, last = 0, rc = OK;
  place(f, i, "iv", s, iv);
  if (!bytes || !text || !c || s.n > INT32_MAX / 2) {
    rc = error_set(e, E_NOMEM, "no memory to encrypt a value");
  } else {
    memcpy(bytes, iv, 16);
    bool ok = EVP_EncryptInit_ex(c, cipher, NULL, (const uint8_t *)key.p, iv) == 1 &&
              EVP_EncryptUpdate(c, bytes + 16, &n, (const uint8_t *)s.p, (int)s.n) == 1 &&
              EVP_EncryptFinal_ex(c, bytes + 16 + n, &last) == 1;
    if (!ok) rc = error_set(e, E_UNAVAILABLE, "the cipher failed");
  }
  if (c) EVP_CIPHER_CTX_free(c);
  if (rc < 0) return rc;
  sodium_bin2base64(text, room, bytes, 16 + (size_t)(n + last), sodium_base64_VARIANT_ORIGINAL);
  fhir_label(f, LABEL_MASKED);
  return json_tree_set_str(&f->doc.json, i, str_c(text), e);
}

/* ---- perturb, generalize, substitute ---- */

static int perturb(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) {
  struct json_node *n = &f->doc.json.at[i];
  struct str s = value_of(f, i), type = type_name(f, i);
  double x;
  uint64_t bits;
  uint8_t h[32];
  char text[400];
  if (n->kind != JSON_INT && n->kind != JSON_REAL) return OK;
  if (str_to_f64(s, &x) < 0) return error_set(e, E_INPUT, "a number out of range");
  place(f, i, "perturb", s, h);
  memcpy(&bits, h, 8);
  double half = (rule->proportional ? fabs(x) * rule->span : rule->span) / 2;
  double v = x + half * (2 * ((double)(bits >> 11) * 0x1p-53) - 1);
  bool whole = !str_eqc(type, "decimal");
  int len = snprintf(text, sizeof text, "%.*f", whole ? 0 : rule->round_to, v);
  if (len < 0 || (size_t)len >= sizeof text) return error_set(e, E_INPUT, "a number out of range");
  if (str_eqc(type, "unsignedInt") && v < 0) memcpy(text, "0", 2);
  if (str_eqc(type, "positiveInt") && v < 1) memcpy(text, "1", 2);
  if (strcmp(text, "-0") == 0) memcpy(text, "0", 2);
  fhir_label(f, LABEL_PERTURBED);
  bool real = strchr(text, '.') != NULL;
  return json_tree_set_raw(&f->doc.json, i, real ? JSON_REAL : JSON_INT, str_c(text), e);
}

static bool plain_number(struct str s) {
  double x;
  return s.n && str_to_f64(s, &x) == OK &&
         ((s.p[0] >= '1' && s.p[0] <= '9') || (s.n == 1 && *s.p == '0') || (s.n > 1 && s.p[0] == '0' && s.p[1] == '.') || *s.p == '-') &&
         !memchr(s.p, 'x', s.n) && s.p[s.n - 1] != '.';
}

/* A value as the element's type writes it: a number, a truth value, or a text. */
static int set_typed(struct fhir_deid *f, uint32_t i, struct str s, struct error *e) {
  const struct fhir_type *t = fhir_type_of(f->types, f->doc.json.at[i].type);
  if (t->number && plain_number(s)) return json_tree_set_raw(&f->doc.json, i, memchr(s.p, '.', s.n) ? JSON_REAL : JSON_INT, s, e);
  if (t->boolean && (str_eqc(s, "true") || str_eqc(s, "false"))) return json_tree_set_raw(&f->doc.json, i, JSON_BOOL, s, e);
  if (t->number || t->boolean) return error_set(e, E_INPUT, "a new value that is not of the element's type");
  return json_tree_set_str(&f->doc.json, i, s, e);
}

static int generalize(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) {
  struct fhirpath_run run = {.doc = &f->doc, .root = f->roots[f->current].node, .arena = &f->scratch, .budget = 1 << 20};
  struct fhirpath_items v;
  char number[32];
  fhir_label(f, LABEL_GENERALIZED);
  for (uint32_t k = 0; k < rule->case_n; k++) {
    int yes = fhirpath_bool(&run, rule->cases[k].when, i, e);
    if (yes < 0) return yes;
    if (yes != 1) continue;
    TRY(fhirpath_eval(&run, rule->cases[k].give, i, &v, e));
    if (v.n == 0) return fhir_null(f, i), OK;
    if (v.n > 1 || (v.at[0].kind == FP_NODE && v.at[0].node != i))
      return error_set(e, E_INPUT, "generalize: an expression that gives no single value");
    struct fhirpath_item x = v.at[0];
    if (x.kind == FP_NODE) return OK;
    if (x.kind == FP_BOOL) x.text = x.yes ? STR("true") : STR("false");
    if (x.kind == FP_NUMBER && !x.text.p) {
      snprintf(number, sizeof number, "%.15g", x.number);
      x.text = str_c(number);
    }
    return set_typed(f, i, x.text, e);
  }
  if (rule->other_keep) return OK;
  fhir_null(f, i);
  return OK;
}

int fhir_their_value(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) {
  switch (rule->method) {
    case METHOD_REDACT: return redact(f, i, e);
    case METHOD_REMOVE:
      f->n.redacted++;
      fhir_label(f, LABEL_REDACTED);
      fhir_null(f, i);
      return OK;
    case METHOD_DATE_SHIFT: return date_shift(f, i, e);
    case METHOD_HASH: return hash_value(f, i, e);
    case METHOD_ENCRYPT: return encrypt(f, i, e);
    case METHOD_PERTURB: return perturb(f, rule, i, e);
    case METHOD_GENERALIZE: return generalize(f, rule, i, e);
    default: return OK;
  }
}

/* ---- substitute ---- */

/* Does an earlier rule have a part of this? */
static bool taken(const struct fhir_deid *f, uint32_t i) {
  if (f->doc.json.at[i].flags & JSON_TREE_DONE) return true;
  uint32_t c;
  struct fhir_iter it = fhir_children(&f->doc, i);
  while ((c = fhir_next(&it)))
    if (taken(f, c)) return true;
  return false;
}

/* What no earlier rule has goes; what one has stays, with what holds it. */
static void clear_rest(struct fhir_deid *f, uint32_t i) {
  struct json_tree *t = &f->doc.json;
  for (uint32_t m = t->at[i].child; m; m = t->at[m].next) {
    if (t->at[m].flags & (JSON_TREE_GONE | JSON_TREE_DONE)) continue;
    if (t->at[m].kind == JSON_ARRAY) {
      bool any = false;
      for (uint32_t k = t->at[m].child; k; k = t->at[k].next) {
        if (taken(f, k)) {
          any = true;
          if (!(t->at[k].flags & JSON_TREE_DONE)) clear_rest(f, k);
        } else {
          t->at[k].flags |= JSON_TREE_GONE;
        }
      }
      if (!any) t->at[m].flags |= JSON_TREE_GONE;
    } else if (!taken(f, m)) {
      t->at[m].flags |= JSON_TREE_GONE;
    } else {
      clear_rest(f, m);
    }
  }
}

int fhir_substitute(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) {
  struct json_tree *t = &f->doc.json;
  uint32_t root, next;
  if (t->at[i].flags & JSON_TREE_DONE) return OK;
  TRY(json_tree_graft(t, rule->replace, &root, e));
  bool object = t->at[root].kind == JSON_OBJECT;
  bool primitive = fhir_type_of(f->types, t->at[i].type)->kind == FHIR_PRIMITIVE || fhir_is_primitive(&f->doc, i);
  if (object == primitive) return error_set(e, E_INPUT, "substitute: a value in place of an object, or the other way round");
  fhir_label(f, LABEL_SUBSTITUTED);
  if (!object) {
    struct str s = json_tree_str(t, root);
    t->at[i].flags |= JSON_TREE_DONE;
    return set_typed(f, i, s, e);
  }
  if (!taken(f, i)) t->at[i].child = t->at[i].last = 0;
  clear_rest(f, i);
  for (uint32_t m = t->at[root].child; m; m = next) {
    next = t->at[m].next;
    uint32_t old = json_tree_get(t, i, json_tree_key(t, m));
    if (old && !(t->at[old].flags & JSON_TREE_GONE)) continue; /* an earlier rule's */
    json_tree_link(t, i, m);
  }
  fhir_doc_type_new(&f->doc, i, t->at[i].el, t->at[i].type);
  fhir_done_all(f, i);
  return OK;
}
