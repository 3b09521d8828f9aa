/* /score: a frame of patients in, one object a row out, as Azure's managed endpoints have it.
 *
 *     {"input_data": {"columns": ["patient", "task"], "index": [0], "data": [["{…Bundle…}", "death-1y"]]},
 *      "params": {"return": ["risk", "embeddings", "explanation"], "explain": 5, "pooling": "last"}}
 */
#include <math.h>
#include <string.h>

#include "serve/engine.h"
#include "serve/serve_chat.h"
#include "serve/serve_filter.h"

enum { ROWS_MOST = 256, FUTURES_MOST = 20000 };
static const char *const known[] = {"input_data", "params", "model", NULL};

struct score {
  int patient, task; /* columns; -1 = none */
  bool risk, embeddings, explanation, mean;
  struct ask ask;
  int64_t futures; /* of all rows so far */
};

static int take_columns(struct json frame, struct score *x, struct error *e) {
  struct json columns = json_get(frame, "columns"), data = json_get(frame, "data"), index = json_get(frame, "index"), one;
  int n = 0;
  x->patient = x->task = -1;
  if (json_kind(columns) != JSON_ARRAY) return foundry_bad(e, E_INPUT, "input_data.columns", "expected a list of names");
  for (struct json_iter it = json_items(columns); json_next(&it, &one); n++) {
    if (str_eqc(json_str(one), "patient") && x->patient < 0)
      x->patient = n;
    else if (str_eqc(json_str(one), "task") && x->task < 0)
      x->task = n;
    else
      return foundry_bad(e, E_INPUT, "input_data.columns", "columns are patient and task");
  }
  if (x->patient < 0) return foundry_bad(e, E_INPUT, "input_data.columns", "the column patient is missing");
  if (json_kind(data) != JSON_ARRAY || !json_count(data)) return foundry_bad(e, E_INPUT, "input_data.data", "expected a list of rows");
  if (json_count(data) > ROWS_MOST) return foundry_bad(e, E_LIMIT, "input_data.data", "a frame has at most 256 rows");
  if (json_kind(index) == JSON_ARRAY && json_count(index) != json_count(data))
    return foundry_bad(e, E_INPUT, "input_data.index", "the index has as many entries as there are rows");
  for (struct json_iter it = json_items(data); json_next(&it, &one);)
    if (json_kind(one) != JSON_ARRAY || (int)json_count(one) != n)
      return foundry_bad(e, E_INPUT, "input_data.data", "a row has as many cells as there are columns");
  return OK;
}

/* "true" is true: some clients send booleans as text. */
static int flag(struct json params, const char *name, bool *out, struct error *e) {
  struct str s = json_str(json_get(params, name));
  if (!s.p) return want_flag(params, name, out, e);
  if (!str_eq_nocase(s, STR("true")) && !str_eq_nocase(s, STR("false"))) return foundry_bad(e, E_INPUT, name, "expected true or false");
  *out = str_eq_nocase(s, STR("true"));
  return OK;
}

/* A task's name, "" or nothing. */
static int name_of(struct json v, const char *field, size_t room, struct str *out, struct error *e) {
  bool none = json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL;
  *out = json_str(v);
  if (!none && (!out->p || out->n >= room)) return foundry_bad(e, E_INPUT, field, "expected the name of a task");
  return OK;
}

static int take_params(struct json params, struct score *x, struct error *e) {
  struct json wanted = json_get(params, "return"), one;
  struct json way = json_get(params, "pooling");
  struct str pooling = json_str(way), task;
  int64_t none = 0;
  if (json_kind(params) != JSON_NONE && json_kind(params) != JSON_NULL && json_kind(params) != JSON_OBJECT)
    return foundry_bad(e, E_INPUT, "params", "expected an object");
  if (json_kind(wanted) != JSON_NONE && json_kind(wanted) != JSON_NULL && json_kind(wanted) != JSON_ARRAY)
    return foundry_bad(e, E_INPUT, "params.return", "expected a list of risk, embeddings, explanation");
  for (struct json_iter it = json_items(wanted); json_next(&it, &one);) {
    struct str s = json_str(one);
    if (!str_eqc(s, "risk") && !str_eqc(s, "embeddings") && !str_eqc(s, "explanation"))
      return foundry_bad(e, E_INPUT, "params.return", "expected a list of risk, embeddings, explanation");
    x->risk |= str_eqc(s, "risk"), x->embeddings |= str_eqc(s, "embeddings"), x->explanation |= str_eqc(s, "explanation");
  }
  TRY(flag(params, "get_embeddings", &x->embeddings, e));
  if (!x->embeddings && !x->explanation) x->risk = true;
  x->mean = str_eqc(pooling, "mean");
  if (json_kind(way) != JSON_NONE && json_kind(way) != JSON_NULL && !x->mean && !str_eqc(pooling, "last"))
    return foundry_bad(e, E_INPUT, "params.pooling", "expected last or mean");
  TRY(name_of(json_get(params, "task"), "params.task", sizeof x->ask.task, &task, e));
  if (task.n) snprintf(x->ask.task, sizeof x->ask.task, "%.*s", STR_ARG(task));
  TRY(want_whole(params, "futures", 0, 2000, &x->ask.futures, e));
  TRY(want_whole(params, "outcomes", 0, 500, &x->ask.outcomes, e));
  ask_outcomes(&x->ask, json_kind(json_get(params, "outcomes")) > JSON_NULL);
  TRY(want_whole(params, "seed", 0, INT64_MAX, &x->ask.seed, e));
  TRY(want_whole(params, "explain", 0, 100, &none, e));
  x->ask.explain = none ? none : x->explanation ? 10 : 0;
  return OK;
}

