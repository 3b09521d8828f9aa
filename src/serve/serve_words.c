/* A language model of the site as an answerer of chats. Functions that the caller offers are described in the system message in the form that
 * Hermes and Qwen learned; a call is recognised in the answer (model/lm_schema.h). Where a call is demanded, its form is held token by
 * token, so that even a small model makes a well-formed one. What is not said is greedy: temperature 0, 512 tokens. */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "model/lm_schema.h"
#include "serve/serve_chat.h"
#include "serve/serve_voice.h"

enum { MESSAGES = 257, STOPS = 8, MOST_TOKENS = 512, NAMES_MOST = 64 };
#define WORDS_MEMORY (32u << 20)

struct words {
  const struct chat_request *q;
  struct chat_sink *to;
  struct arena *a;
  struct lm_message message[MESSAGES];
  int messages;
  struct buf text; /* all that was said; with tools, what may still be a call is not handed on */
  size_t handed;
  bool tools, called;
};

static bool takes(const struct chat_request *q) { return q->call->voice != NULL; }
static bool none(struct json v) { return json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL; }

/* The function's own object: {name, description, parameters} */
static struct json function_of(struct json tool) {
  struct json f = json_get(tool, "function");
  return json_kind(f) == JSON_OBJECT ? f : tool;
}

static int keep(struct words *w, struct buf *b, struct str *out, struct error *e) {
  int rc = buf_check(b, e);
  if (rc == OK && b->n) {
    *out = str_copy(w->a, (struct str){b->p, b->n});
    if (!out->p) rc = error_set(e, E_LIMIT, "the messages are too long");
  }
  if (b->p) mem_wipe(b->p, b->cap);
  buf_release(b);
  return rc;
}

static int describe_tools(const struct words *w, struct buf *b, struct error *e) {
  struct json tool;
  buf_puts(b, "You may call functions. They are described here, one a line:\n<tools>\n");
  for (struct json_iter it = json_items(w->q->tools); json_next(&it, &tool);) {
    struct json_out o;
    json_out_init(&o, b, false);
    TRY(json_out_copy(&o, function_of(tool), e));
    buf_putc(b, '\n');
  }
  buf_puts(b, "</tools>\nTo call one, answer only with\n<tool_call>\n{\"name\": NAME, \"arguments\": OBJECT}\n</tool_call>");
  return OK;
}

/* What an assistant called earlier, as it would have written it. Chat: {function: {name, arguments}}; responses: {name, arguments}. */
static int past_calls(struct json calls, struct buf *b, struct error *e) {
  struct json one;
  bool list = json_kind(calls) == JSON_ARRAY;
  struct json_iter it = json_items(calls);
  for (int i = 0; list ? json_next(&it, &one) : i == 0; i++) {
    struct json f = function_of(list ? one : calls);
    struct str name = json_str(json_get(f, "name")), arguments = json_str(json_get(f, "arguments"));
    struct json_out o;
    if (!name.n) return foundry_bad(e, E_INPUT, "messages.tool_calls", "a call has a function's name and its arguments as a text");
    if (b->n) buf_putc(b, '\n');
    buf_puts(b, "<tool_call>\n{\"name\": ");
    json_out_init(&o, b, false);
    json_out_str(&o, name);
    buf_puts(b, ", \"arguments\": ");
    buf_str(b, arguments.n ? arguments : STR("{}"));
    buf_puts(b, "}\n</tool_call>");
  }
  return OK;
}

/* Every system text in one message before all others: some templates know no other place for it. */
static int take_system(struct words *w, struct error *e) {
  struct buf b = {0};
  struct str text = STR_NONE;
  for (int i = 0; i < w->q->messages; i++) {
    if (w->q->message[i].role != CHAT_SYSTEM || !w->q->message[i].text.n) continue;
    if (b.n) buf_puts(&b, "\n\n");
    buf_str(&b, w->q->message[i].text);
  }
  if (w->tools) {
    if (b.n) buf_puts(&b, "\n\n");
    TRY(describe_tools(w, &b, e));
  }
  TRY(keep(w, &b, &text, e));
  if (text.n) w->message[w->messages++] = (struct lm_message){"system", text};
  return OK;
}

static int take_message(struct words *w, const struct chat_message *m, struct error *e) {
  struct lm_message *to = &w->message[w->messages];
  struct buf b = {0};
  if (m->role == CHAT_SYSTEM) return OK;
  *to = (struct lm_message){m->role == CHAT_ASSISTANT ? "assistant" : "user", m->text};
  w->messages++;
  if (m->role == CHAT_TOOL) { /* few templates have this role: it comes as the user's, marked */
    buf_puts(&b, "<tool_response>\n");
    buf_str(&b, m->text);
    buf_puts(&b, "\n</tool_response>");
  } else if (!none(m->tool_calls)) {
    buf_str(&b, m->text);
    int rc = past_calls(m->tool_calls, &b, e);
    if (rc < 0) return buf_release(&b), rc;
  }
  return b.n ? keep(w, &b, &to->content, e) : OK;
}

