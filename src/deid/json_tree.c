/* The tree's parser is strict (RFC 8259): what it takes, base/json.h takes too (tests/fuzz/fuzz_fhir_deid.c compares the two). */
#include "deid/json_tree.h"

#include <emmintrin.h>

enum { NODES = 4 << 20, TEXT_LIMIT = 64 << 20 };

struct reader {
  struct json_tree *t;
  const char *p, *end;
  struct error *e;
  int depth;
};

void json_tree_init(struct json_tree *t) {
  *t = (struct json_tree){.limit = NODES};
  arena_init(&t->text, TEXT_LIMIT, ARENA_WIPE);
}

void json_tree_release(struct json_tree *t) {
  if (t->at) mem_wipe(t->at, (size_t)t->cap * sizeof *t->at);
  mem_free(t->at);
  arena_free(&t->text);
  *t = (struct json_tree){0};
}

static bool room(struct json_tree *t) {
  if (t->n < t->cap) return true;
  if (t->n >= t->limit) return false;
  uint32_t cap = t->cap ? t->cap * 2 : 1024;
  if (cap > t->limit) cap = t->limit;
  struct json_node *at = mem_realloc(t->at, (size_t)cap * sizeof *at);
  if (!at) return false;
  t->at = at;
  t->cap = cap;
  return true;
}

static uint32_t node(struct json_tree *t, enum json_kind kind) {
  if (!room(t)) return 0;
  t->at[t->n] = (struct json_node){.kind = (uint8_t)kind};
  return t->n++;
}

void json_tree_link(struct json_tree *t, uint32_t parent, uint32_t i) {
  struct json_node *to = &t->at[parent];
  t->at[i].parent = parent;
  t->at[i].next = 0;
  if (to->last)
    t->at[to->last].next = i;
  else
    to->child = i;
  to->last = i;
}

static int wrong(struct reader *r) { return error_set(r->e, E_INPUT, "not valid JSON"); }
static int full(struct reader *r) {
  if (r->t->n >= r->t->limit) return error_set(r->e, E_LIMIT, "too many JSON values");
  return error_set(r->e, E_NOMEM, "no memory for a JSON document");
}

static inline void skip(struct reader *r) {
  while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r')) r->p++;
}

static int hex4(const char *p, const char *end) {
  int v = 0;
  if (end - p < 4) return -1;
  for (int i = 0; i < 4; i++) {
    char c = p[i];
    int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (d < 0) return -1;
    v = v << 4 | d;
  }
  return v;
}

/* p is behind a backslash; the length of the escape after it, 0 if it is none. Surrogates come in pairs. */
static size_t escape_length(const char *p, const char *end) {
  if (p >= end) return 0;
  if (memchr("\"\\/bfnrt", *p, 8)) return 1;
  if (*p != 'u') return 0;
  int v = hex4(p + 1, end);
  if (v < 0 || (v >= 0xDC00 && v <= 0xDFFF)) return 0;
  if (v < 0xD800 || v > 0xDBFF) return 5;
  if (end - p < 11 || p[5] != '\\' || p[6] != 'u') return 0;
  int low = hex4(p + 7, end);
  return low >= 0xDC00 && low <= 0xDFFF ? 11 : 0;
}

/* The next byte that ends a run of plain text: quote, backslash or control. */
static inline const char *plain(const char *p, const char *end) {
  const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
  for (; end - p >= 16; p += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, control), v);
    int found = _mm_movemask_epi8(_mm_or_si128(low, _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash))));
    if (found) return p + __builtin_ctz((unsigned)found);
  }
  while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
  return p;
}

/* r->p is at the opening quote. */
static int string(struct reader *r, const char **raw, uint32_t *n, bool *escapes) {
  const char *from = ++r->p;
  *escapes = false;
  for (;;) {
    r->p = plain(r->p, r->end);
    if (r->p >= r->end) return wrong(r);
    if (*r->p == '"') break;
    if (*r->p != '\\') return wrong(r);
    size_t k = escape_length(r->p + 1, r->end);
    if (!k) return wrong(r);
    *escapes = true;
    r->p += 1 + k;
  }
  if (r->p - from > INT32_MAX) return error_set(r->e, E_LIMIT, "a JSON string over the limit");
  *raw = from;
  *n = (uint32_t)(r->p++ - from);
  return OK;
}

