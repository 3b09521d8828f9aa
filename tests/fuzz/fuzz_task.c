/* Task files: the input up to the first NUL is the file, the rest is a life (3 bytes an event: code, time, value). Whatever
 * parses must label without a crash, and every example must keep the promises of docs/task.md that can be checked blindly. */
#include <math.h>
#include <stdlib.h>

#include "deid/event_make.h"
#include "timeline/task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_life(struct timeline *t, const uint8_t *p, size_t n) {
  static const char *const codes[] = {"MEDS_BIRTH", "MEDS_DEATH", "A", "B", "T", "IN", "LAB//1", "LAB//2"};
  for (size_t i = 0; i + 3 <= n && i < 600; i += 3) {
    struct event ev = {.subject = 1, .code = str_c(codes[p[i] & 7]), .time = (int64_t)p[i + 1] * (p[i] & 8 ? 40 * TIME_DAY : TIME_HOUR)};
    ev.value = p[i + 2] & 1 ? NAN : (float)p[i + 2];
    if (p[i] & 16) ev.time = p[i] & 32 ? TIME_STATIC : p[i] & 64 ? INT64_MAX - p[i + 1] : INT64_MIN + 1 + p[i + 1];
    if (timeline_memory_append(t, &ev, NULL) < 0) abort();
  }
  if (timeline_memory_seal(t, NULL) < 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
  size_t n = nul ? (size_t)(nul - data) : size;
  struct task *task;
  struct timeline *t;
  struct task_binding *b;
  enum { MOST = 2000 };
  static struct task_example x[MOST];
  if (task_parse((const char *)data, n, &task, NULL) < 0) return 0;
  if (timeline_memory_new(&t, NULL) < 0) abort();
  add_life(t, nul ? nul + 1 : data, nul ? size - n - 1 : 0);
  if (task_bind(task, t, &b, NULL) < 0) abort();
  for (int gap = 0; gap < task_gaps(task) && timeline_subjects(t); gap++) {
    struct timeline_view v = timeline_view(t, 0);
    int got = task_label(b, &v, 0, gap, x, MOST, NULL);
    for (int i = 0; i < got; i++) {
      BUG_IF(x[i].events > v.n || x[i].outcome < x[i].time);
      BUG_IF(x[i].events && v.time[x[i].events - 1] > x[i].time);
      BUG_IF(x[i].events < v.n && v.time[x[i].events] <= x[i].time);
    }
  }
  task_binding_free(b);
  timeline_close(t);
  task_free(task);
  return 0;
}
