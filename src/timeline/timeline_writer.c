/* Taking events in: interning, partition buffers, spilling. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "deid/event.h"
#include "timeline/blob.h"
#include "timeline/timeline_writer.h"

enum { MEMORY_DEFAULT = 192 << 20, MEMORY_LEAST = 2 << 20, TEXT_BUFFER = 64 << 10, SOURCES_MAX = 1 << 24 };
_Static_assert(sizeof(struct spilled) == 48, "spill record");

int writer_write(int fd, const void *p, size_t n) {
  const uint8_t *at = p;
  while (n) {
    ssize_t k = write(fd, at, n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return -errno;
    at += k;
    n -= (size_t)k;
  }
  return 0;
}

int writer_io_failed(struct timeline_writer *w, struct error *e, int code) {
  char text[128];
  w->broken = code == -ENOMEM ? E_NOMEM : E_IO;
  error_set(e, w->broken, "cannot spill events: %s", strerror_r(-code, text, sizeof text));
  return error_where(e, w->work, 0, NULL);
}

void partition_path(const struct timeline_writer *w, const char *name, char out[4096]) { snprintf(out, 4096, "%s/%s", w->work, name); }

/* ---- the directory ---- */

static int read_current(const char *dir, uint64_t *current, struct error *e) {
  char path[4096];
  struct arena a;
  struct str text;
  *current = 0;
  TRY(file_join(path, sizeof path, dir, "CURRENT", e));
  arena_init(&a, 4096, 0);
  int rc = file_read(&a, path, 64, &text, e);
  if (rc == OK) {
    char name[65] = "";
    text = str_trim(text);
    memcpy(name, text.p, text.n);
    if (!str_eqc(text, "none") && (strlen(name) != text.n || generation_parse(name, current) < 0)) {
      error_set(e, E_CORRUPT, "names no generation");
      rc = error_where(e, path, 0, NULL);
    }
  }
  arena_free(&a);
  return rc;
}

static int each_entry(const char *dir, int (*f)(void *ctx, const char *path, const char *name, struct error *e), void *ctx,
                      struct error *e) {
  DIR *d = opendir(dir);
  if (!d) return error_set(e, E_IO, "cannot list the directory of timelines");
  int rc = OK;
  for (struct dirent *entry; rc == OK && (entry = readdir(d));) {
    char path[4096];
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    rc = file_join(path, sizeof path, dir, entry->d_name, e);
    if (rc == OK) rc = f(ctx, path, entry->d_name, e);
  }
  closedir(d);
  return rc;
}

static int clean_entry(void *ctx, const char *path, const char *name, struct error *e) {
  uint64_t n;
  bool temporary = strcmp(name, ".writing") == 0 || strncmp(name, ".CURRENT.tmp-", 13) == 0;
  bool uncommitted = generation_parse(name, &n) == OK && n > *(uint64_t *)ctx;
  return temporary || uncommitted ? file_remove_tree(path, e) : OK;
}
int writer_clean(const char *dir, uint64_t current, struct error *e) { return each_entry(dir, clean_entry, &current, e); }

static int prune_entry(void *ctx, const char *path, const char *name, struct error *e) {
  uint64_t n, current = *(uint64_t *)ctx;
  if (generation_parse(name, &n) == OK && n + 1 < current) return file_remove_tree(path, e);
  return OK;
}
void writer_prune(const char *dir, uint64_t current) {
  struct error ignored = {0}; /* the new generation stands; what could not be removed now is removed next time */
  if (each_entry(dir, prune_entry, &current, &ignored) < 0) return;
}

static int any_generation(void *ctx, const char *path, const char *name, struct error *e) {
  uint64_t n;
  (void)path, (void)e;
  if (generation_parse(name, &n) == OK) *(bool *)ctx = true;
  return OK;
}

