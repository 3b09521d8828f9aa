/* Private to the CUDA column: how an operation meets the device.
 *
 *     struct stage s = {0};
 *     const float *x = stage_in(&s, call->x, n);          // as it is if the device reaches it, else a copy
 *     float *y = stage_inout(&s, call->y, n);             // copied back by stage_end
 *     LAUNCH(twice, blocks_for(n), BLOCK, 0, n, x, y);
 *     stage_end(&s);                                      // waits; copies back; frees
 *
 * Every thread has a stream of its own. After the first error nothing is launched and cuda_failed() tells why. Reductions have a fixed order: the
 * same inputs give the same bits. Compiled by nvcc for the device, and by the host's compiler with CUDA_EMULATED for the tests, where a block's threads
 * run one after another between two barriers (tests/kernel/cuda_emulated.h): no warp operations in here.
 */
#ifndef KERNEL_CUDA_H
#define KERNEL_CUDA_H
#include <stddef.h>
#include <stdint.h>

extern "C" {
#include "kernel/kernel_plugin.h"
}

#ifdef CUDA_EMULATED
#include "kernel/cuda_emulated.h"
#else
#include <cuda_runtime.h>
#define LAUNCH(kernel, grid, block, shared, ...)                             \
  do {                                                                       \
    if (cuda_failed()) break;                                                \
    kernel<<<(grid), (block), (shared), cudaStreamPerThread>>>(__VA_ARGS__); \
    cuda_check(cudaGetLastError(), #kernel);                                 \
  } while (0)
#define DYNAMIC_SHARED(name) extern __shared__ float name[]
#endif

#ifndef CUDA_BLOCK
#define CUDA_BLOCK 256
#endif
enum { BLOCK = CUDA_BLOCK, STAGE_PARTS = 16, STAGED_BELOW = 1 << 15 /* floats: less work than this is not worth a launch */ };

void cuda_check(cudaError_t rc, const char *what); /* keeps the first error */
const char *cuda_failed(void);

struct stage {
  struct {
    void *host, *device;
    size_t width, rows, stride; /* bytes */
    bool back;
  } part[STAGE_PARTS];
  int n;
};
/* rows of `width` bytes, `stride` bytes apart on both sides; what lies between them belongs to others and is not written back */
void *stage_rows(struct stage *s, const void *p, size_t rows, size_t width, size_t stride, bool in, bool back);
void *stage_scratch(struct stage *s, size_t bytes); /* on the device until stage_end */
void stage_end(struct stage *s);

template <class T>
static inline T *stage_in(struct stage *s, T *p, size_t n) { /* read only, whatever T says */
  return (T *)stage_rows(s, p, 1, n * sizeof(T), n * sizeof(T), true, false);
}
template <class T>
static inline T *stage_inout(struct stage *s, T *p, size_t n) {
  return (T *)stage_rows(s, p, 1, n * sizeof(T), n * sizeof(T), true, true);
}
template <class T>
static inline T *stage_out(struct stage *s, T *p, size_t n) {
  return (T *)stage_rows(s, p, 1, n * sizeof(T), n * sizeof(T), false, true);
}
template <class T>
static inline T *matrix_in(struct stage *s, T *p, int rows, int width, int stride) {
  return (T *)stage_rows(s, p, (size_t)rows, (size_t)width * sizeof *p, (size_t)stride * sizeof *p, true, false);
}
static inline float *matrix_inout(struct stage *s, float *p, int rows, int width, int stride) {
  return (float *)stage_rows(s, p, (size_t)rows, (size_t)width * sizeof *p, (size_t)stride * sizeof *p, true, true);
}
static inline unsigned blocks_for(size_t n) { return (unsigned)((n + BLOCK - 1) / BLOCK < 65535 ? (n + BLOCK - 1) / BLOCK : 65535); }

void cuda_gemm(const struct gemm *g);
void cuda_gemm_bf16(const struct gemm *g);
void cuda_norm_forward(const struct norm *n);
void cuda_norm_backward(const struct norm_back *b);
void cuda_attention_forward(const struct attention *a);
void cuda_attention_backward(const struct attention_back *b);
void cuda_rope(const struct rope *r);
void cuda_embed_forward(const struct embed_bag *e);
void cuda_embed_backward(const struct embed_bag_back *b);
void cuda_swiglu_forward(int rows, int f, const float *gu, float *y);
void cuda_swiglu_backward(int rows, int f, const float *gu, const float *dy, float *dgu);
void cuda_gelu_forward(size_t n, const float *x, float *y);
void cuda_gelu_backward(size_t n, const float *x, const float *dy, float *dx);
void cuda_add(size_t n, const float *x, float *y);
void cuda_axpy(size_t n, float a, const float *x, float *y);
void cuda_scale(size_t n, float a, float *x);
void cuda_mul(size_t n, const float *x, float *y);
double cuda_dot(size_t n, const float *x, const float *y);
double cuda_sumsq(size_t n, const float *x);
void cuda_sums(int rows, int c, const float *x, int stride, float *out);
void cuda_sigmoid(size_t n, const float *x, float *y);
void cuda_dropout(size_t n, float p, uint64_t seed, uint64_t stream, float *x);
void cuda_adamw(const struct adamw *a);
extern const struct kernel *cuda_host; /* the processor's column */
extern const struct kernel_link cuda_link;
#endif
