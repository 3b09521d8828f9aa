#include "base/str.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

int str_cmp(struct str a, struct str b) {
  size_t n = a.n < b.n ? a.n : b.n;
  int c = n ? memcmp(a.p, b.p, n) : 0;
  if (c) return c < 0 ? -1 : 1;
  return (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix) { return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0); }

bool str_ends(struct str s, struct str suffix) {
  return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

struct str str_trim(struct str s) {
  while (s.n && is_space(s.p[0])) s.p++, s.n--;
  while (s.n && is_space(s.p[s.n - 1])) s.n--;
  return s;
}

struct str str_cut(struct str *rest, char at) {
  if (!rest->p) return STR_NONE;
  const char *hit = rest->n ? memchr(rest->p, at, rest->n) : NULL;
  struct str part = *rest;
  if (!hit) {
    *rest = STR_NONE;
    return part;
  }
  part.n = (size_t)(hit - rest->p);
  *rest = (struct str){hit + 1, rest->n - part.n - 1};
  return part;
}

bool str_eq_nocase(struct str a, struct str b) {
  if (a.n != b.n) return false;
  for (size_t i = 0; i < a.n; i++)
    if (lower(a.p[i]) != lower(b.p[i])) return false;
  return true;
}

struct str str_copy(struct arena *a, struct str s) {
  if (!s.p) return STR_NONE;
  char *p = arena_strndup(a, s.p, s.n);
  if (!p) return s.n ? STR_NONE : (struct str){"", 0};
  return (struct str){p, s.n};
}

int str_to_i64(struct str s, int64_t *out) {
  size_t i = 0;
  bool negative = false;
  if (s.n && (s.p[0] == '-' || s.p[0] == '+')) negative = s.p[i++] == '-';
  if (i == s.n) return E_INPUT;
  int64_t v = 0; /* accumulated negative: INT64_MIN has no positive twin */
  for (; i < s.n; i++) {
    if (!is_digit(s.p[i])) return E_INPUT;
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, s.p[i] - '0', &v)) return E_INPUT;
  }
  if (!negative && v == INT64_MIN) return E_INPUT;
  *out = negative ? v : -v;
  return OK;
}

static locale_t c_locale;
static void c_locale_make(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

/* Correctly rounded for any length; the caller has checked the grammar. */
static int f64_slow(struct str s, double *out) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, c_locale_make);
  char small[128], *text = s.n < sizeof small ? small : mem_alloc(s.n + 1);
  if (!text || !c_locale) return E_NOMEM;
  memcpy(text, s.p, s.n);
  text[s.n] = 0;
  double v = strtod_l(text, NULL, c_locale);
  if (text != small) mem_free(text);
  if (!isfinite(v)) return E_INPUT;
  *out = v;
  return OK;
}

int str_to_f64(struct str s, double *out) {
  static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  size_t i = 0;
  bool negative = false;
  if (s.n && (s.p[0] == '-' || s.p[0] == '+')) negative = s.p[i++] == '-';
  uint64_t mantissa = 0;
  int digits = 0, kept = 0; /* significant digits in the mantissa; leading zeros are free */
  long exponent = 0;
  bool exact = true;
  for (int part = 0; part < 2; part++) {
    for (; i < s.n && is_digit(s.p[i]); i++, digits = 1) {
      if (kept < 19) {
        mantissa = mantissa * 10 + (uint64_t)(s.p[i] - '0');
        kept += mantissa != 0;
        exponent -= part;
      } else {
        exact = false;
      }
    }
    if (part == 1 || i >= s.n || s.p[i] != '.') break;
    i++;
  }
  if (!digits) return E_INPUT;
  if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
    bool down = false;
    if (++i < s.n && (s.p[i] == '-' || s.p[i] == '+')) down = s.p[i++] == '-';
    if (i == s.n) return E_INPUT;
    long v = 0;
    for (; i < s.n && is_digit(s.p[i]); i++)
      if (v < 100000) v = v * 10 + (s.p[i] - '0');
    exponent += down ? -v : v;
  }
  if (i != s.n) return E_INPUT;
  /* Clinger 1990: both factors are exact doubles, so one rounding, so the nearest double. */
  if (exact && mantissa <= (UINT64_C(1) << 53) && exponent >= -22 && exponent <= 22) {
    double v = (double)mantissa;
    v = exponent < 0 ? v / POWERS[-exponent] : v * POWERS[exponent];
    *out = negative ? -v : v;
    return OK;
  }
  return f64_slow(s, out);
}

