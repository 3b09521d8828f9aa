/* The wall itself: the one place where a struct event is made. */
#include "deid/deid.h"

#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/hash.h"
#include "deid/deid_date.h"
#include "deid/deid_object.h"
#include "deid/deid_text.h"
#include "deid/event_make.h"
#include "deid/wall.h"
#include "deid/zip3.h"

enum { CODES_MEMORY = 128 << 20, PATHS_MEMORY = 4 << 20, PATH_LIMIT = 120 };

int64_t event_subject(const struct event *ev) { return ev->subject; }
int64_t event_time(const struct event *ev) { return ev->time; }
struct str event_code(const struct event *ev) {
  return ev->code;
}
struct str event_display(const struct event *ev) {
  return ev->display;
}
float event_value(const struct event *ev) { return ev->value; }
struct str event_unit(const struct event *ev) {
  return ev->unit;
}
struct str event_text(const struct event *ev) {
  return ev->text;
}
struct str event_blob(const struct event *ev) {
  return ev->blob;
}
uint32_t event_origin_file(const struct event *ev) { return ev->origin_file; }
uint64_t event_origin_row(const struct event *ev) { return ev->origin_row; }
bool event_earlier(const struct event *ev) { return ev->earlier; }

/* ---- opening and closing ---- */

int deid_rules_load(const struct deid_policy *policy, struct code_rules **out, struct error *e) {
  char beside[sizeof policy->codes_path], hex[65] = "";
  const char *path = policy->codes_path;
  uint8_t digest[32];
  *out = NULL;
  if (!path[0]) {
    TRY(file_join(beside, sizeof beside, file_data_dir(), "policy/code-shapes.json", e));
    path = beside;
  }
  TRY(sha256_file(path, digest, e));
  hash_hex(digest, 32, hex);
  if (policy->codes_hash[0] && memcmp(hex, policy->codes_hash, 64) != 0)
    return error_set(e, E_MISMATCH, "the table of code shapes changed after the policy was read");
  return code_rules_load(path, out, e);
}

void deid_rules_free(struct code_rules *rules) { code_rules_free(rules); }

static int policy_check(const struct deid_policy *p, struct error *e) {
  bool sound = p->dates <= DEID_DATES_KEEP && (p->dates != DEID_DATES_SHIFT || (p->shift_days_max >= 1 && p->shift_days_max <= 36500)) &&
               (p->random_pseudonyms || p->dates == DEID_DATES_SHIFT) && p->age_cap >= 0 && p->zip3_n >= 0 && p->zip3_n <= 1024 &&
               p->sentinel_n >= 0 && p->sentinel_n <= 8;
  return sound ? OK : error_set(e, E_USAGE, "de-identification policy out of range");
}

static int open_wall(const struct deid_policy *policy, const struct code_rules *rules, struct vault *vault, const char *source,
                     const struct event_sink *out, struct deid **wall, struct error *e) {
  *wall = NULL;
  TRY(policy_check(policy, e));
  struct deid *w = mem_alloc(sizeof *w);
  if (!w) return error_set(e, E_NOMEM, "no memory for the wall");
  memset(w, 0, sizeof *w);
  w->policy = *policy;
  w->vault = vault;
  vault->keyed = !policy->random_pseudonyms;
  w->out = *out;
  map_init(&w->codes, CODES_MEMORY);
  map_init(&w->paths, PATHS_MEMORY);
  if (w->policy.display_persons < 1 || w->policy.display_persons > DISPLAY_PERSONS) w->policy.display_persons = 3;
  int rc = rules ? OK : deid_rules_load(&w->policy, &w->own_rules, e);
  w->rules = rules ? rules : w->own_rules;
  if (rc == OK) rc = vault_source(vault, str_c(source), &w->source, e);
  if (rc < 0) {
    deid_close(w);
    return rc;
  }
  w->open = code_rules_open_source(w->rules, str_c(source));
  *wall = w;
  return OK;
}

int deid_open(const struct deid_policy *policy, struct vault *vault, const char *source, const struct event_sink *out, struct deid **wall,
              struct error *e) {
  return open_wall(policy, NULL, vault, source, out, wall, e);
}

int deid_open_shared(const struct deid_policy *policy, const struct code_rules *rules, struct vault *vault, const char *source,
                     const struct event_sink *out, struct deid **wall, struct error *e) {
  return open_wall(policy, rules, vault, source, out, wall, e);
}

