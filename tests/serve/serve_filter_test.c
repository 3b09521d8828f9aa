/* What leaves for developers passes the output filter: a language model of another machine (a thread of this test that speaks as OpenAI's dialect
 * does) says things in odd pieces; the server in between replaces or refuses them, counts, writes the verdict, and says nothing of it in its log. */
#define LONG_CODE "428191000124101" /* SNOMED CT: as many digits as an identifier has */
#define SITE_CONDITION LONG_CODE
#include "serve_helper.h"

#include "serve/serve_audit.h"

enum { PIECES = 12, SCRIPTS = 12, BREAKS = 10, LONG_NAME = 11 }; /* BREAKS: the connection ends before the answer does */
#define NAME "function_whose_name_is_as_long_as_a_name_may_be_sixty_four_signs"
static const struct script {
  const char *piece[PIECES], *tool; /* tool: arguments of a call of "send", or of NAME */
} scripts[SCRIPTS] = {
    {{"Call us at 617-", "555-01", "99 or mail ann.sm", "ith@lake", "side.example.org today", "."}, NULL},
    {{"The rate is 0.1234567890123, BP 120/", "80 on 5/5; see ICD10CM//I50.9 \xe2", "\x82\xac.", " Three doses in 2021."}, NULL},
    {{"You said 617-555-0199", " and it is noted."}, NULL},
    {{"It is called project", " HERON, not Project Heronry, at Lake", "side."}, NULL},
    {{"{\"number\":\"", "12345", "67890", "12\"}"}, NULL},
    {{NULL}, "{\"to\":\"ann.smith@lakeside.example.org\"}"},
    {{"1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "1", "2"}, NULL},
    {{"Nothing before. Then 219-09-9999 and more words after it."}, NULL},
    {{NULL}, "{\"to\":\"ward 5\"}"},
    {{"{\"code\":\"SNOMED//", LONG_CODE, "\",\"time\":\"2020-01-01T08:00:00\"}"}, NULL},
    {{"It begins well and goes on", " and then"}, NULL},
    {{NULL}, "{\"to\":\"ward 6\"}"},
};
/* Pieces of what was said that no answer may hold. */
static const char *const secrets[] = {"555-01", "ann.sm", "ith@", "roject her", "1234567890", "34567890", "219-09", "9999"};

static struct site_fixture site;
static char key[ROLES][64];

/* ---- the other machine ---- */

static void say(int fd, const char *delta) {
  char line[512], chunk[600];
  int n = snprintf(line, sizeof line, "data: {\"choices\":[{\"index\":0,\"delta\":%s}]}\n\n", delta);
  n = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", n, line);
  send_all(fd, chunk, (size_t)n);
}
static void say_text(int fd, const char *text) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "content", text);
  json_out_end(&o);
  say(fd, buf_cstr(&b));
  buf_release(&b);
}

