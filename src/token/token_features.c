/* Tabular features: fixed columns, one pass over the events, no scratch (the row itself holds the running sums), so that many
 * threads may fill rows from one feature set. */
#include "token/token_private.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/map.h"
#include "base/random.h"
#include "timeline/task.h"
#include "timeline/timeline.h"

enum {
  LIFE_AGE,
  LIFE_DAYS,
  LIFE_EVENTS,
  LIFE_INSTANTS,
  LIFE_EVENTS_LATE, /* three: of the last half, quarter, eighth */
  LIFE_CODES = LIFE_EVENTS_LATE + 3,
  LIFE_CODES_LATE,
  LIFE_OUTSIDE = LIFE_CODES_LATE + 3,
  LIFE_OUTSIDE_LATE,
  LIFE_OUTSIDE_COUNT,
  LIFE_OUTSIDE_LAST,
  LIFE_LOW,
  LIFE_HIGH,
  LIFE_LAST,
  LIFE_LAST_SQUARES,
  LIFE_LAST_MEAN,
  LIFE_LAST_MOST,
  LIFE_COLUMNS
};
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
static const char *const life_name[LIFE_COLUMNS] = {"age",
                                                    "days of record",
                                                    "events",
                                                    "instants",
                                                    "events in last half",
                                                    "events in last quarter",
                                                    "events in last eighth",
                                                    "codes",
                                                    "codes in last half",
                                                    "codes in last quarter",
                                                    "codes in last eighth",
                                                    "share of values outside",
                                                    "share of values outside in last quarter",
                                                    "values outside in last quarter",
                                                    "last values outside",
                                                    "squares of lowest deviations",
                                                    "squares of highest deviations",
                                                    "sizes of last deviations",
                                                    "squares of last deviations",
                                                    "mean size of last deviations",
                                                    "largest last deviation"};
static const double late_share[3] = {0.5, 0.25, 0.125};
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
enum { NAN_CODE = UINT32_MAX, FEATURE_MAX_CODES = 1 << 16, GROUP_NAME = 256 };
enum { FORMAT_EACH = 2, FORMAT_TOGETHER = 3 }; /* the first has no columns of all codes together */
enum { MARK_LOW, MARK_QUARTER, MARK_MEDIAN, MARK_THREE_QUARTERS, MARK_HIGH, MARKS };
static const double mark_share[MARKS] = {0.05, 0.25, 0.5, 0.75, 0.95};
#define DEVIATION_MOST 5.0f /* quartile ranges from the median */
#define MARK_SAMPLE 4096

struct feature_code {
  struct str code;
  uint32_t column; /* first column */
  bool numeric, group;
  float mark[MARKS]; /* quantiles of the values of the training examples (numeric, no group) */
  float per_range;   /* 1 / their quartile range; 0: there is none */
};
struct feature_set {
  struct arena arena;
  struct feature_code *code;
  uint32_t n, columns, life; /* life: columns before those of the codes */
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
  c->group = code.n > 2 && memcmp(code.p + code.n - 2, ".*", 2) == 0;
  return OK;
}

static bool together(const struct feature_set *f) { return f->life == LIFE_COLUMNS; }

static void set_marks(struct feature_code *c, const float mark[MARKS]) {
  memcpy(c->mark, mark, sizeof c->mark);
  c->per_range = 1 / (mark[MARK_THREE_QUARTERS] - mark[MARK_QUARTER]);
  if (!isfinite(c->per_range)) c->per_range = 0;
}

