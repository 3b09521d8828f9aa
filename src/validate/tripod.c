#include "validate/tripod.h"

#include <math.h>
#include <stdio.h>

#include "validate/metrics.h"

static void title(const struct validation *v, struct buf *b) {
  buf_printf(b, "%s: %s of a prediction model, %s.", v->task_title,
             v->external ? "external validation" : "development and internal validation",
             v->external ? "learned at another site" : "split by patient");
}
static void abstract(const struct validation *v, struct buf *b) {
  buf_printf(b,
             "%u held-out examples, %u with the outcome; AUROC %.3f [%.3f, %.3f], Brier %.3f, calibration slope %.2f; XGBoost on the same "
             "patients %.3f.",
             v->n, v->events, v->model.all.auroc.at, v->model.all.auroc.lo, v->model.all.auroc.hi, v->model.all.brier.at,
             v->model.all.slope.at, v->baseline.all.auroc.at);
}
static void objectives(const struct validation *v, struct buf *b) {
  buf_printf(b, "%s of the answers to the task \"%s\".", v->external ? "Evaluation elsewhere" : "Development and evaluation", v->task);
}
static void data(const struct validation *v, struct buf *b) {
  buf_printf(b, "Routine records of this site, de-identified; store %.16s; dates are shifted per patient, so calendar dates are not told.",
             v->store_hash);
}
static void participants(const struct validation *v, struct buf *b) {
  buf_printf(b,
             "Whoever meets the task's trigger and windows (file hash %.16s, kept with the model); %u examples left out because their "
             "record ends before "
             "the horizon.",
             v->task_hash, v->censored);
}
static void preparation(const struct validation *v, struct buf *b) {
  (void)v;
  buf_puts(b,
           "The same code path for training, validation and serving; rare codes fall to their parents; values by piecewise-linear "
           "functions of the code's own quantiles.");
}
static void outcome(const struct validation *v, struct buf *b) {
  buf_printf(b, "By the task's target codes from the records; nobody assessed it for this study. Leak checks: %d findings, %d cautions.",
             v->n_leaks, v->n_cautions);
}
static void predictors(const struct validation *v, struct buf *b) {
  (void)v;
  buf_puts(b, "All events up to the moment; none chosen by hand. Nothing with a later time is read.");
}
static void sample_size(const struct validation *v, struct buf *b) {
  buf_printf(b, "What there was: %u examples with %u cases to learn from, %u with %u to tune on, %u with %u to evaluate on.", v->train_n,
             v->train_events, v->tuning_n, v->tuning_events, v->n, v->events);
}
static void missing(const struct validation *v, struct buf *b) {
  (void)v;
  buf_puts(b, "Not imputed: what was not measured is no event; that something was not measured may inform the answer.");
}
static void methods(const struct validation *v, struct buf *b) {
  buf_printf(b,
             "Patients split once by hash; transformer over timelines with a task head blended on tuning patients; intervals from %d "
             "bootstrap resamples of "
             "patients (seed %llu); discrimination, calibration, decision curves, subgroups.",
             v->bootstrap, (unsigned long long)v->seed);
}
static void imbalance(const struct validation *v, struct buf *b) {
  buf_printf(b, "Prevalence %.1f %%; no resampling of classes, so probabilities need no correction.", 100 * v->model.all.prevalence);
}
static void fairness(const struct validation *v, struct buf *b) {
  double least = INFINITY, most = -INFINITY;
  for (int i = 0; i < v->n_subgroups; i++)
    least = fmin(least, v->subgroups[i].model.auroc.at), most = fmax(most, v->subgroups[i].model.auroc.at);
  if (v->n_subgroups)
    buf_printf(b, "%d subgroups by sex, race, ethnicity, age and source, each with intervals and coverage; AUROC from %.3f to %.3f.",
               v->n_subgroups, least, most);
  else
    buf_puts(b, "No subgroup has enough cases for figures of its own; fairness is not shown.");
}
static void output(const struct validation *v, struct buf *b) {
  (void)v;
  buf_puts(b,
           "A probability with a calibrated range, a conformal set that may abstain, warnings, and contributing events; no threshold is "
           "built in.");
}
static void differences(const struct validation *v, struct buf *b) {
  buf_puts(b, v->external ? "Evaluated at another site than the one it learned from; recalibration is shown apart."
                          : "Training and evaluation come from the same site and time; another site is shown by validating there.");
}
static void code_sharing(const struct validation *v, struct buf *b) {
  buf_printf(b, "Program commit %s; version %.16s.", v->commit, v->model_dir_hash);
}
static void flow(const struct validation *v, struct buf *b) {
  buf_printf(b, "%u examples evaluated, %u with the outcome, %u left out for want of follow-up.", v->n, v->events, v->censored);
}
static void numbers(const struct validation *v, struct buf *b) { sample_size(v, b); }
static void specification(const struct validation *v, struct buf *b) {
  buf_printf(b, "The whole model is the version %.16s: weights in safetensors, vocabulary, task head as JSON; it loads in Python.",
             v->model_dir_hash);
}
static void performance(const struct validation *v, struct buf *b) {
  abstract(v, b);
  buf_printf(b, " Difference to the baseline %+.3f [%+.3f, %+.3f].", shown(v->difference), shown(v->difference_lo),
             shown(v->difference_hi));
}
static void updating(const struct validation *v, struct buf *b) {
  if (v->recalibrated.name)
    buf_printf(b, "Recalibrated on local tuning patients: slope %.2f to %.2f, Brier %.3f to %.3f.", v->model.all.slope.at,
               v->recalibrated.all.slope.at, v->model.all.brier.at, v->recalibrated.all.brier.at);
  else
    buf_puts(b, "Not updated for this evaluation.");
}
static void limitations(const struct validation *v, struct buf *b) {
  struct buf reasons = {0};
  bool passes = validate_gate(v, &reasons);
  buf_printf(b, "Retrospective records of one site; outcomes by codes. Gate: %s", passes ? "passes." : "does not pass: ");
  buf_puts(b, buf_cstr(&reasons));
  buf_release(&reasons);
}
static void usability(const struct validation *v, struct buf *b) {
  if (v->sureness.measured)
    buf_printf(
        b,
        "Unknown codes, unusual timelines and short histories carry a warning (%u and %u of these examples); the set abstains for %.0f %%.",
        v->sureness.unusual, v->sureness.too_short,
        v->sureness.rows && v->sureness.row[0].abstains.n ? 100.0 * v->sureness.row[0].abstains.k / v->sureness.row[0].abstains.n : NAN);
  else
    buf_puts(b, "Unknown codes and short histories are counted with every answer.");
}

