/* The mapping language on small files: every setting once, and what it refuses. */
#include "table_help.h"

/* A mapping with one table "t" over t.csv; `rest` = its further settings. */
static const char *one(const char *rest) {
  static char json[8192];
  snprintf(json, sizeof json,
           "{\"name\":\"test\",\"epoch\":\"2000-01-01\",\"missing\":[\"NA\"],\"tables\":[{\"table\":\"t\",\"path\":\"t.csv\",\"subject\":"
           "\"{id}\",%s}]}",
           rest);
  return json;
}

TEST(events_with_values_units_and_texts) {
  temp_text("t.csv", "id,code,when,val,uom,words,extra\np1,A1,2020-01-02 03:04:05,5.25,mg,hello there,x\np2,B2,2020-01-03,NA,mg,NA,y\n");
  run_ok(
      one("\"allow\":{\"code\":\"code\",\"uom\":{\"categories\":[\"mg\"]}},\"time\":\"{when}\",\"events\":[{\"code\":\"LAB//"
          "{code}\",\"value\":\"{val}\","
          "\"unit\":\"{uom}\",\"text\":\"{words}\",\"display\":\"A laboratory value\"}]"));
  assert_int_equal(got.kinds[RECORD_EVENT], 2);
  want_at("LAB//A1", 0, "2020-01-02T03:04:05", 5.25);
  want_at("LAB//B2", 0, "2020-01-03T00:00:00", NAN);
  assert_string_equal(nth("LAB//A1", 0)->person, "p1");
  assert_string_equal(nth("LAB//A1", 0)->unit, "mg");
  assert_string_equal(nth("LAB//A1", 0)->text, "hello there");
  assert_string_equal(nth("LAB//A1", 0)->display, "A laboratory value");
  assert_int_equal(nth("LAB//A1", 0)->row, 2);
  assert_int_equal(nth("LAB//A1", 0)->precision, TIME_PRECISION_SECOND);
  assert_int_equal(nth("LAB//B2", 0)->precision, TIME_PRECISION_DAY);
  assert_int_equal(got.kinds[RECORD_DROPPED], 1);
  assert_string_equal(kind_nth(RECORD_DROPPED, 0)->path, "t.extra");
  assert_int_equal(got.stats.resources, 2);
  assert_int_equal(got.files, 1);
}

TEST(a_code_part_that_its_rule_refuses_is_other) {
  temp_text("t.csv",
            "id,code\np,Smith John\np,A-1\np,\xC3\xA9\np,0123456789012345678901234567890123456789012345678901234567890123456789\n");
  run_ok(one("\"time\":null,\"allow\":{\"code\":\"code\"},\"events\":[{\"code\":\"X//{code}\"}]"));
  assert_int_equal(count("X//OTHER"), 3);
  assert_int_equal(count("X//A-1"), 1);
}

TEST(shapes_and_categories) {
  temp_text("t.csv", "id,i,icd,ndc,cat\np,12,I50.9,00002-7510-01,EW EMER.\np,12345678901,Jones,12,SOMEBODY\n");
  run_ok(
      one("\"time\":null,\"allow\":{\"i\":\"integer\",\"icd\":\"icd\",\"ndc\":\"ndc\",\"cat\":{\"categories\":[\"EW EMER.\"]}},"
          "\"events\":[{\"code\":\"I//{i}\"},{\"code\":\"D//{icd}\"},{\"code\":\"N//{ndc}\"},{\"code\":\"C//{cat}\"}]"));
  const char *want[] = {"I//12", "D//I50.9", "N//00002-7510-01", "C//EW_EMER.", "I//OTHER", "D//OTHER", "N//OTHER", "C//OTHER"};
  for (int i = 0; i < 8; i++) assert_int_equal(count(want[i]), 1);
}

