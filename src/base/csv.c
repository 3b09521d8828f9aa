#include "base/csv.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { FIELDS = 4096, WIDTH = 64 };

int csv_open(struct csv *c, const char *path, char separator, struct error *e) {
  *c = (struct csv){.separator = separator, .field_limit = FIELDS, .stream = {.fd = -1}};
  BUG_IF(separator == '"' || separator == '\n' || separator == '\r');
  return stream_open(&c->stream, path, e);
}

void csv_close(struct csv *c) {
  stream_close(&c->stream);
  mem_free(c->field);
  c->field = NULL;
  c->cap = 0;
}

/* Bits of the separators, quotes and newlines among the 64 bytes at p (STREAM_PAD keeps them readable). */
static uint64_t marks(const char *p, char separator) {
  uint64_t bits = 0;
#if defined(__SSE2__)
  const __m128i a = _mm_set1_epi8(separator), b = _mm_set1_epi8('\n'), q = _mm_set1_epi8('"');
  for (int i = 0; i < 4; i++) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
    __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, a), _mm_cmpeq_epi8(v, b)), _mm_cmpeq_epi8(v, q));
    bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(hit) << (16 * i);
  }
#else
  for (int i = 0; i < WIDTH; i++) bits |= (uint64_t)(p[i] == separator || p[i] == '\n' || p[i] == '"') << i;
#endif
  return bits;
}

static int more_fields(struct csv *c, struct error *e) {
  size_t cap = c->cap ? c->cap * 2 : 64;
  if (c->cap >= c->field_limit) return error_set(e, E_LIMIT, "row with more than %zu fields", c->field_limit);
  if (cap > c->field_limit) cap = c->field_limit;
  struct str *field = mem_realloc(c->field, cap * sizeof *field);
  if (!field) return error_set(e, E_NOMEM, "no memory for the fields of a row");
  c->field = field;
  c->cap = cap;
  return OK;
}

static inline int add(struct csv *c, size_t *n, const char *p, size_t len, struct error *e) {
  if (__builtin_expect(*n == c->cap, 0)) TRY(more_fields(c, e));
  c->field[(*n)++] = (struct str){p, len};
  return OK;
}

/* How a scan of the window ended. */
enum { ROW_WHOLE = 1, ROW_QUOTED = 2, ROW_CUT = 3 };
struct scan {
  size_t fields, bytes; /* bytes taken from the window, the newline included */
  uint64_t lines;       /* physical lines in them */
};

static size_t trim_cr(const char *p, size_t n) { return n && p[n - 1] == '\r' ? n - 1 : n; }

/* A row without quoted fields: one pass, everything in place. A quote inside a field is an ordinary character. */
static int scan_plain(struct csv *c, const char *base, size_t held, struct scan *s, struct error *e) {
  size_t start = 0;
  s->fields = 0;
  for (size_t off = 0; off < held; off += WIDTH) {
    uint64_t bits = marks(base + off, c->separator);
    if (held - off < WIDTH) bits &= (UINT64_C(1) << (held - off)) - 1;
    for (; bits; bits &= bits - 1) {
      size_t at = off + (size_t)__builtin_ctzll(bits);
      char m = base[at];
      if (m == '"') {
        if (at == start) return ROW_QUOTED;
        continue;
      }
      size_t n = m == '\n' ? trim_cr(base + start, at - start) : at - start;
      TRY(add(c, &s->fields, base + start, n, e));
      start = at + 1;
      if (m == '\n') {
        s->bytes = start;
        s->lines = 1;
        return ROW_WHOLE;
      }
    }
  }
  if (!c->stream.eof) return ROW_CUT;
  TRY(add(c, &s->fields, base + start, trim_cr(base + start, held - start), e));
  s->bytes = held;
  s->lines = 1;
  return ROW_WHOLE;
}

/* Past the closing quote of the field that begins at `at` (its opening quote); 0 if the window ends before. */
static size_t closing(const char *base, size_t at, size_t held) {
  for (at++; at < held;) {
    const char *q = memchr(base + at, '"', held - at);
    if (!q) return 0;
    at = (size_t)(q - base) + 1;
    if (at == held || base[at] != '"') return at;
    at++;
  }
  return 0;
}

/* Doubled quotes become one, in place: the text only gets shorter. */
static void unescape(struct str *s) {
  char *p = (char *)(uintptr_t)s->p;
  const char *first = memchr(p, '"', s->n);
  if (!first) return;
  size_t to = (size_t)(first - p);
  for (size_t i = to; i < s->n; i++) {
    p[to++] = p[i];
    if (p[i] == '"') i++;
  }
  s->n = to;
}

static int finish_quoted(struct csv *c, const char *base, struct scan *s, size_t bytes) {
  s->bytes = bytes;
  s->lines = 0;
  for (const char *p = base; (p = memchr(p, '\n', bytes - (size_t)(p - base))) != NULL; p++) {
    s->lines++;
    if ((size_t)(p + 1 - base) == bytes) break;
  }
  if (bytes == 0 || base[bytes - 1] != '\n') s->lines++;
  for (size_t i = 0; i < s->fields; i++) /* the bytes stay as they are until the row is known to be good */
    if (c->field[i].p > base && c->field[i].p[-1] == '"') unescape(&c->field[i]);
  return ROW_WHOLE;
}

/* A row with quoted fields, perhaps over several lines. After a closing quote only spaces, a separator or the end may
 * follow: anything else means that an earlier quote was never closed, and guessing on would swallow rows silently. */
