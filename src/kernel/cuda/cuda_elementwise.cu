/* Everything element by element, and the sums: norms, gates, rotary position, embeddings, dropout, AdamW. */
#include "kernel/cuda/cuda.h"

#include <math.h>
#include <stdlib.h>

enum { CHUNK_ROWS = 64, SUM_BLOCKS = 512, DROPOUT_CHUNK = 128, DROPOUT_BLOCKS = 16 };
#define GELU_2U 1.5957691216057308f /* 2 sqrt(2/pi) */
#define GELU_CUBIC 0.044715f
#define EACH(i, n) for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < (n); i += (size_t)gridDim.x * blockDim.x)

__device__ static float block_sum(float x, float *shared) {
  shared[threadIdx.x] = x;
  __syncthreads();
  for (unsigned half = BLOCK / 2; half; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads();
  }
  float s = shared[0];
  __syncthreads();
  return s;
}

/* ---- sums down the columns: chunks of rows first, then the chunks in order ---- */

__global__ static void chunk_sums(int rows, int c, const float *x, size_t stride, float *part) {
  int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), from = (int)blockIdx.y * CHUNK_ROWS;
  if (i >= c) return;
  float s = 0;
  for (int r = from; r < rows && r < from + CHUNK_ROWS; r++) s += x[(size_t)r * stride + (size_t)i];
  part[(size_t)blockIdx.y * (size_t)c + (size_t)i] = s;
}
__global__ static void add_chunks(int chunks, int c, const float *part, float *out) {
  EACH(i, (size_t)c) {
    double s = out[i];
    for (int k = 0; k < chunks; k++) s += part[(size_t)k * (size_t)c + i];
    out[i] = (float)s;
  }
}
static int chunks_of(int rows) { return (rows + CHUNK_ROWS - 1) / CHUNK_ROWS; }

void cuda_sums(int rows, int c, const float *x, int stride, float *out) {
  struct stage s = {};
  if (rows < 1 || c < 1) return;
  if ((size_t)rows * (size_t)c < STAGED_BELOW) {
    cuda_host->col_sum(rows, c, x, stride, out);
    return;
  }
  const float *dx = matrix_in(&s, x, rows, c, stride);
  float *to = stage_inout(&s, out, (size_t)c);
  int chunks = chunks_of(rows);
  float *part = (float *)stage_scratch(&s, (size_t)chunks * (size_t)c * sizeof(float));
  LAUNCH(chunk_sums, dim3(blocks_for((size_t)c), (unsigned)chunks), BLOCK, 0, rows, c, dx, (size_t)stride, part);
  LAUNCH(add_chunks, blocks_for((size_t)c), BLOCK, 0, chunks, c, part, to);
  stage_end(&s);
}

/* ---- norms: a block works on a row ---- */

__global__ static void norm_rows(struct norm n) {
  __shared__ float shared[BLOCK];
  size_t r = blockIdx.x, c = (size_t)n.c;
  const float *x = n.x + r * c;
  float mean = 0, var = 0;
  if (n.kind == NORM_LAYER) {
    for (size_t i = threadIdx.x; i < c; i += BLOCK) mean += x[i];
    mean = block_sum(mean, shared) / (float)n.c;
  }
  for (size_t i = threadIdx.x; i < c; i += BLOCK) var += (x[i] - mean) * (x[i] - mean);
  float rstd = 1.0f / sqrtf(block_sum(var, shared) / (float)n.c + n.eps);
  for (size_t i = threadIdx.x; i < c; i += BLOCK) n.y[r * c + i] = (x[i] - mean) * rstd * n.gain[i] + (n.shift ? n.shift[i] : 0.0f);
  if (threadIdx.x != 0) return;
  n.rstd[r] = rstd;
  if (n.kind == NORM_LAYER) n.mean[r] = mean;
}

