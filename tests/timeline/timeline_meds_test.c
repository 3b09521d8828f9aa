/* MEDS export: what goes out as Parquet comes back through the MEDS reader, event by event. */
#include "base/duckdb.h"
#include "record/record.h"
#include "store_help.h"

enum { SUBJECTS = 150 };

struct back {
  const struct timeline *t;
  uint64_t events, births, wrong, displays, per_split[SPLITS];
  enum split split;
  struct error error;
};

/* Each record must be an event of the store's subject, in the split that its file stands for. */
static int check(void *ctx, const struct record *r, struct error *e) {
  struct back *b = ctx;
  int64_t subject;
  uint32_t index;
  TRY(str_to_i64(r->person, &subject));
  TRY(timeline_find(b->t, subject, &index, e));
  struct timeline_view v = timeline_view(b->t, index);
  bool found = false, birth = r->kind == RECORD_BIRTH;
  for (uint32_t k = 0; k < v.n && !found; k++) {
    struct str name = timeline_code_name(b->t, v.code[k]), text = timeline_text(b->t, index, k);
    struct str unit = v.unit[k] == UNIT_NONE ? STR_NONE : timeline_unit_name(b->t, v.unit[k]);
    bool value = (isnan(r->value) && isnan(v.value[k])) || (float)r->value == v.value[k];
    found = value && v.time[k] == r->time.us && str_eq(name, birth ? STR("MEDS_BIRTH") : r->code) && str_eq(text, r->text) &&
            str_eq(unit, r->unit);
  }
  b->events++;
  b->births += birth;
  b->wrong += !found;
  b->displays += r->display.p != NULL;
  b->per_split[v.split]++;
  b->wrong += v.split != b->split;
  return OK;
}
static void next_file(void *ctx, uint32_t index, const char *path) {
  struct back *b = ctx;
  (void)index;
  b->split = strstr(path, "/train/") ? SPLIT_TRAIN : strstr(path, "/tuning/") ? SPLIT_TUNING : SPLIT_HELD_OUT;
}

static uint64_t make_store(const char *dir) {
  static struct event v[SUBJECTS * 40];
  static char code[SUBJECTS * 40][32];
  size_t n = 0;
  struct rng r;
  rng_init(&r, 7, 0);
  for (int s = 1; s <= SUBJECTS; s++) {
    v[n++] = event_of(s, TIME_STATIC, "GENDER//F", NAN);
    v[n++] = event_of(s, (int64_t)s * TIME_DAY, "MEDS_BIRTH", NAN);
    for (uint32_t k = rng_below(&r, 37); k > 0; k--, n++) {
      snprintf(code[n], sizeof code[n], "LAB//%u, it's", rng_below(&r, 50));
      v[n] = event_of(s, (int64_t)(20000 + k) * TIME_DAY + (int64_t)n, code[n], k % 3 ? (float)rng_normal(&r) : NAN);
      if (k % 4 == 0) v[n].unit = STR("mmol/L, \"quoted\"");
      if (k % 5 == 0) v[n].text = STR("a text that is longer than twelve bytes, with \xC3\xA9");
      if (k % 2 == 0) v[n].display = STR("A description");
    }
  }
  struct timeline_options o = {.split = SPLIT_AUTO, .split_seed = 3, .policy_name = STR("test"), .policy_hash = STR("0")};
  OKAY(write_events(dir, &o, v, n, e));
  return n;
}

static void need_duckdb(void) {
  if (duck_available(NULL) == OK) return;
  if (getenv("CI")) fail_msg("DuckDB is not there");
  skip();
}

