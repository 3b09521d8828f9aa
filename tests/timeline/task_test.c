/* Labels against lives worked out by hand: boundaries, gap, new onset, censoring, competing death, values, prefixes, windows. */
#include "store_help.h"
#include "timeline/task.h"

#define D TIME_DAY

struct labelled {
  struct timeline *t;
  struct task *task;
  struct task_binding *b;
  struct task_example x[64];
  int n;
};

static struct labelled label(const char *json, const struct event *v, size_t n, int gap) {
  struct labelled l = {0};
  OKAY(task_parse(json, strlen(json), &l.task, e));
  OKAY(timeline_memory_new(&l.t, e));
  for (size_t i = 0; i < n; i++) OKAY(timeline_memory_append(l.t, &v[i], e));
  OKAY(timeline_memory_seal(l.t, e));
  OKAY(task_bind(l.task, l.t, &l.b, e));
  struct timeline_view view = timeline_view(l.t, 0);
  OKAY(l.n = task_label(l.b, &view, 0, gap, l.x, 64, e));
  return l;
}
static void done(struct labelled *l) {
  task_binding_free(l->b);
  task_free(l->task);
  timeline_close(l->t);
}
/* Labels of all moments as a text such as "10:N 20:Y"; days. */
static void expect_gap(const char *json, const struct event *v, size_t n, int gap, const char *want) {
  struct labelled l = label(json, v, n, gap);
  char got[1000] = "";
  for (int i = 0; i < l.n; i++)
    snprintf(got + strlen(got), sizeof got - strlen(got), "%s%g:%c@%g", i ? " " : "", (double)l.x[i].time / (double)D, "NYC"[l.x[i].label],
             (double)l.x[i].outcome / (double)D);
  if (strcmp(got, want) != 0) fail_msg("got \"%s\", want \"%s\" for %s", got, want, json);
  done(&l);
}
#define EXPECT(json, want, ...)                                \
  do {                                                         \
    const struct event v_[] = {__VA_ARGS__};                   \
    expect_gap((json), v_, sizeof v_ / sizeof *v_, 0, (want)); \
  } while (0)
#define AT(day, code) event_of(1, (int64_t)((day) * (double)D), (code), NAN)
#define VAL(day, code, value) event_of(1, (int64_t)((day) * (double)D), (code), (value))

#define YEAR_TASK(more) "{\"name\":\"t\",\"trigger\":{\"code\":[\"IN\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"10d\"" more "}"

#define NINE(x) x "," x "," x "," x "," x "," x "," x "," x "," x

static void boundaries(void **state) {
  (void)state;
  /* the target at the moment itself is not in the future */
  EXPECT(YEAR_TASK(""), "5:N@15", AT(5, "IN"), AT(5, "T"), AT(30, "Z"));
  /* one microsecond later it is */
  EXPECT(YEAR_TASK(""), "5:Y@5", AT(5, "IN"), event_of(1, 5 * D + 1, "T", NAN), AT(30, "Z"));
  /* the horizon is included, one microsecond beyond is not */
  EXPECT(YEAR_TASK(""), "5:Y@15", AT(5, "IN"), AT(15, "T"));
  EXPECT(YEAR_TASK(""), "5:N@15", AT(5, "IN"), event_of(1, 15 * D + 1, "T", NAN));
  /* a record that goes on exactly to the horizon is complete */
  EXPECT(YEAR_TASK(""), "5:N@15", AT(5, "IN"), AT(15, "Z"));
  EXPECT(YEAR_TASK(""), "5:C@14", AT(5, "IN"), AT(14, "Z"));
  EXPECT(YEAR_TASK(",\"censor\":\"negative\""), "5:N@14", AT(5, "IN"), AT(14, "Z"));
  /* no trigger, no example; static triggers are none */
  EXPECT(YEAR_TASK(""), "", AT(5, "Z"), AT(14, "T"));
  EXPECT(YEAR_TASK(""), "", event_of(1, TIME_STATIC, "IN", NAN), AT(14, "T"));
}

static void known_events(void **state) {
  (void)state;
  const struct event v[] = {event_of(1, TIME_STATIC, "GENDER//F", NAN), AT(1, "A"), AT(5, "IN"), AT(5, "B"),
                            event_of(1, 5 * D + 1, "C", NAN),           AT(9, "Z")};
  struct labelled l = label(YEAR_TASK(""), v, 6, 0);
  assert_int_equal(l.n, 1);
  assert_int_equal(l.x[0].events, 4); /* static, A, IN, B: the moment's own instant is known */
  done(&l);
}

