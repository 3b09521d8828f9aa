/* Words of questions and of code names: cut, folded, weighed, matched.
 *
 *     struct word_index *ix;  TRY(word_index_new(t, &ix, e));                    // all code names of a store, once
 *     struct word_match m[8];  int n = word_index_find(ix, STR("systolic blood pressure"), NULL, m, 8);
 *
 * A name's words are its display's (or, without one, its code's parts after the system), and "allergy" where the code ends so. A match's score
 * is the share of the question's words, each weighed by how few names have it, that the name has; 2 = the name is exactly this. Names of equal
 * score: the shorter first, then by code.
 * An index is immutable and may be shared by threads; it borrows the store.
 */
#ifndef REASON_WORDS_H
#define REASON_WORDS_H
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct timeline;
struct word_index;
#define WORDS_MOST 32 /* of one question */
#define WORD_BYTES 40
struct words { /* lower case, plural s off, without stop words */
  int n;
  bool more; /* than fit: the others are not here */
  char word[WORDS_MOST][WORD_BYTES];
};
struct word_match {
  uint32_t code;
  double score;
  bool whole;     /* the name has no other words than the question */
  uint32_t words; /* of the name */
};
/* A name without what SNOMED CT ends it with: "Asthma (disorder)" -> "Asthma" */
size_t words_legible(struct str code,
                     char *out); /* a code as documents write it, "LOINC 2160-0": "//" and "_" are gaps; out has code.n bytes */
struct str words_untagged(struct str display);
void words_cut(struct str text, struct words *out);
int word_index_new(const struct timeline *t, struct word_index **out, struct error *e) MUST_CHECK;
void word_index_free(struct word_index *ix);
/* Best names first. `among`: (codes of the store) only where nonzero; NULL = all. */
int word_index_find(const struct word_index *ix, const struct words *w, struct str exact, const uint8_t *among, struct word_match *out,
                    int most);
#endif
