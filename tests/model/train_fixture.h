/* A small store of invented lives whose outcome can be learned: people with high values of LAB//A die soon after their stay. */
#ifndef TESTS_MODEL_TRAIN_FIXTURE_H
#define TESTS_MODEL_TRAIN_FIXTURE_H
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "deid/event_make.h"
#include "model/model_internal.h"
#include "timeline/task.h"
#include "timeline/timeline.h"

#define OKAY(call)                                      \
  do {                                                  \
    struct error okay_e_ = {0};                         \
    struct error *e = &okay_e_;                         \
    if ((call) < 0) {                                   \
      error_print(stderr, e);                           \
      fail_msg("%s:%d: %s", __FILE__, __LINE__, #call); \
    }                                                   \
  } while (0)

static inline void put_event(struct timeline_writer *w, int64_t subject, int64_t time, const char *code, float value) {
  struct event ev = {.subject = subject, .time = time, .code = str_c(code), .value = value};
  OKAY(timeline_append(w, &ev, e));
}

static inline void put_life(struct timeline_writer *w, int64_t subject) {
  struct rng r;
  rng_init(&r, 5, (uint64_t)subject);
  bool bad = rng_below(&r, 3) == 0;
  int64_t t = (int64_t)(subject % 400) * TIME_DAY;
  put_event(w, subject, TIME_STATIC, subject % 2 ? "GENDER//F" : "GENDER//M", NAN);
  put_event(w, subject, t - (int64_t)(40 + subject % 30) * TIME_YEAR, "MEDS_BIRTH", NAN);
  put_event(w, subject, t, "ADMIT", NAN);
  int n = 10 + (int)rng_below(&r, 10);
  for (int i = 0; i < n; i++) {
    t += (int64_t)(1 + rng_below(&r, 5)) * TIME_HOUR;
    put_event(w, subject, t, "LAB//A", (float)(rng_normal(&r) + (bad ? 1.2 : 0)));
    if (rng_below(&r, 2)) put_event(w, subject, t, "LAB//B", (float)rng_normal(&r));
    char code[16];
    snprintf(code, sizeof code, "DX//%u", rng_below(&r, 5));
    put_event(w, subject, t, code, NAN);
  }
  t += 3 * TIME_DAY;
  put_event(w, subject, t, "DISCHARGE", NAN);
  if (bad) put_event(w, subject, t + (int64_t)(1 + rng_below(&r, 20)) * TIME_DAY, "MEDS_DEATH", NAN);
  put_event(w, subject, t + 60 * TIME_DAY, "VISIT", NAN);
}

struct trained {
  char root[64], store_dir[96], run[96], task_path[96];
  struct timeline *store;
  struct task *task;
};

static inline void trained_open(struct trained *x, int subjects) {
  struct timeline_writer *w;
  static const char text[] =
      "{\"name\": \"death\", \"title\": \"Death after the stay\", \"trigger\": {\"code\": [\"DISCHARGE\"], \"offset\": \"0h\", \"which\": "
      "\"first\"},\n"
      " \"target\": {\"any\": [\"MEDS_DEATH\"]}, \"horizon\": \"record\", \"gap\": [\"0d\"], \"censor\": \"negative\"}\n";
  strcpy(x->root, "/tmp/vitae-model-XXXXXX");
  assert_non_null(mkdtemp(x->root));
  snprintf(x->store_dir, sizeof x->store_dir, "%s/timelines", x->root);
  snprintf(x->run, sizeof x->run, "%s/run", x->root);
  snprintf(x->task_path, sizeof x->task_path, "%s/death.json", x->root);
  OKAY(timeline_writer_open(x->store_dir, &(struct timeline_options){.split_seed = 3}, &w, e));
  for (int i = 1; i <= subjects; i++) put_life(w, i);
  OKAY(timeline_writer_finish(w, STR("{}"), NULL, NULL, e));
  OKAY(timeline_open(x->store_dir, &x->store, e));
  OKAY(file_write_atomic(x->task_path, text, sizeof text - 1, 0644, e));
  OKAY(task_load(x->task_path, &x->task, e));
  progress_mode(PROGRESS_QUIET);
}

static inline void trained_close(struct trained *x) {
  task_free(x->task);
  timeline_close(x->store);
  OKAY(file_remove_tree(x->root, e));
}

static inline void small_options(struct train_options *o, const struct trained *x, const struct task *const *tasks) {
  train_defaults(o);
  OKAY(model_preset("tiny", &o->config, e));
  o->config.layers = 2, o->config.d = 32, o->config.heads = 2, o->config.kv_heads = 2, o->config.ff = 48, o->config.hazard_rank = 4;
  o->dir = x->run;
  o->threads = 1;
  o->batch_positions = 400;
  o->epochs = 1;
  o->tasks = tasks;
  o->n_tasks = tasks ? 1 : 0;
}
#endif
