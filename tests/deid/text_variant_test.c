/* A person's own names as notes have them: every class of variant is made from several persons' names, put into sentences, and must be
 * covered wholly by what the scrub found from the vault's names. What is a word of the language after a misspelling is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "deid/text.h"
#include "deid/text_internal.h"
#include "record/record.h"

static struct text_scrubber *scrubber;
static struct text_work *work;
static const char *const persons[][2] = {{"Margaret", "Okonkwo"},
                                         {"Bego\xc3\xb1"
                                          "a",
                                          "Ib\xc3\xa1\xc3\xb1"
                                          "ezar"},
                                         {"Anneliese", "M\xc3\xbcllerhaus"},
                                         {"Siobhan", "O'Driscoll"},
                                         {"Jean", "Quillfeather"},
                                         {"Tadhg", "Vandermolen"}};
enum { PERSONS = sizeof persons / sizeof *persons };

static int open_all(void **state) {
  struct error e = {0};
  (void)state;
  if (text_scrubber_open("policy/text.json", &scrubber, &e) < 0 || text_work_new(scrubber, &work, &e) < 0)
    return error_print(stderr, &e), -1;
  return 0;
}
static int close_all(void **state) {
  (void)state;
  text_work_free(work);
  text_scrubber_close(scrubber);
  return 0;
}

static bool ordinary(const char *word) {
  char folded[96];
  struct str f = {folded, text_fold(str_c(word), folded, sizeof folded)};
  return text_lists_word(&scrubber->lists, text_hash(f)) & (IN_WORD | IN_COMMON | IN_EPONYM);
}

/* Every letter and digit of `variant` in `before` variant `after` is covered by spans from the vault's names. */
static bool covered(int who, const char *before, const char *variant, const char *after) {
  char text[512], full[96];
  snprintf(full, sizeof full, "%s %s", persons[who][0], persons[who][1]);
  struct text_known known = {IDENTIFIER_NAME, str_c(full)};
  struct text_person person = {.known = &known, .known_n = 1};
  struct text_spans found;
  struct error e = {0};
  int n = snprintf(text, sizeof text, "%s%s%s", before, variant, after);
  assert_true(n > 0 && n < (int)sizeof text);
  if (text_find(work, str_c(text), &person, &found, &e) < 0) return false;
  size_t from = strlen(before), to = from + strlen(variant);
  if (to - from > 2 && strcmp(variant + strlen(variant) - 2, "'s") == 0) to -= 2; /* the s of a possessive may stay */
  for (size_t i = from; i < to; i++) {
    uint8_t c = (uint8_t)text[i];
    bool counts = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c >= 0x80, in = false;
    for (uint32_t k = 0; k < found.n; k++) in = in || (found.at[k].by & TEXT_BY_KNOWN && found.at[k].start <= i && i < found.at[k].end);
    if (counts && !in) return false;
  }
  return true;
}

static void expect(const char *class, int who, const char *variant) {
  static const char *const frames[][2] = {{"We met ", " yesterday."}, {"", " came to the ward."}, {"Seen by us: ", ", who slept."}};
  for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
    if (!covered(who, frames[i][0], variant, frames[i][1])) fail_msg("%s: \"%s\" of person %d in frame %zu", class, variant, who, i);
}

static bool ascii(const char *s) {
  for (; *s; s++)
    if ((uint8_t)*s >= 0x80) return false;
  return true;
}
static void upper(char *s) {
  for (; *s; s++)
    if (*s >= 'a' && *s <= 'z') *s = (char)(*s - 32);
}
static void lower(char *s) {
  for (; *s; s++)
    if (*s >= 'A' && *s <= 'Z') *s = (char)(*s + 32);
}

static void whole_names_in_any_order(void **state UNUSED) {
  static const char *const forms[] = {"%1$s %2$s",  "%2$s, %1$s", "%2$s,%1$s", "%2$s %1$s",
                                      "%1$s  %2$s", "%1$s-%2$s",  "%2$s/%1$s", "%1$s_%2$s"};
  char s[160];
  for (int p = 0; p < PERSONS; p++)
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
      snprintf(s, sizeof s, forms[i], persons[p][0], persons[p][1]);
      expect("order", p, s);
      if (!ascii(s)) continue;
      upper(s);
      expect("capitals", p, s);
      lower(s);
      expect("small letters", p, s);
    }
}

