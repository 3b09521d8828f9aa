/* What a policy holds back so that nobody stands out: rare codes become broader ones or nothing, small groups lose what makes them small.
 *
 * Codes: every code has a chain of broader names (policy/risk.json, "broader"); a name that fewer than k persons have sends all its codes one
 * step up, until nothing is rare or the chain ends and the code is left out (bottom-up generalisation, after Sweeney 2002 and Samarati 2001).
 * Persons: who would be one of fewer than k people of the country by age band, sex and ZIP3 loses the ZIP3, then the sex; with `classes` the
 * same holds within the store, and race and ethnicity go where they make a class small; whoever is still in a small class is left out.
 * Combinations: what is left of each life loses the rarest codes until nobody has two, or one with the attributes, that fewer than k have. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"
#include "timeline/timeline.h"
#include "validate/risk_known.h"

enum { GROUP_ZIP3 = 1, GROUP_SEX, GROUP_RACE, CHAIN = 8 };

struct chain {
  struct str name[CHAIN + 1]; /* from the code itself on */
  int n, at;
};
struct work {
  const struct timeline *t;
  const struct risk_options *o;
  const struct risk_suppress_options *want;
  struct arena *a;
  struct risk_work risk; /* what risk.c calls a pass */
  struct chain *chain;
  uint32_t *set, *set_n; /* by code: up to k persons who have it */
  uint32_t *to;
  uint8_t *group, *without;
  struct risk_person *person;
  uint32_t *held, *held_from; /* names held back from single persons; NULL = none */
  struct risk_suppressed *did;
};

/* ---- broader names ---- */

static struct str part(struct str *rest) {
  for (size_t i = 0; i + 1 < rest->n; i++) {
    if (rest->p[i] != '/' || rest->p[i + 1] != '/') continue;
    struct str p = {rest->p, i};
    *rest = (struct str){rest->p + i + 2, rest->n - i - 2};
    return p;
  }
  struct str p = *rest;
  *rest = STR_NONE;
  return p;
}

static const struct risk_broader *rule_of(const struct risk_options *o, struct str system) {
  for (int i = 0; i < o->broader_n; i++)
    if (str_eq(o->broader[i].system, system)) return &o->broader[i];
  return NULL;
}

static bool link(struct work *w, struct chain *c, struct str system, struct str code, struct str state) {
  struct buf b = {0};
  if (code.n && code.p[code.n - 1] == '.') code.n--;
  buf_printf(&b, "%.*s//%.*s", STR_ARG(system), STR_ARG(code));
  if (state.n) buf_printf(&b, "//%.*s", STR_ARG(state));
  struct str name = str_copy(w->a, (struct str){b.p, b.n});
  bool fails = b.failed || !name.p;
  buf_release(&b);
  if (fails || str_eq(name, c->name[c->n - 1]) || c->n == CHAIN) return !fails;
  c->name[c->n++] = name;
  return true;
}

/* "ICD10CM//I50.9" -> I50; "LOINC//882-1//SNOMED//112144000" -> the question without its answer */
static int chain_of(struct work *w, uint32_t code, struct error *e) {
  struct chain *c = &w->chain[code];
  struct str name = timeline_code_name(w->t, code), rest = name, system = part(&rest), value = part(&rest), state = rest;
  const struct risk_broader *rule = rule_of(w->o, system);
  struct str last = rest, third = part(&last);
  bool ok = true;
  c->name[c->n++] = name;
  for (int i = 0; rule && i < rule->lengths && value.n; i++)
    if (value.n > rule->length[i]) ok = ok && link(w, c, system, (struct str){value.p, rule->length[i]}, state);
  if (!rule && third.n && last.n) ok = link(w, c, system, value, STR_NONE);
  return ok ? OK : error_set(e, E_NOMEM, "no memory for broader codes");
}

/* ---- persons ---- */

