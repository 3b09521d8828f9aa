/* How early at what price: validate's own files only.
 *
 * For tasks that ask the same patients repeatedly. An alert is a moment whose answer reaches the threshold; after it the patient is left alone for the
 * task's horizon. Thresholds are chosen so that alerts stay within a budget per 100 patient-days (moments times the median time between
 * moments); a case is flagged if an alert came within the horizon before its outcome. Alerts that come earlier still, and those of controls,
 * count as alerts and nothing else.
 */
#ifndef VALIDATE_LEAD_TIME_H
#define VALIDATE_LEAD_TIME_H
#include "base/json.h"
#include "validate/validate.h"

struct task_example;
int lead_time_measure(const struct validate_options *o, const struct task_example *at, struct validation *v, struct error *e) MUST_CHECK;
void lead_time_json(const struct lead_time *l, struct json_out *o);
void lead_time_html(const struct lead_time *l, struct buf *b);
#endif
