/* One way to fail.
 *
 *     int timeline_open(const char *path, struct timeline **out, struct error *e) MUST_CHECK;
 *     ...
 *     struct error e = {0};
 *     if (timeline_open("site/timelines", &t, &e) < 0) { error_print(stderr, &e); return error_exit_status(e.code); }
 *
 * A function that can fail returns 0 (or a count >= 0) or one of the negative codes below, and describes the failure in
 * the caller's struct error. `e` may be NULL where the caller wants the code alone. Programmer errors end in BUG().
 * A message names file, row, field and code. It NEVER contains a value read from data: error_set takes no string that
 * came from a record; field names come from our own schemas. A value in a log is a breach.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H
#include <stdint.h>
#include <stdio.h>

enum {
  OK = 0,
  E_END = -1,          /* nothing left to read (not a failure where a loop expects it) */
  E_MORE = -2,         /* a parser needs more bytes */
  E_INPUT = -3,        /* malformed or unusable input */
  E_IO = -4,           /* the operating system refused (errno is named in the message) */
  E_NOMEM = -5,        /* the machine has no more memory */
  E_LIMIT = -6,        /* a limit of ours was reached: size, depth, time, arena */
  E_DENIED = -7,       /* not allowed: key, policy, gate */
  E_NOTFOUND = -8,     /* the named thing does not exist */
  E_VERSION = -9,      /* written by a newer format version */
  E_CORRUPT = -10,     /* a checksum or invariant of a stored file does not hold */
  E_MISMATCH = -11,    /* two things that do not belong together (vocabulary and weights) */
  E_BUSY = -12,        /* somebody else holds the lock, or the queue is full */
  E_UNAVAILABLE = -13, /* an optional part is not here (DuckDB, AMX, GPU) */
  E_CANCELLED = -14,   /* interrupted on request */
  E_USAGE = -15        /* wrong command line or API call */
};

#define ERROR_MESSAGE 320
struct error {
  int code;       /* one of the codes above; 0 = no error */
  char file[192]; /* input file, "" if none (a path, or a name inside an archive) */
  int64_t row;    /* 1-based row, line or resource number in that file; 0 = none */
  char field[96]; /* field in our schema's words, e.g. "Observation.effectiveDateTime"; "" if none */
  char message[ERROR_MESSAGE];
  const char *source; /* where in our own code: file name */
  int line;
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))

/* Sets *e and returns `code`. A place that error_where gave beforehand (e->code still 0) is kept; that of an older failure goes. */
#define error_set(e, code, ...) error_set_at(__FILE__, __LINE__, (e), (code), __VA_ARGS__)
int error_set_at(const char *source, int line, struct error *e, int code, const char *fmt, ...) PRINTF(5, 6);
/* Adds the place in the input to an error already set. NULL/0 leave a part as it was. Returns e->code (E_INPUT when e is NULL). */
int error_where(struct error *e, const char *file, int64_t row, const char *field);
/* "file:row: field: message (code name)" as one line; never a value. */
void error_format(const struct error *e, char *out, size_t size);
void error_print(FILE *to, const struct error *e);

/* One table maps codes to names, process exit statuses and HTTP statuses. */
const char *error_name(int code);
int error_exit_status(int code);
int error_http_status(int code);

#define TRY(expr)                    \
  do {                               \
    int try_rc_ = (expr);            \
    if (try_rc_ < 0) return try_rc_; \
  } while (0)
/* For functions with one exit: sets rc and jumps to `out`. */
#define TRY_OUT(expr)     \
  do {                    \
    rc = (expr);          \
    if (rc < 0) goto out; \
  } while (0)

/* A broken invariant of our own: prints where and aborts. */
#define BUG(...) error_bug(__FILE__, __LINE__, __VA_ARGS__)
__attribute__((noreturn)) void error_bug(const char *source, int line, const char *fmt, ...) PRINTF(3, 4);
#define BUG_IF(cond)                                     \
  do {                                                   \
    if (__builtin_expect(!!(cond), 0)) BUG("%s", #cond); \
  } while (0)
#endif
