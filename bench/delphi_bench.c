/* What the comparison of accuracy with Delphi (bench/run-delphi) needs of a store and of a model.
 *
 *     delphi_bench lives STORE SPLIT          CSV on standard output: person (number in the store), day (of age), code; facts without a time at day 0
 *     delphi_bench scores STORE MODEL CODES QUERIES OUT
 *
 * CODES: one code a line. QUERIES: int32 triplets (person, day, index of a code or -1 = all of them), queries of one person together. Asked is
 * what the model says when everything up to that day is known and nothing later. OUT: for each query float32 rows of four, one row a code
 * asked about: log rate of the next instant's law, and of the hazard head's closed form (death competing) the risks within 30 days,
 * within one year, and in the second year; a code that is no outcome of the model has NaN. One JSON line on standard output.
 *
 * A life is run once, and every position answers for the prefix that ends there: the trunk is causal, so that these are the answers of
 * predict_curves() for the prefixes (the first queries are asked there too, and have to agree). Only a prefix longer than the context is run on its own.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/thread.h"
#include "base/time.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "predict/predict.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

#define COLUMNS 4
#define CHECKED 50
static const double asked_days[3] = {30, 365.25, 730.5};

static struct error fail;
#define MUST(call)                                       \
  do {                                                   \
    if ((call) < 0) error_print(stderr, &fail), exit(1); \
  } while (0)

static int64_t born(const struct timeline *t, const struct timeline_view *v) {
  for (uint32_t k = 0; k < v->n; k++)
    if (str_eqc(timeline_code_name(t, v->code[k]), "MEDS_BIRTH")) return v->time[k];
  fprintf(stderr, "a person without a birth\n");
  exit(1);
}

static void lives(const struct timeline *t, const char *split) {
  static const char *const name[SPLITS] = {"train", "tuning", "held_out"};
  printf("person,day,code\n");
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    if (strcmp(name[v.split], split) != 0) continue;
    int64_t birth = born(t, &v);
    for (uint32_t k = 0; k < v.n; k++) {
      struct str code = timeline_code_name(t, v.code[k]);
      if (str_eqc(code, "MEDS_BIRTH")) continue;
      printf("%u,%lld,%.*s\n", i, k < v.statics ? 0LL : (long long)((v.time[k] - birth) / TIME_DAY), STR_ARG(code));
    }
  }
}

struct query {
  int32_t person, day, code;
};
struct asker {
  struct predictor *p;
  uint32_t *id;     /* (codes) vocabulary ids, UINT32_MAX = unknown to the model */
  int32_t *outcome; /* (codes) -1 = none */
  int codes;
  float *log_rate;
  double death[HAZARD_BINS]; /* with log_rate and the predictor's log_hazard: of the position that was asked about last */
  FILE *out;
  struct task_example checked[CHECKED]; /* the first of those that ask about every code */
  float *answers;                       /* (CHECKED, codes, COLUMNS) */
  int checks;
};

static void look(struct asker *a, const float *hidden) {
  struct predictor *p = a->p;
  model_rates(p->m, p->w, hidden, a->log_rate);
  model_hazard(p->m, p->w, hidden, p->log_hazard);
  predict_death_rates(p, a->death);
}

static void answer(struct asker *a, int32_t code) {
  struct predictor *p = a->p;
  for (int c = code < 0 ? 0 : code; c < (code < 0 ? a->codes : code + 1); c++) {
    float row[COLUMNS] = {NAN, NAN, NAN, NAN};
    if (a->id[c] != UINT32_MAX) row[0] = a->log_rate[a->id[c]];
    if (a->outcome[c] >= 0) {
      double risk[3];
      predict_outcome_curve(p, (uint32_t)a->outcome[c], a->death, asked_days, 3, risk);
      row[1] = (float)risk[0], row[2] = (float)risk[1], row[3] = (float)(risk[2] - risk[1]);
    }
    if (fwrite(row, sizeof row, 1, a->out) != 1) exit(1);
    if (code < 0 && a->checks < CHECKED) memcpy(a->answers + ((size_t)a->checks * (size_t)a->codes + (size_t)c) * COLUMNS, row, sizeof row);
  }
}

static void run_prefix(struct predictor *p, const struct timeline_view *v, uint32_t person, uint32_t events) {
  token_batch_clear(&p->batch);
  MUST(token_pack(p->v, p->map, v, person, events, INT64_MIN, &p->pack, &p->batch, &fail));
  MUST(model_forward(p->m, p->w, &p->batch, NULL, &fail));
}

/* Events of the longest prefix, whole instants, that the context holds from the start. */
static uint32_t fits(const struct predictor *p, const struct timeline_view *v) {
  int room = p->pack.context - 1;
  uint32_t k = v->statics, good = k;
  int64_t last = INT64_MIN;
  for (; k < v->n; good = ++k) {
    if (v->time[k] != last && room-- == 0) break;
    last = v->time[k];
  }
  return good;
}