static void parts_with_what_belongs_to_them(void **state UNUSED) {
  static const char *const forms[] = {"%2$s",     "%2$s's",   "%1$s's",        "%3$c. %2$s",    "%3$c.%2$s",   "%2$s %3$c", "%2$s, %3$c.",
                                      "Mr. %2$s", "Mrs %2$s", "%2$s-Smithers", "Smithers-%2$s", "%3$c. %4$c.", "%3$c.%4$c."};
  char s[160];
  for (int p = 0; p < PERSONS; p++)
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
      snprintf(s, sizeof s, forms[i], persons[p][0], persons[p][1], persons[p][0][0], persons[p][1][0]);
      if (p == 2 && strstr(s, "M.") && !strstr(s, "M.\xc3")) continue; /* "A.M." is a time of day */
      const char *name = strstr(s, persons[p][1]);
      if (strstr(s, "Smithers") || strstr(s, "Mr")) { /* what is not the person's own may stay */
        if (!covered(p, "", name ? name : s, " came") && !covered(p, "with ", persons[p][1], " today")) fail_msg("part: %s", s);
      } else
        expect("part", p, s);
    }
}

static void glued(void **state UNUSED) {
  static const char *const forms[] = {"%1$s%2$s", "%2$s%1$s", "%2$s12345", "77%2$s", "%1$s2019", "Mr%2$s", "Dr%2$s",
                                      "Mrs%2$s",  "%3$c%2$s", "%2$s%4$c",  "pt%2$s", "%2$sMRN",  "%2$sDOB"};
  char s[160];
  for (int p = 0; p < PERSONS; p++) {
    if (!ascii(persons[p][0]) || !ascii(persons[p][1]) || strchr(persons[p][1], '\'')) continue;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
      snprintf(s, sizeof s, forms[i], persons[p][0], persons[p][1], persons[p][0][0], persons[p][0][0]);
      expect("glued", p, s);
      lower(s);
      expect("glued, small", p, s);
      upper(s);
      expect("glued, capitals", p, s);
    }
  }
}

/* One letter replaced, left out, doubled, changed over with the next: at every place. */
static void one_letter_wrong(void **state UNUSED) {
  int made = 0;
  for (int p = 0; p < PERSONS; p++) {
    char name[64], s[80];
    size_t n = text_fold(str_c(persons[p][1]), name, sizeof name - 1);
    name[n] = 0;
    if (strchr(name, '\'')) continue;
    for (size_t i = 1; i < n; i++)
      for (int how = 0; how < 4; how++) {
        memcpy(s, name, n + 1);
        if (how == 0) s[i] = s[i] == 'x' ? 'y' : 'x';
        if (how == 1) memmove(s + i, s + i + 1, n - i);
        if (how == 2) memmove(s + i + 1, s + i, n - i + 1);
        if (how == 3 && i + 1 < n) s[i] = name[i + 1], s[i + 1] = name[i];
        if (ordinary(s)) continue;
        made++;
        expect("misspelt, small", p, s);
        s[0] = (char)(s[0] - 32);
        expect("misspelt", p, s);
        upper(s);
        expect("misspelt, capitals", p, s);
      }
  }
  assert_true(made > 100);
}

static void two_letters_wrong_in_a_long_name(void **state UNUSED) {
  expect("two", 4, "Quilfeahter");
  expect("two", 5, "Vandermolnes");
  expect("two", 5, "Vendermolan");
}

static void read_by_a_scanner(void **state UNUSED) {
  static const char *const swaps[][2] = {{"o", "0"},  {"l", "1"}, {"i", "1"}, {"e", "3"}, {"m", "rn"},
                                         {"w", "vv"}, {"s", "5"}, {"a", "4"}, {"O", "0"}, {"d", "cl"}};
  int made = 0;
  for (int p = 0; p < PERSONS; p++) {
    if (!ascii(persons[p][1]) || strchr(persons[p][1], '\'')) continue;
    for (size_t k = 0; k < sizeof swaps / sizeof *swaps; k++) {
      char s[96];
      size_t n = 0;
      bool some = false;
      for (const char *c = persons[p][1]; *c; c++) {
        bool hit = *c == swaps[k][0][0];
        some = some || hit;
        n += (size_t)snprintf(s + n, sizeof s - n, "%s", hit ? swaps[k][1] : (char[]){*c, 0});
      }
      if (!some) continue;
      made++;
      expect("scanned", p, s);
    }
  }
  assert_true(made > 10);
}

static void in_pieces(void **state UNUSED) {
  expect("line break", 0, "Okon-\nkwo");
  expect("hyphen", 4, "Quill-Feather");
  expect("two words", 3, "O Driscoll");
  expect("no apostrophe", 3, "ODriscoll");
  expect("other apostrophe", 3,
         "O\xe2\x80\x99"
         "Driscoll");
  expect("two words", 5, "Vander Molen");
  expect("spaced", 0, "O K O N K W O");
  expect("plural", 0, "Okonkwos");
}

