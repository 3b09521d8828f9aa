/* The hazard head, fitted again when the trunk is trained: L-BFGS on all rows at once, the trunk held. AdamW gives a rare outcome's weights a drift of
 * gradient over noise a step, which a few epochs do not carry to the end (docs/simulator.md: deaths of the first month came out 20 % too
 * low); in the rows that the trunk gives, the head is a small smooth problem, and some ten passes over kept rows bring it to its end.
 * Tuning patients say which iterate is kept; without any, nothing is done. Rows are kept in fixed parts, so that threads decide no bit. */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/thread.h"
#include "model/lbfgs.h"
#include "model/model_hazard.h"
#include "model/train_internal.h"

#define PARTS 32
/* Of hidden rows kept, 256 MiB, and a quarter more for tuning patients: the steps saw all lives, so a fit to a share of them adds that share's chance. */
#define ROW_FLOATS (1 << 26)
#define ITERATIONS 40
#define PATIENCE 6 /* iterations without a gain on tuning patients */
/* Of what is added to a log hazard, 1 / variance over the rows: a tenth is expected. An event is seen from all positions before it, so it counts once for
 * each of them, and so does this. */
#define PRIOR 100.0
/* The same of what a bias moves by: nearly two, up or down. Most outcomes have no event in the first days after a row, and few lives are followed far:
 * without this hazards go to nothing where nothing was seen. */
#define PRIOR_BIAS 0.3

struct kept_first {
  uint32_t outcome;
  int64_t time;
};
struct kept_life {
  int64_t end;
  uint32_t first, firsts; /* in part.firsts */
};
struct kept_row {
  int64_t now;
  double weight;
  uint32_t life;
};
struct part {                           /* of the lives: what the head sees of them, and its sums */
  struct buf hidden, row, life, firsts; /* (rows, d) float, kept_row, kept_life, kept_first */
  double loss;
  float *gradient; /* (parameters of the head) */
  struct error e;
  int rc;
};
struct refit {
  struct train_run *r;
  struct train_items items; /* of the split that is kept just now */
  double share;             /* of the lives that are kept */
  uint64_t seed;
  struct part *part; /* (PARTS) those of the pass that runs */
  bool gradient;
  int64_t *first; /* (workers, HAZARD_ROWS, outcomes) */
  struct part train[PARTS], tuning[PARTS];
  size_t n; /* of what moves */
  double *best, least;
  int idle;                 /* iterations since the best */
  double *start;            /* where the optimiser of the steps had left it */
  double *bias;             /* (8, outcomes) */
  double *mean, *cov;       /* (d), (d, d) of the rows */
  double *events;           /* (8, outcomes) weights of what happened */
  double *gram, *gram_root; /* (rank, rank) U'U; (8, rank, rank) */
  double *cov_root, *mixed; /* (d, d), (rank, d) */
  double lambda, lambda_bias;
};

/* Lower Cholesky factor in place, of something drawn a little towards its diagonal so that it always exists. */
static void cholesky(double *a, size_t n) {
  double trace = 0;
  for (size_t i = 0; i < n; i++) trace += a[i * n + i];
  for (size_t i = 0; i < n; i++) {
    a[i * n + i] += 1e-6 * trace / (double)n + 1e-12;
    for (size_t j = 0; j <= i; j++) {
      double left = a[i * n + j];
      for (size_t k = 0; k < j; k++) left -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = i == j ? sqrt(fmax(left, 1e-12)) : left / a[j * n + j];
    }
  }
}

/* x, its n elements `stride` apart, becomes (L L')^-1 x. */
static void cholesky_solve(const double *l, size_t n, double *x, size_t stride) {
  for (size_t i = 0; i < n; i++) {
    double left = x[i * stride];
    for (size_t k = 0; k < i; k++) left -= l[i * n + k] * x[k * stride];
    x[i * stride] = left / l[i * n + i];
  }
  for (size_t i = n; i-- > 0;) {
    double left = x[i * stride];
    for (size_t k = i + 1; k < n; k++) left -= l[k * n + i] * x[k * stride];
    x[i * stride] = left / l[i * n + i];
  }
}

