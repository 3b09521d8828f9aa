/* What leaves for outside developers: the developers' plane looks at every text that a model made before it goes. Nothing here knows a patient;
 * it looks for the shapes of identifiers (deid/shape.h) and for what the site names in SITE/filter.json (docs/foundry.md):
 *
 *     {"words": ["Lakeside Clinic", "Project Heron"],        never said, whoever asks; whole words, letters' case aside
 *      "dates": false,                                        whole dates are identifiers too
 *      "then": "replace"}                                     or "refuse": the answer ends, finish_reason "content_filter"
 *
 *     struct filtering x;
 *     filtering_begin(&x, call, sink, refuse, document);     // x.sink goes to the backend in the sink's place
 *     rc = filtering_end(&x, backend(…, &x.sink, …), &result, e);
 *
 * A shape that the caller's own request holds, or that is in the version's id or the pseudonym drawn for this answer, is no news to the caller and
 * passes; so does, in a document of the timeline model and as a whole string of it, a code of its vocabulary or a time; the site's words never do.
 * A text is held back from its last space on (and for as long as the site's phrases are), so that nothing leaves by halves; log-probabilities
 * leave with the text that they belong to. What was found is never logged: the call's verdict goes into the audit's row, counters into /metrics.
 */
#ifndef SERVE_FILTER_H
#define SERVE_FILTER_H
#include "serve/serve_chat.h"

struct filter;
int filter_open(const char *site, struct filter **out, struct error *e) MUST_CHECK; /* without a file: shapes, replaced */
void filter_close(struct filter *f);                                                /* NULL too */
/* Of a document of the timeline model that is made whole: E_DENIED if it may not leave; it is counted then, and filter_fail makes
 * the call's failure of it. */
int filter_check(struct call *c, struct str text, struct error *e) MUST_CHECK;
bool filter_fail(struct call *c); /* true: the answer was refused, and the call has failed with 400, content_filter */

struct filtering {
  struct chat_sink sink;
  struct call *call;
  const struct filter *filter; /* NULL: everything passes as it comes */
  struct chat_sink *to;
  struct buf held, tokens; /* not handed on yet; struct kept_token */
  size_t tokens_from;      /* bytes of `tokens` that were handed on */
  size_t begun;            /* bytes handed on since the beginning: where `held` starts */
  size_t heard;            /* bytes that the tokens so far stand for */
  bool refuse, refused, document;
};
/* refuse: replacing would break the answer (JSON). document: the server wrote all of it, no language model a word. On the hospital's plane
 * nothing is filtered. */
void filtering_begin(struct filtering *x, struct call *c, struct chat_sink *to, bool refuse, bool document);
/* Hands on what is held back, unless `rc` says that the backend failed; a refusal becomes OK with r->finish = "content_filter". */
int filtering_end(struct filtering *x, int rc, struct chat_result *r, struct error *e) MUST_CHECK;
/* The member content_filter_results of a choice of which something was kept back; nothing otherwise. */
void filter_results(const struct call *c, struct json_out *o);
#endif
