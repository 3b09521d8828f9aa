#include "validate/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double clipped_logit(double p) {
  const double least = 1e-7;
  if (!(p > least)) p = least;
  if (p > 1 - least) p = 1 - least;
  return log(p / (1 - p));
}

struct pair {
  double score;
  uint32_t at;
};
static int descending(const void *x, const void *y) {
  const struct pair *a = x, *b = y;
  if (a->score != b->score) return a->score < b->score ? 1 : -1;
  return a->at < b->at ? -1 : a->at > b->at;
}

int ranked_init(struct ranked *r, const double *score, const uint8_t *label, uint32_t n, struct arena *a, struct error *e) {
  *r = (struct ranked){.n = n, .score = score, .label = label};
  struct pair *pairs = arena_array(a, struct pair, n + 1u);
  r->order = arena_array(a, uint32_t, n + 1u);
  r->last = arena_array(a, uint8_t, n + 1u);
  r->logit = arena_array(a, double, n + 1u);
  if (!pairs || !r->order || !r->last || !r->logit) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < n; i++) {
    if (isnan(score[i])) return error_set(e, E_INPUT, "a predictor gave no number for an example");
    pairs[i] = (struct pair){score[i], i};
    r->logit[i] = clipped_logit(score[i]);
  }
  qsort(pairs, n, sizeof *pairs, descending);
  for (uint32_t i = 0; i < n; i++) {
    r->order[i] = pairs[i].at;
    r->last[i] = i + 1 == n || pairs[i].score != pairs[i + 1].score;
  }
  return OK;
}

static inline double weight(const double *w, uint32_t i) { return w ? w[i] : 1.0; }

/* P(score of a case > score of a control) + half of the ties (Hanley & McNeil 1982). */
double ranked_auroc(const struct ranked *r, const double *w) {
  double cases = 0, controls = 0, area = 0, group_cases = 0, group_controls = 0;
  for (uint32_t i = 0; i < r->n; i++) {
    uint32_t k = r->order[i];
    if (r->label[k])
      group_cases += weight(w, k);
    else
      group_controls += weight(w, k);
    if (!r->last[i]) continue;
    area += group_controls * (cases + 0.5 * group_cases);
    cases += group_cases, controls += group_controls;
    group_cases = group_controls = 0;
  }
  return cases > 0 && controls > 0 ? area / (cases * controls) : NAN;
}

/* Average precision: sum over thresholds of (recall step) * precision; equal scores are one threshold. */
double ranked_auprc(const struct ranked *r, const double *w) {
  double seen = 0, cases = 0, group = 0, sum = 0;
  for (uint32_t i = 0; i < r->n; i++) {
    uint32_t k = r->order[i];
    seen += weight(w, k);
    if (r->label[k]) group += weight(w, k);
    if (!r->last[i]) continue;
    cases += group;
    if (seen > 0) sum += group * cases / seen;
    group = 0;
  }
  return cases > 0 && seen > cases ? sum / cases : NAN;
}

double ranked_brier(const struct ranked *r, const double *w) {
  double sum = 0, total = 0;
  for (uint32_t i = 0; i < r->n; i++) {
    double d = r->score[i] - r->label[i];
    sum += weight(w, i) * d * d, total += weight(w, i);
  }
  return total > 0 ? sum / total : NAN;
}

/* Expected calibration error over bins of equal weight, in order of the prediction. */
double ranked_ece(const struct ranked *r, const double *w, int bins) {
  double total = 0, sum = 0, predicted = 0, observed = 0;
  for (uint32_t i = 0; i < r->n; i++) total += weight(w, i);
  if (total <= 0) return NAN;
  double filled = 0;
  int done = 1;
  for (uint32_t i = 0; i < r->n; i++) {
    uint32_t k = r->order[i];
    double x = weight(w, k);
    predicted += x * r->score[k], observed += x * r->label[k], filled += x;
    if (filled >= total * done / bins - 1e-9 || i + 1 == r->n) {
      sum += fabs(predicted - observed);
      predicted = observed = 0;
      while (done < bins && filled >= total * done / bins - 1e-9) done++;
    }
  }
  return sum / total;
}

