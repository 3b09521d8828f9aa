/* The memorisation part of a report: every figure as JSON, a section with pictures as HTML, a line for the terminal. */
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/plot.h"
#include "validate/memorisation.h"
#include "validate/memorisation_private.h"

/* ---- JSON ---- */

static void interval_json(struct json_out *o, const char *name, const struct interval *i) {
  json_out_key(o, name);
  json_out_object(o);
  json_kv_f64(o, "at", i->at);
  json_kv_f64(o, "lo", i->lo);
  json_kv_f64(o, "hi", i->hi);
  json_out_end(o);
}

static void attack_json(struct json_out *o, const char *name, const struct attack *x) {
  json_out_key(o, name);
  json_out_object(o);
  json_kv_i64(o, "trained", x->members);
  json_kv_i64(o, "held_out", x->others);
  interval_json(o, "auc", &x->auc);
  interval_json(o, "tpr_at_1pct_fpr", &x->tpr);
  json_out_end(o);
}

static void begin_part(struct json_out *o, const char *name, const char *why) {
  json_out_key(o, name);
  json_out_object(o);
  json_kv_bool(o, "measured", !why);
  if (why) json_kv_c(o, "why_not", why);
}

static void limits_json(struct json_out *o, const struct memorisation_limits *l) {
  json_out_key(o, "limits");
  json_out_object(o);
  json_kv_c(o, "hash", l->hash);
  json_kv_i64(o, "least_persons", l->least_persons);
  json_kv_f64(o, "membership_auc", l->membership_auc);
  json_kv_f64(o, "membership_tpr", l->membership_tpr);
  json_kv_f64(o, "rare_membership_auc", l->rare_membership_auc);
  json_kv_f64(o, "exposure_bits", l->exposure_bits);
  json_kv_i64(o, "exposure_repeats", l->exposure_repeats);
  json_kv_f64(o, "closer_to_training", l->closer_to_training);
  json_kv_f64(o, "completion_auc", l->completion_auc);
  json_kv_f64(o, "copied_run_excess", l->copied_run_excess);
  json_out_end(o);
}

static void membership_json(const struct memorisation *m, struct json_out *o) {
  begin_part(o, "membership", m->why[0]);
  if (!m->why[0]) {
    json_kv_i64(o, "persons_each_side", m->persons);
    json_kv_i64(o, "sources", m->sources);
    json_kv_c(o, "reference", m->by_checkpoint ? "checkpoint" : "frequencies of the codes");
    attack_json(o, "plain", &m->plain);
    attack_json(o, "calibrated", &m->calibrated);
    attack_json(o, "blind", &m->blind);
  }
  json_out_end(o);
  begin_part(o, "rare", m->why[1]);
  if (!m->why[1]) {
    json_kv_i64(o, "rare_code_persons", m->rare_persons);
    attack_json(o, "plain", &m->rare_plain);
    attack_json(o, "calibrated", &m->rare_calibrated);
  }
  json_out_end(o);
}

static void exposure_json(const struct memorisation *m, struct json_out *o) {
  begin_part(o, "exposure", m->why[2]);
  if (!m->why[2]) {
    json_kv_i64(o, "canaries", m->canaries);
    json_kv_f64(o, "most", m->most_exposure);
    json_out_key(o, "by_repeats");
    json_out_array(o);
    for (int i = 0; i < m->exposures; i++) {
      json_out_object(o);
      json_kv_i64(o, "repeats", m->exposure[i].repeats);
      json_kv_i64(o, "canaries", m->exposure[i].canaries);
      json_kv_f64(o, "mean", m->exposure[i].mean);
      json_kv_f64(o, "chance", m->exposure[i].chance);
      json_out_end(o);
    }
    json_out_end(o);
  }
  json_out_end(o);
}

static void generation_json(const struct memorisation *m, struct json_out *o) {
  begin_part(o, "generation", m->why[3]);
  if (!m->why[3]) {
    json_kv_i64(o, "prompts", m->prompts);
    json_kv_i64(o, "generated", m->generated);
    json_kv_i64(o, "lives_each_side", m->compared);
    interval_json(o, "closer_to_training", &m->closer);
    interval_json(o, "completion_auc", &m->completion);
    json_kv_f64(o, "nearer_than_held_out", m->nearer_than_held_out);
    static const char *const kind[2] = {"copied_codes", "copied_codes_and_waits"};
    for (int k = 0; k < 2; k++) {
      json_out_key(o, kind[k]);
      json_out_object(o);
      json_kv_i64(o, "longest_trained", m->longest[k][1]);
      json_kv_i64(o, "longest_held_out", m->longest[k][0]);
      json_kv_f64(o, "mean_trained", m->mean_run[k][1]);
      json_kv_f64(o, "mean_held_out", m->mean_run[k][0]);
      json_out_end(o);
    }
  }
  json_out_end(o);
}

