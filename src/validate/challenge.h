/* Scores of published challenges and of time-to-event studies, exact; pure functions.
 *
 *     double tau = challenge_threshold(p, y, n);                // on tuning patients
 *     double s = challenge_event1(p, y, n, tau);                // on held-out ones
 *
 * Event 1 and Event 2 of PhysioNet/CinC 2012 (Silva et al. 2012): min(sensitivity, positive predictive value) at a threshold that the
 * entrant chose; and the Hosmer-Lemeshow H over ten groups of equal size by predicted risk, sum of (O - E)^2 / (N p (1 - p) + 0.001) with p
 * the group's mean risk, divided by the last group's mean risk less the first's. Lower is better.
 * Utility of PhysioNet/CinC 2019 (Reyna et al. 2020): an alarm earns most six hours before onset, nothing earlier than twelve and later than
 * three hours after; a missed hour costs up to 2, a false alarm 0.05; normalised so that never alarming is 0 and the best alarms are 1.
 * Concordance (Harrell et al. 1982): of the pairs whose order of events is known, how many the risks order alike; ties of risk count half.
 * NaN where a score cannot be formed.
 */
#ifndef VALIDATE_CHALLENGE_H
#define VALIDATE_CHALLENGE_H
#include <stdint.h>

double challenge_event1(const double *p, const uint8_t *y, uint32_t n, double threshold);
/* The threshold that answers yes as often as there are cases: there sensitivity equals positive predictive value. */
double challenge_threshold(const double *p, const uint8_t *y, uint32_t n);
double challenge_h(const double *p, const uint8_t *y, uint32_t n);

struct utility { /* summed over stays */
  double observed, best, inaction;
};
/* One stay of n hourly rows; onset: the row of clinical onset (six rows after the first positive label; may lie behind the last row),
 * INT32_MAX = none. Adds to u. alarm[i]: 0 or 1. */
void challenge_utility(const uint8_t *alarm, int n, int onset, struct utility *u);
double challenge_utility_normalised(const struct utility *u);

double challenge_concordance(const double *risk, const double *time, const uint8_t *event, uint32_t n);
#endif
