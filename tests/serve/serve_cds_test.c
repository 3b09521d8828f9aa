/* CDS Hooks from outside: discovery, cards from prefetch in its five forms and from a FHIR server, thresholds, lateness, tokens, feedback, what is left behind. */
#include "serve_helper.h"

#include <math.h>
#include <pthread.h>

#include "serve/serve_private.h"

static struct site_fixture site;
static char key[ROLES][64];
#define UUID "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
#define COMMENT "Zyxwvutsson says otherwise"

/* ---- a FHIR server by hand: search results of one person, a second page, one list slow, one refused ---- */
struct ehr_peer {
  int fd, port;
  pthread_t thread;
  atomic_int asked, with_token, slow_ms;
  atomic_bool stop, slow_patient;
};

static void observation(struct buf *b, int k) {
  buf_printf(b,
             "{\"fullUrl\":\"urn:x:%d\",\"resource\":{\"resourceType\":\"Observation\",\"id\":\"o%d\",\"status\":\"final\",\"subject\":{"
             "\"reference\":\"Patient/"
             "p1\"},\"code\":{\"coding\":[{\"system\":\"http://"
             "loinc.org\",\"code\":\"2160-0\"}]},\"effectiveDateTime\":\"2019-%02d-11T08:00:00Z\","
             "\"valueQuantity\":{\"value\":%d.5,\"unit\":\"mg/dL\",\"code\":\"mg/dL\",\"system\":\"http://unitsofmeasure.org\"}}}",
             k, k, 1 + k % 12, 1 + k);
}

static void patient(struct buf *b, const char *id) {
  buf_printf(b,
             "{\"resourceType\":\"Patient\",\"id\":\"%s\",\"gender\":\"female\",\"birthDate\":\"1941-04-02\",\"name\":[{\"family\":"
             "\"" SITE_CANARY_NAME "\"}],\"identifier\":[{\"value\":\"" SITE_CANARY_MRN "\"}]}",
             id);
}

