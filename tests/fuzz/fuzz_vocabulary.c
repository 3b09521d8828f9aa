/* vocabulary.json and a task head's feature list: refused, or a vocabulary whose invariants hold and a list that writes back to itself. */
#include <math.h>

#include "base/file.h"
#include "fuzz/input.h"
#include "token/token.h"

static void check_vocabulary(const struct vocabulary *v) {
  uint32_t rows = vocabulary_codes(v), outcomes = 0, id;
  for (uint32_t i = 0; i < vocabulary_codes(v); i++) {
    const struct vocabulary_entry *n = vocabulary_at(v, i);
    BUG_IF(n->knot_row != rows || n->knots < 0 || n->knots == 1 || n->knots > TOKEN_KNOTS);
    rows += (uint32_t)n->knots;
    BUG_IF(i && (!vocabulary_find(v, n->code, &id) || id != i));
    if (n->outcome >= 0) {
      BUG_IF(vocabulary_outcome_code(v, (uint32_t)n->outcome) != i);
      outcomes++;
    }
    for (int k = 0; k < n->knots; k++) {
      int lower;
      float fraction;
      token_knot(n, n->knot[k], &lower, &fraction);
      BUG_IF(lower < 0 || lower > n->knots - 2 || !(fraction >= 0 && fraction <= 1));
      BUG_IF(token_knot_value(n, (float)k) != n->knot[k]);
    }
  }
  BUG_IF(rows != vocabulary_rows(v) || outcomes != vocabulary_outcomes(v) || vocabulary_death(v) >= vocabulary_codes(v));
  BUG_IF(!(vocabulary_instant_events(v) >= 1));
}

static void check_features(const struct feature_set *f) {
  struct buf once = {0}, twice = {0};
  struct feature_set *g = NULL;
  if (feature_set_write(f, &once, NULL) < 0 || feature_set_read((struct str){once.p, once.n}, &g, NULL) < 0)
    BUG("what was written does not read");
  if (feature_set_write(g, &twice, NULL) < 0) BUG("no memory");
  BUG_IF(once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0);
  buf_clear(&twice);
  feature_name(g, feature_count(g) - 1, &twice);
  feature_set_free(g);
  buf_release(&once);
  buf_release(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct vocabulary *v = NULL;
  struct feature_set *f = NULL;
  if (vocabulary_load(fuzz_input(data, size), &v, NULL) == OK) check_vocabulary(v), vocabulary_free(v);
  char *exact = mem_alloc(size); /* its own block: a read past the end is seen */
  if (!exact) return 0;
  memcpy(exact, data, size);
  if (feature_set_read((struct str){exact, size}, &f, NULL) == OK) check_features(f), feature_set_free(f);
  mem_free(exact);
  return 0;
}
