/* What the developers' dialects share: api-version, bodies, deployments, formats. Shapes: docs/foundry.md. */
#include <math.h>
#include <string.h>

#include "serve/engine.h"
#include "serve/serve_chat.h"
#include "serve/serve_filter.h"
#include "serve/serve_voice.h"
#include "timeline/timeline.h"
#include "vitae.h"

#define REQUEST_MEMORY (64u << 20)
enum { ANSWER_TOKENS = 512 }; /* of an answer, where the caller does not say how long it may be */

int foundry_bad(struct error *e, int code, const char *field, const char *message) {
  char words[ERROR_MESSAGE]; /* the message may be the error's own */
  snprintf(words, sizeof words, "%s", message);
  (void)error_set(e, code, "%s", words);
  return error_where(e, NULL, 0, field);
}

void foundry_fail(struct call *c, const struct error *e, const char *field) {
  const char *where = e->field[0] ? e->field : field;
  if (e->code == E_USAGE)
    call_fail(c, 422, "parameter_not_supported", where, e->message);
  else if (error_http_status(e->code) == 500)
    call_error(c, e);
  else
    call_fail(c, error_http_status(e->code), error_name(e->code), where, e->message);
}

/* ---- api-version ---- */

static bool dated(struct str v, const char *from, const char *to) {
  char day[11];
  if (v.n != 10 && !(v.n == 18 && str_ends(v, STR("-preview")))) return false;
  snprintf(day, sizeof day, "%.*s", 10, v.p);
  for (int i = 0; i < 10; i++)
    if (i == 4 || i == 7 ? day[i] != '-' : day[i] < '0' || day[i] > '9') return false;
  if (strcmp(day + 5, "01-01") < 0 || strcmp(day + 5, "12-31") > 0 || strcmp(day + 8, "01") < 0 || strcmp(day + 8, "31") > 0) return false;
  return strcmp(day, from) >= 0 && strcmp(day, to) <= 0;
}

bool foundry_version(struct call *c) {
  struct str v = call_query(c, "api-version");
  bool good;
  switch (call_dialect(c)) {
    case DIALECT_OPENAI: good = !v.p || str_eqc(v, "v1") || str_eqc(v, "preview") || str_eqc(v, "latest"); break;
    case DIALECT_AZURE: good = v.p && dated(v, "2023-05-15", "2025-12-31"); break;
    case DIALECT_INFERENCE: good = v.p && dated(v, "2024-04-01", "2025-12-31"); break;
    default: good = true;
  }
  if (good || c->shadow) return true;
  if (!v.p)
    call_fail(c, 400, "MissingApiVersionParameter", "api-version",
              "the query parameter api-version is needed, as in api-version=2024-10-21");
  else
    call_fail(c, 400, "UnsupportedApiVersionValue", "api-version", "this api-version is not supported");
  return false;
}

/* ---- choices ---- */

static bool absent(struct json v) { return json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL; }

int want_number(struct json root, const char *name, double least, double most, double *out, struct error *e) {
  struct json v = json_get(root, name);
  char text[96];
  if (absent(v) || (json_f64(v, out) && *out >= least && *out <= most)) return OK;
  snprintf(text, sizeof text, "expected a number from %g to %g", least, most);
  return foundry_bad(e, E_INPUT, name, text);
}

int want_whole(struct json root, const char *name, int64_t least, int64_t most, int64_t *out, struct error *e) {
  struct json v = json_get(root, name);
  char text[96];
  if (absent(v) || (json_i64(v, out) && *out >= least && *out <= most)) return OK;
  snprintf(text, sizeof text, "expected a whole number from %lld to %lld", (long long)least, (long long)most);
  return foundry_bad(e, E_INPUT, name, text);
}

int want_flag(struct json root, const char *name, bool *out, struct error *e) {
  struct json v = json_get(root, name);
  return absent(v) || json_bool(v, out) ? OK : foundry_bad(e, E_INPUT, name, "expected true or false");
}

