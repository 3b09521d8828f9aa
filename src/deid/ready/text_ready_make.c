/* Compiles a file of rules for text_ready_data.c, when the program is built: text_ready_make RULES OUT */
#include <stdio.h>

#include "base/file.h"
#include "deid/text_internal.h"
#include "deid/text_ready.h"

struct str text_ready_data(void) {
  return STR_NONE;
}

int main(int argc, char **argv) {
  struct error e = {0};
  struct arena a;
  struct str json;
  struct buf out = {0};
  if (argc != 3) return fprintf(stderr, "usage: text_ready_make RULES OUT\n"), 2;
  arena_init(&a, 0, 0);
  int rc = file_read(&a, argv[1], 8 << 20, &json, &e);
  if (rc == OK) rc = text_rules_prepare(json, &out, &e);
  if (rc == OK) rc = file_write_atomic(argv[2], out.p, out.n, 0644, &e);
  if (rc < 0) error_print(stderr, &e);
  buf_release(&out);
  arena_free(&a);
  return rc < 0;
}