/* An empty directory gets CURRENT = "none" first, so that generations without CURRENT are never mistaken for a crash's rest. */
static int prepare_dir(struct timeline_writer *w, uint64_t *current, struct error *e) {
  char path[4096];
  bool generations = false;
  TRY(file_join(path, sizeof path, w->dir, "CURRENT", e));
  if (!file_exists(path)) {
    TRY(each_entry(w->dir, any_generation, &generations, e));
    if (generations) {
      error_set(e, E_CORRUPT, "generations without CURRENT: write the name of the one that counts into it");
      return error_where(e, w->dir, 0, NULL);
    }
    TRY(file_write_atomic(path, "none\n", 5, 0644, e));
  }
  TRY(read_current(w->dir, current, e));
  TRY(writer_clean(w->dir, *current, e));
  return file_mkdirs(w->work, 0700, e);
}

static int open_previous(struct timeline_writer *w, struct error *e) {
  TRY(timeline_open(w->dir, &w->previous, e));
  TRY(manifest_read(&w->arena, w->previous->dir, &w->manifest, e));
  w->options.split_seed = w->manifest.split_seed;
  return OK;
}

static int take_options(struct timeline_writer *w, const struct timeline_options *o, struct error *e) {
  if (o) w->options = *o;
  if (w->options.memory_limit == 0) w->options.memory_limit = MEMORY_DEFAULT;
  if (w->options.memory_limit < MEMORY_LEAST) w->options.memory_limit = MEMORY_LEAST;
  struct str name = w->options.policy_name, hash = w->options.policy_hash, settings = w->options.policy_settings;
  if (name.n >= sizeof w->policy_name || hash.n >= sizeof w->policy_hash || settings.n >= sizeof w->policy_settings)
    return error_set(e, E_USAGE, "name or hash of the policy too long");
  if (name.n) memcpy(w->policy_name, name.p, name.n);
  if (hash.n) memcpy(w->policy_hash, hash.p, hash.n);
  if (settings.n) memcpy(w->policy_settings, settings.p, settings.n);
  w->options.policy_name = str_c(w->policy_name);
  w->options.policy_hash = str_c(w->policy_hash);
  w->options.policy_settings = str_c(w->policy_settings);
  return OK;
}

static int allocate(struct timeline_writer *w, struct error *e) {
  size_t limit = w->options.memory_limit, each = limit / 8 / PARTITIONS / sizeof(struct spilled);
  w->each = each > 4096 ? 4096 : (uint32_t)each;
  w->memory = mem_alloc((size_t)w->each * PARTITIONS * sizeof *w->memory);
  if (!w->memory) return error_set(e, E_NOMEM, "no memory for partition buffers");
  for (int i = 0; i < PARTITIONS; i++) w->partition[i].buffer = w->memory + (size_t)i * w->each;
  intern_init(&w->codes, limit / 8);
  intern_init(&w->units, limit / 64);
  arena_init(&w->displays, limit / 8, 0);
  return OK;
}

static int open_writer(struct timeline_writer *w, const char *dir, const struct timeline_options *o, struct error *e) {
  char path[4096];
  uint64_t current;
  if (strlen(dir) >= sizeof w->dir) return error_set(e, E_LIMIT, "path too long");
  strcpy(w->dir, dir);
  snprintf(w->work, sizeof w->work, "%s/.writing", w->dir);
  TRY(take_options(w, o, e));
  TRY(file_mkdirs(dir, 0755, e));
  TRY(file_join(path, sizeof path, dir, "LOCK", e));
  TRY(file_lock(path, &w->lock, e));
  TRY(prepare_dir(w, &current, e));
  if (current) TRY(open_previous(w, e));
  return allocate(w, e);
}

int timeline_writer_open(const char *dir, const struct timeline_options *o, struct timeline_writer **out, struct error *e) {
  *out = NULL;
  struct timeline_writer *w = mem_alloc(sizeof *w);
  if (!w) return error_set(e, E_NOMEM, "no memory for a timeline writer");
  *w = (struct timeline_writer){.lock = -1, .text_fd = -1};
  arena_init(&w->arena, 0, 0);
  int rc = open_writer(w, dir, o, e);
  if (rc < 0) {
    timeline_writer_abort(w);
    return rc;
  }
  *out = w;
  return OK;
}