/* What moves: W (8 bins, rank, d) and the biases (8, outcomes) of rows whose mean is taken out: log hazard = W (h - mean) u_o + bias. The
 * outcomes' own vectors u stand still, which makes the problem convex. */
static size_t weights(const struct model *m) { return (size_t)HAZARD_BINS * (size_t)m->config.hazard_rank * (size_t)m->config.d; }
static size_t biases(const struct model *m) { return (size_t)HAZARD_BINS * m->config.outcomes; }

/* to[b, o] += sign * (W_b mean) u_o */
static void add_at_mean(const struct refit *f, const double *w, double sign, double *to) {
  const struct model *m = f->r->m;
  size_t d = (size_t)m->config.d, rank = (size_t)m->config.hazard_rank, outcomes = m->config.outcomes;
  for (size_t q = 0; q < HAZARD_BINS * rank; q++) {
    double at = 0;
    for (size_t j = 0; j < d; j++) at += w[q * d + j] * f->mean[j];
    for (size_t o = 0; o < outcomes; o++)
      to[q / rank * outcomes + o] += sign * at * (double)m->weight[(size_t)m->hazard_outcome + o * rank + q % rank];
  }
}

static void head_get(const struct refit *f, double *w) {
  const struct model *m = f->r->m;
  for (size_t i = 0; i < weights(m); i++) w[i] = (double)m->weight[(size_t)m->hazard + i];
  for (size_t i = 0; i < biases(m); i++) w[weights(m) + i] = (double)m->weight[(size_t)m->hazard_bias + i];
  add_at_mean(f, w, 1, w + weights(m));
}

static void head_set(struct refit *f, const double *w) {
  const struct model *m = f->r->m;
  memcpy(f->bias, w + weights(m), biases(m) * sizeof *w);
  add_at_mean(f, w, -1, f->bias);
  for (size_t i = 0; i < weights(m); i++) m->weight[(size_t)m->hazard + i] = (float)w[i];
  for (size_t i = 0; i < biases(m); i++) m->weight[(size_t)m->hazard_bias + i] = (float)f->bias[i];
}

/* ---- rows ---- */

static void keep_rows(struct refit *f, struct part *p, struct train_worker *w) {
  const struct model *m = f->r->m;
  const struct token_batch *b = &w->batch;
  size_t d = (size_t)m->config.d, outcomes = m->config.outcomes;
  const float *hidden = model_hidden(w->w);
  int most = hazard_samples(&m->config);
  for (int s = 0; s < b->sequences; s++) {
    int length = b->seq_start[s + 1] - b->seq_start[s], samples = length < most ? length : most;
    struct kept_life life = {.end = b->end_time[s], .first = (uint32_t)(p->firsts.n / sizeof(struct kept_first))};
    for (size_t o = 0; o < outcomes; o++) {
      struct kept_first first = {(uint32_t)o, b->outcome_first[(size_t)s * outcomes + o]};
      if (first.time != INT64_MAX) buf_put(&p->firsts, &first, sizeof first), life.firsts++;
    }
    struct rng r;
    rng_init(&r, f->seed, b->subject_index[s]);
    for (int i = 0; i < samples; i++) {
      int at = (int)((i + rng_uniform(&r)) * length / samples), q = b->seq_start[s] + (at < length ? at : length - 1);
      struct kept_row row = {b->time[q], (double)length / samples, (uint32_t)(p->life.n / sizeof life)};
      if (row.now >= life.end) continue;
      buf_put(&p->row, &row, sizeof row);
      buf_put(&p->hidden, hidden + (size_t)q * d, d * sizeof(float));
    }
    buf_put(&p->life, &life, sizeof life);
  }
}

static bool is_kept(const struct refit *f, size_t item) {
  if (f->items.at[item].subject >= timeline_subjects(f->r->data.store)) return false; /* a canary */
  return (double)(hash64_u64(f->seed ^ item) >> 11) * 0x1p-53 < f->share;
}

static int rows_of(const struct refit *f, const struct train_item *item) { /* at most */
  int most = hazard_samples(&f->r->m->config);
  return item->positions < most ? item->positions : most;
}