/* ---- forms ---- */

/* The name of the only function that may be called: a named tool_choice, or "required" with a single tool; STR_NONE otherwise. */
static int demanded(const struct words *w, struct json *function, bool *any, struct error *e) {
  struct json choice = w->q->tool_choice, tool;
  struct str named = json_kind(choice) == JSON_OBJECT ? json_str(json_get(function_of(choice), "name")) : STR_NONE;
  bool required = str_eqc(json_str(choice), "required");
  *function = (struct json){0};
  *any = false;
  if (json_kind(choice) == JSON_OBJECT && !named.n)
    return foundry_bad(e, E_USAGE, "tool_choice", "this model takes auto, none, required or one function by name");
  if (!named.n && !required) return OK;
  if (!w->tools) return foundry_bad(e, E_INPUT, "tool_choice", "no functions are offered");
  for (struct json_iter it = json_items(w->q->tools); json_next(&it, &tool);)
    if (required || str_eq(json_str(json_get(function_of(tool), "name")), named)) *function = function_of(tool);
  if (json_kind(*function) != JSON_OBJECT) return foundry_bad(e, E_INPUT, "tool_choice", "no function of that name is offered");
  *any = required && json_count(w->q->tools) > 1;
  return OK;
}

/* A function's parameters: an object of the properties that are named, none without; all that it demands besides is held or refused */
static int parameters_schema(struct json parameters, struct json_out *o, struct error *e) {
  struct json properties = json_get(parameters, "properties"), v;
  struct json_iter it = json_members(parameters);
  struct str key;
  json_out_object(o);
  json_kv_c(o, "type", "object");
  json_out_key(o, "properties");
  if (none(properties))
    json_out_raw(o, STR("{}"));
  else
    TRY(json_out_copy(o, properties, e));
  while (json_next_member(&it, &key, &v)) {
    if (str_eqc(key, "properties") || (str_eqc(key, "type") && str_eqc(json_str(v), "object"))) continue;
    if (str_eqc(key, "type")) return foundry_bad(e, E_INPUT, "tools", "a function's parameters are an object");
    json_out_key_str(o, key);
    TRY(json_out_copy(o, v, e));
  }
  json_out_end(o);
  return OK;
}

/* {"name": one of those, "arguments": its parameters}; of several functions only the name is held, and any object. */
static int call_schema(const struct words *w, struct json function, bool any, struct buf *b, struct error *e) {
  struct json tool;
  struct json_out o;
  json_out_init(&o, b, false);
  json_out_object(&o);
  json_kv_c(&o, "type", "object");
  json_out_key(&o, "properties");
  json_out_object(&o);
  json_out_key(&o, "name");
  json_out_object(&o);
  json_out_key(&o, "enum");
  json_out_array(&o);
  if (!any) json_out_str(&o, json_str(json_get(function, "name")));
  for (struct json_iter it = json_items(w->q->tools); any && json_next(&it, &tool);)
    json_out_str(&o, json_str(json_get(function_of(tool), "name")));
  json_out_end(&o);
  json_out_end(&o);
  json_out_key(&o, "arguments");
  if (any)
    json_out_raw(&o, STR("{\"type\":\"object\"}"));
  else
    TRY(parameters_schema(json_get(function, "parameters"), &o, e));
  json_out_end(&o);
  json_out_end(&o);
  return buf_check(b, e);
}

static int form(const struct words *w, struct buf *b, bool *call, struct error *e) {
  struct json function;
  struct json_out o;
  bool any;
  TRY(demanded(w, &function, &any, e));
  *call = json_kind(function) == JSON_OBJECT;
  if (*call) return call_schema(w, function, any, b, e);
  if (w->q->format == CHAT_TEXT) return OK;
  if (w->q->format == CHAT_JSON || json_kind(w->q->schema) != JSON_OBJECT) return buf_puts(b, "{\"type\":\"object\"}"), buf_check(b, e);
  json_out_init(&o, b, false);
  TRY(json_out_copy(&o, w->q->schema, e));
  return buf_check(b, e);
}

/* ---- hearing ---- */

/* How much of the text is certainly no call of a function. */
static size_t plain_part(struct str t) {
  struct str s = str_trim(t);
  if (!s.n || s.p[0] == '{' || s.p[0] == '`' || s.p[0] == '<') return 0;
  const char *mark = memchr(t.p, '<', t.n);
  return mark ? (size_t)(mark - t.p) : t.n;
}

