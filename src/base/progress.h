/* Progress bars on a terminal, plain lines (at most one every few seconds) elsewhere, nothing when quiet.
 *
 *     struct progress p;  progress_start(&p, "ingest", total_bytes, PROGRESS_BYTES);
 *     progress_update(&p, done, "1,234,567 events");  …  progress_end(&p, "ok: 1.9 M events");
 */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H
#include "base/str.h"
#include <stdio.h>

enum progress_unit { PROGRESS_COUNT, PROGRESS_BYTES };
enum progress_mode { PROGRESS_AUTO, PROGRESS_QUIET };
struct progress {
  char label[48];
  uint64_t total, done;
  enum progress_unit unit;
  double started, shown;
  bool terminal, active;
};
void progress_mode(enum progress_mode m); /* process-wide; --json and --quiet set QUIET */
void progress_start(struct progress *p, const char *label, uint64_t total, enum progress_unit unit);
void progress_update(struct progress *p, uint64_t done, const char *note); /* note may be NULL; our own words, no data values */
void progress_end(struct progress *p, const char *result);
void progress_note(const char *line); /* a line for people, where progress is shown at all */

/* Terminal facts (isatty, NO_COLOR, COLUMNS); the only getenv in the tree is in base/. */
bool term_is_tty(int fd);
bool term_colour(int fd);
int term_width(int fd);
const char *env_get(const char *name);
/* Human numbers: "1.9 M", "12.3 MB", "1,234,567" */
void human_count(uint64_t n, char out[32]);
void human_bytes(uint64_t n, char out[32]);
void human_thousands(int64_t n, char out[32]);

/* A plain table on stdout: columns aligned, header underlined; cells are copied. */
struct table {
  struct arena a;
  const char ***rows;
  int columns, n, cap;
};
void table_init(struct table *t, int columns, ...); /* `columns` header strings */
void table_row(struct table *t, ...);               /* `columns` strings */
void table_row_v(struct table *t, va_list cells);
void table_print(const struct table *t, FILE *to);
void table_release(struct table *t);
#endif
