#include "reason/sequential.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "reason/sequential_private.h"

#define CONTRADICTION 0.5 /* what a denied word takes off, as a share of what the word would have given */
#define UNFORESEEN 1e-5   /* gain of any answer at least: it may hold what nobody imagined; only a boundless worth pays for that */
#define WORTH 5000.0      /* of the currency, where nobody says */
#define AMONG 25          /* diseases whose answers are imagined */

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for diagnosis"); }

int sequential_actions(const struct sequential *k) { return k->actions; }
const struct sequential_action *sequential_action(const struct sequential *k, int i) { return &k->action[i]; }
int sequential_action_find(const struct sequential *k, struct str id) {
  for (int i = 0; i < k->actions; i++)
    if (str_eq(k->action[i].id, id)) return i;
  return -1;
}
int sequential_diseases(const struct sequential *k) { return k->diseases; }
struct str sequential_disease(const struct sequential *k, int i) {
  return k->disease[i].name;
}
int sequential_disease_find(const struct sequential *k, struct str name) {
  char folded[128];
  uint32_t at;
  int n = sequential_fold(name, folded);
  return intern_find(&k->names, (struct str){folded, (size_t)n}, &at) ? k->name_of[at] : -1;
}
struct str sequential_currency(const struct sequential *k) {
  return k->currency;
}
double sequential_probability(const struct sequential_session *s, int disease) { return s->p[disease]; }
double sequential_score(const struct sequential_session *s, int disease) { return s->score[disease]; }
double sequential_spent(const struct sequential_session *s) { return s->spent; }
int sequential_steps(const struct sequential_session *s) { return s->steps - 1; }
int sequential_first(const struct sequential_session *s) {
  int best = 0;
  for (int i = 1; i < s->k->diseases; i++)
    if (s->p[i] > s->p[best]) best = i;
  return best;
}

/* ---- hearing ---- */

