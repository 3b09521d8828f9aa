/* FHIR R4 out, from outside: what $predict answers, searches, audit events, failures, and what never comes back. That the resources are
 * valid is for an independent validator to say: fhir.sh. */
#include "serve_helper.h"

static struct site_fixture site;
static struct running server;
static char key[ROLES][64], subject[32];
static struct json_parser *jp;

static int setup(void **state) {
  (void)state;
  struct site_fixture *fx = &site;
  site_fixture_open(&site, 12);
  make_keys(&site, key);
  living_subject(&site, subject);
  server_start(&server, &site, (struct serve_options){.body_limit = 256 << 10});
  SITE_MUST(json_parser_new(&jp, &fx->e));
  return 0;
}
static int teardown(void **state) {
  (void)state;
  int status = server_stop(&server);
  json_parser_free(jp);
  site_fixture_close(&site);
  return status;
}

static struct json parsed(struct reply *r) {
  struct json root;
  struct error e = {0};
  size_t n = strlen(r->body);
  assert_non_null(strstr(r->all.p, "application/fhir+json"));
  if (json_parse(jp, r->body, n, n, &root, &e) < 0) fail_msg("%s: %s", e.message, r->body);
  return root;
}
static struct json nth(struct json bundle, const char *type, int skip) {
  struct json entry;
  for (struct json_iter it = json_items(json_get(bundle, "entry")); json_next(&it, &entry);) {
    struct json r = json_get(entry, "resource");
    if (str_eqc(json_str(json_get(r, "resourceType")), type) && skip-- == 0) return r;
  }
  fail_msg("no %s", type);
  return bundle;
}
static struct str path(struct json j, const char *names) { /* "a.0.b" */
  struct str rest = str_c(names), name;
  char text[64];
  int64_t i;
  while ((name = str_cut(&rest, '.')).n) {
    snprintf(text, sizeof text, "%.*s", STR_ARG(name));
    j = str_to_i64(name, &i) == OK ? json_at(j, (size_t)i) : json_get(j, text);
  }
  return json_str(j);
}
#define SAYS(j, names, want) assert_true(str_eqc(path(j, names), want))

static struct reply predict(const char *query, const char *body) {
  char target[160];
  snprintf(target, sizeof target, "/fhir/$predict%s", query);
  return ask(&server, "POST", target, key[ROLE_CLINICIAN], body);
}

static void a_patients_risks(void **state) {
  (void)state;
  struct buf b = {0};
  site_bundle(7, &b);
  struct reply a = predict("?task=death-1y&explain=3&outcomes=2", buf_cstr(&b));
  if (a.status != 200) fail_msg("%d %s", a.status, a.body);
  struct json bundle = parsed(&a), risk = nth(bundle, "RiskAssessment", 0), device = nth(bundle, "Device", 0), p;
  SAYS(bundle, "type", "collection");
  SAYS(risk, "subject.reference", "Patient/p7");
  SAYS(risk, "status", "preliminary");
  SAYS(risk, "meta.security.0.code", "AIAST");
  SAYS(risk, "code.coding.0.code", "death-1y");
  SAYS(risk, "prediction.0.outcome.text", "Death within a year");
  double probability = -1;
  assert_true(json_f64(json_get(json_at(json_get(risk, "prediction"), 0), "probabilityDecimal"), &probability));
  assert_true(probability > 0 && probability < 1);
  assert_true(path(risk, "prediction.0.whenPeriod.end").n == 20);
  assert_true(str_starts(path(risk, "prediction.0.rationale"), STR("Change in log odds")));
  /* the outcomes: each of two within each of six horizons, and none less likely within a longer one */
  struct json outcomes = nth(bundle, "RiskAssessment", 1);
  double before = 0;
  int n = 0;
  for (struct json_iter it = json_items(json_get(outcomes, "prediction")); json_next(&it, &p); n++) {
    assert_true(json_f64(json_get(p, "probabilityDecimal"), &probability));
    if (n % 6) assert_true(probability >= before);
    before = probability;
  }
  assert_int_equal(n, 12);
  /* who made it and of what, by references that resolve within the bundle */
  SAYS(device, "version.0.value", site.version);
  SAYS(device, "id", site.version);
  struct json provenance = nth(bundle, "Provenance", 0), entry;
  struct str who = path(provenance, "agent.0.who.reference"), what = path(risk, "performer.reference"),
             target = path(provenance, "target.0.reference");
  int found = 0;
  for (struct json_iter it = json_items(json_get(bundle, "entry")); json_next(&it, &entry);) {
    struct str url = json_str(json_get(entry, "fullUrl"));
    found += str_eq(url, who) && str_eqc(path(entry, "resource.resourceType"), "Device");
    found += str_eq(url, target) && str_eqc(path(entry, "resource.resourceType"), "RiskAssessment");
  }
  assert_int_equal(found, 2);
  assert_true(str_eq(who, what));
  SAYS(nth(bundle, "GuidanceResponse", 0), "status", "success");
  /* the request's own number, by which its audit row is found */
  char row[80];
  snprintf(row, sizeof row, "x-request-id: %.*s", STR_ARG(path(provenance, "entity.0.what.identifier.value")));
  assert_non_null(strstr(a.all.p, row));
  assert_null(strstr(a.body, SITE_CANARY_NAME));
  assert_null(strstr(a.body, SITE_CANARY_MRN));
  assert_null(strstr(a.body, "1937"));
  reply_free(&a);
  buf_release(&b);
}

