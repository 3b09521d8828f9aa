/* What the model generates, beside lives that it was trained on and lives that it was not. The first quarter of a life is the prompt; the
 * rest is sampled. Lives are compared without their prompts: as sets of pairs of consecutive codes (Jaccard distance), and as rows of
 * codes, alone and with waits (in powers of four of an hour: waits are drawn from
 * exponentials, so that even a life known by heart does not come back to the minute), for copied runs. As many trained as held-out lives are prompted and compared, so
 * that a model without a memory favours neither. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "predict/predict.h"
#include "timeline/timeline.h"
#include "validate/memorisation_private.h"

#define FUTURES 2 /* sampled from each prompt */
#define MOST_COMPARED 500
#define LEAST_INSTANTS 8
#define PERMUTATIONS 200

struct row {         /* a life without its prompt */
  uint64_t *step[2]; /* (n) code; code and wait */
  uint64_t *pair;    /* (pairs) ascending, distinct */
  uint32_t n, pairs;
};
struct prompt {
  uint32_t who; /* in the cohort */
  int64_t time;
  double days; /* to the end of the record */
  struct row future[FUTURES];
};

/* ---- rows ---- */

struct entry {
  double days;
  uint32_t code;
};

static int by_instant(const void *x, const void *y) {
  const struct entry *a = x, *b = y;
  if (a->days != b->days) return a->days < b->days ? -1 : 1;
  return a->code < b->code ? -1 : a->code > b->code;
}
static int ascending(const void *x, const void *y) {
  uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
  return a < b ? -1 : a > b;
}

static int row_make(struct entry *x, uint32_t n, struct arena *a, struct row *out, struct error *e) {
  *out = (struct row){
      .step = {arena_array(a, uint64_t, n + 1u), arena_array(a, uint64_t, n + 1u)}, .pair = arena_array(a, uint64_t, n + 1u), .n = n};
  if (!out->step[0] || !out->step[1] || !out->pair) return error_set(e, E_NOMEM, "out of memory");
  qsort(x, n, sizeof *x, by_instant);
  for (uint32_t i = 0; i < n; i++) {
    double hours = i ? 24 * (x[i].days - x[i - 1].days) : 0;
    uint64_t wait = hours > 0 ? 1 + (uint64_t)floor(log2(1 + hours) / 2) : 0;
    out->step[0][i] = hash64_u64(x[i].code);
    out->step[1][i] = hash64_u64((uint64_t)x[i].code << 16 | wait);
    if (i) out->pair[out->pairs++] = (uint64_t)x[i - 1].code << 32 | x[i].code;
  }
  qsort(out->pair, out->pairs, sizeof *out->pair, ascending);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < out->pairs; i++)
    if (!kept || out->pair[kept - 1] != out->pair[i]) out->pair[kept++] = out->pair[i];
  out->pairs = kept;
  return OK;
}

static int row_of_life(const struct timeline_view *v, const struct predict_code *code, int64_t after, struct arena *a, struct row *out,
                       struct error *e) {
  struct entry *x = arena_array(a, struct entry, v->n + 1u);
  uint32_t n = 0;
  if (!x) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t k = v->statics; k < v->n; k++)
    if (v->time[k] > after && code[v->code[k]].id && !code[v->code[k]].birth)
      x[n++] = (struct entry){(double)(v->time[k] - after) / (double)TIME_DAY, code[v->code[k]].id};
  return row_make(x, n, a, out, e);
}

static double distance(const struct row *x, const struct row *y) {
  uint32_t both = 0;
  for (uint32_t i = 0, k = 0; i < x->pairs && k < y->pairs;) {
    if (x->pair[i] == y->pair[k])
      both++, i++, k++;
    else if (x->pair[i] < y->pair[k])
      i++;
    else
      k++;
  }
  uint32_t either = x->pairs + y->pairs - both;
  return either ? 1 - (double)both / either : 1;
}

