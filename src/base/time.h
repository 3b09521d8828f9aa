/* Time: int64 microseconds since 1970-01-01, proleptic Gregorian, as written on the wall clock of the source unless an
 * offset was written (then both are kept). TIME_STATIC marks facts without a time. */
#ifndef BASE_TIME_H
#define BASE_TIME_H
#include "base/str.h"

#define TIME_STATIC INT64_MIN
#define TIME_SECOND INT64_C(1000000)
#define TIME_MINUTE (60 * TIME_SECOND)
#define TIME_HOUR (60 * TIME_MINUTE)
#define TIME_DAY (24 * TIME_HOUR)
#define TIME_YEAR_DAYS 365.25
#define TIME_YEAR ((int64_t)(TIME_YEAR_DAYS * 86400e6))

enum time_precision {
  TIME_PRECISION_NONE,
  TIME_PRECISION_YEAR,
  TIME_PRECISION_MONTH,
  TIME_PRECISION_DAY,
  TIME_PRECISION_SECOND,
  TIME_PRECISION_FRACTION
};
struct time_parts {
  int year, month, day, hour, minute, second, micro;
  int offset_minutes; /* written UTC offset */
  bool has_offset;
  enum time_precision precision;
};
int64_t time_from_civil(int year, int month, int day); /* days since 1970-01-01 */
void time_to_civil(int64_t days, int *year, int *month, int *day);
static inline int64_t time_day(int64_t us) { return us / TIME_DAY - (us % TIME_DAY < 0); } /* the day it falls on, since 1970-01-01 */
/* FHIR date/dateTime/instant, "YYYY-MM-DD HH:MM:SS[.f]", "YYYYMMDD[HHMM[SS]]". Year 1..9999, real calendar days; E_INPUT otherwise. */
int time_parse(struct str s, struct time_parts *p, int64_t *local_us, struct error *e) MUST_CHECK;
/* "90s" "48h" "30d" "1y" "6mo" (30.4375 d) "2w" "15min", fractions allowed, sign allowed */
int time_parse_duration(struct str s, int64_t *us, struct error *e) MUST_CHECK;
void time_format(int64_t us, char out[32]); /* 2019-03-04T05:06:07[.ffffff]; "static" */
void time_format_date(int64_t us, char out[16]);
void time_format_span(int64_t us, char out[32]); /* for people: "3 d 4 h", "2.1 y" */
int64_t time_now(void);                          /* wall clock, UTC */
double time_monotonic(void);                     /* seconds, for measuring */
double time_cpu(void);                           /* seconds of processor time of all threads of this process */
/* Tests only: from here on time_now is ahead by `wall` microseconds and time_monotonic by `steady`. The caller owns them, may change them
 * at any time by an atomic store, and may have them in memory that it shares with a child process. NULL: no more. */
struct time_pretence {
  int64_t wall, steady;
};
void time_pretend(const struct time_pretence *p);
#endif
