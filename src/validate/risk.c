/* Classes of persons who look alike. */
#include "validate/risk.h"

#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"
#include "timeline/timeline.h"
#include "validate/risk_known.h"

const char *const risk_band_name[RISK_BANDS] = {"1", "2-4", "5-10", "11-20", "21-50", "51-100", "over 100"};

/* ---- options ---- */

static int strings(struct json list, struct arena *a, struct str *out, int *n, struct error *e) {
  struct json item;
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    if (*n == RISK_PREFIXES || !json_str(item).p) return error_set(e, E_INPUT, "a list of the risk table is too long or holds no text");
    out[*n] = str_copy(a, json_str(item));
    if (!out[(*n)++].p) return error_set(e, E_NOMEM, "no memory for the risk table");
  }
  return OK;
}

static int population(struct risk_options *o, const char *path, struct error *e) {
  struct json root, item;
  struct str source, key;
  int64_t year;
  double total = 0;
  int n = 0;
  TRY(json_load(&o->arena, path, &root, e));
  TRY(json_want_str(root, "source", &source, e));
  TRY(json_want_i64(root, "year", &year, e));
  TRY(json_want_f64(root, "total", &total, e));
  TRY(json_want_f64(json_get(root, "sex"), "male", &o->sex[0], e));
  TRY(json_want_f64(json_get(root, "sex"), "female", &o->sex[1], e));
  for (struct json_iter it = json_items(json_get(root, "age")); json_next(&it, &item) && n < RISK_AGES;)
    if (!json_f64(item, &o->age[n++])) return error_set(e, E_INPUT, "the population table's ages are no numbers");
  if (n != RISK_AGES || !(total > 0)) return error_set(e, E_INPUT, "the population table has %d age groups, not %d", n, RISK_AGES);
  for (struct json_iter it = json_members(json_get(root, "zip3")); json_next_member(&it, &key, &item);) {
    int64_t prefix;
    if (key.n != 3 || str_to_i64(key, &prefix) < 0 || prefix < 0 || prefix > 999 || !json_f64(item, &o->zip3[prefix]))
      return error_set(e, E_INPUT, "the population table's prefixes are not of three digits");
  }
  for (int i = 0; i < RISK_AGES; i++) o->ages += o->age[i];
  for (int i = 0; i < 1000; i++)
    if (o->zip3[i] <= 20000) o->restricted += o->zip3[i];
  o->total = total;
  o->year = (int)year;
  snprintf(o->source, sizeof o->source, "%.*s", STR_ARG(source));
  return OK;
}

/* "ICD10CM": [5, 3] */
static int broader(struct risk_options *o, struct json all, struct error *e) {
  struct json list, item;
  struct str key;
  for (struct json_iter it = json_members(all); json_next_member(&it, &key, &list);) {
    struct risk_broader *b = &o->broader[o->broader_n];
    if (o->broader_n++ == RISK_BROADER) return error_set(e, E_INPUT, "too many systems under broader");
    b->system = str_copy(&o->arena, key);
    if (!b->system.p) return error_set(e, E_NOMEM, "no memory for the risk table");
    for (struct json_iter at = json_items(list); json_next(&at, &item);) {
      int64_t length;
      bool falls = json_i64(item, &length) && length >= 1 && length <= 64 && b->lengths < RISK_LENGTHS &&
                   (!b->lengths || length < b->length[b->lengths - 1]);
      if (!falls) return error_set(e, E_INPUT, "broader: expected lists of at most %d falling lengths", RISK_LENGTHS);
      b->length[b->lengths++] = (uint8_t)length;
    }
  }
  return OK;
}

