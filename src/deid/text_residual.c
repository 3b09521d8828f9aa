/* The second look: identifier shapes in a text that is said to be clean. Written without the rules' file, without its engines and
 * without its lists, so that a mistake there is not made twice. Plain loops over bytes. */
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "deid/shape.h"
#include "deid/text_internal.h"

enum { LONG_ID = 10 }; /* digits of a number that is somebody's */

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (uint8_t)c >= 0x80; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
static char at(struct str s, size_t i) { return i < s.n ? s.p[i] : 0; }

static bool begins(struct str s, size_t i, const char *word) {
  for (; *word; word++, i++)
    if (lower(at(s, i)) != *word) return false;
  return true;
}

/* Each of these says where a shape that begins at i ends; 0: there is none. */

/* name@host.top, from the '@' on */
static size_t email(struct str s, size_t i) {
  if (s.p[i] != '@' || i == 0 || !(letter(s.p[i - 1]) || digit(s.p[i - 1]))) return 0;
  size_t k = i + 1;
  bool point = false;
  while (letter(at(s, k)) || digit(at(s, k)) || at(s, k) == '-' || (at(s, k) == '.' && letter(at(s, k + 1))))
    point = point || at(s, k) == '.', k++;
  return point ? k : 0;
}

static size_t address(struct str s, size_t i) {
  bool whole = begins(s, i, "http://") || begins(s, i, "https://");
  if (whole && begins(s, i, "https://www.example.org")) return 0;
  if (!whole && (!begins(s, i, "www.") || !letter(at(s, i + 4)) || (i > 0 && letter(s.p[i - 1])))) return 0;
  while (i < s.n && (uint8_t)s.p[i] > ' ' && !strchr("\"<>\\)", s.p[i])) i++;
  return i;
}

/* The lengths of the runs of digits from i on, one separator byte between them ("-" "." " " "/"). */
struct runs {
  int n, width[6], value[6];
  char between[6];
  size_t end;
};
static struct runs runs_at(struct str s, size_t i) {
  struct runs r = {0};
  while (r.n < 6) {
    int v = 0, w = 0;
    for (; digit(at(s, i)); i++, w++) v = w < 8 ? v * 10 + (s.p[i] - '0') : v;
    r.width[r.n] = w;
    r.value[r.n++] = v;
    char c = at(s, i);
    r.end = i;
    if (!c || !strchr("-./ ", c) || !digit(at(s, i + 1))) break;
    r.between[r.n - 1] = c;
    i++;
  }
  return r;
}

static bool social(const struct runs *r) {
  return r->n >= 3 && r->width[0] == 3 && r->width[1] == 2 && r->width[2] == 4 && r->between[0] == '-' && r->between[1] == '-';
}
static bool telephone(const struct runs *r) {
  return r->n >= 3 && r->width[0] == 3 && r->width[1] == 3 && r->width[2] == 4 && strchr("-.", r->between[0]) &&
         strchr("-.", r->between[1]);
}
static bool numeric_date(const struct runs *r) {
  if (r->n < 3 || r->between[0] != r->between[1] || !strchr("-/", r->between[0])) return false;
  if (r->width[0] == 4)
    return r->value[0] > 1880 && r->value[0] < 2100 && r->value[1] >= 1 && r->value[1] <= 12 && r->value[2] >= 1 && r->value[2] <= 31 &&
           r->width[1] <= 2 && r->width[2] <= 2;
  bool day =
      (r->value[0] >= 1 && r->value[1] >= 1) && ((r->value[0] <= 12 && r->value[1] <= 31) || (r->value[1] <= 12 && r->value[0] <= 31));
  return day && r->width[0] <= 2 && r->width[1] <= 2 && r->width[2] == 4 && r->value[2] > 1880 && r->value[2] < 2100;
}

/* A whole English month with a capital, a day, a year: "March 3, 2023" */
static size_t worded_date(struct str s, size_t i) {
  static const char *const names[] = {"january", "february", "march",     "april",   "may",      "june",
                                      "july",    "august",   "september", "october", "november", "december"};
  static const uint16_t by_letter[26] = {['j' - 'a'] = 0x061, ['f' - 'a'] = 0x002, ['m' - 'a'] = 0x014, ['a' - 'a'] = 0x088,
                                         ['s' - 'a'] = 0x100, ['o' - 'a'] = 0x200, ['n' - 'a'] = 0x400, ['d' - 'a'] = 0x800};
  if (!(s.p[i] >= 'A' && s.p[i] <= 'Z') || (i > 0 && letter(s.p[i - 1]))) return 0;
  for (unsigned left = by_letter[s.p[i] - 'A']; left; left &= left - 1) {
    int m = __builtin_ctz(left);
    if (!begins(s, i, names[m])) continue;
    size_t k = i + strlen(names[m]);
    if (at(s, k++) != ' ' || !digit(at(s, k))) return 0;
    int day = 0, n = 0;
    for (; digit(at(s, k)) && n < 5; k++, n++) day = day * 10 + (s.p[k] - '0');
    if (n == 4) return day > 1880 && day < 2100 ? k : 0;
    bool is = n <= 2 && day >= 1 && day <= 31 && !(at(s, k) == '.' && digit(at(s, k + 1))) && at(s, k) != '%' && at(s, k) != '/';
    return is ? k : 0;
  }
  return 0;
}

/* Where a shape can begin: at '@', and at a digit, a capital, h and w that no letter or digit stands before. */
static bool may_begin(struct str s, size_t i) {
  char c = s.p[i];
  if (!(digit(c) || (c >= '@' && c <= 'Z') || c == 'h' || c == 'w')) return false;
  return c == '@' || i == 0 || !(digit(s.p[i - 1]) || letter(s.p[i - 1]));
}

