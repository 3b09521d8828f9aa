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

/* ---- words ---- */

static struct str unit_of(const struct timeline *t, const struct timeline_view *v, uint32_t k) {
  return v->unit[k] == UNIT_NONE ? STR_NONE : timeline_unit_name(t, v->unit[k]);
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
bool citation_has_word(const struct words *name, const char *said) {
  for (int i = 0; i < name->n; i++)
    if (same_word(name->word[i], said)) return true;
  return false;
}
bool citation_names(const struct timeline *t, const struct timeline_view *v, uint32_t k, const char *said) {
  struct str texts[] = {timeline_code_display(t, v->code[k]), timeline_code_name(t, v->code[k]), unit_of(t, v, k)};
  const char *rest = said;
  struct words name;
  while (digit(*rest) || *rest == '.') rest++;
  for (int j = 0; j < 3; j++) {
    words_cut(texts[j], &name);
    if (citation_has_word(&name, said) || (j == 2 && rest > said && citation_has_word(&name, rest))) return true;
  }
  return false;
}
bool citation_is_figure(const char *w) { return digit(*w) && w[strspn(w, "0123456789.")] == 0; }

/* ---- whose a figure is ---- */

/* How many of the words a code's display or name has; in *size how many it has itself */
static int words_shared(const struct words *w, const struct timeline *t, uint32_t code, int *size) {
  struct words display, name;
  int n = 0;
  words_cut(timeline_code_display(t, code), &display);
  words_cut(timeline_code_name(t, code), &name);
  for (int i = 0; i < w->n; i++) n += citation_has_word(&display, w->word[i]) || citation_has_word(&name, w->word[i]);
  *size = display.n ? display.n : name.n;
  return n;
}
/* The cited events that a part of the sentence names: any word of theirs, and those that it names best (most words, then the shorter name) */
static bool named_in(struct str part, const struct timeline *t, const struct timeline_view *v, const struct cited *c, struct cited *any,
                     struct cited *best) {
  struct words w;
  int most = 0, size;
  any->n = best->n = 0;
  words_cut(part, &w);
  for (int i = 0; i < c->n; i++) {
    int n = words_shared(&w, t, v->code[c->event[i]], &size), score = 2 * WORDS_MOST * n - size;
    if (n == 0) continue;
    any->event[any->n++] = c->event[i];
    if (best->n && score < most) continue;
    if (score > most || !best->n) best->n = 0;
    most = score;
    best->event[best->n++] = c->event[i];
  }
  return any->n > 0;
}
/* Bytes of the unit that follows at `at`, with a space before it */
static size_t unit_at(struct str s, size_t at, struct str unit) {
  size_t from = at + (at < s.n && s.p[at] == ' '), end = from + unit.n;
  if (unit.n == 0 || end > s.n || memcmp(s.p + from, unit.p, unit.n) != 0) return 0;
  return end < s.n && (word_byte(s.p[end]) || s.p[end] == '/') ? 0 : end - at;
}
static bool word_after(struct str s, size_t at, const char *word) { return unit_at(s, at, str_c(word)) > 0; }
static bool word_before(struct str s, size_t at, const char *word) {
  size_t n = strlen(word);
  return at > n && s.p[at - 1] == ' ' && memcmp(s.p + at - 1 - n, word, n) == 0 && (at == n + 1 || !word_byte(s.p[at - n - 2]));
}

struct figure {
  double x;
  int digits; /* after the point */
  size_t from, end;
};
/* Those of `pool` whose value it is, rounded to the digits shown and by at most a twentieth, in no other cited event's unit; in *unit how many bytes theirs takes */
static bool is_value(struct str s, const struct figure *f, const struct timeline *t, const struct timeline_view *v, const struct cited *c,
                     const struct cited *pool, struct cited *out, size_t *unit) {
  double half = 0.5 * pow(10, -f->digits) + 1e-9 * fabs(f->x);
  size_t before = f->from;
  *unit = 0;
  out->n = 0;
  while (before > 0 && (s.p[before - 1] == ' ' || s.p[before - 1] == '=')) before--;
  if (before > 0 && (s.p[before - 1] == '<' || s.p[before - 1] == '>')) return false;
  for (int i = 0; i < pool->n; i++) {
    uint32_t k = pool->event[i];
    size_t own = unit_at(s, f->end, unit_of(t, v, k)), other = 0;
    double value = (double)v->value[k], off = fabs(value - f->x);
    if (isnan(value) || off > half + 1e-6 * fabs(value) || off > 0.05 * fabs(value) + 1e-9) continue;
    for (int j = 0; j < c->n && !own; j++) other |= unit_at(s, f->end, unit_of(t, v, c->event[j]));
    if (!own && (other || (f->end < s.n && word_byte(s.p[f->end])))) continue; /* "4.1million" */
    out->event[out->n++] = k;
    *unit = own > *unit ? own : *unit;
  }
  return out->n > 0;
}
/* "3 times", "30 years old", "in 2019": a number of cited events, an age, a year */
static bool is_count(struct str s, const struct figure *f, const struct timeline_view *v, const struct cited *c) {
  if (!word_after(s, f->end, "time") && !word_after(s, f->end, "times") && !word_after(s, f->end, "values")) return false;
  for (int i = 0; i < c->n; i++) {
    int same = 0;
    for (int j = 0; j < c->n; j++) same += v->code[c->event[j]] == v->code[c->event[i]];
    if (f->x == same) return true;
  }
  return f->x == c->n;
}
static bool is_year(struct str s, const struct figure *f, const struct timeline_view *v, const struct cited *pool) {
  if (!word_before(s, f->from, "in") && !word_before(s, f->from, "year")) return false;
  if (f->end < s.n && word_byte(s.p[f->end])) return false;
  for (int i = 0; i < pool->n; i++) {
    int y, m, d;
    if (v->time[pool->event[i]] == INT64_MIN) continue;
    time_to_civil((int64_t)floor((double)v->time[pool->event[i]] / (double)TIME_DAY), &y, &m, &d);
    if (f->x == y) return true;
  }
  return false;
}
static bool figure_at(struct str s, size_t at, struct figure *f) {
  size_t i = at;
  *f = (struct figure){.from = at};
  while (i < s.n && digit(s.p[i])) i++;
  if (i + 1 < s.n && s.p[i] == '.' && digit(s.p[i + 1])) {
    i++;
    while (i < s.n && digit(s.p[i])) i++, f->digits++;
  }
  f->end = i;
  if (str_to_f64((struct str){s.p + at, i - at}, &f->x) < 0) return false;
  if (at > 0 && s.p[at - 1] == '-' && (at < 2 || s.p[at - 2] == ' ')) f->x = -f->x;
  return true;
}

struct reading {
  size_t at;           /* behind the last figure or day */
  struct cited owner;  /* named last; n = 0: nobody yet */
  struct cited valued; /* whose value was said last, until its day */
};
/* A day is that of the events named before it; of the one whose value stands before it; else of any */
static bool read_day(struct str s, size_t at, struct reading *r, const struct timeline *t, const struct timeline_view *v,
                     const struct cited *c) {
  struct cited any, best;
  bool hit = named_in((struct str){s.p + r->at, at - r->at}, t, v, c, &any, &best);
  if (!day_stands((struct str){s.p + at, 10}, v, hit ? &best : r->valued.n ? &r->valued : c)) return false;
  if (hit) r->owner = best;
  r->valued.n = 0;
  r->at = at + 10;
  return true;
}
/* A value is that of the events named nearest before it; where nobody was, of those named behind it; else of any. A figure may also be a
 * part of their names. *end: where reading goes on. */
static bool read_figure(struct str s, const struct figure *f, struct reading *r, const struct timeline *t, const struct timeline_view *v,
                        const struct cited *c, size_t *end) {
  struct cited any, best, whose;
  size_t unit, next = f->end;
  if (!named_in((struct str){s.p + r->at, f->from - r->at}, t, v, c, &any, &best)) any = best = r->owner;
  while (next < s.n && !digit(s.p[next])) next++;
  if (!best.n && !named_in((struct str){s.p + f->end, next - f->end}, t, v, c, &any, &best)) any = best = *c;
  if (is_value(s, f, t, v, c, &best, &whose, &unit)) {
    r->owner = best;
    r->valued = whose;
    *end = r->at = f->end + unit;
    return true;
  }
  *end = f->end;
  if (f->x >= 0 && in_names(s, f->from, f->end - f->from, t, v, &any)) return true;
  if (f->digits) return false;
  bool age =
      word_after(s, f->end, "year") || word_after(s, f->end, "years") || word_before(s, f->from, "age") || word_before(s, f->from, "aged");
  r->at = f->end;
  return (age && is_age(f->x, t, v, c)) || is_count(s, f, v, c) || is_year(s, f, v, &best);
}
static bool figures_stand(struct str s, const struct timeline *t, const struct timeline_view *v, const struct cited *c) {
  struct reading r = {0};
  for (size_t i = 0; i < s.n;) {
    struct figure f;
    if (!digit(s.p[i])) {
      i++;
    } else if (is_day(s.p + i, s.n - i)) {
      if (!read_day(s, i, &r, t, v, c)) return false;
      i += 10;
    } else if (!figure_at(s, i, &f) || !read_figure(s, &f, &r, t, v, c, &i)) {
      return false;
    }
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
static bool words_stand(struct str s, const struct timeline *t, const struct timeline_view *v, const struct cited *c) {
  struct words w;
  int content = 0, found = 0;
  words_cut(s, &w);
  for (int i = 0; i < w.n; i++) {
    if (citation_is_figure(w.word[i]) || is_neutral(w.word[i])) continue;
    content++;
    bool hit = false;
    for (int k = 0; k < c->n && !hit; k++) hit = citation_names(t, v, c->event[k], w.word[i]);
    found += hit;
  }
  return 2 * found >= content && !w.more;
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
