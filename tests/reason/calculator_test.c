/* Formulas, units, and every calculator against published or hand-computed examples (calculator_examples.tsv; those marked MedCalc-Bench were
 * computed by an independent implementation, Khandekar et al. 2024). */
#include "../base/helpers.h"

#include <math.h>

#include "base/time.h"
#include "reason/calculator.h"
#include "reason/formula.h"
#include "reason/quantity.h"

static double value_of(const char *text, const double *x) {
  static const char *const names[] = {"a", "b", "c"};
  struct arena a;
  struct formula f;
  arena_init(&a, 1 << 20, 0);
  struct error e = {0};
  if (formula_parse(str_c(text), names, 3, &a, &f, &e) < 0) fail_msg("%s: %s", text, e.message);
  double v = formula_run(&f, x);
  arena_free(&a);
  return v;
}

TEST(formulas_mean_what_they_say) {
  const double x[] = {3, NAN, 0};
  static const struct {
    const char *text;
    double want;
  } cases[] = {{"1 + 2 * 3", 7},
               {"(1 + 2) * 3", 9},
               {"2 ^ 3 ^ 2", 512},
               {"-a ^ 2", -9}, /* as on paper */
               {"(-a) ^ 2", 9},
               {"2 ^ -1 * -a", -1.5},
               {"4 - -a ^ 2 ^ !a", 7},
               {"!!a", 1},
               {"10 - 4 - 3", 3},
               {"24 / 4 / 2", 3},
               {"1 < 2 && 2 < 1 || a == 3", 1},
               {"!c + 1", 2},
               {"min(4, 2, 3) + max(1, a)", 5},
               {"if(a > 2, 10, 20)", 10},
               {"given(b) + 2 * given(a)", 2},
               {"c && b", 0},
               {"a || b", 1},
               {"round(2.5) + floor(-0.5) + ceil(0.2) + abs(-3)", 6},
               {"sqrt(16) + ln(exp(2)) + log10(1000)", 9},
               {"1.5e2 + .5", 150.5},
               {"if(given(b) && b > 2, 1, 0)", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (fabs(value_of(cases[i].text, x) - cases[i].want) > 1e-12) fail_msg("%s gives %g", cases[i].text, value_of(cases[i].text, x));
  assert_true(isnan(value_of("b + 1", x)));
  assert_true(isnan(value_of("if(b, 1, 2)", x)));
  assert_true(isnan(value_of("1 / c", x)));
  assert_true(isnan(value_of("ln(c)", x)));
}

TEST(bad_formulas_are_refused) {
  static const char *const bad[] = {"", "1 +", "(1", "1)", "d", "f(1)", "min(1)", "if(1, 2)", "1 2", "a =! 3", "1..2", ",", "sqrt(1, 2)"};
  static const char *const names[] = {"a"};
  struct arena a;
  struct formula f;
  arena_init(&a, 1 << 20, 0);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (formula_parse(str_c(bad[i]), names, 1, &a, &f, NULL) != E_INPUT) fail_msg("taken: %s", bad[i]);
  char deep[FORMULA_TEXT];
  memset(deep, '(', sizeof deep);
  assert_int_equal(formula_parse((struct str){deep, sizeof deep}, names, 1, &a, &f, NULL), E_INPUT);
  memset(deep, '-', sizeof deep);
  assert_int_equal(formula_parse((struct str){deep, sizeof deep}, names, 1, &a, &f, NULL), E_INPUT);
  arena_free(&a);
}

static int convert(double *x, const char *from, const char *to, double molar, double valence) {
  struct quantity_unit a, b;
  struct error e = {0};
  if (quantity_unit_parse(str_c(from), &a, &e) < 0 || quantity_unit_parse(str_c(to), &b, &e) < 0) return E_INPUT;
  return quantity_convert(x, &a, &b, molar, valence, &e);
}

TEST(units_convert) {
  static const struct {
    double x;
    const char *from, *to;
    double molar, valence, want;
  } cases[] = {{88.4, "umol/L", "mg/dL", 113.12, 0, 1.0},
               {1, "mg/dL", "umol/L", 113.12, 0, 88.40},
               {98.6, "F", "Cel", 0, 0, 37.0},
               {37, "Cel", "[degF]", 0, 0, 98.6},
               {150, "lbs", "kg", 0, 0, 68.0389},
               {70, "in", "cm", 0, 0, 177.8},
               {140, "mEq/L", "mmol/L", 22.98977, 1, 140},
               {4.9, "mEq/L", "mg/dL", 40.078, 2, 9.8191},
               {13.3322, "kPa", "mmHg", 0, 0, 100.0},
               {250, "10*9/L", "10*3/uL", 0, 0, 250},
               {5.5, "mmol/L", "mg/dL", 180.156, 0, 99.0858},
               {42, "g/L", "g/dL", 0, 0, 4.2},
               {1, "wk", "d", 0, 0, 7},
               {60, "/min", "/s", 0, 0, 1},
               {0.4, "1", "%", 0, 0, 40},
               {12, "mU/L", "u[IU]/mL", 0, 0, 12},
               {30, "kg/m2", "g/cm2", 0, 0, 3},
               {2, "{INR}", "1", 0, 0, 2},
               {90, "mL/min/1.73 m2", "mL/min/{1.73_m2}", 0, 0, 90}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    double x = cases[i].x;
    if (convert(&x, cases[i].from, cases[i].to, cases[i].molar, cases[i].valence) < 0 ||
        fabs(x - cases[i].want) > 1e-4 * fabs(cases[i].want))
      fail_msg("%g %s is %g %s?", cases[i].x, cases[i].from, x, cases[i].to);
  }
}

TEST(wrong_units_are_refused) {
  static const struct {
    const char *from, *to;
    double molar;
  } cases[] = {{"mg/dL", "mmol/L", 0}, {"kg", "cm", 0}, {"Cel", "kg", 0}, {"mmHg", "mg/dL", 0}, {"mg/dL", "mg/d", 0}, {"blah", "kg", 0},
               {"mg/dL", "umol", 113}, {"k", "kg", 0},  {"kg-", "kg", 0}, {"m}", "m", 0},       {"10*", "1", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    double x = 1;
    if (convert(&x, cases[i].from, cases[i].to, cases[i].molar, 0) >= 0) fail_msg("%s to %s", cases[i].from, cases[i].to);
  }
}

static struct calculator *load(const char *name) {
  char path[512];
  struct calculator *c;
  struct error e = {0};
  snprintf(path, sizeof path, "%s/calculators/%s.json", file_data_dir(), name);
  if (calculator_load(path, &c, &e) < 0) fail_msg("%s: %s %s", name, e.field, e.message);
  return c;
}

/* "a=1; b=2" */
static int set_all(const struct calculator *c, struct calculator_value *in, struct str inputs, struct error *e) {
  calculator_none(c, in);
  while (inputs.p) {
    struct str one = str_trim(str_cut(&inputs, ';')), rest = one, name = str_cut(&rest, '=');
    TRY(calculator_set(c, in, name, rest, e));
  }
  return OK;
}

TEST(examples_come_out) {
  struct arena a;
  struct str text, *path;
  size_t files;
  char dir[512], seen[128][64];
  struct error e = {0};
  int rows = 0, names = 0;
  arena_init(&a, 16 << 20, 0);
  assert_int_equal(file_read(&a, "tests/reason/calculator_examples.tsv", 1 << 20, &text, &e), OK);
  str_cut(&text, '\n');
  while (text.n) {
    struct str line = str_cut(&text, '\n'), name = str_cut(&line, '\t'), inputs = str_cut(&line, '\t'), want = str_cut(&line, '\t');
    struct calculator_value in[CALCULATOR_INPUTS];
    struct calculator_answer r;
    char n[64], got[64];
    double w;
    snprintf(n, sizeof n, "%.*s", STR_ARG(name));
    struct calculator *c = load(n);
    e = (struct error){0};
    if (set_all(c, in, inputs, &e) < 0 || calculator_run(c, in, &r, &e) < 0) fail_msg("%s: %s %s", n, e.field, e.message);
    if (strcmp(r.unit, "date") == 0) {
      time_format_date((int64_t)r.value * TIME_DAY, got);
      assert_text(want, got);
    } else {
      assert_int_equal(str_to_f64(want, &w), OK);
      /* half of the last digit that we show, or what an example rounded harder than we do */
      if (fabs(r.value - w) > fmax(0.51, 1e-3 * fabs(w)) && fabs(r.value - w) > 0.02)
        fail_msg("%s %.*s: %g, want %g", n, STR_ARG(inputs), r.value, w);
      if (strncmp(r.unit, "{score}", 7) == 0 && r.value != w) fail_msg("%s %.*s: %g, want %g", n, STR_ARG(inputs), r.value, w);
    }
    calculator_free(c);
    int k = 0;
    while (k < names && strcmp(seen[k], n) != 0) k++;
    if (k == names) strcpy(seen[names++], n);
    rows++;
  }
  /* every calculator has an example */
  snprintf(dir, sizeof dir, "%s/calculators", file_data_dir());
  assert_int_equal(file_list(&a, dir, &path, &files, &e), OK);
  assert_int_equal((int)files, names);
  assert_true(rows > 100);
  arena_free(&a);
}

TEST(inputs_are_checked) {
  struct calculator *c = load("ckd-epi-2021");
  struct calculator_value in[CALCULATOR_INPUTS];
  struct calculator_answer r;
  struct error e = {0};
  calculator_none(c, in);
  assert_int_equal(calculator_set(c, in, STR("creatinine"), STR("88 umol/L"), &e), OK);
  assert_int_equal(calculator_set(c, in, STR("creatinine"), STR("90 umol/L"), &e), E_INPUT);
  assert_string_equal(e.message, "is given twice");
  calculator_none(c, in);
  assert_int_equal(calculator_set(c, in, STR("creatinine"), STR("88 mmHg"), &e), E_MISMATCH);
  assert_string_equal(e.field, "creatinine");
  assert_null(strstr(e.message, "88"));                                                     /* no value in a message */
  assert_int_equal(calculator_set(c, in, STR("creatinine"), STR("88 mg/dL"), &e), E_INPUT); /* out of range */
  assert_int_equal(calculator_set(c, in, STR("creatinin"), STR("1"), &e), E_INPUT);
  assert_non_null(strstr(e.message, "creatinine"));
  assert_int_equal(calculator_set(c, in, STR("sex"), STR("maybe"), &e), E_INPUT);
  assert_int_equal(calculator_set(c, in, STR("age"), STR("x"), &e), E_INPUT);
  e = (struct error){0};
  assert_int_equal(calculator_run(c, in, &r, &e), E_INPUT); /* age and sex are missing */
  assert_string_equal(e.field, "age");
  /* a measurement from a chart must have a unit */
  assert_int_equal(calculator_set_measured(c, in, 2, 1.0, STR_NONE, &e), E_INPUT);
  assert_int_equal(calculator_set_measured(c, in, 2, 1.0, STR("mg/dL"), &e), OK);
  calculator_free(c);
  c = load("gcs"); /* what cannot be tested has no score */
  calculator_none(c, in);
  static const char *const parts[] = {"eye", "verbal", "motor"};
  for (int i = 0; i < 3; i++) {
    e = (struct error){0};
    assert_int_equal(calculator_set(c, in, str_c(parts[i]), STR("not testable"), &e), E_INPUT);
    assert_string_equal(e.field, parts[i]);
    assert_non_null(strstr(e.message, "no value of the whole"));
    assert_true(isnan(in[i].x));
  }
  calculator_free(c);
  c = load("ldl-friedewald"); /* not defined from 400 mg/dL on */
  calculator_none(c, in);
  assert_int_equal(calculator_set(c, in, STR("triglycerides"), STR("400"), &e), E_INPUT);
  calculator_free(c);
  c = load("apache-ii"); /* which oxygen figure is needed depends on the oxygen given */
  assert_int_equal(
      set_all(c, in,
              STR("age=40; temperature=37; mean_pressure=80; heart_rate=80; respiratory_rate=15; fio2=60; pao2=80; ph=7.4; sodium=140; "
                  "potassium=4; creatinine=1; hematocrit=40; wbc=8; gcs=15"),
              &e),
      OK);
  e = (struct error){0};
  assert_int_equal(calculator_run(c, in, &r, &e), E_INPUT);
  assert_string_equal(e.field, "aa_gradient");
  assert_int_equal(calculator_set(c, in, STR("aa_gradient"), STR("250"), &e), OK);
  assert_int_equal(calculator_run(c, in, &r, &e), OK);
  assert_true(r.value == 2);
  assert_int_equal(r.n_assumed, 1);
  calculator_free(c);
}

static const char *band_of(const char *name, const char *inputs) {
  struct calculator *c = load(name);
  struct calculator_value in[CALCULATOR_INPUTS];
  struct calculator_answer r;
  struct error e = {0};
  static char band[64];
  if (set_all(c, in, str_c(inputs), &e) < 0 || calculator_run(c, in, &r, &e) < 0) fail_msg("%s: %s %s", name, e.field, e.message);
  snprintf(band, sizeof band, "%s", r.band ? r.band : "-");
  calculator_free(c);
  return band;
}
TEST(bands_hold_for_whom_they_are) {
  assert_string_equal(band_of("bmi", "weight=20; height=115; age=5"), "-");
  assert_string_equal(band_of("bmi", "weight=60; height=170; age=19"), "-");
  assert_string_equal(band_of("bmi", "weight=60; height=170; age=20"), "normal");
  assert_string_equal(band_of("bmi", "weight=100; height=170"), "obese");
}

TEST(bad_files_are_refused) {
  static const char *const bad[] = {
      "{}",
      "[]",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{},\"value\":\"1\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"parsec\"}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"}},\"value\":\"b\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\",\"molr\":3}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a b\":{\"unit\":\"kg\"}},\"value\":\"1\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"choices\":{}}},\"value\":\"1\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"}},\"let\":{\"x\":\"y\",\"y\":\"1\"},\"value\":\"x\",\"unit\":"
      "\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"}},\"value\":\"a\",\"unit\":\"1\",\"bands\":[[2,\"x\"],[1,\"y\"]"
      "]}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"}},\"value\":\"a\",\"unit\":\"1\",\"digits\":12}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"}},\"value\":\"a\",\"unit\":\"1\",\"bands_if\":\"b > 1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\",\"min\":\"0\",\"max\":\"10\"}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\",\"max\":null}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\",\"min\":2,\"max\":1}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\",\"optional\":\"yes\"}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\",\"fact\":1}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\",\"codes\":\"X\"}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"},\"a\":{\"unit\":\"m\"}},\"value\":\"a\",\"unit\":\"1\"}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"}},\"value\":\"a\",\"unit\":\"1\",\"let\":{\"a\":\"2\"}}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"}},\"value\":\"a\",\"unit\":\"1\",\"let\":{\"b\":\"2\",\"b\":"
      "\"3\"}}",
      "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\"}},\"value\":\"a\",\"unit\":\"1\",\"bands\":\"low\"}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct calculator *c;
    if (calculator_parse(STR("t"), bad[i], strlen(bad[i]), strlen(bad[i]), &c, NULL) != E_INPUT) fail_msg("taken: %s", bad[i]);
  }
  for (long n = 1;; n++) { /* no memory, at each allocation */
    static const char good[] =
        "{\"title\":\"t\",\"source\":\"s\",\"inputs\":{\"a\":{\"unit\":\"kg\",\"codes\":[\"X\"]},\"b\":{\"choices\":{\"x\":1}}},\"value\":"
        "\"a\",\"unit\":\"1\"}";
    struct calculator *c = NULL;
    struct error e = {0};
    arena_fail_at(n);
    int rc = calculator_parse(STR("t"), good, sizeof good - 1, sizeof good - 1, &c, &e);
    bool reached = !arena_fail_pending();
    arena_fail_at(0);
    if (rc == OK) calculator_free(c);
    if (!reached) {
      assert_int_equal(rc, OK);
      break;
    }
    assert_int_equal(rc, E_NOMEM);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(formulas_mean_what_they_say),  cmocka_unit_test(bad_formulas_are_refused), cmocka_unit_test(units_convert),
      cmocka_unit_test(wrong_units_are_refused),      cmocka_unit_test(examples_come_out),        cmocka_unit_test(inputs_are_checked),
      cmocka_unit_test(bands_hold_for_whom_they_are), cmocka_unit_test(bad_files_are_refused)};
  return cmocka_run_group_tests_name("calculator", tests, NULL, NULL);
}
