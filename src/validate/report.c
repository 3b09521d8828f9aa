/* report.json: every number with its interval and n. report.html: self-contained, with pictures; opens from a file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/plot.h"
#include "base/time.h"
#include "validate/compare.h"
#include "validate/lead_time.h"
#include "validate/memorisation.h"
#include "validate/metrics.h"
#include "validate/sureness.h"
#include "validate/tripod.h"

/* ---- JSON ---- */

static void interval_json(struct json_out *o, const char *name, const struct interval *i) {
  json_out_key(o, name);
  json_out_object(o);
  json_kv_f64(o, "at", i->at);
  json_kv_f64(o, "lo", i->lo);
  json_kv_f64(o, "hi", i->hi);
  json_out_end(o);
}

static void metrics_json(struct json_out *o, const struct metrics *m) {
  json_out_object(o);
  json_kv_i64(o, "n", m->n);
  json_kv_i64(o, "events", m->events);
  json_kv_f64(o, "prevalence", m->prevalence);
  interval_json(o, "auroc", &m->auroc);
  json_kv_f64(o, "auroc_delong_se", m->auroc_delong_se);
  interval_json(o, "auprc", &m->auprc);
  interval_json(o, "brier", &m->brier);
  interval_json(o, "slope", &m->slope);
  interval_json(o, "intercept", &m->intercept);
  interval_json(o, "ece", &m->ece);
  json_out_end(o);
}

static void curve_json(struct json_out *o, const char *name, const struct curve *c) {
  json_out_key(o, name);
  json_out_object(o);
  for (int axis = 0; axis < 2; axis++) {
    json_out_key(o, axis ? "y" : "x");
    json_out_array(o);
    for (int i = 0; i < c->n; i++) json_out_f32(o, (float)(axis ? c->y[i] : c->x[i]));
    json_out_end(o);
  }
  json_out_end(o);
}

static void scored_json(struct json_out *o, const struct scored *s) {
  if (!s->name) return;
  json_out_key(o, s->name);
  json_out_object(o);
  json_out_key(o, "metrics");
  metrics_json(o, &s->all);
  curve_json(o, "roc", &s->roc);
  curve_json(o, "precision_recall", &s->pr);
  curve_json(o, "calibration", &s->calibration);
  curve_json(o, "decision", &s->decision);
  json_out_end(o);
}

static void gate_json(struct json_out *o, const struct validation *v) {
  struct buf reasons = {0};
  bool passes = validate_gate(v, &reasons);
  json_out_key(o, "gate");
  json_out_object(o);
  json_kv_bool(o, "passes", passes);
  json_kv_c(o, "reasons", buf_cstr(&reasons));
  json_out_end(o);
  buf_release(&reasons);
}

static void scores_json(struct json_out *o, const struct validation *v) {
  json_out_key(o, "scores");
  json_out_array(o);
  for (int i = 0; i < v->n_scores; i++) {
    const struct validation_score *s = &v->score[i];
    json_out_object(o);
    json_kv_c(o, "name", s->name);
    interval_json(o, "model", &s->model);
    interval_json(o, "xgboost", &s->baseline);
    interval_json(o, "difference", &s->difference);
    if (s->no_interval) json_kv_c(o, "no_interval", s->no_interval);
    json_kv_f64(o, "model_threshold", s->threshold[0]);
    json_kv_f64(o, "xgboost_threshold", s->threshold[1]);
    json_out_end(o);
  }
  json_out_end(o);
}

