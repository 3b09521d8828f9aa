/* The developers' plane from outside: versions by weight, in shadow and swapped under load; turns between tenants; quotas, guesses, CORS, envelopes. */
#include "serve_helper.h"

#include <pthread.h>

#include "serve/serve_private.h"

static struct site_fixture site;
static char key[ROLES][64], second[65]; /* a version in shadow */

static int setup(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  site_fixture_open(fx, 12);
  site_model_as(fx, "two", 22, STATE_SHADOW, second);
  make_keys(fx, key);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  site_fixture_close(&site);
  return 0;
}

static void start(struct running *r, struct serve_options o) {
  o.developer_listen = "127.0.0.1:0";
  server_start(r, &site, o);
}

#define PATIENT(task, futures)                                                            \
  "{\\\"task\\\":\\\"" task "\\\",\\\"futures\\\":" futures                               \
  ",\\\"horizon_days\\\":3650,\\\"events\\\":[{\\\"time\\\":\\\"2020-01-01T08:00:00\\\"," \
  "\\\"code\\\":\\\"LOINC//2160-0\\\",\\\"value\\\":1.2}]}"
#define CHAT(model, futures) "{\"model\":\"" model "\",\"messages\":[{\"role\":\"user\",\"content\":\"" PATIENT("death-1y", futures) "\"}]}"

#define STREAM_OF(model, futures) \
  "{\"stream\":true,\"model\":\"" model "\",\"messages\":[{\"role\":\"user\",\"content\":\"" PATIENT("death-1y", futures) "\"}]}"
#define STREAM(futures) STREAM_OF("vitae", futures)

static struct reply chat(const struct running *r, const char *with, const char *body) {
  return ask_port(r->developer, "POST", "/openai/v1/chat/completions", with, body, "");
}
/* 1 = the live version answered, 2 = the one in shadow, 0 = neither */
static int answered_by(const struct reply *a) {
  char line[96];
  snprintf(line, sizeof line, "vitae-version: %s", site.version);
  if (strstr(a->all.p, line)) return 1;
  snprintf(line, sizeof line, "vitae-version: %s", second);
  return strstr(a->all.p, line) ? 2 : 0;
}
static void deploy(const char *name, const char *to, const char *shadow) {
  struct site_fixture *fx = &site;
  SITE_MUST(deployment_set(site.path, name, &(struct deployment_options){.to = to, .shadow = shadow}, &fx->e));
}
static bool has_model(const struct running *r, const char *name) {
  char target[96];
  snprintf(target, sizeof target, "/v1/models/%s", name);
  struct reply a = ask_port(r->developer, "GET", target, key[ROLE_DEVELOPER], NULL, "");
  int status = a.status;
  reply_free(&a);
  return status == 200;
}
static void wait_for_model(const struct running *r, const char *name) {
  kill(r->pid, SIGHUP);
  while (!has_model(r, name)) usleep(20000);
}

static void weights_share_the_calls(void **state) {
  (void)state;
  struct running r;
  char arms[160];
  int by[3] = {0};
  start(&r, (struct serve_options){0});
  snprintf(arms, sizeof arms, "live:3,%.12s:1", second);
  deploy("canary", arms, NULL);
  wait_for_model(&r, "canary");
  for (int i = 0; i < 80; i++) {
    struct reply a = chat(&r, key[ROLE_DEVELOPER], CHAT("canary", "0"));
    assert_int_equal(a.status, 200);
    by[answered_by(&a)]++;
    reply_free(&a);
  }
  assert_int_equal(by[0], 0);
  assert_in_range(by[2], 17, 23); /* a quarter of 80, evenly spread */
  assert_int_equal(server_stop(&r), 0);
}

static void only_promoted_versions_answer(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct error e = {0};
  char draft[65], arms[160];
  site_model_as(fx, "three", 23, STATE_DRAFT, draft);
  assert_int_equal(deployment_set(site.path, "x", &(struct deployment_options){.to = draft}, &e), E_DENIED);
  assert_int_equal(deployment_set(site.path, "x", &(struct deployment_options){.to = "live", .shadow = draft}, &e), E_DENIED);
  assert_int_equal(deployment_set(site.path, "a/b", &(struct deployment_options){.to = "live"}, &e), E_USAGE);
  assert_int_equal(deployment_set(site.path, "x", &(struct deployment_options){.to = "live:-1"}, &e), E_USAGE);
  assert_int_equal(deployment_set(site.path, "nothing", &(struct deployment_options){0}, &e), E_NOTFOUND);
  snprintf(arms, sizeof arms, "live,%s:0", second);
  deploy("good", arms, NULL);
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  SITE_MUST(deployment_list(site.path, NULL, &o, &fx->e));
  assert_non_null(strstr(buf_cstr(&b), "\"good\""));
  buf_release(&b);
  deploy("good", NULL, NULL);
}

/* A canary or a mirror that is retired is left out; the name goes on answering. */
static void a_retired_arm_is_left_out(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct running r;
  struct registry *g;
  char third[65], arms[160];
  site_model_as(fx, "four", 29, STATE_SHADOW, third);
  start(&r, (struct serve_options){0});
  snprintf(arms, sizeof arms, "live:1,%.12s:1", third);
  deploy("brief", arms, NULL);
  deploy("mirrored", "live", third);
  wait_for_model(&r, "brief"), wait_for_model(&r, "mirrored");
  SITE_MUST(registry_open(site.path, &g, &fx->e));
  SITE_MUST(registry_promote(g, third, STATE_RETIRED, "board", &fx->e));
  registry_close(g);
  kill(r.pid, SIGHUP);
  for (int live = 0; live < 12;) { /* of turns by halves: once a dozen in a row are the live one's, the other is gone */
    struct reply a = chat(&r, key[ROLE_DEVELOPER], CHAT("brief", "0"));
    assert_int_equal(a.status, 200);
    live = answered_by(&a) == 1 ? live + 1 : 0;
    reply_free(&a);
  }
  assert_true(has_model(&r, "brief") && has_model(&r, "mirrored"));
  assert_int_equal(server_stop(&r), 0);
  deploy("brief", NULL, NULL), deploy("mirrored", NULL, NULL);
}

