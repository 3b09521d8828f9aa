/* Step by step on made-up knowledge: what is asked first and why, what denial does, that nothing unasked is revealed, that a transcript runs again.
 * Then the shipped knowledge on the published cases of the data sets. */
#include "../base/helpers.h"

#include <math.h>

#include "base/json.h"
#include "base/map.h"
#include "reason/gatekeeper.h"
#include "reason/sequential.h"

static const char diagnoses[] =
    "{\"name\":\"Red fever\",\"also\":[\"Rubor\"],\"findings\":{\"age\":\"child\",\"history\":\"fever, red spots\",\"blood\":\"purple "
    "crystals\"}}\n"
    "{\"name\":\"Blue fever\",\"also\":[],\"findings\":{\"age\":\"child\",\"history\":\"fever, blue spots\",\"blood\":\"golden "
    "needles\"}}\n"
    "{\"name\":\"Green fever's end (late)\",\"also\":[],\"findings\":{\"history\":\"fever\",\"picture\":\"shadow, no crystals\"}}\n";
static const char actions[] =
    "{\"currency\":\"USD\",\"actions\":["
    "{\"id\":\"history\",\"kind\":\"question\",\"name\":\"history\",\"cost\":10,\"keys\":[\"history\"]},"
    "{\"id\":\"look\",\"kind\":\"examination\",\"name\":\"look\",\"cost\":5,\"keys\":[\"skin\"],\"generic\":true},"
    "{\"id\":\"blood\",\"kind\":\"test\",\"name\":\"blood\",\"cost\":60,\"keys\":[\"blood count\",\"blood\"]},"
    "{\"id\":\"picture\",\"kind\":\"test\",\"name\":\"picture\",\"cost\":300,\"keys\":[\"x-ray\"]},"
    "{\"id\":\"rest\",\"kind\":\"test\",\"name\":\"rest\",\"cost\":50,\"keys\":[],\"generic\":true}]}";
static const char words[] = "{\"documents\":100,\"echo\":0.4,\"scale\":0.8,\"words\":{}}";
static const char case_json[] =
    "{\"OSCE_Examination\":{\"Objective_for_Doctor\":\"Find out\",\"Patient_Actor\":{\"Demographics\":\"7-year-old "
    "girl\",\"History\":\"Hot for a week\","
    "\"Symptoms\":{\"Primary_Symptom\":\"Fever\",\"Secondary_Symptoms\":[\"Spots, not red\"]}},"
    "\"Physical_Examination_Findings\":{\"Skin\":{\"Arms\":\"spots\"},\"Nose\":\"straight\"},"
    "\"Test_Results\":{\"Laboratory\":{\"Blood_Count\":\"golden needles\"},\"Chest_X-ray\":\"clear\",\"Weight\":31},"
    "\"Correct_Diagnosis\":\"blue FEVER (early)\"}}";

static struct sequential *k;
static struct arena arena;

static struct sequential_files files(void) {
  static char path[3][256];
  snprintf(path[0], 256, "%s", temp_file("diagnoses", diagnoses, sizeof diagnoses - 1));
  snprintf(path[1], 256, "%s", temp_file("actions", actions, sizeof actions - 1));
  snprintf(path[2], 256, "%s", temp_file("words", words, sizeof words - 1));
  return (struct sequential_files){path[0], path[1], path[2]};
}
static int make(void **state) {
  struct error e = {0};
  if (temp_make(state) < 0) return -1;
  struct sequential_files f = files();
  arena_init(&arena, 256 << 20, 0);
  if (sequential_open(&f, &k, &e) < 0) {
    error_print(stderr, &e);
    return -1;
  }
  return 0;
}
static int unmake(void **state) {
  sequential_free(k);
  arena_free(&arena);
  return temp_remove(state);
}
static struct sequential_session *begin(struct sequential_options o, const char *opening) {
  struct sequential_session *s;
  struct error e = {0};
  if (sequential_begin(k, &o, str_c(opening), &arena, &s, &e) < 0) fail_msg("%s", e.message);
  return s;
}
static void hear(struct sequential_session *s, const char *action, const char *answer) {
  struct error e = {0};
  if (sequential_hear(s, sequential_action_find(k, str_c(action)), str_c(answer), &e) < 0) fail_msg("%s", e.message);
}
static struct sequential_choice choose(struct sequential_session *s) {
  struct sequential_choice c;
  struct error e = {0};
  if (sequential_choose(s, &c, &e) < 0) fail_msg("%s", e.message);
  return c;
}
static double p_of(const struct sequential_session *s, const char *name) {
  return sequential_probability(s, sequential_disease_find(k, str_c(name)));
}
static struct gatekeeper open_case(const char *text) {
  struct json root;
  struct gatekeeper g;
  struct error e = {0};
  assert_int_equal(json_load(&arena, temp_file("case.json", text, strlen(text)), &root, &e), OK);
  if (gatekeeper_open(k, root, &arena, &g, &e) < 0) fail_msg("%s", e.message);
  return g;
}