static int interpret(struct risk_options *o, const char *path, struct json root, struct error *e) {
  static const char *const names[RISK_ATTRIBUTES] = {"sex", "zip3", "race", "ethnicity"};
  int64_t k, rare, sample, common;
  struct str table;
  TRY(json_want_i64(root, "k", &k, e));
  TRY(json_want_i64(root, "rare", &rare, e));
  TRY(json_want_i64(root, "sample", &sample, e));
  if (k < 2 || k > 1000 || rare < 2 || rare > 1000 || sample < 0 || sample > 100000)
    return error_set(e, E_INPUT, "k, rare or sample of the risk table is out of range");
  o->k = (uint32_t)k, o->rare = (uint32_t)rare, o->sample = (uint32_t)sample, o->common = 100;
  if (json_i64(json_get(root, "common"), &common)) o->common = (uint32_t)(common < 0 || common > UINT32_MAX ? 0 : common);
  if (o->common < o->rare) return error_set(e, E_INPUT, "common of the risk table is below rare, or out of range");
  for (int a = 0; a < RISK_ATTRIBUTES; a++)
    TRY(strings(json_get(json_get(root, "attributes"), names[a]), &o->arena, o->prefix[a], &o->prefix_n[a], e));
  TRY(strings(json_get(root, "male"), &o->arena, o->male, &o->male_n, e));
  TRY(strings(json_get(root, "female"), &o->arena, o->female, &o->female_n, e));
  TRY(strings(json_get(root, "keep"), &o->arena, o->keep, &o->keep_n, e));
  TRY(broader(o, json_get(root, "broader"), e));
  table = json_str(json_get(root, "population"));
  if (!table.n) return OK;
  char file[4096];
  const char *slash = strrchr(path, '/');
  int dir = slash ? (int)(slash - path + 1) : 0;
  if ((size_t)snprintf(file, sizeof file, "%.*s%.*s", dir, path, STR_ARG(table)) >= sizeof file)
    return error_set(e, E_LIMIT, "the path of the population table is too long");
  int rc = population(o, file, e);
  if (rc < 0) error_where(e, file, 0, NULL);
  return rc;
}

int risk_options_load(const char *path, struct risk_options *o, struct error *e) {
  struct json root;
  memset(o, 0, sizeof *o);
  arena_init(&o->arena, 8 << 20, 0);
  int rc = json_load(&o->arena, path, &root, e);
  if (rc == OK) rc = interpret(o, path, root, e);
  if (rc < 0) {
    error_where(e, path, 0, NULL);
    risk_options_free(o);
  }
  return rc;
}
void risk_options_free(struct risk_options *o) { arena_free(&o->arena); }

bool risk_kept(const struct risk_options *o, struct str name) {
  for (int i = 0; i < o->keep_n; i++)
    if (str_starts(name, o->keep[i])) return true;
  return false;
}

/* ---- what is known of one person ---- */

static uint8_t attribute_of(const struct risk_options *o, struct str code) {
  for (uint8_t a = 0; a < RISK_ATTRIBUTES; a++)
    for (int i = 0; i < o->prefix_n[a]; i++)
      if (str_starts(code, o->prefix[a][i])) return a + 1;
  return 0;
}

static struct str answer(struct str code) { /* what follows "//" */
  for (size_t i = 0; i + 1 < code.n; i++)
    if (code.p[i] == '/' && code.p[i + 1] == '/') return (struct str){code.p + i + 2, code.n - i - 2};
  return STR_NONE;
}

static uint8_t sex_of(const struct risk_options *o, struct str code) {
  struct str s = answer(code);
  for (int i = 0; i < o->male_n; i++)
    if (str_eq(s, o->male[i])) return 1;
  for (int i = 0; i < o->female_n; i++)
    if (str_eq(s, o->female[i])) return 2;
  return 3;
}

uint8_t risk_age_band(int64_t birth, int64_t last) {
  if (birth == TIME_STATIC || last == TIME_STATIC || last < birth) return 0;
  int64_t years = (last - birth) / TIME_DAY * 100 / 36525;
  return (uint8_t)(years >= 90 ? RISK_AGES : years / 5 + 1);
}

static int year_of(int64_t time) {
  int y, m, d;
  if (time == TIME_STATIC) return 0;
  time_to_civil(time_day(time), &y, &m, &d);
  return y;
}

