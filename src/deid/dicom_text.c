/* Words in DICOM texts: what is known, what has the shape of an identifier, what is in the vocabulary. */
#include "deid/dicom_text.h"

#include <stdlib.h>

#include "deid/text.h"
#include "record/record.h"

enum {
  TOKENS = 4096,
  FOLD = 256,
  NAME_LEAST = 2,
  PART_LEAST = 5,
  PHRASE_LEAST = 6,
  DIGITS_LEAST = 6,
  DIGITS_LIGHT = 8,
  TEXT_LIMIT = 1 << 20
};

static bool letter(unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80; }
static bool digit(unsigned char c) { return c >= '0' && c <= '9'; }
static bool word_char(unsigned char c) { return letter(c) || digit(c); }

/* Letters and digits, lower case (ASCII and the Latin-1 block): at most `room` bytes. */
static size_t fold(struct str s, char *out, size_t room) {
  size_t n = 0;
  for (size_t i = 0; i < s.n && n < room; i++) {
    unsigned char c = (unsigned char)s.p[i];
    if (!word_char(c)) continue;
    if (c >= 'A' && c <= 'Z') c += 32;
    if (i && (unsigned char)s.p[i - 1] == 0xC3 && c >= 0x80 && c <= 0x9E && c != 0x97) c += 0x20;
    out[n++] = (char)c;
  }
  return n;
}

/* ---- what is known ---- */