static int fill_part(struct refit *f, struct part *p, struct train_worker *w, size_t from, struct error *e) {
  struct train_run *r = f->r;
  size_t rows = 0, d = (size_t)r->m->config.d;
  for (size_t i = from; i < f->items.n; i += PARTS)
    if (is_kept(f, i)) rows += (size_t)rows_of(f, &f->items.at[i]);
  buf_reserve(&p->hidden, rows * d * sizeof(float));
  buf_reserve(&p->row, rows * sizeof(struct kept_row));
  token_batch_clear(&w->batch);
  for (size_t i = from; i < f->items.n; i += PARTS) {
    const struct train_item *item = &f->items.at[i];
    if (!is_kept(f, i)) continue;
    if (w->batch.positions + item->positions > w->w->positions) {
      TRY(model_forward(r->m, w->w, &w->batch, NULL, e));
      keep_rows(f, p, w);
      token_batch_clear(&w->batch);
    }
    TRY(train_pack(&r->data, item, &w->batch, e));
  }
  if (w->batch.sequences) {
    TRY(model_forward(r->m, w->w, &w->batch, NULL, e));
    keep_rows(f, p, w);
  }
  TRY(buf_check(&p->hidden, e));
  TRY(buf_check(&p->row, e));
  TRY(buf_check(&p->life, e));
  return buf_check(&p->firsts, e);
}

static void fill_job(void *ctx, int worker, int workers) {
  struct refit *f = ctx;
  (void)workers;
  for (int k; (k = atomic_fetch_add(&f->r->next_lane, 1)) < PARTS;)
    f->part[k].rc = fill_part(f, &f->part[k], &f->r->worker[worker], (size_t)k, &f->part[k].e);
}

static int fill(struct refit *f, enum split split, struct part *part, size_t floats, struct error *e) {
  double rows = 0;
  int rc = train_lives(&f->r->data, split, &f->items, e);
  for (size_t i = 0; i < f->items.n; i++) rows += rows_of(f, &f->items.at[i]);
  f->part = part;
  f->share = fmin(1, (double)(floats / (size_t)f->r->m->config.d) / fmax(rows, 1));
  atomic_store(&f->r->next_lane, 0);
  if (rc >= 0) pool_run(f->r->pool, fill_job, f);
  for (int k = 0; rc >= 0 && k < PARTS; k++)
    if (part[k].rc < 0) {
      rc = part[k].rc;
      if (e) *e = part[k].e;
    }
  mem_free(f->items.at);
  f->items = (struct train_items){0};
  return rc;
}

/* ---- loss and gradient ---- */

static void sum_part(const struct refit *f, struct part *p, int worker, float *gradient) {
  const struct model *m = f->r->m;
  size_t d = (size_t)m->config.d, outcomes = m->config.outcomes, rows = p->row.n / sizeof(struct kept_row);
  const struct kept_row *row = (const struct kept_row *)(const void *)p->row.p;
  const struct kept_life *life = (const struct kept_life *)(const void *)p->life.p;
  const struct kept_first *firsts = (const struct kept_first *)(const void *)p->firsts.p;
  struct loss_sums s = {0};
  if (gradient) {
    memset(gradient + m->hazard, 0, weights(m) * sizeof *gradient);
    memset(gradient + m->hazard_bias, 0, biases(m) * sizeof *gradient);
    memset(gradient + m->hazard_outcome, 0, outcomes * (size_t)m->config.hazard_rank * sizeof *gradient);
  }
  for (size_t i = 0; i < rows;) {
    struct hazard_pick pick[HAZARD_ROWS];
    int n = 0;
    for (; n < HAZARD_ROWS && i < rows; i++, n++) {
      const struct kept_life *l = &life[row[i].life];
      int64_t *first = f->first + ((size_t)worker * HAZARD_ROWS + (size_t)n) * outcomes;
      for (size_t o = 0; o < outcomes; o++) first[o] = INT64_MAX;
      for (uint32_t j = 0; j < l->firsts; j++) first[firsts[l->first + j].outcome] = firsts[l->first + j].time;
      pick[n] = (struct hazard_pick){.hidden = (const float *)(const void *)p->hidden.p + i * d,
                                     .first = first,
                                     .now = row[i].now,
                                     .end = l->end,
                                     .weight = row[i].weight};
    }
    hazard_chunk(m, f->r->worker[worker].w, pick, n, gradient, &s);
  }
  p->loss = s.objective;
  for (size_t i = 0; gradient && i < weights(m); i++) p->gradient[i] = gradient[(size_t)m->hazard + i];
  for (size_t i = 0; gradient && i < biases(m); i++) p->gradient[weights(m) + i] = gradient[(size_t)m->hazard_bias + i];
}

