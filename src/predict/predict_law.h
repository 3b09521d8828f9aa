/* Private to src/predict: the law of what comes next after one position, and what it says about a question before anything is drawn.
 *
 * While rates stand still, the wait to the next instant is exponential with rate R = sum exp(l), l being the log rates of the codes. An instant is a set. The rates' loss
 * (model_heads.c) gives each code of the next instant an equal share of one target, so exp(l_c) / R is the chance that a blind pick from the next
 * instant finds c: not the chance that c is in it. The vocabulary knows m_c, the mean size of the sets in which such a pick finds c
 * (vocabulary_entry.together), and
 *
 *     P(c is in the next instant) = m_c exp(l_c) / R.
 *
 * The set is drawn so that this holds for every code: a first code by exp(l); then, then a Poisson number of further
 * draws with that code's mean m - 1, by exp(l_d) (m_d - 1). A code that always comes alone (m = 1) neither brings others nor joins them. Repeats count
 * once, so that codes which nearly always come are drawn a little too seldom; rare ones (all that is foretold) are not touched.
 * Unknown and static codes have rate 0. Codes with nearly the same m share its mean where there are more than LAW_SIZES sizes.
 *
 * Rates that stand still for a whole wait are what the loss fits: events over time at risk. The hazard head (model.h) knows more of an outcome that a life
 * has not had yet: its hazard h_b in each stretch b of the time from the position on. Within a wait such a code comes at
 *
 *     rate_b = exp(l) h_b / (sum of w h),   w_b = the share of b in the time that a wait is expected to take,
 *
 * which is the rate exp(l) again on average over the wait: the chance of the next instant to hold a code, and the mean wait, stay what was learned, and the head
 * says when (`struct law_bend`). The shares hang on the rates, and are found by going round. Stretches beyond what anybody was followed for
 * (vocabulary_entry.followed_days) have no weight, and the last rate that was seen goes on. Codes that were had before, that the head does not have,
 * or whose hazard is flat, stand still; if all do, the wait is exponential as above, to the bit. Hazards that start from the rates
 * (model_config.hazard_rates) are not asked: with so many outcomes they would cost more than the step itself.
 *
 * `law_meet` is the chance that an instant holds a code of A, and that it holds none of A but one of B. With g = the share of A and B in a further
 * draw, a set that began outside them stays outside with chance exp(-(m - 1) g). From that follow the estimators (predict_estimate.h).
 */
#ifndef PREDICT_LAW_H
#define PREDICT_LAW_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define LAW_BLOCK 64
#define LAW_SIZES 32
#define LAW_STRETCHES 8 /* = HAZARD_BINS */

struct model;
struct model_workspace;
struct rng;
struct vocabulary;
struct law_shape { /* of a vocabulary; shared by threads */
  uint32_t codes, blocks;
  float *open;              /* (codes, rounded up to blocks) 1 = can come */
  float *joins;             /* (the same) m - 1 where it can come, 0 elsewhere */
  uint8_t *death, *size_of; /* (the same) 1 = ends a life; index into size */
  double size[LAW_SIZES];   /* m of the codes that share it */
  int sizes;
};
struct law {
  const float *rate;      /* (codes) exp(l - top) */
  double *block;          /* (blocks) sums of rate * mask */
  double total;           /* sum of block */
  double scale;           /* exp(top): rates a day are rate * scale */
  const float *mask;      /* what a draw is weighed by: shape->open, shape->joins, or one of them without some */
  double all, joins;      /* sums over all open codes: rate, rate * (m - 1) */
  double size[LAW_SIZES]; /* share of each size in `all`; filled by law_sizes, for questions */
};
struct law_meeting { /* chances */
  double target, end;
};
struct law_bend {              /* of one wait */
  bool moves;                  /* false: all rates stand still */
  uint32_t *code;              /* (outcomes) of the hazard head */
  float *still;                /* (outcomes) rates in law.rate that move; 0 = of one that does not */
  float *course;               /* (stretches, outcomes) times that */
  int stretches;               /* the last one goes on */
  double total[LAW_STRETCHES]; /* all rates in each stretch, as law.all */
};
bool predict_is_death(struct str code); /* MEDS_DEATH and what is below it */
/* What can come, of one event at a time (`single`) or of sets. E_NOMEM. */
int law_shape_new(const struct vocabulary *v, bool single, struct law_shape *s, struct error *e) MUST_CHECK;
void law_shape_free(struct law_shape *s);
/* Fills rate (codes, rounded up to blocks) and law from log rates; E_CORRUPT if they are no numbers. */
int law_make(const struct model *m, const struct law_shape *s, const float *log_rate, float shift, float *rate, struct law *law,
             struct error *e) MUST_CHECK;
void law_sum(const struct model *m, const struct law_shape *s, const float *mask, struct law *law); /* anew under another mask */
void law_sizes(const struct law_shape *s, struct law *law);
/* Do rates of this model's outcomes move within a wait? */
bool law_bends(const struct model *m);
int law_bend_new(const struct model *m, struct law_bend *b, struct error *e) MUST_CHECK;
void law_bend_free(struct law_bend *b);
/* Of the position whose hidden row and law these are. had: a bit for each outcome. followed: days from the position on, INFINITY = not known. */
void law_bend_make(const struct model *m, struct model_workspace *w, const struct law_shape *s, const struct law *law, const float *hidden,
                   const uint64_t *had, double followed, struct law_bend *b);
/* The law in stretch `bin`; `rate` is the law's. End of the stretch: days after the position. */
void law_bend_to(const struct model *m, const struct law_shape *s, const struct law_bend *b, int bin, float *rate, struct law *law);
double law_bend_end(const struct law_bend *b, int bin);
uint32_t law_draw(const struct law *law, const struct law_shape *s, struct rng *r);
/* Chances of one instant for lists of codes that share none. *outside: share g of both in a further draw. */
struct law_meeting law_meet(const struct law *law, const struct law_shape *s, const uint32_t *target, uint32_t targets, const uint32_t *end,
                            uint32_t ends, double *outside);
#endif