void deid_close(struct deid *w) {
  if (!w) return;
  object_close(w);
  deid_text_close(w);
  code_rules_free(w->own_rules);
  map_release(&w->codes);
  map_release(&w->paths);
  mem_free(w->entries);
  mem_free(w->paths_at);
  mem_wipe(w, sizeof *w);
  mem_free(w);
}

/* ---- counting ---- */

/* Paths are the readers' own words. Should one hold anything else, it is counted as "other". */
static struct str path_of(const char *path) {
  if (!path || !*path) return STR("other");
  for (size_t i = 0; path[i]; i++) {
    char c = path[i];
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._-:/[]?*|", c);
    if (!word || i == PATH_LIMIT) return STR("other");
  }
  return str_c(path);
}

static struct path_count *path_entry(struct deid *w, struct str path) {
  uint64_t at;
  if (map_get(&w->paths, path, &at)) return &w->paths_at[at];
  if (w->path_n >= PATHS_LIMIT && !str_eqc(path, "other")) return path_entry(w, STR("other"));
  if (w->path_n == w->path_cap) {
    uint32_t cap = w->path_cap ? w->path_cap * 2 : 64;
    struct path_count *more = mem_realloc(w->paths_at, cap * sizeof *more);
    if (!more) return NULL;
    w->paths_at = more;
    w->path_cap = cap;
  }
  char *copy = arena_strndup(&w->paths.keys, path.p, path.n);
  uint64_t *slot = copy ? map_put(&w->paths, path, NULL) : NULL;
  if (!slot) return NULL;
  *slot = w->path_n;
  w->paths_at[w->path_n] = (struct path_count){.path = {copy, path.n}};
  return &w->paths_at[w->path_n++];
}

static int drop(struct deid *w, const struct record *r, enum drop why, struct error *e) {
  struct path_count *p = path_entry(w, path_of(r->path));
  if (!p) return error_set(e, E_NOMEM, "no memory for counts");
  p->n[why]++;
  w->drops[why]++;
  switch (why) {
    case DROP_TEXT: w->counts.text_dropped++, w->counts.removed[IDENTIFIER_FREE_TEXT]++; return OK;
    case DROP_UNIT: w->counts.units_dropped++; return OK;
    case DROP_SYSTEM:
    case DROP_SHAPE: w->counts.codes_dropped++; break;
    case DROP_OWN: w->counts.own_identifiers++; break;
    case DROP_SENTINEL:
    case DROP_CALENDAR:
    case DROP_SPAN:
    case DROP_TIMELESS: w->counts.times_dropped++; break;
    default: break;
  }
  w->counts.elements_dropped++;
  return OK;
}

/* ---- the person ---- */

/* Codes, units and numbers are compared with what the vault knows of this person. */
static bool own_has(const struct deid *w, struct str s) { return s.n >= OWN_LEAST && vault_has_value(w->vault, w->person, s); }

/* The person of a record; kept while records of one key follow one another. False: forgotten, and not to come back. */
static int person_of(struct deid *w, const struct record *r, bool *usable, struct error *e) {
  *usable = true;
  if (w->current && w->changes == w->vault->changes && str_eq(w->key, r->person)) return OK;
  w->current = NULL;
  if (!vault_known(w->vault, w->source, r->person, &w->person)) {
    *usable = !vault_gone(w->vault, w->source, r->person);
    if (!*usable) return OK;
    TRY(vault_person(w->vault, w->source, r->person, &w->person, e));
  }
  w->current = vault_identity(w->vault, w->person);
  w->changes = w->vault->changes;
  w->key = STR_NONE;
  for (uint32_t i = w->current->keys; i; i = vault_entry(&w->vault->keys, i - 1)->next) {
    struct vault_text t = vault_text(w->vault, vault_entry(&w->vault->keys, i - 1));
    if (t.space == w->source && str_eq(t.value, r->person)) w->key = t.value; /* the vault's own copy: it stays where it is */
  }
  return OK;
}

static bool person_usable(const struct record *r) { return r->person.n > 0 && r->person.n <= VAULT_KEY_LIMIT; }

static void touch(struct deid *w) {
  if (!(w->current->flags & IDENTITY_TOUCHED)) w->counts.persons++;
  w->current->flags |= IDENTITY_TOUCHED | IDENTITY_EMITTED;
}

/* ---- codes, descriptions, units, values ---- */

