/* Weights in memory: matrices packed once for the vector units, gains as floats; everything else stays in the mapped file. */
#include <math.h>

#include "base/file.h"
#include "model/lm_internal.h"

struct loading {
  struct lm *m;
  struct {
    struct lm_weight *w;
    size_t bytes;
  } * pack;
  size_t n, cap, bytes;
  atomic_int next;
};

static int want_matrix(struct loading *l, const char *name, const char *bias, int layer, int rows, int columns, struct lm_weight *w,
                       struct error *e) {
  struct lm *m = l->m;
  struct lm_tensor b;
  TRY(lm_tensor_find(&m->source, &m->shape, name, layer, &w->plain, e));
  w->rows = rows;
  w->columns = columns;
  if (bias) {
    TRY(lm_tensor_find(&m->source, &m->shape, bias, layer, &b, e));
    float *f = b.data ? arena_array(&m->arena, float, (size_t)rows) : NULL;
    if (b.data && !f) return error_set(e, E_NOMEM, "no memory for a model's biases");
    if (f) quant_dequantise(b.type, b.data, (size_t)rows, f);
    w->bias = f;
  }
  size_t bytes = quant_plan(w->plain.type, rows, columns, &w->packed);
  if (!bytes && m->shape.family == LM_BERT && m->quant->word_product) {
    w->words = (struct word_matrix){.rows = rows, .columns = columns};
    bytes = word_matrix_bytes(rows, columns);
  }
  if (!bytes) return OK;
  l->pack[l->n].w = w;
  l->pack[l->n++].bytes = (bytes + 4096 + 63) / 64 * 64; /* the last block is prefetched past its end */
  l->bytes += (bytes + 4096 + 63) / 64 * 64;
  return OK;
}

/* The first n values; NULL where there are none. */
static int want_vector(struct lm *m, const char *name, int layer, size_t n, const float **out, struct error *e) {
  struct lm_tensor t;
  TRY(lm_tensor_find(&m->source, &m->shape, name, layer, &t, e));
  if (!t.data) return OK;
  float *f = arena_array(&m->arena, float, n);
  if (!f) return error_set(e, E_NOMEM, "no memory for a model's vectors");
  quant_dequantise(t.type, t.data, n, f);
  if (m->shape.gain_plus_one)
    for (size_t i = 0; i < n; i++) f[i] += 1;
  *out = f;
  return OK;
}

static int want_layer(struct loading *l, int i, struct error *e) {
  struct lm *m = l->m;
  const struct lm_shape *s = &m->shape;
  struct lm_layer *y = &m->layer[i];
  int q = s->heads * s->head, kv = s->kv_heads * s->head, c = s->width;
  size_t n = (size_t)c, head = (size_t)s->head;
  TRY(want_matrix(l, "blk.%d.attn_q.weight", "blk.%d.attn_q.bias", i, q, c, &y->q, e));
  TRY(want_matrix(l, "blk.%d.attn_k.weight", "blk.%d.attn_k.bias", i, kv, c, &y->k, e));
  TRY(want_matrix(l, "blk.%d.attn_v.weight", "blk.%d.attn_v.bias", i, kv, c, &y->v, e));
  TRY(want_matrix(l, "blk.%d.attn_output.weight", "blk.%d.attn_output.bias", i, c, q, &y->o, e));
  TRY(want_matrix(l, "blk.%d.ffn_up.weight", "blk.%d.ffn_up.bias", i, s->ff, c, &y->up, e));
  TRY(want_matrix(l, "blk.%d.ffn_down.weight", "blk.%d.ffn_down.bias", i, c, s->ff, &y->down, e));
  if (s->family == LM_BERT) {
    TRY(want_vector(m, "blk.%d.attn_output_norm.weight", i, n, &y->attention_norm, e));
    TRY(want_vector(m, "blk.%d.attn_output_norm.bias", i, n, &y->attention_shift, e));
    TRY(want_vector(m, "blk.%d.layer_output_norm.weight", i, n, &y->ff_norm, e));
    TRY(want_vector(m, "blk.%d.layer_output_norm.bias", i, n, &y->ff_shift, e));
  } else {
    TRY(want_matrix(l, "blk.%d.ffn_gate.weight", "blk.%d.ffn_gate.bias", i, s->ff, c, &y->gate, e));
    TRY(want_vector(m, "blk.%d.attn_norm.weight", i, n, &y->attention_norm, e));
    TRY(want_vector(m, "blk.%d.ffn_norm.weight", i, n, &y->ff_norm, e));
  }
  if (s->family == LM_GEMMA2 || s->family == LM_GEMMA3) {
    TRY(want_vector(m, "blk.%d.post_attention_norm.weight", i, n, &y->attention_post, e));
    TRY(want_vector(m, "blk.%d.post_ffw_norm.weight", i, n, &y->ff_post, e));
  }
  if (s->family == LM_GEMMA3 || s->family == LM_QWEN3) {
    TRY(want_vector(m, "blk.%d.attn_q_norm.weight", i, head, &y->q_norm, e));
    TRY(want_vector(m, "blk.%d.attn_k_norm.weight", i, head, &y->k_norm, e));
  }
  return OK;
}

