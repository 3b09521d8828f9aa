/* POST /v1/ask: a question about one subject of the store, or about all of them. Shapes: docs/ask.md. */
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "govern/site.h"
#include "serve/engine.h"
#include "serve/serve_ask.h"
#include "serve/serve_voice.h"
#include "timeline/timeline.h"

#define ANSWER_MEMORY (256u << 20)

struct question {
  struct str text;
  bool one; /* about a subject, not the store */
  uint32_t index;
  struct voice *voice, *encoder; /* NULL: none is asked for */
  int64_t rounds;
  bool unsupported;
};

static int bad(struct error *e, int code, const char *field, const char *what) {
  (void)error_set(e, code, "%s", what);
  return error_where(e, NULL, 0, field);
}

static int check_members(struct json root, struct error *e) {
  static const char *const known[] = {"question", "subject", "model", "encoder", "rounds", "unsupported"};
  struct str key;
  struct json v;
  for (struct json_iter it = json_members(root); json_next_member(&it, &key, &v);) {
    size_t i = 0;
    while (i < sizeof known / sizeof *known && !str_eqc(key, known[i])) i++;
    if (i == sizeof known / sizeof *known)
      return bad(e, E_INPUT, "body", "an unknown member; known are question, subject, model, encoder, rounds, unsupported");
  }
  return OK;
}

static int take_subject(struct call *c, struct json v, struct question *q, struct error *e) {
  int64_t id;
  if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) return OK;
  if (json_kind(v) != JSON_STRING || str_to_i64(json_str(v), &id) < 0)
    return bad(e, E_INPUT, "subject", "expected a pseudonym as a text of digits");
  if (timeline_find(c->server->store, id, &q->index, NULL) < 0) return bad(e, E_NOTFOUND, "subject", "there is no such subject");
  q->one = true;
  return OK;
}

static int take_voice(struct call *c, struct json v, const char *field, bool encoder, struct voice **out, struct error *e) {
  if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) return OK;
  if (json_kind(v) != JSON_STRING) return bad(e, E_INPUT, field, "expected the name of a language model of the site");
  *out = voice_find(c->server->voices, json_str(v));
  if (!*out || voice_encoder(*out) != encoder)
    return bad(e, E_NOTFOUND, field, encoder ? "this site has no encoder of that name" : "this site has no language model of that name");
  return OK;
}

static int read_question(struct call *c, struct json root, struct question *q, struct error *e) {
  if (json_kind(root) != JSON_OBJECT) return bad(e, E_INPUT, "body", "expected a JSON object");
  TRY(check_members(root, e));
  q->text = json_str(json_get(root, "question"));
  if (!str_trim(q->text).n) return bad(e, E_INPUT, "question", "expected a question as a text");
  if (!c->server->store) return error_set(e, E_NOTFOUND, "this site has no timelines");
  TRY(take_subject(c, json_get(root, "subject"), q, e));
  TRY(take_voice(c, json_get(root, "model"), "model", false, &q->voice, e));
  TRY(take_voice(c, json_get(root, "encoder"), "encoder", true, &q->encoder, e));
  if (q->voice && !q->one) return bad(e, E_INPUT, "model", "a language model helps with questions about a subject");
  struct json rounds = json_get(root, "rounds"), show = json_get(root, "unsupported");
  q->rounds = 1;
  if (json_kind(rounds) != JSON_NONE && (!json_i64(rounds, &q->rounds) || q->rounds < 0 || q->rounds > 8))
    return bad(e, E_INPUT, "rounds", "expected a whole number from 0 to 8");
  if (json_kind(show) != JSON_NONE && !json_bool(show, &q->unsupported)) return bad(e, E_INPUT, "unsupported", "expected true or false");
  return OK;
}

/* Made at the first question: not every server is asked any. */
int server_asker(struct server *s, struct asker **out, struct error *e) {
  int rc = OK;
  pthread_mutex_lock(&s->desk_mutex);
  if (!s->asker) rc = asker_new(s->store, &s->asker, e);
  *out = s->asker;
  pthread_mutex_unlock(&s->desk_mutex);
  return rc;
}

/* ---- with a language model ---- */

static int hear(void *ctx, struct str piece, struct error *e) {
  struct speaking *x = ctx;
  buf_str(x->out, piece);
  return buf_check(x->out, e);
}
static bool has_left(void *ctx) { return call_client_left(((struct speaking *)ctx)->c); }

