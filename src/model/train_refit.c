/* The tables of the heads, fitted again on training and tuning patients together. */
#include <string.h>

#include "base/thread.h"
#include "model/task_trees.h"
#include "model/task_wide.h"
#include "model/train_examples.h"

struct refit {
  const struct refit_options *o;
  struct model *m;
  struct pool *pool;
  struct labelled l;
  const struct feature_set *features;
  float *x; /* (n, columns) */
};

static int both_splits(const struct refit *r, const struct task *task, struct arena *a, struct labelled *out, struct error *e) {
  struct labelled part[2];
  bool times = task_time_to_event(task);
  for (int k = 0; k < 2; k++) TRY(label_split(r->o->store, task, k ? SPLIT_TUNING : SPLIT_TRAIN, a, &part[k], e));
  uint32_t n = part[0].n + part[1].n;
  *out = (struct labelled){.at = arena_array(a, struct task_example, (size_t)n + 1), .y = arena_alloc(a, n + 1u, 1)};
  if (times) out->time = arena_array(a, float, (size_t)n + 1);
  if (!out->at || !out->y || (times && !out->time)) return error_set(e, E_NOMEM, "no memory for a task's examples");
  for (int k = 0; k < 2; k++) {
    memcpy(out->at + out->n, part[k].at, part[k].n * sizeof *out->at);
    memcpy(out->y + out->n, part[k].y, part[k].n);
    if (times) memcpy(out->time + out->n, part[k].time, part[k].n * sizeof *out->time);
    out->n += part[k].n, out->yes += part[k].yes;
  }
  return OK;
}

static void rows_run(void *ctx, int worker, int workers) {
  struct refit *r = ctx;
  uint32_t columns = feature_count(r->features);
  for (uint32_t i = (uint32_t)worker; i < r->l.n; i += (uint32_t)workers) {
    const struct task_example *x = &r->l.at[i];
    struct timeline_view v = timeline_view(r->o->store, x->subject_index);
    feature_row(r->features, r->o->store, &v, x->events, x->time, r->x + (size_t)i * columns);
  }
}

/* On a share of the rows, as the first fit did. `offset`: from logits of r->l to those of everybody (train_examples.h). */
static int fit_linear(struct refit *r, struct model_task *t, const uint8_t *is_count, double offset, struct arena *a, struct error *e) {
  const struct labelled *l = &r->l;
  uint32_t columns = t->columns, n = 0;
  uint8_t *stays = arena_alloc(a, l->n + 1u, 1);
  if (!stays) return error_set(e, E_NOMEM, "no memory for a task's features");
  double of_share;
  uint32_t keep = thin_out(l, (uint32_t)(train_linear_cells / columns), r->o->seed ^ 0x6c696e, stays, &of_share);
  float *x = arena_array(a, float, (size_t)keep *columns + 1), *time = l->time ? arena_array(a, float, (size_t)keep + 1) : NULL;
  uint8_t *y = arena_alloc(a, keep + 1u, 1), *fold = arena_alloc(a, keep + 1u, 1);
  if (!x || !y || !fold || (l->time && !time)) return error_set(e, E_NOMEM, "no memory for a task's features");
  memset(fold, 0, keep + 1u); /* nothing is left out */
  for (uint32_t i = 0; i < l->n; i++) {
    if (!stays[i]) continue;
    memcpy(x + (size_t)n * columns, r->x + (size_t)i * columns, columns * sizeof *x);
    if (time) time[n] = l->time[i];
    y[n++] = l->y[i];
  }
  struct wide_data d = {.x = x, .y = y, .is_count = is_count, .fold = fold, .time = time, .n = n, .columns = columns, .l2 = t->l2};
  TRY(wide_fit(t, r->m->kernel, &d, r->pool, e));
  t->wide_bias += of_share + offset;
  return OK;
}

static int fit_trees(struct refit *r, struct model_task *t, struct trees_data *d, double offset, struct error *e) {
  struct trees *again;
  d->rounds = (int)t->trees->rounds, d->deep = t->trees->deep, d->taught = t->trees->taught;
  TRY(trees_fit(d, r->o->seed, r->pool, &again, NULL, e));
  if (!again) return OK; /* the share held too few: those of the first fit stay */
  trees_free(t->trees);
  t->trees = again;
  again->bias += offset;
  return OK;
}

static int fit_again(struct refit *r, struct model_task *t, const struct task *task, struct arena *a, struct error *e) {
  struct labelled *l = &r->l;
  uint32_t columns = t->columns;
  TRY(both_splits(r, task, a, l, e));
  TRY(feature_set_bind(t->features, r->o->store, e));
  uint8_t *stays = arena_alloc(a, l->n + 1u, 1), *is_count = arena_alloc(a, columns + 1u, 1);
  if (!stays || !is_count) return error_set(e, E_NOMEM, "no memory for a task's features");
  double offset;
  if (thin_out(l, (uint32_t)(train_trees_cells / columns), r->o->seed, stays, &offset) < l->n) keep_those(l, stays);
  for (uint32_t j = 0; j < columns; j++) TRY(is_a_count(t->features, j, &is_count[j], e));
  r->x = arena_array(a, float, (size_t)l->n *columns + 1);
  if (!r->x) return error_set(e, E_NOMEM, "no memory for a task's features");
  r->features = t->features;
  pool_run(r->pool, rows_run, r);
  TRY(fit_linear(r, t, is_count, offset, a, e));
  if (!t->trees) return OK;
  struct trees_data d = {.x = r->x, .y = l->y, .time = l->time, .n = l->n, .columns = columns};
  d.persons = examples_persons(l), d.weight = one_example_weighs(l);
  d.others = task_auxiliaries(task);
  TRY(auxiliary_labels(task, r->o->store, l, a, &d.other, e));
  return fit_trees(r, t, &d, offset, e);
}

static int one_head(struct refit *r, int task, struct error *e) {
  struct model_task *t = NULL;
  struct arena a;
  struct buf json = {0};
  char file[MODEL_TASK_NAME + 16];
  int rc = OK;
  for (int i = 0; i < r->m->tasks; i++)
    if (strcmp(r->m->task[i].name, task_name(r->o->tasks[task])) == 0) t = &r->m->task[i];
  if (!t) return OK;
  t->thresholds = 0;
  for (int k = 0; r->o->threshold && k < MODEL_THRESHOLDS && r->o->threshold[task][k].score[0]; k++)
    t->threshold[t->thresholds++] = r->o->threshold[task][k];
  arena_init(&a, 0, 0);
  if (t->wide && t->columns) rc = fit_again(r, t, r->o->tasks[task], &a, e);
  if (rc == OK) rc = model_task_write(t, &json, e);
  snprintf(file, sizeof file, "tasks/%s.json", t->name);
  if (rc == OK) rc = checkpoint_attach(r->o->dir, file, (struct str){json.p, json.n}, e);
  buf_release(&json);
  arena_free(&a);
  return rc;
}

int model_refit(const struct refit_options *o, struct error *e) {
  struct refit r = {.o = o};
  TRY(model_load(o->dir, &r.m, e));
  model_set_kernel(r.m, kernel_pick(KERNEL_AUTO, KERNEL_F32));
  int rc = pool_new(&r.pool, o->threads, e);
  for (int i = 0; rc == OK && i < o->n_tasks; i++) rc = one_head(&r, i, e);
  pool_free(r.pool);
  model_free(r.m);
  return rc;
}
