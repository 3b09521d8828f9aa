/* Shared by the memorisation files of validate/ only. */
#ifndef VALIDATE_MEMORISATION_PRIVATE_H
#define VALIDATE_MEMORISATION_PRIVATE_H
#include "validate/memorisation.h"

struct predict_code;
struct person { /* chosen for the comparison */
  uint32_t index, source;
  bool member, rare; /* member: was trained on */
  uint64_t key;      /* decides who is chosen */
  double plain, calibrated, blind;
};
/* `pair[i]` and `pair[pairs + i]` are a member and another person of one source. */
struct cohort {
  struct person *at;
  uint32_t pairs, sources;
  const struct predict_code *code; /* by the store's code */
  double *log_share;               /* by the vocabulary's id */
};
/* Beyond a limit, and not by chance: eight figures are judged at once, so that one of them passes a 95 % interval in some ten sound models. Hence
 * the lower end of one of 99 %, 2.576 / 1.96 times as far away. */
static inline double below_of_99(const struct interval *x) { return 1.314 * (x->at - x->lo); }
static inline bool beyond(const struct interval *x, double limit, double chance) {
  return x->at > limit && x->at - below_of_99(x) > chance;
}
/* What an AUC of persons with rare codes, who may be few, must exceed. Where the interval is wider than chance and limit are apart it cannot tell
 * them from each other, and has to lie above the limit as a whole: some 25 persons of a demo refused two of ten sound models by an AUC of .669
 * and .710. */
static inline double rare_chance(const struct interval *x, double limit) { return below_of_99(x) > limit - 0.5 ? limit : 0.5; }
/* Scores of two classes: AUC with DeLong's interval, true positives at 1 % false positives with a bootstrap interval, ROC. */
int attack_measure(const double *score, const uint8_t *member, uint32_t n, uint64_t seed, struct arena *a, struct attack *out,
                   struct error *e) MUST_CHECK;
struct interval auc_interval(const double *score, const uint8_t *member, uint32_t n);
/* memorisation_nearest.c: fills the generation's part of `m`. */
int memorisation_nearest(const struct memorisation_options *o, const struct cohort *c, struct arena *a, struct memorisation *m,
                         struct error *e) MUST_CHECK;
#endif
