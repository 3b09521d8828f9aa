/* Learns the conditional logit: P(disease | case) = exp(w x) / (exp(none) + sum of exp(w x)), cases seen without their own publication. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "reason/differential_private.h"

#define SHORTLIST 120 /* candidates of a case that the fit looks at; the rest have next to no probability */
#define STEPS 400
#define RIDGE 1e-3

struct fit_case {
  int n, truth; /* truth: row of the true disease, -1 = not among the candidates */
  double (*x)[FEATURES];
};

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for learning a differential"); }

int differential_fold(const struct finding_case *c, int folds) {
  uint64_t h = 1469598103934665603u;
  struct str s = c->publication.n ? c->publication : c->id;
  for (size_t i = 0; i < s.n; i++) h = (h ^ (uint8_t)s.p[i]) * 1099511628211u;
  return (int)((h >> 20) % (uint64_t)folds);
}

/* The shortlist by three simple orders, and the truth if it can be reached at all */
static int shortlist(const struct differential *d, const struct scores *s, int truth, struct arena *a, struct fit_case *out,
                     struct error *e) {
  static const int orders = 3;
  uint8_t *taken = arena_array(a, uint8_t, (size_t)d->diseases + 1);
  int *list = arena_array(a, int, (size_t)(orders * SHORTLIST) + 1), n = 0;
  if (!taken || !list) return no_memory(e);
  for (int o = 0; o < orders; o++) {
    int best[SHORTLIST], m = 0;
    double key[SHORTLIST];
    for (int i = 0; i < d->diseases; i++) {
      const float *f = s->feature[i];
      if (!s->candidate[i]) continue;
      double v = o == 0   ? (double)f[F_EVIDENCE] + 0.3 * (double)f[F_ABSENT] + (double)f[F_LOG_CASES]
                 : o == 1 ? (double)f[F_NEAREST]
                          : (double)f[F_EVIDENCE];
      if (m == SHORTLIST && v <= key[m - 1]) continue;
      int k = m < SHORTLIST ? m++ : m - 1;
      while (k > 0 && key[k - 1] < v) best[k] = best[k - 1], key[k] = key[k - 1], k--;
      best[k] = i;
      key[k] = v;
    }
    for (int i = 0; i < m; i++)
      if (!taken[best[i]]) taken[best[i]] = 1, list[n++] = best[i];
  }
  if (truth >= 0 && s->candidate[truth] && !taken[truth]) list[n++] = truth;
  out->truth = -1;
  out->n = n;
  out->x = mem_alloc(((size_t)n + 1) * sizeof *out->x);
  if (!out->x) return no_memory(e);
  for (int i = 0; i < n; i++) {
    differential_expand(s->feature[list[i]], out->x[i]);
    if (list[i] == truth) out->truth = i;
  }
  return OK;
}

static void standardise(struct differential *d, struct fit_case *c, int cases) {
  double count = 0;
  memset(d->mean, 0, sizeof d->mean);
  memset(d->scale, 0, sizeof d->scale);
  for (int i = 0; i < cases; i++)
    for (int r = 0; r < c[i].n; r++, count++)
      for (int k = 0; k < FEATURES; k++) d->mean[k] += c[i].x[r][k], d->scale[k] += c[i].x[r][k] * c[i].x[r][k];
  for (int k = 0; k < FEATURES; k++) {
    d->mean[k] /= count;
    d->scale[k] = sqrt(fmax(d->scale[k] / count - d->mean[k] * d->mean[k], 1e-12)) + 1e-6;
  }
  for (int i = 0; i < cases; i++)
    for (int r = 0; r < c[i].n; r++)
      for (int k = 0; k < FEATURES; k++) c[i].x[r][k] = (c[i].x[r][k] - d->mean[k]) / d->scale[k];
}

