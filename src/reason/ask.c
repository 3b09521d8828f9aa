/* Carries out a parsed question on one life. */
#include "reason/ask.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/time.h"
#include "reason/ask_private.h"
#include "reason/calculator.h"
#include "timeline/timeline.h"

#define CITED_MOST 12    /* events named in one sentence */
#define MATCH_LEAST 0.75 /* share of the question's weighed words that a name must have */
#define MATCHES_MOST 24  /* names that one question may mean */
#define OTHERS_MOST 5    /* names said beside the one that is meant */

static int load_calculators(struct asker *k, struct error *e) {
  struct arena a;
  struct str *path;
  char dir[4096];
  size_t n;
  arena_init(&a, 16 << 20, 0);
  int rc = file_join(dir, sizeof dir, file_data_dir(), "calculators", e);
  if (rc == OK) rc = file_list(&a, dir, &path, &n, e);
  if (rc == E_NOTFOUND || rc == E_IO) { /* a program without its calculators answers everything else */
    arena_free(&a);
    return OK;
  }
  if (rc == OK) {
    k->calculator = mem_alloc((n + 1) * sizeof *k->calculator);
    k->calculator_words = mem_alloc((n + 1) * sizeof *k->calculator_words);
    if (!k->calculator || !k->calculator_words) rc = error_set(e, E_NOMEM, "no memory for calculators");
  }
  for (size_t i = 0; rc == OK && i < n; i++) {
    rc = calculator_load(path[i].p, &k->calculator[k->calculators], e);
    if (rc < 0) break;
    words_cut(str_c(calculator_name(k->calculator[k->calculators])), &k->calculator_words[k->calculators]);
    k->calculators++;
  }
  arena_free(&a);
  return rc;
}

static bool says_allergy(struct str name) {
  static const char word[] = "allerg";
  for (size_t i = 0; i + sizeof word - 1 <= name.n; i++)
    if (str_eq_nocase((struct str){name.p + i, sizeof word - 1}, STR(word))) return true;
  return false;
}
static int name_codes(struct asker *k, struct error *e) {
  uint32_t codes = timeline_codes(k->t);
  k->name = arena_array(&k->a, struct str, codes + 1);
  if (!k->name) return error_set(e, E_NOMEM, "no memory for names");
  for (uint32_t c = 0; c < codes; c++) {
    struct str d = timeline_code_display(k->t, c);
    const char *state = !d.n                                       ? NULL
                        : ask_is_resolution(k, c)                  ? ", resolved"
                        : ask_is_allergy(k, c) && !says_allergy(d) ? " (allergy)"
                                                                   : NULL;
    k->name[c] = d.n ? d : timeline_code_name(k->t, c);
    if (!state) continue;
    char *with = arena_alloc(&k->a, d.n + strlen(state), 1);
    if (!with) return error_set(e, E_NOMEM, "no memory for names");
    memcpy(with, d.p, d.n);
    memcpy(with + d.n, state, strlen(state));
    k->name[c] = (struct str){with, d.n + strlen(state)};
  }
  return OK;
}

int asker_new(const struct timeline *t, struct asker **out, struct error *e) {
  struct asker *k = mem_alloc(sizeof *k);
  if (!k) return error_set(e, E_NOMEM, "no memory for questions");
  *k = (struct asker){.t = t};
  arena_init(&k->a, (size_t)1 << 30, 0);
  int rc = word_index_new(t, &k->ix, e);
  if (rc == OK) rc = name_codes(k, e);
  if (rc == OK) rc = load_calculators(k, e);
  if (rc < 0) {
    asker_free(k);
    return rc;
  }
  *out = k;
  return OK;
}
void asker_free(struct asker *k) {
  if (!k) return;
  for (int i = 0; i < k->calculators; i++) calculator_free(k->calculator[i]);
  mem_free(k->calculator);
  mem_free(k->calculator_words);
  word_index_free(k->ix);
  arena_free(&k->a);
  mem_free(k);
}

