/* Calculator files: whatever parses must run on any numbers. */
#include <stdint.h>

#include "reason/calculator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct calculator *c;
  if (calculator_parse(STR("fuzz"), (const char *)data, size, size, &c, NULL) < 0) return 0;
  struct calculator_value in[CALCULATOR_INPUTS];
  struct calculator_answer r;
  calculator_none(c, in);
  if (calculator_run(c, in, &r, NULL) < 0) r.value = 0;
  for (int i = 0; i < calculator_inputs(c); i++) {
    if (calculator_set(c, in, str_c(calculator_input(c, i)->name), STR("1 mg/dL"), NULL) < 0) in[i].x = i * 7.5 - 3;
  }
  if (calculator_run(c, in, &r, NULL) < 0) r.value = 0;
  calculator_free(c);
  return 0;
}
