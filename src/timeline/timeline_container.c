/* One file of the store: header (64 bytes), section table, sections on 64-byte edges. See FORMAT.md. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "timeline/timeline_store.h"

struct header {
  char magic[8];
  uint32_t version, sections;
  uint64_t file_bytes, rows[3], table_hash, header_hash;
};
_Static_assert(sizeof(struct header) == 64 && sizeof(struct section) == 32, "on-disk layout");

const struct container_kind container_shard = {
    "VITAETLS", SHARD_SECTIONS, S_BLOB_EVENT, {8, 8, 4, 1, 8, 4, 4, 2, 4, 4, 8, 16, 16, 1, 8, 32}};
const struct container_kind container_codes = {"VITAETLC", DICTIONARY_SECTIONS, DICTIONARY_SECTIONS, {8, 1, 8, 1, 8, 8, 1}};

static uint64_t aligned(uint64_t n) { return (n + SECTION_ALIGN - 1) & ~(uint64_t)(SECTION_ALIGN - 1); }
static uint64_t first_offset(uint32_t sections) { return aligned(sizeof(struct header) + sections * sizeof(struct section)); }

uint64_t section_hash(const void *p, uint64_t n) {
  const uint8_t *at = p;
  uint64_t h = 0;
  for (; n; at += SECTION_CHUNK, n -= n < SECTION_CHUNK ? n : SECTION_CHUNK) h = hash64(at, n < SECTION_CHUNK ? n : SECTION_CHUNK, h);
  return h;
}

/* Elements each section must have, given the header's counts; UINT64_MAX = as many as its bytes say. */
static uint64_t expected(const struct container_kind *kind, int section, const uint64_t rows[3]) {
  enum { FREE = -1 };
  static const int8_t shard[SHARD_SECTIONS] = {0, 3, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, FREE, FREE, FREE, FREE};
  static const int8_t codes[DICTIONARY_SECTIONS] = {3, FREE, 3, FREE, 0, 4, FREE};
  int which = kind == &container_shard ? shard[section] : codes[section];
  return which == FREE ? UINT64_MAX : which < 3 ? rows[which] : rows[which - 3] + 1;
}

static int corrupt(struct error *e, const char *what) { return error_set(e, E_CORRUPT, "%s", what); }

static int check_table(struct container *c, const struct container_kind *kind, struct error *e) {
  uint64_t at = first_offset(c->sections);
  for (uint32_t i = 0; i < c->sections; i++) {
    const struct section *s = &c->section[i];
    uint64_t want = expected(kind, (int)i, c->rows);
    if (s->kind != i + 1 || s->width != kind->width[i] || s->offset != at) return corrupt(e, "section table out of order");
    if (s->bytes > c->map.n - at || s->bytes % s->width) return corrupt(e, "section longer than the file");
    if (want != UINT64_MAX && s->bytes / s->width != want) return corrupt(e, "section length disagrees with the header");
    at = aligned(at + s->bytes);
    if (at > c->map.n) return corrupt(e, "section longer than the file");
  }
  return at == c->map.n ? OK : corrupt(e, "bytes after the last section");
}

static int check_header(struct container *c, const struct container_kind *kind, struct error *e) {
  struct header h;
  size_t table;
  if (c->map.n < sizeof h) return corrupt(e, "shorter than its header");
  memcpy(&h, c->map.p, sizeof h);
  if (memcmp(h.magic, kind->magic, 8) != 0) return corrupt(e, "is no file of a timeline store (magic)");
  if (h.version > TIMELINE_FORMAT_VERSION) /* before the checksum: only magic and version are promised to stay where they are */
    return error_set(e, E_VERSION, "written by format version %u; this program reads up to %u", h.version, TIMELINE_FORMAT_VERSION);
  if (h.header_hash != hash64(&h, offsetof(struct header, header_hash), 0)) return corrupt(e, "header checksum");
  c->sections = h.version == 1 ? kind->sections_1 : kind->sections;
  table = c->sections * sizeof(struct section);
  if (h.version == 0 || h.sections != c->sections) return corrupt(e, "header fields");
  if (h.file_bytes != c->map.n || c->map.n < first_offset(c->sections)) return corrupt(e, "file is cut or has grown");
  if (h.rows[0] > UINT32_MAX - 1 || h.rows[1] > UINT64_MAX / 64 || h.rows[2] > h.rows[1]) return corrupt(e, "header counts");
  if (h.table_hash != hash64(c->map.p + sizeof h, table, 0)) return corrupt(e, "section table checksum");
  memcpy(c->rows, h.rows, sizeof c->rows);
  memcpy(c->section, c->map.p + sizeof h, table);
  return check_table(c, kind, e);
}