static int hear(void *ctx, struct str piece, struct error *e) {
  struct words *w = ctx;
  if (!w->tools) return w->to->text(w->to->ctx, piece, e);
  buf_str(&w->text, piece);
  TRY(buf_check(&w->text, e));
  size_t plain = plain_part((struct str){w->text.p, w->text.n});
  if (plain <= w->handed) return OK;
  struct str out = {w->text.p + w->handed, plain - w->handed};
  w->handed = plain;
  return w->to->text(w->to->ctx, out, e);
}
static int hear_token(void *ctx, const struct voice_token *t, struct error *e) {
  struct words *w = ctx;
  return w->to->token ? w->to->token(w->to->ctx, t, e) : OK;
}
static bool has_left(void *ctx) { return call_client_left(((struct words *)ctx)->q->call); }

static bool offered(const struct words *w, struct str name) {
  struct json tool;
  for (struct json_iter it = json_items(w->q->tools); json_next(&it, &tool);)
    if (str_eq(json_str(json_get(function_of(tool), "name")), name)) return true;
  return false;
}

/* Calls of functions that were offered, and the text beside them. A call of another one stays text. */
static int hand_calls(struct words *w, struct chat_result *r, struct error *e) {
  struct lm_tool_call call[LM_TOOL_CALLS];
  struct str all = {w->text.p ? w->text.p : "", w->text.n}, text;
  int n = 0, calls = 0;
  TRY(lm_tool_calls(all, w->a, call, &n, &text, e));
  for (int i = 0; i < n; i++) calls += offered(w, call[i].name);
  if (!calls || calls < n) {
    struct str rest = {all.p + w->handed, all.n - w->handed};
    return rest.n ? w->to->text(w->to->ctx, rest, e) : OK;
  }
  r->finish = "tool_calls";
  for (int i = 0; i < (w->q->one_call ? 1 : n); i++) {
    char name[128];
    snprintf(name, sizeof name, "%.*s", STR_ARG(call[i].name));
    TRY(w->to->tool(w->to->ctx, name, call[i].arguments, e));
  }
  return OK;
}

/* ---- the choices of the request ---- */

static int refuse(const struct chat_request *q, struct error *e) {
  if (q->frequency_penalty != 0) return foundry_bad(e, E_USAGE, "frequency_penalty", "this model has no penalties");
  if (q->presence_penalty != 0) return foundry_bad(e, E_USAGE, "presence_penalty", "this model has no penalties");
  if (json_count(q->logit_bias)) return foundry_bad(e, E_USAGE, "logit_bias", "this model takes no bias of tokens");
  return voice_encoder(q->call->voice) ? foundry_bad(e, E_USAGE, "model", "this model gives embeddings; it does not chat") : OK;
}

static int take_stops(const struct chat_request *q, struct str stop[STOPS], int *n, struct error *e) {
  struct json item;
  *n = 0;
  if (json_kind(q->stop) == JSON_STRING) return stop[(*n)++] = json_str(q->stop), OK;
  for (struct json_iter it = json_items(q->stop); json_next(&it, &item);) {
    if (json_kind(item) != JSON_STRING || *n == STOPS) return foundry_bad(e, E_INPUT, "stop", "expected a text or at most 8 texts");
    stop[(*n)++] = json_str(item);
  }
  return OK;
}

static uint64_t seed_of(const struct chat_request *q) {
  return q->seed ? (uint64_t)q->seed : hash64(q->call->request, strlen(q->call->request), 11);
}

/* A prompt's beginning is kept for the same tenant of the same listener only. */
static uint64_t tenant_of(const struct call *c) {
  return hash64(c->who.tenant, strlen(c->who.tenant), c->plane == PLANE_DEVELOPER ? 13 : 17);
}

/* ---- another server's model: the conversation as it came ---- */

static int put_raw(const struct words *w, struct buf *b, struct error *e) {
  static const char *const roles[] = {"system", "user", "assistant", "tool"};
  struct json_out o;
  json_out_init(&o, b, false);
  json_out_array(&o);
  for (int i = 0; i < w->q->messages; i++) {
    const struct chat_message *m = &w->q->message[i];
    json_out_object(&o);
    json_kv_c(&o, "role", roles[m->role]);
    json_kv_str(&o, "content", m->text);
    if (m->role == CHAT_TOOL) json_kv_str(&o, "tool_call_id", m->tool_call_id);
    if (json_kind(m->tool_calls) == JSON_ARRAY) {
      json_out_key(&o, "tool_calls");
      TRY(json_out_copy(&o, m->tool_calls, e));
    }
    json_out_end(&o);
  }
  json_out_end(&o);
  return buf_check(b, e);
}

