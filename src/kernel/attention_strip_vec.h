/* Private: one sequence and one key head prepared for attention over vec.h: memory plan, masks as intervals, packing.
 * attention_vec.h says how it is used.
 */
#ifndef KERNEL_ATTENTION_STRIP_VEC_H
#define KERNEL_ATTENTION_STRIP_VEC_H
#include <string.h>

#include "kernel/exp_vec.h"
#include "kernel/kernel_columns.h"
#include "kernel/panel_vec.h"

enum { WIDTH = 256, QS = WIDTH + 16, QB = 2 * MR };

/* One sequence and one key head at work; lengths are padded to whole tiles */
struct strip {
  const struct attention *a;
  int begin, t, tp;      /* first row; rows; rows padded to NR */
  int32_t *low, *high;   /* (tp) visible interval of each row, relative to begin */
  float *kt, *vt;        /* [tp/NR][d][NR]: keys and values with keys along the lanes */
  float *kp, *vp;        /* [dw/NR][tp][NR]: with d along the lanes */
  float *dk, *dv;        /* [dw/NR][tp][NR]: gradients gathered over the heads of the group */
  float *score, *dscore; /* tiles of one block of rows */
  float *q, *dout;       /* rows of the block, stride QS; q is scaled */
  float *qp, *dop;       /* [dw/NR][QB][NR]: the same rows with d along the lanes */
  int d, dw;             /* head size, padded to NR */
};

static float *take(float **at, size_t n) {
  float *p = *at;
  *at += (n + 15) / 16 * 16;
  return p;
}

static void strip_plan(struct strip *s, const struct attention *a, int index, bool back) {
  memset(s, 0, sizeof *s);
  s->a = a;
  s->begin = a->start[index];
  s->t = a->start[index + 1] - s->begin;
  s->tp = (s->t + NR - 1) / NR * NR;
  s->d = a->d;
  s->dw = (a->d + NR - 1) / NR * NR;
  float *at = a->scratch;
  size_t t = (size_t)s->tp, w = t * (size_t)s->dw;
  s->low = (int32_t *)(void *)take(&at, t);
  s->high = (int32_t *)(void *)take(&at, t);
  s->kt = take(&at, t * (size_t)s->d);
  s->q = take(&at, QB * QS);
  s->score = take(&at, QB * t);
  if (!back) {
    s->vp = take(&at, w);
    return;
  }
  s->vt = take(&at, t * (size_t)s->d);
  s->kp = take(&at, w);
  s->dk = take(&at, w);
  s->dv = take(&at, w);
  s->dscore = take(&at, QB * t);
  s->dout = take(&at, QB * QS);
  s->qp = take(&at, (size_t)(QB * s->dw));
  s->dop = take(&at, (size_t)(QB * s->dw));
}

/* false: no interval describes this mask */
static bool strip_bounds(struct strip *s) {
  const struct attention *a = s->a;
  for (int r = 0; r < s->t; r++) {
    s->low[r] = a->full || a->window <= 0 || r < a->window ? 0 : r - a->window + 1;
    s->high[r] = a->full ? s->t : r + 1;
    if (a->full || !a->ties) continue;
    const int64_t *time = a->time + s->begin;
    if (r > 0 && time[r] < time[r - 1]) return false;
    s->high[r] = r > 0 && time[r] == time[r - 1] ? s->high[r - 1] : r;
  }
  return true;
}

/* What the rows of a block can see together (inline: as a result in memory it waited for all stores before it): tiles [first, last), no key from `end` on */
struct span {
  int first, last, end;
};
VINLINE struct span block_span(const struct strip *s, int i, int n) {
  int low = s->t, high = 0;
  for (int r = i; r < i + n; r++) {
    int self = r < s->low[r] ? r : s->low[r], end = s->high[r] > r + 1 ? s->high[r] : r + 1;
    if (self < low) low = self;
    if (end > high) high = end;
  }
  return (struct span){low / NR, (high + NR - 1) / NR, high};
}

static void pack_transposed(const struct strip *s, const float *src, int stride, float *dst) {
  for (int j = 0; j < s->t; j += NR) {
    panel_from_columns(s->d, s->t - j < NR ? s->t - j : NR, src + (ptrdiff_t)j * stride, stride, dst + (ptrdiff_t)j * s->d);
  }
}

static void pack_rows(int rows, int padded, int d, const float *src, int stride, float *dst) {
  for (int i = 0; i < d; i += NR, dst += (ptrdiff_t)padded * NR) {
    panel_from_rows(rows, d - i < NR ? d - i : NR, src + i, stride, dst);
    memset(dst + (ptrdiff_t)rows * NR, 0, sizeof(float) * (size_t)(padded - rows) * NR);
  }
}

/* n rows of the block, times `scale`, rows beyond n zero */
static void pack_block(int n, int rows, int d, float scale, const float *src, ptrdiff_t stride, float *dst) {
  vf k = v_set1(scale);
  for (int r = 0; r < n; r++, src += stride, dst += QS) {
    for (int i = 0; i < d; i += VW) {
      int w = d - i < VW ? d - i : VW;
      v_store(dst + i, v_mul(k, v_load_n(src + i, w)));
    }
  }
  for (int r = n; r < rows; r++, dst += QS) memset(dst, 0, sizeof(float) * (size_t)d);
}
#endif
