/* Embeddings of patients, and what a key may use: models and their descriptions. */
#include <sodium.h>
#include <string.h>

#include "base/time.h"
#include "serve/engine.h"
#include "serve/serve_chat.h"
#include "serve/serve_voice.h"
#include "vitae.h"

enum { INPUTS_MOST = 64 };
static const char *const known[] = {"input", "model", "dimensions", "encoding_format", "input_type", "user", "pooling", NULL};

struct embedding {
  bool base64, mean, last; /* mean, last: said; a patient's is else the last, a text's the mean */
  int width;
  float *vectors; /* (inputs, width) of a language model; NULL: patients */
};

static int take_options(struct call *c, struct json root, struct embedding *x, struct error *e) {
  struct json format = json_get(root, "encoding_format"), pooling = json_get(root, "pooling"), kind = json_get(root, "input_type");
  int64_t dimensions = 0;
  if (c->voice && voice_upstream(c->voice))
    return foundry_bad(e, E_USAGE, "model", "another server speaks here; it is not asked for embeddings");
  if (c->voice) TRY(voice_wake(c->voice, e));
  x->width = c->voice ? voice_width(c->voice) : engine_width(call_engine(c));
  if (json_kind(format) == JSON_STRING) {
    x->base64 = str_eqc(json_str(format), "base64");
    if (!x->base64 && !str_eqc(json_str(format), "float"))
      return foundry_bad(e, E_USAGE, "encoding_format", "this model gives float or base64");
  } else if (json_kind(format) != JSON_NONE && json_kind(format) != JSON_NULL) {
    return foundry_bad(e, E_INPUT, "encoding_format", "expected float or base64");
  }
  if (json_kind(pooling) != JSON_NONE && json_kind(pooling) != JSON_NULL) {
    x->mean = str_eqc(json_str(pooling), "mean");
    x->last = str_eqc(json_str(pooling), "last");
    if (x->last && c->voice && voice_encoder(c->voice)) return foundry_bad(e, E_USAGE, "pooling", "an encoder's vectors are means");
    if (!x->mean && !x->last) return foundry_bad(e, E_INPUT, "pooling", "expected last or mean");
  }
  if (json_kind(kind) != JSON_NONE && json_kind(kind) != JSON_NULL) {
    struct str k = json_str(kind);
    if (!k.p) return foundry_bad(e, E_INPUT, "input_type", "expected text, query or document");
    if (!str_eqc(k, "text") && !str_eqc(k, "query") && !str_eqc(k, "document"))
      return foundry_bad(e, E_USAGE, "input_type", "this model takes text, query or document, and makes no difference between them");
  }
  TRY(want_whole(root, "dimensions", 1, 1 << 20, &dimensions, e));
  if (dimensions && dimensions != x->width) {
    char words[96];
    snprintf(words, sizeof words, "this model's vectors have %d dimensions", x->width);
    return foundry_bad(e, E_USAGE, "dimensions", words);
  }
  return OK;
}

/* Little-endian float32, as the clients decode them. */
static int put_base64(const float *v, int n, struct arena *a, struct json_out *o, struct error *e) {
  size_t bytes = (size_t)n * 4, room = sodium_base64_encoded_len(bytes, sodium_base64_VARIANT_ORIGINAL);
  char *text = arena_alloc(a, room, 1);
  if (!text) return error_set(e, E_NOMEM, "out of memory");
  sodium_bin2base64(text, room, (const uint8_t *)v, bytes, sodium_base64_VARIANT_ORIGINAL);
  json_kv_c(o, "embedding", text);
  return OK;
}

int embedding_row(struct call *c, struct str text, bool mean, float *v, uint32_t *events, struct error *e) {
  struct patient p;
  TRY(patient_open(c, text, NULL, &p, e));
  int rc = session_embed(p.session, mean, v, events, e);
  patient_close(&p);
  return rc;
}

