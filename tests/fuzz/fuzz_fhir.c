/* FHIR documents: a Bundle, a resource, or anything else. Checks what must hold whatever the bytes are. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "record/record.h"

static uint64_t emitted, dropped, rejected;

static int take(void *ctx, const struct record *r, struct error *e) {
  (void)ctx, (void)e;
  volatile char last = 0;
  const struct str all[] = {r->person, r->code, r->display, r->unit, r->text, r->postcode, r->country};
  for (int i = 0; i < 7; i++)
    if (all[i].n) last ^= (char)(all[i].p[0] ^ all[i].p[all[i].n - 1]);
  if (!r->path || !strlen(r->path)) abort();
  if (r->kind == RECORD_DROPPED) {
    dropped++;
    if (r->text.p || r->code.p) abort();
    return OK;
  }
  emitted++;
  if (!r->person.n) abort();
  if (r->kind == RECORD_EVENT && (r->code.n < 4 || r->code.n > 288)) abort();
  for (size_t i = 0; i < r->code.n; i++)
    if (r->code.p[i] <= ' ' || r->code.p[i] == 0x7f) abort();
  return OK;
}

static void refuse(void *ctx, const struct record_reject *r) {
  (void)ctx;
  if (!r->field || !r->reason || !r->file) abort();
  rejected++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct json_parser *jp;
  struct error e = {0};
  struct record_stats stats = {0};
  const struct record_sink sink = {.record = take, .reject = refuse};
  if (!jp && json_parser_new(&jp, &e) < 0) return 0;
  char *bytes = malloc(size + STREAM_PAD);
  if (!bytes) return 0;
  memcpy(bytes, data, size);
  memset(bytes + size, ' ', STREAM_PAD);
  emitted = dropped = rejected = 0;
  int rc = fhir_parse(jp, bytes, size, size + STREAM_PAD, 0, 1, "fuzz", &sink, &stats, &e);
  if (rc < 0 && rc != E_INPUT) abort();
  if (stats.records != emitted || stats.dropped != dropped || stats.rejected != rejected) abort();
  free(bytes);
  return 0;
}