static void gaps(void **state) {
  (void)state;
  const char *task = YEAR_TASK(",\"gap\":[\"0d\",\"3d\"]");
  const struct event inside[] = {AT(5, "IN"), AT(8, "T"), AT(9, "T"), AT(40, "Z")},
                     outside[] = {AT(5, "IN"), event_of(1, 8 * D + 1, "T", NAN)}, none[] = {AT(5, "IN"), AT(20, "Z")};
  expect_gap(task, inside, 4, 0, "5:Y@8");
  expect_gap(task, inside, 4, 1, ""); /* the first target lies in (t, t + gap]: neither a case nor a control */
  expect_gap(task, outside, 2, 1, "5:Y@8");
  expect_gap(task, none, 2, 1, "5:N@15");
}

static void new_onset(void **state) {
  (void)state;
  const char *task = YEAR_TASK(",\"new_onset\":true");
  EXPECT(task, "", AT(1, "T"), AT(5, "IN"), AT(8, "T"), AT(40, "Z"));
  EXPECT(task, "", AT(5, "IN"), AT(5, "T"), AT(8, "T"), AT(40, "Z")); /* at the moment counts as had */
  EXPECT(task, "5:Y@8", AT(5, "IN"), AT(8, "T"), AT(40, "Z"));
  EXPECT(YEAR_TASK(""), "5:Y@8", AT(1, "T"), AT(5, "IN"), AT(8, "T"), AT(40, "Z"));
}

static void competing_death(void **state) {
  (void)state;
  EXPECT(YEAR_TASK(""), "5:N@7", AT(5, "IN"), AT(7, "MEDS_DEATH"));
  EXPECT(YEAR_TASK(""), "5:N@15", AT(5, "IN"), AT(15, "MEDS_DEATH"));
  EXPECT(YEAR_TASK(""), "5:N@15", AT(5, "IN"), AT(16, "MEDS_DEATH"));
  EXPECT(YEAR_TASK(""), "5:Y@7", AT(5, "IN"), AT(7, "T"), AT(8, "MEDS_DEATH"));
  EXPECT(YEAR_TASK(""), "", AT(5, "MEDS_DEATH"), AT(5, "IN"), AT(7, "T")); /* nobody asks about the dead */
  EXPECT(YEAR_TASK(",\"death\":[\"GONE\"]"), "5:N@6", AT(5, "IN"), AT(6, "GONE"), AT(7, "MEDS_DEATH"));
  /* death as the target itself */
  EXPECT("{\"name\":\"d\",\"trigger\":{\"code\":[\"IN\"],\"offset\":\"48h\"},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"record\"}",
         "7:Y@9", AT(5, "IN"), AT(6, "Z"), AT(9, "MEDS_DEATH"));
  EXPECT("{\"name\":\"d\",\"trigger\":{\"code\":[\"IN\"],\"offset\":\"48h\"},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"record\"}",
         "7:N@7", AT(5, "IN"), AT(6, "Z"));
  EXPECT("{\"name\":\"d\",\"trigger\":{\"code\":[\"IN\"],\"offset\":\"48h\"},\"target\":{\"any\":[\"MEDS_DEATH\"]},\"horizon\":\"record\"}",
         "", AT(5, "IN"), AT(7, "MEDS_DEATH"));
}

static void values_and_patterns(void **state) {
  (void)state;
  const char *task =
      "{\"name\":\"v\",\"trigger\":{\"code\":[\"IN//*\"]},\"target\":{\"any\":[\"LAB//*\"],\"value\":{\"ge\":126}},\"horizon\":\"10d\"}";
  EXPECT(task, "5:Y@8", AT(5, "IN//X"), VAL(6, "LAB//G", 125.9f), VAL(8, "LAB//G", 126), AT(40, "Z"));
  EXPECT(task, "5:N@15", AT(5, "IN//X"), AT(6, "LAB//G"), VAL(7, "LABX", 500),
         AT(40, "Z")); /* no number does not pass; LABX is not under LAB// */
  EXPECT(task, "", AT(5, "IN"), VAL(7, "LAB//G", 500), AT(40, "Z"));
  const char *band =
      "{\"name\":\"v\",\"trigger\":{\"code\":[\"IN\"]},\"target\":{\"any\":[\"L\"],\"value\":{\"gt\":1,\"lt\":2}},\"horizon\":\"10d\"}";
  EXPECT(band, "5:Y@8", AT(5, "IN"), VAL(6, "L", 1), VAL(7, "L", 2), VAL(8, "L", 1.5f), AT(40, "Z"));
}

