/* Vocabulary and packing: timeline -> model input. The ONE code path for training and for serving.
 *
 *     struct vocabulary *v;  TRY(vocabulary_build(store, &(struct vocabulary_options){0}, &v, e));   // from the training split only
 *     TRY(vocabulary_save(v, "model/vocabulary.json", e));   … vocabulary_load …                     // its hash goes into the checkpoint
 *     struct token_map *map;  TRY(token_map_new(v, store, &map, e));                                 // store code id -> vocabulary id
 *     struct token_batch *b = token_batch_new(context, …);  token_pack(…)
 *
 * A *position* is one instant of one life: all events at the same time are one set (pack = instant; then events at the same
 * instant cannot see each other by construction), or one event (pack = event; the attention's tie mask does the same).
 * Position 0 of every sequence holds the static facts. An event contributes weighted rows of the embedding table: its code's
 * row (weight 1), and, if it has a value, the two knot rows around the value (weights 1-f and f): a piecewise-linear
 * function over the code's own quantiles (after Gorishniy et al. 2022), never a bin alone. Codes outside the vocabulary fall to
 * their longest known "//" prefix (hierarchy), else to row 0 (unknown).
 */
#ifndef TOKEN_TOKEN_H
#define TOKEN_TOKEN_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "base/time.h"

struct timeline;
struct timeline_view;
struct task_example;
struct vocabulary;
struct token_map;

#define TOKEN_UNKNOWN 0
#define VOCABULARY_FOLLOWED 20 /* persons whose follow-up makes a statement about a horizon one about something seen */
#define TOKEN_KNOTS 12         /* most knots a code may have */
#define TOKEN_EVENT_TARGETS 32
#define TOKEN_TIME_FEATURES 24 /* age sin/cos, log gap, log time since first event, hour of day, flags: token_time.c says which is which */

struct vocabulary_options {
  uint32_t min_subjects;         /* a code must occur in this many training subjects; default 5 (also keeps rare, identifying codes out) */
  uint32_t max_codes;            /* default 20000, most frequent first */
  uint32_t min_outcome_subjects; /* default 20: from here on a code is an outcome of the hazard head */
  uint32_t max_outcomes;         /* default 512 */
};
struct vocabulary_entry {
  struct str code, display;
  uint64_t count; /* in training subjects */
  uint32_t subjects;
  bool is_static;          /* only ever seen without a time */
  int knots;               /* 0 = no values; else 2..TOKEN_KNOTS */
  float knot[TOKEN_KNOTS]; /* ascending, distinct: the code's own quantiles */
  uint32_t knot_row;       /* first embedding row of its knots */
  float mean, sd;          /* of the values, for features */
  int32_t outcome;         /* index in the hazard head, -1 = none */
  float log_rate;          /* log of events per subject-day at risk in training: starting bias of the heads */
  float together;          /* mean size of the instants that hold it, as a code picked from an instant by chance finds it: >= 1 */
  float
      followed_days; /* for how long at least VOCABULARY_FOLLOWED training persons were followed after they first had it; < 0: fewer had it */
};
int vocabulary_build(const struct timeline *t, const struct vocabulary_options *o, struct vocabulary **out, struct error *e) MUST_CHECK;
int vocabulary_save(const struct vocabulary *v, const char *path, struct error *e) MUST_CHECK;
int vocabulary_load(const char *path, struct vocabulary **out, struct error *e) MUST_CHECK;
void vocabulary_free(struct vocabulary *v);
const char *vocabulary_hash(const struct vocabulary *v); /* SHA-256 of the file's bytes */
uint32_t vocabulary_codes(const struct vocabulary *v);   /* V: ids 0..V-1, 0 = unknown */
uint32_t vocabulary_rows(const struct vocabulary *v);    /* V + all knot rows: height of the embedding table */
uint32_t vocabulary_outcomes(const struct vocabulary *v);
const struct vocabulary_entry *vocabulary_at(const struct vocabulary *v, uint32_t id);
uint32_t vocabulary_outcome_code(const struct vocabulary *v, uint32_t outcome); /* outcome index -> vocabulary id */
bool vocabulary_find(const struct vocabulary *v, struct str code, uint32_t *id);
double vocabulary_instant_events(const struct vocabulary *v); /* mean events of an instant in training, >= 1 */
bool vocabulary_dates(const struct vocabulary *v);            /* no event in training had a time of day */
uint32_t vocabulary_death(const struct vocabulary *v);        /* id of MEDS_DEATH, 0 if absent */

int token_map_new(const struct vocabulary *v, const struct timeline *store, struct token_map **out, struct error *e) MUST_CHECK;
void token_map_free(struct token_map *m);
uint32_t token_map_id(const struct token_map *m, uint32_t store_code);
bool token_map_birth(const struct token_map *m, uint32_t store_code); /* MEDS_BIRTH: gives ages, is neither an entry nor a target */
/* value -> position on the code's knots: lower knot index and fraction to the next; clamped at the ends */
void token_knot(const struct vocabulary_entry *entry, float value, int *lower, float *fraction);
float token_knot_value(const struct vocabulary_entry *entry, float position); /* the inverse: knot coordinate -> value */

