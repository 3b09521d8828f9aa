/* A sink that keeps what a reader says, for the FHIR and event-list tests. */
#ifndef RECORD_FHIR_HELPERS_H
#define RECORD_FHIR_HELPERS_H
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "record/record.h"

#define TEST(name) static void name(void **state UNUSED)

struct kept {
  struct record r;
  struct record_reject reject;
};
struct catcher {
  struct kept *records, *rejects;
  size_t n, cap, rejects_n, rejects_cap;
  struct record_stats stats;
  struct error error;
  struct record_sink sink;
  struct json_parser *jp;
  size_t files, progress;
  long stop_after; /* the sink fails at this record; 0 = never */
};

static struct str keep_str(struct str s) {
  if (!s.p) return STR_NONE;
  char *p = malloc(s.n + 1);
  assert_non_null(p);
  memcpy(p, s.p, s.n);
  p[s.n] = 0;
  return (struct str){p, s.n};
}
static struct kept *grow(struct kept **list, size_t *n, size_t *cap) {
  if (*n == *cap) {
    *cap = *cap ? *cap * 2 : 64;
    *list = realloc(*list, *cap * sizeof **list);
    assert_non_null(*list);
  }
  return &(*list)[(*n)++];
}
static int catch_record(void *ctx, const struct record *r, struct error *e) {
  struct catcher *c = ctx;
  if (c->stop_after && --c->stop_after == 0) return error_set(e, E_CANCELLED, "stopped by the test");
  struct kept *k = grow(&c->records, &c->n, &c->cap);
  k->r = *r;
  k->r.person = keep_str(r->person);
  k->r.code = keep_str(r->code);
  k->r.display = keep_str(r->display);
  k->r.unit = keep_str(r->unit);
  k->r.text = keep_str(r->text);
  k->r.ns = keep_str(r->ns);
  k->r.postcode = keep_str(r->postcode);
  k->r.country = keep_str(r->country);
  return OK;
}
static void catch_reject(void *ctx, const struct record_reject *r) {
  struct catcher *c = ctx;
  struct kept *k = grow(&c->rejects, &c->rejects_n, &c->rejects_cap);
  k->reject = *r;
  k->reject.file = keep_str(str_c(r->file)).p;
}
static void catch_file(void *ctx, uint32_t index, const char *path) {
  struct catcher *c = ctx;
  assert_int_equal(index, c->files);
  assert_non_null(path);
  c->files++;
}
static void catch_progress(void *ctx, uint64_t done, uint64_t total) {
  struct catcher *c = ctx;
  assert_true(done <= total);
  c->progress++;
}
static void catcher_open(struct catcher *c) {
  memset(c, 0, sizeof *c);
  c->sink = (struct record_sink){c, catch_record, catch_reject, catch_progress, catch_file};
  assert_int_equal(json_parser_new(&c->jp, &c->error), OK);
}
static void catcher_close(struct catcher *c) {
  for (size_t i = 0; i < c->n; i++) {
    const struct record *r = &c->records[i].r;
    const struct str all[] = {r->person, r->code, r->display, r->unit, r->text, r->ns, r->postcode, r->country};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) free((void *)(uintptr_t)all[k].p);
  }
  for (size_t i = 0; i < c->rejects_n; i++) free((void *)(uintptr_t)c->rejects[i].reject.file);
  free(c->records);
  free(c->rejects);
  json_parser_free(c->jp);
}
static int parse_text_n(struct catcher *c, const char *json, size_t n) {
  char *padded = calloc(1, n + STREAM_PAD);
  assert_non_null(padded);
  memcpy(padded, json, n);
  int rc = fhir_parse(c->jp, padded, n, n + STREAM_PAD, 0, 1, "test.json", &c->sink, &c->stats, &c->error);
  free(padded);
  return rc;
}
static int parse_text(struct catcher *c, const char *json) { return parse_text_n(c, json, strlen(json)); }

