/* Private: attention of one new row per stream against its cache, over vec.h. Lanes are key heads (and, of few heads, several numbers of each), so
 * that a cached row is read in one piece, every lane works for heads of any size, and nothing is summed across a register but the few lanes of
 * one head. Neighbouring streams with one prefix, or the query heads that share a key head, use each load together. Every stream's sums run in
 * the same order whoever its neighbours are: a row that only they see adds zero. The including file defines V(name).
 */
#ifndef KERNEL_ATTENTION_DECODE_VEC_H
#define KERNEL_ATTENTION_DECODE_VEC_H
#include <string.h>

#include "kernel/decode_part_vec.h"

static struct decode_list decode_list_of(const struct decode_rows *r) {
  bool gap = r->hide < r->show;
  int from = r->from < r->n ? r->from : r->n, hide = gap ? r->hide : from, show = gap ? r->show : from;
  if (hide > r->n) hide = r->n;
  if (hide < from) hide = from;
  if (show > r->n) show = r->n;
  return (struct decode_list){r->block, {from, show < hide ? hide : show}, {hide, r->n}};
}

/* What any of them sees */
static struct decode_list decode_union(const struct decode_list *g, int n) {
  struct decode_list all = g[0];
  for (int i = 1; i < n; i++) {
    if (g[i].begin[0] < all.begin[0]) all.begin[0] = g[i].begin[0];
    if (g[i].end[0] > all.end[0]) all.end[0] = g[i].end[0];
    if (g[i].begin[1] < all.begin[1]) all.begin[1] = g[i].begin[1];
  }
  if (all.begin[1] < all.end[0]) all.begin[1] = all.end[0];
  return all;
}

/* Where the lanes of a part's registers find their numbers in rows of (heads, d): numbers of `heads` heads, `stride` apart; the rest find the first
 * one, and nobody reads what comes of it. */
static int decode_order(int32_t *from, int few, int heads, int stride, int d) {
  int n = (d * few + VW - 1) / VW * VW;
  for (int i = 0; i * few < n; i++)
    for (int h = 0; h < few && i * few + h < n; h++) from[i * few + h] = i < d && h < heads ? h * stride + i : 0;
  return n;
}

void V(decode_keep)(const struct decode_keep *k) {
  const int lanes = decode_lanes(k->kv_heads), scales = decode_scales(k->kv_heads), few = lanes > 8 ? VW : lanes;
  const int step = lanes > 8 ? lanes : VW;
  const size_t side = decode_side(k->kv_heads, k->d), half = decode_row(k->kv_heads, k->d) / 2;
  int32_t *from = (int32_t *)(void *)k->scratch;
  for (int head = 0; head < k->kv_heads; head += few) {
    const int heads = k->kv_heads - head < few ? k->kv_heads - head : few, n = lanes > 8 ? heads : VW;
    const int registers = decode_order(from, few, heads, k->d, k->d) / VW;
    const vm rest = v_first((k->d * few - 1) % VW + 1);
    float *x = k->scratch + registers * VW;
    for (int r = 0; r < 2 * k->rows; r++) {
      const float *kv = k->kv + (ptrdiff_t)(r / 2) * k->kv_stride + r % 2 * k->kv_heads * k->d + (k->lanes ? head : head * k->d);
      int8_t *to = k->to[r / 2] + r % 2 * half;
      for (size_t i = 0; i < half && r / 2 + 8 < k->rows; i += 64)
        _mm_prefetch((const char *)k->to[r / 2 + 8] + r % 2 * half + i, _MM_HINT_T0);
      vf most = v_zero(), bad = v_zero();
      for (int i = 0; i < registers; i++) {
        vf v = k->lanes ? v_load_n(kv + i * k->kv_heads, heads) : v_gather(kv, vi_load(from + i * VW));
        if (!k->lanes && i + 1 == registers) v = v_select(rest, v, v_zero());
        v_store(x + i * VW, v);
        most = v_max(v_max(v, v_sub(v_zero(), v)), most), bad = v_fma(v, v_zero(), bad);
      }
      float scale[VW];
      v_store(scale, v_add(v_mul(most, v_set1(1 / 127.0f)), bad));
      for (int l = few; l < VW; l++) scale[l % few] = isnan(scale[l % few]) || scale[l % few] > scale[l] ? scale[l % few] : scale[l];
      for (int l = few; l < VW; l++) scale[l] = scale[l % few];
      uint16_t kept[VW];
      v_half_store(kept, v_load(scale));
      vf inverse = v_div(v_set1(1.0f), v_max(v_half(kept), v_set1(DECODE_LEAST)));
      for (int i = 0; i < registers; i++) v_bytes_store(to + head + i * step, v_mul(v_load(x + i * VW), inverse), n);
      for (int l = 0; l < (lanes > 8 ? 1 : scales); l += VW) memcpy(to + side + 2 * (head + l), kept, 2 * (size_t)n);
    }
  }
}

