/* Replacement: the person's own identifiers in all their variants, surrogates that agree within a person and differ between persons, dates
 * moved as they were written, offsets, the second look, hostile texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "deid/text.h"
#include "deid/shape.h"
#include "deid/text_internal.h"
#include "deid/text_ready.h"
#include "record/record.h"

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

static const struct text_known known[] = {{IDENTIFIER_NAME, {"Okonkwo", 7}},
                                          {IDENTIFIER_NAME, {"Margaret", 8}},
                                          {IDENTIFIER_NAME, {"Hope Young", 10}},
                                          {IDENTIFIER_MRN, {"00483921", 8}},
                                          {IDENTIFIER_PHONE, {"(617) 555-0199", 14}},
                                          {IDENTIFIER_EMAIL, {"m.okonkwo@mail.test", 19}},
                                          {IDENTIFIER_GEOGRAPHY, {"12 Larkspur Lane, Dorchester, MA, 02122", 39}},
                                          {IDENTIFIER_DATE, {"1951-03-04", 10}}};
static struct text_person person(enum deid_dates dates, uint8_t seed) {
  struct text_person who = {.known = known, .known_n = sizeof known / sizeof *known, .dates = dates, .shift_days = -12};
  memset(who.seed, seed, sizeof who.seed);
  return who;
}

static struct text_result scrub(const char *text, const struct text_person *who, enum text_mode mode) {
  struct text_result out;
  struct error e = {0};
  if (text_scrub(work, str_c(text), who, mode, &out, &e) < 0) {
    error_print(stderr, &e);
    fail();
  }
  return out;
}
static bool holds(const struct text_result *r, const char *part) { return memmem(r->text.p, r->text.n, part, strlen(part)) != NULL; }

static void own_identifiers(void **state UNUSED) {
  static const char *const texts[] = {"okonkwo came",    "OKONKWO'S chart", "Okonkow, M.",         "margaret o.",    "Margret fell",
                                      "Peggy called",    "M. Okonkwo",      "Okonkwo Margaret",    "ref 483921",     "ref 0048-3921",
                                      "617.555.0199",    "555 0199",        "M.Okonkwo@Mail.test", "12 Larkspur Ln", "from Dorchester",
                                      "born 03 04 1951", "19510304"};
  struct text_person who = person(DEID_DATES_YEAR, 1);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct text_result r = scrub(texts[i], &who, TEXT_TAG);
    bool by_known = false;
    for (uint32_t k = 0; k < r.spans.n; k++) by_known = by_known || r.spans.at[k].by & TEXT_BY_KNOWN;
    if (!by_known) fail_msg("not found: %s", texts[i]);
    assert_int_equal(r.residual, 0);
  }
  struct text_result r = scrub("I hope that young people in MA do well.", &who, TEXT_TAG); /* a name that is a word, in small letters */
  assert_int_equal(r.spans.n, 0);
  r = scrub("Young may continue aspirin.", &who, TEXT_TAG); /* at the start of a sentence: the one who does something */
  assert_true(r.spans.n == 1 && r.spans.at[0].start == 0 && r.spans.at[0].end == 5);
  r = scrub("Young women should continue aspirin.", &who, TEXT_TAG);
  assert_int_equal(r.spans.n, 0);
}

