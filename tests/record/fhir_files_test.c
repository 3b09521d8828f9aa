/* Files: forms recognised by content, gzip, damage that stays in its line, entry or file, order, and the real data sets. */
#include <zlib.h>

#include "fhir_helpers.h"

#define CODE "{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"1-8\"}]}"
#define GOOD(id)                                                                                                         \
  "{\"resourceType\":\"Observation\",\"status\":\"final\",\"subject\":{\"reference\":\"Patient/" id "\"},\"code\":" CODE \
  ",\"effectiveDateTime\":\"2020-01-01\"}"
#define PRETTY                                                                                                                  \
  "{\n  \"resourceType\": \"Bundle\",\n  \"entry\": [\n    {\n      \"resource\": " GOOD("a") "\n    }, { \"resource\": " GOOD( \
      "b") " }\n  ]\n}\n"

static void read_path(struct catcher *c, const char *path, size_t line_limit) {
  struct fhir_options o = {.line_limit = line_limit};
  catcher_open(c);
  int rc = fhir_read(&o, path, &c->sink, &c->stats, &c->error);
  if (rc < 0) fail_msg("%s: %s", error_name(rc), c->error.message);
  assert_int_equal(c->stats.files, c->files);
  assert_int_equal(c->stats.rejected, c->rejects_n);
  assert_int_equal(c->stats.dropped, count_kind(c, RECORD_DROPPED));
  assert_int_equal(c->stats.records + c->stats.dropped, c->n);
}

static void expect_file(const char *name, const char *text, size_t n, size_t events, size_t rejects) {
  struct catcher c;
  read_path(&c, temp_file(name, text, n), 0);
  if (count_kind(&c, RECORD_EVENT) != events || c.rejects_n != rejects)
    fail_msg("%s: %zu events, %zu rejects; want %zu, %zu", name, count_kind(&c, RECORD_EVENT), c.rejects_n, events, rejects);
  catcher_close(&c);
}
#define EXPECT(name, text, events, rejects) expect_file(name, text, sizeof(text) - 1, events, rejects)

TEST(forms_by_content) {
  EXPECT("one.anything", GOOD("a"), 1, 0);
  EXPECT("lines", GOOD("a") "\n" GOOD("b") "\r\n\n  \n" GOOD("c"), 3, 0);
  EXPECT("pretty", PRETTY, 2, 0);
  EXPECT("bom.json", "\xEF\xBB\xBF" PRETTY, 2, 0);
  EXPECT("bom.ndjson", "\xEF\xBB\xBF" GOOD("a") "\n" GOOD("b") "\n", 2, 0);
  EXPECT("minified", "{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":" GOOD("a") "}]}\n", 1, 0);
  EXPECT("space", "\n\n  " GOOD("a") "\n", 1, 0);
  EXPECT("braces", "{\"resourceType\":\"Bundle\",\"id\":\"}}\\\"{\",\n\"entry\":[]}", 0, 0);
}

