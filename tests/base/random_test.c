#include "helpers.h"

#include <math.h>

#include "base/random.h"

/* The vectors that Random123 publishes for philox4x32-10 (kat_vectors). */
TEST(philox_known_answers) {
  static const uint32_t KAT[3][10] = {
      {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
      {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
      {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
  for (int i = 0; i < 3; i++) {
    uint32_t out[4];
    philox4x32(KAT[i], KAT[i] + 4, out);
    assert_memory_equal(out, KAT[i] + 6, 16);
  }
}

TEST(streams_repeat_and_differ) {
  struct rng a, b, c;
  rng_init(&a, 7, 1);
  rng_init(&b, 7, 1);
  rng_init(&c, 7, 2);
  int same = 0;
  for (int i = 0; i < 1000; i++) {
    uint32_t x = rng_u32(&a);
    assert_int_equal(x, rng_u32(&b));
    same += x == rng_u32(&c);
  }
  assert_true(same < 3);
  rng_init(&a, 0, 0);
  assert_int_equal(rng_u32(&a), 0x6627e8d5);
  rng_init(&a, 0, 0);
  assert_true(rng_u64(&a) == UINT64_C(0xe169c58d6627e8d5));
}

TEST(uniform_moments) {
  struct rng r;
  rng_init(&r, 1, 0);
  double sum = 0, square = 0, sumf = 0;
  enum { N = 200000 };
  for (int i = 0; i < N; i++) {
    double u = rng_uniform(&r);
    float f = rng_uniformf(&r);
    assert_true(u > 0 && u < 1 && f > 0 && f < 1);
    sum += u;
    square += u * u;
    sumf += (double)f;
  }
  assert_true(fabs(sum / N - 0.5) < 0.003);
  assert_true(fabs(square / N - 1.0 / 3) < 0.003);
  assert_true(fabs(sumf / N - 0.5) < 0.003);
}

TEST(normal_moments) {
  struct rng r;
  rng_init(&r, 2, 0);
  double m[5] = {0};
  enum { N = 200000 };
  for (int i = 0; i < N; i++) {
    double v = rng_normal(&r), p = 1;
    for (int k = 0; k < 5; k++, p *= v) m[k] += p / N;
  }
  assert_true(fabs(m[1]) < 0.01 && fabs(m[2] - 1) < 0.02 && fabs(m[3]) < 0.05 && fabs(m[4] - 3) < 0.15);
}

TEST(below_is_unbiased) {
  struct rng r;
  rng_init(&r, 3, 0);
  assert_int_equal(rng_below(&r, 1), 0);
  uint32_t count[7] = {0};
  for (int i = 0; i < 70000; i++) count[rng_below(&r, 7)]++;
  double chi = 0;
  for (int i = 0; i < 7; i++) chi += pow(count[i] - 10000.0, 2) / 10000;
  assert_true(chi < 22.5); /* 6 degrees of freedom, p = 0.001 */
  uint32_t n = 3u << 30, high = 0;
  for (int i = 0; i < 40000; i++) {
    uint32_t v = rng_below(&r, n);
    assert_true(v < n);
    high += v >= (2u << 30);
  }
  assert_in_range(high, 12800, 13870); /* a third; plain modulo would give a quarter */
}

TEST(shuffle_is_a_permutation_and_fair) {
  struct rng r;
  rng_init(&r, 4, 0);
  uint32_t first[5] = {0};
  for (int t = 0; t < 20000; t++) {
    uint32_t v[5] = {0, 1, 2, 3, 4}, seen = 0;
    rng_shuffle(&r, v, 5);
    for (int i = 0; i < 5; i++) seen |= 1u << v[i];
    assert_int_equal(seen, 31);
    first[v[0]]++;
  }
  for (int i = 0; i < 5; i++) assert_in_range(first[i], 3750, 4250);
  rng_shuffle(&r, first, 0);
}

TEST(secrets_differ) {
  uint8_t a[1000] = {0}, b[1000] = {0};
  assert_int_equal(random_secret(a, sizeof a, NULL), OK);
  assert_int_equal(random_secret(b, sizeof b, NULL), OK);
  assert_memory_not_equal(a, b, sizeof a);
  int zero = 0;
  for (size_t i = 0; i < sizeof a; i++) zero += a[i] == 0;
  assert_true(zero < 30);
}

static void below_zero(void) {
  struct rng r;
  rng_init(&r, 1, 1);
  rng_below(&r, 0);
}
TEST(below_zero_is_a_bug) { assert_true(WIFSIGNALED(child(below_zero))); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(philox_known_answers), cmocka_unit_test(streams_repeat_and_differ),
      cmocka_unit_test(uniform_moments),      cmocka_unit_test(normal_moments),
      cmocka_unit_test(below_is_unbiased),    cmocka_unit_test(shuffle_is_a_permutation_and_fair),
      cmocka_unit_test(secrets_differ),       cmocka_unit_test(below_zero_is_a_bug),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
