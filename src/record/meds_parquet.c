#include <math.h>
#include <stdio.h>
#include <strings.h>

#include "base/duckdb.h"
#include "record/meds_internal.h"

/* The columns of MEDS by the names that its versions gave them; the first that is there is taken. */
struct columns {
  char subject[16], time[8], code[8], value[16], text[16], unit[8], description[16];
  bool value_is_text, others;
};

static void note(char *to, size_t size, const char *name, const char *wanted) {
  if (!*to && strcmp(name, wanted) == 0) snprintf(to, size, "%s", wanted);
}

static int find_columns(struct duck *d, struct str path, struct columns *c, struct error *e) {
  struct duck_rows rows;
  *c = (struct columns){0};
  TRY(duck_select(d, "SELECT * FROM read_parquet(?, hive_partitioning=false) LIMIT 0", &path, 1, &rows, e));
  int taken = 0;
  for (int i = 0; i < rows.columns; i++) {
    const char *name = duck_column_name(&rows, i);
    note(c->subject, sizeof c->subject, name, "subject_id");
    note(c->subject, sizeof c->subject, name, "patient_id");
    note(c->time, sizeof c->time, name, "time");
    note(c->code, sizeof c->code, name, "code");
    note(c->text, sizeof c->text, name, "text_value");
    note(c->unit, sizeof c->unit, name, "unit");
    note(c->description, sizeof c->description, name, "description");
    if (strcmp(name, "numeric_value") == 0 || (strcmp(name, "value") == 0 && !*c->value)) {
      snprintf(c->value, sizeof c->value, "%s", name);
      c->value_is_text = duck_column_is_text(&rows, i);
    }
  }
  taken = !!*c->subject + !!*c->time + !!*c->code + !!*c->value + !!*c->text + !!*c->unit;
  c->others = rows.columns > taken;
  duck_rows_close(&rows);
  return OK;
}

static void select_sql(const struct columns *c, char *sql, size_t size) {
  char value[96] = "NULL::DOUBLE", text[160] = "NULL::VARCHAR";
  if (*c->value && c->value_is_text) {
    snprintf(value, sizeof value, "TRY_CAST(\"%s\" AS DOUBLE)", c->value);
    if (!*c->text) snprintf(text, sizeof text, "CASE WHEN TRY_CAST(\"%s\" AS DOUBLE) IS NULL THEN \"%s\" END", c->value, c->value);
  } else if (*c->value) {
    snprintf(value, sizeof value, "CAST(\"%s\" AS DOUBLE)", c->value);
  }
  if (*c->text) snprintf(text, sizeof text, "CAST(\"%s\" AS VARCHAR)", c->text);
  snprintf(sql, size,
           "SELECT CAST(\"%s\" AS BIGINT), CAST(\"time\" AS TIMESTAMP), CAST(\"code\" AS VARCHAR), %s, %s, %s "
           "FROM read_parquet(?, hive_partitioning=false)",
           c->subject, value, text, *c->unit ? "CAST(\"unit\" AS VARCHAR)" : "NULL::VARCHAR");
}

static int take_row(struct meds_reader *m, const struct duck_rows *rows, size_t i, uint64_t row, struct error *e) {
  static const int64_t earliest = INT64_C(-62135596800) * TIME_SECOND, latest = INT64_C(253402300800) * TIME_SECOND;
  char person[24];
  struct meds_event ev = {.us = TIME_STATIC, .value = NAN, .row = row};
  if (duck_valid(rows, 0, i)) {
    int n = snprintf(person, sizeof person, "%lld", (long long)duck_i64(rows, 0)[i]);
    ev.person = (struct str){person, (size_t)n};
  }
  if (duck_valid(rows, 1, i)) {
    ev.us = duck_i64(rows, 1)[i];
    if (ev.us < earliest || ev.us >= latest) return meds_reject(m, row, "MEDS.time", "bad time"), OK;
    ev.precision = ev.us % TIME_DAY == 0 ? TIME_PRECISION_DAY : ev.us % TIME_SECOND == 0 ? TIME_PRECISION_SECOND : TIME_PRECISION_FRACTION;
  }
  ev.code = duck_str(rows, 2, i);
  if (duck_valid(rows, 3, i)) ev.value = duck_f64(rows, 3)[i];
  ev.text = duck_str(rows, 4, i);
  ev.unit = duck_str(rows, 5, i);
  return meds_take(m, &ev, e);
}

int meds_parquet_file(struct meds_reader *m, struct duck *d, const char *path, struct error *e) {
  struct columns c;
  struct str file = str_c(path);
  struct duck_rows rows;
  char sql[1024];
  TRY(find_columns(d, file, &c, e));
  if (!*c.subject || !*c.time || !*c.code)
    return error_set(e, E_INPUT, "no MEDS events: subject_id (or patient_id), time and code are needed");
  if (c.others) TRY(meds_unused(m, e));
  select_sql(&c, sql, sizeof sql);
  TRY(duck_select(d, sql, &file, 1, &rows, e));
  uint64_t row = 0;
  int rc;
  while ((rc = duck_next(&rows, e)) > 0)
    for (size_t i = 0; i < rows.n && rc > 0; i++) {
      int taken = take_row(m, &rows, i, ++row, e);
      if (taken < 0) {
        duck_rows_close(&rows);
        return taken;
      }
    }
  duck_rows_close(&rows);
  return rc;
}

int meds_parquet_codes(struct meds_reader *m, struct duck *d, const char *path, struct error *e) {
  struct columns c;
  struct str file = str_c(path);
  struct duck_rows rows;
  TRY(find_columns(d, file, &c, e));
  if (!*c.code || !*c.description) return OK;
  TRY(duck_select(d, "SELECT CAST(code AS VARCHAR), CAST(description AS VARCHAR) FROM read_parquet(?, hive_partitioning=false)", &file, 1,
                  &rows, e));
  int rc;
  while ((rc = duck_next(&rows, e)) > 0)
    for (size_t i = 0; i < rows.n && rc > 0; i++) {
      int taken = meds_describe(m, duck_str(&rows, 0, i), duck_str(&rows, 1, i), e);
      if (taken < 0) {
        duck_rows_close(&rows);
        return taken;
      }
    }
  duck_rows_close(&rows);
  return rc;
}
