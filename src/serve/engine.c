/* include/vitae.h: the engine holds one version; a session takes one patient's records through the wall, in memory, and answers. */
#include "serve/engine.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "deid/deid.h"
#include "deid/event.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "predict/predict.h"
#include "record/hl7v2.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "vitae.h"

#define MAX_TASKS 64
#define SPARES 16 /* of workspaces and parsers that sessions hand on to the next, instead of asking the machine for memory each time */

struct vitae_engine {
  struct site site;
  char id[65], dir[4096];
  struct model *model;
  struct deid_policy policy;
  struct code_rules *codes;     /* the policy's table of code shapes, as it was when the engine was opened */
  struct task *task[MAX_TASKS]; /* those that may be asked */
  int tasks;
  struct spares {
    pthread_mutex_t mutex;
    struct predictor *predictor[SPARES];
    struct json_parser *parser[SPARES];
    int predictors, parsers;
  } spares; /* the one part that changes */
};

struct vitae_session {
  const struct vitae_engine *engine;
  struct vault *vault;
  struct deid *wall;
  struct timeline *timeline;
  struct json_parser *parser;
  struct record_stats stats;
  struct {
    uint64_t row;
    char field[96], reason[128]; /* "" = none */
  } rejected;                    /* the first record that was not taken */
  struct deid_counts counts;
  bool sealed;
  const char *source; /* what the wall calls the records' kind */
  bool (*cancelled)(void *ctx);
  void *cancel_ctx;
};

const char *vitae_version(void) { return VITAE_VERSION; }
void vitae_free(char *json) { free(json); }
const char *vitae_engine_id(const vitae_engine *e) { return e->id[0] ? e->id : "checkpoint"; }
const struct model *engine_model(const vitae_engine *e) { return e->model; }
const struct site *engine_site(const vitae_engine *e) { return &e->site; }

const struct task *engine_task(const vitae_engine *e, const char *name) {
  for (int i = 0; i < e->tasks; i++)
    if (strcmp(task_name(e->task[i]), name) == 0) return e->task[i];
  return NULL;
}
int engine_tasks(const vitae_engine *e) { return e->tasks; }
const struct task *engine_task_at(const vitae_engine *e, int i) { return e->task[i]; }

static int give(const struct error *e, int rc, struct vitae_error *err) {
  if (err) {
    err->code = rc < 0 ? rc : 0;
    err->message[0] = err->field[0] = 0;
    if (rc < 0) {
      error_format(e, err->message, sizeof err->message);
      snprintf(err->field, sizeof err->field, "%s", e->field);
    }
  }
  return rc < 0 ? rc : 0;
}

/* ---- spares ---- */

/* A session's engine is const to its users: the spares are the engine's own business. */
static struct spares *spares_of(const vitae_engine *en) { return &((vitae_engine *)(uintptr_t)en)->spares; }

static int take_predictor(const vitae_engine *en, const struct timeline *store, struct predictor **out, struct error *e) {
  struct spares *s = spares_of(en);
  pthread_mutex_lock(&s->mutex);
  struct predictor *p = s->predictors ? s->predictor[--s->predictors] : NULL;
  pthread_mutex_unlock(&s->mutex);
  if (!p) return predictor_new(en->model, store, out, e);
  int rc = predictor_use(p, store, e);
  if (rc < 0)
    predictor_free(p);
  else
    *out = p;
  return rc;
}

static void give_predictor(const vitae_engine *en, struct predictor *p) {
  struct spares *s = spares_of(en);
  pthread_mutex_lock(&s->mutex);
  bool room = s->predictors < SPARES;
  if (room) s->predictor[s->predictors++] = p;
  pthread_mutex_unlock(&s->mutex);
  if (!room) predictor_free(p);
}

static int take_parser(const vitae_engine *en, struct json_parser **out, struct error *e) {
  struct spares *s = spares_of(en);
  pthread_mutex_lock(&s->mutex);
  *out = s->parsers ? s->parser[--s->parsers] : NULL;
  pthread_mutex_unlock(&s->mutex);
  return *out ? OK : json_parser_new(out, e);
}

