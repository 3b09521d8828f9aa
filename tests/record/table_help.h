/* For the table and MEDS tests: a sink that keeps copies of everything, temporary data sets, mappings from text. */
#ifndef RECORD_TABLE_HELP_H
#define RECORD_TABLE_HELP_H
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "record/record.h"
#include "record/table_run.h"

#define TEST(name) static void name(void **state UNUSED)

struct got_record {
  enum record_kind kind;
  char person[300], code[1100], display[200], unit[120], text[400], path[200], time[32];
  double value;
  enum time_precision precision;
  enum identifier_kind identifier;
  uint64_t row;
  uint32_t file;
};
struct got_reject {
  char file[300], field[200], reason[200];
  uint64_t row;
};
struct got {
  struct got_record *record;
  struct got_reject *reject;
  size_t n, cap, rejects, rejects_cap, files, progress;
  uint64_t kinds[8];
  long stop_after;
  struct record_stats stats;
  struct error error;
};
static struct got got;

static UNUSED void put(char *to, size_t size, struct str s) {
  snprintf(to, size, "%.*s", (int)(s.n < size ? s.n : size - 1), s.p ? s.p : "");
}

static int got_take(void *ctx, const struct record *r, struct error *e) {
  struct got *g = ctx;
  if (g->stop_after && --g->stop_after == 0) return error_set(e, E_CANCELLED, "stopped by the test");
  g->kinds[r->kind]++;
  if (g->n == g->cap) {
    g->cap = g->cap ? 2 * g->cap : 256;
    g->record = realloc(g->record, g->cap * sizeof *g->record);
    assert_non_null(g->record);
  }
  struct got_record *k = &g->record[g->n++];
  *k = (struct got_record){
      .kind = r->kind, .value = r->value, .precision = r->time.precision, .identifier = r->identifier, .row = r->row, .file = r->file};
  put(k->person, sizeof k->person, r->person);
  put(k->code, sizeof k->code, r->code);
  put(k->display, sizeof k->display, r->display);
  put(k->unit, sizeof k->unit, r->unit);
  put(k->text, sizeof k->text, r->text);
  snprintf(k->path, sizeof k->path, "%s", r->path);
  time_format(r->time.us, k->time);
  return OK;
}
static void got_refuse(void *ctx, const struct record_reject *r) {
  struct got *g = ctx;
  if (g->rejects == g->rejects_cap) {
    g->rejects_cap = g->rejects_cap ? 2 * g->rejects_cap : 64;
    g->reject = realloc(g->reject, g->rejects_cap * sizeof *g->reject);
    assert_non_null(g->reject);
  }
  struct got_reject *k = &g->reject[g->rejects++];
  k->row = r->row;
  snprintf(k->file, sizeof k->file, "%s", r->file);
  snprintf(k->field, sizeof k->field, "%s", r->field);
  snprintf(k->reason, sizeof k->reason, "%s", r->reason);
}
static void got_file(void *ctx, uint32_t index, const char *path) {
  struct got *g = ctx;
  assert_int_equal(index, g->files);
  assert_non_null(path);
  g->files++;
}
static void got_progress(void *ctx, uint64_t done, uint64_t total) {
  struct got *g = ctx;
  assert_true(done <= total);
  g->progress++;
}
static const struct record_sink got_sink = {&got, got_take, got_refuse, got_progress, got_file};

static UNUSED void got_reset(void) {
  free(got.record);
  free(got.reject);
  got = (struct got){0};
}
/* The k-th record with this code (event) or kind name; NULL if there is none. */
static UNUSED const struct got_record *nth(const char *code, size_t k) {
  for (size_t i = 0; i < got.n; i++)
    if (got.record[i].kind == RECORD_EVENT && strcmp(got.record[i].code, code) == 0 && k-- == 0) return &got.record[i];
  return NULL;
}
static UNUSED const struct got_record *kind_nth(enum record_kind kind, size_t k) {
  for (size_t i = 0; i < got.n; i++)
    if (got.record[i].kind == kind && k-- == 0) return &got.record[i];
  return NULL;
}
static UNUSED size_t count(const char *code) {
  size_t n = 0;
  while (nth(code, n)) n++;
  return n;
}
static UNUSED bool refused(const char *field, uint64_t row) {
  for (size_t i = 0; i < got.rejects; i++)
    if (strcmp(got.reject[i].field, field) == 0 && got.reject[i].row == row) return true;
  return false;
}
static UNUSED void show(void) {
  for (size_t i = 0; i < got.n; i++)
    print_error("  %d %s %s %s %g %s [%s] %s\n", got.record[i].kind, got.record[i].person, got.record[i].code, got.record[i].time,
                got.record[i].value, got.record[i].unit, got.record[i].text, got.record[i].path);
  for (size_t i = 0; i < got.rejects; i++)
    print_error("  reject %s:%lu %s: %s\n", got.reject[i].file, (unsigned long)got.reject[i].row, got.reject[i].field,
                got.reject[i].reason);
}

