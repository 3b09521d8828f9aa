/* What the replicas of one database know together for a while, and a restarted server still knows: which tokens were taken, which logins and
 * sessions of the SMART app there are.
 *
 *     TRY(shared_open(site, database, &s, e));
 *     TRY(shared_once(s, issuer, jti, until, e));                              // E_DENIED: it was here before, whoever of us took it
 *     TRY(shared_put(s, SHARED_SESSION, cookie, cookie, text, until, e));
 *     TRY(shared_get(s, SHARED_SESSION, cookie, cookie, false, &text, &until, e));   // E_NOTFOUND: none, or over
 *
 * Of tokens there is a hash and a time. Of logins and sessions there is a hash of their name and the text sealed (XChaCha20-Poly1305) under a
 * key made of name and lock, which only the browser has: whoever has the database, has nothing. Thread-safe; one connection, one lock.
 */
#ifndef SERVE_SHARED_H
#define SERVE_SHARED_H
#include "base/error.h"
#include "base/str.h"

enum { SHARED_TOKENS = 1 << 20, SHARED_KEPT = 4096 }; /* at most: ids of tokens; texts of one kind, the oldest go */
enum shared_kind { SHARED_LOGIN, SHARED_SESSION };
struct shared;
int shared_open(const char *site, const char *database, struct shared **out, struct error *e) MUST_CHECK;
void shared_close(struct shared *s); /* NULL too */

/* `until` (us, wall clock): when the token is over by itself. E_BUSY: too many at a time. */
int shared_once(struct shared *s, struct str issuer, struct str id, int64_t until, struct error *e) MUST_CHECK;
/* Until `until`. A text from the future (a clock was set back) is over as well. */
int shared_put(struct shared *s, enum shared_kind kind, struct str name, struct str lock, struct str text, int64_t until,
               struct error *e) MUST_CHECK;
/* `take`: it is gone for everybody, also where the lock did not fit. The caller wipes and releases *text. */
int shared_get(struct shared *s, enum shared_kind kind, struct str name, struct str lock, bool take, struct buf *text, int64_t *until,
               struct error *e) MUST_CHECK;

/* ---- how long to remember, where clocks may jump ----
 * A wall time that is over beyond doubt: it was over at a look at least `hold` seconds (of the clock that does not jump) ago and still is.
 * What was stored before a jump forward is therefore kept for `hold` seconds at least, whatever the wall clock says. */
struct settled {
  int64_t look, over;
  double at;
  bool begun;
};
int64_t settled_time(struct settled *s, double hold);

/* ---- sealing: nonce, ciphertext, tag; `about` is bound to it and not kept ---- */
enum { SEAL_KEY = 32 };
int seal(const uint8_t key[SEAL_KEY], struct str about, struct str text, struct buf *out, struct error *e) MUST_CHECK;
int unseal(const uint8_t key[SEAL_KEY], struct str about, struct str sealed, struct buf *out, struct error *e) MUST_CHECK; /* E_DENIED */
#endif
