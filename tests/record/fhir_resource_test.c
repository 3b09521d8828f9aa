/* Each resource type by small hand-written resources: what becomes of which element. */
#include "fhir_helpers.h"

#define SUBJECT "\"subject\":{\"reference\":\"Patient/p1\"}"
#define LOINC(code, display) "{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"" code "\",\"display\":\"" display "\"}]}"
#define SNOMED(code) "{\"coding\":[{\"system\":\"http://snomed.info/sct\",\"code\":\"" code "\"}]}"
#define RXNORM(code) "{\"coding\":[{\"system\":\"http://www.nlm.nih.gov/research/umls/rxnorm\",\"code\":\"" code "\"}]}"
#define OBSERVATION "{\"resourceType\":\"Observation\",\"status\":\"final\"," SUBJECT ",\"code\":" LOINC("2160-0", "Creatinine")
#define AT ",\"effectiveDateTime\":\"2020-03-04T05:06:07+02:00\""

TEST(observation_quantity) {
  struct catcher c;
  accept_json(&c, OBSERVATION AT ",\"valueQuantity\":{\"value\":1.25,\"unit\":\"milligrams per deciliter\",\"code\":\"mg/dL\"}}", 1);
  const struct record *r = event_want(&c, "LOINC//2160-0", "2020-03-04T05:06:07");
  assert_true(str_eqc(r->person, "p1"));
  assert_true(str_eqc(r->display, "Creatinine"));
  assert_true(r->value == 1.25);
  assert_true(str_eqc(r->unit, "mg/dL"));
  assert_null(r->text.p);
  assert_true(r->time.has_offset);
  assert_int_equal(r->time.offset_minutes, 120);
  assert_int_equal(r->time.precision, TIME_PRECISION_SECOND);
  assert_int_equal(c.stats.resources, 1);
  assert_int_equal(c.stats.records, 1);
  assert_int_equal(r->row, 1);
  catcher_close(&c);
}

/* Which unit is one, the wall says: it drops the number with it. */
TEST(observation_unit_that_is_no_code_reaches_the_wall) {
  static const char *const units[][2] = {{"\"unit\":\"per John Smith\"", "per John Smith"},
                                         {"\"unit\":\"\u00b5mol/L\"", "\xC2\xB5mol/L"},
                                         {"\"unit\":\"mg/dL\",\"code\":\"of it\"", "mg/dL"},
                                         {"\"code\":\"of it\"", "of it"}};
  for (size_t i = 0; i < 4; i++) {
    struct catcher c;
    char json[512];
    snprintf(json, sizeof json, OBSERVATION AT ",\"valueQuantity\":{\"value\":-3e2,%s}}", units[i][0]);
    accept_json(&c, json, 1);
    const struct record *r = event_of(&c, "LOINC//2160-0");
    assert_true(r->value == -300 && str_eqc(r->unit, units[i][1]));
    catcher_close(&c);
  }
}

TEST(observation_answers) {
  struct catcher c;
  accept_json(&c, OBSERVATION AT ",\"valueCodeableConcept\":" SNOMED("266919005") "}", 1);
  const struct record *r = event_want(&c, "LOINC//2160-0//SNOMED//266919005", "2020-03-04T05:06:07");
  assert_true(isnan(r->value));
  catcher_close(&c);
  accept_json(&c, OBSERVATION AT ",\"valueBoolean\":true}", 1);
  assert_true(event_of(&c, "LOINC//2160-0")->value == 1);
  catcher_close(&c);
  accept_json(&c, OBSERVATION AT ",\"valueInteger\":42}", 1);
  assert_true(event_of(&c, "LOINC//2160-0")->value == 42);
  catcher_close(&c);
  accept_json(&c, OBSERVATION AT ",\"valueString\":\"looks well\"}", 1);
  r = event_of(&c, "LOINC//2160-0");
  assert_true(str_eqc(r->text, "looks well"));
  assert_string_equal(r->path, "Observation.valueString");
  catcher_close(&c);
  accept_json(&c, OBSERVATION AT ",\"valueCodeableConcept\":{\"text\":\"nothing seen\"}}", 1);
  assert_true(str_eqc(event_of(&c, "LOINC//2160-0")->text, "nothing seen"));
  catcher_close(&c);
  accept_json(&c, OBSERVATION AT ",\"valueDateTime\":\"2011-02-03\"}", 1);
  assert_int_equal(dropped(&c, "Observation.valueDateTime"), 1);
  catcher_close(&c);
}

TEST(observation_display_joins_the_answer) {
  struct catcher c;
  accept_json(&c, OBSERVATION AT ",\"valueCodeableConcept\":" LOINC("LA6576-8", "Positive") "}", 1);
  assert_true(str_eqc(event_of(&c, "LOINC//2160-0//LOINC//LA6576-8")->display, "Creatinine: Positive"));
  catcher_close(&c);
}