const char *ask_day(int64_t us, char out[16]) {
  if (us == INT64_MIN) return "no date";
  time_format_date(us, out);
  return out;
}
const char *ask_value(const struct timeline *t, float value, uint16_t unit, char out[64]) {
  out[0] = 0;
  if (isnan(value)) return out;
  struct str u = unit == UNIT_NONE ? STR_NONE : timeline_unit_name(t, unit);
  snprintf(out, 64, " %.7g%s%.*s", (double)value, u.n ? " " : "", STR_ARG(u));
  return out;
}
struct str ask_plain_name(const struct timeline *t, uint32_t code) {
  struct str d = timeline_code_display(t, code);
  return d.n ? d : timeline_code_name(t, code);
}
bool ask_is_allergy(const struct asker *k, uint32_t code) { return str_ends(timeline_code_name(k->t, code), STR(TIMELINE_ALLERGY)); }
bool ask_is_resolution(const struct asker *k, uint32_t code) {
  static const char *const ends[] = {"//RESOLVED", "//INACTIVE", "//REMISSION"};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (str_ends(timeline_code_name(k->t, code), str_c(ends[i]))) return true;
  return false;
}
static bool in_time(const struct ask_question *q, int64_t time) { return time >= q->from && time < q->to; }
bool ask_in_limits(const struct ask_question *q, int64_t time, float value) {
  if (!in_time(q, time)) return false;
  if (q->above > -INFINITY && !(value > (float)q->above)) return false; /* 7.9 as it is kept is not above 7.9 */
  return !(q->below < INFINITY) || value < (float)q->below;
}

int ask_more_sentences(struct chart *c) {
  enum { STEP = 16 };
  struct ask_answer *r = c->r;
  if (r->sentences % STEP) return OK;
  struct ask_sentence *s = arena_array(c->a, struct ask_sentence, (size_t)r->sentences + STEP);
  if (!s) return error_set(c->e, E_NOMEM, "no memory for an answer");
  if (r->sentences) memcpy(s, r->sentence, (size_t)r->sentences * sizeof *s);
  r->sentence = s;
  return OK;
}

int ask_say(struct chart *c, const uint32_t *event, uint32_t events, const char *fmt, ...) {
  struct buf b = {0};
  va_list ap;
  TRY(ask_more_sentences(c));
  struct ask_sentence *s = &c->r->sentence[c->r->sentences++];
  va_start(ap, fmt);
  buf_vprintf(&b, fmt, ap);
  va_end(ap);
  if (events) {
    uint32_t named = events < CITED_MOST ? events : CITED_MOST;
    if (b.n && b.p[b.n - 1] == '.') b.n--;
    for (uint32_t i = 0; i < named; i++) buf_printf(&b, "%se%u", i ? ", " : " [", event[i]);
    buf_puts(&b, events > named ? ", …]." : "].");
  }
  s->text = str_copy(c->a, (struct str){b.p, b.n});
  uint32_t *copy = arena_array(c->a, uint32_t, events ? events : 1);
  bool failed = b.failed || !s->text.p || !copy;
  buf_release(&b);
  if (failed) return error_set(c->e, E_NOMEM, "no memory for an answer");
  if (events) memcpy(copy, event, events * sizeof *copy);
  s->event = copy;
  s->events = events;
  return OK;
}
static int abstain(struct chart *c, const char *why) {
  c->r->abstained = true;
  c->r->why = why;
  return OK;
}

/* Which codes the question means: those of this life that match best and have one name. Without any, the store's best match, to be able to
 * say that the record holds none. Of several names that match as well, with as many words, the first of the store; the others are `tied`. */
struct meant {
  uint32_t code[MATCHES_MOST]; /* first one that is no resolution, if there is one */
  int n;
  uint32_t tied[OTHERS_MOST]; /* one code of each other name */
  int ties;
  bool here;      /* this life has them */
  bool whole;     /* their names say just what was asked */
  bool all_words; /* they say all that was asked */
};

