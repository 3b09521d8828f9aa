/* Scenario files: strict reading (an unknown setting is an error), bounds on everything. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/time.h"
#include "validate/simulate_private.h"

struct reading {
  struct scenario *s;
  struct error *e;
};

static int refuse(struct error *e, const char *where, const char *what) { return error_set(e, E_INPUT, "scenario: %s: %s", where, what); }

static int known_keys(struct json j, const char *where, const char *const *keys, struct error *e) {
  struct json_iter it = json_members(j);
  struct json value;
  struct str key;
  if (json_kind(j) != JSON_OBJECT) return refuse(e, where, "an object is expected");
  while (json_next_member(&it, &key, &value)) {
    bool known = false;
    for (int i = 0; keys[i]; i++) known |= str_eqc(key, keys[i]);
    if (!known)
      return error_set(e, E_INPUT, "scenario: %s: there is no setting of this name (%.*s)", where, (int)(key.n < 32 ? key.n : 32), key.p);
  }
  return OK;
}

static int number(struct json j, const char *key, double otherwise, double least, double most, double *out, struct error *e) {
  struct json v = json_get(j, key);
  *out = otherwise;
  if (json_kind(v) == JSON_NONE && !isnan(otherwise)) return OK;
  if (!json_f64(v, out)) return refuse(e, key, "a number is expected");
  if (!(*out >= least && *out <= most)) return refuse(e, key, "the number is out of range");
  return OK;
}

static int days(struct json j, const char *key, double otherwise, double *out, struct error *e) {
  struct json v = json_get(j, key);
  int64_t us;
  *out = otherwise;
  if (json_kind(v) == JSON_NONE && !isnan(otherwise)) return OK;
  if (json_kind(v) != JSON_STRING || time_parse_duration(json_str(v), &us, e) < 0 || us <= 0 || us > 200 * TIME_YEAR)
    return refuse(e, key, "a duration such as 90d or 1y is expected");
  *out = (double)us / (double)TIME_DAY;
  return OK;
}

static int text(struct scenario *s, struct json j, const char *key, bool needed, const char **out, struct error *e) {
  struct json v = json_get(j, key);
  *out = NULL;
  if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) return needed ? refuse(e, key, "is missing") : OK;
  struct str t = json_str(v);
  if (!t.n || t.n > 120) return refuse(e, key, "a short text is expected");
  for (size_t i = 0; i < t.n; i++)
    if (t.p[i] < 33 || t.p[i] == ',' || t.p[i] == '"' || t.p[i] == 127) return refuse(e, key, "a code has no spaces, commas or quotes");
  *out = arena_strndup(&s->arena, t.p, t.n);
  return *out ? OK : error_set(e, E_NOMEM, "out of memory");
}

/* The part's name: a covariate. */
static int covariate(const struct scenario *s, struct str name, int *out, struct error *e) {
  if (str_eqc(name, "female")) return *out = SIM_FEMALE, OK;
  if (str_eqc(name, "age")) return *out = SIM_AGE, OK;
  for (int i = 0; i < s->factors; i++)
    if (str_eqc(name, s->factor[i].code)) return *out = SIM_FIRST_FACTOR + i, OK;
  for (int i = 0; i < s->markers; i++)
    if (str_eqc(name, s->marker[i].code)) return *out = sim_marker_at(s, i), OK;
  for (int i = 0; i < s->treatments; i++)
    if (str_eqc(name, s->treatment[i].code)) return *out = sim_treatment_at(s, i), OK;
  return refuse(e, "log_ratio", "female, age, or the code of a factor, marker or treatment is expected");
}

/* {"LAB//A": 0.5, "LAB//A * female": 0.2} */
static int sum(const struct scenario *s, struct json j, const char *key, struct sim_sum *out, struct error *e) {
  struct json v = json_get(j, key), value;
  struct json_iter it = json_members(v);
  struct str name;
  out->n = 0;
  if (json_kind(v) == JSON_NONE) return OK;
  if (json_kind(v) != JSON_OBJECT) return refuse(e, key, "an object is expected");
  while (json_next_member(&it, &name, &value)) {
    if (out->n == SIM_TERMS) return refuse(e, key, "too many terms");
    struct sim_term *t = &out->term[out->n++];
    struct str rest = name, first = str_trim(str_cut(&rest, '*'));
    *t = (struct sim_term){.b = -1};
    TRY(covariate(s, first, &t->a, e));
    if (rest.p) TRY(covariate(s, str_trim(rest), &t->b, e));
    if (!json_f64(value, &t->weight) || !(fabs(t->weight) <= 10)) return refuse(e, key, "a number from -10 to 10 is expected");
  }
  return OK;
}