enum token_pack_mode { PACK_INSTANT, PACK_EVENT };
struct token_batch { /* ragged, packed without padding; arrays live in the batch's own arena until the next clear */
  int sequences, positions, entries, targets;
  int32_t *seq_start;      /* (sequences+1) position offsets */
  uint32_t *subject_index; /* (sequences) */
  int64_t *end_time;       /* (sequences) last time known of the subject: end of follow-up for hazards */
  int64_t *time;           /* (positions) us; position 0 of a sequence (static facts) has the time of the first timed event */
  float *age_years;        /* (positions) */
  int32_t *entry_start;    /* (positions+1) */
  int32_t *entry_id;       /* (entries) embedding rows */
  float *entry_weight;     /* (entries) */
  float *time_feature;     /* (positions, TOKEN_TIME_FEATURES) */
  float *rope_index;       /* (positions) 0, 1, 2 … in its sequence */
  float *rope_time;        /* (positions) days since the first event, compressed: log1p(days*24) */
  /* targets: the codes at the next later instant that has any (not static codes, not the unknown code, not births), taken from the WHOLE life;
   * the static position's are those after the first instant. PACK_EVENT: at most TOKEN_EVENT_TARGETS a position, dealt round the tied positions. */
  int32_t *target_start; /* (positions+1) */
  int32_t *target_id;    /* (targets) vocabulary ids */
  float *target_knot;    /* (targets) value as knot coordinate (lower + fraction), NaN = none */
  float *gap_days;       /* (positions) days to that instant; NaN where nothing follows (then days to end_time are in tail_days) */
  float *tail_days;      /* (positions) days from here to end_time */
  /* hazard targets: for position p and outcome o the days to the first occurrence after p, by first-occurrence time of o in the sequence */
  int64_t *outcome_first; /* (sequences, outcomes) time of the first occurrence of each outcome in the WHOLE life; INT64_MAX = never */
  struct arena arena;
  size_t cap_outcome_first;
  int cap_positions, cap_sequences, cap_entries, cap_targets,
      outcomes; /* outcomes: row length of outcome_first, fixed by the first sequence */
};
int token_batch_init(struct token_batch *b, size_t memory_limit, struct error *e) MUST_CHECK;
void token_batch_clear(struct token_batch *b);
void token_batch_release(struct token_batch *b);

struct token_options {
  enum token_pack_mode pack;
  int context;       /* most positions of a sequence: static position + the latest context-1 */
  bool want_targets; /* fill targets and outcome_first (training, validation loss) */
};
/* Generated positions (decoding): appends one sequence of ONE position that follows `events` codes at one instant. `birth`
 * INT64_MIN = unknown; previous, first: times of the instant before and of the first event; index: its place in its sequence. */
struct token_next {
  int64_t birth, first, previous, time;
  int index, events;
  const uint32_t *code; /* (events) vocabulary ids */
  const float *knot;    /* (events) knot coordinates, NaN = no value */
};
int token_pack_next(const struct vocabulary *v, const struct token_next *next, struct token_batch *b, struct error *e) MUST_CHECK;
/* The times that a sequence's features are relative to: of the first `events` events. INT64_MIN where there is none. */
void token_life_times(const struct token_map *m, const struct timeline_view *view, uint32_t events, int64_t *birth, int64_t *first,
                      int64_t *last);
/* Appends one sequence: the first `events` events of the view (a prefix: nothing later can leak in), at moment `now`
 * (>= last event's time; INT64_MIN = that time). With now later than the last event a final empty position stands for the moment itself
 * (time features only), so that the model knows how long nothing has been recorded. */
int token_pack(const struct vocabulary *v, const struct token_map *m, const struct timeline_view *view, uint32_t subject_index,
               uint32_t events, int64_t now, const struct token_options *o, struct token_batch *b, struct error *e) MUST_CHECK;

/* Tabular features of a life up to a moment, for the baseline and for the task head's tabular parts. Per chosen code: count, hours since
 * the last, count in the last quarter of the record; for codes with values also first, last, min, max, mean, sum, sd, last - first, and mean,
 * min and max of the last quarter; plus age, days of record, events, instants, and what all codes say together:
 * events, and codes seen, in the last half, quarter and eighth of the record; values outside their code's 5 and 95 % points among the training
 * examples; and sums over codes of how far the lowest, highest and last value lie from the median there (in quartile ranges, at most 5). A code may be a group, "ICD10CM//E11.*": all codes with that stem before the dot, where there are several. Missing = NaN.
 * Columns are chosen on the training examples only: codes present in >= min_rate of them (below 0: in 50, within 0.2 % and 2 %). */
struct feature_set;
int feature_set_build(const struct timeline *store, const struct task_example *examples, uint32_t n, double min_rate, uint32_t max_codes,
                      struct feature_set **out, struct error *e) MUST_CHECK;
void feature_set_free(struct feature_set *f);
uint32_t feature_count(const struct feature_set *f);
void feature_name(const struct feature_set *f, uint32_t column, struct buf *out);
void feature_row(const struct feature_set *f, const struct timeline *store, const struct timeline_view *view, uint32_t events, int64_t now,
                 float *row);
int feature_set_write(const struct feature_set *f, struct buf *json, struct error *e) MUST_CHECK; /* kept with the task head */
int feature_set_read(struct str json, struct feature_set **out, struct error *e) MUST_CHECK;
/* Binds a feature set to another store's dictionary (serving); features are by code name. */
int feature_set_bind(struct feature_set *f, const struct timeline *store, struct error *e) MUST_CHECK;
/* A copy bound to `store`: a model's own feature set is shared by threads and stays untouched. */
int feature_set_copy(const struct feature_set *f, const struct timeline *store, struct feature_set **out, struct error *e) MUST_CHECK;
#endif