int container_open(const char *path, const struct container_kind *kind, struct container *c, struct error *e) {
  *c = (struct container){0};
  TRY(file_map_open(path, &c->map, e));
  int rc = check_header(c, kind, e);
  if (rc < 0) {
    error_where(e, path, 0, NULL);
    container_close(c);
  }
  return rc;
}

void container_close(struct container *c) {
  file_map_close(&c->map);
  *c = (struct container){0};
}

int container_check(const struct container *c, struct error *e) {
  uint64_t end = sizeof(struct header) + c->sections * sizeof(struct section);
  for (uint32_t i = 0; i <= c->sections; i++) {
    uint64_t next = i < c->sections ? c->section[i].offset : c->map.n;
    for (; end < next; end++)
      if (c->map.p[end]) return error_set(e, E_CORRUPT, "padding before section %u is not zero", i + 1);
    if (i == c->sections) break;
    if (section_hash(c->map.p + next, c->section[i].bytes) != c->section[i].hash)
      return error_set(e, E_CORRUPT, "checksum of section %u", i + 1);
    end = next + c->section[i].bytes;
  }
  return OK;
}

/* ---- writing ---- */

int container_writer_open(struct container_writer *w, const char *path, const struct container_kind *kind, size_t memory, struct error *e) {
  *w = (struct container_writer){.kind = kind};
  for (int i = 0; i < SECTIONS_MAX; i++) w->spool[i].fd = -1;
  if (strlen(path) + 8 > sizeof w->path) return error_set(e, E_LIMIT, "path too long");
  strcpy(w->path, path);
  size_t each = memory / kind->sections & ~(size_t)(SECTION_ALIGN - 1);
  if (each < 1024) each = 1024;
  w->memory = mem_alloc(each * kind->sections);
  if (!w->memory) return error_set(e, E_NOMEM, "no memory for column buffers");
  for (uint32_t i = 0; i < kind->sections; i++) w->spool[i] = (struct spool){.p = w->memory + i * each, .cap = each, .fd = -1};
  return OK;
}

