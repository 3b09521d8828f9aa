/* Shared by the timeline tests: making events, temporary stores, a reference model of what a store must hold. */
#ifndef TESTS_TIMELINE_STORE_HELP_H
#define TESTS_TIMELINE_STORE_HELP_H
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "deid/event_make.h"
#include "timeline/blob.h"
#include "timeline/timeline.h"

#define OKAY(call)                                                            \
  do {                                                                        \
    struct error okay_e_ = {0};                                               \
    struct error *e = &okay_e_;                                               \
    int okay_rc_ = (call);                                                    \
    if (okay_rc_ < 0) {                                                       \
      error_print(stderr, e);                                                 \
      fail_msg("%s:%d: %s returned %d", __FILE__, __LINE__, #call, okay_rc_); \
    }                                                                         \
  } while (0)

static inline struct event event_of(int64_t subject, int64_t time, const char *code, float value) {
  return (struct event){.subject = subject, .time = time, .code = str_c(code), .value = value};
}
static inline void temp_dir(char out[64]) {
  strcpy(out, "/tmp/vitae-timeline-XXXXXX");
  assert_non_null(mkdtemp(out));
}
static inline void temp_remove(const char *dir) { OKAY(file_remove_tree(dir, e)); }

static inline int write_events(const char *dir, const struct timeline_options *o, const struct event *v, size_t n, struct error *e) {
  struct timeline_writer *w;
  TRY(timeline_writer_open(dir, o, &w, e));
  int rc = OK;
  for (size_t i = 0; rc == OK && i < n; i++) rc = timeline_append(w, &v[i], e);
  if (rc == OK) rc = timeline_writer_source(w, 0, "patients/Some Name.csv", "", false, e);
  if (rc == OK) rc = timeline_writer_finish(w, STR("{\"events\":1}"), NULL, NULL, e);
  if (rc < 0) timeline_writer_abort(w);
  return rc;
}

static inline void print_finding(void *ctx, const char *what) {
  (void)ctx;
  fprintf(stderr, "finding: %s\n", what);
}
static inline void ignore_finding(void *ctx, const char *what) {
  (void)what;
  if (ctx) ++*(int *)ctx;
}

/* One event of a store as a line of text, in the form that tests/oracle/timeline_oracle.py prints too. */
static inline void dump_event(const struct timeline *t, const struct timeline_view *v, uint32_t index, uint32_t k, struct buf *out) {
  uint32_t bits;
  char blob[65] = "";
  struct str unit = timeline_unit_name(t, v->unit[k]), code = timeline_code_name(t, v->code[k]), text = timeline_text(t, index, k);
  memcpy(&bits, &v->value[k], 4);
  if (!timeline_blob(t, index, k, blob)) blob[0] = 0;
  buf_printf(out, "%lld\t%d\t%lld\t%.*s\t%08x\t%.*s\t%u\t%u\t%s\t%.*s\n", (long long)v->subject, (int)v->split, (long long)v->time[k],
             STR_ARG(code), bits, (int)unit.n, unit.n ? unit.p : "", v->origin_file[k], v->origin_row[k], blob, (int)text.n,
             text.n ? text.p : "");
}
static inline void dump_store(const char *dir, struct buf *out) {
  struct timeline *t;
  OKAY(timeline_open(dir, &t, e));
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    for (uint32_t k = 0; k < v.n + v.labels; k++) dump_event(t, &v, i, k, out);
  }
  assert_false(timeline_damaged(t));
  timeline_close(t);
}

/* Puts BLOBS small blobs into a store's directory and says their names. */
enum { BLOBS = 4 };
static inline void put_blobs(const char *dir, char hex[BLOBS][65]) {
  for (int i = 0; i < BLOBS; i++) {
    char path[128], text[64];
    int n = snprintf(text, sizeof text, "the %d. blob of a test", i);
    snprintf(path, sizeof path, "%s/blob.tmp", dir);
    OKAY(file_write_atomic(path, text, (size_t)n, 0600, e));
    OKAY(blob_put(dir, path, hex[i], e));
    assert_false(file_exists(path));
  }
}

/* Random events: few subjects, codes, times, values, so that ties and duplicates are frequent. Strings live in static tables. */
static inline struct event random_event(struct rng *r, uint32_t subjects) {
  static const char *const codes[] = {"LOINC//2160-0",
                                      "LOINC//718-7",
                                      "ICD10CM//I50.9",
                                      "ATC//C03CA01",
                                      "ENCOUNTER//IMP",
                                      "GENDER//F",
                                      "MEDS_BIRTH",
                                      "SNOMED//44054006",
                                      "RXNORM//314076",
                                      "X",
                                      "x",
                                      "MEDS_DEATH",
                                      "LABEL//DEATH",
                                      "LABEL//a"};
  static const char *const units[] = {"", "mg/dL", "g/dL", "%", "mm[Hg]"};
  static const char *const texts[] = {"", "", "", "", "", "", "chest clear", "no acute distress; follow up in two weeks"};
  static const char *const displays[] = {"", "Creatinine", "creatinine, serum"};
  struct event ev = event_of(1 + (int64_t)rng_below(r, subjects) * 7919, 0, codes[rng_below(r, 14)], NAN);
  ev.time = rng_below(r, 8) == 0 ? TIME_STATIC : ((int64_t)rng_below(r, 400) - 200) * TIME_DAY;
  if (rng_below(r, 2)) ev.value = (float)rng_below(r, 5) - 2;
  if (rng_below(r, 20) == 0) ev.value = -0.0f;
  ev.unit = str_c(units[rng_below(r, 5)]);
  ev.text = str_c(texts[rng_below(r, 8)]);
  ev.display = str_c(displays[rng_below(r, 3)]);
  ev.origin_file = rng_below(r, 3);
  ev.origin_row = rng_below(r, 1000);
  return ev;
}
#endif
