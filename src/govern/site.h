/* A site: a directory, like a git repository, that holds everything of one hospital (docs/operations.md).
 *
 *     vitae.json      format version, name, created, default policy
 *     identity.json   which identifiers link persons of several sources; forgotten.json: pseudonyms that belong to nobody any more
 *     vault/          0700: keys, identity map (encrypted), quarantine lists (they name source files)
 *     timelines/      the store, by generation           models/    runs/, versions/, states.json
 *     reports/        validation and wall reports        inbox/     feedback files waiting for ingest
 *     tasks/          this site's own task files         vitae.db   keys, audit (SQLite)
 *     knowledge.db    the site's own documents (reason/library.h)
 */
#ifndef GOVERN_SITE_H
#define GOVERN_SITE_H
#include <stdbool.h>

#include "base/error.h"
#include "base/str.h"

#define SITE_FORMAT 1
struct site {
  char path[1024];
  char name[64], policy[4096];
  int format;
  bool identity; /* it was made with an identity.json */
};
/* Makes the directories only; E_USAGE if a site is there already. What else belongs to a site (vault, identity.json) is made by the caller
 * before site_init makes a site of it: one that was broken off is none, and is gone on with. */
int site_prepare(const char *path, struct site *out, struct error *e) MUST_CHECK;
/* site_prepare and, last, vitae.json. */
int site_init(const char *path, const char *name, const char *policy, struct error *e) MUST_CHECK;
/* E_NOTFOUND if there is no site, E_VERSION (naming both versions) if a newer program made it. */
int site_open(const char *path, struct site *out, struct error *e) MUST_CHECK;
/* path inside the site: site_path(s, out, "reports", NULL), site_path(s, out, "models", "runs", NULL) */
int site_path(const struct site *s, char out[4096], const char *first, ...) __attribute__((sentinel)) MUST_CHECK;
/* A file of the site or, failing that, of the program's data directory: kind "tasks", "mapping", "policy"; name with or without
 * ".json", or a path of its own. E_NOTFOUND lists the nearest name. */
int site_find(const struct site *s, const char *kind, const char *name, char out[4096], struct error *e) MUST_CHECK;
#endif
