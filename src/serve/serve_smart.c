/* SMART App Launch 2 (hl7.org/fhir/smart-app-launch): the workbench as an app that an EHR opens on a patient.
 *
 *     GET /smart/launch?iss=FHIR[&launch=…]   discovery, then to the EHR's login (PKCE S256, state, nonce); without `launch`: standalone
 *     GET /smart/callback?code=…&state=…      the code for a token; then to the workbench, /#/launch, with a cookie
 *     GET /v1/launch, /v1/launch/patient      what the page shows: the patient read from the EHR and through the wall in memory
 *
 * Only FHIR servers of SITE/ehr.json. A login is begun at one replica and may end at another. What we know of a login or a session (access
 * token, patient) lies in the database sealed under a key made of the random number in the browser's cookie (serve_shared.h).
 */
#include <microhttpd.h>
#include <sodium.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "govern/site.h"
#include "serve/engine.h"
#include "serve/serve_cds.h"
#include "serve/serve_ehr.h"
#include "serve/serve_shared.h"
#include "timeline/timeline.h"
#include "vitae.h"

enum { PENDING_S = 600, SECRET = 32, HEX = 2 * SECRET + 1, ANSWER_MOST = 64 << 10, FETCH_MS = 5000, FIELDS = 6 };
#define GATHER_SECONDS 10.0

struct pending { /* a login under way */
  char verifier[64], nonce[HEX], iss[1024], token_endpoint[1024];
};
struct session {
  char iss[1024], token[4096], patient[65], encounter[65], task[64];
  char who[CALLER_ID + 1];
  int64_t until;
};

/* ---- as texts, each with its end, to be laid away ---- */

struct field {
  char *p;
  size_t size;
};
static void pack(const struct field *f, int n, struct buf *b) {
  for (int i = 0; i < n; i++) buf_put(b, f[i].p, strlen(f[i].p) + 1);
}
static bool unpack(struct str text, const struct field *f, int n) {
  for (int i = 0; i < n; i++) {
    const char *end = text.n ? memchr(text.p, 0, text.n) : NULL;
    size_t size = end ? (size_t)(end - text.p) + 1 : 0;
    if (!size || size > f[i].size) return false;
    memcpy(f[i].p, text.p, size);
    text.p += size, text.n -= size;
  }
  return text.n == 0;
}
#define FIELD(x) \
  { (x), sizeof(x) }
#define PENDING_FIELDS(v) \
  { FIELD((v)->verifier), FIELD((v)->nonce), FIELD((v)->iss), FIELD((v)->token_endpoint) }
#define SESSION_FIELDS(v) \
  { FIELD((v)->iss), FIELD((v)->token), FIELD((v)->patient), FIELD((v)->encounter), FIELD((v)->task), FIELD((v)->who) }

