/* Private: attention of one new row per stream against its cache, over vec.h. Lanes are key heads (and, of few heads, several numbers of each), so
 * that a cached row is read in one piece, every lane works for heads of any size, and nothing is summed across a register but the few lanes of
 * one head. Neighbouring streams with one prefix, or the query heads that share a key head, use each load together. Every stream's sums run in
 * the same order whoever its neighbours are: a row that only they see adds zero. The including file defines V(name).
 */
#ifndef KERNEL_ATTENTION_DECODE_VEC_H
#define KERNEL_ATTENTION_DECODE_VEC_H
#include <string.h>

#include "kernel/decode_part_vec.h"

/* The same rows, with every bound inside them */
static struct decode_rows decode_seen(const struct decode_rows *r) {
  struct decode_rows s = *r;
  if (s.from > s.n) s.from = s.n;
  if (!(s.hide < s.show)) s.hide = s.show = s.from;
  if (s.show > s.n) s.show = s.n;
  if (s.hide > s.n) s.hide = s.n;
  if (s.hide < s.from) s.hide = s.from;
  if (s.show < s.hide) s.show = s.hide;
  return s;
}

/* The groups that any of n streams sees: their addresses to `to` */
static struct decode_list decode_list_of(const struct decode_part *c, const struct decode_rows *r, int n, const int8_t **to) {
  struct decode_list g = {to, 0, {INT32_MAX, INT32_MAX}, {0, 0}};
  const int shift = c->shift, rows = 1 << shift;
  for (int i = 0; i < n; i++)
    for (int part = 0; part < 2; part++) {
      int from = part ? r[i].show : r[i].from, end = part ? r[i].n : r[i].hide;
      if (from >= end) continue;
      if (from < g.begin[part]) g.begin[part] = from;
      if (end > g.end[part]) g.end[part] = end;
    }
  for (int part = 0; part < 2; part++) {
    g.begin[part] >>= shift, g.end[part] = (g.end[part] + rows - 1) >> shift;
    if (g.begin[part] > g.end[part]) g.begin[part] = g.end[part];
    if (part && g.begin[1] < g.end[0]) g.begin[1] = g.end[1] < g.end[0] ? g.end[1] : g.end[0];
    for (int row = g.begin[part] * rows; row < g.end[part] * rows; row += rows)
      to[g.n++] = r->block[row / DECODE_ROWS] + c->layer + (size_t)((row % DECODE_ROWS) >> shift) * c->bytes;
  }
  return g;
}

static int decode_registers(bool pairs, int few, int d) { return pairs ? ((d + 1) / 2 * few + VW - 1) / VW * 2 : (d * few + VW - 1) / VW; }

/* Where the lanes of a part's registers find their numbers in rows of (heads, d); -1: none. Number by number with its heads beside each other; or in
 * pairs, a register of even numbers before one of odd ones. */
static void decode_order(int32_t *from, bool pairs, int few, int heads, int stride, int d) {
  for (int r = 0; r < decode_registers(pairs, few, d); r++)
    for (int t = 0; t < VW; t++) {
      int i = pairs ? 2 * ((r / 2 * VW + t) / few) + r % 2 : (r * VW + t) / few, h = t % few;
      from[r * VW + t] = i < d && h < heads ? h * stride + i : -1;
    }
}

struct decode_numbers { /* where a part's numbers come from */
  const int32_t *from;  /* in what order; NULL: numbers lie `apart` of each other, in this order */
  int apart, heads, d, few, registers;
};
/* Them to x; returns the largest size of each head's, no number where one of them is none */
VINLINE vf decode_load(const struct decode_numbers *o, const float *p, float *x) {
  vf most = v_zero(), bad = v_zero();
  for (int r = 0; r < o->registers; r++) {
    vf v = o->from ? v_gather(p, vi_load(o->from + r * VW)) : r < o->d ? v_load_n(p + r * o->apart, o->heads) : v_zero();
    v_store(x + r * VW, v);
    most = v_max(v_max(v, v_sub(v_zero(), v)), most), bad = v_fma(v, v_zero(), bad);
  }
  return v_add(v_fold(most, o->few, true), v_fold(bad, o->few, false));
}
VINLINE vi decode_byte(const float *x, vf by) { return vi_round(v_max(v_set1(-127.0f), v_min(v_set1(127.0f), v_mul(v_load(x), by)))); }

