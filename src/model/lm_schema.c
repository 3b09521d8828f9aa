/* A schema as a machine that reads bytes: a stack of what is open, each frame one value, list, object, text or number that has begun. */
#include "model/lm_schema.h"

#include <math.h>

#include "base/json.h"
#include "base/map.h"

#define MOST_NODES 1024
#define MOST_DEPTH 32
#define MOST_WORDS 256 /* of an enum */
#define STRING_LIMIT 4096
#define ITEMS_LIMIT 256
#define DIGITS_LIMIT 24

enum kind { ANY, OBJECT, ARRAY, STRING, NUMBER, INTEGER, WORDS };
struct node {
  enum kind kind;
  int n;            /* OBJECT: properties; WORDS: alternatives */
  int *child;       /* OBJECT: nodes; ARRAY: child[0] */
  struct str *word; /* OBJECT: `"name":`; WORDS: the JSON texts */
  int least, most;  /* ARRAY, STRING */
};
enum place { VALUE, IN_OBJECT, IN_ARRAY, IN_STRING, IN_NUMBER, IN_WORDS, KEY };
struct frame {
  uint8_t place, phase, left; /* left: bytes that a character still needs, or hex digits that an escape does */
  bool blank;                 /* VALUE: one blank may come first */
  short node;
  int at, count;
  uint64_t alive[MOST_WORDS / 64]; /* IN_WORDS */
};
struct machine {
  struct frame frame[MOST_DEPTH];
  int depth;
};
struct lm_schema {
  struct arena arena;
  struct node node[MOST_NODES];
  int nodes;
  struct machine now;
};

/* ---- compiling ---- */

static int compile(struct lm_schema *s, struct json j, int depth, int *out, struct error *e);

static int spelled(struct lm_schema *s, struct json j, struct str *out, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  if (json_kind(j) == JSON_ARRAY || json_kind(j) == JSON_OBJECT)
    return error_set(e, E_INPUT, "a schema's enum may hold texts, numbers, truth values and null");
  json_out_init(&o, &b, false);
  int rc = json_out_copy(&o, j, e);
  if (rc == OK) *out = str_copy(&s->arena, (struct str){b.p, b.n});
  buf_release(&b);
  return rc < 0 || out->p ? rc : error_set(e, E_NOMEM, "no memory for a schema");
}

static int words(struct lm_schema *s, struct node *node, struct json list, struct error *e) {
  struct json_iter it = json_items(list);
  struct json item;
  size_t n = json_count(list);
  if (!n || n > MOST_WORDS) return error_set(e, E_INPUT, "a schema's enum has 1 to %d values", MOST_WORDS);
  node->kind = WORDS;
  node->word = arena_array(&s->arena, struct str, n);
  if (!node->word) return error_set(e, E_NOMEM, "no memory for a schema");
  while (json_next(&it, &item)) TRY(spelled(s, item, &node->word[node->n++], e));
  return OK;
}

static int fixed_words(struct lm_schema *s, struct node *node, const char *a, const char *b, struct error *e) {
  node->kind = WORDS;
  node->n = b ? 2 : 1;
  node->word = arena_array(&s->arena, struct str, 2);
  if (!node->word) return error_set(e, E_NOMEM, "no memory for a schema");
  node->word[0] = str_c(a), node->word[1] = str_c(b);
  return OK;
}

static int object(struct lm_schema *s, struct node *node, struct json properties, int depth, struct error *e) {
  size_t n = json_count(properties);
  struct json_iter it = json_members(properties);
  struct str key;
  struct json value;
  node->kind = OBJECT;
  node->child = arena_array(&s->arena, int, n + 1);
  node->word = arena_array(&s->arena, struct str, n + 1);
  if (!node->child || !node->word) return error_set(e, E_NOMEM, "no memory for a schema");
  while (json_next_member(&it, &key, &value)) {
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b, false);
    json_out_str(&o, key);
    buf_putc(&b, ':');
    node->word[node->n] = str_copy(&s->arena, (struct str){b.p, b.n});
    buf_release(&b);
    if (!node->word[node->n].p) return error_set(e, E_NOMEM, "no memory for a schema");
    TRY(compile(s, value, depth + 1, &node->child[node->n], e));
    node->n++;
  }
  return OK;
}

