/* The reference column: plain C, f32 storage, sums in double. It is the truth that every other column is tested against and
 * what runs where the processor has no AVX2; nothing here is tuned. */
#include "kernel/kernel_columns.h"
#include "kernel/quant.h"

#include <string.h>

#include "base/random.h"

enum { COLUMN_BLOCK = 64 };

static void gemm_row(const struct gemm *g, int i, int j0, int n) {
  double sum[COLUMN_BLOCK] = {0};
  for (int p = 0; p < g->k; p++) {
    double x = g->ta ? g->a[(size_t)p * g->lda + i] : g->a[(size_t)i * g->lda + p];
    if (g->tb) {
      for (int j = 0; j < n; j++) sum[j] += x * g->b[(size_t)(j0 + j) * g->ldb + p];
    } else {
      const float *b = g->b + (size_t)p * g->ldb + j0;
      for (int j = 0; j < n; j++) sum[j] += x * b[j];
    }
  }
  float *c = g->c + (size_t)i * g->ldc + j0;
  for (int j = 0; j < n; j++) {
    double base = g->beta != 0 ? (double)g->beta * c[j] : g->bias ? g->bias[j0 + j] : 0;
    c[j] = (float)(base + sum[j]);
  }
}

void ref_gemm(const struct gemm *g) {
  for (int i = 0; i < g->m; i++) {
    for (int j = 0; j < g->n; j += COLUMN_BLOCK) gemm_row(g, i, j, g->n - j < COLUMN_BLOCK ? g->n - j : COLUMN_BLOCK);
  }
}

size_t ref_gemm_pack_size(int k, int n) {
  (void)k, (void)n;
  return 0;
}
void ref_gemm_pack(const struct gemm *g, float *to) { (void)g, (void)to; }

void ref_norm_forward(const struct norm *n) {
  for (int r = 0; r < n->rows; r++) {
    const float *x = n->x + (size_t)r * n->c;
    float *y = n->y + (size_t)r * n->c;
    double mean = 0, var = 0;
    if (n->kind == NORM_LAYER) {
      for (int i = 0; i < n->c; i++) mean += x[i];
      mean /= n->c;
    }
    for (int i = 0; i < n->c; i++) var += (x[i] - mean) * (x[i] - mean);
    float rstd = (float)(1.0 / sqrt(var / n->c + n->eps));
    for (int i = 0; i < n->c; i++) y[i] = (x[i] - (float)mean) * rstd * n->gain[i] + (n->shift ? n->shift[i] : 0.0f);
    n->rstd[r] = rstd;
    if (n->kind == NORM_LAYER) n->mean[r] = (float)mean;
  }
}

void ref_norm_backward(const struct norm_back *b) {
  const struct norm *n = &b->f;
  for (int r = 0; r < n->rows; r++) {
    const float *x = n->x + (size_t)r * n->c, *dy = b->dy + (size_t)r * n->c;
    float *dx = b->dx + (size_t)r * n->c;
    float mean = n->kind == NORM_LAYER ? n->mean[r] : 0, rstd = n->rstd[r];
    double sum_g = 0, sum_gx = 0;
    for (int i = 0; i < n->c; i++) {
      float xhat = (x[i] - mean) * rstd, g = dy[i] * n->gain[i];
      sum_g += g;
      sum_gx += (double)g * xhat;
      b->dgain[i] += dy[i] * xhat;
      if (b->dshift) b->dshift[i] += dy[i];
    }
    float mg = n->kind == NORM_LAYER ? (float)(sum_g / n->c) : 0, mgx = (float)(sum_gx / n->c);
    for (int i = 0; i < n->c; i++) dx[i] += rstd * (dy[i] * n->gain[i] - mg - (x[i] - mean) * rstd * mgx);
  }
}

static double dot_d(int n, const float *x, const float *y) {
  double s = 0;
  for (int i = 0; i < n; i++) s += (double)x[i] * y[i];
  return s;
}

