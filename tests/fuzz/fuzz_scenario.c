/* Scenario files: whatever parses must make a life in time order with risks between 0 and 1. */
#include <math.h>
#include <stdlib.h>

#include "validate/simulate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct scenario *s;
  struct simulated_life life = {0};
  if (scenario_parse((const char *)data, size, &s, NULL) < 0) return 0;
  for (uint64_t i = 0; i < 2; i++) {
    if (simulate_life(s, 1, i, &life, NULL) < 0) abort();
    for (int k = 1; k < life.n; k++) BUG_IF(life.event[k].time < life.event[k - 1].time);
    for (int k = 0; k < scenario_outcomes(s); k++)
      for (int h = 0; h < scenario_horizons(s); h++) BUG_IF(life.truth.full[k][h] < 0 || life.truth.full[k][h] > 1 + 1e-9);
  }
  simulated_life_release(&life);
  scenario_free(s);
  return 0;
}
