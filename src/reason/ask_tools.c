#include "reason/ask_tools.h"

#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/time.h"
#include "predict/predict.h"
#include "reason/ask_private.h"
#include "timeline/timeline.h"

#define YEAR 365.25 /* days */
enum { CODES = 8, LATEST = 3, NOTES = 4, PASSAGES = 3, OUTCOMES = 8, FUTURES = 50 };
#define SEARCH_LEAST 0.34 /* share of the query's weighed words */

enum tool { SEARCH, VALUES, HAZARDS, FUTURE, CALCULATE, LOOK_UP, KNOWLEDGE };
const char *const ask_tool_name[ASK_TOOLS] = {"search_timeline", "values_over_time", "hazards",  "futures",
                                              "calculate",       "look_up_code",     "knowledge"};
const char *const ask_tool_summary[ASK_TOOLS] = {"events of this record whose names or notes have these words",
                                                 "all values of a measurement",
                                                 "what the timeline model expects within a year",
                                                 "the same from sampled futures",
                                                 "a clinical calculator by its name, from the record's latest values",
                                                 "names of codes that have these words",
                                                 "passages of the hospital's own documents"};

/* {"about": TEXT}, and nothing else */
static int take_about(struct str arguments, struct arena *a, struct str *about, struct error *e) {
  struct json_parser *jp;
  struct json root, v;
  struct str key;
  TRY(json_parser_new(&jp, e));
  *about = STR("");
  int rc = arguments.n > 4096 ? error_set(e, E_LIMIT, "arguments of a tool have at most 4,096 bytes")
                              : json_parse(jp, arguments.p, arguments.n, arguments.n, &root, e);
  if (rc == OK && json_kind(root) != JSON_OBJECT) rc = error_set(e, E_INPUT, "arguments of a tool are an object");
  if (rc == OK)
    for (struct json_iter it = json_members(root); rc == OK && json_next_member(&it, &key, &v);) {
      if (!str_eqc(key, "about"))
        rc = error_set(e, E_DENIED, "a tool takes what it is about and nothing else: its scope is not the model's to choose");
      else if (json_kind(v) != JSON_STRING || json_str(v).n > 200)
        rc = error_set(e, E_INPUT, "what a tool is about is a text of at most 200 bytes");
      else
        *about = str_copy(a, json_str(v));
    }
  json_parser_free(jp);
  return rc;
}

static int say_matches(struct chart *c, uint32_t code) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  char value[64], day[16];
  int said = 0;
  for (uint32_t k = v.n; k-- > 0 && said < LATEST;) {
    if (v.code[k] != code) continue;
    said++;
    TRY(ask_say(c, &k, 1, "%.*s%s%s%s.", STR_ARG(ask_name(c->k, code)), ask_value(c->k->t, v.value[k], v.unit[k], value),
                v.time[k] == INT64_MIN ? "" : " on ", v.time[k] == INT64_MIN ? "" : ask_day(v.time[k], day)));
  }
  return OK;
}

static int add_quote(struct ask_found *f, struct arena *a, struct str source, struct str text, struct error *e) {
  enum { STEP = 8 };
  if (f->quotes % STEP == 0) {
    struct ask_quote *more = arena_array(a, struct ask_quote, (size_t)f->quotes + STEP);
    if (!more) return error_set(e, E_NOMEM, "no memory for quotations");
    if (f->quotes) memcpy(more, f->quote, (size_t)f->quotes * sizeof *more);
    f->quote = more;
  }
  size_t n = text.n < PASSAGE_BYTES ? text.n : PASSAGE_BYTES;
  while (n && n < text.n && ((unsigned char)text.p[n] & 0xC0) == 0x80) n--;
  f->quote[f->quotes++] = (struct ask_quote){str_copy(a, source), str_copy(a, (struct str){text.p, n})};
  return OK;
}

static int has_words(struct str text, const struct words *w) {
  int hit = 0;
  for (int i = 0; i < w->n; i++) {
    const char *p = NULL;
    for (size_t at = 0; !p && at + strlen(w->word[i]) <= text.n; at++)
      if (str_eq_nocase((struct str){text.p + at, strlen(w->word[i])}, str_c(w->word[i]))) p = text.p + at;
    hit += p != NULL;
  }
  return hit;
}

/* Notes with at least half of the words, the latest first. */
static int quote_notes(struct chart *c, const struct words *w, struct ask_found *f) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  for (uint32_t k = v.n; w->n && k-- > 0 && f->quotes < NOTES;) {
    struct str text = timeline_text(c->k->t, c->index, k);
    char source[64], day[16];
    if (!text.n || 2 * has_words(text, w) < w->n) continue;
    snprintf(source, sizeof source, "note e%u of %s", k, ask_day(v.time[k], day));
    TRY(add_quote(f, c->a, str_c(source), text, c->e));
  }
  return OK;
}

