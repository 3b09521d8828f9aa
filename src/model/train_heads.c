/* After the trunk: loss on tuning patients, the wide part of every task head, and the blend of the two parts. */
#include <math.h>

#include "base/hash.h"
#include "base/thread.h"
#include "model/task_trees.h"
#include "model/task_wide.h"
#include "model/train_examples.h"
#include "model/train_internal.h"

#define TUNING_POSITIONS 100000 /* enough for a loss to two digits */
#define WIDE_CODES 400

double train_linear_cells = 16e6, train_trees_cells = 96e6;

/* ---- loss on the tuning split ---- */

struct tuning_job {
  struct train_run *r;
  struct train_items items;
};

/* Shared out over the lanes, so that it is the same number on any number of threads. */
static int tuning_lane(struct tuning_job *j, struct train_worker *w, int lane, struct error *e) {
  struct train_run *r = j->r;
  size_t lanes = (size_t)r->o.lanes;
  struct loss_options o = {
      .w_rates = 1, .w_time = 1, .w_value = 1, .w_hazard = 1, .scale = 1, .seed = r->o.seed, .stream = (uint64_t)lane << 32};
  r->lane[lane].sums = (struct loss_sums){0};
  token_batch_clear(&w->batch);
  for (size_t i = (size_t)lane; i <= j->items.n; i += lanes) {
    bool last = i + lanes > j->items.n || i == j->items.n, full = false;
    if (i < j->items.n) {
      const struct train_item *item = &j->items.at[i];
      full = w->batch.positions + item->positions > w->w->positions;
      if (!full) TRY(train_pack(&r->data, item, &w->batch, e));
    }
    if (w->batch.sequences && (full || last)) {
      struct loss_sums s;
      o.stream++;
      TRY(model_loss(r->m, w->w, &w->batch, &o, NULL, &s, e));
      loss_sums_add(&r->lane[lane].sums, &s);
      token_batch_clear(&w->batch);
      if (full) i -= lanes; /* again, into the empty batch */
    }
  }
  return OK;
}

static void tuning_run(void *ctx, int worker, int workers) {
  struct tuning_job *j = ctx;
  struct train_worker *w = &j->r->worker[worker];
  (void)workers;
  w->rc = OK;
  for (int lane; w->rc >= 0 && (lane = atomic_fetch_add(&j->r->next_lane, 1)) < j->r->o.lanes;) w->rc = tuning_lane(j, w, lane, &w->e);
}

static int first_failure(const struct train_run *r, struct error *e) {
  for (int k = 0; k < r->workers; k++)
    if (r->worker[k].rc < 0) {
      if (e) *e = r->worker[k].e;
      return r->worker[k].rc;
    }
  return OK;
}

int train_tuning_loss(struct train_run *r, double *out, struct error *e) {
  struct tuning_job j = {.r = r};
  struct loss_sums s = {0};
  int64_t positions = 0;
  size_t n = 0;
  *out = NAN;
  int rc = train_lives(&r->data, SPLIT_TUNING, &j.items, e);
  while (rc >= 0 && n < j.items.n && positions < TUNING_POSITIONS) positions += j.items.at[n++].positions;
  j.items.n = n;
  if (rc >= 0 && n) {
    atomic_store(&r->next_lane, 0);
    pool_run(r->pool, tuning_run, &j);
    rc = first_failure(r, e);
    for (int k = 0; k < r->o.lanes; k++) loss_sums_add(&s, &r->lane[k].sums);
    *out = train_objective(&r->o, &s);
  }
  mem_free(j.items.at);
  return rc;
}

/* ---- examples of one task and split ---- */

int label_split(const struct timeline *store, const struct task *task, enum split split, struct arena *a, struct labelled *out,
                struct error *e) {
  struct task_binding *b;
  struct task_examples found;
  TRY(task_bind(task, store, &b, e));
  int rc = task_label_all(b, store, split, 0, a, &found, e);
  task_binding_free(b);
  TRY(rc);
  *out = (struct labelled){.at = found.at};
  for (uint32_t i = 0; i < found.n; i++)
    if (found.at[i].label != LABEL_CENSORED || task_time_to_event(task)) out->at[out->n++] = found.at[i];
  if (task_time_to_event(task)) {
    out->time = arena_array(a, float, (size_t)out->n + 1);
    if (!out->time) return error_set(e, E_NOMEM, "no memory for a task's examples");
    for (uint32_t i = 0; i < out->n; i++) out->time[i] = (float)((double)(out->at[i].outcome - out->at[i].time) / (double)TIME_DAY);
  }
  out->y = arena_alloc(a, out->n + 1, 1);
  out->deep = arena_array(a, double, (size_t)out->n + 1);
  out->wide = arena_array(a, double, (size_t)out->n + 1);
  if (!out->y || !out->deep || !out->wide) return error_set(e, E_NOMEM, "no memory for a task's examples");
  for (uint32_t i = 0; i < out->n; i++) out->yes += out->y[i] = out->at[i].label == LABEL_YES;
  return OK;
}

