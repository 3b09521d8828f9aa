/* The parts of the server that stand on their own: who asks, measures, keys, quotas, versions. What they share with a call: serve_private.h. */
#ifndef SERVE_PARTS_H
#define SERVE_PARTS_H
#include <stdatomic.h>

#include "base/json.h"
#include "serve/serve.h"
#include "serve/serve_audit.h"
#include "serve/serve_db.h"

struct MHD_Connection;
struct timeline;
struct vitae_engine;
struct vitae_error;
struct server;
struct call;
struct mllp;
struct fleet;
struct served;
struct quotas;
struct tokens;
struct histogram;
struct asker;
struct voice;
struct voices;
struct stream;
struct knowledge;
struct ehr;
struct filter;
struct cds;
struct shared;
struct site;

enum { KEY_SECRET = 32, KEY_LENGTH = 6 + KEY_ID + 1 + KEY_SECRET };
enum { ROUTES_MAX = 96, MODELS_MOST = 255, NAME_MOST = 63 };

/* ---- who asks ---- */
struct identity {
  char key[CALLER_ID + 1]; /* id of the key, or of a token's subject; "" = nobody */
  char tenant[TENANT_MOST + 1];
  char models[MODELS_MOST + 1]; /* deployments allowed, separated by commas; "" = all */
  unsigned scopes;
  enum plane planes;
  enum role role;
  int64_t requests_per_minute, tokens_per_minute;
};
bool identity_may_use(const struct identity *who, struct str deployment);
bool name_plain(struct str s, size_t most); /* letters, digits, '-', '_', '.' (not first) */

/* ---- metrics ---- */
#define HISTOGRAM_EDGES 12
extern const double histogram_edge[HISTOGRAM_EDGES]; /* seconds */
struct histogram {
  atomic_uint_fast64_t bucket[HISTOGRAM_EDGES + 1], count, nanoseconds;
};
void histogram_add(struct histogram *h, double seconds);
struct counters {
  atomic_uint_fast64_t answers[ROUTES_MAX + 1][6]; /* by status / 100; the last row: no route */
  struct histogram request, worker, hash;
  atomic_uint_fast64_t refused_keys, rejected, dropped, limited, mirrored, mirror_skipped, swaps, audit_rows, audit_failures, body_bytes;
  atomic_uint_fast64_t filter_replaced, filter_refused;
  atomic_uint_fast64_t cut; /* connections whose client took too long */
  atomic_uint_fast64_t cds_cards, cds_misses, cds_fetches, cds_feedback;
  atomic_int in_flight, waiting;
};
void metrics_text(struct server *s, struct buf *out);

/* ---- keys ---- */
struct keys;
int keys_open(const char *site, const char *database, int guesses, struct keys **out, struct error *e) MUST_CHECK;
void keys_close(struct keys *k);
/* OK with *who; E_DENIED; E_BUSY when too many keys are being checked at once, or the address guesses (then *wait_s says how long it has to
 * wait). Never says which part was wrong. */
int keys_check(struct keys *k, struct str key, uint64_t address, struct identity *who, int *wait_s, struct histogram *h,
               struct error *e) MUST_CHECK;
/* The same without Argon2 or the database: E_MORE = only keys_check knows. Never blocks for long. */
int keys_recall(struct keys *k, struct str key, struct identity *who) MUST_CHECK;
int key_rows(struct db *db, struct json_out *o, struct error *e) MUST_CHECK;

/* ---- quotas (serve_quota.c): by the minute of a clock that does not jump; by the database's where replicas share one ---- */
int quotas_open(const char *site, const char *database, struct quotas **out, struct error *e) MUST_CHECK;
void quotas_close(struct quotas *q);
/* Counts one request; E_BUSY when a limit is reached (c->retry_after set). Fills c->quota. */
int quota_take(struct quotas *q, struct call *c, struct error *e) MUST_CHECK;
/* Once, when the body is known: reserves what the call may cost. E_BUSY when it does not fit any more; neither it nor the request counts then. */
int quota_reserve(struct quotas *q, struct call *c, int64_t tokens, struct error *e) MUST_CHECK;
bool quotas_quick(const struct quotas *q);           /* in memory: asking takes no time */
void quota_settle(struct quotas *q, struct call *c); /* what it really took, instead of what was reserved, in that minute */

/* ---- versions and deployments (serve_fleet.c) ---- */
int fleet_open(const struct serve_options *o, struct fleet **out, struct error *e) MUST_CHECK;
void fleet_close(struct fleet *f);
struct served *fleet_live(struct fleet *f); /* counted; NULL: no version is live any more, and none answers until one is */
#define NO_VERSION "no version is live: promote one, and this answers again"
/* The version whose turn it is (counted) and the one that mirrors it (or NULL); E_NOTFOUND; E_UNAVAILABLE: no version is live. */
int fleet_route(struct fleet *f, struct str deployment, struct served **out, struct served **mirror, struct error *e) MUST_CHECK;
struct served *served_keep(struct served *s);
void served_release(struct served *s);
const struct vitae_engine *served_engine(const struct served *s); /* NULL of NULL */
const char *served_id(const struct served *s);                    /* "" of NULL */
/* Looks at the registry and the deployments again and loads what is new; requests under way keep theirs, and what cannot be read changes
 * nothing. One thread calls it. */
int fleet_refresh(struct fleet *f, bool *changed, struct error *e) MUST_CHECK;
/* Every deployment by name; `f` is called with the lock held. */
void fleet_each(struct fleet *f, void (*each)(void *ctx, const char *name, const char *version, int64_t created), void *ctx);
void fleet_json(struct fleet *f, struct json_out *o);
const struct site *fleet_site(const struct fleet *f);
#endif
