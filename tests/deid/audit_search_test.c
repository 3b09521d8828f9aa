/* The audit's search: what is found, what is weak, what is left alone. Every case says the bytes and what must come of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "base/time.h"
#include "deid/audit_search.h"
#include "deid/deid.h"
#include "record/record.h"

#define NONE INT32_MIN
struct counts {
  int strong, weak, own;
  int kind;
  enum audit_form form;
  int64_t person;
  uint64_t offset;
};
static int note(void *ctx, const struct audit_hit *h, struct error *e) {
  struct counts *c = ctx;
  (void)e;
  if (h->weight == AUDIT_STRONG) {
    c->strong++;
    c->kind = h->kind, c->form = h->form, c->person = h->person, c->offset = h->offset;
    c->own += h->own;
  } else {
    c->weak++;
  }
  return OK;
}

static struct audit_search *search;
static void give(int64_t person, int kind, const char *value) {
  struct vault_identifier id = {kind, STR_NONE, str_c(value)};
  assert_int_equal(audit_search_add(search, person, &id, NULL), OK);
}

static int setup(void **state) {
  (void)state;
  struct error e = {0};
  char path[] = "/tmp/audit-words-XXXXXX";
  int fd = mkstemp(path);
  static const char words[] = "# ordinary\nmay\nwilson, boston\nreport\nsample\n";
  assert_int_equal(write(fd, words, sizeof words - 1), (ssize_t)sizeof words - 1);
  close(fd);
  assert_int_equal(audit_search_new(&search, &e), OK);
  assert_int_equal(audit_search_words(search, path, true, &e), OK);
  unlink(path);
  give(11, IDENTIFIER_NAME, "Müller-Quetzal");
  give(11, IDENTIFIER_NAME, "José May");
  give(11, IDENTIFIER_MRN, "MRN-77120934");
  give(11, IDENTIFIER_SSN, "123-45-6789");
  give(11, IDENTIFIER_PHONE, "+1 (617) 555-0123");
  give(11, IDENTIFIER_EMAIL, "jose.mueller@example.org");
  give(11, IDENTIFIER_GEOGRAPHY, "12 Harbour Street");
  give(11, IDENTIFIER_GEOGRAPHY, "02139");
  give(11, IDENTIFIER_GEOGRAPHY, "Watertown");
  give(11, IDENTIFIER_GEOGRAPHY, "Boston");
  give(11, IDENTIFIER_DATE, "1970-03-05");
  give(11, IDENTIFIER_ACCOUNT, "48213");
  give(11, IDENTIFIER_OTHER, "20190304");
  give(11, IDENTIFIER_OTHER, "3f2a9c1e-77aa-4b1c-9d2e-0011aabbccdd");
  assert_int_equal(audit_search_key(search, 11, STR("Patient/pt-90210-x"), NULL), OK);
  assert_int_equal(audit_search_days(search, 11, (int32_t)time_from_civil(1970, 3, 5), (int32_t)time_from_civil(2019, 1, 2),
                                     (int32_t)time_from_civil(2020, 2, 3), NULL),
                   OK);
  give(33, IDENTIFIER_NAME, "Okonkwo, Margaret");
  give(44, IDENTIFIER_NAME, "Mureșan, Ionuț");
  give(55, IDENTIFIER_NAME, "Nguyễn, Hồng");
  give(22, IDENTIFIER_NAME, "Wilson, Ann");
  give(22, IDENTIFIER_MRN, "1234567");
  assert_int_equal(audit_search_key(search, 22, STR("132539"), NULL), OK);
  for (int i = 0; i < 40; i++) give(100 + i, IDENTIFIER_PHONE, "617-555-9999"); /* the ward's telephone */
  for (int i = 0; i < 5; i++) give(200 + i, IDENTIFIER_NAME, "Commonname");
  assert_int_equal(audit_search_seal(search, &e), OK);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  audit_search_free(search);
  return 0;
}

