/* The MEDS reader: CSV and Parquet of the same data agree, old and new names, malformed files. */
#include "base/duckdb.h"
#include "base/hash.h"
#include "table_help.h"

/* Order-free sums over a run: two readers of the same data must agree in all of them. */
struct sums {
  uint64_t n, births, deaths, statics, values, displays, codes, times;
  double total;
};
static struct sums sums;
static int add(void *ctx, const struct record *r, struct error *e) {
  struct sums *s = ctx;
  (void)e;
  if (r->kind == RECORD_DROPPED) return OK;
  s->n++;
  s->births += r->kind == RECORD_BIRTH;
  s->deaths += r->kind == RECORD_DEATH;
  s->statics += r->time.us == TIME_STATIC;
  s->values += !isnan(r->value);
  s->displays += r->display.p != NULL;
  if (!isnan(r->value)) s->total += (double)(float)r->value;
  s->codes += hash64(r->code.p, r->code.n, 1) + hash64(r->person.p, r->person.n, 2);
  s->times += r->time.us == TIME_STATIC ? 0 : (uint64_t)r->time.us;
  return OK;
}
static void sum_file(const char *path) {
  struct record_sink sink = {.ctx = &sums, .record = add};
  struct record_stats stats = {0};
  struct error e = {0};
  sums = (struct sums){0};
  if (meds_read(path, &sink, &stats, &e) < 0) {
    error_print(stderr, &e);
    fail_msg("the run failed");
  }
  assert_int_equal(stats.rejected, 0);
  assert_int_equal(stats.records, sums.n);
}
static void need_duckdb(void) {
  if (duck_available(NULL) == OK) return;
  if (getenv("CI")) fail_msg("DuckDB is not there");
  print_message("skipped: the optional DuckDB library is not installed\n");
  skip();
}
static int run_path(const char *path) {
  got_reset();
  return meds_read(path, &got_sink, &got.stats, &got.error);
}

TEST(csv_rows) {
  temp_text(
      "data/0.csv",
      "subject_id,time,code,numeric_value,text_value,unit,hadm_id\n12,,GENDER//F,,,,\n12,1950-03-01,MEDS_BIRTH,,,,\n"
      "12,2020-01-01T10:00:00.500000,\"LAB//Na, serum\",139.5,,mmol/L,7\n12,2020-01-02,NOTE,,some words,,\n12,2020-02-01,MEDS_DEATH,,,,\n");
  temp_text("metadata/codes.csv", "code,description,parent_codes\n\"LAB//Na, serum\",Sodium,\nNOTE,,\n");
  assert_int_equal(run_path(temp_dir), OK);
  assert_int_equal(got.rejects, 0);
  assert_int_equal(got.kinds[RECORD_DROPPED], 1); /* hadm_id, once a file */
  want_at("GENDER//F", 0, "static", NAN);
  assert_string_equal(kind_nth(RECORD_BIRTH, 0)->time, "1950-03-01T00:00:00");
  assert_int_equal(kind_nth(RECORD_BIRTH, 0)->precision, TIME_PRECISION_DAY);
  assert_string_equal(kind_nth(RECORD_DEATH, 0)->time, "2020-02-01T00:00:00");
  want_at("LAB//Na, serum", 0, "2020-01-01T10:00:00.500000", 139.5);
  assert_string_equal(nth("LAB//Na, serum", 0)->unit, "mmol/L");
  assert_string_equal(nth("LAB//Na, serum", 0)->display, "Sodium");
  assert_string_equal(nth("LAB//Na, serum", 0)->person, "12");
  assert_string_equal(nth("NOTE", 0)->text, "some words");
  assert_string_equal(nth("NOTE", 0)->display, "");
}

