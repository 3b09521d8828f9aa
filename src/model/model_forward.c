/* The forward pass, a block at a time, so that the cached decoder (model_cache.c) runs the same code. */
#include <math.h>

#include "model/model_cache.h"
#include "token/token.h"

void linear_forward(const struct model *m, struct model_workspace *w, int rows, int in, int out, const float *x, ptrdiff_t weight,
                    ptrdiff_t bias, float beta, float *y) {
  const struct model_quant *q = w->quant_scratch ? w->quant : w->eight ? m->quant : NULL;
  void *scratch = w->quant_scratch ? w->quant_scratch : w->eight_scratch;
  if (q && model_quant_linear(m, q, scratch, rows, in, out, x, weight, bias, y)) return;
  m->kernel->gemm(&(struct gemm){.m = rows,
                                 .n = out,
                                 .k = in,
                                 .tb = true,
                                 .a = x,
                                 .lda = in,
                                 .b = m->weight + weight,
                                 .ldb = in,
                                 .packed = model_packed(laid_out(m, w), weight, in, out),
                                 .beta = beta,
                                 .bias = weight_at(m, bias),
                                 .c = y,
                                 .ldc = out,
                                 .scratch = w->gemm_scratch});
}

void norm_describe(const struct model *m, int rows, const float *x, ptrdiff_t gain, ptrdiff_t shift, float *y, float *mean, float *rstd,
                   struct norm *n) {
  *n = (struct norm){.kind = m->config.norm == MODEL_NORM_RMS ? NORM_RMS : NORM_LAYER,
                     .rows = rows,
                     .c = m->config.d,
                     .eps = m->config.norm_eps,
                     .x = x,
                     .gain = m->weight + gain,
                     .shift = weight_at(m, shift),
                     .y = y,
                     .mean = mean,
                     .rstd = rstd};
}

void attention_describe(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct layer_state *s,
                        struct attention *a) {
  const struct model_config *c = &m->config;
  int hd = head_size(c), width = qkv_width(c);
  *a = (struct attention){.sequences = b->sequences,
                          .start = b->seq_start,
                          .heads = c->heads,
                          .kv_heads = c->kv_heads,
                          .d = hd,
                          .scale = 1.0f / sqrtf((float)hd),
                          .full = c->mask == MASK_FULL,
                          .ties = c->mask == MASK_CAUSAL_NO_TIES,
                          .window = c->window,
                          .time = b->time,
                          .q = s->qkv,
                          .k = s->qkv + c->heads * hd,
                          .v = s->qkv + (c->heads + c->kv_heads) * hd,
                          .q_stride = width,
                          .k_stride = width,
                          .v_stride = width,
                          .out = s->att,
                          .out_stride = c->d,
                          .lse = s->lse,
                          .scratch = w->attention_scratch};
}

int batch_check(const struct model *m, const struct model_workspace *w, const struct token_batch *b, struct error *e) {
  if (b->positions > w->positions)
    return error_set(e, E_LIMIT, "batch of %d positions is longer than the workspace (%d)", b->positions, w->positions);
  if (b->positions < 1 || b->sequences < 1) return error_set(e, E_USAGE, "empty batch");
  for (int s = 0; s < b->sequences; s++) {
    int n = b->seq_start[s + 1] - b->seq_start[s];
    if (n < 1 || n > m->config.context)
      return error_set(e, E_LIMIT, "sequence of %d positions; the model's context is %d", n, m->config.context);
  }
  for (int i = 0; i < b->entries; i++)
    if ((uint32_t)b->entry_id[i] >= m->config.rows) return error_set(e, E_MISMATCH, "batch was packed with another vocabulary");
  return OK;
}

static size_t position_row(const struct model *m, const struct token_batch *b, int p) {
  int r = (int)b->rope_index[p];
  return (size_t)(r < 0 ? 0 : r >= m->config.context ? m->config.context - 1 : r);
}

