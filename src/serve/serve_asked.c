/* `vitae ask` as a tool of the server's in a developer's chat: {"type": "vitae_ask", "patient": RECORD, "rounds": N}. The record goes through the wall in
 * memory; the last user message is the question; what is said is what the record says, and what a language model adds stands by the record's events or is
 * away. Nothing else can be reached: not the store, not the site's documents, no other record. Shapes: docs/foundry.md. */
#include <string.h>

#include "predict/predict.h"
#include "serve/engine.h"
#include "serve/serve_ask.h"
#include "serve/serve_chat.h"
#include "serve/serve_voice.h"
#include "timeline/timeline.h"

#define ASKED_MEMORY (128u << 20)
enum { QUESTION_MOST = 4096, ROUNDS_MOST = 8 };

static struct json tool_of(const struct chat_request *q) {
  struct json tool;
  for (struct json_iter it = json_items(q->tools); !q->tools_off && json_kind(q->tools) == JSON_ARRAY && json_next(&it, &tool);)
    if (chat_is_ask(tool)) return tool;
  return (struct json){0};
}
bool chat_is_ask(struct json tool) { return str_eqc(json_str(json_get(tool, "type")), "vitae_ask"); }
static bool takes(const struct chat_request *q) { return json_kind(tool_of(q)) == JSON_OBJECT; }

struct asked {
  const struct chat_request *q;
  struct str question;
  struct buf record;
  int64_t rounds;
  struct patient patient;
  struct asker *k;
  struct predictor *predictor;
};

static int take_tool(struct asked *x, struct json tool, struct error *e) {
  static const char *const known[] = {"type", "patient", "rounds"};
  struct json v, patient = json_get(tool, "patient");
  struct str key;
  struct json_out o;
  if (json_count(x->q->tools) != 1) return foundry_bad(e, E_USAGE, "tools", "vitae_ask stands alone: no other tool beside it");
  for (struct json_iter it = json_members(tool); json_next_member(&it, &key, &v);) {
    size_t i = 0;
    while (i < sizeof known / sizeof *known && !str_eqc(key, known[i])) i++;
    if (i == sizeof known / sizeof *known)
      return foundry_bad(e, E_INPUT, "tools",
                         "vitae_ask has patient and rounds, and nothing else: its scope is the record that came with it");
  }
  TRY(want_whole(tool, "rounds", 0, ROUNDS_MOST, &x->rounds, e));
  if (json_kind(patient) == JSON_STRING) {
    buf_str(&x->record, json_str(patient));
  } else if (json_kind(patient) == JSON_OBJECT) {
    json_out_init(&o, &x->record, false);
    TRY(json_out_copy(&o, patient, e));
  } else {
    return foundry_bad(e, E_INPUT, "tools.patient", "expected a FHIR R4 Bundle, or an object with bundle or events");
  }
  return buf_check(&x->record, e);
}

static int take(struct asked *x, struct error *e) {
  const struct chat_request *q = x->q;
  x->rounds = 1;
  TRY(take_tool(x, tool_of(q), e));
  if (q->format != CHAT_TEXT) return foundry_bad(e, E_USAGE, "response_format", "vitae_ask answers in sentences");
  if (q->logprobs >= 0) return foundry_bad(e, E_USAGE, "logprobs", "sentences that were held against a record have no probabilities");
  if (q->messages && q->message[q->messages - 1].role == CHAT_USER) x->question = str_trim(q->message[q->messages - 1].text);
  if (!x->question.n || x->question.n > QUESTION_MOST)
    return foundry_bad(e, E_INPUT, "messages", "the last message is the user's question, at most 4,096 bytes");
  return OK;
}

/* The timeline model sees the record too, for a key that may use it. */
static struct predictor *predictor_of(struct speaking *s, struct error *e) {
  struct asked *x = s->ctx;
  if (!identity_may_use(&s->c->who, STR("vitae"))) {
    (void)error_set(e, E_UNAVAILABLE, "this key has no timeline model");
    return NULL;
  }
  if (!x->predictor && predictor_new(engine_model(call_engine(s->c)), session_timeline(x->patient.session), &x->predictor, e) < 0)
    return NULL;
  return x->predictor;
}

static int answer(struct asked *x, struct arena *a, struct ask_answer *r, struct error *e) {
  struct call *c = x->q->call;
  TRY(patient_open(c, (struct str){x->record.p, x->record.n}, NULL, &x->patient, e));
  TRY(session_finish(x->patient.session, e));
  TRY(asker_new(session_timeline(x->patient.session), &x->k, e));
  if (!c->voice) return ask(x->k, 0, x->question, a, r, e);
  if (voice_encoder(c->voice)) return foundry_bad(e, E_USAGE, "model", "this model gives embeddings; it does not chat");
  struct speaking s = {.c = c, .voice = c->voice, .predictor = predictor_of, .ctx = x};
  struct ask_scope scope = {.k = x->k};
  return call_speak(&s, &scope, x->question, &(struct ask_speak_options){.rounds = (int)x->rounds}, a, r, e);
}

/* A sentence a line; every one that rests on events names them. */
static int say(const struct ask_answer *r, struct chat_sink *to, struct error *e) {
  struct buf b = {0};
  int rc = OK;
  for (int i = 0; i < r->sentences && rc == OK; i++) {
    buf_printf(&b, "%s%.*s", i ? "\n" : "", STR_ARG(r->sentence[i].text));
    rc = buf_check(&b, e);
    if (rc == OK) rc = to->text(to->ctx, (struct str){b.p, b.n}, e);
    if (b.p) mem_wipe(b.p, b.cap);
    buf_clear(&b);
  }
  if (r->abstained && rc == OK) {
    buf_printf(&b, "%sNo answer: %s.", r->sentences ? "\n" : "", r->why);
    rc = buf_check(&b, e);
    if (rc == OK) rc = to->text(to->ctx, (struct str){b.p, b.n}, e);
  }
  buf_release(&b);
  return rc;
}

static int generate(const struct chat_request *q, struct chat_sink *to, struct chat_result *r, struct error *e) {
  struct asked x = {.q = q};
  struct ask_answer said = {0};
  struct arena a;
  arena_init(&a, ASKED_MEMORY, ARENA_WIPE);
  int rc = take(&x, e);
  if (rc == OK) rc = answer(&x, &a, &said, e);
  if (rc == OK) rc = say(&said, to, e);
  if (rc == OK && !q->call->voice) q->call->tokens_in = (int64_t)timeline_view(session_timeline(x.patient.session), 0).n;
  r->prompt_tokens = q->call->tokens_in, r->completion_tokens = q->call->tokens_out;
  predictor_free(x.predictor);
  asker_free(x.k);
  patient_close(&x.patient);
  if (x.record.p) mem_wipe(x.record.p, x.record.cap);
  buf_release(&x.record);
  arena_free(&a);
  return rc;
}

const struct chat_backend chat_asked = {"asked", false, false, takes, generate};