static long long usage_by(const struct running *r, const char *with, const char *member) {
  struct reply a = ask_port(r->developer, "GET", "/usage", with, NULL, "");
  char own[32], name[32];
  snprintf(own, sizeof own, "\"key\":\"%.8s\"", strchr(with, '_') + 1);
  snprintf(name, sizeof name, "\"%s\":", member);
  const char *at = strstr(a.body, own), *value = at ? strstr(at, name) : NULL;
  long long n = value ? atoll(value + strlen(name)) : 0;
  reply_free(&a);
  return n;
}

/* Every row of a request says the same of its input. */
static void one_input(const struct running *r, const char *request) {
  char target[96];
  snprintf(target, sizeof target, "/v1/audit?request=%.36s", request);
  struct reply a = ask(r, "GET", target, key[ROLE_ADMIN], NULL);
  const char *first = strstr(a.body, "\"input\":\"");
  assert_non_null(first);
  assert_true(first[9] != '"');
  for (const char *p = first; (p = strstr(p, "\"input\":\"")); p++) assert_int_equal(strncmp(p, first, 70), 0);
  reply_free(&a);
}

/* Neither in its answers nor in what is counted for it does a client meet the mirror. */
static void a_shadow_answers_unseen(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  struct running r;
  char mine[64];
  SITE_MUST(key_create(site.path, &(struct key_options){.role = ROLE_DEVELOPER, .tenant = "mirrors"}, mine, &fx->e));
  start(&r, (struct serve_options){0});
  deploy("mirrored", "live", second);
  wait_for_model(&r, "mirrored");
  for (int i = 0; i < 4; i++) {
    struct reply a = chat(&r, mine, i % 2 ? STREAM_OF("mirrored", "3") : CHAT("mirrored", "0"));
    assert_int_equal(a.status, 200);
    assert_int_equal(answered_by(&a), 1);
    assert_null(strstr(a.all.p, second));
    reply_free(&a);
  }
  int seen = 0;
  while (!seen) { /* it answers after the client has its own */
    struct reply a = ask(&r, "GET", "/v1/audit?limit=50", key[ROLE_ADMIN], NULL);
    for (const char *p = a.body; (p = strstr(p, "\"method\":\"SHADOW\"")); p++) {
      const char *v = strstr(p, "\"version\":\"");
      assert_non_null(v);
      assert_int_equal(strncmp(v + 11, second, 64), 0);
      v = strstr(p, "\"request\":\"");
      assert_non_null(v);
      one_input(&r, v + 11);
      seen++;
    }
    reply_free(&a);
    usleep(10000);
  }
  struct reply bad = chat(&r, mine, "{}");
  assert_int_equal(bad.status, 400);
  reply_free(&bad);
  assert_int_equal(usage_by(&r, mine, "requests"), 4);
  assert_int_equal(usage_by(&r, mine, "failed"), 1);
  assert_int_equal(usage_by(&r, mine, "repeated"), 0);
  assert_int_equal(server_stop(&r), 0);
}

/* Reads from fd until `word` has come; all that came is in b. */
static bool read_until(int fd, const char *word, struct buf *b) {
  char piece[1024];
  ssize_t k;
  while (!strstr(buf_cstr(b), word)) {
    if ((k = recv(fd, piece, sizeof piece, 0)) <= 0) return false;
    buf_put(b, piece, (size_t)k);
  }
  return true;
}

/* The status of a request's last row, once it is there. */
static int last_status(const struct running *r, const char *id) {
  char target[96];
  snprintf(target, sizeof target, "/v1/audit?request=%s", id);
  for (;;) {
    struct reply a = ask(r, "GET", target, key[ROLE_ADMIN], NULL);
    const char *first = strstr(a.body, "\"status\":"); /* newest first */
    int status = first ? atoi(first + 9) : 0;
    reply_free(&a);
    if (status != 100 && status != 0) return status;
    usleep(10000);
  }
}

/* The document's head is with the client while its futures are still being drawn: who leaves then ends them. Whole answers say the same. */
static void a_documents_head_leaves_first(void **state) {
  (void)state;
  struct running r;
  char id[64] = "";
  start(&r, (struct serve_options){0});
  struct reply warm = chat(&r, key[ROLE_DEVELOPER], CHAT("vitae", "0"));
  reply_free(&warm);
  struct buf b = {0};
  static const char body[] = STREAM("2000");
  for (int status = 0; status != 499;) { /* all of it may have been made before we could leave: try again */
    int fd = dial_port(r.developer);
    buf_clear(&b);
    buf_printf(&b,
               "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: "
               "application/json\r\nContent-Length: %zu\r\n\r\n%s",
               key[ROLE_DEVELOPER], sizeof body - 1, body);
    send_all(fd, b.p, b.n);
    buf_clear(&b);
    assert_true(read_until(fd, "probability", &b));
    bool whole = strstr(buf_cstr(&b), "[DONE]");
    assert_non_null(strstr(buf_cstr(&b), "\"role\":\"assistant\""));
    const char *at = strstr(buf_cstr(&b), "x-request-id: ");
    assert_non_null(at);
    assert_int_equal(sscanf(at + 14, "%40s", id), 1);
    close(fd);
    status = last_status(&r, id);
    assert_true(status == 499 || status == 200);
    assert_true(status == 200 || !whole);
  }
  /* in parts and whole: the same head */
  struct reply parts = chat(&r, key[ROLE_DEVELOPER], STREAM("20")), whole = chat(&r, key[ROLE_DEVELOPER], CHAT("vitae", "20"));
  assert_int_equal(parts.status, 200);
  assert_non_null(strstr(parts.body, "data: [DONE]"));
  assert_int_equal(whole.status, 200);
  struct buf text = {0};
  for (const char *p = parts.body; (p = strstr(p, "\"delta\":{\"content\":\"")); p++) {
    const char *from = p + 20, *to = from;
    while (*to != '"' || to[-1] == '\\') to++;
    buf_put(&text, from, (size_t)(to - from));
  }
  const char *same = strstr(whole.body, "\"content\":\""), *subject = strstr(buf_cstr(&text), "subject");
  assert_non_null(same);
  assert_non_null(subject);
  assert_memory_equal(same + 11, text.p, (size_t)(subject - text.p));
  assert_non_null(strstr(subject, "\\\"wall\\\":{")); /* what follows depends on the days by which this answer's dates were moved */
  assert_true(str_ends((struct str){text.p, text.n}, STR("}}}")));
  buf_release(&text);
  reply_free(&parts), reply_free(&whole);
  /* what can still be said by a status is */
  struct reply no =
      chat(&r, key[ROLE_DEVELOPER],
           "{\"stream\":true,\"model\":\"vitae\",\"messages\":[{\"role\":\"user\",\"content\":\"" PATIENT("none", "20") "\"}]}");
  assert_int_equal(no.status, 404);
  reply_free(&no);
  assert_int_equal(server_stop(&r), 0);
  buf_release(&b);
}

