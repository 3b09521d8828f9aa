/* HL7 v2: messages of the shapes that chapters 2, 3, 4 and 7 of the standard show, written by hand; malformed ones; files, batches, frames,
 * acknowledgements; and every allocation failing once. */
#include "fhir_helpers.h"
#include "record/hl7v2.h"

static struct hl7v2_tables *tables;
static struct hl7v2_options options;
static struct hl7v2_answer answer;
static struct arena arena;
static char kept_reply[4096];

static void tables_ready(void) {
  char path[4096];
  struct error e = {0};
  if (tables) return;
  assert_int_equal(file_join(path, sizeof path, file_data_dir(), "mapping/hl7v2.json", &e), OK);
  if (hl7v2_tables_load(path, &tables, &e) < 0) {
    error_print(stderr, &e);
    fail();
  }
  options.tables = tables;
  arena_init(&arena, 64 << 20, ARENA_WIPE);
}

/* One message whose segments stand on lines; the answer's text is kept. */
static void take_n(struct catcher *c, const char *text, size_t n) {
  struct buf reply = {0};
  tables_ready();
  if (c->n == 0 && c->rejects_n == 0) catcher_open(c);
  assert_int_equal(hl7v2_take(&options, &arena, (struct str){text, n}, 0, 1, "test", &c->sink, &c->stats, &answer, &c->error), OK);
  hl7v2_acknowledge(&answer, STR("R1"), INT64_C(1551675967000000), &reply);
  snprintf(kept_reply, sizeof kept_reply, "%s", buf_cstr(&reply));
  buf_release(&reply);
  arena_reset(&arena);
}
static void take(struct catcher *c, const char *text) { take_n(c, text, strlen(text)); }

#define MSH "MSH|^~\\&|ADT1|GOOD|GHH|HIS|20190304050607||"
#define ADT(trigger) MSH "ADT^" trigger "|MSG1|P|2.5.1\rEVN|" trigger "|20190304050600\r"
#define PID "PID|1||70001^^^HOSP&1.2.3&ISO^MR||EVERYWOMAN^EVE^E||19610615|F\r"
#define ORU MSH "ORU^R01|MSG2|P|2.5.1\r" PID "OBR|1|||24323-8^CMP^LN|||201903050708\r"

static const struct record *has_identifier(const struct catcher *c, enum identifier_kind kind, const char *text) {
  for (size_t i = 0; i < c->n; i++) {
    const struct record *r = &c->records[i].r;
    if (r->kind == RECORD_IDENTIFIER && r->identifier == kind && str_eqc(r->text, text)) return r;
  }
  return NULL;
}
static const struct record *the_event(const struct catcher *c, const char *code, const char *time) {
  const struct record *r = event_of(c, code);
  char at[32];
  if (!r) fail_msg("no event %s", code);
  time_format(r->time.us, at);
  assert_string_equal(at, time);
  return r;
}
static bool refused(const struct catcher *c, const char *field, const char *reason) {
  for (size_t i = 0; i < c->rejects_n; i++)
    if (strcmp(c->rejects[i].reject.field, field) == 0 && strstr(c->rejects[i].reject.reason, reason)) return true;
  return false;
}

