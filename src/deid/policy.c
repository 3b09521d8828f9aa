/* Reading policy/NAME.json and the ZIP3 table that it names. A policy with a field that is missing, unknown in meaning or
 * out of range is refused: a wall does not guess. */
#include <stdio.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/time.h"
#include "deid/deid.h"
#include "deid/dicom_profile.h"
#include "deid/text.h"

enum { TABLE_LIMIT = 4 << 20 };

static int bad(struct error *e, const char *field, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  error_where(e, NULL, 0, field);
  return E_INPUT;
}

static int text(struct json j, const char *key, char *out, size_t size, struct error *e) {
  struct str s;
  TRY(json_want_str(j, key, &s, e));
  if (s.n == 0 || s.n >= size) return bad(e, key, "empty or too long");
  memcpy(out, s.p, s.n);
  out[s.n] = 0;
  return OK;
}

static int number(struct json j, const char *key, int64_t lo, int64_t hi, int *out, struct error *e) {
  int64_t v;
  TRY(json_want_i64(j, key, &v, e));
  if (v < lo || v > hi) return bad(e, key, "out of range");
  *out = (int)v;
  return OK;
}

/* A file named in the policy lies beside it. */
static int beside(const char *path, const char *name, char *out, size_t size, struct error *e) {
  if (strchr(name, '/')) return error_set(e, E_INPUT, "a policy may only name files beside it");
  const char *slash = strrchr(path, '/');
  int dir = slash ? (int)(slash - path) + 1 : 0, n = snprintf(out, size, "%.*s%s", dir, path, name);
  return n < 0 || (size_t)n >= size ? error_set(e, E_LIMIT, "path too long") : OK;
}

static int prefixes(struct json table, const char *key, struct deid_policy *p, struct error *e) {
  struct json list = json_get(table, key), v;
  if (json_kind(list) != JSON_ARRAY) return bad(e, key, "expected a list of 3-digit prefixes");
  for (struct json_iter it = json_items(list); json_next(&it, &v);) {
    struct str s = json_str(v);
    if (s.n != 3 || p->zip3_n == 1024) return bad(e, key, "expected at most 1024 prefixes of 3 digits");
    for (int i = 0; i < 3; i++)
      if (s.p[i] < '0' || s.p[i] > '9') return bad(e, key, "expected digits");
    memcpy(p->zip3[p->zip3_n++], s.p, 3);
  }
  return OK;
}

static int zip3_table(const char *path, struct deid_policy *p, struct error *e) {
  struct arena a;
  struct json root, v;
  arena_init(&a, TABLE_LIMIT, 0);
  int rc;
  TRY_OUT(json_load(&a, path, &root, e));
  TRY_OUT(prefixes(root, "restricted", p, e));
  if (p->zip3_n == 0) TRY_OUT(bad(e, "restricted", "an empty list would keep every prefix"));
  TRY_OUT(prefixes(root, "unlisted", p, e));
  for (struct json_iter it = json_items(json_get(root, "countries")); json_next(&it, &v);) {
    struct str s = json_str(v);
    if (s.n == 0 || s.n >= 16 || p->zip3_country_n == 8) TRY_OUT(bad(e, "countries", "expected at most 8 short names"));
    memcpy(p->zip3_country[p->zip3_country_n++], s.p, s.n);
  }
out:
  arena_free(&a);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc;
}

static int sentinels(struct json root, struct deid_policy *p, struct error *e) {
  struct json list = json_get(root, "sentinels"), v;
  if (json_kind(list) != JSON_ARRAY) return bad(e, "sentinels", "expected a list of dates");
  for (struct json_iter it = json_items(list); json_next(&it, &v);) {
    struct time_parts parts;
    int64_t us;
    if (p->sentinel_n == 8) return bad(e, "sentinels", "more than 8 dates");
    if (time_parse(json_str(v), &parts, &us, NULL) < 0 || parts.precision != TIME_PRECISION_DAY)
      return bad(e, "sentinels", "expected dates as YYYY-MM-DD");
    p->sentinel[p->sentinel_n++] = (int32_t)time_from_civil(parts.year, parts.month, parts.day);
  }
  return OK;
}