uint32_t thin_out(const struct labelled *l, uint32_t most, uint64_t seed, uint8_t *stays, double *offset) {
  double share = l->n <= most || l->yes >= most ? 1 : (double)(most - l->yes) / (l->n - l->yes);
  uint32_t n = 0;
  for (uint32_t i = 0; i < l->n; i++) n += stays[i] = l->y[i] || (double)(hash64_u64(seed ^ i) >> 11) * 0x1p-53 < share;
  *offset = l->time || n == l->yes || n == l->n ? 0 : log((double)(n - l->yes) / (l->n - l->yes));
  return n;
}

void keep_those(struct labelled *l, const uint8_t *stays) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < l->n; i++)
    if (stays[i]) {
      if (l->time) l->time[n] = l->time[i];
      l->at[n] = l->at[i], l->y[n++] = l->y[i];
    }
  l->n = n;
}

/* Examples of one person are much alike: what there is to learn from is persons of the rarer label, not moments. */
double one_example_weighs(const struct labelled *l) {
  uint8_t rarer = 2 * l->yes <= l->n;
  uint32_t persons = 0, moments = 0, last = UINT32_MAX;
  for (uint32_t i = 0; i < l->n; i++) {
    if ((l->y[i] != 0) != rarer) continue;
    persons += l->at[i].subject_index != last, moments++, last = l->at[i].subject_index;
  }
  return moments ? (double)persons / moments : 1;
}

uint32_t examples_persons(const struct labelled *l) {
  uint32_t persons = 0;
  for (uint32_t i = 0; i < l->n; i++) persons += i == 0 || l->at[i].subject_index != l->at[i - 1].subject_index;
  return persons;
}

_Static_assert(TREES_OTHERS >= TASK_AUXILIARIES, "a task has more auxiliary targets than trees take");

int auxiliary_labels(const struct task *task, const struct timeline *store, const struct labelled *l, struct arena *a, const uint8_t **out,
                     struct error *e) {
  int others = task_auxiliaries(task);
  uint8_t *y = arena_alloc(a, (size_t)others * l->n + 1, 1);
  if (!y) return error_set(e, E_NOMEM, "no memory for a task's features");
  *out = y;
  for (int k = 0; k < others; k++) {
    struct task_binding *b;
    TRY(task_bind(task_auxiliary(task, k), store, &b, e));
    for (uint32_t i = 0; i < l->n; i++) {
      struct timeline_view v = timeline_view(store, l->at[i].subject_index);
      struct task_example x = {0};
      *y++ = task_label_moment(b, &v, l->at[i].time, &x) && x.label == LABEL_YES;
    }
    task_binding_free(b);
  }
  return OK;
}

/* ---- features and deep logits, shared out over the threads ---- */

struct score_job {
  struct train_run *r;
  const struct labelled *l;
  struct model_task *t;
  const struct feature_set *features;
  float *x; /* (n, columns) or NULL: deep logits instead */
};

static int deep_one(struct train_run *r, struct train_worker *w, const struct model_task *t, const struct task_example *x, double *out,
                    struct error *e) {
  struct train_item item = {.subject = x->subject_index, .events = x->events, .now = x->time, .task = -1};
  token_batch_clear(&w->batch);
  TRY(train_pack(&r->data, &item, &w->batch, e));
  TRY(model_forward(r->m, w->w, &w->batch, NULL, e));
  *out = task_logit(r->m, t, model_hidden(w->w), w->batch.positions, w->w->pool);
  return OK;
}

static void score_run(void *ctx, int worker, int workers) {
  struct score_job *j = ctx;
  struct train_worker *w = &j->r->worker[worker];
  uint32_t columns = j->features ? feature_count(j->features) : 0;
  w->rc = OK;
  for (uint32_t i = (uint32_t)worker; i < j->l->n && w->rc >= 0; i += (uint32_t)workers) {
    const struct task_example *x = &j->l->at[i];
    struct timeline_view v = timeline_view(j->r->data.store, x->subject_index);
    if (j->x)
      feature_row(j->features, j->r->data.store, &v, x->events, x->time, j->x + (size_t)i * columns);
    else
      w->rc = deep_one(j->r, w, j->t, x, &j->l->deep[i], &w->e);
  }
}

