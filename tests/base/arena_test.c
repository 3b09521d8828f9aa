#include "helpers.h"

TEST(alignment_zero_and_separation) {
  struct arena a;
  arena_init(&a, 0, 0);
  unsigned char *last = NULL;
  for (size_t i = 0; i < 3000; i++) {
    size_t align = (size_t)1 << (i % 9), size = i * 7 % 5000;
    unsigned char *p = arena_alloc(&a, size, align);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % align, 0);
    for (size_t k = 0; k < size; k++) assert_int_equal(p[k], 0);
    memset(p, 0xA5, size);
    assert_ptr_not_equal(p, last);
    last = p;
  }
  assert_non_null(arena_alloc(&a, 0, 1));
  char *s = arena_strndup(&a, "abcdef", 3);
  assert_string_equal(s, "abc");
  struct pair {
    double x;
    int y;
  } *pair = arena_new(&a, struct pair);
  assert_int_equal((uintptr_t)pair % _Alignof(struct pair), 0);
  uint64_t *big = arena_alloc(&a, 3 << 20, 4096);
  assert_int_equal((uintptr_t)big % 4096, 0);
  arena_free(&a);
}

TEST(limits) {
  struct arena a;
  arena_init(&a, 1000, 0);
  assert_non_null(arena_alloc(&a, 600, 1));
  assert_null(arena_alloc(&a, 401, 1));
  assert_non_null(arena_alloc(&a, 400, 1));
  assert_null(arena_alloc(&a, 1, 1));
  assert_null(arena_alloc(&a, SIZE_MAX, 1));
  arena_reset(&a);
  assert_int_equal(a.used, 0);
  assert_non_null(arena_alloc(&a, 1000, 1));
  assert_null(arena_array(&a, uint64_t, SIZE_MAX / 4)); /* product overflows */
  arena_free(&a);
  arena_init(&a, 0, 0);
  assert_null(arena_alloc(&a, SIZE_MAX - 10, 1));
  assert_null(arena_array(&a, uint64_t, SIZE_MAX / 2));
  assert_null(arena_strndup(&a, "x", SIZE_MAX));
  arena_free(&a);
}

TEST(marks_rewind_across_blocks) {
  struct arena a;
  arena_init(&a, 0, 0);
  struct arena_mark none = arena_mark(&a);
  char *kept = arena_strndup(&a, "kept", 4);
  struct arena_mark m = arena_mark(&a);
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < 100; i++) {
      unsigned char *p = arena_alloc(&a, 3000, 8);
      for (int k = 0; k < 3000; k++) assert_int_equal(p[k], 0); /* reused memory is zero again */
      memset(p, 0xFF, 3000);
    }
    arena_rewind(&a, m);
    assert_int_equal(a.used, 5);
    assert_string_equal(kept, "kept");
  }
  arena_rewind(&a, none);
  assert_int_equal(a.used, 0);
  assert_non_null(arena_alloc(&a, 10, 1));
  arena_free(&a);
  arena_init(&a, 0, 0);
  m = arena_mark(&a);
  arena_rewind(&a, m); /* of an arena that has nothing */
  arena_free(&a);
}

TEST(reset_keeps_blocks) {
  struct arena a;
  arena_init(&a, 0, 0);
  void *first = arena_alloc(&a, 100, 64);
  for (int i = 0; i < 50; i++) assert_non_null(arena_alloc(&a, 5000, 1));
  arena_reset(&a);
  assert_ptr_equal(arena_alloc(&a, 100, 64), first);
  arena_free(&a);
}

