/* vitae diagnose: step by step, at a cost; a case from a file, a person at the terminal, a transcript run again, or many cases measured */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json_lines.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "reason/gatekeeper.h"
#include "reason/sequential.h"

static const struct cli_option options[] = {
    {"diagnoses", CLI_TEXT, "FILE", "what is known of diseases, JSON lines; instead of the shipped file"},
    {"actions", CLI_TEXT, "FILE", "questions, examinations, tests and their costs; instead of the shipped file"},
    {"words", CLI_TEXT, "FILE", "how common words are in cases; instead of the shipped file"},
    {"budget", CLI_NUMBER, "X:>0..", "never spend more (no limit)"},
    {"worth", CLI_NUMBER, "X:>0..", "what a certain right diagnosis is worth (5000): more means more tests"},
    {"policy", CLI_TEXT, "P", "informed | fixed | everything (informed)"},
    {"transcript", CLI_TEXT, "FILE", "write what was said, the odds and the costs"},
    {"verify", CLI_TEXT, "FILE", "run a transcript again and compare"},
    {"evaluate", CLI_TEXT, "FILE", "cases as JSON lines: accuracy and cost by policy and budget"},
    {"fit", CLI_TEXT, "FILE", "with --evaluate: learn the words' file from all its cases and write it"},
    {0}};

static const char *const policies[] = {"informed", "fixed", "everything"};

static int options_of(const struct cli *c, struct sequential_options *o, struct error *e) {
  const char *policy = cli_text(c, "policy", policies[0]);
  int at = 0;
  while (at < 3 && strcmp(policy, policies[at]) != 0) at++;
  if (at == 3) return error_set(e, E_USAGE, "--policy: expected informed, fixed or everything");
  *o = (struct sequential_options){
      .budget = cli_number(c, "budget", 0), .worth = cli_number(c, "worth", 0), .policy = (enum sequential_policy)at};
  return OK;
}

/* ---- one case ---- */

static void print_odds(const struct sequential *k, const struct sequential_session *s, int most) {
  int shown[8], n = 0;
  for (int d = 0; d < sequential_diseases(k); d++) {
    double p = sequential_probability(s, d);
    if (p < 0.005 || (n == most && p <= sequential_probability(s, shown[n - 1]))) continue;
    int at = n < most ? n++ : n - 1;
    while (at > 0 && sequential_probability(s, shown[at - 1]) < p) shown[at] = shown[at - 1], at--;
    shown[at] = d;
  }
  for (int i = 0; i < n; i++)
    printf("%s%.*s %.0f %%", i ? ", " : "      ", STR_ARG(sequential_disease(k, shown[i])), 100 * sequential_probability(s, shown[i]));
  printf("\n");
}
static int finish(struct cli *c, const struct sequential *k, const struct sequential_session *s, const char *why, struct error *e) {
  struct buf b = {0};
  int first = sequential_first(s);
  int rc = sequential_transcript(s, &b, e);
  const char *path = cli_text(c, "transcript", NULL);
  if (rc == OK && path) rc = file_write_atomic(path, b.p, b.n, 0600, e);
  if (rc == OK && c->json) rc = cli_print_json(&b, e);
  if (rc == OK && !c->json)
    printf("stopped (%s): %.*s, %.0f %%, after %d steps and %.0f %.*s\n",
           strcmp(why, "worth") == 0    ? "nothing more is worth its price"
           : strcmp(why, "budget") == 0 ? "the budget"
           : strcmp(why, "left") == 0   ? "the answers ended"
                                        : "everything was asked",
           STR_ARG(sequential_disease(k, first)), 100 * sequential_probability(s, first), sequential_steps(s), sequential_spent(s),
           STR_ARG(sequential_currency(k)));
  buf_release(&b);
  return rc;
}
/* A line from the terminal; E_END at its end */
static int ask_person(const struct cli *c, const char *prompt, char *line, size_t most, struct str *out) {
  FILE *to = c->json ? stderr : stdout; /* standard output is the transcript's alone */
  fprintf(to, "%s", prompt);
  fflush(to);
  if (!fgets(line, (int)most, stdin)) return E_END;
  *out = str_trim(str_c(line));
  return OK;
}
static int converse(struct cli *c, const struct sequential *k, const struct gatekeeper *g, struct arena *a, struct error *e) {
  struct sequential_options o;
  struct sequential_session *s;
  struct sequential_choice next = {.action = -1, .why = "asked"};
  char line[8192], prompt[512];
  struct str opening = g ? g->opening : STR_NONE;
  TRY(options_of(c, &o, e));
  if (!g && (ask_person(c, "Who comes, and with what? ", line, sizeof line, &opening) < 0 || opening.n == 0))
    return error_set(e, E_USAGE, "expected a complaint");
  TRY(sequential_begin(k, &o, opening, a, &s, e));
  for (;;) {
    if (!c->json) print_odds(k, s, 4);
    TRY(sequential_choose(s, &next, e));
    if (next.action < 0) break;
    const struct sequential_action *x = sequential_action(k, next.action);
    struct str answer = g ? g->answer[next.action] : STR_NONE;
    snprintf(prompt, sizeof prompt, "[%.0f] %.*s%s", sequential_spent(s) + x->cost, STR_ARG(x->name), g ? "" : "? ");
    if (!g && ask_person(c, prompt, line, sizeof line, &answer) < 0) break;
    if (g && !c->json) printf("%s: %s\n", prompt, answer.n ? "answered" : "nothing on record");
    TRY(sequential_hear(s, next.action, answer, e));
  }
  if (next.action >= 0) sequential_leave(s);
  return finish(c, k, s, next.action < 0 ? next.why : "left", e);
}
static int one_case(struct cli *c, const struct sequential *k, struct error *e) {
  struct arena a;
  struct json root;
  struct gatekeeper *g = NULL;
  int rc = OK;
  arena_init(&a, 256 << 20, 0);
  if (c->args) {
    g = arena_array(&a, struct gatekeeper, 1);
    rc = g ? json_load(&a, c->arg[0], &root, e) : error_set(e, E_NOMEM, "no memory for a case");
    if (rc == OK && (rc = gatekeeper_open(k, root, &a, g, e)) < 0) error_where(e, c->arg[0], 0, NULL);
  }
  if (rc == OK) rc = converse(c, k, g, &a, e);
  arena_free(&a);
  return rc;
}

