/* Round trips against a model of the store that sorts strings the slow way, over several generations. */
#include "store_help.h"

#include <sys/resource.h>

#include "base/hash.h"

/* ---- the model: everything appended, in order; what the store must then hold ---- */

struct kept {
  struct event ev;
  uint32_t file; /* number in the store */
  int order;
};
static int compare_str(struct str a, struct str b) {
  size_t n = a.n < b.n ? a.n : b.n;
  int c = n ? memcmp(a.p, b.p, n) : 0;
  return c ? c : (a.n > b.n) - (a.n < b.n);
}
static int compare_value(float a, float b) {
  if (isnan(a) || isnan(b)) return (int)isnan(b) - (int)isnan(a);
  if (a != b) return a < b ? -1 : 1;
  return (int)!signbit(a) - (int)!signbit(b);
}
static int compare_same(const struct event *a, const struct event *b) {
  if (a->subject != b->subject) return hash64_u64((uint64_t)a->subject) < hash64_u64((uint64_t)b->subject) ? -1 : 1;
  bool late = str_starts(a->code, STR("LABEL//")), late_b = str_starts(b->code, STR("LABEL//"));
  if (late != late_b) return late ? 1 : -1;
  if (a->time != b->time) return a->time < b->time ? -1 : 1;
  int c = compare_str(a->code, b->code);
  if (!c) c = compare_value(a->value, b->value);
  if (!c) c = compare_str(a->unit, b->unit);
  if (!c) c = compare_str(a->text, b->text);
  return c ? c : compare_str(a->blob, b->blob);
}
static int compare_kept(const void *x, const void *y) {
  const struct kept *a = x, *b = y;
  int c = compare_same(&a->ev, &b->ev);
  if (c) return c;
  if (a->file != b->file) return a->file < b->file ? -1 : 1;
  if (a->ev.origin_row != b->ev.origin_row) return a->ev.origin_row < b->ev.origin_row ? -1 : 1;
  return a->order - b->order;
}

/* What was replaced is gone for the next generation too: all[] shrinks to what is kept; returns how many. */
static size_t model_dump(struct kept *all, size_t n, const int *split_of_subject, struct buf *out) {
  size_t left = 0;
  struct kept *v = malloc((n + 1) * sizeof *v);
  size_t m = 0;
  for (size_t i = 0; i < n; i++) {
    bool stale = false; /* a birth that a later, different one replaced */
    if (str_eqc(all[i].ev.code, "MEDS_BIRTH"))
      for (size_t j = n; j-- > 0;)
        if (all[j].ev.subject == all[i].ev.subject && str_eqc(all[j].ev.code, "MEDS_BIRTH")) {
          size_t last = j;
          while (j-- > 0)
            if (all[j].ev.subject == all[i].ev.subject && str_eqc(all[j].ev.code, "MEDS_BIRTH") && all[j].order > all[last].order) last = j;
          stale = compare_same(&all[last].ev, &all[i].ev) != 0;
          break;
        }
    if (!stale) v[m++] = all[i];
  }
  qsort(v, m, sizeof *v, compare_kept);
  for (size_t i = 0; i < m; i++) {
    if (i && compare_same(&v[i - 1].ev, &v[i].ev) == 0) continue;
    const struct event *ev = &v[i].ev;
    all[left++] = v[i];
    uint32_t bits = 0x7FC00000;
    if (!isnan(ev->value)) memcpy(&bits, &ev->value, 4);
    buf_printf(out, "%lld\t%d\t%lld\t%.*s\t%08x\t%.*s\t%u\t%u\t%.*s\t%.*s\n", (long long)ev->subject,
               split_of_subject[(ev->subject - 1) / 7919], (long long)ev->time, STR_ARG(ev->code), bits, STR_ARG(ev->unit), v[i].file,
               (uint32_t)ev->origin_row, STR_ARG(ev->blob), STR_ARG(ev->text));
  }
  free(v);
  return left;
}

