/* Memory by lifetime. Whoever returns memory takes an arena; nobody frees single things.
 *
 *     struct arena a;
 *     arena_init(&a, 64 << 20, ARENA_WIPE);        // 64 MiB limit, wiped on reset (it holds identified data)
 *     char *p = arena_alloc(&a, 100, 1);           // NULL when over the limit or out of memory
 *     struct arena_mark m = arena_mark(&a);  ...  arena_rewind(&a, m);
 *     arena_free(&a);
 *
 * Four lifetimes are in use: process/model, job, item (patient or request), scratch (mark/rewind inside a function).
 * Not thread-safe: one owner. Memory is zeroed when handed out.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct arena_block;
struct arena_cleanup;
struct arena {
  struct arena_block *head;
  struct arena_cleanup *cleanups;
  size_t used;  /* bytes handed out */
  size_t limit; /* 0 = none */
  unsigned flags;
};
struct arena_mark {
  struct arena_block *block;
  size_t offset, used;
};
enum { ARENA_WIPE = 1 }; /* overwrite with zeros before memory is reused or returned */

void arena_init(struct arena *a, size_t limit, unsigned flags);
void *arena_alloc(struct arena *a, size_t size, size_t align);
char *arena_strndup(struct arena *a, const char *s, size_t n); /* NUL-terminated copy */
struct arena_mark arena_mark(const struct arena *a);
void arena_rewind(struct arena *a, struct arena_mark m);
void arena_reset(struct arena *a); /* everything, cleanups included; blocks are kept */
void arena_free(struct arena *a);  /* back to the system; the struct may be init'ed again */
/* `f(p)` is called, last registered first, when the arena is reset or freed (files, maps, device memory). */
int arena_cleanup(struct arena *a, void (*f)(void *), void *p, struct error *e) MUST_CHECK;

#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type), _Alignof(type)))
#define arena_array(a, type, n) ((type *)arena_alloc_array((a), sizeof(type), (n), _Alignof(type)))
void *arena_alloc_array(struct arena *a, size_t size, size_t n, size_t align); /* NULL on overflow of size*n too */

/* Tests make the n-th allocation from now on fail (process-wide, 0 = off): the code must survive each n. */
void arena_fail_at(long n);
bool arena_fail_pending(void); /* the n-th allocation has not happened yet: how such a loop ends */
/* malloc/realloc that obey arena_fail_at, for the few things that outlive arenas (growable buffers). */
void *mem_alloc(size_t size);
void *mem_realloc(void *p, size_t size);
void mem_free(void *p);
/* zeroed, aligned to 64 (or 2 MiB with huge pages advised, when >= 4 MiB) */
void *mem_alloc_aligned(size_t size);
void mem_free_aligned(void *p, size_t size);
/* From now on aligned memory of >= 4 MiB comes from get (zeroed; NULL: none left), so that an accelerator reaches it too. put gives it back, or says
 * false of memory that is not its own. Set once, before threads. */
void mem_aligned_from(void *(*get)(size_t size), bool (*put)(void *p));
void mem_wipe(void *p, size_t size);
/* Bytes that this process can still take without swapping or being killed: what the machine has free, and what its control group
 * leaves. 0 = not known. */
uint64_t mem_available(void);
uint64_t mem_peak(void); /* most bytes of this process that were ever resident; 0 = not known */
#endif
