/* CDS Hooks over HTTP: discovery, a hook's request, feedback. */
#include "serve/serve_cds.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "govern/site.h"
#include "serve/engine.h"
#include "serve/serve_ehr.h"
#include "vitae.h"

enum { FEEDBACK_MOST = 100 };
#define MODEL_SHARE 0.35 /* of the budget, kept for the model when the EHR is asked */

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

void answer_cds_services(struct call *c) {
  c->status = 200;
  buf_put(&c->out, c->server->cds->discovery.p, c->server->cds->discovery.n);
}

/* ---- a hook's request ---- */

static bool uuid_shape(struct str s) {
  if (s.n != 36) return false;
  for (size_t i = 0; i < 36; i++) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23,
         hex = (s.p[i] >= '0' && s.p[i] <= '9') || ((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'f');
    if (dash ? s.p[i] != '-' : !hex) return false;
  }
  return true;
}

static bool fhir_id(struct str s) {
  if (!s.n || s.n > 64) return false;
  for (size_t i = 0; i < s.n; i++) {
    char ch = s.p[i];
    if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '.')) return false;
  }
  return true;
}

static int take_context(struct json context, struct cds_gather *g, struct error *e) {
  struct json encounter = json_get(context, "encounterId"), drafts = json_get(context, "draftOrders"), item;
  bool orders = strcmp(g->service->hook, "patient-view") != 0;
  if (json_kind(context) != JSON_OBJECT) return bad(e, "context", "expected an object");
  if (!json_str(json_get(context, "userId")).n) return bad(e, "context.userId", "expected a reference to the user");
  g->context = context;
  g->patient = json_str(json_get(context, "patientId"));
  if (!fhir_id(g->patient)) return bad(e, "context.patientId", "expected the patient's FHIR id");
  if (json_kind(encounter) != JSON_NONE && !fhir_id(json_str(encounter)))
    return bad(e, "context.encounterId", "expected the encounter's FHIR id");
  g->encounter = json_str(encounter);
  if (!orders) return OK;
  if (json_kind(drafts) != JSON_OBJECT || !str_eqc(json_str(json_get(drafts, "resourceType")), "Bundle"))
    return bad(e, "context.draftOrders", "expected a Bundle");
  if (strcmp(g->service->hook, "order-select") != 0) return OK;
  if (json_kind(json_get(context, "selections")) != JSON_ARRAY) return bad(e, "context.selections", "expected a list of references");
  for (struct json_iter it = json_items(json_get(context, "selections")); json_next(&it, &item);)
    if (!json_str(item).n) return bad(e, "context.selections", "expected a list of references");
  return OK;
}

static int take_access(struct json root, struct cds_gather *g, struct error *e) {
  struct json server = json_get(root, "fhirServer"), access = json_get(root, "fhirAuthorization");
  if (json_kind(server) != JSON_NONE && !json_str(server).n) return bad(e, "fhirServer", "expected the address of the FHIR server");
  g->fhir = json_str(server);
  if (json_kind(access) == JSON_NONE) return OK;
  if (!g->fhir.n) return bad(e, "fhirServer", "expected the address of the FHIR server that the access is for");
  g->token = json_str(json_get(access, "access_token"));
  if (json_kind(access) != JSON_OBJECT || !g->token.n) return bad(e, "fhirAuthorization.access_token", "expected a token");
  if (!str_eq_nocase(json_str(json_get(access, "token_type")), STR("Bearer")))
    return bad(e, "fhirAuthorization.token_type", "expected Bearer");
  return OK;
}

/* ---- which orders ---- */

static bool concept_listed(const struct cds_service *s, struct json concept) {
  struct json coding;
  for (struct json_iter it = json_items(json_get(concept, "coding")); json_next(&it, &coding);) {
    struct str system = json_str(json_get(coding, "system")), code = json_str(json_get(coding, "code"));
    for (int i = 0; i < s->orders; i++) {
      struct str rest = str_c(s->order[i]), left = str_cut(&rest, '|');
      if (str_eq(left, system) && str_eq(rest, code)) return true;
    }
  }
  return false;
}

/* "MedicationRequest/x" of the selections against the type and id of a draft. */
static bool selected(struct json selections, struct json resource) {
  struct json item;
  struct str type = json_str(json_get(resource, "resourceType")), id = json_str(json_get(resource, "id"));
  for (struct json_iter it = json_items(selections); json_next(&it, &item);) {
    struct str rest = json_str(item), left = str_cut(&rest, '/');
    if (str_eq(left, type) && str_eq(rest, id)) return true;
  }
  return false;
}

static bool orders_wanted(const struct cds_service *s, struct json context) {
  static const char *const members[4] = {"medicationCodeableConcept", "code", "foodPreferenceModifier", "serviceType"};
  struct json entry, selections = json_get(context, "selections");
  if (!s->orders || strcmp(s->hook, "patient-view") == 0) return true;
  for (struct json_iter it = json_items(json_get(json_get(context, "draftOrders"), "entry")); json_next(&it, &entry);) {
    struct json r = json_get(entry, "resource");
    if (json_kind(selections) == JSON_ARRAY && !selected(selections, r)) continue;
    for (int i = 0; i < 4; i++)
      if (concept_listed(s, json_get(r, members[i]))) return true;
  }
  return false;
}

