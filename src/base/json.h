/* JSON. Reading: simdjson's DOM behind a thin shim (json_shim.cc), 2-3 GB/s, strict (UTF-8, numbers, no trailing bytes),
 * depth <= 1024. Writing: a small streaming writer over struct buf.
 *
 *     struct json_parser *jp;  TRY(json_parser_new(&jp, e));
 *     struct json root;
 *     TRY(json_parse(jp, bytes, n, n + STREAM_PAD, &root, e));   // root valid until the next parse with this parser
 *     struct json v = json_get(root, "valueQuantity");            // JSON_NONE kind if absent or root is no object
 *     struct json_iter it = json_items(array);  while (json_next(&it, &item)) …      // arrays
 *     struct json_iter it = json_members(object);  while (json_next_member(&it, &key, &value)) …
 *
 * A parser is for one thread. Duplicate keys: the first wins (as in the library).
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H
#include "base/str.h"

enum json_kind { JSON_NONE, JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
/* simdjson's tape (its doc/tape.md): words of a type (high byte: the first character, or l, u, d for numbers, whose value is the next word) and a
 * payload: of a string the place of its length (32 bits) and bytes in `text`; of an opening bracket the word after its closing one (low 32 bits). */
struct json_doc {
  const uint64_t *tape;
  const char *text;
};
struct json { /* a place in a parsed document; copy freely */
  const struct json_doc *doc;
  size_t at;
};
struct json_iter {
  const struct json_doc *doc;
  size_t at, end;
};
struct json_parser;

int json_parser_new(struct json_parser **out, struct error *e) MUST_CHECK;
void json_parser_free(struct json_parser *p);
/* `cap` = bytes that may be read at `bytes` (>= n); at least STREAM_PAD beyond n avoids a copy. Error message has the byte offset where known. */
int json_parse(struct json_parser *p, const char *bytes, size_t n, size_t cap, struct json *root, struct error *e) MUST_CHECK;

enum json_kind json_kind(struct json j);
static inline struct json json_get(struct json j, const char *key);
struct json json_at(struct json j, size_t index);
size_t json_count(struct json j);                 /* elements of an array, members of an object, else 0 */
static inline struct str json_str(struct json j); /* STR_NONE unless a string; valid as long as the document */
bool json_i64(struct json j, int64_t *out);       /* an integer that fits */
bool json_u64(struct json j, uint64_t *out);      /* one above those */
bool json_f64(struct json j, double *out);        /* any number */
bool json_bool(struct json j, bool *out);
static inline struct json_iter json_items(struct json j);
static inline bool json_next(struct json_iter *it, struct json *value);
static inline struct json_iter json_members(struct json j);
static inline bool json_next_member(struct json_iter *it, struct str *key, struct json *value);
/* Convenience for configuration files (map the file, parse, keep until arena reset). */
int json_load(struct arena *a, const char *path, struct json *root, struct error *e) MUST_CHECK;
/* Configuration access with errors that name the field: the value or E_INPUT "field X: expected a string". */
int json_want_str(struct json j, const char *key, struct str *out, struct error *e) MUST_CHECK;
int json_want_i64(struct json j, const char *key, int64_t *out, struct error *e) MUST_CHECK;
int json_want_f64(struct json j, const char *key, double *out, struct error *e) MUST_CHECK;

/* The walk, in line: a reader of records asks for some ten thousand members of a document. */
static inline bool json_is(struct json j, char type) { return j.doc && (char)(j.doc->tape[j.at] >> 56) == type; }
static inline size_t json_after(const struct json_doc *d, size_t at) {
  char type = (char)(d->tape[at] >> 56);
  if (type == '{' || type == '[') return (uint32_t)d->tape[at];
  return at + (type == 'l' || type == 'u' || type == 'd' ? 2 : 1);
}
static inline struct str json_text(const struct json_doc *d, size_t at) {
  const char *p = d->text + (d->tape[at] & UINT64_C(0x00ffffffffffffff));
  uint32_t n;
  memcpy(&n, p, sizeof n);
  return (struct str){p + sizeof n, n};
}
static inline struct str json_str(struct json j) { return json_is(j, '"') ? json_text(j.doc, j.at) : STR_NONE; }
static inline struct json_iter json_inside(struct json j, char type) {
  if (!json_is(j, type)) return (struct json_iter){NULL, 0, 0};
  return (struct json_iter){j.doc, j.at + 1, (uint32_t)j.doc->tape[j.at] - (size_t)1};
}
static inline struct json_iter json_items(struct json j) { return json_inside(j, '['); }
static inline struct json_iter json_members(struct json j) { return json_inside(j, '{'); }
static inline bool json_next(struct json_iter *it, struct json *value) {
  if (it->at >= it->end) return false;
  *value = (struct json){it->doc, it->at};
  it->at = json_after(it->doc, it->at);
  return true;
}
static inline bool json_next_member(struct json_iter *it, struct str *key, struct json *value) {
  if (it->at >= it->end) return false;
  if (key) *key = json_text(it->doc, it->at);
  it->at++;
  return json_next(it, value);
}
static inline struct json json_get(struct json j, const char *key) {
  struct json_iter it = json_members(j);
  struct json value;
  struct str name;
  size_t n = strlen(key);
  while (json_next_member(&it, &name, &value))
    if (name.n == n && memcmp(name.p, key, n) == 0) return value;
  return (struct json){NULL, 0};
}

/* Writer: values inside arrays/objects get their commas; non-finite numbers become null. At most 63 deep (BUG beyond). */
struct json_out {
  struct buf *to;
  int depth;
  uint64_t comma;  /* bit per depth: a comma is due */
  uint64_t object; /* bit per depth: an object, not an array */
  bool pretty, after_key;
};
void json_out_init(struct json_out *o, struct buf *to, bool pretty);
void json_out_object(struct json_out *o);
void json_out_array(struct json_out *o);
void json_out_end(struct json_out *o); /* closes the innermost object or array */
void json_out_key(struct json_out *o, const char *key);
void json_out_key_str(struct json_out *o, struct str key);
void json_out_str(struct json_out *o, struct str s); /* invalid UTF-8 becomes U+FFFD */
void json_out_c(struct json_out *o, const char *s);
void json_out_i64(struct json_out *o, int64_t v);
void json_out_u64(struct json_out *o, uint64_t v);
void json_out_f64(struct json_out *o, double v); /* shortest form that reads back equal */
void json_out_f32(struct json_out *o, float v);
void json_out_bool(struct json_out *o, bool v);
void json_out_null(struct json_out *o);
void json_out_raw(struct json_out *o, struct str json); /* a finished value */
/* A parsed value again. E_LIMIT where it would nest deeper than the writer goes: then nothing of it is written, and another value may stand there. */
int json_out_copy(struct json_out *o, struct json v, struct error *e) MUST_CHECK;
/* key + value in one call */
void json_kv_str(struct json_out *o, const char *key, struct str v);
void json_kv_c(struct json_out *o, const char *key, const char *v);
void json_kv_i64(struct json_out *o, const char *key, int64_t v);
void json_kv_f64(struct json_out *o, const char *key, double v);
void json_kv_bool(struct json_out *o, const char *key, bool v);
#endif