TEST(an_admission) {
  struct catcher c = {0};
  take(&c, MSH
       "ADT^A01^ADT_A01|MSG1|P|2.5.1\r"
       "EVN|A01|20190304050600||||20190304040000\r"
       "PID|1|OLD7|999-11-2222^^^USSSA^SS~70001^^^HOSP&1.2.3&ISO^MR||EVERYWOMAN&van&BORN^EVE^E^JR||19610615|F|ALIAS^ANNA|2106-3^White|2222 "
       "HOME STREET^APT 2^GREEN"
       "SBORO^NC^27401-1020^USA||(919)379-1212^PRN^PH^eve@example.org^^919^5551234|(919)271-3434|EN|M|CAT|ACC9|987654321|NCLN "
       "55|MO77|H|Bonn||||||20200101020304|Y\r"
       "NK1|1|KIN^NELDA|SPO|9 ROAD^^TOWN^^99999^USA|555-7777\r"
       "IN1|1|||||||GRP1||||||||INSURED^IVAN||||||||||||||||||||POL55\r"
       "PV1|1|I|2000^2012^01||||004777^DOC^DAN|||||||7|||||VISIT7|||||||||||||||||01||||||||201903040100|20190305\r"
       "DG1|1||I50.9^Heart failure^I10C||20190302|A\rDG1|2||I10^^I10C|||W|||||||||||||||D\r"
       "PR1|1||5A1935Z^Ventilation^I10P||20190304070000\r"
       "AL1|1|DA|1191^Aspirin^RXNORM|MO|hives|20100203\r"
       "ZPI|1|secret\r");
  assert_string_equal(answer.code, "AA");
  assert_int_equal(c.rejects_n, 0);
  for (size_t i = 0; i < c.n; i++) assert_true(str_eqc(c.records[i].r.person, "HOSP/70001"));
  const struct record *mrn = has_identifier(&c, IDENTIFIER_MRN, "70001");
  assert_non_null(mrn);
  assert_non_null(has_identifier(&c, IDENTIFIER_SSN, "999-11-2222"));
  assert_non_null(has_identifier(&c, IDENTIFIER_MRN, "OLD7"));
  assert_non_null(has_identifier(&c, IDENTIFIER_ACCOUNT, "ACC9"));
  assert_non_null(has_identifier(&c, IDENTIFIER_ACCOUNT, "VISIT7"));
  assert_non_null(has_identifier(&c, IDENTIFIER_LICENCE, "NCLN 55"));
  assert_non_null(has_identifier(&c, IDENTIFIER_HEALTH_PLAN, "POL55"));
  assert_non_null(has_identifier(&c, IDENTIFIER_EMAIL, "eve@example.org"));
  assert_non_null(has_identifier(&c, IDENTIFIER_PHONE, "919-5551234"));
  const char *const names[] = {"EVERYWOMAN", "BORN", "EVE", "E", "ALIAS", "ANNA", "KIN", "NELDA", "INSURED", "IVAN"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_non_null(has_identifier(&c, IDENTIFIER_NAME, names[i]));
  const struct record *zip = has_identifier(&c, IDENTIFIER_GEOGRAPHY, "27401-1020"),
                      *kin = has_identifier(&c, IDENTIFIER_GEOGRAPHY, "99999");
  assert_true(str_eqc(zip->postcode, "27401-1020") && str_eqc(zip->country, "USA"));
  assert_true(kin->postcode.n == 0); /* a relative's address is no place of the patient */
  assert_int_equal(count_kind(&c, RECORD_BIRTH), 1);
  assert_int_equal(count_kind(&c, RECORD_DEATH), 1);
  the_event(&c, "GENDER//F", "static");
  the_event(&c, "RACE//2106-3", "static");
  the_event(&c, "ETHNICITY//2135-2", "static");
  the_event(&c, "MARITAL//M", "static");
  the_event(&c, "ENCOUNTER//IMP", "2019-03-04T01:00:00");
  the_event(&c, "ADMIT_SOURCE//V20023//7", "2019-03-04T01:00:00");
  the_event(&c, "ENCOUNTER_END//IMP", "2019-03-05T00:00:00");
  the_event(&c, "DISCHARGE//V20112//01", "2019-03-05T00:00:00");
  const struct record *dx = the_event(&c, "ICD10CM//I50.9", "2019-03-02T00:00:00");
  assert_true(str_eqc(dx->display, "Heart failure"));
  assert_null(event_of(&c, "ICD10CM//I10")); /* action code D: deleted */
  the_event(&c, "ICD10PCS//5A1935Z", "2019-03-04T07:00:00");
  the_event(&c, "RXNORM//1191//ALLERGY", "2010-02-03T00:00:00");
  assert_true(dropped(&c, "PV1.7") && dropped(&c, "PV1.3") && dropped(&c, "HL7v2.?") && dropped(&c, "PID.15") && dropped(&c, "AL1.5"));
  catcher_close(&c);
}

TEST(who_issued_a_number) {
  static const struct {
    const char *cx, *key, *ns;
  } rows[] = {{"7^^^HOSP&1.2.3&ISO^MR", "HOSP/7", "urn:oid:1.2.3"},
              {"7^^^HOSP^MR", "HOSP/7", "HOSP"},
              {"7^^^&1.2.3&ISO^PI", "1.2.3/7", "urn:oid:1.2.3"},
              {"7^^^H&http://h.example/mrn&URI^MR", "H/7", "http://h.example/mrn"},
              {"7^^^H&c0ffee00-0000-4000-8000-000000000001&UUID^MR", "H/7", "urn:uuid:c0ffee00-0000-4000-8000-000000000001"},
              {"7", "7", NULL},
              {"1^^^A^AN~8^^^B^PI~7^^^HOSP^MR", "HOSP/7", "HOSP"},
              {"7^^^O\\T\\K^MR", "O&K/7", "O&K"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct catcher c = {0};
    char text[400];
    snprintf(text, sizeof text, "%sPID|1||%s||X^Y\r", ADT("A28"), rows[i].cx);
    take(&c, text);
    assert_string_equal(answer.code, "AA");
    const struct record *r = has_identifier(&c, IDENTIFIER_MRN, "7");
    assert_non_null(r);
    assert_true(str_eqc(r->person, rows[i].key) && str_eq(r->ns, str_c(rows[i].ns)));
    catcher_close(&c);
  }
  struct catcher c = {0};
  take(&c, ADT("A28") "PID|1||123^^^X^DL~55^^^B^AN||X^Y\r"); /* a licence and an account name nobody */
  assert_string_equal(answer.code, "AE");
  assert_true(refused(&c, "PID.3", "no identifier"));
  assert_int_equal(c.n, 0);
  catcher_close(&c);
}

TEST(results) {
  struct catcher c = {0};
  take(&c, ORU
       "OBX|1|NM|2160-0^Creatinine^LN^GLU^x^L||1.2|mg/dL^^UCUM|0.7-1.3|N|||F|||20190305070812.5-0600\r"
       "OBX|2|SN|2951-2^Sodium^LN||^140|mmol/L|||||F\rOBX|3|SN|2823-3^K^LN||>^5.1||||||F\rOBX|4|SN|1^Range^LN||^1^-^2||||||F\r"
       "OBX|5|CWE|882-1^ABO^LN||112144000^Blood group A^SCT||||||F\rOBX|6|ST|718-7^Hb^LN||13.5|g/dL|||||F\r"
       "OBX|7|NM|777-3^Plt^LN||250||||||X\rOBX|8|NM|789-8^RBC^LN||many||||||F\rOBX|9|NM|L1^local^L||5||||||F\r"
       "OBX|10|DT|8665-2^LMP^LN||20190101||||||F\rOBX|11|NM|4544-3^Hct^LN||\"\"||||||F\r"
       "OBX|12|NM|787-2^MCV^LN||1e39||||||F\r"
       "NTE|1||called the patient\r"
       "OBR|2|||58410-2^CBC^LN\rOBX|1|NM|26464-8^WBC^LN||7||||||F\r");
  assert_string_equal(answer.code, "AA");
  const struct record *r = the_event(&c, "LOINC//2160-0", "2019-03-05T07:08:12.500000");
  assert_true(r->value == 1.2 && str_eqc(r->unit, "mg/dL") && r->time.has_offset && r->time.offset_minutes == -360);
  assert_true(the_event(&c, "LOINC//2951-2", "2019-03-05T07:08:00")->value == 140);
  assert_true(the_event(&c, "LOINC//2823-3", "2019-03-05T07:08:00")->value == 5.1);
  assert_true(the_event(&c, "LOINC//718-7", "2019-03-05T07:08:00")->value == 13.5);
  the_event(&c, "LOINC//882-1//SNOMED//112144000", "2019-03-05T07:08:00");
  assert_non_null(event_of(&c, "LOCAL//L1"));
  assert_null(event_of(&c, "LOINC//777-3"));  /* could not be obtained */
  assert_null(event_of(&c, "LOINC//4544-3")); /* the null value */
  assert_null(event_of(&c, "LOINC//8665-2")); /* dates are no values */
  assert_null(event_of(&c, "LOINC//26464-8"));
  assert_null(event_of(&c, "LOINC//787-2")); /* no float holds it */
  assert_true(refused(&c, "OBX.5", "not a number") && refused(&c, "OBX.14", "no time"));
  assert_true(dropped(&c, "NTE.3"));
  catcher_close(&c);
}

/* A report's lines are one text, so that whoever scrubs it sees a name that goes over a line's end. */
TEST(reports_are_whole) {
  struct catcher c = {0};
  take(&c, ORU
       "OBX|1|TX|18748-4^Report^LN|1|Seen: Eve||||||F\rOBX|2|TX|18748-4^Report^LN|2|Everywoman \\T\\ son.||||||F\r"
       "OBX|3|FT|11506-3^Note^LN|1|a\\.br\\b\\H\\c\\N\\\\X0D\\d~e\\E\\f\\Zx\\||||||F\r"
       "OBX|4|ED|18842-5^Summary^LN||^TEXT^PLAIN^Base64^SGVsbG8gRXZl||||||F\rOBX|5|ED|18842-5^S^LN||^APPLICATION^PDF^Base64^SGVsbG8=||||||"
       "F\r"
       "OBX|6|ED|34133-9^S^LN||^TEXT^PLAIN^Base64^*bad||||||F\r");
  assert_true(str_eqc(event_of(&c, "LOINC//18748-4")->text, "Seen: Eve\nEverywoman & son."));
  assert_true(str_eqc(event_of(&c, "LOINC//11506-3")->text, "a\nbc\nd\ne\\f"));
  assert_true(str_eqc(event_of(&c, "LOINC//18842-5")->text, "Hello Eve"));
  assert_true(refused(&c, "OBX.5", "base64") && dropped(&c, "OBX.5"));
  catcher_close(&c);
}

TEST(medication_and_vaccines) {
  struct catcher c = {0};
  take(&c, MSH "RAS^O17|M3|P|2.5.1\r" PID
               "ORC|RE|||||||||||||||201903040900\r"
               "RXA|0|1|20190304090500||197361^Amlodipine 5 MG^RXNORM|5|mg|||||||||||||CP\r"
               "RXA|0|1|20190304090500||08^HepB^CVX|999||||||||||||||RE\rRXA|0|1|20190101||140^Flu^CVX|0.5|mL|||||||||||||CP\r");
  const struct record *r = the_event(&c, "RXNORM//197361//ADMINISTERED", "2019-03-04T09:05:00");
  assert_true(r->value == 5 && str_eqc(r->unit, "mg"));
  assert_null(event_of(&c, "CVX//08"));
  assert_true(the_event(&c, "CVX//140", "2019-01-01T00:00:00")->value == 0.5);
  catcher_close(&c);
  c = (struct catcher){0};
  take(&c, MSH "RDE^O11|M4|P|2.5.1\r" PID
               "ORC|NW|||||||20190302\rRXE|1^^^20190303|197361^Amlodipine^RXNORM|5||mg\r"
               "RXD|1|197361^Amlodipine^RXNORM|20190305|30|TAB\r");
  the_event(&c, "RXNORM//197361", "2019-03-03T00:00:00");
  the_event(&c, "RXNORM//197361//DISPENSED", "2019-03-05T00:00:00");
  catcher_close(&c);
}

TEST(a_merge_says_who_is_one) {
  struct catcher c = {0};
  take(&c, ADT("A40") PID "MRG|70009^^^HOSP&1.2.3&ISO^MR~X1^^^HOSP^AN||||||OLDNAME^EVE\r");
  assert_string_equal(answer.code, "AA");
  assert_int_equal(count_kind(&c, RECORD_SAME), 1);
  for (size_t i = 0; i < c.n; i++)
    if (c.records[i].r.kind == RECORD_SAME) {
      assert_true(str_eqc(c.records[i].r.text, "HOSP/70009") && str_eqc(c.records[i].r.person, "HOSP/70001"));
      assert_true(i < 20);
    }
  assert_non_null(has_identifier(&c, IDENTIFIER_NAME, "OLDNAME"));
  catcher_close(&c);
  c = (struct catcher){0};
  take(&c, ADT("A45") PID "MRG|70009^^^HOSP&1.2.3&ISO^MR\r"); /* a visit moves: two persons */
  assert_int_equal(count_kind(&c, RECORD_SAME), 0);
  assert_null(has_identifier(&c, IDENTIFIER_MRN, "70009"));
  catcher_close(&c);
}

TEST(discharge_and_planned_visits) {
  struct catcher c = {0};
  take(&c, ADT("A03") PID "PV1|1|E|||||||||||||||||V1\r");
  the_event(&c, "ENCOUNTER_END//EMER", "2019-03-04T05:06:00");
  assert_null(event_of(&c, "ENCOUNTER//EMER"));
  catcher_close(&c);
  c = (struct catcher){0};
  take(&c, ADT("A05") PID "PV1|1|P|||||||||||||||||V1|||||||||||||||||||||||||20190401\r");
  assert_int_equal(count_kind(&c, RECORD_EVENT), 1); /* GENDER */
  catcher_close(&c);
  c = (struct catcher){0};
  take(&c, ADT("A11") PID "PV1|1|I|||||||||||||||||V1|||||||||||||||||||||||||20190304\r");
  assert_int_equal(count_kind(&c, RECORD_EVENT), 1);
  catcher_close(&c);
}

TEST(words_are_no_codes) {
  struct catcher c = {0};
  take(&c, ADT("A01") "PID|1||7^^^H^MR||X^Y||19610615|F e|||||||M//x\rPV1|1|I||||||||||||Eve went||||||||||||||||||||||home now||||||||201903040100|20190305\r");
  for (size_t i = 0; i < c.n; i++)
    for (size_t k = 0; k < c.records[i].r.code.n; k++) assert_true(c.records[i].r.code.p[k] > ' ' && c.records[i].r.code.p[k] < 0x7f);
  assert_non_null(event_of(&c, "ENCOUNTER//IMP"));
  assert_null(event_of(&c, "MARITAL//M//x"));
  catcher_close(&c);
}

TEST(other_separators_and_character_sets) {
  struct catcher c = {0};
  take(&c, "MSH$%*!@$A$B$C$D$20190304$$ADT%A28$M$P$2.3\rPID$1$$7%%%H@1.2@ISO%MR$$M!F!LLER%JO*NICK%NAME$$19500101$M\r");
  assert_string_equal(answer.code, "AA");
  assert_true(str_eqc(has_identifier(&c, IDENTIFIER_NAME, "M$LLER")->person, "H/7"));
  assert_non_null(has_identifier(&c, IDENTIFIER_NAME, "NICK"));
  assert_true(strncmp(kept_reply, "MSH$%*!@$C$D$A$B$20190304050607$$ACK%A28%ACK$R1$P$2.3\rMSA$AA$M\r", 60) == 0);
  catcher_close(&c);
  c = (struct catcher){0};
  take(&c, ADT("A28") "PID|1||7^^^H^MR||M\xDCLLER^JO\r"); /* ISO 8859-1 */
  assert_non_null(has_identifier(&c, IDENTIFIER_NAME, "MÜLLER"));
  catcher_close(&c);
  c = (struct catcher){0};
  take(&c, MSH "ADT^A28|M|P|2.5.1||||||ISO IR87\rPID|1||7^^^H^MR||M\xDCLLER^JO\r");
  assert_string_equal(answer.code, "AE");
  assert_true(refused(&c, "MSH.18", "character set"));
  catcher_close(&c);
}

TEST(what_is_not_taken_is_answered_so) {
  static const struct {
    const char *text, *code;
    int condition;
  } rows[] = {{"", "AE", 100},
              {"PID|1||7", "AE", 100},
              {"MSH", "AE", 100},
              {"MSH|^~\\&", "AR", 203},
              {"MSH|^^\\&|A|B|C|D|20190304||ADT^A01|M|P|2.5", "AE", 100},
              {"MSHA^~\\&AAABACADA20190304AAADT", "AE", 100},
              {MSH "ADT^A01|M|P|3.0\r" PID, "AR", 203},
              {MSH "MFN^M02|M|P|2.5.1\r" PID, "AR", 200},
              {MSH "ADT^A99|M|P|2.5.1\r" PID, "AR", 201},
              {MSH "ADT|M|P|2.5.1\r" PID, "AR", 201},
              {MSH "ADT^A01|M|T|2.5.1\r" PID, "AR", 202},
              {MSH "ACK^A01|M|P|2.5.1\r", "AR", 200},
              {ADT("A01"), "AE", 100},
              {ADT("A01") "PV1|1|I\r", "AE", 100},
              {ADT("A01") "PID|1||||NOBODY^N\rPV1|1|I|||||||||||||||||||||||||||||||||||||||||||2019\r", "AE", 101}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct catcher c = {0};
    char want[40];
    take(&c, rows[i].text);
    if (strcmp(answer.code, rows[i].code) != 0 || answer.problem[0].condition != rows[i].condition || c.n || c.rejects_n != 1)
      fail_msg("%zu: %s %d, %zu records, %zu rejects", i, answer.code, answer.problem[0].condition, c.n, c.rejects_n);
    snprintf(want, sizeof want, "\rMSA%c%s%c", answer.field, rows[i].code, answer.field);
    assert_non_null(strstr(kept_reply, want));
    snprintf(want, sizeof want, "%d%c%cHL70357%cE%c", rows[i].condition, '^', '^', '|', '|');
    assert_non_null(strstr(kept_reply, want));
    catcher_close(&c);
  }
  struct catcher c = {0};
  take_n(&c, ADT("A01") PID "\0", strlen(ADT("A01") PID) + 1);
  assert_string_equal(answer.code, "AE");
  catcher_close(&c);
}

TEST(a_bad_part_is_refused_alone_and_said_as_a_warning) {
  struct catcher c = {0};
  take(&c, ADT("A01") "PID|1||7^^^H^MR||X^Y||19611315|F\rPV1|1|I|||||||||||||||||V|||||||||||||||||||||||||2019-03-04\rDG1|1||^nothing\rno segment\rDG1|2||I10^^I10C||20190304\r");
  assert_string_equal(answer.code, "AA");
  assert_true(refused(&c, "PID.7", "no date") && refused(&c, "PV1.44", "no date") && refused(&c, "DG1.3", "no code") &&
              refused(&c, "HL7v2.?", "no segment"));
  assert_non_null(event_of(&c, "ICD10CM//I10"));
  assert_non_null(strstr(kept_reply, "\rERR||PID^1^7|207^^HL70357|W||||no date or time that exists\r"));
  assert_null(strstr(kept_reply, "19611315"));
  catcher_close(&c);
}

/* ---- files ---- */

static void read_text(struct catcher *c, const char *bytes) {
  tables_ready();
  *c = (struct catcher){0};
  catcher_open(c);
  const char *path = temp_text("f", bytes);
  if (hl7v2_read(&options, path, &c->sink, &c->stats, &c->error) < 0) {
    error_print(stderr, &c->error);
    fail();
  }
}
static size_t count_code(const struct catcher *c, const char *code) {
  size_t n = 0;
  for (size_t i = 0; i < c->n; i++) n += c->records[i].r.kind == RECORD_EVENT && str_eqc(c->records[i].r.code, code);
  return n;
}
#define ONE ORU "OBX|1|NM|2160-0^C^LN||1.2|mg/dL|||||F\r"
#define TWO ORU "OBX|1|NM|718-7^C^LN||13|g/dL|||||F\r"

TEST(files_of_every_wrapping) {
  static const char *const files[] = {ONE TWO, "\xEF\xBB\xBF" ONE TWO, "\v" ONE "\x1c\r\v" TWO "\x1c\r",
                                      "FHS|^~\\&|A\rBHS|^~\\&|A\r" ONE TWO "BTS|2\rFTS|1\r", "\r\n\r\n" ONE "\r\n" TWO};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    struct catcher c;
    char lf[4000];
    read_text(&c, files[i]);
    if (c.rejects_n || count_code(&c, "LOINC//2160-0") != 1 || count_code(&c, "LOINC//718-7") != 1)
      fail_msg("%zu: %zu rejects: %s", i, c.rejects_n, c.rejects_n ? c.rejects[0].reject.reason : "");
    assert_int_equal(c.records[c.n - 1].r.row, 2);
    catcher_close(&c);
    snprintf(lf, sizeof lf, "%s", files[i]);
    for (char *p = lf; *p; p++) *p = *p == '\r' ? '\n' : *p;
    read_text(&c, lf);
    assert_int_equal(c.rejects_n, 0);
    assert_int_equal(count_code(&c, "LOINC//2160-0") + count_code(&c, "LOINC//718-7"), 2);
    catcher_close(&c);
  }
}

/* "1.2" may have been "1.25". */
TEST(blocks_that_are_cut_off_are_no_messages) {
  static const char *const files[] = {"\v" ORU "OBX|1|NM|2160-0^C^LN||1.2\v" TWO "\x1c\r", "\v" ONE "\v" TWO "\x1c\r",
                                      "\v" TWO "\x1c\r\v" ORU "OBX|1|NM|2160-0^C^LN||1.2"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    struct catcher c;
    read_text(&c, files[i]);
    assert_int_equal(c.rejects_n, 1);
    assert_true(refused(&c, "", "cut off"));
    assert_int_equal(c.stats.rejected, 1);
    assert_int_equal(count_code(&c, "LOINC//2160-0"), 0);
    assert_int_equal(count_code(&c, "LOINC//718-7"), 1);
    catcher_close(&c);
  }
}

TEST(files_that_are_wrong) {
  struct catcher c;
  read_text(&c, "hello\nworld\n");
  assert_true(c.rejects_n == 1 && refused(&c, "", "belong to no message"));
  catcher_close(&c);
  read_text(&c, "");
  assert_true(refused(&c, "", "no HL7 v2 message"));
  catcher_close(&c);
  read_text(&c, "BHS|^~\\&\r" ONE "BTS|7\r" TWO);
  assert_true(c.rejects_n == 1 && refused(&c, "BTS.1", "another number"));
  assert_int_equal(count_code(&c, "LOINC//718-7"), 1);
  catcher_close(&c);
  read_text(&c, "junk\r" ONE
                "MSH|^~\\&|cut"
                "\r" TWO);
  assert_int_equal(c.rejects_n, 2);
  assert_int_equal(count_code(&c, "LOINC//2160-0") + count_code(&c, "LOINC//718-7"), 2);
  catcher_close(&c);
}

TEST(an_overlong_message_costs_itself) {
  struct catcher c;
  struct buf b = {0};
  buf_puts(&b, ONE ORU "OBX|1|TX|18748-4^R^LN||");
  for (int i = 0; i < 4000; i++) buf_puts(&b, "0123456789");
  buf_puts(&b, "||||||F\r");
  buf_puts(&b, TWO);
  options.message_limit = 20000;
  read_text(&c, buf_cstr(&b));
  options.message_limit = 0;
  assert_true(c.rejects_n == 1 && refused(&c, "", "longer than the limit"));
  assert_int_equal(count_code(&c, "LOINC//2160-0") + count_code(&c, "LOINC//718-7"), 2);
  catcher_close(&c);
  buf_release(&b);
}

#define VISIT(trigger, more) ADT(trigger) PID "PV1|1|I|||||||||||||||||V1|||||||||||||||||||||||||201903040100" more "\r"
TEST(a_cancelled_admission_is_none) {
  struct catcher c;
  read_text(&c, VISIT("A01", "") VISIT("A11", ""));
  assert_int_equal(count_code(&c, "ENCOUNTER//IMP"), 0);
  catcher_close(&c);
  read_text(&c, VISIT("A01", "") VISIT("A11", "") VISIT("A01", "")); /* and admitted after all */
  assert_int_equal(count_code(&c, "ENCOUNTER//IMP"), 1);
  catcher_close(&c);
  read_text(&c, VISIT("A01", "") VISIT("A03", "|201903050100") VISIT("A13", ""));
  assert_int_equal(count_code(&c, "ENCOUNTER//IMP"), 3);
  assert_int_equal(count_code(&c, "ENCOUNTER_END//IMP"), 0);
  catcher_close(&c);
  read_text(&c, VISIT("A01", "") VISIT("A03", "|201903050100") VISIT("A13", "") VISIT("A03", "|201903060100"));
  assert_int_equal(count_code(&c, "ENCOUNTER_END//IMP"), 1);
  catcher_close(&c);
}

#define RDE(control, number) \
  MSH "RDE^O11^RDE_O11|M" number "|P|2.5.1\r" PID "ORC|" control "|" number "^HIS\rRXE|^^^20190304|6809^Metformin^RXNORM|500||mg\r"
TEST(a_cancelled_order_is_none) {
  struct catcher c;
  read_text(&c, RDE("NW", "11"));
  assert_int_equal(count_code(&c, "RXNORM//6809"), 1);
  catcher_close(&c);
  read_text(&c, RDE("NW", "11") RDE("NW", "12") RDE("CA", "11"));
  assert_int_equal(count_code(&c, "RXNORM//6809"), 1); /* the other one */
  assert_int_equal(c.rejects_n, 0);
  catcher_close(&c);
  c = (struct catcher){0};
  take(&c, RDE("OC", "11"));
  assert_int_equal(count_code(&c, "RXNORM//6809"), 0);
  assert_string_equal(answer.code, "AA");
  catcher_close(&c);
  c = (struct catcher){0};
  take(&c, MSH "ORU^R01|M|P|2.5.1\r" PID
               "OBR|1|||24323-8^CMP^LN|||20190305||||||||||||||||||X\rOBX|1|NM|2160-0^Crea^LN||1.1|mg/dL|||||F\r"
               "OBR|2|||24323-8^CMP^LN|||20190305||||||||||||||||||F\rOBX|1|NM|718-7^Hb^LN||11|g/dL|||||F\r");
  assert_int_equal(count_code(&c, "LOINC//2160-0"), 0);
  assert_int_equal(count_code(&c, "LOINC//718-7"), 1);
  catcher_close(&c);
}

TEST(a_cancellation_of_an_earlier_run_is_named) {
  struct catcher c;
  read_text(&c, ADT("A11") PID "PV1|1|I|||||||||||||||||V1\r");
  assert_true(c.rejects_n == 1 && refused(&c, "PV1.19", "not in this run"));
  catcher_close(&c);
  read_text(&c, VISIT("A11", "")); /* with its time it can be found */
  assert_true(c.rejects_n == 0 && count_kind(&c, RECORD_TAKEN_BACK) == 1);
  catcher_close(&c);
  read_text(&c, VISIT("A01", "") VISIT("A11", ""));
  assert_int_equal(c.rejects_n, 0);
  catcher_close(&c);
  read_text(&c, RDE("CA", "11"));
  assert_true(c.rejects_n == 0 && count_kind(&c, RECORD_TAKEN_BACK) == 1);
  catcher_close(&c);
  read_text(&c, MSH "RDE^O11^RDE_O11|M|P|2.5.1\r" PID "ORC|CA|11^HIS\rRXE||6809^Metformin^RXNORM|500||mg\r");
  assert_true(c.rejects_n == 1 && refused(&c, "ORC.1", "not in this run"));
  catcher_close(&c);
}

TEST(a_run_from_memory) {
  struct catcher c = {0};
  const struct str m[] = {STR(VISIT("A01", "")), STR("no message"), STR(RDE("NW", "11")), STR(RDE("CA", "11")), STR(VISIT("A11", ""))};
  tables_ready();
  catcher_open(&c);
  assert_int_equal(hl7v2_take_all(&options, m, 5, "run", &c.sink, &c.stats, &c.error), OK);
  assert_int_equal(count_code(&c, "ENCOUNTER//IMP") + count_code(&c, "RXNORM//6809"), 0);
  assert_int_equal(c.rejects_n, 1);
  assert_int_equal(count_kind(&c, RECORD_BIRTH), 4);
  catcher_close(&c);
  c = (struct catcher){0};
  catcher_open(&c);
  assert_int_equal(hl7v2_take_all(&options, m, 3, "run", &c.sink, &c.stats, &c.error), OK);
  assert_int_equal(count_code(&c, "ENCOUNTER//IMP") + count_code(&c, "RXNORM//6809"), 2);
  catcher_close(&c);
}

TEST(fields_as_they_came) {
  struct str m = STR("MSH|^~\\&|A|F|B|G|2019||ADT^A01|ID7|P|2.5\rPID|1||7^^^H||X^\\T\\Y|\"\"\rPV1|1\r");
  assert_true(str_eqc(hl7v2_raw(m, "MSH", 2), "^~\\&") && str_eqc(hl7v2_raw(m, "MSH", 3), "A"));
  assert_true(str_eqc(hl7v2_raw(m, "MSH", 10), "ID7") && str_eqc(hl7v2_raw(m, "PID", 3), "7^^^H"));
  assert_true(str_eqc(hl7v2_raw(m, "PID", 5), "X^\\T\\Y") && !hl7v2_raw(m, "PID", 6).p && !hl7v2_raw(m, "PID", 60).p);
  assert_true(str_eqc(hl7v2_raw(m, "PV1", 1), "1") && !hl7v2_raw(m, "PV1", 19).p && !hl7v2_raw(m, "OBX", 1).p);
  assert_true(!hl7v2_raw(STR(""), "PID", 3).p && !hl7v2_raw(STR("PI"), "PID", 3).p);
}

static const struct record *taken_back(const struct catcher *c, const char *code, const char *time) {
  char at[32];
  for (size_t i = 0; i < c->n; i++) {
    const struct record *r = &c->records[i].r;
    time_format(r->time.us, at);
    if (r->kind == RECORD_TAKEN_BACK && str_eqc(r->code, code) && strcmp(at, time) == 0) return r;
  }
  return NULL;
}

TEST(what_a_message_takes_back_is_named) {
  static const char first[] = "2019-03-04T01:00:00";
  struct catcher c = {0};
  take(&c, VISIT("A11", ""));
  assert_non_null(taken_back(&c, "ENCOUNTER//IMP", first));
  assert_null(event_of(&c, "ENCOUNTER//IMP"));
  catcher_close(&c), c = (struct catcher){0};
  take(&c, VISIT("A13", "|201903050100"));
  assert_non_null(taken_back(&c, "ENCOUNTER_END//IMP", "2019-03-05T01:00:00"));
  assert_non_null(event_of(&c, "ENCOUNTER//IMP")); /* the stay goes on */
  catcher_close(&c), c = (struct catcher){0};
  take(&c, ADT("A11") PID "PV1|1|I|||||||||||||||||V1\r"); /* of a time that nobody says nothing can be taken back */
  assert_int_equal(count_kind(&c, RECORD_TAKEN_BACK), 0);
  catcher_close(&c), c = (struct catcher){0};
  take(&c, ORU
       "OBX|1|NM|2160-0^C^LN||1.2|mg/dL|||||D\rOBX|2|NM|718-7^H^LN||13|g/dL|||||F\rOBX|3|CWE|5778-6^U^LN||LA1^Y^L||||||W|||201903060000\r");
  const struct record *r = taken_back(&c, "LOINC//2160-0", "2019-03-05T07:08:00");
  assert_non_null(r);
  assert_true(r->value != r->value && r->unit.n == 0 && r->text.n == 0);
  assert_non_null(taken_back(&c, "LOINC//5778-6//LOCAL//LA1", "2019-03-06T00:00:00"));
  assert_int_equal(count_kind(&c, RECORD_TAKEN_BACK), 3);
  assert_true(count_code(&c, "LOINC//718-7") == 1 && count_code(&c, "LOINC//2160-0") == 0);
  catcher_close(&c), c = (struct catcher){0};
  take(&c, MSH "ORU^R01|MSG2|P|2.5.1\r" PID
               "ORC|OC\rOBR|1|||24323-8^CMP^LN|||201903050708\rOBX|1|NM|2160-0^C^LN||1.2|mg/dL|||||F\r"
               "ORC|RE\rOBR|2|||24323-8^CMP^LN|||201903050709||||||||||||||||||X\rOBX|1|NM|2160-0^C^LN||1.2|mg/dL|||||F\r"
               "OBR|3|||24323-8^CMP^LN|||201903050710\rOBX|1|NM|2160-0^C^LN||1.2|mg/dL|||||F\r");
  assert_non_null(taken_back(&c, "LOINC//2160-0", "2019-03-05T07:08:00"));
  assert_non_null(taken_back(&c, "LOINC//2160-0", "2019-03-05T07:09:00"));
  assert_int_equal(count_code(&c, "LOINC//2160-0"), 1);
  catcher_close(&c), c = (struct catcher){0};
  take(&c, ADT("A08") PID "DG1|1||I50.9^HF^I10C||20190302|W|||||||||||||||D\rDG1|2||I10^^I10C|||W|||||||||||||||D\r");
  assert_non_null(taken_back(&c, "ICD10CM//I50.9", "2019-03-02T00:00:00"));
  assert_true(count_kind(&c, RECORD_TAKEN_BACK) == 1 && c.rejects_n == 0); /* the other one has no time: counted */
  catcher_close(&c), c = (struct catcher){0};
  take(&c, MSH "VXU^V04|M|P|2.5.1\r" PID "ORC|RE\rRXA|0|1|20190304||141^flu^CVX|0.5|mL||||||||||||||D\r");
  assert_non_null(taken_back(&c, "CVX//141", "2019-03-04T00:00:00"));
  catcher_close(&c);
}

TEST(the_pass_before_knows_persons_only) {
  struct catcher c;
  options.identities = true;
  read_text(&c, VISIT("A01", "") ONE ADT("A40") PID "MRG|9^^^HOSP^MR\r");
  options.identities = false;
  assert_int_equal(count_kind(&c, RECORD_EVENT) + count_kind(&c, RECORD_DROPPED), 0);
  assert_int_equal(count_kind(&c, RECORD_BIRTH), 3);
  assert_int_equal(count_kind(&c, RECORD_SAME), 1);
  catcher_close(&c);
}

/* ---- frames ---- */

TEST(frames_come_in_any_pieces) {
  static const char bytes[] =
      "noise\v"
      "one\x1c\r\v"
      "two\x1c\r\v"
      "thr";
  struct str message;
  size_t used;
  for (size_t n = 0; n <= 9; n++) assert_int_equal(hl7v2_frame_next((struct str){bytes, n}, &message, &used), HL7V2_FRAME_MORE);
  struct str rest = {bytes, sizeof bytes - 1};
  assert_int_equal(hl7v2_frame_next(rest, &message, &used), HL7V2_FRAME_WHOLE);
  assert_true(str_eqc(message, "one"));
  rest = (struct str){rest.p + used, rest.n - used};
  assert_int_equal(hl7v2_frame_next(rest, &message, &used), HL7V2_FRAME_WHOLE);
  assert_true(str_eqc(message, "two"));
  rest = (struct str){rest.p + used, rest.n - used};
  assert_int_equal(hl7v2_frame_next(rest, &message, &used), HL7V2_FRAME_MORE);
  assert_int_equal(used, 0);
  assert_int_equal(hl7v2_frame_next(STR("\vone\vtwo\x1c\r"), &message, &used), HL7V2_FRAME_WRONG);
  assert_int_equal(used, 4);
  struct buf out = {0};
  hl7v2_frame_put(&out, STR("MSH"));
  assert_true(out.n == 6 && memcmp(out.p, "\vMSH\x1c\r", 6) == 0);
  buf_release(&out);
}

TEST(a_table_that_is_wrong_is_named) {
  static const char *const bad[] = {"[]", "{}", "{\"processing\": [\"P\"], \"person\": [], \"messages\": {}}", "{\"systems\": {\"LN\": 7}}",
                                    "{\"nothing\": 1}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct hl7v2_tables *t;
    struct error e = {0};
    assert_true(hl7v2_tables_load(temp_text("t.json", bad[i]), &t, &e) < 0);
    assert_null(t);
    assert_true(e.file[0] && e.message[0]);
  }
}

TEST(no_allocation_that_fails_breaks_it) {
  struct catcher c = {0};
  static const char text[] = VISIT("A01", "") "OBX|1|TX|18748-4^R^LN||Eve\\.br\\Everywoman||||||F\r";
  take(&c, text);
  for (long n = 1; n < 200; n++) {
    struct arena a;
    struct error e = {0};
    arena_init(&a, 1 << 20, ARENA_WIPE);
    arena_fail_at(n);
    struct hl7v2_answer got;
    struct record_sink quiet = {.ctx = &c, .record = c.sink.record};
    int rc = hl7v2_take(&options, &a, STR(text), 0, 1, "test", &quiet, &c.stats, &got, &e);
    bool past = arena_fail_pending();
    arena_fail_at(0);
    arena_free(&a);
    assert_true(rc == OK || rc == E_NOMEM);
    if (past) break;
  }
  catcher_close(&c);
}

static int end(void **state UNUSED) {
  if (tables) arena_free(&arena);
  hl7v2_tables_free(tables);
  return temp_remove(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_admission),
                                     cmocka_unit_test(who_issued_a_number),
                                     cmocka_unit_test(results),
                                     cmocka_unit_test(reports_are_whole),
                                     cmocka_unit_test(medication_and_vaccines),
                                     cmocka_unit_test(a_merge_says_who_is_one),
                                     cmocka_unit_test(discharge_and_planned_visits),
                                     cmocka_unit_test(words_are_no_codes),
                                     cmocka_unit_test(other_separators_and_character_sets),
                                     cmocka_unit_test(what_is_not_taken_is_answered_so),
                                     cmocka_unit_test(a_bad_part_is_refused_alone_and_said_as_a_warning),
                                     cmocka_unit_test(files_of_every_wrapping),
                                     cmocka_unit_test(blocks_that_are_cut_off_are_no_messages),
                                     cmocka_unit_test(files_that_are_wrong),
                                     cmocka_unit_test(an_overlong_message_costs_itself),
                                     cmocka_unit_test(a_cancelled_admission_is_none),
                                     cmocka_unit_test(a_cancelled_order_is_none),
                                     cmocka_unit_test(a_cancellation_of_an_earlier_run_is_named),
                                     cmocka_unit_test(a_run_from_memory),
                                     cmocka_unit_test(fields_as_they_came),
                                     cmocka_unit_test(what_a_message_takes_back_is_named),
                                     cmocka_unit_test(the_pass_before_knows_persons_only),
                                     cmocka_unit_test(frames_come_in_any_pieces),
                                     cmocka_unit_test(a_table_that_is_wrong_is_named),
                                     cmocka_unit_test(no_allocation_that_fails_breaks_it)};
  return cmocka_run_group_tests(tests, temp_make, end);
}
