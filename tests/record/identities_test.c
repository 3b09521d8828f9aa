/* The pass for identities: of FHIR the Patients and relatives, of CSV the births and identifiers, each with the name space of its number. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "record/record.h"

static char dir[64];
static int setup(void **state UNUSED) {
  strcpy(dir, "/tmp/identities-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}
static int teardown(void **state UNUSED) { return file_remove_tree(dir, NULL); }

static const char *spit(const char *name, const char *text) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), OK);
  return path;
}

struct seen {
  char text[4096];
  int events, rejects;
};
static int take(void *ctx, const struct record *r, struct error *e UNUSED) {
  struct seen *s = ctx;
  size_t n = strlen(s->text);
  if (r->kind == RECORD_EVENT) s->events++;
  if (r->kind == RECORD_IDENTIFIER || r->kind == RECORD_BIRTH)
    snprintf(s->text + n, sizeof s->text - n, "%.*s/%s/%.*s/%.*s;", STR_ARG(r->person), r->kind == RECORD_BIRTH ? "birth" : "id",
             (int)r->ns.n, r->ns.n ? r->ns.p : "", (int)r->text.n, r->text.n ? r->text.p : "");
  return OK;
}
static void reject(void *ctx, const struct record_reject *r UNUSED) { ((struct seen *)ctx)->rejects++; }

static struct seen fhir(const char *path, bool identities) {
  struct seen s = {0};
  struct record_sink sink = {&s, take, reject, NULL, NULL};
  struct record_stats stats = {0};
  struct error e = {0};
  if (fhir_read(&(struct fhir_options){.identities = identities}, path, &sink, &stats, &e) < 0) {
    error_print(stderr, &e);
    fail();
  }
  return s;
}

#define OBSERVATION                                                                                                                \
  "{\"resourceType\":\"Observation\",\"status\":\"final\",\"subject\":{\"reference\":\"Patient/p1\",\"display\":\"Ada Patient\"}," \
  "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"2160-0\"}]},\"effectiveDateTime\":\"2020-01-01\"}"
#define PATIENT                                                                                                                           \
  "{\"gender\":\"female\",\"resourceType\" : \"Patient\",\"id\":\"p1\",\"birthDate\":\"1950-01-02\",\"name\":[{\"family\":\"Quetzal\"}]," \
  "\"identifier\":[{\"system\":\"urn:mrn\",\"value\":\"70001\"},{\"value\":\"no-system\"}]}"
#define RELATED                                                                             \
  "{\"resourceType\":\"RelatedPerson\",\"id\":\"r1\",\"patient\":{\"reference\":\"Patient/" \
  "p1\"},\"identifier\":[{\"system\":\"urn:mrn\",\"value\":"                                \
  "\"80001\"}],\"name\":[{\"family\":\"Mother\"}],\"telecom\":[{\"system\":\"phone\",\"value\":\"555-0199\"}]}"

static void lines_of_others_are_passed_over(void **state UNUSED) {
  const char *path = spit("a.ndjson", OBSERVATION "\n{\"resourceType\":\"Condition\",broken\n" PATIENT "\n" RELATED "\n" OBSERVATION "\n");
  struct seen s = fhir(path, true), all = fhir(path, false);
  assert_int_equal(s.rejects, 0); /* the broken line is the other pass's to reject */
  assert_int_equal(all.rejects, 1);
  assert_int_equal(all.events, 3);
  assert_non_null(strstr(s.text, "p1/birth//;"));
  assert_non_null(strstr(s.text, "p1/id/urn:mrn/70001;"));
  assert_non_null(strstr(s.text, "p1/id//no-system;"));
  assert_non_null(strstr(s.text, "p1/id//Quetzal;"));
  assert_non_null(strstr(s.text, "p1/id//80001;")); /* the mother's number: known, but in no name space that could link */
  assert_non_null(strstr(s.text, "p1/id//Mother;"));
  assert_non_null(strstr(s.text, "p1/id//555-0199;"));
  assert_null(strstr(s.text, "Ada Patient"));
  assert_non_null(strstr(all.text, "Ada Patient"));
}

static void bundles_are_looked_into(void **state UNUSED) {
  struct seen s = fhir(spit("b.json", "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[\n {\"resource\":" OBSERVATION
                                      "},\n{\"resource\":" PATIENT "}]}"),
                       true);
  assert_int_equal(s.events, 1); /* the Patient's own static facts: whoever learns looks at births and identifiers only */
  assert_non_null(strstr(s.text, "p1/id/urn:mrn/70001;"));
  s = fhir(spit("c.json", "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[\n {\"resource\":" OBSERVATION "}]}"), true);
  assert_int_equal(s.events, 0);
  assert_int_equal(strlen(s.text), 0);
}

static void tables_give_births_and_identifiers(void **state UNUSED) {
  static const char mapping[] =
      "{\"name\":\"x\",\"tables\":[{\"table\":\"t\",\"path\":\"t.csv\",\"subject\":\"{id}\",\"time\":\"{at}\",\"events\":["
      "{\"kind\":\"birth\",\"time\":\"{born}\"},{\"kind\":\"identifier\",\"identifier\":\"mrn\",\"text\":\"{mrn}\",\"ns\":\"urn:mrn\"},"
      "{\"kind\":\"identifier\",\"identifier\":\"other\",\"text\":\"{no}\",\"ns\":\"urn:{issuer}\"},{\"code\":\"GENDER//F\"}]}]}";
  struct table_mapping *m;
  struct seen s = {0};
  struct record_sink sink = {&s, take, reject, NULL, NULL};
  struct record_stats stats = {0};
  struct error e = {0};
  spit("t.csv", "id,at,born,mrn,no,issuer\n7,2020-01-01,1950-01-02,70001,55,lab\n8,2020-01-01,,70002,,\n");
  assert_int_equal(table_mapping_load(spit("m.json", mapping), &m, &e), OK);
  assert_true(table_mapping_identifies(m));
  assert_int_equal(table_read_identities(m, dir, &sink, &stats, &e), OK);
  assert_int_equal(s.events, 0);
  assert_string_equal(s.text, "7/birth//;7/id/urn:mrn/70001;7/id/urn:lab/55;8/id/urn:mrn/70002;");
  table_mapping_free(m);
  static const char wrong[] =
      "{\"name\":\"x\",\"tables\":[{\"table\":\"t\",\"path\":\"t.csv\",\"subject\":\"{id}\",\"time\":\"{at}\",\"events\":["
      "{\"code\":\"GENDER//F\",\"ns\":\"urn:mrn\"}]}]}";
  assert_true(table_mapping_load(spit("w.json", wrong), &m, &e) < 0); /* only an identifier has a name space */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_of_others_are_passed_over),
      cmocka_unit_test(bundles_are_looked_into),
      cmocka_unit_test(tables_give_births_and_identifiers),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
