/* hp.obo: whatever parses can be sealed or is refused, and every term is among its own ancestors. */
#include <stdint.h>

#include "reason/ontology.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct ontology *o;
  if (ontology_parse((const char *)data, size, &o, NULL) < 0) return 0;
  if (ontology_seal(o, NULL) == OK)
    for (int t = 0; t < ontology_terms(o); t++) {
      const int *up;
      int n = ontology_ancestors(o, t, &up), found = 0;
      for (int i = 0; i < n; i++) found += up[i] == t;
      BUG_IF(found != 1);
    }
  ontology_free(o);
  return 0;
}