static void accents(void **state UNUSED) {
  expect("dropped", 1, "Begona Ibanezar");
  expect("dropped", 2, "MULLERHAUS");
  expect("written out", 2, "Muellerhaus");
  expect("combining", 2, "Mu\xcc\x88llerhaus");
  expect("wrong encoding", 2, "M\xc3\x83\xc2\xbcllerhaus");
  expect("wrong encoding", 1,
         "Ib\xc3\x83\xc2\xa1\xc3\x83\xc2\xb1"
         "ezar");
  expect("lost", 2, "M?llerhaus");
  expect("lost", 2, "M??llerhaus");
  expect("lost", 2, "M\xef\xbf\xbdllerhaus");
}

/* What a scrub with tags makes of `text`, of a person with these names. */
static void becomes(const char *given, const char *family, const char *text, const char *want) {
  struct text_known known[] = {{IDENTIFIER_NAME, str_c(given)}, {IDENTIFIER_NAME, str_c(family)}};
  struct text_person person = {.known = known, .known_n = 2};
  struct text_result out;
  struct error e = {0};
  if (text_scrub(work, str_c(text), &person, TEXT_TAG, &out, &e) < 0) fail_msg("%s", text);
  if (!str_eqc(out.text, want)) fail_msg("\"%s\" became \"%.*s\", not \"%s\"", text, STR_ARG(out.text), want);
  assert_int_equal(out.residual, 0);
}

static void letters_beyond_western_europe(void **state UNUSED) {
  becomes("Ionuț", "Mureșan", "pt ionut muresan reports pain; Muresan fell; MUREȘAN; Mureşan",
          "pt [NAME] reports pain; [NAME] fell; [NAME]; [NAME]");
  becomes("Văn", "Nguyễn", "pt nguyen reports; Nguyen Van came; NGUYỄN; Nguye\xcc\x82\xcc\x83n",
          "pt [NAME] reports; [NAME] came; [NAME]; [NAME]");
  becomes("Hạnh", "Trương", "pt hanh reports; Truong came; TRƯƠNG HẠNH", "pt [NAME] reports; [NAME] came; [NAME]");
  becomes("Γιώργος", "Παπαδόπουλος", "παπαδοπουλος came; ΠΑΠΑΔΟΠΟΥΛΟΣ; Γιωργος", "[NAME] came; [NAME]; [NAME]");
  becomes("Пётр", "Семёнов", "Семенов came; ПЕТР СЕМЕНОВ; петр", "[NAME] came; [NAME]; [NAME]");
  becomes("Leyla", "Əliyeva", "Aliyeva came; ƏLIYEVA; əliyeva", "[NAME] came; [NAME]; [NAME]");
}

/* Scripts that write no spaces: the name goes, the words round it stay; one character alone is no name. */
static void names_without_spaces(void **state UNUSED) {
  becomes("明", "王", "患者王明，男，65岁。明王来院", "患者[NAME]，男，65岁。[NAME]来院");
  becomes("明", "王", "说明书。王先生", "说明书。王先生");
  becomes("娜娜", "欧阳", "患者欧阳娜娜来院。欧阳 娜娜，欧阳氏", "患者[NAME]来院。[NAME]，[NAME]氏");
  becomes("太郎", "田中", "田中さんは頭痛。田中太郎様、太郎", "[NAME]さんは頭痛。[NAME]様、[NAME]");
  becomes("민수", "김", "김민수님은 두통. 민수가", "[NAME]님은 두통. [NAME]가");
  becomes("健二", "佐々木", "本日佐々木さん来院、佐々木健二", "本日[NAME]さん来院、[NAME]");
  becomes("明", "王", "pain ???? and ?????? fell", "pain ???? and ?????? fell");
}

/* Names that are words: what is around them decides. */
static void names_that_are_words(void **state UNUSED) {
  static const char *const named[] = {
      "White may continue aspirin.", "White's pain is gone.", "Patient: White",       "PATIENT: WHITE, HOPE",
      "White, Hope was seen.",       "White H. came.",        "Hope White",           "Name: Hope",
      "White refuses to eat.",       "I saw White today.",    "White also has gout.", "Pt: Hope"};
  static const char *const not_named[] = {"White blood cells were low.", "I hope so.", "Hope is a good thing to have, we said.",
                                          "a white coat", "The white count is 5."};
  struct text_known known = {IDENTIFIER_NAME, STR("Hope White")};
  struct text_person person = {.known = &known, .known_n = 1};
  struct text_spans found;
  for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
    assert_int_equal(text_find(work, str_c(named[i]), &person, &found, NULL), OK);
    bool left = false;
    const char *words[] = {"White", "WHITE", "HOPE", "Hope"};
    for (int k = 0; k < 4; k++) {
      const char *at = strstr(named[i], words[k]);
      bool in = !at;
      for (uint32_t f = 0; f < found.n && at; f++)
        in = in || (found.at[f].start <= at - named[i] && found.at[f].end >= at - named[i] + (long)strlen(words[k]));
      left = left || !in;
    }
    if (left) fail_msg("left: %s", named[i]);
  }
  for (size_t i = 0; i < sizeof not_named / sizeof *not_named; i++) {
    assert_int_equal(text_find(work, str_c(not_named[i]), &person, &found, NULL), OK);
    if (found.n && i != 2) fail_msg("touched: %s", not_named[i]);
  }
}