static int put_json(struct json v, struct buf *b, struct error *e) {
  struct json_out o;
  if (none(v)) return OK;
  json_out_init(&o, b, false);
  TRY(json_out_copy(&o, v, e));
  return buf_check(b, e);
}

static int hear_call(void *ctx, const char *name, struct str arguments, struct error *e) {
  struct words *w = ctx;
  w->called = true;
  if (!offered(w, str_c(name))) return error_set(e, E_UNAVAILABLE, "the upstream calls a function that was not offered");
  return w->to->tool(w->to->ctx, name, arguments, e);
}

static int relay(struct words *w, struct voice_request *v, struct voice_result *said, struct buf *schema, struct error *e) {
  struct buf messages = {0}, tools = {0}, choice = {0};
  if (w->q->format == CHAT_SCHEMA && json_kind(w->q->schema) == JSON_OBJECT) TRY(put_json(w->q->schema, schema, e));
  if (w->q->format != CHAT_TEXT && !schema->n) buf_puts(schema, "{\"type\":\"object\"}");
  int rc = put_raw(w, &messages, e);
  if (rc == OK && w->tools) rc = put_json(w->q->tools, &tools, e);
  if (rc == OK && w->tools) rc = put_json(w->q->tool_choice, &choice, e);
  w->tools = false; /* text leaves as it comes: calls come apart from it */
  v->raw_messages = (struct str){messages.p, messages.n};
  v->schema = (struct str){schema->p, schema->n};
  v->tools = (struct str){tools.p, tools.n}, v->tool_choice = (struct str){choice.p, choice.n};
  v->tool = hear_call;
  if (rc == OK) rc = voice_say(w->q->call->voice, v, said, e);
  if (messages.p) mem_wipe(messages.p, messages.cap);
  buf_release(&messages), buf_release(&tools), buf_release(&choice);
  return rc;
}

static int say(struct words *w, struct chat_result *r, struct buf *schema, struct error *e) {
  const struct chat_request *q = w->q;
  struct str stop[STOPS];
  struct voice_result said = {0};
  bool call = false, elsewhere = voice_upstream(q->call->voice);
  int stops;
  TRY(refuse(q, e));
  TRY(take_stops(q, stop, &stops, e));
  if (!elsewhere) {
    TRY(take_system(w, e));
    for (int i = 0; i < q->messages; i++) TRY(take_message(w, &q->message[i], e));
    TRY(form(w, schema, &call, e));
  }
  struct voice_request v = {.message = w->message,
                            .messages = w->messages,
                            .schema = {schema->p, schema->n},
                            .most = q->max_tokens > 0 && q->max_tokens < INT32_MAX ? (int)q->max_tokens : MOST_TOKENS,
                            .temperature = isnan(q->temperature) ? 0 : (float)q->temperature,
                            .top_p = isnan(q->top_p) ? 0 : (float)q->top_p,
                            .seed = seed_of(q),
                            .tenant = tenant_of(q->call),
                            .stop = stop,
                            .stops = stops,
                            .logprobs = q->logprobs,
                            .text = hear,
                            .token = hear_token,
                            .left = has_left,
                            .ctx = w};
  int rc = elsewhere ? relay(w, &v, &said, schema, e) : voice_say(q->call->voice, &v, &said, e);
  r->prompt_tokens = said.prompt, r->completion_tokens = said.generated, r->cached_tokens = said.cached;
  if (rc == E_INPUT && schema->n && strstr(e->message, "schema"))
    return foundry_bad(e, E_USAGE, call ? "tools" : "response_format", e->message);
  TRY(rc);
  r->finish = said.cut ? "length" : w->called ? "tool_calls" : "stop";
  return w->tools ? hand_calls(w, r, e) : OK;
}

static int generate(const struct chat_request *q, struct chat_sink *to, struct chat_result *r, struct error *e) {
  struct arena a;
  struct buf schema = {0};
  struct words *w = mem_alloc(sizeof *w);
  if (!w) return error_set(e, E_NOMEM, "out of memory");
  memset(w, 0, sizeof *w);
  arena_init(&a, WORDS_MEMORY, ARENA_WIPE);
  w->q = q, w->to = to, w->a = &a;
  w->tools = !q->tools_off && json_count(q->tools) > 0;
  int rc = say(w, r, &schema, e);
  if (w->text.p) mem_wipe(w->text.p, w->text.cap);
  buf_release(&w->text), buf_release(&schema);
  arena_free(&a);
  mem_free(w);
  return rc;
}

const struct chat_backend chat_words = {"words", true, false, takes, generate};
