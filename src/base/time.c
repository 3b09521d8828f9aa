#include "base/time.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

enum { ERA_YEARS = 400, ERA_DAYS = 146097, EPOCH_DAYS = 719468 /* 0000-03-01 to 1970-01-01 */ };

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Years are counted from March: the leap day is then the last day of a year, and months have a regular length. */
int64_t time_from_civil(int year, int month, int day) {
  int64_t y = (int64_t)year - (month <= 2);
  int64_t era = floor_div(y, ERA_YEARS), of_era = y - era * ERA_YEARS;
  int64_t from_march = (month + 9) % 12;
  int64_t day_of_year = (153 * from_march + 2) / 5 + day - 1;
  return era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - EPOCH_DAYS;
}

void time_to_civil(int64_t days, int *year, int *month, int *day) {
  days += EPOCH_DAYS;
  int64_t era = floor_div(days, ERA_DAYS), d = days - era * ERA_DAYS;
  int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365; /* without the leap days of 4, 100 and 400 years */
  int64_t day_of_year = d - (365 * y + y / 4 - y / 100);
  int64_t from_march = (5 * day_of_year + 2) / 153;
  *day = (int)(day_of_year - (153 * from_march + 2) / 5 + 1);
  *month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);
  *year = (int)(y + era * ERA_YEARS + (*month <= 2));
}

static int month_days(int year, int month) {
  static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return DAYS[month - 1] + (month == 2 && leap);
}

/* Exactly n digits at the head of s; false leaves s alone. */
static bool digits(struct str *s, size_t n, int *out) {
  if (s->n < n) return false;
  int v = 0;
  for (size_t i = 0; i < n; i++) {
    if (s->p[i] < '0' || s->p[i] > '9') return false;
    v = v * 10 + (s->p[i] - '0');
  }
  s->p += n;
  s->n -= n;
  *out = v;
  return true;
}

static bool take(struct str *s, char c) {
  if (!s->n || *s->p != c) return false;
  s->p++;
  s->n--;
  return true;
}

/* [.f+] with any number of digits; what is finer than a microsecond is cut */
static bool fraction(struct str *s, struct time_parts *p) {
  if (!take(s, '.')) return true;
  int scale = 100000, digit;
  if (!s->n || *s->p < '0' || *s->p > '9') return false;
  while (digits(s, 1, &digit)) {
    p->micro += digit * scale;
    scale /= 10;
  }
  p->precision = TIME_PRECISION_FRACTION;
  return true;
}

/* Z, +hh:mm or +hhmm */
static bool offset(struct str *s, struct time_parts *p) {
  if (take(s, 'Z') || take(s, 'z')) {
    p->has_offset = true;
    return true;
  }
  bool west = take(s, '-');
  if (!west && !take(s, '+')) return true;
  int h, m;
  if (!digits(s, 2, &h)) return false;
  take(s, ':');
  if (!digits(s, 2, &m) || h > 14 || m > 59 || (h == 14 && m)) return false;
  p->offset_minutes = west ? -(h * 60 + m) : h * 60 + m;
  p->has_offset = true;
  return true;
}

/* hh:mm[:ss[.f]] or hhmm[ss[.f]], then an offset */
static bool clock_part(struct str *s, struct time_parts *p, bool colons) {
  p->precision = TIME_PRECISION_SECOND;
  if (!digits(s, 2, &p->hour)) return false;
  if (colons && !take(s, ':')) return false;
  if (!digits(s, 2, &p->minute)) return false;
  bool seconds = colons ? take(s, ':') : s->n >= 2 && *s->p >= '0' && *s->p <= '9';
  if (seconds && (!digits(s, 2, &p->second) || !fraction(s, p))) return false;
  if (p->hour > 23 || p->minute > 59 || p->second > 60) return false; /* 60: a leap second, kept as the next minute's first */
  return offset(s, p);
}

static bool parse(struct str s, struct time_parts *p) {
  *p = (struct time_parts){.month = 1, .day = 1, .precision = TIME_PRECISION_YEAR};
  if (!digits(&s, 4, &p->year)) return false;
  if (take(&s, '-')) {
    if (!digits(&s, 2, &p->month)) return false;
    p->precision = TIME_PRECISION_MONTH;
    if (take(&s, '-')) {
      if (!digits(&s, 2, &p->day)) return false;
      p->precision = TIME_PRECISION_DAY;
      if ((take(&s, 'T') || take(&s, ' ') || take(&s, 't')) && !clock_part(&s, p, true)) return false;
    }
  } else if (s.n) {
    if (!digits(&s, 2, &p->month) || !digits(&s, 2, &p->day)) return false;
    p->precision = TIME_PRECISION_DAY;
    if (s.n && !clock_part(&s, p, false)) return false;
  }
  if (s.n || p->year < 1 || p->month < 1 || p->month > 12) return false;
  return p->day >= 1 && p->day <= month_days(p->year, p->month);
}

