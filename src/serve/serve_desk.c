/* The desk: who is it, may they, and answers that need no model. A few threads, because checking a key may take a tenth of a second. */
#include <string.h>

#include "base/log.h"
#include "base/time.h"
#include "serve/engine.h"
#include "serve/serve_private.h"
#include "vitae.h"

/* "Authorization: Bearer KEY" or "api-key: KEY". */
static struct str presented_key(const struct call *c) {
  struct str a = call_header(c, "Authorization");
  if (a.n > 7 && str_eq_nocase((struct str){a.p, 7}, STR("Bearer "))) return str_trim((struct str){a.p + 7, a.n - 7});
  if (a.n) return a; /* another scheme: no key of ours has that shape */
  return call_header(c, "api-key");
}

static bool admitted(struct call *c) {
  struct error e = {0};
  struct str key = presented_key(c);
  enum role needed = route_at(c->route)->route.role;
  if (key.n == 0) {
    call_fail(c, 401, "unauthorized", NULL, "this needs a key: send it as \"Authorization: Bearer KEY\"");
  } else if (keys_check(c->server->keys, key, c->key_id, &c->role, &c->server->n.hash, &e) < 0) {
    if (e.code == E_DENIED)
      call_fail(c, 401, "unauthorized", NULL, "the key is not valid");
    else
      call_error(c, &e);
    if (e.code != E_DENIED && e.code != E_BUSY) log_failure(LOG_ERROR, &e);
  } else if (c->role < needed) {
    call_fail(c, 403, "denied", NULL, "the key's role does not allow this");
  } else {
    return true;
  }
  if (c->status == 401) atomic_fetch_add(&c->server->n.refused_keys, 1);
  return false;
}

static void to_worker(struct call *c) {
  c->stage = CALL_WORK;
  atomic_fetch_add(&c->server->n.waiting, 1);
  if (queue_put(&c->server->work, c)) return;
  atomic_fetch_sub(&c->server->n.waiting, 1);
  atomic_fetch_add(&c->server->n.rejected, 1);
  c->retry_after = 2;
  call_fail(c, 429, "busy", NULL, "too many requests are waiting for the model; try again later");
  call_finish(c);
}

static void serve_one(struct call *c) {
  const struct route_entry *r = route_at(c->route);
  if (!admitted(c)) {
    call_finish(c);
  } else if (strcmp(r->route.method, "POST") == 0 && c->stage == CALL_DESK) {
    c->stage = CALL_BODY_FIRST; /* only now is the body read */
    call_resume(c);
  } else if (r->model) {
    to_worker(c);
  } else {
    r->answer(c);
    call_finish(c);
  }
}

void *desk_main(void *server) {
  struct server *s = server;
  struct call *c;
  while ((c = queue_take(&s->desk))) {
    if (c->stage == CALL_WORK) /* its body is complete and its key was checked before */
      to_worker(c);
    else
      serve_one(c);
  }
  return NULL;
}

/* ---- the audit thread ---- */

static void describe(struct call *c, struct audit_entry *row) {
  const struct route *r = &route_at(c->route)->route;
  uint8_t digest[32];
  *row = (struct audit_entry){.time = time_now(),
                              .method = r->method,
                              .route = r->path,
                              .version = vitae_engine_id(c->server->engine),
                              .status = c->status,
                              .latency_us = (int64_t)((time_monotonic() - c->began) * 1e6)};
  snprintf(row->key, sizeof row->key, "%s", c->key_id[0] ? c->key_id : "-");
  if (c->input_open) {
    sha256_end(&c->input_hash, digest);
    c->input_open = false;
    hash_hex(digest, 32, row->input);
  }
  sha256_of(c->out.p ? c->out.p : "", c->out.n, digest);
  hash_hex(digest, 32, row->output);
}

#define AUDIT_BATCH 128

/* No answer leaves without its row: if the row cannot be written, neither can the answer be given. */
static void commit(struct server *s, struct audit *audit, struct call **calls, struct audit_entry *rows, int n) {
  struct error e = {0};
  for (int i = 0; i < n; i++) describe(calls[i], &rows[i]);
  int rc = audit_write(audit, rows, n, &e);
  if (rc < 0) log_failure(LOG_ERROR, &e);
  atomic_fetch_add(rc < 0 ? &s->n.audit_failures : &s->n.audit_rows, (uint64_t)n);
  for (int i = 0; i < n; i++) {
    calls[i]->audit_row = rc < 0 ? 0 : rows[i].row;
    if (rc < 0) call_fail(calls[i], 503, "unavailable", NULL, "the audit cannot be written, so nothing may be answered");
    call_resume(calls[i]);
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