static int bound(struct json j, const char *key, int otherwise, int *out, struct error *e) {
  int64_t v = otherwise;
  struct json k = json_get(j, key);
  if (json_kind(k) != JSON_NONE && (!json_i64(k, &v) || v < 0 || v > 1 << 20))
    return error_set(e, E_INPUT, "a schema's %s is no count", key);
  *out = (int)v;
  return OK;
}

/* Only the properties are written: what is required is one of them */
static int check_required(struct json j, struct error *e) {
  struct json required = json_get(j, "required"), more = json_get(j, "additionalProperties"), name, v;
  struct str key;
  if (json_kind(required) != JSON_NONE && json_kind(required) != JSON_ARRAY) return error_set(e, E_INPUT, "a schema's required is a list");
  for (struct json_iter it = json_items(required); json_next(&it, &name);) {
    struct json_iter in = json_members(json_get(j, "properties"));
    bool found = false;
    while (json_kind(name) == JSON_STRING && !found && json_next_member(&in, &key, &v)) found = str_eq(key, json_str(name));
    if (!found) return error_set(e, E_INPUT, "a schema's required names what is not among its properties");
  }
  if (json_kind(more) != JSON_NONE && json_kind(more) != JSON_BOOL && json_kind(more) != JSON_OBJECT)
    return error_set(e, E_INPUT, "a schema's additionalProperties is a schema or a truth value");
  return OK;
}
/* Of any members where nothing says which; with additionalProperties false or a schema there are none */
static int compile_object(struct lm_schema *s, struct node *node, struct json j, int depth, struct error *e) {
  struct json properties = json_get(j, "properties"), more = json_get(j, "additionalProperties");
  bool open = json_kind(more) == JSON_NONE || (json_bool(more, &open) && open);
  TRY(check_required(j, e));
  if (json_kind(properties) != JSON_NONE && json_kind(properties) != JSON_OBJECT)
    return error_set(e, E_INPUT, "a schema's properties are an object");
  if (json_kind(properties) == JSON_OBJECT || !open) return object(s, node, properties, depth, e);
  return node->kind = ANY, node->least = 1, OK;
}

static int compile_type(struct lm_schema *s, struct node *node, struct json j, struct str type, int depth, struct error *e) {
  if (str_eqc(type, "boolean")) return fixed_words(s, node, "true", "false", e);
  if (str_eqc(type, "null")) return fixed_words(s, node, "null", NULL, e);
  if (str_eqc(type, "number")) return node->kind = NUMBER, OK;
  if (str_eqc(type, "integer")) return node->kind = INTEGER, OK;
  if (str_eqc(type, "string")) {
    node->kind = STRING;
    TRY(bound(j, "minLength", 0, &node->least, e));
    TRY(bound(j, "maxLength", STRING_LIMIT, &node->most, e));
    return node->least <= node->most ? OK : error_set(e, E_INPUT, "a schema's minLength is over its maxLength");
  }
  if (str_eqc(type, "array")) {
    node->kind = ARRAY;
    TRY(bound(j, "minItems", 0, &node->least, e));
    TRY(bound(j, "maxItems", node->least > ITEMS_LIMIT ? node->least : ITEMS_LIMIT, &node->most, e));
    node->child = arena_array(&s->arena, int, 1);
    if (!node->child) return error_set(e, E_NOMEM, "no memory for a schema");
    if (node->least > node->most) return error_set(e, E_INPUT, "a schema's minItems is over its maxItems");
    return compile(s, json_get(j, "items"), depth + 1, node->child, e);
  }
  if (str_eqc(type, "object")) return compile_object(s, node, j, depth, e);
  return error_set(e, E_INPUT, "a schema's type is not known");
}