/* ---- bodies ---- */

/* Model Inference says in a header what becomes of members that nobody knows: an error (default), dropped, or passed to the model. */
static int check_members(struct call *c, struct json root, const char *const *known, struct error *e) {
  struct str key, extra = call_header(c, "extra-parameters");
  struct json v;
  bool drop = extra.p && !str_eqc(extra, "error");
  if (extra.p && !str_eqc(extra, "error") && !str_eqc(extra, "drop") && !str_eqc(extra, "pass-through") && !str_eqc(extra, "allow"))
    return foundry_bad(e, E_INPUT, "extra-parameters", "the header is error, drop or pass-through");
  for (struct json_iter it = json_members(root); json_next_member(&it, &key, &v);) {
    int i = 0;
    while (known[i] && !str_eqc(key, known[i])) i++;
    if (!known[i] && !drop) return foundry_bad(e, E_INPUT, "body", "an unknown member: see docs/foundry.md for those that are taken");
  }
  return OK;
}

/* Path, then header, then body; a deployment that the key may not use does not exist for it. */
static int choose(struct call *c, struct json root, struct error *e) {
  struct json model = json_get(root, "model");
  struct str name = call_header(c, "azureml-model-deployment");
  bool by_path = strstr(route_at(c->route)->route.path, "{deployment}") != NULL;
  enum dialect d = call_dialect(c);
  if (by_path) name = str_c(c->arg);
  if (!name.n && !absent(model)) {
    if (json_kind(model) != JSON_STRING || !json_str(model).n) return foundry_bad(e, E_INPUT, "model", "expected the name of a deployment");
    name = json_str(model);
  }
  if (!name.n && (d == DIALECT_INFERENCE || d == DIALECT_SCORE)) name = STR("vitae");
  if (!name.n) return foundry_bad(e, E_INPUT, "model", "the name of a deployment is missing");
  if (c->shadow) return OK; /* its version is chosen already */
  struct error why = {0};
  if (!identity_may_use(&c->who, name)) return foundry_bad(e, E_NOTFOUND, "model", "");
  int rc = fleet_route(c->server->fleet, name, &c->served, &c->mirror, &why);
  if (rc == E_UNAVAILABLE) return foundry_bad(e, rc, "model", why.message);
  if (rc < 0) {
    c->voice = d == DIALECT_SCORE ? NULL : voice_find(c->server->voices, name);
    if (!c->voice) return foundry_bad(e, E_NOTFOUND, "model", "");
  }
  if (name_plain(name, NAME_MOST)) snprintf(c->deployment, sizeof c->deployment, "%.*s", STR_ARG(name));
  return OK;
}

/* What it may cost, by the longest answer that the caller allows; settled when it is known. A text's token has about four characters, an event
 * takes about a kilobyte of FHIR. */
static int64_t estimate(const struct call *c, struct json root, const char *const *known) {
  static const char *const most[] = {"max_output_tokens", "max_tokens", "max_completion_tokens"}; /* the last one said */
  int64_t out = 0, said;
  for (; *known; known++)
    for (size_t i = 0; i < sizeof most / sizeof *most; i++)
      if (strcmp(*known, most[i]) == 0) out = ANSWER_TOKENS;
  for (size_t i = 0; out && i < sizeof most / sizeof *most; i++)
    if (json_i64(json_get(root, most[i]), &said) && said > 0 && said <= INT32_MAX) out = said;
  if (call_dialect(c) == DIALECT_SCORE) out = ANSWER_TOKENS * (int64_t)json_count(json_get(json_get(root, "input_data"), "data"));
  return 1 + (int64_t)c->body_n / (c->voice ? 4 : 1024) + out;
}

