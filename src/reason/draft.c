/* Composes a document from a life (draft.h). Each part says its sentences; each sentence of the record is checked as it is said. */
#include "reason/draft.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/time.h"
#include "predict/predict.h"
#include "reason/draft_private.h"
#include "reason/draft_review.h"
#include "timeline/timeline.h"

enum { SENTENCES_MOST = 500, RISK_EVENTS = 3 };
#define AGREE 0.5                 /* log odds between the model's two ways, up to which they agree (as in predict) */
#define STAY_GAP (TIME_DAY / 24)  /* between two wards of one stay */
#define STAY_LOST (90 * TIME_DAY) /* without a start or end inside an open stay: its end is missing */

struct writing {
  struct chart c; /* c.q is the part's window */
  struct ask_question q;
  const struct document *doc;
  const struct section *section;
  const struct part *part;
  const struct draft_model *m;
  const struct drafter *d;
  struct draft *r;
  struct draft_section *out;
  struct ask_person p;
  uint32_t stay, stay_end, visit; /* events; UINT32_MAX = none */
  int supported, numbered;
};

/* ---- saying ---- */

static struct str formatted(struct writing *w, const char *fmt, ...) PRINTF(2, 3);
static struct str formatted(struct writing *w, const char *fmt, ...) {
  char text[160];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return str_copy(w->c.a, str_c(text));
}
static struct str day_of(struct writing *w, uint32_t k) {
  char day[16];
  return str_copy(w->c.a, str_c(ask_day(timeline_view(w->d->k->t, w->c.index).time[k], day)));
}
/* To four digits, but whole numbers whole: what a letter shows, and what the checker takes for the value */
static struct str value_of(struct writing *w, uint32_t k) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  double x = (double)v.value[k];
  if (isnan(x)) return STR_NONE;
  struct str u = v.unit[k] == UNIT_NONE ? STR_NONE : timeline_unit_name(w->d->k->t, v.unit[k]);
  return formatted(w, fabs(x) >= 1000 ? "%.0f%s%.*s" : "%.4g%s%.*s", x, u.n ? " " : "", STR_ARG(u));
}
/* The display; else what the documents call the code; else the code, legible */
static struct str name_of(struct writing *w, uint32_t k) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  struct str display = timeline_code_display(w->d->k->t, v.code[k]), code = timeline_code_name(w->d->k->t, v.code[k]);
  if (display.n) return words_untagged(display);
  for (int i = 0; i < w->d->named.n; i++)
    if (str_eq(code, w->d->named.name[i])) return w->d->called.name[i];
  char *legible = arena_alloc(w->c.a, code.n + 1, 1);
  size_t n = legible ? words_legible(code, legible) : 0;
  return legible ? (struct str){legible, n} : code;
}

static int stands(struct writing *w, struct str text, const uint32_t *event, uint32_t events, bool *out) {
  struct buf b = {0};
  struct citation_check check;
  buf_str(&b, text);
  for (uint32_t i = 0; i < events; i++) buf_printf(&b, "%se%u", i ? ", " : " [", event[i]);
  buf_puts(&b, "]");
  int rc = buf_check(&b, w->c.e);
  if (rc == OK) rc = citation_check_sentence(w->d->k->t, w->c.index, (struct str){b.p, b.n}, &check, w->c.e);
  *out = rc == OK && citation_stands(&check);
  buf_release(&b);
  return rc;
}

static int more_sentences(struct writing *w) {
  enum { STEP = 16 };
  struct draft_section *s = w->out;
  if (s->sentences % STEP) return OK;
  struct draft_sentence *list = arena_array(w->c.a, struct draft_sentence, (size_t)s->sentences + STEP);
  if (!list) return error_set(w->c.e, E_NOMEM, "no memory for a draft");
  if (s->sentences) memcpy(list, s->sentence, (size_t)s->sentences * sizeof *list);
  s->sentence = list;
  return OK;
}

