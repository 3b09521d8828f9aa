/* Finding: the steps in order, their union, and every found name in the rest of the document. Opening is in text_config.c. */
#include <stdlib.h>

#include "deid/tagger.h"
#include "deid/text_check.h"
#include "deid/text_internal.h"

enum { SPANS_LIMIT = 1 << 22, PAD = TEXT_RULES_PAD, REPEATS_MOST = 4096, NAME_LEAST = 3 };

/* ---- spans ---- */

int text_spans_add(struct text_spans *s, uint32_t start, uint32_t end, int label, int by, struct error *e) {
  if (start >= end) return OK;
  if (s->n == s->cap) {
    uint32_t cap = s->cap ? s->cap * 2 : 64;
    if (cap > SPANS_LIMIT) return error_set(e, E_LIMIT, "too many identifiers in one text");
    struct text_span *more = mem_realloc(s->at, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for identifiers found");
    s->at = more;
    s->cap = cap;
  }
  s->at[s->n++] = (struct text_span){start, end, (uint8_t)label, (uint8_t)by};
  return OK;
}

void text_spans_release(struct text_spans *s) {
  mem_free(s->at);
  *s = (struct text_spans){0};
}

static int by_start(const void *a, const void *b) {
  const struct text_span *x = a, *y = b;
  if (x->start != y->start) return x->start < y->start ? -1 : 1;
  if (x->end != y->end) return x->end > y->end ? -1 : 1;
  return (int)x->label - (int)y->label;
}

static bool place_label(int label) { return label == TEXT_LOCATION || label == TEXT_ORGANISATION; }

/* Whether two places with this between them are one: "123 Main St., Springfield", "Medical Center in Houston". */
static bool one_place(const struct text_work *w, const struct text_span *a, const struct text_span *b) {
  if (!place_label(a->label) || !place_label(b->label) || b->start < a->end || b->start - a->end > 4) return false;
  if (!w->s->options.join_places && (a->label != TEXT_LOCATION || b->label != TEXT_LOCATION)) return false;
  struct str between = {w->copy + a->end, b->start - a->end};
  if (str_eqc(between, " in ")) return a->label == TEXT_ORGANISATION && b->label == TEXT_LOCATION;
  bool stop = false, comma = false;
  for (size_t i = 0; i < between.n; i++) {
    if (!strchr(", .\n", between.p[i])) return false;
    stop = stop || between.p[i] == '.';
    comma = comma || between.p[i] == ',' || between.p[i] == '\n';
  }
  if (memchr(between.p, '\n', between.n) && a->label != b->label) return false; /* an employer's line above the address */
  return comma || !stop;                                                        /* a point alone ends a sentence */
}

static void merge(const struct text_work *w, struct text_spans *s) {
  if (s->n == 0) return;
  qsort(s->at, s->n, sizeof *s->at, by_start);
  uint32_t n = 0;
  for (uint32_t i = 1; i < s->n; i++) {
    struct text_span *a = &s->at[n], *b = &s->at[i];
    if (b->start >= a->end && !one_place(w, a, b)) {
      s->at[++n] = *b;
      continue;
    }
    bool guess = a->by == TEXT_BY_TAGGER, second = b->by == TEXT_BY_TAGGER; /* whose label counts: not the tagger's, then the longer's */
    if (guess != second ? guess : b->end - b->start > a->end - a->start) a->label = b->label;
    if (b->end > a->end) a->end = b->end;
    a->by |= b->by;
  }
  s->n = n + 1;
}

/* ---- the working copy ---- */

static int copy_text(struct text_work *w, struct str text, struct error *e) {
  if (text.n > w->s->options.limit) return error_set(e, E_LIMIT, "a text is longer than the configuration allows");
  if (text.n + PAD > w->copy_cap) {
    size_t cap = (text.n + PAD) * 2;
    if (w->copy) mem_wipe(w->copy, w->copy_cap);
    mem_free(w->copy);
    w->copy = mem_alloc(cap);
    w->copy_cap = w->copy ? cap : 0;
    if (!w->copy) return error_set(e, E_NOMEM, "no memory for a text");
  }
  w->copy_n = text.n;
  if (text.n) memcpy(w->copy, text.p, text.n);
  memset(w->copy + text.n, 0, PAD);
  if (str_utf8_valid(text)) return OK;
  for (size_t i = 0; i < text.n;) {
    size_t n = str_utf8_next((struct str){w->copy + i, text.n - i});
    if (n == 0) w->copy[i] = '?';
    i += n ? n : 1;
  }
  return OK;
}

/* ---- words of spans ---- */

/* The first token that ends behind `byte`. */
static uint32_t token_at(const struct text_work *w, uint32_t byte) {
  uint32_t lo = 0, hi = w->token_n;
  while (lo < hi) {
    uint32_t mid = (lo + hi) / 2;
    if (w->tokens[mid].end <= byte)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

static void take_spans(struct text_work *w, uint32_t from) {
  for (uint32_t i = from; i < w->found.n; i++)
    for (uint32_t k = token_at(w, w->found.at[i].start); k < w->token_n && w->tokens[k].start < w->found.at[i].end; k++)
      w->tokens[k].taken = (uint8_t)(w->found.at[i].label + 1);
}

/* No span ends inside a word, but for an age (the sex in "92F" stays) and where words have no spaces between them. */
static void widen(struct text_work *w, struct text_span *s) {
  uint32_t start = s->start, end = s->end, last = end;
  while (last > start && ((uint8_t)w->copy[--last] & 0xC0) == 0x80) {}
  bool from = text_unspaced((struct str){w->copy + start, end - start}), to = text_unspaced((struct str){w->copy + last, end - last});
  for (uint32_t k = token_at(w, s->start); k < w->token_n && w->tokens[k].start < s->end; k++) {
    const struct token *t = &w->tokens[k];
    if (t->start < s->start && !from) s->start = t->start;
    if (t->end > s->end && !to) s->end = t->end;
  }
}

/* ---- the words that grammar begins at ---- */

/* A phrase that is a thing ("Lewy body", "Framingham Heart Study") covers its words: nothing in it is a name or a place. */
static void thing_phrase(struct text_work *w, uint32_t i) {
  uint32_t words = w->tokens[i].phrase;
  if (!(w->tokens[i].in & IN_EPONYM)) return;
  for (uint32_t k = 0; k < words; k++) w->tokens[i + k].in |= IN_EPONYM;
}

/* In small letters only titles, cues and heads begin anything; numbers are in no list. */
int text_ask(struct text_work *w, struct error *e) {
  enum { SMALL = IN_TITLE | IN_CUE | IN_WEAK_CUE | IN_HEAD };
  if (w->asked_cap < w->token_n) {
    struct text_asked *more = mem_realloc(w->asked, w->token_cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for a text's words");
    w->asked = more;
    w->asked_cap = w->token_cap;
  }
  w->asked_n = w->asked_in = 0;
  for (uint32_t i = 0; i < w->token_n; i++) {
    const struct token *t = &w->tokens[i];
    if (t->phrase) thing_phrase(w, i);
    if ((t->shape == SHAPE_LOWER || t->shape == SHAPE_DIGITS) && !(t->in & SMALL)) continue;
    uint32_t in = t->in & ~(uint32_t)(ASK_CAPITAL | ASK_INITIAL);
    if (token_capital(t)) in |= ASK_CAPITAL;
    if (t->shape == SHAPE_INITIAL) in |= ASK_INITIAL;
    w->asked[w->asked_n++] = (struct text_asked){i, in};
    w->asked_in |= in;
  }
  return OK;
}

int text_each(struct text_work *w, uint32_t in, text_word_fn *f, struct error *e) {
  for (uint32_t k = 0; k < w->asked_n && w->asked_in & in; k++)
    if (w->asked[k].in & in && !w->tokens[w->asked[k].word].taken) TRY(f(w, w->asked[k].word, e));
  return OK;
}

/* ---- the tagger ---- */

/* What the tagger alone says is believed of names where a word is no word of the language, of numbers from four digits on. */
static bool tagger_span_stands(const struct text_work *w, const struct text_span *s) {
  enum { NO_NAME = IN_WORD | IN_COMMON | IN_EPONYM | IN_GENERIC | IN_THING | IN_MONTH | IN_STATE | IN_COUNTRY };
  const struct text_options *o = &w->s->options;
  int digits = 0;
  bool mixed = false;
  if (!(o->tagger_labels >> s->label & 1)) return false;
  if (o->tagger_words) return true;
  for (uint32_t i = s->start; i < s->end; i++) {
    char c = w->copy[i];
    digits += c >= '0' && c <= '9';
    mixed = mixed || c == '-' || c == '#' || (c >= 'A' && c <= 'Z');
  }
  struct text_check_place place = {work_text(w), s->start, s->end};
  if (s->label != TEXT_NAME && !place_label(s->label) && !text_check_named(STR("study-code"))(&place)) return false;
  if (s->label != TEXT_NAME && !place_label(s->label)) return digits >= 7 || (digits >= 4 && mixed) || s->label == TEXT_EMAIL;
  for (uint32_t k = token_at(w, s->start); k < w->token_n && w->tokens[k].start < s->end; k++) {
    const struct token *t = &w->tokens[k];
    if (!(t->in & (uint32_t)NO_NAME) && token_capital(t) && t->start >= s->start && t->end - t->start > 2) return true;
  }
  return false;
}

/* A number that a rule has read already: the rule knows where it begins and ends. */
static bool read_already(const struct text_work *w, const struct text_span *s) {
  bool taken = false;
  int digits = 0;
  if (s->label == TEXT_NAME || place_label(s->label)) return false;
  for (uint32_t k = token_at(w, s->start); k < w->token_n && w->tokens[k].start < s->end; k++) {
    taken = taken || w->tokens[k].taken;
    for (uint32_t i = w->tokens[k].start; !w->tokens[k].taken && i < w->tokens[k].end; i++)
      digits += w->copy[i] >= '0' && w->copy[i] <= '9';
  }
  return taken && digits < 5;
}

/* A name ends with its line and with its sentence. */
static uint32_t name_end(const struct text_work *w, uint32_t start, uint32_t end) {
  const char *line = memchr(w->copy + start, '\n', end - start);
  if (line) end = (uint32_t)(line - w->copy);
  for (uint32_t k = token_at(w, start) + 1; k < w->token_n && w->tokens[k].start < end; k++)
    if (w->tokens[k].sentence && (w->tokens[k].gap & (GAP_STOP | GAP_END)) && token_capital(&w->tokens[k]) &&
        w->tokens[k - 1].end - w->tokens[k - 1].start > 1)
      return w->tokens[k - 1].end;
  return end;
}

static int find_tagged(struct text_work *w, struct error *e) {
  if (!w->s->tagger) return OK;
  w->spare.n = 0;
  bool all = w->s->options.tagger_words; /* else names without such a word do not stand: see tagger_span_stands */
  TRY((all ? tagger_find : tagger_find_loud)(w->s->tagger, w->tagger, work_text(w), &w->spare, e));
  for (uint32_t i = 0; i < w->spare.n; i++) {
    const struct text_span *s = &w->spare.at[i];
    if (s->end > w->copy_n || read_already(w, s)) continue;
    for (struct text_span part = *s; part.start < s->end; part.start = part.end + 1) {
      while (part.start < s->end && strchr(" .,;\n\t", w->copy[part.start])) part.start++;
      if (part.start == s->end) break;
      part.end = s->label == TEXT_LOCATION ? s->end : name_end(w, part.start, s->end);
      struct text_span whole = part;
      widen(w, &whole);
      if (tagger_span_stands(w, &whole)) TRY(text_spans_add(&w->found, whole.start, whole.end, s->label, TEXT_BY_TAGGER, e));
    }
  }
  return OK;
}

/* ---- repeats ---- */

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static bool repeats(const struct token *t) {
  return token_capital(t) && t->end - t->start >= NAME_LEAST &&
         !(t->in & (IN_WORD | IN_COMMON | IN_TITLE | IN_MONTH | IN_CREDENTIAL | IN_EPONYM | IN_GENERIC));
}

static int collect(struct text_work *w, struct error *e) {
  w->repeat_n = 0;
  for (uint32_t i = 0; i < w->found.n && w->repeat_n < REPEATS_MOST; i++) {
    if (w->found.at[i].label != TEXT_NAME) continue;
    for (uint32_t k = token_at(w, w->found.at[i].start); k < w->token_n && w->tokens[k].start < w->found.at[i].end; k++) {
      if (!repeats(&w->tokens[k])) continue;
      if (w->repeat_n == w->repeat_cap) {
        uint32_t cap = w->repeat_cap ? w->repeat_cap * 2 : 64;
        uint64_t *more = mem_realloc(w->repeat, cap * sizeof *more);
        if (!more) return error_set(e, E_NOMEM, "no memory for names found");
        w->repeat = more;
        w->repeat_cap = cap;
      }
      w->repeat[w->repeat_n++] = w->tokens[k].hash;
    }
  }
  if (w->repeat_n) qsort(w->repeat, w->repeat_n, sizeof *w->repeat, by_value);
  return OK;
}

static bool eponym_next(const struct text_work *w, uint32_t k) {
  return k + 1 < w->token_n && (w->tokens[k + 1].in & IN_THING) && !(w->tokens[k + 1].gap & ~(unsigned)(GAP_SPACE | GAP_POSSESSIVE));
}

static int find_repeats(struct text_work *w, struct error *e) {
  TRY(collect(w, e));
  if (w->repeat_n == 0) return OK;
  uint32_t before = w->found.n;
  for (uint32_t k = 0, at = 0; k < w->token_n; k++) {
    const struct token *t = &w->tokens[k];
    while (at < before && w->found.at[at].end <= t->start) at++;
    if (at < before && w->found.at[at].start < t->end) continue;
    if (!repeats(t) || eponym_next(w, k) || !bsearch(&t->hash, w->repeat, w->repeat_n, sizeof *w->repeat, by_value)) continue;
    TRY(text_spans_add(&w->found, t->start, t->end, TEXT_NAME, TEXT_BY_REPEAT, e));
  }
  return OK;
}

/* ---- all of it ---- */

static void drop_labels(struct text_work *w) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < w->found.n; i++)
    if (!(w->s->options.drop_labels >> w->found.at[i].label & 1) || w->found.at[i].by & TEXT_BY_KNOWN) w->found.at[n++] = w->found.at[i];
  w->found.n = n;
}

static int find_all(struct text_work *w, struct str text, const struct text_person *who, struct error *e) {
  w->found.n = 0;
  TRY(copy_text(w, text, e));
  TRY(text_tokens(w, e));
  TRY(text_rules_find(w->s->rules, w->rules, work_text(w), &w->found, e));
  take_spans(w, 0);
  TRY(text_known_set(w, who, e));
  uint32_t from = w->found.n;
  TRY(text_known_find(w, e));
  take_spans(w, from);
  if (w->s->options.grammar) {
    TRY(text_ask(w, e));
    TRY(text_find_places(w, e));
    TRY(text_find_names(w, e));
  }
  TRY(find_tagged(w, e));
  for (uint32_t i = 0; i < w->found.n; i++)
    if (w->found.at[i].label != TEXT_AGE) widen(w, &w->found.at[i]);
  merge(w, &w->found);
  TRY(find_repeats(w, e));
  merge(w, &w->found);
  drop_labels(w);
  return OK;
}

int text_find(struct text_work *w, struct str text, const struct text_person *who, struct text_spans *out, struct error *e) {
  *out = (struct text_spans){0};
  TRY(find_all(w, text, who, e));
  *out = w->found;
  return OK;
}

int text_scrub(struct text_work *w, struct str text, const struct text_person *who, enum text_mode mode, struct text_result *out,
               struct error *e) {
  static const struct text_person nobody = {.dates = DEID_DATES_YEAR};
  *out = (struct text_result){0};
  if (!who) who = &nobody;
  TRY(find_all(w, text, who, e));
  return text_replace(w, who, mode, out, e);
}

/* ---- work ---- */

int text_work_new(const struct text_scrubber *s, struct text_work **out, struct error *e) {
  struct text_work *w = mem_alloc(sizeof *w);
  *out = NULL;
  if (!w) return error_set(e, E_NOMEM, "no memory for a text's work");
  memset(w, 0, sizeof *w);
  w->s = s;
  int rc = text_rules_work_new(s->rules, &w->rules, e);
  if (rc == OK && s->tagger) rc = tagger_work_new(s->tagger, &w->tagger, e);
  if (rc < 0) {
    text_work_free(w);
    return rc;
  }
  *out = w;
  return OK;
}

void text_work_free(struct text_work *w) {
  if (!w) return;
  if (w->copy) mem_wipe(w->copy, w->copy_cap);
  if (w->tokens) mem_wipe(w->tokens, w->token_cap * sizeof *w->tokens);
  if (w->out.p) mem_wipe(w->out.p, w->out.cap);
  if (w->repeat) mem_wipe(w->repeat, w->repeat_cap * sizeof *w->repeat);
  mem_free(w->copy);
  mem_free(w->tokens);
  mem_free(w->asked);
  mem_free(w->repeat);
  mem_free(w->new_start);
  buf_release(&w->out);
  text_spans_release(&w->found);
  text_spans_release(&w->spare);
  text_rules_work_free(w->rules);
  tagger_work_free(w->tagger);
  text_known_free(w->known);
  mem_wipe(w, sizeof *w); /* what the lists say of the words met */
  mem_free(w);
}