static bool taken(struct str *s, const char *word) {
  size_t n = strlen(word);
  if (s->n < n || !str_eq_nocase((struct str){s->p, n}, str_c(word))) return false;
  *s = (struct str){s->p + n, s->n - n};
  return true;
}
static void gap(struct str *s) {
  while (s->n && (s->p[0] == ' ' || s->p[0] == '-')) s->p++, s->n--;
}
/* "8-month-old": a count and its unit (0 = day .. 3 = year, -1 = none) before "old" or "of age", or, without these, after "aged" */
static int age_unit(struct str s, bool aged, int *count) {
  static const char *const units[] = {"day", "week", "month", "year"};
  int unit = 0;
  size_t n = 0;
  for (*count = 0; n < s.n && n < 3 && s.p[n] >= '0' && s.p[n] <= '9'; n++) *count = 10 * *count + (s.p[n] - '0');
  s = (struct str){s.p + n, s.n - n};
  gap(&s);
  while (unit < 4 && !taken(&s, units[unit])) unit++;
  if (unit == 4) return aged ? 3 : -1;
  (void)taken(&s, "s");
  gap(&s);
  return aged || taken(&s, "old") || taken(&s, "of age") ? unit : -1;
}
/* "8-month-old boy", "55-year-old woman", "aged 55": the words that textbooks use for it. Any other duration is no age. */
static struct str age_words(struct str text) {
  static const struct {
    int unit, below;
    const char *words;
  } of[] = {{0, 30, "newborn infant baby"}, {1, 9, "newborn infant baby"},  {1, 999, "infant baby"},     {2, 24, "infant baby toddler"},
            {3, 3, "infant toddler child"}, {3, 13, "child young"},         {3, 20, "adolescent young"}, {3, 40, "young adult"},
            {3, 60, "middle aged adult"},   {3, 150, "elderly older adult"}};
  bool within = false; /* a number */
  for (size_t i = 0; i < text.n; i++) {
    bool digit = text.p[i] >= '0' && text.p[i] <= '9';
    bool aged = i >= 5 && str_eq_nocase((struct str){text.p + i - 5, 5}, STR("aged "));
    int count, unit = digit && !within ? age_unit((struct str){text.p + i, text.n - i}, aged, &count) : -1;
    for (size_t j = 0; unit >= 0 && j < sizeof of / sizeof *of; j++)
      if (unit == of[j].unit && count < of[j].below) return str_c(of[j].words);
    within = digit;
  }
  return STR_NONE;
}
/* This word speaks against its denial, once */
static void contradict(struct sequential_session *s, int word) {
  const struct sequential *k = s->k;
  if (word < 0 || s->seen[word] & 2) return;
  s->seen[word] |= 2;
  for (int i = k->having_start[word]; i < k->having_start[word + 1]; i++) s->match[k->having[i]] -= CONTRADICTION * (double)k->gain[word];
}
static void hear_words(struct sequential_session *s, struct str text) {
  const struct sequential *k = s->k;
  struct seq_cutter c = {.rest = text};
  uint32_t id;
  for (struct str w; sequential_word(&c, &w);) {
    if (!intern_find(&k->words, w, &id)) { /* what no disease has may still be the contrary of what one has */
      char other[64];
      bool denied = w.p[0] == '-';
      snprintf(other, sizeof other, "%s%.*s", denied ? "" : "-", (int)w.n - denied, w.p + denied);
      if (intern_find(&k->words, str_c(other), &id)) contradict(s, (int)id);
      continue;
    }
    if (s->seen[id] & 1) continue;
    s->seen[id] |= 1;
    for (int j = k->having_start[id]; j < k->having_start[id + 1]; j++) s->match[k->having[j]] += (double)k->gain[id];
    contradict(s, k->against[id]);
  }
}
/* What is taken off for the words on file here that have not been heard */
static double missing(const struct sequential_session *s, const struct finding *f) {
  double sum = 0;
  for (int i = 0; i < f->n; i++) {
    int w = s->k->list[f->first + i];
    if (!(s->seen[w] & 1)) sum += (double)s->k->loss[w];
  }
  return sum;
}
static void odds(const double *score, int n, double scale, double *p) {
  double top = -INFINITY, sum = 0;
  for (int i = 0; i < n; i++) top = fmax(top, score[i]);
  for (int i = 0; i < n; i++) sum += p[i] = exp(scale * (score[i] - top));
  for (int i = 0; i < n; i++) p[i] /= sum;
}
static int settle(struct sequential_session *s, int action, struct str answer, struct error *e) {
  const struct sequential *k = s->k;
  for (int d = 0; d < k->diseases; d++) {
    s->score[d] = s->match[d];
    for (int i = 0; i < k->disease[d].findings; i++) {
      const struct finding *f = &k->finding[k->disease[d].finding + i];
      if (f->action < 0 || s->answered[f->action]) s->score[d] -= missing(s, f);
    }
  }
  odds(s->score, k->diseases, s->k->scale, s->p);
  struct heard *h = &s->step[s->steps];
  *h = (struct heard){.action = action, .answer = str_copy(s->arena, answer), .spent = s->spent, .gain = s->gain};
  h->probability = arena_array(s->arena, float, (size_t)k->diseases + 1);
  if (!h->probability || (answer.n && !h->answer.p)) return no_memory(e);
  for (int d = 0; d < k->diseases; d++) h->probability[d] = (float)s->p[d];
  s->steps++;
  return OK;
}