TEST(observation_components) {
  struct catcher c;
  accept_json(&c,
              OBSERVATION AT ",\"component\":[{\"code\":" LOINC("8462-4", "Diastolic") ",\"valueQuantity\":{\"value\":80}},"
                             "{\"code\":" LOINC("8480-6", "Systolic") ",\"valueQuantity\":{\"value\":120}},"
                             "{\"code\":" LOINC("1-8", "Third") ",\"dataAbsentReason\":" SNOMED("1") "}]}",
              2);
  assert_true(event_want(&c, "LOINC//8462-4", "2020-03-04T05:06:07")->value == 80);
  assert_true(event_want(&c, "LOINC//8480-6", "2020-03-04T05:06:07")->value == 120);
  assert_null(event_of(&c, "LOINC//2160-0"));
  assert_int_equal(dropped(&c, "Observation.component.dataAbsentReason"), 1);
  catcher_close(&c);
}

TEST(observation_times) {
  struct catcher c;
  accept_json(&c, OBSERVATION ",\"effectivePeriod\":{\"start\":\"2020-01\",\"end\":\"2021\"},\"issued\":\"2022-01-01T00:00:00Z\"}", 1);
  assert_int_equal(event_want(&c, "LOINC//2160-0", "2020-01-01T00:00:00")->time.precision, TIME_PRECISION_MONTH);
  catcher_close(&c);
  accept_json(&c, OBSERVATION ",\"effectivePeriod\":{\"end\":\"2021\"},\"issued\":\"2022-01-01T00:00:00.5Z\"}", 1);
  assert_int_equal(event_want(&c, "LOINC//2160-0", "2022-01-01T00:00:00.500000")->time.precision, TIME_PRECISION_FRACTION);
  catcher_close(&c);
  accept_json(&c, OBSERVATION ",\"effectiveTiming\":{\"event\":[\"2019-05-06\"]}}", 1);
  assert_int_equal(event_want(&c, "LOINC//2160-0", "2019-05-06T00:00:00")->time.precision, TIME_PRECISION_DAY);
  catcher_close(&c);
}

TEST(status_says_that_it_did_not_happen) {
  static const char *const texts[] = {
      "{\"resourceType\":\"Observation\",\"status\":\"entered-in-error\"," SUBJECT "}",
      "{\"resourceType\":\"Procedure\",\"status\":\"not-done\"," SUBJECT "}",
      "{\"resourceType\":\"Immunization\",\"status\":\"not-done\"}",
      "{\"resourceType\":\"MedicationRequest\",\"status\":\"cancelled\"," SUBJECT "}",
      "{\"resourceType\":\"MedicationStatement\",\"status\":\"not-taken\"," SUBJECT "}",
      "{\"resourceType\":\"Encounter\",\"status\":\"planned\"," SUBJECT "}",
      "{\"resourceType\":\"DiagnosticReport\",\"status\":\"entered-in-error\"," SUBJECT "}",
      "{\"resourceType\":\"Condition\",\"verificationStatus\":{\"coding\":[{\"code\":\"refuted\"}]}," SUBJECT "}",
      "{\"resourceType\":\"AllergyIntolerance\",\"verificationStatus\":{\"coding\":[{\"code\":\"entered-in-error\"}]}}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct catcher c;
    accept_json(&c, texts[i], 0);
    assert_int_equal(c.stats.dropped, 1);
    assert_int_equal(c.stats.records, 0);
    catcher_close(&c);
  }
}

