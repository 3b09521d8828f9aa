/* Binding a task to a dictionary and labelling lives. docs/task.md says what the labels mean; the order of the rules below
 * is the order there. */
#include "timeline/task_store.h"

enum { MARK_TRIGGER, MARK_DEATH, MARK_BIRTH, MARK_COMPETING, MARK_PART, MARK_WINDOW = MARK_PART + TASK_PARTS_MAX };
_Static_assert(MARK_WINDOW + TASK_WINDOWS_MAX <= 64, "marks fit a word");
#define BIT(n) (UINT64_C(1) << (n))

struct task_binding {
  const struct task *task;
  uint32_t codes, targets, parts;
  uint64_t *mark; /* by code: one bit for each role */
  uint32_t *target;
};

/* Only a pattern that says so names a label: "*" means what is on record. */
static bool matches(struct str pattern, struct str name) {
  if (str_starts(name, STR(TIMELINE_LABEL)) && !str_starts(pattern, STR(TIMELINE_LABEL))) return false;
  if (pattern.p[pattern.n - 1] != '*') return str_eq(pattern, name);
  return str_starts(name, (struct str){pattern.p, pattern.n - 1});
}
static bool matches_any(const struct patterns *p, struct str name) {
  for (uint32_t i = 0; i < p->n; i++)
    if (matches(p->at[i], name)) return true;
  return false;
}

static uint64_t marks_of(const struct task *t, struct str name) {
  uint64_t mark = 0;
  if (matches_any(&t->trigger_codes, name)) mark |= BIT(MARK_TRIGGER);
  if (matches_any(&t->death, name)) mark |= BIT(MARK_DEATH);
  if (str_eqc(name, "MEDS_BIRTH")) mark |= BIT(MARK_BIRTH);
  if (!task_names_target(t, name) && matches_any(&t->competing, name)) mark |= BIT(MARK_COMPETING);
  for (uint32_t i = 0; i < t->target.n; i++)
    if (matches(t->target.at[i], name)) mark |= BIT(MARK_PART + (t->all ? i : 0));
  for (uint32_t i = 0; i < t->windows; i++)
    if (matches_any(&t->window[i].any, name)) mark |= BIT(MARK_WINDOW + i);
  return mark;
}

#define PARTS_MASK (((BIT(TASK_PARTS_MAX)) - 1) << MARK_PART)

int task_bind(const struct task *t, const struct timeline *store, struct task_binding **out, struct error *e) {
  *out = NULL;
  struct task_binding *b = mem_alloc(sizeof *b);
  uint32_t n = timeline_codes(store);
  if (!b) return error_set(e, E_NOMEM, "no memory to bind a task");
  *b = (struct task_binding){.task = t, .codes = n, .parts = t->all ? t->target.n : 1};
  b->mark = mem_alloc(n * sizeof *b->mark);
  b->target = mem_alloc(n * sizeof *b->target);
  if (!b->mark || !b->target) {
    task_binding_free(b);
    return error_set(e, E_NOMEM, "no memory to bind a task");
  }
  for (uint32_t c = 0; c < n; c++) {
    b->mark[c] = marks_of(t, timeline_code_name(store, c));
    if (b->mark[c] & PARTS_MASK) b->target[b->targets++] = c;
  }
  *out = b;
  return OK;
}

void task_binding_free(struct task_binding *b) {
  if (!b) return;
  mem_free(b->mark);
  mem_free(b->target);
  mem_free(b);
}

bool task_is_target(const struct task_binding *b, uint32_t code) { return code < b->codes && (b->mark[code] & PARTS_MASK); }
uint32_t task_target_codes(const struct task_binding *b, const uint32_t **codes) {
  *codes = b->target;
  return b->targets;
}

bool task_names_competing(const struct task *t, struct str code) {
  return !task_names_target(t, code) && (matches_any(&t->death, code) || matches_any(&t->competing, code));
}
bool task_names_trigger(const struct task *t, struct str code) { return matches_any(&t->trigger_codes, code); }
bool task_names_target(const struct task *t, struct str code) { return !t->all && !t->target_value.set && matches_any(&t->target, code); }

/* ---- one life ---- */

