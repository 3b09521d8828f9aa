#include "deid/deid_date.h"

/* 0001-01-01 and 9999-12-31 as days since 1970 */
enum { FIRST_DAY = -719162, LAST_DAY = 2932896 };

bool deid_day_valid(int64_t days) { return days >= FIRST_DAY && days <= LAST_DAY; }

bool deid_day(int64_t us, int32_t *days) {
  int64_t d = time_day(us);
  if (!deid_day_valid(d)) return false;
  *days = (int32_t)d;
  return true;
}

bool deid_sentinel(const struct deid_policy *p, int32_t days) {
  for (int i = 0; i < p->sentinel_n; i++)
    if (p->sentinel[i] == days) return true;
  return false;
}

static int64_t cut(int64_t days, enum time_precision precision) {
  int y, m, d;
  time_to_civil(days, &y, &m, &d);
  return time_from_civil(y, precision == TIME_PRECISION_YEAR ? 1 : m, 1);
}

int64_t deid_date(enum deid_dates how, int64_t us, enum time_precision precision, int32_t shift_days) {
  if (how == DEID_DATES_KEEP) return us;
  int32_t day;
  if (!deid_day(us, &day)) BUG("date outside the calendar reached the shift");
  if (how == DEID_DATES_YEAR) return cut(day, TIME_PRECISION_YEAR) * TIME_DAY;
  if (precision == TIME_PRECISION_YEAR) return cut(cut(day, precision) + 182 + shift_days, precision) * TIME_DAY;
  if (precision == TIME_PRECISION_MONTH) return cut(cut(day, precision) + 14 + shift_days, precision) * TIME_DAY;
  return us + shift_days * TIME_DAY;
}

int deid_age(int32_t birth, int32_t day) {
  int y0, m0, d0, y1, m1, d1;
  time_to_civil(birth, &y0, &m0, &d0);
  time_to_civil(day, &y1, &m1, &d1);
  return y1 - y0 - (m1 < m0 || (m1 == m0 && d1 < d0));
}

int deid_age_years(int32_t birth, int32_t day) {
  int y0, y1, m, d;
  time_to_civil(birth, &y0, &m, &d);
  time_to_civil(day, &y1, &m, &d);
  return y1 - y0;
}

int32_t deid_years_before(int32_t day, int years) {
  int y, m, d;
  time_to_civil(day, &y, &m, &d);
  y -= years;
  bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
  if (m == 2 && d == 29 && !leap) d = 28;
  return (int32_t)time_from_civil(y, m, d);
}

bool deid_shift_from(uint32_t random, int max, int32_t *days) {
  uint32_t span = 2 * (uint32_t)max, reject = UINT32_MAX - UINT32_MAX % span;
  if (random >= reject) return false;
  int32_t v = (int32_t)(random % span);
  *days = v < max ? v - max : v - max + 1;
  return true;
}
