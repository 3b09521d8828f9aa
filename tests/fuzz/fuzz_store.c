/* A timeline store whose bytes somebody else wrote: open, view, print, verify. The input is a list of 4-byte patches (file,
 * two bytes of place, value) on a small good store; unless the first byte is odd the checksums are made right again, so that
 * the bounds have to hold by themselves. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "deid/event_make.h"
#include "timeline/timeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static struct arena memory;
static struct str good[2];
static const char *const names[2] = {"codes", "shard-000"};

static void remove_store(void) {
  if (file_remove_tree(dir, NULL) < 0) return;
}

static void make_store(void) {
  static const char *const codes[] = {"A//1", "MEDS_BIRTH", "B", "GENDER//F", "LOINC//2160-0", "LABEL//L"};
  struct timeline_writer *w;
  log_level(LOG_ERROR - 1);
  strcpy(dir, "/tmp/vitae-fuzz-store-XXXXXX");
  if (!mkdtemp(dir) || timeline_writer_open(dir, NULL, &w, NULL) < 0) abort();
  atexit(remove_store);
  for (int i = 0; i < 60; i++) {
    struct event ev = {
        .subject = 1 + i % 4, .time = i % 9 ? i * TIME_DAY : TIME_STATIC, .code = str_c(codes[i % 6]), .value = (float)i, .origin_row = 3};
    ev.unit = i % 2 ? STR("mg") : STR_NONE;
    ev.text = i % 7 ? STR_NONE : STR("a text, a longer text, a text again");
    ev.display = STR("display");
    if (i % 11 == 0) ev.blob = STR("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    if (timeline_append(w, &ev, NULL) < 0) abort();
  }
  if (timeline_writer_finish(w, STR_NONE, NULL, NULL, NULL) < 0) abort();
  arena_init(&memory, 0, 0);
  for (int i = 0; i < 2; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/gen-000001/%s", dir, names[i]);
    if (file_read(&memory, path, 1 << 20, &good[i], NULL) < 0) abort();
  }
}

struct section {
  uint32_t kind, width;
  uint64_t offset, bytes, hash;
};
static void reseal(uint8_t *p, size_t length) {
  struct section s[16];
  uint32_t n;
  memcpy(&n, p + 12, 4);
  if (n > 16) n = 16;
  memcpy(s, p + 64, n * sizeof *s);
  for (uint32_t i = 0; i < n; i++)
    if (s[i].offset <= length && s[i].bytes <= length - s[i].offset) s[i].hash = s[i].bytes ? hash64(p + s[i].offset, s[i].bytes, 0) : 0;
  memcpy(p + 64, s, n * sizeof *s);
  uint64_t h = hash64(p + 64, n * sizeof *s, 0);
  memcpy(p + 48, &h, 8);
  h = hash64(p, 56, 0);
  memcpy(p + 56, &h, 8);
}

static void put_file(int i, const void *p, size_t n) {
  char path[128];
  snprintf(path, sizeof path, "%s/gen-000001/%s", dir, names[i]);
  int fd = open(path, O_WRONLY | O_TRUNC);
  if (fd < 0 || write(fd, p, n) != (ssize_t)n) abort();
  close(fd);
}

static void use(void) {
  struct timeline *t;
  uint64_t sum = 0;
  uint32_t index;
  if (timeline_open(dir, &t, NULL) == OK) {
    for (uint32_t i = 0; i < timeline_subjects(t); i++) {
      struct timeline_view v = timeline_view(t, i);
      for (uint32_t k = 0; k < v.n + v.labels; k++) {
        BUG_IF(v.code[k] >= timeline_codes(t));
        struct str text = timeline_text(t, i, k);
        char blob[65];
        sum += timeline_blob(t, i, k, blob);
        for (size_t b = 0; b < text.n; b++) sum += (uint8_t)text.p[b];
        sum += (uint64_t)v.time[k] + v.origin_row[k] + timeline_unit_name(t, v.unit[k]).n;
      }
      if (timeline_find(t, v.subject, &index, NULL) == OK) sum += index;
      struct buf b = {0};
      struct json_out o;
      timeline_print(t, i, 100, true, 20, &b);
      json_out_init(&o, &b, false);
      timeline_json(t, i, 20, &o);
      buf_release(&b);
    }
    timeline_close(t);
  }
  if (timeline_verify(dir, NULL, NULL, NULL) == OK && sum == 1) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!dir[0]) make_store();
  if (size < 5 || size > 400) return 0;
  uint8_t *copy[2];
  for (int i = 0; i < 2; i++) {
    copy[i] = malloc(good[i].n);
    if (!copy[i]) abort();
    memcpy(copy[i], good[i].p, good[i].n);
  }
  for (size_t at = 1; at + 4 <= size; at += 4) {
    int which = data[at] & 1;
    copy[which][(data[at + 1] | (size_t)data[at + 2] << 8) % good[which].n] = data[at + 3];
  }
  for (int i = 0; i < 2; i++) {
    if (!(data[0] & 1)) reseal(copy[i], good[i].n);
    put_file(i, copy[i], data[0] & 2 ? good[i].n - data[0] / 4 : good[i].n);
    free(copy[i]);
  }
  use();
  return 0;
}