TEST(max_distinct_is_all_or_nothing) {
  temp_text("t.csv", "id,few,many\np,red wine,a\np,blue,b\np,red wine,c\n");
  run_ok(
      one("\"time\":null,\"allow\":{\"few\":{\"max_distinct\":2,\"min_persons\":1},\"many\":{\"max_distinct\":2,\"min_persons\":1}},"
          "\"events\":[{\"code\":\"F//"
          "{few}\"},{\"code\":\"M//{many}\"}]"));
  assert_int_equal(count("F//red_wine"), 2);
  assert_int_equal(count("F//blue"), 1);
  assert_int_equal(count("M//OTHER"), 3); /* not even the first two: they may be names */
}

/* A word that was mistyped for a few persons is no category, and may be a name. */
TEST(a_word_of_few_persons_does_not_pass) {
  temp_text("t.csv", "id,kind\na,red\nb,red\nc,red\nd,red\ne,red\na,slip\na,slip\na,slip\na,slip\na,slip\nb,slip\n");
  run_ok(one("\"time\":null,\"allow\":{\"kind\":{\"max_distinct\":9}},\"events\":[{\"code\":\"K//{kind}\"}]"));
  assert_int_equal(count("K//red"), 5);
  assert_int_equal(count("K//slip"), 0);
  assert_int_equal(count("K//OTHER"), 6);
}

TEST(alternatives_of_a_code) {
  temp_text("t.csv", "id,a,b\np,A1,7\np,,8\np,free text,9\np,,\n");
  run_ok(one("\"time\":null,\"allow\":{\"a\":\"code\",\"b\":\"integer\"},\"events\":[{\"code\":[\"A//{a}\",\"B//{b}\"]}]"));
  assert_int_equal(count("A//A1"), 1);
  assert_int_equal(count("B//8"), 1);
  assert_int_equal(count("B//9"), 1);
  assert_int_equal(got.kinds[RECORD_EVENT], 3);
  assert_int_equal(got.kinds[RECORD_DROPPED], 1); /* a row without a code is counted */
}

TEST(times_offsets_and_formats) {
  temp_text("t.csv", "id,hhmm,days,us,year,bad\np,49:30,2.5,12/31/2019,1999,x\np,-01:00,-1,02/30/2019,1999,x\n");
  run_ok(
      one("\"events\":[{\"code\":\"CLOCK\",\"time\":{\"offset\":\"{hhmm}\",\"unit\":\"HH:MM\"}},"
          "{\"code\":\"DAYS\",\"time\":{\"offset\":\"{days}\",\"unit\":\"days\",\"add\":\"1h\",\"not_before\":\"-12h\"}},"
          "{\"code\":\"FORMAT\",\"time\":{\"at\":\"{us}\",\"format\":\"MM/DD/YYYY\"}},"
          "{\"code\":\"BASE\",\"time\":{\"at\":\"{year}-06-01\",\"offset\":[{\"of\":\"{days}\",\"unit\":\"days\",\"scale\":2},{\"of\":\"{"
          "hhmm}\",\"unit\":\"HH:MM\"}]}},"
          "{\"code\":\"LITERAL\",\"time\":{\"at\":\"1990-05-05\"}},{\"code\":\"BAD\",\"time\":\"{bad}\"}]"));
  want_at("CLOCK", 0, "2000-01-03T01:30:00", NAN);
  want_at("CLOCK", 1, "1999-12-31T23:00:00", NAN);
  want_at("DAYS", 0, "2000-01-03T13:00:00", NAN);
  want_at("DAYS", 1, "1999-12-31T12:00:00", NAN);
  want_at("FORMAT", 0, "2019-12-31T00:00:00", NAN);
  want_at("BASE", 0, "1999-06-08T01:30:00", NAN);
  want_at("LITERAL", 1, "1990-05-05T00:00:00", NAN);
  assert_null(nth("FORMAT", 1)); /* there is no 30 February */
  assert_null(nth("BAD", 0));
  assert_true(refused("t.us", 3) && refused("t.bad", 2) && refused("t.bad", 3));
  assert_int_equal(got.rejects, 3);
}

