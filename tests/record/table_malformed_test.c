/* Files that are wrong: each bad row or field is a reject with file, row and column, and the rest is kept. Then every allocation fails once. */
#include "table_help.h"

static const char mapping[] =
    "{\"name\":\"test\",\"epoch\":\"2000-01-01\",\"dictionaries\":{\"d\":{\"path\":\"d.csv\",\"key\":\"k\",\"columns\":[\"label\"],"
    "\"vocabulary\":true,\"optional\":true,"
    "\"rank_within\":\"g\"}},\"tables\":[{\"table\":\"t\",\"path\":\"t*.csv\",\"subject\":\"{id}\",\"join\":{\"j\":{\"dictionary\":\"d\","
    "\"key\":\"{code}\"}},"
    "\"allow\":{\"code\":\"code\",\"kind\":{\"max_distinct\":5}},\"time\":\"{when}\",\"optional_columns\":[\"kind\"],"
    "\"events\":[{\"code\":\"LAB//{code}\",\"value\":\"{val}\",\"text\":\"{words}\",\"display\":\"{j.label}\"},{\"code\":\"K//"
    "{kind}\",\"require\":[\"code\"]}]},"
    "{\"table\":\"u\",\"path\":\"u.csv\",\"optional\":true,\"known_subjects\":true,\"subject\":\"{id}\",\"time\":null,\"events\":[{"
    "\"code\":\"U\"}]}]}";
#define HEAD "id,code,when,val,words\n"
#define GOOD "p,A1,2020-01-01,1,x\n"

static void run_bytes(const char *bytes, size_t n) {
  temp_bytes("t.csv", bytes, n);
  int rc = run_text(mapping);
  if (rc < 0) {
    error_print(stderr, &got.error);
    fail_msg("the run failed");
  }
}
/* One bad row between two good ones. */
static void between(const char *row, size_t n, const char *field) {
  char text[4096];
  size_t at = strlen(HEAD GOOD);
  memcpy(text, HEAD GOOD, at);
  memcpy(text + at, row, n);
  memcpy(text + at + n, "\n" GOOD, strlen(GOOD) + 1);
  run_bytes(text, at + n + 1 + strlen(GOOD));
  if (got.rejects != 1 || count("LAB//A1") != 2) {
    show();
    fail_msg("%s: %zu rejects, %zu events", row, got.rejects, count("LAB//A1"));
  }
  assert_string_equal(got.reject[0].field, field);
  assert_int_equal(got.reject[0].row, 3);
  assert_string_equal(got.reject[0].file, temp_path("t.csv"));
}
#define BETWEEN(row, field) between(row, sizeof(row) - 1, field)

TEST(bad_fields_and_rows) {
  BETWEEN("p,A1,2020-01-01,abc,x", "t.val");
  BETWEEN("p,A1,2020-01-01,1e999,x", "t.val");
  BETWEEN("p,A1,2020-01-01,-3.5e38,x", "t.val");
  BETWEEN("p,A1,2020-01-01,1\0002,x", "t.val");
  BETWEEN("p,A1,2020-13-01,1,x", "t.when");
  BETWEEN("p,A1,2020-02-30,1,x", "t.when");
  BETWEEN("p,A1,yesterday,1,x", "t.when");
  BETWEEN("p,A1,2020-01-01\0,1,x", "t.when");
  BETWEEN("p,A1,99999-01-01,1,x", "t.when");
  BETWEEN(",A1,2020-01-01,1,x", "t.subject");
  BETWEEN("p\0q,A1,2020-01-01,1,x", "t.subject");
  BETWEEN("p,A1,2020-01-01,1", "");
  BETWEEN("p,A1,2020-01-01,1,x,y", "");
  BETWEEN("p,A1,2020-01-01,1,a\0b", "t.words");
  BETWEEN("p,A1,2020-01-01,1,\"a\"b", "");
  char person[600] = "";
  memset(person, 'p', 500);
  strcpy(person + 500, ",A1,2020-01-01,1,x");
  between(person, strlen(person), "t.subject");
}

TEST(a_quote_that_is_never_closed_costs_one_row) {
  run_bytes(HEAD "p,A1,2020-01-01,1,\"x\n" GOOD GOOD, strlen(HEAD "p,A1,2020-01-01,1,\"x\n" GOOD GOOD));
  assert_int_equal(count("LAB//A1"), 2);
  assert_true(refused("", 2));
}

