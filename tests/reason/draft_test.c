/* Documents from a made-up life, word for word; what is left out, what is abstained from; and what a clinician makes of them. */
#include "../timeline/store_help.h"

#include "base/time.h"
#include "predict/predict.h"
#include "reason/ask.h"
#include "reason/draft.h"
#include "reason/draft_review.h"

#define AT(day) ((int64_t)(day)*TIME_DAY)
static struct timeline *store;
static struct asker *asker;
static struct drafter *drafter;
static struct arena arena;
static const struct draft_model no_model;

static struct event named(int64_t subject, int64_t time, const char *code, const char *display, float value, const char *unit) {
  struct event ev = event_of(subject, time, code, value);
  ev.display = str_c(display);
  ev.unit = str_c(unit);
  return ev;
}
static int make(void **state) {
  (void)state;
  const struct event v[] = {
      named(7, INT64_MIN, "GENDER//F", "", NAN, ""),
      named(7, AT(-10000), "MEDS_BIRTH", "", NAN, ""),
      named(7, AT(10), "LOINC//2160-0", "Creatinine", 1.0F, "mg/dL"),
      named(7, AT(12), "RXNORM//7980//ALLERGY", "Penicillin G", NAN, ""),
      named(7, AT(15), "SNOMED//38341003", "Hypertension (disorder)", NAN, ""),
      named(7, AT(20), "SNOMED//36971009", "Sinusitis (disorder)", NAN, ""),
      named(7, AT(30), "SNOMED//36971009//RESOLVED", "Sinusitis (disorder)", NAN, ""),
      named(7, AT(400), "LOINC//777-3", "Platelets", 250.04F, "10*3/uL"),
      named(7, AT(1000), "ENCOUNTER//IMP", "", NAN, ""),
      named(7, AT(1000), "LOINC//2160-0", "Creatinine", 2.5F, "mg/dL"),
      named(7, AT(1001), "RXNORM//1", "Furosemide 40 MG Oral Tablet", NAN, ""),
      named(7, AT(1003), "LOINC//2160-0", "Creatinine", 1.5F, "mg/dL"),
      named(7, AT(1003), "ICD10CM//I50.9", "Heart failure, unspecified", NAN, ""),
      named(7, AT(1004), "ENCOUNTER_END//IMP", "", NAN, ""),
      /* a life with little, and one without a stay */
      named(8, AT(1), "LOINC//2160-0", "Creatinine", 1.0F, "mg/dL"),
      named(9, AT(-9000), "MEDS_BIRTH", "", NAN, ""),
      named(9, AT(1), "LOINC//2160-0", "Creatinine", 1.0F, "mg/dL"),
      named(9, AT(2), "LOINC//2160-0", "Creatinine", 1.0F, "mg/dL"),
      named(9, AT(3), "LOINC//2160-0", "Creatinine", 1.0F, "mg/dL"),
      named(9, AT(4), "LOINC//2160-0", "Creatinine", 1.0F, "mg/dL"),
      named(9, AT(5), "LOINC//2160-0", "Creatinine", 1.1F, "mg/dL"),
      /* wards that follow each other: 100 to 104 and, five minutes later, to 109; before it a stay without an end; equal events are one */
      named(10, INT64_MIN, "GENDER//M", "", NAN, ""),
      named(10, AT(-9000), "MEDS_BIRTH", "", NAN, ""),
      named(10, AT(1), "ENCOUNTER//IMP", "", NAN, ""),
      named(10, AT(80), "SNOMED//195967001", "Asthma", NAN, ""),
      named(10, AT(90), "SNOMED//195967001//RESOLVED", "Asthma", NAN, ""),
      named(10, AT(20), "ICD10CM//J45.909", "Asthma", NAN, ""),
      named(10, AT(100), "ENCOUNTER//IMP", "", NAN, ""),
      named(10, AT(102), "SNOMED//233604007", "Pneumonia", NAN, ""),
      named(10, AT(104), "ENCOUNTER_END//IMP", "", NAN, ""),
      named(10, AT(104) + TIME_DAY / 288, "ENCOUNTER//IMP", "", NAN, ""),
      named(10, AT(109), "ENCOUNTER_END//IMP", "", NAN, ""),
      /* intensive care inside a stay; and a ward whose start was the stay's own */
      named(11, INT64_MIN, "GENDER//M", "", NAN, ""),
      named(11, AT(-9000), "MEDS_BIRTH", "", NAN, ""),
      named(11, AT(100), "ENCOUNTER//IMP", "", NAN, ""),
      named(11, AT(101), "SNOMED//233604007", "Pneumonia", NAN, ""),
      named(11, AT(103), "ENCOUNTER//ACUTE", "", NAN, ""),
      named(11, AT(105), "ENCOUNTER_END//ACUTE", "", NAN, ""),
      named(11, AT(106), "SNOMED//59282003", "Pulmonary embolism", NAN, ""),
      named(11, AT(109), "ENCOUNTER_END//IMP", "", NAN, ""),
      named(12, INT64_MIN, "GENDER//M", "", NAN, ""),
      named(12, AT(-9000), "MEDS_BIRTH", "", NAN, ""),
      named(12, AT(50), "ENCOUNTER//IMP", "", NAN, ""),
      named(12, AT(51), "ENCOUNTER_END//IMP", "", NAN, ""),
      named(12, AT(100), "ENCOUNTER//IMP", "", NAN, ""),
      named(12, AT(101), "SNOMED//233604007", "Pneumonia", NAN, ""),
      named(12, AT(105), "ENCOUNTER_END//IMP", "", NAN, ""),
      named(12, AT(109), "ENCOUNTER_END//IMP", "", NAN, ""),
      /* OMOP's visits, and a concept of any kind */
      named(13, INT64_MIN, "GENDER//M", "", NAN, ""),
      named(13, AT(-9000), "MEDS_BIRTH", "", NAN, ""),
      named(13, AT(100), "VISIT_START//OMOP//9201", "", NAN, ""),
      named(13, AT(101), "SNOMED//233604007", "Pneumonia", NAN, ""),
      named(13, AT(102), "OMOP//4300877", "", NAN, ""),
      named(13, AT(104), "VISIT_END//OMOP//9201", "", NAN, ""),
      named(13, AT(104), "VISIT_START//OMOP//262", "", NAN, ""),
      named(13, AT(109), "VISIT_END//OMOP//262", "", NAN, ""),
      named(13, AT(200), "VISIT_START//OMOP//38004207", "", NAN, ""),
      named(13, AT(200), "VISIT_END//OMOP//38004207", "", NAN, ""),
      named(13, AT(200), "LOINC//777-3", "Platelets", 250, "10*3/uL"),
  };
  OKAY(timeline_memory_new(&store, e));
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) OKAY(timeline_memory_append(store, &v[i], e));
  OKAY(timeline_memory_seal(store, e));
  OKAY(asker_new(store, &asker, e));
  OKAY(drafter_new(asker, NULL, &drafter, e));
  arena_init(&arena, 64 << 20, 0);
  return 0;
}
static int unmake(void **state) {
  (void)state;
  drafter_free(drafter);
  asker_free(asker);
  timeline_close(store);
  arena_free(&arena);
  return 0;
}
static uint32_t index_of(int64_t subject) {
  uint32_t i = 0;
  OKAY(timeline_find(store, subject, &i, e));
  return i;
}
static struct draft written(const struct drafter *d, int64_t subject, const char *kind, const struct draft_model *m) {
  struct draft r;
  OKAY(draft_write(d, index_of(subject), str_c(kind), m, &arena, &r, e));
  return r;
}
static const char *printed(const struct draft *r) {
  struct buf b = {0};
  draft_print(r, &b);
  const char *out = arena_strndup(&arena, b.p, b.n);
  buf_release(&b);
  return out;
}

