/* JSON schemas from clients: the input is {"schema": …, "value": …}. What a value was projected to never has a member that the schema forbids, and
 * projecting it again changes nothing. */
#include "serve/serve_chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct json_parser *jp, *again;
  struct json root, value;
  struct buf once = {0}, twice = {0};
  struct json_out o;
  if ((!jp && json_parser_new(&jp, NULL) < 0) || (!again && json_parser_new(&again, NULL) < 0)) return 0;
  char *exact = mem_alloc(size + 1);
  if (exact) memcpy(exact, data, size);
  if (exact && json_parse(jp, exact, size, size, &root, NULL) == OK && json_kind(json_get(root, "value")) != JSON_NONE) {
    struct json schema = json_get(root, "schema");
    int fits = schema_check(schema, json_get(root, "value"), NULL);
    json_out_init(&o, &once, false);
    if (schema_project(schema, json_get(root, "value"), &o, NULL) == OK && json_parse(again, once.p, once.n, once.n, &value, NULL) == OK) {
      json_out_init(&o, &twice, false);
      if (schema_project(schema, value, &o, NULL) < 0) BUG("a projected value cannot be projected");
      if (once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0) BUG("projecting twice is not projecting once");
    }
    (void)fits;
  }
  mem_free(exact);
  buf_release(&once), buf_release(&twice);
  return 0;
}
