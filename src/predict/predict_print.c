/* Answers for people and for machines. */
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/time.h"
#include "predict/predict.h"
#include "predict/uncertainty.h"

#define AGREE 0.5 /* log odds: up to here the ways are said to agree, up to twice that roughly */

static const char *agreement_word(double x) {
  return isnan(x) ? "not comparable" : x <= AGREE ? "agree" : x <= 2 * AGREE ? "agree roughly" : "DISAGREE";
}

const char *prediction_way(const struct prediction *r) {
  if (isnan(r->deep)) return "closed-form hazard";
  return r->calibrated ? "task head, calibrated on tuning patients" : "task head, not calibrated: no tuning patients";
}

static void kv_number(struct json_out *o, const char *key, double v) {
  if (!isnan(v)) json_kv_f64(o, key, v);
}

/* Of one future there is no standard error: null. */
static void kv_estimate(struct json_out *o, const char *key, double mean, double error) {
  char with[64];
  if (isnan(mean)) return;
  snprintf(with, sizeof with, "%s_standard_error", key);
  json_kv_f64(o, key, mean);
  json_kv_f64(o, with, error);
}

static void kv_time(struct json_out *o, const char *key, int64_t t) {
  char text[32];
  time_format(t, text);
  json_kv_c(o, key, text);
}

static void task_json(const struct prediction *r, struct json_out *o) {
  json_out_key(o, "task");
  json_out_object(o);
  json_kv_c(o, "name", r->task);
  json_kv_bool(o, "applies", !r->refusal);
  if (r->refusal) {
    json_kv_c(o, "reason", r->refusal);
    json_out_end(o);
    return;
  }
  kv_number(o, "probability", r->probability);
  if (!isnan(r->lo)) {
    static const char *const sets[] = {"neither", "no", "yes", "cannot tell"};
    json_out_key(o, "interval");
    json_out_object(o);
    json_kv_f64(o, "lo", r->lo);
    json_kv_f64(o, "hi", r->hi);
    json_kv_c(o, "method", "Venn-Abers, tuning patients");
    json_out_end(o);
    json_out_key(o, "set");
    json_out_object(o);
    json_kv_c(o, "answer", sets[r->set & 3]);
    json_kv_bool(o, "abstains", (r->set & 3) == (SET_YES | SET_NO) || (r->set & 3) == 0);
    json_kv_f64(o, "coverage", r->coverage);
    json_kv_c(o, "method", "split conformal, class by class");
    json_out_end(o);
  }
  if (!isnan(r->deep)) json_kv_bool(o, "calibrated", r->calibrated);
  kv_number(o, "deep_logit", r->deep);
  kv_number(o, "wide_logit", r->wide);
  kv_number(o, "hazard", r->hazard);
  kv_estimate(o, "sampled", r->sampled, r->sampled_se);
  kv_estimate(o, "integrated_hazard", r->integrated, r->integrated_se);
  kv_estimate(o, "anticipated_hazard", r->anticipated, r->anticipated_se);
  kv_number(o, "agreement_log_odds", r->agreement);
  json_kv_c(o, "agreement", agreement_word(r->agreement));
  json_out_end(o);
}

static void outcomes_json(const struct prediction *r, struct json_out *o) {
  static const char *const within[6] = {"1d", "7d", "30d", "90d", "1y", "5y"};
  json_out_key(o, "outcomes");
  json_out_array(o);
  for (int i = 0; i < r->outcomes; i++) {
    const struct predict_outcome *x = &r->outcome[i];
    json_out_object(o);
    json_kv_str(o, "code", x->code);
    if (x->display.n) json_kv_str(o, "display", x->display);
    json_kv_bool(o, "before", x->before);
    json_out_key(o, "within");
    json_out_object(o);
    for (int k = 0; k < 6; k++) kv_number(o, within[k], x->probability[k]);
    json_out_end(o);
    kv_estimate(o, "sampled", x->sampled, x->sampled_se);
    kv_estimate(o, "integrated_hazard", x->integrated, x->integrated_se);
    if (r->futures) {
      json_out_key(o, "sampled_within");
      json_out_object(o);
      for (int k = 0; k < 6; k++) kv_number(o, within[k], x->sampled_within[k]);
      json_out_end(o);
    }
    json_out_end(o);
  }
  json_out_end(o);
}