void timeline_writer_abort(struct timeline_writer *w) {
  struct error ignored = {0};
  if (!w) return;
  if (w->text_fd >= 0) close(w->text_fd);
  if (w->lock >= 0 && file_remove_tree(w->work, &ignored) < 0) ignored.code = 0; /* the next writer tries again */
  timeline_close(w->previous);
  intern_release(&w->codes);
  intern_release(&w->units);
  arena_free(&w->displays);
  arena_free(&w->arena);
  mem_free(w->display);
  mem_free(w->memory);
  mem_free(w->text);
  mem_free(w->source);
  file_unlock(w->lock);
  mem_free(w);
}

/* ---- events ---- */

static int flush_partition(struct timeline_writer *w, uint32_t p, struct error *e) {
  struct partition *part = &w->partition[p];
  char path[4096], name[16];
  snprintf(name, sizeof name, "%02x", p);
  partition_path(w, name, path);
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  int code = fd < 0 ? -errno : writer_write(fd, part->buffer, part->fill * sizeof *part->buffer);
  if (fd >= 0 && close(fd) < 0 && code == 0) code = -errno;
  if (code < 0) return writer_io_failed(w, e, code);
  part->written += part->fill;
  part->fill = 0;
  return OK;
}

int writer_flush_text(struct timeline_writer *w, struct error *e) {
  char path[4096];
  if (w->text_fill == 0) return OK;
  if (w->text_fd < 0) {
    partition_path(w, "text", path);
    w->text_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (w->text_fd < 0) return writer_io_failed(w, e, -errno);
  }
  int code = writer_write(w->text_fd, w->text, w->text_fill);
  if (code < 0) return writer_io_failed(w, e, code);
  w->text_written += w->text_fill;
  w->text_fill = 0;
  return OK;
}

static int put_text(struct timeline_writer *w, struct str text, uint64_t *at, struct error *e) {
  if (!w->text && !(w->text = mem_alloc(TEXT_BUFFER))) return error_set(e, E_NOMEM, "no memory for a text buffer");
  *at = w->text_written + w->text_fill;
  while (text.n) {
    size_t n = text.n < TEXT_BUFFER - w->text_fill ? text.n : TEXT_BUFFER - w->text_fill;
    memcpy(w->text + w->text_fill, text.p, n);
    w->text_fill += n;
    text = (struct str){text.p + n, text.n - n};
    if (w->text_fill == TEXT_BUFFER) TRY(writer_flush_text(w, e));
  }
  return OK;
}

