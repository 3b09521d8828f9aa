/* A date as somebody wrote it, moved by some days and written the same way: order, separators, widths, language, case, ordinals. What
 * cannot be read with certainty is refused, and the caller masks it. */
#include <ctype.h>
#include <stdio.h>

#include "base/time.h"
#include "deid/text_check.h"
#include "deid/text_internal.h"

enum { PIECES_MOST = 24, YEAR_UNKNOWN = 2001, PIVOT = 40 };
enum piece_kind { PIECE_OTHER, PIECE_NUMBER, PIECE_MONTH, PIECE_WEEKDAY, PIECE_ORDINAL, PIECE_FIXED };
enum role { ROLE_NONE, ROLE_YEAR, ROLE_MONTH, ROLE_DAY };

struct piece {
  struct str s;
  int kind, value, role, table;
};
struct reading {
  struct piece at[PIECES_MOST];
  int n, year, month, day, day2; /* 0 = not written */
};

static const char *const months[][12] = {
    {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"},
    {"enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"},
    {"januar", "februar", "m\xc3\xa4rz", "april", "mai", "juni", "juli", "august", "september", "oktober", "november", "dezember"},
    {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"},
    {"ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"}};
static const char *const weekdays[7] = {"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"};

static bool word_byte(char c) { return isalpha((unsigned char)c) || (uint8_t)c >= 0x80; }
static bool same(struct str s, const char *word) {
  char a[32], b[32];
  struct str x = {a, text_fold(s, a, sizeof a)}, y = {b, text_fold(str_c(word), b, sizeof b)};
  return str_eq(x, y);
}

static void read_word(struct piece *p) {
  p->kind = PIECE_OTHER;
  if (p->s.n == 2 && (same(p->s, "st") || same(p->s, "nd") || same(p->s, "rd") || same(p->s, "th"))) p->kind = PIECE_ORDINAL;
  for (int d = 0; d < 7; d++)
    if (same(p->s, weekdays[d]) || (p->s.n == 3 && same(p->s, (char[4]){weekdays[d][0], weekdays[d][1], weekdays[d][2], 0})))
      p->kind = PIECE_WEEKDAY, p->table = p->s.n == 3;
  int m = text_month(p->s);
  if (m == 0) return;
  p->kind = PIECE_MONTH;
  p->value = m;
  p->role = ROLE_MONTH;
  p->table = p->s.n <= 4 ? 3 : 0; /* misspelt months come back well spelt */
  for (int t = 0; t < 5; t++)
    if (same(p->s, months[t][m - 1])) {
      p->table = t;
      break;
    }
}

static int split(struct str s, struct reading *r, struct error *e) {
  for (size_t i = 0; i < s.n;) {
    if (r->n == PIECES_MOST) return error_set(e, E_INPUT, "a date has too many parts");
    struct piece *p = &r->at[r->n++];
    size_t j = i;
    *p = (struct piece){.kind = PIECE_FIXED};
    if (isdigit((unsigned char)s.p[i])) {
      p->kind = PIECE_NUMBER;
      for (; j < s.n && isdigit((unsigned char)s.p[j]); j++) p->value = p->value < 100000000 ? p->value * 10 + s.p[j] - '0' : p->value;
    } else if (word_byte(s.p[i])) {
      while (j < s.n && word_byte(s.p[j])) j++;
    } else
      j++;
    p->s = (struct str){s.p + i, j - i};
    if (word_byte(s.p[i])) read_word(p);
    i = j;
  }
  return OK;
}

static int full_year(const struct piece *p) { return p->s.n == 4 ? p->value : p->value + (p->value < PIVOT ? 2000 : 1900); }

static int with_month(struct reading *r, struct error *e) {
  int month_at = -1;
  for (int i = 0; i < r->n; i++)
    if (r->at[i].kind == PIECE_MONTH) {
      if (r->month) return error_set(e, E_INPUT, "a date has two months");
      r->month = r->at[i].value;
      month_at = i;
    }
  for (int i = 0; i < r->n; i++) {
    struct piece *p = &r->at[i];
    if (p->kind != PIECE_NUMBER) continue;
    bool quote = i > 0 && r->at[i - 1].kind == PIECE_FIXED && r->at[i - 1].s.p[0] == '\'';
    bool wide = i > 0 && (uint8_t)r->at[i - 1].s.p[0] >= 0x80 && r->at[i - 1].kind == PIECE_OTHER && i > month_at && p->s.n == 2;
    if (p->s.n == 4 || quote || wide || (p->s.n == 2 && r->day && i > month_at && r->at[i - 1].s.p[0] != '-'))
      p->role = ROLE_YEAR, r->year = r->year ? -1 : full_year(p);
    else if (p->s.n <= 2 && p->value >= 1 && p->value <= 31 && !r->day)
      p->role = ROLE_DAY, r->day = p->value;
    else if (p->s.n <= 2 && p->value >= 1 && p->value <= 31 && !r->day2)
      p->role = ROLE_DAY, r->day2 = p->value;
    else
      return error_set(e, E_INPUT, "a date has a number too many");
  }
  return r->year < 0 ? error_set(e, E_INPUT, "a date has two years") : OK;
}

static int numeric(struct reading *r, bool day_first, struct error *e) {
  struct piece *p[3] = {0};
  int n = 0;
  for (int i = 0; i < r->n && n < 3; i++) {
    if (r->at[i].kind == PIECE_NUMBER) p[n++] = &r->at[i];
    if (r->at[i].kind == PIECE_OTHER && n >= 3) break;
  }
  if (n == 3) {
    int a = 0, b = 1, y = 2;
    if (p[0]->s.n == 4) y = 0, a = 1, b = 2, day_first = false;
    bool first = p[a]->value > 12 || (day_first && p[b]->value <= 12);
    p[y]->role = ROLE_YEAR, r->year = full_year(p[y]);
    p[a]->role = first ? ROLE_DAY : ROLE_MONTH, p[b]->role = first ? ROLE_MONTH : ROLE_DAY;
    r->month = first ? p[b]->value : p[a]->value, r->day = first ? p[a]->value : p[b]->value;
    return OK;
  }
  if (n == 2 && p[1]->s.n == 4) {
    p[0]->role = ROLE_MONTH, p[1]->role = ROLE_YEAR, r->month = p[0]->value, r->year = p[1]->value;
    return OK;
  }
  if (n == 2 && p[0]->s.n <= 2 && p[1]->s.n <= 2) {
    bool first = p[0]->value > 12 || (day_first && p[1]->value <= 12);
    p[first ? 0 : 1]->role = ROLE_DAY, p[first ? 1 : 0]->role = ROLE_MONTH;
    r->day = p[first ? 0 : 1]->value, r->month = p[first ? 1 : 0]->value;
    return OK;
  }
  return error_set(e, E_INPUT, "a date cannot be read");
}

/* 20230405, which splits into one number */
static int packed(struct reading *r, char out[16], int32_t days) {
  int y = r->at[0].value / 10000, m = r->at[0].value / 100 % 100, d = r->at[0].value % 100;
  time_to_civil(time_from_civil(y, m, d) + days, &y, &m, &d);
  return snprintf(out, 16, "%04d%02d%02d", y, m, d);
}

static void cased(struct buf *b, struct str like, const char *word) {
  bool upper = like.n > 1 && isupper((unsigned char)like.p[0]) && isupper((unsigned char)like.p[1]);
  for (size_t i = 0; word[i]; i++) {
    bool up = upper || (i == 0 && isupper((unsigned char)like.p[0]));
    buf_putc(b, up ? (char)toupper((unsigned char)word[i]) : word[i]);
  }
}

static const char *ordinal(int d) {
  if (d / 10 == 1) return "th";
  return d % 10 == 1 ? "st" : d % 10 == 2 ? "nd" : d % 10 == 3 ? "rd" : "th";
}

/* 03/14/2020 keeps two digits, 3/14/20 does not: what the other parts show counts. */
static bool padded(const struct reading *r, const struct piece *p) {
  if (p->s.p[0] == '0') return true;
  bool worded = false, single = false;
  for (int i = 0; i < r->n; i++) {
    const struct piece *q = &r->at[i];
    worded = worded || q->kind == PIECE_MONTH;
    single = single || ((q->role == ROLE_DAY || q->role == ROLE_MONTH) && q->s.n == 1);
  }
  return !worded && !single;
}

static void write_number(struct buf *b, const struct reading *r, const struct piece *p, int v) {
  if (p->role == ROLE_YEAR)
    buf_printf(b, p->s.n == 2 ? "%02d" : "%04d", p->s.n == 2 ? v % 100 : v);
  else
    buf_printf(b, padded(r, p) ? "%02d" : "%d", v);
}

static void write_all(struct buf *b, const struct reading *r, const int y[2], const int m[2], const int d[2], int64_t first) {
  int days = 0;
  for (int i = 0; i < r->n; i++) {
    const struct piece *p = &r->at[i];
    int k = days > 1 ? 1 : 0;
    if (p->role == ROLE_DAY) k = days++ ? 1 : 0;
    if (p->role == ROLE_YEAR)
      write_number(b, r, p, y[0]);
    else if (p->role == ROLE_MONTH && p->kind == PIECE_MONTH)
      cased(b, p->s, months[p->table][m[0] - 1]);
    else if (p->role == ROLE_MONTH)
      write_number(b, r, p, m[0]);
    else if (p->role == ROLE_DAY)
      write_number(b, r, p, d[k]);
    else if (p->kind == PIECE_ORDINAL && days)
      cased(b, p->s, ordinal(d[days > 1]));
    else if (p->kind == PIECE_WEEKDAY) {
      char word[16];
      snprintf(word, sizeof word, p->table ? "%.3s" : "%s", weekdays[(size_t)(((first + 4) % 7 + 7) % 7)]);
      cased(b, p->s, word);
    } else
      buf_str(b, p->s);
  }
}

static int read_date(struct str s, bool day_first, struct reading *r, struct error *e) {
  bool word = false;
  TRY(split(s, r, e));
  for (int i = 0; i < r->n; i++) word = word || r->at[i].kind == PIECE_MONTH;
  TRY(word ? with_month(r, e) : numeric(r, day_first, e));
  if (r->month < 1 || r->month > 12 || (r->day && (r->day < 1 || r->day > 31))) return error_set(e, E_INPUT, "a date that no calendar has");
  return r->year && (r->year < 1800 || r->year > 2200) ? error_set(e, E_INPUT, "a date far from any life") : OK;
}

static int shift(const struct reading *r, int32_t days, struct buf *b, struct error *e) {
  int y[2], m[2], d[2], year = r->year ? r->year : YEAR_UNKNOWN;
  int64_t first = 0;
  for (int k = 0; k < 2; k++) {
    int day = k && r->day2 ? r->day2 : r->day ? r->day : 15;
    int64_t at = time_from_civil(year, r->month, day) + days;
    int y0, m0, d0;
    time_to_civil(time_from_civil(year, r->month, day), &y0, &m0, &d0);
    if (m0 != r->month && !(r->month == 2 && day == 29 && !r->year)) return error_set(e, E_INPUT, "a day that its month has not");
    time_to_civil(at, &y[k], &m[k], &d[k]);
    if (k == 0) first = at;
  }
  if (m[0] != m[1] || y[0] != y[1]) return error_set(e, E_INPUT, "a range that would cross a month's end");
  write_all(b, r, y, m, d, first);
  return buf_check(b, e);
}

int text_date_move(struct str written, bool day_first, enum deid_dates how, int32_t days, char *out, size_t size, struct error *e) {
  struct reading r = {0};
  struct buf b = {0};
  char whole[16];
  int n;
  if (how == DEID_DATES_KEEP) {
    n = snprintf(out, size, "%.*s", STR_ARG(written));
    return n < 0 || (size_t)n >= size ? error_set(e, E_LIMIT, "a date is too long") : OK;
  }
  bool eight = written.n == 8;
  for (size_t i = 0; i < written.n; i++) eight = eight && isdigit((unsigned char)written.p[i]);
  if (eight) {
    TRY(split(written, &r, e));
    n = packed(&r, whole, how == DEID_DATES_SHIFT ? days : 0);
    if (how == DEID_DATES_YEAR) n = 4;
    n = snprintf(out, size, "%.*s", n, whole);
    return n < 0 || (size_t)n >= size ? error_set(e, E_LIMIT, "a date is too long") : OK;
  }
  TRY(read_date(written, day_first, &r, e));
  if (how == DEID_DATES_YEAR) {
    if (!r.year) return error_set(e, E_INPUT, "a date without a year");
    n = snprintf(out, size, "%04d", r.year);
    return n < 0 || (size_t)n >= size ? error_set(e, E_LIMIT, "a date is too long") : OK;
  }
  int rc = shift(&r, days, &b, e);
  if (rc == OK && b.n >= size) rc = error_set(e, E_LIMIT, "a date is too long");
  if (rc == OK) memcpy(out, b.p, b.n), out[b.n] = 0;
  buf_release(&b);
  return rc;
}