static int want_ends(struct loading *l, struct error *e) {
  struct lm *m = l->m;
  const struct lm_shape *s = &m->shape;
  struct lm_tensor output;
  size_t width = (size_t)s->width;
  TRY(lm_tensor_find(&m->source, s, "token_embd.weight", 0, &m->embedding, e));
  if (s->family == LM_BERT) {
    TRY(want_vector(m, "token_embd_norm.weight", 0, width, &m->output_norm, e));
    TRY(want_vector(m, "token_embd_norm.bias", 0, width, &m->output_shift, e));
    TRY(want_vector(m, "position_embd.weight", 0, (size_t)s->context * width, &m->position, e));
    return want_vector(m, "token_types.weight", 0, width, &m->segment, e);
  }
  TRY(want_vector(m, "output_norm.weight", 0, width, &m->output_norm, e));
  TRY(lm_tensor_find(&m->source, s, "output.weight", 0, &output, e));
  return want_matrix(l, output.data ? "output.weight" : "token_embd.weight", NULL, 0, (int)s->vocabulary, s->width, &m->output, e);
}

/* Angles per position, by the family's base and scaling (Su et al. 2021; Llama 3.1's rule for its long context). */
static int make_frequencies(struct lm *m, struct error *e) {
  const struct lm_shape *s = &m->shape;
  struct lm_tensor factors;
  int n = s->head / 2;
  m->frequency = arena_array(&m->arena, float, (size_t)n);
  m->frequency_local = arena_array(&m->arena, float, (size_t)n);
  float *factor = arena_array(&m->arena, float, (size_t)n);
  if (!m->frequency || !m->frequency_local || !factor) return error_set(e, E_NOMEM, "no memory for a model's frequencies");
  for (int i = 0; i < n; i++) factor[i] = 1;
  TRY(lm_tensor_find(&m->source, s, "rope_freqs.weight", 0, &factors, e));
  if (factors.data) memcpy(factor, factors.data, (size_t)n * 4);
  for (int i = 0; i < n; i++) {
    double f = pow(s->rope_base, -2.0 * i / s->head);
    if (s->llama3_factor > 0) {
      double wave = 2 * 3.14159265358979323846 / f, low = s->llama3_context / s->llama3_low, high = s->llama3_context / s->llama3_high;
      double smooth = (s->llama3_context / wave - s->llama3_low) / (s->llama3_high - s->llama3_low);
      if (wave > low)
        f /= s->llama3_factor;
      else if (wave >= high)
        f = (1 - smooth) * f / s->llama3_factor + smooth * f;
    }
    m->frequency[i] = (float)(f / (double)factor[i] / (double)s->rope_scale);
    m->frequency_local[i] = (float)pow(s->rope_base_local, -2.0 * i / s->head);
  }
  return OK;
}

static void pack_all(void *ctx, int worker, int workers) {
  struct loading *l = ctx;
  (void)worker, (void)workers;
  for (;;) {
    size_t i = (size_t)atomic_fetch_add(&l->next, 1);
    if (i >= l->n) return;
    struct lm_weight *w = l->pack[i].w;
    if (w->words.packed)
      word_matrix_pack(&w->words, w->plain.type, w->plain.data, (void *)(uintptr_t)w->words.packed, 0, (w->rows + 15) / 16);
    else
      quant_pack(&w->packed, w->plain.data, (void *)(uintptr_t)w->packed.packed, 0, quant_groups(&w->packed));
  }
}

int lm_weights_load(struct lm *m, struct error *e) {
  struct loading l = {.m = m};
  size_t most = (size_t)m->shape.layers * 7 + 1;
  m->layer = arena_array(&m->arena, struct lm_layer, (size_t)m->shape.layers);
  l.pack = arena_alloc_array(&m->arena, sizeof *l.pack, most, 8);
  if (!m->layer || !l.pack) return error_set(e, E_NOMEM, "no memory for a model's tables");
  TRY(want_ends(&l, e));
  for (int i = 0; i < m->shape.layers; i++) TRY(want_layer(&l, i, e));
  TRY(make_frequencies(m, e));
  m->wide = lm_keeps_floats(&m->source, &m->shape);
  if (!l.n) return OK;
  m->memory_bytes = l.bytes;
  m->memory = mem_alloc_aligned(l.bytes);
  if (!m->memory) return error_set(e, E_NOMEM, "no memory for a model's weights (%zu MB)", l.bytes >> 20);
  uint8_t *at = m->memory;
  for (size_t i = 0; i < l.n; i++) {
    struct lm_weight *w = l.pack[i].w;
    *(w->words.rows ? &w->words.packed : &w->packed.packed) = at;
    at += l.pack[i].bytes;
  }
  pool_run(m->pool, pack_all, &l);
  return OK;
}
