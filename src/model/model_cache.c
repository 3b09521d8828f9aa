/* Decoding: new positions of many streams against one shared prefix. */
#include "model/model_internal.h"
#include "token/token.h"

static size_t gather_floats(const struct model *m, const struct model_cache *c) {
  bool plain = m->config.mask == MASK_CAUSAL && m->config.window == 0;
  return plain ? 0 : (size_t)c->streams * 2 * (size_t)(c->prefix_cap + c->own_cap) * (size_t)c->width;
}

static int cache_arrays(struct model_cache *c, struct error *e) {
  size_t n = (size_t)c->streams;
  c->prefix_time = mem_alloc((size_t)c->prefix_cap * sizeof *c->prefix_time);
  c->own_time = mem_alloc(n * (size_t)c->own_cap * sizeof *c->own_time);
  c->own_n = mem_alloc(n * sizeof *c->own_n);
  c->key = mem_alloc(n * sizeof *c->key);
  c->value = mem_alloc(n * sizeof *c->value);
  c->own_key = mem_alloc(n * sizeof *c->own_key);
  c->own_value = mem_alloc(n * sizeof *c->own_value);
  c->count = mem_alloc(n * sizeof *c->count);
  c->own_count = mem_alloc(n * sizeof *c->own_count);
  c->scratch = mem_alloc((size_t)(c->prefix_cap + c->own_cap + 16) * sizeof *c->scratch);
  if (!c->prefix_time || !c->own_time || !c->own_n || !c->key || !c->value || !c->own_key || !c->own_value || !c->count || !c->own_count ||
      !c->scratch)
    return error_set(e, E_NOMEM, "no memory for a cache");
  memset(c->own_n, 0, n * sizeof *c->own_n);
  return OK;
}

int model_cache_new(const struct model *m, int prefix_positions, int streams, int own_positions, struct model_cache **out,
                    struct error *e) {
  *out = NULL;
  if (prefix_positions < 1 || streams < 1 || own_positions < 1 || prefix_positions > 1 << 22 || streams > 1 << 20 ||
      own_positions > 1 << 22)
    return error_set(e, E_USAGE, "cache shape out of range");
  if (m->config.mask == MASK_FULL) return error_set(e, E_USAGE, "a model whose mask is not causal cannot decode");
  struct model_cache *c = mem_alloc(sizeof *c);
  if (!c) return error_set(e, E_NOMEM, "no memory for a cache");
  *c = (struct model_cache){.layers = m->config.layers,
                            .width = kv_width(&m->config),
                            .prefix_cap = prefix_positions,
                            .streams = streams,
                            .own_cap = own_positions};
  size_t row = 2 * (size_t)c->layers * (size_t)c->width * sizeof(float);
  c->bytes[0] = row * (size_t)prefix_positions;
  c->bytes[1] = row * (size_t)own_positions * (size_t)streams;
  c->bytes[2] = gather_floats(m, c) * sizeof(float);
  c->prefix = mem_alloc_aligned(c->bytes[0]);
  c->own = mem_alloc_aligned(c->bytes[1]);
  c->gathered = c->bytes[2] ? mem_alloc_aligned(c->bytes[2]) : NULL;
  int rc = !c->prefix || !c->own || (c->bytes[2] && !c->gathered) ? error_set(e, E_NOMEM, "no memory for a cache") : cache_arrays(c, e);
  if (rc < 0) {
    model_cache_free(c);
    return rc;
  }
  *out = c;
  return OK;
}

void model_cache_free(struct model_cache *c) {
  if (!c) return;
  if (c->prefix) mem_free_aligned(c->prefix, c->bytes[0]);
  if (c->own) mem_free_aligned(c->own, c->bytes[1]);
  if (c->gathered) mem_free_aligned(c->gathered, c->bytes[2]);
  mem_free(c->prefix_time);
  mem_free(c->own_time);
  mem_free(c->own_n);
  mem_free(c->key);
  mem_free(c->value);
  mem_free(c->own_key);
  mem_free(c->own_value);
  mem_free(c->count);
  mem_free(c->own_count);
  mem_free(c->scratch);
  mem_free(c);
}

int model_cache_prefix(const struct model_cache *c) { return c->prefix_n; }
void model_cache_rewind(struct model_cache *c) { memset(c->own_n, 0, (size_t)c->streams * sizeof *c->own_n); }

static float *own_row(const struct model_cache *c, int l, int value, int stream, int row) {
  return c->own + (((size_t)(2 * l + value) * (size_t)c->streams + (size_t)stream) * (size_t)c->own_cap + (size_t)row) * (size_t)c->width;
}

static const float *prefix_row(const struct model_cache *c, int l, int value, int row) {
  return c->prefix + ((size_t)(2 * l + value) * (size_t)c->prefix_cap + (size_t)row) * (size_t)c->width;
}

