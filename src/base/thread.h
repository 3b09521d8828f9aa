/* A fixed pool. Work is divided by index, the same way for a given thread count, so results can be reduced in a fixed order.
 *
 *     struct pool *p;  TRY(pool_new(&p, 0, e));            // 0 = cores of this process's affinity mask
 *     pool_run(p, f, ctx);                                 // f(ctx, worker, workers) on every worker, the caller included; returns when all are done
 *     pool_free(p);
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H
#include "base/error.h"

struct pool;
int pool_new(struct pool **out, int threads, struct error *e) MUST_CHECK;
int pool_size(const struct pool *p);
void pool_run(struct pool *p, void (*f)(void *ctx, int worker, int workers), void *ctx);
void pool_free(struct pool *p);
int thread_cores(void);
/* Flush-to-zero and denormals-are-zero for the calling thread (pool workers have it set; call it in threads of your own). */
void thread_fast_float(void);

/* Ctrl-C and SIGTERM set a flag; long loops ask and return E_CANCELLED. */
void cancel_install(void);
int cancel_requested(void);
void cancel_set(int on);
#endif
