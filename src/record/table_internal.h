/* Inside of the table reader: a mapping compiled from its JSON. Only table_*.c include this.
 *
 *   table_mapping.c     JSON text -> struct table_mapping: mapping, dictionaries, tables
 *   table_compile.c     the smaller parts: templates, rules, conditions (every code part must stand under a rule)
 *   table_events.c      times and events
 *   table_template.c    templates, rules, conditions: one row's cells -> strings
 *   table_time.c        time specifications -> struct record_time
 *   table_dictionary.c  lookup tables held in memory
 *   table_glob.c        file patterns -> paths
 *   table_read.c        the run: tables, files, rows, records
 *
 * A mapping is immutable after loading and can be shared; a struct table_reader (table_run.h) is one run's own.
 */
#ifndef RECORD_TABLE_INTERNAL_H
#define RECORD_TABLE_INTERNAL_H
#include "base/arena.h"
#include "base/csv.h"
#include "base/map.h"
#include "record/record.h"

enum {
  TABLE_COLUMNS = 1024,
  TABLE_PART = 64,
  TABLE_WORD = 96,
  TABLE_CODE = 1024,
  TABLE_PERSON = 256,
  TABLE_SCRATCH = 8192,
  TABLE_JOINS = 16
};

/* What a column must look like before a cell of it may stand in a code or a unit. */
enum table_rule_kind { RULE_CODE, RULE_INTEGER, RULE_ICD, RULE_NDC, RULE_CATEGORIES, RULE_DISTINCT };
/* A word of a "max_distinct" column passes only when it stands in rows of so many persons: a slip of one row is not a category. */
#define TABLE_MIN_PERSONS 5
struct table_rule {
  enum table_rule_kind kind;
  int column;   /* of the table; -1 for a rule without one */
  int distinct; /* RULE_DISTINCT: index of the run's set */
  uint64_t max_distinct, min_persons;
  struct map categories; /* cell -> index into spelling */
  struct str *spelling;
};

enum table_part_kind { PART_LITERAL, PART_COLUMN, PART_JOIN, PART_NAME, PART_CELL, PART_STEM, PART_ROW, PART_FIRST };
enum table_transform {
  TRANSFORM_NONE,
  TRANSFORM_UPPER,
  TRANSFORM_LOWER,
  TRANSFORM_PAD2,
  TRANSFORM_DOT2,
  TRANSFORM_DOT3,
  TRANSFORM_DOT4,
  TRANSFORM_FIRST
};
struct table_part {
  enum table_part_kind kind;
  enum table_transform transform;
  int column;            /* PART_COLUMN: index into table_spec.column */
  int join, join_column; /* PART_JOIN */
  struct str literal;
  const struct table_rule *rule; /* NULL: no rule needed (not in a code) or a vocabulary's own column */
};
struct table_template {
  struct table_part *part;
  int n; /* 0 = not given */
};
struct table_choice { /* alternatives: the first whose parts are all there */
  struct table_template *t;
  int n;
};

enum table_unit { UNIT_CLOCK, UNIT_SECONDS, UNIT_MINUTES, UNIT_HOURS, UNIT_DAYS, UNIT_WEEKS, UNIT_YEARS };
struct table_offset {
  struct table_template of;
  enum table_unit unit;
  double scale;
};
enum { TABLE_OFFSETS = 4 };
struct table_time {         /* at + offsets + add */
  struct table_template at; /* n == 0: the mapping's epoch */
  struct str format;        /* empty: what time_parse takes */
  struct table_offset offset[TABLE_OFFSETS];
  int offset_n;
  int64_t add, not_before; /* not_before: least distance from `at`; INT64_MIN = none */
  int precision;           /* -1 = as read */
};
struct table_times {
  struct table_time *t;
  int n;
  bool is_static;
};

struct table_when {
  struct table_part part;
  bool negate, starts; /* starts: a value is the beginning of the cell */
  struct str *value;   /* any of; an empty string means missing */
  int n;
  int present; /* 1 must be there, 0 must be missing, -1 not asked */
  double min, max;
  bool range;
};

enum { REQUIRE_VALUE = 1, REQUIRE_TIME = 2, REQUIRE_CODE = 4, REQUIRE_TEXT = 8 };
struct table_event {
  enum record_kind kind;
  enum identifier_kind identifier;
  struct table_when *when;
  int when_n;
  struct table_choice code, display, unit;
  struct table_template value, text, postcode, country, ns;
  struct map values; /* text of a value -> index into `numbers` */
  double *numbers;
  int numbers_n;
  double scale;
  bool floor; /* only the whole part of value x scale is kept */
  struct table_times time;
  unsigned require;
  bool wide, wide_all;
  int *wide_column;      /* indices into table_spec.column; for wide_all: those left out */
  struct str *wide_name; /* how each is spelled in a code */
  int wide_n;
};

struct table_join {
  struct str name;
  int dictionary;
  struct table_template key;
};

struct table_column {
  struct str name;
  const char *path; /* "table.column" for rejects and counts */
  bool optional;
  struct str *missing; /* further missing spellings of this column */
  int missing_n;
};

struct table_spec {
  struct str name;
  const char *path_row; /* "table" */
  const char *path_subject, *path_code, *path_time, *path_value;
  struct str *path; /* alternatives, patterns relative to the root */
  int path_n;
  char separator;
  bool header;
  struct table_column *column; /* columns that the mapping names */
  int column_n, column_cap;
  int fixed_n; /* without a header: how many columns a row has (the first fixed_n of `column`) */
  bool optional, known_subjects;
  struct str *missing;
  int missing_n;
  struct table_choice subject;
  struct table_when *subject_when; /* the row that names the subject, and where in it */
  int subject_when_n;
  struct table_template subject_value;
  struct table_join join[TABLE_JOINS];
  int join_n;
  struct table_rule **rule;
  int rule_n, rule_cap;
  int distinct_n;
  struct table_times time;
  bool time_given;
  struct table_event *event;
  int event_n;
};

struct table_dictionary {
  struct str name;
  struct str *path;
  int path_n;
  char separator;
  struct str *key, *column, *require;
  int key_n, column_n, require_n;
  struct str rank_within;
  bool optional, vocabulary, is_inline;
  struct str *inline_key, *inline_value;
  int inline_n;
};

struct table_range {
  double least, most;
};

struct table_mapping {
  struct arena a;
  struct str name;
  const char *name_c;
  int64_t epoch;
  struct str *root;
  int root_n;
  struct str *missing;
  int missing_n;
  uint64_t memory_limit;
  struct table_dictionary *dictionary;
  int dictionary_n;
  struct table_spec *table;
  int table_n;
  bool any_known;
  struct map plausible; /* code -> index into `range` */
  struct table_range *range;
  int range_n;
};
/* Compiles mapping text; `name` stands for the file in errors. Pure. */
int table_mapping_parse(const char *bytes, size_t n, const char *name, struct table_mapping **out, struct error *e) MUST_CHECK;
#endif
