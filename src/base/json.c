#include "base/json.h"

#include <math.h>

#include "base/file.h"
#include "base/json_shim.h"

enum { LARGEST_DOCUMENT = 1 << 30 };

static void parser_free(void *p) { json_parser_free(p); }

int json_load(struct arena *a, const char *path, struct json *root, struct error *e) {
  struct stream s;
  struct str bytes;
  struct json_parser *jp;
  *root = (struct json){0};
  TRY(stream_open(&s, path, e));
  int rc = stream_all(&s, a, LARGEST_DOCUMENT, &bytes, e);
  stream_close(&s);
  TRY(rc);
  TRY(json_parser_new(&jp, e));
  rc = arena_cleanup(a, parser_free, jp, e);
  if (rc < 0) json_parser_free(jp);
  TRY(rc);
  rc = json_parse(jp, bytes.p, bytes.n, bytes.n + STREAM_PAD, root, e);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc;
}

static int want(struct error *e, struct json found, const char *key, const char *kind) {
  if (json_kind(found) == JSON_NONE)
    error_set(e, E_INPUT, "field missing: expected %s", kind);
  else
    error_set(e, E_INPUT, "expected %s", kind);
  error_where(e, NULL, 0, key);
  return E_INPUT;
}

int json_want_str(struct json j, const char *key, struct str *out, struct error *e) {
  struct json v = json_get(j, key);
  *out = json_str(v);
  return out->p ? OK : want(e, v, key, "a string");
}

int json_want_i64(struct json j, const char *key, int64_t *out, struct error *e) {
  struct json v = json_get(j, key);
  return json_i64(v, out) ? OK : want(e, v, key, "an integer");
}

int json_want_f64(struct json j, const char *key, double *out, struct error *e) {
  struct json v = json_get(j, key);
  return json_f64(v, out) ? OK : want(e, v, key, "a number");
}

/* ---- writing ---- */

enum { DEEPEST = 63 };

void json_out_init(struct json_out *o, struct buf *to, bool pretty) { *o = (struct json_out){.to = to, .pretty = pretty}; }

static void newline(struct json_out *o) {
  buf_putc(o->to, '\n');
  for (int i = 0; i < o->depth; i++) buf_put(o->to, "  ", 2);
}

/* The comma and the indentation before a value or a key. */
static void next(struct json_out *o) {
  if (o->after_key) {
    o->after_key = false;
    return;
  }
  uint64_t bit = UINT64_C(1) << o->depth;
  if (o->comma & bit) buf_putc(o->to, o->depth ? ',' : '\n');
  o->comma |= bit;
  if (o->pretty && o->depth) newline(o);
}

static void value(struct json_out *o) {
  BUG_IF(o->depth && (o->object >> o->depth & 1) && !o->after_key);
  next(o);
}

static void begin(struct json_out *o, bool object) {
  value(o);
  BUG_IF(o->depth >= DEEPEST);
  buf_putc(o->to, object ? '{' : '[');
  o->depth++;
  uint64_t bit = UINT64_C(1) << o->depth;
  o->comma &= ~bit;
  o->object = object ? o->object | bit : o->object & ~bit;
}

void json_out_object(struct json_out *o) { begin(o, true); }
void json_out_array(struct json_out *o) { begin(o, false); }

void json_out_end(struct json_out *o) {
  BUG_IF(o->depth == 0 || o->after_key);
  bool object = o->object >> o->depth & 1, any = o->comma >> o->depth & 1;
  o->depth--;
  if (o->pretty && any) newline(o);
  buf_putc(o->to, object ? '}' : ']');
}

/* Whether eight bytes go out as they are: ASCII from the blank on but for quote, backslash and DEL. Where a byte less one borrows, only a
 * byte above the borrowing one can be taken for bad. */
static bool plain_eight(uint64_t v) {
  const uint64_t ones = UINT64_C(0x0101010101010101), top = ones << 7;
  uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\', del = v ^ ones * 0x7f;
  return ((v | (v - ones * ' ') | (quote - ones) | (slash - ones) | (del - ones)) & top) == 0;
}