void model_embed(const struct model *m, struct model_workspace *w, const struct token_batch *b, float *x) {
  size_t d = (size_t)m->config.d;
  linear_forward(m, w, b->positions, TOKEN_TIME_FEATURES, (int)d, b->time_feature, m->time, ABSENT, 0, x);
  if (m->config.embed_root) m->kernel->scale((size_t)b->positions * d, 1 / sqrtf((float)d), x);
  m->kernel->embed_forward(&(struct embed_bag){.rows = b->positions,
                                               .c = (int)d,
                                               .start = b->entry_start,
                                               .id = b->entry_id,
                                               .weight = b->entry_weight,
                                               .table = m->weight + m->table,
                                               .out = x});
  if (m->config.embed_root) m->kernel->scale((size_t)b->positions * d, sqrtf((float)d), x);
  for (int p = 0; p < b->positions; p++) {
    if (b->entry_start[p] == b->entry_start[p + 1]) m->kernel->add(d, m->weight + m->moment, x + (size_t)p * d);
    if (m->position >= 0) m->kernel->add(d, m->weight + m->position + position_row(m, b, p) * d, x + (size_t)p * d);
  }
}

/* Queries and keys normed per head (qk_norm): gathered to rows of one head, because the norm works on contiguous rows. */
static void norm_heads(const struct model *m, struct model_workspace *w, int rows, int first, int heads, ptrdiff_t gain,
                       struct layer_state *s) {
  const struct model_config *c = &m->config;
  size_t hd = (size_t)head_size(c), width = (size_t)qkv_width(c), n = (size_t)heads * hd;
  float *raw = s->qk_raw + (size_t)rows * (size_t)first * hd, *rstd = s->qk_rstd + (size_t)rows * (size_t)first;
  for (size_t r = 0; r < (size_t)rows; r++) memcpy(raw + r * n, s->qkv + r * width + (size_t)first * hd, n * sizeof *raw);
  m->kernel->norm_forward(&(struct norm){.kind = NORM_RMS,
                                         .rows = rows * heads,
                                         .c = (int)hd,
                                         .eps = c->norm_eps,
                                         .x = raw,
                                         .gain = m->weight + gain,
                                         .y = w->qk_tmp,
                                         .mean = rstd,
                                         .rstd = rstd});
  for (size_t r = 0; r < (size_t)rows; r++) memcpy(s->qkv + r * width + (size_t)first * hd, w->qk_tmp + r * n, n * sizeof *raw);
}

/* Where nothing goes back, the angles are kept, for the other blocks of a pass and for passes that begin with the same positions. */
static bool turns_known(const struct model *m, struct model_workspace *w, int rows, const float *position) {
  bool known = w->turned_by == m->kernel && w->turned_n >= rows && memcmp(w->turned, position, (size_t)rows * sizeof *position) == 0;
  if (known || !w->turns) return known;
  w->turned_by = m->kernel, w->turned_n = rows;
  memcpy(w->turned, position, (size_t)rows * sizeof *position);
  return false;
}

static void rotate(const struct model *m, struct model_workspace *w, const struct token_batch *b, float *qkv) {
  const struct model_config *c = &m->config;
  if (c->position != POSITION_ROPE_INDEX && c->position != POSITION_ROPE_TIME) return;
  const float *position = c->position == POSITION_ROPE_TIME ? b->rope_time : b->rope_index;
  m->kernel->rope(&(struct rope){.rows = b->positions,
                                 .heads = c->heads + c->kv_heads,
                                 .d = head_size(c),
                                 .stride = qkv_width(c),
                                 .position = position,
                                 .base = c->rope_base,
                                 .x = qkv,
                                 .table = w->turns,
                                 .told = turns_known(m, w, b->positions, position)});
}

