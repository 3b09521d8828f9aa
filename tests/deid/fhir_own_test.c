/* FHIR to FHIR under our policies: nothing planted comes out, references still join, intervals are exact, ages are capped, required elements are
 * marked, the same vault gives the same bytes, and one bad line costs one line. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>

#include "base/time.h"
#include "canary.h"
#include "deid/deid.h"
#include "deid/dicom_clean.h"
#include "deid/fhir_deid.h"

static const char *const policies[] = {"policy/safe-harbor.json", "policy/expert.json", "policy/limited.json"};
static char dir[64];
static struct arena arena;

static int setup(void **state) {
  (void)state;
  arena_init(&arena, 0, 0);
  snprintf(dir, sizeof dir, "/tmp/fhir-own-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  arena_free(&arena);
  return file_remove_tree(dir, NULL);
}

static const char *path_of(const char *name) {
  static char path[8][128];
  static int turn;
  char *p = path[turn++ & 7];
  snprintf(p, 128, "%s/%s", dir, name);
  return p;
}

static struct fhir_deid *engine(const char *policy, struct vault *v) {
  struct error e = {0};
  struct fhir_deid *f = NULL;
  struct fhir_deid_config c = {.policy = policy, .tables = "policy", .vault = v, .keep_vault = true};
  if (fhir_deid_open(&c, &f, &e) < 0) {
    error_print(stderr, &e);
    fail();
  }
  return f;
}

/* A document through both passes, with a vault of its own unless one is given. */
static struct str through(const char *policy, struct vault *given, struct str in, int expect) {
  struct vault *v = given;
  struct error e = {0};
  const char *why = NULL, *file = path_of("in.json");
  struct buf out = {0};
  if (!given) assert_int_equal(vault_open_memory(&v, NULL), OK);
  assert_int_equal(file_write_atomic(file, in.p, in.n, 0600, NULL), OK);
  struct fhir_deid *f = engine(policy, v);
  assert_int_equal(fhir_deid_learn(f, file, &e), OK);
  int rc = fhir_deid_document(f, in, &out, &why, &e);
  if (rc != expect) fail_msg("%d instead of %d: %s", rc, expect, rc < 0 ? e.message : why ? why : "");
  struct json_out o;
  json_out_init(&o, &out, false);
  struct str s = str_copy(&arena, (struct str){out.p, out.n});
  buf_release(&out);
  fhir_deid_close(f);
  if (!given) vault_close(v);
  return s;
}

static struct json parsed(struct str s) {
  struct json root;
  struct json_parser *jp;
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  assert_int_equal(arena_cleanup(&arena, (void (*)(void *))json_parser_free, jp, NULL), OK);
  assert_int_equal(json_parse(jp, s.p, s.n, s.n, &root, NULL), OK);
  return root;
}

static bool holds(struct str s, const char *text) { return memmem(s.p, s.n, text, strlen(text)) != NULL; }

/* ---- canaries ---- */

static void canaries(void **state) {
  (void)state;
  struct canary *c = malloc(sizeof *c);
  for (int p = 0; p < 3; p++)
    for (int order = 0; order < CANARY_ORDERS; order++) {
      canary_bundle(c, (enum canary_order)order);
      struct str out = through(policies[p], NULL, (struct str){c->json.p, c->json.n}, 0);
      int k = canary_find(c, out.p, out.n);
      if (k >= 0) fail_msg("%s under %s", c->word[k].where, policies[p]);
      if (order == CANARY_VALID_FIRST) {
        assert_true(holds(out, "\"44054006\"") && holds(out, "\"2160-0\"") && holds(out, "\"314076\"") && holds(out, "\"code\":\"CT\""));
        assert_true(json_count(json_get(parsed(out), "entry")) >= 15);
      }
      canary_free(c);
    }
  free(c);
}

