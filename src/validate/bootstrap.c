/* Percentile bootstrap over subjects (Efron 1979): a subject's examples are drawn together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/thread.h"
#include "validate/metrics.h"

enum { M_AUROC, M_AUPRC, M_BRIER, M_SLOPE, M_INTERCEPT, M_ECE, M_ALL };

static void draw(uint64_t seed, int b, uint32_t clusters, uint32_t *count) {
  struct rng rng;
  rng_init(&rng, seed, (uint64_t)b);
  memset(count, 0, clusters * sizeof *count);
  for (uint32_t i = 0; i < clusters; i++) count[rng_below(&rng, clusters)]++;
}

struct job {
  const struct ranked *r;
  const uint32_t *cluster;
  uint32_t clusters;
  int resamples;
  uint64_t seed;
  double *out;     /* (resamples, M_ALL) */
  double *w;       /* (workers, n) */
  uint32_t *count; /* (workers, clusters) */
};

static void measure(const struct ranked *r, const double *w, double out[M_ALL]) {
  out[M_AUROC] = ranked_auroc(r, w);
  out[M_AUPRC] = ranked_auprc(r, w);
  out[M_BRIER] = ranked_brier(r, w);
  out[M_ECE] = ranked_ece(r, w, CALIBRATION_BINS);
  if (ranked_recalibration(r, w, &out[M_INTERCEPT], &out[M_SLOPE]) < 0) out[M_INTERCEPT] = out[M_SLOPE] = NAN;
}

static void work(void *ctx, int worker, int workers) {
  const struct job *j = ctx;
  double *w = j->w + (size_t)worker * j->r->n;
  uint32_t *count = j->count + (size_t)worker * j->clusters;
  for (int b = worker; b < j->resamples; b += workers) {
    draw(j->seed, b, j->clusters, count);
    for (uint32_t i = 0; i < j->r->n; i++) w[i] = count[j->cluster[i]];
    measure(j->r, w, j->out + (size_t)b * M_ALL);
  }
}

