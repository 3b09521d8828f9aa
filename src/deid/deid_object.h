/* Private to deid/: large objects (images, genomes) on their way through the wall. A cleaner reads the identified object of a record
 * and writes a de-identified file; this hands the file to the sink, which gives it its name.
 *
 * A cleaner is one case of the switch in deid_object.c: `int f(struct deid *w, const struct record *r, const char *to, struct error *e)`.
 * It writes the finished file `to`; the person is w->current. OK: the file is clean. E_DENIED: the policy does not let such objects out.
 * E_INPUT: this one cannot be cleaned. Both are dropped and counted. Any other failure ends the run. */
#ifndef DEID_DEID_OBJECT_H
#define DEID_DEID_OBJECT_H
#include "deid/wall.h"

/* `hex` names the blob if *why is DROPS afterwards; otherwise *why says why there is none. */
int object_take(struct deid *w, const struct record *r, char hex[65], enum drop *why, struct error *e) MUST_CHECK;
/* Frees what cleaners keep between records. */
void object_close(struct deid *w);
#endif
