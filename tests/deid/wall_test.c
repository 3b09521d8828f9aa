/* The wall on records: dates, ages, geography, codes, descriptions, identifiers, counts. */
#include "deid_helper.h"

#include "base/random.h"

static int64_t day_of(int64_t us) { return us / TIME_DAY - (us % TIME_DAY < 0); }
static int years(int64_t from, int64_t to) {
  int y0, m0, d0, y1, m1, d1;
  time_to_civil(day_of(from), &y0, &m0, &d0);
  time_to_civil(day_of(to), &y1, &m1, &d1);
  return y1 - y0 - (m1 < m0 || (m1 == m0 && d1 < d0));
}

static void one_shift_for_each_person(void **state UNUSED) {
  struct fixture f;
  char person[24], time[24];
  int64_t true_time[60], shift[20] = {0};
  struct rng r;
  rng_init(&r, 1, 1);
  fixture_open(&f, "expert", "fhir");
  for (int i = 0; i < 60; i++) {
    snprintf(person, sizeof person, "Patient/%d", i % 20);
    snprintf(time, sizeof time, "20%02u-%02u-%02uT%02u:%02u:%02u", rng_below(&r, 24), 1 + rng_below(&r, 12), 1 + rng_below(&r, 28),
             rng_below(&r, 24), rng_below(&r, 60), rng_below(&r, 60));
    true_time[i] = at(time).us;
    take(&f, record_event(person, "LOINC//2160-0", time));
  }
  finish(&f);
  assert_int_equal(f.keep.n, 60);
  bool differ = false;
  for (int i = 0; i < 60; i++) {
    int64_t s = f.keep.at[i].time - true_time[i];
    assert_true(s % TIME_DAY == 0 && s != 0 && llabs(s) <= 365 * TIME_DAY);
    assert_true(f.keep.at[i].subject > 0 && f.keep.at[i].subject == f.keep.at[i % 20].subject);
    if (i < 20) shift[i] = s;
    assert_true(s == shift[i % 20]);
    differ |= s != shift[0];
  }
  assert_true(differ);
  for (int i = 0; i < 20; i++)
    for (int k = 0; k < i; k++) assert_true(f.keep.at[i].subject != f.keep.at[k].subject);
  fixture_close(&f);
}

static void safe_harbor_has_only_first_of_january(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "safe-harbor", "fhir");
  take(&f, record_birth("p", "1950-08-17"));
  take(&f, record_event("p", "LOINC//2160-0", "2019-04-05T06:07:08.9+02:00"));
  take(&f, record_event("p", "ICD10CM//I50.9", "2020-12"));
  struct record death = record_event("p", NULL, "2021-02-28T23:59:59");
  death.kind = RECORD_DEATH;
  take(&f, death);
  finish(&f);
  assert_int_equal(f.keep.n, 4);
  for (size_t i = 0; i < f.keep.n; i++) {
    char text[32];
    time_format(f.keep.at[i].time, text);
    assert_string_equal(text + 4, "-01-01T00:00:00");
  }
  assert_true(f.keep.at[0].time == at("2019").us && f.keep.at[1].time == at("2020").us && f.keep.at[2].time == at("2021").us);
  assert_string_equal(f.keep.at[2].code, "MEDS_DEATH");
  assert_string_equal(f.keep.at[3].code, "MEDS_BIRTH");
  assert_true(f.keep.at[3].time == at("1950").us);
  fixture_close(&f);
}

static void limited_keeps_dates_and_ages(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "limited", "fhir");
  take(&f, record_birth("p", "1901-08-17"));
  take(&f, record_event("p", "LOINC//2160-0", "2019-04-05T06:07:08"));
  finish(&f);
  assert_true(f.keep.at[0].time == at("2019-04-05T06:07:08").us);
  assert_true(f.keep.at[1].time == at("1901-08-17").us);
  fixture_close(&f);
}

