/* Decoding: new positions of many streams, each after its own prefix. Keys and values lie in blocks of DECODE_ROWS positions (kernel.h); a
 * prefix's blocks are shared by all its streams, a stream's own come from a pool as it grows and go back when it is bound anew. */
#include <math.h>

#include "kernel/quant.h"
#include "model/model_cache.h"
#include "token/token.h"

/* ---- weights laid out once, for products of few rows ---- */

int model_decoder_new(const struct model *m, bool int8, struct model_decoder **out, struct error *e) {
  *out = NULL;
  if (m->config.mask == MASK_FULL) return error_set(e, E_USAGE, "a model whose mask is not causal cannot decode");
  struct model_decoder *d = mem_alloc(sizeof *d);
  if (!d) return error_set(e, E_NOMEM, "no memory for a decoder");
  d->model = *m;
  d->model.pack = NULL, d->model.packed = NULL, d->model.packs = 0;
  d->quant = NULL;
  int rc = model_pack_new(&d->model, false, e);
  if (rc == OK && int8) rc = model_quant_new(m, true, &d->quant, e);
  if (rc < 0)
    model_decoder_free(d);
  else
    *out = d;
  return rc;
}

void model_decoder_free(struct model_decoder *d) {
  if (!d) return;
  model_pack_free(&d->model);
  model_quant_free(d->quant);
  mem_free(d);
}

void model_workspace_decode(struct model_workspace *w, const struct model_decoder *d) {
  w->laid_out = d ? &d->model : NULL;
  w->quant = d ? d->quant : NULL;
}

/* ---- prefixes ---- */

static size_t layer_bytes(const struct model *m) { return decode_layer(m->config.kv_heads, head_size(&m->config)); }
static size_t block_bytes(const struct model *m) { return (layer_bytes(m) * (size_t)m->config.layers + DECODE_BEYOND + 63) / 64 * 64; }

int model_prefix_new(const struct model *m, int positions, struct model_prefix **out, struct error *e) {
  *out = NULL;
  if (positions < 1 || positions > 1 << 22) return error_set(e, E_USAGE, "prefix length out of range");
  int blocks = (positions + DECODE_ROWS - 1) / DECODE_ROWS;
  struct model_prefix *p = mem_alloc(sizeof *p);
  if (!p) return error_set(e, E_NOMEM, "no memory for a prefix");
  *p = (struct model_prefix){.cap = positions, .bytes = (size_t)blocks * block_bytes(m)};
  p->memory = mem_alloc_aligned(p->bytes);
  p->block = mem_alloc((size_t)blocks * sizeof *p->block);
  p->time = mem_alloc((size_t)positions * sizeof *p->time);
  p->to = mem_alloc((size_t)positions * sizeof *p->to);
  p->scratch = mem_alloc(kernel_keep_scratch(head_size(&m->config)) * sizeof *p->scratch);
  if (!p->memory || !p->block || !p->time || !p->to || !p->scratch) {
    model_prefix_free(p);
    return error_set(e, E_NOMEM, "no memory for a prefix");
  }
  for (int i = 0; i < blocks; i++) p->block[i] = p->memory + (size_t)i * block_bytes(m);
  *out = p;
  return OK;
}

void model_prefix_free(struct model_prefix *p) {
  if (!p) return;
  if (p->memory) mem_free_aligned(p->memory, p->bytes);
  mem_free(p->block);
  mem_free(p->time);
  mem_free(p->to);
  mem_free(p->scratch);
  mem_free(p);
}

int model_prefix_positions(const struct model_prefix *p) { return p->n; }

static struct decode_place place_of(const struct model *m, int8_t *const *block, int l, int position) {
  return (struct decode_place){block[position / DECODE_ROWS] + (size_t)l * layer_bytes(m), position % DECODE_ROWS};
}
static void keep_rows(const struct model *m, int rows, const float *qkv, bool lanes, const struct decode_place *to, float *scratch) {
  const struct model_config *c = &m->config;
  m->kernel->decode_keep(&(struct decode_keep){rows, c->kv_heads, head_size(c), qkv + c->d, qkv_width(c), lanes, to, scratch});
}

