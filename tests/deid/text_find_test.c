/* What is found and what is left alone: one case for each failure that others' tools are known for (docs/deid-text.md lists them), formats of
 * dates and numbers, names and places by grammar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "deid/text.h"
#include "deid/text_check.h"
#include "deid/text_internal.h"

static struct text_scrubber *scrubber;
static struct text_work *work;

static int open_all(void **state) {
  struct error e = {0};
  (void)state;
  if (text_scrubber_open("policy/text.json", &scrubber, &e) < 0 || text_work_new(scrubber, &work, &e) < 0) {
    error_print(stderr, &e);
    return -1;
  }
  return 0;
}
static int close_all(void **state) {
  (void)state;
  text_work_free(work);
  text_scrubber_close(scrubber);
  return 0;
}

static struct text_spans find(const char *text) {
  struct text_spans out;
  struct error e = {0};
  if (text_find(work, str_c(text), NULL, &out, &e) < 0) {
    error_print(stderr, &e);
    fail();
  }
  return out;
}

static bool covered(const char *text, const char *part) {
  const char *at = strstr(text, part);
  assert_non_null(at);
  size_t from = (size_t)(at - text), to = from + strlen(part);
  struct text_spans s = find(text);
  for (size_t i = from; i < to; i++) {
    bool in = false;
    for (uint32_t k = 0; k < s.n; k++) in = in || (s.at[k].start <= i && i < s.at[k].end);
    if (!in) return false;
  }
  return true;
}

static void wants(const char *text, const char *part) {
  if (!covered(text, part)) fail_msg("'%s' is not covered in: %s", part, text);
}
static void leaves(const char *text) {
  struct text_spans s = find(text);
  if (s.n)
    fail_msg("'%.*s' was taken (%s) in: %s", (int)(s.at[0].end - s.at[0].start), text + s.at[0].start, text_label_name(s.at[0].label),
             text);
}

static void names_that_are_words(void **state UNUSED) {
  leaves("Excellent response; the patient has hope and power, a young zone of healing.");
  leaves("Mark the site. Bill the plan. Grace period applies. May repeat in 4 hours.");
  leaves("Will follow up. Long day of travel. Rose to standing without help.");
  wants("Discussed with Grace Hopper today.", "Grace Hopper");
  wants("She was seen by Mark Johnson.", "Mark Johnson");
  wants("Patient: Veronica Young, here for review.", "Veronica Young");
}

static void eponyms_drugs_and_laboratory(void **state UNUSED) {
  leaves("Lewy body dementia, Creutzfeldt-Jakob disease and Lyme disease were considered.");
  leaves("Crohn's disease; Barrett's esophagus; Wilson's disease; Cushing's syndrome; Hodgkin lymphoma.");
  leaves("Positive Babinski sign, negative Chaddock reflex, Wells score of 7, Framingham risk score high.");
  leaves("ALT 45, ALBUMIN 3.9, started Tapentadol and losartan, Foley catheter in place.");
  leaves("St. John's wort was stopped. ST elevation in V2. MS stable.");
}

static void dates_and_what_looks_like_them(void **state UNUSED) {
  leaves("Strength 5/5 in all limbs, gave 2.5 mg, blood pressure 120/80, pain 3/10, 1/2 tablet.");
  leaves("Diagnosed back in 2021, seen last week, POD#2, 3 days ago, every 4-6 hours.");
  leaves("INR 2.5-3.5, ratio 1.25/1, dose 5-10 mg, HbA1c 7.2, L4-5 disc, T10-L1, CA-125, COVID-19.");
  static const char *const dates[] = {
      "03/04/2020",     "3/4/20",       "03-04-2020",      "4.3.2020",           "2020-03-04",          "March 4, 2020",
      "March 4th 2020", "Mar. 4, 2020", "4 March 2020",    "4th of March 2020",  "23 June 2010",        "Janaury 4, 2020",
      "March 2020",     "Jan 20th '23", "March 3-5, 2023", "4 de marzo de 2020", "4. M\xc3\xa4rz 2020", "04-Mar-2020"};
  for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
    char text[128];
    snprintf(text, sizeof text, "The operation was on %s", dates[i]); /* at the very end */
    wants(text, dates[i]);
    snprintf(text, sizeof text, "The operation was on %s.", dates[i]);
    wants(text, dates[i]);
  }
  wants("Seen on 08/22 in clinic.", "08/22");
  wants("Came back around Thanksgiving with fever.", "Thanksgiving");
  wants("Pain began in July and went on.", "July");
}

