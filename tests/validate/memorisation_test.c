/* Memorisation: a model that has read sixty lives until it knows them by heart must be found out by every measurement and refused; one
 * that has hardly begun must not. Canaries leave no trace in the store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "deid/event_make.h"
#include "model/model.h"
#include "timeline/timeline.h"
#include "validate/memorisation.h"
#include "validate/validate.h"

#define OKAY(call)                                      \
  do {                                                  \
    struct error okay_e_ = {0};                         \
    struct error *e = &okay_e_;                         \
    if ((call) < 0) {                                   \
      error_print(stderr, e);                           \
      fail_msg("%s:%d: %s", __FILE__, __LINE__, #call); \
    }                                                   \
  } while (0)
#define FEW 60
#define MANY 900
#define CODES 36

static char root[64], light_dir[96], heavy_dir[96], early_dir[96];
static struct timeline *few, *many; /* stores: as many persons to train on as held out */
static struct memorisation_limits limits;

static void put(struct timeline_writer *w, int64_t subject, int64_t time, const char *code, float value) {
  struct event ev = {.subject = subject, .time = time, .code = str_c(code), .value = value};
  OKAY(timeline_append(w, &ev, e));
}

/* Lives with a weak common pattern and much chance in them. One in three has a code that few have. */
static void put_life(struct timeline_writer *w, int64_t subject) {
  struct rng r;
  char code[24];
  rng_init(&r, 11, (uint64_t)subject);
  int64_t t = (int64_t)rng_below(&r, 1000) * TIME_HOUR;
  put(w, subject, TIME_STATIC, subject % 2 ? "GENDER//F" : "GENDER//M", NAN);
  put(w, subject, t - (int64_t)(20 + rng_below(&r, 60)) * TIME_YEAR, "MEDS_BIRTH", NAN);
  uint32_t last = rng_below(&r, CODES);
  for (int i = 0; i < 24; i++) {
    last = rng_below(&r, 4) ? rng_below(&r, CODES) : (last * 5 + 3) % CODES;
    snprintf(code, sizeof code, last % 4 ? "DX//%u" : "LAB//%u", last);
    put(w, subject, t, code, last % 4 ? NAN : (float)rng_normal(&r));
    t += (int64_t)(1 + rng_below(&r, 300)) * TIME_HOUR;
  }
  snprintf(code, sizeof code, "RARE//%lld", (long long)(subject % 12));
  if (subject % 12 < 6) put(w, subject, t, code, NAN);
}

static struct timeline *make_store(const char *name, int people) {
  char dir[128];
  struct timeline *t;
  snprintf(dir, sizeof dir, "%s/%s", root, name);
  for (int side = 0; side < 2; side++) {
    struct timeline_writer *w;
    struct timeline_options o = {.split = side ? SPLIT_ALL_HELD_OUT : SPLIT_ALL_TRAIN, .source = STR("made")};
    OKAY(timeline_writer_open(dir, &o, &w, e));
    for (int64_t i = 1 + side * people; i < 1 + (side + 1) * people; i++) put_life(w, i);
    OKAY(timeline_writer_finish(w, STR("{}"), NULL, NULL, e));
  }
  OKAY(timeline_open(dir, &t, e));
  return t;
}

static void train(const char *dir, const struct timeline *store, double epochs, float lr, int canaries) {
  struct train_options o;
  struct train_result result;
  train_defaults(&o);
  OKAY(model_preset("tiny", &o.config, e));
  o.config.layers = 2, o.config.d = 48, o.config.heads = o.config.kv_heads = 2, o.config.ff = 96, o.config.hazard_rank = 4;
  o.dir = dir, o.threads = 1, o.batch_positions = 500, o.epochs = epochs, o.lr = lr, o.dropout = 0, o.decay = 0;
  o.canaries = canaries;
  OKAY(model_train(&o, store, &result, e));
}

static int setup(void **state) {
  (void)state;
  strcpy(root, "/tmp/vitae-memory-XXXXXX");
  assert_non_null(mkdtemp(root));
  snprintf(early_dir, sizeof early_dir, "%s/early", root);
  snprintf(light_dir, sizeof light_dir, "%s/light", root);
  snprintf(heavy_dir, sizeof heavy_dir, "%s/heavy", root);
  progress_mode(PROGRESS_QUIET);
  OKAY(memorisation_limits_load("policy/gates.json", &limits, e));
  few = make_store("few", FEW), many = make_store("many", MANY);
  train(light_dir, many, 1, 3e-4f, 24);
  train(early_dir, few, 1, 1e-3f, 0);
  train(heavy_dir, few, 80, 4e-3f, 12);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  timeline_close(few);
  timeline_close(many);
  OKAY(file_remove_tree(root, e));
  return 0;
}