/* A thread's gradient goes through the memory of a lane of the step; threads beyond the lanes have none and rest. */
static void sum_job(void *ctx, int worker, int workers) {
  struct refit *f = ctx;
  (void)workers;
  if (worker >= f->r->own_lanes) return;
  float *gradient = f->gradient ? f->r->lane[f->r->first_lane + worker].gradient : NULL;
  for (int k; (k = atomic_fetch_add(&f->r->next_lane, 1)) < PARTS;) sum_part(f, &f->part[k], worker, gradient);
}

static double sum(struct refit *f, struct part *part, double *g) {
  double loss = 0;
  f->part = part, f->gradient = g != NULL;
  atomic_store(&f->r->next_lane, 0);
  pool_run(f->r->pool, sum_job, f);
  if (g) memset(g, 0, f->n * sizeof *g);
  for (int k = 0; k < PARTS; k++) {
    loss += part[k].loss;
    for (size_t i = 0; g && i < f->n; i++) g[i] += (double)part[k].gradient[i];
  }
  return loss;
}

static double value(void *ctx, const double *w, double *g) {
  struct refit *f = ctx;
  const struct model *m = f->r->m;
  size_t d = (size_t)m->config.d, rank = (size_t)m->config.hazard_rank, outcomes = m->config.outcomes;
  head_set(f, w);
  double loss = sum(f, f->train, g);
  for (size_t q = 0; q < HAZARD_BINS * rank; q++) { /* biases stand at the mean */
    double at = 0;
    for (size_t o = 0; o < outcomes; o++)
      at += g[weights(m) + q / rank * outcomes + o] * (double)m->weight[(size_t)m->hazard_outcome + o * rank + q % rank];
    for (size_t j = 0; j < d; j++) g[q * d + j] -= at * f->mean[j];
  }
  for (size_t i = weights(m); i < f->n; i++) {
    double by = w[i] - f->start[i];
    loss += 0.5 * f->lambda_bias * by * by;
    g[i] += f->lambda_bias * by;
  }
  /* ridge: lambda / 2 times the variance, over the rows, of what is added to each log hazard: tr((U'U) D C D') for each bin */
  for (size_t b = 0; b < HAZARD_BINS; b++) {
    const double *now = w + b * rank * d, *start = f->start + b * rank * d;
    for (size_t q = 0; q < rank; q++)
      for (size_t j = 0; j < d; j++) {
        double by = 0;
        for (size_t p = 0; p < rank; p++) by += f->gram[q * rank + p] * (now[p * d + j] - start[p * d + j]);
        f->mixed[q * d + j] = by;
      }
    for (size_t q = 0; q < rank; q++)
      for (size_t j = 0; j < d; j++) {
        double by = 0;
        for (size_t i = 0; i < d; i++) by += f->mixed[q * d + i] * f->cov[i * d + j];
        loss += 0.5 * f->lambda * by * (now[q * d + j] - start[q * d + j]);
        g[(b * rank + q) * d + j] += f->lambda * by;
      }
  }
  return loss;
}

/* Second derivatives of a bin are about (U' events U + lambda U'U) times the covariance of the rows, as if the hazard were the same for all: solved
 * for by the Cholesky factors of the two. */
static void precondition(void *ctx, double *g) {
  struct refit *f = ctx;
  const struct model *m = f->r->m;
  size_t d = (size_t)m->config.d, rank = (size_t)m->config.hazard_rank;
  for (size_t b = 0; b < HAZARD_BINS; b++) {
    double *rows = g + b * rank * d;
    for (size_t q = 0; q < rank; q++) cholesky_solve(f->cov_root, d, rows + q * d, 1);
    for (size_t j = 0; j < d; j++) cholesky_solve(f->gram_root + b * rank * rank, rank, rows + j, d);
  }
  for (size_t i = 0; i < biases(m); i++) g[weights(m) + i] /= f->events[i] + 1 + f->lambda_bias;
}

