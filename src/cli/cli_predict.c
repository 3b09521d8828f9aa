/* vitae predict SITE --subject S: three ways to one number, and why. */
#include "base/progress.h"
#include "base/thread.h"
#include "cli/cli_commands.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "model/model.h"
#include "predict/predict.h"
#include "timeline/task.h"
#include "timeline/timeline.h"

static const struct cli_option options[] = {
    {"subject", CLI_TEXT, "S", "pseudonym, as in: vitae show SITE"},
    {"task", CLI_TEXT, "TASK", "what to predict; without it: the most likely outcomes"},
    {"model", CLI_TEXT, "VERSION", "version, its first letters, its state, or a checkpoint directory (default: the newest)"},
    {"at", CLI_TEXT, "TIME", "the moment (default: the end of the record); nothing later is used"},
    {"futures", CLI_INTEGER, "N:0..100000", "sampled futures (default 0)"},
    {"horizon", CLI_TEXT, "SPAN", "of the futures, as 30d or 1y (default: the task's)"},
    {"explain", CLI_INTEGER, "N:0..1000", "contributing events (default 5)"},
    {"change", CLI_INTEGER, "N:0..24", "values that would have made a lower answer (association, not effect; default 0)"},
    {"outcomes", CLI_INTEGER, "N:0..1000", "likely outcomes listed (default 10)"},
    {"seed", CLI_INTEGER, "N", "of the futures (default 1)"},
    {"threads", CLI_INTEGER, "N:1..1024", "for the futures (default: this machine's cores); the answer is the same for any number"},
    {0}};

static int answer(struct cli *c, const struct model *m, const struct timeline *t, const struct task *task, struct error *e) {
  int64_t subject, horizon = 0;
  uint32_t index;
  struct predictor *p;
  struct prediction r;
  struct predict_options o = {.task = task, .time = INT64_MAX};
  if (str_to_i64(str_c(cli_text(c, "subject", "")), &subject) < 0)
    return error_set(e, E_USAGE, "--subject is a number: a pseudonym, as in: vitae show %s", c->arg[0]);
  TRY(timeline_find(t, subject, &index, e));
  if (cli_text(c, "at", NULL)) {
    struct time_parts parts;
    TRY(time_parse(str_c(cli_text(c, "at", NULL)), &parts, &o.time, e));
  }
  if (cli_text(c, "horizon", NULL)) TRY(time_parse_duration(str_c(cli_text(c, "horizon", NULL)), &horizon, e));
  if (cli_text(c, "horizon", NULL) && horizon <= 0) return error_set(e, E_USAGE, "--horizon is a span of time to come");
  o.futures = (int)cli_integer(c, "futures", 0);
  o.explain = o.reasons = (int)cli_integer(c, "explain", 5);
  o.change = (int)cli_integer(c, "change", 0);
  o.outcomes = (int)cli_integer(c, "outcomes", 10);
  if (!o.outcomes) o.outcomes = -1;
  o.seed = (uint64_t)cli_integer(c, "seed", 1);
  o.threads = (int)cli_integer(c, "threads", thread_cores());
  o.horizon_days = (double)horizon / (double)TIME_DAY;
  TRY(predictor_new(m, t, &p, e));
  struct arena a;
  struct buf b = {0};
  arena_init(&a, 1u << 30, 0);
  int rc = predict(p, index, &o, &a, &r, e);
  if (rc == OK && c->json) {
    struct json_out out;
    json_out_init(&out, &b, false);
    prediction_json(&r, &out);
    rc = cli_print_json(&b, e);
  } else if (rc == OK) {
    prediction_print(&r, term_width(1), term_colour(1), &b);
    rc = buf_check(&b, e);
    if (rc == OK) fwrite(b.p, 1, b.n, stdout);
  }
  buf_release(&b);
  arena_free(&a);
  predictor_free(p);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  struct site s;
  struct timeline *t;
  struct task *task = NULL;
  struct model *m = NULL;
  char dir[4096], id[65];
  TRY(site_open(c->arg[0], &s, e));
  if (!cli_text(c, "subject", NULL)) return error_set(e, E_USAGE, "--subject is missing; subjects are listed by: vitae show %s", c->arg[0]);
  TRY(cli_store(&s, &t, e));
  int rc = cli_text(c, "task", NULL) ? cli_task(&s, cli_text(c, "task", NULL), &task, e) : OK;
  if (rc == OK) rc = cli_model(&s, cli_text(c, "model", NULL), &m, dir, id, e);
  if (rc == OK) rc = answer(c, m, t, task, e);
  if (m) model_free(m);
  if (task) task_free(task);
  timeline_close(t);
  return rc;
}

const struct command command_predict = {
    "predict", "SITE --subject S", "what is likely for one patient, by when, why, how sure", options, 1, 1, run};