void cuda_norm_forward(const struct norm *n) {
  struct stage s = {};
  struct norm d = *n;
  size_t all = (size_t)n->rows * (size_t)n->c;
  if (n->rows < 1) return;
  d.x = stage_in(&s, n->x, all), d.gain = stage_in(&s, n->gain, (size_t)n->c), d.shift = stage_in(&s, n->shift, (size_t)n->c);
  d.y = stage_out(&s, n->y, all), d.rstd = stage_out(&s, n->rstd, (size_t)n->rows);
  d.mean = n->kind == NORM_LAYER ? stage_out(&s, n->mean, (size_t)n->rows) : NULL;
  LAUNCH(norm_rows, (unsigned)n->rows, BLOCK, 0, d);
  stage_end(&s);
}

__global__ static void norm_back_rows(struct norm_back b) {
  __shared__ float shared[BLOCK];
  size_t r = blockIdx.x, c = (size_t)b.f.c;
  const float *x = b.f.x + r * c, *dy = b.dy + r * c;
  float mean = b.f.kind == NORM_LAYER ? b.f.mean[r] : 0, rstd = b.f.rstd[r], sum_g = 0, sum_gx = 0;
  for (size_t i = threadIdx.x; i < c; i += BLOCK) {
    float g = dy[i] * b.f.gain[i];
    sum_g += g;
    sum_gx += g * (x[i] - mean) * rstd;
  }
  float mg = block_sum(sum_g, shared) / (float)b.f.c, mgx = block_sum(sum_gx, shared) / (float)b.f.c;
  if (b.f.kind == NORM_RMS) mg = 0;
  for (size_t i = threadIdx.x; i < c; i += BLOCK) b.dx[r * c + i] += rstd * (dy[i] * b.f.gain[i] - mg - (x[i] - mean) * rstd * mgx);
}
__global__ static void norm_back_chunks(struct norm_back b, float *gain, float *shift) {
  int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), c = b.f.c, from = (int)blockIdx.y * CHUNK_ROWS;
  if (i >= c) return;
  float g = 0, h = 0;
  for (int r = from; r < b.f.rows && r < from + CHUNK_ROWS; r++) {
    size_t at = (size_t)r * (size_t)c + (size_t)i;
    g += b.dy[at] * (b.f.x[at] - (b.f.kind == NORM_LAYER ? b.f.mean[r] : 0.0f)) * b.f.rstd[r];
    h += b.dy[at];
  }
  gain[(size_t)blockIdx.y * (size_t)c + (size_t)i] = g;
  if (shift) shift[(size_t)blockIdx.y * (size_t)c + (size_t)i] = h;
}

void cuda_norm_backward(const struct norm_back *b) {
  struct stage s = {};
  struct norm_back d = *b;
  const struct norm *n = &b->f;
  size_t c = (size_t)n->c, all = (size_t)n->rows * c;
  if (n->rows < 1) return;
  int chunks = chunks_of(n->rows);
  d.f.x = stage_in(&s, n->x, all), d.f.gain = stage_in(&s, n->gain, c), d.f.rstd = stage_in(&s, n->rstd, (size_t)n->rows);
  d.f.mean = n->kind == NORM_LAYER ? stage_in(&s, n->mean, (size_t)n->rows) : NULL;
  d.dy = stage_in(&s, b->dy, all), d.dx = stage_inout(&s, b->dx, all);
  d.dgain = stage_inout(&s, b->dgain, c), d.dshift = stage_inout(&s, b->dshift, c);
  float *gain = (float *)stage_scratch(&s, (size_t)chunks * c * sizeof(float));
  float *shift = b->dshift ? (float *)stage_scratch(&s, (size_t)chunks * c * sizeof(float)) : NULL;
  LAUNCH(norm_back_rows, (unsigned)n->rows, BLOCK, 0, d);
  LAUNCH(norm_back_chunks, dim3(blocks_for(c), (unsigned)chunks), BLOCK, 0, d, gain, shift);
  LAUNCH(add_chunks, blocks_for(c), BLOCK, 0, chunks, n->c, gain, d.dgain);
  if (b->dshift) LAUNCH(add_chunks, blocks_for(c), BLOCK, 0, chunks, n->c, shift, d.dshift);
  stage_end(&s);
}

