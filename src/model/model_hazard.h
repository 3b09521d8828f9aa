/* Private to the model: the hazard head at rows of the trunk, for the steps of training and for its last fit (train_hazard.c). */
#ifndef MODEL_MODEL_HAZARD_H
#define MODEL_MODEL_HAZARD_H
#include "model/model_internal.h"

/* The hazard head at some rows: what came after each. At most HAZARD_ROWS at a time; all of them with dhidden or none of them. */
struct hazard_pick {
  const float *hidden; /* (d) */
  float *dhidden; /* (d) added to; NULL: the trunk (and with hazard_rates the codes' rates) stand still, gradients are of the head alone */
  const int64_t *first; /* (outcomes) time of the first occurrence; INT64_MAX = never */
  int64_t now, end;     /* the row's moment and the end of follow-up */
  double weight;
};
void hazard_chunk(const struct model *m, struct model_workspace *w, const struct hazard_pick *pick, int n,
                  float *gradient /* NULL: loss alone */, struct loss_sums *sum);
/* Positions of a sequence that training looks at: more where there are few outcomes, so that the cost stays the same. */
int hazard_samples(const struct model_config *c);
/* train_hazard.c: what its last fit takes beside all else. `lives`, `positions`: of the store, at most */
uint64_t train_hazard_bytes(const struct model_config *c, int threads, uint64_t lives, uint64_t positions);
#endif
