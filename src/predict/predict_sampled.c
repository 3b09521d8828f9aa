/* Sampled futures put to questions: shares, and the two estimators beside them. */
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#include <math.h>

#include "base/time.h"

/* Share of the futures that hold the code. */
static double share_with(const struct futures *f, uint32_t code, double horizon) {
  int with = 0;
  for (int i = 0; i < f->count; i++) {
    bool found = false;
    for (int k = 0; k < f->n[i] && f->path[i][k].days <= horizon && !found; k++) found = f->path[i][k].code == code;
    with += found;
  }
  return (double)with / f->count;
}

/* Outcome by outcome: shares within each horizon, and the integrated hazard. */
static void fill_outcomes(const struct futures *f, const struct sample *s, int watches, double horizon, struct prediction *r) {
  for (int i = 0; i < r->outcomes; i++) {
    struct predict_outcome *o = &r->outcome[i];
    for (int k = 0; k < 6 && predict_horizon_days[k] <= fmin(horizon, r->followed_days); k++)
      o->sampled_within[k] = share_with(f, o->id, predict_horizon_days[k]);
    if (horizon <= r->followed_days) {
      struct estimate x = estimate_share(s->met + i, f->count, watches);
      o->sampled = x.mean, o->sampled_se = x.se;
      x = estimate_integrated(s->value + i, s->met + i, f->count, watches);
      o->integrated = fmin(1, x.mean), o->integrated_se = x.se;
    }
  }
}

/* Masks of what can come when the target and what ends the question cannot. */
static int avoid(const struct predictor *p, const struct watch *w, struct arena *a, struct sample_options *o, struct error *e) {
  const struct law_shape *s = &p->shape;
  size_t n = (size_t)s->blocks * LAW_BLOCK;
  float *without = arena_array(a, float, n), *joins = arena_array(a, float, n);
  if (!without || !joins) return error_set(e, E_NOMEM, "no memory for a question");
  memcpy(without, s->open, n * sizeof *without);
  for (uint32_t i = 0; i < w->ends; i++) without[w->end[i]] = 0;
  for (uint32_t i = 0; i < w->codes; i++) without[w->code[i]] = 0;
  for (size_t c = 0; c < n; c++) joins[c] = without[c] * s->joins[c];
  o->without = without, o->without_joins = joins;
  return OK;
}

int predict_anticipated(struct predictor *p, const struct watch *w, const struct life *life, const uint64_t *seed, uint32_t lives,
                        int count, int threads, struct arena *a, struct sample *out, struct error *e) {
  struct sample_options o = {
      .count = count, .steps = PREDICT_STEPS, .threads = threads, .horizon_days = w->horizon, .watch = w, .watches = 1, .anticipate = true};
  TRY(avoid(p, w, a, &o, e));
  return predict_sample(p, life, seed, lives, &o, a, out, e);
}

static int task_answers(struct predictor *p, const struct watch *w, const struct sample *s, int watches, const struct life *life,
                        const struct predict_options *o, struct arena *a, struct prediction *r, struct error *e) {
  struct sample avoided;
  struct estimate x = estimate_share(s->met + r->outcomes, o->futures, watches);
  r->sampled = x.mean, r->sampled_se = x.se;
  x = estimate_integrated(s->value + r->outcomes, s->met + r->outcomes, o->futures, watches);
  r->integrated = x.mean > 1 ? 1 : x.mean, r->integrated_se = x.se; /* not a number where every future met the target inside the gap */
  TRY(predict_anticipated(p, w, life, &o->seed, 1, o->futures, o->threads, a, &avoided, e));
  x = estimate_anticipated(avoided.value, avoided.inside, o->futures);
  r->anticipated = x.mean, r->anticipated_se = x.se;
  return OK;
}

int predict_sampled(struct predictor *p, const struct question *q, const struct life *life, const struct predict_options *o, double horizon,
                    struct arena *a, struct prediction *r, struct error *e) {
  bool task = q && q->targets;
  int watches = r->outcomes + task;
  struct watch *w = arena_array(a, struct watch, (size_t)watches + 1);
  struct sample s;
  if (!w) return error_set(e, E_NOMEM, "no memory for the outcomes");
  for (int i = 0; i < r->outcomes; i++) TRY(watch_one(&p->shape, r->outcome[i].id, horizon, a, &w[i], e));
  if (task) TRY(watch_make(&p->shape, q->target, q->competing, q->gap_days, horizon, a, &w[r->outcomes], e));
  TRY(predict_sample(p, life, &o->seed, 1,
                     &(struct sample_options){.count = o->futures,
                                              .steps = PREDICT_STEPS,
                                              .threads = o->threads,
                                              .horizon_days = horizon,
                                              .paths = true,
                                              .watch = w,
                                              .watches = watches},
                     a, &s, e));
  struct futures f = {s.path, s.n, o->futures, s.cut};
  r->futures = f.count;
  r->cut = f.cut;
  r->sampled_days = horizon;
  fill_outcomes(&f, &s, watches, horizon, r);
  return task ? task_answers(p, &w[r->outcomes], &s, watches, life, o, a, r, e) : OK;
}

