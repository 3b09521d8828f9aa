/* What a card says: how likely, by when, how sure, why. Texts are the site's (serve_cds_services.c); numbers the model's. */
#include <math.h>
#include <string.h>

#include "base/time.h"
#include "predict/predict.h"
#include "predict/uncertainty.h"
#include "serve/engine.h"
#include "serve/serve_cds.h"
#include "serve/serve_ehr.h"
#include "timeline/task.h"
#include "vitae.h"

enum { SUMMARY_MOST = 139, OUTCOMES_ASKED = 500 };
static const char *const level_name[CDS_LEVELS] = {"info", "warning", "critical"};

struct card { /* one card in the making */
  const struct cds_rule *rule;
  const struct task *task; /* NULL: of an outcome */
  struct str title;
  double probability, lo, hi; /* lo NaN: no range */
  char horizon[64];
  int level;
};

bool cds_late(const struct call *c) { return time_monotonic() - c->began > c->server->cds->budget; }

void cds_miss(struct call *c) {
  buf_clear(&c->out);
  buf_puts(&c->out, "{\"cards\":[]}");
  c->status = 200;
  c->tokens_out = 0;
  atomic_fetch_add(&c->server->n.cds_misses, 1);
}

/* ---- words ---- */

static void put_percent(struct buf *b, double p) {
  if (p < 0.001)
    buf_puts(b, "below 0.1 %");
  else if (p > 0.999)
    buf_puts(b, "over 99.9 %");
  else
    buf_printf(b, p < 0.1 ? "%.1f %%" : "%.0f %%", 100 * p);
}

static void put_range(struct buf *b, const struct card *k) {
  if (isnan(k->lo)) return;
  buf_printf(b, "%.0f to ", 100 * k->lo);
  put_percent(b, k->hi);
}

static void horizon_words(const struct task *t, char out[64]) {
  char span[32];
  const int64_t h = task_horizon(t), year = 1461 * TIME_DAY / 4;
  if (h == INT64_MAX) {
    snprintf(out, 64, "until the end of this record");
    return;
  }
  if (h >= year && h % year < TIME_DAY)
    snprintf(span, sizeof span, "%lld year%s", (long long)(h / year), h / year == 1 ? "" : "s");
  else if (h >= 2 * TIME_DAY)
    snprintf(span, sizeof span, "%lld days", (long long)((h + TIME_DAY / 2) / TIME_DAY));
  else
    snprintf(span, sizeof span, "%lld hours", (long long)((h + TIME_HOUR / 2) / TIME_HOUR));
  snprintf(out, 64, "within %s", span);
}

/* GitHub-flavoured Markdown: what a vocabulary's name holds stays text. */
static void put_plain(struct buf *b, struct str s) {
  for (size_t i = 0; i < s.n; i++) {
    unsigned char ch = (unsigned char)s.p[i];
    if (ch < ' ') ch = ' ';
    if (strchr("\\`*_{}[]<>#|~!", ch)) buf_putc(b, '\\');
    buf_putc(b, (char)ch);
  }
}

static void expand(const char *text, const struct card *k, struct buf *b) {
  static const char *const token[4] = {"{title}", "{percent}", "{range}", "{horizon}"};
  for (const char *p = text; *p;) {
    int i = 0;
    while (i < 4 && strncmp(p, token[i], strlen(token[i])) != 0) i++;
    if (i == 4) {
      buf_putc(b, *p++);
      continue;
    }
    p += strlen(token[i]);
    if (i == 0) buf_str(b, k->title);
    if (i == 1) put_percent(b, k->probability);
    if (i == 2) put_range(b, k);
    if (i == 3) buf_puts(b, k->horizon);
  }
}

/* Fewer than 140 characters: whole ones, the last an ellipsis where it was cut. */
static void put_summary(const char *text, const struct card *k, struct json_out *o) {
  struct buf b = {0};
  size_t at = 0, keep = 0;
  int n = 0;
  expand(text, k, &b);
  while (at < b.n) {
    size_t step = str_utf8_next((struct str){b.p + at, b.n - at});
    at += step ? step : 1;
    if (++n == SUMMARY_MOST - 1) keep = at;
  }
  if (n > SUMMARY_MOST) {
    b.n = keep;
    buf_puts(&b, "…");
  }
  json_kv_str(o, "summary", (struct str){b.p, b.n});
  buf_release(&b);
}

static void put_reason(const struct prediction *r, const struct predict_contribution *x, struct buf *b) {
  char span[32];
  buf_puts(b, "| ");
  put_plain(b, x->display.n ? x->display : x->code);
  if (!isnan(x->value)) buf_printf(b, " %.4g", (double)x->value);
  if (!isnan(x->value) && x->unit.n) buf_putc(b, ' '), put_plain(b, x->unit);
  if (x->time == TIME_STATIC) {
    buf_puts(b, " | – |");
  } else if (r->time - x->time < TIME_MINUTE) {
    buf_puts(b, " | latest entry |");
  } else {
    time_format_span(r->time - x->time, span);
    buf_printf(b, " | %s before |", span);
  }
  buf_printf(b, " ×%.2f |\n", exp(x->delta));
}

