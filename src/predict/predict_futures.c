/* Sampled futures by continuous batching. Every worker (thread) has slots; a slot holds one future of one life, all slots take one instant a step
 * together, and a slot whose future has ended takes the next future at once, of whichever life is next. A life goes through the model once
 * (prefill); its keys and values, and the law of its first wait, are shared by all its futures and all workers.
 *
 * A future has a Philox stream of its own (seed, number of the future), and a row of a decoded batch has the same bits whatever the other
 * rows are: so a future does not depend on how many others are drawn, beside whom, or by how many threads.
 *
 * A path ends at death, at the horizon, when nothing that is watched is open any more (where only that was asked for), or after
 * `steps` instants or `events` events (counted in `cut`: their later outcomes are missed). The law of a step is in predict_law.h, estimators in
 * predict_estimate.h.
 *
 * Model: competing exponentials (Delphi, Shmatko et al. 2025), piecewise where the hazard head knows better; a prefix shared by its continuations as in ETHOS-like
 * simulation; continuous batching after Orca (Yu et al. 2022). */
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#include <math.h>
#include <pthread.h>

#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"

#define MAX_SET 256 /* most codes of one instant */

enum ask_state { ASK_WAITING, ASK_FILLING, ASK_READY };
struct ask { /* one life and what its futures share */
  enum ask_state state;
  int left; /* futures that have not ended */
  struct model_prefix *prefix;
  float *rate, *u; /* (codes), (d): of the first wait */
  double *block;
  struct law law;
  struct law_bend bend;
  uint64_t *had;                       /* outcomes, a bit each */
  int64_t birth, first, now, previous; /* previous: time of the last event */
  int steps, index;                    /* most instants; place of the first sampled position */
};
struct slot {
  struct ask *ask;
  uint32_t life;
  int future, stream;
  struct rng rng;
  double days, followed;    /* followed: how long people were, from the latest instant on */
  int64_t previous;         /* time of the instant before */
  int index, taken, events; /* taken: instants */
  struct future_event *path;
  int n, cap;
};
struct sampler {
  struct predictor *p;
  const struct life *life;
  const uint64_t *seed;
  uint32_t lives;
  const struct sample_options *o;
  struct sample *out; /* (lives) */
  struct ask *ask;    /* (lives) */
  int slots, chunk;   /* slots of a worker; futures handed out together */
  double horizon;
  uint32_t next_life; /* cursor of what is handed out */
  int next_future;
  pthread_mutex_t lock;
  pthread_cond_t filled;
  int rc;
  bool stop;
  struct error error;
};
struct worker {
  struct sampler *s;
  struct model_workspace *w;
  struct model_cache *cache;
  struct token_batch batch, prompt;
  struct arena paths;
  struct slot *slot;           /* (slots) live ones first */
  struct watch_state *state;   /* (streams, watches) */
  int *stream, *idle, idles;   /* stream of each live slot; unused streams */
  float *log_rate, *shift, *u; /* (slots, codes), (slots), (slots, d) */
  float *rate, *tilt;          /* (codes) of the row at hand */
  struct law_bend bend;        /* of the same */
  uint64_t *had;               /* (streams, words) outcomes that each future has had */
  double *block, *more;        /* (blocks) of the first code's draw, of further ones */
  int live;
  uint32_t life; /* futures in hand: [future, end) of life */
  int future, end;
};

/* ---- one instant ---- */

static int put_event(struct worker *w, struct slot *t, uint32_t code, float knot, struct error *e) {
  if (t->n == t->cap) {
    int cap = t->cap ? 2 * t->cap : 8;
    struct future_event *path = arena_array(&w->paths, struct future_event, (size_t)cap);
    if (!path) return error_set(e, E_NOMEM, "no memory for the futures");
    if (t->n) memcpy(path, t->path, (size_t)t->n * sizeof *path);
    t->path = path;
    t->cap = cap;
  }
  t->path[t->n++] = (struct future_event){t->days, code, token_knot_value(vocabulary_at(w->s->p->v, code), knot)};
  return OK;
}