static int lay_away(struct call *c, enum shared_kind kind, const char *name, const char *lock, const struct field *f, int n, int64_t until,
                    struct error *e) {
  struct buf b = {0};
  pack(f, n, &b);
  int rc = buf_check(&b, e);
  if (rc == OK) rc = shared_put(c->server->shared, kind, str_c(name), str_c(lock), (struct str){b.p, b.n}, until, e);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

/* E_NOTFOUND: none, or over; else the database failed. */
static int fetch_back(const struct call *c, enum shared_kind kind, struct str name, struct str lock, bool take, const struct field *f,
                      int n, int64_t *until, struct error *e) {
  struct buf b = {0};
  int rc = shared_get(c->server->shared, kind, name, lock, take, &b, until, e);
  if (rc == OK && !unpack((struct str){b.p, b.n}, f, n)) rc = error_set(e, E_NOTFOUND, "there is none, or it is over");
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

/* ---- small things ---- */

static int secret_hex(char out[HEX], struct error *e) {
  uint8_t raw[SECRET];
  TRY(random_secret(raw, sizeof raw, e));
  hash_hex(raw, sizeof raw, out);
  mem_wipe(raw, sizeof raw);
  return OK;
}

static void base64url(const uint8_t *p, size_t n, char *out, size_t size) {
  sodium_bin2base64(out, size, p, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static struct str cookie_of(const struct call *c, const char *name) {
  return c->connection ? str_c(MHD_lookup_connection_value(c->connection, MHD_COOKIE_KIND, name)) : STR_NONE;
}

static void set_cookie(struct call *c, const char *name, const char *value, const char *path, const char *site, int seconds) {
  bool secure = strncmp(ehr_base(c->server->ehr), "https://", 8) == 0;
  buf_clear(&c->cookie);
  buf_printf(&c->cookie, "%s=%s; Path=%s; Max-Age=%d; HttpOnly; SameSite=%s%s", name, value, path, seconds, site, secure ? "; Secure" : "");
}

static const char redirect_path[] = "/smart/callback";
static void redirect_uri(const struct call *c, struct buf *b) { buf_printf(b, "%s%s", ehr_base(c->server->ehr), redirect_path); }

static bool copy(struct json j, const char *key, char *out, size_t size) {
  struct str s = json_str(json_get(j, key));
  if (!s.n || s.n >= size || memchr(s.p, 0, s.n)) return false;
  snprintf(out, size, "%.*s", STR_ARG(s));
  return true;
}

static void fail(struct call *c, const struct error *e) {
  if (e->code == E_DENIED)
    call_fail(c, 403, "denied", e->field, e->message);
  else if (e->code == E_UNAVAILABLE)
    call_fail(c, 502, "unavailable", e->field, e->message);
  else
    call_error(c, e);
}

static int say(struct error *e, int code, const char *field, const char *what) {
  (void)error_set(e, code, "%s", what);
  return error_where(e, NULL, 0, field);
}

/* Open to everybody, as a login has to be, but with an audit row. */
bool admit_smart(struct call *c) {
  if (ehr_smart(c->server->ehr)) return true;
  call_fail(c, 404, "notfound", NULL, "this site has no SMART app: ehr.json tells of none");
  return false;
}

/* ---- launch ---- */

struct endpoints {
  char authorization[1024], token[1024];
};

static bool has_s256(struct json root) {
  struct json item;
  for (struct json_iter it = json_items(json_get(root, "code_challenge_methods_supported")); json_next(&it, &item);)
    if (str_eqc(json_str(item), "S256")) return true;
  return false;
}

static int discover(struct call *c, const char *iss, struct endpoints *out, struct error *e) {
  struct fetch_answer a;
  struct json_parser *jp = NULL;
  struct json root;
  char url[1200];
  struct fetcher *f = ehr_fetcher(c->server->ehr);
  snprintf(url, sizeof url, "%s/.well-known/smart-configuration", iss);
  TRY(fetch(f, &(struct fetch_request){.url = str_c(url), .accept = "application/json", .timeout_ms = FETCH_MS, .most = ANSWER_MOST}, &a,
            e));
  int rc = json_parser_new(&jp, e);
  if (rc == OK && (a.status != 200 || json_parse(jp, a.body.p, a.body.n, a.body.cap, &root, NULL) < 0))
    rc = error_set(e, E_UNAVAILABLE, "the FHIR server has no SMART configuration");
  if (rc == OK && (!copy(root, "authorization_endpoint", out->authorization, sizeof out->authorization) ||
                   !copy(root, "token_endpoint", out->token, sizeof out->token)))
    rc = error_set(e, E_UNAVAILABLE, "the FHIR server's SMART configuration names no endpoints");
  if (rc == OK && !has_s256(root)) rc = error_set(e, E_UNAVAILABLE, "the FHIR server's authorisation does not do PKCE with S256");
  if (rc == OK && (!fetch_allowed(f, str_c(out->authorization)) || !fetch_allowed(f, str_c(out->token))))
    rc = error_set(e, E_DENIED, "the authorisation endpoints are not among the addresses of ehr.json");
  json_parser_free(jp);
  fetch_release(&a);
  return rc;
}

/* The scope of the file, with `launch` as an EHR's launch wants it, `launch/patient` for a standalone one. */
static void put_scope(const char *scope, bool ehr, struct buf *b) {
  struct str rest = str_c(scope);
  while (rest.n) {
    struct str word = str_trim(str_cut(&rest, ' '));
    if (!word.n || str_eqc(word, "launch") || str_eqc(word, "launch/patient")) continue;
    buf_str(b, word), buf_putc(b, ' ');
  }
  buf_puts(b, ehr ? "launch" : "launch/patient");
}

static int begin(struct call *c, struct error *e) {
  const struct ehr_smart *app = ehr_smart(c->server->ehr);
  struct str iss = call_query(c, "iss"), launch = call_query(c, "launch");
  struct pending p = {0};
  struct endpoints at = {0};
  char state[HEX], browser[HEX], challenge[64];
  uint8_t raw[SECRET], digest[32];
  struct str aud = iss; /* to the letter */
  while (iss.n && iss.p[iss.n - 1] == '/') iss.n--;
  if (!iss.n || iss.n >= sizeof p.iss || !ehr_fhir(c->server->ehr, iss))
    return say(e, E_DENIED, "iss", "this FHIR server is not among those of ehr.json");
  if (launch.n > 2048) return say(e, E_INPUT, "launch", "this is too long");
  snprintf(p.iss, sizeof p.iss, "%.*s", STR_ARG(iss));
  TRY(discover(c, p.iss, &at, e));
  snprintf(p.token_endpoint, sizeof p.token_endpoint, "%s", at.token);
  TRY(random_secret(raw, sizeof raw, e));
  base64url(raw, sizeof raw, p.verifier, sizeof p.verifier);
  sha256_of(p.verifier, strlen(p.verifier), digest);
  base64url(digest, 32, challenge, sizeof challenge);
  TRY(secret_hex(state, e));
  TRY(secret_hex(browser, e));
  TRY(secret_hex(p.nonce, e));
  const struct field field[] = PENDING_FIELDS(&p);
  int rc = lay_away(c, SHARED_LOGIN, state, browser, field, 4, time_now() + PENDING_S * TIME_SECOND, e);
  mem_wipe(p.verifier, sizeof p.verifier);
  TRY(rc);
  struct buf b = {0}, uri = {0}, scope = {0};
  redirect_uri(c, &uri);
  put_scope(app->scope, launch.n > 0, &scope);
  buf_printf(&b, "%s%s", at.authorization, strchr(at.authorization, '?') ? "&" : "?");
  fetch_form(&b, "response_type", STR("code"));
  fetch_form(&b, "client_id", str_c(app->client));
  fetch_form(&b, "redirect_uri", (struct str){uri.p, uri.n});
  fetch_form(&b, "scope", (struct str){scope.p, scope.n});
  fetch_form(&b, "state", str_c(state));
  fetch_form(&b, "nonce", str_c(p.nonce));
  fetch_form(&b, "aud", aud);
  fetch_form(&b, "code_challenge", str_c(challenge));
  fetch_form(&b, "code_challenge_method", STR("S256"));
  if (launch.n) fetch_form(&b, "launch", launch);
  c->place = b;
  set_cookie(c, "vitae_login", browser, "/smart", "Lax", PENDING_S);
  c->status = 302;
  buf_release(&uri), buf_release(&scope);
  return buf_check(&c->place, e);
}

bool errand_smart_launch(struct call *c) {
  struct error e = {0};
  if (begin(c, &e) < 0) fail(c, &e);
  return false;
}

/* ---- callback ---- */

/* Who it is, of an id_token that came straight from the token endpoint over TLS (OpenID Connect Core 3.1.3.7, 6): for the audit, hashed. */
static int take_identity(const struct ehr_smart *app, struct json answer, const struct pending *p, struct session *s, struct error *e) {
  struct str token = json_str(json_get(answer, "id_token"));
  uint8_t text[8192 + STREAM_PAD] = {0};
  size_t n = 0;
  struct json_parser *jp = NULL;
  struct json claims;
  uint64_t h = hash64(p->iss, strlen(p->iss), 17);
  snprintf(s->who, sizeof s->who, "launch");
  if (!token.n) return OK;
  (void)str_cut(&token, '.');
  struct str payload = str_cut(&token, '.');
  if (!payload.n || payload.n > 10000 ||
      sodium_base642bin(text, 8192, payload.p, payload.n, NULL, &n, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
    return error_set(e, E_DENIED, "the EHR's identity token cannot be read");
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, (char *)text, n, sizeof text, &claims, e);
  if (rc < 0) {
    json_parser_free(jp);
    return error_set(e, E_DENIED, "the EHR's identity token cannot be read");
  }
  struct json aud = json_get(claims, "aud"), first = json_at(aud, 0);
  struct str sub = json_str(json_get(claims, "sub")), audience = json_str(aud).n ? json_str(aud) : json_str(first);
  struct str nonce = json_str(json_get(claims, "nonce"));
  if (!sub.n || !str_eqc(audience, app->client) || (nonce.n && !str_eqc(nonce, p->nonce)))
    rc = error_set(e, E_DENIED, "the EHR's identity token is not for this login");
  if (rc == OK) snprintf(s->who, sizeof s->who, "s%016llx", (unsigned long long)hash64(sub.p, sub.n, h));
  json_parser_free(jp);
  mem_wipe(text, sizeof text);
  return rc;
}

/* `appContext` of the card that was clicked: which question to open with. */
static void take_context(struct json answer, struct session *s) {
  struct str text = json_str(json_get(answer, "appContext"));
  struct json_parser *jp = NULL;
  struct json root;
  if (text.n && text.n < 4096 && json_parser_new(&jp, NULL) == OK && json_parse(jp, text.p, text.n, text.n, &root, NULL) == OK) {
    struct str task = json_str(json_get(root, "task"));
    if (name_plain(task, sizeof s->task - 1)) snprintf(s->task, sizeof s->task, "%.*s", STR_ARG(task));
  }
  json_parser_free(jp);
}

static int take_token(struct call *c, struct json answer, const struct pending *p, struct session *s, struct error *e) {
  const struct ehr_smart *app = ehr_smart(c->server->ehr);
  int64_t seconds = app->seconds, expires;
  if (!copy(answer, "access_token", s->token, sizeof s->token) || !str_eq_nocase(json_str(json_get(answer, "token_type")), STR("Bearer")))
    return error_set(e, E_UNAVAILABLE, "the EHR gave no access");
  if (!copy(answer, "patient", s->patient, sizeof s->patient) || !name_plain(str_c(s->patient), 64))
    return error_set(e, E_DENIED, "the EHR names no patient for this launch");
  if (copy(answer, "encounter", s->encounter, sizeof s->encounter) && !name_plain(str_c(s->encounter), 64)) s->encounter[0] = 0;
  if (json_i64(json_get(answer, "expires_in"), &expires) && expires > 0 && expires < seconds) seconds = expires;
  s->until = time_now() + seconds * TIME_SECOND;
  snprintf(s->iss, sizeof s->iss, "%s", p->iss);
  take_context(answer, s);
  return take_identity(app, answer, p, s, e);
}

static int exchange(struct call *c, const struct pending *p, struct str code, struct session *s, struct error *e) {
  const struct ehr_smart *app = ehr_smart(c->server->ehr);
  struct fetch_answer a;
  struct buf form = {0}, uri = {0};
  struct json_parser *jp = NULL;
  struct json root;
  redirect_uri(c, &uri);
  fetch_form(&form, "grant_type", STR("authorization_code"));
  fetch_form(&form, "code", code);
  fetch_form(&form, "redirect_uri", (struct str){uri.p, uri.n});
  fetch_form(&form, "code_verifier", str_c(p->verifier));
  if (!app->secret[0]) fetch_form(&form, "client_id", str_c(app->client));
  struct fetch_request r = {.url = str_c(p->token_endpoint),
                            .accept = "application/json",
                            .type = "application/x-www-form-urlencoded",
                            .body = {form.p, form.n},
                            .timeout_ms = FETCH_MS,
                            .most = ANSWER_MOST};
  if (app->secret[0]) r.user = str_c(app->client), r.password = str_c(app->secret);
  int rc = fetch(ehr_fetcher(c->server->ehr), &r, &a, e);
  if (rc == OK) rc = json_parser_new(&jp, e);
  if (rc == OK && (a.status != 200 || json_parse(jp, a.body.p, a.body.n, a.body.cap, &root, NULL) < 0))
    rc = error_set(e, a.status / 100 == 4 ? E_DENIED : E_UNAVAILABLE, "the EHR did not take the code");
  if (rc == OK) rc = take_token(c, root, p, s, e);
  json_parser_free(jp);
  fetch_release(&a);
  if (form.p) mem_wipe(form.p, form.cap);
  buf_release(&form), buf_release(&uri);
  return rc;
}

/* The state is good once, and for the browser in which the login was begun. */
static int take_pending(struct call *c, struct pending *p, struct error *e) {
  const struct field field[] = PENDING_FIELDS(p);
  int64_t until;
  int rc = fetch_back(c, SHARED_LOGIN, call_query(c, "state"), cookie_of(c, "vitae_login"), true, field, 4, &until, e);
  if (rc != E_NOTFOUND) return rc;
  return say(e, E_DENIED, "state", "this login is over, or was begun in another browser: open the app again");
}

static int finish(struct call *c, struct error *e) {
  struct str code = call_query(c, "code");
  struct pending p = {0};
  struct session s = {0};
  const struct field field[FIELDS] = SESSION_FIELDS(&s);
  char cookie[HEX];
  TRY(take_pending(c, &p, e));
  int rc = call_query(c, "error").n ? say(e, E_DENIED, "error", "the EHR refused the login") : OK;
  if (rc == OK && (!code.n || code.n > 4096)) rc = say(e, E_INPUT, "code", "expected the EHR's code");
  if (rc == OK) rc = exchange(c, &p, code, &s, e);
  if (rc == OK) rc = secret_hex(cookie, e);
  if (rc == OK) rc = lay_away(c, SHARED_SESSION, cookie, cookie, field, FIELDS, s.until, e);
  if (rc == OK) {
    set_cookie(c, "vitae_launch", cookie, "/v1/launch", "Strict", (int)((s.until - time_now()) / TIME_SECOND));
    buf_puts(&c->place, "/#/launch");
    snprintf(c->who.key, sizeof c->who.key, "%s", s.who);
    c->status = 302;
  }
  mem_wipe(&p, sizeof p), mem_wipe(&s, sizeof s);
  return rc;
}

bool errand_smart_callback(struct call *c) {
  struct error e = {0};
  if (finish(c, &e) < 0) fail(c, &e);
  return false;
}

void answer_smart(struct call *c) { call_fail(c, 500, "corrupt", NULL, "an errand answers this"); }

/* ---- the page's questions ---- */

static int session_of(const struct call *c, struct session *out, struct error *e) {
  struct str cookie = cookie_of(c, "vitae_launch");
  const struct field field[FIELDS] = SESSION_FIELDS(out);
  if (!cookie.n) return error_set(e, E_NOTFOUND, "there is no session");
  return fetch_back(c, SHARED_SESSION, cookie, cookie, false, field, FIELDS, &out->until, e);
}

static bool has_session(struct call *c, struct session *out) {
  struct error e = {0};
  int rc = session_of(c, out, &e);
  if (rc == E_NOTFOUND)
    call_fail(c, 401, "unauthorized", NULL, "the session is over: open the app from the EHR again");
  else if (rc < 0)
    call_error(c, &e);
  return rc == OK;
}

bool admit_launch(struct call *c) {
  struct session s;
  struct error e = {0};
  int rc = session_of(c, &s, &e);
  if (rc == E_NOTFOUND) return admit_by_key(c); /* says how it is refused: no role has this scope */
  if (rc < 0) {
    log_failure(LOG_ERROR, &e);
    return call_error(c, &e), false;
  }
  c->who = (struct identity){.scopes = SCOPE_LAUNCH, .planes = PLANE_HOSPITAL};
  snprintf(c->who.key, sizeof c->who.key, "%s", s.who);
  snprintf(c->who.tenant, sizeof c->who.tenant, "hospital");
  mem_wipe(&s, sizeof s);
  return true;
}

void answer_launch(struct call *c) {
  struct session s;
  struct json_out o;
  if (!call_versioned(c) || !has_session(c, &s)) return;
  c->status = 200;
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_c(&o, "site", fleet_site(c->server->fleet)->name);
  if (s.task[0]) json_kv_c(&o, "task", s.task);
  json_kv_i64(&o, "seconds", (s.until - time_now()) / TIME_SECOND);
  tasks_json(c, &o);
  json_out_end(&o);
  mem_wipe(&s, sizeof s);
}

/* The record as the first patient-view service asks for it. */
bool errand_launch(struct call *c) {
  struct error e = {0};
  struct session s;
  const struct cds *d = c->server->cds;
  if (!has_session(c, &s)) return false;
  struct cds_gather g = {.server = c->server,
                         .fhir = str_c(s.iss),
                         .token = str_c(s.token),
                         .patient = str_c(s.patient),
                         .encounter = str_c(s.encounter),
                         .until = time_monotonic() + GATHER_SECONDS};
  for (int i = 0; i < d->services && !g.service; i++)
    if (strcmp(d->service[i].hook, "patient-view") == 0) g.service = &d->service[i];
  struct cds_job *job = g.service ? mem_alloc(sizeof *job) : NULL;
  int rc = !g.service ? error_set(&e, E_NOTFOUND, "no patient-view service says what to read")
           : job      ? OK
                      : error_set(&e, E_NOMEM, "out of memory");
  if (job) {
    memset(job, 0, sizeof *job);
    c->job = job, c->free_job = cds_job_free;
    rc = cds_gather(&g, job, &e);
  }
  mem_wipe(&s, sizeof s);
  if (rc == E_NOTFOUND && job) rc = error_set(&e, E_UNAVAILABLE, "the EHR did not give the patient's record");
  if (rc < 0) fail(c, &e);
  return rc == OK;
}

static int launched(struct call *c, const struct ask *a, struct vitae_session *s, struct error *e) {
  const struct cds_job *job = c->job;
  struct session_summary sum;
  struct json_out o;
  struct session_query q = {.futures = (int)a->futures,
                            .explain = (int)a->explain,
                            .outcomes = (int)a->outcomes,
                            .horizon_days = a->horizon_days,
                            .seed = (uint64_t)a->seed};
  if (a->task[0] && !(q.task = engine_task(call_engine(c), a->task)))
    return say(e, E_NOTFOUND, "task", "this version offers no task of that name; GET /v1/launch lists those it offers");
  TRY(session_parsed(s, job->resource, job->resources, e));
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  json_kv_c(&o, "version", vitae_engine_id(call_engine(c)));
  TRY(session_answer(s, &q, &o, &sum, e));
  json_out_key(&o, "life");
  timeline_json(session_timeline(s), 0, 0, &o);
  if (job->absent[0]) json_kv_c(&o, "absent", job->absent);
  json_kv_bool(&o, "cut", job->cut);
  json_out_end(&o);
  c->tokens_in = sum.events;
  return OK;
}

void answer_launch_patient(struct call *c) {
  struct error e = {0};
  struct vitae_error ve = {0};
  struct vitae_session *s = NULL;
  struct ask a = {0};
  c->status = 200;
  if (ask_query(c, &a, &e) < 0) {
    call_error(c, &e);
  } else if (vitae_session_open(call_engine(c), &s, &ve) < 0) {
    call_vitae_error(c, &ve);
  } else {
    session_cancel(s, call_left, c);
    if (launched(c, &a, s, &e) < 0) call_error(c, &e);
  }
  vitae_session_close(s);
}