static void attention_row(const struct attention *a, int begin, int end, int r, int h) {
  int hk = h * a->kv_heads / a->heads;
  const float *q = a->q + (size_t)r * a->q_stride + (size_t)h * a->d;
  float *out = a->out + (size_t)r * a->out_stride + (size_t)h * a->d, *s = a->scratch;
  double max = -INFINITY, sum = 0;
  for (int j = begin; j < end; j++) {
    if (!attention_sees(a, r, j)) continue;
    s[j - begin] = a->scale * (float)dot_d(a->d, q, a->k + (size_t)j * a->k_stride + (size_t)hk * a->d);
    if (!(s[j - begin] <= max)) max = s[j - begin];
  }
  double acc[COLUMN_BLOCK];
  for (int j = begin; j < end; j++) {
    if (attention_sees(a, r, j)) sum += exp(s[j - begin] - max);
  }
  for (int i0 = 0; i0 < a->d; i0 += COLUMN_BLOCK) {
    int n = a->d - i0 < COLUMN_BLOCK ? a->d - i0 : COLUMN_BLOCK;
    memset(acc, 0, sizeof acc);
    for (int j = begin; j < end; j++) {
      if (!attention_sees(a, r, j)) continue;
      double p = exp(s[j - begin] - max) / sum;
      const float *v = a->v + (size_t)j * a->v_stride + (size_t)hk * a->d + i0;
      for (int i = 0; i < n; i++) acc[i] += p * v[i];
    }
    for (int i = 0; i < n; i++) out[i0 + i] = (float)acc[i];
  }
  a->lse[(size_t)r * a->heads + h] = (float)(max + log(sum));
}

void ref_attention_forward(const struct attention *a) {
  for (int s = 0; s < a->sequences; s++) {
    for (int r = a->start[s] + a->skip; r < a->start[s + 1]; r++) {
      for (int h = 0; h < a->heads; h++) attention_row(a, a->start[s], a->start[s + 1], r, h);
    }
  }
}

static void attention_back_row(const struct attention_back *b, int begin, int end, int r, int h) {
  const struct attention *a = &b->f;
  int d = a->d;
  size_t hk = (size_t)(h * a->kv_heads / a->heads) * d, hq = (size_t)h * d;
  const float *q = a->q + (size_t)r * a->q_stride + hq, *o = a->out + (size_t)r * a->out_stride + hq;
  const float *dout = b->dout + (size_t)r * a->out_stride + hq;
  float *dq = b->dq + (size_t)r * a->q_stride + hq;
  float delta = (float)dot_d(d, dout, o), lse = a->lse[(size_t)r * a->heads + h];
  for (int j = begin; j < end; j++) {
    if (!attention_sees(a, r, j)) continue;
    const float *k = a->k + (size_t)j * a->k_stride + hk, *v = a->v + (size_t)j * a->v_stride + hk;
    float *dk = b->dk + (size_t)j * a->k_stride + hk, *dv = b->dv + (size_t)j * a->v_stride + hk;
    float p = expf(a->scale * (float)dot_d(d, q, k) - lse);
    float ds = p * ((float)dot_d(d, dout, v) - delta) * a->scale;
    for (int i = 0; i < d; i++) {
      dq[i] += ds * k[i];
      dk[i] += ds * q[i];
      dv[i] += p * dout[i];
    }
  }
}

/* FlashAttention's formulas (Dao et al. 2022): P comes back from lse, and the softmax's row term is dot(dout, out). */
void ref_attention_backward(const struct attention_back *b) {
  for (int s = 0; s < b->f.sequences; s++) {
    for (int r = b->f.start[s]; r < b->f.start[s + 1]; r++) {
      for (int h = 0; h < b->f.heads; h++) attention_back_row(b, b->f.start[s], b->f.start[s + 1], r, h);
    }
  }
}