/* When the first quarter of the instants has passed; false if the life is too short. */
static bool quarter(const struct timeline_view *v, const struct predict_code *code, int64_t *time, double *days) {
  uint32_t instants = 0, at = 0;
  int64_t last = INT64_MIN, end = INT64_MIN;
  for (int pass = 0; pass < 2; pass++) {
    last = INT64_MIN;
    for (uint32_t k = v->statics; k < v->n; k++) {
      if (code[v->code[k]].birth || v->time[k] == last) continue;
      last = v->time[k];
      if (pass == 0) instants++, end = last;
      if (pass == 1 && ++at == instants / 4) {
        *time = last;
        *days = (double)(end - last) / (double)TIME_DAY;
        return *days > 0;
      }
    }
    if (instants < LEAST_INSTANTS) return false;
  }
  return false;
}

/* ---- sampling ---- */

struct sampling {
  const struct memorisation_options *o;
  const struct cohort *c;
  struct prompt *prompt;
  uint32_t n;
  struct arena *arena; /* (workers): hold the rows */
  int *rc;
  struct error *error;
};

static int sample_one(struct sampling *s, struct predictor *p, struct prompt *x, struct arena *keep, struct arena *scratch,
                      struct error *e) {
  struct futures f;
  const struct person *who = &s->c->at[x->who];
  TRY(predict_futures(p, who->index, x->time, FUTURES, x->days * 1.001, s->o->seed + who->key, scratch, &f, e));
  for (int i = 0; i < FUTURES; i++) {
    struct entry *entry = arena_array(scratch, struct entry, (size_t)f.n[i] + 1);
    if (!entry) return error_set(e, E_NOMEM, "out of memory");
    for (int k = 0; k < f.n[i]; k++) entry[k] = (struct entry){f.path[i][k].days, f.path[i][k].code};
    TRY(row_make(entry, (uint32_t)f.n[i], keep, &x->future[i], e));
  }
  return OK;
}

static void sample_run(void *ctx, int worker, int workers) {
  struct sampling *s = ctx;
  struct error *e = &s->error[worker];
  struct predictor *p = NULL;
  struct arena scratch;
  arena_init(&scratch, 0, 0);
  int rc = predictor_new(s->o->model, s->o->store, &p, e);
  for (uint32_t i = (uint32_t)worker; i < s->n && rc == OK; i += (uint32_t)workers) {
    if (cancel_requested())
      rc = error_set(e, E_CANCELLED, "interrupted");
    else
      rc = sample_one(s, p, &s->prompt[i], &s->arena[worker], &scratch, e);
    arena_reset(&scratch);
  }
  predictor_free(p);
  arena_free(&scratch);
  s->rc[worker] = rc;
}

static int sample_all(struct sampling *s, struct pool *pool, struct error *e) {
  memset(s->error, 0, (size_t)pool_size(pool) * sizeof *s->error);
  pool_run(pool, sample_run, s);
  for (int k = 0; k < pool_size(pool); k++)
    if (s->rc[k] < 0) {
      if (e) *e = s->error[k];
      return s->rc[k];
    }
  return OK;
}

/* ---- copied runs ---- */

struct place {
  const struct row *row;
  uint32_t from, of; /* of: which generated row */
  uint64_t hash;
};

static bool grow(struct place *x, int kind, uint32_t length) { /* one step more; false at the row's end */
  if (x->from + length > x->row->n) return false;
  x->hash = hash64_u64(x->hash ^ x->row->step[kind][x->from + length - 1]) + length;
  return true;
}

static int places_of(const struct row *const *row, uint32_t n, struct arena *a, struct place **out, uint32_t *count, struct error *e) {
  size_t total = 0;
  for (uint32_t i = 0; i < n; i++) total += row[i]->n;
  *count = 0;
  *out = arena_array(a, struct place, total + 1);
  if (!*out) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < row[i]->n; k++) (*out)[(*count)++] = (struct place){row[i], k, i, 0};
  return OK;
}

/* Keeps of x the places that can grow to `length` and (against != NULL) whose run is in there. */
static uint32_t keep_common(struct place *x, uint32_t n, int kind, uint32_t length, const struct map64 *against) {
  uint32_t kept = 0;
  uint64_t unused;
  for (uint32_t i = 0; i < n; i++) {
    if (!against && !grow(&x[i], kind, length)) continue;
    if (against && !map64_get(against, (int64_t)x[i].hash, &unused)) continue;
    x[kept++] = x[i];
  }
  return kept;
}