static void give_parser(const vitae_engine *en, struct json_parser *p) {
  struct spares *s = spares_of(en);
  if (!p) return;
  pthread_mutex_lock(&s->mutex);
  bool room = s->parsers < SPARES;
  if (room) s->parser[s->parsers++] = p;
  pthread_mutex_unlock(&s->mutex);
  if (!room) json_parser_free(p);
}

/* ---- engine ---- */

/* `r` NULL: a bare checkpoint, which offers all it has heads for; a registry's version offers only tasks whose signed verdict is a pass. */
static int take_tasks(vitae_engine *en, struct registry *r, struct error *e) {
  for (int i = 0; i < model_tasks(en->model) && en->tasks < MAX_TASKS; i++) {
    const char *name = model_task_name(en->model, i);
    const struct model_task *head = model_task_find(en->model, name);
    bool passes = true;
    if (r) TRY(registry_passes(r, en->id, name, &passes, e));
    if (!passes) continue;
    TRY(task_parse(model_task_json(head), strlen(model_task_json(head)), &en->task[en->tasks], e));
    en->tasks++;
  }
  return OK;
}

static int engine_open(const char *site, const char *version, vitae_engine *en, struct error *e) {
  char policy[4096];
  TRY(site_open(site, &en->site, e));
  TRY(site_find(&en->site, "policy", en->site.policy, policy, e));
  TRY(deid_policy_load(policy, &en->policy, e));
  TRY(deid_rules_load(&en->policy, &en->codes, e));
  if (version && file_is_dir(version)) {
    snprintf(en->dir, sizeof en->dir, "%s", version);
  } else {
    struct registry *r;
    TRY(registry_read(site, &r, e));
    int rc = registry_resolve(r, version ? version : "live", en->dir, sizeof en->dir, en->id, e);
    if (rc == OK) rc = registry_check(r, en->id, e);
    registry_close(r);
    if (rc == E_NOTFOUND && !en->id[0] && (!version || strcmp(version, "live") == 0))
      return error_set(e, E_NOTFOUND, "no version is live; promote one with: vitae promote %s VERSION --to live", site);
    TRY(rc);
  }
  TRY(model_load(en->dir, &en->model, e));
  model_set_kernel(en->model, kernel_pick(KERNEL_AUTO, KERNEL_F32));
  TRY(model_lay_out(en->model, e));
  if (!en->id[0]) return take_tasks(en, NULL, e);
  struct registry *r;
  TRY(registry_read(site, &r, e));
  int rc = take_tasks(en, r, e);
  registry_close(r);
  return rc;
}

int vitae_engine_open(const char *site, const char *version, vitae_engine **out, struct vitae_error *err) {
  struct error e = {0};
  vitae_engine *en = mem_alloc(sizeof *en);
  if (!en) return give(&e, error_set(&e, E_NOMEM, "out of memory"), err);
  memset(en, 0, sizeof *en);
  pthread_mutex_init(&en->spares.mutex, NULL);
  int rc = engine_open(site, version, en, &e);
  if (rc < 0)
    vitae_engine_close(en);
  else
    *out = en;
  return give(&e, rc, err);
}

void vitae_engine_close(vitae_engine *en) {
  if (!en) return;
  for (int i = 0; i < en->tasks; i++) task_free(en->task[i]);
  for (int i = 0; i < en->spares.predictors; i++) predictor_free(en->spares.predictor[i]);
  for (int i = 0; i < en->spares.parsers; i++) json_parser_free(en->spares.parser[i]);
  pthread_mutex_destroy(&en->spares.mutex);
  if (en->model) model_free(en->model);
  deid_rules_free(en->codes);
  mem_free(en);
}

static int hand_out(struct buf *b, char **json, struct error *e) {
  int rc = buf_check(b, e);
  if (rc == OK) {
    *json = malloc(b->n + 1);
    if (*json)
      memcpy(*json, b->p, b->n), (*json)[b->n] = 0;
    else
      rc = error_set(e, E_NOMEM, "out of memory");
  }
  buf_release(b);
  return rc;
}

