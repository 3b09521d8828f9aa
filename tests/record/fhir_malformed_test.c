/* Broken input: what is rejected, how far the damage reaches, and that no value ever leaves in a reject or an error. */
#include "fhir_helpers.h"

#define CODE "{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"1-8\"}]}"
#define GOOD(id)                                                                                                         \
  "{\"resourceType\":\"Observation\",\"status\":\"final\",\"subject\":{\"reference\":\"Patient/" id "\"},\"code\":" CODE \
  ",\"effectiveDateTime\":\"2020-01-01\",\"valueQuantity\":{\"value\":1}}"
#define PARTS(subject, code, time, value)                                                                                        \
  "{\"resourceType\":\"Observation\",\"status\":\"final\",\"subject\":" subject ",\"code\":" code ",\"effectiveDateTime\":" time \
  ",\"valueQuantity\":" value "}"
#define P "{\"reference\":\"Patient/a\"}"

TEST(wrong_types) {
  static const struct {
    const char *json, *field;
  } cases[] = {
      {"[]", ""},
      {"7", ""},
      {"{\"a\":1}", "resourceType"},
      {"{\"resourceType\":5}", "resourceType"},
      {"{\"resourceType\":\"Bundle\",\"entry\":{}}", "Bundle.entry"},
      {PARTS("5", CODE, "\"2020\"", "{}"), "Observation.subject"},
      {PARTS("{}", CODE, "\"2020\"", "{}"), "Observation.subject"},
      {PARTS("{\"reference\":5}", CODE, "\"2020\"", "{}"), "Observation.subject"},
      {PARTS("{\"reference\":\"Patient?identifier=1\"}", CODE, "\"2020\"", "{}"), "Observation.subject"},
      {PARTS("{\"reference\":\"Patient/John Smith\"}", CODE, "\"2020\"", "{}"), "Observation.subject"},
      {PARTS(P, "5", "\"2020\"", "{}"), "Observation.code"},
      {PARTS(P, "{}", "\"2020\"", "{}"), "Observation.code"},
      {PARTS(P, "{\"coding\":{}}", "\"2020\"", "{}"), "Observation.code"},
      {PARTS(P, "{\"coding\":[5]}", "\"2020\"", "{}"), "Observation.code"},
      {PARTS(P, "{\"coding\":[{\"code\":5}]}", "\"2020\"", "{}"), "Observation.code"},
      {PARTS(P, "{\"coding\":[{\"system\":[],\"code\":\"1\"}]}", "\"2020\"", "{}"), "Observation.code"},
      {PARTS(P, CODE, "\"2020-13-01\"", "{}"), "Observation.effectiveDateTime"},
      {PARTS(P, CODE, "\"yesterday\"", "{}"), "Observation.effectiveDateTime"},
      {PARTS(P, CODE, "2020", "{}"), "Observation.effectiveDateTime"},
      {PARTS(P, CODE, "\"2020\"", "5"), "Observation.valueQuantity"},
      {PARTS(P, CODE, "\"2020\"", "{\"value\":\"1.5\"}"), "Observation.valueQuantity"},
      {"{\"resourceType\":\"Observation\",\"status\":7,\"subject\":" P "}", "Observation.status"},
      {"{\"resourceType\":\"Observation\",\"subject\":" P ",\"effectiveDateTime\":\"2020\"}", "Observation.code"},
      {"{\"resourceType\":\"Observation\",\"subject\":" P ",\"code\":" CODE "}", "Observation.effective"},
      {"{\"resourceType\":\"Observation\",\"code\":" CODE "}", "Observation.subject"},
      {"{\"resourceType\":\"Observation\",\"subject\":" P ",\"code\":" CODE ",\"effectivePeriod\":{\"start\":5}}",
       "Observation.effectivePeriod"},
      {"{\"resourceType\":\"Observation\",\"subject\":" P ",\"code\":" CODE ",\"effectiveDateTime\":\"2020\",\"valueBoolean\":\"yes\"}",
       "Observation.valueBoolean"},
      {"{\"resourceType\":\"Observation\",\"subject\":" P ",\"code\":" CODE ",\"effectiveDateTime\":\"2020\",\"valueInteger\":1.5}",
       "Observation.valueInteger"},
      {"{\"resourceType\":\"Observation\",\"subject\":" P ",\"code\":" CODE ",\"effectiveDateTime\":\"2020\",\"valueString\":1}",
       "Observation.valueString"},
      {"{\"resourceType\":\"Observation\",\"subject\":" P ",\"code\":" CODE ",\"effectiveDateTime\":\"2020\",\"component\":{}}",
       "Observation.component"},
      {"{\"resourceType\":\"Observation\",\"subject\":" P ",\"code\":" CODE ",\"effectiveDateTime\":\"2020\",\"component\":[{}]}",
       "Observation.component.code"},
      {"{\"resourceType\":\"Patient\"}", "Patient.id"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"birthDate\":\"1950-02-30\"}", "Patient.birthDate"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"deceasedBoolean\":1}", "Patient.deceasedBoolean"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\":\"F\"}", "Patient.gender"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"name\":\"John\"}", "Patient.name"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"name\":[{\"family\":5}]}", "Patient.name"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"telecom\":[5]}", "Patient.telecom"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"address\":[5]}", "Patient.address"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"address\":[{\"postalCode\":1940}]}", "Patient.address.postalCode"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"identifier\":[{\"value\":5}]}", "Patient.identifier"},
      {"{\"resourceType\":\"Patient\",\"id\":\"a\",\"maritalStatus\":{}}", "Patient.maritalStatus"},
      {"{\"resourceType\":\"Encounter\",\"subject\":" P ",\"class\":[]}", "Encounter.class"},
      {"{\"resourceType\":\"Encounter\",\"subject\":" P ",\"class\":{\"code\":\"AMB\"}}", "Encounter.period"},
      {"{\"resourceType\":\"Encounter\",\"subject\":" P ",\"class\":{\"code\":\"AMB\"},\"period\":{}}", "Encounter.period.start"},
      {"{\"resourceType\":\"Encounter\",\"subject\":" P ",\"class\":{\"code\":\"AMB\"},\"period\":{\"start\":\"2020\",\"end\":\"x\"}}",
       "Encounter.period.end"},
      {"{\"resourceType\":\"Condition\",\"subject\":" P ",\"code\":" CODE ",\"onsetDateTime\":\"2020\",\"abatementDateTime\":\"soon\"}",
       "Condition.abatementDateTime"},
      {"{\"resourceType\":\"DocumentReference\",\"subject\":" P ",\"type\":" CODE
       ",\"date\":\"2020\",\"content\":[{\"attachment\":{\"contentType\":\"text/plain\",\"data\":\"a\"}}]}",
       "DocumentReference.content.attachment"},
      {"{\"resourceType\":\"DocumentReference\",\"subject\":" P ",\"type\":" CODE
       ",\"date\":\"2020\",\"content\":[{\"attachment\":{\"contentType\":\"text/plain\",\"data\":\"/w==\"}}]}",
       "DocumentReference.content.attachment"},
      {"{\"resourceType\":\"DocumentReference\",\"subject\":" P ",\"type\":" CODE "}", "DocumentReference.date"},
      {"{\"resourceType\":\"ImagingStudy\",\"subject\":" P ",\"started\":\"2020\"}", "ImagingStudy.modality"},
      {"{\"resourceType\":\"MedicationAdministration\",\"subject\":" P ",\"effectiveDateTime\":\"2020\",\"medicationCodeableConcept\":" CODE
       ",\"dosage\":{\"dose\":5}}",
       "MedicationAdministration.dosage.dose"},
      {"{\"resourceType\":\"Medication\"}", "Medication.code"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse_json(cases[i].json, cases[i].field);
}

/* ---- bytes that are no JSON ---- */

static void expect_unparsable(const char *bytes, size_t n) {
  struct catcher c;
  catcher_open(&c);
  int rc = parse_text_n(&c, bytes, n);
  assert_true(rc == E_INPUT);
  assert_int_equal(c.rejects_n, 1);
  assert_int_equal(c.n, 0);
  catcher_close(&c);
}

TEST(not_json) {
  static const char good[] = GOOD("a");
  for (size_t n = 0; n < sizeof good - 1; n += 7) expect_unparsable(good, n);
  static const char bad_utf8[] = "{\"resourceType\":\"Patient\",\"id\":\"\xC3\x28\"}";
  expect_unparsable(bad_utf8, sizeof bad_utf8 - 1);
  static const char huge[] = PARTS(P, CODE, "\"2020\"", "{\"value\":1e999}");
  expect_unparsable(huge, sizeof huge - 1);
  static const char utf16[] = "\xFF\xFE{\0\"\0a\0\"\0:\0\x31\0}\0";
  expect_unparsable(utf16, sizeof utf16 - 1);
  static const char two[] = "{\"resourceType\":\"Patient\",\"id\":\"a\"} {}";
  expect_unparsable(two, sizeof two - 1);
}

TEST(deep_nesting) {
  size_t depth = 100000;
  char *text = malloc(2 * depth + 1);
  assert_non_null(text);
  memset(text, '[', depth);
  memset(text + depth, ']', depth);
  expect_unparsable(text, 2 * depth);
  free(text);
}

TEST(duplicate_keys_first_wins) {
  struct catcher c;
  accept_json(&c,
              "{\"resourceType\":\"Observation\",\"subject\":" P ",\"subject\":{\"reference\":\"Patient/b\"},\"code\":" CODE
              ",\"effectiveDateTime\":\"2020\",\"effectiveDateTime\":\"1999\"}",
              1);
  assert_true(str_eqc(event_want(&c, "LOINC//1-8", "2020-01-01T00:00:00")->person, "a"));
  assert_int_equal(dropped(&c, "Observation.?"), 2);
  catcher_close(&c);
}

TEST(huge_integers_are_numbers) {
  struct catcher c;
  accept_json(&c, PARTS(P, CODE, "\"2020\"", "{\"value\":18446744073709551615}"), 1);
  assert_true(c.records[0].r.value > 1.8e19);
  catcher_close(&c);
}

TEST(numbers_that_no_float_holds_are_bad) {
  static const char *const values[] = {"3.5e38", "-1e39", "1.7e308"};
  struct catcher c;
  for (size_t i = 0; i < 3; i++) {
    char json[512];
    snprintf(json, sizeof json, PARTS(P, CODE, "\"2020\"", "{\"value\":%s}"), values[i]);
    catcher_open(&c);
    assert_int_equal(parse_text(&c, json), OK);
    assert_true(c.n == 0 && c.rejects_n == 1 && strcmp(c.rejects[0].reject.reason, "bad number") == 0);
    catcher_close(&c);
  }
  accept_json(&c, PARTS(P, CODE, "\"2020\"", "{\"value\":-3.4e38}"), 1);
  assert_true(c.records[0].r.value == -3.4e38);
  catcher_close(&c);
  accept_json(&c, PARTS(P, CODE, "\"2020\"", "{\"value\":1e-60}"), 1);
  catcher_close(&c);
}

TEST(names_with_nul_match_nothing) {
  struct catcher c;
  accept_json(&c, "{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\\u0000x\":\"male\",\"\":1}", 0);
  assert_int_equal(dropped(&c, "Patient.?"), 2);
  catcher_close(&c);
}

/* ---- nothing of the input is in what the reader says about it ---- */

static void expect_no_value(const struct catcher *c, const char *secret) {
  for (size_t i = 0; i < c->rejects_n; i++) {
    assert_null(strstr(c->rejects[i].reject.field, secret));
    assert_null(strstr(c->rejects[i].reject.reason, secret));
    assert_null(strstr(c->rejects[i].reject.file, secret));
  }
  assert_null(strstr(c->error.message, secret));
  assert_null(strstr(c->error.field, secret));
  for (size_t i = 0; i < c->n; i++) {
    const struct record *r = &c->records[i].r;
    assert_null(strstr(r->path, secret));
    if (r->code.p) assert_null(strstr(r->code.p, secret));
    if (r->kind == RECORD_DROPPED) assert_true(!r->text.p && !r->code.p && !r->display.p);
  }
}

TEST(no_value_in_rejects) {
  static const char *const texts[] = {
      "{\"resourceType\":\"SECRET\"}",
      "{\"SECRET\":1}",
      "{\"resourceType\":\"SECRET",
      "{\"resourceType\":\"Patient\",\"id\":\"a\",\"SECRET\":1,\"gender\":\"SECRET\",\"birthDate\":\"SECRET\",\"_SECRET\":{}}",
      "{\"resourceType\":\"Patient\",\"id\":\"a\",\"extension\":[{\"url\":\"SECRET\",\"valueString\":\"SECRET\"}],\"name\":[{\"SECRET\":1}]"
      "}",
      PARTS("{\"reference\":\"SECRET\"}", CODE, "\"2020\"", "{}"),
      PARTS(P, "{\"text\":\"SECRET\"}", "\"2020\"", "{}"),
      PARTS(P, "{\"coding\":[{\"code\":\"SECRET name\"}]}", "\"2020\"", "{}"),
      PARTS(P, "{\"coding\":[{\"system\":\"http://SECRET\",\"code\":\"1\"}]}", "\"SECRET\"", "{}"),
      PARTS(P, "{\"coding\":[{\"system\":\"http://SECRET\",\"code\":\"1\"}]}", "\"2020\"",
            "{\"SECRET\":1,\"value\":1,\"unit\":\"of SECRET\"}"),
      "{\"resourceType\":\"Observation\",\"status\":[\"SECRET\"]}",
      "{\"resourceType\":\"MedicationRequest\",\"subject\":" P ",\"medicationReference\":{\"reference\":\"Medication/SECRET\"}}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct catcher c;
    catcher_open(&c);
    int rc = parse_text(&c, texts[i]);
    assert_true(rc == OK || rc == E_INPUT);
    assert_true(c.n + c.rejects_n > 0);
    expect_no_value(&c, "SECRET");
    catcher_close(&c);
  }
}

/* ---- every allocation may fail ---- */

static const char everything[] =
    "{\"resourceType\":\"Bundle\",\"entry\":[{\"fullUrl\":\"urn:uuid:u\",\"resource\":{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":["
    "{\"family\":\"F\"}]}},"
    "{\"fullUrl\":\"urn:uuid:m\",\"resource\":{\"resourceType\":\"Medication\",\"code\":" CODE
    "}},"
    "{\"resource\":{\"resourceType\":\"MedicationRequest\",\"subject\":{\"reference\":\"urn:uuid:u\"},\"authoredOn\":\"2020\","
    "\"medicationReference\":{\"reference\":\"urn:uuid:m\"}}},"
    "{\"resource\":{\"resourceType\":\"Observation\",\"subject\":" P ",\"effectiveDateTime\":\"2020\",\"code\":" CODE
    ",\"valueCodeableConcept\":"
    "{\"coding\":[{\"code\":\"2\",\"display\":\"two\"}]}}},"
    "{\"resource\":{\"resourceType\":\"DocumentReference\",\"subject\":" P ",\"type\":" CODE
    ",\"date\":\"2020\",\"content\":[{\"attachment\":{\"contentType\":\"text/plain\",\"data\":\"YWJj\"}}]}}]}";

TEST(allocation_failure_in_parse) {
  bool finished = false;
  for (long n = 1; n < 500 && !finished; n++) {
    struct catcher c;
    catcher_open(&c);
    arena_fail_at(n);
    int rc = parse_text(&c, everything);
    arena_fail_at(0);
    assert_true(rc == OK || rc == E_NOMEM);
    finished = rc == OK && count_kind(&c, RECORD_EVENT) == 3;
    catcher_close(&c);
    if (n == 1) assert_false(finished);
  }
  assert_true(finished);
}

TEST(allocation_failure_in_read) {
  temp_text("a.ndjson", GOOD("a") "\n" GOOD("b") "\n");
  temp_text("b.json", "{\n\"resourceType\":\"Observation\"\n}\n");
  bool finished = false;
  for (long n = 1; n < 500 && !finished; n++) {
    struct catcher c;
    catcher_open(&c);
    arena_fail_at(n);
    int rc = fhir_read(NULL, temp_dir, &c.sink, &c.stats, &c.error);
    arena_fail_at(0);
    if (rc != OK && rc != E_NOMEM) fail_msg("allocation %ld: %d %s", n, rc, c.error.message);
    finished = rc == OK && count_kind(&c, RECORD_EVENT) == 2;
    catcher_close(&c);
  }
  assert_true(finished);
}

TEST(sink_can_stop) {
  for (long at = 1; at <= 3; at++) {
    struct catcher c;
    catcher_open(&c);
    c.stop_after = at;
    assert_int_equal(parse_text(&c, everything), E_CANCELLED);
    assert_int_equal(c.n, at - 1);
    catcher_close(&c);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(wrong_types),
      cmocka_unit_test(not_json),
      cmocka_unit_test(deep_nesting),
      cmocka_unit_test(duplicate_keys_first_wins),
      cmocka_unit_test(huge_integers_are_numbers),
      cmocka_unit_test(numbers_that_no_float_holds_are_bad),
      cmocka_unit_test(names_with_nul_match_nothing),
      cmocka_unit_test(no_value_in_rejects),
      cmocka_unit_test(allocation_failure_in_parse),
      cmocka_unit_test_setup_teardown(allocation_failure_in_read, temp_make, temp_remove),
      cmocka_unit_test(sink_can_stop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