bool foundry_begin(struct call *c, struct foundry *f, const char *const *known) {
  struct error e = {0};
  *f = (struct foundry){0};
  arena_init(&f->arena, REQUEST_MEMORY, ARENA_WIPE);
  if (!foundry_version(c)) return false;
  int rc = json_parser_new(&f->parser, &e);
  if (rc == OK) rc = json_parse(f->parser, (const char *)c->body, c->body_n, c->body_cap, &f->root, &e);
  if (rc == OK && json_kind(f->root) != JSON_OBJECT) rc = foundry_bad(&e, E_INPUT, "body", "expected a JSON object");
  if (rc == OK) rc = check_members(c, f->root, known, &e);
  if (rc == OK) rc = choose(c, f->root, &e);
  if (rc == OK && !c->shadow && !call_reserve(c, estimate(c, f->root, known))) return false;
  c->to_talkers = rc == OK && c->voice && !c->talking;
  if (rc == OK) return !c->to_talkers;
  if (rc == E_NOTFOUND)
    call_fail(c, 404, "DeploymentNotFound", "model",
              "The API deployment for this resource does not exist. GET /openai/v1/models lists those that this key may use.");
  else
    foundry_fail(c, &e, "body");
  return false;
}

void foundry_end(struct foundry *f) {
  json_parser_free(f->parser);
  arena_free(&f->arena);
}

