/* Answers about a whole chart: who it is, lists, the summary, and calculators fed from it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/time.h"
#include "reason/ask_private.h"
#include "reason/calculator.h"
#include "timeline/timeline.h"

#define LISTED 40 /* codes of one list */

struct ask_person ask_person_of(const struct timeline *t, uint32_t index) {
  struct timeline_view v = timeline_view(t, index);
  struct ask_person p = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, STR_NONE};
  for (uint32_t k = 0; k < v.n; k++) {
    struct str code = timeline_code_name(t, v.code[k]);
    struct str sex = p.sex == UINT32_MAX ? timeline_sex_of(code) : STR_NONE;
    if (sex.p) p.sex = k, p.sex_text = sex;
    if (k < v.statics) continue;
    if (str_eqc(code, "MEDS_BIRTH")) {
      p.birth = k;
      continue;
    }
    if (str_starts(code, STR("MEDS_DEATH"))) p.death = k;
    if (p.first == UINT32_MAX) p.first = k;
    p.last = k;
  }
  return p;
}

static bool is_female(struct str s) { return s.n && (s.p[0] == 'f' || s.p[0] == 'F'); }
static bool is_male(struct str s) { return s.n && (s.p[0] == 'm' || s.p[0] == 'M'); }
const char *ask_sex_word(const struct ask_person *p, char out[64]) {
  struct str s = is_female(p->sex_text) ? STR("female") : is_male(p->sex_text) ? STR("male") : p->sex_text;
  snprintf(out, 64, "%.*s", STR_ARG(s));
  return out;
}
int ask_whole_years(int64_t from, int64_t to) {
  int y, m, d, year, month, day;
  time_to_civil(time_day(from), &y, &m, &d);
  time_to_civil(time_day(to), &year, &month, &day);
  return year - y - (month < m || (month == m && day < d));
}

static int say_age(struct chart *c, const struct ask_person *p) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  char born[16], last[16];
  uint32_t until = p->death != UINT32_MAX ? p->death : p->last;
  if (p->birth == UINT32_MAX || until == UINT32_MAX) return ask_say(c, NULL, 0, "The record holds no birth date.");
  c->r->value = ask_whole_years(v.time[p->birth], v.time[until]);
  c->r->unit = STR("a");
  return ask_say(c, (uint32_t[]){p->birth, until}, 2, "Born on %s; %d years old at the %s on %s.", ask_day(v.time[p->birth], born),
                 (int)c->r->value, p->death != UINT32_MAX ? "death" : "last event", ask_day(v.time[until], last));
}
static int say_sex(struct chart *c, const struct ask_person *p) {
  if (p->sex == UINT32_MAX) return ask_say(c, NULL, 0, "The record holds no sex.");
  char sex[64];
  return ask_say(c, &p->sex, 1, "The recorded sex is %s.", ask_sex_word(p, sex));
}
static int say_death(struct chart *c, const struct ask_person *p) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  char day[16];
  if (p->death == UINT32_MAX)
    return p->last == UINT32_MAX
               ? ask_say(c, NULL, 0, "The record holds no death.")
               : ask_say(c, &p->last, 1, "The record holds no death; its last event is on %s.", ask_day(v.time[p->last], day));
  return ask_say(c, &p->death, 1, "Died on %s.", ask_day(v.time[p->death], day));
}
int ask_demography(struct chart *c) {
  struct ask_person p = ask_person_of(c->k->t, c->index);
  return c->q->intent == ASK_AGE ? say_age(c, &p) : c->q->intent == ASK_SEX ? say_sex(c, &p) : say_death(c, &p);
}

static int by_last(const void *a, const void *b) {
  const struct ask_entry *x = a, *y = b;
  return x->last != y->last ? (x->last < y->last ? 1 : -1) : (x->code > y->code) - (x->code < y->code);
}