void risk_person(struct risk_work *w, const struct timeline_view *v, struct risk_person *p) {
  int64_t birth = TIME_STATIC, first = TIME_STATIC, last = TIME_STATIC;
  *p = (struct risk_person){.zip3 = -1};
  for (uint32_t k = 0; k < v->n; k++) {
    uint32_t code = v->code[k];
    uint8_t a = w->attribute[code];
    if (a == RISK_SEX + 1 && !p->sex) p->sex = sex_of(w->o, timeline_code_name(w->t, code));
    if (a == RISK_RACE + 1 && !p->race) p->race = code + 1;
    if (a == RISK_ETHNICITY + 1 && !p->ethnicity) p->ethnicity = code + 1;
    int64_t prefix;
    if (a == RISK_ZIP3 + 1 && p->zip3 < 0 && str_to_i64(answer(timeline_code_name(w->t, code)), &prefix) == OK && prefix >= 0 &&
        prefix < 1000)
      p->zip3 = (int16_t)prefix;
    if (code == w->birth) birth = v->time[k];
    if (v->time[k] == TIME_STATIC || code == w->birth) continue;
    if (first == TIME_STATIC || v->time[k] < first) first = v->time[k];
    if (last == TIME_STATIC || v->time[k] > last) last = v->time[k];
  }
  p->age = risk_age_band(birth, last);
  p->first = (int16_t)year_of(first), p->last = (int16_t)year_of(last);
  for (uint32_t n = v->n; n > 1; n >>= 1) p->events++;
}

/* ---- classes ---- */

struct tuple {
  uint32_t age, sex, race, ethnicity;
  int32_t zip3, first, last, events;
};
static int64_t class_of(const struct risk_person *p, int set) {
  struct tuple t = {.age = p->age, .sex = p->sex, .zip3 = p->zip3};
  if (set >= 1) t.race = p->race, t.ethnicity = p->ethnicity;
  if (set >= 2) t.first = p->first, t.last = p->last;
  if (set >= 3) t.events = p->events;
  return (int64_t)hash64(&t, sizeof t, (uint64_t)set);
}

static int band_of(uint64_t n) {
  static const uint64_t edges[RISK_BANDS - 1] = {1, 4, 10, 20, 50, 100};
  int b = 0;
  while (b < RISK_BANDS - 1 && n > edges[b]) b++;
  return b;
}

static int one_set(const struct risk_person *p, uint32_t n, int which, struct risk_set *out, struct error *e) {
  struct map64 classes;
  map64_init(&classes);
  for (uint32_t i = 0; i < n; i++) {
    uint64_t *slot = map64_put(&classes, class_of(&p[i], which), NULL);
    if (!slot) {
      map64_release(&classes);
      return error_set(e, E_NOMEM, "no memory for classes of persons");
    }
    ++*slot;
  }
  size_t at = 0;
  int64_t key;
  uint64_t size;
  while (map64_next(&classes, &at, &key, &size)) {
    out->classes++;
    out->persons[band_of(size)] += size;
    if (size == 1) out->unique++;
    if (size < 5) out->under5 += size;
    if (size < 11) out->under11 += size;
    if (!out->smallest || size < out->smallest) out->smallest = size;
  }
  map64_release(&classes);
  out->max = out->smallest ? 1.0 / (double)out->smallest : 0;
  out->mean = n ? (double)out->classes / n : 0;
  return OK;
}

/* ---- the population ---- */

double risk_people(const struct risk_options *o, const struct risk_person *p) {
  double people = o->total;
  if (p->zip3 == 0) people = o->restricted;
  if (p->zip3 > 0) people = o->zip3[p->zip3];
  if (p->age) people *= o->age[p->age - 1] / o->ages;
  if (p->sex == 1 || p->sex == 2) people *= o->sex[p->sex - 1] / (o->sex[0] + o->sex[1]);
  return people;
}