static void export_and_read_back(void **state UNUSED) {
  char dir[64], out[128];
  need_duckdb();
  temp_dir(dir);
  snprintf(out, sizeof out, "%s/it's meds", dir);
  char store[128];
  snprintf(store, sizeof store, "%s/store", dir);
  uint64_t n = make_store(store);
  struct timeline *t;
  OKAY(timeline_open(store, &t, e));
  assert_int_equal(timeline_events(t), n);
  OKAY(timeline_export_meds(t, out, e));
  struct back b = {.t = t};
  struct record_sink sink = {.ctx = &b, .record = check, .file = next_file};
  struct record_stats stats = {0};
  OKAY(meds_read(out, &sink, &stats, e));
  assert_int_equal(b.events, n);
  assert_int_equal(b.births, SUBJECTS);
  assert_int_equal(b.wrong, 0);
  assert_int_equal(stats.rejected, 0);
  assert_int_equal(stats.dropped, 0); /* every column that is written is read again */
  assert_true(b.displays > 0 && b.per_split[SPLIT_TRAIN] && b.per_split[SPLIT_TUNING] && b.per_split[SPLIT_HELD_OUT]);

  struct duck *d;
  struct duck_rows rows;
  char path[256];
  OKAY(duck_open(out, &d, e));
  snprintf(path, sizeof path, "%s/metadata/subject_splits.parquet", out);
  struct str file = str_c(path);
  OKAY(duck_select(d, "SELECT CAST(count(DISTINCT subject_id) AS BIGINT), CAST(count(DISTINCT split) AS BIGINT) FROM read_parquet(?)",
                   &file, 1, &rows, e));
  OKAY(duck_next(&rows, e));
  assert_int_equal(duck_i64(&rows, 0)[0], SUBJECTS);
  assert_int_equal(duck_i64(&rows, 1)[0], 3);
  duck_rows_close(&rows);
  /* the types that MEDS asks for */
  snprintf(path, sizeof path, "%s/data/train/0.parquet", out);
  file = str_c(path);
  OKAY(duck_select(
      d, "SELECT string_agg(name || ':' || type || ':' || coalesce(converted_type, ''), ' ') FROM parquet_schema(?) WHERE type IS NOT NULL",
      &file, 1, &rows, e));
  OKAY(duck_next(&rows, e));
  struct str schema = duck_str(&rows, 0, 0);
  const char *want =
      "subject_id:INT64:INT_64 time:INT64:TIMESTAMP_MICROS code:BYTE_ARRAY:UTF8 numeric_value:FLOAT: text_value:BYTE_ARRAY:UTF8 "
      "unit:BYTE_ARRAY:UTF8";
  if (!str_eqc(schema, want)) fail_msg("schema: %.*s", STR_ARG(schema));
  duck_rows_close(&rows);
  /* a subject's events lie together (as often a new subject as there are subjects), its times in order, statics first */
  OKAY(duck_select(d,
                   "SELECT CAST(count(*) FILTER (ls IS NULL OR ls <> s) - count(DISTINCT s) AS BIGINT), "
                   "CAST(count(*) FILTER (ls = s AND (lt > t OR (t IS NULL AND lt IS NOT NULL))) AS BIGINT) FROM "
                   "(SELECT subject_id AS s, lag(subject_id) OVER () AS ls, time AS t, lag(time) OVER () AS lt FROM read_parquet(?))",
                   &file, 1, &rows, e));
  OKAY(duck_next(&rows, e));
  assert_int_equal(duck_i64(&rows, 0)[0], 0);
  assert_int_equal(duck_i64(&rows, 1)[0], 0);
  duck_rows_close(&rows);
  duck_close(d);

  struct error why = {0};
  assert_int_equal(timeline_export_meds(t, out, &why), E_USAGE); /* nothing is overwritten */
  snprintf(path, sizeof path, "%s/metadata/dataset.json", out);
  struct arena a;
  struct json root;
  arena_init(&a, 0, 0);
  OKAY(json_load(&a, path, &root, e));
  assert_true(str_eqc(json_str(json_get(root, "meds_version")), "0.4.0"));
  assert_true(str_eqc(json_str(json_get(root, "dataset_version")), timeline_hash(t)));
  arena_free(&a);
  timeline_close(t);
  temp_remove(dir);
}

static void an_empty_place_to_write(void **state UNUSED) {
  char dir[64], store[128];
  need_duckdb();
  temp_dir(dir);
  snprintf(store, sizeof store, "%s/store", dir);
  make_store(store);
  struct timeline *t;
  struct error why = {0};
  OKAY(timeline_open(store, &t, e));
  assert_true(timeline_export_meds(t, "/proc/nothing/here", &why) < 0);
  timeline_close(t);
  temp_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(export_and_read_back), cmocka_unit_test(an_empty_place_to_write)};
  return cmocka_run_group_tests_name("timeline_meds", tests, NULL, NULL);
}