static void a_discharge_summary_word_for_word(void **state) {
  (void)state;
  struct draft r = written(drafter, 7, "discharge", &no_model);
  assert_string_equal(printed(&r),
                      "Discharge summary\n"
                      "\nPatient\n"
                      "  Recorded sex: female. [e0]\n"
                      "  Born on 1942-08-16; 30 years old on 1972-10-01. [e1, e13]\n"
                      "\nStay\n"
                      "  Admitted on 1972-09-27: Inpatient encounter (IMP). [e8]\n"
                      "  Discharged on 1972-10-01: Inpatient encounter (IMP). [e13]\n"
                      "\nConditions recorded during the stay\n"
                      "  Heart failure, unspecified, on 1972-09-30. [e11]\n"
                      "\nProcedures\n"
                      "  No procedure is recorded during the stay.\n"
                      "\nAllergies on record\n"
                      "  Penicillin G, on 1970-01-13. [e3]\n"
                      "\nMedicines during the stay\n"
                      "  Furosemide 40 MG Oral Tablet, on 1972-09-28. [e10]\n"
                      "\nResults: how they moved\n"
                      "  Creatinine fell from 2.5 mg/dL on 1972-09-27 to 1.5 mg/dL on 1972-09-30. [e9, e12]\n"
                      "\nOther problems\n"
                      "  Hypertension, on 1970-01-16. [e4]\n"
                      "\nPlan\n"
                      "  (to be written)\n"
                      "\nA draft from the record alone: to be read, corrected and signed by a clinician.\n");
  assert_int_equal(r.withheld, 0);
  struct draft again = written(drafter, 7, "discharge", &no_model);
  assert_string_equal(r.id, again.id);
}

