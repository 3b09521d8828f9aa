/* The timeline of one request gives the view that a store of the same events gives; and both can be shown. */
#include "store_help.h"

static void append_all(struct timeline *t, const struct event *v, size_t n) {
  for (size_t i = 0; i < n; i++) OKAY(timeline_memory_append(t, &v[i], e));
  OKAY(timeline_memory_seal(t, e));
}

static void dump_lives(const struct timeline *t, bool with_split, struct buf *out) {
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    if (!with_split) v.split = SPLIT_TRAIN;
    for (uint32_t k = 0; k < v.n + v.labels; k++) dump_event(t, &v, i, k, out);
    buf_printf(out, "statics %u labels %u\n", v.statics, v.labels);
  }
}

static void same_as_the_store(void **state) {
  (void)state;
  struct rng r;
  rng_init(&r, 1, 2);
  for (uint32_t round = 0; round < 12; round++) {
    enum { N = 700 };
    static struct event v[N];
    char dir[64];
    struct timeline *stored, *held;
    struct buf a = {0}, b = {0};
    for (int i = 0; i < N; i++) v[i] = random_event(&r, 1 + round * 3);
    temp_dir(dir);
    OKAY(write_events(dir, NULL, v, N, e));
    OKAY(timeline_open(dir, &stored, e));
    OKAY(timeline_memory_new(&held, e));
    append_all(held, v, N);
    dump_lives(stored, false, &a);
    dump_lives(held, false, &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
    assert_int_equal(timeline_events(stored), timeline_events(held));
    assert_int_equal(timeline_codes(stored), timeline_codes(held));
    uint32_t x, y;
    assert_true(timeline_code_find(stored, STR("LOINC//718-7"), &x) && timeline_code_find(held, STR("LOINC//718-7"), &y));
    assert_int_equal(timeline_code_count(stored, x), timeline_code_count(held, y));
    assert_true(str_eq(timeline_code_display(stored, x), timeline_code_display(held, y)));
    timeline_close(stored);
    timeline_close(held);
    buf_release(&a);
    buf_release(&b);
    temp_remove(dir);
  }
}

static void grows_and_seals_again(void **state) {
  (void)state;
  struct event v[300];
  struct rng r;
  struct timeline *once, *twice;
  struct buf a = {0}, b = {0};
  rng_init(&r, 3, 2);
  for (int i = 0; i < 300; i++) v[i] = random_event(&r, 1);
  OKAY(timeline_memory_new(&once, e));
  OKAY(timeline_memory_new(&twice, e));
  append_all(once, v, 300);
  append_all(twice, v, 120);
  append_all(twice, v + 120, 180);
  dump_lives(once, true, &a);
  dump_lives(twice, true, &b);
  assert_int_equal(a.n, b.n);
  assert_memory_equal(a.p, b.p, a.n);
  timeline_close(once);
  timeline_close(twice);
  buf_release(&a);
  buf_release(&b);
}

static void empty_and_bad(void **state) {
  (void)state;
  struct timeline *t;
  struct error err = {0};
  OKAY(timeline_memory_new(&t, e));
  OKAY(timeline_memory_seal(t, e));
  assert_int_equal(timeline_subjects(t), 0);
  struct event bad = event_of(0, 0, "X", 1);
  assert_int_equal(timeline_memory_append(t, &bad, &err), E_INPUT);
  bad = event_of(1, 0, "", 1);
  assert_int_equal(timeline_memory_append(t, &bad, &err), E_INPUT);
  timeline_close(t);
}

/* ---- showing ---- */

static struct timeline *a_life(void) {
  struct timeline *t;
  int64_t birth = time_from_civil(1950, 3, 1) * TIME_DAY;
  struct event v[] = {event_of(42, TIME_STATIC, "GENDER//F", NAN),
                      event_of(42, birth, "MEDS_BIRTH", NAN),
                      event_of(42, birth + 50 * TIME_YEAR, "ENCOUNTER//AMB", NAN),
                      event_of(42, birth + 50 * TIME_YEAR + TIME_HOUR, "LOINC//2160-0", 1.25f),
                      event_of(42, birth + 55 * TIME_YEAR, "SNOMED//44054006", NAN),
                      event_of(42, birth + 56 * TIME_YEAR, "NOTE//1", NAN)};
  v[3].unit = STR("mg/dL");
  v[3].display = STR("Creatinine");
  v[4].display = STR("Diabetes \x1b[31m(disorder)"); /* an escape sequence from data must not reach a terminal */
  v[5].text = STR("feeling\nwell");
  OKAY(timeline_memory_new(&t, e));
  append_all(t, v, 6);
  return t;
}

static void printed_life(void **state) {
  (void)state;
  struct timeline *t = a_life();
  struct buf b = {0};
  timeline_print(t, 0, 80, false, 0, &b);
  const char *s = buf_cstr(&b);
  static const char *const parts[] = {"Subject 42",
                                      "sex F",
                                      "age 50.0 to 56.0",
                                      "6 events on 3 days",
                                      "GENDER//F",
                                      "Creatinine  1.25 mg/dL",
                                      "LOINC//2160-0",
                                      "2000-02-29  age 50.0",
                                      "Diabetes ?[31m(disorder)",
                                      "| feeling?well",
                                      "encounters",
                                      "conditions",
                                      "measurements"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strstr(s, parts[i])) fail_msg("\"%s\" is missing from:\n%s", parts[i], s);
  assert_null(strchr(s, 0x1b));
  assert_int_equal(timeline_kind_of(STR("RXNORM//7980"), STR_NONE), KIND_MEDICINE);
  assert_int_equal(timeline_kind_of(STR("RXNORM//7980//ALLERGY"), STR("Penicillin G")), KIND_ALLERGY);
  assert_null(strstr(s, "medicines")); /* lanes with nothing in them are left out */
  buf_clear(&b);
  timeline_print(t, 0, 80, true, 0, &b);
  assert_non_null(strstr(buf_cstr(&b), "\x1b[1m"));
  assert_null(strstr(buf_cstr(&b), "\x1b[31m(disorder)"));
  buf_clear(&b);
  timeline_print(t, 0, 20, false, 1, &b); /* too narrow for the picture; latest event only */
  assert_null(strstr(buf_cstr(&b), "encounters"));
  assert_non_null(strstr(buf_cstr(&b), "4 earlier events"));
  assert_null(strstr(buf_cstr(&b), "Creatinine"));
  buf_release(&b);
  timeline_close(t);
}

static size_t columns_of(const char *line, const char *end) {
  size_t n = 0;
  for (; line < end; line++) n += ((uint8_t)*line & 0xC0) != 0x80;
  return n;
}

static void picture_keeps_the_width(void **state) {
  (void)state;
  struct timeline *t = a_life();
  for (int width = 40; width <= 200; width += 7) {
    struct buf b = {0};
    timeline_print(t, 0, width, false, 0, &b);
    int lines = 0;
    for (const char *s = buf_cstr(&b), *end; (end = strchr(s, '\n')); s = end + 1) {
      if (strncmp(s, "encounters", 10) != 0 && strncmp(s, "conditions", 10) != 0 && strncmp(s, "measurements", 12) != 0) continue;
      assert_int_equal(columns_of(s, end), width);
      lines++;
    }
    assert_int_equal(lines, 3);
    buf_release(&b);
  }
  timeline_close(t);
}

static void json_of_a_life(void **state) {
  (void)state;
  struct timeline *t = a_life();
  struct buf b = {0};
  struct json_out o;
  struct json_parser *jp;
  struct json root;
  json_out_init(&o, &b, false);
  timeline_json(t, 0, 0, &o);
  OKAY(json_parser_new(&jp, e));
  OKAY(json_parse(jp, b.p, b.n, b.n, &root, e));
  assert_true(str_eqc(json_str(json_get(root, "subject")), "42"));
  assert_true(str_eqc(json_str(json_get(root, "sex")), "F"));
  assert_true(str_eqc(json_str(json_get(root, "split")), "held_out"));
  int64_t birth;
  assert_true(json_i64(json_get(root, "birth"), &birth) && birth == time_from_civil(1950, 3, 1) * TIME_DAY);
  struct json events = json_get(root, "events"), lab;
  assert_int_equal(json_count(events), 6);
  assert_int_equal(json_kind(json_get(json_at(events, 0), "t")), JSON_NULL);
  lab = json_at(events, 3);
  double value;
  assert_true(json_f64(json_get(lab, "value"), &value) && value == 1.25);
  assert_true(str_eqc(json_str(json_get(lab, "display")), "Creatinine") && str_eqc(json_str(json_get(lab, "unit")), "mg/dL"));
  assert_int_equal(json_kind(json_get(json_at(events, 2), "value")), JSON_NONE);
  buf_clear(&b);
  json_out_init(&o, &b, false);
  timeline_json(t, 0, 2, &o);
  OKAY(json_parse(jp, b.p, b.n, b.n, &root, e));
  assert_int_equal(json_count(json_get(root, "events")), 3); /* the static fact and the latest two */
  json_parser_free(jp);
  buf_release(&b);
  timeline_close(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(same_as_the_store), cmocka_unit_test(grows_and_seals_again),   cmocka_unit_test(empty_and_bad),
      cmocka_unit_test(printed_life),      cmocka_unit_test(picture_keeps_the_width), cmocka_unit_test(json_of_a_life),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