/* Every element of every resource of R4, from the table of types, with a word or a number planted in it. */
static int planted;
static void plant(struct json_out *o, struct json types, struct str spec, int depth);
static void plant_members(struct json_out *o, struct json types, const char *type, int depth) {
  for (int up = 0; up < 8 && *type; up++) {
    struct str key;
    struct json v, members = json_get(types, type);
    for (struct json_iter it = json_members(members); json_next_member(&it, &key, &v);) {
      struct str spec = json_str(v);
      if (!key.n || str_eqc(key, "modifierExtension") || str_eqc(key, "implicitRules") || str_eqc(key, "contained")) continue;
      if (memchr(spec.p, '^', spec.n) && depth > 1) continue; /* one choice of many is enough, further down */
      json_out_key_str(o, key);
      plant(o, types, spec, depth);
    }
    struct str parent = json_str(json_get(members, ""));
    type = parent.n ? parent.p : "";
  }
}

static void plant(struct json_out *o, struct json types, struct str spec, int depth) {
  char type[64], word[64];
  size_t n = 0;
  while (n < spec.n && n < 63 && !memchr("*!^=", spec.p[n], 4)) type[n] = spec.p[n], n++;
  type[n] = 0;
  bool list = n < spec.n && spec.p[n] == '*';
  if (list) json_out_array(o);
  snprintf(word, sizeof word, "Qzvkxj%05d", planted++ % 100000);
  if (json_kind(json_get(types, type)) == JSON_OBJECT) {
    json_out_object(o);
    if (depth < 4 && strcmp(type, "Resource") != 0) plant_members(o, types, type, depth + 1);
    json_out_end(o);
  } else if (strcmp(type, "boolean") == 0) {
    json_out_bool(o, true);
  } else if (strcmp(type, "integer") == 0 || strcmp(type, "positiveInt") == 0 || strcmp(type, "unsignedInt") == 0 ||
             strcmp(type, "decimal") == 0) {
    json_out_i64(o, 987654321); /* a social security number */
  } else if (strcmp(type, "date") == 0 || strcmp(type, "dateTime") == 0 || strcmp(type, "instant") == 0) {
    json_out_c(o, planted % 2 ? "1987-11-23T12:13:14Z" : "1987-11-23 zvkxj");
  } else if (strcmp(type, "uri") == 0 || strcmp(type, "url") == 0 || strcmp(type, "canonical") == 0) {
    char uri[96];
    snprintf(uri, sizeof uri, "http://example.org/%s", word);
    json_out_c(o, uri);
  } else {
    json_out_c(o, word);
  }
  if (list) json_out_end(o);
}

static void every_element(void **state) {
  (void)state;
  struct json table, types, v;
  struct str name;
  struct error e = {0};
  struct vault *vault;
  int resources = 0;
  assert_int_equal(json_load(&arena, "policy/fhir-types-r4.json", &table, &e), OK);
  types = json_get(table, "types");
  assert_int_equal(vault_open_memory(&vault, NULL), OK);
  struct fhir_deid *f = engine(policies[0], vault);
  for (struct json_iter it = json_members(types); json_next_member(&it, &name, &v);) {
    struct str parent = json_str(json_get(v, ""));
    if (!str_eqc(parent, "DomainResource") && !(str_eqc(parent, "Resource") && !str_eqc(name, "DomainResource"))) continue;
    struct buf b = {0}, out = {0};
    struct json_out o;
    const char *why;
    json_out_init(&o, &b, false);
    json_out_object(&o);
    json_kv_str(&o, "resourceType", name);
    plant_members(&o, types, name.p, 0);
    json_out_end(&o);
    int rc = fhir_deid_document(f, (struct str){b.p, b.n}, &out, &why, &e);
    if (rc != 0) fail_msg("%.*s: %s", STR_ARG(name), rc < 0 ? e.message : why);
    struct str s = {out.p, out.n};
    for (size_t i = 0; i + 5 <= s.n; i++)
      if (strncasecmp(s.p + i, "zvkxj", 5) == 0)
        fail_msg("%.*s: a word passes: %.*s", STR_ARG(name), (int)(s.n - i < 80 ? 40 + s.n - i : 80), s.p + (i > 40 ? i - 40 : 0));
    if (holds(s, "987654321") || holds(s, "11-23") || holds(s, "12:13")) fail_msg("%.*s: a number or a date passes", STR_ARG(name));
    buf_release(&b);
    buf_release(&out);
    resources++;
  }
  assert_true(resources > 140 && planted > 20000);
  fhir_deid_close(f);
  vault_close(vault);
}

