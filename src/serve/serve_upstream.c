#include "serve/serve_upstream.h"

#include <stdio.h>

#include "base/file.h"
#include "serve/serve_fetch.h"

enum { SECONDS = 600, LINE_MOST = 1 << 20, CALLS = 16, CONTEXT = 8192 };
#define TEXT_MOST (4u << 20)

struct upstream {
  struct arena arena;
  const char *url, *model, *key_file;
  int context;
  struct fetcher *fetcher;
};

static int text_of(struct arena *a, struct json j, const char *key, bool needed, const char **out, struct error *e) {
  struct str s = json_str(json_get(j, key));
  *out = NULL;
  if (!s.n) return needed ? error_set(e, E_INPUT, "an upstream's %s is missing", key) : OK;
  *out = arena_strndup(a, s.p, s.n);
  return *out ? OK : error_set(e, E_NOMEM, "out of memory");
}

static int configure(struct upstream *u, struct json config, struct error *e) {
  const char *ca;
  int64_t context = CONTEXT;
  char *address;
  TRY(text_of(&u->arena, config, "url", true, &u->url, e));
  TRY(text_of(&u->arena, config, "model", true, &u->model, e));
  TRY(text_of(&u->arena, config, "key_file", false, &u->key_file, e));
  TRY(text_of(&u->arena, config, "ca", false, &ca, e));
  if (json_i64(json_get(config, "context"), &context) && (context < 512 || context > 1 << 22))
    return error_set(e, E_INPUT, "an upstream's context is 512 to 4194304 tokens");
  u->context = (int)context;
  size_t n = strlen(u->url);
  while (n && u->url[n - 1] == '/') n--;
  address = arena_alloc(&u->arena, n + 32, 1);
  if (!address) return error_set(e, E_NOMEM, "out of memory");
  snprintf(address, n + 32, "%.*s/chat/completions", (int)n, u->url);
  u->url = address;
  return fetcher_open(&(struct fetch_policy){.allow = (const char *const[]){address}, .allowed = 1, .ca = ca}, &u->fetcher, e);
}

int upstream_open(struct json config, struct upstream **out, struct error *e) {
  struct upstream *u = mem_alloc(sizeof *u);
  if (!u) return error_set(e, E_NOMEM, "out of memory");
  *u = (struct upstream){0};
  arena_init(&u->arena, 1 << 20, 0);
  int rc = configure(u, config, e);
  if (rc < 0)
    upstream_close(u);
  else
    *out = u;
  return rc;
}
void upstream_close(struct upstream *u) {
  if (!u) return;
  fetcher_close(u->fetcher);
  arena_free(&u->arena);
  mem_free(u);
}
int upstream_context(const struct upstream *u) { return u->context; }

/* ---- asking ---- */

static void put_messages(const struct voice_request *r, struct json_out *o) {
  json_out_key(o, "messages");
  if (r->raw_messages.n) {
    json_out_raw(o, r->raw_messages);
    return;
  }
  json_out_array(o);
  for (int i = 0; i < r->messages; i++) {
    json_out_object(o);
    json_kv_c(o, "role", r->message[i].role);
    json_kv_str(o, "content", r->message[i].content);
    json_out_end(o);
  }
  json_out_end(o);
}

static int put_request(const struct upstream *u, const struct voice_request *r, struct buf *b, struct error *e) {
  struct json_out o;
  json_out_init(&o, b, false);
  json_out_object(&o);
  json_kv_c(&o, "model", u->model);
  put_messages(r, &o);
  if (r->most > 0) json_kv_i64(&o, "max_tokens", r->most);
  json_kv_f64(&o, "temperature", (double)r->temperature);
  if (r->top_p > 0) json_kv_f64(&o, "top_p", (double)r->top_p);
  if (r->seed) json_kv_i64(&o, "seed", (int64_t)(r->seed & INT32_MAX));
  json_kv_bool(&o, "stream", true);
  json_out_key(&o, "stream_options");
  json_out_raw(&o, STR("{\"include_usage\":true}"));
  if (r->stops) {
    json_out_key(&o, "stop");
    json_out_array(&o);
    for (int i = 0; i < r->stops; i++) json_out_str(&o, r->stop[i]);
    json_out_end(&o);
  }
  if (r->schema.n) {
    json_out_key(&o, "response_format");
    json_out_raw(&o, STR("{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"schema\":"));
    buf_str(b, r->schema);
    buf_puts(b, "}}");
  }
  if (r->tools.n) json_out_key(&o, "tools"), json_out_raw(&o, r->tools);
  if (r->tools.n && r->tool_choice.n) json_out_key(&o, "tool_choice"), json_out_raw(&o, r->tool_choice);
  json_out_end(&o);
  return buf_check(b, e);
}