static int put_display(struct timeline_writer *w, uint32_t code, struct str display, struct error *e) {
  if (code >= w->display_cap) {
    uint32_t cap = w->display_cap ? w->display_cap * 2 : 256;
    while (cap <= code) cap *= 2;
    struct str *more = mem_realloc(w->display, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for displays");
    memset(more + w->display_cap, 0, (cap - w->display_cap) * sizeof *more);
    w->display = more;
    w->display_cap = cap;
  }
  if (display.n > DISPLAY_MAX_BYTES) { /* cut at a character's edge */
    display.n = DISPLAY_MAX_BYTES;
    while (display.n && ((uint8_t)display.p[display.n] & 0xC0) == 0x80) display.n--;
  }
  struct str *have = &w->display[code];
  if (display.n == 0 || (have->n && str_cmp(display, *have) >= 0)) return OK;
  struct str copy = str_copy(&w->displays, display);
  if (!copy.p) return error_set(e, E_LIMIT, "descriptions of codes over their share of the memory limit");
  *have = copy;
  return OK;
}

static int put_source(struct timeline_writer *w, uint32_t index, struct error *e) {
  if (index < w->sources) return OK;
  if (index >= SOURCES_MAX) return error_set(e, E_LIMIT, "more than %d source files in one run", SOURCES_MAX);
  if (index >= w->source_cap) {
    uint32_t cap = w->source_cap ? w->source_cap * 2 : 16;
    while (cap <= index) cap *= 2;
    struct source *more = mem_realloc(w->source, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for the list of sources");
    memset(more + w->source_cap, 0, (cap - w->source_cap) * sizeof *more);
    w->source = more;
    w->source_cap = cap;
  }
  w->sources = index + 1;
  return OK;
}

static int append(struct timeline_writer *w, const struct event *ev, bool back, struct error *e) {
  struct str code = event_code(ev), unit = event_unit(ev), text = event_text(ev), display = event_display(ev), blob = event_blob(ev);
  struct spilled s = {.subject = event_subject(ev), .time = event_time(ev), .value = event_value(ev), .file = event_origin_file(ev)};
  uint64_t row = event_origin_row(ev);
  if (w->broken) return error_set(e, w->broken, "an earlier failure stopped this writer");
  if (s.subject <= 0) return error_set(e, E_INPUT, "event without a subject");
  if (code.n == 0 || code.n > NAME_MAX_BYTES) return error_set(e, E_INPUT, "code empty or longer than %d bytes", NAME_MAX_BYTES);
  if (unit.n > NAME_MAX_BYTES || text.n > TEXT_MAX) return error_set(e, E_INPUT, "unit or text too long");
  uint8_t digest[BLOB_BYTES];
  if (blob.n && hash_unhex(blob, digest, BLOB_BYTES, NULL) < 0) return error_set(e, E_INPUT, "name of a blob is no SHA-256");
  s.row = row < UINT32_MAX ? (uint32_t)row : UINT32_MAX;
  s.back = back;
  s.earlier = back && event_earlier(ev);
  TRY(intern_put(&w->codes, code, &s.code, e));
  if (display.n) TRY(put_display(w, s.code, display, e));
  if (unit.n) {
    uint32_t id;
    TRY(intern_put(&w->units, unit, &id, e));
    if ((s.unit = id + 1) > UINT16_MAX) return error_set(e, E_LIMIT, "more than %d units", UINT16_MAX);
  }
  TRY(put_source(w, s.file, e));
  if (text.n || blob.n) TRY(put_text(w, text, &s.text_at, e));
  if (blob.n) TRY(put_text(w, (struct str){(const char *)digest, BLOB_BYTES}, &(uint64_t){0}, e));
  s.text_n = (uint32_t)text.n;
  s.blob = blob.n > 0;
  uint32_t p = (uint32_t)(subject_hash(s.subject) >> 56);
  struct partition *part = &w->partition[p];
  if (part->fill == w->each) TRY(flush_partition(w, p, e));
  part->buffer[part->fill++] = s;
  w->events++;
  return OK;
}

int timeline_append(void *writer, const struct event *ev, struct error *e) { return append(writer, ev, false, e); }
int timeline_take_back(void *writer, const struct event *ev, struct error *e) { return append(writer, ev, true, e); }

int timeline_writer_blob(void *writer, const char *temporary, char hex[65], struct error *e) {
  struct timeline_writer *w = writer;
  if (w->broken) return error_set(e, w->broken, "an earlier failure stopped this writer");
  return blob_put(w->dir, temporary, hex, e);
}

const char *timeline_writer_blob_dir(const struct timeline_writer *w) { return w->work; }

int timeline_writer_source(struct timeline_writer *w, uint32_t index, const char *name, const char *sha256, bool pieces, struct error *e) {
  uint8_t digest[32];
  TRY(put_source(w, index, e));
  const char *slash = name ? strrchr(name, '/') : NULL, *base = slash ? slash + 1 : name;
  struct source *s = &w->source[index];
  s->name_sha256[0] = 0;
  if (base) { /* a file's name can be a person's name: only its hash is kept */
    sha256_of(base, strlen(base), digest);
    hash_hex(digest, sizeof digest, s->name_sha256);
  }
  if (sha256 && strlen(sha256) >= sizeof s->sha256) return error_set(e, E_USAGE, "hash of a source longer than 64 digits");
  snprintf(s->sha256, sizeof s->sha256, "%s", sha256 ? sha256 : "");
  s->pieces = pieces;
  return OK;
}
