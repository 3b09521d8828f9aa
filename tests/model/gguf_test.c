/* The GGUF reader: what a file says comes out, and every way in which one can lie is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "model/gguf.h"

static void put_u(struct buf *b, unsigned n, uint64_t v) {
  for (unsigned i = 0; i < n; i++) buf_putc(b, (char)(v >> 8 * i));
}
static void put_text(struct buf *b, const char *s) {
  put_u(b, 8, strlen(s));
  buf_puts(b, s);
}
static void put_head(struct buf *b, uint32_t version, uint64_t tensors, uint64_t pairs) {
  buf_puts(b, "GGUF");
  put_u(b, 4, version);
  put_u(b, 8, tensors);
  put_u(b, 8, pairs);
}
static void put_tensor(struct buf *b, const char *name, uint32_t type, uint64_t columns, uint64_t rows, uint64_t offset) {
  put_text(b, name);
  put_u(b, 4, 2);
  put_u(b, 8, columns);
  put_u(b, 8, rows);
  put_u(b, 4, type);
  put_u(b, 8, offset);
}
static void put_data(struct buf *b, size_t n) {
  while (b->n % 32) buf_putc(b, 0);
  for (size_t i = 0; i < n; i++) buf_putc(b, (char)i);
}

/* Parses a copy of exactly that size, so that a sanitizer sees one byte too far. */
static int parse(const struct buf *b, struct arena *a, struct gguf *g) {
  uint8_t *exact = arena_alloc(a, b->n + 1, 1);
  memcpy(exact, b->p, b->n);
  return gguf_parse(exact, b->n, a, g, NULL);
}

static void full(struct buf *b) {
  put_head(b, 3, 2, 6);
  put_text(b, "general.architecture"), put_u(b, 4, GGUF_STRING), put_text(b, "llama");
  put_text(b, "a.count"), put_u(b, 4, GGUF_U32), put_u(b, 4, 30);
  put_text(b, "a.minus"), put_u(b, 4, GGUF_I8), put_u(b, 1, 0xFE);
  put_text(b, "a.half"), put_u(b, 4, GGUF_F32), put_u(b, 4, 0x3f000000);
  put_text(b, "a.yes"), put_u(b, 4, GGUF_BOOL), put_u(b, 1, 1);
  put_text(b, "a.list"), put_u(b, 4, GGUF_ARRAY), put_u(b, 4, GGUF_STRING), put_u(b, 8, 2), put_text(b, "x"), put_text(b, "");
  put_tensor(b, "w", 2, 64, 3, 0);
  put_tensor(b, "g", 0, 8, 1, 128);
  put_data(b, 160);
}

static void test_reads(void **state) {
  (void)state;
  struct buf b = {0};
  struct arena a;
  struct gguf g;
  arena_init(&a, 0, 0);
  full(&b);
  assert_int_equal(parse(&b, &a, &g), OK);
  assert_true(g.pairs == 6 && g.tensors == 2);
  assert_true(str_eqc(gguf_str(&g, "general.architecture"), "llama"));
  assert_int_equal(gguf_u64(&g, "a.count", 7), 30);
  assert_int_equal(gguf_u64(&g, "a.minus", 7), 7);
  assert_true(gguf_f64(&g, "a.minus", 0) == -2 && gguf_f64(&g, "a.half", 0) == 0.5 && gguf_bool(&g, "a.yes", false));
  const struct gguf_pair *list = gguf_get(&g, "a.list");
  assert_true(list && list->n == 2 && str_eqc(list->texts[0], "x") && list->texts[1].n == 0);
  const struct gguf_tensor *w = gguf_find(&g, "w"), *gain = gguf_find(&g, "g");
  assert_true(w && w->bytes == 6 * 18 && w->shape[0] == 64 && w->shape[1] == 3 && w->data[5] == 5);
  assert_true(gain && gain->bytes == 32 && gain->data[0] == 128);
  assert_null(gguf_find(&g, "v"));
  arena_free(&a);
  buf_release(&b);
}

/* Cut anywhere, the file is refused; any flipped bit of the header is refused or leaves every tensor inside. */
static void test_cut_and_flipped(void **state) {
  (void)state;
  struct buf b = {0};
  full(&b);
  for (size_t n = 0; n < b.n; n++) {
    struct arena a;
    struct gguf g;
    struct buf cut = b;
    arena_init(&a, 0, 0);
    cut.n = n;
    assert_true(parse(&cut, &a, &g) == E_CORRUPT);
    arena_free(&a);
  }
  for (size_t bit = 0; bit < 8 * (b.n - 160); bit++) {
    struct arena a;
    struct gguf g;
    arena_init(&a, 0, 0);
    b.p[bit / 8] ^= (char)(1 << bit % 8);
    int rc = parse(&b, &a, &g);
    assert_true(rc == OK || rc == E_CORRUPT || rc == E_VERSION);
    for (size_t i = 0; rc == OK && i < g.tensors; i++) assert_true(g.tensor[i].offset + g.tensor[i].bytes <= 160 + 64);
    b.p[bit / 8] ^= (char)(1 << bit % 8);
    arena_free(&a);
  }
  buf_release(&b);
}

