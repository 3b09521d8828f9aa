/* Building a vocabulary from the training split. Codes seen in too few people are not listed (a rare code can identify);
 * what they counted goes to their "//" ancestors, level by level, deepest first, each ancestor judged by the number of distinct
 * people that reach it. */
#include "token/token_private.h"

#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "timeline/timeline.h"

#define NO_NODE UINT32_MAX
#define RESERVOIR 8192 /* values kept per code: the 1 % quantile then has a standard error of 0.1 % */

struct node {                              /* a code of the store or an ancestor of one */
  uint32_t parent, subjects, last_subject; /* last_subject: 1 + index of the person who was counted last */
  uint16_t depth;
  bool exact, keep; /* exact: a code of the store, not only an ancestor */
  uint32_t store_code;
  uint64_t count, timed;
};
struct values { /* of one entry */
  float *sample;
  uint32_t n, cap;
  uint64_t seen;
  double mean, m2;
};
struct builder {
  const struct timeline *t;
  struct vocabulary_options o;
  struct intern names;
  struct node *node;
  uint32_t node_cap, max_depth;
  uint32_t codes;
  uint32_t *assign; /* (codes) node that stands for the code now, NO_NODE = none */
  uint32_t *order;  /* nodes kept, most frequent first */
  uint32_t kept;
  uint64_t subjects, events;
  uint64_t instants, at_instants; /* instants with a listed code; their events */
  uint64_t hours;                 /* of these events, those with a time of day */
  double days;
};

static int add_node(struct builder *b, struct str name, uint32_t *out, struct error *e) {
  uint32_t before = b->names.count, id;
  TRY(intern_put(&b->names, name, &id, e));
  *out = id;
  if (b->names.count == before) return OK;
  if (id >= b->node_cap) {
    uint32_t cap = b->node_cap ? b->node_cap * 2 : 1024;
    struct node *p = mem_realloc(b->node, (size_t)cap * sizeof *p);
    if (!p) return error_set(e, E_NOMEM, "no memory for the codes");
    b->node = p;
    b->node_cap = cap;
  }
  uint32_t parent = NO_NODE;
  struct str up = code_parent(name);
  b->node[id] = (struct node){.parent = NO_NODE, .keep = str_eqc(name, "MEDS_DEATH")};
  if (up.n) TRY(add_node(b, up, &parent, e));
  b->node[id].parent = parent;
  b->node[id].depth = (uint16_t)(parent == NO_NODE ? 1 : b->node[parent].depth + 1);
  if (b->node[id].depth > b->max_depth) b->max_depth = b->node[id].depth;
  return OK;
}

/* A hostile name of thousands of levels would cost a pass over the data each: below this depth it is one level. */
#define DEEPEST 12
static bool too_deep(struct str name) {
  int depth = 1;
  while (name.n && depth <= DEEPEST) name = code_parent(name), depth++;
  return depth > DEEPEST;
}

static int make_nodes(struct builder *b, struct error *e) {
  b->codes = timeline_codes(b->t);
  b->assign = mem_alloc(((size_t)b->codes + 1) * sizeof *b->assign);
  if (!b->assign) return error_set(e, E_NOMEM, "no memory for the codes");
  for (uint32_t c = 0; c < b->codes; c++) {
    struct str name = timeline_code_name(b->t, c);
    b->assign[c] = NO_NODE;
    if (name.n == 0 || code_is(name, "MEDS_BIRTH") || too_deep(name)) continue;
    uint32_t id;
    TRY(add_node(b, name, &id, e));
    b->node[id].exact = true;
    b->node[id].store_code = c;
    b->assign[c] = id;
  }
  return OK;
}