static void sentinels_are_unknown_not_dates(void **state UNUSED) {
  static const char *const policies[] = {"expert", "safe-harbor", "limited"};
  for (int i = 0; i < 3; i++) {
    struct fixture f;
    struct deid_counts c;
    fixture_open(&f, policies[i], "fhir");
    take(&f, record_birth("p", "1900-01-01"));
    take(&f, record_event("p", "LOINC//2160-0", "1900-01-01"));
    take(&f, record_event("p", "LOINC//2160-0", "9999-12-31T23:59:59"));
    take(&f, record_event("p", "LOINC//2160-0", "0001-01-01T00:00:00"));
    take(&f, record_event("p", "LOINC//2160-0", "1900-01-02"));
    struct record far = record_event("p", "LOINC//2160-0", NULL);
    far.time.us = INT64_MAX;
    take(&f, far);
    finish(&f);
    assert_int_equal(f.keep.n, 1);
    deid_counts(f.wall, &c);
    assert_int_equal(c.times_dropped, 5);
    fixture_close(&f);
  }
}

/* A life of `age` completed years at its last event. */
static void age_case(const char *policy, const char *birth, const char *last, int expect, uint64_t capped) {
  struct fixture f;
  struct deid_counts c;
  fixture_open(&f, policy, "fhir");
  take(&f, record_birth("p", birth));
  take(&f, record_event("p", "LOINC//2160-0", "2015-03-03T10:00:00"));
  take(&f, record_event("p", "LOINC//2160-0", last));
  finish(&f);
  const struct kept *b = kept_code(&f.keep, "MEDS_BIRTH", 0);
  assert_non_null(b);
  assert_int_equal(f.keep.n, 3);
  assert_int_equal(years(b->time, f.keep.at[1].time), expect);
  assert_true(years(b->time, f.keep.at[0].time) <= expect);
  deid_counts(f.wall, &c);
  assert_int_equal(c.ages_capped, capped);
  fixture_close(&f);
}

static void ages_over_89_are_one_group(void **state UNUSED) {
  for (int i = 0; i < 40; i++) { /* the shift is random: the result must not depend on it */
    age_case("expert", "1930-06-15", "2019-12-15T08:00:00", 89, 0);
    age_case("expert", "1930-06-15", "2020-06-15T08:00:00", 90, 1);
    age_case("expert", "1930-06-15", "2021-12-15T08:00:00", 90, 1);
    age_case("expert", "1916-06-15", "2021-12-15T08:00:00", 90, 1);
    age_case("expert", "1912-02-29", "2020-02-29T08:00:00", 90, 1);
  }
  age_case("safe-harbor", "1931-06-15", "2020-12-15", 89, 0);
  age_case("safe-harbor", "1930-06-15", "2020-01-15", 90, 1); /* 89 by the calendar, 90 by the years that can be seen: one group */
  age_case("safe-harbor", "1916-06-15", "2021-12-15", 90, 1);
}

static void the_birth_follows_later_events(void **state UNUSED) {
  struct fixture f;
  struct deid_policy p = policy_of("expert");
  fixture_open(&f, "expert", "fhir");
  take(&f, record_birth("p", "1930-01-01"));
  take(&f, record_event("p", "LOINC//2160-0", "2019-01-02"));
  finish(&f);
  int64_t first = kept_code(&f.keep, "MEDS_BIRTH", 0)->time;
  deid_close(f.wall);
  struct event_sink sink = {.ctx = &f.keep, .event = keep_event};
  assert_int_equal(deid_open(&p, f.vault, "fhir", &sink, &f.wall, &f.e), OK);
  take(&f, record_event("p", "LOINC//2160-0", "2031-01-02")); /* a later ingest, without a Patient resource */
  finish(&f);
  const struct kept *again = kept_code(&f.keep, "MEDS_BIRTH", 1), *last = kept_code(&f.keep, "LOINC//2160-0", 1);
  assert_non_null(again);
  assert_true(again->time > first);
  assert_int_equal(years(again->time, last->time), 90);
  fixture_close(&f);
}