struct hammer {
  const struct running *r;
  atomic_int stop, bad, by[3], back; /* back: the old version after the new one was seen by the same client */
};
static void *hammer(void *ctx) {
  struct hammer *h = ctx;
  bool changed = false;
  while (!atomic_load(&h->stop)) {
    struct reply a = chat(h->r, key[ROLE_DEVELOPER], CHAT("vitae", "0"));
    int by = answered_by(&a);
    if (a.status != 200) atomic_fetch_add(&h->bad, 1);
    atomic_fetch_add(&h->by[by], 1);
    if (by == 2) changed = true;
    if (by == 1 && changed) atomic_fetch_add(&h->back, 1);
    reply_free(&a);
  }
  return NULL;
}

/* Runs last: it changes which version is live. */
static void versions_are_swapped_without_a_dropped_request(void **state) {
  (void)state;
  struct running r;
  struct site_fixture *fx = &site;
  struct registry *reg;
  pthread_t t[3];
  start(&r, (struct serve_options){0});
  struct hammer h = {.r = &r};
  for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&t[i], NULL, hammer, &h), 0);
  while (atomic_load(&h.by[1]) < 10) usleep(5000);
  SITE_MUST(registry_open(site.path, &reg, &fx->e));
  SITE_MUST(registry_promote(reg, second, STATE_LIVE, "test", &fx->e));
  registry_close(reg);
  while (atomic_load(&h.by[2]) < 20) usleep(5000); /* no signal: the server looks by itself */
  atomic_store(&h.stop, 1);
  for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
  assert_int_equal(atomic_load(&h.bad), 0);
  assert_int_equal(atomic_load(&h.by[0]), 0);
  assert_int_equal(atomic_load(&h.back), 0);
  assert_int_equal(server_stop(&r), 0);
}

static void wait_for_ready(const struct running *r, int status) {
  kill(r->pid, SIGHUP);
  while (status_of(r, "GET", "/readyz", NULL, NULL) != status) usleep(20000);
}
static void promote(const char *version, enum version_state to) {
  struct site_fixture *fx = &site;
  struct registry *reg;
  SITE_MUST(registry_open(site.path, &reg, &fx->e));
  SITE_MUST(registry_promote(reg, version, to, "test", &fx->e));
  registry_close(reg);
}

/* Runs after the test above, whose version is live now. A list of versions that cannot be read changes nothing; one that has no live version
 * ends the answers until there is one. */
static void a_retired_version_answers_no_more(void **state) {
  (void)state;
  static const char *const asked[][2] = {
      {"GET", "/v1/model"}, {"GET", "/v1/tasks"}, {"GET", "/fhir/Device"}, {"GET", "/healthz/generate"}, {"POST", "/v1/predict"}};
  struct running r;
  struct error e = {0};
  char list[128], away[136];
  deploy("early", "live", NULL);
  start(&r, (struct serve_options){0});
  snprintf(list, sizeof list, "%s/models/states.json", site.path);
  snprintf(away, sizeof away, "%s.away", list);
  assert_int_equal(rename(list, away), 0);
  kill(r.pid, SIGHUP);
  while (!strstr(server_log(&r), "no version is live")) usleep(20000);
  struct reply a = chat(&r, key[ROLE_DEVELOPER], CHAT("early", "0"));
  assert_int_equal(a.status, 200);
  assert_int_equal(answered_by(&a), 2);
  reply_free(&a);
  assert_int_equal(status_of(&r, "GET", "/readyz", NULL, NULL), 200);
  assert_int_equal(rename(away, list), 0);

  promote(second, STATE_RETIRED);
  wait_for_ready(&r, 503);
  assert_int_equal(status_of(&r, "GET", "/livez", NULL, NULL), 200);
  a = chat(&r, key[ROLE_DEVELOPER], CHAT("early", "0"));
  assert_int_equal(a.status, 503);
  assert_non_null(strstr(a.body, "no version is live"));
  assert_int_equal(answered_by(&a), 0);
  reply_free(&a);
  for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
    a = ask(&r, asked[i][0], asked[i][1], key[ROLE_ADMIN], asked[i][0][0] == 'P' ? "{\"events\":[]}" : NULL);
    if (a.status != 503 || !strstr(a.body, "no version is live")) fail_msg("%s: %d %s", asked[i][1], a.status, a.body);
    reply_free(&a);
  }
  a = ask(&r, "GET", "/v1/audit?limit=1", key[ROLE_ADMIN], NULL);
  assert_non_null(strstr(a.body, "\"version\":\"\""));
  reply_free(&a);
  deploy("early", NULL, NULL);
  deploy("late", site.version, NULL); /* in shadow now: promoted, but there is no live one beside it */
  wait_for_model(&r, "late");
  assert_false(has_model(&r, "early"));
  a = ask(&r, "GET", "/v1/deployments", key[ROLE_ADMIN], NULL);
  assert_int_equal(a.status, 200);
  assert_non_null(strstr(a.body, "\"live\":\"\""));
  assert_null(strstr(a.body, second));
  reply_free(&a);
  assert_int_equal(serve_run(&(struct serve_options){.site = site.path, .listen = "127.0.0.1:0", .version = second}, &e), E_DENIED);

  promote(site.version, STATE_LIVE);
  wait_for_ready(&r, 200);
  a = chat(&r, key[ROLE_DEVELOPER], CHAT("late", "0"));
  assert_int_equal(a.status, 200);
  assert_int_equal(answered_by(&a), 1);
  reply_free(&a);
  assert_int_equal(server_stop(&r), 0);
}

