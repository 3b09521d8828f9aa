/* A session's answers: three ways to one number, and why.
 *
 *     struct predictor *p;  TRY(predictor_new(model, store, &p, e));                // store: a site's timelines or a request's memory timeline
 *     struct prediction r;  TRY(predict(p, index, &(struct predict_options){.task = t, .futures = 200, .explain = 10, .seed = 1}, &arena, &r, e));
 *     prediction_json(&r, &json);
 *
 * (1) task head: blended, calibrated on tuning patients; (2) hazard: closed form, piecewise-exponential, all outcomes in one
 * pass; (3) futures: sampled timelines (competing exponentials, shared-prefix KV cache, fixed seeds), share with the
 * outcome, with its Monte-Carlo standard error. Contributing events by exact removal: each candidate instant is taken out and
 * the answer recomputed (batched); the change in log odds is what is shown. A predictor belongs to one thread.
 */
#ifndef PREDICT_PREDICT_H
#define PREDICT_PREDICT_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct model;
struct timeline;
struct task;
struct json_out;
struct predictor;

struct predict_options {
  const struct task *task;         /* NULL: hazards only */
  int64_t time;                    /* the moment, us; INT64_MAX = now = the end of the record; events after it are not used */
  int futures;                     /* 0 = none */
  double horizon_days;             /* of the futures; 0 = the task's, else 365.25; E_USAGE unless beyond the task's gap */
  int explain;                     /* number of contributing events; 0 = none */
  double explain_least;            /* of answers below this probability none are looked for */
  bool (*explain_late)(void *ctx); /* (cancel_ctx) or NULL: true ends the search for them, and the answer goes without */
  int reasons;                     /* number of steps in which what raised the answer is taken out; 0 = none */
  bool quick;   /* of these events, ask only about the latest one of each of the eight latest codes: no search, no gradients */
  int change;   /* number of values that would have made another answer; 0 = none */
  int outcomes; /* number of most likely outcomes listed; 0 = 10, -1 = none */
  uint64_t seed;
  int threads;                  /* of the futures; 0 = one. The answer has the same bits for any number */
  bool (*cancelled)(void *ctx); /* asked between steps of long work (or NULL): true ends it with E_CANCELLED */
  void *cancel_ctx;
};
struct predict_outcome {
  struct str code, display;
  uint32_t id;                      /* in the model's vocabulary */
  double probability[6];            /* within each of predict_horizon_days, death competing; NaN beyond followed_days */
  bool before;                      /* already happened: shown for completeness, not "new onset" */
  double sampled, sampled_se;       /* share of futures with it within horizon_days; NaN if none were sampled, or beyond followed_days */
  double integrated, integrated_se; /* the same probability from the futures' hazards: smaller error (predict_estimate.h) */
  double sampled_within[6];         /* the same within each of predict_horizon_days; NaN beyond horizon_days and followed_days */
};
struct predict_contribution {
  int64_t time;
  struct str code, display, unit;
  float value;
  double delta;    /* log odds with the event minus log odds without it: > 0 raised the risk */
  double gradient; /* its share of the head's deep logit by integrated gradients; NaN where there is no head */
  uint32_t event;  /* its place in the life */
};
/* What raised the answer, taken out step by step: all events of a code, its latest few, or one event; first what lowers the answer most for each event lost. */
struct predict_reason {
  struct str code, display, unit;
  uint32_t events;     /* taken out in this step */
  int64_t first, last; /* their times */
  float value;         /* of the last one */
  double gain;         /* log odds that the answer lost by it, after the steps before */
  double left;         /* the answer without all listed so far */
  uint32_t *event;     /* (events) places in the life */
};
/* A value that would have made another answer: what the model associates with it, not what would happen if somebody changed it. */
struct predict_change {
  int64_t time;
  struct str code, display, unit;
  float value, instead; /* instead: within the range that training held */
  double probability;   /* the answer then */
};
struct prediction {
  int64_t subject, time;
  uint32_t events; /* used */
  bool dead;       /* the record holds the death: there is nothing to foretell, and no outcomes are listed */
  bool has_task;
  char task[64];
  const char *refusal; /* NULL: the task applies; else why not ("dead", "trigger not met", …): then there is no probability */
  double probability;  /* (1) the shipped answer */
  bool calibrated;     /* by a head, on tuning patients */
  double deep, wide;   /* its parts, logits */
  double hazard;       /* (2) closed form for the task's target within its horizon; NaN if the target is no outcome of the hazard head */
  double sampled, sampled_se;         /* (3) share of the futures */
  double integrated, integrated_se;   /* (3) from the hazards along the same futures */
  double anticipated, anticipated_se; /* (3) from futures in which the target cannot come: the smallest error */
  double agreement;                   /* |logit(1) - logit(2)|, NaN if (2) is absent: large = say so */
  int futures;
  int cut;             /* futures that reached the most instants one may have: outcomes after that are missed */
  double sampled_days; /* horizon of the futures */
  double task_days;    /* horizon of the task */
  double lo, hi;       /* Venn-Abers interval of `probability`; NaN: the model has none for the task (uncertainty.h) */
  unsigned set;        /* SET_NO | SET_YES: what cannot be ruled out at `coverage`; meaningless where lo is NaN */
  double coverage;
  double unusual;         /* percentile of the timeline's distance among tuning patients; NaN: not known */
  double unknown_share;   /* of the events */
  uint32_t outside;       /* values beyond all that training held */
  double followed_days;   /* how long enough training persons were followed after events like the latest here; INFINITY: not known. What was
                             never seen is not foretold: outcomes have no number beyond it */
  const char *warning[4]; /* our own sentences: why this answer is less sure than others */
  int warnings;
  const char *method; /* of the contributions: "exact removal" */
  struct predict_outcome *outcome;
  int outcomes;
  struct predict_contribution *contribution;
  int contributions;
  struct predict_reason *reason;
  int reasons;
  struct predict_change *change; /* largest lowering first */
  int changes;
  uint32_t unknown_codes; /* events whose code the model has never seen */
};
extern const double predict_horizon_days[6]; /* 1 7 30 90 365.25 1826.25 */