static int say(struct writing *w, enum line line, enum draft_basis basis, const struct str field[FIELDS], const uint32_t *event,
               uint32_t events) {
  struct str pattern = w->part->line[line];
  struct buf b = {0};
  bool good = true;
  if ((!pattern.n && basis != DRAFT_BLANK) || w->numbered >= SENTENCES_MOST) return OK;
  if (basis != DRAFT_BLANK) draft_fill(pattern, field, &b);
  TRY(more_sentences(w));
  struct draft_sentence *s = &w->out->sentence[w->out->sentences];
  uint32_t *copy = arena_array(w->c.a, uint32_t, events + 1);
  *s = (struct draft_sentence){.text = str_copy(w->c.a, (struct str){b.p, b.n}), .basis = basis, .event = copy, .events = events};
  int rc = b.failed || !copy || (b.n && !s->text.p) ? error_set(w->c.e, E_NOMEM, "no memory for a draft") : OK;
  buf_release(&b);
  TRY(rc);
  for (uint32_t i = 0; i < events; i++) copy[i] = event[i];
  if (basis == DRAFT_RECORD) TRY(stands(w, s->text, copy, events, &good));
  if (!good) {
    w->r->withheld++;
    return OK;
  }
  snprintf(s->id, sizeof s->id, "s%d", ++w->numbered);
  snprintf(s->rule, sizeof s->rule, "%.*s.%s", STR_ARG(w->section->key), basis == DRAFT_BLANK ? "blank" : draft_line_name[line]);
  w->out->sentences++;
  w->supported += basis == DRAFT_RECORD;
  return OK;
}

/* ---- windows ---- */

static bool begins(const struct writing *w, uint32_t code, const struct names *n) {
  struct str name = timeline_code_name(w->d->k->t, code), display = timeline_code_display(w->d->k->t, code);
  for (int i = 0; i < n->n; i++) {
    struct str x = n->name[i];
    if (x.p[0] == '*' && x.n > 1 && display.n && memmem(display.p, display.n, x.p + 1, x.n - 1)) return true;
    if (str_starts(name, x) || (display.n && str_starts(display, x))) return true;
  }
  return false;
}
static uint32_t last_of(const struct writing *w, const struct names *n) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  for (uint32_t k = v.n; k-- > v.statics;)
    if (begins(w, v.code[k], n)) return k;
  return UINT32_MAX;
}
/* The last stay: wards and episodes within one, and those that follow at once, are one. Events tell not which start an end belongs to, and
 * equal ones are kept once: so ends without a start of their own extend the stay that they follow, and what lost its end is left behind. */
static void find_windows(struct writing *w) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  int64_t at = INT64_MIN; /* of the stay's latest start or end */
  int open = 0;
  w->stay = w->stay_end = UINT32_MAX;
  w->visit = last_of(w, &w->d->visit_from);
  for (uint32_t from = v.statics, k, next; from < v.n; from = next) {
    for (next = from + 1; next < v.n && v.time[next] == v.time[from];) next++;
    for (k = from; k < next; k++) { /* of one moment: starts before ends */
      if (!begins(w, v.code[k], &w->d->stay_from)) continue;
      if (w->stay == UINT32_MAX || v.time[k] - at > (open ? STAY_LOST : STAY_GAP)) w->stay = k, open = 0;
      at = v.time[k], open++, w->stay_end = UINT32_MAX;
    }
    for (k = from; k < next && w->stay != UINT32_MAX; k++) {
      if (!begins(w, v.code[k], &w->d->stay_to) || (!open && v.time[k] - at > STAY_LOST)) continue;
      at = v.time[k], open -= open > 0;
      if (!open) w->stay_end = k;
    }
  }
}
/* False: the record has no such window */
static bool set_window(struct writing *w) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  const struct part *p = w->part;
  int64_t end = w->p.last == UINT32_MAX ? INT64_MIN : v.time[w->p.last];
  w->q = (struct ask_question){.from = INT64_MIN, .to = INT64_MAX, .above = -INFINITY, .below = INFINITY};
  uint32_t from = p->window == WINDOW_VISIT ? w->visit : w->stay;
  if (p->window != WINDOW_ALL && from == UINT32_MAX) return false;
  if (p->window == WINDOW_VISIT || p->window == WINDOW_STAY) w->q.from = v.time[from];
  if (p->window == WINDOW_BEFORE_STAY) w->q.to = v.time[from];
  if (p->window == WINDOW_STAY && w->stay_end != UINT32_MAX) w->q.to = v.time[w->stay_end] + 1;
  if (end == INT64_MIN) return false;
  if (p->days > 0) w->q.from = end - (int64_t)(p->days * (double)TIME_DAY);
  if (p->before_days > 0) w->q.to = end - (int64_t)(p->before_days * (double)TIME_DAY);
  return true;
}