/* What it said before is taken back by code and time; what it no longer tells is not. */
TEST(entered_in_error_takes_back) {
  static const struct {
    const char *text, *code[3];
  } cases[] = {
      {"{\"resourceType\":\"Observation\",\"status\":\"entered-in-error\"," SUBJECT
       ",\"code\":" LOINC("2160-0", "x") ",\"effectiveDateTime\":"
                                         "\"2020-01-02\",\"dataAbsentReason\":{\"text\":\"error\"},\"identifier\":[{\"value\":\"A1\"}]}",
       {"LOINC//2160-0"}},
      {"{\"resourceType\":\"Observation\",\"status\":\"entered-in-error\"," SUBJECT
       ",\"code\":" LOINC("85354-9", "x") ",\"effectiveDateTime\":\"2020-01-02\",\"component\":[{\"code\":" LOINC(
           "8480-6", "x") ",\"valueQuantity\":{\"value\":120}},{\"code\":" LOINC("8462-4", "x") "},{\"code\":{}}]}",
       {"LOINC//8480-6", "LOINC//8462-4"}},
      {"{\"resourceType\":\"AllergyIntolerance\",\"verificationStatus\":{\"coding\":[{\"code\":\"entered-in-error\"}]},\"patient\":{"
       "\"reference\":\"Patient/p1\"},\"code\":" SNOMED("91936005") ",\"recordedDate\":\"2020-01-02\"}",
       {"SNOMED//91936005//ALLERGY"}},
      {"{\"resourceType\":\"Observation\",\"status\":\"cancelled\"," SUBJECT
       ",\"code\":" LOINC("2160-0", "x") ",\"effectiveDateTime\":\"2020-01-02\"}",
       {NULL}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct catcher c;
    size_t n = 0;
    accept_json(&c, cases[i].text, 0);
    assert_int_equal(c.stats.dropped, 1);
    for (size_t k = 0; k < c.n; k++) {
      const struct record *r = &c.records[k].r;
      if (r->kind == RECORD_DROPPED) continue;
      assert_int_equal(r->kind, RECORD_IN_ERROR);
      assert_non_null(cases[i].code[n]);
      assert_true(str_eqc(r->code, cases[i].code[n++]) && isnan(r->value) && !r->text.n && !r->unit.n);
    }
    assert_null(cases[i].code[n]);
    catcher_close(&c);
  }
}

TEST(condition_course) {
  struct catcher c;
  accept_json(&c,
              "{\"resourceType\":\"Condition\"," SUBJECT ",\"code\":" SNOMED("44054006")
              ",\"onsetAge\":{\"value\":52},\"recordedDate\":\"2019-02-03\",\"abatementDateTime\":\"2020-05-06\",\"note\":[{\"text\":\"x\"}]}",
              2);
  event_want(&c, "SNOMED//44054006", "2019-02-03T00:00:00");
  event_want(&c, "SNOMED//44054006//RESOLVED", "2020-05-06T00:00:00");
  assert_int_equal(dropped(&c, "Condition.onsetAge"), 1);
  assert_int_equal(dropped(&c, "Condition.note"), 1);
  catcher_close(&c);
}

TEST(coding_preference) {
  struct catcher c;
  accept_json(&c,
              "{\"resourceType\":\"Condition\"," SUBJECT
              ",\"onsetDateTime\":\"2019\",\"code\":{\"text\":\"free\",\"coding\":["
              "{\"system\":\"http://example.org/local\",\"code\":\"L1\"},{\"system\":\"http://snomed.info/sct\",\"code\":\"84114007\"},"
              "{\"system\":\"http://hl7.org/fhir/sid/icd-10-cm/\",\"code\":\"I50.9\",\"display\":\"Heart failure, unspecified\"}]}}",
              1);
  assert_true(str_eqc(event_want(&c, "ICD10CM//I50.9", "2019-01-01T00:00:00")->display, "Heart failure, unspecified"));
  catcher_close(&c);
}

/* An unknown system keeps nothing of its URL; a code that could be words is not taken. */
TEST(codes_carry_no_words) {
  struct catcher c;
  accept_json(&c,
              "{\"resourceType\":\"Procedure\",\"status\":\"completed\"," SUBJECT
              ",\"performedDateTime\":\"2019\",\"code\":{\"coding\":["
              "{\"system\":\"http://hospital/JohnSmith\",\"code\":\"X1\"}]}}",
              1);
  struct str code = c.records[0].r.code;
  assert_int_equal(code.n, 11 + 2 + 2);
  assert_memory_equal(code.p, "URL", 3);
  assert_int_equal(strspn(code.p + 3, "0123456789abcdef"), 8);
  char first[16];
  memcpy(first, code.p, 15);
  catcher_close(&c);
  accept_json(&c,
              "{\"resourceType\":\"Procedure\",\"status\":\"completed\"," SUBJECT
              ",\"performedDateTime\":\"2019\",\"code\":{\"coding\":["
              "{\"system\":\"http://hospital/JohnSmith\",\"code\":\"X1\"}]}}",
              1);
  assert_memory_equal(c.records[0].r.code.p, first, 15);
  catcher_close(&c);
  static const char *const bad[] = {
      "John Smith", "john@x.org", "a//b", "M\\u00fcller", "a\\tb", "", "12345678901234567890123456789012345678901234567890123456789012345"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char json[600];
    snprintf(json, sizeof json,
             "{\"resourceType\":\"Procedure\",\"status\":\"completed\"," SUBJECT
             ",\"performedDateTime\":\"2019\",\"code\":{\"coding\":[{\"system\":\"http://snomed.info/sct\",\"code\":\"%s\"}]}}",
             bad[i]);
    refuse_json(json, "Procedure.code");
  }
}

TEST(encounter_start_and_end) {
  struct catcher c;
  accept_json(&c,
              "{\"resourceType\":\"Encounter\",\"status\":\"finished\",\"class\":{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-ActCode\",\"code\":\"IMP\"},"
              "\"type\":[" SNOMED("185349003") "],\"subject\":{\"reference\":\"http://server/fhir/Patient/p1\",\"display\":\"Jane Roe\"},"
              "\"period\":{\"start\":\"2020-01-02T03:04:05Z\",\"end\":\"2020-01-09T10:00:00Z\"},\"reasonCode\":[{}],"
              "\"hospitalization\":{\"admitSource\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/admit-source\",\"code\":\"emd\"}]},"
              "\"dischargeDisposition\":{\"coding\":[{\"system\":\"http://www.nubc.org/patient-discharge\",\"code\":\"20\"}]}}}",
              5);
  assert_true(str_eqc(event_want(&c, "ENCOUNTER//IMP", "2020-01-02T03:04:05")->person, "p1"));
  event_want(&c, "SNOMED//185349003", "2020-01-02T03:04:05");
  event_want(&c, "ADMIT_SOURCE//HL7ADMIT//emd", "2020-01-02T03:04:05");
  event_want(&c, "DISCHARGE//NUBC//20", "2020-01-09T10:00:00");
  event_want(&c, "ENCOUNTER_END//IMP", "2020-01-09T10:00:00");
  assert_int_equal(identifier_of(&c, "Jane Roe")->identifier, IDENTIFIER_NAME);
  assert_int_equal(dropped(&c, "Encounter.reasonCode"), 1);
  catcher_close(&c);
}

TEST(medications) {
  struct catcher c;
  accept_json(&c,
              "{\"resourceType\":\"MedicationRequest\",\"status\":\"active\",\"intent\":\"order\"," SUBJECT
              ",\"authoredOn\":\"2020\",\"contained\":[{\"resourceType\":\"Medication\",\"id\":\"m\",\"code\":" RXNORM("314076") "}],"
              "\"medicationReference\":{\"reference\":\"#m\"}}",
              1);
  event_want(&c, "RXNORM//314076", "2020-01-01T00:00:00");
  catcher_close(&c);
  accept_json(&c,
              "{\"resourceType\":\"MedicationAdministration\",\"status\":\"completed\"," SUBJECT
              ",\"effectivePeriod\":{\"start\":\"2020-02-02\"},\"medicationCodeableConcept\":" RXNORM(
                  "1") ",\"dosage\":{\"dose\":{\"value\":5,\"code\":\"mg\"}}}",
              1);
  const struct record *r = event_want(&c, "RXNORM//1//ADMINISTERED", "2020-02-02T00:00:00");
  assert_true(r->value == 5 && str_eqc(r->unit, "mg"));
  catcher_close(&c);
  accept_json(&c,
              "{\"resourceType\":\"MedicationStatement\",\"status\":\"active\"," SUBJECT
              ",\"dateAsserted\":\"2020-02-02\",\"medicationCodeableConcept\":" RXNORM("2") "}",
              1);
  event_want(&c, "RXNORM//2//REPORTED", "2020-02-02T00:00:00");
  catcher_close(&c);
  accept_json(&c,
              "{\"resourceType\":\"MedicationRequest\",\"status\":\"active\",\"intent\":\"order\",\"doNotPerform\":true," SUBJECT
              ",\"authoredOn\":\"2020\",\"medicationCodeableConcept\":" RXNORM("2") "}",
              0);
  catcher_close(&c);
  refuse_json("{\"resourceType\":\"MedicationRequest\",\"status\":\"active\"," SUBJECT
              ",\"authoredOn\":\"2020\",\"medicationReference\":{\"reference\":\"Medication/none\"}}",
              "MedicationRequest.medicationReference");
}

TEST(immunization_and_allergy) {
  struct catcher c;
  accept_json(
      &c,
      "{\"resourceType\":\"Immunization\",\"status\":\"completed\",\"patient\":{\"reference\":\"Patient/p1\"},"
      "\"occurrenceDateTime\":\"2020-10-10\",\"vaccineCode\":{\"coding\":[{\"system\":\"http://hl7.org/fhir/sid/cvx\",\"code\":\"140\"}]}}",
      1);
  event_want(&c, "CVX//140", "2020-10-10T00:00:00");
  catcher_close(&c);
  accept_json(&c,
              "{\"resourceType\":\"AllergyIntolerance\",\"patient\":{\"reference\":\"Patient/p1\"},\"recordedDate\":\"1951-01-07\","
              "\"code\":" RXNORM("723") "}",
              1);
  event_want(&c, "RXNORM//723//ALLERGY", "1951-01-07T00:00:00");
  catcher_close(&c);
}

TEST(reports_and_documents) {
  struct catcher c;
  accept_json(&c,
              "{\"resourceType\":\"DiagnosticReport\",\"status\":\"final\"," SUBJECT ",\"issued\":\"2020-01-01T10:00:00Z\",\"code\":" LOINC(
                  "57698-3", "Lipid panel") ",\"conclusion\":\"all well\",\"conclusionCode\":[" SNOMED("17621005") "],"
                                            "\"presentedForm\":[{\"contentType\":\"text/plain\",\"data\":\"SGVsbG8sIHfDtnJsZA==\"},"
                                            "{\"contentType\":\"application/pdf\",\"data\":\"AAAA\"}]}",
              3);
  assert_true(str_eqc(event_want(&c, "LOINC//57698-3", "2020-01-01T10:00:00")->text, "all well"));
  event_want(&c, "LOINC//57698-3//SNOMED//17621005", "2020-01-01T10:00:00");
  assert_true(str_eqc(c.records[1].r.text, "Hello, w\xC3\xB6rld") || str_eqc(c.records[2].r.text, "Hello, w\xC3\xB6rld"));
  assert_int_equal(dropped(&c, "DiagnosticReport.presentedForm"), 1);
  catcher_close(&c);
  accept_json(
      &c,
      "{\"resourceType\":\"DocumentReference\",\"status\":\"superseded\"," SUBJECT
      ",\"context\":{\"period\":{\"start\":\"2020-05-05\"}},"
      "\"type\":" LOINC(
          "34117-2",
          "History and physical note") ",\"content\":[{\"attachment\":{\"contentType\":\"text/plain; charset=utf-8\",\"data\":\"YWJj\"}}]}",
      1);
  assert_true(str_eqc(event_want(&c, "LOINC//34117-2", "2020-05-05T00:00:00")->text, "abc"));
  catcher_close(&c);
}

TEST(imaging_and_device) {
  struct catcher c;
#define DX "{\"system\":\"http://dicom.nema.org/resources/ontology/DCM\",\"code\":\"DX\"}"
  accept_json(&c,
              "{\"resourceType\":\"ImagingStudy\",\"status\":\"available\"," SUBJECT ",\"started\":\"2020-01-01\",\"modality\":[" DX "],"
              "\"identifier\":[{\"system\":\"urn:ietf:rfc:3986\",\"value\":\"urn:oid:1.2.3\"}],\"procedureCode\":[" SNOMED("168594001") "],"
              "\"series\":[{\"uid\":\"1.2.3.4\",\"modality\":" DX "}]}",
              2);
  event_want(&c, "DCM//DX", "2020-01-01T00:00:00");
  event_want(&c, "SNOMED//168594001", "2020-01-01T00:00:00");
  assert_int_equal(identifier_of(&c, "1.2.3.4")->identifier, IDENTIFIER_OTHER);
  assert_int_equal(identifier_of(&c, "urn:oid:1.2.3")->identifier, IDENTIFIER_OTHER);
  catcher_close(&c);
  accept_json(&c,
              "{\"resourceType\":\"Device\",\"patient\":{\"reference\":\"Patient/"
              "p1\"},\"serialNumber\":\"S-1\",\"identifier\":[{\"value\":\"D-2\"}],"
              "\"udiCarrier\":[{\"deviceIdentifier\":\"U-3\"}]}",
              0);
  assert_int_equal(identifier_of(&c, "S-1")->identifier, IDENTIFIER_DEVICE);
  assert_int_equal(identifier_of(&c, "D-2")->identifier, IDENTIFIER_DEVICE);
  assert_int_equal(identifier_of(&c, "U-3")->identifier, IDENTIFIER_DEVICE);
  catcher_close(&c);
}

/* ---- Patient ---- */

static const char patient[] =
    "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"active\":true,\"text\":{\"div\":\"<div>Jane Roe</div>\"},"
    "\"name\":[{\"family\":\"Roe\",\"given\":[\"Jane\",\"Q\"],\"prefix\":[\"Mrs.\"],\"text\":\"Jane Q Roe\"}],"
    "\"gender\":\"female\",\"birthDate\":\"1950-06\",\"deceasedDateTime\":\"2020-02-03T04:05:06Z\",\"photo\":[{\"data\":\"AA==\"}],"
    "\"telecom\":[{\"system\":\"phone\",\"value\":\"555-1\"},{\"system\":\"fax\",\"value\":\"555-2\"},{\"system\":\"email\",\"value\":\"j@"
    "x.org\"},"
    "{\"system\":\"url\",\"value\":\"http://j.org\"},{\"system\":\"other\",\"value\":\"carrier pigeon\"}],"
    "\"address\":[{\"line\":[\"1 Main St\"],\"city\":\"Peabody\",\"state\":\"MA\",\"postalCode\":\"01940\",\"country\":\"US\","
    "\"extension\":[{\"url\":\"http://hl7.org/fhir/StructureDefinition/geolocation\"}]}],"
    "\"identifier\":[{\"value\":\"MRN-1\",\"type\":{\"coding\":[{\"code\":\"MR\"}]}},{\"value\":\"999-11\",\"system\":\"http://hl7.org/"
    "fhir/sid/us-ssn\"},"
    "{\"value\":\"L-1\",\"type\":{\"coding\":[{\"code\":\"DL\"}]}},{\"value\":\"HP-1\",\"type\":{\"coding\":[{\"code\":\"MB\"}]}},"
    "{\"value\":\"A-1\",\"type\":{\"coding\":[{\"code\":\"AN\"}]}},{\"value\":\"X-1\",\"system\":\"http://somewhere\"}],"
    "\"maritalStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
    "v3-MaritalStatus\",\"code\":\"M\",\"display\":\"Married\"}]},"
    "\"contact\":[{\"name\":{\"family\":\"Doe\"},\"telecom\":[{\"system\":\"phone\",\"value\":\"555-9\"}]}],"
    "\"communication\":[{}],\"favouriteColour\":\"mauve\","
    "\"extension\":[{\"url\":\"http://hl7.org/fhir/us/core/StructureDefinition/"
    "us-core-race\",\"extension\":[{\"url\":\"ombCategory\",\"valueCoding\":"
    "{\"system\":\"urn:oid:2.16.840.1.113883.6.238\",\"code\":\"2106-3\",\"display\":\"White\"}},{\"url\":\"text\",\"valueString\":"
    "\"White\"}]},"
    "{\"url\":\"http://hl7.org/fhir/us/core/StructureDefinition/"
    "us-core-ethnicity\",\"extension\":[{\"url\":\"ombCategory\",\"valueCoding\":{\"code\":\"2186-5\"}}]},"
    "{\"url\":\"http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName\",\"valueString\":\"Poe\"},{\"url\":\"http://x/"
    "unknown\"}]}";

TEST(patient_facts) {
  struct catcher c;
  accept_json(&c, patient, 4);
  static const char *const facts[] = {"GENDER//F", "RACE//2106-3", "ETHNICITY//2186-5", "MARITAL//M"};
  for (int i = 0; i < 4; i++) {
    const struct record *r = event_want(&c, facts[i], "static");
    assert_int_equal(r->time.us, TIME_STATIC);
    assert_true(str_eqc(r->person, "p1"));
  }
  assert_true(str_eqc(event_of(&c, "RACE//2106-3")->display, "White"));
  assert_int_equal(count_kind(&c, RECORD_BIRTH), 1);
  assert_int_equal(count_kind(&c, RECORD_DEATH), 1);
  for (size_t i = 0; i < c.n; i++) {
    const struct record *r = &c.records[i].r;
    char text[16];
    if (r->kind != RECORD_BIRTH && r->kind != RECORD_DEATH) continue;
    time_format_date(r->time.us, text);
    assert_string_equal(text, r->kind == RECORD_BIRTH ? "1950-06-01" : "2020-02-03");
    assert_int_equal(r->time.precision, r->kind == RECORD_BIRTH ? TIME_PRECISION_MONTH : TIME_PRECISION_SECOND);
  }
  assert_int_equal(dropped(&c, "Patient.?"), 1);
  assert_int_equal(dropped(&c, "Patient.extension.?"), 1);
  assert_int_equal(dropped(&c, "Patient.text"), 1);
  assert_int_equal(dropped(&c, "Patient.communication"), 1);
  catcher_close(&c);
}

TEST(patient_identifiers) {
  static const struct {
    const char *text;
    enum identifier_kind kind;
  } want[] = {{"Roe", IDENTIFIER_NAME},
              {"Jane", IDENTIFIER_NAME},
              {"Q", IDENTIFIER_NAME},
              {"Jane Q Roe", IDENTIFIER_NAME},
              {"555-1", IDENTIFIER_PHONE},
              {"555-2", IDENTIFIER_FAX},
              {"j@x.org", IDENTIFIER_EMAIL},
              {"http://j.org", IDENTIFIER_URL},
              {"1 Main St", IDENTIFIER_GEOGRAPHY},
              {"Peabody", IDENTIFIER_GEOGRAPHY},
              {"MRN-1", IDENTIFIER_MRN},
              {"999-11", IDENTIFIER_SSN},
              {"L-1", IDENTIFIER_LICENCE},
              {"HP-1", IDENTIFIER_HEALTH_PLAN},
              {"A-1", IDENTIFIER_ACCOUNT},
              {"X-1", IDENTIFIER_OTHER},
              {"Doe", IDENTIFIER_NAME},
              {"555-9", IDENTIFIER_PHONE},
              {"Poe", IDENTIFIER_NAME},
              {"carrier pigeon", IDENTIFIER_OTHER}};
  struct catcher c;
  accept_json(&c, patient, 4);
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    const struct record *r = identifier_of(&c, want[i].text);
    if (!r) fail_msg("no identifier %s", want[i].text);
    assert_int_equal(r->identifier, want[i].kind);
    assert_null(r->code.p);
  }
  const struct record *zip = identifier_of(&c, "01940");
  assert_int_equal(zip->identifier, IDENTIFIER_GEOGRAPHY);
  assert_true(str_eqc(zip->postcode, "01940") && str_eqc(zip->country, "US"));
  assert_null(identifier_of(&c, "Mrs."));
  assert_string_equal(identifier_of(&c, "Doe")->path, "Patient.contact.name");
  size_t photos = 0;
  for (size_t i = 0; i < c.n; i++) photos += c.records[i].r.kind == RECORD_IDENTIFIER && c.records[i].r.identifier == IDENTIFIER_PHOTO;
  assert_int_equal(photos, 1);
  /* photo, geolocation and postcode beside the table above */
  assert_int_equal(count_kind(&c, RECORD_IDENTIFIER), sizeof want / sizeof *want + 3);
  catcher_close(&c);
}