/* ---- hearing: server-sent events, line by line ---- */

struct called {
  struct buf name, arguments;
};
struct hearing {
  const struct voice_request *r;
  struct voice_result *out;
  struct json_parser *parser;
  struct buf line;
  struct called call[CALLS];
  size_t said;
  bool ended;
  int rc;
  struct error *e;
};

static int take_calls(struct hearing *h, struct json calls) {
  struct json one;
  int64_t at;
  for (struct json_iter it = json_items(calls); json_next(&it, &one);) {
    if (!json_i64(json_get(one, "index"), &at)) at = 0;
    if (at < 0 || at >= CALLS) return error_set(h->e, E_LIMIT, "the upstream calls too many functions");
    struct json f = json_get(one, "function");
    buf_str(&h->call[at].name, json_str(json_get(f, "name")));
    buf_str(&h->call[at].arguments, json_str(json_get(f, "arguments")));
    h->said += json_str(json_get(f, "arguments")).n;
    if (h->call[at].name.failed || h->call[at].arguments.failed) return error_set(h->e, E_NOMEM, "out of memory");
  }
  return OK;
}

static int take_chunk(struct hearing *h, struct str json) {
  struct json root, choice, usage;
  int64_t n;
  if (str_eqc(json, "[DONE]")) return h->ended = true, OK;
  if (json_parse(h->parser, json.p, json.n, json.n, &root, NULL) < 0)
    return error_set(h->e, E_UNAVAILABLE, "the upstream's stream cannot be read");
  if (json_kind(json_get(root, "error")) == JSON_OBJECT) return error_set(h->e, E_UNAVAILABLE, "the upstream failed on its way");
  usage = json_get(root, "usage");
  if (json_i64(json_get(usage, "prompt_tokens"), &n)) h->out->prompt = (int)n;
  if (json_i64(json_get(usage, "completion_tokens"), &n)) h->out->generated = (int)n;
  if (json_i64(json_get(json_get(usage, "prompt_tokens_details"), "cached_tokens"), &n)) h->out->cached = (int)n;
  choice = json_at(json_get(root, "choices"), 0);
  struct json delta = json_get(choice, "delta");
  struct str text = json_str(json_get(delta, "content")), finish = json_str(json_get(choice, "finish_reason"));
  if (finish.n) h->ended = true;
  if (str_eqc(finish, "length")) h->out->cut = true;
  TRY(take_calls(h, json_get(delta, "tool_calls")));
  if ((h->said += text.n) > TEXT_MOST) return error_set(h->e, E_LIMIT, "the upstream's answer is too long");
  return text.n ? h->r->text(h->r->ctx, text, h->e) : OK;
}

static int on_bytes(void *ctx, const char *p, size_t n) {
  struct hearing *h = ctx;
  for (size_t i = 0; i < n && h->rc == OK; i++) {
    if (p[i] != '\n') {
      buf_putc(&h->line, p[i]);
      if (h->line.failed || h->line.n > LINE_MOST) h->rc = error_set(h->e, E_LIMIT, "a line of the upstream's is too long");
      continue;
    }
    struct str line = str_trim((struct str){h->line.p ? h->line.p : "", h->line.n});
    if (str_starts(line, STR("data:"))) h->rc = take_chunk(h, str_trim((struct str){line.p + 5, line.n - 5}));
    buf_clear(&h->line);
  }
  if (h->rc == OK && h->r->left && h->r->left(h->r->ctx)) h->rc = error_set(h->e, E_CANCELLED, "the one who asked has left");
  return h->rc;
}

