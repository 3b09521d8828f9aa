/* CSV (RFC 4180, and what hospitals write): pure parser, bytes in, rows out. Quotes, embedded newlines, CR LF, BOM,
 * any one-byte separator. A row's fields point into the stream's window and are valid until the next row. Empty lines are left out.
 * A quote inside an unquoted field is an ordinary character. A bad row costs its first physical line only: an unclosed
 * quote does not swallow what follows. The longest row is stream.line_limit bytes.
 *
 *     struct csv c;  TRY(csv_open(&c, "labevents.csv.gz", ',', e));
 *     while ((rc = csv_row(&c, &row, e)) == OK) use(row.field[k], row.n);        // E_END at the end
 *     // rc == E_INPUT / E_LIMIT: that row is bad (unclosed quote, too long); c.row tells which; calling again goes on after it
 *     csv_close(&c);
 */
#ifndef BASE_CSV_H
#define BASE_CSV_H
#include "base/file.h"

struct csv_row {
  struct str *field;
  size_t n;
};
struct csv {
  struct stream stream;
  char separator;
  uint64_t row;      /* number of the row last returned (physical line on which it began), 1-based */
  struct str *field; /* growable */
  size_t cap;
  bool started;
  size_t field_limit; /* fields a row may have; default 4096 */
};
int csv_open(struct csv *c, const char *path, char separator, struct error *e) MUST_CHECK;
int csv_row(struct csv *c, struct csv_row *row, struct error *e) MUST_CHECK;
void csv_close(struct csv *c);
/* Index of the column with this header name (case-insensitive), -1 if absent. */
int csv_column(const struct csv_row *header, const char *name);
bool csv_column_twice(const struct csv_row *header, const char *name); /* two columns have that name: neither can be trusted */
#endif