static bool go_on(void *ctx, const double *w) {
  struct refit *f = ctx;
  head_set(f, w);
  double loss = sum(f, f->tuning, NULL);
  if (loss < f->least) {
    f->least = loss, f->idle = 0;
    memcpy(f->best, w, f->n * sizeof *w);
    return true;
  }
  return ++f->idle < PATIENCE;
}

/* Mean and covariance of the rows, events of each bin and outcome, and the factors made of them. */
static int measure(struct refit *f, struct error *e) {
  const struct model *m = f->r->m;
  size_t d = (size_t)m->config.d, rank = (size_t)m->config.hazard_rank, outcomes = m->config.outcomes, lives = 0;
  double total = 0, at_risk = 0, rows = 0;
  for (int k = 0; k < PARTS; k++) {
    const struct part *p = &f->train[k];
    const struct kept_row *row = (const struct kept_row *)(const void *)p->row.p;
    const struct kept_life *life = (const struct kept_life *)(const void *)p->life.p;
    const struct kept_first *firsts = (const struct kept_first *)(const void *)p->firsts.p;
    const float *h = (const float *)(const void *)p->hidden.p;
    lives += p->life.n / sizeof *life;
    for (size_t i = 0; i < p->row.n / sizeof *row; i++, h += d) {
      const struct kept_life *l = &life[row[i].life];
      double still = (double)outcomes;
      for (uint32_t j = 0; j < l->firsts; j++) still -= firsts[l->first + j].time <= row[i].now;
      for (uint32_t j = 0; j < l->firsts; j++) {
        double days = (double)(firsts[l->first + j].time - row[i].now) / (double)TIME_DAY;
        size_t b = 0;
        while (b < HAZARD_BINS && days > hazard_edge_days[b + 1]) b++;
        if (days > 0 && b < HAZARD_BINS) f->events[b * outcomes + firsts[l->first + j].outcome] += row[i].weight / still;
      }
      for (size_t j = 0; j < d; j++) {
        double by = row[i].weight * (double)h[j];
        f->mean[j] += by;
        for (size_t q = 0; q <= j; q++) f->cov[j * d + q] += by * (double)h[q];
      }
      total += row[i].weight, at_risk += still, rows++;
    }
  }
  if (rows == 0) return error_set(e, E_INPUT, "no rows of training patients");
  for (size_t j = 0; j < d; j++) f->mean[j] /= total;
  for (size_t j = 0; j < d; j++)
    for (size_t q = 0; q <= j; q++) f->cov[q * d + j] = f->cov[j * d + q] = f->cov[j * d + q] / total - f->mean[j] * f->mean[q];
  double each = total / (double)lives * rows / fmax(at_risk, 1);
  f->lambda = PRIOR * each, f->lambda_bias = PRIOR_BIAS * each;
  for (size_t b = 0; b < HAZARD_BINS + 1; b++) { /* the last: U'U alone */
    double *to = b < HAZARD_BINS ? f->gram_root + b * rank * rank : f->gram;
    for (size_t q = 0; q < rank; q++)
      for (size_t p = 0; p < rank; p++)
        for (size_t o = 0; o < outcomes; o++) {
          const float *u = m->weight + m->hazard_outcome + o * rank;
          to[q * rank + p] += (b < HAZARD_BINS ? f->events[b * outcomes + o] + f->lambda : 1) * (double)u[q] * (double)u[p];
        }
    if (b < HAZARD_BINS) cholesky(to, rank);
  }
  memcpy(f->cov_root, f->cov, d * d * sizeof *f->cov);
  cholesky(f->cov_root, d);
  return OK;
}