void block_qkv(const struct model *m, struct model_workspace *w, const struct token_batch *b, int l, const float *x,
               struct layer_state *s) {
  const struct model_config *c = &m->config;
  const struct model_block *k = &m->block[l];
  struct norm n;
  norm_describe(m, b->positions, x, k->norm1_gain, k->norm1_shift, s->n1, s->mean1, s->rstd1, &n);
  m->kernel->norm_forward(&n);
  linear_forward(m, w, b->positions, c->d, qkv_width(c), s->n1, k->qkv, k->qkv_bias, 0, s->qkv);
  if (c->qk_norm) {
    norm_heads(m, w, b->positions, 0, c->heads, k->q_norm, s);
    norm_heads(m, w, b->positions, c->heads, c->kv_heads, k->k_norm, s);
  }
  rotate(m, w, b, s->qkv);
}

static void drop(const struct model *m, const struct model_workspace *w, int rows, int site, float *x) {
  if (w->dropout > 0) m->kernel->dropout((size_t)rows * (size_t)m->config.d, w->dropout, w->seed, w->stream + (uint64_t)site, x);
}

/* From the attention's output to the MLP's activation. x and s->mid may be the same rows (nothing is kept then). */
void block_middle(const struct model *m, struct model_workspace *w, int rows, int l, const float *x, struct layer_state *s) {
  const struct model_config *c = &m->config;
  const struct model_block *k = &m->block[l];
  size_t n = (size_t)rows * (size_t)c->d;
  struct norm norm;
  linear_forward(m, w, rows, c->d, c->d, s->att, k->out, k->out_bias, 0, w->branch);
  drop(m, w, rows, 1 + 2 * l, w->branch);
  if (s->mid != x) memcpy(s->mid, x, n * sizeof *x);
  m->kernel->add(n, w->branch, s->mid);
  norm_describe(m, rows, s->mid, k->norm2_gain, k->norm2_shift, s->n2, s->mean2, s->rstd2, &norm);
  m->kernel->norm_forward(&norm);
  linear_forward(m, w, rows, c->d, up_width(c), s->n2, k->up, k->up_bias, 0, s->up);
  if (c->mlp == MLP_SWIGLU)
    m->kernel->swiglu_forward(rows, c->ff, s->up, s->act);
  else if (!w->quant_scratch)
    m->kernel->gelu_forward((size_t)rows * (size_t)c->ff, s->up, s->act);
}

/* From the attention's output to the block's output. x, s->mid and out may be the same rows. */
void block_rest(const struct model *m, struct model_workspace *w, int rows, int l, const float *x, struct layer_state *s, float *out) {
  const struct model_config *c = &m->config;
  size_t n = (size_t)rows * (size_t)c->d;
  block_middle(m, w, rows, l, x, s);
  if (w->quant_scratch && c->mlp != MLP_SWIGLU) /* the activation comes with the rounding to bytes */
    model_quant_down(m, w->quant, w->quant_scratch, rows, l, s->up, w->branch);
  else
    linear_forward(m, w, rows, c->ff, c->d, s->act, m->block[l].down, m->block[l].down_bias, 0, w->branch);
  drop(m, w, rows, 2 + 2 * l, w->branch);
  if (out != s->mid) memcpy(out, s->mid, n * sizeof *out);
  m->kernel->add(n, w->branch, out);
}

/* A row's way from the attention's output to the block's does not meet another's: where nothing is kept for a backward pass, some rows go the whole way
 * at a time, through the same few rows of s->n2, s->up and s->act, so that these stay in a core's own cache. The same bits. */
void block_rest_pieces(const struct model *m, struct model_workspace *w, int rows, int l, const struct layer_state *s, float *out) {
  enum { PIECE = 48 }; /* whole register blocks of every column */
  size_t d = (size_t)m->config.d;
  struct layer_state t = *s;
  int most = w->training ? rows : PIECE;
  for (int r = 0; r < rows;
       r += most, t.x += (size_t)most * d, t.mid += (size_t)most * d, t.att += (size_t)most * d, out += (size_t)most * d)
    block_rest(m, w, rows - r < most ? rows - r : most, l, t.x, &t, out);
}

