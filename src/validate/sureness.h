/* Coverage of sets, calibration of intervals, worth of the warnings: validate's own files only. */
#ifndef VALIDATE_SURENESS_H
#define VALIDATE_SURENESS_H
#include "base/json.h"
#include "validate/validate.h"

struct task_example;
/* Fills v->sureness for everybody; labels and probabilities stand in v, unusual (n) is predict_examples_unusual's. Without a record in the model:
 * measured = false. */
int sureness_measure(const struct validate_options *o, const struct task_example *at, const double *unusual, struct arena *a,
                     struct validation *v, struct error *e) MUST_CHECK;
int sureness_group(const struct validate_options *o, const char *name, const uint8_t *in, struct validation *v, struct error *e) MUST_CHECK;
void sureness_json(const struct sureness *s, struct json_out *o);
void sureness_html(const struct sureness *s, struct buf *b);
struct proportion proportion_of(uint32_t k, uint32_t n);
#endif