/* Counts events and distinct people of every node under the present assignment. */
static void count_nodes(struct builder *b, bool first_pass) {
  for (uint32_t i = 0; i < b->names.count; i++) b->node[i].count = b->node[i].timed = b->node[i].subjects = b->node[i].last_subject = 0;
  b->instants = b->at_instants = b->hours = 0;
  uint32_t people = timeline_subjects(b->t);
  for (uint32_t s = 0; s < people; s++) {
    struct timeline_view v = timeline_view(b->t, s);
    if (v.split != SPLIT_TRAIN) continue;
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (uint32_t k = 0; k < v.n; k++) {
      uint32_t id = v.code[k] < b->codes ? b->assign[v.code[k]] : NO_NODE;
      if (id == NO_NODE) continue;
      struct node *n = &b->node[id];
      n->count++;
      n->timed += k >= v.statics;
      if (n->last_subject != s + 1) n->subjects++, n->last_subject = s + 1;
      if (k < v.statics) continue;
      if (v.time[k] < first) first = v.time[k];
      b->at_instants++;
      b->hours += v.time[k] % TIME_DAY != 0;
      if (v.time[k] > last) b->instants++, last = v.time[k];
    }
    if (!first_pass) continue;
    b->subjects++;
    b->events += v.n;
    double days = last > first ? ((double)last - (double)first) / (double)TIME_DAY : 0.0;
    b->days += days > 1.0 / 24.0 ? days : 1.0 / 24.0;
  }
}

static bool enough(const struct builder *b, const struct node *n) { return n->subjects >= b->o.min_subjects || (n->keep && n->subjects); }

static void fold_rare(struct builder *b) {
  bool stale = true;
  for (uint32_t depth = b->max_depth; depth >= 1; depth--) {
    if (stale) count_nodes(b, depth == b->max_depth);
    stale = false;
    for (uint32_t c = 0; c < b->codes; c++) {
      uint32_t id = b->assign[c];
      if (id == NO_NODE || b->node[id].depth != depth || enough(b, &b->node[id])) continue;
      b->assign[c] = b->node[id].parent;
      stale = true;
    }
  }
  if (stale || b->max_depth == 0) count_nodes(b, b->max_depth == 0);
}

static int by_count(const void *x, const void *y, void *ctx) {
  const struct builder *b = ctx;
  uint32_t i = *(const uint32_t *)x, j = *(const uint32_t *)y;
  if (b->node[i].count != b->node[j].count) return b->node[i].count < b->node[j].count ? 1 : -1;
  return str_cmp(intern_str(&b->names, i), intern_str(&b->names, j));
}

static int choose_entries(struct builder *b, struct error *e) {
  b->order = mem_alloc(((size_t)b->names.count + 1) * sizeof *b->order);
  if (!b->order) return error_set(e, E_NOMEM, "no memory for the codes");
  for (uint32_t i = 0; i < b->names.count; i++)
    if (b->node[i].count && enough(b, &b->node[i])) b->order[b->kept++] = i;
  qsort_r(b->order, b->kept, sizeof *b->order, by_count, b);
  if (b->kept > b->o.max_codes) {
    for (uint32_t i = b->o.max_codes; i < b->kept; i++)
      if (b->node[b->order[i]].keep) b->order[b->o.max_codes - 1] = b->order[i]; /* death stays */
    b->kept = b->o.max_codes;
  }
  return OK;
}

static int make_entries(const struct builder *b, struct vocabulary *v, struct error *e) {
  v->codes = b->kept + 1;
  v->entry = arena_array(&v->arena, struct vocabulary_entry, v->codes);
  if (!v->entry) return error_set(e, E_NOMEM, "no memory for the vocabulary");
  v->entry[0].outcome = -1;
  v->entry[0].log_rate = VOCABULARY_MIN_LOG_RATE;
  v->entry[0].together = 1;
  v->entry[0].followed_days = -1;
  for (uint32_t i = 1; i < v->codes; i++) {
    const struct node *n = &b->node[b->order[i - 1]];
    struct vocabulary_entry *out = &v->entry[i];
    out->code = str_copy(&v->arena, intern_str(&b->names, b->order[i - 1]));
    struct str display = n->exact ? timeline_code_display(b->t, n->store_code) : STR_NONE;
    out->display = str_copy(&v->arena, display);
    if (!out->code.p || (display.n && !out->display.p)) return error_set(e, E_NOMEM, "no memory for the vocabulary");
    out->count = n->count;
    out->subjects = n->subjects;
    out->is_static = n->timed == 0;
    out->outcome = -1;
    double rate = n->timed && b->days > 0 ? log((double)n->timed / b->days) : VOCABULARY_MIN_LOG_RATE;
    out->log_rate = rate > VOCABULARY_MIN_LOG_RATE ? (float)rate : VOCABULARY_MIN_LOG_RATE;
  }
  return OK;
}

/* ---- sets ---- */