static int64_t class_key(const struct work *w, uint32_t i, bool detail) {
  const struct risk_person *p = &w->person[i];
  struct {
    uint32_t age, sex, race, ethnicity;
    int32_t zip3;
  } key = {.age = p->age, .sex = p->sex, .zip3 = p->zip3, .race = detail ? p->race : 0, .ethnicity = detail ? p->ethnicity : 0};
  return (int64_t)hash64(&key, sizeof key, detail);
}

static void hide(struct work *w, uint32_t i, int group) {
  struct risk_person *p = &w->person[i];
  w->without[i] |= (uint8_t)(1 << (group - 1));
  if (group == GROUP_ZIP3) p->zip3 = -1, w->did->zip3++;
  if (group == GROUP_SEX) p->sex = 0, w->did->sex++;
  if (group == GROUP_RACE) p->race = p->ethnicity = 0, w->did->race++;
}

/* In every class of fewer than k: takes the attribute from those who have it, or (group 0) leaves them out. */
static int small_classes(struct work *w, bool detail, int group, struct error *e) {
  struct map64 classes;
  uint64_t size;
  uint32_t n = timeline_subjects(w->t);
  int rc = OK;
  uint8_t *small = arena_array(w->a, uint8_t, n + 1);
  map64_init(&classes);
  for (uint32_t i = 0; rc == OK && i < n; i++) {
    if (w->without[i] == TIMELINE_LEFT_OUT) continue;
    uint64_t *slot = small ? map64_put(&classes, class_key(w, i, detail), NULL) : NULL;
    if (slot)
      ++*slot;
    else
      rc = error_set(e, E_NOMEM, "no memory for classes of persons");
  }
  for (uint32_t i = 0; rc == OK && i < n; i++)
    small[i] = w->without[i] != TIMELINE_LEFT_OUT && map64_get(&classes, class_key(w, i, detail), &size) && size < w->want->k;
  for (uint32_t i = 0; rc == OK && i < n; i++) {
    const struct risk_person *p = &w->person[i];
    bool has = group == GROUP_ZIP3 ? p->zip3 >= 0 : group == GROUP_SEX ? p->sex > 0 : p->race || p->ethnicity;
    if (!small[i]) continue;
    if (group && has) hide(w, i, group);
    if (!group) w->without[i] = TIMELINE_LEFT_OUT, w->did->persons++;
  }
  map64_release(&classes);
  return rc;
}

static int persons(struct work *w, struct error *e) {
  uint32_t n = timeline_subjects(w->t);
  for (uint32_t i = 0; w->o->total > 0 && i < n; i++) {
    if (risk_people(w->o, &w->person[i]) < w->want->k && w->person[i].zip3 >= 0) hide(w, i, GROUP_ZIP3);
    if (risk_people(w->o, &w->person[i]) < w->want->k && w->person[i].sex) hide(w, i, GROUP_SEX);
  }
  if (!w->want->classes) return OK;
  TRY(small_classes(w, false, GROUP_ZIP3, e));
  TRY(small_classes(w, true, GROUP_RACE, e));
  TRY(small_classes(w, false, GROUP_SEX, e));
  for (uint32_t before = UINT32_MAX; before != w->did->persons;) { /* whoever goes makes others' classes smaller: until nobody does */
    before = w->did->persons;
    TRY(small_classes(w, true, 0, e));
  }
  return OK;
}

/* ---- codes ---- */

static bool add(uint32_t *set, uint32_t *n, uint32_t k, uint32_t who) {
  for (uint32_t i = 0; i < *n; i++)
    if (set[i] == who) return false;
  if (*n < k) set[(*n)++] = who;
  return true;
}

static void who_has(struct work *w) {
  uint32_t k = w->want->k;
  for (uint32_t i = 0; i < timeline_subjects(w->t); i++) {
    struct timeline_view v = timeline_view(w->t, i);
    for (uint32_t e = 0; w->without[i] != TIMELINE_LEFT_OUT && e < v.n; e++) {
      uint32_t c = v.code[e];
      bool hidden = w->group[c] && w->without[i] >> (w->group[c] - 1) & 1;
      if (hidden || (w->set_n[c] && w->set[(size_t)c * k + w->set_n[c] - 1] == i)) continue;
      if (w->set_n[c] < k) add(&w->set[(size_t)c * k], &w->set_n[c], k, i);
    }
  }
}

