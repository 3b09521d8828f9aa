/* The record of uncertainty.json in memory, and what it says about one score and one hidden row. */
#include "predict/uncertainty.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "predict/uncertainty_private.h"

static int corrupt(struct error *e) { return error_set(e, E_CORRUPT, "uncertainty.json: a field is missing or out of range"); }

static int rules_read(struct json j, struct uncertainty_rules *r) {
  bool ok = json_f64(json_get(j, "coverage"), &r->coverage) && json_f64(json_get(j, "unusual_percentile"), &r->unusual_percentile) &&
            json_f64(json_get(j, "unknown_share"), &r->unknown_share) && json_i64(json_get(j, "least_events"), &r->least_events);
  return ok && r->coverage > 0.5 && r->coverage < 1 && r->unusual_percentile > 50 && r->unusual_percentile <= 100 &&
                 r->unknown_share >= 0 && r->unknown_share <= 1 && r->least_events >= 0 && r->least_events < 1000000
             ? OK
             : E_INPUT;
}

int uncertainty_rules_load(const char *path, struct uncertainty_rules *out, struct error *e) {
  struct arena a;
  struct json root;
  arena_init(&a, 1 << 20, 0);
  int rc = json_load(&a, path, &root, e);
  if (rc == OK && rules_read(root, out) < 0) {
    rc = error_set(e, E_INPUT,
                   "coverage is above 0.5 and below 1, unusual_percentile above 50, unknown_share a share, least_events a count");
    error_where(e, path, 0, NULL);
  }
  arena_free(&a);
  return rc;
}

static int numbers(struct json j, double *out, int most, int *n) {
  struct json_iter it = json_items(j);
  struct json v;
  *n = 0;
  if (json_kind(j) != JSON_ARRAY || json_count(j) > (size_t)most) return E_CORRUPT;
  while (json_next(&it, &v)) {
    if (!json_f64(v, &out[*n]) || !isfinite(out[*n])) return E_CORRUPT;
    ++*n;
  }
  return OK;
}

static int task_read(struct json j, struct uncertainty_task *t) {
  struct str name = json_str(json_get(j, "name"));
  int64_t n, cases;
  int lower, upper;
  if (!name.n || name.n >= sizeof t->name || memchr(name.p, 0, name.n)) return E_CORRUPT;
  memcpy(t->name, name.p, name.n);
  t->name[name.n] = 0;
  if (!json_i64(json_get(j, "n"), &n) || !json_i64(json_get(j, "cases"), &cases) || n < 0 || cases < 0 || n > UINT32_MAX || cases > n)
    return E_CORRUPT;
  t->n = (uint32_t)n, t->cases = (uint32_t)cases;
  if (numbers(json_get(j, "logit"), t->logit, UNCERTAINTY_GRID, &t->grid) < 0 ||
      numbers(json_get(j, "lower"), t->lower, UNCERTAINTY_GRID, &lower) < 0 ||
      numbers(json_get(j, "upper"), t->upper, UNCERTAINTY_GRID, &upper) < 0 || lower != t->grid || upper != t->grid || t->grid < 1)
    return E_CORRUPT;
  for (int i = 0; i < t->grid; i++) {
    if (i && !(t->logit[i] > t->logit[i - 1])) return E_CORRUPT;
    if (!(t->lower[i] >= 0 && t->lower[i] <= t->upper[i] && t->upper[i] <= 1)) return E_CORRUPT;
  }
  return json_f64(json_get(j, "yes_from"), &t->yes_from) && json_f64(json_get(j, "no_to"), &t->no_to) ? OK : E_CORRUPT;
}

static int distance_read(struct json j, struct uncertainty *u) {
  int64_t d;
  int n;
  if (json_kind(j) == JSON_NONE) return OK;
  if (!json_i64(json_get(j, "width"), &d) || d < 1 || d > 16384) return E_CORRUPT;
  u->width = (int)d;
  if (numbers(json_get(j, "mean"), u->mean, UNCERTAINTY_DIMS, &u->dims) < 0 || u->dims != uncertainty_dims(u->width)) return E_CORRUPT;
  if (numbers(json_get(j, "root"), u->root, UNCERTAINTY_DIMS * (UNCERTAINTY_DIMS + 1) / 2, &n) < 0 || n != u->dims * (u->dims + 1) / 2)
    return E_CORRUPT;
  if (numbers(json_get(j, "percentile"), u->level, UNCERTAINTY_LEVELS, &n) < 0 || n != UNCERTAINTY_LEVELS) return E_CORRUPT;
  for (int i = 1; i < n; i++)
    if (u->level[i] < u->level[i - 1]) return E_CORRUPT;
  for (int i = 0, at = 0; i < u->dims; i++, at += i + 1)
    if (!(u->root[at] > 0)) return E_CORRUPT;
  u->has_distance = true;
  return OK;
}