/* Gradient of the mean negative log-likelihood */
static void gradient(const struct differential *d, const struct fit_case *c, int cases, double g[FEATURES + 1], double *score) {
  for (int k = 0; k < FEATURES; k++) g[k] = 2 * RIDGE * d->weight[k];
  g[FEATURES] = 0;
  for (int i = 0; i < cases; i++) {
    double top = d->none, total;
    for (int r = 0; r < c[i].n; r++) {
      score[r] = 0;
      for (int k = 0; k < FEATURES; k++) score[r] += d->weight[k] * c[i].x[r][k];
      top = fmax(top, score[r]);
    }
    total = exp(d->none - top);
    for (int r = 0; r < c[i].n; r++) total += score[r] = exp(score[r] - top);
    for (int r = 0; r < c[i].n; r++) {
      double p = score[r] / total - (r == c[i].truth);
      if (fabs(p) < 1e-9) continue;
      for (int k = 0; k < FEATURES; k++) g[k] += p * c[i].x[r][k] / cases;
    }
    g[FEATURES] += (exp(d->none - top) / total - (c[i].truth < 0)) / cases;
  }
}

/* Adam (Kingma & Ba 2015), whole batch, step shrinking to nothing */
static int descend(struct differential *d, const struct fit_case *c, int cases, struct error *e) {
  double m[FEATURES + 1] = {0}, v[FEATURES + 1] = {0}, g[FEATURES + 1];
  double *score = mem_alloc((3 * SHORTLIST + 2) * sizeof *score);
  if (!score) return no_memory(e);
  memset(d->weight, 0, sizeof d->weight);
  d->none = 0;
  for (int step = 1; step <= STEPS; step++) {
    gradient(d, c, cases, g, score);
    double rate = 0.1 * (1 - (double)(step - 1) / STEPS);
    for (int k = 0; k <= FEATURES; k++) {
      m[k] = 0.9 * m[k] + 0.1 * g[k];
      v[k] = 0.99 * v[k] + 0.01 * g[k] * g[k];
      double move = rate * (m[k] / (1 - pow(0.9, step))) / (sqrt(v[k] / (1 - pow(0.99, step))) + 1e-8);
      *(k < FEATURES ? &d->weight[k] : &d->none) -= move;
    }
  }
  mem_free(score);
  return OK;
}

int differential_fit(struct differential *d, int folds, int out_fold, struct buf *json, struct error *e) {
  struct fit_case *c = mem_alloc(((size_t)d->cases + 1) * sizeof *c);
  struct arena a;
  struct json_out o;
  int n = 0, rc = c ? OK : no_memory(e);
  arena_init(&a, 0, 0);
  for (int i = 0; i < d->cases && rc == OK; i++) {
    struct scores s = {0};
    if (out_fold >= 0 && differential_fold(&d->known[i].c, folds) == out_fold) continue;
    rc = differential_features(d, &d->known[i].c, d->known[i].publication, &a, &s, e);
    if (rc == OK) rc = shortlist(d, &s, d->known[i].disease, &a, &c[n], e);
    if (rc == OK) n++;
    arena_reset(&a);
  }
  if (rc == OK && n < 20) rc = error_set(e, E_INPUT, "too few cases to learn from");
  if (rc == OK) {
    standardise(d, c, n);
    rc = descend(d, c, n, e);
  }
  for (int i = 0; i < n; i++) mem_free(c[i].x);
  mem_free(c);
  arena_free(&a);
  if (rc < 0) return rc;
  json_out_init(&o, json, true);
  json_out_object(&o);
  json_kv_i64(&o, "cases", n);
  const char *const names[] = {"weight", "mean", "scale"};
  const double *const from[] = {d->weight, d->mean, d->scale};
  for (int k = 0; k < 3; k++) {
    json_out_key(&o, names[k]);
    json_out_array(&o);
    for (int i = 0; i < FEATURES; i++) json_out_f64(&o, from[k][i]);
    json_out_end(&o);
  }
  json_kv_f64(&o, "none", d->none);
  json_kv_f64(&o, "gene_log_ratio", d->gene_log_ratio);
  json_out_end(&o);
  return buf_check(json, e);
}