/* Logistic recalibration, logit P(y) = intercept + slope * logit(p) (Cox 1958), by Newton's method. */
int ranked_recalibration(const struct ranked *r, const double *w, double *intercept, double *slope) {
  double a = 0, b = 1;
  for (int step = 0; step < 50; step++) {
    double ga = 0, gb = 0, haa = 0, hab = 0, hbb = 0;
    for (uint32_t i = 0; i < r->n; i++) {
      double x = r->logit[i], p = 1 / (1 + exp(-(a + b * x))), k = weight(w, i), d = k * (r->label[i] - p), v = k * p * (1 - p);
      ga += d, gb += d * x, haa += v, hab += v * x, hbb += v * x * x;
    }
    double det = haa * hbb - hab * hab;
    if (!(fabs(det) > 1e-12)) return E_INPUT;
    double da = (ga * hbb - gb * hab) / det, db = (gb * haa - ga * hab) / det;
    double size = fmax(fabs(da), fabs(db));
    if (size > 2) da *= 2 / size, db *= 2 / size;
    a += da, b += db;
    if (!isfinite(a) || !isfinite(b) || fabs(a) > 50 || fabs(b) > 50) return E_INPUT;
    if (size < 1e-8) return *intercept = a, *slope = b, OK;
  }
  return E_INPUT;
}

/* Plain forms, for callers without a bootstrap. */
static double with_ranked(double (*f)(const struct ranked *, const double *), const double *score, const uint8_t *label, uint32_t n) {
  struct arena a;
  struct ranked r;
  arena_init(&a, 0, 0);
  double out = ranked_init(&r, score, label, n, &a, NULL) == OK ? f(&r, NULL) : NAN;
  arena_free(&a);
  return out;
}
double metric_auroc(const double *score, const uint8_t *label, uint32_t n) { return with_ranked(ranked_auroc, score, label, n); }
double metric_auprc(const double *score, const uint8_t *label, uint32_t n) { return with_ranked(ranked_auprc, score, label, n); }
double metric_brier(const double *p, const uint8_t *label, uint32_t n) { return with_ranked(ranked_brier, p, label, n); }
double metric_ece(const double *p, const uint8_t *label, uint32_t n, int bins) {
  struct arena a;
  struct ranked r;
  arena_init(&a, 0, 0);
  double out = ranked_init(&r, p, label, n, &a, NULL) == OK ? ranked_ece(&r, NULL, bins) : NAN;
  arena_free(&a);
  return out;
}
int metric_recalibration(const double *p, const uint8_t *label, uint32_t n, double *intercept, double *slope) {
  struct arena a;
  struct ranked r;
  arena_init(&a, 0, 0);
  int rc = ranked_init(&r, p, label, n, &a, NULL);
  if (rc == OK) rc = ranked_recalibration(&r, NULL, intercept, slope);
  arena_free(&a);
  return rc;
}

/* DeLong's variance by midranks (DeLong et al. 1988; fast form after Sun & Xu 2014). */
double metric_delong(const double *score, const uint8_t *label, uint32_t n, double *se) {
  struct arena a;
  struct ranked r;
  double auc = NAN;
  *se = NAN;
  arena_init(&a, 0, 0);
  double *all = arena_array(&a, double, n + 1u), *own = arena_array(&a, double, n + 1u);
  if (all && own && ranked_init(&r, score, label, n, &a, NULL) == OK) {
    uint64_t cases = 0;
    for (uint32_t i = 0; i < n; i++) cases += label[i];
    uint64_t controls = n - cases;
    /* ascending midranks among all, and among the example's own class */
    uint64_t below = n, below_class[2] = {controls, cases};
    for (uint32_t i = 0; i < n;) {
      uint32_t j = i, in_class[2] = {0, 0};
      do in_class[label[r.order[j]]]++;
      while (!r.last[j++]);
      for (uint32_t k = i; k < j; k++) {
        uint32_t x = r.order[k], c = label[x];
        all[x] = (double)(below - (j - i)) + 0.5 * (j - i + 1);
        own[x] = (double)(below_class[c] - in_class[c]) + 0.5 * (in_class[c] + 1);
      }
      below -= j - i, below_class[0] -= in_class[0], below_class[1] -= in_class[1];
      i = j;
    }
    if (cases > 1 && controls > 1) {
      double sum = 0, v10 = 0, v01 = 0;
      for (uint32_t i = 0; i < n; i++)
        if (label[i]) sum += (all[i] - own[i]) / (double)controls;
      auc = sum / (double)cases;
      for (uint32_t i = 0; i < n; i++) {
        double d = label[i] ? (all[i] - own[i]) / (double)controls - auc : 1 - (all[i] - own[i]) / (double)cases - auc;
        if (label[i])
          v10 += d * d;
        else
          v01 += d * d;
      }
      *se = sqrt(v10 / (double)(cases - 1) / (double)cases + v01 / (double)(controls - 1) / (double)controls);
    }
  }
  arena_free(&a);
  return auc;
}

/* Net benefit of treating those with p >= threshold (Vickers & Elkin 2006). */
double metric_net_benefit(const double *p, const uint8_t *label, uint32_t n, double threshold) {
  double yes = 0, no = 0;
  for (uint32_t i = 0; i < n; i++)
    if (p[i] >= threshold) yes += label[i], no += !label[i];
  return n ? (yes - no * threshold / (1 - threshold)) / n : NAN;
}