TEST(oracle_style_dates) {
  temp_text("t.csv", "id,d\np,05-MAR-2021 17:08\np,05-XXX-2021 17:08\n");
  run_ok(one("\"time\":{\"at\":\"{d}\",\"format\":\"DD-MON-YYYY hh:mm\"},\"events\":[{\"code\":\"X\"}]"));
  want_at("X", 0, "2021-03-05T17:08:00", NAN);
  assert_int_equal(got.rejects, 1);
}

TEST(birth_death_and_identifiers) {
  temp_text("t.csv", "id,age,died,mrn,born\np,54,,M-1,1950-2-1\nq,0,2001-02-03,,1951-11-1\n");
  run_ok(
      one("\"events\":[{\"kind\":\"birth\",\"time\":{\"offset\":\"{age}\",\"unit\":\"years\",\"scale\":-1,\"precision\":\"year\"}},{"
          "\"kind\":\"death\",\"time\":\"{died}\"},"
          "{\"kind\":\"identifier\",\"identifier\":\"mrn\",\"text\":\"{mrn}\"}]"));
  assert_int_equal(got.kinds[RECORD_BIRTH], 2);
  assert_string_equal(kind_nth(RECORD_BIRTH, 0)->time, "1946-01-01T00:00:00");
  assert_int_equal(kind_nth(RECORD_BIRTH, 0)->precision, TIME_PRECISION_YEAR);
  assert_int_equal(got.kinds[RECORD_DEATH], 1); /* a time that is missing is a death that did not happen */
  assert_string_equal(kind_nth(RECORD_DEATH, 0)->time, "2001-02-03T00:00:00");
  assert_int_equal(got.kinds[RECORD_IDENTIFIER], 1);
  assert_string_equal(kind_nth(RECORD_IDENTIFIER, 0)->text, "M-1");
  assert_int_equal(kind_nth(RECORD_IDENTIFIER, 0)->identifier, IDENTIFIER_MRN);
}

TEST(conditions) {
  temp_text("t.csv", "id,k,v\np,a,1\np,b,20\np,c,\np,ab,x\n");
  run_ok(
      one("\"time\":null,\"events\":[{\"code\":\"IN\",\"when\":{\"k\":[\"a\",\"b\"]}},{\"code\":\"NOT\",\"when\":{\"k\":{\"not\":[\"a\","
          "\"b\"]}}},"
          "{\"code\":\"THERE\",\"when\":{\"v\":{\"present\":true}}},{\"code\":\"GONE\",\"when\":{\"v\":{\"present\":false}}},"
          "{\"code\":\"RANGE\",\"when\":{\"v\":{\"min\":2,\"max\":20}}},{\"code\":\"STARTS\",\"when\":{\"k\":{\"starts\":[\"a\"]}}},"
          "{\"code\":\"BOTH\",\"when\":{\"k\":\"a\",\"v\":\"1\"}},{\"code\":\"FIRST\",\"when\":{\":first\":\"1\"}}]"));
  struct {
    const char *code;
    size_t n;
  } want[] = {{"IN", 2}, {"NOT", 2}, {"THERE", 3}, {"GONE", 1}, {"RANGE", 1}, {"STARTS", 2}, {"BOTH", 1}, {"FIRST", 1}};
  for (int i = 0; i < 8; i++)
    if (count(want[i].code) != want[i].n) fail_msg("%s: %zu", want[i].code, count(want[i].code));
}

TEST(values_by_word_and_scale) {
  temp_text("t.csv", "id,v\np,Yes\np,No\np,3\np,maybe\np,1e400\np,-0.5\np,1e38\np,1e-60\n");
  run_ok(one("\"time\":null,\"events\":[{\"code\":\"V\",\"value\":\"{v}\",\"values\":{\"Yes\":1,\"No\":0},\"scale\":10}]"));
  double want[] = {10, 0, 30, -5, 1e-59};
  for (size_t i = 0; i < 5; i++) want_at("V", i, "static", want[i]);
  assert_int_equal(got.kinds[RECORD_EVENT], 5);
  assert_true(refused("t.v", 5) && refused("t.v", 6) && refused("t.v", 8)); /* 1e38 tenfold is no float */
}