void final_norm(const struct model *m, struct model_workspace *w, int from, int rows, const float *x) {
  struct norm n;
  norm_describe(m, rows, x, m->norm_gain, m->norm_shift, w->hidden + (size_t)from * (size_t)m->config.d, w->mean + from, w->rstd + from,
                &n);
  m->kernel->norm_forward(&n);
}

struct layer_state layer_rows(const struct model_config *c, const struct layer_state *s, int from) {
  size_t r = (size_t)from, d = (size_t)c->d, heads = (size_t)(c->heads + c->kv_heads);
  struct layer_state t = *s;
  t.x += r * d, t.n1 += r * d, t.mean1 += r, t.rstd1 += r, t.qkv += r * (size_t)qkv_width(c), t.att += r * d;
  t.lse += r * (size_t)c->heads, t.mid += r * d, t.n2 += r * d, t.mean2 += r, t.rstd2 += r;
  t.up += r * (size_t)up_width(c), t.act += r * (size_t)c->ff;
  if (c->qk_norm) t.qk_raw += r * heads * (size_t)head_size(c), t.qk_rstd += r * heads;
  return t;
}

/* `last`: of the last block only the last position's answer is wanted: its keys and values are all there is to the others. */
static int pass(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct model_prefix *const *prefix,
                struct model_kept *kept, bool last, struct error *e) {
  TRY(batch_check(m, w, b, e));
  for (int s = 0; prefix && s < b->sequences; s++)
    if (prefix[s] && (m->config.mask == MASK_FULL || b->seq_start[s + 1] - b->seq_start[s] > prefix[s]->cap))
      return error_set(e, E_LIMIT, "prefix does not fit its cache (or the mask is not causal)");
  int layers = m->config.layers;
  model_embed(m, w, b, w->layer[0].x);
  drop(m, w, b->positions, 0, w->layer[0].x);
  w->eight = !prefix && !w->training; /* every future starts from its prefix: that stays in f32 */
  for (int l = 0; l < layers; l++) {
    int from = last && l + 1 == layers ? b->positions - 1 : 0;
    const struct layer_state *s = &w->layer[l];
    struct layer_state t = layer_rows(&m->config, s, from);
    struct attention a;
    block_qkv(m, w, b, l, s->x, &w->layer[l]);
    if (prefix) prefix_keep(m, b, l, s, prefix);
    if (kept) kept_layer(m, kept, l, s->qkv, b->positions);
    attention_describe(m, w, b, s, &a);
    a.skip = from;
    m->kernel->attention_forward(&a);
    float *out = l + 1 < layers ? w->layer[l + 1].x : w->last;
    block_rest_pieces(m, w, b->positions - from, l, &t, out + (size_t)from * (size_t)m->config.d);
  }
  w->eight = false;
  int from = last ? b->positions - 1 : 0;
  final_norm(m, w, from, b->positions - from, w->last + (size_t)from * (size_t)m->config.d);
  w->rows = b->positions;
  return OK;
}

int model_forward(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct model_prefix *const *prefix,
                  struct error *e) {
  return pass(m, w, b, prefix, NULL, false, e);
}

int model_forward_last(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct error *e) {
  return pass(m, w, b, NULL, NULL, b->sequences == 1 && !w->training, e);
}

int model_forward_keep(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct model_kept *kept,
                       struct error *e) {
  if (b->sequences != 1 || b->positions > kept->cap) return error_set(e, E_USAGE, "one life that fits is kept");
  kept->n = 0; /* until it is whole */
  TRY(pass(m, w, b, NULL, kept, false, e));
  memcpy(kept->hidden, w->hidden, (size_t)b->positions * (size_t)m->config.d * sizeof *kept->hidden);
  kept->n = b->positions, kept->clean = 0;
  return OK;
}
