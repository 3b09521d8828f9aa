/* Attention over packed ragged sequences, without a T x T matrix (FlashAttention, Dao et al. 2022): a block holds a tile of query rows of one head in
 * shared memory and meets the tiles of keys that any of them may see. Backward: one pass by key tiles for dk and dv, one by query tiles for dq;
 * nothing is added by two blocks at once, so the bits do not depend on their order. f32 throughout.
 */
#include "kernel/cuda/cuda.h"

#include <math.h>
#include <stdlib.h>

#ifndef CUDA_ATTENTION_TILE
#define CUDA_ATTENTION_TILE 32
#endif
enum { SHARED_BYTES = 96 << 10 };

struct tile { /* rows [at, at + tile size) of the sequence [begin, end) */
  int32_t begin, end, at;
};

__device__ static bool sees(const struct attention &a, int r, int j) {
  if (a.full) return true;
  if (j > r || (a.window > 0 && j <= r - a.window)) return false;
  return !a.ties || j == r || a.time[j] < a.time[r];
}
/* rows [from, from + n) of one head into shared memory, zeros beyond `end` */
__device__ static void load_rows(float *to, const float *x, int stride, int head, int d, int from, int n, int end) {
  for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) {
    int r = from + i / d;
    to[i] = r < end ? x[(size_t)r * (size_t)stride + (size_t)head * (size_t)d + (size_t)(i % d)] : 0.0f;
  }
}
__device__ static float dot_rows(int d, const float *x, const float *y) {
  float s = 0;
  for (int i = 0; i < d; i++) s += x[i] * y[i];
  return s;
}
/* the keys that rows [at, at + n) may see, and the rows that may see keys [at, at + n) */
__device__ static int first_key(const struct attention &a, const struct tile &t) {
  int from = a.full || a.window <= 0 ? t.begin : t.at - a.window + 1;
  return from < t.begin ? t.begin : from;
}
__device__ static int last_key(const struct attention &a, const struct tile &t, int n) {
  return a.full || t.at + n > t.end ? t.end : t.at + n;
}
__device__ static int last_row(const struct attention &a, const struct tile &t, int n) {
  long long to = a.full || a.window <= 0 ? t.end : (long long)t.at + n - 1 + a.window;
  return to > t.end ? t.end : (int)to;
}

/* one row of scores becomes weights relative to the largest so far */
__device__ static void softmax_row(int n, float *s, float *most, float *total, float *shrink) {
  float m = *most, sum = 0;
  for (int j = 0; j < n; j++)
    if (!(s[j] <= m)) m = s[j];
  float c = *most == -INFINITY ? 0.0f : expf(*most - m);
  for (int j = 0; j < n; j++) sum += s[j] = s[j] == -INFINITY ? 0.0f : expf(s[j] - m);
  *total = *total * c + sum;
  *most = m;
  *shrink = c;
}

__global__ static void attend(struct attention a, const struct tile *tiles, int n) {
  DYNAMIC_SHARED(shared);
  struct tile t = tiles[blockIdx.x];
  int d = a.d, h = (int)blockIdx.y, hk = h * a.kv_heads / a.heads;
  float *q = shared, *k = q + n * d, *v = k + n * d, *sum = v + n * d, *s = sum + n * d, *most = s + n * n, *total = most + n,
        *shrink = total + n;
  load_rows(q, a.q, a.q_stride, h, d, t.at, n, t.end);
  for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) sum[i] = 0;
  for (int r = (int)threadIdx.x; r < n; r += BLOCK) most[r] = -INFINITY, total[r] = 0;
  int end = last_key(a, t, n);
  for (int from = first_key(a, t); from < end; from += n) {
    __syncthreads();
    load_rows(k, a.k, a.k_stride, hk, d, from, n, end);
    load_rows(v, a.v, a.v_stride, hk, d, from, n, end);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n * n; i += BLOCK) {
      int r = t.at + i / n, j = from + i % n;
      s[i] = r < t.end && j < end && sees(a, r, j) ? a.scale * dot_rows(d, q + i / n * d, k + i % n * d) : -INFINITY;
    }
    __syncthreads();
    for (int r = (int)threadIdx.x; r < n; r += BLOCK) softmax_row(n, s + r * n, &most[r], &total[r], &shrink[r]);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) {
      float x = sum[i] * shrink[i / d];
      for (int j = 0; j < n; j++) x += s[i / d * n + j] * v[j * d + i % d];
      sum[i] = x;
    }
  }
  __syncthreads();
  for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) {
    int r = t.at + i / d;
    if (r < t.end) a.out[(size_t)r * (size_t)a.out_stride + (size_t)h * (size_t)d + (size_t)(i % d)] = sum[i] / total[i / d];
  }
  for (int r = (int)threadIdx.x; r < n; r += BLOCK)
    if (t.at + r < t.end) a.lse[(size_t)(t.at + r) * (size_t)a.heads + (size_t)h] = most[r] + logf(total[r]);
}