static void searchset(struct buf *b, int from, int n, const char *next) {
  buf_puts(b, "{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
  if (next) buf_printf(b, ",\"link\":[{\"relation\":\"next\",\"url\":\"%s\"}]", next);
  buf_puts(b, ",\"entry\":[");
  for (int k = from; k < from + n; k++) buf_puts(b, k > from ? "," : ""), observation(b, k);
  buf_puts(b, "]}");
}

static void *ehr_main(void *ctx) {
  struct ehr_peer *p = ctx;
  while (!atomic_load(&p->stop)) {
    char text[4096], next[96];
    size_t n = 0;
    ssize_t k;
    int c = accept(p->fd, NULL, NULL), status = 200;
    while (n + 1 < sizeof text && !(n && strstr(text, "\r\n\r\n")) && (k = recv(c, text + n, sizeof text - 1 - n, 0)) > 0)
      text[n += (size_t)k] = 0;
    if (atomic_load(&p->stop) || !n) return close(c), NULL;
    struct buf body = {0}, out = {0};
    atomic_fetch_add(&p->asked, 1);
    if (strstr(text, "Authorization: Bearer ehr-access\r\n")) atomic_fetch_add(&p->with_token, 1);
    snprintf(next, sizeof next, "http://127.0.0.1:%d/fhir/page2", p->port);
    if (atomic_load(&p->slow_patient) || strncmp(text, "GET /fhir/Observation?", 22) == 0)
      usleep((unsigned)atomic_load(&p->slow_ms) * 1000);
    if (strncmp(text, "GET /fhir/Patient/p1 ", 21) == 0)
      patient(&body, "p1");
    else if (strncmp(text, "GET /fhir/Observation?patient=p1&", 33) == 0)
      searchset(&body, 0, 4, next);
    else if (strncmp(text, "GET /fhir/page2 ", 16) == 0)
      searchset(&body, 4, 4, NULL);
    else if (strncmp(text, "GET /fhir/Condition?", 20) == 0)
      status = 403, buf_puts(&body, "{\"resourceType\":\"OperationOutcome\"}");
    else if (strncmp(text, "GET /fhir/Patient/", 18) == 0)
      status = 404, buf_puts(&body, "{\"resourceType\":\"OperationOutcome\"}");
    else
      buf_puts(&body, "{\"resourceType\":\"Bundle\",\"type\":\"searchset\"}");
    buf_printf(&out, "HTTP/1.1 %d X\r\nContent-Type: application/fhir+json\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", status,
               body.n, buf_cstr(&body));
    send_all(c, out.p, out.n);
    buf_release(&body), buf_release(&out);
    close(c);
  }
  return NULL;
}
static struct ehr_peer peer;

static void write_file(const char *name, const char *text) {
  struct site_fixture *fx = &site;
  char path[256];
  snprintf(path, sizeof path, "%s/%s", fx->path, name);
  SITE_MUST(file_write_atomic(path, text, strlen(text), 0600, &fx->e));
}

static void write_ehr(const char *cds) {
  struct buf b = {0};
  buf_printf(
      &b, "{\"base\":\"https://vitae.example\",\"fhir\":[\"http://127.0.0.1:%d/fhir\"],\"origins\":[\"https://ehr.example\"],\"cds\":%s}",
      peer.port, cds);
  write_file("ehr.json", buf_cstr(&b));
  buf_release(&b);
}

static int setup(void **state) {
  (void)state;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  site_fixture_open(&site, 12);
  make_keys(&site, key);
  peer.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(peer.fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(peer.fd, 64), 0);
  assert_int_equal(getsockname(peer.fd, (struct sockaddr *)&a, &n), 0);
  peer.port = ntohs(a.sin_port);
  return 0;
}
/* Servers are forked before this: a child has no threads of ours. */
static void peer_on(void) {
  atomic_store(&peer.stop, false);
  atomic_store(&peer.asked, 0), atomic_store(&peer.with_token, 0), atomic_store(&peer.slow_ms, 0), atomic_store(&peer.slow_patient, false);
  assert_int_equal(pthread_create(&peer.thread, NULL, ehr_main, &peer), 0);
}
static void peer_off(void) {
  atomic_store(&peer.stop, true);
  close(dial_port(peer.port));
  pthread_join(peer.thread, NULL);
}
static int teardown(void **state) {
  (void)state;
  close(peer.fd);
  site_fixture_close(&site);
  return 0;
}

static struct reply post(const struct running *r, const char *target, const char *body) {
  return ask(r, "POST", target, key[ROLE_EHR], body);
}
static void request(struct buf *b, const char *hook, const char *context, const char *prefetch, const char *more) {
  buf_clear(b);
  buf_printf(b, "{\"hook\":\"%s\",\"hookInstance\":\"" UUID "\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"p1\"%s}", hook,
             context);
  if (prefetch) buf_printf(b, ",\"prefetch\":%s", prefetch);
  buf_printf(b, "%s}", more);
}
static int64_t metric(const struct running *r, const char *name) {
  int64_t v = metric_of(r, key[ROLE_VIEWER], name);
  assert_true(v >= 0);
  return v;
}
#define EMPTY "{\"cards\":[]}"

/* All that these tests want shown is shown: levels at 0. */
#define ALWAYS                                                                                                                            \
  "{\"budget_ms\":60000,\"source\":{\"label\":\"Vitae\"},\"override_system\":\"urn:x\",\"override_reasons\":[{\"code\":\"known\","        \
  "\"display\":\"Known\"}],\"footer\":\"Weigh it.\",\"queries\":{\"patient\":{\"query\":\"Patient/{{context.patientId}}\",\"required\":"  \
  "true},\"observations\":{\"query\":\"Observation?patient={{context.patientId}}&_count=4\"},\"conditions\":{\"query\":\"Condition?"      \
  "patient={{context.patientId}}\"}},\"services\":[{\"id\":\"one\",\"hook\":\"patient-view\",\"description\":\"d\",\"cards\":[{\"task\":" \
  "\"death-1y\",\"info\":0,\"reasons\":3,\"summary\":\"{title}: {percent} {horizon}\"}]},{\"id\":\"one\",\"hook\":\"order-select\","      \
  "\"description\":\"d\",\"orders\":[\"http://loinc.org|2345-7\"],\"cards\":[{\"task\":\"*\",\"warning\":0,\"summary\":\"{title}\"}]},{"  \
  "\"id\":\"two\",\"hook\":\"order-sign\",\"description\":\"d\",\"cards\":[{\"outcome\":\"MEDS_DEATH\",\"within\":\"1y\",\"critical\":0," \
  "\"summary\":\"{title} {percent}\"}]}]}"

static void always(struct running *r, const char *cds) {
  char dir[256];
  struct site_fixture *fx = &site;
  snprintf(dir, sizeof dir, "%s/policy", fx->path);
  SITE_MUST(file_mkdirs(dir, 0755, &fx->e));
  write_file("policy/cds-services.json", ALWAYS);
  write_ehr(cds);
  server_start(r, fx, (struct serve_options){0});
  peer_on();
}

static void discovery_is_what_the_file_says(void **state) {
  (void)state;
  struct running r;
  server_start(&r, &site, (struct serve_options){0});
  struct reply a = ask(&r, "GET", "/cds-services", key[ROLE_EHR], NULL);
  struct json_parser *jp;
  struct json root, s;
  int n = 0;
  assert_int_equal(a.status, 200);
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  assert_int_equal(json_parse(jp, a.body, strlen(a.body), strlen(a.body), &root, NULL), OK);
  for (struct json_iter it = json_items(json_get(root, "services")); json_next(&it, &s); n++) {
    assert_true(json_str(json_get(s, "hook")).n && json_str(json_get(s, "id")).n && json_str(json_get(s, "description")).n);
    assert_non_null(memmem(json_str(json_get(json_get(s, "prefetch"), "patient")).p, 8, "Patient/", 8));
  }
  assert_int_equal(n, 3);
  json_parser_free(jp);
  reply_free(&a);
  assert_int_equal(status_of(&r, "GET", "/cds-services", NULL, NULL), 401); /* closed, on loopback too */
  assert_int_equal(server_stop(&r), 0);
}

static void a_card_says_how_likely_how_sure_by_when_and_why(void **state) {
  (void)state;
  struct running r;
  struct buf b = {0}, prefetch = {0};
  always(&r, "{}");
  buf_puts(&prefetch, "{\"patient\":");
  patient(&prefetch, "p1");
  buf_puts(&prefetch, ",\"observations\":");
  searchset(&prefetch, 0, 6, NULL);
  buf_puts(&prefetch, ",\"conditions\":null}");
  request(&b, "patient-view", "", buf_cstr(&prefetch), "");
  struct reply a = post(&r, "/cds-services/one", buf_cstr(&b));
  if (a.status != 200) fail_msg("%d %s", a.status, a.body);
  struct json_parser *jp;
  struct json root, card;
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  assert_int_equal(json_parse(jp, a.body, strlen(a.body), strlen(a.body), &root, NULL), OK);
  assert_int_equal(json_count(json_get(root, "cards")), 1);
  card = json_at(json_get(root, "cards"), 0);
  struct str summary = json_str(json_get(card, "summary")), detail = json_str(json_get(card, "detail")),
             uuid = json_str(json_get(card, "uuid"));
  assert_true(summary.n > 0 && summary.n < 140 && str_starts(summary, STR("Death within a year: ")) &&
              str_ends(summary, STR("% within 1 year")));
  assert_true(memmem(detail.p, detail.n, "How sure", 8) &&
              memmem(detail.p, detail.n, "| weighs most among the latest | when | odds |", 46));
  assert_true(memmem(detail.p, detail.n, "Weigh it.", 9) && memmem(detail.p, detail.n, "latest entry", 12));
  assert_true(str_eqc(json_str(json_get(card, "indicator")), "info") && uuid.n == 36);
  assert_true(str_eqc(json_str(json_get(json_get(card, "source"), "label")), "Vitae"));
  assert_true(str_eqc(json_str(json_get(json_at(json_get(card, "overrideReasons"), 0), "code")), "known"));
  assert_int_equal(json_kind(json_get(card, "links")), JSON_NONE); /* no SMART app is told */
  const char *id = strstr(a.all.p, "x-request-id: ");
  assert_non_null(id);
  assert_memory_equal(id + 14, uuid.p, 34); /* a card leads to its audit row */
  const char *never[] = {SITE_CANARY_NAME, SITE_CANARY_MRN, "null", "\"\"", "[]", "{}", "1941", "2019"};
  for (size_t i = 0; i < sizeof never / sizeof *never; i++)
    if (strstr(a.body, never[i])) fail_msg("%s is in %s", never[i], a.body);
  json_parser_free(jp);
  assert_int_equal(atomic_load(&peer.asked), 0); /* all was given: nobody was asked */
  reply_free(&a);
  /* the same events as for /v1/predict: the same probability */
  assert_int_equal(metric(&r, "vitae_cds_cards_total"), 1);
  peer_off();
  assert_int_equal(server_stop(&r), 0);
  buf_release(&b), buf_release(&prefetch);
}

/* absent, null, resource, Bundle, OperationOutcome: with a server that may be asked, with one that may not, and without. */
static void prefetch_in_its_five_forms(void **state) {
  (void)state;
  struct running r;
  struct buf b = {0}, fetch = {0}, one = {0}, many = {0}, prefetch = {0};
  always(&r, "{}");
  buf_printf(&fetch,
             ",\"fhirServer\":\"http://127.0.0.1:%d/"
             "fhir\",\"fhirAuthorization\":{\"access_token\":\"ehr-access\",\"token_type\":\"Bearer\",\"expires_in\":300,"
             "\"scope\":\"patient/*.read\",\"subject\":\"x\"}",
             peer.port);
  patient(&one, "p1");
  searchset(&many, 0, 6, NULL);
  const char *outcome = "{\"resourceType\":\"OperationOutcome\"}";
  const struct {
    const char *patient, *observations, *more;
    int status, asked;
    const char *says;
  } cases[] = {
      {one.p, buf_cstr(&many), "", 200, 0, "Not to be had from the EHR: conditions"},
      {one.p, "null", "", 200, 0, "cards"}, /* the EHR knows of none */
      {one.p, NULL, "", 200, 0, "cards"},   /* nobody may be asked */
      {one.p, outcome, "", 200, 0, "cards"},
      {NULL, NULL, "", 412, 0, "prefetch.patient"},
      {outcome, buf_cstr(&many), "", 412, 0, "prefetch.patient"},
      {"null", buf_cstr(&many), "", 200, 0, "\"uuid\""},
      {NULL, NULL, buf_cstr(&fetch), 200, 4, "8 "}, /* patient, two pages, conditions (refused) */
      {one.p, NULL, buf_cstr(&fetch), 200, 3, "Not to be had from the EHR: conditions"},
      {outcome, buf_cstr(&many), buf_cstr(&fetch), 200, 2, "\"uuid\""},
      {NULL, NULL, ",\"fhirServer\":\"https://elsewhere.example/fhir\"", 412, 0, "prefetch.patient"},
      {"7", buf_cstr(&many), "", 400, 0, "prefetch.patient"},
      {one.p, "[]", "", 400, 0, "prefetch.observations"},
      {one.p, "{\"a\":1}", "", 400, 0, "prefetch.observations"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    buf_clear(&prefetch);
    buf_puts(&prefetch, "{\"undeclared\":{}");
    if (cases[i].patient) buf_printf(&prefetch, ",\"patient\":%s", cases[i].patient);
    if (cases[i].observations) buf_printf(&prefetch, ",\"observations\":%s", cases[i].observations);
    buf_puts(&prefetch, "}");
    request(&b, "patient-view", "", buf_cstr(&prefetch), cases[i].more);
    atomic_store(&peer.asked, 0);
    struct reply a = post(&r, "/cds-services/one", buf_cstr(&b));
    if (a.status != cases[i].status || !strstr(a.body, cases[i].says) || atomic_load(&peer.asked) != cases[i].asked)
      fail_msg("case %zu: %d, asked %d: %s", i, a.status, atomic_load(&peer.asked), a.body);
    if (a.status >= 400) assert_non_null(strstr(a.body, "OperationOutcome"));
    reply_free(&a);
  }
  assert_int_equal(atomic_load(&peer.with_token), 9); /* the access goes with each, and only there */
  /* no prefetch at all */
  request(&b, "patient-view", "", NULL, buf_cstr(&fetch));
  struct reply a = post(&r, "/cds-services/one", buf_cstr(&b));
  assert_int_equal(a.status, 200);
  reply_free(&a);
  /* another person's records */
  buf_clear(&prefetch), buf_puts(&prefetch, "{\"patient\":"), patient(&prefetch, "p2"), buf_puts(&prefetch, "}");
  request(&b, "patient-view", "", buf_cstr(&prefetch), "");
  a = post(&r, "/cds-services/one", buf_cstr(&b));
  assert_int_equal(a.status, 400);
  assert_non_null(strstr(a.body, "another patient"));
  assert_null(strstr(a.body, "p2"));
  reply_free(&a);
  peer_off();
  assert_int_equal(server_stop(&r), 0);
  buf_release(&b), buf_release(&fetch), buf_release(&one), buf_release(&many), buf_release(&prefetch);
}

static void orders_decide(void **state) {
  (void)state;
  struct running r;
  struct buf b = {0}, prefetch = {0};
  always(&r, "{}");
#define DRAFTS(code)                                                                                                                     \
  ",\"draftOrders\":{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"resourceType\":\"ServiceRequest\",\"id\":\"s1\",\"code\":{" \
  "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"" code "\"}]}}}]}"
#define SELECTED(id) ",\"selections\":[\"ServiceRequest/" id "\"]"
  buf_puts(&prefetch, "{\"patient\":"), patient(&prefetch, "p1"), buf_puts(&prefetch, ",\"observations\":"),
      searchset(&prefetch, 0, 6, NULL);
  buf_puts(&prefetch, "}");
  const struct {
    const char *service, *hook, *context, *says;
    int status;
  } cases[] = {{"one", "order-select", SELECTED("s1") DRAFTS("2345-7"), "\"warning\"", 200},
               {"one", "order-select", SELECTED("s2") DRAFTS("2345-7"), EMPTY, 200},
               {"one", "order-select", SELECTED("s1") DRAFTS("2160-0"), EMPTY, 200},
               {"one", "order-select", DRAFTS("2345-7"), "context.selections", 400},
               {"one", "order-select", SELECTED("s1"), "context.draftOrders", 400},
               {"two", "order-sign", DRAFTS("1"), "cards", 200},
               {"two", "order-select", SELECTED("s1") DRAFTS("1"), "\"hook\"", 400}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char target[64];
    snprintf(target, sizeof target, "/cds-services/%s", cases[i].service);
    request(&b, cases[i].hook, cases[i].context, buf_cstr(&prefetch), "");
    struct reply a = post(&r, target, buf_cstr(&b));
    if (a.status != cases[i].status || !strstr(a.body, cases[i].says)) fail_msg("case %zu: %d %s", i, a.status, a.body);
    reply_free(&a);
  }
  peer_off();
  assert_int_equal(server_stop(&r), 0);
  buf_release(&b), buf_release(&prefetch);
}

static void bad_requests_name_the_field(void **state) {
  (void)state;
  struct running r;
  always(&r, "{}");
#define START "{\"hook\":\"patient-view\",\"hookInstance\":\"" UUID "\","
#define CONTEXT "\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"p1\"}"
  const struct {
    const char *target, *body, *says;
    int status;
  } cases[] = {
      {"/cds-services/none", START CONTEXT "}", "\"id\"", 404},
      {"/cds-services/one", "{", "OperationOutcome", 400},
      {"/cds-services/one", "[]", "body", 400},
      {"/cds-services/one", "{\"hook\":\"secret-hook\"}", "\"hook\"", 400},
      {"/cds-services/one", "{\"hook\":\"patient-view\",\"hookInstance\":\"secret\"}", "hookInstance", 400},
      {"/cds-services/one", START "\"context\":[]}", "\"context\"", 400},
      {"/cds-services/one", START "\"context\":{}}", "context.userId", 400},
      {"/cds-services/one", START "\"context\":{\"userId\":\"x\"}}", "context.patientId", 400},
      {"/cds-services/one", START "\"context\":{\"userId\":\"x\",\"patientId\":\"secret/../1\"}}", "context.patientId", 400},
      {"/cds-services/one", START "\"context\":{\"userId\":\"x\",\"patientId\":\"1\",\"encounterId\":7}}", "context.encounterId", 400},
      {"/cds-services/one", START CONTEXT ",\"fhirAuthorization\":{\"access_token\":\"secret\"}}", "fhirServer", 400},
      {"/cds-services/one", START CONTEXT ",\"fhirServer\":\"https://x\",\"fhirAuthorization\":{\"access_token\":\"secret\"}}",
       "token_type", 400},
      {"/cds-services/one", START CONTEXT ",\"prefetch\":\"secret\"}", "prefetch", 400},
      {"/cds-services/none/feedback", "{\"feedback\":[]}", "\"id\"", 404},
      {"/cds-services/one/feedback", "{}", "\"feedback\"", 400},
      {"/cds-services/one/feedback", "{\"feedback\":[]}", "\"feedback\"", 400},
      {"/cds-services/one/feedback", "{\"feedback\":[{\"card\":\"secret\"}]}", "feedback.card", 400},
      {"/cds-services/one/feedback", "{\"feedback\":[{\"card\":\"" UUID "\",\"outcome\":\"secret\"}]}", "feedback.outcome", 400},
      {"/cds-services/one/feedback", "{\"feedback\":[{\"card\":\"" UUID "\",\"outcome\":\"overridden\",\"outcomeTimestamp\":\"secret\"}]}",
       "feedback.outcomeTimestamp", 400},
      {"/cds-services/one/feedback",
       "{\"feedback\":[{\"card\":\"" UUID "\",\"outcome\":\"accepted\",\"outcomeTimestamp\":\"2020-01-01T00:00:00Z\"}]}",
       "feedback.acceptedSuggestions", 400},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct reply a = post(&r, cases[i].target, cases[i].body);
    if (a.status != cases[i].status || !strstr(a.body, cases[i].says) || !strstr(a.body, "OperationOutcome") || strstr(a.body, "secret"))
      fail_msg("case %zu: %d %s", i, a.status, a.body);
    reply_free(&a);
  }
  peer_off();
  assert_int_equal(server_stop(&r), 0);
}

/* An EHR that does not answer in the budget, and a model that is busy: an empty list, counted, never an error. */
static void late_is_empty_and_counted(void **state) {
  (void)state;
  struct running r;
  struct buf b = {0}, more = {0}, text = {0};
  always(&r, "{}");
  assert_int_equal(server_stop(&r), 0);
  peer_off();
  const char *at = strstr(ALWAYS, "60000");
  buf_printf(&text, "%.*s300%s", (int)(at - ALWAYS), ALWAYS, at + 5);
  write_file("policy/cds-services.json", buf_cstr(&text));
  server_start(&r, &site, (struct serve_options){.workers = 1});
  peer_on();
  atomic_store(&peer.slow_ms, 2000);
  buf_printf(&more, ",\"fhirServer\":\"http://127.0.0.1:%d/fhir\"", peer.port);
  /* the list that is late is no required one: what is there is told of */
  request(&b, "patient-view", "", NULL, buf_cstr(&more));
  struct reply a = post(&r, "/cds-services/one", buf_cstr(&b));
  assert_int_equal(a.status, 200);
  reply_free(&a);
  /* without the patient nothing can be told of, and whoever waits has it in time */
  int64_t before = metric(&r, "vitae_cds_misses_total");
  atomic_store(&peer.slow_patient, true);
  a = post(&r, "/cds-services/one", buf_cstr(&b));
  assert_int_equal(a.status, 200);
  assert_string_equal(a.body, EMPTY);
  assert_int_equal(metric(&r, "vitae_cds_misses_total"), before + 1);
  reply_free(&a);
  /* a long question to the only worker: who waits behind it is let go */
  int fd = dial(&r);
  struct buf slow = {0};
  const char *events =
      "{\"futures\":2000,\"horizon_days\":36525,\"events\":[{\"time\":\"2020-01-01T08:00:00\",\"code\":\"LOINC//2160-0\",\"value\":1.2}]}";
  for (int i = 0; i < 4; i++) {
    buf_clear(&slow);
    buf_printf(&slow,
               "POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: "
               "%zu\r\n\r\n%s",
               key[ROLE_CLINICIAN], strlen(events), events);
    send_all(fd, slow.p, slow.n);
  }
  usleep(50000);
  buf_clear(&text), buf_puts(&text, "{\"patient\":"), patient(&text, "p1"), buf_puts(&text, ",\"observations\":"),
      searchset(&text, 0, 6, NULL);
  buf_puts(&text, "}");
  request(&b, "patient-view", "", buf_cstr(&text), "");
  before = metric(&r, "vitae_cds_misses_total");
  a = post(&r, "/cds-services/one", buf_cstr(&b));
  assert_int_equal(a.status, 200);
  bool empty = strcmp(a.body, EMPTY) == 0;
  assert_true(empty == (metric(&r, "vitae_cds_misses_total") == before + 1)); /* empty exactly when counted: cards have level 0 */
  reply_free(&a);
  close(fd);
  buf_release(&slow);
  peer_off();
  assert_int_equal(server_stop(&r), 0);
  write_file("policy/cds-services.json", ALWAYS);
  buf_release(&b), buf_release(&more), buf_release(&text);
}

static void feedback_becomes_a_file_without_a_word_of_its_writer(void **state) {
  (void)state;
  struct running r;
  struct arena a;
  struct str *files, text;
  size_t n;
  char inbox[256];
  always(&r, "{}");
  struct reply f = post(
      &r, "/cds-services/one/feedback",
      "{\"feedback\":[{\"card\":\"" UUID
      "\",\"outcome\":\"overridden\",\"overrideReason\":{\"reason\":{\"code\":\"known\",\"system\":\"urn:x\"},\"userComment\":\"" COMMENT
      "\"},\"outcomeTimestamp\":\"2026-11-28T20:05:31+01:00\"},{\"card\":\"" UUID
      "\",\"outcome\":\"overridden\",\"overrideReason\":{\"reason\":{\"code\":\"" COMMENT
      "\"}},\"outcomeTimestamp\":\"2026-11-28T20:05:31Z\"},{\"card\":\"" UUID
      "\",\"outcome\":\"accepted\",\"acceptedSuggestions\":[{\"id\":\"" UUID "\"}],\"outcomeTimestamp\":\"2026-11-28T20:05:31Z\"}]}");
  assert_int_equal(f.status, 200);
  assert_non_null(strstr(f.all.p, "Vitae-Audit: "));
  reply_free(&f);
  arena_init(&a, 4 << 20, 0);
  snprintf(inbox, sizeof inbox, "%s/inbox", site.path);
  assert_int_equal(file_list(&a, inbox, &files, &n, NULL), OK);
  assert_int_equal(n, 1);
  assert_int_equal(file_read(&a, files[0].p, 1 << 20, &text, NULL), OK);
  const char *want[] = {"vitae-cds-feedback-1",        "\"service\": \"one\"",     UUID,
                        "\"reason\": \"known\"",       "\"reason_unknown\": true", "\"comment_dropped\": true",
                        "\"accepted_suggestions\": 1", "2026-11-28T19:05:31Z"};
  for (size_t i = 0; i < sizeof want / sizeof *want; i++)
    if (!strstr(text.p, want[i])) fail_msg("%s is not in %s", want[i], text.p);
  assert_int_equal(metric(&r, "vitae_cds_feedback_total"), 3);
  arena_free(&a);
  peer_off();
  assert_int_equal(server_stop(&r), 0);
}

static void origins_and_openness(void **state) {
  (void)state;
  struct running r;
  always(&r, "{\"open\":true}");
  assert_int_equal(status_of(&r, "GET", "/cds-services", NULL, NULL), 200);
  assert_int_equal(status_of(&r, "GET", "/cds-services", key[ROLE_VIEWER], NULL), 403);
  assert_int_equal(status_of(&r, "GET", "/v1/model", NULL, NULL), 401);
  struct reply a = ask_port(r.port, "GET", "/cds-services", NULL, NULL, "Origin: https://ehr.example\r\n");
  assert_non_null(strstr(a.all.p, "Access-Control-Allow-Origin: https://ehr.example\r\n"));
  reply_free(&a);
  const struct {
    const char *target, *origin;
    int status;
  } cases[] = {{"/cds-services/one", "https://ehr.example", 204},
               {"/cds-services/one", "https://evil.example", 405},
               {"/v1/model", "https://ehr.example", 405},
               {"/nowhere", "https://ehr.example", 404}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char more[128];
    snprintf(more, sizeof more, "Origin: %s\r\nAccess-Control-Request-Method: POST\r\n", cases[i].origin);
    a = ask_port(r.port, "OPTIONS", cases[i].target, NULL, NULL, more);
    if (a.status != cases[i].status) fail_msg("case %zu: %d", i, a.status);
    assert_true((strstr(a.all.p, "Access-Control-Allow-Origin") != NULL) == (cases[i].status == 204));
    reply_free(&a);
  }
  peer_off();
  assert_int_equal(server_stop(&r), 0);
  struct error e = {0}; /* open to all is for loopback */
  pid_t pid = fork();
  if (pid == 0) {
    int rc = serve_run(&(struct serve_options){.site = site.path, .listen = "0.0.0.0:0", .insecure = true}, &e);
    _exit(rc == E_USAGE && strstr(e.message, "loopback") ? 7 : 8);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(WEXITSTATUS(status), 7);
}

/* Whatever somebody without a key writes into a token or an issuer into its key set: refused, and the server goes on. */
static void texts_that_are_no_tokens(void **state) {
  (void)state;
  static const char *const tokens[] = {"eyJhbGciOiJSUzM4NCJ9.e30.AAAA",  "eyJhb==GciOiJSUzM4NCJ9.e30.AAAA",
                                       "eyJhbGciOiJSUzM4NCJ9.e=30.AAAA", "eyJhbGciOiJSUzM4NCJ9.e30.AA=A",
                                       "eyJhbGciOiJSUzM4NCJ9.e30.A",     "eyJhbGciOiJSUzM4NCJ9..",
                                       "eyJhbGciOiJSUzM4NCJ9.e30.",      "eyJ..",
                                       "eyJhbGciOiJSUzM4NCJ9=.e30.AAAA", "eyJhbGciOiJSUzM4NCJ9.e30.\xc3\xa4"};
  struct running r;
  write_file("set.json",
             "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"A==QAB\",\"e\":\"AQAB\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83=\",\"y\":"
             "\"x_F\"},{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}");
  always(&r, "{\"clients\":[{\"issuer\":\"https://ehr.example\",\"jwks\":\"set.json\"}]}");
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
    if (status_of(&r, "GET", "/cds-services", tokens[i], NULL) != 401) fail_msg("token %zu", i);
  peer_off();
  assert_int_equal(server_stop(&r), 0);
}

/* What went through these tests is nowhere in the site: not in the database, the inbox, the logs. */
static void nothing_identified_is_left(void **state) {
  (void)state;
  struct arena a;
  struct str *files;
  size_t n, looked = 0;
  const char *never[] = {"ehr-access", "1941-04-02", COMMENT, "Zyxwvutsson"};
  arena_init(&a, 64 << 20, 0);
  assert_int_equal(file_list(&a, site.dir, &files, &n, NULL), OK);
  for (size_t i = 0; i < n; i++) {
    struct file_map m;
    assert_int_equal(file_map_open(files[i].p, &m, NULL), OK);
    for (size_t k = 0; m.n && k < sizeof never / sizeof *never; k++)
      if (memmem(m.p, m.n, never[k], strlen(never[k]))) fail_msg("%s is in %s", never[k], files[i].p);
    if (m.n && !str_ends(files[i], STR("vault")) && memmem(m.p, m.n, SITE_CANARY_NAME, strlen(SITE_CANARY_NAME)))
      fail_msg("a name is in %s", files[i].p);
    looked += m.n > 0;
    file_map_close(&m);
  }
  assert_true(looked > 10);
  arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(discovery_is_what_the_file_says),
                                     cmocka_unit_test(a_card_says_how_likely_how_sure_by_when_and_why),
                                     cmocka_unit_test(prefetch_in_its_five_forms),
                                     cmocka_unit_test(orders_decide),
                                     cmocka_unit_test(bad_requests_name_the_field),
                                     cmocka_unit_test(late_is_empty_and_counted),
                                     cmocka_unit_test(feedback_becomes_a_file_without_a_word_of_its_writer),
                                     cmocka_unit_test(origins_and_openness),
                                     cmocka_unit_test(texts_that_are_no_tokens),
                                     cmocka_unit_test(nothing_identified_is_left)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
