/* Tabular features: fixed columns, one pass over the events, no scratch (the row itself holds the running sums), so that many
 * threads may fill rows from one feature set. */
#include "token/token_private.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/map.h"
#include "timeline/task.h"
#include "timeline/timeline.h"

enum { LIFE_AGE, LIFE_DAYS, LIFE_EVENTS, LIFE_INSTANTS, LIFE_COLUMNS };
enum {
  NUM_COUNT, /* the first three columns are those of codes without values, too */
  NUM_HOURS,
  NUM_LATE_COUNT,
  FLAG_COLUMNS,
  NUM_FIRST = FLAG_COLUMNS,
  NUM_LAST,
  NUM_MIN,
  NUM_MAX,
  NUM_MEAN,
  NUM_DELTA,
  NUM_LATE,
  NUM_LATE_MIN,
  NUM_LATE_MAX,
  NUM_SUM,
  NUM_SD,
  NUM_COLUMNS
};
static const char *const life_name[LIFE_COLUMNS] = {"age", "days of record", "events", "instants"};
static const char *const num_name[NUM_COLUMNS] = {"count",
                                                  "hours since",
                                                  "count in last quarter",
                                                  "first",
                                                  "last",
                                                  "min",
                                                  "max",
                                                  "mean",
                                                  "last - first",
                                                  "mean of last quarter",
                                                  "min of last quarter",
                                                  "max of last quarter",
                                                  "sum",
                                                  "sd"};
enum { NAN_CODE = UINT32_MAX, FEATURE_MAX_CODES = 1 << 16, GROUP_NAME = 256, FEATURES_FORMAT = 2 };

struct feature_code {
  struct str code;
  uint32_t column; /* first column */
  bool numeric;
};
struct feature_set {
  struct arena arena;
  struct feature_code *code;
  uint32_t n, columns;
  /* binding */
  const struct timeline *store;
  uint32_t *of_code, *group_of; /* (codes of the store) index into code, NAN_CODE = none */
  uint8_t *birth;
  uint32_t store_codes;
};

static struct feature_set *set_alloc(uint32_t n, struct error *e) {
  struct feature_set *f = mem_alloc(sizeof *f);
  if (f) {
    memset(f, 0, sizeof *f);
    arena_init(&f->arena, 0, 0);
    f->code = arena_array(&f->arena, struct feature_code, n + 1);
    if (f->code) return f;
  }
  feature_set_free(f);
  error_set(e, E_NOMEM, "no memory for the features");
  return NULL;
}

void feature_set_free(struct feature_set *f) {
  if (!f) return;
  arena_free(&f->arena);
  mem_free(f->of_code);
  mem_free(f);
}

static int add_code(struct feature_set *f, struct str code, bool numeric, struct error *e) {
  struct feature_code *c = &f->code[f->n++];
  c->code = str_copy(&f->arena, code);
  if (!c->code.p) return error_set(e, E_NOMEM, "no memory for the features");
  c->numeric = numeric;
  return OK;
}

static void set_columns(struct feature_set *f) {
  f->columns = LIFE_COLUMNS;
  for (uint32_t i = 0; i < f->n; i++) {
    f->code[i].column = f->columns;
    f->columns += f->code[i].numeric ? NUM_COLUMNS : FLAG_COLUMNS;
  }
}

/* "ICD10CM//E11.9" belongs to "ICD10CM//E11.*", and so does "ICD10CM//E11". */
static bool group_name(struct str code, char out[GROUP_NAME]) {
  size_t from = 0;
  for (size_t i = 0; i + 1 < code.n; i++)
    if (code.p[i] == '/' && code.p[i + 1] == '/') from = i + 2;
  const char *dot = memchr(code.p + from, '.', code.n - from);
  size_t n = dot ? (size_t)(dot - code.p) : code.n;
  if (n == from || n + 3 > GROUP_NAME) return false;
  memcpy(out, code.p, n);
  memcpy(out + n, ".*", 3);
  return true;
}

