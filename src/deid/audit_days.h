/* Private to the audit: dates in a text, in the forms in which people write them, compared with the person's own unshifted days.
 *
 *     TRY(audit_days_scan(s, person, text, 0, text.n, found, ctx, e));
 *
 * Read: 1970-03-05 1970/3/5 19700305 03/05/1970 5.3.1970 (both orders of day and month) 03/05/70 "5 March 1970" "Mar 5th, 1970" 5-MAR-70.
 * The birth date is strong, unless the person's first event is less than AUDIT_NEWBORN days later: a shifted date can then fall on it by
 * chance. Days of the first and last event are weak for the same reason.
 */
#ifndef DEID_AUDIT_DAYS_H
#define DEID_AUDIT_DAYS_H
#include "deid/audit_search.h"

enum { AUDIT_NEWBORN = 800 };
int audit_days_scan(const struct audit_search *s, uint32_t person, struct str bytes, size_t from, size_t to, audit_found *found, void *ctx,
                    struct error *e) MUST_CHECK;
/* What could be a full date at text[at]: the days it can mean (at most 4), and its length. 0 = none. Pure. */
int audit_date_at(struct str text, size_t at, int32_t day[4], size_t *length);
#endif
