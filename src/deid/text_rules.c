/* Shaped identifiers: one vectorscan database finds where a rule may match, PCRE2 (JIT) looks at that place alone and gives the value's
 * group, a verifier reads the value. A rule is data:
 *
 *     {"name": "ssn", "label": "SSN", "find": "\\d{3}-\\d{2}-\\d{4}", "match": "(?<![\\d-])(\\d{3}-\\d{2}-\\d{4})(?![\\d-])", "verify": "ssn"}
 *
 * `find` (default: `match`) has no lookaround; group 1 of `match`, where it has one, is the value, else all of it. {{NAME}} stands for an
 * entry of "define". "caseless": true for both. "back": the match may begin that many bytes before what `find` found.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <hs/hs.h>
#include <pcre2.h>
#include <stdlib.h>

#include "base/json.h"
#include "deid/text_check.h"
#include "deid/text_internal.h"
#include "deid/text_ready.h"

enum {
  RULES_MOST = 256,
  EXPRESSION_MOST = 16384,
  HITS_PER_BYTE = 24,
  HITS_LEAST = 4096,
  WORD_BACK = 32,
  BACK_MOST = 128,
  WIDTH_MOST = 256,
  EXPAND_DEPTH = 8
};

struct rule {
  pcre2_code *match;
  text_check_fn check;
  int label;
  uint32_t back; /* the match begins at most this many bytes before the end that vectorscan reports */
};
struct text_rules {
  hs_database_t *database;
  struct rule rule[RULES_MOST];
  unsigned n;
  bool ready; /* the database was not compiled here */
};
struct hit {
  uint32_t rule, to;
};
struct text_rules_work {
  hs_scratch_t *scratch;
  pcre2_match_data *data;
  pcre2_match_context *context;
  struct hit *hits;
  uint32_t hit_n, hit_cap;
  uint64_t hit_limit;
  uint32_t text_n;
  bool failed;
};

/* ---- loading ---- */

static int expand(struct json defines, struct str s, int depth, struct buf *out, struct error *e) {
  if (depth > EXPAND_DEPTH) return error_set(e, E_INPUT, "a rule's definitions go round in circles");
  for (size_t i = 0; i < s.n;) {
    size_t close = i + 2;
    if (s.n - i >= 4 && s.p[i] == '{' && s.p[i + 1] == '{')
      while (close + 1 < s.n && !(s.p[close] == '}' && s.p[close + 1] == '}')) close++;
    if (close + 1 >= s.n || s.p[i] != '{' || s.p[i + 1] != '{') {
      buf_putc(out, s.p[i++]);
      continue;
    }
    char name[64];
    size_t n = close - i - 2;
    if (n >= sizeof name) return error_set(e, E_INPUT, "a definition's name is too long");
    memcpy(name, s.p + i + 2, n);
    name[n] = 0;
    struct str value = json_str(json_get(defines, name));
    if (!value.p) return error_set(e, E_INPUT, "a rule uses a definition that is not there");
    TRY(expand(defines, value, depth + 1, out, e));
    if (out->n > EXPRESSION_MOST) return error_set(e, E_LIMIT, "a rule's expression is too long");
    i = close + 2;
  }
  return buf_check(out, e);
}

static int compile_match(struct rule *r, const struct buf *b, bool caseless, struct error *e) {
  int code;
  PCRE2_SIZE at;
  uint32_t flags = PCRE2_UTF | PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C | (caseless ? PCRE2_CASELESS : 0);
  r->match = pcre2_compile((PCRE2_SPTR)b->p, b->n, flags, &code, &at, NULL);
  if (!r->match) return error_set(e, E_INPUT, "PCRE2 refuses a rule's expression at byte %zu (code %d)", (size_t)at, code);
  (void)pcre2_jit_compile(r->match, PCRE2_JIT_COMPLETE); /* without JIT the interpreter runs it: slower, the same result */
  return OK;
}

struct loading {
  struct json defines;
  struct buf find[RULES_MOST], match;
  const char *expressions[RULES_MOST];
  unsigned flags[RULES_MOST], ids[RULES_MOST];
  struct str ready;     /* databases compiled ahead */
  struct buf *prepared; /* not NULL: databases for later, instead of one for now */
};

/* How far before its end a `find` can begin: its own width, and what the rule adds. */
static int width_of(const char *expression, unsigned flags, uint32_t *back, struct error *e) {
  hs_expr_info_t *info = NULL;
  hs_compile_error_t *why = NULL;
  if (hs_expression_info(expression, flags, &info, &why) != HS_SUCCESS || !info) {
    if (why) hs_free_compile_error(why);
    return error_set(e, E_INPUT, "vectorscan refuses a rule's \"find\": it must do without lookaround");
  }
  bool bounded = info->max_width <= WIDTH_MOST;
  *back += info->max_width;
  free(info);
  return bounded ? OK : error_set(e, E_INPUT, "a rule's \"find\" has no bound on its length");
}