static int judge(const struct fetch_answer *a, struct error *e) {
  if (a->status >= 200 && a->status < 300) return OK;
  if (a->status == 429) return error_set(e, E_BUSY, "the upstream has too much to do; try again later");
  if (a->status == 401 || a->status == 403) return error_set(e, E_UNAVAILABLE, "the upstream refuses our key");
  if (a->status == 400 || a->status == 413 || a->status == 422)
    return error_set(e, E_INPUT, "the upstream refuses the request (status %d)", a->status);
  return error_set(e, E_UNAVAILABLE, "the upstream answers with status %d", a->status);
}

static int hand_calls(struct hearing *h) {
  for (int i = 0; i < CALLS; i++) {
    if (!h->call[i].name.n) continue;
    if (memchr(h->call[i].name.p, 0, h->call[i].name.n)) return error_set(h->e, E_UNAVAILABLE, "the upstream calls a function by no name");
    struct str arguments = h->call[i].arguments.n ? (struct str){h->call[i].arguments.p, h->call[i].arguments.n} : STR("{}");
    if (!h->r->tool) return error_set(h->e, E_UNAVAILABLE, "the upstream calls a function that was not offered");
    TRY(h->r->tool(h->r->ctx, buf_cstr(&h->call[i].name), arguments, h->e));
  }
  return OK;
}

static void release(struct hearing *h) {
  json_parser_free(h->parser);
  for (int i = 0; i < CALLS; i++) buf_release(&h->call[i].name), buf_release(&h->call[i].arguments);
  if (h->line.p) mem_wipe(h->line.p, h->line.cap);
  buf_release(&h->line);
}

int upstream_hear(const struct voice_request *r, const char *bytes, size_t n, struct voice_result *out, struct error *e) {
  struct hearing h = {.r = r, .out = out, .e = e};
  TRY(json_parser_new(&h.parser, e));
  int rc = on_bytes(&h, bytes, n);
  if (rc == OK && !h.ended) rc = error_set(e, E_UNAVAILABLE, "the upstream broke off");
  if (rc == OK) rc = hand_calls(&h);
  release(&h);
  return rc;
}

static int ask_it(struct upstream *u, struct hearing *h, struct str body, struct str key, struct error *e) {
  struct fetch_answer a = {0};
  struct fetch_request q = {.url = str_c(u->url),
                            .bearer = key,
                            .accept = "text/event-stream",
                            .type = "application/json",
                            .body = body,
                            .timeout_ms = SECONDS * 1000,
                            .take = on_bytes,
                            .ctx = h};
  struct error why = {0};
  int rc = fetch(u->fetcher, &q, &a, &why);
  if (h->rc < 0)
    rc = h->rc;
  else if (rc < 0)
    *e = why;
  else
    rc = judge(&a, e);
  fetch_release(&a);
  if (rc == OK && !h->ended) rc = error_set(e, E_UNAVAILABLE, "the upstream broke off");
  return rc == OK ? hand_calls(h) : rc;
}

int upstream_say(struct upstream *u, const struct voice_request *r, struct voice_result *out, struct error *e) {
  struct hearing h = {.r = r, .out = out, .e = e};
  struct arena a;
  struct buf body = {0};
  struct str key = STR_NONE;
  *out = (struct voice_result){0};
  if (r->logprobs >= 0) return error_set(e, E_USAGE, "log-probabilities of an upstream are not passed on");
  arena_init(&a, 1 << 16, ARENA_WIPE);
  int rc = put_request(u, r, &body, e);
  if (rc == OK && u->key_file) rc = file_read(&a, u->key_file, 4096, &key, e);
  if (rc == OK) rc = json_parser_new(&h.parser, e);
  if (rc == OK) rc = ask_it(u, &h, (struct str){body.p, body.n}, str_trim(key), e);
  release(&h);
  if (body.p) mem_wipe(body.p, body.cap);
  buf_release(&body);
  arena_free(&a);
  return rc;
}