void engine_describe(const vitae_engine *en, struct json_out *o) {
  const struct model_config *c = model_config(en->model);
  json_out_object(o);
  json_kv_c(o, "version", vitae_engine_id(en));
  json_kv_c(o, "program", VITAE_VERSION);
  json_kv_c(o, "policy", en->policy.name);
  json_kv_c(o, "preset", c->preset);
  json_kv_i64(o, "parameters", (int64_t)model_parameters(en->model));
  json_kv_i64(o, "layers", c->layers);
  json_kv_i64(o, "width", c->d);
  json_kv_i64(o, "codes", c->codes);
  json_kv_i64(o, "outcomes", c->outcomes);
  json_out_key(o, "tasks");
  json_out_array(o);
  for (int i = 0; i < en->tasks; i++) {
    json_out_object(o);
    json_kv_c(o, "name", task_name(en->task[i]));
    json_kv_c(o, "title", task_title(en->task[i]));
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}

int vitae_engine_describe(const vitae_engine *en, char **json, struct vitae_error *err) {
  struct error e = {0};
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  engine_describe(en, &o);
  return give(&e, hand_out(&b, json, &e), err);
}

/* ---- session ---- */

static int session_open(const vitae_engine *en, vitae_session *s, struct error *e) {
  s->engine = en;
  TRY(take_parser(en, &s->parser, e));
  TRY(vault_open_memory(&s->vault, e));
  return timeline_memory_new(&s->timeline, e);
}

/* FHIR and HL7 v2 pass the wall as open sources (codes must fit their system's shape), an event list as a declared one; a session is one of
 * them. */
static int open_wall(vitae_session *s, const char *source, struct error *e) {
  struct event_sink out = {.ctx = s->timeline, .event = timeline_memory_append, .take_back = timeline_memory_take_back};
  if (s->sealed) return error_set(e, E_USAGE, "records can only be added before the first answer");
  if (s->wall && strcmp(s->source, source) != 0) return error_set(e, E_USAGE, "a session takes records of one kind");
  if (s->wall) return OK;
  s->source = source;
  return deid_open_shared(&s->engine->policy, s->engine->codes, s->vault, source, &out, &s->wall, e);
}

int vitae_session_open(const vitae_engine *en, vitae_session **out, struct vitae_error *err) {
  struct error e = {0};
  vitae_session *s = mem_alloc(sizeof *s);
  if (!s) return give(&e, error_set(&e, E_NOMEM, "out of memory"), err);
  memset(s, 0, sizeof *s);
  int rc = session_open(en, s, &e);
  if (rc < 0)
    vitae_session_close(s);
  else
    *out = s;
  return give(&e, rc, err);
}

void vitae_session_close(vitae_session *s) {
  if (!s) return;
  if (s->wall) deid_close(s->wall);
  if (s->vault) vault_close(s->vault);
  if (s->timeline) timeline_close(s->timeline);
  give_parser(s->engine, s->parser);
  mem_wipe(s, sizeof *s);
  mem_free(s);
}

void session_cancel(vitae_session *s, bool (*cancelled)(void *ctx), void *ctx) { s->cancelled = cancelled, s->cancel_ctx = ctx; }

static int to_wall(void *session, const struct record *r, struct error *e) { return deid_take(((vitae_session *)session)->wall, r, e); }
static void ignore_reject(void *ctx, const struct record_reject *r) { (void)ctx, (void)r; }
static void note_reject(void *session,
                        const struct record_reject *r) { /* record_stats counts them; neither field nor reason holds a value */
  vitae_session *s = session;
  if (s->rejected.reason[0]) return;
  s->rejected.row = r->row;
  snprintf(s->rejected.field, sizeof s->rejected.field, "%s", r->field);
  snprintf(s->rejected.reason, sizeof s->rejected.reason, "%s", r->reason);
}

static int add(vitae_session *s, const char *bytes, size_t n, size_t cap, bool fhir, struct error *e) {
  TRY(open_wall(s, fhir ? "fhir" : "request", e));
  struct record_sink sink = {s, to_wall, note_reject, NULL, NULL};
  if (fhir) return fhir_parse(s->parser, bytes, n, cap, 0, 1, "request", &sink, &s->stats, e);
  return events_parse(s->parser, bytes, n, cap, &sink, &s->stats, e);
}

int session_padded(vitae_session *s, const char *bytes, size_t n, size_t cap, bool fhir, struct vitae_error *err) {
  struct error e = {0};
  return give(&e, add(s, bytes, n, cap, fhir, &e), err);
}

int session_parsed(vitae_session *s, const struct fhir_parsed *list, size_t n, struct error *e) {
  TRY(open_wall(s, "fhir", e));
  struct record_sink sink = {s, to_wall, note_reject, NULL, NULL};
  return fhir_take_parsed(list, n, 0, "request", &sink, &s->stats, e);
}

int vitae_session_add_fhir(vitae_session *s, const char *bytes, size_t n, struct vitae_error *err) {
  struct error e = {0};
  return give(&e, add(s, bytes, n, n, true, &e), err);
}
int vitae_session_add_events(vitae_session *s, const char *bytes, size_t n, struct vitae_error *err) {
  struct error e = {0};
  return give(&e, add(s, bytes, n, n, false, &e), err);
}

static int seal(vitae_session *s, struct error *e) {
  if (s->sealed) return OK;
  if (!s->wall) return error_set(e, E_USAGE, "the session holds no records yet");
  TRY(deid_finish(s->wall, e));
  deid_counts(s->wall, &s->counts);
  TRY(timeline_memory_seal(s->timeline, e));
  s->sealed = true;
  if (timeline_subjects(s->timeline) == 0) {
    bool why = s->rejected.reason[0];
    (void)error_set(e, E_INPUT, "no usable event came through the wall (%llu records rejected%s%s)", (unsigned long long)s->stats.rejected,
                    why ? "; the first: " : "", s->rejected.reason);
    return why ? error_where(e, NULL, 0, s->rejected.field) : E_INPUT;
  }
  if (timeline_subjects(s->timeline) > 1)
    return error_set(e, E_INPUT, "a request speaks of one patient; this one speaks of %u", timeline_subjects(s->timeline));
  return OK;
}

static void wall_json(const vitae_session *s, struct json_out *o) {
  json_out_key(o, "wall");
  json_out_object(o);
  json_kv_c(o, "policy", s->engine->policy.name);
  json_kv_i64(o, "records", (int64_t)s->counts.records);
  json_kv_i64(o, "events", (int64_t)s->counts.events);
  json_kv_i64(o, "rejected", (int64_t)s->stats.rejected);
  if (s->rejected.reason[0]) {
    json_out_key(o, "first_rejected");
    json_out_object(o);
    json_kv_i64(o, "record", (int64_t)s->rejected.row);
    json_kv_c(o, "field", s->rejected.field);
    json_kv_c(o, "reason", s->rejected.reason);
    json_out_end(o);
  }
  json_kv_i64(o, "dropped_elements", (int64_t)s->counts.elements_dropped);
  json_out_key(o, "removed");
  json_out_object(o);
  for (int k = 0; k < IDENTIFIER_KINDS; k++)
    if (s->counts.removed[k]) json_kv_i64(o, deid_identifier_name(k), (int64_t)s->counts.removed[k]);
  json_out_end(o);
  json_out_end(o);
}

int session_records(vitae_session *s, const char *bytes, size_t n, bool fhir, struct error *e) { return add(s, bytes, n, n, fhir, e); }
int engine_width(const vitae_engine *e) { return model_config(e->model)->d; }

int session_finish(vitae_session *s, struct error *e) { return seal(s, e); }
const struct timeline *session_timeline(const vitae_session *s) { return s->timeline; }
bool session_empty(const vitae_session *s) { return s->sealed && timeline_subjects(s->timeline) == 0; }
int session_hl7v2(vitae_session *s, const struct hl7v2_options *o, const struct str *message, size_t n, struct error *e) {
  struct hl7v2_options learn = *o;
  struct record_stats none = {0};
  TRY(open_wall(s, "hl7v2", e));
  learn.identities = true; /* who is who, before what happened */
  TRY(hl7v2_take_all(&learn, message, n, "feed", &(struct record_sink){s->wall, deid_learn, ignore_reject, NULL, NULL}, &none, e));
  return hl7v2_take_all(o, message, n, "feed", &(struct record_sink){s, to_wall, note_reject, NULL, NULL}, &s->stats, e);
}

int session_predict(vitae_session *s, const struct session_query *q, struct arena *a, struct prediction *out, struct error *e) {
  struct predict_options options = {.task = q->task,
                                    .time = INT64_MAX,
                                    .futures = q->futures,
                                    .horizon_days = q->horizon_days,
                                    .explain = q->explain,
                                    .quick = q->quick,
                                    .explain_least = q->explain_least,
                                    .explain_late = q->explain_late,
                                    .outcomes = q->outcomes,
                                    .seed = q->seed ? q->seed : 1,
                                    .cancelled = s->cancelled,
                                    .cancel_ctx = s->cancel_ctx};
  struct predictor *p;
  TRY(seal(s, e));
  TRY(take_predictor(s->engine, s->timeline, &p, e));
  int rc = predict(p, 0, &options, a, out, e);
  give_predictor(s->engine, p);
  return rc;
}

int session_answer(vitae_session *s, const struct session_query *q, struct json_out *o, struct session_summary *sum, struct error *e) {
  struct prediction r;
  struct arena a;
  arena_init(&a, 512u << 20, ARENA_WIPE);
  int rc = session_predict(s, q, &a, &r, e);
  if (rc == OK) {
    json_out_key(o, "prediction");
    prediction_json(&r, o);
    wall_json(s, o);
    *sum = (struct session_summary){.has_task = r.has_task,
                                    .applies = r.has_task && !r.refusal,
                                    .dead = r.dead,
                                    .refusal = r.refusal,
                                    .probability = r.has_task && !r.refusal ? r.probability : NAN,
                                    .hazard = r.has_task && !r.refusal ? r.hazard : NAN,
                                    .events = r.events,
                                    .unknown_codes = r.unknown_codes};
  }
  arena_free(&a);
  return rc;
}

int session_embed(vitae_session *s, bool mean, float *out, uint32_t *events, struct error *e) {
  struct predictor *p;
  TRY(seal(s, e));
  TRY(take_predictor(s->engine, s->timeline, &p, e));
  int rc = predict_embed(p, 0, INT64_MAX, mean, out, events, e);
  give_predictor(s->engine, p);
  return rc;
}

static int answer(vitae_session *s, const vitae_query *q, struct json_out *o, struct error *e) {
  struct session_query own = {
      .futures = q->futures, .explain = q->explain, .outcomes = q->outcomes, .horizon_days = q->horizon_days, .seed = q->seed};
  struct session_summary sum;
  if (q->futures < 0 || q->futures > 10000 || q->explain < 0 || q->explain > 200 || q->outcomes < -1 || q->outcomes > 1000 ||
      !(q->horizon_days >= 0) || q->horizon_days > 36525)
    return error_set(e, E_INPUT, "futures is 0 to 10000, explain 0 to 200, outcomes -1 to 1000, horizon_days 0 to 36525");
  if (q->task) {
    own.task = engine_task(s->engine, q->task);
    if (!own.task) return error_set(e, E_NOTFOUND, "this version offers no task of that name; see its description for those it offers");
  }
  json_out_object(o);
  json_kv_c(o, "version", vitae_engine_id(s->engine));
  TRY(session_answer(s, &own, o, &sum, e));
  json_out_end(o);
  return OK;
}

int vitae_session_predict(vitae_session *s, const vitae_query *q, char **json, struct vitae_error *err) {
  struct error e = {0};
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  int rc = answer(s, q, &o, &e);
  if (rc == OK)
    rc = hand_out(&b, json, &e);
  else
    buf_release(&b);
  return give(&e, rc, err);
}
