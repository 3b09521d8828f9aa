#include "predict/predict_law.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/random.h"
#include "base/time.h"
#include "model/model.h"
#include "token/token.h"

bool predict_is_death(struct str code) { return str_eqc(code, "MEDS_DEATH") || str_starts(code, STR("MEDS_DEATH//")); }

/* ---- of a vocabulary ---- */

struct sized {
  double m;
  uint32_t code;
};
static int by_m(const void *x, const void *y) {
  const struct sized *a = x, *b = y;
  if (a->m != b->m) return a->m < b->m ? -1 : 1;
  return a->code < b->code ? -1 : a->code > b->code;
}

/* Sizes of a ratio up to 1 + width share one; the narrowest width that leaves few enough. */
static void share_sizes(struct law_shape *s, const struct sized *x, uint32_t n) {
  for (double width = 0;; width = width > 0 ? 2 * width : 1e-4) {
    uint32_t classes = 0, from = 0;
    for (uint32_t i = 0; i < n; i++)
      if (i == 0 || x[i].m > x[from].m * (1 + width)) classes++, from = i;
    if (classes > LAW_SIZES) continue;
    for (uint32_t i = 0, k = 0; i < n; i = k) {
      double sum = 0;
      for (k = i; k < n && x[k].m <= x[i].m * (1 + width); k++) s->size_of[x[k].code] = (uint8_t)s->sizes, sum += x[k].m;
      s->size[s->sizes++] = sum / (k - i);
    }
    return;
  }
}

/* What can come next: every code but the unknown one and static facts. */
int law_shape_new(const struct vocabulary *v, bool single, struct law_shape *s, struct error *e) {
  *s = (struct law_shape){.codes = vocabulary_codes(v)};
  s->blocks = (s->codes + LAW_BLOCK - 1) / LAW_BLOCK;
  size_t n = (size_t)s->blocks * LAW_BLOCK;
  struct sized *x = mem_alloc(n * sizeof *x);
  s->open = mem_alloc(n * sizeof *s->open);
  s->joins = mem_alloc(n * sizeof *s->joins);
  s->death = mem_alloc(n);
  s->size_of = mem_alloc(n);
  if (!x || !s->open || !s->joins || !s->death || !s->size_of) {
    mem_free(x);
    law_shape_free(s);
    return error_set(e, E_NOMEM, "no memory for a predictor");
  }
  uint32_t open = 0;
  for (uint32_t c = 0; c < n; c++) {
    const struct vocabulary_entry *entry = c < s->codes ? vocabulary_at(v, c) : NULL;
    bool can = entry && c != TOKEN_UNKNOWN && !entry->is_static;
    s->open[c] = can;
    s->joins[c] = can && !single ? entry->together - 1 : 0;
    s->death[c] = can && predict_is_death(entry->code);
    s->size_of[c] = 0;
    if (can) x[open++] = (struct sized){1 + (double)s->joins[c], c};
  }
  qsort(x, open, sizeof *x, by_m);
  share_sizes(s, x, open);
  mem_free(x);
  return OK;
}

void law_shape_free(struct law_shape *s) {
  mem_free(s->open);
  mem_free(s->joins);
  mem_free(s->death);
  mem_free(s->size_of);
  *s = (struct law_shape){0};
}

/* ---- of a position ---- */

void law_sum(const struct model *m, const struct law_shape *s, const float *mask, struct law *law) {
  law->mask = mask;
  law->total = 0;
  for (uint32_t b = 0; b < s->blocks; b++) {
    law->block[b] = model_dot(m, LAW_BLOCK, law->rate + (size_t)b * LAW_BLOCK, mask + (size_t)b * LAW_BLOCK);
    law->total += law->block[b];
  }
}

/* Sums over all that can come, of law->rate. */
static void law_open(const struct model *m, const struct law_shape *s, struct law *law) {
  law->joins = s->sizes > 1 || s->size[0] > 1 ? model_dot(m, s->blocks * LAW_BLOCK, law->rate, s->joins) : 0;
  law_sum(m, s, s->open, law);
  law->all = law->total;
}

