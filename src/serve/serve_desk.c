/* The desk: who is it, may they, and answers that need no model. A few threads, because checking a key may take a tenth of a second. */
#include <string.h>

#include "base/log.h"
#include "base/time.h"
#include "serve/engine.h"
#include "serve/serve_cds.h"
#include "serve/serve_ehr.h"
#include "serve/serve_private.h"
#include "serve/serve_stream.h"
#include "serve/serve_token.h"
#include "serve/serve_voice.h"
#include "vitae.h"

/* "Authorization: Bearer KEY" or "api-key: KEY". */
struct str call_credential(const struct call *c) {
  struct str a = call_header(c, "Authorization");
  if (a.n > 7 && str_eq_nocase((struct str){a.p, 7}, STR("Bearer "))) return str_trim((struct str){a.p + 7, a.n - 7});
  if (a.n) return a; /* another scheme: no key of ours has that shape */
  return call_header(c, "api-key");
}

bool identity_may_use(const struct identity *who, struct str deployment) {
  struct str rest = str_c(who->models);
  if (!rest.n) return true;
  while (rest.n)
    if (str_eq(str_cut(&rest, ','), deployment)) return true;
  return false;
}

static bool permitted(struct call *c) {
  const struct route *r = &route_at(c->route)->route;
  if (!(c->who.planes & c->plane)) {
    call_fail(c, 403, "denied", NULL, "this key belongs to the other listener");
  } else if ((c->who.scopes & r->scope) != r->scope) {
    call_fail(c, 403, "denied", NULL, "the key's role does not allow this");
  } else {
    return true;
  }
  return false;
}

static bool taken(struct call *c, int rc, const struct error *e) {
  if (rc == OK) return true;
  if (e->code == E_BUSY) {
    atomic_fetch_add(&c->server->n.limited, 1);
    call_fail(c, 429, "429", NULL, e->message);
  } else {
    call_error(c, e);
    log_failure(LOG_ERROR, e);
  }
  return false;
}

static bool within_quota(struct call *c) {
  struct error e = {0};
  if (route_at(c->route)->route.quota == QUOTA_NONE) return true;
  return taken(c, quota_take(c->server->quotas, c, &e), &e);
}

bool call_reserve(struct call *c, int64_t tokens) {
  struct error e = {0};
  return taken(c, quota_reserve(c->server->quotas, c, tokens, &e), &e);
}

/* The path that was called, as a client's token names it. */
static void called_path(const struct call *c, char out[256]) {
  const char *pattern = route_at(c->route)->route.path, *at = strchr(pattern, '{');
  if (!at)
    snprintf(out, 256, "%s", pattern);
  else
    snprintf(out, 256, "%.*s%s%s", (int)(at - pattern), pattern, c->arg, strchr(at, '}') + 1);
}

static int identify(struct call *c, struct str credential, struct error *e) {
  if (c->server->ehr && route_at(c->route)->route.dialect == DIALECT_CDS && token_shape(credential)) {
    char path[256];
    called_path(c, path);
    int rc = ehr_token(c->server->ehr, c->server->shared, path, credential, &c->who, e);
    if (rc != E_DENIED || !c->server->tokens) return rc;
  }
  if (c->server->tokens && token_shape(credential)) return token_check(c->server->tokens, c->plane, credential, c->address, &c->who, e);
  return keys_check(c->server->keys, credential, c->address, &c->who, &c->retry_after, &c->server->n.hash, e);
}

bool admit_by_key(struct call *c) {
  struct error e = {0};
  const struct route_entry *r = route_at(c->route);
  struct str key = call_credential(c);
  if (key.n == 0 && r->route.dialect == DIALECT_CDS && ehr_cds_open(c->server->ehr)) {
    c->who = (struct identity){
        .key = "open", .tenant = "hospital", .role = ROLE_EHR, .scopes = role_scopes[ROLE_EHR], .planes = role_plane[ROLE_EHR]};
    return permitted(c);
  }
  if (key.n == 0) {
    call_fail(c, 401, "unauthorized", NULL, "this needs a key: send it as \"Authorization: Bearer KEY\" or \"api-key: KEY\"");
  } else if (identify(c, key, &e) < 0) {
    if (e.code == E_DENIED)
      call_fail(c, 401, "unauthorized", NULL,
                c->plane == PLANE_DEVELOPER ? "Access denied: the key or token is missing, invalid or expired" : "the key is not valid");
    else
      call_error(c, &e);
    if (e.code != E_DENIED && e.code != E_BUSY) log_failure(LOG_ERROR, &e);
  } else {
    return permitted(c) && within_quota(c);
  }
  if (c->status == 401) atomic_fetch_add(&c->server->n.refused_keys, 1);
  return false;
}

/* The hospital's questions are the live version's; a developer's name theirs in the body. */
static bool can_answer(struct call *c) { return c->plane != PLANE_HOSPITAL || route_at(c->route)->how != BY_MODEL || call_versioned(c); }

static bool admitted(struct call *c) {
  const struct route_entry *r = route_at(c->route);
  bool may = r->admit ? r->admit(c) : r->route.scope == SCOPE_OPEN || admit_by_key(c);
  return may && can_answer(c);
}

enum admission admit_at_once(struct call *c) {
  const struct route_entry *r = route_at(c->route);
  if (r->admit) return ADMIT_ASK;
  if (r->route.scope == SCOPE_OPEN) return can_answer(c) ? ADMIT_YES : ADMIT_NO;
  if (keys_recall(c->server->keys, call_credential(c), &c->who) < 0) return ADMIT_ASK; /* also those to be refused: the desk says how */
  if (!quotas_quick(c->server->quotas) && (c->who.requests_per_minute > 0 || c->who.tokens_per_minute > 0)) return ADMIT_ASK;
  return permitted(c) && within_quota(c) && can_answer(c) ? ADMIT_YES : ADMIT_NO;
}

