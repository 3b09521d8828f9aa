#include "serve/serve_filter.h"

#include <string.h>

#include "base/file.h"
#include "base/time.h"
#include "deid/shape.h"
#include "deid/text.h"
#include "model/lm.h"
#include "model/model.h"
#include "serve/engine.h"
#include "serve/serve_voice.h"
#include "token/token.h"
#include "vitae.h"

enum { WORDS = 256, WORD_MOST = 128, HITS = 64, DATE_REACH = 24, TAIL_MOST = 4096, TAIL_KEPT = 512, TOKEN_TEXT = 256 };

struct filter {
  struct str word[WORDS]; /* in the arena, small letters */
  int words;
  size_t reach; /* how far back something may begin that has spaces inside */
  bool dates, refuse;
  struct arena arena;
};
struct hit {
  size_t start, end;
  int label; /* -1: a word of the site's */
};
struct kept_token {
  struct voice_token t;
  char text[TOKEN_TEXT];
  struct lm_alternative top[LM_TOPS];
  size_t end; /* where its text ends */
};

/* ---- the file ---- */

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

/* No shape goes on over one of these. */
static bool parts_text(char c) { return c == ' ' || c == '\n' || c == '"'; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static int take_word(struct filter *f, struct json item, struct error *e) {
  struct str s = str_trim(json_str(item));
  if (!s.n || s.n > WORD_MOST || f->words == WORDS || memchr(s.p, 0, s.n))
    return bad(e, "words", "expected at most 256 texts of at most 128 bytes");
  char *p = arena_alloc(&f->arena, s.n, 1);
  if (!p) return error_set(e, E_NOMEM, "out of memory");
  for (size_t i = 0; i < s.n; i++) p[i] = lower(s.p[i]);
  bool parts = false;
  for (size_t i = 0; i < s.n; i++) parts = parts || parts_text(p[i]);
  if (parts && s.n > f->reach) f->reach = s.n;
  f->word[f->words++] = (struct str){p, s.n};
  return OK;
}

static int take(struct filter *f, struct json root, struct error *e) {
  struct json words = json_get(root, "words"), then = json_get(root, "then"), dates = json_get(root, "dates"), item;
  if (json_kind(root) != JSON_OBJECT) return error_set(e, E_INPUT, "expected a JSON object");
  if (json_kind(words) != JSON_NONE && json_kind(words) != JSON_ARRAY) return bad(e, "words", "expected a list of texts");
  for (struct json_iter it = json_items(words); json_next(&it, &item);) TRY(take_word(f, item, e));
  if (json_kind(dates) != JSON_NONE && !json_bool(dates, &f->dates)) return bad(e, "dates", "expected true or false");
  f->refuse = str_eqc(json_str(then), "refuse");
  if (json_kind(then) != JSON_NONE && !f->refuse && !str_eqc(json_str(then), "replace"))
    return bad(e, "then", "expected replace or refuse");
  if (f->dates && f->reach < DATE_REACH) f->reach = DATE_REACH;
  return OK;
}

int filter_open(const char *site, struct filter **out, struct error *e) {
  char file[4096];
  struct arena a;
  struct json root;
  *out = NULL;
  TRY(file_join(file, sizeof file, site, "filter.json", e));
  struct filter *f = mem_alloc(sizeof *f);
  if (!f) return error_set(e, E_NOMEM, "out of memory");
  memset(f, 0, sizeof *f);
  arena_init(&f->arena, 1 << 20, 0);
  arena_init(&a, 4 << 20, 0);
  int rc = file_exists(file) ? json_load(&a, file, &root, e) : OK;
  if (rc == OK && file_exists(file)) rc = take(f, root, e);
  if (rc < 0) (void)error_where(e, file, 0, NULL);
  arena_free(&a);
  if (rc < 0)
    filter_close(f);
  else
    *out = f;
  return rc;
}

void filter_close(struct filter *f) {
  if (!f) return;
  arena_free(&f->arena);
  mem_free(f);
}

/* ---- finding ---- */

static bool in_word(char c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || (uint8_t)c >= 0x80; }

static size_t word_at(const struct filter *f, struct str s, size_t i) {
  for (int w = 0; w < f->words; w++) {
    struct str word = f->word[w];
    size_t k = 0;
    while (k < word.n && i + k < s.n && lower(s.p[i + k]) == word.p[k]) k++;
    if (k == word.n && (i + k == s.n || !in_word(s.p[i + k]) || !in_word(word.p[k - 1]))) return i + k;
  }
  return 0;
}

/* What the caller said itself, or the server says in every answer. */
static bool no_news(const struct call *c, struct str s) {
  const char *id = c->voice ? voice_id(c->voice) : served_id(c->served);
  return (c->body_n && memmem(c->body, c->body_n, s.p, s.n)) || memmem(id, strlen(id), s.p, s.n) || str_eqc(s, c->pseudonym);
}

static bool is_time(struct str s) {
  struct time_parts parts;
  int64_t at;
  char text[32];
  if (time_parse(s, &parts, &at, NULL) < 0) return false;
  time_format(at, text);
  return str_eqc(s, text);
}

/* A whole string of the timeline model's document that is a code of its vocabulary, or a time as the server writes it: of a day that the wall
 * has shifted. */
static bool is_ours(const struct call *c, struct str s, size_t start, size_t end) {
  uint32_t id;
  while (start && s.p[start - 1] != '"') start--;
  while (end < s.n && s.p[end] != '"') end++;
  struct str whole = {s.p + start, end - start};
  if (end == s.n || !c->served) return false;
  return is_time(whole) || vocabulary_find(model_vocabulary(engine_model(served_engine(c->served))), whole, &id);
}

/* At most HITS, sorted; overlapping ones become one. What a full list leaves out, the next look finds: *end is how far this one went. */
static int find(const struct filter *f, const struct call *c, bool document, struct str s, struct hit *out, size_t *end) {
  struct text_shape shape[HITS];
  int shapes = (int)text_shapes(s, f->dates, shape, HITS), n = 0, k = 0;
  *end = shapes == HITS ? shape[HITS - 1].end : s.n;
  for (size_t i = 0; i < *end; i++) {
    struct hit h = {i, 0, -1};
    while (k < shapes && shape[k].end <= i) k++;
    if (f->words && (i == 0 || !in_word(s.p[i - 1]) || !in_word(s.p[i]))) h.end = word_at(f, s, i);
    if (k < shapes && shape[k].start <= i && shape[k].end > h.end &&
        !no_news(c, (struct str){s.p + shape[k].start, shape[k].end - shape[k].start}) &&
        !(document && is_ours(c, s, shape[k].start, shape[k].end)))
      h = (struct hit){i, shape[k].end, shape[k].label};
    if (!h.end) continue;
    if (n == HITS) return *end = h.start, n;
    out[n++] = h;
    i = h.end - 1;
  }
  return n;
}

static void say_verdict(struct call *c, bool refused) {
  atomic_fetch_add(refused ? &c->server->n.filter_refused : &c->server->n.filter_replaced, 1);
  if (refused || !c->verdict[0]) snprintf(c->verdict, sizeof c->verdict, "%s", refused ? "refused" : "replaced");
}

int filter_check(struct call *c, struct str text, struct error *e) {
  struct hit h[HITS];
  size_t from = 0, end = 0;
  if (c->plane != PLANE_DEVELOPER) return OK;
  for (; from < text.n; from += end) {
    if (!find(c->server->filter, c, true, (struct str){text.p + from, text.n - from}, h, &end)) continue;
    say_verdict(c, true);
    return error_set(e, E_DENIED, "the answer is kept back");
  }
  return OK;
}

bool filter_fail(struct call *c) {
  if (strcmp(c->verdict, "refused") != 0) return false;
  call_fail(c, 400, "content_filter", NULL, "the answer is kept back: it holds what this site does not let out");
  return true;
}

/* ---- a text that comes in pieces ---- */

/* Tokens whose text ends by `upto`; those of a hit are dropped with it. */
static int hand_tokens(struct filtering *x, size_t upto, bool drop, struct error *e) {
  for (; x->tokens_from < x->tokens.n; x->tokens_from += sizeof(struct kept_token)) {
    struct kept_token k;
    memcpy(&k, x->tokens.p + x->tokens_from, sizeof k);
    if (k.end > upto) return OK;
    k.t.text.p = k.text;
    k.t.top = k.top;
    if (!drop) TRY(x->to->token(x->to->ctx, &k.t, e));
  }
  buf_clear(&x->tokens);
  x->tokens_from = 0;
  return OK;
}

static int hand_on(struct filtering *x, size_t from, size_t to, struct error *e) {
  if (to <= from) return OK;
  if (x->to->token) TRY(hand_tokens(x, x->begun + to, false, e));
  return x->to->text(x->to->ctx, (struct str){x->held.p + from, to - from}, e);
}

static int refuse(struct filtering *x, struct error *e) {
  if (!x->refused) say_verdict(x->call, true);
  x->refused = true;
  return error_set(e, E_DENIED, "the answer is kept back");
}

static int replace(struct filtering *x, const struct hit *h, struct error *e) {
  char tag[32];
  snprintf(tag, sizeof tag, "[%s]", h->label < 0 ? "REMOVED" : text_label_name(h->label));
  say_verdict(x->call, false);
  if (x->to->token) TRY(hand_tokens(x, x->begun + h->end, true, e));
  return x->to->text(x->to->ctx, str_c(tag), e);
}

/* Looks at what is held and hands on what comes before `safe`. */
static int let_go(struct filtering *x, size_t safe, struct error *e) {
  struct hit h[HITS];
  size_t at = 0, end;
  if (!safe) return OK;
  int n = find(x->filter, x->call, x->document, (struct str){x->held.p, x->held.n}, h, &end);
  if (end < safe) safe = end;
  for (int i = 0; i < n && h[i].start < safe; i++) {
    TRY(hand_on(x, at, h[i].start, e));
    if (x->refuse) return refuse(x, e);
    TRY(replace(x, &h[i], e));
    at = h[i].end;
  }
  TRY(hand_on(x, at, safe, e));
  if (at > safe) safe = at;
  x->begun += safe;
  memmove(x->held.p, x->held.p + safe, x->held.n - safe);
  x->held.n -= safe;
  return OK;
}

/* Up to the last space that nothing can reach over (a document's strings stay whole); of a text without spaces all but its end. */
static size_t safe_part(const struct filtering *x) {
  size_t n = x->held.n, reach = x->filter->reach;
  size_t i = n > reach ? n - reach : 0;
  while (i && (x->document ? x->held.p[i - 1] != '"' : !parts_text(x->held.p[i - 1]))) i--;
  if (!i && n > TAIL_MOST + reach) {
    i = n - TAIL_KEPT - reach;
    while (i && ((uint8_t)x->held.p[i] & 0xC0) == 0x80) i--;
  }
  return i;
}

static int hear(void *ctx, struct str piece, struct error *e) {
  struct filtering *x = ctx;
  buf_str(&x->held, piece);
  TRY(buf_check(&x->held, e));
  return let_go(x, safe_part(x), e);
}

static int hear_token(void *ctx, const struct voice_token *t, struct error *e) {
  struct filtering *x = ctx;
  struct kept_token k = {.t = *t};
  if (!x->to->token) return OK;
  k.t.text.n = t->text.n < TOKEN_TEXT ? t->text.n : TOKEN_TEXT;
  if (t->text.n) memcpy(k.text, t->text.p, k.t.text.n);
  k.t.tops = t->tops < LM_TOPS ? t->tops : LM_TOPS;
  if (k.t.tops) memcpy(k.top, t->top, (size_t)k.t.tops * sizeof *k.top);
  x->heard += t->text.n;
  k.end = x->heard;
  buf_put(&x->tokens, &k, sizeof k);
  return buf_check(&x->tokens, e);
}

static int hear_tool(void *ctx, const char *name, struct str arguments, struct error *e) {
  struct filtering *x = ctx;
  struct hit h[HITS];
  size_t end;
  if (find(x->filter, x->call, false, str_c(name), h, &end) || find(x->filter, x->call, false, arguments, h, &end)) return refuse(x, e);
  return x->to->tool(x->to->ctx, name, arguments, e);
}

static int hear_begin(void *ctx, struct error *e) {
  struct filtering *x = ctx;
  return x->to->begin(x->to->ctx, e);
}

void filtering_begin(struct filtering *x, struct call *c, struct chat_sink *to, bool refuse_it, bool document) {
  *x = (struct filtering){.sink = *to, .call = c, .to = to, .document = document};
  if (c->plane != PLANE_DEVELOPER) return;
  x->filter = c->server->filter;
  x->refuse = refuse_it || x->filter->refuse;
  x->sink = (struct chat_sink){x, hear, hear_tool, to->token ? hear_token : NULL, to->begin ? hear_begin : NULL};
}

int filtering_end(struct filtering *x, int rc, struct chat_result *r, struct error *e) {
  while (rc == OK && x->held.n && (rc = let_go(x, x->held.n, e)) == OK) {}
  if (rc == OK && x->to->token) rc = hand_tokens(x, SIZE_MAX, false, e);
  if (x->refused) {
    rc = OK;
    r->finish = "content_filter";
    if (e) *e = (struct error){0};
  }
  struct buf *both[] = {&x->held, &x->tokens};
  for (int i = 0; i < 2; i++) {
    if (both[i]->p) mem_wipe(both[i]->p, both[i]->cap);
    buf_release(both[i]);
  }
  return rc;
}

/* Azure's shape for a detector of one's own: {"identifiers": {"detected": true, "filtered": true}} */
void filter_results(const struct call *c, struct json_out *o) {
  if (!c->verdict[0]) return;
  json_out_key(o, "content_filter_results");
  json_out_raw(o, STR("{\"identifiers\":{\"detected\":true,\"filtered\":true}}"));
}