/* The queue before the model: tenants take turns; no developers' tenant holds more than half of the places, and none at all of the hospital's. */
static void tenants_take_turns(void **state) {
  (void)state;
  static struct call flood[40], quiet[4], ward[40];
  struct call_queue q;
  int good = 0, at = 0;
  queue_init(&q, 32, true);
  for (int i = 0; i < 40; i++) strcpy(flood[i].who.tenant, "flood"), strcpy(ward[i].who.tenant, "hospital");
  for (int i = 0; i < 4; i++) strcpy(quiet[i].who.tenant, "quiet-one");
  for (int i = 0; i < 40; i++) flood[i].plane = PLANE_DEVELOPER, ward[i].plane = PLANE_HOSPITAL;
  for (int i = 0; i < 4; i++) quiet[i].plane = PLANE_DEVELOPER;
  for (int i = 0; i < 40; i++) good += queue_put(&q, &flood[i]);
  assert_int_equal(good, 16); /* of 32 places, also alone */
  for (int i = 0; i < 4; i++) assert_true(queue_put(&q, &quiet[i]));
  good = 0;
  for (int i = 0; i < 40; i++) good += queue_put(&q, &ward[i]);
  assert_int_equal(good, 32);
  for (int taken = 0; taken < 4; at++) {
    struct call *c = queue_take(&q);
    if (c == &quiet[taken]) taken++; /* each tenant's own in their order */
    assert_true(at < 12);
  }
  for (int left = 16 + 4 + 32 - at; left > 0; left--) assert_non_null(queue_take(&q));
  queue_close(&q);
  assert_null(queue_take(&q));
  assert_false(queue_put(&q, &flood[0]));
  queue_destroy(&q);
}

/* Of three takers two at most are at work for developers; what one has finished lets the next begin, and at the end all are taken. */
static void one_taker_is_kept_free(void **state) {
  (void)state;
  static struct call outside[4], ward;
  struct call_queue q;
  queue_init(&q, 8, true);
  queue_limit(&q, 3);
  strcpy(ward.who.tenant, "hospital"), ward.plane = PLANE_HOSPITAL;
  for (int i = 0; i < 4; i++) {
    strcpy(outside[i].who.tenant, "flood"), outside[i].plane = PLANE_DEVELOPER;
    assert_true(queue_put(&q, &outside[i]));
  }
  assert_ptr_equal(queue_take(&q), &outside[0]);
  assert_ptr_equal(queue_take(&q), &outside[1]);
  assert_true(queue_put(&q, &ward));
  assert_ptr_equal(queue_take(&q), &ward);
  queue_done(&q, PLANE_HOSPITAL);
  queue_done(&q, PLANE_DEVELOPER);
  assert_ptr_equal(queue_take(&q), &outside[2]);
  queue_close(&q);
  assert_ptr_equal(queue_take(&q), &outside[3]);
  assert_null(queue_take(&q));
  queue_destroy(&q);
}

static int send_only(int port, const char *method, const char *target, const char *with, const char *body) {
  struct buf b = {0};
  int fd = dial_port(port);
  buf_printf(&b, "%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", method, target);
  if (with) buf_printf(&b, "api-key: %s\r\n", with);
  if (body) buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
  buf_printf(&b, "\r\n%s", body ? body : "");
  send_all(fd, b.p, b.n);
  buf_release(&b);
  return fd;
}
static void receive_all(const int *fd, int n, int by[6]) {
  for (int i = 0; i < n; i++) {
    struct reply a = receive(fd[i]);
    by[a.status / 100 % 6]++;
    reply_free(&a);
  }
}
static int64_t metric(const struct running *r, const char *name) { return metric_of(r, key[ROLE_VIEWER], name); }

#define FUTURE                                                                                                                   \
  "\"{\\\"futures\\\":2000,\\\"horizon_days\\\":36500,\\\"events\\\":[{\\\"time\\\":\\\"2020-01-01\\\",\\\"code\\\":\\\"LOINC//" \
  "2160-0\\\"}]}\""
#define SLOW \
  "{\"input_data\":{\"columns\":[\"patient\"],\"data\":[[" FUTURE "],[" FUTURE "],[" FUTURE "],[" FUTURE "],[" FUTURE "],[" FUTURE "]]}}"
#define LONG "{\"futures\":2000,\"horizon_days\":36500,\"events\":[{\"time\":\"2020-01-01\",\"code\":\"LOINC//2160-0\"}]}"
static const char short_ask[] = "{\"events\":[{\"time\":\"2020-01-01\",\"code\":\"LOINC//2160-0\"}]}";

/* A developer's key that floods the server: a clinician has an answer before the first of the flood's. */
static void a_flood_leaves_the_hospital_its_own(void **state) {
  (void)state;
  struct running r;
  int fd[40], before = 0;
  start(&r, (struct serve_options){.workers = 2, .queue = 8});
  assert_true(has_model(&r, "vitae")); /* both keys are known from now on */
  assert_int_equal(status_of(&r, "POST", "/v1/predict", key[ROLE_CLINICIAN], short_ask), 200);
  for (int try = 0; !before && try < 4; try++) { /* a stalled machine may have answered both late */
    int by[6] = {0};
    long long rejected = metric(&r, "vitae_model_rejected_total"), made = metric(&r, "vitae_model_seconds_count");
    for (int i = 0; i < 40; i++) fd[i] = send_only(r.developer, "POST", "/score", key[ROLE_DEVELOPER], SLOW);
    long long here = 0;
    while (here < 38) { /* of 40 two may be at work */
      here = metric(&r, "vitae_model_rejected_total") - rejected + metric(&r, "vitae_model_seconds_count") - made;
      here += metric(&r, "vitae_model_waiting");
    }
    made = metric(&r, "vitae_model_seconds_count");
    assert_int_equal(status_of(&r, "POST", "/v1/predict", key[ROLE_CLINICIAN], short_ask), 200);
    before = metric(&r, "vitae_model_seconds_count") - made == 1;
    receive_all(fd, 40, by);
    assert_int_equal(by[2] + by[4], 40);
    assert_true(by[2] >= 4);
  }
  assert_true(before);
  assert_int_equal(server_stop(&r), 0);
}

/* GET /healthz/generate is open to everybody: who asks while one check is under way waits for its result, and for no place. */
static void probes_share_one_place(void **state) {
  (void)state;
  struct running r;
  int fd[42], by[6] = {0};
  start(&r, (struct serve_options){.workers = 1, .queue = 2});
  assert_true(has_model(&r, "vitae"));
  fd[0] = send_only(r.developer, "POST", "/score", key[ROLE_DEVELOPER], SLOW);
  fd[41] = send_only(r.port, "POST", "/v1/predict", key[ROLE_CLINICIAN], LONG); /* now both takers are at work */
  for (int i = 1; i < 41; i++) fd[i] = send_only(r.port, "GET", "/healthz/generate", NULL, NULL);
  close(fd[1]); /* whoever asked first may leave: the next one asks */
  assert_int_equal(status_of(&r, "POST", "/v1/predict", key[ROLE_CLINICIAN], short_ask), 200);
  fd[1] = send_only(r.port, "GET", "/healthz/generate", NULL, NULL);
  receive_all(fd, 42, by);
  assert_int_equal(by[2], 42);
  assert_int_equal(metric(&r, "vitae_model_rejected_total"), 0);
  assert_int_equal(server_stop(&r), 0);
}

