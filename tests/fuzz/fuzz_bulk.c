/* The manifest of a bulk export: another machine's JSON. */
#include <stdlib.h>
#include <string.h>

#include "serve/serve_bulk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct arena a;
  struct bulk_manifest m;
  struct error e = {0};
  char *text = malloc(size + 64);
  if (!text) abort();
  memcpy(text, data, size);
  memset(text + size, 0, 64);
  arena_init(&a, 16 << 20, 0);
  if (bulk_manifest_parse(text, size, size + 64, &a, &m, &e) == OK) {
    if (m.time.n < 20 || m.time.n > 63 || m.n > BULK_FILES || m.next.n > BULK_URL) abort();
    for (uint32_t i = 0; i < m.n; i++) {
      const struct bulk_file *f = &m.file[i];
      if (f->kind >= BULK_KINDS || !f->type.n || f->type.n > 64 || !f->url.n || f->url.n > BULK_URL || f->count < -1) abort();
      if (memchr(f->url.p, 0, f->url.n) || memchr(f->type.p, '/', f->type.n)) abort(); /* a type becomes part of a file's name */
    }
  } else if (!e.message[0]) {
    abort();
  }
  arena_free(&a);
  free(text);
  return 0;
}
