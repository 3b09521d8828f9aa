/* The Responses API: the same backends, other envelopes. Nothing is stored: previous_response_id and store:true are refused. */
#include <math.h>
#include <string.h>

#include "base/time.h"
#include "serve/serve_chat.h"
#include "serve/serve_stream.h"
#include "serve/serve_voice.h"

enum { ITEMS_MOST = 256 };
static const char *const known[] = {"model",
                                    "input",
                                    "instructions",
                                    "max_output_tokens",
                                    "temperature",
                                    "top_p",
                                    "tools",
                                    "tool_choice",
                                    "text",
                                    "stream",
                                    "store",
                                    "previous_response_id",
                                    "metadata",
                                    "truncation",
                                    "reasoning",
                                    "parallel_tool_calls",
                                    "user",
                                    "include",
                                    "background",
                                    "service_tier",
                                    "seed",
                                    "safety_identifier",
                                    "prompt_cache_key",
                                    "stream_options",
                                    "top_logprobs",
                                    "max_tool_calls",
                                    NULL};

struct response {
  struct call *c;
  struct chat_message message[ITEMS_MOST];
  struct chat_request q;
  bool stream, live;
  char id[48], item[48];
  int64_t created;
  int items;
  struct buf text;
  struct buf fresh, tokens; /* logprobs, items with commas: of the text not yet written, and of all */
  char tool[128];           /* a called tool's name; "" = none */
  struct buf arguments;
  struct json root;
};

/* ---- reading ---- */

static int put(struct response *x, enum chat_role role, struct str text, struct error *e) {
  if (x->q.messages == ITEMS_MOST) return foundry_bad(e, E_LIMIT, "input", "an input has at most 256 items");
  x->message[x->q.messages++] = (struct chat_message){.role = role, .text = text};
  return OK;
}

static int take_item(struct response *x, struct json item, struct arena *a, struct error *e) {
  struct str type = json_str(json_get(item, "type")), role = json_str(json_get(item, "role")), text;
  if (str_eqc(type, "function_call_output")) return put(x, CHAT_TOOL, json_str(json_get(item, "output")), e);
  if (str_eqc(type, "function_call")) {
    TRY(put(x, CHAT_ASSISTANT, STR(""), e));
    x->message[x->q.messages - 1].tool_calls = item;
    return OK;
  }
  if (str_eqc(type, "reasoning")) return OK;
  if (type.n && !str_eqc(type, "message")) return foundry_bad(e, E_USAGE, "input.type", "this item is not supported");
  enum chat_role r = str_eqc(role, "user") ? CHAT_USER : str_eqc(role, "assistant") ? CHAT_ASSISTANT : CHAT_SYSTEM;
  if (r == CHAT_SYSTEM && !str_eqc(role, "system") && !str_eqc(role, "developer"))
    return foundry_bad(e, E_INPUT, "input.role", "a role is system, developer, user or assistant");
  TRY(foundry_text(a, json_get(item, "content"), &text, e));
  return put(x, r, text, e);
}

static int take_input(struct response *x, struct arena *a, struct error *e) {
  struct json input = json_get(x->root, "input"), item;
  struct str instructions = json_str(json_get(x->root, "instructions"));
  if (instructions.n) TRY(put(x, CHAT_SYSTEM, instructions, e));
  if (json_kind(input) == JSON_STRING) return put(x, CHAT_USER, json_str(input), e);
  if (json_kind(input) != JSON_ARRAY || !json_count(input)) return foundry_bad(e, E_INPUT, "input", "expected a text or a list of items");
  for (struct json_iter it = json_items(input); json_next(&it, &item);) TRY(take_item(x, item, a, e));
  return OK;
}

/* include: ["message.output_text.logprobs"], and how many alternatives; either asks for them */
static int take_logprobs(struct response *x, struct error *e) {
  struct json list = json_get(x->root, "include"), one;
  int64_t top = 0;
  bool asked = false;
  if (json_kind(list) != JSON_NONE && json_kind(list) != JSON_NULL && json_kind(list) != JSON_ARRAY)
    return foundry_bad(e, E_INPUT, "include", "expected a list");
  for (struct json_iter it = json_items(list); json_kind(list) == JSON_ARRAY && json_next(&it, &one);)
    asked |= str_eqc(json_str(one), "message.output_text.logprobs");
  TRY(want_whole(x->root, "top_logprobs", 0, 20, &top, e));
  if ((asked || top) && !x->c->voice)
    return foundry_bad(e, E_USAGE, asked ? "include" : "top_logprobs", "this model has no token probabilities");
  x->q.logprobs = asked || top ? (int)top : -1;
  return OK;
}

