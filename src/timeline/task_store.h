/* Private to src/timeline: a parsed task, shared by task.c (reading the file) and task_label.c (binding and labelling). */
#ifndef TIMELINE_TASK_STORE_H
#define TIMELINE_TASK_STORE_H
#include "base/file.h"
#include "timeline/task.h"

enum { TASK_PATTERNS_MAX = 256, TASK_WINDOWS_MAX = 24, TASK_PARTS_MAX = 16, TASK_GAPS_MAX = 16 };
#define TASK_EVER INT64_MAX /* "inf", "record" */

struct patterns {
  struct str *at;
  uint32_t n;
};
struct value_range { /* inclusive bounds where `closed`; any finite value passes an unset side */
  bool set, ge_set, gt_set, le_set, lt_set;
  double ge, gt, le, lt;
};
struct window { /* events in [moment + from, moment + to] */
  struct patterns any;
  struct value_range value;
  int64_t from, to; /* from = INT64_MIN: from the beginning, statics included */
  uint32_t min;
  bool exclude;
};
enum trigger_kind { TRIGGER_CODE, TRIGGER_EVERY, TRIGGER_END };
enum trigger_which { WHICH_FIRST, WHICH_LAST, WHICH_EACH };
struct task {
  struct arena arena;
  char name[96], title[256], hash[65];
  char *text; /* the file's bytes, NUL-terminated */
  enum trigger_kind trigger;
  enum trigger_which which;
  struct patterns trigger_codes;
  struct value_range trigger_value;
  int64_t offset, every, from, to; /* offset: after the trigger; every/from/to: of age */
  struct window window[TASK_WINDOWS_MAX];
  uint32_t windows;
  bool new_onset, all, censor_negative, time_to_event;
  unsigned scores;
  struct patterns target; /* any: one group; all: every pattern is a part of its own */
  struct value_range target_value;
  struct patterns death, competing;
  int64_t horizon, gap[TASK_GAPS_MAX];
  int gaps;
  struct task *auxiliary[TASK_AUXILIARIES]; /* in the arena; the task itself but for target, horizon, windows and gap */
  int auxiliaries;
};
static inline bool value_passes(const struct value_range *r, float v) {
  if (!r->set) return true;
  if (v != v) return false;
  return (!r->ge_set || v >= r->ge) && (!r->gt_set || v > r->gt) && (!r->le_set || v <= r->le) && (!r->lt_set || v < r->lt);
}
#endif
