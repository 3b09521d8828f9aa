#include "base/error.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The one table: code -> name, exit status (sysexits-like, stable: scripts depend on it), HTTP status. */
struct code_row {
  int code;
  const char *name;
  int exit_status, http_status;
};
static const struct code_row CODES[] = {
    {OK, "ok", 0, 200},
    {E_END, "end", 10, 500},
    {E_MORE, "more", 11, 400},
    {E_INPUT, "input", 65, 400},
    {E_IO, "io", 74, 500},
    {E_NOMEM, "nomem", 71, 503},
    {E_LIMIT, "limit", 12, 413},
    {E_DENIED, "denied", 77, 403},
    {E_NOTFOUND, "notfound", 66, 404},
    {E_VERSION, "version", 13, 422},
    {E_CORRUPT, "corrupt", 14, 500},
    {E_MISMATCH, "mismatch", 15, 409},
    {E_BUSY, "busy", 75, 429},
    {E_UNAVAILABLE, "unavailable", 69, 503},
    {E_CANCELLED, "cancelled", 130, 499},
    {E_USAGE, "usage", 64, 400},
};
static const struct code_row UNKNOWN = {1, "unknown", 70, 500};

static const struct code_row *code_row(int code) {
  if (code > 0) code = OK; /* counts are successes */
  size_t i = 0u - (unsigned)code;
  if (i >= sizeof CODES / sizeof *CODES) return &UNKNOWN;
  return &CODES[i];
}

const char *error_name(int code) { return code_row(code)->name; }
int error_exit_status(int code) { return code_row(code)->exit_status; }
int error_http_status(int code) { return code_row(code)->http_status; }

static void copy_text(char *to, size_t size, const char *from) {
  size_t n = strlen(from);
  if (n >= size) { /* a long path keeps its end: the name says more than the root */
    from += n - (size - 1);
    n = size - 1;
  }
  memmove(to, from, n);
  to[n] = 0;
}

int error_set_at(const char *source, int line, struct error *e, int code, const char *fmt, ...) {
  if (code >= 0) BUG("error_set with a code that is no error");
  if (!e) return code;
  if (e->code != 0) { /* a new failure: its place is not the old one's */
    e->file[0] = e->field[0] = 0;
    e->row = 0;
  }
  e->code = code;
  e->source = source;
  e->line = line;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(e->message, sizeof e->message, fmt, ap);
  va_end(ap);
  return code;
}

int error_where(struct error *e, const char *file, int64_t row, const char *field) {
  if (!e) return E_INPUT;
  if (file) copy_text(e->file, sizeof e->file, file);
  if (row) e->row = row;
  if (field) copy_text(e->field, sizeof e->field, field);
  return e->code;
}

void error_format(const struct error *e, char *out, size_t size) {
  if (!size) return;
  size_t n = 0;
#define ADD(...)                                                             \
  do {                                                                       \
    int add_ = snprintf(out + n, size - n, __VA_ARGS__);                     \
    if (add_ > 0) n = n + (size_t)add_ < size ? n + (size_t)add_ : size - 1; \
  } while (0)
  out[0] = 0;
  if (e->file[0]) ADD("%s:", e->file);
  if (e->row) ADD(e->file[0] ? "%lld:" : "row %lld:", (long long)e->row);
  if (e->file[0] || e->row) ADD(" ");
  if (e->field[0]) ADD("%s: ", e->field);
  ADD("%s (%s)", e->message[0] ? e->message : "failed", error_name(e->code));
#undef ADD
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)out[i] < ' ') out[i] = ' '; /* one line, no terminal control sequences from file names */
}

void error_print(FILE *to, const struct error *e) {
  char line[sizeof e->file + sizeof e->field + sizeof e->message + 96];
  error_format(e, line, sizeof line);
  fprintf(to, "%s\n", line);
}

void error_bug(const char *source, int line, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "bug at %s:%d: ", source, line);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  va_end(ap);
  abort();
}