struct level { /* the persons of one name */
  uint32_t n, set[RISK_SUPPRESS_K];
};

/* One round: names as the chains stand now; the longest of the rare ones go up. A shorter name waits until all that could still join it has come:
 * eight persons of I50 may become thirteen when those of I50.22 arrive. *moved = something did. */
static int climb(struct work *w, bool *moved, struct error *e) {
  struct map names;
  uint32_t codes = timeline_codes(w->t), n = 0, k = w->want->k;
  struct level *level = mem_alloc((size_t)(codes + 1) * sizeof *level);
  uint64_t *slot;
  int rc = level ? OK : error_set(e, E_NOMEM, "no memory for broader codes");
  *moved = false;
  map_init(&names, 0);
  for (uint32_t c = 0; rc == OK && c < codes; c++) {
    struct chain *x = &w->chain[c];
    bool is_new;
    if (!w->set_n[c] || x->at >= x->n) continue;
    slot = map_put(&names, x->name[x->at], &is_new);
    if (!slot) rc = error_set(e, E_NOMEM, "no memory for broader codes");
    if (!slot) continue;
    if (is_new) *slot = n, level[n++].n = 0;
    for (uint32_t i = 0; i < w->set_n[c]; i++) add(level[*slot].set, &level[*slot].n, k, w->set[(size_t)c * k + i]);
  }
  size_t longest = 0;
  for (int round = 0; rc == OK && round < 2; round++) /* first how long the longest is, then those of that length */
    for (uint32_t c = 0; c < codes; c++) {
      struct chain *x = &w->chain[c];
      uint64_t at;
      if (!w->set_n[c] || x->at >= x->n || !map_get(&names, x->name[x->at], &at)) continue;
      if (level[at].n >= k || risk_kept(w->o, x->name[0])) continue;
      size_t length = x->name[x->at].n;
      if (round == 0 && length > longest) longest = length;
      if (round == 0 || length < longest) continue;
      x->at++;
      *moved = true;
    }
  map_release(&names);
  mem_free(level);
  return rc;
}

static int number_names(struct work *w, struct timeline_suppression *plan, struct error *e) {
  struct map names;
  uint32_t codes = timeline_codes(w->t), n = 0;
  struct str *name = arena_array(w->a, struct str, codes + 1);
  int rc = name ? OK : error_set(e, E_NOMEM, "no memory for broader codes");
  map_init(&names, 0);
  for (uint32_t c = 0; rc == OK && c < codes; c++) {
    struct chain *x = &w->chain[c];
    bool is_new;
    w->to[c] = TIMELINE_SUPPRESSED;
    if (!w->set_n[c] || x->at >= x->n) continue;
    uint64_t *slot = map_put(&names, x->name[x->at], &is_new);
    if (!slot) {
      rc = error_set(e, E_NOMEM, "no memory for broader codes");
      continue;
    }
    if (is_new) *slot = n, name[n++] = x->name[x->at];
    w->to[c] = (uint32_t)*slot;
  }
  map_release(&names);
  *plan = (struct timeline_suppression){.to = w->to, .name = name, .names = n, .group = w->group, .without = w->without};
  return rc;
}

/* ---- combinations ---- */

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

