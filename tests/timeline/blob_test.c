/* Blobs beside the store: put, find again through an event, orphans, damage, erasure; and stores from before there were any. */
#include "store_help.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/log.h"

static struct event with_blob(int64_t subject, int64_t time, const char *hex) {
  struct event ev = event_of(subject, time, "GENOME//VCF", NAN);
  ev.blob = str_c(hex);
  return ev;
}

static bool there(const char *dir, const char *hex) {
  char path[4096];
  OKAY(blob_path(dir, str_c(hex), path, e));
  return file_exists(path);
}

struct lines {
  int n, notes;
};
static void count_line(void *ctx, const char *what) {
  struct lines *l = ctx;
  l->n++;
  l->notes += strncmp(what, "note: ", 6) == 0;
}

static void put_is_idempotent_and_named_by_its_hash(void **state) {
  (void)state;
  char dir[64], first[BLOBS][65], again[BLOBS][65], path[4096];
  uint8_t digest[32];
  int fd;
  temp_dir(dir);
  put_blobs(dir, first);
  put_blobs(dir, again);
  assert_memory_equal(first, again, sizeof first);
  sha256_of("the 2. blob of a test", 21, digest);
  hash_hex(digest, 32, path);
  assert_string_equal(path, first[2]);
  OKAY(blob_check(dir, str_c(first[2]), e));
  OKAY(blob_open(dir, str_c(first[2]), &fd, e));
  char text[64];
  assert_int_equal(read(fd, text, sizeof text), 21);
  close(fd);
  OKAY(blob_path(dir, str_c(first[2]), path, e));
  fd = open(path, O_WRONLY | O_TRUNC);
  assert_int_equal(write(fd, "other bytes", 11), 11);
  close(fd);
  assert_int_equal(blob_check(dir, str_c(first[2]), NULL), E_CORRUPT);
  put_blobs(dir, again); /* the same bytes put again mend it */
  OKAY(blob_check(dir, str_c(first[2]), e));
  OKAY(blob_remove(dir, str_c(first[2]), e));
  assert_int_equal(blob_check(dir, str_c(first[2]), NULL), E_NOTFOUND);
  assert_int_equal(blob_open(dir, str_c(first[2]), &fd, NULL), E_NOTFOUND);
  assert_int_equal(blob_remove(dir, str_c(first[2]), NULL), E_NOTFOUND);
  static const char *const bad[] = {"", "ab", "../../../../etc/passwd", "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"};
  for (int i = 0; i < 4; i++) assert_int_equal(blob_path(dir, str_c(bad[i]), path, NULL), E_INPUT);
  temp_remove(dir);
}