/* ---- what must still be there ---- */

static const char small[] =
    "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
    "{\"fullUrl\":\"urn:uuid:11111111-2222-4333-8444-555555555555\",\"resource\":{\"resourceType\":\"Patient\",\"id\":\"mrn-77812\","
    "\"gender\":\"female\","
    "\"birthDate\":\"1950-06-07\",\"_birthDate\":{\"extension\":[{\"url\":\"http://x/"
    "birthTime\",\"valueDateTime\":\"1950-06-07T03:04:05Z\"}]},"
    "\"name\":[{\"family\":\"Levin\"}],\"identifier\":[{\"system\":\"http://h\",\"value\":\"44054006\"}],"
    "\"address\":[{\"city\":\"Boston\",\"state\":\"MA\",\"postalCode\":\"02139-1111\",\"country\":\"US\"}]},"
    "\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}},"
    "{\"fullUrl\":\"urn:uuid:a1111111-2222-4333-8444-555555555555\",\"resource\":{\"resourceType\":\"Observation\",\"id\":\"o1\","
    "\"status\":\"final\","
    "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"2160-0\",\"display\":\"Creatinine of Levin\"}],\"text\":\"for "
    "Levin\"},"
    "\"subject\":{\"reference\":\"urn:uuid:11111111-2222-4333-8444-555555555555\",\"display\":\"Levin\"},\"effectiveDateTime\":\"2019-12-"
    "31T23:59:59.5-05:00\","
    "\"issued\":\"2020-01-01T00:10:00Z\",\"valueQuantity\":{\"value\":1.250,\"unit\":\"mg/dL\",\"system\":\"http://"
    "unitsofmeasure.org\",\"code\":\"mg/dL\"}},"
    "\"request\":{\"method\":\"PUT\",\"url\":\"Observation/o1\"}},"
    "{\"resource\":{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/"
    "mrn-77812\"},\"code\":{\"coding\":[{\"system\":\"http://snomed.info/sct\","
    "\"code\":\"44054006\"}]},\"onsetDateTime\":\"2020-02-29\",\"recordedDate\":\"2020-03\",\"encounter\":{\"reference\":\"Encounter/e9\"},"
    "\"evidence\":[{\"detail\":[{\"reference\":\"http://h/fhir/Observation/o1\"}]}]}},"
    "{\"resource\":{\"resourceType\":\"Immunization\",\"status\":\"Levin\",\"patient\":{\"reference\":\"Patient/"
    "mrn-77812\"},\"vaccineCode\":{\"text\":\"flu\"},"
    "\"occurrenceString\":\"last spring\"}}]}";

static struct json entry(struct json bundle, size_t i) { return json_get(json_at(json_get(bundle, "entry"), i), "resource"); }
static struct str text_at(struct json j, const char *a, const char *b) { return json_str(json_get(json_get(j, a), b)); }
static int64_t us_of(struct json j, const char *key) {
  struct time_parts parts;
  int64_t us = 0;
  assert_int_equal(time_parse(json_str(json_get(j, key)), &parts, &us, NULL), OK);
  return us;
}