static void untouched_persons_get_no_second_birth(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "expert", "fhir");
  take(&f, record_birth("p", "1950-01-02"));
  finish(&f);
  finish(&f);
  assert_int_equal(f.keep.n, 1);
  fixture_close(&f);
}

static void age_values_are_capped(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "expert", "fhir");
  static const struct {
    double value;
    const char *unit;
    float expect;
  } cases[] = {{93, "a", 90}, {90, "a", 90}, {89.5, "a", 89.5f}, {40, "a", 40}, {1200, "mo", 1080}, {1000, "mo", 1000}, {101, "", 90}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct record r = record_event("p", "LOINC//30525-0", "2019-01-02");
    r.value = cases[i].value;
    r.unit = str_c(cases[i].unit);
    take(&f, r);
    assert_true(f.keep.at[i].value == cases[i].expect);
  }
  fixture_close(&f);
}

static void events_that_show_a_life_over_the_cap_are_dropped(void **state UNUSED) {
  struct fixture f;
  struct deid_counts c;
  fixture_open(&f, "expert", "fhir");
  take(&f, record_event("p", "LOINC//2160-0", "2019-01-02"));
  take(&f, record_event("p", "LOINC//2160-0", "1928-01-02"));
  take(&f, record_event("p", "LOINC//2160-0", "1931-01-02"));
  finish(&f);
  assert_int_equal(f.keep.n, 2);
  deid_counts(f.wall, &c);
  assert_int_equal(c.times_dropped, 1);
  fixture_close(&f);
}

static void geography(void **state UNUSED) {
  static const char *const restricted[] = {"036", "059", "102", "202", "203", "204", "205", "369", "556",
                                           "692", "753", "772", "821", "823", "878", "879", "884", "893"};
  static const struct {
    const char *postcode, *country, *code; /* NULL: nothing passes */
  } cases[] = {{"02139", "US", "ZIP3//021"},
               {"02139-4307", "us", "ZIP3//021"},
               {"021394307", "USA", "ZIP3//021"},
               {" 02139 ", "United States", "ZIP3//021"},
               {"2139", "US", "ZIP3//000"},
               {"3601", "US", "ZIP3//000"},
               {"021", "US", "ZIP3//000"},
               {"02139-43", "US", "ZIP3//000"},
               {"ABCDE", "US", "ZIP3//000"},
               {"09012", "US", "ZIP3//000"},
               {"00012", "US", "ZIP3//000"},
               {"SW1A 1AA", "GB", NULL},
               {"K1A 0B1", "CA", NULL},
               {"10115", "DE", NULL},
               {"75001", "FR", NULL},
               {"02139", "", NULL},
               {"", "US", NULL}};
  struct fixture f;
  fixture_open(&f, "safe-harbor", "fhir");
  size_t n = sizeof cases / sizeof *cases;
  for (size_t i = 0; i < n + 18; i++) {
    char zip[16];
    struct record r = record_identifier("p", IDENTIFIER_GEOGRAPHY, "12 Main Street, Springfield");
    snprintf(zip, sizeof zip, "%s01", i < n ? "" : restricted[i - n]);
    r.postcode = i < n ? str_c(cases[i].postcode) : str_c(zip);
    r.country = i < n ? str_c(cases[i].country) : STR("US");
    const char *expect = i < n ? cases[i].code : "ZIP3//000";
    size_t before = f.keep.n;
    take(&f, r);
    if (f.keep.n != before + (expect != NULL)) fail_msg("case %zu", i);
    if (expect) {
      assert_string_equal(f.keep.at[before].code, expect);
      assert_true(f.keep.at[before].time == TIME_STATIC);
    }
  }
  struct deid_counts c;
  deid_counts(f.wall, &c);
  assert_int_equal(c.zips_kept, 4);
  assert_int_equal(c.removed[IDENTIFIER_GEOGRAPHY], n + 18);
  fixture_close(&f);
}