/* Times are told from the latest entry backwards: the session's own dates are shifted, distances are not. */
static void put_detail(struct call *c, const struct card *k, const struct prediction *r, const struct cds_job *job, struct json_out *o) {
  static const char *const sets[4] = {"unlike patients with and without it: no statement", "it can be ruled out", "it is to be expected",
                                      "cannot tell either way"};
  struct buf b = {0};
  buf_puts(&b, "**");
  put_percent(&b, k->probability);
  buf_printf(&b, "** %s, counted from the latest entry of the record.\n", k->horizon);
  if (!isnan(k->lo)) {
    buf_puts(&b, "\nHow sure: calibrated range ");
    put_range(&b, k);
    buf_printf(&b, "; at %.0f %% coverage: %s.\n", 100 * r->coverage, sets[r->set & 3]);
  } else {
    buf_puts(&b, "\nHow sure: this version has no calibrated range for it.\n");
  }
  if (k->task && !isnan(r->agreement) && r->agreement > 0.5)
    buf_puts(&b, "\nTwo ways of computing it differ by more than half a unit of log odds.\n");
  if (r->contributions) buf_printf(&b, "\n| weighs most%s | when | odds |\n|---|---|---|\n", k->rule->thorough ? "" : " among the latest");
  for (int i = 0; i < r->contributions; i++) put_reason(r, &r->contribution[i], &b);
  for (int i = 0; i < r->warnings; i++) buf_printf(&b, "%s- %s\n", i ? "" : "\n", r->warning[i]);
  if (job->absent[0]) buf_printf(&b, "\nNot to be had from the EHR: %s.\n", job->absent);
  if (job->cut) buf_puts(&b, "\nThe record has more entries than were read.\n");
  buf_printf(&b, "\nModel version %.12s; %u entries used, %u of them unknown to it.\n", vitae_engine_id(call_engine(c)), r->events,
             r->unknown_codes);
  if (c->server->cds->footer) buf_printf(&b, "\n%s\n", c->server->cds->footer);
  json_kv_str(o, "detail", (struct str){b.p, b.n});
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
}

/* ---- a card ---- */

/* The request's own id with the card's number in its last two digits: the audit row of a card is found by its first 34. */
static void card_id(const struct call *c, int n, char out[REQUEST_ID + 1]) {
  snprintf(out, REQUEST_ID + 1, "%.34s%02x", c->request, (unsigned)n & 0xff);
}

static void put_source(const struct cds *d, const struct card *k, struct json_out *o) {
  json_out_key(o, "source");
  json_out_object(o);
  json_kv_c(o, "label", d->source_label);
  if (d->source_url) json_kv_c(o, "url", d->source_url);
  if (d->source_icon) json_kv_c(o, "icon", d->source_icon);
  json_out_key(o, "topic");
  json_out_object(o);
  json_kv_c(o, "system", k->task ? "urn:vitae:task" : "urn:vitae:outcome");
  json_kv_c(o, "code", k->task ? task_name(k->task) : k->rule->outcome);
  json_kv_str(o, "display", k->title);
  json_out_end(o);
  json_out_end(o);
}

static void put_link(const struct call *c, const struct card *k, const char *id, struct json_out *o) {
  const struct ehr *ehr = c->server->ehr;
  char url[640], context[256];
  if (!c->server->cds->link || !ehr_smart(ehr)) return;
  snprintf(url, sizeof url, "%s/smart/launch", ehr_base(ehr));
  snprintf(context, sizeof context, "{\"card\":\"%s\",\"task\":\"%s\"}", id, k->task ? task_name(k->task) : "");
  json_out_key(o, "links");
  json_out_array(o);
  json_out_object(o);
  json_kv_c(o, "label", c->server->cds->link);
  json_kv_c(o, "url", url);
  json_kv_c(o, "type", "smart");
  json_kv_c(o, "appContext", context);
  json_out_end(o);
  json_out_end(o);
}

static void put_override(const struct cds *d, struct json_out *o) {
  if (!d->reasons) return;
  json_out_key(o, "overrideReasons");
  json_out_array(o);
  for (int i = 0; i < d->reasons; i++) {
    json_out_object(o);
    json_kv_c(o, "code", d->reason[i].code);
    json_kv_c(o, "system", d->override_system);
    json_kv_c(o, "display", d->reason[i].display);
    json_out_end(o);
  }
  json_out_end(o);
}