static UNUSED size_t count_kind(const struct catcher *c, enum record_kind kind) {
  size_t n = 0;
  for (size_t i = 0; i < c->n; i++) n += c->records[i].r.kind == kind;
  return n;
}
static UNUSED const struct record *event_of(const struct catcher *c, const char *code) {
  for (size_t i = 0; i < c->n; i++)
    if (c->records[i].r.kind == RECORD_EVENT && str_eqc(c->records[i].r.code, code)) return &c->records[i].r;
  return NULL;
}
static UNUSED const struct record *event_want(const struct catcher *c, const char *code, const char *time) {
  const struct record *r = event_of(c, code);
  char got[32];
  if (!r) {
    for (size_t i = 0; i < c->n; i++)
      if (c->records[i].r.kind == RECORD_EVENT) print_error("  there is %.*s\n", STR_ARG(c->records[i].r.code));
    for (size_t i = 0; i < c->rejects_n; i++) print_error("  reject %s: %s\n", c->rejects[i].reject.field, c->rejects[i].reject.reason);
    fail_msg("no event %s", code);
  }
  time_format(r->time.us, got);
  assert_string_equal(got, time);
  return r;
}
static UNUSED const struct record *identifier_of(const struct catcher *c, const char *text) {
  for (size_t i = 0; i < c->n; i++)
    if (c->records[i].r.kind == RECORD_IDENTIFIER && str_eqc(c->records[i].r.text, text)) return &c->records[i].r;
  return NULL;
}
static UNUSED size_t dropped(const struct catcher *c, const char *path) {
  size_t n = 0;
  for (size_t i = 0; i < c->n; i++) n += c->records[i].r.kind == RECORD_DROPPED && !strcmp(c->records[i].r.path, path);
  return n;
}
static UNUSED bool rejected(const struct catcher *c, const char *field) {
  for (size_t i = 0; i < c->rejects_n; i++)
    if (!strcmp(c->rejects[i].reject.field, field)) return true;
  return false;
}
/* Parses one document; `want` events and nothing rejected. */
static UNUSED void accept_json(struct catcher *c, const char *json, size_t want) {
  catcher_open(c);
  int rc = parse_text(c, json);
  if (rc < 0) fail_msg("%s", c->error.message);
  for (size_t i = 0; i < c->rejects_n; i++) print_error("reject %s: %s\n", c->rejects[i].reject.field, c->rejects[i].reject.reason);
  assert_int_equal(c->rejects_n, 0);
  assert_int_equal(count_kind(c, RECORD_EVENT), want);
}
static UNUSED void refuse_json(const char *json, const char *field) {
  struct catcher c;
  catcher_open(&c);
  assert_int_equal(parse_text(&c, json), OK);
  if (!rejected(&c, field)) {
    for (size_t i = 0; i < c.rejects_n; i++) print_error("reject %s: %s\n", c.rejects[i].reject.field, c.rejects[i].reject.reason);
    fail_msg("not rejected under %s: %s", field, json);
  }
  assert_int_equal(c.stats.rejected, c.rejects_n);
  catcher_close(&c);
}

/* Temporary directory and data sets. */
static char temp_dir[64];
static UNUSED int temp_make(void **state UNUSED) {
  strcpy(temp_dir, "/tmp/fhir-test-XXXXXX");
  return mkdtemp(temp_dir) ? 0 : -1;
}
static UNUSED int temp_remove(void **state UNUSED) { return file_remove_tree(temp_dir, NULL) < 0 ? -1 : 0; }
static UNUSED const char *temp_path(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", temp_dir, name);
  return path;
}
static UNUSED const char *temp_file(const char *name, const void *p, size_t n) {
  const char *path = temp_path(name);
  FILE *f = fopen(path, "wb");
  if (!f || (n && fwrite(p, 1, n, f) != n) || fclose(f) != 0) fail_msg("cannot write a test file");
  return path;
}
static UNUSED const char *temp_text(const char *name, const char *text) { return temp_file(name, text, strlen(text)); }
static UNUSED void shell(const char *command) {
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
#endif