void prefix_keep(const struct model *m, const struct token_batch *b, int l, const struct layer_state *s,
                 struct model_prefix *const *prefix) {
  size_t stride = (size_t)qkv_width(&m->config);
  for (int k = 0; k < b->sequences; k++) {
    struct model_prefix *p = prefix[k];
    if (!p) continue;
    int from = b->seq_start[k];
    p->n = b->seq_start[k + 1] - from;
    for (int r = 0; r < p->n; r++) p->to[r] = place_of(m, p->block, l, r);
    keep_rows(m, p->n, s->qkv + (size_t)from * stride, false, p->to, p->scratch);
    if (l == 0) memcpy(p->time, b->time + from, (size_t)p->n * sizeof *p->time);
  }
}

/* ---- streams ---- */

enum { SLAB_BYTES = 4 << 20 };

static int cache_arrays(struct model_cache *c, int blocks, struct error *e) {
  size_t n = (size_t)c->streams;
  c->block = mem_alloc(n * (size_t)blocks * sizeof *c->block);
  c->seen = mem_alloc(n * sizeof *c->seen);
  c->time = mem_alloc(n * (size_t)c->own_cap * sizeof *c->time);
  c->n = mem_alloc(n * sizeof *c->n);
  c->prefix = mem_alloc(n * sizeof *c->prefix);
  c->past = mem_alloc(n * sizeof *c->past);
  c->own = mem_alloc(n * sizeof *c->own);
  c->to = mem_alloc(n * sizeof *c->to);
  if (!c->block || !c->seen || !c->time || !c->n || !c->prefix || !c->past || !c->own || !c->to)
    return error_set(e, E_NOMEM, "no memory for a cache");
  memset(c->block, 0, n * (size_t)blocks * sizeof *c->block);
  memset(c->n, 0, n * sizeof *c->n);
  memset(c->prefix, 0, n * sizeof *c->prefix);
  memset(c->seen, 0, n * sizeof *c->seen);
  return OK;
}

int model_cache_new(const struct model *m, int streams, int own_positions, struct model_cache **out, struct error *e) {
  *out = NULL;
  if (streams < 1 || own_positions < 1 || streams > 1 << 20 || own_positions > 1 << 22)
    return error_set(e, E_USAGE, "cache shape out of range");
  if (m->config.mask == MASK_FULL) return error_set(e, E_USAGE, "a model whose mask is not causal cannot decode");
  struct model_cache *c = mem_alloc(sizeof *c);
  if (!c) return error_set(e, E_NOMEM, "no memory for a cache");
  *c = (struct model_cache){.streams = streams, .own_cap = own_positions, .row_blocks = (own_positions + DECODE_ROWS - 1) / DECODE_ROWS};
  c->block_bytes = block_bytes(m);
  size_t fit = SLAB_BYTES / c->block_bytes + 1, most = (size_t)streams * (size_t)c->row_blocks;
  c->slab_blocks = (int)(fit < most ? fit : most);
  int rc = cache_arrays(c, c->row_blocks, e);
  if (rc < 0) {
    model_cache_free(c);
    return rc;
  }
  *out = c;
  return OK;
}

void model_cache_free(struct model_cache *c) {
  if (!c) return;
  for (int i = 0; i < c->slabs; i++) mem_free_aligned(c->slab[i], c->block_bytes * (size_t)c->slab_blocks);
  mem_free(c->slab);
  mem_free(c->spare);
  mem_free(c->block);
  mem_free(c->seen);
  mem_free(c->time);
  mem_free(c->n);
  mem_free(c->prefix);
  mem_free(c->past);
  mem_free(c->own);
  mem_free(c->to);
  if (c->scratch) mem_free_aligned(c->scratch, c->scratch_bytes);
  if (c->quant_scratch) mem_free_aligned(c->quant_scratch, c->quant_bytes);
  mem_free(c);
}

/* The blocks of an ended stream are spare again. */
int model_cache_bind(struct model_cache *c, int stream, const struct model_prefix *p, struct error *e) {
  if (stream < 0 || stream >= c->streams) return error_set(e, E_USAGE, "no such stream in the cache");
  int8_t **block = c->block + (size_t)stream * (size_t)c->row_blocks;
  for (int i = 0; i < c->row_blocks && block[i]; i++) {
    c->spare[c->spares++] = block[i];
    block[i] = NULL;
  }
  c->n[stream] = 0;
  c->prefix[stream] = p;
  return OK;
}

