/* Checkpoints: what is saved is what is loaded, bit for bit; every kind of damage is refused; the old one survives a failed save. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "model/safetensors.h"
#include "token/token.h"
#include "train_fixture.h"

static struct trained x;

static int setup(void **state) {
  const struct task *tasks[1];
  struct train_options o;
  struct train_result r;
  (void)state;
  trained_open(&x, 200);
  tasks[0] = x.task;
  small_options(&o, &x, tasks);
  o.epochs = 0.1;
  OKAY(model_train(&o, x.store, &r, e));
  return 0;
}

static int teardown(void **state) {
  (void)state;
  trained_close(&x);
  return 0;
}

static int read_all(const char *path, struct arena *a, struct str *out) {
  struct error e = {0};
  return file_read(a, path, 64 << 20, out, &e);
}

static void copy_run(const char *to) {
  static const char *const file[] = {"config.json",     "model.safetensors", "optimizer.safetensors",
                                     "vocabulary.json", "tasks/death.json",  "training.jsonl",
                                     "loss.svg",        "SHA256SUMS"};
  char path[256];
  snprintf(path, sizeof path, "%s/tasks", to);
  OKAY(file_mkdirs(path, 0755, e));
  for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
    struct arena a;
    struct str text;
    arena_init(&a, 0, 0);
    snprintf(path, sizeof path, "%s/%s", x.run, file[i]);
    if (file_exists(path)) {
      assert_int_equal(read_all(path, &a, &text), OK);
      snprintf(path, sizeof path, "%s/%s", to, file[i]);
      OKAY(file_write_atomic(path, text.p, text.n, 0644, e));
    }
    arena_free(&a);
  }
}

static void count_finding(void *ctx, const char *what) {
  (void)what;
  ++*(int *)ctx;
}

/* As whoever wants to deceive would: the checksums fit the change. */
static void reseal(const char *dir) {
  static const char *const file[] = {"config.json",    "model.safetensors", "optimizer.safetensors", "vocabulary.json", "tasks/death.json",
                                     "training.jsonl", "loss.svg"};
  struct buf b = {0};
  char path[256], hex[65];
  for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
    uint8_t sum[32];
    snprintf(path, sizeof path, "%s/%s", dir, file[i]);
    if (!file_exists(path)) continue;
    OKAY(sha256_file(path, sum, e));
    hash_hex(sum, 32, hex);
    buf_printf(&b, "%s  %s\n", hex, file[i]);
  }
  snprintf(path, sizeof path, "%s/SHA256SUMS", dir);
  OKAY(file_write_atomic(path, b.p, b.n, 0644, e));
  buf_release(&b);
}

/* Writes the run anew with `from` replaced by `to` (same length not needed) in one file. */
static void edit(const char *dir, const char *file, const char *from, const char *to) {
  struct arena a;
  struct str text;
  struct buf b = {0};
  char path[256];
  arena_init(&a, 0, 0);
  snprintf(path, sizeof path, "%s/%s", dir, file);
  assert_int_equal(read_all(path, &a, &text), OK);
  char *at = memmem(text.p, text.n, from, strlen(from));
  assert_non_null(at);
  buf_put(&b, text.p, (size_t)(at - text.p));
  buf_puts(&b, to);
  buf_put(&b, at + strlen(from), text.n - (size_t)(at - text.p) - strlen(from));
  OKAY(file_write_atomic(path, b.p, b.n, 0644, e));
  buf_release(&b);
  arena_free(&a);
}

static int load(const char *dir) {
  struct model *m;
  struct error e = {0};
  int rc = model_load(dir, &m, &e);
  model_free(m);
  return rc;
}

static void fresh(char dir[128]) {
  snprintf(dir, 128, "%s/damaged", x.root);
  if (file_is_dir(dir)) OKAY(file_remove_tree(dir, e));
  copy_run(dir);
}