static void all_targets(void **state) {
  (void)state;
  const char *task =
      "{\"name\":\"a\",\"trigger\":{\"code\":[\"IN\"]},\"target\":{\"all\":[\"A\",\"B//*\"]},\"horizon\":\"10d\",\"new_onset\":true}";
  EXPECT(task, "5:Y@9", AT(5, "IN"), AT(7, "B//1"), AT(9, "A"), AT(40, "Z"));
  EXPECT(task, "5:N@15", AT(5, "IN"), AT(7, "A"), AT(16, "B//1"));
  EXPECT(task, "5:N@15", AT(1, "A"), AT(5, "IN"), AT(7, "B//1"), AT(40, "Z")); /* each part must come after the moment */
  EXPECT(task, "", AT(1, "A"), AT(2, "B//1"), AT(5, "IN"), AT(7, "B//1"), AT(8, "A"), AT(40, "Z"));
}

static void windows(void **state) {
  (void)state;
  const char *need = YEAR_TASK(",\"require\":[{\"any\":[\"P\"],\"from\":\"-2d\",\"to\":\"0d\",\"min\":2}]");
  EXPECT(need, "5:N@15", AT(3, "P"), AT(5, "P"), AT(5, "IN"), AT(40, "Z")); /* both ends included */
  EXPECT(need, "", event_of(1, 3 * D - 1, "P", NAN), AT(5, "P"), AT(5, "IN"), AT(40, "Z"));
  EXPECT(need, "", AT(4, "P"), AT(5, "IN"), event_of(1, 5 * D + 1, "P", NAN), AT(40, "Z"));
  const char *forbid = YEAR_TASK(",\"exclude\":[{\"any\":[\"P\"],\"to\":\"-1d\"}]");
  EXPECT(forbid, "", AT(1, "P"), AT(5, "IN"), AT(40, "Z"));
  EXPECT(forbid, "5:N@15", AT(4.5, "P"), AT(5, "IN"), AT(40, "Z"));
  EXPECT(forbid, "", event_of(1, TIME_STATIC, "P", NAN), AT(5, "IN"), AT(40, "Z")); /* from -inf: facts without a time count */
  const char *value = YEAR_TASK(",\"require\":[{\"any\":[\"P\"],\"value\":{\"le\":3}}]");
  EXPECT(value, "5:N@15", VAL(1, "P", 3), AT(5, "IN"), AT(40, "Z"));
  EXPECT(value, "", VAL(1, "P", 3.5f), AT(5, "IN"), AT(40, "Z"));
}

static void which_trigger(void **state) {
  (void)state;
#define WHICH(w) "{\"name\":\"w\",\"trigger\":{\"code\":[\"IN\"],\"which\":\"" w "\"},\"target\":{\"any\":[\"T\"]},\"horizon\":\"10d\"}"
  EXPECT(WHICH("first"), "5:Y@12", AT(5, "IN"), AT(9, "IN"), AT(12, "T"), AT(40, "IN"));
  EXPECT(WHICH("last"), "40:C@40", AT(5, "IN"), AT(9, "IN"), AT(12, "T"), AT(40, "IN"));
  EXPECT(WHICH("each"), "5:Y@12 9:Y@12 40:C@40", AT(5, "IN"), AT(9, "IN"), VAL(9, "IN", 1), AT(12, "T"), AT(40, "IN"));
  /* a target that is the trigger too: the next one counts */
  EXPECT("{\"name\":\"r\",\"trigger\":{\"code\":[\"OUT\"],\"which\":\"each\"},\"target\":{\"any\":[\"IN\"]},\"horizon\":\"30d\"}",
         "3:Y@20 22:N@52 90:C@90", AT(1, "IN"), AT(3, "OUT"), AT(20, "IN"), AT(22, "OUT"), AT(80, "IN"), AT(90, "OUT"));
}

static void by_age(void **state) {
  (void)state;
  const char *task =
      "{\"name\":\"y\",\"trigger\":{\"every\":\"10d\",\"from\":\"20d\",\"to\":\"60d\"},\"target\":{\"any\":[\"T\"]},\"horizon\":\"10d\"}";
  /* born on day 100: ages 20, 30, … are days 120, 130, …; the record runs from 125 to 147 */
  EXPECT(task, "130:N@140 140:Y@147", AT(100, "MEDS_BIRTH"), AT(125, "A"), AT(147, "T"));
  EXPECT(task, "120:N@130 130:N@140 140:N@150 150:N@160 160:N@170", AT(100, "MEDS_BIRTH"), AT(101, "A"), AT(300, "A")); /* to is included */
  EXPECT(task, "", AT(125, "A"), AT(147, "T"));                                                                         /* no birth */
  EXPECT(task, "", AT(100, "MEDS_BIRTH")); /* nothing but a birth */
  EXPECT(task, "130:N@133", AT(100, "MEDS_BIRTH"), AT(125, "A"), AT(133, "MEDS_DEATH"), AT(150, "late note"));
  EXPECT("{\"name\":\"e\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"T\"]},\"horizon\":\"10d\"}", "147:C@147", AT(100, "MEDS_BIRTH"),
         AT(147, "A"));
}

