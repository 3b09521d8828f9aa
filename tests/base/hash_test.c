#include "helpers.h"

#include "base/hash.h"
#include "base/hash_pieces.h"

static void hex_of(const void *p, size_t n, char out[65]) {
  uint8_t h[32];
  sha256_of(p, n, h);
  hash_hex(h, 32, out);
}

TEST(sha256_known_answers) { /* FIPS 180-4 examples */
  char hex[65];
  hex_of("", 0, hex);
  assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  hex_of("abc", 3, hex);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  struct sha256 s;
  uint8_t h[32], again[32];
  assert_int_equal(sha256_init(&s, NULL), OK);
  for (int i = 0; i < 1000000; i += 1000) {
    char a[1000];
    memset(a, 'a', sizeof a);
    sha256_add(&s, a, sizeof a);
  }
  sha256_add(&s, NULL, 0);
  sha256_end(&s, h);
  hash_hex(h, 32, hex);
  assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  assert_int_equal(sha256_file(temp_file("abc", "abc", 3), h, NULL), OK);
  sha256_of("abc", 3, again);
  assert_memory_equal(h, again, 32);
  assert_int_equal(sha256_file(temp_file("none", "", 0), h, NULL), OK);
  assert_int_equal(h[0], 0xe3);
  assert_int_equal(sha256_file(temp("absent"), h, NULL), E_NOTFOUND);
}

TEST(hexadecimal) {
  uint8_t bytes[4];
  assert_int_equal(hash_unhex(STR("00fFa5Z0"), bytes, 4, NULL), E_INPUT);
  assert_int_equal(hash_unhex(STR("00fFa5"), bytes, 4, NULL), E_INPUT);
  assert_int_equal(hash_unhex(STR("00fFa510"), bytes, 4, NULL), OK);
  assert_memory_equal(bytes, "\x00\xff\xa5\x10", 4);
  char out[9];
  hash_hex(bytes, 4, out);
  assert_string_equal(out, "00ffa510");
}

TEST(sha256_of_pieces_is_that_of_each) { /* every way, every number of lanes that stay empty, last pieces of all kinds */
  enum { MOST = 40 * 1024 };
  static uint8_t bytes[MOST + 3], got[32 * (MOST / 64 + 1)];
  static const size_t piece[] = {64, 128, 960, 1024, 8192};
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)hash64_u64(i);
  for (int way = HASH_ONE; way <= HASH_SIXTEEN + 1; way++) { /* one beyond: the way that it chooses itself */
    if (way <= HASH_SIXTEEN && !hash_way_here((enum hash_way)way)) continue;
    for (size_t k = 0; k < sizeof piece / sizeof *piece; k++)
      for (size_t n = 0; n <= MOST && n <= 36 * piece[k]; n += n < 200 ? 7 : piece[k] / 2 + 17) {
        const uint8_t *p = bytes + n % 3; /* wherever it lies */
        if (way <= HASH_SIXTEEN)
          sha256_pieces_by((enum hash_way)way, p, n, piece[k], got);
        else
          sha256_pieces(p, n, piece[k], got);
        for (size_t i = 0; i < sha256_pieces_count(n, piece[k]); i++) {
          uint8_t want[32];
          size_t at = i * piece[k];
          sha256_of(p + at, n - at < piece[k] ? n - at : piece[k], want);
          assert_memory_equal(got + 32 * i, want, 32);
        }
      }
  }
}

/* sixteen windows' worth and every kind of end; below SHA256_WHOLE the digest of the bytes */
TEST(sha256_of_a_source_file) {
  static const size_t sizes[] = {
      0, 5, SHA256_WHOLE - 1, SHA256_WHOLE, SHA256_WHOLE + 1, 2 * SHA256_WHOLE, 2 * SHA256_WHOLE + 3 * SHA256_PIECE + 77};
  const size_t most = sizes[sizeof sizes / sizeof *sizes - 1];
  uint8_t *bytes = malloc(most), got[32], want[32], list[32 * 64];
  bool pieces;
  for (size_t i = 0; i < most; i++) bytes[i] = (uint8_t)(hash64_u64(i >> 3) >> (i & 7) * 8);
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
    size_t n = sizes[k], count = 0;
    assert_int_equal(sha256_source(temp_file("source", bytes, n), got, &pieces, NULL), OK);
    assert_int_equal(pieces, n >= SHA256_WHOLE);
    for (size_t at = 0; at < n; at += SHA256_PIECE)
      sha256_of(bytes + at, n - at < SHA256_PIECE ? n - at : SHA256_PIECE, list + 32 * count++);
    if (pieces)
      sha256_of(list, 32 * count, want);
    else
      sha256_of(bytes, n, want);
    assert_memory_equal(got, want, 32);
  }
  assert_int_equal(sha256_source(temp("absent"), got, &pieces, NULL), E_NOTFOUND);
  free(bytes);
}