static bool same_name(const struct timeline *t, uint32_t a, uint32_t b) {
  return str_eq_nocase(words_untagged(ask_plain_name(t, a)), words_untagged(ask_plain_name(t, b)));
}
static void add_tied(const struct timeline *t, uint32_t code, struct meant *m) {
  for (int i = 0; i < m->ties; i++)
    if (same_name(t, code, m->tied[i])) return;
  if (m->ties < OTHERS_MOST) m->tied[m->ties++] = code;
}
static int meant_among(const struct chart *c, const uint8_t *among, struct meant *m) {
  struct word_match found[MATCHES_MOST];
  int n = word_index_find(c->k->ix, &c->q->words, c->q->exact, among, found, MATCHES_MOST);
  m->n = m->ties = 0;
  for (int i = 0; i < n; i++) {
    if (found[i].score < MATCH_LEAST) break;
    if (c->q->exact.n && found[i].score < 2) break; /* quoted: whole names only */
    if (i && found[i].score < found[0].score - 1e-9) break;
    if (ask_is_allergy(c->k, found[i].code) != ask_is_allergy(c->k, found[0].code)) continue;
    if (!same_name(c->k->t, found[i].code, found[0].code)) {
      if (found[i].words == found[0].words) add_tied(c->k->t, found[i].code, m);
      continue;
    }
    m->code[m->n++] = found[i].code;
    if (ask_is_resolution(c->k, m->code[0]) && !ask_is_resolution(c->k, found[i].code)) {
      m->code[m->n - 1] = m->code[0];
      m->code[0] = found[i].code;
    }
  }
  m->whole = m->n && found[0].whole;
  m->all_words = m->n && found[0].score > 0.999;
  return m->n;
}

/* Names that say more than was asked may mean something else: the reader is told which name was taken, and which others there are. */
static int say_nearest(struct chart *c, const struct meant *m) {
  struct word_match found[OTHERS_MOST + 1];
  struct buf b = {0};
  if (m->whole && !m->ties) return OK;
  int n = word_index_find(c->k->ix, &c->q->words, c->q->exact, NULL, found, OTHERS_MOST + 1), others = 0;
  for (int i = 0; i < m->ties; i++) buf_printf(&b, "%s%.*s", others++ ? "; " : "", STR_ARG(ask_name(c->k, m->tied[i])));
  for (int i = 0; i < n && others < OTHERS_MOST; i++) {
    bool taken = found[i].score < MATCH_LEAST || ask_is_resolution(c->k, found[i].code);
    for (int j = 0; j < m->n; j++) taken |= found[i].code == m->code[j];
    for (int j = 0; j < m->ties; j++) taken |= same_name(c->k->t, found[i].code, m->tied[j]);
    if (!taken) buf_printf(&b, "%s%.*s", others++ ? "; " : "", STR_ARG(ask_name(c->k, found[i].code)));
  }
  int rc = ask_say(c, NULL, 0, "\"%.*s\" is the nearest name here%s%s.", STR_ARG(ask_name(c->k, m->code[0])),
                   others ? "; others that match: " : "", others ? buf_cstr(&b) : "");
  buf_release(&b);
  return rc;
}

static int meant(const struct chart *c, struct meant *m) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  uint8_t *among = arena_array(c->a, uint8_t, timeline_codes(c->k->t) + 1);
  if (!among) return error_set(c->e, E_NOMEM, "no memory for an answer");
  for (uint32_t i = 0; i < v.n; i++) among[v.code[i]] = 1;
  m->here = true;
  if (meant_among(c, among, m)) {
    /* a better name elsewhere in the store means that this life has not what was asked about */
    struct meant all = {0};
    struct word_match here, best;
    meant_among(c, NULL, &all);
    if (all.n && word_index_find(c->k->ix, &c->q->words, c->q->exact, among, &here, 1) == 1 &&
        word_index_find(c->k->ix, &c->q->words, c->q->exact, NULL, &best, 1) == 1 && best.score > here.score + 1e-9 && here.score < 0.999) {
      *m = all;
      m->here = false;
    }
    return OK;
  }
  m->here = false;
  meant_among(c, NULL, m);
  return OK;
}