TEST(an_address_of_a_relative_is_no_place_of_the_patient) {
  static const char contact[] =
      "{\"resourceType\":\"Patient\",\"id\":\"a\",\"contact\":[{\"address\":{\"postalCode\":\"02139\",\"country\":\"US\"}}]}";
  static const char related[] =
      "{\"resourceType\":\"RelatedPerson\",\"id\":\"r\",\"patient\":{\"reference\":\"Patient/a\"},"
      "\"address\":[{\"postalCode\":\"02139\",\"country\":\"US\"}]}";
  static const char *const sources[] = {contact, related};
  for (int i = 0; i < 2; i++) {
    struct catcher c;
    accept_json(&c, sources[i], 0);
    const struct record *r = identifier_of(&c, "02139");
    assert_non_null(r);
    assert_int_equal(r->identifier, IDENTIFIER_GEOGRAPHY);
    assert_int_equal(r->postcode.n, 0);
    assert_int_equal(r->country.n, 0);
    catcher_close(&c);
  }
}

TEST(patient_death_without_a_date) {
  struct catcher c;
  accept_json(&c, "{\"resourceType\":\"Patient\",\"id\":\"a\",\"deceasedBoolean\":true}", 0);
  assert_int_equal(c.n, 1);
  assert_int_equal(c.records[0].r.kind, RECORD_DEATH);
  assert_int_equal(c.records[0].r.time.us, TIME_STATIC);
  catcher_close(&c);
  accept_json(&c, "{\"resourceType\":\"Patient\",\"id\":\"a\",\"deceasedBoolean\":false}", 0);
  assert_int_equal(c.n, 0);
  catcher_close(&c);
}