static void contributions_json(const struct prediction *r, struct json_out *o) {
  json_out_key(o, "contributions");
  json_out_array(o);
  for (int i = 0; i < r->contributions; i++) {
    const struct predict_contribution *c = &r->contribution[i];
    json_out_object(o);
    if (c->time != TIME_STATIC) kv_time(o, "time", c->time);
    json_kv_str(o, "code", c->code);
    if (c->display.n) json_kv_str(o, "display", c->display);
    if (!isnan(c->value)) {
      json_out_key(o, "value");
      json_out_f32(o, c->value);
    }
    if (c->unit.n) json_kv_str(o, "unit", c->unit);
    json_kv_f64(o, "delta_log_odds", c->delta);
    kv_number(o, "integrated_gradient", c->gradient);
    json_out_end(o);
  }
  json_out_end(o);
  json_kv_c(o, "method", r->method);
}

static void reasons_json(const struct prediction *r, struct json_out *o) {
  json_out_key(o, "reasons");
  json_out_array(o);
  for (int i = 0; i < r->reasons; i++) {
    const struct predict_reason *x = &r->reason[i];
    json_out_object(o);
    json_kv_str(o, "code", x->code);
    if (x->display.n) json_kv_str(o, "display", x->display);
    json_kv_i64(o, "events", x->events);
    if (x->last != TIME_STATIC) kv_time(o, "last", x->last);
    if (x->first != TIME_STATIC && x->events > 1) kv_time(o, "first", x->first);
    if (!isnan(x->value)) {
      json_out_key(o, "last_value");
      json_out_f32(o, x->value);
    }
    if (x->unit.n) json_kv_str(o, "unit", x->unit);
    json_kv_f64(o, "gain_log_odds", x->gain);
    json_kv_f64(o, "left", x->left);
    json_out_end(o);
  }
  json_out_end(o);
  json_kv_c(o, "reasons_method", "greedy exact removal: `left` is the answer without all that is listed so far");
}

static void changes_json(const struct prediction *r, struct json_out *o) {
  json_out_key(o, "changes");
  json_out_array(o);
  for (int i = 0; i < r->changes; i++) {
    const struct predict_change *c = &r->change[i];
    json_out_object(o);
    kv_time(o, "time", c->time);
    json_kv_str(o, "code", c->code);
    if (c->display.n) json_kv_str(o, "display", c->display);
    json_out_key(o, "value");
    json_out_f32(o, c->value);
    json_out_key(o, "instead");
    json_out_f32(o, c->instead);
    if (c->unit.n) json_kv_str(o, "unit", c->unit);
    json_kv_f64(o, "probability", c->probability);
    json_out_end(o);
  }
  json_out_end(o);
  json_kv_c(o, "changes_mean", "what the model associates with another value; not what would happen if somebody changed it");
}

static void sureness_json(const struct prediction *r, struct json_out *o) {
  json_out_key(o, "history");
  json_out_object(o);
  json_kv_f64(o, "unknown_share", r->unknown_share);
  json_kv_i64(o, "values_outside", r->outside);
  kv_number(o, "unusual_percentile", r->unusual);
  if (isfinite(r->followed_days)) json_kv_f64(o, "followed_days", r->followed_days);
  json_out_key(o, "warnings");
  json_out_array(o);
  for (int i = 0; i < r->warnings; i++) json_out_c(o, r->warning[i]);
  json_out_end(o);
  json_out_end(o);
}

void prediction_json(const struct prediction *r, struct json_out *o) {
  json_out_object(o);
  char subject[24]; /* as text: 63 bits are more than a JSON number keeps in most readers */
  snprintf(subject, sizeof subject, "%lld", (long long)r->subject);
  json_kv_c(o, "subject", subject);
  kv_time(o, "time", r->time);
  json_kv_i64(o, "events", r->events);
  json_kv_i64(o, "unknown_codes", r->unknown_codes);
  json_kv_bool(o, "dead", r->dead);
  sureness_json(r, o);
  if (r->has_task) task_json(r, o);
  if (r->futures) {
    json_out_key(o, "futures");
    json_out_object(o);
    json_kv_i64(o, "count", r->futures);
    json_kv_f64(o, "horizon_days", r->sampled_days);
    json_kv_i64(o, "cut_short", r->cut);
    json_out_end(o);
  }
  outcomes_json(r, o);
  if (r->contributions) contributions_json(r, o);
  if (r->reasons) reasons_json(r, o);
  if (r->changes) changes_json(r, o);
  json_out_end(o);
}

