/* Lines of a VCF, whatever its packing. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "record/vcf.h"
#include "record/vcf_bcf.h"

struct vcf_source {
  struct stream text;
  bool open, is_bcf;
  uint64_t row;
  pid_t child; /* that reads the BCF; 0 = none */
  int pipe;
  char path[4096];
};

static int bad(struct error *e, const struct vcf_source *s, int code, const char *what) {
  error_set(e, code, "%s", what);
  error_where(e, s->path, (int64_t)s->row, NULL);
  return code;
}

/* The end mark of a bgzip file: without it the file was cut, even where every block before is whole (SAM specification, 4.1.2). */
static const uint8_t end_mark[28] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, 0x42, 0x43, 2, 0, 0x1b, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};

static int check_end(struct vcf_source *s, struct error *e) {
  uint8_t first[18], last[28];
  if (file_exists(s->path) && !file_is_regular(s->path)) return bad(e, s, E_INPUT, "is no regular file");
  int fd = open(s->path, O_RDONLY | O_CLOEXEC), rc = OK;
  if (fd < 0) return bad(e, s, errno == ENOENT ? E_NOTFOUND : E_IO, "cannot be opened");
  off_t size = lseek(fd, 0, SEEK_END);
  bool bgzip = pread(fd, first, sizeof first, 0) == (ssize_t)sizeof first && first[0] == 0x1f && first[1] == 0x8b && first[3] & 4 &&
               first[12] == 'B' && first[13] == 'C';
  if (bgzip && (size < 28 || pread(fd, last, sizeof last, size - 28) != (ssize_t)sizeof last || memcmp(last, end_mark, sizeof last) != 0))
    rc = bad(e, s, E_CORRUPT, "a bgzip file without its end mark: it was cut");
  close(fd);
  return rc;
}

/* htslib takes the length of the header from the file: looked at here before it allocates that much. */
static int look(struct vcf_source *s, struct error *e) {
  uint8_t magic[9];
  size_t n = 0, got = 1;
  struct stream in;
  TRY(stream_open(&in, s->path, e));
  int rc = OK;
  while (rc == OK && n < sizeof magic && got) {
    rc = stream_read(&in, magic + n, sizeof magic - n, &got, e);
    n += got;
  }
  stream_close(&in);
  if (rc < 0) return rc;
  s->is_bcf = n == sizeof magic && memcmp(magic, "BCF\2", 4) == 0 && (magic[4] == 1 || magic[4] == 2);
  if (!s->is_bcf) return OK;
  uint32_t length = magic[5] | (uint32_t)magic[6] << 8 | (uint32_t)magic[7] << 16 | (uint32_t)magic[8] << 24;
  return length > VCF_HEADER_LIMIT ? bad(e, s, E_LIMIT, "header longer than 64 MiB") : OK;
}

static int open_bcf(struct vcf_source *s, struct error *e) {
  char path[64];
  TRY(vcf_bcf_start(s->path, &s->pipe, &s->child, e));
  snprintf(path, sizeof path, "/proc/self/fd/%d", s->pipe);
  return stream_open(&s->text, path, e);
}

int vcf_source_open(const char *path, struct vcf_source **out, struct error *e) {
  *out = NULL;
  struct vcf_source *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "no memory for a VCF file");
  memset(s, 0, sizeof *s);
  s->pipe = -1;
  int rc = strlen(path) < sizeof s->path ? OK : error_set(e, E_LIMIT, "path too long");
  if (rc == OK) strcpy(s->path, path);
  if (rc == OK) rc = check_end(s, e);
  if (rc == OK) rc = look(s, e);
  if (rc == OK) rc = s->is_bcf ? open_bcf(s, e) : stream_open(&s->text, path, e);
  if (rc == OK) {
    s->open = true;
    s->text.line_limit = VCF_LINE_LIMIT;
  }
  if (rc < 0) {
    vcf_source_close(s);
    return rc;
  }
  *out = s;
  return OK;
}

void vcf_source_close(struct vcf_source *s) {
  if (!s) return;
  if (s->open) stream_close(&s->text);
  if (s->pipe >= 0) close(s->pipe);
  if (s->child > 0 && vcf_bcf_end(s->child, true, NULL) < 0) s->child = 0;
  mem_free(s);
}

uint64_t vcf_source_row(const struct vcf_source *s) { return s->row; }
uint64_t vcf_source_bytes(const struct vcf_source *s) { return s->is_bcf ? 0 : s->text.bytes_in; }

static bool printable(struct str s) {
  uint8_t wrong = 0;
  for (size_t i = 0; i < s.n; i++) {
    uint8_t c = (uint8_t)s.p[i];
    wrong |= (uint8_t)((c < 32) & (c != 9)) | (uint8_t)(c == 127);
  }
  return !wrong;
}

int vcf_source_line(struct vcf_source *s, struct str *line, struct error *e) {
  int rc = stream_line(&s->text, line, e);
  if (rc == E_END && s->child > 0) { /* an end is an end only if the child says so */
    pid_t child = s->child;
    s->child = 0;
    int ended = vcf_bcf_end(child, false, e);
    return ended < 0 ? ended : E_END;
  }
  if (rc < 0) return rc;
  s->row++;
  if (s->text.overlong) return bad(e, s, E_LIMIT, "line longer than 64 MiB");
  return printable(*line) ? OK : bad(e, s, E_INPUT, "control characters in a line");
}
