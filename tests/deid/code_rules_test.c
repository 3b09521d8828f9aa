/* Which codes, units and descriptions pass: shapes, check digits, open and declared sources. */
#include "deid_helper.h"

#include "base/random.h"
#include "deid/code_rules.h"

static struct code_rules *rules;

static int load(void **state UNUSED) {
  struct error e = {0};
  char path[4096];
  snprintf(path, sizeof path, "%s", policy_path("code-shapes"));
  int rc = code_rules_load(path, &rules, &e);
  if (rc < 0) error_print(stderr, &e);
  return rc;
}
static int unload(void **state UNUSED) {
  code_rules_free(rules);
  return 0;
}

static enum code_verdict open_code(const char *s) { return code_rules_check(rules, str_c(s), true); }
static enum code_verdict declared(const char *s) { return code_rules_check(rules, str_c(s), false); }

static void real_codes_pass(void **state UNUSED) {
  static const char *const codes[] = {"LOINC//2160-0",
                                      "LOINC//8302-2",
                                      "LOINC//72514-3",
                                      "LOINC//LA6576-8",
                                      "SNOMED//424441002",
                                      "SNOMED//44054006",
                                      "SNOMED//444814009",
                                      "RXNORM//314076",
                                      "CVX//08",
                                      "ICD10CM//I50.9",
                                      "ICD10CM//U07.1",
                                      "ICD10CM//S72.001A",
                                      "ICD10CM//I509",
                                      "ICD10//A00",
                                      "ICD9CM//428.0",
                                      "ICD9CM//V15.82",
                                      "ICD10PCS//0210093",
                                      "ATC//C03CA01",
                                      "ATC//C03",
                                      "CPT4//99213",
                                      "HCPCS//J1100",
                                      "NDC//0069-2587-10",
                                      "DCM//CT",
                                      "GENDER//female",
                                      "RACE//2106-3",
                                      "ETHNICITY//2186-5",
                                      "MARITAL//M",
                                      "ENCOUNTER//AMB",
                                      "ENCOUNTER_END//IMP",
                                      "DISCHARGE//NUBC//01",
                                      "ADMIT_SOURCE//HL7ADMIT//emd",
                                      "LOINC//72166-2//SNOMED//266919005",
                                      "SNOMED//44054006//RESOLVED",
                                      "SNOMED//300913006//ALLERGY",
                                      "RXNORM//314076//ADMINISTERED",
                                      "HPO//HP:0001250",
                                      "ICD11//1A00",
                                      "UMLS//C0011849",
                                      "MEDS_DEATH"};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (open_code(codes[i]) != CODE_PASSES) fail_msg("%s does not pass", codes[i]);
}

static void hostile_codes_fail(void **state UNUSED) {
  static const char *const codes[] = {"",
                                      "//",
                                      "LOINC",
                                      "LOINC//",
                                      "LOINC//SMITH",
                                      "LOINC//2160-1",
                                      "LOINC//CANARY-1",
                                      "SNOMED//44054007",
                                      "SNOMED//123456789",
                                      "RXNORM//Jones",
                                      "RXNORM//12345678901",
                                      "ICD10CM//JOHNSMITH",
                                      "ICD10CM//SMITH",
                                      "GENDER//Mary",
                                      "MARITAL//Mary Smith",
                                      "RACE//Smith",
                                      "ENCOUNTER//SMITH",
                                      "LOCAL//GLU",
                                      "URL1a2b3c4d//GLU",
                                      "SMITH//JOHN",
                                      "LOINC//2160-0//SMITH",
                                      "LOINC//2160-0//SNOMED//SMITH",
                                      "SMITH//LOINC//2160-0",
                                      "SNOMED//44054006//RESOLVED//SMITH",
                                      "V3ACTCODE//SMITH",
                                      "DCM//SMITH",
                                      "BCP47//smith-Jones",
                                      "MEDS_BIRTH",
                                      "ATC//C03CA01X",
                                      "LOINC//2160-0//",
                                      "CVX//1234",
                                      "NDC//555-55-5555"};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (open_code(codes[i]) == CODE_PASSES) fail_msg("%s passes", codes[i]);
}

