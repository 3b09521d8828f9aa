/* Private: everything that is not a matrix product or attention, over vec.h. The including file defines V(name) as the
 * column's prefix. Loops run over whole registers, then once over a masked tail.
 */
#ifndef KERNEL_ELEMENTWISE_VEC_H
#define KERNEL_ELEMENTWISE_VEC_H
#include "kernel/exp_vec.h"
#include "kernel/kernel_columns.h"

/* Runs `body` for i = 0, VW, ... with w valid lanes; load and store see w as a constant VW but in the tail */
#define EACH(n, body)                        \
  do {                                       \
    size_t i = 0;                            \
    for (; i + VW <= (size_t)(n); i += VW) { \
      const int w = VW;                      \
      body                                   \
    }                                        \
    if (i < (size_t)(n)) {                   \
      const int w = (int)((size_t)(n)-i);    \
      body                                   \
    }                                        \
  } while (0)
VINLINE vf get(const float *p, int w) { return w == VW ? v_load(p) : v_load_n(p, w); }
VINLINE void put(float *p, vf v, int w) {
  if (w == VW) {
    v_store(p, v);
  } else {
    v_store_n(p, v, w);
  }
}
#include "kernel/activation_vec.h"
VINLINE vf keep_first(vf v, int w) { return w == VW ? v : v_select(v_first(w), v, v_zero()); }

void V(norm_forward)(const struct norm *of) {
  const struct norm own = *of, *n = &own; /* no store of a number can change it: its fields stay in registers */
  bool layer = n->kind == NORM_LAYER;
  for (int r = 0; r < n->rows; r++) {
    const float *x = n->x + (size_t)r * n->c;
    float *y = n->y + (size_t)r * n->c;
    vf s = v_zero(), q = v_zero();
    if (layer) EACH(n->c, s = v_add(s, get(x + i, w)););
    float mean = layer ? (float)(v_sum_double(s) / n->c) : 0.0f;
    vf m = v_set1(mean);
    EACH(n->c, vf t = keep_first(v_sub(get(x + i, w), m), w); q = v_fma(t, t, q););
    float rstd = (float)(1.0 / sqrt(v_sum_double(q) / n->c + n->eps));
    vf k = v_set1(rstd);
    EACH(n->c, vf t = v_mul(v_mul(v_sub(get(x + i, w), m), k), get(n->gain + i, w));
         put(y + i, n->shift ? v_add(t, get(n->shift + i, w)) : t, w););
    n->rstd[r] = rstd;
    if (layer) n->mean[r] = mean;
  }
}

void V(norm_backward)(const struct norm_back *of) {
  const struct norm_back own = *of, *b = &own;
  const struct norm *n = &own.f;
  bool layer = n->kind == NORM_LAYER;
  for (int r = 0; r < n->rows; r++) {
    const float *x = n->x + (size_t)r * n->c, *dy = b->dy + (size_t)r * n->c;
    float *dx = b->dx + (size_t)r * n->c;
    vf mean = v_set1(layer ? n->mean[r] : 0.0f), rstd = v_set1(n->rstd[r]), sg = v_zero(), sgx = v_zero();
    EACH(n->c, vf d = get(dy + i, w); vf xhat = v_mul(v_sub(get(x + i, w), mean), rstd); vf g = v_mul(d, get(n->gain + i, w));
         sg = v_add(sg, g); sgx = v_fma(g, xhat, sgx); put(b->dgain + i, v_fma(d, xhat, get(b->dgain + i, w)), w);
         if (b->dshift) put(b->dshift + i, v_add(d, get(b->dshift + i, w)), w););
    vf mg = v_set1(layer ? (float)(v_sum_double(sg) / n->c) : 0.0f), mgx = v_set1((float)(v_sum_double(sgx) / n->c));
    EACH(n->c, vf xhat = v_mul(v_sub(get(x + i, w), mean), rstd); vf g = v_sub(v_mul(get(dy + i, w), get(n->gain + i, w)), mg);
         put(dx + i, v_fma(rstd, v_fnma(xhat, mgx, g), get(dx + i, w)), w););
  }
}

/* sin and cos of a double to f32 accuracy: quarter turns by a two-part pi/2, then Taylor on |t| <= pi/4 (error < 3e-8) */
VINLINE void sincos_small(double angle, float *s, float *c) {
  if (!(fabs(angle) < 1e8)) {
    *s = (float)sin(angle);
    *c = (float)cos(angle);
    return;
  }
  double turns = rint(angle * 0.63661977236758134308), t = angle - turns * 1.57079632679489655800e+00;
  t -= turns * 6.12323399573676603587e-17;
  double u = t * t;
  double sine = t * (1 + u * (-1.0 / 6 + u * (1.0 / 120 + u * (-1.0 / 5040 + u * (1.0 / 362880)))));
  double cosine = 1 + u * (-0.5 + u * (1.0 / 24 + u * (-1.0 / 720 + u * (1.0 / 40320 - u * (1.0 / 3628800)))));
  int quarter = (int)turns & 3;
  double a = quarter & 1 ? cosine : sine, b = quarter & 1 ? sine : cosine;
  *s = (float)(quarter & 2 ? -a : a);
  *c = (float)((quarter + 1) & 2 ? -b : b);
}