/* The value head's softmax weighs hat functions around the knots; a hat is the density of the sum of two uniforms. */
static float draw_knot(const struct predictor *p, const float *u, uint32_t code, struct rng *r) {
  const struct vocabulary_entry *n = vocabulary_at(p->v, code);
  float weight[TOKEN_KNOTS];
  if (n->knots < 2) return NAN;
  model_decode_knots(p->m, u, code, weight);
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

/* How an instant's set is drawn: the first code by `law`, further ones by `joins`, as many as the first one's size says times `stay`. */
struct set_law {
  const struct law *law;
  const float *joins;
  double stay;
};

static int draw_set(struct worker *w, struct slot *t, const struct set_law *by, const float *u, uint32_t *code, float *knot, int *n,
                    bool *death, struct error *e) {
  struct predictor *p = w->s->p;
  const struct sample_options *o = w->s->o;
  struct watch_state *state = w->state + (size_t)t->stream * (size_t)o->watches;
  struct law more = {.total = -1};
  uint32_t c = law_draw(by->law, &p->shape, &t->rng);
  double mean = by->law->joins > 0 ? (p->shape.size[p->shape.size_of[c]] - 1) * by->stay : 0; /* what is left of it */
  *n = 0;
  *death = false;
  for (;;) {
    bool repeat = false;
    for (int k = 0; k < *n; k++) repeat |= code[k] == c;
    if (!repeat) {
      code[*n] = c;
      knot[*n] = draw_knot(p, u, c, &t->rng);
      if (o->paths) TRY(put_event(w, t, c, knot[*n], e));
      *death |= p->shape.death[c];
      ++*n;
    }
    if (*n == MAX_SET || !(mean > 0) || !((mean += log(rng_uniform(&t->rng))) > 0)) break;
    if (more.total < 0) {
      more = *by->law, more.block = w->more;
      law_sum(p->m, &p->shape, by->joins, &more);
    }
    if (!(more.total > 0)) break;
    c = law_draw(&more, &p->shape, &t->rng);
  }
  for (int i = 0; i < o->watches && !o->anticipate; i++) watch_set(&o->watch[i], &state[i], &p->shape, code, *n, t->days);
  return OK;
}

/* What a set means for the next wait. */
static void note_set(struct worker *w, struct slot *t, const uint32_t *code, int n) {
  uint64_t *had = w->had + (size_t)t->stream * predict_had_words(w->s->p->m);
  t->followed = INFINITY;
  for (int i = 0; i < n; i++) {
    const struct vocabulary_entry *x = vocabulary_at(w->s->p->v, code[i]);
    if (x->outcome >= 0) had[x->outcome / 64] |= 1ull << x->outcome % 64;
    if (x->followed_days >= 0) t->followed = fmin(t->followed, (double)x->followed_days);
  }
}

static void bend_to(struct worker *w, const struct law_bend *bend, int bin, struct law *law) {
  if (!bend->moves) return;
  law_bend_to(w->s->p->m, &w->s->p->shape, bend, bin, w->rate, law);
  if (w->s->o->watches) law_sizes(&w->s->p->shape, law);
}

static bool nothing_open(const struct worker *w, const struct slot *t) {
  const struct sample_options *o = w->s->o;
  const struct watch_state *state = w->state + (size_t)t->stream * (size_t)o->watches;
  for (int i = 0; i < o->watches; i++)
    if (state[i].open && t->days < o->watch[i].horizon) return false;
  return true;
}

/* The wait to the next instant of a plain future, stretch by stretch of its law; false: it lies beyond the horizon. */
static bool wait_plainly(struct worker *w, struct slot *t, struct law *law, const struct law_bend *bend, struct set_law *by) {
  const struct sample_options *o = w->s->o;
  const struct law_shape *s = &w->s->p->shape;
  struct watch_state *state = w->state + (size_t)t->stream * (size_t)o->watches;
  *by = (struct set_law){law, s->joins, 1};
  if (!(law->total > 0)) return false;
  double left = -log(rng_uniform(&t->rng)), since = t->days;
  for (int bin = 0; t->days <= w->s->horizon; bin++) {
    double total = (bend->moves ? bend->total[bin] : law->total) * law->scale, until = t->days + left / total;
    double end = since + law_bend_end(bend, bin), stop = fmin(until, end);
    if (o->watches || until <= end) bend_to(w, bend, bin, law);
    for (int i = 0; i < o->watches; i++) watch_pass(&o->watch[i], &state[i], s, law, t->days, stop);
    left -= total * (stop - t->days);
    t->days = stop;
    if (until <= end) return t->days <= w->s->horizon;
  }
  return false;
}

/* The law given that the set holds nothing outside `mask`: a first code counts by the chance that what joins it stays inside too. */
static void stay_inside(struct worker *w, struct law *law, const float *mask, double outside) {
  const struct law_shape *s = &w->s->p->shape;
  float stays[LAW_SIZES];
  for (int k = 0; k < s->sizes; k++) stays[k] = (float)exp(-(s->size[k] - 1) * outside);
  for (uint32_t c = 0; c < s->blocks * LAW_BLOCK; c++) w->tilt[c] = mask[c] * stays[s->size_of[c]];
  law_sum(w->s->p->m, s, w->tilt, law);
}

/* The same for anticipated hazards: what is watched cannot come, and the chance of that is booked, inside the gap and after it. */
static bool wait_avoiding(struct worker *w, struct slot *t, struct law *law, const struct law_bend *bend, struct set_law *by) {
  const struct sample_options *o = w->s->o;
  const struct watch *q = o->watch;
  struct watch_state *state = &w->state[(size_t)t->stream];
  if (!(law->all > 0)) return false;
  double since = t->days;
  for (int bin = 0; t->days < q->horizon;) {
    bool early = t->days < q->gap;
    double end = since + law_bend_end(bend, bin), bound = fmin(end, early ? fmin(q->gap, q->horizon) : q->horizon), outside;
    bend_to(w, bend, bin, law);
    struct law_meeting x = watch_meet(q, law, &w->s->p->shape, &outside);
    double either = x.target + x.end, away = law->all * law->scale * either; /* rate at which an instant would decide */
    stay_inside(w, law, o->without, outside);
    double total = law->total * law->scale, until = total > 0 ? t->days - log(rng_uniform(&t->rng)) / total : INFINITY;
    double stop = fmin(until, bound), left = exp(-away * (stop - t->days));
    if (x.target > 0) *(early ? &state->inside : &state->value) += state->survive * (1 - left) * x.target / either;
    state->survive *= left;
    t->days = stop;
    *by = (struct set_law){law, o->without_joins, 1 - outside};
    if (until <= bound) return true;
    bin += bound >= end;
  }
  return false;
}

/* The time of an instant as the model reads it. Waits go on from where they ended; for a model that has only ever read dates it stands at the
 * nearest one, a day after the instant before at the earliest, since what is recorded on one day is one instant. */
static int64_t when(const struct predictor *p, const struct slot *t) {
  int64_t time = t->ask->now + (int64_t)(t->days * (double)TIME_DAY);
  if (!vocabulary_dates(p->v)) return time;
  int64_t day = time_day(time + TIME_DAY / 2) * TIME_DAY, least = t->previous + TIME_DAY;
  return day > least ? day : least;
}

/* Draws the next instant of one future from the law of its last position; appends the new position to the batch, or ends the future. */
static int step(struct worker *w, struct slot *t, struct law *law, const struct law_bend *bend, const float *u, bool *live,
                struct error *e) {
  struct sampler *s = w->s;
  struct predictor *p = s->p;
  uint32_t code[MAX_SET];
  float knot[MAX_SET];
  struct set_law by;
  bool death;
  int n;
  *live = false;
  if (!(s->o->anticipate ? wait_avoiding(w, t, law, bend, &by) : wait_plainly(w, t, law, bend, &by))) return OK;
  TRY(draw_set(w, t, &by, u, code, knot, &n, &death, e));
  if (death || (!s->o->paths && nothing_open(w, t))) return OK;
  t->events += n;
  if (++t->taken >= t->ask->steps || (s->o->events && t->events >= s->o->events)) {
    pthread_mutex_lock(&s->lock);
    s->out[t->life].cut++;
    pthread_mutex_unlock(&s->lock);
    return OK;
  }
  int64_t time = when(p, t);
  struct token_next next = {t->ask->birth, t->ask->first, t->previous, time, t->index++, n, code, knot};
  t->previous = time;
  if (w->had) note_set(w, t, code, n);
  *live = true;
  return token_pack_next(p->v, &next, &w->batch, e);
}

/* ---- a life ---- */

/* The hidden row that the first wait is drawn from, and the shared keys and values. A moment later than the last event has a position of its own;
 * the futures start from its hidden row but do not keep it: no life that was trained on has such a position between events.
 * Learned positions end at the context: room for the future is taken from the oldest past. */
static int prefill(struct worker *w, const struct life *life, struct ask *k, float *start, struct error *e) {
  struct predictor *p = w->s->p;
  const struct model_config *c = model_config(p->m);
  struct token_options o = p->pack;
  struct token_batch *b = &w->prompt;
  int room = c->context / 4 > 0 ? c->context / 4 : 1;
  size_t d = (size_t)c->d;
  k->steps = w->s->o->steps;
  if (c->position == POSITION_LEARNED && room < k->steps) k->steps = room;
  if (c->position == POSITION_LEARNED && c->context - k->steps >= 3) o.context = c->context - k->steps;
  int64_t end;
  token_life_times(p->map, life->view, life->events, &k->birth, &k->first, &end);
  token_batch_clear(b);
  TRY(token_pack(p->v, p->map, life->view, life->index, life->events, life->now, &o, b, e));
  k->now = k->previous = b->time[b->positions - 1];
  if (k->first == INT64_MIN) k->first = k->now;
  if (end != INT64_MIN && k->now > end) {
    TRY(model_forward(p->m, w->w, b, NULL, e));
    memcpy(start, model_hidden(w->w) + (size_t)(b->positions - 1) * d, d * sizeof *start);
    token_batch_clear(b);
    TRY(token_pack(p->v, p->map, life->view, life->index, life->events, INT64_MIN, &o, b, e));
    k->previous = end;
  }
  k->index = b->positions;
  TRY(model_prefix_new(p->m, b->positions, &k->prefix, e));
  TRY(model_forward(p->m, w->w, b, &k->prefix, e));
  if (k->previous == k->now) memcpy(start, model_hidden(w->w) + (size_t)(b->positions - 1) * d, d * sizeof *start);
  return OK;
}

static void forget(struct ask *k) {
  model_prefix_free(k->prefix);
  mem_free(k->rate);
  mem_free(k->u);
  mem_free(k->block);
  mem_free(k->had);
  law_bend_free(&k->bend);
  k->had = NULL;
  k->prefix = NULL;
  k->rate = k->u = NULL;
  k->block = NULL;
}

/* How the rates of the first wait move. */
static int bend_life(struct worker *w, uint32_t life, const float *start, struct error *e) {
  struct predictor *p = w->s->p;
  struct ask *k = &w->s->ask[life];
  k->had = mem_alloc(predict_had_words(p->m) * sizeof *k->had);
  if (!k->had) return error_set(e, E_NOMEM, "no memory for the futures");
  predict_had(p, &w->s->life[life], k->had);
  TRY(law_bend_new(p->m, &k->bend, e));
  law_bend_make(p->m, w->w, &p->shape, &k->law, start, k->had, predict_followed(p, &w->s->life[life]), &k->bend);
  return OK;
}

static int open_life(struct worker *w, uint32_t life, struct error *e) {
  struct predictor *p = w->s->p;
  struct ask *k = &w->s->ask[life];
  size_t d = (size_t)model_config(p->m)->d, codes = (size_t)p->shape.blocks * LAW_BLOCK;
  float shift, *start = mem_alloc(d * sizeof *start);
  k->rate = mem_alloc(codes * sizeof *k->rate);
  k->u = mem_alloc(d * sizeof *k->u);
  k->block = mem_alloc(p->shape.blocks * sizeof *k->block);
  int rc = start && k->rate && k->u && k->block ? OK : error_set(e, E_NOMEM, "no memory for the futures");
  k->law.block = k->block;
  if (rc == OK) rc = prefill(w, &w->s->life[life], k, start, e);
  if (rc == OK) {
    model_decode_rates(p->m, w->w, 1, start, w->log_rate, &shift);
    model_decode_values(p->m, w->w, 1, start, k->u);
    rc = law_make(p->m, &p->shape, w->log_rate, shift, k->rate, &k->law, e);
    if (rc == OK && w->s->o->watches) law_sizes(&p->shape, &k->law);
  }
  if (rc == OK && w->had) rc = bend_life(w, life, start, e);
  token_batch_clear(&w->prompt);
  mem_free(start);
  return rc;
}

/* The first worker that has a life's futures in hand sends it through the model; others wait for it. */
static int await_life(struct worker *w, uint32_t life, struct error *e) {
  struct sampler *s = w->s;
  struct ask *k = &s->ask[life];
  pthread_mutex_lock(&s->lock);
  while (k->state == ASK_FILLING && !s->stop) pthread_cond_wait(&s->filled, &s->lock);
  bool mine = k->state == ASK_WAITING;
  if (mine) k->state = ASK_FILLING;
  bool stop = s->stop;
  pthread_mutex_unlock(&s->lock);
  if (!mine) return stop ? E_CANCELLED : OK;
  int rc = open_life(w, life, e);
  pthread_mutex_lock(&s->lock);
  if (rc == OK) k->state = ASK_READY;
  if (rc < 0) s->stop = true;
  pthread_cond_broadcast(&s->filled);
  pthread_mutex_unlock(&s->lock);
  return rc;
}

/* ---- a worker ---- */

static bool take_futures(struct worker *w) {
  struct sampler *s = w->s;
  pthread_mutex_lock(&s->lock);
  bool any = s->next_life < s->lives && !s->stop;
  if (any) {
    w->life = s->next_life;
    w->future = s->next_future;
    w->end = w->future + s->chunk < s->o->count ? w->future + s->chunk : s->o->count;
    s->next_future = w->end;
    if (w->end == s->o->count) s->next_life++, s->next_future = 0;
  }
  pthread_mutex_unlock(&s->lock);
  return any;
}

static void end_future(struct worker *w, struct slot *t) {
  struct sampler *s = w->s;
  const struct sample_options *o = s->o;
  struct sample *out = &s->out[t->life];
  const struct watch_state *state = w->state + (size_t)t->stream * (size_t)o->watches;
  for (int i = 0; i < o->watches; i++) {
    out->value[(size_t)t->future * (size_t)o->watches + (size_t)i] = state[i].value;
    out->inside[(size_t)t->future * (size_t)o->watches + (size_t)i] = state[i].inside;
    out->met[(size_t)t->future * (size_t)o->watches + (size_t)i] = (uint8_t)state[i].met;
  }
  if (o->paths) out->path[t->future] = t->path, out->n[t->future] = t->n;
  out->instants[t->future] = t->taken;
  pthread_mutex_lock(&s->lock);
  bool last = --t->ask->left == 0;
  pthread_mutex_unlock(&s->lock);
  if (last) forget(t->ask);
}

static int start_future(struct worker *w, struct slot *t, bool *live, struct error *e) {
  struct sampler *s = w->s;
  const struct sample_options *o = s->o;
  struct ask *k = &s->ask[w->life];
  *t = (struct slot){.ask = k, .life = w->life, .future = w->future++, .previous = k->previous, .index = k->index};
  t->stream = w->idle[w->idles - 1];
  for (int i = 0; i < o->watches; i++)
    w->state[(size_t)t->stream * (size_t)o->watches + (size_t)i] = (struct watch_state){.survive = 1, .open = true};
  rng_init(&t->rng, s->seed[t->life], (uint64_t)t->future | (o->anticipate ? 1ull << 63 : 0));
  TRY(model_cache_bind(w->cache, t->stream, k->prefix, e));
  struct law law = k->law;
  if (o->anticipate || k->bend.moves) { /* its sums are taken anew */
    memcpy(w->block, k->block, s->p->shape.blocks * sizeof *w->block);
    law.block = w->block;
  }
  if (k->bend.moves) {
    memcpy(w->rate, k->rate, s->p->shape.blocks * LAW_BLOCK * sizeof *w->rate);
    law.rate = w->rate;
  }
  if (w->had) memcpy(w->had + (size_t)t->stream * predict_had_words(s->p->m), k->had, predict_had_words(s->p->m) * sizeof *w->had);
  TRY(step(w, t, &law, &k->bend, k->u, live, e));
  if (*live)
    w->idles--;
  else
    end_future(w, t);
  return OK;
}

static void bend_row(struct worker *w, const struct slot *t, const struct law *law, const float *hidden) {
  const struct predictor *p = w->s->p;
  const uint64_t *had = w->had + (size_t)t->stream * predict_had_words(p->m);
  law_bend_make(p->m, w->w, &p->shape, law, hidden, had, t->followed, &w->bend);
}

/* All live futures take their next instant from the decoded rows. */
static int advance(struct worker *w, struct error *e) {
  struct predictor *p = w->s->p;
  size_t codes = p->shape.codes, d = (size_t)model_config(p->m)->d;
  int kept = 0;
  const float *hidden = model_hidden(w->w);
  token_batch_clear(&w->batch);
  if (!w->live) return OK;
  model_decode_rates(p->m, w->w, w->live, hidden, w->log_rate, w->shift);
  if (p->values) model_decode_values(p->m, w->w, w->live, hidden, w->u);
  for (int i = 0; i < w->live; i++) {
    struct law law = {.block = w->block};
    bool live;
    TRY(law_make(p->m, &p->shape, w->log_rate + (size_t)i * codes, w->shift[i], w->rate, &law, e));
    if (w->s->o->watches) law_sizes(&p->shape, &law);
    if (w->had) bend_row(w, &w->slot[i], &law, hidden + (size_t)i * d);
    TRY(step(w, &w->slot[i], &law, &w->bend, w->u + (size_t)i * d, &live, e));
    if (live) {
      w->slot[kept++] = w->slot[i];
    } else {
      w->idle[w->idles++] = w->slot[i].stream;
      end_future(w, &w->slot[i]);
    }
  }
  w->live = kept;
  return OK;
}

/* Free slots take new futures, of whichever life is next. */
static int refill(struct worker *w, struct error *e) {
  while (w->live < w->s->slots) {
    bool live;
    if (w->future == w->end && !take_futures(w)) return OK;
    TRY(await_life(w, w->life, e));
    TRY(start_future(w, &w->slot[w->live], &live, e));
    w->live += live;
  }
  return OK;
}

static int run_worker(struct worker *w, int worker, struct error *e) {
  struct sampler *s = w->s;
  for (int k = 0;; k++) {
    if (worker == 0 && k % 8 == 0 && predict_cancelled(s->p)) return error_set(e, E_CANCELLED, "the one who asked has left");
    pthread_mutex_lock(&s->lock);
    bool stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    if (stop) return E_CANCELLED; /* another worker says why */
    TRY(advance(w, e));
    TRY(refill(w, e));
    if (!w->live) return OK;
    for (int i = 0; i < w->live; i++) w->stream[i] = w->slot[i].stream;
    TRY(model_decode(s->p->m, w->w, w->cache, &w->batch, w->stream, e));
  }
}

static int worker_open(struct worker *w, struct sampler *s, struct error *e) {
  const struct model_config *c = model_config(s->p->m);
  size_t n = (size_t)s->slots, d = (size_t)c->d;
  *w = (struct worker){.s = s, .idles = s->slots};
  arena_init(&w->paths, 0, 0);
  w->slot = mem_alloc(n * sizeof *w->slot);
  w->state = mem_alloc((n * (size_t)s->o->watches + 1) * sizeof *w->state);
  w->stream = mem_alloc(n * sizeof *w->stream);
  w->idle = mem_alloc(n * sizeof *w->idle);
  w->log_rate = mem_alloc(n * s->p->shape.codes * sizeof *w->log_rate);
  w->shift = mem_alloc(n * sizeof *w->shift);
  w->u = mem_alloc(n * d * sizeof *w->u);
  w->rate = mem_alloc((size_t)s->p->shape.blocks * LAW_BLOCK * sizeof *w->rate);
  w->tilt = mem_alloc((size_t)s->p->shape.blocks * LAW_BLOCK * sizeof *w->tilt);
  w->block = mem_alloc(s->p->shape.blocks * sizeof *w->block);
  w->more = mem_alloc(s->p->shape.blocks * sizeof *w->more);
  if (!w->slot || !w->state || !w->stream || !w->idle || !w->log_rate || !w->shift || !w->u || !w->rate || !w->tilt || !w->block ||
      !w->more)
    return error_set(e, E_NOMEM, "no memory for the futures");
  if (law_bends(s->p->m)) {
    w->had = mem_alloc(n * predict_had_words(s->p->m) * sizeof *w->had);
    if (!w->had) return error_set(e, E_NOMEM, "no memory for the futures");
    TRY(law_bend_new(s->p->m, &w->bend, e));
  }
  for (int i = 0; i < s->slots; i++) w->idle[i] = s->slots - 1 - i;
  TRY(token_batch_init(&w->batch, 0, e));
  TRY(token_batch_init(&w->prompt, 0, e));
  TRY(model_workspace_new(s->p->m, c->context > s->slots ? c->context : s->slots, false, &w->w, e));
  model_workspace_decode(w->w, s->p->decoder);
  return model_cache_new(s->p->m, s->slots, s->o->steps, &w->cache, e);
}

static void worker_close(struct worker *w) {
  model_cache_free(w->cache);
  model_workspace_free(w->w);
  token_batch_release(&w->batch);
  token_batch_release(&w->prompt);
  arena_free(&w->paths);
  mem_free(w->slot);
  mem_free(w->state);
  mem_free(w->stream);
  mem_free(w->idle);
  mem_free(w->log_rate);
  mem_free(w->shift);
  mem_free(w->u);
  mem_free(w->rate);
  mem_free(w->tilt);
  mem_free(w->block);
  mem_free(w->more);
  mem_free(w->had);
  law_bend_free(&w->bend);
}

static void job(void *ctx, int index, int workers) {
  struct worker *w = (struct worker *)ctx + index;
  struct sampler *s = w->s;
  struct error e = {0};
  (void)workers;
  int rc = run_worker(w, index, &e);
  if (rc == OK) return;
  pthread_mutex_lock(&s->lock);
  if (s->rc == OK || (s->rc == E_CANCELLED && rc != E_CANCELLED)) s->rc = rc, s->error = e;
  s->stop = true;
  pthread_cond_broadcast(&s->filled);
  pthread_mutex_unlock(&s->lock);
}

/* ---- the whole ---- */

static int make_room(struct sampler *s, struct arena *a, struct error *e) {
  size_t count = (size_t)s->o->count, watches = (size_t)s->o->watches;
  s->ask = arena_array(a, struct ask, s->lives);
  if (!s->ask) return error_set(e, E_NOMEM, "no memory for the futures");
  for (uint32_t i = 0; i < s->lives; i++) {
    struct sample *x = &s->out[i];
    *x = (struct sample){.instants = arena_array(a, int, count)};
    if (s->o->paths) x->path = arena_array(a, struct future_event *, count), x->n = arena_array(a, int, count);
    if (watches) {
      x->value = arena_array(a, double, count *watches), x->inside = arena_array(a, double, count *watches);
      x->met = arena_array(a, uint8_t, count * watches);
    }
    if (!x->instants || (s->o->paths && (!x->path || !x->n)) || (watches && (!x->value || !x->inside || !x->met)))
      return error_set(e, E_NOMEM, "no memory for the futures");
    s->ask[i].left = s->o->count;
  }
  return OK;
}

static int keep_paths(struct sampler *s, struct arena *a, struct error *e) {
  for (uint32_t i = 0; s->o->paths && i < s->lives; i++)
    for (int k = 0; k < s->o->count; k++) {
      int n = s->out[i].n[k];
      struct future_event *mine = arena_array(a, struct future_event, (size_t)n + 1);
      if (!mine) return error_set(e, E_NOMEM, "no memory for the futures");
      if (n) memcpy(mine, s->out[i].path[k], (size_t)n * sizeof *mine);
      s->out[i].path[k] = mine;
    }
  return OK;
}

static int run(struct sampler *s, struct arena *a, struct error *e) {
  struct pool *pool = NULL;
  struct worker *w = NULL;
  int64_t all = (int64_t)s->lives * s->o->count;
  int workers = 0, threads = s->o->threads > 0 ? s->o->threads : 1, rc = OK;
  if (threads > all) threads = (int)all;
  s->slots = all / threads + 1 < PREDICT_STREAMS ? (int)(all / threads + 1) : PREDICT_STREAMS;
  int64_t chunk = (all + threads - 1) / threads;
  s->chunk = chunk < PREDICT_STREAMS ? (int)chunk : PREDICT_STREAMS;
  TRY_OUT(make_room(s, a, e));
  TRY_OUT(pool_new(&pool, threads, e));
  w = mem_alloc((size_t)pool_size(pool) * sizeof *w);
  if (!w) TRY_OUT(error_set(e, E_NOMEM, "no memory for the futures"));
  for (; workers < pool_size(pool); workers++) {
    rc = worker_open(&w[workers], s, e);
    if (rc < 0) {
      workers++;
      goto out;
    }
  }
  pool_run(pool, job, w);
  if (s->rc < 0 && e) *e = s->error;
  rc = s->rc < 0 ? s->rc : keep_paths(s, a, e);
out:
  for (int i = 0; i < workers; i++) worker_close(&w[i]);
  for (uint32_t i = 0; s->ask && i < s->lives; i++) forget(&s->ask[i]);
  mem_free(w);
  if (pool) pool_free(pool);
  return rc;
}

int predict_sample(struct predictor *p, const struct life *life, const uint64_t *seed, uint32_t lives, const struct sample_options *o,
                   struct arena *a, struct sample *out, struct error *e) {
  if (o->count < 1 || !(o->horizon_days > 0)) return error_set(e, E_USAGE, "sampling needs at least one future and a horizon above zero");
  if (!p->decoder) TRY(model_decoder_new(p->m, true, &p->decoder, e));
  struct sampler s = {.p = p, .life = life, .seed = seed, .lives = lives, .o = o, .out = out, .rc = OK};
  s.horizon = fmin(o->horizon_days, 200 * TIME_YEAR_DAYS);
  pthread_mutex_init(&s.lock, NULL);
  pthread_cond_init(&s.filled, NULL);
  int rc = lives ? run(&s, a, e) : OK;
  pthread_cond_destroy(&s.filled);
  pthread_mutex_destroy(&s.lock);
  return rc;
}