struct life {
  const struct task_binding *b;
  const struct task *t;
  const struct timeline_view *v;
  int64_t begin, end;   /* of the record: first timed event but the birth, last timed event */
  int64_t birth, death; /* INT64_MIN: unknown; TASK_EVER: none */
  int64_t first_target; /* when the whole target was there for the first time; TASK_EVER: never */
};

static int64_t later(int64_t time, int64_t by) {
  int64_t sum;
  return by == TASK_EVER || __builtin_add_overflow(time, by, &sum) ? TASK_EVER : sum;
}

static uint64_t marks(const struct life *l, uint32_t k) {
  uint32_t code = l->v->code[k];
  return code < l->b->codes ? l->b->mark[code] : 0; /* a memory timeline may have learnt codes since the binding */
}

static uint64_t parts(const struct life *l, uint32_t k) {
  uint64_t m = marks(l, k) & PARTS_MASK;
  return m && value_passes(&l->t->target_value, l->v->value[k]) ? m : 0;
}

static bool is_trigger(const struct life *l, uint32_t k) {
  return (marks(l, k) & BIT(MARK_TRIGGER)) && value_passes(&l->t->trigger_value, l->v->value[k]);
}

/* When, from event `k` and label `j` on and not after `until`, the target is complete; TASK_EVER if it is not. */
static int64_t target_time(const struct life *l, uint32_t k, uint32_t j, int64_t until) {
  uint64_t whole = ((BIT(l->b->parts)) - 1) << MARK_PART, seen = 0;
  uint32_t n = l->v->n, end = n + l->v->labels;
  while (k < n || j < end) {
    uint32_t next = j == end || (k < n && l->v->time[k] <= l->v->time[j]) ? k++ : j++;
    if (l->v->time[next] > until) break;
    seen |= parts(l, next);
    if (seen == whole) return l->v->time[next];
  }
  return TASK_EVER;
}

/* The first label after `moment`. */
static uint32_t first_label(const struct timeline_view *v, int64_t moment) {
  uint32_t j = v->n;
  while (j < v->n + v->labels && v->time[j] <= moment) j++;
  return j;
}

static struct life life_of(const struct task_binding *b, const struct timeline_view *v) {
  struct life l = {b, b->task, v, TASK_EVER, INT64_MIN, INT64_MIN, TASK_EVER, TASK_EVER};
  for (uint32_t k = v->statics; k < v->n; k++) {
    uint64_t m = marks(&l, k);
    if (m & BIT(MARK_BIRTH)) {
      if (l.birth == INT64_MIN) l.birth = v->time[k];
      continue;
    }
    if (l.begin == TASK_EVER) l.begin = v->time[k];
    l.end = v->time[k];
    if ((m & BIT(MARK_DEATH)) && l.death == TASK_EVER) l.death = v->time[k];
  }
  l.first_target = target_time(&l, v->statics, first_label(v, INT64_MIN), TASK_EVER - 1);
  return l;
}