TEST(odd_but_good_files) {
  const char *files[] = {"\xEF\xBB\xBF" HEAD GOOD,
                         "id,code,when,val,words\r\np,A1,2020-01-01,1,x\r\n",
                         HEAD "p,A1,2020-01-01,1,x",
                         HEAD "\n" GOOD "\n\n",
                         " id , CODE ,When,val,words\n p , A1 , 2020-01-01 , 1 ,x\n",
                         "words,val,when,code,id\nx,1,2020-01-01,A1,p\n",
                         HEAD "p,A1,2020-01-01,1,\"x\"\n",
                         "id,code,when,val,words,more\np,A1,2020-01-01,1,x,\n"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    run_bytes(files[i], strlen(files[i]));
    assert_int_equal(got.rejects, 0);
    want_at("LAB//A1", 0, "2020-01-01T00:00:00", 1);
    assert_string_equal(nth("LAB//A1", 0)->person, "p");
    assert_string_equal(nth("LAB//A1", 0)->text, "x");
    assert_int_equal(count("LAB//A1"), 1);
  }
}

TEST(text_over_several_lines_keeps_its_row_number) {
  const char *text = HEAD "p,A1,2020-01-01,1,\"one\ntwo \"\"quoted\"\"\"\n" GOOD "p,A1,2020-01-01,bad,x\n";
  run_bytes(text, strlen(text));
  assert_string_equal(nth("LAB//A1", 0)->text, "one\ntwo \"quoted\"");
  assert_int_equal(nth("LAB//A1", 1)->row, 4);
  assert_true(refused("t.val", 5));
}

TEST(latin_1_becomes_utf_8) {
  run_bytes(HEAD "p\xE9,A1,2020-01-01,1,Fi\xE8vre\np\xE9,\xE9,2020-01-01,1,\xC3\xA9\n",
            strlen(HEAD "p\xE9,A1,2020-01-01,1,Fi\xE8vre\np\xE9,\xE9,2020-01-01,1,\xC3\xA9\n"));
  assert_string_equal(nth("LAB//A1", 0)->text, "Fi\xC3\xA8vre");
  assert_string_equal(nth("LAB//A1", 0)->person, "p\xC3\xA9");
  assert_string_equal(nth("LAB//OTHER", 0)->text, "\xC3\xA9");
}

TEST(missing_columns_and_empty_files) {
  temp_text("t.csv", "id,code,when\np,A1,2020-01-01\n");
  assert_int_equal(run_text(mapping), E_INPUT); /* the only file of a table that is not optional */
  assert_true(refused("t.val", 1));
  temp_text("t2.csv", HEAD GOOD);
  temp_text("t3.csv", "");
  assert_int_equal(run_text(mapping), OK); /* one of several: the others are read */
  assert_int_equal(count("LAB//A1"), 1);
  assert_int_equal(got.rejects, 2);
  temp_text("t.csv", "\n\n");
  temp_text("t2.csv", HEAD);
  assert_int_equal(run_text(mapping), OK);
  assert_int_equal(got.kinds[RECORD_EVENT], 0);
}

TEST(a_column_twice_is_refused) {
  temp_text("t.csv", "id,code,when,val,words, ID\np,A1,2020-01-01,1,x,q\n"); /* whose event is it? */
  assert_int_equal(run_text(mapping), E_INPUT);
  assert_true(refused("t.id", 1));
  assert_int_equal(got.kinds[RECORD_EVENT], 0);
  temp_text("t.csv", "id,code,when,val,words,other,other\np,A1,2020-01-01,1,x,,\n"); /* nobody reads those */
  assert_int_equal(run_text(mapping), OK);
  assert_int_equal(count("LAB//A1"), 1);
}

TEST(a_header_that_is_data_does_not_show) {
  temp_text("t.csv", "id,code,when,val,words,Smith 12 March,5551234\np,A1,2020-01-01,1,x,,\n");
  assert_int_equal(run_text(mapping), OK);
  assert_int_equal(got.kinds[RECORD_DROPPED], 2);
  for (size_t i = 0; i < got.n; i++) assert_null(strstr(got.record[i].path, "Smith"));
  assert_string_equal(kind_nth(RECORD_DROPPED, 0)->path, "t.(unnamed column)");
}