int feature_set_bind(struct feature_set *f, const struct timeline *store, struct error *e) {
  uint32_t n = timeline_codes(store);
  uint32_t *of_code = mem_alloc((size_t)n * (2 * sizeof *of_code + 1));
  if (!of_code) return error_set(e, E_NOMEM, "no memory to bind the features");
  uint32_t *group_of = of_code + n;
  uint8_t *birth = (uint8_t *)(group_of + n);
  struct intern names;
  intern_init(&names, 0);
  int rc = OK;
  for (uint32_t i = 0; i < f->n && rc == OK; i++) {
    uint32_t id;
    rc = intern_put(&names, f->code[i].code, &id, e);
    if (rc == OK && id != i) rc = error_set(e, E_INPUT, "a feature list names a code twice");
  }
  for (uint32_t c = 0; c < n && rc == OK; c++) {
    struct str name = timeline_code_name(store, c);
    char group[GROUP_NAME];
    of_code[c] = group_of[c] = NAN_CODE;
    birth[c] = code_is(name, "MEDS_BIRTH");
    intern_find(&names, name, &of_code[c]);
    if (group_name(name, group)) intern_find(&names, str_c(group), &group_of[c]);
  }
  intern_release(&names);
  if (rc < 0) return mem_free(of_code), rc;
  mem_free(f->of_code);
  f->of_code = of_code;
  f->group_of = group_of;
  f->birth = birth;
  f->store = store;
  f->store_codes = n;
  return OK;
}

int feature_set_copy(const struct feature_set *f, const struct timeline *store, struct feature_set **out, struct error *e) {
  struct feature_set *g = set_alloc(f->n, e);
  if (!g) return E_NOMEM;
  int rc = OK;
  for (uint32_t i = 0; i < f->n && rc == OK; i++) rc = add_code(g, f->code[i].code, f->code[i].numeric, e);
  set_columns(g);
  if (rc == OK) rc = feature_set_bind(g, store, e);
  if (rc < 0) {
    feature_set_free(g);
    return rc;
  }
  *out = g;
  return OK;
}

uint32_t feature_count(const struct feature_set *f) { return f->columns; }

void feature_name(const struct feature_set *f, uint32_t column, struct buf *out) {
  BUG_IF(column >= f->columns);
  if (column < LIFE_COLUMNS) {
    buf_puts(out, life_name[column]);
    return;
  }
  uint32_t low = 0, high = f->n;
  while (high - low > 1) {
    uint32_t mid = (low + high) / 2;
    if (f->code[mid].column <= column)
      low = mid;
    else
      high = mid;
  }
  buf_str(out, f->code[low].code);
  buf_putc(out, ' ');
  buf_puts(out, num_name[column - f->code[low].column]);
}

/* ---- choosing ---- */

struct seen { /* per store code, then per group, over the examples */
  uint32_t present, last_example;
  uint64_t events, valued;
  uint32_t members; /* of a group */
};

static void saw(struct seen *s, uint32_t example, bool valued) {
  s->events++;
  s->valued += valued;
  if (s->last_example != example + 1) s->present++, s->last_example = example + 1;
}

static void count_seen(const struct timeline *store, const struct task_example *x, uint32_t n, uint32_t codes, const uint32_t *group,
                       struct seen *seen) {
  for (uint32_t i = 0; i < n; i++) {
    struct timeline_view v = timeline_view(store, x[i].subject_index);
    uint32_t events = x[i].events < v.n ? x[i].events : v.n;
    for (uint32_t k = 0; k < events; k++) {
      if (v.code[k] >= codes) continue;
      bool valued = isfinite(v.value[k]) != 0;
      saw(&seen[v.code[k]], i, valued);
      if (group[v.code[k]] != NAN_CODE) saw(&seen[codes + group[v.code[k]]], i, valued);
    }
  }
}

struct choice {
  uint32_t code, present;
  struct str name;
};

static int by_presence(const void *x, const void *y) {
  const struct choice *a = x, *b = y;
  if (a->present != b->present) return a->present < b->present ? 1 : -1;
  return str_cmp(a->name, b->name);
}

/* A group of one code says nothing that the code does not; nor does one whose code makes up nearly all of it, but that costs little. */
static int choose(const struct timeline *store, const struct seen *seen, uint32_t codes, const struct intern *groups, double least,
                  uint32_t max_codes, struct feature_set **out, struct error *e) {
  struct choice *list = mem_alloc(((size_t)codes + groups->count + 1) * sizeof *list);
  uint32_t n = 0;
  if (!list) return error_set(e, E_NOMEM, "no memory for the features");
  for (uint32_t c = 0; c < codes + groups->count; c++) {
    struct str name = c < codes ? timeline_code_name(store, c) : intern_str(groups, c - codes);
    if (!name.n || !seen[c].present || (double)seen[c].present < least || code_is(name, "MEDS_BIRTH")) continue;
    if (c >= codes && seen[c].members < 2) continue;
    list[n++] = (struct choice){.code = c, .present = seen[c].present, .name = name};
  }
  qsort(list, n, sizeof *list, by_presence);
  if (n > max_codes) n = max_codes;
  struct feature_set *f = set_alloc(n, e);
  int rc = f ? OK : E_NOMEM;
  for (uint32_t i = 0; i < n && rc == OK; i++)
    rc = add_code(f, list[i].name, 2 * seen[list[i].code].valued >= seen[list[i].code].events, e);
  mem_free(list);
  if (rc < 0) {
    feature_set_free(f);
    return rc;
  }
  set_columns(f);
  *out = f;
  return OK;
}