static void ages(void **state UNUSED) {
  leaves("A 55-year-old man, 89 yo wife, age 42, aged 7, 8-year-old girl.");
  wants("A 94-year-old woman.", "94");
  wants("He is 101 y/o.", "101");
  wants("Patient aged 92 with a fall.", "92");
}

/* Shorthand for age and sex; the sex stays. */
static void ages_in_shorthand(void **state UNUSED) {
  static const char *const texts[][2] = {
      {"92F with CHF, fell.", "92"},
      {"Pt is a 95M s/p fall.", "95"},
      {"92 F with CHF", "92"},
      {"92yoF", "92"},
      {"92y F", "92"},
      {"92/F", "92"},
      {"CC: 91F c/o SOB", "91"},
      {"HPI: 94M w/ PMH of HTN", "94"},
      {"a 93 y M", "93"},
      {"96yr M", "96"},
      {"96 yrs", "96"},
      {"96 y", "96"},
      {"This 91 M was seen", "91"},
      {"Mrs. X, 93, was admitted.", "93"},
      {"Patient (93) fell.", "93"},
      {"92 F.", "92"},
      {"She is ninety one years old", "ninety one"},
      {"ninety one years", "ninety one"},
      {"came after her 97th birthday", "97th"},
      {"his ninety-seventh birthday", "ninety-seventh"},
      {"is now in his mid-nineties", "nineties"},
      {"Seen and examined. 97M admitted overnight.", "97"},
      {"Reviewed. 92F. Stable.", "92"},
      {"- 99F with CHF", "99"},
      {"EMS brought 92M with fall", "92"},
      {"this is a 103 white male", "103"},
      {"92f with chf", "92"},
      {"101F with CHF", "101"},
      {"Her mother, 93, lives alone", "93"},
      {"aged ninety-four", "ninety-four"},
      {"one hundred and two years old", "one hundred and two"},
  };
  static const char *const left[] = {
      "Temp 99F today.",
      "T 98.6 F, HR 92",
      "fever to 101F with cough",
      "Temp 99 F with chills",
      "temp 101F s/p acetaminophen",
      "Tmax 101F.",
      "HR 92, SpO2 92% on 2L",
      "K 4.1, 92 mg daily",
      "gave 96 hrs of heparin, 96h later",
      "Vitals: 99F, 92, 120/80",
      "99F with chills",
      "walked 92m with walker",
      "ambulated 120 M with RW",
      "92 female patients were enrolled",
      "100 years ago",
      "over the past 100 years",
      "F-18 FDG 120 M",
      "Glucose 120 mg/dL, 95%, Na 140",
      "A 55F with CHF, 89M s/p fall.",
      "98 F at night",
      "Temp was 101F, found to be septic",
      "heated to 95 F with caution",
      "He has smoked 100 pack years",
      "sats in the 90s",
      "one hundred mg, ninety minutes",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    wants(texts[i][0], texts[i][1]);
    struct text_spans s = find(texts[i][0]);
    size_t from = (size_t)(strstr(texts[i][0], texts[i][1]) - texts[i][0]), n = strlen(texts[i][1]);
    if (s.at[s.n - 1].end != from + n || s.at[s.n - 1].start != from) fail_msg("not the age alone was taken in: %s", texts[i][0]);
  }
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) leaves(left[i]);
}