/* A prompt about a patient is nobody else's beginning: a tenant of its own for each key. */
static int say(void *ctx, const struct lm_message *m, int n, struct str schema, int most, struct buf *out, struct error *e) {
  struct speaking *x = ctx;
  struct voice_result said;
  x->out = out;
  struct voice_request r = {.message = m,
                            .messages = n,
                            .schema = schema,
                            .most = most,
                            .tenant = hash64(x->c->who.key, strlen(x->c->who.key), 19),
                            .logprobs = -1,
                            .text = hear,
                            .left = has_left,
                            .ctx = x};
  int rc = voice_say(x->voice, &r, &said, e);
  x->c->tokens_in += said.prompt, x->c->tokens_out += said.generated;
  return rc;
}
static int embed(void *ctx, const struct str *texts, size_t n, float *out, struct error *e) {
  struct speaking *x = ctx;
  int64_t tokens;
  int rc = voice_embed(x->encoder, texts, n, false, out, &tokens, e);
  x->c->tokens_in += tokens;
  return rc;
}
static struct predictor *predictor_of(void *ctx, struct error *e) {
  struct speaking *x = ctx;
  return x->predictor(x, e);
}

int call_speak(struct speaking *x, struct ask_scope *s, struct str question, const struct ask_speak_options *o, struct arena *a,
               struct ask_answer *out, struct error *e) {
  TRY(voice_wake(x->voice, e));
  if (x->encoder) TRY(voice_wake(x->encoder, e));
  struct encoder enc = {x->encoder ? voice_name(x->encoder) : "", x->encoder ? voice_width(x->encoder) : 0, embed, x};
  struct speaker v = {voice_name(x->voice), voice_context(x->voice), say, x};
  s->encoder = x->encoder ? &enc : NULL;
  s->predictor = x->predictor ? predictor_of : NULL;
  s->cancelled = has_left;
  s->ctx = x;
  return ask_speak(s, &v, question, o, a, out, e);
}

static struct predictor *of_the_store(struct speaking *x, struct error *e) { return worker_predictor(x->c, e); }

static int speak(struct call *c, struct asker *k, const struct question *q, struct arena *a, struct ask_answer *r, struct error *e) {
  struct speaking x = {.c = c, .voice = q->voice, .encoder = q->encoder, .predictor = of_the_store};
  const struct vitae_engine *en = call_engine(c);
  struct ask_scope s = {.k = k, .index = q->index, .task = engine_tasks(en) ? engine_task_at(en, 0) : NULL};
  char path[4096];
  TRY(site_path(engine_site(en), path, "knowledge.db", NULL));
  if (file_exists(path)) TRY(library_open(path, false, &s.knowledge, e));
  int rc = call_speak(&x, &s, q->text, &(struct ask_speak_options){.rounds = (int)q->rounds, .unsupported = q->unsupported}, a, r, e);
  library_close(s.knowledge);
  return rc;
}

static int answer(struct call *c, struct arena *a, struct error *e) {
  struct json_parser *jp;
  struct json root;
  struct question q = {0};
  struct asker *k = NULL;
  struct ask_answer r = {0};
  struct json_out o;
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, (const char *)c->body, c->body_n, c->body_cap, &root, e);
  if (rc == OK) rc = read_question(c, root, &q, e);
  if (rc == OK && q.voice && !c->talking) { /* a conversation: not a model worker's */
    c->to_talkers = true;
    json_parser_free(jp);
    return OK;
  }
  c->voice = q.voice;
  if (rc == OK) rc = server_asker(c->server, &k, e);
  if (rc == OK) rc = q.voice ? speak(c, k, &q, a, &r, e) : q.one ? ask(k, q.index, q.text, a, &r, e) : ask_cohort(k, q.text, a, &r, e);
  if (rc == OK) {
    json_out_init(&o, &c->out, false);
    ask_json(k, q.index, &r, &o);
  }
  json_parser_free(jp);
  return rc;
}

void answer_ask(struct call *c) {
  struct error e = {0};
  struct arena a;
  c->status = 200;
  arena_init(&a, ANSWER_MEMORY, ARENA_WIPE);
  if (answer(c, &a, &e) < 0) call_error(c, &e);
  arena_free(&a);
}