/* Texts as they are: a language model knows no patients. */
static int embed_texts(struct call *c, struct json input, struct embedding *x, struct arena *a, struct error *e) {
  size_t n = json_kind(input) == JSON_ARRAY ? json_count(input) : 1, i = 0;
  struct str *texts = arena_array(a, struct str, n + 1);
  struct json item;
  x->vectors = arena_array(a, float, n *(size_t)x->width + 1);
  if (!texts || !x->vectors) return error_set(e, E_NOMEM, "out of memory");
  for (struct json_iter it = json_items(input); json_kind(input) == JSON_ARRAY && json_next(&it, &item);) texts[i++] = json_str(item);
  if (json_kind(input) != JSON_ARRAY) texts[i++] = json_str(input);
  if (!n || n > INPUTS_MOST) return foundry_bad(e, E_INPUT, "input", "expected 1 to 64 texts");
  for (i = 0; i < n; i++)
    if (!texts[i].n)
      return foundry_bad(e, E_INPUT, "input", "expected a text, or a list of texts; none is empty, and token lists are not taken");
  return voice_embed(c->voice, texts, n, x->last, x->vectors, &c->tokens_in, e);
}

/* A token, or a list of them. */
static bool tokens(struct json v) {
  struct json first;
  struct json_iter it = json_items(v);
  return json_kind(v) == JSON_INT || (json_kind(v) == JSON_ARRAY && json_next(&it, &first) && json_kind(first) == JSON_INT);
}
static bool token_lists(struct json input) {
  struct json first;
  struct json_iter it = json_items(input);
  return tokens(input) || (json_kind(input) == JSON_ARRAY && json_next(&it, &first) && tokens(first));
}

static int one(struct call *c, struct json input, int index, const struct embedding *x, struct arena *a, struct json_out *o,
               struct error *e) {
  uint32_t events = 0;
  float *v = x->vectors ? x->vectors + (size_t)index * (size_t)x->width : arena_array(a, float, (size_t)x->width);
  if (!v) return error_set(e, E_NOMEM, "out of memory");
  if (json_kind(input) != JSON_STRING)
    return foundry_bad(e, tokens(input) ? E_USAGE : E_INPUT, "input",
                       "expected a patient as JSON text, or a list of them; token lists are not taken");
  if (!x->vectors) TRY(embedding_row(c, json_str(input), x->mean, v, &events, e));
  json_out_object(o);
  json_kv_c(o, "object", "embedding");
  json_kv_i64(o, "index", index);
  if (x->base64) {
    TRY(put_base64(v, x->width, a, o, e));
  } else {
    json_out_key(o, "embedding");
    json_out_array(o);
    for (int i = 0; i < x->width; i++) json_out_f32(o, v[i]);
    json_out_end(o);
  }
  json_out_end(o);
  c->tokens_in += events;
  return OK;
}

static int embed(struct call *c, struct foundry *f, struct error *e) {
  struct embedding x = {0};
  struct json input = json_get(f->root, "input"), item;
  struct json_out o;
  char id[64];
  int n = 0;
  TRY(take_options(c, f->root, &x, e));
  if (token_lists(input)) return foundry_bad(e, E_USAGE, "input", "token lists are not taken: the input is text");
  if (c->voice) TRY(embed_texts(c, input, &x, &f->arena, e));
  snprintf(id, sizeof id, "emb-%s", c->request);
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_c(&o, "id", id);
  json_kv_c(&o, "object", "list");
  json_kv_c(&o, "model", c->deployment);
  json_out_key(&o, "data");
  json_out_array(&o);
  if (json_kind(input) == JSON_ARRAY) {
    if (!json_count(input) || json_count(input) > INPUTS_MOST) return foundry_bad(e, E_INPUT, "input", "expected 1 to 64 patients");
    for (struct json_iter it = json_items(input); json_next(&it, &item);) TRY(one(c, item, n++, &x, &f->arena, &o, e));
  } else {
    TRY(one(c, input, 0, &x, &f->arena, &o, e));
  }
  json_out_end(&o);
  json_out_key(&o, "usage");
  json_out_object(&o);
  json_kv_i64(&o, "prompt_tokens", c->tokens_in);
  json_kv_i64(&o, "total_tokens", c->tokens_in);
  json_out_end(&o);
  json_out_end(&o);
  return OK;
}

void answer_embeddings(struct call *c) {
  struct foundry f;
  struct error e = {0};
  c->status = 200;
  if (foundry_begin(c, &f, known) && embed(c, &f, &e) < 0) {
    c->tokens_in = 0;
    foundry_fail(c, &e, "input");
  }
  foundry_end(&f);
}