static void files_are_checked(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      "[]",
      "{}",
      "{\"name\":\"X\"}",
      "{\"name\":\"x\",\"trigger\":{},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\"}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"],\"every\":\"1y\"},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\"}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A*B\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\"}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[]},\"horizon\":\"1y\"}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"],\"all\":[\"T\"]},\"horizon\":\"1y\"}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"]}}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"0d\"}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\",\"gap\":[\"1y\"]}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\",\"gap\":[]}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\",\"censor\":\"maybe\"}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\",\"require\":[{\"any\":[\"*\"],\"to\":"
      "\"1d\"}]}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\",\"require\":[{\"any\":[\"*\"],"
      "\"min\":0}]}",
      "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"],\"value\":{\"ge\":\"x\"}},\"horizon\":\"1y\"}",
      YEAR_TASK(",\"auxiliary\":{}"),
      YEAR_TASK(",\"auxiliary\":[{}]"),
      YEAR_TASK(",\"auxiliary\":[{\"horizon\":\"0d\"}]"),
      YEAR_TASK(",\"auxiliary\":[{\"horizon\":\"1d\",\"gap\":[\"0d\"]}]"),
      YEAR_TASK(",\"auxiliary\":[{\"horizon\":\"1d\",\"target\":{}}]"),
      YEAR_TASK(",\"time_to_event\":true,\"auxiliary\":[{\"horizon\":\"1d\"}]"),
      YEAR_TASK(",\"auxiliary\":[" NINE("{\"horizon\":\"1d\"}") "]"),
  };
  struct task *t;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct error err = {0};
    if (task_parse(bad[i], strlen(bad[i]), &t, &err) != E_INPUT) fail_msg("accepted or wrong code: %s", bad[i]);
    assert_null(t);
  }
  struct error err = {0};
  const char *misspelt = "{\"name\":\"x\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1y\",\"exlude\":[]}";
  assert_int_equal(task_parse(misspelt, strlen(misspelt), &t, &err), E_INPUT);
  assert_non_null(strstr(err.message, "did you mean \"exclude\""));
  static const struct {
    const char *json, *field, *says;
  } twice[] = {
      {YEAR_TASK(",\"horizon\":\"11d\""), "task", "\"horizon\" stands more than once"},
      {YEAR_TASK(",\"exclude\":[{\"any\":[\"A\"]}],\"exclude\":[{\"any\":[\"B\"]}]"), "task", "\"exclude\" stands"},
      {YEAR_TASK(",\"title\":\"x\",\"title\":\"x\""), "task", "\"title\" stands"},
      {YEAR_TASK(",\"require\":[{\"any\":[\"A\"],\"min\":1,\"min\":2}]"), "require", "\"min\" stands"},
      {YEAR_TASK(",\"require\":[{\"any\":[\"A\"],\"value\":{\"ge\":1,\"ge\":2}}]"), "value", "\"ge\" stands"},
      {YEAR_TASK(",\"auxiliary\":[{\"horizon\":\"1d\",\"horizon\":\"2d\"}]"), "auxiliary", "\"horizon\" stands"},
      {"{\"name\":\"t\",\"trigger\":{\"code\":[\"A\"],\"code\":[\"B\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"1d\"}", "trigger",
       "\"code\" stands"},
      {"{\"name\":\"t\",\"trigger\":{\"code\":[\"A\"]},\"target\":{\"any\":[\"T\"],\"any\":[\"U\"]},\"horizon\":\"1d\"}", "target",
       "\"any\" stands"},
  };
  for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) {
    assert_int_equal(task_parse(twice[i].json, strlen(twice[i].json), &t, &err), E_INPUT);
    assert_string_equal(err.field, twice[i].field);
    assert_non_null(strstr(err.message, twice[i].says));
  }
  const char *good = YEAR_TASK(",\"gap\":[\"0d\",\"30h\"],\"title\":\"Title\"");
  OKAY(task_parse(good, strlen(good), &t, e));
  assert_string_equal(task_name(t), "t");
  assert_string_equal(task_title(t), "Title");
  assert_int_equal(task_gaps(t), 2);
  assert_int_equal(task_gap(t, 1), 30 * TIME_HOUR);
  assert_int_equal(task_horizon(t), 10 * TIME_DAY);
  assert_int_equal(strlen(task_hash(t)), 64);
  task_free(t);
}