/* ---- parts ---- */

/* Nothing of a kind is there: not said where the window holds codes that may be of any kind */
static int say_none(struct writing *w) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  for (uint32_t k = v.statics; k < v.n; k++)
    if (v.time[k] >= w->q.from && v.time[k] < w->q.to && begins(w, v.code[k], &w->d->kindless)) return OK;
  return say(w, LINE_NONE, DRAFT_ABSENCE, (struct str[FIELDS]){0}, NULL, 0);
}

static int say_person(struct writing *w) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  struct str f[FIELDS] = {0};
  char sex[64];
  if (w->p.sex != UINT32_MAX) {
    f[FIELD_VALUE] = str_copy(w->c.a, str_c(ask_sex_word(&w->p, sex)));
    TRY(say(w, LINE_SEX, DRAFT_RECORD, f, &w->p.sex, 1));
  }
  uint32_t until = w->p.death != UINT32_MAX ? w->p.death : w->p.last;
  if (w->p.birth != UINT32_MAX && until != UINT32_MAX) {
    f[FIELD_FIRST] = day_of(w, w->p.birth);
    f[FIELD_LAST] = day_of(w, until);
    f[FIELD_N] = formatted(w, "%d", ask_whole_years(v.time[w->p.birth], v.time[until]));
    TRY(say(w, LINE_AGE, DRAFT_RECORD, f, (uint32_t[]){w->p.birth, until}, 2));
  }
  if (w->p.death != UINT32_MAX) {
    f[FIELD_DAY] = day_of(w, w->p.death);
    TRY(say(w, LINE_DEATH, DRAFT_RECORD, f, &w->p.death, 1));
  }
  return OK;
}

/* The event that ends what code `code` says ("…//RESOLVED"), not before `after`; UINT32_MAX = none */
static uint32_t resolution(const struct writing *w, uint32_t code, int64_t after) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  struct str name = timeline_code_name(w->d->k->t, code);
  for (uint32_t k = v.n; k-- > v.statics && v.time[k] >= after;) {
    struct str other = timeline_code_name(w->d->k->t, v.code[k]);
    for (int i = 0; i < w->d->resolved.n; i++)
      if (other.n == name.n + w->d->resolved.name[i].n && str_starts(other, name) && str_ends(other, w->d->resolved.name[i])) return k;
  }
  return UINT32_MAX;
}
static bool is_resolution(const struct writing *w, uint32_t code) {
  for (int i = 0; i < w->d->resolved.n; i++)
    if (str_ends(timeline_code_name(w->d->k->t, code), w->d->resolved.name[i])) return true;
  return false;
}
static bool comes_again(const struct writing *w, const struct ask_entry *x) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  for (uint32_t k = x->last + 1; w->part->before_days > 0 && k < v.n; k++)
    if (v.code[k] == x->code) return true;
  return false;
}
static bool named_already(const struct writing *w, uint32_t code, const uint32_t *said, int n) {
  for (int i = 0; i < n; i++)
    if (str_eq(ask_plain_name(w->d->k->t, said[i]), ask_plain_name(w->d->k->t, code))) return true;
  return false;
}

static int say_list(struct writing *w) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  int said = 0, here = 0; /* here: the first said of a kind */
  uint32_t *code = arena_array(w->c.a, uint32_t, (size_t)w->part->most + 1);
  if (!code) return error_set(w->c.e, E_NOMEM, "no memory for a draft");
  for (int kind = 0; kind <= KIND_OTHER; kind++) {
    struct ask_entry *list = NULL;
    uint32_t n = 0;
    if (!(w->part->kinds >> kind & 1)) continue;
    TRY(ask_entries(&w->c, kind, &list, &n));
    here = said;
    for (uint32_t i = 0; i < n && said < w->part->most; i++) {
      const struct ask_entry *x = &list[i];
      if (begins(w, x->code, &w->part->skip) || is_resolution(w, x->code) || comes_again(w, x)) continue;
      if (named_already(w, x->code, code + here, said - here)) continue;
      uint32_t over = w->part->state == STATE_ANY ? UINT32_MAX : resolution(w, x->code, v.time[x->last]), cited[2] = {x->first, x->last};
      if (w->part->state == (over == UINT32_MAX ? STATE_PAST : STATE_ACTIVE)) continue;
      if (over != UINT32_MAX) cited[1] = over;
      struct str f[FIELDS] = {[FIELD_NAME] = name_of(w, x->last), [FIELD_FIRST] = day_of(w, cited[0]), [FIELD_LAST] = day_of(w, cited[1])};
      bool same_day = str_eq(f[FIELD_FIRST], f[FIELD_LAST]);
      TRY(say(w, same_day ? LINE_ONCE : LINE_MANY, DRAFT_RECORD, f, same_day ? &cited[1] : cited, same_day ? 1 : 2));
      code[said++] = x->code;
    }
  }
  return said ? OK : say_none(w);
}