static int take_rest(struct response *x, struct error *e) {
  bool store = false, background = false;
  struct json text = json_get(x->root, "text"), tools = json_get(x->root, "tools"), one;
  if (json_kind(text) != JSON_NONE && json_kind(text) != JSON_NULL && json_kind(text) != JSON_OBJECT)
    return foundry_bad(e, E_INPUT, "text", "expected an object");
  if (json_kind(tools) != JSON_NONE && json_kind(tools) != JSON_NULL && json_kind(tools) != JSON_ARRAY)
    return foundry_bad(e, E_INPUT, "tools", "expected a list");
  for (struct json_iter it = json_items(tools); json_next(&it, &one);)
    if (!json_str(json_get(one, "type")).n) return foundry_bad(e, E_INPUT, "tools", "a tool is an object with its type");
  struct json before = json_get(x->root, "previous_response_id");
  x->q.temperature = x->q.top_p = NAN;
  TRY(want_number(x->root, "temperature", 0, 2, &x->q.temperature, e));
  TRY(want_number(x->root, "top_p", 0, 1, &x->q.top_p, e));
  TRY(want_whole(x->root, "max_output_tokens", 1, INT32_MAX, &x->q.max_tokens, e));
  TRY(want_whole(x->root, "seed", INT64_MIN, INT64_MAX, &x->q.seed, e));
  TRY(want_flag(x->root, "stream", &x->stream, e));
  TRY(want_flag(x->root, "store", &store, e));
  TRY(want_flag(x->root, "background", &background, e));
  if (store) return foundry_bad(e, E_USAGE, "store", "this server keeps no responses");
  if (background) return foundry_bad(e, E_USAGE, "background", "this server keeps no responses");
  if (json_kind(before) == JSON_STRING)
    return foundry_bad(e, E_USAGE, "previous_response_id", "this server keeps no responses: send the items again");
  x->q.message = x->message;
  x->q.tools = tools;
  TRY(foundry_choice(json_get(x->root, "tool_choice"), &x->q, e));
  TRY(take_logprobs(x, e));
  x->q.one_call = true;
  x->q.metadata = json_get(x->root, "metadata");
  return foundry_format(json_get(text, "format"), true, "text.format", &x->q, e);
}

/* ---- writing ---- */

static void again_or(struct response *x, const char *key, const char *otherwise, struct json_out *o) {
  struct json v = json_get(x->root, key);
  json_out_key(o, key);
  if (json_kind(v) == JSON_NONE || json_out_copy(o, v, NULL) < 0) json_out_raw(o, str_c(otherwise));
}

static void put_tokens(const struct buf *b, struct json_out *o) {
  json_out_key(o, "logprobs");
  json_out_array(o);
  if (b && b->n) json_out_raw(o, (struct str){b->p, b->n});
  json_out_end(o);
}
static void part(const struct buf *tokens, struct str text, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "type", "output_text");
  json_kv_str(o, "text", text);
  json_out_key(o, "annotations");
  json_out_raw(o, STR("[]"));
  put_tokens(tokens, o);
  json_out_end(o);
}

static struct str said(const struct response *x) { return (struct str){x->text.p ? x->text.p : "", x->text.n}; }

static void item_json(struct response *x, const char *status, bool filled, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "id", x->item);
  if (x->tool[0]) {
    json_kv_c(o, "type", "function_call");
    json_kv_c(o, "call_id", x->item + 3);
    json_kv_c(o, "name", x->tool);
    json_kv_str(o, "arguments", filled ? (struct str){x->arguments.p ? x->arguments.p : "", x->arguments.n} : STR(""));
  } else {
    json_kv_c(o, "type", "message");
    json_kv_c(o, "role", "assistant");
    json_out_key(o, "content");
    json_out_array(o);
    if (filled) part(&x->tokens, said(x), o);
    json_out_end(o);
  }
  json_kv_c(o, "status", status);
  json_out_end(o);
}

/* Why an answer is not whole; NULL: it is. */
static const char *cut_by(const struct chat_result *r) {
  if (!r) return NULL;
  return strcmp(r->finish, "length") == 0 ? "max_output_tokens" : strcmp(r->finish, "content_filter") == 0 ? "content_filter" : NULL;
}

