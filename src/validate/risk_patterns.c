/* Longitudinal uniqueness: whom do a few codes of a life, and the days between them, single out? */
#include <stdlib.h>

#include "base/map.h"
#include "base/random.h"
#include "base/time.h"
#include "timeline/timeline.h"
#include "validate/risk_private.h"

enum { PATTERN_MAX = 5 };
#define WORK_DEFAULT UINT64_C(300000000)
static const int sizes[RISK_PATTERNS] = {2, 3, 5};

struct pattern {
  uint32_t subject, code[PATTERN_MAX];
  int64_t gap[PATTERN_MAX]; /* days after the first */
  int n, size;              /* size: index into sizes */
  int rarest[PATTERN_MAX];  /* their order, from the one that the fewest have */
};
struct postings {       /* persons who have a code, of the codes that are asked for */
  uint32_t *start, *at; /* by code; start[code] is UINT32_MAX for codes that are not asked for */
};

/* `n` different events with a time, in the order of the life. False if there are not so many with different codes or days. */
static bool draw(const struct risk_work *w, const struct timeline_view *v, struct rng *r, int n, struct pattern *p) {
  uint32_t pick[PATTERN_MAX];
  int got = 0;
  uint32_t timed = v->n - v->statics;
  for (int tries = 0; got < n && tries < 40 && timed; tries++) {
    uint32_t k = v->statics + rng_below(r, timed);
    bool taken = v->code[k] == w->birth;
    for (int i = 0; i < got; i++)
      taken = taken || pick[i] == k || (v->code[pick[i]] == v->code[k] && time_day(v->time[pick[i]]) == time_day(v->time[k]));
    if (!taken) pick[got++] = k;
  }
  if (got < n) return false;
  for (int i = 1; i < n; i++) /* a handful: insertion */
    for (int j = i; j > 0 && pick[j] < pick[j - 1]; j--) {
      uint32_t swap = pick[j];
      pick[j] = pick[j - 1], pick[j - 1] = swap;
    }
  p->n = n;
  for (int i = 0; i < n; i++) {
    int j = i;
    p->code[i] = v->code[pick[i]];
    p->gap[i] = time_day(v->time[pick[i]]) - time_day(v->time[pick[0]]);
    for (; j > 0 && w->persons[p->code[i]] < w->persons[p->code[p->rarest[j - 1]]]; j--) p->rarest[j] = p->rarest[j - 1];
    p->rarest[j] = i;
  }
  return true;
}

/* First event at or after a time; halving without a branch, which would be guessed wrong every other time. */
static uint32_t from_time(const struct timeline_view *v, int64_t time) {
  uint32_t low = v->statics;
  for (uint32_t n = v->n - v->statics; n; n -= (n + 1) / 2) {
    uint32_t half = (n + 1) / 2;
    low += half * (v->time[low + half - 1] < time);
  }
  return low;
}

static bool on_day(const struct timeline_view *v, int64_t day, uint32_t code) {
  int64_t start, end;
  if (__builtin_mul_overflow(day, TIME_DAY, &start)) return false; /* before or after all times */
  if (__builtin_add_overflow(start, TIME_DAY - 1, &end)) end = INT64_MAX;
  for (uint32_t k = from_time(v, start); k < v->n && v->time[k] <= end; k++)
    if (v->code[k] == code) return true;
  return false;
}

/* The next event with a code, or v->n; sixteen are compared without a branch between them. */
static uint32_t next_of(const struct timeline_view *v, uint32_t k, uint32_t code) {
  for (; v->n - k >= 16; k += 16) {
    uint32_t any = 0;
    for (uint32_t i = 0; i < 16; i++) any |= v->code[k + i] == code;
    if (any) break;
  }
  while (k < v->n && v->code[k] != code) k++;
  return k;
}

static bool has_codes(const struct timeline_view *v, const struct pattern *p, uint64_t *work) {
  *work += v->n - v->statics;
  for (int i = 0; i < p->n; i++)
    if (next_of(v, v->statics, p->code[p->rarest[i]]) == v->n) return false;
  return true;
}

/* From each of the rarest code's days to the days that the others should have. */
static bool has_gaps(const struct timeline_view *v, const struct pattern *p, uint64_t *work) {
  const int rarest = p->rarest[0];
  *work += v->n - v->statics;
  for (uint32_t k = v->statics; (k = next_of(v, k, p->code[rarest])) < v->n; k++) {
    bool all = true;
    int64_t first = time_day(v->time[k]) - p->gap[rarest];
    for (int j = 1, i; j < p->n && all; j++) i = p->rarest[j], all = on_day(v, first + p->gap[i], p->code[i]);
    if (all) return true;
  }
  return false;
}