static const struct {
  const char *topic;
  void (*say)(const struct validation *v, struct buf *b); /* NULL: only people know */
} items[TRIPOD_ITEMS] = {{"Title", title},
                         {"Abstract", abstract},
                         {"Background: context, intended use and users, known inequalities", NULL},
                         {"Objectives", objectives},
                         {"Data: sources and dates", data},
                         {"Participants: setting, eligibility, treatments", participants},
                         {"Data preparation", preparation},
                         {"Outcome", outcome},
                         {"Predictors", predictors},
                         {"Sample size", sample_size},
                         {"Missing data", missing},
                         {"Analytical methods", methods},
                         {"Class imbalance", imbalance},
                         {"Fairness", fairness},
                         {"Model output", output},
                         {"Training versus evaluation", differences},
                         {"Ethical approval", NULL},
                         {"Open science: funding, interests, protocol, registration, data, code", code_sharing},
                         {"Patient and public involvement", NULL},
                         {"Participants: flow and characteristics", flow},
                         {"Model development: numbers", numbers},
                         {"Model specification", specification},
                         {"Model performance", performance},
                         {"Model updating", updating},
                         {"Interpretation", NULL},
                         {"Limitations", limitations},
                         {"Usability in current care", usability}};

static void answer(const struct validation *v, int i, struct buf *b) {
  if (items[i].say) items[i].say(v, b);
  if (v->tripod.statement[i]) buf_puts(b, items[i].say ? " " : ""), buf_puts(b, v->tripod.statement[i]);
}

int tripod_answered(const struct validation *v) {
  int n = 0;
  for (int i = 0; i < TRIPOD_ITEMS; i++) n += items[i].say || v->tripod.statement[i];
  return n;
}

int tripod_statements_load(const char *path, struct arena *a, struct tripod *out, struct error *e) {
  struct json root, value;
  struct str key;
  TRY(json_load(a, path, &root, e));
  struct json_iter it = json_members(root);
  if (json_kind(root) != JSON_OBJECT) return error_set(e, E_INPUT, "an object is expected: item number to statement");
  while (json_next_member(&it, &key, &value)) {
    int64_t item;
    struct str s = json_str(value);
    if (str_to_i64(key, &item) < 0 || item < 1 || item > TRIPOD_ITEMS || !s.p || s.n > 4000)
      return error_set(e, E_INPUT, "items are \"1\" to \"27\", statements are texts of at most 4000 bytes");
    out->statement[item - 1] = arena_strndup(a, s.p, s.n);
    if (!out->statement[item - 1]) return error_set(e, E_NOMEM, "out of memory");
  }
  return OK;
}

void tripod_json(const struct validation *v, struct json_out *o) {
  json_out_key(o, "tripod_ai");
  json_out_object(o);
  json_kv_i64(o, "answered", tripod_answered(v));
  json_kv_i64(o, "of", TRIPOD_ITEMS);
  json_out_key(o, "items");
  json_out_array(o);
  for (int i = 0; i < TRIPOD_ITEMS; i++) {
    struct buf b = {0};
    answer(v, i, &b);
    json_out_object(o);
    json_kv_i64(o, "item", i + 1);
    json_kv_c(o, "topic", items[i].topic);
    json_out_key(o, "answer");
    if (b.n)
      json_out_str(o, (struct str){b.p, b.n});
    else
      json_out_null(o);
    json_kv_bool(o, "stated_by_the_hospital", v->tripod.statement[i] != NULL);
    json_out_end(o);
    buf_release(&b);
  }
  json_out_end(o);
  json_out_end(o);
}

void tripod_html(const struct validation *v, struct buf *b) {
  buf_printf(b,
             "<h2>TRIPOD+AI</h2><p>%d of %d items answered; the others only people can answer (policy/tripod.json of the "
             "site).</p><table><tr><th>item<th>topic<th>answer",
             tripod_answered(v), TRIPOD_ITEMS);
  for (int i = 0; i < TRIPOD_ITEMS; i++) {
    struct buf text = {0};
    answer(v, i, &text);
    buf_printf(b, "<tr><td class=n>%d<td>%s<td>", i + 1, items[i].topic);
    if (text.n)
      buf_html(b, (struct str){text.p, text.n});
    else
      buf_puts(b, "<span class=bad>not stated</span>");
    buf_release(&text);
  }
  buf_puts(b, "</table>");
}