/* What chooses moments and makes labels is compared, however it is written; what is for people, scores and the table alone is not. */
static void the_same_question(void **state) {
  (void)state;
#define OF(trigger, more) \
  "{\"name\":\"t\",\"trigger\":{" trigger "},\"target\":{\"any\":[\"T\"],\"value\":{\"ge\":3}},\"horizon\":\"10d\"" more "}"
#define IN "\"code\":[\"IN\"]"
  static const char *const same[] = {
      OF(IN, ""),
      OF(IN ",\"which\":\"first\"", ",\n  \"title\":\"T\", \"about\":\"x\",\"scores\":[\"h\"]"),
      OF(IN, ",\"gap\":[\"0d\",\"3d\"],\"auxiliary\":[{\"horizon\":\"1d\"}],\"death\":[\"MEDS_DEATH\",\"MEDS_DEATH//*\"]"),
      "{\"horizon\":\"240h\",\"target\":{\"value\":{\"ge\":3.0},\"any\":[\"T\"]},\"trigger\":{" IN "},\"name\":\"t\"}",
  };
  static const char *const other[] = {
      "{}",
      "",
      YEAR_TASK(""),
      OF(IN ",\"which\":\"each\"", ""),
      OF(IN ",\"offset\":\"1h\"", ""),
      OF(IN ",\"value\":{\"ge\":3}", ""),
      OF("\"code\":[\"IN\",\"X\"]", ""),
      OF("\"every\":\"1y\"", ""),
      OF("\"end\":true", ""),
      OF(IN, ",\"gap\":[\"1d\"]"),
      OF(IN, ",\"new_onset\":true"),
      OF(IN, ",\"censor\":\"negative\""),
      OF(IN, ",\"time_to_event\":true"),
      OF(IN, ",\"competing\":[\"OUT\"]"),
      OF(IN, ",\"death\":[\"GONE\"]"),
      OF(IN, ",\"require\":[{\"any\":[\"P\"]}]"),
      "{\"name\":\"t\",\"trigger\":{" IN "},\"target\":{\"any\":[\"T\"],\"value\":{\"ge\":4}},\"horizon\":\"10d\"}",
      "{\"name\":\"t\",\"trigger\":{" IN "},\"target\":{\"any\":[\"T\"],\"value\":{\"ge\":3}},\"horizon\":\"11d\"}",
  };
  static const char *const window[] = {"\"any\":[\"P\"]",
                                       "\"any\":[\"Q\"]",
                                       "\"any\":[\"P\"],\"min\":2",
                                       "\"any\":[\"P\"],\"to\":\"-1d\"",
                                       "\"any\":[\"P\"],\"from\":\"-9d\"",
                                       "\"any\":[\"P\"],\"value\":{\"lt\":1}"};
  struct task *t;
  OKAY(task_parse(same[0], strlen(same[0]), &t, e));
  for (size_t i = 0; i < sizeof same / sizeof *same; i++)
    if (!task_asks(t, same[i])) fail_msg("another question: %s", same[i]);
  for (size_t i = 0; i < sizeof other / sizeof *other; i++)
    if (task_asks(t, other[i])) fail_msg("the same question: %s", other[i]);
  task_free(t);
  for (size_t i = 0; i < sizeof window / sizeof *window; i++)
    for (size_t k = 0; k < sizeof window / sizeof *window; k++) {
      char a[500], b[500];
      snprintf(a, sizeof a, OF(IN, ",\"exclude\":[{%s}]"), window[i]);
      snprintf(b, sizeof b, OF(IN, ", \"exclude\":[{%s}]"), window[k]);
      OKAY(task_parse(a, strlen(a), &t, e));
      if (task_asks(t, b) != (i == k)) fail_msg("%s and %s", a, b);
      task_free(t);
    }
#undef OF
#undef IN
}

