/* Facilities, employers and places by grammar: capitalised words round a head ("Hospital"), after a saint ("St. Mary's"), after a verb of
 * care and a preposition ("seen at Bellevue"), towns, and towns with their state. Lists say what a word may be; this says when it is. */
#include "deid/text_internal.h"

enum { CHAIN_MOST = 6, MAX_GAP = GAP_SPACE | GAP_HYPHEN | GAP_POSSESSIVE };

static bool joined(const struct token *t, unsigned allowed) { return (t->gap & ~allowed) == 0; }
static bool has(const struct token *t, uint32_t in) { return (t->in & in) != 0; }
static bool place_label(int label) { return label == TEXT_LOCATION || label == TEXT_ORGANISATION; }

void text_take(struct text_work *w, uint32_t first, uint32_t last, int label) {
  for (uint32_t i = first; i <= last; i++) w->tokens[i].taken = (uint8_t)(label + 1);
}

int text_add_tokens(struct text_work *w, uint32_t first, uint32_t last, int label, int by, struct error *e) {
  text_take(w, first, last, label);
  const struct token *a = &w->tokens[first], *b = &w->tokens[last];
  return text_spans_add(&w->found, a->start, b->end + b->tail, label, by, e);
}

/* Says which: a name, a town, a saint, anything that is no ordinary word. */
static bool telling(const struct token *t) {
  if (t->shape == SHAPE_DIGITS || t->shape == SHAPE_ALNUM) return false;
  if (has(t, IN_GENERIC)) return false;
  return has(t, IN_CITY | IN_BIG_CITY | IN_STATE | IN_FIRST | IN_SURNAME | IN_FACILITY | IN_SAINT) || !has(t, IN_WORD | IN_COMMON);
}

/* May stand in a facility's name to the left of its head. */
static bool chain_word(const struct token *t) {
  bool place = t->taken == TEXT_LOCATION + 1 || t->taken == TEXT_ORGANISATION + 1;
  if ((t->taken && !place) || has(t, IN_MONTH | IN_TITLE)) return false;
  return (token_capital(t) || t->shape == SHAPE_INITIAL) && !(has(t, IN_COMMON) && t->shape == SHAPE_CAP);
}
static bool link_word(const struct text_work *w, const struct token *t) {
  struct str s = token_str(w, t);
  return str_eqc(s, "of") || str_eqc(s, "and") || str_eqc(s, "the") || str_eqc(s, "for") || str_eqc(s, "de") || str_eqc(s, "la");
}

/* The leftmost word of the chain that ends just before `head`. */
static uint32_t chain_left(const struct text_work *w, uint32_t head) {
  uint32_t i = head, at = head;
  while (i > 0 && head - at < CHAIN_MOST) {
    const struct token *here = &w->tokens[i], *t = &w->tokens[i - 1];
    unsigned allowed = MAX_GAP | GAP_AND;
    if (has(t, IN_SAINT) || t->shape == SHAPE_INITIAL) allowed |= GAP_STOP;
    if (!joined(here, allowed)) break;
    if (chain_word(t))
      at = --i;
    else if (i < head && link_word(w, t) && i >= 2 && joined(t, MAX_GAP) && chain_word(&w->tokens[i - 2]))
      i--;
    else
      break;
  }
  return at;
}

