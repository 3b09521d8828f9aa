/* A store in plain arrays for tests of token/ and predict/: it answers the timeline_* calls they make, so these tests say
 * nothing about the real store and do not depend on it. One per program (it defines the functions). */
#ifndef TESTS_TOKEN_FAKE_TIMELINE_H
#define TESTS_TOKEN_FAKE_TIMELINE_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "timeline/timeline.h"

struct fake_event {
  int64_t subject, time;
  uint32_t code;
  float value;
};
struct timeline {
  struct fake_event *event;
  uint32_t n, cap;
  char (*name)[96];
  uint32_t codes, code_cap;
  uint32_t subjects, *start;
  int64_t *time;
  uint32_t *code, *origin_file, *origin_row;
  float *value;
  uint16_t *unit;
  enum split (*split)(int64_t subject);
};

static inline struct timeline *fake_new(enum split (*split)(int64_t)) {
  struct timeline *t = calloc(1, sizeof *t);
  t->split = split;
  return t;
}

static inline uint32_t fake_code(struct timeline *t, const char *name) {
  for (uint32_t c = 0; c < t->codes; c++)
    if (strcmp(t->name[c], name) == 0) return c;
  if (t->codes == t->code_cap) {
    t->code_cap = t->code_cap ? 2 * t->code_cap : 64;
    t->name = realloc(t->name, t->code_cap * sizeof *t->name);
  }
  snprintf(t->name[t->codes], sizeof *t->name, "%s", name);
  return t->codes++;
}

static inline void fake_add_id(struct timeline *t, int64_t subject, int64_t time, uint32_t code, float value) {
  if (t->n == t->cap) {
    t->cap = t->cap ? 2 * t->cap : 1024;
    t->event = realloc(t->event, t->cap * sizeof *t->event);
  }
  t->event[t->n++] = (struct fake_event){subject, time, code, value};
}

static inline void fake_add(struct timeline *t, int64_t subject, int64_t time, const char *code, float value) {
  fake_add_id(t, subject, time, fake_code(t, code), value);
}

static inline int fake_order(const void *x, const void *y, void *ctx) {
  const struct fake_event *a = x, *b = y;
  const struct timeline *t = ctx;
  if (a->subject != b->subject) return a->subject < b->subject ? -1 : 1;
  if (a->time != b->time) return a->time < b->time ? -1 : 1;
  int c = strcmp(t->name[a->code], t->name[b->code]);
  if (c) return c;
  return isnan(a->value) ? -1 : isnan(b->value) ? 1 : (a->value > b->value) - (a->value < b->value);
}

/* Sorts and builds the columns; may be called again after more fake_add. */
static inline void fake_seal(struct timeline *t) {
  qsort_r(t->event, t->n, sizeof *t->event, fake_order, t);
  t->start = realloc(t->start, (t->n + 2) * sizeof *t->start);
  t->time = realloc(t->time, (t->n + 1) * sizeof *t->time);
  t->code = realloc(t->code, (t->n + 1) * sizeof *t->code);
  t->value = realloc(t->value, (t->n + 1) * sizeof *t->value);
  t->unit = realloc(t->unit, (t->n + 1) * sizeof *t->unit);
  t->origin_file = realloc(t->origin_file, (t->n + 1) * sizeof *t->origin_file);
  t->origin_row = realloc(t->origin_row, (t->n + 1) * sizeof *t->origin_row);
  t->subjects = 0;
  for (uint32_t i = 0; i < t->n; i++) {
    if (i == 0 || t->event[i].subject != t->event[i - 1].subject) t->start[t->subjects++] = i;
    t->time[i] = t->event[i].time;
    t->code[i] = t->event[i].code;
    t->value[i] = t->event[i].value;
    t->unit[i] = 0;
    t->origin_file[i] = t->origin_row[i] = 0;
  }
  t->start[t->subjects] = t->n;
}

static inline void fake_free(struct timeline *t) {
  void *p[] = {t->event, t->name, t->start, t->time, t->code, t->value, t->unit, t->origin_file, t->origin_row, t};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
}

uint32_t timeline_subjects(const struct timeline *t) { return t->subjects; }
uint64_t timeline_events(const struct timeline *t) { return t->n; }
uint32_t timeline_codes(const struct timeline *t) { return t->codes; }
struct str timeline_code_name(const struct timeline *t, uint32_t c) {
  return str_c(t->name[c]);
}
struct str timeline_code_display(const struct timeline *t, uint32_t c) {
  return c % 2 ? str_c(t->name[c]) : STR_NONE;
}
struct str timeline_unit_name(const struct timeline *t, uint16_t u) {
  (void)t;
  return u ? STR("mg/dL") : STR_NONE;
}
const char *timeline_hash(const struct timeline *t) {
  (void)t;
  return "fa4e";
}
bool timeline_code_find(const struct timeline *t, struct str name, uint32_t *code) {
  for (uint32_t c = 0; c < t->codes; c++)
    if (str_eqc(name, t->name[c])) {
      *code = c;
      return true;
    }
  return false;
}
struct timeline_view timeline_view(const struct timeline *t, uint32_t i) {
  uint32_t at = t->start[i], n = t->start[i + 1] - at, statics = 0;
  while (statics < n && t->time[at + statics] == TIME_STATIC) statics++;
  int64_t subject = t->event[at].subject;
  return (struct timeline_view){.subject = subject,
                                .n = n,
                                .statics = statics,
                                .split = t->split ? t->split(subject) : SPLIT_TRAIN,
                                .time = t->time + at,
                                .code = t->code + at,
                                .value = t->value + at,
                                .unit = t->unit + at,
                                .origin_file = t->origin_file + at,
                                .origin_row = t->origin_row + at};
}
int timeline_find(const struct timeline *t, int64_t subject, uint32_t *index, struct error *e) {
  for (uint32_t i = 0; i < t->subjects; i++)
    if (t->event[t->start[i]].subject == subject) {
      *index = i;
      return OK;
    }
  return error_set(e, E_NOTFOUND, "no such subject");
}
#endif