/* Other targets of the same moments: by hand, at a moment that the windows or an earlier onset would have left out as well. */
static void auxiliary_targets(void **state) {
  (void)state;
  const struct event v[] = {AT(1, "T"), AT(5, "IN"), VAL(8, "LAB", 3), AT(12, "U"), AT(14, "T"), AT(16, "MEDS_DEATH"), AT(17, "Z")};
  const char *json = YEAR_TASK(
      ",\"new_onset\":true,\"exclude\":[{\"any\":[\"IN\"]}],\"auxiliary\":[{\"horizon\":\"8d\"},{\"horizon\":\"9d\"},"
      "{\"target\":{\"any\":[\"LAB\"],\"value\":{\"ge\":4}},\"horizon\":\"1y\"},"
      "{\"target\":{\"all\":[\"LAB\",\"U\"]},\"horizon\":\"record\"}]");
  struct labelled l = label(json, v, sizeof v / sizeof *v, 0);
  struct timeline_view view = timeline_view(l.t, 0);
  struct task_example x = {.subject_index = 7};
  assert_int_equal(l.n, 0); /* the task itself asks nobody here */
  assert_int_equal(task_auxiliaries(l.task), 4);
  static const char want[4] = {'N', 'Y', 'N', 'Y'};
  static const double outcome[4] = {13, 14, 16, 12};
  for (int k = 0; k < 4; k++) {
    const struct task *t = task_auxiliary(l.task, k);
    struct task_binding *b;
    OKAY(task_bind(t, l.t, &b, e));
    assert_true(task_label_moment(b, &view, 5 * D, &x));
    assert_true("NYC"[x.label] == want[k] && x.outcome == (int64_t)(outcome[k] * (double)D));
    assert_true(x.subject_index == 7 && x.events == 2 && x.time == 5 * D);
    assert_false(task_label_moment(b, &view, 16 * D, &x)); /* nobody asks about the dead */
    assert_int_equal(task_auxiliaries(t), 0);
    task_binding_free(b);
  }
  done(&l);
  const struct event ends[] = {AT(5, "IN"), AT(6, "Z")}; /* the record ends before: no, where the task itself would not know */
  l = label(YEAR_TASK(",\"auxiliary\":[{\"horizon\":\"8d\"}]"), ends, 2, 0);
  struct task_binding *b;
  view = timeline_view(l.t, 0);
  OKAY(task_bind(task_auxiliary(l.task, 0), l.t, &b, e));
  assert_true(task_label_moment(b, &view, 5 * D, &x) && x.label == LABEL_NO && l.x[0].label == LABEL_CENSORED);
  task_binding_free(b);
  done(&l);
  for (long k = 1; k < 200; k++) {
    struct task *again = NULL;
    arena_fail_at(k);
    int rc = task_parse(json, strlen(json), &again, NULL);
    bool finished = arena_fail_pending();
    arena_fail_at(0);
    assert_true(rc == (finished ? OK : E_NOMEM));
    task_free(again);
    if (finished) break;
  }
}

static void shipped_tasks_load(void **state) {
  (void)state;
  char dir[4096];
  struct arena a;
  struct str *files;
  size_t n;
  snprintf(dir, sizeof dir, "%s/tasks", file_data_dir());
  if (!file_is_dir(dir)) strcpy(dir, "tasks");
  arena_init(&a, 0, 0);
  OKAY(file_list(&a, dir, &files, &n, e));
  assert_true(n >= 10);
  for (size_t i = 0; i < n; i++) {
    struct task *t;
    OKAY(task_load(files[i].p, &t, e));
    char want[300];
    snprintf(want, sizeof want, "%s.json", task_name(t));
    assert_true(str_ends(files[i], str_c(want))); /* the file is called what the task is called */
    task_free(t);
  }
  arena_free(&a);
}