/* "Hospital of Philadelphia", "Hospital Boston", "Hospital for Special Surgery", "Medical Center West" */
static uint32_t chain_right(const struct text_work *w, uint32_t last) {
  for (uint32_t n = 0; n < 3 && last + 1 < w->token_n; n++) {
    uint32_t k = last + 1;
    const struct token *t = &w->tokens[k];
    if (t->taken || !joined(t, MAX_GAP)) break;
    struct str s = token_str(w, t);
    bool of = str_eqc(s, "of") || str_eqc(s, "for") || str_eqc(s, "at");
    if (of && k + 1 < w->token_n && joined(&w->tokens[k + 1], GAP_SPACE) && token_capital(&w->tokens[k + 1]) && !w->tokens[k + 1].taken &&
        (str_eqc(s, "of") || telling(&w->tokens[k + 1])))
      last = k + 1 + (w->tokens[k + 1].phrase ? w->tokens[k + 1].phrase - 1u : 0);
    else if (token_capital(t) && has(t, IN_HEAD | IN_TAIL | IN_FACILITY | IN_BIG_CITY | IN_CITY | IN_STATE) &&
             (has(t, IN_HEAD | IN_TAIL) || !has(t, IN_COMMON | IN_GENERIC | IN_THING)))
      last = k + (t->phrase ? t->phrase - 1u : 0);
    else
      break;
    if (last >= w->token_n) last = w->token_n - 1;
  }
  return last;
}

static bool care_before(const struct text_work *w, uint32_t i) {
  for (uint32_t n = 0; n < 4 && i > 0; n++) {
    const struct token *t = &w->tokens[--i];
    if (has(t, IN_CARE)) return true;
    if (w->tokens[i].gap & (GAP_END | GAP_LINE | GAP_STOP)) return false;
  }
  return false;
}
static bool place_before(const struct text_work *w, uint32_t i) {
  if (i == 0 || !joined(&w->tokens[i], GAP_SPACE)) return false;
  const struct token *t = &w->tokens[i - 1];
  struct str s = token_str(w, t);
  bool article = str_eqc(s, "the") || str_eqc(s, "our") || str_eqc(s, "your") || str_eqc(s, "a");
  if (article && i >= 2) t = &w->tokens[i - 2];
  return has(t, IN_PLACE_WORD);
}

static bool any_telling(const struct text_work *w, uint32_t a, uint32_t b) {
  for (uint32_t i = a; i < b; i++)
    if (telling(&w->tokens[i])) return true;
  return false;
}
static bool all_generic(const struct text_work *w, uint32_t a, uint32_t b) {
  for (uint32_t i = a; i < b; i++)
    if (!has(&w->tokens[i], IN_GENERIC | IN_COMMON) && !link_word(w, &w->tokens[i])) return false;
  return true;
}
static bool all_upper(const struct text_work *w, uint32_t a, uint32_t b) {
  for (uint32_t i = a; i <= b; i++)
    if (w->tokens[i].shape != SHAPE_UPPER && w->tokens[i].shape != SHAPE_INITIAL && !link_word(w, &w->tokens[i])) return false;
  return true;
}

static uint32_t phrase_end(const struct text_work *w, uint32_t i, uint32_t in) {
  return w->tokens[i].phrase && has(&w->tokens[i], in) ? i + w->tokens[i].phrase - 1 : i;
}

/* A head with what says which one it is. */
static int facility_head(struct text_work *w, uint32_t i, struct error *e) {
  const struct token *t = &w->tokens[i];
  uint32_t last = phrase_end(w, i, IN_HEAD | IN_TAIL | IN_COMPANY), first = chain_left(w, i);
  bool head = has(t, IN_HEAD), lower = !token_capital(t), company = has(t, IN_COMPANY);
  if (lower && !head) return OK;
  if (first == i) { /* "Hospital of Philadelphia": what says which one may follow only */
    uint32_t right = head && !lower ? chain_right(w, last) : last;
    if (right == last || !any_telling(w, last + 1, right + 1)) return OK;
    return text_add_tokens(w, i, right, TEXT_ORGANISATION, TEXT_BY_RULE, e);
  }
  if (first > 0 && has(&w->tokens[first - 1], IN_TITLE)) return OK; /* "Dr. Smith's clinic": a name's business */
  bool hospital = !lower && head && str_eq_nocase(token_str(w, &w->tokens[last]), STR("hospital"));
  if (all_generic(w, first, i) && !(hospital && place_before(w, first))) return OK;
  bool telling_word = any_telling(w, first, i), upper = all_upper(w, first, i);
  if (has(&w->tokens[i - 1], IN_EPONYM) && !head) return OK;
  if ((lower || upper || !head) && !telling_word) return OK;
  if (!head && !company && !care_before(w, first) && !place_before(w, first) && i - first < 2 &&
      !has(&w->tokens[first], IN_BIG_CITY | IN_STATE | IN_FACILITY))
    return OK;
  if (!lower) last = chain_right(w, last);
  return text_add_tokens(w, first, last, TEXT_ORGANISATION, TEXT_BY_RULE, e);
}

