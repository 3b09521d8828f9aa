/* Damage: every region of every file flipped or cut. Opening refuses or verification reports; nothing crashes. */
#include "store_help.h"

#include <fcntl.h>

#include "base/hash.h"
#include "base/log.h"

static void small_store(const char *dir) {
  struct event v[60];
  struct rng r;
  rng_init(&r, 8, 8);
  static char blob[BLOBS][65];
  put_blobs(dir, blob);
  for (int i = 0; i < 60; i++) {
    v[i] = random_event(&r, 6);
    if (i % 7 == 0) v[i].blob = str_c(blob[i % BLOBS]);
  }
  struct timeline_options o = {.policy_name = STR("expert"), .policy_hash = STR("00ff")};
  OKAY(write_events(dir, &o, v, 60, e));
}

static void write_bytes(const char *path, const void *p, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  if (n) assert_int_equal(fwrite(p, 1, n, f), n);
  fclose(f);
}

/* Reads all that a user of the store would touch. */
static void use_everything(const struct timeline *t) {
  uint64_t sum = 0;
  uint32_t index;
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    for (uint32_t k = 0; k < v.n + v.labels; k++) {
      assert_true(v.code[k] < timeline_codes(t));
      char blob[65];
      sum += timeline_blob(t, i, k, blob);
      struct str text = timeline_text(t, i, k), unit = timeline_unit_name(t, v.unit[k]), name = timeline_code_name(t, v.code[k]);
      for (size_t b = 0; b < text.n; b++) sum += (uint8_t)text.p[b];
      for (size_t b = 0; b < unit.n; b++) sum += (uint8_t)unit.p[b];
      for (size_t b = 0; b < name.n; b++) sum += (uint8_t)name.p[b];
      sum += (uint64_t)v.time[k] + v.origin_file[k] + v.origin_row[k];
    }
    if (timeline_find(t, v.subject, &index, NULL) == OK) sum += index;
    struct buf b = {0};
    struct json_out o;
    timeline_print(t, i, 80, true, 10, &b);
    json_out_init(&o, &b, false);
    timeline_json(t, i, 10, &o);
    buf_release(&b);
  }
  (void)sum;
}

static bool noticed(const char *dir) {
  struct timeline *t;
  struct error err = {0};
  int findings = 0, opened = timeline_open(dir, &t, &err);
  if (opened == OK) {
    use_everything(t);
    timeline_close(t);
  }
  int verified = timeline_verify(dir, ignore_finding, &findings, &err);
  if (verified == OK) assert_int_equal(findings, 0);
  return opened < 0 || verified < 0;
}

static void damage_file(const char *dir, const char *name, size_t step) {
  char path[4096];
  struct arena a;
  struct str good;
  struct rng r;
  arena_init(&a, 0, 0);
  rng_init(&r, 1, step);
  OKAY(file_join(path, sizeof path, dir, name, e));
  OKAY(file_read(&a, path, 1 << 24, &good, e));
  char *bad = malloc(good.n + 1);
  memcpy(bad, good.p, good.n);
  for (size_t at = 0; at < good.n; at += 1 + (step > 1 ? rng_below(&r, (uint32_t)step) : 0)) {
    bad[at] = (char)(bad[at] ^ (1 << rng_below(&r, 8)));
    write_bytes(path, bad, good.n);
    if (!noticed(dir)) fail_msg("%s: flipped bit in byte %zu of %zu went unnoticed", name, at, good.n);
    bad[at] = good.p[at];
  }
  for (size_t n = 0; n < good.n; n += 1 + rng_below(&r, (uint32_t)(good.n / 40 + 1))) {
    write_bytes(path, good.p, n);
    if (!noticed(dir)) fail_msg("%s: cut to %zu of %zu bytes went unnoticed", name, n, good.n);
  }
  memcpy(bad, good.p, good.n);
  bad[good.n] = 0;
  write_bytes(path, bad, good.n + 1);
  if (strncmp(name, "gen", 3) == 0 && !strstr(name, "manifest")) assert_true(noticed(dir)); /* JSON may end in anything blank, NUL is not */
  write_bytes(path, good.p, good.n);
  assert_false(noticed(dir));
  unlink(path);
  assert_true(noticed(dir));
  write_bytes(path, good.p, good.n);
  free(bad);
  arena_free(&a);
}

static void every_byte_of_the_dictionary(void **state) {
  (void)state;
  char dir[64];
  temp_dir(dir);
  small_store(dir);
  damage_file(dir, "gen-000001/codes", 1);
  temp_remove(dir);
}
static void every_region_of_a_shard(void **state) {
  (void)state;
  char dir[64];
  temp_dir(dir);
  small_store(dir);
  damage_file(dir, "gen-000001/shard-000", 5);
  temp_remove(dir);
}

/* With all checksums made right again: bounds must hold by themselves, whoever wrote the file. */
struct section {
  uint32_t kind, width;
  uint64_t offset, bytes, hash;
};
static void reseal(char *p) {
  struct section s[16];
  uint32_t n;
  memcpy(&n, p + 12, 4);
  memcpy(s, p + 64, n * sizeof *s);
  for (uint32_t i = 0; i < n; i++) s[i].hash = s[i].bytes ? hash64(p + s[i].offset, s[i].bytes, 0) : 0;
  memcpy(p + 64, s, n * sizeof *s);
  uint64_t h = hash64(p + 64, n * sizeof *s, 0);
  memcpy(p + 48, &h, 8);
  h = hash64(p, 56, 0);
  memcpy(p + 56, &h, 8);
}

