/* vitae simulate OUT: made-up patients whose hazards are known, and what is true of them; --score holds a model against that truth. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_identity.h"
#include "cli/cli_site.h"
#include "deid/deid.h"
#include "govern/site.h"
#include "model/model.h"
#include "timeline/timeline.h"
#include "validate/simulate.h"
#include "validate/truth.h"

static const struct cli_option options[] = {
    {"scenario", CLI_TEXT, "NAME", "competing, constant, or your own file (default: competing; docs/simulator.md)"},
    {"n", CLI_INTEGER, "N:1..100000000", "how many persons (default 10000)"},
    {"seed", CLI_INTEGER, "N", "the same seed makes the same persons (default 1)"},
    {"score", CLI_TEXT, "SITE", "a site that ingested OUT/meds: hold its model against the truth, on held-out persons"},
    {"model", CLI_TEXT, "VERSION", "with --score: which version (default: the newest)"},
    {"futures", CLI_INTEGER, "N:0..100000", "with --score: sampled futures a person, against the closed form (default 0)"},
    {"persons", CLI_INTEGER, "N:0..1000000", "with --futures: how many persons (default 200)"},
    {"days", CLI_NUMBER, "N:>0..", "with --futures: their horizon, one of the scenario's (default 365)"},
    {"passphrase-file", CLI_TEXT, "FILE", "with --score: opens a vault that is protected by a passphrase"},
    {0}};

static int say(struct cli *c, const struct scenario *s, int64_t n, const struct simulate_counts *counts, struct error *e) {
  if (!c->json) {
    char persons[32], events[32];
    human_thousands(n, persons);
    human_thousands((int64_t)counts->events, events);
    printf("%s persons, %s events in %s/meds; truth in %s/truth.csv\n", persons, events, c->arg[0], c->arg[0]);
    for (int k = 0; k < scenario_outcomes(s); k++)
      printf("  %-24s in %llu records\n", scenario_outcome(s, k), (unsigned long long)counts->outcomes[k]);
    printf("Next: vitae ingest SITE %s/meds --from meds; copy %s/tasks/*.json to SITE/tasks/\n", c->arg[0], c->arg[0]);
    return OK;
  }
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "scenario", scenario_name(s));
  json_kv_i64(&o, "persons", n);
  json_kv_i64(&o, "events", (int64_t)counts->events);
  json_out_key(&o, "outcomes");
  json_out_object(&o);
  for (int k = 0; k < scenario_outcomes(s); k++) json_kv_i64(&o, scenario_outcome(s, k), (int64_t)counts->outcomes[k]);
  json_out_end(&o);
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

/* ---- --score ---- */

static int read_run(const char *dir, struct scenario **s, int64_t *n, int64_t *seed, struct error *e) {
  char path[4096];
  struct arena a;
  struct json root;
  TRY(file_join(path, sizeof path, dir, "scenario.json", e));
  TRY(scenario_load(path, s, e));
  arena_init(&a, 1 << 22, 0);
  int rc = file_join(path, sizeof path, dir, "simulation.json", e);
  if (rc == OK) rc = json_load(&a, path, &root, e);
  if (rc == OK) rc = json_want_i64(root, "persons", n, e);
  if (rc == OK) rc = json_want_i64(root, "seed", seed, e);
  arena_free(&a);
  if (rc < 0) scenario_free(*s);
  return rc;
}

/* The vault says which subject a made-up person became. */
static int gather(struct cli *c, const struct site *site, const struct timeline *t, const struct scenario *s, struct truth_set *set,
                  int64_t n, int64_t seed, struct error *e) {
  struct vault *v;
  struct simulated_life life = {0};
  TRY(cli_vault(c, site, &v, e));
  int rc = OK;
  for (int64_t i = 1; i <= n && rc == OK; i++) {
    char key[24];
    int64_t pseudonym;
    snprintf(key, sizeof key, "%lld", (long long)i);
    rc = vault_find(v, "meds", str_c(key), &pseudonym, e);
    if (rc == OK) rc = simulate_life(s, (uint64_t)seed, (uint64_t)i, &life, e);
    if (rc == OK) rc = truth_add(set, t, pseudonym, &life.truth, e);
  }
  vault_close(v);
  simulated_life_release(&life);
  return rc;
}

static void pairs_json(struct json_out *o, const char *key, const struct truth_pairs *x) {
  json_out_key(o, key);
  json_out_object(o);
  json_kv_i64(o, "pairs", x->n);
  json_kv_i64(o, "within_error", x->agree);
  json_kv_f64(o, "bias", x->bias);
  json_out_end(o);
}

static void score_json(const struct truth_result *r, struct json_out *o) {
  json_out_object(o);
  json_kv_i64(o, "n", r->n);
  json_out_key(o, "outcomes");
  json_out_array(o);
  for (int k = 0; k < r->outcomes; k++) {
    const struct truth_outcome *x = &r->outcome[k];
    json_out_object(o);
    json_kv_c(o, "code", x->code);
    json_kv_bool(o, "known", x->known);
    json_kv_f64(o, "curve_error", x->known ? x->curve_error : NAN);
    json_kv_f64(o, "person_error", x->known ? x->person_error : NAN);
    json_out_key(o, "horizons");
    json_out_array(o);
    for (int h = 0; x->known && h < r->horizons; h++) {
      const struct truth_horizon *y = &x->at[h];
      json_out_object(o);
      json_kv_f64(o, "days", y->days);
      json_kv_i64(o, "happened", y->happened);
      json_kv_f64(o, "mean_true", y->mean_true);
      json_kv_f64(o, "mean_model", y->mean_model);
      json_kv_f64(o, "auroc_model", y->auroc_model);
      json_kv_f64(o, "auroc_ceiling", y->auroc_ceiling);
      json_kv_f64(o, "auroc_full", y->auroc_full);
      json_kv_f64(o, "slope", y->slope);
      json_kv_f64(o, "intercept", y->intercept);
      json_out_end(o);
    }
    json_out_end(o);
    json_out_end(o);
  }
  json_out_end(o);
  if (r->against_head.n) {
    json_kv_i64(o, "futures", r->futures);
    json_out_key(o, "sampled_against");
    json_out_object(o);
    pairs_json(o, "closed_form", &r->against_head);
    pairs_json(o, "own_law", &r->against_law);
    pairs_json(o, "truth", &r->against_truth);
    json_out_end(o);
  }
  json_out_end(o);
}