static int facility_own(struct text_work *w, uint32_t i, struct error *e) {
  uint32_t last = phrase_end(w, i, IN_FACILITY), first = i;
  if (!token_capital(&w->tokens[i])) return OK;
  if (last + 1 < w->token_n && joined(&w->tokens[last + 1], MAX_GAP) && has(&w->tokens[last + 1], IN_THING)) return OK;
  last = chain_right(w, last);
  while (first > 0 && joined(&w->tokens[first], GAP_SPACE | GAP_HYPHEN) && chain_word(&w->tokens[first - 1]) &&
         has(&w->tokens[first - 1], IN_CITY | IN_BIG_CITY | IN_FACILITY | IN_STATE_CODE))
    first--;
  return text_add_tokens(w, first, last, TEXT_ORGANISATION, TEXT_BY_LIST, e);
}

/* St. Mary's, Mount Sinai; not the ST segment, not St. John's wort, not St. Vitus' dance */
static int saint(struct text_work *w, uint32_t i, struct error *e) {
  if (i + 1 >= w->token_n || w->tokens[i].shape != SHAPE_CAP) return OK;
  const struct token *n = &w->tokens[i + 1];
  if (!joined(n, GAP_SPACE | GAP_STOP) || !token_capital(n) || n->taken || has(n, IN_COMMON)) return OK;
  if (!(n->gap & GAP_STOP) && !telling(n)) return OK;
  uint32_t last = i + 1;
  if (last + 1 < w->token_n && has(&w->tokens[last + 1], IN_THING) && joined(&w->tokens[last + 1], MAX_GAP)) return OK;
  return text_add_tokens(w, i, chain_right(w, last), TEXT_ORGANISATION, TEXT_BY_RULE, e);
}

/* Town, ST and Town, State, with a ZIP where there is one; then towns alone. */
static int town(struct text_work *w, uint32_t i, struct error *e) {
  const struct token *t = &w->tokens[i];
  if (!token_capital(t)) return OK;
  uint32_t last = phrase_end(w, i, IN_CITY | IN_BIG_CITY), k = last + 1;
  if (k < w->token_n && (w->tokens[k].gap & GAP_COMMA) && joined(&w->tokens[k], GAP_COMMA | GAP_SPACE) && !w->tokens[k].taken) {
    const struct token *s = &w->tokens[k];
    if ((has(s, IN_STATE_CODE) && s->shape == SHAPE_UPPER) || (has(s, IN_STATE) && token_capital(s)))
      return text_add_tokens(w, i, phrase_end(w, k, IN_STATE), TEXT_LOCATION, TEXT_BY_LIST, e);
  }
  if (k < w->token_n && has(&w->tokens[k], IN_THING) && joined(&w->tokens[k], MAX_GAP)) return OK;
  bool follows = i > 0 && place_label(w->tokens[i - 1].taken - 1) && joined(t, GAP_COMMA | GAP_SPACE | GAP_LINE | GAP_STOP);
  if (follows && (t->gap & (GAP_COMMA | GAP_LINE))) return text_add_tokens(w, i, last, TEXT_LOCATION, TEXT_BY_LIST, e);
  if (k < w->token_n && has(t, IN_FIRST) && !t->phrase && joined(&w->tokens[k], GAP_SPACE) &&
      (token_capital(&w->tokens[k]) || w->tokens[k].shape == SHAPE_INITIAL))
    return OK; /* "Alice Brown" */
  bool place = place_before(w, i), name = has(t, IN_FIRST | IN_SURNAME) && !t->phrase;
  bool sure = has(t, IN_BIG_CITY) && (!name || place || !has(t, IN_FIRST));
  bool told = has(t, IN_CITY) && place && (t->phrase || !has(t, IN_WORD | IN_COMMON));
  if (t->shape == SHAPE_UPPER && !t->phrase && last == i && !place) return OK;
  if (!sure && !told) return OK;
  return text_add_tokens(w, i, last, TEXT_LOCATION, TEXT_BY_LIST, e);
}

