/* Maps and packing. Three passes over a prefix: where the window begins, the input positions, the targets (from the end). */
#include "token/token_private.h"

#include <limits.h>
#include <math.h>

#include "timeline/timeline.h"

/* ---- store code -> vocabulary id ---- */

static uint32_t find_code(const struct vocabulary *v, struct str name) {
  for (int depth = 0; name.n && depth < 64; name = code_parent(name), depth++) {
    uint32_t id;
    if (vocabulary_find(v, name, &id)) return id;
  }
  return TOKEN_UNKNOWN;
}

int token_map_new(const struct vocabulary *v, const struct timeline *store, struct token_map **out, struct error *e) {
  uint32_t n = timeline_codes(store);
  struct token_map *m = mem_alloc(sizeof *m + (size_t)n * (sizeof(uint32_t) + 1));
  if (!m) return error_set(e, E_NOMEM, "no memory for the code map");
  *m = (struct token_map){.v = v, .n = n, .id = (uint32_t *)(m + 1)};
  m->birth = (uint8_t *)(m->id + n);
  for (uint32_t c = 0; c < n; c++) {
    struct str name = timeline_code_name(store, c);
    m->birth[c] = code_is(name, "MEDS_BIRTH");
    m->id[c] = m->birth[c] ? TOKEN_UNKNOWN : find_code(v, name);
  }
  *out = m;
  return OK;
}

void token_map_free(struct token_map *m) { mem_free(m); }
uint32_t token_map_id(const struct token_map *m, uint32_t store_code) { return store_code < m->n ? m->id[store_code] : TOKEN_UNKNOWN; }
bool token_map_birth(const struct token_map *m, uint32_t store_code) { return store_code < m->n && m->birth[store_code]; }

/* ---- values ---- */

void token_knot(const struct vocabulary_entry *n, float value, int *lower, float *fraction) {
  BUG_IF(n->knots < 2);
  int k = 0;
  *fraction = 0;
  if (!(value > n->knot[0])) {
    *lower = 0;
    return;
  }
  if (value >= n->knot[n->knots - 1]) {
    *lower = n->knots - 2;
    *fraction = 1;
    return;
  }
  while (value >= n->knot[k + 1]) k++;
  double f = ((double)value - n->knot[k]) / ((double)n->knot[k + 1] - n->knot[k]);
  *lower = k;
  *fraction = (float)f;
}

float token_knot_value(const struct vocabulary_entry *n, float position) {
  if (n->knots < 2 || isnan(position)) return NAN;
  if (position <= 0) return n->knot[0];
  if (position >= (float)(n->knots - 1)) return n->knot[n->knots - 1];
  int k = (int)position;
  double f = position - (float)k;
  return (float)(n->knot[k] + f * ((double)n->knot[k + 1] - n->knot[k]));
}

static float knot_position(const struct vocabulary_entry *n, float value) {
  int lower;
  float fraction;
  if (n->knots < 2 || isnan(value)) return NAN;
  token_knot(n, value, &lower, &fraction);
  return (float)lower + fraction;
}

/* ---- batch ---- */

int token_batch_init(struct token_batch *b, size_t memory_limit, struct error *e) {
  memset(b, 0, sizeof *b);
  b->outcomes = -1;
  arena_init(&b->arena, memory_limit, 0);
  (void)e;
  return OK;
}

void token_batch_clear(struct token_batch *b) {
  b->sequences = b->positions = b->entries = b->targets = 0;
  b->outcomes = -1;
}

void token_batch_release(struct token_batch *b) {
  arena_free(&b->arena);
  memset(b, 0, sizeof *b);
}

/* Growth doubles and leaves the old array in the arena: at most twice the memory, and none after the first few batches.
 * Where it fails the old array stays. */
static bool grow(struct token_batch *b, void *field, size_t used, size_t cap, size_t size) {
  void *old, *p = arena_alloc_array(&b->arena, size, cap, 64);
  if (!p) return false;
  memcpy(&old, field, sizeof old);
  if (used) memcpy(p, old, used * size);
  memcpy(field, &p, sizeof p);
  return true;
}
#define GROW(b, field, used, cap) grow((b), &(b)->field, (size_t)(used), (size_t)(cap), sizeof *(b)->field)