static void hostile_columns(void **state) {
  (void)state;
  char dir[64], path[128];
  struct arena a;
  struct str good;
  struct rng r;
  temp_dir(dir);
  small_store(dir);
  arena_init(&a, 0, 0);
  rng_init(&r, 2, 2);
  static const char *const names[] = {"codes", "shard-000"};
  for (int round = 0; round < 1200; round++) {
    snprintf(path, sizeof path, "%s/gen-000001/%s", dir, names[round & 1]);
    arena_reset(&a);
    OKAY(file_read(&a, path, 1 << 24, &good, e));
    char *bad = malloc(good.n);
    memcpy(bad, good.p, good.n);
    for (uint32_t k = 0; k <= rng_below(&r, 3); k++) {
      size_t from = (round & 1) ? 576 : 320, at = from + rng_below(&r, (uint32_t)(good.n - from));
      bad[at] = rng_below(&r, 2) ? (char)0xFF : (char)rng_u32(&r);
    }
    reseal(bad);
    write_bytes(path, bad, good.n);
    struct timeline *t;
    if (timeline_open(dir, &t, NULL) == OK) {
      use_everything(t);
      timeline_close(t);
    }
    assert_true(timeline_verify(dir, ignore_finding, NULL, NULL) <= OK);
    write_bytes(path, good.p, good.n);
    free(bad);
  }
  assert_false(noticed(dir));
  arena_free(&a);
  temp_remove(dir);
}

static void patch(const char *path, size_t at, const void *p, size_t n) {
  int fd = open(path, O_RDWR);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, p, n, (off_t)at), n);
  close(fd);
}

static void newer_version_is_refused_by_name(void **state) {
  (void)state;
  char dir[64], path[128];
  uint32_t newer = 4, ours = 3;
  struct timeline *t;
  struct error err = {0};
  temp_dir(dir);
  small_store(dir);
  static const char *const names[] = {"codes", "shard-000"};
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/gen-000001/%s", dir, names[i]);
    patch(path, 8, &newer, 4);
    assert_int_equal(timeline_open(dir, &t, &err), E_VERSION);
    assert_non_null(strstr(err.message, "version 4"));
    patch(path, 8, &ours, 4);
  }
  snprintf(path, sizeof path, "%s/gen-000001/manifest.json", dir);
  struct arena a;
  struct str json;
  arena_init(&a, 0, 0);
  OKAY(file_read(&a, path, 1 << 20, &json, e));
  char *at = strstr(json.p, "\"version\":");
  assert_non_null(at);
  at = strchr(at, '3');
  patch(path, (size_t)(at - json.p), "9", 1);
  memset(&err, 0, sizeof err);
  assert_int_equal(timeline_open(dir, &t, &err), E_VERSION);
  assert_int_equal(timeline_verify(dir, ignore_finding, NULL, &err), E_VERSION);
  arena_free(&a);
  temp_remove(dir);
}

static void hostile_pointer(void **state) {
  (void)state;
  char dir[64], path[128];
  struct timeline *t;
  temp_dir(dir);
  small_store(dir);
  snprintf(path, sizeof path, "%s/CURRENT", dir);
  static const char *const bad[] = {
      "", "gen-1", "../../etc", "gen-000001/../gen-000001", "gen-999999999999999999999999", "gen-000002\n", "\xff\n"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    write_bytes(path, bad[i], strlen(bad[i]));
    assert_true(timeline_open(dir, &t, NULL) < 0);
  }
  write_bytes(path, "gen-000001\0x", 12);
  assert_true(timeline_open(dir, &t, NULL) < 0);
  unlink(path);
  struct timeline_writer *w;
  struct error err = {0};
  assert_int_equal(timeline_writer_open(dir, NULL, &w, &err), E_CORRUPT); /* generations without CURRENT are not thrown away */
  snprintf(path, sizeof path, "%s/gen-000001", dir);
  assert_true(file_exists(path));
  temp_remove(dir);
}

static void damage_is_not_copied_on(void **state) {
  (void)state;
  char dir[64], path[128];
  struct event ev = event_of(1, 1, "NEW", 1);
  struct error err = {0};
  temp_dir(dir);
  small_store(dir);
  snprintf(path, sizeof path, "%s/gen-000001/shard-000", dir);
  int64_t size = file_size(path);
  char c;
  int fd = open(path, O_RDWR);
  assert_int_equal(pread(fd, &c, 1, size / 2), 1);
  close(fd);
  c ^= 4;
  patch(path, (size_t)size / 2, &c, 1);
  assert_int_equal(write_events(dir, NULL, &ev, 1, &err), E_CORRUPT);
  assert_false(file_exists("gen-000002"));
  temp_remove(dir);
}

int main(void) {
  log_level(LOG_ERROR - 1); /* hundreds of damaged stores are opened on purpose */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_byte_of_the_dictionary),
      cmocka_unit_test(every_region_of_a_shard),
      cmocka_unit_test(hostile_columns),
      cmocka_unit_test(newer_version_is_refused_by_name),
      cmocka_unit_test(hostile_pointer),
      cmocka_unit_test(damage_is_not_copied_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