static void parameters_and_names_of_patients(void **state) {
  (void)state;
  struct buf b = {0}, p = {0};
  site_bundle(5, &b);
  buf_printf(&p,
             "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"task\",\"valueString\":\"death-1y\"},{\"name\":\"outcomes\","
             "\"valueInteger\":1},{\"name\":\"patient\",\"resource\":%s}]}",
             buf_cstr(&b));
  struct reply one = predict("", buf_cstr(&p)), two = predict("?task=death-1y&outcomes=1", buf_cstr(&b));
  struct json risk = nth(parsed(&one), "RiskAssessment", 0);
  double first = -1, second = -2;
  SAYS(risk, "subject.reference", "Patient/p5");
  assert_true(json_f64(json_get(json_at(json_get(risk, "prediction"), 0), "probabilityDecimal"), &first));
  risk = nth(parsed(&two), "RiskAssessment", 0);
  assert_true(json_f64(json_get(json_at(json_get(risk, "prediction"), 0), "probabilityDecimal"), &second));
  assert_true(first == second);
  reply_free(&one), reply_free(&two);
  buf_clear(&b);
  buf_puts(&b,
           "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"fullUrl\":\"urn:uuid:0c1b3e5a-7777-4e3d-9a77-1f2e3d4c5b6a\","
           "\"resource\":{\"resourceType\":"
           "\"Patient\",\"birthDate\":\"1950\"}}]}");
  one = predict("", buf_cstr(&b));
  if (one.status == 200)
    SAYS(nth(parsed(&one), "GuidanceResponse", 0), "subject.reference", "urn:uuid:0c1b3e5a-7777-4e3d-9a77-1f2e3d4c5b6a");
  reply_free(&one);
  /* an id that is none does not come back */
  buf_clear(&b);
  buf_puts(&b,
           "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"a<b>&"
           "\\\"c\",\"birthDate\":\"1950-01-01\"}},"
           "{\"resource\":{\"resourceType\":\"Observation\",\"status\":\"final\",\"subject\":{\"reference\":\"Patient/"
           "a<b>&\\\"c\"},\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"2160-0\"}]},"
           "\"effectiveDateTime\":\"2020-01-01\",\"valueQuantity\":{\"value\":1}}}]}");
  one = predict("", buf_cstr(&b));
  assert_null(strstr(one.body, "a<b>"));
  reply_free(&one);
  buf_release(&b), buf_release(&p);
}

static void failures_are_operation_outcomes(void **state) {
  (void)state;
  static const struct {
    const char *query, *body;
    int status;
    const char *says;
  } bad[] = {{"", "{\"resourceType\":\"Parameters\",\"parameter\":[]}", 400, "patient"},
             {"", "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"secret\"}]}", 400, "unknown parameter"},
             {"", "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"patient\",\"resource\":7}]}", 400, "expected a Bundle"},
             {"", "{\"a\":1}", 400, "resourceType"},
             {"", "[", 400, ""},
             {"?task=SECRET", "{\"resourceType\":\"Bundle\",\"type\":\"collection\"}", 404, "no task"},
             {"?outcomes=SECRET", "{\"resourceType\":\"Bundle\",\"type\":\"collection\"}", 400, "whole number"},
             {"", "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[]}", 400, ""}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct reply a = predict(bad[i].query, bad[i].body);
    if (a.status != bad[i].status || !strstr(a.body, bad[i].says)) fail_msg("%zu: %d %s", i, a.status, a.body);
    SAYS(parsed(&a), "resourceType", "OperationOutcome");
    SAYS(parsed(&a), "issue.0.severity", "error");
    assert_null(strstr(a.body, "SECRET"));
    reply_free(&a);
  }
  struct reply a = ask(&server, "POST", "/fhir/$predict", NULL, "{}");
  assert_int_equal(a.status, 401);
  SAYS(parsed(&a), "issue.0.code", "login");
  reply_free(&a);
}