#ifdef __SSE2__
static inline __m128i among(__m128i c, char from, int n) { /* c - from < n without sign is c - from - 128 < n - 128 with it */
  return _mm_cmplt_epi8(_mm_add_epi8(c, _mm_set1_epi8((char)(128 - from))), _mm_set1_epi8((char)(n - 128)));
}
/* may_begin of the sixteen bytes at p, the first one's answer lowest; p[-1] can be read */
static unsigned may_begin_16(const char *p) {
  __m128i c = _mm_loadu_si128((const __m128i *)(const void *)p), before = _mm_loadu_si128((const __m128i *)(const void *)(p - 1));
  __m128i word = _mm_or_si128(_mm_or_si128(before, among(before, '0', 10)), among(_mm_or_si128(before, _mm_set1_epi8(32)), 'a', 26));
  __m128i some = _mm_or_si128(_mm_or_si128(among(c, '0', 10), among(c, 'A', 26)),
                              _mm_or_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8('h')), _mm_cmpeq_epi8(c, _mm_set1_epi8('w'))));
  unsigned at_sign = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(c, _mm_set1_epi8('@')));
  return ((unsigned)_mm_movemask_epi8(some) & ~(unsigned)_mm_movemask_epi8(word)) | at_sign;
}
#endif

/* The first place from i on, before `stop`, where a shape can begin; else stop. */
static size_t next_begin(struct str s, size_t i, size_t stop) {
#ifdef __SSE2__
  for (; i > 0 && i + 16 <= stop; i += 16) {
    unsigned found = may_begin_16(s.p + i);
    if (found) return i + (unsigned)__builtin_ctz(found);
  }
#endif
  while (i < stop && !may_begin(s, i)) i++;
  return i;
}

uint32_t text_residual_shapes(struct str s, const struct text_spans *skip, bool dates) {
  uint32_t n = 0, k = 0, skips = skip ? skip->n : 0;
  for (size_t i = 0; i < s.n;) {
    while (k < skips && skip->at[k].end <= i) k++;
    if (k < skips && skip->at[k].start <= i) {
      i = skip->at[k].end;
      continue;
    }
    size_t stop = k < skips ? skip->at[k].start : s.n;
    i = next_begin(s, i, stop);
    if (i == stop) continue;
    char c = s.p[i];
    if (c == '@' && email(s, i)) n++;
    if ((c | 32) == 'h' || (c | 32) == 'w') n += address(s, i) > 0;
    if (dates && c >= 'A' && c <= 'Z' && worded_date(s, i)) n++;
    if (!digit(c)) {
      i++;
      continue;
    }
    struct runs r = runs_at(s, i);
    bool inside = k < skips && skip->at[k].start < r.end; /* runs into a replacement: judged there */
    if (!inside && at(s, i - (i > 0)) != '.' &&
        (social(&r) || telephone(&r) || (dates && numeric_date(&r)) || (r.n == 1 && r.width[0] >= LONG_ID)))
      n++;
    i += (size_t)r.width[0];
  }
  return n;
}

/* ---- with places ---- */

static bool local_part(char c) { return letter(c) || digit(c) || (c && strchr("._%+'-", c)); }

/* (617) 555-0199, from the first digit on */
static size_t in_brackets(struct str s, size_t i, const struct runs *r) {
  if (i == 0 || s.p[i - 1] != '(' || r->n != 1 || r->width[0] != 3 || at(s, r->end) != ')') return 0;
  struct runs rest = runs_at(s, r->end + 1 + (at(s, r->end + 1) == ' '));
  return rest.n >= 2 && rest.width[0] == 3 && rest.width[1] == 4 ? rest.end : 0;
}

static size_t numbers(struct str s, size_t i, bool dates, int *label) {
  struct runs r = runs_at(s, i);
  size_t end = in_brackets(s, i, &r);
  if (end) return *label = TEXT_PHONE, end;
  if (i > 0 && s.p[i - 1] == '.') return 0;
  *label = social(&r)                          ? TEXT_SSN
           : telephone(&r)                     ? TEXT_PHONE
           : dates && numeric_date(&r)         ? TEXT_DATE
           : r.n == 1 && r.width[0] >= LONG_ID ? TEXT_ID
                                               : -1;
  return *label < 0 ? 0 : r.end;
}

uint32_t text_shapes(struct str s, bool dates, struct text_shape *out, uint32_t room) {
  uint32_t n = 0;
  for (size_t i = 0, from = 0; i < s.n && n < room;) {
    char c = s.p[i];
    bool fresh = i == 0 || !(digit(s.p[i - 1]) || letter(s.p[i - 1]));
    size_t start = i, end = 0;
    int label = TEXT_OTHER;
    if (c == '@' && (end = email(s, i))) {
      label = TEXT_EMAIL;
      while (start > from && local_part(s.p[start - 1])) start--;
    }
    if (fresh && ((c | 32) == 'h' || (c | 32) == 'w') && (end = address(s, i))) label = TEXT_URL;
    if (!end && dates && fresh && c >= 'A' && c <= 'Z' && (end = worded_date(s, i))) label = TEXT_DATE;
    if (!end && fresh && digit(c)) end = numbers(s, i, dates, &label);
    if (end) {
      out[n++] = (struct text_shape){(uint32_t)start, (uint32_t)end, label};
      i = from = end;
    } else if (digit(c)) {
      while (digit(at(s, i))) i++;
    } else {
      i++;
    }
  }
  return n;
}