static void report_json(const struct validation *v, struct buf *out) {
  struct json_out o;
  json_out_init(&o, out, true);
  json_out_object(&o);
  json_kv_i64(&o, "format", 1);
  json_kv_c(&o, "task", v->task);
  json_kv_c(&o, "title", v->task_title);
  json_kv_c(&o, "task_hash", v->task_hash);
  json_kv_c(&o, "version", v->model_dir_hash);
  json_kv_c(&o, "store", v->store_hash);
  json_kv_c(&o, "commit", v->commit);
  json_kv_c(&o, "protocol",
            "held-out subjects only; baseline on the same training and tuning subjects; 95 % percentile bootstrap over subjects");
  json_kv_i64(&o, "bootstrap", v->bootstrap);
  json_kv_i64(&o, "seed", (int64_t)v->seed);
  json_kv_i64(&o, "n", v->n);
  json_kv_i64(&o, "events", v->events);
  json_kv_i64(&o, "censored", v->censored);
  json_kv_i64(&o, "train_n", v->train_n);
  json_kv_i64(&o, "train_events", v->train_events);
  json_kv_i64(&o, "tuning_n", v->tuning_n);
  json_kv_i64(&o, "tuning_events", v->tuning_events);
  gate_json(&o, v);
  json_out_key(&o, "predictors");
  json_out_object(&o);
  scored_json(&o, &v->model);
  scored_json(&o, &v->baseline);
  scored_json(&o, &v->hazard);
  scored_json(&o, &v->recalibrated);
  json_out_end(&o);
  json_out_key(&o, "difference_auroc");
  json_out_object(&o);
  json_kv_f64(&o, "at", v->difference);
  json_kv_f64(&o, "lo", v->difference_lo);
  json_kv_f64(&o, "hi", v->difference_hi);
  json_out_end(&o);
  scores_json(&o, v);
  json_out_key(&o, "subgroups");
  json_out_array(&o);
  for (int i = 0; i < v->n_subgroups; i++) {
    json_out_object(&o);
    json_kv_c(&o, "name", v->subgroups[i].name);
    json_out_key(&o, "model");
    metrics_json(&o, &v->subgroups[i].model);
    json_out_key(&o, "xgboost");
    metrics_json(&o, &v->subgroups[i].baseline);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_key(&o, "gaps");
  json_out_array(&o);
  for (int i = 0; i < v->n_gaps; i++) {
    json_out_object(&o);
    json_kv_f64(&o, "days", (double)v->gaps[i].gap / (double)TIME_DAY);
    json_kv_i64(&o, "n", v->gaps[i].n);
    json_kv_i64(&o, "events", v->gaps[i].events);
    interval_json(&o, "model_auroc", &v->gaps[i].model_auroc);
    interval_json(&o, "xgboost_auroc", &v->gaps[i].baseline_auroc);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_kv_bool(&o, "external", v->external);
  comparison_json(&v->compared, "comparison", &o);
  sureness_json(&v->sureness, &o);
  json_out_key(&o, "leaks");
  json_out_array(&o);
  for (int i = 0; i < v->n_leaks; i++) json_out_c(&o, v->leak[i]);
  json_out_end(&o);
  json_out_key(&o, "cautions");
  json_out_array(&o);
  for (int i = 0; i < v->n_cautions; i++) json_out_c(&o, v->caution[i]);
  json_out_end(&o);
  lead_time_json(&v->lead, &o);
  tripod_json(v, &o);
  if (v->memorisation) {
    json_out_key(&o, "memorisation");
    memorisation_json(v->memorisation, &o);
  }
  json_kv_f64(&o, "seconds", v->seconds);
  json_out_end(&o);
  buf_putc(out, '\n');
}

/* ---- HTML ---- */

static void cell(struct buf *b, const struct interval *i) {
  if (isnan(i->at))
    buf_puts(b, "<td class=n>n/a");
  else if (isnan(i->lo))
    buf_printf(b, "<td class=n>%.3f", i->at);
  else
    buf_printf(b, "<td class=n>%.3f <small>[%.3f, %.3f]</small>", i->at, i->lo, i->hi);
}

static void metric_cells(struct buf *b, const struct metrics *m) {
  cell(b, &m->auroc), cell(b, &m->auprc), cell(b, &m->brier), cell(b, &m->slope), cell(b, &m->intercept), cell(b, &m->ece);
}

static void picture(struct buf *b, struct plot *p) {
  plot_svg(p, 460, 360, b);
  plot_release(p);
}

static void pictures(struct buf *b, const struct validation *v) {
  const struct scored *all[3] = {&v->model, &v->baseline, &v->hazard};
  struct plot p;
  buf_puts(b, "<div class=pictures>");
  plot_init(&p, "ROC", "1 - specificity", "sensitivity");
  plot_range(&p, 0, 1, 0, 1);
  p.diagonal = true;
  for (int i = 0; i < 3; i++)
    if (all[i]->name) plot_add(&p, PLOT_LINE, all[i]->name, all[i]->roc.x, all[i]->roc.y, NULL, (size_t)all[i]->roc.n);
  picture(b, &p);
  plot_init(&p, "Precision and recall", "recall (sensitivity)", "precision (PPV)");
  plot_range(&p, 0, 1, 0, 1);
  for (int i = 0; i < 3; i++)
    if (all[i]->name) plot_add(&p, PLOT_LINE, all[i]->name, all[i]->pr.x, all[i]->pr.y, NULL, (size_t)all[i]->pr.n);
  picture(b, &p);
  plot_init(&p, "Calibration", "predicted", "observed");
  p.diagonal = true;
  double half[CALIBRATION_BINS], top = 0.02;
  for (int k = 0; k < v->model.calibration.n; k++) {
    half[k] = (v->model.calibration_hi[k] - v->model.calibration_lo[k]) / 2;
    top = fmax(top, fmax(v->model.calibration.x[k], v->model.calibration.y[k] + half[k]));
  }
  for (int k = 0; k < v->baseline.calibration.n; k++) top = fmax(top, fmax(v->baseline.calibration.x[k], v->baseline.calibration.y[k]));
  plot_range(&p, 0, fmin(1, 1.05 * top), 0, fmin(1, 1.05 * top));
  plot_add(&p, PLOT_POINTS, "model", v->model.calibration.x, v->model.calibration.y, half, (size_t)v->model.calibration.n);
  plot_add(&p, PLOT_LINE, "xgboost", v->baseline.calibration.x, v->baseline.calibration.y, NULL, (size_t)v->baseline.calibration.n);
  picture(b, &p);
  plot_init(&p, "Decision curve", "threshold probability", "net benefit");
  double most = v->model.all.prevalence;
  plot_range(&p, 0, 0.5, -0.2 * most, 1.1 * most);
  for (int i = 0; i < 2; i++)
    plot_add(&p, PLOT_LINE, all[i]->name, all[i]->decision.x, all[i]->decision.y, NULL, (size_t)all[i]->decision.n);
  plot_add(&p, PLOT_LINE, "treat all", v->treat_all.x, v->treat_all.y, NULL, (size_t)v->treat_all.n);
  picture(b, &p);
  buf_puts(b, "</div>");
}

static void verdict(struct buf *b, const struct validation *v) {
  struct buf reasons = {0};
  bool passes = validate_gate(v, &reasons);
  buf_printf(b, "<p class='%s'><b>Gate: %s</b>", passes ? "good" : "bad", passes ? "passes." : "does not pass: ");
  buf_html(b, str_c(buf_cstr(&reasons)));
  buf_puts(b, "</p><p>");
  buf_release(&reasons);
  if (isnan(v->difference_lo))
    buf_puts(b, "The difference to the tabular baseline could not be given an interval.");
  else
    buf_printf(b, "AUROC, model minus tabular baseline: %+.3f [%+.3f, %+.3f]: %s.", shown(v->difference), shown(v->difference_lo),
               shown(v->difference_hi),
               v->difference_lo > 0   ? "the model is better on these patients"
               : v->difference_hi < 0 ? "the baseline is better on these patients"
                                      : "no difference can be told on these patients");
  buf_puts(b, "</p>");
}

static void main_table(struct buf *b, const struct validation *v) {
  const struct scored *all[4] = {&v->model, &v->recalibrated, &v->baseline, &v->hazard};
  const char *const what[4] = {v->external ? "model, as it came" : "model", "model, recalibrated here", "XGBoost", "hazard"};
  buf_puts(b, "<table><tr><th>predictor<th>AUROC<th>AUPRC<th>Brier<th>slope<th>intercept<th>ECE");
  for (int i = 0; i < 4; i++) {
    if (!all[i]->name) continue;
    buf_printf(b, "<tr><td>%s", what[i]);
    metric_cells(b, &all[i]->all);
  }
  buf_puts(b,
           "</table><p><small>model: the task head, as shipped. XGBoost: gradient boosting on tabular features of the same moments. "
           "hazard: the model's closed-form answer "
           "for the outcome, without any training for this task.</small></p>");
}

static void further_tables(struct buf *b, const struct validation *v) {
  buf_puts(b, "<h2>Subgroups</h2>");
  if (v->n_subgroups == 0) buf_puts(b, "<p>No subgroup is large enough for figures of its own.</p>");
  if (v->n_subgroups) buf_puts(b, "<table><tr><th>subgroup<th>n<th>cases<th>AUROC model<th>AUROC XGBoost<th>Brier model<th>slope model");
  for (int i = 0; i < v->n_subgroups; i++) {
    const struct subgroup *s = &v->subgroups[i];
    buf_puts(b, "<tr><td>");
    buf_html(b, str_c(s->name));
    buf_printf(b, "<td class=n>%u<td class=n>%u", s->model.n, s->model.events);
    cell(b, &s->model.auroc), cell(b, &s->baseline.auroc), cell(b, &s->model.brier), cell(b, &s->model.slope);
  }
  if (v->n_subgroups) buf_puts(b, "</table>");
  sureness_html(&v->sureness, b);
  buf_puts(b, "<h2>How early</h2><table><tr><th>outcome at least so far away<th>n<th>cases<th>AUROC model<th>AUROC XGBoost");
  for (int i = 0; i < v->n_gaps; i++) {
    char span[32];
    time_format_span(v->gaps[i].gap, span);
    buf_printf(b, "<tr><td>%s<td class=n>%u<td class=n>%u", span, v->gaps[i].n, v->gaps[i].events);
    cell(b, &v->gaps[i].model_auroc), cell(b, &v->gaps[i].baseline_auroc);
  }
  buf_puts(b, "</table>");
  lead_time_html(&v->lead, b);
  buf_puts(b, "<h2>Leak checks</h2>");
  if (v->n_leaks == 0)
    buf_puts(b,
             "<p>No event after the moment was used; no held-out life is a copy of a training life; no code before the moment gives the "
             "outcome away; nothing stamped before the outcome was recorded after it, as far as the order of the sources shows.</p>");
  for (int i = 0; i < v->n_leaks; i++) buf_puts(b, "<p class=bad>"), buf_html(b, str_c(v->leak[i])), buf_puts(b, "</p>");
  for (int i = 0; i < v->n_cautions; i++) buf_puts(b, "<p>To be judged: "), buf_html(b, str_c(v->caution[i])), buf_puts(b, ".</p>");
}

static void report_html(const struct validation *v, struct buf *b) {
  buf_puts(b, "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'><title>");
  buf_html(b, str_c(v->task_title));
  buf_puts(b,
           "</title><style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem "
           "auto;padding:0 1rem;color:#1b1f24;background:#fff}"
           "table{border-collapse:collapse;display:block;overflow-x:auto}td,th{padding:.25rem .7rem;text-align:left;border-bottom:1px "
           "solid #8884}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
           "small{opacity:.7}.pictures{display:flex;flex-wrap:wrap;gap:1rem}.pictures "
           "svg{max-width:100%;height:auto}.good{color:#186a3b}.bad{color:#a02317}"
           "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#15181c}.good{color:#7bd29b}.bad{color:#ff9c8f}}</style><h1>");
  buf_html(b, str_c(v->task_title));
  buf_printf(b,
             "</h1><p>%u held-out examples, %u with the outcome (%.1f %%), %u left out because their record ends before the horizon. "
             "Learned from %u examples with %u cases; "
             "calibrated on %u with %u.</p>",
             v->n, v->events, 100 * v->model.all.prevalence, v->censored, v->train_n, v->train_events, v->tuning_n, v->tuning_events);
  verdict(b, v);
  main_table(b, v);
  buf_printf(b, "<p><small>In brackets: 95 %% intervals, %d bootstrap resamples of patients, seed %llu.</small></p>", v->bootstrap,
             (unsigned long long)v->seed);
  if (v->external)
    buf_puts(b,
             "<p>External validation: the model learned at another site. XGBoost learned here, on this site's training patients: it shows "
             "what local data alone can do.</p>");
  pictures(b, v);
  comparison_html(&v->compared, b);
  further_tables(b, v);
  if (v->memorisation) memorisation_html(v->memorisation, b);
  tripod_html(v, b);
  buf_printf(b,
             "<h2>Provenance</h2><table><tr><td>version<td><code>%s</code><tr><td>store<td><code>%s</code><tr><td>task<td><code>%s</"
             "code><tr><td>program commit<td><code>%s</code></table></html>\n",
             v->model_dir_hash, v->store_hash, v->task_hash, v->commit);
}

int validate_report_write(const struct validation *v, const char *dir, struct error *e) {
  struct buf json = {0}, html = {0};
  char path[4096];
  int rc;
  TRY_OUT(file_mkdirs(dir, 0755, e));
  report_json(v, &json);
  report_html(v, &html);
  TRY_OUT(buf_check(&json, e));
  TRY_OUT(buf_check(&html, e));
  TRY_OUT(file_join(path, sizeof path, dir, "report.html", e));
  TRY_OUT(file_write_atomic(path, html.p, html.n, 0644, e));
  TRY_OUT(file_join(path, sizeof path, dir, "report.json", e));
  rc = file_write_atomic(path, json.p, json.n, 0644, e);
out:
  buf_release(&json);
  buf_release(&html);
  return rc;
}
