/* Documents of a site, and what comes back from a clinician: whatever is JSON must be read or refused. */
#include <stdint.h>

#include "base/json.h"
#include "reason/draft_private.h"
#include "reason/draft_review.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct json_parser *jp;
  struct json root;
  struct drafter d = {0};
  struct draft_review r;
  if (!jp && json_parser_new(&jp, NULL) < 0) return 0;
  if (json_parse(jp, (const char *)data, size, size, &root, NULL) < 0) return 0;
  arena_init(&d.a, 16 << 20, 0);
  if (draft_documents(root, &d, NULL) == OK) {
    struct buf b = {0};
    struct str field[FIELDS] = {0};
    for (int i = 0; i < LINES; i++) draft_fill(d.document[0].section[0].part[0].line[i], field, &b);
    buf_release(&b);
  }
  if (draft_review_read(root, 1, &d.a, &r, NULL) == OK) {
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b, false);
    json_out_object(&o);
    draft_review_json(&r, true, &o);
    json_out_end(&o);
    buf_release(&b);
  }
  arena_free(&d.a);
  return 0;
}