static void surrogates_agree(void **state UNUSED) {
  char first[64], again[64], other[64];
  struct text_person a = person(DEID_DATES_SHIFT, 1), b = person(DEID_DATES_SHIFT, 2);
  struct text_result r = scrub("Okonkwo", &a, TEXT_SURROGATE);
  snprintf(first, sizeof first, "%.*s", STR_ARG(r.text));
  r = scrub("Okonkow", &a, TEXT_SURROGATE); /* misspelt: the same person, the same surrogate */
  snprintf(again, sizeof again, "%.*s", STR_ARG(r.text));
  assert_string_equal(first, again);
  r = scrub("Okonkwo", &b, TEXT_SURROGATE);
  snprintf(other, sizeof other, "%.*s", STR_ARG(r.text));
  assert_string_not_equal(first, other);
  assert_string_not_equal(first, "Okonkwo");
  r = scrub("Dr. Zyxwort and Ms. Zyxwort, MRN 0048392177, phone (617) 555-0123, card 4111 1111 1111 1111", &a, TEXT_SURROGATE);
  assert_false(holds(&r, "Zyxwort"));
  assert_true(holds(&r, "Dr. ") && holds(&r, "Ms. "));
  assert_true(holds(&r, ") 555-01")); /* a number that nobody has */
  assert_false(holds(&r, "4111 1111 1111 1111"));
  assert_int_equal(r.residual, 0);
}

static void dates_move_as_written(void **state UNUSED) {
  static const char *const pairs[][2] = {{"03/14/2020", "03/02/2020"},
                                         {"3/14/20", "3/2/20"},
                                         {"2020-03-14", "2020-03-02"},
                                         {"March 14, 2020", "March 2, 2020"},
                                         {"March 14th, 2020", "March 2nd, 2020"},
                                         {"14 MAR 2020", "2 MAR 2020"},
                                         {"Jan 5th '23", "Dec 24th '22"},
                                         {"14. M\xc3\xa4rz 2020", "2. M\xc3\xa4rz 2020"},
                                         {"14 de marzo de 2020", "2 de marzo de 2020"},
                                         {"March 2020", "March 2020"},
                                         {"Saturday, March 14, 2020", "Monday, March 2, 2020"},
                                         {"20200314", "20200302"},
                                         {"01/05/2020", "12/24/2019"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    char out[96];
    struct error e = {0};
    assert_int_equal(text_date_move(str_c(pairs[i][0]), false, DEID_DATES_SHIFT, -12, out, sizeof out, &e), OK);
    assert_string_equal(out, pairs[i][1]);
  }
  char out[96];
  assert_int_equal(text_date_move(STR("05/01/2020"), true, DEID_DATES_SHIFT, -12, out, sizeof out, NULL), OK);
  assert_string_equal(out, "24/12/2019");
  assert_int_equal(text_date_move(STR("March 14, 2020"), false, DEID_DATES_YEAR, 0, out, sizeof out, NULL), OK);
  assert_string_equal(out, "2020");
  assert_true(text_date_move(STR("31/31/2020"), false, DEID_DATES_SHIFT, 1, out, sizeof out, NULL) < 0);
  assert_true(text_date_move(STR("February 30, 2020"), false, DEID_DATES_SHIFT, 1, out, sizeof out, NULL) < 0);
  assert_true(text_date_move(STR("Christmas"), false, DEID_DATES_SHIFT, 1, out, sizeof out, NULL) < 0);
}

static void policies_of_dates_and_ages(void **state UNUSED) {
  struct text_person keep = person(DEID_DATES_KEEP, 1), year = person(DEID_DATES_YEAR, 1);
  struct text_result r = scrub("Fell on March 14, 2020 aged 94.", &keep, TEXT_SURROGATE);
  assert_true(holds(&r, "March 14, 2020") && holds(&r, "90+") && r.residual == 0);
  keep.keep_ages = true;
  r = scrub("Fell on March 14, 2020 aged 94.", &keep, TEXT_TAG);
  assert_true(holds(&r, "March 14, 2020 aged 94"));
  r = scrub("Fell on March 14, 2020.", &year, TEXT_SURROGATE);
  assert_true(holds(&r, "Fell on 2020.") && r.residual == 0);
  r = scrub("Came last July.", &year, TEXT_SURROGATE);
  assert_true(holds(&r, "[DATE]") && r.masked == 1);
}

static void offsets(void **state UNUSED) {
  const char *text = "Dr. Jane Miller saw him on 3/4/2020 at Lakeside Clinic.";
  struct text_person who = person(DEID_DATES_SHIFT, 9);
  struct text_result r = scrub(text, &who, TEXT_TAG);
  assert_int_equal(r.spans.n, 3);
  size_t at = 0, new_at = 0;
  for (uint32_t i = 0; i < r.spans.n; i++) {
    size_t before = r.spans.at[i].start - at;
    assert_memory_equal(text + at, r.text.p + new_at, before);
    assert_int_equal(r.new_start[i], new_at + before);
    at = r.spans.at[i].end;
    const char *close = memchr(r.text.p + r.new_start[i], ']', r.text.n - r.new_start[i]);
    assert_non_null(close);
    new_at = (size_t)(close - r.text.p) + 1;
  }
  assert_string_equal(text + at, ".");
}

static void shapes_have_places(void **state UNUSED) {
  static const struct {
    const char *text, *shape;
    int label;
  } cases[] = {{"write to ann.b+c@site.example.org, please", "ann.b+c@site.example.org", TEXT_EMAIL},
               {"see <https://site.org/x?y=1> or not", "https://site.org/x?y=1", TEXT_URL},
               {"(www.site.org)", "www.site.org", TEXT_URL},
               {"no. 219-09-9999.", "219-09-9999", TEXT_SSN},
               {"call 617-555-0199 now", "617-555-0199", TEXT_PHONE},
               {"call (617) 555-0199 now", "617) 555-0199", TEXT_PHONE},
               {"id=12345678901;", "12345678901", TEXT_ID},
               {"on March 14, 2020", "March 14", TEXT_DATE},
               {"on 2020-03-14T10:00", "2020-03-14", TEXT_DATE}};
  struct text_shape s[4];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct str text = str_c(cases[i].text);
    assert_int_equal(text_shapes(text, true, s, 4), 1);
    assert_true(str_eqc((struct str){text.p + s[0].start, s[0].end - s[0].start}, cases[i].shape));
    assert_int_equal(s[0].label, cases[i].label);
  }
  assert_int_equal(text_shapes(STR("on March 14, 2020 and 2020-03-14; [0.12345678901,-1.5e-05]; 5/5, L4-5, 999999999"), false, s, 4), 0);
  assert_int_equal(text_shapes(STR("1234567890 a@b.c 1234567890 a@b.c 1234567890"), false, s, 4), 4); /* there may be more */
}