static bool is_meant(const struct meant *m, uint32_t code) {
  for (int i = 0; i < m->n; i++)
    if (m->code[i] == code) return true;
  return false;
}
/* That what is meant is over is no record of it, unless nothing else is meant */
static bool only_ends(const struct asker *k, const struct meant *m, uint32_t code) {
  return is_meant(m, code) && ask_is_resolution(k, code) && !ask_is_resolution(k, m->code[0]);
}
static bool is_record(const struct asker *k, const struct meant *m, uint32_t code) { return is_meant(m, code) && !only_ends(k, m, code); }

struct events {
  uint32_t *at;
  uint32_t n;
  bool units_differ; /* of the values that a limit was to be held against */
};
static int events_of(struct chart *c, const struct meant *m, bool valued, struct events *out) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  out->at = arena_array(c->a, uint32_t, v.n + 1);
  uint32_t compared = UINT32_MAX;
  out->n = 0;
  out->units_differ = false;
  if (!out->at) return error_set(c->e, E_NOMEM, "no memory for an answer");
  for (uint32_t k = 0; m->here && k < v.n; k++) {
    if (!is_record(c->k, m, v.code[k])) continue;
    if (ask_limits_value(c->q) && in_time(c->q, v.time[k]) && !isnan(v.value[k])) {
      if (compared == UINT32_MAX) compared = k;
      out->units_differ |= v.unit[k] != v.unit[compared];
    }
    if (ask_in_limits(c->q, v.time[k], v.value[k]) && !(valued && isnan(v.value[k]))) out->at[out->n++] = k;
  }
  return OK;
}

static int say_event(struct chart *c, const char *which, uint32_t k) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  char value[64], day[16];
  struct str name = ask_name(c->k, v.code[k]);
  c->r->value = (double)v.value[k];
  if (v.unit[k] != UNIT_NONE) c->r->unit = timeline_unit_name(c->k->t, v.unit[k]);
  ask_value(c->k->t, v.value[k], v.unit[k], value);
  return ask_say(c, &k, 1, "The %s %.*s was%s%s on %s.", which, STR_ARG(name), value, value[0] ? "" : " recorded", ask_day(v.time[k], day));
}

/* "… within the limits asked about", for counts and denials */
static const char *limits_text(const struct ask_question *q) {
  bool time = q->from != INT64_MIN || q->to != INT64_MAX, value = ask_limits_value(q);
  return time && value ? " in that time and range" : time ? " in that time" : value ? " in that range" : "";
}
static int say_none(struct chart *c, const struct meant *m) {
  struct str name = ask_name(c->k, m->code[0]);
  return ask_say(c, NULL, 0, "The record holds no %.*s%s.", STR_ARG(name), limits_text(c->q));
}

static int say_mean(struct chart *c, const struct events *v, struct str name) {
  struct timeline_view view = timeline_view(c->k->t, c->index);
  double sum = 0;
  for (uint32_t i = 0; i < v->n; i++) {
    if (view.unit[v->at[i]] != view.unit[v->at[0]]) return abstain(c, "its values have different units");
    sum += (double)view.value[v->at[i]];
  }
  c->r->value = sum / v->n;
  struct str unit = view.unit[v->at[0]] == UNIT_NONE ? STR_NONE : timeline_unit_name(c->k->t, view.unit[v->at[0]]);
  c->r->unit = unit;
  return ask_say(c, v->at, v->n, "The mean of %u values of %.*s%s is %.6g%s%.*s.", v->n, STR_ARG(name), limits_text(c->q), c->r->value,
                 unit.n ? " " : "", STR_ARG(unit));
}

static int say_extreme(struct chart *c, const struct events *v, bool high) {
  struct timeline_view view = timeline_view(c->k->t, c->index);
  uint32_t best = v->at[0];
  for (uint32_t i = 1; i < v->n; i++) {
    uint32_t k = v->at[i];
    if (view.unit[k] != view.unit[best]) return abstain(c, "its values have different units");
    if (high ? view.value[k] > view.value[best] : view.value[k] < view.value[best]) best = k;
  }
  return say_event(c, high ? "highest" : "lowest", best);
}