static bool says(const struct draft *r, const char *text) { return strstr(printed(r), text) != NULL; }
static void resolved_conditions_are_not_problems(void **state) {
  (void)state;
  struct draft r = written(drafter, 7, "referral", &no_model);
  assert_true(says(&r, "Sinusitis, on 1970-01-21; resolved on 1970-01-31. [e5, e6]"));
  assert_false(says(&r, "Sinusitis, on 1970-01-21. "));
  assert_true(says(&r, "Reason for referral\n  (to be written)"));
  r = written(drafter, 7, "visit", &no_model);
  assert_true(says(&r, "Platelets 250 10*3/uL, last on 1971-02-05: repeat? [e7]")); /* digits of a unit are no figure */
  assert_false(says(&r, "Risks by the model"));
}

static void a_problem_stays_one_where_its_namesake_is_over(void **state) {
  (void)state;
  struct draft r = written(drafter, 10, "referral", &no_model);
  assert_true(says(&r, "\nProblems\n  Pneumonia, on 1970-04-13. [e7]\n  Asthma, on 1970-01-21. [e3]\n"));
  assert_true(says(&r, "Asthma, on 1970-03-22; resolved on 1970-04-01. [e4, e5]"));
}

static void stays_that_nest_or_follow_are_one(void **state) {
  (void)state;
  for (int64_t who = 10; who <= 13; who++) {
    struct draft r = written(drafter, who, "discharge", &no_model);
    assert_true(says(&r, "Admitted on 1970-04-11: "));
    assert_true(says(&r, "Discharged on 1970-04-20: "));
    assert_true(says(&r, "Conditions recorded during the stay\n  P"));
    assert_true(says(&r, "Pneumonia, on 1970-04-1"));
    assert_int_equal(r.withheld, 0);
  }
  struct draft r = written(drafter, 13, "discharge", &no_model);
  assert_true(says(&r, "Admitted on 1970-04-11: Inpatient visit (OMOP)."));
  assert_true(says(&r, "Discharged on 1970-04-20: Emergency room and inpatient visit (OMOP)."));
  assert_false(says(&r, "No procedure is recorded")); /* what OMOP//4300877 is, nothing says */
  r = written(drafter, 12, "discharge", &no_model);
  assert_true(says(&r, "No procedure is recorded"));
  r = written(drafter, 13, "visit", &no_model);
  assert_true(says(&r, "Platelets 250 10*3/uL on 1970-07-20."));
}

static void an_allergy_is_no_medicine(void **state) {
  (void)state;
  static const char *const kinds[] = {"visit", "referral", "discharge"};
  for (int i = 0; i < 3; i++) {
    struct draft r = written(drafter, 7, kinds[i], &no_model);
    assert_true(says(&r, "\nAllergies on record\n  Penicillin G, on 1970-01-13. [e3]\n\nMedicines"));
    assert_true(strstr(strstr(printed(&r), "Penicillin") + 1, "Penicillin") == NULL);
  }
}

static void thin_records_get_no_document(void **state) {
  (void)state;
  struct draft r = written(drafter, 8, "visit", &no_model);
  assert_true(r.abstained && r.sections == 0);
  assert_string_equal(r.why, "the record holds too little");
  r = written(drafter, 9, "discharge", &no_model);
  assert_string_equal(r.why, "the record holds no stay in hospital");
  r = written(drafter, 9, "visit", &no_model); /* one repeated value is not a visit's worth */
  assert_string_equal(r.why, "too few statements are supported by the record");
  assert_int_equal(draft_write(drafter, 0, STR("poem"), &no_model, &arena, &r, NULL), E_NOTFOUND);
}

