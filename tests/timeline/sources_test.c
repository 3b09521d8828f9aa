/* One person in three sources: FHIR, a table of a laboratory, a genome. One pseudonym, one shift; every interval across the sources is
 * what it was to the second, the order within a day is kept, and what has no time stands before everything. */
#include "store_help.h"

#include "base/hash.h"
#include "deid/deid.h"
#include "record/record.h"

struct said { /* what the sources said, by code */
  const char *source, *person, *code, *when;
};
static const struct said said[] = {
    {"fhir", "Patient/abc", "LOINC//718-7", "2019-03-01T08:15:00"},  {"lab", "M-700100", "LOINC//2160-0", "2019-03-01T08:15:01"},
    {"fhir", "Patient/abc", "LOINC//2345-7", "2019-03-01T23:59:59"}, {"lab", "M-700100", "LOINC//2951-2", "2019-03-02T00:00:00"},
    {"lab", "M-700100", "LOINC//4548-4", "2016-02-29T12:00:00"},     {"fhir", "Patient/abc", "LOINC//8480-6", "2019-03-31T02:30:00"},
    {"lab", "M-700100", "LOINC//3094-0", "2019-03-01T08:14:59"},     {"fhir", "Patient/abc", "LOINC//8462-4", "2019-11-03T01:30:00"}};
enum { SAID = sizeof said / sizeof *said };

static int64_t moment(const char *text) {
  struct time_parts parts;
  int64_t us;
  OKAY(time_parse(str_c(text), &parts, &us, e));
  return us;
}

struct run {
  struct deid *wall;
  struct timeline_writer *writer;
};
static int to_wall(void *ctx, const struct record *r, struct error *e) { return deid_take(((struct run *)ctx)->wall, r, e); }

static void begin(struct run *run, const char *dir, struct vault *v, const struct deid_policy *p, const char *source) {
  OKAY(timeline_writer_open(dir, NULL, &run->writer, e));
  struct event_sink out = {
      .ctx = run->writer, .event = timeline_append, .blob = timeline_writer_blob, .blob_dir = timeline_writer_blob_dir(run->writer)};
  OKAY(deid_open(p, v, source, &out, &run->wall, e));
}
static void end(struct run *run) {
  OKAY(deid_finish(run->wall, e));
  deid_close(run->wall);
  OKAY(timeline_writer_finish(run->writer, STR_NONE, NULL, NULL, e));
}

static void tell(struct run *run, const char *source, const char *person, bool identifies) {
  if (identifies) {
    struct record id = {
        .kind = RECORD_IDENTIFIER, .person = str_c(person), .identifier = IDENTIFIER_MRN, .ns = STR("urn:mrn"), .text = STR("M-700100")};
    id.time.us = TIME_STATIC;
    OKAY(deid_take(run->wall, &id, e));
  }
  for (int i = 0; i < SAID; i++) {
    if (strcmp(said[i].source, source) != 0) continue;
    struct record r = {
        .kind = RECORD_EVENT, .person = str_c(person), .code = str_c(said[i].code), .value = i, .path = "x", .row = (uint64_t)i};
    r.time.us = moment(said[i].when);
    r.time.precision = TIME_PRECISION_SECOND;
    OKAY(deid_take(run->wall, &r, e));
  }
}

static void genome(struct run *run, const char *dir) {
  static const char text[] =
      "##fileformat=VCFv4.2\n##reference=hg38\n"
      "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tM-700100\nchr1\t5\trs1\tA\tC\t.\tPASS\t.\tGT\t0/1\n";
  char path[128], fields[4096];
  struct record_sink sink = {.ctx = run, .record = to_wall};
  struct record_stats stats = {0};
  snprintf(path, sizeof path, "%s/in.vcf", dir);
  OKAY(file_write_atomic(path, text, sizeof text - 1, 0600, e));
  OKAY(file_join(fields, sizeof fields, file_data_dir(), "policy/vcf-fields.json", e));
  OKAY(genome_read(path, fields, &sink, &stats, e));
}