static const char *digits(const char *p, const char *end) {
  while (p < end && *p >= '0' && *p <= '9') p++;
  return p;
}

static int number(struct reader *r, struct json_node *to) {
  const char *p = r->p, *q;
  bool real = false;
  if (p < r->end && *p == '-') p++;
  if (p >= r->end || *p < '0' || *p > '9') return wrong(r);
  q = digits(p, r->end);
  if (*p == '0' && q != p + 1) return wrong(r);
  p = q;
  if (p < r->end && *p == '.') {
    q = digits(p + 1, r->end);
    if (q == p + 1) return wrong(r);
    p = q;
    real = true;
  }
  if (p < r->end && (*p == 'e' || *p == 'E')) {
    p++;
    if (p < r->end && (*p == '+' || *p == '-')) p++;
    q = digits(p, r->end);
    if (q == p) return wrong(r);
    p = q;
    real = true;
  }
  if (p - r->p > 64) return error_set(r->e, E_LIMIT, "a number with too many digits");
  to->kind = (uint8_t)(real ? JSON_REAL : JSON_INT);
  to->raw = r->p;
  to->raw_n = (uint32_t)(p - r->p);
  r->p = p;
  return OK;
}

static int word(struct reader *r, uint32_t i, const char *text, enum json_kind kind) {
  size_t n = strlen(text);
  if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0) return wrong(r);
  r->t->at[i].kind = (uint8_t)kind;
  r->t->at[i].raw = r->p;
  r->t->at[i].raw_n = (uint32_t)n;
  r->p += n;
  return OK;
}

static int value(struct reader *r, uint32_t i);

/* Names are told apart by length and last byte before they are compared. */
static bool duplicate(const struct json_tree *t, uint32_t object, uint32_t i) {
  const struct json_node *m = &t->at[i];
  for (uint32_t k = t->at[object].child; k; k = t->at[k].next) {
    const struct json_node *x = &t->at[k];
    if (x->key_n != m->key_n || (m->key_n && x->key[m->key_n - 1] != m->key[m->key_n - 1])) continue;
    if (memcmp(x->key, m->key, m->key_n) == 0) return true;
  }
  return false;
}

static int object(struct reader *r, uint32_t self) {
  struct json_tree *t = r->t;
  int members = 0;
  r->p++;
  skip(r);
  if (r->p < r->end && *r->p == '}') return r->p++, OK;
  for (;;) {
    bool escapes = false;
    uint32_t i = node(t, JSON_NONE);
    if (!i) return full(r);
    if (++members > JSON_TREE_MEMBERS) return error_set(r->e, E_LIMIT, "an object with too many members");
    skip(r);
    if (r->p >= r->end || *r->p != '"') return wrong(r);
    const char *key = NULL;
    uint32_t n = 0;
    TRY(string(r, &key, &n, &escapes));
    if (escapes) return error_set(r->e, E_INPUT, "a member name with escapes");
    t->at[i].key = key;
    t->at[i].key_n = n;
    if (duplicate(t, self, i)) return error_set(r->e, E_INPUT, "a member name twice in one object");
    json_tree_link(t, self, i);
    skip(r);
    if (r->p >= r->end || *r->p++ != ':') return wrong(r);
    TRY(value(r, i));
    skip(r);
    if (r->p >= r->end) return wrong(r);
    char c = *r->p++;
    if (c == '}') return OK;
    if (c != ',') return wrong(r);
  }
}

static int array(struct reader *r, uint32_t self) {
  struct json_tree *t = r->t;
  r->p++;
  skip(r);
  if (r->p < r->end && *r->p == ']') return r->p++, OK;
  for (;;) {
    uint32_t i = node(t, JSON_NONE);
    if (!i) return full(r);
    json_tree_link(t, self, i);
    TRY(value(r, i));
    skip(r);
    if (r->p >= r->end) return wrong(r);
    char c = *r->p++;
    if (c == ']') return OK;
    if (c != ',') return wrong(r);
  }
}