static void put_card(struct call *c, const struct card *k, const struct prediction *r, const struct cds_job *job, int n,
                     struct json_out *o) {
  char id[REQUEST_ID + 1];
  card_id(c, n, id);
  json_out_object(o);
  json_kv_c(o, "uuid", id);
  put_summary(k->rule->summary, k, o);
  put_detail(c, k, r, job, o);
  json_kv_c(o, "indicator", level_name[k->level]);
  put_source(c->server->cds, k, o);
  put_override(c->server->cds, o);
  put_link(c, k, id, o);
  json_out_end(o);
}

static int level_of(const struct cds_rule *r, double p) {
  int level = -1;
  for (int i = 0; i < CDS_LEVELS; i++)
    if (!isnan(r->level[i]) && p >= r->level[i]) level = i;
  return level;
}

/* ---- the rules of a service over one session ---- */

struct making {
  struct call *c;
  const struct cds_job *job;
  struct vitae_session *s;
  struct json_out *o;
  int cards;
};

#define REASONS_SHARE 0.7 /* of the budget: what is not explained by then goes unexplained */
static bool no_more_reasons(void *call) {
  const struct call *c = call;
  return call_left(call) || time_monotonic() - c->began > REASONS_SHARE * c->server->cds->budget;
}

static double least_of(const struct cds_rule *r) {
  double least = INFINITY;
  for (int i = 0; i < CDS_LEVELS; i++)
    if (r->level[i] < least) least = r->level[i]; /* NaN: no such level */
  return least;
}

/* Reasons are looked for only where there is a card to put them on, since most views show none; what is late goes without. */
static int of_task(struct making *m, const struct cds_rule *rule, const struct task *t, struct error *e) {
  struct session_query q = {.task = t,
                            .outcomes = 1,
                            .explain = rule->reasons,
                            .quick = !rule->thorough,
                            .explain_least = least_of(rule),
                            .explain_late = no_more_reasons};
  struct prediction r;
  struct arena a;
  arena_init(&a, 512u << 20, ARENA_WIPE);
  int rc = session_predict(m->s, &q, &a, &r, e);
  bool answered = rc == OK && r.has_task && !r.refusal && !isnan(r.probability);
  struct str whole = str_c(task_title(t));
  struct card k = {.rule = rule, .task = t, .title = rule->title ? str_c(rule->title) : str_cut(&whole, ',')};
  k.level = answered ? level_of(rule, r.probability) : -1;
  if (k.level >= 0) {
    k.probability = r.probability, k.lo = r.lo, k.hi = r.hi;
    horizon_words(t, k.horizon);
    put_card(m->c, &k, &r, m->job, m->cards++, m->o);
  }
  if (rc == OK) m->c->tokens_in = r.events;
  arena_free(&a);
  return rc;
}

static int of_outcome(struct making *m, const struct cds_rule *rule, struct error *e) {
  static const char *const words[6] = {"within a day",   "within 7 days", "within 30 days",
                                       "within 90 days", "within 1 year", "within 5 years"};
  struct session_query q = {.outcomes = OUTCOMES_ASKED};
  struct prediction r;
  struct arena a;
  arena_init(&a, 512u << 20, ARENA_WIPE);
  int rc = session_predict(m->s, &q, &a, &r, e);
  for (int i = 0; rc == OK && i < r.outcomes; i++) {
    const struct predict_outcome *x = &r.outcome[i];
    if (!str_eqc(x->code, rule->outcome) || x->before) continue;
    struct card k = {.rule = rule, .probability = x->probability[rule->within], .lo = NAN, .hi = NAN};
    k.title = rule->title ? str_c(rule->title) : x->display.n ? x->display : x->code;
    k.level = level_of(rule, k.probability);
    snprintf(k.horizon, sizeof k.horizon, "%s", words[rule->within]);
    if (k.level >= 0) put_card(m->c, &k, &r, m->job, m->cards++, m->o);
  }
  if (rc == OK) m->c->tokens_in = r.events;
  arena_free(&a);
  return rc;
}

static int of_rule(struct making *m, const struct cds_rule *rule, struct error *e) {
  const struct vitae_engine *en = call_engine(m->c);
  if (rule->outcome) return of_outcome(m, rule, e);
  for (int i = 0; i < engine_tasks(en) && m->cards < CDS_CARDS; i++) {
    const struct task *t = engine_task_at(en, i);
    if (strcmp(rule->task, "*") == 0 || strcmp(rule->task, task_name(t)) == 0) TRY(of_task(m, rule, t, e));
  }
  return OK;
}

int cds_cards(struct call *c, const struct cds_job *job, struct vitae_session *s, struct json_out *o, struct error *e) {
  struct making m = {.c = c, .job = job, .s = s, .o = o};
  json_out_key(o, "cards");
  json_out_array(o);
  for (int i = 0; i < job->service->rules && m.cards < CDS_CARDS; i++) TRY(of_rule(&m, &job->service->rule[i], e));
  json_out_end(o);
  return m.cards;
}