static void joined(void **state) {
  (void)state;
  struct vault *v;
  assert_int_equal(vault_open_memory(&v, NULL), OK);
  struct str out = through(policies[1], v, str_c(small), 0);
  struct json b = parsed(out), patient = entry(b, 0), observation = entry(b, 1), condition = entry(b, 2), shot = entry(b, 3);
  assert_false(holds(out, "evin") || holds(out, "mrn-77812") || holds(out, "Boston") || holds(out, "last spring") ||
               holds(out, "http://h/"));
  /* one person: its id, the references to it, and the fullUrl that references use */
  char reference[64];
  snprintf(reference, sizeof reference, "Patient/%.*s", STR_ARG(json_str(json_get(patient, "id"))));
  assert_true(str_eqc(text_at(condition, "subject", "reference"), reference));
  struct str url = json_str(json_get(json_at(json_get(b, "entry"), 0), "fullUrl"));
  assert_true(str_starts(url, STR("urn:uuid:")) && str_eq(url, text_at(observation, "subject", "reference")));
  /* another resource by its id, from a relative and an absolute reference */
  snprintf(reference, sizeof reference, "Observation/%.*s", STR_ARG(json_str(json_get(observation, "id"))));
  assert_true(
      str_eqc(json_str(json_get(json_at(json_get(json_at(json_get(condition, "evidence"), 0), "detail"), 0), "reference")), reference));
  struct str put = text_at(json_at(json_get(b, "entry"), 1), "request", "url");
  assert_true(str_eqc(put, reference));
  /* intervals: to the microsecond, written offset kept; a month stays a month */
  assert_true(us_of(condition, "onsetDateTime") - us_of(observation, "effectiveDateTime") == 59 * TIME_DAY + TIME_SECOND / 2);
  assert_true(str_ends(json_str(json_get(observation, "effectiveDateTime")), STR("T23:59:59.5-05:00")));
  assert_int_equal(json_str(json_get(condition, "recordedDate")).n, 7);
  assert_true(us_of(condition, "onsetDateTime") - us_of(patient, "birthDate") ==
              (time_from_civil(2020, 2, 29) - time_from_civil(1950, 6, 7)) * TIME_DAY);
  /* spelling of numbers; no description of one person; the person's own number is no code */
  assert_true(holds(out, "\"value\":1.250"));
  assert_false(holds(out, "Creatinine") || holds(out, "44054006"));
  assert_true(holds(out, "\"postalCode\":\"021\"") && holds(out, "\"state\":\"MA\""));
  /* required elements that went are marked */
  struct json status = json_get(shot, "_status");
  assert_true(str_eqc(json_str(json_get(json_at(json_get(status, "extension"), 0), "valueCode")), "masked"));
  assert_int_equal(json_kind(json_get(shot, "vaccineCode")), JSON_OBJECT);
  assert_int_equal(json_kind(json_get(shot, "_occurrenceString")), JSON_OBJECT);
  assert_true(holds(out, "\"PSEUDED\"") && holds(out, "expert:"));
  /* again, and in a second run with the same vault: the same bytes */
  assert_true(str_eq(out, through(policies[1], v, str_c(small), 0)));
  vault_close(v);
  struct json year = parsed(through(policies[0], NULL, str_c(small), 0));
  assert_true(str_eqc(json_str(json_get(entry(year, 1), "effectiveDateTime")), "2019"));
  assert_int_equal(json_kind(json_get(entry(year, 1), "issued")), JSON_NONE); /* an instant cannot be a year */
  struct json kept = parsed(through(policies[2], NULL, str_c(small), 0));
  assert_true(str_eqc(json_str(json_get(entry(kept, 1), "effectiveDateTime")), "2019-12-31T23:59:59.5-05:00"));
}

/* A required part that went, with required parts of its own. */
static void required(void **state) {
  (void)state;
  static const char in[] =
      "{\"resourceType\":\"DocumentReference\",\"status\":\"current\",\"content\":[{\"attachment\":{\"contentType\":\"text/"
      "plain\",\"data\":\"YWJj\"}}]}";
  struct json content = json_at(json_get(parsed(through(policies[0], NULL, str_c(in), 0)), "content"), 0);
  assert_int_equal(json_count(json_get(content, "extension")), 1);
  assert_int_equal(json_count(json_get(json_get(content, "attachment"), "extension")), 1);
}