static int verify(struct cli *c, const struct sequential *k, const char *path, struct error *e) {
  struct arena a;
  struct json root;
  struct str text;
  struct buf again = {0};
  arena_init(&a, 256 << 20, 0);
  int rc = file_read(&a, path, 64 << 20, &text, e);
  if (rc == OK) rc = json_load(&a, path, &root, e);
  if (rc == OK) rc = sequential_replay(k, root, &again, e);
  if (rc == OK && !str_eq(str_trim(text), str_trim((struct str){again.p, again.n})))
    rc = error_set(e, E_CORRUPT, "run again, the session gives another transcript: odds, costs or hashes were changed");
  if (rc < 0) error_where(e, path, 0, NULL);
  if (rc == OK && !c->json) printf("%s: run again with the same outcome, hashes hold\n", path);
  buf_release(&again);
  arena_free(&a);
  return rc;
}

/* ---- many ---- */

enum { FOLDS = 5 };
struct trial { /* one case of the measuring */
  struct gatekeeper g;
  int truth, fold;
};
struct habits { /* of the records: how often an answer is there, by kind: see sequential_options */
  double shown[3], other[3];
};

static int load_trials(const struct sequential *k, const char *path, struct arena *a, struct trial **out, int *n, struct error *e) {
  struct json_lines l;
  struct json root;
  int cap = 4096, rc;
  *n = 0;
  *out = arena_array(a, struct trial, (size_t)cap);
  if (!*out) return error_set(e, E_NOMEM, "no memory for cases");
  TRY(json_lines_open(&l, path, e));
  while ((rc = json_lines_next(&l, &root, e)) == OK) {
    struct trial *t = &(*out)[*n];
    rc = *n < cap ? gatekeeper_open(k, root, a, &t->g, e) : error_set(e, E_LIMIT, "more than %d cases", cap);
    if (rc < 0) break;
    t->truth = sequential_disease_find(k, t->g.truth);
    /* by what it turned out to be, so that retellings of one case fall together */
    struct str name = t->truth >= 0 ? sequential_disease(k, t->truth) : t->g.truth;
    t->fold = (int)(hash64(name.p, name.n, 0) % FOLDS);
    ++*n;
  }
  return json_lines_close(&l, rc, e);
}

