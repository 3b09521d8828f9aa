/* Shared by the files of predict/ only. Headers include no other module's: whoever includes this includes model/model.h,
 * timeline/task.h, timeline/timeline.h and token/token.h before it. */
#ifndef PREDICT_INTERNAL_H
#define PREDICT_INTERNAL_H
#include "predict/predict.h"
#include "predict/predict_estimate.h"
#include "predict/predict_law.h"
#include "predict/uncertainty.h"

#define PREDICT_STEPS 1024  /* most sampled instants of one future */
#define PREDICT_STREAMS 64  /* futures that one worker decodes together */
#define EXPLAIN_VARIANTS 64 /* removals tried at one level */

struct predictor {
  const struct model *m;
  const struct timeline *store;
  const struct vocabulary *v;
  struct token_map *map;
  struct model_workspace *w;
  int positions; /* of the workspace */
  struct token_options pack;
  struct token_batch batch;
  float *log_hazard;         /* (outcomes, HAZARD_BINS) of the position last asked about */
  uint32_t death[8], deaths; /* outcomes that end a life */
  struct law_shape shape;
  bool values;                   /* some code has values */
  struct model_decoder *decoder; /* NULL until futures are asked for */
  struct uncertainty *sure;      /* of the model; NULL = none */
  struct model_workspace *back;  /* for gradients; NULL until asked for */
  struct model_kept *kept;       /* the life asked about, for others that begin as it does; NULL until asked for, or too large */
  struct token_batch kept_batch; /* its inputs */
  bool keeps;                    /* `kept` holds the life of the question at hand */
  const struct model_task *features_of;
  struct feature_set *features; /* of that head, bound to this store */
  float *row;
  bool (*cancelled)(void *ctx); /* of the question at hand */
  void *cancel_ctx;
};
static inline bool predict_cancelled(const struct predictor *p) { return p->cancelled && p->cancelled(p->cancel_ctx); }

/* What is asked, resolved against the model's vocabulary: a request's store need not hold the target's codes. */
struct question {
  const struct model_task *head; /* NULL: the hazard answers */
  uint8_t *target;               /* (codes) 1 = this vocabulary entry is the target */
  uint8_t *competing;            /* (codes) 1 = ends the question: death, discharge … */
  uint32_t *outcome, *rival;     /* hazard outcomes among the targets, among the competing */
  uint32_t targets, outcomes, rivals;
  double gap_days, horizon_days;
};
int question_open(struct predictor *p, const struct task *task, struct question *q, struct error *e) MUST_CHECK;
void question_close(struct question *q);
double question_hazard(const struct predictor *p, const struct question *q); /* from p->log_hazard; NaN if no target code is an outcome */

/* One life up to a moment. `view` may be an edited copy (explanations). */
struct life {
  const struct timeline_view *view;
  uint32_t index, events;
  int64_t now; /* INT64_MIN = time of the last event */
};
struct answer {
  struct model_task_score score; /* NaN where there is no head */
  double hazard;
  double shipped; /* the head's probability, else the hazard's */
  double unusual; /* percentile of the life's distance (uncertainty.h); NaN: not known */
};
/* Packs as many lives as fit into each forward pass; while the predictor keeps a life, computes of each only what comes after the first
 * difference from it: the same bits. out[n]. */
int predict_lives(struct predictor *p, const struct question *q, const struct life *life, uint32_t n, struct answer *out,
                  struct error *e) MUST_CHECK;
/* By the latest instant with a code that enough training persons had: the least of its codes' follow-up, less the time gone by since;
 * INFINITY: not known. */
double predict_followed(const struct predictor *p, const struct life *life);
/* A bit for each outcome of the hazard head that the life has had: (predict_had_words) of them. */
void predict_had(const struct predictor *p, const struct life *life, uint64_t *had);
static inline size_t predict_had_words(const struct model *m) { return model_config(m)->outcomes / 64 + 1; }
uint32_t predict_prefix(const struct timeline_view *v, int64_t time); /* events with time <= time */
double predict_logit(double probability);

/* predict_curves.c: cumulative incidence between two moments (days) given the rates of target and rivals in the HAZARD_BINS bins
 * (Kalbfleisch & Prentice 1980); rates of death and one outcome's curve from p->log_hazard */
double predict_incidence(const double *target, const double *rival, double from, double to);
void predict_death_rates(const struct predictor *p, double *rate);
void predict_outcome_curve(const struct predictor *p, uint32_t outcome, const double *death, const double *days, int n, double *out);

/* predict_explain.c: edited copies of a life, so many in memory at once. edited_new is followed by edited_free, whatever it returns; x is zeroed before. */
#define EDITED_AT_ONCE 8
struct edited {
  struct timeline_view view;
  int64_t *time;
  uint32_t *code;
  float *value;
  uint8_t *gone; /* (events) for the caller */
};
int edited_new(uint32_t events, struct edited *x, struct error *e) MUST_CHECK;
void edited_free(struct edited *x);
void edited_without(const struct life *life, int64_t now, const uint8_t *gone, struct edited *x, struct life *out);
/* predict_reasons.c: fills r->reason. */
int predict_reasons(struct predictor *p, const struct question *q, const struct life *life, int most, struct arena *a, struct prediction *r,
                    struct error *e) MUST_CHECK;
/* predict_explain.c: fills r->contribution. r->probability is the shipped answer for `life`. */
int predict_change(struct predictor *p, const struct question *q, const struct life *life, int most, struct arena *a, struct prediction *r,
                   struct error *e) MUST_CHECK;
int predict_explain(struct predictor *p, const struct question *q, const struct life *life, int most, bool quick, struct arena *a,
                    struct prediction *r, struct error *e) MUST_CHECK;
/* predict_futures.c: `count` futures of each of many lives. */
struct sample_options {
  int count, steps, threads; /* threads: 0 = one */
  int events;                /* most events of one future; 0 = any */
  double horizon_days;
  bool paths;                /* keep the events; without, a path ends as soon as no question is open */
  const struct watch *watch; /* questions */
  int watches;
  bool anticipate;                      /* the one question's anticipated hazard: no paths */
  const float *without, *without_joins; /* then: mask of the codes that can come, and law_shape.joins of those */
};
struct sample { /* of one life; arrays of `count` (times watches), NULL where not asked for */
  struct future_event **path;
  int *n, *instants, cut;
  double *value, *inside; /* (count, watches) estimators; inside the gap */
  uint8_t *met;           /* (count, watches) plain futures: enum watch_met */
};
int predict_sample(struct predictor *p, const struct life *life, const uint64_t *seed, uint32_t lives, const struct sample_options *o,
                   struct arena *a, struct sample *out, struct error *e) MUST_CHECK;
/* predict_sampled.c: the parts of r that futures answer; q NULL = no task asked. Anticipated hazards of one question for many lives. */
int predict_sampled(struct predictor *p, const struct question *q, const struct life *life, const struct predict_options *o, double horizon,
                    struct arena *a, struct prediction *r, struct error *e) MUST_CHECK;
int predict_anticipated(struct predictor *p, const struct watch *w, const struct life *life, const uint64_t *seed, uint32_t lives,
                        int count, int threads, struct arena *a, struct sample *out, struct error *e) MUST_CHECK;
/* Runs work(job, worker) on every thread of a pool. *rcs and *errors are fields of the job: one of each per worker, made here and gone
 * afterwards; each worker sets its own. Returns the first failure. */
int predict_workers(int threads, void (*work)(void *job, int worker, int workers), void *job, int **rcs, struct error **errors,
                    struct error *e) MUST_CHECK;
#endif