/* ---- the errand: what the model will need ---- */

void cds_job_free(void *p) {
  struct cds_job *job = p;
  for (int i = 0; i < job->parsers; i++) json_parser_free(job->parser[i]);
  mem_free(job->parser);
  mem_free(job->resource);
  mem_free(job);
}

static int read_request(struct call *c, struct json_parser *jp, struct cds_job *job, struct error *e) {
  struct json root, hook, prefetch;
  struct cds_gather g = {.server = c->server};
  char name[64];
  const struct cds *d = c->server->cds;
  TRY(json_parse(jp, (const char *)c->body, c->body_n, c->body_cap, &root, e));
  if (json_kind(root) != JSON_OBJECT) return bad(e, "body", "expected a JSON object");
  hook = json_get(root, "hook"), prefetch = json_get(root, "prefetch");
  struct str h = json_str(hook);
  snprintf(name, sizeof name, "%.*s", h.n < sizeof name ? (int)h.n : 0, h.n ? h.p : "");
  job->service = g.service = cds_service(d, c->arg, name);
  if (!g.service) return bad(e, "hook", "expected the hook that this service is for");
  if (!uuid_shape(json_str(json_get(root, "hookInstance")))) return bad(e, "hookInstance", "expected a UUID");
  TRY(take_context(json_get(root, "context"), &g, e));
  TRY(take_access(root, &g, e));
  if (json_kind(prefetch) != JSON_NONE && json_kind(prefetch) != JSON_NULL && json_kind(prefetch) != JSON_OBJECT)
    return bad(e, "prefetch", "expected an object");
  g.prefetch = prefetch;
  g.until = c->began + d->budget * (1 - MODEL_SHARE);
  job->wanted = orders_wanted(g.service, g.context);
  return job->wanted ? cds_gather(&g, job, e) : OK;
}

bool errand_cds(struct call *c) {
  struct error e = {0};
  struct json_parser *jp = NULL;
  if (!cds_service(c->server->cds, c->arg, NULL)) {
    call_fail(c, 404, "notfound", "id", "there is no such service; GET /cds-services lists those that there are");
    return false;
  }
  struct cds_job *job = mem_alloc(sizeof *job);
  if (job) memset(job, 0, sizeof *job), c->job = job, c->free_job = cds_job_free;
  int rc = job ? cds_parser(job, &jp, &e) : error_set(&e, E_NOMEM, "out of memory");
  if (rc == OK) rc = read_request(c, jp, job, &e);
  if (rc == OK && job->wanted && !cds_late(c)) return true;
  if (rc == OK && !job->wanted) {
    c->status = 200;
    buf_puts(&c->out, "{\"cards\":[]}");
  } else if (rc == OK || rc == E_UNAVAILABLE) {
    cds_miss(c);
  } else if (rc == E_NOTFOUND) {
    call_fail(c, 412, "precondition", e.field, e.message);
  } else {
    call_error(c, &e);
  }
  return false;
}

/* ---- the model's part ---- */

bool cds_stop(void *call) { return call_left(call) || cds_late(call); }

static int answer(struct call *c, const struct cds_job *job, struct vitae_session *s, struct error *e) {
  struct json_out o;
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  int n = session_parsed(s, job->resource, job->resources, e);
  if (n == OK) n = cds_cards(c, job, s, &o, e);
  if (n < 0) return n;
  json_out_end(&o);
  c->tokens_out = n;
  atomic_fetch_add(&c->server->n.cds_cards, (uint64_t)n);
  return OK;
}

void answer_cds(struct call *c) {
  struct error e = {0};
  struct vitae_error ve = {0};
  struct vitae_session *s = NULL;
  c->status = 200;
  if (cds_late(c)) {
    cds_miss(c);
    return;
  }
  if (vitae_session_open(call_engine(c), &s, &ve) < 0) {
    call_vitae_error(c, &ve);
    return;
  }
  session_cancel(s, cds_stop, c);
  int rc = answer(c, c->job, s, &e);
  if (rc == E_CANCELLED && !call_left(c)) {
    cds_miss(c);
  } else if (rc < 0 && session_empty(s)) { /* a record of which nothing is left has nothing to say */
    buf_clear(&c->out);
    buf_puts(&c->out, "{\"cards\":[]}");
  } else if (rc < 0) {
    if (rc == E_INPUT && !e.field[0]) snprintf(e.field, sizeof e.field, "prefetch");
    call_error(c, &e);
  }
  vitae_session_close(s);
}

/* ---- feedback ---- */

/* A reason's code is kept if it is one that our cards offer: any other text may say anything of anybody. */
static const char *reason_of(const struct cds *d, struct json reason) {
  struct str code = json_str(json_get(reason, "code"));
  for (int i = 0; i < d->reasons; i++)
    if (str_eqc(code, d->reason[i].code)) return d->reason[i].code;
  return NULL;
}

