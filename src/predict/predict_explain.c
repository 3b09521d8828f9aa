/* Contributing events by exact removal: an event's contribution is the log odds of the shipped answer minus the log odds of the answer
 * for the same life without it, everything recomputed (positions, gaps, tabular features); the moment asked about stays.
 *
 * A life of up to EXPLAIN_VARIANTS events has each one removed. A longer one is searched: stretches of instants are removed, the
 * BEAM stretches that move the answer most are split in parts, and so on down to single events; only single events are
 * listed, so every figure shown is exact, but an event whose effect hides inside a stretch that does not matter as a whole may be missed.
 * Events that repeat each other each get little: what is shown is what one event changes, not shares of the whole. */
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/thread.h"

#define BEAM 8
#define PARTS 8
#define AT_ONCE EDITED_AT_ONCE

struct stretch { /* events [from, to) */
  uint32_t from, to;
  double delta;
};
struct search {
  struct predictor *p;
  const struct question *q;
  const struct life *life;
  int64_t now;
  double base; /* log odds */
  struct stretch level[EXPLAIN_VARIANTS];
  int n;
  double *gradient;       /* (events) or NULL */
  struct stretch *single; /* growable */
  int singles, cap;
};

void edited_without(const struct life *life, int64_t now, const uint8_t *gone, struct edited *x, struct life *out) {
  const struct timeline_view *v = life->view;
  uint32_t n = 0, statics = 0;
  for (uint32_t k = 0; k < life->events; k++) {
    if (gone[k]) continue;
    x->time[n] = v->time[k];
    x->code[n] = v->code[k];
    x->value[n++] = v->value[k];
    statics += k < v->statics;
  }
  x->view = *v;
  x->view.n = n;
  x->view.labels = 0;
  x->view.statics = statics;
  x->view.time = x->time;
  x->view.code = x->code;
  x->view.value = x->value;
  *out = (struct life){.view = &x->view, .index = life->index, .events = n, .now = now};
}

static bool removable(const struct search *s, uint32_t k) { return !token_map_birth(s->p->map, s->life->view->code[k]); }

static void edit(const struct search *s, const struct stretch *out, struct edited *x, struct life *life) {
  for (uint32_t k = 0; k < s->life->events; k++) x->gone[k] = k >= out->from && k < out->to && removable(s, k);
  edited_without(s->life, s->now, x->gone, x, life);
}

static int remove_each(struct search *s, struct edited *x, struct error *e) {
  struct life life[AT_ONCE] = {0};
  struct answer out[AT_ONCE];
  for (int from = 0; from < s->n; from += AT_ONCE) {
    int n = s->n - from < AT_ONCE ? s->n - from : AT_ONCE;
    if (cancel_requested() || predict_cancelled(s->p)) return error_set(e, E_CANCELLED, "interrupted");
    for (int i = 0; i < n; i++) edit(s, &s->level[from + i], &x[i], &life[i]);
    TRY(predict_lives(s->p, s->q, life, (uint32_t)n, out, e));
    for (int i = 0; i < n; i++) s->level[from + i].delta = s->base - predict_logit(out[i].shipped);
  }
  return OK;
}

/* ---- the search ---- */

static bool new_instant(const struct search *s, uint32_t k) {
  const struct timeline_view *v = s->life->view;
  return k <= v->statics || v->time[k] != v->time[k - 1];
}

static uint32_t units(const struct search *s, const struct stretch *r, bool events) {
  uint32_t n = 0;
  for (uint32_t k = r->from; k < r->to; k++) n += events || k == r->from || new_instant(s, k);
  return n;
}

/* Splits into at most `most` parts of whole instants, or of events within one instant. Parts without a removable event are left out. */
static void split(struct search *s, const struct stretch *r, uint32_t most) {
  bool events = units(s, r, false) < 2 || units(s, r, true) <= most;
  uint32_t n = units(s, r, events), parts = n < most ? n : most, unit = 0, part = 0, from = r->from;
  for (uint32_t k = r->from; k < r->to; k++) {
    bool last = k + 1 == r->to;
    if (!last && !events && !new_instant(s, k + 1)) continue;
    unit++;
    if (!last && (uint64_t)unit * parts < (uint64_t)(part + 1) * n) continue;
    bool any = false;
    for (uint32_t j = from; j <= k; j++) any |= removable(s, j);
    if (any && s->n < EXPLAIN_VARIANTS) s->level[s->n++] = (struct stretch){from, k + 1, 0};
    from = k + 1;
    part++;
  }
}

static int by_size(const void *x, const void *y) {
  const struct stretch *a = x, *b = y;
  double p = fabs(a->delta), q = fabs(b->delta);
  if (p != q) return p < q ? 1 : -1;
  return a->from < b->from ? -1 : a->from > b->from;
}

static int keep_single(struct search *s, struct stretch r, struct error *e) {
  if (s->singles == s->cap) {
    int cap = s->cap ? 2 * s->cap : 64;
    struct stretch *p = mem_realloc(s->single, (size_t)cap * sizeof *p);
    if (!p) return error_set(e, E_NOMEM, "no memory for the contributions");
    s->single = p;
    s->cap = cap;
  }
  s->single[s->singles++] = r;
  return OK;
}