static int next_cap(int have, int64_t want) {
  int64_t cap = have ? have : 256;
  while (cap < want) cap *= 2;
  return cap > INT_MAX / 64 ? -1 : (int)cap;
}

static int reserve_sequence(struct token_batch *b, int outcomes, struct error *e) {
  if (b->outcomes < 0) b->outcomes = outcomes;
  if (b->outcomes != outcomes) return error_set(e, E_USAGE, "a batch mixes sequences with and without targets");
  if (b->sequences >= b->cap_sequences) {
    int cap = next_cap(b->cap_sequences ? b->cap_sequences : 16, b->sequences + 1);
    if (cap < 0 || !GROW(b, seq_start, b->sequences ? b->sequences + 1 : 0, cap + 1) || !GROW(b, subject_index, b->sequences, cap) ||
        !GROW(b, end_time, b->sequences, cap))
      return error_set(e, E_LIMIT, "the batch is over its memory limit");
    b->cap_sequences = cap;
  }
  size_t want = (size_t)(b->sequences + 1) * (size_t)outcomes, cap = b->cap_outcome_first ? b->cap_outcome_first : 64;
  if (want <= b->cap_outcome_first) return OK;
  while (cap < want) cap *= 2;
  if (!GROW(b, outcome_first, (size_t)b->sequences * (size_t)outcomes, cap))
    return error_set(e, E_LIMIT, "the batch is over its memory limit");
  b->cap_outcome_first = cap;
  return OK;
}

static int reserve_positions(struct token_batch *b, int64_t more, struct error *e) {
  int n = b->positions, cap = next_cap(b->cap_positions, n + more);
  if (n + more <= b->cap_positions) return OK;
  int starts = n ? n + 1 : 0;
  if (cap < 0 || !GROW(b, time, n, cap) || !GROW(b, age_years, n, cap) || !GROW(b, entry_start, starts, cap + 1) ||
      !GROW(b, target_start, starts, cap + 1) || !GROW(b, rope_index, n, cap) || !GROW(b, rope_time, n, cap) ||
      !GROW(b, gap_days, n, cap) || !GROW(b, tail_days, n, cap) ||
      !GROW(b, time_feature, (int64_t)n * TOKEN_TIME_FEATURES, (int64_t)cap * TOKEN_TIME_FEATURES))
    return error_set(e, E_LIMIT, "the batch is over its memory limit");
  b->cap_positions = cap;
  return OK;
}

static int reserve_entries(struct token_batch *b, int64_t more, struct error *e) {
  if (b->entries + more <= b->cap_entries) return OK;
  int cap = next_cap(b->cap_entries, b->entries + more);
  if (cap < 0 || !GROW(b, entry_id, b->entries, cap) || !GROW(b, entry_weight, b->entries, cap))
    return error_set(e, E_LIMIT, "the batch is over its memory limit");
  b->cap_entries = cap;
  return OK;
}

static int reserve_targets(struct token_batch *b, int64_t more, struct error *e) {
  if (b->targets + more <= b->cap_targets) return OK;
  int cap = next_cap(b->cap_targets, b->targets + more);
  if (cap < 0 || !GROW(b, target_id, b->targets, cap) || !GROW(b, target_knot, b->targets, cap))
    return error_set(e, E_LIMIT, "the batch is over its memory limit");
  b->cap_targets = cap;
  return OK;
}

/* ---- one life ---- */

struct packing {
  const struct vocabulary *v;
  const struct token_map *m;
  const struct timeline_view *view;
  const struct token_options *o;
  struct token_batch *b;
  uint32_t events, statics; /* of the prefix */
  uint32_t window;          /* first event of the window (an instant's first) */
  int64_t birth, first, last, now;
  bool moment;
  int positions; /* static + window + moment */
};