static int run_trial(const struct sequential *k, const struct trial *t, const struct sequential_options *o, struct arena *a,
                     struct sequential_session **out, struct error *e) {
  struct sequential_choice c;
  TRY(sequential_begin(k, o, t->g.opening, a, out, e));
  for (;;) {
    TRY(sequential_choose(*out, &c, e));
    if (c.action < 0) return OK;
    TRY(sequential_hear(*out, c.action, t->g.answer[c.action], e));
  }
}
static double log_share(const double *score, int n, int at, double scale) {
  double top = score[at];
  for (int i = 0; i < n; i++) top = fmax(top, score[i]);
  double sum = exp(scale * (score[at] - top));
  for (int i = 0; i < n; i++) sum += i == at ? 0 : exp(scale * (score[i] - top));
  return scale * (score[at] - top) - log(sum);
}
/* On record or not, of actions where the case's disease has something on file and where not: counts[on file][kind][on record] */
static void count_records(const struct sequential *k, const struct trial *t, double counts[2][3][2]) {
  for (int j = 0; j < sequential_actions(k); j++)
    counts[sequential_shows(k, t->truth, j)][sequential_action(k, j)->kind][t->g.answer[j].n > 0] += 1;
}
/* All that a case says, as one document */
static int whole_text(const struct sequential *k, const struct trial *t, struct arena *a, struct str *out, struct error *e) {
  struct buf b = {0};
  buf_str(&b, t->g.opening);
  for (int j = 0; j < sequential_actions(k); j++) {
    buf_puts(&b, ". ");
    buf_str(&b, t->g.answer[j]);
  }
  int rc = buf_check(&b, e);
  if (rc == OK) *out = str_copy(a, (struct str){b.p, b.n});
  buf_release(&b);
  return rc == OK && !out->p ? error_set(e, E_NOMEM, "no memory for cases") : rc;
}
/* Runs every trained case to its end: the scores of all diseases, the truth, how much of the truth's words was said */
static int run_all(const struct sequential *k, const struct trial *t, int n, int out_fold, double *score, int *truth, int *used,
                   double *echo, struct error *e) {
  const struct sequential_options o = {.policy = SEQUENTIAL_EVERYTHING};
  int diseases = sequential_diseases(k), rc = OK;
  double all = 1, had = 0.5;
  struct arena a;
  arena_init(&a, 256 << 20, 0);
  *used = 0;
  for (int i = 0; i < n && rc == OK; i++) {
    struct sequential_session *s;
    int filed, heard;
    if (t[i].fold == out_fold || t[i].truth < 0) continue;
    rc = run_trial(k, &t[i], &o, &a, &s, e);
    if (rc < 0) break;
    for (int d = 0; d < diseases; d++) score[*used * diseases + d] = sequential_score(s, d);
    truth[(*used)++] = t[i].truth;
    sequential_echo(s, t[i].truth, &filed, &heard);
    all += filed;
    had += heard;
    arena_reset(&a);
  }
  *echo = had / all;
  arena_free(&a);
  return rc;
}
/* From the cases of the other folds: how common words are, how much of the textbook a case echoes, how sharp the odds may be (the likeliest scale), how
 * often answers are on record. The knowledge uses it from here on; `json` is the words' file. */