/* N queries: members [member, member + N) of each key head's queries of one stream, or one of N streams. */
static void decode_queries(const struct attention_decode *a, int first, int member, int N) {
  const int group = a->heads / a->kv_heads, lanes = decode_lanes(a->kv_heads), few = lanes > 8 ? VW : lanes;
  struct decode_part c = {.row = decode_row(a->kv_heads, a->d), .together = group > 1};
  struct decode_list mine[DECODE_GROUP] = {{NULL, {0, 0}, {0, 0}}};
  c.lanes = few, c.step = lanes > 8 ? lanes : VW, c.registers = (a->d * few + VW - 1) / VW;
  const vm rest = v_first((a->d * few - 1) % VW + 1); /* lanes of the last register that hold numbers */
  const int streams = c.together ? 1 : N;
  int longest = 0;
  for (int s = 0; s < streams; s++) {
    mine[s] = decode_list_of(&a->prefix[first + s]), c.own[s] = decode_list_of(&a->own[first + s]);
    int rows = c.own[s].end[0] - c.own[s].begin[0] + c.own[s].end[1] - c.own[s].begin[1];
    if (rows > longest) longest = rows;
  }
  c.shared = decode_union(mine, streams);
  c.next = a->own + first + streams, c.nexts = a->streams - first - streams;
  int32_t *from = (int32_t *)(void *)a->scratch;
  size_t rows = (size_t)(c.shared.end[0] - c.shared.begin[0] + c.shared.end[1] - c.shared.begin[1] + longest),
         at = 2 * (size_t)c.registers * VW;
  for (int n = 0; n < N; n++) {
    c.q[n] = a->scratch + at, c.out[n] = c.q[n] + c.registers * VW, c.score[n] = c.out[n] + c.registers * VW;
    at += (2 * (size_t)c.registers + rows) * VW;
  }
  for (int head = 0; head < a->kv_heads; head += few) {
    int heads = a->kv_heads - head < few ? a->kv_heads - head : few;
    c.at = a->at + (size_t)head, c.half = c.row / 2, c.scales = decode_side(a->kv_heads, a->d) + (size_t)head;
    c.out_step = c.out_lanes = VW;
    if (a->lanes) {
      c.out_step = a->heads, c.out_lanes = heads;
      for (int n = 0; n < N; n++) {
        const float *q = a->q + (ptrdiff_t)(first + n) * a->q_stride + head;
        c.out[n] = a->out + (ptrdiff_t)(first + n) * a->out_stride + head;
        for (int r = 0; r < c.registers; r++) v_store(c.q[n] + r * VW, v_mul(v_load_n(q + r * a->heads, heads), v_set1(a->scale)));
      }
      decode_part_of[N - 1](&c, mine);
      continue;
    }
    decode_order(from, few, heads, group * a->d, a->d);
    for (int n = 0; n < N; n++) {
      const float *q =
          a->q + (ptrdiff_t)(first + (c.together ? 0 : n)) * a->q_stride + (head * group + member + (c.together ? n : 0)) * a->d;
      for (int r = 0; r < c.registers; r++) {
        vf x = v_mul(v_gather(q, vi_load(from + r * VW)), v_set1(a->scale));
        v_store(c.q[n] + r * VW, r + 1 == c.registers ? v_select(rest, x, v_zero()) : x);
      }
    }
    decode_part_of[N - 1](&c, mine);
    for (int n = 0; n < N; n++) {
      float *out =
          a->out + (ptrdiff_t)(first + (c.together ? 0 : n)) * a->out_stride + (head * group + member + (c.together ? n : 0)) * a->d;
      for (int h = 0; h < heads; h++)
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
