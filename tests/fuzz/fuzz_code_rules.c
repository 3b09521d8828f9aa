/* Codes, units, descriptions and shapes as a sender may write them: the rules read every byte and no more, and what an open
 * source may not say in a unit or a code never holds a control character. */
#include <stdlib.h>

#include "base/file.h"
#include "deid/code_rules.h"

static struct code_rules *rules;

static void check(struct str s) {
  if (code_rules_check(rules, s, true) == CODE_PASSES || code_rules_check(rules, s, false) == CODE_PASSES)
    for (size_t i = 0; i < s.n; i++)
      if (s.p[i] < 32 || s.p[i] > 126) abort();
  if (code_rules_unit(rules, s, true) && (s.n > UNIT_LIMIT || memchr(s.p, '\n', s.n))) abort();
  if (code_rules_display(s) && memchr(s.p, '\n', s.n)) abort();
  (void)code_rules_age(rules, s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!rules && code_rules_load("policy/code-shapes.json", &rules, NULL) < 0) abort();
  char *exact = malloc(size + (size == 0));
  if (!exact) return 0;
  if (size) memcpy(exact, data, size);
  struct str s = {exact, size};
  check(s);
  struct arena a;
  const struct code_shape *shape;
  arena_init(&a, 1 << 20, 0);
  size_t half = size / 2;
  if (code_shape_parse(&a, (struct str){exact, half}, &shape, NULL) == OK)
    (void)code_shape_match(shape, (struct str){exact + half, size - half});
  arena_free(&a);
  free(exact);
  return 0;
}
