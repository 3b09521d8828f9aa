/* Bytes of files for the audit: windows with context, gzip, and what is written in other alphabets than bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/thread.h"
#include "cli/cli_audit.h"

enum { WINDOW = 1 << 20, CONTEXT = 512, RUN = 4096, RUN_LEAST = 6, PACKED_LEAST = 24 };

static int found(void *ctx, const struct audit_hit *h, struct error *e) { return audit_hit_note(ctx, h, e); }

/* A shape says strongly that something is wrong only where no shape can be ours: descriptions and texts. Staff have mail addresses too. */
static int found_shape(void *ctx, const struct audit_hit *h, struct error *e) {
  struct audit_run *a = ctx;
  struct audit_hit shape = *h;
  bool ours = a->part != PART_CODES && a->part != PART_TEXTS;
  if (ours || (a->part == PART_TEXTS && a->surrogates)) shape.weight = AUDIT_WEAK;
  return audit_hit_note(a, &shape, e);
}

int audit_bytes(struct audit_run *a, struct str bytes, size_t from, size_t to, const struct audit_place *at, struct error *e) {
  TRY(audit_search_range(a->search, bytes, from, to, at, found, a, e));
  if (at->where == AUDIT_BLOB || at->where == AUDIT_NAME || a->part == PART_VAULT) return OK;
  struct audit_shapes which = {.prose = at->where == AUDIT_TEXT, .dates = at->where == AUDIT_TEXT && a->dates_year};
  return audit_shapes_scan(bytes, from, to, &which, found_shape, a, e);
}

/* ---- other alphabets ---- */

static bool printable(char c) { return c >= ' ' && c < 0x7F; }

/* Runs of characters that are `stride` bytes apart with zeros between: UTF-16 and UTF-32, either order. */
static int wide_runs(struct audit_run *a, struct str b, size_t from, size_t to, size_t stride, const struct audit_place *at,
                     struct error *e) {
  char run[RUN];
  for (size_t i = from; i < to;) {
    size_t n = 0, k = i;
    while (n < RUN && k < b.n && printable(b.p[k])) {
      size_t zeros = 0;
      while (zeros < stride - 1 && k + 1 + zeros < b.n && b.p[k + 1 + zeros] == 0) zeros++;
      run[n++] = b.p[k];
      k += stride;
      if (zeros < stride - 1) break;
    }
    if (n < RUN_LEAST) {
      i++;
      continue;
    }
    uint64_t base = a->base;
    a->base += i;
    int rc = audit_search_range(a->search, (struct str){run, n}, 0, n, at, found, a, e);
    a->base = base;
    TRY(rc);
    i = k;
  }
  return OK;
}

static int sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}
static int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t from_base64(struct str s, char *out) {
  size_t n = 0;
  for (size_t i = 0; i + 1 < s.n; i += 4) {
    uint32_t v = 0;
    size_t k = s.n - i < 4 ? s.n - i : 4;
    for (size_t j = 0; j < 4; j++) v = v << 6 | (j < k ? (uint32_t)sextet(s.p[i + j]) : 0);
    for (size_t j = 0; j + 1 < k; j++) out[n++] = (char)(v >> (16 - 8 * j));
  }
  return n;
}
static size_t from_hex(struct str s, char *out) {
  size_t n = 0;
  for (size_t i = 0; i + 1 < s.n; i += 2) {
    int high = nibble(s.p[i]), low = nibble(s.p[i + 1]);
    if (high < 0 || low < 0) return 0;
    out[n++] = (char)(high << 4 | low);
  }
  return n;
}

static int packed_runs(struct audit_run *a, struct str b, size_t from, size_t to, const struct audit_place *at, struct error *e) {
  char run[RUN];
  for (size_t i = from; i < to;) {
    size_t k = i;
    while (k < b.n && k - i < RUN && sextet(b.p[k]) >= 0) k++;
    if (k - i >= PACKED_LEAST) {
      struct str s = {b.p + i, k - i};
      uint64_t base = a->base;
      a->base += i;
      size_t n = from_base64(s, run);
      int rc = audit_search_range(a->search, (struct str){run, n}, 0, n, at, found, a, e);
      n = rc == OK ? from_hex(s, run) : 0;
      if (n) rc = audit_search_range(a->search, (struct str){run, n}, 0, n, at, found, a, e);
      a->base = base;
      TRY(rc);
    }
    i = k > i ? k : i + 1;
  }
  return OK;
}