TEST(names_are_found_however_written) {
  assert_int_equal(sequential_disease_find(k, STR("RED  fever")), 0);
  assert_int_equal(sequential_disease_find(k, STR("rubor")), 0);
  assert_int_equal(sequential_disease_find(k, STR("Green fever\xE2\x80\x99s End")), 2);
  assert_int_equal(sequential_disease_find(k, STR("Yellow fever")), -1);
}
TEST(what_is_said_counts_and_what_is_denied_counts_against) {
  struct sequential_session *s = begin((struct sequential_options){0}, "a child with fever");
  double before = p_of(s, "Red fever"), sum = 0;
  assert_true(fabs(before - p_of(s, "Blue fever")) < 1e-9);
  for (int i = 0; i < 3; i++) sum += sequential_probability(s, i);
  assert_true(fabs(sum - 1) < 1e-9);
  hear(s, "history", "There are spots and they are red.");
  assert_true(p_of(s, "Red fever") > before && p_of(s, "Red fever") > p_of(s, "Blue fever"));
  s = begin((struct sequential_options){0}, "a child with fever");
  hear(s, "history", "There are spots. The mother denies that they are red.");
  assert_true(p_of(s, "Red fever") < p_of(s, "Blue fever"));
  s = begin((struct sequential_options){0}, "a child with fever"); /* a denied word that a disease is known for */
  hear(s, "picture", "A shadow without crystals");
  assert_int_equal(sequential_first(s), 2);
  s = begin((struct sequential_options){0}, "7-year-old boy with fever"); /* an age is a word too */
  assert_true(p_of(s, "Red fever") > p_of(s, "Green fever's end"));
}
TEST(a_duration_is_no_age) {
  static const char *const aged[] = {"7-year-old boy, fever for 40 years", "3 days of fever, 7-year-old boy", "Aged 7, with fever",
                                     "7 Years of age, fever"};
  static const char *const none[] = {"a boy with fever for 7 years", "8 months of fever, 70-year-old man"};
  double even = p_of(begin((struct sequential_options){0}, "fever"), "Green fever's end");
  for (size_t i = 0; i < sizeof aged / sizeof *aged; i++)
    assert_true(p_of(begin((struct sequential_options){0}, aged[i]), "Green fever's end") < even);
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_true(fabs(p_of(begin((struct sequential_options){0}, none[i]), "Green fever's end") - even) < 1e-9);
}
TEST(every_word_is_heard_and_every_denial) {
  char text[8192] = "fever";
  struct sequential_options o = {0};
  double said = p_of(begin(o, "no fever but spots and red"), "Red fever"),
         denied = p_of(begin(o, "no fever but spots and no red"), "Red fever");
  assert_true(denied < said);
  for (int i = 0; i < 700; i++) snprintf(text + strlen(text), sizeof text - strlen(text), " word%d", i);
  double silent = p_of(begin(o, text), "Red fever");
  snprintf(text + strlen(text), sizeof text - strlen(text), " red"); /* the last of a sentence without a mark */
  assert_true(p_of(begin(o, text), "Red fever") > silent);
}
TEST(the_telling_and_cheap_question_comes_first) {
  struct sequential_session *s = begin((struct sequential_options){.worth = 1000}, "a child with fever");
  struct sequential_choice c = choose(s);
  assert_text(sequential_action(k, c.action)->id, "history"); /* tells red from blue at a sixth of the price of blood */
  assert_true(c.gain > 0);
  hear(s, "history", NULL);
  assert_text(sequential_action(k, choose(s).action)->id, "blood");
  hear(s, "blood", "purple crystals");
  c = choose(s);
  assert_int_equal(c.action, -1); /* the dear picture is no longer worth it */
  assert_string_equal(c.why, "worth");
  assert_text(sequential_disease(k, sequential_first(s)), "Red fever");
  assert_true(sequential_spent(s) == 70);
  s = begin((struct sequential_options){.worth = 1}, "a child with fever");
  assert_int_equal(choose(s).action, -1);
}
TEST(the_budget_is_hard) {
  struct error e = {0};
  struct sequential_session *s = begin((struct sequential_options){.budget = 25, .worth = 1e5}, "a child with fever");
  hear(s, "history", "spots");
  struct sequential_choice c = choose(s);
  assert_int_equal(c.action, -1);
  assert_string_equal(c.why, "budget");
  assert_int_equal(sequential_hear(s, sequential_action_find(k, STR("blood")), STR_NONE, &e), E_LIMIT);
  assert_int_equal(sequential_hear(s, sequential_action_find(k, STR("history")), STR_NONE, &e), E_USAGE); /* once */
  s = begin((struct sequential_options){.budget = 20, .policy = SEQUENTIAL_FIXED}, "a child");
  assert_int_equal(choose(s).action, 0);
  hear(s, "history", NULL);
  assert_int_equal(choose(s).action, 1);
  hear(s, "look", NULL);
  assert_int_equal(choose(s).action, -1); /* in order: what is dear is not stepped over */
}
TEST(the_gatekeeper_reveals_what_is_asked) {
  struct gatekeeper g = open_case(case_json);
  const struct {
    const char *action, *answer;
  } want[] = {{"history", "History: Hot for a week. "},
              {"look", "Skin, Arms: spots. Nose: straight. "},
              {"blood", "Laboratory, Blood Count: golden needles. "},
              {"picture", "Chest X-ray: clear. "},
              {"rest", "Weight: 31. "}};
  assert_text(g.opening, "Find out. 7-year-old girl. Fever");
  for (size_t i = 0; i < sizeof want / sizeof *want; i++)
    assert_text(g.answer[sequential_action_find(k, str_c(want[i].action))], want[i].answer);
  assert_int_equal(g.unplaced, 1); /* no action asks for other symptoms here */
  assert_true(gatekeeper_judge(k, &g, 1));
  assert_false(gatekeeper_judge(k, &g, 0));
  for (int i = 0; i < sequential_actions(k); i++) assert_false(g.answer[i].n && memmem(g.answer[i].p, g.answer[i].n, "FEVER", 5));
}
static int prefer_picture(void *with, const struct sequential_session *s UNUSED, double *value, struct error *e UNUSED) {
  ++*(int *)with;
  value[sequential_action_find(k, STR("picture"))] += 1e6;
  return OK;
}
TEST(a_proposer_can_speak) {
  int calls = 0;
  struct sequential_session *s =
      begin((struct sequential_options){.worth = 1000, .proposer = {&calls, prefer_picture}}, "a child with fever");
  assert_text(sequential_action(k, choose(s).action)->id, "picture");
  assert_int_equal(calls, 1);
  s = begin((struct sequential_options){.worth = 1000, .budget = 100, .proposer = {&calls, prefer_picture}}, "a child with fever");
  assert_text(sequential_action(k, choose(s).action)->id, "history"); /* but not over the budget */
}
static struct buf transcript_of(const struct sequential_session *s) {
  struct buf b = {0};
  struct error e = {0};
  if (sequential_transcript(s, &b, &e) < 0) fail_msg("%s", e.message);
  return b;
}
static int replay(const char *text, size_t n, struct buf *again) {
  struct json root;
  struct error e = {0};
  assert_int_equal(json_load(&arena, temp_file("transcript", text, n), &root, &e), OK);
  return sequential_replay(k, root, again, &e);
}
TEST(a_transcript_runs_again) {
  struct sequential_session *s = begin((struct sequential_options){.worth = 1000}, "a child with fever");
  struct buf again = {0};
  for (struct sequential_choice c; (c = choose(s)).action >= 0;)
    hear(s, sequential_action(k, c.action)->id.p, c.action == 2 ? "purple crystals" : NULL);
  struct buf b = transcript_of(s);
  assert_int_equal(replay(b.p, b.n, &again), OK);
  assert_true(again.n == b.n && memcmp(again.p, b.p, b.n) == 0);
  /* an answer changed afterwards gives other odds and hashes; an action changed is no longer what would be next; other knowledge is seen */
  char *at = memmem(b.p, b.n, "purple", 6);
  assert_non_null(at);
  memcpy(at, "golden", 6);
  buf_clear(&again);
  if (replay(b.p, b.n, &again) == OK) assert_false(again.n == b.n && memcmp(again.p, b.p, b.n) == 0);
  at = memmem(b.p, b.n, "\"blood\"", 7);
  memcpy(at, "\"looks\"", 7);
  assert_int_equal(replay(b.p, b.n, &again), E_MISMATCH);
  at = memmem(b.p, b.n, "actions_sha256\":\"", 17);
  at[17] = at[17] == '0' ? '1' : '0';
  assert_int_equal(replay(b.p, b.n, &again), E_MISMATCH);
  buf_release(&again);
  buf_release(&b);
}
TEST(who_leaves_is_no_mismatch) {
  struct buf again = {0};
  struct sequential_session *s = begin((struct sequential_options){0}, "a child with fever");
  hear(s, sequential_action(k, choose(s).action)->id.p, "spots");
  assert_true(choose(s).action >= 0);
  sequential_leave(s);
  struct buf b = transcript_of(s);
  assert_non_null(memmem(b.p, b.n, "\"stopped\":\"left\"", 16));
  assert_int_equal(replay(b.p, b.n, &again), OK);
  assert_true(str_eq((struct str){again.p, again.n}, (struct str){b.p, b.n}));
  buf_release(&again);
  buf_release(&b);
}
TEST(the_gatekeeper_walks_lists_and_truth_values) {
  struct gatekeeper g = open_case(
      "{\"Objective_for_Doctor\":\"Find out\",\"Test_Results\":{\"Blood_Count\":[{\"Iron\":\"low\"},7,[true]],"
      "\"X-ray\":{\"Shadow\":false,\"Crystals\":true}}}");
  assert_text(g.answer[sequential_action_find(k, STR("blood"))], "Blood Count, Iron: low. Blood Count: 7. Blood Count present. ");
  assert_text(g.answer[sequential_action_find(k, STR("picture"))], "X-ray, Shadow absent. X-ray, Crystals present. ");
  assert_int_equal(g.unplaced, 0);
  struct sequential_session *s = begin((struct sequential_options){0}, "fever"), *t = begin((struct sequential_options){0}, "fever");
  hear(s, "picture", "X-ray, Shadow absent. ");
  hear(t, "picture", "X-ray, Shadow present. ");
  assert_true(p_of(s, "Green fever's end") < p_of(t, "Green fever's end"));
}
TEST(common_words_weigh_less) {
  struct str text[20];
  struct buf json = {0};
  struct error e = {0};
  struct sequential_session *s = begin((struct sequential_options){0}, "red spots");
  double rare = p_of(s, "Red fever");
  for (int i = 0; i < 20; i++) text[i] = STR("something red");
  assert_int_equal(sequential_count(k, text, 20, 0.4, 0.8, &json, &e), OK);
  assert_int_equal(sequential_use(k, json.p, json.n, &e), OK);
  s = begin((struct sequential_options){0}, "red spots");
  assert_true(p_of(s, "Red fever") < rare);
  assert_int_equal(sequential_use(k, words, sizeof words - 1, &e), OK);
  buf_release(&json);
}
TEST(bad_files_are_refused) {
  static const char *const bad[][3] = {
      {"{\"name\":\"A\",\"findings\":{\"nothing\":\"x\"}}\n", NULL, NULL},
      {"{\"name\":\"A\",\"findings\":{}}\n", NULL, NULL},
      {"{\"name\":\"A\",\"findings\":{\"age\":\"x\"}}\n{\"name\":\"a\",\"findings\":{\"age\":\"x\"}}\n", NULL, NULL},
      {NULL, "{\"currency\":\"USD\",\"actions\":[{\"id\":\"a\",\"name\":\"a\",\"kind\":\"oracle\",\"cost\":1}]}", NULL},
      {NULL, "{\"currency\":\"USD\",\"actions\":[{\"id\":\"a\",\"name\":\"a\",\"kind\":\"test\",\"cost\":-1}]}", NULL},
      {NULL, NULL, "{\"documents\":1,\"echo\":2,\"scale\":1,\"words\":{}}"},
      {NULL, NULL, "{\"documents\":1,\"echo\":0.4,\"scale\":1,\"words\":{\"red\":2}}"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct sequential_files f = files();
    struct sequential *other;
    struct error e = {0};
    if (bad[i][0]) f.diagnoses = temp_file("bad", bad[i][0], strlen(bad[i][0]));
    if (bad[i][1]) f.actions = temp_file("bad", bad[i][1], strlen(bad[i][1]));
    if (bad[i][2]) f.words = temp_file("bad", bad[i][2], strlen(bad[i][2]));
    assert_int_equal(sequential_open(&f, &other, &e), E_INPUT);
  }
  struct json root;
  struct gatekeeper g;
  struct error e = {0};
  assert_int_equal(json_load(&arena, temp_file("none", "{\"Patient_Actor\":3}", 19), &root, &e), OK);
  assert_int_equal(gatekeeper_open(k, root, &arena, &g, &e), E_INPUT);
}

/* The shipped knowledge: every published case can be opened, all that is on record belongs to an action, every diagnosis is among the candidates */
TEST(the_published_cases_fit_the_shipped_knowledge) {
  const char *data = getenv("DATA");
  char command[1024], line[1 << 16];
  struct sequential *shipped;
  struct json_parser *jp;
  struct error e = {0};
  int cases = 0;
  snprintf(command, sizeof command, "xz -dc '%s/clinical-text/agentclinic_medqa_dev.jsonl.xz'", data ? data : "../shared/data");
  if (sequential_open(&(struct sequential_files){0}, &shipped, &e) < 0) fail_msg("%s", e.message);
  assert_int_equal(json_parser_new(&jp, &e), OK);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    struct json root;
    struct gatekeeper g;
    assert_int_equal(json_parse(jp, line, strlen(line), sizeof line, &root, &e), OK);
    if (gatekeeper_open(shipped, root, &arena, &g, &e) < 0) fail_msg("case %d: %s", cases, e.message);
    assert_int_equal(g.unplaced, 0);
    assert_true(g.opening.n > 0 && g.truth.n > 0);
    if (sequential_disease_find(shipped, g.truth) < 0) fail_msg("case %d: not among the candidates", cases);
    cases++;
  }
  assert_int_equal(pclose(f), 0);
  assert_int_equal(cases, 91);
  json_parser_free(jp);
  sequential_free(shipped);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_found_however_written),
                                     cmocka_unit_test(what_is_said_counts_and_what_is_denied_counts_against),
                                     cmocka_unit_test(a_duration_is_no_age),
                                     cmocka_unit_test(every_word_is_heard_and_every_denial),
                                     cmocka_unit_test(the_telling_and_cheap_question_comes_first),
                                     cmocka_unit_test(the_budget_is_hard),
                                     cmocka_unit_test(the_gatekeeper_reveals_what_is_asked),
                                     cmocka_unit_test(a_proposer_can_speak),
                                     cmocka_unit_test(a_transcript_runs_again),
                                     cmocka_unit_test(who_leaves_is_no_mismatch),
                                     cmocka_unit_test(the_gatekeeper_walks_lists_and_truth_values),
                                     cmocka_unit_test(common_words_weigh_less),
                                     cmocka_unit_test(bad_files_are_refused),
                                     cmocka_unit_test(the_published_cases_fit_the_shipped_knowledge)};
  return cmocka_run_group_tests_name("sequential", tests, make, unmake);
}
