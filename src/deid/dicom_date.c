/* DA, DT and TM. A shift is by whole days, so a time of day never changes and a written offset from UTC stays. */
#include <stdio.h>

#include "deid/deid_date.h"
#include "deid/dicom_text.h"
#include "record/dicom.h"

static bool digits(struct str s, size_t at, size_t n, int *out) {
  int v = 0;
  if (at + n > s.n) return false;
  for (size_t i = at; i < at + n; i++) {
    if (s.p[i] < '0' || s.p[i] > '9') return false;
    v = v * 10 + (s.p[i] - '0');
  }
  *out = v;
  return true;
}

static bool leap(int y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; }
static bool civil(int y, int m, int d) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return y >= 1 && m >= 1 && m <= 12 && d >= 1 && d <= days[m - 1] + (m == 2 && leap(y));
}

struct date { /* YYYY[MM[DD]], written plain or YYYY.MM.DD; `rest` follows it */
  int year, month, day;
  enum time_precision precision;
  size_t n;
};
static bool date_read(struct str s, bool partial, struct date *d) {
  *d = (struct date){.month = 1, .day = 1, .precision = TIME_PRECISION_YEAR, .n = 4};
  if (!digits(s, 0, 4, &d->year)) return false;
  if (s.n >= 10 && s.p[4] == '.' && s.p[7] == '.') {
    d->precision = TIME_PRECISION_DAY;
    d->n = 10;
    return digits(s, 5, 2, &d->month) && digits(s, 8, 2, &d->day) && civil(d->year, d->month, d->day);
  }
  if (digits(s, 4, 2, &d->month)) {
    d->precision = TIME_PRECISION_MONTH;
    d->n = 6;
    if (digits(s, 6, 2, &d->day)) d->precision = TIME_PRECISION_DAY, d->n = 8;
  }
  if (!partial && d->precision != TIME_PRECISION_DAY) return false;
  if (d->precision == TIME_PRECISION_YEAR) d->month = d->day = 1;
  if (d->precision == TIME_PRECISION_MONTH) d->day = 1;
  return civil(d->year, d->month, d->day);
}

static bool time_valid(struct str s) {
  int v;
  size_t at = 0;
  static const int most[] = {23, 59, 60};
  for (int i = 0; i < 3 && at < s.n && s.p[at] != '.'; i++) {
    if (i && s.p[at] == ':') at++; /* before 1993 */
    if (!digits(s, at, 2, &v) || v > most[i]) return false;
    at += 2;
  }
  if (at < s.n && s.p[at] == '.') {
    for (at++; at < s.n; at++)
      if (s.p[at] < '0' || s.p[at] > '9') return false;
  }
  return at == s.n && s.n >= 2 && s.n <= 16;
}

static bool offset_valid(struct str s) {
  int v;
  return s.n == 0 || (s.n == 5 && (*s.p == '+' || *s.p == '-') && digits(s, 1, 4, &v) && v <= 1400);
}

static bool date_one(uint16_t vr, struct str s, enum deid_dates how, int32_t shift, char *out, size_t room, size_t *n) {
  struct date d;
  bool full = vr == DICOM_VR('D', 'A');
  if (!date_read(s, !full, &d)) return false;
  struct str rest = {s.p + d.n, s.n - d.n}, time = rest, offset = STR_NONE;
  if (full ? rest.n > 0 : rest.n > 0 && d.precision != TIME_PRECISION_DAY && *rest.p != '+' && *rest.p != '-') return false;
  for (size_t i = 0; i < rest.n; i++)
    if (rest.p[i] == '+' || rest.p[i] == '-') {
      time.n = i;
      offset = (struct str){rest.p + i, rest.n - i};
      break;
    }
  if ((time.n && !time_valid(time)) || !offset_valid(offset)) return false;
  int64_t us = deid_date(how, time_from_civil(d.year, d.month, d.day) * TIME_DAY, d.precision, shift);
  int y, m, day;
  int32_t days;
  if (!deid_day(us, &days)) return false;
  time_to_civil(days, &y, &m, &day);
  int k;
  if (d.n == 10)
    k = snprintf(out, room, "%04d.%02d.%02d", y, m, day);
  else
    k = snprintf(out, room, "%04d%02d%02d", y, m, day);
  if (d.n == 4 || d.n == 6) k = (int)d.n;
  if (how == DEID_DATES_YEAR) time = (struct str){"000000", time.n >= 6 ? 6 : time.n / 2 * 2};
  int more = snprintf(out + k, room - (size_t)k, "%.*s%.*s", STR_ARG(time), STR_ARG(offset));
  *n = (size_t)(k + more);
  return *n < room;
}

static bool time_one(struct str s, enum deid_dates how, char *out, size_t room, size_t *n) {
  if (!time_valid(s)) return false;
  if (how == DEID_DATES_YEAR) s = (struct str){"000000", s.n >= 6 ? 6 : s.n / 2 * 2};
  if (s.n >= room) return false;
  memcpy(out, s.p, s.n);
  *n = s.n;
  return true;
}

static bool one(uint16_t vr, struct str s, enum deid_dates how, int32_t shift, char *out, size_t room, size_t *n) {
  *n = 0;
  if (s.n == 0) return true;
  return vr == DICOM_VR('T', 'M') ? time_one(s, how, out, room, n) : date_one(vr, s, how, shift, out, room, n);
}

bool dicom_date(uint16_t vr, struct str value, enum deid_dates how, int32_t shift, char out[DICOM_DATE_ROOM], size_t *n) {
  value = str_trim(value);
  if (value.n >= DICOM_DATE_ROOM) return false;
  if (one(vr, value, how, shift, out, DICOM_DATE_ROOM, n)) return true;
  for (size_t i = 0; i < value.n; i++) { /* a range: A-B, A-, -B; an offset may stand before the hyphen */
    if (value.p[i] != '-') continue;
    size_t first, second;
    struct str a = {value.p, i}, b = {value.p + i + 1, value.n - i - 1};
    if (!one(vr, a, how, shift, out, DICOM_DATE_ROOM - 1, &first)) continue;
    out[first] = '-';
    if (!one(vr, b, how, shift, out + first + 1, DICOM_DATE_ROOM - first - 1, &second)) continue;
    *n = first + 1 + second;
    return true;
  }
  return false;
}

bool dicom_date_us(struct str date, struct str time, int64_t *us, bool *has_time) {
  struct date d;
  date = str_trim(date);
  if (!date_read(date, false, &d)) return false;
  if (date.n > d.n) time = (struct str){date.p + d.n, date.n - d.n};
  time = str_trim(time);
  int h = 0, m = 0, s = 0;
  *us = time_from_civil(d.year, d.month, d.day) * TIME_DAY;
  *has_time = digits(time, 0, 2, &h) && digits(time, 2, 2, &m) && h < 24 && m < 60;
  if (!*has_time) return true;
  if (!digits(time, 4, 2, &s) || s > 60) s = 0;
  *us += (h * 3600 + m * 60 + (s == 60 ? 59 : s)) * TIME_SECOND;
  return true;
}
