/* SHA-256 of many pieces of equal length at once, a piece in each lane of a vector register: one block's 64 rounds depend on each other, but
 * not on another piece's (as the "multi-buffer" libraries do it). On a processor with instructions for SHA-256 one piece after the other is
 * as fast and simpler. */
#include "base/hash_pieces.h"

#include "base/hash.h"

#if defined __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

enum { BLOCK = 64, ROUNDS = 64 };

static void one_by_one(const uint8_t *p, size_t pieces, size_t piece, uint8_t *out) {
  for (size_t i = 0; i < pieces; i++) sha256_of(p + i * piece, piece, out + 32 * i);
}

#if defined __x86_64__

/* FIPS 180-4, 4.2.2 and 5.3.3: fractional parts of the cube and square roots of the first primes */
static const uint32_t K[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
static const uint32_t START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* One compression of every lane over sixteen words that the lines before have put into w[]; `state` and `w` are vectors. Sixteen rounds are written
 * out, so that all of it stays in registers. */
#define COMPRESS(vec)                                                                      \
  do {                                                                                     \
    vec a = state[0], b = state[1], c = state[2], d = state[3];                            \
    vec e = state[4], f = state[5], g = state[6], h = state[7];                            \
    for (int t = 0; t < ROUNDS; t += 16) {                                                 \
      UNROLL for (int i = 0; i < 16; i++) {                                                \
        if (t) {                                                                           \
          vec x = w[(i + 1) & 15], y = w[(i + 14) & 15];                                   \
          vec s0 = XOR3(ROTATE(x, 7), ROTATE(x, 18), SHIFT(x, 3));                         \
          vec s1 = XOR3(ROTATE(y, 17), ROTATE(y, 19), SHIFT(y, 10));                       \
          w[i] = ADD(ADD(w[i], w[(i + 9) & 15]), ADD(s0, s1));                             \
        }                                                                                  \
        vec s1 = XOR3(ROTATE(e, 6), ROTATE(e, 11), ROTATE(e, 25));                         \
        vec t1 = ADD(ADD(ADD(h, s1), CHOOSE(e, f, g)), ADD(w[i], SPREAD((int)K[t + i])));  \
        vec s0 = XOR3(ROTATE(a, 2), ROTATE(a, 13), ROTATE(a, 22));                         \
        vec t2 = ADD(s0, MOST(a, b, c));                                                   \
        h = g, g = f, f = e, e = ADD(d, t1), d = c, c = b, b = a, a = ADD(t1, t2);         \
      }                                                                                    \
    }                                                                                      \
    state[0] = ADD(state[0], a), state[1] = ADD(state[1], b), state[2] = ADD(state[2], c); \
    state[3] = ADD(state[3], d), state[4] = ADD(state[4], e), state[5] = ADD(state[5], f); \
    state[6] = ADD(state[6], g), state[7] = ADD(state[7], h);                              \
  } while (0)

/* Whole blocks of every lane's piece, then the block of the padding, which is the same in all of them. LINES(from, w): the next line of each lane. */
#define LANES_BODY(vec, lanes, LINES)                                    \
  vec state[8], w[16];                                                   \
  for (int i = 0; i < 8; i++) state[i] = SPREAD((int)START[i]);          \
  for (size_t at = 0; at <= piece; at += BLOCK) {                        \
    if (at < piece) {                                                    \
      LINES(p + at, w);                                                  \
    } else {                                                             \
      for (int i = 0; i < 16; i++) w[i] = SPREAD(0);                     \
      w[0] = SPREAD((int)0x80000000u), w[15] = SPREAD((int)(piece * 8)); \
    }                                                                    \
    COMPRESS(vec);                                                       \
  }                                                                      \
  uint32_t word[8][lanes];                                               \
  memcpy(word, state, sizeof word);                                      \
  for (size_t i = 0; i < n; i++)                                         \
    for (int k = 0; k < 8; k++) {                                        \
      uint32_t v = __builtin_bswap32(word[k][i]);                        \
      memcpy(out + 32 * i + 4 * (size_t)k, &v, 4);                       \
    }

#define ADD(x, y) _mm512_add_epi32(x, y)
#define ROTATE(x, n) _mm512_ror_epi32(x, n)
#define SHIFT(x, n) _mm512_srli_epi32(x, n)
#define XOR3(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define CHOOSE(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define MOST(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe8)
#define SPREAD(x) _mm512_set1_epi32(x)
enum { WIDE = 16 };
/* A line of each lane, turned, so that w[i] has word i of all of them. Lines are read whole: pieces begin at the same place of their pages, so
 * that a gather of single words would find all its lines in one set of the first cache, which holds half of them. */
__attribute__((target("avx512f,avx512bw"))) static inline void lines_of(const uint8_t *p, const size_t at[WIDE], __m512i w[WIDE]) {
  const __m512i swap = _mm512_broadcast_i32x4(_mm_set_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203));
  __m512i x[WIDE], y[WIDE];
  UNROLL for (int i = 0; i < WIDE; i++) y[i] = _mm512_loadu_si512(p + at[i]);
  UNROLL for (int i = 0; i < WIDE; i += 2) {
    x[i] = _mm512_unpacklo_epi32(y[i], y[i + 1]);
    x[i + 1] = _mm512_unpackhi_epi32(y[i], y[i + 1]);
  }
  UNROLL for (int i = 0; i < WIDE; i += 4) for (int k = 0; k < 2; k++) {
    y[i + 2 * k] = _mm512_unpacklo_epi64(x[i + k], x[i + k + 2]);
    y[i + 2 * k + 1] = _mm512_unpackhi_epi64(x[i + k], x[i + k + 2]);
  }
  UNROLL for (int k = 0; k < 4; k++) { /* quarter q of y[4 j + k] is word 4 q + k of lanes 4 j to 4 j + 3 */
    __m512i a = _mm512_shuffle_i32x4(y[k], y[k + 4], 0x88), b = _mm512_shuffle_i32x4(y[k + 8], y[k + 12], 0x88);
    __m512i c = _mm512_shuffle_i32x4(y[k], y[k + 4], 0xdd), d = _mm512_shuffle_i32x4(y[k + 8], y[k + 12], 0xdd);
    w[k] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4(a, b, 0x88), swap);
    w[k + 8] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4(a, b, 0xdd), swap);
    w[k + 4] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4(c, d, 0x88), swap);
    w[k + 12] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4(c, d, 0xdd), swap);
  }
}
#define LINES16(from, w) lines_of(from, lane, w)
/* n <= 16 pieces; lanes without one of their own read the first again */
__attribute__((target("avx512f,avx512bw"))) static void sixteen(const uint8_t *p, size_t n, size_t piece, uint8_t *out) {
  size_t lane[WIDE];
  for (size_t i = 0; i < WIDE; i++) lane[i] = i < n ? i * piece : 0;
  LANES_BODY(__m512i, WIDE, LINES16)
}
#undef ADD
#undef ROTATE
#undef SHIFT
#undef XOR3
#undef CHOOSE
#undef MOST
#undef SPREAD

