/* Which column runs here. Feature bits, the register state that the operating system saves (XCR0) and, for AMX, the
 * kernel's permission decide; never the processor's model number, which virtual machines mask.
 *
 * What each column has of its own; an empty place means that it takes the column to its left:
 *
 *   operation                      ref   avx2  avx2words  avx512  avx512vnni  avx512bf16  amx
 *   gemm                            x     x        x        x         x           x        x
 *   attention forward/back/decode   x     x                 x
 *   norm, swiglu, gelu, rope        x     x                 x
 *   embed, sums, exp, dropout       x     x                 x
 *   adamw, add/axpy/scale/mul       x     x                 x
 *
 * The amx column is compiled everywhere; its tile instructions run only where AMX exists. Elsewhere the tests run the same
 * blocking and packing over an emulated tile unit (gemm_emulatedtiles_avx512.c), and the bf16 pairs in plain arithmetic (gemm_emulatedpairs_avx512.c).
 */
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/kernel_columns.h"

struct features {
  bool avx2, avx512, avx512bf16, amx;
  const char *amx_missing; /* why not, for people */
};

static uint64_t saved_state(void) {
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t)hi << 32 | lo;
}

enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6, XCR0_TILES = 0x60000, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILE_DATA = 18 };

static void features_read(struct features *f) {
  uint32_t a, b, c, d, a1 = 0, b1, c1, d1;
  f->amx_missing = "avx512bf16 (no AMX on this machine)";
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return;
  uint64_t state = saved_state();
  bool fma = (c & bit_FMA) && (c & bit_F16C);
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
  if (a >= 1) __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1);
  f->avx2 = fma && (b & bit_AVX2) && (state & XCR0_AVX) == XCR0_AVX;
  uint32_t need = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
  f->avx512 = f->avx2 && (b & need) == need && (c & (1u << 11)) && (state & XCR0_AVX512) == XCR0_AVX512;
  f->avx512bf16 = f->avx512 && (a1 & (1u << 5));
  bool tiles = (d & (1u << 24)) && (d & (1u << 22)); /* AMX-TILE, AMX-BF16 */
  if (!tiles || !f->avx512bf16) return;
  if ((state & XCR0_TILES) != XCR0_TILES) {
    f->amx_missing = "avx512bf16 (AMX is there, but the operating system does not save its state)";
  } else if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) != 0) {
    f->amx_missing = "avx512bf16 (AMX is there, but the operating system refused permission)";
  } else {
    f->amx = true;
  }
}

/* Asked anew on each call: a few microseconds at start-up, and no state to share between threads. */
static struct features features_of_machine(void) {
  struct features f = {0};
  features_read(&f);
  return f;
}

/* Best last; of f32 columns and of those with reduced operands alike. */
static int columns(const struct features *f, const struct kernel *out[8]) {
  int n = 0;
  out[n++] = &kernel_column_ref;
  if (f->avx2) out[n++] = &kernel_column_avx2, out[n++] = &kernel_column_avx2words;
  if (f->avx512) out[n++] = &kernel_column_avx512, out[n++] = &kernel_column_avx512vnni;
  if (f->avx512bf16) out[n++] = &kernel_column_avx512bf16;
  if (f->amx) out[n++] = &kernel_column_amx;
  return n;
}

int kernel_all(const struct kernel *out[8]) {
  struct features f = features_of_machine();
  return columns(&f, out);
}

static const struct kernel *named(enum kernel_column column) {
  switch (column) {
    case KERNEL_REF: return &kernel_column_ref;
    case KERNEL_AVX2: return &kernel_column_avx2;
    case KERNEL_AVX2WORDS: return &kernel_column_avx2words;
    case KERNEL_AVX512: return &kernel_column_avx512;
    case KERNEL_AVX512VNNI: return &kernel_column_avx512vnni;
    case KERNEL_AVX512BF16: return &kernel_column_avx512bf16;
    case KERNEL_AMX: return &kernel_column_amx;
    default: return NULL;
  }
}

const struct kernel *kernel_pick(enum kernel_column column, enum kernel_precision precision) {
  const struct kernel *all[8], *want = column == KERNEL_AUTO ? NULL : named(column);
  int n = kernel_all(all);
  for (int i = n - 1; i >= 0; i--) {
    if (want ? all[i] == want : precision == KERNEL_REDUCED || !all[i]->reduced) return all[i];
  }
  return NULL;
}

const char *kernel_describe(void) {
  static const char *const plain[] = {"ref (no AVX2 on this machine)",
                                      "avx2, or avx2words for reduced products (no AVX-512 on this machine)",
                                      "avx512, or avx512vnni for reduced products (no bf16 unit on this machine)"};
  struct features f = features_of_machine();
  if (f.amx) return "amx";
  if (f.avx512bf16) return f.amx_missing;
  return plain[f.avx512 ? 2 : f.avx2 ? 1 : 0];
}

/* The vector columns' backward pass sets the bill: keys and values transposed (2 d T), keys (d T), gradients of both (2 d T),
 * two tiles of 24 rows of scores, row panels and the two ends of every row's mask; T and d rounded up to whole tiles of 32. Small heads in
 * lanes: keys, values and gradients of both of 16 heads (64 d T), two tiles of 4 rows of scores, 3 d numbers of 4 rows. */
size_t kernel_attention_scratch(int longest, int d) {
  size_t t = ((size_t)(longest > 0 ? longest : 0) + 63) / 32 * 32, w = ((size_t)(d > 0 ? d : 0) + 31) / 32 * 32;
  size_t lanes = d <= ATTENTION_LANES_WIDTH ? 64 * (size_t)((d > 0 ? d : 0) + 1) * (t + 3) + 130 * t : 0;
  size_t strips = 5 * t * w + 2 * 24 * t + 2 * t + 2 * 24 * (272 + w) + 1024;
  return lanes > strips ? lanes : strips;
}