static int ask_life(const struct predictor *p, const struct future_ask *ask, struct timeline_view *view, struct life *life,
                    struct error *e) {
  if (ask->subject_index >= timeline_subjects(p->store)) return error_set(e, E_NOTFOUND, "no such subject in this store");
  *view = timeline_view(p->store, ask->subject_index);
  *life = (struct life){.view = view,
                        .index = ask->subject_index,
                        .events = predict_prefix(view, ask->time),
                        .now = ask->time == INT64_MAX ? INT64_MIN : ask->time};
  return OK;
}

int predict_futures_many(struct predictor *p, const struct future_ask *ask, uint32_t n, const struct futures_options *o, struct arena *a,
                         struct futures *out, struct error *e) {
  struct timeline_view *view = arena_array(a, struct timeline_view, (size_t)n + 1);
  struct life *life = arena_array(a, struct life, (size_t)n + 1);
  uint64_t *seed = arena_array(a, uint64_t, (size_t)n + 1);
  struct sample *s = arena_array(a, struct sample, (size_t)n + 1);
  if (!view || !life || !seed || !s) return error_set(e, E_NOMEM, "no memory for the futures");
  if (o->steps < 0 || o->steps > 1 << 20 || o->events < 0) return error_set(e, E_USAGE, "a future has at most a million instants");
  for (uint32_t i = 0; i < n; i++) {
    TRY(ask_life(p, &ask[i], &view[i], &life[i], e));
    seed[i] = ask[i].seed;
    out[i] = (struct futures){.count = o->count};
  }
  struct sample_options x = {.count = o->count,
                             .events = o->events,
                             .steps = o->steps ? o->steps : PREDICT_STEPS,
                             .threads = o->threads,
                             .horizon_days = o->horizon_days,
                             .paths = true};
  p->cancelled = o->cancelled, p->cancel_ctx = o->cancel_ctx;
  int rc = predict_sample(p, life, seed, n, &x, a, s, e);
  p->cancelled = NULL;
  for (uint32_t i = 0; i < n && rc == OK; i++) out[i] = (struct futures){s[i].path, s[i].n, o->count, s[i].cut};
  return rc;
}

int predict_futures(struct predictor *p, uint32_t subject_index, int64_t time, int count, double horizon_days, uint64_t seed,
                    struct arena *a, struct futures *out, struct error *e) {
  struct future_ask ask = {subject_index, time, seed};
  *out = (struct futures){.count = count};
  return predict_futures_many(p, &ask, 1, &(struct futures_options){.count = count, .horizon_days = horizon_days}, a, out, e);
}

/* Chances stretch by stretch: nothing has come so far, it comes in this one, and its set holds the code. */
static void next_chances(const struct predictor *p, struct law *law, const struct law_bend *bend, float *rate, const uint32_t *code,
                         int codes, double days, double *out) {
  double left = 1, from = 0, outside;
  for (int k = 0; k < codes; k++) out[k] = 0;
  for (int bin = 0; from < days; bin++) {
    double to = fmin(days, law_bend_end(bend, bin));
    if (bend->moves) law_bend_to(p->m, &p->shape, bend, bin, rate, law);
    law_sizes(&p->shape, law);
    double comes = -expm1(-law->all * law->scale * (to - from));
    for (int k = 0; k < codes; k++)
      if (p->shape.open[code[k]] > 0) out[k] += left * comes * law_meet(law, &p->shape, &code[k], 1, NULL, 0, &outside).target;
    left *= 1 - comes;
    from = to;
  }
}

int predict_next(struct predictor *p, uint32_t subject_index, int64_t time, const uint32_t *code, int codes, double days, double *out,
                 struct error *e) {
  struct future_ask ask = {.subject_index = subject_index, .time = time};
  struct timeline_view view;
  struct life life;
  size_t n = (size_t)p->shape.blocks * LAW_BLOCK;
  TRY(ask_life(p, &ask, &view, &life, e));
  token_batch_clear(&p->batch);
  TRY(token_pack(p->v, p->map, &view, life.index, life.events, life.now, &p->pack, &p->batch, e));
  TRY(model_forward(p->m, p->w, &p->batch, NULL, e));
  const float *last = model_hidden(p->w) + (size_t)(p->batch.positions - 1) * (size_t)model_config(p->m)->d;
  float *log_rate = mem_alloc(n * sizeof *log_rate), *rate = mem_alloc(n * sizeof *rate);
  double *block = mem_alloc(p->shape.blocks * sizeof *block);
  uint64_t *had = mem_alloc(predict_had_words(p->m) * sizeof *had);
  struct law law = {.block = block};
  struct law_bend bend = {0};
  int rc = log_rate && rate && block && had ? OK : error_set(e, E_NOMEM, "no memory for the next instant");
  if (rc == OK) {
    model_rates(p->m, p->w, last, log_rate);
    rc = law_make(p->m, &p->shape, log_rate, 0, rate, &law, e);
  }
  if (rc == OK && law_bends(p->m)) {
    rc = law_bend_new(p->m, &bend, e);
    if (rc == OK) {
      predict_had(p, &life, had);
      law_bend_make(p->m, p->w, &p->shape, &law, last, had, predict_followed(p, &life), &bend);
    }
  }
  if (rc == OK) next_chances(p, &law, &bend, rate, code, codes, days, out);
  law_bend_free(&bend);
  mem_free(had);
  mem_free(log_rate);
  mem_free(rate);
  mem_free(block);
  return rc;
}
