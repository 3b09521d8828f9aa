/* FHIR Bulk Data ($export) as a client: ask, wait, download with resumption. HL7 Bulk Data Access 1 to 3, and what 4 renames.
 *
 *     struct bulk_options o = {.fetcher = f, .backend = s, .base = "https://ehr.example/fhir", .level = BULK_PATIENT, .dir = dir};
 *     TRY(bulk_export(&o, &r, e));     // dir/files/…ndjson, dir/deleted/…, dir/errors/…; r.time is the next run's `since`
 *     … take the files in …
 *     TRY(bulk_done(&o, e));           // tells the server, removes the files
 *
 * What is under way lies in `dir` (job.json, manifest.json, files and parts): a run that was broken off goes on where it stood, by the same
 * job and from the same byte, if it asks for the same `since`; else, or if a file is refused (400, 401, 403, 404, 410), the job is dropped. The files are identified: dir is made 0700. Addresses of files come from the server; the fetcher decides
 * which may be asked, and a token goes along only if the manifest wants it.
 */
#ifndef SERVE_BULK_H
#define SERVE_BULK_H
#include "base/arena.h"
#include "base/json.h"

struct fetcher;
struct backend;

enum bulk_kind { BULK_OUTPUT, BULK_DELETED, BULK_ERRORS, BULK_KINDS };
struct bulk_file {
  enum bulk_kind kind;
  struct str type, url;
  int64_t count; /* -1: not said */
};
struct bulk_manifest {
  struct str time; /* transactionTime */
  bool token;      /* requiresAccessToken */
  struct bulk_file *file;
  uint32_t n;
  struct str next; /* a further page; STR_NONE = none */
};
enum { BULK_FILES = 100000, BULK_URL = 2047, BULK_MANIFEST = 64 << 20 };
/* Pure. Strings lie in `a`. E_INPUT names the member. `cap` as in json_parse. */
int bulk_manifest_parse(const char *text, size_t n, size_t cap, struct arena *a, struct bulk_manifest *out, struct error *e) MUST_CHECK;
bool bulk_instant(struct str s); /* 20 to 63 bytes, of letters that an instant has */

enum bulk_level { BULK_PATIENT, BULK_GROUP, BULK_SYSTEM };
struct bulk_options {
  struct fetcher *fetcher;
  struct backend *backend; /* NULL: an open server */
  const char *base;
  enum bulk_level level;
  const char *group, *types, *since; /* since: an instant, or NULL */
  const char *dir;
  double patience_s;                                         /* for the server's own work; 0 = a day */
  void (*tell)(void *ctx, const char *what, uint64_t bytes); /* our own words; may be NULL */
  void *ctx;
};
struct bulk_result {
  char time[64];
  uint64_t files[BULK_KINDS], lines[BULK_KINDS], bytes;
};
int bulk_export(const struct bulk_options *o, struct bulk_result *r, struct error *e) MUST_CHECK;
int bulk_done(const struct bulk_options *o, bool keep, struct error *e) MUST_CHECK;
#endif