TEST(damage_stays_where_it_is) {
  EXPECT("empty.json", "", 0, 1);
  EXPECT("blank.json", " \n \n", 0, 1);
  EXPECT("bad-line", GOOD("a") "\n{\"resourceType\":\n" GOOD("b") "\n", 2, 1);
  EXPECT("bad-first-line", "{\"resourceType\":\"Obser\n" GOOD("b") "\n", 1, 1);
  EXPECT("truncated-bundle", "{\n  \"resourceType\": \"Bundle\",\n  \"entry\": [\n    {\n      \"resource\": " GOOD("a") "\n", 0, 1);
  EXPECT("truncated-line", "{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":" GOOD("a"), 0, 1);
  EXPECT("no-object.json", "[1,2]\n", 0, 1);
  EXPECT("utf8", GOOD("a") "\n{\"resourceType\":\"\xFF\"}\n" GOOD("b"), 2, 1);
  expect_file("utf16.json", "\xFF\xFE{\0\"\0a\0\"\0}\0", 12, 0, 1);
}

TEST(rejects_name_their_place) {
  struct catcher c;
  read_path(&c, temp_text("x.ndjson", GOOD("a") "\n\n{\"resourceType\":\"Patient\"}\nnonsense\n"), 0);
  assert_int_equal(c.rejects_n, 2);
  assert_int_equal(c.rejects[0].reject.row, 3);
  assert_string_equal(c.rejects[0].reject.field, "Patient.id");
  assert_int_equal(c.rejects[1].reject.row, 4);
  assert_non_null(strstr(c.rejects[1].reject.file, "x.ndjson"));
  assert_int_equal(c.records[0].r.row, 1);
  catcher_close(&c);
}

TEST(line_limit) {
  struct catcher c;
  read_path(&c,
            temp_text("x.ndjson",
                      "{\"resourceType\":\"Patient\",\"id\":\"a\",\"text\":"
                      "\"012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123"
                      "45678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
                      "01234567890123456789\"}\n" GOOD("a") "\n"),
            256);
  assert_int_equal(count_kind(&c, RECORD_EVENT), 1);
  assert_int_equal(c.rejects_n, 1);
  assert_int_equal(c.rejects[0].reject.row, 1);
  catcher_close(&c);
  read_path(&c, temp_text("x.json", PRETTY), 64);
  assert_int_equal(c.rejects_n, 1);
  catcher_close(&c);
}

static void write_gzip(const char *name, const char *text, size_t cut) {
  gzFile z = gzopen(temp_path(name), "wb");
  assert_non_null(z);
  assert_int_equal(gzwrite(z, text, (unsigned)strlen(text)), (int)strlen(text));
  assert_int_equal(gzclose(z), Z_OK);
  if (cut) assert_int_equal(truncate(temp_path(name), file_size(temp_path(name)) - (long)cut), 0);
}

TEST(gzip) {
  struct catcher c;
  write_gzip("a.ndjson.gz", GOOD("a") "\n" GOOD("b") "\n", 0);
  read_path(&c, temp_path("a.ndjson.gz"), 0);
  assert_int_equal(count_kind(&c, RECORD_EVENT), 2);
  assert_int_equal(c.rejects_n, 0);
  catcher_close(&c);
  write_gzip("b.json.gz", PRETTY, 0);
  read_path(&c, temp_path("b.json.gz"), 0);
  assert_int_equal(count_kind(&c, RECORD_EVENT), 2);
  catcher_close(&c);
}

TEST(cut_gzip_spoils_only_itself) {
  struct catcher c;
  write_gzip("a.ndjson.gz", GOOD("a") "\n" GOOD("b") "\n", 12);
  write_gzip("b.json.gz", PRETTY, 20);
  temp_text("c.ndjson", GOOD("z") "\n");
  read_path(&c, temp_dir, 0);
  assert_int_equal(c.stats.files, 3);
  assert_true(c.rejects_n >= 2);
  size_t of_last = 0;
  for (size_t i = 0; i < c.n; i++) of_last += str_eqc(c.records[i].r.person, "z");
  assert_int_equal(of_last, 1);
  catcher_close(&c);
}

TEST(directory) {
  struct catcher c;
  temp_text("README.md", "# not an export\n");
  temp_text("Bundle.json", PRETTY);
  temp_text(
      "MedicationRequest.ndjson",
      "{\"resourceType\":\"MedicationRequest\",\"status\":\"active\",\"subject\":{\"reference\":\"Patient/a\"},\"authoredOn\":\"2020\","
      "\"medicationReference\":{\"reference\":\"Medication/m1\"}}\n");
  temp_text("Medication.ndjson",
            "{\"resourceType\":\"Medication\",\"id\":\"m1\",\"code\":{\"coding\":[{\"system\":\"http://www.nlm.nih.gov/research/umls/"
            "rxnorm\",\"code\":\"77\"}]}}\n");
  read_path(&c, temp_dir, 0);
  assert_int_equal(c.stats.files, 4);
  assert_int_equal(c.rejects_n, 0);
  assert_int_equal(count_kind(&c, RECORD_EVENT), 3);
  event_want(&c, "RXNORM//77", "2020-01-01T00:00:00");
  assert_int_equal(dropped(&c, "File.other"), 1);
  catcher_close(&c);
}

TEST(missing_path_is_an_error) {
  struct catcher c;
  catcher_open(&c);
  assert_true(fhir_read(NULL, temp_path("nowhere"), &c.sink, &c.stats, &c.error) < 0);
  catcher_close(&c);
}

/* ---- real data, counted a second way: line by line, without reading JSON ---- */

static size_t lines_of(const char *path) {
  FILE *f = fopen(path, "r");
  size_t n = 0;
  int ch;
  assert_non_null(f);
  while ((ch = getc(f)) != EOF) n += ch == '\n';
  fclose(f);
  return n;
}
static size_t events_with(const struct catcher *c, const char *path) {
  size_t n = 0;
  for (size_t i = 0; i < c->n; i++) n += c->records[i].r.kind == RECORD_EVENT && !strcmp(c->records[i].r.path, path);
  return n;
}

TEST(bulk_export) {
  static const struct {
    const char *file, *path;
    size_t known; /* of the set's own description; 0 = lines of the file */
  } want[] = {{"Encounter.000.ndjson", "Encounter.period.start", 1215},
              {"Encounter.000.ndjson", "Encounter.period.end", 1215},
              {"Procedure.000.ndjson", "Procedure.code", 2056},
              {"MedicationRequest.000.ndjson", "MedicationRequest.medication", 1745},
              {"Condition.000.ndjson", "Condition.code", 0},
              {"Immunization.000.ndjson", "Immunization.vaccineCode", 0},
              {"AllergyIntolerance.000.ndjson", "AllergyIntolerance.code", 0},
              {"DocumentReference.000.ndjson", "DocumentReference.content.attachment", 0},
              {"Patient.000.ndjson", "Patient.gender", 13}};
  char command[1024];
  struct catcher c;
  snprintf(command, sizeof command, "tar xJf '%s/bulk_10_patients.tar.xz' -C %s", data_set("fhir-bulk-ndjson-10p"), temp_dir);
  shell(command);
  read_path(&c, temp_dir, 0);
  assert_int_equal(c.stats.files, 14);
  assert_int_equal(c.rejects_n, 0);
  for (size_t i = 0; i < sizeof want / sizeof *want; i++)
    assert_int_equal(events_with(&c, want[i].path), want[i].known ? want[i].known : lines_of(temp_path(want[i].file)));
  assert_int_equal(count_kind(&c, RECORD_BIRTH), 13);
  assert_int_equal(dropped(&c, "ExportLog"), lines_of(temp_path("log.ndjson")));
  assert_int_equal(dropped(&c, "Practitioner"), lines_of(temp_path("Practitioner.000.ndjson")));
  for (size_t i = 0; i < c.n; i++) {
    const struct record *r = &c.records[i].r;
    if (!strcmp(r->path, "DocumentReference.content.attachment")) assert_true(r->text.n > 10);
    if (r->kind != RECORD_DROPPED) assert_int_equal(r->person.n, 36);
  }
  catcher_close(&c);
}

struct scan { /* what a pretty-printed Synthea bundle promises */
  size_t resources, events, births, deaths, other;
};
static void scan_bundle(const char *path, struct scan *s) {
  static const char *const once[] = {"Procedure",        "MedicationRequest", "Immunization", "AllergyIntolerance",
                                     "DiagnosticReport", "ImagingStudy",      "Condition"};
  char line[1 << 16], type[64] = "";
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    size_t in = strspn(line, " ");
    if (in == 16 && sscanf(line, " \"resourceType\": \"%63[A-Za-z]\"", type) == 1) {
      bool known = !strcmp(type, "Encounter") || !strcmp(type, "Patient") || !strcmp(type, "Observation");
      s->resources++;
      for (size_t i = 0; i < sizeof once / sizeof *once; i++)
        if (!strcmp(type, once[i])) known = true, s->events++;
      if (!strcmp(type, "Encounter")) s->events += 3; /* start, its one type, end */
      if (!strcmp(type, "Patient")) s->events += 4;   /* gender, race, ethnicity, marital status */
      s->other += !known;
    }
    if (!strcmp(type, "Observation"))
      s->events += strstr(line, "\"valueQuantity\":") || strstr(line, "\"valueCodeableConcept\":") || strstr(line, "\"valueString\":");
    if (!strcmp(type, "Condition")) s->events += strstr(line, "\"abatementDateTime\":") != NULL;
    if (!strcmp(type, "Encounter")) s->events += strstr(line, "\"dischargeDisposition\":") != NULL;
    if (in == 16) s->births += strstr(line, "\"birthDate\":") != NULL;
    if (in == 16) s->deaths += strstr(line, "\"deceasedDateTime\":") != NULL;
  }
  fclose(f);
}

