/* A case for step-by-step diagnosis, or a transcript of one: whatever parses is closed in the gatekeeper or run again, or refused. */
#include <stdint.h>

#include "base/json.h"
#include "reason/gatekeeper.h"
#include "reason/sequential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct sequential *k;
  static struct json_parser *jp;
  struct arena a;
  struct json root;
  struct gatekeeper g;
  struct sequential_session *s;
  struct buf again = {0};
  if (!k && (sequential_open(&(struct sequential_files){0}, &k, NULL) < 0 || json_parser_new(&jp, NULL) < 0)) BUG("no knowledge");
  if (json_parse(jp, (const char *)data, size, size, &root, NULL) < 0) return 0;
  arena_init(&a, 64 << 20, 0);
  if (gatekeeper_open(k, root, &a, &g, NULL) == OK &&
      sequential_begin(k, &(struct sequential_options){.budget = 30}, g.opening, &a, &s, NULL) == OK)
    for (int i = 0; i < 3; i++)
      if (sequential_hear(s, i, g.answer[i], NULL) < 0) break;
  if (sequential_replay(k, root, &again, NULL) < 0) buf_clear(&again);
  buf_release(&again);
  arena_free(&a);
  return 0;
}