struct in_sets { /* of one entry */
  double picked; /* sum over instants of its share of the instant's events */
  uint64_t instants, last;
};

static uint32_t entry_at(const struct builder *b, const uint32_t *entry_of, uint32_t code) {
  uint32_t id = code < b->codes ? b->assign[code] : NO_NODE;
  return id == NO_NODE ? 0 : entry_of[id];
}

/* How large the sets are that each code comes in. The rates head learns how often a code is the one that a blind pick from the next instant
 * finds; that times the mean size of the sets in which a pick finds it is how often the code is there (predict_law.h). */
static int measure_sets(const struct builder *b, struct vocabulary *v, const uint32_t *entry_of, struct error *e) {
  uint32_t people = timeline_subjects(b->t);
  struct in_sets *x = mem_alloc(v->codes * sizeof *x);
  uint64_t instant = 0;
  if (!x) return error_set(e, E_NOMEM, "no memory for the sets");
  memset(x, 0, v->codes * sizeof *x);
  for (uint32_t s = 0; s < people; s++) {
    struct timeline_view w = timeline_view(b->t, s);
    if (w.split != SPLIT_TRAIN) continue;
    for (uint32_t k = w.statics, to; k < w.n; k = to) {
      uint32_t n = 0;
      for (to = k; to < w.n && w.time[to] == w.time[k]; to++) n += entry_at(b, entry_of, w.code[to]) > 0;
      instant++;
      for (uint32_t j = k; j < to; j++) {
        struct in_sets *y = &x[entry_at(b, entry_of, w.code[j])];
        y->picked += 1.0 / (n ? n : 1);
        if (y->last != instant) y->instants++, y->last = instant;
      }
    }
  }
  for (uint32_t i = 1; i < v->codes; i++) v->entry[i].together = x[i].instants ? (float)fmax(1, (double)x[i].instants / x[i].picked) : 1;
  mem_free(x);
  return OK;
}

/* ---- follow-up ---- */

struct follow_up { /* of one entry */
  uint32_t last_subject, n;
  float longest[VOCABULARY_FOLLOWED]; /* days, ascending */
};

static void add_follow_up(struct follow_up *f, float days) {
  if (f->n == VOCABULARY_FOLLOWED) {
    if (days <= f->longest[0]) return;
    memmove(f->longest, f->longest + 1, (VOCABULARY_FOLLOWED - 1) * sizeof *f->longest);
    f->n--;
  }
  uint32_t at = f->n++;
  for (; at > 0 && f->longest[at - 1] > days; at--) f->longest[at] = f->longest[at - 1];
  f->longest[at] = days;
}

/* What nobody was followed for cannot be learned: after a discharge at which records end, say, the rates head has seen no day at all. */
static int measure_follow_up(const struct builder *b, struct vocabulary *v, const uint32_t *entry_of, struct error *e) {
  uint32_t people = timeline_subjects(b->t);
  struct follow_up *x = mem_alloc(v->codes * sizeof *x);
  if (!x) return error_set(e, E_NOMEM, "no memory for the follow-up");
  memset(x, 0, v->codes * sizeof *x);
  for (uint32_t s = 0; s < people; s++) {
    struct timeline_view w = timeline_view(b->t, s);
    if (w.split != SPLIT_TRAIN) continue;
    for (uint32_t k = w.statics; k < w.n; k++) {
      struct follow_up *f = &x[entry_at(b, entry_of, w.code[k])];
      if (f->last_subject == s + 1) continue;
      f->last_subject = s + 1;
      add_follow_up(f, (float)(((double)w.time[w.n - 1] - (double)w.time[k]) / (double)TIME_DAY));
    }
  }
  for (uint32_t i = 1; i < v->codes; i++) v->entry[i].followed_days = x[i].n == VOCABULARY_FOLLOWED ? x[i].longest[0] : -1;
  mem_free(x);
  return OK;
}

static int measure(const struct builder *b, struct vocabulary *v, struct error *e) {
  uint32_t *entry_of = mem_alloc(((size_t)b->names.count + 1) * sizeof *entry_of);
  if (!entry_of) return error_set(e, E_NOMEM, "no memory for the entries");
  memset(entry_of, 0, ((size_t)b->names.count + 1) * sizeof *entry_of);
  for (uint32_t i = 1; i < v->codes; i++) entry_of[b->order[i - 1]] = i;
  int rc = measure_sets(b, v, entry_of, e);
  if (rc == OK) rc = measure_follow_up(b, v, entry_of, e);
  mem_free(entry_of);
  return rc;
}