static int list(struct json root, const char *key, int most, struct json *out, int *n, struct error *e) {
  *out = json_get(root, key);
  *n = 0;
  if (json_kind(*out) == JSON_NONE) return OK;
  if (json_kind(*out) != JSON_ARRAY) return refuse(e, key, "a list is expected");
  if (json_count(*out) > (size_t)most) return refuse(e, key, "too many entries");
  *n = (int)json_count(*out);
  return OK;
}

static int codes(struct scenario *s, struct json root, const char *key, int most, struct sim_code *out, int *count, struct error *e) {
  static const char *const keys[] = {"code", "share", NULL};
  struct json all;
  int n;
  TRY(list(root, key, most, &all, &n, e));
  for (int i = 0; i < n; i++) {
    struct json j = json_at(all, (size_t)i);
    TRY(known_keys(j, key, keys, e));
    TRY(text(s, j, "code", true, &out[i].code, e));
    TRY(number(j, "share", NAN, 0, 1, &out[i].share, e));
  }
  *count = n;
  return OK;
}

static int markers(struct scenario *s, struct json root, struct error *e) {
  static const char *const keys[] = {"code", "unit", "mean", "sd", "memory", "at_visits", "measured", "measured_log_odds", NULL};
  struct json all;
  int n;
  TRY(list(root, "markers", SIM_MARKERS, &all, &n, e));
  for (int i = 0; i < n; i++) {
    struct json j = json_at(all, (size_t)i);
    struct sim_marker *m = &s->marker[i];
    TRY(known_keys(j, "markers", keys, e));
    TRY(text(s, j, "code", true, &m->code, e));
    TRY(text(s, j, "unit", false, &m->unit, e));
    TRY(number(j, "mean", NAN, -1e6, 1e6, &m->mean, e));
    TRY(number(j, "sd", NAN, 1e-6, 1e6, &m->sd, e));
    TRY(number(j, "memory", 0.7, 0, 0.95, &m->memory, e));
    TRY(number(j, "at_visits", 0.7, 0, 1, &m->at_visits, e));
    TRY(number(j, "measured", 1, 0, 1, &m->measured, e));
    TRY(number(j, "measured_log_odds", 0, -5, 5, &m->measured_slope, e));
  }
  s->markers = n;
  return OK;
}

static int treatments(struct scenario *s, struct json root, struct error *e) {
  static const char *const keys[] = {"code", "share", "log_odds", NULL};
  struct json all;
  int n;
  TRY(list(root, "treatments", SIM_TREATMENTS, &all, &n, e));
  for (int i = 0; i < n; i++) {
    struct json j = json_at(all, (size_t)i);
    TRY(known_keys(j, "treatments", keys, e));
    TRY(text(s, j, "code", true, &s->treatment[i].code, e));
    TRY(number(j, "share", NAN, 0.001, 0.999, &s->treatment[i].share, e));
    TRY(sum(s, j, "log_odds", &s->treatment[i].sum, e)); /* of what was settled before it: s->treatments = i */
    s->treatments = i + 1;
  }
  return OK;
}

static int outcome(struct scenario *s, struct json j, struct sim_outcome *o, struct error *e) {
  static const char *const keys[] = {"code", "edges_days", "rate_per_year", "log_ratio", NULL};
  TRY(known_keys(j, "outcomes", keys, e));
  TRY(text(s, j, "code", true, &o->code, e));
  struct json edges = json_get(j, "edges_days"), rates = json_get(j, "rate_per_year");
  size_t n = json_count(rates);
  if (json_kind(rates) != JSON_ARRAY || n < 1 || n > SIM_EDGES) return refuse(e, "rate_per_year", "a list of 1 to 24 numbers is expected");
  if (json_kind(edges) != JSON_NONE && json_count(edges) != n)
    return refuse(e, "edges_days", "one edge for each rate: the day from which it holds");
  if (json_kind(edges) == JSON_NONE && n > 1) return refuse(e, "edges_days", "is missing");
  for (size_t i = 0; i < n; i++) {
    double rate;
    if (!json_f64(json_at(rates, i), &rate) || !(rate >= 0 && rate <= 1000)) return refuse(e, "rate_per_year", "0 to 1000 are expected");
    o->rate[i] = rate / TIME_YEAR_DAYS;
    o->edge[i] = 0;
    if (json_kind(edges) != JSON_NONE && !json_f64(json_at(edges, i), &o->edge[i])) return refuse(e, "edges_days", "numbers are expected");
    if (i == 0 ? o->edge[0] != 0 : !(o->edge[i] > o->edge[i - 1] && o->edge[i] < 1e5))
      return refuse(e, "edges_days", "days begin with 0 and ascend");
  }
  o->edges = (int)n;
  o->ends = strcmp(o->code, "MEDS_DEATH") == 0;
  return sum(s, j, "log_ratio", &o->sum, e);
}