void token_life_times(const struct token_map *m, const struct timeline_view *view, uint32_t events, int64_t *birth, int64_t *first,
                      int64_t *last) {
  *birth = *first = *last = INT64_MIN;
  uint32_t k = view->statics < events ? view->statics : events;
  for (; k < events; k++) { /* births come first in time: normally this looks at one or two events */
    bool is_birth = token_map_birth(m, view->code[k]);
    if (is_birth && *birth == INT64_MIN) *birth = view->time[k];
    if (!is_birth) {
      *first = view->time[k];
      break;
    }
  }
  for (uint32_t j = k; j < events && *birth == INT64_MIN && view->time[j] == *first; j++) /* born at the instant of the first event */
    if (token_map_birth(m, view->code[j])) *birth = view->time[j];
  for (k = events; k > view->statics && *last == INT64_MIN; k--)
    if (!token_map_birth(m, view->code[k - 1])) *last = view->time[k - 1];
}

/* Goes back from the end until context - 1 positions are used; instants are never cut in PACK_INSTANT. */
static void find_window(struct packing *p) {
  int room = p->o->context - 1 - p->moment;
  uint32_t k = p->events;
  p->window = p->events;
  p->positions = 1 + p->moment;
  while (k > p->statics && room > 0) {
    uint32_t from = k - 1;
    bool any = !token_map_birth(p->m, p->view->code[from]);
    if (p->o->pack == PACK_INSTANT)
      while (from > p->statics && p->view->time[from - 1] == p->view->time[k - 1]) any |= !token_map_birth(p->m, p->view->code[--from]);
    if (any) {
      room--;
      p->positions++;
      p->window = from;
    }
    k = from;
  }
}

static void add_event(struct packing *p, uint32_t k) {
  struct token_batch *b = p->b;
  uint32_t id = token_map_id(p->m, p->view->code[k]);
  b->entry_id[b->entries] = (int32_t)id;
  b->entry_weight[b->entries++] = 1.0f;
  const struct vocabulary_entry *n = &p->v->entry[id];
  float value = p->view->value[k];
  if (n->knots < 2 || isnan(value)) return;
  int lower;
  float f;
  token_knot(n, value, &lower, &f);
  b->entry_id[b->entries] = (int32_t)n->knot_row + lower;
  b->entry_weight[b->entries++] = 1.0f - f;
  b->entry_id[b->entries] = (int32_t)n->knot_row + lower + 1;
  b->entry_weight[b->entries++] = f;
}

static void end_position(struct token_batch *b, const struct token_moment *m, int index) {
  int r = b->positions++;
  b->time[r] = m->time;
  token_time_features(m, b->time_feature + (size_t)r * TOKEN_TIME_FEATURES, &b->age_years[r], &b->rope_time[r]);
  b->rope_index[r] = (float)index;
  b->entry_start[r + 1] = b->entries;
  b->target_start[r + 1] = b->targets;
  b->gap_days[r] = NAN;
  b->tail_days[r] = NAN;
}

static void add_positions(struct packing *p) {
  struct token_moment m = {
      .has_age = p->birth != INT64_MIN, .birth = p->birth, .first = p->first, .time = p->first, .previous = p->first, .is_static = true};
  const struct timeline_view *v = p->view;
  int index = 0;
  for (uint32_t k = 0; k < p->statics; k++)
    if (!token_map_birth(p->m, v->code[k])) add_event(p, k), m.events++;
  end_position(p->b, &m, index++);
  m.is_static = false;
  for (uint32_t k = p->window; k > p->statics; k--) { /* the gap of the window's first instant is true even where earlier ones were cut */
    if (token_map_birth(p->m, v->code[k - 1])) continue;
    m.previous = v->time[k - 1];
    break;
  }
  for (uint32_t k = p->window; k < p->events;) {
    uint32_t to = k + 1;
    if (p->o->pack == PACK_INSTANT)
      while (to < p->events && v->time[to] == v->time[k]) to++;
    m.events = 0;
    m.time = v->time[k];
    for (; k < to; k++)
      if (!token_map_birth(p->m, v->code[k])) add_event(p, k), m.events++;
    if (!m.events) continue;
    end_position(p->b, &m, index++);
    m.previous = m.time;
  }
  if (!p->moment) return;
  m.is_moment = true;
  m.events = 0;
  m.time = p->now;
  end_position(p->b, &m, index);
}