static void the_census_agrees_with_the_list(void **state UNUSED) {
  const char *data = getenv("DATA");
  char path[4096];
  snprintf(path, sizeof path, "%s/deid-reference/zip3_population_census2010.csv", data ? data : "../shared/data");
  FILE *csv = fopen(path, "r");
  if (!csv) {
    if (getenv("CI")) fail_msg("no census table");
    skip();
  }
  struct deid_policy p = policy_of("expert");
  char line[64], zip[8];
  long population;
  int listed = 0, small = 0;
  bool keep[1000] = {false};
  while (fgets(line, sizeof line, csv))
    if (sscanf(line, "%3[0-9],%ld", zip, &population) == 2) {
      listed++;
      small += population <= 20000;
      keep[atoi(zip)] = population > 20000;
    }
  fclose(csv);
  assert_true(listed > 800);
  assert_int_equal(small, 18);
  bool barred[1000] = {false};
  for (int i = 0; i < p.zip3_n; i++) barred[atoi(p.zip3[i])] = true;
  for (int i = 0; i < 1000; i++)
    if (keep[i] == barred[i]) fail_msg("prefix %03d", i);
}

static void deaths(void **state UNUSED) {
  struct fixture f;
  struct deid_counts c;
  fixture_open(&f, "expert", "fhir");
  struct record r = record_event("p", NULL, NULL);
  r.kind = RECORD_DEATH;
  take(&f, r);
  assert_int_equal(f.keep.n, 0); /* deceasedBoolean: no time, no event */
  r.time = at("2020-02-02T03:04:05");
  take(&f, r);
  assert_string_equal(f.keep.at[0].code, "MEDS_DEATH");
  deid_counts(f.wall, &c);
  assert_int_equal(c.times_dropped, 1);
  fixture_close(&f);
}

static void statics_stay_static_and_values_pass(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "expert", "fhir");
  take(&f, record_event("p", "GENDER//female", NULL));
  struct record r = record_event("p", "LOINC//2160-0", "2020-01-02T03:04:05");
  r.value = 1.25;
  r.unit = STR("mg/dL");
  r.row = 77;
  take(&f, r);
  r.unit = STR("SMITH");
  take(&f, r);
  assert_true(f.keep.at[0].time == TIME_STATIC && isnan(f.keep.at[0].value));
  assert_true(f.keep.at[1].value == 1.25f && f.keep.at[1].row == 77);
  assert_string_equal(f.keep.at[1].unit, "mg/dL");
  assert_true(isnan(f.keep.at[2].value)); /* a number without its unit is no measurement */
  assert_string_equal(f.keep.at[2].unit, "");
  r.unit = STR("\xC2\xB5mol/L");
  take(&f, r);
  r.unit = STR(" \xCE\xBCg/mL ");
  take(&f, r);
  assert_true(f.keep.at[3].value == 1.25f && f.keep.at[4].value == 1.25f);
  assert_string_equal(f.keep.at[3].unit, "umol/L");
  assert_string_equal(f.keep.at[4].unit, "ug/mL");
  struct deid_counts n;
  deid_counts(f.wall, &n);
  assert_int_equal(n.units_dropped, 1);
  r.unit = STR_NONE;
  r.value = INFINITY;
  take(&f, r);
  r.value = -1e39;
  take(&f, r);
  assert_true(isnan(f.keep.at[5].value) && isnan(f.keep.at[6].value));
  fixture_close(&f);
}

