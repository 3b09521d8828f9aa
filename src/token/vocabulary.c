#include "token/token_private.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

struct str code_parent(struct str code) {
  for (size_t i = code.n; i-- > 2;)
    if (code.p[i] == '/' && code.p[i - 1] == '/') {
      while (i > 1 && code.p[i - 2] == '/') i--; /* "A///B": the separator is the whole run of slashes */
      return (struct str){code.p, i - 1};
    }
  return STR_NONE;
}

bool code_is(struct str code, const char *name) {
  struct str s = str_c(name);
  if (!str_starts(code, s)) return false;
  return code.n == s.n || (code.n >= s.n + 2 && code.p[s.n] == '/' && code.p[s.n + 1] == '/');
}

struct vocabulary *vocabulary_alloc(struct error *e) {
  struct vocabulary *v = mem_alloc(sizeof *v);
  if (!v) {
    error_set(e, E_NOMEM, "no memory for a vocabulary");
    return NULL;
  }
  memset(v, 0, sizeof *v);
  arena_init(&v->arena, 0, 0);
  map_init(&v->names, 0);
  return v;
}

void vocabulary_free(struct vocabulary *v) {
  if (!v) return;
  map_release(&v->names);
  buf_release(&v->json);
  arena_free(&v->arena);
  mem_free(v);
}

static int index_outcomes(struct vocabulary *v, struct error *e) {
  v->outcomes = 0;
  for (uint32_t i = 1; i < v->codes; i++)
    if (v->entry[i].outcome >= 0) v->outcomes++;
  v->outcome_code = arena_array(&v->arena, uint32_t, v->outcomes + 1);
  if (!v->outcome_code) return error_set(e, E_NOMEM, "no memory for the outcomes");
  for (uint32_t i = 1; i < v->codes; i++) {
    int32_t o = v->entry[i].outcome;
    if (o < 0) continue;
    if ((uint32_t)o >= v->outcomes || v->outcome_code[o]) return error_set(e, E_INPUT, "outcome numbers must be 0, 1, 2 … each once");
    v->outcome_code[o] = i;
  }
  return OK;
}

int vocabulary_index(struct vocabulary *v, struct error *e) {
  uint32_t rows = v->codes;
  v->death = 0;
  for (uint32_t i = 0; i < v->codes; i++) {
    struct vocabulary_entry *n = &v->entry[i];
    n->knot_row = rows;
    rows += (uint32_t)n->knots;
    if (i == TOKEN_UNKNOWN) continue;
    bool is_new;
    uint64_t *slot = map_put(&v->names, n->code, &is_new);
    if (!slot) return error_set(e, E_NOMEM, "no memory for the code names");
    if (!is_new) return error_set(e, E_INPUT, "entry %u repeats an earlier code", i);
    *slot = i;
    if (code_is(n->code, "MEDS_DEATH") && (!v->death || n->code.n == 10)) v->death = i;
  }
  v->rows = rows;
  return index_outcomes(v, e);
}

/* ---- file ---- */

static void encode_entry(struct json_out *o, const struct vocabulary_entry *n) {
  json_out_object(o);
  json_kv_str(o, "code", n->code);
  if (n->display.n) json_kv_str(o, "display", n->display);
  json_kv_i64(o, "count", (int64_t)n->count);
  json_kv_i64(o, "subjects", n->subjects);
  if (n->is_static) json_kv_bool(o, "static", true);
  if (n->outcome >= 0) json_kv_i64(o, "outcome", n->outcome);
  json_out_key(o, "log_rate");
  json_out_f32(o, n->log_rate);
  json_out_key(o, "together");
  json_out_f32(o, n->together);
  if (n->followed_days >= 0) {
    json_out_key(o, "followed_days");
    json_out_f32(o, n->followed_days);
  }
  if (n->knots) {
    json_out_key(o, "knots");
    json_out_array(o);
    for (int k = 0; k < n->knots; k++) json_out_f32(o, n->knot[k]);
    json_out_end(o);
    json_out_key(o, "mean");
    json_out_f32(o, n->mean);
    json_out_key(o, "sd");
    json_out_f32(o, n->sd);
  }
  json_out_end(o);
}

static void set_hash(struct vocabulary *v) {
  uint8_t digest[32];
  sha256_of(v->json.p, v->json.n, digest);
  hash_hex(digest, sizeof digest, v->hash);
}

