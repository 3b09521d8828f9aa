/* vitae ask: a question about one patient or the cohort, answered from the timeline with citations */
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_site.h"
#include "cli/cli_speak.h"
#include "govern/site.h"
#include "reason/ask.h"
#include "timeline/timeline.h"

static const struct cli_option options[] = {
    {"subject", CLI_TEXT, "S", "about whom: a pseudonym; without it the question is about the cohort"},
    {"check", CLI_FLAG, NULL, "the text is an answer of somebody else's: check its citations [e12] against the record"},
    {"model", CLI_TEXT, "NAME", "a language model of the site, or a path: it may add sentences that the record supports"},
    {"encoder", CLI_TEXT, "NAME", "an encoder (with --model): events and documents are found by meaning too"},
    {"rounds", CLI_INTEGER, "N:0..8", "tools that the model may use where the record alone gives no answer (1)"},
    {"context", CLI_INTEGER, "TOKENS:1..1000000", "of the record that the model is shown (1000)"},
    {"show-unsupported", CLI_FLAG, NULL, "show what the model said without support, marked"},
    {0}};

static int check(struct cli *c, const struct timeline *t, uint32_t index, struct arena *a, struct error *e) {
  struct citation_check *v;
  int n, bad = 0;
  struct buf b = {0};
  struct json_out o;
  TRY(citation_check_text(t, index, str_c(c->arg[1]), a, &v, &n, e));
  json_out_init(&o, &b, false);
  json_out_array(&o);
  for (int i = 0; i < n; i++) {
    const char *why = citation_stands(&v[i]) ? "stands"
                      : !v[i].cited          ? "cites nothing"
                      : !v[i].exist          ? "cites an event that does not exist"
                      : !v[i].figures        ? "a figure or date is not in the cited events"
                                             : "its words are not in the cited events";
    bad += !citation_stands(&v[i]);
    json_out_object(&o);
    json_kv_str(&o, "sentence", v[i].sentence);
    json_kv_bool(&o, "stands", citation_stands(&v[i]));
    json_kv_c(&o, "finding", why);
    json_out_end(&o);
    if (!c->json) printf("%-44s %.*s\n", why, STR_ARG(v[i].sentence));
  }
  json_out_end(&o);
  int rc = c->json ? cli_print_json(&b, e) : OK;
  buf_release(&b);
  return rc < 0 ? rc : bad ? error_set(e, E_MISMATCH, "%d of %d sentences do not stand", bad, n) : OK;
}

static int speak(struct cli *c, const struct site *s, const struct timeline *t, const struct asker *k, uint32_t index, struct arena *a,
                 struct ask_answer *r, struct error *e) {
  struct cli_voice v = {0};
  struct cli_scope x = {0};
  struct ask_speak_options o = {.rounds = (int)cli_integer(c, "rounds", 1),
                                .context = (int)cli_integer(c, "context", 0),
                                .unsupported = cli_flag(c, "show-unsupported")};
  int rc = cli_voice_open(s, cli_text(c, "model", NULL), cli_text(c, "encoder", NULL), &v, e);
  if (rc == OK) rc = cli_scope_open(s, t, k, index, &v.encoder, &x, e);
  if (rc == OK) rc = ask_speak(&x.scope, &v.speaker, str_c(c->arg[1]), &o, a, r, e);
  cli_scope_close(&x);
  cli_voice_close(&v);
  return rc;
}

static int answer(struct cli *c, const struct site *s, const struct timeline *t, bool one, uint32_t index, struct arena *a,
                  struct error *e) {
  struct asker *k;
  struct ask_answer r;
  struct buf b = {0};
  struct json_out o;
  TRY(asker_new(t, &k, e));
  int rc = cli_text(c, "model", NULL) ? speak(c, s, t, k, index, a, &r, e)
           : one                      ? ask(k, index, str_c(c->arg[1]), a, &r, e)
                                      : ask_cohort(k, str_c(c->arg[1]), a, &r, e);
  if (rc == OK && c->json) {
    json_out_init(&o, &b, false);
    ask_json(k, index, &r, &o);
    rc = cli_print_json(&b, e);
  } else if (rc == OK) {
    ask_print(&r, &b);
    rc = buf_check(&b, e);
    if (rc == OK) fwrite(b.p, 1, b.n, stdout);
  }
  buf_release(&b);
  asker_free(k);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  const char *subject = cli_text(c, "subject", NULL);
  int64_t id;
  uint32_t index = 0;
  struct site s;
  struct timeline *t;
  struct arena a;
  if (subject && str_to_i64(str_c(subject), &id) < 0) return error_set(e, E_USAGE, "a subject is a number: its pseudonym");
  if (cli_text(c, "model", NULL) ? !subject || cli_flag(c, "check") : cli_text(c, "encoder", NULL) != NULL)
    return error_set(e, E_USAGE, "--model goes with --subject and without --check, --encoder with --model");
  if (!subject && cli_flag(c, "check")) return error_set(e, E_USAGE, "--check needs --subject");
  TRY(site_open(c->arg[0], &s, e));
  TRY(cli_store(&s, &t, e));
  arena_init(&a, 256 << 20, 0);
  int rc = subject ? timeline_find(t, id, &index, e) : OK;
  if (rc == OK) rc = cli_flag(c, "check") ? check(c, t, index, &a, e) : answer(c, &s, t, subject != NULL, index, &a, e);
  arena_free(&a);
  timeline_close(t);
  return rc;
}

const struct command command_ask = {
    "ask", "SITE \"QUESTION\"", "a question about a patient or the cohort, answered with citations", options, 2, 2, run};
