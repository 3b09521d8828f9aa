/* Hashes: SHA-256 (OpenSSL) for everything that is compared across machines or signed; hash64 for tables and checksums. */
#ifndef BASE_HASH_H
#define BASE_HASH_H
#include "base/str.h"

struct sha256 {
  void *ctx; /* EVP_MD_CTX */
};
int sha256_init(struct sha256 *s, struct error *e) MUST_CHECK;
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_end(struct sha256 *s, uint8_t out[32]); /* frees ctx */
void sha256_of(const void *p, size_t n, uint8_t out[32]);
int sha256_file(const char *path, uint8_t out[32], struct error *e) MUST_CHECK; /* bytes as they lie on disk */
void hash_hex(const uint8_t *p, size_t n, char *out);                           /* 2n+1 chars */
int hash_unhex(struct str hex, uint8_t *out, size_t n, struct error *e) MUST_CHECK;
/* Unkeyed 64-bit hash, same on every machine: shard assignment, section checksums (not against attackers). >= 5 GB/s on long inputs. */
uint64_t hash64(const void *p, size_t n, uint64_t seed);
static inline uint64_t hash64_u64(uint64_t x) { /* splitmix64 finaliser (Steele et al. 2014) */
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
#endif