static void displays_need_three_persons(void **state UNUSED) {
  struct fixture f;
  char person[16];
  fixture_open(&f, "expert", "fhir");
  for (int i = 0; i < 12; i++) {
    snprintf(person, sizeof person, "p%d", i / 3); /* three times each: times do not count, persons do */
    struct record r = record_event(person, "SNOMED//44054006", "2020-01-02");
    r.display = i % 3 == 1 ? STR("Seen with Mrs Canary") : STR("Diabetes mellitus type 2");
    if (i == 1) r.display = STR("Only once");
    take(&f, r);
    bool shows = f.keep.at[i].display[0] != 0;
    assert_int_equal(shows, i >= 6 && i % 3 != 1);
  }
  struct record hostile = record_event("p9", "SNOMED//44054006", "2020-01-02");
  hostile.display = STR("John Canary");
  take(&f, hostile);
  assert_string_equal(f.keep.at[12].display, "");
  fixture_close(&f);
  fixture_open(&f, "expert", "physionet2012"); /* a declared source: its descriptions are its dictionary's */
  struct record r = record_event("p", "PHYSIONET2012//HR", "2020-01-02");
  r.display = STR("Heart rate");
  take(&f, r);
  assert_string_equal(f.keep.at[0].display, "Heart rate");
  fixture_close(&f);
}

static void a_persons_own_identifiers_never_pass_as_codes(void **state UNUSED) {
  struct fixture f;
  struct deid_counts c;
  fixture_open(&f, "expert", "fhir");
  take(&f, record_identifier("Patient/314076", IDENTIFIER_MRN, "748879"));
  take(&f, record_event("Patient/314076", "RXNORM//748879", "2020-01-02")); /* the record number in the code */
  take(&f, record_event("Patient/314076", "RXNORM//314076", "2020-01-02")); /* the logical id in the code */
  struct record r = record_event("Patient/314076", "LOINC//2160-0", "2020-01-02");
  r.value = 748879; /* the record number in the value */
  take(&f, r);
  assert_int_equal(f.keep.n, 0);
  deid_counts(f.wall, &c);
  assert_int_equal(c.own_identifiers, 3);
  take(&f, record_event("Patient/2", "RXNORM//748879", "2020-01-02")); /* somebody else's drug */
  assert_int_equal(f.keep.n, 1);
  fixture_close(&f);
}

static void a_birth_as_an_event_obeys_the_age_rule(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "expert", "meds");
  take(&f, record_event("p", "MEDS_BIRTH", "1900-05-05"));
  take(&f, record_event("p", "LAB//50931//mg/dL", "2019-01-02"));
  finish(&f);
  assert_int_equal(f.keep.n, 2);
  const struct kept *b = kept_code(&f.keep, "MEDS_BIRTH", 0);
  assert_int_equal(years(b->time, f.keep.at[0].time), 90);
  fixture_close(&f);
}

static void nobody_and_too_long_keys_are_dropped(void **state UNUSED) {
  struct fixture f;
  char longer[2000];
  memset(longer, 'k', sizeof longer);
  fixture_open(&f, "expert", "fhir");
  take(&f, record_event("", "LOINC//2160-0", "2020-01-02"));
  struct record r = record_event("x", "LOINC//2160-0", "2020-01-02");
  r.person = (struct str){longer, sizeof longer};
  take(&f, r);
  finish(&f);
  assert_int_equal(f.keep.n, 0);
  assert_int_equal(vault_persons(f.vault), 0);
  fixture_close(&f);
}

static void the_sink_can_stop_the_run(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "expert", "fhir");
  f.keep.stop_after = 1;
  take(&f, record_event("p", "LOINC//2160-0", "2020-01-02"));
  struct record r = record_event("p", "LOINC//2160-0", "2020-01-03");
  assert_int_equal(deid_take(f.wall, &r, &f.e), E_CANCELLED);
  fixture_close(&f);
}

