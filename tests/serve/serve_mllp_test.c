/* HL7 v2 over MLLP from outside: acknowledgements, messages that come again, limits, what is kept and what is not, results and their delivery. */
#include "serve_helper.h"

#include <pthread.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "serve/serve_mllp.h"

static struct site_fixture site;
static char key[ROLES][64];

static int setup(void **state) {
  (void)state;
  site_fixture_open(&site, 12);
  make_keys(&site, key);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  site_fixture_close(&site);
  return 0;
}

/* The server writes its MLLP port into memory that it shares with us. */
static int *shared_port;
static int patience = 600; /* seconds that a message may take to come whole */
static void start(struct running *r, const char *settings) {
  static char path[128];
  struct site_fixture *fx = &site;
  struct serve_options o = {.mllp_listen = "127.0.0.1:0", .body_limit = 64 << 10, .timeout_s = patience};
  if (!shared_port) shared_port = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(shared_port != MAP_FAILED);
  o.mllp_port = shared_port;
  if (settings) {
    snprintf(path, sizeof path, "%s/settings.json", fx->dir);
    SITE_MUST(file_write_atomic(path, settings, strlen(settings), 0600, &fx->e));
    o.mllp_settings = path;
  }
  server_start(r, &site, o);
}

#define MSH(type, id) "MSH|^~\\&|ADT1|GOOD|VITAE|SITE|20190304050607||" type "|" id "|P|2.5.1\r"
#define PID "PID|1||70001^^^HOSP^MR||" SITE_CANARY_NAME "^EVE||19500615|F\r"
#define ADT(trigger, id) \
  MSH("ADT^" trigger, id) "EVN|" trigger "|20190304050600\r" PID "PV1|1|I|||||||||||||||||V1|||||||||||||||||||||||||20190304\r"
#define ORU(id, value) \
  MSH("ORU^R01", id)   \
  PID "PV1|1|I|||||||||||||||||V1\rOBR|1|||24323-8^CMP^LN|||201903050708\rOBX|1|NM|2160-0^Crea^LN||" value "|mg/dL|||||F\r"

#define WRONG(id)    \
  MSH("ORU^R01", id) \
  PID "PV1|1|I|||||||||||||||||V1\rOBR|1|||24323-8^CMP^LN|||201903050708\rOBX|1|NM|2160-0^Crea^LN|||mg/dL|||||W\r"

struct talk {
  int fd;
  struct buf in;
};
static void talk_open(struct talk *t) { *t = (struct talk){.fd = dial_port(*shared_port)}; }
static void talk_close(struct talk *t) {
  close(t->fd);
  buf_release(&t->in);
}
static void say(struct talk *t, const char *message) {
  struct buf b = {0};
  hl7v2_frame_put(&b, str_c(message));
  send_all(t->fd, b.p, b.n);
  buf_release(&b);
}
/* The next message that comes, "" when the connection ended; valid until the next. */
static const char *hear(struct talk *t) {
  static char kept[65536];
  struct str message;
  size_t used;
  while (!t->in.n || hl7v2_frame_next((struct str){t->in.p, t->in.n}, &message, &used) != HL7V2_FRAME_WHOLE) {
    char piece[4096];
    ssize_t k = recv(t->fd, piece, sizeof piece, 0);
    if (k <= 0) return "";
    buf_put(&t->in, piece, (size_t)k);
  }
  snprintf(kept, sizeof kept, "%.*s", STR_ARG(message));
  memmove(t->in.p, t->in.p + used, t->in.n - used);
  t->in.n -= used;
  return kept;
}
static void answered(struct talk *t, const char *code, const char *id) {
  char want[64];
  const char *got = hear(t);
  snprintf(want, sizeof want, "\rMSA|%s|%s\r", code, id);
  if (!strstr(got, want)) fail_msg("no %s for %s in: %s", code, id, got);
  assert_null(strstr(got, SITE_CANARY_NAME));
  assert_null(strstr(got, "70001^")); /* the number alone may be part of a control id */
}
static void exchange(const char *message, const char *code, const char *id) {
  struct talk t;
  talk_open(&t);
  say(&t, message);
  answered(&t, code, id);
  talk_close(&t);
}
static int rows_with(const struct running *r, const char *text) {
  struct reply a = ask(r, "GET", "/v1/audit?limit=100", key[ROLE_ADMIN], NULL);
  int n = 0;
  for (const char *p = a.body; (p = strstr(p, text)); p++) n++;
  reply_free(&a);
  return n;
}
static int64_t metric(const struct running *r, const char *name) { return metric_of(r, key[ROLE_ADMIN], name); }