/* "seen at Bellevue", "lives in Elkton": a capitalised word that is no ordinary one, after care and a preposition */
static int cared_for(struct text_work *w, uint32_t i, struct error *e) {
  const struct token *t = &w->tokens[i];
  if (!place_before(w, i) || !care_before(w, i - 1) || has(t, IN_STATE | IN_COUNTRY | IN_EPONYM | IN_TITLE | IN_MONTH)) return OK;
  if (has(t, IN_WORD | IN_COMMON | IN_GENERIC)) return OK;
  uint32_t last = i;
  while (last + 1 < w->token_n && joined(&w->tokens[last + 1], MAX_GAP) && token_capital(&w->tokens[last + 1]) &&
         !w->tokens[last + 1].taken && !has(&w->tokens[last + 1], IN_COMMON | IN_MONTH | IN_TITLE))
    last++;
  if (last + 1 < w->token_n && has(&w->tokens[last + 1], IN_THING) && joined(&w->tokens[last + 1], MAX_GAP)) return OK;
  return text_add_tokens(w, i, last, TEXT_ORGANISATION, TEXT_BY_RULE, e);
}

/* King County, Orleans Parish */
static int area(struct text_work *w, uint32_t i, struct error *e) {
  uint32_t first = chain_left(w, i);
  if (w->tokens[i].shape != SHAPE_CAP || first == i || !any_telling(w, first, i)) return OK;
  return text_add_tokens(w, first, i, TEXT_LOCATION, TEXT_BY_RULE, e);
}

static int land(struct text_work *w, uint32_t i, struct error *e) {
  if (!token_capital(&w->tokens[i]) || has(&w->tokens[i], IN_SURNAME)) return OK;
  return text_add_tokens(w, i, phrase_end(w, i, IN_STATE | IN_COUNTRY), TEXT_LOCATION, TEXT_BY_LIST, e);
}

static bool eponym_here(const struct text_work *w, uint32_t i) {
  if (has(&w->tokens[i], IN_EPONYM)) return true;
  uint32_t k = i + 1;
  while (k < w->token_n && k < i + 3 && joined(&w->tokens[k], MAX_GAP) && token_capital(&w->tokens[k]) && !has(&w->tokens[k], IN_THING))
    k++;
  return k < w->token_n && joined(&w->tokens[k], MAX_GAP) && has(&w->tokens[k], IN_THING) && !has(&w->tokens[k], IN_HEAD | IN_TAIL);
}

static int lone(struct text_work *w, uint32_t i, struct error *e) {
  const struct token *t = &w->tokens[i];
  if (t->inside || eponym_here(w, i)) return OK;
  if (has(t, IN_CITY | IN_BIG_CITY)) TRY(town(w, i, e));
  return w->tokens[i].taken ? OK : cared_for(w, i, e);
}

int text_find_places(struct text_work *w, struct error *e) {
  TRY(text_each(w, IN_FACILITY, facility_own, e));
  TRY(text_each(w, IN_HEAD, facility_head, e));
  TRY(text_each(w, IN_SAINT, saint, e));
  TRY(text_each(w, IN_TAIL | IN_COMPANY, facility_head, e));
  TRY(text_each(w, IN_AREA, area, e));
  TRY(text_each(w, ASK_CAPITAL, lone, e));
  return w->s->options.countries ? text_each(w, IN_STATE | IN_COUNTRY, land, e) : OK;
}
