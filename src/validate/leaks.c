#include "validate/leaks.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/map.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "validate/binomial.h"

struct looking {
  const struct validate_options *o;
  const struct task_binding *binding;
  const struct task_example *at;
  struct arena *a;
  struct validation *v;
};

static void PRINTF(4, 5) finding(struct looking *l, const char **list, int *n, const char *fmt, ...) {
  char text[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  char *kept = arena_strndup(l->a, text, strlen(text));
  if (kept && *n < 8) list[(*n)++] = kept;
}
#define LEAK(l, ...) finding(l, (l)->v->leak, &(l)->v->n_leaks, __VA_ARGS__)
#define CAUTION(l, ...) finding(l, (l)->v->caution, &(l)->v->n_cautions, __VA_ARGS__)

/* A life told apart from its pseudonym and its shift: codes, values, times since the first. */
static uint64_t life_hash(const struct timeline_view *v) {
  uint64_t h = v->n;
  for (uint32_t k = v->statics; k < v->n; k++) {
    struct {
      int64_t t;
      uint32_t code;
      float value;
    } row = {v->time[k] - v->time[v->statics], v->code[k], v->value[k]};
    if (isnan(row.value)) row.value = -0.0f;
    h = hash64(&row, sizeof row, h);
  }
  return h;
}

static int same_lives(struct looking *l, struct error *e) {
  const struct timeline *t = l->o->store;
  struct map64 seen;
  uint32_t copies = 0;
  map64_init(&seen);
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; i < timeline_subjects(t); i++) {
      struct timeline_view v = timeline_view(t, i);
      if (v.n < v.statics + 10 || (v.split == SPLIT_HELD_OUT) != (pass == 1)) continue; /* shorter lives can be alike by chance */
      uint64_t unused;
      bool fresh;
      if (pass == 1)
        copies += map64_get(&seen, (int64_t)life_hash(&v), &unused);
      else if (!map64_put(&seen, (int64_t)life_hash(&v), &fresh))
        return map64_release(&seen), error_set(e, E_NOMEM, "out of memory");
    }
  map64_release(&seen);
  if (copies > 0) LEAK(l, "%u held-out lives are copies of training lives, event for event", copies);
  return OK;
}

/* A code before the moment in at least a twentieth of the cases (and ten of them), and hardly ever in a control: so surely a case (exact lower
 * bound above 80 %, and twenty times the odds of everybody) is no foresight. */
static int giveaway_codes(struct looking *l, struct error *e) {
  const struct timeline *t = l->o->store;
  uint32_t codes = timeline_codes(t), cases = l->v->events, controls = l->v->n - cases;
  uint32_t *with[2] = {arena_array(l->a, uint32_t, codes + 1u), arena_array(l->a, uint32_t, codes + 1u)},
           *last = arena_array(l->a, uint32_t, codes + 1u);
  if (!with[0] || !with[1] || !last) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < l->v->n; i++) {
    struct timeline_view v = timeline_view(t, l->at[i].subject_index);
    for (uint32_t k = 0; k < l->at[i].events; k++) {
      if (k >= v.statics && v.time[k] > l->at[i].time) return LEAK(l, "events after the moment were used"), OK;
      if (last[v.code[k]] == i + 1) continue;
      last[v.code[k]] = i + 1;
      with[l->v->label[i]][v.code[k]]++;
    }
  }
  for (uint32_t c = 0; c < codes && cases >= 20 && controls >= 20; c++) {
    uint32_t yes = with[1][c], no = with[0][c];
    double sure = binomial_lower(yes, yes + no, 0.975), odds = (yes + 0.5) / (no + 0.5) * controls / cases;
    if (yes >= 10 && 20 * yes >= cases && sure > 0.8 && odds > 20)
      LEAK(l, "the code %.*s stands before the moment in %u cases and %u controls", (int)fmin(100, (double)timeline_code_name(t, c).n),
           timeline_code_name(t, c).p, yes, no);
  }
  return OK;
}

static uint32_t first_target(const struct looking *l, const struct timeline_view *v, int64_t time) {
  for (uint32_t k = v->statics; k < v->n && v->time[k] <= time; k++)
    if (v->time[k] == time && task_is_target(l->binding, v->code[k])) return k;
  return UINT32_MAX;
}