TEST(values_that_cannot_be) {
  temp_text("t.csv", "id,a,b\np,7,1\np,8.01,2\np,6.5,3\np,8,4\np,6.49,5\np,,6\np,735,735\n");
  run_ok(
      "{\"name\":\"test\",\"plausible\":{\"A\":[6.5,8],\"C\":[0,0],\"W//b\":[2,6]},\"tables\":[{\"table\":\"t\",\"path\":\"t.csv\","
      "\"subject\":\"{id}\",\"time\":null,\"events\":[{\"code\":\"A\",\"value\":\"{a}\"},{\"code\":\"B\",\"value\":\"{a}\"},"
      "{\"code\":\"C\"},{\"code\":\"W//{:name}\",\"value\":\"{:cell}\",\"columns\":[\"a\",\"b\"]}]}]}");
  double kept[] = {7, 6.5, 8, NAN}; /* the limits themselves may be, and so may no value at all */
  for (size_t i = 0; i < 4; i++) want_at("A", i, "static", kept[i]);
  assert_int_equal(count("A"), 4);
  assert_int_equal(count("B"), 7); /* another code of the same column has no limits */
  assert_int_equal(count("C"), 7);
  assert_int_equal(count("W//a"), 6);
  assert_int_equal(count("W//b"), 5);
  assert_int_equal(got.rejects, 5);
  assert_true(refused("t.a", 3) && refused("t.a", 6) && refused("t.a", 8));
  assert_string_equal(got.reject[0].reason, "value outside the plausible range of its code");
}

TEST(of_a_number_only_its_band) {
  temp_text("t.csv", "id,v\np,399999\np,400000\np,-1\np,1999999999999999\n");
  run_ok(one("\"time\":null,\"events\":[{\"code\":\"V\",\"value\":\"{v}\",\"scale\":2.5e-6,\"floor\":true}]"));
  double want[] = {0, 1, -1, 4999999999};
  for (size_t i = 0; i < 4; i++) want_at("V", i, "static", want[i]);
}

TEST(numbers_are_those_of_strtod) {
  const char *numbers[] = {
      "0",  "-0", "0.1", "123456789012345", "1234567890123456", "0.000001", "15.100000381469727", "98.6", "-7.25", "1e5",
      "+3", "1.", ".5",  "9007199254740993"};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    double v;
    if (table_number(str_c(numbers[i]), &v) < 0) continue;
    assert_memory_equal(&v, &(double){strtod(numbers[i], NULL)}, sizeof v);
  }
  const char *bad[] = {"", "-", ".", "1,5", "1 2", "nan", "inf", "0x10", "--1", "1e", "1.2.3", "12a"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    double v;
    if (table_number(str_c(bad[i]), &v) >= 0) fail_msg("taken as a number: %s", bad[i]);
  }
}

TEST(joins_and_displays) {
  temp_text("dict.csv", "Item,Version,Label,Other\n1,9,\"One, the first\",x\n1,10,Ten,x\n");
  temp_text("t.csv", "id,item,ver\np,1,9\np,1,10\np,2,9\n");
  run_ok(
      "{\"name\":\"test\",\"dictionaries\":{\"d\":{\"path\":\"dict.csv\",\"key\":[\"item\",\"version\"],\"columns\":[\"label\"],"
      "\"vocabulary\":true},"
      "\"inline\":{\"vocabulary\":true,\"inline\":{\"9\":\"nine\"}}},"
      "\"tables\":[{\"table\":\"t\",\"path\":\"t.csv\",\"subject\":\"{id}\",\"time\":null,\"allow\":{\"item\":\"integer\"},"
      "\"join\":{\"j\":{\"dictionary\":\"d\",\"key\":\"{item}|{ver}\"},\"k\":{\"dictionary\":\"inline\",\"key\":\"{ver}\"}},"
      "\"events\":[{\"code\":[\"{j.label}//{item}\",\"NO//{item}\"],\"display\":\"{j.label} "
      "({k.label})\"},{\"code\":\"K\",\"display\":[\"{k.label}\",\"none\"]}]}]}");
  assert_int_equal(count("NO//1"), 1); /* a label with a space cannot stand in a code */
  assert_int_equal(count("Ten//1"), 1);
  assert_int_equal(count("NO//2"), 1);
  assert_string_equal(nth("NO//1", 0)->display, "One, the first (nine)");
  assert_string_equal(nth("K", 0)->display, "nine");
  assert_string_equal(nth("K", 1)->display, "none");
}