static void speak(int fd, const struct script *s) {
  static const char head[] =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
  static const char tail[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
  send_all(fd, head, sizeof head - 1);
  for (int i = 0; i < PIECES && s->piece[i]; i++) {
    if ((uint8_t)s->piece[i][0] == 0x82 ||
        strchr(s->piece[i], '\xe2')) { /* JSON holds whole characters: this one comes with its neighbour */
      char both[256];
      snprintf(both, sizeof both, "%s%s", s->piece[i], s->piece[i + 1]);
      say_text(fd, both), i++;
    } else {
      say_text(fd, s->piece[i]);
    }
  }
  if (s->tool) {
    struct buf b = {0};
    struct json_out o;
    buf_puts(&b, "{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{");
    buf_printf(&b, "\"name\":\"%s\",\"arguments\":", s == &scripts[LONG_NAME] ? NAME : "send");
    json_out_init(&o, &b, false);
    json_out_c(&o, s->tool);
    buf_puts(&b, "}}]}");
    say(fd, buf_cstr(&b));
    buf_release(&b);
  }
  if (s == &scripts[BREAKS])
    send_all(fd, "0\r\n\r\n", 5);
  else
    send_all(fd, tail, sizeof tail - 1);
}

static pid_t upstream_pid; /* a process: servers are forked, and a process that has threads had better not fork */
static void upstream(int listening) {
  int fd;
  while ((fd = accept(listening, NULL, NULL)) >= 0) {
    struct buf b = {0};
    char piece[4096];
    ssize_t k;
    const char *at = NULL;
    while (!at && (k = recv(fd, piece, sizeof piece, 0)) > 0) {
      buf_put(&b, piece, (size_t)k);
      at = strstr(buf_cstr(&b), "script-");
    }
    if (at) speak(fd, &scripts[atoi(at + 7) % SCRIPTS]);
    shutdown(fd, SHUT_WR);
    while (recv(fd, piece, sizeof piece, 0) > 0) {}
    close(fd);
    buf_release(&b);
  }
}

static int setup(void **state) {
  struct site_fixture *fx = &site;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof a;
  char path[160], text[256];
  (void)state;
  site_fixture_open(fx, 12);
  make_keys(fx, key);
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(listening, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(listening, 16), 0);
  assert_int_equal(getsockname(listening, (struct sockaddr *)&a, &size), 0);
  snprintf(path, sizeof path, "%s/models/language/far", site.path);
  SITE_MUST(file_mkdirs(path, 0755, &fx->e));
  snprintf(path, sizeof path, "%s/models/language/far/description.json", site.path);
  snprintf(text, sizeof text,
           "{\"name\":\"far\",\"family\":\"upstream\",\"upstream\":{\"url\":\"http://127.0.0.1:%d/v1\",\"model\":\"m\",\"context\":4096}}",
           ntohs(a.sin_port));
  SITE_MUST(file_write_atomic(path, text, strlen(text), 0644, &fx->e));
  upstream_pid = fork();
  if (upstream_pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    upstream(listening);
    _exit(0);
  }
  close(listening);
  return upstream_pid < 0;
}
static int teardown(void **state) {
  (void)state;
  kill(upstream_pid, SIGKILL);
  (void)waitpid(upstream_pid, NULL, 0);
  site_fixture_close(&site);
  return 0;
}

/* ---- the client ---- */

static void start(struct running *r, const char *filter) {
  struct site_fixture *fx = &site;
  char path[128];
  snprintf(path, sizeof path, "%s/filter.json", site.path);
  (void)unlink(path);
  if (filter) SITE_MUST(file_write_atomic(path, filter, strlen(filter), 0644, &fx->e));
  server_start(r, &site, (struct serve_options){.developer_listen = "127.0.0.1:0"});
}

static struct reply ask_far(const struct running *r, const char *path, int script, const char *more) {
  struct buf b = {0};
  bool responses = strstr(path, "responses") != NULL;
  buf_printf(&b, "{\"model\":\"far\",%s%s\"%s\":[{\"role\":\"user\",\"content\":\"script-%d 617-555-0199\"}]}", more, more[0] ? "," : "",
             responses ? "input" : "messages", script);
  if (script != 2) *strstr(b.p, "617") = 'x'; /* only there the caller says the number itself */
  struct reply a = ask_port(r->developer, "POST", path, key[ROLE_DEVELOPER], buf_cstr(&b), "");
  buf_release(&b);
  return a;
}

static void nothing_secret(const struct reply *a, int script) {
  for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
    if (strcasestr(a->body, secrets[i]) && !(script == 2 && i == 0) && !(script == 3 && strstr(a->body, "Heronry")) &&
        !(script == 1 && i >= 4 && i <= 5))
      fail_msg("script %d: %zu left", script, i);
}

/* Everything that a stream's content deltas say. */
static void heard(const struct reply *a, struct buf *out) {
  struct json_parser *jp;
  struct json root;
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  for (const char *p = a->body; (p = strstr(p, "data: {")); p++) {
    struct buf b = {0};
    buf_put(&b, p + 6, strcspn(p + 6, "\n"));
    buf_reserve(&b, 64);
    if (json_parse(jp, b.p, b.n, b.cap, &root, NULL) == OK)
      buf_str(out, json_str(json_get(json_get(json_at(json_get(root, "choices"), 0), "delta"), "content")));
    buf_release(&b);
  }
  json_parser_free(jp);
}

static const char chat[] = "/openai/v1/chat/completions";

static void same_text(const struct running *r, int script, const char *want) {
  struct reply a = ask_far(r, chat, script, "");
  struct buf quoted = {0}, streamed = {0};
  struct json_out o;
  assert_int_equal(a.status, 200);
  json_out_init(&o, &quoted, false);
  json_out_object(&o);
  json_kv_c(&o, "content", want);
  if (!strstr(a.body, buf_cstr(&quoted) + 1)) fail_msg("script %d: %s", script, a.body);
  assert_non_null(strstr(a.body, "\"finish_reason\":\"stop\""));
  nothing_secret(&a, script);
  assert_true(!strstr(a.body, "content_filter_results") == !strchr(want, '['));
  reply_free(&a);
  a = ask_far(r, chat, script, "\"stream\":true");
  assert_int_equal(a.status, 200);
  nothing_secret(&a, script);
  heard(&a, &streamed);
  assert_string_equal(buf_cstr(&streamed), want);
  assert_non_null(strstr(a.body, "data: [DONE]"));
  reply_free(&a);
  buf_release(&quoted), buf_release(&streamed);
}

static void shapes_and_words_are_replaced(void **state) {
  (void)state;
  struct running r;
  start(&r, "{\"words\":[\"Project Heron\",\"lakeside\"]}");
  same_text(&r, 0, "Call us at [PHONE] or mail [EMAIL] today.");
  same_text(&r, 1, "The rate is 0.1234567890123, BP 120/80 on 5/5; see ICD10CM//I50.9 \xe2\x82\xac. Three doses in 2021.");
  same_text(&r, 2, "You said 617-555-0199 and it is noted.");
  same_text(&r, 3, "It is called [REMOVED], not Project Heronry, at [REMOVED].");
  same_text(&r, 6, "[ID]");
  struct reply a = ask_far(&r, "/openai/v1/responses", 0, "");
  assert_non_null(strstr(a.body, "Call us at [PHONE] or mail [EMAIL] today."));
  assert_non_null(strstr(a.body, "\"status\":\"completed\""));
  reply_free(&a);
  assert_int_equal(server_stop(&r), 0);
}

/* Where a tag would break the answer, and where the site says so, it ends. */
static void what_cannot_be_replaced_is_refused(void **state) {
  (void)state;
  struct running r;
  struct reply a;
  static const char tools[] = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"send\",\"parameters\":{}}}]";
  start(&r, NULL);
  for (int stream = 0; stream < 2; stream++) {
    char more[256];
    snprintf(more, sizeof more, "\"response_format\":{\"type\":\"json_object\"}%s", stream ? ",\"stream\":true" : "");
    a = ask_far(&r, chat, 4, more);
    assert_int_equal(a.status, 200);
    nothing_secret(&a, 4);
    assert_non_null(strstr(a.body, "\"finish_reason\":\"content_filter\",\"content_filter_results\":{\"identifiers\":{\"detected\":true"));
    reply_free(&a);
    snprintf(more, sizeof more, "%s%s", tools, stream ? ",\"stream\":true" : "");
    a = ask_far(&r, chat, 5, more);
    assert_int_equal(a.status, 200);
    nothing_secret(&a, 5);
    assert_non_null(strstr(a.body, "\"finish_reason\":\"content_filter\""));
    reply_free(&a);
    a = ask_far(&r, chat, 8, more);
    assert_non_null(strstr(a.body, "ward 5"));
    assert_non_null(strstr(a.body, "\"finish_reason\":\"tool_calls\""));
    reply_free(&a);
  }
  assert_int_equal(server_stop(&r), 0);
  start(&r, "{\"then\":\"refuse\"}");
  for (int stream = 0; stream < 2; stream++) {
    a = ask_far(&r, chat, 7, stream ? "\"stream\":true" : "");
    nothing_secret(&a, 7);
    assert_null(strstr(a.body, "after it"));
    assert_non_null(strstr(a.body, "\"finish_reason\":\"content_filter\""));
    reply_free(&a);
    a = ask_far(&r, "/openai/v1/responses", 7, stream ? "\"stream\":true" : "");
    nothing_secret(&a, 7);
    assert_non_null(strstr(a.body, "\"incomplete_details\":{\"reason\":\"content_filter\"}"));
    assert_non_null(strstr(a.body, "\"status\":\"incomplete\""));
    reply_free(&a);
  }
  assert_int_equal(server_stop(&r), 0);
}

#define PATIENT                                                                                                                  \
  "{\\\"task\\\":\\\"death-1y\\\",\\\"events\\\":[{\\\"time\\\":\\\"2020-01-01T08:00:00\\\",\\\"code\\\":\\\"LOINC//2160-0\\\"," \
  "\\\"value\\\":1.2}]}"

/* The timeline model's documents: clean as they are; with a word of the site's in them they stay. */
static void documents_pass_or_stay(void **state) {
  (void)state;
  static const char chat_body[] = "{\"model\":\"vitae\",\"messages\":[{\"role\":\"user\",\"content\":\"" PATIENT "\"}]}";
  static const char score_body[] = "{\"input_data\":{\"columns\":[\"patient\"],\"index\":[0],\"data\":[[\"" PATIENT
                                   "\"]]},\"params\":{\"return\":[\"risk\",\"embeddings\"]}}";
  struct running r;
  for (int stays = 0; stays < 2; stays++) {
    start(&r, stays ? "{\"words\":[\"hazard\"]}" : NULL);
    struct reply a = ask_port(r.developer, "POST", chat, key[ROLE_DEVELOPER], chat_body, "");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, stays ? "\"finish_reason\":\"content_filter\"" : "\"finish_reason\":\"stop\""));
    if (stays) assert_null(strstr(a.body, "hazard"));
    reply_free(&a);
    a = ask_port(r.developer, "POST", "/score", key[ROLE_DEVELOPER], score_body, "");
    assert_int_equal(a.status, stays ? 400 : 200);
    assert_true(!strstr(a.body, "\"code\":\"content_filter\"") == !stays);
    if (stays) assert_null(strstr(a.body, "hazard"));
    reply_free(&a);
    a = ask_port(r.port, "POST", "/v1/predict", key[ROLE_CLINICIAN], /* the hospital's own plane is not filtered */
                 "{\"events\":[{\"time\":\"2020-01-01T08:00:00\",\"code\":\"LOINC//2160-0\",\"value\":1.2}]}", "");
    assert_int_equal(a.status, 200);
    reply_free(&a);
    assert_int_equal(server_stop(&r), 0);
  }
}