static void risks_are_the_models_and_say_so(void **state) {
  (void)state;
  struct predict_contribution moved = {.time = AT(1003), .code = STR("LOINC//2160-0"), .value = 1.5F, .delta = 1};
  struct prediction p = {.has_task = true,
                         .probability = 0.123,
                         .lo = 0.1,
                         .hi = 0.2,
                         .agreement = 0.9,
                         .warning = {"its timeline is unusual"},
                         .warnings = 1,
                         .contribution = &moved,
                         .contributions = 1},
                    refused = {.has_task = true, .refusal = "dead"};
  struct draft_risk risk[] = {{STR("Death within a year"), &p}, {STR("Stroke"), &refused}};
  struct draft r = written(drafter, 7, "visit", &(struct draft_model){STR("abc"), risk, 2});
  assert_true(
      says(&r,
           "Death within a year: 12.3 % (10.0 to 20.0 %); two ways of asking disagree, so do not lean on this number. [moved most by "
           "e12]"));
  assert_true(says(&r, "Death within a year: its timeline is unusual."));
  assert_false(says(&r, "Stroke"));
  struct draft without = written(drafter, 7, "visit", &no_model);
  assert_string_not_equal(r.id, without.id);
}

static const char *site_file(const char *text) {
  static char path[64];
  strcpy(path, "/tmp/vitae-drafts-XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
  close(fd);
  return path;
}
#define DOCUMENT(part)                                                                                                                   \
  "{\"documents\":[{\"kind\":\"own\",\"title\":\"Own\",\"least_events\":1,\"least_sentences\":1,\"sections\":[{\"key\":\"k\",\"title\":" \
  "\"T\",\"parts\":[" part "]}]}]}"
static void what_the_record_does_not_bear_out_is_left_out(void **state) {
  (void)state;
  struct drafter *own;
  const char *path =
      site_file(DOCUMENT("{\"of\":\"list\",\"kinds\":[\"condition\"],\"once\":\"{name}, on {last}.\",\"many\":\"-\"},"
                         "{\"of\":\"list\",\"kinds\":[\"condition\"],\"once\":\"Severe {name} needs urgent cardiac transplantation "
                         "tomorrow.\",\"many\":\"-\"},"
                         "{\"of\":\"list\",\"kinds\":[\"condition\"],\"once\":\"{name} for 17 years.\",\"many\":\"-\"}"));
  OKAY(drafter_new(asker, path, &own, e));
  struct draft r = written(own, 7, "own", &no_model);
  assert_int_equal(r.section[0].sentences, 3);
  assert_int_equal(r.withheld, 6);
  drafter_free(own);
  unlink(path);
}
static void documents_of_a_site_are_checked(void **state) {
  (void)state;
  static const char *const bad[] = {
      "{}",
      "[]",
      "{\"documents\":[]}",
      DOCUMENT("{\"of\":\"poem\"}"),
      DOCUMENT("{\"of\":\"list\",\"once\":\"{name}\",\"many\":\"{name}\"}"),
      DOCUMENT("{\"of\":\"list\",\"kinds\":[\"condition\"],\"once\":\"{name}\"}"),
      DOCUMENT("{\"of\":\"list\",\"kinds\":[\"condition\"],\"once\":\"{nobody}\",\"many\":\"{name}\"}"),
      DOCUMENT("{\"of\":\"list\",\"kinds\":[\"condition\"],\"once\":\"{name\",\"many\":\"{name}\"}"),
      DOCUMENT("{\"of\":\"list\",\"kinds\":[\"condition\"],\"most\":0,\"once\":\"{name}\",\"many\":\"{name}\"}"),
      DOCUMENT("{\"of\":\"blank\",\"days\":-1}")};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct drafter *d;
    const char *path = site_file(bad[i]);
    if (drafter_new(asker, path, &d, NULL) != E_INPUT) fail_msg("accepted: %s", bad[i]);
    unlink(path);
  }
}

/* ---- edits ---- */

static uint32_t apart(const char *a, const char *b) {
  uint32_t n = 0;
  OKAY(edit_distance(str_c(a), str_c(b), &arena, &n, e));
  return n;
}
static void distances(void **state) {
  (void)state;
  assert_int_equal(apart("", ""), 0);
  assert_int_equal(apart("kitten", "sitting"), 3);
  assert_int_equal(apart("", "abc"), 3);
  assert_int_equal(apart("größer", "grosser"), 3); /* characters, not bytes */
  assert_int_equal(apart("\xff\xfe", "\xff"), 1);
}

