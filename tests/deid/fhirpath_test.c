/* FHIRPath: what paths find, three-valued logic, dates of different precision, and what is refused with its place. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "deid/fhirpath.h"

static struct fhir_types *types;
static struct fhir_doc doc;
static struct arena arena;

static const char patient[] =
    "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":true,\"birthDate\":\"1970-03-30\",\"_birthDate\":{\"extension\":[{\"url\":"
    "\"http://t/birthTime\","
    "\"valueDateTime\":\"1970-03-30T12:01:00Z\"}]},\"name\":[{\"use\":\"official\",\"family\":\"Levin\",\"given\":[\"Henry\",\"Karl\"],"
    "\"_given\":[null,{\"id\":\"x\"}]},{\"use\":\"usual\",\"given\":[\"Hen\\u0072y\"]}],\"contact\":[{\"name\":{\"family\":\"Other\"}}],"
    "\"multipleBirthInteger\":3,\"address\":[{\"city\":\"KeepTest\",\"postalCode\":\"12345\",\"period\":{\"start\":\"2001\"}},{\"city\":"
    "\"X\"}],"
    "\"contained\":[{\"resourceType\":\"Practitioner\",\"id\":\"c\",\"name\":[{\"family\":\"Inside\"}]}],\"deceasedBoolean\":false}";

static int setup(void **state) {
  (void)state;
  struct error e = {0};
  arena_init(&arena, 0, 0);
  if (fhir_types_load("policy/fhir-types-r4.json", &types, &e) < 0 || fhir_doc_init(&doc, types, &e) < 0)
    return error_print(stderr, &e), -1;
  if (fhir_doc_parse(&doc, str_c(patient), &e) < 0 || fhir_doc_type(&doc, 0, &e) < 0) return error_print(stderr, &e), -1;
  return 0;
}

static int teardown(void **state) {
  (void)state;
  fhir_doc_release(&doc);
  fhir_types_free(types);
  arena_free(&arena);
  return 0;
}

static int find(const char *path, struct fhirpath_items *out) {
  const struct fhirpath *p;
  struct error e = {0};
  struct fhirpath_run run = {.doc = &doc, .root = 1, .arena = &arena, .budget = 100000};
  if (fhirpath_parse(&arena, types, str_c(path), &p, &e) < 0) {
    error_print(stderr, &e);
    fail_msg("%s", path);
  }
  int rc = fhirpath_eval(&run, p, 1, out, &e);
  /* the cheap look beforehand never loses anything */
  if (rc == OK && out->n && out->at[0].kind == FP_NODE) assert_true(fhirpath_may_match(p, &doc, 1));
  return rc;
}