/* What a schema may say. An empty type: of any; NULL: it describes and holds nothing. */
static const struct {
  const char *name, *type;
} keywords[] = {{"type", ""},
                {"enum", ""},
                {"const", ""},
                {"properties", "object"},
                {"required", "object"},
                {"additionalProperties", "object"},
                {"items", "array"},
                {"minItems", "array"},
                {"maxItems", "array"},
                {"minLength", "string"},
                {"maxLength", "string"},
                {"title", NULL},
                {"description", NULL},
                {"default", NULL},
                {"examples", NULL},
                {"$schema", NULL},
                {"$id", NULL},
                {"$comment", NULL},
                {"$defs", NULL}, /* without a $ref they are nobody's */
                {"definitions", NULL},
                {"deprecated", NULL},
                {"readOnly", NULL},
                {"writeOnly", NULL},
                {"strict", NULL}};
/* Those of JSON Schema that cannot be held while writing are refused by name; any other word may be somebody's secret and is not repeated */
static int unknown_keyword(struct str key, struct error *e) {
  static const char *const names[] = {"anyOf",
                                      "oneOf",
                                      "allOf",
                                      "not",
                                      "$ref",
                                      "$dynamicRef",
                                      "pattern",
                                      "minimum",
                                      "maximum",
                                      "exclusiveMinimum",
                                      "multipleOf",
                                      "if",
                                      "patternProperties",
                                      "propertyNames",
                                      "then",
                                      "else",
                                      "exclusiveMaximum",
                                      "minProperties",
                                      "format",
                                      "maxProperties",
                                      "uniqueItems",
                                      "prefixItems",
                                      "additionalItems",
                                      "contains",
                                      "minContains",
                                      "maxContains",
                                      "dependentRequired",
                                      "dependentSchemas",
                                      "unevaluatedItems",
                                      "unevaluatedProperties"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (str_eqc(key, names[i])) return error_set(e, E_INPUT, "a schema's %s is not supported", names[i]);
  return error_set(e, E_INPUT, "a schema has a keyword that is not supported");
}
static bool type_fits(struct json v, struct str type) {
  enum json_kind k = json_kind(v);
  double x;
  if (str_eqc(type, "integer")) return k == JSON_INT || (json_f64(v, &x) && x == floor(x));
  if (str_eqc(type, "number")) return k == JSON_INT || k == JSON_REAL;
  return str_eqc(type, k == JSON_STRING ? "string" : k == JSON_BOOL ? "boolean" : k == JSON_NULL ? "null" : "");
}
/* Every keyword is held or refused: a bound needs its type beside it, and goes with no list of values */
static int check_keywords(struct json j, struct error *e) {
  struct json_iter it = json_members(j);
  struct json type = json_get(j, "type"), list = json_get(j, "enum"), only = json_get(j, "const"), v;
  struct str key, of = json_kind(json_get(j, "properties")) == JSON_NONE ? json_str(type) : STR("object");
  bool listed = json_kind(list) != JSON_NONE || json_kind(only) != JSON_NONE;
  while (json_next_member(&it, &key, &v)) {
    size_t i = 0, n = sizeof keywords / sizeof *keywords;
    while (i < n && !str_eqc(key, keywords[i].name)) i++;
    if (i == n) return unknown_keyword(key, e);
    if (!keywords[i].type || !keywords[i].type[0]) continue;
    if (!of.n && !listed) return error_set(e, E_INPUT, "a schema's %s needs its type beside it", keywords[i].name);
    if (listed && (!of.n || str_eqc(of, keywords[i].type)))
      return error_set(e, E_INPUT, "a schema's %s is not supported beside a list of values", keywords[i].name);
  }
  if (json_kind(type) != JSON_NONE && json_kind(type) != JSON_STRING) return error_set(e, E_INPUT, "a schema's type is one word");
  if (json_kind(list) != JSON_NONE && json_kind(list) != JSON_ARRAY) return error_set(e, E_INPUT, "a schema's enum is a list");
  for (it = json_items(list); json_next(&it, &v);)
    if (of.n && !type_fits(v, of)) return error_set(e, E_INPUT, "a schema's enum has a value of another type");
  if (json_kind(only) != JSON_NONE && of.n && !type_fits(only, of)) return error_set(e, E_INPUT, "a schema's const is of another type");
  return OK;
}
static int compile(struct lm_schema *s, struct json j, int depth, int *out, struct error *e) {
  if (depth > MOST_DEPTH / 2 || s->nodes == MOST_NODES) return error_set(e, E_LIMIT, "a schema that is too deep or too large");
  if (json_kind(j) != JSON_OBJECT && json_kind(j) != JSON_NONE) return error_set(e, E_INPUT, "a schema is an object");
  TRY(check_keywords(j, e));
  *out = s->nodes++;
  struct node *node = &s->node[*out];
  struct json type = json_get(j, "type"), only = json_get(j, "const");
  if (json_kind(only) != JSON_NONE) {
    node->kind = WORDS;
    node->n = 1;
    node->word = arena_array(&s->arena, struct str, 1);
    return node->word ? spelled(s, only, node->word, e) : error_set(e, E_NOMEM, "no memory for a schema");
  }
  if (json_kind(json_get(j, "enum")) != JSON_NONE) return words(s, node, json_get(j, "enum"), e);
  if (json_kind(type) == JSON_NONE && json_kind(json_get(j, "properties")) != JSON_NONE) return compile_object(s, node, j, depth, e);
  if (json_kind(type) == JSON_NONE) return OK; /* ANY */
  return compile_type(s, node, j, json_str(type), depth, e);
}

int lm_schema_new(const char *json, size_t n, struct lm_schema **out, struct error *e) {
  struct json_parser *parser = NULL;
  struct json root;
  int first;
  *out = NULL;
  struct lm_schema *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "no memory for a schema");
  memset(s, 0, sizeof *s);
  arena_init(&s->arena, 4 << 20, 0);
  int rc = json_parser_new(&parser, e);
  if (rc == OK) rc = json_parse(parser, json, n, n, &root, e);
  if (rc == OK) rc = compile(s, root, 0, &first, e);
  json_parser_free(parser);
  if (rc < 0) {
    lm_schema_free(s);
    return rc;
  }
  lm_schema_reset(s);
  *out = s;
  return OK;
}

