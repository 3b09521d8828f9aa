#include "validate/lead_time.h"

#include <math.h>
#include <stdlib.h>

#include "base/time.h"
#include "timeline/task.h"
#include "validate/sureness.h"

#define TRIES 40 /* halvings of the threshold's rank */

static const double budgets[LEAD_BUDGETS] = {1, 2, 5, 10, 20};

struct alerts {
  uint64_t count;
  uint32_t flagged;
  double *lead; /* (cases) days, of the flagged */
};

/* One pass in time order, patient by patient. */
static void fire(const struct validation *v, const struct task_example *at, const double *p, double threshold, int64_t quiet,
                 struct alerts *out) {
  out->count = out->flagged = 0;
  for (uint32_t from = 0, to; from < v->n; from = to) {
    int64_t free_at = INT64_MIN;
    bool flagged = false;
    for (to = from; to < v->n && at[to].subject_index == at[from].subject_index; to++) {
      if (p[to] < threshold || at[to].time < free_at) continue;
      out->count++;
      free_at = at[to].time + quiet;
      if (at[to].label != LABEL_YES || flagged) continue;
      flagged = true;
      out->lead[out->flagged++] = (double)(at[to].outcome - at[to].time) / (double)TIME_DAY;
    }
  }
}

static int by_number(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

static struct lead_result at_budget(const struct validation *v, const struct task_example *at, const double *p, const double *sorted,
                                    double most, int64_t quiet, const struct lead_time *l, double *lead) {
  struct alerts x = {.lead = lead};
  uint32_t low = 0, high = v->n; /* sorted[low - 1] fires too often, sorted[high] (nobody at n) does not */
  for (int i = 0; i < TRIES && low < high; i++) {
    uint32_t mid = low + (high - low) / 2;
    fire(v, at, p, sorted[mid], quiet, &x);
    if ((double)x.count > most)
      low = mid + 1;
    else
      high = mid;
  }
  struct lead_result r = {.threshold = high < v->n ? sorted[high] : INFINITY, .lead_q1 = NAN, .lead_median = NAN, .lead_q3 = NAN};
  fire(v, at, p, r.threshold, quiet, &x);
  r.alerts_per_100 = 100 * (double)x.count / l->patient_days;
  r.flagged = proportion_of(x.flagged, l->cases);
  r.alerts_per_detection = x.flagged ? (double)x.count / x.flagged : NAN;
  if (x.flagged) {
    qsort(lead, x.flagged, sizeof *lead, by_number);
    r.lead_q1 = lead[(x.flagged - 1) / 4], r.lead_median = lead[(x.flagged - 1) / 2], r.lead_q3 = lead[(uint64_t)(x.flagged - 1) * 3 / 4];
  }
  return r;
}

/* Patients, cases, the median time between moments. False: the task does not ask again. */
static bool describe(const struct validation *v, const struct task_example *at, double *room, struct lead_time *l) {
  uint32_t gaps = 0;
  for (uint32_t i = 0; i < v->n; i++) {
    bool first = i == 0 || at[i].subject_index != at[i - 1].subject_index;
    l->patients += first;
    if (!first && at[i].time > at[i - 1].time) room[gaps++] = (double)(at[i].time - at[i - 1].time) / (double)TIME_DAY;
  }
  for (uint32_t from = 0, to; from < v->n; from = to) {
    bool yes = false;
    for (to = from; to < v->n && at[to].subject_index == at[from].subject_index; to++) yes |= at[to].label == LABEL_YES;
    l->cases += yes;
  }
  if (v->n < 1.5 * l->patients || gaps < 20 || l->cases < 5) return false;
  qsort(room, gaps, sizeof *room, by_number);
  l->patient_days = (double)v->n * room[gaps / 2];
  return l->patient_days > 0;
}

int lead_time_measure(const struct validate_options *o, const struct task_example *at, struct validation *v, struct error *e) {
  struct lead_time *l = &v->lead;
  int64_t horizon = task_horizon(o->task);
  *l = (struct lead_time){.horizon_days = (double)horizon / (double)TIME_DAY};
  if (horizon == INT64_MAX) return OK;
  double *room = mem_alloc((3 * (size_t)v->n + 1) * sizeof *room);
  if (!room) return error_set(e, E_NOMEM, "out of memory");
  double *model = room + v->n, *baseline = model + v->n;
  l->measured = describe(v, at, room, l);
  for (uint32_t i = 0; i < v->n; i++) model[i] = v->model.probability[i], baseline[i] = v->baseline.probability[i];
  qsort(model, v->n, sizeof *model, by_number);
  qsort(baseline, v->n, sizeof *baseline, by_number);
  for (int k = 0; k < LEAD_BUDGETS && l->measured; k++) {
    double most = budgets[k] * l->patient_days / 100;
    l->row[k].budget = budgets[k];
    l->row[k].model = at_budget(v, at, v->model.probability, model, most, horizon, l, room);
    l->row[k].baseline = at_budget(v, at, v->baseline.probability, baseline, most, horizon, l, room);
  }
  mem_free(room);
  return OK;
}

static void result_json(struct json_out *o, const char *name, const struct lead_result *r) {
  json_out_key(o, name);
  json_out_object(o);
  json_kv_f64(o, "threshold", r->threshold);
  json_kv_f64(o, "alerts_per_100_patient_days", r->alerts_per_100);
  json_kv_i64(o, "flagged", r->flagged.k);
  json_kv_i64(o, "cases", r->flagged.n);
  json_kv_f64(o, "flagged_share", r->flagged.n ? (double)r->flagged.k / r->flagged.n : NAN);
  json_kv_f64(o, "flagged_lo", r->flagged.lo);
  json_kv_f64(o, "flagged_hi", r->flagged.hi);
  json_kv_f64(o, "lead_days_q1", r->lead_q1);
  json_kv_f64(o, "lead_days_median", r->lead_median);
  json_kv_f64(o, "lead_days_q3", r->lead_q3);
  json_kv_f64(o, "alerts_per_detection", r->alerts_per_detection);
  json_out_end(o);
}

void lead_time_json(const struct lead_time *l, struct json_out *o) {
  json_out_key(o, "lead_time");
  json_out_object(o);
  json_kv_bool(o, "measured", l->measured);
  if (l->measured) {
    json_kv_i64(o, "patients", l->patients);
    json_kv_i64(o, "cases", l->cases);
    json_kv_f64(o, "patient_days", l->patient_days);
    json_kv_f64(o, "horizon_days", l->horizon_days);
    json_out_key(o, "budgets");
    json_out_array(o);
    for (int k = 0; k < LEAD_BUDGETS; k++) {
      json_out_object(o);
      json_kv_f64(o, "alerts_per_100_patient_days", l->row[k].budget);
      result_json(o, "model", &l->row[k].model);
      result_json(o, "xgboost", &l->row[k].baseline);
      json_out_end(o);
    }
    json_out_end(o);
  }
  json_out_end(o);
}

static void span(struct buf *b, double days) {
  char text[32];
  time_format_span((int64_t)(days * (double)TIME_DAY), text);
  buf_puts(b, text);
}

static void row_html(struct buf *b, const char *who, double budget, const struct lead_result *r) {
  buf_printf(b, "<tr><td class=n>%.0f<td>%s<td class=n>%.1f<td class=n>%.1f %% <small>[%.1f, %.1f]</small>", budget, who, r->alerts_per_100,
             r->flagged.n ? 100.0 * r->flagged.k / r->flagged.n : 0, 100 * r->flagged.lo, 100 * r->flagged.hi);
  if (isnan(r->lead_median)) {
    buf_puts(b, "<td>n/a<td>n/a");
    return;
  }
  buf_puts(b, "<td class=n>");
  span(b, r->lead_median);
  buf_puts(b, " <small>[");
  span(b, r->lead_q1);
  buf_puts(b, ", ");
  span(b, r->lead_q3);
  buf_printf(b, "]</small><td class=n>%.1f", r->alerts_per_detection);
}

void lead_time_html(const struct lead_time *l, struct buf *b) {
  if (!l->measured) return;
  buf_printf(b,
             "<h3>At a fixed number of alerts</h3><p>%u patients, %u with the outcome, %.0f patient-days. After an alert a patient is left "
             "alone for ",
             l->patients, l->cases, l->patient_days);
  span(b, l->horizon_days);
  buf_puts(b,
           "; a case is flagged if an alert came within that time before the outcome.</p><table><tr><th>alerts per 100 patient-days, at "
           "most<th>by<th>alerts<th>cases flagged<th>how long before <small>[quartiles]</small><th>alerts per case flagged");
  for (int k = 0; k < LEAD_BUDGETS; k++) {
    row_html(b, "model", l->row[k].budget, &l->row[k].model);
    row_html(b, "XGBoost", l->row[k].budget, &l->row[k].baseline);
  }
  buf_puts(b, "</table>");
}
