/* The timeline store beside SQLite, same events, same process, one core, page cache: append, finish, open + scan, one request.
 *
 *     store_bench [events in millions] [results.csv]
 *
 * The figure is open + scan: every life's time, code and value read once and summed, from a fresh timeline_open each time.
 * The peer sums the same three columns of a table in SQLite's own order (rowid), which is its fastest way to all rows.
 * Ratio and its range: store and peer are timed in turn, nine times; median, least and greatest of the nine ratios.
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/random.h"
#include "deid/event_make.h"
#include "timeline/timeline.h"

enum { ROUNDS = 9, CODES = 3000, PEER_MOST = 2000000 };
static const double BAR = 200;

static void die(const struct error *e) {
  error_print(stderr, e);
  exit(2);
}

static char codes[CODES][24];
static struct event next_event(struct rng *r, uint64_t i, uint64_t n) {
  uint64_t subjects = n / 250 + 1;
  uint32_t code = rng_below(r, CODES) * rng_below(r, CODES) / CODES; /* some codes are common, most are rare */
  struct event ev = {
      .subject = (int64_t)(1 + i / 10 % subjects), .code = str_c(codes[code]), .value = code % 3 ? (float)rng_below(r, 2000) / 10 : NAN};
  ev.time = (int64_t)(i / 10 / subjects) * 17 * TIME_DAY + (int64_t)(i % 10) * TIME_HOUR;
  ev.unit = code % 3 ? STR("mg/dL") : STR_NONE;
  ev.origin_row = i;
  return ev;
}

static volatile uint64_t sink;
struct sums {
  uint64_t events, time, code;
  double value;
};

static void build(const char *dir, uint64_t n, double *append, double *finish) {
  struct timeline_writer *w;
  struct error e = {0};
  struct rng r;
  rng_init(&r, 1, 1);
  enum { BATCH = 4096 };
  static struct event batch[BATCH];
  if (timeline_writer_open(dir, NULL, &w, &e) < 0) die(&e);
  *append = 0;
  for (uint64_t i = 0; i < n;) { /* making the events is not the store's work: it is left out of the time */
    uint32_t k = 0;
    for (; k < BATCH && i < n; k++, i++) batch[k] = next_event(&r, i, n);
    double t = time_monotonic();
    for (uint32_t j = 0; j < k; j++)
      if (timeline_append(w, &batch[j], &e) < 0) die(&e);
    *append += time_monotonic() - t;
  }
  double t = time_monotonic();
  if (timeline_writer_finish(w, STR_NONE, NULL, NULL, &e) < 0) die(&e);
  *finish = time_monotonic() - t;
}

static struct sums scan(const char *dir) {
  struct timeline *t;
  struct error e = {0};
  struct sums s = {0};
  if (timeline_open(dir, &t, &e) < 0) die(&e);
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    uint64_t time = 0, code = 0;
    float value = 0;
    for (uint32_t k = 0; k < v.n; k++) {
      time += (uint64_t)v.time[k];
      code += v.code[k];
      value += v.value[k] == v.value[k] ? v.value[k] : 0;
    }
    s.time += time;
    s.code += code;
    s.value += (double)value;
    s.events += v.n;
  }
  if (timeline_damaged(t)) exit(2);
  timeline_close(t);
  return s;
}

static sqlite3 *peer_open(const char *path, const char *dir, uint64_t most) {
  sqlite3 *db;
  sqlite3_stmt *put;
  struct timeline *t;
  struct error e = {0};
  uint64_t n = 0;
  if (sqlite3_open(path, &db) ||
      sqlite3_exec(db,
                   "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA mmap_size=2000000000;"
                   "CREATE TABLE events(subject INTEGER, time INTEGER, code INTEGER, value REAL); BEGIN",
                   NULL, NULL, NULL) ||
      sqlite3_prepare_v2(db, "INSERT INTO events VALUES(?,?,?,?)", -1, &put, NULL))
    exit(2);
  if (timeline_open(dir, &t, &e) < 0) die(&e);
  for (uint32_t i = 0; i < timeline_subjects(t) && n < most; i++) {
    struct timeline_view v = timeline_view(t, i);
    for (uint32_t k = 0; k < v.n && n < most; k++, n++) {
      sqlite3_bind_int64(put, 1, v.subject);
      sqlite3_bind_int64(put, 2, v.time[k]);
      sqlite3_bind_int64(put, 3, v.code[k]);
      if (v.value[k] == v.value[k])
        sqlite3_bind_double(put, 4, (double)v.value[k]);
      else
        sqlite3_bind_null(put, 4);
      if (sqlite3_step(put) != SQLITE_DONE) exit(2);
      sqlite3_reset(put);
    }
  }
  sqlite3_finalize(put);
  timeline_close(t);
  if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL)) exit(2);
  return db;
}

static struct sums peer_scan(sqlite3 *db) {
  sqlite3_stmt *get;
  struct sums s = {0};
  if (sqlite3_prepare_v2(db, "SELECT time, code, value FROM events", -1, &get, NULL)) exit(2);
  while (sqlite3_step(get) == SQLITE_ROW) {
    s.time += (uint64_t)sqlite3_column_int64(get, 0);
    s.code += (uint64_t)sqlite3_column_int64(get, 1);
    s.value += sqlite3_column_double(get, 2);
    s.events++;
  }
  sqlite3_finalize(get);
  return s;
}