/* ---- bundles ---- */

#define ENTRY(url, resource) "{\"fullUrl\":\"" url "\",\"resource\":" resource "}"
#define PROCEDURE(reference)                                                                                  \
  "{\"resourceType\":\"Procedure\",\"status\":\"completed\",\"performedDateTime\":\"2019\",\"code\":" SNOMED( \
      "1") ",\"subject\":{\"reference\":\"" reference "\"}}"

TEST(bundle_person_is_one) {
  struct catcher c;
  accept_json(&c,
              "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[" ENTRY("urn:uuid:aaaa-1", PROCEDURE("urn:uuid:bbbb-2")) ","
              ENTRY("urn:uuid:bbbb-2", "{\"resourceType\":\"Patient\",\"id\":\"real\",\"gender\":\"male\"}") ","
              ENTRY("x", PROCEDURE("Patient/real")) "," ENTRY("x", PROCEDURE("https://h/fhir/Patient/real/_history/3")) ","
              ENTRY("x", "{\"resourceType\":\"Claim\",\"patient\":{}}") ",{\"request\":{\"method\":\"DELETE\"}}]}",
              4);
  for (size_t i = 0; i < c.n; i++)
    if (c.records[i].r.kind == RECORD_EVENT) assert_true(str_eqc(c.records[i].r.person, "real"));
  assert_int_equal(dropped(&c, "Claim"), 1);
  assert_int_equal(dropped(&c, "Bundle.entry"), 1);
  assert_int_equal(c.records[0].r.row, 1);
  catcher_close(&c);
}