static void expect_same(struct buf *got, struct buf *want) {
  if (got->n != want->n || memcmp(got->p, want->p, got->n) != 0) {
    size_t i = 0;
    while (i < got->n && i < want->n && got->p[i] == want->p[i]) i++;
    while (i && got->p[i - 1] != '\n') i--;
    fail_msg("dumps differ at byte %zu (%zu and %zu bytes):\n got: %.200s\nwant: %.200s", i, got->n, want->n, buf_cstr(got) + i,
             buf_cstr(want) + i);
  }
}

static void learn_splits(const char *dir, int *split) {
  struct timeline *t;
  OKAY(timeline_open(dir, &t, e));
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    int *s = &split[(v.subject - 1) / 7919];
    assert_true(*s == -1 || *s == (int)v.split); /* once decided, decided */
    *s = (int)v.split;
  }
  timeline_close(t);
}

static void run_generations(uint64_t seed, uint32_t subjects, size_t per_generation, int generations, size_t memory) {
  char dir[64];
  struct rng r;
  struct kept *all = malloc(per_generation * (size_t)generations * sizeof *all);
  int split[4096], order = 0;
  size_t n = 0;
  uint32_t sources = 0;
  static char blob[BLOBS][65]; /* outlives the events */
  temp_dir(dir);
  rng_init(&r, seed, 1);
  for (int i = 0; i < 4096; i++) split[i] = -1;
  for (int g = 0; g < generations; g++) {
    struct timeline_options o = {.memory_limit = memory, .split = (enum split_rule)(g % 5), .split_seed = 42};
    struct timeline_writer *w;
    OKAY(timeline_writer_open(dir, &o, &w, e));
    uint32_t most = 0;
    put_blobs(dir, blob);
    for (size_t i = 0; i < per_generation; i++) {
      struct event ev = random_event(&r, subjects);
      if (rng_below(&r, 10) == 0) ev.blob = str_c(blob[rng_below(&r, BLOBS)]);
      all[n++] = (struct kept){ev, sources + ev.origin_file, order++};
      if (ev.origin_file + 1 > most) most = ev.origin_file + 1;
      OKAY(timeline_append(w, &ev, e));
    }
    sources += most;
    OKAY(timeline_writer_finish(w, STR_NONE, NULL, NULL, e));
    learn_splits(dir, split);
    OKAY(timeline_verify(dir, print_finding, NULL, e));
    struct buf got = {0}, want = {0};
    dump_store(dir, &got);
    n = model_dump(all, n, split, &want);
    expect_same(&got, &want);
    buf_release(&got);
    buf_release(&want);
  }
  free(all);
  temp_remove(dir);
}

static void round_trips(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 6; seed++) run_generations(seed, 1 + (uint32_t)seed * 9, 300 * seed, 1, 0);
}
static void generations_merge(void **state) {
  (void)state;
  run_generations(11, 30, 400, 5, 0);
  run_generations(12, 3, 1500, 4, 0);
  run_generations(13, 2000, 900, 3, 0);
}
static void least_memory_divides_partitions(void **state) {
  (void)state;
  run_generations(21, 4, 6000, 2, 1); /* raised to 2 MiB: many spills; two thousand events a subject */
  run_generations(22, 4000, 12000, 2, 1);
}

