/* HL7 v2: one message, then the same bytes as a file and as MLLP frames. Checks what must hold whatever the bytes are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "record/hl7v2.h"

static uint64_t emitted, dropped, rejected;

static int take(void *ctx, const struct record *r, struct error *e) {
  (void)ctx, (void)e;
  volatile char last = 0;
  const struct str all[] = {r->person, r->code, r->display, r->unit, r->text, r->ns, r->postcode, r->country};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (all[i].n) last ^= (char)(all[i].p[0] ^ all[i].p[all[i].n - 1]);
  if (!r->path || !strlen(r->path)) abort();
  if (r->kind == RECORD_DROPPED) {
    dropped++;
    if (r->text.p || r->code.p) abort();
    return OK;
  }
  emitted++;
  if (!r->person.n) abort();
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (!str_utf8_valid(all[i])) abort();
  if (r->kind == RECORD_EVENT && (r->code.n < 4 || r->code.n > 240)) abort();
  for (size_t i = 0; i < r->code.n; i++)
    if (r->code.p[i] <= ' ' || r->code.p[i] >= 0x7f) abort();
  return OK;
}

static void refuse(void *ctx, const struct record_reject *r) {
  (void)ctx;
  if (!r->field || !r->reason || !r->file) abort();
  rejected++;
}

/* The reader takes no links, as /proc/self/fd would be. */
static char path_of_file[64];
static void remove_file(void) { unlink(path_of_file); }
static const char *file_of(const uint8_t *data, size_t size) {
  static int fd = -1;
  if (fd < 0) {
    strcpy(path_of_file, "/tmp/vitae-fuzz-hl7-XXXXXX");
    fd = mkstemp(path_of_file);
    atexit(remove_file);
  }
  if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
  return path_of_file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct hl7v2_tables *tables;
  char path[4096];
  struct error e = {0};
  struct record_stats stats = {0};
  const struct record_sink sink = {.record = take, .reject = refuse};
  if (!tables && (file_join(path, sizeof path, file_data_dir(), "mapping/hl7v2.json", &e) < 0 || hl7v2_tables_load(path, &tables, &e) < 0))
    abort();
  struct hl7v2_options o = {.tables = tables, .message_limit = 1 << 16};
  struct hl7v2_answer answer;
  struct arena a;
  struct buf reply = {0};
  arena_init(&a, 4 << 20, ARENA_WIPE);
  emitted = dropped = rejected = 0;
  if (hl7v2_take(&o, &a, (struct str){(const char *)data, size}, 0, 1, "fuzz", &sink, &stats, &answer, &e) < 0) abort();
  if (stats.records != emitted || stats.dropped != dropped || stats.rejected != rejected) abort();
  hl7v2_acknowledge(&answer, STR("1"), 0, &reply);
  size_t segments = 0;
  for (size_t i = 0; i < reply.n; i++) segments += reply.p[i] == '\r';
  if (segments != 2u + (size_t)answer.problems) abort(); /* nothing that a sender wrote makes a segment of its own */
  buf_release(&reply);
  arena_free(&a);
  struct str rest = {(const char *)data, size}, message;
  for (size_t used; rest.n;) {
    enum hl7v2_frame f = hl7v2_frame_next(rest, &message, &used);
    if (used > rest.n || (f != HL7V2_FRAME_MORE && !used)) abort();
    if (f == HL7V2_FRAME_MORE) break;
    rest = (struct str){rest.p + used, rest.n - used};
  }
  stats = (struct record_stats){0};
  if (hl7v2_read(&o, file_of(data, size), &sink, &stats, &e) < 0) abort();
  return 0;
}