int law_make(const struct model *m, const struct law_shape *s, const float *log_rate, float shift, float *rate, struct law *law,
             struct error *e) {
  double top = 0, sum = model_exp(m, s->codes, shift, log_rate, rate);
  if (!(sum < 1e30)) { /* rates that overflow as they are */
    top = model_logsumexp(m, s->codes, log_rate) + (double)shift;
    if (!isfinite(top)) return error_set(e, E_CORRUPT, "the model's rates are no numbers");
    model_exp(m, s->codes, shift - (float)top, log_rate, rate);
  }
  for (uint32_t c = s->codes; c < s->blocks * LAW_BLOCK; c++) rate[c] = 0;
  law->rate = rate;
  law->scale = exp(fmin(top, 600));
  law_open(m, s, law);
  return OK;
}

void law_sizes(const struct law_shape *s, struct law *law) {
  for (int k = 0; k < s->sizes; k++) law->size[k] = 0;
  if (law->joins > 0)
    for (uint32_t c = 0; c < s->codes; c++) law->size[s->size_of[c]] += (double)law->rate[c] * (double)s->open[c];
}

/* ---- within a wait ---- */

_Static_assert(LAW_STRETCHES == HAZARD_BINS, "a stretch is a bin of the hazard head");
#define BEND_LEAST 1e-9   /* chance of a wait to last into a stretch, below which nobody asks for it */
#define BEND_FLAT 1e-5F   /* hazards that move by less than their rounding stand still */
#define BEND_SETTLED 1e-6 /* of all rates: what another round would move; mostly two or three are enough */
#define BEND_ROUNDS 50

bool law_bends(const struct model *m) { return model_config(m)->outcomes > 0 && !model_config(m)->hazard_rates; }

int law_bend_new(const struct model *m, struct law_bend *b, struct error *e) {
  uint32_t n = model_config(m)->outcomes;
  *b = (struct law_bend){.code = mem_alloc(n * sizeof *b->code),
                         .still = mem_alloc(n * sizeof *b->still),
                         .course = mem_alloc((size_t)n * HAZARD_BINS * sizeof *b->course)};
  if (!b->code || !b->still || !b->course) {
    law_bend_free(b);
    return error_set(e, E_NOMEM, "no memory for a wait's rates");
  }
  for (uint32_t o = 0; o < n; o++) b->code[o] = vocabulary_outcome_code(model_vocabulary(m), o);
  return OK;
}

void law_bend_free(struct law_bend *b) {
  mem_free(b->code);
  mem_free(b->still);
  mem_free(b->course);
  *b = (struct law_bend){0};
}

/* Stretches of the time after a position that are worth asking for. */
static int stretches(double rate, double followed) {
  int n = 0;
  while (n < HAZARD_BINS && hazard_edge_days[n] < followed && exp(-rate * hazard_edge_days[n]) > BEND_LEAST) n++;
  return n;
}

/* The time that a wait is expected to spend in each of them, as far as anybody was followed. */
static void spend(const struct law_bend *b, double scale, double followed, double *share) {
  double lasts = 1;
  for (int k = 0; k < b->stretches; k++) {
    double to = k + 1 < b->stretches ? hazard_edge_days[k + 1] : followed, rate = b->total[k] * scale;
    double ends = -expm1(-rate * (to - hazard_edge_days[k]));
    share[k] = rate > 0 ? lasts * ends / rate : lasts * (fmin(to, 100 * TIME_YEAR_DAYS) - hazard_edge_days[k]);
    lasts *= 1 - ends;
  }
}

