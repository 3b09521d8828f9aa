/* Drafts of documents from a life: visit summary, referral letter, discharge summary. No language model: the same record gives the same words.
 *
 *     struct drafter *d;  TRY(drafter_new(asker, NULL, &d, e));                 // NULL: the shipped knowledge/drafts.json
 *     struct draft r;     TRY(draft_write(d, index, STR("discharge"), &(struct draft_model){0}, &arena, &r, e));
 *     draft_json(d, index, &r, &json);                                            // or draft_print
 *
 * Documents are data (docs/drafting.md): sections of parts, each with its window and its sentences' patterns. A sentence of the record cites
 * the events that it rests on and is held against them by the checker of ask.h; one that does not stand is left out and counted (`withheld`).
 * A sentence of the model says what a version foretells and cites the events that moved it most; its figure is the model's, in no event.
 * An absence says that a window of the record holds none of a kind: it was looked for, and cites nothing. A blank is a place for the clinician.
 * A life with too little in it gets no document: `abstained`, with the reason.
 * A drafter borrows the asker and is immutable: share it freely.
 */
#ifndef REASON_DRAFT_H
#define REASON_DRAFT_H
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct asker;
struct drafter;
struct prediction;
struct json_out;

struct draft_risk {
  struct str title;           /* of the question */
  const struct prediction *p; /* with its contributions, where there are any */
};
struct draft_model { /* version STR_NONE: no model was asked, and the document says nothing of risks */
  struct str version;
  const struct draft_risk *risk;
  int risks;
};
enum draft_basis { DRAFT_RECORD, DRAFT_ABSENCE, DRAFT_MODEL, DRAFT_BLANK };
struct draft_sentence {
  char id[8];      /* "s1" */
  char rule[64];   /* which pattern made it: "medicines.once" */
  struct str text; /* without citations */
  enum draft_basis basis;
  const uint32_t *event; /* places in the subject's view, as in ask.h */
  uint32_t events;
};
struct draft_section {
  struct str title;
  struct draft_sentence *sentence;
  int sentences;
};
struct draft {
  char id[33]; /* of the words, the record's generation and the model's version: what feedback names */
  int64_t subject;
  struct str kind, title, version;
  struct draft_section *section;
  int sections, withheld;
  bool abstained;
  const char *why;
};
int drafter_new(const struct asker *k, const char *path, struct drafter **out,
                struct error *e) MUST_CHECK; /* E_INPUT names what is wrong */
void drafter_free(struct drafter *d);
int drafter_kinds(const struct drafter *d);
struct str drafter_kind(const struct drafter *d, int i);
struct str drafter_title(const struct drafter *d, int i);
int draft_write(const struct drafter *d, uint32_t subject_index, struct str kind, const struct draft_model *m, struct arena *a,
                struct draft *out, struct error *e) MUST_CHECK; /* E_NOTFOUND: no document of that kind */
void draft_json(const struct drafter *d, uint32_t subject_index, const struct draft *r, struct json_out *o);
void draft_print(const struct draft *r, struct buf *out); /* with citations [e12] */
#endif