static void whole_store(void **state) {
  (void)state;
  char dir[64];
  enum { N = 900 };
  static struct event v[3 * N];
  size_t n = 0;
  for (int i = 0; i < N; i++) { /* every third has the target in time, every third later, every third is cut off */
    v[n++] = event_of(i + 1, 5 * D, "IN", NAN);
    v[n++] = event_of(i + 1, 9 * D, i % 3 == 0 ? "T" : "Z", NAN);
    if (i % 3 != 2) v[n++] = event_of(i + 1, 40 * D, "Z", NAN);
  }
  temp_dir(dir);
  OKAY(write_events(dir, NULL, v, n, e));
  struct timeline *t;
  struct task *task;
  struct task_binding *b;
  struct task_examples all, part;
  struct arena a;
  const char *json = YEAR_TASK("");
  arena_init(&a, 0, 0);
  OKAY(timeline_open(dir, &t, e));
  OKAY(task_parse(json, strlen(json), &task, e));
  OKAY(task_bind(task, t, &b, e));
  OKAY(task_label_all(b, t, SPLITS, 0, &a, &all, e));
  assert_int_equal(all.n, N);
  assert_int_equal(all.yes, N / 3);
  assert_int_equal(all.censored, N / 3);
  uint32_t sum = 0;
  for (int s = 0; s < SPLITS; s++) {
    OKAY(task_label_all(b, t, (enum split)s, 0, &a, &part, e));
    for (uint32_t i = 0; i < part.n; i++) assert_int_equal(timeline_view(t, part.at[i].subject_index).split, s);
    sum += part.n;
  }
  assert_int_equal(sum, N);
  uint32_t code;
  const uint32_t *codes;
  assert_true(timeline_code_find(t, STR("T"), &code));
  assert_true(task_is_target(b, code));
  assert_int_equal(task_target_codes(b, &codes), 1);
  assert_int_equal(codes[0], code);
  struct timeline_view view = timeline_view(t, 0);
  struct error err = {0};
  assert_int_equal(task_label(b, &view, 0, 0, NULL, 0, &err), E_LIMIT);
  for (long k = 1; k < 200; k++) {
    struct task *again = NULL;
    struct task_binding *bound = NULL;
    arena_fail_at(k);
    int rc = task_parse(json, strlen(json), &again, NULL);
    if (rc == OK) rc = task_bind(again, t, &bound, NULL);
    if (rc == OK) rc = task_label_all(bound, t, SPLITS, 0, &a, &all, NULL);
    bool finished = arena_fail_pending();
    arena_fail_at(0);
    task_binding_free(bound);
    task_free(again);
    assert_true(finished == (rc == OK));
    if (finished) break;
  }
  task_binding_free(b);
  task_free(task);
  timeline_close(t);
  arena_free(&a);
  temp_remove(dir);
}

/* What begins with LABEL// is no part of the record: only a target that names it sees it. */
static void labels_are_for_tasks_alone(void **state) {
  (void)state;
#define FATE(target, more) "{\"name\":\"t\",\"trigger\":{\"code\":[\"IN\"]},\"target\":{\"any\":[" target "]},\"horizon\":\"10d\"" more "}"
  const char *either = FATE("\"T\",\"LABEL//D\"", "");
  EXPECT(either, "5:Y@9", AT(5, "IN"), AT(9, "LABEL//D"), AT(12, "T"), AT(30, "Z"));
  EXPECT(either, "5:Y@7", AT(5, "IN"), AT(9, "LABEL//D"), AT(7, "T"), AT(30, "Z"));
  EXPECT(either, "5:N@15", AT(5, "IN"), AT(5, "LABEL//D"), event_of(1, 15 * D + 1, "LABEL//D", NAN), AT(30, "Z"));
  EXPECT(either, "5:N@15", AT(5, "IN"), event_of(1, TIME_STATIC, "LABEL//D", NAN), AT(30, "Z"));
  EXPECT(FATE("\"LABEL//*\"", ",\"new_onset\":true"), "", AT(5, "IN"), AT(4, "LABEL//D"), AT(9, "LABEL//D"), AT(30, "Z"));
  /* the record does not go on because of a label, and a star alone does not mean one */
  EXPECT(YEAR_TASK(""), "5:C@8", AT(5, "IN"), AT(8, "Z"), AT(40, "LABEL//D"));
  EXPECT(FATE("\"*\"", ""), "5:Y@12", AT(5, "IN"), AT(9, "LABEL//D"), AT(12, "Z"));
  EXPECT(FATE("\"Z\"", ",\"require\":[{\"any\":[\"*\"],\"from\":\"-4d\",\"to\":\"-1d\"}]"), "", AT(5, "IN"), AT(3, "LABEL//D"),
         AT(30, "Z"));
  static const struct {
    const char *json, *field;
  } unseen[] = {
      {FATE("\"Z\"", ",\"death\":[\"LABEL//D\"]"), "death"},
      {FATE("\"Z\"", ",\"competing\":[\"A\",\"LABEL//*\"]"), "competing"},
      {FATE("\"Z\"", ",\"require\":[{\"any\":[\"LABEL//D\"]}]"), "require"},
      {FATE("\"Z\"", ",\"exclude\":[{\"any\":[\"A\"]},{\"any\":[\"LABEL//D*\"]}]"), "exclude"},
      {"{\"name\":\"t\",\"trigger\":{\"code\":[\"LABEL//D\"]},\"target\":{\"any\":[\"T\"]},\"horizon\":\"10d\"}", "trigger.code"}};
  for (size_t k = 0; k < sizeof unseen / sizeof *unseen; k++) {
    struct error err = {0};
    struct task *t;
    assert_int_equal(task_parse(unseen[k].json, strlen(unseen[k].json), &t, &err), E_INPUT);
    assert_string_equal(err.field, unseen[k].field);
    assert_non_null(strstr(err.message, "LABEL//"));
  }
  /* each of several: in the order of time, whichever side they are on */
  EXPECT("{\"name\":\"t\",\"trigger\":{\"code\":[\"IN\"]},\"target\":{\"all\":[\"T\",\"LABEL//D\"]},\"horizon\":\"10d\"}", "5:Y@11",
         AT(5, "IN"), AT(7, "LABEL//D"), AT(11, "T"), AT(30, "Z"));
  EXPECT("{\"name\":\"t\",\"trigger\":{\"code\":[\"IN\"]},\"target\":{\"all\":[\"T\",\"LABEL//D\"]},\"horizon\":\"10d\"}", "5:N@15",
         AT(5, "IN"), AT(16, "LABEL//D"), AT(11, "T"), AT(30, "Z"));
  const struct event v[] = {AT(5, "IN"), AT(9, "LABEL//D"), AT(12, "T"), event_of(1, TIME_STATIC, "LABEL//S", 3), AT(7, "LABEL//A")};
  struct labelled l = label(either, v, 5, 0);
  struct timeline_view view = timeline_view(l.t, 0);
  assert_int_equal(view.n, 2);
  assert_int_equal(view.statics, 0);
  assert_int_equal(view.labels, 3);
  assert_true(view.time[2] == TIME_STATIC && view.value[2] == 3 && view.time[3] == 7 * D && view.time[4] == 9 * D);
  assert_int_equal(task_applies(l.b, &view, 2, 12 * D), TASK_APPLIES);
  done(&l);
}