void lm_schema_free(struct lm_schema *s) {
  if (!s) return;
  arena_free(&s->arena);
  mem_free(s);
}

/* ---- reading ---- */

static bool push(struct machine *m, enum place place, int node) {
  if (m->depth == MOST_DEPTH) return false;
  m->frame[m->depth++] = (struct frame){.place = (uint8_t)place, .node = (short)node};
  return true;
}

void lm_schema_reset(struct lm_schema *s) {
  s->now.depth = 0;
  push(&s->now, VALUE, 0);
}

static const char *const plain_words[] = {"true", "false", "null"};
enum { ANY_NODE = -1 };

static enum kind kind_of(const struct lm_schema *s, int node) { return node < 0 ? ANY : s->node[node].kind; }

static int word_count(const struct lm_schema *s, const struct frame *f) {
  return kind_of(s, f->node) == ANY ? 3 : f->place == KEY ? 1 : s->node[f->node].n;
}
static struct str word_at(const struct lm_schema *s, const struct frame *f, int i) {
  if (f->place == KEY) return s->node[f->node].word[f->count];
  return kind_of(s, f->node) == ANY ? str_c(plain_words[i]) : s->node[f->node].word[i];
}

/* One byte of a word out of several; the frame goes when a word is whole and no longer one can follow, or when the byte is not of it. */
static int step_words(const struct lm_schema *s, struct machine *m, unsigned char c) {
  struct frame *f = &m->frame[m->depth - 1];
  int n = word_count(s, f), left = 0, whole = 0;
  bool was_whole = false;
  for (int i = 0; i < n; i++) {
    struct str w = word_at(s, f, i);
    if (f->at && !(f->alive[i / 64] >> i % 64 & 1)) continue;
    was_whole = was_whole || (size_t)f->at == w.n;
    if ((size_t)f->at < w.n && (unsigned char)w.p[f->at] == c) {
      f->alive[i / 64] |= (uint64_t)1 << i % 64;
      left++;
      whole += (size_t)f->at + 1 == w.n;
    } else {
      f->alive[i / 64] &= ~((uint64_t)1 << i % 64);
    }
  }
  if (!left) return was_whole && f->at ? (m->depth--, 2) : 0; /* 2: the byte belongs to what follows */
  f->at++;
  if (whole == left) m->depth--;
  return 1;
}

static bool utf8_lead(struct frame *f, unsigned char c) {
  f->left = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
  return c >= 0xC2 && c <= 0xF4 && c != 0xED && c != 0xE0 && c != 0xF0 &&
         c != 0xF4; /* those leads whose next byte is bounded are rare: left out */
}

