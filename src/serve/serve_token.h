/* Bearer tokens of an identity provider (OpenID Connect, Entra ID): JWS by published keys. No key is ever taken from a token itself.
 *
 *     TRY(tokens_open("oidc.json", &t, e));
 *     TRY(token_check(t, PLANE_DEVELOPER, bearer, address, &who, e));          // E_DENIED, without saying why
 *
 * oidc.json: {"issuers": [{"issuer": "https://…", "audiences": ["…"], "jwks": "https://…" or a file, "algorithms": ["RS256"],
 *   "roles": {"Vitae.Developer": "developer"}, "role": "developer" (who has none of these; absent: refused),
 *   "tenant_claim": "tid", "models": "a,b", "requests_per_minute": 60, "tokens_per_minute": 100000}]}
 *
 * "ca" beside "issuers": a PEM file (beside this one) of the authorities that are trusted for https sets, instead of the system's.
 * "audiences": one to eight texts, none of them empty. A token is good for the listeners that its role is for.
 *
 * Checked: signature by a key of the issuer's set, the algorithm against the list (asymmetric ones only: RS*, PS*, ES*), iss, aud (text or
 * list), exp and nbf with a minute's leeway, and a role of the plane. Sets are kept for an hour; an unknown key id asks again at most once a
 * minute. While an issuer is being asked, the keys that are known go on; who needs its answer waits 0.3 s of it at most, then: E_BUSY, come again.
 * https only (http: loopback). RFC 7515, 7517, 7519, 8725.
 */
#ifndef SERVE_TOKEN_H
#define SERVE_TOKEN_H
#include "serve/serve_fetch.h"
#include "serve/serve_private.h"

int tokens_open(const char *file, struct tokens **out, struct error *e) MUST_CHECK;
void tokens_close(struct tokens *t);
bool token_shape(struct str credential); /* three parts with dots between, beginning as a JSON object does in base64url */
bool token_in_time(struct json claims);  /* exp, which must be there, and nbf, with a minute's leeway */
int token_check(struct tokens *t, enum plane plane, struct str token, uint64_t address, struct identity *who, struct error *e) MUST_CHECK;

/* ---- below it: one set of keys, for whoever checks tokens of another kind ---- */
struct jwks;
/* URL or file; read at first use. `as`: ca, cert and key for an https one; NULL: the system's authorities. */
int jwks_open(const char *source, const struct fetch_policy *as, struct jwks **out, struct error *e) MUST_CHECK;
int jwks_bytes(struct str text, struct jwks **out, struct error *e) MUST_CHECK; /* a set at hand */
void jwks_close(struct jwks *j);
/* What a token says, believed by nobody yet: it tells whose keys to try. `claims` lives in `text` and in the parser. E_DENIED: no token. */
int jwks_claims(struct str token, struct json_parser *jp, struct buf *text, struct json *claims, struct error *e) MUST_CHECK;
/* OK if a key of the set has signed the token with one of `algorithms` ("RS384,ES384"). Thread-safe. E_UNAVAILABLE: the set cannot be had.
 * E_BUSY: it is being asked for by somebody else. */
int jwks_verify(struct jwks *j, struct str token, const char *algorithms, struct error *e) MUST_CHECK;
#endif