/* All subjects of one partition: more than the least memory can load at once, so the partition must be divided. */
static void crowded_partition(void **state) {
  (void)state;
  char dir[64];
  struct timeline_options o = {.memory_limit = 1};
  struct timeline_writer *w;
  uint32_t subjects = 0;
  temp_dir(dir);
  OKAY(timeline_writer_open(dir, &o, &w, e));
  for (int64_t s = 1; subjects < 400; s++) {
    if (hash64_u64((uint64_t)s) >> 56 != 7) continue;
    subjects++;
    for (int i = 0; i < 50; i++) {
      struct event ev = event_of(s, i * TIME_HOUR, "LOINC//1", (float)i);
      OKAY(timeline_append(w, &ev, e));
    }
  }
  OKAY(timeline_writer_finish(w, STR_NONE, NULL, NULL, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  struct timeline *t;
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_subjects(t), 400);
  assert_int_equal(timeline_events(t), 400 * 50);
  timeline_close(t);
  temp_remove(dir);
}

static void one_subject_over_the_limit(void **state) {
  (void)state;
  char dir[64];
  struct timeline_options o = {.memory_limit = 1};
  struct timeline_writer *w;
  struct error err = {0};
  temp_dir(dir);
  OKAY(timeline_writer_open(dir, &o, &w, e));
  for (int i = 0; i < 20000; i++) {
    struct event ev = event_of(5, i * TIME_HOUR, "LOINC//1", (float)i);
    OKAY(timeline_append(w, &ev, e));
  }
  assert_int_equal(timeline_writer_finish(w, STR_NONE, NULL, NULL, &err), E_LIMIT);
  timeline_writer_abort(w);
  assert_int_equal(timeline_verify(dir, ignore_finding, NULL, &err), E_NOTFOUND);
  temp_remove(dir);
}

/* Peak memory must not follow the number of events: 3 M events are 144 MB of spill records. */
static void memory_is_bounded(void **state) {
  (void)state;
  char dir[64];
  struct timeline_options o = {.memory_limit = 8 << 20};
  struct timeline_writer *w;
  struct rusage before, after;
  temp_dir(dir);
  getrusage(RUSAGE_SELF, &before);
  OKAY(timeline_writer_open(dir, &o, &w, e));
  for (int i = 0; i < 3000000; i++) {
    struct event ev = event_of(1 + i % 5000, (int64_t)i * TIME_SECOND, "LOINC//2160-0", (float)(i % 77));
    OKAY(timeline_append(w, &ev, e));
  }
  OKAY(timeline_writer_finish(w, STR_NONE, NULL, NULL, e));
  getrusage(RUSAGE_SELF, &after);
  long grown = after.ru_maxrss - before.ru_maxrss;
#if !defined(__SANITIZE_ADDRESS__)
  if (grown > 12 * 1024) fail_msg("resident memory grew by %ld KiB", grown); /* 8 MiB and the program itself */
#endif
  (void)grown;
  struct timeline *t;
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_events(t), 3000000);
  timeline_close(t);
  temp_remove(dir);
}

/* ---- promises ---- */

static void read_all(const char *dir, const char *name, struct arena *a, struct str *out) {
  char path[4096];
  OKAY(file_join(path, sizeof path, dir, name, e));
  OKAY(file_read(a, path, 64 << 20, out, e));
}

static void same_events_same_bytes(void **state) {
  (void)state;
  enum { N = 2000 };
  char a_dir[64], b_dir[64];
  struct event v[N], shuffled[N];
  struct rng r;
  uint32_t at[N];
  rng_init(&r, 5, 5);
  for (uint32_t i = 0; i < N; i++) {
    do v[i] = random_event(&r, 40);
    while (str_eqc(v[i].code, "MEDS_BIRTH")); /* births follow the order of arrival by design */
    at[i] = i;
  }
  rng_shuffle(&r, at, N);
  for (uint32_t i = 0; i < N; i++) shuffled[i] = v[at[i]];
  temp_dir(a_dir);
  temp_dir(b_dir);
  struct timeline_options small = {.memory_limit = 1, .split_seed = 9}, large = {.split_seed = 9};
  OKAY(write_events(a_dir, &large, v, N, e));
  OKAY(write_events(b_dir, &small, shuffled, N, e));
  static const char *const names[] = {"CURRENT", "gen-000001/manifest.json", "gen-000001/codes", "gen-000001/shard-000"};
  struct arena arena;
  arena_init(&arena, 0, 0);
  for (int i = 0; i < 4; i++) {
    struct str x, y;
    read_all(a_dir, names[i], &arena, &x);
    read_all(b_dir, names[i], &arena, &y);
    if (!str_eq(x, y)) fail_msg("%s differs", names[i]);
  }
  arena_free(&arena);
  temp_remove(a_dir);
  temp_remove(b_dir);
}