int ask_entries(struct chart *c, int kind, struct ask_entry **out, uint32_t *n) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  uint32_t codes = timeline_codes(c->k->t), *slot = arena_array(c->a, uint32_t, codes + 1);
  struct ask_entry *list = arena_array(c->a, struct ask_entry, (v.n < codes ? v.n : codes) + 1);
  if (!slot || !list) return error_set(c->e, E_NOMEM, "no memory for an answer");
  *n = 0;
  for (uint32_t k = v.statics; k < v.n; k++) {
    uint32_t code = v.code[k];
    if (!ask_in_limits(c->q, v.time[k], v.value[k])) continue;
    if ((int)timeline_kind_of(timeline_code_name(c->k->t, code), timeline_code_display(c->k->t, code)) != kind) continue;
    if (slot[code] == 0) {
      list[*n] = (struct ask_entry){code, k, k, 0};
      slot[code] = ++*n;
    }
    struct ask_entry *e = &list[slot[code] - 1];
    e->last = k;
    e->n++;
  }
  qsort(list, *n, sizeof *list, by_last);
  *out = list;
  return OK;
}

int ask_list(struct chart *c, int kind) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  struct ask_entry *list = NULL;
  uint32_t n = 0;
  char first[16], last[16], value[64];
  static const char *const names[] = {"encounters", "conditions", "medicines", "procedures", "measurements", "allergies", "events"};
  TRY(ask_entries(c, kind, &list, &n));
  if (c->r->sentences == 0) {
    uint32_t ends = 0;
    for (uint32_t i = 0; i < n; i++) ends += ask_is_resolution(c->k, list[i].code);
    c->r->value = n - ends;
  }
  if (n == 0) return ask_say(c, NULL, 0, "The record holds no %s.", names[kind]);
  for (uint32_t i = 0; i < n && i < LISTED; i++) {
    const struct ask_entry *x = &list[i];
    struct str name = ask_name(c->k, x->code);
    if (kind == KIND_MEASUREMENT)
      TRY(ask_say(c, &x->last, 1, "%.*s%s on %s.", STR_ARG(name), ask_value(c->k->t, v.value[x->last], v.unit[x->last], value),
                  ask_day(v.time[x->last], last)));
    else if (x->n == 1)
      TRY(ask_say(c, &x->last, 1, "%.*s on %s.", STR_ARG(name), ask_day(v.time[x->last], last)));
    else
      TRY(ask_say(c, (uint32_t[]){x->first, x->last}, 2, "%.*s, %u times, first on %s, last on %s.", STR_ARG(name), x->n,
                  ask_day(v.time[x->first], first), ask_day(v.time[x->last], last)));
  }
  if (n > LISTED) TRY(ask_say(c, NULL, 0, "%u more %s are not listed.", n - LISTED, names[kind]));
  return OK;
}

int ask_summary(struct chart *c) {
  struct ask_person p = ask_person_of(c->k->t, c->index);
  TRY(say_sex(c, &p));
  TRY(say_age(c, &p));
  TRY(say_death(c, &p));
  c->r->value = NAN;
  c->r->unit = STR_NONE;
  static const int kinds[] = {KIND_CONDITION, KIND_ALLERGY, KIND_MEDICINE, KIND_PROCEDURE, KIND_MEASUREMENT, KIND_ENCOUNTER};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) TRY(ask_list(c, kinds[i]));
  c->r->value = NAN;
  return OK;
}

/* ---- calculators from the chart ---- */

/* The latest value with one of the input's codes, whichever code is newest; the earlier code of the list wins on the same day. */
static uint32_t latest_of(const struct chart *c, const struct calculator_input *in) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  uint32_t best = UINT32_MAX;
  for (int i = 0; i < in->codes; i++) {
    uint32_t code;
    if (!timeline_code_find(c->k->t, in->code[i], &code)) continue;
    for (uint32_t k = v.n; k-- > v.statics;)
      if (v.code[k] == code && !isnan(v.value[k]) && ask_in_limits(c->q, v.time[k], 0)) {
        if (best == UINT32_MAX || v.time[k] > v.time[best]) best = k;
        break;
      }
  }
  return best;
}

struct sources {
  uint32_t event[CALCULATOR_INPUTS];
  uint32_t n;
  int64_t oldest, newest;
};
static void use(const struct chart *c, struct sources *s, uint32_t k, bool dated) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  s->event[s->n++] = k;
  if (!dated) return;
  if (v.time[k] < s->oldest) s->oldest = v.time[k];
  if (v.time[k] > s->newest) s->newest = v.time[k];
}