static void messages_are_answered(void **state) {
  (void)state;
  struct running r;
  struct talk t;
  start(&r, NULL);
  talk_open(&t);
  say(&t, ADT("A01", "one"));
  answered(&t, "AA", "one");
  say(&t, MSH("QRY^A19", "two") PID);
  assert_non_null(strstr(hear(&t), "\rMSA|AR|two\rERR||MSH^1^9|200^^HL70357|E"));
  say(&t, MSH("ADT^A01", "three") "EVN|A01\r");
  assert_non_null(strstr(hear(&t), "\rMSA|AE|three\rERR|"));
  say(&t, MSH("ADT^A01", "") PID);
  assert_non_null(strstr(hear(&t), "\rERR||MSH^1^10|101^^HL70357|E"));
  say(&t, ORU("four", "eleven"));
  const char *got = hear(&t);
  assert_non_null(strstr(got, "\rMSA|AA|four\rERR||OBX^1^5|102^^HL70357|W")); /* taken, but for one value, which is not said */
  assert_null(strstr(got, "eleven"));
  say(&t, "what is this");
  assert_non_null(strstr(hear(&t), "\rMSA|AE|\rERR|"));
  talk_close(&t);
  assert_int_equal(metric(&r, "vitae_hl7_messages_total{code=\"AA\"}"), 2);
  assert_int_equal(metric(&r, "vitae_hl7_messages_total{code=\"AE\"}"), 3);
  assert_int_equal(rows_with(&r, "\"method\":\"MLLP\""), 6);
  assert_int_equal(rows_with(&r, "\"route\":\"ADT^A01\""), 3);
  assert_int_equal(rows_with(&r, "\"tenant\":\"GOOD\""), 5);
  assert_int_equal(server_stop(&r), 0);
}

static void a_message_that_comes_again_is_known(void **state) {
  (void)state;
  struct running r;
  start(&r, NULL);
  exchange(ADT("A01", "again-1"), "AA", "again-1");
  exchange(ADT("A01", "again-1"), "AA", "again-1");
  assert_int_equal(metric(&r, "vitae_hl7_again_total"), 1);
  assert_int_equal(server_stop(&r), 0);
  start(&r, NULL); /* and after a restart */
  exchange(ADT("A01", "again-1"), "AA", "again-1");
  assert_int_equal(metric(&r, "vitae_hl7_again_total"), 1);
  struct talk t;
  talk_open(&t);
  say(&t, ADT("A08", "again-1")); /* another message by the same id */
  assert_non_null(strstr(hear(&t), "\rMSA|AE|again-1\rERR||MSH^1^10|205^^HL70357|E"));
  say(&t, "MSH|^~\\&|ADT2|GOOD|VITAE|SITE|20190304050607||ADT^A01|again-1|P|2.5.1\r" PID); /* of another sender */
  answered(&t, "AA", "again-1");
  say(&t, "MSH|^~\\&|ADT2|GOOD|VITAE|SITE|20190304059999||ADT^A01|again-1|P|2.5.1\r" PID); /* sent again with another stamp */
  answered(&t, "AA", "again-1");
  talk_close(&t);
  assert_int_equal(metric(&r, "vitae_hl7_again_total"), 2);
  assert_int_equal(rows_with(&r, "\"status\":208"), 3);
  assert_int_equal(server_stop(&r), 0);
}

/* Segments that end with LF: the same message is known again, another one under its id is not taken for it. */
static void line_feeds_hide_no_message(void **state) {
  (void)state;
  static const char lf[] = "MSH|^~\\&|ADT3|GOOD|VITAE|SITE|2019||ADT^A08|lf-1|P|2.5.1\nPID|1||%d^^^HOSP^MR||X^Y\n";
  struct running r;
  struct talk t;
  char one[160], other[160];
  snprintf(one, sizeof one, lf, 70031), snprintf(other, sizeof other, lf, 70032);
  start(&r, NULL);
  talk_open(&t);
  say(&t, one);
  answered(&t, "AA", "lf-1");
  say(&t, one);
  answered(&t, "AA", "lf-1");
  say(&t, other);
  assert_non_null(strstr(hear(&t), "\rMSA|AE|lf-1\rERR||MSH^1^10|205^^HL70357|E"));
  talk_close(&t);
  assert_int_equal(metric(&r, "vitae_hl7_again_total"), 1);
  assert_int_equal(server_stop(&r), 0);
}

/* Nobody is told another's risk, and nobody's messages are merged into another's. */
static void several_patients_are_not_taken(void **state) {
  (void)state;
#define WHO(id, name) "PID|1||" id "^^^HOSP^MR||" name "||1950|M\r"
#define CREATININE(status) "OBR|1|||24323-8^CMP^LN|||2019\rOBX|1|NM|2160-0^Crea^LN||9.9|mg/dL|||||" status "\r"
  static const char *const text[] = {MSH("ORU^R01", "many-0") WHO("70041", "A") CREATININE("I") WHO("70042", "B") CREATININE("F"),
                                     MSH("ORU^R01", "many-1") WHO("", "A") WHO("70042", "B") CREATININE("F"),
                                     MSH("ADT^A40", "many-2")
                                         WHO("70043", "A") "MRG|70041^^^HOSP^MR\r" WHO("70044", "B") "MRG|70042^^^HOSP^MR\r",
                                     MSH("ADT^A40", "many-3") WHO("70043", "A") "MRG|70041^^^HOSP^MR\rMRG|70042^^^HOSP^MR\r"};
  struct running r;
  struct talk t;
  start(&r, NULL);
  talk_open(&t);
  for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
    say(&t, text[i]);
    const char *got = hear(&t);
    if (!strstr(got, "\rMSA|AE|many-") || !strstr(got, "more than one patient")) fail_msg("%zu: %s", i, got);
  }
  say(&t, MSH("ORU^R01", "many-4") WHO("70045", "A") CREATININE("F") WHO("70045", "A") CREATININE("F")); /* twice the same */
  answered(&t, "AA", "many-4");
  say(&t, MSH("ADT^A40", "many-5") WHO("70046", "A") "MRG|70045^^^HOSP^MR~9^^^HOSP^PI\r"); /* one old person, two numbers */
  answered(&t, "AA", "many-5");
  struct reply a = ask(&r, "GET", "/fhir/RiskAssessment?patient.identifier=HOSP%7C70046&outcomes=1", key[ROLE_CLINICIAN], NULL);
  assert_int_equal(a.status, 200); /* the old person's messages are theirs */
  reply_free(&a);
  a = ask(&r, "GET", "/fhir/RiskAssessment?patient.identifier=HOSP%7C70042&outcomes=1", key[ROLE_CLINICIAN], NULL);
  assert_int_equal(a.status, 404);
  reply_free(&a);
  talk_close(&t);
  assert_int_equal(server_stop(&r), 0);
}