static int more_blocks(struct model_cache *c, struct error *e) {
  size_t all = (size_t)(c->slabs + 1) * (size_t)c->slab_blocks;
  int8_t **slab = mem_realloc(c->slab, (size_t)(c->slabs + 1) * sizeof *slab);
  if (slab) c->slab = slab;
  int8_t **spare = slab ? mem_realloc(c->spare, all * sizeof *spare) : NULL;
  if (spare) c->spare = spare;
  int8_t *memory = spare ? mem_alloc_aligned(c->block_bytes * (size_t)c->slab_blocks) : NULL;
  if (!memory) return error_set(e, E_NOMEM, "no memory for the keys and values of a future");
  c->slab[c->slabs++] = memory;
  for (int i = c->slab_blocks; i-- > 0;) c->spare[c->spares++] = memory + (size_t)i * c->block_bytes;
  return OK;
}

static int own_block(struct model_cache *c, int stream, struct error *e) {
  int8_t **at = c->block + (size_t)stream * (size_t)c->row_blocks + c->n[stream] / DECODE_ROWS;
  if (*at) return OK;
  if (!c->spares) TRY(more_blocks(c, e));
  *at = c->spare[--c->spares];
  return OK;
}

static int grow(float **p, size_t *bytes, size_t floats, struct error *e) {
  if (*bytes >= floats * sizeof(float)) return OK;
  size_t want = floats * sizeof(float) + floats * sizeof(float) / 2;
  if (*p) mem_free_aligned(*p, *bytes);
  *bytes = 0;
  *p = mem_alloc_aligned(want);
  if (!*p) return error_set(e, E_NOMEM, "no memory for a cache");
  *bytes = want;
  return OK;
}

/* What the new position of a stream sees: a stretch of the prefix, a stretch of its own rows. Without a window of its own the model has the
 * context that it was trained with: the static facts (position 0) and the latest context - 1 positions. Times never fall, so rows that a tie
 * hides are the last before the new one. */
static void visible(const struct model *m, const struct model_cache *c, int stream, int64_t now, struct decode_rows *past,
                    struct decode_rows *own) {
  const struct model_prefix *p = c->prefix[stream];
  int prefix = p ? p->n : 0, n = c->n[stream], window = m->config.window ? m->config.window : m->config.context;
  int first = prefix + n + 1 - window + (m->config.window ? 0 : 1);
  const int64_t *time = c->time + (size_t)stream * (size_t)c->own_cap;
  *past = (struct decode_rows){.block = p ? (const int8_t *const *)p->block : NULL, .n = prefix};
  *own = (struct decode_rows){.block = (const int8_t *const *)(c->block + (size_t)stream * (size_t)c->row_blocks), .n = n + 1, .hide = n};
  own->show = n;
  own->from = first > prefix ? first - prefix : 0;
  if (m->config.window)
    past->from = first < 0 ? 0 : first > prefix ? prefix : first;
  else
    past->hide = 1, past->show = first < 1 ? 1 : first > prefix ? prefix : first;
  if (m->config.mask != MASK_CAUSAL_NO_TIES) return;
  while (own->hide > own->from && time[own->hide - 1] >= now) own->hide--;
  while (past->n > past->from && p->time[past->n - 1] >= now) past->n--;
  past->show = past->show > past->n ? past->n : past->show;
}

static int prepare(const struct model *m, const struct model_workspace *w, struct model_cache *c, const struct token_batch *b,
                   const int *stream, struct error *e) {
  int own = 0, prefix = 0;
  for (int i = 0; i < b->sequences; i++) {
    int t = stream[i];
    if (t < 0 || t >= c->streams) return error_set(e, E_USAGE, "no such stream in the cache");
    if (c->n[t] >= c->own_cap) return error_set(e, E_LIMIT, "a stream of the cache is full");
  }
  c->round++;
  for (int i = 0; i < b->sequences; i++) {
    int t = stream[i];
    if (c->seen[t] == c->round) return error_set(e, E_USAGE, "a stream can take one position at a time");
    c->seen[t] = c->round;
    TRY(own_block(c, t, e));
    c->time[(size_t)t * (size_t)c->own_cap + (size_t)c->n[t]] = b->time[i];
    visible(m, c, t, b->time[i], &c->past[i], &c->own[i]);
    prefix = c->past[i].n > prefix ? c->past[i].n : prefix;
    own = c->own[i].n > own ? c->own[i].n : own;
  }
  TRY(grow(&c->quant_scratch, &c->quant_bytes, model_quant_scratch(w->quant, b->positions) / sizeof(float), e));
  return grow(&c->scratch, &c->scratch_bytes, kernel_decode_scratch(prefix, own, head_size(&m->config)), e);
}

