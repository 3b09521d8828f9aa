/* Persons' names by grammar and lists. A word that is in a list of names is not thereby a name: it needs a title, a neighbour that is a
 * name too, an initial, a cue ("named", "signed by"), a credential behind it, or to be no word of the language at all. */
#include "deid/text_internal.h"

enum { NAME_MOST = 5 };

static bool joined(const struct token *t, unsigned allowed) { return (t->gap & ~allowed) == 0; }
static bool has(const struct token *t, uint32_t in) { return (t->in & in) != 0; }
static const struct token *at(const struct text_work *w, uint32_t i) { return i < w->token_n ? &w->tokens[i] : NULL; }
static char byte_after(const struct text_work *w, const struct token *t) { return t->end < w->copy_n ? w->copy[t->end] : 0; }

static bool initial(const struct token *t) { return t->shape == SHAPE_INITIAL; }
static bool given(const struct token *t) { return token_capital(t) && has(t, IN_FIRST) && !has(t, IN_EPONYM); }
static bool sure_given(const struct token *t) { return given(t) && !has(t, IN_WORD | IN_COMMON); }
static bool family(const struct token *t) { return token_capital(t) && has(t, IN_SURNAME); }
static bool ordinary(const struct token *t) { return has(t, IN_WORD | IN_COMMON | IN_GENERIC | IN_MONTH | IN_THING); }
static bool strange(const struct token *t) { /* in no list */
  return (t->shape == SHAPE_CAP || t->shape == SHAPE_MIXED) && !has(t, ~(uint32_t)(IN_PHRASE | IN_PHRASE_ON | IN_SURNAME | IN_FIRST)) &&
         t->end - t->start > 2;
}

/* What can go on a name that has begun. */
static bool goes_on(const struct text_work *w, uint32_t i, bool bold) {
  const struct token *t = at(w, i), *next = at(w, i + 1);
  if (!t || t->taken || has(t, IN_CREDENTIAL | IN_TITLE | IN_HEAD | IN_MONTH)) return false;
  if (initial(t)) return byte_after(w, t) == '.' || bold;
  if (!token_capital(t)) return false;
  if (has(t, IN_COMMON | IN_THING)) return false;
  if (next && has(next, IN_THING) && joined(next, GAP_SPACE | GAP_POSSESSIVE) && token_capital(next)) return false;
  if (family(t) || given(t)) return true;
  return bold ? !ordinary(t) || !has(t, IN_GENERIC) : strange(t);
}

/* The last word of the name that begins at i. */
static uint32_t extend(const struct text_work *w, uint32_t i, bool bold) {
  uint32_t last = i;
  bool whole = !initial(&w->tokens[i]); /* a word of more than a letter is in */
  for (uint32_t k = i + 1; k < w->token_n && k - i < NAME_MOST; k++) {
    const struct token *t = &w->tokens[k];
    unsigned allowed = GAP_SPACE | GAP_HYPHEN | (initial(&w->tokens[k - 1]) || has(&w->tokens[k - 1], IN_TITLE) ? GAP_STOP : 0);
    if (w->tokens[k - 1].tail) break;
    if (has(t, IN_SUFFIX) && joined(t, GAP_SPACE | GAP_COMMA)) {
      last = k;
      break;
    }
    if (!joined(t, allowed)) break;
    if (has(t, IN_PARTICLE) && k + 1 < w->token_n && joined(&w->tokens[k + 1], GAP_SPACE) &&
        (token_capital(&w->tokens[k + 1]) || has(&w->tokens[k + 1], IN_PARTICLE)))
      continue;
    if (!goes_on(w, k, bold && !whole)) break;
    whole = whole || !initial(t);
    last = k;
  }
  return last;
}