static void refuse(void (*write)(struct buf *b), const char *what) {
  struct buf b = {0};
  struct arena a;
  struct gguf g;
  arena_init(&a, 1 << 20, 0);
  write(&b);
  int rc = parse(&b, &a, &g);
  if (rc != E_CORRUPT && rc != E_VERSION) fail_msg("accepted: %s (%d)", what, rc);
  arena_free(&a);
  buf_release(&b);
}

static void overlap(struct buf *b) {
  put_head(b, 3, 2, 0), put_tensor(b, "a", 0, 16, 1, 0), put_tensor(b, "b", 0, 16, 1, 32), put_data(b, 96);
}
static void outside(struct buf *b) { put_head(b, 3, 1, 0), put_tensor(b, "a", 0, 16, 1, 64), put_data(b, 96); }
static void far_outside(struct buf *b) { put_head(b, 3, 1, 0), put_tensor(b, "a", 0, 16, 1, ~(uint64_t)31), put_data(b, 96); }
static void unaligned(struct buf *b) { put_head(b, 3, 1, 0), put_tensor(b, "a", 0, 16, 1, 8), put_data(b, 96); }
static void wraps(struct buf *b) { put_head(b, 3, 1, 0), put_tensor(b, "a", 0, (uint64_t)1 << 33, (uint64_t)1 << 33, 0), put_data(b, 96); }
static void zero(struct buf *b) { put_head(b, 3, 1, 0), put_tensor(b, "a", 0, 0, 1, 0), put_data(b, 96); }
static void ragged(struct buf *b) { put_head(b, 3, 1, 0), put_tensor(b, "a", 2, 33, 1, 0), put_data(b, 96); }
static void twice(struct buf *b) { put_head(b, 3, 2, 0), put_tensor(b, "a", 0, 8, 1, 0), put_tensor(b, "a", 0, 8, 1, 32), put_data(b, 64); }
static void many(struct buf *b) { put_head(b, 3, UINT64_MAX, 0), put_data(b, 96); }
static void many_pairs(struct buf *b) { put_head(b, 3, 0, UINT64_MAX), put_data(b, 96); }
static void long_key(struct buf *b) { put_head(b, 3, 0, 1), put_u(b, 8, UINT64_MAX), put_data(b, 96); }
static void nested(struct buf *b) {
  put_head(b, 3, 0, 1), put_text(b, "k"), put_u(b, 4, GGUF_ARRAY), put_u(b, 4, GGUF_ARRAY), put_u(b, 8, 1), put_data(b, 96);
}
static void long_list(struct buf *b) {
  put_head(b, 3, 0, 1), put_text(b, "k"), put_u(b, 4, GGUF_ARRAY), put_u(b, 4, GGUF_U64), put_u(b, 8, (uint64_t)1 << 61), put_data(b, 96);
}
static void unknown_kind(struct buf *b) { put_head(b, 3, 0, 1), put_text(b, "k"), put_u(b, 4, 13), put_data(b, 96); }
static void half_true(struct buf *b) { put_head(b, 3, 0, 1), put_text(b, "k"), put_u(b, 4, GGUF_BOOL), put_u(b, 1, 2), put_data(b, 96); }
static void same_key(struct buf *b) {
  put_head(b, 3, 0, 2);
  for (int i = 0; i < 2; i++) put_text(b, "k"), put_u(b, 4, GGUF_U8), put_u(b, 1, 0);
  put_data(b, 32);
}
static void odd_alignment(struct buf *b) {
  put_head(b, 3, 0, 1), put_text(b, "general.alignment"), put_u(b, 4, GGUF_U32), put_u(b, 4, 33), put_data(b, 96);
}
static void newer(struct buf *b) { put_head(b, 4, 0, 0), put_data(b, 32); }
static void other_end(struct buf *b) { put_head(b, 3u << 24, 0, 0), put_data(b, 32); }

static void test_lies(void **state) {
  (void)state;
#define REFUSE(f) refuse(f, #f)
  REFUSE(overlap), REFUSE(outside), REFUSE(far_outside), REFUSE(unaligned), REFUSE(wraps), REFUSE(zero), REFUSE(ragged), REFUSE(twice);
  REFUSE(many), REFUSE(many_pairs), REFUSE(long_key), REFUSE(nested), REFUSE(long_list), REFUSE(unknown_kind), REFUSE(half_true);
  REFUSE(same_key), REFUSE(odd_alignment), REFUSE(newer), REFUSE(other_end);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads), cmocka_unit_test(test_cut_and_flipped), cmocka_unit_test(test_lies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