static void set_columns(struct feature_set *f, bool sums) {
  f->columns = f->life = sums ? LIFE_COLUMNS : LIFE_EVENTS_LATE;
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
  for (uint32_t i = 0; i < f->n && rc == OK; i++) {
    rc = add_code(g, f->code[i].code, f->code[i].numeric, e);
    if (rc == OK) set_marks(&g->code[i], f->code[i].mark);
  }
  set_columns(g, together(f));
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
  if (column < f->life) {
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
  set_columns(f, true);
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

static int by_size(const void *x, const void *y) {
  float a = *(const float *)x, b = *(const float *)y;
  return a < b ? -1 : a > b;
}

/* Of a random sample of at most MARK_SAMPLE values a code (reservoir, Vitter 1985), the same one every time. */
static int find_marks(struct feature_set *f, const struct timeline *store, const struct task_example *x, uint32_t n, struct error *e) {
  float *kept = mem_alloc(((size_t)f->n * MARK_SAMPLE + 1) * sizeof *kept);
  uint32_t *count = mem_alloc(((size_t)f->n + 1) * sizeof *count);
  struct rng r;
  if (!kept || !count) {
    mem_free(kept);
    mem_free(count);
    return error_set(e, E_NOMEM, "no memory for the features");
  }
  memset(count, 0, ((size_t)f->n + 1) * sizeof *count);
  rng_init(&r, 1, 0x6d61726b);
  for (uint32_t i = 0; i < n; i++) {
    struct timeline_view v = timeline_view(store, x[i].subject_index);
    uint32_t events = x[i].events < v.n ? x[i].events : v.n;
    for (uint32_t k = 0; k < events; k++) {
      uint32_t c = v.code[k] < f->store_codes ? f->of_code[v.code[k]] : NAN_CODE;
      if (c == NAN_CODE || !f->code[c].numeric || !isfinite(v.value[k]) || count[c] == UINT32_MAX) continue;
      uint32_t place = count[c] < MARK_SAMPLE ? count[c] : rng_below(&r, count[c] + 1);
      count[c]++;
      if (place < MARK_SAMPLE) kept[(size_t)c * MARK_SAMPLE + place] = v.value[k];
    }
  }
  for (uint32_t c = 0; c < f->n; c++) {
    uint32_t m = count[c] < MARK_SAMPLE ? count[c] : MARK_SAMPLE;
    float *v = kept + (size_t)c * MARK_SAMPLE;
    qsort(v, m, sizeof *v, by_size);
    float mark[MARKS] = {0};
    for (int q = 0; q < MARKS && m; q++) mark[q] = v[(uint32_t)(mark_share[q] * (m - 1) + 0.5)];
    set_marks(&f->code[c], mark);
  }
  mem_free(kept);
  mem_free(count);
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
  if (rc == OK) rc = find_marks(f, store, examples, n, e);
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
  for (uint32_t i = LIFE_EVENTS_LATE; i < f->life; i++) row[i] = 0;
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

static bool outside(const struct feature_code *code, float value) { return value < code->mark[MARK_LOW] || value > code->mark[MARK_HIGH]; }

static float deviation(const struct feature_code *code, float value) {
  float z = (value - code->mark[MARK_MEDIAN]) * code->per_range; /* no number: infinitely far, but without a range */
  return z > DEVIATION_MOST ? DEVIATION_MOST : z < -DEVIATION_MOST ? -DEVIATION_MOST : isnan(z) ? 0 : z;
}

/* What all codes say together, from the columns of each before row_finish; so far OUTSIDE and OUTSIDE_COUNT hold how many values were outside.
 * hours: of the record. */
static void row_sum_up(const struct feature_set *f, double hours, float *row) {
  float values = 0, late = 0, coded = 0, sum[LIFE_COLUMNS] = {0};
  for (uint32_t i = 0; i < f->n; i++) {
    const struct feature_code *code = &f->code[i];
    const float *c = row + code->column;
    if (code->group || !(c[NUM_COUNT] > 0)) continue;
    sum[LIFE_CODES]++;
    for (int k = 0; k < 3; k++) sum[LIFE_CODES_LATE + k] += (double)c[NUM_HOURS] <= late_share[k] * hours;
    if (!code->numeric || !(c[NUM_DELTA] > 0)) continue;
    float low = deviation(code, c[NUM_MIN]), high = deviation(code, c[NUM_MAX]), last = fabsf(deviation(code, c[NUM_LAST]));
    coded++, values += c[NUM_DELTA], late += c[NUM_SUM];
    sum[LIFE_OUTSIDE_LAST] += outside(code, c[NUM_LAST]);
    if (low < 0) sum[LIFE_LOW] += low * low;
    if (high > 0) sum[LIFE_HIGH] += high * high;
    sum[LIFE_LAST] += last, sum[LIFE_LAST_SQUARES] += last * last;
    if (last > sum[LIFE_LAST_MOST]) sum[LIFE_LAST_MOST] = last;
  }
  for (int i = LIFE_CODES; i < LIFE_COLUMNS; i++) row[i] += sum[i];
  row[LIFE_LAST_MEAN] = coded > 0 ? row[LIFE_LAST] / coded : NAN;
  row[LIFE_OUTSIDE] = values > 0 ? row[LIFE_OUTSIDE] / values : NAN;
  row[LIFE_OUTSIDE_LATE] = late > 0 ? row[LIFE_OUTSIDE_COUNT] / late : NAN;
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
  double window[3] = {late_share[0] * length, late_share[1] * length, late_share[2] * length};
  uint32_t recent[3] = {0};
  for (uint32_t k = 0; k < events; k++) {
    uint32_t c = view->code[k];
    if (c >= f->store_codes || f->birth[c]) continue;
    bool timed = k >= statics;
    counted++;
    if (timed && view->time[k] != last) instants++, last = view->time[k];
    double ago = timed ? (double)now - (double)view->time[k] : 0;
    if (timed && ago <= window[0]) recent[0]++, recent[1] += ago <= window[1], recent[2] += ago <= window[2];
    for (int level = 0; level < 2; level++) { /* the code itself, then the group that it belongs to */
      uint32_t i = level ? f->group_of[c] : f->of_code[c];
      if (i == NAN_CODE) continue;
      float *column = row + f->code[i].column;
      bool late = timed && ago <= window[1];
      column[NUM_COUNT]++;
      if (timed) column[NUM_HOURS] = (float)(ago / (double)TIME_HOUR);
      column[NUM_LATE_COUNT] += late;
      if (!f->code[i].numeric || !isfinite(view->value[k])) continue;
      add_number(column, view->value[k], late);
      if (level || !together(f) || !outside(&f->code[i], view->value[k])) continue;
      row[LIFE_OUTSIDE]++;
      row[LIFE_OUTSIDE_COUNT] += late;
    }
  }
  for (int k = 0; k < 3 && together(f); k++) row[LIFE_EVENTS_LATE + k] = (float)recent[k];
  if (together(f)) row_sum_up(f, length / (double)TIME_HOUR, row);
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
  json_kv_i64(&o, "features", together(f) ? FORMAT_TOGETHER : FORMAT_EACH);
  json_out_key(&o, "codes");
  json_out_array(&o);
  for (uint32_t i = 0; i < f->n; i++) {
    json_out_object(&o);
    json_kv_str(&o, "code", f->code[i].code);
    json_kv_bool(&o, "numeric", f->code[i].numeric);
    if (together(f) && f->code[i].numeric && !f->code[i].group) {
      json_out_key(&o, "quantiles");
      json_out_array(&o);
      for (int q = 0; q < MARKS; q++) json_out_f32(&o, f->code[i].mark[q]);
      json_out_end(&o);
    }
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  return buf_check(json, e);
}

static bool read_marks(struct json list, struct feature_code *code) {
  struct json_iter it = json_items(list);
  struct json item;
  float mark[MARKS];
  if (json_kind(list) != JSON_ARRAY || json_count(list) != MARKS) return false;
  for (int q = 0; q < MARKS && json_next(&it, &item); q++) {
    double v;
    if (!json_f64(item, &v) || !isfinite((float)v) || (q && (float)v < mark[q - 1])) return false;
    mark[q] = (float)v;
  }
  set_marks(code, mark);
  return true;
}

static int read_codes(struct json root, struct feature_set **out, struct error *e) {
  int64_t version;
  struct json list = json_get(root, "codes");
  if (!json_i64(json_get(root, "features"), &version)) return error_set(e, E_INPUT, "not a feature list");
  if (version != FORMAT_EACH && version != FORMAT_TOGETHER) return error_set(e, E_VERSION, "feature list of another format version");
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
    struct feature_code *added = &f->code[f->n - 1];
    if (version == FORMAT_TOGETHER && numeric && !added->group && !read_marks(json_get(item, "quantiles"), added))
      return error_set(e, E_INPUT, "feature %u has no quantiles", f->n - 1);
  }
  set_columns(f, version == FORMAT_TOGETHER);
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