static int value(struct reader *r, uint32_t i) {
  skip(r);
  if (r->p >= r->end) return wrong(r);
  char c = *r->p;
  if (c == '"') {
    bool escapes = false;
    struct json_node *to = &r->t->at[i];
    to->kind = JSON_STRING;
    TRY(string(r, &to->raw, &to->raw_n, &escapes));
    if (escapes) to->flags |= JSON_TREE_ESCAPES;
    return OK;
  }
  if (c == '{' || c == '[') {
    if (++r->depth > JSON_TREE_DEPTH) return error_set(r->e, E_LIMIT, "JSON nested too deeply");
    r->t->at[i].kind = (uint8_t)(c == '{' ? JSON_OBJECT : JSON_ARRAY);
    int rc = c == '{' ? object(r, i) : array(r, i);
    r->depth--;
    return rc;
  }
  if (c == 't') return word(r, i, "true", JSON_BOOL);
  if (c == 'f') return word(r, i, "false", JSON_BOOL);
  if (c == 'n') return word(r, i, "null", JSON_NULL);
  return number(r, &r->t->at[i]);
}

int json_tree_graft(struct json_tree *t, struct str text, uint32_t *root, struct error *e) {
  struct reader r = {.t = t, .p = text.p, .end = text.p + text.n, .e = e};
  if (!str_utf8_valid(text)) return error_set(e, E_INPUT, "not valid UTF-8");
  *root = node(t, JSON_NONE);
  if (!*root) return full(&r);
  TRY(value(&r, *root));
  skip(&r);
  return r.p == r.end ? OK : wrong(&r);
}

int json_tree_parse(struct json_tree *t, struct str text, struct error *e) {
  uint32_t root;
  arena_reset(&t->text);
  t->n = 0;
  if (!room(t)) return error_set(e, E_NOMEM, "no memory for a JSON document");
  t->at[0] = (struct json_node){0};
  t->n = 1;
  return json_tree_graft(t, text, &root, e);
}

static size_t put_utf8(char *to, unsigned v) {
  if (v < 0x80) return to[0] = (char)v, 1;
  if (v < 0x800) return to[0] = (char)(0xC0 | v >> 6), to[1] = (char)(0x80 | (v & 63)), 2;
  if (v < 0x10000) return to[0] = (char)(0xE0 | v >> 12), to[1] = (char)(0x80 | (v >> 6 & 63)), to[2] = (char)(0x80 | (v & 63)), 3;
  to[0] = (char)(0xF0 | v >> 18), to[1] = (char)(0x80 | (v >> 12 & 63)), to[2] = (char)(0x80 | (v >> 6 & 63)),
  to[3] = (char)(0x80 | (v & 63));
  return 4;
}

struct str json_tree_str(struct json_tree *t, uint32_t i) {
  const struct json_node *n = &t->at[i];
  if (n->kind == JSON_NONE || n->kind == JSON_NULL || n->kind == JSON_OBJECT || n->kind == JSON_ARRAY) return STR_NONE;
  struct str s = {n->raw, n->raw_n};
  if (n->kind != JSON_STRING || !(n->flags & JSON_TREE_ESCAPES)) return s;
  char *to = arena_alloc(&t->text, s.n, 1);
  if (!to) return STR_NONE;
  size_t k = 0;
  for (const char *p = s.p, *end = s.p + s.n; p < end;) {
    if (*p != '\\') {
      to[k++] = *p++;
      continue;
    }
    size_t length = escape_length(++p, end);
    if (*p == 'u') {
      unsigned v = (unsigned)hex4(p + 1, end);
      if (length == 11) v = 0x10000 + ((v - 0xD800) << 10) + ((unsigned)hex4(p + 7, end) - 0xDC00);
      k += put_utf8(to + k, v);
    } else {
      const char *from = "bfnrt", *is = memchr(from, *p, 5);
      to[k++] = is ? "\b\f\n\r\t"[is - from] : *p;
    }
    p += length;
  }
  return (struct str){to, k};
}