/* ---- text ---- */

static void percent(struct buf *b, double p) {
  if (isnan(p))
    buf_puts(b, "     -  ");
  else if (p < 0.0005)
    buf_puts(b, " <0.05 %");
  else
    buf_printf(b, "%6.1f %%", 100 * p);
}

static void bold(struct buf *b, bool colour, bool on) {
  if (colour) buf_puts(b, on ? "\033[1m" : "\033[0m");
}

static void heading(struct buf *b, bool colour, const char *text) {
  buf_putc(b, '\n');
  bold(b, colour, true);
  buf_puts(b, text);
  bold(b, colour, false);
  buf_putc(b, '\n');
}

/* At most `width` characters, whole ones; the display where there is one, else the code. */
static void name(struct buf *b, struct str display, struct str code, int width) {
  struct str s = display.n ? display : code;
  int used = 0;
  while (s.n && used < width) {
    size_t step = str_utf8_next(s);
    if (!step) step = 1;
    bool cut = used == width - 1 && s.n > step;
    if (cut)
      buf_puts(b, "…");
    else
      buf_str(b, (struct str){s.p, step});
    s.p += step;
    s.n -= step;
    used++;
  }
  for (; used < width; used++) buf_putc(b, ' ');
}

static void print_estimate(const struct prediction *r, double mean, double error, int digits, const char *what, int drawn, struct buf *b) {
  if (isnan(mean)) return;
  percent(b, mean);
  buf_printf(b, "  %s (± ", what);
  if (isnan(error))
    buf_puts(b, "n/a");
  else
    buf_printf(b, "%.*f", digits, 100 * error);
  if (drawn) buf_printf(b, ", %d drawn", drawn);
  if (r->sampled_days != r->task_days) buf_printf(b, ", within %.6g days instead of %.6g", r->sampled_days, r->task_days);
  buf_puts(b, ")\n");
}

static void print_task(const struct prediction *r, bool colour, struct buf *b) {
  heading(b, colour, r->task);
  if (r->refusal) {
    buf_printf(b, "  does not apply: %s\n", r->refusal);
    return;
  }
  if (isnan(r->probability)) {
    buf_puts(b, "  no answer: this model has no head for the task, and its target is no outcome that can still come first\n");
    return;
  }
  bold(b, colour, true);
  percent(b, r->probability);
  bold(b, colour, false);
  buf_printf(b, "  %s%s\n", prediction_way(r), isnan(r->deep) ? " (this model has no head for the task)" : "");
  if (!isnan(r->lo)) {
    static const char *const sets[] = {"unlike patients with and without the outcome: no statement", "outcome ruled out",
                                       "outcome to be expected", "cannot tell either way"};
    buf_printf(b, "          calibrated range %.1f to %.1f %%; at %.0f %% coverage: %s\n", 100 * r->lo, 100 * r->hi, 100 * r->coverage,
               sets[r->set & 3]);
  }
  if (!isnan(r->deep) && !isnan(r->hazard)) percent(b, r->hazard), buf_puts(b, "  closed-form hazard\n");
  print_estimate(r, r->sampled, r->sampled_se, 1, "sampled futures", r->futures, b);
  print_estimate(r, r->integrated, r->integrated_se, 2, "hazard along these futures", 0, b);
  print_estimate(r, r->anticipated, r->anticipated_se, 2, "hazard along futures without the outcome", 0, b);
  if (!isnan(r->agreement))
    buf_printf(b, "          head and hazard %s (%.2f log odds apart)\n", agreement_word(r->agreement), r->agreement);
}