static void response_json(struct response *x, const char *status, const struct chat_result *r, struct json_out *o) {
  const char *cut = cut_by(r);
  json_out_object(o);
  json_kv_c(o, "id", x->id);
  json_kv_c(o, "object", "response");
  json_kv_i64(o, "created_at", x->created);
  json_kv_c(o, "status", cut ? "incomplete" : status);
  json_kv_c(o, "model", x->c->deployment);
  json_out_key(o, "output");
  json_out_array(o);
  if (r) item_json(x, cut ? "incomplete" : "completed", true, o);
  json_out_end(o);
  json_out_key(o, "error");
  json_out_null(o);
  json_out_key(o, "incomplete_details");
  if (cut) {
    json_out_object(o);
    json_kv_c(o, "reason", cut);
    json_out_end(o);
  } else {
    json_out_null(o);
  }
  again_or(x, "instructions", "null", o);
  again_or(x, "metadata", "{}", o);
  again_or(x, "temperature", "null", o);
  again_or(x, "top_p", "null", o);
  again_or(x, "max_output_tokens", "null", o);
  if (chat_is_ask(json_at(x->q.tools, 0))) { /* without the record */
    json_out_key(o, "tools");
    json_out_raw(o, STR("[{\"type\":\"vitae_ask\"}]"));
  } else {
    again_or(x, "tools", "[]", o);
  }
  again_or(x, "tool_choice", "\"auto\"", o);
  again_or(x, "text", "{\"format\":{\"type\":\"text\"}}", o);
  json_out_key(o, "previous_response_id");
  json_out_null(o);
  json_kv_bool(o, "parallel_tool_calls", false);
  json_kv_bool(o, "store", false);
  json_kv_c(o, "truncation", "disabled");
  json_out_key(o, "usage");
  if (r) {
    json_out_object(o);
    json_kv_i64(o, "input_tokens", r->prompt_tokens);
    json_out_key(o, "input_tokens_details");
    json_out_object(o);
    json_kv_i64(o, "cached_tokens", r->cached_tokens);
    json_out_end(o);
    json_kv_i64(o, "output_tokens", r->completion_tokens);
    json_out_key(o, "output_tokens_details");
    json_out_raw(o, STR("{\"reasoning_tokens\":0}"));
    json_kv_i64(o, "total_tokens", r->prompt_tokens + r->completion_tokens);
    json_out_end(o);
  } else {
    json_out_null(o);
  }
  json_out_end(o);
}

/* ---- events ---- */

static void event_begin(struct response *x, const char *type, struct json_out *o) {
  buf_printf(&x->c->out, "event: %s\ndata: ", type);
  json_out_init(o, &x->c->out, false);
  json_out_object(o);
  json_kv_c(o, "type", type);
  json_kv_i64(o, "sequence_number", x->c->events++);
}
static void event_end(struct response *x, struct json_out *o) {
  json_out_end(o);
  buf_puts(&x->c->out, "\n\n");
}
static void event_response(struct response *x, const char *type, const char *status, const struct chat_result *r) {
  struct json_out o;
  event_begin(x, type, &o);
  json_out_key(&o, "response");
  response_json(x, status, r, &o);
  event_end(x, &o);
}
static void event_item(struct response *x, const char *type, const char *status, bool filled) {
  struct json_out o;
  event_begin(x, type, &o);
  json_kv_i64(&o, "output_index", 0);
  json_out_key(&o, "item");
  item_json(x, status, filled, &o);
  event_end(x, &o);
}
static void place(struct response *x, struct json_out *o, bool content) {
  json_kv_c(o, "item_id", x->item);
  json_kv_i64(o, "output_index", 0);
  if (content) json_kv_i64(o, "content_index", 0);
}
static void event_text(struct response *x, const char *type, const char *key, struct str text, const struct buf *tokens) {
  struct json_out o;
  event_begin(x, type, &o);
  place(x, &o, true);
  if (strcmp(key, "part") == 0) {
    json_out_key(&o, "part");
    part(tokens, text, &o);
  } else {
    json_kv_str(&o, key, text);
    put_tokens(tokens, &o);
  }
  event_end(x, &o);
}
static void event_arguments(struct response *x, const char *type, const char *key, struct str text) {
  struct json_out o;
  event_begin(x, type, &o);
  place(x, &o, false);
  if (strcmp(key, "arguments") == 0) json_kv_c(&o, "name", x->tool);
  json_kv_str(&o, key, text);
  event_end(x, &o);
}