static enum task_applies ask(const char *json, double day, const struct event *v, size_t n) {
  struct labelled l = label(json, v, n, 0);
  struct timeline_view view = timeline_view(l.t, 0);
  uint32_t known = 0;
  while (known < view.n && view.time[known] <= (int64_t)(day * (double)D)) known++;
  enum task_applies got = task_applies(l.b, &view, known, (int64_t)(day * (double)D));
  done(&l);
  return got;
}

/* What competes ends the question until a trigger comes again; labels do not change. */
static void competing_ends_the_question(void **state) {
  (void)state;
  const char *stay = YEAR_TASK(",\"competing\":[\"OUT//*\",\"T\"]"), *plain = YEAR_TASK("");
  const char *now =
      "{\"name\":\"t\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"T\"]},\"horizon\":\"10d\",\"competing\":[\"OUT//*\"]}";
  const struct event v[] = {AT(5, "IN"), AT(7, "OUT//ALIVE"), AT(8, "Z"),           AT(20, "IN"),
                            AT(23, "T"), AT(24, "Z"),         AT(25, "OUT//ALIVE"), AT(25, "IN")};
  assert_int_equal(ask(stay, 6, v, 8), TASK_APPLIES);
  assert_int_equal(ask(stay, 7, v, 8), TASK_ENDED);
  assert_int_equal(ask(stay, 19, v, 8), TASK_ENDED);
  assert_int_equal(ask(plain, 19, v, 8), TASK_APPLIES);
  assert_int_equal(ask(stay, 20, v, 8), TASK_APPLIES); /* a new stay */
  assert_int_equal(ask(stay, 24, v, 8), TASK_APPLIES); /* the target itself ends nothing */
  assert_int_equal(ask(stay, 25, v, 8), TASK_APPLIES); /* moved to another ward */
  assert_int_equal(ask(stay, 25, v, 7), TASK_ENDED);
  assert_int_equal(ask(now, 6, v, 8), TASK_APPLIES);
  assert_int_equal(ask(now, 24, v, 8), TASK_ENDED); /* without a code there is no new beginning */
  EXPECT(stay, "5:N@15", AT(5, "IN"), AT(7, "OUT//ALIVE"), AT(20, "IN"), AT(23, "T"), AT(24, "Z"), AT(25, "IN"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(competing_ends_the_question),
      cmocka_unit_test(boundaries),
      cmocka_unit_test(known_events),
      cmocka_unit_test(gaps),
      cmocka_unit_test(new_onset),
      cmocka_unit_test(competing_death),
      cmocka_unit_test(values_and_patterns),
      cmocka_unit_test(all_targets),
      cmocka_unit_test(windows),
      cmocka_unit_test(which_trigger),
      cmocka_unit_test(by_age),
      cmocka_unit_test(files_are_checked),
      cmocka_unit_test(the_same_question),
      cmocka_unit_test(shipped_tasks_load),
      cmocka_unit_test(whole_store),
      cmocka_unit_test(auxiliary_targets),
      cmocka_unit_test(labels_are_for_tasks_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