static int say_trend(struct chart *c, const struct events *v) {
  struct timeline_view view = timeline_view(c->k->t, c->index);
  char value[64], day[16];
  for (uint32_t i = v->n > 20 ? v->n - 20 : 0; i < v->n; i++) {
    uint32_t k = v->at[i];
    struct str name = ask_name(c->k, view.code[k]);
    TRY(ask_say(c, &k, 1, "%s: %.*s%s.", ask_day(view.time[k], day), STR_ARG(name),
                ask_value(c->k->t, view.value[k], view.unit[k], value)));
  }
  return OK;
}

/* To be allergic to something is not to have it: "yes" only where an allergy was asked about */
static bool is_yes(const struct chart *c, const struct meant *m) {
  bool yes = !ask_is_allergy(c->k, m->code[0]) || says_allergy(timeline_code_display(c->k->t, m->code[0]));
  for (int i = 0; i < c->q->words.n && !yes; i++) yes = strcmp(c->q->words.word[i], "allergy") == 0;
  return yes;
}
static int say_whether(struct chart *c, const struct meant *m, const struct events *v) {
  struct timeline_view view = timeline_view(c->k->t, c->index);
  uint32_t first = v->at[0], end = v->at[v->n - 1];
  const char *yes = is_yes(c, m) ? "Yes: " : "";
  struct str name = ask_name(c->k, m->code[0]);
  char day[16], last[16];
  if (v->n == 1)
    TRY(ask_say(c, v->at, 1, "%s%.*s is recorded on %s.", yes, STR_ARG(name), ask_day(view.time[first], day)));
  else
    TRY(ask_say(c, v->at, v->n, "%s%.*s is recorded %u times, first on %s, last on %s.", yes, STR_ARG(name), v->n,
                ask_day(view.time[first], day), ask_day(view.time[end], last)));
  for (uint32_t k = view.n; k-- > end + 1;)
    if (only_ends(c->k, m, view.code[k]))
      return ask_say(c, &k, 1, "%.*s on %s.", STR_ARG(ask_name(c->k, view.code[k])), ask_day(view.time[k], day));
  return OK;
}

static int about_meant(struct chart *c, const struct meant *m);
int ask_about_events(struct chart *c) {
  struct meant m;
  if (c->q->words.n == 0) return abstain(c, "the question names nothing to look for");
  TRY(meant(c, &m));
  if (m.n == 0) return abstain(c, "no name in this store matches what is asked about");
  TRY(about_meant(c, &m));
  return say_nearest(c, &m);
}
static int about_meant(struct chart *c, const struct meant *m) {
  enum ask_intent want = c->q->intent;
  bool valued = want == ASK_HIGHEST || want == ASK_LOWEST || want == ASK_MEAN || want == ASK_TREND;
  struct timeline_view view = timeline_view(c->k->t, c->index);
  struct events v;
  char day[16];
  TRY(events_of(c, m, valued, &v));
  if (v.units_differ) return abstain(c, "its values have different units");
  struct str name = ask_name(c->k, m->code[0]);
  if (want == ASK_COUNT) {
    c->r->value = v.n;
    if (v.n == 0) return say_none(c, m);
    return ask_say(c, v.at, v.n, "%.*s is recorded %u time%s%s.", STR_ARG(name), v.n, v.n == 1 ? "" : "s", limits_text(c->q));
  }
  if (v.n == 0) return say_none(c, m);
  uint32_t first = v.at[0], end = v.at[v.n - 1];
  switch (want) {
    case ASK_LATEST: return say_event(c, "latest", end);
    case ASK_FIRST: return say_event(c, "first", first);
    case ASK_HIGHEST: return say_extreme(c, &v, true);
    case ASK_LOWEST: return say_extreme(c, &v, false);
    case ASK_MEAN: return say_mean(c, &v, name);
    case ASK_TREND: return say_trend(c, &v);
    case ASK_WHEN_FIRST: return ask_say(c, &first, 1, "%.*s was first recorded on %s.", STR_ARG(name), ask_day(view.time[first], day));
    case ASK_WHEN_LAST: return ask_say(c, &end, 1, "%.*s was last recorded on %s.", STR_ARG(name), ask_day(view.time[end], day));
    default: return say_whether(c, m, &v);
  }
}