static void over_the_cap(void **state) {
  (void)state;
  static const char old[] =
      "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"x\","
      "\"birthDate\":\"1910-05-06\"}},"
      "{\"resource\":{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/x\"},\"code\":{\"coding\":[{\"system\":\"http://"
      "snomed.info/sct\",\"code\":"
      "\"44054006\"}]},\"onsetDateTime\":\"2005-07-08\",\"onsetAge\":{\"value\":95,\"unit\":\"years\",\"code\":\"a\",\"system\":\"http://"
      "unitsofmeasure.org\"}}},"
      "{\"resource\":{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/x\"},\"code\":{\"coding\":[{\"system\":\"http://"
      "snomed.info/sct\",\"code\":"
      "\"44054006\"}]},\"onsetDateTime\":\"1911-07-08\"}},"
      "{\"resource\":{\"resourceType\":\"Observation\",\"status\":\"final\",\"subject\":{\"reference\":\"Patient/"
      "x\"},\"code\":{\"coding\":[{\"system\":"
      "\"http://loinc.org\",\"code\":\"30525-0\"}]},\"valueQuantity\":{\"value\":1140,\"unit\":\"mo\"}}}]}";
  struct json b = parsed(through(policies[1], NULL, str_c(old), 0));
  int64_t years = (us_of(entry(b, 1), "onsetDateTime") - us_of(entry(b, 0), "birthDate")) / TIME_DAY;
  assert_true(years >= 90 * 365 && years <= 90 * 366);
  double x;
  assert_true(json_f64(json_get(json_get(entry(b, 1), "onsetAge"), "value"), &x) && x == 90);
  assert_int_equal(json_kind(json_get(entry(b, 2), "onsetDateTime")), JSON_NONE);
  assert_true(json_f64(json_get(json_get(entry(b, 3), "valueQuantity"), "value"), &x) && x == 1080);
  b = parsed(through(policies[0], NULL, str_c(old), 0));
  assert_true(str_eqc(json_str(json_get(entry(b, 0), "birthDate")), "1915"));
}

/* What is refused, and that it takes nothing else with it. */
static void refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "{",
                                    "[]",
                                    "{\"id\":\"1\"}",
                                    "{\"resourceType\":\"Nonsense\"}",
                                    "{\"resourceType\":\"Patient\",\"id\":\"1\",\"id\":\"2\"}",
                                    "{\"resourceType\":\"Patient\",\"i\\u0064\":\"1\"}",
                                    "{\"resourceType\":\"Patient\",\"modifierExtension\":[{\"url\":\"http://x\"}]}",
                                    "{\"resourceType\":\"Patient\",\"implicitRules\":\"http://x\"}",
                                    "{\"resourceType\":\"Patient\"} x"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct vault *v;
    const char *why = NULL;
    struct buf out = {0};
    assert_int_equal(vault_open_memory(&v, NULL), OK);
    struct fhir_deid *f = engine(policies[0], v);
    if (fhir_deid_document(f, str_c(bad[i]), &out, &why, NULL) != 1) fail_msg("%s was taken", bad[i]);
    assert_non_null(why);
    assert_int_equal(out.n, 0);
    fhir_deid_close(f);
    vault_close(v);
  }
  static const char bundle[] =
      "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"1\","
      "\"implicitRules\":\"http://x\"}},"
      "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"2\",\"gender\":\"male\"}},{\"resource\":{\"resourceType\":\"What\",\"id\":"
      "\"3\"}}]}";
  struct str out = through(policies[0], NULL, str_c(bundle), 0);
  assert_int_equal(json_count(json_get(parsed(out), "entry")), 1);
  assert_true(holds(out, "male"));
}

/* Elements that FHIR does not have, at any depth; values of the wrong kind; arrays for single elements. */
static void unknown(void **state) {
  (void)state;
  static const char in[] =
      "{\"resourceType\":\"Patient\",\"gender\":[\"male\",\"zvkxj\"],\"zvkxj\":\"zvkxj\",\"active\":\"zvkxj\",\"birthDate\":{\"zvkxj\":1},"
      "\"maritalStatus\":"
      "[[\"zvkxj\"]],\"_zvkxj\":{\"id\":\"zvkxj\"},\"_gender\":[{\"id\":\"zvkxj\"}],\"communication\":{\"language\":{\"zvkxj\":{\"coding\":"
      "[{\"system\":"
      "\"http://loinc.org\",\"code\":\"zvkxj\"}]}}},\"multipleBirthInteger\":\"zvkxj\"}";
  struct str out = through(policies[0], NULL, str_c(in), 0);
  assert_false(holds(out, "zvkxj"));
}