static int step_string(const struct lm_schema *s, struct machine *m, unsigned char c) {
  struct frame *f = &m->frame[m->depth - 1];
  bool any = kind_of(s, f->node) != STRING;
  int least = any ? 0 : s->node[f->node].least, most = any ? STRING_LIMIT : s->node[f->node].most;
  if (f->phase == 1) { /* after a backslash */
    f->phase = c == 'u' ? 2 : 0, f->left = c == 'u' ? 4 : 0;
    return strchr("\"\\/bfnrtu", c) && c ? 1 : 0;
  }
  if (f->phase == 2) {
    bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (f->left == 4 && (c == 'd' || c == 'D')) return 0; /* no surrogates */
    if (--f->left == 0) f->phase = 0;
    return hex;
  }
  if (f->left) return f->left--, (c & 0xC0) == 0x80;
  if (c == '"') return f->count >= least ? (m->depth--, 1) : 0;
  if (c < 0x20 || f->count >= most) return 0;
  f->count++;
  if (c == '\\') return f->phase = 1, 1;
  return c < 0x80 || utf8_lead(f, c);
}

/* phases of a number: 0 sign seen, 1 zero, 2 digits, 3 point, 4 fraction, 5 e, 6 sign of e, 7 exponent */
static bool number_whole(const struct frame *f) { return f->phase == 1 || f->phase == 2 || f->phase == 4 || f->phase == 7; }

static int step_number(const struct lm_schema *s, struct machine *m, unsigned char c) {
  struct frame *f = &m->frame[m->depth - 1];
  bool digit = c >= '0' && c <= '9', real = kind_of(s, f->node) != INTEGER;
  int next = -1;
  switch (f->phase) {
    case 0: next = c == '0' ? 1 : digit ? 2 : -1; break;
    case 1: next = real && c == '.' ? 3 : real && (c | 32) == 'e' ? 5 : -1; break;
    case 2: next = digit ? 2 : real && c == '.' ? 3 : real && (c | 32) == 'e' ? 5 : -1; break;
    case 3: next = digit ? 4 : -1; break;
    case 4: next = digit ? 4 : (c | 32) == 'e' ? 5 : -1; break;
    case 5: next = c == '+' || c == '-' ? 6 : digit ? 7 : -1; break;
    case 6: next = digit ? 7 : -1; break;
    default: next = digit && f->count < 2 ? 7 : -1;
  }
  if (next < 0) return number_whole(f) ? (m->depth--, 2) : 0;
  if (next == 5) f->count = 0;
  if (++f->at > DIGITS_LIMIT || (next == 2 && f->at > 17)) return 0; /* a whole number fits 64 bits */
  if (next == 7) f->count++;
  f->phase = (uint8_t)next;
  return 1;
}

static int step_value(const struct lm_schema *s, struct machine *m, unsigned char c) {
  struct frame *f = &m->frame[m->depth - 1];
  enum kind k = kind_of(s, f->node);
  if (c == ' ' && f->blank) return f->blank = false, 1;
  int node = f->node;
  bool only_object = k == ANY && node >= 0 && s->node[node].least == 1; /* {"type": "object"} */
  *f = (struct frame){.node = (short)node};
  if ((k == OBJECT || k == ANY) && c == '{') return f->place = IN_OBJECT, 1;
  if (only_object) return 0;
  if ((k == ARRAY || k == ANY) && c == '[') return f->place = IN_ARRAY, 1;
  if ((k == STRING || k == ANY) && c == '"') return f->place = IN_STRING, 1;
  if ((k == NUMBER || k == INTEGER || k == ANY) && (c == '-' || (c >= '0' && c <= '9'))) {
    f->place = IN_NUMBER;
    f->phase = c == '-' ? 0 : c == '0' ? 1 : 2;
    return 1;
  }
  if (k != WORDS && k != ANY) return 0;
  f->place = IN_WORDS;
  return step_words(s, m, c);
}

static int value_next(struct machine *m, int node, bool blank) {
  if (!push(m, VALUE, node)) return 0;
  m->frame[m->depth - 1].blank = blank;
  return 1;
}