static struct counts scan(const char *text, enum audit_where where, int64_t subject) {
  struct counts c = {.kind = -1};
  struct audit_place at = {.where = where, .subject = subject};
  char *exact = malloc(strlen(text) + 1); /* so that a sanitizer sees a read past the end */
  memcpy(exact, text, strlen(text));
  assert_int_equal(audit_search_scan(search, (struct str){exact, strlen(text)}, &at, note, &c, NULL), OK);
  free(exact);
  return c;
}
#define STRONG(text, where, subject, want_kind)                                                  \
  do {                                                                                           \
    struct counts c_ = scan(text, where, subject);                                               \
    if (c_.strong != 1 || c_.kind != (want_kind))                                                \
      fail_msg("%s: %d strong, kind %d, wanted one of %d", text, c_.strong, c_.kind, want_kind); \
  } while (0)
#define WEAK(text, where, subject)                                                               \
  do {                                                                                           \
    struct counts c_ = scan(text, where, subject);                                               \
    if (c_.strong || c_.weak != 1) fail_msg("%s: %d strong, %d weak", text, c_.strong, c_.weak); \
  } while (0)
#define NOTHING(text, where, subject)                                                       \
  do {                                                                                      \
    struct counts c_ = scan(text, where, subject);                                          \
    if (c_.strong || c_.weak) fail_msg("%s: %d strong, %d weak", text, c_.strong, c_.weak); \
  } while (0)

static void names_are_found_in_every_spelling(void **state) {
  (void)state;
  static const char *const found[] = {"Jose Mueller Quetzal is here",
                                      "seen JOSÉ MÜLLER today",
                                      "{\"note\":\"M\\u00fcller, Jos\\u00e9\"}",
                                      "Mu\xCC\x88ller Jose\xCC\x81",
                                      "quetzal-müller",
                                      "MAY^JOSE^^",
                                      "<p>M&#252;ller Jos&eacute;</p>",
                                      "f_MULLER_JOSE_20200101.dcm",
                                      "M\xFCller Jos\xE9",
                                      "a\\nJose M\xC3\xBCller",
                                      "<p>M&uuml;ller, JOS&Eacute;</p>"};
  for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
    struct counts c = scan(found[i], AUDIT_FILE, 0);
    bool other = i == 0; /* "Mueller" for ü is another spelling: the words beside it must still do */
    if (!other && (c.strong != 1 || c.kind != IDENTIFIER_NAME || c.person != 11)) fail_msg("%s: %d strong", found[i], c.strong);
    if (other && c.strong + c.weak == 0) fail_msg("%s: nothing", found[i]);
  }
  STRONG("J. Quetzal came", AUDIT_TEXT, 11, IDENTIFIER_NAME);
  NOTHING("J. Quet came", AUDIT_TEXT, 11);
  STRONG("the patient Quetzal", AUDIT_FILE, 0, IDENTIFIER_NAME); /* rare, long, no ordinary word */
  STRONG("{\"by\":\"Quetzal\"}", AUDIT_FILE, 0, IDENTIFIER_NAME);
  WEAK("a quetzal is a bird", AUDIT_FILE, 0);
  WEAK("It was. Quetzal", AUDIT_FILE, 0);
  NOTHING("xquetzalx", AUDIT_FILE, 0);
}

/* Letters beyond U+017F: with their accents, put together from parts, and without. */
static void names_with_romanian_and_vietnamese_letters(void **state) {
  (void)state;
  static const char *const romanian[] = {"seen Mureșan Ionuț today", "seen Muresan Ionut today", "seen MUREȘAN Ionut today"},
                           *const vietnamese[] = {"seen Nguyễn Hồng today", "seen Nguyen Hong today", "seen NGUYỄN Hong today",
                                                  "seen Nguye\xCC\x82\xCC\x83n Ho\xCC\x82\xCC\x80ng today"};
  for (size_t i = 0; i < sizeof romanian / sizeof *romanian; i++) STRONG(romanian[i], AUDIT_FILE, 44, IDENTIFIER_NAME);
  for (size_t i = 0; i < sizeof vietnamese / sizeof *vietnamese; i++) STRONG(vietnamese[i], AUDIT_FILE, 55, IDENTIFIER_NAME);
}