static void numbers(void **state UNUSED) {
  static const struct {
    const char *text, *part;
    int label;
  } cases[] = {{"Call (617) 555-0199 x23 now", "(617) 555-0199 x23", TEXT_PHONE},
               {"Call (617)\n555-0199 now", "(617)\n555-0199", TEXT_PHONE},
               {"care of\nZZ 7, MA,   02139", "MA,   02139", TEXT_LOCATION},
               {"Patient     no.    4417-AB2 was", "4417-AB2", TEXT_MRN},
               {"Insurance plan iszzzzzz4419 ok", "iszzzzzz4419", TEXT_HEALTH_PLAN},
               {"Tel +44 20 7946 0958", "+44 20 7946 0958", TEXT_PHONE},
               {"Fax: 617.555.0142", "617.555.0142", TEXT_FAX},
               {"write to jane_doe@example.com, please", "jane_doe@example.com", TEXT_EMAIL},
               {"see https://example.org/p?id=4.", "https://example.org/p?id=4", TEXT_URL},
               {"from 192.168.4.20 today", "192.168.4.20", TEXT_IP},
               {"SSN 219-09-9999", "219-09-9999", TEXT_SSN},
               {"(MRN: #CS123456)", "#CS123456", TEXT_MRN},
               {"MRN 0048392", "0048392", TEXT_MRN},
               {"policy no. HS-987654", "HS-987654", TEXT_HEALTH_PLAN},
               {"card 4111 1111 1111 1111 was lost", "4111 1111 1111 1111", TEXT_ACCOUNT},
               {"IBAN DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00", TEXT_ACCOUNT},
               {"driver's license number is D123-4567", "D123-4567", TEXT_LICENCE},
               {"VIN: 1M8GDM9AXKP042788", "1M8GDM9AXKP042788", TEXT_VEHICLE},
               {"pacemaker serial number PJN7265431", "PJN7265431", TEXT_DEVICE},
               {"lives at 123 Maple Street, Apt 4", "123 Maple Street, Apt 4", TEXT_LOCATION},
               {"PO Box 1234", "PO Box 1234", TEXT_LOCATION},
               {"zip code 02139", "02139", TEXT_LOCATION}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) wants(cases[i].text, cases[i].part);
  leaves("Platelets 250000, glucose 105.5, sodium 140, WBC 11.2, creatinine 1.8 mg/dL, NCT01234567.");
}

static void facilities_and_places(void **state UNUSED) {
  wants("Admitted to Methodist Hospital overnight.", "Methodist Hospital");
  wants("seen at Brigham and Women's Hospital on call", "Brigham and Women's Hospital");
  wants("transferred to St. Mary's from home", "St. Mary's");
  wants("followed at Quillfeather Medical Center weekly", "Quillfeather Medical Center");
  wants("She lives in Tacoma, WA with her son", "Tacoma, WA");
  wants("at Children's Hospital of Philadelphia", "Children's Hospital of Philadelphia");
  leaves("Seen in the emergency department, then in an outpatient clinic and a nursing home; travelled in California.");
  leaves("Cardiology Clinic follow-up; Hospital Course: uneventful.");
}

static void names(void **state UNUSED) {
  wants("Dr. A. Barnes and Mrs Okonkwo were there", "Barnes");
  wants("Dr. A. Barnes and Mrs Okonkwo were there", "Okonkwo");
  wants("for John L., who fell", "John L.");
  wants("Signed by: Quentin Zarqavi MD", "Zarqavi");
  wants("SMITH, JOHN presented", "SMITH, JOHN");
  wants("Mr. O'Brien was here", "O'Brien");
  wants("patient named Anne-Marie Lefebvre-Ruiz", "Anne-Marie Lefebvre-Ruiz");
  wants("Mrs. Rose Grant presented", "Rose Grant"); /* a family name that is a word */
  wants("Seen by Dr. Will Bill today.", "Will Bill");
  wants("Dr. Mark Young saw Mr. Will Long. Ms. Hope May called.", "Mark Young");
  wants("Dr. Mark Young saw Mr. Will Long. Ms. Hope May called.", "Will Long");
  wants("Dr. Mark Young saw Mr. Will Long. Ms. Hope May called.", "Hope May");
  assert_false(covered("Dr. Mark Cardiology", "Cardiology") || covered("Seen by Dr. James Plan: rest", "Plan"));
  assert_false(covered("Mrs. Rose Wants to leave", "Wants"));
  struct text_spans s = find("Dr. Zyxwort came. Later Zyxwort left."); /* found again in the document */
  assert_int_equal(s.n, 2);
}