static struct memorisation measure(const char *dir, const struct timeline *store, const char *reference, struct arena *a) {
  struct memorisation m;
  struct model *model, *other = NULL;
  arena_init(a, 0, 0);
  OKAY(model_load(dir, &model, e));
  if (reference) OKAY(model_load(reference, &other, e));
  struct memorisation_options o = {
      .model = model, .reference = other, .store = store, .model_dir = dir, .limits = limits, .seed = 1, .threads = 1};
  OKAY(memorisation_run(&o, a, &m, e));
  if (getenv("SHOW")) {
    struct buf b = {0};
    struct json_out j;
    json_out_init(&j, &b, true);
    memorisation_json(&m, &j);
    fprintf(stderr, "%s\n", buf_cstr(&b));
    buf_release(&b);
  }
  model_free(model);
  model_free(other);
  return m;
}

static bool says(const struct memorisation *m, bool passes, const char *words) {
  struct buf reasons = {0};
  bool ok = memorisation_gate(m, &reasons) == passes && (!words || strstr(buf_cstr(&reasons), words));
  if (!ok) fprintf(stderr, "reasons: %s\n", buf_cstr(&reasons));
  buf_release(&reasons);
  return ok;
}

static void overtrained_is_found_out(void **state) {
  (void)state;
  struct arena a;
  struct memorisation m = measure(heavy_dir, few, NULL, &a);
  for (int k = 0; k < 4; k++) assert_null(m.why[k]);
  assert_int_equal(m.persons, FEW);
  assert_true(m.plain.auc.at > 0.9 && m.plain.auc.lo > 0.8);
  assert_true(m.calibrated.auc.at > 0.9);
  assert_true(fabs(m.blind.auc.at - 0.5) < 0.2); /* without the model there is little to see */
  assert_true(m.rare_plain.auc.at > 0.85);
  assert_int_equal(m.exposures, 3);
  assert_true(m.exposure[0].mean > 4 && m.exposure[0].chance < 1e-3);
  assert_true(m.exposure[2].mean > m.exposure[0].mean - 0.5);
  assert_true(m.completion.at > 0.65 && m.completion.lo > 0.5);
  assert_true(m.longest[0][1] > 0 && m.closer.lo < m.closer.at);
  assert_true(says(&m, false, "AUC of membership inference"));
  assert_true(says(&m, false, "mean exposure"));
  arena_free(&a);
}

static void lightly_trained_passes(void **state) {
  (void)state;
  struct arena a;
  struct memorisation m = measure(light_dir, many, NULL, &a);
  assert_int_equal(m.persons, MANY);
  assert_true(m.plain.auc.at < 0.58 && m.calibrated.auc.at < 0.6 && fabs(m.blind.auc.at - 0.5) < 0.08);
  assert_true(m.plain.tpr.at < 0.05);
  assert_true(m.exposure[0].mean < 3);
  assert_true(fabs(m.closer.at - 0.5) < 0.25);
  assert_true(says(&m, true, NULL));
  arena_free(&a);
}

static void an_earlier_checkpoint_calibrates(void **state) {
  (void)state;
  struct arena a;
  struct memorisation m = measure(heavy_dir, few, early_dir, &a);
  assert_true(m.by_checkpoint);
  assert_true(m.calibrated.auc.at > 0.9);
  arena_free(&a);
}

static void missing_parts_say_so(void **state) {
  (void)state;
  struct arena a;
  struct memorisation m = measure(light_dir, many, NULL, &a);
  m.why[2] = "no canaries were planted (vitae train --canaries N)";
  assert_true(says(&m, true, NULL)); /* said, not refused, unless the file requires it */
  m.limits.require |= MEMORISATION_EXPOSURE;
  assert_true(says(&m, false, "exposure of canaries was not measured: no canaries"));
  struct buf line = {0};
  memorisation_line(&m, &line);
  assert_non_null(strstr(buf_cstr(&line), "exposure not measured"));
  buf_clear(&line);
  memorisation_html(&m, &line);
  assert_non_null(strstr(buf_cstr(&line), "Not measured: no canaries"));
  assert_non_null(strstr(buf_cstr(&line), "<svg"));
  buf_release(&line);
  arena_free(&a);
}