static int load_rule(struct text_rules *out, struct loading *l, struct json j, struct error *e) {
  struct str label, match, find = json_str(json_get(j, "find")), verify = json_str(json_get(j, "verify"));
  bool caseless = false;
  int64_t back = 0;
  unsigned i = out->n;
  if (i == RULES_MOST) return error_set(e, E_LIMIT, "more than %d rules", RULES_MOST);
  TRY(json_want_str(j, "label", &label, e));
  TRY(json_want_str(j, "match", &match, e));
  (void)json_bool(json_get(j, "caseless"), &caseless);
  if (json_kind(json_get(j, "back")) != JSON_NONE) TRY(json_want_i64(j, "back", &back, e));
  if (back < 0 || back > BACK_MOST) return error_set(e, E_INPUT, "\"back\" is out of range");
  struct rule *r = &out->rule[out->n++];
  r->label = text_label_named(label);
  r->back = (uint32_t)back;
  if (r->label < 0) return error_set(e, E_INPUT, "a rule's label is unknown");
  r->check = text_check_named(verify);
  if (verify.n && !r->check) return error_set(e, E_INPUT, "a rule's verifier is unknown");
  buf_clear(&l->match);
  TRY(expand(l->defines, match, 0, &l->match, e));
  TRY(compile_match(r, &l->match, caseless, e));
  TRY(expand(l->defines, find.n ? find : match, 0, &l->find[i], e));
  l->expressions[i] = buf_cstr(&l->find[i]);
  l->flags[i] = caseless ? HS_FLAG_CASELESS : 0;
  l->ids[i] = i;
  TRY(buf_check(&l->find[i], e));
  return width_of(l->expressions[i], l->flags[i], &r->back, e);
}

static int compile_all(struct text_rules *out, struct loading *l, struct error *e) {
  const struct text_expressions all = {l->expressions, l->flags, l->ids, out->n};
  hs_compile_error_t *why = NULL;
  if (l->prepared) return text_ready_make(&all, l->prepared, e);
  out->ready = text_ready_open(l->ready, &all, &out->database);
  if (out->ready) return OK;
  hs_error_t rc = hs_compile_multi(l->expressions, l->flags, l->ids, out->n, HS_MODE_BLOCK, NULL, &out->database, &why);
  if (rc == HS_SUCCESS) return OK;
  error_set(e, E_INPUT, "vectorscan refuses rule number %d: its \"find\" must do without lookaround", why ? why->expression + 1 : 0);
  if (why) hs_free_compile_error(why);
  return E_INPUT;
}

static int load_all(struct text_rules *out, struct loading *l, struct json root, struct error *e) {
  struct json j;
  int at = 0;
  l->defines = json_get(root, "define");
  for (struct json_iter it = json_items(json_get(root, "rules")); json_next(&it, &j);) {
    int rc = load_rule(out, l, j, e);
    at++;
    if (rc < 0) return error_where(e, NULL, at, "rules"), rc;
  }
  if (out->n == 0) return error_set(e, E_INPUT, "no rules");
  return compile_all(out, l, e);
}

static int load(struct str json, struct str ready, struct buf *prepared, struct text_rules **out, struct error *e) {
  struct json_parser *jp = NULL;
  struct json root;
  *out = NULL;
  struct text_rules *r = mem_alloc(sizeof *r);
  struct loading *l = mem_alloc(sizeof *l);
  int rc = r && l ? OK : error_set(e, E_NOMEM, "no memory for rules");
  if (r) memset(r, 0, sizeof *r);
  if (l) *l = (struct loading){.ready = ready, .prepared = prepared};
  if (rc == OK) rc = json_parser_new(&jp, e);
  if (rc == OK) rc = json_parse(jp, json.p, json.n, json.n, &root, e);
  if (rc == OK) rc = load_all(r, l, root, e);
  for (unsigned i = 0; l && i < RULES_MOST; i++) buf_release(&l->find[i]);
  if (l) buf_release(&l->match);
  mem_free(l);
  json_parser_free(jp);
  if (rc < 0)
    text_rules_free(r);
  else
    *out = r;
  return rc;
}

int text_rules_load_with(struct str ready, struct str json, struct text_rules **out, struct error *e) {
  return load(json, ready, NULL, out, e);
}

int text_rules_load(struct str json, struct text_rules **out, struct error *e) { return load(json, text_ready_data(), NULL, out, e); }

int text_rules_prepare(struct str json, struct buf *out, struct error *e) {
  struct text_rules *r;
  int rc = load(json, STR_NONE, out, &r, e);
  text_rules_free(r);
  return rc;
}

bool text_rules_ready(const struct text_rules *r) { return r->ready; }

void text_rules_free(struct text_rules *r) {
  if (!r) return;
  for (unsigned i = 0; i < r->n; i++) pcre2_code_free(r->rule[i].match);
  hs_free_database(r->database);
  mem_free(r);
}

/* ---- running ---- */

