/* Writes canary bundles (tests/canary.h): canary_write DIRECTORY. One bundle for each order of codings and person; the file's own name is
 * a canary as well. Prints how many words were planted. */
#include "canary.h"

int main(int argc, char **argv) {
  struct canary *c = calloc(1, sizeof *c);
  int words = 0;
  if (argc != 2 || !c) return 64;
  for (int order = 0, person = 0; order < CANARY_ORDERS; order++)
    for (int copy = 0; copy < 3; copy++, person++) {
      char path[4096];
      canary_bundle_from(c, (enum canary_order)order, person * CANARY_WORDS);
      snprintf(path, sizeof path, "%s/%s.json", argv[1], canary_word(c, "the file's name"));
      FILE *f = fopen(path, "wb");
      if (!f || fwrite(c->json.p, 1, c->json.n, f) != c->json.n || fclose(f) != 0) return 74;
      words += c->n;
      canary_free(c);
    }
  printf("%d\n", words);
  free(c);
  return 0;
}