void memorisation_json(const struct memorisation *m, struct json_out *o) {
  struct buf reasons = {0};
  json_out_object(o);
  json_kv_bool(o, "passes", memorisation_gate(m, &reasons));
  json_kv_c(o, "reasons", buf_cstr(&reasons));
  membership_json(m, o);
  exposure_json(m, o);
  generation_json(m, o);
  limits_json(o, &m->limits);
  json_kv_f64(o, "seconds", m->seconds);
  json_out_end(o);
  buf_release(&reasons);
}

/* ---- HTML ---- */

static void cell(struct buf *b, const struct interval *i, bool bad) {
  buf_printf(b, "<td class='n%s'>", bad ? " bad" : "");
  if (isnan(i->at))
    buf_puts(b, "n/a");
  else
    buf_printf(b, "%.3f <small>[%.3f, %.3f]</small>", i->at, i->lo, i->hi);
}

static void attack_row(struct buf *b, const char *name, const struct attack *x, double auc, double tpr, double chance) {
  buf_printf(b, "<tr><td>%s<td class=n>%u / %u", name, x->members, x->others);
  cell(b, &x->auc, beyond(&x->auc, auc, chance));
  if (isnan(auc))
    buf_puts(b, "<td class=n>none");
  else
    buf_printf(b, "<td class=n>%.3g", auc);
  cell(b, &x->tpr, beyond(&x->tpr, tpr, 0.01));
}

static void missing(struct buf *b, const char *why) {
  buf_puts(b, "<p>Not measured: ");
  buf_html(b, str_c(why));
  buf_puts(b, ".</p>");
}

static void membership_html(const struct memorisation *m, struct buf *b) {
  const struct memorisation_limits *l = &m->limits;
  buf_puts(b, "<h3>Who was trained on?</h3>");
  if (m->why[0]) {
    missing(b, m->why[0]);
    return;
  }
  buf_printf(b,
             "<p>%u persons that were trained on and as many held-out persons of the same sources, told apart by how likely the model "
             "finds their lives. AUC 0.5: it cannot be told.</p>"
             "<table><tr><th>attack<th>trained / held out<th>AUC<th>limit<th>found at 1 %% false alarms",
             m->persons);
  attack_row(b, "plain", &m->plain, l->membership_auc, l->membership_tpr, 0.5);
  attack_row(b, m->by_checkpoint ? "against the reference checkpoint" : "against the codes' frequencies", &m->calibrated, l->membership_auc,
             l->membership_tpr, 0.5);
  attack_row(b, "blind: frequencies alone", &m->blind, NAN, NAN, 0.5);
  if (!m->why[1]) {
    attack_row(b, "plain, persons with a rare code", &m->rare_plain, l->rare_membership_auc, NAN,
               rare_chance(&m->rare_plain.auc, l->rare_membership_auc));
    attack_row(b, "calibrated, persons with a rare code", &m->rare_calibrated, l->rare_membership_auc, NAN,
               rare_chance(&m->rare_calibrated.auc, l->rare_membership_auc));
  }
  buf_printf(b,
             "</table><p><small>The blind attack never asks the model: where it succeeds, the two groups differ by themselves. A rare code "
             "has at most %u training persons.%s%s</small></p>",
             m->rare_persons, m->why[1] ? " Persons with rare codes apart: not measured, " : "", m->why[1] ? m->why[1] : "");
}

static void membership_pictures(const struct memorisation *m, struct buf *b) {
  struct plot p;
  plot_init(&p, "Membership inference", "false alarms", "trained persons found");
  plot_range(&p, 0, 1, 0, 1);
  p.diagonal = true;
  plot_add(&p, PLOT_LINE, "plain", m->plain.roc.x, m->plain.roc.y, NULL, (size_t)m->plain.roc.n);
  plot_add(&p, PLOT_LINE, "calibrated", m->calibrated.roc.x, m->calibrated.roc.y, NULL, (size_t)m->calibrated.roc.n);
  plot_add(&p, PLOT_LINE, "blind", m->blind.roc.x, m->blind.roc.y, NULL, (size_t)m->blind.roc.n);
  plot_svg(&p, 460, 360, b);
  plot_release(&p);
  plot_init(&p, "How likely the model finds lives", "log-likelihood an event, standardised", "share of persons");
  for (int s = 0; s < 2; s++)
    plot_add(&p, PLOT_STEP, s ? "trained on" : "held out", m->likelihood[s].x, m->likelihood[s].y, NULL, (size_t)m->likelihood[s].n);
  plot_svg(&p, 460, 360, b);
  plot_release(&p);
}