/* ---- rotary position ---- */

__global__ static void rope_pairs(struct rope r) {
  int half = r.d / 2;
  EACH(t, (size_t)r.rows * (size_t)half) {
    size_t row = t / (size_t)half;
    int i = (int)(t % (size_t)half);
    double angle = r.position[row] * pow((double)r.base, -2.0 * i / r.d);
    float c = (float)cos(angle), s = (float)sin(angle) * (r.back ? -1.0f : 1.0f);
    for (int h = 0; h < r.heads; h++) {
      float *x = r.x + row * (size_t)r.stride + (size_t)h * (size_t)r.d + (size_t)i, x0 = x[0], x1 = x[half];
      x[0] = x0 * c - x1 * s;
      x[half] = x0 * s + x1 * c;
    }
  }
}

void cuda_rope(const struct rope *r) {
  struct stage s = {};
  struct rope d = *r;
  if (r->rows < 1 || r->d < 2) return;
  d.position = stage_in(&s, r->position, (size_t)r->rows);
  d.x = matrix_inout(&s, r->x, r->rows, r->heads * r->d, r->stride);
  LAUNCH(rope_pairs, blocks_for((size_t)r->rows * (size_t)(r->d / 2)), BLOCK, 0, d);
  stage_end(&s);
}

/* ---- embeddings ---- */

__global__ static void embed_rows(struct embed_bag e) {
  size_t p = blockIdx.x, c = (size_t)e.c;
  for (size_t i = threadIdx.x; i < c; i += BLOCK) {
    float sum = e.out[p * c + i];
    for (int32_t k = e.start[p]; k < e.start[p + 1]; k++) sum += (e.weight ? e.weight[k] : 1.0f) * e.table[(size_t)e.id[k] * c + i];
    e.out[p * c + i] = sum;
  }
}

static size_t rows_named(const struct embed_bag *e) { /* of the table */
  int32_t most = -1;
  for (int32_t k = e->start[0]; k < e->start[e->rows]; k++) most = e->id[k] > most ? e->id[k] : most;
  return (size_t)(most + 1);
}
static void stage_bag(struct stage *s, const struct embed_bag *e, struct embed_bag *d) {
  *d = *e;
  d->start = stage_in(s, e->start, (size_t)e->rows + 1);
  d->id = stage_in(s, e->id, (size_t)e->start[e->rows]);
  d->weight = stage_in(s, e->weight, (size_t)e->start[e->rows]);
}

void cuda_embed_forward(const struct embed_bag *e) {
  struct stage s = {};
  struct embed_bag d;
  if (e->rows < 1 || e->start[e->rows] == e->start[0]) return;
  stage_bag(&s, e, &d);
  d.table = stage_in(&s, e->table, rows_named(e) * (size_t)e->c);
  d.out = stage_inout(&s, e->out, (size_t)e->rows * (size_t)e->c);
  LAUNCH(embed_rows, (unsigned)e->rows, BLOCK, 0, d);
  stage_end(&s);
}

/* entry[k] in the order of ids: a block adds up one table row, in the order of positions */
struct occurrence {
  int32_t id, row;
  float weight;
};
__global__ static void embed_back_ids(int c, const int32_t *from, const struct occurrence *at, const float *dout, float *dtable) {
  int32_t begin = from[blockIdx.x], end = from[blockIdx.x + 1];
  float *t = dtable + (size_t)at[begin].id * (size_t)c;
  for (int i = (int)threadIdx.x; i < c; i += BLOCK) {
    float sum = t[i];
    for (int32_t k = begin; k < end; k++) sum += at[k].weight * dout[(size_t)at[k].row * (size_t)c + (size_t)i];
    t[i] = sum;
  }
}