int sequential_begin(const struct sequential *k, const struct sequential_options *o, struct str opening, struct arena *a,
                     struct sequential_session **out, struct error *e) {
  struct sequential_session *s = arena_array(a, struct sequential_session, 1);
  size_t n = (size_t)k->diseases + 1;
  if (!s) return no_memory(e);
  *s = (struct sequential_session){.k = k, .arena = a, .o = *o, .step_cap = k->actions + 1, .why = "worth"};
  if (s->o.worth <= 0) s->o.worth = WORTH;
  if (s->o.budget <= 0) s->o.budget = INFINITY;
  for (int i = 0; i < 3; i++) {
    if (s->o.shown[i] <= 0) s->o.shown[i] = 1;
    if (s->o.other[i] <= 0) s->o.other[i] = 1;
  }
  s->seen = arena_array(a, uint8_t, (size_t)k->words.count + 1);
  s->match = arena_array(a, double, n);
  s->score = arena_array(a, double, n);
  s->p = arena_array(a, double, n);
  s->step = arena_array(a, struct heard, (size_t)s->step_cap + 1);
  if (!s->seen || !s->match || !s->score || !s->p || !s->step) return no_memory(e);
  hear_words(s, opening);
  hear_words(s, age_words(opening));
  TRY(settle(s, -1, opening, e));
  *out = s;
  return OK;
}

int sequential_hear(struct sequential_session *s, int action, struct str answer, struct error *e) {
  if (action < 0 || action >= s->k->actions || s->asked[action]) return error_set(e, E_USAGE, "an action that is not open");
  if (s->spent + s->k->action[action].cost > s->o.budget) return error_set(e, E_LIMIT, "over the budget");
  s->asked[action] = true;
  s->spent += s->k->action[action].cost;
  if (answer.n) {
    s->answered[action] = true;
    hear_words(s, answer);
  }
  return settle(s, action, answer, e);
}

void sequential_leave(struct sequential_session *s) { s->why = "left"; }

void sequential_echo(const struct sequential_session *s, int disease, int *on_file, int *heard) {
  *on_file = *heard = 0;
  for (int i = 0; i < s->k->disease[disease].findings; i++) {
    const struct finding *f = &s->k->finding[s->k->disease[disease].finding + i];
    if (f->action >= 0 && !s->answered[f->action]) continue;
    *on_file += f->n;
    for (int w = 0; w < f->n; w++) *heard += s->seen[s->k->list[f->first + w]] & 1;
  }
}

/* ---- choosing ---- */

static const struct finding *on_file(const struct sequential *k, int disease, int action) {
  for (int i = 0; i < k->disease[disease].findings; i++)
    if (k->finding[k->disease[disease].finding + i].action == action) return &k->finding[k->disease[disease].finding + i];
  return NULL;
}
bool sequential_shows(const struct sequential *k, int disease, int action) { return on_file(k, disease, action) != NULL; }
static const struct finding *may_show(const struct sequential *k, int disease, int action) {
  const struct finding *f = on_file(k, disease, action);
  return f || k->action[action].like < 0 ? f : on_file(k, disease, k->action[action].like);
}
static double entropy(const double *p, int n) {
  double h = 0;
  for (int i = 0; i < n; i++)
    if (p[i] > 1e-12) h -= p[i] * log2(p[i]);
  return h;
}
/* Entropy after an answer that shows, in part, the words of `f` not yet heard; or (NULL) nothing of note. missed: (diseases) what silence takes off */
static double imagined(const struct sequential_session *s, const struct finding *f, const double *missed, double *score, double *p) {
  const struct sequential *k = s->k;
  for (int d = 0; d < k->diseases; d++) score[d] = s->score[d] - missed[d] * (f ? 1 - k->echo : 1);
  for (int i = 0; f && i < f->n; i++) {
    int w = k->list[f->first + i];
    if (s->seen[w] & 1) continue;
    for (int j = k->having_start[w]; j < k->having_start[w + 1]; j++) score[k->having[j]] += k->echo * (double)k->gain[w];
  }
  odds(score, k->diseases, k->scale, p);
  return entropy(p, k->diseases);
}
struct likely {
  int disease[AMONG], n;
  double mass;
};
static void likely_of(const struct sequential_session *s, struct likely *l) {
  *l = (struct likely){0};
  for (int d = 0; d < s->k->diseases; d++) {
    if (l->n == AMONG && s->p[d] <= s->p[l->disease[AMONG - 1]]) continue;
    int at = l->n < AMONG ? l->n++ : AMONG - 1;
    while (at > 0 && s->p[l->disease[at - 1]] < s->p[d]) l->disease[at] = l->disease[at - 1], at--;
    l->disease[at] = d;
  }
  for (int i = 0; i < l->n; i++) l->mass += s->p[l->disease[i]];
}
struct scratch {
  double *missed, *score, *p; /* (diseases) */
};
static double gain_of(const struct sequential_session *s, const struct likely *l, int action, double now, struct scratch *w) {
  const struct sequential *k = s->k;
  enum sequential_kind kind = k->action[action].kind;
  double drop = 0, silent = 0;
  for (int d = 0; d < k->diseases; d++) {
    const struct finding *own = on_file(k, d, action);
    w->missed[d] = own ? missing(s, own) : 0;
  }
  for (int i = 0; i < l->n; i++) {
    double share = s->p[l->disease[i]] / l->mass;
    const struct finding *f = may_show(k, l->disease[i], action);
    if (f)
      drop += share * s->o.shown[kind] * (now - imagined(s, f, w->missed, w->score, w->p));
    else
      silent += share;
  }
  if (silent < 1) drop += silent * s->o.other[kind] * (now - imagined(s, NULL, w->missed, w->score, w->p));
  return fmax(drop / log2(k->diseases), UNFORESEEN);
}