static void exposure_html(const struct memorisation *m, struct buf *b) {
  buf_puts(b, "<h3>Canaries</h3>");
  if (m->why[2]) {
    missing(b, m->why[2]);
    return;
  }
  buf_printf(
      b,
      "<p>%u made-up lives were trained on. Exposure: how far each stands out among 1,023 like it that were not; %.0f bits at most, "
      "1.44 on average where nothing is remembered.</p><table><tr><th>times an epoch<th>canaries<th>mean exposure<th>limit<th>chance",
      m->canaries, m->most_exposure);
  for (int i = 0; i < m->exposures; i++) {
    const struct exposure_row *x = &m->exposure[i];
    bool limited = x->repeats <= m->limits.exposure_repeats;
    buf_printf(b, "<tr><td class=n>%d<td class=n>%u<td class='n%s'>%.2f<td class=n>", x->repeats, x->canaries,
               limited && x->mean > m->limits.exposure_bits && x->chance < 0.01 ? " bad" : "", x->mean);
    if (limited)
      buf_printf(b, "%.3g", m->limits.exposure_bits);
    else
      buf_puts(b, "none");
    buf_printf(b, x->chance < 1e-4 ? "<td class=n>&lt; 0.0001" : "<td class=n>%.4f", x->chance);
  }
  buf_puts(b, "</table>");
}

static void generation_html(const struct memorisation *m, struct buf *b) {
  const struct memorisation_limits *l = &m->limits;
  buf_puts(b, "<h3>Generated lives</h3>");
  if (m->why[3]) {
    missing(b, m->why[3]);
    return;
  }
  buf_printf(b,
             "<p>%u lives sampled from the first quarter of %u lives, half of them trained on, compared with %u trained and %u held-out "
             "lives.</p><table><tr><th>figure<th>value<th>limit<tr><td>nearer to a trained than to a held-out life (0.5: no memory)",
             m->generated, m->prompts, m->compared, m->compared);
  cell(b, &m->closer, beyond(&m->closer, l->closer_to_training, 0.5));
  buf_printf(b, "<td class=n>%.3g<tr><td>trained lives are completed better (AUC)", l->closer_to_training);
  cell(b, &m->completion, beyond(&m->completion, l->completion_auc, 0.5));
  buf_printf(b, "<td class=n>%.3g", l->completion_auc);
  for (int k = 0; k < 2; k++)
    buf_printf(b,
               "<tr><td>longest run of codes%s copied from a trained / a held-out life<td class='n%s'>%u / %u<td class=n>+%.3g"
               "<tr><td>mean of the longest runs<td class=n>%.2f / %.2f<td class=n>none",
               k ? " and waits" : "", m->longest[k][1] > m->longest[k][0] + l->copied_run_excess ? " bad" : "", m->longest[k][1],
               m->longest[k][0], l->copied_run_excess, m->mean_run[k][1], m->mean_run[k][0]);
  buf_printf(b,
             "<tr><td>nearer to trained lives than held-out lives are (also says how typical they are)<td class=n>%.3f<td "
             "class=n>none</table>",
             m->nearer_than_held_out);
}

static void generation_picture(const struct memorisation *m, struct buf *b) {
  struct plot p;
  plot_init(&p, "Distance of generated lives to the nearest", "Jaccard distance of pairs of codes", "share of generated lives");
  for (int s = 0; s < 2; s++)
    plot_add(&p, PLOT_LINE, s ? "trained life" : "held-out life", m->distance[s].x, m->distance[s].y, NULL, (size_t)m->distance[s].n);
  plot_svg(&p, 460, 360, b);
  plot_release(&p);
}

void memorisation_html(const struct memorisation *m, struct buf *out) {
  struct buf reasons = {0};
  bool passes = memorisation_gate(m, &reasons);
  buf_puts(out, "<h2>Memorisation: does the model remember single persons?</h2>");
  buf_printf(out, "<p class='%s'>%s", passes ? "good" : "bad", passes ? "Within the limits." : "Beyond the limits: ");
  buf_html(out, str_c(buf_cstr(&reasons)));
  buf_puts(out, "</p>");
  buf_release(&reasons);
  membership_html(m, out);
  exposure_html(m, out);
  generation_html(m, out);
  buf_puts(out, "<div class=pictures>");
  if (!m->why[0]) membership_pictures(m, out);
  if (!m->why[3]) generation_picture(m, out);
  buf_puts(out, "</div>");
}

/* ---- one line ---- */

void memorisation_line(const struct memorisation *m, struct buf *out) {
  struct buf reasons = {0};
  if (m->why[0])
    buf_printf(out, "membership not measured (%s)", m->why[0]);
  else
    buf_printf(out, "membership AUC %.3f [%.3f, %.3f], calibrated %.3f", m->plain.auc.at, m->plain.auc.lo, m->plain.auc.hi,
               m->calibrated.auc.at);
  if (m->why[2])
    buf_puts(out, "; exposure not measured (no canaries)");
  else
    buf_printf(out, "; exposure %.2f bits", m->exposure[0].mean);
  if (m->why[3])
    buf_puts(out, "; generated lives not measured");
  else
    buf_printf(out, "; generated lives nearer to trained ones %.3f, longest copied run %u (held out %u)", m->closer.at, m->longest[0][1],
               m->longest[0][0]);
  buf_puts(out, memorisation_gate(m, &reasons) ? "; within the limits" : "; BEYOND the limits");
  buf_release(&reasons);
}
