#include "validate/sureness.h"

#include <math.h>
#include <stdlib.h>

#include "predict/predict.h"
#include "predict/uncertainty.h"
#include "timeline/task.h"
#include "validate/binomial.h"

#define MOST_ROWS 65

struct proportion proportion_of(uint32_t k, uint32_t n) {
  if (n == 0) return (struct proportion){0, 0, NAN, NAN};
  return (struct proportion){k, n, binomial_lower(k, n, 0.975), binomial_upper(k, n, 0.975)};
}

static void cover(const struct uncertainty_task *t, const char *name, const uint8_t *in, struct validation *v) {
  struct coverage_row *row = &v->sureness.row[v->sureness.rows++];
  uint32_t held[2] = {0}, n[2] = {0}, abstains = 0;
  snprintf(row->name, sizeof row->name, "%s", name);
  for (uint32_t i = 0; i < v->n; i++) {
    if (in && !in[i]) continue;
    unsigned set = uncertainty_set(t, v->model.probability[i]);
    n[v->label[i]]++;
    held[v->label[i]] += (set & (v->label[i] ? SET_YES : SET_NO)) != 0;
    abstains += set == 0 || set == (SET_YES | SET_NO);
  }
  row->cases = proportion_of(held[1], n[1]);
  row->controls = proportion_of(held[0], n[0]);
  row->abstains = proportion_of(abstains, n[0] + n[1]);
}

struct by_answer {
  double p;
  uint32_t i;
};
static int by_answer(const void *x, const void *y) {
  const struct by_answer *a = x, *b = y;
  if (a->p != b->p) return a->p < b->p ? -1 : 1;
  return a->i < b->i ? -1 : a->i > b->i;
}

static int intervals(const struct uncertainty_task *t, struct arena *a, struct validation *v, struct error *e) {
  struct sureness *s = &v->sureness;
  struct by_answer *order = arena_array(a, struct by_answer, v->n);
  if (!order) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < v->n; i++) order[i] = (struct by_answer){v->model.probability[i], i};
  qsort(order, v->n, sizeof *order, by_answer);
  for (int k = 0; k < CALIBRATION_BINS; k++) {
    uint32_t from = (uint32_t)((uint64_t)v->n * (unsigned)k / CALIBRATION_BINS),
             to = (uint32_t)((uint64_t)v->n * (unsigned)(k + 1) / CALIBRATION_BINS), yes = 0;
    if (from == to) continue;
    double sum[3] = {0}, n = to - from;
    for (uint32_t r = from; r < to; r++) {
      struct interval_of x = uncertainty_interval(t, order[r].p);
      sum[0] += order[r].p, sum[1] += x.lo, sum[2] += x.hi;
      yes += v->label[order[r].i];
    }
    s->width += (sum[2] - sum[1]) / v->n;
    s->bin[s->bins].answer = sum[0] / n, s->bin[s->bins].lower = sum[1] / n, s->bin[s->bins].upper = sum[2] / n;
    s->bin[s->bins++].observed = proportion_of(yes, to - from);
  }
  return OK;
}

static int warnings(const struct uncertainty *u, const struct task_example *at, const double *unusual, struct arena *a,
                    struct validation *v, struct error *e) {
  struct sureness *s = &v->sureness;
  double *p = arena_array(a, double, v->n);
  uint8_t *y = arena_array(a, uint8_t, v->n);
  if (!p || !y) return error_set(e, E_NOMEM, "out of memory");
  const struct uncertainty_rules *rules = uncertainty_rules(u);
  for (int kind = 0; kind < 2; kind++) {
    uint32_t n = 0, yes = 0;
    for (uint32_t i = 0; i < v->n; i++)
      if ((unusual[i] > rules->unusual_percentile) == (kind == 1)) yes += v->label[i], p[n] = v->model.probability[i], y[n++] = v->label[i];
    bool enough = n >= 30 && yes >= 5 && n - yes >= 5;
    *(kind ? &s->brier_unusual : &s->brier_usual) = enough ? metric_brier(p, y, n) : NAN;
    *(kind ? &s->auroc_unusual : &s->auroc_usual) = enough ? metric_auroc(p, y, n) : NAN;
    if (kind) s->unusual = n;
  }
  for (uint32_t i = 0; i < v->n; i++) s->too_short += at[i].events < rules->least_events;
  return OK;
}

int sureness_measure(const struct validate_options *o, const struct task_example *at, const double *unusual, struct arena *a,
                     struct validation *v, struct error *e) {
  struct uncertainty *u;
  struct sureness *s = &v->sureness;
  *s = (struct sureness){.brier_unusual = NAN, .brier_usual = NAN, .auroc_unusual = NAN, .auroc_usual = NAN};
  TRY(uncertainty_of(o->model, &u, e));
  const struct uncertainty_task *t = uncertainty_find(u, v->task);
  int rc = OK;
  if (t) {
    s->measured = true;
    s->promised = uncertainty_rules(u)->coverage;
    s->row = arena_array(a, struct coverage_row, MOST_ROWS);
    if (!s->row) rc = error_set(e, E_NOMEM, "out of memory");
    if (rc == OK) cover(t, "everybody", NULL, v);
    if (rc == OK) rc = intervals(t, a, v, e);
    if (rc == OK) rc = warnings(u, at, unusual, a, v, e);
  }
  uncertainty_free(u);
  return rc;
}

