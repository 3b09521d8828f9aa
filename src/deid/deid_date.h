/* Private to deid/: dates and ages. Pure functions on local wall-clock microseconds; no time zone ever enters, so a shift by
 * whole days keeps every interval and every time of day exactly, across daylight saving and 29 February alike.
 *
 *     int32_t days;
 *     if (!deid_day(us, &days) || deid_sentinel(pol, days)) drop();
 *     us = deid_date(pol->dates, us, precision, shift_days);
 */
#ifndef DEID_DEID_DATE_H
#define DEID_DEID_DATE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"
#include "deid/deid.h"

#define DEID_DAY_NONE INT32_MIN

/* Days since 1970-01-01 (floor); false outside the years 1..9999. */
bool deid_day(int64_t us, int32_t *days);
bool deid_day_valid(int64_t days);
bool deid_sentinel(const struct deid_policy *p, int32_t days);

/* What becomes of a date: DEID_DATES_KEEP: unchanged. DEID_DATES_SHIFT: moved by whole days; a date of month or year
 * precision is moved from the middle of its span and cut back to the first day of the month or year in which it lands.
 * DEID_DATES_YEAR: 1 January of its year, 00:00. */
int64_t deid_date(enum deid_dates how, int64_t us, enum time_precision precision, int32_t shift_days);

/* Completed years from birth to day (negative before birth). Both in days since 1970. A birth on 29 February completes its
 * year on 1 March of common years. */
int deid_age(int32_t birth, int32_t day);
/* The same, as it can be read from years alone. */
int deid_age_years(int32_t birth, int32_t day);
/* The day `years` years before `day`; 29 February becomes 28 February. */
int32_t deid_years_before(int32_t day, int years);

/* A shift in whole days, uniform over [-max, -1] u [1, max], from 32 random bits; false = draw again (rejection sampling). */
bool deid_shift_from(uint32_t random, int max, int32_t *days);
#endif