static void begin_message(struct response *x) {
  if (x->items++) return;
  snprintf(x->item, sizeof x->item, "msg_%s", x->c->request);
  if (!x->stream) return;
  event_item(x, "response.output_item.added", "in_progress", false);
  event_text(x, "response.content_part.added", "part", STR(""), NULL);
}

static int hear(void *ctx, struct str piece, struct error *e) {
  struct response *x = ctx;
  if (call_client_left(x->c)) return error_set(e, E_CANCELLED, "the one who asked has left");
  begin_message(x);
  buf_str(&x->text, piece);
  if (x->stream) event_text(x, "response.output_text.delta", "delta", piece, &x->fresh);
  buf_clear(&x->fresh);
  if (x->live) TRY(stream_flush(x->c, e));
  return buf_check(&x->text, e);
}

static int hear_begin(void *ctx, struct error *e) {
  struct response *x = ctx;
  return stream_flush(x->c, e);
}

static int hear_token(void *ctx, const struct voice_token *t, struct error *e) {
  struct response *x = ctx;
  size_t from = x->tokens.n;
  if (from) buf_putc(&x->tokens, ',');
  foundry_token(x->c->voice, t, &x->tokens);
  TRY(buf_check(&x->tokens, e));
  from += from > 0;
  if (x->fresh.n) buf_putc(&x->fresh, ',');
  buf_put(&x->fresh, x->tokens.p + from, x->tokens.n - from);
  return buf_check(&x->fresh, e);
}

static int hear_tool(void *ctx, const char *name, struct str arguments, struct error *e) {
  struct response *x = ctx;
  if (x->items++) return error_set(e, E_LIMIT, "one item a response");
  snprintf(x->item, sizeof x->item, "fc_%s", x->c->request);
  snprintf(x->tool, sizeof x->tool, "%s", name);
  buf_str(&x->arguments, arguments);
  if (x->stream) {
    event_item(x, "response.output_item.added", "in_progress", false);
    event_arguments(x, "response.function_call_arguments.delta", "delta", arguments);
  }
  return buf_check(&x->arguments, e);
}

static void end_events(struct response *x, const struct chat_result *r) {
  bool cut = cut_by(r) != NULL;
  if (x->tool[0]) {
    event_arguments(x, "response.function_call_arguments.done", "arguments", (struct str){x->arguments.p, x->arguments.n});
  } else {
    event_text(x, "response.output_text.done", "text", said(x), &x->tokens);
    event_text(x, "response.content_part.done", "part", said(x), &x->tokens);
  }
  event_item(x, "response.output_item.done", cut ? "incomplete" : "completed", true);
  event_response(x, cut ? "response.incomplete" : "response.completed", "completed", r);
}

static int respond(struct call *c, struct foundry *f, struct response *x, struct error *e) {
  struct chat_sink to = {x, hear, hear_tool, hear_token, NULL};
  struct chat_result r;
  struct json_out o;
  x->c = x->q.call = c;
  c->events = 0;
  x->root = f->root;
  x->created = time_now() / 1000000;
  snprintf(x->id, sizeof x->id, "resp_%s", c->request);
  TRY(take_input(x, &f->arena, e));
  TRY(take_rest(x, e));
  if (x->stream) {
    const struct chat_backend *b = chat_backend_for(&x->q);
    x->live = b && b->streams && !c->shadow;
    if (x->live) to.begin = hear_begin;
    c->type = "text/event-stream; charset=utf-8";
    event_response(x, "response.created", "in_progress", NULL);
    event_response(x, "response.in_progress", "in_progress", NULL);
  }
  TRY(foundry_generate(&x->q, &to, &x->text, &r, e));
  if (!x->items) begin_message(x);
  if (x->stream) {
    end_events(x, &r);
    return OK;
  }
  json_out_init(&o, &c->out, false);
  response_json(x, "completed", &r, &o);
  return OK;
}

void answer_responses(struct call *c) {
  struct foundry f;
  struct error e = {0};
  c->status = 200;
  struct response *x = mem_alloc(sizeof *x);
  if (!x) {
    call_fail(c, 503, "nomem", NULL, "out of memory");
    return;
  }
  if (foundry_begin(c, &f, known)) {
    memset(x, 0, sizeof *x);
    if (respond(c, &f, x, &e) < 0) foundry_fail(c, &e, "input");
    if (x->text.p) mem_wipe(x->text.p, x->text.cap);
    buf_release(&x->text), buf_release(&x->arguments), buf_release(&x->fresh), buf_release(&x->tokens);
  }
  foundry_end(&f);
  mem_free(x);
}
