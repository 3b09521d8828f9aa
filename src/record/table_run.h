/* Inside of the table reader: the state of one run, and what its parts offer one another. Only table_*.c include this. */
#ifndef RECORD_TABLE_RUN_H
#define RECORD_TABLE_RUN_H
#include "record/table_internal.h"

struct table_dictionary_data {
  bool loaded;
  struct map index; /* key -> offset of the row in heap */
  struct buf heap;  /* per row, per column: uint16 length, bytes */
};
struct table_cell {
  struct str s; /* trimmed; p == NULL when missing */
  uint64_t stamp;
};
struct table_joined {
  const char *row; /* NULL: no such key */
  uint64_t stamp;
};
struct table_time_memo { /* rows that follow one another mostly carry the same time */
  char text[40];
  size_t n;
  int64_t us;
  enum time_precision precision;
  bool has_offset;
  int offset_minutes;
};
struct table_distinct {
  struct map seen;
  bool over;
};
struct table_reader {
  const struct table_mapping *m;
  const struct record_sink *sink;
  struct record_stats *stats;
  struct arena a;      /* the run */
  struct arena file_a; /* one file */
  struct table_dictionary_data *dictionary;
  struct map known;
  const char *root;
  char file_only[4096]; /* the single file that was asked for, "" = all */

  const struct table_spec *t;
  const char *file; /* name in rejects */
  struct str stem;
  uint32_t file_index;
  uint64_t row;
  bool first; /* no row of this file was taken before */
  struct csv_row cells;
  int *position; /* table column -> field, -1 absent */
  size_t header_n;
  struct str *header_name; /* wide_all */
  struct table_cell *cell;
  struct table_joined joined[TABLE_JOINS];
  uint64_t stamp;
  struct str wide_name, wide_cell; /* the cell that a wide event stands at, and the rule of its column */
  const struct table_rule *wide_rule;
  char person[2 * TABLE_PERSON]; /* the person of the row before, who was found usable; rows of one person mostly follow one another */
  size_t person_n;
  char subject_row[TABLE_PERSON];
  size_t subject_row_n;
  char scratch[TABLE_SCRATCH];
  size_t scratch_n;
  struct table_time_memo memo;
  struct table_distinct *distinct;
  bool columns_reported, identities; /* identities: births and identifiers alone, nothing rejected */
  uint64_t bytes_done, bytes_total, rows_seen;
};

/* A cell of a named column; STR_NONE when missing. */
struct str table_cell(struct table_reader *r, int column);
/* One part of a template, transformed; STR_NONE when missing. */
struct str table_part_get(struct table_reader *r, const struct table_part *p);
/* The whole template as it stands in the data; STR_NONE when a part is missing or the whole is too long for the scratch space. */
struct str table_template_get(struct table_reader *r, const struct table_template *t);
struct str table_choice_get(struct table_reader *r, const struct table_choice *c);
/* The same under the rules, for codes and units: a part that its rule does not let through gives way to the next alternative, in
 * the last one it becomes OTHER. Returns the length, 0 when parts are missing. */
size_t table_code_get(struct table_reader *r, const struct table_choice *c, char out[TABLE_CODE]);
bool table_rule_allows(struct table_reader *r, const struct table_rule *rule, struct str cell, char out[TABLE_WORD + 1], size_t *n);
bool table_when_holds(struct table_reader *r, const struct table_when *w, int n);
/* 1 = read, 0 = missing, < 0 = bad: *field names the column. */
int table_time_get(struct table_reader *r, const struct table_times *s, struct record_time *out, const char **field);
int table_time_format(struct str s, struct str format, int64_t *us, enum time_precision *precision);
/* Fast exact decimal, then str_to_f64. */
int table_number(struct str s, double *out) MUST_CHECK;
/* Names the first column of a template, for a reject. */
const char *table_template_path(const struct table_reader *r, const struct table_template *t, const char *otherwise);

int table_glob(struct arena *a, const char *root, struct str pattern, struct str **out, size_t *n, struct error *e) MUST_CHECK;
int table_glob_any(struct arena *a, const char *root, const struct str *pattern, int patterns, struct str **out, size_t *n,
                   struct error *e) MUST_CHECK;
int table_dictionary_load(struct table_reader *r, int index, struct error *e) MUST_CHECK;
const char *table_dictionary_find(const struct table_reader *r, int index, struct str key);
struct str table_dictionary_cell(const char *row, int column);
void table_dictionary_release(struct table_dictionary_data *d);
bool table_is_missing(struct str s, const struct str *missing, int n);
void table_reject(struct table_reader *r, uint64_t row, const char *field, const char *reason);
#endif