static void declared_sources_may_have_their_own_systems(void **state UNUSED) {
  static const char *const pass[] = {"PHYSIONET2012//HR",
                                     "LAB//50931//mg/dL",
                                     "MEDICATION//START//Sodium Chloride 0.9%  Flush",
                                     "LAB//51498// ",
                                     "HOSPITAL_ADMISSION//EW EMER.//EMERGENCY ROOM",
                                     "DRG//HCFA//442//DISORDERS OF LIVER EXCEPT MALIG,CIRR,ALC HEPA W CC",
                                     "ICU_ADMISSION//Medical Intensive Care Unit (MICU)",
                                     "SNOMED//444814009",
                                     "BMI (kg/m2)",
                                     "DIAGNOSIS//ICD//10//I509",
                                     "OMOP//2000011",
                                     "NDC//00093721456",
                                     "AGE//[90-100)",
                                     "LAB//50912//"};
  static const char *const fail[] = {"LAB//1234567",    "X//123-45-6789", "X//555-123-4567",    "X//555-1234",
                                     "X//1931-02-17",   "X//2/17/1931",   "X//a@b.org",         "X//http://h/p",
                                     "X//na\xc3\xafve", "X//a\nb",        "X//MRN 00012345678", "//"};
  for (size_t i = 0; i < sizeof pass / sizeof *pass; i++)
    if (declared(pass[i]) != CODE_PASSES) fail_msg("%s does not pass", pass[i]);
  for (size_t i = 0; i < sizeof fail / sizeof *fail; i++)
    if (declared(fail[i]) == CODE_PASSES) fail_msg("%s passes", fail[i]);
  char longest[CODE_LIMIT + 2];
  memset(longest, 'a', sizeof longest);
  assert_int_equal(code_rules_check(rules, (struct str){longest, CODE_LIMIT + 1}, false), CODE_SHAPE_WRONG);
  assert_true(code_rules_open_source(rules, STR("fhir")));
  assert_false(code_rules_open_source(rules, STR("physionet2012")));
}

static void units(void **state UNUSED) {
  static const char *const pass[] = {"mg/dL",  "mm[Hg]", "10*3/uL", "{score}", "%",     "mL/min/{1.73_m2}", "Cel",  "kg/m2", "{T-score}",
                                     "[degF]", "mmol/L", "/min",    "[IU]/L",  "meq/L", "10*6/uL",          "kU/L", "a",     "mcg/kg/min",
                                     "/[HPF]", "#/hpf",  "K/uL",    "mm Hg",   "[in_i]"};
  static const char *const fail[] = {"",       "SMITH",   "mg/Smith", "Mary",     "555-1234",   "12345",
                                     "mg\ndL", "{Smith}", "canary",   "{J. Doe}", "mg/dL Smith"};
  for (size_t i = 0; i < sizeof pass / sizeof *pass; i++)
    if (!code_rules_unit(rules, str_c(pass[i]), true)) fail_msg("unit %s does not pass", pass[i]);
  for (size_t i = 0; i < sizeof fail / sizeof *fail; i++)
    if (code_rules_unit(rules, str_c(fail[i]), true)) fail_msg("unit %s passes", fail[i]);
  static const char *const spelled[][2] = {{"\xC2\xB5mol/L", "umol/L"},      {"/\xCE\xBCL", "/uL"},
                                           {"\xC2\xB5", "\xC2\xB5"},         {"10\xC2\xB5", "10\xC2\xB5"},
                                           {"\xC2\xB0\x43", "\xC2\xB0\x43"}, {"mg", "mg"}};
  char out[UNIT_LIMIT], longest[3 * UNIT_LIMIT];
  for (size_t i = 0; i < sizeof spelled / sizeof *spelled; i++)
    assert_true(str_eqc(code_rules_unit_spelled(str_c(spelled[i][0]), out), spelled[i][1]));
  for (size_t i = 0; i < sizeof longest; i += 3) memcpy(longest + i, "\xC2\xB5g", 3);
  for (size_t n = 0; n <= sizeof longest; n++) assert_true(code_rules_unit_spelled((struct str){longest, n}, out).n <= n);
  assert_true(code_rules_unit(rules, STR("furlongs"), false));
  assert_false(code_rules_unit(rules, STR("1234567"), false));
}

static void displays(void **state UNUSED) {
  assert_true(code_rules_display(STR("Chronic sinusitis (disorder)")));
  assert_true(code_rules_display(STR("Morbus M\xc3\xa9ni\xc3\xa8re")));
  assert_false(code_rules_display(STR("tel 555-123-4567")));
  assert_false(code_rules_display(STR("MRN 12345678")));
  assert_false(code_rules_display(STR("mary@example.org")));
  assert_false(code_rules_display(STR("line\nbreak")));
  assert_false(code_rules_display(STR("\xff\xfe")));
  char text[DISPLAY_LIMIT + 1];
  memset(text, 'x', sizeof text);
  assert_false(code_rules_display((struct str){text, sizeof text}));
  assert_true(code_rules_display((struct str){text, DISPLAY_LIMIT}));
}

