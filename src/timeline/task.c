/* Reading a task file. Every field is checked; unknown and repeated ones are errors: a misspelt or second "exclude" must not widen a cohort. */
#include "base/hash.h"
#include "base/json.h"
#include "timeline/task_store.h"

static int wrong(struct error *e, const char *field, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

/* Fields of an object against a list; the known name nearest to an unknown one is named, never the unknown one itself. */
static int known(struct json object, const char *where, const char *const *names, struct error *e) {
  struct json_iter it = json_members(object);
  struct str key;
  struct json v;
  uint32_t seen = 0;
  if (json_kind(object) != JSON_OBJECT) return wrong(e, where, "expected an object");
  while (json_next_member(&it, &key, &v)) {
    const char *near = NULL;
    unsigned best = 4;
    bool found = false;
    for (int i = 0; names[i]; i++) {
      unsigned d = str_distance(key, str_c(names[i]), 3);
      if (str_eqc(key, names[i])) {
        found = true;
        if (seen & 1u << i) return error_set(e, E_INPUT, "\"%s\" stands more than once", names[i]), error_where(e, NULL, 0, where);
        seen |= 1u << i;
      }
      if (d < best) {
        best = d;
        near = names[i];
      }
    }
    if (found) continue;
    error_set(e, E_INPUT, near ? "unknown field; did you mean \"%s\"?" : "unknown field", near);
    return error_where(e, NULL, 0, where);
  }
  return OK;
}

static int duration(struct json v, const char *field, int64_t *out, struct error *e) {
  struct str s = json_str(v);
  if (!s.p) return wrong(e, field, "expected a duration such as \"48h\" or \"1y\"");
  if (str_eqc(s, "-inf")) return *out = INT64_MIN, OK;
  if (str_eqc(s, "inf")) return *out = TASK_EVER, OK;
  if (time_parse_duration(s, out, NULL) < 0) return wrong(e, field, "expected a duration such as \"48h\" or \"1y\"");
  return OK;
}

static int pattern(struct task *t, struct json v, const char *field, struct str *out, struct error *e) {
  struct str s = json_str(v);
  if (!s.p || s.n == 0 || s.n > 4096) return wrong(e, field, "expected a code or a prefix that ends in a star");
  const char *star = memchr(s.p, '*', s.n);
  if (star && star != s.p + s.n - 1) return wrong(e, field, "a star may stand only at the end of a pattern");
  *out = str_copy(&t->arena, s);
  return out->p ? OK : error_set(e, E_NOMEM, "no memory for a task");
}

static int patterns(struct task *t, struct json list, const char *field, struct patterns *out, struct error *e) {
  size_t n = json_count(list);
  if (json_kind(list) != JSON_ARRAY || n == 0) return wrong(e, field, "expected a list of codes");
  if (n > TASK_PATTERNS_MAX) return wrong(e, field, "too many patterns");
  out->at = arena_array(&t->arena, struct str, n);
  if (!out->at) return error_set(e, E_NOMEM, "no memory for a task");
  struct json_iter it = json_items(list);
  for (struct json v; json_next(&it, &v);) TRY(pattern(t, v, field, &out->at[out->n++], e));
  return OK;
}

/* Nothing but a target sees labels: elsewhere such a code would hold nobody back and let nobody in. */
static int record_patterns(struct task *t, struct json list, const char *field, struct patterns *out, struct error *e) {
  TRY(patterns(t, list, field, out, e));
  for (uint32_t i = 0; i < out->n; i++)
    if (str_starts(out->at[i], STR(TIMELINE_LABEL)))
      return wrong(e, field, "only a target may name LABEL// codes: they are no part of the record");
  return OK;
}

static int value_range(struct json v, struct value_range *r, struct error *e) {
  static const char *const names[] = {"ge", "gt", "le", "lt", NULL};
  if (json_kind(v) == JSON_NONE) return OK;
  TRY(known(v, "value", names, e));
  r->ge_set = json_f64(json_get(v, "ge"), &r->ge);
  r->gt_set = json_f64(json_get(v, "gt"), &r->gt);
  r->le_set = json_f64(json_get(v, "le"), &r->le);
  r->lt_set = json_f64(json_get(v, "lt"), &r->lt);
  r->set = r->ge_set || r->gt_set || r->le_set || r->lt_set;
  if (!r->set || (size_t)(r->ge_set + r->gt_set + r->le_set + r->lt_set) != json_count(v))
    return wrong(e, "value", "expected numbers under ge, gt, le or lt");
  return OK;
}

static int read_trigger(struct task *t, struct json v, struct error *e) {
  static const char *const names[] = {"code", "value", "offset", "which", "every", "from", "to", "end", NULL};
  TRY(known(v, "trigger", names, e));
  struct json code = json_get(v, "code"), every = json_get(v, "every"), end = json_get(v, "end");
  bool yes = false;
  int ways = (json_kind(code) != JSON_NONE) + (json_kind(every) != JSON_NONE) + (json_kind(end) != JSON_NONE);
  if (ways != 1) return wrong(e, "trigger", "expected exactly one of code, every, end");
  if (json_kind(end) != JSON_NONE) {
    t->trigger = TRIGGER_END;
    return json_bool(end, &yes) && yes && json_count(v) == 1 ? OK : wrong(e, "trigger.end", "expected true and nothing else");
  }
  if (json_kind(every) != JSON_NONE) {
    t->trigger = TRIGGER_EVERY;
    t->to = TASK_EVER;
    TRY(duration(every, "trigger.every", &t->every, e));
    if (t->every < TIME_MINUTE || t->every == TASK_EVER) return wrong(e, "trigger.every", "expected at least a minute");
    if (json_kind(json_get(v, "from")) != JSON_NONE) TRY(duration(json_get(v, "from"), "trigger.from", &t->from, e));
    if (json_kind(json_get(v, "to")) != JSON_NONE) TRY(duration(json_get(v, "to"), "trigger.to", &t->to, e));
    if (t->from < 0 || t->from == TASK_EVER || t->to < t->from) return wrong(e, "trigger.from", "expected ages with from <= to");
    for (const char *const *n = (const char *const[]){"code", "value", "offset", "which", NULL}; *n; n++)
      if (json_kind(json_get(v, *n)) != JSON_NONE) return wrong(e, "trigger", "code, value, offset and which do not go with every");
    return OK;
  }
  for (const char *const *n = (const char *const[]){"from", "to", NULL}; *n; n++)
    if (json_kind(json_get(v, *n)) != JSON_NONE) return wrong(e, "trigger", "from and to go with every only");
  TRY(record_patterns(t, code, "trigger.code", &t->trigger_codes, e));
  TRY(value_range(json_get(v, "value"), &t->trigger_value, e));
  if (json_kind(json_get(v, "offset")) != JSON_NONE) TRY(duration(json_get(v, "offset"), "trigger.offset", &t->offset, e));
  if (t->offset < 0 || t->offset == TASK_EVER) return wrong(e, "trigger.offset", "expected a duration of at least 0");
  struct json which = json_get(v, "which");
  if (json_kind(which) == JSON_NONE || str_eqc(json_str(which), "first")) return t->which = WHICH_FIRST, OK;
  if (str_eqc(json_str(which), "last")) return t->which = WHICH_LAST, OK;
  if (str_eqc(json_str(which), "each")) return t->which = WHICH_EACH, OK;
  return wrong(e, "trigger.which", "expected first, last or each");
}

static int read_window(struct task *t, struct json v, const char *field, bool exclude, struct error *e) {
  static const char *const names[] = {"any", "value", "from", "to", "min", NULL};
  int64_t min = 1;
  TRY(known(v, field, names, e));
  if (t->windows == TASK_WINDOWS_MAX) return wrong(e, field, "too many windows");
  struct window *w = &t->window[t->windows++];
  *w = (struct window){.from = INT64_MIN, .to = 0, .exclude = exclude};
  TRY(record_patterns(t, json_get(v, "any"), field, &w->any, e));
  TRY(value_range(json_get(v, "value"), &w->value, e));
  if (json_kind(json_get(v, "from")) != JSON_NONE) TRY(duration(json_get(v, "from"), field, &w->from, e));
  if (json_kind(json_get(v, "to")) != JSON_NONE) TRY(duration(json_get(v, "to"), field, &w->to, e));
  if (json_kind(json_get(v, "min")) != JSON_NONE && !json_i64(json_get(v, "min"), &min)) return wrong(e, field, "min: expected a count");
  if (min < 1 || min > UINT32_MAX) return wrong(e, field, "min: expected a count of at least 1");
  /* A window after the moment would choose people by their future. */
  if (w->to > 0 || w->to == INT64_MIN || w->from > w->to)
    return wrong(e, field, "expected from <= to <= 0: a window may not look past the moment");
  w->min = (uint32_t)min;
  return OK;
}

static int read_windows(struct task *t, struct json list, const char *field, bool exclude, struct error *e) {
  if (json_kind(list) == JSON_NONE) return OK;
  if (json_kind(list) != JSON_ARRAY) return wrong(e, field, "expected a list of windows");
  struct json_iter it = json_items(list);
  for (struct json v; json_next(&it, &v);) TRY(read_window(t, v, field, exclude, e));
  return OK;
}

static int read_target(struct task *t, struct json v, struct error *e) {
  static const char *const names[] = {"any", "all", "value", NULL};
  TRY(known(v, "target", names, e));
  t->target = (struct patterns){0}, t->target_value = (struct value_range){0};
  struct json any = json_get(v, "any"), all = json_get(v, "all");
  if ((json_kind(any) == JSON_NONE) == (json_kind(all) == JSON_NONE)) return wrong(e, "target", "expected exactly one of any, all");
  t->all = json_kind(all) != JSON_NONE;
  TRY(patterns(t, t->all ? all : any, t->all ? "target.all" : "target.any", &t->target, e));
  if (t->all && t->target.n > TASK_PARTS_MAX) return wrong(e, "target.all", "too many parts");
  return value_range(json_get(v, "value"), &t->target_value, e);
}

static int read_gaps(struct task *t, struct json list, struct error *e) {
  t->gaps = 1;
  if (json_kind(list) == JSON_NONE) return OK;
  size_t n = json_count(list);
  if (json_kind(list) != JSON_ARRAY || n < 1 || n > TASK_GAPS_MAX) return wrong(e, "gap", "expected a list of 1 to 16 durations");
  t->gaps = 0;
  struct json_iter it = json_items(list);
  for (struct json v; json_next(&it, &v); t->gaps++) {
    TRY(duration(v, "gap", &t->gap[t->gaps], e));
    if (t->gap[t->gaps] < 0 || t->gap[t->gaps] >= t->horizon) return wrong(e, "gap", "expected 0 <= gap < horizon");
  }
  return OK;
}

static int read_text(struct json v, const char *field, char *out, size_t size, bool needed, struct error *e) {
  struct str s = json_str(v);
  if (!s.p && !needed && json_kind(v) == JSON_NONE) return OK;
  if (!s.p || s.n == 0 || s.n >= size || memchr(s.p, 0, s.n)) return wrong(e, field, "expected a short text");
  memcpy(out, s.p, s.n);
  out[s.n] = 0;
  return OK;
}

static int read_horizon(struct task *t, struct json v, struct error *e) {
  if (str_eqc(json_str(v), "record")) return t->horizon = TASK_EVER, OK;
  TRY(duration(v, "horizon", &t->horizon, e));
  return t->horizon > 0 && t->horizon != TASK_EVER ? OK : wrong(e, "horizon", "expected a duration above 0 or \"record\"");
}

static int read_scores(struct task *t, struct json list, struct error *e) {
  static const char *const names[] = {"event1", "h", "utility2019", "concordance"};
  if (json_kind(list) == JSON_NONE) return OK;
  if (json_kind(list) != JSON_ARRAY) return wrong(e, "scores", "expected a list of names");
  struct json_iter it = json_items(list);
  for (struct json v; json_next(&it, &v);) {
    unsigned bit = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
      if (str_eqc(json_str(v), names[i])) bit = 1u << i;
    if (!bit) return wrong(e, "scores", "expected event1, h, utility2019 or concordance");
    t->scores |= bit;
  }
  return OK;
}

/* Asked at the moments of the task itself: windows and new onsets are a matter of choosing moments. */
static int read_auxiliary(struct task *t, struct json v, struct error *e) {
  static const char *const names[] = {"target", "horizon", NULL};
  TRY(known(v, "auxiliary", names, e));
  if (t->auxiliaries == TASK_AUXILIARIES) return wrong(e, "auxiliary", "more than 8 targets");
  struct task *x = arena_new(&t->arena, struct task), kept = *t;
  if (!x) return error_set(e, E_NOMEM, "no memory for a task");
  if (json_kind(json_get(v, "target")) != JSON_NONE) TRY(read_target(t, json_get(v, "target"), e));
  TRY(read_horizon(t, json_get(v, "horizon"), e));
  *x = *t;
  x->arena = (struct arena){0}, x->censor_negative = true, x->windows = 0, x->new_onset = false, x->gaps = 1, x->gap[0] = 0,
  x->auxiliaries = 0;
  kept.arena = t->arena; /* what was read in its place stays in it */
  *t = kept;
  t->auxiliary[t->auxiliaries++] = x;
  return OK;
}

static int read_auxiliaries(struct task *t, struct json list, struct error *e) {
  if (json_kind(list) == JSON_NONE) return OK;
  if (json_kind(list) != JSON_ARRAY) return wrong(e, "auxiliary", "expected a list of targets");
  if (t->time_to_event) return wrong(e, "auxiliary", "does not go with time_to_event");
  struct json_iter it = json_items(list);
  for (struct json v; json_next(&it, &v);) TRY(read_auxiliary(t, v, e));
  return OK;
}

static int read_task(struct task *t, struct json root, struct error *e) {
  static const char *const names[] = {"name", "title",  "about", "trigger",   "require",       "exclude", "new_onset", "target", "horizon",
                                      "gap",  "censor", "death", "competing", "time_to_event", "scores",  "auxiliary", NULL};
  TRY(known(root, "task", names, e));
  TRY(read_text(json_get(root, "name"), "name", t->name, sizeof t->name, true, e));
  for (const char *c = t->name; *c; c++)
    if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-_", *c)) return wrong(e, "name", "expected lower-case letters, digits, - and _");
  strcpy(t->title, t->name);
  TRY(read_text(json_get(root, "title"), "title", t->title, sizeof t->title, false, e));
  TRY(read_trigger(t, json_get(root, "trigger"), e));
  TRY(read_windows(t, json_get(root, "require"), "require", false, e));
  TRY(read_windows(t, json_get(root, "exclude"), "exclude", true, e));
  struct json onset = json_get(root, "new_onset"), censor = json_get(root, "censor"), death = json_get(root, "death");
  if (json_kind(onset) != JSON_NONE && !json_bool(onset, &t->new_onset)) return wrong(e, "new_onset", "expected true or false");
  TRY(read_target(t, json_get(root, "target"), e));
  TRY(read_horizon(t, json_get(root, "horizon"), e));
  TRY(read_gaps(t, json_get(root, "gap"), e));
  t->censor_negative = str_eqc(json_str(censor), "negative");
  if (json_kind(censor) != JSON_NONE && !t->censor_negative && !str_eqc(json_str(censor), "drop"))
    return wrong(e, "censor", "expected drop or negative");
  struct json times = json_get(root, "time_to_event");
  if (json_kind(times) != JSON_NONE && !json_bool(times, &t->time_to_event)) return wrong(e, "time_to_event", "expected true or false");
  TRY(read_scores(t, json_get(root, "scores"), e));
  struct json competing = json_get(root, "competing");
  if (json_kind(competing) != JSON_NONE) TRY(record_patterns(t, competing, "competing", &t->competing, e));
  static struct str standard[] = {{"MEDS_DEATH", 10}, {"MEDS_DEATH//*", 13}};
  if (json_kind(death) != JSON_NONE)
    TRY(record_patterns(t, death, "death", &t->death, e));
  else
    t->death = (struct patterns){standard, 2};
  return read_auxiliaries(t, json_get(root, "auxiliary"), e);
}

int task_parse(const char *bytes, size_t n, struct task **out, struct error *e) {
  struct json_parser *jp;
  struct json root;
  uint8_t sha[32];
  *out = NULL;
  TRY(json_parser_new(&jp, e));
  struct task *t = mem_alloc(sizeof *t);
  int rc = t ? OK : error_set(e, E_NOMEM, "no memory for a task");
  if (t) {
    memset(t, 0, sizeof *t);
    arena_init(&t->arena, 4 << 20, 0);
    sha256_of(bytes, n, sha);
    hash_hex(sha, sizeof sha, t->hash);
    t->text = arena_strndup(&t->arena, bytes, n);
    rc = t->text ? json_parse(jp, bytes, n, n, &root, e) : error_set(e, E_NOMEM, "no memory for a task");
    if (rc == OK) rc = read_task(t, root, e);
  }
  json_parser_free(jp);
  if (rc < 0)
    task_free(t);
  else
    *out = t;
  return rc;
}

int task_load(const char *path, struct task **out, struct error *e) {
  struct arena a;
  struct str bytes;
  *out = NULL;
  arena_init(&a, 0, 0);
  int rc = file_read(&a, path, 1 << 20, &bytes, e);
  if (rc == OK) rc = task_parse(bytes.p, bytes.n, out, e);
  if (rc < 0) error_where(e, path, 0, NULL);
  arena_free(&a);
  return rc;
}

/* ---- the same question? ---- */

static bool same_patterns(const struct patterns *a, const struct patterns *b) {
  if (a->n != b->n) return false;
  for (uint32_t i = 0; i < a->n; i++)
    if (!str_eq(a->at[i], b->at[i])) return false;
  return true;
}

static bool same_bound(bool a_set, double a, bool b_set, double b) { return a_set == b_set && (!a_set || a == b); }

static bool same_range(const struct value_range *a, const struct value_range *b) {
  return same_bound(a->ge_set, a->ge, b->ge_set, b->ge) && same_bound(a->gt_set, a->gt, b->gt_set, b->gt) &&
         same_bound(a->le_set, a->le, b->le_set, b->le) && same_bound(a->lt_set, a->lt, b->lt_set, b->lt);
}

static bool same_moments(const struct task *a, const struct task *b) {
  if (a->trigger != b->trigger || a->which != b->which || a->offset != b->offset || a->every != b->every || a->from != b->from ||
      a->to != b->to || a->new_onset != b->new_onset || a->windows != b->windows)
    return false;
  for (uint32_t i = 0; i < a->windows; i++) {
    const struct window *x = &a->window[i], *y = &b->window[i];
    if (x->from != y->from || x->to != y->to || x->min != y->min || x->exclude != y->exclude || !same_patterns(&x->any, &y->any) ||
        !same_range(&x->value, &y->value))
      return false;
  }
  return same_patterns(&a->trigger_codes, &b->trigger_codes) && same_range(&a->trigger_value, &b->trigger_value);
}

static bool same_labels(const struct task *a, const struct task *b) {
  return a->all == b->all && a->horizon == b->horizon && a->gap[0] == b->gap[0] && a->censor_negative == b->censor_negative &&
         a->time_to_event == b->time_to_event && same_patterns(&a->target, &b->target) && same_range(&a->target_value, &b->target_value) &&
         same_patterns(&a->death, &b->death) && same_patterns(&a->competing, &b->competing);
}

bool task_asks(const struct task *t, const char *text) {
  struct task *other;
  if (strcmp(t->text, text) == 0) return true;
  if (task_parse(text, strlen(text), &other, NULL) < 0) return false;
  bool same = same_moments(t, other) && same_labels(t, other);
  task_free(other);
  return same;
}

void task_free(struct task *t) {
  if (!t) return;
  arena_free(&t->arena);
  mem_free(t);
}

const char *task_name(const struct task *t) { return t->name; }
const char *task_title(const struct task *t) { return t->title; }
const char *task_hash(const struct task *t) { return t->hash; }
const char *task_text(const struct task *t) { return t->text; }
int task_gaps(const struct task *t) { return t->gaps; }
int64_t task_gap(const struct task *t, int i) {
  BUG_IF(i < 0 || i >= t->gaps);
  return t->gap[i];
}
int64_t task_horizon(const struct task *t) { return t->horizon; }
bool task_time_to_event(const struct task *t) { return t->time_to_event; }
unsigned task_scores(const struct task *t) { return t->scores; }
int task_auxiliaries(const struct task *t) { return t->auxiliaries; }
const struct task *task_auxiliary(const struct task *t, int i) {
  BUG_IF(i < 0 || i >= t->auxiliaries);
  return t->auxiliary[i];
}