/* What the items' marks say, as the release wants it: by person, names ascending. */
static int list_held(struct work *w, const struct risk_items *x, struct error *e) {
  uint32_t n = 0;
  if (!w->held_from) w->held_from = arena_array(w->a, uint32_t, (size_t)x->persons + 2);
  if (!w->held) w->held = arena_array(w->a, uint32_t, (size_t)x->from[x->persons] + 1);
  if (!w->held_from || !w->held) return error_set(e, E_NOMEM, "no memory for combinations of codes");
  w->did->held_persons = 0;
  for (uint32_t i = 0; i < x->persons; i++) {
    uint32_t first = w->held_from[i] = n;
    for (uint32_t at = x->from[i]; at < x->from[i + 1]; at++)
      if (x->held[at]) w->held[n++] = x->order[x->item[at]];
    if (n > first) qsort(w->held + first, n - first, sizeof *w->held, by_value), w->did->held_persons++;
  }
  w->held_from[x->persons] = n;
  w->did->held = n;
  return OK;
}

static bool is_held(const struct work *w, uint32_t person, uint32_t name) {
  if (!w->held_from || name == TIMELINE_SUPPRESSED) return false;
  uint32_t first = w->held_from[person], n = w->held_from[person + 1] - first;
  return n && bsearch(&name, w->held + first, n, sizeof name, by_value);
}

/* Attributes as the released life shows them: the last event may be one that stays behind, and with it goes the age. */
static int released_persons(struct work *w, const struct risk_items *x, struct error *e) {
  TRY(list_held(w, x, e));
  for (uint32_t i = 0; i < x->persons; i++) {
    struct timeline_view v = timeline_view(w->t, i);
    int64_t last = TIME_STATIC, birth = TIME_STATIC;
    for (uint32_t k = 0; k < v.n; k++) {
      uint32_t name = w->to[v.code[k]];
      if (v.code[k] == w->risk.birth) birth = v.time[k];
      bool gone = name == TIMELINE_SUPPRESSED || is_held(w, i, name);
      if (!gone && v.time[k] != TIME_STATIC && v.code[k] != w->risk.birth && (last == TIME_STATIC || v.time[k] > last)) last = v.time[k];
    }
    w->person[i].age = risk_age_band(birth, last);
  }
  return OK;
}

static int combinations(struct work *w, uint32_t names, struct error *e) {
  struct risk_attack attack = {w->want->codes >= 2 ? 2 : 1, w->want->with_attributes};
  struct risk_items x;
  bool more = true;
  if (w->want->codes < 2 && !w->want->with_attributes) return OK;
  TRY(risk_items(&(struct risk_items_of){w->t, &w->risk, w->to, w->without, names, w->person}, w->a, &x, e));
  while (more) { /* what is held back may change an age band, and so a class; marks only become more, so this ends */
    TRY(released_persons(w, &x, e));
    risk_items_classes(&x, w->person);
    TRY(risk_hold(&x, attack, w->want->k, &more, e));
  }
  return list_held(w, &x, e);
}

static void count(struct work *w) {
  for (uint32_t c = 0; c < timeline_codes(w->t); c++) {
    if (!w->set_n[c]) continue;
    w->did->codes_left_out += w->chain[c].at >= w->chain[c].n;
    w->did->codes_broader += w->chain[c].at > 0 && w->chain[c].at < w->chain[c].n;
  }
  for (uint32_t i = 0; i < timeline_subjects(w->t); i++) {
    struct timeline_view v = timeline_view(w->t, i);
    bool touched = w->without[i];
    for (uint32_t e = 0; e < v.n; e++) {
      const struct chain *x = &w->chain[v.code[e]];
      bool alone = is_held(w, i, w->to[v.code[e]]);
      bool hidden = w->without[i] == TIMELINE_LEFT_OUT || (w->group[v.code[e]] && w->without[i] >> (w->group[v.code[e]] - 1) & 1);
      w->did->events_left_out += hidden || alone || x->at >= x->n;
      w->did->held_events += !hidden && alone;
      w->did->events_broader += !hidden && !alone && x->at > 0 && x->at < x->n;
      touched = touched || alone || x->at > 0;
    }
    w->did->touched += touched;
  }
}

