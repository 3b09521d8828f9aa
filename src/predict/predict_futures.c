/* Sampled futures. The life so far goes through the model once (prefill); its keys and values are shared by all futures, which then
 * take one instant a step in lock-step, each from its own Philox stream (seed, number of the future): a future does not
 * depend on how many others are drawn.
 *
 * Competing exponentials: with log rates l of the codes, the wait to the next instant is exponential with rate sum exp(l), and who comes
 * is code c with probability exp(l_c) / sum exp(l) (the same law as drawing a time for every code and taking the least).
 * Instants are sets: where the model reads instants, 1 + geometric codes are drawn without repetition, with the training data's mean
 * number; where it reads single events, one. Unknown and static codes are not drawn. A path ends at death, at the horizon, or
 * after PREDICT_STEPS instants (counted in `cut`: their later outcomes are missed, so the share is a lower bound then).
 *
 * Model: the rate of the whole set is one exponential (Delphi, Shmatko et al. 2025); prefix shared as in ETHOS-like simulation. */
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#include <math.h>

#include "base/random.h"
#include "base/time.h"

#define MAX_SET 32

struct stream {
  struct rng rng;
  double days;
  int64_t previous; /* time of the instant before */
  int index;        /* place in the sequence of the next position */
  bool live;
  struct future_event *path;
  int n, cap;
};
struct sampler {
  struct predictor *p;
  struct arena *a;
  double horizon, extra;               /* extra: chance that one more code joins the instant */
  int64_t birth, first, now, previous; /* previous: time of the last event */
  int steps, index;                    /* index: place of the first sampled position */
  struct model_cache *cache;
  uint32_t code[PREDICT_STREAMS][MAX_SET];
  float knot[PREDICT_STREAMS][MAX_SET];
};

static void cumulate(struct sampler *s) {
  struct predictor *p = s->p;
  uint32_t n = vocabulary_codes(p->v);
  double sum = 0;
  for (uint32_t c = 0; c < n; c++) {
    if (c != TOKEN_UNKNOWN && !vocabulary_at(p->v, c)->is_static) sum += exp(fmin(p->rate[c], 60.0f));
    p->cumulative[c] = sum;
  }
}

static uint32_t draw_code(const struct predictor *p, struct rng *r) {
  uint32_t low = 0, high = vocabulary_codes(p->v) - 1;
  double at = rng_uniform(r) * p->cumulative[high];
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    if (p->cumulative[mid] > at)
      high = mid;
    else
      low = mid + 1;
  }
  return low;
}

/* The value head's softmax weighs hat functions around the knots; a hat is the density of the sum of two uniforms. */
static float draw_knot(struct predictor *p, const float *hidden, uint32_t code, struct rng *r) {
  const struct vocabulary_entry *n = vocabulary_at(p->v, code);
  float weight[TOKEN_KNOTS];
  if (n->knots < 2) return NAN;
  model_value(p->m, p->w, hidden, code, weight);
  double at = rng_uniform(r), sum = 0;
  int k = 0;
  for (; k < n->knots - 1; k++) {
    sum += weight[k];
    if (at < sum) break;
  }
  double x = k + rng_uniform(r) + rng_uniform(r) - 1.0;
  if (x < 0) x = -x; /* half a hat at the ends */
  double end = n->knots - 1;
  if (x > end) x = 2 * end - x;
  return (float)x;
}

static int put_event(struct sampler *s, struct stream *t, uint32_t code, float knot, struct error *e) {
  if (t->n == t->cap) {
    int cap = t->cap ? 2 * t->cap : 8;
    struct future_event *path = arena_array(s->a, struct future_event, (size_t)cap);
    if (!path) return error_set(e, E_NOMEM, "no memory for the futures");
    if (t->n) memcpy(path, t->path, (size_t)t->n * sizeof *path);
    t->path = path;
    t->cap = cap;
  }
  t->path[t->n++] = (struct future_event){t->days, code, token_knot_value(vocabulary_at(s->p->v, code), knot)};
  return OK;
}

/* Draws the next instant of one future from the hidden row that ends it so far; appends its position to the batch. */
static int step(struct sampler *s, struct stream *t, int slot, const float *hidden, struct error *e) {
  struct predictor *p = s->p;
  model_rates(p->m, p->w, hidden, p->rate);
  cumulate(s);
  double total = p->cumulative[vocabulary_codes(p->v) - 1];
  t->live = false;
  if (!(total > 0)) return OK;
  t->days += -log(rng_uniform(&t->rng)) / total;
  if (!(t->days <= s->horizon)) return OK;
  bool death = false;
  int n = 0;
  do {
    uint32_t code = draw_code(p, &t->rng);
    bool again = false;
    for (int k = 0; k < n; k++) again |= s->code[slot][k] == code;
    if (again) continue;
    s->code[slot][n] = code;
    s->knot[slot][n] = draw_knot(p, hidden, code, &t->rng);
    TRY(put_event(s, t, code, s->knot[slot][n], e));
    death |= code == vocabulary_death(p->v);
    n++;
  } while (!death && n < MAX_SET && s->extra > 0 && rng_uniform(&t->rng) < s->extra);
  if (death) return OK;
  t->live = true;
  int64_t time = s->now + (int64_t)(t->days * (double)TIME_DAY);
  struct token_next next = {s->birth, s->first, t->previous, time, t->index++, n, s->code[slot], s->knot[slot]};
  t->previous = time;
  return token_pack_next(p->v, &next, &p->batch, e);
}