static struct code_entry *entry_new(struct deid *w, struct str code) {
  if (w->entry_n == w->entry_cap) {
    uint32_t cap = w->entry_cap ? w->entry_cap * 2 : 256;
    struct code_entry *more = mem_realloc(w->entries, cap * sizeof *more);
    if (!more) return NULL;
    w->entries = more;
    w->entry_cap = cap;
  }
  uint64_t *slot = map_put(&w->codes, code, NULL);
  if (!slot) return NULL;
  *slot = w->entry_n;
  w->entries[w->entry_n] = (struct code_entry){.age = code_rules_age(w->rules, code)};
  return &w->entries[w->entry_n++];
}

static bool own_in_code(const struct deid *w, struct str code) {
  while (code.p)
    if (own_has(w, code_part(&code))) return true;
  return false;
}

/* DROPS = passes. *entry is NULL when the table of known codes is full: such a code is checked every time. */
static enum drop code_check(struct deid *w, struct str code, struct code_entry **entry) {
  uint64_t at;
  *entry = NULL;
  if (map_get(&w->codes, code, &at)) {
    *entry = &w->entries[at];
    return DROPS;
  }
  enum code_verdict v = code_rules_check(w->rules, code, w->open);
  if (v == CODE_SYSTEM_UNKNOWN) return DROP_SYSTEM;
  if (v == CODE_SHAPE_WRONG) return DROP_SHAPE;
  if (own_in_code(w, code)) return DROP_OWN;
  *entry = entry_new(w, code);
  return DROPS;
}

static bool display_seen(struct deid *w, struct code_entry *c, uint64_t hash) {
  int at = -1, least = 0;
  for (int i = 0; i < DISPLAY_CANDIDATES; i++) {
    if (c->candidate[i].hash == hash) at = i;
    if (c->candidate[i].n < c->candidate[least].n) least = i;
  }
  if (at < 0) {
    at = least;
    c->candidate[at].hash = hash;
    c->candidate[at].n = 0;
  }
  for (uint32_t i = 0; i < c->candidate[at].n; i++)
    if (c->candidate[at].person[i] == w->person) return false;
  c->candidate[at].person[c->candidate[at].n++] = w->person;
  if (c->candidate[at].n < (uint32_t)w->policy.display_persons) return false;
  c->shown = hash;
  return true;
}

/* This person is counted already: the description says nothing new, and need not be looked at. */
static bool display_counted(const struct deid *w, const struct code_entry *c, uint64_t hash) {
  for (int i = 0; i < DISPLAY_CANDIDATES; i++)
    for (uint32_t k = 0; c->candidate[i].hash == hash && k < c->candidate[i].n; k++)
      if (c->candidate[i].person[k] == w->person) return true;
  return false;
}

static struct str display_of(struct deid *w, struct code_entry *c, struct str display) {
  if (display.n == 0) return STR_NONE;
  if (c && display.n <= DISPLAY_LIMIT) {
    uint64_t hash = vault_hash(w->vault, display.p, display.n, 1) | 1;
    if (c->shown == hash) return display;
    bool old = w->open && display_counted(w, c, hash);
    if (!c->shown && !old && code_rules_display(display) && (!w->open || display_seen(w, c, hash))) {
      c->shown = hash;
      return display;
    }
  }
  w->counts.displays_held++;
  return STR_NONE;
}

/* A whole number of 5 and more digits that is one of the person's identifiers. */
static bool own_value(const struct deid *w, double v) {
  char text[24];
  if (!(v >= 10000 && v < 1e15) || v != floor(v)) return false;
  int n = snprintf(text, sizeof text, "%.0f", v);
  return own_has(w, (struct str){text, (size_t)n});
}

static float value_of(struct deid *w, const struct record *r, const struct code_entry *c, struct str unit) {
  double v = r->value;
  bool age = c ? c->age : code_rules_age(w->rules, r->code);
  if (age && w->policy.age_cap) {
    double cap = (w->policy.age_cap + 1) * code_rules_per_year(unit);
    if (v > cap) {
      v = cap;
      w->counts.ages_capped++;
    }
  }
  return record_number(v) ? (float)v : NAN;
}

/* ---- time ---- */

struct span {
  int32_t first, last; /* days that a date of its precision can mean */
};
static struct span span_of(int32_t day, enum time_precision precision) {
  struct span s = {day, day};
  if (precision == TIME_PRECISION_YEAR) s.last = day + 364;
  if (precision == TIME_PRECISION_MONTH) s.last = day + 27;
  return s;
}

