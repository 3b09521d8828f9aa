/* Streaming input: a window over the decoded bytes, filled by read(2) or by ISA-L's inflate; lines are returned in place. */
#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { WINDOW = 1 << 20, RAW = 256 << 10, LINE_LIMIT = 64 << 20 };

struct inflater {
  struct inflate_state state;
  bool inside;  /* between the first byte of a member and the last of its trailer */
  bool padding; /* only zero bytes may follow (tape blocks) */
};

static int fail(struct stream *s, int code, const char *message) {
  s->code = error_set(&s->failure, code, "%s", message);
  error_where(&s->failure, s->path, 0, NULL);
  return s->code;
}

static int report(const struct stream *s, struct error *e) {
  if (e) *e = s->failure;
  return s->code;
}

/* read(2) until `n` bytes came or the file ends: pipes give less. */
static int64_t read_raw(struct stream *s, uint8_t *p, size_t n) {
  size_t got = 0;
  while (got < n) {
    ssize_t k = read(s->fd, p + got, n - got);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) {
      char text[128];
      return fail(s, E_IO, strerror_r(errno, text, sizeof text));
    }
    if (k == 0) break;
    got += (size_t)k;
    if (!s->size) break; /* no regular file: give what there is */
  }
  s->bytes_in += got;
  return (int64_t)got;
}

static void member_start(struct inflater *z) {
  isal_inflate_reset(&z->state);
  z->state.crc_flag = ISAL_GZIP;
  z->inside = true;
}

static const char *inflate_problem(int rc) {
  switch (rc) {
    case ISAL_INCORRECT_CHECKSUM: return "gzip checksum does not hold";
    case ISAL_INVALID_WRAPPER: return "damaged gzip header";
    default: return "damaged gzip data";
  }
}

/* What may stand between members: the next member's magic, or zero padding up to the end. Returns 1 to go on, 0 at the end. */
static int next_member(struct stream *s, struct inflater *z) {
  while (s->in_at < s->in_n && s->in[s->in_at] == 0) {
    z->padding = true;
    s->in_at++;
  }
  if (s->in_at == s->in_n) return 0;
  if (z->padding || s->in[s->in_at] != 0x1f) return fail(s, E_CORRUPT, "bytes that are no gzip after the end of a gzip member");
  member_start(z);
  return 1;
}

/* Decodes at least one byte into out[out_n ...) unless the input ends. Bytes decoded before a failure stay valid. */
static int64_t inflate_more(struct stream *s, size_t room) {
  struct inflater *z = s->gz;
  size_t before = s->out_n, end = s->out_n + room;
  while (s->out_n < end) {
    if (s->in_at == s->in_n) {
      int64_t k = read_raw(s, s->in, RAW);
      if (k < 0) return k;
      s->in_at = 0;
      s->in_n = (size_t)k;
      if (k == 0) {
        if (z->inside) return fail(s, E_CORRUPT, "gzip data ends in the middle (truncated file?)");
        s->eof = true;
        break;
      }
    }
    if (!z->inside) {
      int rc = next_member(s, z);
      if (rc < 0) return rc;
      if (rc == 0) continue;
    }
    z->state.next_in = s->in + s->in_at;
    z->state.avail_in = (uint32_t)(s->in_n - s->in_at);
    z->state.next_out = s->out + s->out_n;
    z->state.avail_out = (uint32_t)(end - s->out_n);
    int rc = isal_inflate(&z->state);
    s->in_at = s->in_n - z->state.avail_in;
    s->out_n = end - z->state.avail_out;
    if (rc != ISAL_DECOMP_OK && rc != ISAL_END_INPUT) return fail(s, E_CORRUPT, inflate_problem(rc));
    if (z->state.block_state == ISAL_BLOCK_FINISH) z->inside = false;
  }
  return (int64_t)(s->out_n - before);
}

/* Moves what is left to the front and makes room; the old window is wiped, it may have held identified data. */
static int make_room(struct stream *s, size_t most) {
  size_t held = s->out_n - s->out_at;
  if (held >= most) return E_LIMIT;
  if (held <= s->out_cap / 2 || s->out_cap >= most) {
    if (s->out_at) memmove(s->out, s->out + s->out_at, held);
  } else {
    size_t cap = s->out_cap * 2 < most ? s->out_cap * 2 : most;
    if (cap <= held) cap = held + 1;
    uint8_t *out = mem_alloc(cap + STREAM_PAD);
    if (!out) return fail(s, E_NOMEM, "no memory for a long line");
    memcpy(out, s->out + s->out_at, held);
    mem_wipe(s->out, s->out_n);
    mem_free(s->out);
    s->out = out;
    s->out_cap = cap;
  }
  s->out_at = 0;
  s->out_n = held;
  return OK;
}

