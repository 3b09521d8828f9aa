#include "helpers.h"

#include <math.h>
#include <time.h>

#include "base/random.h"
#include "base/time.h"

static int64_t at(const char *s, struct time_parts *p) {
  int64_t us = -1;
  struct error e = {0};
  if (time_parse(str_c(s), p, &us, &e) != OK) fail_msg("refused %s", s);
  return us;
}
static int64_t us_of(int y, int m, int d, int64_t of_day) { return time_from_civil(y, m, d) * TIME_DAY + of_day; }

TEST(civil_days) {
  assert_int_equal(time_from_civil(1970, 1, 1), 0);
  assert_int_equal(time_from_civil(1969, 12, 31), -1);
  assert_int_equal(time_from_civil(2000, 3, 1), 11017);
  assert_int_equal(time_from_civil(1, 1, 1), -719162);
  assert_int_equal(time_from_civil(9999, 12, 31), 2932896);
  int y = 1, m = 1, d = 1;
  static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  for (int64_t day = -719162; day <= 2932896; day++) { /* every day of every year, against counting by hand */
    int yy, mm, dd;
    time_to_civil(day, &yy, &mm, &dd);
    if (yy != y || mm != m || dd != d || time_from_civil(y, m, d) != day) fail_msg("day %lld", (long long)day);
    int last = DAYS[m - 1] + (m == 2 && ((y % 4 == 0 && y % 100) || y % 400 == 0));
    if (++d > last) d = 1, m++;
    if (m > 12) m = 1, y++;
  }
}

TEST(accepted_forms) {
  struct time_parts p;
  assert_int_equal(at("2019", &p), us_of(2019, 1, 1, 0));
  assert_int_equal(p.precision, TIME_PRECISION_YEAR);
  assert_int_equal(at("2019-03", &p), us_of(2019, 3, 1, 0));
  assert_int_equal(p.precision, TIME_PRECISION_MONTH);
  assert_int_equal(at("2019-03-04", &p), us_of(2019, 3, 4, 0));
  assert_int_equal(p.precision, TIME_PRECISION_DAY);
  int64_t clock = 5 * TIME_HOUR + 6 * TIME_MINUTE + 7 * TIME_SECOND;
  assert_int_equal(at("2019-03-04T05:06:07", &p), us_of(2019, 3, 4, clock));
  assert_int_equal(p.precision, TIME_PRECISION_SECOND);
  assert_false(p.has_offset);
  assert_int_equal(at("2019-03-04 05:06:07", &p), us_of(2019, 3, 4, clock));
  assert_int_equal(at("2019-03-04 05:06", &p), us_of(2019, 3, 4, clock - 7 * TIME_SECOND));
  assert_int_equal(at("2019-03-04T05:06:07.5Z", &p), us_of(2019, 3, 4, clock + 500000));
  assert_int_equal(p.precision, TIME_PRECISION_FRACTION);
  assert_true(p.has_offset);
  assert_int_equal(p.offset_minutes, 0);
  assert_int_equal(at("2019-03-04T05:06:07.1234567891+02:30", &p), us_of(2019, 3, 4, clock + 123456));
  assert_int_equal(p.offset_minutes, 150);
  assert_int_equal(at("2019-03-04T05:06:07-0500", &p), us_of(2019, 3, 4, clock)); /* the wall clock stays */
  assert_int_equal(p.offset_minutes, -300);
  assert_int_equal(at("20190304", &p), us_of(2019, 3, 4, 0));
  assert_int_equal(at("201903040506", &p), us_of(2019, 3, 4, clock - 7 * TIME_SECOND));
  assert_int_equal(at("20190304050607", &p), us_of(2019, 3, 4, clock));
  assert_int_equal(at("20190304050607.25+0100", &p), us_of(2019, 3, 4, clock + 250000));
  assert_int_equal(p.offset_minutes, 60);
  assert_int_equal(at("2016-12-31T23:59:60Z", &p), us_of(2017, 1, 1, 0)); /* a leap second */
  assert_int_equal(at("2000-02-29", &p), us_of(2000, 2, 29, 0));
  assert_int_equal(at("0001-01-01", &p), us_of(1, 1, 1, 0));
  assert_int_equal(at("9999-12-31T23:59:59.999999", &p), us_of(9999, 12, 31, TIME_DAY - 1));
}

TEST(refused_forms) {
  static const char *const BAD[] = {"",
                                    "2",
                                    "201",
                                    "0000",
                                    "0000-01-01",
                                    "2019-",
                                    "2019-3",
                                    "2019-13",
                                    "2019-00",
                                    "2019-03-",
                                    "2019-03-4",
                                    "2019-03-00",
                                    "2019-03-32",
                                    "2019-02-29",
                                    "1900-02-29",
                                    "2100-02-29",
                                    "2019-04-31",
                                    "2019-03-04T",
                                    "2019-03-04T5:06",
                                    "2019-03-04T24:00:00",
                                    "2019-03-04T05:60",
                                    "2019-03-04T05:06:61",
                                    "2019-03-04T05:06:07.",
                                    "2019-03-04T05:06:07,5",
                                    "2019-03-04T05:06:07+15:00",
                                    "2019-03-04T05:06:07+14:01",
                                    "2019-03-04T05:06:07+1",
                                    "2019-03-04T05:06:07ZZ",
                                    "2019-03-04Z",
                                    " 2019",
                                    "2019 ",
                                    "20190304T0506",
                                    "201903",
                                    "2019030",
                                    "201903040",
                                    "2019030405",
                                    "20190304056",
                                    "04/03/2019",
                                    "2019/03/04",
                                    "-2019",
                                    "+2019",
                                    "12019-03-04",
                                    "2019-03-04T05:06:07\n",
                                    "2019-W10",
                                    "now",
                                    "\xD9\xA2-019"};
  struct time_parts p;
  int64_t us;
  struct error e = {0};
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
    if (time_parse(str_c(BAD[i]), &p, &us, &e) != E_INPUT) fail_msg("accepted \"%s\"", BAD[i]);
  assert_null(strstr(e.message, "019")); /* no value in a message */
  assert_int_equal(time_parse(STR("2019-03-04\0"), &p, &us, NULL), E_INPUT);
  assert_int_equal(time_parse(STR_NONE, &p, &us, NULL), E_INPUT);
}