struct moved {
  uint32_t before, last; /* before: UINT32_MAX = there is none to compare with */
  double change;         /* relative */
};
static int by_change(const void *a, const void *b) {
  const struct moved *x = a, *y = b;
  if (x->change != y->change) return x->change > y->change ? -1 : 1;
  return (x->last < y->last) - (x->last > y->last);
}
static bool moved_of(const struct writing *w, uint32_t code, struct moved *out) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  *out = (struct moved){UINT32_MAX, UINT32_MAX, 0};
  for (uint32_t k = v.n; k-- > v.statics;) {
    if (v.code[k] != code || isnan(v.value[k])) continue;
    bool inside = ask_in_limits(&w->q, v.time[k], v.value[k]);
    if (out->last == UINT32_MAX) {
      if (!inside) continue;
      out->last = k;
    } else if (v.unit[k] == v.unit[out->last] && v.time[k] < v.time[out->last] && (inside || !w->part->within)) {
      out->before = k;
      if (!w->part->within) break;
    }
  }
  if (out->last == UINT32_MAX) return false;
  if (out->before != UINT32_MAX)
    out->change = fabs((double)v.value[out->last] - (double)v.value[out->before]) / (fabs((double)v.value[out->before]) + 1e-6);
  return true;
}
static int say_moved(struct writing *w, const struct moved *m) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  struct str f[FIELDS] = {[FIELD_NAME] = name_of(w, m->last), [FIELD_VALUE] = value_of(w, m->last), [FIELD_LAST] = day_of(w, m->last)};
  if (m->before == UINT32_MAX) return say(w, LINE_ONCE, DRAFT_RECORD, f, &m->last, 1);
  f[FIELD_FROM] = value_of(w, m->before);
  f[FIELD_FIRST] = day_of(w, m->before);
  f[FIELD_DIRECTION] = v.value[m->last] > v.value[m->before] ? STR("rose") : STR("fell");
  return say(w, str_eq(f[FIELD_FROM], f[FIELD_VALUE]) ? LINE_SAME : LINE_CHANGED, DRAFT_RECORD, f, (uint32_t[]){m->before, m->last}, 2);
}
static int say_results(struct writing *w) {
  struct ask_entry *list = NULL;
  uint32_t n = 0, found = 0;
  TRY(ask_entries(&w->c, KIND_MEASUREMENT, &list, &n));
  struct moved *m = arena_array(w->c.a, struct moved, n + 1);
  if (!m) return error_set(w->c.e, E_NOMEM, "no memory for a draft");
  for (uint32_t i = 0; i < n; i++)
    if (!begins(w, list[i].code, &w->part->skip) && !comes_again(w, &list[i])) found += moved_of(w, list[i].code, &m[found]);
  if (found == 0) return say_none(w);
  qsort(m, found, sizeof *m, by_change);
  for (uint32_t i = 0; i < found && (int)i < w->part->most; i++) TRY(say_moved(w, &m[i]));
  return OK;
}

static int say_stay(struct writing *w) {
  if (w->stay == UINT32_MAX) return OK;
  struct str f[FIELDS] = {[FIELD_NAME] = name_of(w, w->stay), [FIELD_FIRST] = day_of(w, w->stay)};
  TRY(say(w, LINE_FROM, DRAFT_RECORD, f, &w->stay, 1));
  if (w->stay_end == UINT32_MAX) return say(w, LINE_OPEN, DRAFT_ABSENCE, f, NULL, 0);
  f[FIELD_NAME] = name_of(w, w->stay_end);
  f[FIELD_LAST] = day_of(w, w->stay_end);
  return say(w, LINE_TO, DRAFT_RECORD, f, &w->stay_end, 1);
}

