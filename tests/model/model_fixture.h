/* Hand-made batches and tiny configurations for the model's tests: no vocabulary, no store. */
#ifndef TESTS_MODEL_FIXTURE_H
#define TESTS_MODEL_FIXTURE_H
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "kernel/kernel.h"
#include "model/model_internal.h"
#include "token/token.h"

#define FIX_CODES 11
#define FIX_OUTCOMES 3

static inline struct model_config fixture_config(void) {
  struct model_config c = {.preset = "test",
                           .layers = 2,
                           .d = 16,
                           .heads = 4,
                           .kv_heads = 4,
                           .ff = 24,
                           .context = 32,
                           .norm_eps = 1e-5f,
                           .rope_base = 100.0f,
                           .min_gap_days = 0.01f,
                           .hazard_rank = 3,
                           .codes = FIX_CODES,
                           .rows = FIX_CODES + 7,
                           .outcomes = FIX_OUTCOMES};
  return c;
}

/* codes 2 and 3 have values: 4 and 3 knots */
static inline void fixture_knots(struct model *m) {
  m->knot_row[2] = FIX_CODES, m->knots[2] = 4;
  m->knot_row[3] = FIX_CODES + 4, m->knots[3] = 3;
}

static inline void *fixture_array(struct token_batch *b, size_t n, size_t size) {
  void *p = arena_alloc(&b->arena, (n + 1) * size, 64);
  if (!p) abort();
  return p;
}

/* Sequences of the given lengths; about one position in five without entries, times with ties, values, gaps, follow-up. */
static inline void fixture_batch(struct token_batch *b, const int *length, int sequences, uint64_t seed) {
  struct rng r;
  int n = 0, entries = 0, targets = 0;
  rng_init(&r, seed, 77);
  memset(b, 0, sizeof *b);
  arena_init(&b->arena, 0, 0);
  for (int s = 0; s < sequences; s++) n += length[s];
  b->sequences = sequences, b->positions = n, b->outcomes = FIX_OUTCOMES;
  b->seq_start = fixture_array(b, (size_t)sequences + 1, 4);
  b->end_time = fixture_array(b, (size_t)sequences, 8);
  b->subject_index = fixture_array(b, (size_t)sequences, 4);
  b->outcome_first = fixture_array(b, (size_t)sequences * FIX_OUTCOMES, 8);
  b->time = fixture_array(b, (size_t)n, 8);
  b->age_years = fixture_array(b, (size_t)n, 4);
  b->entry_start = fixture_array(b, (size_t)n + 1, 4);
  b->entry_id = fixture_array(b, (size_t)n * 4, 4);
  b->entry_weight = fixture_array(b, (size_t)n * 4, 4);
  b->time_feature = fixture_array(b, (size_t)n * TOKEN_TIME_FEATURES, 4);
  b->rope_index = fixture_array(b, (size_t)n, 4);
  b->rope_time = fixture_array(b, (size_t)n, 4);
  b->target_start = fixture_array(b, (size_t)n + 1, 4);
  b->target_id = fixture_array(b, (size_t)n * 4, 4);
  b->target_knot = fixture_array(b, (size_t)n * 4, 4);
  b->gap_days = fixture_array(b, (size_t)n, 4);
  b->tail_days = fixture_array(b, (size_t)n, 4);
  int p = 0;
  for (int s = 0; s < sequences; s++) {
    int64_t start = INT64_C(1000000) * TIME_SECOND, t = start;
    for (int i = 0; i < length[s]; i++, p++) {
      if (i > 0 && rng_below(&r, 4)) t += (int64_t)(exp(4 * rng_uniform(&r) - 2) * (double)TIME_DAY);
      b->time[p] = t;
      b->rope_index[p] = (float)i;
      b->rope_time[p] = log1pf((float)((double)(t - start) / (double)TIME_HOUR));
      for (int k = 0; k < TOKEN_TIME_FEATURES; k++) b->time_feature[p * TOKEN_TIME_FEATURES + k] = (float)rng_normal(&r) * 0.5f;
      b->entry_start[p] = entries;
      int e = rng_below(&r, 5) ? 1 + (int)rng_below(&r, 3) : 0;
      for (int k = 0; k < e; k++) {
        b->entry_id[entries] = (int32_t)rng_below(&r, FIX_CODES + 7);
        b->entry_weight[entries++] = rng_uniformf(&r);
      }
      b->target_start[p] = targets;
      bool last = i == length[s] - 1;
      b->gap_days[p] = last ? NAN : (float)exp(5 * rng_uniform(&r) - 3);
      b->tail_days[p] = (float)exp(3 * rng_uniform(&r));
      int g = last ? 0 : 1 + (int)rng_below(&r, 3);
      for (int k = 0; k < g; k++) {
        int id = 1 + (int)rng_below(&r, FIX_CODES - 1);
        b->target_id[targets] = id;
        b->target_knot[targets++] = id == 2 ? 3 * rng_uniformf(&r) : id == 3 ? 2 * rng_uniformf(&r) : NAN;
      }
    }
    b->seq_start[s + 1] = p;
    b->end_time[s] = t + (int64_t)(200 * rng_uniform(&r) * (double)TIME_DAY);
    for (int o = 0; o < FIX_OUTCOMES; o++)
      b->outcome_first[s * FIX_OUTCOMES + o] =
          rng_below(&r, 3) ? start + (int64_t)(rng_uniform(&r) * (double)(b->end_time[s] - start)) : INT64_MAX;
  }
  b->entry_start[p] = entries;
  b->target_start[p] = targets;
  b->entries = entries, b->targets = targets;
}

static inline void fixture_release(struct token_batch *b) { arena_free(&b->arena); }
#endif
