/* The plug-in's face: opening the device, its memory, staging, and the table. */
#include "kernel/cuda/cuda.h"

#include <atomic>
#include <stdio.h>
#include <string.h>

const struct kernel *cuda_host;
static std::atomic<const char *> first_failure;
static char failure_text[256], device_text[256];
static bool reaches_everything; /* the device reads the processor's ordinary memory */

void cuda_check(cudaError_t rc, const char *what) {
  static std::atomic<bool> written;
  if (rc == cudaSuccess || written.exchange(true)) return;
  snprintf(failure_text, sizeof failure_text, "the GPU failed in %s: %s", what, cudaGetErrorString(rc));
  first_failure = failure_text;
}
const char *cuda_failed(void) { return first_failure; }

static bool reached(const void *p) {
  cudaPointerAttributes a;
  if (reaches_everything) return true;
  if (cudaPointerGetAttributes(&a, p) != cudaSuccess) {
    (void)cudaGetLastError(); /* old drivers call an unknown pointer an error */
    return false;
  }
  return a.type == cudaMemoryTypeManaged || a.type == cudaMemoryTypeDevice;
}

static void *part_new(struct stage *s, size_t bytes) {
  void *p = NULL;
  if (cuda_failed()) return NULL;
  if (s->n == STAGE_PARTS) {
    cuda_check(cudaErrorInvalidValue, "staging: too many operands");
    return NULL;
  }
  cuda_check(cudaMallocAsync(&p, bytes ? bytes : 1, cudaStreamPerThread), "memory for an operation");
  if (p) s->part[s->n].device = p, s->part[s->n].host = NULL, s->part[s->n].back = false, s->n++;
  return p;
}
void *stage_scratch(struct stage *s, size_t bytes) { return part_new(s, bytes); }

void *stage_rows(struct stage *s, const void *p, size_t rows, size_t width, size_t stride, bool in, bool back) {
  if (!p || rows == 0 || width == 0 || reached(p)) return (void *)(uintptr_t)p;
  void *d = part_new(s, (rows - 1) * stride + width);
  if (!d) return NULL;
  int i = s->n - 1;
  s->part[i].host = (void *)(uintptr_t)p, s->part[i].back = back;
  s->part[i].rows = rows, s->part[i].width = width, s->part[i].stride = stride;
  if (in)
    cuda_check(cudaMemcpy2DAsync(d, stride, p, stride, width, rows, cudaMemcpyHostToDevice, cudaStreamPerThread), "a copy to the device");
  return d;
}

void stage_end(struct stage *s) {
  for (int i = 0; i < s->n; i++) {
    if (s->part[i].back && !cuda_failed())
      cuda_check(cudaMemcpy2DAsync(s->part[i].host, s->part[i].stride, s->part[i].device, s->part[i].stride, s->part[i].width,
                                   s->part[i].rows, cudaMemcpyDeviceToHost, cudaStreamPerThread),
                 "a copy from the device");
    cuda_check(cudaFreeAsync(s->part[i].device, cudaStreamPerThread), "giving memory back");
  }
  cuda_check(cudaStreamSynchronize(cudaStreamPerThread), "an operation");
  s->n = 0;
}

/* ---- what stays on the processor: a few numbers per call, not worth a launch and a wait ---- */

static void decode_on_host(const struct attention_decode *a) { cuda_host->attention_decode(a); }
static void keep_on_host(const struct decode_keep *a) { cuda_host->decode_keep(a); }
static float logsumexp_on_host(size_t n, const float *x) { return cuda_host->logsumexp(n, x); }
static double exp_scaled_on_host(size_t n, float a, float b, const float *x, float *y) { return cuda_host->exp_scaled(n, a, b, x, y); }
static size_t no_pack_size(int k, int n) {
  (void)k, (void)n;
  return 0;
}
static void no_pack(const struct gemm *g, float *to) { (void)g, (void)to; }