static int group_codes(const struct timeline *store, uint32_t codes, uint32_t *group, struct intern *groups, struct error *e) {
  for (uint32_t c = 0; c < codes; c++) {
    char name[GROUP_NAME];
    group[c] = NAN_CODE;
    if (group_name(timeline_code_name(store, c), name)) TRY(intern_put(groups, str_c(name), &group[c], e));
  }
  return OK;
}

int feature_set_build(const struct timeline *store, const struct task_example *examples, uint32_t n, double min_rate, uint32_t max_codes,
                      struct feature_set **out, struct error *e) {
  uint32_t codes = timeline_codes(store);
  struct intern groups;
  struct feature_set *f = NULL;
  if (min_rate < 0) min_rate = fmax(0.002, fmin(0.02, 50 / fmax(1, n)));
  if (max_codes == 0 || max_codes > FEATURE_MAX_CODES) max_codes = FEATURE_MAX_CODES;
  uint32_t *group = mem_alloc(((size_t)codes + 1) * sizeof *group);
  struct seen *seen = mem_alloc((2 * (size_t)codes + 1) * sizeof *seen);
  intern_init(&groups, 0);
  int rc = seen && group ? group_codes(store, codes, group, &groups, e) : error_set(e, E_NOMEM, "no memory for the features");
  if (rc == OK) {
    memset(seen, 0, (2 * (size_t)codes + 1) * sizeof *seen);
    count_seen(store, examples, n, codes, group, seen);
    for (uint32_t c = 0; c < codes; c++)
      if (group[c] != NAN_CODE && seen[c].present) seen[codes + group[c]].members++;
    rc = choose(store, seen, codes, &groups, min_rate * (double)n, max_codes, &f, e);
  }
  intern_release(&groups);
  mem_free(group);
  mem_free(seen);
  if (rc == OK) rc = feature_set_bind(f, store, e);
  if (rc < 0) {
    feature_set_free(f);
    return rc;
  }
  *out = f;
  return OK;
}

/* ---- a row ---- */

static void row_clear(const struct feature_set *f, float *row) {
  for (uint32_t i = 0; i < f->columns; i++) row[i] = NAN;
  for (uint32_t i = 0; i < f->n; i++) {
    float *c = row + f->code[i].column;
    c[NUM_COUNT] = c[NUM_LATE_COUNT] = 0;
    if (f->code[i].numeric) c[NUM_DELTA] = 0;
  }
}

/* While the row fills, DELTA holds the number of values, MEAN and LATE are running means, SD the squares about the mean (Welford 1962), and
 * SUM counts the late values. */
static void add_number(float *c, float value, bool late) {
  float n = ++c[NUM_DELTA];
  if (n == 1.0f) {
    c[NUM_FIRST] = c[NUM_MIN] = c[NUM_MAX] = c[NUM_MEAN] = value;
    c[NUM_SD] = c[NUM_SUM] = 0;
  } else {
    float off = value - c[NUM_MEAN];
    if (value < c[NUM_MIN]) c[NUM_MIN] = value;
    if (value > c[NUM_MAX]) c[NUM_MAX] = value;
    c[NUM_MEAN] += off / n;
    c[NUM_SD] += off * (value - c[NUM_MEAN]);
  }
  c[NUM_LAST] = value;
  if (!late) return;
  float m = ++c[NUM_SUM];
  if (m == 1.0f) {
    c[NUM_LATE] = c[NUM_LATE_MIN] = c[NUM_LATE_MAX] = value;
  } else {
    c[NUM_LATE] += (value - c[NUM_LATE]) / m;
    if (value < c[NUM_LATE_MIN]) c[NUM_LATE_MIN] = value;
    if (value > c[NUM_LATE_MAX]) c[NUM_LATE_MAX] = value;
  }
}

static void row_finish(const struct feature_set *f, float *row) {
  for (uint32_t i = 0; i < f->n; i++) {
    float *c = row + f->code[i].column;
    if (!f->code[i].numeric) continue;
    float n = c[NUM_DELTA];
    c[NUM_DELTA] = n > 0 ? c[NUM_LAST] - c[NUM_FIRST] : NAN;
    c[NUM_SUM] = n > 0 ? n * c[NUM_MEAN] : NAN;
    c[NUM_SD] = n > 1 ? sqrtf(fmaxf(c[NUM_SD], 0) / n) : NAN;
  }
}