static int hashes_of(const struct place *x, uint32_t n, struct map64 *out, struct error *e) {
  bool fresh;
  map64_init(out);
  for (uint32_t i = 0; i < n; i++)
    if (!map64_put(out, (int64_t)x[i].hash, &fresh)) return map64_release(out), error_set(e, E_NOMEM, "out of memory");
  return OK;
}

/* run[i]: the longest run of generated row i that stands in any of the lives. Runs grow step by step; only what is common so far stays. */
static int copied(const struct row *const *generated, uint32_t n, const struct row *const *lives, uint32_t m, int kind, uint32_t *run,
                  struct error *e) {
  struct arena a;
  struct place *x = NULL, *y = NULL;
  uint32_t nx = 0, ny = 0;
  arena_init(&a, 0, 0);
  memset(run, 0, n * sizeof *run);
  int rc = places_of(generated, n, &a, &x, &nx, e);
  if (rc == OK) rc = places_of(lives, m, &a, &y, &ny, e);
  for (uint32_t length = 1; rc == OK && nx && ny; length++) {
    struct map64 map;
    nx = keep_common(x, nx, kind, length, NULL);
    ny = keep_common(y, ny, kind, length, NULL);
    rc = hashes_of(y, ny, &map, e);
    if (rc < 0) break;
    nx = keep_common(x, nx, kind, length, &map);
    map64_release(&map);
    for (uint32_t i = 0; i < nx; i++) run[x[i].of] = length;
    rc = hashes_of(x, nx, &map, e);
    if (rc < 0) break;
    ny = keep_common(y, ny, kind, length, &map);
    map64_release(&map);
  }
  arena_free(&a);
  return rc;
}

/* ---- the comparison ---- */

struct comparison {
  const struct row **generated, **lives[2]; /* lives: [0] held out, [1] trained on */
  uint32_t n, compared;
  double *least[2]; /* (n) distance to the nearest */
};

static int by_number(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

static void cumulative(double *sorted, uint32_t n, struct curve *c) {
  qsort(sorted, n, sizeof *sorted, by_number);
  c->n = 0;
  for (int i = 0; i <= 100 && n; i++) {
    uint32_t k = (uint32_t)((uint64_t)(n - 1) * (unsigned)i / 100);
    c->x[c->n] = sorted[k], c->y[c->n++] = (k + 1.0) / n;
  }
}

static double nearest(const struct row *x, const struct row *const *lives, uint32_t n) {
  double least = 1;
  for (uint32_t i = 0; i < n; i++) least = fmin(least, distance(x, lives[i]));
  return least;
}

/* Share of generated rows that are nearer to the trained lives; ties count half. flip[k] = 1: pair k's two lives change sides. `d`: (n,
 * compared, 2). */
static double nearer_share(const struct comparison *x, const float *d, const uint8_t *flip) {
  double closer = 0;
  for (uint32_t i = 0; i < x->n; i++) {
    float least[2] = {2, 2};
    for (uint32_t k = 0; k < x->compared; k++) {
      const float *pair = d + ((size_t)i * x->compared + k) * 2;
      float held = pair[flip[k]], trained = pair[!flip[k]];
      least[0] = held < least[0] ? held : least[0];
      least[1] = trained < least[1] ? trained : least[1];
    }
    closer += least[1] < least[0] ? 1 : least[1] == least[0] ? 0.5 : 0;
  }
  return closer / x->n;
}

/* How far chance alone moves the share: the two lives of every pair change sides at random. A few lives that are near to everything
 * count for much in it, which an interval over the generated lives would not see. */
static int closer_interval(const struct comparison *x, uint64_t seed, struct arena *a, struct interval *out, struct error *e) {
  float *d = arena_array(a, float, 2 * (size_t)x->n * x->compared + 1);
  uint8_t *flip = arena_array(a, uint8_t, x->compared + 1u);
  double sum = 0;
  if (!d || !flip) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < x->n; i++)
    for (uint32_t k = 0; k < x->compared; k++)
      for (int s = 0; s < 2; s++) d[((size_t)i * x->compared + k) * 2 + (size_t)s] = (float)distance(x->generated[i], x->lives[s][k]);
  out->at = nearer_share(x, d, flip);
  for (int p = 0; p < PERMUTATIONS; p++) {
    struct rng r;
    rng_init(&r, seed, (uint64_t)p);
    for (uint32_t k = 0; k < x->compared; k++) flip[k] = rng_u32(&r) & 1;
    double share = nearer_share(x, d, flip) - 0.5;
    sum += share * share;
  }
  double sd = sqrt(sum / PERMUTATIONS);
  out->lo = out->at - 1.959964 * sd, out->hi = out->at + 1.959964 * sd;
  return OK;
}