static struct kernel column(const char *name, bool bf16) {
  struct kernel k;
  memset(&k, 0, sizeof k);
  k.name = name, k.reduced = bf16, k.device = true, k.failed = cuda_failed;
  k.gemm = bf16 ? cuda_gemm_bf16 : cuda_gemm;
  k.gemm_pack_size = no_pack_size, k.gemm_pack = no_pack;
  k.norm_forward = cuda_norm_forward, k.norm_backward = cuda_norm_backward;
  k.attention_forward = cuda_attention_forward, k.attention_backward = cuda_attention_backward, k.attention_decode = decode_on_host,
  k.decode_keep = keep_on_host;
  k.rope = cuda_rope, k.embed_forward = cuda_embed_forward, k.embed_backward = cuda_embed_backward;
  k.swiglu_forward = cuda_swiglu_forward, k.swiglu_backward = cuda_swiglu_backward;
  k.gelu_forward = cuda_gelu_forward, k.gelu_backward = cuda_gelu_backward;
  k.add = cuda_add, k.axpy = cuda_axpy, k.scale = cuda_scale, k.mul = cuda_mul;
  k.dot = cuda_dot, k.sumsq = cuda_sumsq, k.col_sum = cuda_sums;
  k.logsumexp = logsumexp_on_host, k.exp_scaled = exp_scaled_on_host, k.sigmoid = cuda_sigmoid;
  k.dropout = cuda_dropout, k.adamw = cuda_adamw;
  return k;
}

static bool open_device(char *why, size_t why_size) {
  int devices = 0, device = 0, pageable = 0;
  cudaDeviceProp p;
  cudaMemPool_t pool;
  uint64_t keep = UINT64_MAX; /* memory of operations comes back at once: the pool holds on to it */
  cudaError_t rc = cudaGetDeviceCount(&devices);
  if (rc == cudaSuccess && devices == 0) rc = cudaErrorNoDevice;
  if (rc == cudaSuccess) rc = cudaGetDevice(&device);
  if (rc == cudaSuccess) rc = cudaGetDeviceProperties(&p, device);
  if (rc == cudaSuccess) rc = cudaDeviceGetAttribute(&pageable, cudaDevAttrPageableMemoryAccess, device);
  if (rc == cudaSuccess) rc = cudaDeviceGetDefaultMemPool(&pool, device);
  if (rc == cudaSuccess) rc = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep);
  if (rc != cudaSuccess) {
    (void)cudaGetLastError();
    snprintf(why, why_size, "%s", cudaGetErrorString(rc));
    return false;
  }
  if (p.major < 8) {
    snprintf(why, why_size, "%s has compute capability %d.%d; 8.0 is needed", p.name, p.major, p.minor);
    return false;
  }
  reaches_everything = pageable != 0;
  snprintf(device_text, sizeof device_text, "%.160s, %d multiprocessors, %.0f GiB, compute capability %d.%d", p.name, p.multiProcessorCount,
           (double)p.totalGlobalMem / (1 << 30), p.major, p.minor);
  return true;
}

static const struct kernel *plugin_open(const struct kernel *host, bool bf16, char *why, size_t why_size) {
  static struct kernel f32, half;
  if (!device_text[0] && !open_device(why, why_size)) return NULL;
  cuda_host = host;
  f32 = column("cuda", false), half = column("cudabf16", true);
  return bf16 ? &half : &f32;
}
static const char *plugin_device(void) { return device_text; }

static void *plugin_memory(size_t bytes) {
  void *p = NULL;
  if (cudaMallocManaged(&p, bytes ? bytes : 1, cudaMemAttachGlobal) != cudaSuccess) {
    (void)cudaGetLastError();
    return NULL;
  }
  if (cudaMemset(p, 0, bytes) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess) return p;
  (void)cudaFree(p);
  return NULL;
}

static bool plugin_release(void *p) {
  cudaPointerAttributes a;
  if (cudaPointerGetAttributes(&a, p) != cudaSuccess || a.type != cudaMemoryTypeManaged) {
    (void)cudaGetLastError();
    return false;
  }
  return cudaFree(p) == cudaSuccess;
}

extern "C" __attribute__((visibility("default"))) const struct kernel_plugin vitae_kernel_plugin;
const struct kernel_plugin vitae_kernel_plugin = {KERNEL_PLUGIN_VERSION, plugin_open,    plugin_device,
                                                  plugin_memory,         plugin_release, &cuda_link};