TEST(time_from_another_table_and_rank) {
  temp_text("enc.csv", "enc,person,out\n100,p,2020-01-10\n20,p,2020-01-05\n7,q,2020-02-01\n100,p,2021-01-01\n");
  temp_text("t.csv", "id,enc\np,100\np,20\nq,7\nq,9\n");
  run_ok(
      "{\"name\":\"test\",\"epoch\":\"2000-01-01\",\"dictionaries\":{\"e\":{\"path\":\"enc.csv\",\"key\":\"enc\",\"columns\":[\"out\"],"
      "\"rank_within\":\"person\"}},"
      "\"tables\":[{\"table\":\"t\",\"path\":\"t.csv\",\"subject\":\"{id}\",\"join\":{\"e\":{\"dictionary\":\"e\",\"key\":\"{enc}\"}},"
      "\"events\":[{\"code\":\"OUT\",\"time\":\"{e.out}\",\"require\":[\"time\"]},{\"code\":\"RANK\",\"time\":{\"offset\":\"{e.rank}\","
      "\"unit\":\"days\"},\"value\":\"{e.rank}\"}]}]}");
  want_at("OUT", 0, "2020-01-10T00:00:00", NAN);
  want_at("OUT", 1, "2020-01-05T00:00:00", NAN);
  want_at("RANK", 0, "2000-01-02T00:00:00", 1); /* 20 comes before 100: keys that are numbers are ordered as numbers */
  want_at("RANK", 1, "2000-01-01T00:00:00", 0);
  want_at("RANK", 2, "2000-01-01T00:00:00", 0);
  assert_int_equal(count("OUT"), 3);
  assert_int_equal(count("RANK"), 3);
  assert_int_equal(got.kinds[RECORD_DROPPED], 1); /* encounter 9 is nowhere: counted, where "require" does not say otherwise */
}

TEST(wide_tables) {
  temp_text("t.csv", "id,HR,SBP,drug,note to self\np,80,NA,Up,x\np,,120,No,\n");
  run_ok(
      one("\"time\":null,\"missing\":{\"drug\":[\"No\"]},\"allow\":{\"drug\":{\"categories\":[\"Up\"]}},"
          "\"events\":[{\"code\":\"W//{:name}\",\"value\":\"{:cell}\",\"columns\":[\"hr\",\"SBP\"]},{\"code\":\"D//{:name}//"
          "{:cell}\",\"columns\":[\"drug\"]}]"));
  want_at("W//hr", 0, "static", 80);
  want_at("W//SBP", 0, "static", 120);
  assert_int_equal(count("D//drug//Up"), 1);
  assert_int_equal(got.kinds[RECORD_EVENT], 3);
  run_ok(one("\"time\":null,\"events\":[{\"code\":\"W//{:name}\",\"value\":\"{:cell}\",\"columns\":\"*\",\"except\":[\"id\",\"drug\"]}]"));
  assert_int_equal(count("W//HR"), 1);
  assert_int_equal(count("W//SBP"), 1);
  assert_int_equal(got.kinds[RECORD_EVENT], 2); /* "note to self" has not the shape of a column's name */
}

