#include "base/random.h"

#include <errno.h>
#include <math.h>
#include <sys/random.h>

static inline void mulhilo(uint32_t a, uint32_t b, uint32_t *high, uint32_t *low) {
  uint64_t m = (uint64_t)a * b;
  *high = (uint32_t)(m >> 32);
  *low = (uint32_t)m;
}

/* Salmon et al. 2011, section 3.2 and table of constants: ten rounds, the key raised by the Weyl constants each round. */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint32_t h0, l0, h1, l1;
    mulhilo(0xD2511F53u, c0, &h0, &l0);
    mulhilo(0xCD9E8D57u, c2, &h1, &l1);
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

void rng_init(struct rng *r, uint64_t seed, uint64_t stream) { *r = (struct rng){.seed = seed, .stream = stream}; }

uint32_t rng_u32(struct rng *r) {
  if (r->left == 0) {
    const uint32_t counter[4] = {(uint32_t)r->counter, (uint32_t)(r->counter >> 32), (uint32_t)r->stream, (uint32_t)(r->stream >> 32)};
    const uint32_t key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
    philox4x32(counter, key, r->have);
    r->counter++;
    r->left = 4;
  }
  return r->have[4 - r->left--];
}

uint64_t rng_u64(struct rng *r) {
  uint64_t low = rng_u32(r);
  return (uint64_t)rng_u32(r) << 32 | low;
}

/* Odd multiples of 2^-53 (2^-24): the middle of each cell, so neither 0 nor 1 can come out. */
double rng_uniform(struct rng *r) { return ((double)(rng_u64(r) >> 12) + 0.5) * 0x1p-52; }
float rng_uniformf(struct rng *r) { return ((float)(rng_u32(r) >> 9) + 0.5f) * 0x1p-23f; }

double rng_normal(struct rng *r) {
  double u = rng_uniform(r), v = rng_uniform(r);
  return sqrt(-2 * log(u)) * cos(6.283185307179586476925 * v);
}

/* Lemire 2019: a multiplication; a division only in the rare case that the low half may be biased. */
uint32_t rng_below(struct rng *r, uint32_t n) {
  BUG_IF(n == 0);
  uint64_t m = (uint64_t)rng_u32(r) * n;
  if ((uint32_t)m < n) {
    uint32_t least = (0 - n) % n;
    while ((uint32_t)m < least) m = (uint64_t)rng_u32(r) * n;
  }
  return (uint32_t)(m >> 32);
}

void rng_shuffle(struct rng *r, uint32_t *v, size_t n) {
  BUG_IF(n > UINT32_MAX);
  for (size_t i = n; i > 1; i--) {
    size_t j = rng_below(r, (uint32_t)i);
    uint32_t t = v[i - 1];
    v[i - 1] = v[j];
    v[j] = t;
  }
}

int random_secret(void *p, size_t n, struct error *e) {
  uint8_t *at = p;
  while (n) {
    ssize_t k = getrandom(at, n, 0);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return error_set(e, E_IO, "the system gives no random numbers");
    at += k;
    n -= (size_t)k;
  }
  return OK;
}