static void say_pairs(const char *of, const struct truth_pairs *x) {
  printf("  %-50s %u of %u (%.1f %%), mean difference %+.4f\n", of, x->agree, x->n, 100.0 * x->agree / x->n, x->bias);
}

static void score_table(const struct truth_result *r) {
  struct table t;
  table_init(&t, 9, "outcome", "days", "happened", "mean risk: true", "model", "AUROC: ceiling", "model", "slope", "curve error");
  for (int k = 0; k < r->outcomes; k++)
    for (int h = 0; r->outcome[k].known && h < r->horizons; h++) {
      const struct truth_horizon *y = &r->outcome[k].at[h];
      char cell[8][24];
      snprintf(cell[0], 24, "%.0f", y->days);
      snprintf(cell[1], 24, "%u", y->happened);
      snprintf(cell[2], 24, "%.4f", y->mean_true);
      snprintf(cell[3], 24, "%.4f", y->mean_model);
      snprintf(cell[4], 24, "%.4f", y->auroc_ceiling);
      snprintf(cell[5], 24, "%.4f", y->auroc_model);
      snprintf(cell[6], 24, "%.3f", y->slope);
      snprintf(cell[7], 24, "%.2f %%", 100 * r->outcome[k].curve_error);
      table_row(&t, r->outcome[k].code, cell[0], cell[1], cell[2], cell[3], cell[4], cell[5], cell[6], h + 1 == r->horizons ? cell[7] : "");
    }
  printf("%u held-out persons; closed form against the true risk given the record\n", r->n);
  table_print(&t, stdout);
  table_release(&t);
  if (!r->against_head.n) return;
  printf("%d sampled futures, (person, outcome) pairs within 1.96 Monte-Carlo standard errors\n", r->futures);
  say_pairs("of the closed form (hazard head, learned apart)", &r->against_head);
  say_pairs("of the law that they are drawn from, next instant", &r->against_law);
  say_pairs("of the true risk", &r->against_truth);
}

static int score(struct cli *c, const struct site *site, const struct timeline *t, const struct model *m, struct error *e) {
  struct scenario *s;
  struct truth_set set = {0};
  struct truth_result r;
  struct arena a;
  int64_t n, seed;
  TRY(read_run(c->arg[0], &s, &n, &seed, e));
  arena_init(&a, 0, 0);
  int rc = gather(c, site, t, s, &set, n, seed, e);
  struct truth_options o = {.model = m,
                            .store = t,
                            .scenario = s,
                            .set = &set,
                            .futures = (int)cli_integer(c, "futures", 0),
                            .sampled = (uint32_t)cli_integer(c, "persons", 200),
                            .sampled_days = cli_number(c, "days", 365),
                            .seed = 1};
  if (rc == OK) rc = truth_compare(&o, &a, &r, e);
  if (rc == OK && !c->json) score_table(&r);
  if (rc == OK && c->json) {
    struct buf b = {0};
    struct json_out out;
    json_out_init(&out, &b, false);
    score_json(&r, &out);
    rc = cli_print_json(&b, e);
    buf_release(&b);
  }
  truth_release(&set);
  scenario_free(s);
  arena_free(&a);
  return rc;
}

static int run_score(struct cli *c, struct error *e) {
  struct site site;
  struct timeline *t;
  struct model *m;
  char dir[4096], id[65];
  TRY(site_open(cli_text(c, "score", ""), &site, e));
  TRY(cli_store(&site, &t, e));
  int rc = cli_model(&site, cli_text(c, "model", NULL), &m, dir, id, e);
  if (rc == OK) {
    rc = score(c, &site, t, m, e);
    model_free(m);
  }
  timeline_close(t);
  return rc;
}

static int note_run(const char *dir, const struct scenario *s, int64_t n, int64_t seed, struct error *e) {
  char path[4096], text[256];
  TRY(file_join(path, sizeof path, dir, "simulation.json", e));
  int used = snprintf(text, sizeof text, "{\"scenario\": \"%s\", \"persons\": %lld, \"seed\": %lld}\n", scenario_name(s), (long long)n,
                      (long long)seed);
  return file_write_atomic(path, text, (size_t)used, 0644, e);
}

static int run(struct cli *c, struct error *e) {
  char path[4096];
  struct scenario *s;
  struct simulate_counts counts;
  if (cli_text(c, "score", NULL)) return run_score(c, e);
  int64_t n = cli_integer(c, "n", 10000), seed = cli_integer(c, "seed", 1);
  TRY(site_find(NULL, "scenarios", cli_text(c, "scenario", "competing"), path, e));
  TRY(scenario_load(path, &s, e));
  int rc = simulate_write(s, c->arg[0], (uint64_t)n, (uint64_t)seed, &counts, e);
  if (rc == OK) rc = note_run(c->arg[0], s, n, seed, e);
  if (rc == OK) rc = say(c, s, n, &counts, e);
  scenario_free(s);
  return rc;
}

const struct command command_simulate = {
    "simulate", "OUT", "make patients whose hazards are known, as MEDS, with the truth about each", options, 1, 1, run};