void feature_row(const struct feature_set *f, const struct timeline *store, const struct timeline_view *view, uint32_t events, int64_t now,
                 float *row) {
  BUG_IF(store != f->store || events > view->n);
  uint32_t statics = view->statics < events ? view->statics : events, instants = 0, counted = 0;
  int64_t birth = INT64_MIN, first = INT64_MIN, last = INT64_MIN;
  row_clear(f, row);
  for (uint32_t k = statics; k < events; k++) {
    bool is_birth = view->code[k] < f->store_codes && f->birth[view->code[k]];
    if (!is_birth && first == INT64_MIN) first = view->time[k];
    if (is_birth && birth == INT64_MIN) birth = view->time[k];
    if (first != INT64_MIN && birth != INT64_MIN) break;
  }
  double start = first == INT64_MIN ? 0 : (double)first, length = (double)now - start;
  for (uint32_t k = 0; k < events; k++) {
    uint32_t c = view->code[k];
    if (c >= f->store_codes || f->birth[c]) continue;
    bool timed = k >= statics;
    counted++;
    if (timed && view->time[k] != last) instants++, last = view->time[k];
    double ago = timed ? (double)now - (double)view->time[k] : 0;
    for (int level = 0; level < 2; level++) { /* the code itself, then the group that it belongs to */
      uint32_t i = level ? f->group_of[c] : f->of_code[c];
      if (i == NAN_CODE) continue;
      float *column = row + f->code[i].column;
      bool late = timed && ago <= 0.25 * length;
      column[NUM_COUNT]++;
      if (timed) column[NUM_HOURS] = (float)(ago / (double)TIME_HOUR);
      column[NUM_LATE_COUNT] += late;
      if (f->code[i].numeric && isfinite(view->value[k])) add_number(column, view->value[k], late);
    }
  }
  row_finish(f, row);
  if (birth != INT64_MIN) row[LIFE_AGE] = (float)(((double)now - (double)birth) / (double)TIME_YEAR);
  if (first != INT64_MIN) row[LIFE_DAYS] = (float)(((double)now - (double)first) / (double)TIME_DAY);
  row[LIFE_EVENTS] = (float)counted;
  row[LIFE_INSTANTS] = (float)instants;
}

/* ---- JSON ---- */

int feature_set_write(const struct feature_set *f, struct buf *json, struct error *e) {
  struct json_out o;
  json_out_init(&o, json, false);
  json_out_object(&o);
  json_kv_i64(&o, "features", FEATURES_FORMAT);
  json_out_key(&o, "codes");
  json_out_array(&o);
  for (uint32_t i = 0; i < f->n; i++) {
    json_out_object(&o);
    json_kv_str(&o, "code", f->code[i].code);
    json_kv_bool(&o, "numeric", f->code[i].numeric);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  return buf_check(json, e);
}

static int read_codes(struct json root, struct feature_set **out, struct error *e) {
  int64_t version;
  struct json list = json_get(root, "codes");
  if (!json_i64(json_get(root, "features"), &version)) return error_set(e, E_INPUT, "not a feature list");
  if (version != FEATURES_FORMAT) return error_set(e, E_VERSION, "feature list of another format version");
  size_t n = json_count(list);
  if (json_kind(list) != JSON_ARRAY) return error_set(e, E_INPUT, "a feature list needs codes");
  if (n > FEATURE_MAX_CODES) return error_set(e, E_LIMIT, "too many feature codes");
  struct feature_set *f = *out = set_alloc((uint32_t)n, e);
  if (!f) return E_NOMEM;
  struct json_iter it = json_items(list);
  struct json item;
  while (json_next(&it, &item)) {
    struct str code = json_str(json_get(item, "code"));
    bool numeric;
    if (!code.n || !json_bool(json_get(item, "numeric"), &numeric)) return error_set(e, E_INPUT, "feature %u is malformed", f->n);
    TRY(add_code(f, code, numeric, e));
  }
  set_columns(f);
  return OK;
}

int feature_set_read(struct str json, struct feature_set **out, struct error *e) {
  struct json_parser *parser;
  struct json root;
  struct feature_set *f = NULL;
  TRY(json_parser_new(&parser, e));
  int rc = json_parse(parser, json.p, json.n, json.n, &root, e);
  if (rc >= 0) rc = read_codes(root, &f, e);
  json_parser_free(parser);
  if (rc < 0) {
    feature_set_free(f);
    return rc;
  }
  *out = f;
  return OK;
}
