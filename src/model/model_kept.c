/* Lives that begin as another does. In a causal model a position depends on itself and on what came before, so of a life that differs from a
 * kept one from some position on, only the rest is computed, after the kept keys and values: the same sums in the same order, the same bits. */
#include "model/model_internal.h"
#include "token/token.h"

#define KEPT_LIMIT ((size_t)96 << 20) /* bytes; beyond, whole forward passes cost less than what keeping takes */

int model_kept_new(const struct model *m, int positions, struct model_kept **out, struct error *e) {
  *out = NULL;
  size_t cap = (size_t)positions, row = 2 * (size_t)kv_width(&m->config), d = (size_t)m->config.d;
  size_t floats = cap * (2 * row * (size_t)m->config.layers + 2 * d);
  if (m->config.mask == MASK_FULL || positions < 1 || floats * sizeof(float) > KEPT_LIMIT) return OK;
  struct model_kept *k = mem_alloc(sizeof *k);
  if (!k) return error_set(e, E_NOMEM, "no memory to keep a life");
  *k = (struct model_kept){.cap = positions, .row = row, .bytes = floats * sizeof(float)};
  k->memory = mem_alloc_aligned(k->bytes);
  if (!k->memory) {
    mem_free(k);
    return error_set(e, E_NOMEM, "no memory to keep a life");
  }
  k->kv = k->memory;
  k->now_kv = k->kv + cap * row * (size_t)m->config.layers;
  k->hidden = k->now_kv + cap * row * (size_t)m->config.layers;
  k->now_hidden = k->hidden + cap * d;
  *out = k;
  return OK;
}

void model_kept_free(struct model_kept *k) {
  if (!k) return;
  mem_free_aligned(k->memory, k->bytes);
  mem_free(k);
}

static void copy_rows(const struct model *m, const float *qkv, int rows, float *to) {
  size_t width = (size_t)qkv_width(&m->config), kv = 2 * (size_t)kv_width(&m->config);
  for (size_t r = 0; r < (size_t)rows; r++) memcpy(to + r * kv, qkv + r * width + (width - kv), kv * sizeof *to);
}

void kept_layer(const struct model *m, struct model_kept *k, int l, const float *qkv, int rows) {
  copy_rows(m, qkv, rows, k->kv + (size_t)l * (size_t)k->cap * k->row);
}

int model_kept_same(const struct token_batch *kept, const struct token_batch *b, int sequence) {
  int from = b->seq_start[sequence], n = b->seq_start[sequence + 1] - from, p = 0;
  if (n > kept->positions) n = kept->positions;
  for (; p < n; p++) {
    int r = from + p, x = kept->entry_start[p], y = b->entry_start[r], entries = kept->entry_start[p + 1] - x;
    bool same = entries == b->entry_start[r + 1] - y && kept->time[p] == b->time[r] &&
                memcmp(kept->rope_index + p, b->rope_index + r, sizeof(float)) == 0 &&
                memcmp(kept->rope_time + p, b->rope_time + r, sizeof(float)) == 0 &&
                memcmp(kept->time_feature + (size_t)p * TOKEN_TIME_FEATURES, b->time_feature + (size_t)r * TOKEN_TIME_FEATURES,
                       TOKEN_TIME_FEATURES * sizeof(float)) == 0 &&
                (!entries || (memcmp(kept->entry_id + x, b->entry_id + y, (size_t)entries * sizeof *b->entry_id) == 0 &&
                              memcmp(kept->entry_weight + x, b->entry_weight + y, (size_t)entries * sizeof *b->entry_weight) == 0));
    if (!same) break;
  }
  return p;
}

/* What an earlier continuation has left behind before `same` becomes the kept life's again. */
static void restore(const struct model *m, struct model_kept *k, int same) {
  if (k->clean < same) {
    size_t at = (size_t)k->clean, n = (size_t)(same - k->clean), d = (size_t)m->config.d;
    for (int l = 0; l < m->config.layers; l++) {
      size_t row = ((size_t)l * (size_t)k->cap + at) * k->row;
      memcpy(k->now_kv + row, k->kv + row, n * k->row * sizeof *k->kv);
    }
    memcpy(k->now_hidden + at * d, k->hidden + at * d, n * d * sizeof *k->hidden);
  }
  k->clean = same;
}

static struct token_batch rows_of(const struct token_batch *b, int from, int rows) {
  struct token_batch t = *b;
  t.positions = rows;
  t.entry_start += from, t.rope_index += from, t.rope_time += from, t.time += from;
  t.time_feature += (size_t)from * TOKEN_TIME_FEATURES;
  return t;
}

int model_forward_after(const struct model *m, struct model_workspace *w, const struct token_batch *b, int sequence, int same,
                        struct model_kept *k, const float **hidden, struct error *e) {
  int begin = b->seq_start[sequence], n = b->seq_start[sequence + 1] - begin, rows = n - same, layers = m->config.layers;
  const int32_t start[2] = {0, n};
  size_t d = (size_t)m->config.d;
  TRY(batch_check(m, w, b, e));
  if (same < 0 || same > n || same > k->n || n > k->cap) return error_set(e, E_USAGE, "a life that does not begin as the kept one");
  restore(m, k, same);
  *hidden = k->now_hidden;
  if (!rows) return OK;
  struct token_batch rest = rows_of(b, begin + same, rows);
  w->dropout = 0;
  model_embed(m, w, &rest, w->layer[0].x + (size_t)same * d);
  w->eight = true;
  for (int l = 0; l < layers; l++) {
    const struct layer_state *s = &w->layer[l];
    struct layer_state t = layer_rows(&m->config, s, same);
    struct attention a;
    float *kv = k->now_kv + (size_t)l * (size_t)k->cap * k->row;
    block_qkv(m, w, &rest, l, t.x, &t);
    copy_rows(m, t.qkv, rows, kv + (size_t)same * k->row);
    attention_describe(m, w, b, s, &a);
    a.sequences = 1, a.start = start, a.time = b->time + begin, a.skip = same;
    a.k = kv, a.v = kv + kv_width(&m->config), a.k_stride = a.v_stride = (int)k->row;
    m->kernel->attention_forward(&a);
    block_rest_pieces(m, w, rows, l, &t, (l + 1 < layers ? w->layer[l + 1].x : w->last) + (size_t)same * d);
  }
  w->eight = false;
  final_norm(m, w, same, rows, w->last + (size_t)same * d);
  memcpy(k->now_hidden + (size_t)same * d, w->hidden + (size_t)same * d, (size_t)rows * d * sizeof *w->hidden);
  return OK;
}
