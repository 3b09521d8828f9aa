#include "validate/compare.h"

#include <math.h>
#include <stdlib.h>

#include "base/random.h"

/* ---- DeLong: variance of the difference from the structural components of both scores ---- */

struct ranking {
  double x;
  uint32_t i;
};
static int by_score(const void *p, const void *q) {
  const struct ranking *a = p, *b = q;
  if (a->x != b->x) return a->x < b->x ? -1 : 1;
  return a->i < b->i ? -1 : a->i > b->i;
}

/* Midranks of score[which[0..n)] among themselves, from 1. */
static void midranks(const double *score, const uint32_t *which, uint32_t n, struct ranking *room, double *out) {
  for (uint32_t k = 0; k < n; k++) room[k] = (struct ranking){score[which[k]], k};
  qsort(room, n, sizeof *room, by_score);
  for (uint32_t from = 0, to; from < n; from = to) {
    to = from + 1;
    while (to < n && room[to].x == room[from].x) to++;
    for (uint32_t k = from; k < to; k++) out[room[k].i] = 0.5 * (from + 1 + to);
  }
}

static uint32_t without_number(const double *first, const double *second, uint32_t n) {
  uint32_t missing = 0;
  for (uint32_t i = 0; i < n; i++) missing += isnan(first[i]) || isnan(second[i]);
  return missing;
}

double compare_delong(const double *first, const double *second, const uint8_t *label, uint32_t n, double *se, double *p, struct arena *a) {
  const double *score[2] = {first, second};
  struct arena_mark mark = arena_mark(a);
  uint32_t *which = arena_array(a, uint32_t, (size_t)n + 1), cases = 0, k = 0;
  struct ranking *room = arena_array(a, struct ranking, (size_t)n + 1);
  double *all = arena_array(a, double, (size_t)n + 1), *own = arena_array(a, double, (size_t)n + 1),
         *difference = arena_array(a, double, (size_t)n + 1), auc[2] = {0};
  *se = *p = NAN;
  if (!which || !room || !all || !own || !difference) return NAN;
  for (uint32_t i = 0; i < n; i++) cases += label[i];
  uint32_t controls = n - cases;
  if (!cases || !controls || without_number(first, second, n)) return arena_rewind(a, mark), NAN;
  for (uint32_t pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; i < n; i++)
      if (label[i] == (pass == 0)) which[k++] = i; /* cases first */
  for (int s = 0; s < 2; s++) {
    midranks(score[s], which, n, room, all);
    midranks(score[s], which, cases, room, own);
    midranks(score[s], which + cases, controls, room, own + cases);
    for (uint32_t i = 0; i < n; i++) {
      double v = i < cases ? (all[i] - own[i]) / controls : 1 - (all[i] - own[i]) / cases;
      difference[i] = s == 0 ? v : difference[i] - v;
      if (i < cases) auc[s] += v / cases;
    }
  }
  double mean[2] = {0}, var[2] = {0};
  for (uint32_t i = 0; i < n; i++) mean[i >= cases] += difference[i] / (i < cases ? cases : controls);
  for (uint32_t i = 0; i < n; i++) var[i >= cases] += pow(difference[i] - mean[i >= cases], 2);
  if (cases > 1 && controls > 1) *se = sqrt(var[0] / (cases - 1.0) / cases + var[1] / (controls - 1.0) / controls);
  if (*se > 0) *p = erfc(fabs(auc[0] - auc[1]) / *se / sqrt(2));
  arena_rewind(a, mark);
  return auc[0] - auc[1];
}

/* ---- everything else, weighted ---- */

enum { C_AUROC, C_AUPRC, C_BRIER, C_NRI_CASES, C_NRI_CONTROLS, C_AT_CASES, C_AT_CONTROLS, C_IDI, C_ALL };
struct pair {
  const double *first, *second;
  const uint8_t *label;
  uint32_t n;
  double threshold;
};

/* Categories by score descending are not needed: AUROC and AUPRC come from metric_* on resampled copies. */
static void measure(const struct pair *x, double *out) {
  double cases = 0, controls = 0, up[2] = {0}, at[2] = {0}, lift[2] = {0};
  for (uint32_t i = 0; i < x->n; i++) {
    int y = x->label[i];
    double d = x->first[i] - x->second[i];
    *(y ? &cases : &controls) += 1;
    up[y] += (d > 0) - (d < 0);
    at[y] += (x->first[i] >= x->threshold) - (x->second[i] >= x->threshold);
    lift[y] += d;
  }
  out[C_AUROC] = metric_auroc(x->first, x->label, x->n) - metric_auroc(x->second, x->label, x->n);
  out[C_AUPRC] = metric_auprc(x->first, x->label, x->n) - metric_auprc(x->second, x->label, x->n);
  out[C_BRIER] = metric_brier(x->first, x->label, x->n) - metric_brier(x->second, x->label, x->n);
  out[C_NRI_CASES] = up[1] / cases;
  out[C_NRI_CONTROLS] = -up[0] / controls;
  out[C_AT_CASES] = at[1] / cases;
  out[C_AT_CONTROLS] = -at[0] / controls;
  out[C_IDI] = lift[1] / cases - lift[0] / controls;
}

