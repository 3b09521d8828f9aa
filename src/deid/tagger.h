/* A small learned tagger of identifiers in text: linear-chain, hashed features, any language. Trained by its own trainer here.
 *
 *     struct tagger *t;  TRY(tagger_load("policy/text-en.tagger", &t, e));
 *     struct tagger_work *w;  TRY(tagger_work_new(t, &w, e));     // one a thread
 *     TRY(tagger_find(t, w, text, &spans, e));          // adds spans with TEXT_BY_TAGGER; spans are whole tokens
 *     tagger_work_free(w), tagger_free(t);
 *
 *     TRY(tagger_train(examples, n, &options, "out.tagger", &report, e));   // same examples, options, seed: the same bytes
 *
 * The file is described in tagger.c's head (magic, version, labels, options, weights, checksum); every length in it is hostile.
 * A loaded tagger is immutable and may be shared by threads; a work (memory for a text's tokens, what the lists said of the words met last)
 * belongs to one tagger and one thread.
 */
#ifndef DEID_TAGGER_H
#define DEID_TAGGER_H
#include "base/error.h"
#include "base/str.h"
#include "deid/text.h"

struct tagger;
struct tagger_work;
struct tagger_span { /* in an example: bytes, half open; label is the data set's own word ("NOMBRE_SUJETO_ASISTENCIA", "PERSON") */
  uint32_t start, end;
  struct str label;
};
struct tagger_example {
  struct str text;
  const struct tagger_span *spans; /* sorted, without overlap */
  uint32_t n;
};
struct tagger_options {
  int epochs;
  uint64_t seed;
  const char *lists;             /* directory or file of word lists used as features, NULL = none */
  const char *const *list_files; /* or several, ended by NULL */
  /* JSON object: data set's word -> text label name, or "OURS:NAME" for several labels of one kind; absent: every word is a label of
   * its own mapped to OTHER */
  struct str labels_map;
  /* zero stands for the default of each */
  bool merge;            /* the labels are those of the map, not the data set's words; a word mapped to "" or not named is no entity */
  uint32_t scheme;       /* 4 = BIOES (default), 2 = BIO: half the tags, faster */
  uint32_t min_count;    /* features seen less often are left out; default 2 */
  double decay, rate;    /* L2 strength; first step of AdaGrad */
  double dropout;        /* share of features hidden from each step: texts unlike the examples fare better */
  uint32_t runs;         /* learn this often, each time in another order, and keep the mean: steadier; default 1 */
  double lean;           /* taken from the score of "no entity": finds more, and more wrongly */
  double least;          /* weights nearer to zero are not written: smaller files */
  uint64_t templates[2]; /* bit k % 64 of element k / 64: feature template k of tagger_features.c; none = the first 64 */
};
void tagger_templates(const char *hex, uint64_t out[2]); /* up to 32 digits; the last 16 are element 0 */
struct tagger_report {
  uint64_t tokens, features, crossing; /* crossing: spans whose edges are inside a token */
  double accuracy, seconds;
};
int tagger_train(const struct tagger_example *examples, uint32_t n, const struct tagger_options *o, const char *path,
                 struct tagger_report *report, struct error *e) MUST_CHECK;
int tagger_load(const char *path, struct tagger **out, struct error *e) MUST_CHECK;
int tagger_load_bytes(const uint8_t *p, size_t n, struct tagger **out, struct error *e) MUST_CHECK; /* pure; fuzzed */
void tagger_free(struct tagger *t);
int tagger_work_new(const struct tagger *t, struct tagger_work **out, struct error *e) MUST_CHECK;
void tagger_work_free(struct tagger_work *w); /* wipes */
/* Adds spans; out->at[i].label is an enum text_label. Without a work (NULL) the call makes one of its own. */
int tagger_find(const struct tagger *t, struct tagger_work *w, struct str text, struct text_spans *out, struct error *e) MUST_CHECK;
/* The same, asking only round what is loud: capitals on words that are not in the list "words", three digits and more, "@". What is found
 * elsewhere would need more than the tagger's word to be believed (text.c); leaving it out is what makes notes fast. */
int tagger_find_loud(const struct tagger *t, struct tagger_work *w, struct str text, struct text_spans *out, struct error *e) MUST_CHECK;
/* The same with the data set's own words, for scoring: label index -> tagger_label. */
int tagger_find_own(const struct tagger *t, struct tagger_work *w, struct str text, struct text_spans *out, struct error *e) MUST_CHECK;
const char *tagger_label(const struct tagger *t, int label); /* NULL beyond the last */
int tagger_label_kind(const struct tagger *t, int label);    /* enum text_label */
#endif
