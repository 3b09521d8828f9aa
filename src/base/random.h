/* Random numbers. Philox4x32-10 (Salmon et al. 2011): counter-based, so (seed, stream, index) gives the same number on
 * every machine and in any order. random_secret is for keys and pseudonyms only (getrandom). */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct rng {
  uint64_t seed, stream, counter;
  uint32_t have[4];
  int left;
};
void rng_init(struct rng *r, uint64_t seed, uint64_t stream);
uint32_t rng_u32(struct rng *r);
uint64_t rng_u64(struct rng *r);
double rng_uniform(struct rng *r);             /* (0, 1), 53 bits, never 0 or 1 */
float rng_uniformf(struct rng *r);             /* (0, 1), 24 bits */
double rng_normal(struct rng *r);              /* Box-Muller */
uint32_t rng_below(struct rng *r, uint32_t n); /* unbiased, n >= 1 */
void rng_shuffle(struct rng *r, uint32_t *v, size_t n);
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
int random_secret(void *p, size_t n, struct error *e) MUST_CHECK;
#endif
