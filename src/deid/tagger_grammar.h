/* Sentences made from a file of templates, with their labelled spans: what the shipped tagger learns from beside public data.
 *
 *     = note                                      a symbol; the lines below are its alternatives, each equally likely
 *     Seen by Dr. [NAME {first} {last}] on {day}.  {first} expands a symbol or takes an entry of a word list; [LABEL ...] is an entity
 *     = day
 *     [DATE {1-12}/{01-28}/{1950-2024}]            {1-12} a number, {01-12} with its zero; {9} {A} {a} a digit, a letter
 *
 * {^x} is x in capitals, {~x} in small letters; \n a line end, \{ \[ \\ themselves. Entries of word lists get a capital for each word.
 * Lines that begin with # are comments. Depth and length are limited. The same file, lists and seed give the same sentences.
 */
#ifndef DEID_TAGGER_GRAMMAR_H
#define DEID_TAGGER_GRAMMAR_H
#include "base/random.h"
#include "deid/tagger_data.h"

struct tagger_grammar;
int tagger_grammar_new(struct tagger_grammar **out, struct error *e) MUST_CHECK;
void tagger_grammar_free(struct tagger_grammar *g);
int tagger_grammar_read(struct tagger_grammar *g, struct str file, struct error *e) MUST_CHECK;                     /* templates; copied */
int tagger_grammar_words(struct tagger_grammar *g, const char *name, const char *path, struct error *e) MUST_CHECK; /* .txt or .txt.zst */
bool tagger_grammar_has(const struct tagger_grammar *g, struct str symbol);
/* One text from a symbol: appends to `text` and to `spans` (their labels live as long as the grammar). */
struct tagger_spans {
  struct tagger_span *at;
  uint32_t n, cap;
};
int tagger_grammar_make(const struct tagger_grammar *g, struct str symbol, struct rng *r, struct buf *text, struct tagger_spans *spans,
                        struct error *e) MUST_CHECK;
#endif
