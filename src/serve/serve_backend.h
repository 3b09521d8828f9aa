/* SMART Backend Services: this program as a client of a FHIR server, by a key instead of a secret (private_key_jwt; RS384, ES384).
 *
 *     TRY(backend_key_new("site/vault/smart.jwk", "ES384", e));            // once; backend_key_set prints what the server's owner is given
 *     TRY(backend_open(&(struct backend_options){.fhir = base, .client = "vitae", .key = path}, fetcher, &s, e));
 *     TRY(backend_token(s, &token, e));                                    // asked for when there is none that lasts another half minute
 *
 * The token's address is `token_url`, else that of the server's .well-known/smart-configuration; the fetcher decides whether it may be
 * asked. The private key lies in a file of mode 0600 and goes nowhere. HL7 SMART App Launch 2.2, "Backend Services"; RFC 7523.
 */
#ifndef SERVE_BACKEND_H
#define SERVE_BACKEND_H
#include "base/str.h"

struct fetcher;
struct backend;
struct backend_options {
  const char *fhir, *token_url; /* token_url NULL: discovered */
  const char *client, *scope;   /* scope NULL: to read and search everything */
  const char *key;              /* file of a private JWK */
};
int backend_open(const struct backend_options *o, struct fetcher *f, struct backend **out, struct error *e) MUST_CHECK;
void backend_close(struct backend *s);                                               /* NULL too */
int backend_token(struct backend *s, struct str *token, struct error *e) MUST_CHECK; /* valid until the next call */
void backend_forget(struct backend *s);                                              /* it was refused: ask for another one next time */
/* E_USAGE: another algorithm, or a key is there already */
int backend_key_new(const char *path, const char *algorithm, struct error *e) MUST_CHECK;
int backend_key_set(const char *path, struct buf *jwks, struct error *e) MUST_CHECK; /* the public half: {"keys": […]} */
#endif