/* ---- targets ---- */

static bool is_target(const struct packing *p, uint32_t k, uint32_t *id) {
  *id = token_map_id(p->m, p->view->code[k]);
  return *id != TOKEN_UNKNOWN && !p->v->entry[*id].is_static;
}

/* The first instant later than `after`, from event k on, that has a target: [*from, *to). */
static bool next_instant(const struct packing *p, int64_t after, uint32_t k, uint32_t *from, uint32_t *to) {
  const struct timeline_view *v = p->view;
  while (k < v->n && v->time[k] <= after) k++;
  while (k < v->n) {
    uint32_t end = k, id;
    bool any = false;
    for (; end < v->n && v->time[end] == v->time[k]; end++) any |= is_target(p, end, &id);
    *from = k;
    *to = end;
    if (any) return true;
    k = end;
  }
  *from = *to = v->n;
  return false;
}

static int add_targets(struct packing *p, int tie, uint32_t from, uint32_t to, struct error *e) {
  struct token_batch *b = p->b;
  TRY(reserve_targets(b, to - from, e));
  uint32_t n = to - from, skip = 0, most = n, id;
  if (p->o->pack == PACK_EVENT && n > TOKEN_EVENT_TARGETS) {
    most = TOKEN_EVENT_TARGETS;
    skip = (uint32_t)((uint64_t)tie * TOKEN_EVENT_TARGETS % n);
  }
  for (uint32_t j = 0; j < most; j++) {
    uint32_t k = from + (skip + j) % n;
    if (!is_target(p, k, &id)) continue;
    b->target_id[b->targets] = (int32_t)id;
    b->target_knot[b->targets++] = knot_position(&p->v->entry[id], p->view->value[k]);
  }
  return OK;
}

static float days_between(int64_t from, int64_t to) { return to > from ? (float)(((double)to - (double)from) / (double)TIME_DAY) : 0.0f; }

static int fill_targets(struct packing *p, int row, int64_t end, struct error *e) {
  struct token_batch *b = p->b;
  uint32_t from = p->view->statics, to = from, k = from;
  int64_t looked = INT64_MIN;
  bool found = false;
  int tie = 0;
  for (int r = row; r < b->positions; r++) {
    int64_t t = b->time[r];
    tie = r > row && t == b->time[r - 1] ? tie + 1 : 0;
    if (looked == INT64_MIN || (found && t >= p->view->time[from])) found = next_instant(p, t, k, &from, &to);
    looked = t;
    if (found) k = from;
    b->tail_days[r] = days_between(t, end);
    b->gap_days[r] = NAN;
    b->target_start[r] = b->targets;
    if (found) {
      TRY(add_targets(p, tie, from, to, e));
      if (b->targets > b->target_start[r])
        b->gap_days[r] = days_between(t, p->view->time[from]);
      else
        b->tail_days[r] = 0; /* every target of this instant went to tied neighbours: no loss here */
    }
    b->target_start[r + 1] = b->targets;
  }
  return OK;
}

static void fill_outcomes(const struct packing *p, int64_t *first) {
  const struct timeline_view *v = p->view;
  for (int o = 0; o < p->b->outcomes; o++) first[o] = INT64_MAX;
  for (uint32_t k = 0; k < v->n; k++) {
    int32_t o = p->v->entry[token_map_id(p->m, v->code[k])].outcome;
    if (o < 0) continue;
    int64_t t = k < v->statics ? INT64_MIN : v->time[k];
    if (t < first[o]) first[o] = t;
  }
}

