/* One mapped shard, and its texts. */
#include <zstd.h>

#include "timeline/timeline_store.h"

int shard_open(const char *path, struct shard *s, struct error *e) {
  *s = (struct shard){0};
  TRY(container_open(path, &container_shard, &s->c, e));
  const struct container *c = &s->c;
  s->subjects = (uint32_t)c->rows[0];
  s->events = c->rows[1];
  s->texts = c->rows[2];
  s->blocks = c->section[S_TEXT_BLOCK].bytes / sizeof(struct text_block);
  s->subject = container_at(c, S_SUBJECT);
  s->start = container_at(c, S_START);
  s->statics = container_at(c, S_STATICS);
  s->split = container_at(c, S_SPLIT);
  s->time = container_at(c, S_TIME);
  s->code = container_at(c, S_CODE);
  s->value = container_at(c, S_VALUE);
  s->unit = container_at(c, S_UNIT);
  s->file = container_at(c, S_FILE);
  s->row = container_at(c, S_ROW);
  s->text_event = container_at(c, S_TEXT_EVENT);
  s->place = container_at(c, S_TEXT_PLACE);
  s->block = container_at(c, S_TEXT_BLOCK);
  s->text_data = container_at(c, S_TEXT_DATA);
  s->blob_event = container_at(c, S_BLOB_EVENT);
  s->blob_digest = container_at(c, S_BLOB_DIGEST);
  s->blobs = c->section[S_BLOB_EVENT].bytes / sizeof *s->blob_event;
  if (s->blobs != c->section[S_BLOB_DIGEST].bytes / BLOB_BYTES || s->blobs > s->events) {
    shard_close(s);
    error_set(e, E_CORRUPT, "columns of blobs differ in length");
    return error_where(e, path, 0, NULL);
  }
  if (s->blocks) {
    s->unpacked = mem_alloc(s->blocks * sizeof *s->unpacked);
    if (!s->unpacked) {
      shard_close(s);
      return error_set(e, E_NOMEM, "no memory for a table of text blocks");
    }
    memset(s->unpacked, 0, s->blocks * sizeof *s->unpacked);
  }
  return OK;
}

void shard_close(struct shard *s) {
  for (uint64_t i = 0; s->unpacked && i < s->blocks; i++) mem_free(s->unpacked[i]);
  mem_free(s->unpacked);
  container_close(&s->c);
  *s = (struct shard){0};
}

uint64_t shard_blob_from(const struct shard *s, uint64_t event) {
  uint64_t low = 0, high = s->blobs;
  while (low < high) {
    uint64_t mid = low + (high - low) / 2;
    if (s->blob_event[mid] < event)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

int shard_unpack(const struct shard *s, uint64_t block, char *to, struct error *e) {
  const struct text_block *b = &s->block[block];
  uint64_t bytes = s->c.section[S_TEXT_DATA].bytes;
  if (b->offset > bytes || b->stored > bytes - b->offset || b->raw > TEXT_MAX) return error_set(e, E_CORRUPT, "text block out of bounds");
  size_t n = ZSTD_decompress(to, b->raw, s->text_data + b->offset, b->stored);
  return ZSTD_isError(n) || n != b->raw ? error_set(e, E_CORRUPT, "text block does not decompress") : OK;
}

int shard_text(const struct shard *s, uint64_t k, struct buf *out, struct error *e) {
  struct text_place at = s->place[k];
  if (at.block >= s->blocks || s->block[at.block].raw > TEXT_MAX || at.offset > s->block[at.block].raw ||
      at.length > s->block[at.block].raw - at.offset)
    return error_set(e, E_CORRUPT, "text out of bounds");
  char *raw = mem_alloc(s->block[at.block].raw);
  if (!raw) return error_set(e, E_NOMEM, "no memory for a text block");
  int rc = shard_unpack(s, at.block, raw, e);
  if (rc == OK) buf_put(out, raw + at.offset, at.length);
  mem_free(raw);
  return rc < 0 ? rc : buf_check(out, e);
}
