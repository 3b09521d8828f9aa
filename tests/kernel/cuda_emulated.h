/* The CUDA column without a GPU, so that its kernels meet the same tests as every other column: compiled by the host's compiler into
 * build/tests/vitae-cuda-emulated.so. A block's threads are fibres of one thread of the host; __syncthreads() passes to the next fibre, and a block in
 * which one thread waits at a barrier that another does not reach is an error. The device's memory is the host's, but staging copies as for a real
 * device. What this cannot show: races between threads (fibres run in a fixed order from barrier to barrier; the order is reversed at every other
 * launch, which catches many), cuBLASLt, and time.
 */
#ifndef KERNEL_CUDA_EMULATED_H
#define KERNEL_CUDA_EMULATED_H
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>

#define CUDA_BLOCK 32
#define CUDA_TILE 8
#define CUDA_ATTENTION_TILE 8

#define __global__
#define __device__
#define __shared__ static
#define DYNAMIC_SHARED(name) float *name = (float *)emulated.shared
#define LAUNCH(kernel, grid, block, shared, ...)                                                  \
  do {                                                                                            \
    if (!cuda_failed()) emulated_launch((grid), (block), (shared), [=] { kernel(__VA_ARGS__); }); \
  } while (0)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
enum { EMULATED_THREADS = 64, EMULATED_STACK = 64 << 10 };
struct emulated_machine {
  dim3 thread, block, block_size, grid_size;
  void *shared;
  int now, threads;
  bool done[EMULATED_THREADS], backwards;
  jmp_buf fibre[EMULATED_THREADS], scheduler;
  ucontext_t context, back;
  char *stack;
  const std::function<void()> *body;
};
inline emulated_machine emulated; /* one launch at a time */
#define threadIdx emulated.thread
#define blockIdx emulated.block
#define blockDim emulated.block_size
#define gridDim emulated.grid_size

static inline void emulated_fibre() {
  if (_setjmp(emulated.fibre[emulated.now]) == 0) _longjmp(emulated.scheduler, 1); /* made; the scheduler comes back */
  (*emulated.body)();
  emulated.done[emulated.now] = true;
  _longjmp(emulated.scheduler, 1);
}
static inline void __syncthreads() {
  if (_setjmp(emulated.fibre[emulated.now]) == 0) _longjmp(emulated.scheduler, 1);
}
static inline void emulated_enter(int i) {
  emulated.now = i;
  emulated.thread = dim3((unsigned)i % emulated.block_size.x, (unsigned)i / emulated.block_size.x);
}
static inline void emulated_block() {
  for (int i = 0; i < emulated.threads; i++) {
    emulated_enter(i);
    emulated.done[i] = false;
    getcontext(&emulated.context);
    emulated.context.uc_stack.ss_sp = emulated.stack + (size_t)i * EMULATED_STACK;
    emulated.context.uc_stack.ss_size = EMULATED_STACK;
    emulated.context.uc_link = NULL;
    makecontext(&emulated.context, emulated_fibre, 0);
    if (_setjmp(emulated.scheduler) == 0) setcontext(&emulated.context);
  }
  for (volatile int left = emulated.threads; left > 0;) {
    volatile int finished = 0;
    for (volatile int k = 0; k < emulated.threads; k++) {
      emulated_enter(emulated.backwards ? emulated.threads - 1 - k : (int)k);
      if (emulated.done[emulated.now]) continue;
      if (_setjmp(emulated.scheduler) == 0) _longjmp(emulated.fibre[emulated.now], 1);
      finished += emulated.done[emulated.now];
    }
    if (finished != 0 && finished != left) {
      fprintf(stderr, "a barrier that not every thread of the block reaches\n");
      abort();
    }
    left -= finished;
  }
}
static inline void emulated_launch(dim3 grid, dim3 block, size_t shared, const std::function<void()> &body) {
  if (block.x * block.y > EMULATED_THREADS || block.z != 1 || grid.x == 0 || grid.y == 0) abort();
  if (!emulated.stack) emulated.stack = (char *)malloc((size_t)EMULATED_THREADS * EMULATED_STACK);
  emulated.shared = malloc(shared + 1);
  if (!emulated.shared || !emulated.stack) abort();
  memset(emulated.shared, 0x7f, shared + 1);
  emulated.body = &body, emulated.grid_size = grid, emulated.block_size = block, emulated.threads = (int)(block.x * block.y);
  emulated.backwards = !emulated.backwards;
  for (unsigned y = 0; y < grid.y; y++)
    for (unsigned x = 0; x < grid.x; x++) emulated.block = dim3(x, y), emulated_block();
  free(emulated.shared);
}