static int search_all(struct search *s, struct edited *x, struct error *e) {
  struct stretch whole = {0, s->life->events, 0};
  if (!whole.to) return OK;
  split(s, &whole, EXPLAIN_VARIANTS);
  while (s->n) {
    TRY(remove_each(s, x, e));
    struct stretch wide[EXPLAIN_VARIANTS];
    int n = 0;
    for (int i = 0; i < s->n; i++)
      if (s->level[i].to - s->level[i].from == 1)
        TRY(keep_single(s, s->level[i], e));
      else
        wide[n++] = s->level[i];
    qsort(wide, (size_t)n, sizeof *wide, by_size);
    s->n = 0;
    for (int i = 0; i < n && i < BEAM; i++) split(s, &wide[i], PARTS);
  }
  qsort(s->single, (size_t)s->singles, sizeof *s->single, by_size);
  return OK;
}

/* One batch of removals: the latest event of each of the latest codes. For answers that cannot wait for the search. */
static int latest_codes(struct search *s, struct edited *x, struct error *e) {
  const struct timeline_view *v = s->life->view;
  for (uint32_t k = s->life->events; k-- > 0 && s->n < AT_ONCE;) {
    bool seen = !removable(s, k);
    for (int i = 0; i < s->n && !seen; i++) seen = v->code[s->level[i].from] == v->code[k];
    if (!seen) s->level[s->n++] = (struct stretch){k, k + 1, 0};
  }
  TRY(remove_each(s, x, e));
  for (int i = 0; i < s->n; i++) TRY(keep_single(s, s->level[i], e));
  qsort(s->single, (size_t)s->singles, sizeof *s->single, by_size);
  return OK;
}

static int fill(const struct search *s, int most, struct arena *a, struct prediction *r, struct error *e) {
  const struct timeline_view *v = s->life->view;
  const struct timeline *store = s->p->store;
  int n = s->singles < most ? s->singles : most;
  r->contribution = arena_array(a, struct predict_contribution, (size_t)n + 1);
  if (!r->contribution) return error_set(e, E_NOMEM, "no memory for the contributions");
  for (int i = 0; i < n; i++) {
    uint32_t k = s->single[i].from;
    if (fabs(s->single[i].delta) < 1e-9) break;
    r->contribution[r->contributions++] = (struct predict_contribution){.time = v->time[k],
                                                                        .code = timeline_code_name(store, v->code[k]),
                                                                        .display = timeline_code_display(store, v->code[k]),
                                                                        .unit = timeline_unit_name(store, v->unit[k]),
                                                                        .value = v->value[k],
                                                                        .delta = s->single[i].delta,
                                                                        .gradient = s->gradient ? s->gradient[k] : NAN,
                                                                        .event = k};
  }
  return OK;
}

int edited_new(uint32_t events, struct edited *x, struct error *e) {
  for (int i = 0; i < AT_ONCE; i++) {
    x[i].time = mem_alloc((size_t)events * sizeof *x->time);
    x[i].code = mem_alloc((size_t)events * sizeof *x->code);
    x[i].value = mem_alloc((size_t)events * sizeof *x->value);
    x[i].gone = mem_alloc((size_t)events + 1);
    if (!x[i].time || !x[i].code || !x[i].value || !x[i].gone) return error_set(e, E_NOMEM, "no memory for the contributions");
  }
  return OK;
}

/* ---- integrated gradients: entries of the packed life, given back to its events from the end ---- */

#define GRADIENT_STEPS 16

static int entries_of(const struct predictor *p, const struct timeline_view *v, uint32_t k) {
  if (token_map_birth(p->map, v->code[k])) return 0;
  return 1 + (vocabulary_at(p->v, token_map_id(p->map, v->code[k]))->knots > 1 && !isnan(v->value[k]) ? 2 : 0);
}

static int gradients(struct search *s, struct arena *a, struct error *e) {
  struct predictor *p = s->p;
  struct token_batch *b = &p->batch;
  const struct timeline_view *v = s->life->view;
  double ends[2];
  if (!s->q->head) return OK;
  if (!p->back) TRY(model_workspace_new(p->m, p->pack.context, true, &p->back, e));
  token_batch_clear(b);
  TRY(token_pack(p->v, p->map, v, s->life->index, s->life->events, s->life->now, &p->pack, b, e));
  double *share = arena_array(a, double, (size_t)b->entries + 1), *gradient = arena_array(a, double, (size_t)s->life->events + 1);
  if (!share || !gradient) return error_set(e, E_NOMEM, "no memory for the contributions");
  TRY(model_attribute(p->m, p->back, b, s->q->head, GRADIENT_STEPS, share, ends, e));
  int timed = b->positions > 1 ? b->entry_start[1] : b->entries, at = b->entries;
  for (uint32_t k = s->life->events; k-- > v->statics && at > timed;) /* events before the context have no entries */
    for (int n = entries_of(p, v, k); n > 0 && at > timed; n--) gradient[k] += share[--at];
  at = timed;
  for (uint32_t k = v->statics; k-- > 0;)
    for (int n = entries_of(p, v, k); n > 0 && at > 0; n--) gradient[k] += share[--at];
  token_batch_clear(b);
  s->gradient = gradient;
  return OK;
}

