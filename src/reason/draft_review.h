/* What a clinician made of a draft: sentence by sentence, with distances, for whoever improves the drafts later.
 *
 *     struct draft_review r;  TRY(draft_review_read(json, subject, &arena, &r, e));
 *     draft_review_json(&r, &json);                        // the counts; with `whole`, everything: what goes into the inbox
 *
 * Read: {"draft", "kind", "generation", "version", "sentences": [{"id", "rule", "text", "events": ["e1"], "final": text or null}],
 * "added": [{"after": id or "", "text"}]}. The draft's sentences come back as they were given: `draft` is their hash, so that a draft that was
 * altered on the way is E_MISMATCH. `final` null or blank: deleted. Distances are Levenshtein's, in characters. Everything is borrowed from
 * the JSON document, and is identified data: a clinician may have written a name.
 */
#ifndef REASON_DRAFT_REVIEW_H
#define REASON_DRAFT_REVIEW_H
#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"

#define DRAFT_ID 32
enum draft_outcome { DRAFT_KEPT, DRAFT_CHANGED, DRAFT_DELETED, DRAFT_ADDED, DRAFT_OUTCOMES };
extern const char *const draft_outcome_name[DRAFT_OUTCOMES];
struct draft_edit {
  struct str id, rule, before, after; /* id of an added one: that of the sentence before it */
  struct json events;
  enum draft_outcome outcome;
  uint32_t distance;
};
struct draft_review {
  struct str draft, kind, generation, version;
  int64_t subject;
  struct draft_edit *edit;
  int edits, count[DRAFT_OUTCOMES];
  uint64_t distance, characters; /* sums: of the edits, of the draft */
};
int draft_review_read(struct json j, int64_t subject, struct arena *a, struct draft_review *out, struct error *e) MUST_CHECK;
void draft_review_json(const struct draft_review *r, bool whole, struct json_out *o); /* members into an open object */
/* The hash that names a draft: of its kind, subject, generation, version, and each sentence's id and words */
struct draft_name {
  struct str kind, generation, version;
  int64_t subject;
};
struct sha256;
int draft_name_begin(const struct draft_name *n, struct sha256 *s, struct error *e) MUST_CHECK;
void draft_name_add(struct sha256 *s, struct str id, struct str text);
void draft_name_end(struct sha256 *s, char out[DRAFT_ID + 1]);
/* Levenshtein's distance in characters of two UTF-8 texts; time and memory are bounded by their lengths' product */
int edit_distance(struct str a, struct str b, struct arena *arena, uint32_t *out, struct error *e) MUST_CHECK;
#endif
