/* What raised the answer, taken out until it is gone: codes as wholes and single events, greedily.
 *
 * Events that repeat each other each change little when one is taken out alone (predict_explain.c): the last of twelve readings leaves eleven. So here a
 * code goes with all of its events or with its latest few, beside the single events that matter most alone; what lowers the answer most for each event that is lost goes first, and what is
 * left is asked again without it. Every figure is exact: the answer for the life without what is listed so far. What is asked again in each round is what
 * promised most in an earlier one (lazy greedy search, Minoux 1978): gains mostly shrink as others go, so that the rest can wait. */
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/thread.h"

#define CODES 256  /* looked at in a life: the latest ones */
#define SINGLE 24  /* events that matter most alone */
#define AGAIN 16   /* asked again in a round */
#define ROUNDS 3   /* until the best is up to date, at most */
#define LEAST 0.01 /* log odds that are worth a line */

struct candidate {
  uint32_t code, latest; /* so many of the code's latest that are left */
  uint32_t event;        /* or that one alone; UINT32_MAX: no */
  uint32_t n;            /* events that it would take out now */
  double gain;           /* log odds */
  int asked;             /* how much was gone when it was asked */
};
struct reasons {
  struct predictor *p;
  const struct question *q;
  const struct life *life;
  int64_t now;
  uint8_t *gone; /* (events) */
  int taken;
  double log_odds; /* without those */
  struct candidate *c;
  int n;
  struct edited x[EDITED_AT_ONCE];
};

/* Marks what it would take out beside what is gone (`gone` NULL: only counts). */
static uint32_t take_out(const struct reasons *s, const struct candidate *c, uint8_t *gone) {
  uint32_t n = 0, most = c->event == UINT32_MAX ? c->latest : 1;
  for (uint32_t k = s->life->events; k-- > 0 && n < most;) {
    if (s->gone[k] || (c->event == UINT32_MAX ? s->life->view->code[k] != c->code : k != c->event)) continue;
    if (gone) gone[k] = 1;
    n++;
  }
  return n;
}

static int ask(struct reasons *s, struct candidate *const *list, int n, struct error *e) {
  struct life life[EDITED_AT_ONCE] = {0};
  struct answer out[EDITED_AT_ONCE];
  if (cancel_requested() || predict_cancelled(s->p)) return error_set(e, E_CANCELLED, "the one who asked has left");
  for (int i = 0; i < n; i++) {
    memcpy(s->x[i].gone, s->gone, s->life->events);
    list[i]->n = take_out(s, list[i], s->x[i].gone);
    edited_without(s->life, s->now, s->x[i].gone, &s->x[i], &life[i]);
  }
  TRY(predict_lives(s->p, s->q, life, (uint32_t)n, out, e));
  for (int i = 0; i < n; i++) list[i]->gain = s->log_odds - predict_logit(out[i].shipped), list[i]->asked = s->taken;
  return OK;
}

static int ask_all(struct reasons *s, int n, struct error *e) { /* of those in front that are not up to date */
  struct candidate *list[EDITED_AT_ONCE];
  int have = 0;
  for (int i = 0; i < n; i++) {
    if (s->c[i].asked == s->taken) continue;
    list[have++] = &s->c[i];
    if (have == EDITED_AT_ONCE) {
      TRY(ask(s, list, have, e));
      have = 0;
    }
  }
  return have ? ask(s, list, have, e) : OK;
}

static int by_promise(const void *x, const void *y) { /* gain for each event */
  const struct candidate *a = x, *b = y;
  double p = a->n ? a->gain / a->n : -1e300, q = b->n ? b->gain / b->n : -1e300;
  if (p != q) return p < q ? 1 : -1;
  if (a->code != b->code) return a->code < b->code ? -1 : 1;
  if (a->latest != b->latest) return a->latest < b->latest ? -1 : 1;
  return a->event < b->event ? -1 : a->event > b->event;
}