static int learn(struct sequential *k, const struct trial *t, int n, int out_fold, struct habits *h, struct buf *json, struct error *e) {
  int diseases = sequential_diseases(k), used = 0, texts = 0;
  double counts[2][3][2] = {{{0}}}, echo = 0.3, best = -INFINITY, likeliest = 1;
  struct arena a;
  arena_init(&a, 256 << 20, 0);
  double *score = arena_array(&a, double, (size_t)n *(size_t)diseases + 1);
  int *truth = arena_array(&a, int, (size_t)n + 1);
  struct str *text = arena_array(&a, struct str, (size_t)n + 1);
  int rc = score && truth && text ? OK : error_set(e, E_NOMEM, "no memory for cases");
  for (int i = 0; i < n && rc == OK; i++) {
    if (t[i].fold == out_fold) continue;
    rc = whole_text(k, &t[i], &a, &text[texts++], e);
    if (rc == OK && t[i].truth >= 0) count_records(k, &t[i], counts);
  }
  for (int round = 0; round < 3 && rc == OK; round++) { /* the echo, then the scale, need the round before */
    buf_clear(json);
    rc = sequential_count(k, text, texts, echo, likeliest, json, e);
    if (rc == OK) rc = sequential_use(k, json->p, json->n, e);
    if (rc == OK && round < 2) rc = run_all(k, t, n, out_fold, score, truth, &used, &echo, e);
    if (round != 1) continue;
    for (double scale = 0.02; rc == OK && used && scale < 3; scale *= 1.1) {
      double sum = 0;
      for (int i = 0; i < used; i++) sum += log_share(score + (size_t)i * (size_t)diseases, diseases, truth[i], scale);
      if (sum > best) best = sum, likeliest = scale;
    }
  }
  for (int j = 0; j < 3; j++) {
    h->shown[j] = (counts[1][j][1] + 0.5) / (counts[1][j][0] + counts[1][j][1] + 1);
    h->other[j] = (counts[0][j][1] + 0.5) / (counts[0][j][0] + counts[0][j][1] + 1);
  }
  arena_free(&a);
  return rc;
}

#define NO_STOP 1e9 /* a value of certainty that no price outweighs */
static void json_row(struct json_out *o, const struct trial *t, int at, const struct sequential_session *s, const struct sequential *k,
                     enum sequential_policy policy, double budget, double worth) {
  int rank = 0;
  double p = t->truth >= 0 ? sequential_probability(s, t->truth) : 0;
  for (int d = 0; t->truth >= 0 && d < sequential_diseases(k); d++) rank += sequential_probability(s, d) > p;
  json_out_object(o);
  json_kv_i64(o, "case", at);
  json_kv_i64(o, "group", t->truth);
  json_kv_c(o, "policy", policies[policy]);
  if (budget > 0) json_kv_f64(o, "budget", budget);
  if (policy == SEQUENTIAL_INFORMED && worth < NO_STOP) json_kv_f64(o, "worth", worth);
  json_kv_f64(o, "spent", sequential_spent(s));
  json_kv_i64(o, "steps", sequential_steps(s));
  json_kv_bool(o, "right", gatekeeper_judge(k, &t->g, sequential_first(s)));
  json_kv_i64(o, "rank", t->truth >= 0 ? rank + 1 : 0);
  json_kv_f64(o, "first", sequential_probability(s, sequential_first(s)));
  json_out_end(o);
}
/* The plans compared: nothing asked, budgets for both orders, values of certainty for the informed one, everything once */
#define BUDGETS(policy, worth)                                                                                                      \
  {policy, 25, worth}, {policy, 50, worth}, {policy, 100, worth}, {policy, 200, worth}, {policy, 400, worth}, {policy, 800, worth}, \
      {policy, 1600, worth}, {                                                                                                      \
    policy, 3200, worth                                                                                                             \
  }
static const struct {
  enum sequential_policy policy;
  double budget, worth;
} plans[] = {{SEQUENTIAL_FIXED, 1, 0},         BUDGETS(SEQUENTIAL_FIXED, 0),      BUDGETS(SEQUENTIAL_INFORMED, NO_STOP),
             {SEQUENTIAL_INFORMED, 0, 100},    {SEQUENTIAL_INFORMED, 0, 300},     {SEQUENTIAL_INFORMED, 0, 1000},
             {SEQUENTIAL_INFORMED, 0, 3000},   {SEQUENTIAL_INFORMED, 0, 10000},   {SEQUENTIAL_INFORMED, 0, 30000},
             {SEQUENTIAL_INFORMED, 0, 100000}, {SEQUENTIAL_INFORMED, 0, 1000000}, {SEQUENTIAL_INFORMED, 0, 100000000},
             {SEQUENTIAL_EVERYTHING, 0, 0}};
enum { PLANS = sizeof plans / sizeof *plans };