static void second_ingest_of_the_same_changes_nothing(void **state) {
  (void)state;
  char dir[64];
  struct event v[500];
  struct rng r;
  struct buf first = {0}, second = {0};
  rng_init(&r, 6, 6);
  for (int i = 0; i < 500; i++) {
    do v[i] = random_event(&r, 10);
    while (str_eqc(v[i].code, "MEDS_BIRTH"));
  }
  temp_dir(dir);
  OKAY(write_events(dir, NULL, v, 500, e));
  dump_store(dir, &first);
  OKAY(write_events(dir, NULL, v, 500, e));
  dump_store(dir, &second);
  expect_same(&second, &first);
  buf_release(&first);
  buf_release(&second);
  temp_remove(dir);
}

static void births_latest_wins(void **state) {
  (void)state;
  char dir[64];
  struct event v[] = {event_of(1, 30 * TIME_DAY, "MEDS_BIRTH", NAN), event_of(1, 90 * TIME_DAY, "X", 1),
                      event_of(1, 10 * TIME_DAY, "MEDS_BIRTH", NAN)};
  struct event later = event_of(1, 20 * TIME_DAY, "MEDS_BIRTH", NAN);
  struct timeline *t;
  temp_dir(dir);
  OKAY(write_events(dir, NULL, v, 3, e));
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_events(t), 2);
  assert_int_equal(timeline_view(t, 0).time[0], 10 * TIME_DAY);
  timeline_close(t);
  OKAY(write_events(dir, NULL, &later, 1, e));
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_events(t), 2);
  assert_int_equal(timeline_view(t, 0).time[0], 20 * TIME_DAY);
  assert_string_equal(timeline_generation(t), "gen-000002");
  timeline_close(t);
  temp_remove(dir);
}

/* What was entered in error is taken back from earlier runs alone, wherever in this one it is said. */
static void earlier_runs_are_taken_back(void **state) {
  (void)state;
  for (int order = 0; order < 2; order++) {
    char dir[64];
    struct event old[] = {event_of(1, 5 * TIME_DAY, "X", 1), event_of(1, 6 * TIME_DAY, "X", 2), event_of(1, 5 * TIME_DAY, "Y", 3)};
    struct event wrong = event_of(1, 5 * TIME_DAY, "X", NAN), right = event_of(1, 5 * TIME_DAY, "X", 9);
    struct timeline_writer *w;
    struct timeline *t;
    wrong.earlier = true;
    temp_dir(dir);
    OKAY(write_events(dir, NULL, old, 3, e));
    OKAY(timeline_writer_open(dir, NULL, &w, e));
    if (order) OKAY(timeline_append(w, &right, e));
    OKAY(timeline_take_back(w, &wrong, e));
    if (!order) OKAY(timeline_append(w, &right, e));
    OKAY(timeline_writer_finish(w, STR_NONE, NULL, NULL, e));
    OKAY(timeline_open(dir, &t, e));
    struct timeline_view v = timeline_view(t, 0);
    assert_int_equal(v.n, 3);
    assert_true(v.value[0] == 9 && v.value[1] == 3 && v.value[2] == 2);
    timeline_close(t);
    OKAY(timeline_verify(dir, print_finding, NULL, e));
    temp_remove(dir);
  }
}

static void expect_statics(const char *dir, const char *const *names, uint32_t n) {
  struct timeline *t;
  OKAY(timeline_open(dir, &t, e));
  struct timeline_view v = timeline_view(t, 0);
  assert_int_equal(v.statics, n);
  for (uint32_t i = 0; i < n; i++) assert_true(str_eqc(timeline_code_name(t, v.code[i]), names[i]));
  timeline_close(t);
}

static void sexes_latest_wins(void **state) {
  (void)state;
  char dir[64];
  struct event v[] = {event_of(1, TIME_STATIC, "GENDER//M", NAN), event_of(1, TIME_STATIC, "RACE//2106-3", NAN),
                      event_of(1, TIME_STATIC, "GENDER//F", NAN), event_of(1, 90 * TIME_DAY, "SEX//M", NAN)};
  struct event male = event_of(1, TIME_STATIC, "GENDER//M", NAN), unknown = event_of(1, TIME_STATIC, "GENDER//U", NAN),
               other = event_of(1, TIME_STATIC, "SEX//F", NAN);
  temp_dir(dir);
  OKAY(write_events(dir, NULL, &unknown, 1, e));
  expect_statics(dir, (const char *[]){"GENDER//U"}, 1);
  OKAY(write_events(dir, NULL, v, 4, e)); /* within one run, too, and what has a time stays */
  expect_statics(dir, (const char *[]){"GENDER//F", "RACE//2106-3"}, 2);
  OKAY(write_events(dir, NULL, &male, 1, e));
  expect_statics(dir, (const char *[]){"GENDER//M", "RACE//2106-3"}, 2);
  OKAY(write_events(dir, NULL, &unknown, 1, e));
  expect_statics(dir, (const char *[]){"GENDER//M", "RACE//2106-3"}, 2);
  OKAY(write_events(dir, NULL, &other, 1, e));
  expect_statics(dir, (const char *[]){"RACE//2106-3", "SEX//F"}, 2);
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  temp_remove(dir);
}

