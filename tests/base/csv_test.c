#include "gz.h"

#include "base/csv.h"
#include "base/random.h"

/* Rows as text: fields in <>, rows ended by '\n'; a bad row as "E<code>@row". */
static void rows(const char *path, char separator, size_t fields, size_t longest, struct buf *out) {
  struct csv c;
  struct csv_row row;
  struct error e = {0};
  assert_int_equal(csv_open(&c, path, separator, &e), OK);
  if (fields) c.field_limit = fields;
  if (longest) c.stream.line_limit = longest;
  int rc;
  while ((rc = csv_row(&c, &row, &e)) != E_END) {
    if (rc < 0) {
      assert_int_equal(e.row, c.row);
      buf_printf(out, "E%d@%llu\n", -rc, (unsigned long long)c.row);
      if (rc != E_INPUT && rc != E_LIMIT) break;
      continue;
    }
    for (size_t i = 0; i < row.n; i++) {
      buf_putc(out, '<');
      buf_str(out, row.field[i]);
      buf_putc(out, '>');
    }
    buf_putc(out, '\n');
  }
  csv_close(&c);
}

static void check(const char *bytes, size_t n, char separator, size_t fields, size_t longest, const char *want) {
  struct buf got = {0};
  rows(temp_file("t.csv", bytes, n), separator, fields, longest, &got);
  assert_string_equal(buf_cstr(&got), want);
  buf_release(&got);
}
#define CHECK(literal, want) check(literal, sizeof(literal) - 1, ',', 0, 0, want)

TEST(plain_rows) {
  CHECK("", "");
  CHECK("a,b,c\n1,2,3\n", "<a><b><c>\n<1><2><3>\n");
  CHECK("a,b\n1,2", "<a><b>\n<1><2>\n");
  CHECK("a,b\r\n1,2\r\n", "<a><b>\n<1><2>\n");
  CHECK("a,b\r\n1,2\r", "<a><b>\n<1><2>\n");
  CHECK(",,\n", "<><><>\n");
  CHECK("a,\n,b", "<a><>\n<><b>\n");
  CHECK("a\n\n\r\nb\n\n", "<a>\n<b>\n");
  CHECK("\n\n", "");
  CHECK("a, b ,c\n", "<a>< b ><c>\n");
  CHECK(
      "\xEF\xBB\xBF"
      "a,b\n",
      "<a><b>\n");
  CHECK("\xEF\xBB\xBF\"a\",b\n", "<a><b>\n");
  CHECK("\xEF\xBB", "<\xEF\xBB>\n");
  check("a;b\tc\n", 6, ';', 0, 0, "<a><b\tc>\n");
  check("a\t\"b\t\"\n", 7, '\t', 0, 0, "<a><b\t>\n");
}

TEST(quotes) {
  CHECK("\"a\",\"b,c\"\n", "<a><b,c>\n");
  CHECK("\"he said \"\"no\"\"\",x\n", "<he said \"no\"><x>\n");
  CHECK("\"\"\n", "<>\n");
  CHECK("\"\"\"\"\n", "<\">\n");
  CHECK("\"\",\"\"\r\n", "<><>\n");
  CHECK("\"a\"", "<a>\n");
  CHECK("\"a\",", "<a><>\n");
  CHECK("\"a\"  ,b\n", "<a><b>\n");
  CHECK("5\" tube,2'\n", "<5\" tube><2'>\n"); /* inside an unquoted field: an ordinary character */
  CHECK("x,5\"\"6,\"q\"\n", "<x><5\"\"6><q>\n");
  CHECK("x, \"q\"\n", "<x>< \"q\">\n");
}

TEST(rows_over_several_lines) {
  CHECK("id,note\n1,\"two\nlines\"\n2,x\n", "<id><note>\n<1><two\nlines>\n<2><x>\n");
  CHECK("1,\"a\r\nb\r\n\"\r\n2,y\r\n", "<1><a\r\nb\r\n>\n<2><y>\n");
  CHECK("\"\n\"\n\"\n\"", "<\n>\n<\n>\n");
  CHECK("1,\"a\n\nb\"\nbad,\"x\"y\nok\n", "<1><a\n\nb>\nE3@4\n<ok>\n"); /* physical line numbers */
}

TEST(bad_rows_cost_one_line) {
  CHECK("a,b\n1,\"open\n2,x\n3,\"y\"\n4,z\n", "<a><b>\nE3@2\n<2><x>\n<3><y>\n<4><z>\n");
  CHECK("1,\"open\n2,x\n", "E3@1\n<2><x>\n");
  CHECK("1,\"open", "E3@1\n");
  CHECK("\"", "E3@1\n");
  CHECK("\"a\"b,c\nd\n", "E3@1\n<d>\n");
  CHECK("\"a\"\rb\nd\n", "E3@1\n<d>\n");
  CHECK("\"a\"\"\nb\n", "E3@1\n<b>\n");
  CHECK("\"un \"quoted\" inner\"\nd\n", "E3@1\n<d>\n");
  check("1,2,3\n1,2,3,4\n1\n", 16, ',', 3, 0, "<1><2><3>\nE6@2\n<1>\n");
  check("1,\"2\",3\n1,\"2\",3,4\n1\n", 20, ',', 3, 0, "<1><2><3>\nE6@2\n<1>\n");
  check("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nb\n", 95, ',', 0, 20, "E6@1\n<b>\n");
  check("\"aaaaaaaaaaaaaaaaaaaaa\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\nb\n", 100, ',', 0, 20,
        "E6@1\nE6@2\n<b>\n");
  CHECK(
      "\xFF\xFE"
      "a\0,\0",
      "E3@1\n");
}

