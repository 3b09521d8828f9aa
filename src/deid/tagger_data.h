/* Labelled texts for the tagger: read, chosen, scored.
 *
 *     struct tagger_set s;  TRY(tagger_set_open(&s, e));
 *     TRY(tagger_set_add(&s, "brat", "meddocan/train", &(struct tagger_choice){.k = 0, .n = 5, .without = true}, e));
 *     TRY(tagger_train(s.examples, s.n, &options, "out.tagger", &report, e));
 *     tagger_set_close(&s);
 *
 * Forms: "brat" (*.txt beside *.ann, offsets in code points), "jsonl" (a text a line: {id, text, spans: [{start, end, type}]} in code
 * points, or {id, text, phi: [{type, value}]} without offsets: each value is looked for in the text, longer values first, at the first place
 * still free), "presidio" (an array of {full_text, spans: [{entity_type, start_position, end_position}], template_id}).
 * Overlapping spans: the longer one stays. The choice is by a hash of the id (brat: the file's name; presidio: the template).
 */
#ifndef DEID_TAGGER_DATA_H
#define DEID_TAGGER_DATA_H
#include "base/arena.h"
#include "base/json.h"
#include "deid/tagger.h"

struct tagger_choice { /* of n parts by hash: part k only, or all but part k; n = 0: everything */
  uint32_t k, n;
  bool without;
};
struct tagger_set {
  struct tagger_example *examples;
  struct str *ids; /* as the examples */
  uint32_t n, cap;
  uint64_t lost; /* spans that could not be placed */
  struct arena memory;
};
int tagger_set_open(struct tagger_set *s, struct error *e) MUST_CHECK;
void tagger_set_close(struct tagger_set *s);
int tagger_set_add(struct tagger_set *s, const char *format, const char *path, const struct tagger_choice *only,
                   struct error *e) MUST_CHECK;
/* One example whose strings stay valid; spans in any order. */
int tagger_set_put(struct tagger_set *s, struct str id, struct str text, struct tagger_span *spans, uint32_t n, struct error *e) MUST_CHECK;
/* `times` copies of each example in which every other entity has the words of another entity of its label that begins alike (a capital, a
 * small letter, a digit): mention replacement (Dai and Adel 2020). */
int tagger_set_swap(struct tagger_set *s, uint32_t times, uint64_t seed, struct error *e) MUST_CHECK;
bool tagger_chosen(const struct tagger_choice *c, struct str id);

/* ---- figures: counted together, published together */
#define TAGGER_SCORE_LABELS 64
struct tagger_score_label {
  char name[48];
  uint64_t gold, found, strict, covered; /* covered: every character of the entity lies in some found span */
};
struct tagger_score {
  uint64_t texts, clean_texts, clean_touched; /* clean: texts without any identifier */
  uint64_t gold, found, strict, covered;
  uint64_t gold_bytes, hit_bytes, found_bytes, over_bytes, bytes; /* over: found bytes, white space apart, outside every gold span */
  uint64_t near_found, near_gold;                                 /* by intersection over union of .7 of any label */
  struct tagger_score_label label[TAGGER_SCORE_LABELS];
  uint32_t labels;
  double seconds;
};
int tagger_score(const struct tagger *t, const struct tagger_example *x, uint32_t n, struct tagger_score *out, struct error *e) MUST_CHECK;
double tagger_precision(const struct tagger_score *s);
double tagger_recall(const struct tagger_score *s);
double tagger_f1(const struct tagger_score *s);

/* A recipe: a JSON file that names examples (under `data`), templates, lists and options (beside it); the same recipe and inputs give
 * the same bytes. The choice is of the public examples; NULL = all. */
int tagger_recipe(const char *path, const char *data, const struct tagger_choice *choice, const char *out, struct tagger_report *report,
                  struct error *e) MUST_CHECK;
#endif
