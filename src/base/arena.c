#include "base/arena.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Under AddressSanitizer bytes that were not handed out are poisoned, with a gap after each allocation, so that an
 * overrun inside an arena is found like one of malloc's. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
enum { GAP = 16 };
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
enum { GAP = 0 };
#endif

enum { BLOCK_FIRST = 8 << 10, BLOCK_LARGEST = 1 << 20, MAP_FROM = 128 << 10 };

struct arena_block {
  struct arena_block *prev, *next; /* blocks after `head` are spares, kept by rewind and reset */
  size_t size, offset;
  size_t dirty; /* bytes from here on were never handed out since they were last zero */
  _Alignas(64) unsigned char bytes[];
};

struct arena_cleanup {
  struct arena_cleanup *next;
  void (*f)(void *);
  void *p;
};

static atomic_long fail_countdown;

void arena_fail_at(long n) { atomic_store(&fail_countdown, n > 0 ? n : 0); }
bool arena_fail_pending(void) { return atomic_load(&fail_countdown) > 0; }

static bool must_fail(void) {
  long n = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
  while (n > 0)
    if (atomic_compare_exchange_weak(&fail_countdown, &n, n - 1)) return n == 1;
  return false;
}

void arena_init(struct arena *a, size_t limit, unsigned flags) { *a = (struct arena){.limit = limit, .flags = flags}; }

static struct arena_block *block_new(size_t size) {
  if (size > SIZE_MAX - sizeof(struct arena_block) - 64) return NULL;
  size_t total = (sizeof(struct arena_block) + size + 63) & ~(size_t)63;
  struct arena_block *b = NULL;
  if (total >= MAP_FROM) { /* fresh pages are zero already */
    b = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED) return NULL;
  } else {
    b = aligned_alloc(64, total);
    if (!b) return NULL;
    memset(b, 0, total);
  }
  b->size = total - sizeof(struct arena_block);
  POISON(b->bytes, b->size);
  return b;
}

static void block_wipe(struct arena_block *b, size_t from) {
  UNPOISON(b->bytes + from, b->size - from);
  if (from < b->dirty) mem_wipe(b->bytes + from, b->dirty - from);
  if (b->dirty > from) b->dirty = from;
}

static void block_free(struct arena_block *b, unsigned flags) {
  if (flags & ARENA_WIPE) block_wipe(b, 0);
  UNPOISON(b->bytes, b->size);
  size_t total = sizeof *b + b->size;
  if (total >= MAP_FROM)
    munmap(b, total);
  else
    free(b);
}

/* Makes the block after the head current, one with room for `size`: a spare if it fits, a fresh one otherwise. */
static bool next_block(struct arena *a, size_t size, size_t align) {
  size_t need = size + GAP + (align > 64 ? align : 0);
  if (need < size) return false;
  struct arena_block *spare = a->head ? a->head->next : NULL;
  if (spare && spare->size >= need) {
    spare->offset = 0;
    a->head = spare;
    return true;
  }
  size_t want = a->head ? a->head->size * 2 : BLOCK_FIRST;
  if (want > BLOCK_LARGEST) want = BLOCK_LARGEST;
  struct arena_block *b = block_new(need > want ? need : want);
  if (!b) return false;
  b->prev = a->head;
  b->next = spare;
  if (spare) spare->prev = b;
  if (a->head) a->head->next = b;
  a->head = b;
  return true;
}

void *arena_alloc(struct arena *a, size_t size, size_t align) {
  if (align == 0) align = 1;
  BUG_IF(align & (align - 1));
  if (must_fail()) return NULL;
  if (size == 0) size = 1; /* a distinct address, never NULL */
  if (a->limit && (size > a->limit || a->used > a->limit - size)) return NULL;
  size_t at = 0;
  for (int fresh = 0;; fresh++) {
    struct arena_block *b = a->head;
    if (b) {
      uintptr_t start = (uintptr_t)b->bytes + b->offset;
      at = (size_t)(((start + align - 1) & ~(uintptr_t)(align - 1)) - (uintptr_t)b->bytes);
      if (at + GAP <= b->size && size <= b->size - at - GAP) break;
      BUG_IF(fresh);
    }
    if (!next_block(a, size, align)) return NULL;
  }
  struct arena_block *b = a->head;
  unsigned char *p = b->bytes + at;
  UNPOISON(p, size);
  if (at < b->dirty) memset(p, 0, size < b->dirty - at ? size : b->dirty - at);
  b->offset = at + size + GAP;
  if (b->dirty < at + size) b->dirty = at + size;
  a->used += size;
  return p;
}

void *arena_alloc_array(struct arena *a, size_t size, size_t n, size_t align) {
  size_t total;
  if (__builtin_mul_overflow(size, n, &total)) return NULL;
  return arena_alloc(a, total, align);
}

char *arena_strndup(struct arena *a, const char *s, size_t n) {
  if (n == SIZE_MAX) return NULL;
  char *p = arena_alloc(a, n + 1, 1);
  if (p && n) memcpy(p, s, n);
  return p;
}