/* ---- other values ---- */

struct try {
  uint32_t event;
  float value;
};

static int try_values(struct search *s, const struct try *list, int n, struct edited *x, double *probability, struct error *e) {
  static const struct stretch nothing = {UINT32_MAX, UINT32_MAX, 0};
  struct life life[AT_ONCE] = {0};
  struct answer out[AT_ONCE];
  for (int from = 0; from < n; from += AT_ONCE) {
    int m = n - from < AT_ONCE ? n - from : AT_ONCE;
    if (cancel_requested() || predict_cancelled(s->p)) return error_set(e, E_CANCELLED, "interrupted");
    for (int i = 0; i < m; i++) edit(s, &nothing, &x[i], &life[i]), x[i].value[list[from + i].event] = list[from + i].value;
    TRY(predict_lives(s->p, s->q, life, (uint32_t)m, out, e));
    for (int i = 0; i < m; i++) probability[from + i] = out[i].shipped;
  }
  return OK;
}

static int by_probability(const void *x, const void *y) {
  const struct predict_change *a = x, *b = y;
  return a->probability < b->probability ? -1 : a->probability > b->probability;
}

/* Of each of the latest codes with a value: the value, among the code's own quantiles, that would have made the lowest answer. */
static int change_all(struct search *s, int most, struct edited *x, struct arena *a, struct prediction *r, struct error *e) {
  enum { CODES = 24 };
  const struct timeline_view *v = s->life->view;
  struct predictor *p = s->p;
  struct try list[TOKEN_KNOTS];
  double probability[TOKEN_KNOTS];
  uint32_t latest[CODES];
  int codes = 0;
  for (uint32_t k = s->life->events; k-- > v->statics && codes < CODES;) {
    bool seen = isnan(v->value[k]) || vocabulary_at(p->v, token_map_id(p->map, v->code[k]))->knots < 2;
    for (int i = 0; i < codes && !seen; i++) seen = v->code[latest[i]] == v->code[k];
    if (!seen) latest[codes++] = k;
  }
  r->change = arena_array(a, struct predict_change, (size_t)codes + 1);
  if (!r->change) return error_set(e, E_NOMEM, "no memory for the changes");
  for (int i = 0; i < codes; i++) {
    uint32_t k = latest[i];
    const struct vocabulary_entry *n = vocabulary_at(p->v, token_map_id(p->map, v->code[k]));
    int best = -1;
    for (int j = 0; j < n->knots; j++) list[j] = (struct try){k, n->knot[j]};
    TRY(try_values(s, list, n->knots, x, probability, e));
    for (int j = 0; j < n->knots; j++)
      if (probability[j] < r->probability && (best < 0 || probability[j] < probability[best])) best = j;
    if (best < 0) continue;
    r->change[r->changes++] = (struct predict_change){.time = v->time[k],
                                                      .code = timeline_code_name(p->store, v->code[k]),
                                                      .display = timeline_code_display(p->store, v->code[k]),
                                                      .unit = timeline_unit_name(p->store, v->unit[k]),
                                                      .value = v->value[k],
                                                      .instead = n->knot[best],
                                                      .probability = probability[best]};
  }
  qsort(r->change, (size_t)r->changes, sizeof *r->change, by_probability);
  if (r->changes > most) r->changes = most;
  return OK;
}

void edited_free(struct edited *x) {
  for (int i = 0; i < AT_ONCE; i++) {
    mem_free(x[i].time);
    mem_free(x[i].code);
    mem_free(x[i].value);
    mem_free(x[i].gone);
  }
}

int predict_change(struct predictor *p, const struct question *q, const struct life *life, int most, struct arena *a, struct prediction *r,
                   struct error *e) {
  struct edited x[AT_ONCE] = {0};
  struct search s = {.p = p, .q = q, .life = life, .now = r->time, .base = predict_logit(r->probability)};
  int rc = edited_new(life->events, x, e);
  if (rc == OK) rc = change_all(&s, most, x, a, r, e);
  edited_free(x);
  return rc;
}

int predict_explain(struct predictor *p, const struct question *q, const struct life *life, int most, bool quick, struct arena *a,
                    struct prediction *r, struct error *e) {
  struct edited x[AT_ONCE] = {0};
  struct search s = {.p = p, .q = q, .life = life, .now = r->time, .base = predict_logit(r->probability)};
  int rc = edited_new(life->events, x, e);
  if (rc == OK) rc = quick ? latest_codes(&s, x, e) : search_all(&s, x, e);
  if (rc == OK && !quick) rc = gradients(&s, a, e);
  if (rc == OK) rc = fill(&s, most, a, r, e);
  edited_free(x);
  mem_free(s.single);
  return rc;
}