static void k_map(const struct risk_options *o, const struct risk_person *p, uint32_t n, struct risk *r) {
  r->population = true;
  r->map_least = INFINITY;
  for (uint32_t i = 0; i < n; i++) {
    double people = risk_people(o, &p[i]);
    if (p[i].zip3 >= 0) r->map_zip++;
    r->map_persons++;
    r->map_under5 += people < 5;
    r->map_under11 += people < 11;
    r->map_under100 += people < 100;
    if (people < r->map_least) r->map_least = people;
  }
  snprintf(r->population_source, sizeof r->population_source, "%s", o->source);
  r->population_year = o->year;
}

/* ---- rare codes ---- */

static int by_codes(const void *a, const void *b) {
  const struct risk_system *x = a, *y = b;
  if (x->rare != y->rare) return x->rare > y->rare ? -1 : 1;
  if (x->codes != y->codes) return x->codes > y->codes ? -1 : 1;
  return strcmp(x->name, y->name);
}

static int systems(struct risk_work *w, struct risk *r, struct error *e) {
  struct map names;
  uint32_t n = 0, cap = 0;
  struct risk_system *all = NULL;
  int rc = OK;
  map_init(&names, 64 << 20);
  for (uint32_t c = 0; c < timeline_codes(w->t) && rc == OK; c++) {
    struct str name = timeline_code_name(w->t, c), tail = answer(name);
    if (w->attribute[c] || !w->persons[c]) continue;
    if (tail.p) name.n -= tail.n + 2;
    uint64_t *slot = map_put(&names, name, NULL);
    if (slot && !*slot) {
      if (n == cap) {
        cap = cap ? cap * 2 : 32;
        struct risk_system *more = mem_realloc(all, cap * sizeof *more);
        if (!more) slot = NULL;
        all = more ? more : all;
      }
      if (slot) {
        all[n] = (struct risk_system){0};
        snprintf(all[n].name, sizeof all[n].name, "%.*s", STR_ARG(name));
        *slot = ++n;
      }
    }
    if (!slot) {
      rc = error_set(e, E_NOMEM, "no memory for code systems");
    } else {
      all[*slot - 1].codes++;
      all[*slot - 1].rare += w->persons[c] < w->o->rare;
    }
  }
  if (rc == OK && n) {
    qsort(all, n, sizeof *all, by_codes);
    r->systems = n < RISK_SYSTEMS ? (int)n : RISK_SYSTEMS;
    memcpy(r->system, all, (size_t)r->systems * sizeof *all);
  }
  mem_free(all);
  map_release(&names);
  return rc;
}

static void rare_codes(struct risk_work *w, struct risk *r) {
  for (uint32_t c = 0; c < timeline_codes(w->t); c++) {
    if (w->attribute[c] || !w->persons[c] || c == w->birth) continue;
    r->codes++;
    r->rare_codes += w->persons[c] < w->o->rare;
  }
  for (uint32_t i = 0; i < timeline_subjects(w->t); i++) {
    struct timeline_view v = timeline_view(w->t, i);
    bool rare = false;
    for (uint32_t k = 0; k < v.n; k++) {
      uint32_t c = v.code[k];
      if (w->attribute[c] || c == w->birth || w->persons[c] >= w->o->rare) continue;
      rare = true;
      r->rare_events++;
    }
    r->rare_persons += rare;
  }
}

static void attributes(struct risk_work *w, const struct risk_person *p, uint32_t n, struct risk *r) {
  for (uint32_t i = 0; i < n; i++) {
    r->known[RISK_SEX] += p[i].sex > 0;
    r->known[RISK_ZIP3] += p[i].zip3 >= 0;
    r->known[RISK_RACE] += p[i].race > 0;
    r->known[RISK_ETHNICITY] += p[i].ethnicity > 0;
    r->birth_known += p[i].age > 0;
  }
  for (uint32_t c = 0; c < timeline_codes(w->t); c++) {
    if (!w->attribute[c] || !w->persons[c]) continue;
    r->values[w->attribute[c] - 1]++;
    r->small_values[w->attribute[c] - 1] += w->persons[c] <= RISK_SMALL;
  }
}