TEST(bundle_medication_by_reference) {
  struct catcher c;
  accept_json(
      &c,
      "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[" ENTRY(
          "x",
          "{\"resourceType\":\"MedicationRequest\",\"status\":\"active\"," SUBJECT
          ",\"authoredOn\":\"2020\",\"medicationReference\":{\"reference\":\"urn:uuid:m-1\"}}") "," ENTRY("urn:uuid:m-1",
                                                                                                          "{\"resourceType\":"
                                                                                                          "\"Medication\",\"code\":" RXNORM(
                                                                                                              "5") "}") "]}",
      1);
  event_want(&c, "RXNORM//5", "2020-01-01T00:00:00");
  assert_int_equal(c.stats.dropped, 0);
  catcher_close(&c);
}

TEST(bundle_bad_entry_is_alone) {
  struct catcher c;
  catcher_open(&c);
  assert_int_equal(
      parse_text(&c, "{\"resourceType\":\"Bundle\",\"entry\":[" ENTRY("x", PROCEDURE("Patient/a")) ",17,{\"resource\":5}," ENTRY(
                         "x", PROCEDURE("Patient/")) "," ENTRY("x", PROCEDURE("Patient/b")) "]}"),
      OK);
  assert_int_equal(count_kind(&c, RECORD_EVENT), 2);
  assert_int_equal(c.rejects_n, 3);
  assert_int_equal(c.rejects[0].reject.row, 2);
  assert_int_equal(c.rejects[1].reject.row, 3);
  assert_int_equal(c.rejects[2].reject.row, 4);
  assert_string_equal(c.rejects[2].reject.field, "Procedure.subject");
  catcher_close(&c);
}