static int ascending(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

/* 2.5 and 97.5 percentiles of the finite values; NaN if fewer than 9 in 10 are finite. */
static void percentiles(double *v, int n, double *lo, double *hi) {
  int m = 0;
  for (int i = 0; i < n; i++)
    if (isfinite(v[i])) v[m++] = v[i];
  *lo = *hi = NAN;
  if (m < 20 || m < n - n / 10) return;
  qsort(v, (size_t)m, sizeof *v, ascending);
  double at[2] = {0.025 * (m - 1), 0.975 * (m - 1)}, *to[2] = {lo, hi};
  for (int k = 0; k < 2; k++) {
    int i = (int)at[k];
    *to[k] = i + 1 < m ? v[i] + (at[k] - i) * (v[i + 1] - v[i]) : v[i];
  }
}

int metrics_bootstrap(const struct ranked *r, const uint32_t *cluster, uint32_t clusters, int resamples, uint64_t seed, struct pool *pool,
                      struct arena *a, struct metrics *out, struct error *e) {
  struct arena_mark mark = arena_mark(a);
  memset(out, 0, sizeof *out);
  out->n = r->n;
  for (uint32_t i = 0; i < r->n; i++) out->events += r->label[i];
  out->prevalence = r->n ? (double)out->events / r->n : NAN;
  (void)metric_delong(r->score, r->label, r->n, &out->auroc_delong_se);
  double at[M_ALL];
  measure(r, NULL, at);
  int threads = pool_size(pool);
  struct job j = {r, cluster, clusters, resamples, seed, NULL, NULL, NULL};
  j.out = arena_array(a, double, (size_t)resamples *M_ALL + 1);
  j.w = arena_array(a, double, (size_t)threads * r->n + 1);
  j.count = arena_array(a, uint32_t, (size_t)threads * clusters + 1);
  double *column = arena_array(a, double, (size_t)resamples + 1);
  if (!j.out || !j.w || !j.count || !column) return error_set(e, E_NOMEM, "out of memory");
  if (resamples > 0 && clusters > 1) pool_run(pool, work, &j);
  struct interval *to[M_ALL] = {&out->auroc, &out->auprc, &out->brier, &out->slope, &out->intercept, &out->ece};
  for (int m = 0; m < M_ALL; m++) {
    for (int b = 0; b < resamples; b++) column[b] = clusters > 1 ? j.out[(size_t)b * M_ALL + (size_t)m] : NAN;
    to[m]->at = at[m];
    percentiles(column, resamples, &to[m]->lo, &to[m]->hi);
  }
  arena_rewind(a, mark);
  return OK;
}

int metrics_difference(const struct ranked *first, const struct ranked *second, const uint32_t *cluster, uint32_t clusters, int resamples,
                       uint64_t seed, struct arena *a, double out[3], struct error *e) {
  struct arena_mark mark = arena_mark(a);
  double *d = arena_array(a, double, (size_t)resamples + 1), *w = arena_array(a, double, first->n + 1u);
  uint32_t *count = arena_array(a, uint32_t, clusters + 1u);
  if (!d || !w || !count) return error_set(e, E_NOMEM, "out of memory");
  for (int b = 0; b < resamples; b++) {
    draw(seed, b, clusters, count);
    for (uint32_t i = 0; i < first->n; i++) w[i] = count[cluster[i]];
    d[b] = ranked_auroc(first, w) - ranked_auroc(second, w);
  }
  out[0] = ranked_auroc(first, NULL) - ranked_auroc(second, NULL);
  percentiles(d, resamples, &out[1], &out[2]);
  arena_rewind(a, mark);
  return OK;
}

/* Wilson's interval for a share (Wilson 1927). */
static void wilson(double share, double n, double *lo, double *hi) {
  const double z = 1.959964;
  double centre = (share + z * z / (2 * n)) / (1 + z * z / n),
         half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  *lo = fmax(0, centre - half), *hi = fmin(1, centre + half);
}

static void keep(struct curve *c, double x, double y) {
  if (c->n < CURVE_POINTS) c->x[c->n] = x, c->y[c->n] = y, c->n++;
}

/* ROC and precision-recall thinned to CURVE_POINTS along the ranking; calibration in bins of equal count; decision curve up to 0.5. */
void curves_fill(const struct ranked *r, struct scored *s) {
  double cases = 0, controls = 0, yes = 0, no = 0, next = 0;
  for (uint32_t i = 0; i < r->n; i++) cases += r->label[i], controls += !r->label[i];
  s->roc.n = s->pr.n = s->calibration.n = s->decision.n = 0;
  if (cases == 0 || controls == 0) return;
  keep(&s->roc, 0, 0);
  for (uint32_t i = 0; i < r->n; i++) {
    yes += r->label[r->order[i]], no += !r->label[r->order[i]];
    if (!r->last[i] || ((double)(i + 1) < next && i + 1 < r->n)) continue;
    next = (double)(i + 1) + r->n / (double)(CURVE_POINTS - 3);
    keep(&s->roc, no / controls, yes / cases);
    keep(&s->pr, yes / cases, yes / (yes + no));
  }
  uint32_t from = 0;
  for (int b = 0; b < CALIBRATION_BINS; b++) {
    uint32_t to = (uint32_t)((uint64_t)r->n * (unsigned)(b + 1) / CALIBRATION_BINS);
    double predicted = 0, observed = 0;
    for (uint32_t i = from; i < to; i++) predicted += r->score[r->order[r->n - 1 - i]], observed += r->label[r->order[r->n - 1 - i]];
    if (to > from) {
      double n = to - from;
      int k = s->calibration.n;
      s->calibration_n[k] = to - from;
      wilson(observed / n, n, &s->calibration_lo[k], &s->calibration_hi[k]);
      keep(&s->calibration, predicted / n, observed / n);
    }
    from = to;
  }
  for (int i = 1; i <= DECISION_POINTS; i++) {
    double t = 0.5 * i / DECISION_POINTS;
    keep(&s->decision, t, metric_net_benefit(r->score, r->label, r->n, t));
  }
}