/* ---- files ---- */

static void write_gz(const char *path, const char *text) {
  gzFile g = gzopen(path, "wb");
  assert_non_null(g);
  assert_true(gzwrite(g, text, (unsigned)strlen(text)) > 0);
  assert_int_equal(gzclose(g), Z_OK);
}

static struct str all_of(const char *path) {
  struct stream s;
  struct str text;
  assert_int_equal(stream_open(&s, path, NULL), OK);
  assert_int_equal(stream_all(&s, &arena, 1 << 20, &text, NULL), OK);
  stream_close(&s);
  return text;
}

static void put(const char *path, const char *text) { assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), OK); }

static void files(void **state) {
  (void)state;
  struct vault *v;
  struct error e = {0};
  struct fhir_deid_counts n;
  char in[128], out[2][128];
  snprintf(in, sizeof in, "%s/export", dir);
  assert_int_equal(file_mkdirs(in, 0700, NULL), OK);
  put(path_of("export/Patient.000.ndjson"),
      "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"male\"}\n{broken\n\n{\"resourceType\":\"Patient\",\"id\":\"p2\"}\n");
  put(path_of("export/Carolee951_Sanford861.json"), small);
  put(path_of("export/notes.txt"), "Sanford\n");
  write_gz(path_of("export/Condition.ndjson.gz"),
           "{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/p1\"},\"code\":{\"coding\":[{\"system\":\"http://"
           "snomed.info/sct\",\"code\":\"44054006\","
           "\"display\":\"Diabetes mellitus type 2\"}]},\"onsetDateTime\":\"2020-01-02\"}\n");
  assert_int_equal(vault_open_memory(&v, NULL), OK);
  for (int k = 0; k < 2; k++) {
    snprintf(out[k], sizeof out[k], "%s/out-%d", dir, k);
    struct fhir_deid *f = engine(policies[1], v);
    assert_int_equal(fhir_deid_learn(f, in, &e), OK);
    int rc = fhir_deid_files(f, in, out[k], NULL, &e);
    if (rc < 0) error_print(stderr, &e);
    assert_int_equal(rc, OK);
    fhir_deid_counts(f, &n);
    assert_int_equal(n.rejected, 1);
    assert_int_equal(n.files, 3);
    fhir_deid_close(f);
  }
  struct str *paths[2];
  size_t count[2];
  for (int k = 0; k < 2; k++) assert_int_equal(file_list(&arena, out[k], &paths[k], &count[k], NULL), OK);
  assert_int_equal(count[0], 4); /* three and the manifest */
  assert_int_equal(count[1], 4);
  for (size_t i = 0; i < 4; i++) {
    const char *a = strrchr(paths[0][i].p, '/'), *b = strrchr(paths[1][i].p, '/');
    assert_string_equal(a, b);
    assert_null(strstr(a, "Sanford"));
    struct file_map x, y;
    assert_int_equal(file_map_open(paths[0][i].p, &x, NULL), OK);
    assert_int_equal(file_map_open(paths[1][i].p, &y, NULL), OK);
    assert_true(x.n == y.n && memcmp(x.p, y.p, x.n) == 0);
    file_map_close(&x);
    file_map_close(&y);
  }
  char path[200];
  snprintf(path, sizeof path, "%s/Patient.000.ndjson", out[0]);
  struct str lines = all_of(path);
  struct str first = str_cut(&lines, '\n');
  char reference[64];
  snprintf(reference, sizeof reference, "Patient/%.*s", STR_ARG(json_str(json_get(parsed(first), "id"))));
  snprintf(path, sizeof path, "%s/Condition.ndjson.gz", out[0]);
  assert_true(holds(all_of(path), reference));
  snprintf(path, sizeof path, "%s/manifest.json", out[0]);
  struct str manifest = all_of(path);
  assert_true(holds(manifest, "\"row\": 2") && holds(manifest, "no FHIR resource in valid JSON"));
  assert_false(holds(manifest, "Sanford") || holds(manifest, "p1\""));
  struct fhir_deid *f = engine(policies[1], v);
  assert_int_equal(fhir_deid_files(f, in, in, NULL, &e), E_USAGE);
  fhir_deid_close(f);
  vault_close(v);
}

