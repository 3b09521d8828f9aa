/* A request's own event list. */
#include "fhir_helpers.h"

static int parse_events(struct catcher *c, const char *json) {
  size_t n = strlen(json);
  char *padded = calloc(1, n + STREAM_PAD);
  assert_non_null(padded);
  memcpy(padded, json, n);
  catcher_open(c);
  int rc = events_parse(c->jp, padded, n, n + STREAM_PAD, &c->sink, &c->stats, &c->error);
  free(padded);
  return rc;
}

TEST(list_of_events) {
  struct catcher c;
  assert_int_equal(parse_events(&c,
                                "{\"subject\":\"p1\",\"birth\":\"1950-02-01\",\"events\":["
                                "{\"time\":\"2020-01-01T08:00:00\",\"code\":\"LOINC//2160-0\",\"value\":1.1,\"unit\":\"mg/dL\"},"
                                "{\"code\":\"GENDER//female\",\"value\":null},{\"time\":\"2021-01-01\",\"code\":\"MEDS_DEATH\"},"
                                "{\"time\":\"2020-02-01\",\"code\":\"NOTE\",\"text\":\"fine\",\"mood\":1}],\"extra\":1}"),
                   OK);
  assert_int_equal(c.rejects_n, 0);
  assert_int_equal(count_kind(&c, RECORD_BIRTH), 1);
  assert_int_equal(count_kind(&c, RECORD_DEATH), 1);
  assert_int_equal(count_kind(&c, RECORD_EVENT), 3);
  const struct record *r = event_want(&c, "LOINC//2160-0", "2020-01-01T08:00:00");
  assert_true(r->value == 1.1 && str_eqc(r->unit, "mg/dL") && str_eqc(r->person, "p1") && r->row == 1);
  assert_true(isnan(event_want(&c, "GENDER//female", "static")->value));
  assert_true(str_eqc(event_of(&c, "NOTE")->text, "fine"));
  assert_int_equal(dropped(&c, "events.?"), 1);
  assert_int_equal(dropped(&c, "request.?"), 1);
  catcher_close(&c);
}

TEST(numeric_subject) {
  struct catcher c;
  assert_int_equal(parse_events(&c, "{\"subject\":-42,\"events\":[{\"code\":\"A\"}]}"), OK);
  assert_true(str_eqc(c.records[0].r.person, "-42"));
  catcher_close(&c);
}

TEST(bad_events_are_alone) {
  static const char *const bad[] = {"5",
                                    "{}",
                                    "{\"code\":5}",
                                    "{\"code\":\"John Smith\"}",
                                    "{\"code\":\"A\",\"time\":\"SECRET\"}",
                                    "{\"code\":\"A\",\"time\":5}",
                                    "{\"code\":\"A\",\"value\":\"SECRET\"}",
                                    "{\"code\":\"A\",\"value\":1e39}",
                                    "{\"code\":\"A\",\"unit\":\"of SECRET\"}",
                                    "{\"code\":\"A\",\"text\":[]}",
                                    "{\"code\":\"MEDS_BIRTH\"}",
                                    "{\"code\":\"A\",\"display\":1}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char json[300];
    struct catcher c;
    snprintf(json, sizeof json, "{\"subject\":\"p\",\"events\":[{\"code\":\"B\"},%s,{\"code\":\"C\"}]}", bad[i]);
    assert_int_equal(parse_events(&c, json), OK);
    assert_int_equal(c.rejects_n, 1);
    assert_int_equal(c.rejects[0].reject.row, 2);
    assert_null(strstr(c.rejects[0].reject.reason, "SECRET"));
    assert_int_equal(count_kind(&c, RECORD_EVENT), 2);
    catcher_close(&c);
  }
}

TEST(bad_requests_are_errors) {
  static const char *const bad[] = {"",
                                    "[",
                                    "[]",
                                    "{}",
                                    "{\"subject\":\"\",\"events\":[]}",
                                    "{\"subject\":1.5,\"events\":[]}",
                                    "{\"subject\":\"a\"}",
                                    "{\"subject\":\"a\",\"events\":{}}",
                                    "{\"events\":[]}",
                                    "{\"subject\":\"SECRET"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct catcher c;
    assert_int_equal(parse_events(&c, bad[i]), E_INPUT);
    assert_int_equal(c.n, 0);
    assert_null(strstr(c.error.message, "SECRET"));
    catcher_close(&c);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(list_of_events),
      cmocka_unit_test(numeric_subject),
      cmocka_unit_test(bad_events_are_alone),
      cmocka_unit_test(bad_requests_are_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