void law_bend_make(const struct model *m, struct model_workspace *w, const struct law_shape *s, const struct law *law, const float *hidden,
                   const uint64_t *had, double followed, struct law_bend *b) {
  uint32_t outcomes = model_config(m)->outcomes;
  double rate = law->all * law->scale, share[HAZARD_BINS], moving = 0, off = 1;
  b->moves = false;
  if (!(rate > 0)) return;
  b->stretches = stretches(rate, followed);
  if (b->stretches < 2) return;
  for (int k = 0; k < b->stretches; k++) b->total[k] = law->all;
  for (uint32_t o = 0; o < outcomes; o++) {
    b->still[o] = had[o / 64] >> o % 64 & 1 ? 0 : law->rate[b->code[o]] * s->open[b->code[o]];
    moving += (double)b->still[o];
  }
  if (!(moving > 0)) return;
  model_hazard_course(m, w, hidden, b->stretches, b->course);
  for (int round = 0; round < BEND_ROUNDS && off > BEND_SETTLED; round++) {
    spend(b, law->scale, followed, share);
    model_course_weigh(m, w, b->stretches, share, b->course);
    off = 0;
    for (int k = 0; k < b->stretches; k++) {
      double total = law->all - moving + model_dot(m, outcomes, b->still, b->course + (size_t)k * outcomes);
      off = fmax(off, fabs(total - b->total[k]) / law->all);
      b->total[k] = fmax(total, 0);
    }
  }
  for (size_t i = 0; i < (size_t)b->stretches * outcomes && !b->moves; i++) b->moves = fabsf(b->course[i] - 1) > BEND_FLAT;
}

void law_bend_to(const struct model *m, const struct law_shape *s, const struct law_bend *b, int bin, float *rate, struct law *law) {
  uint32_t outcomes = model_config(m)->outcomes;
  const float *course = b->course + (size_t)(bin < b->stretches ? bin : b->stretches - 1) * outcomes;
  for (uint32_t o = 0; o < outcomes; o++)
    if (b->still[o] > 0) rate[b->code[o]] = b->still[o] * course[o];
  law_open(m, s, law);
}

double law_bend_end(const struct law_bend *b, int bin) { return b->moves && bin + 1 < b->stretches ? hazard_edge_days[bin + 1] : INFINITY; }

/* ---- a draw, a question ---- */

/* The uniform number falls into a block, then onto a code. Rounding may carry it past the last: then it is the last that can come. */
uint32_t law_draw(const struct law *law, const struct law_shape *s, struct rng *r) {
  double at = rng_uniform(r) * law->total;
  uint32_t b = 0, last = 0;
  bool any = false;
  for (; b + 1 < s->blocks && at >= law->block[b]; b++) at -= law->block[b];
  while (b > 0 && law->block[b] <= 0) b--, at = INFINITY;
  for (uint32_t c = b * LAW_BLOCK, end = c + LAW_BLOCK; c < end; c++) {
    double x = (double)law->rate[c] * (double)law->mask[c];
    if (!(x > 0)) continue;
    last = c;
    any = true;
    if (at < x) break;
    at -= x;
  }
  return any ? last : 0;
}

struct law_meeting law_meet(const struct law *law, const struct law_shape *s, const uint32_t *target, uint32_t targets, const uint32_t *end,
                            uint32_t ends, double *outside) {
  double of_size[LAW_SIZES], first[2] = {0, 0}, further[2] = {0, 0};
  bool sets = law->joins > 0;
  *outside = 0;
  if (!(law->all > 0)) return (struct law_meeting){0, 0};
  for (int k = 0; k < s->sizes && sets; k++) of_size[k] = law->size[k];
  for (int side = 0; side < 2; side++)
    for (uint32_t i = 0; i < (side ? ends : targets); i++) {
      uint32_t c = side ? end[i] : target[i];
      first[side] += (double)law->rate[c];
      if (!sets) continue;
      further[side] += (double)law->rate[c] * (double)s->joins[c];
      of_size[s->size_of[c]] -= (double)law->rate[c];
    }
  struct law_meeting out = {first[0] / law->all, first[1] / law->all};
  if (!(further[0] + further[1] > 0)) return out;
  double a = further[0] / law->joins, g = (further[0] + further[1]) / law->joins, joined_a = 0, joined = 0, end_a = 0;
  for (int k = 0; k < s->sizes; k++) {
    double share = fmax(0, of_size[k]) / law->all, more = s->size[k] - 1;
    joined -= share * expm1(-more * g);
    joined_a -= share * expm1(-more * a);
  }
  for (uint32_t i = 0; i < ends && a > 0; i++) { /* a set that began with an end may hold a target all the same */
    double more = s->size[s->size_of[end[i]]] - 1;
    end_a -= (double)law->rate[end[i]] / law->all * expm1(-more * a);
  }
  *outside = g;
  return (struct law_meeting){out.target + joined_a + end_a, out.end + joined - joined_a - end_a};
}
