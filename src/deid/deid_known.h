/* Private to deid/: a person as the text scrubber wants to know them, from the vault; kept while one person's texts follow one another.
 *
 *     struct deid_known *k;  TRY(deid_known_new(policy, &k, e));     // opens the scrubber that the policy names
 *     TRY(deid_known_scrub(k, vault, identity, text, &result, &dropped, e));
 *     deid_known_free(k);                                             // wipes
 */
#ifndef DEID_DEID_KNOWN_H
#define DEID_DEID_KNOWN_H
#include "deid/text.h"
#include "deid/vault_rows.h"

struct deid_known;
int deid_known_new(const struct deid_policy *policy, struct deid_known **out, struct error *e) MUST_CHECK;
void deid_known_free(struct deid_known *k);
const char *deid_known_hash(const struct deid_known *k); /* of the scrubber's configuration */
/* Scrubs one text of the person as the policy says, drawing the person's shift if need be. *why: 0 = result->text may go out; 1 = the second look
 * found something; 2 = over a limit. < 0 failure. The result is valid until the next call. */
int deid_known_scrub(struct deid_known *k, struct vault *v, struct identity *id, struct str text, struct text_result *result, int *why,
                     struct error *e) MUST_CHECK;
#endif
