/* No planted word comes out. First record by record, with a canary in every string of a record; then a whole FHIR bundle with
 * a canary in every element, through the reader and the wall. */
#include "canary.h"
#include "deid_helper.h"

static void fail_if_found(const struct canary *c, const struct buf *b, const char *what) {
  int k = b->n ? canary_find(c, b->p, b->n) : -1;
  if (k >= 0) fail_msg("%s holds %s, planted in %s", what, c->word[k].text, c->word[k].where);
}

static void search(struct fixture *f, const struct canary *c) {
  struct buf text = {0};
  struct json_out o;
  json_out_init(&o, &text, false);
  deid_manifest(f->wall, &o);
  fail_if_found(c, &text, "the manifest");
  fail_if_found(c, &f->keep.all, "an event");
  buf_release(&text);
}

/* Every string of every kind of record, in turn, in every form a canary has. */
static void records(void **state UNUSED) {
  static const char *const policies[] = {"expert", "safe-harbor", "limited"};
  struct canary *c = malloc(sizeof *c);
  *c = (struct canary){.resource = "record"};
  for (int i = 0; i < 3; i++) {
    struct fixture f;
    fixture_open(&f, policies[i], "fhir");
    for (int n = 0; n < 400; n++) {
      char code[96];
      struct record r = record_event("Patient/1", "LOINC//2160-0", "2020-01-02T03:04:05");
      const char *word = canary_word(c, "record");
      int where = n % 10;
      if (where == 0) snprintf(code, sizeof code, "LOINC//%s", word), r.code = str_c(code);
      if (where == 1) snprintf(code, sizeof code, "%s//2160-0", word), r.code = str_c(code);
      if (where == 2) snprintf(code, sizeof code, "LOINC//2160-0//%s", word), r.code = str_c(code);
      if (where == 3) r.display = str_c(word);
      if (where == 4) r.unit = str_c(word), r.value = 1;
      if (where == 5) r.text = str_c(word);
      if (where == 6) r.person = str_c(word);
      if (where == 7)
        r = record_identifier(word, (enum identifier_kind)(n / 10 % IDENTIFIER_KINDS), word), r.postcode = str_c(word),
        r.country = STR("US");
      if (where == 8) r.code = str_c(word);
      if (where == 9) r.kind = RECORD_DROPPED, r.text = r.code = r.display = r.person = str_c(word), r.path = "Observation.note";
      take(&f, r);
    }
    finish(&f);
    assert_true(f.keep.n > 100);
    search(&f, c);
    fixture_close(&f);
  }
  free(c);
}

struct reading {
  struct fixture *f;
  int rejects;
};
static int give(void *ctx, const struct record *r, struct error *e) { return deid_take(((struct reading *)ctx)->f->wall, r, e); }
static void reject(void *ctx, const struct record_reject *r UNUSED) { ((struct reading *)ctx)->rejects++; }

static void read_bundle(struct fixture *f, const struct canary *c) {
  struct json_parser *jp;
  struct record_stats stats = {0};
  struct reading reading = {.f = f};
  struct record_sink sink = {.ctx = &reading, .record = give, .reject = reject};
  assert_int_equal(json_parser_new(&jp, &f->e), OK);
  int rc = fhir_parse(jp, c->json.p, c->json.n, c->json.cap, 0, 1, "bundle", &sink, &stats, &f->e);
  if (rc < 0) error_print(stderr, &f->e);
  assert_true(rc >= 0);
  json_parser_free(jp);
  finish(f);
}

static void whole_bundle(void **state UNUSED) {
  static const char *const policies[] = {"expert", "safe-harbor", "limited"};
  struct canary *c = malloc(sizeof *c);
  for (int i = 0; i < 3; i++)
    for (int order = 0; order < CANARY_ORDERS; order++) {
      struct fixture f;
      fixture_open(&f, policies[i], "fhir");
      canary_bundle(c, (enum canary_order)order);
      assert_true(c->n > 2000);
      read_bundle(&f, c);
      search(&f, c);
      for (size_t k = 0; order == CANARY_VALID_FIRST && k < sizeof canary_facts / sizeof *canary_facts; k++) {
        bool there = false;
        for (size_t j = 0; j < f.keep.n; j++) there |= strncmp(f.keep.at[j].code, canary_facts[k], strlen(canary_facts[k])) == 0;
        if (!there) fail_msg("%s is lost", canary_facts[k]);
      }
      canary_free(c);
      fixture_close(&f);
    }
  free(c);
}

/* The same bundle of six persons, each with words of their own: the descriptions are different canaries, so none may become public. */
static void many_bundles(void **state UNUSED) {
  struct canary *c = malloc(sizeof *c);
  struct fixture f;
  fixture_open(&f, "expert", "fhir");
  for (int i = 0; i < 6; i++) {
    canary_bundle_from(c, CANARY_VALID_FIRST, i * CANARY_WORDS);
    read_bundle(&f, c);
    search(&f, c);
    canary_free(c);
  }
  assert_int_equal(vault_persons(f.vault), 6);
  fixture_close(&f);
  free(c);
}

/* The generator itself: a right document with many distinct words, all of them in it. */
static void the_bundle_is_json_and_holds_its_words(void **state UNUSED) {
  struct canary *c = malloc(sizeof *c);
  canary_bundle(c, CANARY_VALID_FIRST);
  struct json_parser *jp;
  struct json root, v;
  struct error e = {0};
  assert_int_equal(json_parser_new(&jp, &e), OK);
  assert_int_equal(json_parse(jp, c->json.p, c->json.n, c->json.cap, &root, &e), OK);
  assert_true(json_count(json_get(root, "entry")) == sizeof canary_resources / sizeof *canary_resources);
  v = json_get(json_get(json_at(json_get(root, "entry"), 0), "resource"), "id");
  assert_true(str_eqc(json_str(v), c->person));
  int there = 0;
  for (int i = 0; i < c->n; i++) there += found_in(&c->json, c->word[i].text);
  assert_true(there > c->n * 95 / 100); /* the rest is in base64 */
  assert_true(canary_find(c, "xx Qzvkxj00004 yy", 17) >= 0);
  assert_true(canary_find(c, "nothing at all", 14) < 0);
  json_parser_free(jp);
  canary_free(c);
  free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(records),
      cmocka_unit_test(whole_bundle),
      cmocka_unit_test(many_bundles),
      cmocka_unit_test(the_bundle_is_json_and_holds_its_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
