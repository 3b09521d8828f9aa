/* Shared by the tests of deid: a sink that keeps events, records from short calls, policies from the repository's folder. */
#ifndef TESTS_DEID_HELPER_H
#define TESTS_DEID_HELPER_H
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "deid/deid.h"
#include "deid/event.h"
#include "record/record.h"

struct kept { /* one event, copied */
  int64_t subject, time;
  char code[256], display[160], unit[40], text[40];
  float value;
  uint64_t row;
};
struct keep {
  struct kept *at;
  size_t n, cap;
  struct buf all; /* every string of every event, for searching */
  int stop_after; /* 0 = never */
};

static inline void copy_str(char *to, size_t size, struct str s) {
  assert_true(s.n < size);
  if (s.n) memcpy(to, s.p, s.n);
  to[s.n] = 0;
}

static inline int keep_event(void *ctx, const struct event *ev, struct error *e) {
  struct keep *k = ctx;
  if (k->stop_after && k->n == (size_t)k->stop_after) return error_set(e, E_CANCELLED, "stopped by the sink");
  if (k->n == k->cap) {
    k->cap = k->cap ? k->cap * 2 : 64;
    k->at = realloc(k->at, k->cap * sizeof *k->at);
  }
  struct kept *x = &k->at[k->n++];
  *x = (struct kept){.subject = event_subject(ev), .time = event_time(ev), .value = event_value(ev), .row = event_origin_row(ev)};
  copy_str(x->code, sizeof x->code, event_code(ev));
  copy_str(x->display, sizeof x->display, event_display(ev));
  copy_str(x->unit, sizeof x->unit, event_unit(ev));
  copy_str(x->text, sizeof x->text, event_text(ev));
  char line[640];
  int n = snprintf(line, sizeof line, "%lld|%lld|%s|%s|%s|%s|%.9g\n", (long long)x->subject, (long long)x->time, x->code, x->display,
                   x->unit, x->text, (double)x->value);
  if (n > 0) buf_put(&k->all, line, (size_t)n);
  return OK;
}

static inline void keep_free(struct keep *k) {
  free(k->at);
  buf_release(&k->all);
  *k = (struct keep){0};
}

static inline const char *policy_path(const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, "policy/%s.json", name);
  if (!file_exists(path)) snprintf(path, sizeof path, "%s/policy/%s.json", file_data_dir(), name);
  return path;
}

static inline struct deid_policy policy_of(const char *name) {
  static struct deid_policy p;
  struct error e = {0};
  if (deid_policy_load(policy_path(name), &p, &e) < 0) {
    error_print(stderr, &e);
    fail_msg("policy %s", name);
  }
  return p;
}

/* An open wall with what it needs. */
struct fixture {
  struct vault *vault;
  struct deid *wall;
  struct keep keep;
  struct error e;
};
static inline void fixture_open(struct fixture *f, const char *policy, const char *source) {
  struct deid_policy p = policy_of(policy);
  *f = (struct fixture){0};
  assert_int_equal(vault_open_memory(&f->vault, &f->e), OK);
  struct event_sink sink = {.ctx = &f->keep, .event = keep_event};
  if (deid_open(&p, f->vault, source, &sink, &f->wall, &f->e) < 0) {
    error_print(stderr, &f->e);
    fail();
  }
}
static inline void fixture_close(struct fixture *f) {
  deid_close(f->wall);
  vault_close(f->vault);
  keep_free(&f->keep);
}
static inline void take(struct fixture *f, struct record r) {
  if (deid_take(f->wall, &r, &f->e) < 0) {
    error_print(stderr, &f->e);
    fail();
  }
}
static inline void finish(struct fixture *f) { assert_int_equal(deid_finish(f->wall, &f->e), OK); }

static inline struct record_time at(const char *text) {
  struct time_parts p;
  struct record_time t = {.us = TIME_STATIC};
  assert_int_equal(time_parse(str_c(text), &p, &t.us, NULL), OK);
  t.precision = p.precision;
  t.has_offset = p.has_offset;
  t.offset_minutes = p.offset_minutes;
  return t;
}
static inline struct record record_event(const char *person, const char *code, const char *time) {
  struct record r = {.kind = RECORD_EVENT, .person = str_c(person), .code = str_c(code), .value = NAN, .path = "Test.event", .row = 1};
  r.time.us = TIME_STATIC;
  if (time) r.time = at(time);
  return r;
}
static inline struct record record_birth(const char *person, const char *date) {
  struct record r = record_event(person, NULL, date);
  r.kind = RECORD_BIRTH;
  r.path = "Patient.birthDate";
  return r;
}
static inline struct record record_identifier(const char *person, enum identifier_kind kind, const char *text) {
  struct record r = record_event(person, NULL, NULL);
  r.kind = RECORD_IDENTIFIER;
  r.identifier = kind;
  r.text = str_c(text);
  r.path = "Patient.identifier";
  return r;
}
/* The n-th event of this code, or NULL. */
static inline const struct kept *kept_code(const struct keep *k, const char *code, int n) {
  for (size_t i = 0; i < k->n; i++)
    if (strcmp(k->at[i].code, code) == 0 && n-- == 0) return &k->at[i];
  return NULL;
}
static inline bool found_in(const struct buf *b, const char *what) { return b->n && memmem(b->p, b->n, what, strlen(what)) != NULL; }
#endif
