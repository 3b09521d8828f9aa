/* Shared by sequential*.c only. */
#ifndef REASON_SEQUENTIAL_PRIVATE_H
#define REASON_SEQUENTIAL_PRIVATE_H
#include "base/map.h"
#include "reason/sequential.h"
#include "reason/words.h"

struct token {
  int word;    /* id in k->words; a negated word is another */
  int against; /* the id that denies it */
};
struct finding {        /* all that a disease shows under one action; action -1 = opening */
  int action, first, n; /* words: k->list[first, first + n) */
};
struct seq_disease {
  struct str name;
  int first, n; /* all its words, sorted: k->list */
  int finding, findings;
};
struct sequential {
  struct arena arena;
  struct intern words, names; /* names: folded name -> at name_of */
  int *name_of, names_cap;
  struct sequential_action action[SEQUENTIAL_ACTIONS];
  int actions;
  struct seq_disease *disease;
  int diseases, disease_cap;
  struct finding *finding;
  int findings, finding_cap;
  int *list, lists, list_cap;
  float *gain, *loss; /* (words) weight of a word heard; of one missing */
  int *against;       /* (words) id of the word's denial, -1 = no disease has it */
  struct str currency;
  double scale, echo;
  int *having_start, *having; /* word -> diseases that have it */
  char hash[3][65];           /* diagnoses, actions, words */
};
struct heard {
  int action; /* -1 = opening */
  struct str answer;
  double spent, gain;
  float *probability; /* (diseases) */
};
struct sequential_session {
  const struct sequential *k;
  struct arena *arena;
  struct sequential_options o;
  bool asked[SEQUENTIAL_ACTIONS], answered[SEQUENTIAL_ACTIONS];
  uint8_t *seen;     /* (words) */
  double *match;     /* (diseases) */
  double *score, *p; /* (diseases) */
  double spent, gain;
  struct heard *step; /* step 0 = the opening */
  int steps, step_cap;
  const char *why;
};
/* The words of a text one by one, stemmed; a denied one has a leading '-'. Begins as {.rest = text}; a word holds until the next. */
struct seq_cutter {
  struct str rest, part; /* of the text after this part; of the part, up to a mark of punctuation */
  bool denied, around, sentence;
  struct words found; /* of one run of letters: one, or what it means */
  int at;
  char word[WORD_BYTES + 1];
};
bool sequential_word(struct seq_cutter *c, struct str *out);
int sequential_fold(struct str name, char out[128]); /* bytes */
#endif