const struct calculator *ask_calculator(const struct asker *k, struct str text) {
  struct words w;
  int best = -1, longest = 0;
  words_cut(text, &w);
  for (int i = 0; i < k->calculators; i++) {
    const struct words *name = &k->calculator_words[i];
    int hit = 0;
    for (int a = 0; a < name->n; a++)
      for (int b = 0; b < w.n; b++) hit += strcmp(name->word[a], w.word[b]) == 0;
    if (name->n == 0 || hit < name->n || name->n <= longest) continue;
    longest = name->n;
    best = i;
  }
  return best < 0 ? NULL : k->calculator[best];
}

int ask(const struct asker *k, uint32_t index, struct str question, struct arena *a, struct ask_answer *out, struct error *e) {
  struct ask_question q;
  *out = (struct ask_answer){.value = NAN, .subject = timeline_view(k->t, index).subject};
  if (question.n > 2000 || !str_utf8_valid(question)) return error_set(e, E_INPUT, "a question is UTF-8 text of at most 2,000 bytes");
  ask_parse(question, &q);
  struct chart c = {k, index, &q, a, out, e};
  const struct calculator *calc = q.exact.n ? NULL : ask_calculator(k, question);
  if (calc && q.intent != ASK_COUNT && q.intent != ASK_LIST && q.intent != ASK_SUMMARY && q.intent != ASK_COHORT) {
    struct meant m; /* "what is the anion gap": the calculator, unless the chart has it measured under that name */
    TRY(meant(&c, &m));
    if (!(m.here && m.n && m.whole)) q.intent = ASK_CALCULATE;
  }
  out->intent = ask_intent_name[q.intent];
  switch (q.intent) {
    case ASK_UNKNOWN: return abstain(&c, "the question is of no kind that is understood here");
    case ASK_COHORT: return abstain(&c, "the question is about many patients; ask it without a subject");
    case ASK_AGE:
    case ASK_SEX:
    case ASK_DEATH: return ask_demography(&c);
    case ASK_SUMMARY: return ask_summary(&c);
    case ASK_LIST: return ask_list(&c, q.kind);
    case ASK_CALCULATE: return ask_calculate(&c, calc);
    default: return ask_about_events(&c);
  }
}

/* ---- cohort ---- */

/* Who has one and who has the other cannot be told from the number */
static int which_is_meant(struct chart *c, const struct meant *m) {
  struct buf b = {0};
  for (int i = 0; i < m->ties; i++) buf_printf(&b, "; %.*s", STR_ARG(ask_name(c->k, m->tied[i])));
  int rc = ask_say(c, NULL, 0, "Names that match: %.*s%s.", STR_ARG(ask_name(c->k, m->code[0])), buf_cstr(&b));
  buf_release(&b);
  TRY(rc);
  return abstain(c, "several names match equally; put the one that is meant between double quotes");
}

enum { PARTS = 4 };
struct part { /* of a question about many: each must be true of a person */
  struct ask_question q;
  struct meant m;
  uint16_t unit;     /* that a limit is held against: of most values */
  uint32_t left_out; /* persons whose values have another */
};

