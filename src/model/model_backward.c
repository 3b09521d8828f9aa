/* The backward pass by hand: each function undoes one of model_forward.c, last first. */
#include <math.h>

#include "model/model_internal.h"
#include "token/token.h"

void linear_backward(const struct model *m, struct model_workspace *w, float *gradient, int rows, int in, int out, const float *x,
                     ptrdiff_t weight, ptrdiff_t bias, const float *dy, float beta, float *dx) {
  m->kernel->gemm(&(struct gemm){.m = out,
                                 .n = in,
                                 .k = rows,
                                 .ta = true,
                                 .a = dy,
                                 .lda = out,
                                 .b = x,
                                 .ldb = in,
                                 .beta = 1,
                                 .c = gradient + weight,
                                 .ldc = in,
                                 .scratch = w->gemm_scratch});
  if (bias >= 0) m->kernel->col_sum(rows, out, dy, out, gradient + bias);
  if (dx)
    m->kernel->gemm(&(struct gemm){.m = rows,
                                   .n = in,
                                   .k = out,
                                   .a = dy,
                                   .lda = out,
                                   .b = m->weight + weight,
                                   .ldb = in,
                                   .packed = model_packed_back(m, weight, in, out),
                                   .beta = beta,
                                   .c = dx,
                                   .ldc = in,
                                   .scratch = w->gemm_scratch});
}

/* dx += gradient through y = norm(x) */
static void norm_undo(const struct model *m, float *g, int rows, const float *x, ptrdiff_t gain, ptrdiff_t shift, float *y, float *mean,
                      float *rstd, const float *dy, float *dx) {
  struct norm_back n = {.dy = dy, .dx = dx, .dgain = g + gain, .dshift = grad_at(g, shift)};
  norm_describe(m, rows, x, gain, shift, y, mean, rstd, &n.f);
  m->kernel->norm_backward(&n);
}

static void undrop(const struct model *m, const struct model_workspace *w, int rows, int site, float *x) {
  if (w->dropout > 0) m->kernel->dropout((size_t)rows * (size_t)m->config.d, w->dropout, w->seed, w->stream + (uint64_t)site, x);
}

static void mlp_undo(const struct model *m, struct model_workspace *w, int rows, int l, float *g) {
  const struct model_config *c = &m->config;
  const struct model_block *k = &m->block[l];
  struct layer_state *s = &w->layer[l];
  const float *dy = w->dx;
  if (w->dropout > 0) {
    memcpy(w->branch, w->dx, (size_t)rows * (size_t)c->d * sizeof(float));
    undrop(m, w, rows, 2 + 2 * l, w->branch);
    dy = w->branch;
  }
  linear_backward(m, w, g, rows, c->ff, c->d, s->act, k->down, k->down_bias, dy, 0, w->dact);
  if (c->mlp == MLP_SWIGLU)
    m->kernel->swiglu_backward(rows, c->ff, s->up, w->dact, w->dup);
  else
    m->kernel->gelu_backward((size_t)rows * (size_t)c->ff, s->up, w->dact, w->dup);
  linear_backward(m, w, g, rows, c->d, up_width(c), s->n2, k->up, k->up_bias, w->dup, 0, w->dn);
  norm_undo(m, g, rows, s->mid, k->norm2_gain, k->norm2_shift, s->n2, s->mean2, s->rstd2, w->dn, w->dx);
}

static void norm_heads_undo(const struct model *m, struct model_workspace *w, int rows, int first, int heads, ptrdiff_t gain,
                            struct layer_state *s, float *g) {
  const struct model_config *c = &m->config;
  size_t hd = (size_t)head_size(c), width = (size_t)qkv_width(c), n = (size_t)heads * hd, total = (size_t)rows * n;
  float *raw = s->qk_raw + (size_t)rows * (size_t)first * hd, *rstd = s->qk_rstd + (size_t)rows * (size_t)first;
  float *dy = w->qk_tmp, *dx = w->qk_tmp + total;
  for (size_t r = 0; r < (size_t)rows; r++) memcpy(dy + r * n, w->dqkv + r * width + (size_t)first * hd, n * sizeof *dy);
  memset(dx, 0, total * sizeof *dx);
  m->kernel->norm_backward(&(struct norm_back){.f = {.kind = NORM_RMS,
                                                     .rows = rows * heads,
                                                     .c = (int)hd,
                                                     .eps = c->norm_eps,
                                                     .x = raw,
                                                     .gain = m->weight + gain,
                                                     .mean = rstd,
                                                     .rstd = rstd},
                                               .dy = dy,
                                               .dx = dx,
                                               .dgain = g + gain});
  for (size_t r = 0; r < (size_t)rows; r++) memcpy(w->dqkv + r * width + (size_t)first * hd, dx + r * n, n * sizeof *dx);
}