/* Whatever allocation fails: an error, and nothing leaks or breaks. */
static void memory(void **state) {
  (void)state;
  for (long n = 1; n < 4000; n += 1 + n / 12) {
    struct vault *v;
    struct fhir_deid *f = NULL;
    struct buf out = {0};
    const char *why;
    assert_int_equal(vault_open_memory(&v, NULL), OK);
    struct fhir_deid_config c = {.policy = policies[1], .tables = "policy", .vault = v};
    arena_fail_at(n);
    if (fhir_deid_open(&c, &f, NULL) == OK) (void)!fhir_deid_document(f, str_c(small), &out, &why, NULL);
    bool done = arena_fail_pending();
    arena_fail_at(0);
    buf_release(&out);
    fhir_deid_close(f);
    vault_close(v);
    if (done) return;
  }
}

/* Free text goes out scrubbed: narrative made anew, notes, conclusions, plain attachments; of nobody, or where the policy drops it, not at all. */
static void texts_go_out_scrubbed(void **state) {
  (void)state;
  static const char in[] =
      "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"p1\","
      "\"gender\":\"female\",\"birthDate\":\"1950-03-04\","
      "\"name\":[{\"family\":\"Quetzalcoatlus\",\"given\":[\"Xochitl\"]}],\"identifier\":[{\"system\":\"urn:x\",\"value\":\"MR88112233\"}],"
      "\"text\":{\"status\":\"generated\",\"div\":\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\" title=\\\"Quetzalcoatlus\\\"><!-- "
      "Xochitl --><p>Xochitl <b>Quetzal</b>coatlus &amp; son</p><script>steal('MR88112233')</script><p>Has &lt;5 cats.</p></div>\"}}},"
      "{\"resource\":{\"resourceType\":\"DiagnosticReport\",\"id\":\"d1\",\"status\":\"final\",\"subject\":{\"reference\":\"Patient/"
      "p1\"},\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"18748-4\"}]},"
      "\"effectiveDateTime\":\"2015-03-01\",\"conclusion\":\"Ms. Quetzalcoatlus is "
      "well.\",\"presentedForm\":[{\"contentType\":\"text/"
      "plain\",\"title\":\"Quetzalcoatlus\",\"data\":\"WG9jaGl0bCBRdWV0emFsY29hdGx1cyBmZWVscyBiZXR0ZXIu\"},"
      "{\"contentType\":\"application/pdf\",\"data\":\"WG9jaGl0bA==\"}]}},"
      "{\"resource\":{\"resourceType\":\"Condition\",\"id\":\"c1\",\"subject\":{\"reference\":\"Patient/"
      "p1\"},\"code\":{\"coding\":[{\"system\":\"http://snomed.info/sct\",\"code\":\"38341003\"}]},"
      "\"note\":[{\"authorString\":\"Dr. Xochitl\",\"time\":\"2015-03-01T10:00:00Z\",\"text\":\"Spoke with Xochitl, record MR88112233, "
      "about salt.\"}]}},"
      "{\"resource\":{\"resourceType\":\"Observation\",\"id\":\"o1\",\"status\":\"final\",\"subject\":{\"reference\":\"Patient/"
      "p1\"},\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"718-7\"}]},\"valueString\":\"Quetzalcoatlus fasting\"}}]}";
  for (int k = 0; k < 2; k++) {
    struct str out = through(policies[k], NULL, STR(in), 0);
    assert_null(memmem(out.p, out.n, "uetzal", 6));
    assert_null(memmem(out.p, out.n, "ochitl", 6));
    assert_null(memmem(out.p, out.n, "88112233", 8));
    assert_null(memmem(out.p, out.n, "script", 6));
    assert_null(memmem(out.p, out.n, "pdf", 3));
    struct json list = json_get(parsed(out), "entry"), patient = json_get(json_at(list, 0), "resource"),
                report = json_get(json_at(list, 1), "resource"), condition = json_get(json_at(list, 2), "resource"),
                observation = json_get(json_at(list, 3), "resource");
    struct str div = json_str(json_get(json_get(patient, "text"), "div"));
    assert_true(str_starts(div, STR("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>")) &&
                str_ends(div, STR("<p>Has &lt;5 cats.</p></div>")));
    assert_true(str_eqc(json_str(json_get(json_get(patient, "text"), "status")), "generated"));
    assert_non_null(memmem(json_str(json_get(report, "conclusion")).p, json_str(json_get(report, "conclusion")).n, "is well", 7));
    struct json form = json_get(report, "presentedForm");
    assert_int_equal(json_count(form), 1);
    assert_true(json_str(json_get(json_at(form, 0), "data")).n > 20 && json_kind(json_get(json_at(form, 0), "title")) == JSON_NONE);
    struct json note = json_at(json_get(condition, "note"), 0);
    assert_non_null(memmem(json_str(json_get(note, "text")).p, json_str(json_get(note, "text")).n, "about salt", 10));
    assert_int_equal(json_kind(json_get(note, "authorString")), JSON_NONE);
    assert_true(str_ends(json_str(json_get(observation, "valueString")), STR("fasting")));
  }
}

