/* Private: sigmoid, SwiGLU and GELU, some registers at a time. Included by elementwise_vec.h, whose get and put it uses. */
#ifndef KERNEL_ACTIVATION_VEC_H
#define KERNEL_ACTIVATION_VEC_H
#include "kernel/exp_vec.h"

/* `call` for i = 0 ... with n registers of w numbers each from there on */
#define SOME(count, call)                              \
  for (size_t i = 0; i < (size_t)(count);) {           \
    size_t left = (size_t)(count)-i;                   \
    if (left >= TOGETHER * VW) {                       \
      const int n = TOGETHER, w = VW;                  \
      call;                                            \
      i += TOGETHER * VW;                              \
    } else {                                           \
      const int n = 1, w = left < VW ? (int)left : VW; \
      call;                                            \
      i += VW;                                         \
    }                                                  \
  }

VINLINE void sigmoid_some(const float *x, float *y, const int n, int w) {
  vf s[TOGETHER];
  EVERY(n, s[j] = get(x + j * VW, w))
  v_sigmoid_some(s, n);
  EVERY(n, put(y + j * VW, s[j], w))
}
void V(sigmoid)(size_t count, const float *x, float *y){SOME(count, sigmoid_some(x + i, y + i, n, w))}

VINLINE void swiglu_some(const float *x, const float *u, float *y, const int n, int w) {
  vf g[TOGETHER], s[TOGETHER];
  EVERY(n, s[j] = g[j] = get(x + j * VW, w))
  v_sigmoid_some(s, n);
  EVERY(n, put(y + j * VW, v_mul(v_mul(g[j], s[j]), get(u + j * VW, w)), w))
}
void V(swiglu_forward)(int rows, int f, const float *gu, float *y) {
  for (; rows > 0; rows--, gu += 2 * (size_t)f, y += f) SOME(f, swiglu_some(gu + i, gu + f + i, y + i, n, w))
}
VINLINE void swiglu_some_back(const float *x, const float *u, const float *dy, float *dg, float *du, const int n, int w) {
  vf g[TOGETHER], s[TOGETHER], one = v_set1(1.0f);
  EVERY(n, s[j] = g[j] = get(x + j * VW, w))
  v_sigmoid_some(s, n);
  EVERY(n, vf d = get(dy + j * VW, w); vf silu = v_mul(g[j], s[j]); vf slope = v_fma(silu, v_sub(one, s[j]), s[j]);
        put(dg + j * VW, v_mul(v_mul(d, get(u + j * VW, w)), slope), w); put(du + j * VW, v_mul(d, silu), w))
}
void V(swiglu_backward)(int rows, int f, const float *gu, const float *dy, float *dgu) {
  for (; rows > 0; rows--, gu += 2 * (size_t)f, dgu += 2 * (size_t)f, dy += f)
    SOME(f, swiglu_some_back(gu + i, gu + f + i, dy + i, dgu + i, dgu + f + i, n, w))
}

/* sigmoid(2 u) of gelu(x) = x sigmoid(2 u) */
VINLINE void gelu_sigmoid_some(const vf *x, vf *s, const int n) {
  EVERY(n, s[j] = v_mul(v_set1(GELU_2U), v_mul(x[j], v_fma(v_mul(x[j], x[j]), v_set1(GELU_CUBIC), v_set1(1.0f)))))
  v_sigmoid_some(s, n);
}
VINLINE void gelu_some(const float *from, float *y, const int n, int w) {
  vf x[TOGETHER], s[TOGETHER];
  EVERY(n, x[j] = get(from + j * VW, w))
  gelu_sigmoid_some(x, s, n);
  EVERY(n, put(y + j * VW, v_mul(x[j], s[j]), w))
}
void V(gelu_forward)(size_t count, const float *x, float *y){SOME(count, gelu_some(x + i, y + i, n, w))} VINLINE
    void gelu_some_back(const float *from, const float *dy, float *dx, const int n, int w) {
  vf x[TOGETHER], s[TOGETHER], one = v_set1(1.0f);
  EVERY(n, x[j] = get(from + j * VW, w))
  gelu_sigmoid_some(x, s, n);
  EVERY(n, vf inner = v_mul(v_set1(GELU_2U), v_fma(v_mul(x[j], x[j]), v_set1(3.0f * GELU_CUBIC), one));
        put(dx + j * VW, v_mul(get(dy + j * VW, w), v_fma(v_mul(v_mul(x[j], s[j]), v_sub(one, s[j])), inner, s[j])), w))
}
void V(gelu_backward)(size_t count, const float *x, const float *dy, float *dx) { SOME(count, gelu_some_back(x + i, dy + i, dx + i, n, w)) }
#endif