/* A genome is never de-identified by what is taken out around it: it passes only where a policy says so in as many words. */
static int genomes(struct json root, const char *path, struct deid_policy *p, struct error *e) {
  char word[256];
  if (json_kind(json_get(root, "genomes")) == JSON_NONE) return OK;
  TRY(text(root, "genomes", word, sizeof word, e));
  p->keep_genomes = strcmp(word, "keep") == 0;
  if (!p->keep_genomes && strcmp(word, "refuse") != 0) return bad(e, "genomes", "expected keep or refuse");
  if (!p->keep_genomes) return OK;
  TRY(text(root, "genome_fields", word, sizeof word, e));
  return beside(path, word, p->genome_fields, sizeof p->genome_fields, e);
}

/* "text": drop (the default), tag or surrogate; "text_config": a file beside the policy */
static int text_fields(struct json root, const char *path, struct deid_policy *p, struct error *e) {
  char word[256];
  p->text = DEID_TEXT_DROP;
  if (json_kind(json_get(root, "text")) == JSON_NONE) return OK;
  TRY(text(root, "text", word, sizeof word, e));
  if (!strcmp(word, "drop")) return OK;
  if (!strcmp(word, "tag"))
    p->text = DEID_TEXT_TAG;
  else if (!strcmp(word, "surrogate"))
    p->text = DEID_TEXT_SURROGATE;
  else
    return bad(e, "text", "expected drop, tag or surrogate");
  TRY(text(root, "text_config", word, sizeof word, e));
  TRY(beside(path, word, p->text_path, sizeof p->text_path, e));
  return text_config_hash(p->text_path, p->text_hash, e);
}

static int flag(struct json risk, const char *key, bool *out, struct error *e) {
  struct json v = json_get(risk, key);
  return json_kind(v) == JSON_NONE || json_bool(v, out) ? OK : bad(e, "risk", "classes and with_attributes are true or false");
}

/* "risk": {"k": 11, "suppress": true, "classes": false, "codes_known": 1, "with_attributes": false, "table": "risk.json"} */
static int risk_fields(struct json root, const char *path, struct deid_policy *p, struct error *e) {
  static const char *const known[] = {"k", "suppress", "classes", "codes_known", "with_attributes", "table"};
  struct json risk = json_get(root, "risk"), v;
  struct str key;
  char word[256];
  if (json_kind(risk) == JSON_NONE) return OK;
  if (json_kind(risk) != JSON_OBJECT) return bad(e, "risk", "expected an object");
  for (struct json_iter it = json_members(risk); json_next_member(&it, &key, &v);) {
    bool fits = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) fits |= str_eqc(key, known[i]);
    if (!fits) return bad(e, "risk", "a setting that does not exist: there are k, suppress, classes, codes_known, with_attributes, table");
  }
  if (!json_bool(json_get(risk, "suppress"), &p->suppress)) return bad(e, "risk.suppress", "expected true or false");
  TRY(flag(risk, "classes", &p->suppress_classes, e));
  TRY(flag(risk, "with_attributes", &p->suppress_with_attributes, e));
  p->suppress_codes = 1;
  if (json_kind(json_get(risk, "codes_known")) != JSON_NONE) TRY(number(risk, "codes_known", 1, 2, &p->suppress_codes, e));
  if (!p->suppress) return OK;
  TRY(number(risk, "k", 2, 64, &p->suppress_k, e));
  TRY(text(risk, "table", word, sizeof word, e));
  return beside(path, word, p->risk_path, sizeof p->risk_path, e);
}

static int fields(struct json root, const char *path, struct deid_policy *p, char zip3_path[4096], struct error *e) {
  char word[256];
  TRY(text(root, "name", p->name, sizeof p->name, e));
  TRY(text(root, "statement", p->statement, sizeof p->statement, e));
  TRY(text(root, "dates", word, sizeof word, e));
  if (!strcmp(word, "year"))
    p->dates = DEID_DATES_YEAR;
  else if (!strcmp(word, "shift"))
    p->dates = DEID_DATES_SHIFT;
  else if (!strcmp(word, "keep"))
    p->dates = DEID_DATES_KEEP;
  else
    return bad(e, "dates", "expected year, shift or keep");
  TRY(number(root, "shift_days_max", p->dates == DEID_DATES_SHIFT ? 1 : 0, 36500, &p->shift_days_max, e));
  TRY(number(root, "age_cap", 0, 150, &p->age_cap, e));
  TRY(number(root, "display_persons", 1, 8, &p->display_persons, e));
  TRY(text(root, "pseudonyms", word, sizeof word, e));
  p->random_pseudonyms = strcmp(word, "random") == 0;
  if (!p->random_pseudonyms && strcmp(word, "keyed") != 0) return bad(e, "pseudonyms", "expected random or keyed");
  /* 45 CFR 164.514(c): a code must not be derived from the person's data; Safe Harbor has no room for a keyed function of the key */
  if (!p->random_pseudonyms && p->dates != DEID_DATES_SHIFT)
    return bad(e, "pseudonyms", "keyed pseudonyms go with shifted dates and an expert's determination only");
  if (!json_bool(json_get(root, "keep_zip3"), &p->keep_zip3)) return bad(e, "keep_zip3", "expected true or false");
  TRY(genomes(root, path, p, e));
  TRY(text(root, "codes", word, sizeof word, e));
  TRY(beside(path, word, p->codes_path, sizeof p->codes_path, e));
  TRY(text(root, "zip3", word, sizeof word, e));
  TRY(beside(path, word, zip3_path, 4096, e));
  TRY(text_fields(root, path, p, e));
  TRY(risk_fields(root, path, p, e));
  return sentinels(root, p, e);
}

