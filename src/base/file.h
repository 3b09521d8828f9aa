/* Files: whole, mapped, streamed (plain or gzip), written atomically, listed, locked.
 *
 *     struct stream s;  TRY(stream_open(&s, "Observation.ndjson.gz", e));
 *     while ((rc = stream_line(&s, &line, e)) == OK) ...            // E_END at the end
 *     stream_close(&s);
 *
 * Writers go to a temporary name beside the target, fsync, rename, fsync the directory: a crash leaves the old file.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H
#include "base/arena.h"
#include "base/str.h"

struct file_map {
  const uint8_t *p; /* page-aligned, read-only; NULL for an empty file */
  size_t n;
};
int file_map_open(const char *path, struct file_map *m, struct error *e) MUST_CHECK;
void file_map_close(struct file_map *m);

int file_read(struct arena *a, const char *path, size_t limit, struct str *out, struct error *e) MUST_CHECK; /* NUL after the end */
int file_write_atomic(const char *path, const void *p, size_t n, unsigned mode, struct error *e) MUST_CHECK;

/* A writer of large files with the same promise. Sticky error: check file_writer_commit. */
struct file_writer {
  int fd, code;
  uint64_t offset; /* bytes written so far */
  char path[4096], temp[4096];
  uint8_t *buffer;
  size_t fill;
};
int file_writer_open(struct file_writer *w, const char *path, struct error *e) MUST_CHECK;
void file_writer_put(struct file_writer *w, const void *p, size_t n);
void file_writer_pad(struct file_writer *w, size_t align);                 /* zeros */
int file_writer_commit(struct file_writer *w, struct error *e) MUST_CHECK; /* fsync + rename */
void file_writer_abort(struct file_writer *w);                             /* removes the temporary file */

/* Streaming input, gzip (also concatenated members, bgzip) recognised by its magic bytes. Bounded memory. */
struct stream {
  int fd;
  void *gz;          /* inflate state, NULL for plain files */
  uint8_t *in, *out; /* raw and decoded windows */
  size_t in_n, in_at, out_n, out_at, out_cap;
  uint64_t bytes_in;  /* bytes taken from the file: for progress */
  uint64_t size;      /* of the file */
  uint64_t line;      /* number of the line last returned, 1-based */
  size_t line_limit;  /* longest line accepted; default 64 MiB */
  bool eof, overlong; /* overlong: the line last returned was cut (its rest skipped); reject it */
  bool skip;          /* inside the rest of an overlong line */
  int code;           /* sticky failure: reported once every whole line before it was returned */
  struct error failure;
  char path[4096];
};
int stream_open(struct stream *s, const char *path, struct error *e) MUST_CHECK;
int stream_read(struct stream *s, void *p, size_t n, size_t *got, struct error *e) MUST_CHECK; /* *got = 0 at the end */
/* The next line without its newline (CR LF too). Valid until the next call; `pad` bytes after it are readable. */
#define STREAM_PAD 64
int stream_line(struct stream *s, struct str *line, struct error *e) MUST_CHECK;
/* Makes the window longer behind out_n, keeping out[out_at, out_n): for parsers that work in place (csv.c). Returns the
 * bytes gained, 0 at the end, E_LIMIT when the window holds `most` bytes already, or the failure of the input. */
int64_t stream_more(struct stream *s, size_t most, struct error *e) MUST_CHECK;
/* Everything (for one JSON document), up to limit; memory from the arena, STREAM_PAD readable bytes after it. */
int stream_all(struct stream *s, struct arena *a, size_t limit, struct str *out, struct error *e) MUST_CHECK;
void stream_close(struct stream *s);

/* Directories */
int file_mkdirs(const char *path, unsigned mode, struct error *e) MUST_CHECK;
bool file_exists(const char *path);
bool file_is_dir(const char *path);
bool file_is_regular(const char *path); /* or a link to one; what is neither (a pipe, a device) may wait for ever to be opened */
int64_t file_size(const char *path);    /* -1 if it cannot be asked */
/* All regular files under path (or path itself), recursively, sorted bytewise; hidden names left out. Links not followed out. */
int file_list(struct arena *a, const char *path, struct str **out, size_t *n, struct error *e) MUST_CHECK;
/* How many entries file_list leaves out that are not hidden: links that lead out, to directories or nowhere (no_links: all), pipes, devices */
uint64_t file_left_out(const char *path, bool no_links);
int file_remove_tree(const char *path, struct error *e) MUST_CHECK;
/* dir + "/" + name into out; E_LIMIT if too long */
int file_join(char *out, size_t size, const char *dir, const char *name, struct error *e) MUST_CHECK;
/* rename(from, to) + fsync of the directory: moves a pointer or a finished directory into place */
int file_rename(const char *from, const char *to, struct error *e) MUST_CHECK;
int file_sync_dir(const char *dir, struct error *e) MUST_CHECK;
/* An exclusive advisory lock (flock) on path, made if absent, to be read by whoever may read its directory; E_BUSY if another process holds
 * it. Freed at exit too. */
int file_lock(const char *path, int *fd, struct error *e) MUST_CHECK;
/* A shared one, for those who only read: nothing is made or written. A lock that is not there, or may not be opened, holds nobody up (*fd -1). */
int file_lock_shared(const char *path, int *fd, struct error *e) MUST_CHECK;
void file_unlock(int fd);
bool file_program_dir(char *out, size_t n); /* where the running program lies, without the last slash; false: not known */
/* Directory of the running program's data (mapping/, tasks/, policy/): beside the binary's build tree or PREFIX/share/vitae. */
const char *file_data_dir(void);
#endif
