/* Signed statements of what passed the wall: one a generation of the store, each naming the one before it.
 *
 *     struct wall_link link;  TRY(wall_chain_head("site", &link, e));       // link.previous and link.signer go into the statement
 *     TRY(wall_chain_add("site", "gen-000002", json, e));                    // reports/wall-gen-000002.json and .sig
 *     TRY(wall_chain_verify("site", finding, ctx, &counts, e));
 *
 * The statement is a JSON object with at least "format": 1, "generation", "previous" (SHA-256 of the statement file before it, "" for the
 * first), "store" (SHA-256 of the generation's manifest.json), "signer". The signature is Ed25519 over the file's bytes, under the
 * site's key (vault/signing.key, models/signing.pub), in reports/wall-GENERATION.sig: "ed25519 HEX". It holds counts, hashes and
 * element paths only, so it may leave the site. What the chain shows: a changed byte, an exchanged, removed or inserted statement. That
 * the newest was cut off shows as a generation without one, which an ingest that was killed between its commit and its report leaves
 * as well: that is told as a note. See FORMAT.md.
 */
#ifndef GOVERN_WALL_CHAIN_H
#define GOVERN_WALL_CHAIN_H
#include "base/error.h"
#include "base/str.h"

#define WALL_CHAIN_FORMAT 1
struct wall_link {
  char previous[65], signer[65];
};
struct wall_chain_counts {
  uint64_t statements, unsigned_n; /* unsigned_n: written by programs before there were signatures */
};
int wall_chain_head(const char *site, struct wall_link *out, struct error *e) MUST_CHECK;
int wall_chain_add(const char *site, const char *generation, struct str json, struct error *e) MUST_CHECK;
/* Findings go to the callback; those that begin with "note: " are no failures. */
int wall_chain_verify(const char *site, void (*finding)(void *, const char *), void *ctx, struct wall_chain_counts *counts,
                      struct error *e) MUST_CHECK;
#endif