void call_to_worker(struct call *c) {
  c->stage = CALL_WORK;
  if (route_at(c->route)->answer == answer_generate && !probe_begin(c)) return;
  atomic_fetch_add(&c->server->n.waiting, 1);
  if (queue_put(&c->server->work, c)) return;
  atomic_fetch_sub(&c->server->n.waiting, 1);
  atomic_fetch_add(&c->server->n.rejected, 1);
  if (call_dialect(c) == DIALECT_CDS) { /* a clinician's screen is not the place for an error of ours */
    cds_miss(c);
  } else {
    c->retry_after = 2;
    call_fail(c, 429, "busy", NULL, "too many requests are waiting for the model; try again later");
  }
  call_finish(c);
}

/* Admitted, its body complete if it has one. */
static void answer_now(struct call *c) {
  const struct route_entry *r = route_at(c->route);
  if (r->errand) {
    if (queue_put(&c->server->errand, c)) return;
    c->retry_after = 2;
    call_fail(c, 429, "busy", NULL, "too many requests at once; try again later");
    call_finish(c);
  } else if (r->how == BY_MODEL) {
    call_to_worker(c);
  } else {
    r->answer(c);
    call_finish(c);
  }
}

void *desk_main(void *server) {
  struct server *s = server;
  struct call *c;
  while ((c = queue_take(&s->desk))) {
    bool post = strcmp(route_at(c->route)->route.method, "POST") == 0;
    if (c->stage == CALL_WORK) { /* its body is complete and its key was checked before */
      answer_now(c);
    } else if (!admitted(c)) {
      call_finish(c);
    } else if (post) {
      c->stage = CALL_BODY_FIRST; /* only now is the body read */
      call_resume(c);
    } else {
      answer_now(c);
    }
  }
  return NULL;
}

/* Threads that may wait for other machines, so that nobody else has to. */
void *errand_main(void *server) {
  struct server *s = server;
  struct call *c;
  while ((c = queue_take(&s->errand))) {
    const struct route_entry *r = route_at(c->route);
    if (r->errand(c) && r->how == BY_MODEL)
      call_to_worker(c);
    else
      call_finish(c);
  }
  return NULL;
}

/* ---- the audit thread ---- */

/* A client says that it asks again, by the SDK's counter. */
bool call_says_again(const struct call *c) {
  if (c->stream) return c->again;
  struct str count = call_header(c, "x-stainless-retry-count");
  return count.n && !str_eqc(count, "0");
}

void call_describe(struct call *c, struct audit_entry *row) {
  const struct route *r = &route_at(c->route)->route;
  bool begun = c->stage == CALL_STREAM; /* its first frames are about to leave; what all of them were, a second row says */
  uint8_t digest[32];
  *row = (struct audit_entry){.time = time_now(),
                              .method = c->shadow ? "SHADOW" : r->method,
                              .route = r->path,
                              .version = c->voice ? voice_id(c->voice) : call_version(c),
                              .status = begun ? 100 : c->status,
                              .latency_us = (int64_t)((time_monotonic() - c->began) * 1e6),
                              .tokens_in = c->tokens_in,
                              .tokens_out = c->tokens_out,
                              .billed = c->status < 400 && !c->shadow && !begun,
                              .repeated = call_says_again(c)};
  snprintf(row->key, sizeof row->key, "%s", c->who.key[0] ? c->who.key : "-");
  snprintf(row->tenant, sizeof row->tenant, "%s", c->who.tenant);
  snprintf(row->request, sizeof row->request, "%s", c->request);
  snprintf(row->client, sizeof row->client, "%s", c->client_request);
  snprintf(row->verdict, sizeof row->verdict, "%s", c->verdict);
  input_end(c);
  snprintf(row->input, sizeof row->input, "%s", c->input);
  if (begun) return;
  if (c->stream)
    stream_digest(c, digest);
  else
    sha256_of(c->out.p ? c->out.p : "", c->out.n, digest);
  hash_hex(digest, 32, row->output);
}

#define AUDIT_BATCH 128

/* No answer leaves without its row: if the row cannot be written, neither can the answer be given. */
static void commit(struct server *s, struct audit *audit, struct call **calls, struct audit_entry *rows, int n) {
  struct error e = {0};
  for (int i = 0; i < n; i++) call_describe(calls[i], &rows[i]);
  int rc = audit_write(audit, rows, n, &e);
  if (rc < 0) log_failure(LOG_ERROR, &e);
  atomic_fetch_add(rc < 0 ? &s->n.audit_failures : &s->n.audit_rows, (uint64_t)n);
  atomic_store(&s->mute, rc < 0);
  for (int i = 0; i < n; i++) {
    calls[i]->audit_row = rc < 0 ? 0 : rows[i].row;
    if (rc < 0) call_fail(calls[i], 503, "unavailable", NULL, "the audit cannot be written, so nothing may be answered");
    if (!calls[i]->stream)
      call_resume(calls[i]);
    else if (stream_committed(calls[i], rc == OK))
      call_free(calls[i]);
  }
}

void *audit_main(void *server) {
  struct server *s = server;
  struct call *chain, *batch[AUDIT_BATCH];
  struct audit_entry rows[AUDIT_BATCH];
  while ((chain = queue_take_all(&s->audited)))
    while (chain) {
      int n = 0;
      for (; chain && n < AUDIT_BATCH; n++) {
        batch[n] = chain;
        chain = chain->next;
        batch[n]->next = NULL;
      }
      commit(s, s->audit, batch, rows, n);
    }
  return NULL;
}
