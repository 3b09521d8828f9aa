/* Shared by the files of token/ only: what a vocabulary and a token map hold. */
#ifndef TOKEN_PRIVATE_H
#define TOKEN_PRIVATE_H
#include "base/map.h"
#include "token/token.h"

#define VOCABULARY_FORMAT "vitae-vocabulary"
#define VOCABULARY_VERSION 1
#define VOCABULARY_MAX_CODES (1u << 20) /* a file that claims more is refused */
#define VOCABULARY_MAX_BYTES (512u << 20)
#define VOCABULARY_MIN_LOG_RATE (-20.0f) /* about one event in 1.3 million subject-years: keeps starting biases finite */

struct vocabulary {
  struct arena arena;             /* entries and names */
  struct vocabulary_entry *entry; /* (codes); 0 = unknown */
  uint32_t codes, rows, outcomes;
  uint32_t *outcome_code; /* (outcomes) */
  uint32_t death;
  struct map names;          /* code -> id; the unknown code is not in it */
  uint64_t subjects, events; /* of the training split */
  double subject_days, instant_events;
  bool dates;
  struct vocabulary_options options;
  char source[65]; /* timeline_hash of the store it was built from */
  struct buf json; /* the file's bytes */
  char hash[65];
};

struct token_map {
  const struct vocabulary *v;
  uint32_t n;
  uint32_t *id;   /* (n) store code -> vocabulary id */
  uint8_t *birth; /* (n) 1 = MEDS_BIRTH: gives ages, is never an entry or a target */
};

/* Assigns knot rows, outcome table, death and name map from v->entry; E_INPUT where entries contradict each other. */
int vocabulary_index(struct vocabulary *v, struct error *e) MUST_CHECK;
int vocabulary_encode(struct vocabulary *v, struct error *e) MUST_CHECK; /* entries -> json bytes and hash */
struct vocabulary *vocabulary_alloc(struct error *e);
/* The part of a code before its last "//", STR_NONE at the top. */
struct str code_parent(struct str code);
/* code is `name` or begins with `name` + "//" */
bool code_is(struct str code, const char *name);

/* Time features of one position (token_time.c). */
struct token_moment {
  bool is_static, is_moment, has_age;
  int64_t birth, time, previous, first; /* previous: time of the instant before; = first for the first one */
  int events;                           /* at this position */
};
void token_time_features(const struct token_moment *m, float out[TOKEN_TIME_FEATURES], float *age_years, float *rope_time);
#endif