static void test_round_trip(void **state) {
  (void)state;
  struct model *a, *b;
  char dir[128];
  int findings = 0;
  snprintf(dir, sizeof dir, "%s/copy", x.root);
  OKAY(model_load(x.run, &a, e));
  OKAY(model_save(a, dir, e));
  OKAY(model_save(a, dir, e)); /* over an older one */
  OKAY(model_load(dir, &b, e));
  assert_true(a->floats == b->floats && a->tensors == b->tensors);
  assert_memory_equal(a->weight, b->weight, a->floats * sizeof(float));
  const struct model_task *s = model_task_find(a, "death"), *t = model_task_find(b, "death");
  assert_true(s && t && s->columns == t->columns && s->columns > 0);
  assert_memory_equal(s->wide, t->wide, s->columns * sizeof *s->wide);
  assert_true(s->wide_bias == t->wide_bias && s->blend_deep == t->blend_deep && s->blend_wide == t->blend_wide &&
              s->blend_bias == t->blend_bias);
  assert_string_equal(s->text, t->text);
  assert_string_equal(vocabulary_hash(a->vocabulary), vocabulary_hash(b->vocabulary));
  OKAY(model_verify(dir, count_finding, &findings, e));
  OKAY(model_verify(x.run, count_finding, &findings, e));
  assert_int_equal(findings, 0);
  model_free(a);
  model_free(b);
}

static void test_every_flipped_byte(void **state) {
  (void)state;
  static const char *const file[] = {"config.json", "model.safetensors", "vocabulary.json", "tasks/death.json"};
  char dir[128], path[256];
  fresh(dir);
  for (size_t i = 0; i < 4; i++) {
    struct arena a;
    struct str text;
    arena_init(&a, 0, 0);
    snprintf(path, sizeof path, "%s/%s", dir, file[i]);
    assert_int_equal(read_all(path, &a, &text), OK);
    char *copy = malloc(text.n);
    for (size_t k = 0; k < 12; k++) {
      size_t at = k * (text.n - 1) / 11;
      memcpy(copy, text.p, text.n);
      copy[at] ^= 1;
      OKAY(file_write_atomic(path, copy, text.n, 0644, e));
      int rc = load(dir), findings = 0;
      struct error why = {0};
      if (rc >= 0) fail_msg("%s: byte %zu changed and nobody saw it", file[i], at);
      assert_true(model_verify(dir, count_finding, &findings, &why) < 0);
    }
    for (size_t k = 0; k < 6; k++) { /* cut short */
      OKAY(file_write_atomic(path, text.p, k * (text.n - 1) / 5, 0644, e));
      assert_true(load(dir) < 0);
    }
    OKAY(file_write_atomic(path, text.p, text.n, 0644, e));
    assert_int_equal(load(dir), OK);
    free(copy);
    arena_free(&a);
  }
}

static void test_missing_files(void **state) {
  (void)state;
  static const char *const file[] = {"config.json", "model.safetensors", "vocabulary.json", "tasks/death.json", "SHA256SUMS"};
  for (size_t i = 0; i < 5; i++) {
    char dir[128], path[256];
    fresh(dir);
    snprintf(path, sizeof path, "%s/%s", dir, file[i]);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(load(dir), i == 0 ? E_NOTFOUND : E_CORRUPT);
  }
  assert_int_equal(load("/nonexistent/model"), E_NOTFOUND);
}

/* A checkpoint of format 1 knows nothing of hazards that start from the rates, nor of rows that are scaled: it is read as what it was. */
static void test_older_format(void **state) {
  (void)state;
  struct model *m;
  char dir[128];
  fresh(dir);
  edit(dir, "config.json", "\"format\": 3", "\"format\": 1");
  edit(dir, "config.json", "\"hazard_rates\": false,", "");
  edit(dir, "config.json", "\"embed_root\": false,", "");
  reseal(dir);
  OKAY(model_load(dir, &m, e));
  assert_false(model_config(m)->hazard_rates || model_config(m)->embed_root);
  model_free(m);
  fresh(dir);
  edit(dir, "config.json", "\"hazard_rates\": false,", "\"hazard_rates\": true,");
  reseal(dir);
  OKAY(model_load(dir, &m, e));
  assert_true(model_config(m)->hazard_rates);
  model_free(m);
}

