/* The tabular features on real intensive-care stays (PhysioNet 2012): boosted trees on set a, asked about set b, must come near what simple
 * features are known to reach there (AUROC .863). A feature computed wrongly, or one that leaks, moves this figure. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>
#include <xgboost/c_api.h>

#include "base/file.h"
#include "base/progress.h"
#include "timeline/task.h"
#include "token/fake_timeline.h"
#include "token/token.h"

#define SET_B 10000000 /* added to the ids of set b */

static void read_stay(struct timeline *t, const char *path, int64_t id) {
  char line[256], name[64], code[80];
  int hour, minute;
  float value;
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    if (sscanf(line, "%d:%d,%63[^,],%f", &hour, &minute, name, &value) != 4 || value == -1 || strcmp(name, "RecordID") == 0) continue;
    bool fact = strcmp(name, "Age") == 0 || strcmp(name, "Height") == 0, kind = strcmp(name, "Gender") == 0 || strcmp(name, "ICUType") == 0;
    if (kind) snprintf(code, sizeof code, "%s//%d", name, (int)value);
    fake_add(t, id, fact || kind ? TIME_STATIC : (hour * 60 + minute) * TIME_MINUTE, kind ? code : name, kind ? NAN : value);
  }
  fclose(f);
}

/* Stays of one set with their outcome; the moment is hour 48. */
static uint32_t read_set(struct timeline *t, const char *dir, char set, struct task_example **out) {
  char path[256], line[256];
  uint32_t n = 0, cap = 5000;
  long long id;
  int saps, sofa, days, survival, died;
  *out = calloc(cap, sizeof **out);
  snprintf(path, sizeof path, "%s/Outcomes-%c.txt", dir, set);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    if (sscanf(line, "%lld,%d,%d,%d,%d,%d", &id, &saps, &sofa, &days, &survival, &died) != 6) continue;
    assert_true(n < cap);
    (*out)[n++] =
        (struct task_example){.outcome = id + (set == 'b' ? SET_B : 0), .label = died ? LABEL_YES : LABEL_NO, .time = 48 * TIME_HOUR};
    snprintf(path, sizeof path, "%s/set-%c/%lld.txt", dir, set, id);
    read_stay(t, path, (*out)[n - 1].outcome);
  }
  fclose(f);
  return n;
}

static uint32_t find(const struct timeline *t, int64_t subject) { /* subjects lie in order */
  uint32_t low = 0, high = t->subjects;
  while (high - low > 1) {
    uint32_t mid = (low + high) / 2;
    if (t->event[t->start[mid]].subject <= subject)
      low = mid;
    else
      high = mid;
  }
  return t->event[t->start[low]].subject == subject ? low : UINT32_MAX;
}

static DMatrixHandle matrix(const struct feature_set *f, const struct timeline *t, const struct task_example *x, uint32_t n) {
  uint32_t columns = feature_count(f);
  float *row = malloc((size_t)n * columns * sizeof *row), *label = malloc(n * sizeof *label);
  DMatrixHandle out;
  for (uint32_t i = 0; i < n; i++) {
    struct timeline_view v = timeline_view(t, x[i].subject_index);
    feature_row(f, t, &v, x[i].events, x[i].time, row + (size_t)i * columns);
    label[i] = x[i].label == LABEL_YES;
  }
  assert_int_equal(XGDMatrixCreateFromMat(row, n, columns, NAN, &out), 0);
  assert_int_equal(XGDMatrixSetFloatInfo(out, "label", label, n), 0);
  free(row);
  free(label);
  return out;
}

struct scored {
  float score;
  bool yes;
};
static int by_score(const void *x, const void *y) {
  float a = ((const struct scored *)x)->score, b = ((const struct scored *)y)->score;
  return (a > b) - (a < b);
}

static double auroc(const float *score, const struct task_example *x, uint32_t n) {
  struct scored *s = malloc(n * sizeof *s);
  double yes = 0, ranks = 0;
  for (uint32_t i = 0; i < n; i++) s[i] = (struct scored){score[i], x[i].label == LABEL_YES};
  qsort(s, n, sizeof *s, by_score);
  for (uint32_t i = 0; i < n; i++)
    if (s[i].yes) yes++, ranks += i + 1;
  free(s);
  return (ranks - yes * (yes + 1) / 2) / (yes * (n - yes));
}

static double boost(DMatrixHandle train, DMatrixHandle test, const struct task_example *x, uint32_t n) {
  static const char *const option[][2] = {
      {"objective", "binary:logistic"}, {"max_depth", "4"},      {"eta", "0.03"},  {"subsample", "0.7"}, {"colsample_bytree", "0.3"},
      {"min_child_weight", "5"},        {"tree_method", "hist"}, {"nthread", "1"}, {"seed", "1"},        {"verbosity", "0"}};
  BoosterHandle b;
  bst_ulong got;
  const float *score;
  assert_int_equal(XGBoosterCreate(&train, 1, &b), 0);
  for (size_t i = 0; i < sizeof option / sizeof *option; i++) assert_int_equal(XGBoosterSetParam(b, option[i][0], option[i][1]), 0);
  for (int k = 0; k < 400; k++) assert_int_equal(XGBoosterUpdateOneIter(b, k, train), 0);
  assert_int_equal(XGBoosterPredict(b, test, 0, 0, 0, &got, &score), 0);
  assert_int_equal(got, n);
  double area = auroc(score, x, n);
  XGBoosterFree(b);
  return area;
}

static void test_physionet(void **state) {
  (void)state;
  char dir[] = "/tmp/token-physionet-XXXXXX", command[512];
  const char *data = env_get("DATA") ? env_get("DATA") : "../shared/data";
  snprintf(command, sizeof command, "%s/physionet2012/physionet2012_set-a_set-b.tar.xz", data);
  if (!file_exists(command)) {
    if (env_get("CI")) fail_msg("the data set is missing");
    skip();
  }
  assert_non_null(mkdtemp(dir));
  snprintf(command, sizeof command, "tar xJf '%s/physionet2012/physionet2012_set-a_set-b.tar.xz' -C %s", data, dir);
  assert_int_equal(system(command), 0);
  struct timeline *t = fake_new(NULL);
  struct task_example *x[2];
  struct error e = {0};
  uint32_t n[2] = {read_set(t, dir, 'a', &x[0]), read_set(t, dir, 'b', &x[1])};
  assert_int_equal(file_remove_tree(dir, &e), OK);
  fake_seal(t);
  for (int set = 0; set < 2; set++)
    for (uint32_t i = 0; i < n[set]; i++) {
      x[set][i].subject_index = find(t, x[set][i].outcome);
      if (x[set][i].subject_index != UINT32_MAX)
        x[set][i].events = timeline_view(t, x[set][i].subject_index).n;
      else
        x[set][i--] = x[set][--n[set]]; /* a stay without any measurement */
    }
  struct feature_set *f = NULL;
  assert_int_equal(feature_set_build(t, x[0], n[0], 0.01, 0, &f, &e), OK);
  DMatrixHandle train = matrix(f, t, x[0], n[0]), test = matrix(f, t, x[1], n[1]);
  double area = boost(train, test, x[1], n[1]);
  print_message("PhysioNet 2012, %u + %u stays, %u columns: AUROC %.4f\n", n[0], n[1], feature_count(f), area);
  assert_true(area > 0.862 && area < 0.90); /* far above: something leaks */
  XGDMatrixFree(train);
  XGDMatrixFree(test);
  feature_set_free(f);
  free(x[0]);
  free(x[1]);
  fake_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_physionet)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