/* A cell is JSON text or the object itself. */
static int cell_text(struct json cell, struct buf *b, struct str *out, struct error *e) {
  struct json_out o;
  if (json_kind(cell) == JSON_STRING) return *out = json_str(cell), OK;
  if (json_kind(cell) != JSON_OBJECT)
    return foundry_bad(e, E_INPUT, "input_data.data.patient", "expected a patient: JSON text or an object");
  json_out_init(&o, b, false);
  TRY(json_out_copy(&o, cell, e));
  buf_reserve(b, 64);
  *out = (struct str){b->p, b->n};
  return buf_check(b, e);
}

static int features(struct call *c, struct str text, const struct score *x, struct arena *a, struct json_out *o, struct error *e) {
  int width = engine_width(call_engine(c));
  uint32_t events = 0;
  float *v = arena_array(a, float, (size_t)width);
  if (!v) return error_set(e, E_NOMEM, "out of memory");
  TRY(embedding_row(c, text, x->mean, v, &events, e));
  json_out_key(o, "patient_features");
  json_out_array(o);
  for (int i = 0; i < width; i++) json_out_f32(o, v[i]);
  json_out_end(o);
  if (!x->risk && !x->explanation) c->tokens_in += events;
  return OK;
}

static int too_many(struct error *e) {
  return foundry_bad(e, E_INPUT, "futures", "a request draws at most 20,000 futures, of all its rows");
}

static int row(struct call *c, struct json cells, struct score *x, struct arena *a, struct json_out *o, struct error *e) {
  struct buf b = {0};
  struct str text = STR_NONE, task = STR_NONE;
  struct ask ask = x->ask;
  struct patient p;
  uint32_t events = 0;
  if (x->task >= 0) TRY(name_of(json_at(cells, (size_t)x->task), "input_data.data.task", sizeof ask.task, &task, e));
  if (task.n) snprintf(ask.task, sizeof ask.task, "%.*s", STR_ARG(task));
  int rc = cell_text(json_at(cells, (size_t)x->patient), &b, &text, e);
  size_t from = o->to->n;
  json_out_object(o);
  if (rc == OK && (x->risk || x->explanation)) {
    rc = patient_open(c, text, &ask, &p, e);
    if (rc == OK && (x->futures += p.ask.futures) > FUTURES_MOST) patient_close(&p), rc = too_many(e);
    if (rc == OK) {
      json_out_key(o, "risk");
      rc = patient_answer(c, &p, o, &events, e);
      patient_close(&p);
      c->tokens_in += events;
    }
  }
  if (rc == OK && x->embeddings) rc = features(c, text, x, a, o, e);
  if (rc == OK) json_out_end(o), rc = buf_check(o->to, e); /* a row that has failed is never finished: its answer is not sent */
  if (rc == OK) rc = filter_check(c, (struct str){o->to->p + from, o->to->n - from}, e);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

static int score(struct call *c, struct foundry *f, struct error *e) {
  struct score x = {0};
  struct json frame = json_get(f->root, "input_data"), one;
  struct json_out o;
  if (json_kind(frame) != JSON_OBJECT) return foundry_bad(e, E_INPUT, "input_data", "expected an object with columns, index and data");
  TRY(take_columns(frame, &x, e));
  TRY(take_params(json_get(f->root, "params"), &x, e));
  if ((int64_t)json_count(json_get(frame, "data")) * x.ask.futures > FUTURES_MOST) return too_many(e);
  json_out_init(&o, &c->out, false);
  json_out_array(&o);
  for (struct json_iter it = json_items(json_get(frame, "data")); json_next(&it, &one);) TRY(row(c, one, &x, &f->arena, &o, e));
  json_out_end(&o);
  c->tokens_out = (int64_t)(c->out.n + 3) / 4;
  return OK;
}

void answer_score(struct call *c) {
  struct foundry f;
  struct error e = {0};
  c->status = 200;
  if (foundry_begin(c, &f, known) && score(c, &f, &e) < 0) {
    c->tokens_in = c->tokens_out = 0;
    if (!filter_fail(c)) foundry_fail(c, &e, "input_data");
  }
  foundry_end(&f);
}

void answer_root(struct call *c) {
  buf_puts(&c->out, "alive\n");
  c->status = 200;
  c->type = "text/plain; charset=utf-8";
}