static int age_at(const struct deid *w, int32_t birth, int32_t day) {
  return w->policy.dates == DEID_DATES_YEAR ? deid_age_years(birth, day) : deid_age(birth, day);
}

static enum drop time_check(const struct deid *w, const struct record_time *t, int32_t *day) {
  if (!deid_day(t->us, day)) return DROP_CALENDAR;
  if (deid_sentinel(&w->policy, *day)) return DROP_SENTINEL;
  int32_t last = w->current->last;
  if (w->policy.age_cap && last != DEID_DAY_NONE && *day < last && age_at(w, *day, last) > w->policy.age_cap) return DROP_SPAN;
  return DROPS;
}

static int time_take(struct deid *w, const struct record_time *t, int32_t day, int64_t *us, struct error *e) {
  struct identity *id = w->current;
  struct span s = span_of(day, t->precision);
  if (w->policy.dates == DEID_DATES_SHIFT) TRY(vault_shift(w->vault, id, w->policy.shift_days_max, e));
  if (id->first == DEID_DAY_NONE || s.first < id->first) id->first = s.first;
  if (id->last == DEID_DAY_NONE || s.last > id->last) id->last = s.last;
  *us = deid_date(w->policy.dates, t->us, t->precision, id->shift_days);
  if (w->policy.dates != DEID_DATES_KEEP) w->counts.dates_changed++;
  return OK;
}

/* ---- records ---- */

static int emit(struct deid *w, const struct event *ev, struct error *e) {
  TRY(w->out.event(w->out.ctx, ev, e));
  w->counts.events++;
  touch(w);
  return OK;
}

static struct event event_of(const struct deid *w, const struct record *r, struct str code) {
  return (struct event){
      .subject = w->current->pseudonym, .time = TIME_STATIC, .code = code, .value = NAN, .origin_file = r->file, .origin_row = r->row};
}

/* A number whose unit does not pass goes with it: 5.5 of an unknown unit is no measurement. */
static int measure(struct deid *w, const struct record *r, const struct code_entry *c, struct event *ev, struct error *e) {
  struct str unit = code_rules_unit_spelled(str_trim(r->unit), w->unit);
  if (unit.n && (!code_rules_unit(w->rules, unit, w->open) || own_has(w, unit))) return drop(w, r, DROP_UNIT, e);
  ev->unit = unit.n ? unit : STR_NONE;
  ev->value = value_of(w, r, c, unit);
  return OK;
}

static int take_time(struct deid *w, const struct record *r, struct event *ev, bool *passes, struct error *e) {
  int32_t day;
  *passes = true;
  if (r->time.us == TIME_STATIC) return OK;
  enum drop why = time_check(w, &r->time, &day);
  if (why == DROPS) return time_take(w, &r->time, day, &ev->time, e);
  *passes = false;
  return drop(w, r, why, e);
}

/* An image's event stays without its image; a genome's says nothing but that there is one. */
static int take_object(struct deid *w, const struct record *r, char blob[65], struct event *ev, bool *passes, struct error *e) {
  enum drop why;
  TRY(object_take(w, r, blob, &why, e));
  *passes = why == DROPS || r->object->kind != OBJECT_GENOME;
  if (why == DROPS) ev->blob = (struct str){blob, 64};
  return why == DROPS ? OK : drop(w, r, why, e);
}

static int drop_both(struct deid *w, const struct record *r, enum drop why, struct error *e) {
  TRY(drop(w, r, DROP_TEXT, e));
  return drop(w, r, why, e);
}

static int take_event(struct deid *w, const struct record *r, struct error *e) {
  struct code_entry *c;
  bool passes;
  bool text = r->text.n > 0 && w->policy.text != DEID_TEXT_DROP;
  if (r->text.n && (!text || r->code.n == 0)) TRY(drop(w, r, DROP_TEXT, e));
  if (r->code.n == 0 && r->text.n) return OK;
  enum drop why = code_check(w, r->code, &c);
  if (why == DROPS && own_value(w, r->value)) why = DROP_OWN;
  if (why != DROPS) return text ? drop_both(w, r, why, e) : drop(w, r, why, e);
  struct event ev = event_of(w, r, r->code);
  TRY(take_time(w, r, &ev, &passes, e));
  if (!passes) return text ? drop(w, r, DROP_TEXT, e) : OK;
  if (text) TRY(deid_text_scrub(w, r, &ev.text, e));
  if (text && !ev.text.n) TRY(drop(w, r, DROP_TEXT, e));
  char blob[65];
  if (r->object) TRY(take_object(w, r, blob, &ev, &passes, e));
  if (!passes) return OK;
  TRY(measure(w, r, c, &ev, e));
  ev.display = display_of(w, c, r->display);
  return emit(w, &ev, e);
}