/* ---- files ---- */
static char temp_dir[64];
static UNUSED int temp_make(void **state UNUSED) {
  strcpy(temp_dir, "/tmp/table-test-XXXXXX");
  return mkdtemp(temp_dir) ? 0 : -1;
}
static UNUSED int temp_remove(void **state UNUSED) {
  got_reset();
  return file_remove_tree(temp_dir, NULL) < 0 ? -1 : 0;
}
static UNUSED const char *temp_path(const char *name) {
  static char path[4][512];
  static int at;
  at = (at + 1) % 4;
  snprintf(path[at], sizeof path[at], "%s/%s", temp_dir, name);
  return path[at];
}
static UNUSED void temp_bytes(const char *name, const void *p, size_t n) {
  char dir[512];
  snprintf(dir, sizeof dir, "%s", temp_path(name));
  *strrchr(dir, '/') = 0;
  assert_int_equal(file_mkdirs(dir, 0755, NULL), OK);
  FILE *f = fopen(temp_path(name), "wb");
  assert_non_null(f);
  if (n) assert_int_equal(fwrite(p, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}
static UNUSED void temp_text(const char *name, const char *text) { temp_bytes(name, text, strlen(text)); }
static UNUSED void shell(const char *fmt, ...) {
  char command[2048];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(command, sizeof command, fmt, ap);
  va_end(ap);
  if (system(command) != 0) fail_msg("failed: %s", command);
}
/* The directory of a data set, or skips the test; absence is a failure in continuous integration. */
static UNUSED const char *data_set(const char *name) {
  static char path[512];
  const char *data = getenv("DATA");
  snprintf(path, sizeof path, "%s/%s", data ? data : "../shared/data", name);
  if (access(path, R_OK) == 0) return path;
  if (getenv("CI")) fail_msg("data set %s is not there", name);
  skip();
  return NULL;
}

/* ---- runs ---- */
static UNUSED struct table_mapping *mapping_text(const char *json) {
  struct table_mapping *m;
  struct error e = {0};
  if (table_mapping_parse(json, strlen(json), "test.json", &m, &e) < 0) {
    error_print(stderr, &e);
    fail_msg("the mapping was refused");
  }
  return m;
}
static UNUSED int run_mapping(struct table_mapping *m, const char *path) {
  got_reset();
  int rc = table_read(m, path, &got_sink, &got.stats, &got.error);
  table_mapping_free(m);
  assert_int_equal(got.stats.rejected, got.rejects);
  assert_int_equal(got.stats.dropped, got.kinds[RECORD_DROPPED]);
  assert_int_equal(got.stats.records + got.stats.dropped, got.n);
  return rc;
}
static UNUSED int run_text(const char *json) { return run_mapping(mapping_text(json), temp_dir); }
static UNUSED void run_ok(const char *json) {
  int rc = run_text(json);
  if (rc < 0) {
    error_print(stderr, &got.error);
    fail_msg("the run failed");
  }
}
static UNUSED struct table_mapping *mapping_shipped(const char *name) {
  char path[4096];
  struct table_mapping *m;
  struct error e = {0};
  snprintf(path, sizeof path, "%s/mapping/%s.json", file_data_dir(), name);
  if (table_mapping_load(path, &m, &e) < 0) {
    error_print(stderr, &e);
    fail_msg("the mapping %s was refused", name);
  }
  assert_string_equal(table_mapping_name(m), name);
  return m;
}
/* The shipped mapping on a fixture of two or three persons: its words would all be too rare, so each passes from one person on. */
static UNUSED void run_few(const char *name, const char *path) {
  char file[4096];
  struct str text;
  struct arena a;
  struct buf b = {0};
  struct error e = {0};
  const char *mark = "\"max_distinct\":";
  snprintf(file, sizeof file, "%s/mapping/%s.json", file_data_dir(), name);
  arena_init(&a, 0, 0);
  assert_int_equal(file_read(&a, file, 1 << 20, &text, &e), OK);
  for (const char *at; (at = memmem(text.p, text.n, mark, strlen(mark)));) {
    buf_put(&b, text.p, (size_t)(at - text.p));
    buf_puts(&b, "\"min_persons\": 1, \"max_distinct\":");
    text.n -= (size_t)(at - text.p) + strlen(mark);
    text.p = at + strlen(mark);
  }
  buf_str(&b, text);
  assert_int_equal(run_mapping(mapping_text(buf_cstr(&b)), path), OK);
  buf_release(&b);
  arena_free(&a);
}
static UNUSED void run_shipped(const char *name, const char *path) {
  int rc = run_mapping(mapping_shipped(name), path);
  if (rc < 0) {
    error_print(stderr, &got.error);
    fail_msg("the run failed");
  }
}
static UNUSED void want_at(const char *code, size_t k, const char *time, double value) {
  const struct got_record *r = nth(code, k);
  if (!r) {
    show();
    fail_msg("no event %s (%zu)", code, k);
  }
  assert_string_equal(r->time, time);
  if (isnan(value))
    assert_true(isnan(r->value));
  else
    assert_float_equal(r->value, value, 0);
}
#endif
