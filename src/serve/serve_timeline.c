/* The timeline model as an answerer of chats: a patient in, a JSON document out. The patient is the last user or tool message whose text is
 * a JSON object (bare, or in one fenced block); a conversation without one gets a call of the tool `patient_record`, if it was offered.
 * In a stream the document's head, which the closed form gives, leaves before explanations and futures are worked out. */
#include <math.h>
#include <string.h>

#include "serve/engine.h"
#include "serve/serve_chat.h"

static bool takes(const struct chat_request *q) {
  (void)q;
  return true;
}

/* The object in a text: all of it, or what stands between the first ``` and the last. */
static struct str object_in(struct str t) {
  t = str_trim(t);
  if (t.n && t.p[0] == '{') return t;
  const char *open = t.n ? memmem(t.p, t.n, "```", 3) : NULL;
  if (!open) return STR_NONE;
  struct str rest = {open + 3, t.n - (size_t)(open + 3 - t.p)};
  const char *brace = memchr(rest.p, '{', rest.n), *close = NULL;
  for (const char *at = brace; at && (at = memmem(at, (size_t)(rest.p + rest.n - at), "```", 3)); at += 3) close = at;
  return brace && close ? str_trim((struct str){brace, (size_t)(close - brace)}) : STR_NONE;
}

static struct str find_patient(const struct chat_request *q) {
  for (int i = q->messages - 1; i >= 0; i--) {
    const struct chat_message *m = &q->message[i];
    struct str t = m->role == CHAT_USER || m->role == CHAT_TOOL ? object_in(m->text) : STR_NONE;
    if (t.n) return t;
  }
  return STR_NONE;
}

static bool offers_tool(const struct chat_request *q) {
  struct json tool;
  if (q->tools_off) return false;
  for (struct json_iter it = json_items(q->tools); json_next(&it, &tool);) {
    struct json f = json_get(tool, "function");
    if (str_eqc(json_str(json_get(json_kind(f) == JSON_OBJECT ? f : tool, "name")), "patient_record")) return true;
  }
  return false;
}

/* metadata: {"task": "death-1y", "explain": "3"}: the texts that OpenAI's metadata may hold */
static int defaults(const struct chat_request *q, struct ask *a, struct error *e) {
  static const char *const names[] = {"futures", "explain", "outcomes"};
  int64_t *const out[] = {&a->futures, &a->explain, &a->outcomes};
  static const int64_t most[] = {2000, 100, 500};
  struct str task = json_str(json_get(q->metadata, "task")), name;
  struct json v;
  for (struct json_iter it = json_members(q->metadata); json_next_member(&it, &name, &v);)
    if (json_kind(v) != JSON_STRING && json_kind(v) != JSON_NULL &&
        (str_eqc(name, "task") || str_eqc(name, names[0]) || str_eqc(name, names[1]) || str_eqc(name, names[2])))
      return foundry_bad(e, E_INPUT, "metadata", "task, futures, explain and outcomes are texts");
  if (task.n >= sizeof a->task || (task.n && memchr(task.p, 0, task.n)))
    return foundry_bad(e, E_INPUT, "metadata.task", "expected the name of a task");
  if (task.n) snprintf(a->task, sizeof a->task, "%.*s", STR_ARG(task));
  for (int i = 0; i < 3; i++) {
    struct str s = json_str(json_get(q->metadata, names[i]));
    if (s.p && (str_to_i64(s, out[i]) < 0 || *out[i] < 0 || *out[i] > most[i]))
      return foundry_bad(e, E_INPUT, "metadata", "expected whole numbers as texts: futures, explain, outcomes");
  }
  ask_outcomes(a, json_str(json_get(q->metadata, "outcomes")).p);
  a->seed = q->seed > 0 ? q->seed : 0;
  return OK;
}

static int fit(const struct chat_request *q, struct buf *document, struct buf *out, struct error *e) {
  struct json_parser *jp;
  struct json v;
  struct json_out o;
  if (q->format != CHAT_SCHEMA || json_kind(q->schema) != JSON_OBJECT) {
    buf_put(out, document->p, document->n);
    return buf_check(out, e);
  }
  TRY(json_parser_new(&jp, e));
  json_out_init(&o, out, false);
  buf_reserve(document, 64);
  int rc = json_parse(jp, document->p, document->n, document->cap, &v, e);
  if (rc == OK) rc = schema_project(q->schema, v, &o, e);
  if (rc < 0) (void)error_where(e, NULL, 0, "response_format");
  json_parser_free(jp);
  return rc;
}

