/* The seam between the dialects of chat and what answers: a backend takes a parsed conversation and hands text, piece by piece, to a sink.
 * The dialects (serve_chat.c, serve_responses.c) make JSON or server-sent events of it, count, validate, audit.
 *
 *     static int generate(const struct chat_request *q, struct chat_sink *to, struct chat_result *r, struct error *e) {
 *       TRY(to->text(to->ctx, STR("Good morning"), e));             // E_CANCELLED: the client left; stop and return it
 *       r->finish = "stop", r->prompt_tokens = 3, r->completion_tokens = 2;
 *       return OK;
 *     }
 *     const struct chat_backend chat_words = {"words", true, false, takes, generate};   // and a row in serve_backend.c: the first that takes the call answers
 *
 * A backend runs in a model worker or, for language models, in a talker; one call at a time a thread. Text is UTF-8. What it cannot do is an error whose field is the
 * request's own ("response_format") and whose code is E_USAGE: the dialect says 422, parameter_not_supported.
 */
#ifndef SERVE_CHAT_H
#define SERVE_CHAT_H
#include "serve/serve_private.h"

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL };
struct chat_message {
  enum chat_role role;
  struct str text; /* parts joined; "" = none */
  struct str tool_call_id;
  struct json tool_calls; /* of an assistant's message that called: [{function: {name, arguments}}]; JSON_NONE */
};
enum chat_format { CHAT_TEXT, CHAT_JSON, CHAT_SCHEMA };
struct chat_request {
  struct call *call;
  const struct chat_message *message;
  int messages;
  struct json
      tools;      /* list of {type: "function", function: {name, description, parameters}} or, in responses, the flat form; or JSON_NONE */
  bool tools_off; /* tool_choice: none */
  struct json tool_choice; /* "auto", "required", {function: {name}} or flat {name}; JSON_NONE */
  bool one_call;           /* no parallel calls */
  enum chat_format format;
  struct json schema; /* with CHAT_SCHEMA; JSON_NONE = any object */
  struct json metadata;
  double temperature, top_p;                  /* NaN = not said */
  int64_t max_tokens;                         /* 0 = not said */
  int64_t seed;                               /* 0 = not said */
  struct json stop;                           /* text or list, or JSON_NONE */
  int logprobs;                               /* alternatives asked for, -1 = none */
  double frequency_penalty, presence_penalty; /* 0 = not said */
  struct json logit_bias;
};
struct voice_token; /* serve_voice.h */
struct chat_sink {
  void *ctx;
  int (*text)(void *ctx, struct str piece, struct error *e);
  int (*tool)(void *ctx, const char *name, struct str arguments, struct error *e);
  int (*token)(void *ctx, const struct voice_token *t, struct error *e); /* with logprobs, before the text it belongs to; or NULL */
  int (*begin)(void *ctx, struct error *e); /* from here on only an accident can end the answer: a stream's head may leave; or NULL */
};
struct chat_result {
  const char *finish; /* stop, length, tool_calls, content_filter */
  int64_t prompt_tokens, completion_tokens, cached_tokens;
};
struct chat_backend {
  const char *name;
  bool streams; /* its text leaves as it comes */
  bool json;    /* its text is a JSON document that the server writes, asked for or not */
  bool (*takes)(const struct chat_request *q);
  int (*generate)(const struct chat_request *q, struct chat_sink *to, struct chat_result *r, struct error *e);
};
extern const struct chat_backend chat_asked;    /* serve_asked.c: questions about a record that came along, by the tool vitae_ask */
bool chat_is_ask(struct json tool);             /* {"type": "vitae_ask", …} */
extern const struct chat_backend chat_timeline; /* serve_timeline.c: answers for one patient, as a JSON document */
extern const struct chat_backend chat_words;    /* serve_words.c: a language model of the site */
const struct chat_backend *chat_backend_for(const struct chat_request *q);

/* ---- what the dialects share (serve_foundry.c) ---- */
struct foundry { /* one request's body and what was made of it; freed by foundry_end */
  struct json_parser *parser;
  struct json root;
  struct arena arena; /* wiped */
};
/* api-version, body, extra members (`known`: names, NULL at the end), deployment; false: the call has failed, or is for the talkers. */
bool foundry_begin(struct call *c, struct foundry *f, const char *const *known);
void foundry_end(struct foundry *f);
void foundry_fail(struct call *c, const struct error *e, const char *field); /* E_USAGE: 422; `field` where the error names none */
bool foundry_version(struct call *c);                                        /* api-version alone, for routes without a body */
/* Choices of a body, each with its type checked; absent or null leaves *out. */
int want_number(struct json root, const char *name, double least, double most, double *out, struct error *e) MUST_CHECK;
int want_whole(struct json root, const char *name, int64_t least, int64_t most, int64_t *out, struct error *e) MUST_CHECK;
int foundry_choice(struct json choice, struct chat_request *q, struct error *e) MUST_CHECK; /* tool_choice */
int want_flag(struct json root, const char *name, bool *out, struct error *e) MUST_CHECK;
int foundry_bad(struct error *e, int code, const char *field, const char *message);
/* Text of a message: a string, null, or a list of text parts. */
int foundry_text(struct arena *a, struct json content, struct str *out, struct error *e) MUST_CHECK;
/* response_format or text.format */
int foundry_format(struct json format, bool flat, const char *field, struct chat_request *q, struct error *e) MUST_CHECK;
/* Holds a text against the requested form; its buffer grows. E_USAGE: it does not fit. */
int foundry_hold(const struct chat_request *q, struct buf *text, struct error *e) MUST_CHECK;
/* Appends {token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}. */
void foundry_token(const struct voice *v, const struct voice_token *t, struct buf *out);
/* Runs the backend, then holds its text against the requested schema. E_USAGE: it cannot be met. */
int foundry_generate(const struct chat_request *q, struct chat_sink *to, struct buf *text, struct chat_result *r,
                     struct error *e) MUST_CHECK;

/* ---- a patient in a request ---- */
struct vitae_session;
struct session_query;
struct session_summary;
struct patient {
  struct vitae_session *session;
  struct ask ask;
};
int patient_open(struct call *c, struct str text, const struct ask *defaults, struct patient *p, struct error *e) MUST_CHECK;
void patient_close(struct patient *p);
/* v (width of the engine) of one patient. */
int embedding_row(struct call *c, struct str text, bool mean, float *v, uint32_t *events, struct error *e) MUST_CHECK;
/* E_NOTFOUND: no such task. The members of the answer before "prediction", in an object that stays open; notes the pseudonym in the call. */
int patient_query(struct call *c, const struct patient *p, struct session_query *q, struct error *e) MUST_CHECK;
void patient_head(struct call *c, const struct patient *p, const struct session_summary *sum, struct json_out *o);
/* The answer's document (docs/foundry.md): version, task, applies, probability, hazard, events, prediction, wall. */
int patient_answer(struct call *c, struct patient *p, struct json_out *o, uint32_t *events, struct error *e) MUST_CHECK;

/* ---- JSON schema (serve_schema.c): the subset that strict structured output uses ---- */
/* OK, E_INPUT (does not fit), E_USAGE (a keyword that is not understood, or too deep). Messages name keywords, never values. */
int schema_check(struct json schema, struct json value, struct error *e) MUST_CHECK;
/* The value without the members that the schema forbids (additionalProperties: false), in the schema's order. */
int schema_project(struct json schema, struct json value, struct json_out *o, struct error *e) MUST_CHECK;
#endif
