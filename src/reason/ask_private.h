/* Shared by ask_*.c, citation.c and draft*.c only. */
#ifndef REASON_ASK_PRIVATE_H
#define REASON_ASK_PRIVATE_H
#include <math.h>

#include "reason/ask.h"
#include "reason/words.h"

enum ask_intent {
  ASK_UNKNOWN,
  ASK_LATEST,
  ASK_FIRST,
  ASK_HIGHEST,
  ASK_LOWEST,
  ASK_MEAN,
  ASK_COUNT,
  ASK_WHEN_FIRST,
  ASK_WHEN_LAST,
  ASK_EXISTS,
  ASK_TREND,
  ASK_LIST,
  ASK_AGE,
  ASK_SEX,
  ASK_DEATH,
  ASK_SUMMARY,
  ASK_CALCULATE,
  ASK_COHORT,
  ASK_INTENTS
};
extern const char *const ask_intent_name[ASK_INTENTS];
struct ask_question {
  enum ask_intent intent;
  int kind;            /* ASK_LIST: a timeline_kind */
  int64_t from, to;    /* [from, to) us; INT64_MIN, INT64_MAX = open */
  double above, below; /* -INFINITY, INFINITY = open; strict */
  struct str exact;    /* between double quotes */
  struct words words;  /* what is asked about */
  struct str term;     /* the same, as it was said, for messages to the asker */
};
struct calculator;
struct timeline_view;
struct asker {
  const struct timeline *t;
  struct word_index *ix;
  struct calculator **calculator;
  struct words *calculator_words; /* of name and title */
  int calculators;
  struct arena a;
  struct str *name; /* by code: display, else code; with its state where only the code has it: "…, resolved", "… (allergy)" */
};
/* Pure. `text` is borrowed by the result. */
void ask_parse(struct str text, struct ask_question *out);
/* Cuts a question about many at its "and"s, but for "between 2015 and 2018"; in *why what of it is not understood, else NULL. */
int ask_parts(struct str text, struct str *part, int most, const char **why);
/* The calculator that the question names, NULL if none */
const struct calculator *ask_calculator(const struct asker *k, struct str text);

/* One subject's chart while an answer is made */
struct chart {
  const struct asker *k;
  uint32_t index;
  const struct ask_question *q;
  struct arena *a;
  struct ask_answer *r;
  struct error *e;
};
/* The checker's words: what a name says and people say otherwise ("birth", "born") is the same */
bool citation_has_word(const struct words *name, const char *said);
bool citation_names(const struct timeline *t, const struct timeline_view *v, uint32_t event, const char *said); /* name, code, unit */
bool citation_is_figure(const char *word);                                                                      /* and no letter */
/* Who it is: places of events, UINT32_MAX = none; `first` and `last` are timed and not the birth */
struct ask_person {
  uint32_t birth, death, sex, first, last;
  struct str sex_text;
};
struct ask_person ask_person_of(const struct timeline *t, uint32_t index);
const char *ask_sex_word(const struct ask_person *p, char out[64]); /* "female", "male", or as recorded */
int ask_whole_years(int64_t from, int64_t to);                      /* by the calendar: a year more on each birthday */
/* One code of a kind within the question's limits; the latest first */
struct ask_entry {
  uint32_t code, first, last, n;
};
int ask_entries(struct chart *c, int kind, struct ask_entry **out, uint32_t *n);
int ask_say(struct chart *c, const uint32_t *event, uint32_t events, const char *fmt, ...) PRINTF(4, 5);
int ask_more_sentences(struct chart *c); /* room for one more */
int ask_about_events(struct chart *c);   /* what c->q asks of the events that its words mean */
/* Text of others for a prompt: no angle brackets, no line ends */
void ask_plain(struct buf *b, struct str s);
#define ASK_LED 8.0F /* weight of an event that a tool or the chart's own answer led to */
int ask_calculate(struct chart *c, const struct calculator *calc);
int ask_summary(struct chart *c);
int ask_list(struct chart *c, int kind);
int ask_demography(struct chart *c);
const char *ask_day(int64_t us, char out[16]);
/* " 1.2 mg/dL" or "" */
const char *ask_value(const struct timeline *t, float value, uint16_t unit, char out[64]);
static inline struct str ask_name(const struct asker *k, uint32_t code) { return k->name[code]; }
struct str ask_plain_name(const struct timeline *t, uint32_t code); /* without the state */
bool ask_is_allergy(const struct asker *k, uint32_t code);
bool ask_is_resolution(const struct asker *k, uint32_t code); /* it ends what another code says, and is no further record of it */
bool ask_in_limits(const struct ask_question *q, int64_t time, float value);
static inline bool ask_limits_value(const struct ask_question *q) { return q->above > -INFINITY || q->below < INFINITY; }
#endif
