/* Leaks: does something among the inputs know the outcome? validate's own files only.
 *
 * Findings that the gate refuses: events after the moment; held-out lives that are copies of training lives; a code that stands before the moment almost
 * only in cases; events that stand before the outcome in time but behind it in a source that is written in the order of recording
 * (back-dated: known only afterwards); discrimination too good to be true. A caution, for a person to judge: a code that nearly always comes at the
 * same instant as the target and is not part of it (a synonym that was forgotten in the task, or the work-up). What cannot be found: an entry
 * back-dated in a source that was sorted by its stamps.
 */
#ifndef VALIDATE_LEAKS_H
#define VALIDATE_LEAKS_H
#include "validate/validate.h"

struct task_binding;
struct task_example;
int leaks_look(const struct validate_options *o, const struct task_binding *binding, const struct task_example *at, struct arena *a,
               struct validation *v, struct error *e) MUST_CHECK;
#endif