/* Resources that others have parsed, each in a document of its own, give what one Bundle of them gives. */
TEST(parsed_resources_are_a_bundle) {
  static const char *const url[] = {"urn:uuid:aaaa-1", "urn:uuid:bbbb-2", "", "x", "urn:uuid:m-1", "y", "z"};
  static const char *const resource[] = {PROCEDURE("urn:uuid:bbbb-2"),
                                         "{\"resourceType\":\"Patient\",\"id\":\"real\",\"gender\":\"male\",\"birthDate\":\"1950-02-03\"}",
                                         PROCEDURE("Patient/real"),
                                         "{\"resourceType\":\"MedicationRequest\",\"status\":\"active\"," SUBJECT
                                         ",\"authoredOn\":\"2020\",\"medicationReference\":{\"reference\":\"urn:uuid:m-1\"}}",
                                         "{\"resourceType\":\"Medication\",\"code\":" RXNORM("5") "}",
                                         "{\"resourceType\":\"Claim\",\"patient\":{}}",
                                         "{\"resourceType\":\"Procedure\",\"status\":\"completed\"}"};
  enum { N = sizeof url / sizeof *url };
  struct catcher whole, parts;
  struct json_parser *jp[N];
  struct fhir_parsed list[N];
  struct buf b = {0};
  buf_puts(&b, "{\"resourceType\":\"Bundle\",\"entry\":[");
  for (int i = 0; i < N; i++) {
    struct json root;
    size_t n = strlen(resource[i]);
    if (i) buf_putc(&b, ',');
    if (url[i][0])
      buf_printf(&b, "{\"fullUrl\":\"%s\",\"resource\":%s}", url[i], resource[i]);
    else
      buf_printf(&b, "{\"resource\":%s}", resource[i]);
    assert_int_equal(json_parser_new(&jp[i], NULL), OK);
    assert_int_equal(json_parse(jp[i], resource[i], n, n, &root, NULL), OK);
    list[i] = (struct fhir_parsed){root, url[i][0] ? str_c(url[i]) : STR_NONE};
  }
  buf_puts(&b, "]}");
  catcher_open(&whole), catcher_open(&parts);
  assert_int_equal(parse_text(&whole, buf_cstr(&b)), OK);
  assert_int_equal(fhir_take_parsed(list, N, 0, "test.json", &parts.sink, &parts.stats, &parts.error), OK);
  assert_int_equal(parts.n, whole.n);
  assert_int_equal(parts.rejects_n, whole.rejects_n);
  assert_true(parts.rejects_n > 0 && count_kind(&parts, RECORD_EVENT) >= 3);
  event_want(&parts, "RXNORM//5", "2020-01-01T00:00:00");
  for (size_t i = 0; i < whole.n; i++) {
    const struct record *x = &whole.records[i].r, *y = &parts.records[i].r;
    assert_true(x->kind == y->kind && x->row == y->row && x->time.us == y->time.us && str_eq(x->person, y->person) &&
                str_eq(x->code, y->code));
    assert_string_equal(x->path ? x->path : "", y->path ? y->path : "");
  }
  for (size_t i = 0; i < whole.rejects_n; i++) assert_int_equal(whole.rejects[i].reject.row, parts.rejects[i].reject.row);
  for (int i = 0; i < N; i++) json_parser_free(jp[i]);
  catcher_close(&whole), catcher_close(&parts);
  buf_release(&b);
}