static void a_name_of_64_characters_stays_whole(void **state) {
  (void)state;
  static const char tools[] = "\"tools\":[{\"type\":\"function\",\"name\":\"" NAME "\",\"parameters\":{}}]%s";
  struct running r;
  char more[256];
  assert_int_equal(strlen(NAME), 64);
  start(&r, NULL);
  for (int stream = 0; stream < 2; stream++) {
    snprintf(more, sizeof more, tools, stream ? ",\"stream\":true" : "");
    struct reply a = ask_far(&r, "/openai/v1/responses", LONG_NAME, more);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"type\":\"function_call\""));
    assert_non_null(strstr(a.body, "\"name\":\"" NAME "\",\"arguments\":\"{"));
    reply_free(&a);
  }
  assert_int_equal(server_stop(&r), 0);
}

/* After its first frames an answer fails in a frame of its own: an event of the Responses API with the next number, else chat's envelope. */
static void a_stream_fails_in_its_dialect(void **state) {
  (void)state;
  struct running r;
  char want[96];
  int events = 0;
  start(&r, NULL);
  struct reply a = ask_far(&r, "/openai/v1/responses", BREAKS, "\"stream\":true");
  assert_int_equal(a.status, 200);
  assert_non_null(strstr(a.body, "goes"));
  for (const char *p = a.body; (p = strstr(p, "\"sequence_number\":")); p++) {
    char number[40];
    snprintf(number, sizeof number, "\"sequence_number\":%d", events++);
    assert_int_equal(strncmp(p, number, strlen(number)), 0);
  }
  snprintf(want, sizeof want, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":%d,\"code\":", events - 1);
  const char *last = strstr(a.body, want);
  assert_non_null(last);
  assert_non_null(strstr(last, "\"message\":\""));
  assert_non_null(strstr(last, "\"param\":"));
  assert_null(strstr(a.body, "{\"error\""));
  reply_free(&a);
  a = ask_far(&r, chat, BREAKS, "\"stream\":true");
  assert_int_equal(a.status, 200);
  assert_non_null(strstr(a.body, "event: error\ndata: {\"error\":{\"code\":"));
  reply_free(&a);
  a = ask_far(&r, "/openai/v1/responses", BREAKS, ""); /* whole: a failure like any other */
  assert_int_equal(a.status, 503);
  assert_non_null(strstr(a.body, "{\"error\":{\"code\":"));
  reply_free(&a);
  assert_int_equal(server_stop(&r), 0);
}