static int scan_quoted(struct csv *c, const char *base, size_t held, struct scan *s, struct error *e) {
  size_t at = 0;
  bool eof = c->stream.eof;
  s->fields = 0;
  for (;;) {
    size_t end;
    if (at < held && base[at] == '"') {
      size_t past = closing(base, at, held);
      if (!past && !eof) return ROW_CUT;
      if (!past) return error_set(e, E_INPUT, "quote that is never closed");
      TRY(add(c, &s->fields, base + at + 1, past - at - 2, e));
      end = past;
      while (end < held && (base[end] == ' ' || base[end] == '\t') && base[end] != c->separator) end++;
      if (end < held && base[end] == '\r') end++;
      if (end == held && !eof) return ROW_CUT;
      if (end < held && base[end] == '\n') return finish_quoted(c, base, s, end + 1);
      if (end < held && (base[end] != c->separator || base[end - 1] == '\r'))
        return error_set(e, E_INPUT, "text after a closing quote (an unclosed or unescaped quote)");
    } else {
      end = at;
      while (end < held && base[end] != c->separator && base[end] != '\n') end++;
      if (end == held && !eof) return ROW_CUT;
      bool last = end == held || base[end] == '\n';
      TRY(add(c, &s->fields, base + at, last ? trim_cr(base + at, end - at) : end - at, e));
      if (end < held && base[end] == '\n') return finish_quoted(c, base, s, end + 1);
    }
    if (end == held) return finish_quoted(c, base, s, held);
    at = end + 1;
  }
}

static int begin(struct csv *c, struct error *e) {
  struct stream *s = &c->stream;
  c->started = true;
  while (s->out_n - s->out_at < 3 && !s->eof) {
    int64_t k = stream_more(s, s->line_limit, e);
    if (k < 0) return (int)k;
  }
  const uint8_t *p = s->out + s->out_at;
  size_t n = s->out_n - s->out_at;
  if (n >= 3 && p[0] == 0xEF && p[1] == 0xBB && p[2] == 0xBF) s->out_at += 3;
  if (n >= 2 && ((p[0] == 0xFF && p[1] == 0xFE) || (p[0] == 0xFE && p[1] == 0xFF))) {
    s->out_at = s->out_n;
    s->eof = true;
    c->row = 1;
    error_set(e, E_INPUT, "UTF-16 text: convert it to UTF-8 first");
    error_where(e, s->path, 1, NULL);
    return E_INPUT;
  }
  return OK;
}

/* Goes past the first physical line of a row that is bad. */
static void drop_line(struct csv *c) {
  struct stream *s = &c->stream;
  uint8_t *from = s->out + s->out_at, *nl = memchr(from, '\n', s->out_n - s->out_at);
  s->out_at = nl ? (size_t)(nl - s->out) + 1 : s->out_n;
  s->skip = !nl;
  s->line++;
}

static int drop_rest(struct csv *c, struct error *e) {
  struct stream *s = &c->stream;
  while (s->skip) {
    uint8_t *from = s->out + s->out_at, *nl = memchr(from, '\n', s->out_n - s->out_at);
    s->out_at = nl ? (size_t)(nl - s->out) + 1 : s->out_n;
    s->skip = !nl;
    if (nl) break;
    int64_t k = stream_more(s, s->out_cap, e);
    if (k < 0) return (int)k;
    if (k == 0) s->skip = false;
  }
  return OK;
}

static bool blank(const char *p, size_t held, size_t *n) {
  *n = held && p[0] == '\n' ? 1 : held > 1 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
  return *n != 0;
}

int csv_row(struct csv *c, struct csv_row *row, struct error *e) {
  struct stream *s = &c->stream;
  if (!c->started) TRY(begin(c, e));
  if (s->skip) TRY(drop_rest(c, e));
  bool quoted = false;
  for (;;) {
    const char *base = (const char *)s->out + s->out_at;
    size_t held = s->out_n - s->out_at, empty;
    if (!held && s->eof) return E_END;
    if (blank(base, held, &empty)) {
      s->out_at += empty;
      s->line++;
      continue;
    }
    struct scan scan = {0};
    c->row = s->line + 1;
    int rc = quoted ? ROW_QUOTED : held ? scan_plain(c, base, held, &scan, e) : ROW_CUT;
    if (rc == ROW_QUOTED) {
      quoted = true;
      rc = scan_quoted(c, base, held, &scan, e);
    }
    if (rc == ROW_WHOLE && scan.bytes > s->line_limit + 1) rc = error_set(e, E_LIMIT, "row longer than %zu bytes", s->line_limit);
    if (rc == ROW_WHOLE) {
      s->out_at += scan.bytes;
      s->line += scan.lines;
      *row = (struct csv_row){c->field, scan.fields};
      return OK;
    }
    if (rc == ROW_CUT) {
      int64_t k = stream_more(s, s->line_limit, e);
      if (k >= 0) continue; /* 0: the end is known now, and the scan runs once more over what is held */
      rc = (int)k;
    }
    if (!s->code) drop_line(c); /* after a failure of the input there is no line to go on with */
    error_where(e, s->path, (int64_t)c->row, NULL);
    return rc;
  }
}

int csv_column(const struct csv_row *header, const char *name) {
  for (size_t i = 0; i < header->n; i++)
    if (str_eq_nocase(str_trim(header->field[i]), str_c(name))) return (int)i;
  return -1;
}

bool csv_column_twice(const struct csv_row *header, const char *name) {
  int at = csv_column(header, name);
  if (at < 0) return false;
  struct csv_row rest = {header->field + at + 1, header->n - (size_t)at - 1};
  return csv_column(&rest, name) >= 0;
}
