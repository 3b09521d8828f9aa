/* The stream over plain and gzip input: reading by lines and reading whole must see the same number of bytes. */
#include "base/file.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct stream s;
  struct str line;
  const char *path = fuzz_input(data, size);
  if (stream_open(&s, path, NULL) < 0) return 0;
  uint64_t lines = 0;
  int rc;
  while ((rc = stream_line(&s, &line, NULL)) == OK) {
    BUG_IF(s.line != ++lines || line.n > s.line_limit || memchr(line.p, '\n', line.n));
    if (lines > 100000) break;
  }
  stream_close(&s);
  struct arena a;
  arena_init(&a, 64 << 20, 0);
  struct str all;
  if (stream_open(&s, path, NULL) == OK) {
    int whole = stream_all(&s, &a, 32 << 20, &all, NULL);
    BUG_IF(rc == E_END && whole < 0 && whole != E_LIMIT);
    BUG_IF(rc == E_CORRUPT && whole == OK);
  }
  stream_close(&s);
  arena_free(&a);
  return 0;
}