/* Codes of the version's vocabulary and the times of a document are the server's own words; a language model that says the same is looked at. */
static void codes_and_times_pass(void **state) {
  (void)state;
  static const char patient[] =
      "{\\\"task\\\":\\\"death-1y\\\",\\\"outcomes\\\":20,\\\"explain\\\":3%s,\\\"events\\\":[{\\\"time\\\":\\\"202001010800\\\","
      "\\\"code\\\":"
      "\\\"LOINC//2160-0\\\",\\\"value\\\":1.2}]}";
  static const char *const filters[] = {NULL, "{\"dates\":true}", "{\"words\":[\"no such word\"],\"dates\":true,\"then\":\"refuse\"}"};
  char one[512], body[1024];
  for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
    struct running r;
    start(&r, filters[i]);
    for (int stream = 0; stream < 3; stream++) { /* in one piece; in frames that do not wait for each other, and in some that do */
      struct buf said = {0};
      snprintf(one, sizeof one, patient, stream == 2 ? ",\\\"futures\\\":5" : "");
      snprintf(body, sizeof body, "{\"model\":\"vitae\",\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}",
               stream ? "true" : "false", one);
      struct reply a = ask_port(r.developer, "POST", chat, key[ROLE_DEVELOPER], body, "");
      assert_int_equal(a.status, 200);
      assert_non_null(strstr(a.body, "\"finish_reason\":\"stop\""));
      if (stream)
        heard(&a, &said);
      else
        buf_puts(&said, a.body);
      assert_non_null(strstr(buf_cstr(&said), "SNOMED//" LONG_CODE));
      assert_non_null(strstr(buf_cstr(&said), "T08:00:00"));
      buf_release(&said);
      reply_free(&a);
    }
    snprintf(one, sizeof one, patient, "");
    snprintf(body, sizeof body,
             "{\"input_data\":{\"columns\":[\"patient\"],\"index\":[0],\"data\":[[\"%s\"]]},\"params\":{\"outcomes\":20}}", one);
    struct reply a = ask_port(r.developer, "POST", "/score", key[ROLE_DEVELOPER], body, "");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "SNOMED//" LONG_CODE));
    reply_free(&a);
    a = ask_far(&r, chat, 9, "\"response_format\":{\"type\":\"json_object\"}");
    assert_non_null(strstr(a.body, "\"finish_reason\":\"content_filter\""));
    assert_null(strstr(a.body, LONG_CODE));
    reply_free(&a);
    assert_int_equal(server_stop(&r), 0);
  }
}