static void canaries_are_recorded_and_stay_out_of_the_store(void **state) {
  (void)state;
  char path[160], hash[65];
  uint8_t digest[32];
  struct arena a;
  struct json root_json;
  assert_int_equal(timeline_subjects(many), 2 * MANY);
  snprintf(path, sizeof path, "%s/canaries.json", light_dir);
  OKAY(sha256_file(path, digest, e));
  hash_hex(digest, 32, hash);
  arena_init(&a, 1 << 20, 0);
  OKAY(json_load(&a, path, &root_json, e));
  assert_int_equal(json_count(json_get(root_json, "canaries")), 24);
  arena_free(&a);
  snprintf(path, sizeof path, "%s/again", root); /* the same seed makes the same ones and the same figures */
  train(path, many, 1, 3e-4f, 24);
  snprintf(path, sizeof path, "%s/again/canaries.json", root);
  OKAY(sha256_file(path, digest, e));
  char second[65];
  hash_hex(digest, 32, second);
  assert_string_equal(hash, second);
  OKAY(model_verify(light_dir, (void (*)(void *, const char *))abort, NULL, e));
  snprintf(path, sizeof path, "%s/none", root);
  train(path, few, 0.1, 1e-3f, 0);
  snprintf(path, sizeof path, "%s/none/canaries.json", root);
  assert_false(file_exists(path));
  struct train_options o;
  struct train_result result;
  train_defaults(&o);
  o.dir = path, o.canaries = 241;
  assert_int_equal(model_train(&o, few, &result, NULL), E_USAGE);
}

/* Few persons: an interval as wide as from chance to the limit says nothing, unless all of it lies above the limit. */
static void few_persons_with_rare_codes(void **state) {
  (void)state;
  static const struct {
    struct interval auc;
    bool passes;
  } x[] = {{{.at = 0.71, .lo = 0.568, .hi = 0.852}, true},
           {{.at = 0.92, .lo = 0.84, .hi = 1}, false},
           {{.at = 0.9, .lo = 0.75, .hi = 1}, false},
           {{.at = 0.72, .lo = 0.66, .hi = 0.78}, false},
           {{.at = 0.6, .lo = 0.58, .hi = 0.62}, true}};
  for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
    struct memorisation m = {.limits = {.rare_membership_auc = 0.65}, .why = {"none", NULL, "none", "none"}};
    m.rare_plain.auc = (struct interval){.at = 0.5, .lo = 0.4, .hi = 0.6};
    m.rare_calibrated.auc = x[i].auc;
    assert_true(says(&m, x[i].passes, x[i].passes ? NULL : "rare codes"));
    struct buf page = {0}; /* the report marks what the gate refuses, and nothing else */
    m.why[0] = NULL, m.limits.membership_auc = m.limits.membership_tpr = 1;
    memorisation_html(&m, &page);
    assert_true((strstr(buf_cstr(&page), " bad'") != NULL) == !x[i].passes);
    buf_release(&page);
  }
}

static void the_gates_file_is_read_strictly(void **state) {
  (void)state;
  char path[160];
  struct memorisation_limits l;
  static const char *const wrong[] = {"{}", "{\"format\":2,\"memorisation\":{}}",
                                      "{\"format\":1,\"memorisation\":{\"least_persons\":\"x\"}}", "[", ""};
  snprintf(path, sizeof path, "%s/gates.json", root);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct error err = {0};
    OKAY(file_write_atomic(path, wrong[i], strlen(wrong[i]), 0600, e));
    assert_true(memorisation_limits_load(path, &l, &err) < 0);
  }
  assert_int_equal(strlen(limits.hash), 64);
  assert_int_equal(limits.require, MEMORISATION_MEMBERSHIP);
}

static void a_validation_carries_the_verdict(void **state) {
  (void)state;
  struct memorisation m = {.limits = limits, .why = {"x", "x", "x", "x"}};
  struct validation v = {.n = 100, .events = 50, .memorisation = &m};
  v.model.all.auroc = (struct interval){0.8, 0.7, 0.9};
  v.model.all.slope = (struct interval){1, 0.9, 1.1};
  struct buf reasons = {0};
  assert_false(validate_gate(&v, &reasons));
  assert_non_null(strstr(buf_cstr(&reasons), "membership inference was not measured"));
  buf_clear(&reasons);
  m.limits.require = 0;
  assert_true(validate_gate(&v, &reasons));
  buf_release(&reasons);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(overtrained_is_found_out),
      cmocka_unit_test(lightly_trained_passes),
      cmocka_unit_test(an_earlier_checkpoint_calibrates),
      cmocka_unit_test(missing_parts_say_so),
      cmocka_unit_test(few_persons_with_rare_codes),
      cmocka_unit_test(the_gates_file_is_read_strictly),
      cmocka_unit_test(canaries_are_recorded_and_stay_out_of_the_store),
      cmocka_unit_test(a_validation_carries_the_verdict),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