/* What events of one person must have in common: the same life under two sets of dates gives its shift away. Tables may grow. */
static int settings(struct json root, struct deid_policy *p, struct error *e) {
  static const char *const apart[] = {"name", "statement", "risk", "shift_days_max"};
  struct buf b = {0};
  struct json_out o;
  struct json v;
  struct str key;
  uint8_t digest[32];
  int rc = OK;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  for (struct json_iter it = json_members(root); json_next_member(&it, &key, &v);) {
    bool counts = true;
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++) counts &= !str_eqc(key, apart[i]);
    if (!counts) continue;
    json_out_key_str(&o, key);
    TRY_OUT(json_out_copy(&o, v, e));
  }
  json_out_end(&o);
  buf_put(&b, p->zip3, (size_t)p->zip3_n * sizeof *p->zip3);
  TRY_OUT(buf_check(&b, e));
  sha256_of(b.p, b.n, digest);
  hash_hex(digest, 32, p->settings);
out:
  buf_release(&b);
  return rc;
}

/* One hash for the policy and what it names: a changed table is a changed policy. */
static int stamp(const char *path, const char *zip3_path, struct deid_policy *p, struct error *e) {
  uint8_t digest[3][32], all[32];
  TRY(sha256_file(path, digest[0], e));
  TRY(sha256_file(zip3_path, digest[1], e));
  TRY(sha256_file(p->codes_path, digest[2], e));
  sha256_of(digest, sizeof digest, all);
  if (p->genome_fields[0]) { /* only where genomes pass, so that other policies keep the hash of their three files */
    memcpy(digest[0], all, sizeof all);
    TRY(sha256_file(p->genome_fields, digest[1], e));
    sha256_of(digest, 2 * sizeof *digest, all);
  }
  if (p->text_path[0]) { /* likewise for texts */
    memcpy(digest[0], all, sizeof all);
    sha256_of(p->text_hash, 64, digest[1]);
    sha256_of(digest, 2 * sizeof *digest, all);
  }
  char dicom[65];
  TRY(dicom_profile_hash(path, dicom, e));
  if (dicom[0]) { /* likewise for images */
    if (strlen(path) >= sizeof p->dicom_path) return error_set(e, E_LIMIT, "path too long");
    strcpy(p->dicom_path, path);
    memcpy(digest[0], all, sizeof all);
    sha256_of(dicom, 64, digest[1]);
    sha256_of(digest, 2 * sizeof *digest, all);
  }
  if (p->risk_path[0]) { /* likewise for what is held back */
    memcpy(digest[0], all, sizeof all);
    TRY(sha256_file(p->risk_path, digest[1], e));
    sha256_of(digest, 2 * sizeof *digest, all);
  }
  hash_hex(all, 32, p->hash);
  hash_hex(digest[2], 32, p->codes_hash);
  p->hash[64] = p->codes_hash[64] = 0;
  return OK;
}

int deid_policy_load(const char *path, struct deid_policy *out, struct error *e) {
  struct arena a;
  struct json root;
  char zip3_path[4096];
  *out = (struct deid_policy){0};
  arena_init(&a, TABLE_LIMIT, 0);
  int rc;
  TRY_OUT(json_load(&a, path, &root, e));
  TRY_OUT(fields(root, path, out, zip3_path, e));
  TRY_OUT(zip3_table(zip3_path, out, e));
  TRY_OUT(settings(root, out, e));
  TRY_OUT(stamp(path, zip3_path, out, e));
out:
  arena_free(&a);
  if (rc == OK) return OK;
  *out = (struct deid_policy){0};
  if (!(e && e->file[0])) error_where(e, path, 0, NULL);
  return rc;
}