__global__ static void row_terms(struct attention_back b, int rows, float *delta) { /* dot(dout, out) of a row and head */
  const struct attention &a = b.f;
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < (size_t)rows * (size_t)a.heads; i += (size_t)gridDim.x * blockDim.x) {
    size_t at = i / (size_t)a.heads * (size_t)a.out_stride + i % (size_t)a.heads * (size_t)a.d;
    delta[i] = dot_rows(a.d, b.dout + at, a.out + at);
  }
}

/* weights and score gradients of a tile of rows against a tile of keys */
__device__ static void tile_gradient(const struct attention &a, const float *delta, int h, int n, int row, int row_end, int key,
                                     int key_end, const float *q, const float *dout, const float *k, const float *v, float *p, float *ds) {
  for (int i = (int)threadIdx.x; i < n * n; i += BLOCK) {
    int r = row + i / n, j = key + i % n;
    bool seen = r < row_end && j < key_end && sees(a, r, j);
    size_t at = (size_t)r * (size_t)a.heads + (size_t)h;
    float w = seen ? expf(a.scale * dot_rows(a.d, q + i / n * a.d, k + i % n * a.d) - a.lse[at]) : 0.0f;
    ds[i] = seen ? w * (dot_rows(a.d, dout + i / n * a.d, v + i % n * a.d) - delta[at]) * a.scale : 0.0f;
    if (p) p[i] = w;
  }
}

__global__ static void keys_back(struct attention_back b, const struct tile *tiles, int n, const float *delta) {
  DYNAMIC_SHARED(shared);
  const struct attention &a = b.f;
  struct tile t = tiles[blockIdx.x];
  int d = a.d, hk = (int)blockIdx.y;
  float *k = shared, *v = k + n * d, *q = v + n * d, *g = q + n * d, *dk = g + n * d, *dv = dk + n * d, *p = dv + n * d, *ds = p + n * n;
  load_rows(k, a.k, a.k_stride, hk, d, t.at, n, t.end);
  load_rows(v, a.v, a.v_stride, hk, d, t.at, n, t.end);
  for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) dk[i] = dv[i] = 0;
  int first = a.full ? t.begin : t.at, end = last_row(a, t, n);
  for (int h = 0; h < a.heads; h++) {
    if (h * a.kv_heads / a.heads != hk) continue;
    for (int row = first; row < end; row += n) {
      __syncthreads();
      load_rows(q, a.q, a.q_stride, h, d, row, n, end);
      load_rows(g, b.dout, a.out_stride, h, d, row, n, end);
      __syncthreads();
      tile_gradient(a, delta, h, n, row, end, t.at, t.end, q, g, k, v, p, ds);
      __syncthreads();
      for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) {
        float x = dk[i], y = dv[i];
        for (int r = 0; r < n; r++) x += ds[r * n + i / d] * q[r * d + i % d], y += p[r * n + i / d] * g[r * d + i % d];
        dk[i] = x, dv[i] = y;
      }
    }
  }
  __syncthreads();
  for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) {
    int j = t.at + i / d;
    if (j >= t.end) continue;
    b.dk[(size_t)j * (size_t)a.k_stride + (size_t)hk * (size_t)d + (size_t)(i % d)] += dk[i];
    b.dv[(size_t)j * (size_t)a.v_stride + (size_t)hk * (size_t)d + (size_t)(i % d)] += dv[i];
  }
}

__global__ static void rows_back(struct attention_back b, const struct tile *tiles, int n, const float *delta) {
  DYNAMIC_SHARED(shared);
  const struct attention &a = b.f;
  struct tile t = tiles[blockIdx.x];
  int d = a.d, h = (int)blockIdx.y, hk = h * a.kv_heads / a.heads;
  float *q = shared, *g = q + n * d, *k = g + n * d, *v = k + n * d, *dq = v + n * d, *ds = dq + n * d;
  load_rows(q, a.q, a.q_stride, h, d, t.at, n, t.end);
  load_rows(g, b.dout, a.out_stride, h, d, t.at, n, t.end);
  for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) dq[i] = 0;
  int end = last_key(a, t, n);
  for (int from = first_key(a, t); from < end; from += n) {
    __syncthreads();
    load_rows(k, a.k, a.k_stride, hk, d, from, n, end);
    load_rows(v, a.v, a.v_stride, hk, d, from, n, end);
    __syncthreads();
    tile_gradient(a, delta, h, n, t.at, t.end, from, end, q, g, k, v, NULL, ds);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) {
      float x = dq[i];
      for (int j = 0; j < n; j++) x += ds[i / d * n + j] * k[j * d + i % d];
      dq[i] = x;
    }
  }
  __syncthreads();
  for (int i = (int)threadIdx.x; i < n * d; i += BLOCK) {
    int r = t.at + i / d;
    if (r < t.end) b.dq[(size_t)r * (size_t)a.q_stride + (size_t)h * (size_t)d + (size_t)(i % d)] += dq[i];
  }
}

