/* The CSV reader. First byte: separator and limits. Every field must lie inside the window, every call must make progress. */
#include "base/csv.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  struct csv c;
  struct csv_row row;
  if (csv_open(&c, fuzz_input(data + 1, size - 1), data[0] & 1 ? '\t' : ',', NULL) < 0) return 0;
  if (data[0] & 2) c.stream.line_limit = 50;
  if (data[0] & 4) c.field_limit = 3;
  uint64_t last = 0;
  int rc;
  while ((rc = csv_row(&c, &row, NULL)) == OK || rc == E_INPUT || rc == E_LIMIT) {
    BUG_IF(c.row <= last);
    last = c.row;
    if (rc != OK) continue;
    BUG_IF(row.n == 0 || row.n > c.field_limit);
    const char *low = (const char *)c.stream.out, *high = low + c.stream.out_n;
    for (size_t i = 0; i < row.n; i++) BUG_IF(row.field[i].p < low || row.field[i].p + row.field[i].n > high);
  }
  csv_close(&c);
  return 0;
}
