/* Speed of sampling: futures of lives of a store from a checkpoint, all through predict_futures_many. One JSON line.
 *
 *     sample_bench CHECKPOINT STORE LIVES FUTURES DAYS EVENTS THREADS [HISTORY]
 *
 * EVENTS > 0: nobody dies and every future ends after so many events (whatever DAYS says, within 200 years). HISTORY > 0: lives are cut after so many
 * events, and shorter ones are left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/thread.h"
#include "base/time.h"
#include "model/model_internal.h"
#include "predict/predict.h"
#include "timeline/timeline.h"
#include "token/token.h"

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(int rc, const struct error *e) {
  if (rc >= 0) return;
  fprintf(stderr, "sample_bench: %s\n", e->message);
  exit(1);
}

int main(int argc, char **argv) {
  struct error e = {0};
  struct model *m;
  struct timeline *t;
  struct predictor *p;
  struct arena a;
  if (argc < 8) return fprintf(stderr, "usage: sample_bench CHECKPOINT STORE LIVES FUTURES DAYS EVENTS THREADS [HISTORY]\n"), 2;
  uint32_t want = (uint32_t)atoi(argv[3]), n = 0, history = argc > 8 ? (uint32_t)atoi(argv[8]) : 0;
  struct futures_options o = {
      .count = atoi(argv[4]), .horizon_days = atof(argv[5]), .events = atoi(argv[6]), .threads = atoi(argv[7]), .steps = 1024};
  thread_fast_float();
  arena_init(&a, 0, 0);
  must(model_load(argv[1], &m, &e), &e);
  must(timeline_open(argv[2], &t, &e), &e);
  uint32_t death = vocabulary_death(model_vocabulary(m));
  if (o.events && death) m->weight[m->rates_bias + (ptrdiff_t)death] = -60;
  must(predictor_new(m, t, &p, &e), &e);
  struct future_ask *ask = calloc(want, sizeof *ask);
  struct futures *out = calloc(want, sizeof *out);
  for (uint32_t i = 0; i < timeline_subjects(t) && n < want; i++) {
    struct timeline_view v = timeline_view(t, i);
    if (v.n < (history ? history : 5)) continue;
    ask[n++] = (struct future_ask){i, history ? v.time[history - 1] : INT64_MAX, i};
  }
  if (!n) return fprintf(stderr, "sample_bench: no life is long enough\n"), 1;
  struct futures_options warm = o;
  warm.count = 1, warm.events = 1;
  must(predict_futures_many(p, ask, 1, &warm, &a, out, &e), &e); /* the weights are laid out for decoding once */
  double began = time_monotonic(), cpu = cpu_seconds();
  must(predict_futures_many(p, ask, n, &o, &a, out, &e), &e);
  double seconds = time_monotonic() - began, used = cpu_seconds() - cpu, events = 0, instants = 0, cut = 0;
  for (uint32_t i = 0; i < n; i++) {
    cut += out[i].cut;
    for (int k = 0; k < o.count; k++) {
      events += out[i].n[k];
      for (int j = 0; j < out[i].n[k]; j++) instants += j == 0 || out[i].path[k][j].days != out[i].path[k][j - 1].days;
    }
  }
  printf("{\"lives\": %u, \"futures\": %d, \"events\": %.0f, \"instants\": %.0f, \"cut\": %.0f, ", n, o.count, events, instants, cut);
  printf("\"seconds\": %.4f, \"cpu_seconds\": %.4f, \"tokens_per_cpu_second\": %.1f, ", seconds, used, events / used);
  printf("\"tokens_per_second\": %.1f, \"codes\": %u}\n", events / seconds, model_config(m)->codes);
  predictor_free(p);
  timeline_close(t);
  model_free(m);
  arena_free(&a);
  free(ask), free(out);
  return 0;
}