TEST(hash64_stays_the_same) { /* stored in files: these values may never change */
  char text[200];
  for (int i = 0; i < 200; i++) text[i] = (char)(i * 7 + 1);
  uint64_t all = 0;
  for (size_t n = 0; n <= 200; n++) all = hash64_u64(all ^ hash64(text, n, n));
  print_message("hash64 fingerprint %016llx\n", (unsigned long long)all);
  assert_true(all == UINT64_C(0x1b44c5debc424689));
  assert_true(hash64_u64(0) == UINT64_C(0xE220A8397B1DCDAF)); /* the first output of splitmix64 with seed 0 */
}

TEST(hash64_reads_only_its_bytes) {
  for (size_t n = 0; n < 300; n++) {
    char *p = malloc(n ? n : 1);
    memset(p, 3, n);
    char big[400];
    memset(big, 3, sizeof big);
    assert_true(hash64(p, n, 1) == hash64(big + 5, n, 1));
    free(p);
  }
  assert_true(hash64(NULL, 0, 1) == hash64("", 0, 1));
}

/* Every input bit turned changes about half of the output bits, at every length class. */
TEST(hash64_avalanche) {
  static const size_t LENGTHS[] = {1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 128, 129, 200};
  uint8_t p[200];
  for (size_t l = 0; l < sizeof LENGTHS / sizeof *LENGTHS; l++) {
    size_t n = LENGTHS[l], trials = 0;
    uint64_t flips[64] = {0};
    for (uint64_t t = 0; t < 20 + 2000 / n; t++) {
      for (size_t i = 0; i < n; i++) p[i] = (uint8_t)hash64_u64(t * 1000 + i);
      uint64_t base = hash64(p, n, t);
      for (size_t bit = 0; bit < 8 * n; bit++, trials++) {
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        uint64_t d = hash64(p, n, t) ^ base;
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(d != 0);
        for (int k = 0; k < 64; k++) flips[k] += d >> k & 1;
      }
    }
    for (int k = 0; k < 64; k++) assert_in_range(flips[k] * 1000 / trials, 470, 530);
  }
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Sparse keys (zero bytes with a few bits), lengths of zeros, counters: no two alike, and the low 32 bits collide as often as chance. */
TEST(hash64_collisions) {
  enum { N = 400000 };
  uint64_t *h = malloc(N * sizeof *h);
  size_t n = 0;
  uint8_t zeros[1024] = {0};
  for (size_t k = 0; k <= 1024; k++) h[n++] = hash64(zeros, k, 0);
  for (int a = 0; a < 600; a++)
    for (int b = 0; b < a; b++) {
      uint8_t sparse[75] = {0};
      sparse[a / 8] ^= (uint8_t)(1u << a % 8);
      sparse[b / 8] ^= (uint8_t)(1u << b % 8);
      h[n++] = hash64(sparse, 75, 0);
    }
  for (uint64_t i = 1; n < N; i++) h[n++] = hash64(&i, 8, 0);
  qsort(h, n, sizeof *h, by_value);
  for (size_t i = 1; i < n; i++) assert_true(h[i] != h[i - 1]);
  for (size_t i = 0; i < n; i++) h[i] &= 0xFFFFFFFF;
  qsort(h, n, sizeof *h, by_value);
  size_t same = 0;
  for (size_t i = 1; i < n; i++) same += h[i] == h[i - 1];
  assert_in_range(same, 5, 45); /* n^2 / 2^33 = 18.6 expected */
  free(h);
}

TEST(seeds_differ) {
  assert_true(hash64("abc", 3, 0) != hash64("abc", 3, 1));
  assert_true(hash64("", 0, 0) != hash64("", 0, 1));
  assert_true(hash64("\0", 1, 0) != hash64("\0\0", 2, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sha256_known_answers),
      cmocka_unit_test(hexadecimal),
      cmocka_unit_test(sha256_of_pieces_is_that_of_each),
      cmocka_unit_test(sha256_of_a_source_file),
      cmocka_unit_test(hash64_stays_the_same),
      cmocka_unit_test(hash64_reads_only_its_bytes),
      cmocka_unit_test(hash64_avalanche),
      cmocka_unit_test(hash64_collisions),
      cmocka_unit_test(seeds_differ),
  };
  return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
