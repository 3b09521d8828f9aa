/* What a position knows about time. Every feature is a pure function of the life up to the position (nothing about the
 * store around it), so a request's one patient gets the same numbers as the same patient in a store of millions.
 *
 *  0 static facts     1 the moment asked about (no events)     2 birth known     3 time of day known
 *  4 age / 100        5..14 sin, cos of age with periods 120, 60, 30, 15, 7.5 years
 * 15 log1p hours since the instant before / 10      16 log1p hours since the first event / 10
 * 17, 18 sin, cos of the hour of day                19 same instant as the position before
 * 20 first instant   21 gap days / (1 + gap days)   22 days since first / (30 + days since first)
 * 23 log1p events at this position / 5
 * An event exactly at midnight has no time of day (dates without a time are stored so). */
#include <math.h>

#include "token/token_private.h"

#define LONGEST_PERIOD 120.0 /* years */

static void age_waves(double age, float *out) {
  double angle = 2.0 * M_PI / LONGEST_PERIOD * age, s = sin(angle), c = cos(angle);
  for (int k = 0; k < 5; k++) {
    out[2 * k] = (float)s;
    out[2 * k + 1] = (float)c;
    double s2 = 2.0 * s * c;
    c = 1.0 - 2.0 * s * s;
    s = s2;
  }
}

static double span_days(int64_t from, int64_t to) { return to > from ? ((double)to - (double)from) / (double)TIME_DAY : 0.0; }

void token_time_features(const struct token_moment *m, float out[TOKEN_TIME_FEATURES], float *age_years, float *rope_time) {
  double age = m->has_age ? ((double)m->time - (double)m->birth) / (double)TIME_YEAR : 0.0;
  age = age < -1.0 ? -1.0 : age > 150.0 ? 150.0 : age;
  double gap = span_days(m->previous, m->time), since = span_days(m->first, m->time);
  int64_t of_day = m->time % TIME_DAY;
  if (of_day < 0) of_day += TIME_DAY;
  bool clock = of_day != 0 && !m->is_static;
  double hour_angle = 2.0 * M_PI * (double)of_day / (double)TIME_DAY;
  out[0] = m->is_static;
  out[1] = m->is_moment;
  out[2] = m->has_age;
  out[3] = clock;
  out[4] = (float)(age / 100.0);
  if (m->has_age)
    age_waves(age, out + 5);
  else
    memset(out + 5, 0, 10 * sizeof *out);
  float since_log = log1pf((float)(since * 24.0));
  out[15] = log1pf((float)(gap * 24.0)) * 0.1f;
  out[16] = since_log * 0.1f;
  out[17] = clock ? sinf((float)hour_angle) : 0.0f;
  out[18] = clock ? cosf((float)hour_angle) : 0.0f;
  out[19] = !m->is_static && m->time == m->previous && m->time != m->first;
  out[20] = !m->is_static && m->time == m->first;
  out[21] = (float)(gap / (1.0 + gap));
  out[22] = (float)(since / (30.0 + since));
  out[23] = log1pf((float)m->events) * 0.2f;
  *age_years = (float)age;
  *rope_time = since_log;
}