void ref_decode_keep(const struct decode_keep *k) {
  int apart = k->lanes ? k->kv_heads : 1;
  for (int r = 0; r < k->rows; r++)
    for (int h = 0; h < 2 * k->kv_heads; h++) {
      bool values = h >= k->kv_heads;
      int head = h % k->kv_heads, j = k->to[r].row;
      int8_t *to = k->to[r].layer;
      const float *x = k->kv + (size_t)r * (size_t)k->kv_stride + (size_t)h * (size_t)k->d;
      if (k->lanes) x = k->kv + (size_t)r * (size_t)k->kv_stride + (size_t)((values ? k->kv_heads * k->d : 0) + head);
      float most = 0, bad = 0;
      for (int i = 0; i < k->d; i++) most = fmaxf(most, fabsf(x[i * apart])), bad += 0 * x[i * apart];
      uint16_t kept = quant_to_half(most * (1 / 127.0f) + bad);
      float inverse = 1 / fmaxf(quant_half(kept), DECODE_LEAST);
      for (int i = 0; i < k->d; i++)
        to[values ? decode_value_at(k->kv_heads, k->d, j, head, i) : decode_key_at(k->kv_heads, k->d, j, head, i)] =
            (int8_t)fmaxf(-127, fminf(127, rintf(x[i * apart] * inverse)));
      memcpy(to + decode_scale_at(k->kv_heads, k->d, values, j, head), &kept, sizeof kept);
    }
}

static double decode_number(const struct attention_decode *a, const struct decode_rows *r, bool values, int j, int h, int i) {
  const int8_t *p = r->block[j / DECODE_ROWS] + a->at;
  uint16_t scale;
  j %= DECODE_ROWS;
  memcpy(&scale, p + decode_scale_at(a->kv_heads, a->d, values, j, h), sizeof scale);
  return (double)quant_half(scale) * p[values ? decode_value_at(a->kv_heads, a->d, j, h, i) : decode_key_at(a->kv_heads, a->d, j, h, i)];
}

static void decode_one(const struct attention_decode *a, int s, int h) {
  int hk = h * a->kv_heads / a->heads, n = 0;
  const struct decode_rows *part[2] = {&a->prefix[s], &a->own[s]};
  int at = a->lanes ? h : h * a->d, apart = a->lanes ? a->heads : 1;
  const float *q = a->q + (size_t)s * a->q_stride + at;
  float *out = a->out + (size_t)s * a->out_stride + at, max = -INFINITY;
  double sum = 0;
  for (int r = 0; r < 2; r++)
    for (int j = part[r]->from; j < part[r]->n; j++, n++) {
      double dot = 0;
      for (int i = 0; i < a->d; i++) dot += (double)q[i * apart] * decode_number(a, part[r], false, j, hk, i);
      a->scratch[n] = j >= part[r]->hide && j < part[r]->show ? -INFINITY : a->scale * (float)dot;
      if (!(a->scratch[n] <= max)) max = a->scratch[n];
    }
  for (int j = 0; j < n; j++) sum += a->scratch[j] = expf(a->scratch[j] - max);
  for (int i = 0; i < a->d; i++) {
    double acc = 0;
    n = 0;
    for (int r = 0; r < 2; r++)
      for (int j = part[r]->from; j < part[r]->n; j++, n++) acc += (double)a->scratch[n] * decode_number(a, part[r], true, j, hk, i);
    out[i * apart] = (float)(acc / sum);
  }
}

void ref_attention_decode(const struct attention_decode *a) {
  for (int s = 0; s < a->streams; s++) {
    for (int h = 0; h < a->heads; h++) decode_one(a, s, h);
  }
}