static void frames_come_in_pieces_and_in_heaps(void **state) {
  (void)state;
  struct running r;
  struct talk t;
  struct buf b = {0};
  char id[16];
  start(&r, NULL);
  talk_open(&t);
  hl7v2_frame_put(&b, STR(ADT("A08", "slow")));
  for (size_t i = 0; i < b.n; i++) send_all(t.fd, b.p + i, 1);
  answered(&t, "AA", "slow");
  buf_clear(&b);
  buf_puts(&b, "noise between blocks\v a block that another one cuts off");
  for (int i = 0; i < 100; i++) {
    struct buf one = {0};
    buf_printf(&one, "MSH|^~\\&|ADT1|GOOD|VITAE|SITE|2019||ADT^A08|heap%d|P|2.5.1\r" PID, i);
    hl7v2_frame_put(&b, (struct str){one.p, one.n});
    buf_release(&one);
  }
  send_all(t.fd, b.p, b.n);
  for (int i = 0; i < 100; i++) {
    snprintf(id, sizeof id, "heap%d", i);
    answered(&t, "AA", id);
  }
  talk_close(&t);
  buf_release(&b);
  assert_int_equal(server_stop(&r), 0);
}

static void too_long_and_too_slow(void **state) {
  (void)state;
  struct running r;
  struct talk t, idle;
  struct buf b = {0};
  start(&r, NULL); /* too long: as slow as it may be */
  talk_open(&idle);
  talk_open(&t);
  buf_puts(&b, "\v" ADT("A08", "long") "NTE|1||");
  for (int i = 0; i < 10000; i++) buf_puts(&b, "0123456789");
  send_all(t.fd, b.p, b.n);
  assert_non_null(strstr(hear(&t), "\rMSA|AE|long\rERR||MSH^1|102^^HL70357|E")); /* by its head */
  assert_string_equal(hear(&t), "");                                             /* and the connection ends */
  talk_close(&t);
  static const size_t cut[] = {1, 2, 3}; /* what came of it by the limit would read as a message */
  for (int i = 0; i < 3; i++) {
    talk_open(&t);
    send_all(t.fd, b.p, (64 << 10) + cut[i]);
    if (cut[i] > 2) assert_non_null(strstr(hear(&t), "\rMSA|AE|long\rERR|"));
    shutdown(t.fd, SHUT_WR);
    assert_string_equal(hear(&t), "");
    talk_close(&t);
  }
  assert_int_equal(metric(&r, "vitae_hl7_messages_total{code=\"AA\"}"), 0);
  talk_open(&t); /* the longest that is taken, its block's last byte late */
  memcpy(b.p + (64 << 10), "\r\x1c\r", 3);
  send_all(t.fd, b.p, (64 << 10) + 2);
  usleep(100000);
  send_all(t.fd, "\r", 1);
  answered(&t, "AA", "long");
  talk_close(&t);
  talk_open(&t);
  buf_clear(&b);
  for (int i = 0; i < 8000; i++) buf_puts(&b, "no frame at all ");
  send_all(t.fd, b.p, b.n);
  assert_string_equal(hear(&t), "");
  talk_close(&t);
  talk_close(&idle);
  assert_int_equal(server_stop(&r), 0);
  patience = 2;
  start(&r, NULL);
  patience = 600;
  talk_open(&idle);
  talk_open(&t);
  send_all(t.fd, "\vMSH|", 5); /* begun, never finished: ended by the server */
  assert_string_equal(hear(&t), "");
  talk_close(&t);
  say(&idle, ADT("A08", "idle")); /* who was silent all the time is still heard */
  answered(&idle, "AA", "idle");
  talk_close(&idle);
  buf_release(&b);
  assert_int_equal(server_stop(&r), 0);
}

static bool site_holds(const char *text) {
  char command[256];
  snprintf(command, sizeof command, "grep -rqaF '%s' %s %s", text, site.path, "2>/dev/null");
  return system(command) == 0;
}

struct seen {
  int results, visits;
};
static int look(void *ctx, const struct record *r, struct error *e) {
  struct seen *s = ctx;
  (void)e;
  s->results += str_eqc(r->code, "LOINC//2160-0");
  s->visits += r->kind == RECORD_EVENT && str_eqc(r->code, "ENCOUNTER//IMP");
  return OK;
}

