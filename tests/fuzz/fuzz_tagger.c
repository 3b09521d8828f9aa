/* The tagger's file: refused, or a tagger whose spans lie inside any text, in order. The checksum is made to fit, so that the rest is
 * reached; and the payload may come unpacked behind the head, so that the fuzzer need not guess how zstd packs. */
#include <zstd.h>

#include "base/arena.h"
#include "base/hash.h"
#include "deid/tagger.h"

static void check(const uint8_t *p, size_t n, struct str text) {
  struct tagger *t;
  struct text_spans spans = {0};
  if (tagger_load_bytes(p, n, &t, NULL) < 0) return;
  if (tagger_find(t, NULL, text, &spans, NULL) == OK)
    for (uint32_t i = 0, last = 0; i < spans.n; last = spans.at[i++].end)
      BUG_IF(spans.at[i].start < last || spans.at[i].end <= spans.at[i].start || spans.at[i].end > text.n ||
             spans.at[i].label >= TEXT_LABELS);
  spans.n = 0;
  if (tagger_find_own(t, NULL, text, &spans, NULL) == OK)
    for (uint32_t i = 0; i < spans.n; i++) BUG_IF(!tagger_label(t, spans.at[i].label));
  text_spans_release(&spans);
  tagger_free(t);
}

static void seal(uint8_t *p, size_t n) {
  uint64_t sum = hash64(p, n - 8, 0);
  for (int i = 0; i < 8; i++) p[n - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct str text = {(const char *)data, size < 4096 ? size : 4096};
  check(data, size, text);
  size_t room = 16 + ZSTD_compressBound(size) + 8;
  uint8_t *p = mem_alloc(room);
  if (!p) return 0;
  if (size >= 24) {
    memcpy(p, data, size);
    seal(p, size);
    check(p, size, text);
  }
  memcpy(p, "vitaeTAG\1\0\0\0", 12);
  for (int i = 0; i < 4; i++) p[12 + i] = (uint8_t)(size >> 8 * i);
  size_t got = ZSTD_compress(p + 16, room - 24, data, size, 1);
  if (!ZSTD_isError(got)) {
    seal(p, 16 + got + 8);
    check(p, 16 + got + 8, text);
  }
  mem_free(p);
  return 0;
}
