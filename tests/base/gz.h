/* Makes gzip members with zlib: another implementation than the one that reads them. */
#ifndef BASE_GZ_H
#define BASE_GZ_H
#include <zlib.h>

#include "helpers.h"

static inline void gz_member(struct buf *out, const void *p, size_t n) {
  z_stream z = {0};
  if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) fail_msg("zlib");
  size_t most = deflateBound(&z, n) + 64;
  if (!buf_reserve(out, most)) fail_msg("memory");
  z.next_in = (Bytef *)(uintptr_t)p;
  z.avail_in = (uInt)n;
  z.next_out = (Bytef *)out->p + out->n;
  z.avail_out = (uInt)most;
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) fail_msg("zlib");
  out->n += z.total_out;
  deflateEnd(&z);
}
#endif
