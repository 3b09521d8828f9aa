/* Databases of rules that were compiled ahead: vectorscan takes half a second for the shipped ones, which every command would wait for. `make`
 * compiles them for each kind of processor (src/deid/ready/) and puts them into the program. A database is taken where its expressions,
 * flags and version of vectorscan are the ones that are asked for; all else (a site's own rules, another vectorscan or processor, damage) is
 * compiled as before.
 *
 *     file = "VITAEHS1", u64 count, then count times { key (32), u64 features, u64 offset, u64 bytes }, then the serialised databases;
 *     key = SHA-256 of vectorscan's version and of every expression with its flags and number; integers as this machine has them
 */
#ifndef DEID_TEXT_READY_H
#define DEID_TEXT_READY_H
#include <hs/hs.h>

#include "base/str.h"

struct text_expressions {
  const char *const *expression;
  const unsigned *flags, *ids;
  unsigned n;
};
int text_ready_make(const struct text_expressions *x, struct buf *out, struct error *e) MUST_CHECK;
bool text_ready_open(struct str file, const struct text_expressions *x, hs_database_t **out); /* false: compile. Hostile bytes do no harm */
struct str text_ready_data(void);                                                             /* what this program carries */
#endif
