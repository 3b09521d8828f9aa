#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "base/arena.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MOST_THREADS = 1024, SPINS = 4000 };

struct worker {
  struct pool *pool;
  pthread_t thread;
  int index;
};
struct pool {
  int size;
  bool spin; /* as many cores as threads: waiting awake for some microseconds beats a sleep */
  void (*f)(void *, int, int);
  void *ctx;
  atomic_uint round;  /* raised to start a run */
  atomic_int pending; /* workers still at it */
  atomic_bool busy, stop;
  pthread_mutex_t lock;
  pthread_cond_t start, done;
  struct worker workers[];
};

static inline void pause_cpu(void) {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static unsigned long float_mode(void) {
#if defined(__x86_64__)
  return _mm_getcsr();
#elif defined(__aarch64__)
  unsigned long v;
  __asm__ volatile("mrs %0, fpcr" : "=r"(v));
  return v;
#else
  return 0;
#endif
}
static void float_mode_set(unsigned long v) {
#if defined(__x86_64__)
  _mm_setcsr((unsigned)v);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(v));
#else
  (void)v;
#endif
}

void thread_fast_float(void) {
#if defined(__x86_64__)
  float_mode_set(float_mode() | 0x8040); /* FTZ, DAZ */
#elif defined(__aarch64__)
  float_mode_set(float_mode() | 1ul << 24); /* FZ */
#endif
}

int thread_cores(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    int n = CPU_COUNT(&set);
    if (n > 0) return n;
  }
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

static unsigned await_round(struct pool *p, unsigned seen) {
  unsigned now;
  for (int i = 0; p->spin && i < SPINS; i++) {
    now = atomic_load_explicit(&p->round, memory_order_acquire);
    if (now != seen) return now;
    pause_cpu();
  }
  pthread_mutex_lock(&p->lock);
  while ((now = atomic_load_explicit(&p->round, memory_order_acquire)) == seen) pthread_cond_wait(&p->start, &p->lock);
  pthread_mutex_unlock(&p->lock);
  return now;
}

static void *work(void *arg) {
  struct worker *w = arg;
  struct pool *p = w->pool;
  thread_fast_float();
  for (unsigned seen = 0;;) {
    seen = await_round(p, seen);
    if (atomic_load(&p->stop)) return NULL;
    p->f(p->ctx, w->index, p->size);
    if (atomic_fetch_sub_explicit(&p->pending, 1, memory_order_acq_rel) != 1) continue;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
  }
}

static void raise_round(struct pool *p) {
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
  pthread_cond_broadcast(&p->start);
  pthread_mutex_unlock(&p->lock);
}

static void stop_workers(struct pool *p, int started) {
  atomic_store(&p->stop, true);
  raise_round(p);
  for (int i = 1; i < started; i++) pthread_join(p->workers[i].thread, NULL);
}

static int start_workers(struct pool *p, struct error *e) {
  sigset_t all, old;
  sigfillset(&all); /* signals go to the thread that made the pool */
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int i = 1;
  for (; i < p->size; i++) {
    p->workers[i] = (struct worker){.pool = p, .index = i};
    if (pthread_create(&p->workers[i].thread, NULL, work, &p->workers[i]) != 0) break;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (i == p->size) return OK;
  stop_workers(p, i);
  return error_set(e, E_NOMEM, "the system gives no more threads (%d of %d)", i, p->size);
}

static void destroy(struct pool *p) {
  pthread_mutex_destroy(&p->lock);
  pthread_cond_destroy(&p->start);
  pthread_cond_destroy(&p->done);
  mem_free(p);
}

int pool_new(struct pool **out, int threads, struct error *e) {
  *out = NULL;
  if (threads < 0 || threads > MOST_THREADS) return error_set(e, E_USAGE, "thread count must be 0 to %d", MOST_THREADS);
  int n = threads ? threads : thread_cores();
  if (n > MOST_THREADS) n = MOST_THREADS;
  struct pool *p = mem_alloc(sizeof *p + (size_t)n * sizeof *p->workers);
  if (!p) return error_set(e, E_NOMEM, "no memory for a thread pool");
  p->size = n;
  p->spin = n <= thread_cores();
  p->f = NULL;
  p->ctx = NULL;
  atomic_init(&p->round, 0);
  atomic_init(&p->pending, 0);
  atomic_init(&p->busy, false);
  atomic_init(&p->stop, false);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->start, NULL);
  pthread_cond_init(&p->done, NULL);
  int rc = start_workers(p, e);
  if (rc < 0)
    destroy(p);
  else
    *out = p;
  return rc;
}

int pool_size(const struct pool *p) { return p->size; }

void pool_run(struct pool *p, void (*f)(void *ctx, int worker, int workers), void *ctx) {
  BUG_IF(atomic_exchange(&p->busy, true)); /* one run at a time; no run inside a run */
  unsigned long mode = float_mode();
  thread_fast_float(); /* worker 0 must count like the others */
  if (p->size > 1) {
    p->f = f;
    p->ctx = ctx;
    atomic_store_explicit(&p->pending, p->size - 1, memory_order_relaxed);
    raise_round(p);
  }
  f(ctx, 0, p->size);
  for (int i = 0; p->spin && i < SPINS && atomic_load_explicit(&p->pending, memory_order_acquire); i++) pause_cpu();
  if (atomic_load_explicit(&p->pending, memory_order_acquire)) {
    pthread_mutex_lock(&p->lock);
    while (atomic_load_explicit(&p->pending, memory_order_acquire)) pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
  }
  float_mode_set(mode);
  atomic_store(&p->busy, false);
}

void pool_free(struct pool *p) {
  if (!p) return;
  stop_workers(p, p->size);
  destroy(p);
}

/* ---- cancelling ---- */

static atomic_int cancelled; /* lock-free, so the handler may touch it; and threads ask */

static void on_signal(int number) {
  if (cancelled) { /* asked twice: the default action, taken as soon as this handler returns */
    signal(number, SIG_DFL);
    raise(number);
  }
  cancelled = 1;
}

void cancel_install(void) {
  struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a blocked read returns so that its loop can ask */
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

int cancel_requested(void) { return atomic_load_explicit(&cancelled, memory_order_relaxed) != 0; }
void cancel_set(int on) { cancelled = on != 0; }