static void the_second_look(void **state UNUSED) {
  static const char *const left[] = {"mail joe@site.org", "see https://site.org/x", "219-09-9999", "617-555-0199", "03/14/2020",
                                     "2020-03-14",        "March 14, 2020",         "1234567890"};
  static const char *const clean[] = {"strength 5/5, 2.5 mg, 120/80", "in 2021 for 3 days", "L4-5 and T10", "25-50-75 percent",
                                      "May 5% solution"};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) assert_true(text_residual_shapes(str_c(left[i]), NULL, true) > 0);
  for (size_t i = 0; i < sizeof clean / sizeof *clean; i++) assert_int_equal(text_residual_shapes(str_c(clean[i]), NULL, true), 0);
  assert_int_equal(text_residual_shapes(STR("March 14, 2020"), NULL, false), 0);
  struct text_person who = person(DEID_DATES_KEEP, 1);
  (void)scrub("x", &who, TEXT_TAG);
  assert_int_equal(text_known_count(work, STR("nothing here"), NULL), 0);
  assert_int_equal(text_known_count(work, STR("mrs okonkwo 483921"), NULL), 2);
}

/* Megabytes without a space, digits without end, bytes that are no UTF-8, marks on marks: an answer or E_LIMIT, soon. */
static void hostile_texts(void **state UNUSED) {
  static const char *const units[] = {"a",      "1",      "1-",  "A. ", "\xff\xfe",    "e\xcc\x81\xcc\x81\xcc\x81",
                                      "March ", "St. ",   "@a.", "\n",  "Dr. Smith, ", "\xe2\x80\x99s",
                                      "#1a",    "1/1/11 "};
  struct text_person who = person(DEID_DATES_SHIFT, 3);
  for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
    size_t n = strlen(units[u]), times = 400000 / n;
    char *text = malloc(n * times);
    for (size_t i = 0; i < times; i++) memcpy(text + i * n, units[u], n);
    struct text_result out;
    struct error e = {0};
    int rc = text_scrub(work, (struct str){text, n * times}, &who, TEXT_SURROGATE, &out, &e);
    assert_true(rc == OK || rc == E_LIMIT);
    if (rc == OK) assert_true(str_utf8_valid(out.text));
    free(text);
  }
  struct text_result out;
  char *large = calloc(1, 9 << 20);
  assert_int_equal(text_scrub(work, (struct str){large, 9 << 20}, NULL, TEXT_TAG, &out, NULL), E_LIMIT);
  free(large);
}

