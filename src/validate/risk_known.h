/* Private to the risk report: what somebody knows of a person beside sex, age band and ZIP3: one code, or two.
 *
 *     TRY(risk_items(&(struct risk_items_of){.t = t, .w = &w, .person = p, .names = timeline_codes(t)}, &arena, &items, e));
 *     TRY(risk_known(&items, (struct risk_attack){.codes = 2, .attributes = true}, k, &few, e));   // counts
 *     TRY(risk_hold(&items, attack, k, &more, e));                                                 // marks what must stay behind
 *
 * Items are the names (codes, or what they became) that fewer than `common` persons have; commoner ones are taken to tell nothing.
 * Attributes, births and what the table keeps are no items. Of a person's items the RISK_ITEMS_MOST commonest are weighed; the others count
 * as held back. Time: over all persons, the square of their number of items. Deterministic. Everything lies in the arena. */
#ifndef VALIDATE_RISK_KNOWN_H
#define VALIDATE_RISK_KNOWN_H
#include "validate/risk_private.h"

enum { RISK_ITEMS_MOST = 4096 };
struct risk_items_of {
  const struct timeline *t;
  const struct risk_work *w;
  const uint32_t *to;     /* by code: its name, UINT32_MAX = left out; NULL = the code itself */
  const uint8_t *without; /* by person: TIMELINE_LEFT_OUT = not here; NULL = all are */
  uint32_t names;
  const struct risk_person *person;
};
struct risk_items {
  uint32_t persons, names;
  uint32_t *order;          /* names, commonest first; an item is a place in it */
  uint32_t *from, *item;    /* by person: item[from[i]] to item[from[i + 1] - 1], ascending */
  bool *held;               /* beside item: held back from this person */
  uint32_t *owner;          /* beside item: the person */
  uint32_t *who_from, *who; /* by item: places in `item` */
  uint64_t *class_of;       /* by person: of age band, sex and ZIP3 */
  uint32_t *seen;           /* by item, zero between uses */
  uint64_t cut;             /* items beyond a person's RISK_ITEMS_MOST */
};
int risk_items(const struct risk_items_of *of, struct arena *a, struct risk_items *out, struct error *e) MUST_CHECK;
void risk_items_classes(struct risk_items *x, const struct risk_person *p); /* again, after attributes changed */

struct risk_attack {
  int codes;       /* up to so many items: 1 or 2 */
  bool attributes; /* and age band, sex, ZIP3 */
};
int risk_known(struct risk_items *x, struct risk_attack attack, uint32_t k, struct risk_known *out, struct error *e) MUST_CHECK;
/* Holds items back from single persons until nobody has a combination that fewer than k have: the commonest are settled first, and an item
 * gives way only to commoner ones, so one pass settles all. *more = something was held back. */
int risk_hold(struct risk_items *x, struct risk_attack attack, uint32_t k, bool *more, struct error *e) MUST_CHECK;
#endif
