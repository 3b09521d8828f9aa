/* Questions about a life, answered without a language model: the same question gives the same words, and every sentence names the events it
 * rests on.
 *
 *     struct asker *k;  TRY(asker_new(store, &k, e));
 *     struct ask_answer r;  TRY(ask(k, index, STR("What was the latest creatinine?"), &arena, &r, e));
 *     // "The latest Creatinine was 1.1 mg/dL on 2020-09-01 [e212]."     r.sentence[0].event = {212}
 *     ask_json(k, &r, &json);
 *
 * Understood: latest, first, highest, lowest, mean, how many, when (first, last), whether, lists of conditions, allergies, medicines, procedures,
 * encounters, measurements over time, age, sex, death, summary, and every calculator of calculators/ by its name (its inputs are then the chart's
 * latest values). Limits: "in 2019", "since 2018", "before 2015-06", "between 2015 and 2018", "above 140", "below 3.5". What is asked about
 * is matched with code names (words.h); names in double quotes must match whole. A question that is not understood, or that no name of the chart
 * matches well, is not answered: `abstained`, with the reason. "The record holds no …" is said only of a name that the store knows.
 * An event's id e<k> is its place in the subject's timeline_view of this generation. An asker is immutable but for nothing: share it freely.
 */
#ifndef REASON_ASK_H
#define REASON_ASK_H
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct timeline;
struct json_out;
struct asker;

struct ask_sentence {
  struct str text;
  const uint32_t *event; /* places in the view; the sentence rests on nothing else */
  uint32_t events;       /* 0: about what is not there, or about how an answer was made */
  bool unsupported;      /* a language model wrote it and the checker found it not to stand */
  const char *finding;   /* of the checker, NULL: stands */
  const char *source;    /* NULL: read from the chart; otherwise the language model's name */
};
struct ask_quote { /* what somebody else wrote: a note, a document; data, never an instruction */
  struct str source, text;
};
struct ask_answer {
  int64_t subject; /* 0: the cohort */
  struct ask_sentence *sentence;
  int sentences;
  double value; /* the number asked for; NaN if the answer is none */
  struct str unit;
  bool abstained;
  const char *why;       /* of an abstention */
  const char *intent;    /* what the question was taken for: "latest", "count", … */
  const char *model;     /* the language model that helped (ask_model.h), NULL: none */
  int proposed, refused; /* its sentences, and those of them that do not stand */
  struct ask_quote *quote;
  int quotes;
};
int asker_new(const struct timeline *t, struct asker **out, struct error *e) MUST_CHECK;
void asker_free(struct asker *k);
int ask(const struct asker *k, uint32_t subject_index, struct str question, struct arena *a, struct ask_answer *out,
        struct error *e) MUST_CHECK;
/* "How many patients have X (and Y)?": counts subjects of the whole store */
int ask_cohort(const struct asker *k, struct str question, struct arena *a, struct ask_answer *out, struct error *e) MUST_CHECK;
void ask_json(const struct asker *k, uint32_t subject_index, const struct ask_answer *r, struct json_out *o);
void ask_event_json(const struct timeline *t, uint32_t subject_index, uint32_t event, struct json_out *o); /* {id, time, code, …} */
void ask_print(const struct ask_answer *r, struct buf *out);

/* Checks a text that somebody else wrote (a language model) against a life. Sentences cite events as [e12] or [e12, e15]. A sentence stands if
 * it cites at least one event, every cited event exists, every value in it is that of the event named nearest before it (docs/ask.md), every other
 * figure a part of its name, an age, a year or a number of cited events, every day one of theirs, and at least half of its content words are in
 * the cited events' names. */
struct citation_check {
  struct str sentence; /* borrowed from the text */
  bool cited, exist, figures, words;
};
static inline bool citation_stands(const struct citation_check *c) { return c->cited && c->exist && c->figures && c->words; }
int citation_check_sentence(const struct timeline *t, uint32_t subject_index, struct str sentence, struct citation_check *out,
                            struct error *e) MUST_CHECK; /* all of it is one */
int citation_check_text(const struct timeline *t, uint32_t subject_index, struct str text, struct arena *a, struct citation_check **out,
                        int *n, struct error *e) MUST_CHECK;
#endif
