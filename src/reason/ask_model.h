/* A question answered with the help of a language model that is not trusted. What the chart alone answers (ask.h) is said first and in its words.
 * The model sees the part of the life that fits its context: what tools and retrieval found, what weighs with the timeline model, what is recent;
 * it proposes sentences in a held form, each with events of that part. A sentence is kept only if it stands:
 *
 *   - it cites, the events exist, figures and days are those of the events named before them (citation_check_text);
 *   - it has no words but those of the cited events' names and units and a short list of words that report (so no "not", "because", "after");
 *   - "latest", "first", "highest", "lowest" are true of that code in this life; a number of times counts all of them;
 *   - it cites something that the question, a tool or the chart's own answer led to.
 *
 * The others are counted and, where asked for, shown as unsupported. Where nothing stands, the answer is the chart's own, or an abstention.
 *
 *     struct speaker v = {"smollm2", 2048, say, ctx};
 *     TRY(ask_speak(&scope, &v, STR("Any kidney trouble?"), &(struct ask_speak_options){.rounds = 1}, &arena, &r, e));
 *
 * Notes and documents stand in the prompt between marks, as text of others, with every angle bracket replaced; what is in them can at most make the
 * model propose something that does not stand. Errors are the speaker's own; E_CANCELLED.
 */
#ifndef REASON_ASK_MODEL_H
#define REASON_ASK_MODEL_H
#include "reason/ask_tools.h"

struct lm_message; /* model/lm.h */
struct speaker {
  const char *name;
  int context; /* tokens of prompt and answer */
  /* schema: JSON schema that the text must have */
  int (*say)(void *ctx, const struct lm_message *m, int n, struct str schema, int most, struct buf *out, struct error *e);
  void *ctx;
};
struct ask_speak_options {
  int rounds;       /* tools that the model may use where the chart alone does not answer; at most 8 */
  int context;      /* tokens of the rendered life; 0: 1,000 */
  bool unsupported; /* keep what does not stand, marked */
};
int ask_speak(const struct ask_scope *s, const struct speaker *v, struct str question, const struct ask_speak_options *o, struct arena *a,
              struct ask_answer *out, struct error *e) MUST_CHECK;
/* One proposed sentence against the life: NULL if it stands, else what is wrong. `relevant`: (events of the life) nonzero where the question led;
 * NULL: anywhere. */
const char *ask_sentence_finding(const struct asker *k, uint32_t index, struct str text, const uint32_t *event, uint32_t events,
                                 const uint8_t *relevant, struct arena *a, struct error *e);
/* The life as lines "e12 2019-02-03 Creatinine 1.5 mg/dL", in order of time, those with the largest weight, within `bytes`. shown: (events) set
 * to 1 for those. */
int ask_render(const struct asker *k, uint32_t index, const float *weight, size_t bytes, struct buf *out, uint8_t *shown, struct arena *a,
               struct error *e) MUST_CHECK;
/* Weight of every event of the life for a question: words or meaning, the timeline model's contributions, recency. weight: (events) */
int ask_weigh(const struct ask_scope *s, struct str question, float *weight, struct arena *a, struct error *e) MUST_CHECK;
#endif