/* Fills one input. 0 = filled or not needed, 1 = missing. */
static int fill(struct chart *c, const struct calculator *calc, int i, const struct ask_person *p, struct calculator_value *in,
                struct sources *s) {
  const struct calculator_input *of = calculator_input(calc, i);
  struct timeline_view v = timeline_view(c->k->t, c->index);
  if (of->kind == CALCULATOR_FACT) return OK; /* named as taken to be absent */
  if (strcmp(of->name, "sex") == 0 && p->sex != UINT32_MAX && (is_female(p->sex_text) || is_male(p->sex_text))) {
    TRY(calculator_set(calc, in, STR("sex"), is_female(p->sex_text) ? STR("female") : STR("male"), c->e));
    use(c, s, p->sex, false);
    return OK;
  }
  uint32_t k = latest_of(c, of);
  if (k != UINT32_MAX) {
    struct str unit = v.unit[k] == UNIT_NONE ? STR_NONE : timeline_unit_name(c->k->t, v.unit[k]);
    if (calculator_set_measured(calc, in, i, (double)v.value[k], unit, c->e) < 0) return 1;
    use(c, s, k, true);
    return OK;
  }
  return of->optional ? OK : 1;
}

/* The age at the newest measurement; false: missing, or out of range */
static bool fill_age(struct chart *c, const struct calculator *calc, int i, const struct ask_person *p, struct calculator_value *in,
                     struct sources *s) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  int64_t at = s->newest != INT64_MIN ? s->newest : p->last != UINT32_MAX ? v.time[p->last] : INT64_MIN;
  if (p->birth == UINT32_MAX || at == INT64_MIN || s->n >= CALCULATOR_INPUTS - 1) return calculator_input(calc, i)->optional;
  if (calculator_set_measured(calc, in, i, (double)ask_whole_years(v.time[p->birth], at), STR("a"), c->e) < 0) return false;
  use(c, s, p->birth, false);
  return true;
}

int ask_calculate(struct chart *c, const struct calculator *calc) {
  struct ask_person p = ask_person_of(c->k->t, c->index);
  struct calculator_value in[CALCULATOR_INPUTS];
  struct calculator_answer r;
  struct sources s = {.oldest = INT64_MAX, .newest = INT64_MIN};
  char day[16], oldest[16];
  int age = -1;
  calculator_none(calc, in);
  for (int i = 0; i < calculator_inputs(calc); i++) {
    const struct calculator_input *of = calculator_input(calc, i);
    if (strcmp(of->name, "age") == 0) {
      age = i;
      continue;
    }
    int rc = fill(c, calc, i, &p, in, &s);
    if (rc == 1) {
      *c->e = (struct error){0};
      c->r->abstained = true;
      c->r->why = "an input is not in the chart, or not in a unit that fits";
      return ask_say(c, NULL, 0, "%s needs %s.", calculator_title(calc), of->title);
    }
    TRY(rc);
  }
  if (age >= 0 && !fill_age(c, calc, age, &p, in, &s)) {
    *c->e = (struct error){0};
    c->r->abstained = true;
    c->r->why = "the age is not known or not in the range of the formula";
    return OK;
  }
  if (calculator_run(calc, in, &r, c->e) < 0) {
    *c->e = (struct error){0};
    c->r->abstained = true;
    c->r->why = "the chart's values do not suffice for the formula";
    return OK;
  }
  c->r->value = r.value;
  bool plain = r.unit[0] == '1' || r.unit[0] == '{';
  if (!plain) c->r->unit = str_c(r.unit);
  TRY(ask_say(c, s.event, s.n, "%s: %.10g%s%s%s%s%s, from values of %s%s%s.", calculator_title(calc), r.value, plain ? "" : " ",
              plain ? "" : r.unit, r.band ? " (" : "", r.band ? r.band : "", r.band ? ")" : "",
              s.newest == INT64_MIN ? "no date" : ask_day(s.oldest, oldest), s.newest > s.oldest + TIME_DAY ? " to " : "",
              s.newest > s.oldest + TIME_DAY ? ask_day(s.newest, day) : ""));
  for (int i = 0; i < r.n_assumed; i++) TRY(ask_say(c, NULL, 0, "Taken as absent, not looked for: %s.", r.assumed[i]->title));
  if (calculator_note(calc)) TRY(ask_say(c, NULL, 0, "%s", calculator_note(calc)));
  return OK;
}