void V(decode_keep)(const struct decode_keep *k) {
  const int lanes = decode_lanes(k->kv_heads), few = lanes > 8 ? VW : lanes, step = 2 * (lanes > 8 ? lanes : VW);
  const size_t side = decode_side(k->kv_heads, k->d);
  int32_t *from = (int32_t *)(void *)k->scratch;
  for (int head = 0; head < k->kv_heads; head += few)
    for (int values = 0; values < 2; values++) {
      struct decode_numbers o = {k->lanes ? NULL : from,
                                 k->kv_heads,
                                 k->kv_heads - head < few ? k->kv_heads - head : few,
                                 k->d,
                                 few,
                                 decode_registers(!values, few, k->d)};
      if (!k->lanes) decode_order(from, !values, few, o.heads, k->d, k->d);
      float *x = k->scratch + o.registers * VW;
      const float *kv = k->kv + values * k->kv_heads * k->d + (k->lanes ? head : head * k->d);
      const int n = lanes > 8 ? o.heads : VW;
      for (int r = 0; r < k->rows; r++, kv += k->kv_stride) {
        const struct decode_place *to = &k->to[r], *soon = &k->to[r + 8 < k->rows ? r + 8 : r];
        const int8_t *there = soon->layer + decode_scale_at(k->kv_heads, k->d, values, soon->row, head);
        _mm_prefetch((const char *)there, _MM_HINT_T0);
        there = soon->layer +
                (values ? decode_value_at(k->kv_heads, k->d, soon->row, head, 0) : decode_key_at(k->kv_heads, k->d, soon->row, head, 0));
        for (size_t b = 0; b < side << values; b += 64) _mm_prefetch((const char *)there + b, _MM_HINT_T0);
        uint16_t kept[VW];
        v_half_store(kept, v_mul(decode_load(&o, kv, x), v_set1(1 / 127.0f)));
        const vf scale = v_half(kept), by = v_div(v_set1(1.0f), v_max(scale, v_set1(DECODE_LEAST)));
        v_half_store_n((uint16_t *)(void *)(to->layer + decode_scale_at(k->kv_heads, k->d, values, to->row, head)), scale, o.heads);
        if (values) {
          int8_t *p = to->layer + decode_value_at(k->kv_heads, k->d, to->row / 2 * 2, head, 0);
          for (int i = 0; i < o.registers; i++, p += step) vi_bytes_store_half(p, decode_byte(x + i * VW, by), to->row % 2, n);
        } else {
          int8_t *p = to->layer + decode_key_at(k->kv_heads, k->d, to->row, head, 0);
          for (int i = 0; i < o.registers; i += 2, p += step)
            vi_bytes_store(p, decode_byte(x + i * VW, by), decode_byte(x + (i + 1) * VW, by), n);
        }
      }
    }
}