static int run_streams(struct sampler *s, struct stream *t, int n, const float *start, struct error *e) {
  struct predictor *p = s->p;
  size_t d = (size_t)model_config(p->m)->d;
  float *hidden = mem_alloc((size_t)n * d * sizeof *hidden);
  if (!hidden) return error_set(e, E_NOMEM, "no memory for the futures");
  int who[PREDICT_STREAMS], rc = OK, live = n;
  for (int i = 0; i < n; i++) memcpy(hidden + (size_t)i * d, start, d * sizeof *hidden), who[i] = i;
  model_cache_rewind(s->cache);
  for (int k = 0; k < s->steps && live && rc == OK; k++) {
    int next[PREDICT_STREAMS], m = 0;
    if (k % 8 == 0 && predict_cancelled(p)) {
      rc = error_set(e, E_CANCELLED, "the one who asked has left");
      break;
    }
    token_batch_clear(&p->batch);
    for (int i = 0; i < live && rc == OK; i++) {
      rc = step(s, &t[who[i]], who[i], hidden + (size_t)i * d, e);
      if (rc == OK && t[who[i]].live) next[m++] = who[i];
    }
    live = m;
    memcpy(who, next, (size_t)m * sizeof *who);
    if (rc < 0 || !live || k + 1 == s->steps) break;
    rc = model_decode(p->m, p->w, s->cache, &p->batch, who, e);
    if (rc == OK) memcpy(hidden, model_hidden(p->w), (size_t)live * d * sizeof *hidden);
  }
  mem_free(hidden);
  return rc;
}

/* The hidden row that the first wait is drawn from, and the shared keys and values. A moment later than the last event has a position of its own;
 * the futures start from its hidden row but do not keep it: no life that was trained on has such a position between events.
 * Learned positions end at the context: room for the future is taken from the oldest past. */
static int prefill(struct sampler *s, const struct life *life, float *start, struct error *e) {
  struct predictor *p = s->p;
  const struct model_config *c = model_config(p->m);
  struct token_options o = p->pack;
  struct token_batch *b = &p->batch;
  int room = c->context / 4 > 0 ? c->context / 4 : 1;
  size_t d = (size_t)c->d;
  s->steps = c->position == POSITION_LEARNED && room < PREDICT_STEPS ? room : PREDICT_STEPS;
  if (c->context - room >= 3) o.context = c->context - (room < PREDICT_STEPS ? room : PREDICT_STEPS);
  int64_t end;
  token_life_times(p->map, life->view, life->events, &s->birth, &s->first, &end);
  token_batch_clear(b);
  TRY(token_pack(p->v, p->map, life->view, life->index, life->events, life->now, &o, b, e));
  s->now = s->previous = b->time[b->positions - 1];
  if (s->first == INT64_MIN) s->first = s->now;
  if (end != INT64_MIN && s->now > end) {
    TRY(model_forward(p->m, p->w, b, NULL, e));
    memcpy(start, model_hidden(p->w) + (size_t)(b->positions - 1) * d, d * sizeof *start);
    token_batch_clear(b);
    TRY(token_pack(p->v, p->map, life->view, life->index, life->events, INT64_MIN, &o, b, e));
    s->previous = end;
  }
  s->index = b->positions;
  TRY(model_cache_new(p->m, b->positions, PREDICT_STREAMS, s->steps, &s->cache, e));
  TRY(model_forward(p->m, p->w, b, s->cache, e));
  if (s->previous == s->now) memcpy(start, model_hidden(p->w) + (size_t)(b->positions - 1) * d, d * sizeof *start);
  return OK;
}

static int sample_all(struct sampler *s, const struct life *life, int count, uint64_t seed, struct futures *out, struct error *e) {
  struct predictor *p = s->p;
  float *start = arena_array(s->a, float, (size_t)model_config(p->m)->d);
  if (!start) return error_set(e, E_NOMEM, "no memory for the futures");
  TRY(prefill(s, life, start, e));
  for (int from = 0; from < count; from += PREDICT_STREAMS) {
    struct stream t[PREDICT_STREAMS];
    int n = count - from < PREDICT_STREAMS ? count - from : PREDICT_STREAMS;
    for (int i = 0; i < n; i++) {
      t[i] = (struct stream){.previous = s->previous, .index = s->index, .live = true};
      rng_init(&t[i].rng, seed, (uint64_t)(from + i));
    }
    TRY(run_streams(s, t, n, start, e));
    for (int i = 0; i < n; i++) {
      out->path[from + i] = t[i].path;
      out->n[from + i] = t[i].n;
      out->cut += t[i].live;
    }
  }
  return OK;
}

int predict_sample(struct predictor *p, const struct life *life, int count, double horizon_days, uint64_t seed, struct arena *a,
                   struct futures *out, struct error *e) {
  *out = (struct futures){.count = count};
  if (count < 1 || !(horizon_days > 0)) return error_set(e, E_USAGE, "sampling needs at least one future and a horizon above zero");
  struct sampler *s = arena_new(a, struct sampler);
  out->path = arena_array(a, struct future_event *, (size_t)count);
  out->n = arena_array(a, int, (size_t)count);
  if (!s || !out->path || !out->n) return error_set(e, E_NOMEM, "no memory for the futures");
  double set = vocabulary_instant_events(p->v);
  *s = (struct sampler){.p = p, .a = a, .horizon = fmin(horizon_days, 200 * TIME_YEAR_DAYS)};
  s->extra = p->pack.pack == PACK_INSTANT ? 1 - 1 / set : 0;
  int rc = sample_all(s, life, count, seed, out, e);
  model_cache_free(s->cache);
  s->cache = NULL;
  return rc;
}