TEST(random_times_come_back) {
  struct rng r;
  rng_init(&r, 8, 0);
  int64_t from = us_of(1, 1, 1, 0), to = us_of(10000, 1, 1, 0);
  for (int i = 0; i < 100000; i++) {
    int64_t us = from + (int64_t)(rng_uniform(&r) * (double)(to - from));
    if (i % 2) us -= us % TIME_SECOND; /* towards 1970: stays inside */
    char text[32], date[16];
    struct time_parts p;
    time_format(us, text);
    assert_int_equal(at(text, &p), us);
    time_format_date(us, date);
    assert_int_equal(strncmp(date, text, 10), 0);
    int64_t days = us >= 0 ? us / TIME_DAY : -((TIME_DAY - 1 - us) / TIME_DAY);
    assert_int_equal(at(date, &p), days * TIME_DAY);
  }
}

TEST(agrees_with_the_system_calendar) {
  struct rng r;
  rng_init(&r, 9, 0);
  for (int i = 0; i < 20000; i++) {
    time_t t = (time_t)(rng_uniform(&r) * 8e9) - 4000000000;
    struct tm tm;
    char want[40], got[32];
    strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
    time_format((int64_t)t * TIME_SECOND, got);
    assert_string_equal(got, want);
  }
}

TEST(formats) {
  char out[32], date[16];
  time_format(TIME_STATIC, out);
  assert_string_equal(out, "static");
  time_format_date(TIME_STATIC, date);
  assert_string_equal(date, "static");
  time_format(-1, out);
  assert_string_equal(out, "1969-12-31T23:59:59.999999");
  time_format(INT64_MAX, out);
  time_format(INT64_MIN + 1, out);
  time_format_date(INT64_MAX, date);
  static const struct {
    int64_t us;
    const char *want;
  } SPANS[] = {{0, "0 s"},
               {1500000, "1.5 s"},
               {90 * TIME_SECOND, "1 min"},
               {3 * TIME_HOUR, "3 h"},
               {3 * TIME_HOUR + 5 * TIME_MINUTE, "3 h 5 min"},
               {3 * TIME_DAY + 4 * TIME_HOUR, "3 d 4 h"},
               {3 * TIME_DAY, "3 d"},
               {30 * TIME_DAY, "30 d"},
               {100 * TIME_DAY, "3.3 mo"},
               {-3 * TIME_DAY, "-3 d"},
               {5 * TIME_YEAR, "5.0 y"}};
  for (size_t i = 0; i < sizeof SPANS / sizeof *SPANS; i++) {
    time_format_span(SPANS[i].us, out);
    assert_string_equal(out, SPANS[i].want);
  }
  time_format_span(INT64_MIN, out);
  time_format_span(INT64_MAX, out);
}

TEST(durations) {
  static const struct {
    const char *s;
    int64_t us;
  } GOOD[] = {{"90s", 90 * TIME_SECOND},
              {"48h", 48 * TIME_HOUR},
              {"30d", 30 * TIME_DAY},
              {"1y", TIME_YEAR},
              {"6mo", 6 * (int64_t)(30.4375 * 86400e6)},
              {"2w", 14 * TIME_DAY},
              {"15min", 15 * TIME_MINUTE},
              {"-1.5h", -90 * TIME_MINUTE},
              {"+2 d", 2 * TIME_DAY},
              {"0s", 0},
              {".5d", 12 * TIME_HOUR},
              {"250ms", 250000}};
  static const char *const BAD[] = {"", "d", "30", "30 x", "1y6mo", "1e3s", "nan d", "30D", "m", "5m", "999999999y", "--1d"};
  int64_t us;
  for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
    assert_int_equal(time_parse_duration(str_c(GOOD[i].s), &us, NULL), OK);
    assert_int_equal(us, GOOD[i].us);
  }
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
    if (time_parse_duration(str_c(BAD[i]), &us, NULL) != E_INPUT) fail_msg("accepted \"%s\"", BAD[i]);
}

TEST(clocks) {
  assert_true(time_now() > us_of(2020, 1, 1, 0));
  double a = time_monotonic();
  assert_true(time_monotonic() >= a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(civil_days),
      cmocka_unit_test(accepted_forms),
      cmocka_unit_test(refused_forms),
      cmocka_unit_test(random_times_come_back),
      cmocka_unit_test(agrees_with_the_system_calendar),
      cmocka_unit_test(formats),
      cmocka_unit_test(durations),
      cmocka_unit_test(clocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
