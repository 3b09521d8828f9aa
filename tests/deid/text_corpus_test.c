/* The figures on labelled short queries (ASQ-PHI) as a floor: elements wholly covered, texts without identifiers left alone. And the wall: a
 * record's text comes out clean or not at all. */
#include "deid_helper.h"

#include <stdio.h>

#include "deid/text.h"

struct figures {
  int elements, covered, clean, touched;
};

static bool inside(const struct text_spans *s, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    bool in = false;
    for (uint32_t k = 0; k < s->n && !in; k++) in = s->at[k].start <= i && i < s->at[k].end;
    if (!in) return false;
  }
  return true;
}

static void one_query(struct text_work *w, struct json root, struct figures *f) {
  struct str text = json_str(json_get(root, "text")), value;
  struct text_spans s;
  struct error e = {0};
  struct json item;
  assert_int_equal(text_find(w, text, NULL, &s, &e), OK);
  if (json_count(json_get(root, "phi")) == 0) f->clean++, f->touched += s.n > 0;
  for (struct json_iter it = json_items(json_get(root, "phi")); json_next(&it, &item);) {
    value = json_str(json_get(item, "value"));
    const char *at = value.n ? memmem(text.p, text.n, value.p, value.n) : NULL;
    if (!at) continue;
    f->elements++;
    f->covered += inside(&s, (size_t)(at - text.p), (size_t)(at - text.p) + value.n);
  }
}

static bool have_data(const char *set, char *path, size_t size) {
  const char *data = getenv("DATA");
  snprintf(path, size, "%s/%s", data ? data : "../shared/data", set);
  if (file_is_dir(path)) return true;
  if (getenv("CI")) fail_msg("no data set %s", set);
  return false;
}

static void short_queries(void **state UNUSED) {
  char dir[2048], command[4096], line[65536];
  struct text_scrubber *s;
  struct text_work *w;
  struct json_parser *jp;
  struct figures f = {0};
  struct error e = {0};
  if (!have_data("deid-asq-phi", dir, sizeof dir)) skip();
  assert_int_equal(text_scrubber_open("policy/text.json", &s, &e), OK);
  assert_int_equal(text_work_new(s, &w, &e), OK);
  assert_int_equal(json_parser_new(&jp, &e), OK);
  snprintf(command, sizeof command, "xzcat '%s'/*.jsonl.xz", dir);
  FILE *in = popen(command, "r");
  assert_non_null(in);
  while (fgets(line, sizeof line - STREAM_PAD, in)) {
    struct json root;
    assert_int_equal(json_parse(jp, line, strlen(line), sizeof line, &root, &e), OK);
    one_query(w, root, &f);
  }
  assert_int_equal(pclose(in), 0);
  printf("%d of %d elements covered, %d of %d clean queries touched\n", f.covered, f.elements, f.touched, f.clean);
  assert_true(f.elements > 1000 && f.clean > 50);
  assert_true(f.covered * 100 >= f.elements * 97);
  assert_true(f.touched * 100 <= f.clean * 10);
  json_parser_free(jp);
  text_work_free(w);
  text_scrubber_close(s);
}

/* ---- through the wall ---- */

static struct record note(const char *person, const char *text) {
  struct record r = record_event(person, "LOINC//34117-2", "2020-05-06T12:00:00");
  r.text = str_c(text);
  return r;
}

static void through_the_wall(void **state UNUSED) {
  static const char *const policies[] = {"safe-harbor", "expert", "limited"};
  for (int i = 0; i < 3; i++) {
    struct fixture f;
    fixture_open(&f, policies[i], "fhir");
    take(&f, record_identifier("Patient/1", IDENTIFIER_NAME, "Okonkwo"));
    take(&f, record_identifier("Patient/1", IDENTIFIER_MRN, "00483921"));
    take(&f, note("Patient/1", "Okonkwo, 483921: well on 3/4/2020"));
    take(&f, note("Patient/2", "Okonkow is no kin."));
    finish(&f);
    assert_int_equal(f.keep.n, 2);
    assert_true(f.keep.at[0].text[0]);
    assert_null(strstr(f.keep.at[0].text, "Okonkwo"));
    assert_null(strstr(f.keep.at[0].text, "483921"));
    if (i < 2) assert_null(strstr(f.keep.at[0].text, "3/4/2020"));
    if (i == 2) assert_non_null(strstr(f.keep.at[0].text, "3/4/2020"));
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b, false);
    deid_manifest(f.wall, &o);
    assert_non_null(strstr(buf_cstr(&b), "\"texts\""));
    assert_non_null(strstr(buf_cstr(&b), "own_identifiers"));
    assert_null(strstr(buf_cstr(&b), "483921"));
    buf_release(&b);
    fixture_close(&f);
  }
}

static void a_policy_without_text_drops_it(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "expert", "fhir");
  struct deid_policy p;
  assert_int_equal(deid_policy_load("policy/expert.json", &p, &f.e), OK);
  assert_int_equal(p.text, DEID_TEXT_SURROGATE);
  assert_int_equal(strlen(p.text_hash), 64);
  p.text = DEID_TEXT_DROP;
  struct event_sink sink = {.ctx = &f.keep, .event = keep_event};
  struct deid *wall;
  assert_int_equal(deid_open(&p, f.vault, "fhir", &sink, &wall, &f.e), OK);
  struct record r = note("Patient/1", "all is well");
  assert_int_equal(deid_take(wall, &r, &f.e), OK);
  struct deid_counts n;
  deid_counts(wall, &n);
  assert_int_equal(n.text_dropped, 1);
  assert_int_equal(f.keep.n, 1);
  assert_int_equal(f.keep.at[0].text[0], 0);
  deid_close(wall);
  p.text = DEID_TEXT_TAG;
  memset(p.text_hash, 'a', 64);
  assert_int_equal(deid_open(&p, f.vault, "fhir", &sink, &wall, &f.e), OK);
  assert_int_equal(deid_take(wall, &r, &f.e), E_MISMATCH); /* another configuration than the policy was read with */
  deid_close(wall);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(short_queries), cmocka_unit_test(through_the_wall),
                                     cmocka_unit_test(a_policy_without_text_drops_it)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