enum { ROPE_BLOCK = 128 };
/* pairs [first, first+n) of every row */
static void rope_pairs(const struct rope *r, int first, int n) {
  double frequency[ROPE_BLOCK];
  float own[2 * ROPE_BLOCK];
  int half = r->d / 2, fresh = r->table && r->told ? 0 : n;
  for (int i = 0; i < fresh; i++) frequency[i] = pow(r->base, -2.0 * (first + i) / r->d);
  for (int row = 0; row < r->rows; row++) {
    float *c = r->table ? r->table + (size_t)row * r->d + first : own, *s = r->table ? c + half : own + ROPE_BLOCK;
    for (int i = 0; i < fresh; i++) {
      sincos_small(r->position[row] * frequency[i], &s[i], &c[i]);
      if (r->back) s[i] = -s[i];
    }
    for (int h = 0; h < r->heads; h++) {
      float *x = r->x + (size_t)row * r->stride + (size_t)h * r->d + first, *z = x + half;
      EACH(n, vf a = get(x + i, w); vf b = get(z + i, w); vf cc = get(c + i, w); vf ss = get(s + i, w);
           put(x + i, v_fnma(b, ss, v_mul(a, cc)), w); put(z + i, v_fma(a, ss, v_mul(b, cc)), w););
    }
  }
}
void V(rope)(const struct rope *r) {
  for (int i = 0; i < r->d / 2; i += ROPE_BLOCK) rope_pairs(r, i, r->d / 2 - i < ROPE_BLOCK ? r->d / 2 - i : ROPE_BLOCK);
}

void V(embed_forward)(const struct embed_bag *e) {
  for (int p = 0; p < e->rows; p++) {
    float *out = e->out + (size_t)p * e->c;
    for (int32_t k = e->start[p]; k < e->start[p + 1]; k++) {
      const float *t = e->table + (size_t)e->id[k] * e->c;
      vf a = v_set1(e->weight ? e->weight[k] : 1.0f);
      EACH(e->c, put(out + i, v_fma(a, get(t + i, w), get(out + i, w)), w););
    }
  }
}
void V(embed_backward)(const struct embed_bag_back *b) {
  const struct embed_bag *e = &b->f;
  for (int p = 0; p < e->rows; p++) {
    const float *dout = b->dout + (size_t)p * e->c;
    for (int32_t k = e->start[p]; k < e->start[p + 1]; k++) {
      float *t = b->dtable + (size_t)e->id[k] * e->c;
      vf a = v_set1(e->weight ? e->weight[k] : 1.0f);
      EACH(e->c, put(t + i, v_fma(a, get(dout + i, w), get(t + i, w)), w););
    }
  }
}

void V(add)(size_t n, const float *x, float *y) { EACH(n, put(y + i, v_add(get(y + i, w), get(x + i, w)), w);); }
void V(axpy)(size_t n, float a, const float *x, float *y) {
  vf k = v_set1(a);
  EACH(n, put(y + i, v_fma(k, get(x + i, w), get(y + i, w)), w););
}
void V(scale)(size_t n, float a, float *x) {
  vf k = v_set1(a);
  EACH(n, put(x + i, v_mul(k, get(x + i, w)), w););
}
void V(mul)(size_t n, const float *x, float *y) { EACH(n, put(y + i, v_mul(get(y + i, w), get(x + i, w)), w);); }

double V(dot)(size_t n, const float *x, const float *y) {
  vd lo = vd_zero(), hi = vd_zero();
  EACH(n, vf a = get(x + i, w); vf b = get(y + i, w); lo = vd_fma(vd_low(a), vd_low(b), lo); hi = vd_fma(vd_high(a), vd_high(b), hi););
  return vd_sum(vd_add(lo, hi));
}
double V(sumsq)(size_t n, const float *x) { return V(dot)(n, x, x); }

/* 64 rows are added in f32 before the sum goes on to the total: short chains keep the rounding small */
void V(col_sum)(int rows, int c, const float *x, int stride, float *out) {
  EACH(
      c, vf total = get(out + i, w); for (int r0 = 0; r0 < rows; r0 += 64) {
        int end = rows - r0 < 64 ? rows : r0 + 64;
        vf s = v_zero();
        for (int r = r0; r < end; r++) s = v_add(s, get(x + (size_t)r * (size_t)stride + i, w));
        total = v_add(total, s);
      } put(out + i, total, w););
}

float V(logsumexp)(size_t n, const float *x) {
  vf top = v_set1(-INFINITY);
  EACH(n, vf v = get(x + i, w); top = v_max(w == VW ? v : v_select(v_first(w), v, top), top););
  float m = v_max_all(top);
  if (isinf(m)) return logsumexp_infinite(n, x, m);
  vd lo = vd_zero(), hi = vd_zero();
  vf shift = v_set1(m);
  EACH(n, vf e = keep_first(v_exp(v_sub(get(x + i, w), shift)), w); lo = vd_add(lo, vd_low(e)); hi = vd_add(hi, vd_high(e)););
  return (float)(m + log(vd_sum(vd_add(lo, hi))));
}

