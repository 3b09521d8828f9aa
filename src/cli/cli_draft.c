/* vitae draft: a visit summary, referral letter or discharge summary from the timeline, with citations */
#include "base/json.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_draft.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "model/model.h"
#include "predict/predict.h"
#include "reason/ask.h"
#include "reason/draft.h"
#include "timeline/task.h"
#include "timeline/timeline.h"

enum { RISKS_MOST = 16 };
static const struct cli_option options[] = {
    {"subject", CLI_TEXT, "S", "about whom: a pseudonym"},
    {"kind", CLI_TEXT, "KIND", "visit, referral, discharge, or a document of --documents"},
    {"documents", CLI_TEXT, "FILE", "documents of the site's own (default: the shipped knowledge/drafts.json)"},
    {"task", CLI_TEXT, "TASK", "a question to the model, answered in the document; may be given several times, separated by commas"},
    {"model", CLI_TEXT, "VERSION", "whose answers they are (default: the newest); only with --task"},
    {"reviews", CLI_FLAG, NULL, "instead: what clinicians made of drafts, by pattern, from the inbox; counts, no words"},
    {0}};

struct risks {
  struct model *m;
  struct predictor *p;
  struct task *task[RISKS_MOST];
  struct prediction answer[RISKS_MOST];
  struct draft_risk risk[RISKS_MOST];
  char dir[4096], id[65];
  int n;
};
static void risks_release(struct risks *r) {
  for (int i = 0; i < r->n; i++) task_free(r->task[i]);
  if (r->p) predictor_free(r->p);
  if (r->m) model_free(r->m);
}
static int risks_ask(struct cli *c, const struct site *s, const struct timeline *t, uint32_t index, struct risks *r, struct arena *a,
                     struct error *e) {
  struct str names = str_c(cli_text(c, "task", NULL));
  char name[128];
  if (!names.n) return cli_text(c, "model", NULL) ? error_set(e, E_USAGE, "--model is of use with --task only") : OK;
  TRY(cli_model(s, cli_text(c, "model", NULL), &r->m, r->dir, r->id, e));
  TRY(predictor_new(r->m, t, &r->p, e));
  while (names.n && r->n < RISKS_MOST) {
    struct str one = str_cut(&names, ',');
    snprintf(name, sizeof name, "%.*s", STR_ARG(one));
    TRY(cli_task(s, name, &r->task[r->n], e));
    struct prediction *p = &r->answer[r->n];
    r->risk[r->n] = (struct draft_risk){str_c(task_title(r->task[r->n])), p};
    r->n++;
    TRY(predict(r->p, index,
                &(struct predict_options){.task = r->task[r->n - 1], .time = INT64_MAX, .explain = 3, .outcomes = 1, .seed = 1}, a, p, e));
  }
  return names.n ? error_set(e, E_USAGE, "at most %d tasks", RISKS_MOST) : OK;
}

static int write_draft(struct cli *c, const struct site *s, const struct timeline *t, struct error *e) {
  int64_t id;
  uint32_t index;
  struct asker *k = NULL;
  struct drafter *d = NULL;
  struct draft r;
  struct risks risks = {0};
  struct arena a;
  struct buf b = {0};
  struct json_out o;
  if (str_to_i64(str_c(cli_text(c, "subject", "")), &id) < 0) return error_set(e, E_USAGE, "--subject is a number: a pseudonym");
  TRY(timeline_find(t, id, &index, e));
  arena_init(&a, 512 << 20, 0);
  int rc = asker_new(t, &k, e);
  if (rc == OK) rc = drafter_new(k, cli_text(c, "documents", NULL), &d, e);
  if (rc == OK) rc = risks_ask(c, s, t, index, &risks, &a, e);
  struct draft_model m = {risks.n ? str_c(risks.id) : STR_NONE, risks.risk, risks.n};
  if (rc == OK) rc = draft_write(d, index, str_c(cli_text(c, "kind", "visit")), &m, &a, &r, e);
  if (rc == OK && c->json) {
    json_out_init(&o, &b, false);
    draft_json(d, index, &r, &o);
    rc = cli_print_json(&b, e);
  } else if (rc == OK) {
    draft_print(&r, &b);
    rc = buf_check(&b, e);
    if (rc == OK) fwrite(b.p, 1, b.n, stdout);
  }
  buf_release(&b);
  risks_release(&risks);
  drafter_free(d);
  asker_free(k);
  arena_free(&a);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  struct site s;
  struct timeline *t;
  TRY(site_open(c->arg[0], &s, e));
  if (cli_flag(c, "reviews")) return cli_draft_reviews(c, &s, e);
  TRY(cli_store(&s, &t, e));
  int rc = write_draft(c, &s, t, e);
  timeline_close(t);
  return rc;
}

const struct command command_draft = {"draft",
                                      "SITE --subject S --kind KIND",
                                      "a visit summary, referral letter or discharge summary from the timeline, with citations",
                                      options,
                                      1,
                                      1,
                                      run};
