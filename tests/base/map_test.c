#include "helpers.h"

#include "base/map.h"

TEST(put_get_many) {
  struct map m;
  map_init(&m, 0);
  char key[32];
  bool is_new;
  assert_false(map_get(&m, STR("x"), NULL));
  for (uint64_t i = 0; i < 20000; i++) {
    int n = snprintf(key, sizeof key, "CODE//%llu", (unsigned long long)i);
    uint64_t *v = map_put(&m, (struct str){key, (size_t)n}, &is_new);
    assert_true(v && is_new && *v == 0);
    *v = i;
  }
  assert_int_equal(m.count, 20000);
  for (uint64_t i = 0; i < 20000; i++) {
    uint64_t v = 1;
    int n = snprintf(key, sizeof key, "CODE//%llu", (unsigned long long)i);
    assert_true(map_get(&m, (struct str){key, (size_t)n}, &v) && v == i);
    uint64_t *p = map_put(&m, (struct str){key, (size_t)n}, &is_new);
    assert_true(*p == i && !is_new);
  }
  assert_false(map_get(&m, STR("CODE//20000"), NULL));
  size_t at = 0, n = 0;
  uint64_t sum = 0, v;
  struct str k;
  while (map_next(&m, &at, &k, &v)) n++, sum += v;
  assert_int_equal(n, 20000);
  assert_int_equal(sum, UINT64_C(19999) * 20000 / 2);
  map_release(&m);
  assert_int_equal(m.count, 0);
}

TEST(odd_keys) {
  struct map m;
  map_init(&m, 0);
  *map_put(&m, STR(""), NULL) = 1;
  *map_put(&m, STR("a\0b"), NULL) = 2;
  *map_put(&m, STR("a\0c"), NULL) = 3;
  uint64_t v;
  assert_true(map_get(&m, STR_NONE, &v) && v == 1);
  assert_true(map_get(&m, STR("a\0c"), &v) && v == 3);
  assert_false(map_get(&m, STR("a"), &v));
  map_release(&m);
}

TEST(memory_limit) {
  struct map m;
  map_init(&m, 20000);
  char key[16];
  int i = 0;
  for (; i < 100000; i++) {
    snprintf(key, sizeof key, "%d", i);
    if (!map_put(&m, str_c(key), NULL)) break;
  }
  assert_in_range(i, 100, 2000);
  assert_int_equal(m.count, (size_t)i);
  uint64_t v;
  assert_true(map_get(&m, STR("50"), &v));
  map_release(&m);
}

TEST(interner) {
  struct intern t;
  intern_init(&t, 0);
  uint32_t id;
  char key[32];
  for (uint32_t round = 0; round < 2; round++)
    for (uint32_t i = 0; i < 5000; i++) {
      snprintf(key, sizeof key, "LOINC//%u", i);
      assert_int_equal(intern_put(&t, str_c(key), &id, NULL), OK);
      assert_int_equal(id, i);
    }
  assert_int_equal(t.count, 5000);
  assert_text(intern_str(&t, 4321), "LOINC//4321");
  assert_true(intern_find(&t, STR("LOINC//17"), &id) && id == 17);
  assert_false(intern_find(&t, STR("LOINC//x"), &id));
  intern_release(&t);
  intern_init(&t, 5000);
  int rc = OK;
  for (int i = 0; i < 5000 && rc == OK; i++) {
    snprintf(key, sizeof key, "%d", i);
    rc = intern_put(&t, str_c(key), &id, NULL);
  }
  assert_int_equal(rc, E_LIMIT);
  intern_release(&t);
}

TEST(integer_keys) {
  struct map64 m;
  map64_init(&m);
  uint64_t v;
  bool is_new;
  assert_false(map64_get(&m, 0, &v));
  for (int64_t i = -5000; i < 5000; i++) *map64_put(&m, i * INT64_C(1000003), &is_new) = (uint64_t)(i + 5000);
  *map64_put(&m, INT64_MIN, NULL) = 77;
  *map64_put(&m, INT64_MAX, NULL) = 78;
  assert_int_equal(m.count, 10002);
  for (int64_t i = -5000; i < 5000; i++) assert_true(map64_get(&m, i * INT64_C(1000003), &v) && v == (uint64_t)(i + 5000));
  assert_true(map64_get(&m, INT64_MIN, &v) && v == 77);
  assert_int_equal(*map64_put(&m, INT64_MAX, &is_new), 78);
  assert_false(is_new);
  assert_false(map64_get(&m, 1, &v));
  size_t at = 0, n = 0;
  int64_t k;
  while (map64_next(&m, &at, &k, &v)) n++;
  assert_int_equal(n, 10002);
  map64_release(&m);
}

TEST(survives_every_failing_allocation) {
  for (long n = 1;; n++) {
    struct intern t;
    struct map64 m;
    intern_init(&t, 0);
    map64_init(&m);
    arena_fail_at(n);
    uint32_t id, put = 0;
    char key[16];
    for (int i = 0; i < 300; i++) {
      snprintf(key, sizeof key, "%d", i);
      put += intern_put(&t, str_c(key), &id, NULL) == OK;
      uint64_t *v = map64_put(&m, i, NULL);
      if (v) *v = 1;
    }
    bool hit = !arena_fail_pending();
    arena_fail_at(0);
    assert_int_equal(t.count, put);
    assert_int_equal(t.map.count, put);
    assert_in_range(put + m.count, hit ? 599 : 600, hit ? 599 : 600);
    for (uint32_t i = 0; i < t.count; i++) assert_true(intern_find(&t, intern_str(&t, i), &id) && id == i);
    intern_release(&t);
    map64_release(&m);
    if (!hit) break;
  }
}

TEST(fixed_seed_fixes_the_order) {
  char first[64] = "";
  for (int round = 0; round < 2; round++) {
    hash_seed_fixed(42);
    struct map m;
    map_init(&m, 0);
    for (char c = 'a'; c < 'k'; c++) map_put(&m, (struct str){&c, 1}, NULL);
    char order[64] = "";
    size_t at = 0;
    struct str k;
    while (map_next(&m, &at, &k, NULL)) strncat(order, k.p, 1);
    if (round) assert_string_equal(order, first);
    strcpy(first, order);
    map_release(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(put_get_many),
      cmocka_unit_test(odd_keys),
      cmocka_unit_test(memory_limit),
      cmocka_unit_test(interner),
      cmocka_unit_test(integer_keys),
      cmocka_unit_test(survives_every_failing_allocation),
      cmocka_unit_test(fixed_seed_fixes_the_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