/* Singled out: nobody but the person fits. Everybody who fits has the rarest code. */
static void try_pattern(const struct risk_work *w, const struct postings *who, const struct pattern *p, struct risk_pattern *to,
                        uint64_t *work) {
  uint32_t code = p->code[p->rarest[0]], from = who->start[code], n = w->persons[code], by_codes = 0, by_gaps = 0;
  for (uint32_t i = 0; i < n && (by_codes < 2 || by_gaps < 2); i++) {
    if (who->at[from + i] == p->subject) {
      by_codes++, by_gaps++;
      continue;
    }
    struct timeline_view v = timeline_view(w->t, who->at[from + i]);
    if (!has_codes(&v, p, work)) continue;
    by_codes++;
    if (has_gaps(&v, p, work)) by_gaps++;
  }
  to->tried++;
  to->by_codes += by_codes == 1;
  to->by_gaps += by_gaps == 1;
}

static int post(const struct risk_work *w, const struct pattern *p, uint32_t patterns, struct arena *a, struct postings *out,
                struct error *e) {
  uint32_t codes = timeline_codes(w->t);
  uint64_t total = 0;
  out->start = arena_array(a, uint32_t, codes + 1);
  uint32_t *fill = arena_array(a, uint32_t, codes + 1), *last = arena_array(a, uint32_t, codes + 1);
  if (!out->start || !fill || !last) return error_set(e, E_NOMEM, "no memory for patterns");
  for (uint32_t c = 0; c < codes; c++) out->start[c] = UINT32_MAX;
  for (uint32_t i = 0; i < patterns; i++) {
    uint32_t c = p[i].code[p[i].rarest[0]];
    if (out->start[c] != UINT32_MAX) continue;
    out->start[c] = (uint32_t)total;
    total += w->persons[c];
  }
  if (total > UINT32_MAX - 1) return error_set(e, E_LIMIT, "too many persons for the sample of patterns");
  out->at = arena_array(a, uint32_t, total + 1);
  if (!out->at) return error_set(e, E_NOMEM, "no memory for patterns");
  for (uint32_t i = 0; i < timeline_subjects(w->t); i++) {
    struct timeline_view v = timeline_view(w->t, i);
    for (uint32_t k = 0; k < v.n; k++) {
      uint32_t c = v.code[k];
      if (out->start[c] == UINT32_MAX || last[c] == i + 1) continue;
      last[c] = i + 1;
      out->at[out->start[c] + fill[c]++] = i;
    }
  }
  return OK;
}

int risk_patterns(struct risk_work *w, struct risk *r, struct error *e) {
  uint32_t subjects = timeline_subjects(w->t), patterns = 0, want = w->o->sample < subjects ? w->o->sample : subjects;
  uint64_t work = 0, most = w->o->work ? w->o->work : WORK_DEFAULT;
  struct arena a;
  struct postings who = {0};
  struct rng random;
  for (int s = 0; s < RISK_PATTERNS; s++) r->pattern[s].codes = sizes[s];
  if (!want) return OK;
  arena_init(&a, 0, 0);
  rng_init(&random, w->o->seed, 0);
  struct pattern *p = arena_array(&a, struct pattern, (size_t)want * RISK_PATTERNS);
  uint32_t *order = arena_array(&a, uint32_t, subjects);
  int rc = p && order ? OK : error_set(e, E_NOMEM, "no memory for patterns");
  for (uint32_t i = 0; rc == OK && i < subjects; i++) order[i] = i;
  if (rc == OK) rng_shuffle(&random, order, subjects);
  for (uint32_t i = 0; rc == OK && i < want; i++) {
    struct timeline_view v = timeline_view(w->t, order[i]);
    for (int s = 0; s < RISK_PATTERNS; s++)
      if (draw(w, &v, &random, sizes[s], &p[patterns])) p[patterns].subject = order[i], p[patterns++].size = s;
  }
  if (rc == OK) rc = post(w, p, patterns, &a, &who, e);
  for (uint32_t i = 0; rc == OK && i < patterns && work < most; i++) try_pattern(w, &who, &p[i], &r->pattern[p[i].size], &work);
  arena_free(&a);
  return rc;
}