static void one_request_has_its_measure(void **state) {
  (void)state;
  static const char by_rows[] = "{\"input_data\":{\"columns\":[\"patient\"],\"data\":[[" FUTURE "],[" FUTURE "],[" FUTURE "],[" FUTURE
                                "],[" FUTURE "],[" FUTURE "],[" FUTURE "],[" FUTURE "],[" FUTURE "],[" FUTURE "],[" FUTURE "]]}}";
  struct running r;
  struct buf b = {0};
  start(&r, (struct serve_options){0});
  buf_puts(&b, "{\"params\":{\"futures\":79},\"input_data\":{\"columns\":[\"patient\"],\"data\":[");
  for (int i = 0; i < 256; i++) buf_printf(&b, "%s[\"{}\"]", i ? "," : "");
  buf_puts(&b, "]}}");
  for (int i = 0; i < 2; i++) {
    struct reply a = ask_port(r.developer, "POST", "/score", key[ROLE_DEVELOPER], i ? buf_cstr(&b) : by_rows, "");
    assert_int_equal(a.status, 400);
    assert_non_null(strstr(a.body, "at most 20,000 futures"));
    assert_non_null(strstr(a.body, "\"param\":\"futures\""));
    reply_free(&a);
  }
  buf_release(&b);
  assert_int_equal(server_stop(&r), 0);
}

static void quotas_are_exact(void **state) {
  (void)state;
  struct running r;
  struct site_fixture *fx = &site;
  char limited[64];
  int good = 0, busy = 0;
  SITE_MUST(key_create(site.path, &(struct key_options){.role = ROLE_DEVELOPER, .requests_per_minute = 5}, limited, &fx->e));
  start(&r, (struct serve_options){0});
  int64_t before = (int64_t)time_monotonic() / 60, after; /* the clock by which the server counts minutes */
  for (int i = 0; i < 12; i++) {
    struct reply a = ask_port(r.developer, "GET", "/v1/models", limited, NULL, "");
    good += a.status == 200, busy += a.status == 429;
    if (a.status == 429) {
      assert_non_null(strstr(a.all.p, "Retry-After: "));
      assert_non_null(strstr(a.all.p, "retry-after-ms: "));
      assert_non_null(strstr(a.all.p, "x-ratelimit-remaining-requests: 0"));
      assert_non_null(strstr(a.body, "\"code\":\"429\""));
    }
    reply_free(&a);
  }
  after = (int64_t)time_monotonic() / 60;
  assert_int_equal(good + busy, 12);
  if (before == after) assert_int_equal(good, 5);
  assert_true(good >= 5 && good <= 5 * (after - before + 1));
  assert_int_equal(server_stop(&r), 0);
}

static void who_guesses_waits(void **state) {
  (void)state;
  struct running r;
  char wrong[64], seconds[32], thousandths[32];
  int waits = 0;
  double known = time_monotonic();
  bool sure = false;
  start(&r, (struct serve_options){.guesses = 4});
  assert_true(has_model(&r, "vitae"));
  strcpy(wrong, key[ROLE_DEVELOPER]);
  wrong[41] = wrong[41] == 'A' ? 'B' : 'A'; /* keys are random: whatever stands at 40, it is another's */
  for (int i = 0; i < 8; i++) {             /* the same wrong key again is no new guess, and costs no Argon2 */
    wrong[40] = 'A';
    struct reply a = ask_port(r.developer, "GET", "/v1/models", wrong, NULL, "");
    assert_int_equal(a.status, 401);
    reply_free(&a);
  }
  /* each wait is longer than the one before: on any machine we ask again before one is over */
  for (int i = 0, busy = 0; !sure || waits < 2; i++) {
    wrong[39] = (char)('A' + i / 26 % 26), wrong[40] = (char)('A' + i % 26);
    struct reply a = ask_port(r.developer, "GET", "/v1/models", wrong, NULL, "");
    assert_true(a.status == 401 || a.status == 429);
    busy += a.status == 429;
    const char *words = strstr(a.body, "address; wait "); /* the headers say the same as the words */
    snprintf(seconds, sizeof seconds, "Retry-After: %d\r\n", words ? atoi(words + 14) : 0);
    snprintf(thousandths, sizeof thousandths, "retry-after-ms: %d000\r\n", words ? atoi(words + 14) : 0);
    if (words && (!strstr(a.all.p, seconds) || !strstr(a.all.p, thousandths))) fail_msg("%s", a.all.p);
    waits += words && atoi(words + 14) > 1;
    reply_free(&a);
    if (busy < 2) continue;
    double now = time_monotonic();
    bool goes_on = has_model(&r, "vitae");
    sure = time_monotonic() - known < 60; /* so long a key that was checked needs no check */
    if (sure) assert_true(goes_on);
    for (; !goes_on; goes_on = has_model(&r, "vitae")) usleep(100000), now = time_monotonic();
    known = now, busy = 0;
  }
  assert_int_equal(server_stop(&r), 0);
}

static void browsers_are_let_in_only_by_name(void **state) {
  (void)state;
  struct running r;
  const char *good = "Origin: https://app.example\r\n", *bad = "Origin: https://evil.example\r\n";
  start(&r, (struct serve_options){.cors = "https://app.example, https://other.example"});
  struct reply a = ask_port(r.developer, "OPTIONS", "/openai/v1/chat/completions", NULL, NULL, good);
  assert_int_equal(a.status, 204);
  assert_non_null(strstr(a.all.p, "Access-Control-Allow-Origin: https://app.example\r\n"));
  assert_non_null(strstr(a.all.p, "Access-Control-Allow-Headers: authorization"));
  const char *allowed = strstr(a.all.p, "Access-Control-Allow-Headers: ");
  static const char *const sent[] = {"x-stainless-helper-method", "x-stainless-retry-count", "openai-organization", "openai-project",
                                     "api-key"};
  for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) { /* what the JavaScript SDK may send */
    const char *at = strstr(allowed, sent[i]);
    assert_true(at && at < strstr(allowed, "\r\n"));
  }
  reply_free(&a);
  a = ask_port(r.developer, "OPTIONS", "/openai/v1/chat/completions", NULL, NULL, bad);
  assert_int_equal(a.status, 405);
  assert_null(strstr(a.all.p, "Access-Control-"));
  reply_free(&a);
  a = ask_port(r.developer, "GET", "/v1/models", key[ROLE_DEVELOPER], NULL, good);
  assert_non_null(strstr(a.all.p, "Access-Control-Expose-Headers: x-request-id"));
  assert_null(strstr(a.all.p, "Access-Control-Allow-Credentials"));
  reply_free(&a);
  a = ask_port(r.port, "GET", "/v1/model", key[ROLE_VIEWER], NULL, good); /* the hospital's plane: never */
  assert_int_equal(a.status, 200);
  assert_null(strstr(a.all.p, "Access-Control-"));
  reply_free(&a);
  assert_int_equal(server_stop(&r), 0);
}