void ref_rope(const struct rope *r) {
  int half = r->d / 2;
  for (int i = 0; i < half; i++) {
    double frequency = pow(r->base, -2.0 * i / r->d);
    for (int row = 0; row < r->rows; row++) {
      double angle = r->position[row] * frequency;
      float c = (float)cos(angle), s = (float)sin(angle) * (r->back ? -1.0f : 1.0f);
      for (int h = 0; h < r->heads; h++) {
        float *x = r->x + (size_t)row * r->stride + (size_t)h * r->d + i, x0 = x[0], x1 = x[half];
        x[0] = x0 * c - x1 * s;
        x[half] = x0 * s + x1 * c;
      }
    }
  }
}

void ref_embed_forward(const struct embed_bag *e) {
  for (int p = 0; p < e->rows; p++) {
    float *out = e->out + (size_t)p * e->c;
    for (int32_t k = e->start[p]; k < e->start[p + 1]; k++) {
      const float *t = e->table + (size_t)e->id[k] * e->c;
      float w = e->weight ? e->weight[k] : 1.0f;
      for (int i = 0; i < e->c; i++) out[i] += w * t[i];
    }
  }
}

void ref_embed_backward(const struct embed_bag_back *b) {
  const struct embed_bag *e = &b->f;
  for (int p = 0; p < e->rows; p++) {
    const float *dout = b->dout + (size_t)p * e->c;
    for (int32_t k = e->start[p]; k < e->start[p + 1]; k++) {
      float *t = b->dtable + (size_t)e->id[k] * e->c, w = e->weight ? e->weight[k] : 1.0f;
      for (int i = 0; i < e->c; i++) t[i] += w * dout[i];
    }
  }
}

static float sigmoid1(float x) { return 1.0f / (1.0f + expf(-x)); }

void ref_swiglu_forward(int rows, int f, const float *gu, float *y) {
  for (int r = 0; r < rows; r++) {
    const float *g = gu + (size_t)r * 2 * f, *u = g + f;
    for (int i = 0; i < f; i++) y[(size_t)r * f + i] = g[i] * sigmoid1(g[i]) * u[i];
  }
}

void ref_swiglu_backward(int rows, int f, const float *gu, const float *dy, float *dgu) {
  for (int r = 0; r < rows; r++) {
    const float *g = gu + (size_t)r * 2 * f, *u = g + f, *d = dy + (size_t)r * f;
    float *dg = dgu + (size_t)r * 2 * f, *du = dg + f;
    for (int i = 0; i < f; i++) {
      float s = sigmoid1(g[i]), silu = g[i] * s;
      dg[i] = d[i] * u[i] * (s + silu * (1.0f - s));
      du[i] = d[i] * silu;
    }
  }
}

void ref_gelu_forward(size_t n, const float *x, float *y) {
  for (size_t i = 0; i < n; i++) y[i] = x[i] * sigmoid1(GELU_2U * (x[i] + GELU_CUBIC * x[i] * x[i] * x[i]));
}

void ref_gelu_backward(size_t n, const float *x, const float *dy, float *dx) {
  for (size_t i = 0; i < n; i++) {
    float s = sigmoid1(GELU_2U * (x[i] + GELU_CUBIC * x[i] * x[i] * x[i]));
    dx[i] = dy[i] * (s + x[i] * s * (1.0f - s) * GELU_2U * (1.0f + 3.0f * GELU_CUBIC * x[i] * x[i]));
  }
}

void ref_add(size_t n, const float *x, float *y) {
  for (size_t i = 0; i < n; i++) y[i] += x[i];
}
void ref_axpy(size_t n, float a, const float *x, float *y) {
  for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}
void ref_scale(size_t n, float a, float *x) {
  for (size_t i = 0; i < n; i++) x[i] *= a;
}
void ref_mul(size_t n, const float *x, float *y) {
  for (size_t i = 0; i < n; i++) y[i] *= x[i];
}
double ref_dot(size_t n, const float *x, const float *y) {
  double s = 0;
  for (size_t i = 0; i < n; i++) s += (double)x[i] * y[i];
  return s;
}
double ref_sumsq(size_t n, const float *x) { return ref_dot(n, x, x); }