TEST(synthea_bundles) {
  char command[1024];
  struct catcher c;
  struct scan want = {0};
  struct str *paths;
  size_t n;
  struct arena a;
  /* The first few members only: the archive is cut, tar keeps what came before the cut. */
  snprintf(command, sizeof command, "xz -dc '%s/synthea_r4_500.tar.xz' 2>/dev/null | head -c 12000000 | tar xf - -C %s 2>/dev/null; true",
           data_set("synthea-fhir-r4"), temp_dir);
  shell(command);
  arena_init(&a, 0, 0);
  assert_int_equal(file_list(&a, temp_dir, &paths, &n, &c.error), OK);
  size_t bundles = 0;
  for (size_t i = 0; i < n; i++) {
    struct scan one = {0};
    FILE *f = fopen(paths[i].p, "r");
    assert_non_null(f);
    char tail[3] = "";
    assert_int_equal(fseek(f, -2, SEEK_END), 0);
    assert_int_equal(fread(tail, 1, 2, f), 2);
    fclose(f);
    if (!strchr(tail, '}')) { /* the member at the cut */
      unlink(paths[i].p);
      continue;
    }
    scan_bundle(paths[i].p, &one);
    want.resources += one.resources, want.events += one.events, want.births += one.births, want.deaths += one.deaths,
        want.other += one.other;
    bundles++;
  }
  arena_free(&a);
  assert_true(bundles >= 3);
  read_path(&c, temp_dir, 0);
  assert_int_equal(c.rejects_n, 0);
  assert_int_equal(c.stats.files, bundles);
  assert_int_equal(c.stats.resources, want.resources);
  assert_int_equal(count_kind(&c, RECORD_EVENT), want.events);
  assert_int_equal(count_kind(&c, RECORD_BIRTH), want.births);
  assert_int_equal(count_kind(&c, RECORD_DEATH), want.deaths);
  size_t others = 0;
  for (size_t i = 0; i < c.n; i++) others += c.records[i].r.kind == RECORD_DROPPED && !strchr(c.records[i].r.path, '.');
  assert_int_equal(others, want.other);
  catcher_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(forms_by_content, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(damage_stays_where_it_is, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(rejects_name_their_place, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(line_limit, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(gzip, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(cut_gzip_spoils_only_itself, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(directory, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(missing_path_is_an_error, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(bulk_export, temp_make, temp_remove),
      cmocka_unit_test_setup_teardown(synthea_bundles, temp_make, temp_remove),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