/* In small letters they count behind a title and beside another own name; alone they are words. */
static void names_that_are_words_in_small_letters(void **state UNUSED) {
  becomes("Rose", "Grant", "mrs. grant called. pt rose grant: ok. note for grant, rose",
          "mrs. [NAME] called. pt [NAME]: ok. note for [NAME]");
  becomes("Rose", "Grant", "patient grant reports pain; Mrs grant, 50; Rose grant came",
          "patient [NAME] reports pain; Mrs [NAME], 50; [NAME] came");
  becomes("Rose", "Grant", "her pain rose to 7, a grant was sought, roses", "her pain rose to 7, a grant was sought, roses");
  becomes("Rose", "Grant", "pt rose to stand; the patient rose slowly", "pt rose to stand; the patient rose slowly");
  becomes("Faith", "Stone", "faith stone says she is well. mrs. stone was called. pt. stone",
          "[NAME] says she is well. mrs. [NAME] was called. pt. [NAME]");
  becomes("Faith", "Stone", "a long rose stone; patient stone-free; her faith, a stone",
          "a long rose stone; patient stone-free; her faith, a stone");
  becomes("Will", "Long", "mr. long called. will long reports pain. dr. long", "mr. [NAME] called. [NAME] reports pain. dr. [NAME]");
  becomes("Will", "Long", "patient will also return; dr. will see her; long will it last",
          "patient will also return; dr. will see her; long will it last");
  becomes("William", "Long", "we will bill the plan", "we will bill the plan");
  becomes("Rose", "Smith", "rose smith called; smith rose to go", "[NAME] called; [NAME] to go");
  becomes("Will", "Smith", "smith will follow up", "[NAME] will follow up");
  struct text_known known = {IDENTIFIER_NAME, STR("Rose Grant")};
  struct text_person person = {.known = &known, .known_n = 1};
  struct text_spans found;
  assert_int_equal(text_find(work, STR("x"), &person, &found, NULL), OK);
  assert_int_equal(text_known_count(work, STR("pt rose grant: ok"), NULL), 1); /* the second look */
  assert_int_equal(text_known_count(work, STR("rose, a grant; rose's grant"), NULL), 0);
}

/* What must stay: words that only look a little like the names, abbreviations that are nobody's initials. */
static void other_words_stay(void **state UNUSED) {
  static const char *const texts[] = {"Aspirin 81 mg p.o. daily, P.O. intake fair.",
                                      "margarine and quilts",
                                      "The okra was fine.",
                                      "O.D. and O.S. normal",
                                      "mandibular molar",
                                      "A driscoll is no thing"};
  struct text_known known[] = {{IDENTIFIER_NAME, STR("Paul Okonkwo")}, {IDENTIFIER_NAME, STR("Olga Deane")}};
  struct text_person person = {.known = known, .known_n = 2};
  struct text_spans found;
  for (size_t i = 0; i < 5; i++) {
    assert_int_equal(text_find(work, str_c(texts[i]), &person, &found, NULL), OK);
    for (uint32_t k = 0; k < found.n; k++)
      if (found.at[k].by & TEXT_BY_KNOWN) fail_msg("touched: %s", texts[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_names_in_any_order),
      cmocka_unit_test(parts_with_what_belongs_to_them),
      cmocka_unit_test(glued),
      cmocka_unit_test(one_letter_wrong),
      cmocka_unit_test(two_letters_wrong_in_a_long_name),
      cmocka_unit_test(read_by_a_scanner),
      cmocka_unit_test(in_pieces),
      cmocka_unit_test(accents),
      cmocka_unit_test(letters_beyond_western_europe),
      cmocka_unit_test(names_without_spaces),
      cmocka_unit_test(names_that_are_words),
      cmocka_unit_test(names_that_are_words_in_small_letters),
      cmocka_unit_test(other_words_stay),
  };
  return cmocka_run_group_tests(tests, open_all, close_all);
}