int64_t stream_more(struct stream *s, size_t most, struct error *e) {
  if (s->code) return report(s, e);
  if (s->eof) return 0;
  int rc = make_room(s, most);
  if (rc == E_LIMIT) return error_set(e, E_LIMIT, "line longer than %zu bytes", most);
  if (rc < 0) return report(s, e);
  size_t room = s->out_cap - s->out_n, before = s->out_n;
  int64_t got;
  if (s->gz) {
    got = inflate_more(s, room);
  } else {
    got = read_raw(s, s->out + s->out_n, room);
    if (got > 0) s->out_n += (size_t)got;
    if (got == 0) s->eof = true;
  }
  memset(s->out + s->out_n, 0, STREAM_PAD);
  if (s->out_n > before) return (int64_t)(s->out_n - before); /* a failure is reported when these are used up */
  return got < 0 ? report(s, e) : 0;
}

static int start(struct stream *s, struct error *e) {
  struct stat st;
  if (fstat(s->fd, &st) < 0 || S_ISDIR(st.st_mode)) return error_set(e, E_IO, "is no readable file");
  s->size = S_ISREG(st.st_mode) && st.st_size > 0 ? (uint64_t)st.st_size : 0;
  posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  s->out_cap = s->size && s->size < WINDOW - 1 ? (size_t)s->size + 1 : WINDOW;
  if (s->out_cap < 64) s->out_cap = 64;
  s->out = mem_alloc(s->out_cap + STREAM_PAD);
  if (!s->out) return error_set(e, E_NOMEM, "no memory for an input window");
  uint8_t *first = s->out;
  size_t n = s->out_cap < RAW ? s->out_cap : RAW;
  int64_t got = read_raw(s, first, n);
  while (got == 1) { /* a pipe may hand out the magic byte by byte */
    int64_t more = read_raw(s, first + 1, n - 1);
    if (more <= 0) break;
    got += more;
  }
  if (got < 0) return report(s, e);
  memset(s->out + got, 0, STREAM_PAD);
  if (got < 2 || first[0] != 0x1f || first[1] != 0x8b) {
    s->out_n = (size_t)got;
    s->eof = got == 0;
    return OK;
  }
  s->in = mem_alloc(RAW);
  struct inflater *z = s->gz = mem_alloc(sizeof(struct inflater));
  uint8_t *window = s->out_cap < WINDOW ? mem_alloc(WINDOW + STREAM_PAD) : NULL;
  if (!s->in || !z || (s->out_cap < WINDOW && !window)) {
    mem_free(window);
    return error_set(e, E_NOMEM, "no memory for an input window");
  }
  memcpy(s->in, first, (size_t)got);
  s->in_n = (size_t)got;
  if (window) {
    mem_free(s->out);
    s->out = window;
    s->out_cap = WINDOW;
  }
  memset(s->out, 0, STREAM_PAD);
  isal_inflate_init(&z->state);
  z->padding = false;
  member_start(z);
  return OK;
}

int stream_open(struct stream *s, const char *path, struct error *e) {
  *s = (struct stream){.fd = -1, .line_limit = LINE_LIMIT};
  size_t n = strlen(path);
  if (n >= sizeof s->path) return error_set(e, E_LIMIT, "path too long");
  memcpy(s->path, path, n + 1);
  s->fd = open(path, O_RDONLY | O_CLOEXEC);
  int rc;
  if (s->fd < 0) {
    char text[128];
    rc = error_set(e, errno == ENOENT ? E_NOTFOUND : E_IO, "cannot open: %s", strerror_r(errno, text, sizeof text));
  } else {
    rc = start(s, e);
  }
  if (rc < 0) {
    error_where(e, path, 0, NULL);
    stream_close(s);
  }
  return rc;
}

int stream_read(struct stream *s, void *p, size_t n, size_t *got, struct error *e) {
  *got = 0;
  while (*got < n) {
    size_t held = s->out_n - s->out_at;
    if (!held) {
      s->out_at = s->out_n = 0;
      int64_t k = stream_more(s, s->out_cap, e);
      if (k < 0) return *got ? OK : (int)k;
      if (k == 0) break;
      held = s->out_n;
    }
    size_t take = held < n - *got ? held : n - *got;
    memcpy((uint8_t *)p + *got, s->out + s->out_at, take);
    s->out_at += take;
    *got += take;
  }
  return OK;
}

