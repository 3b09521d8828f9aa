/* The hospital's own systems: who may call the CDS services, which FHIR servers may be asked, how SMART apps log in. One file of the site,
 * SITE/ehr.json (docs/hospital-plane.md); without it the services answer to keys alone and nothing is asked of anybody.
 *
 *     TRY(ehr_open(site, &ehr, e));                                     // *ehr = NULL: there is no such file
 *     TRY(ehr_token(ehr, shared, "/cds-services/x", token, &who, e));   // E_DENIED, without saying why
 *
 * {"base": "https://vitae.hospital.example",               how clients reach the hospital's listener: "aud" of their tokens, links of cards
 *  "fhir": ["https://ehr.hospital.example/r4"],             servers that may be asked; "ca", "cert", "key" (for clients' jwks too): PEM files, beside this one
 *  "origins": ["https://ehr.hospital.example"],             web origins whose scripts may call the CDS services
 *  "cds": {"open": false,                                   true: without token or key, on a loopback listener only
 *          "clients": [{"issuer": "https://ehr…", "jwks": URL or file, "algorithms": ["ES384", "RS384"], "audiences": […], "tenant": "ward"}]},
 *  "smart": {"client_id": "…", "secret_file": "…", "scope": "launch openid fhirUser …", "minutes": 60,
 *            "authorization": ["https://login…"]}}          where the FHIR server's authorisation lies elsewhere
 *
 * A client's token (CDS Hooks 2.0.1, "Trusting CDS Clients"): ES384 or RS384 by a key of the issuer's set, `aud` the address that was called
 * (or one of "audiences"), at most ten minutes of life, and a `jti` that was not seen before, by any replica, also
 * before a restart (serve_shared.h). A `jku` in a token is not followed: sets come from this file.
 */
#ifndef SERVE_EHR_H
#define SERVE_EHR_H
#include "serve/serve_fetch.h"
#include "serve/serve_private.h"

struct ehr;
struct ehr_smart {
  char client[256], secret[256], scope[512];
  int seconds; /* life of a session */
};
int ehr_open(const char *site, struct ehr **out, struct error *e) MUST_CHECK;
void ehr_close(struct ehr *r);                          /* NULL too */
const char *ehr_base(const struct ehr *r);              /* without a slash at the end; "" if not told or r is NULL */
bool ehr_cds_open(const struct ehr *r);                 /* no token needed: the file says so */
bool ehr_origin(const struct ehr *r, struct str);       /* may scripts of this origin call the CDS services? */
struct fetcher *ehr_fetcher(const struct ehr *r);       /* of the allowed FHIR servers and their authorisation; NULL: none */
bool ehr_fhir(const struct ehr *r, struct str base);    /* is this one of the FHIR servers, or below one? */
const struct ehr_smart *ehr_smart(const struct ehr *r); /* NULL: no SMART app */
int ehr_token(struct ehr *r, struct shared *shared, const char *path, struct str token, struct identity *who, struct error *e) MUST_CHECK;
#endif