#define RECORD "\"{\\\"events\\\":[{\\\"time\\\":\\\"2020-01-01\\\",\\\"code\\\":\\\"LOINC//2160-0\\\"}]}\""
#define FRAME(columns, row, params) "{\"input_data\":{\"columns\":" columns ",\"index\":[0],\"data\":[[" row "]]},\"params\":" params "}"
#define TOKENS "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30"
static void failures_speak_the_dialect(void **state) {
  (void)state;
  static const struct {
    const char *target, *body, *says;
    int status;
  } cases[] = {
      {"/openai/deployments/vitae/chat/completions", CHAT("vitae", "0"), "MissingApiVersionParameter", 400},
      {"/openai/deployments/vitae/chat/completions?api-version=2099-01-01", CHAT("vitae", "0"), "UnsupportedApiVersionValue", 400},
      {"/openai/deployments/vitae/chat/completions?api-version=2024-13-01", CHAT("vitae", "0"), "UnsupportedApiVersionValue", 400},
      {"/openai/deployments/vitae/chat/completions?api-version=2024-10-32", CHAT("vitae", "0"), "UnsupportedApiVersionValue", 400},
      {"/openai/deployments/vitae/chat/completions?api-version=", CHAT("vitae", "0"), "UnsupportedApiVersionValue", 400},
      {"/openai/v1/chat/completions?api-version=2024-10-21", CHAT("vitae", "0"), "UnsupportedApiVersionValue", 400},
      {"/openai/deployments/none/chat/completions?api-version=2024-10-21", CHAT("vitae", "0"), "DeploymentNotFound", 404},
      {"/openai/v1/chat/completions", "{", "\"param\":\"body\"", 400},
      {"/openai/v1/chat/completions", "[]", "\"param\":\"body\"", 400},
      {"/openai/v1/chat/completions", "{\"model\":\"vitae\"}", "\"param\":\"messages\"", 400},
      {"/openai/v1/chat/completions", "{\"model\":7,\"messages\":[]}", "\"param\":\"model\"", 400},
      {"/openai/v1/chat/completions", "{\"model\":\"vitae\",\"messages\":[{\"role\":\"nurse\"}]}", "\"param\":\"messages.role\"", 400},
      {"/openai/v1/chat/completions", "{\"model\":\"vitae\",\"messages\":[{\"role\":\"user\",\"content\":7}]}", "messages.content", 400},
      {"/openai/v1/chat/completions",
       "{\"model\":\"vitae\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]}",
       "parameter_not_supported", 422},
      {"/models/chat/completions?api-version=2024-05-01-preview", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2}",
       "\"detail\":[{\"loc\":[\"body\",\"n\"]", 422},
      {"/openai/v1/responses", "{\"model\":\"vitae\",\"input\":\"x\",\"previous_response_id\":\"r\"}", "previous_response_id", 422},
      {"/openai/v1/chat/completions",
       "{\"model\":\"vitae\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"secretname\"}",
       "\"param\":\"tool_choice\"", 400},
      {"/openai/v1/responses", "{\"model\":\"vitae\",\"input\":\"x\",\"tool_choice\":7}", "\"param\":\"tool_choice\"", 400},
      {"/openai/v1/responses", "{\"model\":\"vitae\",\"input\":\"x\",\"text\":\"secretname\"}", "\"param\":\"text\"", 400},
      {"/openai/v1/responses", "{\"model\":\"vitae\",\"input\":\"x\",\"tools\":[\"secretname\"]}", "\"param\":\"tools\"", 400},
      {"/openai/v1/responses", "{\"model\":\"vitae\",\"input\":" RECORD ",\"metadata\":{\"task\":7}}", "\"param\":\"metadata\"", 400},
      {"/openai/v1/responses",
       "{\"model\":\"vitae\",\"input\":" RECORD
       ",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"r\",\"schema\":{\"type\":\"object\",\"secretname\":1}}}}",
       "the schema has a keyword that is not supported", 422},
      {"/openai/v1/embeddings", "{\"model\":\"vitae\",\"input\":[1,2]}", "\"param\":\"input\"", 422},
      {"/openai/v1/embeddings", "{\"model\":\"vitae\",\"input\":[[1,2],[3]]}", "\"param\":\"input\"", 422},
      {"/openai/v1/embeddings", "{\"model\":\"vitae\",\"input\":[" TOKENS "," TOKENS "," TOKENS "]}", "\"param\":\"input\"", 422},
      {"/openai/v1/embeddings", "{\"model\":\"vitae\",\"input\":[[]]}", "\"param\":\"input\"", 400},
      {"/openai/v1/embeddings", "{\"model\":\"vitae\",\"input\":[null]}", "\"param\":\"input\"", 400},
      {"/openai/v1/embeddings", "{\"model\":\"vitae\",\"input\":\"{}\",\"encoding_format\":\"int8\"}", "encoding_format", 422},
      {"/models/embeddings?api-version=2024-05-01-preview", "{\"input\":\"{}\",\"input_type\":\"secretname\"}",
       "\"loc\":[\"body\",\"input_type\"]", 422},
      {"/score", FRAME("[\"patient\",\"task\"]", RECORD ",\"secretname\"", "null"), "no task of that name", 404},
      {"/score", FRAME("[\"patient\",\"task\"]", RECORD ",7", "null"), "input_data.data.task", 400},
      {"/score", FRAME("[\"patient\"]", RECORD, "{\"task\":\"secretname\"}"), "no task of that name", 404},
      {"/score", FRAME("[\"patient\"]", RECORD, "{\"task\":[]}"), "params.task", 400},
      {"/score", FRAME("[\"patient\"]", RECORD, "{\"return\":\"risk\"}"), "params.return", 400},
      {"/score", FRAME("[\"patient\"]", RECORD, "{\"return\":[\"secretname\"]}"), "params.return", 400},
      {"/score", FRAME("[\"patient\"]", RECORD, "{\"pooling\":1}"), "params.pooling", 400},
      {"/score", FRAME("[\"patient\"]", "\"{}\"", "{\"return\":[\"embeddings\"]}"), "one of them", 400},
      {"/score", FRAME("[\"patient\"]", "null", "null"), "input_data.data.patient", 400},
      {"/score", "{\"input_data\":{\"columns\":[\"secretname\"],\"data\":[[\"x\"]]}}", "input_data.columns", 400},
      {"/score", "{\"input_data\":{\"columns\":[\"patient\"],\"data\":[[\"secretname\",1]]}}", "input_data.data", 400},
      {"/score", "{\"input_data\":{\"columns\":[\"patient\"],\"index\":[0,1],\"data\":[[\"x\"]]}}", "input_data.index", 400},
      {"/nowhere", "{}", "\"NotFound\"", 404}};
  struct running r;
  start(&r, (struct serve_options){0});
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct reply a = ask_port(r.developer, "POST", cases[i].target, key[ROLE_DEVELOPER], cases[i].body, "");
    if (a.status != cases[i].status || !strstr(a.body, cases[i].says)) fail_msg("case %zu: %d %s", i, a.status, a.body);
    assert_null(strstr(a.body, "secretname"));
    assert_non_null(strstr(a.body, "\"error\":{\"code\":"));
    assert_non_null(strstr(a.all.p, "x-ms-error-code: "));
    assert_non_null(strstr(a.all.p, "apim-request-id: "));
    reply_free(&a);
  }
  assert_int_equal(server_stop(&r), 0);
}