struct arena_mark arena_mark(const struct arena *a) {
  return (struct arena_mark){a->head, a->head ? a->head->offset : 0, a->used};
}

static void rewind_block(struct arena *a, struct arena_block *b, size_t offset) {
  if (a->flags & ARENA_WIPE) block_wipe(b, offset);
  b->offset = offset;
  POISON(b->bytes + offset, b->size - offset);
}

void arena_rewind(struct arena *a, struct arena_mark m) {
  while (a->head && a->head != m.block) {
    rewind_block(a, a->head, 0);
    if (!a->head->prev) break; /* the mark was taken before the first block existed: that block stays */
    a->head = a->head->prev;
  }
  if (m.block) {
    BUG_IF(a->head != m.block || m.offset > a->head->offset);
    rewind_block(a, a->head, m.offset);
  }
  a->used = m.used;
}

static void run_cleanups(struct arena *a) {
  while (a->cleanups) {
    struct arena_cleanup *c = a->cleanups;
    a->cleanups = c->next;
    c->f(c->p);
    free(c);
  }
}

void arena_reset(struct arena *a) {
  run_cleanups(a);
  while (a->head) {
    rewind_block(a, a->head, 0);
    if (!a->head->prev) break;
    a->head = a->head->prev;
  }
  a->used = 0;
}

void arena_free(struct arena *a) {
  run_cleanups(a);
  struct arena_block *b = a->head;
  while (b && b->next) b = b->next;
  while (b) {
    struct arena_block *prev = b->prev;
    block_free(b, a->flags);
    b = prev;
  }
  arena_init(a, a->limit, a->flags);
}

int arena_cleanup(struct arena *a, void (*f)(void *), void *p, struct error *e) {
  struct arena_cleanup *c = mem_alloc(sizeof *c);
  if (!c) return error_set(e, E_NOMEM, "no memory for a cleanup");
  *c = (struct arena_cleanup){a->cleanups, f, p};
  a->cleanups = c;
  return OK;
}

void *mem_alloc(size_t size) { return must_fail() ? NULL : malloc(size ? size : 1); }
void *mem_realloc(void *p, size_t size) { return must_fail() ? NULL : realloc(p, size ? size : 1); }
void mem_free(void *p) { free(p); }
void mem_wipe(void *p, size_t size) {
  if (size) explicit_bzero(p, size);
}

enum { HUGE_PAGE = 2 << 20, HUGE_FROM = 4 << 20 };
static size_t round_up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }

static void *(*aligned_get)(size_t size);
static bool (*aligned_put)(void *p);
void mem_aligned_from(void *(*get)(size_t size), bool (*put)(void *p)) { aligned_get = get, aligned_put = put; }

void *mem_alloc_aligned(size_t size) {
  if (must_fail() || size > SIZE_MAX / 2) return NULL;
  if (size < HUGE_FROM) {
    size = round_up(size ? size : 1, 64);
    void *p = aligned_alloc(64, size);
    if (p) memset(p, 0, size);
    return p;
  }
  size = round_up(size, HUGE_PAGE);
  if (aligned_get) return aligned_get(size);
  uint8_t *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return NULL;
  uint8_t *aligned = (uint8_t *)round_up((uintptr_t)p, HUGE_PAGE);
  if (aligned > p) munmap(p, (size_t)(aligned - p));
  size_t tail = (size_t)(p + HUGE_PAGE - aligned);
  if (tail) munmap(aligned + size, tail);
  madvise(aligned, size, MADV_HUGEPAGE); /* advice only: refused on kernels without it */
  return aligned;
}

void mem_free_aligned(void *p, size_t size) {
  if (!p) return;
  if (size < HUGE_FROM)
    free(p);
  else if (!aligned_put || !aligned_put(p))
    munmap(p, round_up(size, HUGE_PAGE));
}

/* the number that follows `key` at the start of a line, or the whole file's if key is empty; 0 = there is none */
static uint64_t number_in(const char *path, const char *key) {
  char line[256];
  unsigned long long v = 0;
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  while (v == 0 && fgets(line, sizeof line, f))
    if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%llu", &v) != 1) v = 0;
  fclose(f);
  return v;
}

uint64_t mem_available(void) {
  uint64_t machine = number_in("/proc/meminfo", "MemAvailable:") * 1024;
  uint64_t limit = number_in("/sys/fs/cgroup/memory.max", ""), used = number_in("/sys/fs/cgroup/memory.current", "");
  uint64_t cache = number_in("/sys/fs/cgroup/memory.stat", "file "); /* given back on demand */
  if (limit == 0) return machine;                                    /* "max" is no number */
  used = used > cache ? used - cache : 0;
  uint64_t left = limit > used ? limit - used : 1;
  return machine && machine < left ? machine : left;
}

uint64_t mem_peak(void) { return number_in("/proc/self/status", "VmHWM:") * 1024; }