int foundry_text(struct arena *a, struct json content, struct str *out, struct error *e) {
  struct json part;
  struct buf b = {0};
  int rc = OK;
  *out = STR("");
  if (absent(content)) return OK;
  if (json_kind(content) == JSON_STRING) return *out = json_str(content), OK;
  if (json_kind(content) != JSON_ARRAY) return foundry_bad(e, E_INPUT, "messages.content", "expected a text, null or a list of parts");
  for (struct json_iter it = json_items(content); rc == OK && json_next(&it, &part);) {
    struct str type = json_str(json_get(part, "type")), text = json_str(json_get(part, "text"));
    bool words = str_eqc(type, "text") || str_eqc(type, "input_text") || str_eqc(type, "output_text");
    if (words && text.p)
      buf_str(&b, text);
    else if (words)
      rc = foundry_bad(e, E_INPUT, "messages.content.text", "expected a text");
    else if (str_eqc(type, "image_url") || str_eqc(type, "input_image") || str_eqc(type, "input_audio") || str_eqc(type, "input_file"))
      rc = foundry_bad(e, E_USAGE, "messages.content.type", "this model takes text parts only");
    else
      rc = foundry_bad(e, E_INPUT, "messages.content.type", "expected a part of type text");
  }
  if (rc == OK) rc = buf_check(&b, e);
  if (rc == OK && b.n) {
    *out = str_copy(a, (struct str){b.p, b.n});
    if (!out->p) rc = error_set(e, E_LIMIT, "the messages are too long");
  }
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

/* {"type": "json_schema", "json_schema": {name, schema, strict}}; flat in responses: {"type": "json_schema", name, schema, strict} */
int foundry_format(struct json format, bool flat, const char *field, struct chat_request *q, struct error *e) {
  struct str type = json_str(json_get(format, "type"));
  if (absent(format)) return OK;
  if (str_eqc(type, "text")) return OK;
  if (str_eqc(type, "json_object")) return q->format = CHAT_JSON, OK;
  if (!str_eqc(type, "json_schema")) return foundry_bad(e, E_INPUT, field, "expected a type: text, json_object or json_schema");
  struct json inner = flat ? format : json_get(format, "json_schema"), schema = json_get(inner, "schema");
  struct str name = json_str(json_get(inner, "name"));
  bool strict = false, plain = name.n && name.n <= 64;
  for (size_t i = 0; plain && i < name.n; i++) {
    char l = name.p[i];
    plain = (l >= 'a' && l <= 'z') || (l >= 'A' && l <= 'Z') || (l >= '0' && l <= '9') || l == '_' || l == '-';
  }
  if (!plain) return foundry_bad(e, E_INPUT, field, "a schema has a name of at most 64 letters, digits, '_' and '-'");
  TRY(want_flag(inner, "strict", &strict, e));
  if (!absent(schema) && json_kind(schema) != JSON_OBJECT) return foundry_bad(e, E_INPUT, field, "a schema is a JSON object");
  q->format = CHAT_SCHEMA;
  q->schema = schema;
  return OK;
}

int foundry_choice(struct json choice, struct chat_request *q, struct error *e) {
  struct str word = json_str(choice);
  q->tool_choice = choice;
  q->tools_off = str_eqc(word, "none");
  if (absent(choice) || json_kind(choice) == JSON_OBJECT || q->tools_off || str_eqc(word, "auto") || str_eqc(word, "required")) return OK;
  return foundry_bad(e, E_INPUT, "tool_choice", "expected auto, none, required or an object that names a function");
}

/* ---- running a backend ---- */

const struct chat_backend *chat_backend_for(const struct chat_request *q) {
  static const struct chat_backend *const all[] = {&chat_asked, &chat_words, &chat_timeline};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (all[i]->takes(q)) return all[i];
  return NULL;
}

int foundry_hold(const struct chat_request *q, struct buf *text, struct error *e) {
  struct json_parser *jp;
  struct json v;
  TRY(json_parser_new(&jp, e));
  buf_reserve(text, 64);
  int rc = json_parse(jp, text->p ? text->p : "", text->n, text->cap, &v, NULL);
  if (rc < 0 || json_kind(v) != JSON_OBJECT)
    rc = foundry_bad(e, E_USAGE, "response_format", "the answer is no JSON object");
  else if (q->format == CHAT_SCHEMA && json_kind(q->schema) == JSON_OBJECT)
    rc = schema_check(q->schema, v, e);
  json_parser_free(jp);
  if (rc == E_INPUT) {
    char words[ERROR_MESSAGE];
    snprintf(words, sizeof words, "the answer cannot meet the requested schema: %.200s", e->message);
    return foundry_bad(e, E_USAGE, "response_format", words);
  }
  return rc < 0 ? foundry_bad(e, rc, "response_format", e->message) : OK;
}

int foundry_generate(const struct chat_request *q, struct chat_sink *to, struct buf *text, struct chat_result *r, struct error *e) {
  const struct chat_backend *b = chat_backend_for(q);
  if (!b) return foundry_bad(e, E_USAGE, "model", "this deployment does not answer chats");
  *r = (struct chat_result){.finish = "stop"};
  struct filtering x;
  filtering_begin(&x, q->call, to, q->format != CHAT_TEXT || b->json, b->json);
  int rc = filtering_end(&x, b->generate(q, &x.sink, r, e), r, e);
  q->call->tokens_in = r->prompt_tokens; /* also of what was cut off: the audit says what it took */
  q->call->tokens_out = r->completion_tokens;
  TRY(rc);
  if (q->format == CHAT_TEXT || strcmp(r->finish, "stop") != 0) return OK;
  return foundry_hold(q, text, e);
}

/* ---- tokens ---- */

/* A token may be a part of a character: its text is then no UTF-8, and `bytes` says what it is. */
static void put_token(struct json_out *o, struct str text, float logprob) {
  json_kv_str(o, "token", str_utf8_valid(text) ? text : STR("\xEF\xBF\xBD"));
  json_kv_f64(o, "logprob", (double)logprob);
  json_out_key(o, "bytes");
  json_out_array(o);
  for (size_t i = 0; i < text.n; i++) json_out_i64(o, (unsigned char)text.p[i]);
  json_out_end(o);
}

void foundry_token(const struct voice *v, const struct voice_token *t, struct buf *out) {
  struct json_out o;
  json_out_init(&o, out, false);
  json_out_object(&o);
  put_token(&o, t->text, t->logprob);
  json_out_key(&o, "top_logprobs");
  json_out_array(&o);
  for (int i = 0; i < t->tops; i++) {
    json_out_object(&o);
    put_token(&o, voice_token_text(v, t->top[i].token), t->top[i].logprob);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
}

/* ---- a patient ---- */

static int records(struct call *c, struct str text, struct patient *p, struct error *e) {
  struct json_parser *jp = NULL;
  struct buf b = {0};
  struct str doc = STR_NONE;
  bool fhir = false;
  TRY(json_parser_new(&jp, e));
  int rc = patient_document(text, text.n, jp, &p->ask, &b, &doc, &fhir, e);
  json_parser_free(jp);
  struct vitae_error ve = {0};
  if (rc == OK && vitae_session_open(call_engine(c), &p->session, &ve) < 0) rc = error_set(e, ve.code, "%s", ve.message);
  if (rc == OK) session_cancel(p->session, call_left, c);
  if (rc == OK) rc = session_records(p->session, doc.p, doc.n, fhir, e);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

int patient_open(struct call *c, struct str text, const struct ask *defaults, struct patient *p, struct error *e) {
  *p = (struct patient){0};
  if (defaults) p->ask = *defaults;
  int rc = records(c, str_trim(text), p, e);
  if (rc < 0) patient_close(p);
  return rc;
}

void patient_close(struct patient *p) {
  vitae_session_close(p->session);
  p->session = NULL;
}

static void maybe_number(struct json_out *o, const char *key, double v) {
  json_out_key(o, key);
  if (isfinite(v))
    json_out_f64(o, v);
  else
    json_out_null(o);
}

int patient_query(struct call *c, const struct patient *p, struct session_query *q, struct error *e) {
  *q = (struct session_query){.futures = (int)p->ask.futures,
                              .explain = (int)p->ask.explain,
                              .outcomes = (int)p->ask.outcomes,
                              .horizon_days = p->ask.horizon_days,
                              .seed = (uint64_t)p->ask.seed};
  if (p->ask.task[0] && !(q->task = engine_task(call_engine(c), p->ask.task)))
    return foundry_bad(e, E_NOTFOUND, "task", "this deployment offers no task of that name");
  return OK;
}

void patient_head(struct call *c, const struct patient *p, const struct session_summary *sum, struct json_out *o) {
  snprintf(c->pseudonym, sizeof c->pseudonym, "%lld", (long long)timeline_view(session_timeline(p->session), 0).subject);
  json_out_object(o);
  json_kv_c(o, "version", vitae_engine_id(call_engine(c)));
  json_out_key(o, "task");
  p->ask.task[0] ? json_out_c(o, p->ask.task) : json_out_null(o);
  json_kv_bool(o, "applies", sum->applies);
  json_out_key(o, "reason");
  sum->refusal ? json_out_c(o, sum->refusal) : json_out_null(o);
  maybe_number(o, "probability", sum->applies ? sum->probability : NAN);
  maybe_number(o, "hazard", sum->applies ? sum->hazard : NAN);
  json_kv_bool(o, "dead", sum->dead);
  json_kv_i64(o, "events", sum->events);
  json_kv_i64(o, "unknown_codes", sum->unknown_codes);
}

int patient_answer(struct call *c, struct patient *p, struct json_out *o, uint32_t *events, struct error *e) {
  struct session_summary sum = {0};
  struct session_query q;
  struct buf body = {0};
  struct json_out inner;
  TRY(patient_query(c, p, &q, e));
  json_out_init(&inner, &body, false);
  json_out_object(&inner);
  int rc = session_answer(p->session, &q, &inner, &sum, e);
  if (rc == OK) {
    json_out_end(&inner);
    rc = buf_check(&body, e);
  }
  if (rc == OK) {
    patient_head(c, p, &sum, o);
    buf_putc(o->to, ','); /* the members that the session wrote, without their braces */
    buf_put(o->to, body.p + 1, body.n - 2);
    json_out_end(o);
    *events = sum.events;
  }
  buf_release(&body);
  return rc;
}