/* The review that a client sends of draft r: sentence 0 kept, 1 changed, 2 deleted, the blank filled, one added. */
static void review_of(const struct draft *r, const char *first, struct buf *b) {
  struct json_out o;
  int n = 0;
  json_out_init(&o, b, false);
  json_out_object(&o);
  json_kv_c(&o, "draft", r->id);
  json_kv_str(&o, "kind", r->kind);
  json_kv_c(&o, "generation", timeline_generation(store));
  json_kv_c(&o, "version", "");
  json_out_key(&o, "sentences");
  json_out_array(&o);
  for (int i = 0; i < r->sections; i++)
    for (int k = 0; k < r->section[i].sentences; k++, n++) {
      const struct draft_sentence *s = &r->section[i].sentence[k];
      struct str text = n == 0 && first ? str_c(first) : s->text.p ? s->text : STR("");
      json_out_object(&o);
      json_kv_c(&o, "id", s->id);
      json_kv_c(&o, "rule", s->rule);
      json_kv_str(&o, "text", text);
      json_out_key(&o, "events");
      json_out_array(&o);
      json_out_c(&o, "e0");
      json_out_end(&o);
      json_out_key(&o, "final");
      if (n == 2)
        json_out_null(&o);
      else
        json_out_str(&o, n == 1 ? STR("Changed by hand") : text.n ? text : STR("Home on Monday."));
      json_out_end(&o);
    }
  json_out_end(&o);
  json_out_key(&o, "added");
  json_out_array(&o);
  json_out_object(&o);
  json_kv_c(&o, "after", "s1");
  json_kv_c(&o, "text", "Lives alone.");
  json_out_end(&o);
  json_out_end(&o);
  json_out_end(&o);
  buf_reserve(b, STREAM_PAD);
}
static int read_review(struct buf *b, int64_t subject, struct json_parser *jp, struct draft_review *r) {
  struct json root;
  OKAY(json_parse(jp, b->p, b->n, b->cap, &root, e));
  return draft_review_read(root, subject, &arena, r, NULL);
}
static void a_review_is_counted_and_cannot_be_of_another_draft(void **state) {
  (void)state;
  struct draft r = written(drafter, 7, "discharge", &no_model);
  struct json_parser *jp;
  struct draft_review v;
  struct buf b = {0}, out = {0};
  struct json_out o;
  OKAY(json_parser_new(&jp, e));
  review_of(&r, NULL, &b);
  assert_int_equal(read_review(&b, 7, jp, &v), OK);
  assert_int_equal(v.count[DRAFT_CHANGED], 1);
  assert_int_equal(v.count[DRAFT_DELETED], 1);
  assert_int_equal(v.count[DRAFT_ADDED], 2); /* the blank, and the one after s1 */
  assert_int_equal(v.count[DRAFT_KEPT], 8);
  uint64_t changed = apart("Born on 1942-08-16; 30 years old on 1972-10-01.", "Changed by hand"),
           deleted = strlen("Admitted on 1972-09-27: Inpatient encounter (IMP).");
  assert_int_equal(v.distance, changed + deleted + strlen("Home on Monday.") + strlen("Lives alone."));
  json_out_init(&o, &out, false);
  json_out_object(&o);
  draft_review_json(&v, true, &o);
  json_out_end(&o);
  assert_non_null(strstr(buf_cstr(&out),
                         "\"rule\":\"person.age\",\"draft\":\"Born on 1942-08-16; 30 years old on 1972-10-01.\",\"final\":\"Changed by "
                         "hand\",\"events\":[\"e0\"]"));
  assert_int_equal(read_review(&b, 8, jp, &v), E_MISMATCH); /* somebody else's */
  buf_clear(&b);
  review_of(&r, "Recorded sex: male.", &b);
  assert_int_equal(read_review(&b, 7, jp, &v), E_MISMATCH);
  static const char *const bad[] = {"[]", "{}", "{\"sentences\":[]}",
                                    "{\"draft\":\"x\",\"kind\":\"visit\",\"generation\":\"g\",\"version\":\"\",\"sentences\":[1]}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    buf_clear(&b);
    buf_puts(&b, bad[i]);
    buf_reserve(&b, STREAM_PAD);
    assert_int_equal(read_review(&b, 7, jp, &v), E_INPUT);
  }
  buf_release(&b), buf_release(&out);
  json_parser_free(jp);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_discharge_summary_word_for_word),
                                     cmocka_unit_test(resolved_conditions_are_not_problems),
                                     cmocka_unit_test(a_problem_stays_one_where_its_namesake_is_over),
                                     cmocka_unit_test(stays_that_nest_or_follow_are_one),
                                     cmocka_unit_test(an_allergy_is_no_medicine),
                                     cmocka_unit_test(thin_records_get_no_document),
                                     cmocka_unit_test(risks_are_the_models_and_say_so),
                                     cmocka_unit_test(what_the_record_does_not_bear_out_is_left_out),
                                     cmocka_unit_test(documents_of_a_site_are_checked),
                                     cmocka_unit_test(distances),
                                     cmocka_unit_test(a_review_is_counted_and_cannot_be_of_another_draft)};
  return cmocka_run_group_tests_name("draft", tests, make, unmake);
}
