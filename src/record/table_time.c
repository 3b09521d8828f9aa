#include <math.h>
#include <string.h>

#include "record/table_run.h"

/* Years 1..9999: what time_parse takes as well. */
static const double EARLIEST = -62135596800e6, LATEST = 253402300800e6;

static bool digits(const char *p, size_t n, int *out) {
  *out = 0;
  for (size_t i = 0; i < n; i++) {
    if (p[i] < '0' || p[i] > '9') return false;
    *out = *out * 10 + (p[i] - '0');
  }
  return true;
}

static bool month_name(const char *p, int *month) {
  static const char names[] = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC";
  for (*month = 1; *month <= 12; (*month)++)
    if (str_eq_nocase((struct str){names + 3 * (*month - 1), 3}, (struct str){p, 3})) return true;
  return false;
}

/* Tokens YYYY MM MON DD hh mm ss; every other character of the format stands for itself. */
int table_time_format(struct str s, struct str format, int64_t *us, enum time_precision *precision) {
  static const struct {
    const char *token;
    size_t width;
    int part;
  } tokens[] = {{"YYYY", 4, 0}, {"MON", 3, 6}, {"MM", 2, 1}, {"DD", 2, 2}, {"hh", 2, 3}, {"mm", 2, 4}, {"ss", 2, 5}};
  int part[6] = {0, 1, 1, 0, 0, 0};
  size_t at = 0;
  *precision = TIME_PRECISION_YEAR;
  for (size_t i = 0; i < format.n;) {
    size_t k = 0, width = 1;
    while (k < 7 && !str_starts((struct str){format.p + i, format.n - i}, str_c(tokens[k].token))) k++;
    if (k < 7) width = tokens[k].width;
    if (s.n - at < width) return E_INPUT;
    if (k == 7) {
      if (s.p[at] != format.p[i]) return E_INPUT;
    } else if (tokens[k].part == 6) {
      if (!month_name(s.p + at, &part[1])) return E_INPUT;
      if (*precision < TIME_PRECISION_MONTH) *precision = TIME_PRECISION_MONTH;
    } else {
      enum time_precision p = tokens[k].part > 2 ? TIME_PRECISION_SECOND : (enum time_precision)(TIME_PRECISION_YEAR + tokens[k].part);
      if (!digits(s.p + at, width, &part[tokens[k].part])) return E_INPUT;
      if (*precision < p) *precision = p;
    }
    at += width;
    i += k == 7 ? 1 : strlen(tokens[k].token);
  }
  if (at != s.n || part[0] < 1 || part[1] < 1 || part[1] > 12 || part[2] < 1 || part[3] > 23 || part[4] > 59 || part[5] > 59)
    return E_INPUT;
  int64_t days = time_from_civil(part[0], part[1], part[2]);
  int y, m, d;
  time_to_civil(days, &y, &m, &d);
  if (d != part[2]) return E_INPUT;
  *us = days * TIME_DAY + part[3] * TIME_HOUR + part[4] * TIME_MINUTE + part[5] * TIME_SECOND;
  return OK;
}

/* "HH:MM[:SS]" since an origin: hours may pass 24, and a sign may stand before them. */
static int clock_span(struct str s, double *us) {
  double sign = 1;
  int part[3] = {0, 0, 0}, n = 0;
  if (s.n && s.p[0] == '-') {
    sign = -1;
    s.p++;
    s.n--;
  }
  while (s.p && n < 3) {
    struct str piece = str_cut(&s, ':');
    if (piece.n == 0 || piece.n > (n ? 2u : 6u) || !digits(piece.p, piece.n, &part[n])) return E_INPUT;
    if (n && part[n] > 59) return E_INPUT;
    n++;
  }
  if (n < 2 || s.p) return E_INPUT;
  *us = sign * (part[0] * 3600e6 + part[1] * 60e6 + part[2] * 1e6);
  return OK;
}