static void counts(void **state) {
  (void)state;
  static const struct {
    const char *path;
    uint32_t n;
  } cases[] = {{"Patient", 1},
               {"Resource", 1},
               {"DomainResource", 1},
               {"Observation", 0},
               {"Patient.name", 2},
               {"name.given", 3},
               {"Patient.name[1].given", 1},
               {"Resource.id", 1},
               {"Observation.id", 0},
               {"nodesByType('HumanName')", 3},
               {"Patient.nodesByType('HumanName').use", 2},
               {"nodesByType('HumanName').family", 2},
               {"nodesByName('family')", 2},
               {"nodesByName('name')", 3},
               {"nodesByType('date')", 1},
               {"nodesByType('dateTime')", 2},
               {"nodesByType('Extension')", 1},
               {"nodesByType('string')", 9},
               {"nodesByType('BackboneElement')", 1},
               {"nodesByType('Nonsense')", 0},
               {"Patient.birthDate.extension('http://t/birthTime').value", 1},
               {"Patient.birthDate.extension('http://t/other')", 0},
               {"Patient.deceased", 1},
               {"Patient.deceasedBoolean", 0},
               {"Patient.multipleBirth as integer", 1},
               {"Patient.multipleBirth as boolean", 0},
               {"Patient.multipleBirth.ofType(integer)", 1},
               {"Patient.nodesByType('Address').where(city='KeepTest')", 1},
               {"Patient.address.where(city = 'KeepTest' and postalCode.exists()).period.start", 1},
               {"Patient.name.where(family.empty())", 1},
               {"Patient.name.where(given = 'Henry')", 1},
               {"Patient.name | Patient.address", 4},
               {"Patient.contained", 1},
               {"Patient.contained.name.family", 1},
               {"Patient.descendants().where($this = 'Inside')", 1},
               {"Patient.name.first().given.last()", 1},
               {"Patient.name.given.tail()", 2},
               {"Patient.name.select(given)", 3},
               {"Patient.children().ofType(HumanName)", 2},
               {"Patient.name.exists(family = 'Levin')", 1},
               {"Patient.`name`", 2},
               {"Patient.name.given[1].id", 1},
               {"{}", 0},
               {"Patient.name.where(use in ('official' | 'old'))", 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct fhirpath_items v;
    assert_int_equal(find(cases[i].path, &v), OK);
    if (v.n != cases[i].n) fail_msg("%s: %u, expected %u", cases[i].path, v.n, cases[i].n);
  }
}

static void truths(void **state) {
  (void)state;
  static const struct {
    const char *path;
    int is; /* 2: empty */
  } cases[] = {{"true and {}", 2},
               {"false and {}", 0},
               {"true or {}", 1},
               {"{} or {}", 2},
               {"true xor false", 1},
               {"false implies {}", 1},
               {"{} = 1", 2},
               {"1 = 1.0", 1},
               {"'a' != 'b'", 1},
               {"'1' = 1", 0},
               {"2 > 1 and 1 <= 1", 1},
               {"@2020-01-01 = @2020-01-01", 1},
               {"@2020 < @2021-05", 1},
               {"@2020-05 = @2020-05-03", 2},
               {"@2002 <= @2020-01-01T00:00:00Z", 1},
               {"@2020-01-01T10:00:00+01:00 = @2020-01-01T09:00:00Z", 1},
               {"Patient.birthDate < @1971-01-01", 1},
               {"Patient.birthDate.exists()", 1},
               {"Patient.photo.exists()", 0},
               {"Patient.active", 1},
               {"Patient.active.not()", 0},
               {"Patient.name.count() = 2", 1},
               {"Patient.multipleBirth = 3", 1},
               {"'12345'.startsWith('123')", 1},
               {"'12345'.substring(0, 3) + '**' = '123**'", 1},
               {"'abc'.contains('bc') and 'abc'.endsWith('c')", 1},
               {"'héé'.length() = 3", 1},
               {"('a' | 'b') contains 'b'", 1},
               {"'c' in ('a' | 'b')", 0},
               {"Patient.name.given.where($this.startsWith('K')).exists()", 1},
               {"1 + 2 * 3 = 7", 1},
               {"-1 < 0", 1},
               {"'a' & {} = 'a'", 1},
               {"Patient is Patient", 1},
               {"Patient is Observation", 0},
               {"Patient.name.all(given.exists())", 1},
               {"'ab'.upper() = 'AB'", 1},
               {"Patient.birthDate.hasValue()", 1},
               {"1 / 0", 2}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct fhirpath *p;
    struct error e = {0};
    struct fhirpath_run run = {.doc = &doc, .root = 1, .arena = &arena, .budget = 100000};
    assert_int_equal(fhirpath_parse(&arena, types, str_c(cases[i].path), &p, &e), OK);
    int is = fhirpath_bool(&run, p, 1, &e);
    if (is != cases[i].is) fail_msg("%s: %d, expected %d", cases[i].path, is, cases[i].is);
  }
}

static void refused(void **state) {
  (void)state;
  static const struct {
    const char *path;
    int at; /* the character named */
  } cases[] = {{"Patient.", 9},
               {"Patient.resolve()", 17},
               {"Patient.name.where(", 20},
               {"(Patient", 9},
               {"Patient name", 9},
               {"'abc", 5},
               {"nodesByType()", 14},
               {"Patient.name[1", 15},
               {"@2020-13-01", 12},
               {"%resource", 1},
               {"a = = b", 5},
               {"Patient.name.matches('x')", 22}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct fhirpath *p;
    struct error e = {0};
    char where[32];
    assert_true(fhirpath_parse(&arena, types, str_c(cases[i].path), &p, &e) < 0);
    snprintf(where, sizeof where, "at character %d", cases[i].at);
    if (!strstr(e.message, where)) fail_msg("%s: %s", cases[i].path, e.message);
  }
  char deep[4000];
  memset(deep, '(', sizeof deep);
  const struct fhirpath *p;
  assert_int_equal(fhirpath_parse(&arena, types, (struct str){deep, sizeof deep}, &p, NULL), E_INPUT);
  memset(deep, '-', sizeof deep);
  assert_true(fhirpath_parse(&arena, types, (struct str){deep, sizeof deep}, &p, NULL) < 0);
}

static void errors(void **state) {
  (void)state;
  struct fhirpath_items v;
  assert_int_equal(find("Patient.name.family >= 0", &v), E_INPUT);
  assert_int_equal(find("Patient.name.given > 'a'", &v), E_INPUT);
  assert_int_equal(find("Patient.active > @2020-01-01", &v), E_INPUT);
  char path[4000] = "Patient";
  for (int i = 0; i < 200; i++) strcat(path, ".descendants()");
  assert_int_equal(find(path, &v), OK); /* ends in leaves */
  /* a list that doubles with each step is stopped by the budget */
  strcpy(path, "Patient");
  for (int i = 0; i < 30; i++) strcat(path, ".select($this | $this)");
  assert_int_equal(find(path, &v), E_LIMIT);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(counts), cmocka_unit_test(truths), cmocka_unit_test(refused),
                                     cmocka_unit_test(errors)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