static float *feature_rows(struct train_run *r, const struct labelled *l, const struct feature_set *f, struct arena *a, struct error *e) {
  struct score_job j = {.r = r, .l = l, .features = f};
  j.x = arena_array(a, float, (size_t)l->n *feature_count(f) + 1);
  if (!j.x) {
    (void)!error_set(e, E_NOMEM, "no memory for a task's features");
    return NULL;
  }
  pool_run(r->pool, score_run, &j);
  return j.x;
}

int is_a_count(const struct feature_set *f, uint32_t column, uint8_t *out, struct error *e) {
  struct buf name = {0};
  feature_name(f, column, &name);
  const char *count = strstr(buf_cstr(&name), " count");
  *out = count && (count[6] == 0 || count[6] == ' ');
  int rc = buf_check(&name, e);
  buf_release(&name);
  return rc;
}

/* The examples that the linear part learns from, a share of those of the trees, moved together in their own arrays. */
struct share {
  struct task_example *at;
  float *x, *time;
  uint8_t *y, *fold;
  double *linear, *trees;
  double offset; /* from its logits to those of all the examples it was taken from */
  uint32_t n;
};

static int take_share(const struct labelled *l, const float *x, const uint8_t *fold, uint32_t columns, uint64_t seed, struct arena *a,
                      struct share *s, uint8_t *stays, struct error *e) {
  double offset;
  uint32_t n = thin_out(l, (uint32_t)(train_linear_cells / columns), seed ^ 0x6c696e, stays, &offset);
  *s = (struct share){.x = arena_array(a, float, (size_t)n *columns + 1), .y = arena_alloc(a, n + 1, 1), .fold = arena_alloc(a, n + 1, 1)};
  s->offset = offset;
  s->linear = arena_array(a, double, (size_t)n + 1);
  s->trees = arena_array(a, double, (size_t)n + 1);
  s->time = l->time ? arena_array(a, float, (size_t)n + 1) : NULL;
  s->at = arena_array(a, struct task_example, (size_t)n + 1);
  if ((l->time && !s->time) || !s->at || !s->x || !s->y || !s->fold || !s->linear || !s->trees)
    return error_set(e, E_NOMEM, "no memory for a task's features");
  for (uint32_t i = 0; i < l->n; i++) {
    if (!stays[i]) continue;
    memcpy(s->x + (size_t)s->n * columns, x + (size_t)i * columns, columns * sizeof *x);
    if (s->time) s->time[s->n] = l->time[i];
    s->at[s->n] = l->at[i], s->y[s->n] = l->y[i], s->fold[s->n++] = fold[i];
  }
  return OK;
}

/* Linear part and trees, each with answers for persons that it had not seen; their weights are fitted on those. `offset`: from logits of l
 * to those of all training examples; every logit that is kept speaks of these. */
static int fit_table(struct train_run *r, const struct task *task, struct model_task *t, const struct labelled *l, const float *x,
                     const uint8_t *fold, const uint8_t *is_count, double offset, struct arena *a, struct error *e) {
  uint32_t columns = feature_count(t->features);
  struct share s;
  uint8_t *stays = arena_alloc(a, l->n + 1, 1);
  double *oof = arena_array(a, double, (size_t)l->n + 1);
  if (!stays || !oof) return error_set(e, E_NOMEM, "no memory for a task's features");
  TRY(take_share(l, x, fold, columns, r->o.seed, a, &s, stays, e));
  struct wide_data wd = {.x = s.x,
                         .y = s.y,
                         .is_count = is_count,
                         .fold = s.fold,
                         .time = s.time,
                         .n = s.n,
                         .columns = columns,
                         .folds = table_folds(l->n),
                         .oof = s.linear};
  TRY(wide_fit(t, r->m->kernel, &wd, r->pool, e));
  t->wide_bias += s.offset + offset;
  struct trees_data td = {.x = x, .y = l->y, .fold = fold, .time = l->time, .n = l->n, .columns = columns, .folds = wd.folds};
  td.persons = examples_persons(l), td.weight = one_example_weighs(l);
  td.others = task_auxiliaries(task);
  TRY(auxiliary_labels(task, r->data.store, l, a, &td.other, e));
  TRY(trees_fit(&td, r->o.seed, r->pool, &t->trees, oof, e));
  if (!t->trees) return OK;
  t->trees->bias += offset;
  for (uint32_t i = 0, k = 0; i < l->n; i++)
    if (stays[i]) s.linear[k] += s.offset + offset, s.trees[k++] = oof[i] + offset;
  table_fit(t, s.linear, s.trees, s.y, s.time, s.n);
  t->table_bias += s.offset + offset; /* it was fitted on the share */
  if (r->o.unseen && !l->time) {
    for (uint32_t k = 0; k < s.n; k++)
      s.trees[k] = 1 / (1 + exp(-(t->table_linear * s.linear[k] + t->table_trees * s.trees[k] + t->table_bias)));
    r->o.unseen(r->o.unseen_ctx, (int)(t - r->m->task), s.at, s.trees, s.n, exp(-(s.offset + offset)));
  }
  return OK;
}

