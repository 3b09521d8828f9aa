/* Holds a text with citations against the events that it cites. */
#include <math.h>
#include <stdio.h>

#include "base/time.h"
#include "reason/ask_private.h"
#include "timeline/timeline.h"

#define CITED_MOST 64
struct cited {
  uint32_t event[CITED_MOST];
  int n;
  bool seen, exist; /* seen: it cites something, existing or not */
};

static bool digit(char c) { return c >= '0' && c <= '9'; }

/* Takes the "[e1, e2]" out of a sentence: writes the rest to `plain`, the events to `c`. */
static void take_citations(struct str s, uint32_t n, struct cited *c, struct buf *plain) {
  *c = (struct cited){.exist = true};
  for (size_t i = 0; i < s.n; i++) {
    const char *close = s.p[i] == '[' ? memchr(s.p + i, ']', s.n - i) : NULL;
    if (!close || i + 2 >= s.n || s.p[i + 1] != 'e' || !digit(s.p[i + 2])) {
      buf_putc(plain, s.p[i]);
      continue;
    }
    c->seen = true;
    struct str inside = {s.p + i + 1, (size_t)(close - s.p) - i - 1};
    while (inside.p) {
      struct str one = str_trim(str_cut(&inside, ','));
      int64_t k;
      if (one.n < 2 || one.p[0] != 'e' || str_to_i64((struct str){one.p + 1, one.n - 1}, &k) < 0 || k < 0 || k >= n)
        c->exist = false;
      else if (c->n < CITED_MOST)
        c->event[c->n++] = (uint32_t)k;
    }
    i = (size_t)(close - s.p);
    buf_putc(plain, ' ');
  }
}

/* Whole years from a cited birth to another cited event. */
static bool is_age(double x, const struct timeline *t, const struct timeline_view *v, const struct cited *c) {
  for (int i = 0; i < c->n; i++) {
    if (!str_eqc(timeline_code_name(t, v->code[c->event[i]]), "MEDS_BIRTH")) continue;
    for (int j = 0; j < c->n; j++)
      if (j != i && v->time[c->event[j]] != INT64_MIN && x == ask_whole_years(v->time[c->event[i]], v->time[c->event[j]])) return true;
  }
  return false;
}

/* A figure of the sentence stands if it is a value, a year, a month or day of the cited events, how many of them have one code, or an age.
 * Values may be rounded to the digits shown. */
static bool figure_stands(double x, int digits, const struct timeline *t, const struct timeline_view *v, const struct cited *c) {
  if (digits == 0 && is_age(x, t, v, c)) return true;
  double half = 0.5 * pow(10, -digits) + 1e-9 * fabs(x);
  for (int i = 0; i < c->n; i++) {
    uint32_t k = c->event[i], same = 0;
    int y, m, d;
    if (!isnan(v->value[k]) && fabs((double)v->value[k] - x) <= half + 1e-6 * fabs((double)v->value[k])) return true;
    for (int j = 0; j < c->n; j++) same += v->code[c->event[j]] == v->code[k];
    if (digits == 0 && (x == same || x == c->n)) return true;
    if (v->time[k] == INT64_MIN) continue;
    time_to_civil((int64_t)floor((double)v->time[k] / (double)TIME_DAY), &y, &m, &d);
    if (digits == 0 && (x == y || x == m || x == d)) return true;
  }
  return false;
}
static bool day_stands(struct str s, const struct timeline_view *v, const struct cited *c) {
  char day[16];
  for (int i = 0; i < c->n; i++) {
    if (v->time[c->event[i]] == INT64_MIN) continue;
    time_format_date(v->time[c->event[i]], day);
    if (strncmp(day, s.p, 10) == 0) return true;
  }
  return false;
}
static bool is_day(const char *p, size_t n) {
  static const char shape[] = "dddd-dd-dd";
  if (n < 10 || (n > 10 && digit(p[10]))) return false;
  for (int i = 0; i < 10; i++)
    if (shape[i] == 'd' ? !digit(p[i]) : p[i] != '-') return false;
  return true;
}
/* ---- figures that are words ---- */

