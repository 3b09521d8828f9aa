/* One patient, all outcomes, all horizons: how long a whole answer takes (packing, forward pass, hazards, cumulative incidence with death competing,
 * sorting), one thread, a model of the given size with the store's own vocabulary. Weights are random: time does not depend on them.
 * Usage: latency_bench TIMELINES SIZE PATIENTS   prints: outcomes parameters median p95 worst events (ms of processor time) */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/arena.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "predict/predict.h"
#include "timeline/timeline.h"
#include "token/token.h"

static int by_number(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

/* What one core spends on it: on a machine that is shared the wall clock measures the others. */
static double cpu_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int bench(const char *dir, const char *size, uint32_t most, struct error *e) {
  struct timeline *t;
  struct vocabulary *v;
  struct model_config c;
  struct model *m;
  struct predictor *p;
  TRY(timeline_open(dir, &t, e));
  TRY(vocabulary_build(t, &(struct vocabulary_options){0}, &v, e));
  TRY(model_preset(size, &c, e));
  TRY(model_new(&c, v, 1, &m, e));
  model_set_kernel(m, kernel_pick(KERNEL_AUTO, KERNEL_F32));
  TRY(model_lay_out(m, e));
  TRY(predictor_new(m, t, &p, e));
  uint32_t n = timeline_subjects(t) < most ? timeline_subjects(t) : most;
  double *ms = mem_alloc((n + 1) * sizeof *ms), events = 0;
  if (!ms) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < n; i++) {
    struct timeline_view life = timeline_view(t, i); /* as somebody is asked about who lives */
    uint32_t last = life.n;
    while (last > life.statics + 1 && str_starts(timeline_code_name(t, life.code[last - 1]), STR("MEDS_DEATH"))) last--;
    struct arena a;
    struct prediction r;
    arena_init(&a, 0, 0);
    double began = cpu_ms();
    TRY(predict(p, i, &(struct predict_options){.time = life.time[last - 1], .outcomes = 1000}, &a, &r, e));
    ms[i] = cpu_ms() - began;
    events += r.events;
    arena_free(&a);
  }
  qsort(ms, n, sizeof *ms, by_number);
  printf("%u %llu %.3f %.3f %.3f %.0f\n", vocabulary_outcomes(v), (unsigned long long)model_parameters(m), ms[n / 2],
         ms[(uint64_t)n * 95 / 100], ms[n - 1], events / n);
  mem_free(ms);
  predictor_free(p);
  model_free(m);
  vocabulary_free(v);
  timeline_close(t);
  return OK;
}

int main(int argc, char **argv) {
  struct error e = {0};
  if (argc != 4) return fprintf(stderr, "latency_bench TIMELINES SIZE PATIENTS\n"), 64;
  if (bench(argv[1], argv[2], (uint32_t)strtoul(argv[3], NULL, 10), &e) < 0) return error_print(stderr, &e), 1;
  return 0;
}