static int evaluate(struct cli *c, struct sequential *k, const char *path, struct error *e) {
  struct arena keep, a;
  struct trial *t;
  struct buf b = {0};
  struct json_out o;
  double right[PLANS] = {0}, spent[PLANS] = {0};
  int n = 0;
  arena_init(&keep, 1 << 30, 0);
  arena_init(&a, 256 << 20, 0);
  json_out_init(&o, &b, false);
  json_out_object(&o);
  int rc = load_trials(k, path, &keep, &t, &n, e);
  if (rc == OK && n < 2 * FOLDS) rc = error_set(e, E_INPUT, "%s: too few cases", path);
  json_kv_i64(&o, "cases", n);
  json_kv_i64(&o, "candidates", sequential_diseases(k));
  json_out_key(&o, "rows");
  json_out_array(&o);
  for (int f = 0; f < FOLDS && rc == OK; f++) {
    struct habits h;
    struct buf words = {0};
    rc = learn(k, t, n, f, &h, &words, e);
    buf_release(&words);
    for (int p = 0; p < PLANS && rc == OK; p++)
      for (int i = 0; i < n && rc == OK; i++) {
        struct sequential_options so = {.budget = plans[p].budget, .worth = plans[p].worth, .policy = plans[p].policy};
        struct sequential_session *s;
        if (t[i].fold != f) continue;
        memcpy(so.shown, h.shown, sizeof so.shown);
        memcpy(so.other, h.other, sizeof so.other);
        rc = run_trial(k, &t[i], &so, &a, &s, e);
        if (rc < 0) break;
        json_row(&o, &t[i], i, s, k, plans[p].policy, plans[p].budget, plans[p].worth);
        right[p] += gatekeeper_judge(k, &t[i].g, sequential_first(s));
        spent[p] += sequential_spent(s);
        arena_reset(&a);
      }
  }
  json_out_end(&o);
  json_out_end(&o);
  if (rc == OK && c->json) rc = cli_print_json(&b, e);
  if (rc == OK && !c->json) {
    struct table table;
    char cell[5][32];
    table_init(&table, 5, "policy", "budget", "worth", "right", "mean cost");
    for (int p = 0; p < PLANS; p++) {
      cell[1][0] = cell[2][0] = 0;
      if (plans[p].budget > 0) snprintf(cell[1], 32, "%.0f", plans[p].budget);
      if (plans[p].policy == SEQUENTIAL_INFORMED && plans[p].worth < NO_STOP) snprintf(cell[2], 32, "%.0f", plans[p].worth);
      snprintf(cell[3], 32, "%.1f %%", 100 * right[p] / n);
      snprintf(cell[4], 32, "%.0f", spent[p] / n);
      table_row(&table, policies[plans[p].policy], cell[1], cell[2], cell[3], cell[4]);
    }
    table_print(&table, stdout);
    table_release(&table);
  }
  buf_release(&b);
  arena_free(&a);
  arena_free(&keep);
  return rc;
}

static int fit(struct sequential *k, const char *path, const char *to, struct error *e) {
  struct arena a;
  struct trial *t;
  struct habits h;
  struct buf json = {0};
  int n = 0;
  arena_init(&a, 1 << 30, 0);
  int rc = load_trials(k, path, &a, &t, &n, e);
  if (rc == OK) rc = learn(k, t, n, -1, &h, &json, e);
  if (rc == OK) buf_puts(&json, "\n");
  if (rc == OK) rc = file_write_atomic(to, json.p, json.n, 0644, e);
  buf_release(&json);
  arena_free(&a);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  struct sequential *k;
  const char *again = cli_text(c, "verify", NULL), *many = cli_text(c, "evaluate", NULL), *to = cli_text(c, "fit", NULL);
  if (to && !many) return error_set(e, E_USAGE, "--fit: learned from the cases of --evaluate");
  TRY(sequential_open(&(struct sequential_files){cli_text(c, "diagnoses", NULL), cli_text(c, "actions", NULL), cli_text(c, "words", NULL)},
                      &k, e));
  int rc = again ? verify(c, k, again, e) : to ? fit(k, many, to, e) : many ? evaluate(c, k, many, e) : one_case(c, k, e);
  sequential_free(k);
  return rc;
}

const struct command command_diagnose = {
    "diagnose", "[CASE.json]", "step by step: ask, examine, test at a cost, stop in time", options, 0, 1, run};