/* counting sort by id: from[d] is where the d-th distinct id begins in `at`; returns how many there are */
static int32_t sort_by_id(const struct embed_bag *e, size_t ids, int32_t *count, int32_t *from, struct occurrence *at) {
  int32_t distinct = 0, n = 0;
  for (int32_t k = e->start[0]; k < e->start[e->rows]; k++) count[e->id[k]]++;
  for (size_t i = 0; i < ids; i++) {
    int32_t here = count[i];
    if (here) from[distinct++] = n;
    count[i] = n, n += here;
  }
  from[distinct] = n;
  for (int p = 0; p < e->rows; p++)
    for (int32_t k = e->start[p]; k < e->start[p + 1]; k++) {
      struct occurrence *o = &at[count[e->id[k]]++];
      o->id = e->id[k], o->row = p, o->weight = e->weight ? e->weight[k] : 1.0f;
    }
  return distinct;
}

void cuda_embed_backward(const struct embed_bag_back *b) {
  struct stage s = {};
  const struct embed_bag *e = &b->f;
  if (e->rows < 1 || e->start[e->rows] == e->start[0]) return;
  size_t ids = rows_named(e), n = (size_t)(e->start[e->rows] - e->start[0]);
  int32_t *count = (int32_t *)calloc(ids + n + 1, sizeof *count), *from = count + ids;
  struct occurrence *at = (struct occurrence *)malloc(n * sizeof *at);
  if (count && at) {
    int32_t distinct = sort_by_id(e, ids, count, from, at);
    const int32_t *dfrom = stage_in(&s, from, (size_t)distinct + 1);
    const struct occurrence *dat = stage_in(&s, at, n);
    const float *dout = stage_in(&s, b->dout, (size_t)e->rows * (size_t)e->c);
    float *table = stage_inout(&s, b->dtable, ids * (size_t)e->c);
    LAUNCH(embed_back_ids, (unsigned)distinct, BLOCK, 0, e->c, dfrom, dat, dout, table);
    stage_end(&s);
  } else
    cuda_check(cudaErrorMemoryAllocation, "sorting ids");
  free(count), free(at);
}

/* ---- gates ---- */

__device__ static float sigmoid1(float x) { return 1.0f / (1.0f + expf(-x)); }

__global__ static void swiglu(int rows, int f, const float *gu, float *y) {
  EACH(t, (size_t)rows * (size_t)f) {
    size_t r = t / (size_t)f, i = t % (size_t)f;
    float g = gu[r * 2 * (size_t)f + i], u = gu[(r * 2 + 1) * (size_t)f + i];
    y[t] = g * sigmoid1(g) * u;
  }
}
__global__ static void swiglu_back(int rows, int f, const float *gu, const float *dy, float *dgu) {
  EACH(t, (size_t)rows * (size_t)f) {
    size_t r = t / (size_t)f, i = t % (size_t)f, at = r * 2 * (size_t)f + i;
    float g = gu[at], u = gu[at + (size_t)f], s = sigmoid1(g), silu = g * s;
    dgu[at] = dy[t] * u * (s + silu * (1.0f - s));
    dgu[at + (size_t)f] = dy[t] * silu;
  }
}
void cuda_swiglu_forward(int rows, int f, const float *gu, float *y) {
  struct stage s = {};
  size_t n = (size_t)rows * (size_t)f;
  if (rows < 1 || f < 1) return;
  const float *x = stage_in(&s, gu, 2 * n);
  float *to = stage_out(&s, y, n);
  LAUNCH(swiglu, blocks_for(n), BLOCK, 0, rows, f, x, to);
  stage_end(&s);
}
void cuda_swiglu_backward(int rows, int f, const float *gu, const float *dy, float *dgu) {
  struct stage s = {};
  size_t n = (size_t)rows * (size_t)f;
  if (rows < 1 || f < 1) return;
  const float *x = stage_in(&s, gu, 2 * n), *d = stage_in(&s, dy, n);
  float *to = stage_out(&s, dgu, 2 * n);
  LAUNCH(swiglu_back, blocks_for(n), BLOCK, 0, rows, f, x, d, to);
  stage_end(&s);
}

