/* The Human Phenotype Ontology as a graph: terms, their broader terms, old ids. Read from the hospital's own hp.obo (OBO 1.2/1.4).
 *
 *     struct ontology *o;  TRY(ontology_load("hp.obo", &o, e));
 *     int t = ontology_find(o, STR("HP:0001631"));                 // alternative and replaced ids too; -1 = unknown
 *     const int *up;  int n = ontology_ancestors(o, t, &up);       // t itself and everything broader, sorted
 *
 * Only [Term] stanzas with id, name, is_a, alt_id, replaced_by, is_obsolete are read; everything else is skipped. A cycle is E_INPUT. Without a file an
 * ontology can be empty and grow by ontology_add: then every term stands alone (no hierarchy). Immutable once in use; share it freely.
 */
#ifndef REASON_ONTOLOGY_H
#define REASON_ONTOLOGY_H
#include "base/str.h"

struct ontology;
int ontology_load(const char *path, struct ontology **out, struct error *e) MUST_CHECK;
int ontology_parse(const char *bytes, size_t n, struct ontology **out, struct error *e) MUST_CHECK;
int ontology_new(struct ontology **out, struct error *e) MUST_CHECK; /* empty */
void ontology_free(struct ontology *o);
int ontology_terms(const struct ontology *o);
struct str ontology_id(const struct ontology *o, int t);
struct str ontology_name(const struct ontology *o, int t); /* STR_NONE if it has none */
bool ontology_obsolete(const struct ontology *o, int t);   /* withdrawn: still understood, never to be proposed */
/* Terms whose name has words beginning with each of the text's, or whose id begins with it: best first (whole names, then those that begin so,
 * then the shorter). Reads every name: about 2 ms for 20,000. */
int ontology_search(const struct ontology *o, struct str text, int *out, int most);
int ontology_find(const struct ontology *o, struct str id);
int ontology_add(struct ontology *o, struct str id, struct error *e) MUST_CHECK; /* the term's number, new or not; before ontology_seal */
int ontology_seal(struct ontology *o, struct error *e) MUST_CHECK;               /* after the last add: computes what is broader */
int ontology_parents(const struct ontology *o, int t, const int **out);
int ontology_ancestors(const struct ontology *o, int t, const int **out);
#endif
