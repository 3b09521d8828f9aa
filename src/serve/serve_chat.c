/* Chat completions: messages in, one choice out, whole or as server-sent events. */
#include <math.h>
#include <string.h>

#include "base/time.h"
#include "serve/serve_chat.h"
#include "serve/serve_filter.h"
#include "serve/serve_stream.h"
#include "serve/serve_voice.h"

enum { MESSAGES_MOST = 256 };

static const char *const known[] = {"messages",
                                    "model",
                                    "temperature",
                                    "top_p",
                                    "max_tokens",
                                    "max_completion_tokens",
                                    "stop",
                                    "seed",
                                    "frequency_penalty",
                                    "presence_penalty",
                                    "stream",
                                    "stream_options",
                                    "tools",
                                    "tool_choice",
                                    "response_format",
                                    "n",
                                    "logprobs",
                                    "top_logprobs",
                                    "logit_bias",
                                    "user",
                                    "parallel_tool_calls",
                                    "store",
                                    "metadata",
                                    "reasoning_effort",
                                    "service_tier",
                                    "modalities",
                                    "safety_identifier",
                                    "prompt_cache_key",
                                    "verbosity",
                                    "prediction",
                                    NULL};

struct chat {
  struct call *c;
  struct chat_message message[MESSAGES_MOST];
  struct chat_request q;
  bool stream, usage, live; /* live: frames leave as they are written */
  char id[48];
  int64_t created;
  struct buf text;  /* all that was said */
  struct buf tools; /* finished tool_calls, JSON items */
  int calls;
  struct buf logprobs; /* entries of the tokens whose text has not been written yet, or (whole answers) of all */
};

/* ---- reading ---- */

static int take_role(struct str s, enum chat_role *out, struct error *e) {
  static const struct {
    const char *name;
    enum chat_role role;
  } roles[] = {
      {"system", CHAT_SYSTEM}, {"developer", CHAT_SYSTEM}, {"user", CHAT_USER}, {"assistant", CHAT_ASSISTANT}, {"tool", CHAT_TOOL}};
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
    if (str_eqc(s, roles[i].name)) return *out = roles[i].role, OK;
  return foundry_bad(e, E_INPUT, "messages.role", "a role is system, developer, user, assistant or tool");
}

static int take_messages(struct json list, struct chat *x, struct arena *a, struct error *e) {
  struct json m;
  if (json_kind(list) != JSON_ARRAY || json_count(list) == 0) return foundry_bad(e, E_INPUT, "messages", "expected a list of messages");
  if (json_count(list) > MESSAGES_MOST) return foundry_bad(e, E_LIMIT, "messages", "a conversation has at most 256 messages");
  for (struct json_iter it = json_items(list); json_next(&it, &m);) {
    struct chat_message *to = &x->message[x->q.messages++];
    if (json_kind(m) != JSON_OBJECT) return foundry_bad(e, E_INPUT, "messages", "a message is an object with role and content");
    TRY(take_role(json_str(json_get(m, "role")), &to->role, e));
    TRY(foundry_text(a, json_get(m, "content"), &to->text, e));
    to->tool_call_id = json_str(json_get(m, "tool_call_id"));
    if (to->role == CHAT_ASSISTANT) to->tool_calls = json_get(m, "tool_calls");
    if (to->role == CHAT_TOOL && !to->tool_call_id.n)
      return foundry_bad(e, E_INPUT, "messages.tool_call_id", "a tool's message names its call");
  }
  x->q.message = x->message;
  return OK;
}

static int take_tools(struct json root, struct chat_request *q, struct error *e) {
  struct json tools = json_get(root, "tools"), one;
  q->tools = tools;
  TRY(foundry_choice(json_get(root, "tool_choice"), q, e));
  bool parallel = true;
  TRY(want_flag(root, "parallel_tool_calls", &parallel, e));
  q->one_call = !parallel;
  if (json_kind(tools) == JSON_NONE || json_kind(tools) == JSON_NULL) return OK;
  if (json_kind(tools) != JSON_ARRAY) return foundry_bad(e, E_INPUT, "tools", "expected a list");
  for (struct json_iter it = json_items(tools); json_next(&it, &one);)
    if (!chat_is_ask(one) &&
        (!str_eqc(json_str(json_get(one, "type")), "function") || !json_str(json_get(json_get(one, "function"), "name")).n))
      return foundry_bad(e, E_INPUT, "tools", "a tool is {\"type\": \"function\", \"function\": {\"name\": …}}");
  return OK;
}