static int prepare(struct packing *p, int64_t now, struct error *e) {
  BUG_IF(p->events > p->view->n);
  if (p->o->context < 3) return error_set(e, E_USAGE, "a context holds at least three positions");
  p->statics = p->view->statics < p->events ? p->view->statics : p->events;
  token_life_times(p->m, p->view, p->events, &p->birth, &p->first, &p->last);
  bool timed = p->last != INT64_MIN;
  if (now == INT64_MIN)
    p->now = timed ? p->last : p->birth != INT64_MIN ? p->birth : 0;
  else
    p->now = now;
  if (timed && p->now < p->last) return error_set(e, E_USAGE, "the moment lies before the last event that may be used");
  if (!timed) p->first = p->now;
  p->moment = now != INT64_MIN && (!timed || now > p->last);
  find_window(p);
  return OK;
}

int token_pack(const struct vocabulary *v, const struct token_map *m, const struct timeline_view *view, uint32_t subject_index,
               uint32_t events, int64_t now, const struct token_options *o, struct token_batch *b, struct error *e) {
  struct packing p = {.v = v, .m = m, .view = view, .o = o, .b = b, .events = events};
  int outcomes = o->want_targets ? (int)v->outcomes : 0, row = b->positions, entries = b->entries;
  TRY(prepare(&p, now, e));
  TRY(reserve_sequence(b, outcomes, e));
  TRY(reserve_positions(b, p.positions, e));
  TRY(reserve_entries(b, 3 * (int64_t)(p.statics + (p.events - p.window)), e));
  if (b->sequences == 0) b->seq_start[0] = 0;
  if (row == 0) b->entry_start[0] = b->target_start[0] = 0;
  add_positions(&p);
  int64_t birth, first, end;
  token_life_times(m, view, view->n, &birth, &first, &end);
  if (end == INT64_MIN || end < p.now) end = p.now;
  if (o->want_targets) {
    int rc = fill_targets(&p, row, end, e);
    if (rc < 0) { /* the batch stays as it was before this sequence */
      b->positions = row;
      b->entries = entries;
      b->targets = row ? b->target_start[row] : 0;
      return rc;
    }
    fill_outcomes(&p, b->outcome_first + (size_t)b->sequences * (size_t)b->outcomes);
  }
  b->subject_index[b->sequences] = subject_index;
  b->end_time[b->sequences] = end;
  b->seq_start[++b->sequences] = b->positions;
  return OK;
}

static void add_code(const struct vocabulary *v, struct token_batch *b, uint32_t id, float knot) {
  const struct vocabulary_entry *n = vocabulary_at(v, id);
  b->entry_id[b->entries] = (int32_t)id;
  b->entry_weight[b->entries++] = 1.0f;
  if (n->knots < 2 || isnan(knot)) return;
  int lower = knot >= (float)(n->knots - 1) ? n->knots - 2 : knot <= 0 ? 0 : (int)knot;
  float f = knot >= (float)(n->knots - 1) ? 1.0f : knot <= 0 ? 0.0f : knot - (float)lower;
  b->entry_id[b->entries] = (int32_t)n->knot_row + lower;
  b->entry_weight[b->entries++] = 1.0f - f;
  b->entry_id[b->entries] = (int32_t)n->knot_row + lower + 1;
  b->entry_weight[b->entries++] = f;
}

int token_pack_next(const struct vocabulary *v, const struct token_next *next, struct token_batch *b, struct error *e) {
  TRY(reserve_sequence(b, 0, e));
  TRY(reserve_positions(b, 1, e));
  TRY(reserve_entries(b, 3 * (int64_t)next->events, e));
  if (b->sequences == 0) b->seq_start[0] = 0;
  if (b->positions == 0) b->entry_start[0] = b->target_start[0] = 0;
  for (int k = 0; k < next->events; k++) add_code(v, b, next->code[k], next->knot[k]);
  struct token_moment m = {.has_age = next->birth != INT64_MIN,
                           .birth = next->birth,
                           .time = next->time,
                           .previous = next->previous,
                           .first = next->first,
                           .is_moment = next->events == 0,
                           .events = next->events};
  end_position(b, &m, next->index);
  b->subject_index[b->sequences] = 0;
  b->end_time[b->sequences] = next->time;
  b->seq_start[++b->sequences] = b->positions;
  return OK;
}