static void common_names_are_weak(void **state) {
  (void)state;
  WEAK("Wilson disease", AUDIT_WORDS, 0);
  WEAK("Commonname disease", AUDIT_WORDS, 0); /* five persons */
  NOTHING("in May", AUDIT_WORDS, 0);          /* three letters */
  WEAK("it may rain", AUDIT_TEXT, 11);        /* her own name, but a word as well */
  STRONG("Wilson, Ann", AUDIT_WORDS, 0, IDENTIFIER_NAME);
  STRONG("dear Ann", AUDIT_TEXT, 22, IDENTIFIER_NAME);
  NOTHING("dear Ann", AUDIT_FILE, 0);
}

static void numbers_are_found_with_and_without_marks(void **state) {
  (void)state;
  static const char *const ssn[] = {"123-45-6789", "123456789", "123 45 6789", "x=\"123.45.6789\"", "/123-45-6789/"};
  for (size_t i = 0; i < 5; i++) STRONG(ssn[i], AUDIT_FILE, 0, IDENTIFIER_SSN);
  static const char *const phone[] = {"+16175550123", "(617) 555-0123", "617.555.0123", "617-555-0123", "1 617 555 0123"};
  for (size_t i = 0; i < 5; i++) STRONG(phone[i], AUDIT_FILE, 0, IDENTIFIER_PHONE);
  STRONG("call 555-0123", AUDIT_TEXT, 11, IDENTIFIER_PHONE);
  NOTHING("call 555-0123", AUDIT_TEXT, 22);
  STRONG("\"77120934\"", AUDIT_FILE, 0, IDENTIFIER_MRN);
  STRONG("mrn77120934.pdf", AUDIT_NAME, 0, IDENTIFIER_MRN);
  STRONG("JOSE.MUELLER@EXAMPLE.ORG", AUDIT_FILE, 0, IDENTIFIER_EMAIL);
  STRONG("3F2A9C1E77AA4B1C9D2E0011AABBCCDD", AUDIT_FILE, 0, IDENTIFIER_OTHER);
  STRONG("urn:uuid:3f2a9c1e-77aa-4b1c-9d2e-0011aabbccdd", AUDIT_FILE, 0, IDENTIFIER_OTHER);
  STRONG("pt-90210-x", AUDIT_FILE, 0, IDENTIFIER_OTHER);
}

static void figures_are_no_identifiers(void **state) {
  (void)state;
  NOTHING("0.77120934", AUDIT_FILE, 0);
  NOTHING("77120934.5", AUDIT_FILE, 0);
  NOTHING("177120934", AUDIT_FILE, 0);
  NOTHING("771209341", AUDIT_FILE, 0);
  WEAK("{\"bytes\":77120934,", AUDIT_FILE, 0);
  WEAK("12-77120934-3", AUDIT_FILE, 0); /* a part of something longer */
  NOTHING("on 2019-03-04", AUDIT_FILE, 0);
  WEAK("events: 132539", AUDIT_FILE, 0);
  STRONG("stay 132539", AUDIT_TEXT, 22, IDENTIFIER_OTHER);
  WEAK("RXNORM//1234567", AUDIT_CODE, 0);
  WEAK("call 617-555-9999", AUDIT_WORDS, 0); /* everybody's */
  NOTHING("123,456,789", AUDIT_FILE, 0);     /* thousands */
  NOTHING("[123,45,6789]", AUDIT_FILE, 0);
}

static void places_count_in_ones_own_text(void **state) {
  (void)state;
  STRONG("lives at 12 Harbour Street", AUDIT_FILE, 0, IDENTIFIER_GEOGRAPHY);
  STRONG("from Watertown", AUDIT_TEXT, 11, IDENTIFIER_GEOGRAPHY);
  NOTHING("from Watertown", AUDIT_TEXT, 22);
  WEAK("from Boston", AUDIT_TEXT, 11); /* in the list of words */
  STRONG("MA 02139", AUDIT_TEXT, 11, IDENTIFIER_GEOGRAPHY);
  NOTHING("02139 events", AUDIT_FILE, 0);
}