int sureness_group(const struct validate_options *o, const char *name, const uint8_t *in, struct validation *v, struct error *e) {
  struct uncertainty *u;
  if (!v->sureness.measured || v->sureness.rows == MOST_ROWS) return OK;
  TRY(uncertainty_of(o->model, &u, e));
  cover(uncertainty_find(u, v->task), name, in, v);
  uncertainty_free(u);
  return OK;
}

/* ---- telling ---- */

static void proportion_json(struct json_out *o, const char *key, const struct proportion *p) {
  json_out_key(o, key);
  json_out_object(o);
  json_kv_i64(o, "k", p->k);
  json_kv_i64(o, "n", p->n);
  json_kv_f64(o, "at", p->n ? (double)p->k / p->n : NAN);
  json_kv_f64(o, "lo", p->lo);
  json_kv_f64(o, "hi", p->hi);
  json_out_end(o);
}

void sureness_json(const struct sureness *s, struct json_out *o) {
  json_out_key(o, "sureness");
  json_out_object(o);
  json_kv_bool(o, "measured", s->measured);
  if (s->measured) {
    json_kv_f64(o, "promised_coverage", s->promised);
    json_out_key(o, "coverage");
    json_out_array(o);
    for (int i = 0; i < s->rows; i++) {
      json_out_object(o);
      json_kv_c(o, "name", s->row[i].name);
      proportion_json(o, "cases", &s->row[i].cases);
      proportion_json(o, "controls", &s->row[i].controls);
      proportion_json(o, "abstains", &s->row[i].abstains);
      json_out_end(o);
    }
    json_out_end(o);
    json_kv_f64(o, "mean_interval_width", s->width);
    json_out_key(o, "intervals");
    json_out_array(o);
    for (int i = 0; i < s->bins; i++) {
      json_out_object(o);
      json_kv_f64(o, "answer", s->bin[i].answer);
      json_kv_f64(o, "lower", s->bin[i].lower);
      json_kv_f64(o, "upper", s->bin[i].upper);
      proportion_json(o, "observed", &s->bin[i].observed);
      json_out_end(o);
    }
    json_out_end(o);
    json_kv_i64(o, "unusual", s->unusual);
    json_kv_i64(o, "too_short", s->too_short);
    json_kv_f64(o, "auroc_unusual", s->auroc_unusual);
    json_kv_f64(o, "auroc_usual", s->auroc_usual);
    json_kv_f64(o, "brier_unusual", s->brier_unusual);
    json_kv_f64(o, "brier_usual", s->brier_usual);
  }
  json_out_end(o);
}

static void cell(struct buf *b, const struct proportion *p) {
  if (p->n)
    buf_printf(b, "<td class=n>%.1f %% <small>[%.1f, %.1f] of %u</small>", 100.0 * p->k / p->n, 100 * p->lo, 100 * p->hi, p->n);
  else
    buf_puts(b, "<td class=n>n/a");
}

void sureness_html(const struct sureness *s, struct buf *b) {
  buf_puts(b, "<h2>How sure</h2>");
  if (!s->measured) {
    buf_puts(b, "<p>The model keeps no record of its sureness for this task (too few tuning patients, or no head).</p>");
    return;
  }
  buf_printf(b,
             "<p>Every answer comes with a set of what cannot be ruled out. Promised: among patients with the outcome, and among those "
             "without, the "
             "truth is in the set for at least %.0f %%. Where the set holds both or neither, the model abstains.</p>"
             "<table><tr><th>group<th>covered, with outcome<th>covered, without<th>abstains",
             100 * s->promised);
  for (int i = 0; i < s->rows; i++) {
    const struct coverage_row *r = &s->row[i];
    bool short_of = (r->cases.n && r->cases.hi < s->promised) || (r->controls.n && r->controls.hi < s->promised);
    buf_puts(b, short_of ? "<tr class=bad><td>" : "<tr><td>");
    buf_html(b, str_c(r->name));
    cell(b, &r->cases), cell(b, &r->controls), cell(b, &r->abstains);
  }
  buf_printf(b,
             "</table><p>Every answer comes with the range of its calibrated probability (mean width %.3f): wide where few tuning patients "
             "scored alike. "
             "It speaks of patients with this score, not of everything that is not known about one person.</p>"
             "<table><tr><th>answers from low to high, tenths<th>mean answer<th>mean range<th>observed",
             s->width);
  for (int i = 0; i < s->bins; i++) {
    buf_printf(b, "<tr><td>%d<td class=n>%.3f<td class=n>%.3f to %.3f", i + 1, s->bin[i].answer, s->bin[i].lower, s->bin[i].upper);
    cell(b, &s->bin[i].observed);
  }
  buf_printf(b,
             "</table><p>%u examples had a timeline unlike those that the model was tuned on, %u a history that is too short; such answers "
             "carry a warning.",
             s->unusual, s->too_short);
  if (!isnan(s->auroc_unusual))
    buf_printf(b, " AUROC among the unusual %.3f, among the others %.3f; Brier %.3f and %.3f.", s->auroc_unusual, s->auroc_usual,
               s->brier_unusual, s->brier_usual);
  buf_puts(b, "</p>");
}
