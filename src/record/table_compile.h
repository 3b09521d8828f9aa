/* Compiling the parts of a mapping (templates, rules, conditions, times, events) while its JSON is open. Private to table_*.c. */
#ifndef RECORD_TABLE_COMPILE_H
#define RECORD_TABLE_COMPILE_H
#include "base/json.h"
#include "record/table_internal.h"

struct table_compile {
  struct table_mapping *m;
  struct table_spec *t; /* NULL outside a table */
  struct json vocabularies;
  struct error *e;
};
enum table_purpose { PURPOSE_DATA, PURPOSE_CODE, PURPOSE_UNIT, PURPOSE_DISPLAY };

int table_bad(struct table_compile *c, const char *field, const char *what) MUST_CHECK;
int table_known_keys(struct table_compile *c, struct json j, const char *const *keys) MUST_CHECK;
int table_compile_text(struct table_compile *c, struct json j, const char *field, struct str *out) MUST_CHECK;
int table_compile_list(struct table_compile *c, struct json j, const char *field, struct str **out,
                       int *n) MUST_CHECK; /* a string or a list of them */
int table_compile_column(struct table_compile *c, struct str name, int *index) MUST_CHECK;
int table_compile_template(struct table_compile *c, struct json j, const char *field, enum table_purpose purpose,
                           struct table_template *out) MUST_CHECK;
int table_compile_choice(struct table_compile *c, struct json j, const char *field, enum table_purpose purpose,
                         struct table_choice *out) MUST_CHECK;
int table_compile_map(struct table_compile *c, struct map *m) MUST_CHECK; /* map_init, released with the mapping */
int table_compile_rules(struct table_compile *c, struct json j) MUST_CHECK;
int table_compile_when(struct table_compile *c, struct json j, struct table_when **out, int *n) MUST_CHECK;
int table_compile_times(struct table_compile *c, struct json j, struct table_times *out) MUST_CHECK;
int table_compile_events(struct table_compile *c, struct json j) MUST_CHECK;
#endif