static void birth_dates_are_found_in_every_form(void **state) {
  (void)state;
  static const char *const forms[] = {"born 1970-03-05",       "DOB 03/05/1970", "5.3.1970",  "5 March 1970",
                                      "March 5th, 1970",       "05-MAR-70",      "19700305",  "3/5/70",
                                      "the 5th of March 1970", "1970/03/05",     "MAR 5 1970"};
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) STRONG(forms[i], AUDIT_TEXT, 11, IDENTIFIER_DATE);
  NOTHING("1970-03-05", AUDIT_TEXT, 22);
  NOTHING("1970-03-05", AUDIT_FILE, 0);
  NOTHING("1970-03-06 1971-03-05 6.4.1970", AUDIT_TEXT, 11);
  WEAK("admitted 2019-01-02", AUDIT_TEXT, 11);
  struct counts c = {0};
  struct audit_place kept = {.where = AUDIT_TEXT, .subject = 11, .dates_kept = true};
  assert_int_equal(audit_search_scan(search, STR("born 1970-03-05"), &kept, note, &c, NULL), OK);
  assert_int_equal(c.strong + c.weak, 0);
}

static void values_of_events_are_compared_as_numbers(void **state) {
  (void)state;
  struct audit_hit h;
  assert_true(audit_search_number(search, 11, 48213, &h));
  assert_int_equal(h.kind, IDENTIFIER_ACCOUNT);
  assert_true(audit_search_number(search, 11, (double)(float)77120934.0, &h)); /* a float32 keeps 77120936 */
  assert_false(audit_search_number(search, 22, 48213, &h));
  assert_false(audit_search_number(search, 11, 48213.5, &h));
  assert_false(audit_search_number(search, 11, NAN, &h));
  assert_false(audit_search_number(search, 999, 48213, &h));
}

static void a_number_in_a_code_is_asked_of_its_holder(void **state) {
  (void)state;
  struct audit_hit h = {.offset = 8, .length = 7};
  assert_true(audit_search_owner(search, STR("RXNORM//1234567"), &h, 22));
  assert_false(audit_search_owner(search, STR("RXNORM//1234567"), &h, 11));
  assert_int_equal(audit_search_birth(search, 11), time_from_civil(1970, 3, 5));
  assert_int_equal(audit_search_birth(search, 22), NONE);
  audit_search_birth_remade(search, 11);
  assert_int_equal(audit_search_birth(search, 11), NONE);
}

/* The same hits wherever the windows are cut, and a text of many pieces longer than one batch. */
static void windows_change_nothing(void **state) {
  (void)state;
  struct buf b = {0};
  struct rng r;
  rng_init(&r, 5, 0);
  int planted = 0;
  while (b.n < 60000) {
    uint32_t k = rng_below(&r, 40);
    if (k == 0)
      buf_puts(&b, " Quetzal, José; "), planted++;
    else if (k == 1)
      buf_puts(&b, "\n123-45-6789\t"), planted++;
    else if (k < 30)
      buf_printf(&b, "word%u ", rng_below(&r, 1000));
    else
      buf_printf(&b, "%u.%u, ", rng_below(&r, 100000), rng_below(&r, 1000));
  }
  struct audit_place at = {.where = AUDIT_FILE};
  struct counts whole = {0}, cut = {0};
  struct str text = {b.p, b.n};
  assert_int_equal(audit_search_scan(search, text, &at, note, &whole, NULL), OK);
  assert_int_equal(whole.strong, planted);
  for (size_t from = 0; from < b.n; from += 777)
    assert_int_equal(audit_search_range(search, text, from, from + 777, &at, note, &cut, NULL), OK);
  assert_int_equal(cut.strong, planted);
  buf_release(&b);
}

