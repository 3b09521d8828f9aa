/* Cox's partial likelihood (Cox 1972; ties after Breslow 1974), for task heads that learn from times to event.
 *
 *     uint32_t n = cox_order(time, fold, k, false, rows, order);        // rows by falling time
 *     double loss = cox_loss(z, time, y, order, n, gradient);              // gradient (rows): d loss / d z, written for rows in order; NULL = not wanted
 *
 * z: log hazard ratios; larger = earlier. The loss is the negative log partial likelihood, summed over events.
 */
#ifndef MODEL_TASK_COX_H
#define MODEL_TASK_COX_H
#include <stdbool.h>
#include <stdint.h>

/* Rows with (fold[i] == only) == inside, by falling time; fold NULL = all. `order` has room for all rows. Returns how many (0 when out of memory). */
uint32_t cox_order(const float *time, const uint8_t *fold, int only, bool inside, uint32_t rows, uint32_t *order);
double cox_loss(const double *z, const float *time, const uint8_t *y, const uint32_t *order, uint32_t n, double *gradient, double *hessian);
/* Loss of slope * z at the best slope from 0 to 1 (Newton): margins that are too bold are flattened by whoever weighs them later; timid ones have to be
 * put right by more rounds. */
double cox_calibrated(const double *z, const float *time, const uint8_t *y, const uint32_t *order, uint32_t n);
#endif