static int by_number(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

/* One resample of patients, all their examples with them. */
static uint32_t resample(const struct pair *x, const uint32_t *start, uint32_t clusters, uint64_t seed, int b, double *first,
                         double *second, uint8_t *label, uint32_t cap) {
  struct rng r;
  uint32_t n = 0;
  rng_init(&r, seed ^ 0x636f6d70u, (uint64_t)b);
  for (uint32_t c = 0; c < clusters; c++) {
    uint32_t who = rng_below(&r, clusters);
    for (uint32_t i = start[who]; i < start[who + 1] && n < cap; i++)
      first[n] = x->first[i], second[n] = x->second[i], label[n++] = x->label[i];
  }
  return n;
}

int compare_scores(const double *first, const double *second, const uint8_t *label, uint32_t n, const uint32_t *cluster, uint32_t clusters,
                   int resamples, uint64_t seed, double threshold, struct arena *a, struct version_comparison *out, struct error *e) {
  struct pair x = {first, second, label, n, threshold};
  struct arena_mark mark = arena_mark(a);
  uint32_t cap = 2 * n + 1000, missing = without_number(first, second, n);
  if (missing) return error_set(e, E_INPUT, "of %u examples %u have no number of one of the two", n, missing);
  double *copy = arena_array(a, double, 2 * (size_t)cap), *drawn = arena_array(a, double, (size_t)C_ALL *(size_t)(resamples + 1)),
         *column = arena_array(a, double, (size_t)resamples + 1), at[C_ALL];
  uint8_t *copy_label = arena_array(a, uint8_t, cap);
  uint32_t *start = arena_array(a, uint32_t, (size_t)clusters + 1);
  if (!copy || !drawn || !column || !copy_label || !start) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = n; i-- > 0;) start[cluster[i]] = i;
  start[clusters] = n;
  out->threshold = threshold;
  out->delong = compare_delong(first, second, label, n, &out->delong_se, &out->delong_p, a);
  measure(&x, at);
  for (int b = 0; b < resamples; b++) {
    struct pair y = {copy, copy + cap, copy_label, 0, threshold};
    y.n = resample(&x, start, clusters, seed, b, copy, copy + cap, copy_label, cap);
    measure(&y, drawn + (size_t)b * C_ALL);
  }
  struct interval *to[C_ALL] = {&out->auroc,        &out->auprc,    &out->brier,       &out->nri_cases,
                                &out->nri_controls, &out->at_cases, &out->at_controls, &out->idi};
  for (int k = 0; k < C_ALL; k++) {
    int m = 0;
    for (int b = 0; b < resamples; b++)
      if (!isnan(drawn[(size_t)b * C_ALL + (size_t)k])) column[m++] = drawn[(size_t)b * C_ALL + (size_t)k];
    *to[k] = (struct interval){at[k], NAN, NAN};
    if (m < 20) continue;
    qsort(column, (size_t)m, sizeof *column, by_number);
    to[k]->lo = column[(int)(0.025 * (m - 1))], to[k]->hi = column[(int)ceil(0.975 * (m - 1))];
  }
  arena_rewind(a, mark);
  return OK;
}

/* ---- telling ---- */

static void interval_json(struct json_out *o, const char *key, const struct interval *i) {
  json_out_key(o, key);
  json_out_object(o);
  json_kv_f64(o, "at", i->at);
  json_kv_f64(o, "lo", i->lo);
  json_kv_f64(o, "hi", i->hi);
  json_out_end(o);
}

void comparison_json(const struct version_comparison *c, const char *key, struct json_out *o) {
  if (!c->against[0]) return;
  json_out_key(o, key);
  json_out_object(o);
  json_kv_c(o, "against", c->against);
  interval_json(o, "auroc", &c->auroc);
  json_kv_f64(o, "delong_difference", c->delong);
  json_kv_f64(o, "delong_se", c->delong_se);
  json_kv_f64(o, "delong_p", c->delong_p);
  interval_json(o, "auprc", &c->auprc);
  interval_json(o, "brier", &c->brier);
  interval_json(o, "nri_cases", &c->nri_cases);
  interval_json(o, "nri_controls", &c->nri_controls);
  json_kv_f64(o, "threshold", c->threshold);
  interval_json(o, "nri_at_threshold_cases", &c->at_cases);
  interval_json(o, "nri_at_threshold_controls", &c->at_controls);
  interval_json(o, "idi", &c->idi);
  json_out_end(o);
}

static void row(struct buf *b, const char *name, const struct interval *i, bool less_is_better) {
  int better = less_is_better ? (i->hi < 0) - (i->lo > 0) : (i->lo > 0) - (i->hi < 0);
  buf_printf(b, "<tr><td>%s<td class=n>%+.4f <small>[%+.4f, %+.4f]</small><td>%s", name, i->at, i->lo, i->hi,
             better > 0   ? "better"
             : better < 0 ? "worse"
                          : "no difference can be told");
}

void comparison_html(const struct version_comparison *c, struct buf *b) {
  if (!c->against[0]) return;
  buf_puts(b, "<h2>Against another version</h2><p>This version minus <code>");
  buf_html(b, str_c(c->against));
  buf_puts(b, "</code>, on the same patients.</p><table><tr><th>figure<th>difference<th>");
  row(b, "AUROC", &c->auroc, false);
  row(b, "AUPRC", &c->auprc, false);
  row(b, "Brier score", &c->brier, true);
  row(b, "IDI (mean risk of cases minus that of controls)", &c->idi, false);
  row(b, "continuous NRI, cases", &c->nri_cases, false);
  row(b, "continuous NRI, controls", &c->nri_controls, false);
  char name[64];
  snprintf(name, sizeof name, "NRI at %.1f %%, cases", 100 * c->threshold);
  row(b, name, &c->at_cases, false);
  snprintf(name, sizeof name, "NRI at %.1f %%, controls", 100 * c->threshold);
  row(b, name, &c->at_controls, false);
  buf_printf(b,
             "</table><p><small>DeLong: %+.4f, standard error %.4f, p = %.3g (one example a patient; otherwise believe the bootstrap). NRI "
             "rewards "
             "miscalibration: it stands beside the Brier score, never alone.</small></p>",
             c->delong, c->delong_se, c->delong_p);
}
