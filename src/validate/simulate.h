/* Patients whose hazards are known: made-up lives from a scenario, with the truth about each of them. docs/simulator.md has the model.
 *
 *     struct scenario *s;  TRY(scenario_load("scenarios/competing.json", &s, e));
 *     struct simulated_life life = {0};
 *     TRY(simulate_life(s, seed, subject, &life, e));       // events in time order, and what is true of this person
 *     for (int k = 0; k < scenario_outcomes(s); k++) use(life.truth.risk[k][h]);
 *     simulated_life_release(&life);  scenario_free(s);
 *
 * Or all at once: simulate_write makes DIR/meds/events.csv (MEDS columns, read by `vitae ingest --from meds`), DIR/truth.csv,
 * DIR/tasks/NAME.json and DIR/scenario.json.
 *
 * A life: visits before an index moment, the index itself (code SIM//INDEX), outcomes and follow-up visits after it. From the index on
 * every outcome has a piecewise-constant hazard times exp(log hazard ratios of what the person is): sex, age, recorded factors, markers,
 * treatments. Outcomes that end a life (MEDS_DEATH) compete with the others. Two risks are computed, in closed form: `full` knows each
 * marker, `risk` only what the record holds at the index; where a marker was not measured it is integrated over its posterior given the
 * earlier readings, the fact that nobody measured it, and the treatments that were chosen. No predictor that reads records can
 * discriminate better than `risk`: it is the ceiling. The same seed and subject give the same life (Philox).
 */
#ifndef VALIDATE_SIMULATE_H
#define VALIDATE_SIMULATE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define SIMULATE_OUTCOMES 8
#define SIMULATE_HORIZONS 16
struct scenario;
int scenario_load(const char *path, struct scenario **out, struct error *e) MUST_CHECK;
int scenario_parse(const char *bytes, size_t n, struct scenario **out, struct error *e) MUST_CHECK; /* pure */
void scenario_free(struct scenario *s);
const char *scenario_name(const struct scenario *s);
const char *scenario_text(const struct scenario *s); /* the file's bytes */
int scenario_outcomes(const struct scenario *s);
const char *scenario_outcome(const struct scenario *s, int k); /* its code */
bool scenario_ends_life(const struct scenario *s, int k);
int scenario_horizons(const struct scenario *s);
double scenario_horizon(const struct scenario *s, int h); /* days after the index, ascending */
bool scenario_has_treatment(const struct scenario *s);
/* The task of outcome k within horizon h, as a task file's text (docs/task.md). */
void scenario_task(const struct scenario *s, int k, int h, struct buf *json);

struct simulated_event {
  int64_t time;     /* us, TIME_STATIC for facts */
  const char *code; /* of the scenario */
  double value;     /* NaN = none */
  const char *unit; /* or NULL */
};
struct simulated_truth {
  int64_t index;                                               /* the moment */
  double happened[SIMULATE_OUTCOMES];                          /* days after the index, INFINITY = never; knows no censoring */
  double risk[SIMULATE_OUTCOMES][SIMULATE_HORIZONS];           /* given the record at the index */
  double full[SIMULATE_OUTCOMES][SIMULATE_HORIZONS];           /* given the person */
  double without[SIMULATE_OUTCOMES][SIMULATE_HORIZONS];        /* `risk` had the first treatment been withheld from everybody (NaN: none) */
  double with_treatment[SIMULATE_OUTCOMES][SIMULATE_HORIZONS]; /* and had everybody been given it */
  bool treated;
};
struct simulated_life {
  struct simulated_event *event;
  int n, cap;
  struct simulated_truth truth;
};
int simulate_life(const struct scenario *s, uint64_t seed, uint64_t subject, struct simulated_life *life, struct error *e) MUST_CHECK;
void simulated_life_release(struct simulated_life *life);

/* Subjects 1..n into a new directory. `progress` may be NULL. */
struct simulate_counts {
  uint64_t events, outcomes[SIMULATE_OUTCOMES]; /* that stand in the records */
};
int simulate_write(const struct scenario *s, const char *dir, uint64_t n, uint64_t seed, struct simulate_counts *out,
                   struct error *e) MUST_CHECK;
#endif