static int take_rest(struct json root, bool inference, struct chat *x, struct error *e) {
  int64_t n = 1, top = 0, later = 0;
  bool logprobs = false, store = false;
  struct json options = json_get(root, "stream_options"), stop = json_get(root, "stop"), metadata = json_get(root, "metadata");
  x->q.temperature = x->q.top_p = NAN;
  TRY(want_number(root, "temperature", 0, inference ? 1 : 2, &x->q.temperature, e));
  TRY(want_number(root, "top_p", 0, 1, &x->q.top_p, e));
  TRY(want_number(root, "frequency_penalty", -2, 2, &x->q.frequency_penalty, e));
  TRY(want_number(root, "presence_penalty", -2, 2, &x->q.presence_penalty, e));
  TRY(want_whole(root, "max_tokens", 1, INT32_MAX, &x->q.max_tokens, e));
  TRY(want_whole(root, "max_completion_tokens", 1, INT32_MAX, &later, e));
  if (later) x->q.max_tokens = later;
  TRY(want_whole(root, "seed", INT64_MIN, INT64_MAX, &x->q.seed, e));
  TRY(want_whole(root, "n", 1, 128, &n, e));
  TRY(want_whole(root, "top_logprobs", 0, 20, &top, e));
  TRY(want_flag(root, "logprobs", &logprobs, e));
  TRY(want_flag(root, "store", &store, e));
  TRY(want_flag(root, "stream", &x->stream, e));
  TRY(want_flag(options, "include_usage", &x->usage, e));
  if (n != 1) return foundry_bad(e, E_USAGE, "n", "this server gives one choice");
  if ((logprobs || top) && !x->c->voice) return foundry_bad(e, E_USAGE, "logprobs", "this model has no token probabilities");
  if (top && !logprobs) return foundry_bad(e, E_INPUT, "top_logprobs", "top_logprobs goes with logprobs: true");
  x->q.logprobs = logprobs ? (int)top : -1;
  x->q.logit_bias = json_get(root, "logit_bias");
  if (store) return foundry_bad(e, E_USAGE, "store", "this server keeps no conversations");
  if (json_kind(stop) != JSON_NONE && json_kind(stop) != JSON_NULL && json_kind(stop) != JSON_STRING && json_kind(stop) != JSON_ARRAY)
    return foundry_bad(e, E_INPUT, "stop", "expected a text or a list of texts");
  if (json_kind(metadata) != JSON_NONE && json_kind(metadata) != JSON_NULL && json_kind(metadata) != JSON_OBJECT)
    return foundry_bad(e, E_INPUT, "metadata", "expected an object of texts");
  x->q.stop = stop;
  x->q.metadata = metadata;
  return foundry_format(json_get(root, "response_format"), false, "response_format", &x->q, e);
}

/* ---- writing ---- */

static int hear(void *ctx, struct str piece, struct error *e);
static int hear_tool(void *ctx, const char *name, struct str arguments, struct error *e);

static void frame_begin(struct chat *x, struct json_out *o) {
  buf_puts(&x->c->out, "data: ");
  json_out_init(o, &x->c->out, false);
  json_out_object(o);
  json_kv_c(o, "id", x->id);
  json_kv_c(o, "object", "chat.completion.chunk");
  json_kv_i64(o, "created", x->created);
  json_kv_c(o, "model", x->c->deployment);
  json_out_key(o, "choices");
  json_out_array(o);
}
static void frame_end(struct chat *x, struct json_out *o) {
  json_out_end(o);
  buf_puts(&x->c->out, "\n\n");
}