int time_parse(struct str s, struct time_parts *p, int64_t *local_us, struct error *e) {
  if (!parse(s, p)) {
    *p = (struct time_parts){0};
    return error_set(e, E_INPUT, "no date or time that exists, of a known form");
  }
  int64_t seconds = time_from_civil(p->year, p->month, p->day) * 86400 + p->hour * 3600 + p->minute * 60 + p->second;
  *local_us = seconds * TIME_SECOND + p->micro;
  return OK;
}

int time_parse_duration(struct str s, int64_t *us, struct error *e) {
  static const struct {
    const char *name;
    double us;
  } UNITS[] = {{"us", 1},
               {"ms", 1e3},
               {"s", 1e6},
               {"sec", 1e6},
               {"min", 60e6},
               {"h", 3600e6},
               {"d", 86400e6},
               {"w", 7 * 86400e6},
               {"mo", 30.4375 * 86400e6},
               {"y", 365.25 * 86400e6}};
  size_t n = 0;
  while (n < s.n && ((s.p[n] >= '0' && s.p[n] <= '9') || s.p[n] == '.' || s.p[n] == '-' || s.p[n] == '+')) n++;
  double v;
  struct str unit = str_trim((struct str){s.p + n, s.n - n});
  if (str_to_f64((struct str){s.p, n}, &v) == OK) {
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
      if (!str_eqc(unit, UNITS[i].name)) continue;
      double all = round(v * UNITS[i].us);
      if (fabs(all) > 9.2e18) return error_set(e, E_INPUT, "duration too long");
      *us = (int64_t)all;
      return OK;
    }
  }
  return error_set(e, E_INPUT, "expected a duration like 90s, 15min, 48h, 30d, 2w, 6mo or 1y");
}

void time_format(int64_t us, char out[32]) {
  if (us == TIME_STATIC) {
    strcpy(out, "static");
    return;
  }
  int64_t days = time_day(us), of_day = us % TIME_DAY;
  if (of_day < 0) of_day += TIME_DAY;
  int y, m, d, seconds = (int)(of_day / TIME_SECOND), micro = (int)(of_day % TIME_SECOND);
  time_to_civil(days, &y, &m, &d);
  int n = snprintf(out, 32, "%04d-%02d-%02dT%02d:%02d:%02d", y, m, d, seconds / 3600, seconds / 60 % 60, seconds % 60);
  if (micro && n > 0 && n < 32) snprintf(out + n, 32 - (size_t)n, ".%06d", micro);
}

void time_format_date(int64_t us, char out[16]) {
  if (us == TIME_STATIC) {
    strcpy(out, "static");
    return;
  }
  int y, m, d;
  time_to_civil(time_day(us), &y, &m, &d);
  if (y < 0 || y > 9999) {
    snprintf(out, 16, "%04d-%02d-%02d", y, m, d);
    return;
  }
  const int digit[10] = {y / 1000, y / 100 % 10, y / 10 % 10, y % 10, '-' - '0', m / 10, m % 10, '-' - '0', d / 10, d % 10};
  for (int i = 0; i < 10; i++) out[i] = (char)('0' + digit[i]);
  out[10] = 0;
}

void time_format_span(int64_t us, char out[32]) {
  if (us == TIME_STATIC) {
    strcpy(out, "static");
    return;
  }
  const char *sign = us < 0 ? "-" : "";
  int64_t v = us < 0 ? -us : us;
  int64_t d = v / TIME_DAY, h = v / TIME_HOUR % 24, m = v / TIME_MINUTE % 60;
  if (v >= 2 * TIME_YEAR)
    snprintf(out, 32, "%s%.1f y", sign, (double)v / (double)TIME_YEAR);
  else if (d >= 60)
    snprintf(out, 32, "%s%.1f mo", sign, (double)v / (30.4375 * (double)TIME_DAY));
  else if (d && h && d < 14)
    snprintf(out, 32, "%s%d d %d h", sign, (int)d, (int)h);
  else if (d)
    snprintf(out, 32, "%s%d d", sign, (int)d);
  else if (h)
    snprintf(out, 32, m ? "%s%d h %d min" : "%s%d h", sign, (int)h, (int)m);
  else if (m)
    snprintf(out, 32, "%s%d min", sign, (int)m);
  else
    snprintf(out, 32, "%s%.3g s", sign, (double)v / 1e6);
}

static const struct time_pretence nowhere, *pretence = &nowhere;
void time_pretend(const struct time_pretence *p) { __atomic_store_n(&pretence, p ? p : &nowhere, __ATOMIC_RELEASE); }

int64_t time_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  const struct time_pretence *p = __atomic_load_n(&pretence, __ATOMIC_ACQUIRE);
  return (int64_t)t.tv_sec * TIME_SECOND + t.tv_nsec / 1000 + __atomic_load_n(&p->wall, __ATOMIC_RELAXED);
}

double time_cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double time_monotonic(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  const struct time_pretence *p = __atomic_load_n(&pretence, __ATOMIC_ACQUIRE);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9 + (double)__atomic_load_n(&p->steady, __ATOMIC_RELAXED) * 1e-6;
}