static int compare(const struct comparison *x, uint64_t seed, struct arena *a, struct memorisation *m, struct error *e) {
  double *held = arena_array(a, double, x->compared + 1u), wins = 0;
  uint32_t *run = arena_array(a, uint32_t, x->n + 1u);
  if (!held || !run) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < x->n; i++)
    for (int s = 0; s < 2; s++) x->least[s][i] = nearest(x->generated[i], x->lives[s], x->compared);
  TRY(closer_interval(x, seed, a, &m->closer, e));
  for (uint32_t i = 0; i < x->compared; i++) held[i] = nearest(x->lives[0][i], x->lives[1], x->compared);
  for (uint32_t i = 0; i < x->n; i++)
    for (uint32_t k = 0; k < x->compared; k++) wins += x->least[1][i] < held[k] ? 1 : x->least[1][i] == held[k] ? 0.5 : 0;
  m->nearer_than_held_out = wins / ((double)x->n * x->compared);
  for (int s = 0; s < 2; s++) cumulative(x->least[s], x->n, &m->distance[s]);
  for (int at = 0; at < 4; at++) {
    int kind = at / 2, s = at % 2;
    TRY(copied(x->generated, x->n, x->lives[s], x->compared, kind, run, e));
    for (uint32_t i = 0; i < x->n; i++) {
      m->longest[kind][s] = run[i] > m->longest[kind][s] ? run[i] : m->longest[kind][s];
      m->mean_run[kind][s] += (double)run[i] / x->n;
    }
  }
  return OK;
}

/* Is the rest of a life that was trained on guessed better than that of one that was not? */
static int completion(const struct cohort *c, const struct prompt *prompt, const struct row *own, uint32_t prompts, struct arena *a,
                      struct memorisation *m, struct error *e) {
  double *score = arena_array(a, double, prompts + 1u);
  uint8_t *member = arena_array(a, uint8_t, prompts + 1u);
  if (!score || !member) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < prompts; i++) {
    for (int k = 0; k < FUTURES; k++) score[i] -= distance(&prompt[i].future[k], &own[i]) / FUTURES;
    member[i] = c->at[prompt[i].who].member;
  }
  m->completion = auc_interval(score, member, prompts);
  return OK;
}

struct chosen { /* pairs whose two lives are both long enough */
  uint32_t *pair, n;
  int64_t *time; /* (2 n): member's, other's */
  double *days;
};

static int choose(const struct memorisation_options *o, const struct cohort *c, struct arena *a, struct chosen *out, struct error *e) {
  *out = (struct chosen){.pair = arena_array(a, uint32_t, c->pairs + 1u),
                         .time = arena_array(a, int64_t, 2 * (size_t)c->pairs + 1),
                         .days = arena_array(a, double, 2 * (size_t)c->pairs + 1)};
  if (!out->pair || !out->time || !out->days) return error_set(e, E_NOMEM, "out of memory");
  uint32_t step = (c->pairs + MOST_COMPARED - 1) / MOST_COMPARED;
  for (uint32_t i = 0; i < c->pairs; i += step) {
    struct timeline_view member = timeline_view(o->store, c->at[i].index), other = timeline_view(o->store, c->at[c->pairs + i].index);
    uint32_t n = out->n;
    if (!quarter(&member, c->code, &out->time[2 * n], &out->days[2 * n])) continue;
    if (!quarter(&other, c->code, &out->time[2 * n + 1], &out->days[2 * n + 1])) continue;
    out->pair[out->n++] = i;
  }
  return OK;
}

