/* A task: what is to be predicted, for whom, when, how far ahead. A small JSON file after ACES (docs/task.md); validate and
 * predict read nothing else. One pure function turns a life into labelled moments; training and serving use the same one.
 *
 *     { "name": "in-hospital-death", "title": "Death in hospital, asked at hour 48 of an ICU stay",
 *       "trigger": {"code": ["PHYSIONET2012//ADMISSION"], "offset": "48h", "which": "first"},   // or {"every": "1y", "from": "18y"} of age, or {"end": true}
 *       "require": [{"any": ["*"], "from": "-48h", "to": "0h", "min": 1}],                       // windows relative to the moment
 *       "exclude": [{"any": ["MEDS_DEATH"], "from": "-inf", "to": "0h"}],
 *       "new_onset": true,                                   // nobody who had the target before (or at) the moment
 *       "target": {"any": ["MEDS_DEATH"]},                   // any | all | {"any": […], "value": {"ge": 126}}; a pattern ending in a star = prefix
 *       "horizon": "1y",                                     // or "record": to the end of the record, where not having it counts as no
 *       "gap": ["0d", "30d", "1y"],                          // ignore targets closer than this (first one is the default)
 *       "censor": "drop",                                    // label unknown when the record ends before the horizon: drop | negative
 *       "time_to_event": true,                               // learn from the times, not from yes and no alone
 *       "auxiliary": [{"horizon": "12d"}, {"target": {"any": ["DISCHARGE"]}, "horizon": "7d"}],   // what else teaches the table
 *       "scores": ["event1", "h", "utility2019", "concordance"] }   // validate adds them (docs/task.md)
 */
#ifndef TIMELINE_TASK_H
#define TIMELINE_TASK_H
#include "timeline/timeline.h"

struct task;
int task_load(const char *path, struct task **out, struct error *e) MUST_CHECK;
int task_parse(const char *bytes, size_t n, struct task **out, struct error *e) MUST_CHECK; /* the file's bytes; pure */
void task_free(struct task *t);
const char *task_name(const struct task *t);
const char *task_title(const struct task *t);
const char *task_hash(const struct task *t); /* SHA-256 of the file's bytes */
const char *task_text(const struct task *t); /* those bytes, NUL-terminated: kept with a trained head */
/* Does that text (of a trained head) ask the same? Moments, labels and the default gap count; titles, white space, scores, auxiliary targets and
 * further gaps do not. */
bool task_asks(const struct task *t, const char *text);
int task_gaps(const struct task *t); /* >= 1 */
int64_t task_gap(const struct task *t, int i);
bool task_time_to_event(const struct task *t);
enum task_score { TASK_SCORE_EVENT1 = 1, TASK_SCORE_H = 2, TASK_SCORE_UTILITY2019 = 4, TASK_SCORE_CONCORDANCE = 8 };
unsigned task_scores(const struct task *t); /* of enum task_score */
bool task_names_trigger(const struct task *t, struct str code);
int64_t task_horizon(const struct task *t); /* us; INT64_MAX = to the end of the record */

/* Other targets of the same moments: each a task of its own that may be bound and asked with task_label_moment; where the record ends before
 * its horizon it counts as no. Borrowed. */
enum { TASK_AUXILIARIES = 8 };
int task_auxiliaries(const struct task *t);
const struct task *task_auxiliary(const struct task *t, int i);

/* The task's code patterns resolved against one store's dictionary (a bit per code). */
struct task_binding;
int task_bind(const struct task *t, const struct timeline *store, struct task_binding **out, struct error *e) MUST_CHECK;
void task_binding_free(struct task_binding *b);
bool task_is_target(const struct task_binding *b, uint32_t code);
uint32_t task_target_codes(const struct task_binding *b, const uint32_t **codes); /* borrowed */
/* Is one event with this code, whatever its value, the target? False for every code where the task wants all of several or a value. For a
 * model's vocabulary, which knows codes that the store at hand (a request) does not hold. */
bool task_names_target(const struct task *t, struct str code);
/* Does this code end the question, so that the target can no longer come? Death, and what the task lists as "competing" (discharge, for death
 * in hospital). Labels follow from the record itself; predictions weigh the target's rate against these. */
bool task_names_competing(const struct task *t, struct str code);

enum label { LABEL_NO, LABEL_YES, LABEL_CENSORED };
struct task_example {
  uint32_t subject_index;
  int64_t time;    /* the moment: events with event time <= time may be used, nothing later */
  uint32_t events; /* how many of the view's events that is (a prefix of the view) */
  enum label label;
  int64_t outcome; /* when the target came (or the record ended): for time-to-event */
};
/* Labels one life for one gap. Appends to out[0..cap); returns how many, or a negative code. E_LIMIT if cap is too small. */
int task_label(const struct task_binding *b, const struct timeline_view *v, uint32_t subject_index, int gap, struct task_example *out,
               int cap, struct error *e) MUST_CHECK;
/* One moment of a life, without a gap, whether or not a trigger makes it. False where nobody would be asked. subject_index is left as it is. */
bool task_label_moment(const struct task_binding *b, const struct timeline_view *v, int64_t moment, struct task_example *out);
/* May the task be asked about a life whose first `events` events are known, at `moment`? Death, the target where only new onsets count,
 * a competing event with no code trigger after it, and the windows as for labels; a code trigger must have come (its offset
 * need not have passed), an age trigger wants an age in its range. */
enum task_applies { TASK_APPLIES, TASK_DEAD, TASK_NO_TRIGGER, TASK_PRIOR, TASK_WINDOW, TASK_ENDED };
enum task_applies task_applies(const struct task_binding *b, const struct timeline_view *v, uint32_t events, int64_t moment);
/* Whole store, one split (or SPLITS for all). */
struct task_examples {
  struct task_example *at;
  uint32_t n, yes, censored;
};
int task_label_all(const struct task_binding *b, const struct timeline *store, enum split split, int gap, struct arena *a,
                   struct task_examples *out, struct error *e) MUST_CHECK;
#endif