/* ---- files ---- */

static size_t zeros(const char *p, size_t n) {
  size_t k = 0;
  for (size_t i = 0; i < n; i++) k += p[i] == 0;
  return k;
}

/* Bytes that stand in no text: a twentieth of them, and the window is taken for an image or something enciphered. */
static bool binary(const char *p, size_t n) {
  size_t k = 0;
  for (size_t i = 0; i < n; i++) {
    uint8_t c = (uint8_t)p[i];
    k += (c < 0x20 && c && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
  }
  return k * 20 > n;
}

static int window(struct audit_run *a, struct str b, size_t from, size_t to, const struct audit_place *whose, struct error *e) {
  struct audit_place place = *whose, *at = &place;
  if (place.where == AUDIT_FILE && binary(b.p + from, to - from)) place.where = AUDIT_BLOB;
  TRY(audit_bytes(a, b, from, to, at, e));
  TRY(packed_runs(a, b, from, to, at, e));
  if (zeros(b.p + from, to - from) * 8 < to - from) return OK;
  TRY(wide_runs(a, b, from, to, 2, at, e));
  return wide_runs(a, b, from, to, 4, at, e);
}

/* Each window is looked at together with CONTEXT bytes before and after it; hits count where they begin. */
static int windows(struct audit_run *a, struct stream *in, char *p, const struct audit_place *at, struct error *e) {
  size_t have = 0, before = 0, got;
  bool end = false;
  a->base = 0;
  while (!end || have > before) {
    while (!end && have < before + WINDOW + CONTEXT) {
      TRY(stream_read(in, p + have, before + WINDOW + CONTEXT - have, &got, e));
      end = got == 0;
      have += got;
      a->read[a->part].bytes += got;
    }
    size_t to = end && have <= before + WINDOW ? have : before + WINDOW;
    TRY(window(a, (struct str){p, have}, before, to, at, e));
    if (to == have) return OK;
    size_t keep = to < CONTEXT ? to : CONTEXT;
    a->base += to - keep;
    memmove(p, p + to - keep, have - (to - keep));
    have -= to - keep;
    before = keep;
    if (cancel_requested()) return error_set(e, E_CANCELLED, "interrupted");
  }
  return OK;
}

/* Of a weight file only the header is text: 8 bytes of its length, then JSON. */
static int safetensors_header(struct audit_run *a, const char *path, const struct audit_place *at, struct error *e) {
  struct file_map m;
  uint64_t n = 0;
  TRY(file_map_open(path, &m, e));
  if (m.n >= 8) memcpy(&n, m.p, 8);
  if (n > m.n - (m.n < 8 ? m.n : 8)) n = m.n - (m.n < 8 ? m.n : 8);
  a->base = 8;
  a->read[a->part].bytes += n;
  int rc = n ? window(a, (struct str){(const char *)m.p + 8, n}, 0, n, at, e) : OK;
  file_map_close(&m);
  a->base = 0;
  return rc;
}

int audit_file_bytes(struct audit_run *a, const char *path, const struct audit_place *at, struct error *e) {
  struct stream in;
  a->row = 0;
  a->read[a->part].items++;
  if (str_ends(str_c(path), STR(".safetensors"))) return safetensors_header(a, path, at, e);
  TRY(stream_open(&in, path, e));
  char *p = mem_alloc(WINDOW + 2 * CONTEXT);
  int rc = p ? windows(a, &in, p, at, e) : error_set(e, E_NOMEM, "no memory to read a file");
  if (p) mem_wipe(p, WINDOW + 2 * CONTEXT);
  mem_free(p);
  stream_close(&in);
  a->base = 0;
  return rc;
}
