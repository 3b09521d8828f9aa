/* How many futures each way needs for the error of 100 plain ones. For every life and every asked outcome: the variance of one plain future's answer is
 * p (1 - p), of the estimators' their spread. p is the anticipated hazard's answer, which the plain futures have no part in: choosing questions by
 * the plain share would keep the rare ones that came up too often. One line for each way; and how often the estimators' means agree with the share of N
 * plain futures within 1.96 standard errors of the difference.
 *
 *     futures_bench CHECKPOINT STORE LIVES OUTCOMES DAYS PLAIN FEW THREADS
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

static void must(int rc, const struct error *e) {
  if (rc >= 0) return;
  fprintf(stderr, "futures_bench: %s\n", e->message);
  exit(1);
}

static int by_value(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

struct way {
  const char *name;
  double *need; /* futures for the error of 100 plain ones, a question each */
  int n, agree;
};

static void put(struct way *w, double p, double share, int plain, struct estimate x, int count) {
  double variance = x.se * x.se * count, se = sqrt(p * (1 - p) / plain + x.se * x.se);
  w->need[w->n++] = fmax(1, ceil(100 * variance / (p * (1 - p))));
  w->agree += fabs(x.mean - share) <= 1.96 * se;
}

static void say(struct way *w) {
  qsort(w->need, (size_t)w->n, sizeof *w->need, by_value);
  int few = 0;
  for (int i = 0; i < w->n; i++) few += w->need[i] <= 10;
  printf("{\"way\": \"%s\", \"questions\": %d, \"median\": %.0f, \"p90\": %.0f, \"at_most_10\": %.3f, \"agree\": %.3f}\n", w->name, w->n,
         w->need[w->n / 2], w->need[w->n * 9 / 10], (double)few / w->n, (double)w->agree / w->n);
}

int main(int argc, char **argv) {
  struct error e = {0};
  struct model *m;
  struct timeline *t;
  struct predictor *p;
  struct arena a;
  if (argc < 9) return fprintf(stderr, "usage: futures_bench CHECKPOINT STORE LIVES OUTCOMES DAYS PLAIN FEW THREADS\n"), 2;
  uint32_t lives = (uint32_t)atoi(argv[3]), outcomes = (uint32_t)atoi(argv[4]);
  double days = atof(argv[5]);
  int plain = atoi(argv[6]), few = atoi(argv[7]), threads = atoi(argv[8]);
  thread_fast_float();
  arena_init(&a, 0, 0);
  must(model_load(argv[1], &m, &e), &e);
  must(timeline_open(argv[2], &t, &e), &e);
  must(predictor_new(m, t, &p, &e), &e);
  const struct vocabulary *v = model_vocabulary(m);
  uint32_t all = vocabulary_outcomes(v);
  if (outcomes > all) outcomes = all;
  struct watch *w = calloc(outcomes + 1, sizeof *w);
  struct way way[2] = {{.name = "integrated hazard"}, {.name = "anticipated hazard"}};
  for (int k = 0; k < 2; k++) way[k].need = calloc((size_t)lives * outcomes + 1, sizeof(double));
  for (uint32_t i = 0; i < outcomes; i++)
    must(watch_one(&p->shape, vocabulary_outcome_code(v, i * all / outcomes), days, &a, &w[i], &e), &e);
  int rare = 0;
  for (uint32_t i = 0, done = 0; i < timeline_subjects(t) && done < lives; i++) {
    struct timeline_view view = timeline_view(t, i);
    if (view.n < 10) continue;
    done++;
    uint32_t half = view.n / 2; /* from the middle of a life */
    struct life life = {.view = &view, .index = i, .events = predict_prefix(&view, view.time[half]), .now = INT64_MIN};
    uint64_t seed = i;
    struct arena scratch;
    struct sample s, x;
    arena_init(&scratch, 0, 0);
    struct sample_options o = {
        .count = plain, .steps = PREDICT_STEPS, .threads = threads, .horizon_days = days, .watch = w, .watches = (int)outcomes};
    must(predict_sample(p, &life, &seed, 1, &o, &scratch, &s, &e), &e);
    for (uint32_t k = 0; k < outcomes; k++) {
      must(predict_anticipated(p, &w[k], &life, &seed, 1, few, threads, &scratch, &x, &e), &e);
      struct estimate anticipated = estimate_anticipated(x.value, x.inside, few);
      if (anticipated.mean < 0.01 || anticipated.mean > 0.99) { /* a plain error of so rare a thing is hardly known */
        rare++;
        continue;
      }
      double share = estimate_share(s.met + k, plain, (int)outcomes).mean;
      put(&way[0], anticipated.mean, share, plain, estimate_integrated(s.value + k, s.met + k, plain, (int)outcomes), plain);
      put(&way[1], anticipated.mean, share, plain, anticipated, few);
    }
    arena_free(&scratch);
  }
  if (!way[0].n) return fprintf(stderr, "futures_bench: no question is neither rare nor sure\n"), 1;
  printf("{\"left_out\": %d}\n", rare);
  for (int k = 0; k < 2; k++) say(&way[k]), free(way[k].need);
  free(w);
  predictor_free(p);
  timeline_close(t);
  model_free(m);
  arena_free(&a);
  return 0;
}