/* {"content": [{token, logprob, bytes, top_logprobs}], …} of what was heard since the last call, or null */
static void put_logprobs(struct chat *x, struct json_out *o) {
  if (!x->logprobs.n) {
    json_out_null(o);
    return;
  }
  buf_putc(&x->logprobs, ']');
  json_out_object(o);
  json_out_key(o, "content");
  json_out_raw(o, (struct str){x->logprobs.p, x->logprobs.n});
  json_out_key(o, "refusal");
  json_out_null(o);
  json_out_end(o);
  buf_clear(&x->logprobs);
}

static int hear_begin(void *ctx, struct error *e) {
  struct chat *x = ctx;
  return stream_flush(x->c, e);
}

static int hear_token(void *ctx, const struct voice_token *t, struct error *e) {
  struct chat *x = ctx;
  buf_putc(&x->logprobs, x->logprobs.n ? ',' : '[');
  foundry_token(x->c->voice, t, &x->logprobs);
  return buf_check(&x->logprobs, e);
}

/* One chunk: {"index":0,"delta":{…},"finish_reason":…} */
static void frame(struct chat *x, const char *key, struct str value, bool raw, const char *finish) {
  struct json_out o;
  frame_begin(x, &o);
  json_out_object(&o);
  json_kv_i64(&o, "index", 0);
  json_out_key(&o, "delta");
  json_out_object(&o);
  if (key && strcmp(key, "role") == 0) {
    json_kv_c(&o, "role", "assistant");
    json_kv_c(&o, "content", "");
  } else if (key) {
    json_out_key(&o, key);
    raw ? json_out_raw(&o, value) : json_out_str(&o, value);
  }
  json_out_end(&o);
  json_out_key(&o, "finish_reason");
  finish ? json_out_c(&o, finish) : json_out_null(&o);
  if (finish) filter_results(x->c, &o);
  json_out_key(&o, "logprobs");
  put_logprobs(x, &o);
  json_out_end(&o);
  json_out_end(&o);
  frame_end(x, &o);
}

static int hear(void *ctx, struct str piece, struct error *e) {
  struct chat *x = ctx;
  if (call_client_left(x->c)) return error_set(e, E_CANCELLED, "the one who asked has left");
  buf_str(&x->text, piece);
  if (x->stream) frame(x, "content", piece, false, NULL);
  if (x->live) TRY(stream_flush(x->c, e));
  return buf_check(&x->text, e);
}

static int hear_tool(void *ctx, const char *name, struct str arguments, struct error *e) {
  struct chat *x = ctx;
  struct buf one = {0};
  struct json_out o;
  char id[64];
  snprintf(id, sizeof id, "call_%.8s%d", x->id + 9, x->calls);
  json_out_init(&o, &one, false);
  json_out_object(&o);
  if (x->stream) json_kv_i64(&o, "index", x->calls);
  json_kv_c(&o, "id", id);
  json_kv_c(&o, "type", "function");
  json_out_key(&o, "function");
  json_out_object(&o);
  json_kv_c(&o, "name", name);
  json_kv_str(&o, "arguments", arguments);
  json_out_end(&o);
  json_out_end(&o);
  if (x->calls++) buf_putc(&x->tools, ',');
  buf_put(&x->tools, one.p, one.n);
  if (x->stream) {
    struct buf list = {0};
    buf_printf(&list, "[%.*s]", (int)one.n, one.p);
    frame(x, "tool_calls", (struct str){list.p, list.n}, true, NULL);
    buf_release(&list);
  }
  int rc = buf_check(&one, e);
  if (rc == OK && x->live) rc = stream_flush(x->c, e);
  buf_release(&one);
  return rc;
}

static void usage(struct json_out *o, const struct chat_result *r) {
  json_out_key(o, "usage");
  json_out_object(o);
  json_kv_i64(o, "prompt_tokens", r->prompt_tokens);
  json_kv_i64(o, "completion_tokens", r->completion_tokens);
  json_kv_i64(o, "total_tokens", r->prompt_tokens + r->completion_tokens);
  json_out_key(o, "prompt_tokens_details");
  json_out_object(o);
  json_kv_i64(o, "cached_tokens", r->cached_tokens);
  json_out_end(o);
  json_out_key(o, "completion_tokens_details");
  json_out_raw(o, STR("{\"reasoning_tokens\":0}"));
  json_out_end(o);
}