static double one_request(void) { /* 500 events of one person: append, seal, view; the fastest of many, in microseconds */
  struct rng r;
  struct event v[500];
  double best = 1e9;
  rng_init(&r, 2, 2);
  for (uint64_t i = 0; i < 500; i++) {
    v[i] = next_event(&r, i, 500);
    v[i].subject = 1;
    v[i].time = (int64_t)rng_below(&r, 20000) * TIME_HOUR;
  }
  for (int round = 0; round < 200; round++) {
    struct timeline *t;
    double start = time_monotonic();
    if (timeline_memory_new(&t, NULL) < 0) exit(2);
    for (int i = 0; i < 500; i++)
      if (timeline_memory_append(t, &v[i], NULL) < 0) exit(2);
    if (timeline_memory_seal(t, NULL) < 0 || timeline_view(t, 0).n == 0) exit(2);
    timeline_close(t);
    double s = time_monotonic() - start;
    if (s < best) best = s;
  }
  return best * 1e6;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void row(const char *path, double value, double peer, const double *ratio, bool ok) {
  bool fresh = !file_exists(path);
  FILE *f = fopen(path, "a");
  if (!f) return;
  char when[32];
  time_format(time_now(), when);
  if (fresh) fprintf(f, "when,bench,value,unit,peer,peer_value,ratio,low,high,bar,verdict\n");
  fprintf(f, "%.19s,store,%.1f,M events/s,sqlite %s,%.2f,%.1f,%.1f,%.1f,%.0f,%s\n", when, value, sqlite3_libversion(), peer,
          ratio[ROUNDS / 2], ratio[0], ratio[ROUNDS - 1], BAR, ok ? "ok" : "short");
  fclose(f);
}

int main(int argc, char **argv) {
  uint64_t n = (uint64_t)((argc > 1 ? atof(argv[1]) : 8) * 1e6), peer_n = n < PEER_MOST ? n : PEER_MOST;
  char dir[] = "/tmp/vitae-store-bench-XXXXXX", db_path[64];
  double append, finish, ours[ROUNDS], theirs[ROUNDS], ratio[ROUNDS];
  struct error e = {0};
  if (n < 1000 || !mkdtemp(dir)) return 2;
  for (int i = 0; i < CODES; i++) snprintf(codes[i], sizeof codes[i], "LOINC//%d-%d", 1000 + i * 7, i % 10);
  build(dir, n, &append, &finish);
  snprintf(db_path, sizeof db_path, "%s/peer.db", dir);
  sqlite3 *db = peer_open(db_path, dir, peer_n);
  for (int i = 0; i < ROUNDS; i++) {
    double t0 = time_monotonic();
    struct sums a = scan(dir);
    double t1 = time_monotonic();
    struct sums b = peer_scan(db);
    double t2 = time_monotonic();
    sink = a.time + a.code + (uint64_t)a.value + b.time + b.code + (uint64_t)b.value; /* so that no sum is optimised away */
    if (a.events == 0 || b.events != peer_n) return 2;
    if (a.events == peer_n && (a.time != b.time || a.code != b.code)) return 2;
    ours[i] = (double)a.events / (t1 - t0) / 1e6;
    theirs[i] = (double)b.events / (t2 - t1) / 1e6;
    ratio[i] = ours[i] / theirs[i];
  }
  sqlite3_close(db);
  if (file_remove_tree(dir, &e) < 0) die(&e);
  qsort(ours, ROUNDS, sizeof *ours, by_size);
  qsort(theirs, ROUNDS, sizeof *theirs, by_size);
  qsort(ratio, ROUNDS, sizeof *ratio, by_size);
  struct table t;
  char cell[4][64];
  table_init(&t, 3, "what", "store", "SQLite");
  snprintf(cell[0], 64, "%.1f M events/s", (double)n / append / 1e6);
  snprintf(cell[1], 64, "%.1f M events/s", (double)n / finish / 1e6);
  snprintf(cell[2], 64, "%.1f M events/s", ours[ROUNDS / 2]);
  snprintf(cell[3], 64, "%.1f M events/s", theirs[ROUNDS / 2]);
  table_row(&t, "append", cell[0], "");
  table_row(&t, "finish (sort, merge, checksums, fsync)", cell[1], "");
  table_row(&t, "open + scan of all events", cell[2], cell[3]);
  snprintf(cell[0], 64, "%.0f us", one_request());
  table_row(&t, "one request: 500 events in memory", cell[0], "");
  table_print(&t, stdout);
  table_release(&t);
  bool ok = ours[ROUNDS / 2] >= BAR;
  if (argc > 2) row(argv[2], ours[ROUNDS / 2], theirs[ROUNDS / 2], ratio, ok);
  printf("bench store: %.1f M events/s; peer %.2f; ratio %.1f [%.1f, %.1f]; bar %.0f: %s\n", ours[ROUNDS / 2], theirs[ROUNDS / 2],
         ratio[ROUNDS / 2], ratio[0], ratio[ROUNDS - 1], BAR, ok ? "ok" : "short");
  return ok ? 0 : 1;
}