/* Only where times are exact: of a year's visits that became one event, one that was wrong does not make the others wrong. */
static int take_back(struct deid *w, const struct record *r, struct error *e) {
  struct code_entry *c;
  bool passes;
  if (!w->out.take_back || w->policy.dates == DEID_DATES_YEAR || r->time.us == TIME_STATIC) return drop(w, r, DROP_TAKING_BACK, e);
  enum drop why = code_check(w, r->code, &c);
  if (why != DROPS) return drop(w, r, why, e);
  struct event ev = event_of(w, r, r->code);
  TRY(take_time(w, r, &ev, &passes, e));
  if (!passes) return OK;
  ev.earlier = r->kind == RECORD_IN_ERROR;
  w->counts.taken_back++;
  return w->out.take_back(w->out.ctx, &ev, e);
}

static int take_birth(struct deid *w, const struct record *r, struct error *e) {
  int32_t day;
  if (r->time.us == TIME_STATIC) return drop(w, r, DROP_TIMELESS, e);
  if (!deid_day(r->time.us, &day)) return drop(w, r, DROP_CALENDAR, e);
  if (deid_sentinel(&w->policy, day)) return drop(w, r, DROP_SENTINEL, e);
  vault_learn_birth(w->current, day, (uint8_t)r->time.precision);
  w->counts.removed[IDENTIFIER_DATE]++;
  touch(w);
  return OK;
}

static int take_death(struct deid *w, const struct record *r, struct error *e) {
  bool passes;
  if (r->time.us == TIME_STATIC) return drop(w, r, DROP_TIMELESS, e);
  struct event ev = event_of(w, r, STR("MEDS_DEATH"));
  TRY(take_time(w, r, &ev, &passes, e));
  return passes ? emit(w, &ev, e) : OK;
}

static int take_zip(struct deid *w, const struct record *r, struct error *e) {
  char code[] = "ZIP3//000";
  enum zip3 z = zip3_of(&w->policy, r->postcode, r->country, code + 6);
  if (r->postcode.n == 0) return OK;
  if (z == ZIP3_KEPT && w->policy.keep_zip3)
    w->counts.zips_kept++;
  else
    w->counts.zips_cleared++;
  if (z == ZIP3_NONE || !w->policy.keep_zip3) return OK;
  struct event ev = event_of(w, r, str_c(code));
  return emit(w, &ev, e);
}

/* May find that this is a person whom another source knows, or who was forgotten: then there is no current one. */
static int learn_identifier(struct deid *w, const struct record *r, struct error *e) {
  TRY(vault_learn_identifier(w->vault, &w->person, r, e));
  w->current = w->person == VAULT_NOBODY ? NULL : vault_identity(w->vault, w->person);
  w->changes = w->vault->changes;
  return OK;
}

static int take_identifier(struct deid *w, const struct record *r, struct error *e) {
  if (r->identifier == IDENTIFIER_FREE_TEXT) return drop(w, r, DROP_TEXT, e);
  bool known = (unsigned)r->identifier < IDENTIFIER_KINDS;
  w->counts.removed[known ? r->identifier : IDENTIFIER_OTHER]++;
  if (!person_usable(r)) return OK;
  bool usable;
  TRY(person_of(w, r, &usable, e));
  if (!usable) return OK;
  TRY(learn_identifier(w, r, e));
  if (!w->current) return OK;
  return r->identifier == IDENTIFIER_GEOGRAPHY ? take_zip(w, r, e) : OK;
}

/* The source merged two of its own keys. Persons who both have events stay two; the vault counts that. */
static int take_same(struct deid *w, const struct record *r, struct error *e) {
  struct error why = {0};
  bool usable = person_usable(r) && r->text.n && r->text.n <= VAULT_KEY_LIMIT;
  if (!usable) return drop(w, r, DROP_PERSON, e);
  const struct str source = w->vault->source[w->source];
  char name[VAULT_SOURCE_LIMIT + 1];
  snprintf(name, sizeof name, "%.*s", STR_ARG(source));
  w->current = NULL; /* rows may become one */
  int rc = vault_link(w->vault, name, r->person, name, r->text, &why);
  if (rc == E_MISMATCH) return OK;
  if (rc == E_DENIED) return drop(w, r, DROP_FORGOTTEN, e);
  if (rc < 0 && e) *e = why;
  return rc;
}

