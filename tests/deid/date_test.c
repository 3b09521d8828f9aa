/* Dates: whole-day shifts keep every interval and time of day; coarse dates stay coarse; ages by the calendar. */
#include "deid_helper.h"

#include "base/random.h"
#include "deid/deid_date.h"

static int64_t random_time(struct rng *r) {
  int64_t day = time_from_civil(1910, 1, 1) + rng_below(r, 200 * 365);
  return day * TIME_DAY + (int64_t)(rng_uniform(r) * 86400e6);
}

static void shift_keeps_intervals_order_and_time_of_day(void **state UNUSED) {
  struct rng r;
  rng_init(&r, 7, 1);
  for (int i = 0; i < 200000; i++) {
    int32_t shift;
    while (!deid_shift_from(rng_u32(&r), 365, &shift)) {}
    int64_t a = random_time(&r), b = random_time(&r);
    int64_t sa = deid_date(DEID_DATES_SHIFT, a, TIME_PRECISION_SECOND, shift),
            sb = deid_date(DEID_DATES_SHIFT, b, TIME_PRECISION_FRACTION, shift);
    assert_true(sb - sa == b - a);
    assert_true((sa < sb) == (a < b));
    assert_true(((sa % TIME_DAY) + TIME_DAY) % TIME_DAY == ((a % TIME_DAY) + TIME_DAY) % TIME_DAY);
    assert_true(sa != a);
  }
}

static void shift_is_uniform_and_never_zero(void **state UNUSED) {
  struct rng r;
  uint32_t seen[2 * 10 + 1] = {0};
  rng_init(&r, 8, 1);
  int n = 0;
  while (n < 200000) {
    int32_t s;
    if (!deid_shift_from(rng_u32(&r), 10, &s)) continue;
    assert_in_range(s + 10, 0, 20);
    seen[s + 10]++;
    n++;
  }
  assert_int_equal(seen[10], 0);
  double chi = 0, expected = n / 20.0;
  for (int i = 0; i <= 20; i++)
    if (i != 10) chi += (seen[i] - expected) * (seen[i] - expected) / expected;
  assert_true(chi < 50); /* 19 degrees of freedom: 43.8 at p = 0.001 */
  int32_t s;
  assert_true(deid_shift_from(0, 365, &s) && s == -365);
  assert_true(deid_shift_from(729, 365, &s) && s == 365);
  assert_false(deid_shift_from(UINT32_MAX, 365, &s)); /* 2^32 is no multiple of 730: the tail is drawn again */
}

static void daylight_saving_and_leap_days_do_not_matter(void **state UNUSED) {
  /* 2021-03-28 02:30 does not exist in Berlin, 2021-10-31 02:30 exists twice: as wall time both are just times */
  struct record_time a = at("2021-03-27T02:30:00+01:00"), b = at("2021-03-28T02:30:00+02:00");
  for (int32_t s = -365; s <= 365; s++) {
    int64_t x = deid_date(DEID_DATES_SHIFT, a.us, a.precision, s), y = deid_date(DEID_DATES_SHIFT, b.us, b.precision, s);
    assert_true(y - x == TIME_DAY);
  }
  int64_t leap = at("2020-02-29").us, next = at("2020-03-01").us;
  assert_true(deid_date(DEID_DATES_SHIFT, next, TIME_PRECISION_DAY, 365) - deid_date(DEID_DATES_SHIFT, leap, TIME_PRECISION_DAY, 365) ==
              TIME_DAY);
  char text[16];
  time_format_date(deid_date(DEID_DATES_SHIFT, leap, TIME_PRECISION_DAY, 366), text);
  assert_string_equal(text, "2021-03-01");
}

static void coarse_dates_stay_coarse(void **state UNUSED) {
  struct record_time y = at("2019"), m = at("2019-04");
  assert_int_equal(y.precision, TIME_PRECISION_YEAR);
  for (int32_t s = -3000; s <= 3000; s += 7) {
    int yy, mm, dd;
    time_to_civil(deid_date(DEID_DATES_SHIFT, y.us, y.precision, s) / TIME_DAY, &yy, &mm, &dd);
    assert_true(mm == 1 && dd == 1);
    int64_t us = deid_date(DEID_DATES_SHIFT, m.us, m.precision, s);
    time_to_civil(us / TIME_DAY, &yy, &mm, &dd);
    assert_true(dd == 1 && us % TIME_DAY == 0);
    assert_true(llabs(us / TIME_DAY - (m.us / TIME_DAY + s)) <= 17);
  }
}

static void year_policy_gives_first_of_january(void **state UNUSED) {
  struct rng r;
  rng_init(&r, 9, 1);
  for (int i = 0; i < 50000; i++) {
    int64_t t = random_time(&r), u = deid_date(DEID_DATES_YEAR, t, TIME_PRECISION_SECOND, 0);
    int y0, m0, d0, y1, m1, d1;
    int32_t day;
    assert_true(deid_day(t, &day));
    time_to_civil(day, &y0, &m0, &d0);
    time_to_civil(u / TIME_DAY - (u % TIME_DAY < 0), &y1, &m1, &d1);
    assert_true(u % TIME_DAY == 0 && y0 == y1 && m1 == 1 && d1 == 1);
    assert_true(deid_date(DEID_DATES_KEEP, t, TIME_PRECISION_SECOND, 5) == t);
  }
}

static void ages(void **state UNUSED) {
  int32_t b = (int32_t)time_from_civil(1930, 6, 15), leap = (int32_t)time_from_civil(1932, 2, 29);
  assert_int_equal(deid_age(b, (int32_t)time_from_civil(2020, 6, 14)), 89);
  assert_int_equal(deid_age(b, (int32_t)time_from_civil(2020, 6, 15)), 90);
  assert_int_equal(deid_age_years(b, (int32_t)time_from_civil(2020, 1, 1)), 90);
  assert_int_equal(deid_age(leap, (int32_t)time_from_civil(2021, 2, 28)), 88);
  assert_int_equal(deid_age(leap, (int32_t)time_from_civil(2021, 3, 1)), 89);
  assert_int_equal(deid_age(b, (int32_t)time_from_civil(1930, 6, 14)), -1);
  for (int32_t d = (int32_t)time_from_civil(1999, 1, 1); d < (int32_t)time_from_civil(2025, 1, 1); d++)
    assert_int_equal(deid_age(deid_years_before(d, 90), d), 90);
}

static void calendar_limits(void **state UNUSED) {
  int32_t d;
  assert_true(deid_day(at("0001-01-01").us, &d));
  assert_true(deid_day(at("9999-12-31T23:59:59").us, &d));
  assert_false(deid_day(at("9999-12-31T23:59:59").us + TIME_SECOND, &d));
  assert_false(deid_day(at("0001-01-01").us - 1, &d));
  assert_false(deid_day(INT64_MAX, &d));
  assert_false(deid_day(INT64_MIN + 1, &d));
  assert_true(deid_day(-1, &d) && d == -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shift_keeps_intervals_order_and_time_of_day),
      cmocka_unit_test(shift_is_uniform_and_never_zero),
      cmocka_unit_test(daylight_saving_and_leap_days_do_not_matter),
      cmocka_unit_test(coarse_dates_stay_coarse),
      cmocka_unit_test(year_policy_gives_first_of_january),
      cmocka_unit_test(ages),
      cmocka_unit_test(calendar_limits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