static void decode_attention(const struct model *m, const struct model_workspace *w, struct model_cache *c, const struct token_batch *b,
                             const int *stream, int l, struct layer_state *s) {
  const struct model_config *g = &m->config;
  int row = qkv_width(g), d = head_size(g);
  for (int i = 0; i < b->sequences; i++) c->to[i] = place_of(m, c->block + (size_t)stream[i] * (size_t)c->row_blocks, l, c->n[stream[i]]);
  bool lanes = w->quant_scratch && model_quant_lanes(w->quant);
  keep_rows(m, b->sequences, s->qkv, lanes, c->to, c->scratch);
  m->kernel->attention_decode(&(struct attention_decode){.streams = b->sequences,
                                                         .heads = g->heads,
                                                         .kv_heads = g->kv_heads,
                                                         .d = d,
                                                         .scale = 1.0f / sqrtf((float)d),
                                                         .q = s->qkv,
                                                         .q_stride = row,
                                                         .at = (size_t)l * layer_bytes(m),
                                                         .prefix = c->past,
                                                         .own = c->own,
                                                         .out = s->att,
                                                         .out_stride = g->d,
                                                         .lanes = lanes,
                                                         .scratch = c->scratch});
}

int model_decode(const struct model *m, struct model_workspace *w, struct model_cache *c, const struct token_batch *b, const int *stream,
                 struct error *e) {
  TRY(batch_check(m, w, b, e));
  if (b->positions != b->sequences || b->sequences > c->streams)
    return error_set(e, E_USAGE, "decoding takes one new position for each stream");
  TRY(prepare(m, w, c, b, stream, e));
  w->dropout = 0;
  model_embed(m, w, b, w->layer[0].x);
  w->quant_scratch = w->quant ? c->quant_scratch : NULL;
  for (int l = 0; l < m->config.layers; l++) {
    struct layer_state *s = &w->layer[l];
    block_qkv(m, w, b, l, s->x, s);
    decode_attention(m, w, c, b, stream, l, s);
    block_rest(m, w, b->positions, l, s->x, s, l + 1 < m->config.layers ? w->layer[l + 1].x : w->last);
  }
  w->quant_scratch = NULL;
  final_norm(m, w, 0, b->positions, w->last);
  w->rows = b->positions;
  for (int i = 0; i < b->sequences; i++) c->n[stream[i]]++;
  return OK;
}

/* ---- heads over many rows ---- */

void model_decode_rates(const struct model *m, struct model_workspace *w, int rows, const float *hidden, float *log_rate, float *shift) {
  size_t d = (size_t)m->config.d;
  if (!w->quant || !model_quant_rates(m, w->quant, w->gemm_scratch, rows, hidden, log_rate))
    linear_forward(m, w, rows, m->config.d, (int)m->config.codes, hidden, m->rates, m->rates_bias, 0, log_rate);
  for (int r = 0; r < rows; r++) shift[r] = (float)m->kernel->dot(d, hidden + (size_t)r * d, m->weight + m->rates_shift);
}

void model_decode_values(const struct model *m, struct model_workspace *w, int rows, const float *hidden, float *u) {
  linear_forward(m, w, rows, m->config.d, m->config.d, hidden, m->value, ABSENT, 0, u);
}

void model_decode_knots(const struct model *m, const float *u, uint32_t code, float *probability) {
  if (code < m->config.codes && m->knots[code] > 1) softmax_knots(m, u, code, probability);
}

double model_exp(const struct model *m, uint32_t n, float shift, const float *x, float *y) {
  return m->kernel->exp_scaled(n, 1, -shift, x, y);
}
double model_logsumexp(const struct model *m, uint32_t n, const float *x) { return (double)m->kernel->logsumexp(n, x); }
double model_dot(const struct model *m, uint32_t n, const float *x, const float *y) { return m->kernel->dot(n, x, y); }