__global__ static void gelu(size_t n, const float *x, float *y) {
  EACH(i, n) y[i] = x[i] * sigmoid1(GELU_2U * (x[i] + GELU_CUBIC * x[i] * x[i] * x[i]));
}
__global__ static void gelu_back(size_t n, const float *x, const float *dy, float *dx) {
  EACH(i, n) {
    float s = sigmoid1(GELU_2U * (x[i] + GELU_CUBIC * x[i] * x[i] * x[i]));
    dx[i] = dy[i] * (s + x[i] * s * (1.0f - s) * GELU_2U * (1.0f + 3.0f * GELU_CUBIC * x[i] * x[i]));
  }
}
__global__ static void sigmoids(size_t n, const float *x, float *y) { EACH(i, n) y[i] = sigmoid1(x[i]); }

void cuda_gelu_forward(size_t n, const float *x, float *y) {
  struct stage s = {};
  if (n == 0) return;
  const float *from = stage_in(&s, x, n);
  float *to = stage_out(&s, y, n);
  LAUNCH(gelu, blocks_for(n), BLOCK, 0, n, from, to);
  stage_end(&s);
}
void cuda_gelu_backward(size_t n, const float *x, const float *dy, float *dx) {
  struct stage s = {};
  if (n == 0) return;
  const float *from = stage_in(&s, x, n), *d = stage_in(&s, dy, n);
  float *to = stage_out(&s, dx, n);
  LAUNCH(gelu_back, blocks_for(n), BLOCK, 0, n, from, d, to);
  stage_end(&s);
}
void cuda_sigmoid(size_t n, const float *x, float *y) {
  struct stage s = {};
  if (n < STAGED_BELOW) {
    cuda_host->sigmoid(n, x, y);
    return;
  }
  const float *from = stage_in(&s, x, n);
  float *to = stage_out(&s, y, n);
  LAUNCH(sigmoids, blocks_for(n), BLOCK, 0, n, from, to);
  stage_end(&s);
}

/* ---- vectors ---- */

__global__ static void add_scaled(size_t n, float a, const float *x, float *y) { EACH(i, n) y[i] += a * x[i]; }
__global__ static void scales(size_t n, float a, float *x) { EACH(i, n) x[i] *= a; }
__global__ static void products(size_t n, const float *x, float *y) { EACH(i, n) y[i] *= x[i]; }

void cuda_axpy(size_t n, float a, const float *x, float *y) {
  struct stage s = {};
  if (n < STAGED_BELOW) {
    cuda_host->axpy(n, a, x, y);
    return;
  }
  const float *from = stage_in(&s, x, n);
  float *to = stage_inout(&s, y, n);
  LAUNCH(add_scaled, blocks_for(n), BLOCK, 0, n, a, from, to);
  stage_end(&s);
}
void cuda_add(size_t n, const float *x, float *y) { cuda_axpy(n, 1, x, y); }
void cuda_scale(size_t n, float a, float *x) {
  struct stage s = {};
  if (n < STAGED_BELOW) {
    cuda_host->scale(n, a, x);
    return;
  }
  float *to = stage_inout(&s, x, n);
  LAUNCH(scales, blocks_for(n), BLOCK, 0, n, a, to);
  stage_end(&s);
}
void cuda_mul(size_t n, const float *x, float *y) {
  struct stage s = {};
  if (n < STAGED_BELOW) {
    cuda_host->mul(n, x, y);
    return;
  }
  const float *from = stage_in(&s, x, n);
  float *to = stage_inout(&s, y, n);
  LAUNCH(products, blocks_for(n), BLOCK, 0, n, from, to);
  stage_end(&s);
}