static void count_splits(const char *dir, uint32_t count[SPLITS]) {
  struct timeline *t;
  memset(count, 0, SPLITS * sizeof *count);
  OKAY(timeline_open(dir, &t, e));
  for (uint32_t i = 0; i < timeline_subjects(t); i++) count[timeline_view(t, i).split]++;
  timeline_close(t);
}

static void splits_follow_the_rule(void **state) {
  (void)state;
  enum { N = 4000 };
  static struct event v[N];
  static const int percent[5][SPLITS] = {{70, 15, 15}, {100, 0, 0}, {0, 100, 0}, {0, 0, 100}, {85, 15, 0}};
  for (int i = 0; i < N; i++) v[i] = event_of(i + 1, 0, "X", 1);
  for (int rule = 0; rule < 5; rule++) {
    char dir[64];
    uint32_t count[SPLITS];
    struct timeline_options o = {.split = (enum split_rule)rule, .split_seed = 1};
    temp_dir(dir);
    OKAY(write_events(dir, &o, v, N, e));
    count_splits(dir, count);
    for (int s = 0; s < SPLITS; s++) assert_in_range(count[s] + 100, percent[rule][s] * N / 100, percent[rule][s] * N / 100 + 200);
    for (int s = 0; s < SPLITS; s++)
      if (percent[rule][s] == 0) assert_int_equal(count[s], 0);
    temp_remove(dir);
  }
}

static void seed_is_inherited(void **state) {
  (void)state;
  enum { N = 300 };
  static struct event v[2 * N];
  char a[64], b[64];
  struct buf x = {0}, y = {0};
  for (int i = 0; i < 2 * N; i++) v[i] = event_of(i + 1, 0, "X", 1);
  struct timeline_options first = {.split_seed = 77}, other = {.split_seed = 12345};
  temp_dir(a);
  temp_dir(b);
  OKAY(write_events(a, &first, v, 2 * N, e));
  OKAY(write_events(b, &first, v, N, e));
  OKAY(write_events(b, &other, v + N, N, e)); /* its seed is ignored: the store has one */
  struct timeline *s, *t;
  OKAY(timeline_open(a, &s, e));
  OKAY(timeline_open(b, &t, e));
  assert_int_equal(timeline_subjects(s), timeline_subjects(t));
  for (uint32_t i = 0; i < timeline_subjects(s); i++) assert_int_equal(timeline_view(s, i).split, timeline_view(t, i).split);
  timeline_close(s);
  timeline_close(t);
  buf_release(&x);
  buf_release(&y);
  temp_remove(a);
  temp_remove(b);
}