/* ---- host side ---- */

static size_t shared_bytes(int n, int d) { return sizeof(float) * (size_t)(6 * n * d + 2 * n * n + 3 * n); }
static int tile_size(int d) { /* the largest that leaves room for six tiles of rows */
  int n = CUDA_ATTENTION_TILE;
  while (n > 1 && shared_bytes(n, d) > SHARED_BYTES) n /= 2;
  return n;
}

static int tiles_of(const struct attention *a, int n, struct tile **out) {
  int tiles = 0;
  for (int s = 0; s < a->sequences; s++) tiles += (a->start[s + 1] - a->start[s] + n - 1) / n;
  struct tile *t = (struct tile *)malloc(((size_t)tiles + 1) * sizeof *t);
  *out = t;
  if (!t) {
    cuda_check(cudaErrorMemoryAllocation, "attention's list of tiles");
    return 0;
  }
  for (int s = 0; s < a->sequences; s++)
    for (int at = a->start[s]; at < a->start[s + 1]; at += n, t++) t->begin = a->start[s], t->end = a->start[s + 1], t->at = at;
  return tiles;
}

static void stage_attention(struct stage *s, const struct attention *a, struct attention *d) {
  int rows = a->start[a->sequences];
  *d = *a;
  d->start = NULL; /* the device goes by tiles */
  d->time = a->ties ? stage_in(s, a->time, (size_t)rows) : NULL;
  d->q = matrix_in(s, a->q, rows, a->heads * a->d, a->q_stride);
  d->k = matrix_in(s, a->k, rows, a->kv_heads * a->d, a->k_stride);
  d->v = matrix_in(s, a->v, rows, a->kv_heads * a->d, a->v_stride);
}
static size_t room(const void *kernel, int n, int d) {
  size_t bytes = shared_bytes(n, d);
  cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes), "shared memory of attention");
  return bytes;
}

void cuda_attention_forward(const struct attention *a) {
  struct stage s = {};
  struct attention d;
  struct tile *tile;
  int rows = a->start[a->sequences], n = tile_size(a->d);
  if (rows < 1) return;
  int tiles = tiles_of(a, n, &tile);
  stage_attention(&s, a, &d);
  d.out = matrix_inout(&s, a->out, rows, a->heads * a->d, a->out_stride);
  d.lse = stage_out(&s, a->lse, (size_t)rows * (size_t)a->heads);
  const struct tile *at = stage_in(&s, tile, (size_t)tiles);
  if (tiles) LAUNCH(attend, dim3((unsigned)tiles, (unsigned)a->heads), BLOCK, room((const void *)attend, n, a->d), d, at, n);
  stage_end(&s);
  free(tile);
}

void cuda_attention_backward(const struct attention_back *b) {
  struct stage s = {};
  struct attention_back d = *b;
  const struct attention *a = &b->f;
  struct tile *tile;
  int rows = a->start[a->sequences], n = tile_size(a->d);
  if (rows < 1) return;
  int tiles = tiles_of(a, n, &tile);
  stage_attention(&s, a, &d.f);
  d.f.out = matrix_in(&s, a->out, rows, a->heads * a->d, a->out_stride);
  d.f.lse = stage_in(&s, a->lse, (size_t)rows * (size_t)a->heads);
  d.dout = matrix_in(&s, b->dout, rows, a->heads * a->d, a->out_stride);
  d.dq = matrix_inout(&s, b->dq, rows, a->heads * a->d, a->q_stride);
  d.dk = matrix_inout(&s, b->dk, rows, a->kv_heads * a->d, a->k_stride);
  d.dv = matrix_inout(&s, b->dv, rows, a->kv_heads * a->d, a->v_stride);
  float *delta = (float *)stage_scratch(&s, (size_t)rows * (size_t)a->heads * sizeof(float));
  const struct tile *at = stage_in(&s, tile, (size_t)tiles);
  if (tiles) {
    LAUNCH(row_terms, blocks_for((size_t)rows * (size_t)a->heads), BLOCK, 0, d, rows, delta);
    LAUNCH(keys_back, dim3((unsigned)tiles, (unsigned)a->kv_heads), BLOCK, room((const void *)keys_back, n, a->d), d, at, n, delta);
    LAUNCH(rows_back, dim3((unsigned)tiles, (unsigned)a->heads), BLOCK, room((const void *)rows_back, n, a->d), d, at, n, delta);
  }
  stage_end(&s);
  free(tile);
}
