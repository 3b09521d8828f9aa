/* A scenario in memory: shared by simulate_scenario.c (reads it) and simulate.c (lives by it). */
#ifndef VALIDATE_SIMULATE_PRIVATE_H
#define VALIDATE_SIMULATE_PRIVATE_H
#include "base/arena.h"
#include "validate/simulate.h"

#define SIM_FACTORS 16
#define SIM_MARKERS 6
#define SIM_TREATMENTS 3
#define SIM_NOISE 24
#define SIM_TERMS 24
#define SIM_EDGES 24
#define SIM_GRID 256
enum { SIM_FEMALE, SIM_AGE, SIM_FIRST_FACTOR }; /* what a person is: a row of numbers; factors, markers, treatments follow */
#define SIM_COVARIATES (SIM_FIRST_FACTOR + SIM_FACTORS + SIM_MARKERS + SIM_TREATMENTS)

struct sim_term { /* weight * x[a] (* x[b]) */
  int a, b;       /* b = -1: alone */
  double weight;
};
struct sim_sum {
  struct sim_term term[SIM_TERMS];
  int n;
};
struct sim_code {
  const char *code;
  double share;
};
struct sim_marker {
  const char *code, *unit;
  double mean, sd, memory; /* an earlier reading: memory * today's + sqrt(1 - memory^2) * chance, in standard deviations */
  double measured;         /* share measured at the index, of those with an average value */
  double measured_slope;   /* log odds a standard deviation: informative missingness */
  double at_visits;        /* share measured at any other visit */
};
struct sim_treatment {
  const char *code;
  double share;
  struct sim_sum sum; /* log odds: confounding by indication */
};
struct sim_outcome {
  const char *code;
  double edge[SIM_EDGES]; /* days; edge[0] = 0; the last rate goes on */
  double rate[SIM_EDGES]; /* per day */
  int edges;
  bool ends;
  struct sim_sum sum;
  double grid_rate[SIM_GRID]; /* per day in each stretch of the common grid */
};
struct scenario {
  struct arena arena;
  const char *name, *text;
  double female, age_mean, age_sd, age_least, age_most;
  double visits, visit_days, follow_days, follow_most, resolution_days;
  const char *end_code; /* NULL: the record just stops */
  struct sim_code factor[SIM_FACTORS], noise[SIM_NOISE];
  struct sim_marker marker[SIM_MARKERS];
  struct sim_treatment treatment[SIM_TREATMENTS];
  struct sim_outcome outcome[SIMULATE_OUTCOMES];
  double censor_rate; /* per day */
  struct sim_sum censor;
  int factors, noises, markers, treatments, outcomes;
  double horizon[SIMULATE_HORIZONS];
  int horizons;
  double grid[SIM_GRID]; /* where any rate changes or a horizon lies; grid[0] = 0 */
  int grids;
};
static inline int sim_marker_at(const struct scenario *s, int m) { return SIM_FIRST_FACTOR + s->factors + m; }
static inline int sim_treatment_at(const struct scenario *s, int t) { return SIM_FIRST_FACTOR + s->factors + s->markers + t; }
#endif
