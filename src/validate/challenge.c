#include "validate/challenge.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/arena.h"

struct scored_row {
  double p;
  uint32_t i;
};

static int rising(const void *x, const void *y) {
  const struct scored_row *a = x, *b = y;
  if (a->p != b->p) return a->p < b->p ? -1 : 1;
  return a->i < b->i ? -1 : a->i > b->i;
}

static struct scored_row *sorted(const double *p, uint32_t n) {
  struct scored_row *r = mem_alloc(((size_t)n + 1) * sizeof *r);
  for (uint32_t i = 0; r && i < n; i++) r[i] = (struct scored_row){p[i], i};
  if (r) qsort(r, n, sizeof *r, rising);
  return r;
}

double challenge_event1(const double *p, const uint8_t *y, uint32_t n, double threshold) {
  double hit = 0, said = 0, cases = 0;
  for (uint32_t i = 0; i < n; i++) {
    bool yes = p[i] >= threshold;
    said += yes, cases += y[i] != 0, hit += yes && y[i];
  }
  return cases > 0 ? said > 0 ? fmin(hit / cases, hit / said) : 0 : NAN;
}

double challenge_threshold(const double *p, const uint8_t *y, uint32_t n) {
  double at = NAN;
  uint32_t cases = 0;
  for (uint32_t i = 0; i < n; i++) cases += y[i] != 0;
  struct scored_row *r = sorted(p, n);
  if (r && cases && cases < n) at = 0.5 * (r[n - cases].p + r[n - cases - 1].p);
  mem_free(r);
  return at;
}

#define GROUPS 10
double challenge_h(const double *p, const uint8_t *y, uint32_t n) {
  struct scored_row *r = sorted(p, n);
  double h = 0, mean[GROUPS] = {0};
  if (!r || n < GROUPS) return mem_free(r), NAN;
  for (uint32_t g = 0; g < GROUPS; g++) {
    uint32_t from = (uint32_t)((uint64_t)n * g / GROUPS), to = (uint32_t)((uint64_t)n * (g + 1) / GROUPS);
    double expected = 0, seen = 0, size = to - from;
    for (uint32_t i = from; i < to; i++) expected += r[i].p, seen += y[r[i].i] != 0;
    mean[g] = expected / size;
    h += (seen - expected) * (seen - expected) / (size * mean[g] * (1 - mean[g]) + 0.001);
  }
  mem_free(r);
  double range = mean[GROUPS - 1] - mean[0];
  return range > 0 ? h / range : NAN;
}

/* ---- 2019 ---- */

enum { EARLY = -12, OPTIMAL = -6, LATE = 3 };

/* Of an alarm, or of none, `hours` after onset, in a stay with sepsis. */
static double septic_utility(bool alarm, double hours) {
  if (hours > LATE) return 0;
  if (alarm) return hours <= OPTIMAL ? fmax((hours - EARLY) / (OPTIMAL - EARLY), -0.05) : (LATE - hours) / (LATE - OPTIMAL);
  return hours <= OPTIMAL ? 0 : -2 * (hours - OPTIMAL) / (LATE - OPTIMAL);
}

void challenge_utility(const uint8_t *alarm, int n, int onset, struct utility *u) {
  bool septic = onset != INT32_MAX;
  for (int i = 0; i < n; i++) {
    double hours = septic ? i - onset : 0;
    if (!septic) {
      u->observed += alarm[i] ? -0.05 : 0;
      continue;
    }
    u->observed += septic_utility(alarm[i], hours);
    u->inaction += septic_utility(false, hours);
    u->best += septic_utility(hours >= EARLY && hours <= LATE, hours);
  }
}

double challenge_utility_normalised(const struct utility *u) {
  return u->best > u->inaction ? (u->observed - u->inaction) / (u->best - u->inaction) : NAN;
}

/* ---- time to event ---- */

double challenge_concordance(const double *risk, const double *time, const uint8_t *event, uint32_t n) {
  double pairs = 0, alike = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (!event[i]) continue;
    for (uint32_t k = 0; k < n; k++) { /* k is known to come after i: later, or followed up for as long without the event */
      if (k == i || !(time[k] > time[i] || (time[k] == time[i] && !event[k]))) continue;
      pairs++;
      alike += risk[i] > risk[k] ? 1 : risk[i] == risk[k] ? 0.5 : 0;
    }
  }
  return pairs > 0 ? alike / pairs : NAN;
}