static void events_lead_to_blobs(void **state) {
  (void)state;
  char dir[64], blob[BLOBS][65], hex[65], path[4096];
  temp_dir(dir);
  put_blobs(dir, blob);
  struct event v[] = {with_blob(1, TIME_STATIC, blob[0]), with_blob(1, TIME_DAY, blob[1]), with_blob(2, TIME_DAY, blob[0]),
                      event_of(1, TIME_DAY, "A", 1), with_blob(1, TIME_DAY, blob[1]) /* a duplicate */};
  v[1].text = v[4].text = STR("with a text as well");
  OKAY(write_events(dir, NULL, v, 5, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  struct event more = event_of(1, 2 * TIME_DAY, "B", 2); /* subject 1 is merged, subject 2 copied */
  OKAY(write_events(dir, NULL, &more, 1, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  struct timeline *t;
  uint32_t i;
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_blobs(t), 3);
  OKAY(timeline_find(t, 1, &i, e));
  assert_int_equal(timeline_view(t, i).n, 4);
  assert_true(timeline_blob(t, i, 0, hex));
  assert_string_equal(hex, blob[0]);
  assert_false(timeline_blob(t, i, 1, hex));
  assert_true(timeline_blob(t, i, 2, hex));
  assert_string_equal(hex, blob[1]);
  assert_true(str_eqc(timeline_text(t, i, 2), "with a text as well"));
  assert_false(timeline_blob(t, i, 4, hex));
  assert_false(timeline_blob(t, 9, 0, hex));
  OKAY(timeline_blob_path(t, blob[1], path, e));
  assert_true(file_exists(path));
  struct buf b = {0};
  timeline_print(t, i, 80, false, 0, &b);
  assert_non_null(strstr(buf_cstr(&b), "[blob "));
  buf_clear(&b);
  struct json_out o;
  json_out_init(&o, &b, false);
  timeline_json(t, i, 0, &o);
  assert_non_null(strstr(buf_cstr(&b), blob[1]));
  buf_release(&b);
  timeline_close(t);
  struct event bad = event_of(1, 1, "A", 1);
  bad.blob = STR("not a digest");
  assert_int_equal(write_events(dir, NULL, &bad, 1, NULL), E_INPUT);
  temp_remove(dir);
}

static void orphans_are_noted_and_go(void **state) {
  (void)state;
  char dir[64], blob[BLOBS][65];
  struct lines l = {0};
  temp_dir(dir);
  put_blobs(dir, blob);
  struct event one = with_blob(1, 1, blob[0]), none = event_of(2, 1, "A", 1);
  OKAY(write_events(dir, NULL, &one, 1, e));
  assert_true(there(dir, blob[0]));
  assert_false(there(dir, blob[1])); /* nobody named it: gone after the commit */
  put_blobs(dir, blob);              /* a writer that was killed here leaves them */
  OKAY(timeline_verify(dir, count_line, &l, e));
  assert_int_equal(l.n, BLOBS - 1);
  assert_int_equal(l.notes, BLOBS - 1);
  OKAY(write_events(dir, NULL, &none, 1, e));
  assert_true(there(dir, blob[0]));
  for (int i = 1; i < BLOBS; i++) assert_false(there(dir, blob[i]));
  temp_remove(dir);
}

static void missing_and_damaged_blobs_are_found(void **state) {
  (void)state;
  char dir[64], blob[BLOBS][65], path[4096];
  temp_dir(dir);
  put_blobs(dir, blob);
  struct event one = with_blob(1, 1, blob[0]);
  OKAY(write_events(dir, NULL, &one, 1, e));
  OKAY(blob_path(dir, str_c(blob[0]), path, e));
  int fd = open(path, O_WRONLY);
  assert_int_equal(pwrite(fd, "X", 1, 3), 1);
  close(fd);
  assert_int_equal(timeline_verify(dir, ignore_finding, NULL, NULL), E_CORRUPT);
  unlink(path);
  assert_int_equal(timeline_verify(dir, ignore_finding, NULL, NULL), E_CORRUPT);
  put_blobs(dir, blob);
  OKAY(timeline_verify(dir, ignore_finding, NULL, e));
  snprintf(path, sizeof path, "%s/blobs/stranger", dir);
  OKAY(file_write_atomic(path, "?", 1, 0600, e));
  assert_int_equal(timeline_verify(dir, ignore_finding, NULL, NULL), E_CORRUPT);
  temp_remove(dir);
}

static void forgetting_removes_what_only_one_person_has(void **state) {
  (void)state;
  char dir[64], blob[BLOBS][65];
  uint64_t removed, shared;
  temp_dir(dir);
  put_blobs(dir, blob);
  struct event v[] = {with_blob(1, 1, blob[0]), with_blob(1, 2, blob[1]), with_blob(2, 1, blob[1]), with_blob(3, 1, blob[2])};
  OKAY(write_events(dir, NULL, v, 4, e));
  OKAY(blob_forget(dir, 1, &removed, &shared, e));
  assert_int_equal(removed, 1);
  assert_int_equal(shared, 1);
  assert_false(there(dir, blob[0]));
  assert_true(there(dir, blob[1]) && there(dir, blob[2]));
  OKAY(blob_forget(dir, 1, &removed, &shared, e)); /* twice is once */
  assert_int_equal(removed, 0);
  struct timeline_writer *w;
  OKAY(timeline_writer_open(dir, NULL, &w, e));
  assert_int_equal(blob_forget(dir, 2, &removed, &shared, NULL), E_BUSY);
  timeline_writer_abort(w);
  temp_remove(dir);
}

/* Nothing may be removed while a generation cannot be read: it may name what looks like an orphan. */
static void damage_stops_pruning(void **state) {
  (void)state;
  char dir[64], blob[BLOBS][65], path[128];
  uint64_t removed;
  temp_dir(dir);
  put_blobs(dir, blob);
  struct event one = with_blob(1, 1, blob[0]);
  OKAY(write_events(dir, NULL, &one, 1, e));
  snprintf(path, sizeof path, "%s/gen-000001/shard-000", dir);
  assert_int_equal(truncate(path, 100), 0);
  assert_true(blob_prune(dir, &removed, NULL) < 0);
  assert_true(there(dir, blob[0]));
  temp_remove(dir);
}

static void writer_takes_finished_files(void **state) {
  (void)state;
  char dir[64], path[4096], hex[65];
  struct timeline_writer *w;
  temp_dir(dir);
  OKAY(timeline_writer_open(dir, NULL, &w, e));
  snprintf(path, sizeof path, "%s/a", timeline_writer_blob_dir(w));
  OKAY(file_write_atomic(path, "genome", 6, 0600, e));
  OKAY(timeline_writer_blob(w, path, hex, e));
  struct event one = with_blob(1, 1, hex);
  OKAY(timeline_append(w, &one, e));
  OKAY(timeline_writer_source(w, 0, "x", "", false, e));
  OKAY(timeline_writer_finish(w, STR_NONE, NULL, NULL, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  assert_true(there(dir, hex));
  assert_int_equal(blob_put(dir, path, hex, NULL), E_NOTFOUND);
  temp_remove(dir);
}

static void memory_has_blobs_too(void **state) {
  (void)state;
  struct timeline *t;
  char hex[65], name[65];
  memset(name, 'a', 64);
  name[64] = 0;
  struct event a = with_blob(1, 5, name), b = event_of(1, 4, "A", 1), bad = with_blob(1, 5, "short");
  OKAY(timeline_memory_new(&t, e));
  OKAY(timeline_memory_append(t, &a, e));
  OKAY(timeline_memory_append(t, &b, e));
  OKAY(timeline_memory_append(t, &a, e));
  assert_int_equal(timeline_memory_append(t, &bad, NULL), E_INPUT);
  OKAY(timeline_memory_seal(t, e));
  assert_int_equal(timeline_view(t, 0).n, 2);
  assert_false(timeline_blob(t, 0, 0, hex));
  assert_true(timeline_blob(t, 0, 1, hex));
  assert_string_equal(hex, name);
  assert_int_equal(timeline_blobs(t), 1);
  assert_true(timeline_blob_path(t, hex, (char[4096]){0}, NULL) < 0);
  timeline_close(t);
}

/* ---- a store that an earlier version of this program wrote ---- */

static void copy_file(const char *from_dir, const char *to_dir, const char *name) {
  char from[4096], to[4096];
  struct arena a;
  struct str bytes;
  arena_init(&a, 0, 0);
  OKAY(file_join(from, sizeof from, from_dir, name, e));
  OKAY(file_join(to, sizeof to, to_dir, name, e));
  OKAY(file_read(&a, from, 1 << 20, &bytes, e));
  OKAY(file_write_atomic(to, bytes.p, bytes.n, 0644, e));
  arena_free(&a);
}

static void version_1_is_read_and_carried_on(void **state) {
  (void)state;
  static const char *const tries[] = {"tests/timeline/fixtures/version-1", "../tests/timeline/fixtures/version-1",
                                      "../../../tests/timeline/fixtures/version-1"};
  static const char *const names[] = {"CURRENT", "gen-000001/codes", "gen-000001/manifest.json", "gen-000001/shard-000"};
  const char *from = NULL;
  char dir[64], path[128], hex[65];
  for (int i = 0; i < 3; i++)
    if (!from && file_exists(tries[i]) && file_is_dir(tries[i])) from = tries[i];
  for (int i = 0; i < 3; i++)
    if (!from && file_is_dir(tries[i])) from = tries[i];
  if (!from) fail_msg("the store of version 1 was not found");
  temp_dir(dir);
  snprintf(path, sizeof path, "%s/gen-000001", dir);
  OKAY(file_mkdirs(path, 0755, e));
  for (int i = 0; i < 4; i++) copy_file(from, dir, names[i]);
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  struct timeline *t;
  struct buf before = {0}, after = {0};
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_events(t), 7);
  assert_int_equal(timeline_subjects(t), 2);
  assert_int_equal(timeline_blobs(t), 0);
  assert_false(timeline_blob(t, 0, 0, hex));
  int64_t subject = timeline_view(t, 0).subject;
  timeline_close(t);
  dump_store(dir, &before);
  char blob[BLOBS][65];
  put_blobs(dir, blob);
  struct event more = with_blob(subject, TIME_STATIC, blob[3]);
  OKAY(write_events(dir, NULL, &more, 1, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  dump_store(dir, &after);
  assert_int_equal(timeline_open(dir, &t, NULL), OK);
  assert_int_equal(timeline_events(t), 8);
  assert_int_equal(timeline_blobs(t), 1);
  timeline_close(t);
  for (char *line = strtok(before.p, "\n"); line; line = strtok(NULL, "\n")) assert_non_null(strstr(buf_cstr(&after), line));
  buf_release(&before);
  buf_release(&after);
  temp_remove(dir);
}

int main(void) {
  log_level(LOG_ERROR - 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(put_is_idempotent_and_named_by_its_hash),
      cmocka_unit_test(events_lead_to_blobs),
      cmocka_unit_test(orphans_are_noted_and_go),
      cmocka_unit_test(missing_and_damaged_blobs_are_found),
      cmocka_unit_test(forgetting_removes_what_only_one_person_has),
      cmocka_unit_test(damage_stops_pruning),
      cmocka_unit_test(writer_takes_finished_files),
      cmocka_unit_test(memory_has_blobs_too),
      cmocka_unit_test(version_1_is_read_and_carried_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