TEST(subject_from_a_row_and_from_the_file_name) {
  temp_text("s/b7.txt", "k|v\nID|p7\nHR|5\n");
  temp_text("s/b8.txt", "k|v\nHR|6\n");
  run_ok(
      "{\"name\":\"test\",\"tables\":[{\"table\":\"t\",\"path\":\"?/"
      "*.txt\",\"separator\":\"|\",\"subject_row\":{\"when\":{\"k\":\"ID\"},\"value\":\"{v}\"},"
      "\"subject\":[\"{:row}\",\"{:stem}\"],\"time\":null,\"allow\":{\"k\":\"code\"},\"events\":[{\"code\":\"{k}\",\"value\":\"{v}\"}]}]}");
  assert_int_equal(got.kinds[RECORD_EVENT], 2);
  assert_string_equal(nth("HR", 0)->person, "p7");
  assert_string_equal(nth("HR", 1)->person, "b8"); /* the subject of the file before is gone */
  assert_int_equal(nth("HR", 1)->file, 1);
}

TEST(known_subjects_only) {
  temp_text("a.csv", "id\np\nq\n");
  temp_text("b.csv", "id\nq\nr\nq\n");
  run_ok(
      "{\"name\":\"test\",\"tables\":[{\"table\":\"a\",\"path\":\"a.csv\",\"subject\":\"{id}\",\"time\":null,\"events\":[{\"code\":\"A\"}]}"
      ","
      "{\"table\":\"b\",\"path\":\"b.csv\",\"subject\":\"{id}\",\"known_subjects\":true,\"time\":null,\"events\":[{\"code\":\"B\"}]}]}");
  assert_int_equal(count("B"), 2);
  assert_string_equal(nth("B", 0)->person, "q");
}

TEST(no_header_other_separator_gzip_and_case) {
  temp_text("Sub/T.CSV", "p;1\nq;2\n");
  shell("gzip %s", temp_path("Sub/T.CSV"));
  const char *json =
      "{\"name\":\"test\",\"tables\":[{\"table\":\"t\",\"path\":\"sub/"
      "t.csv\",\"separator\":\";\",\"header\":[\"id\",\"v\"],\"subject\":\"{id}\","
      "\"time\":null,\"events\":[{\"code\":\"V\",\"value\":\"{v}\"}]}]}";
  run_ok(json);
  want_at("V", 1, "static", 2);
  assert_int_equal(got.files, 1);
  /* both spellings there: the rows must not be read twice */
  temp_text("Sub/T.CSV", "p;1\nq;2\n");
  run_ok(json);
  assert_int_equal(got.files, 1);
  char star[512];
  snprintf(star, sizeof star, "%s", json);
  memcpy(strstr(star, "sub/t.csv"), "sub/*.csv", 9);
  run_ok(star);
  assert_int_equal(got.files, 1);
}

TEST(roots_single_files_and_absent_tables) {
  temp_text("deep/v2/a.csv", "id\np\n");
  temp_text("deep/v2/b.csv", "id\nq\n");
  const char *json =
      "{\"name\":\"test\",\"root\":[\".\",\"v2\",\"deep/"
      "v2\"],\"tables\":[{\"table\":\"a\",\"path\":\"a.csv\",\"subject\":\"{id}\",\"time\":null,\"events\":[{\"code\":\"A\"}]},"
      "{\"table\":\"b\",\"path\":[\"x/b.csv\",\"b.csv\"],\"subject\":\"{id}\",\"time\":null,\"events\":[{\"code\":\"B\"}]},"
      "{\"table\":\"c\",\"path\":\"c.csv\",\"optional\":true,\"subject\":\"{id}\",\"time\":null,\"events\":[{\"code\":\"C\"}]}]}";
  run_ok(json);
  assert_int_equal(got.n, 2);
  assert_int_equal(run_mapping(mapping_text(json), temp_path("deep")), OK);
  assert_int_equal(got.n, 2);
  assert_int_equal(run_mapping(mapping_text(json), temp_path("deep/v2/b.csv")), OK);
  assert_int_equal(got.n, 1);
  assert_string_equal(got.record[0].code, "B");
  assert_int_equal(unlink(temp_path("deep/v2/a.csv")), 0);
  assert_int_equal(run_text(json), E_NOTFOUND); /* table a is not optional */
  assert_int_equal(run_mapping(mapping_text(json), temp_path("nowhere")), E_NOTFOUND);
}

