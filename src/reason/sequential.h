/* Diagnosis step by step: ask, examine, test at a cost; hold odds; stop when nothing more is worth its price.
 *
 *     struct sequential *k;  TRY(sequential_open(&(struct sequential_files){0}, &k, e));           // the shipped knowledge
 *     struct sequential_session *s;
 *     TRY(sequential_begin(k, &(struct sequential_options){.budget = 500, .worth = 5000}, opening, &arena, &s, e));
 *     for (struct sequential_choice c; TRY(sequential_choose(s, &c, e)), c.action >= 0;)
 *       TRY(sequential_hear(s, c.action, the_answer_to(c.action), e));
 *     sequential_probability(s, i) … sequential_transcript(s, &json);
 *
 * Knowledge: diseases with findings in words, each under the question, examination or test that shows it; a table of actions with their costs; how
 * common the words are in cases whatever the disease (b) and which share of a disease's words a case shows (`echo`). What is heard is cut into words,
 * said or denied. A disease's score: log(echo / b) for each of its words that is heard; log((1 - echo) / (1 - b)) for each on file under an action
 * that has answered without it; half of a word's weight off for its denial. Odds = softmax of the scores times `scale` (below 1, as words are not
 * independent; learned).
 * An action's gain: over the diseases now likely, what its answer would do to the odds if it showed the findings on file
 * (in part: `echo`) or nothing of note; expected drop of entropy, as a share of log2(diseases), which is full ignorance. Worth taking if gain x `worth`
 * is more than the cost; of these within the budget the one with the most gain for its cost is next; with none the session stops. One step ahead only. In the manner of MAI-DxO (arXiv 2506.22405) with counting instead of a language model; a
 * language model can propose through struct sequential_proposer: it sees what the session has heard and adds to the actions' values.
 * Same knowledge, options and answers: the same transcript. A transcript is checked by running it again (sequential_replay).
 * Errors: E_INPUT for bad files, E_LIMIT for too many actions or diseases. Knowledge is immutable and may be shared by threads; a session is of one.
 */
#ifndef REASON_SEQUENTIAL_H
#define REASON_SEQUENTIAL_H
#include <stdbool.h>

#include "base/str.h"

struct sequential;
struct sequential_session;
struct json;
struct json_out;
#define SEQUENTIAL_ACTIONS 128   /* at most */
#define SEQUENTIAL_DISEASES 4096 /* at most */

enum sequential_kind { SEQUENTIAL_QUESTION, SEQUENTIAL_EXAMINATION, SEQUENTIAL_TEST };
enum sequential_policy {
  SEQUENTIAL_INFORMED,
  SEQUENTIAL_FIXED,
  SEQUENTIAL_EVERYTHING
}; /* fixed: the table's order until the budget is spent */
struct sequential_files {
  const char *diagnoses, *actions, *words; /* NULL = the shipped ones */
};
struct sequential_action {
  struct str id, name;
  enum sequential_kind kind;
  double cost;
  const struct str *key; /* what records call it: words, lower case */
  int keys;
  bool generic; /* a record's key that says more goes first */
  int like;     /* an earlier action whose findings its answer may show too; -1 = none */
};
struct sequential_proposer { /* propose: adds to value[action] (in the currency); unavailable actions are -INFINITY and stay so */
  void *with;
  int (*propose)(void *with, const struct sequential_session *s, double *value, struct error *e);
};
struct sequential_options {
  double budget; /* hard: never exceeded; 0 = none */
  double worth;  /* of certainty against full ignorance; 0 = 5,000 */
  /* Probability that an answer says anything, by kind, of a disease with findings there (shown) and of others; 0 = 1. Below 1 for cases
   * of which not everything is on record. */
  double shown[3], other[3];
  enum sequential_policy policy;
  struct sequential_proposer proposer; /* {0} = none */
};
struct sequential_choice {
  int action;      /* -1 = stop */
  double gain;     /* expected share of full ignorance that it removes */
  const char *why; /* of the stop: "worth", "budget", "asked" */
};

int sequential_open(const struct sequential_files *f, struct sequential **out, struct error *e) MUST_CHECK;
void sequential_free(struct sequential *k);
int sequential_actions(const struct sequential *k);
const struct sequential_action *sequential_action(const struct sequential *k, int i);
int sequential_action_find(const struct sequential *k, struct str id); /* -1 = none */
int sequential_diseases(const struct sequential *k);
struct str sequential_disease(const struct sequential *k, int i);
int sequential_disease_find(const struct sequential *k,
                            struct str name); /* by name or other name, spelling of case and marks aside; -1 = none */
bool sequential_shows(const struct sequential *k, int disease, int action); /* has findings on file there */
struct str sequential_currency(const struct sequential *k);

/* How common words are: {"documents": N, "echo": X, "scale": X, "words": {"word": documents with it}}. Counting makes such a text of what cases
 * say in all (scale 1); using it replaces what the knowledge had: not while sessions are open. */
int sequential_count(const struct sequential *k, const struct str *text, int n, double echo, double scale, struct buf *json,
                     struct error *e) MUST_CHECK;
int sequential_use(struct sequential *k, const char *json, size_t n, struct error *e) MUST_CHECK;

int sequential_begin(const struct sequential *k, const struct sequential_options *o, struct str opening, struct arena *a,
                     struct sequential_session **out, struct error *e) MUST_CHECK;
int sequential_choose(struct sequential_session *s, struct sequential_choice *out, struct error *e) MUST_CHECK;
int sequential_hear(struct sequential_session *s, int action, struct str answer,
                    struct error *e) MUST_CHECK;     /* STR_NONE: nothing on record */
void sequential_leave(struct sequential_session *s); /* whoever answers goes while there is more to ask: the transcript's end is "left" */
double sequential_probability(const struct sequential_session *s, int disease);
double sequential_score(const struct sequential_session *s, int disease); /* before `scale` */
int sequential_first(const struct sequential_session *s);
double sequential_spent(const struct sequential_session *s);
int sequential_steps(const struct sequential_session *s); /* answers heard */
/* How many words are on file for this disease under the opening and the actions that answered, and how many of them were heard */
void sequential_echo(const struct sequential_session *s, int disease, int *on_file, int *heard);
/* Everything said, every probability of a thousandth or more, the costs; each step's hash covers the one before. */
int sequential_transcript(const struct sequential_session *s, struct buf *json, struct error *e) MUST_CHECK;
/* Runs a transcript again; E_MISMATCH names the first step that does not come out the same, or other knowledge. `again` receives the new text. */
int sequential_replay(const struct sequential *k, struct json transcript, struct buf *again, struct error *e) MUST_CHECK;
#endif