static long long usage_of(const struct running *r, const char *member) { return usage_by(r, key[ROLE_DEVELOPER], member); }

/* The client's own id comes back, and the same body under the same id is billed once; under another id, or with another body, it is new. */
static void the_same_request_is_billed_once(void **state) {
  (void)state;
  static const struct {
    const char *id, *body;
    int billed;
  } turns[] = {{"try-1", CHAT("vitae", "0"), 1},     {"try-1", CHAT("vitae", "0"), 0}, {"try-2", CHAT("vitae", "0"), 1},
               {"try-1", CHAT("vitae", "1"), 1},     {"try-1", CHAT("vitae", "0"), 0}, {"", CHAT("vitae", "0"), 1},
               {"not an id!", CHAT("vitae", "0"), 1}};
  struct running r;
  start(&r, (struct serve_options){0});
  for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
    char header[64], back[64];
    long long before = usage_of(&r, "requests"), repeated = usage_of(&r, "repeated"); /* a question for the usage is billed too */
    snprintf(header, sizeof header, "x-ms-client-request-id: %s\r\n", turns[i].id);
    snprintf(back, sizeof back, "\r\nx-ms-client-request-id: %s\r\n", turns[i].id);
    struct reply a =
        ask_port(r.developer, "POST", "/openai/v1/chat/completions", key[ROLE_DEVELOPER], turns[i].body, turns[i].id[0] ? header : "");
    assert_int_equal(a.status, 200);
    bool plain = turns[i].id[0] && !strchr(turns[i].id, ' ');
    assert_int_equal(strstr(a.all.p, back) != NULL, plain);
    if (!plain) assert_null(strstr(a.all.p, "x-ms-client-request-id"));
    reply_free(&a);
    long long after = usage_of(&r, "requests"), again = usage_of(&r, "repeated");
    if (after - before != 2 + turns[i].billed || again - repeated != !turns[i].billed)
      fail_msg("turn %zu: %lld billed, %lld repeated", i, after - before - 2, again - repeated);
  }
  assert_int_equal(server_stop(&r), 0);
}

/* An array with one object a row, in the rows' order, with what was asked for and nothing else. */
static void frames_have_a_row_each(void **state) {
  (void)state;
  static const struct {
    const char *wanted;
    bool risk, features;
  } cases[] = {{"null", true, false},
               {"{}", true, false},
               {"{\"return\":[\"risk\",\"embeddings\"]}", true, true},
               {"{\"return\":[\"embeddings\"],\"pooling\":\"mean\"}", false, true},
               {"{\"get_embeddings\":\"true\"}", false, true},
               {"{\"return\":[\"explanation\"],\"explain\":2}", true, false}};
  struct running r;
  struct json_parser *jp;
  start(&r, (struct serve_options){0});
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct buf b = {0};
    struct json root, row, prediction;
    int n = 0;
    buf_printf(&b,
               "{\"params\":%s,\"input_data\":{\"data\":[[\"death-1y\"," RECORD "],[null," RECORD
               "]],\"index\":[0,1],\"columns\":[\"task\",\"patient\"]}}",
               cases[i].wanted); /* members in any order */
    struct reply a = ask_port(r.developer, "POST", "/score", key[ROLE_DEVELOPER], buf_cstr(&b), "");
    size_t length = strlen(a.body);
    assert_int_equal(a.status, 200);
    assert_int_equal(json_parse(jp, a.body, length, length, &root, NULL), OK);
    for (struct json_iter it = json_items(root); json_next(&it, &row); n++) {
      struct json risk = json_get(row, "risk"), features = json_get(row, "patient_features");
      assert_int_equal(json_kind(risk), cases[i].risk ? JSON_OBJECT : JSON_NONE);
      assert_int_equal(json_kind(features), cases[i].features ? JSON_ARRAY : JSON_NONE);
      if (cases[i].features) assert_true(json_count(features) > 8);
      if (!cases[i].risk) continue;
      assert_int_equal(json_kind(json_get(risk, "task")), n ? JSON_NULL : JSON_STRING);
      prediction = json_get(risk, "prediction");
      assert_int_equal(json_kind(json_get(prediction, "contributions")),
                       n == 0 && strstr(cases[i].wanted, "explanation") ? JSON_ARRAY : JSON_NONE);
    }
    assert_int_equal(n, 2);
    reply_free(&a);
    buf_release(&b);
  }
  json_parser_free(jp);
  assert_int_equal(server_stop(&r), 0);
}