static int write_all(int fd, const uint8_t *p, size_t n) {
  while (n) {
    ssize_t k = write(fd, p, n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return -errno;
    p += k;
    n -= (size_t)k;
  }
  return 0;
}

static void spill(struct container_writer *w, int section) {
  struct spool *s = &w->spool[section];
  if (s->fd < 0 && s->code == 0) {
    char path[4200];
    snprintf(path, sizeof path, "%s.s%02d", w->path, section);
    s->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (s->fd < 0) s->code = -errno;
    unlink(path); /* gone with the process, however it ends */
  }
  if (s->code == 0) s->code = write_all(s->fd, s->p, s->n);
  s->spilled += s->n;
  s->n = 0;
}

void container_put(struct container_writer *w, int section, const void *p, size_t n) {
  struct spool *s = &w->spool[section];
  const uint8_t *from = p;
  while (n) {
    size_t part = n < s->cap - s->n ? n : s->cap - s->n;
    memcpy(s->p + s->n, from, part);
    s->n += part;
    from += part;
    n -= part;
    if (s->n == s->cap) spill(w, section);
  }
}

static int io_failed(struct error *e, const char *path, int code) {
  char text[128];
  error_set(e, code == -ENOMEM ? E_NOMEM : E_IO, "cannot write or read back: %s", strerror_r(-code, text, sizeof text));
  return error_where(e, path, 0, NULL);
}

/* Copies one section into the file in checksum pieces. */
static int copy_section(struct container_writer *w, int fd, int section, uint8_t *chunk, uint64_t *hash) {
  struct spool *s = &w->spool[section];
  if (s->code) return s->code;
  uint64_t total = s->spilled + s->n, done = 0;
  *hash = 0;
  while (done < total) {
    size_t want = total - done < SECTION_CHUNK ? (size_t)(total - done) : SECTION_CHUNK, have = 0;
    while (have < want) {
      uint64_t at = done + have;
      if (at < s->spilled) {
        size_t n = s->spilled - at < want - have ? (size_t)(s->spilled - at) : want - have;
        ssize_t k = pread(s->fd, chunk + have, n, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return k < 0 ? -errno : -EIO;
        have += (size_t)k;
      } else {
        memcpy(chunk + have, s->p + (at - s->spilled), want - have);
        have = want;
      }
    }
    *hash = hash64(chunk, want, *hash);
    int rc = write_all(fd, chunk, want);
    if (rc < 0) return rc;
    done += want;
  }
  return 0;
}

static int write_zeros(int fd, uint64_t from, uint64_t to) {
  static const uint8_t zeros[SECTION_ALIGN];
  while (from < to) {
    size_t n = to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros;
    int rc = write_all(fd, zeros, n);
    if (rc < 0) return rc;
    from += n;
  }
  return 0;
}

static int write_file(struct container_writer *w, int fd, uint8_t *chunk, const uint64_t rows[3], uint64_t *bytes) {
  struct header h = {.version = TIMELINE_FORMAT_VERSION, .sections = w->kind->sections};
  struct section table[SECTIONS_MAX];
  uint64_t at = first_offset(w->kind->sections);
  size_t table_bytes = w->kind->sections * sizeof *table;
  memcpy(h.magic, w->kind->magic, 8);
  memcpy(h.rows, rows, sizeof h.rows);
  int rc = write_zeros(fd, 0, at);
  for (uint32_t i = 0; rc == 0 && i < w->kind->sections; i++) {
    uint64_t n = w->spool[i].spilled + w->spool[i].n;
    table[i] = (struct section){.kind = i + 1, .width = w->kind->width[i], .offset = at, .bytes = n};
    rc = copy_section(w, fd, (int)i, chunk, &table[i].hash);
    if (rc == 0) rc = write_zeros(fd, at + n, aligned(at + n));
    at = aligned(at + n);
  }
  if (rc < 0) return rc;
  h.file_bytes = *bytes = at;
  h.table_hash = hash64(table, table_bytes, 0);
  h.header_hash = hash64(&h, offsetof(struct header, header_hash), 0);
  if (lseek(fd, 0, SEEK_SET) < 0) return -errno;
  rc = write_all(fd, (const uint8_t *)&h, sizeof h);
  if (rc == 0) rc = write_all(fd, (const uint8_t *)table, table_bytes);
  return rc < 0 ? rc : fsync(fd) < 0 ? -errno : 0;
}

int container_writer_finish(struct container_writer *w, const uint64_t rows[3], uint64_t *bytes, struct error *e) {
  uint8_t *chunk = mem_alloc(SECTION_CHUNK);
  int fd = open(w->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  int code = fd < 0 ? -errno : 0, rc = OK;
  if (!chunk) code = -ENOMEM;
  if (code == 0) code = write_file(w, fd, chunk, rows, bytes);
  if (fd >= 0 && close(fd) < 0 && code == 0) code = -errno;
  if (code < 0) rc = io_failed(e, w->path, code);
  mem_free(chunk);
  container_writer_close(w);
  return rc;
}

/* Read in pieces, not mapped: a shard's pages would count as ours. */
int container_digest(const char *path, uint8_t sha256[32], struct error *e) {
  uint8_t *chunk = mem_alloc(SECTION_CHUNK);
  struct sha256 sha = {NULL};
  if (!chunk) return error_set(e, E_NOMEM, "no memory to read a shard");
  int rc = sha256_init(&sha, e), fd = rc == OK ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  ssize_t n = fd < 0 ? -1 : 1;
  while (n > 0) {
    n = read(fd, chunk, SECTION_CHUNK);
    if (n < 0 && errno == EINTR)
      n = 1;
    else if (n > 0)
      sha256_add(&sha, chunk, (size_t)n);
  }
  if (rc == OK && n < 0) rc = io_failed(e, path, -errno);
  if (fd >= 0) close(fd);
  if (sha.ctx) sha256_end(&sha, sha256);
  mem_free(chunk);
  return rc;
}

void container_writer_close(struct container_writer *w) {
  for (int i = 0; i < SECTIONS_MAX; i++) {
    if (w->spool[i].fd >= 0) close(w->spool[i].fd);
    w->spool[i].fd = -1;
  }
  mem_free(w->memory);
  w->memory = NULL;
}
