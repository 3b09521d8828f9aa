/* Private to deid/: free text on its way through the wall. The scrubber is opened for the first text; a person's identifiers are
 * fetched from the vault when the person changes. A text that the second look does not find clean, or that is over a limit, is dropped
 * and counted; its event stays. */
#ifndef DEID_DEID_TEXT_H
#define DEID_DEID_TEXT_H
#include "deid/wall.h"

struct json_out;
/* *out = the text that may pass (until the next call), or STR_NONE: then it has to be counted as dropped. The person is w->current. */
int deid_text_scrub(struct deid *w, const struct record *r, struct str *out, struct error *e) MUST_CHECK;
void deid_text_manifest(const struct deid *w, struct json_out *o); /* counts, if a text came */
void deid_text_close(struct deid *w);
#endif