uint32_t json_tree_get(const struct json_tree *t, uint32_t from, struct str key) {
  if (t->at[from].kind != JSON_OBJECT) return 0;
  for (uint32_t i = t->at[from].child; i; i = t->at[i].next)
    if (str_eq(json_tree_key(t, i), key)) return i;
  return 0;
}

int json_tree_set_raw(struct json_tree *t, uint32_t i, enum json_kind kind, struct str raw, struct error *e) {
  struct str copy = str_copy(&t->text, raw);
  if (raw.n && !copy.p) return error_set(e, E_NOMEM, "no memory for a new value");
  struct json_node *n = &t->at[i];
  n->kind = (uint8_t)kind;
  n->raw = copy.p;
  n->raw_n = (uint32_t)copy.n;
  n->flags &= (uint8_t)~JSON_TREE_ESCAPES;
  return OK;
}

int json_tree_set_str(struct json_tree *t, uint32_t i, struct str plain_text, struct error *e) {
  bool special = false;
  for (size_t k = 0; k < plain_text.n && !special; k++)
    special = (unsigned char)plain_text.p[k] < 0x20 || plain_text.p[k] == '"' || plain_text.p[k] == '\\';
  if (!special) return json_tree_set_raw(t, i, JSON_STRING, plain_text, e);
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_str(&o, plain_text);
  int rc = buf_check(&b, e);
  if (rc == OK) rc = json_tree_set_raw(t, i, JSON_STRING, (struct str){b.p + 1, b.n - 2}, e);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  if (rc == OK) t->at[i].flags |= JSON_TREE_ESCAPES;
  return rc;
}

uint32_t json_tree_add(struct json_tree *t, uint32_t parent, enum json_kind kind, const char *key) {
  uint32_t i = node(t, kind);
  if (!i) return 0;
  if (key) t->at[i].key = key, t->at[i].key_n = (uint32_t)strlen(key);
  t->at[i].flags = JSON_TREE_NEW | JSON_TREE_DONE;
  if (parent) json_tree_link(t, parent, i);
  return i;
}

/* Room for the separators of a node and its scalar is asked for once. */
void json_tree_write(const struct json_tree *t, uint32_t i, struct buf *out) {
  const struct json_node *n = &t->at[i];
  bool wrap = n->flags & JSON_TREE_WRAP, named = n->kind == JSON_OBJECT;
  if (n->kind == JSON_OBJECT || n->kind == JSON_ARRAY) {
    bool first = true;
    if (!buf_reserve(out, 4)) return;
    if (wrap) out->p[out->n++] = '[';
    out->p[out->n++] = named ? '{' : '[';
    for (uint32_t k = n->child; k; k = t->at[k].next) {
      const struct json_node *c = &t->at[k];
      if (c->flags & JSON_TREE_GONE) continue;
      if (!buf_reserve(out, c->key_n + 4)) return;
      if (!first) out->p[out->n++] = ',';
      first = false;
      if (named) {
        out->p[out->n++] = '"';
        if (c->key_n) memcpy(out->p + out->n, c->key, c->key_n);
        out->n += c->key_n;
        out->p[out->n++] = '"';
        out->p[out->n++] = ':';
      }
      json_tree_write(t, k, out);
    }
    if (!buf_reserve(out, 2)) return;
    out->p[out->n++] = named ? '}' : ']';
    if (wrap) out->p[out->n++] = ']';
    return;
  }
  bool text = n->kind == JSON_STRING;
  if (!buf_reserve(out, n->raw_n + 4)) return;
  if (wrap) out->p[out->n++] = '[';
  if (text) out->p[out->n++] = '"';
  if (n->raw_n) memcpy(out->p + out->n, n->raw, n->raw_n);
  out->n += n->raw_n;
  if (text) out->p[out->n++] = '"';
  if (wrap) out->p[out->n++] = ']';
}
