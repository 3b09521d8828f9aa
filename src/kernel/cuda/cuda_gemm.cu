/* Matrix products: cuBLASLt (bf16: f32 operands rounded to bfloat16 on their way into the tensor cores, f32 sums), and a plain tiled product where
 * it has nothing for a shape, and in the emulation. Row-major C = op(A) op(B) is column-major C' = op(B)' op(A)': operands change places.
 */
#include "kernel/cuda/cuda.h"

#ifndef CUDA_EMULATED
#include <cublasLt.h>
#include <mutex>
#include <string.h>
#endif

#ifndef CUDA_TILE
#define CUDA_TILE 16
#endif

__device__ static float rounded(float x, bool bf16) {
  union {
    float f;
    uint32_t u;
  } v;
  v.f = x;
  if (!bf16 || (v.u & 0x7fffffffu) > 0x7f800000u) return x;
  v.u = (v.u + 0x7fffu + ((v.u >> 16) & 1u)) & 0xffff0000u;
  return v.f;
}

__global__ static void product(struct gemm g, bool bf16) {
  __shared__ float ta[CUDA_TILE][CUDA_TILE + 1], tb[CUDA_TILE][CUDA_TILE + 1];
  int x = (int)threadIdx.x, y = (int)threadIdx.y, row = (int)blockIdx.y * CUDA_TILE + y, col = (int)blockIdx.x * CUDA_TILE + x;
  float sum = 0;
  for (int p0 = 0; p0 < g.k; p0 += CUDA_TILE) {
    int pa = p0 + x, pb = p0 + y;
    ta[y][x] = row < g.m && pa < g.k ? rounded(g.ta ? g.a[(size_t)pa * g.lda + row] : g.a[(size_t)row * g.lda + pa], bf16) : 0.0f;
    tb[y][x] = col < g.n && pb < g.k ? rounded(g.tb ? g.b[(size_t)col * g.ldb + pb] : g.b[(size_t)pb * g.ldb + col], bf16) : 0.0f;
    __syncthreads();
    for (int p = 0; p < CUDA_TILE; p++) sum += ta[y][p] * tb[p][x];
    __syncthreads();
  }
  if (row >= g.m || col >= g.n) return;
  float *c = g.c + (size_t)row * g.ldc + col;
  *c = (g.beta != 0 ? *c : g.bias ? g.bias[col] : 0.0f) + sum;
}

static void plain_product(const struct gemm *g, bool bf16) {
  dim3 grid((unsigned)((g->n + CUDA_TILE - 1) / CUDA_TILE), (unsigned)((g->m + CUDA_TILE - 1) / CUDA_TILE));
  LAUNCH(product, grid, dim3(CUDA_TILE, CUDA_TILE), 0, *g, bf16);
}

#ifdef CUDA_EMULATED
static bool library_product(struct stage *s, const struct gemm *g, bool bf16) {
  (void)s, (void)g, (void)bf16;
  return false;
}
#else
enum { PLANS = 256 };
static const size_t workspace_bytes = (size_t)32 << 20;

struct shape { /* what a plan depends on */
  int m, n, k, lda, ldb, ldc;
  unsigned align_a, align_b, align_c;
  bool ta, tb, beta, bias, bf16;
};
struct plan {
  struct shape shape;
  bool known, usable;
  cublasLtMatmulAlgo_t algorithm;
};
static cublasLtHandle_t library;
static bool library_open;
static std::once_flag library_once;
static thread_local struct plan plans[PLANS];

static unsigned alignment(const void *p) {
  unsigned low = (unsigned)((uintptr_t)p & 255u);
  return low ? low & -low : 256u;
}
static struct shape shape_of(const struct gemm *g, bool bf16) {
  struct shape s;
  memset(&s, 0, sizeof s); /* compared as bytes */
  s.m = g->m, s.n = g->n, s.k = g->k, s.lda = g->lda, s.ldb = g->ldb, s.ldc = g->ldc;
  s.align_a = alignment(g->a), s.align_b = alignment(g->b), s.align_c = alignment(g->c);
  s.ta = g->ta, s.tb = g->tb, s.beta = g->beta != 0, s.bias = g->bias != NULL, s.bf16 = bf16;
  return s;
}
static struct plan *plan_of(const struct shape *s) {
  uint64_t h = 14695981039346656037u; /* FNV-1a */
  for (size_t i = 0; i < sizeof *s; i++) h = (h ^ ((const unsigned char *)s)[i]) * 1099511628211u;
  return &plans[h % PLANS];
}

