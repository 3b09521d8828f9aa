/* The JSON reader and writer: a document that parses is walked whole, written again, and must parse to the same text. */
#include "base/file.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct json_parser *jp;
  if (!jp && json_parser_new(&jp, NULL) < 0) return 0;
  struct json root;
  struct buf once = {0}, twice = {0};
  struct json_out o;
  char *exact = mem_alloc(size); /* its own block: a read past the end is seen */
  if (exact) memcpy(exact, data, size);
  if (exact && json_parse(jp, exact, size, size, &root, NULL) == OK) {
    json_out_init(&o, &once, false);
    if (json_out_copy(&o, root, NULL) < 0) { /* deeper than is written */
      BUG_IF(once.n != 0 || o.depth != 0);
      json_out_null(&o);
    }
    if (json_parse(jp, once.p, once.n, once.n, &root, NULL) < 0) BUG("what was written does not parse");
    json_out_init(&o, &twice, false);
    if (json_out_copy(&o, root, NULL) < 0) BUG("what was written is too deep to be written");
    BUG_IF(once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0);
  }
  mem_free(exact);
  buf_release(&once);
  buf_release(&twice);
  return 0;
}
