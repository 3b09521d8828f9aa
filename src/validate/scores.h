/* Private to validate/: the scores that a task file names (challenge.h), of the model and the baseline, with paired intervals: bootstrap over
 * patients, all their rows or hours together; concordance has none. Event 1's threshold answers yes as often as tuning patients, and
 * the training patients that its table had not seen, are expected to have the outcome (the baseline's, as often as tuning patients had
 * it); the utility's is the best of 200 on the same, each judged with its neighbours (the baseline's on tuning patients alone). The
 * utility's rows are all triggers of a stay; after the onset nobody is asked and the last answer stands.
 */
#ifndef VALIDATE_SCORES_H
#define VALIDATE_SCORES_H
#include "validate/validate.h"

struct task_binding;
struct task_example;
struct scores_input {
  const struct validate_options *o;
  const struct task_binding *binding;
  const struct baseline *baseline;
  struct task_example *at; /* (n) held-out, uncensored, as in the validation */
};
int scores_run(const struct scores_input *in, struct arena *a, struct validation *v, struct error *e) MUST_CHECK;
#define SCORE_THRESHOLDS 4
struct score_threshold {
  char score[24];
  double at;
};
struct known_answers { /* of a head's table about training moments of persons that it had not seen (model.h, `unseen`) */
  const struct task_example *at;
  const double *p;
  uint32_t n;
  double other;
};
/* The thresholds of a task's scores from tuning patients, and from what is known of the training patients, to be kept with its head before its table
 * learns from the tuning patients too (model_refit). An empty name ends the list; a model without a head for the task has none. */
int scores_thresholds(const struct validate_options *o, const struct known_answers *known, struct arena *a,
                      struct score_threshold out[SCORE_THRESHOLDS], struct error *e) MUST_CHECK;
#endif