struct described { /* the library's objects for one product */
  cublasLtMatmulDesc_t what;
  cublasLtMatrixLayout_t a, b, c;
};
static bool describe(const struct gemm *g, bool bf16, struct described *d) {
  cublasOperation_t op_b = g->tb ? CUBLAS_OP_T : CUBLAS_OP_N, op_a = g->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
  memset(d, 0, sizeof *d);
  bool ok =
      cublasLtMatmulDescCreate(&d->what, bf16 ? CUBLAS_COMPUTE_32F_FAST_16BF : CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulDescSetAttribute(d->what, CUBLASLT_MATMUL_DESC_TRANSA, &op_b, sizeof op_b) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulDescSetAttribute(d->what, CUBLASLT_MATMUL_DESC_TRANSB, &op_a, sizeof op_a) == CUBLAS_STATUS_SUCCESS;
  if (g->bias) {
    ok = ok && cublasLtMatmulDescSetAttribute(d->what, CUBLASLT_MATMUL_DESC_EPILOGUE, &bias, sizeof bias) == CUBLAS_STATUS_SUCCESS;
    ok =
        ok && cublasLtMatmulDescSetAttribute(d->what, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &g->bias, sizeof g->bias) == CUBLAS_STATUS_SUCCESS;
  }
  ok = ok && cublasLtMatrixLayoutCreate(&d->b, CUDA_R_32F, (uint64_t)(g->tb ? g->k : g->n), (uint64_t)(g->tb ? g->n : g->k), g->ldb) ==
                 CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatrixLayoutCreate(&d->a, CUDA_R_32F, (uint64_t)(g->ta ? g->m : g->k), (uint64_t)(g->ta ? g->k : g->m), g->lda) ==
                 CUBLAS_STATUS_SUCCESS;
  return ok && cublasLtMatrixLayoutCreate(&d->c, CUDA_R_32F, (uint64_t)g->n, (uint64_t)g->m, g->ldc) == CUBLAS_STATUS_SUCCESS;
}
static void undescribe(struct described *d) {
  if (d->what) cublasLtMatmulDescDestroy(d->what);
  if (d->a) cublasLtMatrixLayoutDestroy(d->a);
  if (d->b) cublasLtMatrixLayoutDestroy(d->b);
  if (d->c) cublasLtMatrixLayoutDestroy(d->c);
}

static bool choose(const struct described *d, const struct shape *s, struct plan *p) {
  cublasLtMatmulPreference_t want = NULL;
  cublasLtMatmulHeuristicResult_t best;
  int found = 0;
  uint32_t a = s->align_b, b = s->align_a, c = s->align_c;
  bool ok = cublasLtMatmulPreferenceCreate(&want) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                                  sizeof workspace_bytes) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof a) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof b) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof c) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulAlgoGetHeuristic(library, d->what, d->b, d->a, d->c, d->c, want, 1, &best, &found) == CUBLAS_STATUS_SUCCESS;
  if (want) cublasLtMatmulPreferenceDestroy(want);
  p->shape = *s, p->known = true, p->usable = ok && found > 0;
  if (p->usable) p->algorithm = best.algo;
  return p->usable;
}

static bool library_product(struct stage *st, const struct gemm *g, bool bf16) {
  std::call_once(library_once, [] { library_open = cublasLtCreate(&library) == CUBLAS_STATUS_SUCCESS; });
  if (!library_open) return false;
  struct shape s = shape_of(g, bf16);
  struct plan *p = plan_of(&s);
  bool known = p->known && memcmp(&p->shape, &s, sizeof s) == 0;
  if (known && !p->usable) return false;
  struct described d;
  float one = 1, beta = g->beta != 0 ? 1.0f : 0.0f;
  bool ok = describe(g, bf16, &d) && (known || choose(&d, &s, p));
  void *workspace = ok ? stage_scratch(st, workspace_bytes) : NULL;
  ok = ok && workspace &&
       cublasLtMatmul(library, d.what, &one, g->b, d.b, g->a, d.a, &beta, g->c, d.c, g->c, d.c, &p->algorithm, workspace, workspace_bytes,
                      cudaStreamPerThread) == CUBLAS_STATUS_SUCCESS;
  undescribe(&d);
  return ok;
}
#endif

static void any_gemm(const struct gemm *g, bool bf16) {
  struct stage s = {};
  struct gemm d = *g;
  if (g->m < 1 || g->n < 1) return;
  int k = g->k > 0 ? g->k : 0;
  d.k = k;
  d.a = matrix_in(&s, g->a, g->ta ? k : g->m, g->ta ? g->m : k, g->lda);
  d.b = matrix_in(&s, g->b, g->tb ? g->n : k, g->tb ? k : g->n, g->ldb);
  d.bias = g->beta != 0 ? NULL : stage_in(&s, g->bias, (size_t)g->n);
  d.c = matrix_inout(&s, g->c, g->m, g->n, g->ldc);
  if (k == 0 || !library_product(&s, &d, bf16)) plain_product(&d, bf16);
  stage_end(&s);
}
void cuda_gemm(const struct gemm *g) { any_gemm(g, false); }
void cuda_gemm_bf16(const struct gemm *g) { any_gemm(g, true); }
