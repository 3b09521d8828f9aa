/* Inside of the MEDS reader; meds_*.c only. */
#ifndef RECORD_MEDS_INTERNAL_H
#define RECORD_MEDS_INTERNAL_H
#include "base/map.h"
#include "record/record.h"

struct meds_event { /* one row, whichever file it came from */
  struct str person, code, text, unit;
  int64_t us;
  enum time_precision precision;
  double value;
  uint64_t row;
};
struct meds_reader {
  const struct record_sink *sink;
  struct record_stats *stats;
  struct map description; /* code -> offset in `words` */
  struct buf words;       /* NUL-terminated descriptions */
  const char *file;
  uint32_t file_index;
  uint64_t bytes_done, bytes_total;
};
int meds_take(struct meds_reader *m, const struct meds_event *ev, struct error *e) MUST_CHECK;
void meds_reject(struct meds_reader *m, uint64_t row, const char *field, const char *reason);
int meds_describe(struct meds_reader *m, struct str code, struct str description, struct error *e) MUST_CHECK;
/* Columns of the file that are not taken: counted once a file. */
int meds_unused(struct meds_reader *m, struct error *e) MUST_CHECK;

struct duck;
int meds_parquet_file(struct meds_reader *m, struct duck *d, const char *path, struct error *e) MUST_CHECK;
int meds_parquet_codes(struct meds_reader *m, struct duck *d, const char *path, struct error *e) MUST_CHECK;
int meds_csv_file(struct meds_reader *m, const char *path, struct error *e) MUST_CHECK;
int meds_csv_codes(struct meds_reader *m, const char *path, struct error *e) MUST_CHECK;
#endif