/* Numbers are no persons, and a number alone is no date. */
static void bare_numbers(void **state UNUSED) { leaves("Of 12, 345 and 1000 units, 3.14 and 7.5 were 88 and 42."); }

/* The scan must not depend on where in memory a text lies (vectorscan 5.4.9 overlooked the last vector of a text). */
static void any_alignment(void **state UNUSED) {
  static const char text[] =
      "Guidelines for a patient with hypertension and so on, seen in the clinic long ago, with words up to here (MRN: #SC-98765) "
      "and then a little more of them that says nothing.";
  char buffer[sizeof text + 256];
  struct error e = {0};
  struct text_rules_work *rw;
  assert_int_equal(text_rules_work_new(scrubber->rules, &rw, &e), OK);
  for (size_t shift = 0; shift < 64; shift++)
    for (size_t cut = 0; cut < 24; cut++) {
      struct text_spans s = {0};
      memset(buffer, 0, sizeof buffer);
      memcpy(buffer + shift, text, sizeof text - 1 - cut);
      assert_int_equal(text_rules_find(scrubber->rules, rw, (struct str){buffer + shift, sizeof text - 1 - cut}, &s, &e), OK);
      assert_true(s.n >= 1);
      text_spans_release(&s);
    }
  text_rules_work_free(rw);
}

static bool check(const char *name, const char *value) {
  text_check_fn f = text_check_named(str_c(name));
  assert_non_null(f);
  struct text_check_place p = {str_c(value), 0, (uint32_t)strlen(value)};
  return f(&p);
}
static void verifiers(void **state UNUSED) {
  assert_true(check("luhn", "4111 1111 1111 1111") && !check("luhn", "4111 1111 1111 1112"));
  assert_true(check("iban", "GB82 WEST 1234 5698 7654 32") && !check("iban", "GB83 WEST 1234 5698 7654 32"));
  assert_true(check("npi", "1234567893") && !check("npi", "1234567894"));
  assert_true(check("ssn", "219-09-9999") && !check("ssn", "000-12-3456") && !check("ssn", "666-12-3456") && !check("ssn", "912-12-3456"));
  assert_true(check("vin", "1M8GDM9AXKP042788") && !check("vin", "1M8GDM9A1KP042788"));
  assert_true(check("ip", "10.0.0.255") && !check("ip", "10.0.0.256"));
  assert_true(check("date", "12/31/1999") && check("date", "31.12.1999") && !check("date", "31/31/1999") && !check("date", "1/2/1234"));
  assert_int_equal(text_month(STR("Janaury")), 1);
  assert_int_equal(text_month(STR("M\xc3\xa4rz")), 3);
  assert_int_equal(text_month(STR("Dezember")), 12);
  assert_int_equal(text_month(STR("week")), 0);
}