static void without_memory(void **state UNUSED) {
  const char *text = "Dr. Jane Miller saw Okonkwo on 3/4/2020 at Lakeside Clinic, MRN 0048392177, jane@site.org.";
  struct text_person who = person(DEID_DATES_SHIFT, 3);
  bool done = false;
  for (long n = 1; n < 500 && !done; n++) {
    struct text_work *w = NULL;
    struct text_result out;
    struct error e = {0};
    arena_fail_at(n);
    int rc = text_work_new(scrubber, &w, &e);
    if (rc == OK) rc = text_scrub(w, str_c(text), &who, TEXT_SURROGATE, &out, &e);
    done = arena_fail_pending();
    arena_fail_at(0);
    assert_true(done ? rc == OK : rc < 0 || rc == OK);
    text_work_free(w);
  }
  assert_true(done);
}

static void configurations_that_are_wrong(void **state UNUSED) {
  struct text_rules *r;
  static const char *const rules[] = {"",
                                      "{}",
                                      "{\"rules\":[]}",
                                      "{\"rules\":[{\"label\":\"NAME\",\"match\":\"(\"}]}",
                                      "{\"rules\":[{\"label\":\"NOBODY\",\"match\":\"a\"}]}",
                                      "{\"rules\":[{\"label\":\"NAME\",\"match\":\"a*\",\"find\":\"(?<=a)b\"}]}",
                                      "{\"rules\":[{\"label\":\"NAME\",\"match\":\"{{A}}\"}],\"define\":{\"A\":\"{{A}}\"}}",
                                      "{\"rules\":[{\"label\":\"NAME\",\"match\":\"a\",\"verify\":\"nothing\"}]}",
                                      "{\"rules\":[{\"label\":\"NAME\",\"match\":\"a+\"}]}"};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    struct error e = {0};
    if (text_rules_load(str_c(rules[i]), &r, &e) >= 0) fail_msg("taken: %s", rules[i]);
    assert_null(r);
  }
  struct text_scrubber *s;
  assert_true(text_scrubber_open("policy/no-such-file.json", &s, NULL) < 0);
  assert_null(s);
  char hash[65];
  struct error e = {0};
  assert_int_equal(text_config_hash("policy/text.json", hash, &e), OK);
  assert_string_equal(hash, text_scrubber_hash(scrubber));
}

static struct text_rules *rules_of(struct str ready, struct str json) {
  struct text_rules *r;
  struct error e = {0};
  if (text_rules_load_with(ready, json, &r, &e) < 0) error_print(stderr, &e), fail();
  return r;
}