#define ADD(x, y) _mm256_add_epi32(x, y)
#define ROTATE(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define SHIFT(x, n) _mm256_srli_epi32(x, n)
#define XOR3(x, y, z) _mm256_xor_si256(_mm256_xor_si256(x, y), z)
#define CHOOSE(x, y, z) _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
#define MOST(x, y, z) _mm256_or_si256(_mm256_and_si256(x, y), _mm256_and_si256(z, _mm256_or_si256(x, y)))
#define SPREAD(x) _mm256_set1_epi32(x)
#define LINES8(from, w)        \
  for (int i = 0; i < 16; i++) \
  w[i] = _mm256_shuffle_epi8(_mm256_i32gather_epi32((const int *)(const void *)((from) + 4 * (size_t)i), at_lane, 1), swap)
enum { NARROW = 8 };
__attribute__((target("avx2"))) static void eight(const uint8_t *p, size_t n, size_t piece, uint8_t *out) {
  int32_t at_of[NARROW];
  for (size_t i = 0; i < NARROW; i++) at_of[i] = i < n ? (int32_t)(i * piece) : 0;
  __m256i at_lane = _mm256_loadu_si256((const __m256i *)(const void *)at_of);
  const __m256i swap = _mm256_broadcastsi128_si256(_mm_set_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203));
  LANES_BODY(__m256i, NARROW, LINES8)
}

static bool has_sha(void) {
  unsigned a, b = 0, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}
#endif

bool hash_way_here(enum hash_way way) {
#if defined __x86_64__
  if (way == HASH_SIXTEEN) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  if (way == HASH_EIGHT) return __builtin_cpu_supports("avx2");
#endif
  return way == HASH_ONE;
}

static enum hash_way best(void) {
#if defined __x86_64__
  if (has_sha()) return HASH_ONE;
#endif
  return hash_way_here(HASH_SIXTEEN) ? HASH_SIXTEEN : hash_way_here(HASH_EIGHT) ? HASH_EIGHT : HASH_ONE;
}

void sha256_pieces_by(enum hash_way way, const void *bytes, size_t n, size_t piece, uint8_t *out) {
  const uint8_t *p = bytes;
  BUG_IF(piece < BLOCK || piece % BLOCK || piece > HASH_PIECE_MOST || !hash_way_here(way));
  size_t whole = n / piece, rest = n % piece, lanes = way == HASH_SIXTEEN ? 16 : way == HASH_EIGHT ? 8 : 1;
  if (rest) sha256_of(p + whole * piece, rest, out + 32 * whole);
  for (size_t i = 0; i < whole; i += lanes) {
    size_t now = whole - i < lanes ? whole - i : lanes;
#if defined __x86_64__
    if (way == HASH_SIXTEEN && now > 1)
      sixteen(p + i * piece, now, piece, out + 32 * i);
    else if (way == HASH_EIGHT && now > 1)
      eight(p + i * piece, now, piece, out + 32 * i);
    else
#endif
      one_by_one(p + i * piece, now, piece, out + 32 * i);
  }
}

void sha256_pieces(const void *bytes, size_t n, size_t piece, uint8_t *out) {
  static int chosen; /* the same answer for everybody who asks: a race is harmless */
  int way = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
  if (!way) __atomic_store_n(&chosen, way = (int)best() + 1, __ATOMIC_RELAXED);
  sha256_pieces_by((enum hash_way)(way - 1), bytes, n, piece, out);
}
