/* The readers on real exports: counted again by other programs (wc, a slow reader below). Data: $DATA, default ../shared/data. */
#include "helpers.h"

#include "base/csv.h"
#include "base/json.h"

/* Unpacks DATA/set/archive into the temporary directory; skips where the data sets are absent (never under CI). */
static void unpack(const char *archive) {
  const char *data = getenv("DATA");
  char path[512], command[1200];
  snprintf(path, sizeof path, "%s/%s", data ? data : "../shared/data", archive);
  if (!file_exists(path)) {
    if (getenv("CI")) fail_msg("no data set %s", archive);
    skip();
  }
  snprintf(command, sizeof command, "tar xJf '%s' -C '%s'", path, temp_dir);
  if (system(command) != 0) fail_msg("tar");
}

static long counted(const char *command_format) {
  char command[600];
  snprintf(command, sizeof command, command_format, temp_dir);
  FILE *f = popen(command, "r");
  long n = -1;
  if (!f || fscanf(f, "%ld", &n) != 1) fail_msg("count");
  pclose(f);
  return n;
}

TEST(fhir_bulk_export) {
  unpack("fhir-bulk-ndjson-10p/bulk_10_patients.tar.xz");
  struct arena a;
  arena_init(&a, 0, 0);
  struct str *files;
  size_t n;
  long lines = 0, patients = 0;
  struct json_parser *jp;
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  assert_int_equal(file_list(&a, temp_dir, &files, &n, NULL), OK);
  for (size_t i = 0; i < n; i++) {
    if (!str_ends(files[i], STR(".ndjson"))) continue;
    struct stream s;
    struct str line;
    struct json root;
    struct error e = {0};
    int rc;
    assert_int_equal(stream_open(&s, files[i].p, NULL), OK);
    while ((rc = stream_line(&s, &line, &e)) == OK) {
      if (line.n == 0) continue;
      lines++;
      assert_int_equal(json_parse(jp, line.p, line.n, line.n + STREAM_PAD, &root, &e), OK);
      patients += str_eqc(json_str(json_get(root, "resourceType")), "Patient");
    }
    assert_int_equal(rc, E_END);
    stream_close(&s);
  }
  assert_int_equal(lines, counted("find '%s' -name '*.ndjson' -exec cat {} + | grep -c ."));
  assert_int_equal(patients, counted("find '%s' -name 'Patient*.ndjson' -exec cat {} + | grep -c ."));
  assert_true(patients >= 10);
  json_parser_free(jp);
  arena_free(&a);
  assert_int_equal(file_remove_tree(temp_dir, NULL), OK);
  assert_int_equal(file_mkdirs(temp_dir, 0700, NULL), OK);
}

/* One character at a time, as the grammar of RFC 4180 reads; fields ended with 1, rows with 2. */
static void slow_csv(struct str s, struct buf *out) {
  bool quoted = false, any = false;
  if (str_starts(s, STR("\xEF\xBB\xBF"))) s.p += 3, s.n -= 3;
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i];
    if (quoted) {
      if (c != '"')
        buf_putc(out, c);
      else if (i + 1 < s.n && s.p[i + 1] == '"')
        buf_putc(out, s.p[i++]);
      else
        quoted = false;
    } else if (c == '"' && (i == 0 || s.p[i - 1] == ',' || s.p[i - 1] == '\n')) {
      quoted = any = true;
    } else if (c == ',') {
      buf_putc(out, 1);
      any = true;
    } else if (c == '\n') {
      if (any) buf_puts(out, "\x01\x02");
      any = false;
    } else if (c != '\r') {
      buf_putc(out, c);
      any = true;
    }
  }
  if (any) buf_puts(out, "\x01\x02");
}

TEST(omop_export) {
  unpack("mimic-iv-demo-omop/omop_csv.tar.xz");
  struct arena a;
  arena_init(&a, 0, 0);
  struct str *files, whole;
  size_t n, tables = 0;
  assert_int_equal(file_list(&a, temp_dir, &files, &n, NULL), OK);
  for (size_t i = 0; i < n; i++) {
    if (!str_ends(files[i], STR(".csv"))) continue;
    struct csv c;
    struct csv_row row;
    struct buf fast = {0}, slow = {0};
    struct error e = {0};
    int rc;
    assert_int_equal(csv_open(&c, files[i].p, ',', NULL), OK);
    while ((rc = csv_row(&c, &row, &e)) == OK) {
      for (size_t k = 0; k < row.n; k++) {
        buf_str(&fast, row.field[k]);
        buf_putc(&fast, 1);
      }
      buf_putc(&fast, 2);
    }
    assert_int_equal(rc, E_END);
    csv_close(&c);
    struct arena_mark m = arena_mark(&a);
    assert_int_equal(file_read(&a, files[i].p, 1 << 30, &whole, NULL), OK);
    slow_csv(whole, &slow);
    assert_int_equal(fast.n, slow.n);
    assert_memory_equal(fast.p, slow.p, slow.n);
    arena_rewind(&a, m);
    buf_release(&fast);
    buf_release(&slow);
    tables++;
  }
  assert_true(tables >= 20);
  arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fhir_bulk_export), cmocka_unit_test(omop_export)};
  return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