int predictor_new(const struct model *m, const struct timeline *store, struct predictor **out, struct error *e) MUST_CHECK;
void predictor_free(struct predictor *p);
/* The same predictor on another store: the workspace, its largest part, stays. After a failure only predictor_free may follow. */
int predictor_use(struct predictor *p, const struct timeline *store, struct error *e) MUST_CHECK;
int predict(struct predictor *p, uint32_t subject_index, const struct predict_options *o, struct arena *a, struct prediction *out,
            struct error *e) MUST_CHECK;
/* A life as a vector of the model's width: out (d). The last position's hidden state, or the mean over all that fit the context. */
int predict_embed(struct predictor *p, uint32_t subject_index, int64_t time, bool mean, float *out, uint32_t *events,
                  struct error *e) MUST_CHECK;
void prediction_json(const struct prediction *r, struct json_out *o);
const char *prediction_way(const struct prediction *r); /* how the shipped answer was made, in words */
void prediction_print(const struct prediction *r, int width, bool colour, struct buf *out);

/* Many examples of one task in batches, for validate: probability[i], hazard[i] (NaN if none); threads share the work. */
struct task_example;
int predict_examples(const struct model *m, const struct timeline *store, const struct task *task, const struct task_example *at,
                     uint32_t n, int threads, double *probability, double *hazard, struct error *e) MUST_CHECK;
/* The same, and the percentile of each life's distance (uncertainty.h) from the same pass. */
int predict_examples_unusual(const struct model *m, const struct timeline *store, const struct task *task, const struct task_example *at,
                             uint32_t n, int threads, double *probability, double *hazard, double *unusual, struct error *e) MUST_CHECK;
/* A head answers the question that it was trained on (task_asks), not every one of its name: otherwise the task is answered as without a head. */
bool predict_has_head(const struct model *m, const struct task *task);
/* There is one of that name, and it was trained on another question. */
bool predict_head_differs(const struct model *m, const struct task *task);
/* Of a score that the task asks for (docs/task.md), kept with the head: NaN if there is none. */
double predict_threshold(const struct model *m, const struct task *task, const char *score);
/* Time-to-event curves of many lives: cumulative incidence of each code's first occurrence within each of `days` after the moment, death
 * competing, closed form, one forward pass a life. out (n, codes, n_days); NaN where a code is no outcome of the hazard head. */
struct predict_curves_request {
  const char *const *code;
  int codes;
  const double *days;
  int n_days;
};
int predict_curves(const struct model *m, const struct timeline *store, const struct task_example *at, uint32_t n,
                   const struct predict_curves_request *want, int threads, double *out, struct error *e) MUST_CHECK;
/* How likely the model finds whole lives (their latest context's length), for the memorisation gates: sums over the events of life i. */
struct predict_likelihood {
  double code, wait, value; /* log-likelihoods: of the codes among all codes, of the waits (per day), of the values */
  uint32_t events, instants, values;
};
int predict_likelihoods(const struct model *m, const struct timeline *store, const uint32_t *subject, uint32_t n, int threads,
                        struct predict_likelihood *out, struct error *e) MUST_CHECK;
/* What a code of a store is to the model: its vocabulary entry's id (0 = unknown), in how many training persons, whether it only says when
 * somebody was born. */
struct predict_code {
  uint32_t id, persons;
  bool birth;
};
int predict_codes(const struct model *m, const struct timeline *store, struct predict_code *out, struct error *e) MUST_CHECK;
const char *predict_vocabulary_hash(const struct model *m);
bool predict_code_find(const struct model *m, struct str code, uint32_t *id); /* a code's vocabulary id, as in futures */
/* Sampled futures on their own, for tests and the workbench: one path per future. */
struct future_event {
  double days;
  uint32_t code;
  float value;
}; /* days from the moment; vocabulary id */
struct futures {
  struct future_event **path;
  int *n;
  int count, cut;
}; /* cut: paths that reached the most instants one may have */
int predict_futures(struct predictor *p, uint32_t subject_index, int64_t time, int count, double horizon_days, uint64_t seed,
                    struct arena *a, struct futures *out, struct error *e) MUST_CHECK;
/* What the futures are drawn from, exactly: out[k] = chance that the next instant comes within `days` and holds code[k] (a vocabulary id). */
int predict_next(struct predictor *p, uint32_t subject_index, int64_t time, const uint32_t *code, int codes, double days, double *out,
                 struct error *e) MUST_CHECK;
/* Futures of many lives in one run: a future ends, the next begins in its place. A path depends on its life, time, seed and number only. */
struct future_ask {
  uint32_t subject_index;
  int64_t time;
  uint64_t seed;
};
struct futures_options {
  int count; /* of each life */
  double horizon_days;
  int steps;   /* most instants of one; 0 = 1024 */
  int events;  /* most events of one, whole instants; 0 = any */
  int threads; /* 0 = one */
  bool (*cancelled)(void *ctx);
  void *cancel_ctx;
};
int predict_futures_many(struct predictor *p, const struct future_ask *ask, uint32_t n, const struct futures_options *o, struct arena *a,
                         struct futures *out /* (n) */, struct error *e) MUST_CHECK;
#endif