static void write_whole(struct chat *x, const struct chat_result *r) {
  struct json_out o;
  json_out_init(&o, &x->c->out, false);
  json_out_object(&o);
  json_kv_c(&o, "id", x->id);
  json_kv_c(&o, "object", "chat.completion");
  json_kv_i64(&o, "created", x->created);
  json_kv_c(&o, "model", x->c->deployment);
  json_out_key(&o, "choices");
  json_out_array(&o);
  json_out_object(&o);
  json_kv_i64(&o, "index", 0);
  json_kv_c(&o, "finish_reason", r->finish);
  filter_results(x->c, &o);
  json_out_key(&o, "logprobs");
  put_logprobs(x, &o);
  json_out_key(&o, "message");
  json_out_object(&o);
  json_kv_c(&o, "role", "assistant");
  json_out_key(&o, "content");
  x->text.n || !x->calls ? json_out_str(&o, (struct str){x->text.p ? x->text.p : "", x->text.n}) : json_out_null(&o);
  json_out_key(&o, "refusal");
  json_out_null(&o);
  if (x->calls) {
    struct buf list = {0};
    buf_printf(&list, "[%.*s]", (int)x->tools.n, x->tools.p);
    json_out_key(&o, "tool_calls");
    json_out_raw(&o, (struct str){list.p, list.n});
    buf_release(&list);
  }
  json_out_end(&o);
  json_out_end(&o);
  json_out_end(&o);
  usage(&o, r);
  json_kv_c(&o, "system_fingerprint", x->c->voice ? voice_id(x->c->voice) : x->c->deployment);
  json_out_end(&o);
}

static void write_end(struct chat *x, const struct chat_result *r) {
  frame(x, NULL, STR_NONE, false, r->finish);
  if (x->usage) {
    struct json_out o;
    frame_begin(x, &o);
    json_out_end(&o);
    usage(&o, r);
    frame_end(x, &o);
  }
  buf_puts(&x->c->out, "data: [DONE]\n\n");
}

/* ---- the route ---- */

static int chat(struct call *c, struct foundry *f, struct chat *x, struct error *e) {
  struct chat_sink to = {x, hear, hear_tool, hear_token, NULL};
  struct chat_result r;
  x->c = x->q.call = c;
  x->created = time_now() / 1000000;
  snprintf(x->id, sizeof x->id, "chatcmpl-%s", c->request);
  TRY(take_messages(json_get(f->root, "messages"), x, &f->arena, e));
  TRY(take_tools(f->root, &x->q, e));
  TRY(take_rest(f->root, call_dialect(c) == DIALECT_INFERENCE, x, e));
  if (x->stream) {
    const struct chat_backend *b = chat_backend_for(&x->q);
    x->live = b && b->streams && !c->shadow;
    if (x->live) to.begin = hear_begin;
    c->type = "text/event-stream; charset=utf-8";
    frame(x, "role", STR_NONE, false, NULL);
  }
  TRY(foundry_generate(&x->q, &to, &x->text, &r, e));
  if (x->stream) {
    write_end(x, &r);
  } else {
    write_whole(x, &r);
  }
  return OK;
}

void answer_chat(struct call *c) {
  struct foundry f;
  struct error e = {0};
  c->status = 200;
  struct chat *x = mem_alloc(sizeof *x);
  bool begun = x && foundry_begin(c, &f, known);
  if (!x) call_fail(c, 503, "nomem", NULL, "out of memory");
  if (begun) {
    memset(x, 0, sizeof *x);
    if (chat(c, &f, x, &e) < 0) foundry_fail(c, &e, "messages");
    if (x->text.p) mem_wipe(x->text.p, x->text.cap);
    buf_release(&x->text), buf_release(&x->tools), buf_release(&x->logprobs);
  }
  if (x) foundry_end(&f);
  mem_free(x);
}