static int plan(struct work *w, struct timeline_suppression *out, struct error *e) {
  static const uint8_t groups[RISK_ATTRIBUTES] = {GROUP_SEX, GROUP_ZIP3, GROUP_RACE, GROUP_RACE};
  uint32_t codes = timeline_codes(w->t), n = timeline_subjects(w->t);
  w->chain = arena_array(w->a, struct chain, codes + 1);
  w->set = arena_array(w->a, uint32_t, (size_t)(codes + 1) * w->want->k);
  w->set_n = arena_array(w->a, uint32_t, codes + 1);
  w->to = arena_array(w->a, uint32_t, codes + 1);
  w->group = arena_array(w->a, uint8_t, codes + 1);
  w->without = arena_array(w->a, uint8_t, n + 1);
  w->person = arena_array(w->a, struct risk_person, n + 1);
  w->risk.attribute = arena_array(w->a, uint8_t, codes + 1);
  if (!w->chain || !w->set || !w->set_n || !w->to || !w->group || !w->without || !w->person || !w->risk.attribute)
    return error_set(e, E_NOMEM, "no memory to weigh codes");
  risk_attributes(&w->risk);
  for (uint32_t c = 0; c < codes; c++) {
    if (w->risk.attribute[c]) w->group[c] = groups[w->risk.attribute[c] - 1];
    TRY(chain_of(w, c, e));
  }
  for (uint32_t i = 0; i < n; i++) {
    struct timeline_view v = timeline_view(w->t, i);
    risk_person(&w->risk, &v, &w->person[i]);
  }
  TRY(persons(w, e));
  who_has(w);
  for (bool moved = true; moved;) TRY(climb(w, &moved, e));
  TRY(number_names(w, out, e));
  TRY(combinations(w, out->names, e));
  out->held = w->held, out->held_from = w->held_from;
  count(w);
  return timeline_damaged(w->t) ? error_set(e, E_CORRUPT, "the base store is damaged; see: vitae verify") : OK;
}

int risk_suppress(const struct timeline *base, const struct risk_options *o, const struct risk_suppress_options *want, struct arena *a,
                  struct timeline_suppression *out, struct risk_suppressed *did, struct error *e) {
  *did = (struct risk_suppressed){.k = want->k, .classes = want->classes, .codes = want->codes, .with_attributes = want->with_attributes};
  did->common = o->common;
  if (want->k < 2 || want->k > RISK_SUPPRESS_K) return error_set(e, E_USAGE, "k of a suppression is 2 to %d", RISK_SUPPRESS_K);
  struct work w = {.t = base, .o = o, .want = want, .a = a, .risk = {.t = base, .o = o}, .did = did};
  return plan(&w, out, e);
}

/* Counts of 1 to 10 would say of how few persons something was taken. */
static void put(struct json_out *o, const char *key, uint64_t n) {
  if (n >= 1 && n <= RISK_SMALL)
    json_kv_c(o, key, "<11");
  else
    json_kv_i64(o, key, (int64_t)n);
}

void risk_suppressed_json(const struct risk_suppressed *d, struct json_out *o) {
  json_out_object(o);
  json_kv_i64(o, "k", d->k);
  json_kv_bool(o, "classes", d->classes);
  json_kv_i64(o, "codes_broader", (int64_t)d->codes_broader);
  json_kv_i64(o, "codes_left_out", (int64_t)d->codes_left_out);
  put(o, "events_broader", d->events_broader);
  put(o, "events_left_out", d->events_left_out);
  put(o, "persons_without_zip3", d->zip3);
  put(o, "persons_without_race_and_ethnicity", d->race);
  put(o, "persons_without_sex", d->sex);
  put(o, "persons_left_out", d->persons);
  put(o, "persons_touched", d->touched);
  if (d->codes >= 2 || d->with_attributes) {
    json_kv_i64(o, "codes_known", d->codes);
    json_kv_bool(o, "with_attributes", d->with_attributes);
    json_kv_i64(o, "common", d->common);
    put(o, "codes_left_out_of_single_lives", d->held);
    put(o, "persons_with_such_a_code", d->held_persons);
    put(o, "events_left_out_of_single_lives", d->held_events);
  }
  json_out_end(o);
}