static char letter_of(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c >= 'a' && c <= 'z' ? c : 0; }
static char letter_before(struct str s, size_t at) { return at > 0 ? letter_of(s.p[at - 1]) : 0; }
static bool word_byte(char c) { return digit(c) || letter_of(c) || (unsigned char)c >= 0x80; }

/* A whole figure of a name or unit ("Simvastatin 10 MG", "10*3/uL", "A1c"), said with the same letter before it: no part of a longer one. */
static bool in_name(struct str s, size_t from, size_t n, struct str name) {
  for (size_t at = 0; at + n <= name.n; at++) {
    size_t end = at + n;
    if (memcmp(name.p + at, s.p + from, n) != 0 || letter_before(name, at) != letter_before(s, from)) continue;
    if (at > 0 && (digit(name.p[at - 1]) || (name.p[at - 1] == '.' && at > 1 && digit(name.p[at - 2])))) continue;
    if (end < name.n && (digit(name.p[end]) || (name.p[end] == '.' && end + 1 < name.n && digit(name.p[end + 1])))) continue;
    return true;
  }
  return false;
}
/* `whole` stands in s as a word and holds the figure */
static bool quoted(struct str s, size_t from, size_t n, struct str whole) {
  if (whole.n < n) return false;
  for (size_t at = from + n > whole.n ? from + n - whole.n : 0; at <= from && at + whole.n <= s.n; at++)
    if (memcmp(s.p + at, whole.p, whole.n) == 0 && (at == 0 || !word_byte(s.p[at - 1])) &&
        (at + whole.n == s.n || !word_byte(s.p[at + whole.n])))
      return true;
  return false;
}
/* The figure belongs to a code that is written out: SYSTEM//CODE, the same legibly, or a part of it that is more than digits (I50.9). */
static bool in_code(struct str s, size_t from, size_t n, struct str code) {
  char legible[256] = "";
  if (quoted(s, from, n, code)) return true;
  if (code.n <= sizeof legible && quoted(s, from, n, (struct str){legible, words_legible(code, legible)})) return true;
  while (code.p) {
    struct str part = str_cut(&code, '/');
    bool letters = false;
    for (size_t i = 0; i < part.n; i++) letters |= letter_of(part.p[i]) != 0;
    if (letters && quoted(s, from, n, part)) return true;
  }
  return false;
}
static bool in_names(struct str s, size_t from, size_t n, const struct timeline *t, const struct timeline_view *v, const struct cited *c) {
  for (int i = 0; i < c->n; i++) {
    uint32_t k = c->event[i];
    struct str unit = v->unit[k] == UNIT_NONE ? STR_NONE : timeline_unit_name(t, v->unit[k]);
    if (in_name(s, from, n, timeline_code_display(t, v->code[k])) || in_name(s, from, n, unit) ||
        in_code(s, from, n, timeline_code_name(t, v->code[k])))
      return true;
  }
  return false;
}

static bool figures_stand(struct str s, const struct timeline *t, const struct timeline_view *v, const struct cited *c) {
  for (size_t i = 0; i < s.n;) {
    if (!digit(s.p[i])) {
      i++;
      continue;
    }
    if (is_day(s.p + i, s.n - i)) {
      if (!day_stands((struct str){s.p + i, 10}, v, c)) return false;
      i += 10;
      continue;
    }
    size_t from = i;
    int digits = 0;
    double x;
    while (i < s.n && digit(s.p[i])) i++;
    if (i + 1 < s.n && s.p[i] == '.' && digit(s.p[i + 1])) {
      i++;
      while (i < s.n && digit(s.p[i])) i++, digits++;
    }
    struct str number = {s.p + from, i - from};
    if (str_to_f64(number, &x) < 0) return false;
    if (from > 0 && s.p[from - 1] == '-' && (from < 2 || s.p[from - 2] == ' ')) x = -x;
    if (!figure_stands(x, digits, t, v, c) && (x < 0 || !in_names(s, from, number.n, t, v, c))) return false;
  }
  return true;
}