int vocabulary_encode(struct vocabulary *v, struct error *e) {
  struct json_out o;
  buf_clear(&v->json);
  json_out_init(&o, &v->json, false);
  json_out_object(&o);
  json_kv_c(&o, "format", VOCABULARY_FORMAT);
  json_kv_i64(&o, "version", VOCABULARY_VERSION);
  json_kv_c(&o, "timeline", v->source);
  json_kv_i64(&o, "subjects", (int64_t)v->subjects);
  json_kv_i64(&o, "events", (int64_t)v->events);
  json_kv_f64(&o, "subject_days", v->subject_days);
  json_kv_f64(&o, "instant_events", v->instant_events);
  if (v->dates) json_kv_bool(&o, "dates", true);
  json_kv_i64(&o, "min_subjects", v->options.min_subjects);
  json_kv_i64(&o, "max_codes", v->options.max_codes);
  json_kv_i64(&o, "min_outcome_subjects", v->options.min_outcome_subjects);
  json_kv_i64(&o, "max_outcomes", v->options.max_outcomes);
  json_out_key(&o, "codes");
  json_out_array(&o);
  for (uint32_t i = 0; i < v->codes; i++) {
    encode_entry(&o, &v->entry[i]);
    buf_putc(&v->json, '\n'); /* one entry a line: diff and grep work */
  }
  json_out_end(&o);
  json_out_end(&o);
  buf_putc(&v->json, '\n');
  TRY(buf_check(&v->json, e));
  set_hash(v);
  return OK;
}

int vocabulary_save(const struct vocabulary *v, const char *path, struct error *e) {
  return file_write_atomic(path, v->json.p, v->json.n, 0644, e);
}

static int bad(struct error *e, uint32_t i, const char *field) {
  error_set(e, E_INPUT, "missing, of the wrong kind or out of range");
  return error_where(e, NULL, (int64_t)i + 1, field);
}

static bool get_f32(struct json j, const char *key, float *out) {
  double d;
  if (!json_f64(json_get(j, key), &d) || !isfinite(d) || fabs(d) > 3.0e38) return false;
  *out = (float)d;
  return true;
}

static bool get_int(struct json j, const char *key, int64_t low, int64_t high, int64_t *out) {
  return json_i64(json_get(j, key), out) && *out >= low && *out <= high;
}

static int decode_knots(struct json j, uint32_t i, struct vocabulary_entry *n, struct error *e) {
  struct json list = json_get(j, "knots");
  if (json_kind(list) == JSON_NONE) return OK;
  size_t count = json_count(list);
  if (json_kind(list) != JSON_ARRAY || count < 2 || count > TOKEN_KNOTS) return bad(e, i, "codes.knots");
  struct json_iter it = json_items(list);
  struct json item;
  while (json_next(&it, &item)) {
    double d;
    if (!json_f64(item, &d) || !isfinite(d) || fabs(d) > 3.0e38) return bad(e, i, "codes.knots");
    n->knot[n->knots] = (float)d;
    if (n->knots && !(n->knot[n->knots] > n->knot[n->knots - 1])) return bad(e, i, "codes.knots");
    n->knots++;
  }
  if (!get_f32(j, "mean", &n->mean)) return bad(e, i, "codes.mean");
  if (!get_f32(j, "sd", &n->sd) || n->sd < 0) return bad(e, i, "codes.sd");
  return OK;
}

static int decode_entry(struct vocabulary *v, struct json j, uint32_t i, struct error *e) {
  struct vocabulary_entry *n = &v->entry[i];
  struct str code = json_str(json_get(j, "code")), display = json_str(json_get(j, "display"));
  int64_t count, subjects, outcome = -1;
  if (i > 0 && code.n == 0) return bad(e, i, "codes.code");
  if (!get_int(j, "count", 0, INT64_MAX, &count)) return bad(e, i, "codes.count");
  if (!get_int(j, "subjects", 0, UINT32_MAX, &subjects)) return bad(e, i, "codes.subjects");
  if (json_kind(json_get(j, "outcome")) != JSON_NONE && (i == 0 || !get_int(j, "outcome", 0, VOCABULARY_MAX_CODES, &outcome)))
    return bad(e, i, "codes.outcome");
  if (!get_f32(j, "log_rate", &n->log_rate) || fabsf(n->log_rate) > 60.0f) return bad(e, i, "codes.log_rate");
  if (json_kind(json_get(j, "static")) != JSON_NONE && !json_bool(json_get(j, "static"), &n->is_static)) return bad(e, i, "codes.static");
  n->together = (float)v->instant_events; /* files of before it was counted code by code */
  if (json_kind(json_get(j, "together")) != JSON_NONE &&
      (!get_f32(j, "together", &n->together) || !(n->together >= 1 && n->together < 1e6F)))
    return bad(e, i, "codes.together");
  n->followed_days = -1;
  if (json_kind(json_get(j, "followed_days")) != JSON_NONE && (!get_f32(j, "followed_days", &n->followed_days) || n->followed_days < 0))
    return bad(e, i, "codes.followed_days");
  n->code = str_copy(&v->arena, code);
  n->display = str_copy(&v->arena, display);
  if ((code.n && !n->code.p) || (display.n && !n->display.p)) return error_set(e, E_NOMEM, "no memory for code names");
  n->count = (uint64_t)count;
  n->subjects = (uint32_t)subjects;
  n->outcome = (int32_t)outcome;
  return i ? decode_knots(j, i, n, e) : OK;
}