/* The events that moved a risk most: by time, code and value, since a prediction names no places */
static uint32_t moved_it(const struct writing *w, const struct prediction *p, uint32_t out[RISK_EVENTS]) {
  struct timeline_view v = timeline_view(w->d->k->t, w->c.index);
  uint32_t n = 0;
  for (int i = 0; i < p->contributions && n < RISK_EVENTS; i++) {
    const struct predict_contribution *x = &p->contribution[i];
    for (uint32_t k = 0; k < v.n; k++)
      if (v.time[k] == x->time && str_eq(timeline_code_name(w->d->k->t, v.code[k]), x->code) &&
          (isnan(x->value) || v.value[k] == x->value)) {
        out[n++] = k;
        break;
      }
  }
  return n;
}
static int say_risk(struct writing *w, const struct draft_risk *r) {
  const struct prediction *p = r->p;
  uint32_t event[RISK_EVENTS];
  struct str f[FIELDS] = {[FIELD_NAME] = r->title, [FIELD_REASON] = str_c(p->refusal)};
  if (!p->has_task) return OK;
  if (p->refusal) return say(w, LINE_NOT, DRAFT_MODEL, f, NULL, 0);
  f[FIELD_VALUE] =
      p->probability < 0.0005 ? STR("below 0.05 %") : formatted(w, "%.*f %%", p->probability < 0.1 ? 2 : 1, 100 * p->probability);
  if (!isnan(p->lo)) f[FIELD_INTERVAL] = formatted(w, " (%.1f to %.1f %%)", 100 * p->lo, 100 * p->hi);
  f[FIELD_AGREEMENT] = isnan(p->agreement)     ? STR("one way of asking, so nothing to compare it with")
                       : p->agreement <= AGREE ? STR("two ways of asking agree")
                                               : STR("two ways of asking disagree, so do not lean on this number");
  TRY(say(w, LINE_RISK, DRAFT_MODEL, f, event, moved_it(w, p, event)));
  for (int i = 0; i < p->warnings; i++) {
    f[FIELD_REASON] = str_c(p->warning[i]);
    TRY(say(w, LINE_WARNING, DRAFT_MODEL, f, NULL, 0));
  }
  return OK;
}

static int say_part(struct writing *w) {
  if (w->part->of == PART_BLANK) return say(w, LINE_SEX, DRAFT_BLANK, NULL, NULL, 0);
  if ((w->part->living && w->p.death != UINT32_MAX) || !set_window(w)) return OK;
  switch (w->part->of) {
    case PART_PERSON: return say_person(w);
    case PART_LIST: return say_list(w);
    case PART_RESULTS: return say_results(w);
    case PART_STAY: return say_stay(w);
    default:
      for (int i = 0; i < w->m->risks; i++) TRY(say_risk(w, &w->m->risk[i]));
      return OK;
  }
}

static int name_draft(const struct writing *w) {
  struct sha256 hash;
  struct draft *r = w->r;
  TRY(draft_name_begin(&(struct draft_name){r->kind, str_c(timeline_generation(w->d->k->t)), r->version, r->subject}, &hash, w->c.e));
  for (int i = 0; i < r->sections; i++)
    for (int k = 0; k < r->section[i].sentences; k++)
      draft_name_add(&hash, str_c(r->section[i].sentence[k].id), r->section[i].sentence[k].text);
  draft_name_end(&hash, r->id);
  return OK;
}

static int abstain(struct draft *r, const char *why) {
  r->abstained = true;
  r->why = why;
  r->sections = 0;
  return OK;
}

static int compose(struct writing *w) {
  const struct document *doc = w->doc;
  struct draft *r = w->r;
  r->section = arena_array(w->c.a, struct draft_section, (size_t)doc->sections + 1);
  if (!r->section) return error_set(w->c.e, E_NOMEM, "no memory for a draft");
  for (int i = 0; i < doc->sections; i++) {
    w->section = &doc->section[i];
    w->out = &r->section[r->sections];
    *w->out = (struct draft_section){.title = w->section->title};
    for (int k = 0; k < w->section->parts; k++) {
      w->part = &w->section->part[k];
      TRY(say_part(w));
    }
    r->sections += w->out->sentences > 0;
  }
  if (w->supported < doc->least_sentences) return abstain(r, "too few statements are supported by the record");
  return name_draft(w);
}