/* Pieces of some 80 bytes, cut between characters; in a stream each leaves as a frame of its own. */
static int speak(struct str text, struct chat_sink *to, struct error *e) {
  while (text.n) {
    size_t n = text.n < 80 ? text.n : 80;
    while (n < text.n && ((unsigned char)text.p[n] & 0xC0) == 0x80) n++;
    TRY(to->text(to->ctx, (struct str){text.p, n}, e));
    text.p += n, text.n -= n;
  }
  return OK;
}

static void count(const struct chat_request *q, uint32_t events, struct str *said, struct chat_result *r) {
  r->prompt_tokens = events;
  r->completion_tokens = (int64_t)(said->n + 3) / 4;
  if (q->max_tokens <= 0 || r->completion_tokens <= q->max_tokens) return;
  r->finish = "length";
  r->completion_tokens = q->max_tokens;
  said->n = (size_t)q->max_tokens * 4;
  while (said->n && ((unsigned char)said->p[said->n] & 0xC0) == 0x80) said->n--;
}

/* A document that has to have a form, or may not be too long, is known only when it is whole. */
static int whole(const struct chat_request *q, struct patient *p, struct chat_sink *to, struct chat_result *r, struct error *e) {
  struct buf document = {0}, out = {0};
  struct json_out o;
  uint32_t events = 0;
  json_out_init(&o, &document, false);
  int rc = patient_answer(q->call, p, &o, &events, e);
  if (rc == OK) rc = buf_check(&document, e);
  if (rc == OK) rc = fit(q, &document, &out, e);
  struct str said = {out.p, out.n};
  if (rc == OK) count(q, events, &said, r);
  if (rc == OK && q->format != CHAT_TEXT && strcmp(r->finish, "stop") == 0) rc = foundry_hold(q, &out, e);
  said.p = out.p;
  if (rc == OK) rc = speak(said, to, e);
  buf_release(&document), buf_release(&out);
  return rc;
}

/* The head from a question that costs one pass, then everything that was asked for. */
static int in_parts(const struct chat_request *q, struct patient *p, struct chat_sink *to, struct chat_result *r, struct error *e) {
  struct buf head = {0}, body = {0};
  struct json_out o;
  struct session_query all, quick;
  struct session_summary sum = {0};
  TRY(patient_query(q->call, p, &all, e));
  quick = all;
  quick.futures = quick.explain = 0, quick.outcomes = 1;
  json_out_init(&o, &body, false);
  json_out_object(&o);
  int rc = session_answer(p->session, &quick, &o, &sum, e); /* a record that is no use shows here, while a status can still say so */
  if (rc == OK) rc = to->begin(to->ctx, e);
  json_out_init(&o, &head, false);
  if (rc == OK) patient_head(q->call, p, &sum, &o);
  if (rc == OK) buf_putc(&head, ',');
  if (rc == OK) rc = buf_check(&head, e);
  if (rc == OK) rc = speak((struct str){head.p, head.n}, to, e);
  buf_clear(&body);
  json_out_init(&o, &body, false);
  json_out_object(&o);
  if (rc == OK) rc = session_answer(p->session, &all, &o, &sum, e);
  json_out_end(&o);
  if (rc == OK) rc = buf_check(&body, e);
  if (rc == OK) {
    struct str rest = {body.p + 1, body.n - 1}, said = {body.p, head.n + rest.n};
    count(q, sum.events, &said, r);
    rc = speak(rest, to, e);
  }
  buf_release(&head), buf_release(&body);
  return rc;
}

static int generate(const struct chat_request *q, struct chat_sink *to, struct chat_result *r, struct error *e) {
  struct str text = find_patient(q);
  struct ask a = {0};
  struct patient p;
  if (!text.n && offers_tool(q)) {
    r->finish = "tool_calls";
    r->prompt_tokens = r->completion_tokens = 1;
    return to->tool(to->ctx, "patient_record", STR("{}"), e);
  }
  if (!text.n)
    return foundry_bad(
        e, E_INPUT, "messages",
        "this model answers for one patient: put a FHIR R4 Bundle, or an object with bundle or events, as JSON text into the "
        "last user message, or offer a tool named patient_record");
  TRY(defaults(q, &a, e));
  TRY(patient_open(q->call, text, &a, &p, e));
  bool heavy = p.ask.futures > 0 || p.ask.explain > 0;
  int rc = heavy && to->begin && q->format == CHAT_TEXT && q->max_tokens <= 0 ? in_parts(q, &p, to, r, e) : whole(q, &p, to, r, e);
  patient_close(&p);
  return rc;
}

const struct chat_backend chat_timeline = {"timeline", true, true, takes, generate};