__global__ static void dots(size_t n, const float *x, const float *y, double *part) {
  __shared__ double shared[BLOCK];
  double sum = 0;
  EACH(i, n) sum += (double)x[i] * y[i];
  shared[threadIdx.x] = sum;
  __syncthreads();
  for (unsigned half = BLOCK / 2; half; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) part[blockIdx.x] = shared[0];
}
double cuda_dot(size_t n, const float *x, const float *y) {
  struct stage s = {};
  double part[SUM_BLOCKS] = {0}, sum = 0;
  if (n < STAGED_BELOW) return cuda_host->dot(n, x, y);
  unsigned blocks = blocks_for(n) < (unsigned)SUM_BLOCKS ? blocks_for(n) : (unsigned)SUM_BLOCKS;
  const float *dx = stage_in(&s, x, n), *dy = x == y ? dx : stage_in(&s, y, n);
  double *to = stage_inout(&s, part, blocks);
  LAUNCH(dots, blocks, BLOCK, 0, n, dx, dy, to);
  stage_end(&s);
  for (unsigned i = 0; i < blocks; i++) sum += part[i];
  return cuda_failed() ? (double)NAN : sum;
}
double cuda_sumsq(size_t n, const float *x) { return cuda_dot(n, x, x); }

/* ---- dropout: a thread draws one Philox block, whose four words decide about eight elements (kernel_columns.h has the order) ---- */

__device__ static void philox(uint64_t block, uint64_t stream, uint64_t seed, uint32_t out[4]) {
  uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)b;
    c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}
__global__ static void drop_out(size_t n, size_t blocks, uint32_t threshold, float keep, uint64_t seed, uint64_t stream, float *x) {
  EACH(t, blocks) {
    uint32_t word[4];
    philox(t, stream, seed, word);
    size_t at = t / DROPOUT_BLOCKS * DROPOUT_CHUNK + t % DROPOUT_BLOCKS * 4;
    for (int i = 0; i < 4; i++) {
      size_t low = at + (size_t)i, high = low + DROPOUT_CHUNK / 2;
      if (low < n) x[low] *= (word[i] & 0xffff) >= threshold ? keep : 0.0f;
      if (high < n) x[high] *= word[i] >> 16 >= threshold ? keep : 0.0f;
    }
  }
}
void cuda_dropout(size_t n, float p, uint64_t seed, uint64_t stream, float *x) {
  struct stage s = {};
  if (!(p > 0) || n == 0) return;
  double t = (double)p * 65536.0 + 0.5;
  uint32_t threshold = t >= 65536.0 ? 65536u : (uint32_t)t;
  size_t blocks = (n + DROPOUT_CHUNK - 1) / DROPOUT_CHUNK * DROPOUT_BLOCKS;
  float *to = stage_inout(&s, x, n);
  LAUNCH(drop_out, blocks_for(blocks), BLOCK, 0, n, blocks, threshold, p < 1 ? 1.0f / (1.0f - p) : 0.0f, seed, stream, to);
  stage_end(&s);
}

/* ---- AdamW ---- */

__global__ static void adamw_step(struct adamw a) {
  EACH(i, a.n) {
    float g = a.g[i] * a.grad_scale, m = a.beta1 * a.m[i] + (1.0f - a.beta1) * g, v = a.beta2 * a.v[i] + (1.0f - a.beta2) * g * g;
    a.m[i] = m;
    a.v[i] = v;
    a.w[i] -= a.lr * ((m / a.bias1) / (sqrtf(v / a.bias2) + a.eps) + a.decay * a.w[i]);
  }
}
void cuda_adamw(const struct adamw *a) {
  struct stage s = {};
  struct adamw d = *a;
  if (a->n < STAGED_BELOW) {
    cuda_host->adamw(a);
    return;
  }
  d.g = stage_in(&s, a->g, a->n);
  d.w = stage_inout(&s, a->w, a->n), d.m = stage_inout(&s, a->m, a->n), d.v = stage_inout(&s, a->v, a->n);
  LAUNCH(adamw_step, blocks_for(a->n), BLOCK, 0, d);
  stage_end(&s);
}