/* The point after an initial belongs to it: "John L." */
static int add_name(struct text_work *w, uint32_t first, uint32_t last, int by, struct error *e) {
  text_take(w, first, last, TEXT_NAME);
  const struct token *a = &w->tokens[first], *b = &w->tokens[last];
  uint32_t end = b->end;
  if ((initial(b) || has(b, IN_SUFFIX)) && byte_after(w, b) == '.') end++;
  return text_spans_add(&w->found, a->start, end, TEXT_NAME, by, e);
}

/* ---- by title ---- */

static bool title_here(const struct text_work *w, const struct token *t) {
  if (!has(t, IN_TITLE)) return false;
  if (t->shape == SHAPE_CAP || t->shape == SHAPE_MIXED) return true;
  bool point = byte_after(w, t) == '.';
  if (t->shape == SHAPE_UPPER) return point;
  return t->shape == SHAPE_LOWER && point && t->end - t->start <= 4;
}

/* "Grant" of "Mrs. Rose Grant", though it is a word: a capital right behind a given name that has a title. */
static bool family_of_titled(const struct text_work *w, uint32_t given) {
  enum { ENDS = GAP_STOP | GAP_COMMA | GAP_END | GAP_LINE };
  const struct token *a = &w->tokens[given], *t = at(w, given + 1), *next = at(w, given + 2);
  if (!has(a, IN_FIRST) || a->tail || !t || t->taken || t->shape != SHAPE_CAP || !joined(t, GAP_SPACE)) return false;
  if (has(t, IN_CREDENTIAL | IN_TITLE | IN_HEAD | IN_GENERIC | IN_THING) || (next && has(next, IN_THING) && joined(next, GAP_SPACE)))
    return false;
  if (has(t, IN_FIRST | IN_SURNAME) && !has(t, IN_DOING)) return true;
  return !next || next->gap & ENDS || (has(next, IN_DOING) && next->shape == SHAPE_LOWER);
}

static int by_title(struct text_work *w, uint32_t i, struct error *e) {
  uint32_t k = i + 1;
  const struct token *n = at(w, k);
  if (!title_here(w, &w->tokens[i]) || !n) return OK;
  if (has(n, IN_TITLE) && joined(n, GAP_SPACE | GAP_STOP)) n = at(w, ++k);
  if (!n || !joined(n, GAP_SPACE | GAP_STOP) || n->taken) return OK;
  if (has(n, IN_PARTICLE) && k + 1 < w->token_n) n = at(w, k + 1);
  if (!token_capital(n) && !initial(n)) return OK;
  if (n->gap & GAP_STOP && has(&w->tokens[i], IN_COMMON)) return OK; /* "Yes, sir. I ..." */
  bool pointed = byte_after(w, &w->tokens[i]) == '.';
  if (!initial(n) && ordinary(n) && !has(n, IN_FIRST | IN_SURNAME) && (!pointed || has(n, IN_COMMON | IN_GENERIC))) return OK;
  uint32_t last = extend(w, k, true);
  if (last == k && family_of_titled(w, k)) last = extend(w, k + 1, false);
  return add_name(w, w->s->options.titles ? i : k, last, TEXT_BY_RULE, e);
}

/* ---- by cue ---- */

static int by_cue(struct text_work *w, uint32_t i, struct error *e) {
  uint32_t k = i + (w->tokens[i].phrase && has(&w->tokens[i], IN_CUE | IN_WEAK_CUE) ? w->tokens[i].phrase : 1);
  bool sure = has(&w->tokens[i], IN_CUE);
  const struct token *n = at(w, k);
  if (!n || n->taken || !joined(n, GAP_SPACE | GAP_COMMA | GAP_COLON | GAP_OTHER) || !token_capital(n)) return OK;
  if (has(n, IN_EPONYM | IN_TITLE | IN_MONTH | IN_COMMON | IN_THING | IN_STATE | IN_COUNTRY)) return OK;
  const struct token *after = at(w, k + 1);
  if (after && has(after, IN_THING) && joined(after, GAP_SPACE | GAP_POSSESSIVE)) return OK;
  bool follows = after && !after->taken && joined(after, GAP_SPACE | GAP_STOP) && (initial(after) || family(after));
  bool name = has(n, IN_FIRST | IN_SURNAME);
  if (n->shape == SHAPE_UPPER && !(sure && name && !ordinary(n))) return OK;
  if (ordinary(n) && !(name && (follows || (sure && has(n, IN_FIRST))))) return OK;
  if (!name && !sure) return OK;
  if (!sure && !follows && !sure_given(n) && !(family(n) && !has(n, IN_CITY))) return OK;
  return add_name(w, k, extend(w, k, sure), TEXT_BY_RULE, e);
}