TEST(damaged_gzip_stops_the_run) {
  char text[20000];
  size_t n = 0;
  n += (size_t)sprintf(text, HEAD);
  for (int i = 0; i < 500; i++) n += (size_t)sprintf(text + n, "p%d,A%d,2020-01-01,%d,x\n", i * 7919 % 1000, i, i * 31);
  temp_bytes("t.csv", text, n);
  shell("gzip %s && truncate -s -40 %s", temp_path("t.csv"), temp_path("t.csv.gz"));
  assert_int_equal(run_text(mapping), E_CORRUPT); /* half a table must not pass for a whole one */
}

TEST(a_sink_that_stops) {
  temp_text("t.csv", HEAD GOOD GOOD GOOD);
  struct table_mapping *m = mapping_text(mapping);
  got_reset();
  got.stop_after = 2;
  assert_int_equal(table_read(m, temp_dir, &got_sink, &got.stats, &got.error), E_CANCELLED);
  assert_int_equal(got.n, 1);
  table_mapping_free(m);
}

TEST(dictionary_rows_that_are_wrong) {
  temp_text("d.csv", "k,label,g\nA1,Good,1\nA2,too,many,1\n\"A3,open,1\nA4,Also good,1\n");
  temp_text("t.csv", HEAD GOOD "p,A4,2020-01-01,1,x\n");
  assert_int_equal(run_text(mapping), OK);
  assert_string_equal(nth("LAB//A1", 0)->display, "Good");
  assert_string_equal(nth("LAB//A4", 0)->display, "Also good");
  assert_int_equal(got.rejects, 2);
  temp_text("d.csv", "k,g\nA1,1\n");
  assert_int_equal(run_text(mapping), E_INPUT);
  assert_string_equal(got.error.field, "label");
}

TEST(a_dictionary_over_its_limit) {
  char small[2048];
  snprintf(small, sizeof small, "{\"memory_limit_mb\":1,%s", mapping + 1);
  FILE *f = fopen(temp_path("d.csv"), "w");
  assert_non_null(f);
  fprintf(f, "k,label,g\n");
  for (int i = 0; i < 40000; i++) fprintf(f, "KEY-%d,a label of some length that fills the memory,%d\n", i, i % 7);
  fclose(f);
  temp_text("t.csv", HEAD GOOD);
  assert_int_equal(run_text(small), E_LIMIT);
}

TEST(every_allocation_fails_once) {
  temp_text("d.csv", "k,label,g\nA1,One,1\nA2,Two,1\n");
  temp_text("t.csv", "id,code,when,val,words,kind,unknown\np,A1,2020-01-01,1,Fi\xE8vre,red,1\nq\xE9,A2,2020-01-01,2,\"x\ny\",blue,1\n");
  temp_text("u.csv", "id\np\nz\n");
  size_t complete = 0;
  long n = 1;
  for (; n < 100000; n++) {
    struct table_mapping *m = NULL;
    struct error e = {0};
    got_reset();
    arena_fail_at(n);
    int rc = table_mapping_parse(mapping, strlen(mapping), "test.json", &m, &e);
    if (rc == OK) rc = table_read(m, temp_dir, &got_sink, &got.stats, &e);
    arena_fail_at(0);
    table_mapping_free(m);
    complete = got.kinds[RECORD_EVENT];
    if (rc == OK && complete == 5) break;
    if (rc != E_NOMEM && rc != E_LIMIT) fail_msg("allocation %ld: %d %s", n, rc, e.message);
  }
  assert_int_equal(complete, 5); /* it ends: with no failure left the run is whole, and never before */
  assert_true(n > 20 && n < 100000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, temp_make, temp_remove)
int main(void) {
  const struct CMUnitTest tests[] = {T(bad_fields_and_rows),
                                     T(a_quote_that_is_never_closed_costs_one_row),
                                     T(odd_but_good_files),
                                     T(text_over_several_lines_keeps_its_row_number),
                                     T(latin_1_becomes_utf_8),
                                     T(missing_columns_and_empty_files),
                                     T(a_column_twice_is_refused),
                                     T(a_header_that_is_data_does_not_show),
                                     T(damaged_gzip_stops_the_run),
                                     T(a_sink_that_stops),
                                     T(dictionary_rows_that_are_wrong),
                                     T(a_dictionary_over_its_limit),
                                     T(every_allocation_fails_once)};
  return cmocka_run_group_tests_name("table_malformed", tests, NULL, NULL);
}