TEST(nul_bytes_are_data) {
  struct csv c;
  struct csv_row row;
  assert_int_equal(csv_open(&c, temp_file("nul", "a\0b,\0\n\"\0\",x\n", 12), ',', NULL), OK);
  assert_int_equal(csv_row(&c, &row, NULL), OK);
  assert_int_equal(row.n, 2);
  assert_int_equal(row.field[0].n, 3);
  assert_int_equal(row.field[1].n, 1);
  assert_int_equal(csv_row(&c, &row, NULL), OK);
  assert_int_equal(row.field[0].n, 1);
  assert_int_equal(csv_row(&c, &row, NULL), E_END);
  assert_int_equal(csv_row(&c, &row, NULL), E_END);
  csv_close(&c);
}

TEST(columns) {
  struct csv c;
  struct csv_row row;
  assert_int_equal(csv_open(&c, temp_file("h", "\"Subject_ID\", hadm_id ,value\n", 29), ',', NULL), OK);
  assert_int_equal(csv_row(&c, &row, NULL), OK);
  assert_int_equal(csv_column(&row, "subject_id"), 0);
  assert_int_equal(csv_column(&row, "HADM_ID"), 1);
  assert_int_equal(csv_column(&row, "unit"), -1);
  csv_close(&c);
  struct error e = {0};
  assert_int_equal(csv_open(&c, temp("absent.csv"), ',', &e), E_NOTFOUND);
  csv_close(&c);
}

/* A random table written by the rules and read back: fields of every sort, rows over the window's edge, plain and zipped. */
TEST(random_tables_come_back) {
  static const char ALPHABET[] = "ab,\"\n\r ;\xC3\xA9\0z";
  struct rng r;
  rng_init(&r, 11, 0);
  for (int round = 0; round < 6; round++) {
    struct buf text = {0}, want = {0}, got = {0}, raw = {0};
    uint32_t count = round == 5 ? 3000 : 400, columns = 2 + rng_below(&r, 90);
    for (uint32_t i = 0; i < count; i++) {
      for (uint32_t k = 0; k < columns; k++) {
        char field[3000];
        uint32_t n = rng_below(&r, rng_below(&r, 60) ? 12 : 3000);
        for (uint32_t j = 0; j < n; j++) field[j] = ALPHABET[rng_below(&r, sizeof ALPHABET - 1)];
        struct str f = {field, n};
        buf_putc(&want, '<');
        buf_str(&want, f);
        buf_putc(&want, '>');
        if (k) buf_putc(&text, ',');
        bool plain = !memchr(field, ',', n) && !memchr(field, '\n', n) && !memchr(field, '\r', n) && !(n && field[0] == '"');
        if (!plain) buf_putc(&text, '"');
        for (uint32_t j = 0; j < n; j++) {
          buf_putc(&text, field[j]);
          if (!plain && field[j] == '"') buf_putc(&text, '"');
        }
        if (!plain) buf_putc(&text, '"');
      }
      buf_puts(&text, round % 2 ? "\r\n" : "\n");
      buf_putc(&want, '\n');
    }
    rows(temp_file("random.csv", text.p, text.n), ',', 0, 0, &got);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    buf_clear(&got);
    gz_member(&raw, text.p, text.n);
    rows(temp_file("random.csv.gz", raw.p, raw.n), ',', 0, 0, &got);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    buf_release(&text);
    buf_release(&want);
    buf_release(&got);
    buf_release(&raw);
  }
}

TEST(a_truncated_archive_ends_in_an_error) {
  struct buf text = {0}, raw = {0}, got = {0};
  for (int i = 0; i < 5000; i++) buf_printf(&text, "%d,%d,\"n\n%d\"\n", i, i * i, i);
  gz_member(&raw, text.p, text.n);
  rows(temp_file("cut.csv.gz", raw.p, raw.n - 1000), ',', 0, 0, &got);
  char end[32];
  snprintf(end, sizeof end, "E%d@", -E_CORRUPT);
  assert_non_null(strstr(buf_cstr(&got), end));
  assert_int_equal(strncmp(got.p, "<0><0><n\n0>\n<1>", 15), 0);
  buf_release(&text);
  buf_release(&raw);
  buf_release(&got);
}

TEST(survives_every_failing_allocation) {
  struct buf text = {0};
  for (int i = 0; i < 300; i++) buf_puts(&text, i % 2 ? "\"q\"," : "x,");
  temp_file("wide.csv", text.p, text.n);
  for (long n = 1;; n++) {
    struct csv c;
    struct csv_row row;
    arena_fail_at(n);
    int rc = csv_open(&c, temp("wide.csv"), ',', NULL);
    if (rc == OK) rc = csv_row(&c, &row, NULL);
    bool hit = !arena_fail_pending();
    arena_fail_at(0);
    assert_int_equal(rc, hit ? E_NOMEM : OK);
    if (!hit) assert_int_equal(row.n, 301);
    csv_close(&c);
    if (!hit) break;
  }
  buf_release(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_rows),
      cmocka_unit_test(quotes),
      cmocka_unit_test(rows_over_several_lines),
      cmocka_unit_test(bad_rows_cost_one_line),
      cmocka_unit_test(nul_bytes_are_data),
      cmocka_unit_test(columns),
      cmocka_unit_test(random_tables_come_back),
      cmocka_unit_test(a_truncated_archive_ends_in_an_error),
      cmocka_unit_test(survives_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