/* Drops bytes up to and with the next newline. */
static int skip_rest(struct stream *s, struct error *e) {
  for (;;) {
    uint8_t *from = s->out + s->out_at, *nl = memchr(from, '\n', s->out_n - s->out_at);
    if (nl) {
      s->out_at += (size_t)(nl - from) + 1;
      break;
    }
    s->out_at = s->out_n;
    int64_t k = stream_more(s, s->out_cap, e);
    if (k < 0) return (int)k;
    if (k == 0) break;
  }
  s->skip = false;
  return OK;
}

static struct str line_of(const uint8_t *p, size_t n) {
  if (n && p[n - 1] == '\r') n--;
  return (struct str){(const char *)p, n};
}

int stream_line(struct stream *s, struct str *line, struct error *e) {
  s->overlong = false;
  if (s->skip) TRY(skip_rest(s, e));
  size_t seen = 0; /* bytes known to hold no newline */
  for (;;) {
    uint8_t *from = s->out + s->out_at;
    size_t held = s->out_n - s->out_at;
    uint8_t *nl = held > seen ? memchr(from + seen, '\n', held - seen) : NULL;
    size_t n = nl ? (size_t)(nl - from) : held;
    if (n > s->line_limit) {
      s->overlong = true;
      s->out_at += nl ? n + 1 : n;
      s->skip = !nl;
      s->line++;
      *line = (struct str){(const char *)from, s->line_limit};
      return OK;
    }
    if (nl) {
      s->out_at += n + 1;
      s->line++;
      *line = line_of(from, n);
      return OK;
    }
    seen = held;
    int64_t k = stream_more(s, s->line_limit + 1, e);
    if (k < 0) return (int)k;
    if (k > 0) continue;
    if (!held) return E_END;
    from = s->out + s->out_at;
    s->out_at = s->out_n;
    s->line++;
    *line = line_of(from, held);
    return OK;
  }
}

/* Length unknown beforehand: grows by half, then one copy into the arena. */
static int all_growing(struct stream *s, struct arena *a, size_t limit, struct str *out, struct error *e) {
  struct buf b = {0};
  int rc = OK;
  for (;;) {
    size_t held = s->out_n - s->out_at;
    if (held > limit - b.n) {
      rc = error_set(e, E_LIMIT, "file longer than %zu bytes", limit);
      break;
    }
    buf_put(&b, s->out + s->out_at, held);
    s->out_at = s->out_n;
    if (b.failed) break;
    int64_t k = stream_more(s, s->out_cap, e);
    if (k < 0) rc = (int)k;
    if (k <= 0) break;
  }
  char *p = rc == OK && !b.failed ? arena_alloc(a, b.n + STREAM_PAD, 64) : NULL;
  if (p && b.n) memcpy(p, b.p, b.n);
  if (rc == OK && !p) rc = error_set(e, E_NOMEM, "no memory for a file of %zu bytes", b.n);
  *out = (struct str){p, b.n};
  if (b.p) mem_wipe(b.p, b.n);
  buf_release(&b);
  return rc;
}

int stream_all(struct stream *s, struct arena *a, size_t limit, struct str *out, struct error *e) {
  int rc;
  uint64_t left = s->size > s->bytes_in ? s->size - s->bytes_in : 0;
  size_t held = s->out_n - s->out_at;
  if (s->gz || !s->size) {
    rc = all_growing(s, a, limit, out, e);
  } else if (left > limit || held > limit - left) {
    rc = error_set(e, E_LIMIT, "file longer than %zu bytes", limit);
  } else {
    size_t n = held + (size_t)left, got;
    char *p = arena_alloc(a, n + STREAM_PAD, 64);
    if (!p) {
      rc = error_set(e, E_NOMEM, "no memory for a file of %zu bytes", n);
    } else {
      memcpy(p, s->out + s->out_at, held);
      s->out_at = s->out_n;
      got = held;
      int64_t k = left ? read_raw(s, (uint8_t *)p + held, (size_t)left) : 0;
      if (k > 0) got += (size_t)k;
      rc = k < 0 ? report(s, e) : OK;
      *out = (struct str){p, got};
    }
  }
  if (rc < 0) error_where(e, s->path, 0, NULL);
  return rc;
}

void stream_close(struct stream *s) {
  if (s->fd >= 0) close(s->fd);
  if (s->out) mem_wipe(s->out, s->out_n);
  mem_free(s->out);
  if (s->gz) mem_wipe(s->gz, sizeof(struct inflater));
  mem_free(s->gz);
  mem_free(s->in);
  s->fd = -1;
  s->out = s->in = NULL;
  s->gz = NULL;
  s->out_n = s->out_at = s->in_n = s->in_at = 0;
  s->eof = true;
}