/* Words that say how, not what: they are in no code's name. */
static bool is_neutral(const char *w) {
  static const char *const neutral[] = {"time", "times", "range",  "value", "latest", "first", "last", "highest", "lowest", "mean",
                                        "yes",  "once",  "mostly", "rose",  "fell",   "year",  "old",  "event",   "still",  "current"};
  for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++)
    if (strcmp(w, neutral[i]) == 0) return true;
  return false;
}
/* What a code says in its own word, and people in theirs; both folded. */
static bool same_word(const char *name, const char *said) {
  static const char *const same[][2] = {{"birth", "born"},    {"death", "died"},         {"gender", "sex"},           {"f", "female"},
                                        {"m", "male"},        {"admission", "admitted"}, {"discharge", "discharged"}, {"start", "admitted"},
                                        {"end", "discharged"}};
  if (strcmp(name, said) == 0) return true;
  for (size_t i = 0; i < sizeof same / sizeof *same; i++)
    if (strcmp(name, same[i][0]) == 0 && strcmp(said, same[i][1]) == 0) return true;
  return false;
}
static bool words_stand(struct str s, const struct timeline *t, const struct timeline_view *v, const struct cited *c) {
  struct words w, name;
  int content = 0, found = 0;
  words_cut(s, &w);
  for (int i = 0; i < w.n; i++) {
    if (digit(w.word[i][0]) || is_neutral(w.word[i])) continue;
    content++;
    bool hit = false;
    for (int k = 0; k < c->n && !hit; k++) {
      uint32_t code = v->code[c->event[k]];
      struct str texts[] = {timeline_code_display(t, code), timeline_code_name(t, code),
                            v->unit[c->event[k]] == UNIT_NONE ? STR_NONE : timeline_unit_name(t, v->unit[c->event[k]])};
      for (int j = 0; j < 3 && !hit; j++) {
        words_cut(texts[j], &name);
        for (int x = 0; x < name.n && !hit; x++) hit = same_word(name.word[x], w.word[i]);
      }
    }
    found += hit;
  }
  return 2 * found >= content;
}

/* The end of the sentence that begins at `at`: after . ! or ? and citations behind it, or at a line's end. */
static size_t sentence_end(struct str s, size_t at) {
  for (size_t i = at; i < s.n; i++) {
    if (s.p[i] == '\n') return i + 1;
    if (s.p[i] != '.' && s.p[i] != '!' && s.p[i] != '?') continue;
    if (i + 1 < s.n && s.p[i + 1] != ' ' && s.p[i + 1] != '\n' && s.p[i + 1] != '[') continue; /* 1.2, mg/dL.x */
    size_t j = i + 1;
    for (;;) {
      size_t k = j;
      while (k < s.n && s.p[k] == ' ') k++;
      const char *close = k + 1 < s.n && s.p[k] == '[' && s.p[k + 1] == 'e' ? memchr(s.p + k, ']', s.n - k) : NULL;
      if (!close) break;
      j = (size_t)(close - s.p) + 1;
    }
    return j;
  }
  return s.n;
}

int citation_check_sentence(const struct timeline *t, uint32_t index, struct str sentence, struct citation_check *out, struct error *e) {
  struct timeline_view v = timeline_view(t, index);
  struct cited c;
  struct buf plain = {0};
  take_citations(sentence, v.n, &c, &plain);
  struct str rest = {plain.p, plain.n};
  *out = (struct citation_check){sentence, c.seen, c.exist, false, false};
  if (c.n > 0) {
    out->figures = figures_stand(rest, t, &v, &c);
    out->words = words_stand(rest, t, &v, &c);
  }
  int rc = plain.failed ? error_set(e, E_NOMEM, "no memory for checking citations") : OK;
  buf_release(&plain);
  return rc;
}

int citation_check_text(const struct timeline *t, uint32_t index, struct str text, struct arena *a, struct citation_check **out, int *n,
                        struct error *e) {
  int most = 1;
  for (size_t at = 0; at < text.n; at = sentence_end(text, at)) most++;
  struct citation_check *list = arena_array(a, struct citation_check, (size_t)most);
  if (!list) return error_set(e, E_NOMEM, "no memory for checking citations");
  *n = 0;
  for (size_t at = 0; at < text.n;) {
    size_t end = sentence_end(text, at);
    struct str s = str_trim((struct str){text.p + at, end - at});
    at = end;
    if (s.n == 0) continue;
    TRY(citation_check_sentence(t, index, s, &list[*n], e));
    ++*n;
  }
  *out = list;
  return OK;
}
