/* Blobs: large de-identified things (an image, a genome) that events refer to by SHA-256, kept beside the generations as
 * `timelines/blobs/ab/abcdef…` (FORMAT.md, section 7). The name is the hash of the bytes, so putting twice is putting once, and
 * a reader can always tell whether it has what was stored.
 *
 *     char hex[65];  TRY(blob_put("site/timelines", "site/timelines/.writing/genome-1", hex, e));   // takes the file over
 *     char path[4096];  if (timeline_blob(t, index, k, hex)) TRY(timeline_blob_path(t, hex, path, e));
 *
 * `dir` is always the directory of timelines. Blobs that no generation names are "orphans": what a killed writer left. They are
 * harmless, listed by timeline_verify, and removed by the next writer that finishes. Nothing here knows what is inside a blob.
 */
#ifndef TIMELINE_BLOB_H
#define TIMELINE_BLOB_H
#include "base/error.h"
#include "base/str.h"

/* Syncs the finished file, gives it its name and syncs the directory. The temporary must lie on the same file system. E_IO: it is
 * still where it was. A blob that is there already is replaced by the same bytes, which also repairs a damaged one. */
int blob_put(const char *dir, const char *temporary, char hex[65], struct error *e) MUST_CHECK;
/* Where the blob lies; E_INPUT if `hex` is no SHA-256. Does not look whether it is there. */
int blob_path(const char *dir, struct str hex, char out[4096], struct error *e) MUST_CHECK;
/* Opens for reading: *fd. E_NOTFOUND if it is not there. Does not hash: see blob_check. */
int blob_open(const char *dir, struct str hex, int *fd, struct error *e) MUST_CHECK;
/* Reads all of it: E_NOTFOUND, or E_CORRUPT when the bytes are not those of the name. */
int blob_check(const char *dir, struct str hex, struct error *e) MUST_CHECK;
int blob_remove(const char *dir, struct str hex, struct error *e) MUST_CHECK; /* E_NOTFOUND if it is not there */
/* Calls `each` for every blob in order of name, and with hex = NULL for a file there that is no blob. < 0 from it stops. */
int blob_each(const char *dir, int (*each)(void *ctx, const char *hex, const char *path, struct error *e), void *ctx,
              struct error *e) MUST_CHECK;
/* Removes every blob that no generation in `dir` names. For whoever holds the writer's lock: timeline_writer_finish does it, and
 * erasure of a person does it after the generations that held the person are gone. */
int blob_prune(const char *dir, uint64_t *removed, struct error *e) MUST_CHECK;
/* Erasure of a person, before or after the subject is taken out of the store: removes the blobs that only events of `subject`
 * name, in any generation of `dir`. Takes the writer's lock (E_BUSY). A blob that somebody else's event names too stays: *shared. */
int blob_forget(const char *dir, int64_t subject, uint64_t *removed, uint64_t *shared, struct error *e) MUST_CHECK;
#endif