/* The shipped rules' databases are in the program, and are what compiling gives: a start does not wait for vectorscan. */
static void shipped_rules_are_ready(void **state UNUSED) {
  struct arena a;
  struct str json;
  struct buf made = {0};
  struct error e = {0};
  arena_init(&a, 0, 0);
  assert_int_equal(file_read(&a, "policy/text-rules.json", 1 << 20, &json, &e), OK);
  assert_int_equal(text_rules_prepare(json, &made, &e), OK);
  assert_int_equal(made.n, text_ready_data().n);
  assert_memory_equal(made.p, text_ready_data().p, made.n);
  buf_release(&made);
  struct text_rules *r;
  assert_int_equal(text_rules_load(json, &r, &e), OK);
#if defined __x86_64__
  assert_true(text_rules_ready(r));
#endif
  text_rules_free(r);
  arena_free(&a);
}

static void finds_the_number(struct text_rules *r) {
  struct text_rules_work *w;
  struct text_spans found = {0};
  struct error e = {0};
  char text[64 + TEXT_RULES_PAD] = "seen in room 4711-22 today";
  assert_int_equal(text_rules_work_new(r, &w, &e), OK);
  assert_int_equal(text_rules_find(r, w, str_c(text), &found, &e), OK);
  assert_int_equal(found.n, 1);
  assert_int_equal(found.at[0].start, 13);
  assert_int_equal(found.at[0].end, 20);
  text_spans_release(&found);
  text_rules_work_free(w);
}

/* Other rules, a cut or changed file: compiled, and the same is found. */
static void databases_that_do_not_fit_are_not_taken(void **state UNUSED) {
  static const char json[] = "{\"rules\":[{\"label\":\"ID\",\"match\":\"\\\\b\\\\d{4}-\\\\d{2}\\\\b\",\"find\":\"\\\\d{4}-\\\\d{2}\"}]}";
  struct buf made = {0};
  struct error e = {0};
  assert_int_equal(text_rules_prepare(STR(json), &made, &e), OK);
  struct str whole = {made.p, made.n};
  struct text_rules *r = rules_of(whole, STR(json));
#if defined __x86_64__
  assert_true(text_rules_ready(r));
#endif
  finds_the_number(r);
  text_rules_free(r);
  r = rules_of(text_ready_data(), STR(json));
  assert_false(text_rules_ready(r));
  finds_the_number(r);
  text_rules_free(r);
  for (size_t n = 0; n < made.n; n += n < 300 ? 17 : 2003) { /* cut: the first kinds of processor may still be whole */
    char *copy = malloc(n ? n : 1);
    memcpy(copy, made.p, n);
    r = rules_of((struct str){copy, n}, STR(json));
    finds_the_number(r);
    text_rules_free(r);
    free(copy);
  }
  unsigned refused = 0, taken = 0;
  log_level(LOG_ERROR); /* each is told */
  char *copy = malloc(made.n);
  for (size_t at = 0; at < made.n; at += at < 300 ? 3 : 101) {
    memcpy(copy, made.p, made.n);
    copy[at] = (char)(copy[at] ^ 0x81);
    r = rules_of((struct str){copy, made.n}, STR(json));
    if (text_rules_ready(r))
      taken++;
    else
      refused++;
    finds_the_number(r);
    text_rules_free(r);
  }
  free(copy);
  log_level(LOG_INFO);
#if defined __x86_64__
  assert_true(refused > 8 && taken > 8); /* the magic bytes; another processor's */
#endif
  buf_release(&made);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(own_identifiers),
                                     cmocka_unit_test(surrogates_agree),
                                     cmocka_unit_test(dates_move_as_written),
                                     cmocka_unit_test(policies_of_dates_and_ages),
                                     cmocka_unit_test(offsets),
                                     cmocka_unit_test(shapes_have_places),
                                     cmocka_unit_test(the_second_look),
                                     cmocka_unit_test(hostile_texts),
                                     cmocka_unit_test(without_memory),
                                     cmocka_unit_test(configurations_that_are_wrong),
                                     cmocka_unit_test(shipped_rules_are_ready),
                                     cmocka_unit_test(databases_that_do_not_fit_are_not_taken)};
  return cmocka_run_group_tests(tests, open_all, close_all);
}