/* A study's UIDs are those that the images of the same vault get. */
static void imaging_studies_find_their_images(void **state) {
  (void)state;
  static const char in[] =
      "{\"resourceType\":\"ImagingStudy\",\"id\":\"i1\",\"status\":\"available\",\"subject\":{\"reference\":\"Patient/"
      "p1\"},\"identifier\":[{\"system\":\"urn:dicom:uid\",\"value\":\"urn:oid:1.2.3.4\"}],"
      "\"series\":[{\"uid\":\"1.2.3.4.5\",\"modality\":{\"system\":\"http://dicom.nema.org/resources/ontology/"
      "DCM\",\"code\":\"MR\"},\"instance\":[{\"uid\":\"1.2.3.4.5.6\",\"sopClass\":{\"system\":\"urn:ietf:rfc:3986\",\"code\":\"urn:oid:1.2."
      "840.10008.5.1.4.1.1.4\"}}]}]}";
  struct vault *v;
  uint8_t key[32];
  char want[48];
  assert_int_equal(vault_open_memory(&v, NULL), OK);
  assert_int_equal(vault_secret(v, 0, "dicom-uid", key, NULL), OK);
  struct json out = parsed(through(policies[1], v, STR(in), 0)), series = json_at(json_get(out, "series"), 0);
  dicom_uid_map(key, STR("1.2.3.4.5"), want);
  assert_true(str_eqc(json_str(json_get(series, "uid")), want));
  dicom_uid_map(key, STR("1.2.3.4.5.6"), want);
  assert_true(str_eqc(json_str(json_get(json_at(json_get(series, "instance"), 0), "uid")), want));
  dicom_uid_map(key, STR("1.2.3.4"), want);
  struct str study = json_str(json_get(json_at(json_get(out, "identifier"), 0), "value"));
  assert_true(study.n > 8 && str_eqc((struct str){study.p + 8, study.n - 8}, want));
  vault_close(v);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(texts_go_out_scrubbed),
                                     cmocka_unit_test(imaging_studies_find_their_images),
                                     cmocka_unit_test(canaries),
                                     cmocka_unit_test(every_element),
                                     cmocka_unit_test(joined),
                                     cmocka_unit_test(required),
                                     cmocka_unit_test(over_the_cap),
                                     cmocka_unit_test(refused),
                                     cmocka_unit_test(unknown),
                                     cmocka_unit_test(files),
                                     cmocka_unit_test(memory)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
