/* What the kernel tests share: random buffers at odd addresses that end where the memory ends (so that the address
 * sanitizer sees one float too many), comparison with a tolerance, and the list of columns.
 */
#ifndef KERNEL_TESTING_H
#define KERNEL_TESTING_H
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/random.h"
#include "base/thread.h"
#include "columns_here.h"

static struct rng test_rng;

static UNUSED int between(int low, int high) { return low + (int)rng_below(&test_rng, (uint32_t)(high - low + 1)); }

/* n floats, four bytes past an aligned address */
static UNUSED float *floats(size_t n) {
  char *p = malloc(n * sizeof(float) + 4);
  assert_non_null(p);
  return (float *)(void *)(p + 4);
}
static UNUSED void drop(const float *p) {
  if (p) free((char *)(uintptr_t)p - 4);
}
static UNUSED float *normals(size_t n, float scale) {
  float *p = floats(n);
  for (size_t i = 0; i < n; i++) p[i] = scale * (float)rng_normal(&test_rng);
  return p;
}
static UNUSED float *copy(const float *x, size_t n) {
  float *p = floats(n);
  memcpy(p, x, n * sizeof(float));
  return p;
}
static UNUSED float *zeros(size_t n) {
  float *p = floats(n);
  memset(p, 0, n * sizeof(float));
  return p;
}
/* 64-byte aligned and no longer than promised */
static UNUSED float *scratch_floats(size_t n) {
  void *p = NULL;
  if (posix_memalign(&p, 64, n ? n * sizeof(float) : 64)) abort();
  memset(p, 0x7f, n * sizeof(float)); /* rubbish: nobody may count on zeros */
  return p;
}

/* |x - want| <= absolute + relative * |want|; NaN only where NaN is wanted */
static UNUSED void close_to(const char *what, const char *column, size_t n, const float *x, const float *want, double absolute,
                            double relative) {
  for (size_t i = 0; i < n; i++) {
    if ((isnan(want[i]) && isnan(x[i])) || x[i] == want[i]) continue;
    double d = fabs((double)x[i] - want[i]);
    if (!(d <= absolute + relative * fabs(want[i]))) {
      print_error("%s, column %s: element %zu of %zu is %.9g, wanted %.9g\n", what, column, i, n, x[i], want[i]);
      fail();
    }
  }
}

#define EACH_COLUMN(k)               \
  const struct kernel *all_[12];     \
  int columns_ = columns_here(all_); \
  for (const struct kernel *k = NULL, **at_ = all_; at_ < all_ + columns_ && (k = *at_) != NULL; at_++)

static UNUSED int setup(void **state) {
  (void)state;
  rng_init(&test_rng, 20240607, 1);
  return 0;
}
#endif