static void nothing_is_kept_unless_configured(void **state) {
  (void)state;
  struct running r;
  struct site_fixture *fx = &site;
  start(&r, NULL);
  exchange(ORU("kept-1", "1.5"), "AA", "kept-1");
  assert_int_equal(server_stop(&r), 0);
  assert_false(site_holds(SITE_CANARY_NAME "^EVE"));
  start(&r, "{\"store\":true}");
  exchange(ORU("kept-1", "1.5"), "AA", "kept-1"); /* known: not stored now either */
  exchange(ORU("kept-2", "1.6"), "AA", "kept-2");
  exchange(ORU("kept-2", "1.6"), "AA", "kept-2");
  exchange(ADT("A01", "kept-3"), "AA", "kept-3");
  exchange(ADT("A11", "kept-4"), "AA", "kept-4");
  assert_int_equal(metric(&r, "vitae_hl7_stored_total"), 3);
  assert_int_equal(server_stop(&r), 0);
  /* what lies there is what the ingest reads; the cancelled admission is none */
  char path[4096];
  struct arena a;
  struct str *files;
  struct stat st;
  size_t n;
  struct seen seen = {0};
  struct hl7v2_options o = {0};
  struct hl7v2_tables *tables;
  struct record_stats stats = {0};
  arena_init(&a, 1 << 20, 0);
  SITE_MUST(file_join(path, sizeof path, file_data_dir(), "mapping/hl7v2.json", &fx->e));
  SITE_MUST(hl7v2_tables_load(path, &tables, &fx->e));
  o.tables = tables;
  snprintf(path, sizeof path, "%s/inbox/hl7v2", fx->path);
  SITE_MUST(file_list(&a, path, &files, &n, &fx->e));
  assert_true(n == 1 || n == 2); /* two around midnight */
  assert_int_equal(stat(files[0].p, &st), 0);
  assert_int_equal(st.st_mode & 077, 0);
  SITE_MUST(hl7v2_read(&o, path, &(struct record_sink){.ctx = &seen, .record = look}, &stats, &fx->e));
  assert_int_equal(stats.rejected, 0);
  assert_int_equal(seen.results, 1);
  assert_int_equal(seen.visits, 0);
  hl7v2_tables_free(tables);
  arena_free(&a);
}

static void only_known_senders(void **state) {
  (void)state;
  struct running r;
  struct talk t;
  start(&r, "{\"senders\":[\"ADT1|GOOD\"]}");
  talk_open(&t);
  say(&t, ADT("A08", "sender-1"));
  answered(&t, "AA", "sender-1");
  say(&t, "MSH|^~\\&|ADT1|EVIL|VITAE|SITE|2019||ADT^A08|sender-2|P|2.5.1\r" PID);
  answered(&t, "AR", "sender-2");
  talk_close(&t);
  assert_int_equal(server_stop(&r), 0);
}

