#include "deid/audit_days.h"

#include "base/time.h"
#include "deid/audit_private.h"
#include "deid/deid_date.h"
#include "record/record.h"

static bool digit_at(struct str t, size_t i) { return i < t.n && audit_digit((uint8_t)t.p[i]); }
static bool letter_at(struct str t, size_t i) { return i < t.n && (t.p[i] | 0x20) >= 'a' && (t.p[i] | 0x20) <= 'z'; }

struct figure {
  int value, digits;
};
static struct figure figure_at(struct str t, size_t *at) {
  struct figure f = {0, 0};
  while (digit_at(t, *at) && f.digits < 9) f.value = f.value * 10 + (t.p[(*at)++] - '0'), f.digits++;
  return f;
}

static bool calendar(int y, int m, int d) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
  return y >= 1800 && y <= 2200 && m >= 1 && m <= 12 && d >= 1 && d <= days[m - 1] + (m == 2 && leap);
}

static int add(int32_t day[4], int n, int y, int m, int d) {
  if (n < 4 && calendar(y, m, d)) day[n++] = (int32_t)time_from_civil(y, m, d);
  return n;
}

/* A year of two digits is one of this century or the last. */
static int add_year(int32_t day[4], int n, struct figure y, int m, int d) {
  if (y.digits == 4) return add(day, n, y.value, m, d);
  if (y.digits != 2) return n;
  n = add(day, n, 1900 + y.value, m, d);
  return add(day, n, 2000 + y.value, m, d);
}

static int month_at(struct str t, size_t *at) {
  static const char *const months[] = {"january", "february", "march",     "april",   "may",      "june",
                                       "july",    "august",   "september", "october", "november", "december"};
  size_t n = 0;
  while (letter_at(t, *at + n) && n < 12) n++;
  if (n < 3) return 0;
  for (int m = 0; m < 12; m++) {
    size_t full = strlen(months[m]);
    if (n > full || (n != full && n != 3 && !(m == 8 && n == 4))) continue;
    if (!str_eq_nocase((struct str){t.p + *at, n}, (struct str){months[m], n})) continue;
    *at += n;
    return m + 1;
  }
  return 0;
}

static void skip(struct str t, size_t *at) {
  size_t most = *at + 3;
  while (*at < t.n && *at < most && strchr(" ,.-/\n", t.p[*at]) && t.p[*at]) (*at)++;
}
static void ordinal(struct str t, size_t *at) {
  static const char *const ends[] = {"st", "nd", "rd", "th"};
  for (int i = 0; i < 4; i++)
    if (*at + 2 <= t.n && str_eq_nocase((struct str){t.p + *at, 2}, str_c(ends[i])) && !letter_at(t, *at + 2)) {
      *at += 2;
      return;
    }
}

/* 5 March 1970, 5-MAR-70 */
static int day_month(struct str t, size_t at, struct figure d, int32_t day[4], size_t *end) {
  ordinal(t, &at);
  skip(t, &at);
  if (at + 3 < t.n && str_eq_nocase((struct str){t.p + at, 3}, STR("of "))) at += 3;
  int m = month_at(t, &at);
  if (!m || d.digits > 2) return 0;
  skip(t, &at);
  struct figure y = figure_at(t, &at);
  *end = at;
  return digit_at(t, at) ? 0 : add_year(day, 0, y, m, d.value);
}

/* Mar 5th, 1970 */
static int month_day(struct str t, size_t at, int32_t day[4], size_t *end) {
  int m = month_at(t, &at);
  if (!m) return 0;
  skip(t, &at);
  struct figure d = figure_at(t, &at);
  if (d.digits < 1 || d.digits > 2) return 0;
  ordinal(t, &at);
  skip(t, &at);
  struct figure y = figure_at(t, &at);
  *end = at;
  return digit_at(t, at) ? 0 : add_year(day, 0, y, m, d.value);
}

static int figures(struct str t, size_t at, struct figure a, int32_t day[4], size_t *end) {
  char mark = at < t.n ? t.p[at] : 0;
  if (mark != '-' && mark != '/' && mark != '.') return 0;
  at++;
  struct figure b = figure_at(t, &at);
  if (b.digits < 1 || b.digits > 2 || at >= t.n || t.p[at] != mark) return 0;
  at++;
  struct figure c = figure_at(t, &at);
  *end = at;
  if (digit_at(t, at)) return 0;
  if (a.digits == 4) return c.digits >= 1 && c.digits <= 2 ? add(day, 0, a.value, b.value, c.value) : 0;
  if (a.digits > 2 || (c.digits != 4 && c.digits != 2)) return 0;
  int n = add_year(day, 0, c, a.value, b.value);
  return a.value != b.value ? add_year(day, n, c, b.value, a.value) : n;
}

int audit_date_at(struct str t, size_t at, int32_t day[4], size_t *length) {
  size_t end = at, i = at;
  int n = 0;
  if (at > 0 && (digit_at(t, at - 1) || letter_at(t, at - 1)) && digit_at(t, at) == digit_at(t, at - 1)) return 0;
  if (digit_at(t, at)) {
    struct figure a = figure_at(t, &i);
    if (a.digits == 8 && !digit_at(t, i)) {
      n = add(day, 0, a.value / 10000, a.value / 100 % 100, a.value % 100);
      end = i;
    } else if (a.digits && a.digits <= 4) {
      n = figures(t, i, a, day, &end);
      if (!n) n = day_month(t, i, a, day, &end);
    }
  } else if (letter_at(t, at)) {
    n = month_day(t, at, day, &end);
  }
  *length = end - at;
  return n;
}

static enum audit_weight weigh(const struct audit_days *d, int32_t day, enum audit_form *form) {
  *form = AUDIT_BIRTH_DAY;
  if (day == d->birth) {
    bool newborn = d->first != DEID_DAY_NONE && d->first < d->birth + AUDIT_NEWBORN;
    return newborn ? AUDIT_WEAK : AUDIT_STRONG;
  }
  *form = AUDIT_EVENT_DAY;
  return day == d->first || day == d->last ? AUDIT_WEAK : AUDIT_NONE;
}

int audit_days_scan(const struct audit_search *s, uint32_t person, struct str bytes, size_t from, size_t to, audit_found *found, void *ctx,
                    struct error *e) {
  const struct audit_days *d = &s->days[person];
  if (d->birth == DEID_DAY_NONE && d->first == DEID_DAY_NONE && d->last == DEID_DAY_NONE) return OK;
  for (size_t i = from; i < to && i < bytes.n; i++) {
    int32_t day[4];
    size_t length;
    char c = bytes.p[i];
    if (!audit_digit((uint8_t)c) && (!letter_at(bytes, i) || !strchr("jfmasondJFMASOND", c))) continue;
    int n = audit_date_at(bytes, i, day, &length);
    struct audit_hit best = {0};
    for (int k = 0; k < n; k++) {
      enum audit_form form;
      enum audit_weight w = day[k] == DEID_DAY_NONE ? AUDIT_NONE : weigh(d, day[k], &form);
      if (w > best.weight)
        best = (struct audit_hit){.kind = IDENTIFIER_DATE,
                                  .form = form,
                                  .weight = w,
                                  .own = true,
                                  .person = s->person[person],
                                  .persons = 1,
                                  .offset = i,
                                  .length = (uint32_t)length};
    }
    if (best.weight) TRY(found(ctx, &best, e));
    if (n) i += length - 1;
  }
  return OK;
}