static void dictionary_reads_back(void **state) {
  (void)state;
  char dir[64];
  struct event v[] = {event_of(1, 0, "B//2", 1), event_of(1, 1, "A//1", 2), event_of(2, 2, "B//2", NAN), event_of(2, 3, "B", 4)};
  v[0].display = STR("zebra");
  v[2].display = STR("apple");
  v[0].unit = STR("mg");
  struct timeline *t;
  uint32_t code, index;
  struct error err = {0};
  temp_dir(dir);
  OKAY(write_events(dir, NULL, v, 4, e));
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_codes(t), 3);
  assert_true(str_eqc(timeline_code_name(t, 0), "A//1") && str_eqc(timeline_code_name(t, 1), "B") &&
              str_eqc(timeline_code_name(t, 2), "B//2"));
  assert_true(str_eqc(timeline_code_display(t, 2), "apple"));
  assert_null(timeline_code_display(t, 0).p);
  assert_null(timeline_code_name(t, 3).p);
  assert_true(timeline_code_find(t, STR("B//2"), &code) && code == 2);
  assert_false(timeline_code_find(t, STR("B//"), &code));
  assert_int_equal(timeline_code_count(t, 2), 2);
  assert_null(timeline_unit_name(t, UNIT_NONE).p);
  assert_true(str_eqc(timeline_unit_name(t, 1), "mg"));
  OKAY(timeline_find(t, 2, &index, e));
  assert_int_equal(timeline_view(t, index).subject, 2);
  assert_int_equal(timeline_find(t, 3, &index, &err), E_NOTFOUND);
  assert_int_equal(strlen(timeline_hash(t)), 64);
  timeline_close(t);
  temp_remove(dir);
}

static void manifest_tells(void **state) {
  (void)state;
  char dir[64];
  struct event v = event_of(1, 0, "X", 1);
  struct arena a;
  struct str json;
  temp_dir(dir);
  struct timeline_options o = {.policy_name = STR("expert"), .policy_hash = STR("abc")};
  OKAY(write_events(dir, &o, &v, 1, e));
  OKAY(write_events(dir, &o, &v, 1, e));
  arena_init(&a, 0, 0);
  OKAY(timeline_manifest(dir, &a, &json, e));
  assert_non_null(memmem(json.p, json.n, "\"expert\"", 8));
  assert_null(memmem(json.p, json.n, "Some", 4)); /* the source's name is hashed */
  assert_non_null(memmem(json.p, json.n, "\"events\": 1", 11) ? json.p : memmem(json.p, json.n, "\"events\":1", 10));
  char path[4096];
  struct json root;
  OKAY(file_join(path, sizeof path, dir, "gen-000002/manifest.json", e));
  OKAY(json_load(&a, path, &root, e));
  assert_int_equal(json_count(json_get(root, "runs")), 2);
  assert_int_equal(json_str(json_get(root, "parent")).n, 64);
  arena_free(&a);
  temp_remove(dir);
}

static void old_generations_go(void **state) {
  (void)state;
  char dir[64], path[4096];
  struct event v = event_of(1, 0, "X", 1);
  temp_dir(dir);
  for (int i = 0; i < 4; i++) {
    v.time = i;
    OKAY(write_events(dir, NULL, &v, 1, e));
  }
  for (int g = 1; g <= 4; g++) {
    snprintf(path, sizeof path, "%s/gen-%06d", dir, g);
    assert_int_equal(file_exists(path), g >= 3);
  }
  OKAY(timeline_verify(path, print_finding, NULL, e)); /* a generation by its own directory */
  temp_remove(dir);
}