/* ---- values ---- */

static int add_value(struct values *x, float value, uint64_t salt, struct error *e) {
  x->seen++;
  double d = value - x->mean;
  x->mean += d / (double)x->seen;
  x->m2 += d * (value - x->mean);
  if (x->n == x->cap && x->cap < RESERVOIR) {
    uint32_t cap = x->cap ? x->cap * 2 : 64;
    float *p = mem_realloc(x->sample, cap * sizeof *p);
    if (!p) return error_set(e, E_NOMEM, "no memory for the quantiles");
    x->sample = p;
    x->cap = cap;
  }
  if (x->n < x->cap) {
    x->sample[x->n++] = value;
    return OK;
  }
  uint64_t at =
      hash64_u64(x->seen ^ salt) % x->seen; /* reservoir sampling (Vitter 1985, algorithm R), drawn from a hash: same data, same sample */
  if (at < RESERVOIR) x->sample[at] = value;
  return OK;
}

static int by_value(const void *x, const void *y) {
  float a = *(const float *)x, b = *(const float *)y;
  return (a > b) - (a < b);
}

static void set_knots(struct values *x, uint32_t guard, struct vocabulary_entry *n) {
  static const double level[TOKEN_KNOTS] = {.01, .04, .10, .20, .32, .44, .56, .68, .80, .90, .96, .99};
  if (x->n == 0) return;
  qsort(x->sample, x->n, sizeof *x->sample, by_value);
  n->mean = (float)x->mean;
  n->sd = (float)sqrt(x->m2 / (double)x->seen);
  if (!isfinite(n->mean) || !isfinite(n->sd)) n->mean = n->sd = 0;
  for (int k = 0; k < TOKEN_KNOTS; k++) {
    float q = x->sample[(uint32_t)(level[k] * (double)(x->n - 1) + 0.5)] + 0.0f; /* + 0: no negative zero */
    if (n->knots == 0 || q > n->knot[n->knots - 1]) n->knot[n->knots++] = q;
  }
  if (n->knots < 2) { /* nearly constant: the ends, but not the extremes of a few people */
    uint32_t in = guard ? guard - 1 : 0;
    n->knots = 0;
    if (x->n > 2 * in && x->sample[in] < x->sample[x->n - 1 - in]) {
      n->knot[0] = x->sample[in];
      n->knot[1] = x->sample[x->n - 1 - in];
      n->knots = 2;
    }
  }
  for (int k = n->knots; k < TOKEN_KNOTS; k++) n->knot[k] = 0;
  if (n->knots == 0) n->mean = n->sd = 0;
}

static int collect(const struct builder *b, const uint32_t *entry_of, struct values *x, struct error *e) {
  uint32_t people = timeline_subjects(b->t);
  for (uint32_t s = 0; s < people; s++) {
    struct timeline_view v = timeline_view(b->t, s);
    if (v.split != SPLIT_TRAIN) continue;
    for (uint32_t k = 0; k < v.n; k++) {
      if (!isfinite(v.value[k]) || v.code[k] >= b->codes) continue;
      uint32_t i = entry_of[v.code[k]];
      if (i) TRY(add_value(&x[i], v.value[k], (uint64_t)i << 40, e));
    }
  }
  return OK;
}

/* Only values under the entry's own name: the values of different rare codes folded into one ancestor have no common scale. */
static int make_knots(const struct builder *b, struct vocabulary *v, uint8_t *mostly_values, struct error *e) {
  uint32_t *entry_of = mem_alloc(((size_t)b->codes + 1) * sizeof *entry_of);
  struct values *x = mem_alloc(v->codes * sizeof *x);
  int rc = entry_of && x ? OK : error_set(e, E_NOMEM, "no memory for the quantiles");
  if (rc < 0) goto out;
  memset(entry_of, 0, ((size_t)b->codes + 1) * sizeof *entry_of);
  memset(x, 0, v->codes * sizeof *x);
  for (uint32_t i = 1; i < v->codes; i++)
    if (b->node[b->order[i - 1]].exact) entry_of[b->node[b->order[i - 1]].store_code] = i;
  rc = collect(b, entry_of, x, e);
  for (uint32_t i = 1; rc == OK && i < v->codes; i++) {
    set_knots(&x[i], b->o.min_subjects, &v->entry[i]);
    mostly_values[i] = 2 * x[i].seen >= v->entry[i].count;
  }
  for (uint32_t i = 0; i < v->codes; i++) mem_free(x[i].sample);
out:
  mem_free(x);
  mem_free(entry_of);
  return rc;
}