static struct counts shapes(const char *text, bool prose, bool dates) {
  struct counts c = {.kind = -1};
  struct audit_shapes which = {prose, dates};
  char *exact = malloc(strlen(text) + 1);
  memcpy(exact, text, strlen(text));
  assert_int_equal(audit_shapes_scan((struct str){exact, strlen(text)}, 0, strlen(text), &which, note, &c, NULL), OK);
  free(exact);
  return c;
}
static void shapes_are_told_from_figures(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int kind; /* -1: none */
  } cases[] = {{"ssn 219-09-9999 here", IDENTIFIER_SSN},
               {"000-12-3456 666-12-3456 912-12-3456 123-00-4567 123-45-0000", -1},
               {"(617) 555-0123", IDENTIFIER_PHONE},
               {"617-555-0123", IDENTIFIER_PHONE},
               {"+44 20 7946 0958", -1},
               {"+1 617 555 0123", IDENTIFIER_PHONE},
               {"0.617-555-0123", -1},
               {"2019-03-04T05:06:07", -1},
               {"write to a.b@c-d.org.", IDENTIFIER_EMAIL},
               {"@media(prefers) x@2 a@b", -1},
               {"4111 1111 1111 1111", IDENTIFIER_ACCOUNT},
               {"4111 1111 1111 1112", -1},
               {"MRN: 12-34-567", IDENTIFIER_MRN},
               {"mrn low", -1},
               {"NDC 12345-6789-01 and 8480-6", -1},
               {"4111111111111111234567890", -1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct counts c = shapes(cases[i].text, false, false);
    if (c.strong != (cases[i].kind >= 0) || c.kind != cases[i].kind) fail_msg("%s: %d of kind %d", cases[i].text, c.strong, c.kind);
  }
  assert_int_equal(shapes("see https://x.example/a?b=1 ", true, false).kind, IDENTIFIER_URL);
  assert_int_equal(shapes("10.0.0.1", true, false).kind, IDENTIFIER_IP);
  assert_int_equal(shapes("1.2.3.4.5 300.1.1.1", true, false).strong, 0);
  assert_int_equal(shapes("on 5 March 1970", false, true).kind, IDENTIFIER_DATE);
  assert_int_equal(shapes("8/10 pain, 5/5 strength, 2.5 mg", false, true).strong, 0);
}

/* Every allocation fails once: an error or a whole result, nothing lost. */
static void memory_may_fail(void **state) {
  (void)state;
  for (long n = 1;; n++) {
    struct audit_search *s = NULL;
    struct error e = {0};
    arena_fail_at(n);
    int rc = audit_search_new(&s, &e);
    for (int i = 0; i < 300 && rc == OK; i++) {
      char name[32];
      snprintf(name, sizeof name, "Name%d Other%d", i, i);
      struct vault_identifier id = {IDENTIFIER_NAME, STR_NONE, str_c(name)};
      rc = audit_search_add(s, i + 1, &id, &e);
    }
    if (rc == OK) rc = audit_search_seal(s, &e);
    bool happened = !arena_fail_pending();
    arena_fail_at(0);
    audit_search_free(s);
    assert_int_equal(rc, happened ? E_NOMEM : OK);
    if (!happened) break;
  }
}

static void names_nearly_and_glued(void **state UNUSED) {
  static const char *const found[] = {"met Okonkow today", "met Okonkwoo today",  "met Okomkwo today", "met Oknkwo today", "OKONKOW came",
                                      "met MrOkonkwo",     "met OkonkwoMargaret", "OkonkwoMRN 1",      "the Okonkwos came"};
  for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
    STRONG(found[i], AUDIT_TEXT, 33, IDENTIFIER_NAME);
    if (i != 6) NOTHING(found[i], AUDIT_TEXT, 22); /* in somebody else's text they are nobody's, but for the whole name */
  }
  WEAK("met okonkow", AUDIT_TEXT, 33);
  NOTHING("the sample report was Okay", AUDIT_TEXT, 33);
  NOTHING("Okonbbo", AUDIT_TEXT, 33); /* two letters */
  NOTHING("Wilsom", AUDIT_WORDS, 22); /* no text */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_nearly_and_glued),
      cmocka_unit_test(names_are_found_in_every_spelling),
      cmocka_unit_test(names_with_romanian_and_vietnamese_letters),
      cmocka_unit_test(common_names_are_weak),
      cmocka_unit_test(numbers_are_found_with_and_without_marks),
      cmocka_unit_test(figures_are_no_identifiers),
      cmocka_unit_test(places_count_in_ones_own_text),
      cmocka_unit_test(birth_dates_are_found_in_every_form),
      cmocka_unit_test(values_of_events_are_compared_as_numbers),
      cmocka_unit_test(a_number_in_a_code_is_asked_of_its_holder),
      cmocka_unit_test(windows_change_nothing),
      cmocka_unit_test(shapes_are_told_from_figures),
      cmocka_unit_test(memory_may_fail),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