static void print_outcomes(const struct prediction *r, int width, bool colour, struct buf *b) {
  int room = width - 42 > 16 ? width - 42 : 16;
  heading(b, colour,
          r->futures ? "Most likely            (30 days, 1 year, 5 years; futures)" : "Most likely            (30 days, 1 year, 5 years)");
  for (int i = 0; i < r->outcomes; i++) {
    const struct predict_outcome *x = &r->outcome[i];
    buf_puts(b, "  ");
    name(b, x->display, x->code, room);
    percent(b, x->probability[2]);
    percent(b, x->probability[4]);
    percent(b, x->probability[5]);
    if (!isnan(x->integrated)) percent(b, x->integrated);
    buf_puts(b, x->before ? "  had before\n" : "\n");
  }
  if (r->followed_days < predict_horizon_days[5])
    buf_printf(b, "  No number beyond %.0f days: too few were followed for longer after events like the latest here.\n",
               floor(r->followed_days));
}

static void print_contributions(const struct prediction *r, int width, bool colour, struct buf *b) {
  int room = width - 44 > 16 ? width - 44 : 16;
  heading(b, colour, "Why: change of the log odds if this one event were not there (exact removal)");
  for (int i = 0; i < r->contributions; i++) {
    const struct predict_contribution *c = &r->contribution[i];
    char date[16];
    if (c->time == TIME_STATIC)
      snprintf(date, sizeof date, "always");
    else
      time_format_date(c->time, date);
    buf_printf(b, "  %+7.3f  %-10s  ", c->delta, date);
    name(b, c->display, c->code, room);
    if (!isnan(c->value)) buf_printf(b, "  %.6g", (double)c->value);
    if (!isnan(c->value) && c->unit.n) buf_putc(b, ' '), buf_str(b, c->unit);
    buf_putc(b, '\n');
  }
}

static void print_reasons(const struct prediction *r, int width, bool colour, struct buf *b) {
  int room = width - 48 > 16 ? width - 48 : 16;
  heading(b, colour, "What raised it, taken out step by step: the answer without all that is listed so far");
  for (int i = 0; i < r->reasons; i++) {
    const struct predict_reason *x = &r->reason[i];
    char date[16] = "always";
    if (x->last != TIME_STATIC) time_format_date(x->last, date);
    percent(b, x->left);
    buf_printf(b, "  %-10s  ", date);
    name(b, x->display, x->code, room);
    if (!isnan(x->value)) buf_printf(b, "  %.6g", (double)x->value);
    if (!isnan(x->value) && x->unit.n) buf_putc(b, ' '), buf_str(b, x->unit);
    if (x->events > 1) buf_printf(b, ", the last of %u", x->events);
    buf_putc(b, '\n');
  }
}

static void print_changes(const struct prediction *r, int width, bool colour, struct buf *b) {
  int room = width - 52 > 16 ? width - 52 : 16;
  heading(b, colour, "Other values, other answers (association, not effect: nobody is told what changing them would do)");
  for (int i = 0; i < r->changes; i++) {
    const struct predict_change *c = &r->change[i];
    percent(b, c->probability);
    buf_puts(b, "  ");
    name(b, c->display, c->code, room);
    buf_printf(b, "  %.6g instead of %.6g", (double)c->instead, (double)c->value);
    if (c->unit.n) buf_putc(b, ' '), buf_str(b, c->unit);
    buf_putc(b, '\n');
  }
}

void prediction_print(const struct prediction *r, int width, bool colour, struct buf *out) {
  char when[32];
  time_format(r->time, when);
  buf_printf(out, "Subject %lld as of %s, from %u events", (long long)r->subject, when, r->events);
  if (r->unknown_codes) buf_printf(out, " (%u with a code that the model has never seen)", r->unknown_codes);
  buf_putc(out, '\n');
  for (int i = 0; i < r->warnings; i++) buf_printf(out, "  Less sure: %s.\n", r->warning[i]);
  if (r->has_task) print_task(r, colour, out);
  if (r->outcomes) print_outcomes(r, width, colour, out);
  if (r->cut)
    buf_printf(out, "  %d of %d futures were cut short at their most events: sampled shares are lower bounds\n", r->cut, r->futures);
  if (r->contributions) print_contributions(r, width, colour, out);
  if (r->reasons) print_reasons(r, width, colour, out);
  if (r->changes) print_changes(r, width, colour, out);
  buf_puts(out, "\nAn estimate from records, to be weighed beside clinical judgement, not instead of it.\n");
}