/* ---- outcomes ---- */

static int by_subjects(const void *x, const void *y, void *ctx) {
  const struct vocabulary_entry *entry = ctx;
  uint32_t i = *(const uint32_t *)x, j = *(const uint32_t *)y;
  if (entry[i].subjects != entry[j].subjects) return entry[i].subjects < entry[j].subjects ? 1 : -1;
  return i < j ? -1 : i > j;
}

/* What one would ask "will it happen, by when" about: timed codes that are not measurements. Death first, then by people. */
static int choose_outcomes(const struct builder *b, struct vocabulary *v, const uint8_t *mostly_values, struct error *e) {
  uint32_t *list = mem_alloc(((size_t)v->codes + 1) * sizeof *list), n = 0, next = 0;
  if (!list) return error_set(e, E_NOMEM, "no memory for the outcomes");
  for (uint32_t i = 1; i < v->codes; i++) {
    const struct node *node = &b->node[b->order[i - 1]];
    struct vocabulary_entry *x = &v->entry[i];
    if (node->keep)
      x->outcome = (int32_t)next++;
    else if (!x->is_static && node->exact && x->subjects >= b->o.min_outcome_subjects && (x->knots == 0 || !mostly_values[i]))
      list[n++] = i;
  }
  qsort_r(list, n, sizeof *list, by_subjects, v->entry);
  for (uint32_t k = 0; k < n && next < b->o.max_outcomes; k++) v->entry[list[k]].outcome = (int32_t)next++;
  mem_free(list);
  return OK;
}

static int build(struct builder *b, struct vocabulary *v, struct error *e) {
  TRY(make_nodes(b, e));
  fold_rare(b);
  if (b->subjects == 0) return error_set(e, E_INPUT, "the training split holds nobody: no vocabulary can be built");
  TRY(choose_entries(b, e));
  TRY(make_entries(b, v, e));
  TRY(measure(b, v, e));
  uint8_t *mostly_values = mem_alloc(v->codes);
  if (!mostly_values) return error_set(e, E_NOMEM, "no memory for the vocabulary");
  memset(mostly_values, 0, v->codes);
  int rc = make_knots(b, v, mostly_values, e);
  if (rc == OK) rc = choose_outcomes(b, v, mostly_values, e);
  mem_free(mostly_values);
  TRY(rc);
  v->subjects = b->subjects;
  v->events = b->events;
  v->subject_days = b->days;
  v->instant_events = b->instants ? (double)b->at_instants / (double)b->instants : 1.0;
  v->dates = b->instants > 0 && b->hours == 0;
  v->options = b->o;
  const char *source = timeline_hash(b->t);
  if (source) snprintf(v->source, sizeof v->source, "%s", source);
  TRY(vocabulary_index(v, e));
  return vocabulary_encode(v, e);
}

int vocabulary_build(const struct timeline *t, const struct vocabulary_options *o, struct vocabulary **out, struct error *e) {
  struct builder b = {.t = t};
  if (o) b.o = *o;
  if (!b.o.min_subjects) b.o.min_subjects = 5;
  if (!b.o.max_codes) b.o.max_codes = 20000;
  if (!b.o.min_outcome_subjects) b.o.min_outcome_subjects = 20;
  if (!b.o.max_outcomes) b.o.max_outcomes = 512;
  if (b.o.max_codes >= VOCABULARY_MAX_CODES) return error_set(e, E_USAGE, "max_codes is too large");
  struct vocabulary *v = vocabulary_alloc(e);
  if (!v) return E_NOMEM;
  intern_init(&b.names, 0);
  int rc = build(&b, v, e);
  intern_release(&b.names);
  mem_free(b.node);
  mem_free(b.assign);
  mem_free(b.order);
  if (rc < 0) {
    vocabulary_free(v);
    return rc;
  }
  *out = v;
  return OK;
}