/* N queries: members [member, member + N) of each key head's queries of one stream, or one of N streams. */
static void decode_queries(const struct attention_decode *a, int first, int member, int N) {
  const int group = a->heads / a->kv_heads, lanes = decode_lanes(a->kv_heads), few = lanes > 8 ? VW : lanes;
  const int streams = group > 1 ? 1 : N, even = decode_even(lanes > 8), rows = decode_together(a->kv_heads);
  struct decode_rows past[DECODE_GROUP] = {{0}}, own[DECODE_GROUP] = {{0}};
  struct decode_part c;
  c.side = decode_side(a->kv_heads, a->d), c.layer = a->at, c.bytes = decode_group(a->kv_heads, a->d), c.rows = rows,
  c.shift = __builtin_ctz((unsigned)rows);
  c.lanes = lanes, c.few = few, c.step = 2 * (lanes > 8 ? lanes : VW), c.together = group > 1;
  c.keys = decode_registers(true, few, a->d) / 2, c.values = decode_registers(false, few, a->d);
  const int8_t **to = (const int8_t **)(void *)a->scratch;
  int longest = 0;
  for (int s = 0; s < streams; s++) past[s] = decode_seen(&a->prefix[first + s]);
  c.shared = decode_list_of(&c, past, streams, to), to += c.shared.n;
  for (int s = 0; s < streams; s++) {
    own[s] = decode_seen(&a->own[first + s]);
    c.own[s] = decode_list_of(&c, &own[s], 1, to), to += c.own[s].n;
    if (c.own[s].n > longest) longest = c.own[s].n;
  }
  float *after = a->scratch + ((float *)(void *)to - a->scratch + 15) / 16 * 16;
  int32_t *from = (int32_t *)(void *)after;
  float *x = after + 2 * c.keys * VW, *rest = x + 2 * c.keys * VW;
  for (int n = 0; n < N; n++, rest += (c.keys + c.values) * VW + 2 * (c.shared.n + longest) * even)
    c.q[n] = (int32_t *)(void *)rest, c.out[n] = rest + c.keys * VW, c.score[n] = c.out[n] + c.values * VW;
  const float most = fminf(DECODE_MOST, DECODE_SUM / (float)(a->d + 1));
  for (int head = 0; head < a->kv_heads; head += few) {
    struct decode_numbers o = {
        a->lanes ? NULL : from, a->heads, a->kv_heads - head < few ? a->kv_heads - head : few, a->d, few, 2 * c.keys};
    c.at = 2 * (size_t)head;
    c.out_step = a->lanes ? a->heads : VW, c.out_lanes = a->lanes ? o.heads : VW;
    if (!a->lanes) decode_order(from, true, few, o.heads, group * a->d, a->d);
    for (int n = 0; n < N; n++) {
      const ptrdiff_t at = a->lanes ? head : (head * group + member + (c.together ? n : 0)) * a->d, stream = first + (c.together ? 0 : n);
      const vf size = decode_load(&o, a->q + stream * a->q_stride + at, x), by = v_div(v_set1(most), size);
      for (int r = 0; r < c.keys; r++)
        vi_store(c.q[n] + r * VW, vi_pair(vi_round(v_mul(v_load(x + 2 * r * VW), by)), vi_round(v_mul(v_load(x + (2 * r + 1) * VW), by))));
      v_store(c.scale[n], v_mul(size, v_set1(a->scale * 1.44269504f / most)));
      if (a->lanes) c.out[n] = a->out + stream * a->out_stride + at;
    }
    decode_of[lanes > 8][N - 1](&c, past, own);
    for (int n = 0; n < N && !a->lanes; n++) {
      float *out =
          a->out + (ptrdiff_t)(first + (c.together ? 0 : n)) * a->out_stride + (head * group + member + (c.together ? n : 0)) * a->d;
      for (int h = 0; h < o.heads; h++)
        for (int i = 0; i < a->d; i++) out[h * group * a->d + i] = c.out[n][i * few + h];
    }
  }
}

void V(attention_decode)(const struct attention_decode *a) {
  const int group = a->heads / a->kv_heads;
  for (int first = 0, S = 1; first < a->streams; first += S) {
    for (S = 1; S < DECODE_GROUP && first + S < a->streams && group == 1; S++) {
      const struct decode_rows *p = &a->prefix[first], *other = &a->prefix[first + S];
      if (other->block != p->block || other->n != p->n) break;
    }
    if (group == 1) decode_queries(a, first, 0, S);
    for (int member = 0; member < group && group > 1; member += DECODE_GROUP)
      decode_queries(a, first, member, group - member < DECODE_GROUP ? group - member : DECODE_GROUP);
  }
}
#endif