/* Each of the latest codes as a whole and by its latest events, and events that removal one by one has found (if it was asked for). */
static int gather(struct reasons *s, const struct prediction *r, struct error *e) {
  static const uint32_t latest[] = {1, 3, 8};
  const struct timeline_view *v = s->life->view;
  s->c = mem_alloc(((size_t)4 * CODES + SINGLE) * sizeof *s->c);
  if (!s->c) return error_set(e, E_NOMEM, "no memory for the reasons");
  int codes = 0;
  for (uint32_t k = s->life->events; k-- > 0 && codes < CODES;) {
    bool seen = token_map_birth(s->p->map, v->code[k]);
    uint32_t n = 1;
    for (int i = 0; i < s->n && !seen; i++) seen = s->c[i].code == v->code[k];
    if (seen) continue;
    for (uint32_t j = 0; j < k; j++) n += v->code[j] == v->code[k];
    codes++;
    s->c[s->n++] = (struct candidate){v->code[k], UINT32_MAX, UINT32_MAX, 1, 0, -1};
    for (int i = 0; i < 3 && latest[i] < n; i++) s->c[s->n++] = (struct candidate){v->code[k], latest[i], UINT32_MAX, 1, 0, -1};
  }
  for (int i = 0, singles = 0; i < r->contributions && singles < SINGLE; i++) {
    const struct predict_contribution *x = &r->contribution[i];
    if (x->delta > 0) s->c[s->n++] = (struct candidate){v->code[x->event], 0, x->event, 1, 0, -1}, singles++;
  }
  return OK;
}

static void take(struct reasons *s, const struct candidate *c, struct predict_reason *out) {
  const struct timeline_view *v = s->life->view;
  const struct timeline *store = s->p->store;
  out->code = timeline_code_name(store, c->code);
  out->display = timeline_code_display(store, c->code);
  uint8_t *after = s->x[0].gone;
  memcpy(after, s->gone, s->life->events);
  take_out(s, c, after);
  for (uint32_t k = 0; k < s->life->events; k++) {
    if (after[k] == s->gone[k]) continue;
    if (!out->events++) out->first = v->time[k];
    out->last = v->time[k], out->value = v->value[k], out->unit = timeline_unit_name(store, v->unit[k]);
    out->event[out->events - 1] = k;
  }
  for (uint32_t i = 0; i < out->events; i++) s->gone[out->event[i]] = 1;
  s->taken++;
  s->log_odds -= c->gain;
  out->gain = c->gain;
}

/* The next best, up to date; false: nothing is left that raises the answer. */
static int choose(struct reasons *s, bool *any, struct error *e) {
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < s->n; i++) s->c[i].n = take_out(s, &s->c[i], NULL); /* some may have gone with another candidate */
    qsort(s->c, (size_t)s->n, sizeof *s->c, by_promise);
    if (s->c[0].asked == s->taken) break;
    TRY(ask_all(s, s->n < AGAIN ? s->n : AGAIN, e));
    qsort(s->c, (size_t)s->n, sizeof *s->c, by_promise);
  }
  *any = s->c[0].n && s->c[0].asked == s->taken && s->c[0].gain > LEAST;
  return OK;
}

static int search(struct reasons *s, int most, struct arena *a, struct prediction *r, struct error *e) {
  TRY(gather(s, r, e));
  if (!s->n) return OK;
  r->reason = arena_array(a, struct predict_reason, (size_t)most + 1);
  uint32_t *events = arena_array(a, uint32_t, (size_t)s->life->events + 1);
  if (!r->reason || !events) return error_set(e, E_NOMEM, "no memory for the reasons");
  TRY(ask_all(s, s->n, e));
  while (r->reasons < most) {
    bool any;
    TRY(choose(s, &any, e));
    if (!any) break;
    struct predict_reason *x = &r->reason[r->reasons++];
    *x = (struct predict_reason){.event = events};
    take(s, &s->c[0], x);
    x->left = 1 / (1 + exp(-s->log_odds));
    events += x->events;
  }
  return OK;
}

int predict_reasons(struct predictor *p, const struct question *q, const struct life *life, int most, struct arena *a, struct prediction *r,
                    struct error *e) {
  struct reasons s = {.p = p, .q = q, .life = life, .now = r->time, .log_odds = predict_logit(r->probability)};
  s.gone = mem_alloc((size_t)life->events + 1);
  int rc = s.gone ? edited_new(life->events, s.x, e) : error_set(e, E_NOMEM, "no memory for the reasons");
  if (rc == OK) {
    memset(s.gone, 0, life->events);
    rc = search(&s, most, a, r, e);
  }
  edited_free(s.x);
  mem_free(s.gone);
  mem_free(s.c);
  return rc;
}