static int take_unit(struct chart *c, struct part *p) {
  uint32_t *values = arena_array(c->a, uint32_t, UINT16_MAX + 1);
  if (!values) return error_set(c->e, E_NOMEM, "no memory for an answer");
  for (uint32_t i = 0; ask_limits_value(&p->q) && i < timeline_subjects(c->k->t); i++) {
    struct timeline_view v = timeline_view(c->k->t, i);
    for (uint32_t j = 0; j < v.n; j++)
      if (!isnan(v.value[j]) && in_time(&p->q, v.time[j]) && is_record(c->k, &p->m, v.code[j]) && ++values[v.unit[j]] > values[p->unit])
        p->unit = v.unit[j];
  }
  return OK;
}
static bool has_part(const struct chart *c, const struct timeline_view *v, const struct part *p, bool *other_unit) {
  for (uint32_t j = 0; j < v->n; j++) {
    if (!is_record(c->k, &p->m, v->code[j])) continue;
    if (ask_limits_value(&p->q) && v->unit[j] != p->unit)
      *other_unit |= !isnan(v->value[j]) && in_time(&p->q, v->time[j]);
    else if (ask_in_limits(&p->q, v->time[j], v->value[j]))
      return true;
  }
  return false;
}
static uint32_t count_persons(const struct chart *c, struct part *part, int parts) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < timeline_subjects(c->k->t); i++) {
    struct timeline_view v = timeline_view(c->k->t, i);
    bool all = true;
    for (int p = 0; p < parts; p++) {
      bool other_unit = false, has = has_part(c, &v, &part[p], &other_unit);
      all &= has;
      part[p].left_out += !has && other_unit;
    }
    found += all;
  }
  return found;
}
static int say_cohort(struct chart *c, const struct part *part, int parts, uint32_t found) {
  struct buf names = {0};
  for (int p = 0; p < parts; p++)
    buf_printf(&names, "%s%.*s%s", p ? " and " : "", STR_ARG(ask_name(c->k, part[p].m.code[0])), limits_text(&part[p].q));
  c->r->value = found;
  int rc = ask_say(c, NULL, 0, "%u of %u patients have %s.", found, timeline_subjects(c->k->t), buf_cstr(&names));
  buf_release(&names);
  for (int p = 0; rc == OK && p < parts; p++) {
    struct str unit = part[p].unit == UNIT_NONE ? STR("none") : timeline_unit_name(c->k->t, part[p].unit);
    if (part[p].left_out)
      rc = ask_say(c, NULL, 0, "Not compared, since in other units than %.*s: %.*s of %u patient%s.", STR_ARG(unit),
                   STR_ARG(ask_name(c->k, part[p].m.code[0])), part[p].left_out, part[p].left_out == 1 ? "" : "s");
  }
  return rc;
}

static bool is_limited(const struct ask_question *q) { return limits_text(q)[0] != 0; }

/* Each part of the question must be matched by a code of the person. All words must be in its name: what is left out would change the number. */
int ask_cohort(const struct asker *k, struct str question, struct arena *a, struct ask_answer *out, struct error *e) {
  struct ask_question q;
  struct part part[PARTS] = {0};
  struct str text[PARTS];
  const char *why;
  *out = (struct ask_answer){.value = NAN};
  if (question.n > 2000 || !str_utf8_valid(question)) return error_set(e, E_INPUT, "a question is UTF-8 text of at most 2,000 bytes");
  ask_parse(question, &q);
  struct chart c = {k, 0, &q, a, out, e};
  out->intent = ask_intent_name[q.intent];
  if (q.intent != ASK_COHORT) return abstain(&c, "of many patients only how many have something can be asked");
  int parts = ask_parts(question, text, PARTS, &why);
  if (why) return abstain(&c, why);
  if (parts == 1 && q.words.n == 0 && !is_limited(&q)) {
    out->value = timeline_subjects(k->t);
    return ask_say(&c, NULL, 0, "The store holds %u patients.", timeline_subjects(k->t));
  }
  for (int i = 0; i < parts; i++) {
    struct part *p = &part[i];
    struct chart pc = {k, 0, &p->q, a, out, e};
    ask_parse(text[i], &p->q);
    if (p->q.words.n == 0) return abstain(&c, "a part of the question names nothing to look for");
    if (meant_among(&pc, NULL, &p->m) == 0) return abstain(&c, "no name in this store matches what is asked about");
    if (!p->m.all_words) return abstain(&c, "no name in this store has all the words that are asked about");
    if (p->m.ties) return which_is_meant(&c, &p->m);
    TRY(take_unit(&c, p));
  }
  return say_cohort(&c, part, parts, count_persons(&c, part, parts));
}