/* ---- the few functions of the run time that the column calls ---- */
typedef int cudaError_t;
typedef int cudaMemPool_t;
typedef struct CUstream_st *cudaStream_t;
enum { cudaSuccess, cudaErrorInvalidValue, cudaErrorMemoryAllocation, cudaErrorNoDevice, cudaErrorNotReady };
enum {
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDefault,
  cudaMemoryTypeManaged,
  cudaMemoryTypeDevice,
  cudaDevAttrPageableMemoryAccess,
  cudaMemPoolAttrReleaseThreshold,
  cudaMemAttachGlobal,
  cudaStreamPerThread,
  cudaStreamNonBlocking,
  cudaFuncAttributeMaxDynamicSharedMemorySize
};
struct cudaPointerAttributes {
  int type;
};
struct cudaDeviceProp {
  char name[64], uuid[16];
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem;
};
static inline const char *cudaGetErrorString(cudaError_t e) { return e == cudaErrorMemoryAllocation ? "out of memory" : "emulated error"; }
static inline cudaError_t cudaGetLastError() { return cudaSuccess; }
static inline cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
static inline cudaError_t cudaGetDevice(int *d) { return *d = 0, cudaSuccess; }
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "emulated device");
  const char *visible = getenv("CUDA_VISIBLE_DEVICES"); /* the first of it is the device: another number, another device */
  snprintf(p->uuid, sizeof p->uuid, "%s", visible ? visible : "0");
  p->major = 8;
  return cudaSuccess;
}
static inline cudaError_t cudaDeviceGetAttribute(int *v, int, int) { return *v = 0, cudaSuccess; }
static inline cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *p, int) { return *p = 0, cudaSuccess; }
static inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, int, void *) { return cudaSuccess; }
struct emulated_range {
  char *from;
  size_t bytes;
};
inline emulated_range emulated_managed[64]; /* what both sides reach */
static inline emulated_range *emulated_find(const void *p) {
  for (emulated_range &r : emulated_managed)
    if (r.from && (const char *)p >= r.from && (const char *)p < r.from + r.bytes) return &r;
  return NULL;
}
static inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p) {
  return a->type = emulated_find(p) ? (int)cudaMemoryTypeManaged : -1, cudaSuccess;
}
/* rubbish in front, inside and behind: who reads what was not copied gets it, and a write outside is found when the memory is given back */
static inline cudaError_t cudaMallocAsync(void **p, size_t bytes, int) {
  const char *limit = getenv("VITAE_EMULATED_DEVICE_BYTES");
  char *at = limit && bytes > strtoull(limit, NULL, 10) ? NULL : (char *)malloc(bytes + 128);
  if (!at) return cudaErrorMemoryAllocation;
  memset(at, 0x7f, bytes + 128);
  memcpy(at, &bytes, sizeof bytes);
  *p = at + 64;
  return cudaSuccess;
}
static inline cudaError_t cudaFreeAsync(void *p, int) {
  char *at = (char *)p - 64;
  size_t bytes;
  memcpy(&bytes, at, sizeof bytes);
  for (size_t i = sizeof bytes; i < 64; i++)
    if (at[i] != 0x7f || at[bytes + 64 + i] != 0x7f) abort();
  free(at);
  return cudaSuccess;
}
static inline cudaError_t cudaMemcpy2DAsync(void *to, size_t to_stride, const void *from, size_t from_stride, size_t width, size_t rows,
                                            int, int) {
  for (size_t r = 0; r < rows; r++) memcpy((char *)to + r * to_stride, (const char *)from + r * from_stride, width);
  return cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, int, cudaStream_t) {
  return memcpy(to, from, n), cudaSuccess;
}
static inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, int) { return *s = NULL, cudaSuccess; }
static inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaStreamSynchronize(int) { return cudaSuccess; }
static inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
static inline cudaError_t cudaMallocManaged(void **p, size_t bytes, int) {
  for (emulated_range &r : emulated_managed) {
    if (r.from) continue;
    r.from = (char *)aligned_alloc(64, (bytes + 63) & ~(size_t)63), r.bytes = bytes;
    return (*p = r.from) ? cudaSuccess : cudaErrorMemoryAllocation;
  }
  return cudaErrorMemoryAllocation;
}
static inline cudaError_t cudaMalloc(void **p, size_t bytes) { return cudaMallocManaged(p, bytes, cudaMemAttachGlobal); }
static inline cudaError_t cudaMemset(void *p, int v, size_t n) { return memset(p, v, n), cudaSuccess; }
static inline cudaError_t cudaFree(void *p) {
  emulated_range *r = emulated_find(p);
  if (!r || r->from != p) return cudaErrorInvalidValue;
  r->from = NULL;
  free(p);
  return cudaSuccess;
}
static inline cudaError_t cudaFuncSetAttribute(const void *, int, int) { return cudaSuccess; }
#endif