TEST(other_types_are_counted) {
  struct catcher c;
  accept_json(&c, "{\"resourceType\":\"ExplanationOfBenefit\",\"patient\":{\"reference\":\"Patient/p1\"}}", 0);
  assert_int_equal(dropped(&c, "ExplanationOfBenefit"), 1);
  catcher_close(&c);
  accept_json(&c, "{\"resourceType\":\"JohnSmith\"}", 0);
  assert_int_equal(dropped(&c, "Resource.?"), 1);
  catcher_close(&c);
  accept_json(&c, "{\"resourceType\":\"Observation\",\"modifierExtension\":[{}]," SUBJECT "}", 0);
  assert_int_equal(dropped(&c, "Observation.modifierExtension"), 1);
  catcher_close(&c);
  accept_json(&c, "{\"resourceType\":\"Procedure\",\"subject\":{\"reference\":\"Group/g\"}}", 0);
  assert_int_equal(dropped(&c, "Procedure.subject"), 1);
  catcher_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(observation_quantity),
      cmocka_unit_test(observation_unit_that_is_no_code_reaches_the_wall),
      cmocka_unit_test(observation_answers),
      cmocka_unit_test(observation_display_joins_the_answer),
      cmocka_unit_test(observation_components),
      cmocka_unit_test(observation_times),
      cmocka_unit_test(status_says_that_it_did_not_happen),
      cmocka_unit_test(entered_in_error_takes_back),
      cmocka_unit_test(condition_course),
      cmocka_unit_test(coding_preference),
      cmocka_unit_test(codes_carry_no_words),
      cmocka_unit_test(encounter_start_and_end),
      cmocka_unit_test(medications),
      cmocka_unit_test(immunization_and_allergy),
      cmocka_unit_test(reports_and_documents),
      cmocka_unit_test(imaging_and_device),
      cmocka_unit_test(patient_facts),
      cmocka_unit_test(patient_identifiers),
      cmocka_unit_test(an_address_of_a_relative_is_no_place_of_the_patient),
      cmocka_unit_test(patient_death_without_a_date),
      cmocka_unit_test(bundle_person_is_one),
      cmocka_unit_test(bundle_medication_by_reference),
      cmocka_unit_test(bundle_bad_entry_is_alone),
      cmocka_unit_test(parsed_resources_are_a_bundle),
      cmocka_unit_test(other_types_are_counted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