/* ---- by neighbours ---- */

static bool pair(const struct text_work *w, const struct token *a, const struct token *b) {
  if (!joined(b, GAP_SPACE | GAP_HYPHEN) || b->taken || a->tail) return false;
  bool upper = a->shape == SHAPE_UPPER;
  if (initial(b)) {
    bool point = byte_after(w, b) == '.' || byte_after(w, b) == ',' || byte_after(w, b) == '?';
    return sure_given(a) ? point || (!upper && byte_after(w, b) != '-') : given(a) && point && !(has(a, IN_COMMON) && a->sentence);
  }
  if (!token_capital(b) || upper != (b->shape == SHAPE_UPPER)) return false;
  if (upper && (ordinary(a) || ordinary(b) || a->end - a->start < 3 || b->end - b->start < 3)) return false;
  if (has(b, IN_COMMON | IN_GENERIC | IN_THING | IN_HEAD | IN_EPONYM | IN_MONTH | IN_CREDENTIAL)) return false;
  if (sure_given(a)) return family(b) || given(b) || strange(b);
  if (has(a, IN_COMMON) && a->sentence) return family(b) && !ordinary(b) && has(b, IN_SURNAME);
  return family(b) && !ordinary(b);
}

static bool eponym_follows(const struct text_work *w, uint32_t last) {
  const struct token *n = at(w, last + 1);
  return n && has(n, IN_THING) && joined(n, GAP_SPACE | GAP_POSSESSIVE | GAP_HYPHEN);
}

static int by_given(struct text_work *w, uint32_t i, struct error *e) {
  const struct token *a = &w->tokens[i], *b = at(w, i + 1), *c = at(w, i + 2);
  if (!given(a) || (a->phrase && has(a, IN_EPONYM | IN_HEAD | IN_THING))) return OK;
  if (b && pair(w, a, b)) {
    uint32_t last = extend(w, i, false);
    if (last == i) last = i + 1;
    if (eponym_follows(w, last) && !initial(b)) return OK;
    return add_name(w, i, last, TEXT_BY_LIST, e);
  }
  /* "Mary Van Dyke", "Maria de la Cruz" */
  if (b && c && has(b, IN_PARTICLE) && joined(b, GAP_SPACE) && joined(c, GAP_SPACE) && (family(c) || has(c, IN_PARTICLE)) &&
      sure_given(a)) {
    uint32_t last = extend(w, i, false);
    if (last > i) return add_name(w, i, last, TEXT_BY_LIST, e);
  }
  return OK;
}

/* "Smith, John A." */
static int by_comma(struct text_work *w, uint32_t i, struct error *e) {
  const struct token *a = &w->tokens[i], *b = at(w, i + 1);
  if (!family(a) || !b || b->gap != (GAP_COMMA | GAP_SPACE) || b->taken || a->tail) return OK;
  if (!given(b) || has(a, IN_COMMON | IN_GENERIC | IN_THING | IN_CITY | IN_MONTH) || has(b, IN_COMMON | IN_CITY | IN_STATE)) return OK;
  if (ordinary(a) || ordinary(b) || a->shape != b->shape) return OK;
  const struct token *c = at(w, i + 2);
  bool list = c && c->shape == SHAPE_LOWER && str_eqc(token_str(w, c), "and");
  if (list && i + 3 < w->token_n && token_capital(&w->tokens[i + 3])) return OK;         /* "Eklund, Michael and Hodge" */
  if (sure_given(a) && ((a->gap & GAP_COMMA) || (c && (c->gap & GAP_COMMA)))) return OK; /* "Anna, John, Mary" */
  return add_name(w, i, extend(w, i + 1, false), TEXT_BY_LIST, e);
}