int draft_write(const struct drafter *d, uint32_t index, struct str kind, const struct draft_model *m, struct arena *a, struct draft *out,
                struct error *e) {
  struct timeline_view v = timeline_view(d->k->t, index);
  int i = 0;
  while (i < d->documents && !str_eq(d->document[i].kind, kind)) i++;
  *out = (struct draft){.subject = v.subject, .version = m->version};
  if (i == d->documents) {
    (void)error_set(e, E_NOTFOUND, "there is no document of that kind");
    (void)error_where(e, NULL, 0, "kind");
    return E_NOTFOUND;
  }
  struct ask_answer unused = {0};
  struct writing w = {.doc = &d->document[i], .m = m, .d = d, .r = out, .p = ask_person_of(d->k->t, index)};
  w.c = (struct chart){d->k, index, &w.q, a, &unused, e};
  out->kind = w.doc->kind;
  out->title = w.doc->title;
  if (v.n - v.statics < w.doc->least_events) return abstain(out, "the record holds too little");
  find_windows(&w);
  if (w.doc->needs_stay && w.stay == UINT32_MAX) return abstain(out, "the record holds no stay in hospital");
  return compose(&w);
}

/* ---- output ---- */

static const char *const basis_name[] = {"record", "absence", "model", "blank"};

static void sentence_json(const struct drafter *d, uint32_t index, const struct draft_sentence *s, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "id", s->id);
  json_kv_c(o, "rule", s->rule);
  json_kv_c(o, "basis", basis_name[s->basis]);
  json_kv_str(o, "text", s->text.p ? s->text : STR(""));
  json_out_key(o, "events");
  json_out_array(o);
  for (uint32_t i = 0; i < s->events; i++) ask_event_json(d->k->t, index, s->event[i], o);
  json_out_end(o);
  json_out_end(o);
}

void draft_json(const struct drafter *d, uint32_t index, const struct draft *r, struct json_out *o) {
  char subject[32];
  snprintf(subject, sizeof subject, "%lld", (long long)r->subject);
  json_out_object(o);
  json_kv_c(o, "subject", subject);
  json_kv_str(o, "kind", r->kind);
  json_kv_str(o, "title", r->title);
  json_kv_c(o, "generation", timeline_generation(d->k->t));
  json_kv_str(o, "version", r->version.p ? r->version : STR(""));
  json_kv_bool(o, "abstained", r->abstained);
  if (r->abstained)
    json_kv_c(o, "why", r->why);
  else
    json_kv_c(o, "draft", r->id);
  json_kv_i64(o, "withheld", r->withheld);
  json_out_key(o, "sections");
  json_out_array(o);
  for (int i = 0; i < r->sections; i++) {
    json_out_object(o);
    json_kv_str(o, "title", r->section[i].title);
    json_out_key(o, "sentences");
    json_out_array(o);
    for (int k = 0; k < r->section[i].sentences; k++) sentence_json(d, index, &r->section[i].sentence[k], o);
    json_out_end(o);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}

void draft_print(const struct draft *r, struct buf *out) {
  buf_printf(out, "%.*s\n", STR_ARG(r->title));
  if (r->abstained) buf_printf(out, "No draft: %s.\n", r->why);
  for (int i = 0; i < r->sections; i++) {
    buf_printf(out, "\n%.*s\n", STR_ARG(r->section[i].title));
    for (int k = 0; k < r->section[i].sentences; k++) {
      const struct draft_sentence *s = &r->section[i].sentence[k];
      buf_printf(out, "  %.*s", STR_ARG(s->basis == DRAFT_BLANK ? STR("(to be written)") : s->text));
      for (uint32_t j = 0; j < s->events; j++)
        buf_printf(out, "%se%u", j ? ", " : s->basis == DRAFT_MODEL ? " [moved most by " : " [", s->event[j]);
      buf_puts(out, s->events ? "]\n" : "\n");
    }
  }
  if (r->withheld) buf_printf(out, "\nLeft out, because the record does not bear it out word for word: %d sentences.\n", r->withheld);
  if (!r->abstained) buf_puts(out, "\nA draft from the record alone: to be read, corrected and signed by a clinician.\n");
}