static int read_all(struct json root, struct uncertainty *u, struct error *e) {
  struct json list = json_get(root, "tasks"), item;
  struct json_iter it = json_items(list);
  if (json_kind(list) != JSON_ARRAY || json_count(list) > 1024 || rules_read(json_get(root, "rules"), &u->rules) < 0) return corrupt(e);
  u->task = mem_alloc((json_count(list) + 1) * sizeof *u->task);
  if (!u->task) return error_set(e, E_NOMEM, "out of memory");
  while (json_next(&it, &item)) {
    u->task[u->tasks] = (struct uncertainty_task){0};
    if (task_read(item, &u->task[u->tasks++]) < 0) return corrupt(e);
  }
  return distance_read(json_get(root, "distance"), u) < 0 ? corrupt(e) : OK;
}

int uncertainty_parse(const char *json, struct uncertainty **out, struct error *e) {
  struct json_parser *jp = NULL;
  struct json root;
  *out = NULL;
  if (!json || !json[0]) return OK;
  struct uncertainty *u = mem_alloc(sizeof *u);
  if (!u) return error_set(e, E_NOMEM, "out of memory");
  memset(u, 0, sizeof *u);
  int rc = json_parser_new(&jp, e);
  if (rc == OK && json_parse(jp, json, strlen(json), strlen(json), &root, NULL) < 0) rc = corrupt(e);
  if (rc == OK) rc = read_all(root, u, e);
  json_parser_free(jp);
  if (rc < 0)
    uncertainty_free(u);
  else
    *out = u;
  return rc;
}

void uncertainty_free(struct uncertainty *u) {
  if (!u) return;
  mem_free(u->task);
  mem_free(u);
}

const struct uncertainty_rules *uncertainty_rules(const struct uncertainty *u) { return &u->rules; }

const struct uncertainty_task *uncertainty_find(const struct uncertainty *u, const char *task) {
  for (int i = 0; u && i < u->tasks; i++)
    if (strcmp(u->task[i].name, task) == 0) return &u->task[i];
  return NULL;
}

/* Between two kept scores the wider of the two: calibration is a step function, and the step may lie anywhere between them. The answer itself is
 * always inside: a number outside its own interval helps nobody. */
struct interval_of uncertainty_interval(const struct uncertainty_task *t, double probability) {
  double x = uncertainty_logit(probability);
  int low = 0, high = t->grid - 1;
  if (isnan(x)) return (struct interval_of){NAN, NAN};
  while (low < high) { /* the first kept score >= x, or the last */
    int mid = (low + high) / 2;
    if (t->logit[mid] >= x)
      high = mid;
    else
      low = mid + 1;
  }
  int before = low > 0 && t->logit[low] != x ? low - 1 : low;
  if (x > t->logit[t->grid - 1]) before = low;
  double lo = fmin(t->lower[before], t->lower[low]), hi = fmax(t->upper[before], t->upper[low]);
  return (struct interval_of){fmin(lo, probability), fmax(hi, probability)};
}

unsigned uncertainty_set(const struct uncertainty_task *t, double probability) {
  double x = uncertainty_logit(probability);
  if (isnan(x)) return SET_YES | SET_NO;
  return (x >= t->yes_from ? SET_YES : 0u) | (x <= t->no_to ? SET_NO : 0u);
}

int uncertainty_dims(int width) { return width < UNCERTAINTY_DIMS ? width : UNCERTAINTY_DIMS; }

/* Narrow rows as they are; wider ones by random signs (Johnson & Lindenstrauss), the same ones everywhere. */
void uncertainty_project(const float *hidden, int width, double *out) {
  int dims = uncertainty_dims(width);
  if (dims == width) {
    for (int i = 0; i < dims; i++) out[i] = (double)hidden[i];
    return;
  }
  for (int i = 0; i < dims; i++) out[i] = 0;
  for (int j = 0; j < width; j++) {
    uint64_t signs = ((uint64_t)j + 1) * 0x9e3779b97f4a7c15u; /* splitmix64: 64 signs for 64 dimensions */
    signs = (signs ^ (signs >> 30)) * 0xbf58476d1ce4e5b9u;
    signs = (signs ^ (signs >> 27)) * 0x94d049bb133111ebu;
    signs ^= signs >> 31;
    for (int i = 0; i < dims; i++) out[i] += signs >> i & 1 ? (double)hidden[j] : -(double)hidden[j];
  }
}

/* |L^-1 (x - mean)|^2; x is overwritten */
double uncertainty_distance(const struct uncertainty *u, double *x) {
  double sum = 0;
  for (int i = 0, at = 0; i < u->dims; i++) {
    double v = x[i] - u->mean[i];
    for (int k = 0; k < i; k++) v -= u->root[at++] * x[k];
    x[i] = v / u->root[at++];
    sum += x[i] * x[i];
  }
  return sum;
}

double uncertainty_unusual(const struct uncertainty *u, const float *hidden, int d) {
  double x[UNCERTAINTY_DIMS];
  if (!u || !u->has_distance || d != u->width) return NAN;
  uncertainty_project(hidden, d, x);
  double at = uncertainty_distance(u, x);
  int below = 0;
  while (below < UNCERTAINTY_LEVELS && u->level[below] <= at) below++;
  if (below == 0) return 0;
  if (below == UNCERTAINTY_LEVELS) return 100;
  double width = u->level[below] - u->level[below - 1];
  return below - 1 + (width > 0 ? (at - u->level[below - 1]) / width : 0);
}