/* What stands for "no name" in many files; a person of that name is not protected by this list of words alone. */
static bool placeholder(struct str s) {
  static const char *const words[] = {"anon",    "anonymous", "anonymized", "anonymised",   "none", "name", "names", "unknown",
                                      "patient", "test",      "noid",       "no",           "not",  "na",   "null",  "phantom",
                                      "subject", "removed",   "id",         "deidentified", "mr",   "mrs",  "ms",    "dr",
                                      "md",      "prof",      "jr",         "sr",           "ii",   "iii"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (str_eqc(s, words[i])) return true;
  return false;
}

void dicom_known_init(struct dicom_known *k, const struct dicom_profile *p, struct arena *a) {
  *k = (struct dicom_known){.profile = p, .arena = a};
}

static int known_put(struct dicom_known *k, struct str folded, bool name, bool own, struct error *e) {
  for (uint32_t i = 0; i < k->n; i++)
    if (str_eq(k->at[i].folded, folded) && k->at[i].name == name) {
      k->at[i].own |= own;
      return OK;
    }
  if (k->n == k->cap) {
    uint32_t cap = k->cap ? k->cap * 2 : 64;
    struct dicom_known_word *more = arena_array(k->arena, struct dicom_known_word, cap);
    if (!more) return error_set(e, E_NOMEM, "no memory for known identifiers");
    if (k->n) memcpy(more, k->at, k->n * sizeof *more);
    k->at = more;
    k->cap = cap;
  }
  struct str copy = str_copy(k->arena, folded);
  if (!copy.p) return error_set(e, E_NOMEM, "no memory for known identifiers");
  k->at[k->n++] = (struct dicom_known_word){copy, name, own};
  return OK;
}

static struct str next_word(struct str *rest) {
  size_t i = 0, from;
  while (i < rest->n && !word_char((unsigned char)rest->p[i])) i++;
  for (from = i; i < rest->n && word_char((unsigned char)rest->p[i]);) i++;
  struct str w = {rest->p + from, i - from};
  *rest = (struct str){rest->p + i, rest->n - i};
  return w;
}

static bool all_digits(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (!digit((unsigned char)s.p[i])) return false;
  return true;
}

/* "ACRIN-BREAST_001" is a study's number, not a name: its ordinary words stay in other texts. */
static int name_add(struct dicom_known *k, struct str name, bool own, struct error *e) {
  char folded[FOLD] = "";
  bool number = false;
  for (size_t i = 0; i < name.n; i++) number |= digit((unsigned char)name.p[i]);
  while (name.n) {
    struct str w = next_word(&name);
    struct str f = {folded, fold(w, folded, sizeof folded)};
    if (f.n < (own ? NAME_LEAST : NAME_LEAST + 1) || placeholder(f) || all_digits(f)) continue;
    if (number && dicom_profile_word(k->profile, f)) continue;
    TRY(known_put(k, f, true, own, e));
  }
  return OK;
}

int dicom_known_add(struct dicom_known *k, int kind, struct str utf8, bool own, struct error *e) {
  char folded[FOLD] = "";
  if (kind == IDENTIFIER_NAME) TRY(name_add(k, utf8, own, e)); /* and as a whole: some are numbers */
  struct str f = {folded, fold(utf8, folded, sizeof folded)};
  bool number = false;
  for (size_t i = 0; i < f.n; i++) number |= digit((unsigned char)f.p[i]);
  if (placeholder(f) || f.n < (number ? PART_LEAST : PHRASE_LEAST)) return OK;
  return known_put(k, f, false, own, e);
}

bool dicom_known_in(const struct dicom_known *k, struct str bytes) {
  for (uint32_t i = 0; i < k->n; i++) {
    struct str f = k->at[i].folded;
    if (f.n < PART_LEAST || f.n > bytes.n) continue;
    for (size_t at = 0; at + f.n <= bytes.n; at++) {
      size_t m = 0;
      while (m < f.n) {
        unsigned char c = (unsigned char)bytes.p[at + m];
        if (c >= 'A' && c <= 'Z') c += 32;
        if (c != (unsigned char)f.p[m]) break;
        m++;
      }
      if (m == f.n) return true;
    }
  }
  return false;
}

/* ---- one text ---- */

struct token {
  uint32_t start, end;
  bool drop, vocabulary;
};
struct scrub {
  const struct dicom_profile *profile;
  const struct dicom_known *known;
  struct str text;
  struct token *token;
  uint32_t n;
  char *folded;     /* the whole text folded */
  uint32_t *origin; /* of each folded byte: the token */
  size_t folded_n;
};

static struct str token_text(const struct scrub *s, const struct token *t) { return (struct str){s->text.p + t->start, t->end - t->start}; }

static int tokenise(struct scrub *s, struct arena *a, struct error *e) {
  s->token = arena_array(a, struct token, s->text.n / 2 + 1);
  s->folded = arena_alloc(a, s->text.n + 1, 1);
  s->origin = arena_array(a, uint32_t, s->text.n + 1);
  if (!s->token || !s->folded || !s->origin) return error_set(e, E_NOMEM, "no memory for a text");
  struct str rest = s->text;
  while (rest.n) {
    struct str w = next_word(&rest);
    if (!w.n) break;
    struct token *t = &s->token[s->n];
    t->start = (uint32_t)(w.p - s->text.p);
    t->end = t->start + (uint32_t)w.n;
    size_t k = fold(w, s->folded + s->folded_n, s->text.n - s->folded_n);
    struct str f = {s->folded + s->folded_n, k};
    t->vocabulary = dicom_profile_word(s->profile, f);
    for (size_t i = 0; i < k; i++) s->origin[s->folded_n + i] = s->n;
    s->folded_n += k;
    s->n++;
  }
  return OK;
}

static bool boundary(const struct scrub *s, size_t at, size_t n) { /* whole tokens */
  bool left = at == 0 || s->origin[at - 1] != s->origin[at];
  bool right = at + n == s->folded_n || s->origin[at + n - 1] != s->origin[at + n];
  return left && right;
}

static bool inside_number(const struct scrub *s, size_t at, size_t n) {
  return (at && digit((unsigned char)s->folded[at - 1])) || (at + n < s->folded_n && digit((unsigned char)s->folded[at + n]));
}

/* Names: whole words of any length, or parts of one longer word. Numbers and phrases: anywhere, across separators. */
static bool known_fits(const struct scrub *s, const struct dicom_known_word *w, size_t at) {
  size_t n = w->folded.n;
  if (at + n > s->folded_n || memcmp(s->folded + at, w->folded.p, n) != 0) return false;
  if (boundary(s, at, n)) return true;
  if (n < PART_LEAST) return false;
  if (w->name) return s->origin[at] == s->origin[at + n - 1];
  return !all_digits(w->folded) || !inside_number(s, at, n);
}

static void mark_known(struct scrub *s, bool own_only, bool terms) {
  for (uint32_t i = 0; i < s->known->n; i++) {
    const struct dicom_known_word *w = &s->known->at[i];
    if (own_only && (!w->own || w->folded.n <= NAME_LEAST)) continue;
    for (size_t at = 0; at + w->folded.n <= s->folded_n; at++) {
      if (!known_fits(s, w, at)) continue;
      for (size_t j = at; j < at + w->folded.n; j++) {
        struct token *t = &s->token[s->origin[j]];
        if (!(terms && t->vocabulary)) t->drop = true;
      }
    }
  }
}

static void mark_range(struct scrub *s, size_t from, size_t to) {
  for (uint32_t i = 0; i < s->n; i++)
    if (s->token[i].start < to && s->token[i].end > from) s->token[i].drop = true;
}

/* Runs without space that are mail or web addresses; runs of digits and joints with the look of a date or a telephone number. */
static void mark_runs(struct scrub *s, bool light) {
  for (size_t i = 0; i < s->text.n;) {
    size_t from = i, number = 0, groups = 0, joints = 0;
    bool at_sign = false, other = false;
    while (i < s->text.n && s->text.p[i] != ' ' && s->text.p[i] != '\n' && s->text.p[i] != '\r' && s->text.p[i] != '\t') {
      unsigned char c = (unsigned char)s->text.p[i];
      at_sign |= c == '@' || (!light && c == ':' && i + 1 < s->text.n && s->text.p[i + 1] == '/');
      if (digit(c)) {
        groups += number == 0 || !digit((unsigned char)s->text.p[i - 1]);
        number++;
      } else if (strchr("-./()+x", c)) {
        joints++;
      } else if (c != ',' && c != ';') {
        other = true;
      }
      i++;
    }
    bool dated = !other && number >= 6 && groups >= 2 && joints >= 2;
    bool phone = !other && number >= 7 && joints >= 1;
    if (at_sign || dated || phone) mark_range(s, from, i);
    while (i < s->text.n && (s->text.p[i] == ' ' || s->text.p[i] == '\n' || s->text.p[i] == '\r' || s->text.p[i] == '\t')) i++;
  }
}

static int month_or_day(struct str f) { /* 1: month, 2: weekday */
  static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec", days[] = "montuewedthufrisatsun";
  static const char *const whole[] = {"january",   "february", "march",    "april",    "june",  "july",   "august",
                                      "september", "october",  "november", "december", "sept",  "monday", "tuesday",
                                      "wednesday", "thursday", "friday",   "saturday", "sunday"};
  for (int i = 0; f.n == 3 && i < 36; i += 3)
    if (memcmp(f.p, months + i, 3) == 0) return 1;
  for (int i = 0; f.n == 3 && i < 21; i += 3)
    if (memcmp(f.p, days + i, 3) == 0) return 2;
  for (int i = 0; i < 19; i++)
    if (str_eqc(f, whole[i])) return i < 12 ? 1 : 2;
  return 0;
}

/* "Thu Apr 19 11:14:42 EDT 2018": a month with a number beside it takes the numbers and weekdays around along. */
static void mark_months(struct scrub *s) {
  char folded[FOLD] = "";
  for (uint32_t i = 0; i < s->n; i++) {
    struct str f = {folded, fold(token_text(s, &s->token[i]), folded, sizeof folded)};
    if (month_or_day(f) != 1) continue;
    uint32_t from = i > 4 ? i - 4 : 0, to = i + 7 < s->n ? i + 7 : s->n;
    bool beside = (i && all_digits(token_text(s, &s->token[i - 1]))) || (i + 1 < s->n && all_digits(token_text(s, &s->token[i + 1])));
    if (!beside) continue;
    s->token[i].drop = true;
    for (uint32_t j = from; j < to; j++) {
      struct str t = token_text(s, &s->token[j]);
      struct str g = {folded, fold(t, folded, sizeof folded)};
      if (all_digits(t) || month_or_day(g) == 2) s->token[j].drop = true;
    }
  }
}

static void mark_numbers(struct scrub *s, size_t least) {
  for (uint32_t i = 0; i < s->n; i++) {
    struct str t = token_text(s, &s->token[i]);
    size_t run = 0, most = 0;
    for (size_t j = 0; j < t.n; j++) {
      run = digit((unsigned char)t.p[j]) ? run + 1 : 0;
      if (run > most) most = run;
    }
    if (most >= least) s->token[i].drop = true;
  }
}

/* Known words, short numbers, and short mixtures of letters and digits (T2W, B30f, C7). */
static bool plain(const struct scrub *s, const struct token *t) {
  struct str w = token_text(s, t);
  size_t number = 0;
  if (t->vocabulary || w.n == 1) return true;
  for (size_t i = 0; i < w.n; i++) number += digit((unsigned char)w.p[i]);
  if (number == w.n) return w.n <= 4;
  return number > 0 && number <= 4 && w.n <= 8 && w.n - number <= 4;
}

static void mark_vocabulary(struct scrub *s) {
  for (uint32_t i = 0; i < s->n; i++)
    if (!plain(s, &s->token[i])) s->token[i].drop = true;
}

/* "for", "Dr", "by": what follows may be somebody, whatever else the word means. */
static bool after_cue(const struct scrub *s, uint32_t at) {
  static const char *const cues[] = {"for", "by", "of", "dr", "mr", "mrs", "ms", "prof", "doctor", "patient", "pt", "name"};
  char folded[FOLD] = "";
  if (!at) return false;
  struct str f = {folded, fold(token_text(s, &s->token[at - 1]), folded, sizeof folded)};
  for (size_t i = 0; i < sizeof cues / sizeof *cues; i++)
    if (str_eqc(f, cues[i])) return true;
  return false;
}

/* What the text scrubber finds, but for words of imaging: it was made for sentences, and takes capitals for names. */
static int mark_found(struct scrub *s, struct text_work *work, struct error *e) {
  struct text_spans found = {0};
  TRY(text_find(work, s->text, NULL, &found, e));
  for (uint32_t i = 0; i < found.n; i++)
    for (uint32_t j = 0; j < s->n; j++) {
      struct token *t = &s->token[j];
      if (t->start < found.at[i].end && t->end > found.at[i].start && (!t->vocabulary || after_cue(s, j))) t->drop = true;
    }
  return OK;
}

static bool separator(char c) { return !word_char((unsigned char)c) && c != ')' && c != '(' && c != ']' && c != '['; }

/* What is left: a run of dropped words becomes one space; what they leave hanging at the ends goes. */
static int rebuild(const struct scrub *s, struct arena *a, struct str *out, struct error *e) {
  char *p = arena_alloc(a, s->text.n + 1, 1);
  size_t n = 0, at = 0;
  bool gap = false;
  if (!p) return error_set(e, E_NOMEM, "no memory for a text");
  for (uint32_t i = 0; i <= s->n; i++) {
    size_t start = i < s->n ? s->token[i].start : s->text.n, end = i < s->n ? s->token[i].end : s->text.n;
    bool drop = i < s->n && s->token[i].drop;
    for (; at < start && !(gap && drop); at++) { /* what stands between two words */
      bool blank = s->text.p[at] == ' ';
      if (!(gap && blank && n && p[n - 1] == ' ')) p[n++] = s->text.p[at];
    }
    if (!drop) {
      memcpy(p + n, s->text.p + start, end - start);
      n += end - start;
    }
    at = end;
    gap = drop;
  }
  struct str r = {p, n};
  while (r.n && separator(r.p[r.n - 1])) r.n--;
  while (r.n && separator(*r.p)) r.p++, r.n--;
  *out = r;
  return OK;
}

int dicom_text_scrub(const struct dicom_profile *p, const struct dicom_known *k, struct text_work *work, enum dicom_text_mode mode,
                     struct arena *a, struct str in, struct str *out, struct error *e) {
  struct scrub s = {.profile = p, .known = k, .text = in};
  *out = in;
  if (in.n == 0) return OK;
  if (in.n > TEXT_LIMIT) return error_set(e, E_LIMIT, "a text too long to be cleaned");
  TRY(tokenise(&s, a, e));
  bool own_only = mode != DICOM_DESCRIPTOR && mode != DICOM_FREE;
  mark_known(&s, own_only, mode == DICOM_TERM);
  if (mode != DICOM_CODE) mark_numbers(&s, own_only ? DIGITS_LIGHT : DIGITS_LEAST);
  if (mode > DICOM_TERM) {
    mark_runs(&s, own_only);
    mark_months(&s);
  }
  if (!own_only) {
    if (work) TRY(mark_found(&s, work, e));
    if (!work || (p->vocabulary && mode == DICOM_DESCRIPTOR)) mark_vocabulary(&s);
  }
  for (uint32_t i = 0; i < s.n; i++)
    if (s.token[i].drop) return rebuild(&s, a, out, e);
  return OK;
}
