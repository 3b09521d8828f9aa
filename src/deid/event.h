/* A de-identified event. Opaque: it can be made only inside deid/ (event_make.h is private to this folder), so whatever
 * holds a struct event holds something that came through the wall. Everything downstream reads it by these accessors.
 * MEDS-compatible. Strings are valid during the callback that hands the event over.
 */
#ifndef DEID_EVENT_H
#define DEID_EVENT_H
#include <stdint.h>

#include "base/str.h"

struct event;
int64_t event_subject(const struct event *ev);    /* pseudonym, > 0 */
int64_t event_time(const struct event *ev);       /* us since 1970 after the person's shift; TIME_STATIC = no time */
struct str event_code(const struct event *ev);    /* "SYSTEM//CODE", "MEDS_BIRTH", "MEDS_DEATH" */
struct str event_display(const struct event *ev); /* the code's description, or STR_NONE */
float event_value(const struct event *ev);        /* NaN = none */
struct str event_unit(const struct event *ev);
struct str event_text(const struct event *ev);      /* de-identified text; STR_NONE unless a scrubber let it through */
struct str event_blob(const struct event *ev);      /* 64 hexadecimal digits (SHA-256) of a de-identified blob; STR_NONE = none */
uint32_t event_origin_file(const struct event *ev); /* lineage: source file number of the run, row in it; no PHI */
uint64_t event_origin_row(const struct event *ev);
bool event_earlier(const struct event *ev); /* of a taking back: it concerns what came in an earlier run alone */

struct event_sink {
  void *ctx;
  int (*event)(void *ctx, const struct event *ev, struct error *e); /* < 0 stops the run */
  /* Takes over a finished, de-identified temporary file and says its SHA-256 in hexadecimal (hex[64] = 0). NULL: this sink has no place for
   * blobs, so images and genomes are dropped and counted. Called before the event that names the blob. */
  int (*blob)(void *ctx, const char *temporary, char hex[65], struct error *e);
  /* Takes back the events of this subject, code and time that came before, in this run or an earlier one
   * (event_earlier: in an earlier one). NULL: this sink cannot; counted. */
  int (*take_back)(void *ctx, const struct event *ev, struct error *e);
  const char *blob_dir; /* where such temporary files are to be made: the same file system as the blobs */
};
#endif