static void quoted(struct buf *b, struct str s) {
  static const char HEX[] = "0123456789abcdef";
  buf_putc(b, '"');
  size_t from = 0, i = 0;
  while (i < s.n) {
    uint64_t eight;
    while (i + 8 <= s.n && (memcpy(&eight, s.p + i, 8), plain_eight(eight))) i += 8;
    if (i == s.n) break;
    unsigned char c = (unsigned char)s.p[i];
    size_t k = 1;
    if (c >= 0x80) k = str_utf8_next((struct str){s.p + i, s.n - i});
    if (c >= ' ' && c != '"' && c != '\\' && c != 0x7f && k) {
      i += k;
      continue;
    }
    buf_put(b, s.p + from, i - from);
    switch (c) {
      case '"': buf_put(b, "\\\"", 2); break;
      case '\\': buf_put(b, "\\\\", 2); break;
      case '\n': buf_put(b, "\\n", 2); break;
      case '\r': buf_put(b, "\\r", 2); break;
      case '\t': buf_put(b, "\\t", 2); break;
      default:
        if (k == 0) {
          buf_put(b, "\xEF\xBF\xBD", 3);
        } else {
          char escape[6] = {'\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15]};
          buf_put(b, escape, 6);
        }
    }
    from = ++i;
  }
  buf_put(b, s.p + from, s.n - from);
  buf_putc(b, '"');
}

void json_out_key_str(struct json_out *o, struct str key) {
  BUG_IF(!(o->object >> o->depth & 1) || o->after_key);
  next(o);
  quoted(o->to, key);
  buf_put(o->to, ": ", o->pretty ? 2 : 1);
  o->after_key = true;
}

void json_out_key(struct json_out *o, const char *key) { json_out_key_str(o, str_c(key)); }

void json_out_str(struct json_out *o, struct str s) {
  value(o);
  if (s.p)
    quoted(o->to, s);
  else
    buf_puts(o->to, "null");
}

void json_out_c(struct json_out *o, const char *s) { json_out_str(o, str_c(s)); }

void json_out_u64(struct json_out *o, uint64_t v) {
  char text[20];
  int i = 20;
  do text[--i] = (char)('0' + v % 10);
  while (v /= 10);
  value(o);
  buf_put(o->to, text + i, (size_t)(20 - i));
}

void json_out_i64(struct json_out *o, int64_t v) {
  if (v >= 0) {
    json_out_u64(o, (uint64_t)v);
    return;
  }
  char text[21];
  int i = 21;
  uint64_t u = 0 - (uint64_t)v;
  do text[--i] = (char)('0' + u % 10);
  while (u /= 10);
  text[--i] = '-';
  value(o);
  buf_put(o->to, text + i, (size_t)(21 - i));
}

void json_out_f64(struct json_out *o, double v) {
  char text[32];
  if (!isfinite(v)) {
    json_out_null(o);
    return;
  }
  value(o);
  buf_put(o->to, text, json_shim_f64(v, text));
}

void json_out_f32(struct json_out *o, float v) {
  char text[32];
  if (!isfinite(v)) {
    json_out_null(o);
    return;
  }
  value(o);
  buf_put(o->to, text, json_shim_f32(v, text));
}

void json_out_bool(struct json_out *o, bool v) {
  value(o);
  buf_puts(o->to, v ? "true" : "false");
}

void json_out_null(struct json_out *o) {
  value(o);
  buf_puts(o->to, "null");
}

void json_out_raw(struct json_out *o, struct str json) {
  value(o);
  buf_str(o->to, json);
}

static bool copy(struct json_out *o, struct json v) {
  struct json item;
  struct str key;
  int64_t i;
  uint64_t u;
  double d;
  bool b, fits = true;
  switch (json_kind(v)) {
    case JSON_BOOL: json_out_bool(o, json_bool(v, &b) && b); break;
    case JSON_INT:
    case JSON_REAL:
      if (json_i64(v, &i))
        json_out_i64(o, i);
      else if (json_u64(v, &u))
        json_out_u64(o, u);
      else if (json_f64(v, &d))
        json_out_f64(o, d);
      else
        json_out_null(o);
      break;
    case JSON_STRING: json_out_str(o, json_str(v)); break;
    case JSON_ARRAY:
      if (o->depth >= DEEPEST) return false;
      json_out_array(o);
      for (struct json_iter it = json_items(v); fits && json_next(&it, &item);) fits = copy(o, item);
      if (fits) json_out_end(o);
      break;
    case JSON_OBJECT:
      if (o->depth >= DEEPEST) return false;
      json_out_object(o);
      for (struct json_iter it = json_members(v); fits && json_next_member(&it, &key, &item);) {
        json_out_key_str(o, key);
        fits = copy(o, item);
      }
      if (fits) json_out_end(o);
      break;
    default: json_out_null(o);
  }
  return fits;
}

int json_out_copy(struct json_out *o, struct json v, struct error *e) {
  struct json_out before = *o;
  size_t n = o->to->n;
  if (copy(o, v)) return OK;
  *o = before, o->to->n = n;
  return error_set(e, E_LIMIT, "nested too deep: at most %d levels are written", DEEPEST);
}

void json_kv_str(struct json_out *o, const char *key, struct str v) {
  json_out_key(o, key);
  json_out_str(o, v);
}

void json_kv_c(struct json_out *o, const char *key, const char *v) {
  json_out_key(o, key);
  json_out_c(o, v);
}

void json_kv_i64(struct json_out *o, const char *key, int64_t v) {
  json_out_key(o, key);
  json_out_i64(o, v);
}

void json_kv_f64(struct json_out *o, const char *key, double v) {
  json_out_key(o, key);
  json_out_f64(o, v);
}

void json_kv_bool(struct json_out *o, const char *key, bool v) {
  json_out_key(o, key);
  json_out_bool(o, v);
}
