#include "model/model.h"
#include "model/model_kept.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/thread.h"
#include "base/time.h"

#define DEFAULT_HORIZON_DAYS 365.25
#define EXAMPLES_CHUNK 32 /* examples packed together; fixed, so that a batch does not depend on the number of threads */

const double predict_horizon_days[6] = {1, 7, 30, 90, 365.25, 1826.25};

int predictor_new(const struct model *m, const struct timeline *store, struct predictor **out, struct error *e) {
  const struct model_config *c = model_config(m);
  struct predictor *p = mem_alloc(sizeof *p);
  if (!p) return error_set(e, E_NOMEM, "no memory for a predictor");
  *p = (struct predictor){.m = m, .store = store, .v = model_vocabulary(m), .positions = c->context > 2048 ? c->context : 2048};
  p->pack = (struct token_options){.pack = (enum token_pack_mode)c->pack, .context = c->context};
  size_t outcomes = vocabulary_outcomes(p->v);
  int rc = token_batch_init(&p->batch, 0, e);
  if (rc == OK) rc = token_batch_init(&p->kept_batch, 0, e);
  if (rc == OK) rc = token_map_new(p->v, store, &p->map, e);
  if (rc == OK) rc = model_workspace_new(m, p->positions, false, &p->w, e);
  p->log_hazard = mem_alloc((outcomes + 1) * HAZARD_BINS * sizeof *p->log_hazard);
  if (rc == OK)
    rc = law_shape_new(p->v, p->pack.pack != PACK_INSTANT, &p->shape, e); /* where the model reads single events, one at a time */
  for (uint32_t i = 0; i < vocabulary_codes(p->v); i++) p->values |= vocabulary_at(p->v, i)->knots > 1;
  if (rc == OK && !p->log_hazard) rc = error_set(e, E_NOMEM, "no memory for a predictor");
  if (rc == OK) rc = uncertainty_parse(model_uncertainty(m), &p->sure, e);
  if (rc < 0) {
    predictor_free(p);
    return rc;
  }
  for (uint32_t o = 0; o < outcomes && p->deaths < sizeof p->death / sizeof *p->death; o++)
    if (predict_is_death(vocabulary_at(p->v, vocabulary_outcome_code(p->v, o))->code)) p->death[p->deaths++] = o;
  *out = p;
  return OK;
}

int predictor_use(struct predictor *p, const struct timeline *store, struct error *e) {
  token_map_free(p->map);
  feature_set_free(p->features);
  p->map = NULL, p->features = NULL, p->features_of = NULL;
  p->store = store;
  return token_map_new(p->v, store, &p->map, e);
}

void predictor_free(struct predictor *p) {
  if (!p) return;
  token_batch_release(&p->batch);
  token_map_free(p->map);
  model_workspace_free(p->w);
  feature_set_free(p->features);
  mem_free(p->row);
  mem_free(p->log_hazard);
  law_shape_free(&p->shape);
  model_decoder_free(p->decoder);
  uncertainty_free(p->sure);
  model_workspace_free(p->back);
  model_kept_free(p->kept);
  token_batch_release(&p->kept_batch);
  mem_free(p);
}