/* "L. Wang", "J. R. Smith" */
static int by_initial(struct text_work *w, uint32_t i, struct error *e) {
  uint32_t k = i;
  while (k < w->token_n && k < i + 3 && initial(&w->tokens[k]) && byte_after(w, &w->tokens[k]) == '.') k++;
  const struct token *n = at(w, k);
  if (k == i || !n || n->taken || !joined(n, GAP_STOP | GAP_SPACE) || n->shape != SHAPE_CAP) return OK;
  if (!(family(n) && !ordinary(n)) || has(n, IN_EPONYM | IN_CITY) || eponym_follows(w, k)) return OK;
  return add_name(w, i, extend(w, k, false), TEXT_BY_LIST, e);
}

/* "Chandrasekhar MD", "Jo Berg, RN" */
static int by_credential(struct text_work *w, uint32_t i, struct error *e) {
  const struct token *c = &w->tokens[i];
  if (i == 0 || c->shape == SHAPE_LOWER || !joined(c, GAP_COMMA | GAP_SPACE)) return OK;
  uint32_t first = i, n = 0;
  while (first > 0 && n < 4) {
    const struct token *t = &w->tokens[first - 1];
    if (t->taken || has(t, IN_COMMON | IN_GENERIC | IN_CREDENTIAL) || t->tail) break;
    if (!token_capital(t) && !initial(t)) break;
    if (first < i && !joined(&w->tokens[first], GAP_SPACE | GAP_STOP | GAP_HYPHEN)) break;
    first--, n++;
  }
  if (first == i || initial(&w->tokens[i - 1])) return OK;
  const struct token *last = &w->tokens[i - 1];
  if (!(family(last) && !ordinary(last)) && !strange(last) && !(n >= 2 && given(&w->tokens[first]))) return OK;
  return add_name(w, first, i - 1, TEXT_BY_RULE, e);
}

/* A given name by itself: no word of the language, no town, not before a thing that bears names. */
static int by_itself(struct text_work *w, uint32_t i, struct error *e) {
  const struct token *t = &w->tokens[i], *n = at(w, i + 1);
  if (!sure_given(t) || t->shape != SHAPE_CAP || has(t, IN_CITY | IN_STATE | IN_COUNTRY | IN_FACILITY | IN_CUE | IN_CARE | IN_MONTH))
    return OK;
  if (t->end - t->start < 3 || eponym_follows(w, i) || t->inside) return OK;
  bool beside = n && token_capital(n) && joined(n, GAP_SPACE | GAP_HYPHEN) && !n->taken;
  bool before = i > 0 && token_capital(&w->tokens[i - 1]) && joined(t, GAP_SPACE | GAP_HYPHEN) && !w->tokens[i - 1].sentence &&
                !w->tokens[i - 1].taken;
  if (t->gap & (GAP_HYPHEN | GAP_OTHER) && !(t->gap & GAP_SPACE)) return OK;
  if (n && (n->gap & GAP_HYPHEN) && !(n->gap & GAP_SPACE)) return OK;
  if (beside || before) return OK;
  return add_name(w, i, i, TEXT_BY_LIST, e);
}

int text_find_names(struct text_work *w, struct error *e) {
  TRY(text_each(w, IN_TITLE, by_title, e));
  TRY(text_each(w, IN_CREDENTIAL, by_credential, e));
  TRY(text_each(w, IN_CUE | IN_WEAK_CUE, by_cue, e));
  TRY(text_each(w, IN_SURNAME, by_comma, e));
  TRY(text_each(w, IN_FIRST, by_given, e));
  TRY(text_each(w, ASK_INITIAL, by_initial, e));
  return text_each(w, IN_FIRST, by_itself, e);
}