static void attention_undo(const struct model *m, struct model_workspace *w, const struct token_batch *b, int l, float *g) {
  const struct model_config *c = &m->config;
  const struct model_block *k = &m->block[l];
  struct layer_state *s = &w->layer[l];
  int rows = b->positions, hd = head_size(c), width = qkv_width(c);
  const float *dy = w->dx;
  if (w->dropout > 0) {
    memcpy(w->branch, w->dx, (size_t)rows * (size_t)c->d * sizeof(float));
    undrop(m, w, rows, 1 + 2 * l, w->branch);
    dy = w->branch;
  }
  linear_backward(m, w, g, rows, c->d, c->d, s->att, k->out, k->out_bias, dy, 0, w->datt);
  memset(w->dqkv, 0, (size_t)rows * (size_t)width * sizeof(float));
  struct attention_back a = {.dout = w->datt, .dq = w->dqkv, .dk = w->dqkv + c->heads * hd, .dv = w->dqkv + (c->heads + c->kv_heads) * hd};
  attention_describe(m, w, b, s, &a.f);
  m->kernel->attention_backward(&a);
  if (c->position == POSITION_ROPE_INDEX || c->position == POSITION_ROPE_TIME)
    m->kernel->rope(&(struct rope){.rows = rows,
                                   .heads = c->heads + c->kv_heads,
                                   .d = hd,
                                   .stride = width,
                                   .position = c->position == POSITION_ROPE_TIME ? b->rope_time : b->rope_index,
                                   .base = c->rope_base,
                                   .x = w->dqkv,
                                   .back = true});
  if (c->qk_norm) {
    norm_heads_undo(m, w, rows, 0, c->heads, k->q_norm, s, g);
    norm_heads_undo(m, w, rows, c->heads, c->kv_heads, k->k_norm, s, g);
  }
  linear_backward(m, w, g, rows, c->d, width, s->n1, k->qkv, k->qkv_bias, w->dqkv, 0, w->dn);
  norm_undo(m, g, rows, s->x, k->norm1_gain, k->norm1_shift, s->n1, s->mean1, s->rstd1, w->dn, w->dx);
}

/* Leaves in dx the gradient at the sum of the table's rows. */
static void embed_undo(const struct model *m, struct model_workspace *w, const struct token_batch *b, float *g) {
  size_t d = (size_t)m->config.d;
  undrop(m, w, b->positions, 0, w->dx);
  linear_backward(m, w, g, b->positions, TOKEN_TIME_FEATURES, (int)d, b->time_feature, m->time, ABSENT, w->dx, 0, NULL);
  for (int p = 0; p < b->positions; p++) {
    if (b->entry_start[p] == b->entry_start[p + 1]) m->kernel->add(d, w->dx + (size_t)p * d, g + m->moment);
    if (m->position >= 0) {
      int r = (int)b->rope_index[p];
      size_t row = (size_t)(r < 0 ? 0 : r >= m->config.context ? m->config.context - 1 : r);
      m->kernel->add(d, w->dx + (size_t)p * d, g + m->position + row * d);
    }
  }
  if (m->config.embed_root) m->kernel->scale((size_t)b->positions * d, sqrtf((float)d), w->dx);
  m->kernel->embed_backward(&(struct embed_bag_back){.f = {.rows = b->positions,
                                                           .c = (int)d,
                                                           .start = b->entry_start,
                                                           .id = b->entry_id,
                                                           .weight = b->entry_weight,
                                                           .table = m->weight + m->table},
                                                     .dout = w->dx,
                                                     .dtable = g + m->table});
}

/* What the forward pass of the block did not keep, once more, from the block's input (Chen et al. 2016). */
static void block_again(const struct model *m, struct model_workspace *w, const struct token_batch *b, int l) {
  struct layer_state *s = &w->layer[l];
  struct attention a;
  block_qkv(m, w, b, l, s->x, s);
  attention_describe(m, w, b, s, &a);
  m->kernel->attention_forward(&a);
  block_middle(m, w, b->positions, l, s->x, s);
}

void model_backward(const struct model *m, struct model_workspace *w, const struct token_batch *b, float *gradient) {
  memset(w->dx, 0, (size_t)b->positions * (size_t)m->config.d * sizeof(float));
  norm_undo(m, gradient, b->positions, w->last, m->norm_gain, m->norm_shift, w->hidden, w->mean, w->rstd, w->dhidden, w->dx);
  for (int l = m->config.layers - 1; l >= 0; l--) {
    if (w->recompute) block_again(m, w, b, l);
    mlp_undo(m, w, b->positions, l, gradient);
    attention_undo(m, w, b, l, gradient);
  }
  embed_undo(m, w, b, gradient);
}
