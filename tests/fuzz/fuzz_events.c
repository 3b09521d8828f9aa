/* A request's own event list. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "record/record.h"

static int take(void *ctx, const struct record *r, struct error *e) {
  (void)ctx, (void)e;
  volatile char last = 0;
  const struct str all[] = {r->person, r->code, r->display, r->unit, r->text};
  for (int i = 0; i < 5; i++)
    if (all[i].n) last ^= (char)(all[i].p[0] ^ all[i].p[all[i].n - 1]);
  if (!r->path || (r->kind != RECORD_DROPPED && !r->person.n)) abort();
  if (r->kind == RECORD_EVENT && !r->code.n) abort();
  return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct json_parser *jp;
  struct error e = {0};
  struct record_stats stats = {0};
  const struct record_sink sink = {.record = take};
  if (!jp && json_parser_new(&jp, &e) < 0) return 0;
  char *bytes = malloc(size + STREAM_PAD);
  if (!bytes) return 0;
  memcpy(bytes, data, size);
  memset(bytes + size, ' ', STREAM_PAD);
  int rc = events_parse(jp, bytes, size, size + STREAM_PAD, &sink, &stats, &e);
  if (rc < 0 && rc != E_INPUT && rc != E_LIMIT) abort();
  free(bytes);
  return 0;
}