static int find(const struct timeline *t, const struct timeline_view *v, const char *code) {
  for (uint32_t k = 0; k < v->n; k++)
    if (str_eqc(timeline_code_name(t, v->code[k]), code)) return (int)k;
  fail_msg("an event is missing");
  return -1;
}

static void one_person_one_shift(void **state) {
  (void)state;
  static const char *const orders[][3] = {{"fhir", "lab", "vcf"}, {"vcf", "fhir", "lab"}, {"lab", "vcf", "fhir"}};
  struct deid_policy p;
  char file[4096];
  OKAY(file_join(file, sizeof file, file_data_dir(), "policy/expert.json", e));
  OKAY(deid_policy_load(file, &p, e));
  for (int o = 0; o < 3; o++) {
    char dir[64], scratch[64];
    struct vault *v;
    struct run run;
    struct str trusted = STR("urn:mrn");
    temp_dir(dir);
    temp_dir(scratch);
    OKAY(vault_open_memory(&v, e));
    OKAY(vault_link_namespaces(v, &trusted, 1, e));
    OKAY(vault_link_alias(v, STR("lab"), trusted, e));        /* the laboratory's keys are record numbers */
    OKAY(vault_link_alias(v, STR("vcf-sample"), trusted, e)); /* and so are the names of samples */
    for (int s = 0; s < 3; s++) {
      begin(&run, dir, v, &p, orders[o][s]);
      if (strcmp(orders[o][s], "vcf") == 0)
        genome(&run, scratch);
      else
        tell(&run, orders[o][s], orders[o][s][0] == 'f' ? "Patient/abc" : "M-700100", orders[o][s][0] == 'f');
      end(&run);
    }
    struct timeline *t;
    OKAY(timeline_verify(dir, print_finding, NULL, e));
    OKAY(timeline_open(dir, &t, e));
    assert_int_equal(timeline_subjects(t), 1);
    struct timeline_view view = timeline_view(t, 0);
    assert_int_equal(view.n, SAID + 1);
    assert_int_equal(view.statics, 1);
    char hex[65];
    assert_true(timeline_blob(t, 0, 0, hex));
    assert_true(str_eqc(timeline_code_name(t, view.code[0]), "GENOME//VCF//GRCh38"));
    int64_t shift = view.time[find(t, &view, said[0].code)] - moment(said[0].when);
    assert_true(shift != 0 && shift % TIME_DAY == 0);
    for (int i = 0; i < SAID; i++) assert_true(view.time[find(t, &view, said[i].code)] - moment(said[i].when) == shift);
    for (int i = 0; i < SAID; i++)
      for (int j = 0; j < SAID; j++)
        if (moment(said[i].when) < moment(said[j].when)) assert_true(find(t, &view, said[i].code) < find(t, &view, said[j].code));
    timeline_close(t);
    vault_close(v);
    temp_remove(dir);
    temp_remove(scratch);
  }
}

/* The same export again changes nothing: same blobs, same bytes, one event. */
static void twice_is_once(void **state) {
  (void)state;
  char dir[64], scratch[64], file[4096], first[65] = "", hex[65];
  struct deid_policy p;
  struct vault *v;
  struct run run;
  temp_dir(dir);
  temp_dir(scratch);
  OKAY(file_join(file, sizeof file, file_data_dir(), "policy/expert.json", e));
  OKAY(deid_policy_load(file, &p, e));
  OKAY(vault_open_memory(&v, e));
  for (int i = 0; i < 3; i++) {
    struct timeline *t;
    begin(&run, dir, v, &p, "vcf");
    genome(&run, scratch);
    end(&run);
    OKAY(timeline_verify(dir, print_finding, NULL, e));
    OKAY(timeline_open(dir, &t, e));
    assert_int_equal(timeline_events(t), 1);
    assert_true(timeline_blob(t, 0, 0, hex));
    if (i == 0) strcpy(first, hex);
    assert_string_equal(first, hex);
    timeline_close(t);
  }
  vault_close(v);
  temp_remove(dir);
  temp_remove(scratch);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_person_one_shift), cmocka_unit_test(twice_is_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