static void shapes_match_as_written(void **state UNUSED) {
  struct arena a;
  const struct code_shape *s;
  arena_init(&a, 0, 0);
  assert_int_equal(code_shape_parse(&a, STR("[A-Z][0-9]{2}.?[0-9]{0,2}x"), &s, NULL), OK);
  assert_true(code_shape_match(s, STR("A12.34x")));
  assert_true(code_shape_match(s, STR("A12x")));
  assert_true(code_shape_match(s, STR("A1234x")));
  assert_false(code_shape_match(s, STR("A12345x")));
  assert_false(code_shape_match(s, STR("A12")));
  assert_false(code_shape_match(s, STR("")));
  static const char *const bad[] = {"", "(a)", "a|b", "[", "[]", "a{", "a{2", "a{3,2}", "a{0}", "a{100}", "\\d", "a*", "[z-a]"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (code_shape_parse(&a, str_c(bad[i]), &s, NULL) != E_INPUT) fail_msg("shape %s is taken", bad[i]);
  arena_free(&a);
}

/* One wrong digit and most swaps are caught: that is what the check digits are for. */
static void check_digits_catch_single_errors(void **state UNUSED) {
  static const char *const good[] = {"424441002", "44054006", "444814009", "72892002", "91302008", "706893006"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    char text[24];
    size_t n = strlen(good[i]);
    assert_true(code_check_sctid(str_c(good[i])));
    for (size_t k = 0; k < n; k++)
      for (char d = '0'; d <= '9'; d++) {
        memcpy(text, good[i], n + 1);
        if (text[k] == d) continue;
        text[k] = d;
        assert_false(code_check_sctid(str_c(text)));
      }
  }
  struct rng r;
  rng_init(&r, 3, 0);
  int luhn = 0, sctid = 0;
  for (int i = 0; i < 20000; i++) {
    char mrn[16];
    snprintf(mrn, sizeof mrn, "%u", 10000000 + rng_below(&r, 89999999));
    sctid += code_check_sctid(str_c(mrn));
    snprintf(mrn, sizeof mrn, "%u-%u", 10000 + rng_below(&r, 89999), rng_below(&r, 10));
    luhn += code_check_luhn(str_c(mrn));
  }
  assert_true(sctid < 20000 / 250); /* a random number passes once in about 500 */
  assert_true(luhn < 20000 / 8);
}

static void ages(void **state UNUSED) {
  assert_true(code_rules_age(rules, STR("LOINC//30525-0")));
  assert_true(code_rules_age(rules, STR("PHYSIONET2012//Age")));
  assert_false(code_rules_age(rules, STR("LOINC//2160-0")));
  assert_true(code_rules_per_year(STR("mo")) == 12);
  assert_true(code_rules_per_year(STR("a")) == 1);
}

static void a_broken_table_is_refused(void **state UNUSED) {
  static const char *const text[] = {
      "{}", "{\"systems\":{\"A\":\"x\"},\"words\":[],\"unit_atoms\":[],\"ages\":[],\"open_sources\":[]}",
      "{\"systems\":{\"A\":[\"(\"]},\"words\":[],\"unit_atoms\":[],\"ages\":[],\"open_sources\":[]}",
      "{\"systems\":{\"A\":[{\"shape\":\"a\",\"check\":\"crc\"}]},\"words\":[],\"unit_atoms\":[],\"ages\":[],\"open_sources\":[]}",
      "{\"systems\":{},\"words\":[1],\"unit_atoms\":[],\"ages\":[],\"open_sources\":[]}"};
  for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
    char path[] = "/tmp/code-rules-XXXXXX";
    struct code_rules *r;
    struct error e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    fputs(text[i], f);
    fclose(f);
    assert_int_equal(code_rules_load(path, &r, &e), E_INPUT);
    assert_null(r);
    remove(path);
  }
}

static void every_allocation_may_fail(void **state UNUSED) {
  char path[4096];
  snprintf(path, sizeof path, "%s", policy_path("code-shapes"));
  int survived = 0;
  for (long n = 1; n < 400; n++) {
    struct code_rules *r;
    struct error e = {0};
    arena_fail_at(n);
    int rc = code_rules_load(path, &r, &e);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    if (rc == OK)
      code_rules_free(r);
    else
      survived++;
    if (pending) break;
  }
  assert_true(survived > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(real_codes_pass),
      cmocka_unit_test(hostile_codes_fail),
      cmocka_unit_test(declared_sources_may_have_their_own_systems),
      cmocka_unit_test(units),
      cmocka_unit_test(displays),
      cmocka_unit_test(shapes_match_as_written),
      cmocka_unit_test(check_digits_catch_single_errors),
      cmocka_unit_test(ages),
      cmocka_unit_test(a_broken_table_is_refused),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, load, unload);
}