static void what_cannot_be_recorded_is_not_taken(void **state) {
  (void)state;
  struct running r;
  char path[128];
  sqlite3 *db;
  start(&r, NULL);
  exchange(ADT("A08", "record-1"), "AA", "record-1");
  snprintf(path, sizeof path, "%s/vitae.db", site.path);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  sqlite3_busy_timeout(db, 5000);
  assert_int_equal(sqlite3_exec(db, "ALTER TABLE hl7_seen RENAME TO away", NULL, NULL, NULL), SQLITE_OK);
  exchange(ADT("A08", "record-2"), "AE", "record-2");
  assert_int_equal(sqlite3_exec(db, "ALTER TABLE away RENAME TO hl7_seen", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
  exchange(ADT("A08", "record-2"), "AA", "record-2");
  assert_int_equal(metric(&r, "vitae_hl7_again_total"), 0);
  assert_int_equal(server_stop(&r), 0);
}

static int times_in_inbox(const char *text) {
  char command[256], number[16] = "";
  snprintf(command, sizeof command, "cat %s/inbox/hl7v2/*.hl7 | tr '\\r' '\\n' | grep -acF '%s'", site.path, text);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  assert_non_null(fgets(number, sizeof number, f));
  pclose(f);
  return atoi(number);
}

/* The transaction fails after the message was laid into the inbox: it comes again, and lies there once. */
static void a_message_lies_in_the_inbox_once(void **state) {
  (void)state;
  struct running r;
  char path[128];
  sqlite3 *db;
  start(&r, "{\"store\":true}");
  exchange(ADT("A08", "once-1"), "AA", "once-1");
  snprintf(path, sizeof path, "%s/vitae.db", site.path);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  sqlite3_busy_timeout(db, 60000);
  assert_int_equal(sqlite3_exec(db, "ALTER TABLE audit RENAME TO away", NULL, NULL, NULL), SQLITE_OK);
  for (int i = 0; i < 3; i++) exchange(ADT("A08", "once-2"), "AE", "once-2");
  assert_int_equal(sqlite3_exec(db, "ALTER TABLE away RENAME TO audit", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
  exchange(ADT("A08", "once-2"), "AA", "once-2");
  exchange(ADT("A03", "once-3"), "AA", "once-3");
  assert_int_equal(times_in_inbox("|once-1|"), 1);
  assert_int_equal(times_in_inbox("|once-2|"), 1);
  assert_int_equal(times_in_inbox("|once-3|"), 1);
  assert_int_equal(server_stop(&r), 0);
}

/* The day's file is put away while the server has it open: what comes after lies in a new one. */
static void an_inbox_that_is_put_away_begins_anew(void **state) {
  (void)state;
  struct running r;
  char command[256];
  start(&r, "{\"store\":true}");
  exchange(ADT("A08", "away-1"), "AA", "away-1");
  snprintf(command, sizeof command, "mv %s/inbox/hl7v2 %s/taken", site.path, site.dir);
  assert_int_equal(system(command), 0);
  exchange(ADT("A08", "away-2"), "AA", "away-2");
  assert_int_equal(times_in_inbox("|away-1|"), 0);
  assert_int_equal(times_in_inbox("|away-2|"), 1);
  snprintf(command, sizeof command, "rm %s/inbox/hl7v2/*", site.path);
  assert_int_equal(system(command), 0);
  exchange(ADT("A08", "away-3"), "AA", "away-3");
  assert_int_equal(times_in_inbox("|away-3|"), 1);
  assert_int_equal(server_stop(&r), 0);
}

struct sender {
  pthread_t thread;
  int no, good;
};
static void *send_many(void *ctx) {
  struct sender *s = ctx;
  struct talk t;
  talk_open(&t);
  for (int i = 0; i < 20; i++) {
    struct buf b = {0}, own = {0};
    char want[48];
    buf_printf(&b, "MSH|^~\\&|ADT%d|GOOD|VITAE|SITE|2019||ADT^A08|m%d-%d|P|2.5.1\rPID|1||%d^^^HOSP^MR||X^Y||1950|M\r", s->no, s->no, i,
               s->no);
    hl7v2_frame_put(&own, (struct str){b.p, b.n});
    send_all(t.fd, own.p, own.n);
    struct str message;
    size_t used;
    char piece[2048];
    ssize_t k;
    while (!t.in.n || hl7v2_frame_next((struct str){t.in.p, t.in.n}, &message, &used) != HL7V2_FRAME_WHOLE) {
      if ((k = recv(t.fd, piece, sizeof piece, 0)) <= 0) break;
      buf_put(&t.in, piece, (size_t)k);
    }
    snprintf(want, sizeof want, "MSA|AA|m%d-%d\r", s->no, i);
    s->good += t.in.n && memmem(t.in.p, t.in.n, want, strlen(want)) != NULL;
    buf_clear(&t.in);
    buf_release(&b), buf_release(&own);
  }
  talk_close(&t);
  return NULL;
}

static void many_connections_at_once(void **state) {
  (void)state;
  enum { MANY = 64 };
  struct running r;
  static struct sender s[MANY];
  uint64_t rows;
  struct site_fixture *fx = &site;
  start(&r, NULL);
  for (int i = 0; i < MANY; i++) {
    s[i] = (struct sender){.no = i};
    assert_int_equal(pthread_create(&s[i].thread, NULL, send_many, &s[i]), 0);
  }
  for (int i = 0; i < MANY; i++) {
    pthread_join(s[i].thread, NULL);
    assert_int_equal(s[i].good, 20);
  }
  assert_int_equal(metric(&r, "vitae_hl7_messages_total{code=\"AA\"}"), MANY * 20);
  assert_int_equal(server_stop(&r), 0);
  SITE_MUST(audit_verify(site.path, NULL, &rows, &fx->e));
  assert_true(rows >= MANY * 20);
}

/* ---- results ---- */

struct place { /* a destination: a listener of ours; it may go away for a while, and nobody else gets its port meanwhile */
  int fd, held, port;
};
static int bound(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  return fd;
}
static void place_come(struct place *p) {
  p->fd = bound(p->port);
  assert_int_equal(listen(p->fd, 8), 0);
}
static void place_go(struct place *p) {
  shutdown(p->fd, SHUT_RDWR); /* the server's copy of it, too */
  close(p->fd);
}
static void place_open(struct place *p) {
  struct sockaddr_in a;
  socklen_t n = sizeof a;
  p->held = bound(0);
  assert_int_equal(getsockname(p->held, (struct sockaddr *)&a, &n), 0);
  p->port = ntohs(a.sin_port);
  place_come(p);
}
static void place_close(struct place *p) {
  place_go(p);
  close(p->held);
}
static void place_take(struct place *p, struct talk *t) {
  struct timeval limit = {.tv_sec = 3600};
  *t = (struct talk){.fd = accept(p->fd, NULL, NULL)};
  assert_true(t->fd >= 0);
  setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}
static void acknowledge(struct talk *t, const char *code, const char *oru) {
  char reply[256];
  struct str id = hl7v2_raw(str_c(oru), "MSH", 10);
  snprintf(reply, sizeof reply, "MSH|^~\\&|LIS|LAB|VITAE||2019||ACK|x|P|2.5.1\rMSA|%s|%.*s\r", code, STR_ARG(id));
  say(t, reply);
}

static void results_are_told_and_delivered(void **state) {
  (void)state;
  struct running r;
  struct place p;
  struct talk t;
  char settings[256], first[24];
  place_open(&p);
  snprintf(settings, sizeof settings,
           "{\"results\":{\"to\":\"127.0.0.1:%d\",\"application\":\"LIS\",\"facility\":\"LAB\",\"after\":[\"R01\"],\"tries\":3}}", p.port);
  start(&r, settings);
  exchange(ADT("A01", "result-1"), "AA", "result-1");
  exchange(ORU("result-2", "1.5"), "AA", "result-2");
  place_take(&p, &t);
  const char *oru = hear(&t);
  assert_non_null(strstr(oru, "|LIS|LAB|"));
  assert_non_null(strstr(oru, "||ORU^R01^ORU_R01|R"));
  assert_non_null(strstr(oru, "\rPID|1||70001^^^HOSP^MR||" SITE_CANARY_NAME "^EVE||19500615|F\r"));
  assert_non_null(strstr(oru, "\rPV1|1|I|||||||||||||||||V1\r"));
  assert_non_null(strstr(oru, "\rOBX|1|NM|death-1y^Death within a year^99VITAE||0."));
  assert_non_null(strstr(oru, "|1^^UCUM|||||P|"));
  struct str value = hl7v2_raw(str_c(oru), "OBX", 5);
  double risk;
  assert_int_equal(str_to_f64(value, &risk), OK);
  assert_true(risk > 0 && risk < 1);
  snprintf(first, sizeof first, "%.*s", STR_ARG(hl7v2_raw(str_c(oru), "MSH", 10)));
  talk_close(&t); /* no answer: it comes again, the same message */
  place_take(&p, &t);
  oru = hear(&t);
  assert_true(str_eqc(hl7v2_raw(str_c(oru), "MSH", 10), first));
  acknowledge(&t, "AA", oru);
  exchange(ORU("result-3", "1.7"), "AA", "result-3");
  oru = hear(&t); /* over the same connection */
  assert_false(str_eqc(hl7v2_raw(str_c(oru), "MSH", 10), first));
  acknowledge(&t, "AE", oru); /* refused: not tried again */
  exchange(ORU("result-4", "1.8"), "AA", "result-4");
  oru = hear(&t);
  say(&t, "MSH|^~\\&|LIS|LAB|VITAE||2019||ACK|x|P|2.5.1\rMSA|AA|another\r"); /* somebody else's answer is none */
  acknowledge(&t, "AA", oru);
  while (metric(&r, "vitae_hl7_results_delivered_total") < 2) usleep(20000);
  assert_int_equal(metric(&r, "vitae_hl7_results_total"), 3);
  assert_int_equal(metric(&r, "vitae_hl7_results_refused_total"), 1);
  assert_int_equal(metric(&r, "vitae_hl7_result_retries_total"), 1);
  assert_int_equal(rows_with(&r, "\"method\":\"ORU\""), 3);
  talk_close(&t);
  place_close(&p);
  assert_int_equal(server_stop(&r), 0);
}

/* ---- results and the process's end ---- */

static const char *results_to(const struct place *p, const char *key_file) {
  static char text[512];
  snprintf(text, sizeof text, "{\"results\":{\"to\":\"127.0.0.1:%d\",\"after\":[\"R01\"],\"tries\":9%s%s%s}}", p->port,
           key_file ? ",\"key\":\"" : "", key_file ? key_file : "", key_file ? "\"" : "");
  return text;
}
static void write_key(const char *path, char digit, unsigned mode) {
  struct site_fixture *fx = &site;
  char text[65];
  memset(text, digit, 64);
  text[64] = '\n';
  SITE_MUST(file_write_atomic(path, text, sizeof text, mode, &fx->e));
}
/* A server that starts when the leases of a killed one are over. */
static void start_later(struct running *r, const char *settings) {
  static const struct time_pretence later = {.wall = 30 * TIME_SECOND};
  time_pretend(&later);
  start(r, settings);
  time_pretend(NULL);
}
/* A result is under way to its destination and not acknowledged when the server is killed. */
static void kill_with_a_result(struct place *p, const char *settings, const char *id, char *oru, size_t size) {
  struct running r;
  struct talk t;
  start(&r, settings);
  char message[512];
  snprintf(message, sizeof message,
           MSH("ORU^R01", "%s") PID
           "PV1|1|I|||||||||||||||||V1\rOBR|1|||24323-8^CMP^LN|||201903050708\r"
           "OBX|1|NM|2160-0^Crea^LN||1.9|mg/dL|||||F\r",
           id);
  exchange(message, "AA", id);
  place_take(p, &t);
  snprintf(oru, size, "%s", hear(&t));
  assert_non_null(strstr(oru, SITE_CANARY_NAME));
  kill(r.pid, SIGKILL);
  assert_int_equal(server_wait(&r), 128 + SIGKILL);
  talk_close(&t);
  assert_false(site_holds(SITE_CANARY_NAME "^EVE"));
  assert_false(site_holds("70001^^^HOSP"));
}

static void results_outlive_a_killed_server(void **state) {
  (void)state;
  struct running r;
  struct place p;
  struct talk t;
  char file[128], other[128], oru[4096], wanted[96];
  place_open(&p);
  snprintf(file, sizeof file, "%s/out.key", site.dir), snprintf(other, sizeof other, "%s/other.key", site.dir);
  write_key(file, 'a', 0600), write_key(other, 'b', 0600);
  kill_with_a_result(&p, results_to(&p, file), "outlive-1", oru, sizeof oru);
  start_later(&r, results_to(&p, other)); /* under another key it is not to be had, and stays */
  assert_int_equal(metric(&r, "vitae_hl7_results_resumed_total") + metric(&r, "vitae_hl7_results_lost_total"), 0);
  assert_int_equal(server_stop(&r), 0);
  start_later(&r, results_to(&p, file));
  assert_int_equal(metric(&r, "vitae_hl7_results_resumed_total"), 1);
  place_take(&p, &t);
  assert_string_equal(hear(&t), oru); /* to the letter: the control id is the same */
  talk_close(&t);                     /* no answer: again */
  place_take(&p, &t);
  assert_string_equal(hear(&t), oru);
  acknowledge(&t, "AA", oru);
  while (metric(&r, "vitae_hl7_results_delivered_total") < 1) usleep(20000);
  snprintf(wanted, sizeof wanted, "\"request\":\"%.*s\"", STR_ARG(hl7v2_raw(str_c(oru), "MSH", 10)));
  assert_int_equal(rows_with(&r, wanted), 1);
  /* the destination is away: an orderly end keeps what waits */
  talk_close(&t);
  place_go(&p);
  exchange(ORU("outlive-2", "2.5"), "AA", "outlive-2");
  while (metric(&r, "vitae_hl7_result_retries_total") < 2) usleep(20000);
  assert_int_equal(server_stop(&r), 0);
  assert_false(site_holds(SITE_CANARY_NAME "^EVE"));
  place_come(&p);
  start(&r, results_to(&p, file)); /* at once: no lease has to end */
  place_take(&p, &t);
  const char *late = hear(&t);
  assert_non_null(strstr(late, SITE_CANARY_NAME));
  acknowledge(&t, "AA", late);
  while (metric(&r, "vitae_hl7_results_delivered_total") < 1) usleep(20000);
  assert_int_equal(server_stop(&r), 0);
  start_later(&r, results_to(&p, file));
  assert_int_equal(metric(&r, "vitae_hl7_results_resumed_total"), 0);
  assert_int_equal(server_stop(&r), 0);
  talk_close(&t);
  place_close(&p);
}

static void results_that_are_not_stored_are_told_to_be_lost(void **state) {
  (void)state;
  struct running r;
  struct place p;
  char oru[4096], wanted[96];
  place_open(&p);
  kill_with_a_result(&p, results_to(&p, NULL), "lost-1", oru, sizeof oru);
  start_later(&r, results_to(&p, NULL));
  assert_int_equal(metric(&r, "vitae_hl7_results_lost_total"), 1);
  snprintf(wanted, sizeof wanted, "\"request\":\"%.*s\"", STR_ARG(hl7v2_raw(str_c(oru), "MSH", 10)));
  assert_int_equal(rows_with(&r, wanted), 1);
  assert_int_equal(rows_with(&r, "\"status\":410"), 1);
  assert_int_equal(server_stop(&r), 0);
  start_later(&r, results_to(&p, NULL)); /* told once */
  assert_int_equal(metric(&r, "vitae_hl7_results_lost_total"), 0);
  assert_int_equal(server_stop(&r), 0);
  place_close(&p);
}

/* A key that others may read, or that is none. */
static void a_bad_key_is_refused(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  char file[128];
  uint8_t secret[SEAL_KEY];
  snprintf(file, sizeof file, "%s/bad.key", site.dir);
  write_key(file, 'a', 0644);
  assert_int_equal(hl7_key_load(file, secret, &fx->e), E_DENIED);
  write_key(file, 'x', 0600);
  assert_int_equal(hl7_key_load(file, secret, &fx->e), E_INPUT);
  write_key(file, 'a', 0600);
  assert_int_equal(hl7_key_load(file, secret, &fx->e), OK);
}

/* Without a destination: whoever asks for the patient by number gets the risks of what the feed has said. */
static void risks_can_be_asked_for(void **state) {
  (void)state;
  struct running r;
  start(&r, NULL);
  const char *target = "/fhir/RiskAssessment?patient.identifier=HOSP%7C70001&outcomes=1";
  struct reply a = ask(&r, "GET", target, key[ROLE_CLINICIAN], NULL);
  assert_int_equal(a.status, 404);
  reply_free(&a);
  exchange(ADT("A01", "asked-1"), "AA", "asked-1");
  exchange(ORU("asked-2", "2.5"), "AA", "asked-2");
  a = ask(&r, "GET", target, key[ROLE_CLINICIAN], NULL);
  assert_int_equal(a.status, 200);
  assert_non_null(strstr(a.body, "\"probabilityDecimal\":0."));
  assert_null(strstr(a.body, "70001"));
  assert_null(strstr(a.body, SITE_CANARY_NAME));
  reply_free(&a);
  a = ask(&r, "GET", "/fhir/RiskAssessment?patient.identifier=70001", key[ROLE_CLINICIAN], NULL);
  assert_int_equal(a.status, 400);
  reply_free(&a);
  a = ask(&r, "GET", target, key[ROLE_VIEWER], NULL);
  assert_int_equal(a.status, 403);
  reply_free(&a);
  assert_int_equal(server_stop(&r), 0);
}

/* The message that makes the difference is only in memory: the same patient with and without it. */
static void memory_holds_the_patients_messages(void **state) {
  (void)state;
  struct running r;
  struct place p;
  struct talk t;
  char settings[256], before[32], after[32];
  place_open(&p);
  snprintf(settings, sizeof settings, "{\"results\":{\"to\":\"127.0.0.1:%d\",\"after\":[\"A08\"]}}", p.port);
  start(&r, settings);
  exchange(ADT("A08", "memory-1"), "AA", "memory-1");
  place_take(&p, &t);
  const char *oru = hear(&t);
  snprintf(before, sizeof before, "%.*s", STR_ARG(hl7v2_raw(str_c(oru), "OBX", 5)));
  acknowledge(&t, "AA", oru);
  exchange(ORU("memory-2", "7.5"), "AA", "memory-2");
  exchange(ORU("memory-2", "7.5"), "AA", "memory-2");
  exchange(ADT("A08", "memory-3"), "AA", "memory-3");
  oru = hear(&t);
  snprintf(after, sizeof after, "%.*s", STR_ARG(hl7v2_raw(str_c(oru), "OBX", 5)));
  acknowledge(&t, "AA", oru);
  assert_true(before[0] && strcmp(before, after) != 0);
  exchange(WRONG("memory-4"), "AA", "memory-4"); /* that value was wrong: the answer is as if it had never come */
  exchange(ADT("A08", "memory-5"), "AA", "memory-5");
  oru = hear(&t);
  snprintf(after, sizeof after, "%.*s", STR_ARG(hl7v2_raw(str_c(oru), "OBX", 5)));
  acknowledge(&t, "AA", oru);
  assert_string_equal(before, after);
  talk_close(&t);
  place_close(&p);
  assert_int_equal(server_stop(&r), 0);
}

static void wrong_settings_are_named(void **state) {
  (void)state;
  static const char *const bad[][2] = {{"{\"stores\":true}", "a setting that does not exist"},
                                       {"{\"store\":1}", "store"},
                                       {"{\"senders\":[1]}", "senders"},
                                       {"{\"results\":{\"to\":\"nowhere\"}}", "results.to"},
                                       {"{\"results\":{\"to\":\"127.0.0.1:9\",\"tls\":\"true\"}}", "results.tls"},
                                       {"{\"results\":{\"to\":\"127.0.0.1:9\",\"tls\":1}}", "results.tls"},
                                       {"{\"results\":{\"to\":\"127.0.0.1:9\",\"ca\":\"ca.pem\"}}", "results.ca"},
                                       {"{\"results\":{\"to\":\"192.0.2.1:9\"}}", "loopback only"},
                                       {"{\"results\":{\"to\":\"[2001:db8::1]:9\",\"tls\":false}}", "loopback only"},
                                       {"{\"results\":{\"to\":\"localhost.example:9\"}}", "loopback only"},
                                       {"{\"memory\":{\"hours\":0}}", "hours"},
                                       {"[]", "expected an object"}};
  struct site_fixture *fx = &site;
  char path[128];
  snprintf(path, sizeof path, "%s/bad.json", fx->dir);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct error e = {0};
    char text[512];
    SITE_MUST(file_write_atomic(path, bad[i][0], strlen(bad[i][0]), 0600, &fx->e));
    assert_int_equal(
        serve_run(&(struct serve_options){.site = fx->path, .listen = "127.0.0.1:0", .mllp_listen = "127.0.0.1:0", .mllp_settings = path},
                  &e),
        E_INPUT);
    error_format(&e, text, sizeof text);
    if (!strstr(text, bad[i][1])) fail_msg("%s: %s", bad[i][0], text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(messages_are_answered),
                                     cmocka_unit_test(a_message_that_comes_again_is_known),
                                     cmocka_unit_test(line_feeds_hide_no_message),
                                     cmocka_unit_test(several_patients_are_not_taken),
                                     cmocka_unit_test(frames_come_in_pieces_and_in_heaps),
                                     cmocka_unit_test(too_long_and_too_slow),
                                     cmocka_unit_test(only_known_senders),
                                     cmocka_unit_test(what_cannot_be_recorded_is_not_taken),
                                     cmocka_unit_test(many_connections_at_once),
                                     cmocka_unit_test(results_are_told_and_delivered),
                                     cmocka_unit_test(results_outlive_a_killed_server),
                                     cmocka_unit_test(results_that_are_not_stored_are_told_to_be_lost),
                                     cmocka_unit_test(a_bad_key_is_refused),
                                     cmocka_unit_test(risks_can_be_asked_for),
                                     cmocka_unit_test(memory_holds_the_patients_messages),
                                     cmocka_unit_test(wrong_settings_are_named),
                                     cmocka_unit_test(nothing_is_kept_unless_configured),
                                     cmocka_unit_test(a_message_lies_in_the_inbox_once),
                                     cmocka_unit_test(an_inbox_that_is_put_away_begins_anew)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