static int by_number(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

/* Every day on which a rate changes, and every horizon: between two of them all rates are constant. */
static void make_grid(struct scenario *s) {
  int n = 0;
  for (int k = 0; k < s->outcomes; k++)
    for (int i = 0; i < s->outcome[k].edges; i++) s->grid[n++] = s->outcome[k].edge[i];
  for (int h = 0; h < s->horizons; h++) s->grid[n++] = s->horizon[h];
  qsort(s->grid, (size_t)n, sizeof *s->grid, by_number);
  for (int i = 0; i < n; i++)
    if (s->grids == 0 || s->grid[i] > s->grid[s->grids - 1]) s->grid[s->grids++] = s->grid[i];
  for (int k = 0; k < s->outcomes; k++) {
    struct sim_outcome *o = &s->outcome[k];
    for (int i = 0, at = 0; i < s->grids; i++) {
      while (at + 1 < o->edges && o->edge[at + 1] <= s->grid[i]) at++;
      o->grid_rate[i] = o->rate[at];
    }
  }
}

static int horizons(struct scenario *s, struct json root, struct error *e) {
  struct json all;
  int n;
  TRY(list(root, "horizons_days", SIMULATE_HORIZONS, &all, &n, e));
  if (n < 1) return refuse(e, "horizons_days", "is missing");
  for (int i = 0; i < n; i++) {
    if (!json_f64(json_at(all, (size_t)i), &s->horizon[i]) || !(s->horizon[i] > (i ? s->horizon[i - 1] : 0) && s->horizon[i] < 1e5))
      return refuse(e, "horizons_days", "ascending days are expected");
    if (s->horizon[i] != floor(s->horizon[i])) return refuse(e, "horizons_days", "whole days are expected");
  }
  s->horizons = n;
  return OK;
}

static int people(struct scenario *s, struct json root, struct error *e) {
  static const char *const age_keys[] = {"mean", "sd", "least", "most", NULL};
  static const char *const history_keys[] = {"visits", "every", NULL};
  static const char *const follow_keys[] = {"every", "most", "end_code", NULL};
  struct json age = json_get(root, "age"), history = json_get(root, "history"), follow = json_get(root, "follow_up");
  TRY(known_keys(age, "age", age_keys, e));
  TRY(known_keys(history, "history", history_keys, e));
  TRY(known_keys(follow, "follow_up", follow_keys, e));
  TRY(number(root, "female", 0.5, 0, 1, &s->female, e));
  TRY(number(age, "mean", NAN, 0, 80, &s->age_mean, e));
  TRY(number(age, "sd", NAN, 0, 40, &s->age_sd, e));
  TRY(number(age, "least", 18, 0, 80, &s->age_least, e));
  TRY(number(age, "most", 80, s->age_least + 1, 85, &s->age_most, e)); /* the wall moves births of the very old */
  TRY(number(history, "visits", NAN, 0, 200, &s->visits, e));
  TRY(days(history, "every", NAN, &s->visit_days, e));
  TRY(days(follow, "every", NAN, &s->follow_days, e));
  TRY(days(follow, "most", NAN, &s->follow_most, e));
  TRY(text(s, follow, "end_code", false, &s->end_code, e));
  return days(root, "resolution", 1, &s->resolution_days, e);
}

static int censoring(struct scenario *s, struct json root, struct error *e) {
  static const char *const keys[] = {"rate_per_year", "log_ratio", NULL};
  struct json j = json_get(root, "censoring");
  if (json_kind(j) == JSON_NONE) return OK;
  TRY(known_keys(j, "censoring", keys, e));
  TRY(number(j, "rate_per_year", NAN, 0, 1000, &s->censor_rate, e));
  s->censor_rate /= TIME_YEAR_DAYS;
  return sum(s, j, "log_ratio", &s->censor, e);
}

static int read(struct scenario *s, struct json root, struct error *e) {
  static const char *const keys[] = {"name",    "about",   "female",     "age",       "history",  "follow_up",     "resolution", "noise",
                                     "factors", "markers", "treatments", "censoring", "outcomes", "horizons_days", NULL};
  struct json all;
  TRY(known_keys(root, "scenario", keys, e));
  TRY(text(s, root, "name", true, &s->name, e));
  if (strspn(s->name, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(s->name) || strlen(s->name) > 32)
    return refuse(e, "name", "at most 32 lower-case letters, digits and hyphens are expected");
  TRY(people(s, root, e));
  TRY(codes(s, root, "noise", SIM_NOISE, s->noise, &s->noises, e));
  TRY(codes(s, root, "factors", SIM_FACTORS, s->factor, &s->factors, e));
  TRY(markers(s, root, e));
  TRY(treatments(s, root, e));
  TRY(censoring(s, root, e));
  TRY(horizons(s, root, e));
  TRY(list(root, "outcomes", SIMULATE_OUTCOMES, &all, &s->outcomes, e));
  if (s->outcomes < 1) return refuse(e, "outcomes", "is missing");
  for (int k = 0; k < s->outcomes; k++) TRY(outcome(s, json_at(all, (size_t)k), &s->outcome[k], e));
  make_grid(s);
  return OK;
}

int scenario_parse(const char *bytes, size_t n, struct scenario **out, struct error *e) {
  struct json_parser *jp;
  struct json root;
  struct scenario *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "out of memory");
  memset(s, 0, sizeof *s);
  arena_init(&s->arena, 1 << 22, 0);
  int rc = json_parser_new(&jp, e);
  if (rc < 0) {
    scenario_free(s);
    return rc;
  }
  rc = json_parse(jp, bytes, n, n, &root, e);
  if (rc == OK) rc = read(s, root, e);
  if (rc == OK && !(s->text = arena_strndup(&s->arena, bytes, n))) rc = error_set(e, E_LIMIT, "scenario: the file is too long");
  json_parser_free(jp);
  if (rc < 0)
    scenario_free(s);
  else
    *out = s;
  return rc;
}

int scenario_load(const char *path, struct scenario **out, struct error *e) {
  struct arena a;
  struct str bytes;
  arena_init(&a, 1 << 22, 0);
  int rc = file_read(&a, path, 1 << 20, &bytes, e);
  if (rc == OK) rc = scenario_parse(bytes.p, bytes.n, out, e);
  arena_free(&a);
  return rc < 0 ? error_where(e, path, 0, NULL) : OK;
}

void scenario_free(struct scenario *s) {
  if (!s) return;
  arena_free(&s->arena);
  mem_free(s);
}

const char *scenario_name(const struct scenario *s) { return s->name; }
const char *scenario_text(const struct scenario *s) { return s->text; }
int scenario_outcomes(const struct scenario *s) { return s->outcomes; }
const char *scenario_outcome(const struct scenario *s, int k) { return s->outcome[k].code; }
bool scenario_ends_life(const struct scenario *s, int k) { return s->outcome[k].ends; }
int scenario_horizons(const struct scenario *s) { return s->horizons; }
double scenario_horizon(const struct scenario *s, int h) { return s->horizon[h]; }
bool scenario_has_treatment(const struct scenario *s) { return s->treatments > 0; }

void scenario_task(const struct scenario *s, int k, int h, struct buf *json) {
  const char *code = s->outcome[k].code, *slashes = strrchr(code, '/');
  char leaf[64];
  int n = 0;
  for (const char *p = slashes ? slashes + 1 : code; *p && n < 40; p++) {
    bool upper = *p >= 'A' && *p <= 'Z', plain = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9');
    leaf[n++] = upper ? (char)(*p - 'A' + 'a') : plain ? *p : '-';
  }
  leaf[n] = 0;
  buf_printf(json,
             "{\"name\": \"sim-%s-%.0fd\", \"title\": \"%s within %.0f days of the index (made-up patients)\",\n"
             " \"trigger\": {\"code\": [\"SIM//INDEX\"], \"offset\": \"0h\", \"which\": \"first\"},\n"
             " \"new_onset\": true, \"target\": {\"any\": [\"%s\"]}, \"horizon\": \"%.0fd\", \"gap\": [\"0d\"], \"censor\": \"drop\"}\n",
             leaf, s->horizon[h], code, s->horizon[h], code, s->horizon[h]);
}