static int lay_out(const struct memorisation_options *o, const struct cohort *c, const struct chosen *chosen, uint32_t pairs,
                   struct prompt *prompt, struct row *own, struct row *rows, struct arena *a, struct comparison *x, struct error *e) {
  x->compared = chosen->n, x->n = 2 * pairs * FUTURES;
  x->generated = arena_array(a, const struct row *, x->n + 1u);
  for (int s = 0; s < 2; s++) {
    x->least[s] = arena_array(a, double, x->n + 1u);
    x->lives[s] = arena_array(a, const struct row *, x->compared + 1u);
    if (!x->least[s] || !x->lives[s]) return error_set(e, E_NOMEM, "out of memory");
  }
  if (!x->generated) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < chosen->n; i++)
    for (uint32_t s = 0; s < 2; s++) { /* s = 0: the member */
      struct row *row = &rows[2 * i + s];
      uint32_t who = chosen->pair[i] + (s ? c->pairs : 0);
      struct timeline_view v = timeline_view(o->store, c->at[who].index);
      TRY(row_of_life(&v, c->code, chosen->time[2 * i + s], a, row, e));
      x->lives[!s][i] = row;
    }
  for (uint32_t i = 0; i < 2 * pairs; i++) { /* prompts: spread over the chosen pairs */
    uint32_t k = (uint32_t)((uint64_t)(i / 2) * chosen->n / pairs), s = i % 2;
    prompt[i] =
        (struct prompt){.who = chosen->pair[k] + (s ? c->pairs : 0), .time = chosen->time[2 * k + s], .days = chosen->days[2 * k + s]};
    own[i] = rows[2 * k + s];
    for (uint32_t f = 0; f < FUTURES; f++) x->generated[i * FUTURES + f] = &prompt[i].future[f];
  }
  return OK;
}

static int sample_and_compare(const struct memorisation_options *o, const struct cohort *c, struct comparison *x, struct prompt *prompt,
                              const struct row *own, uint32_t prompts, struct arena *a, struct memorisation *m, struct error *e) {
  struct pool *pool;
  TRY(pool_new(&pool, o->threads, e));
  size_t workers = (size_t)pool_size(pool);
  struct sampling s = {.o = o,
                       .c = c,
                       .prompt = prompt,
                       .n = prompts,
                       .arena = arena_array(a, struct arena, workers),
                       .rc = arena_array(a, int, workers),
                       .error = arena_array(a, struct error, workers)};
  int rc = s.arena && s.rc && s.error ? OK : error_set(e, E_NOMEM, "out of memory");
  for (size_t k = 0; s.arena && k < workers; k++) arena_init(&s.arena[k], 0, 0);
  if (rc == OK) rc = sample_all(&s, pool, e);
  if (rc == OK) rc = compare(x, o->seed, a, m, e);
  if (rc == OK) rc = completion(c, prompt, own, prompts, a, m, e);
  for (size_t k = 0; s.arena && k < workers; k++) arena_free(&s.arena[k]);
  pool_free(pool);
  return rc;
}

int memorisation_nearest(const struct memorisation_options *o, const struct cohort *c, struct arena *a, struct memorisation *m,
                         struct error *e) {
  struct chosen chosen;
  struct comparison x;
  TRY(choose(o, c, a, &chosen, e));
  uint32_t pairs = o->prompts ? o->prompts : 100;
  if (pairs > chosen.n) pairs = chosen.n;
  if (chosen.n < m->limits.least_persons || chosen.n < 2) {
    m->why[3] = "too few lives that are long enough to be continued";
    return OK;
  }
  struct prompt *prompt = arena_array(a, struct prompt, 2 * (size_t)pairs);
  struct row *own = arena_array(a, struct row, 2 * (size_t)pairs), *rows = arena_array(a, struct row, 2 * (size_t)chosen.n);
  if (!prompt || !own || !rows) return error_set(e, E_NOMEM, "out of memory");
  TRY(lay_out(o, c, &chosen, pairs, prompt, own, rows, a, &x, e));
  m->prompts = 2 * pairs, m->generated = x.n, m->compared = x.compared;
  return sample_and_compare(o, c, &x, prompt, own, 2 * pairs, a, m, e);
}