static void decode_options(struct vocabulary *v, struct json root) {
  int64_t x;
  double d;
  struct str source = json_str(json_get(root, "timeline"));
  if (source.n < sizeof v->source) memcpy(v->source, source.n ? source.p : "", source.n);
  if (get_int(root, "subjects", 0, INT64_MAX, &x)) v->subjects = (uint64_t)x;
  if (get_int(root, "events", 0, INT64_MAX, &x)) v->events = (uint64_t)x;
  if (json_f64(json_get(root, "subject_days"), &d)) v->subject_days = d;
  v->instant_events = json_f64(json_get(root, "instant_events"), &d) && d >= 1.0 && d < 1e6 ? d : 1.0;
  if (!json_bool(json_get(root, "dates"), &v->dates)) v->dates = false;
  if (get_int(root, "min_subjects", 0, UINT32_MAX, &x)) v->options.min_subjects = (uint32_t)x;
  if (get_int(root, "max_codes", 0, UINT32_MAX, &x)) v->options.max_codes = (uint32_t)x;
  if (get_int(root, "min_outcome_subjects", 0, UINT32_MAX, &x)) v->options.min_outcome_subjects = (uint32_t)x;
  if (get_int(root, "max_outcomes", 0, UINT32_MAX, &x)) v->options.max_outcomes = (uint32_t)x;
}

static int decode(struct vocabulary *v, struct json root, struct error *e) {
  int64_t version;
  if (!str_eqc(json_str(json_get(root, "format")), VOCABULARY_FORMAT)) return error_set(e, E_INPUT, "not a vocabulary file");
  if (!get_int(root, "version", 1, INT32_MAX, &version)) return bad(e, 0, "version");
  if (version > VOCABULARY_VERSION) return error_set(e, E_VERSION, "vocabulary format is newer than this program");
  struct json list = json_get(root, "codes");
  size_t count = json_count(list);
  if (json_kind(list) != JSON_ARRAY || count < 1) return bad(e, 0, "codes");
  if (count > VOCABULARY_MAX_CODES) return error_set(e, E_LIMIT, "more codes than a vocabulary may have");
  v->codes = (uint32_t)count;
  v->entry = arena_array(&v->arena, struct vocabulary_entry, count);
  if (!v->entry) return error_set(e, E_NOMEM, "no memory for the vocabulary");
  decode_options(v, root);
  struct json_iter it = json_items(list);
  struct json item;
  for (uint32_t i = 0; json_next(&it, &item); i++) TRY(decode_entry(v, item, i, e));
  return vocabulary_index(v, e);
}

int vocabulary_load(const char *path, struct vocabulary **out, struct error *e) {
  struct arena a;
  struct str bytes;
  struct json root;
  struct json_parser *parser = NULL;
  arena_init(&a, (size_t)2 * VOCABULARY_MAX_BYTES, 0);
  struct vocabulary *v = vocabulary_alloc(e);
  int rc = v ? OK : E_NOMEM;
  if (rc < 0) goto out;
  TRY_OUT(file_read(&a, path, VOCABULARY_MAX_BYTES, &bytes, e));
  buf_put(&v->json, bytes.p, bytes.n);
  TRY_OUT(buf_check(&v->json, e));
  TRY_OUT(json_parser_new(&parser, e));
  TRY_OUT(json_parse(parser, bytes.p, bytes.n, bytes.n, &root, e));
  TRY_OUT(decode(v, root, e));
  set_hash(v);
out:
  json_parser_free(parser);
  arena_free(&a);
  if (rc < 0) {
    error_where(e, path, 0, NULL);
    vocabulary_free(v);
    return rc;
  }
  *out = v;
  return OK;
}

const char *vocabulary_hash(const struct vocabulary *v) { return v->hash; }
uint32_t vocabulary_codes(const struct vocabulary *v) { return v->codes; }
uint32_t vocabulary_rows(const struct vocabulary *v) { return v->rows; }
uint32_t vocabulary_outcomes(const struct vocabulary *v) { return v->outcomes; }
double vocabulary_instant_events(const struct vocabulary *v) { return v->instant_events; }
bool vocabulary_dates(const struct vocabulary *v) { return v->dates; }
uint32_t vocabulary_death(const struct vocabulary *v) { return v->death; }

const struct vocabulary_entry *vocabulary_at(const struct vocabulary *v, uint32_t id) {
  BUG_IF(id >= v->codes);
  return &v->entry[id];
}

uint32_t vocabulary_outcome_code(const struct vocabulary *v, uint32_t outcome) {
  BUG_IF(outcome >= v->outcomes);
  return v->outcome_code[outcome];
}

bool vocabulary_find(const struct vocabulary *v, struct str code, uint32_t *id) {
  uint64_t value;
  if (!map_get(&v->names, code, &value)) return false;
  *id = (uint32_t)value;
  return true;
}
