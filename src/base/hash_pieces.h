/* SHA-256 of long data by pieces, several at once: what one core hashes at 0.3 GB/s in one go (no instructions for it), it hashes at over
 * 2 GB/s in pieces. The list of digests then stands for the data: whoever hashes the list has a tree of two levels (docs/api.md, "Audit").
 *
 *     uint8_t list[32 * 100];  sha256_pieces(body, n, 8192, list);  sha256_of(list, 32 * sha256_pieces_count(n, 8192), digest);
 */
#ifndef BASE_HASH_PIECES_H
#define BASE_HASH_PIECES_H
#include "base/str.h"

#define HASH_PIECE_MOST ((size_t)1 << 20)

static inline size_t sha256_pieces_count(size_t n, size_t piece) { return n / piece + (n % piece != 0); }
/* out (count, 32): the digest of each piece, the last may be shorter. piece: a multiple of 64, at most HASH_PIECE_MOST. */
void sha256_pieces(const void *p, size_t n, size_t piece, uint8_t *out);

/* A source file's hash, as manifests keep it. Below SHA256_WHOLE bytes that of its bytes, as sha256sum gives it; from there on (*pieces) the
 * SHA-256 of the digests, one after the other, of its pieces of SHA256_PIECE bytes:
 *
 *     split -b 1M --filter=sha256sum FILE | cut -c1-64 | tr a-f A-F | basenc -d --base16 | sha256sum
 */
enum { SHA256_PIECE = 1 << 20, SHA256_WHOLE = 16 << 20 };
int sha256_source(const char *path, uint8_t out[32], bool *pieces, struct error *e) MUST_CHECK;

/* The ways of doing it, for tests: all give the same. */
enum hash_way { HASH_ONE, HASH_EIGHT, HASH_SIXTEEN };
bool hash_way_here(enum hash_way way); /* does this processor have it? */
void sha256_pieces_by(enum hash_way way, const void *p, size_t n, size_t piece, uint8_t *out);
#endif