static void the_manifest_counts_and_shows_no_value(void **state UNUSED) {
  struct fixture f;
  struct buf text = {0};
  struct json_out o;
  fixture_open(&f, "expert", "fhir");
  take(&f, record_identifier("Patient/CANARYKEY", IDENTIFIER_NAME, "CANARYNAME"));
  take(&f, record_identifier("Patient/CANARYKEY", IDENTIFIER_SSN, "999-CANARY"));
  struct record r = record_event("Patient/CANARYKEY", NULL, NULL);
  r.kind = RECORD_DROPPED;
  r.path = "Observation.note";
  take(&f, r);
  take(&f, r);
  r.path = "CANARY path with spaces";
  take(&f, r);
  r = record_event("Patient/CANARYKEY", "LOINC//CANARY", "2020-01-02");
  r.text = STR("CANARY text");
  take(&f, r);
  finish(&f);
  json_out_init(&o, &text, false);
  deid_manifest(f.wall, &o);
  assert_false(found_in(&text, "CANARY"));
  struct json_parser *jp;
  struct json root, v;
  int64_t n;
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  buf_reserve(&text, STREAM_PAD);
  assert_int_equal(json_parse(jp, text.p, text.n, text.cap, &root, &f.e), OK);
  assert_true(str_eqc(json_str(json_get(root, "policy")), "expert"));
  assert_int_equal(json_str(json_get(root, "policy_hash")).n, 64);
  v = json_get(root, "removed");
  assert_true(json_i64(json_get(v, "names"), &n) && n == 1);
  assert_true(json_i64(json_get(v, "social-security"), &n) && n == 1);
  assert_true(json_i64(json_get(v, "free-text"), &n) && n == 1);
  v = json_get(root, "dropped_by_path");
  assert_true(json_i64(json_get(json_get(v, "Observation.note"), "unknown-element"), &n) && n == 2);
  assert_true(json_i64(json_get(json_get(v, "other"), "unknown-element"), &n) && n == 1);
  assert_true(json_i64(json_get(json_get(v, "Test.event"), "code-shape"), &n) && n == 1);
  for (int k = 0; k < IDENTIFIER_KINDS; k++) assert_string_not_equal(deid_identifier_name(k), "unknown");
  assert_string_equal(deid_identifier_name(IDENTIFIER_KINDS), "unknown");
  json_parser_free(jp);
  buf_release(&text);
  fixture_close(&f);
}

static void policies_are_stamped_and_refused_when_broken(void **state UNUSED) {
  struct deid_policy a = policy_of("expert"), b = policy_of("safe-harbor");
  struct error e = {0};
  assert_int_equal(strlen(a.hash), 64);
  assert_string_not_equal(a.hash, b.hash);
  static const char *const names[] = {"expert", "expert-k11", "safe-harbor", "limited"};
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 4; k++) {
      struct deid_policy one = policy_of(names[i]), other = policy_of(names[k]);
      assert_int_equal(strcmp(one.settings, other.settings) == 0, i == k || i + k == 1); /* expert-k11 differs in what is released */
    }
  assert_int_equal(a.age_cap, 89);
  assert_int_equal(a.sentinel_n, 3);
  assert_int_equal(deid_policy_load("no/such/policy.json", &a, &e), E_NOTFOUND);
  static const char *const texts[] = {"{}",
                                      "not json",
                                      "{\"name\":\"x\",\"statement\":\"y\",\"dates\":\"shift\",\"shift_days_max\":0,\"age_cap\":89,"
                                      "\"display_persons\":3,\"pseudonyms\":\"random\"}",
                                      "{\"name\":\"x\",\"statement\":\"y\",\"dates\":\"maybe\"}",
                                      "{\"name\":\"x\",\"statement\":\"y\",\"dates\":\"year\",\"shift_days_max\":0,\"age_cap\":89,"
                                      "\"display_persons\":3,\"pseudonyms\":\"hash\"}",
                                      "{\"name\":\"x\",\"statement\":\"y\",\"dates\":\"year\",\"shift_days_max\":0,\"age_cap\":89,"
                                      "\"display_persons\":3,\"pseudonyms\":\"random\","
                                      "\"keep_zip3\":true,\"codes\":\"../x\",\"zip3\":\"z\"}"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    char path[] = "/tmp/deid-policy-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    fputs(texts[i], f);
    fclose(f);
    e = (struct error){0};
    assert_int_equal(deid_policy_load(path, &b, &e), E_INPUT);
    assert_int_equal(b.zip3_n, 0);
    remove(path);
  }
}

