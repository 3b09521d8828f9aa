/* Versions: what may be used for what. Every trained model becomes a version: a content-addressed copy of its checkpoint and a
 * manifest signed with Ed25519. Promotion moves one step at a time: draft -> validated -> shadow -> live (and any -> retired).
 *
 *     struct registry *r;  TRY(registry_open("site", &r, e));
 *     char id[65];  TRY(registry_add(r, "site/models/run-1", &info, id, e));            // draft
 *     TRY(registry_attach_report(r, id, "site/reports/x/report.json", e));               // hashed into the manifest, re-signed
 *     TRY(registry_promote(r, id, STATE_VALIDATED, "who", e));                           // E_DENIED without a passing report
 *     TRY(registry_resolve(r, "live", dir, sizeof dir, e));                              // "live", an id, or an id's prefix (>= 6) -> directory
 *
 * On disk: models/versions/<id>/{checkpoint files, manifest.json, manifest.sig}, models/states.json (id -> state, history; atomic),
 * vault/signing.key (0600) and models/signing.pub. Exactly one version is live. Copies are made under a temporary name and renamed:
 * a crash leaves no half version; registry_verify re-reads and re-checks every hash and signature. See src/govern/FORMAT.md.
 */
#ifndef GOVERN_GOVERN_H
#define GOVERN_GOVERN_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

enum version_state { STATE_DRAFT, STATE_VALIDATED, STATE_SHADOW, STATE_LIVE, STATE_RETIRED, STATES };
extern const char *const version_state_name[STATES];
int version_state_parse(struct str name, enum version_state *out, struct error *e) MUST_CHECK;

struct registry;
struct version_info {
  char store_hash[65], policy_hash[65], commit[48], code_version[16], created[32];
};
struct version {
  char id[65]; /* SHA-256 over the sorted (name, hash) list of its files */
  enum version_state state;
  char created[32], store_hash[65];
  char report_hash[65]; /* "" = none attached */
  int tasks;            /* reports attached, one a task */
  int passing;          /* of these, how many pass their gate; promotion wants at least one, and serving offers only these tasks */
};
int registry_open(const char *site, struct registry **out, struct error *e) MUST_CHECK; /* nobody else reads or writes meanwhile */
/* The first opening makes the site's key. Where the key is missing and something is signed, it is E_NOTFOUND: none is made in its place.
 * For resolving, listing, verifying: writes nothing, so a read-only copy of a site will do, and others read at the same time. Whoever may not
 * see the site's own key checks signatures by models/signing.pub. */
int registry_read(const char *site, struct registry **out, struct error *e) MUST_CHECK;
void registry_close(struct registry *r);
int registry_add(struct registry *r, const char *checkpoint_dir, const struct version_info *info, char id[65],
                 struct error *e) MUST_CHECK; /* same content: same id, no second copy */
int registry_list(struct registry *r, struct arena *a, struct version **out, int *n, struct error *e) MUST_CHECK; /* newest first */
/* `report_dir` holds report.json/report.html of this version; its gate verdict is read from report.json ("gate": {"passes": …}). */
int registry_attach_report(struct registry *r, const char *id, const char *report_dir, struct error *e) MUST_CHECK;
int registry_promote(struct registry *r, const char *id, enum version_state to, const char *actor, struct error *e) MUST_CHECK;
int registry_resolve(struct registry *r, const char *name, char *dir, size_t size, char id[65], struct error *e) MUST_CHECK;
/* Whether the version's files are those of its id (E_CORRUPT); to shadow or live, registry_promote asks this as well. */
int registry_check(struct registry *r, const char *id, struct error *e) MUST_CHECK;
/* The gate's verdict for a task as the signed manifest holds it; false where it has no report of the task. */
int registry_passes(struct registry *r, const char *id, const char *task, bool *out, struct error *e) MUST_CHECK;
/* Findings go to the callback; those that begin with "note: " are no failures. */
int registry_verify(const char *site, void (*finding)(void *, const char *), void *ctx, struct error *e) MUST_CHECK;
/* A page for the board, from live numbers: what, trained on, validated how, limits, history. */
int model_card_write(struct registry *r, const char *id, const char *path, struct error *e) MUST_CHECK;
#endif