/* Length of the well-formed sequence at p (1..4), 0 if there is none (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *p, size_t n) {
  unsigned char c = p[0];
  if (c < 0x80) return 1;
  if (c < 0xC2 || c > 0xF4) return 0;
  size_t need = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  if (n < need) return 0;
  unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
  unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
  if (p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < need; i++)
    if ((p[i] & 0xC0) != 0x80) return 0;
  return need;
}

size_t str_utf8_next(struct str s) { return s.n ? utf8_length((const unsigned char *)s.p, s.n) : 0; }

bool str_utf8_valid(struct str s) {
  const unsigned char *p = (const unsigned char *)s.p;
  size_t i = 0;
  while (i < s.n) {
    uint64_t eight;
    while (i + 8 <= s.n && (memcpy(&eight, p + i, 8), (eight & UINT64_C(0x8080808080808080)) == 0)) i += 8;
    if (i >= s.n) break;
    size_t k = utf8_length(p + i, s.n - i);
    if (!k) return false;
    i += k;
  }
  return true;
}

unsigned str_distance(struct str a, struct str b, unsigned limit) {
  enum { LONGEST = 512 };
  if (str_eq(a, b)) return 0;
  size_t gap = a.n > b.n ? a.n - b.n : b.n - a.n;
  if (gap > limit || a.n > LONGEST || b.n > LONGEST) return limit + 1;
  unsigned row[LONGEST + 1];
  for (size_t j = 0; j <= b.n; j++) row[j] = (unsigned)j;
  for (size_t i = 1; i <= a.n; i++) {
    unsigned diagonal = row[0], least = row[0] = (unsigned)i;
    for (size_t j = 1; j <= b.n; j++) {
      unsigned best = diagonal + (a.p[i - 1] != b.p[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
      if (best < least) least = best;
    }
    if (least > limit) return limit + 1;
  }
  return row[b.n] <= limit ? row[b.n] : limit + 1;
}

void buf_release(struct buf *b) {
  mem_free(b->p);
  *b = (struct buf){0};
}

void buf_clear(struct buf *b) {
  b->n = 0;
  b->failed = false;
}

bool buf_reserve(struct buf *b, size_t more) {
  if (b->failed) return false;
  if (more <= b->cap - b->n) return true;
  size_t want = b->n + more, cap = b->cap ? b->cap : 64;
  if (want < more || want > SIZE_MAX / 4) {
    b->failed = true;
    return false;
  }
  while (cap < want) cap += cap / 2 + 64;
  char *p = mem_realloc(b->p, cap);
  if (!p) {
    b->failed = true;
    return false;
  }
  b->p = p;
  b->cap = cap;
  return true;
}

void buf_put(struct buf *b, const void *p, size_t n) {
  if (!n || !buf_reserve(b, n)) return;
  memcpy(b->p + b->n, p, n);
  b->n += n;
}

void buf_puts(struct buf *b, const char *s) { buf_put(b, s, strlen(s)); }
void buf_putc(struct buf *b, char c) { buf_put(b, &c, 1); }
void buf_str(struct buf *b, struct str s) { buf_put(b, s.p, s.n); }

void buf_vprintf(struct buf *b, const char *fmt, va_list ap) {
  if (!buf_reserve(b, 128)) return;
  va_list again;
  va_copy(again, ap);
  size_t room = b->cap - b->n;
  int n = vsnprintf(b->p + b->n, room, fmt, ap);
  if (n < 0) {
    b->failed = true;
  } else if ((size_t)n < room) {
    b->n += (size_t)n;
  } else if (buf_reserve(b, (size_t)n + 1)) {
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    b->n += (size_t)n;
  }
  va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  buf_vprintf(b, fmt, ap);
  va_end(ap);
}

void buf_html(struct buf *b, struct str s) {
  for (size_t i = 0; i < s.n; i++) switch (s.p[i]) {
      case '&': buf_puts(b, "&amp;"); break;
      case '<': buf_puts(b, "&lt;"); break;
      case '>': buf_puts(b, "&gt;"); break;
      case '"': buf_puts(b, "&quot;"); break;
      case '\'': buf_puts(b, "&#39;"); break;
      default: buf_putc(b, s.p[i]);
    }
}

const char *buf_cstr(struct buf *b) {
  if (b->failed || !buf_reserve(b, 1)) return "";
  b->p[b->n] = 0;
  return b->p;
}

int buf_check(const struct buf *b, struct error *e) { return b->failed ? error_set(e, E_NOMEM, "no memory for a growing text") : OK; }