static int run(struct refit *f, double *w, struct train_result *out, struct error *e) {
  double weight = 0;
  TRY(measure(f, e));
  head_get(f, w);
  memcpy(f->best, w, f->n * sizeof *w);
  memcpy(f->start, w, f->n * sizeof *w);
  for (int k = 0; k < PARTS; k++)
    for (size_t i = 0; i < f->tuning[k].row.n / sizeof(struct kept_row); i++)
      weight += ((const struct kept_row *)(const void *)f->tuning[k].row.p)[i].weight;
  double before = f->least = sum(f, f->tuning, NULL);
  lbfgs(&(struct lbfgs_problem){value, go_on, precondition, f}, f->n, w, w + f->n, ITERATIONS);
  head_set(f, f->best);
  out->hazard_before = before / weight, out->hazard_after = f->least / weight;
  return OK;
}

uint64_t train_hazard_bytes(const struct model_config *c, int threads, uint64_t lives, uint64_t positions) {
  uint64_t d = (uint64_t)c->d, rank = (uint64_t)c->hazard_rank, b = HAZARD_BINS * (uint64_t)c->outcomes, n = HAZARD_BINS * rank * d + b;
  uint64_t most = (uint64_t)hazard_samples(c), rows = lives * most < positions ? lives * most : positions;
  if (c->outcomes == 0) return 0;
  if (rows > ROW_FLOATS / d) rows = ROW_FLOATS / d;
  return sizeof(double) * ((3 + LBFGS_ROOM(1)) * n + 2 * b + d + 2 * d * d + (1 + HAZARD_BINS) * rank * rank + rank * d) +
         sizeof(float) * PARTS * n + sizeof(int64_t) * (uint64_t)threads * HAZARD_ROWS * c->outcomes +
         (rows + rows / 4) * (d * sizeof(float) + sizeof(struct kept_row));
}

int train_hazard_refit(struct train_run *r, struct train_result *out, struct error *e) {
  const struct model_config *c = &r->m->config;
  size_t d = (size_t)c->d, rank = (size_t)c->hazard_rank;
  int rc = OK;
  if (c->outcomes == 0 || r->o.weight_hazard <= 0 || r->done) return OK;
  struct arena a;
  arena_init(&a, 0, 0);
  struct refit *f = arena_array(&a, struct refit, 1);
  if (!f) return error_set(e, E_NOMEM, "no memory for the last fit of the hazard head");
  *f = (struct refit){.r = r, .seed = r->o.seed ^ 0x72656669u, .n = weights(r->m) + biases(r->m)};
  double *w = arena_array(&a, double, f->n + LBFGS_ROOM(f->n));
  float *gradients = arena_array(&a, float, PARTS * f->n);
  f->best = arena_array(&a, double, f->n), f->start = arena_array(&a, double, f->n);
  f->first = arena_array(&a, int64_t, (size_t)r->workers * HAZARD_ROWS * c->outcomes);
  f->bias = arena_array(&a, double, biases(r->m)), f->events = arena_array(&a, double, biases(r->m));
  f->mean = arena_array(&a, double, d), f->cov = arena_array(&a, double, d *d), f->cov_root = arena_array(&a, double, d *d);
  f->gram = arena_array(&a, double, rank *rank), f->gram_root = arena_array(&a, double, HAZARD_BINS *rank *rank);
  f->mixed = arena_array(&a, double, rank *d);
  if (!w || !gradients || !f->best || !f->start || !f->first || !f->bias || !f->events || !f->mean || !f->cov || !f->cov_root || !f->gram ||
      !f->gram_root || !f->mixed)
    rc = error_set(e, E_NOMEM, "no memory for the last fit of the hazard head");
  for (int k = 0; rc == OK && k < PARTS; k++) f->train[k].gradient = gradients + (size_t)k * f->n;
  if (rc == OK) rc = fill(f, SPLIT_TUNING, f->tuning, ROW_FLOATS / 4, e);
  bool can_tell = false;
  for (int k = 0; k < PARTS; k++) can_tell = can_tell || f->tuning[k].row.n;
  if (rc == OK && can_tell) rc = fill(f, SPLIT_TRAIN, f->train, ROW_FLOATS, e);
  if (rc == OK && can_tell) rc = run(f, w, out, e);
  for (int k = 0; k < PARTS; k++)
    for (int i = 0; i < 2; i++) {
      struct part *p = i ? &f->train[k] : &f->tuning[k];
      buf_release(&p->hidden), buf_release(&p->row), buf_release(&p->life), buf_release(&p->firsts);
    }
  arena_free(&a);
  return rc;
}