/* May the newest row (position `at` of its sequence, at time `now`) see row `r`, whose time is `then`? */
static bool sees(const struct model_config *c, int at, int64_t now, int r, int64_t then) {
  if (r == at) return true;
  return (c->window == 0 || r > at - c->window) && (c->mask != MASK_CAUSAL_NO_TIES || then < now);
}

/* Where a mask hides rows, the visible ones are copied together: slower, and the same answer as the full forward pass. */
static void gather(const struct model *m, struct model_cache *c, int l, int i, int stream) {
  size_t width = (size_t)c->width, cap = (size_t)(c->prefix_cap + c->own_cap) * width;
  float *k = c->gathered + 2 * (size_t)i * cap, *v = k + cap;
  int own = c->own_n[stream], at = c->prefix_n + own, n = 0;
  const int64_t *own_time = c->own_time + (size_t)stream * (size_t)c->own_cap;
  for (int r = 0; r <= at; r++) {
    bool mine = r >= c->prefix_n;
    int64_t then = mine ? own_time[r - c->prefix_n] : c->prefix_time[r];
    if (!sees(&m->config, at, own_time[own], r, then)) continue;
    memcpy(k + (size_t)n * width, mine ? own_row(c, l, 0, stream, r - c->prefix_n) : prefix_row(c, l, 0, r), width * sizeof *k);
    memcpy(v + (size_t)n * width, mine ? own_row(c, l, 1, stream, r - c->prefix_n) : prefix_row(c, l, 1, r), width * sizeof *v);
    n++;
  }
  c->count[i] = 0;
  c->own_key[i] = k, c->own_value[i] = v;
  c->own_count[i] = n;
}

static void decode_attention(const struct model *m, struct model_cache *c, const struct token_batch *b, const int *stream, int l,
                             struct layer_state *s) {
  const struct model_config *g = &m->config;
  size_t width = (size_t)c->width, row = (size_t)qkv_width(g), q = (size_t)g->d;
  struct attention a;
  for (int i = 0; i < b->sequences; i++) {
    int t = stream[i], at = c->own_n[t];
    const float *from = s->qkv + (size_t)i * row + q;
    memcpy(own_row(c, l, 0, t, at), from, width * sizeof *from);
    memcpy(own_row(c, l, 1, t, at), from + width, width * sizeof *from);
    c->own_time[(size_t)t * (size_t)c->own_cap + (size_t)at] = b->time[i];
    c->key[i] = prefix_row(c, l, 0, 0), c->value[i] = prefix_row(c, l, 1, 0);
    c->own_key[i] = own_row(c, l, 0, t, 0), c->own_value[i] = own_row(c, l, 1, t, 0);
    c->count[i] = c->prefix_n;
    c->own_count[i] = at + 1;
    if (c->gathered) gather(m, c, l, i, t);
  }
  attention_describe(m, &(struct model_workspace){0}, b, s, &a);
  m->kernel->attention_decode(&(struct attention_decode){.streams = b->sequences,
                                                         .heads = g->heads,
                                                         .kv_heads = g->kv_heads,
                                                         .d = a.d,
                                                         .scale = a.scale,
                                                         .q = s->qkv,
                                                         .q_stride = (int)row,
                                                         .prefix_k = c->key,
                                                         .prefix_v = c->value,
                                                         .prefix_n = c->count,
                                                         .own_k = c->own_key,
                                                         .own_v = c->own_value,
                                                         .own_n = c->own_count,
                                                         .out = s->att,
                                                         .out_stride = g->d,
                                                         .scratch = c->scratch});
}

int model_decode(const struct model *m, struct model_workspace *w, struct model_cache *c, const struct token_batch *b, const int *stream,
                 struct error *e) {
  TRY(batch_check(m, w, b, e));
  if (b->positions != b->sequences || b->sequences > c->streams)
    return error_set(e, E_USAGE, "decoding takes one new position for each stream");
  for (int i = 0; i < b->sequences; i++) {
    if (stream[i] < 0 || stream[i] >= c->streams) return error_set(e, E_USAGE, "no such stream in the cache");
    if (c->own_n[stream[i]] >= c->own_cap) return error_set(e, E_LIMIT, "a stream of the cache is full");
    c->count[stream[i]] = 0;
  }
  for (int i = 0; i < b->sequences; i++)
    if (c->count[stream[i]]++) return error_set(e, E_USAGE, "a stream can take one position at a time");
  w->dropout = 0;
  struct layer_state *last = NULL;
  model_embed(m, w, b, w->layer[0].x);
  for (int l = 0; l < m->config.layers; l++) {
    struct layer_state *s = &w->layer[l];
    block_qkv(m, w, b, l, s->x, s);
    decode_attention(m, c, b, stream, l, s);
    block_rest(m, w, b->positions, l, s->x, s, l + 1 < m->config.layers ? w->layer[l + 1].x : w->last);
    last = s;
  }
  BUG_IF(!last);
  final_norm(m, w, b->positions, w->last);
  w->rows = b->positions;
  for (int i = 0; i < b->sequences; i++) c->own_n[stream[i]]++;
  return OK;
}