int deid_take(void *wall, const struct record *r, struct error *e) {
  struct deid *w = wall;
  w->counts.records++;
  if (r->kind == RECORD_DROPPED) return drop(w, r, DROP_ELEMENT, e);
  if (r->kind == RECORD_SAME) return take_same(w, r, e);
  if (r->kind == RECORD_IDENTIFIER) return take_identifier(w, r, e);
  if (!person_usable(r)) return drop(w, r, DROP_PERSON, e);
  bool usable;
  TRY(person_of(w, r, &usable, e));
  if (!usable) return drop(w, r, DROP_FORGOTTEN, e);
  /* a birth that comes as an ordinary event must not go round the age rule */
  if (r->kind == RECORD_BIRTH || str_eqc(r->code, "MEDS_BIRTH")) return take_birth(w, r, e);
  if (r->kind == RECORD_DEATH) return take_death(w, r, e);
  if (r->kind == RECORD_TAKEN_BACK || r->kind == RECORD_IN_ERROR) return take_back(w, r, e);
  return take_event(w, r, e);
}

int deid_learn(void *wall, const struct record *r, struct error *e) {
  struct deid *w = wall;
  int32_t day;
  bool usable;
  if (r->kind == RECORD_SAME) return take_same(w, r, e);
  if ((r->kind != RECORD_IDENTIFIER && r->kind != RECORD_BIRTH) || !person_usable(r)) return OK;
  if (r->kind == RECORD_BIRTH && (r->time.us == TIME_STATIC || !deid_day(r->time.us, &day) || deid_sentinel(&w->policy, day))) return OK;
  TRY(person_of(w, r, &usable, e));
  if (!usable) return OK;
  if (r->kind == RECORD_BIRTH) {
    vault_learn_birth(w->current, day, (uint8_t)r->time.precision);
    return OK;
  }
  return learn_identifier(w, r, e);
}

/* ---- births ---- */

/* Over the cap, the birth is moved forward so that the age at the person's last event is exactly cap + 1 ("90 or older"). */
static int birth_time(struct deid *w, struct identity *id, int64_t *us, struct error *e) {
  enum deid_dates how = w->policy.dates;
  if (how == DEID_DATES_SHIFT) TRY(vault_shift(w->vault, id, w->policy.shift_days_max, e));
  id->flags &= (uint8_t)~IDENTITY_CAPPED;
  if (!w->policy.age_cap || id->last == DEID_DAY_NONE || age_at(w, id->birth, id->last) <= w->policy.age_cap) {
    *us = deid_date(how, id->birth * TIME_DAY, id->birth_precision, id->shift_days);
    return OK;
  }
  id->flags |= IDENTITY_CAPPED;
  w->counts.ages_capped++;
  int64_t last = deid_date(how, id->last * TIME_DAY, TIME_PRECISION_DAY, id->shift_days);
  *us = deid_years_before((int32_t)time_day(last), w->policy.age_cap + 1) * TIME_DAY;
  return OK;
}

int deid_finish(struct deid *w, struct error *e) {
  for (uint32_t i = 0; i < w->vault->row_n; i++) {
    struct identity *id = vault_identity(w->vault, i);
    if (!(id->flags & IDENTITY_TOUCHED) || id->flags & IDENTITY_ERASED) continue;
    id->flags &= (uint8_t)~IDENTITY_TOUCHED;
    if (w->policy.age_cap && id->first != DEID_DAY_NONE && age_at(w, id->first, id->last) > w->policy.age_cap) w->spans_left++;
    if (id->birth == DEID_DAY_NONE) continue;
    struct event ev = {.subject = id->pseudonym, .code = STR("MEDS_BIRTH"), .value = NAN};
    TRY(birth_time(w, id, &ev.time, e));
    TRY(w->out.event(w->out.ctx, &ev, e));
    w->counts.events++;
    w->births++;
    if (w->policy.dates != DEID_DATES_KEEP) w->counts.dates_changed++;
  }
  w->current = NULL;
  return OK;
}