/* ---- models ---- */

struct listing {
  struct call *c;
  struct json_out *o;
  const char *only;
  bool found;
};

static void one_model(struct listing *l, const char *name, const char *version, int64_t created, const char *capabilities) {
  struct json_out *o = l->o;
  if (!identity_may_use(&l->c->who, str_c(name)) || (l->only && strcmp(l->only, name) != 0)) return;
  l->found = true;
  json_out_object(o);
  json_kv_c(o, "id", name);
  json_kv_c(o, "object", "model");
  json_kv_i64(o, "created", created / 1000000);
  json_kv_i64(o, "created_at", created / 1000000);
  json_kv_c(o, "owned_by", "vitae");
  json_kv_c(o, "status", "succeeded");
  json_kv_c(o, "version", version);
  json_out_key(o, "capabilities");
  json_out_raw(o, str_c(capabilities));
  json_out_end(o);
}

static void model_json(void *ctx, const char *name, const char *version, int64_t created) {
  one_model(ctx, name, version, created,
            "{\"chat_completion\":true,\"completion\":false,\"embeddings\":true,\"fine_tune\":false,\"inference\":true}");
}

/* Deployments first: a language model of the same name is not reached. */
static void voice_models(struct listing *l) {
  const struct voices *all = l->c->server->voices;
  for (int i = 0; i < voices_count(all); i++) {
    const struct voice *v = voice_at(all, i);
    if (l->only && l->found) return;
    one_model(
        l, voice_name(v), voice_id(v), voice_created(v),
        voice_encoder(v)    ? "{\"chat_completion\":false,\"completion\":false,\"embeddings\":true,\"fine_tune\":false,\"inference\":true}"
        : voice_upstream(v) ? "{\"chat_completion\":true,\"completion\":false,\"embeddings\":false,\"fine_tune\":false,\"inference\":true}"
                            : "{\"chat_completion\":true,\"completion\":false,\"embeddings\":true,\"fine_tune\":false,\"inference\":true}");
  }
}

void answer_models(struct call *c) {
  struct json_out o;
  struct listing l = {.c = c, .o = &o};
  if (!foundry_version(c)) return;
  c->status = 200;
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_c(&o, "object", "list");
  json_out_key(&o, "data");
  json_out_array(&o);
  fleet_each(c->server->fleet, model_json, &l);
  voice_models(&l);
  json_out_end(&o);
  json_out_end(&o);
}

void answer_one_model(struct call *c) {
  struct json_out o;
  struct listing l = {.c = c, .o = &o, .only = c->arg};
  if (!foundry_version(c)) return;
  c->status = 200;
  json_out_init(&o, &c->out, false);
  fleet_each(c->server->fleet, model_json, &l);
  voice_models(&l);
  if (!l.found) call_fail(c, 404, "DeploymentNotFound", "model", "The API deployment for this resource does not exist.");
}

void answer_model_info(struct call *c) {
  struct json_out o;
  struct error e = {0};
  struct str name = call_query(c, "model");
  if (!foundry_version(c)) return;
  if (!name.n) name = STR("vitae");
  bool may = identity_may_use(&c->who, name), routed = may && fleet_route(c->server->fleet, name, &c->served, &c->mirror, &e) == OK;
  if (e.code == E_UNAVAILABLE) {
    call_error(c, &e);
    return;
  }
  if (may && !routed) c->voice = voice_find(c->server->voices, name);
  if (!routed && !c->voice) {
    call_fail(c, 404, "DeploymentNotFound", "model", "The API deployment for this resource does not exist.");
    return;
  }
  c->status = 200;
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_str(&o, "model_name", name);
  json_kv_c(&o, "model_type", c->voice && voice_encoder(c->voice) ? "embeddings" : "chat_completion");
  json_kv_c(&o, "model_provider_name", "vitae");
  json_kv_c(&o, "version", c->voice ? voice_id(c->voice) : vitae_engine_id(call_engine(c)));
  if (!c->voice) json_kv_i64(&o, "embedding_dimensions", engine_width(call_engine(c)));
  json_out_end(&o);
}