void ref_col_sum(int rows, int c, const float *x, int stride, float *out) {
  for (int i = 0; i < c; i++) {
    double s = 0;
    for (int r = 0; r < rows; r++) s += x[(size_t)r * stride + i];
    out[i] = (float)(out[i] + s);
  }
}

float ref_logsumexp(size_t n, const float *x) {
  float m = -INFINITY;
  double s = 0;
  for (size_t i = 0; i < n; i++) {
    if (x[i] > m) m = x[i];
  }
  if (isinf(m)) return logsumexp_infinite(n, x, m);
  for (size_t i = 0; i < n; i++) s += exp((double)x[i] - m);
  return (float)(m + log(s));
}

double ref_exp_scaled(size_t n, float a, float b, const float *x, float *y) {
  double s = 0;
  for (size_t i = 0; i < n; i++) s += y[i] = a * expf(x[i] - b);
  return s;
}

void ref_sigmoid(size_t n, const float *x, float *y) {
  for (size_t i = 0; i < n; i++) y[i] = sigmoid1(x[i]);
}

void ref_dropout(size_t n, float p, uint64_t seed, uint64_t stream, float *x) {
  if (!(p > 0)) return;
  uint32_t threshold = dropout_threshold(p), key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, word[4];
  float keep = p < 1 ? 1.0f / (1.0f - p) : 0.0f;
  for (size_t i = 0; i < n; i++) {
    size_t r = i % DROPOUT_CHUNK, half = r / (DROPOUT_CHUNK / 2), block = i / DROPOUT_CHUNK * DROPOUT_BLOCKS + r % (DROPOUT_CHUNK / 2) / 4;
    if (i % 4 == 0) {
      uint32_t counter[4] = {(uint32_t)block, (uint32_t)((uint64_t)block >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
      philox4x32(counter, key, word);
    }
    uint32_t bits = half ? word[i % 4] >> 16 : word[i % 4] & 0xffff;
    x[i] *= bits >= threshold ? keep : 0.0f;
  }
}

void ref_adamw(const struct adamw *a) {
  for (size_t i = 0; i < a->n; i++) {
    float g = a->g[i] * a->grad_scale;
    a->m[i] = a->beta1 * a->m[i] + (1.0f - a->beta1) * g;
    a->v[i] = a->beta2 * a->v[i] + (1.0f - a->beta2) * g * g;
    float step = (a->m[i] / a->bias1) / (sqrtf(a->v[i] / a->bias2) + a->eps);
    a->w[i] -= a->lr * (step + a->decay * a->w[i]);
  }
}

const struct kernel kernel_column_ref = {
    .name = "ref",
    .gemm_scratch = 0,
    .gemm = ref_gemm,
    .gemm_pack_size = ref_gemm_pack_size,
    .gemm_pack = ref_gemm_pack,
    .norm_forward = ref_norm_forward,
    .norm_backward = ref_norm_backward,
    .attention_forward = ref_attention_forward,
    .attention_backward = ref_attention_backward,
    .attention_decode = ref_attention_decode,
    .decode_keep = ref_decode_keep,
    .rope = ref_rope,
    .embed_forward = ref_embed_forward,
    .embed_backward = ref_embed_backward,
    .swiglu_forward = ref_swiglu_forward,
    .swiglu_backward = ref_swiglu_backward,
    .gelu_forward = ref_gelu_forward,
    .gelu_backward = ref_gelu_backward,
    .add = ref_add,
    .axpy = ref_axpy,
    .scale = ref_scale,
    .mul = ref_mul,
    .dot = ref_dot,
    .sumsq = ref_sumsq,
    .col_sum = ref_col_sum,
    .logsumexp = ref_logsumexp,
    .exp_scaled = ref_exp_scaled,
    .sigmoid = ref_sigmoid,
    .dropout = ref_dropout,
    .adamw = ref_adamw,
};