TEST(csv_malformed) {
  temp_text("e.csv",
            "patient_id,time,code,value\n1,2020-01-01,A,1\nx,2020-01-01,A,1\n1,2020-99-01,A,1\n1,2020-01-01,,1\n1,2020-01-01,A,one\n1,2020-"
            "01-01,A\n,2020-01-01,A,1\n"
            "1,,MEDS_BIRTH,\n1,2020-01-01,\"A\tB\",1\n1,2020-01-01,\xE9,1\n1,2020-01-01,A,\"1\"x\n1,2020-01-01,A,2\n1,2020-01-01,A,1e39\n");
  assert_int_equal(run_path(temp_path("e.csv")), OK);
  assert_int_equal(count("A"), 2);
  assert_int_equal(got.rejects, 11);
  assert_true(refused("MEDS.subject_id", 3) && refused("MEDS.time", 4) && refused("MEDS.code", 5) && refused("MEDS.numeric_value", 6) &&
              refused("", 7));
  assert_true(refused("MEDS.subject_id", 8) && refused("MEDS.time", 9) && refused("MEDS.code", 10) && refused("MEDS.code", 11) &&
              refused("", 12) && refused("MEDS.numeric_value", 14));
  temp_text("e.csv", "who,time,code\n1,2020-01-01,A\n");
  assert_int_equal(run_path(temp_path("e.csv")), E_INPUT);
  temp_text("e.csv", "");
  assert_int_equal(run_path(temp_path("e.csv")), E_INPUT);
  temp_text("e.csv", "subject_id,time,code,Subject_ID\n1,2020-01-01,A,2\n"); /* whose event is it? */
  assert_int_equal(run_path(temp_path("e.csv")), E_INPUT);
  assert_int_equal(run_path(temp_path("nothing")), E_NOTFOUND);
  temp_text("sub/readme.txt", "x");
  assert_int_equal(run_path(temp_path("sub")), E_NOTFOUND);
}

TEST(allocations_fail) {
  temp_text("data/0.csv", "subject_id,time,code,numeric_value\n1,2020-01-01,A,1\n2,,B,\n");
  temp_text("metadata/codes.csv", "code,description\nA,Alpha\n");
  long n = 1;
  for (; n < 1000; n++) {
    got_reset();
    arena_fail_at(n);
    int rc = meds_read(temp_dir, &got_sink, &got.stats, &got.error);
    arena_fail_at(0);
    if (rc == OK) break;
    assert_true(rc == E_NOMEM || rc == E_LIMIT);
  }
  assert_true(n > 4 && n < 1000);
  assert_int_equal(got.n, 2);
}

TEST(mimic_demo_csv_and_parquet_agree) {
  const char *data = data_set("mimic-iv-demo-meds");
  need_duckdb();
  shell("xz -dc %s/events.csv.xz > %s", data, temp_path("events.csv"));
  sum_file(temp_path("events.csv"));
  struct sums csv = sums;
  assert_int_equal(csv.n, 916166);
  assert_int_equal(csv.values, 405236);
  assert_int_equal(csv.births, 100);
  assert_int_equal(csv.deaths, 31);
  assert_int_equal(csv.statics, 100);
  char path[600];
  snprintf(path, sizeof path, "%s/mimic_iv_demo_meds_events.parquet", data);
  sum_file(path);
  assert_memory_equal(&csv, &sums, offsetof(struct sums, total));
  assert_float_equal(csv.total, sums.total, fabs(csv.total) * 1e-9);
}

TEST(meds_transforms_and_femr) {
  const char *data = data_set("meds-fixtures");
  need_duckdb();
  shell("tar xJf %s/*.tar.xz -C %s", data, temp_dir);
  assert_int_equal(run_path(temp_path("meds_transforms/data")), OK);
  assert_int_equal(got.kinds[RECORD_EVENT], 62);
  size_t displays = 0, statics = 0;
  for (size_t i = 0; i < got.n; i++) {
    displays += got.record[i].display[0] != 0;
    statics += strcmp(got.record[i].time, "static") == 0;
  }
  assert_int_equal(displays, 38);
  assert_int_equal(statics, 12);
  assert_int_equal(run_path(temp_path("femr/synthetic")), OK);
  assert_int_equal(got.kinds[RECORD_EVENT] + got.kinds[RECORD_BIRTH], 2589);
  assert_int_equal(got.kinds[RECORD_BIRTH], 200);
  assert_int_equal(run_path(temp_path("femr/labels.parquet")), E_INPUT); /* Parquet, but no events */
}