#if !defined(__SANITIZE_ADDRESS__)
TEST(wipe_overwrites) {
  struct arena a;
  arena_init(&a, 0, ARENA_WIPE);
  assert_non_null(arena_alloc(&a, 8, 8));
  struct arena_mark m = arena_mark(&a);
  unsigned char *p = arena_alloc(&a, 4000, 8);
  memset(p, 0x5A, 4000);
  arena_rewind(&a, m); /* the block is still mapped: look at what was there */
  for (int i = 0; i < 4000; i++) assert_int_equal(((volatile unsigned char *)p)[i], 0);
  p = arena_alloc(&a, 4000, 8);
  memset(p, 0x5A, 4000);
  arena_reset(&a);
  for (int i = 0; i < 4000; i++) assert_int_equal(((volatile unsigned char *)p)[i], 0);
  arena_free(&a);
}
#endif

static int order[8], ordered;
static void note(void *p) { order[ordered++] = *(int *)p; }

TEST(cleanups_run_last_first) {
  struct arena a;
  static int one = 1, two = 2, three = 3;
  arena_init(&a, 0, 0);
  ordered = 0;
  assert_int_equal(arena_cleanup(&a, note, &one, NULL), OK);
  assert_int_equal(arena_cleanup(&a, note, &two, NULL), OK);
  arena_reset(&a);
  assert_int_equal(ordered, 2);
  assert_int_equal(order[0], 2);
  assert_int_equal(order[1], 1);
  assert_int_equal(arena_cleanup(&a, note, &three, NULL), OK);
  arena_free(&a);
  assert_int_equal(ordered, 3);
  arena_free(&a);
  assert_int_equal(ordered, 3);
  struct error e = {0};
  arena_fail_at(1);
  assert_int_equal(arena_cleanup(&a, note, &one, &e), E_NOMEM);
  arena_fail_at(0);
}

TEST(the_nth_allocation_fails) {
  struct arena a;
  arena_init(&a, 0, 0);
  for (long n = 1; n <= 5; n++) {
    arena_fail_at(n);
    for (long i = 1; i <= 6; i++) {
      assert_int_equal(arena_fail_pending(), i <= n);
      void *p = i % 2 ? arena_alloc(&a, 10, 1) : mem_alloc(10);
      assert_int_equal(p == NULL, i == n);
      if (i % 2 == 0) mem_free(p);
    }
    assert_false(arena_fail_pending());
  }
  arena_fail_at(1);
  arena_fail_at(0);
  void *p = mem_alloc(1);
  assert_non_null(p);
  arena_fail_at(1);
  assert_null(mem_realloc(p, 100));
  arena_fail_at(1);
  assert_null(mem_alloc_aligned(100));
  mem_free(p);
  arena_free(&a);
}

TEST(aligned_memory) {
  size_t sizes[] = {0, 1, 63, 64, 65, 100000, (4 << 20) - 1, 4 << 20, (5 << 20) + 3};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t n = sizes[i];
    unsigned char *p = mem_alloc_aligned(n);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % (n >= (4 << 20) ? 2 << 20 : 64), 0);
    for (size_t k = 0; k < n; k += 997) assert_int_equal(p[k], 0);
    if (n) memset(p, 1, n);
    mem_free_aligned(p, n);
  }
  assert_null(mem_alloc_aligned(SIZE_MAX));
  mem_free_aligned(NULL, 10);
  char text[] = "secret";
  mem_wipe(text, sizeof text);
  for (size_t i = 0; i < sizeof text; i++) assert_int_equal(text[i], 0);
}

static void bad_align(void) {
  struct arena a;
  arena_init(&a, 0, 0);
  if (arena_alloc(&a, 8, 3)) _exit(1);
}
TEST(bad_alignment_is_a_bug) {
  int status = child(bad_align);
  assert_true(WIFSIGNALED(status));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(alignment_zero_and_separation),
    cmocka_unit_test(limits),
    cmocka_unit_test(marks_rewind_across_blocks),
    cmocka_unit_test(reset_keeps_blocks),
#if !defined(__SANITIZE_ADDRESS__)
    cmocka_unit_test(wipe_overwrites),
#endif
    cmocka_unit_test(cleanups_run_last_first),
    cmocka_unit_test(the_nth_allocation_fails),
    cmocka_unit_test(aligned_memory),
    cmocka_unit_test(bad_alignment_is_a_bug),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