int text_rules_work_new(const struct text_rules *r, struct text_rules_work **out, struct error *e) {
  struct text_rules_work *w = mem_alloc(sizeof *w);
  *out = NULL;
  if (!w) return error_set(e, E_NOMEM, "no memory for scratch");
  memset(w, 0, sizeof *w);
  w->data = pcre2_match_data_create(8, NULL);
  w->context = pcre2_match_context_create(NULL);
  if (!w->data || !w->context || hs_alloc_scratch(r->database, &w->scratch) != HS_SUCCESS) {
    text_rules_work_free(w);
    return error_set(e, E_NOMEM, "no memory for scratch");
  }
  pcre2_set_match_limit(w->context, 20000);
  pcre2_set_depth_limit(w->context, 2000);
  *out = w;
  return OK;
}

void text_rules_work_free(struct text_rules_work *w) {
  if (!w) return;
  hs_free_scratch(w->scratch);
  pcre2_match_data_free(w->data);
  pcre2_match_context_free(w->context);
  if (w->hits) mem_wipe(w->hits, w->hit_cap * sizeof *w->hits);
  mem_free(w->hits);
  mem_free(w);
}

static int on_hit(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *ctx) {
  struct text_rules_work *w = ctx;
  (void)flags, (void)from;
  if (to > w->text_n) return 0; /* the padding */
  if (w->hit_n == w->hit_cap) {
    uint32_t cap = w->hit_cap ? w->hit_cap * 2 : 1024;
    struct hit *more = w->hit_n < w->hit_limit ? mem_realloc(w->hits, cap * sizeof *more) : NULL;
    if (!more) return w->failed = true, 1;
    w->hits = more;
    w->hit_cap = cap;
  }
  w->hits[w->hit_n++] = (struct hit){id, (uint32_t)to};
  return 0;
}

static bool word_byte(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* The earliest byte at which a match of this hit may begin. */
static uint32_t first_start(const struct rule *r, struct str text, const struct hit *h, uint32_t done) {
  uint32_t from = h->to > r->back ? h->to - r->back : 0;
  for (int i = 0; i < WORD_BACK && from > done && word_byte(text.p[from - 1]); i++) from--;
  if (from < done) from = done;
  while (from < h->to && ((uint8_t)text.p[from] & 0xC0) == 0x80) from++;
  return from;
}

/* Where a match may begin is bounded by what vectorscan said; where it ends is PCRE2's. No start is tried twice: *done moves on. */
static int look_at(const struct rule *r, struct text_rules_work *w, struct str text, const struct hit *h, struct text_spans *out,
                   uint32_t *done, struct error *e) {
  uint32_t from = first_start(r, text, h, *done);
  pcre2_set_offset_limit(w->context, h->to);
  while (from < h->to) {
    int n = pcre2_match(r->match, (PCRE2_SPTR)text.p, text.n, from, PCRE2_NO_UTF_CHECK, w->data, w->context);
    if (n == PCRE2_ERROR_NOMATCH) break;
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->data);
    /* out of its limits: what vectorscan saw is taken whole, for a rule that cannot be checked may not let pass */
    if (n < 0) return *done = h->to, text_spans_add(out, from, h->to, r->label, TEXT_BY_RULE, e);
    int g = n > 1 && at[2] != PCRE2_UNSET ? 1 : 0;
    struct text_check_place place = {.text = text, .start = (uint32_t)at[2 * g], .end = (uint32_t)at[2 * g + 1]};
    uint32_t end = at[1] > place.end ? (uint32_t)at[1] : place.end;
    if (place.end > place.start && (!r->check || r->check(&place))) {
      TRY(text_spans_add(out, place.start, place.end, r->label, TEXT_BY_RULE, e));
      from = end > from ? end : from + 1;
    } else
      from = (uint32_t)at[0] + 1 > from ? (uint32_t)at[0] + 1 : from + 1;
    while (from < text.n && ((uint8_t)text.p[from] & 0xC0) == 0x80) from++;
  }
  *done = from > h->to ? from : h->to;
  return OK;
}

/* The text is followed by TEXT_RULES_PAD bytes of zero, which are scanned with it: in vectorscan 5.4.9 the AVX-512 search for a
 * negated character overlooks the last, partial vector of what it is given (upstream's pull request 378), and with it the match. */
int text_rules_find(const struct text_rules *r, struct text_rules_work *w, struct str text, struct text_spans *out, struct error *e) {
  uint32_t done[RULES_MOST] = {0};
  w->hit_n = 0;
  w->failed = false;
  w->text_n = (uint32_t)text.n;
  w->hit_limit = (uint64_t)text.n * HITS_PER_BYTE + HITS_LEAST;
  if (text.n == 0) return OK;
  hs_error_t rc = hs_scan(r->database, text.p, (unsigned)text.n + TEXT_RULES_PAD, 0, w->scratch, on_hit, w);
  if (w->failed) return error_set(e, E_LIMIT, "too many places of a text look like identifiers");
  if (rc != HS_SUCCESS) return error_set(e, E_INPUT, "vectorscan could not read a text (code %d)", rc);
  for (uint32_t i = 0; i < w->hit_n; i++) {
    const struct hit *h = &w->hits[i];
    if (done[h->rule] < h->to) TRY(look_at(&r->rule[h->rule], w, text, h, out, &done[h->rule], e));
  }
  return OK;
}