static int choose_informed(struct sequential_session *s, struct sequential_choice *out, struct error *e) {
  const struct sequential *k = s->k;
  double value[SEQUENTIAL_ACTIONS], gain[SEQUENTIAL_ACTIONS] = {0}, best = 0;
  bool closed[SEQUENTIAL_ACTIONS], open = false, dear = false;
  struct arena_mark m = arena_mark(s->arena);
  size_t n = (size_t)k->diseases + 1;
  struct scratch w = {arena_array(s->arena, double, n), arena_array(s->arena, double, n), arena_array(s->arena, double, n)};
  struct likely l;
  if (!w.missed || !w.score || !w.p) return no_memory(e);
  likely_of(s, &l);
  double now = entropy(s->p, k->diseases);
  for (int i = 0; i < k->actions; i++) {
    bool over = s->spent + k->action[i].cost > s->o.budget;
    value[i] = -INFINITY;
    closed[i] = s->asked[i] || over;
    open |= !s->asked[i];
    dear |= !s->asked[i] && over;
    if (closed[i]) continue;
    gain[i] = gain_of(s, &l, i, now, &w);
    value[i] = s->o.worth * gain[i] - k->action[i].cost;
  }
  arena_rewind(s->arena, m);
  if (s->o.proposer.propose) TRY(s->o.proposer.propose(s->o.proposer.with, s, value, e));
  for (int i = 0; i < k->actions; i++) {
    if (closed[i] || !(value[i] > 0)) continue;
    double rate = (value[i] + k->action[i].cost) / (k->action[i].cost + 1);
    if (out->action < 0 || rate > best) out->action = i, best = rate;
  }
  if (out->action >= 0) out->gain = gain[out->action];
  out->why = !open ? "asked" : dear ? "budget" : "worth";
  return OK;
}

int sequential_choose(struct sequential_session *s, struct sequential_choice *out, struct error *e) {
  *out = (struct sequential_choice){.action = -1, .why = "asked"};
  if (s->o.policy == SEQUENTIAL_INFORMED) {
    TRY(choose_informed(s, out, e));
  } else {
    for (int i = 0; i < s->k->actions && out->action < 0; i++) {
      bool affordable = s->spent + s->k->action[i].cost <= s->o.budget;
      if (!s->asked[i] && affordable) out->action = i;
      if (!s->asked[i] && !affordable) out->why = "budget";
      if (!s->asked[i] && !affordable && s->o.policy == SEQUENTIAL_FIXED) break;
    }
  }
  s->gain = out->action >= 0 ? out->gain : 0;
  if (out->action < 0) s->why = out->why;
  return OK;
}