static int take_one(const struct cds *d, struct json j, struct json_out *o, struct error *e) {
  struct json accepted = json_get(j, "acceptedSuggestions"), why = json_get(j, "overrideReason"), item;
  struct str card = json_str(json_get(j, "card")), outcome = json_str(json_get(j, "outcome"));
  struct str when = json_str(json_get(j, "outcomeTimestamp"));
  struct time_parts parts;
  int64_t at, ids = 0;
  char text[48];
  if (!uuid_shape(card)) return bad(e, "feedback.card", "expected a card's UUID");
  bool yes = str_eqc(outcome, "accepted");
  if (!yes && !str_eqc(outcome, "overridden")) return bad(e, "feedback.outcome", "expected accepted or overridden");
  if (!when.n || time_parse(when, &parts, &at, NULL) < 0 || !parts.has_offset)
    return bad(e, "feedback.outcomeTimestamp", "expected a time with its offset (RFC 3339)");
  if (yes && json_kind(accepted) != JSON_ARRAY) return bad(e, "feedback.acceptedSuggestions", "expected a list");
  for (struct json_iter it = json_items(accepted); json_next(&it, &item); ids++)
    if (!json_str(json_get(item, "id")).n) return bad(e, "feedback.acceptedSuggestions", "expected objects with an id");
  if (json_kind(why) != JSON_NONE && json_kind(why) != JSON_OBJECT) return bad(e, "feedback.overrideReason", "expected an object");
  json_out_object(o);
  json_kv_str(o, "card", card);
  json_kv_str(o, "outcome", outcome);
  if (yes) json_kv_i64(o, "accepted_suggestions", ids);
  const char *reason = reason_of(d, json_get(why, "reason"));
  if (reason) json_kv_c(o, "reason", reason);
  if (!reason && json_kind(json_get(why, "reason")) == JSON_OBJECT) json_kv_bool(o, "reason_unknown", true);
  if (json_str(json_get(why, "userComment")).n) json_kv_bool(o, "comment_dropped", true); /* free text: never kept */
  time_format(at - parts.offset_minutes * TIME_MINUTE, text);
  strcat(text, "Z");
  json_kv_c(o, "time", text);
  json_out_end(o);
  return OK;
}

static int feedback_file(struct call *c, struct json root, struct buf *b, int *n, struct error *e) {
  struct json list = json_get(root, "feedback"), item;
  struct json_out o;
  char now[48];
  if (json_kind(list) != JSON_ARRAY || json_count(list) == 0) return bad(e, "feedback", "expected a list of what became of cards");
  if (json_count(list) > FEEDBACK_MOST) return bad(e, "feedback", "expected at most 100 entries");
  json_out_init(&o, b, true);
  json_out_object(&o);
  json_kv_c(&o, "format", "vitae-cds-feedback-1");
  json_kv_c(&o, "service", c->arg);
  json_kv_c(&o, "request", c->request);
  json_kv_c(&o, "from", c->who.key);
  time_format(time_now(), now);
  strcat(now, "Z");
  json_kv_c(&o, "received", now);
  json_kv_c(&o, "version", vitae_engine_id(call_engine(c)));
  json_out_key(&o, "feedback");
  json_out_array(&o);
  for (struct json_iter it = json_items(list); json_next(&it, &item); ++*n) TRY(take_one(c->server->cds, item, &o, e));
  json_out_end(&o);
  json_out_end(&o);
  buf_putc(b, '\n');
  return buf_check(b, e);
}

/* The arrow back is a file: SITE/inbox/cds-feedback-REQUEST.json, there before the answer is. */
void answer_cds_feedback(struct call *c) {
  struct error e = {0};
  struct json_parser *jp = NULL;
  struct json root;
  struct buf b = {0};
  char path[4096], name[96];
  int n = 0;
  c->status = 200;
  if (!cds_service(c->server->cds, c->arg, NULL)) {
    call_fail(c, 404, "notfound", "id", "there is no such service; GET /cds-services lists those that there are");
    return;
  }
  int rc = json_parser_new(&jp, &e);
  if (rc == OK) rc = json_parse(jp, (const char *)c->body, c->body_n, c->body_cap, &root, &e);
  if (rc == OK) rc = feedback_file(c, root, &b, &n, &e);
  json_parser_free(jp);
  snprintf(name, sizeof name, "cds-feedback-%s.json", c->request);
  if (rc == OK) rc = site_path(fleet_site(c->server->fleet), path, "inbox", name, NULL);
  if (rc == OK) rc = file_write_atomic(path, b.p, b.n, 0600, &e);
  buf_release(&b);
  if (rc < 0) {
    if (rc != E_INPUT) log_failure(LOG_ERROR, &e);
    call_error(c, &e);
    return;
  }
  atomic_fetch_add(&c->server->n.cds_feedback, (uint64_t)n);
}