TEST(links_are_not_followed) {
  temp_text("t.csv", "id\np\n");
  temp_text("u/keep", "");
  assert_int_equal(symlink(temp_path("t.csv"), temp_path("u/t.csv")), 0);
  struct table_mapping *m = mapping_text(
      "{\"name\":\"test\",\"tables\":[{\"table\":\"t\",\"path\":\"t.csv\",\"subject\":\"{id}\",\"time\":null,\"events\":[{\"code\":\"A\"}]}"
      "]}");
  assert_int_equal(run_mapping(m, temp_path("u")), E_NOTFOUND);
}

#define PLAUSIBLE(ranges)                                                                \
  "{\"name\":\"x\",\"plausible\":" ranges                                                \
  ",\"tables\":[{\"table\":\"t\",\"path\":\"t.csv\",\"subject\":\"{id}\",\"time\":null," \
  "\"events\":[{\"code\":\"X\"}]}]}"
TEST(mappings_that_are_refused) {
  struct {
    const char *rest, *field;
  } bad[] = {
      {"\"time\":null,\"events\":[{\"code\":\"X//{free}\"}]", "free"}, /* no rule: deny by default */
      {"\"time\":null,\"events\":[{\"code\":\"X\",\"unit\":\"{free}\"}]", "free"},
      {"\"time\":null,\"events\":[{\"code\":\"X\",\"display\":\"{free}\"}]", "template"}, /* a cell is never a description */
      {"\"time\":null,\"events\":[{\"code\":\"X//{:stem}\"}]", "template"},               /* the subject in a code */
      {"\"time\":null,\"events\":[{\"code\":\"X//{:cell}\",\"columns\":[\"a\"]}]", "columns"},
      {"\"time\":null,\"events\":[{\"code\":\"X//{:cell}\",\"columns\":\"*\"}]", "columns"},
      {"\"time\":null,\"events\":[{\"cod\":\"X\"}]", "cod"},
      {"\"time\":null,\"events\":[{}]", "code"},
      {"\"time\":null,\"events\":[]", "events"},
      {"\"events\":[{\"code\":\"X\"}]", "time"},
      {"\"time\":{\"offset\":\"{a}\"},\"events\":[{\"code\":\"X\"}]", "unit"},
      {"\"time\":{\"offset\":\"{a}\",\"unit\":\"parsecs\"},\"events\":[{\"code\":\"X\"}]", "unit"},
      {"\"time\":\"{a\",\"events\":[{\"code\":\"X\"}]", "template"},
      {"\"time\":\"{a:shout}\",\"events\":[{\"code\":\"X\"}]", "template"},
      {"\"time\":\"{j.a}\",\"events\":[{\"code\":\"X\"}]", "template"},
      {"\"time\":null,\"allow\":{\"a\":\"anything\"},\"events\":[{\"code\":\"X\"}]", "allow"},
      {"\"time\":null,\"allow\":{\"a\":{\"categories\":\"none\"}},\"events\":[{\"code\":\"X\"}]", "none"},
      {"\"time\":null,\"allow\":{\"a\":{\"max_distinct\":0}},\"events\":[{\"code\":\"X\"}]", "max_distinct"},
      {"\"time\":null,\"separator\":\"\\\"\",\"events\":[{\"code\":\"X\"}]", "separator"},
      {"\"time\":null,\"join\":{\"j\":{\"dictionary\":\"d\",\"key\":\"{a}\"}},\"events\":[{\"code\":\"X\"}]", "join"},
      {"\"time\":null,\"header\":[\"id\"],\"events\":[{\"code\":\"X\",\"value\":\"{v}\"}]", "header"},
      {"\"time\":null,\"events\":[{\"kind\":\"identifier\",\"identifier\":\"soul\",\"text\":\"{a}\"}]", "identifier"},
      {"\"time\":null,\"events\":[{\"code\":\"X\",\"when\":{\"a\":{}}}]", "when"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct table_mapping *m = NULL;
    struct error e = {0};
    const char *json = one(bad[i].rest);
    if (table_mapping_parse(json, strlen(json), "test.json", &m, &e) != E_INPUT) fail_msg("taken: %s", bad[i].rest);
    assert_null(m);
    if (strcmp(e.field, bad[i].field) != 0) fail_msg("%s: field %s, not %s (%s)", bad[i].rest, e.field, bad[i].field, e.message);
  }
  const char *whole[] = {"",
                         "[]",
                         "{}",
                         "{\"name\":\"x\"}",
                         "{\"name\":\"Upper\",\"tables\":[]}",
                         "{\"name\":\"x\",\"tables\":[{}]}",
                         "{\"name\":\"x\",\"tables\":7}",
                         PLAUSIBLE("7"),
                         PLAUSIBLE("{\"X\":7}"),
                         PLAUSIBLE("{\"X\":[1]}"),
                         PLAUSIBLE("{\"X\":[1,2,3]}"),
                         PLAUSIBLE("{\"X\":[2,1]}"),
                         PLAUSIBLE("{\"X\":[\"1\",2]}"),
                         PLAUSIBLE("{\"X\":[0,1],\"X\":[0,1]}")};
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    struct table_mapping *m;
    assert_true(table_mapping_parse(whole[i], strlen(whole[i]), "test.json", &m, NULL) < 0);
  }
}