/* phases: 0 before the first key, 1 before a key (after a comma), 2 after the key, 3 after a value */
static int step_object(const struct lm_schema *s, struct machine *m, unsigned char c) {
  struct frame *f = &m->frame[m->depth - 1];
  bool any = kind_of(s, f->node) == ANY;
  int n = any ? ITEMS_LIMIT : s->node[f->node].n, node = f->node;
  if (f->phase == 2) { /* only where the key was free text */
    f->phase = 3, f->count++;
    return c == ':' && value_next(m, ANY_NODE, true);
  }
  if (f->phase == 3) {
    if (c == '}' && (any || f->count == n)) return m->depth--, 1;
    if (c != ',' || f->count >= n) return 0;
    return f->phase = 1, f->blank = true, 1;
  }
  if (c == ' ' && f->phase == 1 && f->blank) return f->blank = false, 1;
  if (f->phase == 0 && c == '}' && (any || n == 0)) return m->depth--, 1;
  if (any) {
    f->phase = 2;
    return c == '"' && push(m, IN_STRING, ANY_NODE);
  }
  if (f->count >= n) return 0;
  int property = f->count++;
  f->phase = 3;
  if (!value_next(m, s->node[node].child[property], true) || !push(m, KEY, node)) return 0;
  m->frame[m->depth - 1].count = property;
  return 2; /* the key's first byte is this one */
}

static int step_array(const struct lm_schema *s, struct machine *m, unsigned char c) {
  struct frame *f = &m->frame[m->depth - 1];
  bool any = kind_of(s, f->node) == ANY;
  int least = any ? 0 : s->node[f->node].least, most = any ? ITEMS_LIMIT : s->node[f->node].most,
      item = any ? ANY_NODE : s->node[f->node].child[0];
  if (c == ']' && f->count >= least && f->phase != 2) return m->depth--, 1;
  if (f->count >= most) return 0;
  if (f->phase == 1) {
    f->count++;
    return c == ',' && value_next(m, item, true);
  }
  f->phase = 1, f->count++;
  return value_next(m, item, false) ? 2 : 0;
}

static bool step(const struct lm_schema *s, struct machine *m, unsigned char c) {
  int rc = 2;
  while (rc == 2) {
    if (!m->depth) return false;
    switch (m->frame[m->depth - 1].place) {
      case VALUE: rc = step_value(s, m, c); break;
      case IN_OBJECT: rc = step_object(s, m, c); break;
      case IN_ARRAY: rc = step_array(s, m, c); break;
      case IN_STRING: rc = step_string(s, m, c); break;
      case IN_NUMBER: rc = step_number(s, m, c); break;
      default: rc = step_words(s, m, c);
    }
  }
  return rc == 1;
}

static bool run(const struct lm_schema *s, struct machine *m, struct str t) {
  for (size_t i = 0; i < t.n; i++)
    if (!step(s, m, (unsigned char)t.p[i])) return false;
  return t.n > 0;
}

bool lm_schema_accepts(const struct lm_schema *s, struct str t) {
  struct machine m;
  m.depth = s->now.depth;
  memcpy(m.frame, s->now.frame, (size_t)m.depth * sizeof *m.frame);
  return run(s, &m, t);
}

bool lm_schema_take(struct lm_schema *s, struct str t) {
  struct machine m;
  m.depth = s->now.depth;
  memcpy(m.frame, s->now.frame, (size_t)m.depth * sizeof *m.frame);
  if (!run(s, &m, t)) return false;
  s->now = m;
  return true;
}

bool lm_schema_closed(const struct lm_schema *s) { return s->now.depth == 0; }

bool lm_schema_complete(const struct lm_schema *s) {
  const struct machine *m = &s->now;
  if (m->depth == 0) return true;
  const struct frame *f = &m->frame[0];
  if (m->depth != 1) return false;
  if (f->place == IN_NUMBER) return number_whole(f);
  if (f->place != IN_WORDS) return false;
  for (int i = 0; i < word_count(s, f); i++)
    if ((f->alive[i / 64] >> i % 64 & 1) && word_at(s, f, i).n == (size_t)f->at) return true;
  return false;
}