TEST(damaged_parquet_is_refused) {
  const char *data = data_set("meds-fixtures");
  need_duckdb();
  shell("tar xJf %s/*.tar.xz -C %s", data, temp_dir);
  const char *whole = temp_path("meds_transforms/data/data/train/0.parquet");
  int64_t size = file_size(whole);
  unsigned char *bytes = malloc((size_t)size);
  FILE *f = fopen(whole, "rb");
  assert_true(f && bytes && fread(bytes, 1, (size_t)size, f) == (size_t)size);
  fclose(f);
  int refused_n = 0;
  for (int64_t cut = 1; cut < size; cut += size / 20) { /* cut off: always an error, never a crash */
    temp_bytes("bad.parquet", bytes, (size_t)(size - cut));
    int rc = run_path(temp_path("bad.parquet"));
    assert_true(rc < 0);
    refused_n++;
  }
  assert_true(refused_n >= 19);
  for (int64_t at = 0; at < size; at += size / 40) { /* one byte changed: an error or other values, never a crash */
    unsigned char was = bytes[at];
    bytes[at] ^= 0x55;
    temp_bytes("bad.parquet", bytes, (size_t)size);
    int rc = run_path(temp_path("bad.parquet"));
    assert_true(rc <= 0);
    bytes[at] = was;
  }
  temp_text("bad.parquet", "PAR1 this is no Parquet PAR1");
  assert_int_equal(run_path(temp_path("bad.parquet")), E_INPUT);
  assert_null(strstr(got.error.message, "PAR1"));
  free(bytes);
}

TEST(the_sandbox_holds) {
  need_duckdb();
  struct duck *d;
  temp_text("in/a.csv", "x\n1\n");
  temp_text("out.csv", "x\n1\n");
  struct buf sql = {0};
  assert_int_equal(duck_open(temp_path("in"), &d, NULL), OK);
  buf_puts(&sql, "SELECT * FROM read_csv(");
  duck_quote(&sql, str_c(temp_path("in/a.csv")));
  buf_puts(&sql, ")");
  assert_int_equal(duck_run(d, buf_cstr(&sql), NULL), OK);
  buf_clear(&sql);
  buf_puts(&sql, "SELECT * FROM read_csv(");
  duck_quote(&sql, str_c(temp_path("out.csv")));
  buf_puts(&sql, ")");
  assert_true(duck_run(d, buf_cstr(&sql), NULL) < 0);
  assert_true(duck_run(d, "SELECT * FROM read_csv('/etc/passwd')", NULL) < 0);
  assert_true(duck_run(d, "SET enable_external_access=true", NULL) < 0);
  assert_true(duck_run(d, "INSTALL httpfs", NULL) < 0);
  assert_true(duck_run(d, "COPY (SELECT 1) TO '/tmp/table-test-escaped.csv'", NULL) < 0);
  assert_false(file_exists("/tmp/table-test-escaped.csv"));
  buf_release(&sql);
  duck_close(d);
}

TEST(a_quote_in_a_path) {
  const char *data = data_set("meds-fixtures");
  need_duckdb();
  shell("mkdir \"%s/it's\" && tar xJf %s/*.tar.xz -C \"%s/it's\"", temp_dir, data, temp_dir);
  assert_int_equal(run_path(temp_path("it's/meds_transforms/data")), OK);
  assert_int_equal(got.kinds[RECORD_EVENT], 62);
}

#define T(f) cmocka_unit_test_setup_teardown(f, temp_make, temp_remove)
int main(void) {
  const struct CMUnitTest tests[] = {T(csv_rows),
                                     T(csv_malformed),
                                     T(allocations_fail),
                                     T(mimic_demo_csv_and_parquet_agree),
                                     T(meds_transforms_and_femr),
                                     T(damaged_parquet_is_refused),
                                     T(the_sandbox_holds),
                                     T(a_quote_in_a_path)};
  return cmocka_run_group_tests_name("meds", tests, NULL, NULL);
}