static int fit_wide(struct train_run *r, const struct task *task, struct model_task *t, struct labelled *train, struct arena *a,
                    struct error *e) {
  if (train->yes < 10 || train->n - train->yes < 10) return OK; /* too few to learn columns from: deep alone */
  TRY(feature_set_build(r->data.store, train->at, train->n, -1, WIDE_CODES, &t->features, e));
  uint32_t columns = feature_count(t->features);
  uint8_t *is_count = arena_alloc(a, columns + 1, 1), *stays = arena_alloc(a, train->n + 1, 1);
  if (!is_count || !stays) return error_set(e, E_NOMEM, "no memory for a task's features");
  double offset;
  if (thin_out(train, (uint32_t)(train_trees_cells / columns), r->o.seed, stays, &offset) < train->n) keep_those(train, stays);
  uint8_t *fold = arena_alloc(a, train->n + 1, 1);
  float *x = feature_rows(r, train, t->features, a, e);
  if (!fold || !x) return error_set(e, E_NOMEM, "no memory for a task's features");
  for (uint32_t j = 0; j < columns; j++) TRY(is_a_count(t->features, j, &is_count[j], e));
  for (uint32_t i = 0; i < train->n; i++)
    fold[i] = (uint8_t)(hash64_u64(r->o.seed ^ hash64_u64(train->at[i].subject_index)) % (uint32_t)table_folds(train->n));
  return fit_table(r, task, t, train, x, fold, is_count, offset, a, e);
}

static int fit_blend(struct train_run *r, struct model_task *t, struct labelled *tuning, struct arena *a, struct error *e) {
  struct score_job j = {.r = r, .l = tuning, .t = t};
  pool_run(r->pool, score_run, &j);
  TRY(first_failure(r, e));
  if (t->wide) {
    float *x = feature_rows(r, tuning, t->features, a, e);
    if (!x) return E_NOMEM;
    for (uint32_t i = 0; i < tuning->n; i++) tuning->wide[i] = table_logit(t, x + (size_t)i * t->columns);
  }
  blend_fit(t, tuning->deep, t->wide ? tuning->wide : NULL, tuning->y, tuning->time, tuning->n, one_example_weighs(tuning));
  t->tuning_auroc_deep = auroc(tuning->deep, tuning->y, tuning->n);
  t->tuning_auroc_wide = t->wide ? auroc(tuning->wide, tuning->y, tuning->n) : NAN;
  for (uint32_t i = 0; i < tuning->n; i++)
    tuning->deep[i] = t->blend_deep * tuning->deep[i] + (t->wide ? t->blend_wide * tuning->wide[i] : 0);
  t->tuning_auroc = auroc(tuning->deep, tuning->y, tuning->n);
  return OK;
}

static int fit_head(struct train_run *r, int index, struct arena *a, struct error *e) {
  struct model_task *t = &r->m->task[index];
  const struct task *task = r->o.tasks[index];
  struct labelled train, tuning;
  const char *text = task_text(task);
  model_task_release(t);
  t->text = mem_alloc(strlen(text) + 1);
  if (!t->text) return error_set(e, E_NOMEM, "no memory for a task head");
  memcpy(t->text, text, strlen(text) + 1);
  TRY(label_split(r->data.store, task, SPLIT_TRAIN, a, &train, e));
  t->n = train.n, t->yes = train.yes;
  TRY(fit_wide(r, task, t, &train, a, e));
  TRY(label_split(r->data.store, task, SPLIT_TUNING, a, &tuning, e));
  return fit_blend(r, t, &tuning, a, e);
}

int train_heads(struct train_run *r, struct error *e) {
  int rc = OK;
  for (int i = 0; rc >= 0 && i < r->m->tasks; i++) {
    struct arena a;
    arena_init(&a, 0, 0);
    rc = fit_head(r, i, &a, e);
    arena_free(&a);
  }
  return rc;
}
