#include <math.h>

#include "base/csv.h"
#include "record/meds_internal.h"

/* MEDS-shaped CSV: the same columns as in Parquet, empty cell = null. */
struct columns {
  int subject, time, code, value, text, unit, description;
  size_t n;
};

static void find_columns(const struct csv_row *h, struct columns *c) {
  *c = (struct columns){.subject = csv_column(h, "subject_id"),
                        .time = csv_column(h, "time"),
                        .code = csv_column(h, "code"),
                        .value = csv_column(h, "numeric_value"),
                        .text = csv_column(h, "text_value"),
                        .unit = csv_column(h, "unit"),
                        .description = csv_column(h, "description"),
                        .n = h->n};
  if (c->subject < 0) c->subject = csv_column(h, "patient_id");
  if (c->value < 0) c->value = csv_column(h, "value");
}

static struct str cell(const struct csv_row *row, int column) {
  if (column < 0) return STR_NONE;
  struct str s = row->field[column];
  return s.n ? s : STR_NONE;
}

static int take_row(struct meds_reader *m, const struct columns *c, const struct csv_row *row, uint64_t number, struct error *e) {
  struct meds_event ev = {.us = TIME_STATIC, .value = NAN, .row = number};
  struct str time = str_trim(cell(row, c->time)), value = str_trim(cell(row, c->value));
  struct time_parts parts;
  int64_t id;
  ev.person = str_trim(cell(row, c->subject));
  if (ev.person.n && str_to_i64(ev.person, &id) < 0) return meds_reject(m, number, "MEDS.subject_id", "a subject_id is a whole number"), OK;
  if (time.n) {
    if (time_parse(time, &parts, &ev.us, NULL) < 0) return meds_reject(m, number, "MEDS.time", "bad time"), OK;
    ev.precision = parts.precision;
  }
  if (value.n && str_to_f64(value, &ev.value) < 0) return meds_reject(m, number, "MEDS.numeric_value", "bad number"), OK;
  ev.code = cell(row, c->code);
  ev.text = cell(row, c->text);
  ev.unit = cell(row, c->unit);
  if (ev.text.p && (!str_utf8_valid(ev.text) || memchr(ev.text.p, 0, ev.text.n)))
    return meds_reject(m, number, "MEDS.text_value", "text that is not UTF-8"), OK;
  return meds_take(m, &ev, e);
}

typedef int row_f(struct meds_reader *m, const struct columns *c, const struct csv_row *row, uint64_t number, struct error *e);

static int describe_row(struct meds_reader *m, const struct columns *c, const struct csv_row *row, uint64_t number, struct error *e) {
  (void)number;
  return c->code < 0 || c->description < 0 ? OK : meds_describe(m, cell(row, c->code), cell(row, c->description), e);
}

static int read_rows(struct meds_reader *m, struct csv *csv, const struct columns *c, row_f *take, struct error *e) {
  struct csv_row row;
  for (;;) {
    int rc = csv_row(csv, &row, e);
    if (rc == E_END) return OK;
    if (rc == E_INPUT || rc == E_LIMIT)
      meds_reject(m, csv->row, "", rc == E_INPUT ? "malformed row" : "row too long");
    else if (rc < 0)
      return rc;
    else if (row.n != c->n)
      meds_reject(m, csv->row, "", "wrong number of columns");
    else
      TRY(take(m, c, &row, csv->row, e));
  }
}

static int read_events(struct meds_reader *m, struct csv *csv, struct error *e) {
  struct csv_row header;
  struct columns c;
  int rc = csv_row(csv, &header, e);
  if (rc == E_END) return error_set(e, E_INPUT, "empty file: no header");
  if (rc < 0) return rc;
  find_columns(&header, &c);
  if (c.subject < 0 || c.time < 0 || c.code < 0)
    return error_set(e, E_INPUT, "no MEDS events: subject_id (or patient_id), time and code are needed");
  static const char *const used[] = {"subject_id", "patient_id", "time", "code", "numeric_value", "value", "text_value", "unit"};
  for (size_t i = 0; i < sizeof used / sizeof used[0]; i++)
    if (csv_column_twice(&header, used[i]))
      return error_set(e, E_INPUT, "the column is twice in the header"), error_where(e, NULL, 0, used[i]), E_INPUT;
  size_t taken = 3u + (c.value >= 0) + (c.text >= 0) + (c.unit >= 0);
  if (c.n > taken) TRY(meds_unused(m, e));
  return read_rows(m, csv, &c, take_row, e);
}

static int read_descriptions(struct meds_reader *m, struct csv *csv, struct error *e) {
  struct csv_row header;
  struct columns c;
  int rc = csv_row(csv, &header, e);
  if (rc < 0) return rc == E_END ? OK : rc;
  find_columns(&header, &c);
  return read_rows(m, csv, &c, describe_row, e);
}

static int with_file(struct meds_reader *m, const char *path, int (*f)(struct meds_reader *, struct csv *, struct error *),
                     struct error *e) {
  struct csv csv;
  TRY(csv_open(&csv, path, ',', e));
  int rc = f(m, &csv, e);
  csv_close(&csv);
  return rc;
}

int meds_csv_file(struct meds_reader *m, const char *path, struct error *e) { return with_file(m, path, read_events, e); }
int meds_csv_codes(struct meds_reader *m, const char *path, struct error *e) { return with_file(m, path, read_descriptions, e); }