static int search(struct chart *c, struct str about, struct ask_found *f) {
  struct timeline_view v = timeline_view(c->k->t, c->index);
  uint8_t *among = arena_array(c->a, uint8_t, timeline_codes(c->k->t) + 1);
  struct word_match m[CODES];
  struct words w;
  if (!among) return error_set(c->e, E_NOMEM, "no memory for a search");
  for (uint32_t k = 0; k < v.n; k++) among[v.code[k]] = 1;
  words_cut(about, &w);
  int n = word_index_find(c->k->ix, &w, STR_NONE, among, m, CODES);
  for (int i = 0; i < n && m[i].score >= SEARCH_LEAST; i++) TRY(say_matches(c, m[i].code));
  return quote_notes(c, &w, f);
}

static int look_up(struct chart *c, struct str about) {
  struct word_match m[CODES];
  struct words w;
  words_cut(about, &w);
  int n = word_index_find(c->k->ix, &w, STR_NONE, NULL, m, CODES);
  for (int i = 0; i < n && m[i].score >= SEARCH_LEAST; i++)
    TRY(ask_say(c, NULL, 0, "%.*s is %.*s.", STR_ARG(timeline_code_name(c->k->t, m[i].code)), STR_ARG(ask_name(c->k, m[i].code))));
  return OK;
}

static int foretell(const struct ask_scope *s, struct chart *c, bool sampled) {
  struct prediction r;
  if (!s->predictor) return error_set(c->e, E_UNAVAILABLE, "there is no timeline model here");
  struct predictor *p = s->predictor(s->ctx, c->e);
  if (!p) return c->e->code;
  TRY(predict(p, c->index,
              &(struct predict_options){.time = INT64_MAX,
                                        .outcomes = OUTCOMES,
                                        .futures = sampled ? FUTURES : 0,
                                        .horizon_days = YEAR,
                                        .seed = 1,
                                        .cancelled = s->cancelled,
                                        .cancel_ctx = s->ctx},
              c->a, &r, c->e));
  if (r.dead) return ask_say(c, NULL, 0, "The record holds the death: there is nothing to foretell.");
  if (r.followed_days < YEAR)
    return ask_say(
        c, NULL, 0,
        "Too few of those whom the model learned from were followed for a year after a record like this: it gives no probability.");
  for (int i = 0; i < r.outcomes; i++) {
    const struct predict_outcome *x = &r.outcome[i];
    struct str name = x->display.n ? x->display : x->code;
    if (sampled && !isnan(x->sampled))
      TRY(ask_say(c, NULL, 0, "In %.3g of %d sampled futures of a year: %.*s.", x->sampled, r.futures, STR_ARG(name)));
    else
      TRY(ask_say(c, NULL, 0, "The timeline model gives %.*s within a year a probability of %.3g%s.", STR_ARG(name), x->probability[4],
                  x->before ? " (it is recorded already)" : ""));
  }
  for (int i = 0; i < c->r->sentences; i++) c->r->sentence[i].source = "timeline model";
  return OK;
}

static int read_documents(const struct ask_scope *s, struct chart *c, struct str about, struct ask_found *f) {
  struct passage p[PASSAGES];
  int n = 0;
  if (!s->knowledge) return error_set(c->e, E_UNAVAILABLE, "this site has no documents");
  TRY(library_find(s->knowledge, about, s->encoder, c->a, p, PASSAGES, &n, c->e));
  for (int i = 0; i < n; i++) TRY(add_quote(f, c->a, p[i].document, p[i].text, c->e));
  return OK;
}

int ask_tool(const struct ask_scope *s, struct str name, struct str arguments, struct arena *a, struct ask_found *out, struct error *e) {
  struct ask_question q = {.from = INT64_MIN, .to = INT64_MAX, .above = -INFINITY, .below = INFINITY};
  struct str about;
  int tool = 0;
  *out = (struct ask_found){.said = {.value = NAN, .subject = timeline_view(s->k->t, s->index).subject}};
  while (tool < ASK_TOOLS && !str_eqc(name, ask_tool_name[tool])) tool++;
  if (tool == ASK_TOOLS) return error_set(e, E_DENIED, "there is no such tool");
  TRY(take_about(arguments, a, &about, e));
  struct chart c = {s->k, s->index, &q, a, &out->said, e};
  out->said.intent = ask_tool_name[tool];
  switch ((enum tool)tool) {
    case SEARCH: return search(&c, about, out);
    case VALUES:
      q.intent = ASK_TREND;
      words_cut(about, &q.words);
      q.term = about;
      return ask_about_events(&c);
    case HAZARDS: return foretell(s, &c, false);
    case FUTURE: return foretell(s, &c, true);
    case CALCULATE: {
      const struct calculator *calc = ask_calculator(s->k, about);
      return calc ? ask_calculate(&c, calc) : error_set(e, E_NOTFOUND, "there is no calculator of that name");
    }
    case LOOK_UP: return look_up(&c, about);
    case KNOWLEDGE: return read_documents(s, &c, about, out);
  }
  return OK;
}