/* Is the life's source written in the order in which things happened? Counts pairs of neighbours in time. */
static void order_of(const struct timeline_view *v, uint64_t *pairs, uint64_t *ordered) {
  for (uint32_t k = v->statics + 1; k < v->n; k++) {
    if (v->origin_file[k] != v->origin_file[k - 1] || v->time[k] == v->time[k - 1]) continue;
    ++*pairs;
    *ordered += v->origin_row[k] > v->origin_row[k - 1];
  }
}

static int back_dated(struct looking *l, struct error *e) {
  const struct timeline *t = l->o->store;
  uint32_t codes = timeline_codes(t), worst = 0, of = 0, cases = 0, before = UINT32_MAX;
  uint32_t *count = arena_array(l->a, uint32_t, codes + 1u), *last = arena_array(l->a, uint32_t, codes + 1u);
  uint64_t pairs = 0, ordered = 0;
  if (!count || !last) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < l->v->n; i++) {
    struct timeline_view v = timeline_view(t, l->at[i].subject_index);
    if (l->at[i].subject_index == before) continue;
    before = l->at[i].subject_index;
    order_of(&v, &pairs, &ordered);
    uint32_t target = l->v->label[i] ? first_target(l, &v, l->at[i].outcome) : UINT32_MAX;
    if (target == UINT32_MAX) continue;
    cases++;
    for (uint32_t k = v.statics; k < target; k++) {
      if (v.origin_file[k] != v.origin_file[target] || v.origin_row[k] <= v.origin_row[target] || v.time[k] == v.time[target] ||
          last[v.code[k]] == i + 1)
        continue;
      last[v.code[k]] = i + 1;
      count[v.code[k]]++;
    }
  }
  for (uint32_t c = 0; c < codes; c++)
    if (count[c] > worst) worst = count[c], of = c;
  bool in_order = pairs >= 100 && (double)ordered >= 0.8 * (double)pairs;
  if (in_order && worst >= 5 && 20 * worst >= cases)
    LEAK(l, "the code %.*s is stamped before the outcome but recorded after it in %u of %u cases",
         (int)fmin(100, (double)timeline_code_name(t, of).n), timeline_code_name(t, of).p, worst, cases);
  return OK;
}

/* Over all persons: codes whose first time is nearly always the target's very instant. */
static int only_with_the_outcome(struct looking *l, struct error *e) {
  const struct timeline *t = l->o->store;
  uint32_t codes = timeline_codes(t);
  uint32_t *have = arena_array(l->a, uint32_t, codes + 1u), *together = arena_array(l->a, uint32_t, codes + 1u),
           *last = arena_array(l->a, uint32_t, codes + 1u);
  if (!have || !together || !last) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    uint32_t target = v.statics;
    while (target < v.n && !task_is_target(l->binding, v.code[target])) target++;
    for (uint32_t k = v.statics; k < v.n; k++) {
      uint32_t c = v.code[k];
      if (last[c] == i + 1 || task_is_target(l->binding, c)) continue;
      last[c] = i + 1;
      have[c]++;
      together[c] += target < v.n && v.time[k] == v.time[target];
    }
  }
  for (uint32_t c = 0; c < codes; c++)
    if (have[c] >= 20 && together[c] >= 0.8 * have[c])
      CAUTION(l, "the code %.*s comes for the first time at the same instant as the target in %u of %u persons: is it part of the outcome?",
              (int)fmin(100, (double)timeline_code_name(t, c).n), timeline_code_name(t, c).p, together[c], have[c]);
  return OK;
}

int leaks_look(const struct validate_options *o, const struct task_binding *binding, const struct task_example *at, struct arena *a,
               struct validation *v, struct error *e) {
  struct looking l = {o, binding, at, a, v};
  TRY(same_lives(&l, e));
  TRY(giveaway_codes(&l, e));
  TRY(back_dated(&l, e));
  TRY(only_with_the_outcome(&l, e));
  if (v->model.all.auroc.at > 0.995) LEAK(&l, "the discrimination is too good to be true: look for the outcome among the inputs");
  return OK;
}