/* Words are read 64 bytes at a time, shapes 16: wherever a text lies in them, the same is read. */
static void any_place_in_the_window(void **state UNUSED) {
  static const char body[] = "Dr. O'Brien-Smith's 12mg (MacDonald) Zo\xc3\xab\xe2\x80\x99s III x 7. \xc3\x89t\xc3\xa9'a";
  static const struct {
    const char *word;
    int shape;
    unsigned gap;
  } want[] = {{"Dr", SHAPE_CAP, 0},
              {"O'Brien", SHAPE_MIXED, GAP_STOP | GAP_SPACE},
              {"Smith", SHAPE_CAP, GAP_HYPHEN},
              {"12mg", SHAPE_ALNUM, GAP_POSSESSIVE | GAP_SPACE},
              {"MacDonald", SHAPE_MIXED, GAP_SPACE | GAP_BRACKET},
              {"Zo\xc3\xab", SHAPE_CAP, GAP_BRACKET | GAP_SPACE},
              {"III", SHAPE_UPPER, GAP_POSSESSIVE | GAP_SPACE},
              {"x", SHAPE_LOWER, GAP_SPACE},
              {"7", SHAPE_DIGITS, GAP_SPACE},
              {"\xc3\x89t\xc3\xa9'a", SHAPE_CAP, GAP_STOP | GAP_SPACE}};
  static const char *const before[] = {" ", "b", "B", "7", "\xc3\xa9"}; /* as often as it takes to shift */
  char text[512], folded[64];
  for (size_t k = 0; k < sizeof before / sizeof *before; k++)
    for (size_t shift = 0; shift < 140; shift++) {
      size_t n = 0;
      for (size_t i = 0; i < shift; i += strlen(before[k])) n += (size_t)snprintf(text + n, sizeof text - n, "%s", before[k]);
      snprintf(text + n, sizeof text - n, " %s", body);
      (void)find(text);
      uint32_t first = k && shift ? 1 : 0;
      assert_int_equal(work->token_n, first + sizeof want / sizeof *want);
      for (uint32_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct token *t = &work->tokens[first + i];
        struct str word = token_str(work, t);
        assert_true(str_eqc(word, want[i].word));
        assert_int_equal(t->shape, want[i].shape);
        if (i) assert_int_equal(t->gap, want[i].gap);
        assert_true(t->hash == text_hash((struct str){folded, text_fold(word, folded, sizeof folded)}));
      }
      if (first && n <= 64) {
        struct str word = token_str(work, &work->tokens[0]);
        char wide[128];
        assert_int_equal(word.n, n);
        assert_true(work->tokens[0].hash == text_hash((struct str){wide, text_fold(word, wide, sizeof wide)}));
      }
    }
}

static void second_look_anywhere(void **state UNUSED) {
  static const char *const shapes[] = {"March 3, 2023", "http://a.b/c", "www.a.b",   "617-555-0199",
                                       "jo@host.org",   "219-09-9999",  "1234567890"};
  char text[256];
  for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
    for (size_t shift = 0; shift < 70; shift++)
      for (int joined = 0; joined < 2; joined++) { /* in the middle of a word only an address is one */
        int n = snprintf(text, sizeof text, "%*s%s%s", (int)shift, "", joined ? "x" : "", shapes[k]);
        struct text_spans skip = {.at = (struct text_span[]){{(uint32_t)shift, (uint32_t)n, 0, 0}}, .n = 1};
        assert_int_equal(text_residual_shapes((struct str){text, (size_t)n}, NULL, true), !joined || strchr(shapes[k], '@'));
        assert_int_equal(text_residual_shapes((struct str){text, (size_t)n}, &skip, true), 0);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(names_that_are_words),
                                     cmocka_unit_test(eponyms_drugs_and_laboratory),
                                     cmocka_unit_test(dates_and_what_looks_like_them),
                                     cmocka_unit_test(ages),
                                     cmocka_unit_test(ages_in_shorthand),
                                     cmocka_unit_test(numbers),
                                     cmocka_unit_test(facilities_and_places),
                                     cmocka_unit_test(names),
                                     cmocka_unit_test(bare_numbers),
                                     cmocka_unit_test(any_alignment),
                                     cmocka_unit_test(any_place_in_the_window),
                                     cmocka_unit_test(second_look_anywhere),
                                     cmocka_unit_test(verifiers)};
  return cmocka_run_group_tests(tests, open_all, close_all);
}