static void no_outcomes_are_no_outcomes(void **state) {
  (void)state;
  static const char *const asked[][2] = {
      {"/v1/chat/completions",
       "{\"model\":\"vitae\",\"messages\":[{\"role\":\"user\",\"content\":\"{\\\"outcomes\\\":0,\\\"events\\\":[{"
       "\\\"time\\\":\\\"2020-01-01\\\",\\\"code\\\":\\\"LOINC//2160-0\\\"}]}\"}]}"},
      {"/v1/responses", "{\"model\":\"vitae\",\"metadata\":{\"outcomes\":\"0\"},\"input\":" RECORD "}"},
      {"/score", FRAME("[\"patient\"]", RECORD, "{\"outcomes\":0}")}};
  struct running r;
  start(&r, (struct serve_options){0});
  for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
    struct reply a = ask_port(r.developer, "POST", asked[i][0], key[ROLE_DEVELOPER], asked[i][1], "");
    const char *list = strstr(a.body, i < 2 ? "outcomes\\\":[" : "outcomes\":[");
    if (a.status != 200 || !list || !strchr(list, '[') || strchr(list, '[')[1] != ']') fail_msg("%s: %s", asked[i][0], a.body);
    reply_free(&a);
  }
  assert_int_equal(server_stop(&r), 0);
}

/* The description of the developers' plane, under both of its names, is the routes table: each route, and no other. */
static void the_description_is_the_table(void **state) {
  (void)state;
  static const char *const names[] = {"/openapi.json", "/swagger.json"};
  struct running r;
  struct json_parser *jp;
  int n;
  const struct route *route = serve_routes(&n);
  start(&r, (struct serve_options){0});
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  for (int k = 0; k < 2; k++) {
    struct reply a = ask_port(r.developer, "GET", names[k], NULL, NULL, "");
    struct json root, paths, path, one;
    struct str name, method;
    size_t length = strlen(a.body), have = 0, want = 0;
    assert_int_equal(a.status, 200);
    assert_int_equal(json_parse(jp, a.body, length, length, &root, NULL), OK);
    paths = json_get(root, "paths");
    for (struct json_iter it = json_members(paths); json_next_member(&it, &name, &path);)
      for (struct json_iter in = json_members(path); json_next_member(&in, &method, &one);) have++;
    for (int i = 0; i < n; i++) {
      char lower[8] = "";
      if (!(route[i].plane & PLANE_DEVELOPER)) continue;
      for (int c = 0; route[i].method[c]; c++) lower[c] = (char)(route[i].method[c] | 32), lower[c + 1] = 0;
      one = json_get(json_get(paths, route[i].path), lower);
      if (json_kind(one) != JSON_OBJECT) fail_msg("%s %s is not described", route[i].method, route[i].path);
      assert_int_equal(json_kind(json_get(one, "requestBody")), route[i].body_schema ? JSON_OBJECT : JSON_NONE);
      want++;
    }
    assert_int_equal(have, want);
    reply_free(&a);
  }
  json_parser_free(jp);
  assert_int_equal(server_stop(&r), 0);
}

/* What an answer repeats of its request may nest deeper than anything is written: the member is left out, or the request refused. */
static void deeply_nested_members_are_survived(void **state) {
  (void)state;
  static const char *const members[] = {"metadata", "tools", "tool_choice", "instructions", "text", "response_format", "stream_options"};
  static const struct {
    const char *path, *body;
  } asked[] = {{"/v1/responses", "\"input\":" RECORD},
               {"/v1/chat/completions", "\"messages\":[{\"role\":\"user\",\"content\":" RECORD "}]"},
               {"/v1/embeddings", "\"input\":" RECORD},
               {"/score", "\"input_data\":{\"columns\":[\"patient\"],\"index\":[0],\"data\":[[" RECORD "]]}"}};
  struct running r;
  struct json_parser *jp;
  struct json root;
  int good[4] = {0};
  start(&r, (struct serve_options){0});
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  for (size_t p = 0; p < sizeof asked / sizeof *asked; p++)
    for (size_t m = 0; m < sizeof members / sizeof *members; m++)
      for (int depth = 50; depth < 900; depth += depth < 64 ? 1 : 400) {
        struct buf b = {0};
        buf_printf(&b, "{\"model\":\"vitae\",%s,\"%s\":{\"a\":", asked[p].body, members[m]);
        for (int i = 0; i < depth; i++) buf_putc(&b, '[');
        for (int i = 0; i < depth; i++) buf_putc(&b, ']');
        buf_puts(&b, "}}");
        struct reply a = ask_port(r.developer, "POST", asked[p].path, key[ROLE_DEVELOPER], buf_cstr(&b), "");
        size_t n = strlen(a.body);
        if (a.status < 200 || a.status == 500 || json_parse(jp, a.body, n, n, &root, NULL) < 0)
          fail_msg("%s, %d levels in %s: %d %s", asked[p].path, depth, members[m], a.status, a.body);
        good[p] += a.status == 200;
        reply_free(&a);
        buf_release(&b);
      }
  assert_true(good[0] > 15 && good[1] > 15); /* what is not looked at harms nobody */
  json_parser_free(jp);
  assert_int_equal(server_stop(&r), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(weights_share_the_calls),
                                     cmocka_unit_test(only_promoted_versions_answer),
                                     cmocka_unit_test(a_retired_arm_is_left_out),
                                     cmocka_unit_test(a_shadow_answers_unseen),
                                     cmocka_unit_test(a_documents_head_leaves_first),
                                     cmocka_unit_test(tenants_take_turns),
                                     cmocka_unit_test(one_taker_is_kept_free),
                                     cmocka_unit_test(a_flood_leaves_the_hospital_its_own),
                                     cmocka_unit_test(probes_share_one_place),
                                     cmocka_unit_test(one_request_has_its_measure),
                                     cmocka_unit_test(quotas_are_exact),
                                     cmocka_unit_test(who_guesses_waits),
                                     cmocka_unit_test(browsers_are_let_in_only_by_name),
                                     cmocka_unit_test(failures_speak_the_dialect),
                                     cmocka_unit_test(deeply_nested_members_are_survived),
                                     cmocka_unit_test(the_same_request_is_billed_once),
                                     cmocka_unit_test(frames_have_a_row_each),
                                     cmocka_unit_test(no_outcomes_are_no_outcomes),
                                     cmocka_unit_test(the_description_is_the_table),
                                     cmocka_unit_test(versions_are_swapped_without_a_dropped_request),
                                     cmocka_unit_test(a_retired_version_answers_no_more)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