/* Number of events with time <= moment: a prefix, statics included. */
static uint32_t known_at(const struct timeline_view *v, int64_t moment) {
  uint32_t low = v->statics, high = v->n;
  while (low < high) {
    uint32_t mid = low + (high - low) / 2;
    if (v->time[mid] <= moment)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

static bool window_holds(const struct life *l, uint32_t i, int64_t moment, uint32_t n) {
  const struct window *w = &l->t->window[i];
  int64_t to, from = INT64_MIN;
  uint32_t count = 0;
  if (__builtin_add_overflow(moment, w->to, &to)) return w->exclude;
  if (w->from != INT64_MIN && __builtin_add_overflow(moment, w->from, &from)) from = INT64_MIN + 1;
  for (uint32_t k = n; k-- && count < w->min;) {
    int64_t time = l->v->time[k];
    if (time < from) break;
    if (time > to || !(marks(l, k) & BIT(MARK_WINDOW + i))) continue;
    count += value_passes(&w->value, l->v->value[k]);
  }
  return (count >= w->min) != w->exclude;
}

/* True if the moment makes an example. */
static bool label_moment(const struct life *l, int64_t moment, int64_t gap, struct task_example *x) {
  uint32_t n = known_at(l->v, moment);
  if (l->death <= moment) return false; /* nobody asks about the dead */
  if (l->t->new_onset && l->first_target <= moment) return false;
  for (uint32_t i = 0; i < l->t->windows; i++)
    if (!window_holds(l, i, moment, n)) return false;
  int64_t limit = later(moment, l->t->horizon),
          target = target_time(l, n, first_label(l->v, moment), limit == TASK_EVER ? TASK_EVER - 1 : limit);
  if (target <= later(moment, gap)) return false; /* came inside the gap: neither a case nor a control */
  *x = (struct task_example){.subject_index = x->subject_index, .time = moment, .events = n};
  if (target != TASK_EVER) {
    x->label = LABEL_YES;
    x->outcome = target;
  } else if (l->death <= limit && l->death != TASK_EVER) {
    x->label = LABEL_NO; /* died first: it can no longer happen */
    x->outcome = l->death;
  } else if (l->end >= limit || l->t->horizon == TASK_EVER) {
    x->label = LABEL_NO;
    x->outcome = l->end < limit ? l->end : limit;
  } else {
    x->label = l->t->censor_negative ? LABEL_NO : LABEL_CENSORED;
    x->outcome = l->end;
  }
  if (x->outcome < moment) x->outcome = moment; /* the record ended before the moment itself */
  return true;
}

bool task_label_moment(const struct task_binding *b, const struct timeline_view *v, int64_t moment, struct task_example *out) {
  struct life l = life_of(b, v);
  return label_moment(&l, moment, 0, out);
}

struct collector {
  struct task_example *out;
  int cap, n;
  uint32_t subject;
};

static int collect(struct collector *c, const struct life *l, int64_t moment, int64_t gap, struct error *e) {
  struct task_example x = {.subject_index = c->subject};
  if (!label_moment(l, moment, gap, &x)) return OK;
  if (c->n == c->cap) return error_set(e, E_LIMIT, "more than %d examples in one life", c->cap);
  c->out[c->n++] = x;
  return OK;
}

static int by_code(const struct life *l, struct collector *c, int64_t gap, struct error *e) {
  int64_t last = INT64_MIN;
  for (uint32_t k = l->v->statics; k < l->v->n; k++) {
    if (!is_trigger(l, k)) continue;
    if (l->v->time[k] == last) continue; /* two triggers at one instant are one moment */
    last = l->v->time[k];
    if (l->t->which == WHICH_LAST) continue;
    TRY(collect(c, l, later(last, l->t->offset), gap, e));
    if (l->t->which == WHICH_FIRST) return OK;
  }
  return l->t->which == WHICH_LAST && last != INT64_MIN ? collect(c, l, later(last, l->t->offset), gap, e) : OK;
}

static int by_age(const struct life *l, struct collector *c, int64_t gap, struct error *e) {
  if (l->birth == INT64_MIN || l->begin == TASK_EVER) return OK;
  int64_t moment = later(l->birth, l->t->from), stop = later(l->birth, l->t->to);
  if (moment < l->begin) { /* ages before the record began: skip to the first one inside it */
    uint64_t away = (uint64_t)l->begin - (uint64_t)moment, every = (uint64_t)l->t->every;
    moment = (int64_t)((uint64_t)moment + (away + every - 1) / every * every);
    if (moment < l->begin) return OK;
  }
  for (; moment <= l->end && moment <= stop; moment = later(moment, l->t->every)) {
    TRY(collect(c, l, moment, gap, e));
    if (moment == TASK_EVER || l->death <= moment) break;
  }
  return OK;
}

int task_label(const struct task_binding *b, const struct timeline_view *v, uint32_t subject_index, int gap, struct task_example *out,
               int cap, struct error *e) {
  struct collector c = {out, cap, 0, subject_index};
  BUG_IF(gap < 0 || gap >= b->task->gaps);
  struct life l = life_of(b, v);
  int64_t g = b->task->gap[gap];
  int rc = OK;
  switch (b->task->trigger) {
    case TRIGGER_CODE: rc = by_code(&l, &c, g, e); break;
    case TRIGGER_EVERY: rc = by_age(&l, &c, g, e); break;
    case TRIGGER_END: rc = l.end == INT64_MIN ? OK : collect(&c, &l, l.end, g, e); break;
  }
  return rc < 0 ? rc : c.n;
}

/* ---- a question about the present ---- */

static bool triggered(const struct life *l, int64_t moment) {
  const struct task *t = l->t;
  if (t->trigger == TRIGGER_END) return l->end != INT64_MIN;
  if (t->trigger == TRIGGER_EVERY)
    return l->birth != INT64_MIN && l->begin != TASK_EVER && moment >= later(l->birth, t->from) && moment <= later(l->birth, t->to);
  for (uint32_t k = l->v->statics; k < l->v->n; k++)
    if (is_trigger(l, k)) return true;
  return false;
}

/* Has something come after which the target can no longer come? A code trigger after it, or at its instant, opens the question again. */
static bool ended(const struct life *l) {
  for (uint32_t k = l->v->n; k-- > l->v->statics;) {
    if (!(marks(l, k) & BIT(MARK_COMPETING))) continue;
    for (uint32_t i = l->v->n; l->t->trigger == TRIGGER_CODE && i-- > l->v->statics && l->v->time[i] >= l->v->time[k];)
      if (is_trigger(l, i)) return false;
    return true;
  }
  return false;
}

enum task_applies task_applies(const struct task_binding *b, const struct timeline_view *v, uint32_t events, int64_t moment) {
  struct timeline_view known = *v;
  known.n = events;
  known.labels = 0; /* nobody knows them where somebody asks */
  struct life l = life_of(b, &known);
  if (l.death != TASK_EVER) return TASK_DEAD;
  if (l.t->new_onset && l.first_target != TASK_EVER) return TASK_PRIOR;
  if (!triggered(&l, moment)) return TASK_NO_TRIGGER;
  if (ended(&l)) return TASK_ENDED;
  for (uint32_t i = 0; i < l.t->windows; i++)
    if (!window_holds(&l, i, moment, events)) return TASK_WINDOW;
  return TASK_APPLIES;
}

/* ---- a store ---- */

struct growing {
  struct task_example *at;
  uint64_t n, cap;
};

static int label_into(struct growing *g, const struct task_binding *b, const struct timeline_view *v, uint32_t index, int gap,
                      struct error *e) {
  for (;;) {
    struct error tried = {0};
    uint64_t room = g->cap - g->n;
    int got = task_label(b, v, index, gap, g->at + g->n, room < INT32_MAX ? (int)room : INT32_MAX, &tried);
    if (got >= 0) {
      g->n += (uint64_t)got;
      return OK;
    }
    uint64_t cap = g->cap * 2;
    struct task_example *more = cap <= UINT32_MAX ? mem_realloc(g->at, cap * sizeof *more) : NULL;
    if (!more) return error_set(e, cap <= UINT32_MAX ? E_NOMEM : E_LIMIT, "too many examples");
    g->at = more;
    g->cap = cap;
  }
}

int task_label_all(const struct task_binding *b, const struct timeline *store, enum split split, int gap, struct arena *a,
                   struct task_examples *out, struct error *e) {
  struct growing g = {mem_alloc(1024 * sizeof *g.at), 0, 1024};
  int rc = g.at ? OK : error_set(e, E_NOMEM, "no memory for examples");
  *out = (struct task_examples){0};
  for (uint32_t i = 0; rc == OK && i < timeline_subjects(store); i++) {
    struct timeline_view v = timeline_view(store, i);
    if (split == SPLITS || v.split == split) rc = label_into(&g, b, &v, i, gap, e);
  }
  if (rc == OK) {
    out->at = arena_array(a, struct task_example, g.n);
    if (!out->at) rc = error_set(e, E_NOMEM, "no memory for examples");
  }
  for (uint64_t i = 0; rc == OK && i < g.n; i++) {
    out->at[i] = g.at[i];
    out->yes += g.at[i].label == LABEL_YES;
    out->censored += g.at[i].label == LABEL_CENSORED;
    out->n++;
  }
  mem_free(g.at);
  return rc;
}
