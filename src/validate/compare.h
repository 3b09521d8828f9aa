/* Two predictors on the same patients: is the new version better? validate's own files only.
 *
 * AUROC: paired DeLong test (DeLong et al. 1988), exact for examples that are all of different patients, and a paired bootstrap over patients.
 * AUPRC, Brier: paired bootstrap. Net reclassification improvement: continuous, cases and controls apart (Pencina et al. 2011), and at a
 * threshold; integrated discrimination improvement (Pencina et al. 2008). NRI rewards miscalibration, so it is told beside Brier, never alone
 * (Hilden & Gerds 2014).
 */
#ifndef VALIDATE_COMPARE_H
#define VALIDATE_COMPARE_H
#include "base/json.h"
#include "validate/validate.h"

/* first - second on examples with labels; cluster[i]: patient of example i, 0 to clusters-1. E_INPUT where a score is NaN */
int compare_scores(const double *first, const double *second, const uint8_t *label, uint32_t n, const uint32_t *cluster, uint32_t clusters,
                   int resamples, uint64_t seed, double threshold, struct arena *a, struct version_comparison *out,
                   struct error *e) MUST_CHECK;
/* Difference of two AUROCs of the same examples, its standard error, two-sided p; NaN where a class or a score is missing. */
double compare_delong(const double *first, const double *second, const uint8_t *label, uint32_t n, double *se, double *p, struct arena *a);
void comparison_json(const struct version_comparison *c, const char *key, struct json_out *o);
void comparison_html(const struct version_comparison *c, struct buf *b);
#endif