/* ---- output ---- */

void ask_event_json(const struct timeline *t, uint32_t index, uint32_t e, struct json_out *o) {
  struct timeline_view v = timeline_view(t, index);
  char id[32], time[32];
  json_out_object(o);
  snprintf(id, sizeof id, "e%u", e);
  json_kv_c(o, "id", id);
  if (v.time[e] != INT64_MIN) {
    time_format(v.time[e], time);
    json_kv_c(o, "time", time);
  }
  json_kv_str(o, "code", timeline_code_name(t, v.code[e]));
  if (timeline_code_display(t, v.code[e]).n) json_kv_str(o, "display", timeline_code_display(t, v.code[e]));
  if (!isnan(v.value[e])) {
    json_out_key(o, "value");
    json_out_f32(o, v.value[e]);
  }
  if (v.unit[e] != UNIT_NONE) json_kv_str(o, "unit", timeline_unit_name(t, v.unit[e]));
  json_out_end(o);
}

void ask_json(const struct asker *k, uint32_t index, const struct ask_answer *r, struct json_out *o) {
  char id[32];
  json_out_object(o);
  if (r->subject) {
    snprintf(id, sizeof id, "%lld", (long long)r->subject);
    json_kv_c(o, "subject", id);
  }
  json_kv_c(o, "generation", timeline_generation(k->t));
  json_kv_c(o, "intent", r->intent ? r->intent : "");
  json_kv_bool(o, "abstained", r->abstained);
  json_kv_c(o, "status", r->abstained ? "abstained" : "answered");
  if (r->abstained) json_kv_c(o, "why", r->why);
  if (!isnan(r->value)) json_kv_f64(o, "value", r->value);
  if (r->unit.n) json_kv_str(o, "unit", r->unit);
  if (r->model) {
    json_kv_c(o, "model", r->model);
    json_kv_i64(o, "proposed", r->proposed);
    json_kv_i64(o, "unsupported", r->refused);
    json_out_key(o, "quotes");
    json_out_array(o);
    for (int i = 0; i < r->quotes; i++) {
      json_out_object(o);
      json_kv_str(o, "source", r->quote[i].source);
      json_kv_str(o, "text", r->quote[i].text);
      json_kv_bool(o, "untrusted", true);
      json_out_end(o);
    }
    json_out_end(o);
  }
  json_out_key(o, "sentences");
  json_out_array(o);
  for (int i = 0; i < r->sentences; i++) {
    const struct ask_sentence *s = &r->sentence[i];
    json_out_object(o);
    json_kv_str(o, "text", s->text);
    json_kv_c(o, "status", s->unsupported ? "unsupported" : "supported");
    if (s->finding) json_kv_c(o, "finding", s->finding);
    json_kv_c(o, "source", s->source ? s->source : "chart");
    json_out_key(o, "events");
    json_out_array(o);
    for (uint32_t j = 0; j < s->events; j++) ask_event_json(k->t, index, s->event[j], o);
    json_out_end(o);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}

void ask_print(const struct ask_answer *r, struct buf *out) {
  for (int i = 0; i < r->sentences; i++) {
    const struct ask_sentence *x = &r->sentence[i];
    buf_printf(out, "%s%.*s", x->unsupported ? "UNSUPPORTED: " : "", STR_ARG(x->text));
    if (x->source) buf_printf(out, "  (%s%s%s)", x->source, x->finding ? "; " : "", x->finding ? x->finding : "");
    buf_putc(out, '\n');
  }
  for (int i = 0; i < r->quotes; i++)
    buf_printf(out, "\nQuoted from %.*s, not checked:\n%.*s\n", STR_ARG(r->quote[i].source), STR_ARG(r->quote[i].text));
  if (r->refused) buf_printf(out, "%d of %d sentences of %s are not supported by the record.\n", r->refused, r->proposed, r->model);
  if (r->abstained) buf_printf(out, "No answer: %s.\n", r->why);
}