TEST(a_dictionary_of_persons_may_not_stand_in_a_code) {
  const char *json =
      "{\"name\":\"test\",\"dictionaries\":{\"d\":{\"path\":\"d.csv\",\"key\":\"k\",\"columns\":[\"name\"]}},\"tables\":[{\"table\":\"t\","
      "\"path\":\"t.csv\","
      "\"subject\":\"{id}\",\"time\":null,\"join\":{\"j\":{\"dictionary\":\"d\",\"key\":\"{id}\"}},\"events\":[{\"code\":\"X//"
      "{j.name}\"}]}]}";
  struct table_mapping *m;
  struct error e = {0};
  assert_int_equal(table_mapping_parse(json, strlen(json), "test.json", &m, &e), E_INPUT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, temp_make, temp_remove)
int main(void) {
  const struct CMUnitTest tests[] = {T(events_with_values_units_and_texts),
                                     T(a_code_part_that_its_rule_refuses_is_other),
                                     T(shapes_and_categories),
                                     T(max_distinct_is_all_or_nothing),
                                     T(a_word_of_few_persons_does_not_pass),
                                     T(alternatives_of_a_code),
                                     T(times_offsets_and_formats),
                                     T(oracle_style_dates),
                                     T(birth_death_and_identifiers),
                                     T(conditions),
                                     T(values_by_word_and_scale),
                                     T(values_that_cannot_be),
                                     T(of_a_number_only_its_band),
                                     T(numbers_are_those_of_strtod),
                                     T(joins_and_displays),
                                     T(time_from_another_table_and_rank),
                                     T(wide_tables),
                                     T(subject_from_a_row_and_from_the_file_name),
                                     T(known_subjects_only),
                                     T(no_header_other_separator_gzip_and_case),
                                     T(roots_single_files_and_absent_tables),
                                     T(links_are_not_followed),
                                     T(mappings_that_are_refused),
                                     T(a_dictionary_of_persons_may_not_stand_in_a_code)};
  return cmocka_run_group_tests_name("table_language", tests, NULL, NULL);
}