double V(exp_scaled)(size_t n, float a, float b, const float *x, float *y) {
  vd lo = vd_zero(), hi = vd_zero();
  vf k = v_set1(a), shift = v_set1(b);
  EACH(n, vf e = v_mul(k, v_exp(v_sub(get(x + i, w), shift))); put(y + i, e, w); e = keep_first(e, w); lo = vd_add(lo, vd_low(e));
       hi = vd_add(hi, vd_high(e)););
  return vd_sum(vd_add(lo, hi));
}

/* Philox4x32-10 (Salmon et al. 2011), one block of four words a lane. Lanes take their blocks in the order that makes the
 * words of four lanes, transposed, come out as consecutive elements. Factors of VW blocks from `base`: low halves, high halves. */
static void dropout_factors(uint64_t base, uint64_t seed, uint64_t stream, uint32_t threshold, float keep, float *low, float *high) {
#define FOUR(l) l, l + VW / 4, l + VW / 2, l + 3 * VW / 4
  static const int32_t offset[] = {FOUR(0), FOUR(1), FOUR(2), FOUR(3)};
#undef FOUR
  vi c[4][2]; /* words of blocks in even lanes, in odd ones; what the upper halves of their 64 bits hold is not looked at */
  c[0][0] = vi_add(vi_set1((int32_t)(uint32_t)base), vi_load(offset)), c[0][1] = vi_odd(c[0][0]);
  c[1][0] = c[1][1] = vi_set1((int32_t)(uint32_t)(base >> 32));
  c[2][0] = c[2][1] = vi_set1((int32_t)(uint32_t)stream), c[3][0] = c[3][1] = vi_set1((int32_t)(uint32_t)(stream >> 32));
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  UNROLL for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    UNROLL for (int j = 0; j < 2; j++) {
      vi p0 = vi_mul_even(c[0][j], 0xD2511F53u), p1 = vi_mul_even(c[2][j], 0xCD9E8D57u);
      c[0][j] = vi_xor(vi_xor(vi_odd(p1), c[1][j]), vi_set1((int32_t)k0));
      c[2][j] = vi_xor(vi_xor(vi_odd(p0), c[3][j]), vi_set1((int32_t)k1));
      c[1][j] = p1, c[3][j] = p0;
    }
  }
  vi limit = vi_set1((int32_t)threshold), word[4]; /* 16-bit numbers: signed comparison will do */
  for (int j = 0; j < 4; j++) word[j] = vi_zip(c[j][0], c[j][1]);
  vf f[4], t[4];
  for (int j = 0; j < 4; j++) f[j] = v_select(vi_ge(vi_low16(word[j]), limit), v_set1(keep), v_zero());
  v_transpose4(f, t);
  for (int j = 0; j < 4; j++) v_store(low + j * VW, t[j]);
  for (int j = 0; j < 4; j++) f[j] = v_select(vi_ge(vi_high16(word[j]), limit), v_set1(keep), v_zero());
  v_transpose4(f, t);
  for (int j = 0; j < 4; j++) v_store(high + j * VW, t[j]);
}

void V(dropout)(size_t n, float p, uint64_t seed, uint64_t stream, float *x) {
  if (!(p > 0)) return;
  uint32_t threshold = dropout_threshold(p);
  float keep = p < 1 ? 1.0f / (1.0f - p) : 0.0f, factor[DROPOUT_CHUNK];
  for (size_t at = 0; at < n; at += DROPOUT_CHUNK) {
    for (int b = 0; b < DROPOUT_BLOCKS; b += VW)
      dropout_factors(at / DROPOUT_CHUNK * DROPOUT_BLOCKS + (unsigned)b, seed, stream, threshold, keep, factor + 4 * b,
                      factor + DROPOUT_CHUNK / 2 + 4 * b);
    V(mul)(n - at < DROPOUT_CHUNK ? n - at : DROPOUT_CHUNK, factor, x + at);
  }
}

void V(adamw)(const struct adamw *a) {
  vf b1 = v_set1(a->beta1), b2 = v_set1(a->beta2), c1 = v_set1(1.0f - a->beta1), c2 = v_set1(1.0f - a->beta2);
  vf gs = v_set1(a->grad_scale), lr = v_set1(a->lr), eps = v_set1(a->eps), decay = v_set1(a->decay);
  vf u1 = v_set1(1.0f / a->bias1), u2 = v_set1(1.0f / a->bias2);
  EACH(a->n, vf g = v_mul(get(a->g + i, w), gs); vf m = v_fma(b1, get(a->m + i, w), v_mul(c1, g));
       vf v = v_fma(b2, get(a->v + i, w), v_mul(v_mul(c2, g), g)); put(a->m + i, m, w); put(a->v + i, v, w);
       vf step = v_div(v_mul(m, u1), v_add(v_sqrt(v_mul(v, u2)), eps)); vf x = get(a->w + i, w);
       put(a->w + i, v_fnma(lr, v_fma(decay, x, step), x), w););
}
#endif