static void ask_person(struct asker *a, const struct query *q, size_t n) {
  struct predictor *p = a->p;
  uint32_t person = (uint32_t)q->person;
  struct timeline_view v = timeline_view(p->store, person);
  int64_t birth = born(p->store, &v);
  uint32_t whole = fits(p, &v);
  size_t d = (size_t)model_config(p->m)->d;
  bool packed = false;
  int looked = -1; /* row of the whole life's run */
  for (size_t i = 0; i < n; i++) {
    int64_t time = birth + (int64_t)q[i].day * TIME_DAY + TIME_DAY - 1; /* the wall moves whole days: the day to its end */
    uint32_t events = predict_prefix(&v, time);
    bool alone = events > whole;
    if (alone || !packed) run_prefix(p, &v, person, alone ? events : whole);
    packed = !alone;
    int row = p->batch.positions - 1;
    while (row > 0 && p->batch.time[row] > time) row--;
    if (events == 0) row = 0;
    if (alone || row != looked) look(a, model_hidden(p->w) + (size_t)row * d);
    looked = alone ? -1 : row;
    answer(a, q[i].code);
    if (q[i].code < 0 && a->checks < CHECKED)
      a->checked[a->checks++] = (struct task_example){.subject_index = person, .events = events, .time = v.time[events - 1]};
  }
}

/* Largest difference of log risk from what the ordinary way answers for the same prefixes. */
static double check(const struct asker *a, const char *const *code) {
  struct predict_curves_request want = {code, a->codes, asked_days, 2};
  double *curve = malloc((size_t)a->checks * (size_t)a->codes * 2 * sizeof *curve), worst = 0;
  if (!curve) exit(1);
  MUST(predict_curves(a->p->m, a->p->store, a->checked, (uint32_t)a->checks, &want, 1, curve, &fail));
  for (size_t i = 0; i < (size_t)a->checks * (size_t)a->codes; i++)
    for (size_t h = 0; h < 2; h++)
      if (!isnan(curve[2 * i + h])) worst = fmax(worst, fabs(log((double)a->answers[i * COLUMNS + 1 + h] / curve[2 * i + h])));
  free(curve);
  return worst;
}

static char **read_codes(const char *path, int *n) {
  FILE *f = fopen(path, "r");
  char line[256], **code = NULL;
  *n = 0;
  if (!f) exit(1);
  while (fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = 0;
    code = realloc(code, ((size_t)*n + 1) * sizeof *code);
    if (!code || !(code[(*n)++] = strdup(line))) exit(1);
  }
  fclose(f);
  return code;
}

static struct query *read_queries(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  struct query *q = NULL;
  if (!f || fseek(f, 0, SEEK_END) != 0) exit(1);
  *n = (size_t)ftell(f) / sizeof *q;
  rewind(f);
  q = malloc(*n * sizeof *q + 1);
  if (!q || fread(q, sizeof *q, *n, f) != *n) exit(1);
  fclose(f);
  return q;
}

static void scores(const struct timeline *t, char **args) {
  struct asker a = {0};
  struct model *m;
  size_t n;
  char **code = read_codes(args[1], &a.codes);
  struct query *q = read_queries(args[2], &n);
  double began = time_cpu();
  MUST(model_load(args[0], &m, &fail));
  model_set_kernel(m, kernel_pick(KERNEL_AUTO, KERNEL_F32));
  MUST(predictor_new(m, t, &a.p, &fail));
  a.id = malloc((size_t)a.codes * sizeof *a.id);
  a.outcome = malloc((size_t)a.codes * sizeof *a.outcome);
  a.log_rate = malloc((size_t)model_config(m)->codes * sizeof *a.log_rate);
  a.answers = malloc((size_t)CHECKED * (size_t)a.codes * COLUMNS * sizeof *a.answers);
  a.out = fopen(args[3], "wb");
  if (!a.id || !a.outcome || !a.log_rate || !a.answers || !a.out) exit(1);
  for (int c = 0; c < a.codes; c++) {
    bool known = vocabulary_find(a.p->v, str_c(code[c]), &a.id[c]);
    if (!known) a.id[c] = UINT32_MAX;
    a.outcome[c] = known ? vocabulary_at(a.p->v, a.id[c])->outcome : -1;
  }
  for (size_t i = 0, k; i < n; i = k) {
    for (k = i; k < n && q[k].person == q[i].person; k++) {}
    ask_person(&a, q + i, k - i);
  }
  if (fclose(a.out) != 0) exit(1);
  printf("{\"queries\": %zu, \"parameters\": %llu, \"cpu_seconds\": %.1f, \"log_risk_off\": %.2e}\n", n,
         (unsigned long long)model_parameters(m), time_cpu() - began, check(&a, (const char *const *)code));
  predictor_free(a.p);
  model_free(m);
}

int main(int n, char **args) {
  struct timeline *t;
  thread_fast_float();
  progress_mode(PROGRESS_QUIET);
  bool asks = n == 7 && strcmp(args[1], "scores") == 0;
  if (!asks && !(n == 4 && strcmp(args[1], "lives") == 0)) {
    fprintf(stderr, "usage: delphi_bench lives STORE SPLIT | scores STORE MODEL CODES QUERIES OUT\n");
    return 2;
  }
  MUST(timeline_open(args[2], &t, &fail));
  if (asks)
    scores(t, args + 3);
  else
    lives(t, args[3]);
  timeline_close(t);
  return 0;
}
