/* A real store on disk, a vocabulary from it, and small models with random weights (or only biases), for the tests of predict/. */
#ifndef TESTS_PREDICT_FIXTURE_H
#define TESTS_PREDICT_FIXTURE_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "base/time.h"
#include "deid/event_make.h"
#include "model/model_internal.h"
#include "predict/predict.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"

#define DAY(n) ((int64_t)(n)*TIME_DAY)
#define MUST(x) assert_int_equal((x), OK)

struct fixture {
  char dir[64];
  struct timeline *store;
  struct vocabulary *v;
  struct model *m;
  struct task *task;
  struct error e;
};

static inline struct event make_event(int64_t subject, int64_t time, const char *code, float value) {
  return (struct event){.subject = subject,
                        .time = time,
                        .code = str_c(code),
                        .display = str_c(code),
                        .unit = isnan(value) ? STR_NONE : STR("mmol/L"),
                        .value = value};
}

/* One random life through `put`, deterministic in the subject. Values, ties, statics; some die. */
static inline void fixture_life(int64_t subject, int events, void (*put)(void *, struct event), void *ctx) {
  struct rng r;
  rng_init(&r, 99, (uint64_t)subject);
  put(ctx, make_event(subject, DAY(-12000) - DAY(rng_below(&r, 5000)), "MEDS_BIRTH", NAN));
  put(ctx, make_event(subject, TIME_STATIC, subject % 2 ? "GENDER//F" : "GENDER//M", NAN));
  int64_t t = DAY(100);
  for (int k = 0; k < events; k++) {
    t += (int64_t)(rng_below(&r, 3) ? 0 : 1 + rng_below(&r, 200)) * TIME_HOUR;
    char code[32];
    uint32_t c = rng_below(&r, 9);
    snprintf(code, sizeof code, c < 3 ? "LAB//%u" : "DX//%u", c);
    put(ctx, make_event(subject, t, code, c < 3 ? (float)rng_normal(&r) : NAN));
  }
  if (subject % 3 == 0) put(ctx, make_event(subject, t + DAY(2), "MEDS_DEATH", NAN));
}

static inline void fixture_put(void *writer, struct event ev) {
  struct error e = {0};
  MUST(timeline_append(writer, &ev, &e));
}

static inline void fixture_put_memory(void *timeline, struct event ev) {
  struct error e = {0};
  MUST(timeline_memory_append(timeline, &ev, &e));
}

static inline void fixture_task(struct fixture *f, const char *json) {
  char path[128];
  snprintf(path, sizeof path, "%s/task.json", f->dir);
  MUST(file_write_atomic(path, json, strlen(json), 0600, &f->e));
  MUST(task_load(path, &f->task, &f->e));
}

#define DEATH_TASK                                                                                               \
  "{\"name\":\"death\",\"title\":\"Death within a "                                                              \
  "year\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"1y\",\"gap\":[\"0d\"]," \
  "\"censor\":\"negative\"}"

static inline void fixture_open(struct fixture *f, int people, int events) {
  *f = (struct fixture){.dir = "/tmp/predict-test-XXXXXX"};
  assert_non_null(mkdtemp(f->dir));
  char store[96];
  snprintf(store, sizeof store, "%s/timelines", f->dir);
  struct timeline_writer *w;
  MUST(timeline_writer_open(store, &(struct timeline_options){.split = SPLIT_ALL_TRAIN}, &w, &f->e));
  for (int s = 1; s <= people; s++) fixture_life(s, events, fixture_put, w);
  MUST(timeline_writer_finish(w, STR("{}"), NULL, NULL, &f->e));
  MUST(timeline_open(store, &f->store, &f->e));
  MUST(vocabulary_build(f->store, &(struct vocabulary_options){.min_outcome_subjects = 5}, &f->v, &f->e));
  fixture_task(f, DEATH_TASK);
}

static inline struct model_config fixture_small(void) {
  struct model_config c;
  struct error e = {0};
  MUST(model_preset("tiny", &c, &e));
  c.layers = 2, c.d = 24, c.heads = c.kv_heads = 2, c.ff = 32, c.context = 64, c.hazard_rank = 4;
  return c;
}

/* Random weights well away from zero, with a task head that has a deep and a wide part. */
static inline void fixture_model(struct fixture *f, const struct model_config *c, bool head) {
  static const char name[1][MODEL_TASK_NAME] = {"death"};
  MUST(model_build(c, f->v, name, head ? 1 : 0, 5, &f->m, &f->e));
  struct rng r;
  rng_init(&r, 21, 0);
  for (size_t i = 0; i < f->m->floats; i++) f->m->weight[i] += 0.1f * (float)rng_normal(&r);
  if (!head) return;
  struct model_task *t = &f->m->task[0];
  t->text = mem_alloc(sizeof DEATH_TASK);
  memcpy(t->text, DEATH_TASK, sizeof DEATH_TASK);
  struct task_example x[64] = {0};
  uint32_t n = timeline_subjects(f->store) < 64 ? timeline_subjects(f->store) : 64;
  for (uint32_t i = 0; i < n; i++) x[i] = (struct task_example){.subject_index = i, .events = timeline_view(f->store, i).n};
  MUST(feature_set_build(f->store, x, n, 0.05, 0, &t->features, &f->e));
  t->columns = feature_count(t->features);
  t->wide = mem_alloc(t->columns * sizeof *t->wide);
  for (uint32_t i = 0; i < t->columns; i++)
    t->wide[i] = (struct wide_column){.sd = 1, .weight = 0.05f * (float)rng_normal(&r), .missing = 0.01f};
  t->blend_deep = t->blend_wide = 0.5;
  t->blend_bias = -1;
}

static inline void fixture_close(struct fixture *f) {
  model_free(f->m);
  task_free(f->task);
  vocabulary_free(f->v);
  timeline_close(f->store);
  MUST(file_remove_tree(f->dir, &f->e));
}
#endif