static int count(const char *text, const char *word) {
  int n = 0;
  for (; (text = strstr(text, word)); text++) n++;
  return n;
}

static void verdicts_are_kept_and_counted(void **state) {
  (void)state;
  struct running r;
  struct error e = {0};
  uint64_t rows;
  start(&r, NULL);
  struct reply a = ask_far(&r, chat, 0, "");
  reply_free(&a);
  a = ask_far(&r, chat, 4, "\"stream\":true,\"response_format\":{\"type\":\"json_object\"}");
  reply_free(&a);
  a = ask_far(&r, chat, 1, "");
  reply_free(&a);
  a = ask(&r, "GET", "/v1/audit?limit=4", key[ROLE_ADMIN], NULL);
  assert_int_equal(count(a.body, "\"verdict\":\"replaced\""), 1);
  assert_int_equal(count(a.body, "\"verdict\":\"refused\""), 1); /* of the stream its last row */
  reply_free(&a);
  a = ask(&r, "GET", "/metrics", key[ROLE_ADMIN], NULL);
  assert_non_null(strstr(a.body, "vitae_filter_replaced_total 2\n"));
  assert_non_null(strstr(a.body, "vitae_filter_refused_total 1\n"));
  reply_free(&a);
  assert_int_equal(server_stop(&r), 0);
  assert_int_equal(audit_verify(site.path, NULL, &rows, &e), OK);
  struct buf events = {0}, log = {0};
  assert_int_equal(audit_export(site.path, NULL, 1, &events, &e), OK);
  assert_non_null(strstr(buf_cstr(&events), "{\"type\":\"verdict\",\"valueString\":\"refused\"}"));
  struct arena arena;
  struct str text;
  arena_init(&arena, 1 << 20, 0);
  assert_int_equal(file_read(&arena, r.log, 1 << 20, &text, &e), OK);
  buf_str(&log, text);
  for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
    assert_null(strcasestr(buf_cstr(&log), secrets[i]));
    if (i < 4) assert_null(strcasestr(buf_cstr(&events), secrets[i]));
  }
  arena_free(&arena);
  buf_release(&events), buf_release(&log);
}

static void a_wrong_file_is_named(void **state) {
  (void)state;
  static const char *const wrong[] = {"[]", "{\"words\":\"x\"}", "{\"words\":[\"\"]}", "{\"dates\":1}", "{\"then\":\"hide\"}"};
  struct site_fixture *fx = &site;
  char path[128];
  snprintf(path, sizeof path, "%s/filter.json", site.path);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct error e = {0};
    SITE_MUST(file_write_atomic(path, wrong[i], strlen(wrong[i]), 0644, &fx->e));
    assert_int_equal(serve_run(&(struct serve_options){.site = site.path, .listen = "127.0.0.1:0"}, &e), E_INPUT);
    assert_non_null(strstr(e.file, "filter.json"));
  }
  (void)unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(shapes_and_words_are_replaced), cmocka_unit_test(what_cannot_be_replaced_is_refused),
                                     cmocka_unit_test(documents_pass_or_stay),        cmocka_unit_test(codes_and_times_pass),
                                     cmocka_unit_test(a_stream_fails_in_its_dialect), cmocka_unit_test(a_name_of_64_characters_stays_whole),
                                     cmocka_unit_test(verdicts_are_kept_and_counted), cmocka_unit_test(a_wrong_file_is_named)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