static void a_changed_code_table_is_noticed(void **state UNUSED) {
  struct deid_policy p = policy_of("expert");
  struct event_sink sink = {.event = keep_event};
  struct vault *v;
  struct deid *w;
  struct error e = {0};
  p.codes_hash[0] = p.codes_hash[0] == '0' ? '1' : '0';
  assert_int_equal(vault_open_memory(&v, &e), OK);
  assert_int_equal(deid_open(&p, v, "fhir", &sink, &w, &e), E_MISMATCH);
  assert_null(w);
  vault_close(v);
}

static int small_run(struct error *e) {
  static struct deid_policy p;
  struct vault *v = NULL;
  struct deid *w = NULL;
  struct keep keep = {0};
  struct event_sink sink = {.ctx = &keep, .event = keep_event};
  char person[16];
  int rc;
  if (!p.name[0]) p = policy_of("expert");
  TRY_OUT(vault_open_memory(&v, e));
  TRY_OUT(deid_open(&p, v, "fhir", &sink, &w, e));
  for (int i = 0; i < 200; i++) {
    snprintf(person, sizeof person, "p%d", i);
    struct record r = i % 3 ? record_event(person, "LOINC//2160-0", "2020-01-02") : record_birth(person, "1950-02-03");
    TRY_OUT(deid_take(w, &r, e));
    r.kind = RECORD_DROPPED;
    TRY_OUT(deid_take(w, &r, e));
  }
  TRY_OUT(deid_finish(w, e));
out:
  deid_close(w);
  vault_close(v);
  keep_free(&keep);
  return rc < 0 ? rc : OK;
}

static void every_allocation_may_fail(void **state UNUSED) {
  struct error e = {0};
  assert_int_equal(small_run(&e), OK);
  int failures = 0;
  for (long n = 1; n < 2000; n++) {
    e = (struct error){0};
    arena_fail_at(n);
    int rc = small_run(&e);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    if (rc < 0) failures++;
    if (pending) break;
    assert_true(n < 1999);
  }
  assert_true(failures > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_shift_for_each_person),
      cmocka_unit_test(safe_harbor_has_only_first_of_january),
      cmocka_unit_test(limited_keeps_dates_and_ages),
      cmocka_unit_test(sentinels_are_unknown_not_dates),
      cmocka_unit_test(ages_over_89_are_one_group),
      cmocka_unit_test(the_birth_follows_later_events),
      cmocka_unit_test(untouched_persons_get_no_second_birth),
      cmocka_unit_test(age_values_are_capped),
      cmocka_unit_test(events_that_show_a_life_over_the_cap_are_dropped),
      cmocka_unit_test(geography),
      cmocka_unit_test(the_census_agrees_with_the_list),
      cmocka_unit_test(deaths),
      cmocka_unit_test(statics_stay_static_and_values_pass),
      cmocka_unit_test(displays_need_three_persons),
      cmocka_unit_test(a_persons_own_identifiers_never_pass_as_codes),
      cmocka_unit_test(a_birth_as_an_event_obeys_the_age_rule),
      cmocka_unit_test(nobody_and_too_long_keys_are_dropped),
      cmocka_unit_test(the_sink_can_stop_the_run),
      cmocka_unit_test(the_manifest_counts_and_shows_no_value),
      cmocka_unit_test(policies_are_stamped_and_refused_when_broken),
      cmocka_unit_test(a_changed_code_table_is_noticed),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