static void searches(void **state) {
  (void)state;
  char target[128];
  snprintf(target, sizeof target, "/fhir/RiskAssessment?patient=Patient/%s&outcomes=1", subject);
  struct reply a = ask(&server, "GET", target, key[ROLE_CLINICIAN], NULL);
  struct json risk = nth(parsed(&a), "RiskAssessment", 0);
  SAYS(parsed(&a), "type", "searchset");
  SAYS(risk, "subject.identifier.value", subject);
  snprintf(target, sizeof target, "Device/%s", site.version);
  SAYS(risk, "performer.reference", target);
  reply_free(&a);
  snprintf(target, sizeof target, "/fhir/Device/%s", site.version);
  a = ask(&server, "GET", target, key[ROLE_VIEWER], NULL);
  SAYS(parsed(&a), "id", site.version);
  reply_free(&a);
  a = ask(&server, "GET", "/fhir/Device/another", key[ROLE_VIEWER], NULL);
  assert_int_equal(a.status, 404);
  reply_free(&a);
  a = ask(&server, "GET", "/fhir/RiskAssessment?patient=1", key[ROLE_CLINICIAN], NULL);
  assert_int_equal(a.status, 404);
  reply_free(&a);
  a = ask(&server, "GET", "/fhir/metadata", NULL, NULL);
  SAYS(parsed(&a), "fhirVersion", "4.0.1");
  SAYS(parsed(&a), "rest.0.operation.0.name", "predict");
  reply_free(&a);
}

static void audit_events_page(void **state) {
  (void)state;
  struct reply a = ask(&server, "GET", "/fhir/AuditEvent?_count=2", key[ROLE_ADMIN], NULL);
  struct json bundle = parsed(&a);
  char first[32], target[160];
  snprintf(first, sizeof first, "%.*s", STR_ARG(path(bundle, "entry.1.resource.id")));
  assert_true(str_starts(str_c(first), STR("row-")));
  assert_int_equal(json_count(json_get(bundle, "entry")), 2);
  SAYS(bundle, "link.1.relation", "next");
  struct str next = path(bundle, "link.1.url");
  const char *at = memmem(next.p, next.n, "/fhir/", 6);
  assert_non_null(at);
  snprintf(target, sizeof target, "%.*s", (int)(next.n - (size_t)(at - next.p)), at);
  reply_free(&a);
  a = ask(&server, "GET", target, key[ROLE_ADMIN], NULL);
  struct str below = path(parsed(&a), "entry.0.resource.id");
  int64_t one, two;
  assert_true(str_to_i64(str_c(first + 4), &one) == OK && str_to_i64((struct str){below.p + 4, below.n - 4}, &two) == OK);
  assert_int_equal(two, one - 1);
  reply_free(&a);
  snprintf(target, sizeof target, "/fhir/AuditEvent/%s", first);
  a = ask(&server, "GET", target, key[ROLE_ADMIN], NULL);
  SAYS(parsed(&a), "id", first);
  reply_free(&a);
  a = ask(&server, "GET", "/fhir/AuditEvent/row-99999999", key[ROLE_ADMIN], NULL);
  assert_int_equal(a.status, 404);
  reply_free(&a);
  a = ask(&server, "GET", "/fhir/AuditEvent?before=1", key[ROLE_ADMIN], NULL);
  assert_int_equal(json_kind(json_get(parsed(&a), "entry")), JSON_NONE); /* FHIR has no empty lists */
  reply_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_patients_risks), cmocka_unit_test(parameters_and_names_of_patients),
                                     cmocka_unit_test(failures_are_operation_outcomes), cmocka_unit_test(searches),
                                     cmocka_unit_test(audit_events_page)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
