/* Private: exp and what is made of it, over vec.h */
#ifndef KERNEL_EXP_VEC_H
#define KERNEL_EXP_VEC_H
#include "kernel/vec.h"

/* A statement for some registers in turn: of one chain of dependent steps after the other a processor's queues hold too few to keep its units busy */
enum { TOGETHER = 4 };
#define EVERY(n, statement) \
  UNROLL for (int j = 0; j < (n); j++) { statement; }

/* exp to about 1 ulp: x = k ln2 + r, a degree-6 polynomial that interpolates exp at Chebyshev nodes of |r| <= ln2/2 (relative
 * error 1.0e-8). Below -87.4 the result is 0 (AVX-512: below the smallest number that the rounding mode leaves). n <= TOGETHER. */
VINLINE void v_exp_some(vf *x, const int n) {
  vf k[TOGETHER], r[TOGETHER], q[TOGETHER];
  EVERY(n, x[j] = v_min(v_set1(89.0f), v_max(v_set1(-106.0f), x[j]))) /* the operand order lets NaN through */
  EVERY(n, k[j] = v_round(v_mul(x[j], v_set1(1.44269504f))))
  EVERY(n, r[j] = v_fnma(k[j], v_set1(0.693115234375f), x[j]))
  EVERY(n, r[j] = v_fnma(k[j], v_set1(3.194618494528623e-05f), r[j]))
  EVERY(n, q[j] = v_fma(v_set1(0.001392621346613538f), r[j], v_set1(0.00836320297157575f)))
  EVERY(n, q[j] = v_fma(q[j], r[j], v_set1(0.04166655443768795f)))
  EVERY(n, q[j] = v_fma(q[j], r[j], v_set1(0.1666657684599398f)))
  EVERY(n, q[j] = v_fma(q[j], r[j], v_set1(0.5f)))
  EVERY(n, q[j] = v_fma(v_mul(r[j], r[j]), q[j], v_add(r[j], v_set1(1.0f))))
  EVERY(n, x[j] = v_ldexp(q[j], k[j]))
}
VINLINE vf v_exp(vf x) {
  v_exp_some(&x, 1);
  return x;
}

/* 1 / (1 + exp(-x)); exp stays finite, so that the estimate of the reciprocal can be refined (a division takes longer than the exp) */
VINLINE void v_sigmoid_some(vf *x, const int n) {
  EVERY(n, x[j] = v_min(v_set1(88.0f), v_sub(v_zero(), x[j])))
  v_exp_some(x, n);
  EVERY(n, x[j] = v_add(v_set1(1.0f), x[j]))
#ifdef __AVX512F__
  vf r[TOGETHER];
  EVERY(n, r[j] = _mm512_rcp14_ps(x[j]))
  EVERY(n, x[j] = v_mul(r[j], v_fnma(x[j], r[j], v_set1(2.0f))))
#else
  EVERY(n, x[j] = v_div(v_set1(1.0f), x[j]))
#endif
}
#endif