/* Checksums fit, contents do not: each is refused for its own reason. */
static void test_wrong_contents(void **state) {
  (void)state;
  static const struct {
    const char *file, *from, *to;
    int code;
  } at[] = {
      {"config.json", "\"format\": 3", "\"format\": 4", E_VERSION},
      {"config.json", "\"layers\": 2", "\"layers\": 3", E_MISMATCH},
      {"config.json", "\"ff\": 48", "\"ff\": 47", E_MISMATCH},
      {"config.json", "\"heads\": 2", "\"heads\": 3", E_CORRUPT},
      {"config.json", "\"layers\": 2", "\"layers\": -2", E_CORRUPT},
      {"config.json", "\"layers\": 2", "\"layers\": 1e300", E_CORRUPT},
      {"config.json", "\"rms\"", "\"rmz\"", E_CORRUPT},
      {"config.json", "\"death\"", "\"../../x\"", E_CORRUPT},
      {"config.json", "\"bias\": false", "\"bias\": true", E_MISMATCH},
      {"config.json", "\"vocabulary_hash\": \"", "\"vocabulary_hash\": \"0", E_CORRUPT},
      {"vocabulary.json", "DX//1", "DX//9", E_MISMATCH},
      {"model.safetensors", "block.0.qkv.weight", "block.0.qkv.weigth", E_CORRUPT},
      {"tasks/death.json", "\"format\":3", "\"format\":7", E_VERSION},
      {"tasks/death.json", "\"name\":\"death\"", "\"name\":\"birth\"", E_MISMATCH},
      {"tasks/death.json", "\"log\":[", "\"log\":[true,", E_CORRUPT},
      {"tasks/death.json", "\"sd\":[", "\"sd\":[1,", E_CORRUPT},
  };
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    char dir[128];
    fresh(dir);
    edit(dir, at[i].file, at[i].from, at[i].to);
    reseal(dir);
    int rc = load(dir);
    if (rc != at[i].code && !(rc < 0 && at[i].code == E_MISMATCH && strcmp(at[i].file, "vocabulary.json") == 0))
      fail_msg("%s: %s -> %s gave %d instead of %d", at[i].file, at[i].from, at[i].to, rc, at[i].code);
  }
}

static void test_not_finite(void **state) {
  (void)state;
  char dir[128], path[256];
  struct arena a;
  struct str text;
  fresh(dir);
  arena_init(&a, 0, 0);
  snprintf(path, sizeof path, "%s/model.safetensors", dir);
  assert_int_equal(read_all(path, &a, &text), OK);
  float bad = NAN;
  memcpy((char *)(uintptr_t)text.p + text.n - 4, &bad, 4);
  OKAY(file_write_atomic(path, text.p, text.n, 0644, e));
  reseal(dir);
  assert_int_equal(load(dir), E_CORRUPT);
  arena_free(&a);
}

/* Every allocation of a save and of a load may fail: an error, nothing lost, nothing leaked. */
static void test_out_of_memory(void **state) {
  (void)state;
  struct model *m;
  char dir[128];
  snprintf(dir, sizeof dir, "%s/memory", x.root);
  OKAY(model_load(x.run, &m, e));
  OKAY(model_save(m, dir, e));
  for (int what = 0; what < 2; what++)
    for (long n = 1;; n += n < 40 ? 1 : 7) {
      struct error why = {0};
      struct model *back = NULL;
      arena_fail_at(n);
      int rc = what ? model_load(dir, &back, &why) : model_save(m, dir, &why);
      bool done = arena_fail_pending();
      arena_fail_at(0);
      model_free(back);
      if (done) {
        assert_int_equal(rc, OK);
        break;
      }
      if (rc >= 0) fail_msg("allocation %ld of %s failed and nobody said so", n, what ? "load" : "save");
      assert_int_equal(load(dir), OK);
    }
  model_free(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_every_flipped_byte),
                                     cmocka_unit_test(test_missing_files),  cmocka_unit_test(test_older_format),
                                     cmocka_unit_test(test_wrong_contents), cmocka_unit_test(test_not_finite),
                                     cmocka_unit_test(test_out_of_memory)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