static void empty_run_and_bad_events(void **state) {
  (void)state;
  char dir[64];
  struct timeline_writer *w, *second;
  struct timeline *t;
  struct error err = {0};
  temp_dir(dir);
  OKAY(timeline_writer_open(dir, NULL, &w, e));
  assert_int_equal(timeline_open(dir, &t, &err), E_NOTFOUND);
  assert_int_equal(timeline_writer_open(dir, NULL, &second, &err), E_BUSY);
  struct event bad = event_of(0, 0, "X", 1);
  assert_int_equal(timeline_append(w, &bad, &err), E_INPUT);
  bad = event_of(1, 0, "", 1);
  assert_int_equal(timeline_append(w, &bad, &err), E_INPUT);
  assert_int_equal(timeline_writer_finish(w, STR("[1]"), NULL, NULL, &err), E_INPUT);
  timeline_writer_abort(w);
  OKAY(write_events(dir, NULL, NULL, 0, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_subjects(t), 0);
  timeline_close(t);
  temp_remove(dir);
}

/* What is taken back is gone: of an earlier generation and of this run before it; what comes behind it stays, and other codes and times. */
static void corrections_take_back(void **state) {
  (void)state;
  char dir[64];
  temp_dir(dir);
  struct event before[] = {event_of(1, 100, "A", 1), event_of(1, 100, "A", 2), event_of(1, 200, "A", 1),
                           event_of(1, 100, "B", 1), event_of(2, 100, "A", 1), event_of(3, 100, "A", 1)};
  OKAY(write_events(dir, NULL, before, 6, e));
  struct timeline_writer *w;
  OKAY(timeline_writer_open(dir, NULL, &w, e));
  struct event early = event_of(1, 100, "A", 3), back = event_of(1, 100, "A", NAN), late = event_of(1, 100, "A", 4);
  struct event whole = event_of(3, 100, "A", NAN), nothing = event_of(4, 100, "never seen", NAN);
  OKAY(timeline_append(w, &early, e));
  OKAY(timeline_take_back(w, &back, e));
  OKAY(timeline_take_back(w, &whole, e));
  OKAY(timeline_take_back(w, &nothing, e));
  OKAY(timeline_append(w, &late, e));
  OKAY(timeline_writer_finish(w, STR("{}"), NULL, NULL, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  struct timeline *t;
  uint32_t at;
  struct error none = {0};
  OKAY(timeline_open(dir, &t, e));
  assert_int_equal(timeline_subjects(t), 2); /* all that subject 3 had was wrong */
  assert_int_equal(timeline_find(t, 3, &at, &none), E_NOTFOUND);
  OKAY(timeline_find(t, 1, &at, e));
  struct timeline_view v = timeline_view(t, at);
  assert_int_equal(v.n, 3);
  assert_true(v.time[0] == 100 && v.value[0] == 4); /* the corrected one */
  assert_true(str_eqc(timeline_code_name(t, v.code[1]), "B") && v.time[2] == 200 && v.value[2] == 1);
  OKAY(timeline_find(t, 2, &at, e));
  assert_int_equal(timeline_view(t, at).n, 1);
  timeline_close(t);
  temp_remove(dir);
}

static void long_texts(void **state) {
  (void)state;
  char dir[64];
  enum { LONG = 300000 };
  char *text = malloc(LONG);
  struct event v[8];
  for (int i = 0; i < LONG; i++) text[i] = (char)('a' + i % 1009 * 7 % 23);
  for (int i = 0; i < 8; i++) {
    v[i] = event_of(1 + i % 3, i, "NOTE//1", NAN);
    v[i].text = (struct str){text + i, (size_t)(LONG / (i * i + 1)) - 10};
  }
  temp_dir(dir);
  OKAY(write_events(dir, NULL, v, 4, e));
  OKAY(write_events(dir, NULL, v + 4, 4, e));
  OKAY(timeline_verify(dir, print_finding, NULL, e));
  struct timeline *t;
  OKAY(timeline_open(dir, &t, e));
  for (int i = 0; i < 8; i++) {
    uint32_t index;
    OKAY(timeline_find(t, v[i].subject, &index, e));
    struct timeline_view view = timeline_view(t, index);
    for (uint32_t k = 0; k < view.n; k++)
      if (view.time[k] == i) assert_true(str_eq(timeline_text(t, index, k), v[i].text));
  }
  timeline_close(t);
  free(text);
  temp_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_is_bounded),
      cmocka_unit_test(round_trips),
      cmocka_unit_test(generations_merge),
      cmocka_unit_test(least_memory_divides_partitions),
      cmocka_unit_test(crowded_partition),
      cmocka_unit_test(one_subject_over_the_limit),
      cmocka_unit_test(same_events_same_bytes),
      cmocka_unit_test(second_ingest_of_the_same_changes_nothing),
      cmocka_unit_test(births_latest_wins),
      cmocka_unit_test(sexes_latest_wins),
      cmocka_unit_test(earlier_runs_are_taken_back),
      cmocka_unit_test(splits_follow_the_rule),
      cmocka_unit_test(seed_is_inherited),
      cmocka_unit_test(dictionary_reads_back),
      cmocka_unit_test(manifest_tells),
      cmocka_unit_test(old_generations_go),
      cmocka_unit_test(empty_run_and_bad_events),
      cmocka_unit_test(long_texts),
      cmocka_unit_test(corrections_take_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