/* Whole years go by the calendar, the rest by 365.25 days: an age of 54 lands on the same day of the year. */
static double add_years(int64_t base, double years) {
  double whole = trunc(years);
  int64_t day = time_day(base), in_day = base - day * TIME_DAY;
  int y, m, d;
  time_to_civil(day, &y, &m, &d);
  double target = y + whole;
  if (target < 1 || target > 9999) return NAN;
  if (m == 2 && d == 29) d = 28;
  return (double)(time_from_civil((int)target, m, d) * TIME_DAY + in_day) + (years - whole) * (double)TIME_YEAR;
}

static int base_time(struct table_reader *r, const struct table_time *t, struct record_time *out) {
  *out = (struct record_time){.us = r->m->epoch, .precision = TIME_PRECISION_SECOND};
  if (t->at.n == 0) return 1;
  struct str s = table_template_get(r, &t->at);
  if (!s.p) return 0;
  if (t->format.n) return table_time_format(s, t->format, &out->us, &out->precision) < 0 ? E_INPUT : 1;
  struct table_time_memo *memo = &r->memo;
  if (s.n != memo->n || memcmp(s.p, memo->text, s.n) != 0) {
    struct time_parts parts;
    int64_t us;
    if (s.n == 0 || s.n > sizeof memo->text || time_parse(s, &parts, &us, NULL) < 0) return E_INPUT;
    *memo = (struct table_time_memo){
        .n = s.n, .us = us, .precision = parts.precision, .has_offset = parts.has_offset, .offset_minutes = parts.offset_minutes};
    memcpy(memo->text, s.p, s.n);
  }
  *out = (struct record_time){memo->us, memo->precision, memo->has_offset, memo->offset_minutes};
  return 1;
}

static int offset_time(struct table_reader *r, const struct table_offset *t, struct record_time *out) {
  static const double span[] = {0, 1e6, 60e6, 3600e6, 86400e6, 604800e6, 0};
  struct str s = table_template_get(r, &t->of);
  double v, us;
  if (!s.p) return 0;
  if (t->unit == UNIT_CLOCK) {
    if (clock_span(s, &v) < 0) return E_INPUT;
    us = (double)out->us + t->scale * v;
  } else {
    if (table_number(s, &v) < 0) return E_INPUT;
    v *= t->scale;
    us = t->unit == UNIT_YEARS ? add_years(out->us, v) : (double)out->us + v * span[t->unit];
  }
  if (!(us >= EARLIEST && us < LATEST)) return E_INPUT;
  out->us = (int64_t)llrint(us);
  if (t->unit != UNIT_YEARS) out->precision = TIME_PRECISION_SECOND;
  return 1;
}

static int one_time(struct table_reader *r, const struct table_time *t, struct record_time *out, const char **field) {
  int rc = base_time(r, t, out);
  if (rc <= 0) {
    *field = table_template_path(r, &t->at, r->t->path_time);
    return rc;
  }
  int64_t base = out->us;
  for (int i = 0; i < t->offset_n; i++) {
    rc = offset_time(r, &t->offset[i], out);
    *field = table_template_path(r, &t->offset[i].of, r->t->path_time);
    if (rc <= 0) return rc;
  }
  out->us += t->add;
  if (t->not_before != INT64_MIN && out->us < base + t->not_before) out->us = base + t->not_before;
  if (out->us < (int64_t)EARLIEST || out->us >= (int64_t)LATEST) return E_INPUT;
  if (t->precision >= 0) out->precision = (enum time_precision)t->precision;
  return 1;
}

int table_time_get(struct table_reader *r, const struct table_times *s, struct record_time *out, const char **field) {
  *field = r->t->path_time;
  *out = (struct record_time){.us = TIME_STATIC};
  if (s->is_static) return 1;
  for (int i = 0; i < s->n; i++) {
    int rc = one_time(r, &s->t[i], out, field);
    if (rc) return rc;
  }
  *field = table_template_path(r, &s->t[0].at, r->t->path_time);
  return 0;
}