/* ---- all of it ---- */

void risk_attributes(struct risk_work *w) {
  for (uint32_t c = 0; c < timeline_codes(w->t); c++) w->attribute[c] = attribute_of(w->o, timeline_code_name(w->t, c));
  if (!timeline_code_find(w->t, STR("MEDS_BIRTH"), &w->birth)) w->birth = UINT32_MAX;
}

/* How many persons have each code, and what each person shows. */
static void first_pass(struct risk_work *w, struct risk_person *p) {
  for (uint32_t i = 0; i < timeline_subjects(w->t); i++) {
    struct timeline_view v = timeline_view(w->t, i);
    risk_person(w, &v, &p[i]);
    for (uint32_t k = 0; k < v.n; k++) {
      uint32_t c = v.code[k];
      if (w->last[c] == i + 1) continue;
      w->last[c] = i + 1;
      w->persons[c]++;
    }
  }
}

/* Who shares with few what somebody may know: a code or two that not everybody has, alone or with the attributes. */
static int known_codes(struct risk_work *w, const struct risk_person *p, struct risk *r, struct error *e) {
  struct arena a;
  struct risk_items items;
  arena_init(&a, 0, 0);
  int rc = risk_items(&(struct risk_items_of){.t = w->t, .w = w, .names = timeline_codes(w->t), .person = p}, &a, &items, e);
  for (int i = 0; rc == OK && i < RISK_ATTACKS; i++)
    rc = risk_known(&items, (struct risk_attack){.codes = 1 + i % 2, .attributes = i >= 2}, w->o->k, &r->known_codes[i], e);
  arena_free(&a);
  r->common = w->o->common;
  return rc;
}

static int measure(struct risk_work *w, struct risk_person *p, struct risk *r, struct error *e) {
  static const char *const names[RISK_SETS] = {"age band, sex, ZIP3", "and race, ethnicity", "and first and last year",
                                               "and number of events"};
  uint32_t n = timeline_subjects(w->t);
  first_pass(w, p);
  for (int s = 0; s < RISK_SETS; s++) {
    r->set[s].name = names[s];
    TRY(one_set(p, n, s, &r->set[s], e));
  }
  attributes(w, p, n, r);
  rare_codes(w, r);
  TRY(systems(w, r, e));
  if (w->o->total > 0) k_map(w->o, p, n, r);
  TRY(known_codes(w, p, r, e));
  TRY(risk_patterns(w, r, e));
  return timeline_damaged(w->t) ? error_set(e, E_CORRUPT, "the store is damaged; see: vitae verify") : OK;
}

int risk_compute(const struct timeline *t, const struct risk_options *o, struct risk **out, struct error *e) {
  struct risk_work w = {.t = t, .o = o, .birth = UINT32_MAX};
  struct arena a;
  uint32_t codes = timeline_codes(t), n = timeline_subjects(t);
  *out = NULL;
  arena_init(&a, 0, 0);
  w.attribute = arena_array(&a, uint8_t, codes + 1);
  w.persons = arena_array(&a, uint32_t, codes + 1);
  w.last = arena_array(&a, uint32_t, codes + 1);
  struct risk_person *p = arena_array(&a, struct risk_person, n + 1);
  struct risk *r = mem_alloc(sizeof *r);
  int rc = w.attribute && w.persons && w.last && p && r ? OK : error_set(e, E_NOMEM, "no memory for the risk report");
  if (rc == OK) {
    memset(r, 0, sizeof *r);
    r->persons = n, r->events = timeline_events(t), r->k = o->k, r->rare_limit = o->rare;
    risk_attributes(&w);
    rc = measure(&w, p, r, e);
  }
  arena_free(&a);
  if (rc == OK)
    *out = r;
  else
    mem_free(r);
  return rc;
}

void risk_free(struct risk *r) { mem_free(r); }