uint32_t predict_prefix(const struct timeline_view *v, int64_t time) {
  uint32_t low = v->statics, high = v->n;
  while (low < high) {
    uint32_t mid = low + (high - low) / 2;
    if (v->time[mid] <= time)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

double predict_logit(double p) {
  if (isnan(p)) return NAN;
  p = p < 1e-12 ? 1e-12 : p > 1 - 1e-12 ? 1 - 1e-12 : p;
  return log(p) - log1p(-p);
}

/* ---- the question ---- */

static int bind_features(struct predictor *p, const struct model_task *head, struct error *e) {
  struct feature_set *own = model_task_features(head);
  if (p->features_of == head || !own) return OK;
  feature_set_free(p->features);
  mem_free(p->row);
  p->features = NULL;
  p->features_of = NULL;
  p->row = mem_alloc((size_t)feature_count(own) * sizeof *p->row);
  if (!p->row) return error_set(e, E_NOMEM, "no memory for the features");
  TRY(feature_set_copy(own, p->store, &p->features, e));
  p->features_of = head;
  return OK;
}

static int find_targets(struct predictor *p, const struct task *task, struct question *q, struct error *e) {
  uint32_t n = vocabulary_codes(p->v);
  q->target = mem_alloc(n);
  q->competing = mem_alloc(n);
  q->outcome = mem_alloc(((size_t)vocabulary_outcomes(p->v) + 1) * sizeof *q->outcome);
  q->rival = mem_alloc(((size_t)vocabulary_outcomes(p->v) + 1) * sizeof *q->rival);
  if (!q->target || !q->competing || !q->outcome || !q->rival) return error_set(e, E_NOMEM, "no memory for the target");
  q->target[TOKEN_UNKNOWN] = q->competing[TOKEN_UNKNOWN] = 0;
  for (uint32_t id = 1; id < n; id++) {
    const struct vocabulary_entry *entry = vocabulary_at(p->v, id);
    q->target[id] = task_names_target(task, entry->code);
    q->targets += q->target[id];
    if (q->target[id] && entry->outcome >= 0) q->outcome[q->outcomes++] = (uint32_t)entry->outcome;
    q->competing[id] = task_names_competing(task, entry->code);
    if (q->competing[id] && entry->outcome >= 0) q->rival[q->rivals++] = (uint32_t)entry->outcome;
  }
  return OK;
}

/* A name is not enough: a task file may have changed since its head was trained. */
static const struct model_task *own_head(const struct model *m, const struct task *task) {
  const struct model_task *head = model_task_find(m, task_name(task));
  return head && task_asks(task, model_task_json(head)) ? head : NULL;
}

int question_open(struct predictor *p, const struct task *task, struct question *q, struct error *e) {
  *q = (struct question){.horizon_days = hazard_edge_days[HAZARD_BINS]};
  if (!task) return OK;
  if (task_horizon(task) != INT64_MAX) q->horizon_days = (double)task_horizon(task) / (double)TIME_DAY;
  q->gap_days = (double)task_gap(task, 0) / (double)TIME_DAY;
  q->head = own_head(p->m, task);
  int rc = q->head ? bind_features(p, q->head, e) : OK;
  if (rc == OK) rc = find_targets(p, task, q, e);
  if (rc < 0) question_close(q);
  return rc;
}

void question_close(struct question *q) {
  mem_free(q->target);
  mem_free(q->competing);
  mem_free(q->outcome);
  mem_free(q->rival);
  *q = (struct question){0};
}

static double rate_in_bin(const struct predictor *p, const uint32_t *outcome, uint32_t n, int bin) {
  double rate = 0;
  for (uint32_t i = 0; i < n; i++) rate += exp((double)p->log_hazard[(size_t)outcome[i] * HAZARD_BINS + (size_t)bin]);
  return rate;
}

/* Rates of several targets add up, as if they came independently: an upper bound where they come together. With a gap: of those to whom none comes inside it. */
double question_hazard(const struct predictor *p, const struct question *q) {
  double target[HAZARD_BINS], rival[HAZARD_BINS];
  if (!q->outcomes) return NAN;
  for (int b = 0; b < HAZARD_BINS; b++) {
    target[b] = rate_in_bin(p, q->outcome, q->outcomes, b);
    rival[b] = rate_in_bin(p, q->rival, q->rivals, b);
  }
  return predict_incidence(target, rival, q->gap_days, q->horizon_days) / (1 - predict_incidence(target, rival, 0, q->gap_days));
}

/* The hazard head speaks of FIRST occurrences: where one has been, it has no answer. */
static bool target_before(const struct predictor *p, const struct question *q, const struct life *life) {
  for (uint32_t k = 0; k < life->events; k++) {
    int32_t outcome = vocabulary_at(p->v, token_map_id(p->map, life->view->code[k]))->outcome;
    for (uint32_t i = 0; outcome >= 0 && i < q->outcomes; i++)
      if (q->outcome[i] == (uint32_t)outcome) return true;
  }
  return false;
}

/* ---- lives through the model ---- */

/* h: the hidden rows of the sequence, of which a task's head reads all and everything else the last */
static int answer_one(struct predictor *p, const struct question *q, const struct life *life, int sequence, const float *h,
                      struct answer *out, struct error *e) {
  const struct token_batch *b = &p->batch;
  size_t d = (size_t)model_config(p->m)->d;
  int from = b->seq_start[sequence], n = b->seq_start[sequence + 1] - from;
  *out = (struct answer){.score = {NAN, NAN, NAN}, .hazard = NAN, .unusual = NAN};
  if (p->sure) out->unusual = uncertainty_unusual(p->sure, h + (size_t)(n - 1) * d, (int)d);
  if (q->outcomes && !target_before(p, q, life)) {
    model_hazard(p->m, p->w, h + (size_t)(n - 1) * d, p->log_hazard);
    out->hazard = question_hazard(p, q);
  }
  out->shipped = out->hazard;
  if (!q->head) return OK;
  bool wide = model_task_features(q->head) != NULL;
  if (wide) feature_row(p->features, p->store, life->view, life->events, b->time[from + n - 1], p->row);
  TRY(model_task_score(p->m, q->head, h, n, wide ? p->row : NULL, &out->score, e));
  out->shipped = out->score.probability;
  return OK;
}

static int flush(struct predictor *p, const struct question *q, const struct life *life, struct answer *out, struct error *e) {
  int n = p->batch.sequences;
  size_t d = (size_t)model_config(p->m)->d;
  if (!n) return OK;
  TRY(model_forward(p->m, p->w, &p->batch, NULL, e));
  for (int s = 0; s < n; s++) TRY(answer_one(p, q, &life[s], s, model_hidden(p->w) + (size_t)p->batch.seq_start[s] * d, &out[s], e));
  token_batch_clear(&p->batch);
  return OK;
}

static int lives_after(struct predictor *p, const struct question *q, const struct life *life, uint32_t n, struct answer *out,
                       struct error *e) {
  for (uint32_t i = 0; i < n; i++) {
    const float *h;
    if (predict_cancelled(p)) return error_set(e, E_CANCELLED, "the one who asked has left");
    token_batch_clear(&p->batch);
    TRY(token_pack(p->v, p->map, life[i].view, life[i].index, life[i].events, life[i].now, &p->pack, &p->batch, e));
    int same = model_kept_same(&p->kept_batch, &p->batch, 0);
    TRY(model_forward_after(p->m, p->w, &p->batch, 0, same, p->kept, &h, e));
    TRY(answer_one(p, q, &life[i], 0, h, &out[i], e));
  }
  token_batch_clear(&p->batch);
  return OK;
}

int predict_lives(struct predictor *p, const struct question *q, const struct life *life, uint32_t n, struct answer *out, struct error *e) {
  uint32_t done = 0;
  if (p->keeps) return lives_after(p, q, life, n, out, e);
  token_batch_clear(&p->batch);
  for (uint32_t i = 0; i < n; i++) {
    if (p->batch.positions + p->pack.context > p->positions) {
      if (predict_cancelled(p)) return error_set(e, E_CANCELLED, "the one who asked has left");
      TRY(flush(p, q, life + done, out + done, e));
      done = i;
    }
    TRY(token_pack(p->v, p->map, life[i].view, life[i].index, life[i].events, life[i].now, &p->pack, &p->batch, e));
  }
  return flush(p, q, life + done, out + done, e);
}

/* The life asked about, in p->batch, through the model: kept where others like it will be asked, and only to its end where no more is read. */
static int forward_life(struct predictor *p, const struct question *q, const struct life *life, bool others, struct error *e) {
  if (others && !p->kept) TRY(model_kept_new(p->m, p->pack.context, &p->kept, e));
  if (!others || !p->kept) return q->head ? model_forward(p->m, p->w, &p->batch, NULL, e) : model_forward_last(p->m, p->w, &p->batch, e);
  token_batch_clear(&p->kept_batch);
  TRY(token_pack(p->v, p->map, life->view, life->index, life->events, life->now, &p->pack, &p->kept_batch, e));
  TRY(model_forward_keep(p->m, p->w, &p->batch, p->kept, e));
  p->keeps = true;
  return OK;
}

/* ---- one prediction ---- */

struct ranked {
  uint32_t outcome;
  bool before;
  double probability;
};
static int by_risk(const void *x, const void *y) {
  const struct ranked *a = x, *b = y;
  if (a->before != b->before) return a->before ? 1 : -1;
  if (a->probability != b->probability) return a->probability < b->probability ? 1 : -1;
  return a->outcome < b->outcome ? -1 : 1;
}

static int rank_outcomes(const struct predictor *p, const struct life *life, struct arena *a, struct ranked **out, struct error *e) {
  uint32_t n = vocabulary_outcomes(p->v);
  struct ranked *list = arena_array(a, struct ranked, n + 1);
  if (!list) return error_set(e, E_NOMEM, "no memory for the outcomes");
  double death[HAZARD_BINS], days = DEFAULT_HORIZON_DAYS;
  predict_death_rates(p, death);
  for (uint32_t i = 0; i < n; i++) {
    list[i] = (struct ranked){i, false, 0};
    predict_outcome_curve(p, i, death, &days, 1, &list[i].probability);
  }
  for (uint32_t k = 0; k < life->events; k++) {
    int32_t outcome = vocabulary_at(p->v, token_map_id(p->map, life->view->code[k]))->outcome;
    if (outcome >= 0) list[outcome].before = true;
  }
  qsort(list, n, sizeof *list, by_risk);
  *out = list;
  return OK;
}

static int list_outcomes(struct predictor *p, const struct ranked *list, int most, struct arena *a, struct prediction *r, struct error *e) {
  uint32_t n = vocabulary_outcomes(p->v), keep = most > 0 ? (uint32_t)most : most < 0 ? 0 : 10;
  double death[HAZARD_BINS];
  if (keep > n) keep = n;
  predict_death_rates(p, death);
  r->outcome = arena_array(a, struct predict_outcome, keep + 1);
  if (!r->outcome) return error_set(e, E_NOMEM, "no memory for the outcomes");
  for (uint32_t i = 0; i < keep; i++) {
    struct predict_outcome *o = &r->outcome[r->outcomes++];
    uint32_t code = vocabulary_outcome_code(p->v, list[i].outcome);
    const struct vocabulary_entry *entry = vocabulary_at(p->v, code);
    *o = (struct predict_outcome){.code = entry->code,
                                  .display = entry->display,
                                  .id = code,
                                  .before = list[i].before,
                                  .sampled = NAN,
                                  .sampled_se = NAN,
                                  .integrated = NAN,
                                  .integrated_se = NAN};
    predict_outcome_curve(p, list[i].outcome, death, predict_horizon_days, 6, o->probability);
    for (int k = 0; k < 6; k++) {
      o->sampled_within[k] = NAN;
      if (predict_horizon_days[k] > r->followed_days) o->probability[k] = NAN;
    }
  }
  return OK;
}

static void count_events(const struct predictor *p, const struct life *life, struct prediction *r) {
  r->events = life->events;
  for (uint32_t k = 0; k < life->events; k++) {
    uint32_t code = life->view->code[k];
    float value = life->view->value[k];
    if (token_map_birth(p->map, code)) continue;
    const struct vocabulary_entry *n = vocabulary_at(p->v, token_map_id(p->map, code));
    r->unknown_codes += token_map_id(p->map, code) == TOKEN_UNKNOWN;
    r->outside += n->knots > 1 && (value < n->knot[0] || value > n->knot[n->knots - 1]); /* NaN is neither */
  }
  r->unknown_share = life->events ? (double)r->unknown_codes / life->events : 0;
}

double predict_followed(const struct predictor *p, const struct life *life) {
  const struct timeline_view *v = life->view;
  double least = INFINITY;
  for (uint32_t k = life->events; k-- > v->statics;) {
    float days = vocabulary_at(p->v, token_map_id(p->map, v->code[k]))->followed_days;
    if (days >= 0) least = fmin(least, (double)days);
    if (isfinite(least) && (k == v->statics || v->time[k - 1] != v->time[k])) {
      int64_t now = life->now != INT64_MIN ? life->now : v->time[life->events - 1];
      return fmax(0, least - ((double)now - (double)v->time[k]) / (double)TIME_DAY);
    }
  }
  return INFINITY;
}

void predict_had(const struct predictor *p, const struct life *life, uint64_t *had) {
  memset(had, 0, predict_had_words(p->m) * sizeof *had);
  for (uint32_t k = 0; k < life->events; k++) {
    int32_t outcome = vocabulary_at(p->v, token_map_id(p->map, life->view->code[k]))->outcome;
    if (outcome >= 0) had[outcome / 64] |= 1ull << outcome % 64;
  }
}

static void how_sure(const struct predictor *p, const struct predict_options *o, const float *hidden, struct prediction *r) {
  if (o->task && predict_head_differs(p->m, o->task))
    r->warning[r->warnings++] = "the task has changed since its head was trained: without a head until it is trained again";
  if (!p->sure) return;
  const struct uncertainty_rules *rules = uncertainty_rules(p->sure);
  const struct uncertainty_task *t = o->task ? uncertainty_find(p->sure, task_name(o->task)) : NULL;
  r->unusual = uncertainty_unusual(p->sure, hidden, model_config(p->m)->d);
  if (t && !isnan(r->probability) && !isnan(r->deep)) {
    struct interval_of x = uncertainty_interval(t, r->probability);
    r->lo = x.lo, r->hi = x.hi;
    r->set = uncertainty_set(t, r->probability);
    r->coverage = rules->coverage;
  }
  if (r->events < rules->least_events) r->warning[r->warnings++] = "the history is too short for an answer of its own";
  if (r->unknown_share > rules->unknown_share) r->warning[r->warnings++] = "many events have codes that the model has never seen";
  if (r->unusual > rules->unusual_percentile) r->warning[r->warnings++] = "this timeline is unlike those that the model was tuned on";
}

/* NaN is below every bar: no explanation of no answer. */
static int explain_in_time(struct predictor *p, const struct question *q, const struct life *life, const struct predict_options *o,
                           struct arena *a, struct prediction *r, struct error *e) {
  if (o->explain_late) p->cancelled = o->explain_late;
  int rc = predict_explain(p, q, life, o->explain, o->quick, a, r, e);
  p->cancelled = o->cancelled;
  if (rc != E_CANCELLED || !o->explain_late || cancel_requested() || predict_cancelled(p)) return rc;
  r->contributions = 0;
  return OK;
}

static int answer(struct predictor *p, const struct question *q, const struct life *life, const struct predict_options *o, struct arena *a,
                  struct prediction *r, struct error *e) {
  struct answer x;
  struct ranked *list = NULL;
  double horizon = o->horizon_days > 0 ? o->horizon_days : o->task ? q->horizon_days : DEFAULT_HORIZON_DAYS;
  bool asked = !r->refusal;
  token_batch_clear(&p->batch); /* one pass for the question and for the list of outcomes */
  TRY(token_pack(p->v, p->map, life->view, life->index, life->events, life->now, &p->pack, &p->batch, e));
  TRY(forward_life(p, q, life, asked && (o->explain > 0 || o->reasons > 0 || o->change > 0), e));
  if (asked) {
    TRY(answer_one(p, q, life, 0, model_hidden(p->w), &x, e));
    r->probability = x.shipped;
    r->calibrated = q->head && model_task_tuning(q->head) > 0;
    r->deep = x.score.deep;
    r->wide = x.score.wide;
    r->hazard = x.hazard;
    r->agreement = q->head ? fabs(predict_logit(x.shipped) - predict_logit(x.hazard)) : NAN;
  }
  const float *last = model_hidden(p->w) + (size_t)(p->batch.positions - 1) * (size_t)model_config(p->m)->d;
  how_sure(p, o, last, r);
  model_hazard(p->m, p->w, last, p->log_hazard);
  r->time = p->batch.time[p->batch.positions - 1];
  if (!r->dead) {
    TRY(rank_outcomes(p, life, a, &list, e));
    TRY(list_outcomes(p, list, o->outcomes, a, r, e));
  }
  if (o->futures > 0 && !r->dead) TRY(predict_sampled(p, asked ? q : NULL, life, o, horizon, a, r, e));
  if (o->explain > 0 && r->probability >= o->explain_least) TRY(explain_in_time(p, q, life, o, a, r, e));
  if (o->reasons > 0 && !isnan(r->probability)) TRY(predict_reasons(p, q, life, o->reasons, a, r, e));
  if (o->change > 0 && !isnan(r->probability)) TRY(predict_change(p, q, life, o->change, a, r, e));
  return OK;
}

static bool is_dead(const struct predictor *p, const struct life *life) {
  for (uint32_t k = 0; k < life->events; k++) {
    if (predict_is_death(timeline_code_name(p->store, life->view->code[k]))) return true;
  }
  return false;
}

/* Is there a question at all? A task's own words (docs/task.md) decide whom it is about. */
static int check_applies(const struct predictor *p, const struct life *life, const struct task *task, struct prediction *r,
                         struct error *e) {
  static const char *const why[] = {[TASK_APPLIES] = NULL,
                                    [TASK_DEAD] = "dead",
                                    [TASK_NO_TRIGGER] = "trigger not met",
                                    [TASK_PRIOR] = "excluded: prior occurrence",
                                    [TASK_WINDOW] = "excluded: a window of the task does not hold",
                                    [TASK_ENDED] = "excluded: a competing event has come"};
  struct task_binding *b;
  int64_t now = life->now != INT64_MIN ? life->now : life->events > life->view->statics ? life->view->time[life->events - 1] : INT64_MIN;
  r->dead = is_dead(p, life);
  if (!task) return OK;
  TRY(task_bind(task, p->store, &b, e));
  r->refusal = why[r->dead ? TASK_DEAD : task_applies(b, life->view, life->events, now)];
  task_binding_free(b);
  return OK;
}

static int check_horizon(const struct predict_options *o, struct error *e) {
  double gap = o->task ? (double)task_gap(o->task, 0) / (double)TIME_DAY : 0;
  if (o->futures <= 0 || !(o->horizon_days > 0) || o->horizon_days > gap) return OK;
  return error_set(e, E_USAGE, "the horizon of the futures, %g days, does not exceed the task's gap of %g days: nothing can count",
                   o->horizon_days, gap);
}

int predict(struct predictor *p, uint32_t subject_index, const struct predict_options *o, struct arena *a, struct prediction *out,
            struct error *e) {
  if (subject_index >= timeline_subjects(p->store)) return error_set(e, E_NOTFOUND, "no such subject in this store");
  if (o->futures < 0 || o->futures > 100000) return error_set(e, E_USAGE, "futures must be 0 to 100000");
  struct timeline_view view = timeline_view(p->store, subject_index);
  struct life life = {
      .view = &view, .index = subject_index, .events = predict_prefix(&view, o->time), .now = o->time == INT64_MAX ? INT64_MIN : o->time};
  struct question q;
  *out = (struct prediction){.subject = view.subject,
                             .probability = NAN,
                             .deep = NAN,
                             .wide = NAN,
                             .hazard = NAN,
                             .sampled = NAN,
                             .sampled_se = NAN,
                             .integrated = NAN,
                             .integrated_se = NAN,
                             .anticipated = NAN,
                             .anticipated_se = NAN,
                             .agreement = NAN,
                             .lo = NAN,
                             .hi = NAN,
                             .unusual = NAN,
                             .method = "exact removal"};
  TRY(check_horizon(o, e));
  TRY(check_applies(p, &life, o->task, out, e));
  TRY(question_open(p, o->task, &q, e));
  if (o->task) {
    out->has_task = true;
    snprintf(out->task, sizeof out->task, "%s", task_name(o->task));
    out->task_days = q.horizon_days;
  }
  count_events(p, &life, out);
  out->followed_days = predict_followed(p, &life);
  p->cancelled = o->cancelled, p->cancel_ctx = o->cancel_ctx;
  int rc = answer(p, &q, &life, o, a, out, e);
  p->cancelled = NULL, p->keeps = false;
  question_close(&q);
  return rc;
}

/* ---- many examples ---- */

struct job {
  const struct model *m;
  const struct timeline *store;
  const struct task *task;
  const struct task_example *at;
  uint32_t n;
  double *probability, *hazard, *unusual; /* the last two: or NULL */
  int *rc;                                /* (workers) */
  struct error *error;
};

static int run_chunk(struct predictor *p, const struct question *q, const struct job *j, uint32_t from, struct error *e) {
  struct timeline_view view[EXAMPLES_CHUNK];
  struct life life[EXAMPLES_CHUNK] = {0};
  struct answer out[EXAMPLES_CHUNK];
  uint32_t n = j->n - from < EXAMPLES_CHUNK ? j->n - from : EXAMPLES_CHUNK;
  for (uint32_t i = 0; i < n; i++) {
    const struct task_example *x = &j->at[from + i];
    view[i] = timeline_view(j->store, x->subject_index);
    life[i] = (struct life){.view = &view[i], .index = x->subject_index, .events = x->events, .now = x->time};
  }
  TRY(predict_lives(p, q, life, n, out, e));
  for (uint32_t i = 0; i < n; i++) {
    j->probability[from + i] = out[i].shipped;
    if (j->hazard) j->hazard[from + i] = out[i].hazard;
    if (j->unusual) j->unusual[from + i] = out[i].unusual;
  }
  return OK;
}

static void run_worker(void *ctx, int worker, int workers) {
  const struct job *j = ctx;
  struct error *e = &j->error[worker];
  struct predictor *p = NULL;
  struct question q = {0};
  int rc = predictor_new(j->m, j->store, &p, e);
  if (rc == OK) rc = question_open(p, j->task, &q, e);
  for (uint64_t from = (uint64_t)worker * EXAMPLES_CHUNK; rc == OK && from < j->n; from += (uint64_t)workers * EXAMPLES_CHUNK) {
    if (cancel_requested())
      rc = error_set(e, E_CANCELLED, "interrupted");
    else
      rc = run_chunk(p, &q, j, (uint32_t)from, e);
  }
  if (p) question_close(&q);
  predictor_free(p);
  j->rc[worker] = rc;
}

int predict_workers(int threads, void (*work)(void *job, int worker, int workers), void *job, int **rcs, struct error **errors,
                    struct error *e) {
  struct pool *pool;
  TRY(pool_new(&pool, threads, e));
  size_t workers = (size_t)pool_size(pool);
  *rcs = mem_alloc(workers * sizeof **rcs);
  *errors = mem_alloc(workers * sizeof **errors);
  int rc = *rcs && *errors ? OK : error_set(e, E_NOMEM, "no memory for the workers");
  if (rc == OK) {
    memset(*errors, 0, workers * sizeof **errors);
    pool_run(pool, work, job);
    for (size_t k = 0; k < workers && rc == OK; k++) {
      rc = (*rcs)[k];
      if (rc < 0 && e) *e = (*errors)[k];
    }
  }
  mem_free(*rcs);
  mem_free(*errors);
  pool_free(pool);
  return rc;
}

bool predict_has_head(const struct model *m, const struct task *task) { return own_head(m, task) != NULL; }

bool predict_head_differs(const struct model *m, const struct task *task) {
  return model_task_find(m, task_name(task)) && !predict_has_head(m, task);
}

double predict_threshold(const struct model *m, const struct task *task, const char *score) {
  const struct model_task *t = own_head(m, task);
  return t ? model_task_threshold(t, score) : NAN;
}

int predict_examples_unusual(const struct model *m, const struct timeline *store, const struct task *task, const struct task_example *at,
                             uint32_t n, int threads, double *probability, double *hazard, double *unusual, struct error *e) {
  if (!n) return OK;
  struct job j = {m, store, task, at, n, probability, hazard, unusual, NULL, NULL};
  return predict_workers(threads, run_worker, &j, &j.rc, &j.error, e);
}

int predict_examples(const struct model *m, const struct timeline *store, const struct task *task, const struct task_example *at,
                     uint32_t n, int threads, double *probability, double *hazard, struct error *e) {
  return predict_examples_unusual(m, store, task, at, n, threads, probability, hazard, NULL, e);
}
